"""Descriptions of hardware: frozen, validated, one class a block of the YAML (schema ``accelsim.arch/1``).

Every constant of a chip lives in its file under ``arch_configs/``; nothing here knows any chip.
"""

from __future__ import annotations

from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PrivateAttr, model_validator

from accelsim.errors import InfeasibleError
from accelsim.units import BandwidthField, Bytes, Duration, DurationField, Hertz, NonNegativeInt, PositiveInt, Ratio
from accelsim.workload.precision import NumberFormat, Precision, parse_format

SCHEMA = "accelsim.arch/1"
Tensor = Literal["weight", "input", "output", "partial_sum", "index"]
TENSORS: tuple[Tensor, ...] = ("weight", "input", "output", "partial_sum", "index")


class _Block(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)


class Technology(_Block):
    """The process the chip is made in."""

    node_nm: Annotated[float, Field(gt=0, le=1000)] = 45
    voltage: Annotated[float, Field(gt=0, le=5)] | None = None


def _parse_throughput(table: Any) -> Any:
    """Keys are ``int8`` (both operands) or ``int8xint16`` (weight x input)."""
    if isinstance(table, dict):
        for key in table:
            for part in str(key).split("x"):
                parse_format(part)
    return table


Throughput = Annotated[dict[str, Ratio], BeforeValidator(_parse_throughput)]


def _no_truth(value: Any) -> Any:
    """Python takes true for 1; a file that says ``true`` where a number stands is wrong."""
    if isinstance(value, bool):
        raise ValueError(f"is {value}, must be a number")
    return value


def relative_throughput(table: dict[str, Fraction], precision: Precision, engine: str) -> Fraction:
    """MACs a unit does in a cycle at ``precision``, relative to its first.

    A precision that is not listed runs as the fastest listed one that holds both operands (a 4-bit weight in an 8-bit
    multiplier); `InfeasibleError` if there is none. Signed and unsigned integers of one width run alike.
    """
    weight, activation = _signless(precision.weight), _signless(precision.input)
    pairs = {key: [_signless(parse_format(part)) for part in key.split("x")] for key in table}
    known = {(formats[0], formats[-1]): table[key] for key, formats in pairs.items()}
    if (weight, activation) in known:
        return known[weight, activation]
    wide = [rate for (w, a), rate in known.items() if _holds(w, weight) and _holds(a, activation)]
    if wide:
        return max(wide)
    raise InfeasibleError(
        f"the {engine} engine's precision",
        demand=f"weight {precision.weight} x input {precision.input}",
        bound=", ".join(table),
        levers=(
            f"add {weight}x{activation} (or {weight}) with its relative speed to engine.precision",
            "give the network another precision, e.g. --set workload.precision.weight=int8",
        ),
    )


def _holds(wide: NumberFormat, narrow: NumberFormat) -> bool:
    return wide.kind == narrow.kind and wide.bits >= narrow.bits


def _signless(number: NumberFormat) -> NumberFormat:
    return NumberFormat("int", number.bits) if number.is_integer else number


class Pipeline(_Block):
    """Registers on the way through a systolic array (each is one cycle of delay)."""

    hop: NonNegativeInt = 1
    multiplier: NonNegativeInt = 0
    accumulator: PositiveInt = 1
    input: NonNegativeInt = 0
    output: NonNegativeInt = 0


class Accumulators(_Block):
    """Accumulator memory below a systolic array: ``entries`` words a column, ``bits`` wide, in ``slots`` halves."""

    entries: PositiveInt
    bits: Annotated[int, Field(strict=True, ge=4, le=64)] = 32
    slots: PositiveInt = 2


class StructuredSparsity(_Block):
    """Weights of which at most ``n`` in every ``m`` neighbours along the input channels are kept, with their places."""

    n: PositiveInt = 2
    m: PositiveInt = 4

    @model_validator(mode="after")
    def _whole_speed_up(self) -> StructuredSparsity:
        if self.m % self.n or self.m == self.n:
            raise ValueError(f"m is {self.m}, must be a multiple of n ({self.n}) and larger, such as 2:4")
        return self

    @property
    def index_bits(self) -> int:
        """Bits of a kept weight's place."""
        return (self.m - 1).bit_length()


class SystolicSpec(_Block):
    """A ``rows`` x ``cols`` systolic array. The meaning of each option: docs/engines/systolic.md."""

    kind: Literal["systolic"]
    rows: PositiveInt
    cols: PositiveInt
    dataflow: Literal["ws", "os", "is"] = "ws"
    weight_load: Literal["rows", "parallel"] = "rows"
    weight_buffers: Annotated[Literal[1, 2], BeforeValidator(_no_truth)] = 1
    overlap: Literal["none", "skewed"] = "none"
    edge: Literal["full", "trim"] = "full"
    drain: Literal["rows", "cols", "parallel"] = "parallel"
    pipeline: Pipeline = Pipeline()
    accumulators: Accumulators | None = None
    accumulator_overflow: Literal["wrap", "saturate"] = "wrap"
    sparsity: StructuredSparsity | None = None
    precision: Throughput = {"int8": Fraction(1)}

    def macs_per_cycle(self, precision: Precision) -> Fraction:
        """Peak MACs a cycle at ``precision``."""
        return self.rows * self.cols * relative_throughput(self.precision, precision, self.kind)


