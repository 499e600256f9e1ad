"""What a user gives a network to run on: arrays for its inputs, and labels.

``FILE``, ``FILE:ARRAY`` or ``NAME=FILE``: an ``.npy``, or an ``.npz`` whose arrays have the names of the network's inputs
(an ONNX model's own names will do). Of one input an ``.npz`` may hold one array of any name, and ``labels`` beside it.
Floats are real numbers, quantized by the input's scale where the network takes integers; integers are taken as they are.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from accelsim.errors import Fault, InputError, join_allowed, nearest
from accelsim.frontends._names import clean_name
from accelsim.workload.array_files import Array, check_labels, read_arrays
from accelsim.workload.fixed_point import quantized
from accelsim.workload.network import Affine, Layer, Network, TensorRef
from accelsim.workload.ops import Embedding, Shape
from accelsim.workload.values import fitted_input, is_given

LABELS = "labels"


@dataclass(frozen=True)
class Given:
    """Arrays by the name that a user gave them ("" for an only one), where each comes from, and labels."""

    arrays: Mapping[str, Array]
    places: Mapping[str, str]
    labels: Array | None = None

    def batch_for(self, network: Network) -> int:
        """The batch of the arrays: their first axis, where that is one more than a sample has; else the network's."""
        sizes = {
            name: len(array)
            for name, array in self._named(network).items()
            if array.ndim and array.shape in _forms((len(array), *network.inputs[name]))
        }
        if len(set(sizes.values())) > 1:
            words = ", ".join(f"{name} {size}" for name, size in sizes.items())
            raise InputError(Fault("--input", "", f"gives inputs of different batches: {words}"))
        return next(iter(sizes.values()), network.batch)

    def inputs(self, network: Network) -> dict[str, Array]:
        """The arrays by the network's own names, batch first, as its layers read them; `InputError` with every fault."""
        faults: list[Fault] = []
        result = {}
        for name, array in self._named(network).items():
            try:
                result[name] = _fitted(network, name, array, self._place(name))
            except InputError as error:
                faults += error.faults
        if self.labels is not None and self.labels.shape != (network.batch,):
            message = f"has the shape {list(self.labels.shape)}, must be one label a sample: {network.batch}"
            faults.append(Fault(self.places.get(LABELS, "--input"), LABELS, message))
        if faults:
            raise InputError(faults)
        return result

    def top1(self, network: Network, outputs: Mapping[str, Array]) -> float | None:
        """Share of the samples whose largest output of the last layer is the labelled one; None without labels."""
        if self.labels is None:
            return None
        readers = network.consumers()
        last = [layer.name for layer in network.layers if not readers[TensorRef(layer.name)]][-1]
        scores = outputs[last].reshape(len(self.labels), -1)
        try:
            labels = check_labels(self.labels, scores.shape[1])
        except ValueError as error:
            raise InputError(Fault(self.places.get(LABELS, "--input"), LABELS, str(error))) from None
        return float(np.mean(scores.argmax(axis=1) == labels))

    def _named(self, network: Network) -> dict[str, Array]:
        """Arrays by the network's names of its inputs."""
        open_inputs = _without_values(network)
        if len(self.arrays) == len(open_inputs) == 1 and not set(self.arrays) & set(network.inputs):
            return dict(zip(open_inputs, self.arrays.values(), strict=True))
        known = {clean_name(name): name for name in network.inputs} | {name: name for name in network.inputs}
        names = {name: known.get(name) or known.get(clean_name(name)) for name in self.arrays}
        wrong = [name for name, found in names.items() if found is None]
        if wrong:
            raise InputError(
                Fault(self._place(name), name or "array", f"is no input of {network.name}{nearest(name, network.inputs)}; "
                      f"must be named {join_allowed(network.inputs)}")
                for name in wrong
            )  # fmt: skip
        return {names[name] or "": array for name, array in self.arrays.items()}

    def _place(self, name: str) -> str:
        return self.places.get(name) or next(iter(self.places.values()), "--input")


def _without_values(network: Network) -> list[str]:
    """The inputs that have no values of their own, as a constant that an ONNX model joins to a tensor has."""
    given = {layer.inputs[0].source for layer in network.layers if layer.inputs and is_given(layer.input_values)}
    return [name for name in network.inputs if name not in given] or list(network.inputs)


def given_arrays(arrays: Mapping[str, Any]) -> Given:
    """Arrays by the names of inputs, as a caller has them; ``labels`` among them."""
    found = {name: np.asarray(array) for name, array in arrays.items()}
    labels = found.pop(LABELS, None)
    return Given(found, {}, None if labels is None else labels.ravel())


def read_given(texts: Iterable[str | Path]) -> Given:
    """Read the files of ``--input``; raises `InputError` with every fault."""
    arrays: dict[str, Array] = {}
    places: dict[str, str] = {}
    faults: list[Fault] = []
    for text in texts:
        name, file, wanted = _split(str(text))
        try:
            found = read_arrays(file, wanted)
        except ValueError as error:
            faults.append(Fault(str(file), name, str(error)))
            continue
        if name:
            labels = {LABELS: found[LABELS]} if LABELS in found and len(found) == 2 else {}
            rest = [array for key, array in found.items() if key not in labels]
            if len(rest) != 1:
                faults.append(Fault(str(file), name, f"holds {join_allowed(found)}; name one: {name}={file}:ARRAY"))
                continue
            found = {name: rest[0]} | labels
        arrays |= found
        places |= dict.fromkeys(found, str(file))
    if faults:
        raise InputError(faults)
    labels_found = arrays.pop(LABELS, None)
    return Given(arrays, places, None if labels_found is None else np.ravel(labels_found))


def _split(text: str) -> tuple[str, Path, str | None]:
    """``NAME=FILE:ARRAY`` -> its parts; a file may have either sign in its name."""
    name = ""
    if not _is_file(text) and "=" in text:
        name, _, text = text.partition("=")
    file, colon, array = text.rpartition(":")
    if colon and not os.path.exists(text) and _is_file(file):
        return name, Path(file), array
    return name, Path(text), None


def _is_file(text: str) -> bool:
    return os.path.isfile(text)


def _fitted(network: Network, name: str, array: Array, place: str) -> Array:
    """One input as the first layer that reads it takes it: numbers of its format, with the batch."""
    reader, position = _reader(network, name)
    precision = reader.precision.input
    if array.dtype.kind not in "biuf":
        raise InputError(Fault(place, name, f"holds values of type {array.dtype}, must hold integers or floats"))
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        bad = [int(i) for i in np.argwhere(~np.isfinite(array))[0]]
        raise InputError(Fault(place, name, f"element {bad} is {array[tuple(bad)]}, must be a finite number"))
    scales = reader.quantization.inputs
    if array.dtype.kind == "f" and precision.is_integer and len(scales) > position and not isinstance(reader.op, Embedding):
        array = quantized(array, scales[position], precision)
    return fitted_input(network, name, array, place)


def _reader(network: Network, name: str) -> tuple[Layer, int]:
    """The first layer that reads an input and knows its scale, or else the first, and the place of the input there."""
    ref = TensorRef(name)
    readers = [(layer, layer.inputs.index(ref)) for layer in network.layers if ref in layer.inputs]
    scaled = [(layer, place) for layer, place in readers if len(layer.quantization.inputs) > place]
    if not readers:
        raise InputError(Fault("--input", name, "is read by no layer of those that run"))
    return next(((y, p) for y, p in scaled if y.quantization.inputs[p] != Affine()), readers[0])


def _forms(shape: Shape) -> set[Shape]:
    return {shape, (shape[0], prod(shape[1:]))}

