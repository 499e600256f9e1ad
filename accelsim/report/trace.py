"""A recorded run as a trace that Perfetto (ui.perfetto.dev) and chrome://tracing open.

The format is Chrome's trace-event JSON: complete slices (``ph: X``) in lanes, counters (``ph: C``), names of
lanes (``ph: M``); times in microseconds, on a grid of nanoseconds, so that slices of a lane never overlap.
Exact cycles stand in each slice's ``args``.

*Size.* A lane has at most about `MOST_SLICES` slices. Where there would be more, time is cut into that many
bins, and slices of one lane and kind that begin in one bin are drawn as one: as long as all of them together,
with their number in ``args.folded``. So a lane's sums stay exact. Counters show the peak of each bin.
Simulate a single ``--layer`` to see each tile.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from accelsim.arch.spec import Architecture, SystolicSpec
from accelsim.engines.base import LayerRun
from accelsim.engines.kernels import timeline as tl
from accelsim.engines.walk import LayerWalks, Recorder, Walk
from accelsim.report import activity
from accelsim.report.activity import USES, Bars, Changes
from accelsim.report.occupancy import Occupancy

SCHEMA = "accelsim.trace/1"
MOST_SLICES = 10_000
MOST_BINS, MOST_GROUPS = 400, 64  # of the heat map that the file carries
PID = 1
UNIT_LANES = {"vector": "vector unit"}


@dataclass
class Lane:
    """A named row of slices."""

    name: str
    slices: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Span:
    """A layer's place in time, in cycles."""

    layer: str
    op: str
    engine: str
    begin: int
    end: int


@dataclass
class Trace:
    """Everything that a trace shows; `to_json` is the file."""

    network: str
    arch: Architecture
    spans: list[Span]
    bin_cycles: float
    occupancy: Occupancy | None
    lanes: dict[str, Lane] = field(default_factory=dict)
    counters: list[dict[str, Any]] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def cycles(self) -> int:
        return self.spans[-1].end if self.spans else 0

    def lane(self, name: str) -> Lane:
        return self.lanes.setdefault(name, Lane(name))

    def add(self, lane: str, names: Sequence[str], bars: Bars, what: str = "") -> None:
        """Bars as slices of a lane; ``names`` of their kinds, ``what`` their amount counts."""
        shown = activity.folded(bars, self.bin_cycles)
        columns = (shown.begin, shown.end, shown.kind, shown.amount, shown.count)
        for begin, end, kind, amount, count in zip(*(column.tolist() for column in columns), strict=True):
            args: dict[str, Any] = {"cycle": _whole(begin), "cycles": _whole(end - begin)}
            args |= {what: _whole(amount)} if what else {}
            args |= {"folded": count} if count > 1 else {}
            self.lane(lane).slices.append({"name": names[kind], "begin": begin, "end": end, "args": args})

    def count(self, name: str, cycle: float, values: dict[str, float]) -> None:
        """A counter's values from a cycle on."""
        args = {key: _whole(value) for key, value in values.items()}
        self.counters.append({"name": name, "begin": cycle, "args": args})

    # ---- the file ------------------------------------------------------------------------------------------

    def events(self) -> Iterator[dict[str, Any]]:
        """Every event in the words of the format."""
        yield _meta("process_name", 0, name=f"{self.network} on {self.arch.name}")
        for tid, lane in enumerate(self.lanes.values(), start=1):
            yield _meta("thread_name", tid, name=lane.name)
            yield _meta("thread_sort_index", tid, sort_index=tid)
            for piece in lane.slices:
                begin, end = self.nanoseconds(piece["begin"]), self.nanoseconds(piece["end"])
                event = {"name": piece["name"], "cat": lane.name, "ph": "X", "ts": begin / 1000}
                event |= {"dur": (end - begin) / 1000, "pid": PID, "tid": tid, "args": piece["args"]}
                yield event
        for counter in self.counters:
            event = {"name": counter["name"], "ph": "C", "ts": self.nanoseconds(counter["begin"]) / 1000}
            event |= {"pid": PID, "tid": 0, "args": counter["args"]}
            yield event

    def nanoseconds(self, cycle: float) -> int:
        return round(cycle * 1e9 / self.arch.clock)

    def to_json(self) -> str:
        """The trace file's text, an event a line."""
        lines = ",\n".join(json.dumps(event, separators=(",", ":")) for event in self.events())
        about = json.dumps(self.about(), separators=(",", ":"))
        return f'{{"displayTimeUnit":"ns","otherData":{about},"traceEvents":[\n{lines}\n]}}\n'

    def about(self) -> dict[str, Any]:
        """What the file says beside its events: what was run, what is folded, the array's rows and columns
        over time.
        """
        return {
            "schema": SCHEMA,
            "network": self.network,
            "architecture": self.arch.name,
            "clock_hz": self.arch.clock,
            "cycles": self.cycles,
            "folding": self._folding(),
            "notes": self.notes,
            "layers": [{"name": s.layer, "begin": s.begin, "end": s.end} for s in self.spans if s.end > s.begin],
            "array": None if self.occupancy is None else array_shares(self.occupancy),
        }

    def _folding(self) -> str:
        if not self.bin_cycles:
            return "nothing is folded"
        return (
            f"slices of one lane and kind that begin in the same {self.bin_cycles:g} cycles are drawn as "
            "one, as long as all of them together (args.folded: how many); counters show the peak of each bin"
        )


def _whole(value: float) -> int | float:
    return int(value) if value == int(value) else round(value, 3)


def _meta(what: str, tid: int, **args: Any) -> dict[str, Any]:
    return {"name": what, "ph": "M", "ts": 0, "pid": PID, "tid": tid, "args": args}


