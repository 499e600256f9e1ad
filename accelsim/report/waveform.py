"""Registers over time as a waveform: Value Change Dump (IEEE 1364), which GTKWave and every such viewer open.

A register that holds nothing reads ``x`` (integers) or ``nan``. Times are in picoseconds of the architecture's clock;
``cycle`` counts them, ``clk`` rises where each begins.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

Number = int | float
Signal = tuple[Any, ...]
"""A register's name: what it is, where it is, its stage: ``("left", 2, 0)``."""
State = dict[Signal, Number]
"""What registers hold; those that are not in it hold nothing."""


class Variable(NamedTuple):
    """How a register stands in the file: the scopes around it, its name, its width (0: a float)."""

    scopes: tuple[str, ...]
    name: str
    bits: int


@dataclass(frozen=True)
class Waves:
    """Registers cycle by cycle: what each holds as the cycle begins. Variables of one scope stand together."""

    title: str
    clock_hz: int
    variables: Mapping[Signal, Variable]
    frames: Sequence[State]


class Film(Protocol):
    """What has registers to show."""

    def waves(self) -> Waves: ...


def to_vcd(film: Film) -> str:
    """The text of the .vcd file."""
    waves = film.waves()
    codes = {signal: _code(number + 2) for number, signal in enumerate(waves.variables)}
    return "\n".join([*_head(waves, codes), *_changes(waves, codes)]) + "\n"


def _code(number: int) -> str:
    """Identifier codes: printable characters, shortest first."""
    text = ""
    while True:
        number, digit = divmod(number, 94)
        text += chr(33 + digit)
        if not number:
            return text
        number -= 1


def _head(waves: Waves, codes: Mapping[Signal, str]) -> Iterator[str]:
    yield f"$comment {waves.title} $end"
    yield "$timescale 1 ps $end"
    top = next(iter(waves.variables.values())).scopes[0]
    yield f"$scope module {top} $end"
    yield f"$var wire 1 {_code(0)} clk $end"
    yield f"$var integer 32 {_code(1)} cycle $end"
    inside: tuple[str, ...] = (top,)
    for signal, variable in waves.variables.items():
        yield from _moves(inside, variable.scopes)
        inside = variable.scopes
        kind = f"reg {variable.bits}" if variable.bits else "real 64"
        yield f"$var {kind} {codes[signal]} {variable.name} $end"
    yield from _moves(inside, ())
    yield "$enddefinitions $end"


def _moves(inside: tuple[str, ...], scopes: tuple[str, ...]) -> Iterator[str]:
    """Out of the scopes that are left, into those that are entered."""
    shared = 0
    while shared < min(len(inside), len(scopes)) and inside[shared] == scopes[shared]:
        shared += 1
    yield from ["$upscope $end"] * (len(inside) - shared)
    yield from (f"$scope module {scope} $end" for scope in scopes[shared:])


def _changes(waves: Waves, codes: Mapping[Signal, str]) -> Iterator[str]:
    before: State = {}
    for cycle, frame in enumerate(waves.frames):
        yield f"#{cycle * 10**12 // waves.clock_hz}"
        yield f"1{_code(0)}"
        yield f"b{cycle:b} {_code(1)}"
        for signal, variable in waves.variables.items():
            value = frame.get(signal)
            if cycle == 0 or value != before.get(signal):
                yield f"{_value(value, variable.bits)} {codes[signal]}"
        before = frame
        yield f"#{(2 * cycle + 1) * 10**12 // (2 * waves.clock_hz)}"
        yield f"0{_code(0)}"
    yield f"#{len(waves.frames) * 10**12 // waves.clock_hz}"


def _value(value: Number | None, bits: int) -> str:
    if not bits:
        return f"r{math.nan if value is None else struct.unpack('f', struct.pack('f', value))[0]!r}"
    return "bx" if value is None else f"b{int(value) & (1 << bits) - 1:b}"
