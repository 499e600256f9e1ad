"""Samples and labels for calibration and tests, from files or from a seed."""

from __future__ import annotations

import numpy as np

from accelsim.compression.arrays import Array, finite
from accelsim.compression.recipe import Data
from accelsim.errors import Fault, InputError
from accelsim.workload.array_files import SparseArray, check_labels, read_array
from accelsim.workload.network import Network

SEEDED_SAMPLES = 8


def read_samples(data: Data, what: str) -> tuple[Array, Array | None]:
    """(samples, labels or None) of a recipe's ``calibration`` or ``test``; raises `InputError`."""
    samples = _array(data, data.array, what)
    labels = _array(data, data.labels, what) if data.labels is not None else None
    if samples.ndim < 2 or not len(samples):
        shape = list(samples.shape)
        raise InputError(
            Fault(str(data.file), what, f"has the shape {shape}, must be one sample or more, samples first")
        )
    finite(samples.astype(np.float64), str(data.file))
    if labels is not None and labels.shape != (len(samples),):
        raise InputError(
            Fault(str(data.file), what, f"has labels of shape {list(labels.shape)} for {len(samples)} samples")
        )
    try:
        labels = labels if labels is None else check_labels(labels)
    except ValueError as error:
        raise InputError(Fault(str(data.file), what, str(error))) from None
    kept = slice(data.samples)
    return samples[kept].astype(np.float32), None if labels is None else labels[kept]


def _array(data: Data, name: str | None, what: str) -> Array:
    try:
        found = read_array(data.file, name)
    except ValueError as error:
        raise InputError(Fault(str(data.file), what, str(error))) from None
    return found.dense() if isinstance(found, SparseArray) else found


def seeded_samples(network: Network, seed: int, count: int = SEEDED_SAMPLES) -> Array:
    """Samples of a unit normal distribution, for a network without data."""
    if len(network.inputs) != 1:
        message = f"has {len(network.inputs)} inputs; compression knows networks with one"
        raise InputError(Fault(network.name, "", message))
    shape = next(iter(network.inputs.values()))
    return np.random.default_rng([seed, 7]).standard_normal((count, *shape), dtype=np.float32)
