"""Keys of a recipe from outside of it: ``compression.prune.density=0.2``, as ``--set`` and sweeps have them.

``compression.KIND.KEY`` is a key of the pass of that kind; a pass that the recipe lacks is put in its usual place. With
several passes of a kind, and for anything else, the path is the file's own: ``compression.passes.1.density``,
``compression.seed``. Without a recipe the passes that keys name stand before a plain ``quantize``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from accelsim.compression.recipe import SCHEMA
from accelsim.errors import Fault, InputError, join_allowed, nearest
from accelsim.yaml_io import Document, load_document, with_override

ROOT = "compression"
KINDS = ("prune_channels", "factorize", "prune", "cluster", "algorithm", "quantize", "encode")
_FIELDS = ("schema", "name", "description", "seed", "calibration", "test", "inputs", "passes")


def compression_keys(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """Those of ``overrides`` that are a recipe's."""
    return {key: value for key, value in overrides.items() if key.split(".")[0] == ROOT}


def recipe_document(source: str | Path | None, overrides: Mapping[str, Any]) -> Document:
    """The recipe at ``source`` (None: none but a ``quantize``) with ``compression.`` keys over it; `InputError`."""
    plain = Document({"schema": SCHEMA, "passes": [{"kind": "quantize"}]}, "--set")
    document = load_document(Path(source)) if source is not None else plain
    for key, value in compression_keys(overrides).items():
        document = _with_key(document, key, value)
    return document


def recipe_value(document: Document, key: str) -> Any:
    """What a recipe has at ``compression.KIND.KEY`` or at a path of its own; KeyError where it has nothing."""
    keys = key.split(".")[1:]
    found: Any = document.data
    places = _places(document, keys[0])
    if places:
        found, keys = found["passes"][places[0]], keys[1:]
    for part in keys:
        if isinstance(found, list) and part.isdecimal() and int(part) < len(found):
            found = found[int(part)]
        elif isinstance(found, dict) and part in found:
            found = found[part]
        else:
            raise KeyError(key)
    return found


def _with_key(document: Document, key: str, value: Any) -> Document:
    keys = key.split(".")[1:]
    if not keys or keys[0] not in (*KINDS, *_FIELDS):
        known = (*KINDS, *_FIELDS[3:])
        raise InputError(Fault("--set", key, f"must be {ROOT}.{join_allowed(known)}{nearest(keys[0] if keys else '', known)}"))
    if keys[0] not in KINDS:
        return with_override(document, tuple(keys), value, f"--set {key}")
    if len(keys) == 1:
        raise InputError(Fault("--set", key, f"names a pass; say which key of it: {key}.KEY=VALUE"))
    document, place = _with_pass(document, keys[0], key)
    return with_override(document, ("passes", place, *keys[1:]), value, f"--set {key}")


def _with_pass(document: Document, kind: str, key: str) -> tuple[Document, int]:
    """The document with a pass of ``kind``, and where it stands."""
    places = _places(document, kind)
    if len(places) > 1:
        words = " or ".join(f"{ROOT}.passes.{place}" for place in places)
        raise InputError(Fault("--set", key, f"{document.source} has {len(places)} passes of kind {kind}; say which: {words}"))
    if places:
        return document, places[0]
    passes = _passes(document)
    later = KINDS[KINDS.index(kind) :]
    place = next((i for i, part in enumerate(passes) if _kind(part) in later), len(passes))
    made = [*passes[:place], {"kind": kind}, *passes[place:]]
    marks = {path: mark for path, mark in document.marks.items() if path[:1] != ("passes",)}  # they have moved
    data = {**document.data, "passes": made} if isinstance(document.data, dict) else document.data
    return Document(data, document.source, marks, document.folder), place


def _passes(document: Document) -> list[Any]:
    found = document.data.get("passes") if isinstance(document.data, dict) else None
    return found if isinstance(found, list) else []


def _places(document: Document, kind: str) -> list[int]:
    return [i for i, part in enumerate(_passes(document)) if _kind(part) == kind]


def _kind(part: Any) -> Any:
    return part.get("kind") if isinstance(part, dict) else None


def without_compression(overrides: Mapping[str, Any]) -> dict[str, Any]:
    """``overrides`` for what is not a recipe."""
    return {key: value for key, value in overrides.items() if key.split(".")[0] != ROOT}


def is_compressed(recipe: str | Path | None, overrides: Mapping[str, Any]) -> bool:
    """Whether a recipe is asked for, by name or by its keys."""
    return recipe is not None or bool(compression_keys(overrides))

