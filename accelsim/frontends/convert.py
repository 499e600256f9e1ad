"""``accelsim convert``: other tools' files as accelsim's YAML."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from accelsim.errors import Fault, InputError, join_allowed
from accelsim.frontends import sparse

SUFFIXES = (".onnx", ".csv", ".cfg", *sparse.SUFFIXES)


@dataclass(frozen=True)
class Conversion:
    """The YAML text of a converted file, notes on what it could not carry over, and files that stand beside it."""

    text: str
    notes: list[str]
    files: Mapping[Path, bytes] = field(default_factory=dict)


def convert_all(source: Path, target: Path, dims: Mapping[str, int] | None = None) -> Conversion:
    """`convert`, for sparse matrices too: a .npz, .mtx or .smtx becomes a network of one layer with that weight."""
    if source.suffix.lower() in sparse.SUFFIXES:
        text, files, notes = sparse.read_sparse(source, target)
        return Conversion(text, notes, files)
    return Conversion(*convert(source, target, dims))


def convert(source: Path, target: Path, dims: Mapping[str, int] | None = None) -> tuple[str, list[str]]:
    """The YAML text for ``source``, and notes on what the conversion could not carry over.

    .onnx and SCALE-Sim's .csv topologies become networks, SCALE-Sim's .cfg an architecture. ``target`` is where the
    text will stand: file names inside it are relative to that. ``dims``: sizes that an ONNX model leaves open.
    Raises `InputError`.
    """
    suffix = source.suffix.lower()
    if suffix == ".cfg":
        from accelsim.frontends.scalesim import read_scalesim_cfg

        data, notes = read_scalesim_cfg(source)
        return yaml.safe_dump(data, sort_keys=False, allow_unicode=True, width=110), notes
    if suffix == ".onnx":
        from accelsim.frontends.onnx import read_onnx_with_notes

        network, notes = read_onnx_with_notes(source, dims)
    elif suffix == ".csv":
        from accelsim.frontends.scalesim import read_scalesim_topology

        network, notes = read_scalesim_topology(source)
    else:
        raise InputError(Fault(str(source), "", f"ends in {suffix!r}, must end in {join_allowed(SUFFIXES)}"))
    from accelsim.frontends.writer import write_network

    return write_network(network, target.parent), notes
