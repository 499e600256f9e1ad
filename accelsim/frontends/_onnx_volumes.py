"""Windows with three axes, written as those of two: a volume's slices, and rows of them, are laid out as an image.

A pool is one over height and width and one over depth. A convolution keeps the axis of its last window; the windows of the
other two are taken out as channels, so that its multiply-accumulates are the same, and its inputs are copied once a tap.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from accelsim.frontends._onnx_call import Tensor
from accelsim.frontends._onnx_model import NotModelledError
from accelsim.frontends._onnx_written import Form, Written
from accelsim.units import ceil_div


def conv3d(w: Written) -> bool:
    if not isinstance(w.value(0), Tensor) or len(w.shape(0)) != 5 or not w.is_constant(1) or len(w.shape(1)) != 5:
        return False
    (batch, channels, *size), (filters, depth, *taps) = w.shape(0), w.shape(1)
    if taps != (w.integers("kernel_shape") or taps):
        raise NotModelledError(f"its kernel_shape is {w.integers('kernel_shape')}, its weights are {list(w.shape(1))}")
    strides, dilations = (w.integers(key) or [1] * 3 for key in ("strides", "dilations"))
    pads = _pads(w, size, taps, strides, dilations)
    name, out = w.name(0), []
    if any((*pads[:2], *pads[3:5])):
        name = w.one("Pad", name, w.integers_of(0, 0, *pads[:2], 0, 0, 0, *pads[3:5], 0))
    for place, axis in ((0, 2), (1, 4)):  # [batch, channels, depth, its taps, height, its taps, width]
        whole = size[place] + pads[place] + pads[place + 3]
        count = (whole - dilations[place] * (taps[place] - 1) - 1) // strides[place] + 1
        rows = np.add.outer(np.arange(count) * strides[place], np.arange(taps[place]) * dilations[place])
        name = w.one("Gather", name, w.piece.constant(rows.astype(np.int64)), axis=axis)
        out.append(count)
    groups, width = w.integer("group", 1), size[2]
    name = w.transpose(name, 0, 1, 3, 5, 2, 4, 6)
    image = w.reshape(name, batch, channels * taps[0] * taps[1], out[0] * out[1], width)
    weights = w.reshape(w.name(1), filters, depth * taps[0] * taps[1], 1, taps[2])
    made = w.one(
        "Conv", image, weights, *([w.name(2)] if w.has(2) else []), group=groups,
        strides=[1, strides[2]], dilations=[1, dilations[2]], pads=[0, pads[2], 0, pads[5]],
    )  # fmt: skip
    columns = (width + pads[2] + pads[5] - dilations[2] * (taps[2] - 1) - 1) // strides[2] + 1
    w.give(w.reshape(made, batch, filters, *out, columns))
    return True


def _pads(w: Written, size: Sequence[int], taps: Sequence[int], strides: Sequence[int], dilations: Sequence[int]) -> list[int]:
    mode = w.text("auto_pad", "NOTSET")
    if mode == "NOTSET":
        return w.integers("pads") or [0] * 6
    if mode == "VALID":
        return [0] * 6
    spans = [d * (t - 1) + 1 for d, t in zip(dilations, taps, strict=True)]
    totals = [max((ceil_div(n, s) - 1) * s + span - n, 0) for n, s, span in zip(size, strides, spans, strict=True)]
    less = [total // 2 for total in totals]
    more = [total - small for total, small in zip(totals, less, strict=True)]
    return less + more if mode == "SAME_UPPER" else more + less


def pool3d(w: Written) -> bool:
    """Over height and width, then over depth: a mean of means, where every window's elements are as many as its sides say."""
    shape = w.shape()
    if len(shape) != 5:
        return False
    w.refuse_outputs(1, "the indices of the maxima")
    taps = w.integers("kernel_shape") or []
    strides = w.integers("strides") or [1] * 3
    dilations = w.integers("dilations") or [1] * 3
    if any(d != 1 for d in dilations):
        raise NotModelledError(f"its window is dilated by {dilations}")
    pads = _pads(w, shape[2:], taps, strides, dilations)
    more = {key: w.integer(key, 0) for key in ("ceil_mode", "count_include_pad") if w.node.attributes.get(key)}
    batch, channels, depth, height, width = shape
    flat = w.reshape(w.name(0), batch, channels * depth, height, width)
    flat = w.one(
        w.node.op, flat, kernel_shape=taps[1:], strides=strides[1:], pads=[*pads[1:3], *pads[4:6]], **more,
    )  # fmt: skip
    rows, columns = (_out(shape[i + 2], taps[i], strides[i], pads[i] + pads[i + 3], pads[i], more) for i in (1, 2))
    tall = w.reshape(flat, batch, channels, depth, rows * columns)
    tall = w.one(w.node.op, tall, kernel_shape=[taps[0], 1], strides=[strides[0], 1], pads=[pads[0], 0, pads[3], 0], **more)
    deep = _out(depth, taps[0], strides[0], pads[0] + pads[3], pads[0], more)
    w.give(w.reshape(tall, batch, channels, deep, rows, columns))
    return True


def _out(size: int, taps: int, stride: int, around: int, before: int, more: dict[str, int]) -> int:
    span = size + around - taps
    if not more.get("ceil_mode"):
        return span // stride + 1
    count = ceil_div(span, stride) + 1
    return count - 1 if (count - 1) * stride >= size + before else count


def global_pool3d(w: Written) -> bool:
    shape = w.shape()
    if len(shape) != 5:
        return False
    made = w.one(w.node.op, w.reshape(w.name(0), *shape[:2], shape[2] * shape[3], shape[4]))
    w.give(w.reshape(made, *shape[:2], 1, 1, 1))
    return True


def channels_last(op: str, place: int = 0) -> Form:
    """The runtime's form of ``op`` with channels last: the same between two transposes."""

    def write(w: Written) -> bool:
        if not w.integer("channels_last", 0) and not w.node.kind.startswith("Nhwc"):
            return False
        rank = len(w.shape(place))
        names, given = list(w.proto.input), {k: v for k, v in w.node.attributes.items() if k != "channels_last"}
        names[place] = w.transpose(names[place], 0, rank - 1, *range(1, rank - 1))
        made = w.piece.node(op, names, **given)[0]
        if op.startswith("QLinear"):
            w.piece.nodes[-1].domain = "com.microsoft" if op != "QLinearConv" else ""
        w.give(w.transpose(made, 0, *range(2, rank), 1))
        return True

    return write


