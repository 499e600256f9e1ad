"""An architecture that says only what differs from another one."""

from __future__ import annotations

from pathlib import Path

import pytest

from accelsim.api import load_arch, simulate
from accelsim.check import check_file
from accelsim.errors import InputError

HEAD = "schema: accelsim.arch/1\nname: mine\n"


def written(folder: Path, text: str, name: str = "mine.yaml") -> str:
    path = folder / name
    path.write_text(HEAD + text)
    return str(path)


def fault(path: str) -> str:
    with pytest.raises(InputError) as caught:
        load_arch(path)
    return str(caught.value)


def test_it_is_the_base_with_what_differs(tmp_path: Path) -> None:
    mine = load_arch(written(tmp_path, "base: tpu_v1\nengine: {rows: 128}\nmemory: {weight_fifo: {slots: 2}}\n"))
    said = {"arch.engine.rows": 128, "arch.memory.weight_fifo.slots": 2, "arch.name": "mine"}
    base = load_arch("tpu_v1", overrides=said)
    assert mine.model_dump() == base.model_dump()
    assert simulate("lenet5", mine).totals == simulate("lenet5", base).totals


def test_a_list_replaces_the_base_s(tmp_path: Path) -> None:
    mine = load_arch(written(tmp_path, "base: gemmini_16x16\nmemory: [{name: dram}]\n"))
    assert [level.name for level in mine.memory] == ["dram"]


def test_files_are_beside_the_file_and_may_have_bases_of_their_own(tmp_path: Path) -> None:
    written(tmp_path, "base: tpu_v1\nengine: {rows: 64}\n", "first.yaml")
    mine = load_arch(written(tmp_path, "base: first.yaml\nengine: {cols: 32}\n"))
    assert (mine.engine.rows, mine.engine.cols) == (64, 32)


def test_overrides_are_laid_over_both(tmp_path: Path) -> None:
    path = written(tmp_path, "base: tpu_v1\nengine: {rows: 64}\n")
    said = {"arch.engine.rows": 8, "arch.memory.dram.bandwidth": "1 GB/s", "arch.memory.1.size": "1 MiB"}
    base = load_arch("tpu_v1", overrides={"arch.name": "mine", **said})
    assert load_arch(path, overrides=said).model_dump() == base.model_dump()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("base: tpu_v9\n", ":3:1: base: tpu_v9: is no architecture by name"),
        ("base: 3\n", ":3:1: base: is 3, must be an architecture's name or file"),
        ("base: mine.yaml\n", ":3:1: base: mine.yaml: is based on this file"),
        ("base: tpu_v1\nengine: {rows: 0}\n", ":4:10: engine.rows: is 0, must be greater than 0"),
        ("base: tpu_v1\nmemory: {dram: {size: 3 B}}\n", ":4:17: memory[0].size: means nothing at the far end"),
        ("base: tpu_v1\nmemory: {fifo: {slots: 1}}\n", ":4:10: memory.fifo: there is no such item"),
        ("base: tpu_v1\nengine: {rws: 1}\n", ":4:10: engine.rws: unknown key"),
    ],
)
def test_a_fault_has_its_place_in_the_file_that_differs(tmp_path: Path, text: str, told: str) -> None:
    path = written(tmp_path, text)
    assert told in fault(path)
    assert [told in str(one) for one in check_file(Path(path))] == [True]


def test_it_has_a_name_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("schema: accelsim.arch/1\nbase: tpu_v1\n")
    assert "name: is missing" in fault(str(path))
