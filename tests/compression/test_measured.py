"""What compression buys, measured: AlexNet at Deep Compression's densities, several machines, compare on two results."""

from __future__ import annotations

from pathlib import Path

import pytest

from accelsim.api import load_arch, load_network, simulate
from accelsim.cli import main
from accelsim.compression.compress import Compression, compress
from accelsim.report.difference import compare_measures
from accelsim.report.model import Result

ROOT = Path(__file__).parents[2]
DIGITS = ROOT / "docs" / "examples" / "digits_8bit.recipe.yaml"
ALEXNET = ROOT / "docs" / "examples" / "alexnet_deep_compression.recipe.yaml"
DENSITY = {"conv1": 84, "conv2": 38, "conv3": 35, "conv4": 37, "conv5": 37, "fc6": 9, "fc7": 9, "fc8": 25}


@pytest.fixture(scope="module")
def digits() -> Compression:
    return compress("digits", DIGITS)


def test_compare_finds_what_compress_measures(digits: Compression) -> None:
    """Two results alone give the ratios that compress gives; the index space is the machine's, here that of EIE."""
    run = digits.simulated("eie")
    whole, layers = compare_measures(run.original, run.compressed)
    assert whole.macs == pytest.approx(run.whole.macs, rel=0.02)  # the 8-bit original has a few weights of zero
    assert whole.parameters == pytest.approx(run.whole.parameters, rel=0.02)
    assert (whole.latency, whole.energy) == (run.whole.latency, run.whole.energy)
    assert layers.keys() == run.layers.keys() == {"conv1", "conv2", "fc1", "fc2"}
    assert layers["fc1"].latency == run.layers["fc1"].latency


def test_original_and_compressed_are_counted_once_for_all_machines(digits: Compression) -> None:
    sparse, dense = digits.simulated("eie"), digits.simulated("tpu_v1")
    for name in ("accuracy", "parameters", "macs", "index_space"):
        assert getattr(sparse.whole, name) == getattr(dense.whole, name)
    assert dense.whole.latency == 1


def test_an_algorithm_of_convolution_counts_with_its_layer(tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        "schema: accelsim.recipe/1\npasses:\n  - {kind: algorithm, conv2d: winograd_f2x2}\n  - {kind: quantize}\n",
        encoding="utf-8",
    )
    wide = load_arch("gemmini_16x16", overrides={"arch.engine.precision.int16": 1})  # for the transformed numbers
    run = compress("digits", recipe).simulated(wide)
    parts = [layer for layer in run.compressed.layers if layer.name.startswith("conv2")]
    assert len(parts) > 1
    before = run.original.layer("conv2").seconds
    assert run.layers["conv2"].latency == pytest.approx(sum(part.seconds for part in parts) / before)


@pytest.mark.slow
def test_compare_prints_the_six_measures_of_labelled_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A compressed and an uncompressed network on the same pictures with their labels, each written and run."""
    recipe = tmp_path / "plain.recipe.yaml"
    text = DIGITS.read_text(encoding="utf-8").replace("../../workloads", str(ROOT / "workloads"))
    recipe.write_text(text.split("passes:")[0].replace("inputs: 100", "") + "passes:\n  - {kind: quantize}\n", encoding="utf-8")
    data = f"{ROOT / 'workloads' / 'digits_data.npz'}:test_"
    for name, made in (("plain", recipe), ("small", DIGITS)):
        compress("digits", made, tmp_path / f"{name}.yaml")
        run = ["simulate", str(tmp_path / f"{name}.yaml"), "--arch", "tpu_v1", "--values", "--out", str(tmp_path / name)]
        assert main([*run, "--input", f"{data}images", "--labels", f"{data}labels"]) == 0
    capsys.readouterr()
    assert main(["compare", str(tmp_path / "plain"), str(tmp_path / "small")]) == 0
    shown = capsys.readouterr().out
    assert "/ first  accuracy" in shown
    assert "not known" not in shown
    ratio = float(next(line for line in shown.splitlines() if line.startswith("network  ")).split()[1])
    accuracy = [Result.read(tmp_path / name).accuracy or 0 for name in ("plain", "small")]
    assert ratio == pytest.approx(accuracy[1] / accuracy[0], abs=5e-4)
    assert 0.95 < ratio < 1


@pytest.mark.slow
def test_the_densities_of_deep_compression_by_hand(tmp_path: Path) -> None:
    """AlexNet with fully connected layers of an eighth, lest the test take half a minute; densities are table 4's."""
    small = tmp_path / "small.yaml"
    text = (ROOT / "workloads" / "alexnet.yaml").read_text(encoding="utf-8")
    small.write_text(text.replace("out: 4096", "out: 512"), encoding="utf-8")
    found = compress(small, ALEXNET)
    run = found.simulated("tpu_v1")
    network = load_network(small)
    macs = {name: network.layer(name).macs for name in DENSITY}
    weights = {name: network.layer(name).parameters for name in DENSITY}
    for name, percent in DENSITY.items():
        assert run.layers[name].macs == pytest.approx(percent / 100, abs=0.0005)
        assert run.layers[name].latency == 1  # an array that skips nothing
    kept = sum(macs[name] * percent / 100 for name, percent in DENSITY.items()) / sum(macs.values())
    assert run.whole.macs == pytest.approx(kept, abs=1e-4)
    left = sum(weights[name] * percent / 100 for name, percent in DENSITY.items()) / sum(weights.values())
    assert run.whole.parameters == pytest.approx(left, abs=2e-3)  # and the biases
    assert run.whole.accuracy is None
    assert run.whole.index_space is not None
    assert left < run.whole.index_space < 1.2 * left  # runs longer than 15 take padding
    assert simulate(found.network, "tpu_v1").totals.cycles == run.compressed.totals.cycles


