"""Quantities as people write them, and as the simulator counts them.

``"700 MHz"`` becomes 700 000 000 Hz, ``"24 MiB"`` 25 165 824 bytes, ``"34 GB/s"`` and ``"256 B/cycle"``
a :class:`Bandwidth`. Decimal prefixes (k, M, G, T) are powers of 1000, binary ones (Ki, Mi, Gi) of 1024;
they are never confused: ``"32 KB"`` is 32 000 bytes. A number without a unit is refused wherever more than
one unit could be meant.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from typing import Annotated, Any

from pydantic import BeforeValidator, Field, PlainSerializer, WithJsonSchema

MOST = 10**9
"""The most of anything: sizes, channels, batches. What is derived from a few of them still fits 64 bits."""
MOST_HERTZ, MOST_BYTES = 10**12, 2**50
MOST_TERM = 1 << 20  # of a rate as a fraction of bytes a cycle
LEAST_BYTES_PER_SECOND, LEAST_BYTES_PER_CYCLE = 1000, Fraction(1, 10**6)
_NUMBER = r"\s*([0-9]{1,40}(?:\.[0-9]{0,40})?(?:[eE][+-]?[0-9]{1,2})?|\.[0-9]{1,40})\s*"
_DECIMAL = {"": 1, "k": 10**3, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_BINARY = {"Ki": 2**10, "Mi": 2**20, "Gi": 2**30, "Ti": 2**40}
_SECONDS = {"s": Fraction(1), "ms": Fraction(1, 10**3), "us": Fraction(1, 10**6), "ns": Fraction(1, 10**9)}


@lru_cache(maxsize=4096)
def simple(rate: Fraction) -> Fraction:
    """The nearest fraction whose terms are `MOST_TERM` at most, so that times in parts of a cycle fit 64 bits.

    What is faster or slower than all of these is taken as the nearest n or 1/n.
    """
    if max(rate.numerator, rate.denominator) <= MOST_TERM:
        return rate
    if rate > 1:
        return 1 / simple(1 / rate)
    return rate.limit_denominator(MOST_TERM) if rate * MOST_TERM >= 1 else Fraction(1, round(1 / rate))


@dataclass(frozen=True)
class Bandwidth:
    """A rate of bytes: exactly one of ``bytes_per_second`` and ``bytes_per_cycle`` is set."""

    bytes_per_second: Fraction | None = None
    bytes_per_cycle: Fraction | None = None

    def per_cycle(self, clock_hz: int) -> Fraction:
        """Bytes a cycle at ``clock_hz``: exact where that is a `simple` fraction, else the nearest one."""
        if self.bytes_per_cycle is not None:
            return simple(self.bytes_per_cycle)
        assert self.bytes_per_second is not None
        return simple(self.bytes_per_second / clock_hz)

    def per_second(self, clock_hz: int) -> Fraction:
        """Bytes a second at ``clock_hz``, exact."""
        if self.bytes_per_second is not None:
            return self.bytes_per_second
        assert self.bytes_per_cycle is not None
        return self.bytes_per_cycle * clock_hz

    def times(self, ports: int) -> Bandwidth:
        """The rate of ``ports`` such ports together."""
        rates = (rate and rate * ports for rate in (self.bytes_per_second, self.bytes_per_cycle))
        return Bandwidth(*rates)

    def __str__(self) -> str:
        if self.bytes_per_cycle is not None:
            return f"{float(self.bytes_per_cycle):g} B/cycle"
        assert self.bytes_per_second is not None
        return f"{float(self.bytes_per_second / 10**9):g} GB/s"


@dataclass(frozen=True)
class Duration:
    """A time: exactly one of ``seconds`` and ``cycles`` is set."""

    seconds: Fraction | None = None
    cycles: int | None = None

    def in_cycles(self, clock_hz: int) -> int:
        """Whole cycles at ``clock_hz``, rounded up."""
        if self.cycles is not None:
            return self.cycles
        assert self.seconds is not None
        return -((-self.seconds * clock_hz).__floor__())

    def __str__(self) -> str:
        return f"{self.cycles} cycles" if self.cycles is not None else f"{float((self.seconds or 0) * 10**9):g} ns"


def _split(text: Any, unit_pattern: str, example: str) -> tuple[Fraction, str]:
    match = re.fullmatch(_NUMBER + unit_pattern, text) if isinstance(text, str) else None
    if match is None:
        raise ValueError(f"is {text!r}, must be a number with its unit, such as {example}")
    return Fraction(match[1].rstrip(".") or "0"), match[2]


def _scale(prefix: str) -> int:
    """``"k"`` or ``"K"`` -> 1000, ``"ki"`` or ``"Ki"`` -> 1024."""
    return _BINARY[prefix.capitalize()] if prefix.endswith("i") else _DECIMAL[prefix]


def _positive(value: Fraction, text: Any) -> Fraction:
    if value <= 0:
        raise ValueError(f"is {text!r}, must be greater than zero")
    return value


def parse_frequency_hz(text: Any) -> int:
    """``"700 MHz"`` -> 700000000. Raises ValueError on anything but a positive frequency."""
    if isinstance(text, int) and not isinstance(text, bool) and 10**4 <= text <= MOST_HERTZ:
        return text  # a bare count of hertz, as a result file holds it
    value, unit = _split(text, r"([kMG]?Hz)", '"700 MHz"')
    hertz = round(_positive(value * _DECIMAL[unit[:-2]], text))
    if not 1 <= hertz <= MOST_HERTZ:
        raise ValueError(f"is {text!r}, must be 1 Hz to 1 THz")
    return hertz


def parse_bytes(text: Any) -> int:
    """``"24 MiB"`` -> 25165824, ``"32 KB"`` -> 32000; a bare integer is bytes."""
    if isinstance(text, int) and not isinstance(text, bool):
        size = _positive(Fraction(text), text)
    else:
        value, unit = _split(text, r"((?:[kKMGT]i?)?B)", '"256 KiB"')
        size = _positive(value * _scale(unit[:-1]), text)
    if size.denominator != 1:
        raise ValueError(f"is {text!r}, must be a whole number of bytes")
    if size > MOST_BYTES:
        raise ValueError(f"is {text!r}, must be at most 1024 TiB; left out it is without limit")
    return int(size)


def parse_bandwidth(text: Any) -> Bandwidth:
    """``"34 GB/s"``, ``"25.6 GiB/s"``, ``"400 Mb/s"`` or ``"256 B/cycle"`` -> `Bandwidth`."""
    if isinstance(text, Bandwidth):
        return text
    value, unit = _split(text, r"((?:[kKMGT]i?)?[Bb]/(?:s|cycle))", '"34 GB/s" or "256 B/cycle"')
    amount, per = unit.split("/")
    scale = _scale(amount[:-1])
    rate = _positive(value * scale / (8 if amount.endswith("b") else 1), text)
    least = LEAST_BYTES_PER_SECOND if per == "s" else LEAST_BYTES_PER_CYCLE
    if not least <= rate <= MOST_BYTES:
        raise ValueError(f"is {text!r}, must be {float(least):g} B/{per} to {MOST_BYTES / 10**12:g} TB/{per}")
    return Bandwidth(bytes_per_second=rate) if per == "s" else Bandwidth(bytes_per_cycle=rate)


def parse_duration(text: Any) -> Duration:
    """``"100 ns"`` or ``"12 cycles"`` -> `Duration`; zero is allowed."""
    if isinstance(text, Duration):
        return text
    if text == 0 and not isinstance(text, bool):
        return Duration(cycles=0)
    value, unit = _split(text, r"(s|ms|us|ns|cycles?)", '"100 ns" or "12 cycles"')
    if not unit.startswith("cycle"):
        if value * _SECONDS[unit] > 1:
            raise ValueError(f"is {text!r}, must be at most 1 s")
        return Duration(seconds=value * _SECONDS[unit])
    if value > MOST:
        raise ValueError(f"is {text!r}, must be at most {MOST:,} cycles")
    if value.denominator != 1:
        raise ValueError(f"is {text!r}, must be a whole number of cycles")
    return Duration(cycles=int(value))


def parse_ratio(value: Any) -> Fraction:
    """``"1/4"``, ``0.5`` or ``2`` -> an exact positive fraction."""
    text = str(value).replace(" ", "")
    try:
        if isinstance(value, bool) or len(text) > 40 or re.search(r"[eE][+-]?[0-9]{3}", text):
            raise ValueError
        ratio = Fraction(text)
    except (ValueError, ZeroDivisionError):
        raise ValueError(f'is {value!r}, must be a positive number or ratio, such as 1 or "1/4"') from None
    return _positive(ratio, value)


PositiveInt = Annotated[int, Field(strict=True, gt=0, le=MOST)]
"""A count of at least 1. Strict: ``true``, ``"8"`` and ``8.0`` are no counts."""
NonNegativeInt = Annotated[int, Field(strict=True, ge=0, le=MOST)]
Batch = Annotated[int, Field(strict=True, gt=0, le=10**6)]
"""Samples that a network runs on at once."""
Seed = Annotated[int, Field(strict=True, ge=0)]
Side = Annotated[int, Field(strict=True, gt=0, le=1 << 16)]
"""So many units side by side, or registers behind one another."""
PortBits = Annotated[int, Field(strict=True, gt=0, le=1 << 24)]
"""How wide an access of a memory is."""
Stages = Annotated[int, Field(strict=True, ge=0, le=1024)]
"""So many cycles on the way through a unit."""


def _text_schema(example: str) -> WithJsonSchema:
    return WithJsonSchema({"type": ["string", "integer", "number"], "examples": [example]})


Hertz = Annotated[int, BeforeValidator(parse_frequency_hz), _text_schema("700 MHz")]
Bytes = Annotated[int, BeforeValidator(parse_bytes), _text_schema("24 MiB")]
BandwidthField = Annotated[
    Bandwidth, BeforeValidator(parse_bandwidth), PlainSerializer(str), _text_schema("34 GB/s")
]
DurationField = Annotated[
    Duration, BeforeValidator(parse_duration), PlainSerializer(str), _text_schema("100 ns")
]
Ratio = Annotated[Fraction, BeforeValidator(parse_ratio), PlainSerializer(str), _text_schema("1/4")]


def ceil_div(numerator: int, denominator: int) -> int:
    """Smallest integer not below ``numerator / denominator``, for integers."""
    return -(-numerator // denominator)


def format_bytes(size_bytes: float) -> str:
    """``1572864`` -> ``'1.5 MiB'``: at most three significant decimals, binary prefixes."""
    for prefix in ("", "Ki", "Mi", "Gi"):
        if abs(size_bytes) < 1024:
            return f"{size_bytes:.4g} {prefix}B"
        size_bytes /= 1024
    return f"{size_bytes:.4g} TiB"
