"""Finds networks, architectures and mappings by name or path, and applies ``--set`` overrides to them."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from accelsim.arch.loader import read_architecture
from accelsim.arch.spec import Architecture
from accelsim.errors import Fault, InputError, join_allowed, nearest
from accelsim.mapping.mapping import EMPTY, MappingFile
from accelsim.workload.expand import parts_of, unused
from accelsim.workload.network import Network
from accelsim.yaml_io import Document, KeyPath, laid_over, load_document, parse_value, validate, with_override

Overrides = Mapping[str, Any]
ROOTS = ("arch", "mapping", "workload", "compression")
_KEYS = {"arch": "arch.KEY", "mapping": "mapping.LAYER.KEY", "workload": "workload.KEY", "compression": "compression.PASS.KEY"}
_PACKAGE = Path(__file__).parent


def data_folder(name: str) -> Path:
    """``arch_configs`` or ``workloads``: inside the installed package, or beside it in a checkout."""
    inside = _PACKAGE / name
    return inside if inside.is_dir() else _PACKAGE.parent / name


def names(folder: str) -> list[str]:
    """Names of the files under ``folder``, subfolders included (``rtl/sauria``), sorted."""
    root = data_folder(folder)
    return sorted(str(path.relative_to(root).with_suffix("")) for path in root.rglob("*.yaml"))


def locate(text: str, folder: str, what: str, suffixes: tuple[str, ...] = (".yaml", ".yml")) -> Path:
    """The file that ``text`` names: a path if it looks like one, else a name under ``folder``."""
    path = Path(text)
    if path.suffix.lower() in suffixes:
        return path
    named = data_folder(folder) / f"{text}.yaml"
    if os.path.isfile(named):  # as no method of Path does, whatever the name: too long, with a NUL
        return named
    if os.path.exists(path):
        raise InputError(Fault(text, "", f"must end in {join_allowed(suffixes)} to be read as {what}"))
    known = names(folder)
    hint = nearest(text, known) or f"; known: {', '.join(known)}"
    raise InputError(Fault(text, "", f"is no {what} by name{hint}"))


# ---- overrides ------------------------------------------------------------------------------------------------


def parse_overrides(assignments: Iterable[str]) -> dict[str, Any]:
    """``["arch.engine.rows=8"]`` -> ``{"arch.engine.rows": 8}``; all faults at once."""
    faults, result = [], {}
    for text in assignments:
        key, equals, value = text.partition("=")
        strays = strays_of([key], ROOTS, "=VALUE", equals == "=")
        if strays:
            faults += strays
            continue
        try:
            result[key] = parse_value(value)
        except InputError as error:
            faults += [Fault("--set", key, fault.message) for fault in error.faults]
    if faults:
        raise InputError(faults)
    return result


def strays_of(keys: Iterable[str], roots: Iterable[str] = ROOTS, rest: str = "", whole: bool = True) -> list[Fault]:
    """A fault for each of ``keys`` that begins with none of ``roots``; or for all, where they are not ``whole``."""
    known = tuple(roots)
    allowed = join_allowed(_KEYS[root] + rest for root in known)
    faults = []
    for key in keys:
        root, dot, _ = key.partition(".")
        if not whole or not dot or root not in known:
            faults.append(Fault("--set", key, f"must be {allowed}{'' if root in known else nearest(root, known)}"))
    return faults


def require_roots(overrides: Overrides | None, roots: Iterable[str] = ROOTS) -> None:
    """Raise `InputError` for overrides of something that is not there."""
    strays = strays_of(overrides or (), roots)
    if strays:
        raise InputError(strays)


def _under(overrides: Overrides, root: str) -> dict[KeyPath, Any]:
    return {tuple(key.split(".")[1:]): value for key, value in overrides.items() if key.split(".")[0] == root}


def _overridden(document: Document, overrides: Mapping[KeyPath, Any], root: str) -> Document:
    for keys, value in overrides.items():
        document = with_override(document, keys, value, f"--set {'.'.join((root, *map(str, keys)))}")
    return document


# ---- architectures, mappings ------------------------------------------------------------------------------------


def load_arch(source: str | Path | Architecture, overrides: Overrides | None = None) -> Architecture:
    """An architecture by name or path, or one that was read before, with ``arch.`` overrides applied."""
    changes = _under(overrides or {}, "arch")
    if isinstance(source, Architecture):
        return read_architecture(_overridden(_origin_of(source, changes), changes, "arch")) if changes else source
    document = load_document(locate(str(source), "arch_configs", "architecture"))
    return read_arch(_overridden(document, changes, "arch"))


def read_arch(document: Document) -> Architecture:
    """The architecture that ``document`` describes, over its ``base`` where it names one."""
    return read_architecture(with_base(document))


def with_base(document: Document, above: tuple[Path, ...] = ()) -> Document:
    """``document`` laid over the architecture that its ``base`` names, a name or a file beside it; those over theirs."""
    if not isinstance(document.data, dict) or "base" not in document.data:
        return document
    word, own = document.data["base"], {key: value for key, value in document.data.items() if key != "base"}
    if not isinstance(word, str):
        raise InputError(document.fault(("base",), f"is {word!r}, must be an architecture's name or file"))
    if "name" not in own:
        raise InputError(document.fault(("name",), f"is missing: what differs from {word} has a name of its own"))
    try:
        path = (document.folder or Path()) / locate(word, "arch_configs", "architecture")
        if path.resolve() in above:
            raise InputError(Fault(word, "", "is based on this file"))
        base = with_base(load_document(path), (*above, path.resolve()))
        read_architecture(base)
    except InputError as error:
        raise InputError(document.fault(("base",), str(fault)) for fault in error.faults) from None
    return laid_over(replace(document, data=own), base)


def _origin_of(arch: Architecture, changes: Iterable[KeyPath]) -> Document:
    """The document that ``arch`` was read from; `InputError` where it is not, or no more, what stands there."""
    if arch.origin is not None and read_architecture(arch.origin) == arch:
        return arch.origin
    how = "was made or changed in Python, so no override is laid over it: change it there, or give its file"
    raise InputError(Fault(f"--set arch.{'.'.join(map(str, keys))}", "", f"{arch.name} {how}") for keys in changes)


def load_mapping(source: str | Path | MappingFile | None, overrides: Overrides | None = None) -> MappingFile:
    """A mapping file, or one that was read before, with ``mapping.LAYER.`` overrides applied; empty when nothing is given."""
    changes = _under(overrides or {}, "mapping")
    if isinstance(source, MappingFile) and not changes:
        return with_machines(source)
    if source is None and not changes:
        return EMPTY
    document = _mapping_document(source)
    placed = {keys if keys[0] in ("default", "layers") else ("layers", *keys): value for keys, value in changes.items()}
    document = _overridden(document, placed, "mapping")
    mapping = validate(document, MappingFile).read_from(document)
    if isinstance(source, MappingFile):
        mapping = mapping.with_machines(source.machines)
    return with_machines(mapping, document)


def _mapping_document(source: str | Path | MappingFile | None) -> Document:
    if isinstance(source, MappingFile):
        return Document(source.model_dump(by_alias=True, exclude_unset=True), source.name or "mapping")
    return Document({"schema": "accelsim.mapping/1"}, "--set") if source is None else load_document(Path(source))


def with_machines(mapping: MappingFile, document: Document | None = None) -> MappingFile:
    """``mapping`` with the architectures that its ``engine`` keys name read; files are relative to ``document``'s."""
    document = document or Document({}, mapping.name or "mapping")
    faults, found = [], dict(mapping.machines)
    for word, place in mapping.named_engines().items():
        if word in found:
            continue
        inside = word.endswith((".yaml", ".yml")) and document.folder is not None
        try:
            found[word] = load_arch(document.folder / word if inside and document.folder else word)
        except InputError as error:
            faults += [document.fault(place, str(fault)) for fault in error.faults]
    if faults:
        raise InputError(faults)
    return mapping.with_machines(found)


