"""A strict YAML loader that knows the line and column of every key, and says all faults at once.

Differences from a plain YAML 1.1 loader, each because a silent misreading costs a user a paper:
``1e9`` is a number, ``no`` and ``on`` are words, ``12:30`` is text, and a repeated key is a fault. ``<<: *name`` takes
in the keys of another mapping, as YAML 1.1 has it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from math import isfinite
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from accelsim.errors import Fault, InputError, join_allowed, nearest
from accelsim.reading import MOST_TEXT_BYTES, MOST_YAML_BYTES, read_bytes

Entry = tuple[yaml.ScalarNode, yaml.Node]
KeyPath = tuple[str | int, ...]
Model = TypeVar("Model", bound=BaseModel)
MOST_DIGITS = 18
MOST_VALUES = 1_000_000
MERGE = "<<"
_PLAIN = "tag:yaml.org,2002:"
_KINDS = ("map", "seq", "str", "int", "float", "bool", "null")


class _Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):  # type: ignore[misc]
    """YAML 1.2's core schema on PyYAML's parser."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012


_Loader.add_implicit_resolver("tag:yaml.org,2002:bool", re.compile(r"^(?:true|True|false|False)$"), list("tTfF"))
_Loader.add_implicit_resolver("tag:yaml.org,2002:null", re.compile(r"^(?:~|null|Null|)$"), ["~", "n", "N", ""])
_Loader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"^[-+]?[0-9]+$"), list("-+0123456789"))
_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$|^[-+]?\.inf$|^\.nan$"),
    list("-+0123456789."),
)


@dataclass(frozen=True)
class Document:
    """A parsed YAML file: plain data, and where each key stands.

    ``marks`` maps a path of keys and indices to (line, column), both counted from 1; ``replaced`` a path whose value is
    not the file's to where it comes from, such as ``--set arch.engine.rows``.
    """

    data: Any
    source: str
    marks: Mapping[KeyPath, tuple[int, int]] = field(default_factory=dict)
    folder: Path | None = None
    replaced: Mapping[KeyPath, str] = field(default_factory=dict)

    def says(self, path: KeyPath) -> bool:
        """Whether a key stands in the file, or was laid over it."""
        return path in self.marks or path in self.replaced

    def fault(self, path: KeyPath, message: str) -> Fault:
        """A fault at ``path``, or at the nearest enclosing key that has a place."""
        for keys, source in self.replaced.items():
            if path[: len(keys)] == keys:
                return Fault(source, "" if source.endswith(f".{dotted(path)}") else dotted(path), message)
        for depth in range(len(path), -1, -1):
            if path[:depth] in self.marks:
                line, column = self.marks[path[:depth]]
                return Fault(self.source, dotted(path), message, line, column)
        return Fault(self.source, dotted(path), message)


def dotted(path: KeyPath) -> str:
    """``('layers', 3, 'K')`` -> ``'layers[3].K'``."""
    text = ""
    for part in path:
        text += f"[{part}]" if isinstance(part, int) else f".{part}" if text else str(part)
    return text


def read_text(path: Path, most_bytes: int = MOST_TEXT_BYTES) -> str:
    """Read a UTF-8 file, or raise `InputError` saying what is wrong with it."""
    name = str(path)
    try:
        return read_bytes(path, most_bytes).decode("utf-8-sig").replace("\r\n", "\n").replace("\r", "\n")
    except FileNotFoundError:
        raise InputError(Fault(name, "", "no such file")) from None
    except IsADirectoryError:
        raise InputError(Fault(name, "", "is a directory, must be a file")) from None
    except UnicodeDecodeError as error:
        raise InputError(Fault(name, "", f"is not UTF-8 text (byte {error.start}: {error.reason})")) from None
    except OSError as error:
        raise InputError(Fault(name, "", f"cannot be read: {error.strerror}")) from None


