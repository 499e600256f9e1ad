"""Puts words into a figure where they cover nothing: tries places in order of preference, takes the least
covered.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import ceil, cos, radians, sin
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Text

Points = npt.NDArray[np.float64]  # rows of (x, y) in pixels
Distances = npt.NDArray[np.float64]
_NOTHING: Points = np.empty((0, 2))


@dataclass(frozen=True)
class Spot:
    """A place for a label: an anchor in data coordinates, a shift in points along and across the text, its
    alignment.
    """

    x: float
    y: float
    along_pt: float = 0.0
    across_pt: float = 0.0
    ha: str = "left"
    va: str = "bottom"
    angle_deg: float = 0.0


@dataclass
class Crowd:
    """What is in the way, in pixels: discs (markers), lines, and the labels placed so far."""

    discs: Points = field(default_factory=lambda: _NOTHING)
    radii: Distances = field(default_factory=lambda: np.empty(0))
    lines: Points = field(default_factory=lambda: _NOTHING)
    words: Points = field(default_factory=lambda: _NOTHING)


def place(
    axes: Axes, text: str, spots: Sequence[Spot], crowd: Crowd, required: bool = True, **style: Any
) -> Text | None:
    """Write ``text`` at the least covered of ``spots``, and add it to the crowd.

    With ``required`` false it is left out where even that would cover a marker or another label.
    """
    label = axes.text(0, 0, text, rotation_mode="anchor", **style)
    ranked = [(_cost(axes, label, spot, crowd), rank, spot) for rank, spot in enumerate(spots)]
    cost, _, spot = min(ranked, key=lambda item: (item[0] + 0.2 * item[1], item[1]))
    if not required and cost >= 3:
        label.remove()
        return None
    covered = _samples(axes, label, spot)
    _move(axes, label, spot)
    crowd.words = np.vstack([crowd.words, covered])
    if _near(covered, crowd.lines, _pixels(axes, 0.8)):
        label.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.4, "alpha": 0.85})
    return label


def _cost(axes: Axes, label: Text, spot: Spot, crowd: Crowd) -> float:
    """How much a label would cover, and how far it would stick out; 0 is free."""
    samples = _samples(axes, label, spot)
    box = axes.get_window_extent()
    outside = np.sum(
        (samples < [box.x0 - 1, box.y0 - 1]) | (samples > [box.x1 + 1, box.y1 + 0.12 * box.height])
    )
    return float(
        20 * outside
        + 3 * _near(samples, crowd.discs, crowd.radii + _pixels(axes, 0.6))
        + 6 * _near(samples, crowd.words, _pixels(axes, 2.0))
        + 2 * _near(samples, crowd.lines, _pixels(axes, 1.2))
    )


def _near(samples: Points, others: Points, distance: float | Distances) -> int:
    """How many of the samples are closer than ``distance`` pixels (one, or one each) to any of the others."""
    reach = np.broadcast_to(distance, len(others))
    low, high = samples.min(axis=0), samples.max(axis=0)
    close = np.all((others > low - reach[:, None]) & (others < high + reach[:, None]), axis=1)
    if not close.any():
        return 0
    gaps = np.linalg.norm(samples[:, None] - others[close][None], axis=2)
    return int(np.sum((gaps < reach[close]).any(axis=1)))


def _pixels(axes: Axes, points: float) -> float:
    return float(points * axes.figure.dpi / 72)


def _anchor(axes: Axes, spot: Spot) -> Points:
    turn = radians(spot.angle_deg)
    along, across = _pixels(axes, spot.along_pt), _pixels(axes, spot.across_pt)
    shift = np.array([along * cos(turn) - across * sin(turn), along * sin(turn) + across * cos(turn)])
    return np.asarray(axes.transData.transform((spot.x, spot.y)) + shift, dtype=np.float64)


def _samples(axes: Axes, label: Text, spot: Spot) -> Points:
    """A grid of points, 2 pixels apart, over the label's box where ``spot`` would put it."""
    label.set(rotation=0, ha="left", va="bottom")
    extent = label.get_window_extent()
    width, height = extent.width, extent.height
    left = {"left": 0.0, "center": -width / 2, "right": -width}[spot.ha]
    low = {"bottom": 0.0, "center": -height / 2, "top": -height}[spot.va]
    columns = np.linspace(left, left + width, max(2, ceil(width / 2)))
    rows = np.linspace(low, low + height, max(2, ceil(height / 2)))
    grid = np.stack(np.meshgrid(columns, rows), axis=-1).reshape(-1, 2)
    turn = radians(spot.angle_deg)
    rotation = np.array([[cos(turn), sin(turn)], [-sin(turn), cos(turn)]])
    return np.asarray(grid @ rotation + _anchor(axes, spot), dtype=np.float64)


def _move(axes: Axes, label: Text, spot: Spot) -> None:
    position = axes.transData.inverted().transform(_anchor(axes, spot))
    label.set(position=tuple(position), rotation=spot.angle_deg, ha=spot.ha, va=spot.va)
