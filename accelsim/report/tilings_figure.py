"""The figure of tilings: a cloud of all legal tilings under a machine's roofs, the chosen one marked."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from accelsim.analysis.tilings import Tilings
from accelsim.report import style
from accelsim.report.labels import Placer, Spot
from accelsim.report.rows import to_csv
from accelsim.report.sheet import Sheet
from accelsim.report.ticks import log_axes
from accelsim.report.words import significant

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MARGIN = 1.6  # room around the cloud, as a factor on log axes


COLOURS = {"tilings": style.SKY, "chosen": style.VERMILLION, "roof": style.INK}


def draw_tilings(
    tilings: Tilings, *, colours: Mapping[str, str] | None = None, sheet: Sheet | None = None
) -> tuple[Figure, Axes]:
    """Draw every tiling as a point, attainable Gops against ops per byte of off-chip traffic, on log-log
    axes.
    """
    inks = dict(zip(COLOURS, style.overridden(list(COLOURS), list(COLOURS.values()), colours), strict=True))
    with style.house_style():
        sheet = sheet or Sheet(style.new_figure("single"))
        axes = sheet.axes()
        _frame(axes, tilings)
        _roofs(axes, tilings, inks["roof"])
        sheet.legend(_cloud(axes, tilings, inks))
        sheet.settle()
        _name_roof(axes, tilings, inks["roof"])
    return sheet.figure, axes


def _frame(axes: Axes, tilings: Tilings) -> None:
    x, y = tilings.ops_per_byte, tilings.attainable_gops
    limits = float(x.min()) / MARGIN, float(x.max()) * MARGIN
    log_axes(axes, limits, (float(y.min()) / MARGIN, tilings.peak_gops * 1.5 * MARGIN))
    axes.set_xlabel("Operational intensity (ops per off-chip byte)")
    axes.set_ylabel("Attainable performance (GOPS)")


def _roofs(axes: Axes, tilings: Tilings, ink: str) -> None:
    low, high = axes.get_xlim()
    x = np.geomspace(low, high, 200)
    roof = np.full_like(x, tilings.peak_gops)
    if tilings.bytes_per_second is not None:
        roof = np.minimum(roof, x * tilings.bytes_per_second / 1e9)
    axes.plot(x, roof, color=ink, linewidth=1.0, zorder=2)


def _name_roof(axes: Axes, tilings: Tilings, ink: str) -> None:
    words = f"{tilings.architecture}, {significant(tilings.peak_gops)} GOPS"
    high = axes.get_xlim()[1]
    low = axes.get_xlim()[0]
    places = [high * (low / high) ** (step / 20) for step in range(20)]
    spots = [Spot(x, tilings.peak_gops, -1.5, up, "right") for up in (1.5, 4.0) for x in places]
    Placer(axes).put(words, spots, fontsize=style.small_pt(), color=style.ink(ink))


def _cloud(axes: Axes, tilings: Tilings, inks: Mapping[str, str]) -> list[Any]:
    """Points that fall on one place are drawn once; the chosen one lies on top."""
    places = np.unique(np.stack([tilings.ops_per_byte, tilings.attainable_gops], axis=1), axis=0)
    count = len(tilings.tiles)
    cloud = axes.scatter(
        places[:, 0], places[:, 1], s=2.0, color=inks["tilings"], linewidths=0, zorder=1, rasterized=True,
        label=f"{tilings.layer}: {count:,} legal tilings",
    )  # fmt: skip
    chosen = axes.scatter(
        tilings.ops_per_byte[tilings.chosen], tilings.attainable_gops[tilings.chosen], s=36, marker="*",
        color=inks["chosen"], edgecolors=style.INK, linewidths=0.4, zorder=3, label="chosen",
    )  # fmt: skip
    return [cloud, chosen]


def tilings_csv(tilings: Tilings) -> str:
    """The points as a table: tile, order, intensity, roof and attainable performance, which one is chosen."""
    return to_csv(list(tilings.rows()))
