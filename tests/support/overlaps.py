"""What covers what in a figure: every box is asked of matplotlib, none of the placer that put it there."""

from __future__ import annotations

from itertools import combinations, pairwise
from typing import Any

import numpy as np

SLACK_PX = 0.5
Quad = Any  # corners of a text's box, turned with it


def problems(figure: Any) -> list[str]:
    """Texts that cover texts, markers, bars or lines, or stick out of the page; one line each."""
    figure.draw_without_rendering()
    texts = [(text, corners(text)) for text in shown_texts(figure)]
    found = [f"{name(a)} covers {name(b)}" for (a, p), (b, q) in combinations(texts, 2) if meet(p, q)]
    width, height = figure.get_size_inches() * figure.dpi
    for text, quad in texts:
        if (quad < -1).any() or (quad > [width + 1, height + 1]).any():
            found.append(f"{name(text)} sticks out")
        for axes in figure.axes:
            found += [f"{name(text)} covers a {what}" for what, box in boxes(axes) if text.axes is axes and meet(quad, box)]
            found += [f"{name(text)} lies on a line" for line in segments(axes) if crosses(quad, line)]
    return found


def name(text: Any) -> str:
    return f'"{text.get_text()}"'


def shown_texts(figure: Any) -> list[Any]:
    """All texts with words in them, those of ticks too where these are within their axis."""
    hidden = set()
    for axes in figure.axes:
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                if not low * (1 - 1e-9) <= tick.get_loc() <= high * (1 + 1e-9):
                    hidden |= {tick.label1, tick.label2}
    texts = figure.findobj(lambda artist: hasattr(artist, "get_fontsize") and hasattr(artist, "get_text"))
    return [text for text in dict.fromkeys(texts) if text.get_text().strip() and text.get_visible() and text not in hidden]


def corners(text: Any) -> Quad:
    """The four corners of a text in pixels: its own box, turned as it is."""
    angle = text.get_rotation()
    if angle % 90 == 0:
        box = text.get_window_extent()
        return np.array([(box.x0, box.y0), (box.x1, box.y0), (box.x1, box.y1), (box.x0, box.y1)])
    middle = text.get_window_extent()
    centre = np.array([(middle.x0 + middle.x1) / 2, (middle.y0 + middle.y1) / 2])
    text.set_rotation(0)
    box = text.get_window_extent()
    text.set_rotation(angle)
    turn = np.radians(angle)
    rotate = np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    half = np.array([box.width, box.height]) / 2
    return centre + (np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * half) @ rotate


def boxes(axes: Any) -> list[tuple[str, Quad]]:
    """Markers (each of a scatter), ridges' rings and bars."""
    found = []
    for points in axes.collections:
        shapes = points.get_paths()
        scales, places = points.get_transforms(), points.get_offset_transform().transform(points.get_offsets())
        for i, place in enumerate(places if len(shapes) and len(scales) else []):
            extent = shapes[i % len(shapes)].transformed(_affine(scales[i % len(scales)])).get_extents()
            found.append(("marker", _quad(*extent.min, *extent.max) + place))
    for line in axes.lines:
        if line.get_marker() not in ("None", "", None):
            reach = line.get_markersize() / 2 * axes.figure.dpi / 72
            for x, y in line.get_transform().transform(np.column_stack(line.get_data())):
                found.append(("ring", _quad(x - reach, y - reach, x + reach, y + reach)))
    return found


def _affine(matrix: Any) -> Any:
    from matplotlib.transforms import Affine2D

    return Affine2D(matrix)


def _quad(x0: float, y0: float, x1: float, y1: float) -> Quad:
    return np.array([(x0, y0), (x1, y0), (x1, y1), (x0, y1)])


def segments(axes: Any) -> list[Any]:
    """Pieces of all lines of axes, clipped to these."""
    frame = axes.get_window_extent()
    found = []
    for line in axes.lines:
        if line.get_linestyle() in ("None", "", " "):
            continue
        points = line.get_transform().transform_path(line.get_path()).vertices
        found += [np.array(pair) for pair in pairwise(points)]
    return [s for s in found if not (s.max(axis=0) < frame.min).any() and not (s.min(axis=0) > frame.max).any()]


def meet(first: Quad, second: Quad) -> bool:
    """Whether two convex shapes share more than a rim: no axis parts them."""
    for shape in (first, second):
        edges = np.roll(shape, -1, axis=0) - shape
        for dx, dy in edges:
            axis = np.array([-dy, dx]) / (np.hypot(dx, dy) or 1)
            a, b = first @ axis, second @ axis
            if a.max() < b.min() + SLACK_PX or b.max() < a.min() + SLACK_PX:
                return False
    return True


def crosses(quad: Quad, line: Any) -> bool:
    """Whether a segment enters a text's box."""
    (x0, y0), (x1, y1) = line
    return meet(quad, np.array([(x0, y0), (x1, y1), (x1 + 1e-6, y1 + 1e-6), (x0 + 1e-6, y0 + 1e-6)]))


def orphans(figure: Any) -> list[str]:
    """Numbers that stand in a plot without a line in the list beneath it, or in the list without a place in the plot."""
    listed = {text.get_text().split(" ")[0] for legend in figure.legends for text in legend.get_texts()}
    listed = {number for number in listed if number.isdecimal()}
    placed = [text.get_text() for axes in figure.axes for text in axes.texts if text.get_text().isdecimal()]
    return sorted({*placed} ^ listed) + [number for number in set(placed) if placed.count(number) > 1]
