"""The quantize pass: a float network becomes integers throughout, its scales chosen on calibration data.

Every tensor gets a scale and a zero point; what only moves or compares numbers keeps its input's, a rectifier's are
its producer's too (so that saturation does its work). A layer with MACs computes
``saturate(round(sum((x - zx) * (w - zw)) + bias) * multiplier / 2**shift) + zy)``, in integers alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from accelsim.compression.arrays import (
    Array,
    bias_of,
    codebook_of,
    held_dense,
    held_values,
    is_trained,
    weight_of,
    with_layers,
)
from accelsim.compression.float_run import run_on
from accelsim.compression.integers import IntegerWeights, WeightRule, best_radix, quantize_weights
from accelsim.compression.ranges import Method, choose_range
from accelsim.errors import Fault, InputError
from accelsim.workload.fixed_point import fixed_rule
from accelsim.workload.network import Affine, Layer, Network, Quantization, Rounding, TensorRef
from accelsim.workload.ops import (
    Activation,
    BatchNorm,
    Embedding,
    GlobalPool,
    LocallyConnected2d,
    Matmul,
    Pool2d,
    Recurrent,
    Reshape,
    Slice,
    Softmax,
    Split,
    Take,
    Transpose,
    Upsample,
)
from accelsim.workload.precision import NumberFormat, Precision

_MOVES = (BatchNorm, Reshape, Slice, Split, Take, Transpose, Upsample)
_INT32 = NumberFormat("int", 32)


@dataclass(frozen=True)
class ActivationRule:
    """How activations become integers: ``kind`` affine, symmetric (zero point 0) or fixed (scale 2**-f)."""

    kind: str = "affine"
    bits: int = 8
    signed: bool = False
    range: Method = "minmax"
    percentile: float = 99.9

    def format_for(self, values: Array) -> NumberFormat:
        """Unsigned integers where asked for, if a zero point or the values themselves leave no negative ones."""
        signed = self.signed or (self.kind != "affine" and float(values.min()) < 0)
        return NumberFormat("int" if signed else "uint", self.bits)


@dataclass(frozen=True)
class QuantizeRule:
    """What the pass does; ``weights`` and ``activations`` of single layers stand in ``by_layer``."""

    weights: WeightRule = field(default_factory=WeightRule)
    activations: ActivationRule = field(default_factory=ActivationRule)
    by_layer: Mapping[str, tuple[WeightRule, ActivationRule]] = field(default_factory=dict)
    rounding: Rounding = "even"

    def of(self, name: str) -> tuple[WeightRule, ActivationRule]:
        return self.by_layer.get(name, (self.weights, self.activations))


def quantize(network: Network, rule: QuantizeRule, data: Array) -> Network:
    """The integer network of a float one; ``data`` (samples first) calibrates the activations' ranges."""
    if not len(data):
        raise InputError(Fault("calibration", "", "has no samples; ranges of activations need at least one"))
    _refuse_operators(network)
    tensors = _Tensors(network, rule, _observed(network, data))
    changes = {layer.name: _quantized_layer(layer, rule, tensors) for layer in network.layers}
    return with_layers(network, changes)


def _refuse_operators(network: Network) -> None:
    faults = [
        Fault(network.name, layer.name, f"a {layer.op.op} layer has no quantized form here")
        for layer in network.layers
        if isinstance(layer.op, Recurrent | Embedding)
    ]
    if faults:
        raise InputError(faults)


def _observed(network: Network, data: Array) -> dict[TensorRef, Array]:
    """Every tensor's values on the calibration data."""
    outputs = run_on(network, data)
    table: dict[TensorRef, Array] = {TensorRef(next(iter(network.inputs))): data}
    for name, arrays in outputs.items():
        table |= {TensorRef(name, port): array for port, array in enumerate(arrays)}
    return table


