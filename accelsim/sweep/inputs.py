"""From a point of a space to what the simulator takes, and to the key by which its result is known.

A result is known by the content of its inputs: the network with every shape and precision, the architecture, the
mapping, the mode and the seed, as canonical JSON, together with the version of the model. Names of
files, comments and the order of keys do not matter; a digit of a buffer's size does.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import numpy as np

import accelsim
from accelsim import catalogue
from accelsim.api import ready, selected
from accelsim.arch.loader import read_architecture
from accelsim.arch.spec import Architecture
from accelsim.compression.override import is_compressed, recipe_document, recipe_value, without_compression
from accelsim.compression.recipe import Recipe, read_recipe
from accelsim.errors import Fault, InputError
from accelsim.mapping.loopnest import DIMS, lower
from accelsim.mapping.mapping import MappingFile
from accelsim.sweep.space import Assignment
from accelsim.sweep.spec import Spec
from accelsim.workload.network import Layer, Network, ValueSource
from accelsim.yaml_io import Document, load_document, with_override

Read = TypeVar("Read")
MOST_NOTED = 1000  # points whose notes are looked for, some milliseconds each
_BUILT = (".pyc", ".lock", ".nbi", ".nbc")  # follow from the sources


@cache
def model_version() -> str:
    """The package's version and a digest of every file in it.

    Which of them cannot change a number is nobody's to keep a list of: a list that is wrong once mixes results.
    """
    return f"{accelsim.__version__}+{digest_of_folder(Path(accelsim.__file__).parent)[:12]}"


def digest_of_folder(root: Path) -> str:
    """Digest of the names and contents of all files below ``root``, but for what Python and numba build of them."""
    digest = hashlib.sha256()
    for path in sorted(p for p in root.rglob("*") if p.suffix not in _BUILT and p.is_file()):
        digest.update(path.relative_to(root).as_posix().encode() + b"\0")
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()


# ---- a point ------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Point:
    """One point of a sweep: a network, an architecture, and the keys that differ from them."""

    network: str
    arch: str
    assignment: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Given:
    """A network as its file has it."""

    network: Network

    def made(self) -> tuple[Network, Mapping[str, float]]:
        """The network, and its figures: none."""
        return self.network, {}


@dataclass(frozen=True)
class ToCompress:
    """A network that a recipe makes where it is needed: a point that is in the store already costs no compression."""

    source: str
    recipe: str | None
    batch: int | None
    overrides: tuple[tuple[str, Any], ...]

    def made(self) -> tuple[Network, Mapping[str, float]]:
        """The compressed network, and what compression says of it beside what is simulated: top-1 where there are
        labels, bits.
        """
        from accelsim.compression.compress import compress

        result = compress(self.source, self.recipe, batch=self.batch, overrides=dict(self.overrides))
        figures: dict[str, float] = {} if result.accuracy_after is None else {"accuracy": result.accuracy_after}
        return result.network, figures | {"stored_weight_bits": sum(size.total_bits for size in result.sizes)}


Workload = Given | ToCompress


@dataclass(frozen=True)
class Inputs:
    """What a simulation takes, resolved; ``network_id`` names the network's content, of which ``layers`` run (all where
    none is named).

    The seed counts in cycles mode too: an engine whose time depends on its operands makes them from it.
    """

    workload: Workload
    network_id: str
    arch: Architecture
    mapping: MappingFile
    layers: tuple[str, ...] = ()
    values: bool = False
    seed: int = 0

    def ready(self) -> tuple[Network, MappingFile]:
        """What runs: see `made_ready`. A network that is to be compressed is, now."""
        return made_ready(self.workload.made()[0], self.arch, self.mapping, self.layers, self.values)

    @property
    def key(self) -> bytes:
        """32 bytes that only these inputs have."""
        content = {
            "model": model_version(),
            "network": self.network_id,
            "layers": self.layers,
            "arch": _arch_content(self.arch),
            "mapping": self.mapping.model_dump(mode="json", by_alias=True, exclude={"name"}),
            "machines": {name: _arch_content(machine) for name, machine in self.mapping.machines.items()},
            "mode": "values" if self.values else "cycles",
            "seed": self.seed,
        }
        return hashlib.sha256(canonical(content).encode()).digest()


def made_ready(
    network: Network, arch: Architecture, mapping: MappingFile, layers: Sequence[str], values: bool
) -> tuple[Network, MappingFile]:
    """What runs of a point, made of its inputs as `accelsim.simulate` makes it."""
    catalogue.check_mapping_names(mapping, network, mapping.name or "mapping")
    network, mapping, _ = ready(selected(network, layers), arch, mapping, values)
    return network, mapping


def _arch_content(arch: Architecture) -> dict[str, Any]:
    return arch.model_dump(mode="json", by_alias=True, exclude={"description"})


def canonical(content: Any) -> str:
    """The one JSON text of plain data."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=_plain)


