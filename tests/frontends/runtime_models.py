"""Float models to be quantized by onnxruntime, random QLinear graphs, and the runtime's own integers of both."""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from exact_runtime import exact_session, weight_bits
from onnx import TensorProto, helper, numpy_helper
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

Array = npt.NDArray[Any]
FLOAT, UINT8, INT8 = TensorProto.FLOAT, TensorProto.UINT8, TensorProto.INT8
WHOLE = (UINT8, INT8, TensorProto.INT32)
STORAGE: dict[int, Any] = {UINT8: np.uint8, INT8: np.int8}
logging.getLogger().addFilter(lambda record: "pre-processing" not in record.getMessage())


class Graph:
    """Nodes and constants as they are added; every method returns the name of what it made."""

    def __init__(self, shape: tuple[Any, ...], seed: int = 0, opset: int = 17, elem: int = FLOAT) -> None:
        self.random = np.random.default_rng(seed)
        self.opset, self.nodes, self.constants = opset, [], []
        self.inputs = [helper.make_tensor_value_info("x", elem, shape)]

    def hold(self, values: Any) -> str:
        name = f"c{len(self.nodes)}_{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(values), name))
        return name

    def op(self, kind: str, *inputs: str, domain: str = "", outputs: int = 1, **attributes: Any) -> Any:
        number = len(self.nodes)
        made = [f"{kind.lower()}{number}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(kind, inputs, made, f"{kind.lower()}{number}", domain=domain, **attributes))
        return made[0] if outputs == 1 else made

    def normal(self, *shape: int, spread: float = 1.0) -> str:
        return self.hold(self.random.normal(0, spread, shape).astype(np.float32))

    def conv(self, x: str, k: int, c: int, r: int, **attributes: Any) -> str:
        depth = c // attributes.get("group", 1)
        weight = self.random.normal(0, (depth * r * r) ** -0.5, (k, depth, r, r))
        weight = weight * np.exp(self.random.normal(0, 0.5, (k, 1, 1, 1)))  # so that channels differ in range
        return str(self.op("Conv", x, self.hold(weight.astype(np.float32)), self.normal(k, spread=0.3), **attributes))

    def gemm(self, x: str, inputs: int, outputs: int) -> str:
        weight = self.normal(outputs, inputs, spread=inputs**-0.5)
        return str(self.op("Gemm", x, weight, self.normal(outputs, spread=0.3), transB=1))

    def matmul(self, x: str, inputs: int, outputs: int) -> str:
        return str(self.op("MatMul", x, self.normal(inputs, outputs, spread=inputs**-0.5)))

    def model(self, output: str, elem: int = FLOAT) -> onnx.ModelProto:
        result = helper.make_tensor_value_info(output, elem, None)
        graph = helper.make_graph(self.nodes, "g", self.inputs, [result], self.constants)
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid("com.microsoft", 1)]
        proto = helper.make_model(graph, opset_imports=opsets)
        proto.ir_version = 8
        return onnx.shape_inference.infer_shapes(proto)


def plain() -> onnx.ModelProto:
    g = Graph((1, 3, 12, 12))
    x = g.op("MaxPool", g.op("Relu", g.conv("x", 8, 3, 3, pads=[1] * 4)), kernel_shape=[2, 2], strides=[2, 2])
    x = g.op("Relu", g.conv(x, 16, 8, 3, pads=[0, 1, 1, 0], strides=[2, 2]))
    return g.model(g.gemm(g.op("Flatten", x), 144, 10))


def mobile() -> onnx.ModelProto:
    g = Graph((1, 3, 12, 12))
    x = g.op("Clip", g.conv("x", 8, 3, 3, pads=[1] * 4), g.hold(np.float32(0)), g.hold(np.float32(6)))
    x = g.conv(x, 8, 8, 3, group=8, pads=[1] * 4, strides=[2, 2])
    x = g.op("Clip", x, g.hold(np.float32(-0.5)), g.hold(np.float32(0.7)))
    x = g.op("Flatten", g.op("GlobalAveragePool", g.conv(x, 6, 8, 1)))
    return g.model(g.op("Softmax", g.gemm(x, 6, 5), axis=-1))


