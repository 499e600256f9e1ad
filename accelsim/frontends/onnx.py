"""Reads ONNX: float, QDQ and QLinear graphs -> Network.

Nodes are taken in order. What depends only on constants is folded; quantize, dequantize, cast, dropout and
identity become other names of their input and set number formats; everything else follows a rule of
`_onnx_rules`. Every layer's shape is worked out twice, by accelsim's operator and by ONNX's inference, and
the two must agree. All faults are reported at once.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable
from dataclasses import replace
from fractions import Fraction
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from accelsim.errors import Fault, InputError
from accelsim.frontends._names import NameTable
from accelsim.frontends._onnx_arrays import ArrayNames, ArrayReader, LayerArrays, Quantization
from accelsim.frontends._onnx_call import Call, Layout, Plan, Scalar, Tensor, Unknown, Value
from accelsim.frontends._onnx_model import (
    FLOAT,
    FOLDABLE,
    SMALL,
    UINT8,
    Array,
    Constant,
    Node,
    NotModelledError,
    OnnxFile,
    Scales,
    first_line,
    number_format,
    read_bytes,
)
from accelsim.frontends._onnx_rules import RULES
from accelsim.workload.network import GraphError, LayerSketch, Network, Requantize, build_network
from accelsim.workload.ops import BatchNorm, Conv2d, Linear, Matmul, Op, Reshape, Shape
from accelsim.workload.precision import NumberFormat, Precision

__all__ = ["LayerArrays", "Quantization", "initializers", "read_onnx", "read_onnx_with_notes", "tensor_sources"]

_ALIASES = {
    "Identity", "Dropout", "Cast", "CastLike", "QuantizeLinear", "DequantizeLinear", "DynamicQuantizeLinear",
}  # fmt: skip
_PRODUCTS = (Conv2d, Linear, Matmul)
_INTEGERS = frozenset({2, 3, 4, 5, 6, 7, 12, 13, 21, 22})  # of onnx.TensorProto.DataType
_INT32, _FP32, _FP64 = NumberFormat("int", 32), NumberFormat("fp", 32), NumberFormat("fp", 64)
_THROUGH = frozenset(
    ["Relu", "LeakyRelu", "PRelu", "Elu", "Sigmoid", "HardSigmoid", "Tanh", "HardSwish", "Clip", "Gelu"]
)
_UNKNOWN_OPERATOR = "is not modelled; replace it in the model, or cut it off (onnx.utils.extract_model)"


class _UnknownOperatorError(NotModelledError):
    """An operator that no rule knows."""


def read_onnx(path: Path) -> Network:
    """Read an ONNX model; raises `InputError` with every fault. Weights stay in the file (`initializers`)."""
    return read_onnx_with_notes(path)[0]


def read_onnx_with_notes(path: Path) -> tuple[Network, list[str]]:
    """As `read_onnx`, and a sentence for each thing that a user should know and that is not a fault."""
    reader = _translated(path)
    return reader.network(), [f"{path}: {note}" for note in reader.notes()]


def initializers(path: Path, layers: Collection[str] | None = None) -> dict[str, LayerArrays]:
    """Weights, biases, scales and zero points by layer name: of ``layers``, or of all that have any."""
    reader = _translated(path)
    arrays = ArrayReader(reader.file, reader.values)
    wanted = reader.names_of_arrays if layers is None else layers
    found = {name: reader.names_of_arrays.get(name, ArrayNames()) for name in wanted}
    layers = {name: arrays.layer(names) for name, names in found.items() if names != ArrayNames()}
    for name in reader.epsilons.keys() & layers.keys():
        more = {**layers[name].more, "epsilon": np.asarray(reader.epsilons[name])}
        layers[name] = replace(layers[name], more=more)
    return layers


def tensor_sources(path: Path) -> dict[str, str]:
    """For the name of each tensor that flows through the model, the layer (or input) that makes it here."""
    return {name: value.ref for name, value in _translated(path).values.items() if isinstance(value, Tensor)}


def _translated(path: Path) -> _Reader:
    data = read_bytes(path)
    reader = _Reader(OnnxFile(path, data), path.stem, hashlib.sha256(data).hexdigest())
    reader.translate()
    return reader


class _Reader:
    """One model being translated."""

    def __init__(self, file: OnnxFile, name: str, sha256: str) -> None:
        self.file = file
        self.name, self.sha256 = name, sha256
        self.names = NameTable()
        self.batch = 1
        self.values: dict[str, Value] = {}
        self.inputs: dict[str, Shape] = {}
        self.sketches: list[LayerSketch] = []
        self.positions: dict[str, int] = {}
        self.names_of_arrays: dict[str, ArrayNames] = {}
        self.faults: list[Fault] = []
        self.epsilons: dict[str, float] = {}  # of batch normalizations
        self.absorbed = 0
        self.dynamic = 0
        self.trained_inputs: list[str] = []

    # --- from the file to sketches ---

    def translate(self) -> None:
        """Turn every live node into layers; raises `InputError` with all faults."""
        for name, tensor in self.file.tensors.items():
            self.values[name] = self.file.constant(tensor, name)
        for name, shape in self.file.sparse.items():
            self.values[name] = Constant(name, shape, FLOAT)
        self._graph_inputs()
        if self.faults:
            raise InputError(self.faults)
        for proto in self.file.nodes:
            self._node(proto)
        if self.faults:
            raise InputError(self.faults)
        if not self.sketches:
            raise self.file.fail("has no layer: its outputs do not depend on its inputs, or are its inputs")

    def network(self) -> Network:
        """The layers, connected."""
        try:
            return build_network(self.name, self.batch, self.inputs, tuple(self.sketches), self.sha256)
        except GraphError as error:
            raise InputError(
                Fault(self.file.source, f'layer "{self.sketches[index].name}"', message)
                for index, _, message in error.faults
            ) from None

    def _fault(self, key: str, message: str) -> None:
        self.faults.append(Fault(self.file.source, key, message))

    def _graph_inputs(self) -> None:
        """Shapes of the inputs read; axis 0 of the first is the batch, 1 where that is a name."""
        used = [i for i in self.file.graph.input if i.name not in self.values and self.file.uses[i.name]]
        axes = self._sequence_inputs()
        symbol = next((_symbol(i, axes.get(i.name, 0)) for i in used), "")
        found = [
            (i, shape)
            for i in used
            if (shape := self._input_shape(i, axes.get(i.name, 0), symbol)) is not None
        ]
        if found and not self._multiplies_inputs({i.name for i in used}):
            first, shape = found[0]
            self.batch = shape[axes.get(first.name, 0)]
        for entry, shape in found:
            try:
                self._graph_input(entry, shape, axes.get(entry.name, 0))
            except NotModelledError as error:
                self._fault(f'input "{entry.name}"', f"is not modelled: {error}")

    def _sequence_inputs(self) -> dict[str, int]:
        """Inputs read by an LSTM or GRU in ONNX's own layout, steps first: their batch is axis 1."""
        nodes = (n for n in self.file.nodes if n.op_type in ("LSTM", "GRU") and n.input)
        return {n.input[0]: 1 for n in nodes if not any(a.name == "layout" and a.i for a in n.attribute)}

    def _multiplies_inputs(self, names: set[str]) -> bool:
        """Whether a product's operands are both inputs of the graph: no axis of theirs is the batch then."""
        products = (n for n in self.file.nodes if n.op_type in ("MatMul", "Gemm", "MatMulInteger"))
        return any(
            names.issuperset(n.input[:2]) and all(self._rank(name) == 2 for name in n.input[:2])
            for n in products
        )

    def _rank(self, name: str) -> int:
        return next((len(i.type.tensor_type.shape.dim) for i in self.file.graph.input if i.name == name), 0)

    def _input_shape(self, entry: Any, axis: int, symbol: str) -> Shape | None:
        """The input's shape with a symbolic batch as 1; a fault and None where another size is open."""
        key = f'input "{entry.name}"'
        if not entry.type.HasField("tensor_type") or not entry.type.tensor_type.HasField("shape"):
            self._fault(key, "has no shape (or is no tensor); give it one in the model")
            return None
        sizes, open_sizes = [], []
        for index, dim in enumerate(entry.type.tensor_type.shape.dim):
            is_batch = index == axis or (dim.dim_param and dim.dim_param == symbol)
            size = 1 if is_batch and dim.dim_value < 1 else int(dim.dim_value)  # some exporters write 0 or -1
            sizes.append(size)
            if size < 1:
                open_sizes.append(dim.dim_param or f"axis {index}")
        if len(sizes) <= axis:
            self._fault(key, f"has the shape {sizes}, which has no batch")
            return None
        if open_sizes:
            self._fault(key, f"has no number for {', '.join(open_sizes)}; set it in the model "
                        "(python -m onnxruntime.tools.make_dynamic_shape_fixed)")  # fmt: skip
            return None
        return tuple(sizes)

    def _graph_input(self, entry: Any, shape: Shape, axis: int) -> None:
        elem = int(entry.type.tensor_type.elem_type)
        layout = next((x for x in (Layout(axis), Layout(0, merged=True)) if x.fits(shape, self.batch)), None)
        if layout is None:
            raise NotModelledError(f"its shape {list(shape)} does not begin with the batch, {self.batch}")
        name = self.names.unique(entry.name, "input")
        self.inputs[name] = layout.network_shape(shape, self.batch)[1:]
        self.values[entry.name] = Tensor(name, entry.name, shape, layout, elem, number_format(elem))

    def _node(self, proto: Any) -> None:
        """Take one node in; what is wrong with it goes to the faults, and its outputs become unknown."""
        node = self.file.node(proto, next((t for t in (proto.name, *proto.output) if t), proto.op_type))
        if any(name and name not in self.values for name in node.inputs):
            missing = next(name for name in node.inputs if name and name not in self.values)
            self._give_up(node, f'reads "{missing}", which nothing before it makes')
            return
        inputs = tuple(self.values[name] if name else None for name in node.inputs)
        if any(isinstance(value, Unknown) for value in inputs):
            self._after_fault(node, inputs)
            return
        try:
            self._known_node(node, inputs)
        except _UnknownOperatorError:
            self._give_up(node, _UNKNOWN_OPERATOR, inputs)
        except NotModelledError as error:
            self._give_up(node, f"is not modelled: {error}", inputs)
        except (
            ValueError
        ) as error:  # pydantic's for a field out of range, an operator's for shapes that do not fit
            self._give_up(node, _plain(error), inputs)

    def _give_up(self, node: Node, message: str, inputs: Iterable[Value | None] = ()) -> None:
        self._fault(node.label, message)
        self._unknown(node, constant=all(isinstance(value, Constant | None) for value in inputs))

    def _unknown(self, node: Node, constant: bool) -> None:
        self.values.update({name: Unknown(constant) for name in node.outputs if name})

    def _after_fault(self, node: Node, inputs: tuple[Value | None, ...]) -> None:
        """A node behind a fault is not looked into, but its operator must be a known one all the same."""
        constant = node.op in ("Shape", "Size") or all(_is_constant(value) for value in inputs)
        if not constant and not self._is_known(node):
            self._fault(node.label, _UNKNOWN_OPERATOR)
        self._unknown(node, constant)

    def _is_known(self, node: Node) -> bool:
        plain = node.domain in ("", "ai.onnx") or node.is_quantized
        return (plain and (node.op in RULES or node.op in _ALIASES)) or (
            node.domain == "com.microsoft" and node.op == "Gelu"
        )

    def _known_node(self, node: Node, inputs: tuple[Value | None, ...]) -> None:
        self.file.check_inputs(node)
        if node.op == "Constant" and not node.domain.startswith("com."):
            self._bind_constant(node.outputs[0], self.file.constant_value(node))
        elif node.op in ("Shape", "Size") and node.inputs:
            self._shape_of(node, inputs)
        elif inputs and all(isinstance(value, Constant | None) for value in inputs):
            self._fold(node, inputs)
        elif not self._is_known(node):
            raise _UnknownOperatorError
        elif node.op in _ALIASES:
            self._alias(node, inputs)
        elif not any(isinstance(value, Tensor) for value in inputs):
            self.values.update({name: Scalar(FLOAT) for name in node.outputs if name})
        elif not self._absorb(node, inputs):
            self._layers(node, inputs)

    # --- constants ---

    def _bind_constant(self, name: str, value: Array) -> None:
        elem = int(self.file.onnx.helper.np_dtype_to_tensor_dtype(value.dtype))
        self.values[name] = Constant(name, value.shape, elem, value if value.size <= SMALL else None)

    def _shape_of(self, node: Node, inputs: tuple[Value | None, ...]) -> None:
        value = inputs[0]
        shape = value.shape if isinstance(value, Tensor | Constant) else ()
        part = shape[node.integer("start", 0) : node.integer("end", len(shape))]
        result = prod(shape) if node.op == "Size" else part
        self._bind_constant(node.outputs[0], np.asarray(result, dtype=np.int64))

    def _fold(self, node: Node, inputs: tuple[Value | None, ...]) -> None:
        """Outputs of a node that reads only constants: their values where small, else their shapes."""
        constants = [value for value in inputs if isinstance(value, Constant)]
        if node.op in ("QuantizeLinear", "DequantizeLinear") and self._is_known(node):
            self._fold_quantization(node, constants)
            return
        if not node.is_quantized and (node.domain not in ("", "ai.onnx") or not self.file.knows(node.op)):
            raise _UnknownOperatorError
        shapes = self._inferred(node, inputs)
        small = all(shape is None or prod(shape[1]) <= SMALL for shape in shapes)
        if (
            small
            and node.op in FOLDABLE
            and not node.is_quantized
            and all(constant.value is not None for constant in constants)
        ):
            arrays = self.file.fold(
                node, [value.value if isinstance(value, Constant) else None for value in inputs]
            )
            for name, array in zip([n for n in node.outputs if n], arrays, strict=False):
                self._bind_constant(name, array)
            return
        for name, found in zip(node.outputs, shapes, strict=True):
            if found is None:
                raise NotModelledError(
                    "the shape of its constant output cannot be told without large or missing values"
                )
            number = (
                constants[0].number
                if node.op in ("Transpose", "Reshape", "Identity", "Unsqueeze", "Squeeze")
                else None
            )
            self.values[name] = Constant(name, found[1], found[0], number=number)

    def _fold_quantization(self, node: Node, constants: list[Constant]) -> None:
        """Quantized weights stay what they are stored as; their scale and zero point are noted."""
        source, scales = constants[0], _qdq_scales(node)
        if node.op == "QuantizeLinear":
            elem = self._zero_point_elem(node)
            result = Constant(node.outputs[0], source.shape, elem, scales=scales, number=number_format(elem))
        else:
            number = source.number or number_format(source.elem)
            elem = constants[1].elem if len(constants) > 1 else FLOAT
            result = replace(source, elem=elem, value=None, scales=scales, number=number)
        self.values[node.outputs[0]] = result

    def _zero_point_elem(self, node: Node) -> int:
        """Element type that a QuantizeLinear makes: its zero point's, or its attribute's, or uint8."""
        zero_point = self.values.get(node.inputs[2]) if len(node.inputs) > 2 else None
        if isinstance(zero_point, Constant):
            return zero_point.elem
        return node.integer("output_dtype", 0) or UINT8

    # --- other names ---

    def _alias(self, node: Node, inputs: tuple[Value | None, ...]) -> None:
        value = inputs[0]
        if isinstance(value, Scalar) and node.op in ("Cast", "CastLike", "Identity"):
            self.values[node.outputs[0]] = value
            return
        if not isinstance(value, Tensor):
            raise NotModelledError("its first input is a constant")
        if node.op == "Dropout" and any(name and self.file.uses[name] for name in node.outputs[1:]):
            raise NotModelledError("its second output (the mask) is used")
        self.values[node.outputs[0]] = self._renamed(node, value)
        for name in node.outputs[1:]:
            self.values[name] = Scalar(FLOAT)

    def _renamed(self, node: Node, value: Tensor) -> Tensor:
        """``value`` in the format that the node gives it."""
        if node.op == "DynamicQuantizeLinear":
            self.dynamic += 1
            return replace(value, elem=UINT8, number=number_format(UINT8))
        if node.op == "QuantizeLinear":
            elem = self._zero_point_elem(node)
            renamed = replace(value, elem=elem, number=number_format(elem), scales=_qdq_scales(node))
            return renamed if self._holds(value, renamed) else self._requantized(node, value, renamed)
        if node.op == "DequantizeLinear":
            scale = self.values.get(node.inputs[1])
            return replace(
                value, elem=scale.elem if isinstance(scale, Constant) else FLOAT, scales=_qdq_scales(node)
            )
        if node.op == "Cast":
            elem = node.integer("to", value.elem)
            return replace(value, elem=elem, number=number_format(elem))
        return value

    def _holds(self, value: Tensor, wanted: Tensor) -> bool:
        """Whether what makes ``value`` stores it as ``wanted`` has it: in that format, of those scales."""
        position = self.positions.get(value.ref.rpartition(".")[0] if value.ref not in self.positions else value.ref)
        if position is None:  # an input of the graph, stored as its readers want it, if they all want the same
            readers = self.file.readers.get(value.origin, [])
            readers = [reader for reader in readers if reader.op_type not in ("Shape", "Size")]
            forms = {(r.op_type, *(_qdq_scales(self.file.node(r, ""))[:2])) for r in readers}
            return value.scales is None and len(forms) == 1
        sketch = self.sketches[position]
        output = self.names_of_arrays.get(sketch.name, ArrayNames()).output
        if output is None:  # it moves numbers that are stored already, or makes floats
            output = value.scales
        return sketch.precision.output == wanted.number and self._same_scales(output, wanted.scales)

    def _same_scales(self, first: Scales | None, second: Scales | None) -> bool:
        """Whether two pairs of constants are the same numbers."""
        if first is None or second is None:
            return False
        pairs = ((first.scale, second.scale), (first.zero_point, second.zero_point))
        return all(a == b or self._equal(a, b) for a, b in pairs)

    def _equal(self, first: str, second: str) -> bool:
        a, b = (self._small(name) for name in (first, second))
        return a is not None and b is not None and bool(np.array_equal(a, b))

    def _small(self, name: str) -> Array | None:
        """The values of a constant in a row, 0 where there is none of that name."""
        value = self.values.get(name)
        if value is None:
            return np.zeros(1)
        return value.value.ravel() if isinstance(value, Constant) and value.value is not None else None

    def _requantized(self, node: Node, value: Tensor, wanted: Tensor) -> Tensor:
        """A layer of its own where a tensor is wanted in two forms, or is quantized again by other scales."""
        shape = value.layout.network_shape(value.shape, self.batch)
        name = self.names.unique(node.name, node.kind)
        self.positions[name] = len(self.sketches)
        sums = _INT32 if value.number.is_integer else _FP32
        precision = Precision(weight=_signed(value.number), input=value.number, accumulator=sums, output=wanted.number)
        self.sketches.append(LayerSketch(name, Reshape(op="reshape", to=shape[1:]), (value.ref,), precision))
        self.names_of_arrays[name] = ArrayNames(inputs=(value.scales,), output=wanted.scales)
        return replace(wanted, ref=name, origin=node.outputs[0])

    # --- layers ---

    def _inferred(self, node: Node, inputs: tuple[Value | None, ...]) -> list[tuple[int, Shape] | None]:
        """ONNX's own shapes of the outputs."""
        types: dict[str, tuple[int, Shape]] = {}
        data = []
        for name, value in zip(node.inputs, inputs, strict=True):
            if isinstance(value, Tensor | Constant | Scalar):
                types[name] = (FLOAT if node.is_quantized else value.elem, value.shape)
            if isinstance(value, Constant) and value.value is not None and value.value.ndim <= 1:
                data.append(replace(value, name=name))
        return self.file.infer(node, types, data)

    def _layers(self, node: Node, inputs: tuple[Value | None, ...]) -> None:
        """Append the node's layers and bind its outputs."""
        if node.op == "Concat":
            inputs = self._with_trained_inputs(node, inputs)
        types = self._inferred(node, inputs)
        used = tuple(bool(name) and self.file.uses[name] > 0 for name in node.outputs)
        shapes = tuple(found[1] if found else None for found in types)
        call = Call(node, inputs, shapes, used, self.file.opset, self.batch, self._zero_of(inputs[0]))
        plan = RULES[node.op](call)
        reads = plan.reads if plan.reads is not None else call.tensors
        elems = [self._out_elem(node, found, reads) for found in types]
        base = self.names.unique(node.name, node.kind) if plan.ops else ""
        sources, outputs = (
            [t.ref for t in reads],
            [t.layout.network_shape(t.shape, self.batch) for t in reads],
        )
        for index, op in enumerate(plan.ops):
            name = base if index == plan.main else self.names.unique(f"{base}_{op.op}", op.op)
            outputs = list(self._append(name, op, sources, outputs, call, plan, elems[0], index == plan.main))
            sources = [name]
        self._bind(call, plan, sources, outputs, elems, base)

    def _zero_of(self, value: Value | None) -> int:
        """The integer that stands for zero in ``value``: 0 for floats and where nothing says otherwise."""
        if not isinstance(value, Tensor) or value.scales is None or not number_format(value.elem).is_integer:
            return 0
        return int(self._single(value.scales.zero_point) or 0)

    def _out_elem(self, node: Node, found: tuple[int, Shape] | None, reads: tuple[Tensor, ...]) -> int:
        if node.out_scales is not None:
            zero_point = self.values.get(node.out_scales.zero_point)
            return zero_point.elem if isinstance(zero_point, Constant) else UINT8
        return node.out_elem or (found[0] if found else reads[0].elem)

    def _append(
        self, name: str, op: Op, sources: list[str], shapes: list[Shape], call: Call, plan: Plan, elem: int,
        is_main: bool,
    ) -> tuple[Shape, ...]:  # fmt: skip
        """Add one layer; returns accelsim's shapes of its outputs, or raises ValueError."""
        fewest, most = op.inputs_expected
        if not fewest <= len(shapes) <= most:
            raise NotModelledError(f"{op.op} takes {fewest} to {most} tensors, it has {len(shapes)}")
        result = op.output_shapes(tuple(shapes))
        if any(prod(shape) < 1 for shape in result):
            raise NotModelledError(f"its output {list(result[0])} is empty")
        reads = plan.reads if plan.reads is not None else call.tensors
        self.positions[name] = len(self.sketches)
        precision = self._precision(op, call.node, reads, plan.weight, elem)
        requantize = self._requantize(call) if is_main else Requantize()
        self.sketches.append(LayerSketch(name, op, tuple(sources), precision, requantize=requantize))
        if is_main:
            _check_weights(op, tuple(shapes), plan.weight)
            if isinstance(op, BatchNorm):
                epsilon = call.node.attributes.get("epsilon")
                self.epsilons[name] = epsilon if isinstance(epsilon, float) else 1e-5
            scales = _read_scales(call) if call.node.is_quantized else tuple(tensor.scales for tensor in reads)
            self.names_of_arrays[name] = ArrayNames(
                self._weight_with_scales(call.node, plan.weight), plan.transposed, plan.bias,
                scales if any(scales) else (), call.node.out_scales or self._sink(call.node.outputs[0])[1],
                plan.more, *_operand(call, plan.operand), _is_on_integers(call), call.node.is_quantized,
            )  # fmt: skip
        return result

    def _weight_with_scales(self, node: Node, weight: Constant | None) -> Constant | None:
        if weight is None or not node.is_quantized or len(node.scales) < 2:
            return weight
        return replace(weight, scales=node.scales[1])

    def _bind(
        self, call: Call, plan: Plan, sources: list[str], outputs: list[Shape], elems: list[int], base: str
    ) -> None:
        """Name what the layers make; accelsim's shapes must be ONNX's."""
        first = (plan.reads or call.tensors)[0]
        for index, name in enumerate(call.node.outputs):
            if not call.used[index]:
                continue
            ref = sources[0] if index >= len(outputs) or not index else f"{sources[0]}.{index}"
            shape = outputs[index] if index < len(outputs) else outputs[0]
            for op in plan.tails.get(index, ()):
                tail = self.names.unique(f"{base}_{op.op}", op.op)
                shape = self._append(tail, op, [ref], [shape], call, plan, elems[index], is_main=False)[0]
                ref = tail
            hint = plan.layouts[index] if plan.layouts and index < len(plan.layouts) else first.layout
            onnx_shape, layout = self._agree(call.shapes[index], shape, hint)
            number = self._sink(name)[0] if plan.ops else None
            kept = (
                first.number if not plan.ops and elems[index] == first.elem else number_format(elems[index])
            )
            moved = elems[index] == first.elem and first.elem in _INTEGERS
            scales = first.scales if moved or not plan.ops else None
            origin = name if plan.ops else first.origin
            self.values[name] = Tensor(
                ref, origin, onnx_shape, layout, elems[index], number or kept, call.node.out_scales or scales
            )

    def _agree(self, onnx_shape: Shape | None, shape: Shape, hint: Layout) -> tuple[Shape, Layout]:
        """Where the batch is in ``onnx_shape`` such that it is accelsim's ``shape``; ``hint`` first."""
        if onnx_shape is None:
            rest = list(shape[1:])
            rest[hint.batch_axis : hint.batch_axis] = [shape[0]]
            return tuple(rest), Layout(hint.batch_axis)
        for layout in (hint, *(Layout(axis) for axis in range(len(onnx_shape))), Layout(0, merged=True)):
            if layout.fits(onnx_shape, self.batch) and layout.network_shape(onnx_shape, self.batch) == shape:
                return onnx_shape, layout
        raise NotModelledError(
            f"its output would be {list(shape)} here, and is {list(onnx_shape)} in ONNX (batch {self.batch})"
        )

    def _with_trained_inputs(self, node: Node, inputs: tuple[Value | None, ...]) -> tuple[Value | None, ...]:
        """A constant among what is joined (a class token) enters as an input of the graph."""
        layout = next(value.layout for value in inputs if isinstance(value, Tensor))
        result: list[Value | None] = []
        for onnx_name, value in zip(node.inputs, inputs, strict=True):
            if isinstance(value, Constant):
                if not layout.fits(value.shape, self.batch):
                    raise NotModelledError(
                        f'it joins the constant "{value.name}" of shape {list(value.shape)} across the batch'
                    )
                name = self.names.unique(onnx_name, "constant")
                self.inputs[name] = layout.network_shape(value.shape, self.batch)[1:]
                self.trained_inputs.append(name)
                number = value.number or number_format(value.elem)
                value = Tensor(name, onnx_name, value.shape, layout, value.elem, number, value.scales)
            result.append(value)
        return tuple(result)

    def _absorb(self, node: Node, inputs: tuple[Value | None, ...]) -> bool:
        """Add per-channel constants to the layer before: a bias, or a normalization's scale and shift."""
        tensors = [(n, v) for n, v in zip(node.inputs, inputs, strict=True) if isinstance(v, Tensor)]
        constants = [v for v in inputs if isinstance(v, Constant)]
        if node.op not in ("Add", "Mul") or node.is_quantized or len(tensors) != 1 or len(constants) != 1:
            return False
        (name, x), constant = tensors[0], constants[0]
        position = self.positions.get(x.ref)
        if position is None or self.file.uses[name] != 1 or x.origin != name:
            return False
        sketch = self.sketches[position]
        arrays = self.names_of_arrays.get(sketch.name, ArrayNames())
        absorbed = _absorbed(sketch.op, arrays, node.op, x, constant)
        if absorbed is None:
            return False
        op, arrays = absorbed
        number, scales = self._sink(node.outputs[0])
        precision = sketch.precision.model_copy(update={"output": number or sketch.precision.output})
        self.sketches[position] = replace(sketch, op=op, precision=precision)
        self.names_of_arrays[sketch.name] = replace(arrays, output=scales or arrays.output)
        self.values[node.outputs[0]] = replace(x, origin=node.outputs[0], number=number or x.number)
        self.absorbed += isinstance(op, BatchNorm)
        return True

    # --- formats ---

    def _precision(
        self, op: Op, node: Node, reads: tuple[Tensor, ...], weight: Constant | None, elem: int
    ) -> Precision:
        """Formats of a layer from its tensors' types; sums of integers are int32, of floats fp32 or fp64."""
        source = reads[0].number
        second = reads[1].number if isinstance(op, Matmul) and len(reads) > 1 else _signed(source)
        weights = (weight.number or number_format(weight.elem)) if weight is not None else second
        output = self._sink(node.outputs[0])[0] or number_format(elem)
        integers = source.is_integer and weights.is_integer
        return Precision(
            weight=weights, input=source, output=output,
            accumulator=_INT32 if integers else _FP64 if _FP64 in (source, weights) else _FP32,
        )  # fmt: skip

    def _sink(self, name: str) -> tuple[NumberFormat | None, Scales | None]:
        """What a float tensor is quantized to before anyone reads it, activations in between left aside."""
        for _ in range(8):
            readers = self.file.readers.get(name, [])
            if name in self.file.outputs or not readers:
                break
            if all(r.op_type == "QuantizeLinear" for r in readers):
                pairs = [_qdq_scales(self.file.node(reader, "")) for reader in readers]
                if not all(self._same_scales(pairs[0], pair) for pair in pairs):
                    break
                node = self.file.node(readers[0], "")
                zero_point = self.file.elem_of(node.inputs[2]) if len(node.inputs) > 2 else None
                elem = zero_point or node.integer("output_dtype", 0) or UINT8
                return number_format(elem), _qdq_scales(node)
            if len(readers) != 1 or readers[0].op_type not in _THROUGH:
                break
            name = readers[0].output[0]
        return None, None

    def _requantize(self, call: Call) -> Requantize:
        """The output rule of a QLinear product where `Requantize` can say it exactly: a whole multiplier.

        Otherwise ONNX rounds half to even and `Requantize` half away from zero, or zero points are left over;
        the rule by size stands then, and the scales are in `initializers`.
        """
        node = call.node
        if node.kind not in ("QLinearConv", "QLinearMatMul") or node.out_scales is None:
            return Requantize()
        pairs = [scales for scales in (*node.scales, node.out_scales) if scales is not None]
        scale, zero = (
            [self._single(getattr(pair, key)) for pair in pairs] for key in ("scale", "zero_point")
        )
        if None in scale or any(z is None or z for z in zero[:2]) or zero[2] is None or not scale[2]:
            return Requantize()
        factor = Fraction(scale[0] or 0) * Fraction(scale[1] or 0) / Fraction(scale[2])
        exact = factor.denominator == 1 and 0 < factor < 2**31
        return Requantize(int(factor), 0, int(zero[2])) if exact else Requantize()

    def _single(self, name: str) -> float | None:
        """The value of a constant that is one finite number."""
        value = self.values.get(name)
        if not isinstance(value, Constant) or value.value is None or value.value.size != 1:
            return None
        number = float(value.value.reshape(-1)[0])
        return number if np.isfinite(number) else None

    def _is_rough(self, sketch: LayerSketch) -> bool:
        """Whether a product of integers has an output scale that its `requantize` does not hold."""
        scaled = self.names_of_arrays.get(sketch.name, ArrayNames()).output is not None
        return scaled and isinstance(sketch.op, _PRODUCTS) and sketch.requantize == Requantize()

    def notes(self) -> list[str]:
        """What a user should know of this model."""
        notes = []
        if self.absorbed:
            notes.append(
                f"{self.absorbed} products and sums are part of the batch normalizations before them"
            )
        if self.dynamic:
            notes.append(
                f"{self.dynamic} tensors are quantized dynamically; finding their range is not counted"
            )
        if self.trained_inputs:
            notes.append(f"constants joined to tensors enter as inputs: {', '.join(self.trained_inputs)}")
        rough = sum(self._is_rough(sketch) for sketch in self.sketches)
        if rough:
            notes.append(
                f"{rough} layers scale their output by no whole number; requantize is the rule by size there"
            )
        return notes


