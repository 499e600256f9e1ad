"""Do the models that ship with onnx load, and are their sizes those that the graph and the literature say?"""

from __future__ import annotations

import time
from math import prod
from pathlib import Path

import onnx
import pytest
from onnx_models import LIGHT

from accelsim.frontends.network_yaml import read_network
from accelsim.frontends.onnx import read_onnx
from accelsim.workload.network import Layer, Network
from accelsim.workload.ops import Conv2d, Linear
from accelsim.yaml_io import load_document

WORKLOADS = Path(__file__).parents[2] / "workloads"

# Parameters: torchvision's tables (resnet50, vgg19, densenet121, squeezenet1_1) and Caffe's models (AlexNet,
# GoogLeNet); of ZFNet-512, Inception v2 and this ShuffleNet there is no table: the count stands alone.
PARAMETERS = {
    "bvlc_alexnet": 60_965_224, "densenet121": 7_978_856, "inception_v1": 6_998_552,
    "inception_v2": 11_194_984, "resnet50": 25_557_032, "shufflenet": 1_393_320, "squeezenet": 1_235_496,
    "vgg19": 143_667_240, "zfnet512": 87_250_536,
}  # fmt: skip
# MACs where a table has this very variant: torchvision's 4.09, 19.63, 2.83 and 0.35 G.
MACS = {
    "resnet50": 4_089_184_256,
    "vgg19": 19_632_062_464,
    "densenet121": 2_834_161_664,
    "squeezenet": 349_151_936,
}


@pytest.fixture(scope="module", params=sorted(PARAMETERS))
def light(request: pytest.FixtureRequest) -> tuple[str, Network]:
    return request.param, read_onnx(LIGHT / f"light_{request.param}.onnx")


def counted(name: str) -> tuple[int, int]:
    """MACs and parameters by brute force over ONNX's own shape inference, with no code of accelsim."""
    graph = onnx.shape_inference.infer_shapes(onnx.load(LIGHT / f"light_{name}.onnx"), data_prop=True).graph
    shape = {t.name: list(t.dims) for t in graph.initializer}
    for info in [*graph.input, *graph.value_info, *graph.output]:
        shape[info.name] = [d.dim_value for d in info.type.tensor_type.shape.dim]
    macs = parameters = 0
    for node in graph.node:
        if node.op_type in ("Conv", "Gemm"):
            weight, out = shape[node.input[1]], shape[node.output[0]]
            reduced = prod(weight[1:]) if node.op_type == "Conv" else weight[1]
            macs += prod(out) * reduced
            parameters += sum(prod(shape[i]) for i in node.input[1:])
        elif node.op_type == "BatchNormalization":
            parameters += 2 * shape[node.input[1]][0]
    return macs, parameters


def test_macs_and_parameters(light: tuple[str, Network]) -> None:
    name, network = light
    assert (network.macs, network.parameters) == counted(name)
    assert network.parameters == PARAMETERS[name]
    assert network.macs == MACS.get(name, network.macs)


def test_output_is_a_thousand_classes(light: tuple[str, Network]) -> None:
    _, network = light
    assert prod(network.layers[-1].output_shapes[0]) == 1000
    assert len({layer.name for layer in network.layers}) == len(network.layers)


def test_batch_changes(light: tuple[str, Network]) -> None:
    name, network = light
    if name == "resnet50":
        assert network.with_batch(4).macs == 4 * network.macs


def test_resnet50_is_quick() -> None:
    best = min(_seconds("resnet50") for _ in range(3))
    assert best < 1.0


def _seconds(name: str) -> float:
    start = time.perf_counter()
    read_onnx(LIGHT / f"light_{name}.onnx")
    return time.perf_counter() - start


def _products(network: Network) -> list[tuple[object, ...]]:
    return [_dims(layer) for layer in network.layers if isinstance(layer.op, Conv2d | Linear)]


def _dims(layer: Layer) -> tuple[object, ...]:
    """What makes a product what it is; a linear layer's input may or may not be flattened before it."""
    window = (layer.op.stride, layer.op.pad, layer.op.groups) if isinstance(layer.op, Conv2d) else ()
    inputs = layer.input_shapes[0] if window else prod(layer.input_shapes[0])
    return layer.macs, layer.weight_shape, inputs, layer.output_shapes[0], window


def test_resnet50_is_the_zoos_with_strides_in_the_3x3() -> None:
    network = read_onnx(LIGHT / "light_resnet50.onnx")
    zoo = read_network(load_document(WORKLOADS / "resnet50.yaml"))
    original = read_network(load_document(WORKLOADS / "resnet50_v1.yaml"))
    assert _products(network) == _products(zoo)
    assert _products(network) != _products(original)
    assert network.parameters == zoo.parameters
