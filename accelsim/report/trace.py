"""A recorded run as a trace that Perfetto (ui.perfetto.dev) and chrome://tracing open: see `accelsim.report.trace_file`.

*Size.* A lane has at most about `MOST_SLICES` slices, the lanes of PEs `MOST_PE_SLICES` together. Where there would be
more, time is cut into that many bins, and slices of one lane and kind that begin in one bin are drawn as one: as long as
all of them together, with their number in ``args.folded``. So a lane's sums stay exact. Counters show the peak of each
bin. Simulate a single ``--layer`` to see each tile.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np

from accelsim.analysis.roofline import on_main_clock
from accelsim.arch.spec import Architecture, SystolicSpec
from accelsim.engines.base import LayerRun
from accelsim.engines.kernels import timeline as tl
from accelsim.engines.sparse_walk import SparseWalk
from accelsim.engines.walk import LayerWalks, Recorder, Walk
from accelsim.report import activity, sparse_activity
from accelsim.report.activity import USES, Bars, Changes
from accelsim.report.occupancy import Occupancy
from accelsim.report.trace_file import SCHEMA, Process, Span, Trace

__all__ = ["SCHEMA", "Trace", "build_trace"]

MOST_SLICES = 10_000
MOST_PE_SLICES = 60_000
PE_BARS_AT_ONCE = 4_000_000  # that are held before they are folded
MOST_BINS = 400  # of the heat map that the file carries
UNIT_LANES = {"vector": "vector unit"}


def build_trace(runs: Iterable[LayerRun], recorder: Recorder, most_slices: int = MOST_SLICES) -> Trace:
    """The trace of a simulation that ``recorder`` went along with::

    recorder = Recorder()
    simulation = accelsim.simulate_full("resnet50", "tpu_v1", recorder=recorder)
    text = build_trace(simulation.runs, recorder).to_json()
    """
    assert recorder.work is not None, "a recorder that went along with a run knows what it was"
    network, main = recorder.work.network.name, recorder.work.arch
    spans = list(_spans(runs, main))
    machines = list({id(arch): arch for arch in (main, *(span.machine for span in spans))}.values())
    end = spans[-1].end if spans else 0
    processes = [_process(network, arch, -(-end * arch.clock // main.clock), recorder, most_slices) for arch in machines]
    trace = Trace(network, spans, processes)
    recorded = {layer.layer: layer for layer in recorder.layers}
    for span in spans:
        process = processes[machines.index(span.machine)]
        layer = recorded.get(span.layer, LayerWalks(span.layer, [], {}, span.machine))
        trace.notes += _add_layer(process, span, layer, span.begin * span.machine.clock / main.clock)
    for process in processes:
        _add_occupancy(process)
        process.lanes = {name: lane for name, lane in process.lanes.items() if lane.slices}
    return trace


def _spans(runs: Iterable[LayerRun], main: Architecture) -> Iterator[Span]:
    now = 0
    for run in runs:
        end = now + on_main_clock(run, main).counters.cycles
        yield Span(run.layer.name, run.layer.op.op, run.engine, now, end, run.machine or main, run.counters.cycles)
        now = end


def _process(network: str, arch: Architecture, end: int, recorder: Recorder, most_slices: int) -> Process:
    """A machine's process, and how its lanes are folded; the run ends at ``end`` on its clock."""
    walks = [walk for layer in recorder.layers if layer.arch is arch for walk in layer.walks]
    sparse = [walk for walk in walks if isinstance(walk, SparseWalk)]
    cycles = sum(walk.cycles * walk.times for walk in walks)
    most = sum(activity.count_bars(walk) for walk in walks if isinstance(walk, Walk))
    most += sum(sparse_activity.count_bars(walk) for walk in sparse)
    lanes = max((sparse_activity.count_lanes(walk) for walk in sparse), default=1)
    process = Process(f"{network} on {arch.name}", arch)
    most_slices = most_slices // 2 if sparse else most_slices  # the fetch unit's lane has slices of four kinds
    process.bin_cycles = cycles / most_slices if most > most_slices else 0.0
    process.pe_bin_cycles = max(process.bin_cycles, cycles * lanes / MOST_PE_SLICES)
    process.occupancy = _occupancy(arch, end)
    for name in ("layers", "array", "products", "busy", "stalls", "vector unit"):
        process.lane(name)
    return process


