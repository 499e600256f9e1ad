"""Is what is written out (branches, loops, functions, recurrences, transforms) what it stands for? Held to onnxruntime."""

from __future__ import annotations

import tracemalloc
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper, parser
from onnx_models import model, save

from accelsim.api import simulate_full
from accelsim.catalogue import load_network
from accelsim.cli import main
from accelsim.errors import InputError
from accelsim.frontends.inputs import given_arrays
from accelsim.frontends.onnx import read_onnx, tensor_sources
from accelsim.workload.functional import run_reference

runtime = pytest.importorskip("onnxruntime")
R = np.random.default_rng(0)
NORMAL = lambda *shape: R.normal(size=shape).astype(np.float32)  # noqa: E731
I64 = lambda *values: np.array(values, np.int64)  # noqa: E731
RECURRENT = {"LSTM": 4, "GRU": 3, "RNN": 1}


def graph(text: str, opset: int = 18, **weights: Any) -> onnx.ModelProto:
    """A model whose graph is written whole, for those that have bodies."""
    result = parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]> {text}')
    for name, value in weights.items():
        result.graph.initializer.append(numpy_helper.from_array(np.asarray(value), name))
    return result


def agrees(path: Path, **given: Any) -> None:
    """Every output of the model as onnxruntime has it."""
    options = runtime.SessionOptions()
    options.log_severity_level = 3
    session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    expected = dict(zip([o.name for o in session.get_outputs()], session.run(None, given), strict=True))
    network = load_network(path, values=True)[0]
    own = {name: array.reshape(network.batch, *network.inputs[name]) for name, array in given.items()}
    found = run_reference(network, 0, given_arrays(own).inputs(network))
    sources = tensor_sources(path)
    for name, array in expected.items():
        ours = found[sources[name]][0]
        assert ours.size == array.size
        np.testing.assert_allclose(ours.reshape(array.shape), array, atol=2e-5, rtol=2e-5)


# --- recurrences ---


def recurrent(kind: str, attributes: str, directions: int, inputs: str, outputs: str, **more: Any) -> onnx.ModelProto:
    gates = RECURRENT[kind]
    weights = {
        "w": NORMAL(directions, gates * 4, 3), "r": NORMAL(directions, gates * 4, 4), "b": NORMAL(directions, gates * 8),
    }  # fmt: skip
    body = f"{outputs} = {kind}<hidden_size=4{attributes}>({inputs})"
    kept = {name: value for name, value in weights.items() if name in inputs.replace(" ", "").split(",")}
    graph_inputs = "float[5,1,3] x" if "layout=1" not in attributes else "float[1,5,3] x"
    states = "".join(f", float[{directions},1,4] {name}" for name in ("h0", "c0") if name in inputs)
    return model(body, graph_inputs + states, output=outputs, opset=17, **kept, **more)


@pytest.mark.parametrize("kind", RECURRENT)
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_states_in_and_out(kind: str, direction: str, tmp_path: Path) -> None:
    directions = 2 if direction == "bidirectional" else 1
    cell = kind == "LSTM"
    proto = recurrent(
        kind, f', direction="{direction}"', directions, "x, w, r, b, , h0" + (", c0" if cell else ""),
        "y, h" + (", c" if cell else ""),
    )  # fmt: skip
    states = {name: NORMAL(directions, 1, 4) for name in (("h0", "c0") if cell else ("h0",))}
    agrees(save(tmp_path, proto), x=NORMAL(5, 1, 3), **states)


@pytest.mark.parametrize("attributes", ["", ", linear_before_reset=1"])
@pytest.mark.parametrize("state", ["", ", , h0"])
def test_gru_with_and_without_a_state(attributes: str, state: str, tmp_path: Path) -> None:
    proto = recurrent("GRU", f'{attributes}, activations=["Sigmoid", "Relu"]', 1, f"x, w, r, b{state}", "y, h")
    agrees(save(tmp_path, proto), x=NORMAL(5, 1, 3), **({"h0": NORMAL(1, 1, 4)} if state else {}))