def test_the_whole_of_alexnet_has_the_papers_counts() -> None:
    """61M parameters, of which the densities of table 4 leave 11 %."""
    network = load_network("alexnet")
    assert network.parameters == 60_965_224
    left = sum(network.layer(name).parameters * percent / 100 for name, percent in DENSITY.items())
    assert left / network.parameters == pytest.approx(0.11, abs=0.005)


def test_weights_that_fit_bring_the_sparse_engine_its_energy(tmp_path: Path) -> None:
    """With a memory of 96 KiB, 128K dense weights come from off chip, the 4-bit codes of a tenth of them do not."""
    network, recipe, arch = tmp_path / "n.yaml", tmp_path / "r.yaml", tmp_path / "a.yaml"
    network.write_text(
        "schema: accelsim.network/1\nname: n\nlayers:\n  - {name: fc, op: linear, in: 512, out: 256}\n", encoding="utf-8"
    )
    recipe.write_text(
        "schema: accelsim.recipe/1\npasses:\n  - {kind: prune, density: 0.1}\n  - {kind: cluster, bits: 4}\n"
        "  - {kind: quantize}\n",
        encoding="utf-8",
    )
    text = (ROOT / "arch_configs" / "eie.yaml").read_text(encoding="utf-8").replace("size: 8 MiB", "size: 96 KiB")
    arch.write_text(text, encoding="utf-8")
    tight, roomy = (compress(network, recipe).simulated(chip) for chip in (arch, "eie"))
    assert tight.original.layer("fc").traffic_bytes["host"]["weight"].read >= 512 * 256 * 0.95 / 2
    assert "weight" not in tight.compressed.layer("fc").traffic_bytes["host"]
    assert (tight.whole.energy or 1) < 0.1 < (roomy.whole.energy or 0)


def test_factors_of_a_layer_count_with_it(tmp_path: Path) -> None:
    """fc1, 64 x 128, becomes 8 x 128 and 64 x 8: of 8192 weights 1536, and both factors' time."""
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        "schema: accelsim.recipe/1\npasses:\n  - {kind: factorize, method: svd, rank: 8, layers: [fc1]}\n"
        "  - {kind: quantize}\n",
        encoding="utf-8",
    )
    run = compress("digits", recipe).simulated("gemmini_16x16")
    factors = [layer for layer in run.compressed.layers if layer.name in ("fc1", "fc1_in")]
    assert len(factors) == 2
    assert run.layers["fc1"].macs == pytest.approx(1536 / 8192, rel=0.02)
    seconds = sum(layer.seconds for layer in factors)
    assert run.layers["fc1"].latency == pytest.approx(seconds / run.original.layer("fc1").seconds)
    apart = compare_measures(run.original, run.compressed)[1]["fc1"]
    assert apart.latency == run.layers["fc1"].latency