def _occupancy(arch: Architecture, cycles: int) -> Occupancy | None:
    if isinstance(arch.engine, SystolicSpec):
        return Occupancy.empty(arch.engine.rows, arch.engine.cols, cycles, MOST_BINS)
    return None


def _add_occupancy(process: Process) -> None:
    occupancy = process.occupancy
    if occupancy is None:
        return
    shares = occupancy.shares().tolist()
    for number, share in enumerate([*shares, 0]):
        process.count("PEs in use (%)", number * occupancy.bin_cycles, {"used": 100 * share})


def _add_layer(process: Process, span: Span, layer: LayerWalks, begin: float) -> list[str]:
    """A layer from a cycle of its machine's clock on; returns what is to be said about it."""
    if not span.cycles:
        return []
    args = {"op": span.op, "engine": span.engine, "cycle": begin, "cycles": span.cycles}
    whole = {"name": span.layer, "begin": begin, "end": begin + span.cycles, "args": args}
    process.lane("layers").slices.append(whole)
    if not activity.is_whole(layer, span.cycles):
        return [f"{span.layer}: its steps were not all written down, only its length is shown"]
    for walk in layer.walks:
        if isinstance(walk, SparseWalk):
            _add_sparse(process, span.layer, walk, begin)
        else:
            _add_walk(process, span.layer, walk, begin)
            _add_fill(process, walk, begin, layer.reserved_bytes)
            if process.occupancy is not None:
                process.occupancy.add(walk, begin)
        begin += walk.cycles * walk.times
    return []


def _add_walk(process: Process, layer: str, walk: Walk, start: float) -> None:
    def add(lane: str, names: Sequence[str], bars: Bars, what: str = "") -> None:
        once = activity.folded(bars, process.bin_cycles) if walk.times > 1 else bars
        process.add(lane, names, activity.repeated(once, walk.times, walk.cycles).shifted(start), what)

    add(UNIT_LANES.get(walk.steps.unit, "array"), [layer], activity.step_bars(walk))
    cycles, loads = _fold_lanes(walk)
    add("stalls", USES, cycles.picked(cycles.kind > 0))
    if walk.steps.unit not in UNIT_LANES and len(loads):
        add("array: stationary tile in", [layer], loads)
    off_chip = process.arch.off_chip.name
    for tensor, bars in activity.transfer_bars(walk).items():
        if len(bars):
            add(f"{off_chip}: {tensor}", [f"read {layer}", f"write {layer}"], bars, "bits")


def _fold_lanes(walk: Walk) -> tuple[Bars, Bars]:
    """What every cycle was for, and the loads of stationary tiles."""
    busy_end, done = 0, 0
    cycles, loads = [], []
    for visits in activity.visits_of(walk):
        cycles.append(activity.cycle_bars(walk, visits))
        loads.append(activity.load_bars(walk, visits))
        busy_end = max(busy_end, int(visits[:, tl.V_LAST_MAC].max()))
        done = max(done, int(visits[:, tl.V_DONE].max()))
    cycles.append(activity.last_bars(walk, busy_end, done))
    return activity.merged(activity.joined(cycles)), activity.joined(loads)


# ---- a sparse engine ------------------------------------------------------------------------------------


