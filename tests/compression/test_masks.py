"""Which weights stay, against the plain rule: sort by size, of equal ones the first."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from accelsim.compression.masks import keep_share, scores


@given(st.lists(st.integers(0, 6), min_size=1, max_size=60), st.floats(0.01, 1))
def test_the_largest_share_stays_and_ties_go_to_the_first(values: list[int], density: float) -> None:
    score = np.array(values, np.float64)
    wanted = np.zeros(len(values), np.bool_)
    wanted[np.argsort(-score, kind="stable")[: max(1, round(density * len(values)))]] = True
    np.testing.assert_array_equal(keep_share(score.reshape(1, -1), density).ravel(), wanted)


def test_a_block_of_one_scores_its_magnitude() -> None:
    weights = np.random.default_rng(0).standard_normal((4, 3, 2, 2)).astype(np.float32)
    np.testing.assert_array_equal(scores(weights, (1, 1, 1, 1)), np.sqrt(np.square(weights.astype(np.float64))))
