"""What a sweep is to do: read from a sweep YAML (schema ``accelsim.sweep/1``) or put together from flags.

::

    schema: accelsim.sweep/1
    network: [alexnet, vgg16]
    arch: tpu_v1
    vary:
      arch.engine.rows: pow2:32:256
      arch.engine.weight_buffers: {values: [1, 2], when: arch.engine.rows >= 128}
    zip:
      - {arch.clock: [500 MHz, 700 MHz], arch.technology.voltage: [0.8, 1.0]}
    where: [arch.engine.rows*arch.engine.cols <= 16384, energy_total_pj <= 1e10]
    objective: [cycles, energy_total_pj]
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PositiveInt

from accelsim.catalogue import ROOTS
from accelsim.errors import Fault, InputError, join_allowed, nearest
from accelsim.sweep.expression import Expression
from accelsim.sweep.objective import Objective
from accelsim.sweep.space import Axis, Space, SpaceError
from accelsim.sweep.values import Values, parse_values
from accelsim.units import Batch, Seed
from accelsim.yaml_io import Document, KeyPath, load_document, no_file, validate

SCHEMA = "accelsim.sweep/1"
FLAGS = "command line"


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


Names = Annotated[list[str], BeforeValidator(_listed), Field(min_length=1)]
Texts = Annotated[list[str], BeforeValidator(_listed)]


class TilingsBlock(BaseModel):
    """Every tiling of one layer: its tile sizes, loop orders, and which tensors stay whole on chip."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layer: Annotated[str, Field(min_length=1)]
    tile: dict[Literal["N", "K", "C", "P", "Q", "R", "S", "G"], Any] = {}
    order: Texts = []
    keep: list[list[Literal["weight", "input"]]] | None = None
    bound: bool = True
    top: PositiveInt = 1