class _Tensors:
    """The format and scale of every tensor."""

    def __init__(self, network: Network, rule: QuantizeRule, observed: Mapping[TensorRef, Array]) -> None:
        self.rule, self.observed = rule, observed
        self.readers = network.consumers()
        self.layers = {layer.name: layer for layer in network.layers}
        self.known: dict[TensorRef, tuple[Affine, NumberFormat]] = {}

    def of(self, ref: TensorRef) -> tuple[Affine, NumberFormat]:
        if ref not in self.known:
            source = self._same_as(ref)
            self.known[ref] = self.of(source) if source is not None else self._chosen(ref)
        return self.known[ref]

    def _same_as(self, ref: TensorRef) -> TensorRef | None:
        """The tensor whose scale this one takes over, if it has none of its own."""
        layer = self.layers.get(ref.source)
        readers = self.readers[ref]
        follows = self.layers[readers[0]] if len(readers) == 1 else None
        if follows is not None and is_rectifier(follows) and layer is not None and not keeps_scale(layer):
            return TensorRef(follows.name)
        if layer is None or not keeps_scale(layer):
            return None
        produced_for = self.readers[layer.inputs[0]]
        if is_rectifier(layer) and len(produced_for) == 1 and not self._ends_in_move(layer.inputs[0]):
            return None  # the rectifier's own range counts, and its producer's is the same
        return layer.inputs[0]

    def _ends_in_move(self, ref: TensorRef) -> bool:
        layer = self.layers.get(ref.source)
        return layer is None or keeps_scale(layer)

    def _chosen(self, ref: TensorRef) -> tuple[Affine, NumberFormat]:
        layer = self.layers.get(ref.source)
        rule, values = self.rule.of(ref.source)[1], self.observed[ref]
        out = rule.format_for(values)
        if layer is not None and isinstance(layer.op, Softmax):
            return Affine(1 / (1 << out.bits), out.lowest), out
        return choose_affine(values, rule, str(ref)), out


def keeps_scale(layer: Layer) -> bool:
    """Whether a layer's output has its input's scale: it moves, compares or averages numbers, no more."""
    return isinstance(layer.op, (*_MOVES, Pool2d, GlobalPool)) or is_rectifier(layer)


def is_rectifier(layer: Layer) -> bool:
    """Whether saturation at zero does a layer's work, once its producer has its scale."""
    return isinstance(layer.op, Activation) and layer.op.op in ("relu", "relu6")


def choose_affine(values: Array, rule: ActivationRule, name: str) -> Affine:
    """Scale and zero point of an activation; `InputError` where the scale would be zero or no number."""
    out = rule.format_for(values)
    if not np.isfinite(values).all():
        raise InputError(Fault("calibration", name, "has values that are not finite numbers"))
    if rule.kind == "fixed":
        return Affine(2.0 ** -best_radix(values, NumberFormat("int", rule.bits + (out.kind == "uint"))))
    symmetric = rule.kind == "symmetric" and out.kind == "int"
    low, high = choose_range(values, rule.bits, rule.range, rule.percentile, symmetric)
    steps = out.highest - out.lowest if not symmetric else 2 * out.highest
    scale = float(np.float32((high - low) / steps))
    if not scale > 0:
        raise InputError(
            Fault("calibration", name, "has a scale of zero: all its values on the calibration data are 0")
        )
    if rule.kind == "symmetric":
        return Affine(scale)
    return Affine(scale, int(np.clip(np.rint(out.lowest - low / scale), out.lowest, out.highest)))


# ---- layers ------------------------------------------------------------------------------------------------------


def _quantized_layer(layer: Layer, rule: QuantizeRule, tensors: _Tensors) -> dict[str, Any]:
    """What changes in one layer."""
    inputs = [tensors.of(ref) for ref in layer.inputs]
    output, out_format = tensors.of(TensorRef(layer.name))
    scales = tuple(scale for scale, _ in inputs)
    if not layer.macs:
        precision = Precision(weight=NumberFormat("int", 8), input=inputs[0][1], accumulator=_INT32, output=out_format)
        plain = _needs_no_scale(layer, scales, output)
        return {"precision": precision, "quantization": Quantization() if plain else Quantization(scales, 0, output)}
    if not is_trained(layer):
        return _product(inputs, output, out_format, rule)
    return _weighted(layer, inputs[0], output, out_format, rule)