def _add_sparse(process: Process, layer: str, walk: SparseWalk, start: float) -> None:
    """Products, what the fetch unit broadcasts, what each PE streams, and what every cycle was for."""
    parts: dict[str, list[Bars]] = {"uses": [sparse_activity.wait_bars(walk)]}
    pes: dict[str, list[Bars]] = {}
    at_once = process.pe_bin_cycles if sparse_activity.count_pe_bars(walk) > PE_BARS_AT_ONCE else 0.0
    for piece in sparse_activity.pieces(walk):
        for name in ("uses", "broadcasts", "copies", "products"):
            parts.setdefault(name, []).append(activity.folded(getattr(piece, name), process.bin_cycles))
        for name, bars in piece.pes.items():
            pes.setdefault(name, []).append(activity.folded(bars, at_once))
        for cycle, values in fill_over_time({"activations": piece.queue}, process.bin_cycles):
            process.count("fullest queue holds", start + cycle, values)
    process.count("fullest queue holds", start + walk.cycles, {"activations": 0})
    lanes = {name: activity.by_begin(activity.joined(bars)).shifted(start) for name, bars in parts.items()}
    uses = lanes["uses"]
    process.add("products", [layer], lanes["products"])
    process.add("busy", [layer], uses.picked(uses.kind == 0))
    process.add("stalls", USES, uses.picked(uses.kind > 0))
    process.add("broadcast", sparse_activity.BROADCASTS, lanes["broadcasts"])
    process.add("register files", sparse_activity.COPIES, lanes["copies"])
    fetches = sparse_activity.fetch_bars(walk).shifted(start)
    process.add(f"{process.arch.off_chip.name}: weight", [f"read {layer}"], fetches, "bits")
    _add_pes(process, {name: activity.joined(found).shifted(start) for name, found in pes.items()}, walk)


def _add_pes(process: Process, lanes: dict[str, Bars], walk: SparseWalk) -> None:
    """The lanes of the PEs, folded if they have more than the layer's part of `MOST_PE_SLICES`."""
    most = walk.cycles * len(lanes) / process.pe_bin_cycles
    fold = process.pe_bin_cycles if sum(len(bars) for bars in lanes.values()) > most else 0.0
    process.folds_pes |= fold > 0
    for name, bars in lanes.items():
        process.add(name, sparse_activity.STREAMS, bars, "entries", fold)


# ---- buffers --------------------------------------------------------------------------------------------


def _add_fill(process: Process, walk: Walk, start: float, reserved_bytes: Any) -> None:
    """Counters of what each level holds, tensor by tensor; a walk that is repeated is shown once."""
    changes = activity.buffer_changes(walk, process.arch)
    for level in process.arch.on_chip:
        resident = {"resident": float(reserved_bytes[level.name])} if reserved_bytes.get(level.name) else {}
        mine = {tensor: change for (name, tensor), change in changes.items() if name == level.name}
        if not mine and not resident:
            continue
        counter = f"{level.name} holds (bytes)"
        for cycle, values in fill_over_time(mine, process.bin_cycles):
            process.count(counter, start + cycle, {**resident, **values})
        if not mine:
            process.count(counter, start, resident)
        process.count(counter, start + walk.cycles * walk.times, {**dict.fromkeys((*resident, *mine), 0.0)})


def fill_over_time(changes: dict[str, Changes], bin_cycles: float) -> Iterator[tuple[float, dict[str, float]]]:
    """What is held of each tensor from which cycle on; the peaks of bins where they are given."""
    if not changes:
        return
    cycles = np.concatenate([change.cycle for change in changes.values()])
    if not len(cycles):
        return
    sizes = np.zeros((len(cycles), len(changes)))
    row = 0
    for column, change in enumerate(changes.values()):
        sizes[row : row + len(change.cycle), column] = change.size_bytes
        row += len(change.cycle)
    order = np.lexsort((sizes.sum(axis=1), cycles))  # what goes at a cycle goes before what comes
    held = np.cumsum(sizes[order], axis=0)
    at = cycles[order] if not bin_cycles else np.floor(cycles[order] / bin_cycles) * bin_cycles
    heads = np.flatnonzero(np.r_[True, at[1:] != at[:-1]])
    last = np.r_[heads[1:], len(at)] - 1
    shown = np.maximum.reduceat(held, heads, axis=0) if bin_cycles else held[last]
    for cycle, values in zip(at[heads].tolist(), shown.tolist(), strict=True):
        yield cycle, dict(zip(changes, values, strict=True))
