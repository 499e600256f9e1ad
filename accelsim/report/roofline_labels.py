"""The words in a roofline figure: names and values of roofs, of layers, of levels; and where each may stand."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from math import atan2, degrees
from typing import TYPE_CHECKING, Any

from accelsim.analysis.roofline import VECTOR
from accelsim.report import style
from accelsim.report.labels import Keys, Placer, Spot, around
from accelsim.report.roofline_data import Axis, MachineRoof, Point
from accelsim.report.roofline_scene import Scene
from accelsim.report.words import compact, percent, significant

if TYPE_CHECKING:
    from matplotlib.axes import Axes

X_UNITS: dict[Axis, str] = {"ops_per_byte": "op/B", "macs_per_weight_byte": "MAC/B"}
NAMED_SHARE = 0.02  # layers that take more of their network's time are named
MOST_NAMED = {True: 40, False: 8}  # in a figure that grows, and in one whose height is given
REACH_PT = (5.0, 10.0, 16.0, 24.0, 34.0, 46.0, 60.0, 80.0)  # how far a key may stand from its marker
STEPS = 24  # spots along a roof


def label_roofs(axes: Axes, scene: Scene, placer: Placer, keys: Keys) -> None:
    """Name every roof and its values, the highest of simulated machines first."""
    order = sorted(scene.roofs, key=lambda roof: (not roof.simulated, -roof.roof.peak_gops))
    for roof in order:
        if not roof.inner:
            _named(placer, keys, scene, roof, peak_words(scene, roof), list(_flat_spots(scene, roof)))
    slopes: set[tuple[str, float | None]] = set()
    for roof in order:
        key = (roof.machine, roof.roof.bandwidth_bytes_per_second)
        if key not in slopes:  # roofs of one machine share their slope, of which the highest has most
            slopes.add(key)
            spots = list(_slope_spots(axes, scene, roof))
            _named(placer, keys, scene, roof, slope_words(scene, roof), spots)
    for roof in order:
        if not roof.inner and (is_head(scene, roof) or not scene.several_machines):
            _label_ridge(scene, roof, placer)


def _named(placer: Placer, keys: Keys, scene: Scene, roof: MachineRoof, words: str, spots: Sequence[Spot]) -> None:
    """Write a roof's words beside it, else a key; a roof outside the figure has no spots and needs none."""
    look = roof_look(scene, roof)
    if spots and placer.put(words, spots, **look) is None:
        owner = "" if words.startswith(roof.machine) or not scene.several_machines else f"{roof.machine} "
        level = [spot for spot in spots if not spot.angle_deg]
        keys.put(placer, owner + words, level, look["color"], fontsize=look["fontsize"])


def roof_look(scene: Scene, roof: MachineRoof) -> dict[str, Any]:
    return {"color": style.ink(scene.looks.machines[roof.machine].colour), "fontsize": style.small_pt()}


def is_head(scene: Scene, roof: MachineRoof) -> bool:
    """Whether a roof is the highest of its machine."""
    same = (other.roof.peak_gops for other in scene.roofs if other.machine == roof.machine)
    return not roof.inner and roof.roof.peak_gops >= max(same)


def peak_words(scene: Scene, roof: MachineRoof) -> str:
    """``tpu_v1 int8: 91.8 TOPS``; lower roofs of the only machine are ``int8×int16: 45.9 TOPS``."""
    unit = "FLOPS" if roof.roof.name.startswith(("fp", "bf")) else "OPS"
    words = f"{roof.roof.name.replace('x', '×')}: {compact(roof.roof.peak_gops * 1e9, unit)}"
    return f"{roof.machine} {words}" if scene.several_machines or is_head(scene, roof) else words


def slope_words(scene: Scene, roof: MachineRoof) -> str:
    """``34 GB/s``, with the level's name where there are several."""
    del scene
    bandwidth = roof.roof.bandwidth_bytes_per_second
    return "" if bandwidth is None else f"{roof.level.replace('_', ' ')} {compact(bandwidth, 'B/s')}".strip()