def check_mapping_names(mapping: MappingFile, network: Network, source: str) -> None:
    """Every layer that a mapping names must be there."""
    known = [name for layer in network.layers for name in dict.fromkeys((layer.name, *(parts_of(layer) or ())))]
    unknown = [name for name in mapping.layers if name not in known]
    if unknown:
        raise InputError(
            Fault(source, f"layers.{name}", f"{network.name} has no layer of that name{nearest(name, known)}")
            for name in unknown
        )


# ---- networks --------------------------------------------------------------------------------------------------


def load_network(
    source: str | Path | Network, *, batch: int | None = None, overrides: Overrides | None = None, values: bool = False,
    weights: Mapping[str, Any] | None = None,
) -> tuple[Network, list[str]]:  # fmt: skip
    """A network by name or path (.yaml, .onnx, SCALE-Sim .csv) or one that was read before, and notes about how it was read.

    With ``values`` an ONNX model's numbers are in its layers; ``weights`` are those of its inputs that are weights.
    """
    changes = _under(overrides or {}, "workload")
    if batch is not None:
        if ("batch",) in changes:
            raise InputError(Fault("--batch", "", f"is {batch}, and --set workload.batch is {changes['batch',]}: leave one out"))
        changes = {**changes, ("batch",): batch}
    if isinstance(source, Network):
        return _read_again(source, changes)
    path = locate(str(source), "workloads", "network", (".yaml", ".yml", ".onnx", ".csv"))
    suffix = path.suffix.lower()
    if suffix in (".yaml", ".yml"):
        return _read_yaml(_overridden(load_document(path), changes, "workload"))
    if suffix == ".onnx":
        from accelsim.frontends.onnx import read_onnx_with_notes

        dims, changes = _dims(changes)
        zeros, changes = _inserted_zeros(changes, values)
        network, notes = read_onnx_with_notes(path, dims, weights, zeros)
        runtime, changes = _runtime(changes)
        if values:
            from accelsim.frontends.onnx_values import with_values

            network, notes = with_values(network, path, runtime, dims, weights), []
        else:
            network = _with_scales_unread(network)
        return _noted(_changed(network, changes), changes, notes)
    from accelsim.frontends.scalesim import read_scalesim_topology

    network, notes = read_scalesim_topology(path)
    return _noted(_changed(network, changes), changes, notes)


