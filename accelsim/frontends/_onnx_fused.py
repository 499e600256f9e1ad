"""Operators that a runtime has fused, or that are a product and moves, written as the operators that they are made of."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import product
from math import prod
from typing import Any

import numpy as np

from accelsim.frontends._onnx_branches import Piece
from accelsim.frontends._onnx_call import Tensor, Value
from accelsim.frontends._onnx_model import Constant, Node, NotModelledError, OnnxFile
from accelsim.units import ceil_div

_NARROW = {2: 25, 4: 21, 8: 2}  # bits -> onnx.TensorProto.DataType
Inputs = Sequence[Value | None]


def _text(node: Node, key: str, default: str) -> str:
    return str(node.attributes.get(key) or default)


def _real(node: Node, key: str, default: float) -> float:
    return float(node.attributes.get(key, default))


def _optional(proto: Any, index: int) -> str:
    return str(proto.input[index]) if len(proto.input) > index else ""


def _shape(value: Value | None) -> tuple[int, ...]:
    if not isinstance(value, Tensor | Constant):
        raise NotModelledError("its input has no shape that is known")
    return value.shape


# --- activations and normalizations ---


def gelu_of_sum(piece: Piece, proto: Any, approximate: str) -> None:
    """BiasGelu and FastGelu: a Gelu, of a sum where there is a bias."""
    bias = _optional(proto, 1)
    total = piece.one("Add", proto.input[0], bias) if bias else proto.input[0]
    piece.node("Gelu", [total], [proto.output[0]], approximate=approximate)


def quick_gelu(piece: Piece, proto: Any, node: Node) -> None:
    piece.node("Swish", [proto.input[0]], [proto.output[0]], alpha=_real(node, "alpha", 1.702))


def skip_norm(piece: Piece, proto: Any, node: Node, simplified: bool, used: Sequence[bool]) -> None:
    """A normalization of the sum of two tensors, and a bias; the sum is the fourth output."""
    if any(used[1:3]):
        raise NotModelledError("its second or third output (the mean or the deviation) is used")
    bias = _optional(proto, 3 if simplified else 4)
    wanted = [proto.output[3]] if len(used) > 3 and used[3] else 1
    total = piece.node("Add", [proto.input[0], proto.input[1]], 1 if bias else wanted)[0]
    total = piece.node("Add", [total, bias], wanted)[0] if bias else total
    shift = [] if simplified or not _optional(proto, 3) else [proto.input[3]]
    kind = "RMSNormalization" if simplified else "LayerNormalization"
    epsilon = _real(node, "epsilon", 1e-5 if simplified else 1e-12)
    piece.node(kind, [total, proto.input[2], *shift], [proto.output[0]], epsilon=epsilon)


# --- products ---


def fused_matmul(piece: Piece, proto: Any, node: Node, inputs: Inputs) -> None:
    """A product of matrices that may be transposed, times alpha."""
    if node.integer("transBatchA", 0) or node.integer("transBatchB", 0):
        raise NotModelledError("it moves its batch axes (transBatchA, transBatchB)")
    names = [
        _turned(piece, name, value) if node.integer(key, 0) else name
        for name, value, key in zip(proto.input, inputs, ("transA", "transB"), strict=False)
    ]
    alpha = _real(node, "alpha", 1.0)
    made = piece.node("MatMul", names, [proto.output[0]] if alpha == 1 else 1)[0]
    if alpha != 1:
        piece.node("Mul", [made, piece.constant(np.float32(alpha))], [proto.output[0]])


def _turned(piece: Piece, name: str, value: Value | None) -> str:
    perm = list(range(len(_shape(value))))
    perm[-2:] = perm[:-3:-1]
    return str(piece.one("Transpose", name, perm=perm))


def fused_conv(piece: Piece, proto: Any, node: Node) -> None:
    """A convolution, a tensor added to it where there is one, and an activation."""
    name, kind = proto.input[0], _text(node, "activation", "")
    numbers = node.attributes.get("activation_params") or []
    keys = {"LeakyRelu": ("alpha",), "HardSigmoid": ("alpha", "beta"), "Clip": (), "Relu": (), "Sigmoid": (), "Tanh": ()}
    if kind and kind not in keys:
        raise NotModelledError(f"its activation is {kind!r:.40}")
    given = {k: v for k, v in node.attributes.items() if not k.startswith("activation")}
    added = _optional(proto, 3)
    last = [proto.output[0]]
    name = piece.node("Conv", [n for n in proto.input[:3] if n], 1 if added or kind else last, **given)[0]
    if added:
        name = piece.node("Add", [name, added], 1 if kind else last)[0]
    if kind:
        bounds = [piece.constant(np.float32(n)) for n in numbers] if kind == "Clip" else []
        piece.node(kind, [name, *bounds], last, **dict(zip(keys[kind], numbers, strict=False)))


def matmul_of_bits(file: OnnxFile, piece: Piece, proto: Any, node: Node) -> None:
    """MatMulNBits: weights of 2, 4 or 8 bits, out x blocks of in, each block with a scale and a zero point."""
    bits, out, features = (node.integer(key, default) for key, default in (("bits", 4), ("N", 0), ("K", 0)))
    block, packed = node.integer("block_size", 0), file.tensors.get(proto.input[1])
    if bits not in _NARROW or packed is None or block < 1 or features % block or out < 1:
        raise NotModelledError(f"its weights have {bits} bits, {features} inputs in blocks of {block}, or are computed")
    if prod(packed.dims) * 8 != out * features * bits:
        raise NotModelledError(f"its weights have the shape {list(packed.dims)}")
    if node.integer("weight_prepacked", 0):
        raise NotModelledError("its weights are packed for one processor (weight_prepacked)")
    if _optional(proto, 4):
        raise NotModelledError("its rows are reordered (g_idx)")
    weights = type(packed).FromString(packed.SerializeToString())
    weights.name, weights.data_type = f"{piece.prefix}weights", _NARROW[bits]
    weights.dims[:] = [out, features]
    piece.tensors.append(weights)
    scales = piece.one("Reshape", proto.input[2], piece.integers(out, features // block))
    zero = _zero_points(file, piece, _optional(proto, 3), bits, (out, features // block))
    wide = piece.one("DequantizeLinear", weights.name, scales, zero, axis=1, block_size=block)
    turned, bias = piece.one("Transpose", wide, perm=[1, 0]), _optional(proto, 5)
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


# --- transposed convolutions ---


def conv_transpose(piece: Piece, proto: Any, node: Node, inputs: Inputs, opset: int) -> None:
    """One product an input position, whose taps are added where they overlap; zeros between inputs are never made.

    So its MACs are C x K/groups x taps x positions of the input. Taps that are a stride apart make one image each.
    """
    shape, filters = _shape(inputs[0]), _shape(inputs[1])
    axes, groups = len(shape) - 2, node.integer("group", 1)
    if axes not in (1, 2) or len(filters) != axes + 2:
        raise NotModelledError(f"its window has {axes} axes over an input of shape {list(shape)}; one and two are modelled")
    if any(d != 1 for d in node.attributes.get("dilations") or []):
        raise NotModelledError(f"its window is dilated by {node.attributes['dilations']}")
    if opset < 11:
        raise NotModelledError(f"the model has opset {opset}; it is written out from 11 on")
    batch, size, taps = shape[0], list(shape[2:]), list(filters[2:])
    strides = list(node.attributes.get("strides") or [1] * axes)
    before, out = _extent(node, size, taps, strides)
    channels = filters[1] * groups
    weight = piece.one("Reshape", proto.input[1], piece.integers(groups, filters[0] // groups, filters[1] * prod(taps)))
    weight = piece.one("Transpose", weight, perm=[0, 2, 1])
    weight = piece.one("Reshape", weight, piece.integers(channels * prod(taps), filters[0] // groups, *[1] * axes))
    made = piece.one("Conv", proto.input[0], weight, group=groups)
    made = piece.one("Reshape", made, piece.integers(batch, channels, *taps, *size))
    parts = [ceil_div(tap, stride) for tap, stride in zip(taps, strides, strict=True)]
    short = [n * s - tap for n, s, tap in zip(parts, strides, taps, strict=True)]
    if any(short):
        made = piece.one("Pad", made, piece.integers(*[0] * (4 + 2 * axes), *short, *[0] * axes))
    total, whole = _overlapped(piece, made, (batch, channels), size, strides, parts)
    total = _cropped(piece, total, whole, before, out)
    if bias := _optional(proto, 2):
        total = piece.one("Add", total, piece.one("Reshape", bias, piece.integers(channels, *[1] * axes)))
    piece.give([total], proto.output)


def _extent(node: Node, size: list[int], taps: list[int], strides: list[int]) -> tuple[list[int], list[int]]:
    """Where the output begins in all that the taps reach, and its size, an axis each."""
    axes, mode = len(size), _text(node, "auto_pad", "NOTSET")
    pads = list(node.attributes.get("pads") or [0] * (2 * axes))
    more = list(node.attributes.get("output_padding") or [0] * axes)
    full = [s * (n - 1) + tap + m for s, n, tap, m in zip(strides, size, taps, more, strict=True)]
    out = node.attributes.get("output_shape")
    if mode in ("SAME_UPPER", "SAME_LOWER"):
        out = out or [n * s for n, s in zip(size, strides, strict=True)]
    elif mode == "VALID":
        pads = [0] * (2 * axes)
    if not out:
        return pads[:axes], [f - a - b for f, a, b in zip(full, pads[:axes], pads[axes:], strict=True)]
    lost = [f - o for f, o in zip(full, out[-axes:], strict=True)]
    if min(lost) < 0:
        raise NotModelledError(f"its output_shape is {list(out)}, larger than what its taps reach, {full}")
    return [n // 2 if mode == "SAME_UPPER" else n - n // 2 for n in lost], list(out[-axes:])


def _overlapped(
    piece: Piece, made: str, outer: tuple[int, int], size: list[int], strides: list[int], parts: list[int]
) -> tuple[str, list[int]]:
    """The sum of the images that taps a stride apart make, each shifted by a stride more; and its size."""
    axes, whole = len(size), [s * (n + p - 1) for s, n, p in zip(strides, size, parts, strict=True)]
    pairs = [n for pair in zip(parts, strides, strict=True) for n in pair]
    made = piece.one("Reshape", made, piece.integers(*outer, *pairs, *size))
    perm = [0, 1, *(place for axis in range(axes) for place in (2 + axes + axis, 2 + axis))]
    images = []
    for place in product(*(range(n) for n in parts)):
        one = made
        for axis, index in enumerate(place):
            one = piece.one("Gather", one, piece.constant(np.int64(index)), axis=2 + axis)
        one = piece.one("Transpose", one, perm=perm)
        one = piece.one("Reshape", one, piece.integers(*outer, *(n * s for n, s in zip(size, strides, strict=True))))
        begin = [s * i for s, i in zip(strides, place, strict=True)]
        end = [s * (n - 1 - i) for s, n, i in zip(strides, parts, place, strict=True)]
        images.append(piece.one("Pad", one, piece.integers(0, 0, *begin, 0, 0, *end)) if any(begin + end) else one)
    total = images[0]
    for image in images[1:]:
        total = piece.one("Add", total, image)
    return total, whole


def _cropped(piece: Piece, total: str, whole: list[int], before: list[int], out: list[int]) -> str:
    ends = [b + o for b, o in zip(before, out, strict=True)]
    beyond = [max(0, end - n) for end, n in zip(ends, whole, strict=True)]
    if any(beyond):
        total = piece.one("Pad", total, piece.integers(*[0] * (len(out) + 4), *beyond))
    if any(before) or any(end < n for end, n in zip(ends, whole, strict=True)):
        axes = piece.integers(*range(2, 2 + len(out)))
        total = piece.one("Slice", total, piece.integers(*before), piece.integers(*ends), axes)
    return total
