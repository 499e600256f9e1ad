"""Reads ``accelsim.network/1`` YAML."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from math import prod
from pathlib import Path
from typing import Annotated, Any, Literal, Union, cast

from pydantic import BaseModel, ConfigDict, Field, create_model, model_validator

from accelsim.errors import Fault, InputError, join_allowed, nearest
from accelsim.frontends.network_meaning import refuse_idle_keys
from accelsim.units import Batch, PositiveInt
from accelsim.workload.algorithms import Algorithm
from accelsim.workload.array_files import read_array
from accelsim.workload.expand import with_algorithm
from accelsim.workload.network import (
    Affine,
    GraphError,
    LayerSketch,
    Network,
    Odds,
    Quantization,
    Requantize,
    Rounding,
    ValueSource,
    build_network,
)
from accelsim.workload.ops import OPERATOR_BY_NAME, OPERATORS, Activation, Elementwise, Op, Shape
from accelsim.workload.precision import PartialPrecision, Precision
from accelsim.yaml_io import Document, KeyPath, no_file, validate

SCHEMA = "accelsim.network/1"


_Shift = Annotated[int, Field(strict=True, ge=-62, le=200)]
_Whole = Annotated[int, Field(strict=True)]
_Share = Annotated[float, Field(ge=0, le=1)]


class RequantizeEntry(BaseModel):
    """``output = saturate(round(accumulator * multiplier / 2**shift) + zero_point)``; numbers may be one a channel."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    multiplier: _Whole | list[_Whole] = 1
    shift: _Shift | list[_Shift]
    zero_point: _Whole = 0
    rounding: Rounding = "away"

    def value(self) -> Requantize:
        multiplier, shift = (tuple(v) if isinstance(v, list) else v for v in (self.multiplier, self.shift))
        return Requantize(multiplier, shift, self.zero_point, self.rounding)


class AffineEntry(BaseModel):
    """What a tensor's integers stand for: ``(q - zero_point) * scale``."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    scale: Annotated[float, Field(gt=0, le=3e38)]
    zero_point: _Whole = 0

    def value(self) -> Affine:
        return Affine(self.scale, self.zero_point)


class QuantizationEntry(BaseModel):
    """The scales of a layer's inputs, in their order, and of its output; the zero point of its weights."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    inputs: list[AffineEntry] = []
    weight_zero_point: _Whole | list[_Whole] = 0
    output: AffineEntry | None = None
    fused: bool = True

    def value(self) -> Quantization:
        zero = self.weight_zero_point
        output = self.output.value() if self.output is not None else None
        return Quantization(
            tuple(entry.value() for entry in self.inputs), tuple(zero) if isinstance(zero, list) else zero, output,
            self.fused,
        )


class _LayerCommon(BaseModel):
    """The keys that every layer may have, whatever its operator."""

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    name: Annotated[str, Field(min_length=1)]
    after: list[str] | None = None
    shape: list[PositiveInt] | None = Field(default=None, description="shape of a fresh input, without the batch")
    precision: PartialPrecision = PartialPrecision()
    weight: ValueSource = ValueSource()
    input: ValueSource = ValueSource()
    bias: bool | ValueSource = True
    shift: Annotated[int, Field(strict=True, ge=0, le=62)] | None = Field(
        default=None, description="output = saturate(round(accumulator / 2**shift)); a rule by size if left out"
    )
    requantize: RequantizeEntry | None = None
    quantization: QuantizationEntry | None = None
    exit: _Share = Field(default=0.0, description="share of the inputs that reach the layer and are done after it")
    gate: Annotated[_Share, Field(gt=0)] = Field(
        default=1.0, description="share of the inputs for which it runs, or of its channels that are computed"
    )

    @model_validator(mode="after")
    def _one_shift(self) -> _LayerCommon:
        if self.shift is not None and self.requantize is not None:
            raise ValueError("shift and requantize are both given; write the shift inside of requantize")
        return self

    def operator(self) -> Op:
        """The operator alone."""
        operator_type = next(base for base in type(self).__mro__ if base in OPERATORS)
        names = operator_type.model_fields
        given = {name: getattr(self, name) for name in self.model_fields_set if name in names and name != "bias"}
        if "bias" in names:
            given["bias"] = bool(self.bias)
        return operator_type.model_construct(**{"op": self.op, **given})  # type: ignore[attr-defined]


