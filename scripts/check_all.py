"""Simulate every network of the zoo on every architecture shipped, and hold each layer to the laws of conservation.

    python scripts/check_all.py [--arch NAME]... [--network NAME]... [--jobs N]

Prints a line a pair: cycles, the share of each cause, and ``ok``; ``infeasible`` where an architecture cannot do a
network (with the reason); ``refused`` where it needs another network file (trained floats on a sparse engine);
``BROKEN`` where a law does not hold or something else than a report came out. The exit status is 1 if anything is
broken. It takes some minutes, so CI runs only the small networks (tests/test_simulator.py).
"""

from __future__ import annotations

import argparse
import sys
import time
import traceback
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from itertools import product
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

from accelsim import InfeasibleError, InputError, catalogue, simulate
from accelsim.api import load_arch
from accelsim.arch.spec import RoofSpec
from accelsim.report.model import LayerResult, Result


class Row(NamedTuple):
    """What came of one pair."""

    network: str
    arch: str
    verdict: str
    cycles: int
    seconds: float
    note: str


def broken_laws(result: Result) -> Iterator[str]:
    """Every law that a layer of ``result`` breaks, in words. Nothing here calls the simulator's own checks."""
    for layer in result.layers:
        yield from (f"{layer.name}: {words}" for words in _broken(layer))
    if result.totals.cycles != sum(layer.cycles for layer in result.layers):
        yield "the total of cycles is not the sum of the layers'"
    if result.totals.busy_cycles + sum(result.totals.stall_cycles.values()) != result.totals.cycles:
        yield "the total of cycles is not busy and stalls"


def _broken(layer: LayerResult) -> Iterator[str]:
    if layer.busy_cycles + sum(layer.stall_cycles.values()) != layer.cycles:
        yield f"{layer.cycles} cycles, busy and stalls make {layer.busy_cycles + sum(layer.stall_cycles.values())}"
    if min(layer.busy_cycles, *layer.stall_cycles.values()) < 0:
        yield "a count of cycles is negative"
    if layer.dims and prod(layer.dims.values()) != layer.macs:
        yield f"{layer.macs} MACs, its dimensions make {prod(layer.dims.values())}"
    if layer.effective_macs > layer.cycles * layer.peak_macs_per_cycle:  # a sparse engine skips the others
        yield f"{layer.effective_macs} MACs do not fit {layer.cycles} cycles"
    if layer.busy_cycles == 0 and layer.macs:
        yield "MACs without a busy cycle"
    if layer.roofline.attained_gops > layer.roofline.roof_gops * (1 + 1e-12):
        yield f"attains {layer.roofline.attained_gops} Gop/s under a roof of {layer.roofline.roof_gops}"


def check(pair: tuple[str, str]) -> Row:
    """Run one pair."""
    network, arch = pair
    start = time.perf_counter()
    try:
        result = simulate(network, arch)
    except InfeasibleError as error:
        return Row(network, arch, "infeasible", 0, time.perf_counter() - start, str(error))
    except InputError as error:  # digits has trained floats, and a sparse engine's time depends on its integers
        return Row(network, arch, "refused", 0, time.perf_counter() - start, str(error))
    except Exception as error:  # whatever it is, it belongs in the table
        place = traceback.extract_tb(error.__traceback__)[-1]
        words = f"{type(error).__name__}: {error} ({Path(place.filename).name}:{place.lineno})"
        return Row(network, arch, "BROKEN", 0, time.perf_counter() - start, words)
    faults = list(broken_laws(result))
    note = "; ".join(faults[:5]) if faults else _shares(result)
    verdict = "BROKEN" if faults else "ok"
    return Row(network, arch, verdict, result.totals.cycles, time.perf_counter() - start, note)


def _shares(result: Result) -> str:
    total = max(1, result.totals.cycles)
    parts = {"busy": result.totals.busy_cycles, **result.totals.stall_cycles}
    return " ".join(f"{name} {100 * cycles / total:.0f}%" for name, cycles in parts.items() if cycles)


def runnable_archs() -> list[str]:
    """Every architecture shipped that runs anything: machines known by their roof alone are left out."""
    return [name for name in catalogue.names("arch_configs") if not isinstance(load_arch(name).engine, RoofSpec)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--arch", action="append", metavar="NAME")
    parser.add_argument("--network", action="append", metavar="NAME")
    parser.add_argument("--jobs", type=int, default=1, metavar="N")
    options: Any = parser.parse_args()
    pairs = list(product(options.network or catalogue.names("workloads"), options.arch or runnable_archs()))
    broken = 0
    print(f"{'network':<22}{'architecture':<18}{'verdict':<12}{'cycles':>16}{'seconds':>9}  shares or reason")
    with ProcessPoolExecutor(options.jobs) as pool:
        for row in pool.map(check, pairs):
            broken += row.verdict == "BROKEN"
            line = f"{row.network:<22}{row.arch:<18}{row.verdict:<12}{row.cycles:>16,}{row.seconds:>9.2f}  {row.note}"
            print(line, flush=True)
    print(f"{len(pairs)} pairs, {broken} broken")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
