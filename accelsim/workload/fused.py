"""8-bit tensors through onnxruntime's integer kernels, where those round otherwise than the float operator would.

Between DequantizeLinear and QuantizeLinear a runtime replaces an operator by a kernel on the integers (QLinearAdd and its
like). All is float32; ``round`` is half to even; ``s`` are scales, ``z`` zero points, ``y`` the output:

============== ===================================================================================================
add            round(fma(a, sa/sy, fma(b, sb/sy, zy - fma(za, sa/sy, sb/sy * zb))))
mul            round((a - za) * (b - zb) * (sa * sb / sy) + zy)
avgpool2d      round(mean of the numbers / sy + zy)
globalavgpool  round(sum of (a - za) * (sa / (sy * count))) + zy
softmax        integers: e = round(Q * exp((a - max) * sa)), Q the smaller of (2**32 - 1) / n and 2**23 - 1;
               (e * floor(1 / sy) + sum of e // 2) // sum of e + zy
============== ===================================================================================================

Where the zero point comes in before the rounding, a half goes to the other neighbour if the zero point is odd; with equal
scales such halves are frequent. Other operators agree with the float rule (measured: docs/how-to/onnx.md).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from accelsim.workload.fixed_point import Array, fused_multiply_add, rounded_to, saturate
from accelsim.workload.network import Affine, Layer
from accelsim.workload.ops import Softmax
from accelsim.workload.precision import NumberFormat

Operands = tuple[Array, ...]


def is_fused(layer: Layer, operands: Operands) -> bool:
    """Whether the operator runs on the integers themselves: 8 bits, one type throughout, every scale known."""
    scales, out = layer.quantization, layer.precision.output
    arity = _ARITY.get(layer.op.op)
    known = arity == len(operands) == len(scales.inputs) and scales.output is not None
    return known and scales.fused and out.is_integer and out.bits == 8 and all(x.dtype == out.storage for x in operands)


def has_kernel(name: str) -> bool:
    """Whether the operator of that name has such a kernel."""
    return name in _ARITY


def fused(layer: Layer, operands: Operands) -> Array | None:
    """The kernel's result; None for an average pool, whose numbers are the float rule's."""
    if layer.op.op == "softmax":
        return _softmax(operands, layer)
    kernel = _KERNELS.get(layer.op.op)
    output = layer.quantization.output
    assert output is not None
    return kernel(operands, layer.quantization.inputs, output, layer.precision.output) if kernel else None


def _add(operands: Operands, scales: tuple[Affine, ...], output: Affine, to: NumberFormat) -> Array:
    a, b = operands
    first, second = (np.float32(s.scale) / np.float32(output.scale) for s in scales)
    points = [np.float32(s.zero_point) for s in scales]
    taken = fused_multiply_add(points[0], first, second * points[1])
    return rounded_to(fused_multiply_add(a, first, fused_multiply_add(b, second, np.float32(output.zero_point) - taken)), to)


def _mul(operands: Operands, scales: tuple[Affine, ...], output: Affine, to: NumberFormat) -> Array:
    a, b = (x.astype(np.float32) - np.float32(s.zero_point) for x, s in zip(operands, scales, strict=True))
    factor = np.float32(scales[0].scale) * np.float32(scales[1].scale) / np.float32(output.scale)
    return rounded_to(a * b * factor + np.float32(output.zero_point), to)


def _global_mean(operands: Operands, scales: tuple[Affine, ...], output: Affine, to: NumberFormat) -> Array:
    image = operands[0]
    count = image.shape[2] * image.shape[3]
    total = image.sum(axis=(2, 3), keepdims=True, dtype=np.int64) - count * scales[0].zero_point
    factor = np.float32(scales[0].scale) / (np.float32(output.scale) * np.float32(count))
    return rounded_to(np.rint(total.astype(np.float32) * factor) + np.float32(output.zero_point), to)


def _softmax(operands: Operands, layer: Layer) -> Array:
    """The exponentials are a table of 32-bit integers."""
    op, output, to = layer.op, layer.quantization.output, layer.precision.output
    assert isinstance(op, Softmax)
    assert output is not None
    below = operands[0].astype(np.int64) - operands[0].max(axis=op.axis, keepdims=True)
    largest = min((2**32 - 1) / below.shape[op.axis], 2**23 - 1)
    steps = np.arange(-255, 1) * float(np.float32(layer.quantization.inputs[0].scale))
    parts = np.floor(largest * np.exp(steps) + 0.5).astype(np.int64)[below + 255]
    whole = parts.sum(axis=op.axis, keepdims=True)
    inverse = int(np.float32(1) / np.float32(output.scale))
    return saturate((parts * inverse + whole // 2) // whole + output.zero_point, to)


_ARITY = {"add": 2, "mul": 2, "avgpool2d": 1, "globalavgpool": 1, "softmax": 1}
_KERNELS: dict[str, Callable[[Operands, tuple[Affine, ...], Affine, NumberFormat], Array]] = {
    "add": _add, "mul": _mul, "globalavgpool": _global_mean,
}  # fmt: skip
