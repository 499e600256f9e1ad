"""A node that is to be written out as others: what it reads, and the `Piece` that the others go into."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from accelsim.frontends._onnx_branches import Piece
from accelsim.frontends._onnx_call import Call, Scalar, Tensor, Value, inferred
from accelsim.frontends._onnx_model import FLOAT, Array, Constant, Node, NotModelledError, OnnxFile
from accelsim.workload.ops import Shape

_AXES_ARE_INPUTS = {"ReduceSum": 13}  # since which opset; the other reductions since 18


@dataclass(frozen=True)
class Written:
    """A node, its inputs by their places, and what makes nodes of ONNX in its place, as the model's opset has them."""

    file: OnnxFile
    piece: Piece
    proto: Any
    node: Node
    inputs: Sequence[Value | None]
    used: Sequence[bool]  # whether anything reads that output
    batch: int

    @property
    def opset(self) -> int:
        return self.file.opset

    # --- what the node has ---

    def has(self, place: int) -> bool:
        return bool(self.name(place))

    def name(self, place: int) -> str:
        """What an input is called; empty where it is left out."""
        return str(self.proto.input[place]) if len(self.proto.input) > place else ""

    def value(self, place: int) -> Value | None:
        return self.inputs[place] if len(self.inputs) > place else None

    def shape(self, place: int = 0) -> Shape:
        value = self.value(place)
        if not isinstance(value, Tensor | Constant):
            raise NotModelledError(f"the shape of its input {place} is not known")
        return value.shape

    def ranked(self, place: int, rank: int) -> Shape:
        """The shape of an input that must have so many axes."""
        shape = self.shape(place)
        if len(shape) != rank:
            raise NotModelledError(f"its input {place} has the shape {list(shape)}, must have {rank} axes")
        return shape

    def known(self, place: int) -> Array | None:
        """The values of an input that is a constant; None where they are not known before it runs."""
        value = self.value(place)
        return value.value if isinstance(value, Constant) else None

    def elem(self, place: int = 0) -> int:
        value = self.value(place)
        return value.elem if isinstance(value, Tensor | Constant | Scalar) else FLOAT

    def is_constant(self, place: int) -> bool:
        return isinstance(self.value(place), Constant)

    def integer(self, key: str, default: int) -> int:
        return self.node.integer(key, default)

    def real(self, key: str, default: float) -> float:
        return float(self.node.attributes.get(key, default))

    def text(self, key: str, default: str = "") -> str:
        return str(self.node.attributes.get(key) or default)

    def integers(self, key: str) -> list[int] | None:
        found = self.node.attributes.get(key)
        return [int(number) for number in found] if isinstance(found, list) else None

    def is_used(self, place: int) -> bool:
        return len(self.used) > place and self.used[place]

    def refuse_outputs(self, first: int, what: str) -> None:
        """Refuse a node whose outputs from ``first`` on are wanted."""
        if any(self.used[first:]):
            raise NotModelledError(f"its output {first} or one behind it ({what}) is used")

    def call(self) -> Call:
        """The node as a rule sees it, with ONNX's own shapes of its outputs."""
        shapes = tuple(found[1] if found else None for found in inferred(self.file, self.node, tuple(self.inputs)))
        return Call(self.node, tuple(self.inputs), shapes, tuple(self.used), self.opset, self.batch)

    # --- what stands in its place ---

    def one(self, op: str, *inputs: str, **attributes: Any) -> str:
        return self.piece.one(op, *inputs, **attributes)

    def give(self, *sources: str) -> None:
        """What the node's outputs are."""
        self.piece.give(sources, self.proto.output)

    def integers_of(self, *values: int) -> str:
        return self.piece.integers(*values)

    def number(self, value: Any, place: int = 0) -> str:
        """A constant of the type of an input."""
        kind = self.file.onnx.helper.tensor_dtype_to_np_dtype(self.elem(place))
        return self.piece.constant(np.asarray(value).astype(kind))

    def reshape(self, name: str, *shape: int) -> str:
        return self.one("Reshape", name, self.integers_of(*shape))

    def transpose(self, name: str, *perm: int) -> str:
        return name if list(perm) == sorted(perm) else self.one("Transpose", name, perm=list(perm))

    def split(self, name: str, sizes: Sequence[int], axis: int) -> list[str]:
        if len(sizes) == 1:
            return [name]
        if self.opset < 13:
            return self.piece.node("Split", [name], len(sizes), axis=axis, split=list(sizes))
        return self.piece.node("Split", [name, self.integers_of(*sizes)], len(sizes), axis=axis)

    def slice(self, name: str, start: int, end: int, axis: int) -> str:
        if self.opset < 10:
            return self.one("Slice", name, starts=[start], ends=[end], axes=[axis])
        return self.one("Slice", name, *(self.integers_of(number) for number in (start, end, axis)))

    def reduce(self, op: str, name: str, axes: Sequence[int], keepdims: int = 1) -> str:
        if self.opset < _AXES_ARE_INPUTS.get(op, 18):
            return self.one(op, name, axes=list(axes), keepdims=keepdims)
        return self.one(op, name, self.integers_of(*axes), keepdims=keepdims)

    def total(self, *names: str) -> str:
        """The sum of those that are there."""
        there = [name for name in names if name]
        result = there[0]
        for name in there[1:]:
            result = self.one("Add", result, name)
        return result

    def scaled(self, name: str, factor: float, place: int = 0) -> str:
        return name if factor == 1 else self.one("Mul", name, self.number(factor, place))


Form = Callable[[Written], bool | None]
"""Writes a node out; False where it is to be read as it is."""