def test_peepholes_and_cell(tmp_path: Path) -> None:
    proto = recurrent("LSTM", "", 1, "x, w, r, b, , h0, c0, p", "y, h, c", p=NORMAL(1, 12))
    agrees(save(tmp_path, proto), x=NORMAL(5, 1, 3), h0=NORMAL(1, 1, 4), c0=NORMAL(1, 1, 4))


def test_both_directions_are_two_layers(tmp_path: Path) -> None:
    network = read_onnx(save(tmp_path, recurrent("LSTM", ', direction="bidirectional"', 2, "x, w, r, b", "y, h")))
    assert [layer.op.op for layer in network.layers if layer.macs] == ["lstm", "lstm"]
    assert network.macs == 2 * 5 * 16 * (3 + 4)


# --- branches, loops, sequences ---

LOOP = """g (float[1,4] x) => (float[1,4] y, float[3,1,4] all) {
    n = Constant<value_int=3>()
    t = Constant<value = bool {1}>()
    y, all = Loop (n, t, x) <body = step (int64 i, bool go, float[1,4] v) => (bool go2, float[1,4] v2, float[1,4] out) {
        go2 = Identity(go)
        a = MatMul(v, w)
        k = Cast<to=1>(i)
        v2 = Add(a, k)
        out = Relu(v2)
    }>
}"""
WHILE = """g (float[1,4] x) => (float[1,4] y) {
    t = Constant<value = bool {1}>()
    last = Constant<value_int=4>()
    z = Constant<value_int=0>()
    y, n = Loop (, t, x, z) <body = step (int64 i, bool go, float[1,4] v, int64 c) => (bool go2, float[1,4] v2, int64 c2) {
        one = Constant<value_int=1>()
        c2 = Add(c, one)
        go2 = Less(c2, last)
        v2 = MatMul(v, w)
    }>
}"""
SCAN = """g (float[5,4] x, float[1,4] s) => (float[1,4] y, float[5,1,4] all) {
    y, all = Scan <num_scan_inputs=1, body = step (float[1,4] v, float[4] row) => (float[1,4] v2, float[1,4] out) {
        m = MatMul(v, w)
        v2 = Add(m, row)
        out = Tanh(v2)
    }> (s, x)
}"""
SEQUENCE = """g (float[1,6] x) => (float[1,8] y) {
    two = Constant<value_int=2>()
    parts = SplitToSequence<axis=1>(x, two)
    first = Constant<value_int=0>()
    n = SequenceLength(parts)
    a = SequenceAt(parts, first)
    e = SequenceEmpty()
    s = SequenceInsert(e, a)
    more = SequenceInsert(s, b)
    y1 = ConcatFromSequence<axis=1>(more)
    whole = ConcatFromSequence<axis=1>(parts)
    y2 = MatMul(whole, w)
    f = Cast<to=1>(n)
    y3 = Mul(y1, f)
    y4 = Concat<axis=1>(y3, y2)
    y = Relu(y4)
}"""


def test_a_loop_with_a_count(tmp_path: Path) -> None:
    path = save(tmp_path, graph(LOOP, w=NORMAL(4, 4)))
    agrees(path, x=NORMAL(1, 4))
    assert read_onnx(path).macs == 3 * 16


def test_a_loop_with_a_condition(tmp_path: Path) -> None:
    path = save(tmp_path, graph(WHILE, w=NORMAL(4, 4)))
    agrees(path, x=NORMAL(1, 4))
    assert read_onnx(path).macs == 4 * 16


def test_a_scan(tmp_path: Path) -> None:
    path = save(tmp_path, graph(SCAN, w=NORMAL(4, 4)))
    agrees(path, x=NORMAL(5, 4), s=NORMAL(1, 4))
    assert read_onnx(path).macs == 5 * 16


def test_sequences_vanish(tmp_path: Path) -> None:
    agrees(save(tmp_path, graph(SEQUENCE, w=NORMAL(6, 4), b=NORMAL(1, 2))), x=NORMAL(1, 6))


