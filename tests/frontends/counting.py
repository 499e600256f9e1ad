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
    if node.op_type in _OTHERS:
        return _OTHERS[node.op_type](inputs, attributes)
    if node.op_type in _GATES:
        steps_and_batch, features = prod(inputs[0][:2]), inputs[0][2]
        hidden = inputs[2][2]
        return inputs[1][0] * steps_and_batch * _GATES[node.op_type] * hidden * (features + hidden)
    return 0


_Shapes = list[tuple[int, ...]]


def _einsum(inputs: _Shapes, attributes: Mapping[str, Any]) -> int:
    """Of two operands: every pair that is multiplied and added, if any axis is summed; the sizes of all letters."""
    text = attributes["equation"].decode().replace(" ", "")
    left, _, out = text.partition("->")
    terms = left.split(",")
    if len(terms) != 2:
        return 0
    sizes: dict[str, int] = {}
    for term, shape in zip(terms, inputs, strict=True):
        own, rest = term.partition("...")[::2]
        dots = [f".{place}" for place in range(len(shape) - len(own) - len(rest), 0, -1)] if "..." in term else []
        letters = [*own, *dots, *rest]
        sizes |= dict(zip(letters, shape, strict=True))
    summed = {letter for letter in terms[0] if letter in terms[1] and letter not in out and letter != "."}
    return prod(sizes.values()) if summed else 0


def _attended(batch: int, heads: int, queries: int, keys: int, size: int, value_size: int) -> int:
    """Every query with every key, and every share with every value; what a mask takes away is computed too."""
    return batch * heads * queries * keys * (size + value_size)


def _attention(inputs: _Shapes, attributes: Mapping[str, Any]) -> int:
    """ONNX's, of heads (four axes) or of rows (three), and com.microsoft's, which has the three products too."""
    if "q_num_heads" not in attributes and "num_heads" in attributes:
        (batch, rows, width), (_, wide) = inputs[0], inputs[1]
        past = inputs[4][3] if len(inputs) > 4 and inputs[4] else 0
        q, _, v = attributes.get("qkv_hidden_sizes") or [wide // 3] * 3
        heads = attributes["num_heads"]
        return batch * rows * width * wide + _attended(batch, heads, rows, rows + past, q // heads, v // heads)
    q, k, v = inputs[:3]
    past = inputs[4][2] if len(inputs) > 4 and inputs[4] else 0
    if len(q) == 4:
        return _attended(q[0], q[1], q[2], k[2] + past, q[3], v[3])
    heads, shared = attributes["q_num_heads"], attributes["kv_num_heads"]
    return _attended(q[0], heads, q[1], k[1] + past, q[2] // heads, v[2] // shared)


def _multi_head(inputs: _Shapes, attributes: Mapping[str, Any]) -> int:
    (batch, queries, width), keys, values = inputs[0], inputs[1], inputs[2]
    past = inputs[6][2] if len(inputs) > 6 and inputs[6] else 0
    heads, length = attributes["num_heads"], keys[2] if len(keys) == 4 else keys[1]
    size = values[3] if len(values) == 4 else values[2] // heads
    return _attended(batch, heads, queries, length + past, width // heads, size)


def _group_query(inputs: _Shapes, attributes: Mapping[str, Any]) -> int:
    (batch, rows, width), heads = inputs[0], attributes["num_heads"]
    size = width // heads if inputs[1] else width // (heads + 2 * attributes["kv_num_heads"])
    past = inputs[3][2] if inputs[3] else 0
    return _attended(batch, heads, rows, rows + past, size, size)


def _fused_matmul(inputs: _Shapes, attributes: Mapping[str, Any]) -> int:
    first, second = inputs[0], inputs[1]
    return prod(first) * second[-2 if attributes.get("transB") else -1]


def _quantized_attention(inputs: _Shapes, attributes: Mapping[str, Any]) -> int:
    return _attention([inputs[0], inputs[1], (), (), inputs[8] if len(inputs) > 8 else ()], attributes)


_OTHERS = {
    "Einsum": _einsum, "Attention": _attention, "QAttention": _quantized_attention, "MultiHeadAttention": _multi_head,
    "GroupQueryAttention": _group_query, "FusedMatMul": _fused_matmul, "TransposeMatMul": _fused_matmul,
    "FusedGemm": _fused_matmul,
    "DynamicQuantizeMatMul": _fused_matmul, "MatMulIntegerToFloat": _fused_matmul,
    "QGemm": lambda inputs, attributes: _fused_matmul([inputs[0], inputs[3]], attributes),
    "MatMulNBits": lambda inputs, attributes: prod(inputs[0]) * attributes["N"],
}  # fmt: skip
