"""Ranges, integer formats, codebooks, masks, factors: do the small functions do what their sources say?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim.compression import masks
from accelsim.compression.cluster import cluster, fit_centroids, hashed
from accelsim.compression.factors import Rank, cp, svd, tucker2, vbmf_rank
from accelsim.compression.integers import WeightRule, best_radix, quantize_weights
from accelsim.compression.ranges import aciq_ratio, choose_range, rounding_error
from accelsim.errors import InputError
from accelsim.workload.precision import NumberFormat

METHODS = ("minmax", "percentile", "kl", "mmse", "aciq")
RNG = np.random.default_rng(0)
WEIGHTS = RNG.normal(0, 0.2, (6, 5, 3, 3)).astype(np.float32)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("values", [WEIGHTS, np.abs(WEIGHTS), np.zeros(4), np.ones(3), -np.ones(3)], ids=str)
def test_ranges_hold_zero_and_lie_within_the_values(method: Any, values: Any) -> None:
    low, high = choose_range(values, 8, method)
    assert low <= 0 <= high
    if method in ("minmax", "percentile", "kl", "mmse"):
        assert min(0, values.min()) - 1e-9 <= low
        assert high <= max(0, values.max()) + 1e-9


def test_ranges_of_heavy_tails_cut_them() -> None:
    values = RNG.laplace(size=20_000)
    whole = choose_range(values, 4, "minmax")
    for method in ("percentile", "kl", "mmse", "aciq"):
        low, high = choose_range(values, 4, method)  # type: ignore[arg-type]
        assert whole[0] < low < high < whole[1]
    errors = {m: rounding_error(values, *choose_range(values, 4, m), 4) for m in METHODS}  # type: ignore[arg-type]
    assert min(errors, key=lambda m: errors[m]) in ("mmse", "aciq")


def test_aciq_ratios_are_the_papers() -> None:
    """Banner et al. 2019, section 2: 2.83 b, 3.89 b and 5.03 b for 2, 3 and 4 bits of a Laplace distribution."""
    assert [aciq_ratio("laplace", bits) for bits in (2, 3, 4)] == pytest.approx([2.83, 3.89, 5.03], abs=0.01)
    assert aciq_ratio("gauss", 4) == pytest.approx(2.56, abs=0.01)


@pytest.mark.parametrize("kind", ["affine", "symmetric", "fixed"])
@pytest.mark.parametrize("per_channel", [False, True])
@pytest.mark.parametrize("bits", [3, 8, 16])
def test_linear_formats_err_by_half_a_step(kind: Any, per_channel: bool, bits: int) -> None:
    found = quantize_weights(WEIGHTS, WeightRule(kind, bits, per_channel))
    assert found.format == NumberFormat("int", bits)
    assert found.values.min() >= found.format.lowest
    assert found.values.max() <= found.format.highest
    step = found.scale.reshape(-1, 1, 1, 1) if found.scale.ndim else found.scale
    error = np.abs(found.real() - WEIGHTS)
    inside = np.abs(found.values) < found.format.highest  # fixed point may cut the largest
    assert (error[inside] <= np.broadcast_to(step, error.shape)[inside] * 0.5001).all()
    assert found.scale.shape == ((6,) if per_channel else ())


def test_zero_is_zero_in_every_format_but_binary() -> None:
    weights = WEIGHTS * (np.abs(WEIGHTS) > 0.1)
    for kind in ("affine", "symmetric", "fixed", "log2", "ternary"):
        real = quantize_weights(weights, WeightRule(kind, 8)).real()  # type: ignore[arg-type]
        assert (real[weights == 0] == 0).all()


def test_logarithmic_weights_are_powers_of_two() -> None:
    found = quantize_weights(WEIGHTS, WeightRule("log2", 4))
    kept = np.abs(found.values[found.values != 0])
    assert {int(v) for v in kept} <= {1 << e for e in range(7)}
    real = np.abs(found.real()[found.values != 0])
    assert (np.abs(np.log2(real) - np.log2(np.abs(WEIGHTS[found.values != 0]))) <= 0.5 + 1e-6).all()


def test_binary_and_ternary_scales() -> None:
    binary = quantize_weights(WEIGHTS, WeightRule("binary"))
    rows = np.abs(WEIGHTS.reshape(6, -1))
    np.testing.assert_allclose(binary.scale, rows.mean(axis=1), rtol=1e-6)
    assert set(np.unique(binary.values)) == {-1, 1}
    ternary = quantize_weights(WEIGHTS, WeightRule("ternary"))
    kept = rows > 0.7 * rows.mean(axis=1, keepdims=True)
    np.testing.assert_array_equal(ternary.values.reshape(6, -1) != 0, kept)
    np.testing.assert_allclose(ternary.scale, [r[k].mean() for r, k in zip(rows, kept, strict=True)], rtol=1e-6)


@pytest.mark.parametrize(("peak", "bits", "radix"), [(0.99, 8, 7), (1.5, 8, 6), (100.0, 8, 0), (0.01, 8, 13)])
def test_the_radix_follows_the_largest(peak: float, bits: int, radix: int) -> None:
    assert best_radix(np.linspace(-peak, peak, 1001), NumberFormat("int", bits)) == radix


@given(st.integers(1, 6), st.integers(0, 10_000))
@settings(max_examples=25, deadline=None)
def test_clusters_keep_zeros_and_choose_the_nearest(bits: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = (rng.normal(size=(7, 9)) * (rng.random((7, 9)) < 0.6)).astype(np.float32)
    shared = cluster(weights, bits)
    assert len(shared.values) <= 1 << bits
    np.testing.assert_array_equal(shared.dense == 0, (weights == 0) | (shared.dense == 0))
    assert (shared.codes[weights == 0] == 0).all()
    kept = weights != 0
    nearest = np.abs(weights[kept][:, None] - shared.values[1:]).min(axis=1)
    np.testing.assert_allclose(np.abs(shared.dense - weights)[kept], nearest, atol=1e-6)


def test_fitted_centroids_are_the_best_for_the_data() -> None:
    weights, x = RNG.normal(size=(8, 12)).astype(np.float32), RNG.normal(size=(200, 12))
    shared = cluster(weights, 2)
    fitted = fit_centroids(shared, weights, x.T @ x)

    def error(values: Any) -> float:
        return float(np.square(x @ (values[shared.codes] - weights).T.astype(np.float64)).sum())

    assert error(fitted.values) < error(shared.values)
    for place in range(1, len(fitted.values)):
        for step in (-1e-2, 1e-2):
            moved = fitted.values.copy()
            moved[place] += step
            assert error(moved) > error(fitted.values)


def test_hashed_weights_share_buckets() -> None:
    shared = hashed(WEIGHTS, 32, seed=1)
    assert len(np.unique(np.abs(shared.dense))) <= 32
    np.testing.assert_array_equal(shared.dense, hashed(WEIGHTS, 32, seed=1).dense)
    assert not np.array_equal(shared.codes, hashed(WEIGHTS, 32, seed=2).codes)
    exact = hashed(shared.dense, 32, seed=1)  # what is shared already stays
    np.testing.assert_allclose(exact.dense, shared.dense, atol=1e-6)


@pytest.mark.parametrize(
    ("granularity", "block"),
    [("element", (1, 1, 1, 1)), ("vector", (1, 1, 1, 3)), ("kernel", (1, 1, 3, 3)), ("filter", (1, 5, 3, 3)),
     ("channel", (6, 1, 3, 3))],
)  # fmt: skip
def test_masks_drop_whole_blocks_and_keep_the_largest(granularity: Any, block: tuple[int, ...]) -> None:
    assert masks.block_shape(WEIGHTS.shape, granularity, 4) == block
    score = masks.scores(WEIGHTS, block)
    kept = masks.keep_share(score, 0.5)
    assert kept.sum() == max(1, round(score.size / 2))
    assert score[kept].min() >= score[~kept].max()
    mask = masks.spread_mask(kept, block, WEIGHTS.shape)
    assert mask.shape == WEIGHTS.shape
    assert mask.sum() == kept.sum() * np.prod(block)


@pytest.mark.parametrize("shape", [(4, 8), (3, 6, 3, 3), (2, 7)])
def test_n_of_m(shape: tuple[int, ...]) -> None:
    weights = RNG.normal(size=shape).astype(np.float32)
    mask = np.moveaxis(masks.n_of_m(weights, 2, 4), 1, -1)
    for start in range(0, shape[1], 4):
        assert (mask[..., start : start + 4].sum(axis=-1) == min(2, shape[1] - start)).all()


def test_balanced_masks_keep_the_same_in_every_pe() -> None:
    mask = masks.balanced(RNG.normal(size=(16, 20)).astype(np.float32), 4, 0.25)
    assert [int(mask[pe::4].sum()) for pe in range(4)] == [20] * 4


def test_svd_by_count_and_energy() -> None:
    matrix = RNG.normal(size=(9, 3)) @ RNG.normal(size=(3, 12))
    left, right = svd(matrix, Rank(energy=1.0), "m")
    assert left.shape == (9, 3)
    np.testing.assert_allclose(left @ right, matrix, atol=1e-9)
    assert svd(matrix, Rank(count=2), "m")[0].shape == (9, 2)
    with pytest.raises(InputError, match=r"m: rank: is 10, the matrix is 9 x 12: at most 9"):
        svd(matrix, Rank(count=10), "m")


def test_tucker_and_cp_rebuild_a_kernel_of_low_rank() -> None:
    pytest.importorskip("tensorly")
    terms = [RNG.normal(size=(n, 2)) for n in (6, 5, 3, 3)]
    kernel = np.einsum("kt,ct,rt,st->kcrs", *terms)
    inputs, core, outputs = tucker2(kernel, Rank(energy=1.0), "k")
    assert core.shape == (2, 2, 3, 3)
    np.testing.assert_allclose(np.einsum("ic,oirs,ko->kcrs", inputs, core, outputs), kernel, atol=1e-9)
    a, r, s, k = cp(kernel, Rank(count=4), "k", seed=0)
    assert np.abs(np.einsum("tc,tr,ts,kt->kcrs", a, r, s, k) - kernel).max() < 0.05 * np.abs(kernel).max()
    with pytest.raises(InputError, match=r"rank: is 999"):
        cp(kernel, Rank(count=999), "k", seed=0)


@pytest.mark.parametrize("rank", [1, 4, 9])
def test_variational_bayes_finds_the_rank_under_noise(rank: int) -> None:
    rng = np.random.default_rng(rank)
    matrix = rng.normal(size=(40, rank)) @ rng.normal(size=(rank, 60)) + 0.3 * rng.normal(size=(40, 60))
    assert vbmf_rank(matrix) == rank
    assert vbmf_rank(matrix.T) == rank
