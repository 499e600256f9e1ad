"""Does each operator become what it should, with the right shapes, sizes and place for the batch?"""

# ruff: noqa: E501 (a table reads better with a case a line)

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx_models import model, save

from accelsim.frontends.onnx import read_onnx, read_onnx_with_notes
from accelsim.workload.network import Network
from accelsim.workload.ops import Conv2d, Elementwise, Pool2d, Recurrent, Slice

IMAGE, ROWS, SEQUENCE = "float[2,8,16,16] x", "float[2,6] x", "float[2,10,16] x"
I64 = lambda *values: np.array(values, np.int64)  # noqa: E731
F32 = lambda *values: np.array(values, np.float32)  # noqa: E731


def read(folder: Path, body: str, inputs: str, **options: Any) -> Network:
    return read_onnx(save(folder, model(body, inputs, **options)))


# (nodes, input, weights, [(operator, shape of its output, batch first)])
CASES: dict[str, tuple[str, str, dict[str, Any], list[tuple[str, tuple[int, ...]]]]] = {
    "conv": ("y = Conv<pads=[1,1,1,1], strides=[2,2]>(x, w)", IMAGE, {"w": (4, 8, 3, 3)}, [("conv2d", (2, 4, 8, 8))]),
    "conv groups": ("y = Conv<group=8>(x, w, b)", IMAGE, {"w": (8, 1, 3, 3), "b": (8,)}, [("conv2d", (2, 8, 14, 14))]),
    "conv dilated": ("y = Conv<dilations=[2,2]>(x, w)", IMAGE, {"w": (4, 8, 3, 3)}, [("conv2d", (2, 4, 12, 12))]),
    "conv same": ('y = Conv<auto_pad="SAME_UPPER", strides=[3,3]>(x, w)', IMAGE, {"w": (4, 8, 5, 5)}, [("conv2d", (2, 4, 6, 6))]),
    "conv valid": ('y = Conv<auto_pad="VALID">(x, w)', IMAGE, {"w": (4, 8, 5, 5)}, [("conv2d", (2, 4, 12, 12))]),
    "conv of a signal": (
        "y = Conv<strides=[2], pads=[1,1]>(x, w, b)", "float[2,8,100] x", {"w": (4, 8, 3), "b": (4,)},
        [("reshape", (2, 8, 1, 100)), ("conv2d", (2, 4, 1, 50)), ("reshape", (2, 4, 50))],
    ),
    "max pool": ("y = MaxPool<kernel_shape=[3,3], strides=[2,2]>(x)", IMAGE, {}, [("maxpool2d", (2, 8, 7, 7))]),
    "max pool, rounded up": ("y = MaxPool<kernel_shape=[3,3], strides=[2,2], ceil_mode=1>(x)", IMAGE, {}, [("maxpool2d", (2, 8, 8, 8))]),
    "average pool": (
        "y = AveragePool<kernel_shape=[3,2], pads=[1,0,1,0], count_include_pad=1>(x)", IMAGE, {}, [("avgpool2d", (2, 8, 16, 15))],
    ),
    "global pools": (
        "a = GlobalAveragePool(x) m = GlobalMaxPool(x) y = Add(a, m)", IMAGE, {},
        [("globalavgpool", (2, 8, 1, 1)), ("globalmaxpool", (2, 8, 1, 1)), ("add", (2, 8, 1, 1))],
    ),
    "gemm": ("y = Gemm<transB=1>(x, w, b)", ROWS, {"w": (5, 6), "b": (5,)}, [("linear", (2, 5))]),
    "gemm, weights in x out": ("y = Gemm(x, w)", ROWS, {"w": (6, 5)}, [("linear", (2, 5))]),
    "matmul with weights": ("y = MatMul(x, w)", SEQUENCE, {"w": (16, 5)}, [("linear", (2, 10, 5))]),
    "matmul with weights, four axes": ("y = MatMul(x, w)", IMAGE, {"w": (16, 5)}, [("matmul", (2, 8, 16, 5))]),
    "matmul of two": (
        "t = Transpose<perm=[0,2,1]>(x) y = MatMul(x, t)", SEQUENCE, {}, [("transpose", (2, 16, 10)), ("matmul", (2, 10, 10))],
    ),
    "biases added later": ("m = MatMul(x, w) y = Add(b, m)", SEQUENCE, {"w": (16, 5), "b": (5,)}, [("linear", (2, 10, 5))]),
    "constants": (
        "a = Mul(x, k) b = Add(a, v) y = Sub(one, b)", ROWS, {"k": F32(0.1), "v": (6,), "one": F32(1)},
        [("mul", (2, 6)), ("add", (2, 6)), ("sub", (2, 6))],
    ),
    "sums of many": ("a = Relu(x) b = Abs(x) y = Sum(a, b, x)", ROWS, {}, [("relu", (2, 6)), ("abs", (2, 6)), ("add", (2, 6))]),
    "extremes": ("a = Max(x, z) y = Min(a, x)", ROWS, {"z": F32(0)}, [("maximum", (2, 6)), ("minimum", (2, 6))]),
    "clip": (
        "a = Clip(x, zero, six) b = Clip(a, zero) y = Clip(b, zero, one)", ROWS, {"zero": F32(0)[0], "six": F32(6)[0], "one": F32(1)[0]},
        [("relu6", (2, 6)), ("relu", (2, 6)), ("clip", (2, 6))],
    ),
    "prelu": ("y = PRelu(x, s)", IMAGE, {"s": (8, 1, 1)}, [("prelu", (2, 8, 16, 16))]),
    "log softmax": ("y = LogSoftmax(x)", ROWS, {}, [("softmax", (2, 6)), ("log", (2, 6))]),
    "layer norm": ("y = LayerNormalization(x, g, b)", SEQUENCE, {"g": (16,), "b": (16,)}, [("layernorm", (2, 10, 16))]),
    "batch norm and its scale": (
        "a = BatchNormalization(x, g, b, m, v) c = Mul(a, k) y = Add(c, d)", IMAGE,
        {"g": (8,), "b": (8,), "m": (8,), "v": (8,), "k": (8, 1, 1), "d": (8, 1, 1)}, [("batchnorm", (2, 8, 16, 16))],
    ),
    "lrn": ("y = LRN<size=5>(x)", IMAGE, {}, [("lrn", (2, 8, 16, 16))]),
    "reduce": (
        "a = ReduceMean<axes=[2,3], keepdims=0>(x) y = ReduceMax<axes=[-1]>(a)", IMAGE, {},
        [("reduce_mean", (2, 8)), ("reduce_max", (2, 1))],
    ),
    "concat and split": (
        "a, b = Split<axis=1>(x, s) y = Concat<axis=1>(b, a)", IMAGE, {"s": I64(3, 5)},
        [("split", (2, 3, 16, 16)), ("concat", (2, 8, 16, 16))],
    ),
    "slice": (
        "y = Slice(x, start, end, axes, steps)", IMAGE,
        {"start": I64(0, 1, 2), "end": I64(99, -1, 99), "axes": I64(0, 2, 3), "steps": I64(1, 1, 2)},
        [("slice", (2, 8, 14, 16)), ("slice", (2, 8, 14, 7))],
    ),
    "flatten": ("y = Flatten(x)", IMAGE, {}, [("flatten", (2, 2048))]),
    "reshape": ("y = Reshape(x, s)", IMAGE, {"s": I64(2, 4, -1)}, [("reshape", (2, 4, 512))]),
    "reshape that folds the batch in": (
        "a = Reshape(x, flat) b = MatMul(a, w) y = Reshape(b, back)", SEQUENCE, {"flat": I64(-1, 16), "w": (16, 3), "back": I64(2, 10, 3)},
        [("linear", (2, 10, 3))],
    ),
    "squeeze and unsqueeze": (
        "a = Unsqueeze(x, one) b = Relu(a) y = Squeeze(b, one)", ROWS, {"one": I64(1)},
        [("reshape", (2, 1, 6)), ("relu", (2, 1, 6)), ("reshape", (2, 6))],
    ),
    "transpose": ("y = Transpose<perm=[0,2,3,1]>(x)", "float[2,8,4,5] x", {}, [("transpose", (2, 4, 5, 8))]),
    "transpose that only moves the batch": ("a = Transpose<perm=[1,0,2]>(x) y = Relu(a)", SEQUENCE, {}, [("relu", (2, 10, 16))]),
    "resize": (
        'y = Resize<mode="nearest">(x, none, k)', IMAGE, {"none": (0,), "k": F32(1, 1, 2, 3)}, [("upsample", (2, 8, 32, 48))],
    ),
    "resize to sizes": (
        'y = Resize<mode="nearest">(x, none, none, k)', IMAGE, {"none": (0,), "k": I64(2, 8, 32, 32)}, [("upsample", (2, 8, 32, 32))],
    ),
    "pad": ("y = Pad(x, p)", IMAGE, {"p": I64(0, 0, 1, 2, 0, 0, 3, 4)}, [("pad", (2, 8, 20, 22))]),
    "embedding": ("y = Gather(table, x)", "int64[2,7] x", {"table": (100, 12)}, [("embedding", (2, 7, 12))]),
    "gather of one": ("y = Gather<axis=1>(x, i)", SEQUENCE, {"i": np.int64(-1)}, [("slice", (2, 1, 16)), ("reshape", (2, 16))]),
    "lstm": (
        "a, h = LSTM<hidden_size=5>(x, w, r, b) s = Squeeze(a, one) y = Transpose<perm=[1,0,2]>(s)", "float[10,2,16] x",
        {"w": (1, 20, 16), "r": (1, 20, 5), "b": (1, 40), "one": I64(1)},
        [("lstm", (2, 10, 5)), ("reshape", (2, 10, 1, 5)), ("reshape", (2, 10, 5))],
    ),
    "last state of a gru": (
        "t = Transpose<perm=[1,0,2]>(x) a, h = GRU<hidden_size=5>(t, w, r) y = Squeeze(h, zero)", SEQUENCE,
        {"w": (1, 15, 16), "r": (1, 15, 5), "zero": I64(0)},
        [("gru", (2, 10, 5)), ("slice", (2, 1, 5)), ("reshape", (2, 5))],
    ),
    "aliases": (
        "a = Identity(x) b, m = Dropout(a) c = Cast<to=1>(b) d = Expand(c, s) y = Relu(d)", ROWS, {"s": I64(2, 6)}, [("relu", (2, 6))],
    ),
    "shape arithmetic": (
        "s = Shape(x) n = Gather(s, i) u = Unsqueeze(n, zero) t = Concat<axis=0>(u, minus) y = Reshape(x, t)", IMAGE,
        {"i": np.int64(0), "zero": I64(0), "minus": I64(-1)}, [("reshape", (2, 2048))],
    ),
    "class token": ("y = Concat<axis=1>(token, x)", SEQUENCE, {"token": (2, 1, 16)}, [("reshape", (2, 1, 16)), ("concat", (2, 11, 16))]),
    "two inputs": ("y = MatMul(x, z)", "float[4,8] x, float[8,5] z", {}, [("matmul", (1, 4, 5))]),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_operator(case: str, tmp_path: Path) -> None:
    body, inputs, weights, expected = CASES[case]
    network = read(tmp_path, body, inputs, opset=17 if "axes=[" in body else 21, **weights)
    found = [(layer.op.op, layer.output_shapes[0]) for layer in network.layers]
    assert found == expected


@pytest.mark.parametrize(
    ("onnx_name", "name"),
    [("Relu", "relu"), ("LeakyRelu", "leaky_relu"), ("Elu", "elu"), ("Sigmoid", "sigmoid"), ("HardSigmoid", "hard_sigmoid"),
     ("Tanh", "tanh"), ("HardSwish", "hard_swish"), ("Gelu", "gelu"), ("Erf", "erf"), ("Exp", "exp"), ("Sqrt", "sqrt"),
     ("Abs", "abs"), ("Neg", "neg"), ("Reciprocal", "reciprocal"), ("Log", "log"), ("com.microsoft.Gelu", "gelu")],
)  # fmt: skip
def test_activation(onnx_name: str, name: str, tmp_path: Path) -> None:
    network = read(tmp_path, f"y = {onnx_name}(x)", IMAGE, opset=20)
    assert [layer.op.op for layer in network.layers] == [name]


def test_details_survive(tmp_path: Path) -> None:
    body = """a = Conv<pads=[1,2,3,4], strides=[2,1]>(x, w)  b = LeakyRelu<alpha=0.1>(a)
              c = MaxPool<kernel_shape=[2,2], ceil_mode=1>(b)  y = Slice(c, start, end, axes)"""
    weights = {"w": (4, 8, 3, 5), "start": I64(1), "end": I64(3), "axes": I64(1)}
    conv, leaky, pool, part = read(tmp_path, body, IMAGE, **weights).layers
    assert isinstance(conv.op, Conv2d)
    assert (conv.op.pad, conv.op.stride, conv.op.bias) == ((1, 3, 2, 4), (2, 1), False)
    assert leaky.op.model_dump()["alpha"] == 0.1  # and not the nearest float32, spelt out
    assert isinstance(pool.op, Pool2d)
    assert (pool.op.ceil, pool.op.strides) == (True, (1, 1))  # ONNX's stride is 1 where it is left out
    assert part.op == Slice(op="slice", axis=1, start=1, size=2)


def test_constant_operands(tmp_path: Path) -> None:
    network = read(tmp_path, "a = Sub(one, x) y = Mul(a, v)", ROWS, one=F32(1), v=(6,))
    assert network.layers[0].op == Elementwise(op="sub", value=1.0, constant_first=True)
    assert network.layers[1].parameters == 6


def test_recurrent_sizes(tmp_path: Path) -> None:
    weights = {"w": (1, 20, 16), "r": (1, 20, 5), "b": (1, 40), "h": (1, 3, 5), "c": (1, 3, 5), "p": (1, 15)}
    body = "y = LSTM<hidden_size=5>(x, w, r, b, , h, c, p)"
    network = read(tmp_path, body, "float[10,3,16] x", **weights)
    layer = network.layers[0]
    assert isinstance(layer.op, Recurrent)
    assert (layer.op.peepholes, network.batch, layer.macs) == (True, 3, 3 * 10 * 20 * (16 + 5))


def test_symbolic_batch_is_one_and_can_be_changed(tmp_path: Path) -> None:
    body = "s = Shape<end=1>(x) t = Concat<axis=0>(s, rest) y = Reshape(x, t)"
    network = read(tmp_path, body, "float[N,8,4,4] x", rest=I64(8, 16))
    assert network.batch == 1
    assert network.with_batch(5).layers[-1].output_shapes == ((5, 8, 16),)


def test_dead_nodes_are_left_out(tmp_path: Path) -> None:
    network = read(tmp_path, "dead = made.up.Thing(x) y = Relu(x)", ROWS)
    assert [layer.op.op for layer in network.layers] == ["relu"]


def test_names_are_clean_and_unique(tmp_path: Path) -> None:
    proto = model("a = Relu(x) b = Relu(a) y = Relu(b)", ROWS)
    for node, name in zip(
        proto.graph.node, ("/layer1/layer1.0/relu", "/layer1/layer1.0/relu", ""), strict=True
    ):
        node.name = name
    network = read_onnx(save(tmp_path, proto))
    assert [layer.name for layer in network.layers] == ["layer1_layer1_0_relu", "layer1_layer1_0_relu_2", "y"]


def test_attention_with_shape_arithmetic(tmp_path: Path) -> None:
    """Multi-head attention as PyTorch exports it: views of Shape, Gather and Concat; 2 heads of 8."""
    body = """
      s = Shape(x)  n = Gather(s, i0)  t = Gather(s, i1)  nu = Unsqueeze(n, i0v)  tu = Unsqueeze(t, i0v)
      heads = Concat<axis=0>(nu, tu, two, eight)  joined = Concat<axis=0>(nu, tu, sixteen)
      qm = MatMul(x, wq)  qb = Add(bq, qm)  qr = Reshape(qb, heads)  q = Transpose<perm=[0,2,1,3]>(qr)
      km = MatMul(x, wk)  kr = Reshape(km, heads)  k = Transpose<perm=[0,2,3,1]>(kr)
      vm = MatMul(x, wv)  vr = Reshape(vm, heads)  v = Transpose<perm=[0,2,1,3]>(vr)
      a = MatMul(q, k)  sc = Div(a, root)  m = Add(sc, mask)  p = Softmax(m)  o = MatMul(p, v)
      ot = Transpose<perm=[0,2,1,3]>(o)  oj = Reshape(ot, joined)  ow = MatMul(oj, wo)  r = Add(x, ow)
      y = LayerNormalization(r, g, b)"""
    square = dict.fromkeys(("wq", "wk", "wv", "wo"), (16, 16))
    numbers = {
        "i0": np.int64(0),
        "i1": np.int64(1),
        "i0v": I64(0),
        "two": I64(2),
        "eight": I64(8),
        "sixteen": I64(16),
    }
    network = read(
        tmp_path,
        body,
        "float[N,10,16] x, float[N,1,1,10] mask",
        bq=(16,),
        root=F32(8),
        g=(16,),
        b=(16,),
        **square,
        **numbers,
    )
    tokens, width = 10, 16
    assert network.macs == 4 * tokens * width * width + 2 * tokens * tokens * width
    assert network.parameters == 4 * width * width + width + 2 * width
    assert network.with_batch(3).macs == 3 * network.macs
    assert network.layers[-1].output_shapes == ((1, 10, 16),)


def test_notes_say_what_was_taken_in(tmp_path: Path) -> None:
    path = save(tmp_path, model("y = Concat<axis=1>(token, x)", SEQUENCE, token=(2, 1, 16)))
    assert "constants joined to tensors enter as inputs: token" in read_onnx_with_notes(path)[1][0]


def test_local_functions_are_written_out(tmp_path: Path) -> None:
    from onnx import helper

    proto = model("y = made.up.Twice(x)", ROWS)
    nodes = [helper.make_node("Relu", ["a"], ["b"]), helper.make_node("Neg", ["b"], ["c"])]
    opsets = [helper.make_opsetid("", 17)]
    proto.functions.append(helper.make_function("made.up", "Twice", ["a"], ["c"], nodes, opsets))
    assert [layer.op.op for layer in read_onnx(save(tmp_path, proto)).layers] == ["relu", "neg"]
