"""Speed-ups over a baseline: a group of bars a network, and the geometric mean behind them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from accelsim.report import style
from accelsim.report.figure_data import Speedups
from accelsim.report.sheet import Sheet
from accelsim.report.stacked_figure import LONGEST_NAME, SWATCH, bars, name_bars, patch
from accelsim.report.ticks import log_axes
from accelsim.report.words import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

WIDE = 12.0  # a span of speed-ups from which on the axis is logarithmic
MEAN = "geomean"
HATCHES = ("", "////", "....", "xxxx", "----", "\\\\\\\\")  # one a machine: told apart in grey


def draw_speedups(
    data: Speedups, *, colours: Mapping[str, str] | None = None, sheet: Sheet
) -> tuple[Figure, Axes]:
    """Bars from 1 up on a logarithmic axis, from 0 up on a linear one; values above them where there is room."""
    axes = sheet.axes()
    groups = [*data.networks, *([MEAN] if len(data.networks) > 1 else [])]
    values = {
        machine: [*speeds, *([data.means[machine]] if len(groups) > len(speeds) else [])]
        for machine, speeds in data.machines.items()
    }
    known = [v for speeds in values.values() for v in speeds if v is not None]
    wide = max(*known, 1.0) / min(*known, 1.0) > WIDE
    places = [i + (0.35 if name == MEAN else 0.0) for i, name in enumerate(groups)]
    width = 0.8 / len(values)
    room_pt = (sheet.width_pt - 32) / len(groups) * width
    upright = 3.9 * max(len(_words(value)) for value in known) > room_pt
    shades = style.overridden(list(values), [style.colour(number) for number in range(len(values))], colours)
    fills = list(zip(shades, [HATCHES[number % len(HATCHES)] for number in range(len(values))], strict=True))
    for number, speeds in enumerate(values.values()):
        shift = (number - (len(values) - 1) / 2) * width
        xs = [place + shift for place, value in zip(places, speeds, strict=True) if value is not None]
        ys = [value for value in speeds if value is not None]
        foot = 1.0 if wide else 0.0
        heights = [y - foot for y in ys]
        bars(axes, [x - 0.47 * width for x in xs], heights, foot, width * 0.94, fills[number])
        if not upright or room_pt >= style.small_pt():
            for x, y in zip(xs, ys, strict=True):
                _value(axes, x, max(y, foot), _words(y), upright)
    _axis(axes, known, wide)
    name_bars(axes, groups, sheet.width_pt, places)
    axes.axhline(1, color=style.INK, lw=0.7, zorder=2.5)
    axes.set_ylabel(f"Speed-up over {shorten(data.baseline, LONGEST_NAME)} (×)")
    sheet.legend([patch(fill, machine) for fill, machine in zip(fills, values, strict=True)], **SWATCH)
    sheet.settle()
    return sheet.figure, axes


def _words(value: float) -> str:
    if value < 0.0995:
        return f"{value:.1g}"
    return f"{value:.2f}" if value < 9.995 else f"{value:.1f}" if value < 99.95 else f"{value:,.0f}"


def _value(axes: Axes, x: float, y: float, words: str, upright: bool) -> None:
    axes.annotate(
        words,
        (x, y),
        (0, 1.5),
        textcoords="offset points",
        ha="center",
        va="bottom",
        rotation=90 if upright else 0,
        fontsize=style.small_pt(),
    )


def _axis(axes: Axes, known: list[float], wide: bool) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    if wide:
        low, high = min(*known, 1.0) / 1.4, max(*known, 1.0) * 1.9
        log_axes(axes, None, (low, high))
    else:
        axes.set_ylim(0, 1.14 * max(*known, 1.0))
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 2.5, 5, 10]))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,.10g}×"))
    axes.set_axisbelow(True)
    axes.grid(axis="y", color="#E4E4E4", lw=0.4)
