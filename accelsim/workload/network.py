"""A network: a directed graph of layers with shapes, precisions and where their values come from.

A `Network` is a value: every method that changes something returns a new one. Layers are in an order in which
each comes after what it needs; among those that could come next, the order of the file decides.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, Protocol

import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, model_validator

from accelsim.errors import nearest
from accelsim.workload.ops import Op, Shape
from accelsim.workload.precision import Precision
from accelsim.yaml_io import Document

Array = npt.NDArray[Any]


class TensorRef(NamedTuple):
    """An edge of the graph: output ``port`` of a layer, or the graph input of that name."""

    source: str
    port: int = 0

    def __str__(self) -> str:
        return f"{self.source}.{self.port}" if self.port else self.source


class ValueSource(BaseModel):
    """Where a tensor's values come from: a file, or a seeded distribution with a share of zeros.

    ``array`` and ``codebook_array`` name one of several arrays in an ``.npz``.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: Path | None = None
    array: str | None = None
    codebook: Path | None = None
    codebook_array: str | None = None
    density: float = Field(default=1.0, gt=0, le=1)
    pattern: Annotated[str, Field(pattern=r"^(unstructured|[1-9][0-9]?:[1-9][0-9]?)$")] = "unstructured"

    @model_validator(mode="before")
    @classmethod
    def _density_of_pattern(cls, data: Any) -> Any:
        """``pattern: "2:4"`` alone says the density too."""
        if isinstance(data, dict) and "density" not in data and isinstance(data.get("pattern"), str):
            n, colon, m = data["pattern"].partition(":")
            if colon and n.isdigit() and m.isdigit() and 0 < int(n) <= int(m):
                return data | {"density": int(n) / int(m)}
        return data

    @model_validator(mode="after")
    def _arrays_are_of_files(self) -> ValueSource:
        for key, file in (("array", "file"), ("codebook_array", "codebook")):
            if getattr(self, key) is not None and getattr(self, file) is None:
                raise ValueError(f"{key}: names an array of {file}, which is left out; give that, or drop {key}")
        return self

    @model_validator(mode="after")
    def _pattern_makes_sense(self) -> ValueSource:
        if self.structure is not None:
            n, m = self.structure
            if n > m:
                raise ValueError(f"pattern is {self.pattern}, must keep no more than {m} of every {m}")
            if self.density > n / m:
                raise ValueError(f"density is {self.density:g}, must be at most {n}/{m} with the pattern {self.pattern}")
        return self

    @property
    def structure(self) -> tuple[int, int] | None:
        """(n, m) of a pattern that keeps at most n of every m neighbours along the input channels."""
        n, colon, m = self.pattern.partition(":")
        return (int(n), int(m)) if colon else None


class ValueProvider(Protocol):
    """Gives an array when it is wanted: one that a pass has made, or one of an ONNX file's."""

    def read(self) -> Array:
        """The array; raises `InputError` where it cannot be had."""


class Provided(ValueSource):
    """Values that are not in a file of their own. No YAML can say this; writing a network makes files of them."""

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    provider: Any
    codes: Any = None  # a codebook, whose indices ``provider`` gives then

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


class Transformed(ValueSource):
    """Weights that follow from those of another layer: ``spatial``'s, by the transform of its algorithm of convolution.

    No YAML can say this: it is made where a layer with an algorithm is expanded (`accelsim.workload.expand`).
    """

    model_config = ConfigDict(frozen=True, extra="forbid", arbitrary_types_allowed=True)

    spatial: Any

    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)


@dataclass(frozen=True, eq=False)
class Held:
    """A `ValueProvider` of an array in memory."""

    array: Array

    def read(self) -> Array:
        return self.array


Rounding = Literal["away", "even", "float32", "gemmlowp", "zero_first"]


