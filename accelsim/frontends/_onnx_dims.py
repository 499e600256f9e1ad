"""Sizes that an ONNX model leaves open, set from outside: ``NAME``, ``INPUT.AXIS``, or an ``INPUT`` that is one whole number."""

from __future__ import annotations

import ast
import operator
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from accelsim.errors import Fault, join_allowed, nearest

Dims = Mapping[str, int]
_OPERATIONS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.FloorDiv: operator.floordiv}


def set_dims(onnx: Any, graph: Any, dims: Dims) -> list[Fault]:
    """Write ``dims`` into the inputs of ``graph``; a fault for each that is no open size there."""
    used: set[str] = set()
    faults: list[Fault] = []
    for entry in list(_inputs(graph)):
        if entry.name in dims and _is_whole_number(entry):
            used.add(entry.name)
            kind = onnx.helper.tensor_dtype_to_np_dtype(entry.type.tensor_type.elem_type)
            value = np.full([1] * len(entry.type.tensor_type.shape.dim), dims[entry.name], kind)
            graph.initializer.append(onnx.numpy_helper.from_array(value, entry.name))
        for axis, dim in _open_dims(entry):
            name = next((name for name in (f"{entry.name}.{axis}", named(dim)) if name in dims), None)
            size = dims[name] if name else _computed(dim.dim_param, dims, used)
            used.add(name or "")
            if size is not None and size > 0:
                dim.dim_value = size
            elif name:
                faults.append(Fault("--dim", name, f"is {size}, must be a whole number of at least 1"))
    used |= {name for name in decisions(graph) if name in dims}
    allowed = sorted({*open_names(graph), *used} - {""})
    return faults + [
        Fault("--dim", name, f"is no open size of the model{nearest(name, allowed)}; "
              + (f"must be {join_allowed(allowed)}" if allowed else "it has none"))
        for name in dims if name not in used
    ]  # fmt: skip


def decisions(graph: Any) -> Iterator[str]:
    """What says which branch runs, or how often a loop does: where that is computed, it may be given."""
    for node in graph.node:
        if node.op_type in ("If", "Loop"):
            yield from (name for name in node.input[:2] if name)
        for entry in node.attribute:
            if entry.HasField("g"):
                yield from decisions(entry.g)


def open_names(graph: Any) -> Iterator[str]:
    """The names under which sizes that are open can be set."""
    for entry in _inputs(graph):
        yield from (named(dim) or f"{entry.name}.{axis}" for axis, dim in _open_dims(entry))
        if _is_whole_number(entry):
            yield entry.name


def whole_numbers(graph: Any) -> list[str]:
    """The inputs that are one whole number each."""
    return [entry.name for entry in _inputs(graph) if _is_whole_number(entry)]


def named(dim: Any) -> str:
    """The name of a size, if it is one: exporters write "?" for any that they do not know."""
    return "" if dim.dim_param == "?" else str(dim.dim_param)


def _inputs(graph: Any) -> Iterator[Any]:
    known = {tensor.name for tensor in graph.initializer}
    return (entry for entry in graph.input if entry.name not in known and entry.type.HasField("tensor_type"))


def _open_dims(entry: Any) -> Iterator[tuple[int, Any]]:
    dims = entry.type.tensor_type.shape.dim
    return ((axis, dim) for axis, dim in enumerate(dims) if dim.dim_value < 1)


def _is_whole_number(entry: Any) -> bool:
    kind = entry.type.tensor_type
    return kind.elem_type in (6, 7, 9) and kind.HasField("shape") and all(dim.dim_value == 1 for dim in kind.shape.dim)


def _computed(text: str, dims: Dims, used: set[str]) -> int | None:
    """A size that is a sum or product of named ones (``past + sequence``); None where it is none that is known."""
    try:
        return _value(ast.parse(text, mode="eval").body, dims, used)
    except (SyntaxError, KeyError, ZeroDivisionError, ValueError):
        return None


def _value(node: ast.expr, dims: Dims, used: set[str]) -> int:
    if isinstance(node, ast.Name):
        used.add(node.id) if node.id in dims else None
        return dims[node.id]
    if isinstance(node, ast.Constant) and isinstance(node.value, int):
        return node.value
    if isinstance(node, ast.BinOp) and type(node.op) in _OPERATIONS:
        found: int = _OPERATIONS[type(node.op)](_value(node.left, dims, used), _value(node.right, dims, used))
        return found
    raise ValueError("no sum or product")
