"""One step of an LSTM or GRU, from the accumulators of its gates.

Gates are stacked as PyTorch stacks them: input, forget, candidate, output for an LSTM; reset, update,
candidate for a GRU, whose reset gate scales what the state gives the candidate (ONNX: linear_before_reset).

Integers: let g be the fewest of the output's bits, the input's and 16, so that the hidden state is an operand
of the next step's products. A gate is its accumulator, requantized by the layer's scale (by default
`default_shift` of features + recurrent features) to a signed g-bit number of g-4 fraction bits. sigmoid and
tanh of it are signed g-bit numbers of g-1 fraction bits. The cell state is int16 with 12 fraction bits (+-8);
the hidden state has the output's format, with g-1 fraction bits. Each line is exact up to one rounding, half
away from zero, and saturates (i, f, o, r, z: sigmoids; c: tanh of the candidate):

    LSTM    cell = f * cell + i * c                  hidden = o * tanh(cell)
    GRU     candidate = given + round(r * fed_back)  hidden = (1 - z) * c + z * hidden

Peepholes p (3 x hidden: to the input, forget and output gates) add ``p * cell`` to the accumulators, the cell
state rounded to the g-1 fraction bits that the hidden state has; the output gate sees the new cell state.
Floats: the same in float32, accumulators taken as they are; the hidden state is rounded to the output's format.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from accelsim.workload.fixed_point import (
    Array,
    default_shift,
    reduction_length,
    requantize,
    rescale,
    saturate,
    shift_rounded,
    to_fixed,
    to_real,
)
from accelsim.workload.floats import rounded
from accelsim.workload.network import Layer
from accelsim.workload.ops import Recurrent
from accelsim.workload.precision import NumberFormat

_CELL = NumberFormat("int", 16)
_CELL_FRACTION = 12
Curve = Callable[[npt.NDArray[np.float64]], npt.NDArray[Any]]


class CellState(NamedTuple):
    """What a recurrent layer carries from step to step.

    ``hidden`` is N x recurrent features, in the output's storage type; ``cell``, which a GRU leaves alone, is
    N x hidden, int16 with 12 fraction bits or float32.
    """

    hidden: Array
    cell: Array


def initial_state(layer: Layer) -> CellState:
    """All zero."""
    op, batch, out = layer.op, layer.input_shapes[0][0], layer.precision.output
    assert isinstance(op, Recurrent)
    cell = np.zeros((batch, op.hidden), np.int16 if out.is_integer else np.float32)
    return CellState(np.zeros((batch, op.out_features), out.storage), cell)


def recurrent_cell(
    layer: Layer, from_input: Array, from_state: Array, state: CellState, peepholes: Array | None = None,
    arithmetic: CellArithmetic | None = None,
) -> CellState:  # fmt: skip
    """The state after one step. Rules in the module's text.

    ``from_input`` (the bias in it) and ``from_state`` are N x gates*hidden: the products of the step's input
    and of ``state.hidden`` with their columns of the weights. The new ``hidden`` is N x hidden: a projection,
    where there is one, is done outside. ``arithmetic`` is a hardware's own, in place of these rules.
    """
    op = layer.op
    assert isinstance(op, Recurrent)
    if from_input.dtype.kind == "i":
        from_input, from_state = from_input.astype(np.int64), from_state.astype(np.int64)
    unit = arithmetic or (FixedUnit(layer) if layer.precision.output.is_integer else _FloatUnit(layer))
    with np.errstate(over="ignore"):  # exp of a large float: the gate is shut
        if op.op == "gru":
            return _gru(unit, np.split(from_input, 3, axis=1), np.split(from_state, 3, axis=1), state)
        diagonals = np.zeros((3, 1), np.int8) if peepholes is None else peepholes
        return _lstm(unit, np.split(from_input + from_state, 4, axis=1), state, diagonals)


def _lstm(unit: CellArithmetic, gates: list[Array], state: CellState, peepholes: Array) -> CellState:
    i, f, c, o = gates
    admit = unit.sigmoid(i + unit.looked(peepholes[0], state.cell))
    keep = unit.sigmoid(f + unit.looked(peepholes[1], state.cell))
    cell = unit.cell(keep, state.cell, admit, unit.tanh(c))
    show = unit.sigmoid(o + unit.looked(peepholes[2], cell))
    return CellState(unit.shown(show, cell), cell)


def _gru(unit: CellArithmetic, given: list[Array], fed_back: list[Array], state: CellState) -> CellState:
    reset = unit.sigmoid(given[0] + fed_back[0])
    update = unit.sigmoid(given[1] + fed_back[1])
    candidate = unit.tanh(given[2] + unit.scaled(reset, fed_back[2]))
    return CellState(unit.mixed(update, candidate, state.hidden), state.cell)


class CellArithmetic(Protocol):
    """The arithmetic of a cell."""

    def sigmoid(self, accumulator: Array) -> Array: ...
    def tanh(self, accumulator: Array) -> Array: ...

    def looked(self, weights: Array, cell: Array) -> Array:
        """What peepholes of these weights add to a gate's accumulator."""

    def cell(self, keep: Array, cell: Array, admit: Array, candidate: Array) -> Array: ...
    def shown(self, show: Array, cell: Array) -> Array: ...
    def scaled(self, reset: Array, accumulator: Array) -> Array: ...
    def mixed(self, update: Array, candidate: Array, hidden: Array) -> Array: ...


