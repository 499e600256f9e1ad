"""Lowering: a layer becomes loop nests of multiply-accumulates, or work for the vector unit.

Every layer with MACs is eight loops, ``N K C P Q R S G`` (batch, output channel, input channel, output row, output
column, filter row, filter column, group; K and C count one group). A convolution is a matrix product by address
arithmetic alone: row m of the left matrix is the window of output pixel m, and nothing is copied to make it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from math import prod
from typing import NamedTuple

import numpy as np

from accelsim.workload.network import Layer
from accelsim.workload.ops import (
    Concat,
    Conv2d,
    Embedding,
    Linear,
    LocallyConnected2d,
    Matmul,
    Op,
    Recurrent,
    Reshape,
    Shape,
    Slice,
    Split,
    TransformOutput,
)

DIMS = ("N", "K", "C", "P", "Q", "R", "S", "G")


class Dims(NamedTuple):
    """One integer a loop dimension: the sizes of a nest, or of a tile of it."""

    N: int = 1
    K: int = 1
    C: int = 1
    P: int = 1
    Q: int = 1
    R: int = 1
    S: int = 1
    G: int = 1

    @property
    def pixels(self) -> int:
        """Rows of the left matrix: output positions."""
        return self.N * self.P * self.Q

    @property
    def reduction(self) -> int:
        """Length of the sum behind one output."""
        return self.C * self.R * self.S

    @property
    def macs(self) -> int:
        return prod(self)

    @property
    def weights(self) -> int:
        return self.G * self.K * self.reduction

    @property
    def outputs(self) -> int:
        return self.G * self.K * self.pixels


class Axis(NamedTuple):
    """How output positions and filter taps address one image axis: ``p * stride + r * dilation - pad``."""

    size: int = 1
    stride: int = 1
    dilation: int = 1
    pad: int = 0

    def touched(self, first: int, count: int, tap: int = 0, taps: int = 1) -> int:
        """Input positions that outputs [first, first+count) and taps [tap, tap+taps) read, padding not counted."""
        return _touched(self, first, count, tap, taps)


@lru_cache(maxsize=65536)
def _touched(axis: Axis, first: int, count: int, tap: int, taps: int) -> int:
    low = first * axis.stride + tap * axis.dilation - axis.pad
    dense = (axis.dilation == 1 and axis.stride <= taps) or (axis.stride == 1 and axis.dilation <= count)
    if dense:  # the windows leave no hole
        high = low + (count - 1) * axis.stride + (taps - 1) * axis.dilation
        return max(0, min(high, axis.size - 1) - max(low, 0) + 1)
    places = np.add.outer(np.arange(count) * axis.stride, np.arange(taps) * axis.dilation).ravel() + low
    return int(np.unique(places[(places >= 0) & (places < axis.size)]).size)


@dataclass(frozen=True)
class LoopNest:
    """The multiply-accumulates of a layer (or of a part of it, named by ``part``).

    ``repeat`` runs follow one another, each needing the one before (the steps of a recurrent layer).
    ``weight_is_activation``: the right matrix is computed, not trained (attention). ``biased``: every output channel (with
    private kernels every output value) starts with a bias, as wide as the accumulators.
    """

    dims: Dims
    rows: Axis = Axis()
    columns: Axis = Axis()
    repeat: int = 1
    part: str = ""
    weight_is_activation: bool = False
    private_weights: bool = False
    biased: bool = False

    @property
    def macs(self) -> int:
        return self.dims.macs * self.repeat

    @property
    def weight_elements(self) -> int:
        """Distinct weights: with private kernels every output pixel has its own."""
        return self.dims.weights * (self.dims.P * self.dims.Q if self.private_weights else 1)

    def input_elements(self, tile: Dims, p: int = 0, q: int = 0, r: int = 0, s: int = 0) -> int:
        """Distinct inputs that a ``tile`` whose loops start at the given p, q, r, s reads."""
        rows = self.rows.touched(p, tile.P, r, tile.R)
        return tile.G * tile.N * tile.C * rows * self.columns.touched(q, tile.Q, s, tile.S)


@dataclass(frozen=True)
class VectorWork:
    """Work of the vector unit: ``ops`` operations over ``input_elements``, giving ``output_elements``.

    ``channels`` of an image lie side by side in memory, where the work goes through an image. Constants that it reads:
    ``weight_elements`` as wide as weights, ``bias_elements`` as wide as accumulators.
    """

    ops: int
    input_elements: tuple[int, ...]
    output_elements: int
    repeat: int = 1
    part: str = ""
    weight_elements: int = 0
    channels: int = 0
    bias_elements: int = 0


Work = LoopNest | VectorWork


@dataclass(frozen=True)
class Lowered:
    """What a layer asks of the hardware, in order; nothing at all for a reshape."""

    layer: Layer
    work: tuple[Work, ...] = field(default=())

    @property
    def dims(self) -> dict[str, int]:
        """The layer's loop sizes as a report shows them; empty without MACs."""
        nests = [w for w in self.work if isinstance(w, LoopNest)]
        if not nests:
            return {}
        if isinstance(self.layer.op, Recurrent):
            if self.layer.op.projection:
                return {}  # two products of different sizes: the mapping shows each
            shape = self.layer.input_shapes[0]
            rows, features = self.layer.op.weight_shape(self.layer.input_shapes)
            return Dims(N=shape[0] * self.layer.op.steps(shape), K=rows, C=features)._asdict()
        return nests[0].dims._asdict()


