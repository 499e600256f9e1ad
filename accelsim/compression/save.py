"""A compressed network as files: YAML and the arrays beside it, arrays alone, or ONNX."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from accelsim.compression.arrays import Array
from accelsim.errors import Fault, InputError
from accelsim.frontends._onnx_model import import_onnx
from accelsim.frontends.writer import write_network
from accelsim.report.files import write_files
from accelsim.workload.network import LayerSketch, Network, Provided, ValueSource

SUFFIXES = (".yaml", ".yml", ".npz", ".onnx")


def save_network(network: Network, path: str | Path) -> list[Path]:
    """Write ``network``: .yaml with its arrays in an .npz of the same name beside it, .npz alone, or .onnx (QDQ)."""
    path, suffix = Path(path), check_suffix(path)
    if suffix == ".onnx":
        from accelsim.compression.to_onnx import write_onnx

        return write_files(path.parent, {path.name: write_onnx(network)})
    if suffix == ".npz":
        return write_files(path.parent, {path.name: npz_bytes(all_arrays(network))})
    stored = path.with_suffix(".npz")
    in_files, arrays = with_files(network, stored)
    text = write_network(in_files, path.parent).encode()
    files = {path.name: text} | ({stored.name: npz_bytes(arrays)} if arrays else {})
    return write_files(path.parent, files)


def check_suffix(path: str | Path) -> str:
    """The suffix in small letters; `InputError` for one that `save_network` does not know, or cannot write here."""
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        raise InputError(Fault(str(path), "", f"ends in {Path(path).suffix!r}, must end in .yaml, .npz or .onnx"))
    if suffix == ".onnx":
        import_onnx(str(path))
    return suffix


def with_files(network: Network, file: Path) -> tuple[Network, dict[str, Array]]:
    """The network with every value in memory named as an array of ``file``, and those arrays."""
    arrays: dict[str, Array] = {}
    sketches = [_with_files(sketch, file, arrays) for sketch in network.sketches]
    return network.with_sketches(sketches), arrays


def _with_files(sketch: LayerSketch, file: Path, arrays: dict[str, Array]) -> LayerSketch:
    changes: dict[str, Any] = {}
    for key, word in (("weight", "weight"), ("bias", "bias"), ("input_values", "input")):
        source = getattr(sketch, key)
        if isinstance(source, Provided):
            changes[key] = _named(source, f"{sketch.name}.{word}", file, arrays)
    return replace(sketch, **changes)


def _named(source: Provided, name: str, file: Path, arrays: dict[str, Array]) -> ValueSource:
    arrays[name] = source.provider.read()
    if source.codes is None:
        return ValueSource(file=file, array=name, density=source.density)
    arrays[f"{name}.codebook"] = source.codes.read()
    return ValueSource(file=file, array=name, codebook=file, codebook_array=f"{name}.codebook", density=source.density)


def all_arrays(network: Network) -> dict[str, Array]:
    """Every array in memory and, as arrays too, the integers and scales of each layer."""
    _, arrays = with_files(network, Path("x.npz"))
    for layer in network.layers:
        scales, rule = layer.quantization, layer.requantize
        if not scales.inputs:
            continue
        arrays[f"{layer.name}.input_scale"] = np.array([a.scale for a in scales.inputs], np.float32)
        arrays[f"{layer.name}.input_zero_point"] = np.array([a.zero_point for a in scales.inputs], np.int32)
        if scales.output is not None:
            arrays[f"{layer.name}.output_scale"] = np.array(scales.output.scale, np.float32)
            arrays[f"{layer.name}.output_zero_point"] = np.array(scales.output.zero_point, np.int32)
        if layer.macs:
            arrays[f"{layer.name}.multiplier"] = np.array(rule.multiplier, np.int64)
            arrays[f"{layer.name}.shift"] = np.array(rule.shift, np.int64)
    return arrays


def npz_bytes(arrays: dict[str, Array]) -> bytes:
    """Compressed, and the same bytes for the same arrays."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)  # type: ignore[arg-type]
    return buffer.getvalue()
