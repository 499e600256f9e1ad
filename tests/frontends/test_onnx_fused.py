"""Fused operators and transposed convolutions: onnxruntime's numbers, and MACs as shape inference alone counts them."""



from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from counting import macs
from onnx import helper, numpy_helper
from onnx_models import model, save
from test_onnx_flow import NORMAL, agrees

from accelsim.catalogue import load_network
from accelsim.errors import InputError
from accelsim.frontends._onnx_model import OnnxFile
from accelsim.frontends.onnx import read_onnx

IMAGE, SIGNAL, ROWS = "float[2,4,5,6] x", "float[2,4,7] x", "float[2,6] x"
TRANSPOSED: dict[str, tuple[str, str, tuple[int, ...]]] = {
    "of stride one": ("y = ConvTranspose(x, w, b)", IMAGE, (4, 3, 3, 2)),
    "a stride a tap": ("y = ConvTranspose<strides=[2,2]>(x, w, b)", IMAGE, (4, 3, 2, 2)),
    "taps that overlap": ("y = ConvTranspose<strides=[2,3]>(x, w, b)", IMAGE, (4, 3, 5, 4)),
    "padded": ("y = ConvTranspose<strides=[2,2], pads=[1,0,1,1], output_padding=[1,1]>(x, w)", IMAGE, (4, 3, 3, 3)),
    "fewer taps than the stride": ("y = ConvTranspose<strides=[3,3], output_padding=[2,1]>(x, w, b)", IMAGE, (4, 3, 1, 2)),
    "groups": ("y = ConvTranspose<group=2, strides=[2,2]>(x, w)", IMAGE, (4, 3, 3, 3)),
    "a size that is given": ("y = ConvTranspose<strides=[2,2], output_shape=[10,12]>(x, w, b)", IMAGE, (4, 3, 3, 3)),
    "the same size": ('y = ConvTranspose<strides=[2,2], auto_pad="SAME_UPPER">(x, w, b)', IMAGE, (4, 3, 3, 3)),
    "dilated": ("y = ConvTranspose<dilations=[2,3], strides=[2,1], pads=[1,0,0,1]>(x, w, b)", IMAGE, (4, 3, 3, 2)),
    "a volume": ("y = ConvTranspose<strides=[2,1,2], pads=[0,1,0,0,0,1]>(x, w, b)", "float[2,4,3,4,2] x", (4, 3, 2, 3, 3)),
    "a signal": ("y = ConvTranspose<strides=[4], pads=[2,2]>(x, w, b)", SIGNAL, (4, 3, 8)),
}  # fmt: skip


@pytest.mark.parametrize("case", TRANSPOSED)
def test_transposed_convolutions(case: str, tmp_path: Path) -> None:
    body, inputs, shape = TRANSPOSED[case]
    groups = 2 if "group" in body else 1
    biases = {"b": NORMAL(shape[1] * groups)} if ", b)" in body else {}
    proto = model(body, inputs, opset=18, w=NORMAL(*shape), **biases)
    path = save(tmp_path, proto)
    size = [d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim]
    agrees(path, x=NORMAL(*size))
    assert read_onnx(path).macs == np.prod(size) * np.prod(shape[1:]) == macs(proto)


