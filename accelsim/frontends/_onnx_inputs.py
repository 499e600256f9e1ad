"""The inputs of an ONNX graph: their shapes, where the batch is in them, and which of them are weights."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from shlex import quote
from typing import Any

from accelsim.errors import Fault
from accelsim.frontends._onnx_dims import named
from accelsim.frontends._onnx_model import Constant, OnnxFile
from accelsim.workload.ops import Shape

# Which inputs of an operator are trained in every model: a graph's input that is read as nothing else is one of those.
_TRAINED = {
    "Conv": (1, 2), "ConvInteger": (1,), "QLinearConv": (3, 8), "Gemm": (2,), "PRelu": (1,), "LayerNormalization": (1, 2),
    "BatchNormalization": (1, 2, 3, 4), "LSTM": (1, 2, 3, 7), "GRU": (1, 2, 3), "RNN": (1, 2, 3),
}  # fmt: skip


@dataclass(frozen=True)
class GraphInputs:
    """What a graph reads: (the file's entry, its shape, the axis of its batch); ``trained``: weights that come from outside."""

    batch: int = 1
    tensors: tuple[tuple[Any, Shape, int], ...] = ()
    trained: tuple[Constant, ...] = ()
    faults: tuple[Fault, ...] = field(default=())
    open: tuple[str, ...] = ()  # those at fault


def graph_inputs(file: OnnxFile, known: Collection[str]) -> GraphInputs:
    """The inputs that are read and not ``known`` as constants; axis 0 of the first is the batch, 1 where that is a name."""
    used = [entry for entry in file.graph.input if entry.name not in known and file.uses[entry.name]]
    trained = [entry for entry in used if _is_trained(file, entry.name)]
    used = [entry for entry in used if entry not in trained]
    axes = file.sequences
    symbol = next((_symbol(entry, axes.get(entry.name, 0)) for entry in used if entry.type.tensor_type.shape.dim), "")
    faults: list[Fault] = []
    found = []
    for entry in used:
        shape = _shape(file, entry, axes.get(entry.name, 0), symbol, faults)
        if shape is not None:
            found.append((entry, shape, axes.get(entry.name, 0)))
    weights = [_weights(file, entry, faults) for entry in trained]
    found.sort(key=lambda entry: not entry[1])  # the batch is not in a scalar
    batch = 1 if not found or not found[0][1] or _has_no_batch(file, {entry.name for entry in used}) else found[0][1][found[0][2]]
    if not file.has_batch or any(shape and batch not in shape and shape[0] % batch for _, shape, _ in found):
        batch = 1  # an input has no such axis, so what stands first in another is none either
    known_weights = [w for w in weights if w is not None]
    read = {entry.name for entry, _, _ in found} | {weight.name for weight in known_weights}
    wrong = tuple(entry.name for entry in (*used, *trained) if entry.name not in read)
    return GraphInputs(batch, tuple(found), tuple(known_weights), tuple(faults), wrong)


def _is_trained(file: OnnxFile, name: str) -> bool:
    """Whether every reader takes ``name`` for its weights."""
    places = [
        (node.op_type, place)
        for node in file.readers.get(name, [])
        for place, read in enumerate(node.input)
        if read == name
    ]
    return name not in file.outputs and bool(places) and all(place in _TRAINED.get(op, ()) for op, place in places)


def _weights(file: OnnxFile, entry: Any, faults: list[Fault]) -> Constant | None:
    sizes = tuple(int(dim.dim_value) for dim in entry.type.tensor_type.shape.dim)
    if min(sizes, default=1) < 1:
        message = f"has the shape {list(sizes)}; weights must have a number for every size"
        faults.append(Fault(file.source, f'input "{entry.name}"', message))
        return None
    return Constant(entry.name, sizes, int(entry.type.tensor_type.elem_type))


def _has_no_batch(file: OnnxFile, names: set[str]) -> bool:
    """Whether a product's operands are both inputs of the graph, or a Scan goes along one: no first axis is the batch then."""
    if names & file.scanned:
        return True
    products = (n for n in file.nodes if n.op_type in ("MatMul", "Gemm", "MatMulInteger"))
    ranks = {entry.name: len(entry.type.tensor_type.shape.dim) for entry in file.graph.input}
    return any(
        names.issuperset(n.input[:2]) and all(ranks.get(name) == 2 for name in n.input[:2]) for n in products
    )


def _shape(file: OnnxFile, entry: Any, axis: int, symbol: str, faults: list[Fault]) -> Shape | None:
    """The input's shape with a symbolic batch as 1; a fault and None where another size is open."""

    def fault(message: str) -> None:
        faults.append(Fault(file.source, f'input "{entry.name}"', message))

    if not entry.type.HasField("tensor_type") or not entry.type.tensor_type.HasField("shape"):
        fault("has no shape (or is no tensor); give it one in the model")
        return None
    sizes, open_sizes = [], []
    for index, dim in enumerate(entry.type.tensor_type.shape.dim):
        is_batch = index == axis or (named(dim) and named(dim) == symbol)
        size = 1 if is_batch and dim.dim_value < 1 else int(dim.dim_value)  # some exporters write 0 or -1
        sizes.append(size)
        if size < 1:
            open_sizes.append((named(dim) or f"axis {index}", named(dim) or f"{entry.name}.{index}"))
    if sizes and len(sizes) <= axis:
        fault(f"has the shape {sizes}, which has no batch")
    elif open_sizes:
        asked = " ".join(f"--dim {quote(name)}=SIZE" for _, name in open_sizes)
        fault(f"has no number for {', '.join(words for words, _ in open_sizes)}; say {asked}")
    return None if open_sizes or (len(sizes) <= axis and sizes) else tuple(sizes)


def _symbol(entry: Any, axis: int) -> str:
    dims = entry.type.tensor_type.shape.dim
    return str(dims[axis].dim_param) if len(dims) > axis else ""