def _read_yaml(document: Document) -> tuple[Network, list[str]]:
    from accelsim.frontends.network_yaml import read_network

    network = read_network(document)
    return network, unused(network, document.data.get("algorithm", "direct"))


def _read_again(network: Network, changes: Mapping[KeyPath, Any]) -> tuple[Network, list[str]]:
    """``network`` with keys changed: in its YAML where it still is what stands there, else in its layers themselves."""
    if not changes:
        return network, []
    if network.origin is not None and _read_yaml(network.origin)[0] == network:
        return _read_yaml(_overridden(network.origin, changes, "workload"))
    return _noted(_changed(network, changes), changes, [])


def dims_of(overrides: Overrides) -> dict[str, int]:
    """The sizes of an ONNX model that ``overrides`` set: ``workload.dims.NAME``."""
    return _dims(_under(overrides, "workload"))[0]


def _dims(changes: Mapping[KeyPath, Any]) -> tuple[dict[str, int], dict[KeyPath, Any]]:
    """``workload.dims.NAME``, sizes that an ONNX model leaves open (a name may have dots), and the other changes."""
    dims = {".".join(map(str, keys[1:])): value for keys, value in changes.items() if keys[0] == "dims"}
    faults = [
        Fault("--dim", name, f"is {size!r}, must be a whole number of at least 0")
        for name, size in dims.items() if not isinstance(size, int) or isinstance(size, bool) or size < 0
    ]  # fmt: skip
    if faults:
        raise InputError(faults)
    return dims, {keys: value for keys, value in changes.items() if keys[0] != "dims"}


def _inserted_zeros(changes: Mapping[KeyPath, Any], values: bool) -> tuple[str, dict[KeyPath, Any]]:
    """``workload.inserted_zeros``, what the hardware does with those of an ONNX model's transposed convolutions; the others."""
    zeros = changes.get(("inserted_zeros",), "skipped")
    if zeros not in ("skipped", "computed"):
        raise InputError(Fault("--set", "workload.inserted_zeros", f'is "{zeros}", must be skipped or computed'))
    if values and zeros == "computed":
        message = "is computed: run it without --values, the numbers are the same"
        raise InputError(Fault("--set", "workload.inserted_zeros", message))
    return zeros, {keys: value for keys, value in changes.items() if keys != ("inserted_zeros",)}


