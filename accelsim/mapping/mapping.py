"""A mapping: how one loop nest is laid onto the hardware, and the YAML that overrides the automatic choice.

``tile`` is what the levels on chip hold at a time; ``order`` is the sequence of the loops over tiles, outermost
first. Inside a tile the engine's own loops run (the folds of a systolic array).
"""

from __future__ import annotations

from collections.abc import Mapping as MappingABC
from dataclasses import dataclass
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr

from accelsim.arch.spec import Architecture
from accelsim.errors import Fault, nearest
from accelsim.mapping.loopnest import DIMS, Dims
from accelsim.units import PositiveInt, ceil_div
from accelsim.workload.expand import parts_of
from accelsim.workload.network import Network
from accelsim.workload.ops import OPERATOR_BY_NAME
from accelsim.yaml_io import Document, KeyPath

SCHEMA = "accelsim.mapping/1"
Order = tuple[str, ...]
DEFAULT_ORDER: Order = ("G", "N", "P", "Q", "K", "C", "R", "S")
RELEVANT: MappingABC[str, frozenset[str]] = {
    "weight": frozenset("GKCRS"),
    "input": frozenset("GNCPQRS"),
    "output": frozenset("GNKPQ"),
}


class Stage(NamedTuple):
    """What a stage of memory holds at a time, and the order of the loops over such tiles."""

    tile: Dims
    order: Order

    def to_dict(self) -> dict[str, Any]:
        """As it would stand in a mapping YAML."""
        return {"tile": self.tile._asdict(), "order": " ".join(self.order)}


@dataclass(frozen=True)
class Mapping:
    """Tiling, loop order and dataflow of one nest.

    ``tile`` and ``order`` are of the innermost stage of memory, ``outer`` those of the stages outside it, the outermost
    first. A tensor in ``keep`` is fetched tile by tile as it is first needed, and then stays until the layer is done (for
    grouped layers: until the group is); its level has room for the whole of it.
    """

    tile: Dims
    order: Order
    dataflow: str
    keep: frozenset[str] = frozenset()
    outer: tuple[Stage, ...] = ()

    @property
    def stages(self) -> tuple[Stage, ...]:
        """Tile and order of every stage, the outermost first."""
        return (*self.outer, Stage(self.tile, self.order))

    def counts(self, sizes: Dims) -> Dims:
        """How many tiles there are along each dimension."""
        return Dims(*(ceil_div(size, tile) for size, tile in zip(sizes, self.tile, strict=True)))

    def to_dict(self) -> dict[str, Any]:
        """As it would stand in a mapping YAML, but for ``outer``, whose stages have names only on a machine."""
        return {
            "dataflow": self.dataflow,
            "tile": self.tile._asdict(),
            "order": " ".join(self.order),
            "keep": sorted(self.keep),
        }


def _parse_order(text: Any) -> Any:
    """``"K C P"`` or a list -> a full order: the dimensions not named stay outside, in the default order."""
    words = text.replace(",", " ").split() if isinstance(text, str) else text
    if not isinstance(words, list | tuple):
        return text
    for word in words:
        if word not in DIMS:
            raise ValueError(f"has {word!r}, must name loop dimensions out of {' '.join(DIMS)}{nearest(str(word), DIMS)}")
    if len(set(words)) != len(words):
        raise ValueError(f"names a dimension twice: {' '.join(words)}")
    return (*(dim for dim in DEFAULT_ORDER if dim not in words), *words)