@dataclass(frozen=True)
class Requantize:
    """How an accumulator becomes an output: ``saturate(round(acc * multiplier / 2**shift) + zero_point)``.

    ``multiplier`` and ``shift`` are one number, or one an output channel. ``shift`` None means the shift that keeps
    the expected magnitude of a sum of random products (see `accelsim.workload.values.default_shift`). ``rounding``:
    *away* half away from zero; *even* half to even, as ONNX's QLinear operators; *float32* the product is rounded to
    a float32 first, then half to even, as onnxruntime; *gemmlowp* a doubling high product of 32 bits rounded
    half up, then a shift rounded half away from zero (gemmlowp's fixedpoint.h, as TFLite's kernels); *zero_first* as
    *even*, but with the zero point added before the rounding, as `onnx.reference`.
    """

    multiplier: int | tuple[int, ...] = 1
    shift: int | tuple[int, ...] | None = None
    zero_point: int = 0
    rounding: Rounding = "away"


@dataclass(frozen=True)
class Affine:
    """What a tensor's integers stand for: ``(q - zero_point) * scale``, the scale a float32."""

    scale: float = 1.0
    zero_point: int = 0


@dataclass(frozen=True)
class Quantization:
    """The scales of a layer's tensors.

    A layer with MACs needs of them only the zero points of its operands, which are taken off before the multiplier
    (``weight_zero_point``: one, or one an output channel); `Requantize` says the rest in integers. A layer without
    MACs computes on the numbers that its integers stand for, in float32, and its result is divided by the output's
    scale, rounded half to even and saturated, as ONNX's QuantizeLinear does. ``inputs`` and ``output`` left out: the
    integers are the numbers (see `accelsim.workload.functional`). ``fused``: operators that onnxruntime runs on the
    integers themselves round as it does (`accelsim.workload.fused`), not as the float operator would.
    """

    inputs: tuple[Affine, ...] = ()
    weight_zero_point: int | tuple[int, ...] = 0
    output: Affine | None = None
    fused: bool = True


@dataclass(frozen=True)
class Odds:
    """How often a layer runs, where that depends on the input: see `accelsim.analysis.expected`.

    ``exit``: share of the inputs that reach the layer and need nothing after it. ``gate``: share of the inputs for which
    it runs, or of its channels that are computed.
    """

    exit: float = 0.0
    gate: float = 1.0


@dataclass(frozen=True)
class Layer:
    """One node of a network, with everything that follows from its place in the graph.

    ``inputs`` name the tensors it reads; shapes have the batch first. ``weight``, ``input_values`` and ``bias``
    say where values come from in values mode; ``epilogue`` names operators folded into this layer.
    """

    name: str
    op: Op
    inputs: tuple[TensorRef, ...]
    input_shapes: tuple[Shape, ...]
    output_shapes: tuple[Shape, ...]
    precision: Precision
    weight: ValueSource = ValueSource()
    input_values: ValueSource = ValueSource()
    bias: ValueSource | None = None
    requantize: Requantize = Requantize()
    epilogue: tuple[str, ...] = ()
    quantization: Quantization = Quantization()
    odds: Odds = Odds()

    @property
    def macs(self) -> int:
        return self.op.macs(self.input_shapes)

    @property
    def parameters(self) -> int:
        return self.op.parameters(self.input_shapes)

    @property
    def has_bias(self) -> bool:
        """Whether something is added to its sums: its operator says so, or the numbers are given."""
        return self.op.bias_elements(self.input_shapes) > 0 or (self.bias is not None and self.macs > 0)

    @property
    def weight_bits(self) -> int:
        """Bits of what was trained, but for biases, which have a place of their own beside the sums."""
        return (self.parameters - self.op.bias_elements(self.input_shapes)) * self.precision.weight.bits

    @property
    def weight_shape(self) -> Shape | None:
        return self.op.weight_shape(self.input_shapes)

    @property
    def vector_ops(self) -> int:
        return self.op.vector_ops(self.input_shapes)

    @property
    def states_scales(self) -> bool:
        """Whether the layer says itself what its integers are scaled by, rather than leaving it to the hardware."""
        return self.requantize != Requantize() or self.quantization != Quantization()


@dataclass(frozen=True)
class LayerSketch:
    """A layer before shapes are known: what a reader hands to `build_network`. ``inputs`` None: the layer before."""

    name: str
    op: Op
    inputs: tuple[str, ...] | None = None
    precision: Precision = Precision()
    weight: ValueSource = ValueSource()
    input_values: ValueSource = ValueSource()
    bias: ValueSource | None = None
    requantize: Requantize = Requantize()
    quantization: Quantization = Quantization()
    odds: Odds = Odds()


