"""Are the values of values mode the right ones, from a seed and from files? Is what does not fit refused?"""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim.errors import InputError
from accelsim.workload.network import Layer, LayerSketch, Network, ValueSource, build_network
from accelsim.workload.ops import (
    Activation,
    Conv2d,
    Elementwise,
    Embedding,
    Linear,
    LocallyConnected2d,
    Matmul,
    Op,
    Recurrent,
)
from accelsim.workload.precision import Precision
from accelsim.workload.values import (
    bias_values,
    default_shift,
    input_values,
    peephole_values,
    projection_values,
    weight_values,
)

Shape = tuple[int, ...]


def network_of(*sketches: LayerSketch, batch: int = 1, **inputs: Shape) -> Network:
    return build_network("test", batch, inputs, sketches)


def layer_of(
    op: Op, shape: Shape, name: str = "layer", batch: int = 1, precision: Any = None, **sources: Any
) -> Layer:
    given = Precision(**(precision or {}))
    return network_of(LayerSketch(name, op, ("x",), given, **sources), batch=batch, x=shape).layers[0]


def linear(out: int = 8, features: int = 6, **more: Any) -> Layer:
    return layer_of(Linear(out=out), (features,), **more)


def message(act: Callable[[], object]) -> str:
    with pytest.raises(InputError) as caught:
        act()
    return str(caught.value)


class TestSeed:
    def test_uniform_over_the_format(self) -> None:
        for text, low, high in [
            ("int8", -128, 127),
            ("uint8", 0, 255),
            ("int4", -8, 7),
            ("uint2", 0, 3),
            ("int1", -1, 0),
        ]:
            values = weight_values(linear(64, 512, precision={"weight": text}), 0)
            assert (values.min(), values.max()) == (low, high)
            assert values.dtype == ("uint8" if text.startswith("u") else "int8")

    def test_wide_integers_stay_within_eleven_bits(self) -> None:
        for text, low, high in [
            ("int16", -2048, 2048),
            ("uint32", 0, 2048),
            ("int10", -512, 511),
            ("int64", -2048, 2048),
        ]:
            values = weight_values(linear(256, 512, precision={"weight": text}), 0)
            assert (values.min(), values.max()) == (low, high)

    def test_floats_are_scaled_by_the_fan_in(self) -> None:
        values = weight_values(linear(64, 400, precision={"weight": "fp16"}), 0)
        assert values.dtype == np.float32
        assert values.std() == pytest.approx(1 / 20, rel=0.05)
        image = input_values(
            network_of(LayerSketch("a", Linear(out=1), ("x",), Precision(input="fp32")), x=(9999,)), 0
        )
        assert image["x"].std() == pytest.approx(1, rel=0.05)

    @given(
        text=st.sampled_from(["int8", "uint8", "int1", "uint1", "int2", "int16", "fp32"]),
        density=st.floats(0.01, 0.99),
        out=st.integers(1, 20),
        seed=st.integers(0, 2**40),
    )
    @settings(max_examples=60, deadline=None)
    def test_density_is_exact(self, text: str, density: float, out: int, seed: int) -> None:
        layer = linear(out, 7, precision={"weight": text}, weight=ValueSource(density=density))
        values = weight_values(layer, seed)
        assert np.count_nonzero(values) == round(density * out * 7)
        if layer.precision.weight.is_integer:
            assert values.min() >= layer.precision.weight.lowest
            assert values.max() <= layer.precision.weight.highest

    def test_nonzero_values_cover_the_range(self) -> None:
        values = weight_values(linear(400, 100, weight=ValueSource(density=0.5)), 0)
        assert set(np.unique(values)) == set(range(-128, 128))

    def test_density_of_inputs(self) -> None:
        sketch = LayerSketch("a", Linear(out=1), ("x",), input_values=ValueSource(density=0.25))
        assert np.count_nonzero(input_values(network_of(sketch, batch=2, x=(50,)), 3)["x"]) == 25

    def test_nothing_but_seed_name_and_role_matters(self) -> None:
        a, b = LayerSketch("a", Linear(out=4), ("x",)), LayerSketch("b", Linear(out=4), ("x",))
        both, one = network_of(a, b, x=(4,)), network_of(b, x=(4,))
        assert np.array_equal(weight_values(both.layer("b"), 5), weight_values(one.layer("b"), 5))
        assert np.array_equal(input_values(both, 5)["x"], input_values(one, 5)["x"])
        streams = [
            weight_values(both.layer("a"), 5),
            weight_values(both.layer("b"), 5),
            weight_values(both.layer("b"), 6),
            np.repeat(input_values(both, 5)["x"], 4, axis=0),
        ]
        assert len({values.tobytes() for values in streams}) == 4

    def test_values_of_today_are_those_of_tomorrow(self) -> None:
        assert weight_values(linear(2, 4), 7).tolist() == [[-73, -113, -28, 45], [60, -78, -77, -92]]

    def test_shapes(self) -> None:
        assert weight_values(layer_of(Conv2d(K=4, R=3, S=2, groups=2), (6, 5, 5)), 0).shape == (4, 3, 3, 2)
        assert weight_values(layer_of(LocallyConnected2d(K=2, R=2, S=2), (3, 3, 3)), 0).shape == (
            2,
            2,
            2,
            3,
            2,
            2,
        )
        assert weight_values(layer_of(Matmul(N=5), (2, 3)), 0).shape == (3, 5)
        assert weight_values(layer_of(Matmul(N=5, transpose_b=True), (2, 3)), 0).shape == (5, 3)
        assert weight_values(layer_of(Embedding(rows=9, features=2), (3,)), 0).shape == (9, 2)

    def test_beside_the_weights_of_an_lstm(self) -> None:
        layer = layer_of(
            Recurrent(op="lstm", hidden=6, projection=4, peepholes=True),
            (5, 3),
            weight=ValueSource(density=0.5),
        )
        assert weight_values(layer, 0).shape == (24, 7)
        assert projection_values(layer, 0).shape == (4, 6)
        assert np.count_nonzero(projection_values(layer, 0)) == 12
        assert peephole_values(layer, 0).shape == (3, 6)

    def test_embedding_reads_rows(self) -> None:
        network = network_of(LayerSketch("e", Embedding(rows=1000, features=2), ("x",)), batch=4, x=(500,))
        indices = input_values(network, 0)["x"]
        assert indices.dtype == np.int64
        assert (indices.min(), indices.max() > 255, indices.max() < 1000) == (0, True, True)

    def test_two_activations(self) -> None:
        sketch = LayerSketch("m", Matmul(), ("a", "b"), Precision(weight="int4", input="int16"))
        values = input_values(network_of(sketch, a=(20, 30), b=(30, 20)), 0)
        assert (values["a"].dtype, values["b"].dtype) == ("int16", "int8")
        assert values["b"].max() == 7

    def test_the_first_reader_gives_the_format(self) -> None:
        readers = [
            LayerSketch(f"r{bits}", Activation(op="relu"), ("x",), Precision(input=f"int{bits}"))
            for bits in (4, 8)
        ]
        assert input_values(network_of(*readers, x=(999,)), 0)["x"].max() == 7


