"""EIE's nine layers at 64 PEs: the stepped and the event kernel against scipy's CSC mat-vec in float32.

The yardstick multiplies the same pruned matrix by the same vector, all non-zeros of it (scipy does not skip zeros of
the vector). Ratios of CPU time, one thread, best of several runs in one process. ``python benchmarks/sparse.py``.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from scipy import sparse

from accelsim.engines.kernels import sparse as kernels
from accelsim.formats import Coo, InterleavedCsc

LAYERS = {  # in, out, weight density, activation density: eie_layers.csv
    "Alex-6": (9216, 4096, 0.09, 0.351), "Alex-7": (4096, 4096, 0.09, 0.353), "Alex-8": (4096, 1000, 0.25, 0.375),
    "VGG-6": (25088, 4096, 0.04, 0.183), "VGG-7": (4096, 4096, 0.04, 0.375), "VGG-8": (4096, 1000, 0.23, 0.411),
    "NT-We": (4096, 600, 0.10, 1.0), "NT-Wd": (600, 8791, 0.11, 1.0), "NT-LSTM": (1201, 2400, 0.10, 1.0),
}  # fmt: skip
RUNS = 7


def best(run: Callable[[], object]) -> float:
    """Shortest CPU time of `RUNS` runs, in seconds."""
    times = []
    for _ in range(RUNS):
        start = time.process_time()
        run()
        times.append(time.process_time() - start)
    return min(times)


def random_layer(shape: tuple[int, int, float, float], seed: int) -> tuple[Coo, np.ndarray]:
    """A matrix out x in and a vector with uniformly random places of the zeros."""
    inputs, outputs, weight_density, density = shape
    rng = np.random.default_rng(seed)
    key = np.flatnonzero(rng.random(inputs * outputs, dtype=np.float32) < weight_density)
    values = rng.integers(1, 2048, len(key)).astype(np.int16) * rng.choice(np.array([-1, 1], np.int16), len(key))
    matrix = Coo((outputs, inputs), key // inputs, key % inputs, values)
    vector = np.where(rng.random(inputs) < density, rng.integers(1, 2048, inputs), 0)
    return matrix, vector.astype(np.int64)


def main() -> None:
    """Print a row a layer, and the ratios over all nine."""
    total = np.zeros(3)
    print(f"{'layer':8} {'cycles':>8} {'us@800MHz':>9} {'scipy ms':>9} {'stepped':>8} {'events':>8}")
    for name, shape in LAYERS.items():
        matrix, vector = random_layer(shape, 1)
        packed = InterleavedCsc.encode(matrix, 64, 4)
        pointers = packed.pointers().astype(np.int32)
        rows = np.empty(packed.entries, np.uint16)
        kernels.decode_rows(packed.starts, packed.zeros, 64, packed.depth, rows)
        options = kernels.options_of(depth=packed.depth, capacity=7, row_entries=8, pack=64)
        csc = sparse.csc_array(matrix.to_scipy("csc").astype(np.float32))
        x = vector.astype(np.float32)
        sums, counts = np.zeros(64 * packed.depth, np.int64), np.zeros(kernels.COUNT_FIELDS, np.int64)

        def run(
            kernel: Callable[..., None], indices: np.ndarray, packed: InterleavedCsc = packed,
            args: tuple[np.ndarray, ...] = (vector, packed.starts, pointers),
            rest: tuple[np.ndarray, ...] = (packed.values, options, sums, counts),
        ) -> None:  # fmt: skip
            counts[:] = 0
            kernel(*args, indices, *rest)

        pair = ((kernels.step, packed.zeros), (kernels.run_events, rows))
        for kernel, indices in pair:
            run(kernel, indices)  # compiled, or loaded
        seconds = np.array([best(lambda m=csc, v=x: m @ v), *(best(lambda p=p, r=run: r(*p)) for p in pair)])
        total += seconds
        cycles = int(counts[kernels.C_CYCLES])
        ratios = seconds / seconds[0]
        print(f"{name:8} {cycles:8d} {cycles / 800:9.2f} {seconds[0] * 1e3:9.2f} {ratios[1]:7.2f}x {ratios[2]:7.2f}x")
    ratios = total / total[0]
    print(f"{'all nine':8} {'':8} {'':9} {total[0] * 1e3:9.2f} {ratios[1]:7.2f}x {ratios[2]:7.2f}x")


if __name__ == "__main__":
    main()
