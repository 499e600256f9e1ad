"""Resize and Upsample: which row or column of its input each of the output's is, or between which of them it lies.

ONNX's formulas, computed in float32 as onnxruntime does: a coordinate in the input, rounded to a row (*nearest*), or two rows
(*linear*) or four (*cubic*) about it, more where a smaller image is smoothed (*antialias*). What lies between rows is a sum of
products of the vector unit, an axis after the other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from accelsim.frontends._onnx_call import Call, Plan
from accelsim.frontends._onnx_model import NotModelledError
from accelsim.frontends._onnx_written import Written
from accelsim.workload.ops import Upsample

Numbers = npt.NDArray[np.float32]
_MODES = ("nearest", "linear", "cubic")


@dataclass(frozen=True)
class _Axis:
    """One axis being resized; ``ends``: the part of the input that is cropped, as shares of it."""

    size: int
    out: int
    scale: np.float32
    ends: tuple[np.float32, np.float32]


def resize(call: Call) -> Plan:
    """The nearest rows and columns of an image; `between` has written all else out."""
    x = call.tensor()
    taken = [_taken(call, axis) for axis in (2, 3)]
    factors = [_repeats(rows, size) for rows, size in zip(taken, x.shape[2:], strict=True)]
    if factors == [1, 1]:
        return Plan(reads=(x,))
    scale = tuple(factor or 1 for factor in factors)
    rows, columns = (() if factor else tuple(t) for t, factor in zip(taken, factors, strict=True))
    return Plan((Upsample(op="upsample", scale=scale, rows=rows, columns=columns),), reads=(x,))


def between(w: Written) -> bool:
    """What is no image whose nearest rows and columns are taken, axis by axis."""
    call = w.call()
    shape, out, mode = call.tensor().shape, call.shape(), call.text("mode", "nearest")
    if mode not in _MODES:
        raise NotModelledError(f"its mode is {mode!r:.40}, must be {' or '.join(_MODES)}")
    if mode == "nearest" and len(shape) == 4 and out[:2] == shape[:2]:
        return False
    name, outside = w.name(0), np.zeros((), np.bool_)
    for axis in range(len(shape)):
        weights = _weights(call, axis, mode)
        beyond = ~weights.any(axis=1)
        outside = outside | beyond.reshape(-1, *(1,) * (len(shape) - 1 - axis))
        name = _along(w, name, weights, axis, len(shape))
    value = float(call.attribute("extrapolation_value", 0.0))
    if outside.any() and value:
        name = w.one("Add", w.one("Mul", name, w.number(~outside)), w.number(outside * value))
    w.give(name)
    return True


def _along(w: Written, name: str, weights: Numbers, axis: int, rank: int) -> str:
    """One axis: the elements that its places are made of, each times its weight."""
    size = weights.shape[1]
    if weights.shape[0] == size and (weights == np.eye(size)).all():
        return name
    counts = (weights != 0).sum(axis=1)
    places = np.argsort(weights == 0, axis=1, kind="stable")[:, : max(1, int(counts.max()))]  # those with a weight come first
    parts = []
    for indices in places.T:
        factors = weights[np.arange(len(weights)), indices]
        taken = w.one("Gather", name, w.piece.constant(indices.astype(np.int64)), axis=axis)
        shaped = w.number(factors.reshape(-1, *(1,) * (rank - 1 - axis)))
        parts.append(taken if (factors == 1).all() else w.one("Mul", taken, shaped))
    return w.total(*parts)


def _weights(call: Call, axis: int, mode: str) -> Numbers:
    """[output, input]: how much of every element each place of the output's axis has; nothing where it lies outside."""
    size, out = call.tensor().shape[axis], call.shape()[axis]
    result = np.zeros((out, size), np.float32)
    if mode == "nearest" or (size == out and axis not in _axes(call)):
        result[np.arange(out), _taken(call, axis) if mode == "nearest" else np.arange(out)] = 1
        return result
    at, place = _axis(call, axis)
    found = _coordinates(at, place)
    cropped = (found < 0) | (found > size - 1) if at == "tf_crop_and_resize" else np.zeros(out, np.bool_)
    smooth = float(place.scale) if call.number("antialias", 0) and place.scale < 1 else 1.0
    edge = mode == "linear" and smooth == 1
    found = np.clip(found, 0, size - 1) if edge else found
    reach = int(np.ceil((1 if mode == "linear" else 2) / smooth))
    slope = float(call.attribute("cubic_coeff_a", -0.75))
    exclude = bool(call.number("exclude_outside", 0))
    for row, where in enumerate(found):
        taps = np.floor(where) + np.arange(-reach, reach + 1)
        shares = _share(np.abs(taps - where) * np.float32(smooth), mode, slope)
        shares = np.where((taps < 0) | (taps >= size), 0, shares) if exclude else shares
        np.add.at(result[row], np.clip(taps, 0, size - 1).astype(np.int64), shares / shares.sum())
    result[cropped] = 0
    return result


