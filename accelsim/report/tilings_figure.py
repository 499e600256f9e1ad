"""The figure of tilings: a cloud of all legal tilings under a machine's roofs, the chosen one marked."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from accelsim.analysis.tilings import Tilings
from accelsim.report import style
from accelsim.report.roofline_figure import minor_ticks, tick_label, ticks
from accelsim.report.rows import to_csv
from accelsim.report.words import significant

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARGIN = 1.6  # room around the cloud, as a factor on log axes


def draw_tilings(
    tilings: Tilings,
    *,
    width: style.Width | float = "single",
    height_in: float | None = None,
    figure: Figure | None = None,
) -> tuple[Figure, Axes]:
    """Draw every tiling as a point, attainable Gops against ops per byte of off-chip traffic, on log-log
    axes.
    """
    with style.house_style():
        figure = figure or style.new_figure(width, height_in)
        axes = figure.add_subplot()
        _frame(axes, tilings)
        _roofs(axes, tilings)
        _cloud(axes, tilings)
        axes.legend(loc="lower right")
    return figure, axes


def _frame(axes: Axes, tilings: Tilings) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

    x, y = tilings.ops_per_byte, tilings.attainable_gops
    axes.set(xscale="log", yscale="log")
    axes.set_xlim(float(x.min()) / MARGIN, float(x.max()) * MARGIN)
    axes.set_ylim(float(y.min()) / MARGIN, tilings.peak_gops * MARGIN)
    for axis, limits in ((axes.xaxis, axes.get_xlim()), (axes.yaxis, axes.get_ylim())):
        axis.set_major_locator(FixedLocator(ticks(*limits, room=8)))
        axis.set_minor_locator(FixedLocator(minor_ticks(*limits)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: tick_label(value)))
        axis.set_minor_formatter(NullFormatter())
    axes.set_xlabel("Operational intensity (ops per off-chip byte)")
    axes.set_ylabel("Attainable performance (GOPS)")


def _roofs(axes: Axes, tilings: Tilings) -> None:
    low, high = axes.get_xlim()
    x = np.geomspace(low, high, 200)
    roof = np.full_like(x, tilings.peak_gops)
    if tilings.bytes_per_second is not None:
        roof = np.minimum(roof, x * tilings.bytes_per_second / 1e9)
    axes.plot(x, roof, color=style.INK, linewidth=1.0, zorder=2)
    words = f"{tilings.architecture}, {significant(tilings.peak_gops)} GOPS"
    axes.annotate(
        words,
        (high, tilings.peak_gops),
        xytext=(-2, 3),
        textcoords="offset points",
        ha="right",
        fontsize=style.SMALL_PT,
    )


def _cloud(axes: Axes, tilings: Tilings) -> None:
    """Points that fall on one place are drawn once; the chosen one lies on top."""
    places = np.unique(np.stack([tilings.ops_per_byte, tilings.attainable_gops], axis=1), axis=0)
    count = len(tilings.tiles)
    axes.scatter(
        places[:, 0], places[:, 1], s=2.0, color=style.SKY, linewidths=0, zorder=1, rasterized=True,
        label=f"{tilings.layer}: {count:,} legal tilings",
    )  # fmt: skip
    axes.scatter(
        tilings.ops_per_byte[tilings.chosen], tilings.attainable_gops[tilings.chosen], s=36, marker="*",
        color=style.VERMILLION, edgecolors=style.INK, linewidths=0.4, zorder=3, label="chosen",
    )  # fmt: skip


def tilings_csv(tilings: Tilings) -> str:
    """The points as a table: tile, order, intensity, roof and attainable performance, which one is chosen."""
    return to_csv(list(tilings.rows()))
