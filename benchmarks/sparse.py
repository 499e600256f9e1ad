"""EIE's nine layers at 64 PEs: the stepped and the event kernel against scipy's CSC mat-vec in float32.

The yardstick multiplies the same pruned matrix by the same vector, all non-zeros of it (scipy does not skip
zeros of the vector). Ratios of CPU time, one thread, best of several runs in one process. ``python
benchmarks/sparse.py``.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np
from scipy import sparse

from accelsim.engines.kernels import sparse as kernels
from accelsim.formats import Coo, InterleavedCsc

LAYERS = {  # in, out, weight density, activation density: eie_layers.csv
    "Alex-6": (9216, 4096, 0.09, 0.351),
    "Alex-7": (4096, 4096, 0.09, 0.353),
    "Alex-8": (4096, 1000, 0.25, 0.375),
    "VGG-6": (25088, 4096, 0.04, 0.183),
    "VGG-7": (4096, 4096, 0.04, 0.375),
    "VGG-8": (4096, 1000, 0.23, 0.411),
    "NT-We": (4096, 600, 0.10, 1.0),
    "NT-Wd": (600, 8791, 0.11, 1.0),
    "NT-LSTM": (1201, 2400, 0.10, 1.0),
}
RUNS, PES = 7, 64


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
    values = rng.integers(1, 2048, len(key)).astype(np.int16) * rng.choice(
        np.array([-1, 1], np.int16), len(key)
    )
    matrix = Coo((outputs, inputs), key // inputs, key % inputs, values)
    vector = np.where(rng.random(inputs) < density, rng.integers(1, 2048, inputs), 0)
    return matrix, vector.astype(np.int64)


class Layer:
    """One layer, ready for both kernels and for scipy."""

    def __init__(self, shape: tuple[int, int, float, float]) -> None:
        matrix, self.vector = random_layer(shape, 1)
        self.packed = InterleavedCsc.encode(matrix, PES, 4)
        depth = self.packed.depth
        self.pointers = self.packed.pointers().astype(np.int32)
        self.rows = np.empty(self.packed.entries, np.uint16)
        kernels.decode_rows(self.packed.starts, self.packed.zeros, PES, depth, self.rows)
        self.options = kernels.options_of(depth=depth, capacity=7, row_entries=8, pack=PES)
        self.sums, self.counts = np.zeros(PES * depth, np.int64), np.zeros(kernels.COUNT_FIELDS, np.int64)
        self.csc = sparse.csc_array(matrix.to_scipy("csc").astype(np.float32))
        self.x = self.vector.astype(np.float32)

    def multiply(self) -> object:
        return self.csc @ self.x

    def step(self) -> None:
        self._run(kernels.step, self.packed.zeros)

    def run_events(self) -> None:
        self._run(kernels.run_events, self.rows)

    def _run(self, kernel: Callable[..., None], indices: np.ndarray) -> None:
        self.counts[:] = 0
        kernel(
            self.vector, self.packed.starts, self.pointers, indices, self.packed.values,
            self.options, self.sums, self.counts,
        )  # fmt: skip


def main() -> None:
    """Print a row a layer, and the ratios over all nine."""
    total = np.zeros(3)
    print(f"{'layer':8} {'cycles':>8} {'us@800MHz':>9} {'scipy ms':>9} {'stepped':>8} {'events':>8}")
    for name, shape in LAYERS.items():
        layer = Layer(shape)
        layer.step()  # compiled, or loaded
        layer.run_events()
        seconds = np.array([best(run) for run in (layer.multiply, layer.step, layer.run_events)])
        total += seconds
        cycles = int(layer.counts[kernels.C_CYCLES])
        print(f"{name:8} {cycles:8d} {cycles / 800:9.2f} {_ratios(seconds)}")
    print(f"{'all nine':8} {'':8} {'':9} {_ratios(total)}")


def _ratios(seconds: np.ndarray) -> str:
    stepped, events = seconds[1:] / seconds[0]
    return f"{seconds[0] * 1e3:9.2f} {stepped:7.2f}x {events:7.2f}x"


if __name__ == "__main__":
    main()
