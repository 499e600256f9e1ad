"""Every fault of a YAML file, whichever kind it is, of ONNX and of SCALE-Sim's files; and the JSON Schemas of the kinds."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from accelsim.arch.spec import Architecture
from accelsim.catalogue import read_arch, with_machines
from accelsim.compression.recipe import Recipe, read_recipe
from accelsim.errors import Fault, InputError, join_allowed, nearest
from accelsim.frontends.network_yaml import network_file_model, read_network
from accelsim.frontends.onnx import read_onnx
from accelsim.frontends.scalesim import read_scalesim_cfg, read_scalesim_topology
from accelsim.mapping.mapping import MappingFile
from accelsim.sweep.spec import SweepFile, spec_of
from accelsim.yaml_io import Document, load_document, validate

READERS: dict[str, Callable[[Document], Any]] = {
    "accelsim.network/1": read_network,
    "accelsim.arch/1": read_arch,
    "accelsim.mapping/1": lambda document: with_machines(validate(document, MappingFile), document),
    "accelsim.recipe/1": read_recipe,
    "accelsim.sweep/1": spec_of,
}
OTHERS: dict[str, Callable[[Path], Any]] = {".csv": read_scalesim_topology, ".cfg": read_scalesim_cfg}


def check_file(path: Path, dims: Mapping[str, int] | None = None) -> list[Fault]:
    """All faults of the file at ``path``; none if it is in order. ``dims``: sizes that an ONNX model leaves open."""
    try:
        if path.suffix.lower() == ".onnx":
            read_onnx(path, dims)
            return []
        if (read := OTHERS.get(path.suffix.lower())) is not None:
            read(path)
            return []
        document = load_document(path)
        kind = document.data.get("schema") if isinstance(document.data, dict) else None
        if not isinstance(kind, str) or kind not in READERS:
            found = "is missing" if kind is None else f"is {kind!r}"
            return [document.fault(("schema",), f"{found}, must be {join_allowed(READERS)}{nearest(str(kind), READERS)}")]
        READERS[kind](document)
    except InputError as error:
        return list(error.faults)
    return []


def schema_of(kind: str) -> dict[str, Any]:
    """The JSON Schema of ``network``, ``arch``, ``mapping``, ``recipe`` or ``sweep`` files."""
    models: dict[str, Callable[[], type[BaseModel]]] = {
        "network": network_file_model, "arch": lambda: Architecture, "mapping": lambda: MappingFile,
        "recipe": lambda: Recipe, "sweep": lambda: SweepFile,
    }  # fmt: skip
    schema = models[kind]().model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **(_over_a_base(schema) if kind == "arch" else schema)}


def _over_a_base(schema: dict[str, Any]) -> dict[str, Any]:
    """An architecture's schema in which a file that names its ``base`` need not say the rest."""
    base = {"type": "string", "title": "Base", "description": "The architecture that this one differs from: its name or file."}
    memory = {"anyOf": [schema["properties"]["memory"], {"type": "object"}]}
    whole = [{"required": ["base", "name", "schema"]}, {"required": schema["required"]}]
    rest = {key: value for key, value in schema.items() if key != "required"}
    return {**rest, "properties": {**schema["properties"], "base": base, "memory": memory}, "anyOf": whole}
