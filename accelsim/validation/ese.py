"""ESE (Han et al., FPGA 2017): the theoretical time of its nine matrices exactly, and how the total is made
up.
"""

from __future__ import annotations

import numpy as np

from accelsim.api import load_arch, simulate
from accelsim.arch.spec import SparseSpec
from accelsim.engines.sparse import SparseEngine
from accelsim.formats import prune_balanced
from accelsim.validation.outcome import Outcome, Row, published_table
from accelsim.workload.precision import parse_format

ENTRY_BYTES = 2  # a weight of 12 bits and an index of 4
ACCUMULATOR = parse_format("int64")
TOTAL = "Total"


def validate() -> Outcome:
    """Matrices pruned to the published bytes, every PE alike; real times are context: their mechanism is not
    given.
    """
    arch = load_arch("ese")
    assert isinstance(arch.engine, SparseSpec)
    engine = SparseEngine(arch, arch.engine)
    rows: list[Row] = []
    sums = [0.0, 0.0]
    for published in published_table("ese_matrices"):
        if published["matrix"] == TOTAL:
            continue
        theoretical, real = _times_us(published, engine, arch.clock)
        name, ideal = published["matrix"], float(published["check_theoretical_us"])
        rows.append(Row(f"{name}, theoretical", ideal, round(theoretical, 4), "µs", 0.0, "derived"))
        rows.append(Row(f"{name}, real", float(published["real_us"]), round(real, 2), "µs", None, "recalled"))
        sums = [sums[0] + theoretical, sums[1] + real]
    total = next(row for row in published_table("ese_matrices") if row["matrix"] == TOTAL)
    elementwise = _elementwise_us(arch.clock)
    ideal, real = float(total["check_theoretical_us"]), float(total["real_us"])
    rows.append(Row("all matrices, theoretical", ideal, round(sums[0], 3), "µs", 0.0, "derived"))
    rows.append(Row("the whole step, real", real, round(sums[1] + elementwise, 1), "µs", None, "recalled"))
    return Outcome(
        "ese",
        "ESE's nine matrices and its LSTM step",
        "Han et al., FPGA 2017, table 5 (recalled; every theoretical time is bytes / 2 B / 32 PEs / 200 MHz)",
        rows,
        (
            "The matrices are random, pruned by magnitude so that each PE stores exactly the published "
            "bytes, padding zeros among them: the encoder's load-balance-aware pruning.",
            "Each real time has queues and empty columns in it; what else the published ones have, the "
            "sources do not say.",
            f"The element-wise part of the step, {elementwise:.2f} us after the matrices, follows from 512 lanes, an assumption.",
        ),
    )


def _times_us(published: dict[str, str], engine: SparseEngine, clock_hz: int) -> tuple[float, float]:
    """Theoretical and stepped time of one matrix, for a vector on each channel."""
    spec = engine.spec
    shape = int(published["rows"]), int(published["cols"])
    random = np.random.default_rng([*published["matrix"].encode()])
    keep = int(published["compressed_bytes"]) // ENTRY_BYTES // spec.pes
    dense = random.integers(-2047, 2048, shape)
    matrix = prune_balanced(dense, spec.pes, keep, index_bits=spec.index_bits)
    vectors = np.ones((1, shape[1]), np.int64)  # all channels alike: every column is broadcast
    _, tally = engine.product(matrix.to_dense(), vectors, None, ACCUMULATOR)
    return tally.count("entries") / spec.pes / clock_hz * 1e6, tally.cycles / clock_hz * 1e6


def _elementwise_us(clock_hz: int) -> float:
    result = simulate("ese_lstm_matrices", "ese")
    return sum(layer.cycles for layer in result.layers if layer.engine == "vector") / clock_hz * 1e6