def _needs_no_scale(layer: Layer, inputs: tuple[Affine, ...], output: Affine) -> bool:
    """Whether the integers alone give the right result: nothing is added up, and zero is zero."""
    averages = layer.op.op in ("avgpool2d", "globalavgpool", "relu6")
    return keeps_scale(layer) and not averages and {*inputs} == {output} and output.zero_point == 0


def _product(
    inputs: list[tuple[Affine, NumberFormat]], output: Affine, out: NumberFormat, rule: QuantizeRule
) -> dict[str, Any]:
    """A product of two activations."""
    (first, a), (second, b) = inputs
    requantize = fixed_rule(np.array(first.scale * second.scale), output, rule.rounding)
    return {
        "precision": Precision(weight=b, input=a, accumulator=_INT32, output=out),
        "requantize": requantize,
        "quantization": Quantization((first, second), 0, output),
    }


def _weighted(
    layer: Layer, source: tuple[Affine, NumberFormat], output: Affine, out: NumberFormat, rule: QuantizeRule
) -> dict[str, Any]:
    """A layer with weights: integers, their scales, an int32 bias, the rule that makes outputs."""
    into, format = source
    axis = channel_axis(layer)
    integers, held = _integer_source(layer, rule.of(layer.name)[0], axis)
    changes: dict[str, Any] = {
        "precision": Precision(weight=integers.format, input=format, accumulator=_INT32, output=out),
        "weight": held,
        "requantize": fixed_rule(np.float32(into.scale) * integers.scale, output, rule.rounding),
        "quantization": Quantization((into,), _plain(integers.zero_point), output),
    }
    if layer.bias is not None:
        changes["bias"] = held_dense(integer_bias(bias_of(layer), into.scale, integers.scale, layer.name))
    return changes


def channel_axis(layer: Layer) -> int:
    """The axis of the weights that is the output channel."""
    if isinstance(layer.op, LocallyConnected2d):
        return 2
    return 1 if isinstance(layer.op, Matmul) and not layer.op.transpose_b else 0


def _integer_source(layer: Layer, rule: WeightRule, axis: int) -> tuple[IntegerWeights, Any]:
    """Integer weights, and the source that holds them; shared weights stay shared, by the same codes."""
    shared = codebook_of(layer.weight)
    if shared is not None:
        if rule.per_channel or rule.kind not in ("symmetric", "fixed"):
            message = (
                f"is {rule.kind}{' per channel' if rule.per_channel else ''}; weights of a codebook take symmetric"
            )
            raise InputError(Fault(layer.name, "weights", f"{message} or fixed, per tensor"))
        codes, values = shared
        book = quantize_weights(values, rule)
        return book, held_values(codes.astype(np.uint16), book.values.astype(np.int32))
    integers = quantize_weights(weight_of(layer), rule, axis)
    if not integers.codebook:
        return integers, held_values(integers.values.astype(integers.format.storage))
    values, codes = np.unique(integers.values, return_inverse=True)
    order = np.argsort(values != 0, kind="stable")  # zero first, as sparse engines want it
    codes = np.argsort(order, kind="stable")[codes].reshape(integers.values.shape)
    return integers, held_values(codes.astype(np.uint8), values[order].astype(np.int32))


def _plain(numbers: Array) -> int | tuple[int, ...]:
    """Numbers as `Requantize` and `Quantization` hold them: one, where all are the same."""
    flat = np.unique(numbers)
    return int(flat[0]) if len(flat) == 1 else tuple(int(n) for n in np.ravel(numbers))


def integer_bias(bias: Array, input_scale: float, weight_scale: Array, name: str) -> Array:
    """``round(bias / (input scale * weight scale))`` as int32, half to even."""
    values = np.rint(bias.astype(np.float64) / (np.float64(input_scale) * weight_scale.astype(np.float64)))
    if (np.abs(values) > _INT32.highest).any():
        raise InputError(Fault(name, "bias", "does not fit 32 bits at this scale; give the layer more bits"))
    return values.astype(np.int64)
