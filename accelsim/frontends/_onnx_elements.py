"""Rules of operators that compute element by element, and of normalizations and reductions."""

from __future__ import annotations

from math import prod
from typing import Any

import numpy as np

from accelsim.frontends._onnx_call import Call, Layout, Plan, Rule, Scalar, Tensor
from accelsim.frontends._onnx_model import INTEGERS, Constant, NotModelledError
from accelsim.workload.ops import (
    Activation,
    BatchNorm,
    Elementwise,
    LayerNorm,
    LocalResponseNorm,
    Op,
    Reduce,
    Reshape,
    Select,
    Softmax,
)


def _clean_float(value: Any) -> float | None:
    """A float32 as its shortest decimal (0.1, not 0.10000000149); None where it is not finite."""
    number = float(str(np.float32(value)))
    return number if np.isfinite(number) else None



def with_constant(
    name: str, constant: Constant | Scalar, first: bool = False, plain: bool = True, whole: bool = False
) -> Elementwise:
    """An element-wise operation with a constant: a number, or trained values; not ``plain``: it has a scale."""
    trained = prod(constant.shape)
    value = None
    if plain and isinstance(constant, Constant) and trained == 1 and constant.value is not None:
        value = _clean_float(constant.value.reshape(-1)[0] * constant.factor)
    return Elementwise(op=name, value=value, trained=trained if trained > 1 else 0, constant_first=first, whole=whole)


_ORDERED = ("sub", "div", "pow", "mod", "less", "less_equal", "greater", "greater_equal")  # whose operands may not be swapped


def where(call: Call) -> Plan:
    """A choice of three tensors; those that are constants have come in as inputs."""
    call.require_aligned()
    widest = max(call.tensors, key=lambda tensor: len(tensor.shape))
    return Plan((Select(op="where"),), layouts=(widest.layout,))


def negation(call: Call) -> Plan:
    """Not: equal to nothing."""
    return Plan((Elementwise(op="equal", value=0.0),), reads=(call.tensor(),))


def elementwise(name: str) -> Rule:
    def rule(call: Call) -> Plan:
        tensors = call.tensors
        others = [value for value in call.inputs if isinstance(value, Constant | Scalar)]
        if len(tensors) == 1 and not others:
            return Plan()
        call.require_aligned()
        if others and len(tensors) > 1 and name not in ("add", "maximum", "minimum"):
            raise NotModelledError("it has constants among several operands")
        first_elem = call.inputs[0].elem if isinstance(call.inputs[0], Tensor | Constant) else None
        whole = not call.node.is_quantized and first_elem in INTEGERS and all(t.elem in INTEGERS for t in tensors)
        first = isinstance(call.input(0), Constant | Scalar) and name in _ORDERED
        ops: list[Op] = [Elementwise(op=name, whole=whole)] if len(tensors) > 1 else []
        held = (None,) * len(ops) + tuple(x if isinstance(x, Constant) else None for x in others)
        ops += [with_constant(name, other, first, not call.node.is_quantized, whole) for other in others]
        widest = max(tensors, key=lambda tensor: len(tensor.shape))
        return Plan(tuple(ops), layouts=(widest.layout,), operands=held)

    return rule


def modulo(call: Call) -> Plan:
    """Floats as C has it (fmod), whole numbers as Python has it."""
    floats = call.tensors[0].elem not in INTEGERS
    if bool(call.number("fmod", 0)) != floats:
        raise NotModelledError(f"its fmod is {call.number('fmod', 0)}, must be 1 for floats and 0 for integers")
    return elementwise("mod")(call)


def activation(name: str) -> Rule:
    def rule(call: Call) -> Plan:
        given = {key: _clean_float(value) for key in ("alpha", "beta") if isinstance(value := call.attribute(key), float)}
        return Plan((Activation(op=name, **given),), reads=(call.tensor(),))

    return rule


def gelu(call: Call) -> Plan:
    kinds = {"none": "gelu", "tanh": "gelu_tanh"}
    wanted = call.text("approximate", "none")
    if wanted not in kinds:
        raise NotModelledError(f"its approximate is {wanted!r:.40}; none and tanh are modelled")
    return activation(kinds[wanted])(call)


def prelu(call: Call) -> Plan:
    slope, x = call.weights(1, "its slopes"), call.tensor()
    if call.opset < 7 and len(slope.shape) == 1:  # one a channel, before numpy's broadcasting came
        slope = slope.reshaped((*slope.shape, *(1,) * (len(x.shape) - 2)))
    return Plan((Activation(op="prelu", trained=prod(slope.shape)),), reads=(x,), operands=(slope,))


def clip(call: Call) -> Plan:
    low, high = (_bound(call, i, key) for i, key in ((1, "min"), (2, "max")))
    name = {(0.0, 6.0): "relu6", (0.0, None): "relu"}.get((low, high), "clip") if low is not None else "clip"
    bounds = {"low": low, "high": high} if name == "clip" else {}
    return Plan((Activation(op=name, **bounds),), reads=(call.tensor(),))