def no_file(path: Path) -> str:
    """What is wrong with a file that is named; empty if it is there."""
    if path.is_dir():
        return f"names {path}, which is a directory, must be a file"
    return "" if path.exists() else f"names {path}, and there is no such file"


def load_document(path: Path) -> Document:
    """Parse the YAML file at ``path``; raises `InputError` with line and column."""
    return parse_document(read_text(path, MOST_YAML_BYTES), source=str(path), folder=path.parent)


def parse_document(text: str, source: str, folder: Path | None = None) -> Document:
    """Parse YAML ``text``; ``source`` names it in faults."""
    try:
        loader = _Loader(text)
        try:
            node = loader.get_single_node()
        finally:
            loader.dispose()
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line, column = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        raise InputError(Fault(source, "", f"is not YAML: {error.problem}", line, column)) from None
    except (yaml.YAMLError, RecursionError) as error:
        raise InputError(Fault(source, "", f"is not YAML: {str(error).splitlines()[0]}", 1, 1)) from None
    if node is None:
        raise InputError(Fault(source, "", "is empty", 1, 1))
    builder = _Builder(source)
    try:
        data = builder.build(node, ())
    except RecursionError:
        raise InputError(Fault(source, "", "is nested too deeply", 1, 1)) from None
    if builder.faults:
        raise InputError(builder.faults)
    return Document(data, source, builder.marks, folder)