def test_default_shift() -> None:
    assert default_shift(Precision(), 1) == 6  # 6.25 - 0.5
    assert default_shift(Precision(), 4096) == 12  # 6.25 + 6 - 0.5
    assert default_shift(Precision(output="uint4"), 4096) == 16
    assert default_shift(Precision(output="int32"), 4096) == 0
    assert default_shift(Precision(weight="int4", input="int16", output="int16"), 64) == 5  # 2.25 + 3 - 0.5


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path


def saved(file: Path, array: Any) -> Path:
    np.save(file, np.asarray(array))
    return file


def from_file(file: Path, codebook: Path | None = None) -> dict[str, Any]:
    return {"weight": ValueSource(file=file, codebook=codebook)}


FIRST = "floats become integers by accelsim compress NETWORK --recipe RECIPE.yaml -o FILE.yaml"
COUNTING = np.arange(48).reshape(8, 6) - 24


class TestDenseFiles:
    @pytest.mark.parametrize("dtype", ["int8", "int64", ">i4", "float32", "float16", "float64", "longdouble"])
    def test_whole_numbers_of_any_type(self, folder: Path, dtype: str) -> None:
        values = weight_values(linear(**from_file(saved(folder / "w.npy", COUNTING.astype(dtype)))), 0)
        assert values.dtype == np.int8
        assert np.array_equal(values, COUNTING)

    def test_bools(self, folder: Path) -> None:
        values = weight_values(linear(**from_file(saved(folder / "w.npy", COUNTING > 0))), 0)
        assert np.array_equal(values, COUNTING > 0)

    def test_fortran_order(self, folder: Path) -> None:
        values = weight_values(linear(**from_file(saved(folder / "w.npy", np.asfortranarray(COUNTING)))), 0)
        assert np.array_equal(values, COUNTING)
        assert values.flags.c_contiguous

    def test_npz_of_one_array(self, folder: Path) -> None:
        np.savez_compressed(folder / "w.npz", anything=COUNTING)
        assert np.array_equal(weight_values(linear(**from_file(folder / "w.npz")), 0), COUNTING)

    def test_float_format_takes_integers_and_floats(self, folder: Path) -> None:
        for array in (COUNTING, COUNTING / 3):
            layer = linear(precision={"weight": "fp32"}, **from_file(saved(folder / "w.npy", array)))
            assert np.array_equal(weight_values(layer, 0), array.astype(np.float32))

    def test_bounds_of_64_bits(self, folder: Path) -> None:
        edge = np.array([[-(2**63), 2**63 - 1]])
        layer = linear(1, 2, precision={"weight": "int64"}, **from_file(saved(folder / "w.npy", edge)))
        assert np.array_equal(weight_values(layer, 0), edge)
        saved(folder / "w.npy", np.array([[0, 2.0**63]]))
        assert "element [0, 1] is 9.22337" in message(lambda: weight_values(layer, 0))
        saved(folder / "w.npy", np.array([[0, 2**63]], dtype=np.uint64))
        assert "element [0, 1] is 9223372036854775808" in message(lambda: weight_values(layer, 0))

    def test_wrong_value(self, folder: Path) -> None:
        wrong = COUNTING.copy()
        wrong[2, 5], wrong[7, 0] = 300, -129
        file = saved(folder / "w.npy", wrong)
        expected = f"{file}: layer.weight: element [2, 5] is 300, must be -128 to 127 (int8); and 1 more"
        assert message(lambda: weight_values(linear(**from_file(file)), 0)) == expected

    @pytest.mark.parametrize(("value", "shown"), [(0.5, "0.5"), (np.nan, "nan"), (-np.inf, "-inf")])
    def test_no_whole_number(self, folder: Path, value: float, shown: str) -> None:
        wrong = COUNTING.astype(float)
        wrong[1, 2] = value
        text = message(lambda: weight_values(linear(**from_file(saved(folder / "w.npy", wrong))), 0))
        assert text.endswith(f"element [1, 2] is {shown}, must be a whole number, -128 to 127 (int8); {FIRST}")

    @pytest.mark.parametrize("value", [np.nan, np.inf, 1e300])
    def test_no_finite_float(self, folder: Path, value: float) -> None:
        wrong = COUNTING.astype(float)
        wrong[0, 1] = value
        layer = linear(precision={"weight": "fp32"}, **from_file(saved(folder / "w.npy", wrong)))
        assert "element [0, 1] is" in message(lambda: weight_values(layer, 0))

    def test_wrong_shape(self, folder: Path) -> None:
        layer = linear(**from_file(saved(folder / "w.npy", COUNTING.T)))
        text = message(lambda: weight_values(layer, 0))
        assert text.endswith("has the shape 6 x 8, must be 8 x 6 (out x in); it looks transposed")
        saved(folder / "w.npy", 3)
        assert "has the shape a single number, must be 8 x 6" in message(lambda: weight_values(layer, 0))

    @pytest.mark.parametrize("array", [np.array(["a"] * 48).reshape(8, 6), COUNTING * 1j])
    def test_wrong_type(self, folder: Path, array: Any) -> None:
        layer = linear(**from_file(saved(folder / "w.npy", array)))
        assert f"holds values of type {array.dtype}, must hold integers or floats" in message(
            lambda: weight_values(layer, 0)
        )


