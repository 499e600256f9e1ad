"""The roofline figure: layers or networks under the roofs of the machines they ran on, on log-log axes.

Each layer is a marker whose area is its share of its network's time. Roofs carry their names and values
themselves, so that no second legend has to be read; other machines' roofs are muted. Layers without off-chip
traffic have no finite intensity: they stand in a band of their own, marked with the sign for infinity.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import atan2, ceil, degrees, log10
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from accelsim.analysis.roofline import VECTOR
from accelsim.errors import Fault, InputError
from accelsim.report import style
from accelsim.report.labels import Crowd, Spot, place
from accelsim.report.model import Result
from accelsim.report.roofline_data import (
    Axis,
    Machine,
    MachineRoof,
    Point,
    layer_points,
    level_points,
    level_roofs,
    network_point,
    other_roofs,
    result_labels,
    simulated_roofs,
)
from accelsim.report.words import compact, significant

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

Shown = Literal["layers", "networks", "levels"]
X_LABELS: dict[Axis, str] = {
    "ops_per_byte": "Operational intensity (ops per off-chip byte)",
    "macs_per_weight_byte": "Operational intensity (MACs per byte of weights)",
}
X_UNITS: dict[Axis, str] = {"ops_per_byte": "op/B", "macs_per_weight_byte": "MAC/B"}
LARGEST_PT2, SMALLEST_PT2, NETWORK_PT2 = 110.0, 5.0, 32.0  # areas of markers
MOST_PT2_A_SHARE = 1500.0
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)))  # one a simulated machine
FLAT = 0.5  # least length of a roof's flat part over its slope's, so that its name has room
BAND = 0.085  # width of the band of infinite intensity, as a share of the axis


@dataclass(frozen=True)
class Scene:
    """What is drawn, and within which limits (of the finite part of the x axis; the y axis in Gop/s)."""

    axis: Axis
    points: list[list[Point]]  # one list a result
    roofs: list[MachineRoof]
    x_low: float
    x_high: float
    y_low: float
    y_high: float
    unbounded: bool

    @property
    def x_end(self) -> float:
        """End of the axis, the band of infinite intensity included."""
        span = log10(self.x_high / self.x_low)
        return self.x_high * 10 ** (span * BAND / (1 - BAND)) if self.unbounded else self.x_high

    @property
    def levels(self) -> bool:
        """Whether points are networks at memory levels."""
        return any(point.level for group in self.points for point in group)

    @property
    def x_infinite(self) -> float:
        """Where points of infinite intensity stand: the middle of their band."""
        return float((self.x_high * self.x_end) ** 0.5)

    def x(self, point: Point) -> float:
        x = point.x(self.axis)
        return self.x_infinite if x is None else x

    @property
    def scale(self) -> tuple[float, str]:
        """Gop/s in the unit of the y axis, and its name."""
        return (1e3, "TOPS") if self.y_high >= 5e3 else (1.0, "GOPS")


def draw_roofline(
    results: Sequence[Result],
    machines: Sequence[Machine] = (),
    *,
    axis: Axis = "ops_per_byte",
    show: Shown = "layers",
    width: style.Width | float = "single",
    height_in: float | None = None,
    labels: Sequence[str] | None = None,
    name_layers: int = 0,
    figure: Figure | None = None,
) -> tuple[Figure, Axes]:
    """Draw ``results`` and the roofs of their machines and of other ``machines``.

    Parameters
    ----------
    machines:     roofs for comparison; an architecture, or a pair of one and the name of its roof (such as
    ``int8``). axis:         what intensity counts, see `accelsim.report.roofline_data`.
    show:         a marker a layer, one a network, or one a network and memory level: its ops over the bytes that cross
                  the level's port, under a slope of that level's bandwidth.
    width:        ``single`` (3.5 in), ``double`` (7.16 in) or inches; ``height_in`` in inches.
    labels:       names of the results in the legend.
    name_layers:  name this many layers of each result, those that take most time, where there is room.
    figure:       an empty figure to draw into, of its own size.
    """
    if not results:
        raise InputError(Fault("roofline", "", "there is no result to draw"))
    scene = compose(results, machines, axis, show, labels)
    with style.house_style():
        figure = figure or style.new_figure(width, height_in)
        axes = figure.add_subplot()
        _frame(axes, scene)
        _lines(axes, scene)
        area = _markers(axes, scene, show)
        _legend(figure, scene, show, area)
        figure.draw_without_rendering()  # lays out, so that labels can be placed in pixels
        figure.set_layout_engine("none")
        _label(axes, scene, show, area, name_layers)
    return figure, axes


def compose(
    results: Sequence[Result],
    machines: Sequence[Machine] = (),
    axis: Axis = "ops_per_byte",
    show: Shown = "layers",
    labels: Sequence[str] | None = None,
) -> Scene:
    """Everything that is to be drawn, as numbers."""
    names = list(labels) if labels is not None else result_labels(results)
    pairs = list(zip(results, names, strict=True))
    if show == "levels" and axis != "ops_per_byte":
        raise InputError(Fault("roofline", "axis", f"is {axis}, but every level counts ops a byte; leave one out"))
    points = [_points(r, n, show) for r, n in pairs]
    points = [[point for point in group if point.has_place(axis)] for group in points]
    simulated = level_roofs(results) if show == "levels" else simulated_roofs(results, axis)
    roofs = [*simulated, *other_roofs(machines)]
    if show == "networks":
        roofs = [roof for roof in roofs if roof.roof.name != VECTOR]
    xs = [x for group in points for point in group if (x := point.x(axis))]
    ys = [point.attained_gops for group in points for point in group]
    ridges = [ridge for roof in roofs if (ridge := roof.ridge(axis))]
    peaks = [roof.roof.peak_gops for roof in roofs]
    x_low, x_high = _span([*xs, *ridges], 2.0, 2.0)
    others = [ridge for roof in roofs if not roof.simulated and (ridge := roof.ridge(axis))]
    x_low = min([x_low, *(ridge / 5 for ridge in others)])  # room for their slopes and names
    x_high = max([x_high, *(ridge * (ridge / x_low) ** FLAT for ridge in ridges)])
    y_low, y_high = _span([*ys, *peaks], 2.5, 2.2)
    unbounded = any(point.x(axis) is None for group in points for point in group)
    return Scene(axis, points, roofs, x_low, x_high, y_low, y_high, unbounded)


def _points(result: Result, name: str, show: Shown) -> list[Point]:
    if show == "layers":
        return layer_points(result, name)
    return level_points(result, name) if show == "levels" else [network_point(result, name)]


def _span(values: Sequence[float], below: float, above: float) -> tuple[float, float]:
    low, high = (min(values), max(values)) if values else (1.0, 10.0)
    return low / below, high * above


def _frame(axes: Axes, scene: Scene) -> None:
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullFormatter

    scale, unit = scene.scale
    axes.set(xscale="log", yscale="log", xlim=(scene.x_low, scene.x_end))
    axes.set_ylim(scene.y_low / scale, scene.y_high / scale)
    axes.set_xlabel("Operational intensity (ops per byte at the level)" if scene.levels else X_LABELS[scene.axis])
    axes.set_ylabel(f"Attained performance ({unit})")
    x_ticks = ticks(scene.x_low, scene.x_high / (2 if scene.unbounded else 1), room=8)  # clear of the ∞
    infinite = [scene.x_infinite] if scene.unbounded else []
    axes.xaxis.set_major_locator(FixedLocator([*x_ticks, *infinite]))
    axes.yaxis.set_major_locator(FixedLocator(ticks(scene.y_low / scale, scene.y_high / scale, room=8)))
    axes.xaxis.set_minor_locator(FixedLocator(minor_ticks(scene.x_low, scene.x_high)))
    axes.yaxis.set_minor_locator(FixedLocator(minor_ticks(scene.y_low / scale, scene.y_high / scale)))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda x, _: "∞" if x in infinite else tick_label(x)))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: tick_label(y)))
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_minor_formatter(NullFormatter())
    if scene.unbounded:
        axes.axvline(scene.x_high, color=style.FAINT, lw=0.5, ls=(0, (2, 2)), zorder=0)


def ticks(low: float, high: float, room: int) -> list[float]:
    """Decades between the limits; 2 and 5 as well where there are fewer than two, every other where too
    many.
    """
    decades = [10.0**power for power in range(-12, 19) if low <= 10.0**power <= high]
    if len(decades) < 2:
        return [m * 10.0**p for p in range(-12, 19) for m in (1, 2, 5) if low <= m * 10.0**p <= high]
    return decades[:: 1 + (len(decades) - 1) // room]


def minor_ticks(low: float, high: float) -> list[float]:
    """2 to 9 times each decade between the limits, unless there are very many decades."""
    if high / low > 1e7:
        return [10.0**p for p in range(-12, 19) if low <= 10.0**p <= high]
    return [m * 10.0**p for p in range(-12, 19) for m in range(2, 10) if low <= m * 10.0**p <= high]


def tick_label(value: float) -> str:
    """Plain numbers up to 10,000, powers of ten beyond."""
    if 1e-3 <= value < 99_999:
        return f"{value:,.10g}"
    return f"10{str(round(log10(value))).translate(str.maketrans('-0123456789', '⁻⁰¹²³⁴⁵⁶⁷⁸⁹'))}"


def _line_style(scene: Scene, roof: MachineRoof) -> dict[str, Any]:
    if not roof.simulated:
        return {"color": style.FAINT, "lw": 0.9, "ls": "-", "zorder": 1}
    machines = list(dict.fromkeys(r.machine for r in scene.roofs if r.simulated))
    return {
        "color": style.MUTED if roof.inner else style.INK,
        "lw": 0.8 if roof.inner else 1.0,
        "ls": DASHES[machines.index(roof.machine) % len(DASHES)],
        "zorder": 1.9 if roof.inner else 2,
    }


def _roof_path(scene: Scene, roof: MachineRoof) -> tuple[list[float], list[float]]:
    scale, _ = scene.scale
    ridge = roof.ridge(scene.axis)
    corners = [ridge] if ridge and scene.x_low < ridge < scene.x_end else []
    xs = [scene.x_low, *corners, scene.x_end]
    return xs, [roof.height(x, scene.axis) / scale for x in xs]


def _lines(axes: Axes, scene: Scene) -> None:
    scale, _ = scene.scale
    for roof in scene.roofs:
        xs, ys = _roof_path(scene, roof)
        line = _line_style(scene, roof)
        axes.plot(xs, ys, solid_joinstyle="miter", **line)
        ridge = roof.ridge(scene.axis)
        if ridge and not roof.inner:
            height = roof.roof.peak_gops / scale
            axes.plot(
                [ridge],
                [height],
                "o",
                ms=2.6,
                mfc="white",
                mec=line["color"],
                mew=0.7,
                zorder=line["zorder"] + 0.1,
            )


def _markers(axes: Axes, scene: Scene, show: Shown) -> float:
    """Draw the points, the largest beneath; returns the area in square points that stands for all of the
    time.
    """
    scale, _ = scene.scale
    longest = max((p.share_of_time for group in scene.points for p in group), default=1.0)
    area = min(LARGEST_PT2 / longest, MOST_PT2_A_SHARE) if longest else MOST_PT2_A_SHARE
    for index, group in enumerate(scene.points if show == "levels" else []):  # a network's points belong together
        heights = [point.attained_gops / scale for point in group]
        axes.plot([scene.x(point) for point in group], heights, color=style.colour(index), lw=0.6, zorder=2.5)
    everything = [(point, index) for index, group in enumerate(scene.points) for point in group]
    for point, index in sorted(everything, key=lambda item: -item[0].share_of_time):
        axes.scatter(
            [scene.x(point)], [point.attained_gops / scale], s=[_size(point, show, area)],
            marker=style.marker(index), facecolor=(style.colour(index), 0.5), edgecolor=style.colour(index),
            linewidth=0.6, zorder=3, clip_on=False,
        )  # fmt: skip
    return area


def _size(point: Point, show: Shown, area: float) -> float:
    return max(SMALLEST_PT2, area * point.share_of_time) if show == "layers" else NETWORK_PT2


def _legend(figure: Figure, scene: Scene, show: Shown, area: float) -> None:
    """Networks at the left above the axes, the meaning of areas at the right."""
    networks = [
        _handle(style.marker(i), 22, (style.colour(i), 0.5), style.colour(i), group[0].network)
        for i, group in enumerate(scene.points)
        if group
    ]
    if not networks:
        return
    shares = reference_shares(scene) if show == "layers" else []
    areas = [
        _handle("o", max(SMALLEST_PT2, area * s), "none", style.MUTED, f"{100 * s:g}% of time")
        for s in shares
    ]
    columns, area_columns = legend_columns(
        72 * figure.get_figwidth(),
        [str(h.get_label()) for h in networks],
        [str(h.get_label()) for h in areas],
    )
    figure.legend(handles=networks, loc="outside upper left", ncols=columns)
    if areas:
        figure.legend(handles=areas, loc="outside upper right", ncols=area_columns)


def _handle(marker: str, size_pt2: float, face: Any, edge: str, label: str) -> Line2D:
    from matplotlib.lines import Line2D

    size_pt = size_pt2**0.5
    return Line2D([], [], ls="", marker=marker, ms=size_pt, mfc=face, mec=edge, mew=0.6, label=label)


def legend_columns(room_pt: float, networks: Sequence[str], areas: Sequence[str]) -> tuple[int, int]:
    """Columns of the two legends: on one line where both fit, else balanced over as few as are needed."""
    beside = _column_pt(areas) * len(areas)
    wide = int((room_pt - 6 - beside) // _column_pt(networks))
    if wide >= len(networks):
        return max(1, len(networks)), max(1, len(areas))
    wide = max(1, int((room_pt - 6 - _column_pt(areas)) // _column_pt(networks)))
    return ceil(len(networks) / ceil(len(networks) / wide)), 1


def _column_pt(labels: Sequence[str]) -> float:
    """Width of a legend's column in points: about 3.9 a letter, and 19 for the marker and the gaps."""
    return 19 + 3.9 * max(map(len, labels)) if labels else 0.0


