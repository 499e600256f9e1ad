"""The rule of Resize and Upsample: which row or column of its input each of the output's is.

ONNX's formulas, computed in float32 as onnxruntime does: a coordinate in the input, rounded to a row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from accelsim.frontends._onnx_call import Call, Plan
from accelsim.frontends._onnx_model import NotModelledError
from accelsim.workload.ops import Upsample

Numbers = npt.NDArray[np.float32]


@dataclass(frozen=True)
class _Axis:
    """One axis being resized; ``ends``: the part of the input that is cropped, as shares of it."""

    size: int
    out: int
    scale: np.float32
    ends: tuple[np.float32, np.float32]


def resize(call: Call) -> Plan:
    x, out, mode = call.tensor(), call.shape(), call.text("mode", "nearest")
    if mode != "nearest":
        raise NotModelledError(f"its mode is {mode!r:.40}; nearest is modelled")
    if len(x.shape) != 4 or out[:2] != x.shape[:2]:
        raise NotModelledError(f"it resizes {list(x.shape)} to {list(out)}; height and width of an image are modelled")
    taken = [_taken(call, axis) for axis in (2, 3)]
    factors = [_repeats(rows, size) for rows, size in zip(taken, x.shape[2:], strict=True)]
    if factors == [1, 1]:
        return Plan(reads=(x,))
    scale = tuple(factor or 1 for factor in factors)
    rows, columns = (() if factor else tuple(t) for t, factor in zip(taken, factors, strict=True))
    return Plan((Upsample(op="upsample", scale=scale, rows=rows, columns=columns),), reads=(x,))


def _repeats(taken: list[int], size: int) -> int:
    """How often each of an axis is repeated; 0 where ``taken`` is no plain repetition."""
    factor = len(taken) // size
    return factor if taken == [i for i in range(size) for _ in range(factor)] else 0


def _taken(call: Call, axis: int) -> list[int]:
    """For each place of the output's axis, that of the input."""
    size, out = call.tensor().shape[axis], call.shape()[axis]
    simple = call.opset < 11 or call.node.op == "Upsample"
    at = call.text("coordinate_transformation_mode", "asymmetric" if simple else "half_pixel")
    rounding = call.text("nearest_mode", "simple" if simple else "round_prefer_floor")
    if at not in _COORDINATES or rounding not in _ROUNDINGS:
        raise NotModelledError(f"its coordinate_transformation_mode is {at!r:.40}, its nearest_mode {rounding!r:.40}")
    ends = _ends(call, axis) if at == "tf_crop_and_resize" else (np.float32(0), np.float32(1))
    place = _Axis(size, out, _scale(call, axis, 1 if simple else 2), ends)
    given = np.arange(out, dtype=np.float32)
    found = given if place.scale == 1 and at != "tf_crop_and_resize" else _COORDINATES[at](given, place)
    if at == "tf_crop_and_resize" and ((found < 0) | (found > size - 1)).any():
        raise NotModelledError("it crops what lies outside of its input (extrapolation_value)")
    rounded = _ROUNDINGS[rounding if rounding != "simple" or place.scale >= 1 else "ceil"](found)
    return [int(i) for i in np.clip(rounded, 0, size - 1)]


def _axes(call: Call) -> list[int]:
    """The axes that scales, sizes and the region are about."""
    rank = len(call.tensor().shape)
    return [int(axis) % rank for axis in call.attribute("axes") or range(rank)]


def _scale(call: Call, axis: int, index: int) -> np.float32:
    """The factor of an axis: as it is given, else what the sizes make of it."""
    axes = _axes(call)
    if axis not in axes:
        return np.float32(1)
    scales = call.value(index, "its scales") if call.input(index) is not None else call.attribute("scales")
    if scales is not None and np.size(scales):
        return np.float32(np.ravel(scales)[axes.index(axis)])
    return _scale_of_sizes(call, axis, axes)


def _scale_of_sizes(call: Call, axis: int, axes: list[int]) -> np.float32:
    policy, sizes = call.text("keep_aspect_ratio_policy", "stretch"), call.value(3, "its sizes")
    choose = {"not_larger": min, "not_smaller": max}.get(policy)
    x = call.tensor().shape
    if choose is None or sizes is None:
        return np.float32(call.shape()[axis]) / np.float32(x[axis])
    return np.float32(choose(float(s) / x[a] for s, a in zip(sizes.ravel(), axes, strict=True)))


def _ends(call: Call, axis: int) -> tuple[np.float32, np.float32]:
    region, axes = call.value(1, "its roi"), _axes(call)
    if region is None or region.size != 2 * len(axes):
        raise NotModelledError("its roi is missing")
    if axis not in axes:
        return np.float32(0), np.float32(1)
    place = axes.index(axis)
    return np.float32(region.ravel()[place]), np.float32(region.ravel()[place + len(axes)])


def _half_pixel(x: Numbers, a: _Axis) -> Numbers:
    return (x + np.float32(0.5)) / a.scale - np.float32(0.5)


def _symmetric(x: Numbers, a: _Axis) -> Numbers:
    adjustment = np.float32(a.out) / (a.scale * np.float32(a.size))
    offset = np.float32(a.size / 2) * (np.float32(1) - adjustment)
    return offset + (x + np.float32(0.5)) / a.scale - np.float32(0.5)


def _cropped(x: Numbers, a: _Axis) -> Numbers:
    start, end = a.ends
    last = np.float32(a.size - 1)
    if a.out == 1:
        return np.full_like(x, np.float32(0.5) * (start + end) * last)
    return start * last + x * (end - start) * last / np.float32(a.out - 1)


_COORDINATES: dict[str, Callable[[Numbers, _Axis], Numbers]] = {
    "half_pixel": _half_pixel,
    "half_pixel_symmetric": _symmetric,
    "pytorch_half_pixel": lambda x, a: _half_pixel(x, a) if a.out > 1 else np.zeros_like(x),
    "align_corners": lambda x, a: x * np.float32(a.size - 1) / np.float32(max(a.out - 1, 1)),
    "asymmetric": lambda x, a: x / a.scale,
    "tf_half_pixel_for_nn": lambda x, a: (x + np.float32(0.5)) / a.scale,
    "tf_crop_and_resize": _cropped,
}
_ROUNDINGS: dict[str, Callable[[Numbers], Numbers]] = {
    "round_prefer_floor": lambda x: np.ceil(x - np.float32(0.5)),
    "round_prefer_ceil": lambda x: np.floor(x + np.float32(0.5)),
    "floor": np.floor,
    "ceil": np.ceil,
    "simple": np.floor,
}
