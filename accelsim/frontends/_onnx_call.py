"""What a rule sees and what it returns: tensors with their place for the batch, `Call`, `Plan`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from accelsim.frontends._onnx_model import FLOAT, Array, Constant, Node, NotModelledError, OnnxFile, Scales
from accelsim.workload.ops import Op, Reshape, Shape, Slice, Transpose
from accelsim.workload.precision import NumberFormat


@dataclass(frozen=True)
class Layout:
    """Where the batch is in an ONNX shape: an axis, or (``merged``) the leading factor of the first axis.

    accelsim has the batch first: ``(T, N, F)`` with ``batch_axis`` 1 is ``(N, T, F)`` there, and so is a
    merged ``(N*T, F)``.
    """

    batch_axis: int = 0
    merged: bool = False

    def fits(self, shape: Shape, batch: int) -> bool:
        if self.merged and not shape:  # a single number
            return batch == 1
        if len(shape) <= self.batch_axis:
            return False
        return shape[0] % batch == 0 if self.merged else shape[self.batch_axis] == batch

    def network_shape(self, shape: Shape, batch: int) -> Shape:
        """``shape`` as accelsim has it."""
        if not shape:
            return (batch, 1)
        if self.merged:
            return (batch, shape[0] // batch, *shape[1:])
        return (batch, *shape[: self.batch_axis], *shape[self.batch_axis + 1 :])

    def order(self, rank: int) -> tuple[int, ...]:
        """ONNX's axes, counted from the last one, as accelsim has them; 0 is a batch that is part of one of them."""
        if self.merged:
            return (0, *range(-rank, 0)) if rank else (0, 0)
        rest = (axis - rank for axis in range(rank) if axis != self.batch_axis)
        return (self.batch_axis - rank, *rest)

    def axis(self, axis: int, rank: int, batch: int) -> int:
        """accelsim's number of ONNX's ``axis``; raises `NotModelledError` for the batch's."""
        if not -rank <= axis < rank:
            raise NotModelledError(f"its axis is {axis}, its input has {rank} axes")
        axis %= rank
        if self.merged and (axis or batch == 1):
            return axis + 1
        if axis == self.batch_axis:
            raise NotModelledError("it works across the batch")
        return axis + 1 if axis < self.batch_axis else axis


@dataclass(frozen=True)
class Tensor:
    """A value that flows through the network: ``ref`` names it there, ``shape`` and ``elem`` are ONNX's.

    ``origin`` is the ONNX name under which its layer made it, before aliases; ``number`` how it is stored.
    """

    ref: str
    origin: str
    shape: Shape
    layout: Layout
    elem: int
    number: NumberFormat
    scales: Scales | None = None


@dataclass(frozen=True)
class Scalar:
    """A number computed while the network runs that is no layer: the scale of a dynamic quantization."""

    elem: int
    shape: Shape = ()


@dataclass(frozen=True)
class Unknown:
    """The output of a node at fault; ``constant`` if only shapes and constants led to it."""

    constant: bool


@dataclass(frozen=True)
class Sequenced:
    """A sequence of tensors, by their names; it is gone when what reads it is written out."""

    items: tuple[str, ...]


Value = Tensor | Constant | Scalar | Unknown | Sequenced


@dataclass(frozen=True)
class Plan:
    """What a node becomes: ``ops`` one after another, the one at index ``main`` bearing the node's name.

    No ``ops``: the output is the input. ``tails`` adds operators for one output of several. ``layouts`` says
    where the batch is in each output, if not where it is in the input.
    """

    ops: tuple[Op, ...] = ()
    main: int = 0
    reads: tuple[Tensor, ...] | None = None  # None: every tensor among the inputs
    layouts: tuple[Layout, ...] | None = None
    tails: Mapping[int, tuple[Op, ...]] = field(default_factory=dict)
    weight: Constant | None = None
    bias: Constant | None = None
    transposed: bool = False  # the file has the weights as in x out
    operands: tuple[Constant | None, ...] = ()  # constants of layers without MACs, which broadcast over their output
    more: Mapping[str, Constant] = field(default_factory=dict)  # further constants, by what they are
    epsilon: float | None = None  # of a batch normalization

    @property
    def last(self) -> int:
        """The last of the operators that computes; those behind it move its results."""
        computing = [i for i, op in enumerate(self.ops) if not isinstance(op, Reshape | Slice | Transpose)]
        return max([*computing, self.main])


