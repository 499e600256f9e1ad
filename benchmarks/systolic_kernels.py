"""How fast the systolic kernels are, as ratios measured in one run: python benchmarks/systolic_kernels.py

Yardsticks, each on one thread, measured beside the kernel that it is for, in CPU time, best of a few runs:
- values mode: numpy's float32 GEMM of the same layers (ResNet-50, batch 1, each layer as often as it occurs);
- one long os fold: a jitted elementwise pass `sums += a * b` over a grid of the array's size, in int32;
- cycles mode: values mode, which steps the same folds with data.
"""
# ruff: noqa: E402 (the threads must be pinned before numpy is imported)

from __future__ import annotations

import os

for _name in ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_name] = "1"

import argparse
import time
from collections.abc import Callable
from typing import Any

import numba
import numpy as np

from accelsim.engines.kernels import systolic

RESNET50 = [  # M output pixels, K window, N filters, how often
    (12544, 147, 64, 1),
    (3136, 64, 64, 1),
    (3136, 256, 64, 2),
    (3136, 576, 64, 3),
    (3136, 64, 256, 4),
    (3136, 256, 128, 1),
    (784, 1152, 128, 4),
    (784, 128, 512, 4),
    (784, 512, 128, 3),
    (784, 256, 512, 1),
    (784, 512, 256, 1),
    (196, 2304, 256, 6),
    (196, 256, 1024, 6),
    (196, 1024, 256, 5),
    (196, 512, 1024, 1),
    (196, 1024, 512, 1),
    (49, 4608, 512, 3),
    (49, 512, 2048, 3),
    (49, 2048, 512, 2),
    (49, 1024, 2048, 1),
    (1, 2048, 1000, 1),
]
GEMMS = {"os": systolic.os_gemm, "ws": systolic.ws_gemm}


def seconds(run: Callable[[], Any], times: int) -> float:
    """CPU seconds of the fastest of some runs."""
    best = float("inf")
    for _ in range(times):
        start = time.process_time()
        run()
        best = min(best, time.process_time() - start)
    return best


def cycles_mode(dataflow: str, size: int) -> None:
    """The timing of every distinct fold of ResNet-50."""
    options = systolic.fold_options()
    flow = {"os": systolic.OS, "ws": systolic.WS}[dataflow]
    for m, k, n, _ in RESNET50:
        height, vectors = (m, k) if dataflow == "os" else (k, m)
        for used_rows in {min(size, height), height % size or size}:
            for used_cols in {min(size, n), n % size or size}:
                systolic.fold_timing(flow, size, size, used_rows, used_cols, vectors, options)


def resnet50(size: int, dataflow: str, blocked: bool, times: int) -> tuple[float, float]:
    """(seconds of the kernel, seconds of numpy's GEMM) over all layers."""
    gemm, total, yardstick = GEMMS[dataflow], 0.0, 0.0
    rng = np.random.default_rng(0)
    for m, k, n, count in RESNET50:
        a, b = rng.integers(-128, 128, (m, k), np.int8), rng.integers(-128, 128, (k, n), np.int8)
        out = np.zeros((m, n), np.int32)
        wide_a, wide_b, product = a.astype(np.float32), b.astype(np.float32), np.zeros((m, n), np.float32)
        gemm(a[:1], b, out[:1], size, size, blocked=blocked)  # compiled and warm
        first = seconds(lambda: np.matmul(wide_a, wide_b, out=product), times)  # noqa: B023 (called at once)
        total += count * seconds(lambda: gemm(a, b, out, size, size, blocked=blocked), times)  # noqa: B023
        again = seconds(lambda: np.matmul(wide_a, wide_b, out=product), times)  # noqa: B023
        yardstick += count * min(first, again)
    return total, yardstick


@numba.njit(error_model="numpy")
def elementwise(sums: Any, a: Any, b: Any, passes: int) -> None:
    for _ in range(passes):
        for x in range(sums.size):
            sums[x] += a[x] * b[x]


def dense_fold(size: int, times: int) -> float:
    """Rate of a long os fold over the rate of elementwise passes; both in PE-cycles a second."""
    length = 2**26 // size**2
    a, b = np.ones((size, length), np.int8), np.ones((length, size), np.int8)
    out = np.zeros((size, size), np.int32)
    grids = [np.zeros(size * size, np.int32) for _ in range(3)]
    elementwise(*grids, 1)
    floor = seconds(lambda: elementwise(*grids, length), times)
    return floor / seconds(lambda: systolic.os_gemm(a, b, out, size, size), times)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--block", action="store_true", help="step several cycles a block")
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[128, 32], help="arrays of so many rows and columns"
    )
    parser.add_argument("--times", type=int, default=3, help="runs of which the best counts")
    arguments = parser.parse_args()
    times = arguments.times
    print(f"blocks of {systolic.BLOCK_CYCLES if arguments.block else 1} cycles; ResNet-50, int8, batch 1")
    print("array     flow  seconds   x GEMM   of floor   cycles mode faster by")
    for size in arguments.sizes:
        for dataflow in GEMMS:
            total, yardstick = resnet50(size, dataflow, arguments.block, times)
            dense = f"{dense_fold(size, times):10.2f}" if dataflow == "os" else " " * 10
            cycles_mode(dataflow, size)
            faster = total / seconds(lambda: cycles_mode(dataflow, size), times)  # noqa: B023 (called at once)
            ratios = f"{total:9.3f} {total / yardstick:8.2f} {dense} {faster:12.0f} x"
            print(f"{size:3} x {size:3} {dataflow:>4} {ratios}", flush=True)


if __name__ == "__main__":
    main()
