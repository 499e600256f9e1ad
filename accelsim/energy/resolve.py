"""Finds the cost of everything that an architecture may count, before anything is counted.

Keys of ``energy.costs``, each ``{pj, per, source}``, in the order in which they are looked up:

===================================  ===========  ===================================================
key                                  per          replaces
===================================  ===========  ===================================================
``mac.int8``, ``mac.int8xint16``     mac          multiply and add at that precision (weight x input); at most so much
                                                  at narrower ones
``mac``                              mac          multiply and add at every other precision
``vector``                           op           the vector unit's operations
``array_registers``                  bit          moves through the array's registers
``<level>.read``, ``<level>.write``  bit, access  one direction of a memory level
``<level>``                          bit, access  both directions
``node_links``                       bit          what nodes send each other (``engine.nodes``); else not in the sum
``leakage``                          cycle        all leakage
``leakage.<level>``                  cycle        the leakage of one SRAM
===================================  ===========  ===================================================

An engine's own accumulator memory is a level by the name of ``accumulators``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TypeVar

from accelsim.arch.memory import Buffer, Level
from accelsim.arch.nodes import NODE_LINKS
from accelsim.arch.spec import Accumulators, Architecture, listed_precisions
from accelsim.counters import Transfer
from accelsim.energy import arithmetic
from accelsim.energy.cost import CostSource, NoSourceError, Per
from accelsim.energy.dram import dram_costs
from accelsim.energy.scaling import LogicScaling
from accelsim.energy.sram import leakage_cost, require_size, sram_costs
from accelsim.errors import Fault, InputError, join_allowed, nearest
from accelsim.workload.precision import NumberFormat, Precision, parse_format

MAC, VECTOR, REGISTERS, ACCUMULATORS, LEAKAGE = "mac", "vector", "array_registers", "accumulators", "leakage"
RESERVED = (MAC, VECTOR, REGISTERS, ACCUMULATORS, LEAKAGE)
DEFAULT_WIDTH_BITS = 64
NARROWEST_PORT_BITS = 16
INT32, FP32 = NumberFormat("int", 32), NumberFormat("fp", 32)
Operands = tuple[NumberFormat, NumberFormat]
Result = TypeVar("Result")


@dataclass(frozen=True)
class LevelCost:
    """What it costs to read and to write one level of memory."""

    read: CostSource
    write: CostSource

    def pj(self, transfer: Transfer) -> float:
        """Picojoules of the bits that crossed the level's port."""
        return self.read.pj_for_bits(transfer.read_bits) + self.write.pj_for_bits(transfer.write_bits)


@dataclass(frozen=True)
class Costs:
    """All costs of an architecture; arithmetic's follow from a layer's precision, the rest are fixed."""

    logic: LogicScaling
    levels: Mapping[str, LevelCost]
    registers: CostSource | None
    leakage: tuple[CostSource, ...]
    given_macs: Mapping[Operands | None, CostSource]
    given_vector: CostSource | None
    declared: tuple[Precision, ...]

    def mac(self, precision: Precision) -> tuple[CostSource, ...]:
        """The costs that add up to one MAC; raises `NoSourceError` for a precision without figures."""
        operands = _operands(precision.weight, precision.input)
        given = self.given_macs.get(operands) or self.given_macs.get(None)
        if given is not None:
            return (given,)
        table = arithmetic.mac_costs(precision.weight, precision.input, precision.accumulator, self.logic)
        wider = self._given_of_wider(operands)
        return (wider,) if wider is not None and wider.pj < sum(cost.pj for cost in table) else table

    def _given_of_wider(self, operands: Operands) -> CostSource | None:
        """The least cost given for a multiplier that holds both operands: narrower ones cost no more there, whatever a table
        of other multipliers says.
        """
        wide = [cost for held, cost in self.given_macs.items() if held is not None and all(map(_holds, held, operands))]
        return min(wide, key=lambda cost: cost.pj, default=None)

    def vector(self, precision: Precision) -> CostSource:
        """The cost of one vector operation: an add at the accumulator's width, unless one is given."""
        return self.given_vector or arithmetic.add_cost(VECTOR, precision.accumulator, self.logic)


def resolve(arch: Architecture) -> Costs | None:
    """Every cost of ``arch``, or None with ``energy: {table: none}``.

    Raises `InputError` that names each key whose cost has no source, all of them at once.
    """
    resolver = _Resolver(arch)
    costs = None
    if arch.energy.table == "none":
        resolver.refuse_all()
    else:
        costs = resolver.costs()
    if resolver.faults:
        raise InputError(dict.fromkeys(resolver.faults))
    return costs


def port_width_bits(level: Buffer, clock_hz: int) -> tuple[int, str]:
    """Bits an access of ``level``, and a note where they had to be guessed.

    ``width_bits`` where given; else what the bandwidth moves in a cycle, rounded down to a power of two of at
    least 16; else 64.
    """
    if level.width_bits is not None:
        return level.width_bits, ""
    if level.bandwidth is None:
        return DEFAULT_WIDTH_BITS, f"width_bits not given: {DEFAULT_WIDTH_BITS}"
    bits_per_cycle = int(level.bandwidth.per_cycle(clock_hz) * 8)
    width = max(NARROWEST_PORT_BITS, 1 << max(0, bits_per_cycle.bit_length() - 1))
    return width, f"width_bits not given: {width} from {level.bandwidth}"