def _plain(value: Any) -> str:
    """What JSON has no word for; an array counts by all that is in it, of which its text shows only the ends."""
    if isinstance(value, np.ndarray):
        content = hashlib.sha256(np.ascontiguousarray(value).tobytes()).hexdigest()
        return f"{value.dtype} {value.shape} {content}"
    return str(value)


def network_id(network: Network) -> str:
    """Digest of everything about a network that a result depends on."""
    layers = [_layer_content(layer) for layer in network.layers]
    content = {"name": network.name, "batch": network.batch, "inputs": dict(network.inputs), "layers": layers}
    return hashlib.sha256(canonical(content).encode()).hexdigest()


def _layer_content(layer: Layer) -> dict[str, Any]:
    sources = {"weight": layer.weight, "input": layer.input_values, "bias": layer.bias}
    return {
        "name": layer.name,
        "op": layer.op.model_dump(mode="json"),
        "inputs": [str(ref) for ref in layer.inputs],
        "shapes": [layer.input_shapes, layer.output_shapes],
        "precision": layer.precision.model_dump(mode="json"),
        "values": {name: _source_content(source) for name, source in sources.items() if source is not None},
        "requantize": asdict(layer.requantize),
        "epilogue": layer.epilogue,
        "odds": asdict(layer.odds),
        "quantization": asdict(layer.quantization),
    }


def _source_content(source: ValueSource) -> dict[str, Any]:
    """Files count by what is in them."""
    plain: dict[str, Any] = source.model_dump(exclude={"provider", "codes"})
    for name in ("provider", "codes"):
        held = getattr(source, name, None)
        if held is not None:
            plain[name] = held.read() if hasattr(held, "read") else held
    for name in ("file", "codebook"):
        path = getattr(source, name, None)
        if path is not None:
            plain[name] = _file_digest(Path(path))
    return plain


def _file_digest(path: Path) -> str:
    try:
        stat = path.stat()
    except OSError:
        return "missing"
    return _digest_of(str(path), stat.st_mtime_ns, stat.st_size)


@cache
def _digest_of(path: str, changed_ns: int, size: int) -> str:
    del changed_ns, size
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


# ---- resolving ----------------------------------------------------------------------------------------------------


