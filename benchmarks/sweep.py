"""Points per second of a sweep, against one process doing them one after the other; the store as it grows.

    python benchmarks/sweep.py                 # prints tables; ratios hold, absolute times are this machine's

Yardsticks: (1) `accelsim.simulate` in a loop, no store, no processes. (2) For tilings: simulating every legal one.
(3) For the store: the first thousand points.
"""

from __future__ import annotations

import argparse
import hashlib
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import accelsim
from accelsim.sweep.store import Entry, Outcome, Store

SPACE = {"arch.engine.rows": "8:256:8", "arch.engine.cols": "16:256:16"}  # enough that starting processes does not show
LAYER = {f"mapping.conv3_1.tile.{dim}": values for dim, values in {"K": "divisors", "C": "divisors"}.items()}


def seconds(work: Callable[[], Any]) -> tuple[float, Any]:
    """How long ``work`` takes, and what it returns."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result


def one_by_one(network: str, arch: str, table: accelsim.sweep.SweepTable, **options: Any) -> None:
    """Every point of ``table`` by `accelsim.simulate`."""
    for row in table.rows:
        accelsim.simulate(network, arch, overrides={key: row[key] for key in table.keys}, **options)


def points_per_second(jobs: int) -> None:
    for what, network, space in (
        ("array shapes, lenet5", "lenet5", SPACE),
        ("tile of one layer, vgg16", "vgg16", LAYER),
    ):
        accelsim.sweep(network, "tpu_v1", {key: [values[-1]] for key, values in _listed(space).items()})  # warm
        here, table = seconds(lambda n=network, s=space: accelsim.sweep(n, "tpu_v1", s))
        loop, _ = seconds(lambda n=network, t=table: one_by_one(n, "tpu_v1", t))
        with tempfile.TemporaryDirectory() as folder:
            store = Path(folder) / "s.db"
            pool, _ = seconds(lambda n=network, s=space, f=store: accelsim.sweep(n, "tpu_v1", s, jobs=jobs, store=f))
            again, _ = seconds(lambda n=network, s=space, f=store: accelsim.sweep(n, "tpu_v1", s, store=f))
        print(f"\n{what}: {len(table)} points")
        for name, taken in (
            ("simulate in a loop", loop),
            ("sweep", here),
            (f"sweep --jobs {jobs}", pool),
            ("again, from the store", again),
        ):
            print(f"  {name:<24}{taken:8.2f} s {len(table) / taken:10.0f} points/s {loop / taken:8.1f} x")


def _listed(space: dict[str, str]) -> dict[str, Any]:
    from accelsim.sweep.values import parse_values

    return {key: list(parse_values(values).items) or [1] for key, values in space.items()}


def tilings() -> None:
    """A layer's tilings with the bound, and what simulating all of them would take by the rate of some."""
    tile = {f"mapping.conv3_1.tile.{dim}": values for dim, values in {"R": [3], "S": [3]}.items()}
    print("\nall tilings of vgg16 conv3_1")
    for arch in ("tpu_v1", "eyeriss_like"):
        taken, table = seconds(lambda a=arch: accelsim.sweep("vgg16", a, tile, tilings="conv3_1"))
        counts = table.counts
        print(
            f"  {arch:<14}{counts['points']:>9,} points in {taken:.2f} s: {counts['simulated']:,} simulated, "
            f"{counts['bounded']:,} bounded away, {counts['illegal']:,} illegal; {counts['points'] / taken:,.0f} points/s"
        )


def store_growth(thousands: int) -> None:
    """Cost of adding and of looking up a point while the store grows."""
    metrics = {f"counter_{i}_cycles": i * 12345 for i in range(50)}
    print("\nthe store: microseconds a point, commits of 20 points")
    with tempfile.TemporaryDirectory() as folder, Store(Path(folder) / "s.db") as store:
        for thousand in range(thousands):
            keys = [hashlib.sha256(f"{thousand} {i}".encode()).digest() for i in range(1000)]
            outcome = Outcome("ok", "", metrics)
            entries = [Entry(key, "model", outcome, {"arch.engine.rows": 8}) for key in keys]
            added, _ = seconds(lambda e=entries: [store.add(e[i : i + 20]) for i in range(0, 1000, 20)])
            found, _ = seconds(lambda k=keys: store.get(k))
            if thousand + 1 in (1, 10, 30, 100, 300, 1000):
                size = sum(path.stat().st_size for path in Path(folder).iterdir()) / 1e6
                print(
                    f"  {(thousand + 1):>5},000 points, {size:7.1f} MB: add {added * 1e3:6.0f}, look up {found * 1e3:6.0f}"
                )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--thousands", type=int, default=100, help="of points in the store")
    options = parser.parse_args()
    points_per_second(options.jobs)
    tilings()
    store_growth(options.thousands)


if __name__ == "__main__":
    main()
