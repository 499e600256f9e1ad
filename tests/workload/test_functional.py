"""Do the reference functions mean what their tables say? Worked cases, plain loops and onnx tell."""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from itertools import product
from math import erf, exp, floor, log, sqrt, tanh
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from accelsim.errors import InputError
from accelsim.workload.fixed_point import divide_rounded, round_away, saturate, shift_rounded, to_fixed
from accelsim.workload.functional import (
    CellState,
    evaluate,
    initial_state,
    mac_reference,
    recurrent_cell,
    recurrent_reference,
    reduction_length,
    requantize,
    run_reference,
)
from accelsim.workload.network import Layer, LayerSketch, Network, Requantize, build_network
from accelsim.workload.ops import (
    Activation,
    BatchNorm,
    Concat,
    Conv2d,
    Elementwise,
    Embedding,
    GlobalPool,
    LayerNorm,
    Linear,
    LocallyConnected2d,
    LocalResponseNorm,
    Matmul,
    Op,
    Pad,
    Pool2d,
    Recurrent,
    Reduce,
    Reshape,
    Slice,
    Softmax,
    Split,
    Transpose,
    Upsample,
)
from accelsim.workload.precision import NumberFormat, Precision, parse_format

Shape = tuple[int, ...]
FLOAT = {"weight": "fp32", "input": "fp32", "accumulator": "fp32", "output": "fp32"}


def layer_of(op: Op, *shapes: Shape, scale: Requantize | None = None, **precision: str) -> Layer:
    """A layer alone; shapes with their batch, which all share."""
    inputs = {f"x{i}": shape[1:] for i, shape in enumerate(shapes)}
    sketch = LayerSketch("layer", op, tuple(inputs), Precision(**precision), requantize=scale or Requantize())
    return build_network("test", shapes[0][0], inputs, (sketch,)).layers[0]


def run(op: Op, *inputs: Any, **precision: str) -> Any:
    """The first output of ``op`` on lists or arrays, put in the storage type of ``precision.input``."""
    storage = Precision(**precision).input.storage
    arrays = tuple(np.asarray(x, dtype=storage) for x in inputs)
    layer = layer_of(op, *(x.shape for x in arrays), **precision)
    outputs = evaluate(layer, arrays)
    for output, shape in zip(outputs, layer.output_shapes, strict=True):
        assert output.shape == shape
        assert output.dtype == layer.precision.output.storage
    return outputs[0]


def rounded(value: Fraction | float) -> int:
    """Half away from zero."""
    size = floor(abs(Fraction(value)) + Fraction(1, 2))
    return -size if value < 0 else size


def clamp(value: int, to: str = "int8") -> int:
    return max(parse_format(to).lowest, min(parse_format(to).highest, value))


def drawn(seed: int, shape: Shape, low: int = -128, high: int = 127) -> Any:
    return np.random.default_rng(seed).integers(low, high, shape, endpoint=True)


seeds = st.integers(0, 2**32)
small = st.integers(1, 3)
pads = st.tuples(*[st.integers(0, 2)] * 4)


class TestNumbers:
    def test_saturate(self) -> None:
        wide = np.array([-(2**40), -129, -128, 0, 127, 128, 2**40])
        assert saturate(wide, parse_format("int8")).tolist() == [-128, -128, -128, 0, 127, 127, 127]
        assert saturate(wide, parse_format("uint4")).tolist() == [0, 0, 0, 0, 15, 15, 15]
        assert saturate(np.array([-128, 127], np.int8), parse_format("int16")).tolist() == [-128, 127]
        assert saturate(np.array([200], np.uint8), parse_format("int8")).tolist() == [127]
        assert saturate(wide, parse_format("uint64")).tolist() == [0, 0, 0, 0, 127, 128, 2**40]

    @given(st.floats(-(2**60), 2**60))
    def test_round_away(self, value: float) -> None:
        assert round_away(np.array([value]))[0] == rounded(value)

    def test_round_away_at_the_halves(self) -> None:
        below = np.nextafter(0.5, 0)
        values = [-2.5, -0.5, -below, 0.5, below, 1.5, 2.5, 2**52 + 1, np.inf]
        assert round_away(np.array(values)).tolist() == [-3, -1, 0, 1, 0, 2, 3, 2**52 + 1, np.inf]

    @given(st.integers(-(2**62) + 1, 2**62 - 1), st.integers(1, 2**31), st.integers(0, 61))
    def test_divide_and_shift(self, value: int, by: int, shift: int) -> None:
        assert divide_rounded(np.array([value]), by)[0] == rounded(Fraction(value, by))
        if abs(value) < 2**61:
            assert shift_rounded(np.array([value]), shift)[0] == rounded(Fraction(value, 2**shift))

    def test_fixed(self) -> None:
        values = np.array([np.nan, np.inf, -np.inf, 0.25, -0.26])
        assert to_fixed(values, 1, NumberFormat("int", 8)).tolist() == [0, 127, -128, 1, -1]
        assert to_fixed(values, 0, NumberFormat("int", 64)).tolist() == [0, 2**63 - 1024, -(2**63), 0, 0]


