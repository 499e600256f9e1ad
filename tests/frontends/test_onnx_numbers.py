"""Do attributes, constants and branches of a model give its own numbers? Held to ONNX's reference implementation."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, parser
from onnx.reference import ReferenceEvaluator
from onnx_models import model, save

from accelsim.catalogue import load_network
from accelsim.errors import InputError
from accelsim.frontends.inputs import given_arrays
from accelsim.frontends.onnx import read_onnx, tensor_sources
from accelsim.workload.functional import run_reference

I64 = lambda *values: np.array(values, np.int64)  # noqa: E731
F32 = lambda *values: np.array(values, np.float32)  # noqa: E731
R = np.random.default_rng(0)
IMAGE, ROWS, SEQUENCE, WHOLE = "float[2,4,6,6] x", "float[2,6] x", "float[2,3,6] x", "int32[2,6] x"
NORMAL = lambda *shape: R.normal(size=shape).astype(np.float32)  # noqa: E731


def ours(path: Path, x: Any) -> Mapping[str, Any]:
    """What accelsim makes of a model, by the names of the file's tensors."""
    network = load_network(path, values=True)[0]
    found = run_reference(network, 0, given_arrays({"x": x}).inputs(network))
    return {name: found[ref][0] for name, ref in tensor_sources(path).items() if ref in found}


