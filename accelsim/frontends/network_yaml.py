"""Reads ``accelsim.network/1`` YAML."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, Literal, Union

from pydantic import BaseModel, ConfigDict, Field, PositiveInt, create_model

from accelsim.errors import Fault, InputError
from accelsim.workload.network import GraphError, LayerSketch, Network, Requantize, ValueSource, build_network
from accelsim.workload.ops import OPERATORS, Op, Shape
from accelsim.workload.precision import PartialPrecision, Precision
from accelsim.yaml_io import Document, validate

SCHEMA = "accelsim.network/1"


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
    shift: Annotated[int, Field(ge=0, le=62)] | None = Field(
        default=None, description="output = saturate(round(accumulator / 2**shift)); a rule by size if left out"
    )

    def operator(self) -> Op:
        """The operator alone."""
        operator_type = next(base for base in type(self).__mro__ if base in OPERATORS)
        names = operator_type.model_fields
        given = {name: getattr(self, name) for name in self.model_fields_set if name in names and name != "bias"}
        if "bias" in names:
            given["bias"] = bool(self.bias)
        return operator_type.model_construct(**{"op": self.op, **given})  # type: ignore[attr-defined,no-any-return]


_ENTRIES = tuple(create_model(f"{o.__name__}Layer", __base__=(_LayerCommon, o)) for o in OPERATORS)


class NetworkFile(BaseModel):
    """A whole network file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_: Literal["accelsim.network/1"] = Field(alias="schema")
    name: Annotated[str, Field(min_length=1)]
    description: str = ""
    batch: PositiveInt = 1
    precision: Precision = Precision()
    inputs: dict[str, list[PositiveInt]] = Field(
        default={}, description="named graph inputs and their shapes, without the batch"
    )
    layers: Annotated[
        list[Annotated[Union[_ENTRIES], Field(discriminator="op")]],  # type: ignore[valid-type]  # noqa: UP007
        Field(min_length=1),
    ]


def read_network(document: Document) -> Network:
    """Validate ``document`` and build the network; raises `InputError` with every fault and its place."""
    file = validate(document, NetworkFile)
    inputs: dict[str, Shape] = {name: tuple(shape) for name, shape in file.inputs.items()}
    faults: list[Fault] = []
    sketches = []
    for index, entry in enumerate(file.layers):
        fresh = _fresh_input(entry, index)
        if isinstance(fresh, str):
            faults.append(document.fault(("layers", index), fresh))
            continue
        after = tuple(entry.after) if entry.after is not None else None
        if fresh is not None:
            input_name = f"{entry.name}.input"
            inputs[input_name] = fresh
            after = (input_name,)
        sketches.append(_sketch(entry, after, file.precision, document.folder))
    if faults:
        raise InputError(faults)
    try:
        return build_network(file.name, file.batch, inputs, tuple(sketches), _digest(document.data))
    except GraphError as error:
        raise InputError(
            document.fault(("layers", index, key) if key else ("layers", index), _in_layer(sketches, index, message))
            for index, key, message in error.faults
        ) from None


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
        op=entry.operator(),
        inputs=after,
        precision=entry.precision.over(precision),
        weight=_located(entry.weight, folder),
        input_values=_located(entry.input, folder),
        bias=_located(bias, folder) if bias else None,
        requantize=Requantize(shift=entry.shift),
    )


def _located(source: ValueSource, folder: Path | None) -> ValueSource:
    """File names are relative to the YAML file."""
    if folder is None:
        return source
    return source.model_copy(
        update={key: folder / getattr(source, key) for key in ("file", "codebook") if getattr(source, key)}
    )


