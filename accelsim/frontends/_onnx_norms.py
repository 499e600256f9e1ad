"""Normalizations and reductions that no single layer is, as sums, products and roots."""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from accelsim.frontends._onnx_call import Tensor
from accelsim.frontends._onnx_model import NotModelledError
from accelsim.frontends._onnx_written import Form, Written

# --- normalizations ---


def instance_norm(w: Written) -> None:
    """Every channel of every image over its positions, then its scale and shift."""
    shape = w.shape()
    normal = _normal(w, w.name(0), range(2, len(shape)), w.real("epsilon", 1e-5))
    w.give(_scaled_and_shifted(w, normal, (1, shape[1], *(1,) * (len(shape) - 2))))


def group_norm(w: Written) -> None:
    """com.microsoft's GroupNorm: channels last, and an activation."""
    shape, groups = w.shape(), w.integer("groups", 1)
    if len(shape) != 4 or not w.integer("channels_last", 1):
        raise NotModelledError(f"it normalizes {list(shape)}; an image with its channels last is modelled")
    batch, height, width, channels = shape
    grouped = w.reshape(w.name(0), batch, height * width, groups, channels // groups)
    normal = w.reshape(_normal(w, grouped, (1, 3), w.real("epsilon", 1e-5)), *shape)
    result = _scaled_and_shifted(w, normal, (1, 1, 1, channels))
    w.give(w.one("Mul", result, w.one("Sigmoid", result)) if w.integer("activation", 0) else result)


def layer_norm(w: Written) -> bool:
    """Over several axes, which are laid out as one."""
    if not isinstance(w.value(0), Tensor):
        return False
    shape = w.shape()
    axis = w.integer("axis", -1) % len(shape)
    if axis == len(shape) - 1:
        return False
    w.refuse_outputs(1, "the mean or the deviation")
    size = prod(shape[axis:])
    names = [w.reshape(w.name(0), *shape[:axis], size), *(w.reshape(w.name(i), size) for i in (1, 2) if w.has(i))]
    normal = w.one("LayerNormalization", *names, axis=-1, epsilon=w.real("epsilon", 1e-5))
    w.give(w.reshape(normal, *shape))
    return True


def simplified_norm(w: Written) -> None:
    """SimplifiedLayerNormalization, which is ONNX's RMSNormalization."""
    w.refuse_outputs(1, "the inverse of the deviation")
    w.piece.node(
        "RMSNormalization", [w.name(0), w.name(1)], [w.proto.output[0]],
        axis=w.integer("axis", -1), epsilon=w.real("epsilon", 1e-5),
    )  # fmt: skip


def lp_norm(w: Written) -> None:
    """Divided by the sum of the sizes along an axis, or by the root of the sum of squares."""
    axis, power = w.integer("axis", -1), w.integer("p", 2)
    if power not in (1, 2):
        raise NotModelledError(f"its p is {power}, must be 1 or 2")
    length = w.one("Max", _length(w, w.name(0), [axis], power), w.number(1e-30))  # zeros stay zeros
    w.give(w.one("Div", w.name(0), length))


def _length(w: Written, name: str, axes: Sequence[int], power: int) -> str:
    if power == 1:
        return w.reduce("ReduceSum", w.one("Abs", name), axes)
    return w.one("Sqrt", w.reduce("ReduceSum", w.one("Mul", name, name), axes))


def _normal(w: Written, name: str, axes: Sequence[int], epsilon: float) -> str:
    """Mean 0 and deviation 1 over ``axes``."""
    centred = w.one("Sub", name, w.reduce("ReduceMean", name, list(axes)))
    variance = w.reduce("ReduceMean", w.one("Mul", centred, centred), list(axes))
    return w.one("Div", centred, w.one("Sqrt", w.one("Add", variance, w.number(epsilon))))


def _scaled_and_shifted(w: Written, name: str, shape: Sequence[int]) -> str:
    scaled = w.one("Mul", name, w.reshape(w.name(1), *shape))
    return w.one("Add", scaled, w.reshape(w.name(2), *shape))


# --- reductions ---


def reduction(before: str, inner: str, after: str = "") -> Form:
    """A sum of what ``before`` makes of the elements, and ``after`` of it; ``square``: of their squares."""

    def write(w: Written) -> bool:
        if not isinstance(w.value(0), Tensor):
            return False
        axes = _axes(w)
        if axes is None:
            w.give(w.name(0))
            return True
        name = w.name(0)
        if before:
            name = w.one("Mul", name, name) if before == "square" else w.one(before, name)
        name = w.reduce(inner, name, axes, w.integer("keepdims", 1))
        w.give(w.one(after, name) if after else name)
        return True

    return write


def _axes(w: Written) -> list[int] | None:
    """The axes that are reduced; None: the input is the output."""
    if w.has(1) and w.known(1) is None:
        raise NotModelledError("its axes are not known before it runs")
    given = w.known(1)
    axes = w.integers("axes") if given is None else [int(axis) for axis in given.reshape(-1)]
    if axes:
        return axes
    return None if w.integer("noop_with_empty_axes", 0) else list(range(len(w.shape())))


def mean_of_several(w: Written) -> None:
    """Mean: of tensors, element by element."""
    names = list(w.proto.input)
    w.give(w.scaled(w.one("Sum", *names), float(np.float32(1 / len(names)))))


def lp_pool(w: Written) -> None:
    """GlobalLpPool: the length of every channel."""
    power = w.integer("p", 2)
    if power not in (1, 2):
        raise NotModelledError(f"its p is {power}, must be 1 or 2")
    w.give(_length(w, w.name(0), range(2, len(w.shape())), power))
