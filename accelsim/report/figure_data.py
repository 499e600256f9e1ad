"""What the figures show, as rows of numbers: the CSV beside each figure, and what the drawings are made from."""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, fsum, log
from pathlib import Path
from typing import Literal

from accelsim.counters import CAUSES
from accelsim.errors import Fault, InputError, join_allowed, nearest
from accelsim.report.model import LayerResult, Result, Totals
from accelsim.report.roofline_data import checked_labels, result_labels
from accelsim.report.rows import Cell, settings, total_counters
from accelsim.report.table import costs
from accelsim.yaml_io import read_text

Shown = Literal["layers", "networks"]
BUSY = "busy"


@dataclass(frozen=True)
class Stack:
    """Bars made of parts: ``parts`` has for every part a value a bar, the lowest part first."""

    bars: tuple[str, ...]
    parts: Mapping[str, tuple[float, ...]]

    @property
    def totals(self) -> list[float]:
        return [fsum(values) for values in zip(*self.parts.values(), strict=True)]

    def shares(self) -> Stack:
        """Every bar as shares of its total; a bar of nothing stays one."""
        totals = [total or 1.0 for total in self.totals]
        parts = {n: tuple(v / t for v, t in zip(vs, totals, strict=True)) for n, vs in self.parts.items()}
        return Stack(self.bars, parts)

    def rows(self, bar: str, part: str, value: str) -> list[dict[str, Cell]]:
        """A row a bar and part, with its share of the bar."""
        shares = self.shares().parts
        return [
            {bar: name, part: kind, value: values[i], "share": shares[kind][i]}
            for i, name in enumerate(self.bars)
            for kind, values in self.parts.items()
        ]


def bar_names(results: Sequence[Result], show: Shown, labels: Sequence[str] | None) -> list[str]:
    """The bars' names: results', or the layers' of one result (``network / layer`` with several)."""
    names = result_names(results, labels)
    if show == "networks":
        return names
    pairs = [(n, layer) for n, result in zip(names, results, strict=True) for layer in result.layers]
    return [layer.name if len(results) == 1 else f"{name} / {layer.name}" for name, layer in pairs if costs(layer)]


def result_names(results: Sequence[Result], labels: Sequence[str] | None) -> list[str]:
    """What the results are called: their labels, else what tells them apart."""
    return checked_labels(results, labels) or short_labels(results)


def short_labels(results: Sequence[Result]) -> list[str]:
    """What tells the results apart: the machine alone where the network is always the same."""
    machines = [result.architecture for result in results]
    same_network = len({result.network for result in results}) == 1
    return machines if same_network and len(set(machines)) == len(results) > 1 else result_labels(results)


def _units(results: Sequence[Result], show: Shown) -> list[Totals | LayerResult]:
    if show == "networks":
        return [result.totals for result in results]
    return [layer for result in results for layer in result.layers if costs(layer)]


def energy_stack(results: Sequence[Result], show: Shown, labels: Sequence[str] | None = None) -> Stack:
    """Energy in picojoules by component: arithmetic first, then registers, levels from near to far, leakage."""
    units = _units(results, show)
    far_first = list(dict.fromkeys(level for result in results for level in result.totals.traffic_bytes))
    known = dict.fromkeys(part for result in results for part in result.totals.energy_pj)
    order = sorted(known, key=lambda part: _component_rank(part, far_first))
    if not known:
        raise InputError(Fault("plot energy", "", "the results hold no energy (energy.table: none)"))
    parts = {part: tuple(unit.energy_pj.get(part, 0.0) for unit in units) for part in order}
    return Stack(tuple(bar_names(results, show, labels)), parts)


def _component_rank(part: str, far_first: Sequence[str]) -> tuple[int, int]:
    first = ("mac", "vector", "array_registers", "accumulators")
    if part in first:
        return 0, first.index(part)
    return (1, -far_first.index(part)) if part in far_first else (2, 0)


def stall_stack(results: Sequence[Result], show: Shown, labels: Sequence[str] | None = None) -> Stack:
    """Cycles: busy, then each cause of stalls that took any."""
    units = _units(results, show)
    parts = {BUSY: tuple(float(unit.busy_cycles) for unit in units)}
    for cause in CAUSES:
        cycles = tuple(float(unit.stall_cycles.get(cause, 0)) for unit in units)
        parts |= {cause: cycles} if any(cycles) else {}
    return Stack(tuple(bar_names(results, show, labels)), parts)


# ---- utilization -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class LayerUse:
    """How well one layer with MACs used the engine, and when it ran (shares of its network's time)."""

    result: str
    layer: str
    begin_share: float
    end_share: float
    utilization: float
    bound: str


def layer_uses(results: Sequence[Result], labels: Sequence[str] | None = None) -> list[list[LayerUse]]:
    """Layers with MACs, a list a result."""
    names = result_names(results, labels)
    return [_uses(name, result) for name, result in zip(names, results, strict=True)]


def _uses(name: str, result: Result) -> list[LayerUse]:
    whole, now, found = result.totals.cycles or 1, 0, []
    for layer in result.layers:
        begin, now = now, now + layer.cycles
        if layer.macs and layer.cycles:
            place = (begin / whole, now / whole)
            found.append(LayerUse(name, layer.name, *place, layer.utilization, layer.roofline.bound))
    return found


