"""The walk of a schedule through memory that all engines share: what its nests leave to each other, results as counters."""

from __future__ import annotations

from collections.abc import Mapping as MappingABC
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from accelsim.arch.spec import Architecture
from accelsim.counters import Counters, Stalls, Traffic
from accelsim.engines.kernels import timeline as tl
from accelsim.errors import InfeasibleError
from accelsim.mapping.machine import Ints, off_chip_bits_per_cycle, slots_of
from accelsim.mapping.mapping import MappingFile
from accelsim.memory.resources import AS_BUILT, LATENCY, MEMORY, Faster
from accelsim.memory.transfers import port_occupancy
from accelsim.workload.network import Network

if TYPE_CHECKING:
    from accelsim.engines.sparse_walk import SparseWalk


MOST_TICKS = 1 << 61  # of a walk, whose times are 64-bit numbers
FREE = 1 << 35  # bits a cycle: whatever is fetched arrives at once
FEW_TICKS = 1 << 20  # a cycle or bit: no schedule that is written out has so many steps that they would not fit


@dataclass(frozen=True)
class Steps:
    """What the timeline walks: the arguments of `kernels.timeline.run_timeline`, and what a trace says about them.

    ``unit`` does them; ``waits`` int64[steps]: cycles by which ports on chip hold a step back; ``partial`` bool[steps]:
    whether a store is of partial sums; ``kept``: tensors whose tiles stay in their level; ``shapes`` int64[classes, 4, 3]:
    rows and columns of the array that a fold uses, and the vectors it streams, where the unit is an array of PEs.
    """

    unit: str
    classes: npt.NDArray[np.int32]
    loads: Ints
    stores: Ints
    waits: Ints
    grids: Ints
    folds: Ints
    options: Ints
    partial: npt.NDArray[np.bool_]
    kept: frozenset[str] = frozenset()
    shapes: Ints | None = None


@dataclass
class Walk:
    """A walk written down: its steps, when each happened (columns E_* of the kernel), and how often it was repeated."""

    steps: Steps
    events: Ints
    cycles: int
    times: int = 1


@dataclass
class Carry:
    """What one nest of a layer leaves to the next: when the off-chip port and the weight slots are free.

    With a list for ``walks`` every walk is written down there.
    """

    port: Ints
    weight_free: Ints
    walks: list[Walk | SparseWalk] | None = None

    @classmethod
    def start(cls, arch: Architecture, walks: list[Walk | SparseWalk] | None = None) -> Carry:
        return cls(np.zeros(1, dtype=np.int64), np.zeros(slots_of(arch, "weight"), dtype=np.int64), walks)

    @property
    def fresh(self) -> bool:
        """Whether nothing has run yet, and nothing is to be written down."""
        return self.walks is None and not self.port.any() and not self.weight_free.any()

    def take(self, other: Carry) -> None:
        """Go on where ``other`` has come to."""
        self.port[:], self.weight_free[:] = other.port, other.weight_free

    def repeated(self, times: int) -> None:
        """The walk before counts ``times`` times."""
        if self.walks:
            self.walks[-1].times = times

    def repeated_whole(self, times: int) -> None:
        """All walks of the layer happen ``times`` times, one round after the other."""
        for walk in self.walks or ():
            walk.times *= times


@dataclass(frozen=True)
class LayerWalks:
    """All walks of one layer in their order, on the architecture that ran it; ``reserved_bytes`` of each level are taken
    by tensors that live there.
    """

    layer: str
    walks: list[Walk | SparseWalk]
    reserved_bytes: MappingABC[str, int]
    arch: Architecture


@dataclass(frozen=True)
class Work:
    """What a recorded simulation ran; ``seed`` of its operands in values mode."""

    network: Network
    arch: Architecture
    mapping: MappingFile
    seed: int | None


@dataclass
class Recorder:
    """Writes down every walk of a simulation: what traces and waveforms are made of."""

    layers: list[LayerWalks] = field(default_factory=list)
    work: Work | None = None

    def started(self, network: Network, arch: Architecture, mapping: MappingFile, seed: int | None) -> None:
        """A simulation begins."""
        self.layers.clear()
        self.work = Work(network, arch, mapping, seed)

    def carry(self, arch: Architecture, layer: str, reserved_bytes: MappingABC[str, int]) -> Carry:
        """The carry that ``layer`` starts with; its walks are written down."""
        self.layers.append(LayerWalks(layer, [], reserved_bytes, arch))
        return Carry.start(arch, self.layers[-1].walks)