def _runtime(changes: Mapping[KeyPath, Any]) -> tuple[Any, dict[KeyPath, Any]]:
    """``workload.runtime``, whose integers an ONNX model gives, and the other changes."""
    runtime = changes.get(("runtime",), "onnxruntime")
    if runtime not in ("onnxruntime", "reference"):
        raise InputError(Fault("--set", "workload.runtime", f'is "{runtime}", must be onnxruntime or reference'))
    return runtime, {keys: value for keys, value in changes.items() if keys != ("runtime",)}


def _noted(network: Network, changes: Mapping[KeyPath, Any], notes: list[str]) -> tuple[Network, list[str]]:
    return network, [*notes, *unused(network, changes.get(("algorithm",), "direct"))]


def _with_scales_unread(network: Network) -> Network:
    """An ONNX model's products of integers have scales of their own, whether their numbers are wanted or not."""
    from accelsim.workload.network import Affine, Quantization

    scales = {
        layer.name: Quantization((Affine(),) * len(layer.inputs))
        for layer in network.layers
        if layer.macs and layer.precision.weight.is_integer and layer.precision.input.is_integer
    }
    layers = (replace(y, quantization=scales.get(y.name, y.quantization)) for y in network.layers)
    sketches = (replace(s, quantization=scales.get(s.name, s.quantization)) for s in network.sketches)
    return replace(network, layers=tuple(layers), sketches=tuple(sketches))


def _changed(network: Network, changes: Mapping[KeyPath, Any]) -> Network:
    """Apply ``workload.batch``, ``.precision.TENSOR`` and ``.algorithm`` to a network that has no YAML file behind it."""
    from pydantic import BaseModel, ConfigDict

    from accelsim.units import Batch
    from accelsim.workload.algorithms import Algorithm
    from accelsim.workload.expand import with_algorithm
    from accelsim.workload.precision import PartialPrecision

    class Changes(BaseModel):
        model_config = ConfigDict(extra="forbid")
        batch: Batch | None = None
        precision: PartialPrecision = PartialPrecision()
        algorithm: Algorithm | None = None

    wanted = validate(_overridden(Document({}, "--set workload"), changes, "workload"), Changes)
    sketches = [replace(s, precision=wanted.precision.over(s.precision)) for s in network.sketches]
    sketches = [with_algorithm(s, wanted.algorithm) if wanted.algorithm else s for s in sketches]
    changed = network.with_sketches(sketches) if sketches else network
    return changed.with_batch(wanted.batch) if wanted.batch is not None else changed


# ---- listings --------------------------------------------------------------------------------------------------


def listing(what: str) -> list[tuple[str, str]]:
    """Names and one line about each: ``archs``, ``networks``, ``dataflows`` or ``formats``."""
    if what in ("archs", "networks"):
        folder = {"archs": "arch_configs", "networks": "workloads"}[what]
        return [(name, _description(data_folder(folder) / f"{name}.yaml")) for name in names(folder)]
    return {"dataflows": DATAFLOWS, "formats": FORMATS}[what]


def _description(path: Path) -> str:
    data = load_document(path).data
    return str(data.get("description", "")).strip().split("\n")[0] if isinstance(data, dict) else ""


DATAFLOWS = [
    ("ws", "weight stationary: weights stay in the array, inputs move right, partial sums move down"),
    ("os", "output stationary: sums stay, inputs move right, weights move down"),
    ("is", "input stationary: inputs stay in the array, weights move"),
]
FORMATS = [
    ("int1 .. int64", "signed integers, two's complement"),
    ("uint1 .. uint64", "unsigned integers"),
    ("fp64, fp32, fp16, bf16, fp8", "floating point"),
    ("coo", "sparse: the row, the column and the value of every non-zero"),
    ("csr", "sparse: values and columns row by row, a pointer a row"),
    ("interleaved_csc", "sparse: columns interleaved over PEs, relative rows and padding zeros (EIE, ESE)"),
    ("bitmap", "sparse: a bit an element, then the values"),
    ("run_length", "sparse: zeros before each value, in codes of one width"),
    ("n_of_m", "sparse: n values of every m, and where they stand (2:4)"),
    ("blocks", "sparse: dense blocks, and where they stand"),
]