class TestRequantize:
    layer = layer_of(Linear(out=2), (1, 1024))

    def of(self, accumulators: list[int], scale: Requantize | None = None, **precision: str) -> list[int]:
        layer = layer_of(Linear(out=2), (1, 1024), scale=scale, **precision)
        return requantize(np.array(accumulators), layer, reduction_length(layer)).tolist()

    def test_default_shift(self) -> None:
        # 6.25 + 5 - 0.5: shift 11
        assert self.of([1024, -1024, 1023, 2048 * 127, 2048 * 200, -(2**40)]) == [1, -1, 0, 127, 127, -128]

    def test_bare_accumulator(self) -> None:
        assert self.of([2**31 - 1, -5, 2**31], output="int32") == [2**31 - 1, -5, 2**31 - 1]
        assert self.of([3, -3], Requantize(shift=1), output="int32") == [2, -2]
        assert self.of([3, -3], Requantize(multiplier=2), output="int32") == [6, -6]

    def test_scale(self) -> None:
        assert self.of([10, -10, 1000], Requantize(multiplier=3, shift=2, zero_point=5)) == [13, -3, 127]
        assert self.of([10, -10], Requantize(shift=0), output="uint8") == [10, 0]
        assert self.of([5, -5], Requantize(multiplier=1, shift=-2)) == [20, -20]

    @given(
        accumulator=st.integers(-(2**63), 2**63 - 1),
        multiplier=st.integers(-(2**33), 2**33),
        shift=st.integers(0, 90),
        zero_point=st.integers(-128, 127),
    )
    def test_exact(self, accumulator: int, multiplier: int, shift: int, zero_point: int) -> None:
        expected = rounded(Fraction(accumulator * multiplier, 2**shift)) + zero_point
        for output in ("int8", "uint16", "int60", "uint64"):
            scale = Requantize(multiplier, shift, zero_point)
            assert self.of([accumulator, 0], scale, output=output)[0] == clamp(expected, output)

    def test_int32_accumulators(self) -> None:
        accumulators = np.array([2**31 - 1, -(2**31)], dtype=np.int32)
        layer = layer_of(Linear(out=2), (1, 4), scale=Requantize(multiplier=2**30, shift=54))
        assert requantize(accumulators, layer, 4).tolist() == [127, -128]

    def test_floats(self) -> None:
        layer = layer_of(Linear(out=2), (1, 4), **FLOAT)
        result = requantize(np.array([0.1, -7.25]), layer, 4)
        assert result.dtype == np.float32
        assert result.tolist() == np.array([0.1, -7.25], dtype=np.float32).tolist()
        layer = layer_of(
            Linear(out=2), (1, 4), scale=Requantize(multiplier=3, shift=1, zero_point=1), accumulator="fp32"
        )
        assert requantize(np.array([1.0, -1.0, 1e9]), layer, 4).tolist() == [3, -1, 127]


def naive_pool(image: Any, op: Pool2d, shape: Shape) -> Any:
    """Of exact fractions, window by window."""
    n, c, p, q = shape
    (_, _, h, w), (top, bottom, left, right) = image.shape, op.pad
    result = np.zeros(shape, dtype=object)
    for index in product(range(n), range(c), range(p), range(q)):
        rows = range(index[2] * op.strides[0] - top, index[2] * op.strides[0] - top + op.window[0])
        columns = range(index[3] * op.strides[1] - left, index[3] * op.strides[1] - left + op.window[1])
        inside = [image[index[:2]][r, s] for r in rows for s in columns if 0 <= r < h and 0 <= s < w]
        padded = [1 for r in rows for s in columns if r < h + bottom and s < w + right]
        if op.op == "maxpool2d":
            result[index] = max(inside, default=0)
        else:
            count = len(padded) if op.count_include_pad else len(inside)
            result[index] = rounded(Fraction(sum(int(v) for v in inside), max(1, count)))
    return result


@st.composite
def pools(draw: st.DrawFn) -> Pool2d:
    return Pool2d(
        op=draw(st.sampled_from(["maxpool2d", "avgpool2d"])),
        window=(draw(small), draw(small)),
        stride=draw(st.none() | st.tuples(small, small)),
        pad=draw(pads),
        ceil=draw(st.booleans()),
        count_include_pad=draw(st.booleans()),
    )


class TestPools:
    image = ((((1, -2, 4), (-5, 8, 7), (-8, -9, 3)),),)

    def test_max(self) -> None:
        assert run(Pool2d(op="maxpool2d", window=2, stride=1), self.image).tolist() == [[[[8, 8], [8, 8]]]]
        # padding is no zero: the window at the lower left holds -8 alone
        assert run(Pool2d(op="maxpool2d", window=2, stride=2, pad=1), self.image).tolist() == [
            [[[1, 4], [-5, 8]]]
        ]

    def test_average_rounds_away(self) -> None:
        average = Pool2d(op="avgpool2d", window=(1, 2), stride=1)
        assert run(average, [[[[1, 2, -1, -2, -1]]]]).tolist() == [[[[2, 1, -2, -2]]]]

    def test_average_at_the_edge(self) -> None:
        # windows hold 6 and 6, 6: of a padded image they are 6/2 and 12/2
        edge = {"op": "avgpool2d", "window": (1, 2), "stride": (1, 2), "pad": (0, 0, 1, 0)}
        assert run(Pool2d(**edge), [[[[6, 6, 6]]]]).tolist() == [[[[6, 6]]]]
        assert run(Pool2d(**edge, count_include_pad=True), [[[[6, 6, 6]]]]).tolist() == [[[[3, 6]]]]
        # what ceil adds beyond the padding does not count
        ceil = Pool2d(op="avgpool2d", window=(1, 2), stride=2, ceil=True, count_include_pad=True)
        assert run(ceil, [[[[6, 6, 6]]]]).tolist() == [[[[6, 6]]]]

    @given(op=pools(), shape=st.tuples(small, small, st.integers(1, 6), st.integers(1, 6)), seed=seeds)
    @settings(max_examples=80, deadline=None)
    def test_as_by_hand(self, op: Pool2d, shape: Shape, seed: int) -> None:
        try:
            layer = layer_of(op, shape)
        except ValueError:
            assume(False)
        image = drawn(seed, shape).astype(np.int8)
        assert np.array_equal(evaluate(layer, (image,))[0], naive_pool(image, op, layer.output_shapes[0]))

    def test_global(self) -> None:
        assert run(GlobalPool(op="globalmaxpool"), self.image).tolist() == [[[[8]]]]
        assert run(GlobalPool(op="globalavgpool"), [[[[1, 2], [3, 4]], [[-1, -2], [-3, -4]]]]).tolist() == [
            [[[3]], [[-3]]]
        ]


