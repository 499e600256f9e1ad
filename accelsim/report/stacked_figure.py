"""Stacked bars: energy by component, cycles by cause; a bar a network, or a bar a layer."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np

from accelsim.errors import Fault, InputError
from accelsim.report import style
from accelsim.report.figure_data import Shown, Stack, energy_stack, result_names, stall_stack
from accelsim.report.model import Result
from accelsim.report.sheet import Sheet, text_pt
from accelsim.report.table import costs
from accelsim.report.words import percent, scaled, shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

OTHER = "other"
LEAST_SHARE = 0.002  # of all bars together: parts below are drawn as one
FEW = 9  # bars that have room for words
LONGEST_NAME = 22
ASLANT = 2.6  # letters' heights between names that lean without touching
GROUP_GAP = 0.5  # between groups of bars, in bars
RIM = 0.05  # of a bar's room, white
Fill = tuple[str, str]
"""A colour and a hatch: what is alike in grey differs in its hatch."""
PLAIN: Fill = (style.GREY, "||||")  # of what has no fill of its own
USES: dict[str, Fill] = {
    "busy": (style.BLUE, ""),
    "memory": (style.VERMILLION, "////"),
    "weight_load": (style.ORANGE, ""),
    "drain": (style.GREEN, "\\\\\\\\"),
    "fill": (style.SKY, "...."),
    "dependency": (style.PURPLE, "xxxx"),
    "imbalance": (style.YELLOW, ""),
    "queue": (style.BLACK, ""),
    "control": (style.GREY, "----"),
    "launch": (style.GREY, "++++"),
    "exchange": (style.PURPLE, "oo"),
}
COMPONENTS: dict[str, Fill] = {
    "mac": (style.BLUE, ""),
    "vector": (style.BLACK, ""),
    "array_registers": (style.SKY, "...."),
    "accumulators": (style.PURPLE, "xxxx"),
    "leakage": (style.GREY, "----"),
}
NEAR: tuple[Fill, ...] = (  # levels on chip, from the near one on
    (style.GREEN, "\\\\\\\\"), (style.YELLOW, ""), (style.ORANGE, "++++"), (style.PURPLE, "oo"),
)  # fmt: skip
FAR: Fill = (style.VERMILLION, "////")


def draw_energy(
    results: Sequence[Result],
    *,
    show: Shown | None = None,
    shares: bool = False,
    labels: Sequence[str] | None = None,
    colours: Mapping[str, str] | None = None,
    sheet: Sheet,
) -> tuple[Figure, Axes]:
    """Energy by component. ``show`` is ``layers`` for one result, ``networks`` for several unless given."""
    shown = show or default_show(results, "energy")
    results, groups = group_bars(results, shown, labels)
    stack = energy_stack(results, shown, labels)
    fills = component_fills(stack.parts, {result.machine.off_chip for result in results})
    return draw_stack(
        sheet,
        stack,
        recoloured(fills, stack.parts, colours),
        "Energy",
        "J",
        1e-12,
        shares=shares,
        many=shown == "layers",
        groups=groups,
    )


def component_fills(parts: Iterable[str], far: Collection[str]) -> dict[str, Fill]:
    """Fills of energy's components; levels on chip get theirs in their order, those of ``far`` their own."""
    fills, near = dict(COMPONENTS), 0
    for part in parts:
        if part not in fills:
            fills[part] = FAR if part in far else NEAR[near % len(NEAR)]
            near += part not in far
    return fills


def recoloured(fills: Mapping[str, Fill], parts: Iterable[str], given: Mapping[str, str] | None) -> dict[str, Fill]:
    """The fills of parts, in the colours that the caller gave."""
    names = list(parts)
    mine = [fills.get(name, PLAIN) for name in names]
    chosen = style.overridden(names, [colour for colour, _ in mine], given)
    return {name: (colour, hatch) for name, colour, (_, hatch) in zip(names, chosen, mine, strict=True)}


def draw_stalls(
    results: Sequence[Result],
    *,
    show: Shown | None = None,
    shares: bool | None = None,
    labels: Sequence[str] | None = None,
    colours: Mapping[str, str] | None = None,
    sheet: Sheet,
) -> tuple[Figure, Axes]:
    """Cycles by what they were for. Networks are shown as shares of their time unless told otherwise."""
    shown = show or default_show(results, "stalls")
    results, groups = group_bars(results, shown, labels)
    stack = stall_stack(results, shown, labels)
    relative = shown == "networks" if shares is None else shares
    fills, many = recoloured(USES, stack.parts, colours), shown == "layers"
    return draw_stack(sheet, stack, fills, "Cycles", "", 1.0, shares=relative, many=many, groups=groups)


