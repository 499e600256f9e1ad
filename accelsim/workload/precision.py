"""Number formats of tensors, and the four that a layer has."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer, WithJsonSchema

Kind = Literal["int", "uint", "fp", "bf"]


class NumberFormat(NamedTuple):
    """A number format such as ``int8``: its kind and its width in bits."""

    kind: Kind
    bits: int

    def __str__(self) -> str:
        return f"{self.kind}{self.bits}"

    @property
    def is_integer(self) -> bool:
        return self.kind in ("int", "uint")

    @property
    def lowest(self) -> int:
        """Smallest integer that the format holds."""
        assert self.is_integer
        return -(1 << (self.bits - 1)) if self.kind == "int" else 0

    @property
    def highest(self) -> int:
        """Largest integer that the format holds."""
        assert self.is_integer
        return (1 << (self.bits - 1)) - 1 if self.kind == "int" else (1 << self.bits) - 1

    @property
    def storage(self) -> npt.DTypeLike:
        """The narrowest numpy type that holds every value of the format."""
        if not self.is_integer:
            return np.float32
        width = next(w for w in (8, 16, 32, 64) if w >= self.bits)
        return np.dtype(f"{self.kind}{width}")


_FLOATS = ("fp64", "fp32", "fp16", "bf16", "fp8")


def parse_format(text: Any) -> NumberFormat:
    """``"int8"`` -> `NumberFormat`. Integers of 1 to 64 bits; fp64, fp32, fp16, bf16, fp8."""
    if isinstance(text, NumberFormat):
        return text
    match = re.fullmatch(r"(int|uint|fp|bf)([0-9]{1,2})", text) if isinstance(text, str) else None
    if match:
        kind, bits = match[1], int(match[2])
        if (kind in ("int", "uint") and 1 <= bits <= 64) or text in _FLOATS:
            return NumberFormat(kind, bits)  # type: ignore[arg-type]
    raise ValueError(f"is {text!r}, must be int1 to int64, uint1 to uint64, {', '.join(_FLOATS)}")


FormatField = Annotated[
    NumberFormat,
    BeforeValidator(parse_format),
    PlainSerializer(str, return_type=str),
    WithJsonSchema({"type": "string", "examples": ["int8"], "pattern": "^(u?int[0-9]{1,2}|fp64|fp32|fp16|bf16|fp8)$"}),
]


class Precision(BaseModel):
    """Number formats of a layer's weights, inputs, accumulators and outputs."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weight: FormatField = NumberFormat("int", 8)
    input: FormatField = NumberFormat("int", 8)
    accumulator: FormatField = NumberFormat("int", 32)
    output: FormatField = NumberFormat("int", 8)


class PartialPrecision(BaseModel):
    """What a layer says of its own precision; the rest is the network's."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    weight: FormatField | None = None
    input: FormatField | None = None
    accumulator: FormatField | None = None
    output: FormatField | None = None

    def over(self, base: Precision) -> Precision:
        """``base`` with what is given here in its place."""
        return base.model_copy(update={k: v for k, v in self if v is not None})