@dataclass(frozen=True)
class Network:
    """Layers in topological order, the graph's inputs (shape without the batch), and the batch.

    ``origin``: the YAML with its overrides that it was read from, and that more overrides are laid over.
    """

    name: str
    batch: int
    inputs: Mapping[str, Shape]
    layers: tuple[Layer, ...]
    sha256: str = ""
    sketches: tuple[LayerSketch, ...] = field(default=(), repr=False)
    origin: Document | None = field(default=None, repr=False, compare=False)

    def layer(self, name: str) -> Layer:
        """The layer of that name; KeyError with the nearest known name."""
        for candidate in self.layers:
            if candidate.name == name:
                return candidate
        raise KeyError(f"there is no layer {name!r}{nearest(name, [c.name for c in self.layers])}")

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)

    @property
    def parameters(self) -> int:
        return sum(layer.parameters for layer in self.layers)

    def consumers(self) -> dict[TensorRef, list[str]]:
        """For every tensor, the layers that read it."""
        table: dict[TensorRef, list[str]] = {TensorRef(name): [] for name in self.inputs}
        for layer in self.layers:
            for port in range(len(layer.output_shapes)):
                table[TensorRef(layer.name, port)] = []
        for layer in self.layers:
            for ref in layer.inputs:
                table[ref].append(layer.name)
        return table

    def with_batch(self, batch: int) -> Network:
        """The same network for another batch size."""
        return build_network(self.name, batch, self.inputs, self.sketches, self.sha256)

    def with_sketches(self, sketches: Iterable[LayerSketch]) -> Network:
        """The same inputs and batch with other layers (how passes rewrite a network)."""
        return build_network(self.name, self.batch, self.inputs, tuple(sketches), self.sha256)

    def select(self, names: Iterable[str]) -> Network:
        """Only the named layers; what they read from layers left out becomes a graph input."""
        wanted = [self.layer(name) for name in dict.fromkeys(names)]
        kept = {layer.name for layer in wanted}
        inputs: dict[str, Shape] = {}
        layers = []
        for layer in (candidate for candidate in self.layers if candidate.name in kept):
            refs = []
            for ref, shape in zip(layer.inputs, layer.input_shapes, strict=True):
                outside = ref.source not in kept
                name = str(ref) if outside else ref.source
                if outside:
                    inputs[name] = shape[1:]
                refs.append(TensorRef(name) if outside else ref)
            layers.append(replace(layer, inputs=tuple(refs)))
        sketches = tuple(sketch_of(layer) for layer in layers)
        return replace(self, inputs=inputs, layers=tuple(layers), sketches=sketches)


def sketch_of(layer: Layer) -> LayerSketch:
    """What `build_network` makes ``layer`` of."""
    return LayerSketch(
        layer.name, layer.op, tuple(str(ref) for ref in layer.inputs), layer.precision, layer.weight, layer.input_values,
        layer.bias, layer.requantize, layer.quantization, layer.odds,
    )  # fmt: skip


MOST_ELEMENTS = 10**12


class GraphError(ValueError):
    """What does not connect, layer by layer: ``faults`` pairs a layer's position in the file with what is wrong."""

    def __init__(self, faults: list[tuple[int, str, str]]) -> None:
        self.faults = faults  # (index of the sketch, key, message)
        super().__init__("\n".join(message for _, _, message in faults))