def residual() -> onnx.ModelProto:
    g = Graph((2, 4, 10, 10))
    a = g.op("Relu", g.conv("x", 8, 4, 3, pads=[1] * 4))
    y = g.op("Relu", g.op("Add", a, g.conv(g.op("Relu", g.conv(a, 8, 8, 3, pads=[1] * 4)), 8, 8, 3, pads=[1] * 4)))
    y = g.op("Add", g.conv(y, 8, 8, 1, strides=[2, 2]), g.conv(y, 8, 8, 3, pads=[1] * 4, strides=[2, 2]))
    return g.model(g.gemm(g.op("Flatten", g.op("GlobalAveragePool", y)), 8, 7))


def branches() -> onnx.ModelProto:
    g = Graph((1, 4, 9, 9))
    pooled = g.op("MaxPool", "x", kernel_shape=[3, 3], pads=[1] * 4)
    mean = g.op("AveragePool", g.conv("x", 4, 4, 5, pads=[2] * 4), kernel_shape=[3, 3], pads=[1] * 4, count_include_pad=1)
    y = g.op("Concat", g.op("Relu", g.conv("x", 3, 4, 1)), g.conv("x", 5, 4, 3, pads=[1] * 4), pooled, mean, axis=1)
    y = g.conv(y, 6, 16, 3, dilations=[2, 2])
    return g.model(g.op("Flatten", g.op("AveragePool", y, kernel_shape=[2, 2], strides=[2, 2])))


def squeeze() -> onnx.ModelProto:
    g = Graph((1, 6, 8, 8))
    a = g.op("HardSwish", g.conv("x", 8, 6, 3, pads=[1] * 4))
    s = g.op("Sigmoid", g.conv(g.op("Relu", g.conv(g.op("GlobalAveragePool", a), 4, 8, 1)), 8, 4, 1))
    return g.model(g.conv(g.op("Mul", a, s), 4, 8, 1))


def curves() -> onnx.ModelProto:
    g = Graph((1, 4, 8, 8))
    x = g.op("Tanh", g.conv(g.op("LeakyRelu", g.conv("x", 6, 4, 3), alpha=0.1), 6, 6, 1))
    x = g.op("PRelu", g.conv(x, 6, 6, 1), g.normal(6, 1, 1, spread=0.3))
    numbers = [g.hold(g.random.uniform(0.5, 2, 6).astype(np.float32)) for _ in range(4)]
    x = g.op("BatchNormalization", g.conv(x, 6, 6, 1), *numbers)
    return g.model(g.conv(g.op("Elu", x), 3, 6, 1))


def perceptron() -> onnx.ModelProto:
    g = Graph((4, 20))
    x = g.op("Relu", g.op("Add", g.matmul("x", 20, 16), g.normal(16, spread=0.3)))
    return g.model(g.op("Sub", g.gemm(g.op("Mul", x, g.hold(np.float32(0.37))), 16, 4), g.normal(4)))


def padded() -> onnx.ModelProto:
    g = Graph((1, 3, 11, 13))
    x = g.op("Relu", g.conv("x", 4, 3, 3, auto_pad="SAME_UPPER", strides=[2, 2]))
    x = g.op("MaxPool", g.conv(x, 4, 4, 2, auto_pad="SAME_LOWER"), kernel_shape=[3, 3], strides=[2, 2], auto_pad="SAME_UPPER")
    return g.model(g.conv(g.op("Pad", x, g.hold(np.array([0, 0, 1, 0, 0, 0, 0, 1]))), 5, 4, 2, auto_pad="VALID"))


