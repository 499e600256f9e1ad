"""The compressed network's values on several engines, held to the integer reference."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from rich.console import Console
from rich.table import Table

from accelsim.compression.arrays import Array
from accelsim.compression.float_run import Outputs, run_on, top1
from accelsim.errors import InfeasibleError
from accelsim.workload.network import Network

if TYPE_CHECKING:
    from accelsim.arch.spec import Architecture


@dataclass(frozen=True)
class EngineRun:
    """A run in values mode: layers whose outputs are not the reference's, of how many, and top-1 where labels are known."""

    layers: int
    differing: tuple[str, ...]
    cycles: int
    accuracy: float | None


def run_on_engines(
    network: Network, samples: Array, labels: Array | None, archs: Mapping[str, Architecture]
) -> dict[str, EngineRun]:
    """Run ``samples`` (first axis) through ``network`` on every architecture, bit by bit beside the reference."""
    expected = run_on(network, samples)
    return {name: _run(network, samples, labels, arch, expected) for name, arch in archs.items()}


def _run(network: Network, samples: Array, labels: Array | None, arch: Architecture, expected: Outputs) -> EngineRun:
    from accelsim.api import simulate_full

    run = simulate_full(network, arch, values=True, inputs={"": samples})
    found = {name: array for name, array in run.outputs.items() if name in expected}
    differing = tuple(name for name, array in found.items() if not np.array_equal(array, expected[name][0]))
    accuracy = None if labels is None else top1({name: (array,) for name, array in found.items()}, network, labels)
    return EngineRun(len(found), differing, run.result.totals.cycles, accuracy)


def print_engine_runs(runs: Mapping[str, EngineRun], samples: int, console: Console) -> None:
    """A row an engine."""
    table = Table(box=None, header_style="bold", pad_edge=False)
    for title in ("values on", "outputs", "top-1", "cycles"):
        table.add_column(title, justify="right" if title == "cycles" else "left")
    for name, run in runs.items():
        same = f"{run.layers} layers, every bit the reference's" if not run.differing else f"differ: {_some(run.differing)}"
        table.add_row(name, same, "" if run.accuracy is None else f"{run.accuracy:.2%}", f"{run.cycles:,}")
    console.print()
    console.print(table)
    console.print(f"{samples} samples", highlight=False)


def refuse_differences(runs: Mapping[str, EngineRun]) -> None:
    """Raise `InfeasibleError` for an engine whose outputs are not the reference's."""
    wrong = {name: run for name, run in runs.items() if run.differing}
    if wrong:
        name, run = next(iter(wrong.items()))
        raise InfeasibleError(
            f"the values on {name}",
            demand="the integer reference's outputs",
            bound=f"others in {len(run.differing)} of {run.layers} layers: {_some(run.differing)}",
            levers=("layers that state their scales: a quantize pass",),
        )


def _some(names: Iterable[str]) -> str:
    shown = list(names)
    return ", ".join(shown[:4]) + (", ..." if len(shown) > 4 else "")
