"""Do quantized models made elsewhere give onnxruntime's integers, tensor by tensor, on every engine?"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

pytest.importorskip("onnxruntime")

from exact_runtime import exact_session
from onnx import helper, numpy_helper
from quantized_graphs import IntegerGraph, QdqGraph
from runtime_models import FLOATS, INT8, STORAGE, UINT8, Array, Chain, feeds, integers, quantized

from accelsim.api import simulate_full
from accelsim.catalogue import load_network
from accelsim.cli import main
from accelsim.compression.compress import compress
from accelsim.compression.float_run import run_on
from accelsim.errors import InputError
from accelsim.frontends.inputs import given_arrays
from accelsim.frontends.onnx import tensor_sources
from accelsim.workload.functional import run_reference

STYLES = [
    ("QDQ", "QUInt8", "QInt8", {"per_channel": True}),
    ("QOperator", "QUInt8", "QInt8", {"per_channel": True}),
    ("QDQ", "QInt8", "QInt8", {"extra_options": {"ActivationSymmetric": True}}),
    ("QOperator", "QInt8", "QInt8", {}),
    ("QDQ", "QUInt8", "QUInt8", {"extra_options": {"WeightSymmetric": False}}),
]


def assert_same_integers(path: Path, given: Mapping[str, Array], outputs: Mapping[str, Array]) -> None:
    """``outputs`` by layer against every tensor of integers that onnxruntime computes."""
    compared = 0
    sources = tensor_sources(path)
    for name, expected in integers(onnx.load(path), given).items():
        source = sources.get(name, "")
        unclipped = source.removesuffix("_out_clip")  # which a file that we wrote has for fewer than 8 bits
        found = outputs.get(source, outputs.get(unclipped))
        if found is not None:
            assert found.dtype == expected.dtype, name
            np.testing.assert_array_equal(found.ravel(), expected.ravel(), err_msg=name)
            compared += 1
    assert compared


def reference(path: Path, given: Mapping[str, Array]) -> dict[str, Array]:
    """What accelsim's plain reference makes of a model, by layer and port."""
    network = load_network(path, values=True)[0]
    found = run_reference(network, 0, given_arrays(given).inputs(network))
    return {f"{name}.{port}" if port else name: array for name, arrays in found.items() for port, array in enumerate(arrays)}


@pytest.mark.parametrize("style", STYLES, ids=lambda s: "-".join(s[:3]))
@pytest.mark.parametrize("name", FLOATS)
def test_models_quantized_by_onnxruntime(name: str, style: tuple[Any, ...], tmp_path: Path) -> None:
    path = quantized(tmp_path, FLOATS[name](), *style[:3], **style[3])
    given = feeds(onnx.load(path))
    assert_same_integers(path, given, reference(path, given))


