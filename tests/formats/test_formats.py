"""Formats: what is encoded comes back, and every size is right to the bit."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim.errors import InfeasibleError
from accelsim.formats import (
    Bitmap,
    Blocks,
    Codebook,
    Coo,
    Csr,
    InterleavedCsc,
    NOfM,
    RunLength,
    huffman_bits,
    huffman_lengths,
    interleaved,
    prune_balanced,
    prune_magnitude,
)

Array = np.ndarray[Any, Any]


@st.composite
def matrices(draw: st.DrawFn) -> Array:
    rows, cols = draw(st.integers(1, 40)), draw(st.integers(1, 24))
    density = draw(st.sampled_from([0.0, 0.02, 0.1, 0.5, 1.0]))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    values = rng.integers(-7, 8, (rows, cols)).astype(draw(st.sampled_from([np.int8, np.int16, np.float32])))
    return np.where(rng.random((rows, cols)) < density, values, values.dtype.type(0))


@settings(max_examples=60, deadline=None)
@given(matrices(), st.integers(1, 9), st.integers(1, 6), st.data())
def test_every_format_gives_back_what_it_was_given(
    dense: Array, pes: int, bits: int, data: st.DataObject
) -> None:
    coo = Coo.from_dense(dense)
    block = data.draw(st.tuples(st.integers(1, 5), st.integers(1, 5)))
    encoded = [
        Csr.encode(coo), Bitmap.encode(coo), RunLength.encode(coo, bits), Blocks.encode(coo, block),
        NOfM.encode(coo, 4, 4), InterleavedCsc.encode(coo, pes, bits),
    ]  # fmt: skip
    for form in encoded:
        assert form.decode().equals(coo), type(form).__name__
        assert np.array_equal(form.decode().to_dense(), dense)


@pytest.mark.parametrize(("elements", "keys"), [(1 << 18, 1 << 16), (64, 1 << 16), (1 << 18, 8)])
def test_columns_encoded_some_at_a_time_are_those_encoded_together(
    monkeypatch: pytest.MonkeyPatch, elements: int, keys: int
) -> None:
    monkeypatch.setattr(interleaved, "BLOCK_ELEMENTS", elements)
    monkeypatch.setattr(interleaved, "KEYS", keys)
    rng = np.random.default_rng(elements + keys)
    for _ in range(40):
        shape, pes, bits = rng.integers(0, 50, 2), int(rng.integers(1, 20)), int(rng.integers(1, 6))
        dense = np.where(rng.random(shape) < rng.choice([0, 0.1, 0.5, 1]), rng.integers(-9, 10, shape), 0)
        dense = dense.T if rng.random() < 0.5 else dense
        whole = InterleavedCsc.encode(Coo.from_dense(dense), pes, bits)
        parts = InterleavedCsc.from_dense(dense, pes, bits)
        for name in ("starts", "zeros", "values"):
            first, second = getattr(whole, name), getattr(parts, name)
            assert first.dtype == second.dtype
            assert np.array_equal(first, second), (shape, pes, name)


@settings(max_examples=40, deadline=None)
@given(matrices(), st.integers(1, 9), st.integers(1, 5))
def test_interleaved_pads_exactly_where_a_run_is_too_long(dense: Array, pes: int, bits: int) -> None:
    encoded = InterleavedCsc.encode(Coo.from_dense(dense), pes, bits)
    expected, pointers = 0, np.zeros((dense.shape[1] + 1, pes), int)
    for pe in range(pes):
        for col in range(dense.shape[1]):
            places = np.flatnonzero(dense[pe::pes, col])
            gaps = np.diff(places, prepend=-1) - 1
            padding = int(np.sum(gaps // (1 << bits)))
            expected += padding
            pointers[col + 1, pe] = pointers[col, pe] + len(places) + padding
    assert encoded.padding == expected
    assert np.array_equal(encoded.pointers(), pointers)
    assert encoded.nonzeros == np.count_nonzero(dense)


def test_sizes_are_exact() -> None:
    dense = np.zeros((4, 8), np.int8)
    dense[0, 0], dense[1, 7], dense[3, 1] = 1, 2, 3
    coo = Coo.from_dense(dense)
    assert coo.size(8).total_bits == 3 * (8 + 2 + 3)
    csr = Csr.encode(coo).size(8)
    assert (csr.values_bits, csr.indices_bits, csr.pointers_bits, csr.padding_bits) == (24, 9, 5 * 2, 0)
    assert Bitmap.encode(coo).size(8).total_bits == 24 + 32
    runs = RunLength.encode(coo, 3)  # runs of 0, 14 and 9: one padding zero each for the second and the third
    assert runs.padding == 2
    assert runs.size(8).padding_bits == 2 * 11
    blocks = Blocks.encode(coo, (2, 2)).size(8)
    assert (blocks.values_bits, blocks.padding_bits, blocks.indices_bits) == (24, 3 * 3 * 8, 3 * 2)
    pairs = NOfM.encode(coo, 2, 4).size(8)
    assert (pairs.values_bits, pairs.indices_bits, pairs.padding_bits) == (24, 6, (16 - 3) * 10)
    interleaved = InterleavedCsc.encode(coo, 2, 1)
    size = interleaved.size(4, 16)
    assert (size.values_bits, size.indices_bits, size.pointers_bits) == (12, 3, 2 * 9 * 16)
    assert size.total_bytes == -(-size.total_bits // 8)


def test_a_run_of_sixteen_takes_one_padding_zero_at_four_bits() -> None:
    dense = np.zeros((40, 1), np.int8)
    dense[15], dense[32] = 1, 2  # 15 zeros fit; 16 do not
    encoded = InterleavedCsc.encode(Coo.from_dense(dense), 1, 4)
    assert encoded.values.tolist() == [1, 0, 2]
    assert encoded.zeros.tolist() == [15, 15, 0]


def test_bias_is_one_more_column() -> None:
    rng = np.random.default_rng(1)
    dense = rng.integers(-1, 2, (20, 6))
    bias = rng.integers(-1, 2, 20)
    encoded = InterleavedCsc.encode(Coo.from_dense(dense), 3, 4).with_bias(bias)
    assert np.array_equal(encoded.decode().to_dense(), np.column_stack((dense, bias)))


def test_scipy_in_and_out() -> None:
    sparse = pytest.importorskip("scipy.sparse")
    matrix = sparse.random_array((17, 9), density=0.3, rng=np.random.default_rng(3))
    coo = Coo.from_scipy(matrix)
    assert np.array_equal(coo.to_dense(), matrix.toarray())
    for layout in ("csr", "csc", "coo", "bsr"):
        assert np.array_equal(coo.to_scipy(layout).toarray(), matrix.toarray())
    twice = sparse.coo_array(([1, 2], ([0, 0], [1, 1])), shape=(2, 2))
    assert Coo.from_scipy(twice).to_dense().tolist() == [[0, 3], [0, 0]]


def test_coordinates_are_checked() -> None:
    with pytest.raises(ValueError, match="row index 5, must be 0 to 4"):
        Coo.of((5, 5), np.array([5]), np.array([0]), np.array([1]))
    with pytest.raises(ValueError, match=r"element \(1, 2\) twice"):
        Coo.of((5, 5), np.array([1, 1]), np.array([2, 2]), np.array([1, 1]))
    with pytest.raises(ValueError, match="must have 2"):
        Coo.from_dense(np.zeros(3))


def test_too_many_in_a_group_is_infeasible() -> None:
    with pytest.raises(InfeasibleError, match=r"3 non-zeros in a group \(row 0, column 4\), there is 2 in 4"):
        NOfM.encode(Coo.from_dense(np.array([[1, 0, 1, 0, 1, 1, 1, 0]])), 2, 4)


def test_codebook() -> None:
    weights = np.array([5, -3, 5, 0, 9])
    book = Codebook.of(weights, 2)
    assert book.values[0] == 0
    assert np.array_equal(book.decode(book.encode(weights)), weights)
    assert book.size_bits(16) == 64
    with pytest.raises(InfeasibleError, match="3 values and zero, there is 2 entries"):
        Codebook.of(weights, 1)
    with pytest.raises(InfeasibleError, match="the value 4"):
        book.encode(np.array([4]))
    with pytest.raises(InfeasibleError, match="the code 7"):
        book.decode(np.array([7]))


def test_huffman() -> None:
    assert huffman_lengths([5, 9, 12, 13, 16, 45]) == [4, 4, 3, 3, 3, 1]
    assert huffman_lengths([0, 7]) == [0, 1]
    assert huffman_bits(np.array([0, 0, 0, 0, 1, 1, 2])) == 4 + 4 + 2
    assert huffman_bits(np.zeros(0, int)) == 0


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=20))
def test_huffman_meets_kraft_and_the_entropy(counts: list[int]) -> None:
    lengths = huffman_lengths(counts)
    used = [(c, n) for c, n in zip(counts, lengths, strict=True) if c]
    if len(used) > 1:
        assert sum(2.0**-n for _, n in used) == 1.0
        total = sum(counts)
        entropy = -sum(c * np.log2(c / total) for c, _ in used)
        assert entropy - 1e-9 <= sum(c * n for c, n in used) < entropy + total + 1e-9


def test_pruning() -> None:
    rng = np.random.default_rng(0)
    dense = rng.permutation(np.arange(1, 401)).reshape(20, 20)
    assert prune_magnitude(dense, 50).values.min() == 351
    balanced = prune_balanced(dense, 4, 12)
    assert [int(np.sum(balanced.rows % 4 == pe)) for pe in range(4)] == [12] * 4
    stored = prune_balanced(dense, 4, 15, index_bits=1)
    assert InterleavedCsc.encode(stored, 4, 1).entries_per_pe().tolist() == [15] * 4
