"""What a roofline figure shows, as numbers: points of layers and networks, roofs of machines; and their CSV.

Two axes are known. ``ops_per_byte``: ops (2 a MAC) a byte of all off-chip traffic. ``macs_per_weight_byte``:
the TPU paper's, a MAC as one operation a byte of weights read; the height counts a MAC as two ops on either.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from accelsim.analysis.roofline import VECTOR, Roof, machine_roofs
from accelsim.arch.spec import Architecture
from accelsim.errors import Fault, InputError, join_allowed, nearest
from accelsim.report.model import LayerResult, Result, Roofline
from accelsim.report.model import Machine as MachineRecord
from accelsim.report.rows import Cell, to_csv

Axis = Literal["ops_per_byte", "macs_per_weight_byte"]
Machine = (
    Architecture | tuple[Architecture, str]
)  # with the name of the roof to draw: the first where left out


@dataclass(frozen=True)
class Point:
    """A layer, a whole network (``layer`` is empty), or a network at the port of the level ``level``, under its roof.

    An intensity of None is unbounded.
    """

    network: str
    architecture: str
    layer: str
    roof: str
    macs: int
    share_of_time: float
    seconds: float
    intensity_ops_per_byte: float | None
    macs_per_weight_byte: float | None
    attained_gops: float
    roof_gops: float
    peak_gops: float
    bound: str
    level: str = ""

    def x(self, axis: Axis) -> float | None:
        """The intensity on that axis, None where it is unbounded."""
        return self.intensity_ops_per_byte if axis == "ops_per_byte" else self.macs_per_weight_byte

    def has_place(self, axis: Axis) -> bool:
        """Whether the point can stand on log axes: it did work, and the axis counts that kind of work."""
        return self.attained_gops > 0 and (axis == "ops_per_byte" or self.macs > 0)


@dataclass(frozen=True)
class MachineRoof:
    """A roof and whose it is. ``simulated``: results were run on it; else it is drawn for comparison.

    ``level`` names the level whose bandwidth it has where a figure has several; ``inner`` is that of one on chip.
    """

    machine: str
    roof: Roof
    simulated: bool
    level: str = ""
    inner: bool = False

    def ridge(self, axis: Axis) -> float | None:
        """Where the roof turns flat, in the unit of the axis."""
        ridge = self.roof.ridge_ops_per_byte
        return ridge if ridge is None or axis == "ops_per_byte" else ridge / 2

    def height(self, x: float, axis: Axis) -> float:
        """Gop/s at intensity ``x`` of the axis."""
        return self.roof.gops_at(x if axis == "ops_per_byte" else 2 * x)


def result_labels(results: Sequence[Result]) -> list[str]:
    """A name for each result: its network, and of machine and batch as much as tells it from the others."""
    for label in (
        lambda r: r.network,
        lambda r: f"{r.network} on {r.architecture}",
        lambda r: f"{r.network}, batch {r.batch}",
        lambda r: f"{r.network} on {r.architecture}, batch {r.batch}",
    ):
        names = [label(result) for result in results]
        if len(set(names)) == len(names):
            return names
    return [f"{name} ({index})" for index, name in enumerate(names, start=1)]


def machines_apart(results: Sequence[Result], labels: Sequence[str] | None = None) -> list[Result]:
    """Results whose machines have a name each: unlike ones of one name get a number, or their result's label."""
    unlike: dict[str, list[MachineRecord]] = {}
    for result in results:
        known = unlike.setdefault(result.architecture, [])
        known += [] if result.machine in known else [result.machine]
    names = [
        result.architecture if len(known := unlike[result.architecture]) == 1
        else f"{result.architecture} ({known.index(result.machine) + 1})" if labels is None else labels[i]
        for i, result in enumerate(results)
    ]  # fmt: skip
    return [result.model_copy(update={"architecture": name}) for result, name in zip(results, names, strict=True)]


def checked_labels(results: Sequence[Result], labels: Sequence[str] | None) -> list[str] | None:
    """The labels; InputError where there are not as many as results."""
    if labels is not None and len(labels) != len(results):
        words = f"{len(labels)} given, must be one a result, {len(results)}"
        raise InputError(Fault("--label", ", ".join(labels), words))
    return None if labels is None else list(labels)


def family_labels(results: Sequence[Result]) -> list[str]:
    """A name for each result that leaves the machine out: its network, and batch and number where these tell."""
    for label in (lambda r: r.network, lambda r: f"{r.network}, batch {r.batch}"):
        names = [label(result) for result in results]
        if len({(name, result.architecture) for name, result in zip(names, results, strict=True)}) == len(names):
            return names
    return result_labels(results)


def layer_points(result: Result, label: str) -> list[Point]:
    """A point for each layer, in order."""
    return [_layer_point(result, layer, label) for layer in result.layers]


def _layer_point(result: Result, layer: LayerResult, label: str) -> Point:
    share = layer.cycles / result.totals.cycles if result.totals.cycles else 0.0
    return _point(
        result, label, layer.name, layer.roof_name, layer.macs, share, layer.seconds, layer.roofline
    )


def network_point(result: Result, label: str) -> Point:
    """The whole network as one point."""
    totals = result.totals
    highest = max(result.machine.roofs, key=lambda roof: roof.peak_gops, default=None)
    name = highest.name if highest else ""
    return _point(result, label, "", name, totals.macs, 1.0, totals.seconds, totals.roofline)