def run_steps(steps: Steps, weight_free: Ints, carry: Carry) -> Ints:
    """Walk ``steps`` (kernels.timeline.run_timeline); ``weight_free``: cycles at which each weight slot is free."""
    _require_countable(steps)
    rows = 0 if carry.walks is None else len(steps.classes)
    events = np.empty((rows, tl.EVENT_FIELDS), dtype=np.int64)
    result: Ints = tl.run_timeline(
        steps.classes, steps.loads, steps.stores, steps.waits, steps.grids, steps.folds, steps.options, carry.port,
        weight_free, events,
    )
    if carry.walks is not None:
        carry.walks.append(Walk(steps, events, int(result[tl.R_CYCLES])))
    return result


def _require_countable(steps: Steps) -> None:
    """Raise `InfeasibleError` where the walk's times, in parts of a cycle, may not fit 64 bits."""
    ticks, per_bit, latency = (int(steps.options[o]) for o in (tl.O_TICKS, tl.O_TICKS_PER_BIT, tl.O_LATENCY))
    if max(ticks, per_bit) * max(latency, 1) <= FEW_TICKS:
        return
    bits = int(np.maximum(steps.loads, 0).sum() + np.maximum(steps.stores, 0).sum())
    each = steps.grids.prod(axis=1) * steps.folds[:, :, [tl.F_LOAD, tl.F_INTERVAL, tl.F_END]].sum(axis=2).max(axis=1)
    worked = int(each @ np.bincount(steps.classes, minlength=len(each))) + int(steps.waits.sum())
    longest = bits * per_bit + ticks * (worked + latency * int((steps.loads > 0).sum()))
    if longest > MOST_TICKS:
        raise InfeasibleError(
            "a layer's time", demand=f"{longest / ticks:.3g} cycles, each in {ticks:,} parts, at most",
            bound=f"{MOST_TICKS / ticks:.3g} that are counted",
            levers=("a bandwidth off chip of fewer decimals", "a shorter latency", "a smaller batch"),
        )  # fmt: skip


def timeline_options(
    arch: Architecture, stationary: int, skewed: bool, buffers: int, input_slots: int | None = None,
    faster: Faster = AS_BUILT,
) -> Ints:  # fmt: skip
    """The options of the timeline kernel: bandwidth as whole ticks, slots (the level's if not given), latency."""
    rate, speed = off_chip_bits_per_cycle(arch), faster.speed(MEMORY)
    if rate is None or speed is None or rate > FREE:
        ticks, per_bit = 1, 0
    else:
        ticks, per_bit = rate.numerator * speed, rate.denominator
    latency = faster.of(LATENCY, arch.off_chip.latency.in_cycles(arch.clock))
    return np.array(
        [
            stationary, int(skewed), buffers, ticks, per_bit, latency,
            input_slots or slots_of(arch, "input"), slots_of(arch, "output"),
            int(arch.off_chip.requests == "per_tensor"),
        ],
        dtype=np.int64,
    )  # fmt: skip


def shift_cycles(classes: npt.NDArray[np.int32], grids: Ints, folds: Ints) -> int:
    """Cycles in which stationary operands are shifted in, those of all folds; the arguments as `Steps` has them."""
    groups, outer, inner = grids.T
    shapes = np.stack([(outer - 1) * (inner - 1), outer - 1, inner - 1, np.ones_like(outer)], axis=1) * groups[:, None]
    each = (shapes * folds[:, :, tl.F_LOAD]).sum(axis=1)
    return int(each @ np.bincount(classes, minlength=len(each)))


def occupied(
    arch: Architecture, far_loads: int, counters: Counters, unit: MappingABC[str, int]
) -> dict[str, int]:
    """Cycles in which each resource is at work: those of the ``unit``, of the ports, of ``far_loads`` on their way."""
    latencies = far_loads * arch.off_chip.latency.in_cycles(arch.clock)
    return {**unit, **port_occupancy(arch, counters.traffic), LATENCY: min(latencies, counters.cycles)}


def counters_of(result: Ints, macs: int, vector_ops: int, traffic: Traffic) -> Counters:
    """Counters from the timeline's result."""
    value = [int(v) for v in result]
    return Counters(
        cycles=value[tl.R_CYCLES],
        busy_cycles=value[tl.R_BUSY],
        stalls=Stalls(
            fill=value[tl.R_FILL],
            drain=value[tl.R_DRAIN],
            weight_load=value[tl.R_WEIGHT_LOAD],
            memory=value[tl.R_MEMORY],
        ),
        macs=macs,
        effective_macs=macs,
        vector_ops=vector_ops,
        traffic=traffic,
        port_cycles={
            "active": value[tl.R_PORT_ACTIVE],
            "weight_load": value[tl.R_PORT_WEIGHT_LOAD],
            "memory": value[tl.R_PORT_MEMORY],
            "other": value[tl.R_PORT_OTHER],
        },
    )