def test_steps_are_bounded(tmp_path: Path) -> None:
    text = LOOP.replace("value_int=3", "value_int=1025")
    with pytest.raises(InputError, match="it runs 1025 times; 1024 steps are written out at most"):
        read_onnx(save(tmp_path, graph(text, w=NORMAL(4, 4))))


def test_a_count_that_comes_in(tmp_path: Path) -> None:
    """The message says what to type, and then it runs."""
    text = LOOP.replace("(float[1,4] x)", "(float[1,4] x, int64 n)").replace("n = Constant<value_int=3>()", "")
    path = save(tmp_path, graph(text, w=NORMAL(4, 4)))
    with pytest.raises(InputError, match="--dim n=NUMBER"):
        read_onnx(path)
    assert read_onnx(path, {"n": 7}).macs == 7 * 16


# --- functions ---

FUNCTIONS: dict[str, tuple[str, str, Mapping[str, Any], int]] = {
    "rms": ("y = RMSNormalization<epsilon=0.01>(x, g)", "float[1,3,8] x", {"g": NORMAL(8)}, 23),
    "group norm": ("y = GroupNormalization<num_groups=2>(x, g, b)", "float[1,4,3,3] x", {"g": NORMAL(4), "b": NORMAL(4)}, 21),
    "softplus": ("y = Softplus(x)", "float[1,6] x", {}, 18),
    "softsign": ("y = Softsign(x)", "float[1,6] x", {}, 18),
    "mish": ("y = Mish(x)", "float[1,6] x", {}, 18),
    "l2": ("y = ReduceL2<keepdims=1>(x, a)", "float[1,3,8] x", {"a": I64(-1)}, 18),
}  # fmt: skip


@pytest.mark.parametrize("case", FUNCTIONS)
def test_functions(case: str, tmp_path: Path) -> None:
    body, inputs, weights, opset = FUNCTIONS[case]
    proto = model(body, inputs, opset=opset, **weights)
    given = {entry.name: NORMAL(*(d.dim_value for d in entry.type.tensor_type.shape.dim)) for entry in proto.graph.input}
    agrees(save(tmp_path, proto), **given)


def test_a_function_of_the_model_itself(tmp_path: Path) -> None:
    text = """<ir_version: 8, opset_import: ["" : 18, "own" : 1]>
    g (float[1,4] x) => (float[1,4] y) { y = own.twice<k=2.0>(x) }
    <domain: "own", opset_import: ["" : 18]>
    twice<k>(x) => (y) { c = Constant<value_float: float=@k>() a = Mul(x, c) y = Relu(a) }"""
    agrees(save(tmp_path, parser.parse_model(text)), x=NORMAL(1, 4))


# --- transforms ---


@pytest.mark.parametrize("onesided", [0, 1])
def test_stft(onesided: int, tmp_path: Path) -> None:
    body = f"y = STFT<onesided={onesided}>(x, step, window, length)"
    window = np.hanning(8).astype(np.float32)
    proto = model(body, "float[1,32,1] x", opset=17, step=np.int64(4), window=window, length=np.int64(8))
    agrees(save(tmp_path, proto), x=NORMAL(1, 32, 1))


@pytest.mark.parametrize("attributes", ["", ", onesided=1", ", inverse=1"])
@pytest.mark.parametrize("parts", [1, 2])
def test_dft(attributes: str, parts: int, tmp_path: Path) -> None:
    if parts == 2 and "onesided" in attributes:
        attributes = ""  # of complex numbers there is no one side
    path = save(tmp_path, model(f"y = DFT<axis=1{attributes}>(x)", f"float[1,8,3,{parts}] x", opset=17))
    agrees(path, x=NORMAL(1, 8, 3, parts))


# --- elements that are taken again, or in another order ---

