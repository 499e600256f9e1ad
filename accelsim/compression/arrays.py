"""A network's trained numbers in memory: taken out of its layers, and put back into them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from accelsim.errors import Fault, InputError
from accelsim.workload.network import Held, Layer, LayerSketch, Network, Provided, Quantization, Requantize, ValueSource
from accelsim.workload.ops import Conv2d, Linear, LocallyConnected2d, Matmul
from accelsim.workload.precision import NumberFormat, Precision
from accelsim.workload.values import bias_values, weight_values

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
FLOAT = NumberFormat("fp", 32)
FLOATS = Precision(weight=FLOAT, input=FLOAT, accumulator=FLOAT, output=FLOAT)
AnyLayer = TypeVar("AnyLayer", Layer, LayerSketch)


def is_trained(layer: Layer) -> bool:
    """Whether a layer has MACs and weights of its own, which passes may change."""
    return isinstance(layer.op, Conv2d | Linear | LocallyConnected2d | Matmul) and layer.weight_shape is not None


def as_float(network: Network, seed: int = 0) -> Network:
    """The float network to compress: fp32 throughout, every weight and bias in memory.

    Weights that no file gives are drawn from ``seed``, at the density that the layer states.
    """
    sketches = [
        replace(s, precision=FLOATS, requantize=Requantize(), quantization=Quantization()) for s in network.sketches
    ]
    floats = network.with_sketches(sketches)
    changed = {layer.name: _in_memory(layer, seed) for layer in floats.layers if is_trained(layer)}
    return with_layers(floats, changed)


def _in_memory(layer: Layer, seed: int) -> dict[str, Any]:
    weight = finite(weight_values(layer, seed).astype(np.float32), f"{layer.name}.weight")
    bias = bias_values(layer)
    held = held_dense(finite(bias.astype(np.float32), f"{layer.name}.bias")) if bias is not None else None
    return {"weight": held_values(weight), "bias": held}


def finite(values: Array, name: str) -> Array:
    """``values``, or `InputError` where one is not a finite number."""
    bad = ~np.isfinite(values)
    if bad.any():
        place = [int(i) for i in np.unravel_index(int(np.argmax(bad)), values.shape)]
        message = f"element {place} is {values[tuple(place)]}, must be a finite number"
        raise InputError(Fault(name, "", message))
    return values


def held_values(values: Array, codebook: Array | None = None) -> Provided:
    """Weights in memory; with ``codebook``, indices into it. Their density is what it is."""
    codes = Held(codebook) if codebook is not None else None
    return Provided(provider=Held(values), codes=codes, density=_density(values, codebook))


def held_dense(values: Array) -> Provided:
    """Biases or inputs in memory."""
    return Provided(provider=Held(values))


def _density(values: Array, codebook: Array | None) -> float:
    kept = codebook[values] if codebook is not None else values
    return max(int(np.count_nonzero(kept)), 1) / max(kept.size, 1)


def weight_of(layer: Layer) -> Floats:
    """Weights of a float network's layer, in the layout of interface.md."""
    return weight_values(layer, 0).astype(np.float32)


def bias_of(layer: Layer) -> Floats:
    """Biases of a float network's layer, one an output channel; zeros where it has none."""
    found = bias_values(layer)
    channels = layer.output_shapes[0][1 if len(layer.output_shapes[0]) == 4 else -1]
    return np.zeros(channels, np.float32) if found is None else found.astype(np.float32)


def codebook_of(source: ValueSource) -> tuple[Array, Array] | None:
    """(indices, values) of weights that are shared by a codebook in memory."""
    if isinstance(source, Provided) and source.codes is not None:
        return source.provider.read(), source.codes.read()
    return None


def with_layers(network: Network, changes: dict[str, dict[str, Any]]) -> Network:
    """``network`` with fields of some layers replaced."""
    return network.with_sketches([replace(s, **changes.get(s.name, {})) for s in network.sketches])


def with_weights(network: Network, weights: dict[str, Array]) -> Network:
    """``network`` with other weights in some layers."""
    return with_layers(network, {name: {"weight": held_values(w)} for name, w in weights.items()})
