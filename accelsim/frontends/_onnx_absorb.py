"""Per-channel constants that a layer takes in: a bias, or the scale and shift after a batch normalization."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from accelsim.frontends._onnx_arrays import ArrayNames
from accelsim.frontends._onnx_call import Call, Tensor
from accelsim.frontends._onnx_model import Constant
from accelsim.workload.ops import BatchNorm, Conv2d, Linear, Op, Shape


def absorbed(
    op: Op, arrays: ArrayNames, kind: str, x: Tensor, constant: Constant
) -> tuple[Op, ArrayNames] | None:
    """The operator and its arrays with a per-channel constant taken in; None where it cannot be."""
    axis = len(x.shape) - 1 if isinstance(op, Linear) else 1
    if not _is_per_channel(constant.shape, x.shape, axis):
        return None
    if isinstance(op, BatchNorm):
        key = "scale_2" if kind == "Mul" else "shift_2"
        taken = "shift_2" in arrays.more or key in arrays.more
        return None if taken else (op, replace(arrays, more={**arrays.more, key: constant}))
    if kind == "Add" and isinstance(op, Conv2d | Linear) and not op.bias:
        return op.model_copy(update={"bias": True}), replace(arrays, bias=constant)
    return None


def _is_per_channel(shape: Shape, over: Shape, axis: int) -> bool:
    """Whether a constant of ``shape``, broadcast over a tensor of shape ``over``, has one value a channel."""
    if len(shape) > len(over):
        return False
    padded = (1,) * (len(over) - len(shape)) + shape
    return axis < len(over) and padded[axis] == over[axis] and prod(padded) == over[axis]


def operand(constant: Constant | None, call: Call) -> tuple[Constant | None, Shape]:
    """A constant operand with its scales, and its shape; none where that does not fit the layer's output."""
    shape = None if constant is None else _operand_shape(constant, call)
    if constant is None or shape is None:
        return None, ()
    if not call.node.is_quantized:
        return constant, shape
    place = next(i for i, value in enumerate(call.inputs) if value is constant)
    return replace(constant, scales=call.node.scales[place] if place < len(call.node.scales) else None), shape


def _operand_shape(constant: Constant, call: Call) -> Shape | None:
    """The shape of a constant operand with accelsim's axes, those of the layer's output; None where it has no such."""
    x = max(call.tensors, key=lambda tensor: len(tensor.shape))
    padded = (1,) * (len(x.shape) - len(constant.shape)) + constant.shape
    if len(padded) > len(x.shape):
        return None
    batch = padded[x.layout.batch_axis] if padded else 1  # of a single number
    if batch != 1 and (x.layout.batch_axis or x.layout.merged):
        return None
    return x.layout.network_shape(padded, batch)