class Unroll(_Block):
    """How many of each loop's iterations an NFU does at once: C, R, S share an adder tree, K, P, Q have one each."""

    C: PositiveInt = 1
    K: PositiveInt = 1
    P: PositiveInt = 1
    Q: PositiveInt = 1
    R: PositiveInt = 1
    S: PositiveInt = 1

    @property
    def tree(self) -> int:
        """Inputs of an adder tree."""
        return self.C * self.R * self.S

    @property
    def pixels(self) -> int:
        """Output positions that share the weights."""
        return self.P * self.Q

    @property
    def multipliers(self) -> int:
        return self.tree * self.K * self.pixels


class NfuStage(_Block):
    """A stage of an NFU's pipeline and the cycles that it takes."""

    stage: str
    cycles: PositiveInt = 1


class FixedPoint(_Block):
    """An NFU's fixed-point arithmetic. Left out of an engine, integers are exact and layers are requantized.

    ``fraction`` bits behind the radix point of every operand and result. ``product``: kept ``exact``, or shifted back by
    the fraction and cut to ``product_bits``. ``sum_bits``: width of sums and partial sums. What does not fit saturates
    or wraps.
    """

    fraction: NonNegativeInt
    product: Literal["exact", "truncate"] = "exact"
    product_bits: Annotated[int, Field(ge=4, le=32)] = 16
    sum_bits: Annotated[int, Field(ge=4, le=62)] = 62
    overflow: Literal["saturate", "wrap"] = "saturate"


class PiecewiseLinear(_Block):
    """NFU-3's tables: segments of equal width over ``-reach .. reach``, each a slope and an intercept."""

    segments: PositiveInt = 16
    reach: PositiveInt = 8


class NfuSpec(_Block):
    """A neural functional unit: multipliers, adder trees, activation. The meaning of each option: docs/engines/nfu.md."""

    kind: Literal["nfu"]
    unroll: Unroll
    pipeline: list[NfuStage] = Field(
        default=[NfuStage(stage="NFU-1"), NfuStage(stage="NFU-2"), NfuStage(stage="NFU-3")], min_length=3, max_length=3
    )
    overlap: Literal["none", "skewed"] = "skewed"
    sums: Literal["registers", "buffer"] = "registers"
    arithmetic: FixedPoint | None = None
    activation: PiecewiseLinear = PiecewiseLinear()
    precision: Throughput = {"int16": Fraction(1)}

    def macs_per_cycle(self, precision: Precision) -> Fraction:
        """Peak MACs a cycle at ``precision``."""
        return self.unroll.multipliers * relative_throughput(self.precision, precision, self.kind)


class SparseSpec(_Block):
    """A sparse engine (EIE, ESE): PEs on column-interleaved CSC. The meaning of each option: docs/engines/sparse.md."""

    kind: Literal["sparse"]
    pes: Annotated[int, Field(ge=1, le=4096)]
    channels: PositiveInt = 1
    fifo_depth: PositiveInt = 8
    queue: Literal["ring", "full"] = "full"
    index_bits: Annotated[int, Field(ge=1, le=16)] = 4
    weight_bits: Annotated[int, Field(ge=1, le=32)] = 4
    entry_word_bits: PositiveInt = 64
    pointer_bits: Annotated[int, Field(ge=1, le=64)] = 16
    empty_column: Literal["cycle", "free"] = "cycle"
    zero_detection: Literal["packs", "ideal"] = "packs"
    skip_zeros: bool = True
    register_entries: PositiveInt = 64
    passes: Literal["overlapped", "drained"] = "overlapped"
    entry_stages: PositiveInt = 1
    alu_stages: Annotated[int, Field(ge=2)] = 4
    accumulator_overflow: Literal["wrap", "saturate"] = "wrap"
    precision: Throughput = {"int16": Fraction(1)}  # as the design has it: its speed is the same at every other

    @model_validator(mode="after")
    def _sizes_make_sense(self) -> SparseSpec:
        if self.row_entries < 1:
            raise ValueError(
                f"entry_word_bits is {self.entry_word_bits}, must hold an entry of "
                f"{self.weight_bits} + {self.index_bits} bits"
            )
        if self.queue_capacity < 1:
            raise ValueError('fifo_depth is 1, must be at least 2 with "queue: ring", which is full one short of it')
        return self

    @property
    def row_entries(self) -> int:
        """Entries in a row of the entry memory."""
        return self.entry_word_bits // (self.weight_bits + self.index_bits)

    @property
    def queue_capacity(self) -> int:
        """Activations that a PE's queue holds."""
        return self.fifo_depth - 1 if self.queue == "ring" else self.fifo_depth

    @property
    def multiply_after(self) -> int:
        """Cycles from an entry's address to its multiplication: entry memory, decoding in two steps."""
        return self.entry_stages + 2

    @property
    def done_after(self) -> int:
        """Edges from an entry's address until it is seen to be written."""
        return self.entry_stages + self.alu_stages + 1

    def macs_per_cycle(self, precision: Precision) -> Fraction:
        """Peak MACs a cycle, whatever the (integer) precision."""
        del precision
        return Fraction(self.pes * self.channels)


