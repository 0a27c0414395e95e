# SPDX-License-Identifier: LGPL-2.1-or-later
"""What the functions of an object file call: ELF of 64 bits, x86-64 and s390x.

A reference counts as a call if the instruction calls or jumps. An address that is taken (lea,
larl, a load from the GOT, a pointer in data) is a callback and does not count. On s390x a call
through the GOT (-fno-plt) loads the address first, so it does not count either.
"""
import bisect
import struct
from typing import NamedTuple

X86_64, S390X = 62, 22
RELA, SYMTAB, EXECINSTR = 4, 2, 4
FUNC, LOCAL = 2, 0
# R_X86_64_PC32, PLT32, GOTPCREL, GOTPCRELX, REX_GOTPCRELX; R_390_PC32DBL, PLT32DBL
RELATIVE = {X86_64: (2, 4, 9, 41, 42), S390X: (19, 20)}


class NotReadable(Exception):
    """The object has no machine code that we know, as with -flto or on another architecture."""


class Section(NamedTuple):
    name: int
    type: int
    flags: int
    addr: int
    offset: int
    size: int
    link: int
    info: int
    addralign: int
    entsize: int


class Symbol(NamedTuple):
    name: str
    bind: int
    type: int
    section: int  # 0: defined elsewhere
    value: int
    size: int


class Object(NamedTuple):
    functions: set  # those that others can call
    calls: set  # of (caller, callee): the callee is defined in another object


def is_call(machine, code, at):
    """Does the operand at this offset belong to a call or a jump?"""
    if machine == S390X:  # brasl and brcl (jg); larl is c0x0
        return code[at - 2] == 0xC0 and code[at - 1] & 0xF in (4, 5)
    opcode = code[max(0, at - 2):at]
    return (opcode.endswith((b"\xe8", b"\xe9", b"\xff\x15", b"\xff\x25")) or
            opcode[:-1] == b"\x0f" and opcode[-1] & 0xF0 == 0x80)


class Reader:
    def __init__(self, data):
        if data[:5] != b"\x7fELF\x02":
            raise NotReadable("no ELF of 64 bits")
        self.data, self.order = data, "<" if data[5] == 1 else ">"
        (self.machine,) = self.unpack("H", 18)
        if self.machine not in RELATIVE:
            raise NotReadable(f"machine {self.machine}")
        (start,), (count, names) = self.unpack("Q", 0x28), self.unpack("HH", 0x3C)
        self.sections = [Section(*self.unpack("IIQQQQIIQQ", start + 64 * i)) for i in range(count)]
        if any(self.text(self.sections[names], section.name).startswith(".gnu.lto_")
               for section in self.sections):
            raise NotReadable("compiled with -flto")

    def unpack(self, what, at):
        return struct.unpack_from(self.order + what, self.data, at)

    def text(self, strings, at):
        at += strings.offset
        return self.data[at:self.data.index(b"\0", at)].decode()

    def symbols(self):
        for section in self.sections:
            if section.type == SYMTAB:
                for at in range(section.offset, section.offset + section.size, 24):
                    name, info, _, index, value, size = self.unpack("IBBHQQ", at)
                    yield Symbol(self.text(self.sections[section.link], name), info >> 4,
                                 info & 15, index, value, size)

    def references(self):
        """(section, offset, symbol's index) of each relative relocation in code."""
        for section in self.sections:
            if section.type == RELA and self.sections[section.info].flags & EXECINSTR:
                for at in range(section.offset, section.offset + section.size, 24):
                    offset, info, _ = self.unpack("QQq", at)
                    if info & 0xFFFFFFFF in RELATIVE[self.machine]:
                        yield section.info, offset, info >> 32


class Ranges:
    """Which function lies where."""
    def __init__(self, symbols):
        self.starts = sorted((symbol.section, symbol.value, symbol.size, symbol.name)
                             for symbol in symbols if symbol.type == FUNC and symbol.section)

    def at(self, section, offset):
        """The compiler's parts of a function (x.cold, x.part.0) count as the function."""
        index = bisect.bisect_right(self.starts, (section, offset, float("inf"), "")) - 1
        if index >= 0:
            where, value, size, name = self.starts[index]
            if where == section and offset < value + size:
                return name.partition(".")[0]
        return "?"


def read(data):
    """data: an object file's bytes."""
    reader = Reader(data)
    symbols = list(reader.symbols())
    ranges, calls = Ranges(symbols), set()
    for section, offset, index in reader.references():
        symbol, header = symbols[index], reader.sections[section]
        code = data[header.offset:header.offset + header.size]
        if symbol.section == 0 and symbol.name and is_call(reader.machine, code, offset):
            calls.add((ranges.at(section, offset), symbol.name))
    defined = {symbol.name for symbol in symbols
               if symbol.type == FUNC and symbol.section and symbol.bind != LOCAL}
    return Object(defined, calls)
