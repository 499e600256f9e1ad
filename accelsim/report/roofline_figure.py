"""The roofline figure: layers or networks under the roofs of the machines they ran on, on log-log axes.

Each layer is a marker whose area is its share of its network's time. Roofs carry their names and values
themselves, in their machine's colour; what finds no room is numbered, and listed beneath. Layers without off-chip
traffic have no finite intensity: they stand in a band of their own, marked with the sign for infinity.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from accelsim.report import style
from accelsim.report.labels import Keys, Placer
from accelsim.report.model import Result
from accelsim.report.roofline_data import Axis, Machine, MachineRoof, Point
from accelsim.report.roofline_labels import label_points, label_regions, label_roofs, region_ridge, wanted_points
from accelsim.report.roofline_scene import Look, Scene, Shown, compose
from accelsim.report.sheet import Sheet, label
from accelsim.report.ticks import log_axes

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

X_LABELS: dict[Axis, str] = {
    "ops_per_byte": "Operational intensity (ops per off-chip byte)",
    "macs_per_weight_byte": "Operational intensity (MACs per byte of weights)",
}
X_LEVELS = "Operational intensity (ops per byte at the level)"
LARGEST_PT2, SMALLEST_PT2, NETWORK_PT2 = 110.0, 5.0, 32.0  # areas of markers
MOST_PT2_A_SHARE = 1500.0


def draw_roofline(
    results: Sequence[Result],
    machines: Sequence[Machine] = (),
    *,
    axis: Axis = "ops_per_byte",
    show: Shown = "layers",
    labels: Sequence[str] | None = None,
    layers: Sequence[str] = (),
    name_layers: int | None = None,
    percent: bool = False,
    join: bool = False,
    colours: Mapping[str, str] | None = None,
    sheet: Sheet | None = None,
) -> tuple[Figure, Axes]:
    """Draw ``results`` and the roofs of their machines and of other ``machines``; of these alone without results.

    See `accelsim.plot.roofline` for what the options mean.
    """
    scene = compose(results, machines, axis, show, labels, layers=layers, colours=colours)
    with style.house_style():
        sheet = sheet or Sheet(style.new_figure("single"))
        axes = sheet.axes()
        _frame(axes, scene, not sheet.grows)
        _roofs(axes, scene)
        ways = trajectories(scene) if join else []
        _trajectories(axes, scene, ways)
        area = _markers(axes, scene)
        sheet.legend(_handles(scene, area))
        wanted, required = wanted_points(scene, name_layers, sheet.grows)
        wanted = [way[-1] for way in ways] if join else wanted

        def name() -> list[tuple[str, str]]:
            placer, keys = Placer(axes), Keys(sheet.grows or sheet.given is not None)
            label_roofs(axes, scene, placer, keys)
            label_points(axes, scene, placer, keys, wanted, percent, required)
            label_regions(scene, placer)
            return keys.entries

        label(sheet, axes, name)
        if sheet.sticks_out(axes.yaxis.label):
            axes.set_ylabel(scene.scale[1])
    return sheet.figure, axes


def _frame(axes: Axes, scene: Scene, short: bool) -> None:
    scale, unit = scene.scale
    infinite = scene.x_infinite if scene.unbounded else None
    log_axes(axes, (scene.x_low, scene.x_end), (scene.y_low / scale, scene.y_high / scale), infinite)
    axes.set_xlabel(X_LEVELS if scene.show == "levels" else X_LABELS[scene.axis])
    axes.set_ylabel(f"{'P' if short or not any(scene.points) else 'Attained p'}erformance ({unit})")
    thin: Any = {"color": style.FAINT, "lw": 0.5, "ls": (0, (2, 2)), "zorder": 0}
    if scene.unbounded:
        axes.plot([scene.x_high] * 2, [0, 0.05], transform=axes.get_xaxis_transform(), **thin)
    parted = region_ridge(scene) if any(scene.points) else None
    if parted:
        axes.plot([parted[0]] * 2, [scene.y_low / scale, parted[1]], **thin)


def _roof_path(scene: Scene, roof: MachineRoof) -> tuple[list[float], list[float]]:
    ridge = roof.ridge(scene.axis)
    corners = [ridge] if ridge and scene.x_low < ridge < scene.x_end else []
    rise = ridge * scene.y_low / roof.roof.peak_gops if ridge else scene.x_low  # where it comes into the figure
    xs = [max(scene.x_low, rise), *corners, scene.x_end]
    return xs, [roof.height(x, scene.axis) / scene.scale[0] for x in xs]


def _roofs(axes: Axes, scene: Scene) -> None:
    for roof in scene.roofs:
        look = scene.looks.machines[roof.machine]
        thin = roof.inner or not roof.simulated
        zorder = 1.9 if thin else 2.0
        line = {"color": look.colour, "lw": 0.8 if thin else 1.1, "ls": look.dash, "zorder": zorder}
        axes.plot(*_roof_path(scene, roof), solid_joinstyle="miter", **line)
        ridge = roof.ridge(scene.axis)
        if ridge and not roof.inner:
            dot: dict[str, Any] = {"ms": 2.6, "mfc": "white", "mec": look.colour, "mew": 0.7, "zorder": zorder + 0.05}
            axes.plot([ridge], [roof.roof.peak_gops / scene.scale[0]], "o", **dot)


# ---- points ----------------------------------------------------------------------------------------


def _markers(axes: Axes, scene: Scene) -> float:
    """Draw all points, the largest beneath; returns the area in square points that stands for all of the time."""
    from matplotlib.collections import PathCollection
    from matplotlib.markers import MarkerStyle
    from matplotlib.transforms import IdentityTransform

    everything = [(point, number) for number, group in enumerate(scene.points) for point in group]
    everything.sort(key=lambda item: -item[0].share_of_time)
    longest = max((point.share_of_time for point, _ in everything), default=1.0)
    area = min(LARGEST_PT2 / longest, MOST_PT2_A_SHARE) if longest else MOST_PT2_A_SHARE
    if not everything:
        return area
    shapes = {look.marker: MarkerStyle(look.marker) for look in scene.looks.results}
    shapes_of = {m: shape.get_path().transformed(shape.get_transform()) for m, shape in shapes.items()}
    looks = [scene.looks.results[number] for _, number in everything]
    points = PathCollection(
        [shapes_of[look.marker] for look in looks], [_size(point, scene, area) for point, _ in everything],
        offsets=[(scene.x(point), scene.y(point)) for point, _ in everything], offset_transform=axes.transData,
        facecolors=[style.light(look.colour) for look in looks], edgecolors=[look.colour for look in looks],
        linewidths=0.6, zorder=3, clip_on=False,
    )  # fmt: skip
    points.set_transform(IdentityTransform())
    axes.add_collection(points, autolim=False)
    return area


def _size(point: Point, scene: Scene, area: float) -> float:
    return max(SMALLEST_PT2, area * point.share_of_time) if scene.show == "layers" else NETWORK_PT2


def trajectories(scene: Scene) -> list[list[tuple[int, Point]]]:
    """What is the same layer (or network on one machine) in several results, in the order of the results."""
    ways: dict[tuple[str, ...], list[tuple[int, Point]]] = {}
    for number, group in enumerate(scene.points):
        for point in group:
            key = (point.layer, point.level) if point.layer else (point.architecture, point.level)
            ways.setdefault(key, []).append((number, point))
    return [way for way in ways.values() if len(way) > 1]


def _trajectories(axes: Axes, scene: Scene, ways: Sequence[Sequence[tuple[int, Point]]]) -> None:
    """Lines with arrows from result to result; in a figure of levels, lines from level to level."""
    from matplotlib.patches import FancyArrowPatch

    for way in ways:
        for (_, a), (number, b) in pairwise(way):
            colour = scene.looks.results[number].colour
            ends = [(scene.x(point), scene.y(point)) for point in (a, b)]
            axes.plot(*np.array(ends).T, color=colour, lw=0.7, zorder=2.5)
            x, y = np.sqrt(np.prod(ends, axis=0))  # the middle, on log axes
            tip = np.array(ends[1]) ** 0.55 * np.array(ends[0]) ** 0.45
            head: dict[str, Any] = {"arrowstyle": "-|>", "mutation_scale": 5, "lw": 0.6, "zorder": 2.6}
            head |= {"shrinkA": 0, "shrinkB": 0}
            axes.add_patch(FancyArrowPatch((x, y), tuple(tip), color=colour, **head))
    for number, group in enumerate(scene.points):
        if scene.show != "levels" or ways:
            continue
        colour = scene.looks.results[number].colour
        axes.plot([scene.x(p) for p in group], [scene.y(p) for p in group], color=colour, lw=0.6, zorder=2.5)


# ---- legend ----------------------------------------------------------------------------------------


def _handles(scene: Scene, area: float) -> list[Line2D]:
    """What colours, shapes and areas mean: a result each, or machines and networks on their own."""
    looks = scene.looks
    if not any(scene.points):
        return []
    if looks.product:
        handles = [_line(look, machine) for machine, look in looks.machines.items() if look in _ran(scene)]
        shapes = dict(zip(looks.families, looks.results, strict=True))
        handles += [_handle(look.marker, 22, style.light(style.INK, 0.8), style.INK, n) for n, look in shapes.items()]
    else:
        lines = len({look.dash for look in looks.results}) > 1
        pairs = [(look, group[0].network) for look, group in zip(looks.results, scene.points, strict=True) if group]
        handles = [
            _handle(look.marker, 22, style.light(look.colour), look.colour, name, look.dash if lines else "")
            for look, name in pairs
        ]
    shares = reference_shares(scene) if scene.show == "layers" else []
    sizes = [max(SMALLEST_PT2, area * share) for share in shares]
    return handles + [
        _handle("o", size, "none", style.MUTED, f"{100 * share:g}% of time") for share, size in zip(shares, sizes, strict=True)
    ]


def _ran(scene: Scene) -> list[Look]:
    return [scene.looks.machines[roof.machine] for roof in scene.roofs if roof.simulated]


def _line(look: Look, name: str) -> Line2D:
    from matplotlib.lines import Line2D

    return Line2D([], [], color=look.colour, ls=look.dash, lw=1.1, label=name)


def _handle(marker: str, size_pt2: float, face: Any, edge: str, name: str, dash: Any = "") -> Line2D:
    from matplotlib.lines import Line2D

    look = {"mfc": face, "mec": edge, "mew": 0.6, "color": edge, "lw": 1.0}
    return Line2D([], [], ls=dash, marker=marker, ms=size_pt2**0.5, label=name, **look)


def reference_shares(scene: Scene) -> list[float]:
    """Two round shares of time for the legend of areas: about the largest, and a fifth or a tenth of it."""
    longest = max((p.share_of_time for group in scene.points for p in group), default=1.0)
    rounds = [share for share in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0) if share <= longest * 1.0001]
    return rounds[-1:] if len(rounds) < 3 else [rounds[-3], rounds[-1]]