class TestDamagedFiles:
    def fault(self, file: Path) -> str:
        text = message(lambda: weight_values(linear(**from_file(file)), 0))
        assert text.startswith(f"{file}: layer.weight: ")
        assert "\n" not in text
        return text.removeprefix(f"{file}: layer.weight: ")

    def test_missing(self, folder: Path) -> None:
        assert self.fault(folder / "w.npy") == "cannot be read: No such file or directory"
        assert self.fault(folder) == "cannot be read: Is a directory"

    def test_pickles_are_not_loaded(self, folder: Path) -> None:
        (folder / "w.npy").write_bytes(pickle.dumps(COUNTING))
        assert "pickles are never loaded" in self.fault(folder / "w.npy")
        np.save(folder / "o.npy", np.array([[{}]], dtype=object), allow_pickle=True)
        assert "it holds Python objects" in self.fault(folder / "o.npy")
        np.savez(folder / "o.npz", np.array([[{}]], dtype=object))
        assert "it holds Python objects" in self.fault(folder / "o.npz")

    def test_a_file_that_is_not_what_its_name_says(self, folder: Path) -> None:
        np.savez(folder / "w.npz", COUNTING)
        (folder / "w.npz").rename(folder / "w.npy")
        assert "is an .npz file by its contents, an .npy file by its name" in self.fault(folder / "w.npy")
        (folder / "w.mtx").write_text("%%MatrixMarket matrix coordinate integer general\n1 1 0\n")
        assert "accelsim convert w.mtx -o FILE.yaml makes a network of it" in self.fault(folder / "w.mtx")

    def test_two_arrays(self, folder: Path) -> None:
        np.savez(folder / "w.npz", a=COUNTING, b=COUNTING)
        assert self.fault(folder / "w.npz") == (
            "cannot be read: it holds 2 arrays (a, b), must hold one array, or a scipy sparse matrix"
        )

    @pytest.mark.parametrize(
        "content", [b"", b"\x93NUMPY", b"PK\x03\x04", b"\x93NUMPY\x01\x00\x10\x00((((((((((((((((", b"no"]
    )
    def test_rubbish(self, folder: Path, content: bytes) -> None:
        (folder / "w.npy").write_bytes(content)
        self.fault(folder / "w.npy")

    @given(data=st.data())
    @settings(max_examples=60, deadline=None)
    def test_any_damage_is_a_fault_or_harmless(
        self, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        stream = io.BytesIO()
        if data.draw(st.booleans()):
            np.save(stream, COUNTING)
        else:
            np.savez(stream, **csr_parts())
        content = bytearray(stream.getvalue())
        for _ in range(data.draw(st.integers(1, 4))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        file = tmp_path_factory.mktemp("damaged") / "w.npy"
        file.write_bytes(content[: data.draw(st.integers(1, len(content)))])
        with suppress(InputError):
            assert weight_values(linear(**from_file(file)), 0).shape == (8, 6)


def csr_parts(**changes: Any) -> dict[str, Any]:
    """What scipy.sparse.save_npz writes for 8 x 6 with 5 at [0, 1], -3 at [0, 4] and 7 at [6, 0]."""
    parts = {
        "format": np.array(b"csr"), "shape": np.array([8, 6]), "data": np.array([5, -3, 7]),
        "indices": np.array([1, 4, 0]), "indptr": np.array([0, 2, 2, 2, 2, 2, 2, 3, 3]),
    }  # fmt: skip
    return parts | changes


class TestSparseFiles:
    def test_without_scipy(self, folder: Path) -> None:
        np.savez(folder / "w.npz", **csr_parts())
        expected = np.zeros((8, 6))
        expected[0, 1], expected[0, 4], expected[6, 0] = 5, -3, 7
        assert np.array_equal(weight_values(linear(**from_file(folder / "w.npz")), 0), expected)

    @pytest.mark.parametrize("kind", ["csr", "csc", "bsr", "coo", "dia"])
    @pytest.mark.parametrize("flavour", ["array", "matrix"])
    @pytest.mark.parametrize("dtype", ["int8", "float32", "uint16", "bool"])
    def test_as_scipy_wrote_it(self, folder: Path, kind: str, flavour: str, dtype: str) -> None:
        sparse = pytest.importorskip("scipy.sparse")
        random = np.random.default_rng(1)
        dense = (random.integers(0, 100, (8, 6)) * (random.random((8, 6)) < 0.3)).astype(dtype)
        matrix = getattr(sparse, f"{kind}_{flavour}")(dense)
        sparse.save_npz(folder / "w.npz", matrix)
        values = weight_values(linear(**from_file(folder / "w.npz")), 0)
        assert values.dtype == np.int8
        assert np.array_equal(values, dense)

    def test_blocks_and_repeated_elements(self, folder: Path) -> None:
        sparse = pytest.importorskip("scipy.sparse")
        sparse.save_npz(folder / "w.npz", sparse.bsr_array(COUNTING, blocksize=(4, 3)))
        assert np.array_equal(weight_values(linear(**from_file(folder / "w.npz")), 0), COUNTING)
        twice = sparse.coo_array(([100, 27, -1], ([3, 3, 0], [2, 2, 0])), shape=(8, 6))
        sparse.save_npz(folder / "w.npz", twice)
        assert np.array_equal(weight_values(linear(**from_file(folder / "w.npz")), 0), twice.toarray())

    def test_one_axis(self, folder: Path) -> None:
        sparse = pytest.importorskip("scipy.sparse")
        vector = sparse.coo_array(np.array([0, 4, 0, 0, 2, 0]))
        sparse.save_npz(folder / "x.npz", vector)
        sketch = LayerSketch("fc", Linear(out=2), ("x",), input_values=ValueSource(file=folder / "x.npz"))
        assert input_values(network_of(sketch, x=(6,)), 0)["x"].tolist() == [[0, 4, 0, 0, 2, 0]]

    def test_a_convolution_as_a_matrix(self, folder: Path) -> None:
        np.savez(folder / "w.npz", **csr_parts())
        values = weight_values(layer_of(Conv2d(K=8, R=1, S=3), (2, 4, 4), **from_file(folder / "w.npz")), 0)
        assert values.shape == (8, 2, 1, 3)
        assert (values[0, 0, 0, 1], values[0, 1, 0, 1], np.count_nonzero(values)) == (5, -3, 3)

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"shape": np.array([6, 8])}, "pointers do not rise"),
            ({"shape": np.array([8, 7])}, "has the shape 8 x 7, must be 8 x 6 (out x in)"),
            ({"indices": np.array([1, 6, 0])}, "the sparse element [0, 6] lies outside of 8 x 6"),
            ({"indices": np.array([1, -1, 0])}, "the sparse element [0, -1] lies outside of 8 x 6"),
            ({"indices": np.array([1.0, 4.0, 0.0])}, "its indices are of type float64, must be integers"),
            (
                {"indptr": np.array([0, 2, 1, 2, 2, 2, 2, 3, 3])},
                "its 9 pointers do not rise from 0 to at most 3",
            ),
            (
                {"indptr": np.array([0, 2, 2, 2, 2, 2, 2, 3, 9])},
                "its 9 pointers do not rise from 0 to at most 3",
            ),
            ({"data": np.array([1, 2])}, "its csr parts differ in length"),
            ({"data": np.array(["a", "b", "c"])}, "it holds values of type <U1"),
            ({"data": np.array([1, 2, 300])}, "element [6, 0] is 300, must be -128 to 127 (int8)"),
            ({"data": np.array([1, np.nan, 3])}, "element [0, 4] is nan"),
            ({"format": np.array(b"lil")}, "the sparse format is lil, must be csr, csc, bsr, coo or dia"),
        ],
    )
    def test_parts_that_do_not_agree(self, folder: Path, changes: dict[str, Any], words: str) -> None:
        np.savez(folder / "w.npz", **csr_parts(**changes))
        assert words in message(lambda: weight_values(linear(**from_file(folder / "w.npz")), 0))