def build_network(
    name: str, batch: int, inputs: Mapping[str, Shape], sketches: tuple[LayerSketch, ...], sha256: str = ""
) -> Network:
    """Connect ``sketches``, order them and infer every shape; raises `GraphError` with all faults.

    ``inputs`` gives each graph input's shape without the batch.
    """
    refs = _resolve(inputs, sketches)
    order = _topological(sketches, refs)
    shapes: dict[TensorRef, Shape] = {TensorRef(n): (batch, *shape) for n, shape in inputs.items()}
    faults: list[tuple[int, str, str]] = []
    layers = []
    for index in order:
        sketch = sketches[index]
        if any(ref not in shapes for ref in refs[index]):
            missing = [ref for ref in refs[index] if ref not in shapes and _has_shape(ref.source, shapes)]
            faults += [(index, "after", f"{ref.source} has no output {ref.port}") for ref in missing]
            continue  # what comes before is at fault, and has been reported
        input_shapes = tuple(shapes[ref] for ref in refs[index])
        try:
            output_shapes = _infer(sketch.op, input_shapes)
        except ValueError as error:
            faults.append((index, "", str(error)))
            continue
        large = next((shape for shape in output_shapes if prod(shape) > MOST_ELEMENTS), None)
        if large is not None or prod(sketch.op.weight_shape(input_shapes) or ()) > MOST_ELEMENTS:
            words = f"its output {'x'.join(map(str, large))}" if large else "its weights"
            faults.append((index, "", f"{words}: more than the {MOST_ELEMENTS:,} elements that a tensor may have"))
            continue
        for port, shape in enumerate(output_shapes):
            shapes[TensorRef(sketch.name, port)] = shape
        layers.append(
            Layer(sketch.name, sketch.op, refs[index], input_shapes, output_shapes, sketch.precision,
                  sketch.weight, sketch.input_values, sketch.bias, sketch.requantize,
                  quantization=sketch.quantization, odds=sketch.odds)
        )  # fmt: skip
    if faults:
        raise GraphError(sorted(faults))
    return Network(name, batch, dict(inputs), tuple(layers), sha256, tuple(sketches))


def _has_shape(source: str, shapes: Mapping[TensorRef, Shape]) -> bool:
    return TensorRef(source) in shapes


def _infer(op: Op, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
    fewest, most = op.inputs_expected
    if not fewest <= len(inputs) <= most:
        wanted = str(fewest) if fewest == most else f"{fewest} to {most}"
        raise ValueError(f"{op.op} takes {wanted} inputs, {len(inputs)} are given")
    shapes = op.output_shapes(inputs)
    if any(prod(shape) < 1 for shape in shapes):
        raise ValueError(f"{op.op} has an empty output {[list(s) for s in shapes]}")
    return shapes


def _resolve(inputs: Mapping[str, Shape], sketches: tuple[LayerSketch, ...]) -> list[tuple[TensorRef, ...]]:
    """Turn the names in each sketch into tensor references; unknown and repeated names are faults."""
    names = [sketch.name for sketch in sketches]
    known = {*names, *inputs}
    faults: list[tuple[int, str, str]] = []
    seen: set[str] = set(inputs)
    for index, name in enumerate(names):
        if name in seen:
            faults.append((index, "name", f'"{name}" is already taken'))
        seen.add(name)
    result = []
    for index, sketch in enumerate(sketches):
        texts = sketch.inputs if sketch.inputs is not None else (names[index - 1],) if index else ()
        refs = []
        for text in texts:
            ref = _reference(text, known)
            if ref is None:
                faults.append((index, "after", f'there is no layer "{text}"{nearest(text, known)}'))
            else:
                refs.append(ref)
        result.append(tuple(refs))
    if faults:
        raise GraphError(faults)
    return result


def _reference(text: str, known: set[str]) -> TensorRef | None:
    if text in known:
        return TensorRef(text)
    source, dot, port = text.rpartition(".")
    return TensorRef(source, int(port)) if dot and source in known and port.isdigit() else None


def _topological(sketches: tuple[LayerSketch, ...], refs: list[tuple[TensorRef, ...]]) -> list[int]:
    position = {sketch.name: index for index, sketch in enumerate(sketches)}
    if all(position.get(ref.source, -1) < index for index, inputs in enumerate(refs) for ref in inputs):
        return list(range(len(sketches)))  # the file's order will do, as it nearly always does
    import networkx as nx  # here, because it takes longer to import than most networks to read

    graph = nx.DiGraph()
    graph.add_nodes_from(range(len(sketches)))
    graph.add_edges_from(
        (position[ref.source], index) for index, inputs in enumerate(refs) for ref in inputs if ref.source in position
    )
    try:
        return list(nx.lexicographical_topological_sort(graph))
    except nx.NetworkXUnfeasible:
        cycle = [sketches[edge[0]].name for edge in nx.find_cycle(graph)]
        index = position[cycle[0]]
        raise GraphError([(index, "after", f"the layers form a cycle: {' -> '.join([*cycle, cycle[0]])}")]) from None