class TestElementwise:
    def test_add_saturates(self) -> None:
        assert run(Elementwise(op="add"), [[100, -100, 3]], [[100, -100, -5]]).tolist() == [[127, -128, -2]]
        assert run(Elementwise(op="add"), [[100]], [[100]], [[-90]]).tolist() == [[110]]
        assert run(Elementwise(op="add"), [[100]], [[100]], output="int16").tolist() == [[200]]
        assert run(Elementwise(op="sub"), [[0]], [[-128]], [[-100]]).tolist() == [[127]]
        assert run(Elementwise(op="sub"), [[5]], [[7]], input="uint8", output="uint8").tolist() == [[0]]

    def test_broadcast(self) -> None:
        assert run(Elementwise(op="maximum"), [[[1, 5], [3, 2]]], [[4, 1]]).tolist() == [[[4, 5], [4, 2]]]
        assert run(Elementwise(op="minimum"), [[[[1]], [[9]]]], [[[[4, 5]]]]).tolist() == [
            [[[1, 1]], [[4, 5]]]
        ]

    def test_mul_keeps_the_scale(self) -> None:
        # 64 * 64 / 128 = 32; 1 * 64 / 128 = 0.5 -> 1; -128 * -128 / 128 = 128 -> 127
        assert run(Elementwise(op="mul"), [[64, 1, -1, -128]], [[64, 64, 64, -128]]).tolist() == [
            [32, 1, -1, 127]
        ]
        assert run(Elementwise(op="mul"), [[64]], [[64]], [[64]]).tolist() == [[16]]
        top = 2**31 - 1
        assert run(Elementwise(op="mul"), [[top]], [[top]], input="int32", output="int32").tolist() == [
            [top - 1]
        ]

    def test_div_is_its_inverse(self) -> None:
        # 32 * 128 / 64 = 64; 1 * 128 / 3 = 42.67; by zero
        quotient = run(Elementwise(op="div"), [[32, 1, -1, 5, -5, 0, -3]], [[64, 3, 3, 0, 0, 0, -6]])
        assert quotient.tolist() == [[64, 43, -43, 127, -128, 0, 64]]

    def test_constants(self) -> None:
        values = [[16, -16, 3]]
        assert run(Elementwise(op="add", value=3.0), values).tolist() == [[64, 32, 51]]  # 3 is 48/16
        assert run(Elementwise(op="sub", value=0.5), values).tolist() == [[8, -24, -5]]
        assert run(Elementwise(op="maximum", value=-0.25), values).tolist() == [[16, -4, 3]]
        assert run(Elementwise(op="mul", value=0.5), values).tolist() == [[8, -8, 2]]
        assert run(Elementwise(op="div", value=2), values).tolist() == [[8, -8, 2]]
        assert run(Elementwise(op="div", value=0), [[1, -1, 0]]).tolist() == [[127, -128, 0]]
        assert run(Elementwise(op="pow", value=2), [[16, -32, 6]]).tolist() == [
            [16, 64, 2]
        ]  # (6/16)**2 = 2.25/16
        assert run(Elementwise(op="mul"), values).tolist() == values

    def test_pow(self) -> None:
        # 2 ** 1.5 = 2.83 = 45.25 / 16; (-1) ** 0.5 is not a number; 0 ** -1 is infinite
        assert run(Elementwise(op="pow"), [[32, -16, 0]], [[24, 8, -16]]).tolist() == [[45, 0, 127]]

    @given(
        st.sampled_from(["add", "sub", "mul", "div", "maximum", "minimum"]),
        st.integers(-128, 127),
        st.integers(-128, 127),
    )
    def test_as_by_hand(self, name: Any, a: int, b: int) -> None:
        expected: dict[str, Callable[[], Fraction | int]] = {
            "add": lambda: a + b,
            "sub": lambda: a - b,
            "maximum": lambda: max(a, b),
            "minimum": lambda: min(a, b),
            "mul": lambda: Fraction(a * b, 128),
            "div": lambda: Fraction(128 * a, b) if b else (a > 0) * 999 - (a < 0) * 999,
        }
        assert run(Elementwise(op=name), [[a]], [[b]]).tolist() == [
            [clamp(rounded(Fraction(expected[name]())))]
        ]


ALL_INT8 = np.arange(-128, 128, dtype=np.int8)[None]