class Resolver:
    """Reads every file once, and applies a point's keys to them."""

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self._networks: dict[str, _Read | InputError] = {}
        self._archs: dict[str, Architecture | InputError] = {}
        self._documents: dict[str, Document] = {}
        self.notes: dict[str, None] = {}
        self._noted = 0

    @property
    def wanted(self) -> tuple[str, ...]:
        """The layers that run; all where none is named."""
        return (self.spec.tilings.layer,) if self.spec.tilings else self.spec.layers

    def inputs(self, point: Point) -> Inputs:
        """Resolve a point; raises `InputError` with the faults of all its inputs."""
        overrides = {**self.spec.settings, **point.assignment}
        faults: list[Fault] = []
        read: _Read | None = None
        arch: Architecture | None = None
        mapping: MappingFile | None = None
        try:
            read = self.workload(point.network, overrides)
        except InputError as error:
            faults += error.faults
        try:
            arch = self.arch(point.arch, overrides)
        except InputError as error:
            faults += error.faults
        try:
            mapping = catalogue.load_mapping(self.spec.mapping, overrides)
            if read is not None and isinstance(read.workload, Given):
                catalogue.check_mapping_names(mapping, read.network, self.spec.mapping or "mapping")
        except InputError as error:
            faults += error.faults
        if faults or read is None or arch is None or mapping is None:
            raise InputError(faults)
        inputs = Inputs(read.workload, read.id, arch, mapping, self.wanted, self.spec.values, self.spec.seed)
        self._note(inputs)
        return inputs

    def _note(self, inputs: Inputs) -> None:
        """What `accelsim.simulate` would say of the point; of the first many, since points of a space say much the same."""
        self._noted += 1
        if self._noted > MOST_NOTED or not isinstance(inputs.workload, Given):
            return
        network = selected(inputs.workload.network, inputs.layers)
        with suppress(InputError):  # told where the point runs
            self.notes.update(dict.fromkeys(ready(network, inputs.arch, inputs.mapping, inputs.values)[2]))

    def network(self, source: str, overrides: Mapping[str, Any]) -> Network:
        """The network as its file and the keys have it, not yet compressed, its algorithms not written out."""
        return self.workload(source, overrides).network

    def workload(self, source: str, overrides: Mapping[str, Any]) -> _Read:
        """The network with its ``workload.`` keys set, to be compressed if that is asked for."""
        own = {key: value for key, value in overrides.items() if key.startswith(("workload.", "compression."))}
        return _remembered(self._networks, canonical([source, own]), lambda: self._read_workload(source, own))

    def _read_workload(self, source: str, overrides: Mapping[str, Any]) -> _Read:
        smaller = is_compressed(self.spec.recipe, overrides)
        batch = self.spec.batch
        plain = without_compression(overrides)
        values = self.spec.values or smaller
        network, notes = catalogue.load_network(source, batch=batch, overrides=plain, values=values)
        if smaller:
            recipe = read_recipe(recipe_document(self.spec.recipe, overrides))
            workload = ToCompress(source, self.spec.recipe, batch, tuple(sorted(overrides.items())))
            return _Read(network, workload, _compressed_id(network, _path(source), recipe))
        self.notes.update(dict.fromkeys(notes))
        selected(network, self.wanted)  # all of them must be there
        return _Read(network, Given(network), network_id(network))

    def arch(self, source: str, overrides: Mapping[str, Any]) -> Architecture:
        """The architecture with its ``arch.`` keys set."""
        own = {key: value for key, value in overrides.items() if key.startswith("arch.")}
        return _remembered(self._archs, canonical([source, own]), lambda: self._read_arch(source, own))

    def _read_arch(self, source: str, overrides: Mapping[str, Any]) -> Architecture:
        return read_architecture(_with(self.document(source, "arch_configs", "architecture"), overrides))

    def document(self, source: str, folder: str, what: str) -> Document:
        """The YAML behind a name or a path."""
        if source not in self._documents:
            self._documents[source] = load_document(catalogue.locate(source, folder, what))
        return self._documents[source]


class _Read(NamedTuple):
    network: Network
    workload: Workload
    id: str


def _path(source: str) -> Path:
    return catalogue.locate(source, "workloads", "network", (".yaml", ".yml", ".onnx", ".csv"))


def _compressed_id(network: Network, path: Path, recipe: Recipe) -> str:
    """Digest of all that a compressed network follows from; the file too, of which an ONNX model's holds more."""
    content = recipe.model_dump(mode="json", by_alias=True)
    data = {name: _file_digest(part.file) for name in ("calibration", "test") if (part := getattr(recipe, name))}
    for name in data:
        content[name].pop("file")
    whole = [network_id(network), _file_digest(path), content, data]
    return hashlib.sha256(canonical(whole).encode()).hexdigest()