def moved() -> onnx.ModelProto:
    g = Graph((2, 4, 6, 6))
    x = g.op("Reshape", g.op("Relu", g.conv("x", 8, 4, 1)), g.hold(np.array([2, 2, 4, 6, 6])))
    x = g.op("Reshape", g.op("Transpose", x, perm=[0, 2, 1, 3, 4]), g.hold(np.array([2, 8, 6, 6])))
    u, v = g.op("Split", x, g.hold(np.array([4, 4])), outputs=2, axis=1)
    x = g.op("Concat", g.conv(u, 4, 4, 3, pads=[1] * 4), v, axis=1)
    x = g.op("ReduceMean", g.conv(x, 4, 8, 3), axes=[2, 3], keepdims=0)
    return g.model(g.gemm(x, 4, 3))


def attention() -> onnx.ModelProto:
    g = Graph((2, 6, 16))

    def heads(t: str, order: list[int]) -> str:
        return str(g.op("Transpose", g.op("Reshape", t, g.hold(np.array([0, 6, 2, 8]))), perm=order))

    q, k, v = (g.op("Add", g.matmul("x", 16, 16), g.normal(16, spread=0.3)) for _ in range(3))
    scores = g.op("Mul", g.op("MatMul", heads(q, [0, 2, 1, 3]), heads(k, [0, 2, 3, 1])), g.hold(np.float32(8**-0.5)))
    mixed = g.op("Transpose", g.op("MatMul", g.op("Softmax", scores, axis=-1), heads(v, [0, 2, 1, 3])), perm=[0, 2, 1, 3])
    y = g.op("Add", g.matmul(g.op("Reshape", mixed, g.hold(np.array([0, 6, 16]))), 16, 16), "x")
    y = g.op("LayerNormalization", y, g.hold(g.random.uniform(0.5, 2, 16).astype(np.float32)), g.normal(16), epsilon=1e-3)
    return g.model(g.matmul(y, 16, 8))


FLOATS: dict[str, Callable[[], onnx.ModelProto]] = {
    f.__name__: f
    for f in (plain, mobile, residual, branches, squeeze, curves, perceptron, padded, moved, attention)
}


class _Samples(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, proto: onnx.ModelProto) -> None:
        self._left = [feeds(proto, seed) for seed in range(4)]

    def get_next(self) -> dict[str, Array] | None:
        return self._left.pop() if self._left else None


def quantized(folder: Path, proto: onnx.ModelProto, style: str, activations: str, weights: str, **options: Any) -> Path:
    """``proto`` quantized by onnxruntime: ``style`` QDQ or QOperator."""
    source, target = folder / "float.onnx", folder / "net.onnx"
    onnx.save(proto, source)
    quantize_static(
        source, target, _Samples(proto), quant_format=QuantFormat[style], activation_type=QuantType[activations],
        weight_type=QuantType[weights], reduce_range=weight_bits() < 8, **options,
    )  # fmt: skip
    return target


def feeds(proto: onnx.ModelProto, seed: int = 9) -> dict[str, Array]:
    """Random inputs of a model, by name; a batch that is a name is 1."""
    random, table = np.random.default_rng(seed), {}
    for entry in proto.graph.input:
        shape = [dim.dim_value or 1 for dim in entry.type.tensor_type.shape.dim]
        elem = entry.type.tensor_type.elem_type
        if elem == FLOAT:
            table[entry.name] = random.normal(size=shape).astype(np.float32)
        else:
            held = np.iinfo(STORAGE[elem])
            table[entry.name] = random.integers(held.min, held.max, shape, STORAGE[elem], endpoint=True)
    return table


def integers(proto: onnx.ModelProto, given: Mapping[str, Array]) -> dict[str, Array]:
    """Every tensor of integers that onnxruntime computes, as it optimizes by default, by name."""
    inferred = onnx.shape_inference.infer_shapes(proto)
    known = {v.name: v for v in (*inferred.graph.value_info, *inferred.graph.output)}
    whole = copy.deepcopy(proto)
    del whole.graph.output[:]
    constant = {tensor.name for tensor in proto.graph.initializer}
    for node in proto.graph.node:
        if all(name in constant for name in node.input):
            constant.update(node.output)
        elif _makes_integers(node, known):
            whole.graph.output.extend(known.get(name, onnx.ValueInfoProto(name=name)) for name in node.output)
    names = [output.name for output in whole.graph.output]
    return dict(zip(names, exact_session(whole.SerializeToString()).run(names, dict(given)), strict=True))


