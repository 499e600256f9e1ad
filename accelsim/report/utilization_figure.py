"""How well the engine is used: layer by layer from results, and PE by PE over time from a trace."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import numpy as np
from pydantic import BaseModel, Field, model_validator

from accelsim.errors import Fault, InputError, join_allowed
from accelsim.report import style
from accelsim.report.figure_data import LayerUse, layer_uses, result_names
from accelsim.report.model import Result
from accelsim.report.rows import Cell
from accelsim.report.sheet import Sheet, cut, panel_columns
from accelsim.report.stacked_figure import SWATCH, Fill, axis_scale, bars, name_bars, patch, recoloured
from accelsim.report.trace import SCHEMA
from accelsim.report.words import percent
from accelsim.yaml_io import Document, read_text, validate

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

BOUNDS = {"compute": (style.BLUE, ""), "memory": (style.VERMILLION, "////")}
MEAN: dict[str, Any] = {"color": style.INK, "lw": 0.7, "ls": (0, (4, 2))}  # a whole network's line
FIFTHS = [0, 0.2, 0.4, 0.6, 0.8, 1.0]
TICK_PT = 3.0  # between ticks, in the mean
MANY = 100  # layers whose bars have no rims
SHARE_PT = 30  # room for the share above each panel
INKS = ("#FFFFFF", "#D4E6F4", "#8FC1E3", "#3E8EC4", "#0B5E98", "#06304F")  # one hue, even in lightness


Shares = Annotated[list[list[Annotated[float, Field(ge=0, le=1)]]], Field(min_length=1)]
Cycle = Annotated[float, Field(ge=0, le=1e18)]
Count = Annotated[int, Field(ge=1, le=1 << 24)]


class _Span(BaseModel):
    name: str
    begin: Cycle
    end: Cycle


class _Shares(BaseModel):
    rows: Count
    cols: Count
    bin_cycles: Annotated[float, Field(gt=0, le=1e18)]
    row_shares: Shares
    column_shares: Shares

    @model_validator(mode="after")
    def _even(self) -> _Shares:
        for key in ("row_shares", "column_shares"):
            lengths = {len(line) for line in getattr(self, key)}
            if len(lengths) != 1 or 0 in lengths:
                raise ValueError(f"{key}: has lines of {join_allowed(map(str, sorted(lengths)))} shares, must be one length")
        return self


class _Trace(BaseModel):
    """What a heat map needs of a trace file: who ran, for how long, and the shares of PEs that were at work."""

    network: str
    architecture: str
    clock_hz: Annotated[float, Field(ge=1, le=1e12)]
    cycles: Annotated[float, Field(gt=0, le=1e18)]
    layers: list[_Span]
    array: _Shares


def draw_utilization(
    results: Sequence[Result], *, over_time: bool = False, labels: Sequence[str] | None = None,
    colours: Mapping[str, str] | None = None, sheet: Sheet,
) -> tuple[Figure, Any]:  # fmt: skip
    """A panel a result: the utilization of every layer with MACs, coloured by what bounds it.

    ``over_time`` makes each layer as wide as its share of time, so that areas are work done; else all are
    equally wide and named.
    """
    if not results:
        raise InputError(Fault("plot utilization", "", "there is no result to draw"))
    from matplotlib.lines import Line2D

    uses, names = layer_uses(results, labels), result_names(results, labels)
    fills, figure = recoloured(BOUNDS, BOUNDS, colours), sheet.figure
    columns = panel_columns(len(results), sheet.width_pt / 72) if sheet.given is None else 1
    panels = sheet.panels(len(results), False, columns)  # axes that are shared take three times as long to draw
    for axes, layers in zip(panels, uses, strict=True):
        _panel(axes, layers, over_time, fills, [0, 0.5, 1] if columns > 1 else FIFTHS)
    handles = [patch(fill, f"bound by {bound}") for bound, fill in fills.items()]
    handles.append(Line2D([], [], **MEAN, label="whole network"))
    if sheet.given is None:  # it takes room of the panels, else it stands above what is over them
        sheet.legend(handles, **SWATCH)
    for axes in set(panels) - set(panels[::columns]):
        axes.tick_params(labelleft=False)
    if over_time:
        for axes in panels[:-columns]:
            axes.tick_params(labelbottom=False)
        for axes in panels[-columns:]:
            axes.set_xlabel("Share of time")
    elif columns == 1:
        _name_layers(panels, uses, sheet.width_pt)
    for axes, result in zip(panels, results, strict=True):
        _mean(axes, result.totals.utilization)
    if len(results) == 1:
        panels[0].set_ylabel("Utilization of the MACs")
    else:
        figure.supylabel("Utilization of the MACs", fontsize=style.text_pt())
        _name_panels(figure, panels, names)
    if sheet.given is not None:
        sheet.legend(handles, **SWATCH)
    sheet.settle()
    return figure, panels[0] if len(results) == 1 else list(panels)


def _name_layers(panels: Sequence[Axes], uses: Sequence[Sequence[LayerUse]], width_pt: float) -> None:
    """Names under the bars of each panel; once, below all, where they are the same."""
    same = len({tuple(use.layer for use in layers) for layers in uses}) == 1
    for axes, layers in zip(panels, uses, strict=True):
        name_bars(axes, [use.layer for use in layers], width_pt)
        if same and axes is not panels[-1]:
            axes.set_xticklabels([])


def _name_panels(figure: Figure, panels: Sequence[Axes], names: Sequence[str]) -> None:
    """Whose panel it is, as much of the name as there is room for beside the share at the right."""
    style.lay_out(figure)
    small = style.small_pt()
    for axes, name in zip(panels, names, strict=True):
        room_pt = axes.get_window_extent().width * 72 / figure.dpi - SHARE_PT
        axes.set_title(cut(figure, name, small, room_pt), loc="left", pad=3, fontsize=small)


def _panel(
    axes: Axes, layers: Sequence[LayerUse], over_time: bool, fills: Mapping[str, Fill], shares: Sequence[float]
) -> None:
    from matplotlib.ticker import FuncFormatter

    begins = [u.begin_share if over_time else i - 0.43 for i, u in enumerate(layers)]
    ends = [u.end_share if over_time else i + 0.43 for i, u in enumerate(layers)]
    for bound, fill in fills.items():
        mine = [i for i, use in enumerate(layers) if use.bound == bound]
        widths = [ends[i] - begins[i] for i in mine]
        heights = [layers[i].utilization for i in mine]
        bars(axes, [begins[i] for i in mine], heights, 0.0, widths, fill, rim=0.15 if len(layers) < MANY else 0.0)
    axes.set(ylim=(0, 1), yticks=shares)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:.0f}%"))
    axes.set_axisbelow(True)
    axes.grid(axis="y", color="#E4E4E4", lw=0.4)
    if over_time:
        axes.set(xlim=(0, 1), xticks=shares)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: f"{100 * x:.0f}%"))
    else:
        axes.set(xlim=(-0.6, len(layers) - 0.4), xticks=[])


def _mean(axes: Axes, mean: float) -> None:
    """The whole network's utilization: a line, and its value above the right end."""
    axes.axhline(mean, **MEAN, zorder=3)
    axes.set_title(f"{percent(mean)}%", loc="right", pad=3, fontsize=style.small_pt())


