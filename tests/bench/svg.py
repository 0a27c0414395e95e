# SPDX-License-Identifier: LGPL-2.1-or-later
"""Plots as SVG, without a library: latencies, one row per mode; figures that grow with a number."""

import html
import math

WIDTH, LEFT, RIGHT, TOP, ROW = 900, 210, 110, 70, 34
MARKS = [("p50", "#4477aa"), ("p99", "#228833"), ("p999", "#ccbb44"), ("max", "#ee6677")]


def text(x, y, what, anchor="start", size=13):
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}">'
            f"{html.escape(what)}</text>")


def ticks(low, high):
    """1, 2, 5, 10, ... between the two."""
    for exponent in range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1):
        for digit in (1, 2, 5):
            if low <= digit * 10 ** exponent <= high:
                yield digit * 10 ** exponent


def plot(title, rows):
    """rows: [{"mode", "p50", "p99", "p999", "max", "total"}], times in ms but total in s."""
    low = min(row["p50"] for row in rows) * 0.8
    high = max(row["max"] for row in rows) * 1.2
    scale = (WIDTH - LEFT - RIGHT) / math.log(high / low)
    height = TOP + ROW * len(rows) + 40

    def at(value):
        return LEFT + math.log(max(value, low) / low) * scale

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
           f'font-family="sans-serif"><rect width="100%" height="100%" fill="white"/>',
           text(LEFT, 22, title, size=16), text(WIDTH - 8, TOP - 10, "total", "end")]
    for i, (name, colour) in enumerate(MARKS):
        out += [f'<circle cx="{LEFT + 90 * i + 6}" cy="42" r="6" fill="{colour}"/>',
                text(LEFT + 90 * i + 18, 47, {"p999": "p99.9"}.get(name, name))]
    for value in ticks(low, high):
        out += [f'<line x1="{at(value):.1f}" y1="{TOP}" x2="{at(value):.1f}" y2="{height - 30}" '
                'stroke="#ddd"/>', text(at(value), height - 12, f"{value:g} ms", "middle", 11)]
    for i, row in enumerate(rows):
        y = TOP + ROW * i + ROW / 2
        out += [text(LEFT - 12, y + 5, row["mode"], "end"),
                text(WIDTH - 8, y + 5, f"{row['total']:.2f} s", "end"),
                f'<line x1="{at(row["p50"]):.1f}" y1="{y}" x2="{at(row["max"]):.1f}" y2="{y}" '
                'stroke="#999" stroke-width="2"/>']
        out += [f'<circle cx="{at(row[name]):.1f}" cy="{y}" r="6" fill="{colour}"/>'
                for name, colour in MARKS]
    return "\n".join([*out, "</svg>"]) + "\n"


def lines(title, key, rows, figures):
    """A panel for each of figures, [(key of a row, unit)], over row[key] on a logarithmic scale."""
    panel, gap, bottom = 150, 60, 30
    height = TOP + len(figures) * (panel + gap)
    most = math.log(max(row[key] for row in rows) + 1)
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
           f'font-family="sans-serif"><rect width="100%" height="100%" fill="white"/>',
           text(60, 30, title, size=16)]
    for i, (name, unit) in enumerate(figures):
        low = TOP + i * (panel + gap) + panel
        top = max(max(row[name] for row in rows), 1e-9)
        points = [(60 + math.log(row[key] + 1) / most * (WIDTH - 200),
                   low - row[name] / top * panel) for row in rows]
        colour = MARKS[i % len(MARKS)][1]
        out += [text(60, low - panel - 12, f"{name} ({unit})"),
                f'<line x1="60" y1="{low}" x2="{WIDTH - 40}" y2="{low}" stroke="#999"/>',
                f'<polyline fill="none" stroke="{colour}" stroke-width="2" points="'
                + " ".join(f"{x:.1f},{y:.1f}" for x, y in points) + '"/>']
        for row, (x, y) in zip(rows, points):
            out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{colour}"/>',
                    text(x + 8, y - 6, f"{row[name]:.3g}", size=11),
                    text(x, low + bottom / 2, f"{row[key]:g}", "middle", 11)]
    return "\n".join([*out, "</svg>"]) + "\n"
