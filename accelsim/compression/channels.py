"""Pruning whole channels: which channels of which layers stand or fall together, and the smaller network.

Every tensor's channels have labels. A convolution or linear layer makes new ones; an element-wise operation with
several inputs makes theirs the same, for a residual sum needs a channel in both or in neither; a concatenation puts
them side by side; everything else hands them on. Labels that reach the network's output, a grouped convolution or an
operator that mixes channels cannot go.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from accelsim.compression.arrays import bias_of, held_dense, held_values, is_trained, weight_of
from accelsim.workload.network import Layer, LayerSketch, Network, TensorRef
from accelsim.workload.ops import (
    Activation,
    BatchNorm,
    Concat,
    Conv2d,
    Elementwise,
    GlobalPool,
    Linear,
    Op,
    Pad,
    Pool2d,
    Reshape,
    Upsample,
)

Labels = npt.NDArray[np.int64]
_HANDS_ON = (Activation, BatchNorm, GlobalPool, Pad, Pool2d, Upsample)


@dataclass
class Channels:
    """Labels of the channels of every tensor; ``fixed`` ones cannot be pruned."""

    labels: dict[TensorRef, Labels] = field(default_factory=dict)
    parents: list[int] = field(default_factory=list)
    fixed: set[int] = field(default_factory=set)

    @classmethod
    def of(cls, network: Network) -> Channels:
        """Follow every channel of ``network`` from where it is made to where it is read."""
        table = cls()
        for name, shape in network.inputs.items():
            table.labels[TensorRef(name)] = table._fix(table._new(shape[0]))
        for layer in network.layers:
            table._layer(layer)
        for ref, readers in network.consumers().items():
            if not readers:
                table._fix(table.labels[ref])
        return table

    def root(self, label: int) -> int:
        while self.parents[label] != label:
            self.parents[label] = label = self.parents[self.parents[label]]
        return label

    def roots(self, labels: Labels) -> Labels:
        return np.array([self.root(int(label)) for label in labels], np.int64)

    def free(self, ref: TensorRef) -> npt.NDArray[np.bool_]:
        """Which channels of a tensor may go."""
        fixed = {self.root(label) for label in self.fixed}
        return np.array([root not in fixed for root in self.roots(self.labels[ref])], np.bool_)

    def _new(self, count: int) -> Labels:
        first = len(self.parents)
        self.parents += range(first, first + count)
        return np.arange(first, first + count, dtype=np.int64)

    def _fix(self, labels: Labels) -> Labels:
        self.fixed.update(int(label) for label in labels)
        return labels

    def _layer(self, layer: Layer) -> None:
        inputs = [self.labels[ref] for ref in layer.inputs]
        for port, shape in enumerate(layer.output_shapes):
            made = self._made(layer, inputs, shape) if port == 0 else self._fix(self._new(shape[1]))
            self.labels[TensorRef(layer.name, port)] = made

    def _made(self, layer: Layer, inputs: list[Labels], shape: tuple[int, ...]) -> Labels:
        """Labels of a layer's output."""
        op = layer.op
        if isinstance(op, Conv2d):
            groups = op.group_count(layer.input_shapes[0][1])
            if groups == 1:
                return self._new(shape[1])
            if groups == layer.input_shapes[0][1] == shape[1]:
                return inputs[0]  # depthwise: one filter a channel
        if isinstance(op, Linear) and len(layer.input_shapes[0]) in (2, 4):
            return self._new(shape[1])
        if isinstance(op, _HANDS_ON):
            return inputs[0]
        if isinstance(op, Reshape) and len(shape) == 2:
            return inputs[0].repeat(shape[1] // len(inputs[0]))  # an image flattened, channel by channel
        if isinstance(op, Concat) and op.axis == 1:
            return np.concatenate(inputs)
        if isinstance(op, Elementwise) and all(len(labels) == shape[1] for labels in inputs) and not op.trained:
            return self._united(inputs)
        for labels in inputs:
            self._fix(labels)
        return self._fix(self._new(shape[1] if len(shape) > 1 else 1))

    def _united(self, inputs: list[Labels]) -> Labels:
        for other in inputs[1:]:
            for first, second in zip(inputs[0], other, strict=True):
                self.parents[self.root(int(second))] = self.root(int(first))
        return inputs[0]


def prunable(network: Network, channels: Channels) -> list[Layer]:
    """Layers that make channels which may go."""
    made = [layer for layer in network.layers if isinstance(layer.op, Conv2d | Linear) and is_trained(layer)]
    return [layer for layer in made if not _is_depthwise(layer) and channels.free(TensorRef(layer.name)).any()]


def _is_depthwise(layer: Layer) -> bool:
    return isinstance(layer.op, Conv2d) and layer.op.group_count(layer.input_shapes[0][1]) > 1


def choose_labels(
    channels: Channels, scores: Mapping[str, npt.NDArray[np.float64]], density: Mapping[str, float]
) -> set[int]:
    """The labels that go: of each layer in ``scores`` the channels with the lowest, until ``density`` of them is left.

    Channels that stand together (a residual sum) are judged by the sum of their scores; at least one of a layer stays.
    """
    total: dict[int, float] = {}
    roots = {name: channels.roots(channels.labels[TensorRef(name)]) for name in scores}
    for name, score in scores.items():
        for root, value in zip(roots[name], score / max(float(np.mean(score)), 1e-30), strict=True):
            total[int(root)] = total.get(int(root), 0.0) + float(value)
    gone: set[int] = set()
    for name in scores:
        free = channels.free(TensorRef(name))
        keep = max(1, round(density[name] * len(free)))
        order = sorted((total[int(r)], i, int(r)) for i, r in enumerate(roots[name]) if free[i] and int(r) not in gone)
        surplus = sum(int(r) not in gone for r in roots[name]) - keep
        gone.update(root for _, _, root in order[: max(0, surplus)])
    return gone


def without(network: Network, channels: Channels, gone: set[int]) -> Network:
    """The network with every channel whose label is in ``gone`` taken out, shapes and weights and all."""
    kept = {ref: ~np.isin(channels.roots(labels), list(gone)) for ref, labels in channels.labels.items()}
    changes = {layer.name: _smaller(layer, kept) for layer in network.layers}
    return network.with_sketches([_with(sketch, changes[sketch.name]) for sketch in network.sketches])


def _with(sketch: LayerSketch, changes: dict[str, Any]) -> LayerSketch:
    return replace(sketch, **changes)


def _smaller(layer: Layer, kept: Mapping[TensorRef, npt.NDArray[np.bool_]]) -> dict[str, Any]:
    """What changes in a layer whose inputs and outputs keep only some channels."""
    into, out = kept[layer.inputs[0]], kept[TensorRef(layer.name)]
    op = layer.op
    if isinstance(op, Reshape) and not out.all() and -1 not in op.to:
        return {"op": op.model_copy(update={"to": (int(out.sum()),)})}
    if not is_trained(layer) or (into.all() and out.all()):
        return {}
    weight = weight_of(layer)[out]
    if isinstance(op, Linear) and len(layer.input_shapes[0]) == 4:
        into = into.repeat(weight[0].size // into.size)
    if not _is_depthwise(layer):
        weight = weight[:, into]
    changes: dict[str, Any] = {"op": _narrower(op, int(out.sum()), int(into.sum()))}
    changes["weight"] = held_values(np.ascontiguousarray(weight))
    if layer.bias is not None:
        changes["bias"] = held_dense(bias_of(layer)[out])
    return changes


def _narrower(op: Op, out: int, into: int) -> Op:
    if isinstance(op, Conv2d):
        groups: Any = out if isinstance(op.groups, int) and op.groups > 1 else op.groups
        return op.model_copy(update={"K": out, "groups": groups})
    assert isinstance(op, Linear)
    return op.model_copy(update={"out": out, "in_": into if op.in_ is not None else None})


# ---- what a channel is worth ------------------------------------------------------------------------------------


def l1_scores(weights: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Sum of magnitudes of every filter (Li et al., ICLR 2017, arXiv 1608.08710)."""
    return np.asarray(np.abs(weights.reshape(len(weights), -1)).sum(axis=1, dtype=np.float64))


def median_scores(weights: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Sum of distances to all other filters: what is near the geometric median can be said by the others.

    He et al., CVPR 2019, arXiv 1811.00250.
    """
    rows = weights.reshape(len(weights), -1).astype(np.float64)
    square = np.square(rows).sum(axis=1)
    distances = np.maximum(square[:, None] + square[None] - 2 * rows @ rows.T, 0)
    np.fill_diagonal(distances, 0)
    return np.asarray(np.sqrt(distances).sum(axis=1))


def apoz_scores(activations: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Share of a channel's activations that are not zero (1 - APoZ; Hu et al., 2016, arXiv 1607.03250)."""
    axes = (0, *range(2, activations.ndim))
    return np.asarray(np.mean(activations != 0, axis=axes, dtype=np.float64))
