"""Float formats narrower than fp32: numbers are rounded to them as they are read and as they are written.

Between the two all is fp32: a product of two bf16, fp16 or fp8 numbers is exact there. Rounding is to nearest, ties to
even, below the smallest normal number to the subnormals' step. Beyond the largest number lies infinity; fp8, which is
OCP's E4M3, has none and saturates. Not-a-number stays. fp64 is computed in fp32.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from accelsim.workload.network import Layer
from accelsim.workload.ops import Matmul
from accelsim.workload.precision import NumberFormat

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]


class _Shape(NamedTuple):
    """Bits of a significand, the leading one included; exponent of the smallest normal number; the largest number."""

    digits: int
    lowest_exponent: int
    largest: float
    beyond: float = np.inf


_SHAPES = {
    NumberFormat("fp", 16): _Shape(11, -14, 65504.0),
    NumberFormat("bf", 16): _Shape(8, -126, (2 - 2.0**-7) * 2.0**127),
    NumberFormat("fp", 8): _Shape(4, -6, 448.0, beyond=448.0),
}


def rounded(values: Array, to: NumberFormat) -> Floats:
    """``values`` as numbers of the float format ``to``, in float32."""
    shape = _SHAPES.get(to)
    with np.errstate(over="ignore", invalid="ignore"):
        if shape is None:
            return values.astype(np.float32, copy=False)
        nearest = _nearest(values, shape)
        outside = np.abs(nearest) > shape.largest  # false of not-a-number
        return np.where(outside, np.copysign(shape.beyond, nearest), nearest).astype(np.float32)


def fits(values: Array, to: NumberFormat) -> npt.NDArray[np.bool_]:
    """Which of ``values`` are finite and round to a finite number of the format."""
    shape = _SHAPES.get(to)
    with np.errstate(over="ignore", invalid="ignore"):
        if shape is None:
            return np.isfinite(values.astype(np.float32))
        return np.abs(_nearest(values, shape)) <= shape.largest


def _nearest(values: Array, shape: _Shape) -> Array:
    """The nearest numbers of the format, were there no largest one; in the type of ``values``, if that is a wide float."""
    wide = values if values.dtype in (np.float32, np.float64) else values.astype(np.float64)
    exponents = np.maximum(np.frexp(wide)[1], shape.lowest_exponent + 1) - shape.digits  # of the last digit
    return np.asarray(np.ldexp(np.rint(np.ldexp(wide, -exponents)), exponents))


def as_read(layer: Layer, inputs: tuple[Array, ...]) -> tuple[Array, ...]:
    """``inputs`` as ``layer`` reads them: floats in its own formats. The right matrix of a product stands for weights."""
    own = layer.precision
    formats = (own.input, own.weight if isinstance(layer.op, Matmul) else own.input)
    return tuple(read_as(x, formats[min(place, 1)]) for place, x in enumerate(inputs))


def read_as(values: Array, to: NumberFormat) -> Array:
    """Floats in the float format ``to``; anything else as it is."""
    return rounded(values, to) if values.dtype.kind == "f" and not to.is_integer else values
