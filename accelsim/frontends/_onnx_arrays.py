"""Weights, biases, scales and zero points of an ONNX model's layers, fetched when values are wanted."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace

import numpy as np

from accelsim.frontends._onnx_call import Scalar, Value
from accelsim.frontends._onnx_model import Array, Constant, OnnxFile, Scales, first_line


@dataclass(frozen=True)
class Quantization:
    """Scale and zero point of a tensor: one of each, or one a channel (along ``axis``); ``dynamic``: not constants."""

    scale: Array | None
    zero_point: Array | None
    axis: int
    dynamic: bool = False


@dataclass(frozen=True)
class LayerArrays:
    """The numbers of one layer, as the file holds them (integers stay integers).

    Layouts are those of interface.md: convolution K x C/G x R x S, linear out x in, matmul K x N; a recurrent
    layer has ONNX's own (directions first). ``inputs`` and ``output`` are quantizations; ``operand`` is the constant of
    a sum, a product or a prelu, its axes those of the layer's output; ``more`` has what is left, such as a batch
    normalization's ``scale``, ``shift``, ``mean`` and ``variance``. ``on_integers``: what it reads are numbers of a
    type of integers, not what those stand for; ``qlinear``: the file has a QLinear operator, no float one;
    ``transposed``: it has the weights as in x out; ``held``: the input that it reads, where that is a constant;
    ``unknown``: it reads a single number that is no constant and no layer's.
    """

    weight: Array | None = None
    bias: Array | None = None
    weight_quantization: Quantization | None = None
    inputs: tuple[Quantization | None, ...] = ()
    output: Quantization | None = None
    more: Mapping[str, Array] = field(default_factory=dict)
    bias_quantization: Quantization | None = None
    operand: Array | None = None
    operand_quantization: Quantization | None = None
    on_integers: bool = False
    qlinear: bool = False
    transposed: bool = False
    held: Array | None = None
    unknown: bool = False


@dataclass(frozen=True)
class ArrayNames:
    """Which constants of the file a layer's numbers are; ``transposed``: the file has weights as in x out."""

    weight: Constant | None = None
    transposed: bool = False
    bias: Constant | None = None
    inputs: tuple[Scales | None, ...] = ()
    output: Scales | None = None
    more: Mapping[str, Constant] = field(default_factory=dict)
    operand: Constant | None = None
    operand_shape: tuple[int, ...] = ()
    on_integers: bool = False
    qlinear: bool = False
    epsilon: float | None = None  # of a batch normalization
    held: Constant | None = None  # the values of an input of the graph that is a constant of the model
    batch_axis: int = 0  # of those
    unknown: bool = False  # it reads a number that is no constant and no layer's


def dequantized(values: Array, scales: Quantization | None, axis: int) -> Array:
    """The float32 that integers stand for; scales one a channel lie along ``axis``."""
    if scales is None or scales.scale is None or values.dtype.kind == "f":
        return values.astype(np.float32)
    zero = np.zeros(1, np.int64) if scales.zero_point is None else scales.zero_point.astype(np.int64).ravel()
    shape = tuple(-1 if place == axis % values.ndim else 1 for place in range(values.ndim))
    points, factors = (x.reshape(shape) if x.size > 1 else x for x in (zero, scales.scale.astype(np.float32).ravel()))
    return np.asarray((values.astype(np.int64) - points).astype(np.float32) * factors, np.float32).reshape(values.shape)


class ArrayReader:
    """Looks up, and where need be computes, constants of any size."""

    def __init__(self, file: OnnxFile, values: Mapping[str, Value], given: Collection[str] = ()) -> None:
        self._file = file
        self._values = values
        self._given = given  # constants that the caller has: they come in as inputs of the graph

    def layer(self, names: ArrayNames) -> LayerArrays:
        """Fetch the numbers of one layer."""
        weight = self._array(names.weight)
        if weight is not None and names.transposed:
            weight = weight.reshape(weight.shape[-2:]).T
        held = self._array(names.held)
        more = {key: self._number(constant) for key, constant in names.more.items()}
        if names.epsilon is not None:
            more["epsilon"] = np.asarray(names.epsilon)
        operand = self._array(names.operand)
        return LayerArrays(
            weight=weight,
            bias=self._array(names.bias),
            weight_quantization=self._quantization_of(names.weight),
            inputs=tuple(self._quantization(scales) for scales in names.inputs),
            output=self._quantization(names.output),
            more=more,
            bias_quantization=self._quantization_of(names.bias),
            operand=None if operand is None else operand.reshape(names.operand_shape),
            on_integers=names.on_integers,
            unknown=names.unknown,
            qlinear=names.qlinear,
            transposed=names.transposed,
            operand_quantization=self._quantization_of(names.operand),
            held=None if held is None else np.moveaxis(held, names.batch_axis, 0),
        )

    def _number(self, constant: Constant) -> Array:
        """A constant as the floats that it stands for."""
        values, scales = self.evaluate(constant.name).reshape(constant.shape), self._quantization(constant.scales)
        return values if scales is None else dequantized(values, scales, scales.axis)

    def _array(self, constant: Constant | None) -> Array | None:
        """The stored numbers of a constant, floats times its factor; None where the caller has them."""
        if constant is None or constant.name in self._given:
            return None
        values = self.evaluate(constant.name).reshape(constant.shape)
        return values if constant.factor == 1 or values.dtype.kind != "f" else values * values.dtype.type(constant.factor)

    def _quantization_of(self, constant: Constant | None) -> Quantization | None:
        """The scales of a constant; those of integers have its factor."""
        found = None if constant is None else self._quantization(constant.scales)
        if found is None or found.scale is None or constant is None or constant.factor == 1:
            return found
        return replace(found, scale=found.scale * found.scale.dtype.type(constant.factor))

    def _quantization(self, scales: Scales | None) -> Quantization | None:
        if scales is None:
            return None
        known = [self._values.get(name) for name in (scales.scale, scales.zero_point)]
        scale, zero_point = (self._array(value) if isinstance(value, Constant) else None for value in known)
        return Quantization(scale, zero_point, scales.axis, any(isinstance(value, Scalar) for value in known))

    def evaluate(self, name: str) -> Array:
        """The values of a constant, whatever its size."""
        if name in self._file.tensors:
            return self._stored(name)
        known = self._values.get(name)
        if isinstance(known, Constant) and known.value is not None and known.name == name:
            return known.value
        maker = self._file.makers.get(name)
        if maker is None:
            raise self._file.fail("its values are not in the file", f'constant "{name}"')
        node = self._file.node(maker, name)
        try:
            if node.op == "Constant":
                return self._file.constant_value(node)
            arrays = self._file.fold(node, [self.evaluate(n) if n else None for n in node.inputs])
        except ValueError as error:
            raise self._file.fail(str(error), node.label) from None
        return arrays[[n for n in node.outputs if n].index(name)]

    def _stored(self, name: str) -> Array:
        try:
            return self._file.array(self._file.tensors[name])
        except Exception as error:  # a missing external file, or bytes that do not fit the shape
            message = f"its values cannot be read: {first_line(error)}"
            raise self._file.fail(message, f'initializer "{name}"') from None
