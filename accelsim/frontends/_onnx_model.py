"""The ONNX file itself: parsing, shape inference of one node, constants and their folding.

Nothing here knows accelsim's operators. The package ``onnx`` is an extra and is imported on use.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from accelsim import reading
from accelsim.errors import Fault, InputError
from accelsim.frontends._onnx_branches import Piece, reads, subgraphs
from accelsim.frontends._onnx_dims import Dims, set_dims, whole_numbers
from accelsim.workload.ops import Shape
from accelsim.workload.precision import NumberFormat, parse_format

Array = npt.NDArray[Any]
SMALL = (
    1024  # constants up to here are looked into while reading; larger ones are weights, known by their shape
)

# TensorProto.DataType -> accelsim's number format (onnx.proto)
_FORMATS = {
    1: "fp32", 2: "uint8", 3: "int8", 4: "uint16", 5: "int16", 6: "int32", 7: "int64", 9: "uint1", 10: "fp16",
    11: "fp64", 12: "uint32", 13: "uint64", 16: "bf16", 17: "fp8", 18: "fp8", 19: "fp8", 20: "fp8",
    21: "uint4", 22: "int4", 25: "uint2", 26: "int2",
}  # fmt: skip
FLOAT, UINT8, INT32 = 1, 2, 6
SKIPPED, COMPUTED = "skipped", "computed"  # the zeros between the inputs of a transposed convolution
INTEGERS = frozenset({2, 3, 4, 5, 6, 7, 12, 13, 21, 22})  # of onnx.TensorProto.DataType
_CONSTANT_KEYS = {
    "value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64,
}  # fmt: skip

# Operators whose value may be computed while reading: pure, and bounded by the shapes that inference gives.
FOLDABLE = frozenset({
    "Abs", "Acos", "Add", "And", "ArgMax", "ArgMin", "Asin", "Atan", "BlackmanWindow", "Cast", "CastLike", "Ceil", "Clip",
    "Compress", "Concat", "ConstantOfShape", "Cos", "Cosh", "CumSum", "DFT", "DepthToSpace", "DequantizeLinear", "Div",
    "Einsum", "Equal", "Erf", "Exp", "Expand", "EyeLike", "Flatten", "Floor", "Gather", "GatherElements", "GatherND",
    "Gemm", "Greater", "GreaterOrEqual", "HammingWindow", "HannWindow", "Identity", "IsInf", "IsNaN", "Less", "LessOrEqual",
    "Log", "MatMul", "Max", "MelWeightMatrix", "Min", "Mod", "Mul", "Neg", "NonZero", "Not", "OneHot", "Or", "Pad", "Pow",
    "Range", "Reciprocal", "ReduceL1", "ReduceL2", "ReduceMax", "ReduceMean", "ReduceMin", "ReduceProd", "ReduceSum",
    "ReduceSumSquare", "Relu", "Reshape", "ReverseSequence", "Round", "ScatterElements", "ScatterND", "Shape", "Sigmoid",
    "Sign", "Sin", "Sinh", "Size", "Slice", "Softmax", "Split", "Sqrt", "Squeeze", "Sub", "Sum", "Tan", "Tanh", "Tile",
    "TopK", "Transpose", "Trilu", "Unique", "Unsqueeze", "Where", "Xor",
})  # fmt: skip


# Old versions' inference counts a last window that starts outside of the image, which no runtime has.
_INFERRED_BY_NEWEST = frozenset({"MaxPool", "AveragePool"})
# The opset whose operator the runtime's quantized form is like, where later ones have their axes as an input.
_AXES_IN_ATTRIBUTES = {"ReduceMean": 13}
_STEPS = frozenset({"strides", "dilations", "kernel_shape", "group", "hidden_size"})  # sizes, at least 1
# Where ONNX's reference implementation begins later than the operator, whose meaning has not changed since.
_REFERENCE_FROM = {"QuantizeLinear": 19, "DequantizeLinear": 19}


class NotModelledError(ValueError):
    """A node that the reader knows but cannot express; the message follows ``is not modelled: ``."""


class Scales(NamedTuple):
    """Names of the constants that hold a quantization's scale and zero point; empty where there is none."""

    scale: str
    zero_point: str
    axis: int = 1