def _flat_spots(scene: Scene, roof: MachineRoof) -> Iterator[Spot]:
    """Above a roof's flat part from its right end on, then beneath it."""
    height = roof.roof.peak_gops / scene.scale[0]
    start = max(roof.ridge(scene.axis) or scene.x_low, scene.x_low)
    for va, up in (("bottom", 1.2), ("bottom", 3.4), ("top", -1.6), ("top", -3.8)):
        yield Spot(scene.x_end, height, -1.2, up, "right", va)
        for step in range(STEPS):
            x = start * (scene.x_end / start) ** (1 - step / STEPS)
            yield Spot(x, height, 0, up, "right", va)
        yield Spot(start, height, 6, up, "left", va)


def _slope_spots(axes: Axes, scene: Scene, roof: MachineRoof) -> Iterator[Spot]:
    """Along a roof's slope above and beneath it, from its middle outwards; then level, at its sides."""
    ridge, scale = roof.ridge(scene.axis), scene.scale[0]
    if ridge is None or ridge <= scene.x_low:
        return
    low = max(scene.x_low, ridge * scene.y_low / roof.roof.peak_gops)  # where the slope enters the figure
    high = min(ridge, scene.x_end)
    ends = axes.transData.transform([(x, roof.height(x, scene.axis) / scale) for x in (low, high)])
    angle = degrees(atan2(ends[1][1] - ends[0][1], ends[1][0] - ends[0][0]))
    shares = sorted((step / STEPS for step in range(STEPS + 1)), key=lambda share: abs(share - 0.5))
    places = [(x, roof.height(x, scene.axis) / scale) for share in shares for x in (low * (high / low) ** share,)]
    for x, y in places:
        yield Spot(x, y, 0, 1.2, "center", "bottom", angle)
        yield Spot(x, y, 0, -1.6, "center", "top", angle)
    for x, y in places:
        yield Spot(x, y, -1.5, 1.0, "right", "bottom")
        yield Spot(x, y, 1.5, -1.0, "left", "top")


def _label_ridge(scene: Scene, roof: MachineRoof, placer: Placer) -> None:
    ridge = roof.ridge(scene.axis)
    if ridge is None or not scene.x_low < ridge < scene.x_end:
        return
    height = roof.roof.peak_gops / scene.scale[0]
    words = f"{significant(ridge)} {X_UNITS[scene.axis]}"
    alone = len({other.machine for other in scene.roofs if other.simulated}) == 1
    main = roof.simulated and is_head(scene, roof) and alone
    spots = [
        Spot(ridge, height, -3.0, 3.0, "right"), Spot(ridge, height, 3.5, -3.5, "left", "top"),
        Spot(ridge, height, 0, 4.0, "center"), Spot(ridge, height, -4.0, 0, "right", "center"),
    ]  # fmt: skip
    placer.put(f"ridge {words}" if main else words, spots, **roof_look(scene, roof))


def region_ridge(scene: Scene) -> tuple[float, float] | None:
    """Where one machine's ridge parts the figure, and its height; None where several do, or none."""
    main = [roof for roof in scene.roofs if roof.simulated and not roof.inner]
    ridges = {roof.ridge(scene.axis) for roof in main if roof.roof.name != VECTOR}
    ridge = next(iter(ridges)) if len(ridges) == 1 else None
    if ridge is None or not scene.x_low < ridge < scene.x_end:
        return None
    return ridge, max(roof.roof.peak_gops for roof in main) / scene.scale[0]


def label_regions(scene: Scene, placer: Placer) -> None:
    """Say which side of the only ridge is bound by what."""
    parted = region_ridge(scene)
    if parted is None:
        return
    floor = scene.y_low / scene.scale[0]
    look = {"color": style.MUTED, "fontsize": style.small_pt(), "fontstyle": "italic"}
    for words, side, along in (("memory-bound", "right", -3), ("compute-bound", "left", 3)):
        placer.put(words, [Spot(parted[0], floor, along, up, side) for up in (2.5, 10.0, 18.0, 26.0)], **look)


# ---- points ----------------------------------------------------------------------------------------


def label_points(
    axes: Axes, scene: Scene, placer: Placer, keys: Keys, wanted: Sequence[tuple[int, Point]], shares: bool, required: bool
) -> None:
    """Name points (each with the number of its result) directly where there is room, else by a key."""
    for number, group in _together(axes, scene, wanted):
        point = group[0]
        words = point_words(group, scene, shares)
        colour = style.ink(scene.looks.results[number].colour)
        gap = _reach_pt(axes, scene, point, placer)
        at, look = (scene.x(point), scene.y(point)), {"color": colour, "fontsize": style.small_pt()}
        if placer.put(words, around(*at, gap, REACH_PT[:2]), **look) is None:
            keys.put(placer, words, around(*at, gap, REACH_PT), colour, required, fontsize=style.small_pt())


