"""Where to clip a tensor before its numbers become integers: six ways to choose the range.

All take the values and the number of bits and return ``(low, high)``; ``symmetric`` ranges are around zero.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import numpy.typing as npt

from accelsim.compression.arrays import Array

Method = Literal["minmax", "percentile", "kl", "mmse", "aciq"]
Range = tuple[float, float]

_CANDIDATES = 64
_KL_BINS = 2048


def choose_range(values: Array, bits: int, method: Method, percentile: float = 99.9, symmetric: bool = False) -> Range:
    """The range of ``values`` by ``method``; it always holds zero, so that zero is exact."""
    flat = np.asarray(values, np.float64).ravel()
    if not flat.size:
        raise ValueError("has no values to find a range of")
    low, high = {
        "minmax": _minmax, "percentile": _percentile, "kl": _kl, "mmse": _mmse, "aciq": _aciq,
    }[method](flat, bits, percentile)  # fmt: skip
    if symmetric:
        low, high = -max(-low, high), max(-low, high)
    return min(low, 0.0), max(high, 0.0)


def _minmax(flat: Array, bits: int, percentile: float) -> Range:
    del bits, percentile
    return float(flat.min()), float(flat.max())


def _percentile(flat: Array, bits: int, percentile: float) -> Range:
    """The middle ``percentile`` per cent; of values without a sign, the lowest."""
    del bits
    if flat.min() >= 0:
        return 0.0, float(np.percentile(flat, percentile))
    outside = (100 - percentile) / 2
    return float(np.percentile(flat, outside)), float(np.percentile(flat, 100 - outside))


def _mmse(flat: Array, bits: int, percentile: float) -> Range:
    """The part of the whole range that leaves the least mean squared error."""
    del percentile
    low, high = float(flat.min()), float(flat.max())
    sample = _sample(flat)
    parts = np.linspace(1 / _CANDIDATES, 1, _CANDIDATES)
    errors = [rounding_error(sample, min(low, 0) * part, max(high, 0) * part, bits) for part in parts]
    best = float(parts[int(np.argmin(errors))])
    return low * best, high * best


def rounding_error(flat: Array, low: float, high: float, bits: int) -> float:
    """Mean squared error of ``flat`` on 2**bits levels from ``low`` to ``high``."""
    step = (high - low) / ((1 << bits) - 1)
    if not step > 0:
        return float(np.mean(np.square(flat)))
    kept = np.rint((np.clip(flat, low, high) - low) / step) * step + low
    return float(np.mean(np.square(flat - kept)))


def _sample(flat: Array, most: int = 1 << 16) -> Array:
    return flat if flat.size <= most else flat[:: -(-flat.size // most)]


def _kl(flat: Array, bits: int, percentile: float) -> Range:
    """The clip whose histogram, on 2**bits levels, diverges least from the values' own.

    S. Migacz, "8-bit inference with TensorRT", GTC 2017: of magnitudes, the outliers added to the last bin. Zeros,
    which every clip keeps, are left out: a rectifier's would outweigh everything else.
    """
    del percentile
    size = np.abs(flat[flat != 0])
    peak = float(size.max(initial=0))
    levels = 1 << (bits if flat.min() >= 0 else bits - 1)
    if peak == 0 or levels >= _KL_BINS:
        return float(flat.min()), float(flat.max())
    counts, _ = np.histogram(size, bins=_KL_BINS, range=(0, peak))
    step = max(1, _KL_BINS // 128)
    ends = range(levels, _KL_BINS + 1, step)
    divergences = [_divergence(counts, end, levels) for end in ends]
    clip = (ends[int(np.argmin(divergences))] + 0.5) * peak / _KL_BINS
    return max(float(flat.min()), -clip), min(float(flat.max()), clip)


def _divergence(counts: npt.NDArray[np.int64], end: int, levels: int) -> float:
    """Kullback-Leibler divergence of the first ``end`` bins, on ``levels`` levels, from the clipped distribution."""
    reference = counts[:end].astype(np.float64)
    there = reference > 0
    level = np.arange(end) * levels // end
    total = np.bincount(level, weights=reference, minlength=levels)
    members = np.bincount(level, weights=there.astype(np.float64), minlength=levels)
    spread = np.where(there, (total / np.maximum(members, 1))[level], 0.0)
    reference[-1] += counts[end:].sum()
    p, q = reference / max(reference.sum(), 1), spread / max(spread.sum(), 1)
    both = (p > 0) & (q > 0)
    lost = float(p[(p > 0) & (q == 0)].sum())  # outliers in a bin that was empty: no code stands for them
    return float(np.sum(p[both] * np.log(p[both] / q[both])) + lost * np.log(levels))


def _aciq(flat: Array, bits: int, percentile: float) -> Range:
    """Analytical clipping around the mean for the better fitting of a Laplace and a Gauss distribution.

    Of values without a sign (after a rectifier) those above zero are taken as one half of a distribution around
    zero, which has a bit more levels.
    """
    del percentile
    one_sided = flat.min() >= 0
    centre = 0.0 if one_sided else float(flat.mean())
    away = flat[flat > 0] if one_sided else np.abs(flat - centre)
    if not away.any():
        return float(flat.min()), float(flat.max())
    scale, sigma = float(away.mean()), float(np.sqrt(np.mean(np.square(away))))
    is_laplace = _laplace_misfit(away, scale) < _gauss_misfit(away, sigma)
    width = bits + 1 if one_sided else bits
    clip = aciq_ratio("laplace", width) * scale if is_laplace else aciq_ratio("gauss", width) * sigma
    low, high = (0.0, clip) if one_sided else (centre - clip, centre + clip)
    return max(low, float(flat.min())), min(high, float(flat.max()))  # steps beyond the values would be wasted


def _laplace_misfit(away: Array, scale: float) -> float:
    """Largest distance of the magnitudes' distribution from an exponential one."""
    return _misfit(away, 1 - np.exp(-np.sort(away) / scale))


def _gauss_misfit(away: Array, sigma: float) -> float:
    from math import erf, sqrt

    points = np.sort(_sample(away, 1024))
    return _misfit(points, np.array([erf(x / (sigma * sqrt(2))) for x in points]))


def _misfit(points: Array, expected: Array) -> float:
    return float(np.max(np.abs(np.arange(1, len(points) + 1) / len(points) - expected)))


def aciq_ratio(shape: Literal["laplace", "gauss"], bits: int) -> float:
    """The clip, over b or sigma, of least clipping and rounding error on 2**bits levels (Banner et al. 2019).

    Laplace: 2 exp(-a) + a**2 / (3 * 4**bits), in units of b**2; Gauss: (1 + a**2) (1 - erf(a / sqrt 2))
    - sqrt(2 / pi) a exp(-a**2 / 2) + a**2 / (3 * 4**bits), in units of sigma**2.
    """
    from math import erfc, exp, pi, sqrt

    clips = np.linspace(0.5, 20, 3901)
    if shape == "laplace":
        clipping = 2 * np.exp(-clips)
    else:
        clipping = np.array([(1 + a * a) * erfc(a / sqrt(2)) - sqrt(2 / pi) * a * exp(-a * a / 2) for a in clips])
    return float(clips[int(np.argmin(clipping + np.square(clips) / (3 * 4.0**bits)))])
