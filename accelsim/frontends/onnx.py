"""Reads ONNX: float, QDQ and QLinear graphs -> Network.

Nodes are taken in order (`_onnx_reader`). What depends only on constants is folded; an If whose condition is known is
replaced by its branch; quantize, dequantize, cast, dropout and identity become other names of their input and set number
formats; everything else follows a rule of `_onnx_rules`. Every layer's shape is worked out twice, by accelsim's operator
and by ONNX's inference, and the two must agree. All faults are reported at once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from pathlib import Path

from accelsim.frontends._onnx_arrays import ArrayNames, ArrayReader, LayerArrays, Quantization
from accelsim.frontends._onnx_call import Tensor
from accelsim.frontends._onnx_model import OnnxFile, read_bytes
from accelsim.frontends._onnx_reader import Reader
from accelsim.workload.network import Network

__all__ = ["LayerArrays", "Quantization", "initializers", "read_onnx", "read_onnx_with_notes", "tensor_sources"]


def read_onnx(path: Path) -> Network:
    """Read an ONNX model; raises `InputError` with every fault. Weights stay in the file (`initializers`)."""
    return read_onnx_with_notes(path)[0]


def read_onnx_with_notes(path: Path) -> tuple[Network, list[str]]:
    """As `read_onnx`, and a sentence for each thing that a user should know and that is not a fault."""
    reader = translated(path)
    return reader.network(), [f"{path}: {note}" for note in reader.notes()]


def initializers(path: Path, layers: Collection[str] | None = None) -> dict[str, LayerArrays]:
    """Weights, biases, scales and zero points by layer name: of ``layers``, or of all that have any."""
    reader = translated(path)
    arrays = ArrayReader(reader.file, reader.values, reader.trained)
    wanted = reader.names_of_arrays if layers is None else layers
    found = {name: reader.names_of_arrays.get(name, ArrayNames()) for name in wanted}
    return {name: arrays.layer(names) for name, names in found.items() if names != ArrayNames()}


def tensor_sources(path: Path) -> dict[str, str]:
    """For the name of each tensor that flows through the model, the layer (or input) that makes it here."""
    return {name: value.ref for name, value in translated(path).values.items() if isinstance(value, Tensor)}


def translated(path: Path) -> Reader:
    """The model with every node taken in, the branches that are known to run in their places."""
    data = read_bytes(path)
    file, digest = OnnxFile(path, data), hashlib.sha256(data).hexdigest()
    while True:
        reader = Reader(file, path.stem, digest)
        reader.translate()
        if not reader.branches:
            return reader
        file.write_out(reader.branches)
