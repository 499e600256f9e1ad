"""Reads ONNX: float, QDQ and QLinear graphs -> Network.

Nodes are taken in order (`_onnx_reader`). What depends only on constants is folded; an If whose condition is known is
replaced by its branch; quantize, dequantize, cast, dropout and identity become other names of their input and set number
formats; everything else follows a rule of `_onnx_rules`. Every layer's shape is worked out twice, by accelsim's operator
and by ONNX's inference, and the two must agree. All faults are reported at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from pathlib import Path

import numpy as np

from accelsim.errors import InputError
from accelsim.frontends._onnx_arrays import ArrayNames, ArrayReader, LayerArrays, Quantization
from accelsim.frontends._onnx_call import Tensor
from accelsim.frontends._onnx_dims import Dims
from accelsim.frontends._onnx_model import INTEGERS, SKIPPED, Array, OnnxFile, read_bytes
from accelsim.frontends._onnx_reader import Reader
from accelsim.workload.fixed_point import real_numbers
from accelsim.workload.network import Network, TensorRef

__all__ = [
    "LayerArrays", "Quantization", "initializers", "model_outputs", "read_onnx", "read_onnx_with_notes", "tensor_sources",
    "trained_inputs",
]  # fmt: skip

Weights = Mapping[str, Array]


def read_onnx(path: Path, dims: Dims | None = None) -> Network:
    """Read an ONNX model; raises `InputError` with every fault. Weights stay in the file (`initializers`)."""
    return read_onnx_with_notes(path, dims)[0]


def read_onnx_with_notes(
    path: Path, dims: Dims | None = None, weights: Weights | None = None, inserted_zeros: str = SKIPPED
) -> tuple[Network, list[str]]:
    """As `read_onnx`, and a sentence for each thing that a user should know and that is not a fault.

    ``inserted_zeros``: whether a transposed convolution's are *skipped*, or *computed* like any input.
    """
    reader = translated(path, dims, weights, inserted_zeros)
    return reader.network(), [f"{path}: {note}" for note in reader.notes()]


def initializers(
    path: Path, layers: Collection[str] | None = None, dims: Dims | None = None, weights: Weights | None = None
) -> dict[str, LayerArrays]:
    """Weights, biases, scales and zero points by layer name: of ``layers``, or of all that have any."""
    reader = translated(path, dims, weights)
    arrays = ArrayReader(reader.file, reader.values, reader.trained)
    wanted = reader.names_of_arrays if layers is None else layers
    found = {name: reader.names_of_arrays.get(name, ArrayNames()) for name in wanted}
    return {name: arrays.layer(names) for name, names in found.items() if names != ArrayNames()}


def trained_inputs(path: Path, dims: Dims | None = None) -> list[str]:
    """The inputs of the graph that are weights: what every reader of them takes for its weights."""
    return translated(path, dims).trained


def tensor_sources(path: Path) -> dict[str, str]:
    """For the name of each tensor that flows through the model, the layer (or input) that makes it here."""
    return {name: value.ref for name, value in translated(path).values.items() if isinstance(value, Tensor)}


def model_outputs(
    path: Path, network: Network, outputs: Mapping[str, Array], dims: Dims | None = None
) -> dict[str, Array]:
    """The outputs of the model by their names in the file, in its types and with its order of axes.

    ``outputs`` are those of the layers of ``network``: what is stored as integers and dequantized last is a float here.
    """
    reader, found = translated(path, dims), {}
    stored = {TensorRef(layer.name, port): layer for layer in network.layers for port in range(len(layer.output_shapes))}
    for name in reader.file.outputs:
        value = reader.values.get(name)
        if not isinstance(value, Tensor) or value.ref not in outputs:
            continue
        array, layer = outputs[value.ref], stored[_reference(value.ref, network)]
        if value.elem not in INTEGERS and array.dtype.kind in "iu" and layer.quantization.output is not None:
            array = real_numbers(array, layer.quantization.output)
        held = reader.file.onnx.helper.tensor_dtype_to_np_dtype(value.elem)
        array = array.reshape(-1, *array.shape[2:]) if value.layout.merged else np.moveaxis(array, 0, value.layout.batch_axis)
        found[name] = array.astype(held) if held.kind in "fiub" else array
    return found


def _reference(ref: str, network: Network) -> TensorRef:
    """A tensor's name in ``outputs`` as a reference."""
    source, _, port = ref.rpartition(".")
    named = {layer.name for layer in network.layers}
    return TensorRef(ref) if ref in named else TensorRef(source, int(port))


def translated(
    path: Path, dims: Dims | None = None, weights: Weights | None = None, inserted_zeros: str = SKIPPED
) -> Reader:
    """The model with every node taken in, what is read as other nodes (branches, loops, functions) written out.

    ``dims`` are the sizes that the file leaves open, ``weights`` the values of inputs that are such.
    """
    data = read_bytes(path)
    try:
        return _read(path, data, dims, weights, inserted_zeros)
    except InputError as error:
        if not _is_about_the_batch(error):
            raise
        try:  # a model that combines what stands along its first axis has no batch there
            return _read(path, data, dims, weights, inserted_zeros, has_batch=False)
        except InputError as other:
            raise error if _is_about_the_batch(other) else other from None


def _is_about_the_batch(error: InputError) -> bool:
    return any(words in fault.message for fault in error.faults for words in (" the batch", "does not fit"))


def _read(
    path: Path, data: bytes, dims: Dims | None, weights: Weights | None, inserted_zeros: str, has_batch: bool = True
) -> Reader:
    file, digest = OnnxFile(path, data, dims, weights, has_batch, inserted_zeros), hashlib.sha256(data).hexdigest()
    while True:
        reader = Reader(file, path.stem, digest)
        reader.translate()
        if not reader.expander.made:
            return reader