def _share(distance: Numbers, mode: str, a: float) -> Numbers:
    """The weight of an element at a distance: a triangle, or Keys' cubic."""
    if mode == "linear":
        return np.maximum(0, 1 - distance)
    near = (a + 2) * distance**3 - (a + 3) * distance**2 + 1
    far = a * distance**3 - 5 * a * distance**2 + 8 * a * distance - 4 * a
    return np.where(distance <= 1, near, np.where(distance < 2, far, 0)).astype(np.float32)


def _repeats(taken: list[int], size: int) -> int:
    """How often each of an axis is repeated; 0 where ``taken`` is no plain repetition."""
    factor = len(taken) // size
    return factor if taken == [i for i in range(size) for _ in range(factor)] else 0


def _taken(call: Call, axis: int) -> list[int]:
    """For each place of the output's axis, that of the input."""
    size = call.tensor().shape[axis]
    rounding = call.text("nearest_mode", "simple" if _is_simple(call) else "round_prefer_floor")
    if rounding not in _ROUNDINGS:
        raise NotModelledError(f"its nearest_mode is {rounding!r:.40}, must be {' or '.join(_ROUNDINGS)}")
    at, place = _axis(call, axis)
    found = _coordinates(at, place)
    if at == "tf_crop_and_resize" and ((found < 0) | (found > size - 1)).any():
        raise NotModelledError("it crops what lies outside of its input (extrapolation_value)")
    rounded = _ROUNDINGS[rounding if rounding != "simple" or place.scale >= 1 else "ceil"](found)
    return [int(i) for i in np.clip(rounded, 0, size - 1)]


def _is_simple(call: Call) -> bool:
    """Whether it is of a time before there were modes of coordinates."""
    return call.opset < 11 or call.node.op == "Upsample"


def _axis(call: Call, axis: int) -> tuple[str, _Axis]:
    """How places of the output become coordinates of the input, and the sizes and the factor of an axis."""
    simple = _is_simple(call)
    at = call.text("coordinate_transformation_mode", "asymmetric" if simple else "half_pixel")
    if at not in _COORDINATES:
        raise NotModelledError(f"its coordinate_transformation_mode is {at!r:.40}, must be {' or '.join(_COORDINATES)}")
    ends = _ends(call, axis) if at == "tf_crop_and_resize" else (np.float32(0), np.float32(1))
    return at, _Axis(call.tensor().shape[axis], call.shape()[axis], _scale(call, axis, 1 if simple else 2), ends)


def _coordinates(at: str, place: _Axis) -> Numbers:
    """Where in the input each place of an axis of the output lies."""
    given = np.arange(place.out, dtype=np.float32)
    return given if place.scale == 1 and at != "tf_crop_and_resize" else _COORDINATES[at](given, place)


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