# (nodes, input, weights, opset)
CASES: dict[str, tuple[str, str, dict[str, Any], int]] = {
    "gemm alpha": ("y = Gemm<alpha=0.5, beta=2.0>(x, w, b)", ROWS, {"w": NORMAL(6, 5), "b": NORMAL(5)}, 21),
    "gemm beta 0": ("y = Gemm<beta=0.0>(x, w, b)", ROWS, {"w": NORMAL(6, 5), "b": NORMAL(5)}, 21),
    "gemm, matrix of biases": ("y = Gemm<beta=0.5>(x, w, b)", ROWS, {"w": NORMAL(6, 5), "b": NORMAL(2, 5)}, 21),
    "gemm, column of biases": ("y = Gemm(x, w, b)", ROWS, {"w": NORMAL(6, 5), "b": NORMAL(2, 1)}, 21),
    "gemm, scalar bias": ("y = Gemm<beta=3.0>(x, w, b)", ROWS, {"w": NORMAL(6, 5), "b": np.float32(0.7)}, 21),
    "lrn": ("y = LRN<size=3, alpha=0.1, beta=0.5, bias=2.0>(x)", "float[4,4,6,6] x", {}, 21),
    "hard sigmoid": ("y = HardSigmoid<alpha=0.3, beta=0.4>(x)", ROWS, {}, 21),
    "gelu": ('y = Gelu<approximate="tanh">(x)', ROWS, {}, 21),
    "swish": ("y = Swish<alpha=2.0>(x)", ROWS, {}, 24),
    "class token": ("y = Concat<axis=-2>(token, x, token)", SEQUENCE, {"token": NORMAL(2, 1, 6)}, 21),
    "constants that are padded, gathered and joined": (
        "p = Pad(token, pads) g = Gather<axis=1>(p, i) j = Concat<axis=1>(g, token) y = Concat<axis=1>(x, j)",
        SEQUENCE, {"token": NORMAL(2, 2, 6), "pads": I64(0, 1, 0, 0, 1, 0), "i": I64(-1, 2, 0)}, 21,
    ),
    "large constant": ("k = Concat<axis=1>(a, a) y = Concat<axis=1>(x, k)", "float[2,3,300] x", {"a": NORMAL(2, 4, 300)}, 21),
    "sum of constants": ("y = Sum(x, a, b)", ROWS, {"a": NORMAL(2, 6), "b": NORMAL(6)}, 21),
    "broadcast from an axis": ("y = Add<broadcast=1, axis=1>(x, c)", "float[2,4,4,4] x", {"c": NORMAL(4)}, 6),
    "quotient of integers": ("y = Div(x, c)", WHOLE, {"c": np.int32([3, -3, 2, -2, 7, 1])}, 21),
    "integers": (
        "a = Mul(x, c) b = Sub(a, x) m = Max(b, one) y = Div(c, m)",
        WHOLE, {"c": np.int32([3, -300, 20, -2, 7, 1]), "one": np.int32(1)}, 21,
    ),
    "cast that cuts": ("a = Cast<to=6>(x) y = Cast<to=1>(a)", ROWS, {}, 21),
    "negative axes": (
        "s = Softmax<axis=-2>(x) m = ReduceMean(s, a) a1, a2 = Split<axis=-1, num_outputs=2>(m) y = Concat<axis=-1>(a2, a1)",
        SEQUENCE, {"a": I64(-2)}, 21,
    ),
    "a channel's factor, its batch gone": (
        "m = ReduceMean<keepdims=1>(x, axes) s = Squeeze(m, zero) y = Mul(x, s)", "float[1,4,4,4] x",
        {"axes": I64(2, 3), "zero": I64(0)}, 21,
    ),
    "mask of infinities": (
        "a = Add(x, mask) y = Softmax(a)", ROWS, {"mask": F32(0, -np.inf, 0, 0, -np.inf, 0)}, 21,
    ),
    "choice of infinities": (
        "p = Less(x, zero) a = Where(p, x, mask) y = Softmax(a)", "float[1,3,6] x", {"mask": F32(-np.inf), "zero": F32(0)}, 21,
    ),
    "scalars of no axes": (
        "s = Shape(x) i = Gather(s, one) r = Range(zero, i, one) f = Cast<to=1>(r) g = Gather<axis=1>(x, one) y = Mul(g, f)",
        "float[2,6,6] x", {"zero": np.int64(0), "one": np.int64(1)}, 21,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_numbers(case: str, tmp_path: Path) -> None:
    body, inputs, weights, opset = CASES[case]
    proto = model(body, inputs, opset=opset, **weights)
    shape = [d.dim_value for d in proto.graph.input[0].type.tensor_type.shape.dim]
    whole = proto.graph.input[0].type.tensor_type.elem_type == onnx.TensorProto.INT32
    x = R.integers(-500, 500, shape).astype(np.int32) if whole else (3 * NORMAL(*shape))
    reference = model(body.replace("<broadcast=1, axis=1>(x, c)", "(x, c)"), inputs, opset=max(opset, 13), **weights)
    if opset == 6:
        reference.graph.initializer[0].dims.extend([1, 1])
    expected = ReferenceEvaluator(reference).run(None, {"x": x})[0]
    found = ours(save(tmp_path, proto), x)["y"]
    np.testing.assert_allclose(found, expected.astype(found.dtype), rtol=1e-5, atol=1e-6)


MODES = ["half_pixel", "half_pixel_symmetric", "pytorch_half_pixel", "align_corners", "asymmetric"]


@pytest.mark.parametrize("nearest", ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"])
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("scales", [(2, 2), (3, 2), (1.5, 0.5)])
def test_resize(mode: str, nearest: str, scales: tuple[float, float], tmp_path: Path) -> None:
    body = f'y = Resize<mode="nearest", coordinate_transformation_mode="{mode}", nearest_mode="{nearest}">(x, n, k)'
    proto = model(body, "float[1,2,4,6] x", n=(0,), k=F32(1, 1, *scales), opset=19)
    x = NORMAL(1, 2, 4, 6)
    np.testing.assert_array_equal(ours(save(tmp_path, proto), x)["y"], ReferenceEvaluator(proto).run(None, {"x": x})[0])


def with_if(condition: str, captured: str = "r") -> onnx.ModelProto:
    """Relu, then an If whose branches read it from outside: a product, or its negation."""
    branch = """<ir_version: 8, opset_import: ["" : 17]> b () => (float[2,6] out) { t = NODE out = Relu(t) }"""
    then, other = (parser.parse_model(branch.replace("NODE", n)).graph for n in (f"MatMul({captured}, w)", f"Neg({captured})"))
    proto = model(f"r = Relu(x) {condition} y = Abs(r)", ROWS, w=np.eye(6, dtype=np.float32) * 2, yes=np.bool_(True))
    node = helper.make_node("If", ["c"], ["y"], "choose", then_branch=then, else_branch=other)
    proto.graph.node[-1].CopyFrom(node)
    return proto


@pytest.mark.parametrize(("condition", "macs"), [("c = Identity(yes)", 72), ("c = Not(yes)", 0)])
def test_a_known_branch_is_run(condition: str, macs: int, tmp_path: Path) -> None:
    proto = with_if(condition)
    path = save(tmp_path, proto)
    x = 3 * NORMAL(2, 6)
    assert read_onnx(path).macs == macs
    np.testing.assert_array_equal(ours(path, x)["y"], ReferenceEvaluator(proto).run(None, {"x": x})[0])


def test_branches_within_branches(tmp_path: Path) -> None:
    proto = with_if("c = Identity(yes)")
    inner = onnx.NodeProto.FromString(proto.graph.node[-1].SerializeToString())
    branch = next(a.g for a in proto.graph.node[-1].attribute if a.name == "then_branch")
    del branch.node[:]
    inner.output[0], inner.input[0] = "out", "no"
    branch.node.append(helper.make_node("Not", ["yes"], ["no"]))
    branch.node.append(inner)
    path, x = save(tmp_path, proto), 3 * NORMAL(2, 6)
    assert [layer.op.op for layer in read_onnx(path).layers] == ["relu", "neg", "relu"]
    np.testing.assert_array_equal(ours(path, x)["y"], ReferenceEvaluator(proto).run(None, {"x": x})[0])


def test_weights_may_be_inputs_of_the_graph(tmp_path: Path) -> None:
    path = save(tmp_path, model("y = Conv(x, w, b)", f"{IMAGE}, float[3,4,3,3] w, float[3] b"))
    network = read_onnx(path)
    assert (network.macs, list(network.inputs)) == (2 * 16 * 3 * 36, ["x"])


def test_a_machine_of_narrower_floats_rounds_what_it_reads(tmp_path: Path) -> None:
    from accelsim.api import simulate_full

    w, x = F32([1 + 2**-9, 2], [0, 1]), F32([1, 1])
    path = save(tmp_path, model("y = MatMul(x, w)", "float[1,2] x", w=w))
    run = simulate_full(path, "tpu_v3_core", values=True, inputs={"x": x.reshape(1, 2)})
    assert any("they run as bf16 x bf16" in note for note in run.notes)
    np.testing.assert_array_equal(run.outputs["y"], F32([1, 3]).reshape(1, 2))  # 1 + 2**-9 is no bf16
    assert "bf16" in str(simulate_full(path, "tpu_v3_core").notes)


def test_one_array_serves_beside_joined_constants(tmp_path: Path) -> None:
    from accelsim.api import simulate_full

    token, x = NORMAL(2, 1, 6), NORMAL(2, 3, 6)
    path = save(tmp_path, model("y = Concat<axis=1>(token, x)", SEQUENCE, token=token))
    np.save(tmp_path / "x.npy", x)
    found = simulate_full(path, "zhang2015", values=True, inputs=[tmp_path / "x.npy"]).outputs["y"]
    np.testing.assert_array_equal(found, np.concatenate([token, x], axis=1))


def test_check_reads_onnx_files(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from accelsim.cli import main

    assert main(["check", str(save(tmp_path, model("y = Relu(x)", ROWS)))]) == 0
    assert main(["check", str(save(tmp_path, model("a = Foo(x) y = Bar(a)", ROWS), "bad.onnx"))]) == 2
    assert capsys.readouterr().err.count("is not modelled") == 2


def test_converted_yaml_keeps_what_attributes_say(tmp_path: Path) -> None:
    from accelsim.cli import main

    body = """l = LRN<size=3, alpha=0.1, beta=0.5, bias=2.0>(x) h = HardSigmoid<alpha=0.3, beta=0.4>(l)
              g = Gelu<approximate="tanh">(h) j = Concat<axis=1>(g, c)
              y = Resize<mode="nearest", nearest_mode="ceil">(j, n, k)"""
    path, x = save(tmp_path, model(body, IMAGE, opset=20, c=NORMAL(2, 1, 6, 6), n=(0,), k=F32(1, 1, 2, 2))), NORMAL(2, 4, 6, 6)
    assert main(["convert", str(path), "--values", "-o", str(tmp_path / "net.yaml")]) == 0
    again = load_network(tmp_path / "net.yaml")[0]
    found = run_reference(again, 0, given_arrays({"x": x}).inputs(again))
    np.testing.assert_array_equal(found["y"][0], ours(path, x)["y"])


def test_a_number_that_comes_in_is_refused_with_values_alone(tmp_path: Path) -> None:
    path = save(tmp_path, model("y = Mul(x, k)", f"{ROWS}, float k"))
    assert [layer.vector_ops for layer in read_onnx(path).layers] == [12]
    with pytest.raises(InputError, match="reads a single number that comes in"):
        load_network(path, values=True)