class _Sizes(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    def given(self) -> dict[str, int]:
        return {dim: size for dim, size in self if size is not None}


class TileSizes(_Sizes):
    """Sizes of a tile; what is left out is chosen automatically."""

    N: PositiveInt | None = None
    K: PositiveInt | None = None
    C: PositiveInt | None = None
    P: PositiveInt | None = None
    Q: PositiveInt | None = None
    R: PositiveInt | None = None
    S: PositiveInt | None = None
    G: PositiveInt | None = None


class UnrollSizes(_Sizes):
    """How many of each loop's iterations an NFU does at once; what is left out is as its architecture has it."""

    C: PositiveInt | None = None
    K: PositiveInt | None = None
    P: PositiveInt | None = None
    Q: PositiveInt | None = None
    R: PositiveInt | None = None
    S: PositiveInt | None = None


class StageWords(BaseModel):
    """What a user fixes of an outer stage of memory; what is left out is chosen automatically."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    tile: TileSizes = TileSizes()
    order: Annotated[tuple[str, ...] | None, BeforeValidator(_parse_order)] = None


def _parse_engine(choice: Any) -> Any:
    for op in choice if isinstance(choice, dict) else ():
        if op not in OPERATOR_BY_NAME:
            known = f"must name operators, such as conv2d or linear{nearest(str(op), OPERATOR_BY_NAME)}"
            raise ValueError(f"has {op!r}, {known}")
    return choice


EngineChoice = Annotated[str | dict[str, str] | None, BeforeValidator(_parse_engine)]
"""The architecture (a name or a file) that runs a layer; or a table of them by operator."""


class LayerMapping(BaseModel):
    """What a user fixes of a layer's mapping; everything is optional.

    ``tile`` and ``order`` are of the innermost stage of memory; ``levels`` has those of the others, by a level of theirs.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    levels: dict[str, StageWords] = {}
    tile: TileSizes = TileSizes()
    order: Annotated[tuple[str, ...] | None, BeforeValidator(_parse_order)] = None
    dataflow: Literal["ws", "os", "is"] | None = None
    keep: tuple[Literal["weight", "input"], ...] | None = None
    unroll: UnrollSizes = UnrollSizes()
    engine: EngineChoice = None

    def __hash__(self) -> int:  # pydantic's own cannot hash a dict
        return hash((tuple(sorted(self.levels)), self.tile, self.order, self.dataflow, self.keep, self.unroll))

    def at(self, names: tuple[str, ...]) -> LayerMapping:
        """What is fixed of the outer stage whose levels have these ``names``."""
        words = next((self.levels[name] for name in names if name in self.levels), StageWords())
        return LayerMapping(tile=words.tile, order=words.order, dataflow=self.dataflow)

    def whole(self, sizes: Dims, dataflow: str) -> Mapping | None:
        """The mapping of a nest of these sizes where nothing about it is left to choose, else None."""
        tile = self.tile.given()
        if self.order is None or self.keep is None or len(tile) != len(DIMS):
            return None
        sizes = Dims(*(min(tile[dim], getattr(sizes, dim)) for dim in DIMS))
        return Mapping(sizes, self.order, dataflow, frozenset(self.keep))

    def fixed(self) -> list[str]:
        """The keys that say how a loop nest lies on an engine, as far as they are given."""
        given = {"tile": self.tile.given(), "unroll": self.unroll.given()}
        given |= {key: getattr(self, key) for key in ("levels", "order", "dataflow", "keep")}
        return [key for key in ("levels", "tile", "order", "dataflow", "keep", "unroll") if given[key]]


class MappingFile(BaseModel):
    """A mapping file: ``default`` holds for every layer, ``layers`` for the named ones."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    schema_: Literal["accelsim.mapping/1"] = Field(default="accelsim.mapping/1", alias="schema")
    name: str = ""
    default: LayerMapping = LayerMapping()
    layers: dict[str, LayerMapping] = {}
    _machines: dict[str, Architecture] = PrivateAttr(default_factory=dict)
    _origin: Document | None = PrivateAttr(default=None)

    @property
    def machines(self) -> MappingABC[str, Architecture]:
        """The architectures that ``engine`` names, by the words that name them; read by the loader."""
        return self._machines

    def fault(self, path: KeyPath, message: str) -> Fault:
        """A fault at ``path``, in the file that this was read from if there is one."""
        return (self._origin or Document({}, self.name or "mapping")).fault(path, message)

    def read_from(self, document: Document) -> MappingFile:
        """The same mapping that knows where its keys stand."""
        known = self.model_copy()
        known._origin = document
        return known

    def with_machines(self, machines: MappingABC[str, Architecture]) -> MappingFile:
        """The same mapping that knows these architectures."""
        if machines == self._machines:
            return self
        known = self.model_copy()
        known._machines = dict(machines)
        return known

    def for_parts(self, network: Network) -> MappingFile:
        """The mapping of ``network`` once its algorithms of convolution are written out (`accelsim.workload.expand`).

        What is fixed of a convolution is its product's, unless that has an entry of its own; all parts share its engine.
        """
        layers = dict(self.layers)
        for layer in network.layers:
            parts, fixed = parts_of(layer), self.layers.get(layer.name)
            if parts is None or fixed is None:
                continue
            layers |= {part: LayerMapping(engine=fixed.engine) for part in (parts.input, parts.output)}
            layers |= {part: self.layers[part] for part in (parts.input, parts.gemm) if part in self.layers}
            layers.setdefault(parts.gemm, fixed)
        return self if layers == self.layers else self.model_copy(update={"layers": layers})

    def named_engines(self) -> dict[str, tuple[str, ...]]:
        """Every word that ``engine`` has for an architecture, and the key where it stands first."""
        found: dict[str, tuple[str, ...]] = {}
        places: dict[tuple[str, ...], LayerMapping] = {("default",): self.default}
        places |= {("layers", name): own for name, own in self.layers.items()}
        for place, fixed in places.items():
            choice = fixed.engine
            table: dict[str, str] = choice if isinstance(choice, dict) else {"": choice} if choice else {}
            for op, word in table.items():
                found.setdefault(word, (*place, "engine", op) if op else (*place, "engine"))
        return found

    def engine_of(self, layer: str, operator: str) -> str | None:
        """The word for the architecture that is to run ``layer``; None where nothing is said."""
        own = self.layers.get(layer)
        for fixed in (own, self.default):
            choice = fixed.engine if fixed is not None else None
            word = choice.get(operator) if isinstance(choice, dict) else choice
            if word is not None:
                return word
        return None

    def of(self, layer: str) -> LayerMapping:
        """What is fixed for ``layer``: its own words over the default's."""
        own = self.layers.get(layer)
        if own is None:  # how it lies on its engine, whichever that is
            return self.default if self.default.engine is None else self.default.model_copy(update={"engine": None})
        tile = TileSizes(**{**self.default.tile.given(), **own.tile.given()})
        unroll = UnrollSizes(**{**self.default.unroll.given(), **own.unroll.given()})
        return LayerMapping(
            levels={**self.default.levels, **own.levels},
            tile=tile,
            order=own.order or self.default.order,
            dataflow=own.dataflow or self.default.dataflow,
            keep=self.default.keep if own.keep is None else own.keep,
            unroll=unroll,
        )


EMPTY = MappingFile()