class _Builder:
    """Turns YAML nodes into plain data, noting places and faults as it goes."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.marks: dict[KeyPath, tuple[int, int]] = {}
        self.faults: list[Fault] = []
        self._open: list[yaml.Node] = []
        self._built = 0

    def build(self, node: yaml.Node, path: KeyPath) -> Any:
        self.marks.setdefault(path, (node.start_mark.line + 1, node.start_mark.column + 1))
        if any(node is outer for outer in self._open):
            self._fault(node, path, "refers to itself")
            return None
        self._count(node, path)
        self._open.append(node)
        try:
            if not node.tag.startswith(_PLAIN) or node.tag.removeprefix(_PLAIN) not in _KINDS:
                self._fault(node, path, f"has the tag {node.tag}, which is not supported here")
                return None
            if isinstance(node, yaml.MappingNode):
                return self._mapping(node, path)
            if isinstance(node, yaml.SequenceNode):
                return [self.build(item, (*path, i)) for i, item in enumerate(node.value)]
            return self._scalar(node, path)
        finally:
            self._open.pop()

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key, (key_node, value_node) in self._entries(node, path).items():
            self.marks[(*path, key)] = (key_node.start_mark.line + 1, key_node.start_mark.column + 1)
            result[key] = self.build(value_node, (*path, key))
        return result

    def _entries(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Entry]:
        """The keys of a mapping with their values, its own before those that it takes in with ``<<``."""
        own: dict[str, Entry] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                self._fault(key_node, path, "a key must be a plain word")
                continue
            key = str(key_node.value)
            if key in own:
                self._fault(key_node, (*path, key), "is given twice")
            own[key] = (key_node, value_node)
        merged = own.get(MERGE)
        if merged is None or merged[0].style:  # a quoted "<<" is a word like any other
            return own
        del own[MERGE]
        return {**self._merged(merged[1], (*path, MERGE)), **own}

    def _merged(self, node: yaml.Node, path: KeyPath) -> dict[str, Entry]:
        """The keys that ``<<`` brings from a mapping, or from a list of them, of which the first counts most."""
        self._count(node, path)
        if any(node is outer for outer in self._open):
            self._fault(node, path, "refers to itself")
            return {}
        self._open.append(node)
        found: dict[str, Entry] = {}
        if isinstance(node, yaml.SequenceNode):
            for item in reversed(node.value):
                found |= self._merged(item, path)
        elif isinstance(node, yaml.MappingNode):
            found = self._entries(node, path)
        else:
            self._fault(node, path, "merges keys, and must be given a mapping or a list of mappings: <<: *name")
        self._open.pop()
        return found

    def _count(self, node: yaml.Node, path: KeyPath) -> None:
        """A few anchors that use each other can stand for billions of values."""
        self._built += 1
        if self._built > MOST_VALUES:
            self._fault(node, path, f"expands to too many values, at most {MOST_VALUES:,} are taken")
            raise InputError(self.faults)

    def _scalar(self, node: yaml.Node, path: KeyPath) -> Any:
        kind = node.tag.removeprefix(_PLAIN)
        try:
            if kind == "bool":
                return {"true": True, "false": False}[node.value.lower()]
            if kind == "int":
                return self._integer(node, path)
            if kind == "float":
                return self._float(node, path)
        except (KeyError, ValueError):  # a tag in the file that its value does not bear: !!int x
            self._fault(node, path, f"is {_found(node.value)}, but its tag says {kind}")
        return node.value if kind == "str" else None

    def _float(self, node: yaml.Node, path: KeyPath) -> float:
        value = float(node.value.replace(".inf", "inf").replace(".nan", "nan"))
        if not isfinite(value):
            self._fault(node, path, f"is {node.value}, must be a finite number")
        return value

    def _integer(self, node: yaml.Node, path: KeyPath) -> int:
        digits = node.value.lstrip("+-")
        if len(digits) > MOST_DIGITS:
            self._fault(node, path, f"has {len(digits)} digits, at most {MOST_DIGITS} are taken")
            return 0
        return int(node.value)

    def _fault(self, node: yaml.Node, path: KeyPath, message: str) -> None:
        mark = node.start_mark
        self.faults.append(Fault(self.source, dotted(path), message, mark.line + 1, mark.column + 1))


def validate(document: Document, model: type[Model], at: KeyPath = ()) -> Model:
    """Check ``document``, or its part ``at``, against a pydantic ``model``; raises `InputError` with every fault."""
    data = document.data
    for key in at:
        data = data[key]
    if not isinstance(data, dict):
        raise InputError(document.fault(at, f"is {_found(data)}, must be a mapping of keys to values"))
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise InputError(list(_faults(document, model, error, data, at))) from None


def _faults(
    document: Document, model: type[BaseModel], error: ValidationError, data: Any, at: KeyPath
) -> Iterable[Fault]:
    seen: set[tuple[str, str]] = set()
    for item in error.errors(include_url=False):
        path = (*at, *_real_path(data, item["loc"], missing=item["type"] == "missing"))
        if item["type"] == "union_tag_invalid":
            path = (*path, str(item["ctx"]["discriminator"]).strip("'"))
        rules = item["type"] == "value_error"  # about several keys, a line each, which names the key that it is about
        for line in _message(item, model).split("\n") if rules else [_message(item, model)]:
            place, message = _about(document, path, line) if rules else (path, line)
            if (dotted(place), message) not in seen:
                seen.add((dotted(place), message))
                yield document.fault(place, message)


def _about(document: Document, path: KeyPath, line: str) -> tuple[KeyPath, str]:
    """The key below ``path`` that ``line`` begins with, if there is one, and what is said of it."""
    words, colon, rest = line.partition(": ")
    inner = (*path, *(int(word) if word.isdecimal() else word for word in words.split(".")))
    return (inner, rest) if colon and document.says(inner) else (path, line)


def _real_path(data: Any, loc: Iterable[str | int], missing: bool) -> KeyPath:
    """Drop from pydantic's location the names of union members and validators, which are not keys of the file."""
    path: list[str | int] = []
    parts = list(loc)
    for index, part in enumerate(parts):
        inside = (isinstance(data, dict) and part in data) or (isinstance(data, list) and isinstance(part, int))
        if inside:
            path.append(part)
            data = data[part] if not isinstance(data, list) or int(part) < len(data) else None
        elif missing and index == len(parts) - 1:
            path.append(part)
    return tuple(path)


