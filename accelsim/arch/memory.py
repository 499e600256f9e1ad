"""The levels of an architecture's memory: the far end, and on chip buffers and registers. Each has the keys that mean
something where it stands, and no other.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Discriminator, Field, GetCoreSchemaHandler, Tag, model_validator
from pydantic_core import CoreSchema, core_schema

from accelsim.units import BandwidthField, Bytes, Duration, DurationField, PortBits, Side

Tensor = Literal["weight", "input", "output", "partial_sum", "index"]
TENSORS: tuple[Tensor, ...] = ("weight", "input", "output", "partial_sum", "index")


class _Level(BaseModel):
    """What every level has. ``bandwidth`` left out is unlimited."""

    model_config = ConfigDict(frozen=True, extra="forbid")
    what: ClassVar[str]

    name: Annotated[str, Field(min_length=1)]
    bandwidth: BandwidthField | None = None

    @property
    def access_bits(self) -> int | None:
        """Bits that an access moves, as the level says; None where it does not."""
        return None

    def says(self, key: str) -> bool:
        """Whether a key of the level has another value than where it is left out."""
        info = type(self).model_fields.get(key)
        return info is not None and getattr(self, key) != info.default

    @classmethod
    def misplaced(cls, key: str) -> str:
        """Why a key of another kind of level means nothing here; empty for a word that is no key of any."""
        owners = [level.what for level in LEVELS if key in level.model_fields]
        return f"means nothing at {cls.what}: it is a key of {' and of '.join(owners)}" if owners else ""


class FarEnd(_Level):
    """The first level: off chip, unbounded, it holds everything.

    ``requests``: loads ask for its port all in the schedule's order, or each tensor's in a queue of its own (a DMA a
    buffer); ``planned``: the order of all moves is fixed before any time is known.
    """

    what = "the far end (the first level, off chip, unbounded)"

    kind: Literal["dram"] | None = None
    latency: DurationField = Duration(cycles=0)
    requests: Literal["in_order", "per_tensor", "planned"] = "in_order"

    @property
    def cells(self) -> Literal["dram"]:
        """What its energy is looked up for, as at every level."""
        return "dram"


_ABOUT: dict[str, Tensor] = {"preloaded": "weight", "padding": "input", "window": "input"}
"""Keys that are about one tensor, and mean nothing at a level that does not hold it."""


class _OnChip(_Level):
    """A level on chip. ``size`` left out is unbounded.

    ``slots`` is how many tiles of a tensor it holds at once: 2 is double buffering, 1 none; a weight FIFO of four tiles
    has 4. ``padding``: zeros around an input are made where they are read (``generated``), or are ``stored`` in its level
    and read from there. ``window``: of what a tile of inputs shares with the one before it, it is fetched again or kept.
    ``preloaded``: a network's weights are there before it starts, if all of them fit. ``streams``: a
    layer is not cut into tiles that fit; what is larger than the level passes through it, fetched anew for every fold,
    and is never waited for.
    """

    size: Bytes | None = None
    holds: list[Tensor] = []
    slots: Side = 2
    padding: Literal["generated", "stored"] = "generated"
    window: Literal["refetch", "keep"] = "refetch"
    preloaded: bool = False
    streams: bool = False

    @model_validator(mode="after")
    def _holds_what_its_keys_are_about(self) -> _OnChip:
        if not self.holds:
            raise ValueError(f"{self.name} must say what it holds (any of {', '.join(TENSORS)})")
        strays = [key for key, tensor in _ABOUT.items() if self.says(key) and tensor not in self.holds]
        if strays:
            held = f"and {self.name} holds {', '.join(self.holds)}: say it of the level that holds"
            raise ValueError("\n".join(f"{key}: is about the {_ABOUT[key]}, {held} {_ABOUT[key]}" for key in strays))
        return self


class Buffer(_OnChip):
    """Memory cells. ``banks``: so many memories of ``size`` / banks and one port of ``width_bits`` each; an access is one
    bank's.
    """

    what = "a buffer (on chip)"

    kind: Literal["sram", "dram"] | None = None
    width_bits: PortBits | None = None
    banks: Side = 1

    def contradiction(self, clock_hz: int) -> str:
        """What ``width_bits`` and ``bandwidth`` say against each other; empty where they agree.

        Each bank can be read and written in a cycle, so that the port moves between one access and two a bank.
        """
        if self.width_bits is None or self.bandwidth is None:
            return ""
        moved, most = 8 * self.bandwidth.per_cycle(clock_hz), 2 * self.banks * self.width_bits
        if self.width_bits <= moved <= most:
            return ""
        built = f"an access of {self.width_bits} bits" if self.banks == 1 else f"{self.banks} banks of {self.width_bits} bits"
        far = "less than one access" if moved < self.width_bits else f"more than a read and a write of all, {most} bits"
        return f"memory {self.name}: bandwidth moves {float(moved):g} bits a cycle, width_bits says {built}: {far}"

    @property
    def cells(self) -> Literal["sram", "dram"]:
        return self.kind or "sram"

    @property
    def access_bits(self) -> int | None:
        return self.width_bits


class Registers(_OnChip):
    """Registers, whose energy is that of each bit moved."""

    what = "registers (on chip, kind: register)"

    kind: Literal["register"]

    @property
    def cells(self) -> Literal["register"]:
        return "register"


LEVELS = (FarEnd, Buffer, Registers)
Level = FarEnd | Buffer | Registers


def _near(value: Any) -> str:
    """The name of the class of a level on chip."""
    kind = value.get("kind") if isinstance(value, dict) else getattr(value, "kind", None)
    return "Registers" if kind == "register" else "Buffer"


OnChip = Annotated[
    Annotated[Buffer, Tag("Buffer")] | Annotated[Registers, Tag("Registers")], Discriminator(_near)
]


class _FarEndFirst:
    """The first item of the list is the far end, whatever it says; pydantic has no form for such a tuple."""

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        far = core_schema.tagged_union_schema({"FarEnd": handler.generate_schema(FarEnd)}, lambda _: "FarEnd")
        return core_schema.tuple_schema([far, handler.generate_schema(OnChip)], variadic_item_index=1)


Memory = Annotated[tuple[FarEnd, *tuple[OnChip, ...]], _FarEndFirst()]
