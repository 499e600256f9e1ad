"""The pass that chooses algorithms of convolution: what it takes, what it leaves, what it writes, what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from accelsim.api import load_network, simulate_full
from accelsim.cli import main
from accelsim.compression.apply import Passes
from accelsim.compression.compress import compress
from accelsim.compression.recipe import AlgorithmPass, Recipe
from accelsim.errors import InputError
from accelsim.workload.functional import run_reference
from accelsim.workload.network import Network
from accelsim.workload.ops import Conv2d

ROOT = Path(__file__).parents[2]
X = np.zeros((2, 3, 8, 8), np.float32)


def algorithms(network: Network) -> dict[str, str]:
    return {layer.name: layer.op.algorithm for layer in network.layers if isinstance(layer.op, Conv2d)}


def recipe(folder: Path, *passes: str) -> Path:
    path = folder / "r.yaml"
    data = ROOT / "workloads" / "digits_data.npz"
    lines = [
        "schema: accelsim.recipe/1",
        f"calibration: {{file: {data}, array: calibration_images, samples: 16}}",
        f"test: {{file: {data}, array: test_images, labels: test_labels, samples: 64}}",
        "inputs: 4",
        "passes:",
        *(f"  - {{{text}}}" for text in passes),
    ]
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


def test_what_suits_is_changed_and_the_rest_left(build) -> None:  # type: ignore[no-untyped-def]
    network = build(
        (3, 8, 8), ("a", "conv2d", {"K": 4, "R": 3, "S": 3}), ("b", "conv2d", {"K": 4, "R": 3, "S": 3, "stride": 2}),
        ("c", "conv2d", {"K": 4, "R": 1, "S": 1}), ("d", "conv2d", {"R": 3, "S": 3, "pad": 1, "groups": "depthwise"}),
    )  # fmt: skip
    one = Passes(X).one(network, AlgorithmPass(kind="algorithm", conv2d="winograd_f2x2"))
    assert algorithms(one) == {"a": "winograd_f2x2", "b": "direct", "c": "direct", "d": "direct"}
    back = Passes(X).one(one, AlgorithmPass(kind="algorithm", conv2d="direct"))
    assert algorithms(back) == algorithms(network)
    for name, words in (
        ("b", "b: winograd_f4x4 is for a stride of 1, not 2"),
        ("c", "c: .* is for 3 x 3 windows, not 1 x 1"),
    ):
        with pytest.raises(ValueError, match=words):
            Passes(X).one(network, AlgorithmPass(kind="algorithm", conv2d="winograd_f4x4", layers=[name]))
    with pytest.raises(ValueError, match='"e" is no layer that this pass can treat'):
        Passes(X).one(network, AlgorithmPass(kind="algorithm", conv2d="winograd_f4x4", layers=["e"]))


WINOGRAD = "kind: algorithm, conv2d: winograd_f4x4, layers: ['conv*']"


@pytest.mark.parametrize(
    "passes",
    [("kind: quantize", WINOGRAD), (WINOGRAD, "kind: quantize, weights: {kind: affine, per_channel: true}")],
)
def test_a_quantized_network_runs_to_the_same_integers(passes: tuple[str, ...], tmp_path: Path) -> None:
    """Written, read again, and run; zero points, biases and scales a channel included."""
    found = compress("digits", recipe(tmp_path, *passes), tmp_path / "w.yaml")
    plain = compress("digits", recipe(tmp_path, *(text for text in passes if "algorithm" not in text)))
    written = load_network(tmp_path / "w.yaml")
    assert algorithms(written) == algorithms(found.network) == {"conv1": "winograd_f4x4", "conv2": "winograd_f4x4"}
    assert found.accuracy_after == plain.accuracy_after
    expected = run_reference(plain.running(), 0)
    for arch in ("tpu_v1", "diannao"):  # whose own fixed point gives way to the network's scales
        run = simulate_full(written, arch, values=True)
        for name, outputs in expected.items():
            np.testing.assert_array_equal(run.outputs[name], outputs[0])


def test_the_file_that_is_written_says_so(tmp_path: Path) -> None:
    path = recipe(tmp_path, "kind: algorithm, conv2d: fft_8x8, layers: [conv2]")
    assert main(["compress", "digits", "--recipe", str(path), "-o", str(tmp_path / "w.yaml")]) == 0
    lines = (tmp_path / "w.yaml").read_text().splitlines()
    assert [line.split(",")[0] for line in lines if "algorithm: fft_8x8" in line] == ["  - {name: conv2"]
    assert main(["check", str(tmp_path / "w.yaml")]) == 0


@pytest.mark.parametrize(
    ("passes", "words"),
    [
        (("kind: algorithm, conv2d: winograd",), r"r.yaml:6:23: passes\[0\].conv2d: is \"winograd\", must be 'direct'"),
        (
            ("kind: quantize", "kind: algorithm, conv2d: fft_8x8"),
            "the algorithm fft_8x8 is for floats, and quantize makes",
        ),
        (
            ("kind: algorithm, conv2d: winograd_f2x2, layers: [fc1]",),
            r'r.yaml:6:5: passes\[0\]: "fc1" is no layer that this',
        ),
        (("kind: quantize", "kind: prune, density: 0.5"), "must be the last but for algorithm and encode"),
    ],
)
def test_faults(passes: tuple[str, ...], words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        compress("digits", recipe(tmp_path, *passes))


def test_the_schema_knows_it() -> None:
    names = Recipe.model_json_schema()["$defs"]["AlgorithmPass"]["properties"]["conv2d"]["enum"]
    assert names == ["direct", "winograd_f2x2", "winograd_f4x4", "fft_8x8", "fft_16x16", "fft_32x32"]
