"""What a roofline figure is made of, before anything is drawn: points, roofs, limits of the axes, and the looks.

Several machines have a colour and a dash each, and networks a shape; on one machine networks have both.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from math import log10
from typing import Any, Literal

from accelsim.analysis.roofline import VECTOR
from accelsim.errors import Fault, InputError
from accelsim.report import style
from accelsim.report.model import Result
from accelsim.report.roofline_data import (
    Axis,
    Machine,
    MachineRoof,
    Point,
    checked_labels,
    family_labels,
    layer_points,
    level_points,
    level_roofs,
    machines_apart,
    network_point,
    other_roofs,
    result_labels,
    simulated_roofs,
)

Shown = Literal["layers", "networks", "levels"]
FLAT = 0.5  # least length of a roof's flat part over its slope's, so that its name has room
HEADROOM = 0.11  # above the highest roof, as a share of what is below: a line of words
BAND = 0.085  # width of the band of infinite intensity, as a share of the axis
ALONE = 40.0  # how far axes reach about the ridges where there are no points


@dataclass(frozen=True)
class Look:
    """How a result's points are drawn, or a machine's roofs (which have a ``dash``, and no ``marker``)."""

    colour: str
    marker: str = ""
    dash: Any = "-"


@dataclass(frozen=True)
class Looks:
    """A look each result and each machine; ``product`` says that colours are machines and shapes networks."""

    results: list[Look]
    machines: dict[str, Look]
    families: list[str]
    product: bool


@dataclass(frozen=True)
class Scene:
    """What is drawn, and within which limits (of the finite part of the x axis; the y axis in Gop/s)."""

    axis: Axis
    show: Shown
    points: list[list[Point]]  # one list a result
    roofs: list[MachineRoof]
    x_low: float
    x_high: float
    y_low: float
    y_high: float
    unbounded: bool
    looks: Looks = field(default_factory=lambda: Looks([], {}, [], False))

    @property
    def x_end(self) -> float:
        """End of the axis, the band of infinite intensity included."""
        span = log10(self.x_high / self.x_low)
        return self.x_high * 10 ** (span * BAND / (1 - BAND)) if self.unbounded else self.x_high

    @property
    def x_infinite(self) -> float:
        """Where points of infinite intensity stand: the middle of their band."""
        return float((self.x_high * self.x_end) ** 0.5)

    def x(self, point: Point) -> float:
        x = point.x(self.axis)
        return self.x_infinite if x is None else x

    def y(self, point: Point) -> float:
        """Height in the unit of the axis."""
        return point.attained_gops / self.scale[0]

    @property
    def scale(self) -> tuple[float, str]:
        """Gop/s in the unit of the y axis, and its name."""
        return (1e3, "TOPS") if self.y_high >= 5e3 else (1.0, "GOPS")

    @property
    def several_machines(self) -> bool:
        return len({roof.machine for roof in self.roofs}) > 1


def compose(
    results: Sequence[Result],
    machines: Sequence[Machine] = (),
    axis: Axis = "ops_per_byte",
    show: Shown = "layers",
    labels: Sequence[str] | None = None,
    *,
    layers: Sequence[str] = (),
    colours: Mapping[str, str] | None = None,
) -> Scene:
    """Everything that is to be drawn, as numbers; ``layers`` leaves out all others."""
    if not results and not machines:
        raise InputError(Fault("roofline", "", "there is no result and no machine to draw"))
    if show == "levels" and axis != "ops_per_byte":
        raise InputError(Fault("roofline", "axis", f"is {axis}, but every level counts ops a byte; leave one out"))
    results = machines_apart(results, checked_labels(results, labels))
    names = checked_labels(results, labels) or result_labels(results)
    points = [_points(r, n, show, layers) for r, n in zip(results, names, strict=True)]
    points = [[point for point in group if point.has_place(axis)] for group in points]
    simulated = level_roofs(results) if show == "levels" else simulated_roofs(results, axis)
    roofs = [*simulated, *other_roofs(machines)]
    if show == "networks":
        roofs = [roof for roof in roofs if roof.roof.name != VECTOR]
    limits = _limits(points, roofs, axis)
    unbounded = any(point.x(axis) is None for group in points for point in group)
    looks = choose_looks(results, roofs, names, labels is not None, colours)
    return Scene(axis, show, points, roofs, *limits, unbounded, looks)


def _limits(
    points: Sequence[Sequence[Point]], roofs: Sequence[MachineRoof], axis: Axis
) -> tuple[float, float, float, float]:
    everything = [point for group in points for point in group]
    ridges = [ridge for roof in roofs if (ridge := roof.ridge(axis))]
    peaks = [roof.roof.peak_gops for roof in roofs]
    around = 2.0 if everything else ALONE
    x_low, x_high = _span([*(x for point in everything if (x := point.x(axis))), *ridges], around, around)
    others = [ridge for roof in roofs if not roof.simulated and (ridge := roof.ridge(axis))]
    x_low = min([x_low, *(ridge / 5 for ridge in others)])  # room for their slopes and names
    x_high = max([x_high, *(ridge * (ridge / x_low) ** FLAT for ridge in ridges)])
    y_low, y_high = _span([*(point.attained_gops for point in everything), *peaks], 2.5 if everything else ALONE, 1.0)
    return x_low, x_high, y_low, y_high * (y_high / y_low) ** HEADROOM


def _span(values: Sequence[float], below: float, above: float) -> tuple[float, float]:
    low, high = (min(values), max(values)) if values else (1.0, 10.0)
    return low / below, high * above


def _points(result: Result, name: str, show: Shown, layers: Sequence[str]) -> list[Point]:
    if show == "networks":
        return [network_point(result, name)]
    points = layer_points(result, name) if show == "layers" else level_points(result, name)
    if not layers:
        return points
    known = [point.layer for point in points]
    for layer in layers:
        if layer not in known:
            raise InputError(Fault("--layer", layer, f"is no layer of {name}"))
    return [point for point in points if point.layer in layers]


def choose_looks(
    results: Sequence[Result],
    roofs: Sequence[MachineRoof],
    names: Sequence[str],
    named: bool,
    colours: Mapping[str, str] | None,
) -> Looks:
    """Colours, shapes and dashes; ``named`` results have each an entry of their own in the legend."""
    ran = list(dict.fromkeys(result.architecture for result in results))
    others = [machine for machine in dict.fromkeys(roof.machine for roof in roofs) if machine not in ran]
    families = family_labels(results)
    kinds, several = list(dict.fromkeys(families)), len(ran) > 1
    own = [style.colour(i) for i in range(len(ran))] if several else [style.INK] * len(ran)
    compared = [style.colour(i) if not ran else style.OTHERS[i % len(style.OTHERS)] for i in range(len(others))]
    keys = [*ran, *others, *(names if not several else [])]
    defaults = [*own, *compared, *([style.colour(i) for i in range(len(names))] if not several else [])]
    chosen = dict(zip(keys, style.overridden(keys, defaults, colours), strict=True))
    machines = {
        machine: Look(chosen[machine], "", style.DASHES[i % len(style.DASHES)]) for i, machine in enumerate([*ran, *others])
    }
    shapes = [kinds.index(family) for family in families] if several and len(kinds) > 1 else list(range(len(results)))
    looks = [
        Look(chosen[result.architecture] if several else chosen[name], style.marker(shape), machines[result.architecture].dash)
        for result, name, shape in zip(results, names, shapes, strict=True)
    ]
    return Looks(looks, machines, families, several and not named and len(kinds) > 1 and len(results) > len(ran))
