# SPDX-License-Identifier: LGPL-2.1-or-later
"""Where a C file can be changed so that its tests should notice: the mutations of tests/mutate.

Works on text that clang-format laid out. What is only said is left alone: strings, and calls whose
text no test compares (LOUD). A mutation is known by the file, the line before it, its line and what
that becomes, so a list of them outlives changes elsewhere in the file.
"""
import os
import re
import sys
from typing import NamedTuple

sys.path.insert(0, f"{os.path.dirname(os.path.abspath(__file__))}/../style")
import sources  # noqa: E402

LOUD = re.compile(r"\b(?:log_\w+|say\w*|perror|assert|static_assert)\(")
FREE = re.compile(r"free|\w+_free|\w*close\w*|\w*unref\w*|munmap|\w*unlink\w*")
NO_CALL = {"if", "while", "for", "switch", "return", "sizeof"}
COMPARISONS = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "=="}
WORDS = {"0": "1", "1": "0", "true": "false", "false": "true"}
RETURNED = {"0": "-1", "false": "true", "true": "false"}
LVALUE = r"(?:\*\w+|\w+(?:(?:->|\.)\w+|\[[^\]\n]+\])+)"


class Mutation(NamedTuple):
    kind: str
    start: int
    end: int
    text: str  # what stands there instead

    def apply(self, text):
        return text[:self.start] + self.text + text[self.end:]


class Change(NamedTuple):
    """How a reader sees a mutation, and how it is found again."""
    path: str
    before: str  # the line before
    old: str
    new: str

    def __str__(self):
        return f"{self.path}\n  {self.before}\n- {self.old}\n+ {self.new}\n"


def closing(code, at):
    """Where the parenthesis that opens at `at` closes."""
    depth = 0
    for i in range(at, len(code)):
        depth += (code[i] == "(") - (code[i] == ")")
        if depth == 0:
            return i
    raise ValueError("a parenthesis that nothing closes")


def quiet(text):
    """The code, with the calls in LOUD blanked out as comments and strings are."""
    code = sources.code_only(text)
    for match in LOUD.finditer(code):
        end = closing(code, match.end() - 1) + 1
        code = code[:match.start()] + re.sub(r"[^\n]", " ", code[match.start():end]) + code[end:]
    return code


def bodies(text, code):
    """[(start of the body, its end, whether it returns void)] of each function."""
    starts = [0] + [match.end() for match in re.finditer("\n", text)] + [len(text)]
    for function in sources.functions(text):
        first = starts[function.line - 1]
        body = code.index("{", first) + 1
        void = re.search(rf"\bvoid {function.name}\(", code[first:body]) is not None
        yield body, starts[function.line + function.length - 2], void


def conditions(code):
    for match in re.finditer(r"\b(?:if|while) \(", code):
        start, end = match.end(), closing(code, match.end() - 1)
        yield "negate", start, end, lambda old: f"!({old})"


def operators(code):
    for match in re.finditer(r" (<|<=|>|>=|==|!=) ", code):
        yield "compare", *match.span(1), COMPARISONS[match[1]]
    for match in re.finditer(r"&&|\|\|", code):
        yield "and-or", *match.span(), "||" if match[0] == "&&" else "&&"


def calls(code):
    """Statements that are a call, and what is freed on leaving a scope."""
    for match in re.finditer(r"(?m)^ +((?:\(void\)!?)?([A-Za-z_][\w.>-]*)\()", code):
        end = closing(code, match.end() - 1) + 1
        if code[end] == ";" and match[2] not in NO_CALL:
            yield "free" if FREE.fullmatch(match[2]) else "call", match.start(1), end, "(void)0"
    for match in re.finditer(r"(?m)^ +([\w.>-]+ = (\w+)\([^;]*\));", code):
        if FREE.fullmatch(match[2]):
            yield "free", *match.span(1), "(void)0"
    for match in re.finditer(r"\b_cleanup_\(\w+\) ", code):
        yield "free", *match.span(), ""


def assignments(code):
    """Only where a dropped one leaves an older value, rather than none."""
    for match in re.finditer(rf"(?m)^ +({LVALUE} = ([^;{{]+));", code):
        called = re.match(r"(\w+)\(", match[2])
        if not called or not FREE.fullmatch(called[1]):
            yield "assign", *match.span(1), "(void)0"
    changes = rf"(?m)^ +((?:{LVALUE}|\w+)(?: (?:[-+*/%|&^]|<<|>>)= [^;{{]+|\+\+|--));"
    for match in re.finditer(changes, code):
        yield "assign", *match.span(1), "(void)0"


def constants(code):
    """Not the sizes of arrays: nothing tells one that is too large."""
    code = re.sub(r"(?m)^( +(?!return)(?:[a-z_]\w* )+\*?\w+)(\[[^\]\n]*\])",
                  lambda match: match[1] + " " * len(match[2]), code)
    for match in re.finditer(r"(?<![\w.])(?:true|false|(?:0x[0-9a-fA-F]+|\d+)[UL]*)\b", code):
        if not re.search(r"\breturn $", code[:match.start()][-8:]):
            yield "constant", *match.span(), WORDS.get(match[0], f"({match[0]} + 1)")


def returns(code):
    """Success for an error or a value, and an error for success; 1 would be success, too."""
    for match in re.finditer(r"\breturn ([^;]+);", code):
        if match[1] != "NULL":
            yield "return", *match.span(1), RETURNED.get(match[1], "0")


def mutations(text):
    """All of them, in the bodies of functions, by where they are."""
    code = quiet(text)
    functions = list(bodies(text, code))
    found = {}
    for source in (conditions, operators, calls, assignments, constants, returns):
        for kind, start, end, new in source(code):
            if any(first <= start < last for first, last, _ in functions):
                old = text[start:end]
                lines = "\n" * old.count("\n") if not callable(new) else ""
                new = new(old) if callable(new) else new + lines
                found.setdefault((start, end, new), Mutation(kind, start, end, new))
    for first, _, void in functions:
        found[first, first] = Mutation("return", first, first, f" return{'' if void else ' 0'};")
    return sorted(found.values(), key=lambda mutation: mutation[1:])


def line_of(text, mutation):
    return text.count("\n", 0, mutation.start) + 1


def change_of(path, text, mutation):
    first = text.rfind("\n", 0, mutation.start) + 1
    last = text.find("\n", mutation.end)
    before = next((line for line in reversed(text[:first].splitlines()) if line.strip()), "")
    new = text[first:mutation.start] + mutation.text + text[mutation.end:last]
    return Change(path, *(" ".join(part.split()) for part in (before, text[first:last], new)))


def read_changes(lines):
    """[(Change, reason)] of a list: paragraphs of what Change prints, and then why."""
    paragraphs = re.split(r"\n\s*\n", "".join(line for line in lines if line[:1] != "#").strip())
    found = []
    for paragraph in filter(None, paragraphs):
        path, before, old, new, *reason = paragraph.split("\n")
        if (before[:2], old[:2], new[:2]) != ("  ", "- ", "+ "):
            raise ValueError(f"no mutation: {paragraph}")
        found.append((Change(path, before[2:], old[2:], new[2:]), " ".join(reason)))
    return found
