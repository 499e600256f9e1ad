"""A film of registers as a waveform: Value Change Dump (IEEE 1364), which GTKWave and every such viewer open.

Scopes are ``array``, its rows and PEs. In a PE, ``left`` and ``top`` are the operands at its multiplier,
``weight`` is what it holds and ``weight_next`` what is shifted in for the next tile, ``sum`` its accumulator
(os), ``psum_0`` its partial sum (ws, is), ``drain`` a sum on its way out; a number counts the registers of a
pipeline, youngest first. A register that holds nothing reads ``x`` (integers) or ``nan``. Times are
in picoseconds of the architecture's clock; ``cycle`` counts them, ``clk`` rises where each begins.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator, Sequence

from accelsim.report.registers import Film, Number, Signal, State

OPERANDS = ("left", "top", "weight", "weight_next", "left_hop", "top_hop")


def to_vcd(film: Film) -> str:
    """The text of the .vcd file."""
    signals = film.signals()
    codes = {signal: _code(number + 3) for number, signal in enumerate(signals)}
    return "\n".join([*_head(film, signals, codes), *_changes(film, signals, codes)]) + "\n"


def _code(number: int) -> str:
    """Identifier codes: printable characters, shortest first."""
    text = ""
    while True:
        number, digit = divmod(number, 94)
        text += chr(33 + digit)
        if not number:
            return text
        number -= 1


def _head(film: Film, signals: Sequence[Signal], codes: dict[Signal, str]) -> Iterator[str]:
    yield f"$comment {film.network} {film.layer} on {film.architecture}, {film.dataflow} $end"
    yield "$timescale 1 ps $end"
    yield "$scope module array $end"
    yield f"$var wire 1 {_code(0)} clk $end"
    yield f"$var integer 32 {_code(1)} cycle $end"
    yield f"$var integer 32 {_code(2)} fold $end"
    ports = [signal for signal in signals if signal[0] == "out"]
    for signal in ports:
        yield _variable(film, signal, codes[signal], f"out_{signal[1]}_{signal[2]}")
    for row in range(film.spec.rows):
        yield f"$scope module row_{row} $end"
        for col in range(film.spec.cols):
            mine = [signal for signal in signals if signal[1:3] == (row, col) and signal not in ports]
            yield f"$scope module pe_{row}_{col} $end"
            for signal in mine:
                stage = f"_{signal[3]}" if len(signal) > 3 else ""
                yield _variable(film, signal, codes[signal], f"{signal[0]}{stage}")
            yield "$upscope $end"
        yield "$upscope $end"
    yield "$upscope $end"
    yield "$enddefinitions $end"


def _variable(film: Film, signal: Signal, code: str, name: str) -> str:
    if film.is_float:
        return f"$var real 64 {code} {name} $end"
    return f"$var reg {_bits(film, signal)} {code} {name} $end"


def _bits(film: Film, signal: Signal) -> int:
    """A register's width; unsigned operands have one bit more here, for their sign."""
    formats = film.precision
    if signal[0] in OPERANDS:
        return 1 + max(formats.weight.bits, formats.input.bits)
    if signal[0] == "product":
        return 1 + formats.weight.bits + formats.input.bits
    return formats.accumulator.bits


def _changes(film: Film, signals: Sequence[Signal], codes: dict[Signal, str]) -> Iterator[str]:
    before: State = {}
    for cycle, frame in enumerate(film.frames):
        yield f"#{cycle * 10**12 // film.clock_hz}"
        yield f"1{_code(0)}"
        yield f"b{cycle:b} {_code(1)}"
        if cycle == 0 or frame.fold != film.frames[cycle - 1].fold:
            yield f"b{frame.fold:b} {_code(2)}" if frame.fold >= 0 else f"bx {_code(2)}"
        for signal in signals:
            value = frame.state.get(signal)
            if cycle == 0 or value != before.get(signal):
                yield f"{_value(film, value, _bits(film, signal))} {codes[signal]}"
        before = frame.state
        yield f"#{(2 * cycle + 1) * 10**12 // (2 * film.clock_hz)}"
        yield f"0{_code(0)}"
    yield f"#{len(film.frames) * 10**12 // film.clock_hz}"


def _value(film: Film, value: Number | None, bits: int) -> str:
    if film.is_float:
        return f"r{math.nan if value is None else struct.unpack('f', struct.pack('f', value))[0]!r}"
    return "bx" if value is None else f"b{int(value) & (1 << bits) - 1:b}"
