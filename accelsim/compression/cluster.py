"""Weights that share few values: k-means codebooks, their centroids fitted to data, and hashed weights."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from accelsim.compression.arrays import Array, Floats

_ROUNDS = 50


@dataclass(frozen=True, eq=False)
class Shared:
    """``values[codes]``: a weight's code is its place in the codebook; code 0 stands for zero (pruned)."""

    codes: npt.NDArray[np.int64]
    values: Floats

    @property
    def dense(self) -> Floats:
        return self.values[self.codes]


def cluster(weights: Floats, bits: int) -> Shared:
    """A codebook of 2**bits values, zero among them, for the weights that are not zero.

    Lloyd's k-means from centroids spread evenly over the range, which Deep Compression found best (Han et al., ICLR
    2016, arXiv 1510.00149, section 3.2). Weights that are zero have code 0.
    """
    flat = weights.ravel().astype(np.float64)
    kept = flat != 0
    points = np.sort(flat[kept])
    count = min((1 << bits) - 1, len(np.unique(points)))
    centroids = _lloyd(points, count) if count else np.zeros(0)
    codes = np.zeros(flat.size, np.int64)
    codes[kept] = 1 + _nearest(flat[kept], centroids)
    values = np.concatenate((np.zeros(1), centroids)).astype(np.float32)
    return Shared(codes.reshape(weights.shape), values)


def _lloyd(points: Array, count: int) -> npt.NDArray[np.float64]:
    """Centroids of sorted points; one that loses all its points stays where it was."""
    centroids = np.linspace(points[0], points[-1], count)
    sums = np.concatenate((np.zeros(1), np.cumsum(points)))
    for _ in range(_ROUNDS):
        cuts = np.searchsorted(points, (centroids[1:] + centroids[:-1]) / 2)
        ends = np.concatenate(([0], cuts, [len(points)]))
        sizes = np.diff(ends)
        moved = np.where(sizes > 0, np.diff(sums[ends]) / np.maximum(sizes, 1), centroids)
        if np.array_equal(moved, centroids):
            break
        centroids = moved
    return centroids


def _nearest(points: Array, centroids: Array) -> npt.NDArray[np.int64]:
    return np.searchsorted((centroids[1:] + centroids[:-1]) / 2, points).astype(np.int64)


def fit_centroids(shared: Shared, weights: Floats, gram: npt.NDArray[np.float64]) -> Shared:
    """The codebook that makes the layer's outputs on data closest to those of ``weights``.

    ``gram`` is X^T X of the layer's inputs, one row a sample, in x in. The outputs are linear in the codebook, so
    that the best one solves the normal equations, once and exactly: what fine-tuning by gradient descent (Han et
    al.) approaches for one layer at a time.
    """
    rows, codes = weights.reshape(len(weights), -1).astype(np.float64), shared.codes.reshape(len(weights), -1)
    count = len(shared.values)
    # (columns of one-hot codes)^T gram (columns): a sum over output channels
    matrix, target = np.zeros((count, count)), np.zeros(count)
    for row, code in zip(rows, codes, strict=True):
        chosen = np.eye(count)[code]
        through = gram @ chosen
        matrix += chosen.T @ through
        target += through.T @ row
    used = np.bincount(codes.ravel(), minlength=count) > 0
    used[0] = False  # zero stays zero
    places = np.flatnonzero(used)
    values = shared.values.astype(np.float64)
    if places.size:
        values[places] = np.linalg.lstsq(matrix[np.ix_(places, places)], target[places], rcond=None)[0]
    return Shared(shared.codes, values.astype(np.float32))


def hashed(weights: Floats, count: int, seed: int) -> Shared:
    """Weights that share ``count`` values by a hash of their place, with a hashed sign (Chen et al., HashedNets, 2015).

    A bucket's value is the mean of its weights times their signs, which is nearest to them all. Codes are 1 to
    ``count`` with the plus sign, then those with the minus; no index need be stored, a hash tells it.
    """
    flat = weights.ravel().astype(np.float64)
    mixed = _mixed(np.arange(flat.size, dtype=np.uint64), seed)
    bucket, minus = (mixed % np.uint64(count)).astype(np.int64), (mixed >> np.uint64(63)).astype(bool)
    signed = np.where(minus, -flat, flat)
    means = np.bincount(bucket, signed, count) / np.maximum(np.bincount(bucket, minlength=count), 1)
    values = np.concatenate((np.zeros(1), means, -means)).astype(np.float32)
    return Shared((1 + bucket + count * minus).reshape(weights.shape), values)


def _mixed(places: npt.NDArray[np.uint64], seed: int) -> npt.NDArray[np.uint64]:
    """Steele, Lea and Flood's splitmix64: 64 well-mixed bits of each place."""
    with np.errstate(over="ignore"):
        z = (places + np.uint64(seed + 1)) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))
