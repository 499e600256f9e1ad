"""The NFU's speed: products, trees and sums in registers, against numpy's float32 matrix-vector product.

    PYTHONPATH=. python benchmarks/nfu.py

Both run on one thread over the same matrix; the ratio is of CPU time, the least of several runs
(spec/speed.md).
"""

from __future__ import annotations

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
os.environ.setdefault("OMP_NUM_THREADS", "1")

import time
from collections.abc import Callable

import numpy as np

from accelsim.engines.kernels import nfu

ROUNDS = 15


def best(work: Callable[[], object]) -> float:
    """Least CPU seconds of `ROUNDS` runs, behind one that warms up."""
    work()
    times = []
    for _ in range(ROUNDS):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return min(times)


def ratio(outputs: int, inputs: int, ti: int, tn: int, **fixed: int) -> tuple[float, float, float]:
    """(NFU seconds, numpy seconds, their ratio) of a classifier layer of ``inputs`` x ``outputs``."""
    rng = np.random.default_rng(0)
    weights = rng.integers(-2000, 2000, (outputs // tn, inputs // ti, ti, tn)).astype(np.int16)
    vector = rng.integers(-2000, 2000, (1, inputs // ti, ti)).astype(np.int16)
    sums = np.zeros((1, outputs // tn, tn), np.int64)
    matrix = rng.normal(size=(outputs, inputs)).astype(np.float32)
    floats = rng.normal(size=inputs).astype(np.float32)
    ours = best(lambda: nfu.run_tile(vector, weights, sums, **fixed))
    yardstick = best(lambda: matrix @ floats)
    return ours, yardstick, ours / yardstick


def main() -> None:
    print(f"{'layer':>14} {'Ti x Tn':>8} {'arithmetic':>20} {'NFU ms':>8} {'GEMV ms':>8} {'ratio':>6}")
    truncated = {"product_shift": 10, "product_bits": 16, "product_mode": nfu.SATURATE}
    for outputs, inputs in ((4096, 4096), (4096, 25088), (1024, 1024)):
        for ti, tn in ((16, 16), (8, 64)):
            for name, fixed in (("16-bit products", truncated), ("exact products", {})):
                ours, yardstick, share = ratio(outputs, inputs, ti, tn, **fixed)
                print(
                    f"{outputs:>6} x {inputs:<5} {ti:>3} x {tn:<3} {name:>19} {ours * 1e3:8.2f}"
                    f" {yardstick * 1e3:8.2f} {share:6.2f}"
                )


if __name__ == "__main__":
    main()