def _signed(number: NumberFormat) -> NumberFormat:
    """What stands for the weights of a layer that has none: as its neighbours', most often."""
    return NumberFormat("int", number.bits) if number.is_integer else number


def _qdq_scales(node: Node) -> Scales:
    names = (*node.inputs, "", "")
    return Scales(names[1], names[2], node.integer("axis", 1))


def _read_scales(call: Call) -> tuple[Scales | None, ...]:
    """Scales of the tensors that a QLinear operator reads, without those of its constants."""
    pairs = zip(call.inputs, call.node.scales, strict=False)
    return tuple(scales for value, scales in pairs if isinstance(value, Tensor))


def _is_on_integers(call: Call) -> bool:
    """Whether a plain operator computes on stored integers themselves (a Clip of a uint8 tensor)."""
    return not call.node.is_quantized and call.tensors[0].elem in _INTEGERS


def _operand(call: Call, operand: Constant | None) -> tuple[Constant | None, Shape]:
    """A constant operand with its scales, and its shape; none where that does not fit the layer's output."""
    shape = None if operand is None else _operand_shape(operand, call)
    if operand is None or shape is None:
        return None, ()
    if not call.node.is_quantized:
        return operand, shape
    place = next(i for i, value in enumerate(call.inputs) if value is operand)
    return replace(operand, scales=call.node.scales[place] if place < len(call.node.scales) else None), shape


