"""How each ONNX operator becomes accelsim's: one small rule an operator, `RULES` at the end.

A rule sees a `Call` (the node, what it reads, ONNX's own output shapes) and returns a `Plan` (operators, one
after another). What it cannot express it refuses with `NotModelledError`; it never leaves anything out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from typing import Any

import numpy as np

from accelsim.frontends._onnx_call import Call, Layout, Plan, Scalar, Tensor
from accelsim.frontends._onnx_model import Constant, NotModelledError
from accelsim.units import ceil_div
from accelsim.workload.ops import (
    Activation,
    BatchNorm,
    Concat,
    Conv2d,
    Elementwise,
    Embedding,
    GlobalPool,
    LayerNorm,
    Linear,
    LocalResponseNorm,
    Matmul,
    Op,
    Pad,
    Pool2d,
    Recurrent,
    Reduce,
    Reshape,
    Shape,
    Slice,
    Softmax,
    Split,
    Transpose,
    Upsample,
)  # fmt: skip

Rule = Callable[[Call], Plan]


def _clean_float(value: Any) -> float | None:
    """A float32 as its shortest decimal (0.1, not 0.10000000149); None where it is not finite."""
    number = float(str(np.float32(value)))
    return number if np.isfinite(number) else None


# --- windows ---


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


def _conv(call: Call) -> Plan:
    weight, bias = call.weights(1), call.constant(2, "its biases")
    if len(weight.shape) < 3:
        raise NotModelledError(f"its weights have the shape {list(weight.shape)}")
    window = _window(call, list(weight.shape[2:]))
    op = Conv2d(
        op="conv2d", K=weight.shape[0], R=window.kernel[0], S=window.kernel[1], stride=window.stride,
        pad=window.pad, dilation=window.dilation, groups=call.number("group", 1), bias=bias is not None,
    )  # fmt: skip
    return _over_image(call, op, window, weight, bias)


def _pool(name: str) -> Rule:
    def rule(call: Call) -> Plan:
        call.unused(1, "its second output (the indices of the maxima) is used")
        kernel = call.node.attributes.get("kernel_shape")
        if not isinstance(kernel, list):
            raise NotModelledError("its kernel_shape is missing")
        if call.number("channels_last", 0):
            raise NotModelledError("its channels are last")
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


def _global_pool(name: str) -> Rule:
    def rule(call: Call) -> Plan:
        if call.number("channels_last", 0):
            raise NotModelledError("its channels are last")
        return Plan((GlobalPool(op=name),))

    return rule


# --- products ---


def _matmul(call: Call) -> Plan:
    x, second = call.tensor(0), call.input(1)
    if not isinstance(second, Constant):
        _check_matrix_axes(x, call.tensor(1))
        return Plan((Matmul(op="matmul"),))
    rank = len(x.shape)
    if len(second.shape) < 2 or prod(second.shape[:-2]) != 1 or len(second.shape) > max(rank, 2):
        raise NotModelledError(
            f"its weights have the shape {list(second.shape)}; one matrix for all rows is modelled"
        )
    if not x.layout.merged and x.layout.batch_axis == rank - 1:
        raise NotModelledError("it works across the batch")
    out = second.shape[-1]
    if (
        len(x.layout.network_shape(x.shape, call.batch)) == 4
    ):  # where a linear layer would take an image, and flatten it
        return Plan((Matmul(op="matmul", N=out),), weight=second)
    return Plan((Linear(op="linear", out=out, bias=False),), weight=second, transposed=True)


def _check_matrix_axes(*operands: Tensor) -> None:
    for x in operands:
        if not x.layout.merged and x.layout.batch_axis >= len(x.shape) - 2:
            raise NotModelledError("it works across the batch")


def _gemm(call: Call) -> Plan:
    x, second, bias = call.tensor(0), call.input(1), call.constant(2, "its biases")
    if call.number("transA", 0):
        raise NotModelledError("its first operand is transposed (transA)")
    transposed = bool(call.number("transB", 0))
    if isinstance(second, Constant):
        if len(second.shape) != 2:
            raise NotModelledError(f"its weights have the shape {list(second.shape)}")
        op = Linear(op="linear", out=second.shape[0 if transposed else 1], bias=bias is not None)
        return Plan((op,), weight=second, bias=bias, transposed=not transposed)
    _check_matrix_axes(x, call.tensor(1))
    ops: tuple[Op, ...] = (Matmul(op="matmul", transpose_b=transposed),)
    return Plan(ops + ((_with_constant("add", bias),) if bias is not None else ()))


# --- element by element ---


def _with_constant(name: str, constant: Constant | Scalar, first: bool = False, plain: bool = True) -> Elementwise:
    """An element-wise operation with a constant: a number, or trained values; not ``plain``: it has a scale."""
    trained = prod(constant.shape)
    value = None
    if plain and isinstance(constant, Constant) and trained == 1 and constant.value is not None:
        value = _clean_float(constant.value.reshape(-1)[0])
    return Elementwise(op=name, value=value, trained=trained if trained > 1 else 0, constant_first=first)


def _elementwise(name: str) -> Rule:
    def rule(call: Call) -> Plan:
        tensors = call.tensors
        others = [value for value in call.inputs if isinstance(value, Constant | Scalar)]
        if len(tensors) == 1 and not others:
            return Plan()
        if others and len(tensors) > 1 and name not in ("add", "maximum", "minimum"):
            raise NotModelledError("it has constants among several operands")
        first = isinstance(call.input(0), Constant | Scalar) and name in ("sub", "div", "pow")
        ops: list[Op] = [Elementwise(op=name)] if len(tensors) > 1 else []
        ops += [_with_constant(name, other, first, not call.node.is_quantized) for other in others]
        widest = max(tensors, key=lambda tensor: len(tensor.shape))
        one = others[0] if len(others) == len(ops) == 1 and isinstance(others[0], Constant) else None
        return Plan(tuple(ops), layouts=(widest.layout,), operand=one)

    return rule


def _activation(name: str) -> Rule:
    def rule(call: Call) -> Plan:
        alpha = call.node.attributes.get("alpha")
        alpha = _clean_float(alpha) if isinstance(alpha, float) else None
        return Plan((Activation(op=name, alpha=alpha),), reads=(call.tensor(),))

    return rule


def _prelu(call: Call) -> Plan:
    slope = call.weights(1, "its slopes")
    op = Activation(op="prelu", trained=prod(slope.shape))
    return Plan((op,), reads=(call.tensor(),), operand=slope)


def _clip(call: Call) -> Plan:
    low, high = (_bound(call, i, key) for i, key in ((1, "min"), (2, "max")))
    name = {(0.0, 6.0): "relu6", (0.0, None): "relu"}.get((low, high), "clip") if low is not None else "clip"
    bounds = {"low": low, "high": high} if name == "clip" else {}
    return Plan((Activation(op=name, **bounds),), reads=(call.tensor(),))


def _bound(call: Call, index: int, key: str) -> float | None:
    given = (
        call.value(index, f"its {key}") if call.input(index) is not None else call.node.attributes.get(key)
    )
    if not isinstance(given, int | float | np.ndarray) or np.size(given) != 1:
        return None
    bound = _clean_float(np.asarray(given).reshape(-1)[0])
    return bound if bound is not None and abs(bound) < 3e38 else None


# --- normalization ---


def _softmax(call: Call) -> Plan:
    axis = call.number("axis", -1 if call.opset >= 13 else 1)
    layer_axis, x = call.axis(axis), call.tensor()
    if call.opset < 13 and prod(x.shape[axis % len(x.shape) + 1 :]) > 1 and not call.node.domain:
        return _flat_softmax(call, layer_axis)
    return Plan((Softmax(op="softmax", axis=layer_axis),))


def _flat_softmax(call: Call, axis: int) -> Plan:
    """Before opset 13 a softmax is over its axis and all that follow, as one."""
    shape = call.tensor().layout.network_shape(call.tensor().shape, call.batch)
    flat = Reshape(op="reshape", to=(*shape[1:axis], prod(shape[axis:])))
    return Plan((flat, Softmax(op="softmax", axis=axis), Reshape(op="reshape", to=shape[1:])), main=1)


def _log_softmax(call: Call) -> Plan:
    return Plan((*_softmax(call).ops, Activation(op="log")))


def _layer_norm(call: Call) -> Plan:
    call.unused(1, "its second output (the mean) is used")
    rank = len(call.tensor().shape)
    if call.number("axis", -1) % rank != rank - 1:
        raise NotModelledError("it normalizes over more than the last axis")
    weight = call.weights(1, "its scales")
    bias = call.constant(2, "its shifts")
    epsilon = _clean_float(call.node.attributes.get("epsilon", 1e-5))
    op = LayerNorm(op="layernorm") if epsilon in (None, 1e-5) else LayerNorm(op="layernorm", epsilon=epsilon)
    return Plan((op,), reads=(call.tensor(),), weight=weight, bias=bias)


def _batch_norm(call: Call) -> Plan:
    if call.number("training_mode", 0):
        raise NotModelledError("it is in training mode")
    call.unused(1, "its second output (the running mean) is used")
    channels = call.tensor().shape[1:2]
    names = ("scale", "shift", "mean", "variance")
    constants = {name: call.weights(i + 1, f"its {name}") for i, name in enumerate(names)}
    if not channels or any(constant.shape != channels for constant in constants.values()):
        shapes = ", ".join(f"{name} {list(constant.shape)}" for name, constant in constants.items())
        raise NotModelledError(f"its input {list(call.tensor().shape)} does not go with {shapes}")
    return Plan((BatchNorm(op="batchnorm"),), reads=(call.tensor(),), more=constants)


def _lrn(call: Call) -> Plan:
    return Plan((LocalResponseNorm(op="lrn", size=call.number("size", 0)),))


def _reduce(name: str) -> Rule:
    def rule(call: Call) -> Plan:
        x, axes = call.tensor(), call.integers(1, "axes")
        if not axes:
            if call.number("noop_with_empty_axes", 0):
                return Plan()
            raise NotModelledError("it reduces over the batch too")
        keepdims = bool(call.number("keepdims", 1))
        op = Reduce(op=name, axes=tuple(call.axis(axis) for axis in axes), keepdims=keepdims)
        removed = sum(axis % len(x.shape) < x.layout.batch_axis for axis in axes)
        layout = x.layout if keepdims else Layout(x.layout.batch_axis - removed, x.layout.merged)
        return Plan((op,), reads=(x,), layouts=(layout,))

    return rule


# --- moving things ---


def _concat(call: Call) -> Plan:
    return Plan((Concat(op="concat", axis=call.axis(call.number("axis", 1))),))


def _split(call: Call) -> Plan:
    x, axis = call.tensor(), call.number("axis", 0)
    target = call.axis(axis)
    sizes = tuple(call.shape(i)[axis] for i in range(len(call.shapes)))
    return Plan((Split(op="split", axis=target, sizes=sizes),), reads=(x,), layouts=(x.layout,) * len(sizes))


def _slice(call: Call) -> Plan:
    x = call.tensor()
    starts, ends = call.integers(1, "starts"), call.integers(2, "ends")
    if starts is None or ends is None:
        raise NotModelledError("its starts or ends are missing")
    axes = call.integers(3, "axes") or list(range(len(starts)))
    steps = call.integers(4, "steps") or [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise NotModelledError("its starts, ends, axes and steps differ in number")
    ops: list[Op] = []
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step < 1:
            raise NotModelledError(f"its step is {step}")
        if not -len(x.shape) <= axis < len(x.shape):
            raise NotModelledError(f"its axis is {axis}, its input has {len(x.shape)} axes")
        taken = range(*slice(start, end, step).indices(x.shape[axis]))
        if len(taken) < x.shape[axis]:
            ops.append(Slice(op="slice", axis=call.axis(axis), start=taken.start, size=len(taken), step=step))
    return Plan(tuple(ops), reads=(x,))


def _reshape(call: Call) -> Plan:
    """The batch stays whole: found again where the sizes before it multiply to the same number."""
    x, out, batch = call.tensor(), call.shape(), call.batch
    layout = _layout_after(x, out, batch)
    if layout is None:
        raise NotModelledError(
            f"it mixes the batch ({batch}) with other axes: {list(x.shape)} to {list(out)}"
        )
    before, after = x.layout.network_shape(x.shape, batch), layout.network_shape(out, batch)
    name = "flatten" if call.node.op == "Flatten" else "reshape"
    ops = (Reshape(op=name, to=after[1:]),) if before != after else ()
    return Plan(ops, reads=(x,), layouts=(layout,))


def _layout_after(x: Tensor, out: Shape, batch: int) -> Layout | None:
    leading = prod(x.shape[: x.layout.batch_axis])
    for axis, size in enumerate(out):
        if size == batch and prod(out[:axis]) == leading:
            return Layout(axis)
    merged = Layout(0, merged=True)
    return merged if x.layout.batch_axis == 0 and merged.fits(out, batch) else None


def _squeeze(call: Call) -> Plan:
    return _with_axes_moved(call, len(call.tensor().shape), removing=True)


def _unsqueeze(call: Call) -> Plan:
    return _with_axes_moved(call, len(call.shape()), removing=False)


def _with_axes_moved(call: Call, rank: int, removing: bool) -> Plan:
    """Squeeze and unsqueeze, whose axes say where the batch goes even where its size does not."""
    x, axes = call.tensor(), call.integers(1, "axes")
    if x.layout.merged or axes is None:
        return _reshape(call)
    moved = sorted(axis % rank for axis in axes)
    if removing:
        if x.layout.batch_axis in moved:
            return _reshape(call)
        axis = x.layout.batch_axis - sum(m < x.layout.batch_axis for m in moved)
    else:
        axis = [i for i in range(rank) if i not in moved][x.layout.batch_axis]
    layout, out = Layout(axis), call.shape()
    if not layout.fits(out, call.batch):
        return _reshape(call)
    before, after = x.layout.network_shape(x.shape, call.batch), layout.network_shape(out, call.batch)
    ops = (Reshape(op="reshape", to=after[1:]),) if before != after else ()
    return Plan(ops, reads=(x,), layouts=(layout,))


def _transpose(call: Call) -> Plan:
    x, rank = call.tensor(), len(call.tensor().shape)
    perm = call.numbers("perm", list(range(rank))[::-1])
    if sorted(perm) != list(range(rank)):
        raise NotModelledError(f"its perm is {perm}")
    if x.layout.merged:
        inner = tuple(x.layout.axis(axis, rank, call.batch) for axis in perm) if call.batch == 1 else ()
        if not inner:
            raise NotModelledError("it moves an axis that the batch is part of")
        layout = x.layout
    else:
        inner = tuple(x.layout.axis(axis, rank, call.batch) for axis in perm if axis != x.layout.batch_axis)
        layout = Layout(perm.index(x.layout.batch_axis))
    moves = inner != tuple(range(1, len(inner) + 1))
    return Plan((Transpose(op="transpose", perm=inner),) if moves else (), layouts=(layout,))


def _resize(call: Call) -> Plan:
    x, out, mode = call.tensor(), call.shape(), call.text("mode", "nearest")
    if mode != "nearest":
        raise NotModelledError(f"its mode is {mode!r:.40}; nearest is modelled")
    if len(x.shape) != 4 or out[:2] != x.shape[:2] or any(o % i for o, i in zip(out, x.shape, strict=True)):
        raise NotModelledError(
            f"it resizes {list(x.shape)} to {list(out)}; whole multiples of height and width are modelled"
        )
    scale = (out[2] // x.shape[2], out[3] // x.shape[3])
    return Plan((Upsample(op="upsample", scale=scale),) if scale != (1, 1) else (), reads=(x,))


def _pad(call: Call) -> Plan:
    x, pads, axes = call.tensor(), call.integers(1, "pads"), call.integers(3, "axes")
    if pads is None or call.text("mode", "constant") != "constant":
        raise NotModelledError("it pads with other than zeros" if pads else "its pads are missing")
    rank = len(x.shape)
    moved = [axis % rank for axis in axes] if axes else list(range(rank))
    if len(pads) != 2 * len(moved):
        raise NotModelledError(f"it has {len(pads)} pads for {len(moved)} axes")
    by_axis = {
        axis: (pads[i], pads[i + len(moved)])
        for i, axis in enumerate(moved)
        if pads[i] or pads[i + len(moved)]
    }
    if not by_axis:
        return Plan(reads=(x,))
    fill = call.value(2, "its value") if call.input(2) is not None else call.node.attributes.get("value", 0)
    if fill is not None and np.any(np.asarray(fill) != call.zero):
        raise NotModelledError("it pads with other than zeros" + (f" (here {call.zero})" if call.zero else ""))
    if rank != 4 or not set(by_axis) <= {2, 3} or min(min(pair) for pair in by_axis.values()) < 0:
        raise NotModelledError(
            f"it pads by {pads}; zeros around the height and width of an image are modelled"
        )
    return Plan((Pad(op="pad", pad=(*by_axis.get(2, (0, 0)), *by_axis.get(3, (0, 0)))),), reads=(x,))


def _gather(call: Call) -> Plan:
    table, axis = call.input(0), call.number("axis", 0)
    if isinstance(table, Constant):
        if axis or len(table.shape) != 2:
            raise NotModelledError(
                f"it looks up axis {axis} of a table {list(table.shape)}; rows of a matrix are modelled"
            )
        op = Embedding(op="embedding", rows=table.shape[0], features=table.shape[1])
        return Plan((op,), weight=table)
    x, indices = call.tensor(), call.value(1, "its indices")
    if indices is None or not indices.size:
        raise NotModelledError("its indices are missing")
    target, size = call.axis(axis), x.shape[axis]
    chosen = [int(i) % size for i in indices.reshape(-1)]
    step = chosen[1] - chosen[0] if len(chosen) > 1 else 1
    if step < 1 or chosen != list(range(chosen[0], chosen[0] + step * len(chosen), step)):
        raise NotModelledError("its indices are not evenly spaced")
    ops: list[Op] = []
    if len(chosen) < size:
        ops.append(Slice(op="slice", axis=target, start=chosen[0], size=len(chosen), step=step))
    shape = list(x.layout.network_shape(x.shape, call.batch))
    shape[target : target + 1] = indices.shape
    if indices.ndim != 1:
        ops.append(Reshape(op="reshape", to=tuple(shape[1:]) or (1,)))
    before = axis % len(x.shape) < x.layout.batch_axis
    layout = Layout(x.layout.batch_axis + (indices.ndim - 1 if before else 0), x.layout.merged)
    return Plan(tuple(ops), reads=(x,), layouts=(layout,))


def _expand(call: Call) -> Plan:
    if call.shape() != call.tensor().shape:
        raise NotModelledError(f"it repeats {list(call.tensor().shape)} to {list(call.shape())}")
    return Plan(reads=(call.tensor(),))


# --- recurrent ---

_DEFAULT_ACTIVATIONS = {"lstm": ["sigmoid", "tanh", "tanh"], "gru": ["sigmoid", "tanh"]}


def _recurrent(name: str) -> Rule:
    def rule(call: Call) -> Plan:
        _check_recurrent(call, name)
        hidden = call.weights(2, "its recurrent weights").shape[-1]
        bias = call.constant(3, "its biases")
        peepholes = name == "lstm" and call.constant(7, "its peepholes") is not None
        op = Recurrent(op=name, hidden=hidden, peepholes=peepholes, bias=bias is not None)
        steps_first = not call.number("layout", 0)
        x = call.tensor()
        steps = x.shape[0 if steps_first else 1]
        every = Reshape(
            op="reshape", to=(steps, 1, hidden)
        )  # (directions, one of them) is an axis of its own
        last: tuple[Op, ...] = (Slice(op="slice", axis=1, start=steps - 1, size=1),) if steps > 1 else ()
        layouts = (Layout(2), Layout(1)) if steps_first else (Layout(0), Layout(0))
        names = {"recurrent_weight": 2, "initial_hidden": 5, "initial_cell": 6, "peepholes": 7}
        more = {key: c for key, index in names.items() if isinstance(c := call.input(index), Constant)}
        return Plan(
            (op,),
            reads=(x,),
            layouts=layouts,
            tails={0: (every,), 1: last},
            weight=call.weights(1),
            bias=bias,
            more=more,
        )

    return rule


def _check_recurrent(call: Call, name: str) -> None:
    """Refuse what `Recurrent` has no word for."""
    x = call.tensor()
    batch_axis = 0 if call.number("layout", 0) else 1
    if len(x.shape) != 3 or x.layout != Layout(batch_axis):
        raise NotModelledError(f"the batch must be axis {batch_axis} of its input {list(x.shape)}")
    if call.text("direction", "forward") == "bidirectional":
        raise NotModelledError("it runs in both directions")
    call.unused(2, "its third output (the last cell state) is used")
    activations = call.node.attributes.get("activations")
    if activations and [str(a).lower() for a in activations] != _DEFAULT_ACTIVATIONS[name]:
        raise NotModelledError(f"its activations are {activations}")
    if call.number("input_forget", 0):
        raise NotModelledError("its input and forget gates are coupled")
    call.constant(4, "its lengths")
    for index in (5, 6) if name == "lstm" else (5,):
        call.constant(index, "its initial states")


RULES: dict[str, Rule] = {
    "Conv": _conv, "MaxPool": _pool("maxpool2d"), "AveragePool": _pool("avgpool2d"),
    "GlobalAveragePool": _global_pool("globalavgpool"), "GlobalMaxPool": _global_pool("globalmaxpool"),
    "MatMul": _matmul, "Gemm": _gemm, "Add": _elementwise("add"), "Sum": _elementwise("add"),
    "Sub": _elementwise("sub"), "Mul": _elementwise("mul"), "Div": _elementwise("div"),
    "Pow": _elementwise("pow"), "Max": _elementwise("maximum"), "Min": _elementwise("minimum"),
    "Relu": _activation("relu"), "LeakyRelu": _activation("leaky_relu"), "Elu": _activation("elu"),
    "Sigmoid": _activation("sigmoid"), "HardSigmoid": _activation("hard_sigmoid"),
    "Tanh": _activation("tanh"), "HardSwish": _activation("hard_swish"), "Swish": _activation("silu"),
    "Gelu": _activation("gelu"), "Erf": _activation("erf"), "Exp": _activation("exp"),
    "Sqrt": _activation("sqrt"), "Abs": _activation("abs"), "Neg": _activation("neg"),
    "Reciprocal": _activation("reciprocal"), "Log": _activation("log"), "PRelu": _prelu, "Clip": _clip,
    "Softmax": _softmax, "LogSoftmax": _log_softmax, "LayerNormalization": _layer_norm,
    "BatchNormalization": _batch_norm, "LRN": _lrn, "ReduceMean": _reduce("reduce_mean"),
    "ReduceSum": _reduce("reduce_sum"), "ReduceMax": _reduce("reduce_max"), "Concat": _concat,
    "Split": _split, "Slice": _slice, "Reshape": _reshape, "Flatten": _reshape, "Squeeze": _squeeze,
    "Unsqueeze": _unsqueeze, "Transpose": _transpose, "Upsample": _resize, "Resize": _resize, "Pad": _pad,
    "Gather": _gather, "Expand": _expand, "LSTM": _recurrent("lstm"), "GRU": _recurrent("gru"),
}  # fmt: skip