def level_points(result: Result, label: str) -> list[Point]:
    """The whole network at the port of every level that has a bandwidth: its ops over the bytes that cross there."""
    whole, bound = network_point(result, label), _bandwidths(result)
    worked_ops = whole.attained_gops * 1e9 * whole.seconds
    points = []
    for level, traffic in result.totals.traffic_bytes.items():
        crossed = traffic.read + traffic.write
        if level in bound and crossed:
            intensity = worked_ops / crossed
            roof = min(whole.peak_gops, intensity * bound[level] / 1e9)
            memory = "memory" if roof < whole.peak_gops else "compute"
            changes: dict[str, Any] = {"intensity_ops_per_byte": intensity, "roof_gops": roof, "bound": memory}
            points.append(replace(whole, **changes, macs_per_weight_byte=None, level=level))
    return points


def level_roofs(results: Iterable[Result]) -> list[MachineRoof]:
    """The highest roof of every machine, once with the bandwidth of each of its levels, the far one first."""
    found = []
    for result in results:
        highest = max(result.machine.roofs, key=lambda roof: roof.peak_gops, default=None)
        if highest is None:
            continue
        for level, bandwidth in _bandwidths(result).items():
            roof = Roof(highest.name, highest.peak_gops, bandwidth)
            inner = level != result.machine.off_chip
            found.append(MachineRoof(result.architecture, roof, True, level, inner))
    return list(dict.fromkeys(found))


def _bandwidths(result: Result) -> dict[str, float]:
    """Bytes a second of the levels that are limited."""
    return {
        level.name: level.bandwidth_bytes_per_second
        for level in result.machine.levels
        if level.bandwidth_bytes_per_second is not None
    }


def _point(
    result: Result,
    label: str,
    layer: str,
    roof: str,
    macs: int,
    share: float,
    seconds: float,
    place: Roofline,
) -> Point:
    return Point(
        label, result.architecture, layer, roof, macs, share, seconds,
        place.intensity_ops_per_byte, place.macs_per_weight_byte, place.attained_gops,
        place.roof_gops, place.peak_gops, place.bound,
    )  # fmt: skip


def simulated_roofs(results: Iterable[Result], axis: Axis = "ops_per_byte") -> list[MachineRoof]:
    """The roofs that the results ran under, each once, in the order of the results."""
    found = [
        MachineRoof(
            result.architecture,
            Roof(roof.name, roof.peak_gops, result.machine.bandwidth_bytes_per_second),
            True,
        )
        for result in results
        for roof in result.machine.roofs
        if axis == "ops_per_byte" or roof.name != VECTOR  # that axis counts MACs alone
    ]
    return list(dict.fromkeys(found))


def other_roofs(machines: Iterable[Machine]) -> list[MachineRoof]:
    """One roof for each other machine: the one that is asked for, else the first that its file lists."""
    roofs = []
    for machine in machines:
        arch, wanted = machine if isinstance(machine, tuple) else (machine, None)
        known = {roof.name: roof for roof in machine_roofs(arch)}
        if wanted is not None and wanted not in known:
            words = f'there is no roof "{wanted}"{nearest(wanted, known)}, must be {join_allowed(known)}'
            raise InputError(Fault(arch.name, "engine.peak_gops", words))
        roofs.append(MachineRoof(arch.name, known[wanted] if wanted else next(iter(known.values())), False))
    return roofs


def roofline_rows(
    results: Sequence[Result], machines: Sequence[Machine] = (), labels: Sequence[str] | None = None
) -> list[dict[str, Cell]]:
    """Everything that the figure can show: a row a layer, a network, a network at a level, a roof (``kind``)."""
    results = machines_apart(results, checked_labels(results, labels))
    rows: list[dict[str, Cell]] = []
    for result, label in zip(results, checked_labels(results, labels) or result_labels(results), strict=True):
        points = [*layer_points(result, label), network_point(result, label)]
        rows += [{"kind": "layer" if p.layer else "network", **asdict(p), **_no_roof()} for p in points]
        rows += [{"kind": "level", **asdict(p), **_no_roof()} for p in level_points(result, label)]
    blank = dict.fromkeys(Point.__dataclass_fields__)
    inner = [place for place in level_roofs(results) if place.inner]
    for place in (*simulated_roofs(results), *inner, *other_roofs(machines)):
        named: dict[str, Cell] = {
            "architecture": place.machine,
            "roof": place.roof.name,
            "peak_gops": place.roof.peak_gops,
            "level": place.level,
        }
        rows.append({"kind": "roof", **blank, **named, **_roof_cells(place)})
    return rows


def _no_roof() -> dict[str, Cell]:
    return {
        "bandwidth_bytes_per_second": None,
        "ridge_ops_per_byte": None,
        "ridge_macs_per_weight_byte": None,
    }


def _roof_cells(place: MachineRoof) -> dict[str, Cell]:
    return {
        "bandwidth_bytes_per_second": place.roof.bandwidth_bytes_per_second,
        "ridge_ops_per_byte": place.ridge("ops_per_byte"),
        "ridge_macs_per_weight_byte": place.ridge("macs_per_weight_byte"),
    }


def roofline_csv(
    results: Sequence[Result], machines: Sequence[Machine] = (), labels: Sequence[str] | None = None
) -> str:
    """The data of a roofline figure as CSV text, whether or not it is drawn."""
    return to_csv(roofline_rows(results, machines, labels))
