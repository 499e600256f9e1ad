"""Multiply-accumulates of an ONNX file, counted from nothing but ONNX's own shape inference: an independent second opinion."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

import onnx
from onnx import shape_inference

_GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}


def macs(model: onnx.ModelProto, dims: Mapping[str, int] | None = None, batch: int = 1) -> int:
    """Of every node that computes; ``dims`` are sizes that are names, every other one on the first axis is ``batch``."""
    copy = onnx.ModelProto.FromString(model.SerializeToString())
    for entry in copy.graph.input:
        for axis, dim in enumerate(entry.type.tensor_type.shape.dim):
            size = (dims or {}).get(f"{entry.name}.{axis}", (dims or {}).get(dim.dim_param, batch))
            if dim.dim_value < 1:
                dim.dim_value = size
    for entry in copy.graph.output:
        entry.type.tensor_type.ClearField("shape")
    del copy.graph.value_info[:]
    graph = shape_inference.infer_shapes(copy, data_prop=True).graph
    shapes = {t.name: tuple(t.dims) for t in graph.initializer}
    for entry in (*graph.input, *graph.value_info, *graph.output):
        dims_of = entry.type.tensor_type.shape.dim
        if all(dim.HasField("dim_value") for dim in dims_of):
            shapes.setdefault(entry.name, tuple(dim.dim_value for dim in dims_of))
    constant = {t.name for t in graph.initializer}
    return sum(_of(node, shapes) for node in graph.node if not _folds(node, constant))


def _folds(node: Any, constant: set[str]) -> bool:
    """Whether a node reads constants alone: it runs before the network does."""
    folds = all(name in constant for name in node.input if name)
    constant.update(node.output if folds else ())
    return folds


def _of(node: Any, shapes: Mapping[str, tuple[int, ...]]) -> int:
    attributes = {entry.name: onnx.helper.get_attribute_value(entry) for entry in node.attribute}
    inputs = [shapes.get(name, ()) for name in node.input]
    if node.op_type in ("Conv", "ConvInteger", "QLinearConv"):
        weight = inputs[3 if node.op_type == "QLinearConv" else 1]
        return prod(shapes[node.output[0]]) * prod(weight[1:])
    if node.op_type == "ConvTranspose":
        return prod(inputs[0]) * prod(inputs[1][1:])
    if node.op_type in ("MatMul", "MatMulInteger", "QLinearMatMul"):
        return prod(shapes[node.output[0]]) * inputs[0][-1]
    if node.op_type == "Gemm":
        return prod(shapes[node.output[0]]) * inputs[0][0 if attributes.get("transA") else 1]
    if node.op_type in _GATES:
        steps_and_batch, features = prod(inputs[0][:2]), inputs[0][2]
        hidden = inputs[2][2]
        return inputs[1][0] * steps_and_batch * _GATES[node.op_type] * hidden * (features + hidden)
    return 0