class TestCodebook:
    @pytest.fixture
    def book(self, folder: Path) -> Path:
        return saved(folder / "cb.npy", [0, -7, 100, 3])

    def test_dense_indices(self, folder: Path, book: Path) -> None:
        file = saved(folder / "w.npy", [[0, 1, 2], [3, 3, 0]])
        layer = linear(2, 3, **from_file(file, book))
        assert weight_values(layer, 0).tolist() == [[0, -7, 100], [3, 3, 0]]

    def test_sparse_indices(self, folder: Path) -> None:
        book = saved(folder / "cb.npy", [9, -7, 100, 3, 1, 2])
        np.savez(folder / "w.npz", **csr_parts(data=np.array([5, 0, 2])))
        values = weight_values(linear(**from_file(folder / "w.npz", book)), 0)
        assert (values[0, 1], values[0, 4], values[6, 0], np.count_nonzero(values)) == (2, 9, 100, 3)

    def test_index_outside(self, folder: Path, book: Path) -> None:
        file = saved(folder / "w.npy", [[0, 4, 2], [3, -1, 0]])
        text = message(lambda: weight_values(linear(2, 3, **from_file(file, book)), 0))
        assert text == (
            f"{file}: layer.weight: element [0, 1] is 4, must be 0 to 3 "
            "(an index into the codebook of 4); and 1 more"
        )
        np.savez(folder / "w.npz", **csr_parts(data=np.array([1, 2, 4])))
        text = message(lambda: weight_values(linear(**from_file(folder / "w.npz", book)), 0))
        assert "element [6, 0] is 4, must be 0 to 3" in text

    def test_stored_twice(self, folder: Path, book: Path) -> None:
        np.savez(folder / "w.npz", **csr_parts(indices=np.array([1, 1, 0]), data=np.array([1, 2, 3])))
        text = message(lambda: weight_values(linear(**from_file(folder / "w.npz", book)), 0))
        assert "element [0, 1] is stored twice" in text

    def test_value_outside_the_format(self, folder: Path, book: Path) -> None:
        layer = linear(
            2, 3, precision={"weight": "int4"}, **from_file(saved(folder / "w.npy", [[0] * 3] * 2), book)
        )
        assert message(lambda: weight_values(layer, 0)) == (
            f"{book}: layer.weight: element [2] is 100, must be -8 to 7 (int4)"
        )

    def test_no_row(self, folder: Path) -> None:
        book = saved(folder / "cb.npy", [[1, 2]])
        layer = linear(2, 3, **from_file(saved(folder / "w.npy", [[0] * 3] * 2), book))
        assert "has the shape 1 x 2, a codebook must be one row of values" in message(
            lambda: weight_values(layer, 0)
        )

    def test_seeded(self, book: Path) -> None:
        layer = linear(20, 20, weight=ValueSource(codebook=book, density=0.3))
        values = weight_values(layer, 0)
        assert np.count_nonzero(values) == 120
        assert set(np.unique(values)) == {0, -7, 100, 3}
        saved(book, [0, 0])
        assert "holds no value but zero" in message(lambda: weight_values(layer, 0))