PAD, VOLUME = I64(0, 2, 1, 0, 1, 2), "float[2,3,5] x"
MOVES: dict[str, tuple[str, str, dict[str, Any], int]] = {
    "reflected": ('y = Pad<mode="reflect">(x, p)', VOLUME, {"p": PAD}, 18),
    "edges": ('y = Pad<mode="edge">(x, p)', VOLUME, {"p": PAD}, 18),
    "wrapped": ('y = Pad<mode="wrap">(x, p)', VOLUME, {"p": PAD}, 19),
    "zeros along other axes": ("y = Pad(x, p)", VOLUME, {"p": PAD}, 18),
    "zeros, and cut": ("y = Pad(x, p)", VOLUME, {"p": I64(0, -1, 2, 0, 1, -2)}, 18),
    "channels of an image": ("y = Pad(x, p)", "float[2,3,4,4] x", {"p": I64(0, 1, 0, 0, 0, 2, 0, 1)}, 18),
    "backwards": ("y = Slice(x, s, e, a, t)", VOLUME, {"s": I64(9), "e": I64(0), "a": I64(2), "t": I64(-2)}, 18),
    "gathered": ("y = Gather<axis=2>(x, i)", VOLUME, {"i": np.int64([[4, 0], [1, 1]])}, 18),
    "expanded": ("u = Unsqueeze(x, a) y = Expand(u, s)", VOLUME, {"a": I64(2), "s": I64(2, 3, 4, 5)}, 18),
    "expanded by an axis": ("y = Expand(x, s)", "float[1,1,5] x", {"s": I64(2, 1, 3, 5)}, 18),
    "the least": ("y = ReduceMin<axes=[1]>(x)", VOLUME, {}, 13),
    "the most of a signal": ("y = GlobalMaxPool(x)", VOLUME, {}, 18),
    "a matrix from the left": ("y = MatMul(w, x)", VOLUME, {"w": NORMAL(4, 3)}, 18),
    "tiled": ("y = Tile(x, r)", VOLUME, {"r": I64(1, 2, 3)}, 18),
}  # fmt: skip


@pytest.mark.parametrize("case", MOVES)
def test_elements_that_are_taken(case: str, tmp_path: Path) -> None:
    body, inputs, weights, opset = MOVES[case]
    proto = model(body + " z = Neg(y)", inputs, output="z", opset=opset, **weights)
    shape = [dim.dim_value for dim in proto.graph.input[0].type.tensor_type.shape.dim]
    agrees(save(tmp_path, proto), x=NORMAL(*shape))


# --- comparisons and choices ---

CHOICES: dict[str, tuple[str, str, dict[str, Any], int]] = {
    "the larger": ("c = Greater(x, z) y = Where(c, x, z)", "float[1,4] x, float[1,4] z", {}, 18),
    "a mask that is a constant": (
        "y = Where(m, x, low)", "float[1,2,4,4] x", {"m": np.tril(np.ones((4, 4), bool)), "low": np.float32(-1e4)}, 18,
    ),
    "of a constant": ("c = Less(k, x) y = Where(c, k, x)", "float[1,4] x", {"k": NORMAL(4)}, 18),
    "logic": (
        "a = Greater(x, k) b = Less(x, o) c = And(a, b) d = Not(c) e = Xor(d, a) f = Or(e, b) y = Where(f, x, k)",
        "float[1,4] x", {"k": np.float32(-0.5), "o": np.float32(0.5)}, 18,
    ),
    "steps": ("a = Floor(x) b = Ceil(x) c = Round(x) d = Sign(x) e = Sum(a, b, c, d) y = Sin(e)", "float[1,4] x", {}, 18),
    "a cosine": ("y = Cos(x)", "float[1,4] x", {}, 18),
    "made wider by a constant": ("y = Add(x, k)", "float[1,1,4] x", {"k": NORMAL(1, 3, 4)}, 18),
}  # fmt: skip


@pytest.mark.parametrize("case", CHOICES)
def test_choices(case: str, tmp_path: Path) -> None:
    body, inputs, weights, opset = CHOICES[case]
    proto = model(body, inputs, opset=opset, **weights)
    given = {entry.name: NORMAL(*(d.dim_value for d in entry.type.tensor_type.shape.dim)) for entry in proto.graph.input}
    agrees(save(tmp_path, proto), **given)


# --- a batch of one, wherever it is ---

