"""Descriptions of hardware: frozen, validated, one class a block of the YAML (schema ``accelsim.arch/1``).

Every constant of a chip lives in its file under ``arch_configs/``; nothing here knows any chip.
"""

from __future__ import annotations

from fractions import Fraction
from math import prod
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    PrivateAttr,
    Tag,
    model_validator,
)

from accelsim.arch.memory import TENSORS, Buffer, FarEnd, Memory, Registers
from accelsim.arch.memory import Tensor as Tensor
from accelsim.arch.nodes import NODE_LINKS
from accelsim.errors import InfeasibleError, nearest
from accelsim.units import (
    BandwidthField,
    Duration,
    DurationField,
    Hertz,
    PositiveInt,
    Ratio,
    Side,
    Stages,
    ceil_div,
)
from accelsim.workload.ops import OPERATOR_BY_NAME
from accelsim.workload.precision import NumberFormat, Precision, parse_format
from accelsim.yaml_io import Document

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

SCHEMA = "accelsim.arch/1"
MOST_MULTIPLIERS = 1 << 24
Count = TypeVar("Count", int, "npt.NDArray[np.int64]")  # one number, or one a candidate


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


class BitSerial(_Block):
    """Multipliers that take an operand a bit at a time: ``bits``/p of full speed at p bits of it, any p up to ``bits``.

    ``operand``: the one that is serial (P. Judd et al., "Stripes: Bit-serial deep neural network computing", MICRO 2016:
    the input), or both (S. Sharify et al., "Loom", DAC 2018, arXiv 1706.07853).
    """

    scaling: Literal["bit_serial"]
    bits: Annotated[int, Field(strict=True, ge=2, le=32)] = 16
    operand: Literal["input", "weight", "both"] = "input"

    @property
    def listed(self) -> list[str]:
        """The widths that a roofline shows, full speed first."""
        return [f"int{self.bits >> step}" for step in range(4) if self.bits >> step >= 2]

    def rate(self, weight: int, activation: int) -> Fraction | None:
        """Speed at these bits, None where an operand is too wide."""
        if max(weight, activation) > self.bits:
            return None
        serial = {"input": (activation,), "weight": (weight,), "both": (weight, activation)}[self.operand]
        return Fraction(self.bits ** len(serial), prod(serial))


class BitFusion(_Block):
    """Multipliers made of small ones that are joined as wide as needed: (``bits``/w) (``bits``/a) of full speed.

    w and a are the operands' bits, rounded up to ``brick`` times a power of two. Twice as wide as ``bits`` is the most;
    it takes the small ones of several cycles (H. Sharma et al., "Bit Fusion: Bit-level dynamically composable
    architecture for accelerating deep neural networks", ISCA 2018, arXiv 1712.01507).
    """

    scaling: Literal["bit_fusion"]
    bits: Annotated[int, Field(strict=True, ge=2, le=32)] = 8
    brick: Annotated[int, Field(strict=True, ge=1, le=8)] = 2

    @model_validator(mode="after")
    def _bricks_join(self) -> BitFusion:
        if self._joined(self.bits) != self.bits:
            raise ValueError(f"bits is {self.bits}, must be brick ({self.brick}) times a power of two")
        return self

    @property
    def listed(self) -> list[str]:
        """The widths at which the speed changes, full speed first, the widest last."""
        narrow = [self.bits >> step for step in range(6) if self.bits >> step >= self.brick]
        return [f"int{bits}" for bits in (*narrow, 2 * self.bits)]

    def rate(self, weight: int, activation: int) -> Fraction | None:
        """Speed at these bits, None where an operand is too wide."""
        wide = [self._joined(bits) for bits in (weight, activation)]
        return Fraction(self.bits**2, prod(wide)) if max(wide) <= 2 * self.bits else None

    def _joined(self, bits: int) -> int:
        """The width of joined bricks that hold ``bits``."""
        return self.brick << (ceil_div(bits, self.brick) - 1).bit_length()


Scaled = BitSerial | BitFusion
_SCALINGS = ("bit_serial", "bit_fusion")