class TestInputs:
    def network(self, file: Path, op: Op, batch: int, shape: Shape, **more: Any) -> Network:
        sketch = LayerSketch("a", op, ("x",), Precision(**more), input_values=ValueSource(file=file))
        return network_of(sketch, batch=batch, x=shape)

    @pytest.mark.parametrize("shape", [(6,), (1, 6), (3, 6)])
    def test_one_sample_or_all(self, folder: Path, shape: Shape) -> None:
        array = np.arange(np.prod(shape)).reshape(shape)
        values = input_values(self.network(saved(folder / "x.npy", array), Linear(out=1), 3, (6,)), 0)["x"]
        assert values.dtype == np.int8
        assert np.array_equal(values, np.broadcast_to(array, (3, 6)))
        assert values.flags.writeable

    def test_images(self, folder: Path) -> None:
        image = np.arange(24).reshape(2, 3, 4)
        file = saved(folder / "x.npy", image)
        for op in (Conv2d(K=1, R=1, S=1), Linear(out=2)):
            assert np.array_equal(input_values(self.network(file, op, 2, (2, 3, 4)), 0)["x"], [image, image])
        saved(file, image.ravel())
        assert np.array_equal(input_values(self.network(file, Linear(out=2), 1, (2, 3, 4)), 0)["x"], [image])
        text = message(lambda: input_values(self.network(file, Conv2d(K=1, R=1, S=1), 2, (2, 3, 4)), 0))
        assert text.endswith(
            "has the shape 24, must be 2 x 2 x 3 x 4 or 1 x 2 x 3 x 4 or 2 x 3 x 4 "
            "(the batch first, or one sample for all of it)"
        )

    def test_matrix(self, folder: Path) -> None:
        file = saved(folder / "x.npy", np.arange(6).reshape(2, 3))
        assert input_values(self.network(file, Matmul(N=4), 1, (2, 3)), 0)["x"].tolist() == [
            [[0, 1, 2], [3, 4, 5]]
        ]

    def test_right_matrix_of_two_activations(self, folder: Path) -> None:
        source = ValueSource(file=saved(folder / "b.npy", np.arange(6).reshape(3, 2)))
        sketch = LayerSketch("m", Matmul(), ("a", "b"), weight=source)
        assert input_values(network_of(sketch, a=(2, 3), b=(3, 2)), 0)["b"].tolist() == [
            [[0, 1], [2, 3], [4, 5]]
        ]

    def test_every_fault_at_once(self, folder: Path) -> None:
        bad = saved(folder / "x.npy", [[1000, 2]])
        a = LayerSketch("a", Linear(out=2), ("x",), input_values=ValueSource(file=bad))
        b = LayerSketch("b", Linear(out=2), ("y",), input_values=ValueSource(file=folder / "none.npy"))
        c = LayerSketch("c", Linear(out=2), ("a",), input_values=ValueSource(file=bad))
        assert message(lambda: input_values(network_of(a, b, c, x=(2,), y=(2,)), 0)).splitlines() == [
            f"{bad}: c.input: is given, but layer a computes the input; drop it, or write after: []",
            f"{bad}: x.input: element [0, 0] is 1000, must be -128 to 127 (int8)",
            f"{folder / 'none.npy'}: y.input: cannot be read: No such file or directory",
        ]

    def test_two_files_for_one_input(self, folder: Path) -> None:
        sketches = [
            LayerSketch(name, Linear(out=2), ("x",), input_values=ValueSource(file=folder / f"{name}.npy"))
            for name in "ab"
        ]
        assert "is one of several files for the same input" in message(
            lambda: input_values(network_of(*sketches, x=(2,)), 0)
        )

    def test_a_file_of_any_reader(self, folder: Path) -> None:
        a = LayerSketch("a", Activation(op="relu"), ("x",))
        b = LayerSketch(
            "b", Linear(out=2), ("x",), input_values=ValueSource(file=saved(folder / "x.npy", [5, 6]))
        )
        assert input_values(network_of(a, b, x=(2,)), 0)["x"].tolist() == [[5, 6]]

    def test_the_file_of_a_sum_is_its_first_input(self, folder: Path) -> None:
        source = ValueSource(file=saved(folder / "x.npy", [5, 6]))
        sketch = LayerSketch("s", Elementwise(op="add"), ("x", "y"), input_values=source)
        values = input_values(network_of(sketch, x=(2,), y=(2,)), 0)
        assert values["x"].tolist() == [[5, 6]]
        assert values["y"].tolist() != [[5, 6]]

    def test_rows_of_a_table(self, folder: Path) -> None:
        file = saved(folder / "x.npy", [3, 700])
        assert input_values(self.network(file, Embedding(rows=701, features=2), 1, (2,)), 0)[
            "x"
        ].tolist() == [[3, 700]]
        text = message(lambda: input_values(self.network(file, Embedding(rows=700, features=2), 1, (2,)), 0))
        assert text.endswith("element [1] is 700, must be 0 to 699 (a row of the table of 700)")


