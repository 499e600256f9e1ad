"""Operators that a runtime has fused, or that are a product and moves, written as the operators that they are made of."""

from __future__ import annotations

from math import prod

import numpy as np

from accelsim.frontends._onnx_branches import Piece
from accelsim.frontends._onnx_model import NotModelledError, OnnxFile
from accelsim.frontends._onnx_written import Form, Written

_NARROW = {2: 25, 4: 21, 8: 2}  # bits -> onnx.TensorProto.DataType


# --- activations and normalizations ---


def gelu_of_sum(approximate: str) -> Form:
    """BiasGelu and FastGelu: a Gelu, of a sum where there is a bias."""

    def write(w: Written) -> None:
        w.piece.node("Gelu", [w.total(w.name(0), w.name(1))], [w.proto.output[0]], approximate=approximate)

    return write


def split_gelu(w: Written) -> None:
    """BiasSplitGelu: one half of a sum times the Gelu of the other."""
    size = w.shape()[-1] // 2
    left, right = w.split(w.one("Add", w.name(0), w.name(1)), [size, size], len(w.shape()) - 1)
    w.give(w.one("Mul", left, w.one("Gelu", right)))


def quick_gelu(w: Written) -> None:
    w.piece.node("Swish", [w.name(0)], [w.proto.output[0]], alpha=w.real("alpha", 1.702))


def sum_of_three(w: Written) -> None:
    """BiasAdd."""
    w.give(w.total(w.name(0), w.name(1), w.name(2)))


def bias_softmax(w: Written) -> None:
    """A softmax of a sum, which is broadcast from the right, or from the left up to its axis."""
    axis, shape, added = w.integer("axis", 1), w.shape(0), w.shape(1)
    if axis % len(shape) != len(shape) - 1:
        raise NotModelledError(f"its axis is {axis} of {len(shape)}; the last is modelled")
    name = w.name(1)
    if w.integer("is_inner_broadcast", 1) and len(added) < len(shape):
        name = w.reshape(name, *added[:-1], *(1,) * (len(shape) - len(added)), added[-1])
    w.give(w.one("Softmax", w.one("Add", w.name(0), name), axis=-1))


def skip_norm(w: Written) -> None:
    """A normalization of the sum of two tensors, and a bias; the sum is the fourth output."""
    piece, proto, used, simplified = w.piece, w.proto, w.used, "Simplified" in w.node.op
    if any(used[1:3]):
        raise NotModelledError("its second or third output (the mean or the deviation) is used")
    bias = w.name(3 if simplified else 4)
    wanted = [proto.output[3]] if len(used) > 3 and used[3] else 1
    total = piece.node("Add", [proto.input[0], proto.input[1]], 1 if bias else wanted)[0]
    total = piece.node("Add", [total, bias], wanted)[0] if bias else total
    shift = [] if simplified or not w.has(3) else [proto.input[3]]
    kind = "RMSNormalization" if simplified else "LayerNormalization"
    epsilon = w.real("epsilon", 1e-5 if simplified else 1e-12)
    piece.node(kind, [total, proto.input[2], *shift], [proto.output[0]], epsilon=epsilon)


# --- products ---


def fused_matmul(w: Written) -> None:
    """A product of matrices that may be transposed, times alpha."""
    names = [_turned(w, place) if w.integer(key, 0) else w.name(place) for place, key in enumerate(("transA", "transB"))]
    w.give(w.scaled(w.one("MatMul", *names), w.real("alpha", 1.0)))


def _turned(w: Written, place: int) -> str:
    rank = len(w.shape(place))
    return w.transpose(w.name(place), *range(rank - 2), rank - 1, rank - 2)


def fused_gemm(w: Written) -> None:
    """A Gemm and an activation."""
    kind, keys = w.text("activation"), ("alpha", "beta", "gamma")
    if kind not in ("Relu", "LeakyRelu", "Sigmoid", "Tanh", "HardSigmoid"):
        raise NotModelledError(f"its activation is {kind!r:.40}")
    given = {key: value for key, value in w.node.attributes.items() if not key.startswith("activation")}
    numbers = {key: w.real(f"activation_{key}", 0.0) for key in keys if f"activation_{key}" in w.node.attributes}
    w.give(w.one(kind, w.one("Gemm", *(name for name in w.proto.input if name), **given), **numbers))