def _form(value: Any) -> str:
    if isinstance(value, Scaled):
        return value.scaling
    return str(value["scaling"]) if isinstance(value, dict) and "scaling" in value else "table"


def _known_form(value: Any) -> Any:
    form = _form(value)
    if form not in ("table", *_SCALINGS):
        raise ValueError(f'scaling is "{form}", must be {" or ".join(_SCALINGS)}{nearest(form, _SCALINGS)}')
    return value


Throughput = Annotated[
    Annotated[dict[str, Ratio], BeforeValidator(_parse_throughput), Tag("table")]
    | Annotated[BitSerial, Tag("bit_serial")]
    | Annotated[BitFusion, Tag("bit_fusion")],
    Discriminator(_form),
    BeforeValidator(_known_form),
]
Speeds = dict[str, Fraction] | Scaled


def listed_precisions(speeds: Speeds) -> list[str]:
    """The precisions that an engine names, the first that of full speed."""
    return speeds.listed if isinstance(speeds, Scaled) else list(speeds)


def speed_of(rate: Fraction) -> tuple[int, int]:
    """A relative speed as hardware has it: so many elements at once, in so many cycles; 16/5 is 16 in 5."""
    return rate.numerator, rate.denominator


def _no_truth(value: Any) -> Any:
    """Python takes true for 1; a file that says ``true`` where a number stands is wrong."""
    if isinstance(value, bool):
        raise ValueError(f"is {value}, must be a number")
    return value


_FP32 = parse_format("fp32")


def relative_throughput(table: Speeds, precision: Precision, engine: str) -> Fraction:
    """MACs a unit does in a cycle at ``precision``, relative to its first.

    A precision that is not listed runs as the fastest listed one that holds both operands (a 4-bit weight in an 8-bit
    multiplier); `InfeasibleError` if there is none. Signed and unsigned integers of one width run alike.
    """
    weight, activation = _signless(precision.weight), _signless(precision.input)
    if isinstance(table, Scaled):
        return _scaled_throughput(table, weight, activation, engine)
    pairs = {key: [_signless(parse_format(part)) for part in key.split("x")] for key in table}
    known = {(formats[0], formats[-1]): table[key] for key, formats in pairs.items()}
    if (weight, activation) in known:
        return known[weight, activation]
    wide = [rate for (w, a), rate in known.items() if _holds(w, weight) and _holds(a, activation)]
    if wide:
        return max(wide)
    if set(known) == {(_FP32, _FP32)} and all(n.is_integer and n.bits <= 16 for n in (weight, activation)):
        return known[_FP32, _FP32]  # its 24 bits of significand hold them
    raise InfeasibleError(
        f"the {engine} engine's precision",
        demand=f"weight {precision.weight} x input {precision.input}",
        bound=", ".join(table),
        levers=(
            f"add {weight}x{activation} (or {weight}) with its relative speed to engine.precision",
            "give the network another precision, e.g. --set workload.precision.weight=int8",
        ),
    )


def _scaled_throughput(form: Scaled, weight: NumberFormat, activation: NumberFormat, engine: str) -> Fraction:
    integers = weight.is_integer and activation.is_integer
    rate = form.rate(weight.bits, activation.bits) if integers else None
    if rate is not None:
        return rate
    most = form.bits if isinstance(form, BitSerial) else 2 * form.bits
    raise InfeasibleError(
        f"the {engine} engine's precision",
        demand=f"weight {weight} x input {activation}",
        bound=f"integers of up to {most} bits ({form.scaling})",
        levers=("--set arch.engine.precision.bits=...", "give the network another precision, e.g. "
                "--set workload.precision.weight=int8"),
    )  # fmt: skip


def _holds(wide: NumberFormat, narrow: NumberFormat) -> bool:
    return wide.kind == narrow.kind and wide.bits >= narrow.bits


def _signless(number: NumberFormat) -> NumberFormat:
    return NumberFormat("int", number.bits) if number.is_integer else number


class Pipeline(_Block):
    """Registers on the way through a systolic array (each is one cycle of delay)."""

    hop: Stages = 1
    multiplier: Stages = 0
    accumulator: Annotated[Stages, Field(gt=0)] = 1
    input: Stages = 0
    output: Stages = 0


