"""Do QLinear and QDQ graphs run as they are, and does what we write run elsewhere with the same integers?"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from exact_runtime import exact_session
from onnx import numpy_helper, parser
from onnx.reference import ReferenceEvaluator

from accelsim.api import simulate_full
from accelsim.catalogue import load_network
from accelsim.compression.compress import Compression, compress
from accelsim.compression.float_run import real_outputs, run_on
from accelsim.errors import InputError
from accelsim.workload.functional import run_reference

RNG = np.random.default_rng(0)
IMAGE = "float[1,3,8,8] x"
QLINEAR = """
    q = QuantizeLinear(x, xs, xz)
    r = QLinearConv<pads=[1,1,1,1]>(q, xs, xz, w, ws, wz, ys, yz, b)
    p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r)
    y = DequantizeLinear(p, ys, yz)
"""
QDQ = """
    q = QuantizeLinear(x, xs, xz)  d = DequantizeLinear(q, xs, xz)
    wd = DequantizeLinear<axis=0>(w, ws, wz)  bd = DequantizeLinear<axis=0>(b, bs)
    c = Conv<pads=[1,1,1,1]>(d, wd, bd)  r = Relu(c)
    rq = QuantizeLinear(r, ys, yz)  y = DequantizeLinear(rq, ys, yz)
"""
RESIDUAL = """
    q = QuantizeLinear(x, xs, xz)  d = DequantizeLinear(q, xs, xz)  wd = DequantizeLinear<axis=0>(w, ws, wz)
    c = Conv<pads=[1,1,1,1]>(d, wd)  r = Relu(c)  rq = QuantizeLinear(r, ys, yz)  rd = DequantizeLinear(rq, ys, yz)
    e = Conv<pads=[1,1,1,1]>(d, wd)  eq = QuantizeLinear(e, es, yz)  ed = DequantizeLinear(eq, es, yz)
    a = Add(rd, ed)  ar = Relu(a)  aq = QuantizeLinear(ar, as, yz)  ad = DequantizeLinear(aq, as, yz)
    mp = MaxPool<kernel_shape=[2,2], strides=[2,2]>(ad)  mq = QuantizeLinear(mp, as, yz)
    md = DequantizeLinear(mq, as, yz)
    p = AveragePool<kernel_shape=[2,2], strides=[2,2]>(md)  pq = QuantizeLinear(p, as, yz)
    pd = DequantizeLinear(pq, as, yz)
    f = Flatten(pd)  vd = DequantizeLinear<axis=0>(v, ws, wz)  k = Gemm<transB=1>(f, vd, vb)
    kq = QuantizeLinear(k, ks, yz)  y = DequantizeLinear(kq, ks, yz)
"""
SIGMOID = """
    q = QuantizeLinear(x, xs, xz)  d = DequantizeLinear(q, xs, xz)  wd = DequantizeLinear<axis=0>(w, ws, wz)
    c = Conv(d, wd)  r = Sigmoid(c)  rq = QuantizeLinear(r, ss, zero)  rd = DequantizeLinear(rq, ss, zero)
    g = GlobalAveragePool(rd)  gq = QuantizeLinear(g, ss, zero)  y = DequantizeLinear(gq, ss, zero)