def _message(item: Any, model: type[BaseModel]) -> str:
    kind, found = item["type"], item.get("input")
    context = item.get("ctx", {})
    if kind == "extra_forbidden":
        owners = models_at(model, item["loc"][:-1])
        known, key = sorted(keys_of(owners)), str(item["loc"][-1])
        misplaced = [words for owner in owners if (words := getattr(owner, "misplaced", _nowhere)(key))]
        if misplaced:
            return f"{misplaced[0]}; known here: {', '.join(known)}"
        hint = nearest(key, known)
        return f"unknown key{hint}" + (f"; known here: {', '.join(known)}" if known and not hint else "")
    if kind == "missing":
        return "is missing"
    if kind == "too_short":
        return f"has {context['actual_length']} items, must have at least {context['min_length']}"
    if kind in ("value_error", "assertion_error"):
        return str(context.get("error", item["msg"]))
    if kind in ("literal_error", "enum"):
        return f"is {_found(found)}, must be {context.get('expected', '')}" + _near_literal(found, context)
    if kind == "union_tag_invalid":
        tags = [tag.strip(" '") for tag in context.get("expected_tags", "").split(",")]
        return f"is {_found(context.get('tag'))}, must be {join_allowed(tags)}{nearest(context.get('tag', ''), tags)}"
    if kind == "union_tag_not_found":
        return f"lacks the key {context.get('discriminator', '')} that says which kind it is"
    text = item["msg"].replace("Input should be", "must be").replace("Value error, ", "").split(", unable to parse")[0]
    return f"is {_found(found)}, {text}"


def _near_literal(found: Any, context: Mapping[str, Any]) -> str:
    words = re.findall(r"'([^']*)'", str(context.get("expected", "")))
    return nearest(found, words) if isinstance(found, str) else ""


def _found(value: Any) -> str:
    if value is None:
        return "nothing"
    if isinstance(value, dict):
        return "a mapping"
    if isinstance(value, list):
        return "a list"
    text = repr(value) if not isinstance(value, str) else f'"{value}"'
    return text if len(text) <= 60 else text[:57] + "..."


def _nowhere(key: str) -> str:
    """What a model says of a key that it does not know, where it has nothing to say."""
    del key
    return ""


def models_at(model: type[BaseModel], loc: Iterable[str | int]) -> set[type[BaseModel]]:
    """The (sub)models that can stand at pydantic location ``loc``."""
    current: set[type[BaseModel]] = {model}
    for part in loc:
        following: set[type[BaseModel]] = set()
        for candidate in current:
            info = candidate.model_fields.get(str(part)) or next(
                (f for f in candidate.model_fields.values() if f.alias == part), None
            )
            if info is not None:
                following |= _models_in(info.annotation)
        tagged = {c for c in current | following if _tag_of(c, part)}
        current = tagged or following or current
    return current


def keys_of(models: Iterable[type[BaseModel]]) -> set[str]:
    """The keys that any of ``models`` would take."""
    return {info.alias or name for candidate in models for name, info in candidate.model_fields.items()}


def _tag_of(model: type[BaseModel], tag: str | int) -> bool:
    """Whether ``tag`` is the name of ``model``, or one of the literal values of a discriminating field of it."""
    if model.__name__ == tag:
        return True
    for name in ("kind", "op"):
        info = model.model_fields.get(name)
        if info is not None and tag in getattr(info.annotation, "__args__", ()):
            return True
    return False


def models_within(model: type[BaseModel]) -> set[type[BaseModel]]:
    """``model`` and every model that a value of it can hold."""
    found, coming = set[type[BaseModel]](), {model}
    while coming:
        found |= coming
        coming = {inner for outer in coming for f in outer.model_fields.values() for inner in _models_in(f.annotation)} - found
    return found


