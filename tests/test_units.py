"""Do quantities mean what people write, exactly, and is everything ambiguous refused?"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelsim import units
from accelsim.units import Bandwidth, Duration, ceil_div, format_bytes


@pytest.mark.parametrize(
    ("text", "hertz"),
    [
        ("700 MHz", 700_000_000),
        ("1GHz", 10**9),
        ("1.5 GHz", 1_500_000_000),
        ("100 kHz", 100_000),
        ("12 Hz", 12),
        (10**9, 10**9),
    ],
)
def test_frequencies(text: Any, hertz: int) -> None:
    assert units.parse_frequency_hz(text) == hertz


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("24 MiB", 24 << 20), ("32 KB", 32_000), ("32 kB", 32_000), ("32 KiB", 32_768), ("1 kiB", 1024),
        ("1 GB", 10**9), ("2 GiB", 2 << 30),
        ("12 B", 12), (12, 12), ("0.5 KiB", 512), ("1.5e3 B", 1500), ("1 TiB", 1 << 40),
    ],
)  # fmt: skip
def test_sizes(text: Any, size: int) -> None:
    assert units.parse_bytes(text) == size


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        ("34 GB/s", Bandwidth(bytes_per_second=Fraction(34 * 10**9))),
        ("1 kiB/s", Bandwidth(bytes_per_second=Fraction(1024))),
        ("25.6 GiB/s", Bandwidth(bytes_per_second=Fraction(256, 10) * 2**30)),
        ("400 Mb/s", Bandwidth(bytes_per_second=Fraction(50 * 10**6))),
        ("256 B/cycle", Bandwidth(bytes_per_cycle=Fraction(256))),
        ("4 b/cycle", Bandwidth(bytes_per_cycle=Fraction(1, 2))),
    ],
)
def test_bandwidths(text: str, rate: Bandwidth) -> None:
    assert units.parse_bandwidth(text) == rate
    assert units.parse_bandwidth(rate) is rate


@pytest.mark.parametrize(
    ("text", "time"),
    [
        ("100 ns", Duration(seconds=Fraction(1, 10**7))), ("12 cycles", Duration(cycles=12)), ("1 cycle", Duration(cycles=1)),
        (0, Duration(cycles=0)), ("0 ns", Duration(seconds=Fraction(0))), ("2 us", Duration(seconds=Fraction(2, 10**6))),
    ],
)  # fmt: skip
def test_durations(text: Any, time: Duration) -> None:
    assert units.parse_duration(text) == time


@pytest.mark.parametrize(
    ("value", "ratio"), [("1/4", Fraction(1, 4)), (0.5, Fraction(1, 2)), (2, Fraction(2)), ("1 / 2", Fraction(1, 2))]
)
def test_ratios(value: Any, ratio: Fraction) -> None:
    assert units.parse_ratio(value) == ratio


WRONG: list[tuple[Any, Any, str]] = [
    (units.parse_frequency_hz, "700", "must be a number with its unit, such as"),
    (units.parse_frequency_hz, 700, "must be a number with its unit"),
    (units.parse_frequency_hz, "700 mhz", "must be a number with its unit"),
    (units.parse_frequency_hz, "0 MHz", "must be greater than zero"),
    (units.parse_frequency_hz, "-1 MHz", "must be a number with its unit"),
    (units.parse_frequency_hz, True, "must be a number with its unit"),
    (units.parse_frequency_hz, None, "must be a number with its unit"),
    (units.parse_frequency_hz, "700 MB", "must be a number with its unit"),
    (units.parse_frequency_hz, "0.1 Hz", "must be 1 Hz to 1 THz"),
    (units.parse_bytes, "0 KiB", "must be greater than zero"),
    (units.parse_bytes, 0, "must be greater than zero"),
    (units.parse_bytes, -4, "must be greater than zero"),
    (units.parse_bytes, "0.3 B", "must be a whole number of bytes"),
    (units.parse_bytes, "24 Mb", "must be a number with its unit"),
    (units.parse_bytes, "24 miB", "must be a number with its unit"),
    (units.parse_bytes, 1.5, "must be a number with its unit"),
    (units.parse_bytes, True, "must be a number with its unit"),
    (units.parse_bytes, "1 2 KiB", "must be a number with its unit"),
    (units.parse_bandwidth, "34", "must be a number with its unit"),
    (units.parse_bandwidth, 34, "must be a number with its unit"),
    (units.parse_bandwidth, "34 GB", "must be a number with its unit"),
    (units.parse_bandwidth, "34 GB/h", "must be a number with its unit"),
    (units.parse_bandwidth, "34 gB/s", "must be a number with its unit"),
    (units.parse_bandwidth, "34 iB/s", "must be a number with its unit"),
    (units.parse_bytes, "34 iB", "must be a number with its unit"),
    (units.parse_bytes, "1e999999999 B", "must be a number with its unit"),
    (units.parse_bandwidth, "0 GB/s", "must be greater than zero"),
    (units.parse_duration, "100", "must be a number with its unit"),
    (units.parse_duration, 100, "must be a number with its unit"),
    (units.parse_duration, False, "must be a number with its unit"),
    (units.parse_duration, "1.5 cycles", "must be a whole number of cycles"),
    (units.parse_duration, "-1 ns", "must be a number with its unit"),
    (units.parse_ratio, "1/0", "must be a positive number or ratio"),
    (units.parse_ratio, "a", "must be a positive number or ratio"),
    (units.parse_ratio, 0, "must be greater than zero"),
    (units.parse_ratio, -1, "must be greater than zero"),
    (units.parse_ratio, "nan", "must be a positive number or ratio"),
    (units.parse_ratio, float("inf"), "must be a positive number or ratio"),
    (units.parse_ratio, True, "must be a positive number or ratio"),
    (units.parse_ratio, "1e999999999", "must be a positive number or ratio"),
]


@pytest.mark.parametrize(("parse", "value", "words"), WRONG)
def test_what_could_be_misread_is_refused(parse: Any, value: Any, words: str) -> None:
    with pytest.raises(ValueError, match="is ") as caught:
        parse(value)
    assert words in str(caught.value)


@given(st.integers(1, 10**6), st.sampled_from(["B", "KiB", "MiB", "GiB", "KB", "MB", "GB"]))
def test_binary_and_decimal_prefixes_are_never_confused(count: int, unit: str) -> None:
    base = 1024 if "i" in unit else 1000
    power = "BKMG".index(unit[0]) if unit != "B" else 0
    assert units.parse_bytes(f"{count} {unit}") == count * base**power


@given(rate=st.integers(1, 10**6), clock=st.integers(1, 10**10))
def test_a_bandwidth_is_exact_both_ways(rate: int, clock: int) -> None:
    a_second = units.parse_bandwidth(f"{rate} MB/s")
    assert a_second.per_second(clock) == rate * 10**6
    assert a_second.per_cycle(clock) == units.simple(Fraction(rate * 10**6, clock))
    a_cycle = units.parse_bandwidth(f"{rate} B/cycle")
    assert a_cycle.per_second(clock) == rate * clock
    assert a_cycle.per_cycle(clock) == rate


def test_a_latency_is_rounded_up_to_whole_cycles() -> None:
    assert units.parse_duration("100 ns").in_cycles(700_000_000) == 70
    assert units.parse_duration("100.1 ns").in_cycles(700_000_000) == 71
    assert units.parse_duration("3 cycles").in_cycles(1) == 3


def test_quantities_read_back_from_what_they_show() -> None:
    for text in ("34 GB/s", "256 B/cycle", "0.5 B/cycle"):
        assert units.parse_bandwidth(str(units.parse_bandwidth(text))) == units.parse_bandwidth(text)
    for text in ("100 ns", "12 cycles", "0 ns"):
        assert units.parse_duration(str(units.parse_duration(text))).in_cycles(10**9) == units.parse_duration(
            text
        ).in_cycles(10**9)


@given(st.integers(-(10**9), 10**9), st.integers(1, 10**6))
def test_ceil_div(numerator: int, denominator: int) -> None:
    quotient = ceil_div(numerator, denominator)
    assert (quotient - 1) * denominator < numerator <= quotient * denominator


def test_bytes_as_people_read_them() -> None:
    assert [format_bytes(n) for n in (0, 1023, 1024, 1572864, 3 << 30, 5 << 40)] == [
        "0 B", "1023 B", "1 KiB", "1.5 MiB", "3 GiB", "5 TiB",
    ]  # fmt: skip


@given(st.fractions(min_value="0.000000001", max_value=2**50), st.fractions(min_value="0.000000001", max_value=2**50))
def test_a_rate_has_few_parts_and_keeps_its_size_and_order(one: Fraction, other: Fraction) -> None:
    less, more = (units.simple(rate) for rate in sorted((one, other)))
    assert less <= more
    for rate in (one, other):
        near = units.simple(rate)
        assert near == rate or abs(near / rate - 1) <= Fraction(1, units.MOST_TERM)
        assert max(near.numerator, near.denominator) <= units.MOST_TERM or 1 in (near.numerator, near.denominator)


def test_many_decimals_mean_the_simple_fraction_they_come_from() -> None:
    assert Bandwidth(bytes_per_cycle=Fraction("48.57142857142857")).per_cycle(1) == Fraction(340, 7)
    assert Bandwidth(bytes_per_cycle=Fraction("0.3333333333333333")).per_cycle(1) == Fraction(1, 3)