class TestActivations:
    def test_direct(self) -> None:
        values = [[-128, -50, -1, 0, 1, 100, 127]]
        assert run(Activation(op="relu"), values).tolist() == [[0, 0, 0, 0, 1, 100, 127]]
        assert run(Activation(op="relu6"), values).tolist() == [[0, 0, 0, 0, 1, 96, 96]]
        assert run(Activation(op="abs"), values).tolist() == [[127, 50, 1, 0, 1, 100, 127]]
        assert run(Activation(op="neg"), values).tolist() == [[127, 50, 1, 0, -1, -100, -127]]
        assert run(Activation(op="clip"), values).tolist() == values
        assert run(Activation(op="leaky_relu", alpha=0.1), values).tolist() == [[-13, -5, 0, 0, 1, 100, 127]]
        assert run(Activation(op="leaky_relu"), values).tolist() == [[-1, -1, 0, 0, 1, 100, 127]]
        assert run(Activation(op="prelu"), values).tolist() == [[-32, -13, 0, 0, 1, 100, 127]]
        assert run(Activation(op="relu"), values, output="uint4").tolist() == [[0, 0, 0, 0, 1, 15, 15]]

    def test_radix_points(self) -> None:
        # 16 is 1.0; sigmoid(1) = 0.7311 = 93.58/128, tanh(1) = 0.7616 = 97.5/128 (97.48)
        assert run(Activation(op="sigmoid"), [[0, 16, -16, 127, -128]]).tolist() == [[64, 94, 34, 128 - 1, 0]]
        assert run(Activation(op="tanh"), [[0, 16, -16, 127]]).tolist() == [[0, 97, -97, 127]]
        # exp(1) = 2.718 = 43.49/16
        assert run(Activation(op="exp"), [[0, 16, 127, -128]]).tolist() == [[16, 43, 127, 0]]
        assert run(Activation(op="sqrt"), [[64, 1, -5]]).tolist() == [[32, 4, 0]]
        assert run(Activation(op="log"), [[16, 0, -1]]).tolist() == [[0, -128, -128]]
        assert run(Activation(op="reciprocal"), [[32, 0, -16]]).tolist() == [[8, 127, -16]]
        # from 16 bits of 12 fraction bits to 8
        assert run(Activation(op="sigmoid"), [[4096]], input="int16").tolist() == [[94]]
        assert run(Activation(op="tanh"), [[16]], output="int16").tolist() == [[rounded(tanh(1) * 2**15)]]
        # below 4 bits there is no fraction
        assert run(Activation(op="exp"), [[1]], input="int2", output="int8").tolist() == [[43]]

    @pytest.mark.parametrize(
        ("name", "function"),
        [
            ("elu", lambda x: x if x > 0 else exp(x) - 1),
            ("gelu", lambda x: x * (1 + erf(x / sqrt(2))) / 2),
            ("silu", lambda x: x / (1 + exp(-x))),
            ("hard_swish", lambda x: x * min(6, max(0, x + 3)) / 6),
            ("erf", erf),
            ("exp", exp),
            ("sqrt", lambda x: sqrt(max(0, x))),
            ("log", lambda x: log(x) if x > 0 else -99),
        ],
    )
    def test_every_value(self, name: Any, function: Callable[[float], float]) -> None:
        expected = [clamp(rounded(function(int(x) / 16) * 16)) for x in ALL_INT8[0]]
        assert run(Activation(op=name), ALL_INT8).tolist() == [expected]

    def test_hard_sigmoid(self) -> None:
        expected = [clamp(rounded(min(1.0, max(0.0, 0.2 * (int(x) / 16) + 0.5)) * 128)) for x in ALL_INT8[0]]
        assert run(Activation(op="hard_sigmoid"), ALL_INT8).tolist() == [expected]

    @pytest.mark.parametrize("name", Activation.model_fields["op"].annotation.__args__)
    def test_many_values_go_through_a_table(self, name: Any) -> None:
        for text in ("int8", "uint8", "int5"):
            storage = parse_format(text)
            many = np.tile(np.arange(storage.lowest, storage.highest + 1), 20)[None]
            one_by_one = [
                run(Activation(op=name), [[v]], input=text)[0, 0] for v in many[0, : 1 << storage.bits]
            ]
            assert run(Activation(op=name), many, input=text).tolist() == [one_by_one * 20]

    @pytest.mark.parametrize("name", Activation.model_fields["op"].annotation.__args__)
    def test_floats_are_float32(self, name: Any) -> None:
        result = run(Activation(op=name), [[0.5, 2.0, 0.0]], **FLOAT)
        assert result.dtype == np.float32

    def test_softmax(self) -> None:
        assert run(Softmax(), [[0, 0, 0, 0]]).tolist() == [[32] * 4]
        assert run(Softmax(), [[127, -128]]).tolist() == [[127, 0]]
        powers = [exp(v / 16) for v in (10, 20, 30)]
        expected = [rounded(128 * p / sum(powers)) for p in powers]
        assert run(Softmax(axis=1), [[[10], [20], [30]]]).tolist() == [[[v] for v in expected]]


