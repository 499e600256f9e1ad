"""Gather, GatherND, ScatterND and TopK with computed places, as one lookup along one axis: places in a row are counted through.

A lookup of rows is along the first of two axes, its places one a row. Where places are known, elements are taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod

import numpy as np

from accelsim.frontends._onnx_call import Tensor
from accelsim.frontends._onnx_model import Constant, NotModelledError
from accelsim.frontends._onnx_written import Written


def top_k(w: Written) -> bool:
    """Its values are what stands at its places."""
    if not w.is_used(0) or not isinstance(w.value(0), Tensor):
        return False
    axis = w.integer("axis", -1)
    given = {key: value for key, value in w.node.attributes.items() if key != "sorted"}
    outputs = [f"{w.piece.prefix}none", w.proto.output[1] if w.is_used(1) else f"{w.piece.prefix}places"]
    w.piece.node("TopK", list(w.proto.input), outputs, **given)
    w.piece.node("GatherElements", [w.name(0), outputs[1]], [w.proto.output[0]], axis=axis)
    return True


def gather_elements(w: Written) -> bool:
    """Places that reach less far than the data along other axes: the data is cut; one operand a constant: it is an input."""
    shape, places, axis = w.shape(0), w.shape(1), w.integer("axis", 0) % len(w.shape(0))
    name, cut = w.name(0), False
    for other, (size, wanted) in enumerate(zip(shape, places, strict=True)):
        if other != axis and wanted < size:
            name, cut = w.slice(name, 0, wanted, other), True
    if not cut:
        return False
    w.give(w.one("GatherElements", name, w.name(1), axis=axis))
    return True


def gather(w: Written) -> bool:
    """Rows of what is no table, or at places that are computed."""
    data, places, axis = w.value(0), w.value(1), w.integer("axis", 0)
    if not isinstance(data, Tensor | Constant) or not isinstance(places, Tensor) or not data.shape:
        return False
    axis %= len(data.shape)
    if isinstance(data, Constant):
        return _rows_of_a_table(w, data, places, axis)
    outer, size, inner = data.shape[:axis], data.shape[axis], data.shape[axis + 1 :]
    count, depth = prod(places.shape), prod(inner)
    rows = w.reshape(w.name(0), *outer, size, depth)
    at = w.reshape(w.name(1), *(1,) * axis, count, 1)
    w.give(w.reshape(w.one("GatherElements", rows, _over(w, at, outer, count, depth), axis=axis), *outer, *places.shape, *inner))
    return True


def _rows_of_a_table(w: Written, table: Constant, places: Tensor, axis: int) -> bool:
    """A constant's rows: of a matrix they are looked up, what is no matrix is laid out as one."""
    if axis == 0 and len(table.shape) == 2:
        return False
    order = [axis, *(a for a in range(len(table.shape)) if a != axis)]
    inner = [table.shape[a] for a in order[1:]]
    matrix = w.reshape(w.transpose(w.name(0), *order), table.shape[axis], prod(inner))
    found = w.reshape(w.one("Gather", matrix, w.name(1), axis=0), *places.shape, *inner)
    rank = len(places.shape)
    before = [rank + a for a in range(axis)]
    w.give(w.transpose(found, *before, *range(rank), *range(rank + axis, rank + len(inner))))
    return True


def _over(w: Written, at: str, outer: Sequence[int], count: int, depth: int) -> str:
    """Places for every row and element, one of each being said."""
    if prod(outer) * depth == 1:
        return at
    return w.one("Expand", at, w.integers_of(*outer, count, depth))


def gather_nd(w: Written) -> None:
    """Places of several numbers each: counted through, they are rows of the data laid out as such."""
    shape, batch, known = w.shape(0), w.integer("batch_dims", 0), w.shape(1)
    row, outer = known[-1], shape[:batch]
    sizes, inner = shape[batch : batch + row], shape[batch + row :]
    count, depth = prod(known[batch:-1]), prod(inner)
    at = _counted(w, w.name(1), w.is_constant(1), known, sizes)
    data = w.reshape(w.name(0), *outer, prod(sizes), depth)
    places = w.one("Expand", w.reshape(at, *outer, count, 1), w.integers_of(*outer, count, depth)) if depth > 1 else w.reshape(
        at, *outer, count, 1
    )
    found = w.one("GatherElements", data, places, axis=batch)
    w.give(w.reshape(found, *outer, *known[batch:-1], *inner))


def scatter_nd(w: Written) -> None:
    shape, known = w.shape(0), w.shape(1)
    row = known[-1]
    sizes, inner = shape[:row], shape[row:]
    count, depth = prod(known[:-1]), prod(inner)
    at = w.reshape(_counted(w, w.name(1), w.is_constant(1), known, sizes), count, 1)
    places = w.one("Expand", at, w.integers_of(count, depth)) if depth > 1 else at
    made = w.one(
        "ScatterElements", w.reshape(w.name(0), prod(sizes), depth), places, w.reshape(w.name(2), count, depth), axis=0,
        **({"reduction": w.text("reduction", "none")} if "reduction" in w.node.attributes else {}),
    )  # fmt: skip
    w.give(w.reshape(made, *shape))


def _counted(w: Written, name: str, constant: bool, shape: Sequence[int], sizes: Sequence[int]) -> str:
    """Places of several numbers as one number each."""
    if len(sizes) == 1:
        return w.reshape(name, *shape[:-1])
    steps = [prod(sizes[place + 1 :]) for place in range(len(sizes))]
    if constant:
        given = w.known(1)
        if given is None:
            raise NotModelledError("its places are not in the file, or too many")
        whole = np.where(given < 0, given + np.asarray(sizes), given)
        return w.piece.constant((whole * np.asarray(steps)).sum(axis=-1))
    return w.reduce("ReduceSum", w.one("Mul", name, w.number(steps, 1)), [len(shape) - 1], keepdims=0)
