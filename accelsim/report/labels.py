"""Puts words into a figure where they cover nothing: the one placer of all figures.

What is in the way is asked of matplotlib: the boxes of markers, texts and patches, the lines. A label has spots in
order of preference and takes the first that is free. Where none is, it is not written: its owner then tries
a short key, and says in a list what the key stands for (`Keys`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from math import cos, radians, sin
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Text

Array = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]
GAP_PT = 1.0  # between a label and anything else
LEADER: dict[str, Any] = {"lw": 0.4, "zorder": 2.2}


@dataclass(frozen=True)
class Spot:
    """A place for a label: an anchor in data, a shift in points along and across the text, its alignment.

    ``leader``: joined to its anchor by a thin line, from ``near_pt`` before it on.
    """

    x: float
    y: float
    along_pt: float = 0.0
    across_pt: float = 0.0
    ha: str = "left"
    va: str = "bottom"
    angle_deg: float = 0.0
    leader: bool = False
    near_pt: float = 0.0

    @property
    def shift_pt(self) -> tuple[float, float]:
        """The shift on the page."""
        c, s = _turn(self.angle_deg)
        return self.along_pt * c - self.across_pt * s, self.along_pt * s + self.across_pt * c


@dataclass(frozen=True)
class Box:
    """A label's box in pixels, turned by an angle about its centre."""

    centre: Array
    half: Array
    angle_deg: float

    def bounds(self) -> Array:
        """The upright box around it: left, low, right, high."""
        c, s = _turn(self.angle_deg)
        reach = np.array([[abs(c), abs(s)], [abs(s), abs(c)]]) @ self.half
        return np.concatenate([self.centre - reach, self.centre + reach])

    def seen(self, points: Array) -> Array:
        """Points in its own frame."""
        c, s = _turn(self.angle_deg)
        return np.asarray((points - self.centre) @ np.array([[c, -s], [s, c]]))

    def meets_boxes(self, boxes: Array, gap: float) -> Flags:
        """Which upright boxes are closer than ``gap``: no axis of the two parts them."""
        left, low, right, high = self.bounds() + gap * np.array([-1, -1, 1, 1])
        hit = (boxes[:, 0] < right) & (boxes[:, 2] > left) & (boxes[:, 1] < high) & (boxes[:, 3] > low)
        if self.angle_deg and hit.any():
            half = self.half + gap
            corners = self.seen(boxes[hit][:, [0, 1, 0, 3, 2, 1, 2, 3]].reshape(-1, 2)).reshape(-1, 4, 2)
            hit[hit] = np.all((corners.min(axis=1) < half) & (corners.max(axis=1) > -half), axis=1)
        return np.asarray(hit)

    def meets_lines(self, lines: Array, gap: float) -> Flags:
        """Which segments come closer than ``gap``."""
        ends = self.seen(lines.reshape(-1, 2)).reshape(-1, 2, 2)
        middle, along, half = ends.mean(axis=1), ends[:, 1] - ends[:, 0], self.half + gap
        near = np.all(np.abs(middle) < half + np.abs(along) / 2, axis=1)
        across = np.abs(along[:, 0] * middle[:, 1] - along[:, 1] * middle[:, 0])
        return np.asarray(near & (across < half[0] * np.abs(along[:, 1]) + half[1] * np.abs(along[:, 0])))


def _turn(angle_deg: float) -> tuple[float, float]:
    return cos(radians(angle_deg)), sin(radians(angle_deg))