def precision_of(weight: NumberFormat, operand: NumberFormat, accumulator: NumberFormat) -> Precision:
    """A precision as far as energy looks at it; outputs are as wide as inputs."""
    return Precision(weight=weight, input=operand, accumulator=accumulator, output=operand)


def _operands(weight: NumberFormat, operand: NumberFormat) -> Operands:
    """Signed and unsigned integers of one width cost alike."""
    plain = [NumberFormat("int", n.bits) if n.is_integer else n for n in (weight, operand)]
    return plain[0], plain[1]


def _holds(wide: NumberFormat, narrow: NumberFormat) -> bool:
    return wide.kind == narrow.kind and wide.bits >= narrow.bits


def _parse_operands(text: str) -> Operands:
    """``int8`` or ``int8xint16`` (weight x input), as in ``engine.precision``; ValueError otherwise."""
    parts = [parse_format(part) for part in text.split("x")]
    if len(parts) > 2:
        raise ValueError(f"is {text!r}, must be one format or two with an x between")
    return _operands(parts[0], parts[-1])


class _Resolver:
    """Gathers costs, and the faults on the way."""

    def __init__(self, arch: Architecture) -> None:
        self.arch = arch
        self.given = arch.energy.costs
        self.levels: list[Level] = [*arch.memory, *self._accumulator_memory()]
        self.used: set[str] = set()
        self.faults: list[Fault] = []

    def refuse_all(self) -> None:
        """No table: costs that a user gives would be dropped, so they are faults."""
        for name in self.given:
            self._fault(f"energy.costs.{name}", "has no effect with energy.table none; drop one of them")

    def costs(self) -> Costs | None:
        tech = self.arch.technology
        logic = self._try(lambda: LogicScaling(tech.node_nm, tech.voltage))
        if logic is None:
            return None
        levels = {level.name: self._level(level, logic) for level in self.levels} | self._node_links()
        costs = Costs(
            logic=logic,
            levels={name: cost for name, cost in levels.items() if cost is not None},
            registers=self._registers(logic),
            leakage=tuple(self._leakage(logic)),
            given_macs=self._given_macs(),
            given_vector=self._given(VECTOR, ("op",), (VECTOR,)),
            declared=tuple(self._declared()),
        )
        self._check(costs)
        return costs

    # -- faults

    def _fault(self, key: str, message: str) -> None:
        self.faults.append(Fault(self.arch.name, key, message))

    def _try(self, find: Callable[[], Result]) -> Result | None:
        try:
            return find()
        except NoSourceError as missing:
            self._fault(missing.key, missing.message)
            return None

    def _check(self, costs: Costs) -> None:
        for level in self.arch.memory:
            if level.name in RESERVED:
                self._fault("memory", f'a level is named "{level.name}", which is a component of the energy')
        for precision in costs.declared:
            self._try(lambda p=precision: (costs.mac(p), costs.vector(p)))  # type: ignore[misc]
        known = self._known_keys()
        for name in self.given:
            if name not in self.used:
                what = f"costs nothing here{nearest(name, known)}, must be {join_allowed(known)}"
                self._fault(f"energy.costs.{name}", what)

    def _known_keys(self) -> list[str]:
        precisions = [f"{MAC}.{text}" for text in getattr(self.arch.engine, "precision", {})]
        levels = [
            key for level in self.levels for key in (level.name, f"{level.name}.read", f"{level.name}.write")
        ]
        leaks = (
            [LEAKAGE] if LEAKAGE in self.given else [LEAKAGE, *(f"{LEAKAGE}.{m.name}" for m in self._srams())]
        )
        links = [NODE_LINKS] if self._nodes() > 1 else []
        return [MAC, *precisions, VECTOR, REGISTERS, *levels, *links, *leaks]

    # -- what the file gives

    def _given(
        self,
        component: str,
        allowed: tuple[Per, ...],
        keys: tuple[str, ...],
        action: str = "",
        width: int = 0,
    ) -> CostSource | None:
        """The cost under the first of ``keys`` that the file has, its ``per`` checked."""
        present = [key for key in keys if key in self.given]
        self.used.update(present)
        if not present:
            return None
        name, cost = present[0], self.given[present[0]]
        if cost.per not in allowed:
            self._fault(f"energy.costs.{name}.per", f"is {cost.per}, must be {join_allowed(allowed)}")
            return None
        node, note = self.arch.technology.node_nm, f"energy.costs.{name}"
        return CostSource(
            component, action or cost.per, cost.pj, cost.per, node, width, cost.source, "given", note
        )

    def _given_macs(self) -> dict[Operands | None, CostSource]:
        found: dict[Operands | None, CostSource] = {}
        for name in self.given:
            if name == MAC or name.startswith(f"{MAC}."):
                cost = self._given(MAC, ("mac",), (name,), action=name)
                if cost is not None:
                    found[self._operands_of(name)] = cost
        return found

    def _operands_of(self, name: str) -> Operands | None:
        try:
            return None if name == MAC else _parse_operands(name.removeprefix(f"{MAC}."))
        except ValueError as error:
            self._fault(f"energy.costs.{name}", str(error))
            return None

    # -- arithmetic and registers

    def _declared(self) -> Iterable[Precision]:
        """What the engine's block says that it computes; of others, each layer's precision is looked up."""
        accumulators = self._accumulators()
        integer = NumberFormat("int", accumulators.bits) if accumulators else INT32
        for text in listed_precisions(getattr(self.arch.engine, "precision", {})):
            weight, operand = _parse_operands(text)
            yield precision_of(weight, operand, integer if weight.is_integer and operand.is_integer else FP32)

    def _registers(self, logic: LogicScaling) -> CostSource | None:
        given = self._given(REGISTERS, ("bit",), (REGISTERS,), action="move")
        if given is not None or self.arch.energy.registers == "none":
            return given
        return arithmetic.register_cost(REGISTERS, "move", logic)

    # -- memory

    def _nodes(self) -> int:
        return int(getattr(self.arch.engine, "nodes", 1))

    def _node_links(self) -> dict[str, LevelCost | None]:
        """Links between nodes cost what the file says; no table has them."""
        given = self._given(NODE_LINKS, ("bit",), (NODE_LINKS,), action="transfer") if self._nodes() > 1 else None
        return {NODE_LINKS: LevelCost(given, given)} if given is not None else {}

    def _accumulators(self) -> Accumulators | None:
        return getattr(self.arch.engine, "accumulators", None)

    def _accumulator_memory(self) -> list[Buffer]:
        """The engine's accumulators as a level: a word of every column in an access."""
        accumulators = self._accumulators()
        if accumulators is None:
            return []
        width = getattr(self.arch.engine, "cols", 1) * accumulators.bits
        size = accumulators.entries * width // 8
        return [Buffer(name=ACCUMULATORS, size=size, width_bits=width, holds=["partial_sum"])]

    def _srams(self) -> list[Buffer]:
        return [level for level in self.levels if isinstance(level, Buffer) and level.cells == "sram"]

    def _level(self, level: Level, logic: LogicScaling) -> LevelCost | None:
        read, write = (self._given_access(level, action) for action in ("read", "write"))
        if read and write:
            return LevelCost(read, write)
        table = self._try(lambda: self._table_costs(level, logic))
        return LevelCost(read or table[0], write or table[1]) if table else None

    def _given_access(self, level: Level, action: str) -> CostSource | None:
        keys = (f"{level.name}.{action}", level.name)
        cost = self._given(level.name, ("bit", "access"), keys, action, level.access_bits or 0)
        if cost is not None and cost.per == "access" and level.access_bits is None:
            where = f"memory.{level.name}" + (".width_bits" if isinstance(level, Buffer) else "")
            how = "is left out" if isinstance(level, Buffer) else f"is {level.what}, whose accesses have no width"
            self._fault(where, f"{how}, and {cost.note} is given for an access; give it for a bit")
        return cost

    def _table_costs(self, level: Level, logic: LogicScaling) -> tuple[CostSource, CostSource]:
        if level.cells == "dram":
            return dram_costs(level.name, self.arch.energy.dram)
        if not isinstance(level, Buffer):
            read, write = (
                arithmetic.register_cost(level.name, action, logic) for action in ("read", "write")
            )
            return read, write
        width, note = port_width_bits(level, self.arch.clock)
        read, write = sram_costs(level.name, require_size(level.name, level.size) // level.banks, width, logic)
        return _noted(read, note, _banked(level)), _noted(write, note, _banked(level))

    def _leakage(self, logic: LogicScaling) -> list[CostSource]:
        whole = self._given(LEAKAGE, ("cycle",), (LEAKAGE,), action="all")
        if whole is not None:
            return [whole]
        return [cost for level in self._srams() if (cost := self._level_leakage(level, logic))]

    def _level_leakage(self, level: Buffer, logic: LogicScaling) -> CostSource | None:
        given = self._given(LEAKAGE, ("cycle",), (f"{LEAKAGE}.{level.name}",), action=level.name)
        if given is not None:
            return given
        if level.size is None:  # its accesses are given, or this has been reported as a fault
            note = "memory size left out: its leakage is not in the sum"
            return CostSource(LEAKAGE, level.name, 0.0, "second", 0, 0, "none", "not costed", note)
        width, note = port_width_bits(level, self.arch.clock)
        one = leakage_cost(level.name, level.size // level.banks, width, logic)
        return _noted(replace(one, pj=one.pj * level.banks), note, _banked(level))


def _banked(level: Buffer) -> str:
    return f"{level.banks} banks, one in an access" if level.banks > 1 else ""


def _noted(cost: CostSource, *notes: str) -> CostSource:
    return replace(cost, note="; ".join(note for note in (cost.note, *notes) if note))
