"""Transposed convolutions: as one product an input position, or as a convolution over an image with zeros put in between.

The product's taps are added where they overlap, and zeros are never made: C x K/groups x taps x input positions MACs. The
convolution has one a position of the output, those with the inserted zeros included, as on hardware that does not skip them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import NamedTuple

import numpy as np

from accelsim.frontends._onnx_model import COMPUTED, NotModelledError
from accelsim.frontends._onnx_written import Written
from accelsim.units import ceil_div


class _Window(NamedTuple):
    """Sizes of the input and of the window, an axis each; where the output begins in all that the taps reach, and its size."""

    size: list[int]
    taps: list[int]
    strides: list[int]
    dilations: list[int]
    before: list[int]
    out: list[int]

    @property
    def spans(self) -> list[int]:
        return [d * (tap - 1) + 1 for d, tap in zip(self.dilations, self.taps, strict=True)]


def conv_transpose(w: Written) -> None:
    if w.opset < 11:
        raise NotModelledError(f"the model has opset {w.opset}; it is written out from 11 on")
    if not w.is_constant(1):
        raise NotModelledError("its weights come out of the network itself")
    window, groups = _window(w), w.integer("group", 1)
    channels, axes = w.shape(1)[1] * groups, len(window.size)
    made = _over_zeros(w, window) if w.file.inserted_zeros == COMPUTED else _by_products(w, window, channels)
    bias = w.reshape(w.name(2), channels, *[1] * axes) if w.has(2) else ""
    w.give(w.total(made, bias))


def _window(w: Written) -> _Window:
    (_, _, *size), (_, _, *taps) = w.shape(0), w.shape(1)
    if not size or len(size) != len(taps):
        raise NotModelledError(f"its weights have the shape {list(w.shape(1))} over an input of shape {list(w.shape(0))}")
    strides, dilations = (w.integers(key) or [1] * len(size) for key in ("strides", "dilations"))
    return _Window(size, taps, strides, dilations, *_extent(w, size, taps, strides, dilations))


def _over_zeros(w: Written, window: _Window) -> str:
    """A convolution with the taps turned round, over the input with a stride less one zeros behind each element."""
    if len(window.size) > 2:
        words = f"its window has {len(window.size)} axes, and its inserted zeros are to be computed (inserted_zeros)"
        raise NotModelledError(f"{words}; one and two axes are modelled")
    (batch, channels, *size), axes = w.shape(0), len(window.size)
    name, wide = w.name(0), [(n - 1) * s + 1 for n, s in zip(size, window.strides, strict=True)]
    if any(s > 1 for s in window.strides):
        name = w.reshape(name, batch, channels, *(n for m in size for n in (m, 1)))
        behind = [n for s in window.strides for n in (0, s - 1)]
        name = w.one("Pad", name, w.integers_of(*[0] * (2 + 2 * axes), 0, 0, *behind))
        name = w.reshape(name, batch, channels, *(n * s for n, s in zip(size, window.strides, strict=True)))
        ends = [w.integers_of(*numbers) for numbers in ([0] * axes, wide, range(2, 2 + axes))]
        name = w.one("Slice", name, *ends)
    begin = [span - 1 - b for span, b in zip(window.spans, window.before, strict=True)]
    end = [o + span - 1 - n - b for o, span, n, b in zip(window.out, window.spans, wide, begin, strict=True)]
    name = w.one("Pad", name, w.integers_of(0, 0, *begin, 0, 0, *end)) if any(begin + end) else name
    return w.one("Conv", name, _turned_round(w), group=w.integer("group", 1), dilations=window.dilations)


def _turned_round(w: Written) -> str:
    """The weights as a convolution has them: out x in, the last tap first."""
    groups, (filters, share, *taps) = w.integer("group", 1), w.shape(1)
    name = w.reshape(w.name(1), groups, filters // groups, share, *taps)
    name = w.transpose(name, 0, 2, 1, *range(3, 3 + len(taps)))
    name = w.reshape(name, groups * share, filters // groups, *taps)
    for axis, tap in enumerate(taps, 2):
        name = w.one("Gather", name, w.integers_of(*range(tap)[::-1]), axis=axis)
    return name


def _by_products(w: Written, window: _Window, channels: int) -> str:
    """Taps that are a stride apart make one image each."""
    groups, filters, share = w.integer("group", 1), w.shape(1)[0], w.shape(1)[1]
    (batch, _, *size), taps, axes = w.shape(0), window.taps, len(window.size)
    weight = w.reshape(w.name(1), groups, filters // groups, share * prod(taps))
    weight = w.reshape(w.transpose(weight, 0, 2, 1), channels * prod(taps), filters // groups, 1)
    made = w.one("Conv", w.reshape(w.name(0), batch, filters, prod(size)), weight, group=groups)
    made = w.reshape(made, batch, channels, *taps, *size)
    made = _spread(w, made, (batch, channels), window)
    parts = [ceil_div(span, stride) for span, stride in zip(window.spans, window.strides, strict=True)]
    short = [n * s - span for n, s, span in zip(parts, window.strides, window.spans, strict=True)]
    if any(short):
        made = w.one("Pad", made, w.integers_of(*[0] * (4 + 2 * axes), *short, *[0] * axes))
    total, whole = _overlapped(w, made, (batch, channels), window, parts)
    return _cropped(w, total, whole, window)


def _spread(w: Written, made: str, outer: tuple[int, int], window: _Window) -> str:
    """Taps that are dilated: nothing between them."""
    if all(d == 1 for d in window.dilations):
        return made
    axes = len(window.size)
    made = w.reshape(made, *outer, *(n for tap in window.taps for n in (tap, 1)), *window.size)
    behind = [n for d in window.dilations for n in (0, d - 1)]
    made = w.one("Pad", made, w.integers_of(*[0] * (2 + 3 * axes), 0, 0, *behind, *[0] * axes))
    whole = [tap * d for tap, d in zip(window.taps, window.dilations, strict=True)]
    made = w.reshape(made, *outer, *whole, *window.size)
    ends = [w.integers_of(*numbers) for numbers in ([0] * axes, window.spans, range(2, 2 + axes))]
    return w.one("Slice", made, *ends)


def _extent(
    w: Written, size: Sequence[int], taps: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> tuple[list[int], list[int]]:
    """Where the output begins in all that the taps reach, and its size, an axis each."""
    axes, mode = len(size), w.text("auto_pad", "NOTSET")
    if w.integers("kernel_shape") not in (None, list(taps)):
        raise NotModelledError(f"its kernel_shape is {w.integers('kernel_shape')}, its weights are {list(w.shape(1))}")
    pads, more = w.integers("pads") or [0] * (2 * axes), w.integers("output_padding") or [0] * axes
    sizes = zip(strides, size, dilations, taps, more, strict=True)
    full = [s * (n - 1) + d * (tap - 1) + 1 + m for s, n, d, tap, m in sizes]
    out = w.integers("output_shape")
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        out = out or [n * s for n, s in zip(size, strides, strict=True)]
    elif mode == "VALID":
        pads = [0] * (2 * axes)
    if not out:
        return pads[:axes], [f - a - b for f, a, b in zip(full, pads[:axes], pads[axes:], strict=True)]
    lost = [f - o for f, o in zip(full, out[-axes:], strict=True)]
    if min(lost) < 0:
        raise NotModelledError(f"its output_shape is {list(out)}, larger than what its taps reach, {full}")
    return [n // 2 if mode == "SAME_UPPER" else n - n // 2 for n in lost], list(out[-axes:])


def _overlapped(
    w: Written, made: str, outer: tuple[int, int], window: _Window, parts: list[int]
) -> tuple[str, list[int]]:
    """The sum of the images that taps a stride apart make, each shifted by a stride more; and its size."""
    size, strides = window.size, window.strides
    axes, whole = len(size), [s * (n + p - 1) for s, n, p in zip(strides, size, parts, strict=True)]
    pairs = [n for pair in zip(parts, strides, strict=True) for n in pair]
    made = w.one("Reshape", made, w.integers_of(*outer, *pairs, *size))
    perm = [0, 1, *(place for axis in range(axes) for place in (2 + axes + axis, 2 + axis))]
    images = []
    for place in product(*(range(n) for n in parts)):
        one = made
        for axis, index in enumerate(place):
            one = w.one("Gather", one, w.piece.constant(np.int64(index)), axis=2 + axis)
        one = w.one("Transpose", one, perm=perm)
        one = w.one("Reshape", one, w.integers_of(*outer, *(n * s for n, s in zip(size, strides, strict=True))))
        begin = [s * i for s, i in zip(strides, place, strict=True)]
        end = [s * (n - 1 - i) for s, n, i in zip(strides, parts, place, strict=True)]
        images.append(w.one("Pad", one, w.integers_of(0, 0, *begin, 0, 0, *end)) if any(begin + end) else one)
    total = images[0]
    for image in images[1:]:
        total = w.one("Add", total, image)
    return total, whole


def _cropped(w: Written, total: str, whole: list[int], window: _Window) -> str:
    before, out = window.before, window.out
    ends = [b + o for b, o in zip(before, out, strict=True)]
    beyond = [max(0, end - n) for end, n in zip(ends, whole, strict=True)]
    if any(beyond):
        total = w.one("Pad", total, w.integers_of(*[0] * (len(out) + 4), *beyond))
    if any(before) or any(end < n for end, n in zip(ends, whole, strict=True)):
        axes = w.integers_of(*range(2, 2 + len(out)))
        total = w.one("Slice", total, w.integers_of(*before), w.integers_of(*ends), axes)
    return total