def fused_conv(w: Written) -> None:
    """A convolution, a tensor added to it where there is one, and an activation."""
    piece, proto, node = w.piece, w.proto, w.node
    name, kind = proto.input[0], w.text("activation")
    numbers = node.attributes.get("activation_params") or []
    keys = {"LeakyRelu": ("alpha",), "HardSigmoid": ("alpha", "beta"), "Clip": (), "Relu": (), "Sigmoid": (), "Tanh": ()}
    if kind and kind not in keys:
        raise NotModelledError(f"its activation is {kind!r:.40}")
    given = {k: v for k, v in node.attributes.items() if not k.startswith("activation")}
    added = w.name(3)
    last = [proto.output[0]]
    name = piece.node("Conv", [n for n in proto.input[:3] if n], 1 if added or kind else last, **given)[0]
    if added:
        name = piece.node("Add", [name, added], 1 if kind else last)[0]
    if kind:
        bounds = [piece.constant(np.float32(n)) for n in numbers] if kind == "Clip" else []
        piece.node(kind, [name, *bounds], last, **dict(zip(keys[kind], numbers, strict=False)))


def quantized_as_it_runs(w: Written) -> None:
    """DynamicQuantizeMatMul: an input that is quantized by its own range, weights of integers."""
    number, scale, zero = w.piece.node("DynamicQuantizeLinear", [w.name(0)], 3)
    x = w.one("DequantizeLinear", number, scale, zero)
    w.give(w.total(w.one("MatMul", x, _real_weights(w, 1, 2, 3)), w.name(4)))


def integers_to_float(w: Written) -> None:
    """MatMulIntegerToFloat: a product of integers that have scales."""
    x = w.one("DequantizeLinear", *(w.name(place) for place in (0, 2, 4) if w.has(place)))
    w.give(w.total(w.one("MatMul", x, _real_weights(w, 1, 3, 5)), w.name(6)))


def _real_weights(w: Written, *places: int) -> str:
    """Weights with a scale, or one a column."""
    scale = w.shape(places[1])
    names = [w.name(place) for place in places if w.has(place)]
    if scale == (1,):
        names[1:] = [w.one("Reshape", name, w.piece.constant(np.zeros(0, np.int64))) for name in names[1:]]
    return w.one("DequantizeLinear", *names, axis=1)


def choice_of_integers(w: Written) -> None:
    """QLinearWhere: a choice of two tensors with scales, and what it makes quantized."""
    one, other = (w.one("DequantizeLinear", *(w.name(place + i) for i in range(3))) for place in (1, 4))
    w.give(w.one("QuantizeLinear", w.one("Where", w.name(0), one, other), w.name(7), w.name(8)))


def matmul_of_bits(w: Written) -> None:
    """MatMulNBits: weights of 2, 4 or 8 bits, out x blocks of in, each block with a scale and a zero point."""
    file, piece, proto, node = w.file, w.piece, w.proto, w.node
    bits, out, features = (node.integer(key, default) for key, default in (("bits", 4), ("N", 0), ("K", 0)))
    block, packed = node.integer("block_size", 0), file.tensors.get(proto.input[1])
    if bits not in _NARROW or packed is None or block < 1 or features % block or out < 1:
        raise NotModelledError(f"its weights have {bits} bits, {features} inputs in blocks of {block}, or are computed")
    if prod(packed.dims) * 8 != out * features * bits:
        raise NotModelledError(f"its weights have the shape {list(packed.dims)}")
    if w.has(4):
        raise NotModelledError("its rows are reordered (g_idx)")
    weights = type(packed).FromString(packed.SerializeToString())
    weights.name, weights.data_type = f"{piece.prefix}weights", _NARROW[bits]
    weights.dims[:] = [out, features]
    piece.tensors.append(weights)
    scales = piece.one("Reshape", proto.input[2], piece.integers(out, features // block))
    zero = _zero_points(file, piece, w.name(3), bits, (out, features // block))
    wide = piece.one("DequantizeLinear", weights.name, scales, zero, axis=1, block_size=block)
    turned, bias = piece.one("Transpose", wide, perm=[1, 0]), w.name(5)
    made = piece.node("MatMul", [proto.input[0], turned], 1 if bias else [proto.output[0]])[0]
    if bias:
        piece.node("Add", [made, bias], [proto.output[0]])


def _zero_points(file: OnnxFile, piece: Piece, name: str, bits: int, shape: tuple[int, int]) -> str:
    """One a block, the middle of the range where the file has none; there each row begins on a byte."""
    points = np.full(shape, 1 << (bits - 1))
    if name:
        tensor = file.tensors.get(name)
        if tensor is None or tensor.data_type != _NARROW[8]:
            raise NotModelledError("its zero points are no integers of the file")
        parts = np.arange(0, 8, bits)
        rows = (file.array(tensor).reshape(shape[0], -1, 1) >> parts) & ((1 << bits) - 1)
        points = rows.reshape(shape[0], -1)[:, : shape[1]]
    made = f"{piece.prefix}zero_points"
    piece.tensors.append(piece.onnx.helper.make_tensor(made, _NARROW[bits], shape, points.ravel().tolist()))
    return made
