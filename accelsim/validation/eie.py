"""EIE (Han et al., ISCA 2016): its nine layers at the published densities, and what queue, PEs and widths do
to them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from accelsim.api import load_arch
from accelsim.arch.spec import SparseSpec
from accelsim.engines.sparse import SparseEngine
from accelsim.formats import Coo
from accelsim.validation.outcome import Outcome, Row, published_table
from accelsim.workload.precision import parse_format

SEEDS = (0, 1, 2)
BROADCAST_BOUND = "NT-We"  # less than an entry for each PE and column
SWEPT = "Alex-7"  # whose queue, PEs and widths are swept
DEPTHS = (1, 2, 4, 8, 16, 256)
PES = (1, 2, 4, 8, 16, 32, 64, 128, 256)
WIDTHS = (32, 64, 128, 256, 512)
ACTUAL_BOUND, GAP_BOUND = 0.06, 0.05
FAR = {
    "VGG-6": "the trained matrix' zeros are skewed",
    "Alex-8": "uniform zeros need less padding than the trained ones",
    "NT-LSTM": "uniform zeros need less padding than the trained ones",
}
ACCUMULATOR = parse_format("int64")


def validate() -> Outcome:
    """The actual times that uniformly random zeros can reach are judged, and the gap of the layer that
    broadcasts bind.
    """
    rows: list[Row] = []
    for published in published_table("eie_layers"):
        if not published["in_dim"]:
            continue
        rows += _layer_rows(published)
    return Outcome(
        "eie",
        f"EIE's nine layers, mean of {len(SEEDS)} seeds",
        "Han et al., ISCA 2016, table IV",
        rows,
        (
            "The places of the zeros are uniformly random, not those of the trained networks: the densities "
            "are published (to a percent, so 9 % is 8.5 to 9.5), the matrices are not.",
            *_sweeps(),
        ),
    )


def random_layer(published: dict[str, str], seed: int) -> tuple[Coo, np.ndarray]:
    """A matrix out x in and a vector of the published densities; gaps between non-zeros are geometric."""
    random = np.random.default_rng([seed, *published["layer"].encode()])
    outputs, inputs = int(published["out_dim"]), int(published["in_dim"])
    places = _places(random, outputs * inputs, float(published["weight_density_pct"]) / 100)
    values = random.integers(1, 16, len(places)).astype(np.int16)
    vector = np.zeros(inputs, np.int64)
    there = _places(random, inputs, float(published["act_density_pct"]) / 100)
    vector[there] = random.integers(1, 256, len(there))
    return Coo((outputs, inputs), places // inputs, places % inputs, values), vector


def _places(random: np.random.Generator, size: int, density: float) -> np.ndarray:
    if density >= 1:
        return np.arange(size)
    room = int(size * density + 10 * np.sqrt(size * density) + 100)
    places = np.cumsum(random.geometric(density, room)) - 1
    return np.asarray(places[places < size])


def run(matrix: Coo, vector: np.ndarray, **options: object) -> dict[str, int]:
    """Cycles and counts of one product on eie.yaml with ``options`` in its engine block."""
    arch = load_arch("eie", overrides={f"arch.engine.{key}": value for key, value in options.items()})
    assert isinstance(arch.engine, SparseSpec)
    _, tally, size = SparseEngine(arch, arch.engine).product(matrix, vector[None], None, ACCUMULATOR)
    counted = {
        name: tally.count(name)
        for name in ("cycles", "entries", "padding", "macs", "row_reads", "broadcasts")
    }
    return {**counted, "busiest": tally.longest_pe, "stored_padding_bits": size.padding_bits}


def _layer_rows(published: dict[str, str]) -> list[Row]:
    name = published["layer"]
    results = [run(*random_layer(published, seed)) for seed in SEEDS]
    theoretical = float(np.mean([r["entries"] for r in results])) / 64 / 800
    actual = float(np.mean([r["cycles"] for r in results])) / 800
    note = FAR.get(name, "")
    bound = None if note else ACTUAL_BOUND
    rows = [
        Row(
            f"{name}, theoretical",
            float(published["eie_theoretical_us"]),
            round(theoretical, 2),
            "us",
            note=note,
        ),
        Row(f"{name}, actual", float(published["eie_actual_us"]), round(actual, 2), "us", bound, note=note),
    ]
    if name == BROADCAST_BOUND:
        gap = float(published["gap_actual_over_theo"])
        rows.append(
            Row(f"{name}, actual over theoretical", gap, round(actual / theoretical, 3), "", GAP_BOUND)
        )
    return rows


def _sweeps() -> Sequence[str]:
    published = next(row for row in published_table("eie_layers") if row["layer"] == SWEPT)
    matrix, vector = random_layer(published, 0)
    depth = [(d, run(matrix, vector, fifo_depth=d, queue="full")) for d in DEPTHS]
    pes = [(n, run(matrix, vector, pes=n)) for n in PES]
    width = [(w, run(matrix, vector, entry_word_bits=w)) for w in WIDTHS]
    alone = pes[0][1]["cycles"]
    return (
        f"{SWEPT}, entries a queue holds: entries a PE over cycles "
        + ", ".join(f"{d}: {r['entries'] / 64 / r['cycles']:.1%}" for d, r in depth),
        f"{SWEPT}, PEs: speed-up, padding, imbalance (busiest PE over the mean) "
        + ", ".join(
            f"{n}: {alone / r['cycles']:.1f}x {r['padding'] / r['entries']:.0%} "
            f"{r['busiest'] * n / r['entries']:.2f}"
            for n, r in pes
        ),
        f"{SWEPT}, bits of an entry row: rows read " + ", ".join(f"{w}: {r['row_reads']}" for w, r in width),
    )
