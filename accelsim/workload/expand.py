"""A convolution with an algorithm becomes the three layers that do it: Network -> Network, before anything is mapped.

``conv1`` with ``algorithm: winograd_f2x2`` becomes ``conv1_input`` (`TransformInput`, on the vector unit), ``conv1_gemm``
(a 1 x 1 convolution of a group a plane: one product of matrices each), and ``conv1`` (`TransformOutput`), whose output is
the convolution's. So every engine runs it, and its work, traffic and energy are counted as any other layer's. Weights are
transformed before the network starts: what is fetched are the transformed ones.

Formats: transformed inputs and weights of integers have the fewest bits that hold every value which they can have, sums as
many as they can need (whole bytes, and no fewer than the layer's own accumulators); those of floats are the layer's.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from math import prod
from typing import NamedTuple

from accelsim.errors import Fault, InputError
from accelsim.units import ceil_div
from accelsim.workload.algorithms import Algorithm, Fast, tile_counts, transforms_of
from accelsim.workload.fixed_point import default_shift, reduction_length
from accelsim.workload.network import (
    Layer,
    LayerSketch,
    Network,
    Odds,
    Quantization,
    Requantize,
    Transformed,
    sketch_of,
)
from accelsim.workload.ops import Conv2d, TransformInput, TransformOutput
from accelsim.workload.precision import NumberFormat, Precision
from accelsim.workload.winograd import Winograd

MOST_BITS = 62  # of a sum, so that 64 bits hold what the output's transform makes of it


class Parts(NamedTuple):
    """Names of the layers that a convolution with an algorithm becomes; the last is its own."""

    input: str
    gemm: str
    output: str


def parts_of(layer: Layer) -> Parts | None:
    """The names of ``layer``'s parts; None where it stays one layer."""
    if not isinstance(layer.op, Conv2d) or layer.op.algorithm == "direct":
        return None
    return Parts(f"{layer.name}_input", f"{layer.name}_gemm", layer.name)


def product_macs(layer: Layer) -> int:
    """MACs that are really done: of a convolution by an algorithm those of its products."""
    if parts_of(layer) is None:
        return layer.macs
    assert isinstance(layer.op, Conv2d)
    planes, (batch, k, *outputs) = transforms_of(layer.op.algorithm).planes, layer.output_shapes[0]
    tiles = prod(tile_counts(layer.op.algorithm, (layer.op.R, layer.op.S), (outputs[0], outputs[1])))
    return batch * planes * tiles * k * layer.input_shapes[0][1]


def with_algorithm(sketch: LayerSketch, algorithm: Algorithm) -> LayerSketch:
    """The layer with that algorithm if it is a convolution that it suits, else as it is."""
    if not isinstance(sketch.op, Conv2d) or sketch.op.unsuited(algorithm):
        return sketch
    return replace(sketch, op=sketch.op.model_copy(update={"algorithm": algorithm}))


def unused(network: Network, algorithm: str) -> list[str]:
    """A note where an algorithm that was asked for suits no convolution, and so changes nothing."""
    ops = [layer.op for layer in network.layers if isinstance(layer.op, Conv2d)]
    if algorithm == "direct" or any(op.algorithm != "direct" for op in ops):
        return []
    return [f"{algorithm} suits none of the {len(ops)} convolutions of {network.name}: they run directly"]


def expanded(network: Network) -> tuple[Network, list[str]]:
    """``network`` with every algorithm of convolution written out, and a note about what runs how.

    Raises `InputError` for numbers that an algorithm is not for, and for names of parts that are taken.
    """
    chosen = {layer.name: parts for layer in network.layers if (parts := parts_of(layer))}
    if not chosen:
        return network, []
    faults = _taken(network, chosen.values())
    sketches: list[LayerSketch] = []
    for layer in network.layers:
        try:
            sketches += _written_out(layer, chosen[layer.name]) if layer.name in chosen else [sketch_of(layer)]
        except ValueError as error:
            faults.append(Fault(network.name, f"{layer.name}.algorithm", str(error)))
    if faults:
        raise InputError(faults)
    return network.with_sketches(sketches), _notes(network, chosen)


def _taken(network: Network, chosen: Iterable[Parts]) -> list[Fault]:
    known = {layer.name for layer in network.layers} | set(network.inputs)
    return [
        Fault(
            network.name, name, f"is already taken: the algorithm of {parts.output} needs it; give that layer another"
        )
        for parts in chosen
        for name in parts[:2]
        if name in known
    ]


def _notes(network: Network, chosen: dict[str, Parts]) -> list[str]:
    convolutions = [layer for layer in network.layers if isinstance(layer.op, Conv2d)]
    by_algorithm: dict[str, list[str]] = {}
    for layer in convolutions:
        assert isinstance(layer.op, Conv2d)
        by_algorithm.setdefault(layer.op.algorithm, []).append(layer.name)
    direct = by_algorithm.pop("direct", [])
    words = [f"{len(names)} as {name}" for name, names in by_algorithm.items()]
    left = f"; directly: {', '.join(direct[:4])}{', ...' if len(direct) > 4 else ''} ({len(direct)})" if direct else ""
    return [f"{len(chosen)} of {len(convolutions)} convolutions run by an algorithm: {', '.join(words)}{left}"]


# ---- one layer -------------------------------------------------------------------------------------------------------