ONE: dict[str, tuple[str, dict[str, Any], int]] = {
    "one number": ("m = ReduceMax<keepdims=0>(x) y = Sub(x, m)", {}, 18),
    "one number and a constant": ("m = ReduceMax<keepdims=0>(x) k = Mul(m, c) y = Sub(x, k)", {"c": np.float32(0.5)}, 18),
    "all axes kept": ("m = ReduceMean(x) y = Sub(x, m)", {}, 18),
    "squeezed to one number": ("a = MatMul(x, w) s = Squeeze(a) y = Sigmoid(s)", {"w": NORMAL(4, 1)}, 18),
    "reduced away": ("y = ReduceMax<axes=[0]>(x)", {}, 13),
    "softmax over it": ("y = Softmax<axis=0>(x)", {}, 18),
    "clipped by what is computed": ("m = ReduceMax(x) l = Sub(m, c) n = Squeeze(l) y = Clip(x, n)", {"c": np.float32(0.5)}, 18),
    "moved, and a product": ("t = Transpose<perm=[1, 0]>(x) y = MatMul(t, w)", {"w": NORMAL(1, 3)}, 18),
}  # fmt: skip


@pytest.mark.parametrize("case", ONE)
def test_a_batch_of_one(case: str, tmp_path: Path) -> None:
    body, weights, opset = ONE[case]
    agrees(save(tmp_path, model(body, "float[1,4] x", opset=opset, **weights)), x=NORMAL(1, 4))


def test_an_input_without_the_batch(tmp_path: Path) -> None:
    """Where one has no axis of the size that stands first in the other, that is no batch."""
    proto = model("y = MatMul(x, w) z = Relu(s)", "float[4,6] x, float[3] s", output="y, z", w=(6, 2))
    network = read_onnx(save(tmp_path, proto))
    assert (network.batch, network.inputs["x"], network.inputs["s"]) == (1, (4, 6), (3,))


# --- sizes ---


def test_sizes_that_are_open(tmp_path: Path) -> None:
    """By the name, by the axis, and what is computed from names."""
    path = save(tmp_path, model("z = Concat<axis=2>(x, c) y = Relu(z)", "float[N,3,?,w] x, float[N,3,h,w] c"))
    with pytest.raises(InputError) as caught:
        read_onnx(path)
    assert [fault.message.split("; ")[1] for fault in caught.value.faults] == [
        "say --dim x.2=SIZE --dim w=SIZE", "say --dim h=SIZE --dim w=SIZE",
    ]  # fmt: skip
    network = read_onnx(path, {"x.2": 5, "h": 2, "w": 4})
    assert network.layers[-1].output_shapes == ((1, 3, 7, 4),)


def test_a_size_that_is_a_sum(tmp_path: Path) -> None:
    proto = model("y = Concat<axis=1>(p, x)", "float[1,past,4] p, float[1,new,4] x, float[1,all,4] m")
    proto.graph.input[2].type.tensor_type.shape.dim[1].dim_param = "past + 2*new"
    proto.graph.node.append(helper.make_node("Relu", ["m"], ["z"]))
    proto.graph.output.append(helper.make_tensor_value_info("z", 1, None))
    network = read_onnx(save(tmp_path, proto), {"past": 3, "new": 2})
    assert network.inputs["m"] == (7, 4)


def test_a_mark_is_no_name(tmp_path: Path) -> None:
    """Exporters write "?" for every size that they do not know."""
    proto = model("y = Relu(x)", "float[N,3,a,b] x")
    for dim in proto.graph.input[0].type.tensor_type.shape.dim[2:]:
        dim.dim_param = "?"
    path = save(tmp_path, proto)
    with pytest.raises(InputError, match=r"has no number for axis 2, axis 3; say --dim x.2=SIZE --dim x.3=SIZE"):
        read_onnx(path)
    assert read_onnx(path, {"x.2": 5, "x.3": 6}).inputs["x"] == (3, 5, 6)