@pytest.mark.parametrize("seed", range(40))
def test_random_qlinear_graphs(seed: int, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    onnx.save(Chain(seed).model(), path)
    given = feeds(onnx.load(path))
    assert_same_integers(path, given, reference(path, given))


@pytest.mark.parametrize("kind", [QdqGraph, IntegerGraph])
@pytest.mark.parametrize("seed", range(35))
def test_random_quantized_graphs(seed: int, kind: Any, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    proto = kind(seed).model()
    onnx.save(proto, path)
    given = feeds(proto)
    assert_same_integers(path, given, reference(path, given))


@pytest.mark.parametrize("elem", [UINT8, INT8])
@pytest.mark.parametrize("kind", ["Add", "Mul"])
@pytest.mark.parametrize("same", [True, False], ids=["one scale", "other scales"])
def test_every_pair_of_bytes(kind: str, elem: int, same: bool, tmp_path: Path) -> None:
    held = np.iinfo(STORAGE[elem])
    every = np.arange(held.min, held.max + 1).astype(STORAGE[elem])
    a, b = (x.reshape(1, -1) for x in np.meshgrid(every, every))
    for seed in range(5):
        random = np.random.default_rng(seed)
        scales = np.exp(random.normal(-3, 1, 3)).astype(np.float32)
        scales[2] = sum(scales[:2]) if kind == "Add" else scales[0] * scales[1] * 60
        if same:
            scales[:] = scales[0]
        path = tmp_path / f"{seed}.onnx"
        onnx.save(_between(kind, elem, scales, random.integers(held.min, held.max, 3), [1, a.size]), path)
        given = {"x0": a, "x1": b}
        assert_same_integers(path, given, reference(path, given))


def _between(kind: str, elem: int, scales: Array, zeros: Array, shape: list[int]) -> onnx.ModelProto:
    """An operator of two inputs between DequantizeLinear and QuantizeLinear."""
    pairs = [("s0", "z0"), ("s1", "z1"), ("s2", "z2")]
    nodes = [helper.make_node("DequantizeLinear", [f"x{i}", *pairs[i]], [f"d{i}"]) for i in range(2)]
    nodes += [helper.make_node(kind, ["d0", "d1"], ["f"], "f"), helper.make_node("QuantizeLinear", ["f", *pairs[2]], ["y"])]
    held = [numpy_helper.from_array(np.array(scale), name) for scale, (name, _) in zip(scales, pairs, strict=True)]
    held += [numpy_helper.from_array(np.array(zero, STORAGE[elem]), name) for zero, (_, name) in zip(zeros, pairs, strict=True)]
    inputs = [helper.make_tensor_value_info(f"x{i}", elem, shape) for i in range(2)]
    graph = helper.make_graph(nodes, "g", inputs, [helper.make_tensor_value_info("y", elem, shape)], held)
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    proto.ir_version = 8
    return proto


ARCHS = ["tpu_v1", "tpu_v3_core", "gemmini_16x16", "eyeriss_like", "diannao", "dadiannao", "qiu2016", "zhang2015", "eie", "ese"]


@pytest.mark.parametrize("style", ["QDQ", "QOperator"])
@pytest.mark.parametrize("arch", ARCHS)
def test_every_engine_gives_them(arch: str, style: str, tmp_path: Path) -> None:
    path = quantized(tmp_path, FLOATS["mobile"](), style, "QUInt8", "QInt8", per_channel=True)
    given = feeds(onnx.load(path))
    assert_same_integers(path, given, simulate_full(path, arch, values=True, inputs=given).outputs)


def test_the_command_takes_the_inputs_and_writes_the_integers(tmp_path: Path) -> None:
    path = quantized(tmp_path, FLOATS["residual"](), "QDQ", "QUInt8", "QInt8")
    given = feeds(onnx.load(path))
    np.savez(tmp_path / "x.npz", **given)
    command = ["simulate", str(path), "--arch", "tpu_v1", "--values", "--input", str(tmp_path / "x.npz")]
    assert main([*command, "--out", str(tmp_path / "run")]) == 0
    with np.load(tmp_path / "run" / "outputs.npz") as outputs:
        assert_same_integers(path, given, dict(outputs))


def test_scales_that_are_computed_are_refused(tmp_path: Path) -> None:
    from onnxruntime.quantization import quantize_dynamic

    onnx.save(FLOATS["perceptron"](), tmp_path / "f.onnx")
    quantize_dynamic(tmp_path / "f.onnx", tmp_path / "q.onnx")
    load_network(tmp_path / "q.onnx")
    with pytest.raises(InputError, match=r"scale is computed while it runs: .*quantize_static"):
        load_network(tmp_path / "q.onnx", values=True)


ACTIVATIONS = ["{bits: 8}", "{kind: symmetric, signed: true}", "{bits: 4}"]


@pytest.mark.parametrize("activations", ACTIVATIONS)
@pytest.mark.parametrize("name", FLOATS)
def test_what_compress_writes_gives_its_integers(name: str, activations: str, tmp_path: Path) -> None:
    onnx.save(FLOATS[name](), tmp_path / "float.onnx")
    recipe, path = tmp_path / "r.yaml", tmp_path / "net.onnx"
    rule = f"{{kind: quantize, rounding: float32, weights: {{per_channel: true}}, activations: {activations}}}"
    recipe.write_text(f"schema: accelsim.recipe/1\npasses:\n  - {rule}\n", encoding="utf-8")
    made = compress(tmp_path / "float.onnx", recipe, path)
    given = feeds(onnx.load(path))
    ours = {key: arrays[0] for key, arrays in run_on(made.network, next(iter(given.values()))).items()}
    assert_same_integers(path, given, ours)
    assert_same_integers(path, given, reference(path, given))


@pytest.mark.parametrize("name", FLOATS)
def test_converted_yaml_gives_the_same(name: str, tmp_path: Path) -> None:
    path = quantized(tmp_path, FLOATS[name](), "QOperator", "QUInt8", "QInt8", per_channel=True)
    assert main(["convert", str(path), "--values", "-o", str(tmp_path / "net.yaml")]) == 0
    network = load_network(tmp_path / "net.yaml")[0]
    given = next(iter(feeds(onnx.load(path)).values()))
    again = run_reference(network, 0, given_arrays({"": given}).inputs(network))
    for key, expected in reference(path, feeds(onnx.load(path))).items():
        if key in again:
            np.testing.assert_array_equal(again[key][0], expected, err_msg=key)


@pytest.mark.parametrize("seed", range(6))
def test_outputs_have_the_models_types(seed: int, tmp_path: Path) -> None:
    """Float or integer, with the model's axes. To one step: the runtime fuses more where nobody sees what lies between."""
    made = QdqGraph(seed)
    path, proto = tmp_path / "net.onnx", made.model(steps=2)
    onnx.save(proto, path)
    given, (name,) = feeds(proto), [output.name for output in proto.graph.output]
    expected = exact_session(path.read_bytes()).run([name], given)[0]
    found = simulate_full(path, "zhang2015", values=True, inputs=given).model_outputs[name]
    assert (found.dtype, found.shape) == (expected.dtype, expected.shape)
    step = 1.01 * float(made.scale) if found.dtype.kind == "f" else 1
    np.testing.assert_allclose(found.astype(np.float64), expected.astype(np.float64), rtol=0, atol=step)