def default_show(results: Sequence[Result], kind: str) -> Shown:
    """A bar a layer for one result, a bar a network for several; InputError for none."""
    if not results:
        raise InputError(Fault(f"plot {kind}", "", "there is no result to draw"))
    return "layers" if len(results) == 1 else "networks"


@dataclass(frozen=True)
class Groups:
    """Bars that stand together under one name: ``names`` has it for every bar, ``bars`` the bar's own."""

    names: tuple[str, ...] = ()
    bars: tuple[str, ...] = ()

    def places(self, count: int) -> list[float]:
        """Where ``count`` bars stand: one apart, groups half a bar further."""
        if not self.names:
            return [float(i) for i in range(count)]
        changes = accumulate([0, *(a != b for a, b in pairwise(self.names))])
        return [i + GROUP_GAP * before for i, before in enumerate(changes)]

    def middles(self, places: Sequence[float]) -> list[tuple[str, float]]:
        """Every group's name and the middle of its bars."""
        named = groupby(zip(self.names, places, strict=True), key=lambda pair: pair[0])
        spans = [(name, [place for _, place in pairs]) for name, pairs in named]
        return [(name, (span[0] + span[-1]) / 2) for name, span in spans]

    def numbers(self) -> dict[str, str]:
        """A number for each name of a bar, where these come again from group to group and are few."""
        known = dict.fromkeys(self.bars)
        few = len(known) < min(10, len(self.bars))
        return {name: str(number) for number, name in enumerate(known, 1)} if few else {}


def group_bars(
    results: Sequence[Result], shown: Shown, labels: Sequence[str] | None
) -> tuple[Sequence[Result], Groups]:
    """Results of several networks on several machines, network by network, or layers of several results, result by
    result; no groups where that tells nothing.
    """
    if shown == "layers":
        named = zip(result_names(results, labels), results, strict=True)
        pairs = [(name, layer.name) for name, result in named for layer in result.layers if costs(layer)]
        return results, Groups(*zip(*pairs, strict=True)) if len(results) > 1 and pairs else Groups()
    networks = list(dict.fromkeys(result.network for result in results))
    ran = {(result.network, result.architecture) for result in results}
    one_each = len(networks) in (1, len(results)) or len({machine for _, machine in ran}) == 1
    if labels is not None or one_each or len(ran) < len(results):
        return results, Groups()
    ordered = sorted(results, key=lambda result: networks.index(result.network))
    return ordered, Groups(tuple(r.network for r in ordered), tuple(r.architecture for r in ordered))


def draw_stack(
    sheet: Sheet,
    stack: Stack,
    fills: Mapping[str, Fill],
    quantity: str,
    unit: str,
    scale: float,
    *,
    shares: bool,
    many: bool,
    groups: Groups = Groups(),
) -> tuple[Figure, Axes]:
    """Draw bars whose values times ``scale`` are in ``unit``."""
    axes, places = sheet.axes(), groups.places(len(stack.bars))
    room_pt = bar_room_pt(sheet.width_pt, places)
    shown = gathered(stack)
    drawn = shown.shares() if shares else shown
    highest = max(drawn.totals, default=0.0) * (1.0 if shares else scale)
    factor, prefixed = axis_scale(highest, unit)
    step, worded = 1.0 if shares else scale / factor, not many and len(places) <= FEW
    base, handles, width = [0.0] * len(places), [], 0.86 if many else 0.68
    lefts = [place - width / 2 for place in places]
    for part, values in drawn.parts.items():
        heights, fill = [value * step for value in values], fills.get(part, PLAIN)
        bars(axes, lefts, heights, base, width, fill, rim=min(0.4, RIM * room_pt))
        handles.append(patch(fill, part_words(part)))
        if shares and worded:
            _inside(axes, places, base, heights, fill, room_pt)
        base = [low + height for low, height in zip(base, heights, strict=True)]
    axes.set_ylabel(f"Share of {quantity.lower()}" if shares else f"{quantity}{prefixed}")
    _y_axis(axes, shares, base)
    if worded:
        axes.set_title(sheet.title, pad=style.text_pt() + 4)  # above the totals
        _totals(axes, places, base, _short_totals([total * scale for total in stack.totals], unit, room_pt))
    sheet.legend(handles, **SWATCH)
    if groups.names:
        _name_groups(sheet, axes, groups, places)
    else:
        name_bars(axes, stack.bars, sheet.width_pt, places)
    sheet.settle()
    return sheet.figure, axes