def _sigmoid(x: Array) -> Array:
    return np.asarray(1 / (1 + np.exp(-x)))


class FixedUnit:
    """On integers. Products of two 16-bit gates and a 16-bit state stay far within 64 bits.

    ``sigmoid`` and ``tanh`` of real numbers may be a hardware's own, before they are rounded.
    """

    def __init__(self, layer: Layer, sigmoid: Curve = _sigmoid, tanh: Curve = np.tanh) -> None:
        self._curves = sigmoid, tanh
        bits = min(layer.precision.output.bits, layer.precision.input.bits, 16)
        self.out = layer.precision.output
        self.gate = NumberFormat("int", bits)
        self.fraction = bits - 1
        scale = layer.requantize
        precision = layer.precision.model_copy(update={"output": self.gate})
        shift = default_shift(precision, reduction_length(layer)) if scale.shift is None else scale.shift
        self.scale = (scale.multiplier, shift, scale.zero_point)

    def _gate(self, accumulator: Array) -> npt.NDArray[np.float64]:
        return to_real(rescale(accumulator, *self.scale, self.gate), self.gate.bits)

    def _one(self, values: Array) -> Array:
        """Numbers within +-1 in the fixed point of gates."""
        return to_fixed(values, self.fraction, self.gate).astype(np.int64)

    def sigmoid(self, accumulator: Array) -> Array:
        return self._one(self._curves[0](self._gate(accumulator)))

    def tanh(self, accumulator: Array) -> Array:
        return self._one(self._curves[1](self._gate(accumulator)))

    def looked(self, weights: Array, cell: Array) -> Array:
        wide, finer = cell.astype(np.int64), self.fraction - _CELL_FRACTION
        return np.asarray(weights * (wide << finer if finer >= 0 else shift_rounded(wide, -finer)))

    def cell(self, keep: Array, cell: Array, admit: Array, candidate: Array) -> Array:
        kept = keep * cell.astype(np.int64) << self.fraction
        admitted = admit * candidate << _CELL_FRACTION
        return saturate(shift_rounded(kept + admitted, 2 * self.fraction), _CELL)

    def shown(self, show: Array, cell: Array) -> Array:
        curved = self._one(self._curves[1](cell.astype(np.float64) / (1 << _CELL_FRACTION)))
        return saturate(shift_rounded(show * curved, self.fraction), self.out)

    def scaled(self, reset: Array, accumulator: Array) -> Array:
        return shift_rounded(reset * accumulator, self.fraction)

    def mixed(self, update: Array, candidate: Array, hidden: Array) -> Array:
        total = ((1 << self.fraction) - update) * candidate + update * hidden.astype(np.int64)
        return saturate(shift_rounded(total, self.fraction), self.out)


class _FloatUnit:
    """In float32."""

    def __init__(self, layer: Layer) -> None:
        self.out, self.reduction = layer.precision.output, reduction_length(layer)
        wide = layer.precision.model_copy(update={"output": NumberFormat("fp", 32)})
        self.layer = replace(layer, precision=wide)

    def sigmoid(self, accumulator: Array) -> Array:
        return _sigmoid(requantize(accumulator, self.layer, self.reduction))

    def tanh(self, accumulator: Array) -> Array:
        return np.tanh(requantize(accumulator, self.layer, self.reduction))

    def looked(self, weights: Array, cell: Array) -> Array:
        return np.asarray(weights * cell)

    def cell(self, keep: Array, cell: Array, admit: Array, candidate: Array) -> Array:
        return np.asarray(keep * cell + admit * candidate)

    def shown(self, show: Array, cell: Array) -> Array:
        return rounded(show * np.tanh(cell), self.out)

    def scaled(self, reset: Array, accumulator: Array) -> Array:
        return reset * accumulator

    def mixed(self, update: Array, candidate: Array, hidden: Array) -> Array:
        return rounded(np.asarray((1 - update) * candidate + update * hidden), self.out)
