"""Scales and zero points in an ONNX graph: whose they are, whether two are the same, and what a tensor is quantized to."""

from __future__ import annotations

from collections.abc import Mapping
from fractions import Fraction

import numpy as np

from accelsim.frontends._onnx_call import Call, Tensor, Value
from accelsim.frontends._onnx_model import (
    INTEGERS,
    UINT8,
    Array,
    Constant,
    Node,
    OnnxFile,
    Scales,
    number_format,
)
from accelsim.workload.network import Requantize
from accelsim.workload.precision import NumberFormat

_THROUGH = frozenset(
    ["Relu", "LeakyRelu", "PRelu", "Elu", "Sigmoid", "HardSigmoid", "Tanh", "HardSwish", "Clip", "Gelu"]
)


def qdq_scales(node: Node) -> Scales:
    """Those of a QuantizeLinear or DequantizeLinear."""
    names = (*node.inputs, "", "")
    return Scales(names[1], names[2], node.integer("axis", 1))


def read_scales(call: Call) -> tuple[Scales | None, ...]:
    """Scales of the tensors that a QLinear operator reads, without those of its constants."""
    pairs = zip(call.inputs, call.node.scales, strict=False)
    return tuple(scales for value, scales in pairs if isinstance(value, Tensor))


class ScaleTable:
    """The scales of one model, whose constants are in ``values``."""

    def __init__(self, file: OnnxFile, values: Mapping[str, Value]) -> None:
        self._file = file
        self._values = values

    def zero_point_elem(self, node: Node) -> int:
        """Element type that a QuantizeLinear makes: its zero point's, or its attribute's, or uint8."""
        zero_point = self._values.get(node.inputs[2]) if len(node.inputs) > 2 else None
        if isinstance(zero_point, Constant):
            return zero_point.elem
        return node.integer("output_dtype", 0) or UINT8

    def same(self, first: Scales | None, second: Scales | None) -> bool:
        """Whether two pairs of constants are the same numbers."""
        if first is None or second is None:
            return False
        pairs = ((first.scale, second.scale), (first.zero_point, second.zero_point))
        return all(a == b or self._equal(a, b) for a, b in pairs)

    def _equal(self, first: str, second: str) -> bool:
        a, b = (self._small(name) for name in (first, second))
        return a is not None and b is not None and bool(np.array_equal(a, b))

    def _small(self, name: str) -> Array | None:
        """The values of a constant in a row, 0 where there is none of that name."""
        value = self._values.get(name)
        if value is None:
            return np.zeros(1)
        return value.value.ravel() if isinstance(value, Constant) and value.value is not None else None

    def single(self, name: str) -> float | None:
        """The value of a constant that is one finite number."""
        value = self._values.get(name)
        if not isinstance(value, Constant) or value.value is None or value.value.size != 1:
            return None
        number = float(value.value.reshape(-1)[0])
        return number if np.isfinite(number) else None

    def zero_of(self, value: Value | None) -> int:
        """The integer that stands for zero in ``value``: 0 for floats and where nothing says otherwise."""
        if not isinstance(value, Tensor) or value.scales is None or value.elem not in INTEGERS:
            return 0
        return int(self.single(value.scales.zero_point) or 0)

    def sink(self, name: str) -> tuple[NumberFormat | None, Scales | None]:
        """What a float tensor is quantized to before anyone reads it, activations in between left aside."""
        for _ in range(8):
            readers = self._file.readers.get(name, [])
            if name in self._file.outputs or not readers:
                break
            if all(r.op_type == "QuantizeLinear" for r in readers):
                return self._common(readers)
            if len(readers) != 1 or readers[0].op_type not in _THROUGH:
                break
            name = readers[0].output[0]
        return None, None

    def _common(self, readers: list[object]) -> tuple[NumberFormat | None, Scales | None]:
        """What several QuantizeLinear make, where all make the same."""
        nodes = [self._file.node(reader, "") for reader in readers]
        pairs = [qdq_scales(node) for node in nodes]
        if not all(self.same(pairs[0], pair) for pair in pairs):
            return None, None
        zero_point = self._file.elem_of(nodes[0].inputs[2]) if len(nodes[0].inputs) > 2 else None
        elem = zero_point or nodes[0].integer("output_dtype", 0) or UINT8
        return number_format(elem), pairs[0]

    def requantize(self, call: Call) -> Requantize:
        """The output rule of a QLinear product where `Requantize` can say it exactly: a whole multiplier.

        Otherwise ONNX rounds half to even and `Requantize` half away from zero, or zero points are left over;
        the rule by size stands then, and the scales are in `initializers`.
        """
        node = call.node
        if node.kind not in ("QLinearConv", "QLinearMatMul") or node.out_scales is None:
            return Requantize()
        pairs = [scales for scales in (*node.scales, node.out_scales) if scales is not None]
        scale, zero = ([self.single(getattr(pair, key)) for pair in pairs] for key in ("scale", "zero_point"))
        if None in scale or any(z is None or z for z in zero[:2]) or zero[2] is None or not scale[2]:
            return Requantize()
        factor = Fraction(scale[0] or 0) * Fraction(scale[1] or 0) / Fraction(scale[2])
        exact = factor.denominator == 1 and 0 < factor < 2**31
        return Requantize(int(factor), 0, int(zero[2])) if exact else Requantize()
