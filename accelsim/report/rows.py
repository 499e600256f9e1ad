"""Results as flat tables: one row a layer, one column a counter, the unit in the column's name."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence

from accelsim.arch.memory import TENSORS
from accelsim.counters import CAUSES
from accelsim.report.model import LayerResult, Result, Roofline, Totals

Cell = int | float | str | None
DIMS = ("N", "K", "C", "P", "Q", "R", "S", "G")


def layer_row(result: Result, layer: LayerResult) -> dict[str, Cell]:
    """Everything about one layer. All layers of a result have the same columns in the same order."""
    whole = result.totals.cycles
    return {
        "name": layer.name, "op": layer.op, "engine": layer.engine, "machine": result.machine_of(layer),
        "input_shapes": _shapes(layer.input_shapes), "output_shapes": _shapes(layer.output_shapes),
        **{dim: layer.dims.get(dim) for dim in DIMS},
        **{f"{tensor}_format": name for tensor, name in layer.precision},
        **layer_counters(result, layer),
        "share_of_time": layer.cycles / whole if whole else 0.0, "probability": layer.probability,
        "mapping": json.dumps(layer.mapping, separators=(",", ":")),
    }  # fmt: skip


def layer_counters(result: Result, layer: LayerResult) -> dict[str, Cell]:
    """What was counted for one layer, and what follows from it."""
    row: dict[str, Cell] = {
        "cycles": layer.cycles, "seconds": layer.seconds, "busy_cycles": layer.busy_cycles,
        **_stalls(layer.stall_cycles),
        "macs": layer.macs, "effective_macs": layer.effective_macs, "vector_ops": layer.vector_ops,
        "ops": layer.ops, "peak_macs_per_cycle": layer.peak_macs_per_cycle, "utilization": layer.utilization,
    }  # fmt: skip
    for level, tensor in _ports(result):
        crossed = layer.traffic_bytes.get(level, {}).get(tensor)
        row[f"{level}_{tensor}_read_bytes"] = crossed.read if crossed else 0
        row[f"{level}_{tensor}_write_bytes"] = crossed.write if crossed else 0
    row.update({f"energy_{part}_pj": layer.energy_pj.get(part, 0.0) for part in result.totals.energy_pj})
    row.update({"energy_total_pj": layer.energy_total_pj, **_roofline(layer.roofline)})
    row.update({f"port_{state}_cycles": layer.port_cycles.get(state, 0) for state in result.port_states})
    row.update({f"unit_{name}": layer.unit_counts.get(name, 0) for name in result.unit_names})
    return {**row, "accumulator_overflows": layer.accumulator_overflows, "input_density": layer.input_density, **_weights(layer)}


def _weights(layer: LayerResult) -> dict[str, Cell]:
    kept = layer.weights
    names = {
        "nonzero_parameters": "nonzero_parameters", "weight_addresses": "addresses",
        "weight_stored_bits": "stored_bits", "weight_index_bits": "index_bits",
    }  # fmt: skip
    return {column: getattr(kept, name) if kept else 0 for column, name in names.items()}


def total_counters(totals: Totals) -> dict[str, Cell]:
    """What was counted for the whole network."""
    row: dict[str, Cell] = {
        "cycles": totals.cycles, "seconds": totals.seconds, "busy_cycles": totals.busy_cycles,
        **_stalls(totals.stall_cycles),
        "macs": totals.macs, "effective_macs": totals.effective_macs, "vector_ops": totals.vector_ops,
        "ops": totals.ops, "utilization": totals.utilization,
    }  # fmt: skip
    for level, crossed in totals.traffic_bytes.items():
        row.update({f"{level}_read_bytes": crossed.read, f"{level}_write_bytes": crossed.write})
    row.update({f"energy_{part}_pj": energy for part, energy in totals.energy_pj.items()})
    row.update({"energy_total_pj": totals.energy_total_pj, "power_w": totals.power_w})
    return {**row, **_roofline(totals.roofline), "accumulator_overflows": totals.accumulator_overflows}


def expected_figures(result: Result) -> dict[str, Cell]:
    """What an input takes on average, of a network with exits or gates."""
    mean = result.expected
    names = ("cycles", "seconds", "macs", "effective_macs", "energy_pj", "off_chip_bytes")
    return {f"expected_{name}": getattr(mean, name) for name in names} if mean else {}


def settings(result: Result) -> dict[str, Cell]:
    """What was run on what."""
    made = result.provenance
    return {
        "network": result.network, "network_sha256": made.network.sha256,
        "architecture": result.architecture, "architecture_sha256": made.arch.sha256,
        "clock_hz": result.clock_hz, "batch": result.batch, "mode": result.mode, "seed": made.seed,
        "accelsim": made.accelsim,
    }  # fmt: skip


def _stalls(stalls: Mapping[str, int]) -> dict[str, Cell]:
    return {f"stall_{cause}_cycles": stalls.get(cause, 0) for cause in dict.fromkeys((*CAUSES, *stalls))}


def _roofline(roofline: Roofline) -> dict[str, Cell]:
    return dict(roofline)


def _shapes(shapes: Iterable[Iterable[int]]) -> str:
    return " ".join("x".join(map(str, shape)) for shape in shapes)


def _ports(result: Result) -> list[tuple[str, str]]:
    """(level, tensor) pairs, level by level."""
    levels = list(result.totals.traffic_bytes)
    return sorted(result.ports_used, key=lambda pair: (_place(levels, pair[0]), _place(TENSORS, pair[1])))


def _place(order: Sequence[str], word: str) -> int:
    return order.index(word) if word in order else len(order)


def to_csv(rows: list[dict[str, Cell]]) -> str:
    """Rows as CSV with a header of all their keys; None, or a key that a row lacks, is an empty cell. Floats are written so
    that they read back exactly.
    """
    text = io.StringIO()
    if rows:
        keys = list(dict.fromkeys(key for row in rows for key in row))
        writer = csv.DictWriter(text, fieldnames=keys, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return text.getvalue()
