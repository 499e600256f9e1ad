"""Figures from results: each function returns ``(figure, axes)``; `save` writes one as PDF, EPS, PGF, SVG or PNG.

::

    result = accelsim.simulate("resnet50", "tpu_v1")
    figure, axes = accelsim.plot.roofline(result, machines=[accelsim.load_arch("haswell")])
    accelsim.plot.save(figure, "roofline.pdf")

Each figure's data is CSV text by the function of the same name that ends in ``_csv``. ``width`` is
``"single"`` (3.5 inches), ``"double"`` (7.16 inches), ``"slide"`` (a 16:9 picture, to be scaled) or a number
of inches. Without ``height_in`` the plot has the height that suits its width, and the figure is as much higher as its
legends need; with it the figure is exactly so high. All of them take ``ax``, axes of your own to draw into (a sequence for
figures of several panels); ``title``; and ``colours``, a colour by name of a machine, network, result or part that replaces
the house's. What you have set in matplotlib's ``rcParams`` (letters, sizes, ``axes.prop_cycle``) is kept. matplotlib is
imported when a figure is drawn, not before.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accelsim.errors import Fault, InputError
from accelsim.report import figure_data
from accelsim.report.figure_data import Shown as Bars
from accelsim.report.model import Result
from accelsim.report.roofline_data import Axis, Machine, roofline_csv
from accelsim.report.roofline_figure import draw_roofline
from accelsim.report.roofline_scene import Shown
from accelsim.report.rows import Cell, to_csv
from accelsim.report.sheet import Sheet, panel_columns, panels_in
from accelsim.report.style import Width, figure_size, house_style, save, to_bytes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from accelsim.analysis.tilings import Tilings
    from accelsim.arch.spec import Architecture
    from accelsim.workload.network import Network

__all__ = [
    "buffers",
    "buffers_csv",
    "energy",
    "energy_csv",
    "heat_map",
    "heat_map_csv",
    "pareto",
    "pareto_csv",
    "roofline",
    "roofline_csv",
    "save",
    "speedup",
    "speedup_csv",
    "stalls",
    "stalls_csv",
    "tilings",
    "tilings_csv",
    "tilings_of",
    "to_bytes",
    "utilization",
    "utilization_csv",
]

Results = Result | Sequence[Result]
Table = Result | Sequence[Result] | Sequence[Mapping[str, Cell]] | str | Path
"""Results, rows, or the path of a CSV file such as ``accelsim sweep`` writes."""
Colours = Mapping[str, str] | None
"""A colour by the name of what has it."""
Traced = str | Path | Mapping[str, Any]
"""A trace file, or what it says about its run (``otherData``)."""


def roofline(
    results: Results = (),
    machines: Sequence[Machine] = (),
    *,
    axis: Axis = "ops_per_byte",
    show: Shown = "layers",
    layers: Sequence[str] = (),
    join: bool = False,
    percent: bool = False,
    labels: Sequence[str] | None = None,
    name_layers: int | None = None,
    width: Width | float = "single",
    height_in: float | None = None,
    title: str = "",
    colours: Colours = None,
    ax: Any = None,
) -> tuple[Figure, Axes]:
    """Layers (or networks) under the roofs of the machines they ran on.

    Parameters
    ----------
    results:      one result or several; none draws the roofs of ``machines`` alone.
    machines:     architectures whose roofs are drawn too; ``(architecture, "int8")`` picks a roof.
    axis:         ``"ops_per_byte"``: ops (2 a MAC) a byte of off-chip traffic; ``"macs_per_weight_byte"``:
                  the TPU paper's axis, MACs a byte of weights read. The height counts a MAC as two ops.
    show:         ``"layers"``: a marker a layer, its area its share of time; ``"networks"``: one a network;
                  ``"levels"``: one a network and memory level, under that level's bandwidth.
    layers:       these layers alone.
    join:         join the same layer (or network) of one result to the next by an arrow: over batches, tiles, precisions.
    percent:      write with each name how much of its roof is attained.
    labels:       names of the results in the legend.
    name_layers:  name this many layers of each result, those that take most time; left out, every layer over 2 % of its
                  network's time. A name that finds no room is numbered, and listed beneath the plot.
    width, height_in, title, colours, ax: see the module.

    The figure belongs to pyplot: ``matplotlib.pyplot.show()`` shows it, a notebook does so by itself.
    """
    with _sheet(width, height_in, title, ax) as sheet:
        return draw_roofline(
            _listed(results), machines, axis=axis, show=show, layers=layers, join=join, percent=percent, labels=labels,
            name_layers=name_layers, colours=colours, sheet=sheet,
        )  # fmt: skip


def energy(
    results: Results,
    *,
    show: Bars | None = None,
    shares: bool = False,
    labels: Sequence[str] | None = None,
    width: Width | float = "single",
    height_in: float | None = None,
    title: str = "",
    colours: Colours = None,
    ax: Any = None,
) -> tuple[Figure, Axes]:
    """Energy by component, stacked: a bar a layer of one result, or a bar a result (``show="networks"``).

    ``shares``: every bar as shares of its total.
    """
    from accelsim.report.stacked_figure import draw_energy

    with _sheet(width, height_in, title, ax) as sheet:
        return draw_energy(_listed(results), show=show, shares=shares, labels=labels, colours=colours, sheet=sheet)


def stalls(
    results: Results,
    *,
    show: Bars | None = None,
    shares: bool | None = None,
    labels: Sequence[str] | None = None,
    width: Width | float = "single",
    height_in: float | None = None,
    title: str = "",
    colours: Colours = None,
    ax: Any = None,
) -> tuple[Figure, Axes]:
    """What every cycle was for, stacked by cause; networks as ``shares`` of their time unless told otherwise."""
    from accelsim.report.stacked_figure import draw_stalls

    with _sheet(width, height_in, title, ax) as sheet:
        return draw_stalls(_listed(results), show=show, shares=shares, labels=labels, colours=colours, sheet=sheet)


def utilization(
    results: Results,
    *,
    over_time: bool = False,
    labels: Sequence[str] | None = None,
    width: Width | float = "single",
    height_in: float | None = None,
    title: str = "",
    colours: Colours = None,
    ax: Any = None,
) -> tuple[Figure, Any]:
    """Utilization of every layer with MACs, a panel a result; axes are a list where there are several.

    ``over_time``: every layer is as wide as its share of time, so that areas are work done.
    """
    from accelsim.report.utilization_figure import draw_utilization

    listed = _listed(results)
    with _sheet(width, height_in, title, ax, panels=len(listed)) as sheet:
        return draw_utilization(listed, over_time=over_time, labels=labels, colours=colours, sheet=sheet)


def heat_map(
    trace: Traced,
    *,
    width: Width | float = "single",
    height_in: float | None = None,
    title: str = "",
    colours: Colours = None,
    ax: Any = None,
) -> tuple[Figure, Any]:
    """Which PEs of the array are at work when, from a trace file: axes are those of rows and of columns.

    ``colours``: of ``none`` and of ``all`` at work, between which the map is shaded.
    """
    from accelsim.report.utilization_figure import draw_heat_map

    about = _about(trace)
    with _sheet(width, height_in, title, ax) as sheet:
        return draw_heat_map(about, colours=colours, sheet=sheet)


def pareto(
    table: Table,
    x: str = "cycles",
    y: str = "energy_total_pj",
    *,
    label_by: str | None = None,
    labels: Sequence[str] | None = None,
    width: Width | float = "single",
    height_in: float | None = None,
    title: str = "",
    colours: Colours = None,
    ax: Any = None,
) -> tuple[Figure, Axes]:
    """Two columns of results or of a sweep's CSV against one another, and the Pareto front of each network.

    Smaller is better but for columns such as ``utilization``; ``max:KEY`` and ``min:KEY`` say so. ``label_by``
    is the column that names the points of the fronts; ``labels`` of results are such a column, ``label``.
    """
    from accelsim.report.points_figure import draw_pareto, find_points

    points = find_points(_rows(table, labels), x, y)
    with _sheet(width, height_in, title, ax) as sheet:
        return draw_pareto(points, label=label_by or ("label" if labels else None), colours=colours, sheet=sheet)


def tilings(
    network: str | Path | Network,
    arch: str | Path | Architecture,
    layer: str,
    *,
    mapping: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
    width: Width | float = "single",
    height_in: float | None = None,
    title: str = "",
    colours: Colours = None,
    ax: Any = None,
) -> tuple[Figure, Axes]:
    """Every legal tiling of a layer under the machine's roofs, the one that is used marked (Zhang, FPGA 2015, fig. 8).

    ``colours``: of ``tilings``, ``chosen`` and ``roof``.
    """
    found = _layer_tilings(network, arch, layer, mapping, overrides)
    return tilings_of(found, width=width, height_in=height_in, title=title, colours=colours, ax=ax)


def tilings_of(
    found: Tilings,
    *,
    width: Width | float = "single",
    height_in: float | None = None,
    title: str = "",
    colours: Colours = None,
    ax: Any = None,
) -> tuple[Figure, Axes]:
    """`tilings` of which the points have been found already."""
    from accelsim.report.tilings_figure import draw_tilings

    with _sheet(width, height_in, title, ax) as sheet:
        return draw_tilings(found, colours=colours, sheet=sheet)


def _layer_tilings(
    network: str | Path | Network, arch: str | Path | Architecture, layer: str, mapping: str | Path | None,
    overrides: Mapping[str, Any] | None,
) -> Tilings:  # fmt: skip
    from accelsim.analysis.tilings import layer_tilings
    from accelsim.api import prepare

    net, hardware, fixed, _ = prepare(network, arch, None, None, mapping, overrides or {})
    return layer_tilings(net, layer, hardware, fixed)


def speedup(
    results: Sequence[Result],
    *,
    baseline: str | None = None,
    labels: Sequence[str] | None = None,
    width: Width | float = "single",
    height_in: float | None = None,
    title: str = "",
    colours: Colours = None,
    ax: Any = None,
) -> tuple[Figure, Axes]:
    """Speed-ups over the ``baseline`` architecture (the first result's), and their geometric mean.

    ``labels``: a result each, what its machine is called.
    """
    from accelsim.report.speedup_figure import draw_speedups

    data = figure_data.speedups(figure_data.on_machines(_listed(results), labels), baseline)
    with _sheet(width, height_in, title, ax) as sheet:
        return draw_speedups(data, colours=colours, sheet=sheet)


def buffers(
    table: Table,
    *,
    level: str | None = None,
    traffic: str | None = None,
    labels: Sequence[str] | None = None,
    width: Width | float = "single",
    height_in: float | None = None,
    title: str = "",
    colours: Colours = None,
    ax: Any = None,
) -> tuple[Figure, Axes]:
    """Traffic (of the far end, or of the level ``traffic``) over the size of ``level``, a line a network (or label)."""
    from accelsim.report.points_figure import buffer_lines, draw_buffers, find_sizes

    rows = _rows(table, labels)
    sizes, far = find_sizes(rows, level, traffic)
    lines = buffer_lines(rows, sizes, far)
    with _sheet(width, height_in, title, ax) as sheet:
        return draw_buffers(lines, sizes, far, colours=colours, sheet=sheet)


# ---- data ------------------------------------------------------------------------------------------


def energy_csv(results: Results, show: Bars | None = None, labels: Sequence[str] | None = None) -> str:
    """The data of `energy`: a row a bar and component, in picojoules and as a share."""
    listed = _listed(results)
    stack = figure_data.energy_stack(listed, show or _bars(listed), labels)
    return to_csv(stack.rows("bar", "component", "energy_pj"))


def stalls_csv(results: Results, show: Bars | None = None, labels: Sequence[str] | None = None) -> str:
    """The data of `stalls`: a row a bar and use, in cycles and as a share."""
    listed = _listed(results)
    stack = figure_data.stall_stack(listed, show or _bars(listed), labels)
    whole = {use: tuple(int(v) for v in values) for use, values in stack.parts.items()}
    return to_csv(figure_data.Stack(stack.bars, whole).rows("bar", "use", "cycles"))


def utilization_csv(results: Results, labels: Sequence[str] | None = None) -> str:
    """The data of `utilization`: a row a layer with MACs."""
    return to_csv([asdict(use) for uses in figure_data.layer_uses(_listed(results), labels) for use in uses])


def heat_map_csv(trace: Traced) -> str:
    """The data of `heat_map`: a row a bin of time and group of rows or columns."""
    from accelsim.report.utilization_figure import heat_map_rows

    return to_csv(heat_map_rows(_about(trace)))


def pareto_csv(
    table: Table, x: str = "cycles", y: str = "energy_total_pj", labels: Sequence[str] | None = None
) -> str:
    """The data of `pareto`: the table's rows, and whether each is on the front."""
    from accelsim.report.points_figure import find_points

    return to_csv(find_points(_rows(table, labels), x, y).table())


def tilings_csv(
    network: str | Path | Network, arch: str | Path | Architecture, layer: str, *, mapping: str | Path | None = None,
    overrides: Mapping[str, Any] | None = None,
) -> str:  # fmt: skip
    """The data of `tilings`: a row a tiling."""
    from accelsim.report import tilings_figure

    return tilings_figure.tilings_csv(_layer_tilings(network, arch, layer, mapping, overrides))


def speedup_csv(results: Sequence[Result], baseline: str | None = None, labels: Sequence[str] | None = None) -> str:
    """The data of `speedup`: a row a network and machine, then the geometric means."""
    return to_csv(figure_data.speedups(figure_data.on_machines(_listed(results), labels), baseline).rows())


def buffers_csv(
    table: Table, level: str | None = None, traffic: str | None = None, labels: Sequence[str] | None = None
) -> str:
    """The data of `buffers`: a row a point, in bytes."""
    from accelsim.report.points_figure import buffer_lines, find_sizes

    rows = _rows(table, labels)
    sizes, far = find_sizes(rows, level, traffic)
    return to_csv(
        [
            {"network": name, "size_bytes": int(at), f"{far}_bytes": int(moved)}
            for name, points in buffer_lines(rows, sizes, far).items()
            for at, moved in points
        ]
    )


# ---- what all share --------------------------------------------------------------------------------


@contextmanager
def _sheet(width: Width | float, height_in: float | None, title: str, ax: Any, panels: int = 1) -> Iterator[Sheet]:
    """The caller's axes, or an empty figure of pyplot's in the house style; closed again where drawing fails."""
    from matplotlib import pyplot

    with house_style():
        if ax is not None:
            first = next(iter(ax)) if isinstance(ax, Iterable) else ax
            yield Sheet(first.get_figure(root=True), ax, False, title)
            return
        size = figure_size(width, height_in or _panels_in(width, panels))
        figure: Any = pyplot.figure(figsize=size, layout="constrained")
        try:
            yield Sheet(figure, None, height_in is None and width != "slide", title)
        except BaseException:
            pyplot.close(figure)
            raise


def _panels_in(width: Width | float, count: int) -> float | None:
    """Height for so many panels."""
    return None if count < 2 or width == "slide" else panels_in(count, panel_columns(count, figure_size(width)[0]))


def _listed(results: Results) -> list[Result]:
    return [results] if isinstance(results, Result) else list(results)


def _bars(results: Sequence[Result]) -> Bars:
    return "layers" if len(results) == 1 else "networks"


def _rows(table: Table, labels: Sequence[str] | None = None) -> Sequence[Mapping[str, Cell]]:
    if isinstance(table, str | Path):
        if labels is not None:
            raise InputError(Fault("--label", ", ".join(labels), "the rows of a table have their names, must be left out"))
        return figure_data.read_table(table)
    listed: list[Any] = [table] if isinstance(table, Result) else list(table)
    results = [row for row in listed if isinstance(row, Result)]
    return figure_data.result_rows(results, labels) if results else listed


def _about(trace: Traced) -> Mapping[str, Any]:
    from accelsim.report.utilization_figure import read_trace

    return read_trace(trace) if isinstance(trace, str | Path) else trace