def reference_shares(scene: Scene) -> list[float]:
    """Two round shares of time for the legend of areas: about the largest, and a fifth or a tenth of it."""
    longest = max((p.share_of_time for group in scene.points for p in group), default=1.0)
    rounds = [share for share in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if share <= longest * 1.0001]
    return rounds[-1:] if len(rounds) < 3 else [rounds[-3], rounds[-1]]


def _label(axes: Axes, scene: Scene, show: Shown, area: float, name_layers: int) -> None:
    crowd = _crowd(axes, scene, show, area)
    order = sorted(scene.roofs, key=lambda roof: (not roof.simulated, -roof.roof.peak_gops))
    heads = [roof for roof in order if roof.simulated and _is_head(scene, roof)]
    for roof in heads:
        _label_ridge(axes, scene, roof, crowd)
    for roof in order:
        if not roof.inner:
            _label_peak(axes, scene, roof, crowd)
    bandwidths: set[tuple[str, float | None]] = set()
    for roof in order:
        key = (roof.machine, roof.roof.bandwidth_bytes_per_second)
        if key not in bandwidths:  # roofs of one machine share their slope, of which the highest has most
            bandwidths.add(key)
            _label_slope(axes, scene, roof, crowd)
    for roof in order:
        if roof not in heads and not roof.inner:
            _label_ridge(axes, scene, roof, crowd)
    _label_regions(axes, scene, order, crowd)
    for index, group in enumerate(scene.points):
        named = len(group) if show == "levels" else name_layers
        for point in sorted(group, key=lambda point: -point.share_of_time)[:named]:
            _label_point(axes, scene, point, area, show, style.colour(index), crowd)


