"""A network as ONNX: float as it is, quantized as QDQ (QuantizeLinear and DequantizeLinear around float operators).

A quantized product is written as its exact integers are meant: integer weights and an int32 bias behind
DequantizeLinear, a float operator, QuantizeLinear. Runtimes fuse that into integer kernels.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from accelsim.compression.arrays import Array
from accelsim.compression.float_run import input_reader, output_scales
from accelsim.compression.onnx_nodes import MAKERS, unflattened
from accelsim.errors import Fault, InputError
from accelsim.frontends._onnx_model import import_onnx
from accelsim.workload.network import Affine, Layer, Network, TensorRef
from accelsim.workload.ops import Linear
from accelsim.workload.precision import NumberFormat

OPSET = 21


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
            self.names[TensorRef(name)] = self.requantized(name, self.scales[name], reader.precision.input)

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
        make = MAKERS.get(type(layer.op))
        if make is None:
            raise InputError(Fault(self.network.name, layer.name, f"a {layer.op.op} layer is not written as ONNX"))
        made = make(self, layer, inputs)
        for port, name in enumerate([made] if isinstance(made, str) else made):
            if layer.precision.output.is_integer:
                name = self.requantized(name, self.scales[layer.name], layer.precision.output)
            if isinstance(layer.op, Linear):
                name = unflattened(self, layer, name)
            self.names[TensorRef(layer.name, port)] = name

    # ---- parts -----------------------------------------------------------------------------------------------

    def node(self, kind: str, inputs: list[str], name: str, **attributes: Any) -> str:
        return self.nodes_of(kind, inputs, name, 1, **attributes)[0]

    def nodes_of(self, kind: str, inputs: list[str], name: str, outputs: int, **attributes: Any) -> list[str]:
        """A node of several outputs."""
        made = [f"{name}_out" + (f".{port}" if port else "") for port in range(outputs)]
        self.nodes.append(self.onnx.helper.make_node(kind, inputs, made, name=name, **attributes))
        return made

    def constant(self, name: str, values: Array) -> str:
        self.constants[name] = self.onnx.numpy_helper.from_array(np.asarray(values, order="C"), name)
        return name

    def refuse(self, layer: Layer, message: str) -> InputError:
        return InputError(Fault(self.network.name, layer.name, message))

    def requantized(self, tensor: str, scale: Affine, to: NumberFormat) -> str:
        """QuantizeLinear and DequantizeLinear after ``tensor``; returns the float's name.

        Numbers of fewer bits than their storage has are clipped first, for QuantizeLinear saturates at the storage.
        """
        if to.bits % 8:
            ends = (np.array([to.lowest, to.highest]) - scale.zero_point) * np.float32(scale.scale)
            keys = zip(("low", "high"), ends, strict=True)
            bounds = [self.constant(f"{tensor}_{key}", np.array(end, np.float32)) for key, end in keys]
            tensor = self.node("Clip", [tensor, *bounds], f"{tensor}_clip")
        pair = [
            self.constant(f"{tensor}_scale", np.array(scale.scale, np.float32)),
            self.constant(f"{tensor}_zero", _zero(scale, to)),
        ]
        quantized = self.node("QuantizeLinear", [tensor, *pair], f"{tensor}_quantize")
        return self.node("DequantizeLinear", [quantized, *pair], f"{tensor}_dequantize")

    def operand(self, name: str, values: Array, scale: Array, zero: int | tuple[int, ...] = 0, axis: int = 0) -> str:
        """Integers behind a DequantizeLinear, one scale or one an output channel (along ``axis``)."""
        zeros = np.broadcast_to(np.array(zero, values.dtype), scale.shape).copy()
        inputs = [
            self.constant(name, values),
            self.constant(f"{name}_scale", scale),
            self.constant(f"{name}_zero", zeros),
        ]
        return self.node("DequantizeLinear", inputs, f"{name}_dequantize", axis=axis)


def _zero(scale: Affine, to: NumberFormat) -> Array:
    storage = np.dtype(to.storage)
    if storage.itemsize > 2:
        raise InputError(Fault("onnx", str(to), "has no QuantizeLinear in ONNX; up to 16 bits can be written"))
    return np.array(scale.zero_point, storage)
