"""The flow from end to end: recipe files, the command, what is written, engines against the integer reference."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from accelsim.api import load_arch, load_network, simulate, simulate_full
from accelsim.cli import main
from accelsim.compression.compress import Compression, compress
from accelsim.compression.engines import refuse_differences, run_on_engines
from accelsim.compression.float_run import run_on, top1
from accelsim.errors import InfeasibleError, InputError
from accelsim.workload.functional import run_reference

ROOT = Path(__file__).parents[2]
RECIPE = ROOT / "docs" / "examples" / "digits_8bit.recipe.yaml"


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> tuple[Compression, Path]:
    path = tmp_path_factory.mktemp("digits") / "small.yaml"
    return compress("digits", RECIPE, path), path


def test_accuracy_is_real(result: tuple[Compression, Path], data: dict[str, Any]) -> None:
    found = result[0]
    assert found.accuracy_before == pytest.approx(0.984, abs=0.004)
    assert found.accuracy_after is not None
    assert found.accuracy_after > 0.96
    again = top1(run_on(found.network, data["test_images"]), found.network, data["test_labels"])
    assert again == found.accuracy_after


@pytest.mark.parametrize("arch", ["tpu_v1", "eie", "diannao"])
def test_engines_give_the_references_integers(
    arch: str, result: tuple[Compression, Path], data: dict[str, Any]
) -> None:
    slow = arch == "diannao"
    network = compress("digits", _fewer(result[1].parent)).network if slow else load_network(result[1])
    run = simulate_full(network, arch, values=True)
    expected = run_reference(network, 0)
    for name, output in run.outputs.items():
        np.testing.assert_array_equal(output, expected[name][0])
    labels = data["test_labels"][: network.batch]
    assert np.mean(run.outputs["fc2"].argmax(axis=1) == labels) > 0.9


def _fewer(folder: Path) -> Path:
    """The recipe with few pictures: an engine that steps in Python need not see a hundred."""
    path = folder / "few.recipe.yaml"
    text = RECIPE.read_text(encoding="utf-8").replace("../../workloads", str(ROOT / "workloads"))
    path.write_text(text.replace("inputs: 100", "inputs: 4"), encoding="utf-8")
    return path


def test_files_are_the_same_bytes_again(result: tuple[Compression, Path], tmp_path: Path) -> None:
    compress("digits", RECIPE, tmp_path / "small.yaml")
    for name in ("small.yaml", "small.npz"):
        assert (tmp_path / name).read_bytes() == (result[1].parent / name).read_bytes()


def test_six_measures(result: tuple[Compression, Path]) -> None:
    found = result[0]
    whole, layers = found.measures("tpu_v1")
    assert whole.accuracy == pytest.approx(found.accuracy_ratio)
    assert layers["fc1"].macs == pytest.approx(0.3, abs=0.001)
    assert whole.latency == pytest.approx(1)  # a dense array skips no zero
    original, compressed = simulate(found.dense(), "tpu_v1"), simulate(found.running(), "tpu_v1")
    assert whole.latency == compressed.totals.seconds / original.totals.seconds
    sparse, _ = found.measures("eie")
    assert sparse.latency < 1  # a row a PE: most columns cost a broadcast, however few their weights
    assert sparse.energy < 1
    assert sparse.index_space < 0.5


def test_structured_pruning_buys_time_on_a_dense_array(tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        "schema: accelsim.recipe/1\npasses:\n  - {kind: prune_channels, density: 0.5}\n  - {kind: quantize}\n",
        encoding="utf-8",
    )
    whole, _ = compress("digits", recipe).measures("gemmini_16x16")
    assert whole.macs < 0.4
    assert whole.latency < 0.8


def test_hashed_weights_take_their_buckets(tmp_path: Path) -> None:
    recipe = tmp_path / "r.yaml"
    recipe.write_text(
        "schema: accelsim.recipe/1\npasses:\n  - {kind: cluster, buckets: 64, layers: [fc1]}\n", encoding="utf-8"
    )
    _, layers = compress("digits", recipe).measures("tpu_v1")
    assert layers["fc1"].index_space == pytest.approx(64 / (64 * 128))


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    target = tmp_path / "out" / "d.yaml"
    assert main(["compress", "digits", "--recipe", str(RECIPE), "-o", str(target), "--arch", "tpu_v1"]) == 0
    shown = capsys.readouterr().out
    assert "top-1: float 98." in shown
    assert "/ original  accuracy" in shown
    assert "tpu_v1: " in shown
    assert sorted(path.name for path in target.parent.iterdir()) == ["d.npz", "d.yaml"]
    assert main(["check", str(target), str(RECIPE)]) == 0
    assert main(["schema", "recipe"]) == 0


HEAD = "schema: accelsim.recipe/1\n"
FAULTS = [
    ("passes:\n  - {kind: quantize, weights: {bits: 1}}\n", "passes[0].weights.bits: is 1, must be greater than or equal to 2"),
    ("passes:\n  - {kind: quantize, weights: {bits: 40}}\n", "passes[0].weights.bits: is 40, must be less than or equal to 16"),
    ("passes:\n  - {kind: quantize, by_layer: {fc1: {weights: {bits: 99}}}}\n", "is 99, must be less than or equal to 16"),
    ("passes:\n  - {kind: prun, density: 0.5}\n", 'did you mean "prune"?'),
    ("passes:\n  - {kind: prune, densty: 0.5}\n", 'unknown key (did you mean "density"?)'),
    ("passes:\n  - {kind: prune}\n", "must have one of density"),
    ("passes:\n  - {kind: prune, density: 0.5, layers: [fx1]}\n", '"fx1" is no layer that this pass can treat (did you mean'),
    ("passes:\n  - {kind: factorize, method: svd, rank: 65, layers: [fc1]}\n", "fc1: rank: is 65, the matrix is 64 x 128"),
    ("passes:\n  - {kind: quantize}\n  - {kind: prune, density: 0.5}\n", "comes after quantize"),
    ("calibration: {file: empty.npy}\npasses:\n  - {kind: quantize}\n", "calibration: has the shape [0, 1, 8, 8]"),
    ("calibration: {file: nan.npy}\npasses:\n  - {kind: quantize}\n", "is nan, must be a finite number"),
    ("calibration: {file: zero.npy}\npasses:\n  - {kind: quantize}\n", "has a scale of zero"),
    ("calibration: {file: none.npy}\npasses:\n  - {kind: quantize}\n", "and there is no such file"),
    ("test: {file: seven.npz, array: x, labels: far}\npasses:\n  - {kind: quantize}\n", "has the label 77, and the network's"),
    ("test: {file: seven.npz, array: x, labels: half}\npasses:\n  - {kind: quantize}\n", "has labels that are no whole numbers"),
    ("calibration: {file: wide.npy}\npasses:\n  - {kind: quantize}\n", "has samples of shape [1, 9, 9], digits takes [1, 8, 8]"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "message"), FAULTS, ids=[message[:30] for _, message in FAULTS])
def test_faults_are_named_and_nothing_is_written(
    text: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    np.save(tmp_path / "empty.npy", np.zeros((0, 1, 8, 8), np.float32))
    np.save(tmp_path / "nan.npy", np.full((1, 1, 8, 8), np.nan, np.float32))
    np.save(tmp_path / "zero.npy", np.zeros((2, 1, 8, 8), np.float32))
    np.save(tmp_path / "wide.npy", np.ones((2, 1, 9, 9), np.float32))
    np.savez(tmp_path / "seven.npz", x=np.ones((2, 1, 8, 8)), far=np.array([3, 77]), half=np.array([0.5, 1]))
    recipe = tmp_path / "r.yaml"
    recipe.write_text(HEAD + text, encoding="utf-8")
    status = main(["compress", "digits", "--recipe", str(recipe), "-o", str(tmp_path / "out.yaml")])
    shown = capsys.readouterr().err
    assert status == 2
    assert message in shown
    assert "Traceback" not in shown
    assert not (tmp_path / "out.yaml").exists()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_weights_that_are_no_numbers_are_named(bad: float, tmp_path: Path) -> None:
    weights = np.ones((2, 4), np.float32)
    weights[1, 2] = bad
    np.save(tmp_path / "w.npy", weights)
    network = tmp_path / "n.yaml"
    network.write_text(
        "schema: accelsim.network/1\nname: n\nprecision: {weight: fp32, input: fp32, accumulator: fp32, output: fp32}\n"
        "layers:\n  - {name: fc, op: linear, in: 4, out: 2, weight: {file: w.npy}}\n",
        encoding="utf-8",
    )
    recipe = tmp_path / "r.yaml"
    recipe.write_text(HEAD + "passes:\n  - {kind: quantize}\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"fc.weight: element \[1, 2\] is (nan|inf), must be a finite number"):
        compress(network, recipe)


def test_a_written_name_must_end_in_a_known_suffix(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["compress", "digits", "--recipe", str(RECIPE), "-o", "x.txt"]) == 2
    assert "must end in .yaml, .npz or .onnx" in capsys.readouterr().err


@pytest.mark.slow
def test_three_engines_one_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = tmp_path / "few.yaml"
    text = RECIPE.read_text(encoding="utf-8").replace("../../workloads", str(ROOT / "workloads"))
    recipe.write_text(text.replace("labels: test_labels", "labels: test_labels, samples: 40"), encoding="utf-8")
    archs = [word for arch in ("tpu_v1", "diannao", "eie") for word in ("--arch", arch)]
    command = ["compress", "digits", "--recipe", str(recipe), "-o", str(tmp_path / "d.yaml"), *archs, "--values"]
    assert main(command) == 0
    shown = capsys.readouterr().out
    stated = shown.split("compressed ")[1].split()[0]
    for arch in ("tpu_v1", "diannao", "eie"):
        row = next(line for line in shown.splitlines() if line.startswith(arch) and "every bit" in line)
        assert "10 layers, every bit the reference's" in row
        assert stated in row


def test_an_engine_that_differs_is_said(result: tuple[Compression, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    made = result[0]
    assert made.test is not None
    runs = run_on_engines(made.network, made.test[:2], None, {"tpu_v1": load_arch("tpu_v1")})
    assert not runs["tpu_v1"].differing
    monkeypatch.setattr("accelsim.compression.engines.run_on", lambda n, x: {"fc2": (run_on(n, x)["fc2"][0] + 1,)})
    runs = run_on_engines(made.network, made.test[:2], None, {"tpu_v1": load_arch("tpu_v1")})
    with pytest.raises(InfeasibleError, match="others in 1 of 1 layers: fc2"):
        refuse_differences(runs)


def test_values_of_floats_want_a_quantize_pass(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "digits", "--arch", "tpu_v1", "--values"]) == 2
    shown = capsys.readouterr().err
    assert "conv1: multiplies fp32 x fp32, and with --values the architecture takes int8" in shown
    assert "quantize the network first: accelsim compress" in shown
    recipe = tmp_path / "r.yaml"
    recipe.write_text(HEAD + "passes:\n  - {kind: prune, density: 0.5}\n", encoding="utf-8")
    command = ["compress", "digits", "--recipe", str(recipe), "-o", str(tmp_path / "d.yaml")]
    assert main([*command, "--values"]) == 2
    assert "needs the architectures to run on, --arch ARCH" in capsys.readouterr().err
    assert main([*command, "--arch", "tpu_v1", "--values"]) == 2
    assert not (tmp_path / "d.yaml").exists()


# ---- inputs and labels that a user gives ------------------------------------------------------------------------


def test_inputs_and_labels_give_top1(result: tuple[Compression, Path], data: dict[str, Any], tmp_path: Path) -> None:
    x, labels = data["test_images"][:60], data["test_labels"][:60]
    np.savez(tmp_path / "some.npz", images=x, labels=labels)
    run = simulate_full(result[1], "tpu_v1", values=True, inputs=[tmp_path / "some.npz"])
    outputs = run_on(result[0].network, x)
    assert run.result.batch == 60
    assert run.result.accuracy == top1(outputs, result[0].network, labels)
    np.testing.assert_array_equal(run.outputs["fc2"], outputs["fc2"][0])
    again = simulate(result[1], "tpu_v1", values=True, inputs={"conv1.input": x, "labels": labels})
    assert again.accuracy == run.result.accuracy
    command = ["simulate", str(result[1]), "--arch", "tpu_v1", "--values", "--out", str(tmp_path / "run")]
    zoo = f"{ROOT / 'workloads' / 'digits_data.npz'}"
    assert main([*command, "--input", f"conv1.input={zoo}:test_images", "--labels", f"{zoo}:test_labels"]) == 0
    assert json.loads((tmp_path / "run" / "report.json").read_text(encoding="utf-8"))["accuracy"] == result[0].accuracy_after


BAD_INPUTS = [
    (["--input", "none.npy"], "none.npy: cannot be read: No such file"),
    (["--input", "two.npz"], "two.npz: a: is no input of digits_compressed; must be named conv1.input"),
    (["--input", "two.npz:c"], 'it holds no array "c", but a, b'),
    (["--input", "wide.npy"], "wide.npy: conv1.input: has the shape 2 x 1 x 9 x 9, must be"),
    (["--input", "nan.npy"], "nan.npy: conv1.input: element [0, 0, 0, 1] is nan, must be a finite number"),
    (["--input", "text.npy"], "text.npy: conv1.input: holds values of type <U1"),
    (["--input", "good.npy", "--labels", "good.npy"], "labels: has the shape [128], must be one label a sample: 2"),
    (["--labels", "good.npy"], "--labels: needs --values and the samples that it labels, --input FILE"),
    (["--input", "big.npy"], "big.npy: conv1.input: element [0, 0, 0, 0] is 300, must be 0 to 255"),
]


@pytest.mark.parametrize(("words", "message"), BAD_INPUTS, ids=[message[:24] for _, message in BAD_INPUTS])
def test_faults_of_inputs(
    words: list[str], message: str, result: tuple[Compression, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    monkeypatch.chdir(tmp_path)
    good = np.zeros((2, 1, 8, 8), np.float32)
    bad = good.copy()
    bad[0, 0, 0, 1] = np.nan
    big = np.full((2, 1, 8, 8), 300)
    arrays = {"good": good, "nan": bad, "wide": np.zeros((2, 1, 9, 9)), "text": good.astype("U1"), "big": big}
    for name, array in arrays.items():
        np.save(f"{name}.npy", array)
    np.savez("two.npz", a=good, b=good)
    assert main(["simulate", str(result[1]), "--arch", "tpu_v1", "--values", *words]) == 2
    shown = capsys.readouterr().err
    assert message in shown
    assert "Traceback" not in shown