class TestNorms:
    @given(st.lists(st.integers(-128, 127), min_size=1, max_size=9))
    def test_layernorm(self, row: list[int]) -> None:
        x = np.array(row) / 16
        expected = (x - x.mean()) / np.sqrt(x.var() + 1e-5) * 16
        result = run(LayerNorm(), [row])[0]
        assert np.all(np.abs(np.clip(expected, -128, 127) - result) <= 0.5 + 1e-9)

    def test_layernorm_of_wide_integers(self) -> None:
        row = [[100000, -100000, 50000, 0]]
        x = np.array(row) / 2**28
        wide = run(LayerNorm(), row, input="int32", output="int16")
        assert np.all(np.abs(wide - (x - x.mean()) / np.sqrt(x.var() + 1e-5) * 4096) <= 0.5)
        narrow = run(LayerNorm(), [[16000, -16000, 8000, 0]], input="int16", output="int16")[0]
        x = np.array([16000, -16000, 8000, 0]) / 4096
        assert np.all(np.abs(narrow - (x - x.mean()) / np.sqrt(x.var() + 1e-5) * 4096) <= 0.5)

    def test_lrn(self) -> None:
        image = drawn(0, (1, 7, 2, 2))
        x = image / 16
        for size in (1, 2, 5):
            result = run(LocalResponseNorm(size=size), image)
            for c in range(7):
                near = x[:, max(0, c - (size - 1) // 2) : c + size // 2 + 1]
                expected = x[:, c] / (1 + 1e-4 / size * (near**2).sum(axis=1)) ** 0.75 * 16
                assert np.all(np.abs(result[:, c] - expected) <= 0.5 + 1e-9)

    def test_batchnorm_is_the_identity(self) -> None:
        assert run(BatchNorm(), [[1, -128, 127]]).tolist() == [[1, -128, 127]]


class TestReduce:
    def test_worked(self) -> None:
        values = [[[1, 2], [3, 100]], [[-1, -2], [-3, -100]]]
        assert run(Reduce(op="reduce_sum", axes=(2,)), values).tolist() == [[[3], [103]], [[-3], [-103]]]
        assert run(Reduce(op="reduce_sum", axes=(1, 2), keepdims=False), [[[100, 100]]]).tolist() == [127]
        assert run(Reduce(op="reduce_mean", axes=(-1,), keepdims=False), values).tolist() == [
            [2, 52],
            [-2, -52],
        ]
        assert run(Reduce(op="reduce_max", axes=(1,)), values).tolist() == [[[3, 100]], [[-1, -2]]]
        assert run(Reduce(op="reduce_mean", axes=(0, 1, 2)), values).tolist() == [[[0]]]


class TestMoves:
    def test_concat_and_split(self) -> None:
        assert run(Concat(axis=1), [[1, 2]], [[3]]).tolist() == [[1, 2, 3]]
        assert run(Concat(axis=-1), [[[300]]], [[[-4]]], input="int16").tolist() == [[[127, -4]]]
        layer = layer_of(Split(axis=1, sizes=(1, 2)), (1, 3))
        assert [x.tolist() for x in evaluate(layer, (np.array([[1, 2, 3]], np.int8),))] == [[[1]], [[2, 3]]]

    def test_slice_and_shape(self) -> None:
        assert run(Slice(axis=1, start=1, size=2, step=2), [[0, 1, 2, 3]]).tolist() == [[1, 3]]
        assert run(Reshape(op="reshape", to=(2, -1)), [[0, 1, 2, 3]]).tolist() == [[[0, 1], [2, 3]]]
        assert run(Reshape(op="flatten"), [[[0, 1], [2, 3]]]).tolist() == [[0, 1, 2, 3]]
        assert run(Transpose(perm=(2, 1)), [[[0, 1, 2], [3, 4, 5]]]).tolist() == [[[0, 3], [1, 4], [2, 5]]]

    def test_image(self) -> None:
        assert run(Upsample(scale=(1, 2)), [[[[1, 2], [3, 4]]]]).tolist() == [[[[1, 1, 2, 2], [3, 3, 4, 4]]]]
        assert run(Pad(pad=(1, 0, 0, 2)), [[[[5]]]]).tolist() == [[[[0, 0, 0], [5, 0, 0]]]]

    def test_embedding(self) -> None:
        layer = layer_of(Embedding(rows=3, features=2), (1, 2))
        table = np.array([[1, 2], [3, 4], [5, 6]], dtype=np.int8)
        assert evaluate(layer, (np.array([[2, 0]]),), table)[0].tolist() == [[[5, 6], [1, 2]]]
        with pytest.raises(
            InputError, match="layer layer: input: looks up row -1, must be 0 to 2: its table has 3 rows"
        ):
            evaluate(layer, (np.array([[2, -1]]),), table)
        mixed = layer_of(Embedding(rows=3, features=2), (1, 2), weight="int8", output="fp32")
        assert evaluate(mixed, (np.array([[0, 1]]),), table)[0].tolist() == [
            [[1 / 16, 2 / 16], [3 / 16, 4 / 16]]
        ]

    def test_from_one_kind_of_number_to_the_other(self) -> None:
        assert run(Reshape(op="flatten"), [[24, -8]], output="fp32").tolist() == [[1.5, -0.5]]
        assert run(Reshape(op="flatten"), [[1.5, -0.5, 99]], input="fp32").tolist() == [[24, -8, 127]]
        assert run(Activation(op="tanh"), [[1.0]], input="fp32").tolist() == [[97]]
        assert run(Concat(), [[1.5]], [[2.0]], input="fp32").tolist() == [[24, 32]]


def onnx_result(op_type: str, inputs: list[Any], opset: int = 22, **attributes: Any) -> Any:
    helper = pytest.importorskip("onnx.helper")
    reference = pytest.importorskip("onnx.reference")
    names = [f"x{i}" for i in range(len(inputs))]
    node = helper.make_node(op_type, names, ["y"], **attributes)
    infos = [helper.make_tensor_value_info(name, 1, x.shape) for name, x in zip(names, inputs, strict=True)]
    graph = helper.make_graph([node], "g", infos, [helper.make_tensor_value_info("y", 1, None)])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
    return reference.ReferenceEvaluator(model).run(None, dict(zip(names, inputs, strict=True)))[0]


def floats(seed: int, shape: Shape) -> Any:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


class TestAgainstOnnx:
    @pytest.mark.parametrize("window", [(2, 2), (3, 2)])
    @pytest.mark.parametrize("stride", [(1, 1), (2, 3)])
    @pytest.mark.parametrize("pad", [0, 1])
    @pytest.mark.parametrize("include", [False, True])
    def test_pools(self, window: Any, stride: Any, pad: int, include: bool) -> None:
        image = floats(0, (2, 2, 6, 7))
        attributes = {"kernel_shape": window, "strides": stride, "pads": (pad,) * 4}
        average = Pool2d(op="avgpool2d", window=window, stride=stride, pad=pad, count_include_pad=include)
        expected = onnx_result("AveragePool", [image], count_include_pad=int(include), **attributes)
        assert np.allclose(run(average, image, **FLOAT), expected, atol=1e-6)
        largest = Pool2d(op="maxpool2d", window=window, stride=stride, pad=pad)
        assert np.array_equal(run(largest, image, **FLOAT), onnx_result("MaxPool", [image], **attributes))

    @pytest.mark.parametrize("window", [2, 3])
    @pytest.mark.parametrize("stride", [2, 3])
    def test_ceil(self, window: int, stride: int) -> None:
        image = floats(0, (1, 2, 8, 6))
        op = Pool2d(op="maxpool2d", window=window, stride=stride, ceil=True)
        expected = onnx_result("MaxPool", [image], kernel_shape=op.window, strides=op.strides, ceil_mode=1)
        assert np.array_equal(run(op, image, **FLOAT), expected)

    @pytest.mark.parametrize(
        ("name", "onnx_name"),
        [
            ("relu", "Relu"),
            ("elu", "Elu"),
            ("sigmoid", "Sigmoid"),
            ("hard_sigmoid", "HardSigmoid"),
            ("tanh", "Tanh"),
            ("gelu", "Gelu"),
            ("hard_swish", "HardSwish"),
            ("exp", "Exp"),
            ("erf", "Erf"),
            ("abs", "Abs"),
            ("neg", "Neg"),
            ("reciprocal", "Reciprocal"),
            ("leaky_relu", "LeakyRelu"),
        ],
    )
    def test_activations(self, name: Any, onnx_name: str) -> None:
        values = floats(1, (3, 40))
        assert np.allclose(
            run(Activation(op=name), values, **FLOAT), onnx_result(onnx_name, [values]), atol=1e-6
        )

    def test_norms(self) -> None:
        values = floats(2, (2, 7, 3, 4))
        assert np.allclose(
            run(Softmax(axis=1), values, **FLOAT), onnx_result("Softmax", [values], axis=1), atol=1e-6
        )
        expected = onnx_result("LayerNormalization", [values, np.ones(4, np.float32)])
        assert np.allclose(run(LayerNorm(), values, **FLOAT), expected, atol=1e-5)
        values = floats(
            3, (7, 7, 2, 2)
        )  # onnx's reference mistakes the batch for the channels, so let both be 7
        expected = onnx_result("LRN", [values], size=5)
        assert np.allclose(run(LocalResponseNorm(size=5), values, **FLOAT), expected, atol=1e-6)

    @pytest.mark.parametrize("name", ["add", "sub", "mul", "div"])
    def test_elementwise(self, name: Any) -> None:
        a, b = floats(3, (2, 3, 4)), floats(4, (2, 1, 4))
        assert np.allclose(
            run(Elementwise(op=name), a, b, **FLOAT), onnx_result(name.title(), [a, b]), atol=1e-6
        )


def naive_conv(image: Any, weights: Any, op: Conv2d, shape: Shape) -> Any:
    result = np.zeros(shape, dtype=object)
    n, k, p, q = shape
    depth, groups = weights.shape[1], op.group_count(image.shape[1])
    for i in product(range(n), range(k), range(p), range(q)):
        group = i[1] // (k // groups)
        for c, r, s in product(range(depth), range(op.R), range(op.S)):
            y = i[2] * op.stride[0] + r * op.dilation[0] - op.pad[0]
            x = i[3] * op.stride[1] + s * op.dilation[1] - op.pad[2]
            if 0 <= y < image.shape[2] and 0 <= x < image.shape[3]:
                result[i] += int(image[i[0], group * depth + c, y, x]) * int(weights[i[1], c, r, s])
    return result


class TestMacs:
    @given(data=st.data(), seed=seeds)
    @settings(max_examples=40, deadline=None)
    def test_convolution(self, data: st.DataObject, seed: int) -> None:
        depth, per_group, groups = data.draw(small), data.draw(small), data.draw(small)
        op = Conv2d(
            K=per_group * groups,
            R=data.draw(small),
            S=data.draw(small),
            groups=groups,
            stride=data.draw(st.tuples(small, small)),
            pad=data.draw(pads),
            dilation=data.draw(st.tuples(small, small)),
            ceil=data.draw(st.booleans()),
        )
        shape = (data.draw(small), depth * groups, data.draw(st.integers(1, 6)), data.draw(st.integers(1, 6)))
        try:
            layer = layer_of(op, shape)
        except ValueError:
            assume(False)
        image, bias = drawn(seed, shape).astype(np.int8), np.arange(per_group * groups)
        assert layer.weight_shape is not None
        weights = drawn(seed + 1, layer.weight_shape).astype(np.int8)
        expected = naive_conv(image, weights, op, layer.output_shapes[0])
        result = mac_reference(layer, (image,), weights)
        assert result.dtype == np.int64
        assert np.array_equal(result, expected)
        assert np.array_equal(mac_reference(layer, (image,), weights, bias), expected + bias[:, None, None])

    @given(data=st.data(), seed=seeds)
    @settings(max_examples=40, deadline=None)
    def test_private_kernels(self, data: st.DataObject, seed: int) -> None:
        op = LocallyConnected2d(
            K=data.draw(small), R=data.draw(small), S=data.draw(small),
            stride=data.draw(st.tuples(small, small)), pad=data.draw(pads),
        )  # fmt: skip
        shape = (
            data.draw(small),
            data.draw(small),
            data.draw(st.integers(3, 5)),
            data.draw(st.integers(3, 5)),
        )
        layer = layer_of(op, shape)
        assert layer.weight_shape is not None
        image, weights = drawn(seed, shape), drawn(seed + 1, layer.weight_shape)
        result = (
            mac_reference(layer, (image,), weights, np.ones(layer.output_shapes[0][1:], dtype=np.int64)) - 1
        )
        same = Conv2d(K=op.K, R=op.R, S=op.S, stride=op.stride, pad=op.pad)
        for p, q in product(*map(range, layer.output_shapes[0][2:])):
            expected = naive_conv(image, weights[p, q], same, layer.output_shapes[0])
            assert np.array_equal(result[:, :, p, q], expected[:, :, p, q])

    def test_linear(self) -> None:
        weights = drawn(0, (5, 12))
        for shape in ((2, 12), (2, 3, 12), (2, 3, 2, 2)):
            values, layer = drawn(1, shape), layer_of(Linear(out=5), shape)
            rows = values.reshape(-1, 12)
            expected = [
                [sum(int(a) * int(b) for a, b in zip(row, w, strict=True)) for w in weights] for row in rows
            ]
            result = mac_reference(layer, (values,), weights, np.arange(5))
            assert np.array_equal(result.reshape(-1, 5), np.array(expected) + np.arange(5))
            assert result.shape == layer.output_shapes[0]

    @pytest.mark.parametrize("transpose", [False, True])
    def test_matmul(self, transpose: bool) -> None:
        a, b = drawn(0, (2, 3, 4, 5)), drawn(1, (2, 3, 5, 6))
        right = b.swapaxes(-1, -2) if transpose else b
        layer = layer_of(Matmul(transpose_b=transpose), a.shape, right.shape)
        assert np.array_equal(mac_reference(layer, (a, right)), np.einsum("xymk,xykn->xymn", a, b))
        weights = b[0, 0].T if transpose else b[0, 0]
        layer = layer_of(Matmul(N=6, transpose_b=transpose), a.shape)
        assert np.array_equal(mac_reference(layer, (a,), weights), a @ b[0, 0])
        assert reduction_length(layer) == 5

    def test_sums_beyond_53_bits_are_exact(self) -> None:
        layer = layer_of(Linear(out=1), (1, 3), weight="int32", input="int32")
        values = np.array([[2**31 - 1, 1, 2**31 - 1]])
        weights = np.array([[2**31 - 1, 1, -(2**31) + 2]])
        assert mac_reference(layer, (values,), weights).tolist() == [[2**31 - 1 + 1]]

    def test_floats(self) -> None:
        layer = layer_of(Conv2d(K=2, R=3, S=3, pad=1), (1, 2, 5, 5), **FLOAT)
        image, weights = floats(0, (1, 2, 5, 5)), floats(1, (2, 2, 3, 3))
        result = mac_reference(layer, (image,), weights)
        assert result.dtype == np.float64
        assert np.allclose(result, onnx_result("Conv", [image, weights], pads=[1] * 4), atol=1e-5)

    def test_reduction(self) -> None:
        assert reduction_length(layer_of(Conv2d(K=4, R=3, S=2, groups=2), (1, 6, 5, 5))) == 18
        assert reduction_length(layer_of(LocallyConnected2d(K=4, R=3, S=2), (1, 6, 5, 5))) == 36
        assert reduction_length(layer_of(Linear(out=3), (1, 2, 4, 4))) == 32


def hand_lstm(gates: list[int], cell: int, bits: int = 8) -> tuple[int, int]:
    """One unit, from gates already requantized, with Python's numbers."""
    one, read = 1 << (bits - 1), 1 << (bits - 4)
    i, f, o = (min(one - 1, rounded(one / (1 + exp(-gates[k] / read)))) for k in (0, 1, 3))
    c = clamp(rounded(tanh(gates[2] / read) * one), f"int{bits}")
    new = clamp(rounded(Fraction(f * cell, one) + Fraction(i * c * 4096, one * one)), "int16")
    shown = clamp(rounded(tanh(new / 4096) * one), f"int{bits}")
    return clamp(rounded(Fraction(o * shown, one)), f"int{bits}"), new


class TestRecurrent:
    unscaled = Requantize(shift=0)

    @given(
        st.lists(st.integers(-128, 127), min_size=4, max_size=4),
        st.integers(-(2**15), 2**15 - 1),
        st.sampled_from([8, 16]),
    )
    @settings(deadline=None)
    def test_lstm_step(self, gates: list[int], cell: int, bits: int) -> None:
        layer = layer_of(
            Recurrent(op="lstm", hidden=1),
            (1, 3),
            scale=self.unscaled,
            input=f"int{bits}",
            output=f"int{bits}",
        )
        state = CellState(np.zeros((1, 1), np.int8), np.array([[cell]], np.int16))
        halves = np.array([gates]) // 2
        after = recurrent_cell(layer, halves, np.array([gates]) - halves, state)
        assert (after.hidden[0, 0], after.cell[0, 0]) == hand_lstm(gates, cell, bits)
        assert after.hidden.dtype == f"int{bits}"
        assert after.cell.dtype == np.int16

    def test_lstm_by_hand(self) -> None:
        # i = sigmoid(1) = 94, f = sigmoid(0) = 64, c = tanh(2) = 123, o = sigmoid(8) = 127 (of 128)
        # cell = 0.5 * 1.0 + 94 * 123 / 128**2 = 1.2057 (4938.5 / 4096 -> 4939)
        # tanh = 0.8353 (107); 127 * 107 / 128 = 106.2
        layer = layer_of(Recurrent(op="lstm", hidden=1), (1, 3), scale=self.unscaled)
        state = CellState(np.zeros((1, 1), np.int8), np.array([[4096]], np.int16))
        after = recurrent_cell(layer, np.array([[16, 0, 32, 127]]), np.zeros((1, 4), np.int64), state)
        assert (after.hidden[0, 0], after.cell[0, 0]) == (106, 4939)

    def test_gates_are_requantized_by_default(self) -> None:
        layer = layer_of(Recurrent(op="lstm", hidden=5), (1, 11))  # 16 products: 6.25 + 2 - 0.5, shift 8
        unscaled = layer_of(Recurrent(op="lstm", hidden=5), (1, 11), scale=self.unscaled)
        gates = np.arange(-10, 10)[None]
        nothing = np.zeros_like(gates)
        after = recurrent_cell(layer, gates * 256, nothing, initial_state(layer))
        assert np.array_equal(after.cell, recurrent_cell(unscaled, gates, nothing, initial_state(layer)).cell)

    def test_peepholes(self) -> None:
        layer = layer_of(Recurrent(op="lstm", hidden=1, peepholes=True), (1, 3), scale=self.unscaled)
        state = CellState(
            np.zeros((1, 1), np.int8), np.array([[320]], np.int16)
        )  # 10/128 in the scale of the hidden state
        nothing = np.zeros((1, 4), np.int64)
        after = recurrent_cell(layer, nothing, nothing, state, np.array([[3], [-2], [0]]))
        assert after.cell[0, 0] == hand_lstm([30, -20, 0, 0], 320)[1]
        shown = recurrent_cell(layer, nothing, nothing, state, np.array([[0], [0], [5]]))
        # the output gate sees the new cell state: 160 / 32 = 5
        assert shown.hidden[0, 0] == hand_lstm([0, 0, 0, 25], 320)[0]

    @given(
        st.lists(st.integers(-128, 127), min_size=3, max_size=3),
        st.integers(-128, 127),
        st.integers(-128, 127),
    )
    @settings(deadline=None)
    def test_gru_step(self, given_: list[int], fed_back: int, hidden: int) -> None:
        layer = layer_of(Recurrent(op="gru", hidden=1), (1, 3), scale=self.unscaled)
        state = CellState(np.array([[hidden]], np.int8), np.zeros((1, 1), np.int16))
        after = recurrent_cell(layer, np.array([given_]), np.array([[0, 0, fed_back]]), state)
        r, z = (min(127, rounded(128 / (1 + exp(-v / 16)))) for v in given_[:2])
        inner = clamp(given_[2] + rounded(Fraction(r * fed_back, 128)))
        c = clamp(rounded(128 * tanh(inner / 16)))
        assert after.hidden[0, 0] == clamp(rounded(Fraction((128 - z) * c + z * hidden, 128)))

    def sequence(self, name: Any, **more: Any) -> tuple[Any, Any, Any, Any]:
        op = Recurrent(op=name, hidden=4, **more)
        layer = layer_of(op, (2, 5, 3), **FLOAT)
        assert layer.weight_shape is not None
        return layer, floats(0, (2, 5, 3)), floats(1, layer.weight_shape), floats(2, (op.gates * 4,))

    def test_float_lstm_as_onnx(self) -> None:
        layer, x, w, bias = self.sequence("lstm", peepholes=True)
        peepholes = floats(3, (3, 4))
        order = np.r_[0:4, 12:16, 4:8, 8:12]  # onnx: input, output, forget, cell
        expected = onnx_result(
            "LSTM",
            [
                x.transpose(1, 0, 2),
                w[None, order, :3],
                w[None, order, 3:],
                np.concatenate([bias[order], 0 * bias])[None],
                np.zeros(0, np.int32),
                np.zeros((1, 2, 4), np.float32),
                np.zeros((1, 2, 4), np.float32),
                peepholes[[0, 2, 1]].reshape(1, -1),
            ],
            hidden_size=4,
        )
        result = recurrent_reference(layer, x, w, bias, peepholes=peepholes)
        assert result.shape == (2, 5, 4)
        assert np.allclose(result.transpose(1, 0, 2), expected[:, 0], atol=1e-5)

    def test_float_gru_as_onnx(self) -> None:
        layer, x, w, bias = self.sequence("gru")
        order = np.r_[4:8, 0:4, 8:12]  # onnx: update, reset, hidden
        expected = onnx_result(
            "GRU",
            [
                x.transpose(1, 0, 2), w[None, order, :3], w[None, order, 3:],
                np.concatenate([bias[order], 0 * bias])[None],
            ],
            hidden_size=4, linear_before_reset=1,
        )  # fmt: skip
        result = recurrent_reference(layer, x, w, bias)
        assert np.allclose(result.transpose(1, 0, 2), expected[:, 0], atol=1e-5)

    def test_projection(self) -> None:
        layer = layer_of(Recurrent(op="lstm", hidden=6, projection=2), (3, 4, 5))
        weights, projection = drawn(0, (24, 7)), drawn(1, (2, 6))
        x = drawn(2, (3, 4, 5)).astype(np.int8)
        result = recurrent_reference(layer, x, weights, None, projection)
        assert result.shape == (3, 4, 2)
        first = recurrent_cell(
            layer, x[:, 0] @ weights[:, :5].T, np.zeros((3, 24), np.int64), initial_state(layer)
        )
        projected = requantize(first.hidden.astype(np.int64) @ projection.T, layer, 6)
        assert np.array_equal(result[:, 0], projected)

    @pytest.mark.parametrize("name", ["lstm", "gru"])
    @pytest.mark.parametrize("bits", [4, 8, 16, 32])
    def test_hidden_states_are_operands(self, name: Any, bits: int) -> None:
        text = f"int{bits}"
        wide = min(bits, 16)
        layer = layer_of(Recurrent(op=name, hidden=3), (1, 6, 4), input=f"int{wide}", output=text)
        limit = 1 << (wide - 2)
        x = drawn(1, (1, 6, 4), -limit, limit)
        assert layer.weight_shape is not None
        weights = drawn(2, layer.weight_shape, -100, 100)
        result = recurrent_reference(layer, x, weights)
        one = 1 << (wide - 1)
        assert result.dtype == parse_format(text).storage
        assert -one <= result.min() <= result.max() < one
        assert np.abs(result).max() > 0

    def test_one_step_has_no_time_axis(self) -> None:
        layer = layer_of(Recurrent(op="gru", hidden=3), (2, 4))
        assert layer.weight_shape is not None
        assert recurrent_reference(layer, drawn(0, (2, 4)), drawn(1, layer.weight_shape)).shape == (2, 3)


def a_network(precision: Precision) -> Network:
    def sketch(name: str, op: Op, *inputs: str) -> LayerSketch:
        return LayerSketch(name, op, inputs or None, precision)

    return build_network(
        "all",
        2,
        {"image": (4, 8, 8)},
        (
            sketch("conv", Conv2d(K=8, R=3, S=3, pad=1, groups=2), "image"),
            sketch("relu", Activation(op="relu")),
            sketch("local", LocallyConnected2d(K=4, R=2, S=2, stride=2)),
            sketch("pool", Pool2d(op="avgpool2d", window=2)),
            sketch("halves", Split(sizes=(2, 2))),
            sketch("sum", Elementwise(op="add"), "halves", "halves.1"),
            sketch("rows", Reshape(op="reshape", to=(4, 2))),
            sketch("lstm", Recurrent(op="lstm", hidden=6, projection=4, peepholes=True)),
            sketch("scores", Matmul(transpose_b=True), "lstm", "lstm"),
            sketch("softmax", Softmax()),
            sketch("mixed", Matmul(), "softmax", "lstm"),
            sketch("fc", Linear(out=3)),
        ),
    )


class TestNetwork:
    @pytest.mark.parametrize("text", ["int8", "fp32"])
    def test_runs(self, text: str) -> None:
        accumulator = "int32" if text == "int8" else text
        network = a_network(Precision(weight=text, input=text, output=text, accumulator=accumulator))
        outputs, again = run_reference(network, 3), run_reference(network, 3)
        assert list(outputs) == [layer.name for layer in network.layers]
        for layer in network.layers:
            for output, same, shape in zip(
                outputs[layer.name], again[layer.name], layer.output_shapes, strict=True
            ):
                assert output.shape == shape
                assert output.dtype == layer.precision.output.storage
                assert output.tobytes() == same.tobytes()
        assert np.any(outputs["fc"][0])

    def test_another_seed(self) -> None:
        network = a_network(Precision())
        assert np.any(run_reference(network, 3)["fc"][0] != run_reference(network, 4)["fc"][0])

    def test_deep_networks_neither_die_nor_saturate(self) -> None:
        layers = []
        for i in range(24):
            layers += [LayerSketch(f"fc{i}", Linear(out=64), ("x",) if i == 0 else None)]
            layers += [LayerSketch(f"relu{i}", Activation(op="relu"))] if i % 2 else []
        outputs = run_reference(build_network("deep", 4, {"x": (64,)}, tuple(layers)), 0)
        for i in range(24):
            values = np.abs(outputs[f"fc{i}"][0].astype(np.int64))
            assert 8 < np.sqrt(np.square(values).mean()) < 120
