"""Which weights to keep: masks by magnitude, over blocks of any shape; N:M; the same number in every PE."""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from accelsim.compression.arrays import Array, Floats
from accelsim.errors import Fault, InputError

Mask = npt.NDArray[np.bool_]
Granularity = Literal["element", "vector", "kernel", "filter", "channel"]


def block_shape(shape: tuple[int, ...], granularity: Granularity, vector: int) -> tuple[int, ...]:
    """The block that is kept or dropped whole, in weights of ``shape`` (K x C x R x S, or out x in).

    vector: a row of a filter (S), in a matrix ``vector`` neighbours of a row; kernel: R x S; filter: all of an output
    channel; channel: all of an input channel. In a matrix a kernel is an element.
    """
    rank = len(shape)
    if granularity == "element":
        return (1,) * rank
    if granularity == "vector":
        return (*(1,) * (rank - 1), shape[-1] if rank > 2 else vector)
    if granularity == "kernel":
        return (1, 1, *shape[2:])
    return (1, *shape[1:]) if granularity == "filter" else (shape[0], 1, *shape[2:])


def scores(weights: Floats, block: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Root mean square of every block; blocks at the edge that stick out count as filled with zeros."""
    if set(block) == {1}:
        return np.abs(weights.astype(np.float64))
    spread = [(0, -size % part) for size, part in zip(weights.shape, block, strict=True)]
    padded = np.pad(weights.astype(np.float64), spread)
    split = [n for size, part in zip(padded.shape, block, strict=True) for n in (size // part, part)]
    inner = tuple(range(1, 2 * weights.ndim, 2))
    return np.asarray(np.sqrt(np.mean(np.square(padded.reshape(split)), axis=inner)))


def spread_mask(kept: Mask, block: tuple[int, ...], shape: tuple[int, ...]) -> Mask:
    """A mask of blocks as a mask of weights."""
    for axis, part in enumerate(block):
        kept = kept.repeat(part, axis=axis)
    return kept[tuple(slice(size) for size in shape)]


def keep_share(score: Array, density: float) -> Mask:
    """The ``density`` of blocks with the largest scores, rounded, at least one; of equal ones the first."""
    count = max(1, round(density * score.size))
    flat = score.ravel()
    least = np.partition(flat, flat.size - count)[flat.size - count]
    kept: Mask = flat > least
    kept[np.flatnonzero(flat == least)[: count - int(np.count_nonzero(kept))]] = True
    return kept.reshape(score.shape)


def n_of_m(weights: Floats, n: int, m: int) -> Mask:
    """The ``n`` largest of every ``m`` neighbouring input channels (of a matrix: inputs)."""
    turned = np.moveaxis(np.abs(weights), 1, -1)
    size = turned.shape[-1]
    padded = np.pad(turned, [(0, 0)] * (turned.ndim - 1) + [(0, -size % m)], constant_values=-1.0)
    groups = padded.reshape(*padded.shape[:-1], -1, m)
    order = np.argsort(-groups, axis=-1, kind="stable")
    kept = np.zeros(groups.shape, np.bool_)
    np.put_along_axis(kept, order[..., :n], True, axis=-1)
    return np.moveaxis(kept.reshape(padded.shape)[..., :size], -1, 1)


def balanced(weights: Floats, pes: int, density: float) -> Mask:
    """Every PE's rows (output channel mod ``pes``) keep the same number of weights (Han et al., ESE, FPGA 2017)."""
    from accelsim.formats import prune_balanced

    matrix = weights.reshape(len(weights), -1)
    if pes > len(matrix):
        raise InputError(Fault("pes", "", f"is {pes}, the layer has {len(matrix)} rows to share out"))
    keep = max(1, round(density * (len(matrix) // pes) * matrix.shape[1]))
    pruned = prune_balanced(matrix, pes, keep)
    kept = np.zeros(matrix.shape, np.bool_)
    kept[pruned.rows, pruned.cols] = True
    return kept.reshape(weights.shape)