class RoofSpec(_Block):
    """A machine known by its peak alone: drawn on rooflines, never simulated. ``peak`` in operations a second."""

    kind: Literal["roof"]
    peak_gops: dict[str, Annotated[float, Field(gt=0)]] = Field(min_length=1)


class VectorSpec(_Block):
    """The unit that pools, activates, adds and normalizes: ``lanes`` operations a cycle.

    Operators in ``inline`` ride on the path of the results from the engine to memory: they cost no cycles and no
    traffic of their own when they follow a layer of the engine. ``rows``: operands are packed into the lanes as they
    come, or a row of lanes holds ``channels`` of one position only.
    """

    lanes: PositiveInt
    inline: list[str] = []
    rows: Literal["packed", "channels"] = "packed"


class MemoryLevel(_Block):
    """One level of memory. The first of an architecture is off chip and holds everything.

    ``size`` left out is unbounded; ``bandwidth`` left out is unlimited. ``slots`` is how many tiles of a tensor
    it holds at once: 2 is double buffering, 1 none; a weight FIFO of four tiles has 4. ``requests`` of the off-chip
    level: loads ask for its port all in the schedule's order, or each tensor's in a queue of its own (a DMA a buffer).
    ``banks``: so many memories of ``size`` / banks and one port of ``width_bits`` each; an access is one bank's.
    ``preloaded``: a network's weights are there before it starts, if all of them fit.
    """

    name: Annotated[str, Field(min_length=1)]
    size: Bytes | None = None
    bandwidth: BandwidthField | None = None
    latency: DurationField = Duration(cycles=0)
    holds: list[Tensor] | None = None
    slots: PositiveInt = 2
    width_bits: PositiveInt | None = None
    banks: PositiveInt = 1
    kind: Literal["sram", "dram", "register"] | None = None
    requests: Literal["in_order", "per_tensor"] = "in_order"
    preloaded: bool = False


class EnergySpec(_Block):
    """Which tables the energies come from. ``costs`` overrides single ones and must name a source each.

    ``dram`` names the type off chip (left out: Horowitz's generic DRAM); ``registers`` says whose figure the
    moves through an array's registers are costed by. ``zero_gating``: a multiplier with a zero operand stays still, so
    MACs cost energy only where they are effective. Keys of ``costs``: `accelsim.energy.resolve`.
    """

    table: Literal["45nm", "none"] = "45nm"
    dram: str | None = None
    registers: Literal["aladdin", "none"] = "aladdin"
    zero_gating: bool = False
    costs: dict[str, EnergyCost] = {}


class EnergyCost(_Block):
    """An energy given by the user: picojoules, and where the figure comes from."""

    pj: Annotated[float, Field(ge=0)]
    per: Literal["bit", "access", "mac", "op", "cycle"]
    source: Annotated[str, Field(min_length=3)]


class Architecture(_Block):
    """A whole accelerator."""

    schema_: Literal["accelsim.arch/1"] = Field(alias="schema")
    name: Annotated[str, Field(min_length=1)]
    description: str = ""
    technology: Technology = Technology()
    clock: Hertz
    engine: Annotated[SystolicSpec | NfuSpec | SparseSpec | RoofSpec, Field(discriminator="kind")]
    vector: VectorSpec | None = None
    memory: list[MemoryLevel] = Field(min_length=1)
    energy: EnergySpec = EnergySpec()
    _sha256: str = PrivateAttr(default="")

    @model_validator(mode="after")
    def _levels_make_sense(self) -> Architecture:
        names = [level.name for level in self.memory]
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f'memory: the name "{name}" is used for {names.count(name)} levels')
        if self.memory[0].holds is not None:
            raise ValueError(f"memory: the first level ({names[0]}) is off chip and holds everything; drop its holds")
        for level in self.memory[1:]:
            if not level.holds:
                raise ValueError(f"memory: {level.name} must say what it holds (any of {', '.join(TENSORS)})")
        for tensor in TENSORS:
            holders = [level.name for level in self.memory[1:] if tensor in (level.holds or ())]
            if len(holders) > 1:
                raise ValueError(f"memory: {tensor} is held by {' and '.join(holders)}; one level on chip may hold it")
        return self

    @property
    def sha256(self) -> str:
        """Digest of the file's content with its overrides; set by the loader."""
        return self._sha256

    @property
    def off_chip(self) -> MemoryLevel:
        """The far end of the memory."""
        return self.memory[0]

    def holder(self, tensor: Tensor) -> MemoryLevel | None:
        """The level on chip that holds ``tensor``, or None where it goes straight off chip.

        Partial sums live with the outputs unless a level is named for them.
        """
        for level in self.memory[1:]:
            if tensor in (level.holds or ()):
                return level
        return self.holder("output") if tensor == "partial_sum" else None


EnergySpec.model_rebuild()
