"""Do the networks under workloads/ agree with what their papers, and counts of them, say?

The figures below are those of the published tables; a network is counted in multiply-accumulates, to the
digits given there. Where a network is a stand-in, the test shows what it was fitted to.
"""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from math import ceil, prod
from pathlib import Path
from types import ModuleType

import pytest

from accelsim.frontends.network_yaml import read_network
from accelsim.workload.network import Layer, Network
from accelsim.workload.ops import Conv2d
from accelsim.yaml_io import load_document

ROOT = Path(__file__).resolve().parents[2]
FILES = sorted((ROOT / "workloads").glob("*.yaml"))
NAMES = [path.stem for path in FILES]


@cache
def load(name: str) -> Network:
    return read_network(load_document(ROOT / "workloads" / f"{name}.yaml"))


@cache
def script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_zoo", ROOT / "scripts" / "make_zoo.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def macs_an_image(network: Network, *ops: str) -> int:
    return sum(layer.macs for layer in network.layers if layer.op.op in ops) // network.batch


def weights(network: Network) -> int:
    return sum(prod(layer.weight_shape) for layer in network.layers if layer.weight_shape)


# ---------------------------------------------------------------------- all of them

EXPECTED = set(
    """
alexnet vgg16 vgg19 googlenet resnet18 resnet50 resnet50_v1 resnet152 resnet152_v1 mobilenet_v1 mobilenet_v2
shufflenet_v1_1.5x shufflenet_v1_2x lenet_300_100 lenet5 bert_base ese_lstm ese_lstm_matrices
eie_alex6 eie_alex7 eie_alex8 eie_vgg6 eie_vgg7 eie_vgg8 eie_nt_we eie_nt_wd eie_nt_lstm
diannao_conv1 diannao_pool1 diannao_class1 diannao_conv2 diannao_conv3 diannao_pool3 diannao_class3
diannao_conv4 diannao_conv5 diannao_pool5 tpu_mlp0 tpu_mlp1 tpu_lstm0 tpu_lstm1 tpu_cnn0 tpu_cnn1
""".split()  # noqa: SIM905
)


def test_none_is_missing() -> None:
    assert set(NAMES) >= EXPECTED


@pytest.mark.parametrize("name", NAMES)
def test_a_file_is_readable_and_loads(name: str) -> None:
    text = (ROOT / "workloads" / f"{name}.yaml").read_text(encoding="utf-8")
    network = load(name)
    assert network.name == name
    assert text.startswith("# ")
    assert text.endswith("\n")
    layer_lines = [line for line in text.split("\nlayers:\n")[1].splitlines() if not line.startswith("  # ")]
    assert len(layer_lines) == len(network.layers), "a layer a line"
    assert all(line.startswith("  - {name: ") and line.endswith("}") for line in layer_lines)


@pytest.mark.parametrize("name", NAMES)
def test_a_file_names_its_paper(name: str) -> None:
    description = " ".join(load_document(ROOT / "workloads" / f"{name}.yaml").data["description"].split())
    assert any(str(year) in description for year in range(1998, 2020))
    assert any(venue in description for venue in ("arXiv", "NIPS", "Proc. IEEE", "ASPLOS"))


@pytest.mark.parametrize("name", NAMES)
def test_no_layer_name_looks_like_an_output_port(name: str) -> None:
    assert not [layer.name for layer in load(name).layers if "." in layer.name]


@pytest.mark.parametrize("name", NAMES)
def test_every_output_is_read_or_is_the_last(name: str) -> None:
    loose = [ref.source for ref, readers in load(name).consumers().items() if not readers]
    assert set(loose) - {layer.name for layer in load(name).layers[-1:]} == set()


def test_files_are_what_the_script_writes() -> None:
    pages = {page.name: page.text for page in script().pages()}
    files = {path.stem: path.read_text(encoding="utf-8") for path in FILES}
    differ = [name for name, text in pages.items() if files.get(name) != text]
    assert differ == [], "run scripts/make_zoo.py, or change the script and not the file"
    assert set(NAMES) - set(pages) == {
        "alexnet", "lenet_300_100", "lenet5", "ese_lstm", "ese_lstm_matrices", "digits",
    }  # fmt: skip


