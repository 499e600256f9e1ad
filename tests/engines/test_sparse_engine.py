"""The sparse engine on whole layers: bit for bit the reference, the same counters in both modes, honest
refusals.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from accelsim.api import load_arch, load_network, simulate_full
from accelsim.arch.spec import SparseSpec
from accelsim.engines.sparse import SparseEngine, Tally
from accelsim.errors import AccelsimError, InfeasibleError, InputError
from accelsim.mapping.mapping import EMPTY
from accelsim.report.explain import explain
from accelsim.workload import functional
from accelsim.workload.precision import parse_format

HEAD = "schema: accelsim.network/1\nname: t\nbatch: {batch}\nprecision: {{weight: int8, input: int8, "
HEAD += "accumulator: int32, output: {output}}}\nlayers:\n"
NETWORKS = {
    "linear": "- {name: a, op: linear, in: 100, out: 50, weight: {density: 0.2}}\n- {name: r, op: relu}\n"
    "- {name: b, op: linear, out: 30, weight: {density: 0.3}}\n",
    "conv": "- {name: c, op: conv2d, shape: [3, 9, 9], K: 8, R: 3, S: 3, pad: 1, stride: 2}\n"
    "- {name: r, op: relu}\n"
    "- {name: p, op: maxpool2d, window: 2, stride: 2}\n"
    "- {name: c2, op: conv2d, K: 8, R: 1, S: 1, groups: 2}\n"
    "- {name: f, op: linear, out: 5}\n",
    "lstm": "- {name: l, op: lstm, shape: [3, 12], hidden: 16, projection: 8, peepholes: true, "
    "weight: {density: 0.3}}\n",
    "matmul": "- {name: g, op: matmul, M: 12, N: 7, K: 9, after: []}\n",
}


def _network(folder: Path, layers: str, batch: int = 2, output: str = "int8") -> Any:
    path = folder / "network.yaml"
    path.write_text(HEAD.format(batch=batch, output=output) + layers)
    return load_network(path)


def _as_reference(network: Any, arch: Any, **options: Any) -> Any:
    """Run in both modes; check outputs and counters. Returns the values run."""
    run = simulate_full(network, arch, values=True, seed=3, **options)
    reference = functional.run_reference(network, 3)
    for name, output in run.outputs.items():
        expected = reference[name]
        assert np.array_equal(output, expected[0] if isinstance(expected, tuple) else expected), name
    control = simulate_full(network, arch, seed=3, **options)
    assert [r.counters for r in control.runs] == [r.counters for r in run.runs]
    assert all(r.outputs is None for r in control.runs)
    return run


@pytest.mark.parametrize("arch", ["eie", "ese"])
@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_are_the_reference(tmp_path: Path, name: str, arch: str) -> None:
    _as_reference(_network(tmp_path, NETWORKS[name]), arch)


@pytest.mark.parametrize("pes", [1, 3, 256])
@pytest.mark.parametrize("passes", ["overlapped", "drained"])
def test_pes_and_passes_change_time_not_values(tmp_path: Path, pes: int, passes: str) -> None:
    network = _network(tmp_path, NETWORKS["linear"])
    options = {"arch.engine.pes": pes, "arch.engine.passes": passes, "arch.engine.register_entries": 8}
    _as_reference(network, "eie", overrides=options)


def test_drained_passes_take_longer(tmp_path: Path) -> None:
    network = _network(tmp_path, NETWORKS["linear"], batch=1)
    options = {"arch.engine.pes": 4, "arch.engine.register_entries": 8}
    cycles = [
        simulate_full(network, "eie", overrides={**options, "arch.engine.passes": p}).result.totals.cycles
        for p in ("overlapped", "drained")
    ]
    assert cycles[0] < cycles[1]


class TestFiles:
    def _files(self, folder: Path, weight: Any, bias: bool = False) -> Any:
        rng = np.random.default_rng(0)
        np.save(folder / "x.npy", np.where(rng.random(90) < 0.5, rng.integers(1, 99, 90), 0))
        np.save(folder / "b.npy", rng.integers(-99, 99, 60))
        np.save(folder / "book.npy", np.array([0, 5, -7, 100, 3]))
        np.savez(folder / "w.npz", weight)
        codebook = ", codebook: book.npy" if weight.max() < 5 else ""
        text = f"- {{name: f, op: linear, in: 90, out: 60, after: [], weight: {{file: w.npz{codebook}}}, "
        text += "input: {file: x.npy}" + (", bias: {file: b.npy}" if bias else "") + "}\n"
        return _network(folder, text, batch=1, output="int32")

    def _weight(self, most: int) -> Any:
        rng = np.random.default_rng(1)
        return np.where(rng.random((60, 90)) < 0.2, rng.integers(1, most, (60, 90)), 0)

    @pytest.mark.parametrize("bias", [False, True])
    @pytest.mark.parametrize("most", [5, 100])
    def test_weights_codebook_input_and_bias(self, tmp_path: Path, most: int, bias: bool) -> None:
        run = _as_reference(self._files(tmp_path, self._weight(most), bias), "eie").runs[0]
        counts = run.counters.unit_counts
        x = np.load(tmp_path / "x.npy")
        assert counts["broadcasts"] == np.count_nonzero(x) + bias
        assert counts["pointer_reads"] == 64 * counts["broadcasts"]
        assert run.counters.effective_macs == np.count_nonzero(self._weight(most)[:, x != 0])

    def test_a_bias_on_a_dense_matrix_adds_no_macs(self, tmp_path: Path) -> None:
        rng = np.random.default_rng(2)
        run = _as_reference(self._files(tmp_path, rng.integers(5, 99, (60, 90)), bias=True), "eie").runs[0]
        x = np.load(tmp_path / "x.npy")
        assert run.counters.effective_macs == 60 * np.count_nonzero(x)

    def test_a_codebook_that_is_too_small(self, tmp_path: Path) -> None:
        network = self._files(tmp_path, self._weight(5))
        with pytest.raises(InfeasibleError, match=r"4 values and the padding zeros' 0, there is 4 entries"):
            simulate_full(network, "eie", overrides={"arch.engine.weight_bits": 2})

    def test_files_that_are_wrong(self, tmp_path: Path) -> None:
        network = self._files(tmp_path, self._weight(100))
        np.savez(tmp_path / "w.npz", np.full((60, 90), np.nan))
        with pytest.raises(InputError, match="nan"):
            simulate_full(network, "eie")


def test_counters_hold_together(tmp_path: Path) -> None:
    run = simulate_full(_network(tmp_path, NETWORKS["linear"], batch=1), "eie").runs[0]
    counters, counts = run.counters, run.counters.unit_counts
    assert counters.cycles == counters.busy_cycles + counters.stalls.total()
    assert counters.cycles == sum(counters.port_cycles.values())
    assert counts["entries"] - counts["padding_zeros"] == counters.effective_macs
    rows = counters.traffic["spmat"]
    assert rows["weight"].read_bits + rows["index"].read_bits == 64 * counts["row_fetches"]
    assert counters.traffic["pointers"]["index"].read_bits == 2 * 16 * counts["pointer_reads"]
    assert "host" in counters.traffic
    assert "weight" not in counters.traffic["host"]  # the compressed weights are there before


def test_weights_that_do_not_fit_come_from_off_chip(tmp_path: Path) -> None:
    network = _network(tmp_path, NETWORKS["linear"], batch=1)
    run = simulate_full(network, "eie", overrides={"arch.memory.3.size": "64 B"}).runs[0]
    assert run.counters.traffic["host"]["weight"].read_bits > 0


def test_weights_load_while_another_matrix_computes(tmp_path: Path) -> None:
    network = _network(tmp_path, NETWORKS["lstm"], batch=1)
    waits = [
        simulate_full(network, "ese", overrides={"arch.memory.0.bandwidth": rate}).runs[0].counters.stalls.memory
        for rate in ("64 B/cycle", "2 B/cycle")
    ]
    assert 0 < waits[0] < waits[1]


FETCHED = "- {name: f, op: linear, in: 40, out: 50, bias: false, weight: {density: 0.5}}\n"


def _fetched_bits(network: Any, arch: Any) -> tuple[int, int]:
    """Bits of weights, indices and pointers from off chip, and those that are stored."""
    layer = simulate_full(network, arch).result.layers[0]
    far = layer.traffic_bytes.get("dram" if arch.name == "ese" else "host", {})
    read = sum(far[tensor].read for tensor in ("weight", "index") if tensor in far)
    assert layer.weights is not None
    return round(8 * read), layer.weights.stored_bits


@pytest.mark.parametrize(("batch", "groups"), [(1, 1), (32, 1), (33, 2), (64, 2), (65, 3)])
def test_weights_that_do_not_fit_come_again_for_every_group_of_channels(tmp_path: Path, batch: int, groups: int) -> None:
    """ESE has 32 channels: 33 vectors are two groups, and a buffer that holds less than the matrix has lost its beginning."""
    network = _network(tmp_path, FETCHED, batch)
    small = load_arch("ese", overrides={"arch.memory.weights.size": "1 KiB"})
    fetched, stored = _fetched_bits(network, small)
    assert stored > 8 * 1024
    assert fetched == groups * stored
    assert _fetched_bits(network, load_arch("ese"))[0] == stored


def test_a_matrix_that_streams_takes_its_time_for_every_group(tmp_path: Path) -> None:
    """At a byte a cycle the port is busy all the time: three times the matrix, the vectors and their results."""
    small = {"arch.memory.weights.size": "1 KiB", "arch.memory.dram.bandwidth": "1 B/cycle"}
    run = simulate_full(_network(tmp_path, FETCHED, 96), load_arch("ese", overrides=small)).result.layers[0]
    assert run.weights is not None
    assert run.cycles == 3 * run.weights.stored_bits // 8 + 96 * (40 + 50)


def test_a_preloaded_memory_holds_the_first_layers_that_fit_together(tmp_path: Path) -> None:
    text = FETCHED + FETCHED.replace("name: f, op: linear, in: 40", "name: g, op: linear")
    network = _network(tmp_path, text, 1)
    parts = [run.counters.unit_counts for run in simulate_full(network, "eie").runs]
    for more, fetched in ((0, False), (1, True)):  # room for both to the byte, and a byte less
        both = sum(-(-sum(p[f"stored_{name}_bits"] for name in ("value", "index", "padding")) // 8) for p in parts)
        runs = simulate_full(network, "eie", overrides={"arch.memory.spmat.size": f"{both - more} B"}).runs
        assert "weight" not in runs[0].counters.traffic["host"]
        assert ("weight" in runs[1].counters.traffic.get("host", {})) == fetched


@pytest.mark.parametrize("steps", [1, 2, 7])
def test_an_lstm_has_one_recurrent_matrix(tmp_path: Path, steps: int) -> None:
    """However many steps it takes: stored once, resident if it fits, else fetched again in each."""
    text = f"- {{name: f, op: lstm, shape: [{steps}, 24], hidden: 20, bias: false, weight: {{density: 0.4}}}}\n"
    network = _network(tmp_path, text, 1)
    fetched, stored = _fetched_bits(network, load_arch("eie"))
    single = _fetched_bits(_network(tmp_path, text.replace(f"[{steps},", "[1,"), 1), load_arch("eie"))[1]
    assert (fetched, stored) == (0, single)
    assert _fetched_bits(network, load_arch("ese"))[0] == _fetched_bits(network, load_arch("ese"))[1]
    tiny = load_arch("ese", overrides={"arch.memory.weights.size": "512 B"})
    again, held = _fetched_bits(network, tiny)
    assert (again > held) == (steps > 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"fifo_depth": 1}, "full one short"),
        ({"entry_word_bits": 4}, "must hold an entry"),
        ({"index_bits": 17}, "16"),
        ({"pes": 0}, "pes"),
    ],
)
def test_specs_that_make_no_sense(options: dict[str, Any], message: str) -> None:
    with pytest.raises(AccelsimError, match=message):
        load_arch("eie", overrides={f"arch.engine.{key}": value for key, value in options.items()})


def test_a_float_network_runs_at_the_engines_precision(tmp_path: Path) -> None:
    path = tmp_path / "network.yaml"
    path.write_text(
        "schema: accelsim.network/1\nname: t\n"
        "precision: {weight: fp32, input: fp32, accumulator: fp32, output: fp32}\n"
        "layers:\n- {name: a, op: linear, in: 4, out: 4}\n"
    )
    run = simulate_full(load_network(path), "eie")
    assert run.result.layers[0].precision.weight == "int16"


# ---- a register-level simulator's counts


REGISTER_LEVEL = list(csv.DictReader(Path(__file__).with_name("eie_register_level.csv").read_text().splitlines()))


def _given(case: dict[str, str]) -> tuple[Any, Any, Any]:
    """The matrix, the vector and the bias (or None) of a row of eie_register_level.csv."""
    rng = np.random.default_rng(int(case["seed"]))
    shape = int(case["rows"]), int(case["columns"])
    there = rng.random(shape) < float(case["weight_density"])
    weight = np.where(there, rng.integers(1, 8, shape) * rng.choice([-1, 1], shape), 0)
    nonzero = rng.random(shape[1]) < float(case["input_density"])
    x = np.where(nonzero, rng.integers(1, 50, shape[1]), 0)
    return weight, x, rng.integers(-7, 8, shape[0]) if int(case["bias"]) else None


@pytest.mark.parametrize("case", REGISTER_LEVEL, ids=lambda case: case["seed"])
def test_eie_counts_as_the_authors_registers_do(tmp_path: Path, case: dict[str, str]) -> None:
    """The counts were made by compiling the authors' public C++ simulator and clocking it until all is at rest.

    By itself it stops in the first cycle in which no PE writes once the last pack is taken (`stopped_at`): in a
    third of these cases before all sums are made. Ours are the cycles until they are.
    """
    weight, x, bias = _given(case)
    for name, array in (("w", weight), ("x", x), ("b", bias)):
        np.save(tmp_path / f"{name}.npy", np.zeros(0) if array is None else array)
    text = f"- {{name: f, op: linear, in: {weight.shape[1]}, out: {weight.shape[0]}, after: [], "
    text += "weight: {file: w.npy}, input: {file: x.npy}" + (", bias: {file: b.npy}}\n" if bias is not None else "}\n")
    keys = ("pes", "fifo_depth", "entry_word_bits", "index_bits")
    options = {f"arch.engine.{key}": int(case[key]) for key in keys}
    run = simulate_full(_network(tmp_path, text, 1, "int32"), "eie", values=True, overrides=options)
    counters = run.runs[0].counters
    assert counters.cycles == int(case["cycles"]) >= int(case["stopped_at"])
    assert counters.unit_counts["pointer_reads"] == int(case["pointer_reads"])
    assert counters.unit_counts["row_fetches"] == int(case["row_reads"])
    assert np.array_equal(run.outputs["f"][0], weight @ x + (0 if bias is None else bias))


# ---- many vectors at once


@pytest.mark.parametrize("seed", range(6))
def test_every_entry_reads_its_sum_but_the_first_of_a_row(seed: int) -> None:
    """With 8-bit indices there are no padding zeros: the entries are the non-zeros of the columns that are broadcast."""
    rng = np.random.default_rng(seed)
    matrix = np.where(rng.random((90, 12)) < 0.05 * (1 + seed), rng.integers(1, 9, (90, 12)), 0)
    vectors = np.where(rng.random((3, 12)) < 0.6, rng.integers(1, 9, (3, 12)), 0)
    arch = load_arch("eie", overrides={"arch.engine.index_bits": 8, "arch.engine.pes": 4})
    assert isinstance(arch.engine, SparseSpec)
    _, tally = SparseEngine(arch, arch.engine).product(matrix, vectors, None, parse_format("int32"))
    taken = [(matrix[:, vector != 0] != 0).sum(axis=1) for vector in vectors]
    assert tally.count("entries") == sum(int(row.sum()) for row in taken)
    assert tally.first_writes == sum(int((row > 0).sum()) for row in taken)


def _tallied(tally: Tally) -> tuple[Any, ...]:
    return (*tally.record.tolist(), tally.products, tally.longest_pe, tally.switching_cycles, tally.scanned, tally.first_writes)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("options", [{}, {"skip_zeros": False}, {"passes": "drained", "register_entries": 4}])
def test_vectors_together_count_as_one_by_one(channels: int, options: dict[str, Any]) -> None:
    rng = np.random.default_rng(channels)
    arch = load_arch("eie", overrides={f"arch.engine.{k}": v for k, v in {"pes": 4, **options}.items()})
    assert isinstance(arch.engine, SparseSpec)
    for accumulator in map(parse_format, ("int32", "int8")):  # the second overflows, and saturates
        shape = int(rng.integers(1, 40)), int(rng.integers(1, 40))
        matrix = np.where(rng.random(shape) < 0.3, rng.integers(-9, 10, shape), 0)
        vectors = np.where(rng.random((7, shape[1])) < 0.5, rng.integers(-9, 10, (7, shape[1])), 0)
        bias = rng.integers(-5, 6, shape[0]) if rng.random() < 0.5 else None
        spec = arch.engine.model_copy(update={"channels": channels})
        sums, tally = SparseEngine(arch, spec).product(matrix, vectors, bias, accumulator)
        singly = [
            SparseEngine(arch, spec).product(matrix, vectors[i : i + channels], bias, accumulator)
            for i in range(0, 7, channels)
        ]
        assert np.array_equal(sums, np.concatenate([one for one, _ in singly]))
        assert _tallied(tally) == tuple(np.sum([_tallied(one) for _, one in singly], axis=0))


def test_a_matrix_of_zeros_with_a_bias(tmp_path: Path) -> None:
    np.save(tmp_path / "w.npy", np.zeros((5, 6), int))
    np.save(tmp_path / "b.npy", np.arange(5))
    text = "- {name: f, op: linear, in: 6, out: 5, weight: {file: w.npy}, bias: {file: b.npy}}\n"
    run = _as_reference(_network(tmp_path, text, 1, "int32"), "eie")
    assert run.outputs["f"].tolist() == [[0, 1, 2, 3, 4]]
    assert run.runs[0].counters.effective_macs == 0


# ---- what a mapping may ask for


@pytest.mark.parametrize("key", ["a.tile.K", "default.unroll.C", "a.dataflow", "b.order"])
def test_tiles_and_loops_are_refused(tmp_path: Path, key: str) -> None:
    value = {"dataflow": "ws", "order": "K C"}.get(key.rpartition(".")[2], 2)
    with pytest.raises(InputError, match=rf"{key.split('.')[0]}.*sparse engine, which has no tiles"):
        simulate_full(_network(tmp_path, NETWORKS["linear"]), "eie", overrides={f"mapping.{key}": value})


def test_a_default_may_be_for_another_architecture(tmp_path: Path) -> None:
    network = _network(tmp_path, NETWORKS["linear"])
    options = {"mapping.default.dataflow": "ws", "mapping.b.engine": "eie"}
    run = simulate_full(network, "tpu_v1", overrides=options)
    rows = {layer.name: (layer.machine, run.result.machine_of(layer)) for layer in run.result.layers}
    assert rows["a"] == ("", "tpu_v1")
    assert rows["b"] == ("eie", "eie")
    assert run.result.off_chip_traffic(run.result.layer("b")).total > 0
    assert " on " in run.result.summary(120).splitlines()[0]


def test_explain_shows_what_the_pes_hold_and_who_has_most_to_do(tmp_path: Path) -> None:
    network, arch = _network(tmp_path, NETWORKS["linear"], batch=1), load_arch("eie")
    text = explain(network, network.layer("a"), arch, EMPTY)
    counts = simulate_full(network, arch).runs[0].counters.unit_counts
    lines = {line.split("  ")[1].strip(): line for line in text.splitlines() if line.startswith("  ")}
    assert "1 product of a compressed matrix and a vector, on 64 PEs with a queue of 7 each:" in text
    assert f" {counts['entries']:,} " in lines["entries"]
    ratio = counts["entries_of_the_busiest_pe"] * 64 / counts["entries"]
    assert f"{ratio:.3g}"[:4] in lines["busiest PE"]
    assert f" {counts['row_fetches']:,} " in lines["rows fetched"]


# ---- sigmoid and tanh by tables


def test_tables_of_samples_are_the_functions_once_they_are_fine(tmp_path: Path) -> None:
    network = _network(tmp_path, NETWORKS["lstm"])
    exact = simulate_full(network, "ese", values=True).outputs["l"]

    def tabled(points: int) -> Any:
        options = {"arch.engine.tables": {"points": points, "sigmoid_reach": 8, "tanh_reach": 8}}
        return simulate_full(network, "ese", values=True, overrides=options).outputs["l"]

    assert np.array_equal(tabled(1 << 16), exact)
    assert not np.array_equal(tabled(16), exact)
