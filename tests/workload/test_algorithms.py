"""Do Winograd and Fourier give the convolution's own sums? Integers bit for bit, floats to the tolerance stated; and is
their work what the transforms' additions say?
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from builders import formats
from hypothesis import given, settings
from hypothesis import strategies as st
from reference import sums

from accelsim.errors import InputError
from accelsim.workload.algorithms import planes_to_image, tile_counts, tiles_to_planes, transforms_of
from accelsim.workload.expand import expanded, parts_of, product_macs
from accelsim.workload.functional import run_reference
from accelsim.workload.network import (
    Affine,
    Held,
    LayerSketch,
    Network,
    Provided,
    Quantization,
    Requantize,
    build_network,
)
from accelsim.workload.ops import Activation, Conv2d, TransformInput, TransformOutput
from accelsim.workload.precision import Precision, parse_format
from accelsim.workload.values import weight_values
from accelsim.workload.winograd import F2X2, F4X4, Winograd, additions

WINOGRAD = ["winograd_f2x2", "winograd_f4x4"]
FOURIER = ["fft_8x8", "fft_16x16", "fft_32x32"]
FLOATS = formats("fp32", "fp32", "fp32", "fp32")

sizes = st.integers(1, 13)
pads = st.tuples(*[st.integers(0, 3)] * 4)


def convolution(
    shape: tuple[int, int, int], outputs: int, algorithm: str, pad: tuple[int, ...] = (1, 1, 1, 1),
    window: tuple[int, int] = (3, 3), precision: Precision | None = None, batch: int = 1, **fields: Any,
) -> Network:  # fmt: skip
    op = Conv2d(K=outputs, R=window[0], S=window[1], pad=pad, algorithm=algorithm)
    sketch = LayerSketch("conv", op, ("x",), precision or formats(output="int32"), **fields)
    return build_network("n", batch, {"x": shape}, (sketch,))


def direct(network: Network) -> Network:
    sketches = [replace(s, op=s.op.model_copy(update={"algorithm": "direct"})) for s in network.sketches]
    return network.with_sketches(sketches)


# ---- values ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("algorithm", WINOGRAD)
@settings(max_examples=60, deadline=None)
@given(
    batch=st.integers(1, 2), channels=st.integers(1, 4), outputs=st.integers(1, 4), height=sizes, width=sizes, pad=pads,
    signed=st.booleans(), bits=st.integers(2, 9), zero=st.integers(-3, 3), seed=st.integers(0, 99), data=st.data(),
)  # fmt: skip
def test_integers_are_the_direct_convolutions(
    algorithm: str, batch: int, channels: int, outputs: int, height: int, width: int, pad: tuple[int, ...], signed: bool,
    bits: int, zero: int, seed: int, data: st.DataObject,
) -> None:  # fmt: skip
    """With zero points, a bias and a scale a channel, from images of one pixel up; ragged tiles included."""
    height, width = max(height, 3 - pad[0] - pad[1]), max(width, 3 - pad[2] - pad[3])
    number = f"{'int' if signed else 'uint'}{bits}"
    precision = formats(f"int{bits}", number, "int32", "int11")
    multipliers = tuple(data.draw(st.lists(st.integers(1, 9), min_size=outputs, max_size=outputs)))
    zeros = tuple(data.draw(st.lists(st.integers(-1, 1), min_size=outputs, max_size=outputs)))
    bias = np.arange(-7, 13 * outputs - 7, 13)
    network = convolution(
        (channels, height, width), outputs, algorithm, pad, precision=precision, batch=batch,
        bias=Provided(provider=Held(bias)), requantize=Requantize(multipliers, 5, 2, "even"),
        quantization=Quantization((Affine(0.5, zero),), zeros, Affine(0.25, 2)),
    )  # fmt: skip
    whole, _ = expanded(network)
    expected, found = run_reference(direct(network), seed)["conv"][0], run_reference(whole, seed)["conv"][0]
    assert found.dtype == expected.dtype
    np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize(
    ("algorithm", "tolerance"), [(n, 2e-6) for n in ("winograd_f2x2", *FOURIER)] + [("winograd_f4x4", 2e-5)]
)
@settings(max_examples=25, deadline=None)
@given(channels=st.integers(1, 5), height=st.integers(1, 40), width=sizes, pad=pads, seed=st.integers(0, 99))
def test_floats_are_near(
    algorithm: str, tolerance: float, channels: int, height: int, width: int, pad: tuple[int, ...], seed: int
) -> None:
    """The stated error: of the largest output, in float32."""
    height, width = max(height, 3 - pad[0] - pad[1]), max(width, 3 - pad[2] - pad[3])
    network = convolution((channels, height, width), 3, algorithm, pad, precision=FLOATS)
    expected = run_reference(direct(network), seed)["conv"][0]
    found = run_reference(expanded(network)[0], seed)["conv"][0]
    assert found.dtype == np.float32
    assert np.abs(found - expected).max() <= tolerance * max(np.abs(expected).max(), 1)


@pytest.mark.parametrize("algorithm", FOURIER)
@settings(max_examples=20, deadline=None)
@given(window=st.tuples(st.integers(1, 8), st.integers(2, 8)), pad=pads, seed=st.integers(0, 99))
def test_fourier_takes_windows_of_any_shape(
    algorithm: str, window: tuple[int, int], pad: tuple[int, ...], seed: int
) -> None:
    random = np.random.default_rng(seed)
    image, weights = random.normal(size=(2, 3, 9, 11)), random.normal(size=(4, 3, *window))
    network = convolution((3, 9, 11), 4, algorithm, pad, window, FLOATS, batch=2)
    expected = sums(network.layers[0], [image], weights)
    counts = tile_counts(algorithm, window, expected.shape[2:])
    planes = tiles_to_planes(algorithm, window, image, pad, counts).reshape(2, -1, 3, *counts)
    products = np.einsum("npcab,pkc->npkab", planes, transforms_of(algorithm).transform_weights(weights))
    found = planes_to_image(algorithm, window, products.reshape(2, -1, *counts), expected.shape[2:])
    np.testing.assert_allclose(found, expected, atol=1e-4)


@pytest.mark.parametrize("algorithm", [F2X2, F4X4], ids=lambda a: a.name)
def test_ranges_are_reached_and_never_left(algorithm: Winograd) -> None:
    low, high = -128, 127
    least, greatest = algorithm.input_range((low, high))
    rows = np.stack(algorithm.data(list(np.eye(algorithm.tile, dtype=np.int64))))
    tiles = [np.where(np.multiply.outer(a, b) > 0, high, low) for a in rows for b in rows]
    tiles += [np.where(np.multiply.outer(a, b) > 0, low, high) for a in rows for b in rows]
    reached = algorithm.transform_input(np.stack(tiles))
    assert (reached.min(), reached.max()) == (least, greatest)
    least, greatest = algorithm.weight_range((low, high))
    rows = np.array(algorithm.filter)
    filters = [np.where(np.multiply.outer(a, b) * sign > 0, high, low) for a in rows for b in rows for sign in (1, -1)]
    reached = algorithm.transform_weights(np.stack(filters)[None])
    assert (reached.min(), reached.max()) == (least, greatest)


# ---- work ------------------------------------------------------------------------------------------------------------


def test_the_matrices_are_those_of_lavin_and_gray() -> None:
    eye = list(np.eye(4, dtype=int)), list(np.eye(6, dtype=int))
    assert np.stack(F2X2.data(eye[0])).tolist() == [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]]
    assert np.stack(F2X2.output(eye[0])).tolist() == [[1, 1, 1, 0], [0, 1, -1, -1]]
    assert np.stack(F4X4.data(eye[1])).tolist() == [
        [4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0],
        [0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1],
    ]  # fmt: skip
    assert np.stack(F4X4.output(eye[1])).tolist() == [
        [1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]
    ]  # fmt: skip
    filters = F4X4.transform_weights(np.eye(9).reshape(9, 1, 3, 3)).reshape(6, 6, 3, 3)
    g = np.array(
        [
            [1 / 4, 0, 0],
            [-1 / 6] * 3,
            [-1 / 6, 1 / 6, -1 / 6],
            [1 / 24, 1 / 12, 1 / 6],
            [1 / 24, -1 / 12, 1 / 6],
            [0, 0, 1],
        ]
    )
    np.testing.assert_allclose(filters, np.einsum("ia,jb->ijab", g, g))


def test_additions_of_a_tile() -> None:
    assert [additions(p, n) for p, n in ((F2X2.data, 4), (F2X2.output, 4), (F4X4.data, 6), (F4X4.output, 6))] == [
        4,
        4,
        12,
        10,
    ]
    assert (F2X2.input_ops, F2X2.output_ops(False), F2X2.output_ops(True)) == (32, 24, 24)  # the paper's 32 and 24
    assert (F4X4.input_ops, F4X4.output_ops(False)) == (144, 100)
    assert F4X4.output_ops(True) == 100 + 16  # an exact division by 9 an output
    fourier = transforms_of("fft_8x8")  # 64 points: 5/2 * 64 * log2(64) = 960; 30 complex points
    assert (fourier.planes, fourier.input_ops, fourier.output_ops(False)) == (4 + 3 * 30, 960 + 30, 960 + 60)


@pytest.mark.parametrize(
    ("algorithm", "tiles", "planes"), [("winograd_f2x2", 20, 16), ("winograd_f4x4", 6, 36), ("fft_8x8", 4, 94)]
)
def test_work_of_a_layer(algorithm: str, tiles: int, planes: int) -> None:
    """7 x 9 outputs: 4 x 5 tiles of 2 x 2, 2 x 3 of 4 x 4, 2 x 2 of 6 x 6."""
    integers = algorithm in WINOGRAD
    network = convolution((3, 7, 9), 5, algorithm, precision=None if integers else FLOATS, batch=2)
    into, gemm, out = expanded(network)[0].layers
    known = transforms_of(algorithm)
    assert product_macs(network.layers[0]) == gemm.macs
    assert (into.macs, gemm.macs, out.macs) == (0, 2 * planes * tiles * 3 * 5, 0)
    assert (into.vector_ops, out.vector_ops) == (
        2 * 3 * tiles * known.input_ops,
        2 * 5 * tiles * known.output_ops(integers),
    )
    assert gemm.weight_shape == (planes * 5, 3, 1, 1)
    assert out.output_shapes == ((2, 5, 7, 9),)
    assert (into.parameters, gemm.parameters, out.parameters) == (0, planes * 15, 5)


# ---- formats ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("algorithm", "channels", "weight", "given", "found"),
    [
        ("winograd_f2x2", 3, "int8", "int8", ("int12", "int10", "int32")),
        ("winograd_f2x2", 512, "int8", "int8", ("int12", "int10", "int32")),
        ("winograd_f4x4", 3, "int8", "int8", ("int14", "int15", "int32")),
        ("winograd_f4x4", 512, "int8", "int8", ("int14", "int15", "int40")),
        ("winograd_f2x2", 3, "int4", "uint4", ("int8", "int7", "int32")),
        ("winograd_f4x4", 3, "bf16", "bf16", ("bf16", "bf16", "fp32")),
    ],
)
def test_formats_of_what_is_transformed(
    algorithm: str, channels: int, weight: str, given: str, found: tuple[str, ...]
) -> None:
    own = formats(weight, given, "fp32" if weight == "bf16" else "int32", "bf16" if weight == "bf16" else "int8")
    into, gemm, out = expanded(convolution((channels, 8, 8), 4, algorithm, precision=own))[0].layers
    weight_format, input_format, sum_format = map(parse_format, found)
    assert gemm.precision == Precision(
        weight=weight_format, input=input_format, accumulator=sum_format, output=sum_format
    )
    assert into.precision.input == own.input
    assert into.precision.output == input_format
    assert (out.precision.input, out.precision.output) == (sum_format, own.output)


@pytest.mark.parametrize("algorithm", WINOGRAD)
def test_the_worst_operands_fit(algorithm: str) -> None:
    """Formats are those of the extremes, and not a bit wider; a sum of the largest products fits its format."""
    gemm = expanded(convolution((64, 6, 6), 2, algorithm))[0].layers[1]
    known = transforms_of(algorithm)
    assert isinstance(known, Winograd)
    inputs, weights = known.input_range((-128, 127)), known.weight_range((-128, 127))
    for number, (low, high) in ((gemm.precision.input, inputs), (gemm.precision.weight, weights)):
        assert number.lowest <= low < high <= number.highest
        assert not number.lowest // 2 <= low < high <= number.highest // 2
    assert gemm.precision.accumulator.highest >= 64 * max(map(abs, inputs)) * max(map(abs, weights))
    assert weight_values(gemm, 1).dtype == gemm.precision.weight.storage


# ---- the network -----------------------------------------------------------------------------------------------------


def test_what_reads_the_convolution_still_does() -> None:
    network = build_network(
        "n", 1, {"x": (2, 6, 6)},
        (
            LayerSketch("a", Conv2d(K=3, R=3, S=3, pad=(1, 1, 1, 1), algorithm="winograd_f4x4"), ("x",)),
            LayerSketch("r", Activation(op="relu")),
            LayerSketch("b", Conv2d(K=3, R=3, S=3), ("r",)),
            LayerSketch("c", Conv2d(K=3, R=1, S=1), ("a",)),
        ),
    )  # fmt: skip
    whole, notes = expanded(network)
    assert [layer.name for layer in whole.layers] == ["a_input", "a_gemm", "a", "r", "b", "c"]
    assert notes == ["1 of 3 convolutions run by an algorithm: 1 as winograd_f4x4; directly: b, c (2)"]
    assert parts_of(network.layers[0]) == ("a_input", "a_gemm", "a")
    for name in ("a", "r", "b", "c"):
        np.testing.assert_array_equal(
            run_reference(whole, 3)[name][0], run_reference(direct_first(network), 3)[name][0]
        )
    assert whole.with_batch(2).layer("a").output_shapes == ((2, 3, 6, 6),)


def direct_first(network: Network) -> Network:
    first = replace(network.sketches[0], op=network.sketches[0].op.model_copy(update={"algorithm": "direct"}))
    return network.with_sketches([first, *network.sketches[1:]])


def test_a_network_without_algorithms_is_itself() -> None:
    network = convolution((3, 8, 8), 4, "direct")
    assert expanded(network) == (network, [])


@pytest.mark.parametrize(
    ("algorithm", "precision", "words"),
    [
        ("fft_8x8", formats(), r"n: conv.algorithm: fft_8x8 is for floats, not int8 weights and int8 inputs"),
        ("winograd_f2x2", formats("int8", "fp16"), "is for integers or for floats, not int8 weights and fp16 inputs"),
        ("winograd_f4x4", formats("int32"), r"needs sums of 77 bits, at most 62 are simulated"),
    ],
)
def test_numbers_that_an_algorithm_is_not_for(algorithm: str, precision: Precision, words: str) -> None:
    with pytest.raises(InputError, match=words):
        expanded(convolution((3, 8, 8), 4, algorithm, precision=precision))


def test_names_of_parts_that_are_taken() -> None:
    network = convolution((3, 8, 8), 4, "winograd_f2x2")
    taken = network.with_sketches([*network.sketches, LayerSketch("conv_gemm", Activation(op="relu"), ("conv",))])
    with pytest.raises(InputError, match="n: conv_gemm: is already taken: the algorithm of conv needs it"):
        expanded(taken)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Conv2d(K=1, R=5, S=5, algorithm="winograd_f2x2"), "winograd_f2x2 is for 3 x 3 windows, not 5 x 5"),
        (lambda: Conv2d(K=1, R=3, S=3, stride=(2, 2), algorithm="winograd_f4x4"), "is for a stride of 1, not 2"),
        (lambda: Conv2d(K=1, R=3, S=3, dilation=(1, 2), algorithm="fft_8x8"), "is for a dilation of 1, not 1 x 2"),
        (lambda: Conv2d(K=2, R=3, S=3, groups=2, algorithm="winograd_f4x4"), "is for one group, not 2"),
        (lambda: Conv2d(K=1, R=9, S=1, algorithm="fft_8x8"), "is for windows of at most 8 x 8, not 9 x 1"),
        (lambda: Conv2d(K=1, R=1, S=1, algorithm="fft_8x8"), "is for windows larger than 1 x 1"),
        (lambda: TransformInput(algorithm="winograd_f2x2", R=5), "is for 3 x 3 windows, not 5 x 3"),
        (
            lambda: TransformOutput(algorithm="fft_8x8", P=4, Q=4, integers=True),
            "integers is true, but fft_8x8 is for floats",
        ),
    ],
)
def test_convolutions_that_do_not_suit(make: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((15, 2, 2), "has 15 input channels, winograd_f2x2 takes a multiple of 16"),
        ((32, 2, 3), "takes 2x2 tiles for 4x4 outputs, has 2x3"),
    ],
)
def test_shapes_that_do_not_connect(shape: tuple[int, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        TransformOutput(algorithm="winograd_f2x2", P=4, Q=4).output_shapes(((1, *shape),))
    with pytest.raises(ValueError, match="larger than the padded input 2x9"):
        TransformInput(algorithm="winograd_f2x2").output_shapes(((1, 3, 2, 9),))