def _crowd(axes: Axes, scene: Scene, show: Shown, area: float) -> Crowd:
    scale, _ = scene.scale
    crowd = Crowd()
    pixels_a_point = axes.figure.dpi / 72
    points = [point for group in scene.points for point in group]
    if points:
        places = [(scene.x(point), point.attained_gops / scale) for point in points]
        crowd.discs = np.asarray(axes.transData.transform(places))
        crowd.radii = np.array([0.56 * _size(p, show, area) ** 0.5 * pixels_a_point + 0.6 for p in points])
    paths = [_roof_path(scene, roof) for roof in scene.roofs]
    for group in scene.points if show == "levels" else []:
        paths.append(([scene.x(p) for p in group], [p.attained_gops / scale for p in group]))
    crowd.lines = np.vstack([dense(axes, *path) for path in paths if path[0]] or [np.empty((0, 2))])
    return crowd


def dense(axes: Axes, xs: Sequence[float], ys: Sequence[float]) -> Any:
    """Points in pixels, two apart, along the line through ``xs`` and ``ys``: what labels should not cover."""
    corners = axes.transData.transform(np.column_stack([xs, ys]))
    if len(corners) < 2:
        return corners
    parts = [np.linspace(a, b, 2 + int(np.hypot(*(b - a)) / 2)) for a, b in pairwise(corners)]
    return np.vstack(parts)