class TestBias:
    def test_none(self) -> None:
        assert bias_values(linear()) is None
        assert bias_values(linear(bias=ValueSource(density=0.5))) is None

    def test_file(self, folder: Path) -> None:
        file = saved(folder / "b.npy", np.arange(8) * 1000)
        values = bias_values(linear(bias=ValueSource(file=file)))
        assert values is not None
        assert values.dtype == np.int64
        assert values.tolist() == [1000 * i for i in range(8)]
        values = bias_values(linear(bias=ValueSource(file=file), precision={"accumulator": "fp32"}))
        assert values is not None
        assert values.dtype == np.float64

    def test_faults(self, folder: Path) -> None:
        file = saved(folder / "b.npy", [2**31, 0])
        source = ValueSource(file=file)
        assert "element [0] is 2147483648, must be -2147483648 to 2147483647 (int32)" in message(
            lambda: bias_values(linear(2, bias=source))
        )
        assert "has the shape 2, must be 8" in message(lambda: bias_values(linear(8, bias=source)))
        relu = layer_of(Activation(op="relu"), (2,), bias=source)
        assert message(lambda: bias_values(relu)) == f"{file}: layer.bias: is given, but relu takes none"

    def test_shapes(self, folder: Path) -> None:
        for op, shape, expected in [
            (Conv2d(K=4, R=1, S=1), (2, 3, 3), (4,)),
            (LocallyConnected2d(K=4, R=2, S=2), (2, 3, 3), (4, 2, 2)),
            (Matmul(N=4), (2, 3), (4,)),
            (Recurrent(op="gru", hidden=4), (5, 3), (12,)),
        ]:
            source = ValueSource(file=saved(folder / "b.npy", np.ones(expected)))
            values = bias_values(layer_of(op, shape, bias=source))
            assert values is not None
            assert values.shape == expected