@dataclass(frozen=True)
class Constant:
    """A value that does not depend on the graph's inputs; ``value`` only where it is small and to be had."""

    name: str
    shape: Shape
    elem: int
    value: Array | None = None
    scales: Scales | None = None
    number: NumberFormat | None = None  # where it is stored narrower than ``elem``
    factor: float = 1.0  # what its values are multiplied by, such as a Gemm's alpha

    def reshaped(self, shape: Shape) -> Constant:
        value = None if self.value is None else self.value.reshape(shape)
        return replace(self, shape=shape, value=value)

    def times(self, factor: float) -> Constant:
        return self if factor == 1 else replace(self, factor=self.factor * factor)


@dataclass(frozen=True)
class Quantized:
    """How a quantized operator maps to the plain one: positions of data, scales and zero points."""

    op: str
    data: tuple[int, ...]
    scales: tuple[tuple[int, int], ...]
    output: tuple[int, int] | None = None
    out_elem: int | None = None
    first_of_many: int | None = None  # from here on (data, scale, zero point) repeat


QUANTIZED = {
    "QLinearConv": Quantized("Conv", (0, 3, 8), ((1, 2), (4, 5)), (6, 7)),
    "ConvInteger": Quantized("Conv", (0, 1), ((-1, 2), (-1, 3)), None, INT32),
    "QLinearMatMul": Quantized("MatMul", (0, 3), ((1, 2), (4, 5)), (6, 7)),
    "MatMulInteger": Quantized("MatMul", (0, 1), ((-1, 2), (-1, 3)), None, INT32),
    "QGemm": Quantized("Gemm", (0, 3, 6), ((1, 2), (4, 5)), (7, 8)),
    "QLinearAdd": Quantized("Add", (0, 3), ((1, 2), (4, 5)), (6, 7)),
    "QLinearMul": Quantized("Mul", (0, 3), ((1, 2), (4, 5)), (6, 7)),
    "QLinearSigmoid": Quantized("Sigmoid", (0,), ((1, 2),), (3, 4)),
    "QLinearLeakyRelu": Quantized("LeakyRelu", (0,), ((1, 2),), (3, 4)),
    "QLinearAveragePool": Quantized("AveragePool", (0,), ((1, 2),), (3, 4)),
    "QLinearGlobalAveragePool": Quantized("GlobalAveragePool", (0,), ((1, 2),), (3, 4)),
    "QLinearSoftmax": Quantized("Softmax", (0,), ((1, 2),), (3, 4)),
    "QLinearReduceMean": Quantized("ReduceMean", (0,), ((1, 2),), (3, 4)),
    "QLinearConcat": Quantized("Concat", (), (), (0, 1), None, 2),
}


@dataclass(frozen=True)
class Node:
    """A node with its quantized form undone: ``op`` is the plain operator, ``inputs`` only the data."""

    name: str
    op: str
    domain: str
    kind: str  # the operator as the file has it
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any]
    protos: tuple[Any, ...] = ()  # the attributes as ONNX has them
    scales: tuple[Scales | None, ...] = ()
    out_scales: Scales | None = None
    out_elem: int | None = None

    @property
    def is_quantized(self) -> bool:
        return self.kind in QUANTIZED

    def integer(self, key: str, default: int) -> int:
        """An integer attribute; ``default`` where it is none."""
        value = self.attributes.get(key)
        return value if isinstance(value, int) else default

    @property
    def label(self) -> str:
        return f'node "{self.name}" (op {self.kind}, domain {self.domain or "ai.onnx"})'


