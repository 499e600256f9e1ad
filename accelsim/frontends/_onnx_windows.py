"""Rules of operators over images: convolutions, pools, resizing, padding."""

from __future__ import annotations

from dataclasses import dataclass
from math import prod

import numpy as np

from accelsim.frontends._onnx_call import Call, Plan, Rule
from accelsim.frontends._onnx_model import INTEGERS, Constant, NotModelledError
from accelsim.units import ceil_div
from accelsim.workload.ops import Conv2d, GlobalPool, Op, Pad, Pool2d, Reshape, Shape, Slice, Take


def _pads(
    call: Call, size: tuple[int, ...], kernel: list[int], strides: list[int], dilations: list[int]
) -> list[int]:
    """ONNX's ``[begin..., end...]``, worked out where ``auto_pad`` asks for it."""
    mode = call.text("auto_pad", "NOTSET")
    axes = len(kernel)
    if mode == "NOTSET":
        return call.numbers("pads", [0] * (2 * axes))
    if mode == "VALID":
        return [0] * (2 * axes)
    if mode not in ("SAME_UPPER", "SAME_LOWER"):
        raise NotModelledError(f"its auto_pad is {mode!r:.40}")
    totals = [
        max(
            (ceil_div(size[i], strides[i]) - 1) * strides[i] + dilations[i] * (kernel[i] - 1) + 1 - size[i], 0
        )
        for i in range(axes)
    ]
    less = [total // 2 for total in totals]
    more = [total - small for total, small in zip(totals, less, strict=True)]
    return less + more if mode == "SAME_UPPER" else more + less


@dataclass(frozen=True)
class _Window:
    """A window over an image; a signal (one spatial axis) is an image of one row."""

    kernel: tuple[int, int]
    stride: tuple[int, int]
    dilation: tuple[int, int]
    pad: tuple[int, int, int, int]
    is_signal: bool


def _window(call: Call, kernel: list[int]) -> _Window:
    x, axes = call.tensor(), len(kernel)
    if axes not in (1, 2) or len(x.shape) != axes + 2:
        raise NotModelledError(
            f"its window has {axes} axes over an input of shape {list(x.shape)}; one and two are modelled"
        )
    strides, dilations = call.numbers("strides", [1] * axes), call.numbers("dilations", [1] * axes)
    if min(*strides, *dilations, *kernel) < 1:
        raise NotModelledError(
            f"its kernel {kernel}, strides {strides} and dilations {dilations} must be positive"
        )
    pads = _pads(call, x.shape[2:], kernel, strides, dilations)
    if axes == 1:
        return _Window((1, kernel[0]), (1, strides[0]), (1, dilations[0]), (0, 0, pads[0], pads[1]), True)
    return _Window(
        (kernel[0], kernel[1]), (strides[0], strides[1]), (dilations[0], dilations[1]),
        (pads[0], pads[2], pads[1], pads[3]), False,
    )  # fmt: skip


def _over_image(
    call: Call, op: Op, window: _Window, weight: Constant | None = None, bias: Constant | None = None
) -> Plan:
    """``op`` over the image; for a signal, between two reshapes that make it an image of one row and back."""
    if not window.is_signal:
        return Plan((op,), weight=weight, bias=bias)
    _, channels, length = call.tensor().shape
    before, after = (Reshape(op="reshape", to=to) for to in ((channels, 1, length), call.shape()[1:]))
    return Plan((before, op, after), main=1, weight=weight, bias=bias)


def conv(call: Call) -> Plan:
    weight, bias = call.weights(1), call.constant(2, "its biases")
    if len(weight.shape) < 3:
        raise NotModelledError(f"its weights have the shape {list(weight.shape)}")
    window = _window(call, list(weight.shape[2:]))
    if call.attribute("kernel_shape") not in (None, list(weight.shape[2:])):
        raise NotModelledError(f"its kernel_shape is {call.attribute('kernel_shape')}, its weights are {list(weight.shape)}")
    op = Conv2d(
        op="conv2d", K=weight.shape[0], R=window.kernel[0], S=window.kernel[1], stride=window.stride,
        pad=window.pad, dilation=window.dilation, groups=call.number("group", 1), bias=bias is not None,
    )  # fmt: skip
    return _over_image(call, op, window, weight, bias)


def pool(name: str) -> Rule:
    def rule(call: Call) -> Plan:
        call.unused(1, "its second output (the indices of the maxima) is used")
        kernel = call.attribute("kernel_shape")
        if not isinstance(kernel, list):
            raise NotModelledError("its kernel_shape is missing")
        window = _window(call, call.numbers("kernel_shape", [0] * len(kernel)))
        if window.dilation != (1, 1):
            raise NotModelledError(f"its window is dilated by {window.dilation}")
        op = Pool2d(
            op=name, window=window.kernel, stride=window.stride, pad=window.pad,
            ceil=bool(call.number("ceil_mode", 0)),
            count_include_pad=bool(call.number("count_include_pad", 0)),
        )  # fmt: skip
        return _over_image(call, op, window)

    return rule


def global_pool(name: str) -> Rule:
    def rule(call: Call) -> Plan:
        x = call.tensor()
        if len(x.shape) != 3:
            return Plan((GlobalPool(op=name),))
        image, back = (Reshape(op="reshape", to=to) for to in ((x.shape[1], 1, x.shape[2]), (x.shape[1], 1)))
        return Plan((image, GlobalPool(op=name), back), main=1)

    return rule


_TAKEN = ("reflect", "edge", "wrap")  # modes that repeat what is there


def pad(call: Call) -> Plan:
    """What is constant around an image in one go, along other axes one after another; what repeats elements takes them."""
    x, axes, mode = call.tensor(), call.integers(3, "axes"), call.text("mode", "constant")
    pads = call.integers(1, "pads") or call.integers(1, "paddings")  # opset 1
    if pads is None or mode not in ("constant", *_TAKEN):
        raise NotModelledError("its pads are missing" if pads is None else f"its mode is {mode!r:.40}")
    rank = len(x.shape)
    moved = [axis % rank for axis in axes] if axes else list(range(rank))
    if len(pads) != 2 * len(moved):
        raise NotModelledError(f"it has {len(pads)} pads for {len(moved)} axes")
    pairs = zip(pads[: len(moved)], pads[len(moved) :], strict=True)
    by_axis = {axis: pair for axis, pair in zip(moved, pairs, strict=True) if any(pair)}
    fill = call.value(2, "its value") if call.input(2) is not None else call.attribute("value", 0)
    value = float(np.asarray(call.zero if fill is None else fill).reshape(-1)[0]) - call.zero
    if value and by_axis and x.scales is not None and x.elem in INTEGERS:
        raise NotModelledError(f"it pads stored integers with other than their zero (here {call.zero})")
    around = [pad for axis in (2, 3) for pad in by_axis.get(axis, (0, 0))]
    if mode == "constant" and rank == 4 and set(by_axis) <= {2, 3} and min(around) >= 0 and any(around):
        return Plan((Pad(op="pad", pad=(around[0], around[1], around[2], around[3]), value=value),), reads=(x,))
    ops: list[Op] = []
    shape = x.layout.network_shape(x.shape, call.batch)
    for axis, pair in by_axis.items():
        further = _padded(shape, call.axis(axis), pair, mode, value)
        ops, shape = [*ops, *further], _after(shape, further)
    return Plan(tuple(ops), reads=(x,))


def _after(shape: Shape, ops: list[Op]) -> Shape:
    for op in ops:
        shape = op.output_shapes((shape,))[0]
    return shape


def _padded(shape: Shape, axis: int, pair: tuple[int, int], mode: str, value: float) -> list[Op]:
    """One axis made longer at its ends, or shorter where a pad is negative."""
    cut, more = [max(0, -pad) for pad in pair], [max(0, pad) for pad in pair]
    size = shape[axis] - sum(cut)
    if size < 1:
        raise NotModelledError(f"it cuts {cut} off an axis of {shape[axis]}")
    ops: list[Op] = [Slice(op="slice", axis=axis, start=cut[0], size=size)] if any(cut) else []
    if not any(more):
        return ops
    if mode in _TAKEN:
        places = np.pad(np.arange(size), more, mode=mode)  # type: ignore[call-overload]
        return [*ops, Take(op="take", axis=axis, indices=tuple(places.tolist()))]
    image = (prod(shape[1:axis]), size, prod(shape[axis + 1 :]))  # zeros are put above and below an image
    after = (*shape[1:axis], size + sum(more), *shape[axis + 1 :])
    around = Pad(op="pad", pad=(more[0], more[1], 0, 0), value=value)
    return [*ops, Reshape(op="reshape", to=image), around, Reshape(op="reshape", to=after)]