@dataclass(frozen=True)
class Call:
    """A node, what it reads, and the shapes that ONNX's inference gives its outputs (None: it has none)."""

    node: Node
    inputs: tuple[Value | None, ...]
    shapes: tuple[Shape | None, ...]
    used: tuple[bool, ...]  # whether anything reads that output
    opset: int
    batch: int
    zero: int = 0  # the integer that stands for zero in the first input

    def input(self, index: int) -> Value | None:
        return self.inputs[index] if index < len(self.inputs) else None

    def tensor(self, index: int = 0) -> Tensor:
        value = self.input(index)
        if not isinstance(value, Tensor):
            raise NotModelledError(f"its input {index} is {'missing' if value is None else 'a constant'}")
        return value

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        return tuple(value for value in self.inputs if isinstance(value, Tensor))

    def constant(self, index: int, what: str) -> Constant | None:
        """A constant input, or None where it is left out."""
        value = self.input(index)
        if value is None or isinstance(value, Constant):
            return value
        raise NotModelledError(f"{what} come out of the network itself")

    def weights(self, index: int, what: str = "its weights") -> Constant:
        found = self.constant(index, what)
        if found is None:
            raise NotModelledError(f"{what} are missing")
        return found

    def value(self, index: int, what: str) -> Array | None:
        """The values of a constant input, or None where it is left out."""
        found = self.constant(index, what)
        if found is not None and found.value is None:
            raise NotModelledError(f'{what} ("{found.name}") are not in the file, or too many')
        return found.value if found is not None else None

    def integers(self, index: int, key: str) -> list[int] | None:
        """Integers given by a constant input or, in older opsets, by the attribute ``key``."""
        given = (
            self.value(index, f"its {key}")
            if self.input(index) is not None
            else self.attribute(key)
        )
        if given is None:
            return None
        array = np.asarray(given)
        if array.dtype.kind not in "iu":
            raise NotModelledError(f"its {key} are not integers")
        return [int(number) for number in array.reshape(-1)]

    def attribute(self, key: str, default: Any = None) -> Any:
        """An attribute as the file has it."""
        return self.node.attributes.get(key, default)

    def number(self, key: str, default: int) -> int:
        """An integer attribute."""
        value = self.attribute(key, default)
        if not isinstance(value, int):
            raise NotModelledError(f"its attribute {key} is not a whole number")
        return value

    def numbers(self, key: str, default: list[int]) -> list[int]:
        """An attribute that is a list of integers."""
        value = self.attribute(key, default)
        if (
            not isinstance(value, list)
            or len(value) != len(default)
            or not all(isinstance(v, int) for v in value)
        ):
            raise NotModelledError(
                f"its attribute {key} is {value!r:.40}, must be {len(default)} whole numbers"
            )
        return value

    def text(self, key: str, default: str) -> str:
        return str(self.attribute(key) or default)

    def shape(self, index: int = 0) -> Shape:
        """ONNX's shape of an output."""
        shape = self.shapes[index] if index < len(self.shapes) else None
        if shape is None:
            raise NotModelledError(
                "the shape of its output depends on values that are not known before it runs"
            )
        return shape

    def require_aligned(self) -> None:
        """Refuse tensors that are broadcast otherwise here than in ONNX, because their batches are in different places."""
        at: dict[int, int] = {}  # the ONNX axis that lies at a place, places counted from the last
        for x in self.tensors:
            shape, order = x.layout.network_shape(x.shape, self.batch), x.layout.order(len(x.shape))
            for place, (size, axis) in enumerate(zip(shape[::-1], order[::-1], strict=True)):
                if size > 1 and at.setdefault(place, axis) != axis:
                    raise NotModelledError("its operands have their batches in different places")
        if len(set(at.values())) != len(at):
            raise NotModelledError("its operands have their batches in different places")

    def axis(self, axis: int) -> int:
        x = self.tensor()
        return x.layout.axis(axis, len(x.shape), self.batch)

    def unused(self, index: int, words: str) -> None:
        """Refuse a node whose output ``index`` is wanted."""
        if index < len(self.used) and self.used[index]:
            raise NotModelledError(words)


Rule = Callable[[Call], Plan]


def inferred(file: OnnxFile, node: Node, inputs: Sequence[Value | None]) -> list[tuple[int, Shape] | None]:
    """ONNX's own types and shapes of a node's outputs."""
    types: dict[str, tuple[int, Shape]] = {}
    data = []
    for name, value in zip(node.inputs, inputs, strict=True):
        if isinstance(value, Tensor | Constant | Scalar):
            types[name] = (FLOAT if node.is_quantized else value.elem, value.shape)
        if isinstance(value, Constant) and value.value is not None and value.value.ndim <= 1:
            data.append(replace(value, name=name))
    return file.infer(node, types, data)