def _is_head(scene: Scene, roof: MachineRoof) -> bool:
    """Whether a roof is the highest of its machine: that one carries the machine's name."""
    if roof.inner:
        return False
    same = (other.roof.peak_gops for other in scene.roofs if other.machine == roof.machine)
    return roof.roof.peak_gops >= max(same)


def _words(roof: MachineRoof) -> dict[str, Any]:
    return {"color": style.INK if roof.simulated else style.MUTED, "fontsize": style.SMALL_PT}


def peak_words(scene: Scene, roof: MachineRoof) -> str:
    """``tpu_v1 int8: 91.8 TOPS``; the lower roofs of the same machine are ``int8×int16: 45.9 TOPS``."""
    unit = "FLOPS" if roof.roof.name.startswith(("fp", "bf")) else "OPS"
    words = f"{roof.roof.name.replace('x', '×')}: {compact(roof.roof.peak_gops * 1e9, unit)}"
    return f"{roof.machine} {words}" if _is_head(scene, roof) else words


def _label_peak(axes: Axes, scene: Scene, roof: MachineRoof, crowd: Crowd) -> None:
    height = roof.roof.peak_gops / scene.scale[0]
    start = max(roof.ridge(scene.axis) or scene.x_low, scene.x_low)
    xs = [start * (scene.x_high / start) ** share for share in (0.0, 0.15, 0.3, 0.45, 0.6, 0.75)]
    spots = [Spot(scene.x_end, height, 0, 1.5, "right")]
    spots += [Spot(x, height, 10, 1.5, "left") for x in xs]
    spots.append(Spot(scene.x_end, height, 0, 10.0, "right"))
    spots += [Spot(x, height, 2, -2.0, "left", "top") for x in xs]
    place(axes, peak_words(scene, roof), spots, crowd, **_words(roof))


