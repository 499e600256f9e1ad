"""The factorize pass: a layer becomes two, three or four smaller ones; the last bears its name and its bias."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Literal

import numpy as np

from accelsim.compression.arrays import FLOATS, Array, held_values, is_trained, weight_of
from accelsim.compression.factors import Rank, cp, svd, tucker2
from accelsim.errors import Fault, InputError
from accelsim.workload.network import Layer, LayerSketch, Network, Odds
from accelsim.workload.ops import Conv2d, Linear, Op

Method = Literal["svd", "tucker2", "cp"]


def factorize(network: Network, names: list[str], method: Method, rank: Rank, seed: int = 0) -> Network:
    """``network`` with the named layers factorized: linear layers by SVD, convolutions by Tucker-2 or CP."""
    sketches: list[LayerSketch] = []
    for sketch in network.sketches:
        if sketch.name not in names:
            sketches.append(sketch)
            continue
        layer = network.layer(sketch.name)
        parts = _parts(layer, method, rank, seed)
        sketches += _chain(sketch, tuple(str(ref) for ref in layer.inputs), parts)
    return network.with_sketches(sketches)


def can_factorize(layer: Layer, method: Method) -> bool:
    """Whether ``method`` is for such layers."""
    if not is_trained(layer):
        return False
    if method == "svd":
        return isinstance(layer.op, Linear)
    return isinstance(layer.op, Conv2d) and layer.op.group_count(layer.input_shapes[0][1]) == 1


def _parts(layer: Layer, method: Method, rank: Rank, seed: int) -> list[tuple[str, Op, Array]]:
    """(suffix, operator, weights) of each layer that replaces ``layer``, the last with no suffix."""
    if not can_factorize(layer, method):
        raise InputError(Fault(layer.name, "factorize", f"{method} does not factorize a {layer.op.op} (of one group)"))
    weight, op = weight_of(layer), layer.op
    if isinstance(op, Linear):
        out, into = svd(weight, rank, layer.name)
        first = op.model_copy(update={"out": len(into), "bias": False})
        return [("_in", first, into), ("", op.model_copy(update={"in_": None}), out)]
    assert isinstance(op, Conv2d)
    if method == "tucker2":
        inputs, core, outputs = tucker2(weight, rank, layer.name)
        middle = op.model_copy(update={"K": len(core), "bias": False})
        return [
            ("_in", _pointwise(len(inputs)), inputs[:, :, None, None]),
            ("_core", middle, core),
            ("", _pointwise(len(outputs), op.bias), outputs[:, :, None, None]),
        ]
    inputs, rows, columns, outputs = cp(weight, rank, layer.name, seed)
    terms, (top, bottom, left, right), (down, along) = len(inputs), op.pad, op.stride
    shared: dict[str, Any] = {"K": terms, "groups": "depthwise", "bias": False}
    vertical = op.model_copy(
        update={**shared, "S": 1, "stride": (down, 1), "pad": (top, bottom, 0, 0), "dilation": (op.dilation[0], 1)}
    )
    across = op.model_copy(
        update={**shared, "R": 1, "stride": (1, along), "pad": (0, 0, left, right), "dilation": (1, op.dilation[1])}
    )
    return [
        ("_in", _pointwise(terms), inputs[:, :, None, None]),
        ("_rows", vertical, rows[:, None, :, None]),
        ("_columns", across, columns[:, None, None, :]),
        ("", _pointwise(len(outputs), op.bias), outputs[:, :, None, None]),
    ]


def _pointwise(channels: int, bias: bool = False) -> Conv2d:
    return Conv2d(K=channels, R=1, S=1, bias=bias)


def _chain(sketch: LayerSketch, inputs: tuple[str, ...], parts: list[tuple[str, Op, Array]]) -> list[LayerSketch]:
    chain = []
    for suffix, op, weight in parts:
        name = sketch.name + suffix
        source = held_values(np.ascontiguousarray(weight, dtype=np.float32))
        if not suffix:
            chain.append(replace(sketch, op=op, inputs=inputs, weight=source))
        else:
            chain.append(LayerSketch(name, op, inputs, FLOATS, source, odds=Odds(gate=sketch.odds.gate)))
        inputs = (name,)
    return chain