def _reach_pt(axes: Axes, scene: Scene, point: Point, placer: Placer) -> float:
    """From the middle of a point's marker to where its label may begin."""
    at = axes.transData.transform((scene.x(point), scene.y(point)))
    around = placer.marks[abs((placer.marks[:, :2] + placer.marks[:, 2:]) / 2 - at).max(axis=1) < 1.5]
    return float((around[:, 2] - around[:, 0]).max(initial=4) / 2 / placer.pixels) + 1.2


def wanted_points(scene: Scene, name_layers: int | None, grows: bool) -> tuple[list[tuple[int, Point]], bool]:
    """The points to name, those that take most time first, and whether all of them have to be.

    ``name_layers`` of each result; None: every layer over 2 % of its network's time, or, where these are more than
    `MOST_NAMED`, as many of each result's as there is room for.
    """
    pairs = [(number, point) for number, group in enumerate(scene.points) for point in group]
    pairs.sort(key=lambda pair: -pair[1].share_of_time)
    if scene.show == "levels":
        return pairs[: MOST_NAMED[grows]], len(pairs) <= MOST_NAMED[grows] or not grows
    if scene.show == "networks":
        return pairs if name_layers else [], True
    if name_layers is not None:
        slowest = [[pair for pair in pairs if pair[0] == number][:name_layers] for number in range(len(scene.points))]
        return [pair for pair in pairs if pair in slowest[pair[0]]], True
    long = [pair for pair in pairs if pair[1].share_of_time > NAMED_SHARE]
    return (long, True) if len(long) <= MOST_NAMED[grows] else (long[: MOST_NAMED[grows]], False)


def _together(
    axes: Axes, scene: Scene, wanted: Sequence[tuple[int, Point]]
) -> Iterator[tuple[int, list[Point]]]:
    """Points of one result that lie on one another share a name."""

    def place(pair: tuple[int, Point]) -> tuple[int, int, int]:
        x, y = axes.transData.transform((scene.x(pair[1]), scene.y(pair[1])))
        return pair[0], round(x), round(y)

    ranks: dict[tuple[int, int, int], int] = {}
    for rank, pair in enumerate(wanted):
        ranks.setdefault(place(pair), rank)
    ordered = sorted(wanted, key=lambda pair: ranks[place(pair)])
    for (number, _, _), group in groupby(ordered, key=place):
        yield number, [point for _, point in group]


def point_words(group: Sequence[Point], scene: Scene, shares: bool) -> str:
    """``conv1``, ``layer3_{1-5}_conv2`` for layers that lie on one another, with ``shares`` their share of the roof."""
    point = group[0]
    words = point.level.replace("_", " ") if point.level else braced([p.layer or p.network for p in group])
    if point.level and len(scene.points) > 1 and shares:
        words = f"{point.network} {words}"
    return f"{words} {percent(point.attained_gops / point.roof_gops)}%" if shares and point.roof_gops else words


def braced(names: Sequence[str]) -> str:
    """Names as one, what differs in braces: ``conv3_1``, ``conv3_2`` -> ``conv3_{1,2}``; runs of numbers as ``1-4``."""
    names = sorted(dict.fromkeys(names), key=lambda name: (len(name), name))
    if len(names) == 1:
        return names[0]
    head = _common(names).rstrip("0123456789")
    rests = [name[len(head) :] for name in names]
    tail = _common([rest[::-1] for rest in rests])[::-1].lstrip("0123456789")
    middles = [rest[: len(rest) - len(tail)] for rest in rests]
    if not head and not tail:
        return ", ".join(names)
    numbers = [int(middle) for middle in middles if middle.isdecimal()]
    if len(numbers) == len(middles) > 2 and numbers == list(range(numbers[0], numbers[-1] + 1)):
        return f"{head}{{{numbers[0]}-{numbers[-1]}}}{tail}"
    return f"{head}{{{','.join(middles)}}}{tail}"


def _common(names: Sequence[str]) -> str:
    """What all names begin with."""
    first, last = min(names), max(names)
    return first[: next((i for i, (a, b) in enumerate(zip(first, last, strict=False)) if a != b), len(first))]
