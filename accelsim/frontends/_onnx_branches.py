"""Graphs inside of nodes, and nodes written out as others: what a branch, a loop or a function stands for.

A `Piece` is the nodes that take the place of one. Their inner names get a prefix that no other name has (a name that the
node makes), so that pieces can be put into the graph, and into each other, as they are.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np


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
        own = made_inside(graph)
        for inner in graph.node:
            yield from (name for name in reads(inner) if name not in own)
        yield from (output.name for output in graph.output if output.name not in own)


def made_inside(graph: Any) -> set[str]:
    """The names that a graph itself gives: its inputs, constants and results."""
    names = {name for node in graph.node for name in node.output}
    return names | {entry.name for entry in (*graph.input, *graph.initializer)}


def graph_attribute(node: Any, key: str) -> Any:
    """The graph that a node has under ``key``."""
    return next((entry.g for entry in node.attribute if entry.name == key and entry.HasField("g")), None)


def rename(node: Any, names: Mapping[str, str]) -> None:
    """Give a node's inputs and outputs other names, also where its subgraphs read them."""
    for field in (node.input, node.output):
        for place, name in enumerate(field):
            field[place] = names.get(name, name)
    for graph in subgraphs(node):
        own = made_inside(graph)
        outside = {name: new for name, new in names.items() if name not in own}
        for inner in graph.node:
            rename(inner, outside)
        for output in graph.output:
            output.name = outside.get(output.name, output.name)


class Piece:
    """Nodes, and the constants that they read, in the place of the node ``proto``."""

    def __init__(self, onnx: Any, proto: Any) -> None:
        self.onnx = onnx
        self.prefix = next((f"{name}/" for name in proto.output if name), "")
        self.label = proto.name or self.prefix.rstrip("/")
        self.nodes: list[Any] = []
        self.tensors: list[Any] = []

    def constant(self, value: Any) -> str:
        """The name of a constant that holds ``value``."""
        name = f"{self.prefix}constant{len(self.tensors)}"
        self.tensors.append(self.onnx.numpy_helper.from_array(np.asarray(value, order="C"), name))
        return name

    def integers(self, *values: int) -> str:
        return self.constant(np.asarray(values, np.int64))

    def node(self, op: str, inputs: Sequence[str], outputs: int | Sequence[str] = 1, **attributes: Any) -> list[str]:
        """Append a node; the names of its outputs, made up where only their number is given."""
        place = f"{len(self.nodes)}"
        made = [f"{self.prefix}{op}{place}.{i}" for i in range(outputs)] if isinstance(outputs, int) else list(outputs)
        name = f"{self.label}/{op}" if not isinstance(outputs, int) else f"{self.label}/{op}{place}"
        self.nodes.append(self.onnx.helper.make_node(op, list(inputs), made, name=name, **attributes))
        return made

    def one(self, op: str, *inputs: str, **attributes: Any) -> str:
        """Append a node; the name of its one output."""
        return self.node(op, inputs, **attributes)[0]

    def inline(self, graph: Any, given: Sequence[str], prefix: str = "") -> list[str]:
        """Append the nodes of ``graph``, its inputs being ``given``; what its outputs are called here."""
        prefix = f"{self.prefix}{prefix}"
        names = {name: f"{prefix}{name}" for name in made_inside(graph) if name}
        names |= {entry.name: name for entry, name in zip(graph.input, given, strict=False)}
        for tensor in graph.initializer:
            self.tensors.append(self._copy(tensor))
            self.tensors[-1].name = names[tensor.name]
        self.copy(graph.node, names)
        return [names.get(output.name, output.name) for output in graph.output]

    def copy(self, nodes: Iterable[Any], names: Mapping[str, str]) -> None:
        """Append copies of ``nodes`` under other names."""
        for node in nodes:
            self.nodes.append(self._copy(node))
            rename(self.nodes[-1], names)

    def give(self, sources: Iterable[str], outputs: Iterable[str]) -> None:
        """Let ``outputs`` be other names of ``sources``."""
        for source, output in zip(sources, outputs, strict=False):
            if output and source != output:
                self.nodes.append(self.onnx.helper.make_node("Identity", [source], [output]))

    @staticmethod
    def _copy(proto: Any) -> Any:
        return type(proto).FromString(proto.SerializeToString())
