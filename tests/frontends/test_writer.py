"""Does what the writer writes read back as the same network, and does it read well?"""



from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_models import LIGHT, QDQ_CONV, model, quantized_weights, save

from accelsim.frontends.network_yaml import read_network
from accelsim.frontends.onnx import read_onnx
from accelsim.frontends.scalesim import read_scalesim_topology
from accelsim.frontends.writer import write_network
from accelsim.workload.network import (
    Affine,
    LayerSketch,
    Network,
    Quantization,
    Requantize,
    ValueSource,
    build_network,
)
from accelsim.workload.ops import Activation, Conv2d, Linear, Matmul, Op, Recurrent, Reshape, Split
from accelsim.workload.precision import NumberFormat, Precision
from accelsim.yaml_io import load_document, parse_document

ZOO = sorted((Path(__file__).parents[2] / "workloads").glob("*.yaml"))


def check_round_trip(network: Network, folder: Path | None = None) -> str:
    text = write_network(network, folder)
    back = read_network(parse_document(text, "written", folder))
    assert (back.name, back.batch, back.inputs) == (network.name, network.batch, network.inputs)
    for found, expected in zip(back.layers, network.layers, strict=True):
        assert found == expected
    assert write_network(back, folder) == text
    return text


@pytest.mark.parametrize("path", ZOO, ids=lambda path: path.stem)
def test_zoo(path: Path) -> None:
    network = read_network(load_document(path))
    text = check_round_trip(network, path.parent)
    assert sum(line.startswith("  - {name: ") for line in text.splitlines()) == len(network.layers)


@pytest.mark.parametrize("name", ["squeezenet", "inception_v1", "shufflenet"])
def test_onnx(name: str) -> None:
    check_round_trip(read_onnx(LIGHT / f"light_{name}.onnx"))


def test_formats(tmp_path: Path) -> None:
    text = check_round_trip(
        read_onnx(save(tmp_path, model(QDQ_CONV, "float[1,3,8,8] x", **quantized_weights())))
    )
    assert text.splitlines() == [
        "schema: accelsim.network/1",
        "name: net",
        "batch: 1",
        "precision: {weight: int8, input: uint8, accumulator: int32, output: uint8}",
        "inputs:",
        "  x: [3, 8, 8]",
        "layers:",
        "  - {name: c, op: conv2d, after: [x], K: 4, R: 3, S: 3, pad: 1}",
        "  - {name: r, op: relu}",
    ]


def test_scalesim(tmp_path: Path) -> None:
    path = tmp_path / "gemm.csv"
    path.write_text("Layer,M,N,K,\na,5,6,7,\n2,1,2,3,\n")
    text = check_round_trip(read_scalesim_topology(path)[0])
    assert text.splitlines()[-2:] == [
        "  - {name: a, op: matmul, M: 5, N: 6, K: 7}",
        '  - {name: "2", op: matmul, after: [], M: 1, N: 2, K: 3}',
    ]


def test_values_requantization_and_notes(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    for name in ("data/w.npz", "cb.npy", "b.npy"):  # a network that is read again must find its files
        (tmp_path / name).touch()
    sketch = LayerSketch(
        "fc", Linear(op="linear", in_=4, out=2), ("fc.input",),
        weight=ValueSource(file=tmp_path / "data" / "w.npz", codebook=tmp_path / "cb.npy"),
        input_values=ValueSource(density=0.25), bias=ValueSource(file=tmp_path / "b.npy"), requantize=Requantize(shift=5),
    )  # fmt: skip
    network = build_network("net", 3, {"fc.input": (4,)}, (sketch,))
    text = check_round_trip(network, tmp_path)
    assert (
        "weight: {file: data/w.npz, codebook: cb.npy}, input: {density: 0.25}, bias: {file: b.npy}, shift: 5"
        in text
    )
    scales = Quantization((Affine(0.1, 3),), (1, 2), Affine(0.5))
    rule = Requantize((3, 4), (5, 6), 7, "even")
    scaled = network.with_sketches([replace(sketch, requantize=rule, quantization=scales)])
    check_round_trip(scaled, tmp_path)
    assert write_network(scaled, tmp_path, notes=("from\nsomewhere",)).startswith("# from somewhere\nschema")


# names that YAML could take for something else
NAMES = st.one_of(
    st.sampled_from(["true", "no", "null", "1e3", "12:30", "~", "a: b", "#x", "- y", "", "x y", "é\u2028"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=6),
).filter(lambda text: text != "")
OPS: st.SearchStrategy[Op] = st.one_of(
    st.builds(Conv2d, op=st.just("conv2d"), K=st.integers(1, 4), R=st.integers(1, 3), S=st.just(1), bias=st.booleans(),
              pad=st.tuples(*[st.integers(0, 2)] * 4), stride=st.tuples(st.integers(1, 2), st.integers(1, 2))),
    st.builds(Activation, op=st.just("leaky_relu"), alpha=st.floats(allow_nan=False, allow_infinity=False) | st.none()),
    st.builds(Reshape, op=st.just("reshape"), to=st.just((2, 8, 8))),
    st.builds(Split, op=st.just("split"), sizes=st.just((1, 1))),
    st.builds(Recurrent, op=st.just("lstm"), hidden=st.integers(1, 3), bias=st.booleans()),
    st.builds(Matmul, op=st.just("matmul"), N=st.integers(1, 3)),
)  # fmt: skip
PRECISIONS = st.builds(
    Precision, weight=st.sampled_from([NumberFormat("int", 4), NumberFormat("fp", 32)]), output=st.just(NumberFormat("int", 32)),
)  # fmt: skip


@given(
    names=st.lists(NAMES, min_size=2, max_size=4, unique=True),
    ops=st.lists(OPS, min_size=4, max_size=4),
    precision=PRECISIONS,
)
@settings(max_examples=50, deadline=None)
def test_any_network(names: list[str], ops: list[Op], precision: Precision) -> None:
    """Every layer reads a fresh input, by the layer's name or by one of its own."""
    shapes = [(2, 8) if op.op in ("lstm", "matmul") else (2, 8, 8) for op in ops]
    inputs = {f"{name}.input" if i % 2 else f"in{i}": shapes[i] for i, name in enumerate(names)}
    sketches = tuple(
        LayerSketch(name, op, (source,), precision if i else Precision())
        for i, (name, op, source) in enumerate(zip(names, ops, inputs, strict=False))
    )
    check_round_trip(build_network(names[0], 2, inputs, sketches))