def _remembered(known: dict[str, Read | InputError], key: str, read: Callable[[], Read]) -> Read:
    """What was read before, a fault as well; only the last few hundred are kept."""
    if key not in known:
        if len(known) >= 512:
            known.pop(next(iter(known)))
        try:
            known[key] = read()
        except InputError as error:
            known[key] = error
    found = known[key]
    if isinstance(found, InputError):
        raise InputError(found.faults)
    return found


def _with(document: Document, overrides: Mapping[str, Any]) -> Document:
    for key, value in overrides.items():
        document = with_override(document, tuple(key.split(".")[1:]), value, key)
    return document


# ---- what a space stands on ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class SpaceBase:
    """The values of keys that are not varied, and the sizes of layers, for one network on one architecture."""

    resolver: Resolver
    network: str
    arch: str
    _trees: dict[str, Any] = field(default_factory=dict)

    def value(self, key: str, assignment: Assignment) -> Any:
        """The value of ``key``: as assigned, as set, or as the inputs have it."""
        for given in (assignment, self.resolver.spec.settings):
            if key in given:
                return given[key]
        root, _, rest = key.partition(".")
        if root == "compression":
            return recipe_value(recipe_document(self.resolver.spec.recipe, self.resolver.spec.settings), key)
        if root not in self._trees:
            self._trees[root] = self._tree(root)
        return _find(self._trees[root], rest, key)

    def _tree(self, root: str) -> Any:
        settings = self.resolver.spec.settings
        if root == "arch":
            return self.resolver.arch(self.arch, settings).model_dump(by_alias=True)
        if root == "mapping":
            return catalogue.load_mapping(self.resolver.spec.mapping, settings).model_dump(exclude_unset=True)
        network, path = self.resolver.network(self.network, settings), _path(self.network)
        plain: dict[str, Any] = {}
        if path.suffix in (".yaml", ".yml"):
            plain = dict(self.resolver.document(self.network, "workloads", "network").data)
        return {**plain, "name": network.name, "batch": network.batch}

    def dimension(self, key: str, assignment: Assignment) -> int:
        """The size of the loop that ``mapping.LAYER.tile.DIM`` cuts."""
        layer_name, dim = _tile_key(key)
        overrides = {**self.resolver.spec.settings, **assignment}
        network = self.resolver.network(self.network, overrides)
        try:
            dims = lower(network.layer(layer_name)).dims
        except KeyError as error:
            raise InputError(Fault(key, "", f"{network.name}: {error.args[0]}")) from None
        if dim not in dims:
            raise InputError(Fault(key, "", f"layer {layer_name} has no loops to tile"))
        return dims[dim]


def _tile_key(key: str) -> tuple[str, str]:
    parts = key.split(".")
    if parts[:1] == ["mapping"] and len(parts) >= 4 and parts[-2] == "tile" and parts[-1] in DIMS:
        layer = ".".join(parts[2 if parts[1] == "layers" else 1 : -2])
        if layer and layer != "default":
            return layer, parts[-1]
    raise InputError(Fault(key, "", f"divisors are of a layer's dimension: mapping.LAYER.tile.{'|'.join(DIMS)}"))


def _find(tree: Any, rest: str, key: str) -> Any:
    for part in rest.split("."):
        if isinstance(tree, list):
            named = [item for item in tree if isinstance(item, dict) and item.get("name") == part]
            tree = named[0] if named else tree[int(part)] if part.isdigit() and int(part) < len(tree) else None
        elif isinstance(tree, dict) and part in tree:
            tree = tree[part]
        else:
            raise KeyError(key)
        if tree is None:
            raise KeyError(key)
    return tree