@pytest.mark.parametrize("case", [case for case in TRANSPOSED if case != "a volume"])
def test_inserted_zeros_that_are_computed(case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same numbers, by a convolution over the output's positions."""
    body, inputs, shape = TRANSPOSED[case]
    groups = 2 if "group" in body else 1
    biases = {"b": NORMAL(shape[1] * groups)} if ", b)" in body else {}
    proto = model(body, inputs, opset=18, w=NORMAL(*shape), **biases)
    path = save(tmp_path, proto)
    network = load_network(path, overrides={"workload.inserted_zeros": "computed"})[0]
    outputs = np.prod(network.layers[-1].output_shapes[0])
    assert network.macs == outputs * shape[0] // groups * np.prod(shape[2:])
    monkeypatch.setattr(OnnxFile, "inserted_zeros", property(lambda _: "computed", lambda _, __: None), raising=False)
    agrees(path, x=NORMAL(*(d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim)))


def test_inserted_zeros_are_one_of_two(tmp_path: Path) -> None:
    path = save(tmp_path, model("y = ConvTranspose(x, w)", IMAGE, opset=18, w=NORMAL(4, 3, 3, 3)))
    for value, values, words in (("some", False, "must be skipped or computed"), ("computed", True, "the numbers are the same")):
        with pytest.raises(InputError, match=words):
            load_network(path, overrides={"workload.inserted_zeros": value}, values=values)


FUSED: dict[str, tuple[str, str, dict[str, Any]]] = {
    "gelu of a sum": ("y = com.microsoft.BiasGelu(x, b)", ROWS, {"b": NORMAL(6)}),
    "fast gelu": ("y = com.microsoft.FastGelu(x)", ROWS, {}),
    "fast gelu of a sum": ("y = com.microsoft.FastGelu(x, b)", ROWS, {"b": NORMAL(6)}),
    "quick gelu": ("y = com.microsoft.QuickGelu<alpha=1.5>(x)", ROWS, {}),
    "product": ("y = com.microsoft.FusedMatMul<alpha=0.5, transB=1>(x, w)", ROWS, {"w": NORMAL(5, 6)}),
    "convolution": (
        'y = com.microsoft.FusedConv<activation="LeakyRelu", activation_params=[0.25], pads=[1,1,1,1]>(x, w, b)',
        IMAGE, {"w": NORMAL(3, 4, 3, 3), "b": NORMAL(3)},
    ),
    "norm of a sum": (
        "y = com.microsoft.SkipLayerNormalization<epsilon=0.00001>(x, z, g, b, c)", "float[2,3,6] x, float[2,3,6] z",
        {"g": NORMAL(6), "b": NORMAL(6), "c": NORMAL(6)},
    ),
    "simple norm of a sum": (
        "a, , , s = com.microsoft.SkipSimplifiedLayerNormalization(x, z, g) y = Add(a, s)", "float[2,3,6] x, float[2,3,6] z",
        {"g": NORMAL(6)},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FUSED)
def test_fused_operators(case: str, tmp_path: Path) -> None:
    body, inputs, weights = FUSED[case]
    proto = model(body, inputs, opset=18, **weights)
    given = {entry.name: NORMAL(*(d.dim_value for d in entry.type.tensor_type.shape.dim)) for entry in proto.graph.input}
    agrees(save(tmp_path, proto), **given)


def of_bits(bits: int, zero_points: bool = False) -> Any:
    proto = model("", "float[2,3,64] x", opset=21)
    inputs, sizes = ["x", "w", "s", *["z"] * zero_points], {"K": 64, "N": 5, "bits": bits, "block_size": 32}
    node = helper.make_node("MatMulNBits", inputs, ["y"], "product", domain="com.microsoft", **sizes)
    proto.graph.node.append(node)
    proto.graph.initializer.append(numpy_helper.from_array(np.arange(5 * 8 * bits, dtype=np.uint8).reshape(5, 2, -1), "w"))
    proto.graph.initializer.append(numpy_helper.from_array(NORMAL(5, 2), "s"))
    proto.graph.initializer.append(numpy_helper.from_array(np.arange(5 * bits // 4, dtype=np.uint8).reshape(5, -1), "z"))
    return proto


@pytest.mark.parametrize("zero_points", [False, True])
@pytest.mark.parametrize("bits", [4, 8])
def test_weights_of_a_few_bits_move_as_such(bits: int, zero_points: bool, tmp_path: Path) -> None:
    (layer,) = read_onnx(save(tmp_path, of_bits(bits, zero_points))).layers
    assert (layer.macs, layer.weight_shape) == (2 * 3 * 5 * 64, (5, 64))
    assert layer.precision.weight.bits == bits


def test_scales_a_block_do_not_run_with_values(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="scaled by blocks"):
        load_network(save(tmp_path, of_bits(4)), values=True)


def test_what_is_not_written_out_is_refused(tmp_path: Path) -> None:
    odd = of_bits(4)
    odd.graph.node[0].attribute[0].i = 60  # K
    with pytest.raises(InputError, match="60 inputs in blocks of 32"):
        read_onnx(save(tmp_path, odd))