def _models_in(annotation: Any) -> set[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {annotation}
    found: set[type[BaseModel]] = set()
    for argument in getattr(annotation, "__args__", ()):
        found |= _models_in(argument)
    return found


def parse_value(text: str) -> Any:
    """The value of ``--set key=VALUE``: read as YAML, so ``8``, ``true``, ``[1, 2]`` and ``"34 GB/s"`` all work."""
    return parse_document(text, source="--set").data if text.strip() else None


def with_override(document: Document, keys: KeyPath, value: Any, source: str) -> Document:
    """A copy of ``document`` in which the value at ``keys`` is ``value``; missing mappings are made."""
    data = _replaced(document.data, keys, value, source, ())
    marks = {path: mark for path, mark in document.marks.items() if path[: len(keys)] != keys}
    at = _with_indices(document.data, keys)
    return Document(data, document.source, marks, document.folder, {**document.replaced, at: source})


def laid_over(own: Document, base: Document) -> Document:
    """``base`` with what ``own`` says in its place: mappings key by key, all else whole. Under a list of the base's a mapping
    changes the items that it names. Places are those of ``own``.
    """
    moved: dict[KeyPath, KeyPath] = {}
    data = _merged(own, own.data, base.data, (), (), moved)

    def there(path: KeyPath) -> KeyPath:
        known = max((length for length in range(len(path) + 1) if path[:length] in moved), default=0)
        return moved.get(path[:known], ()) + path[known:]

    marks = {there(path): mark for path, mark in own.marks.items()}
    return Document(data, own.source, marks, own.folder, {there(path): said for path, said in own.replaced.items()})


def _merged(own: Document, value: Any, base: Any, at: KeyPath, to: KeyPath, moved: dict[KeyPath, KeyPath]) -> Any:
    """``value``, which stands ``at`` a path of ``own``, over ``base``; ``moved`` notes where it goes ``to``."""
    moved[at] = to
    if isinstance(value, dict) and isinstance(base, list):
        items = list(base)
        for key, change in value.items():
            try:
                index = _list_index(base, key, own.source, at)
            except InputError as error:
                raise InputError(own.fault((*at, key), fault.message) for fault in error.faults) from None
            items[index] = _merged(own, change, items[index], (*at, key), (*to, index), moved)
        return items
    if isinstance(value, dict) and isinstance(base, dict):
        return {**base, **{
            key: _merged(own, change, base.get(key), (*at, key), (*to, key), moved) for key, change in value.items()
        }}  # fmt: skip
    return value


def _with_indices(data: Any, keys: KeyPath) -> KeyPath:
    """``keys`` with the index of every list item, which a key may name: ``memory.dram`` -> ``memory``, 0."""
    path: list[str | int] = []
    for key in keys:
        if isinstance(data, list):
            path.append(_list_index(data, key, "", ()))
            data = data[path[-1]]  # type: ignore[index]
        else:
            path.append(key)
            data = data.get(key) if isinstance(data, dict) else None
    return tuple(path)


def _replaced(data: Any, keys: KeyPath, value: Any, source: str, done: KeyPath) -> Any:
    if not keys:
        return value
    head, rest = keys[0], keys[1:]
    if isinstance(data, list):
        index = _list_index(data, head, source, done)
        return [_replaced(v, rest, value, source, (*done, head)) if i == index else v for i, v in enumerate(data)]
    if not isinstance(data, dict) and data is not None:
        raise InputError(Fault(source, dotted((*done, head)), f"{dotted(done)} is {_found(data)} and has no keys"))
    result = dict(data or {})
    result[str(head)] = _replaced(result.get(str(head)), rest, value, source, (*done, head))
    return result


def _list_index(data: list[Any], key: str | int, source: str, done: KeyPath) -> int:
    """A list item is reached by its index or, where the items have one, by its ``name``."""
    names = [item.get("name") if isinstance(item, dict) else None for item in data]
    if str(key) in names:
        return names.index(str(key))
    if str(key).isdecimal() and int(key) < len(data):
        return int(key)
    allowed = [str(n) for n in names if n is not None] or [str(i) for i in range(len(data))]
    hint = nearest(str(key), allowed) or f"; there are {', '.join(allowed)}"
    raise InputError(Fault(source, dotted((*done, key)), f"there is no such item{hint}"))