def _operand_shape(operand: Constant, call: Call) -> Shape | None:
    """The shape of a constant operand with accelsim's axes, those of the layer's output; None where it has no such."""
    x = max(call.tensors, key=lambda tensor: len(tensor.shape))
    padded = (1,) * (len(x.shape) - len(operand.shape)) + operand.shape
    if len(padded) > len(x.shape):
        return None
    batch = padded[x.layout.batch_axis]
    if batch != 1 and (x.layout.batch_axis or x.layout.merged):
        return None
    return x.layout.network_shape(padded, batch)


def _check_weights(op: Op, shapes: tuple[Shape, ...], weight: Constant | None) -> None:
    """Refuse weights of another size than the operator has for its inputs (ONNX lets some pass)."""
    expected = op.weight_shape(shapes) if isinstance(op, _PRODUCTS) else None
    if expected is not None and weight is not None and prod(expected) != prod(weight.shape):
        raise ValueError(
            f"its weights have the shape {list(weight.shape)}, its input asks for {list(expected)}"
        )


def _absorbed(
    op: Op, arrays: ArrayNames, kind: str, x: Tensor, constant: Constant
) -> tuple[Op, ArrayNames] | None:
    """The operator and its arrays with a per-channel constant taken in; None where it cannot be."""
    axis = len(x.shape) - 1 if isinstance(op, Linear) else 1
    if not _is_per_channel(constant.shape, x.shape, axis):
        return None
    if isinstance(op, BatchNorm):
        key = "scale_2" if kind == "Mul" else "shift_2"
        taken = "shift_2" in arrays.more or key in arrays.more
        return None if taken else (op, replace(arrays, more={**arrays.more, key: constant}))
    if kind == "Add" and isinstance(op, Conv2d | Linear) and not op.bias:
        return op.model_copy(update={"bias": True}), replace(arrays, bias=constant)
    return None


def _is_per_channel(shape: Shape, over: Shape, axis: int) -> bool:
    """Whether a constant of ``shape``, broadcast over a tensor of shape ``over``, has one value a channel."""
    if len(shape) > len(over):
        return False
    padded = (1,) * (len(over) - len(shape)) + shape
    return axis < len(over) and padded[axis] == over[axis] and prod(padded) == over[axis]


def _is_constant(value: Value | None) -> bool:
    return value is None or isinstance(value, Constant) or (isinstance(value, Unknown) and value.constant)


def _symbol(entry: Any, axis: int) -> str:
    dims = entry.type.tensor_type.shape.dim
    return str(dims[axis].dim_param) if len(dims) > axis else ""


def _plain(error: ValueError) -> str:
    """An error's own words; of pydantic's, the first field and what is wrong with it."""
    details = getattr(error, "errors", None)
    if callable(details):
        first = details()[0]
        where = ".".join(str(part) for part in first["loc"])
        found = re.sub("^Input should", "must", first["msg"])
        return f"does not fit: {where} is {first['input']!r:.60}, {found}"
    return f"does not fit: {first_line(error, 400)}"
