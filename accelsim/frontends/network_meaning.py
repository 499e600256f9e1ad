"""Keys of a network's layers that mean nothing where they stand: each is a fault at its place (docs/decisions/0019).

What is the default, or says what is so anyway, is let pass: what a model writes can be read back.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from accelsim.errors import InputError
from accelsim.workload.network import Layer, Network, ValueSource
from accelsim.workload.ops import (
    Activation,
    BatchNorm,
    Elementwise,
    LayerNorm,
    Matmul,
    Pool2d,
    Recurrent,
    Select,
    TransformOutput,
    Upsample,
)  # fmt: skip
from accelsim.yaml_io import Document, KeyPath

Words = tuple[KeyPath, str]  # a key of a layer, and why it means nothing there
_ALPHA = ("leaky_relu", "prelu", "elu", "hard_sigmoid", "silu", "hard_swish")


def refuse_idle_keys(network: Network, entries: Iterable[Any], document: Document) -> None:
    """Raise `InputError` for every key of a layer that says nothing; ``entries``: what the file has of each layer."""
    layers = {layer.name: layer for layer in network.layers}
    read = {ref.source for layer in network.layers for ref in layer.inputs}
    faults = [document.fault(("inputs", name), "no layer reads it: drop it") for name in document.data.get("inputs") or {}
              if name not in read]  # fmt: skip
    for index, entry in enumerate(entries):
        for key, why in _idle(layers[entry.name], entry, network.inputs):
            faults.append(document.fault(("layers", index, *key), f"means nothing here: {why}; drop it"))
    if faults:
        raise InputError(faults)


def _idle(layer: Layer, entry: Any, inputs: Mapping[str, Any]) -> Iterator[Words]:
    said = {key for key in entry.model_fields_set if getattr(entry, key) != type(entry).model_fields[key].default}
    if "weight" in said and not _takes_weights(layer):
        yield ("weight",), f"{layer.op.op} has no weights"
    if "bias" in entry.model_fields_set and entry.bias is not False and not _takes_bias(layer):
        yield ("bias",), f"{layer.op.op} adds no bias"
    if "input" in said:
        yield from _idle_input(layer, inputs)
    for key in ("shift", "requantize"):
        if key in said and not _is_requantized(layer):
            yield (key,), f"{layer.op.op} has no accumulators to narrow"
    if layer.quantization.weight_zero_point and not layer.macs:
        yield ("quantization", "weight_zero_point"), f"{layer.op.op} multiplies no weights"
    yield from (((key,), why) for key, why in _idle_of_operator(layer) if key in said)


def _takes_weights(layer: Layer) -> bool:
    """Weights proper, or the constant operand, slopes or scales that a file gives."""
    if layer.weight_shape is not None or isinstance(layer.op, Matmul):
        return True
    given = layer.weight.file is not None or layer.weight.codebook is not None
    return given and isinstance(layer.op, Activation | BatchNorm | Elementwise | LayerNorm)


def _takes_bias(layer: Layer) -> bool:
    own = isinstance(layer.op, BatchNorm | LayerNorm) or (layer.macs > 0 and layer.bias is not None)
    return own or "bias" in type(layer.op).model_fields


def _is_requantized(layer: Layer) -> bool:
    if isinstance(layer.op, Recurrent):
        return layer.op.projection is not None
    return layer.macs > 0 or isinstance(layer.op, TransformOutput)


def _idle_input(layer: Layer, inputs: Mapping[str, Any]) -> Iterator[Words]:
    """What a layer reads from another is not the file's to say; how much of it is not zero is, where it is multiplied."""
    before = layer.inputs[0].source
    if before in inputs:
        return
    source = layer.input_values
    for key in ("file", "array", "codebook", "codebook_array", "pattern"):
        if getattr(source, key) != ValueSource.model_fields[key].default:
            yield ("input", key), f"layer {before} computes the input"
    if source.density < 1 and not layer.macs and source.pattern == "unstructured":
        yield ("input", "density"), f"layer {before} computes the input, and {layer.op.op} multiplies none of it"


def _idle_of_operator(layer: Layer) -> Iterator[tuple[str, str]]:
    """Keys of an operator that covers several, which its kind does not look at."""
    op = layer.op
    if isinstance(op, Activation):
        known = {"alpha": _ALPHA, "beta": ("hard_sigmoid",), "low": ("clip",), "high": ("clip",), "trained": ("prelu",)}
        yield from ((key, f"it is of {' and '.join(ops)}") for key, ops in known.items() if op.op not in ops)
    elif isinstance(op, Select):
        yield from ((key, "where chooses among its three inputs") for key in ("value", "trained", "constant_first", "whole"))
    elif isinstance(op, Elementwise) and len(layer.inputs) > 1 and layer.weight.file is None:
        yield from ((key, "it is of a constant operand, and both come from layers") for key in ("value", "constant_first"))
    elif isinstance(op, Elementwise) and layer.weight.file is not None:
        yield "value", "the constant operand comes from a file"
    elif isinstance(op, Pool2d) and op.op == "maxpool2d":
        yield "count_include_pad", "a maximum counts nothing"
    elif isinstance(op, Upsample) and op.rows and op.columns:
        yield "scale", "rows and columns say which pixels the output has"

