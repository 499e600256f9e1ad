"""Running a network on data: float or integer, layer by layer, in plain numpy."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from accelsim.compression.arrays import Array
from accelsim.errors import Fault, InputError
from accelsim.workload.array_files import check_labels
from accelsim.workload.fixed_point import quantized, real_numbers
from accelsim.workload.functional import run_reference
from accelsim.workload.network import Affine, Layer, Network, TensorRef

Outputs = Mapping[str, tuple[Array, ...]]


def run_on(network: Network, images: Array) -> dict[str, tuple[Array, ...]]:
    """Outputs of every layer for ``images`` (samples first); a quantized network's images are quantized first."""
    reader = input_reader(network)
    many = network.with_batch(len(images))
    shape = (len(images), *next(iter(network.inputs.values())))
    if images.size != np.prod(shape):
        raise InputError(
            Fault("data", "", f"has samples of shape {list(images.shape[1:])}, {network.name} takes {list(shape[1:])}")
        )
    values = integers_for(reader, images.reshape(shape))
    return run_reference(many, 0, {next(iter(network.inputs)): values})


def input_reader(network: Network) -> Layer:
    """The first layer that reads the graph's one input and knows what its integers stand for, or else the first."""
    if len(network.inputs) != 1:
        message = f"has the inputs {', '.join(network.inputs)}; data can be given for one"
        raise InputError(Fault(network.name, "", message))
    ref = TensorRef(next(iter(network.inputs)))
    readers = [layer for layer in network.layers if ref in layer.inputs]
    scaled = (layer for layer in readers if layer.quantization.inputs and layer.inputs[0] == ref)
    return next(scaled, readers[0])


def integers_for(reader: Layer, images: Array) -> Array:
    """``images`` as the layer takes them: quantized by its input's scale, or as they are."""
    scales = reader.quantization.inputs
    if not reader.precision.input.is_integer:
        return images.astype(np.float32)
    return quantized(images, scales[0] if scales else Affine(), reader.precision.input)


def real_outputs(network: Network, outputs: Outputs) -> dict[str, Array]:
    """First outputs as the numbers that they stand for, float32."""
    scales = output_scales(network)
    return {
        name: real_numbers(arrays[0], scales[name]) if arrays[0].dtype.kind in "iu" else arrays[0]
        for name, arrays in outputs.items()
    }


def output_scales(network: Network) -> dict[str, Affine]:
    """What every layer's integers stand for; a layer that states no scale has its input's."""
    reader = input_reader(network).quantization.inputs
    table: dict[str, Affine] = {next(iter(network.inputs)): reader[0] if reader else Affine()}
    for layer in network.layers:
        table[layer.name] = layer.quantization.output or table[layer.inputs[0].source]
    return table


def final_layer(network: Network) -> Layer:
    """The last layer whose output nobody reads."""
    readers = network.consumers()
    return [layer for layer in network.layers if not readers[TensorRef(layer.name)]][-1]


def top1(outputs: Outputs, network: Network, labels: Array) -> float:
    """Share of samples whose largest output is the labelled one; of equal outputs the first counts."""
    scores = outputs[final_layer(network).name][0].reshape(len(labels), -1)
    try:
        check_labels(labels, scores.shape[1])
    except ValueError as error:
        raise InputError(Fault("labels", "", str(error))) from None
    return float(np.mean(scores.argmax(axis=1) == labels))
