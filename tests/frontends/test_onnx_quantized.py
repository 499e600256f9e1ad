"""Do quantized graphs keep their formats, and can their integers, scales and zero points be fetched?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx.reference import ReferenceEvaluator
from onnx_models import LIGHT, QDQ_CONV, QUANTIZED_CONV, model, quantized_weights, save

from accelsim.errors import InputError
from accelsim.frontends.onnx import initializers, read_onnx, read_onnx_with_notes
from accelsim.workload.network import Network, Requantize

X = "float[1,3,8,8] x"


def formats(network: Network) -> list[tuple[str, str]]:
    return [(layer.op.op, " ".join(str(number) for _, number in layer.precision)) for layer in network.layers]


@pytest.mark.parametrize("body", [QUANTIZED_CONV, QDQ_CONV], ids=["QLinear", "QDQ"])
def test_formats_come_from_the_tensors(body: str, tmp_path: Path) -> None:
    path = save(tmp_path, model(body, X, **quantized_weights()))
    network, notes = read_onnx_with_notes(path)
    second = "maxpool2d" if body == QUANTIZED_CONV else "relu"
    assert formats(network) == [("conv2d", "int8 uint8 int32 uint8"), (second, "int8 uint8 int32 uint8")]
    assert network.layers[0].requantize == Requantize()
    assert "1 layers scale their output by no whole number" in notes[0]


@pytest.mark.parametrize("body", [QUANTIZED_CONV, QDQ_CONV], ids=["QLinear", "QDQ"])
def test_integers_scales_and_zero_points_can_be_fetched(body: str, tmp_path: Path) -> None:
    weights = quantized_weights()
    arrays = initializers(save(tmp_path, model(body, X, **weights)))
    conv = arrays["r" if body == QUANTIZED_CONV else "c"]
    assert conv.weight is not None
    assert conv.weight.dtype == np.int8
    np.testing.assert_array_equal(conv.weight, weights["w"])
    assert conv.bias is not None
    np.testing.assert_array_equal(conv.bias, weights["b"])
    for found, scale, zero in (
        (conv.inputs[0], 0.5, 7),
        (conv.weight_quantization, 0.25, 0),
        (conv.output, 0.3, 3),
    ):
        assert found is not None
        assert found.scale is not None
        assert found.zero_point is not None
        assert (found.scale, found.zero_point) == (np.float32(scale), zero)


def test_a_whole_multiplier_is_kept_and_is_exact(tmp_path: Path) -> None:
    """0.5 * 2 / 0.25 is 4: nothing is rounded, so that accelsim's rule and ONNX's give the same integers."""
    weights = quantized_weights(xz=np.uint8(0), ws=np.float32(2), ys=np.float32(0.25), yz=np.uint8(9))
    weights["w"] = (weights["w"] // 64).astype(np.int8)
    body = QUANTIZED_CONV.replace("<pads=[1,1,1,1]>", "").replace(
        "p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r)", ""
    )
    proto = model(
        body.replace("y = DequantizeLinear(p, ys, yz)", "y = DequantizeLinear(r, ys, yz)"),
        X,
        opset=19,
        **weights,
    )
    layer = read_onnx(save(tmp_path, proto)).layers[0]
    assert layer.requantize == Requantize(multiplier=4, shift=0, zero_point=9)
    x = np.random.default_rng(1).uniform(0, 5, (1, 3, 8, 8)).astype(np.float32)
    expected = ReferenceEvaluator(proto).run(None, {"x": x})[0]
    integers = np.clip(np.round(x / np.float32(0.5)), 0, 255).astype(np.int64)
    windows = np.lib.stride_tricks.sliding_window_view(integers[0], (3, 3), axis=(1, 2))
    sums = np.einsum("chwrs,kcrs->khw", windows, weights["w"].astype(np.int64)) + weights["b"][:, None, None]
    out = np.clip(sums * layer.requantize.multiplier + layer.requantize.zero_point, 0, 255)
    np.testing.assert_array_equal((out - 9).astype(np.float32) * np.float32(0.25), expected[0])


@pytest.mark.parametrize(
    "change",
    [{"xz": np.uint8(7)}, {"ws": np.float32(0.2)}, {"ws": np.float32([2] * 4), "wz": np.int8([0] * 4)}],
)
def test_what_is_not_exact_is_left_to_the_rule(change: dict[str, Any], tmp_path: Path) -> None:
    weights = quantized_weights(xz=np.uint8(0), ws=np.float32(2), ys=np.float32(0.25)) | change
    assert read_onnx(save(tmp_path, model(QUANTIZED_CONV, X, **weights))).layers[0].requantize == Requantize()


def test_integer_products_leave_the_accumulator(tmp_path: Path) -> None:
    body = """q, s, z = DynamicQuantizeLinear(x)  c = ConvInteger(q, w, z, wz)  f = Cast<to=1>(c)
              k = Mul(s, ws)  m = Mul(f, k)  y = Relu(m)"""
    network, notes = read_onnx_with_notes(save(tmp_path, model(body, X, **quantized_weights())))
    assert formats(network) == [
        ("conv2d", "int8 uint8 int32 int32"), ("mul", "fp32 fp32 fp32 fp32"), ("relu", "fp32 fp32 fp32 fp32"),
    ]  # fmt: skip
    assert "1 tensors are quantized dynamically" in notes[0]


def test_quantized_matmuls(tmp_path: Path) -> None:
    body = """q = QuantizeLinear(x, xs, xz)  a = QLinearMatMul(q, xs, xz, w, ws, wz, ys, yz)
              b = MatMulInteger(a, v, yz, wz)  y = Cast<to=1>(b)"""
    weights = quantized_weights(w=np.ones((6, 5), np.int8), v=np.ones((5, 4), np.int8))
    network = read_onnx(save(tmp_path, model(body, "float[2,6] x", **weights)))
    assert formats(network) == [("linear", "int8 uint8 int32 uint8"), ("linear", "int8 uint8 int32 int32")]
    assert network.macs == 2 * 6 * 5 + 2 * 5 * 4


def test_runtimes_own_quantized_operators(tmp_path: Path) -> None:
    body = """q = QuantizeLinear(x, xs, xz)
      a = com.microsoft.QLinearAdd(q, xs, xz, q, xs, xz, ys, yz)
      m = com.microsoft.QLinearMul(a, ys, yz, q, xs, xz, ys, yz)
      s = com.microsoft.QLinearSigmoid(m, ys, yz, xs, xz)
      l = com.microsoft.QLinearLeakyRelu<alpha=0.5>(s, xs, xz, ys, yz)
      v = com.microsoft.QLinearAveragePool<kernel_shape=[2,2], strides=[2,2]>(l, ys, yz, ys, yz)
      c = com.microsoft.QLinearConcat<axis=1>(xs, xz, v, ys, yz, v, ys, yz)
      g = com.microsoft.QLinearGlobalAveragePool(c, xs, xz, ys, yz)
      f = Flatten(g)
      y = com.microsoft.QGemm<transB=1>(f, ys, yz, w, ws, wz, b)"""
    weights = quantized_weights(w=np.ones((4, 6), np.int8))
    network = read_onnx(save(tmp_path, model(body, X, **weights)))
    ops = ["add", "mul", "sigmoid", "leaky_relu", "avgpool2d", "concat", "globalavgpool", "flatten", "linear"]
    assert [layer.op.op for layer in network.layers] == ops
    assert network.layers[5].output_shapes == ((1, 6, 4, 4),)
    assert {str(layer.precision.input) for layer in network.layers} == {"uint8"}


def test_weights_alone_quantized(tmp_path: Path) -> None:
    body = "wd = DequantizeLinear(w, ws, wz) t = Transpose<perm=[1,0]>(wd) y = MatMul(x, t)"
    path = save(
        tmp_path,
        model(body, "float[2,6] x", **quantized_weights(w=np.arange(24, dtype=np.int8).reshape(4, 6))),
    )
    assert formats(read_onnx(path)) == [("linear", "int8 fp32 fp32 fp32")]
    weight = initializers(path)["y"].weight
    assert weight is not None
    np.testing.assert_array_equal(weight, np.arange(24).reshape(4, 6) * 0.25)


def test_float_weights_have_accelsims_layout(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    w, v, b = (rng.random(shape, np.float32) for shape in ((6, 5), (4, 5), (5,)))
    body = "m = MatMul(x, w) a = Add(m, b) n = Gemm<transB=1>(a, v) y = Add(n, one)"
    arrays = initializers(save(tmp_path, model(body, "float[2,6] x", w=w, v=v, b=b, one=np.float32(1))))
    for found, expected in ((arrays["m"].weight, w.T), (arrays["m"].bias, b), (arrays["n"].weight, v)):
        assert found is not None
        np.testing.assert_array_equal(found, expected)
    assert arrays["y"].operand == 1


def test_made_weights_of_a_light_model() -> None:
    arrays = initializers(LIGHT / "light_squeezenet.onnx", ["n0", "n1"])
    assert list(arrays) == ["n0"]  # n1 is a relu
    assert arrays["n0"].weight is not None
    assert arrays["n0"].weight.shape == (64, 3, 3, 3)


def test_missing_external_data_matters_only_when_values_are_wanted(tmp_path: Path) -> None:
    proto = model("y = Conv(x, w)", X, w=(4, 3, 3, 3))
    tensor = proto.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = 1
    tensor.external_data.add(key="location", value="weights.bin")
    path = save(tmp_path, proto)
    assert read_onnx(path).macs == 36 * 4 * 27
    with pytest.raises(InputError, match=r'initializer "w": its values cannot be read'):
        initializers(path)
    (tmp_path / "weights.bin").write_bytes(np.ones(108, np.float32).tobytes())
    weight = initializers(path)["y"].weight
    assert weight is not None
    assert weight.sum() == 108