# ---- the array over time ---------------------------------------------------------------------------


def read_trace(path: str | Path) -> dict[str, Any]:
    """What a trace file of ``simulate --trace`` says about its run; InputError where it has no array."""
    try:
        document = json.loads(read_text(Path(path)))
    except json.JSONDecodeError as error:
        raise InputError(Fault(str(path), "", f"is not JSON: {error.msg}", error.lineno, error.colno)) from None
    about = document.get("otherData") if isinstance(document, dict) else None
    if not isinstance(about, dict) or about.get("schema") != SCHEMA:
        raise InputError(Fault(str(path), "", "is no trace of accelsim simulate --trace FILE.json"))
    if not about.get("array"):
        words = "its engine is no array of PEs: there is nothing to draw over time"
        raise InputError(Fault(str(path), "otherData.array", words))
    return validate(Document(document, str(path)), _Trace, ("otherData",)).model_dump()


def draw_heat_map(
    about: Mapping[str, Any], *, colours: Mapping[str, str] | None = None, sheet: Sheet
) -> tuple[Figure, Any]:
    """Rows of PEs over time, and columns: the darker, the larger the share of their PEs that is at work."""
    from matplotlib.colors import LinearSegmentedColormap, PowerNorm

    array, seconds = about["array"], about["cycles"] / about["clock_hz"]
    factor, prefixed = axis_scale(seconds, "s")
    figure, panels = sheet.figure, sheet.panels(2, True)
    inks = LinearSegmentedColormap.from_list("accelsim", map_inks(colours))
    for axes, key, lines, words in zip(
        panels,
        ("row_shares", "column_shares"),
        (array["rows"], array["cols"]),
        ("PE row", "PE column"),
        strict=True,
    ):
        image = axes.imshow(
            np.asarray(array[key]),
            aspect="auto",
            cmap=inks,
            norm=PowerNorm(0.5, vmin=0, vmax=1),  # a few PEs at work are not none
            interpolation="nearest",
            extent=(0, seconds / factor, lines, 0),
            rasterized=True,
        )
        axes.set_ylabel(words)
        axes.set_yticks([0, lines // 2, lines])
        for side in ("top", "right"):
            axes.spines[side].set_visible(True)
    _mark_layers(panels[0], about, factor, figure.get_figwidth())
    panels[-1].set_xlabel(f"Time{prefixed}")
    bar = figure.colorbar(image, ax=list(panels), pad=0.015, aspect=28, ticks=[0, 0.05, 0.25, 0.5, 1])
    bar.ax.set_yticklabels(["0%", "5%", "25%", "50%", "100%"])
    bar.ax.minorticks_off()
    bar.set_label("PEs at work", labelpad=1)
    bar.outline.set_linewidth(0.6)
    sheet.settle()
    if sheet.given is None:
        figure.set_layout_engine("none")  # the axis of layers would move the panels at every drawing
    return figure, list(panels)


def map_inks(colours: Mapping[str, str] | None) -> list[str]:
    """The colours of a map: the house's steps, or from ``none`` at work to ``all`` as the caller has them."""
    ends = style.overridden(["none", "all"], [INKS[0], INKS[-1]], colours)
    return ends if colours else list(INKS)


def _mark_layers(axes: Axes, about: Mapping[str, Any], factor: float, width_in: float) -> None:
    """Names of the layers that last long enough, above their time, between ticks where they begin."""
    whole, width_pt = about["cycles"], 72 * width_in * 0.78
    ends = [layer["end"] / about["clock_hz"] / factor for layer in about["layers"]]
    if len(ends) * TICK_PT < width_pt:  # else they are a black bar
        top = axes.secondary_xaxis("top")
        top.set_xticks(ends, [""] * len(ends))
        top.tick_params(length=2)
    for layer in about["layers"]:
        share = (layer["end"] - layer["begin"]) / whole
        name = str(layer["name"])
        if share * width_pt >= 3.7 * len(name) + 3:
            middle = (layer["begin"] + layer["end"]) / 2 / about["clock_hz"] / factor
            axes.annotate(
                name,
                (middle, 1),
                (0, 3),
                xycoords=("data", "axes fraction"),
                textcoords="offset points",
                ha="center",
                va="bottom",
                fontsize=style.small_pt(),
            )


def heat_map_rows(about: Mapping[str, Any]) -> list[dict[str, Cell]]:
    """A row a bin of time and group of rows, or of columns."""
    array, rows = about["array"], list[dict[str, Cell]]()
    for line, key, lines in (("row", "row_shares", "rows"), ("column", "column_shares", "cols")):
        groups = np.array_split(np.arange(array[lines]), len(array[key]))
        for group, shares in zip(groups, array[key], strict=True):
            for number, share in enumerate(shares):
                begin = number * array["bin_cycles"]
                rows.append(
                    {
                        "line": line,
                        "first": int(group[0]),
                        "last": int(group[-1]),
                        "begin_cycle": begin,
                        "end_cycle": begin + array["bin_cycles"],
                        "share_at_work": share,
                    }
                )
    return rows
