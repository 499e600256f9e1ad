"""What one layer of a node's plan is: its number formats, its constants and scales, and where the batch is in its shape."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from accelsim.frontends._onnx_absorb import operand
from accelsim.frontends._onnx_arrays import ArrayNames
from accelsim.frontends._onnx_call import Call, Layout, Plan, Scalar, Tensor, Value
from accelsim.frontends._onnx_model import INTEGERS, Constant, Node, NotModelledError, number_format
from accelsim.frontends._onnx_scales import ScaleTable, read_scales
from accelsim.workload.ops import Matmul, Select, Shape
from accelsim.workload.precision import NumberFormat, Precision

INT32, FP32, FP64 = NumberFormat("int", 32), NumberFormat("fp", 32), NumberFormat("fp", 64)


def precision_of(scales: ScaleTable, call: Call, plan: Plan, index: int, elem: int) -> Precision:
    """Formats of a plan's layer from its tensors' types; sums of integers are int32, of floats fp32 or fp64."""
    reads = plan.reads if plan.reads is not None else call.tensors
    stored = scales.sink(call.node.outputs[0])[0] or number_format(elem)
    source = reads[0].number if index <= plan.main else stored if index > plan.last else number_format(elem)
    output = stored if index >= plan.last else source if index < plan.main else number_format(elem)
    if isinstance(plan.ops[min(index, len(plan.ops) - 1)], Select):
        source = reads[1].number  # the first is what is chosen by
    weights = signed(source)
    if index == plan.main and plan.weight is not None:
        weights = plan.weight.number or number_format(plan.weight.elem)
    elif index == plan.main and isinstance(plan.ops[index], Matmul) and len(reads) > 1:
        weights = reads[1].number
    integers = source.is_integer and weights.is_integer
    return Precision(
        weight=weights, input=source, output=output,
        accumulator=INT32 if integers else FP64 if FP64 in (source, weights) else FP32,
    )  # fmt: skip


def arrays_of(scales_of: ScaleTable, call: Call, plan: Plan, index: int, elem: int) -> ArrayNames:
    """The constants of one of a plan's layers, and the scales of what it reads and makes."""
    node, is_main = call.node, index == plan.main
    reads = plan.reads if plan.reads is not None else call.tensors
    scales = read_scales(call) if node.is_quantized else tuple(tensor.scales for tensor in reads)
    reads_stored = any(scales) and index <= plan.main  # what is before the main layer moves what it reads
    output = node.out_scales or scales_of.sink(node.outputs[0])[1] if index >= plan.last else None
    held = plan.operands[index] if index < len(plan.operands) else None
    common = ArrayNames(
        inputs=scales if reads_stored else (), output=output, qlinear=node.is_quantized,
        on_integers=_is_on_integers(call, elem), unknown=any(isinstance(value, Scalar) for value in call.inputs),
    )  # fmt: skip
    constant, shape = operand(held, call)
    common = replace(common, operand=constant, operand_shape=shape)
    if not is_main:
        return common
    weight = plan.weight
    if weight is not None and node.is_quantized and len(node.scales) > 1:
        weight = replace(weight, scales=node.scales[1])
    return replace(
        common, weight=weight, transposed=plan.transposed, bias=plan.bias, more=plan.more, epsilon=plan.epsilon
    )


def agree(onnx_shape: Shape | None, shape: Shape, hint: Layout, batch: int) -> tuple[Shape, Layout]:
    """Where the batch is in ``onnx_shape`` such that it is accelsim's ``shape``; ``hint`` first."""
    if onnx_shape is None:
        rest = list(shape[1:])
        rest[hint.batch_axis : hint.batch_axis] = [shape[0]]
        return tuple(rest), Layout(hint.batch_axis)
    for layout in (hint, *(Layout(axis) for axis in range(len(onnx_shape))), Layout(0, merged=True)):
        if layout.fits(onnx_shape, batch) and layout.network_shape(onnx_shape, batch) == shape:
            return onnx_shape, layout
    raise NotModelledError(
        f"its output would be {list(shape)} here, and is {list(onnx_shape)} in ONNX (batch {batch})"
    )


_BROADCAST = ("Add", "Sub", "Mul", "Div", "Pow", "Equal", "Less", "Greater", "And", "Or", "Xor")


def broadcast_by_axis(node: Node, inputs: tuple[Value | None, ...], opset: int) -> tuple[Value | None, ...]:
    """Before opset 7 ``axis`` says which axis of the first operand the second begins at."""
    axis = node.attributes.get("axis")
    if opset >= 7 or node.op not in _BROADCAST or not isinstance(axis, int):
        return inputs
    first, second = inputs[0], inputs[1]
    if not isinstance(first, Tensor | Constant) or not isinstance(second, Tensor | Constant):
        return inputs
    behind = len(first.shape) - axis % len(first.shape) - len(second.shape)
    if behind <= 0 or prod(second.shape) == 1:
        return inputs
    if isinstance(second, Tensor):
        raise NotModelledError(f"it broadcasts a tensor of shape {list(second.shape)} from axis {axis} on")
    return first, second.reshaped((*second.shape, *(1,) * behind))


def signed(number: NumberFormat) -> NumberFormat:
    """What stands for the weights of a layer that has none: as its neighbours', most often."""
    return NumberFormat("int", number.bits) if number.is_integer else number


def _is_on_integers(call: Call, elem: int) -> bool:
    """Whether a plain operator computes on stored integers themselves (a Clip of a uint8 tensor), or makes such."""
    return not call.node.is_quantized and (call.tensors[0].elem in INTEGERS or elem in INTEGERS)