def _label_slope(axes: Axes, scene: Scene, roof: MachineRoof, crowd: Crowd) -> None:
    bandwidth, ridge = roof.roof.bandwidth_bytes_per_second, roof.ridge(scene.axis)
    if bandwidth is None or ridge is None or ridge <= scene.x_low:
        return
    scale, _ = scene.scale
    low = max(scene.x_low, ridge * scene.y_low / roof.roof.peak_gops)  # where the slope enters the figure
    high = min(ridge, scene.x_end)
    ends = axes.transData.transform([(x, roof.height(x, scene.axis) / scale) for x in (low, high)])
    angle = degrees(atan2(ends[1][1] - ends[0][1], ends[1][0] - ends[0][0]))
    spots = []
    for share in (0.5, 0.4, 0.6, 0.3, 0.7, 0.2, 0.8, 0.1):
        x = low * (high / low) ** share
        y = roof.height(x, scene.axis) / scale
        spots += [Spot(x, y, 0, 1.5, "center", "bottom", angle), Spot(x, y, 0, -2.0, "center", "top", angle)]
    words = f"{roof.level.replace('_', ' ')} {compact(bandwidth, 'B/s')}".strip()
    place(axes, words, spots, crowd, **_words(roof))


def _label_ridge(axes: Axes, scene: Scene, roof: MachineRoof, crowd: Crowd) -> None:
    ridge = roof.ridge(scene.axis)
    if ridge is None:
        return
    height = roof.roof.peak_gops / scene.scale[0]
    spots = [
        Spot(ridge, height, -2.5, 2.0, "right"), Spot(ridge, height, 3.0, -3.0, "left", "top"),
        Spot(ridge, height, -2.0, 3.5, "center"), Spot(ridge, height, 0, -4.0, "center", "top"),
        Spot(ridge, height, -5.0, 0, "right", "center"),
    ]  # fmt: skip
    main = roof.simulated and _is_head(scene, roof)
    if main:
        spots += [Spot(ridge, height, 8.0, -8.0, "left", "top"), Spot(ridge, height, -2.5, 10.0, "right")]
    words = f"{significant(ridge)} {X_UNITS[scene.axis]}"
    place(axes, f"ridge {words}" if main else words, spots, crowd, required=main, **_words(roof))


