"""One ONNX model being translated: its nodes in order, each by its rule, into sketches of layers."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from math import prod
from typing import Any

import numpy as np

from accelsim.errors import Fault, InputError
from accelsim.frontends._names import NameTable
from accelsim.frontends._onnx_absorb import absorbed
from accelsim.frontends._onnx_arrays import ArrayNames, ArrayReader
from accelsim.frontends._onnx_branches import captures, subgraphs
from accelsim.frontends._onnx_call import Call, Layout, Plan, Scalar, Sequenced, Tensor, Unknown, Value, inferred
from accelsim.frontends._onnx_expand import SEQUENCES, Expander, expansion, sequence_of
from accelsim.frontends._onnx_inputs import graph_inputs
from accelsim.frontends._onnx_layers import FP32, INT32, agree, arrays_of, broadcast_by_axis, precision_of, signed
from accelsim.frontends._onnx_model import (
    FLOAT,
    FOLDABLE,
    INTEGERS,
    SMALL,
    UINT8,
    Array,
    Constant,
    Node,
    NotModelledError,
    OnnxFile,
    first_line,
    number_format,
)
from accelsim.frontends._onnx_rules import ALIASES, RULES, refused, unknown_attributes
from accelsim.frontends._onnx_scales import ScaleTable, qdq_scales
from accelsim.workload.network import GraphError, LayerSketch, Network, Requantize, build_network
from accelsim.workload.ops import (
    Activation,
    Conv2d,
    Linear,
    Matmul,
    Op,
    Reshape,
    Shape,
    Slice,
    Transpose,
)
from accelsim.workload.precision import Precision

_PRODUCTS = (Conv2d, Linear, Matmul)
_MOVES = (Reshape, Slice, Transpose)
_LAYOUTS = (Layout(0), Layout(1), Layout(0, merged=True))  # where a batch of one may be looked for
# Where a constant may be the wider operand: it is an input then.
_WIDENED = (
    "Add", "Sub", "Mul", "Div", "Pow", "Mod", "Max", "Min", "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual", "And",
    "Or", "Xor",
)  # fmt: skip
_JOINED = ("Concat", "Where", "GatherElements", "ScatterElements", "Scatter")  # of tensors, constants among them
_UNKNOWN_OPERATOR = "is not modelled; replace it in the model, or cut it off (onnx.utils.extract_model)"

MOST_PLACES = 1 << 20  # that one node takes


class _UnknownOperatorError(NotModelledError):
    """An operator that no rule knows."""


class Reader:
    """The layers that have been made so far, and what every name of the file stands for."""

    def __init__(self, file: OnnxFile, name: str, sha256: str) -> None:
        self.file = file
        self.name, self.sha256 = name, sha256
        self.names = NameTable()
        self.batch = 1
        self.values: dict[str, Value] = {}
        self.scales = ScaleTable(file, self.values)
        self.inputs: dict[str, Shape] = {}
        self.sketches: list[LayerSketch] = []
        self.positions: dict[str, int] = {}
        self.names_of_arrays: dict[str, ArrayNames] = {}
        self.faults: list[Fault] = []
        self.expander = Expander(file, self.values)
        self.walk: list[Any] = []  # nodes still to be read, the next one last
        self.absorbed = 0
        self.dynamic = 0
        self.joined: list[str] = []  # inputs that are constants of the model
        self.trained: list[str] = []  # weights that are inputs of the graph
        self.ignored: set[str] = set()  # attributes that ONNX does not know

    def translate(self) -> None:
        """Turn every live node into layers; raises `InputError` with all faults, unless nodes were written out as others."""
        for name, tensor in self.file.tensors.items():
            self.values[name] = self.file.constant(tensor, name)
        for name, shape in self.file.sparse.items():
            self.values[name] = Constant(name, shape, FLOAT)
        self._graph_inputs()
        self.expander.batch = self.batch
        self.walk, walked = self.file.nodes[::-1], []
        while self.walk:
            walked.append(self.walk.pop())
            if self._node(walked[-1]):
                walked.pop()
        if self.expander.made:
            self.file.write_out(walked)
            return
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
        found = graph_inputs(self.file, self.values)
        self.batch, self.faults = found.batch, [*self.faults, *found.faults]
        for constant in found.trained:
            self.values[constant.name] = constant
            self.trained.append(constant.name)
        for name in found.open:
            self.values[name] = Unknown(constant=False)
        for entry, shape, axis in found.tensors:
            try:
                self._graph_input(entry, shape, axis)
            except NotModelledError as error:
                self._fault(f'input "{entry.name}"', f"is not modelled: {error}")
                self.values[entry.name] = Unknown(constant=False)

    def _graph_input(self, entry: Any, shape: Shape, axis: int) -> None:
        elem = int(entry.type.tensor_type.elem_type)
        if not shape and (elem in INTEGERS or self.batch != 1):
            self.values[entry.name] = Scalar(elem)
            return
        layouts = (Layout(axis), *(Layout(other) for other in range(len(shape))), Layout(0, merged=True))
        layout = next((x for x in layouts if x.fits(shape, self.batch)), None)
        if layout is None:
            raise NotModelledError(f"no axis of its shape {list(shape)} is the batch, {self.batch}")
        name = self.names.unique(entry.name, "input")
        self.inputs[name] = layout.network_shape(shape, self.batch)[1:]
        self.values[entry.name] = Tensor(name, entry.name, shape, layout, elem, number_format(elem))

    # --- nodes ---

    def _node(self, proto: Any) -> bool:
        """Take one node in; what is wrong with it goes to the faults, and its outputs become unknown.

        True where others are to be read in its place.
        """
        node = self.file.node(proto, next((t for t in (proto.name, *proto.output) if t), proto.op_type))
        missing = next((name for name in node.inputs if name and name not in self.values), None)
        if missing is not None:
            self._give_up(node, f'reads "{missing}", which nothing before it makes')
            return False
        inputs = tuple(self.values[name] if name else None for name in node.inputs)
        if any(isinstance(value, Unknown) for value in inputs):
            self._after_fault(node, inputs)
            return False
        inputs = self._with_places(node, inputs)
        try:
            if self._expanded(proto, node, inputs):
                return True
            self._known_node(proto, node, inputs)
        except _UnknownOperatorError:
            self._give_up(node, _UNKNOWN_OPERATOR, inputs)
        except NotModelledError as error:
            self._give_up(node, f"is not modelled: {error}", inputs)
        except OverflowError:
            self._give_up(node, "has a number of more than 64 bits", inputs)
        except ValueError as error:  # pydantic's for a field out of range, an operator's for shapes that do not fit
            self._give_up(node, _plain(error), inputs)
        return False

    def _with_places(self, node: Node, inputs: tuple[Value | None, ...]) -> tuple[Value | None, ...]:
        """Places that a Gather takes are looked into however many they are: frames of a signal."""
        places = inputs[1] if node.op == "Gather" and len(inputs) == 2 else None
        if not isinstance(places, Constant) or places.value is not None or not isinstance(inputs[0], Tensor):
            return inputs
        if prod(places.shape) > MOST_PLACES:
            return inputs
        try:
            array = ArrayReader(self.file, self.values).evaluate(places.name)
        except InputError:  # of a file that is missing: the rule says that they are not there
            return inputs
        return inputs[0], replace(places, value=array.reshape(places.shape))

    def _expanded(self, proto: Any, node: Node, inputs: tuple[Value | None, ...]) -> bool:
        """Whether other nodes stand for this one: they are what is read next."""
        self.file.check_inputs(node)
        self.file.check_attributes(node)
        self._check_attributes(node)
        control = node.op in ("If", "Loop", "Scan") or any(isinstance(value, Sequenced) for value in inputs)
        constant = bool(inputs) and all(isinstance(value, Constant | None) for value in inputs)
        read_as_it_is = (node.op in RULES or node.op in ALIASES) and expansion(node) is None
        if read_as_it_is or (constant and not control and node.op != "SplitToSequence"):
            return False
        piece = self.expander.expanded(proto, node, inputs)
        if piece is None:
            return False
        self.file.admit(piece)
        self.values.update({tensor.name: self.file.constant(tensor, tensor.name) for tensor in piece.tensors})
        self.walk += piece.nodes[::-1]
        return True

    def _give_up(self, node: Node, message: str, inputs: Iterable[Value | None] = ()) -> None:
        self._fault(node.label, message)
        self._unknown(node, constant=all(isinstance(value, Constant | None) for value in inputs))

    def _unknown(self, node: Node, constant: bool) -> None:
        self.values.update({name: Unknown(constant) for name in node.outputs if name})

    def _after_fault(self, node: Node, inputs: tuple[Value | None, ...]) -> None:
        """A node behind a fault: its operator must be a known one all the same, and its attributes modelled."""
        constant = node.op in ("Shape", "Size") or all(_is_constant(value) for value in inputs)
        if not constant and not self._is_known(node):
            self._fault(node.label, _UNKNOWN_OPERATOR)
        elif not constant:
            for words in refused(node):
                self._fault(node.label, f"is not modelled: {words}")
        self._unknown(node, constant)

    def _is_known(self, node: Node) -> bool:
        plain = node.domain in ("", "ai.onnx") or node.is_quantized
        others = expansion(node) is not None or node.op in SEQUENCES or self.file.has_function(node)
        return others or (plain and (node.op in RULES or node.op in ALIASES)) or (
            node.domain == "com.microsoft" and node.op == "Gelu"
        )

    def _known_node(self, proto: Any, node: Node, inputs: tuple[Value | None, ...]) -> None:
        constant = bool(inputs) and all(isinstance(value, Constant | None) for value in inputs)
        sequence = sequence_of(node, inputs, self._place)
        if sequence is not None:
            self.values[node.outputs[0]] = sequence
        elif any(isinstance(value, Sequenced) for value in inputs):
            raise NotModelledError("its input is a sequence")
        elif node.op == "Constant" and not node.domain.startswith("com."):
            self._bind_constant(node.outputs[0], self.file.constant_value(node))
        elif node.op in ("Shape", "Size") and node.inputs:
            self._shape_of(node, inputs)
        elif subgraphs(proto):
            self._with_subgraphs(proto, node, inputs)
        elif constant:
            self._fold(node, inputs)
        elif not self._is_known(node):
            raise _UnknownOperatorError
        else:
            self._modelled(node, inputs)

    def _check_attributes(self, node: Node) -> None:
        self.ignored |= {f"{node.kind}.{key}" for key in unknown_attributes(node)}
        words = list(refused(node))
        if words:
            raise NotModelledError("; ".join(words))

    def _modelled(self, node: Node, inputs: tuple[Value | None, ...]) -> None:
        """A node of the table that computes while the network runs."""
        inputs = broadcast_by_axis(node, inputs, self.file.opset)
        if node.op in ALIASES:
            self._alias(node, inputs)
        elif not any(isinstance(value, Tensor) for value in inputs):
            types = inferred(self.file, node, inputs)
            found = {name: kind for name, kind in zip(node.outputs, types, strict=True) if name}
            self.values.update({name: Scalar(*kind) if kind else Scalar(FLOAT) for name, kind in found.items()})
        elif not self._absorb(node, inputs):
            self._layers(node, inputs)

    def _with_subgraphs(self, proto: Any, node: Node, inputs: tuple[Value | None, ...]) -> None:
        """A body folds where it reads nothing but constants."""
        outside = [name for name in captures(proto) if not isinstance(self.values.get(name), Constant)]
        if outside:
            raise NotModelledError(f'it runs a graph of its own that reads "{outside[0]}", which is computed outside of it')
        if not all(isinstance(value, Constant | None) for value in inputs):
            raise _UnknownOperatorError
        self._fold(node, inputs)

    def _place(self, value: Value) -> int:
        """A position that is known."""
        if not isinstance(value, Constant) or value.value is None:
            raise NotModelledError("its position is not known before it runs")
        return int(value.value.reshape(-1)[0])

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
        shapes = inferred(self.file, node, inputs)
        small = all(shape is None or prod(shape[1]) <= SMALL for shape in shapes)
        known = all(constant.value is not None for constant in constants)
        if small and node.op in FOLDABLE and not node.is_quantized and known:
            self._folded(node, inputs)
            return
        keeps = node.op in ("Transpose", "Reshape", "Identity", "Unsqueeze", "Squeeze", "Split", "Slice")
        for name, found in zip(node.outputs, shapes, strict=True):
            if found is None:
                raise NotModelledError("the shape of its constant output cannot be told without large or missing values")
            self.values[name] = Constant(name, found[1], found[0], number=constants[0].number if keeps else None)

    def _folded(self, node: Node, inputs: tuple[Value | None, ...]) -> None:
        arrays = self.file.fold(node, [value.value if isinstance(value, Constant) else None for value in inputs])
        for name, array in zip([n for n in node.outputs if n], arrays, strict=False):
            self._bind_constant(name, array)

    def _fold_quantization(self, node: Node, constants: list[Constant]) -> None:
        """Quantized weights stay what they are stored as; their scale and zero point are noted."""
        source, scales = constants[0], qdq_scales(node)
        if node.op == "QuantizeLinear":
            elem = self.scales.zero_point_elem(node)
            result = Constant(node.outputs[0], source.shape, elem, scales=scales, number=number_format(elem))
        else:
            number = source.number or number_format(source.elem)
            elem = constants[1].elem if len(constants) > 1 else FLOAT
            result = replace(source, elem=elem, value=None, scales=scales, number=number)
        self.values[node.outputs[0]] = result

    # --- other names ---

    def _alias(self, node: Node, inputs: tuple[Value | None, ...]) -> None:
        value = inputs[0]
        if isinstance(value, Scalar) and node.op in ("Cast", "CastLike", "Identity"):
            elem = node.integer("to", value.elem) if node.op == "Cast" else value.elem
            self.values[node.outputs[0]] = replace(value, elem=elem)
            return
        if not isinstance(value, Tensor):
            raise NotModelledError("its first input is a constant")
        if node.op == "Dropout":
            self._check_dropout(node, inputs)
        self.values[node.outputs[0]] = self._renamed(node, value, inputs)
        for name in node.outputs[1:]:
            self.values[name] = Scalar(FLOAT)

    def _check_dropout(self, node: Node, inputs: tuple[Value | None, ...]) -> None:
        if any(name and self.file.uses[name] for name in node.outputs[1:]):
            raise NotModelledError("its second output (the mask) is used")
        trains, ratio = (self.scales.single(node.inputs[i]) if i < len(inputs) else None for i in (2, 1))
        if trains and ratio != 0:
            raise NotModelledError("it is in training mode")

    def _renamed(self, node: Node, value: Tensor, inputs: tuple[Value | None, ...]) -> Tensor:
        """``value`` in the format that the node gives it."""
        if node.op == "DynamicQuantizeLinear":
            self.dynamic += 1
            return replace(value, elem=UINT8, number=number_format(UINT8))
        if node.op == "QuantizeLinear":
            elem = self.scales.zero_point_elem(node)
            renamed = replace(value, elem=elem, number=number_format(elem), scales=qdq_scales(node))
            return renamed if self._holds(value, renamed) else self._requantized(node, value, renamed)
        if node.op == "DequantizeLinear":
            scale = self.values.get(node.inputs[1])
            elem = node.integer("output_dtype", 0) or (scale.elem if isinstance(scale, Constant) else FLOAT)
            return replace(value, elem=elem, scales=qdq_scales(node))
        if node.op in ("Cast", "CastLike"):
            return self._cast(node, value, inputs)
        return value

    def _cast(self, node: Node, value: Tensor, inputs: tuple[Value | None, ...]) -> Tensor:
        """A cast is free, but that of floats to integers, which cuts their fractions off."""
        like = inputs[1] if node.op == "CastLike" and len(inputs) > 1 else None
        elem = like.elem if isinstance(like, Tensor | Constant) else node.integer("to", value.elem)
        result = replace(value, elem=elem, number=number_format(elem))
        if value.elem in INTEGERS or elem not in INTEGERS or value.scales is not None:
            return result
        made = self._beside(node, value, Activation(op="trunc"), result)
        self.names_of_arrays[made.ref] = ArrayNames(on_integers=True)
        return made

    def _holds(self, value: Tensor, wanted: Tensor) -> bool:
        """Whether what makes ``value`` stores it as ``wanted`` has it: in that format, of those scales."""
        position = self.positions.get(value.ref.rpartition(".")[0] if value.ref not in self.positions else value.ref)
        if position is None:  # an input of the graph, stored as its readers want it, if they all want the same
            readers = [r for r in self.file.readers.get(value.origin, []) if r.op_type not in ("Shape", "Size")]
            forms = {(r.op_type, *(qdq_scales(self.file.node(r, ""))[:2])) for r in readers}
            return value.scales is None and len(forms) == 1
        sketch = self.sketches[position]
        output = self.names_of_arrays.get(sketch.name, ArrayNames()).output
        if output is None:  # it moves numbers that are stored already, or makes floats
            output = value.scales
        return sketch.precision.output == wanted.number and self.scales.same(output, wanted.scales)

    def _requantized(self, node: Node, value: Tensor, wanted: Tensor) -> Tensor:
        """A layer of its own where a tensor is wanted in two forms, or is quantized again by other scales."""
        shape = value.layout.network_shape(value.shape, self.batch)
        made = self._beside(node, value, Reshape(op="reshape", to=shape[1:]), wanted)
        self.names_of_arrays[made.ref] = ArrayNames(inputs=(value.scales,), output=wanted.scales)
        return made

    def _beside(self, node: Node, value: Tensor, op: Op, wanted: Tensor) -> Tensor:
        """A layer that makes ``wanted`` of ``value``, the node's name on it."""
        name = self.names.unique(node.name, node.kind)
        self.positions[name] = len(self.sketches)
        sums = INT32 if value.number.is_integer else FP32
        precision = Precision(weight=signed(value.number), input=value.number, accumulator=sums, output=wanted.number)
        self.sketches.append(LayerSketch(name, op, (value.ref,), precision))
        return replace(wanted, ref=name, origin=node.outputs[0])

    # --- layers ---

    def _layers(self, node: Node, inputs: tuple[Value | None, ...]) -> None:
        """Append the node's layers and bind its outputs; what no rule takes with its batch where it is, with it elsewhere."""
        before, values = (len(self.sketches), len(self.inputs), len(self.joined)), dict(self.values)
        try:
            self._layers_of(node, inputs)
        except ValueError as error:
            for layout in _LAYOUTS if self.batch == 1 else ():
                self._undo(before, values)
                try:
                    self._layers_of(node, tuple(self._viewed(value, layout) for value in inputs))
                    return
                except ValueError:
                    continue
            self._undo(before, values)
            if node.op in _WIDENED and not node.is_quantized and any(isinstance(value, Tensor) for value in inputs):
                try:
                    self._layers_of(node, self._with_joined_constants(node, inputs))
                    return
                except ValueError:
                    self._undo(before, values)
            raise error

    def _undo(self, before: tuple[int, int, int], values: dict[str, Value]) -> None:
        """Take back the layers of a node that turned out not to be modelled."""
        layers, inputs, joined = before
        for name in list(self.inputs)[inputs:]:
            self.names.release(name)
            del self.inputs[name]
        del self.joined[joined:]
        for sketch in self.sketches[layers:]:
            self.names.release(sketch.name)
            self.positions.pop(sketch.name)
            self.names_of_arrays.pop(sketch.name, None)
        del self.sketches[layers:]
        for name in set(self.values) - set(values):
            del self.values[name]

    def _viewed(self, value: Value | None, layout: Layout) -> Value | None:
        """A tensor with its batch, a single one, in another place."""
        if not isinstance(value, Tensor) or value.layout == layout or not layout.fits(value.shape, self.batch):
            return value
        shape = layout.network_shape(value.shape, self.batch)
        if shape == value.layout.network_shape(value.shape, self.batch):
            return replace(value, layout=layout)
        name = self.names.unique(f"{value.ref}_view", "view")
        precision = Precision(weight=signed(value.number), input=value.number, output=value.number)
        self._append(LayerSketch(name, Reshape(op="reshape", to=shape[1:]), (value.ref,), precision))
        if value.scales is not None:
            self.names_of_arrays[name] = ArrayNames(inputs=(value.scales,))
        return replace(value, ref=name, layout=layout)

    def _layers_of(self, node: Node, inputs: tuple[Value | None, ...]) -> None:
        if node.op in _JOINED:
            inputs = self._with_joined_constants(node, inputs)
        types = inferred(self.file, node, inputs)
        used = tuple(bool(name) and self.file.uses[name] > 0 for name in node.outputs)
        shapes = tuple(found[1] if found else None for found in types)
        call = Call(node, inputs, shapes, used, self.file.opset, self.batch, self.scales.zero_of(inputs[0]))
        plan = RULES[node.op](call)
        reads = plan.reads if plan.reads is not None else call.tensors
        elems = [self._out_elem(node, found, reads) for found in types]
        base = self.names.unique(node.name, node.kind) if plan.ops else ""
        made = elems[used.index(True)] if True in used else elems[0]
        sources = [t.ref for t in reads]
        outputs = [t.layout.network_shape(t.shape, self.batch) for t in reads]
        for index, op in enumerate(plan.ops):
            name = base if index == plan.main else self.names.unique(f"{base}_{op.op}", op.op)
            self._check(op, outputs, plan.weight if index == plan.main else None)
            precision = precision_of(self.scales, call, plan, index, made)
            requantize = self.scales.requantize(call) if index == plan.main else Requantize()
            self._append(LayerSketch(name, op, tuple(sources), precision, requantize=requantize))
            self.names_of_arrays[name] = arrays_of(self.scales, call, plan, index, made)
            sources, outputs = [name], list(op.output_shapes(tuple(outputs)))
        self._bind(call, plan, sources, outputs, elems, base)

    def _append(self, sketch: LayerSketch) -> None:
        self.positions[sketch.name] = len(self.sketches)
        self.sketches.append(sketch)

    def _out_elem(self, node: Node, found: tuple[int, Shape] | None, reads: tuple[Tensor, ...]) -> int:
        if node.out_scales is not None:
            zero_point = self.values.get(node.out_scales.zero_point)
            return zero_point.elem if isinstance(zero_point, Constant) else UINT8
        return node.out_elem or (found[0] if found else reads[0].elem)

    def _check(self, op: Op, shapes: list[Shape], weight: Constant | None) -> None:
        """Refuse an operator whose inputs do not fit it, or whose output is empty."""
        fewest, most = op.inputs_expected
        if not fewest <= len(shapes) <= most:
            raise NotModelledError(f"{op.op} takes {fewest} to {most} tensors, it has {len(shapes)}")
        result = op.output_shapes(tuple(shapes))
        if any(prod(shape) < 1 for shape in result):
            raise NotModelledError(f"its output {list(result[0])} is empty")
        expected = op.weight_shape(tuple(shapes)) if isinstance(op, _PRODUCTS) else None
        if expected is not None and weight is not None and prod(expected) != prod(weight.shape):  # ONNX lets some pass
            raise ValueError(f"its weights have the shape {list(weight.shape)}, its input asks for {list(expected)}")

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
                self._check(op, [shape], None)
                tail = self.names.unique(f"{base}_{op.op}", op.op)
                self._append(LayerSketch(tail, op, (ref,), precision_of(self.scales, call, plan, len(plan.ops), elems[index])))
                ref, shape = tail, op.output_shapes((shape,))[0]
            hint = plan.layouts[index] if plan.layouts and index < len(plan.layouts) else first.layout
            onnx_shape, layout = agree(call.shapes[index], shape, hint, self.batch)
            number = self.scales.sink(name)[0] if plan.ops else None
            kept = (
                first.number if not plan.ops and elems[index] == first.elem else number_format(elems[index])
            )
            moved = elems[index] == first.elem and first.elem in INTEGERS
            scales = first.scales if moved or not plan.ops else None
            origin = name if plan.ops else first.origin
            self.values[name] = Tensor(
                ref, origin, onnx_shape, layout, elems[index], number or kept, call.node.out_scales or scales
            )

    def _with_joined_constants(self, node: Node, inputs: tuple[Value | None, ...]) -> tuple[Value | None, ...]:
        """A constant among what is joined (a class token) enters as an input of the graph that has its values."""
        widest = max((value for value in inputs if isinstance(value, Tensor)), key=lambda tensor: len(tensor.shape))
        rank = len(widest.shape) if node.op in ("Where", *_WIDENED) else 0  # what is broadcast is so over the batch too
        named = zip(node.inputs, inputs, strict=True)
        return tuple(self._joined(n, v, widest.layout, rank) if isinstance(v, Constant) else v for n, v in named)

    def _joined(self, onnx_name: str, value: Constant, layout: Layout, rank: int) -> Tensor:
        held = value.reshaped((*(1,) * (rank - len(value.shape)), *value.shape))
        shape = held.shape
        if len(shape) == rank and not layout.merged and shape[layout.batch_axis] == 1:
            shape = (*shape[: layout.batch_axis], self.batch, *shape[layout.batch_axis + 1 :])
        else:
            held, shape = value, value.shape
        if not layout.fits(shape, self.batch) and self.batch == 1:
            layout = Layout(0, merged=True)
        if not layout.fits(shape, self.batch):
            raise NotModelledError(f'it joins the constant "{value.name}" of shape {list(value.shape)} across the batch')
        entry, name = self.names.unique(f"{onnx_name}_input", "input"), self.names.unique(onnx_name, "constant")
        inner = layout.network_shape(shape, self.batch)
        number = value.number or number_format(value.elem)
        self.inputs[entry] = inner[1:]
        self.joined.append(name)
        precision = Precision(weight=signed(number), input=number, output=number)
        self._append(LayerSketch(name, Reshape(op="reshape", to=inner[1:]), (entry,), precision))
        scales = (value.scales,) if value.scales is not None else ()
        self.names_of_arrays[name] = ArrayNames(
            held=held.reshaped(inner) if layout.merged else held, batch_axis=layout.batch_axis, inputs=scales
        )
        return Tensor(name, onnx_name, shape, layout, value.elem, number, value.scales)

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
        taken = absorbed(sketch.op, arrays, node.op, x, constant)
        if taken is None:
            return False
        op, arrays = taken
        number, scales = self.scales.sink(node.outputs[0])
        precision = sketch.precision.model_copy(update={"output": number or sketch.precision.output})
        self.sketches[position] = replace(sketch, op=op, precision=precision)
        self.names_of_arrays[sketch.name] = replace(arrays, output=scales or arrays.output)
        self.values[node.outputs[0]] = replace(x, origin=node.outputs[0], number=number or x.number)
        self.absorbed += arrays.epsilon is not None
        return True

    # --- notes ---

    def _is_rough(self, sketch: LayerSketch) -> bool:
        """Whether a product of integers has an output scale that its `requantize` does not hold."""
        scaled = self.names_of_arrays.get(sketch.name, ArrayNames()).output is not None
        return scaled and isinstance(sketch.op, _PRODUCTS) and sketch.requantize == Requantize()

    def notes(self) -> list[str]:
        """What a user should know of this model."""
        rough = sum(self._is_rough(sketch) for sketch in self.sketches)
        notes = {
            f"{self.absorbed} products and sums are part of the batch normalizations before them": self.absorbed,
            f"{self.dynamic} tensors are quantized dynamically; finding their range is not counted": self.dynamic,
            f"constants joined to tensors enter as inputs: {', '.join(self.joined)}": self.joined,
            "it combines what stands along the first axis of its inputs: that is taken for no batch": not self.file.has_batch,
            f"weights that come in as inputs of the graph: {', '.join(self.trained)}": self.trained,
            f"attributes that ONNX does not know are not looked at: {', '.join(sorted(self.ignored))}": self.ignored,
            f"{rough} layers scale their output by no whole number; requantize is the rule by size there": rough,
        }
        return [*(note for note, there in notes.items() if there), *dict.fromkeys(self.file.notes)]


def _is_constant(value: Value | None) -> bool:
    return value is None or isinstance(value, Constant) or (isinstance(value, Unknown) and value.constant)


def _plain(error: ValueError) -> str:
    """An error's own words; of pydantic's, the first field and what is wrong with it."""
    details = getattr(error, "errors", None)
    if callable(details):
        first = details()[0]
        where = ".".join(str(part) for part in first["loc"])
        found = re.sub("^Input should", "must", first["msg"])
        return f"does not fit: {where} is {first['input']!r:.60}, {found}"
    return f"does not fit: {first_line(error, 400)}"