def number_format(elem: int) -> NumberFormat:
    """The number format of an ONNX element type; raises `NotModelledError` for text and complex numbers."""
    if elem not in _FORMATS:
        raise NotModelledError(f"element type {elem} (onnx.TensorProto.DataType) has no number format here")
    return parse_format(_FORMATS[elem])


def import_onnx(source: str) -> Any:
    """The module ``onnx``; raises `InputError` where the extra is not installed."""
    try:
        import onnx
    except ImportError as error:
        message = f'ONNX needs the package onnx: pip install "accelsim[onnx]" ({error})'
        raise InputError(Fault(source, "", message)) from None
    return onnx


def read_bytes(path: Path) -> bytes:
    """The file's bytes, or `InputError`."""
    try:
        return reading.read_bytes(path, reading.MOST_MODEL_BYTES)
    except FileNotFoundError:
        raise InputError(Fault(str(path), "", "no such file")) from None
    except IsADirectoryError:
        raise InputError(Fault(str(path), "", "is a directory, must be a file")) from None
    except OSError as error:
        raise InputError(Fault(str(path), "", f"cannot be read: {error.strerror}")) from None


def first_line(error: BaseException, limit: int = 200) -> str:
    """The first line of an error's text, without control characters."""
    text = str(error).strip().split("\n")[0] or type(error).__name__
    return "".join(c if c.isprintable() else " " for c in text)[:limit]