class _Formats(NamedTuple):
    """Formats of the transformed input and weights, and of the sums of their products."""

    input: NumberFormat
    weight: NumberFormat
    sums: NumberFormat


def _written_out(layer: Layer, parts: Parts) -> list[LayerSketch]:
    formats = _formats(layer)
    return [_input(layer, parts, formats), _gemm(layer, parts, formats), _output(layer, parts, formats)]


def _input(layer: Layer, parts: Parts, formats: _Formats) -> LayerSketch:
    op, scales = layer.op, layer.quantization.inputs
    assert isinstance(op, Conv2d)
    transform = TransformInput(
        algorithm=_fast(op), R=op.R, S=op.S, pad=op.pad,
        zero_point=scales[0].zero_point if scales and _is_integer(layer) else 0,
    )  # fmt: skip
    precision = layer.precision.model_copy(update={"accumulator": formats.input, "output": formats.input})
    sources = tuple(str(ref) for ref in layer.inputs)
    return LayerSketch(parts.input, transform, sources, precision, input_values=layer.input_values, odds=_gate(layer))


def _gemm(layer: Layer, parts: Parts, formats: _Formats) -> LayerSketch:
    op = layer.op
    assert isinstance(op, Conv2d)
    planes = transforms_of(op.algorithm).planes
    product = Conv2d(K=planes * layer.output_shapes[0][1], R=1, S=1, groups=planes, bias=False)
    precision = Precision(weight=formats.weight, input=formats.input, accumulator=formats.sums, output=formats.sums)
    exact = Requantize(shift=0) if layer.states_scales else Requantize()  # bare sums: both say so, one aloud
    source = Transformed(spatial=layer)
    return LayerSketch(parts.gemm, product, (parts.input,), precision, source, requantize=exact, odds=_gate(layer))


def _output(layer: Layer, parts: Parts, formats: _Formats) -> LayerSketch:
    op, (_, _, p, q) = layer.op, layer.output_shapes[0]
    assert isinstance(op, Conv2d)
    gather = TransformOutput(
        algorithm=_fast(op), R=op.R, S=op.S, P=p, Q=q, integers=_is_integer(layer), bias=op.bias
    )  # fmt: skip
    precision = layer.precision.model_copy(update={"input": formats.sums})
    return LayerSketch(
        parts.output, gather, (parts.gemm,), precision, bias=layer.bias,
        requantize=replace(layer.requantize, shift=_shift(layer)),
        quantization=Quantization(output=layer.quantization.output), odds=layer.odds,
    )  # fmt: skip


def _gate(layer: Layer) -> Odds:
    """All parts run together; inputs leave after the last."""
    return Odds(gate=layer.odds.gate)


def _fast(op: Conv2d) -> Fast:
    assert op.algorithm != "direct"
    return op.algorithm


def _shift(layer: Layer) -> int | tuple[int, ...]:
    """The shift by which the convolution itself would make outputs of its accumulators."""
    own = layer.precision
    if layer.requantize.shift is not None:
        return layer.requantize.shift
    if own.output == own.accumulator or not (_is_integer(layer) and own.output.is_integer):
        return 0
    return default_shift(own, reduction_length(layer))


# ---- formats ---------------------------------------------------------------------------------------------------------


def _is_integer(layer: Layer) -> bool:
    return layer.precision.weight.is_integer


def _formats(layer: Layer) -> _Formats:
    """Raises ValueError for numbers that the layer's algorithm is not for."""
    op, own = layer.op, layer.precision
    assert isinstance(op, Conv2d)
    if own.weight.is_integer != own.input.is_integer:
        raise ValueError(
            f"{op.algorithm} is for integers or for floats, not {own.weight} weights and {own.input} inputs"
        )
    if not own.weight.is_integer:
        return _Formats(own.input, own.weight, own.accumulator)
    algorithm = transforms_of(op.algorithm)
    if not isinstance(algorithm, Winograd):
        raise ValueError(
            f"{op.algorithm} is for floats, not {own.weight} weights and {own.input} inputs: a spectrum has no exact "
            "integers; take winograd_f2x2 or direct, or float precisions"
        )
    scales = layer.quantization
    inputs = algorithm.input_range(_range(own.input, scales.inputs[0].zero_point if scales.inputs else 0))
    weights = algorithm.weight_range(_range(own.weight, scales.weight_zero_point))
    return _Formats(_holding(inputs), _holding(weights), _sums(layer, max(map(abs, inputs)) * max(map(abs, weights))))


def _range(number: NumberFormat, zero_points: int | tuple[int, ...]) -> tuple[int, int]:
    """Least and greatest number of a format less its zero point, one or one a channel."""
    zeros = (zero_points,) if isinstance(zero_points, int) else zero_points
    return number.lowest - max(zeros), number.highest - min(zeros)


def _holding(values: tuple[int, int]) -> NumberFormat:
    """The narrowest signed format that holds a range."""
    return NumberFormat("int", max((~v if v < 0 else v).bit_length() for v in values) + 1)


def _sums(layer: Layer, product: int) -> NumberFormat:
    """The format of sums over the input channels of products of at most so much."""
    needed = (layer.input_shapes[0][1] * product).bit_length() + 1
    if needed > MOST_BITS:
        raise ValueError(f"needs sums of {needed} bits, at most {MOST_BITS} are simulated: choose narrower precisions")
    return NumberFormat("int", max(8 * ceil_div(needed, 8), layer.precision.accumulator.bits))