def _bound(call: Call, index: int, key: str) -> float | None:
    given = (
        call.value(index, f"its {key}") if call.input(index) is not None else call.attribute(key)
    )
    if not isinstance(given, int | float | np.ndarray) or np.size(given) != 1:
        return None
    bound = _clean_float(np.asarray(given).reshape(-1)[0])
    return bound if bound is not None and abs(bound) < 3e38 else None


# --- normalization ---


def softmax(call: Call) -> Plan:
    since = call.number("opset", call.opset) if call.node.is_quantized else call.opset  # the runtime's own states it
    axis = call.number("axis", -1 if since >= 13 or call.node.is_quantized else 1)
    layer_axis, x = call.axis(axis), call.tensor()
    if since < 13 and prod(x.shape[axis % len(x.shape) + 1 :]) > 1:
        return _flat_softmax(call, layer_axis)
    return Plan((Softmax(op="softmax", axis=layer_axis),))


def _flat_softmax(call: Call, axis: int) -> Plan:
    """Before opset 13 a softmax is over its axis and all that follow, as one."""
    shape = call.tensor().layout.network_shape(call.tensor().shape, call.batch)
    flat = Reshape(op="reshape", to=(*shape[1:axis], prod(shape[axis:])))
    return Plan((flat, Softmax(op="softmax", axis=axis), Reshape(op="reshape", to=shape[1:])), main=1)


def log_softmax(call: Call) -> Plan:
    return Plan((*softmax(call).ops, Activation(op="log")))


def layer_norm(call: Call) -> Plan:
    call.unused(1, "its second output (the mean) is used")
    call.unused(2, "its third output (the inverse of the deviation) is used")
    rank = len(call.tensor().shape)
    if call.number("axis", -1) % rank != rank - 1:
        raise NotModelledError("it normalizes over more than the last axis")
    call.axis(-1)  # which is not the batch
    weight = call.weights(1, "its scales")
    bias = call.constant(2, "its shifts")
    epsilon = _clean_float(call.attribute("epsilon", 1e-5))
    op = LayerNorm(op="layernorm") if epsilon in (None, 1e-5) else LayerNorm(op="layernorm", epsilon=epsilon)
    return Plan((op,), reads=(call.tensor(),), weight=weight, bias=bias)


def batch_norm(call: Call) -> Plan:
    call.unused(1, "its second output (the running mean) is used")
    _require_batch_first(call)
    channels = call.tensor().shape[1:2]
    names = ("scale", "shift", "mean", "variance")
    constants = {name: call.weights(i + 1, f"its {name}") for i, name in enumerate(names)}
    if not channels or any(constant.shape != channels for constant in constants.values()):
        shapes = ", ".join(f"{name} {list(constant.shape)}" for name, constant in constants.items())
        raise NotModelledError(f"its input {list(call.tensor().shape)} does not go with {shapes}")
    epsilon = call.attribute("epsilon", 1e-5)
    return Plan((BatchNorm(op="batchnorm"),), reads=(call.tensor(),), more=constants, epsilon=float(epsilon))


def _require_batch_first(call: Call) -> None:
    """Refuse a tensor whose axis 1, its channels, is another here."""
    if call.axis(1) != 1:
        raise NotModelledError(f"its channels are axis {call.axis(1)} here, since its batch is not the first axis")


def lrn(call: Call) -> Plan:
    _require_batch_first(call)
    numbers = {"alpha": ("alpha", 1e-4), "beta": ("beta", 0.75), "k": ("bias", 1.0)}
    given = {field: _clean_float(call.attribute(key, default)) for field, (key, default) in numbers.items()}
    return Plan((LocalResponseNorm(op="lrn", size=call.number("size", 0), **given),))


def reduce(name: str) -> Rule:
    def rule(call: Call) -> Plan:
        x, axes = call.tensor(), call.integers(1, "axes")
        if not axes and call.number("noop_with_empty_axes", 0):
            return Plan()
        axes = axes or list(range(len(x.shape)))
        keepdims = bool(call.number("keepdims", 1))
        op = Reduce(op=name, axes=tuple(call.axis(axis) for axis in axes), keepdims=keepdims)
        if not keepdims and len(axes) == len(x.shape):
            number = Layout(0, merged=True)
            return Plan((op, Reshape(op="reshape", to=(1,))), main=0, reads=(x,), layouts=(number,))
        removed = sum(axis % len(x.shape) < x.layout.batch_axis for axis in axes)
        layout = x.layout if keepdims else Layout(x.layout.batch_axis - removed, x.layout.merged)
        return Plan((op,), reads=(x,), layouts=(layout,))

    return rule