class Placer:
    """What stands in axes by now; grows with every label that it puts there."""

    def __init__(self, axes: Axes) -> None:
        self.axes = axes
        self.pixels = axes.figure.dpi / 72
        self.frame = axes.get_window_extent()
        self.lines, self.marks, self.words = _lines(axes), _marks(axes), _words(axes)
        self.leaders = np.empty((0, 4))
        self.known: dict[tuple[float, float], Array] = {}

    def put(self, text: str, spots: Iterable[Spot], **look: Any) -> Text | None:
        """Write ``text`` at the first of the spots that is free; None where none is."""
        half = self._half(text, look)
        for spot in spots:
            box = self._box(spot, half)
            if self._free(box) and (not spot.leader or self._free_leader(spot, box)):
                return self._write(text, spot, box, look)
        return None

    def _half(self, text: str, look: dict[str, Any]) -> Array:
        """Half the size of the text's own box in pixels."""
        probe = self.axes.text(0, 0, text, **look)
        extent = probe.get_window_extent()
        probe.remove()
        return np.array([extent.width, extent.height]) / 2

    def _box(self, spot: Spot, half: Array) -> Box:
        middle = np.array(
            [{"left": 1, "center": 0, "right": -1}[spot.ha], {"bottom": 1, "center": 0, "top": -1}[spot.va]]
        )
        c, s = _turn(spot.angle_deg)
        offset = np.array([[c, -s], [s, c]]) @ (middle * half)
        return Box(self._at(spot) + np.array(spot.shift_pt) * self.pixels + offset, half, spot.angle_deg)

    def _at(self, spot: Spot) -> Array:
        place = spot.x, spot.y
        if place not in self.known:  # a marker has many spots
            self.known[place] = np.asarray(self.axes.transData.transform(place), dtype=np.float64)
        return self.known[place]

    def _free(self, box: Box) -> bool:
        gap, (left, low, right, high) = GAP_PT * self.pixels, box.bounds()
        frame = self.frame
        inside = left > frame.x0 + gap and right < frame.x1 + gap and low > frame.y0 + gap and high < frame.y1 + gap
        if not inside or box.meets_boxes(self.marks, gap).any() or box.meets_lines(self.lines, 0.8 * gap).any():
            return False
        upright = Box(box.centre, (box.bounds()[2:] - box.bounds()[:2]) / 2, 0.0)  # texts keep clear of each other's
        return not upright.meets_boxes(self.words, gap).any()

    def _leader(self, spot: Spot, box: Box) -> Array:
        """From the rim of what is named to the nearest point of its label."""
        start = self._at(spot)
        bounds = box.bounds()
        end = np.clip(start, bounds[:2], bounds[2:])
        way = end - start
        start = start + way / (np.hypot(*way) or 1) * spot.near_pt * self.pixels
        return np.concatenate([start, end])

    def _free_leader(self, spot: Spot, box: Box) -> bool:
        leader = self._leader(spot, box)
        middle, along = (leader[:2] + leader[2:]) / 2, leader[2:] - leader[:2]
        around = Box(middle, np.array([np.hypot(*along) / 2, 0.1]), float(np.degrees(np.arctan2(along[1], along[0]))))
        here = np.all((self.marks[:, :2] <= self._at(spot)) & (self.marks[:, 2:] >= self._at(spot)), axis=1)
        others = np.vstack([self.marks[~here], self.words])
        gap = 0.3 * self.pixels
        return not around.meets_boxes(others, gap).any() and not around.meets_lines(self.leaders, gap).any()

    def _write(self, text: str, spot: Spot, box: Box, look: dict[str, Any]) -> Text:
        if spot.leader:
            leader = self._leader(spot, box)
            ends = self.axes.transData.inverted().transform(leader.reshape(2, 2))
            self.axes.plot(ends[:, 0], ends[:, 1], color=look.get("color"), label="_leader", **LEADER)
            self.lines, self.leaders = np.vstack([self.lines, leader]), np.vstack([self.leaders, leader])
        self.words = np.vstack([self.words, box.bounds()])
        return self.axes.annotate(
            text, (spot.x, spot.y), spot.shift_pt, textcoords="offset points", ha=spot.ha, va=spot.va,
            rotation=spot.angle_deg, rotation_mode="anchor", annotation_clip=False, zorder=5, **look,
        )  # fmt: skip


def _stack(parts: Iterable[Any]) -> Array:
    return np.vstack([np.empty((0, 4)), *parts])


def _lines(axes: Axes) -> Array:
    """Segments of all lines in pixels."""
    return _stack(_segments(line) for line in axes.lines if line.get_linestyle() not in ("None", "", " "))