def test_reading_a_network_in_order_does_without_networkx() -> None:
    code = (
        "import sys; from pathlib import Path; from accelsim.yaml_io import load_document;"
        "from accelsim.frontends.network_yaml import read_network;"
        f"read_network(load_document(Path({str(ROOT / 'workloads' / 'resnet50.yaml')!r})));"
        "sys.exit('networkx' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


# ---------------------------------------------------------------------- counts of survey networks


def without_groups(network: Network) -> Network:
    return network.with_sketches(
        replace(sketch, op=sketch.op.model_copy(update={"groups": 1}))
        if isinstance(sketch.op, Conv2d)
        else sketch
        for sketch in network.sketches
    )


COUNTS = [  # macs, conv macs, fc macs (G); parameters without and with batch norm (M)
    ("alexnet", "0.7244 0.6658 0.0586 60.965 60.965"),
    ("vgg16", "15.4703 15.3466 0.1236 138.358 138.358"),
    ("vgg19", "19.6321 19.5084 0.1236 143.667 143.667"),
    ("resnet152_v1", "11.2824 11.2804 0.0020 60.041 60.193"),
    ("resnet152", "11.5136 11.5116 0.0020 60.041 60.193"),
    ("resnet50_v1", "3.8580 3.8559 0.0020 25.504 25.557"),
    ("resnet50", "4.0892 4.0871 0.0020 25.504 25.557"),
    ("googlenet", "1.5827 1.5816 0.0010 6.999 6.999"),
    ("mobilenet_v1", "0.5687 0.5677 0.0010 4.210 4.232"),
    ("mobilenet_v2", "0.3008 0.2995 0.0013 3.471 3.505"),
    ("shufflenet_v1_1.5x", "0.2924 0.2910 0.0014 3.405 3.442"),
    ("shufflenet_v1_2x", "0.5076 0.5057 0.0019 5.399 5.448"),
]


def counts(network: Network) -> str:
    norms = sum(layer.parameters for layer in network.layers if layer.op.op == "batchnorm")
    giga = (network.macs, macs_an_image(network, "conv2d"), macs_an_image(network, "linear"))
    mega = (network.parameters - norms, network.parameters)
    return " ".join([*(f"{x / 1e9:.4f}" for x in giga), *(f"{x / 1e6:.3f}" for x in mega)])


@pytest.mark.parametrize(("name", "published"), COUNTS)
def test_macs_and_parameters(name: str, published: str) -> None:
    assert counts(load(name)) == published


def test_alexnet_without_groups() -> None:
    assert counts(without_groups(load("alexnet"))) == "1.1353 1.0766 0.0586 62.378 62.378"


def test_resnet18_is_torchvisions() -> None:
    network = load("resnet18")
    assert network.parameters == 11_689_512
    assert network.macs == 1_814_073_344


def test_the_stride_is_all_that_tells_the_two_resnets_apart() -> None:
    ours, original = load("resnet50"), load("resnet50_v1")
    assert [layer.name for layer in ours.layers] == [layer.name for layer in original.layers]
    assert ours.layers[-1].input_shapes == original.layers[-1].input_shapes
    differ = {a.name for a, b in zip(ours.layers, original.layers, strict=True) if a.op != b.op}
    assert differ == {f"layer{stage}_0_conv{part}" for stage in (2, 3, 4) for part in (1, 2)}


@pytest.mark.parametrize(
    ("name", "sizes"),
    [
        ("alexnet", {"conv1": 35, "conv2": 307, "conv3": 885, "conv4": 663, "conv5": 442}),
        ("lenet5", {"conv1": 0.5, "conv2": 25, "ip1": 400, "ip2": 5}),
        ("lenet_300_100", {"ip1": 235, "ip2": 30, "ip3": 1}),
    ],
)
def test_layers_have_the_weights_that_deep_compression_lists(name: str, sizes: dict[str, float]) -> None:
    for layer, thousands in sizes.items():
        shape = load(name).layer(layer).weight_shape
        assert shape is not None
        near = 0.6 if thousands >= 1 else 0.05  # some are rounded, some cut
        assert prod(shape) / 1000 == pytest.approx(thousands, abs=near)


@pytest.mark.parametrize(("name", "parameters"), [("lenet5", 431_080), ("lenet_300_100", 266_610)])
def test_lenets(name: str, parameters: int) -> None:
    assert load(name).parameters == parameters


def test_alexnet_has_the_papers_images() -> None:
    shapes = [
        load("alexnet").layer(n).output_shapes[0][1:] for n in ("conv1", "pool1", "pool2", "conv5", "pool5")
    ]
    assert shapes == [(96, 55, 55), (96, 27, 27), (256, 13, 13), (256, 13, 13), (256, 6, 6)]


def test_googlenet_has_the_papers_images() -> None:
    names = [
        "pool1",
        "pool2",
        "inception_3a_output",
        "pool3",
        "inception_4e_output",
        "pool4",
        "inception_5b_output",
    ]
    shapes = [load("googlenet").layer(n).output_shapes[0][1:] for n in names]
    assert shapes == [
        (64, 56, 56),
        (192, 28, 28),
        (256, 28, 28),
        (480, 14, 14),
        (832, 14, 14),
        (832, 7, 7),
        (1024, 7, 7),
    ]


def test_bert_base() -> None:
    network, steps, width = load("bert_base"), 128, 768
    assert network.parameters == 109_482_240  # the released uncased model, its pooler included
    projections, attention = 4 * steps * width * width, 2 * steps * steps * width
    feed_forward = 2 * steps * width * 4 * width
    assert network.macs == 12 * (projections + attention + feed_forward) + width * width
    assert network.layer("encoder3_scores").output_shapes == ((1, 12, steps, steps),)


# ---------------------------------------------------------------------- sparse layers

EIE = {  # table III: in, out, weight density, activation density (in %)
    "alex6": (9216, 4096, 9, 35.1),
    "alex7": (4096, 4096, 9, 35.3),
    "alex8": (4096, 1000, 25, 37.5),
    "vgg6": (25088, 4096, 4, 18.3),
    "vgg7": (4096, 4096, 4, 37.5),
    "vgg8": (4096, 1000, 23, 41.1),
    "nt_we": (4096, 600, 10, 100),
    "nt_wd": (600, 8791, 11, 100),
    "nt_lstm": (1201, 2400, 10, 100),
}


@pytest.mark.parametrize("name", EIE)
def test_eie_layers(name: str) -> None:
    features, out, weight, activation = EIE[name]
    (layer,) = load(f"eie_{name}").layers
    assert layer.weight_shape == (out, features)
    assert layer.parameters == out * features
    assert layer.weight.density == pytest.approx(weight / 100)
    assert layer.input_values.density == pytest.approx(activation / 100)
    assert_accumulator_is_wide_enough(layer)


def assert_accumulator_is_wide_enough(layer: Layer) -> None:
    """Of a layer whose every output sums all features of the weights behind the first axes."""
    shape = layer.weight_shape
    assert shape is not None
    terms = prod(shape[3:]) if layer.op.op == "local2d" else prod(shape[1:])
    precision = layer.precision
    assert -terms * precision.weight.lowest * precision.input.lowest >= precision.accumulator.lowest
    assert terms * precision.weight.lowest * precision.input.lowest <= precision.accumulator.highest


ESE = {  # table 5: rows, columns, density in %
    "Wix": (1024, 153, 11.7), "Wfx": (1024, 153, 11.7), "Wcx": (1024, 153, 11.8), "Wox": (1024, 153, 11.5),
    "Wir": (1024, 512, 11.3), "Wfr": (1024, 512, 11.5), "Wcr": (1024, 512, 11.2), "Wor": (1024, 512, 11.5),
    "Wym": (512, 1024, 10.0),
}  # fmt: skip


@pytest.mark.parametrize("name", ESE)
def test_ese_matrices(name: str) -> None:
    rows, columns, density = ESE[name]
    layer = load("ese_lstm_matrices").layer(name)
    assert layer.weight_shape == (rows, columns)
    assert layer.weight.density == pytest.approx(density / 100)
    assert_accumulator_is_wide_enough(layer)


def test_ese_as_one_operator_and_as_matrices_are_the_same_step() -> None:
    whole, parts = load("ese_lstm"), load("ese_lstm_matrices")
    assert whole.batch == parts.batch == 32
    assert whole.macs == parts.macs == 32 * sum(rows * columns for rows, columns, _ in ESE.values())
    peepholes = 3 * 1024
    assert whole.parameters == parts.parameters + peepholes
    kept = sum(prod(ly.weight_shape) * ly.weight.density for ly in parts.layers if ly.weight_shape)
    assert f"{100 * kept / weights(parts):.1f}" == "11.2"
    assert whole.layers[0].weight.density == pytest.approx(0.112)
    assert whole.layers[0].output_shapes == ((32, 1, 512),)


# ---------------------------------------------------------------------- DianNao's layers

DIANNAO = {  # output (columns, rows), MACs of a valid convolution, bytes of weights at 16 bits
    "conv1": (492, 367, 22465050624, 248832),
    "class1": (None, None, 19200, 38400),
    "conv2": (183, 183, 694427904, 1388855808),
    "conv3": (29, 29, 290649600, 691200),
    "class3": (None, None, 20000, 40000),
    "conv4": (26, 26, 271351808, 802816),
    "conv5": (246, 246, 719824748544, 1439649497088),
}


@pytest.mark.parametrize("name", DIANNAO)
def test_diannao_layers(name: str) -> None:
    columns, rows, macs, weight_bytes = DIANNAO[name]
    (layer,) = load(f"diannao_{name}").layers
    assert layer.macs == macs
    assert layer.parameters * layer.precision.weight.bits // 8 == weight_bytes
    assert columns is None or layer.output_shapes[0][2:] == (rows, columns)
    assert_accumulator_is_wide_enough(layer)


@pytest.mark.parametrize(
    ("name", "shape"), [("pool1", (12, 183, 246)), ("pool3", (100, 8, 8)), ("pool5", (256, 128, 128))]
)
def test_diannao_pools(name: str, shape: tuple[int, ...]) -> None:
    (layer,) = load(f"diannao_{name}").layers
    assert layer.output_shapes[0][1:] == shape
    assert layer.macs == 0


def test_diannaos_first_pool_follows_its_first_convolution() -> None:
    assert (
        load("diannao_conv1").layers[0].output_shapes[0][2:]
        == load("diannao_pool1").layers[0].input_shapes[0][2:]
    )


# ---------------------------------------------------------------------- TPU v1's applications

TPU = {  # table 1: FC, conv, vector, pool layers; weights (M), MACs a weight byte, batch
    "mlp0": (5, 0, 0, 0, 20, 200, 200),
    "mlp1": (4, 0, 0, 0, 5, 168, 168),
    "lstm0": (24, 0, 34, 0, 52, 64, 64),
    "lstm1": (37, 0, 19, 0, 34, 96, 96),
    "cnn0": (0, 16, 0, 0, 8, 2888, 8),
    "cnn1": (4, 72, 0, 13, 100, 1750, 32),
}
USEFUL = {  # table 3: useful and unused MACs, in % of the peak
    "mlp0": (12.5, 0.3), "mlp1": (9.4, 1.2), "lstm0": (8.2, 0.0), "lstm1": (6.3, 4.2), "cnn0": (78.2, 0.0),
    "cnn1": (22.5, 23.7),
}  # fmt: skip
WITHIN = {"mlp0": 0.03, "mlp1": 0.02, "lstm0": 0, "lstm1": 0.01, "cnn0": 0, "cnn1": 0.01}


def vector_layers(network: Network) -> int:
    """Sums, products and activations, but those that directly follow a matrix: they count with it."""
    kinds = {layer.name: layer.op.op for layer in network.layers}
    activations = ("relu", "sigmoid", "tanh")
    found = 0
    for layer in network.layers:
        folded = layer.op.op in activations and kinds[layer.inputs[0].source] in ("linear", "conv2d")
        found += layer.op.op in ("add", "mul", *activations) and not folded
    return found


@pytest.mark.parametrize("name", TPU)
def test_tpu_stand_ins_have_the_published_counts(name: str) -> None:
    linear, conv, vector, pool, megaweights, intensity, batch = TPU[name]
    network = load(f"tpu_{name}")
    kinds = Counter(layer.op.op for layer in network.layers)
    assert (kinds["linear"], kinds["conv2d"], kinds["maxpool2d"]) == (linear, conv, pool)
    assert vector_layers(network) == vector
    assert network.batch == batch
    assert weights(network) == network.parameters
    assert round(weights(network) / 1e6) == megaweights
    assert round(network.macs / weights(network)) == intensity


def tile_cycles(layer: Layer) -> tuple[int, int]:
    """MACs of a layer, and those that a 256 x 256 array has room for while it is active."""
    shape = layer.weight_shape
    assert shape is not None
    rows, columns = ceil(prod(shape[1:]) / 256), ceil(shape[0] / 256)
    return layer.macs, rows * columns * 65536 * (layer.macs // prod(shape))


@pytest.mark.parametrize("name", TPU)
def test_tpu_stand_ins_fill_the_array_as_published(name: str) -> None:
    """Table 3: useful MACs over useful and unused ones, in the cycles in which the array is active."""
    useful, unused = USEFUL[name]
    pairs = [tile_cycles(layer) for layer in load(f"tpu_{name}").layers if layer.weight_shape]
    ours = sum(macs for macs, _ in pairs) / sum(room for _, room in pairs)
    assert ours == pytest.approx(useful / (useful + unused), abs=WITHIN[name])


@pytest.mark.parametrize("name", TPU)
def test_stand_ins_say_that_they_are(name: str) -> None:
    description = load_document(ROOT / "workloads" / f"tpu_{name}.yaml").data["description"]
    assert description.startswith("STAND-IN")
    assert "Invented:" in description


# ---------------------------------------------------------------------- the flow writer


def test_flow_style_is_read_back_as_it_was() -> None:
    flow: Callable[[object], str] = script().flow
    assert flow({"a": 1, "b": [1, 2], "c": {"d": True}}) == "{a: 1, b: [1, 2], c: {d: true}}"