@cache
def _entry_model(operator: type[Op]) -> type[_LayerCommon]:
    """The keys of a layer of ``operator``; made when first needed, since a run needs only a few of them."""
    bases: tuple[Any, ...] = (_LayerCommon, operator)
    return cast(type[_LayerCommon], create_model(f"{operator.__name__}Layer", __base__=bases))


class _NetworkHeader(BaseModel):
    """A network file without what is in its layers."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_: Literal["accelsim.network/1"] = Field(alias="schema")
    name: Annotated[str, Field(min_length=1)]
    description: str = ""
    batch: Batch = 1
    precision: Precision = Precision()
    algorithm: Algorithm = Field(
        default="direct", description="of every convolution that it suits and that does not name its own"
    )
    inputs: dict[str, list[PositiveInt]] = Field(
        default={}, description="named graph inputs and their shapes, without the batch"
    )
    layers: list[Any] = Field(min_length=1)


def network_file_model() -> type[BaseModel]:
    """The model of a whole network file, every operator in it: for its JSON Schema, not for reading."""
    entries = tuple(_entry_model(operator) for operator in OPERATORS)
    layer: Any = Annotated[Union[entries], Field(discriminator="op")]  # noqa: UP007
    layers = Annotated[list[layer], Field(min_length=1)]
    return create_model("NetworkFile", __base__=_NetworkHeader, layers=(layers, ...))


def read_network(document: Document) -> Network:
    """Validate ``document`` and build the network; raises `InputError` with every fault and its place."""
    file, entries = _validated(document)
    inputs: dict[str, Shape] = {name: tuple(shape) for name, shape in file.inputs.items()}
    faults: list[Fault] = []
    sketches = []
    for index, entry in enumerate(entries):
        faults += _missing_files(entry, document, ("layers", index))
        fresh = _fresh_input(entry, index)
        if isinstance(fresh, str):
            faults.append(document.fault(("layers", index), fresh))
            continue
        after = tuple(entry.after) if entry.after is not None else None
        if fresh is not None:
            input_name = f"{entry.name}.input"
            inputs[input_name] = fresh
            after = (input_name,)
        sketch = _sketch(entry, after, file.precision, document.folder)
        own = "algorithm" in entry.model_fields_set
        sketches.append(sketch if own else with_algorithm(sketch, file.algorithm))
    if faults:
        raise InputError(faults)
    try:
        network = build_network(file.name, file.batch, inputs, tuple(sketches), _digest(document.data))
    except GraphError as error:
        raise InputError(
            document.fault(("layers", index, key) if key else ("layers", index), _in_layer(sketches, index, message))
            for index, key, message in error.faults
        ) from None
    _check_numbers(network, document)
    _check_exits(network, document)
    refuse_idle_keys(network, entries, document)
    return replace(network, origin=document)


def _check_numbers(network: Network, document: Document) -> None:
    """Numbers of a requantization or quantization must be as many as there are channels or inputs."""
    places = {sketch.name: index for index, sketch in enumerate(network.sketches)}
    faults = []
    for layer in network.layers:
        at = ("layers", places[layer.name])
        channels = layer.output_shapes[0][1 if len(layer.output_shapes[0]) == 4 else -1]
        lists = {
            "requantize.multiplier": layer.requantize.multiplier, "requantize.shift": layer.requantize.shift,
            "quantization.weight_zero_point": layer.quantization.weight_zero_point,
        }  # fmt: skip
        for key, numbers in lists.items():
            if isinstance(numbers, tuple) and len(numbers) != channels:
                message = f"has {len(numbers)} numbers, must have one or {channels} (output channels)"
                faults.append(document.fault((*at, *key.split(".")), message))
        given = len(layer.quantization.inputs)
        with_constant = not layer.macs and layer.weight.file is not None
        if given and given != len(layer.inputs) and not (with_constant and given == len(layer.inputs) + 1):
            message = f"has {given} entries, the layer has {len(layer.inputs)} inputs"
            faults.append(document.fault((*at, "quantization", "inputs"), message))
    if faults:
        raise InputError(faults)


def _check_exits(network: Network, document: Document) -> None:
    """Behind an exit there must be something that it saves."""
    last = network.layers[-1]
    if last.odds.exit:
        index = [sketch.name for sketch in network.sketches].index(last.name)
        message = f"is {last.odds.exit:g}, but {last.name} is the last layer that runs: put the exit before what it saves"
        raise InputError(document.fault(("layers", index, "exit"), message))


def _validated(document: Document) -> tuple[_NetworkHeader, list[_LayerCommon]]:
    """The header and the layers, each checked by itself; all their faults together if there are any."""
    faults: list[Fault] = []
    header = None
    try:
        header = validate(document, _NetworkHeader)
    except InputError as error:
        faults += error.faults
    data = document.data.get("layers") if isinstance(document.data, dict) else None
    entries = []
    for index in range(len(data) if isinstance(data, list) else 0):
        try:
            entries.append(_validated_layer(document, index))
        except InputError as error:
            faults += error.faults
    if header is None or faults:
        raise InputError(faults)
    return header, entries


def _validated_layer(document: Document, index: int) -> _LayerCommon:
    data = document.data["layers"][index]
    at = ("layers", index)
    if not isinstance(data, dict):
        return validate(document, _LayerCommon, at)  # says so
    if "op" not in data:
        raise InputError(document.fault(at, 'lacks the key "op" that says what the layer computes'))
    name = data["op"]
    if not isinstance(name, str) or name not in OPERATOR_BY_NAME:
        shown = f'"{name}"' if isinstance(name, str) else "not a word"
        near = nearest(str(name), OPERATOR_BY_NAME)
        allowed = f"which is no operator{near}" if near else f"must be {join_allowed(OPERATOR_BY_NAME)}"
        raise InputError(document.fault((*at, "op"), f"is {shown}, {allowed}"))
    return validate(document, _entry_model(OPERATOR_BY_NAME[name]), at)


def _in_layer(sketches: list[LayerSketch], index: int, message: str) -> str:
    return f"layer {sketches[index].name}: {message}"


def _digest(data: Any) -> str:
    return hashlib.sha256(json.dumps(data, sort_keys=True, default=str).encode()).hexdigest()


def _fresh_input(entry: Any, index: int) -> Shape | str | None:
    """The shape of the input that a layer without predecessors reads; None if it has some; text if it cannot be told."""
    if not (entry.after == [] or (entry.after is None and (index == 0 or entry.shape is not None))):
        if entry.shape is not None:
            return "shape is given, but the input comes from another layer; drop shape, or write after: []"
        return None
    if entry.shape is not None:
        return tuple(entry.shape)
    if entry.op == "linear" and entry.in_ is not None:
        return (entry.in_,)
    if entry.op == "matmul" and entry.M is not None and entry.K is not None:
        return (entry.M, entry.K)
    wanted = {"linear": "in (features)", "matmul": "M and K", "conv2d": "shape: [channels, height, width]"}
    return f"layer {entry.name} reads a fresh input: {wanted.get(entry.op, 'shape')} is missing"


def _sketch(entry: Any, after: tuple[str, ...] | None, precision: Precision, folder: Path | None) -> LayerSketch:
    bias = entry.bias if isinstance(entry.bias, ValueSource) else None
    return LayerSketch(
        name=entry.name,
        op=_with_constants_counted(entry.operator(), _located(entry.weight, folder)),
        inputs=after,
        precision=entry.precision.over(precision),
        weight=_located(entry.weight, folder),
        input_values=_located(entry.input, folder),
        bias=_located(bias, folder) if bias else None,
        requantize=entry.requantize.value() if entry.requantize else Requantize(shift=entry.shift),
        quantization=entry.quantization.value() if entry.quantization else Quantization(),
        odds=Odds(entry.exit, entry.gate),
    )


def _with_constants_counted(op: Op, source: ValueSource) -> Op:
    """An operator whose constant operand or slopes come from a file has as many as the file holds."""
    if not isinstance(op, Activation | Elementwise) or op.trained or source.file is None or not source.file.is_file():
        return op
    try:
        return op.model_copy(update={"trained": prod(read_array(source.file, source.array).shape)})
    except ValueError:
        return op  # its fault is told where the numbers are read


def _missing_files(entry: _LayerCommon, document: Document, at: KeyPath) -> Iterator[Fault]:
    """A file that is named must be there, whether its numbers are wanted or not."""
    for key in ("weight", "input", "bias"):
        source = getattr(entry, key)
        located = _located(source, document.folder) if isinstance(source, ValueSource) else ValueSource()
        for part, path in (("file", located.file), ("codebook", located.codebook)):
            why = path and no_file(path)
            if why:
                yield document.fault((*at, key, part), why)


def _located(source: ValueSource, folder: Path | None) -> ValueSource:
    """File names are relative to the YAML file."""
    if folder is None:
        return source
    return source.model_copy(
        update={key: folder / getattr(source, key) for key in ("file", "codebook") if getattr(source, key)}
    )


