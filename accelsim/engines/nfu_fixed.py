"""The NFU's fixed point on values: windows pooled by NFU-2, functions by NFU-3's tables, cells of LSTMs and GRUs.

Everything is at the radix of the engine's ``arithmetic``. Layers that state scales of their own, floats, and operators
that are not named here are computed as `accelsim.workload.functional` says.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from accelsim.arch.spec import FixedPoint, NfuSpec, PiecewiseLinear
from accelsim.engines.base import Array, Evaluated
from accelsim.engines.kernels import nfu as kernels
from accelsim.errors import InfeasibleError
from accelsim.workload.accumulator import Accumulator
from accelsim.workload.fixed_point import saturate
from accelsim.workload.network import Layer
from accelsim.workload.ops import Activation, GlobalPool, Pool2d
from accelsim.workload.precision import NumberFormat

Int64s = npt.NDArray[np.int64]


def evaluate(layer: Layer, inputs: tuple[Array, ...], spec: NfuSpec) -> Evaluated | None:
    """The outputs of a layer that NFU-2 pools or NFU-3 activates; None for all others."""
    integers = layer.precision.output.is_integer and all(x.dtype.kind in "iu" for x in inputs)
    if spec.arithmetic is None or layer.states_scales or not integers:
        return None
    if isinstance(layer.op, Pool2d | GlobalPool):
        return pooled(layer, inputs[0], spec.arithmetic)
    if isinstance(layer.op, Activation) and layer.op.op in ("relu", *_FUNCTIONS):
        return Evaluated((activate(inputs[0], layer.op.op, spec, layer.precision.output),))
    return None


# ---- NFU-2: pooling ------------------------------------------------------------------------------------------------


def pooled(layer: Layer, image: Array, arithmetic: FixedPoint) -> Evaluated:
    """Maxima; or sums in the sum registers, times the rounded reciprocal of how many they are of."""
    n, c, p, q = layer.output_shapes[0]
    largest = layer.op.op in ("maxpool2d", "globalmaxpool")
    windows, inside = _windows(layer, image, int(np.iinfo(image.dtype).min) if largest else 0)
    out = np.zeros((len(windows), c), dtype=np.int64)
    overflows = 0
    if largest:
        kernels.pool_max(windows, out)
        out[inside == 0] = 0  # a window that misses the image
    else:
        one = 1 << arithmetic.fraction
        reciprocals = (2 * one + np.maximum(inside, 1)) // (2 * np.maximum(inside, 1))  # rounded
        low, high = sum_range(arithmetic)
        wraps = arithmetic.overflow == "wrap"
        overflows = kernels.pool_average(
            windows, np.zeros_like(out), out, reciprocals, arithmetic.fraction, low, high, wraps
        )
    shaped = out.reshape(n, p, q, c).transpose(0, 3, 1, 2)
    return Evaluated((np.ascontiguousarray(saturate(shaped, layer.precision.output)),), int(overflows))


def _windows(layer: Layer, image: Array, outside: int) -> tuple[Array, Int64s]:
    """[outputs, positions, channels], and how many positions of each output count."""
    op = layer.op
    if isinstance(op, GlobalPool):
        n, c, h, w = image.shape
        return np.ascontiguousarray(image.reshape(n, c, h * w).transpose(0, 2, 1)), np.full(n, h * w, np.int64)
    assert isinstance(op, Pool2d)
    n, c = image.shape[:2]
    ones = np.ones((1, 1, *image.shape[2:]), dtype=np.int64)
    if op.count_include_pad:
        top, bottom, left, right = op.pad
        ones = np.pad(ones, ((0, 0), (0, 0), (top, bottom), (left, right)), constant_values=1)
    counts = _cut_out(layer, ones, 0, padded=op.count_include_pad).sum(axis=(1, 2))
    return _cut_out(layer, image, outside), np.tile(counts, n)


def _cut_out(layer: Layer, image: Array, outside: int, padded: bool = False) -> Array:
    """[outputs, positions, channels] of every window; ``padded``: the image has its padding around it already."""
    op = layer.op
    assert isinstance(op, Pool2d)
    (height, width), (down, right), (p, q) = op.window, op.strides, layer.output_shapes[0][2:]
    top, left = (0, 0) if padded else (op.pad[0], op.pad[2])
    below = max(0, (p - 1) * down + height - top - image.shape[2])
    after = max(0, (q - 1) * right + width - left - image.shape[3])
    around = ((0, 0), (0, 0), (top, below), (left, after))
    image = np.pad(image, around, constant_values=outside)
    views = np.lib.stride_tricks.sliding_window_view(image, (height, width), axis=(2, 3))
    taken = views[:, :, : (p - 1) * down + 1 : down, : (q - 1) * right + 1 : right]
    rows = taken.transpose(0, 2, 3, 4, 5, 1)
    return np.ascontiguousarray(rows).reshape(-1, height * width, image.shape[1])


def sum_range(arithmetic: FixedPoint) -> tuple[int, int]:
    """What a sum register holds."""
    return -(1 << (arithmetic.sum_bits - 1)), (1 << (arithmetic.sum_bits - 1)) - 1


# ---- NFU-3: functions ----------------------------------------------------------------------------------------------


class SegmentTable(NamedTuple):
    """NFU-3's small memory: a slope and an intercept a segment, in units of 2^-fraction; segment k begins at
    start + k * 2^shift.
    """

    slopes: npt.NDArray[np.int64]
    intercepts: npt.NDArray[np.int64]
    start: int
    shift: int
    fraction: int


_FUNCTIONS: dict[str, Callable[[Array], Array]] = {"sigmoid": lambda x: 1 / (1 + np.exp(-x)), "tanh": np.tanh}


def segment_table(function: str, spec: PiecewiseLinear, fraction: int) -> SegmentTable:
    """The table of ``sigmoid`` or ``tanh``: each segment joins the function's values at its ends, rounded to
    the radix.

    The outermost segments hold for all values beyond; so that those saturate where the function does, they
    are flat.
    """
    width = Fraction(2 * spec.reach << fraction, spec.segments)
    shift = int(width).bit_length() - 1
    if width != 1 << shift:
        raise InfeasibleError(
            "the nfu engine's piecewise-linear table",
            demand=f"{spec.segments} segments over -{spec.reach}..{spec.reach} at {fraction} fraction bits",
            bound="segments of a power of two of the radix's unit",
            levers=("engine.activation.segments or .reach a power of two", "more engine.arithmetic.fraction"),
        )
    ends = np.linspace(-spec.reach, spec.reach, spec.segments + 1)
    values = _FUNCTIONS[function](ends)
    slopes = np.diff(values) / np.diff(ends)
    slopes[[0, -1]] = 0.0
    intercepts = values[:-1] - slopes * ends[:-1]
    intercepts[-1] = values[-1]
    scale = float(1 << fraction)
    rounded = [np.floor(v * scale + 0.5).astype(np.int64) for v in (slopes, intercepts)]
    return SegmentTable(rounded[0], rounded[1], -spec.reach << fraction, shift, fraction)


def activate(values: Array, function: str, spec: NfuSpec, output: NumberFormat) -> Array:
    """NFU-3 on fixed-point ``values``: ``relu`` by a comparison, ``sigmoid`` and ``tanh`` by their tables."""
    if function == "relu":
        return saturate(np.maximum(values, 0), output)
    assert spec.arithmetic is not None, "tables are in the radix of the engine's arithmetic"
    table = segment_table(function, spec.activation, spec.arithmetic.fraction)
    out = np.zeros(values.size, dtype=np.int64)
    kernels.piecewise_linear(
        np.ascontiguousarray(values).reshape(-1), table.slopes, table.intercepts, table.start, table.shift,
        table.fraction, output.lowest, output.highest, out,
    )  # fmt: skip
    return out.astype(output.storage).reshape(values.shape)


# ---- cells of LSTMs and GRUs -----------------------------------------------------------------------------------------


class FixedCell:
    """The arithmetic of `accelsim.workload.recurrent` on an NFU: gates by NFU-3's tables, products cut like NFU-1's.

    States have the output's format, at most 16 bits, and the radix of the engine; ``overflows`` counts sums that did
    not fit their register.
    """

    def __init__(self, layer: Layer, spec: NfuSpec) -> None:
        assert spec.arithmetic is not None
        self.spec, self.arithmetic = spec, spec.arithmetic
        self.state = NumberFormat("int", min(16, layer.precision.output.bits))
        self.out = layer.precision.output
        self.overflows = 0

    def _gate(self, accumulator: Array, function: str) -> Int64s:
        """A gate's sum from its register, back at the radix of one operand, through the table."""
        total = self._sum(accumulator)
        if self.arithmetic.product == "exact":
            total = total >> self.arithmetic.fraction
        return activate(saturate(total, self.state), function, self.spec, self.state).astype(np.int64)

    def _sum(self, values: Array) -> Int64s:
        held, overflows = _register(self.arithmetic.sum_bits, self.arithmetic).fitted(values)
        self.overflows += overflows
        return held

    def _product(self, a: Array, b: Array) -> Int64s:
        shifted = (a.astype(np.int64) * b.astype(np.int64)) >> self.arithmetic.fraction
        if self.arithmetic.product == "exact":
            return shifted
        return _register(self.arithmetic.product_bits, self.arithmetic).fitted(shifted)[0]

    def sigmoid(self, accumulator: Array) -> Array:
        return self._gate(accumulator, "sigmoid")

    def tanh(self, accumulator: Array) -> Array:
        return self._gate(accumulator, "tanh")

    def looked(self, weights: Array, cell: Array) -> Array:
        if self.arithmetic.product == "exact":
            return np.asarray(weights.astype(np.int64) * cell.astype(np.int64))
        return self._product(weights, cell)

    def cell(self, keep: Array, cell: Array, admit: Array, candidate: Array) -> Array:
        total = self._sum(self._product(keep, cell) + self._product(admit, candidate))
        return saturate(total, self.state).astype(np.int16)

    def shown(self, show: Array, cell: Array) -> Array:
        curved = activate(cell, "tanh", self.spec, self.state)
        return saturate(saturate(self._product(show, curved), self.state), self.out)

    def scaled(self, reset: Array, accumulator: Array) -> Array:
        return (reset.astype(np.int64) * accumulator.astype(np.int64)) >> self.arithmetic.fraction

    def mixed(self, update: Array, candidate: Array, hidden: Array) -> Array:
        one = 1 << self.arithmetic.fraction
        total = self._sum(self._product(one - update, candidate) + self._product(update, hidden))
        return saturate(saturate(total, self.state), self.out)


def _register(bits: int, arithmetic: FixedPoint) -> Accumulator:
    return Accumulator(NumberFormat("int", bits), arithmetic.overflow == "saturate")
