# SPDX-License-Identifier: LGPL-2.1-or-later
"""Journal records as journalctl -o json writes them, one per line: in the guest and on the host."""

import json


def value(field):
    """Text that is not UTF-8, or has control characters, comes as a list of numbers."""
    if isinstance(field, list) and all(isinstance(n, int) for n in field):
        return bytes(field).decode(errors="replace")
    return field


def parse(lines):
    """[{field: text}]; a last line that was cut off is left out."""
    records = []
    for line in lines:
        try:
            records.append({name: value(field) for name, field in json.loads(line).items()})
        except ValueError:
            continue
    return records


def load(path):
    with open(path, encoding="utf-8", errors="replace") as file:
        return parse(file)


def seconds(record):
    """Since boot."""
    return int(record["__MONOTONIC_TIMESTAMP"]) / 1e6


def matching(records, **fields):
    """Those with all these fields: MESSAGE_ID="...", PV_VM="..."; _SYSTEMD_UNIT, UNIT, ..."""
    return [r for r in records if all(r.get(name) == text for name, text in fields.items())]


def line(record):
    """For people to read."""
    who = record.get("SYSLOG_IDENTIFIER") or record.get("_COMM", "?")
    return (f"[{seconds(record):10.3f}] {who}[{record.get('_PID', '-')}]: "
            f"{record.get('MESSAGE', '')}")
