"""A network as ONNX: float as it is, quantized as QDQ (QuantizeLinear and DequantizeLinear around float operators).

A quantized product is written as its exact integers are meant: integer weights and an int32 bias behind
DequantizeLinear, a float operator, QuantizeLinear. Runtimes fuse that into integer kernels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from accelsim.compression.arrays import Array
from accelsim.compression.float_run import input_reader, output_scales
from accelsim.errors import Fault, InputError
from accelsim.frontends._onnx_model import import_onnx
from accelsim.workload.network import Affine, Layer, Network, TensorRef
from accelsim.workload.ops import (
    Activation,
    Concat,
    Conv2d,
    Elementwise,
    GlobalPool,
    Linear,
    Op,
    Pool2d,
    Reshape,
    Softmax,
)
from accelsim.workload.precision import NumberFormat
from accelsim.workload.values import bias_values, weight_values

OPSET = 21
_ACTIVATIONS = {"relu": "Relu", "sigmoid": "Sigmoid", "tanh": "Tanh", "abs": "Abs", "neg": "Neg", "exp": "Exp"}
_ELEMENTWISE = {"add": "Add", "sub": "Sub", "mul": "Mul", "div": "Div", "maximum": "Max", "minimum": "Min"}


def write_onnx(network: Network) -> bytes:
    """The bytes of an ONNX model; `InputError` for operators that have no form here."""
    onnx = import_onnx(network.name)
    graph = _Graph(network, onnx)
    for layer in network.layers:
        graph.layer(layer)
    return bytes(graph.model().SerializeToString(deterministic=True))


class _Graph:
    """Nodes and initializers as they are added."""

    def __init__(self, network: Network, onnx: Any) -> None:
        self.network, self.onnx = network, onnx
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}
        self.scales = output_scales(network)
        self.names = {TensorRef(name): name for name in network.inputs}
        reader = input_reader(network)
        if reader.precision.input.is_integer:
            name = next(iter(network.inputs))
            self.names[TensorRef(name)] = self._requantized(name, self.scales[name], reader.precision.input)

    def model(self) -> Any:
        """The finished model; what nobody reads is an output."""
        helper, floats = self.onnx.helper, self.onnx.TensorProto.FLOAT
        inputs = [
            helper.make_tensor_value_info(name, floats, [self.network.batch, *shape])
            for name, shape in self.network.inputs.items()
        ]
        last = [(ref, layer) for layer in self.network.layers
                if not self.network.consumers()[ref := TensorRef(layer.name)]]  # fmt: skip
        outputs = [helper.make_tensor_value_info(self.names[r], floats, list(y.output_shapes[0])) for r, y in last]
        graph = helper.make_graph(self.nodes, self.network.name, inputs, outputs, list(self.constants.values()))
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], producer_name="accelsim")
        model.ir_version = 10
        return model

    def layer(self, layer: Layer) -> None:
        """A layer's node, and its output's quantization where it is integers."""
        inputs = [self.names[ref] for ref in layer.inputs]
        make = _MAKERS.get(type(layer.op))
        if make is None:
            raise InputError(Fault(self.network.name, layer.name, f"a {layer.op.op} layer is not written as ONNX"))
        made = make(self, layer, inputs)
        if layer.precision.output.is_integer:
            made = self._requantized(made, self.scales[layer.name], layer.precision.output)
        self.names[TensorRef(layer.name)] = made

    # ---- parts -----------------------------------------------------------------------------------------------

    def node(self, kind: str, inputs: list[str], name: str, **attributes: Any) -> str:
        made = f"{name}_out"
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, [made], name=name, **attributes))
        return made

    def constant(self, name: str, values: Array) -> str:
        self.constants[name] = self.onnx.numpy_helper.from_array(np.ascontiguousarray(values), name)
        return name

    def _requantized(self, tensor: str, scale: Affine, to: NumberFormat) -> str:
        """QuantizeLinear and DequantizeLinear after ``tensor``; returns the float's name."""
        pair = [
            self.constant(f"{tensor}_scale", np.array(scale.scale, np.float32)),
            self.constant(f"{tensor}_zero", _zero(scale, to)),
        ]
        quantized = self.node("QuantizeLinear", [tensor, *pair], f"{tensor}_quantize")
        return self.node("DequantizeLinear", [quantized, *pair], f"{tensor}_dequantize")

    def operand(self, name: str, values: Array, scale: Array, zero: int | tuple[int, ...] = 0) -> str:
        """Integers behind a DequantizeLinear, one scale or one an output channel (axis 0)."""
        zeros = np.broadcast_to(np.array(zero, values.dtype), scale.shape).copy()
        inputs = [
            self.constant(name, values),
            self.constant(f"{name}_scale", scale),
            self.constant(f"{name}_zero", zeros),
        ]
        return self.node("DequantizeLinear", inputs, f"{name}_dequantize", axis=0)


def _zero(scale: Affine, to: NumberFormat) -> Array:
    storage = np.dtype(to.storage)
    if storage.itemsize > 2:
        raise InputError(Fault("onnx", str(to), "has no QuantizeLinear in ONNX; up to 16 bits can be written"))
    return np.array(scale.zero_point, storage)


