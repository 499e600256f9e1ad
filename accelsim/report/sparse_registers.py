"""Every register of a small sparse engine over a layer, as the plain-Python twin steps it.

The twin runs each matrix-vector product with the operands that the engine had, and is laid at the cycle at which the
engine ran it: cycles must be the same, and so must the accumulators at the end.

In a waveform the scopes are ``fetch`` and a PE each. ``fetch``: what is broadcast in the cycle (``column``, ``value``),
whether it is ``held`` back, the number of the ``product``. A PE: its ``queue_fill`` and the activation at the queue's
``head``; the ``activation`` that its pointer unit holds, its ``column``, the ``address`` shown and the slice's ``end``;
the entry that the memory gave (``entry_zeros``, ``entry_weight``); decoded (``row``, ``weight``); multiplied
(``product``, ``addend``); what is written as the cycle ends (``write_row``, ``write_sum``); and its accumulators, where
there are not too many. Row r of PE p is row r x PEs + p of the matrix.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace

import numpy as np

from accelsim.arch.spec import Architecture, SparseSpec
from accelsim.engines.base import Array
from accelsim.engines.reference.sparse import Broadcast, Entry, Machine, Options, Pe, Slice
from accelsim.engines.sparse import Int64s, SparseEngine, Stored
from accelsim.engines.sparse_walk import SparseWalk
from accelsim.engines.vector import VectorUnit
from accelsim.engines.walk import Recorder
from accelsim.errors import InfeasibleError, InvariantError
from accelsim.mapping.mapping import EMPTY, MappingFile
from accelsim.report.registers import the_layer, the_post, too_much
from accelsim.report.waveform import Signal, State, Variable, Waves
from accelsim.simulator import Simulator, _Values
from accelsim.workload.network import Layer, Network
from accelsim.workload.precision import NumberFormat, Precision

MOST_PES = 64
MOST_PE_CYCLES = 200_000
MOST_ACCUMULATORS = 256
TWIN_STAGES = (3, 6)  # cycles from an entry's showing to its product, and until it is seen to be written


@dataclass(frozen=True)
class SparseFilm:
    """All cycles of a layer on a small sparse engine."""

    title: str
    clock_hz: int
    spec: SparseSpec
    precision: Precision
    frames: list[State]
    outputs: tuple[Array, ...]

    def waves(self) -> Waves:
        """The fetch unit, then PE by PE."""
        there = {signal for frame in self.frames for signal in frame}
        variables: dict[Signal, Variable] = {}
        for signal in sorted(there, key=lambda s: (s[1] if len(s) > 1 else -1, ORDER.index(s[0]), s[2:])):
            scopes = ("eie", "fetch") if len(signal) == 1 else ("eie", f"pe_{signal[1]}")
            name = signal[0] if len(signal) < 3 else f"{signal[0]}_{signal[2]}"
            variables[signal] = Variable(scopes, name, self._bits(signal[0]))
        return Waves(self.title, self.clock_hz, variables, self.frames)

    def _bits(self, name: str) -> int:
        """Unsigned operands have one bit more here, for their sign; a bias is as wide as the accumulators."""
        formats = self.precision
        wide = formats.accumulator.bits
        if name in ("value", "head", "activation"):
            return 1 + formats.input.bits
        if name in ("entry_weight", "weight"):
            return max(wide, 1 + formats.weight.bits)
        if name == "product":
            return max(wide, 1 + formats.weight.bits + formats.input.bits)
        return wide if name in ("addend", "write_sum", "accumulator") else 32


ORDER = (
    "number", "column", "value", "held", "queue_fill", "head", "activation", "address", "end", "entry_zeros",
    "entry_weight", "row", "weight", "product", "addend", "write_row", "write_sum", "accumulator",
)  # fmt: skip


def film(network: Network, arch: Architecture, mapping: MappingFile = EMPTY, seed: int = 0) -> SparseFilm:
    """Step the one layer of ``network`` in values mode. Raises `InfeasibleError` for what is too large, and for sparse
    engines that the twin does not know.
    """
    layer, spec = refuse(network, arch)
    recorder = Recorder()
    post = the_post(network, Simulator(arch, mapping, seed))
    assert isinstance(post.engine, SparseEngine)
    watched = _Watched(arch, spec, post.engine.vector, mapping)
    carry = recorder.carry(arch, layer.name, post.plan.placements[layer.name].reserved_bytes)
    operands = _Values.start(network, seed).operands(layer)
    run = replace(post, engine=watched).run(layer, carry, operands)
    walk = recorder.layers[0].walks[0]
    assert isinstance(walk, SparseWalk)
    _refuse_large(layer.name, spec, walk.cycles)
    frames = list(_frames(walk, watched))
    title = f"{network.name} {layer.name} on {arch.name}"
    return SparseFilm(title, arch.clock, spec, layer.precision, frames, run.outputs or ())


def refuse(network: Network, arch: Architecture) -> tuple[Layer, SparseSpec]:
    """Raise `InfeasibleError` for what is too large or not stepped by the twin; else the layer and the engine."""
    layer, spec = the_layer(network), arch.engine
    assert isinstance(spec, SparseSpec)
    if spec.pes > MOST_PES:
        raise too_much(arch.name, f"{spec.pes} PEs", f"{MOST_PES} PEs", ("--set arch.engine.pes=4",))
    if spec.channels > 1 or not spec.skip_zeros or (spec.multiply_after, spec.done_after) != TWIN_STAGES:
        raise InfeasibleError(
            f"registers of {arch.name}",
            demand="several channels, zeros that are broadcast, or other pipeline stages",
            bound="one channel that skips zeros, with the stages of EIE, as the plain twin has it",
            levers=("--set arch.engine.channels=1 --set arch.engine.skip_zeros=true", "write the trace to a .json file"),
        )
    kept = layer.macs * layer.weight.density * layer.input_values.density
    _refuse_large(layer.name, spec, int(kept) // spec.pes)  # at its peak rate
    return layer, spec


def _refuse_large(name: str, spec: SparseSpec, cycles: int) -> None:
    if cycles * spec.pes > MOST_PE_CYCLES:
        levers = ("a smaller layer", "write the trace to a .json file")
        raise too_much(name, f"{cycles:,} cycles on {spec.pes} PEs", f"{MOST_PE_CYCLES:,} PE cycles", levers)


@dataclass(frozen=True)
class _Product:
    """One vector times a stored matrix: accumulators by row before and after."""

    stored: Stored
    vector: Int64s
    before: Int64s
    after: Int64s
    accumulator: NumberFormat


@dataclass(frozen=True)
class _Watched(SparseEngine):
    """An engine that remembers its products."""

    arch: Architecture
    spec: SparseSpec
    vector: VectorUnit | None = None
    mapping: MappingFile = EMPTY
    seen: list[_Product] = field(default_factory=list, compare=False)

    def _run(
        self, stored: Stored, whole: Int64s, start: Int64s, accumulator: NumberFormat | None
    ) -> tuple[Int64s, Int64s, Int64s, Int64s]:
        assert accumulator is not None, "zeros are skipped"
        given = start.copy()
        *counted, by_row = super()._run(stored, whole, start, accumulator)
        for vector, before, after in zip(whole, given, by_row, strict=True):
            self.seen.append(_Product(stored, vector, before, after.copy(), accumulator))
        counts, busiest, written = counted
        return counts, busiest, written, by_row


# ---- the twin laid over time -------------------------------------------------------------------------


def _frames(walk: SparseWalk, engine: _Watched) -> Iterator[State]:
    """A frame a cycle; between products the accumulators are all that holds something."""
    products = enumerate(engine.seen)
    still: State = {}
    for matrix in walk.matrices:
        waits, worked = dict(matrix.waits), 0
        for one in matrix.passes:
            for cycles in one.cycles.tolist():
                number, product = next(products)
                yield from (still for _ in range(waits.get(worked, 0)))
                worked += cycles + one.copied
                yield from ({**still, ("number",): number} for _ in range(one.copied_in))
                machine = _machine(product, engine.spec)
                yield from _steps(machine, number)
                _require_same(machine, product, cycles)
                still = _accumulators(machine)
                yield from (still for _ in range(one.copied_out))
    assert next(products, None) is None, "the engine ran more products than the walk has"
    yield from (still for _ in range(walk.short + 1))


def _machine(product: _Product, spec: SparseSpec) -> Machine:
    """The twin with a product's operands and the accumulators that it adds to."""
    packed, accumulator = product.stored.packed, product.accumulator
    options = Options(
        spec.queue_capacity, spec.row_entries, spec.empty_column == "cycle", spec.zero_detection == "packs",
        (int(accumulator.lowest), int(accumulator.highest)), spec.accumulator_overflow == "saturate",
    )  # fmt: skip
    slices = [_slice(product.stored, pe) for pe in range(packed.pes)]
    machine = Machine.of(slices, product.vector.tolist(), packed.depth, options)
    for row, value in enumerate(product.before.tolist()):
        machine.pes[row % packed.pes].sums[row // packed.pes] = value
    return machine


def _slice(stored: Stored, pe: int) -> Slice:
    """What one PE stores."""
    packed = stored.packed
    begins, ends = packed.starts[:-1].reshape(-1, packed.pes)[:, pe], packed.starts[1:].reshape(-1, packed.pes)[:, pe]
    places = [place for begin, end in zip(begins.tolist(), ends.tolist(), strict=True) for place in range(begin, end)]
    entries = [Entry(int(packed.zeros[place]), int(packed.values[place])) for place in places]
    return Slice(stored.pointers[:, pe].tolist(), entries)


def _steps(machine: Machine, number: int) -> Iterator[State]:
    """The cycles of one product: registers as each begins, and what is written as it ends."""
    while not machine.is_done():
        state: State = {("number",): number, ("held",): int(machine.is_full() and machine.fetch.found() is not None)}
        state |= _accumulators(machine)
        for p, pe in enumerate(machine.pes):
            state |= {(name, p): value for name, value in _registers(pe).items()}
        rows = {p: pe.multiplied.row for p, pe in enumerate(machine.pes) if pe.multiplied is not None}
        broadcast = machine.clock()
        state |= {("write_sum", p): machine.pes[p].sums[row] for p, row in rows.items()}
        yield state | _sent(broadcast)


def _sent(broadcast: Broadcast | None) -> State:
    return {} if broadcast is None else {("column",): broadcast.column, ("value",): broadcast.value}


def _registers(pe: Pe) -> dict[str, int]:
    """What a PE's registers hold, stage by stage; a stage without an entry holds nothing."""
    held = {"queue_fill": len(pe.queue)}
    if pe.queue:
        held["head"] = pe.queue[0].value
    if pe.holds is not None:
        held |= {"activation": pe.holds.value, "column": pe.holds.column, "address": pe.address, "end": pe.end}
    if pe.fetched is not None:
        held |= {"entry_zeros": pe.fetched.zeros, "entry_weight": pe.fetched.weight}
    if pe.decoded is not None:
        held |= {"row": pe.decoded.row, "weight": pe.decoded.weight}
    if pe.multiplied is not None:
        held |= {"product": pe.multiplied.product, "addend": pe.addend, "write_row": pe.multiplied.row}
    return held


def _accumulators(machine: Machine) -> State:
    if len(machine.pes) * len(machine.pes[0].sums) > MOST_ACCUMULATORS:
        return {}
    return {("accumulator", p, row): value for p, pe in enumerate(machine.pes) for row, value in enumerate(pe.sums)}


def _require_same(machine: Machine, product: _Product, cycles: int) -> None:
    """The twin must have taken the engine's cycles, and have its accumulators."""
    if machine.counts.cycles != cycles:
        raise InvariantError(f"the twin took {machine.counts.cycles} cycles for a product, the engine {cycles}")
    by_row = np.array([pe.sums for pe in machine.pes]).T.reshape(-1)[: len(product.after)]
    if (by_row != product.after).any():
        raise InvariantError("the twin's accumulators are not the engine's")