def _makes_integers(node: onnx.NodeProto, known: Mapping[str, onnx.ValueInfoProto]) -> bool:
    if node.op_type.startswith("Q"):
        return True
    return all(name in known and known[name].type.tensor_type.elem_type in WHOLE for name in node.output)


# ---- random QLinear graphs ---------------------------------------------------------------------------------------


class Chain:
    """A random chain of QLinear operators; with ``ties`` all scales are powers of two, so that halves are frequent."""

    def __init__(self, seed: int) -> None:
        random = self.random = np.random.default_rng(seed)
        self.ties = bool(random.random() < 0.5)
        self.elem = UINT8 if random.random() < 0.6 else INT8
        self.batch, self.channels = int(random.integers(1, 4)), int(random.choice([1, 2, 3, 4, 8]))
        self.sizes = [int(size) for size in random.integers(5, 16, 2)]
        self.real = bool(random.random() < 0.5)
        shape = (self.batch if random.random() < 0.7 else "N", self.channels, *self.sizes)
        self.graph = Graph(shape, seed, int(random.choice([12, 13, 17, 21])), FLOAT if self.real else self.elem)
        self.now = "x"
        self.scale, self.zero = self.scale_of(), self.zero_of()
        if self.real:
            self.now = self.graph.op("QuantizeLinear", "x", *self.pair(self.scale, self.zero))

    def scale_of(self) -> np.float32:
        return np.float32(2.0 ** -self.random.integers(1, 9) if self.ties else np.exp(self.random.normal(-4, 1)))

    def zero_of(self) -> Any:
        return self.numbers(())

    def numbers(self, shape: tuple[int, ...], storage: Any = None) -> Any:
        storage = storage or STORAGE[self.elem]
        held = np.iinfo(storage)
        return self.random.integers(held.min, held.max, shape, storage, endpoint=True)

    def pair(self, scale: Any, zero: Any) -> list[str]:
        return [self.graph.hold(scale), self.graph.hold(zero)]

    def close(self, factor: float) -> np.float32:
        """A scale of outputs that saturates some of them."""
        wanted = float(self.scale) * factor
        return np.float32(2.0 ** round(np.log2(wanted)) if self.ties else wanted * self.random.uniform(0.5, 1.5))

    def add(self, kind: str, inputs: list[str], scale: Any, zero: Any, domain: str = "com.microsoft", **more: Any) -> None:
        self.now = self.graph.op(kind, *inputs, *self.pair(scale, zero), domain=domain, **more)
        self.scale, self.zero = scale, zero

    def read(self) -> list[str]:
        return [self.now, *self.pair(self.scale, self.zero)]

    def same_or_new(self) -> tuple[Any, Any]:
        return (self.scale, self.zero) if self.random.random() < 0.5 else (self.close(1.0), self.zero_of())

    def conv(self) -> None:
        random, size = self.random, int(self.random.integers(1, min(3, *self.sizes) + 1))
        depthwise = bool(random.random() < 0.3)
        outputs = self.channels if depthwise else int(random.choice([1, 3, 8]))
        depth = 1 if depthwise else self.channels
        weights = self.weights((outputs, depth, size, size), outputs, per_channel_zero=False)
        scale = self.close(float(np.max(self.last_scale)) * (depth * size * size) ** 0.5 * 70)
        stride, pads = [int(s) for s in random.integers(1, 3, 2)], [int(p) for p in random.integers(0, size, 4)]
        bias = [self.graph.hold(random.integers(-3000, 3000, outputs, np.int32))] if random.random() < 0.6 else []
        made = [*self.read(), *weights, *self.pair(scale, zero := self.zero_of()), *bias]
        group = self.channels if depthwise else 1
        self.now = self.graph.op("QLinearConv", *made, strides=stride, pads=pads, group=group)
        self.scale, self.zero, self.channels = scale, zero, outputs
        ends = (pads[0] + pads[2], pads[1] + pads[3])
        self.sizes = [(s + e - size) // d + 1 for s, e, d in zip(self.sizes, ends, stride, strict=True)]

    def weights(self, shape: tuple[int, ...], channels: int, per_channel_zero: bool) -> list[str]:
        """Weights with their scale and zero point: one, or one a channel."""
        storage = np.int8 if self.elem == INT8 or self.random.random() < 0.6 else np.uint8
        by_channel = self.random.random() < 0.5
        self.last_scale = np.array([self.scale_of() for _ in range(channels)]) if by_channel else self.scale_of()
        zero = self.numbers((channels,), storage) if by_channel and per_channel_zero else self.numbers((), storage)
        zero = np.zeros(channels, storage) if by_channel and not per_channel_zero else zero
        return [self.graph.hold(self.numbers(shape, storage) // 2 ** (8 - weight_bits())), *self.pair(self.last_scale, zero)]

    def pool(self) -> None:
        if min(self.sizes) < 3:
            return self.mean()
        pad = int(self.random.integers(0, 2))
        window = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [pad] * 4}
        included = int(self.random.integers(0, 2))
        self.add("QLinearAveragePool", self.read(), *self.same_or_new(), **window, count_include_pad=included)
        self.sizes = [(size + 2 * pad - 3) // 2 + 1 for size in self.sizes]
        return None

    def mean(self) -> None:
        self.add("QLinearGlobalAveragePool", self.read(), *self.same_or_new())
        self.sizes = [1, 1]

    def pairs(self) -> None:
        constant = [(), (self.channels, 1, 1)][int(self.random.integers(0, 2))]
        itself = bool(self.random.random() < 0.4)
        s = self.scale if itself else self.scale_of()
        other = self.read() if itself else [self.graph.hold(self.numbers(constant)), *self.pair(s, self.zero_of())]
        second = float(s)
        operands = [self.read(), other] if self.random.random() < 0.5 else [other, self.read()]
        if self.random.random() < 0.5:
            scale = np.float32(2 * self.scale) if itself else self.close(1 + second / float(self.scale))
            self.add("QLinearAdd", [*operands[0], *operands[1]], scale, self.zero_of())
        else:
            self.add("QLinearMul", [*operands[0], *operands[1]], self.close(second * 64), self.zero_of())

    def curve(self) -> None:
        kind = str(self.random.choice(["QLinearSigmoid", "QLinearLeakyRelu"]))
        scale = np.float32(1 / 256) if kind == "QLinearSigmoid" else self.close(1.0)
        self.add(kind, self.read(), scale, self.zero_of())

    def product(self) -> None:
        features, outputs = self.channels * self.sizes[0] * self.sizes[1], int(self.random.integers(1, 12))
        self.now = self.graph.op("Flatten", self.now)
        weights = self.weights((features, outputs), outputs, per_channel_zero=True)
        scale = self.close(float(np.max(self.last_scale)) * features**0.5 * 70)
        if self.random.random() < 0.5:
            self.add("QLinearMatMul", [*self.read(), *weights], scale, self.zero_of(), domain="")
        else:
            self.add("QGemm", [*self.read(), *weights, ""], scale, self.zero_of())

    def model(self) -> onnx.ModelProto:
        steps = [self.conv, self.conv, self.pool, self.mean, self.pairs, self.curve]
        for _ in range(int(self.random.integers(1, 4))):
            steps[int(self.random.integers(0, len(steps)))]()
        self.product()
        if not self.real:
            return self.graph.model(self.now, self.elem)
        return self.graph.model(self.graph.op("DequantizeLinear", *self.read()))
