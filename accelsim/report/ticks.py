"""Ticks of logarithmic axes, in one style a figure: plain numbers where all are short, powers of ten where not."""

from __future__ import annotations

from collections.abc import Sequence
from math import log10
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PLAIN = (0.0099, 10_001)  # ticks between these are written out
MANY = 5  # decades from which on powers of ten take less room
POWERS = range(-15, 22)


def ticks(low: float, high: float, room: int) -> list[float]:
    """Decades between the limits; 2 and 5 as well where there are fewer than two, every other where too many."""
    decades = [10.0**power for power in POWERS if low <= 10.0**power <= high]
    if len(decades) < 2:
        return [m * 10.0**p for p in POWERS for m in (1, 2, 5) if low <= m * 10.0**p <= high]
    return decades[:: 1 + (len(decades) - 1) // room]


def minor_ticks(low: float, high: float) -> list[float]:
    """2 to 9 times each decade between the limits, unless there are very many decades."""
    multiples = range(2, 10) if high / low <= 1e7 else range(1, 2)
    return [m * 10.0**p for p in POWERS for m in multiples if low <= m * 10.0**p <= high]


def tick_label(value: float) -> str:
    """Plain numbers up to 10,000, powers of ten beyond: for text, where each number stands for itself."""
    if 1e-3 <= value < 99_999:
        return f"{value:,.10g}"
    return power_label(value)


def tick_labels(values: Sequence[float]) -> list[str]:
    """Ticks of an axis of the report page, all in one style."""
    return [power_label(value) if as_powers(values) else tick_label(value) for value in values]


def power_label(value: float) -> str:
    """``1000.0`` -> ``10³``."""
    return f"10{str(round(log10(value))).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


def as_powers(values: Sequence[float]) -> bool:
    """Whether these ticks read better as powers of ten."""
    decades = all(abs(log10(value) - round(log10(value))) < 1e-9 for value in values)
    short = all(PLAIN[0] < value < PLAIN[1] for value in values)
    return decades and not (short and len(values) <= MANY)


def words(values: Sequence[float], powers: bool) -> list[str]:
    """What ticks are called, all in one style."""
    return [f"$10^{{{round(log10(value))}}}$" if powers else f"{value:,.10g}" for value in values]


def log_axes(axes: Axes, x: tuple[float, float] | None, y: tuple[float, float] | None, x_infinite: float | None = None) -> None:
    """Make axes logarithmic between limits, their ticks in one style; ``x_infinite`` is where x has no limit."""
    spans = [span for span in (x, y) if span is not None]
    rooms = [ticks(*span, room=7) for span in spans]
    powers = any(map(as_powers, rooms))
    powers = powers and all(as_powers([*values, 1e9]) for values in rooms)  # a 20 or a 50 has no power's name
    for the_axis, span in ((axes.xaxis, x), (axes.yaxis, y)):
        if span is not None:
            infinite = x_infinite if the_axis is axes.xaxis else None
            _dress(the_axis, span, powers, infinite)


def _dress(axis: Any, span: tuple[float, float], powers: bool, infinite: float | None) -> None:
    from matplotlib.ticker import FixedFormatter, FixedLocator, NullFormatter

    axis.axes.set(**{f"{axis.axis_name}scale": "log", f"{axis.axis_name}lim": span})
    high = span[1] if infinite is None else span[1] / (span[1] / infinite) ** 2.6  # clear of the ∞
    values = ticks(span[0], high, room=7)
    names = words(values, powers)
    if infinite is not None:
        values, names = [*values, infinite], [*names, "∞"]
    axis.set_major_locator(FixedLocator(values))
    axis.set_major_formatter(FixedFormatter(names))
    for tick in axis.get_major_ticks():
        tick.label1.set_parse_math(True)
    axis.set_minor_locator(FixedLocator(minor_ticks(span[0], high)))
    axis.set_minor_formatter(NullFormatter())
