"""Subgraphs: what they read from outside of them, and an If whose condition is known written out."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any


def subgraphs(node: Any) -> list[Any]:
    """The graphs among a node's attributes: branches, or the body of a loop."""
    return [
        graph
        for entry in node.attribute
        for graph in ([entry.g] if entry.HasField("g") else []) + list(entry.graphs)
    ]


def reads(node: Any) -> Iterator[str]:
    """Everything that a node reads, from inside its subgraphs too."""
    yield from (name for name in node.input if name)
    yield from captures(node)


def captures(node: Any) -> Iterator[str]:
    """What the subgraphs of a node read from outside of them."""
    for graph in subgraphs(node):
        own = _made_inside(graph)
        for inner in graph.node:
            yield from (name for name in reads(inner) if name not in own)
        yield from (output.name for output in graph.output if output.name not in own)


def _made_inside(graph: Any) -> set[str]:
    names = {name for node in graph.node for name in node.output}
    return names | {entry.name for entry in (*graph.input, *graph.initializer)}


def chosen_branch(node: Any, condition: bool) -> Any:
    """The graph that an If runs."""
    key = "then_branch" if condition else "else_branch"
    return next((entry.g for entry in node.attribute if entry.name == key), None)


def write_out(onnx: Any, graph: Any, chosen: Iterable[tuple[Any, Any]]) -> None:
    """Put the nodes of the branches that are chosen in the places of their If nodes."""
    branches = {node.output[0]: branch for node, branch in chosen}
    nodes = []
    for node in graph.node:
        branch = branches.get(node.output[0]) if node.output and node.op_type == "If" else None
        nodes += [node] if branch is None else _inlined(onnx, graph, node, branch)
    copies = [onnx.NodeProto.FromString(node.SerializeToString()) for node in nodes]
    del graph.node[:]
    graph.node.extend(copies)


def _inlined(onnx: Any, graph: Any, node: Any, branch: Any) -> list[Any]:
    """The nodes of a branch, its inner names made unique and its outputs those of the If."""
    prefix = f"{node.name or node.output[0]}/"
    names = {name: f"{prefix}{name}" for name in _made_inside(branch) if name}
    made = {name for inner in branch.node for name in inner.output}
    for outer, inner in zip(node.output, branch.output, strict=False):
        if outer and inner.name in made and names[inner.name].startswith(prefix):
            names[inner.name] = outer
    for tensor in branch.initializer:
        copy = graph.initializer.add()
        copy.CopyFrom(tensor)
        copy.name = names[tensor.name]
    result = [onnx.NodeProto.FromString(inner.SerializeToString()) for inner in branch.node]
    for inner in result:
        _rename(inner, names)
    for outer, inner in zip(node.output, branch.output, strict=False):
        source = names.get(inner.name, inner.name)
        if outer and source != outer:
            result.append(onnx.helper.make_node("Identity", [source], [outer]))
    return result


def _rename(node: Any, names: Mapping[str, str]) -> None:
    for field in (node.input, node.output):
        for place, name in enumerate(field):
            field[place] = names.get(name, name)
    for graph in subgraphs(node):
        own = _made_inside(graph)
        outside = {name: new for name, new in names.items() if name not in own}
        for inner in graph.node:
            _rename(inner, outside)
        for output in graph.output:
            output.name = outside.get(output.name, output.name)