class SweepFile(BaseModel):
    """A sweep file."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_: Literal["accelsim.sweep/1"] = Field(alias="schema")
    name: str = ""
    description: str = ""
    network: Names
    arch: Names
    batch: Batch | None = None
    layers: list[str] = []
    mapping: str | None = None
    recipe: str | None = None
    values: bool = False
    seed: Seed = 0
    set: dict[str, Any] = {}
    vary: dict[str, Any] = {}
    zip: list[dict[str, Any]] = []
    where: Texts = []
    objective: Texts = []
    tilings: TilingsBlock | None = None


@dataclass(frozen=True)
class Tilings:
    """Which tilings of ``layer`` to look at; a dimension that ``tile`` leaves out takes its divisors."""

    layer: str
    tile: Mapping[str, Values] = field(default_factory=dict)
    order: tuple[str, ...] = ()
    keep: tuple[tuple[str, ...], ...] | None = None
    bound: bool = True
    top: int = 1


@dataclass(frozen=True)
class Spec:
    """A checked sweep. ``where`` of the space concerns inputs; ``limits`` concern results (``cycles <= 1e6``)."""

    networks: tuple[str, ...]
    archs: tuple[str, ...]
    space: Space
    objectives: tuple[Objective, ...] = ()
    limits: tuple[Expression, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)
    batch: int | None = None
    layers: tuple[str, ...] = ()
    mapping: str | None = None
    recipe: str | None = None
    values: bool = False
    seed: Seed = 0
    tilings: Tilings | None = None
    name: str = ""

    @property
    def keys(self) -> tuple[str, ...]:
        """The varied keys: the columns of the table."""
        return self.space.keys


@dataclass
class _Builder:
    """Turns plain data into axes, constraints and objectives; gathers the faults of all of them."""

    document: Document
    faults: list[Fault] = field(default_factory=list)
    free: bool = False  # keys are the user's own, not those of the inputs

    def fault(self, path: KeyPath, message: str) -> None:
        self.faults.append(self.document.fault(path, message))

    def key(self, path: KeyPath, key: str) -> None:
        root = key.split(".")[0]
        if not self.free and ("." not in key or root not in ROOTS):
            allowed = join_allowed(f"{name}.KEY" for name in ROOTS)
            self.fault(path, f"is no key, must be {allowed}{nearest(root, ROOTS) if root not in ROOTS else ''}")

    def values(self, path: KeyPath, given: Any, repeats: bool = False) -> Values:
        try:
            return parse_values(given, repeats)
        except ValueError as error:
            self.fault(path, str(error))
            return Values("list", (None,))

    def expression(self, path: KeyPath, text: Any) -> Expression | None:
        try:
            return Expression.parse(text)
        except ValueError as error:
            self.fault(path, str(error))
            return None

    def axis(self, path: KeyPath, keys: Sequence[str], given: Any) -> Axis:
        """``{values: ..., when: ...}`` or the values alone; several keys take them together."""
        when = None
        if isinstance(given, dict) and "values" in given:
            for unknown in given.keys() - {"values", "when"}:
                self.fault((*path, unknown), "unknown key; known here: values, when")
            if "when" in given:
                when = self.expression((*path, "when"), given["when"])
            given = given["values"]
        for key in keys:
            self.key(path, key)
        values = self.values(path, given)
        return Axis(tuple(keys), self._columns(path, values, len(keys)), when)

    def _columns(self, path: KeyPath, values: Values, width: int) -> tuple[Values, ...]:
        """One column a key: a list of lists gives each key its own, anything else gives all of them the same."""
        if width == 1 or not any(isinstance(item, list) for item in values.items):
            return (values,) * width
        if any(not isinstance(item, list) or len(item) != width for item in values.items):
            self.fault(path, f"must have {width} values in every item, one for each key")
            return (values,) * width
        return tuple(Values("list", column) for column in zip(*values.items, strict=True))

    def zipped(self, path: KeyPath, group: Mapping[str, Any]) -> Axis:
        """Keys that move together, each with its own list."""
        for key in group:
            self.key((*path, key), key)
        columns = tuple(self.values((*path, key), given, repeats=True) for key, given in group.items())
        return Axis(tuple(group), columns)

    def objectives(self, path: KeyPath, texts: Sequence[str]) -> tuple[Objective, ...]:
        found = []
        for index, text in enumerate(texts):
            try:
                found.append(Objective.parse(text))
            except ValueError as error:
                self.fault((*path, index), str(error))
        return tuple(found)

    def where(
        self, path: KeyPath, texts: Sequence[str], varied: Iterable[str] = ()
    ) -> tuple[list[Expression], list[Expression]]:
        """Constraints on inputs, and limits on results; of free keys those that are ``varied`` are inputs."""
        own = {key for keys in varied for key in _keys(keys)}
        inputs, limits = list[Expression](), list[Expression]()
        for index, text in enumerate(texts):
            expression = self.expression((*path, index), text)
            if expression is not None:
                on_inputs = all(key in own if self.free else key.split(".")[0] in ROOTS for key in expression.keys)
                (inputs if on_inputs else limits).append(expression)
        return inputs, limits

    def space(self, axes: Sequence[Axis], where: Sequence[Expression]) -> Space:
        try:
            return Space.of(axes, where)
        except SpaceError as error:
            path: KeyPath = ("vary", error.key)
            group: KeyPath = ("zip",) if ("zip",) in self.document.marks else ("vary",)
            self.fault(path if path in self.document.marks else group, f"{error.key}: {error.message}")
            return Space(())

    def said_once(self, paths: Mapping[str, KeyPath], said: Mapping[str, tuple[str, Any]]) -> None:
        """A varied key (``paths``: its place) has no other value; ``said``: keys that have one, who gives it, and what."""
        for key, path in paths.items():
            for other, (who, value) in said.items():
                if other == key or other.startswith(f"{key}."):
                    it = "it" if other == key else other
                    self.fault(path, f"{key} is varied, and {who} sets {it} to {value}: leave one of them out")

    def check(self) -> None:
        if self.faults:
            raise InputError(self.faults)


# ---- from a file ------------------------------------------------------------------------------------------------


def read_spec(source: str | Path) -> Spec:
    """Read a sweep YAML; raises `InputError` with every fault and its place."""
    return spec_of(load_document(Path(source)))


def spec_of(document: Document) -> Spec:
    """Check a sweep document."""
    file = validate(document, SweepFile)
    build = _Builder(document)
    for key in file.set:
        build.key(("set", key), key)
    axes = [build.axis(("vary", key), _keys(key), given) for key, given in file.vary.items()]
    axes += [build.zipped(("zip", index), group) for index, group in enumerate(file.zip)]
    where, limits = build.where(("where",), file.where)
    objectives = build.objectives(("objective",), file.objective)
    space = build.space(axes, where)
    tilings = _tilings(build, file.tilings) if file.tilings else None
    for key in ("mapping", "recipe"):
        name = getattr(file, key)
        why = name and no_file(Path(_located(name, document)))
        if why:
            build.fault((key,), why)
    if tilings and file.layers:
        build.fault(("layers",), f"are not looked at beside tilings, which are of {tilings.layer} alone: leave one out")
    places: dict[str, KeyPath] = {key: ("vary", keys) for keys in file.vary for key in _keys(keys)}
    places |= {key: ("zip", index, key) for index, group in enumerate(file.zip) for key in group}
    build.said_once(places, _said("set", file.set, "batch", file.batch))
    build.check()
    return Spec(
        networks=tuple(_located(name, document) for name in file.network),
        archs=tuple(_located(name, document) for name in file.arch),
        space=space, objectives=objectives, limits=tuple(limits), settings=dict(file.set), batch=file.batch,
        layers=tuple(file.layers), mapping=_located(file.mapping, document) if file.mapping else None,
        recipe=_located(file.recipe, document) if file.recipe else None,
        values=file.values, seed=file.seed, tilings=tilings, name=file.name,
    )  # fmt: skip


def refuse_beside(document: Document, given: Mapping[str, tuple[str, Any]]) -> None:
    """A sweep file says all of a sweep: `InputError` for what is given beside it.

    ``given``: the key of the file that says it -> who gives it (``--seed``), and what.
    """
    faults = []
    for key, (who, value) in given.items():
        path: KeyPath = tuple(key.split("."))
        here = document.data
        for part in path:
            here = here.get(part) if isinstance(here, dict) else None
        said = f"is {here!r} here" if here is not None else "is not said here"
        gives = "is given" if value is True else f"gives {value!r}"
        told = f"{said}, and {who} {gives}: a sweep file says all of its sweep; change it there, and leave {who} out"
        faults.append(document.fault(path, told))
    if faults:
        raise InputError(faults)


def _said(who: str, settings: Mapping[str, Any], other: str, batch: int | None) -> dict[str, tuple[str, Any]]:
    """Keys that have one value for the whole sweep: who says so, and which."""
    said = {key: (who, value) for key, value in settings.items()}
    return said | ({} if batch is None else {"workload.batch": (other, batch)})


def _tilings(build: _Builder, block: TilingsBlock) -> Tilings:
    tile = {str(dim): build.values(("tilings", "tile", dim), given) for dim, given in block.tile.items()}
    keep = None if block.keep is None else tuple(tuple(sorted(kept)) for kept in block.keep)
    return Tilings(block.layer, tile, tuple(block.order), keep, block.bound, block.top)


def _keys(text: str) -> list[str]:
    """``"arch.engine.rows, arch.engine.cols"`` names keys that take the same values together."""
    return [key.strip() for key in text.split(",")]


def _located(name: str, document: Document) -> str:
    """A path in a file is relative to the file."""
    path = Path(name)
    if path.suffix and not path.is_absolute() and document.folder is not None:
        return str(document.folder / path)
    return name


# ---- from flags and from Python ---------------------------------------------------------------------------------


def make_spec(
    networks: Iterable[str], archs: Iterable[str], vary: Mapping[str, Any], *, where: Sequence[str] = (),
    objectives: Sequence[str] = (), settings: Mapping[str, Any] | None = None, batch: int | None = None,
    layers: Iterable[str] = (), mapping: str | None = None, values: bool = False, seed: int | None = None,
    tilings: str | None = None, bound: bool | None = None, top: int | None = None, source: str = FLAGS,
    free: bool = False, recipe: str | None = None,
) -> Spec:  # fmt: skip
    """A sweep from plain values: ``vary`` maps a key, or several with commas between, to VALUES.

    ``free`` keys are any words: they go to a function of the user's.

    With ``tilings`` naming a layer, ``mapping.LAYER.tile.X`` in ``vary`` says which sizes its tiles may have.
    ``bound`` (True unless given) and ``top`` (1) are of them alone.
    """
    build = _Builder(Document({}, source), free=free)
    for key in settings or {}:
        build.key((key,), key)
    own = {key: given for key, given in vary.items() if tilings and _is_tiling_key(key, tilings)}
    axes = [build.axis((key,), _keys(key), given) for key, given in vary.items() if key not in own]
    inside, limits = build.where(("where",), where, vary)
    goals = build.objectives(("objective",), objectives)
    space = build.space(axes, inside)
    layer = None
    if tilings:
        tile = {key.rpartition(".")[2]: build.values((key,), given) for key, given in own.items()}
        layer = Tilings(tilings, tile, bound=bound is not False, top=top or 1)
    flag = "--" if source == FLAGS else ""
    for word, given in (("top", top), ("no-bound" if flag else "bound", bound)):
        if given is not None and not tilings:
            build.faults.append(Fault(f"{flag}{word}", "", f"is of tilings: name a layer with {flag}tilings"))
    wanted = tuple(layers)
    if tilings and wanted:
        told = f"is not looked at beside {flag}tilings {tilings}, which are of that layer alone: leave one out"
        build.faults.append(Fault(f"{flag}layer", ", ".join(wanted), told))
    places: dict[str, KeyPath] = {key: ("vary",) for axis in axes for key in axis.keys}
    build.said_once(places, _said(f"{flag}set" if flag else "overrides", settings or {}, f"{flag}batch", batch))
    build.check()
    return Spec(
        networks=tuple(networks), archs=tuple(archs), space=space, objectives=goals, limits=tuple(limits),
        settings=dict(settings or {}), batch=batch, layers=wanted, mapping=mapping, values=values,
        seed=seed or 0, tilings=layer, recipe=recipe,
    )  # fmt: skip


def _is_tiling_key(key: str, layer: str) -> bool:
    return key.startswith((f"mapping.{layer}.tile.", f"mapping.layers.{layer}.tile."))


def parse_vary(assignments: Iterable[str]) -> dict[str, str]:
    """``["arch.engine.rows=8:128:8"]`` -> ``{"arch.engine.rows": "8:128:8"}``; all faults at once."""
    faults, result = [], dict[str, str]()
    for text in assignments:
        key, equals, values = text.partition("=")
        if not equals or not key.strip():
            faults.append(Fault("--vary", text, "must be KEY=VALUES, such as arch.engine.rows=8:128:8"))
        elif key in result:
            faults.append(Fault("--vary", key, "is given twice"))
        result[key] = values
    if faults:
        raise InputError(faults)
    return result