def _segments(line: Any) -> Array:
    path = line.get_transform().transform_path(line.get_path())
    points = path.vertices[np.isfinite(path.vertices).all(axis=1)]
    return np.hstack([points[:-1], points[1:]])


def _marks(axes: Axes) -> Array:
    """Boxes of all markers, and of patches such as bars and arrows."""
    markers = (_line_marks(line) for line in axes.lines if line.get_marker() not in ("None", "", " ", None))
    patches = [np.array([patch.get_window_extent().extents]) for patch in axes.patches]
    return _stack([*markers, *map(_collection_marks, axes.collections), *patches])


def _line_marks(line: Any) -> Array:
    points = line.get_transform().transform(np.column_stack(line.get_data()))
    reach = (line.get_markersize() + line.get_markeredgewidth()) / 2 * line.axes.figure.dpi / 72
    return np.hstack([points - reach, points + reach])


def _collection_marks(collection: Any) -> Array:
    """A box an item of a scatter; paths may differ from item to item."""
    offsets = collection.get_offset_transform().transform(np.asarray(collection.get_offsets()))
    paths, sizes = collection.get_paths(), collection.get_sizes()
    if not len(offsets) or not len(paths) or not len(sizes):
        return np.empty((0, 4))
    pixels = collection.axes.figure.dpi / 72
    known = {id(path): path.get_extents().extents for path in paths}
    shapes = np.array([known[id(path)] for path in paths])[np.arange(len(offsets)) % len(paths)]
    scale = np.sqrt(np.asarray(sizes))[np.arange(len(offsets)) % len(sizes), None] * pixels
    rim = float(np.max(collection.get_linewidths(), initial=0)) / 2 * pixels
    return np.asarray(np.hstack([offsets, offsets]) + shapes * scale + rim * np.array([-1, -1, 1, 1]))


def _words(axes: Axes) -> Array:
    return _stack(np.array([text.get_window_extent().extents]) for text in axes.texts if text.get_text())


# ---- spots -----------------------------------------------------------------------------------------

SIDES = (
    ("left", "center", 1, 0), ("right", "center", -1, 0), ("center", "bottom", 0, 1), ("center", "top", 0, -1),
    ("left", "bottom", 0.7, 0.7), ("left", "top", 0.7, -0.7), ("right", "bottom", -0.7, 0.7), ("right", "top", -0.7, -0.7),
    ("left", "bottom", 0.9, 0.4), ("left", "top", 0.9, -0.4), ("right", "bottom", -0.9, 0.4), ("right", "top", -0.9, -0.4),
    ("left", "bottom", 0.4, 0.9), ("left", "top", 0.4, -0.9), ("right", "bottom", -0.4, 0.9), ("right", "top", -0.4, -0.9),
)  # fmt: skip


def around(x: float, y: float, gap_pt: float, reach_pt: Sequence[float] = (), sides: Any = SIDES) -> Iterator[Spot]:
    """Spots beside a marker, ``gap_pt`` from its middle, then further out, joined to it by a line."""
    for far in (0.0, *reach_pt):
        for ha, va, right, up in sides:
            gap = gap_pt + far
            yield Spot(x, y, right * gap, up * gap, ha, va, leader=bool(far), near_pt=max(gap_pt - GAP_PT, 0))


# ---- keys ------------------------------------------------------------------------------------------


@dataclass
class Keys:
    """Short keys that stand in a figure for names that had no room, and what they mean, for a list beneath.

    ``complete``: the list also has, with a dash, what has no room even for a key; not where the list takes the plot's room.
    """

    complete: bool = True
    entries: list[tuple[str, str]] = field(default_factory=list)  # words, colour

    def put(
        self, placer: Placer, name: str, spots: Iterable[Spot], colour: str, required: bool = True, **look: Any
    ) -> None:
        """Write the next number at a free spot, and its meaning to the list; there a dash, if it is ``required``, where
        not even a number fits.
        """
        number = str(1 + sum(not words.startswith("–") for words, _ in self.entries))
        placed = placer.put(number, spots, color=colour, **look)
        if placed or (required and self.complete):
            self.entries.append((f"{number if placed else '–'} {name}", colour))
