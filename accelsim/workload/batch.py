"""A batch in parts: the same network for a part of the images, and what its runs make together."""

from __future__ import annotations

from dataclasses import replace
from math import isqrt

from accelsim.workload.network import GraphError, Layer, Network
from accelsim.workload.ops import Elementwise, Matmul


def part_of(network: Network, parts: int) -> Network | None:
    """``network`` for one of ``parts`` equal parts of its batch; None where images cannot be told apart so."""
    if network.batch % parts or any(mixes_images(layer) for layer in network.layers):
        return None
    try:
        smaller = network.with_batch(network.batch // parts)
    except GraphError:
        return None
    pairs = list(zip(network.layers, smaller.layers, strict=False))
    if len(smaller.layers) != len(network.layers) or not all(_is_part(*pair, parts) for pair in pairs):
        return None
    layers = [_in_shape_of(whole, part) for whole, part in pairs]
    return replace(smaller, layers=tuple(layers))


def mixes_images(layer: Layer) -> bool:
    """Whether a row of an output may depend on more than the same row of each input; rows are along the batch, axis 0."""
    op, shapes = layer.op, layer.input_shapes
    if any(len(shape) < 2 for shape in shapes):
        return True
    if isinstance(op, Matmul) and len(shapes) == 2:
        return min(map(len, shapes)) < 3  # a product over the batch, or with it
    if isinstance(op, Elementwise) and len({len(shape) for shape in shapes}) > 1:
        return True  # broadcasting moves the batch to another axis
    return any(axis % len(shapes[0]) == 0 for axis in _axes(layer))


def _axes(layer: Layer) -> tuple[int, ...]:
    """Axes along which the operator combines or takes apart what it reads."""
    axis = getattr(layer.op, "axis", None)
    return (*getattr(layer.op, "axes", ()), *(() if axis is None else (axis,)))


def _is_part(whole: Layer, part: Layer, parts: int) -> bool:
    """Whether ``part`` is ``whole`` with an equal share of every tensor's rows, and the same weights."""
    shapes = zip((*whole.input_shapes, *whole.output_shapes), (*part.input_shapes, *part.output_shapes), strict=True)
    return (
        (part.name, part.inputs, part.weight_shape) == (whole.name, whole.inputs, whole.weight_shape)
        and all(large == (small[0] * parts, *small[1:]) for large, small in shapes)
        and whole.macs == parts * part.macs
    )


def _in_shape_of(whole: Layer, part: Layer) -> Layer:
    return replace(whole, input_shapes=part.input_shapes, output_shapes=part.output_shapes)


def part_sizes(batch: int, most: int) -> list[int]:
    """Images in one of the equal parts that a batch may run in, most first: divisors of the batch.

    More than ``most`` images only where they have no divisor between a sixteenth of that and ``most``. Whether a size is
    looked at is said by itself, not by the batch: so a multiple of a batch may run in all parts that the batch may.
    """
    small = [part for part in range(1, isqrt(batch) + 1) if batch % part == 0]
    every = sorted({*small, *(batch // part for part in small)}, reverse=True)
    return [one for one in every if one <= most or not any(one % part == 0 for part in range(max(2, most // 16), most + 1))]