SWATCH = {"handlelength": 1.1, "handleheight": 0.9}  # what a patch in a legend looks like


def bars(
    axes: Axes, lefts: Sequence[float], heights: Sequence[float], base: Sequence[float] | float, width: Any, fill: Fill,
    rim: float = 0.0,
) -> None:  # fmt: skip
    """Bars of one fill from their left ends on: its colour with a white rim, its hatch on top. All are one path: thousands
    of artists take seconds.
    """
    from matplotlib.patches import PathPatch
    from matplotlib.path import Path

    colour, hatch = fill
    left, low, right = np.broadcast_arrays(lefts, base, np.add(lefts, width))
    high = low + np.asarray(heights)
    corners = np.stack([left, low, right, low, right, high, left, high], axis=-1).reshape(-1, 4, 2)
    path = Path.make_compound_path_from_polys(corners)
    axes.add_artist(PathPatch(path, facecolor=colour, edgecolor="white", linewidth=rim, joinstyle="miter"))
    if hatch:
        axes.add_artist(PathPatch(path, fill=False, edgecolor=hatch_ink(colour), linewidth=0, hatch=hatch))


def patch(fill: Fill, words: str) -> Any:
    """What a fill looks like in a legend."""
    from matplotlib.patches import Patch

    return Patch(facecolor=fill[0], hatch=fill[1], edgecolor=hatch_ink(fill[0]), linewidth=0, label=words)


def hatch_ink(colour: str) -> str:
    """White or black, whichever stands out more."""
    return max("white", style.INK, key=lambda ink: style.contrast(ink, colour))


def gathered(stack: Stack) -> Stack:
    """Parts that are next to nothing in every bar as one, ``other``; those of nothing at all left out."""
    shares = stack.shares().parts
    large = {part: vs for part, vs in stack.parts.items() if max(shares[part], default=0) >= LEAST_SHARE * 5}
    small = [vs for part, vs in stack.parts.items() if part not in large and any(vs)]
    if not small:
        return Stack(stack.bars, large)
    return Stack(stack.bars, {**large, OTHER: tuple(sum(vs) for vs in zip(*small, strict=True))})


PREFIXES = {"T": 1e12, "G": 1e9, "M": 1e6, "k": 1e3, "": 1.0, "m": 1e-3, "µ": 1e-6, "n": 1e-9}
COUNTS = {"k": "thousand", "M": "million", "G": "billion", "T": "trillion"}


def axis_scale(highest: float, unit: str) -> tuple[float, str]:
    """What to divide an axis up to ``highest`` by, and the words behind its quantity: `` (mJ)``."""
    prefix = next((prefix for prefix, factor in PREFIXES.items() if highest >= factor), "n")
    if unit:
        return PREFIXES[prefix], f" ({prefix}{unit})"
    return (PREFIXES[prefix], f" ({COUNTS[prefix]})") if prefix in COUNTS else (1.0, "")


def part_words(part: str) -> str:
    return part.replace("_", " ")


def bar_room_pt(width_pt: float, places: Sequence[float]) -> float:
    """Room from bar to bar in a figure so wide."""
    return (width_pt - 36) / (max(places, default=0) + 1.2)


def name_bars(axes: Axes, names: Sequence[str], width_pt: float, places: Sequence[float] = ()) -> None:
    """Names under the bars: level where they fit, else aslant or upright, and only as many as have room."""
    places = places or range(len(names))
    short = [shorten(name, LONGEST_NAME) for name in names]
    axes.set_xlim(-0.6, max(places, default=0) + 0.6)
    axes.tick_params(axis="x", length=0)
    stride, look = turned(axes, short, bar_room_pt(width_pt, places))
    axes.set_xticks(places[::stride], short[::stride], **look)
    if look.get("rotation") == 90:
        axes.tick_params(axis="x", pad=1)