def _label_regions(axes: Axes, scene: Scene, order: Sequence[MachineRoof], crowd: Crowd) -> None:
    """Where one machine's ridge parts the figure, say which side is bound by what."""
    main = [roof for roof in order if roof.simulated and not roof.inner]
    ridges = {roof.ridge(scene.axis) for roof in main if roof.roof.name != VECTOR}
    ridge = next(iter(ridges)) if len(ridges) == 1 else None
    if ridge is None or not scene.x_low < ridge < scene.x_end:
        return
    scale, _ = scene.scale
    floor = scene.y_low / scale
    peak = max(roof.roof.peak_gops for roof in order if roof.simulated) / scale
    axes.plot([ridge, ridge], [floor, peak], color=style.FAINT, lw=0.5, ls=(0, (2, 2)), zorder=0)
    look = {"color": style.MUTED, "fontsize": style.SMALL_PT, "fontstyle": "italic"}
    left = [Spot(ridge, floor, -3, up, "right") for up in (2.0, 10.0, 18.0)]
    right = [Spot(ridge, floor, 3, up, "left") for up in (2.0, 10.0, 18.0)]
    place(axes, "memory-bound", left, crowd, required=False, **look)
    place(axes, "compute-bound", right, crowd, required=False, **look)


def _label_point(
    axes: Axes, scene: Scene, point: Point, area: float, show: Shown, colour: str, crowd: Crowd
) -> None:
    x, y = scene.x(point), point.attained_gops / scene.scale[0]
    gap = 0.56 * _size(point, show, area) ** 0.5 + 1.5
    spots = [
        Spot(x, y, gap, 0, "left", "center"), Spot(x, y, -gap, 0, "right", "center"),
        Spot(x, y, 0, gap, "center"), Spot(x, y, 0, -gap, "center", "top"),
        Spot(x, y, gap * 0.8, gap * 0.8, "left"), Spot(x, y, gap * 0.8, -gap * 0.8, "left", "top"),
        Spot(x, y, -gap * 0.8, gap * 0.8, "right"), Spot(x, y, -gap * 0.8, -gap * 0.8, "right", "top"),
    ]  # fmt: skip
    if point.level:  # beside the line that joins a network's points, not on it
        spots = [*spots[2:], *spots[:2]]
    words = point.level.replace("_", " ") or point.layer or point.network
    place(axes, words, spots, crowd, False, color=colour, fontsize=style.SMALL_PT)