# ---- speed-up --------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Speedups:
    """Speed-ups over a baseline: of every machine on every network; ``means`` are geometric."""

    baseline: str
    networks: tuple[str, ...]
    machines: Mapping[str, tuple[float | None, ...]]

    @property
    def means(self) -> dict[str, float]:
        return {m: geometric_mean([v for v in vs if v is not None]) for m, vs in self.machines.items()}

    def rows(self) -> list[dict[str, Cell]]:
        rows: list[dict[str, Cell]] = [
            {"network": network, "machine": machine, "baseline": self.baseline, "speedup": values[i]}
            for i, network in enumerate(self.networks)
            for machine, values in self.machines.items()
        ]
        means = self.means.items()
        return rows + [{"network": "geomean", "machine": m, "baseline": self.baseline, "speedup": v} for m, v in means]


def geometric_mean(values: Sequence[float]) -> float:
    return exp(fsum(log(value) for value in values) / len(values))


def speedups(results: Sequence[Result], baseline: str | None = None) -> Speedups:
    """Seconds of the baseline over seconds of each machine, network by network.

    The baseline is the architecture of that name, the first result's where left out. Raises `InputError`
    where a network has no result on it, or two on one machine.
    """
    machines = list(dict.fromkeys(result.architecture for result in results))
    base = baseline or machines[0]
    if base not in machines:
        words = f'no result is of "{base}"{nearest(base, machines)}, must be {join_allowed(machines)}'
        raise InputError(Fault("--baseline", base, words))
    seconds = _seconds(results)
    networks = list(dict.fromkeys(result.network for result in results))
    missing = [n for n in networks if (n, base) not in seconds]
    if missing:
        raise InputError(Fault("plot speedup", n, f"has no result on the baseline {base}") for n in missing)
    shown = [m for m in machines if m != base] or [base]
    table = {
        machine: tuple(seconds[n, base] / seconds[n, machine] if (n, machine) in seconds else None for n in networks)
        for machine in shown
    }
    return Speedups(base, tuple(networks), table)


def _seconds(results: Sequence[Result]) -> dict[tuple[str, str], float]:
    seconds: dict[tuple[str, str], float] = {}
    for result in results:
        key = (result.network, result.architecture)
        if key in seconds:
            words = f"{result.network} has two results on {result.architecture}; tell them apart by their names"
            raise InputError(Fault("plot speedup", "", f"{words} (--set arch.name=...)"))
        if not result.totals.seconds:
            raise InputError(Fault("plot speedup", result.network, "takes no time at all"))
        seconds[key] = result.totals.seconds
    return seconds


# ---- tables: results, or the CSV of a sweep --------------------------------------------------------


def result_rows(results: Sequence[Result], labels: Sequence[str] | None = None) -> list[dict[str, Cell]]:
    """A row a result: what was run, its totals, and the size of every level; ``label`` where labels are given."""
    rows = [{**settings(result), **total_counters(result.totals), **level_sizes(result)} for result in results]
    names = checked_labels(results, labels)
    return [{"label": name, **row} for name, row in zip(names, rows, strict=True)] if names else rows


def on_machines(results: Sequence[Result], labels: Sequence[str] | None) -> Sequence[Result]:
    """Results whose machines are called by labels, one a result."""
    names = checked_labels(results, labels)
    if names is None:
        return results
    return [result.model_copy(update={"architecture": name}) for result, name in zip(results, names, strict=True)]


def level_sizes(result: Result) -> dict[str, Cell]:
    """``scratchpad_size_bytes`` and so on."""
    return {f"{level.name}_size_bytes": level.size_bytes for level in result.machine.levels}


def read_table(path: str | Path) -> list[dict[str, Cell]]:
    """Rows of a CSV file (of ``accelsim sweep``, say); what reads as a number is one. Points that failed, by
    their column ``status``, are left out."""
    try:
        rows = list(csv.DictReader(read_text(Path(path)).splitlines()))
    except csv.Error as error:
        raise InputError(Fault(str(path), "", f"is no CSV: {error}")) from None
    long = next((number for number, row in enumerate(rows, 2) if None in row), None)  # DictReader's key for what is left over
    if long is not None:
        raise InputError(Fault(str(path), "", f"its row {long} has more cells than the header"))
    if not rows:
        raise InputError(Fault(str(path), "", "has no rows"))
    kept = [row for row in rows if row.get("status") in (None, "", "ok")]
    return [{str(key): _number(value) for key, value in row.items()} for row in kept]


def _number(text: str | None) -> Cell:
    if text is None or text == "":
        return None
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def column(rows: Sequence[Mapping[str, Cell]], key: str) -> list[float | None]:
    """A column's numbers; InputError with the nearest known key where there is none of that name."""
    keys = list(dict.fromkeys(k for row in rows for k in row))
    if key not in keys:
        near = nearest(key, keys) or f", there are {join_allowed(keys)}"
        raise InputError(Fault("plot", key, f"is no column{near}"))
    values = [row.get(key) for row in rows]
    if not any(isinstance(value, int | float) for value in values):
        raise InputError(Fault("plot", key, f"holds no numbers, but such as {values[0]!r}"))
    return [float(value) if isinstance(value, int | float) else None for value in values]
