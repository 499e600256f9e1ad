"""What a trace holds, and its file: lanes of slices and counters, a process for each machine, in Chrome's trace events.

Complete slices (``ph: X``) in lanes, counters (``ph: C``), names of lanes and processes (``ph: M``); times in microseconds
of one clock, on a grid of nanoseconds, so that slices of a lane never overlap. Exact cycles, of the machine's own clock,
stand in each slice's ``args``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from accelsim.arch.spec import Architecture
from accelsim.report import activity
from accelsim.report.activity import Bars
from accelsim.report.occupancy import Occupancy

SCHEMA = "accelsim.trace/1"
MOST_GROUPS = 64  # of the heat map that the file carries


@dataclass
class Lane:
    """A named row of slices."""

    name: str
    slices: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Span:
    """A layer's place in time, in cycles of the run's clock; ``machine`` ran it, ``cycles`` of its own clock long."""

    layer: str
    op: str
    engine: str
    begin: int
    end: int
    machine: Architecture
    cycles: int


@dataclass
class Process:
    """What one machine did: lanes and counters, in cycles of its own clock.

    Slices of one lane and kind that begin within ``bin_cycles`` are drawn as one (with 0 each is drawn); in the lanes of
    PEs within ``pe_bin_cycles``, in layers with more slices than that: ``folds_pes``, whether there are any.
    """

    name: str
    arch: Architecture
    bin_cycles: float = 0.0
    pe_bin_cycles: float = 0.0
    folds_pes: bool = False
    occupancy: Occupancy | None = None
    lanes: dict[str, Lane] = field(default_factory=dict)
    counters: list[dict[str, Any]] = field(default_factory=list)

    def lane(self, name: str) -> Lane:
        return self.lanes.setdefault(name, Lane(name))

    def add(self, lane: str, names: Sequence[str], bars: Bars, what: str = "", bin_cycles: float | None = None) -> None:
        """Bars as slices of a lane; ``names`` of their kinds, ``what`` their amount counts."""
        shown = activity.folded(bars, self.bin_cycles if bin_cycles is None else bin_cycles)
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

    def nanoseconds(self, cycle: float) -> int:
        return round(cycle * 1e9 / self.arch.clock)

    def events(self, pid: int) -> Iterator[dict[str, Any]]:
        """Every event in the words of the format."""
        yield _meta("process_name", pid, 0, name=self.name)
        yield _meta("process_sort_index", pid, 0, sort_index=pid)
        for tid, lane in enumerate(self.lanes.values(), start=1):
            yield _meta("thread_name", pid, tid, name=lane.name)
            yield _meta("thread_sort_index", pid, tid, sort_index=tid)
            for piece in lane.slices:
                begin, end = self.nanoseconds(piece["begin"]), self.nanoseconds(piece["end"])
                event = {"name": piece["name"], "cat": lane.name, "ph": "X", "ts": begin / 1000}
                yield event | {"dur": (end - begin) / 1000, "pid": pid, "tid": tid, "args": piece["args"]}
        for counter in self.counters:
            event = {"name": counter["name"], "ph": "C", "ts": self.nanoseconds(counter["begin"]) / 1000}
            yield event | {"pid": pid, "tid": 0, "args": counter["args"]}


@dataclass
class Trace:
    """Everything that a trace shows; `to_json` is the file. ``processes``: the run's own architecture is the first."""

    network: str
    spans: list[Span]
    processes: list[Process]
    notes: list[str] = field(default_factory=list)

    @property
    def main(self) -> Process:
        return self.processes[0]

    @property
    def occupancy(self) -> Occupancy | None:
        return self.main.occupancy

    @property
    def cycles(self) -> int:
        return self.spans[-1].end if self.spans else 0

    def events(self) -> Iterator[dict[str, Any]]:
        for pid, process in enumerate(self.processes, start=1):
            yield from process.events(pid)

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
            "architecture": self.main.arch.name,
            "clock_hz": self.main.arch.clock,
            "cycles": self.cycles,
            "folding": _folding(self.processes),
            "notes": self.notes,
            "layers": [{"name": s.layer, "begin": s.begin, "end": s.end} for s in self.spans if s.end > s.begin],
            "array": None if self.occupancy is None else array_shares(self.occupancy),
        }


def _folding(processes: list[Process]) -> str:
    bins = [f"{process.bin_cycles:g}" for process in processes if process.bin_cycles]
    pe_bins = [f"{process.pe_bin_cycles:g}" for process in processes if process.folds_pes]
    if not bins and not pe_bins:
        return "nothing is folded"
    where = [f"the same {', '.join(bins)} cycles"] if bins else []
    where += [f"the same {', '.join(pe_bins)} cycles of a PE's lane"] if pe_bins else []
    return (
        f"slices of one lane and kind that begin in {' or '.join(where)} are drawn as "
        "one, as long as all of them together (args.folded: how many); counters show the peak of each bin"
    )


def _whole(value: float) -> int | float:
    return int(value) if value == int(value) else round(value, 3)


def _meta(what: str, pid: int, tid: int, **args: Any) -> dict[str, Any]:
    return {"name": what, "ph": "M", "ts": 0, "pid": pid, "tid": tid, "args": args}


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