class OnnxFile:
    """A parsed ONNX model: live nodes in order, constants, and who reads what."""

    def __init__(
        self, path: Path, data: bytes, dims: Dims | None = None, weights: Mapping[str, Array] | None = None,
        has_batch: bool = True, inserted_zeros: str = SKIPPED,
    ) -> None:
        self.source, self.has_batch, self.inserted_zeros = str(path), has_batch, inserted_zeros
        self.folder = path.parent
        self.onnx = import_onnx(self.source)
        self.model = self._parse(data)
        self.graph = self.model.graph
        faults = set_dims(self.onnx, self.graph, dims or {})
        faults += self._given(weights or {})
        if faults:
            raise InputError(faults)
        self.given = dict(dims or {})
        self.kept: set[str] = set()  # what is needed beside the outputs
        self.notes: list[str] = []  # what a user should know of nodes that are written out
        self.open_scalars = whole_numbers(self.graph)
        self.opset = self._opset()
        self._index()
        self.sequences = self._sequences()
        self.scanned = {name for node in self.nodes if node.op_type == "Scan" for name in node.input}

    def _given(self, weights: Mapping[str, Array]) -> list[Fault]:
        """Make constants of inputs whose values are given: weights that come from outside."""
        faults = []
        for entry in self.graph.input:
            shape = tuple(dim.dim_value for dim in entry.type.tensor_type.shape.dim)
            array = weights.get(entry.name)
            if array is None:
                continue
            if any(size > 0 and size != own for size, own in zip(shape, array.shape, strict=False)) or len(shape) != array.ndim:
                message = f"has the shape {list(array.shape)}, must have {list(shape)}"
                faults.append(Fault("--input", entry.name, message))
            kind = self.onnx.helper.tensor_dtype_to_np_dtype(entry.type.tensor_type.elem_type)
            self.graph.initializer.append(self.onnx.numpy_helper.from_array(array.astype(kind), entry.name))
        return faults

    def _sequences(self) -> dict[str, int]:
        """Inputs read by an LSTM, GRU or RNN in ONNX's own layout, steps first: their batch is axis 1."""
        nodes = (n for n in self.nodes if n.op_type in ("LSTM", "GRU", "RNN", "DynamicQuantizeLSTM") and n.input)
        return {n.input[0]: 1 for n in nodes if not any(a.name == "layout" and a.i for a in n.attribute)}

    def _index(self) -> None:
        """Who makes and reads what."""
        self.tensors = {tensor.name: tensor for tensor in self.graph.initializer}
        self.sparse = {tensor.values.name: tuple(tensor.dims) for tensor in self.graph.sparse_initializer}
        self.outputs = [output.name for output in self.graph.output]
        self.nodes = self._live_nodes()
        self.uses = Counter(name for node in self.nodes for name in reads(node)) + Counter(self.outputs) + Counter(self.kept)
        self.makers = {name: node for node in self.nodes for name in node.output if name}
        self.readers: dict[str, list[Any]] = {}
        for node in self.nodes:
            for name in dict.fromkeys(reads(node)):
                self.readers.setdefault(name, []).append(node)

    def admit(self, piece: Piece) -> None:
        """Take the nodes and constants of a piece in, for the rest of this reading."""
        self.tensors |= {tensor.name: tensor for tensor in piece.tensors}
        self.graph.initializer.extend(piece.tensors)
        for node in piece.nodes:
            self.uses.update(reads(node))
            self.makers |= dict.fromkeys((name for name in node.output if name), node)
            for name in dict.fromkeys(reads(node)):
                self.readers.setdefault(name, []).append(node)

    def write_out(self, nodes: Iterable[Any]) -> None:
        """Let ``nodes`` be those of the graph, and look at them anew."""
        copies = [self.onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
        del self.graph.node[:]
        self.graph.node.extend(copies)
        self._index()

    def has_function(self, node: Node) -> bool:
        """Whether ONNX says what ``node`` is in terms of other operators."""
        schema = self._schema(node.op) if node.domain in ("", "ai.onnx") and not node.is_quantized else None
        return schema is not None and bool(schema.has_function or schema.has_context_dependent_function)

    def function(self, proto: Any, types: Iterable[tuple[int, Shape] | None]) -> Any:
        """The function that is ``proto``, its attributes bound; ``types``: of its inputs."""
        schema = self._schema(proto.op_type)
        try:
            function = self._body(schema, proto, types)
        except Exception as error:  # what the C++ side raises for a node that it cannot write out
            raise NotModelledError(f"ONNX has no function for it: {first_line(error)}") from None
        given = {name: entry.default_value for name, entry in schema.attributes.items() if entry.default_value.name}
        given |= {entry.name: entry for entry in (*function.attribute_proto, *proto.attribute)}
        for node in function.node:
            _bind(node, given)
        return function

    def _body(self, schema: Any, proto: Any, types: Iterable[tuple[int, Shape] | None]) -> Any:
        versions = schema.function_opset_versions or schema.context_dependent_function_opset_versions
        version = max([v for v in versions if v <= self.opset], default=min(versions))
        if schema.function_opset_versions:
            function = schema.get_function_with_opset_version(version)
            return type(function).FromString(function.SerializeToString()) if not isinstance(function, bytes) else (
                self.onnx.FunctionProto.FromString(function))
        helper = self.onnx.helper
        typed = [helper.make_tensor_type_proto(*found) if found else self.onnx.TypeProto() for found in types]
        found = schema.get_context_dependent_function_with_opset_version(
            version, proto.SerializeToString(), [entry.SerializeToString() for entry in typed]
        )
        return self.onnx.FunctionProto.FromString(found)

    def fail(self, message: str, key: str = "") -> InputError:
        return InputError(Fault(self.source, key, message))

    def _parse(self, data: bytes) -> Any:
        model = self.onnx.ModelProto()
        try:
            model.ParseFromString(data)
        except Exception as error:  # protobuf's DecodeError, which has no public home of its own
            raise self.fail(f"is not an ONNX model, or is cut off: {first_line(error)}") from None
        if not model.HasField("graph") or not (model.graph.node and model.graph.output):
            raise self.fail("is not an ONNX model: it has no graph with nodes and outputs")
        if not all(isinstance(text, str) for text in _texts(model.graph)):
            raise self.fail("is not an ONNX model, or is damaged: it has names that are not UTF-8")
        return self._inlined(model) if model.functions else model

    def _inlined(self, model: Any) -> Any:
        """Model-local functions written out where they are called."""
        from onnx import inliner

        try:
            return inliner.inline_local_functions(model)
        except Exception as error:
            raise self.fail(f"has functions that cannot be inlined: {first_line(error)}") from None

    def _opset(self) -> int:
        versions = [entry.version for entry in self.model.opset_import if entry.domain in ("", "ai.onnx")]
        newest = int(self.onnx.defs.onnx_opset_version())
        return min(max(versions), newest) if versions and max(versions) > 0 else newest

    def _live_nodes(self) -> list[Any]:
        """Nodes that an output of the graph depends on, in the order of the file."""
        needed, live = {*self.outputs, *self.kept}, []
        for node in reversed(self.graph.node):
            if needed.intersection(name for name in node.output if name):
                live.append(node)
                needed.update(reads(node))
        return live[::-1]

    def node(self, proto: Any, name: str) -> Node:
        """``proto`` with its attributes as plain values and its quantized operands sorted apart."""
        attributes = {entry.name: _attribute(self.onnx, entry) for entry in proto.attribute}
        inputs, outputs = _trimmed(proto.input), tuple(proto.output)
        form = QUANTIZED.get(proto.op_type)
        if form is None or proto.domain not in ("", "ai.onnx", "com.microsoft"):
            return Node(
                name,
                proto.op_type,
                proto.domain,
                proto.op_type,
                inputs,
                outputs,
                attributes,
                tuple(proto.attribute),
            )
        data, pairs = list(form.data), list(form.scales)
        if form.first_of_many is not None:
            data = list(range(form.first_of_many, len(inputs), 3))
            pairs = [(i + 1, i + 2) for i in data]
        axis = 0 if form.op == "Conv" else 1
        scales = tuple(_scales(inputs, pair, axis) for pair in pairs)
        scaled = form.output is not None and bool(_at(inputs, form.output[0]))
        elem = FLOAT if form.output is not None and not scaled else form.out_elem  # a QGemm may leave its scale out
        return Node(
            name, form.op, proto.domain, proto.op_type, _trimmed(_at(inputs, i) for i in data), outputs,
            attributes, tuple(proto.attribute), scales,
            _scales(inputs, form.output, axis) if form.output is not None and scaled else None, elem,
        )  # fmt: skip

    def elem_of(self, name: str) -> int | None:
        """Element type of a constant, or None where it is not one of the file's."""
        if name in self.tensors:
            return int(self.tensors[name].data_type)
        maker = self.makers.get(name)
        if maker is not None and maker.op_type == "Constant":
            return next((int(a.t.data_type) for a in maker.attribute if a.name == "value"), None)
        return None

    def constant(self, tensor: Any, name: str) -> Constant:
        """A constant from a TensorProto; its value only where that is small and to be had."""
        shape = tuple(int(size) for size in tensor.dims)
        if any(size < 0 for size in shape):
            raise self.fail(f"has the shape {list(shape)}", f'initializer "{name}"')
        value = self._array(tensor) if prod(shape) <= SMALL else None
        return Constant(name, shape, int(tensor.data_type), value)

    def _array(self, tensor: Any) -> Array | None:
        """The values of ``tensor``; None where its file is missing or its bytes do not fit its shape."""
        try:
            return self.array(tensor)
        except Exception:  # numpy_helper raises whatever the bytes provoke; the shape alone still serves
            return None

    def array(self, tensor: Any) -> Array:
        """The values of ``tensor``, from an external file where it says so."""
        from onnx import external_data_helper, numpy_helper

        if tensor.data_location == self.onnx.TensorProto.EXTERNAL:
            copy = self.onnx.TensorProto()
            copy.CopyFrom(tensor)
            external_data_helper.load_external_data_for_tensor(copy, str(self.folder))
            copy.data_location = self.onnx.TensorProto.DEFAULT  # up to onnx 1.19 they would be looked for again, elsewhere
            tensor = copy
        return np.asarray(numpy_helper.to_array(tensor))

    def constant_value(self, node: Node) -> Array:
        """What a Constant node holds; raises ValueError where that cannot be had."""
        for key, kind in _CONSTANT_KEYS.items():
            if key in node.attributes:
                return self._numbers(node.attributes[key], kind)
        tensor = node.attributes.get("value")
        if tensor is None:
            raise NotModelledError("its value is neither numbers nor a tensor")
        try:
            return self.array(tensor)
        except Exception as error:  # numpy_helper raises whatever the bytes provoke
            raise ValueError(f"its value cannot be read: {first_line(error)}") from None

    def _numbers(self, value: Any, kind: type) -> Array:
        try:
            return np.asarray(value, dtype=kind)
        except (TypeError, ValueError, OverflowError):
            raise NotModelledError("its value is no number") from None

    def infer(
        self, node: Node, types: Mapping[str, tuple[int, Shape]], data: Iterable[Constant]
    ) -> list[tuple[int, Shape] | None]:
        """Element type and shape of each output by ONNX's own rules; None where they do not tell."""
        from onnx import helper, numpy_helper, shape_inference

        schema = self._schema(node.op, node.is_quantized or node.op in _INFERRED_BY_NEWEST)
        if schema is None:
            return [None] * len(node.outputs)
        proto = helper.make_node(node.op, list(node.inputs), list(node.outputs))
        proto.attribute.extend(entry for entry in node.protos if entry.name in schema.attributes)
        values = {
            c.name: numpy_helper.from_array(np.asarray(c.value, order="C"))  # a scalar stays one
            for c in data
            if c.value is not None
        }
        protos = {name: helper.make_tensor_type_proto(elem, shape) for name, (elem, shape) in types.items()}
        opsets = [helper.make_opsetid("", max(self.opset, schema.since_version))]
        try:
            found = shape_inference.infer_node_outputs(schema, proto, protos, values, opset_imports=opsets)
        except Exception as error:  # InferenceError, and what the C++ side raises for a malformed node
            raise ValueError(first_line(error)) from None
        return [_type_of(found.get(name)) for name in node.outputs]

    def knows(self, op: str) -> bool:
        """Whether ONNX itself has such an operator."""
        return self._schema(op) is not None

    def check_inputs(self, node: Node) -> None:
        """Refuse a node with fewer inputs, or no output, than ONNX's schema asks for."""
        schema = self._schema(node.op, node.is_quantized)
        if schema is not None and (
            len(node.inputs) < schema.min_input or len(node.outputs) < schema.min_output
        ):
            raise NotModelledError(f"it has {len(node.inputs)} inputs and {len(node.outputs)} outputs")

    def check_attributes(self, node: Node) -> None:
        """Refuse a node of ONNX's own with an attribute of another type than the schema gives it."""
        schema = self._schema(node.op, node.is_quantized) if node.domain in ("", "ai.onnx") else None
        names = self.onnx.AttributeProto.AttributeType.Name
        for entry in node.protos:
            known = schema.attributes.get(entry.name) if schema is not None else None
            if known is not None and names(entry.type) != known.type.name:
                raise NotModelledError(f"its attribute {entry.name} is a {names(entry.type)}, ONNX has {known.type.name} there")
            sizes = [*entry.ints] if entry.ints else [entry.i]
            if known is not None and entry.name in _STEPS and min(sizes) < 1:
                raise NotModelledError(f"its attribute {entry.name} is {sizes}, must be 1 or more")

    def _schema(self, op: str, newest_only: bool = False) -> Any:
        """The operator's schema in the model's opset, or its newest; QLinear operators stand for no old one."""
        defs = self.onnx.defs
        newest = _AXES_IN_ATTRIBUTES.get(op, int(defs.onnx_opset_version())) if newest_only else int(defs.onnx_opset_version())
        for version in (newest,) if newest_only else (self.opset, newest):
            try:
                return defs.get_schema(op, version, "")
            except defs.SchemaError:
                continue
        return None

    def fold(self, node: Node, inputs: list[Array | None]) -> list[Array]:
        """The node's outputs for constant inputs, by ONNX's reference, or `NotModelledError`."""
        from onnx import helper
        from onnx.reference import ReferenceEvaluator

        names = dict.fromkeys(name for name in node.inputs if name)
        untyped = self.onnx.TypeProto()
        proto = helper.make_node(node.op, list(node.inputs), list(node.outputs))
        proto.attribute.extend(node.protos)
        infos = [helper.make_value_info(name, untyped) for name in names]
        outs = [helper.make_value_info(name, untyped) for name in node.outputs if name]
        try:
            model = helper.make_model(
                helper.make_graph([proto], "fold", infos, outs),
                opset_imports=[helper.make_opsetid("", max(self.opset, _REFERENCE_FROM.get(node.op, 1)))],
            )
            feeds = {name: value for name, value in zip(node.inputs, inputs, strict=True) if name}
            with np.errstate(all="ignore"):
                return [np.asarray(value) for value in ReferenceEvaluator(model).run(None, feeds)]
        except Exception as error:  # the reference raises whatever numpy does
            raise NotModelledError(f"it cannot be computed from its constants: {first_line(error)}") from None


def _bind(node: Any, given: Mapping[str, Any]) -> None:
    """Give a function's node the attributes that it takes from the function's."""
    bound = []
    for entry in node.attribute:
        source = given.get(entry.ref_attr_name) if entry.ref_attr_name else entry
        if source is not None:
            bound.append(type(entry).FromString(source.SerializeToString()))
            bound[-1].name = entry.name
    del node.attribute[:]
    node.attribute.extend(bound)
    for graph in subgraphs(node):
        for inner in graph.node:
            _bind(inner, given)


def _texts(graph: Any) -> Iterable[Any]:
    """Every name in the graph; protobuf gives bytes for those that are not UTF-8."""
    for node in graph.node:
        yield from (node.name, node.op_type, node.domain, *node.input, *node.output)
        yield from (attribute.name for attribute in node.attribute)
    for entry in (*graph.input, *graph.output, *graph.initializer):
        yield entry.name
    for entry in graph.input:
        yield from (dim.dim_param for dim in entry.type.tensor_type.shape.dim)


def _attribute(onnx: Any, entry: Any) -> Any:
    """An attribute's value; None for kinds that accelsim never looks into, such as subgraphs."""
    if entry.type in (entry.GRAPH, entry.GRAPHS):
        return None
    try:
        value = onnx.helper.get_attribute_value(entry)
    except ValueError:
        return None
    return [_decoded(item) for item in value] if isinstance(value, list | tuple) else _decoded(value)


def _decoded(value: Any) -> Any:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value


def _trimmed(names: Iterable[str]) -> tuple[str, ...]:
    """Without empty names at the end, which stand for optional inputs left out."""
    kept = list(names)
    while kept and not kept[-1]:
        kept.pop()
    return tuple(kept)


def _at(names: tuple[str, ...], index: int) -> str:
    return names[index] if 0 <= index < len(names) else ""


def _scales(names: tuple[str, ...], pair: tuple[int, int], axis: int) -> Scales:
    return Scales(_at(names, pair[0]), _at(names, pair[1]), axis)


def _type_of(proto: Any) -> tuple[int, Shape] | None:
    if proto is None or not proto.HasField("tensor_type") or not proto.tensor_type.HasField("shape"):
        return None
    dims = proto.tensor_type.shape.dim
    if not all(dim.HasField("dim_value") and dim.dim_value >= 0 for dim in dims):
        return None
    return int(proto.tensor_type.elem_type), tuple(int(dim.dim_value) for dim in dims)
