"""A file that is named must be there, whether its numbers are wanted or not."""

from __future__ import annotations

from pathlib import Path

import pytest

from accelsim.api import simulate
from accelsim.check import check_file
from accelsim.errors import InputError

NETWORK = """schema: accelsim.network/1
name: n
layers:
  - {name: fc, op: linear, in: 16, out: 8, weight: {file: nope.npy}}
  - {name: fc2, op: linear, out: 4, weight: {file: w.npy, codebook: no_codes.npy}, bias: {file: nope2.npy}}
  - {name: fc3, op: linear, in: 4, out: 4, after: [], input: {file: "."}}
"""
RECIPE = """schema: accelsim.recipe/1
calibration: {file: a.npz}
test: {file: b.npz}
passes: [{kind: quantize}]
"""
SWEEP = """schema: accelsim.sweep/1
network: lenet5
arch: tpu_v1
mapping: m.yaml
recipe: r.yaml
"""


def written(folder: Path, text: str) -> Path:
    (folder / "w.npy").touch()
    path = folder / "file.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize("values", [False, True])
def test_every_missing_file_is_a_fault_in_every_mode(tmp_path: Path, values: bool) -> None:
    with pytest.raises(InputError) as caught:
        simulate(written(tmp_path, NETWORK), "tpu_v1", values=values)
    places = [(fault.key, fault.line, fault.column) for fault in caught.value.faults]
    assert places == [
        ("layers[0].weight.file", 4, 53),
        ("layers[1].weight.codebook", 5, 59),
        ("layers[1].bias.file", 5, 91),
        ("layers[2].input.file", 6, 63),
    ]


@pytest.mark.parametrize(
    ("text", "keys"),
    [
        (NETWORK, ["layers[0].weight.file", "layers[1].weight.codebook", "layers[1].bias.file", "layers[2].input.file"]),
        (RECIPE, ["calibration.file", "test.file"]),
        (SWEEP, ["mapping", "recipe"]),
        ("schema: accelsim.mapping/1\ndefault: {engine: other.yaml}\n", ["default.engine"]),
    ],
)
def test_a_check_tells_all_of_them(tmp_path: Path, text: str, keys: list[str]) -> None:
    found = check_file(written(tmp_path, text))
    assert [fault.key for fault in found] == keys
    assert all(fault.line for fault in found)


@pytest.mark.parametrize(("key", "file"), [("array", "file"), ("codebook_array", "codebook")])
def test_an_array_without_its_file_means_nothing(tmp_path: Path, key: str, file: str) -> None:
    text = f"schema: accelsim.network/1\nname: n\nlayers:\n  - {{name: fc, op: linear, in: 4, out: 2, weight: {{{key}: w}}}}\n"
    (fault,) = check_file(written(tmp_path, text))
    assert fault.key == f"layers[0].weight.{key}"
    assert f"names an array of {file}, which is left out" in fault.message