class Accumulators(_Block):
    """Accumulator memory below a systolic array: ``entries`` words a column, ``bits`` wide, in ``slots`` halves."""

    entries: PositiveInt
    bits: Annotated[int, Field(strict=True, ge=4, le=64)] = 32
    slots: Side = 2


class StructuredSparsity(_Block):
    """Weights of which at most ``n`` in every ``m`` neighbours along the input channels are kept, with their places.

    ``patterns``: whose. ``this``: layers that state n:m, or fewer of m; ``any``: every layer that states a pattern, as it states
    it (n and m are left out); ``assumed``: all layers, whatever they state, in whole blocks of m.
    """

    n: Side = 2
    m: Side = 4
    patterns: Literal["this", "any", "assumed"] = "this"

    @model_validator(mode="after")
    def _any_has_no_numbers(self) -> StructuredSparsity:
        given = sorted({"n", "m"} & self.model_fields_set)
        if self.patterns == "any" and given:
            raise ValueError(f"patterns is any, so that every layer says its own; drop {' and '.join(given)}")
        return self

    @model_validator(mode="after")
    def _whole_speed_up(self) -> StructuredSparsity:
        if self.m % self.n or self.m == self.n:
            raise ValueError(f"m is {self.m}, must be a multiple of n ({self.n}) and larger, such as 2:4")
        return self

    @property
    def index_bits(self) -> int:
        """Bits of a kept weight's place."""
        return (self.m - 1).bit_length()

    def found_in(self, pattern: tuple[int, int] | None) -> StructuredSparsity | None:
        """What is skipped of weights that state ``pattern``: n and m as they are for them; None where they run as dense."""
        if self.patterns == "assumed":
            return self
        if pattern is None or pattern[0] == pattern[1]:
            return None
        if self.patterns == "any":
            return self.model_copy(update={"n": pattern[0], "m": pattern[1]})
        return self if pattern[1] == self.m and pattern[0] <= self.n else None

    def kept(self, reduction: Count) -> Count:
        """Elements left of a ``reduction``: of the block that its end cuts short, n / m; all that may be kept (any); or n."""
        blocks, rest = reduction // self.m, reduction % self.m
        if self.patterns == "any":
            return blocks * self.n + rest - (rest > self.n) * (rest - self.n)
        if self.patterns == "assumed":
            return (blocks + (rest > 0)) * self.n
        return -(-reduction * self.n // self.m)


class SystolicSpec(_Block):
    """A ``rows`` x ``cols`` systolic array. The meaning of each option: docs/engines/systolic.md."""

    kind: Literal["systolic"]
    rows: Side
    cols: Side
    dataflow: Literal["ws", "os", "is"] = "ws"
    also: list[Literal["ws", "os", "is"]] | None = None
    weight_load: Literal["rows", "parallel"] = "rows"
    weight_buffers: Annotated[Literal[1, 2], BeforeValidator(_no_truth)] = 1
    weight_tiles: Literal["ragged", "whole"] = "ragged"
    overlap: Literal["none", "skewed"] = "none"
    edge: Literal["full", "trim"] = "full"
    drain: Literal["rows", "cols", "parallel"] = "parallel"
    pipeline: Pipeline = Pipeline()
    accumulators: Accumulators | None = None
    accumulator_overflow: Literal["wrap", "saturate"] = "wrap"
    sparsity: StructuredSparsity | None = None
    precision: Throughput = {"int8": Fraction(1)}

    @model_validator(mode="after")
    def _can_be_built(self) -> SystolicSpec:
        if self.rows * self.cols > MOST_MULTIPLIERS:
            raise ValueError(f"rows x cols is {self.rows * self.cols:,} PEs, at most {MOST_MULTIPLIERS:,} are simulated")
        return self

    def macs_per_cycle(self, precision: Precision) -> Fraction:
        """Peak MACs a cycle at ``precision``."""
        return self.rows * self.cols * relative_throughput(self.precision, precision, self.kind)


class Unroll(_Block):
    """How many of each loop's iterations an NFU does at once: C, R, S share an adder tree, K, P, Q have one each."""

    C: Side = 1
    K: Side = 1
    P: Side = 1
    Q: Side = 1
    R: Side = 1
    S: Side = 1

    @model_validator(mode="after")
    def _can_be_built(self) -> Unroll:
        if self.multipliers > MOST_MULTIPLIERS:
            raise ValueError(f"has {self.multipliers:,} multipliers, at most {MOST_MULTIPLIERS:,} are simulated")
        return self

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
    cycles: Annotated[Stages, Field(gt=0)] = 1


class FixedPoint(_Block):
    """An NFU's fixed-point arithmetic. Left out of an engine, integers are exact and layers are requantized.

    ``fraction`` bits behind the radix point of every operand and result. ``product``: kept ``exact``, or shifted back by
    the fraction and cut to ``product_bits``. ``sum_bits``: width of sums and partial sums. What does not fit saturates
    or wraps.
    """

    fraction: Annotated[int, Field(strict=True, ge=0, le=62)]
    product: Literal["exact", "truncate"] = "exact"
    product_bits: Annotated[int, Field(ge=4, le=32)] = 16
    sum_bits: Annotated[int, Field(ge=4, le=62)] = 62
    overflow: Literal["saturate", "wrap"] = "saturate"

    @model_validator(mode="after")
    def _exact_products_are_as_wide_as_they_are(self) -> FixedPoint:
        if self.product == "exact" and self.product_bits != type(self).model_fields["product_bits"].default:
            raise ValueError("product_bits: means nothing with product: exact; drop it, or write product: truncate")
        return self


class PiecewiseLinear(_Block):
    """NFU-3's tables: segments of equal width over ``-reach .. reach``, each a slope and an intercept."""

    segments: Side = 16
    reach: Side = 8


class NodeLinks(_Block):
    """What a node of several hears from the node before it in their ring, while it tells the node behind."""

    bandwidth: BandwidthField
    latency: DurationField = Duration(cycles=0)


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
    accumulator_overflow: Literal["wrap", "saturate"] = "wrap"  # of exact sums; fixed-point ones do as arithmetic says
    activation: PiecewiseLinear = PiecewiseLinear()
    precision: Throughput = {"int16": Fraction(1)}
    nodes: Annotated[int, Field(strict=True, ge=1, le=4096)] = 1
    links: NodeLinks | None = None

    @model_validator(mode="after")
    def _nodes_are_linked(self) -> NfuSpec:
        if self.arithmetic is None and self.activation != PiecewiseLinear():
            raise ValueError("activation: is of fixed-point arithmetic, and engine.arithmetic is left out; drop it, or give that")
        if self.nodes > 1 and self.links is None:
            raise ValueError(f"nodes is {self.nodes}, and links is left out: give its bandwidth and latency")
        return self

    def macs_per_cycle(self, precision: Precision) -> Fraction:
        """Peak MACs a cycle at ``precision``, of all nodes."""
        return self.nodes * self.unroll.multipliers * relative_throughput(self.precision, precision, self.kind)


class SampledTables(_Block):
    """Sigmoid and tanh by look-up: ``points`` samples of each over ``-reach .. reach``, the nearest one taken.

    Beyond the reach the outermost sample stands.
    """

    points: Annotated[int, Field(ge=2, le=1 << 20)]
    sigmoid_reach: Side
    tanh_reach: Side


class SparseSpec(_Block):
    """A sparse engine (EIE, ESE): PEs on column-interleaved CSC. The meaning of each option: docs/engines/sparse.md."""

    kind: Literal["sparse"]
    pes: Annotated[int, Field(ge=1, le=4096)]
    channels: Annotated[int, Field(strict=True, ge=1, le=1024)] = 1
    fifo_depth: Side = 8
    queue: Literal["ring", "full"] = "full"
    index_bits: Annotated[int, Field(ge=1, le=16)] = 4
    weight_bits: Annotated[int, Field(ge=1, le=32)] = 4
    entry_word_bits: Side = 64
    pointer_bits: Annotated[int, Field(ge=1, le=64)] = 16
    empty_column: Literal["cycle", "free"] = "cycle"
    zero_detection: Literal["packs", "ideal"] = "packs"
    skip_zeros: bool = True
    register_entries: Annotated[int, Field(strict=True, ge=1, le=1 << 24)] = 64
    passes: Literal["overlapped", "drained"] = "overlapped"
    entry_stages: Annotated[Stages, Field(gt=0)] = 1
    alu_stages: Annotated[Stages, Field(ge=2)] = 4
    accumulator_overflow: Literal["wrap", "saturate"] = "wrap"
    tables: SampledTables | None = None
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

    lanes: Annotated[int, Field(strict=True, gt=0, le=1 << 24)]
    inline: list[str] = []
    rows: Literal["packed", "channels"] = "packed"

    @model_validator(mode="after")
    def _inline_operators_are_there(self) -> VectorSpec:
        strange = [word for word in self.inline if word not in OPERATOR_BY_NAME]
        if strange:
            told = (f'"{word}" is no operator{nearest(word, OPERATOR_BY_NAME)}' for word in strange)
            raise ValueError(f"inline: has what no layer can be: {', '.join(told)}")
        return self


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


_NEVER_RUN = "which is drawn and never simulated"
_IDLE = {
    "sparse": {
        "requests": "whose fetches come one after the other",
        "window": "which runs layers without windows",
        "slots": "which has two places for what it fetches",
        "padding": "which runs layers without windows",
    },
    "roof": dict.fromkeys(("latency", "requests", "slots", "padding", "window", "preloaded"), _NEVER_RUN),
}
"""Keys of memory that kinds of engine do not look at, and why."""


class Architecture(_Block):
    """A whole accelerator."""

    schema_: Literal["accelsim.arch/1"] = Field(alias="schema")
    name: Annotated[str, Field(min_length=1)]
    description: str = ""
    technology: Technology = Technology()
    clock: Hertz
    engine: Annotated[SystolicSpec | NfuSpec | SparseSpec | RoofSpec, Field(discriminator="kind")]
    vector: VectorSpec | None = None
    memory: Memory
    energy: EnergySpec = EnergySpec()
    _sha256: str = PrivateAttr(default="")
    _origin: Document | None = PrivateAttr(default=None)

    @model_validator(mode="after")
    def _levels_make_sense(self) -> Architecture:
        names = [level.name for level in self.memory]
        if NODE_LINKS in names:
            raise ValueError(f'memory: the name "{NODE_LINKS}" is taken by what nodes tell each other')
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f'memory: the name "{name}" is used for {names.count(name)} levels')
        for tensor in TENSORS:
            holders = [level.name for level in self.on_chip if tensor in level.holds]
            if len(holders) > 1 and tensor in ("partial_sum", "index"):
                raise ValueError(f"memory: {tensor} is held by {' and '.join(holders)}; one level on chip may hold it")
        return self

    @model_validator(mode="after")
    def _several_stages_are_walked(self) -> Architecture:
        """Where a tensor has several levels on chip the engine must be one that can be fed through them."""
        if not self.planned:
            return self._keeps_no_window()
        why = ""
        if self.engine.kind not in ("systolic", "nfu"):
            why = f"an engine of kind {self.engine.kind} is fed through"
        elif isinstance(self.engine, NfuSpec) and self.engine.nodes > 1:
            why = "each of several nodes has"
        elif any(level.streams for level in self.on_chip):
            why = "a machine with a level that streams has"
        elif any("partial_sum" in level.holds for level in self.on_chip):
            why = "partial sums with a level of their own have"
        elif off_chip := [tensor for tensor in ("weight", "input", "output") if not self.path(tensor)]:
            raise ValueError(f"memory: no level on chip holds {off_chip[0]}, and where moves are planned each tensor needs one")
        if why:
            several = len(self.stages) > 1
            what = f"{self.stages[1][0].name} lies within {self.stages[0][-1].name}" if several else "requests are planned"
            raise ValueError(f"memory: {what}, and {why} one level on chip a tensor and requests as they come")
        if len(self.stages) > 1 and self.off_chip.requests == "per_tensor":
            raise ValueError("memory.0.requests: means nothing where tensors have several levels on chip: all moves are planned")
        return self

    def _keeps_no_window(self) -> Architecture:
        """Only planned moves know what the tile before has left."""
        for place, level in enumerate(self.on_chip, 1):
            if level.window == "keep":
                raise ValueError(f"memory.{place}.window: needs requests: planned at {self.off_chip.name}")
        return self

    @model_validator(mode="after")
    def _the_engine_looks_at_every_key(self) -> Architecture:
        kind, idle = self.engine.kind, _IDLE.get(self.engine.kind, {})
        faults = [
            f"memory.{place}.{key}: means nothing to an engine of kind {kind}, {why}; drop it"
            for place, level in enumerate(self.memory)
            for key, why in idle.items()
            if level.says(key)
        ]
        if kind != "sparse":
            faults += [
                f"memory.{place}.holds: has index, which codes of a sparse engine's weights are; this engine is of kind {kind}"
                for place, level in enumerate(self.on_chip, 1)
                if "index" in level.holds
            ]
        if kind == "roof" and self.vector is not None:
            faults.append("vector: means nothing to a roof, which is drawn and never simulated; drop it")
        if isinstance(self.engine, NfuSpec) and self.engine.links and "nodes" not in self.engine.model_fields_set:
            faults.append("engine.links: joins several nodes, and nodes is left out; say how many there are")
        if faults:
            raise ValueError("\n".join(faults))
        return self

    @model_validator(mode="after")
    def _streams_are_never_waited_for(self) -> Architecture:
        """Without tiles there are no transfers to wait for: a rate next to ``streams`` would go unheard."""
        through = [level for level in self.on_chip if level.streams]
        if not through:
            return self
        if self.engine.kind != "systolic":
            raise ValueError(f"memory: {through[0].name} streams, which only an engine of kind systolic can do")
        rates = ("bandwidth", "latency", "slots")
        for key, level in ((key, level) for level in (self.off_chip, *through) for key in rates if level.says(key)):
            raise ValueError(
                f"memory: {through[0].name} streams and is never waited for, so that {key} of {level.name} means nothing; "
                "drop one of the two"
            )
        return self

    @property
    def sha256(self) -> str:
        """Digest of the file's content with its overrides; set by the loader."""
        return self._sha256

    @property
    def origin(self) -> Document | None:
        """The YAML with its overrides that this was read from; set by the loader, None if it was made in Python."""
        return self._origin

    @property
    def off_chip(self) -> FarEnd:
        """The far end of the memory."""
        return self.memory[0]

    @property
    def on_chip(self) -> tuple[Buffer | Registers, ...]:
        """The levels on chip."""
        return tuple(self.memory[1:])

    @property
    def stages(self) -> tuple[tuple[Buffer | Registers, ...], ...]:
        """The levels on chip from the outermost in, those side by side that hold different tensors together.

        A level that holds what one of the stage before it holds lies within that stage.
        """
        found: list[tuple[Buffer | Registers, ...]] = []
        for level in self.on_chip:
            inside = not found or any(set(level.holds) & set(other.holds) for other in found[-1])
            found[-1:] = [*found[-1:], (level,)] if inside else [(*found[-1], level)]
        return tuple(found)

    @property
    def planned(self) -> bool:
        """Whether the order of all moves is fixed before any time is known; always so over several stages."""
        return self.off_chip.requests == "planned" or len(self.stages) > 1

    def path(self, tensor: Tensor) -> tuple[Buffer | Registers, ...]:
        """The levels on chip that ``tensor`` comes through, the outermost first; partial sums go with the outputs."""
        levels = tuple(level for level in self.on_chip if tensor in level.holds)
        return self.path("output") if not levels and tensor == "partial_sum" else levels

    def holder(self, tensor: Tensor) -> Buffer | Registers | None:
        """The level on chip that the unit finds ``tensor`` in, or None where it goes straight off chip.

        Partial sums live with the outputs unless a level is named for them.
        """
        return next(reversed(self.path(tensor)), None)

    def keeper(self, tensor: Tensor) -> Buffer | Registers | None:
        """The outermost level on chip that holds ``tensor``: where it stays between layers."""
        return next(iter(self.path(tensor)), None)


EnergySpec.model_rebuild()