def turned(axes: Axes, names: Sequence[str], room_pt: float, **look: Any) -> tuple[int, dict[str, Any]]:
    """How names that stand so far apart are written: every how manieth of them, and how they are turned."""
    letter, longest = style.text_pt(), sorted(names, key=len)[-3:]
    if max((text_pt(axes.figure, name, letter, **look) for name in longest), default=0) <= room_pt - 4:
        return 1, {**look, "ha": "center"}
    if room_pt >= ASLANT * letter:
        return 1, {**look, "rotation": 30, "ha": "right", "rotation_mode": "anchor"}
    small = style.small_pt() - 0.5
    return max(1, ceil(1.2 * small / room_pt)), {**look, "rotation": 90, "ha": "center", "fontsize": small}


def _name_groups(sheet: Sheet, axes: Axes, groups: Groups, places: Sequence[float]) -> None:
    """Names of bars, or numbers that a list beneath explains where these have no room; and below them the groups'."""
    room_pt, numbers = bar_room_pt(sheet.width_pt, places), groups.numbers()
    if numbers and turned(axes, groups.bars, room_pt)[0] > 1:
        _number_bars(axes, [numbers[name] for name in groups.bars], places, room_pt)
    else:
        name_bars(axes, groups.bars, sheet.width_pt, places)
        numbers = {}
    style.lay_out(sheet.figure)
    lowest = min(label.get_window_extent().y0 for label in axes.get_xticklabels())
    below_pt = (lowest - axes.get_window_extent().y0) * 72 / sheet.figure.dpi - 3
    middles = [(shorten(name, LONGEST_NAME), middle) for name, middle in groups.middles(places)]
    apart = min((b - a for (_, a), (_, b) in pairwise(middles)), default=places[-1] + 1.2)
    stride, look = turned(axes, [name for name, _ in middles], apart * room_pt, fontweight="bold")
    for name, middle in middles[::stride]:
        axes.annotate(
            name, (middle, 0), (0, below_pt), xycoords=("data", "axes fraction"), textcoords="offset points", va="top", **look
        )
    sheet.keys([(f"{number} {name}", style.INK) for name, number in numbers.items()])


def _number_bars(axes: Axes, numbers: Sequence[str], places: Sequence[float], room_pt: float) -> None:
    small = style.small_pt() - 0.5
    stride = ceil(text_pt(axes.figure, "0", small) / room_pt)
    axes.set_xlim(-0.6, places[-1] + 0.6)
    axes.tick_params(axis="x", length=0)
    axes.set_xticks(places[::stride], numbers[::stride], fontsize=small)


def _y_axis(axes: Axes, shares: bool, heights: Sequence[float]) -> None:
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    if shares:
        axes.set_ylim(0, 1)
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{100 * y:.0f}%"))
    else:
        axes.set_ylim(0, 1.06 * max(heights, default=1) or 1)
        axes.yaxis.set_major_locator(MaxNLocator(6, steps=[1, 2, 5, 10]))
        axes.yaxis.set_major_formatter(FuncFormatter(lambda y, _: f"{y:,.10g}"))
    axes.set_axisbelow(True)
    axes.grid(axis="y", color="#E4E4E4", lw=0.4)


def _inside(
    axes: Axes, places: Sequence[float], base: Sequence[float], heights: Sequence[float], fill: Fill, room_pt: float
) -> None:
    """Shares in percent inside the parts that have room; without decimals where the bars are narrow."""
    box = {"facecolor": "white", "edgecolor": "none", "pad": 0.6} if fill[1] else None  # hatches would cross the digits
    ink = style.INK if fill[1] else hatch_ink(fill[0])
    look: dict[str, Any] = {"color": ink, "size": style.small_pt(), "bbox": box, "ha": "center", "va": "center"}
    for x, low, height in zip(places, base, heights, strict=True):
        if height >= 0.08:
            words = percent(height) if 0.68 * room_pt >= 18 else f"{100 * height:.0f}"
            axes.text(x, low + height / 2, words, **look)


def _short_totals(totals: Sequence[float], unit: str, room_pt: float) -> list[str]:
    """Totals in three digits, or in two where the bars stand too close."""
    for digits in (3, 2):
        words = [scaled(total, unit, digits).rstrip() for total in totals]
        if max(map(len, words)) * 3.9 + 2 <= room_pt:
            break
    return words


def _totals(axes: Axes, places: Sequence[float], heights: Sequence[float], words: Sequence[str]) -> None:
    for x, height, text in zip(places, heights, words, strict=True):
        axes.annotate(
            text,
            (x, height),
            (0, 1.5),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize=style.small_pt(),
            annotation_clip=False,
        )