def lower(layer: Layer) -> Lowered:
    """Lower one layer; see the module's text."""
    lowering = _LOWERINGS.get(type(layer.op), _lower_vector)
    work = lowering(layer.op, layer.input_shapes, layer.output_shapes)
    if layer.has_bias and isinstance(work[0], LoopNest):  # the products of the input are the first
        work = (replace(work[0], biased=True), *work[1:])
    return Lowered(layer, work)


def _lower_conv(op: Op, inputs: tuple[Shape, ...], outputs: tuple[Shape, ...]) -> tuple[Work, ...]:
    assert isinstance(op, Conv2d)
    (_, c, h, w), (n, k, p, q) = inputs[0], outputs[0]
    groups = op.group_count(c)
    dims = Dims(N=n, K=k // groups, C=c // groups, P=p, Q=q, R=op.R, S=op.S, G=groups)
    rows = Axis(h, op.stride[0], op.dilation[0], op.pad[0])
    return (LoopNest(dims, rows, Axis(w, op.stride[1], op.dilation[1], op.pad[2])),)


def _lower_private(op: Op, inputs: tuple[Shape, ...], outputs: tuple[Shape, ...]) -> tuple[Work, ...]:
    assert isinstance(op, LocallyConnected2d)
    (_, c, h, w), (n, k, p, q) = inputs[0], outputs[0]
    dims = Dims(N=n, K=k, C=c, P=p, Q=q, R=op.R, S=op.S)
    rows, columns = Axis(h, op.stride[0], 1, op.pad[0]), Axis(w, op.stride[1], 1, op.pad[2])
    return (LoopNest(dims, rows, columns, private_weights=True),)


def _lower_linear(op: Op, inputs: tuple[Shape, ...], outputs: tuple[Shape, ...]) -> tuple[Work, ...]:
    assert isinstance(op, Linear)
    return (LoopNest(Dims(N=prod(outputs[0][:-1]), K=op.out, C=op.features(inputs[0]))),)


def _lower_matmul(op: Op, inputs: tuple[Shape, ...], outputs: tuple[Shape, ...]) -> tuple[Work, ...]:
    assert isinstance(op, Matmul)
    del outputs
    batch, m, n, k = op.sizes(inputs)
    return (LoopNest(Dims(N=m, K=n, C=k, G=batch), weight_is_activation=len(inputs) == 2),)


def _lower_recurrent(op: Op, inputs: tuple[Shape, ...], outputs: tuple[Shape, ...]) -> tuple[Work, ...]:
    """The input's share of all gates at once over all steps, then step by step what the state's feedback needs."""
    assert isinstance(op, Recurrent)
    del outputs
    batch, steps, features = inputs[0][0], op.steps(inputs[0]), inputs[0][-1]
    gate_rows = op.gates * op.hidden
    work: list[Work] = [
        LoopNest(Dims(N=batch * steps, K=gate_rows, C=features), part="input"),
        LoopNest(Dims(N=batch, K=gate_rows, C=op.out_features), repeat=steps, part="recurrent"),
        VectorWork(
            op.vector_ops(inputs) // steps, (batch * gate_rows, batch * op.hidden), batch * op.hidden, steps, "cell",
            weight_elements=3 * op.hidden if op.peepholes else 0,
        ),
    ]
    if op.projection:
        work.append(LoopNest(Dims(N=batch, K=op.projection, C=op.hidden), repeat=steps, part="projection"))
    return tuple(work)


def _lower_nothing(op: Op, inputs: tuple[Shape, ...], outputs: tuple[Shape, ...]) -> tuple[Work, ...]:
    """Reshapes, splits, slices and concatenations rename addresses; no data moves."""
    del op, inputs, outputs
    return ()


def _lower_embedding(op: Op, inputs: tuple[Shape, ...], outputs: tuple[Shape, ...]) -> tuple[Work, ...]:
    del op
    rows = prod(outputs[0])
    return (VectorWork(0, (prod(inputs[0]),), rows, weight_elements=rows),)


def _lower_vector(op: Op, inputs: tuple[Shape, ...], outputs: tuple[Shape, ...]) -> tuple[Work, ...]:
    """Everything without MACs: operations on the lanes, or data that moves without any."""
    assert op.macs(inputs) == 0, f"{op.op} has MACs and no lowering"
    biases = op.bias_elements(inputs)
    elements = tuple(prod(shape) for shape in inputs)
    image = outputs[0] if isinstance(op, TransformOutput) else inputs[0]
    channels = image[1] if len(image) == 4 else 0
    made = sum(prod(s) for s in outputs)
    work = VectorWork(op.vector_ops(inputs), elements, made, 1, "", op.parameters(inputs) - biases, channels, biases)
    return (work,)


_LOWERINGS: dict[type[Op], Callable[[Op, tuple[Shape, ...], tuple[Shape, ...]], tuple[Work, ...]]] = {
    Conv2d: _lower_conv,
    LocallyConnected2d: _lower_private,
    Linear: _lower_linear,
    Matmul: _lower_matmul,
    Recurrent: _lower_recurrent,
    Concat: _lower_nothing,
    Reshape: _lower_nothing,
    Slice: _lower_nothing,
    Split: _lower_nothing,
    Embedding: _lower_embedding,
}