"""
PRODUCT = (
    "q = QuantizeLinear(x, xs, xz) a = QLinearMatMul(q, xs, xz, m, ws, mz, ks, yz) y = DequantizeLinear(a, ks, yz)"
)


def arrays(**others: Any) -> dict[str, Any]:
    rng = np.random.default_rng(1)
    return {
        "xs": np.float32(0.5), "xz": np.uint8(7), "w": rng.integers(-128, 128, (4, 3, 3, 3), np.int8),
        "ws": np.float32(0.0173), "wz": np.int8(0), "ys": np.float32(2.713), "yz": np.uint8(3),
        "b": rng.integers(-999, 999, 4, np.int32), "bs": np.float32(0.5) * np.float32(0.0173), "es": np.float32(3.117),
        "as": np.float32(4.179), "ks": np.float32(31.37), "ss": np.float32(1 / 256), "zero": np.uint8(0),
        "v": rng.integers(-128, 128, (7, 16), np.int8), "vb": rng.normal(size=7).astype(np.float32),
        "m": rng.integers(-128, 128, (6, 5), np.int8), "mz": np.int8(3),
    } | others  # fmt: skip


def saved(folder: Path, body: str, inputs: str = IMAGE, **others: Any) -> Path:
    text = f'<ir_version: 8, opset_import: ["" : 19]> g ({inputs}) => (float y) {{ {body} }}'
    proto = parser.parse_model(text)
    for name, array in arrays(**others).items():
        if re.search(rf"[( ]{name}[,)]", body):
            proto.graph.initializer.append(numpy_helper.from_array(np.asarray(array), name))
    path = folder / "model.onnx"
    onnx.save(proto, path)
    return path


CHANNELS = {
    "ws": np.float32([0.011, 0.023, 0.0057, 0.031]), "wz": np.int8([0] * 4),
    "bs": np.float32(0.5) * np.float32([0.011, 0.023, 0.0057, 0.031]),
}  # fmt: skip


@pytest.mark.parametrize(
    ("body", "inputs", "others"),
    [
        (QLINEAR, IMAGE, {}), (QLINEAR, IMAGE, CHANNELS), (QLINEAR, IMAGE, {"wz": np.int8(-5)}),
        (QLINEAR, IMAGE, {"yz": np.int8(-9), "ys": np.float32(3.3)}), (QLINEAR, IMAGE, {"ys": np.float32(0.01)}),
        (QDQ, IMAGE, {}), (QDQ, IMAGE, CHANNELS), (QDQ, IMAGE, {"yz": np.int8(-128), "ys": np.float32(5.31)}),
        (RESIDUAL, IMAGE, {}), (QLINEAR, IMAGE, {"ws": np.float32(0.125), "ys": np.float32(4)}),
        (SIGMOID, IMAGE, {"ws": np.float32(0.00051)}), (PRODUCT, "float[1,6] x", {}),
    ],
)  # fmt: skip
def test_integers_are_onnx_references(body: str, inputs: str, others: dict[str, Any], tmp_path: Path) -> None:
    path = saved(tmp_path, body, inputs, **others)
    proto = onnx.load(path)
    network = load_network(path, values=True, overrides={"workload.runtime": "reference"})[0]
    shape = [d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim]
    x = np.random.default_rng(2).normal(0, 40, (6, *shape[1:])).astype(np.float32)
    found = real_outputs(network, run_on(network, x))[network.layers[-1].name]
    expected = np.concatenate([ReferenceEvaluator(proto).run(None, {"x": x[i : i + 1]})[0] for i in range(6)])
    np.testing.assert_array_equal(found, expected)


BARE = "c = ConvInteger(x, w, xz) y = Cast<to=1>(c)"


@pytest.mark.parametrize("arch", ["tpu_v1", "diannao", "dadiannao"])
@pytest.mark.parametrize(
    ("body", "inputs"), [(QLINEAR, IMAGE), (RESIDUAL, IMAGE), (SIGMOID, IMAGE), (BARE, "uint8[1,3,8,8] x")],
    ids=["QLinear", "QDQ", "sigmoid", "ConvInteger"],
)  # fmt: skip
def test_engines_give_the_same_integers(body: str, inputs: str, arch: str, tmp_path: Path) -> None:
    """Also those with a fixed point of their own, which gives way and is said to."""
    path = saved(tmp_path, body, inputs)
    run = simulate_full(path, arch, values=True, seed=5)
    expected = run_reference(load_network(path, values=True)[0], 5)
    assert {"y", "k", "r", "c"} & set(run.outputs)
    for name, output in run.outputs.items():
        np.testing.assert_array_equal(output, expected[name][0])
    assert any("state scales of their own" in note for note in run.notes) == (arch != "tpu_v1")


@pytest.mark.parametrize(
    ("body", "inputs", "product", "pixels"), [(QLINEAR, IMAGE, "r", 64), (BARE, "uint8[1,3,8,8] x", "c", 36)],
    ids=["QLinear", "ConvInteger"],
)  # fmt: skip
def test_cycles_mode_knows_of_scales_that_it_does_not_read(
    body: str, inputs: str, product: str, pixels: int, tmp_path: Path
) -> None:
    """DianNao's sums are as wide as the layer's own in both modes, in the buffer and on their way."""
    path, tile = saved(tmp_path, body, inputs), {f"mapping.{product}.tile.R": 1}
    both = [simulate_full(path, "diannao", values=values, overrides=tile).result.layers for values in (True, False)]
    for ours, theirs in zip(*both, strict=True):
        assert (ours.cycles, ours.stall_cycles, ours.traffic_bytes) == (theirs.cycles, theirs.stall_cycles, theirs.traffic_bytes)
    partial = [layer.traffic_bytes["NBout"]["partial_sum"].read for layer in both[0] if layer.macs]
    assert partial == [2 * pixels * 16 * 4]  # two of three rows of taps resume rows of 16 sums of 4 bytes


@pytest.mark.parametrize(("body", "last"), [(QLINEAR, "p"), (RESIDUAL, "k")], ids=["QLinear", "QDQ"])
def test_onnxruntime_agrees(body: str, last: str, tmp_path: Path) -> None:
    path = saved(tmp_path, body)
    network = load_network(path, values=True)[0]
    x = RNG.normal(0, 40, (1, 3, 8, 8)).astype(np.float32)
    session = exact_session(path.read_bytes())
    np.testing.assert_array_equal(real_outputs(network, run_on(network, x))[last], session.run(None, {"x": x})[0])


def test_the_reference_rounds_halves_with_the_zero_point(tmp_path: Path) -> None:
    path = saved(tmp_path, QLINEAR, ws=np.float32(0.125), ys=np.float32(4))
    x = np.random.default_rng(2).normal(0, 40, (6, 3, 8, 8)).astype(np.float32)
    runs = [run_on(load_network(path, values=True, overrides={"workload.runtime": r})[0], x)["r"][0].astype(int)
            for r in ("onnxruntime", "reference")]  # fmt: skip
    assert 0 < np.abs(runs[0] - runs[1]).max() <= 1
    with pytest.raises(InputError, match='is "torch", must be onnxruntime or reference'):
        load_network(path, overrides={"workload.runtime": "torch"})


def test_scales_of_another_axis_are_named(tmp_path: Path) -> None:
    body = QDQ.replace("wd = DequantizeLinear<axis=0>", "wd = DequantizeLinear<axis=1>")
    path = saved(tmp_path, body, **CHANNELS | {"ws": np.float32([0.1, 0.2, 0.3]), "wz": np.int8([0] * 3)})
    message = r"has weight scales of shape \[3\] along axis 1, must have one scale or one an output channel \(4\)"
    with pytest.raises(InputError, match=message):
        load_network(path, values=True)


def test_integers_are_not_compressed_again(tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text("schema: accelsim.recipe/1\npasses:\n  - {kind: quantize}\n", encoding="utf-8")
    with pytest.raises(InputError, match="is quantized already, its integers have scales; compress the float network"):
        compress(saved(tmp_path, QLINEAR), recipe)


@pytest.mark.parametrize(
    ("others", "message"),
    [
        ({"ws": np.float32(0)}, "weight scale of 0.0, must be a finite number above 0"),
        ({"xs": np.float32(0)}, "scale of 0.0, must be a finite number above 0"),
        ({"ys": np.float32(np.nan)}, "scale of nan"),
    ],
)
def test_scales_of_zero_are_named(others: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=message):
        load_network(saved(tmp_path, QLINEAR, **others), values=True)


def test_batch_normalization_is_folded(tmp_path: Path) -> None:
    body = "c = Conv(x, wf) n = BatchNormalization<epsilon=0.01>(c, g, h, mu, var) y = Relu(n)"
    rng = np.random.default_rng(4)
    numbers = {k: rng.uniform(0.5, 2, 4).astype(np.float32) for k in ("g", "h", "mu", "var")}
    path = saved(tmp_path, body, wf=rng.normal(size=(4, 3, 3, 3)).astype(np.float32), **numbers)
    network = load_network(path, values=True)[0]
    x = rng.normal(size=(1, 3, 8, 8)).astype(np.float32)
    expected = ReferenceEvaluator(onnx.load(path)).run(None, {"x": x})[0]
    np.testing.assert_allclose(run_on(network, x)["y"][0], expected, rtol=1e-4, atol=1e-4)
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        "schema: accelsim.recipe/1\npasses:\n  - {kind: prune, density: 0.5}\n  - {kind: quantize}\n", encoding="utf-8"
    )
    assert compress(path, recipe).network.layer("c").weight.density == 0.5


# ---- written ----------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def compressed() -> Compression:
    return compress("digits", Path(__file__).parents[2] / "docs" / "examples" / "digits_8bit.recipe.yaml")


def test_what_is_written_as_qdq_runs_elsewhere_with_the_same_integers(
    compressed: Compression, data: dict[str, Any], tmp_path: Path
) -> None:
    path = compressed.save(tmp_path / "net.onnx")[0]
    onnx.checker.check_model(path, full_check=True)
    x = data["test_images"][:100]
    ours = real_outputs(compressed.network, run_on(compressed.network, x))["fc2"]
    np.testing.assert_array_equal(ReferenceEvaluator(onnx.load(path)).run(None, {"conv1.input": x})[0], ours)
    back = load_network(path, values=True)[0]
    np.testing.assert_array_equal(real_outputs(back, run_on(back, x))["fc2"], ours)
    np.testing.assert_array_equal(exact_session(path.read_bytes()).run(None, {"conv1.input": x})[0], ours)


def test_npz_has_every_array(compressed: Compression, tmp_path: Path) -> None:
    path = compressed.save(tmp_path / "net.npz")[0]
    with np.load(path) as stored:
        assert {"conv1.weight", "conv1.weight.codebook", "conv1.bias", "fc2.multiplier", "fc2.output_scale"} <= set(
            stored
        )
        assert stored["fc1.weight.codebook"].size <= 16
