"""Layers as products of smaller ones: SVD of a matrix, Tucker-2 and CP of a convolution's kernel.

Ranks are given, or follow from a share of the energy (squared singular values), or from variational Bayes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from accelsim.errors import Fault, InputError

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Rank:
    """How many terms to keep: ``count``, or the fewest that hold ``energy``; neither: by variational Bayes."""

    count: int | None = None
    energy: float | None = None

    def of(self, matrix: Floats, name: str) -> int:
        """The rank for ``matrix``; `InputError` where a count is more than it can have."""
        most = min(matrix.shape)
        if self.count is not None:
            if self.count > most:
                size = " x ".join(map(str, matrix.shape))
                raise InputError(Fault(name, "rank", f"is {self.count}, the matrix is {size}: at most {most}"))
            return self.count
        if self.energy is not None:
            power = np.square(np.linalg.svd(matrix, compute_uv=False))
            return int(min(most, np.searchsorted(np.cumsum(power), self.energy * power.sum() * (1 - 1e-12)) + 1))
        return max(1, vbmf_rank(matrix))


def svd(weights: npt.NDArray[Any], rank: Rank, name: str) -> tuple[Floats, Floats]:
    """(out x rank, rank x in) whose product is nearest to ``weights``; the singular values shared evenly."""
    matrix = weights.astype(np.float64)
    kept = rank.of(matrix, name)
    u, s, vt = np.linalg.svd(matrix, full_matrices=False)
    root = np.sqrt(s[:kept])
    return u[:, :kept] * root, root[:, None] * vt[:kept]


def tucker2(weights: npt.NDArray[Any], rank: Rank, name: str) -> tuple[Floats, Floats, Floats]:
    """Kernel K x C x R x S as (input rank x C, output rank x input rank x R x S, K x output rank).

    Kim et al., ICLR 2016, arXiv 1511.06530: a 1 x 1 convolution, a small R x S one, a 1 x 1 convolution.
    """
    from_tensorly = _tensorly()
    kernel = weights.astype(np.float64)
    out_rank = rank.of(kernel.reshape(len(kernel), -1), f"{name} (outputs)")
    in_rank = rank.of(np.moveaxis(kernel, 1, 0).reshape(kernel.shape[1], -1), f"{name} (inputs)")
    (core, (outputs, inputs)), _ = from_tensorly.partial_tucker(
        kernel, rank=[out_rank, in_rank], modes=[0, 1], init="svd", n_iter_max=100
    )
    return np.asarray(inputs).T, np.asarray(core), np.asarray(outputs)


def cp(weights: npt.NDArray[Any], rank: Rank, name: str, seed: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Kernel K x C x R x S as rank-one terms: (rank x C, rank x R, rank x S, K x rank).

    Lebedev et al., ICLR 2015, arXiv 1412.6553. A count may exceed the channels here; energy and Bayes look at the
    kernel as a K x (C R S) matrix.
    """
    from_tensorly = _tensorly()
    kernel = weights.astype(np.float64)
    most = kernel.size // max(kernel.shape)
    if rank.count is not None and rank.count > most:
        raise InputError(Fault(name, "rank", f"is {rank.count}, a kernel of this shape has at most {most}"))
    terms = rank.count if rank.count is not None else rank.of(kernel.reshape(len(kernel), -1), name)
    scale, factors = from_tensorly.parafac(
        kernel, rank=terms, init="random", random_state=seed, n_iter_max=200, normalize_factors=True
    )
    outputs, inputs, rows, columns = (np.asarray(factor) for factor in factors)
    return inputs.T, rows.T, columns.T, outputs * np.asarray(scale)


def _tensorly() -> Any:
    try:
        from tensorly import decomposition
    except ImportError as error:
        message = f'needs the package tensorly: pip install "accelsim[compress]" ({error})'
        raise InputError(Fault("factorize", "", message)) from None
    return decomposition


def vbmf_rank(matrix: Floats) -> int:
    """Rank by empirical variational Bayesian matrix factorization, the noise estimated.

    The analytic solution of Nakajima et al., JMLR 14 (2013), theorem 2: singular values above a threshold that the
    noise's variance sets stay. The variance is what minimizes the free energy between its bounds (their section 6).
    """
    if matrix.shape[0] > matrix.shape[1]:
        matrix = matrix.T
    rows, columns = matrix.shape
    alpha = rows / columns
    tau = 2.5129 * np.sqrt(alpha)
    threshold = (1 + tau) * (1 + alpha / tau)
    power = np.square(np.linalg.svd(matrix, compute_uv=False))
    if not power.any():
        return 0
    most = min(int(np.ceil(rows / (1 + alpha))) - 1, rows) - 1
    highest = float(power.sum() / (rows * columns))
    lowest = max(float(power[most + 1] / (columns * threshold)), float(power[most + 1 :].mean() / columns))
    lowest = min(max(lowest, highest * 1e-12), highest)
    candidates = np.geomspace(lowest, highest, 512)
    energies = [_free_energy(power, float(noise), rows, columns, threshold) for noise in candidates]
    noise = float(candidates[int(np.argmin(energies))])
    return int(np.sum(power > columns * noise * threshold))


def _free_energy(power: Floats, noise: float, rows: int, columns: int, threshold: float) -> float:
    """The free energy as a function of the noise's variance (Nakajima et al. 2013, section 6), constants left out."""
    alpha = rows / columns
    x = power / (columns * noise)
    above, below = x[x > threshold], x[x <= threshold]
    tau = 0.5 * (above - (1 + alpha) + np.sqrt(np.square(above - (1 + alpha)) - 4 * alpha))
    tiny = np.finfo(np.float64).eps
    return float(
        np.sum(below - np.log(below + tiny)) + np.sum(above - tau) + np.sum(np.log((tau + 1) / above))
        + alpha * np.sum(np.log(tau / alpha + 1))
    )  # fmt: skip