def _operands(graph: _Graph, layer: Layer) -> list[str]:
    """Weights and bias of a layer, floats or dequantized integers."""
    weight, bias = weight_values(layer, 0), bias_values(layer)
    names = [f"{layer.name}_weight", f"{layer.name}_bias"]
    if not layer.precision.weight.is_integer:
        given = [graph.constant(names[0], weight)]
        return given + ([graph.constant(names[1], bias.astype(np.float32))] if bias is not None else [])
    product = _product(layer)
    scale = (product / np.float32(layer.quantization.inputs[0].scale)).astype(np.float32)
    given = [graph.operand(names[0], weight, scale, layer.quantization.weight_zero_point)]
    return given + ([graph.operand(names[1], bias.astype(np.int32), product)] if bias is not None else [])


def _product(layer: Layer) -> Array:
    """Input scale x weight scale, from the factor that makes outputs of sums: float32, one or one a channel."""
    output = layer.quantization.output or Affine()
    multiplier, shift = np.array(layer.requantize.multiplier, np.float64), np.array(layer.requantize.shift, np.float64)
    return np.asarray(multiplier / 2.0**shift * output.scale, np.float32)


def _conv(graph: _Graph, layer: Layer, inputs: list[str]) -> str:
    op = layer.op
    assert isinstance(op, Conv2d)
    top, bottom, left, right = op.pad
    return graph.node(
        "Conv", inputs + _operands(graph, layer), layer.name, kernel_shape=[op.R, op.S], strides=list(op.stride),
        pads=[top, left, bottom, right], dilations=list(op.dilation), group=op.group_count(layer.input_shapes[0][1]),
    )  # fmt: skip


def _linear(graph: _Graph, layer: Layer, inputs: list[str]) -> str:
    if len(layer.input_shapes[0]) == 4:
        inputs = [graph.node("Flatten", inputs, f"{layer.name}_flatten")]
    elif len(layer.input_shapes[0]) != 2:
        raise InputError(Fault(graph.network.name, layer.name, "a linear layer over sequences is not written as ONNX"))
    return graph.node("Gemm", inputs + _operands(graph, layer), layer.name, transB=1)


def _pool(graph: _Graph, layer: Layer, inputs: list[str]) -> str:
    op = layer.op
    assert isinstance(op, Pool2d)
    top, bottom, left, right = op.pad
    more = {"count_include_pad": int(op.count_include_pad)} if op.op == "avgpool2d" else {}
    return graph.node(
        "MaxPool" if op.op == "maxpool2d" else "AveragePool", inputs, layer.name, kernel_shape=list(op.window),
        strides=list(op.strides), pads=[top, left, bottom, right], ceil_mode=int(op.ceil), **more,
    )  # fmt: skip


def _global_pool(graph: _Graph, layer: Layer, inputs: list[str]) -> str:
    return graph.node("GlobalAveragePool" if layer.op.op == "globalavgpool" else "GlobalMaxPool", inputs, layer.name)


def _activation(graph: _Graph, layer: Layer, inputs: list[str]) -> str:
    if layer.op.op == "relu6":
        bounds = [graph.constant(f"{layer.name}_{n}", np.array(n, np.float32)) for n in (0, 6)]
        return graph.node("Clip", inputs + bounds, layer.name)
    kind = _ACTIVATIONS.get(layer.op.op)
    if kind is None:
        raise InputError(Fault(graph.network.name, layer.name, f"a {layer.op.op} is not written as ONNX"))
    return graph.node(kind, inputs, layer.name)


def _elementwise(graph: _Graph, layer: Layer, inputs: list[str]) -> str:
    kind = _ELEMENTWISE.get(layer.op.op)
    if kind is None or len(inputs) != 2:
        raise InputError(
            Fault(graph.network.name, layer.name, f"a {layer.op.op} of {len(inputs)} inputs is not written")
        )
    return graph.node(kind, inputs, layer.name)


def _reshape(graph: _Graph, layer: Layer, inputs: list[str]) -> str:
    shape = graph.constant(f"{layer.name}_shape", np.array([0, *layer.output_shapes[0][1:]], np.int64))
    return graph.node("Reshape", [*inputs, shape], layer.name)


def _concat(graph: _Graph, layer: Layer, inputs: list[str]) -> str:
    assert isinstance(layer.op, Concat)
    return graph.node("Concat", inputs, layer.name, axis=layer.op.axis)


def _softmax(graph: _Graph, layer: Layer, inputs: list[str]) -> str:
    assert isinstance(layer.op, Softmax)
    return graph.node("Softmax", inputs, layer.name, axis=layer.op.axis)


_MAKERS: dict[type[Op], Callable[[_Graph, Layer, list[str]], str]] = {
    Conv2d: _conv, Linear: _linear, Pool2d: _pool, GlobalPool: _global_pool, Activation: _activation,
    Elementwise: _elementwise, Reshape: _reshape, Concat: _concat, Softmax: _softmax,
}  # fmt: skip