def test_an_old_and_a_new_axis_of_a_dft(tmp_path: Path) -> None:
    """Where none is given: the second, and since opset 20 the last but one."""
    for opset in (17, 20):
        path = save(tmp_path, model("y = DFT(x)", "float[1,8,4,2] x", opset=opset), f"{opset}.onnx")
        agrees(path, x=NORMAL(1, 8, 4, 2))


@pytest.mark.parametrize(("dims", "words"), [({"wide": 3}, "is no open size of the model"), ({"x.1": 3}, "must be h or w")])
def test_sizes_that_are_not(dims: dict[str, int], words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        read_onnx(save(tmp_path, model("y = Relu(x)", "float[1,3,h,w] x")), dims)


def test_sizes_from_the_command_line(tmp_path: Path) -> None:
    """The line that the message prints, as it is typed; every command that reads a network has it."""
    path = str(save(tmp_path, model("y = MatMul(x, w)", "float[1,rows,8] x", w=(8, 4))))
    assert main(["check", path]) == 2
    assert main(["check", path, "--dim", "rows=3"]) == 0
    assert main(["convert", path, "--dim", "x.1=3", "-o", str(tmp_path / "net.yaml")]) == 0
    assert main(["simulate", path, "--arch", "tpu_v1", "--dim", "rows=3"]) == 0
    assert load_network(path, overrides={"workload.dims.rows": 5})[0].macs == 5 * 32


def test_a_size_that_is_no_number(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["check", "net.onnx", "--dim", "rows=-1"])
    assert "must be NAME=SIZE or INPUT.AXIS=SIZE" in capsys.readouterr().err


# --- weights that come in, and weights that are not looked at ---


def test_weights_that_come_in(tmp_path: Path) -> None:
    """An input that every reader takes for its weights is given as any other."""
    path = save(tmp_path, model("y = Conv(x, w)", "float[1,3,6,6] x, float[4,3,3,3] w"))
    x, w = NORMAL(1, 3, 6, 6), NORMAL(4, 3, 3, 3)
    session = runtime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    run = simulate_full(path, "zhang2015", values=True, inputs={"x": x, "w": w})
    np.testing.assert_allclose(run.model_outputs["y"], session.run(None, {"x": x, "w": w})[0], atol=1e-4)
    with pytest.raises(InputError, match=r"w: has the shape \[4, 3, 1, 1\], must have \[4, 3, 3, 3\]"):
        simulate_full(path, "zhang2015", values=True, inputs={"x": x, "w": w[:, :, :1, :1]})


def test_open_sizes_hide_no_other_fault(tmp_path: Path) -> None:
    """The sizes, and what is not modelled behind them, at once."""
    path = save(tmp_path, model("a = Relu(x) b = Det(a) y = Conv<channels_last=1>(a, w)", "float[1,3,h,w2] x", w=(4, 3, 3, 3)))
    with pytest.raises(InputError) as caught:
        read_onnx(path)
    assert [fault.key.split(" (")[0] for fault in caught.value.faults] == ['input "x"', 'node "y"']


def external(name: str, side: int, offset: int) -> onnx.TensorProto:
    """A square matrix in a file of its own."""
    tensor = onnx.TensorProto(name=name, data_type=1, dims=[side, side], data_location=onnx.TensorProto.EXTERNAL)
    for key, value in {"location": "w.bin", "offset": offset, "length": 4 * side * side}.items():
        tensor.external_data.add(key=key, value=str(value))
    return tensor


def test_two_gigabytes_of_weights_are_not_read(tmp_path: Path) -> None:
    """Of a model whose weights stand beside it only their shapes are wanted in cycles mode."""
    side = 16384
    proto = model("a = MatMul(x, w0) t = Transpose<perm=[1, 0]>(w1) y = Gemm(a, t)", f"float[1,{side}] x")
    proto.graph.initializer.extend(external(f"w{i}", side, i * 4 * side * side) for i in range(2))
    with (tmp_path / "w.bin").open("wb") as file:
        file.truncate(8 * side * side)  # sparse: no byte of it is written
    path = save(tmp_path, proto)
    tracemalloc.start()
    network = read_onnx(path)
    most = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert network.macs == 2 * side * side
    assert most < 50e6