def array_shares(occupancy: Occupancy) -> dict[str, Any]:
    """The heat map as the file carries it: neighbouring rows, and columns, in groups of equal size."""
    return {
        "rows": occupancy.rows,
        "cols": occupancy.cols,
        "bin_cycles": occupancy.bin_cycles,
        "row_shares": _grouped(occupancy.row_shares()),
        "column_shares": _grouped(occupancy.column_shares()),
    }


def _grouped(shares: activity.Floats) -> list[list[float]]:
    groups = np.array_split(shares, min(len(shares), MOST_GROUPS))
    return [[round(v, 4) for v in group.mean(axis=0).tolist()] for group in groups]


# ---- from a run -----------------------------------------------------------------------------------------


def build_trace(runs: Iterable[LayerRun], recorder: Recorder, most_slices: int = MOST_SLICES) -> Trace:
    """The trace of a simulation that ``recorder`` went along with::

    recorder = Recorder()
    simulation = accelsim.simulate_full("resnet50", "tpu_v1", recorder=recorder)
    text = build_trace(simulation.runs, recorder).to_json()
    """
    assert recorder.work is not None, "a recorder that went along with a run knows what it was"
    network, arch = recorder.work.network.name, recorder.work.arch
    spans = list(_spans(runs))
    cycles = spans[-1].end if spans else 0
    most = sum(activity.count_bars(walk) for layer in recorder.layers for walk in layer.walks)
    bin_cycles = cycles / most_slices if most > most_slices else 0.0
    trace = Trace(network, arch, spans, bin_cycles, _occupancy(arch, cycles))
    for name in ("layers", "array", "stalls", "vector unit"):
        trace.lane(name)
    recorded = {layer.layer: layer for layer in recorder.layers}
    for span in spans:
        _add_layer(trace, span, recorded.get(span.layer, LayerWalks(span.layer, [], {})))
    if trace.occupancy is not None:
        for number, share in enumerate(trace.occupancy.shares().tolist()):
            trace.count("PEs in use (%)", number * trace.occupancy.bin_cycles, {"used": 100 * share})
        trace.count("PEs in use (%)", cycles, {"used": 0})
    trace.lanes = {name: lane for name, lane in trace.lanes.items() if lane.slices}
    return trace


def _spans(runs: Iterable[LayerRun]) -> Iterator[Span]:
    now = 0
    for run in runs:
        yield Span(run.layer.name, run.layer.op.op, run.engine, now, now + run.counters.cycles)
        now += run.counters.cycles


def _occupancy(arch: Architecture, cycles: int) -> Occupancy | None:
    if not isinstance(arch.engine, SystolicSpec):
        return None
    return Occupancy.empty(arch.engine.rows, arch.engine.cols, cycles, MOST_BINS)


def _add_layer(trace: Trace, span: Span, layer: LayerWalks) -> None:
    cycles = span.end - span.begin
    if not cycles:
        return
    args = {"op": span.op, "engine": span.engine, "cycle": span.begin, "cycles": cycles}
    whole = {"name": span.layer, "begin": span.begin, "end": span.end, "args": args}
    trace.lane("layers").slices.append(whole)
    if not activity.is_whole(layer, cycles):
        trace.notes.append(f"{span.layer}: its steps were not all written down, only its length is shown")
        return
    now = span.begin
    for walk in layer.walks:
        _add_walk(trace, span.layer, walk, now)
        _add_fill(trace, walk, now, layer.reserved_bytes)
        if trace.occupancy is not None:
            trace.occupancy.add(walk, now)
        now += walk.cycles * walk.times


def _add_walk(trace: Trace, layer: str, walk: Walk, start: int) -> None:
    def add(lane: str, names: Sequence[str], bars: Bars, what: str = "") -> None:
        once = activity.folded(bars, trace.bin_cycles) if walk.times > 1 else bars
        trace.add(lane, names, activity.repeated(once, walk.times, walk.cycles).shifted(start), what)

    add(UNIT_LANES.get(walk.steps.unit, "array"), [layer], activity.step_bars(walk))
    cycles, loads = _fold_lanes(walk)
    add("stalls", USES, cycles.picked(cycles.kind > 0))
    if walk.steps.unit not in UNIT_LANES and len(loads):
        add("array: stationary tile in", [layer], loads)
    off_chip = trace.arch.off_chip.name
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


# ---- buffers --------------------------------------------------------------------------------------------


def _add_fill(trace: Trace, walk: Walk, start: int, reserved_bytes: Any) -> None:
    """Counters of what each level holds, tensor by tensor; a walk that is repeated is shown once."""
    changes = activity.buffer_changes(walk, trace.arch)
    for level in trace.arch.memory[1:]:
        resident = {"resident": float(reserved_bytes[level.name])} if reserved_bytes.get(level.name) else {}
        mine = {tensor: change for (name, tensor), change in changes.items() if name == level.name}
        if not mine and not resident:
            continue
        counter = f"{level.name} holds (bytes)"
        for cycle, values in fill_over_time(mine, trace.bin_cycles):
            trace.count(counter, start + cycle, {**resident, **values})
        if not mine:
            trace.count(counter, start, resident)
        trace.count(counter, start + walk.cycles * walk.times, {**dict.fromkeys((*resident, *mine), 0.0)})


def fill_over_time(changes: dict[str, Changes], bin_cycles: float) -> Iterator[tuple[float, dict[str, float]]]:
    """What is held of each tensor from which cycle on; the peaks of bins where they are given."""
    if not changes:
        return
    cycles = np.concatenate([change.cycle for change in changes.values()])
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
