"""Levels of memory: which keys mean something where, and what is said of the others."""

from __future__ import annotations

from typing import Any

import pytest

from accelsim.api import load_arch, simulate
from accelsim.arch.memory import Buffer, FarEnd, Registers
from accelsim.errors import InputError

ONLY_HERE = {
    "far": {"latency": "3 cycles", "requests": "per_tensor"},
    "chip": {
        "size": "1 KiB", "slots": 3, "holds": ["input"], "padding": "stored", "preloaded": True, "streams": True,
    },
    "buffer": {"width_bits": 64, "banks": 2},
}  # fmt: skip
FAR, NEAR = {"name": "dram"}, {"name": "b", "holds": ["input", "weight", "output"]}
REGISTERS = {**NEAR, "kind": "register"}


def faults(arch: str = "tpu_v1", **overrides: Any) -> list[str]:
    with pytest.raises(InputError) as caught:
        load_arch(arch, overrides={key.replace("__", "."): value for key, value in overrides.items()})
    return [str(fault) for fault in caught.value.faults]


def test_the_first_level_is_the_far_end_and_the_others_are_on_chip() -> None:
    arch = load_arch("eie")
    assert isinstance(arch.off_chip, FarEnd)
    assert [type(level) for level in arch.on_chip] == [Buffer, Registers, Buffer, Buffer]


@pytest.mark.parametrize(
    ("place", "level", "allowed"),
    [(0, FAR, ("far",)), (1, NEAR, ("chip", "buffer")), (1, REGISTERS, ("chip",))],
    ids=["far end", "buffer", "registers"],
)
def test_a_key_of_another_kind_of_level_is_refused_with_whose_it_is(place: int, level: Any, allowed: Any) -> None:
    for kind, keys in ONLY_HERE.items():
        for key, value in keys.items():
            levels = [*[FAR, NEAR][:place], {**level, key: value}]
            if kind in allowed:
                load_arch("scalesim", overrides={"arch.memory": levels})
            else:
                (fault,) = faults("scalesim", arch__memory=levels)
                assert f"memory[{place}].{key}: means nothing at" in fault
                assert "it is a key of" in fault


@pytest.mark.parametrize(("key", "value", "tensor"), [("preloaded", True, "weight"), ("padding", "stored", "input")])
def test_a_key_about_a_tensor_stands_where_that_is_held(key: str, value: Any, tensor: str) -> None:
    holder = {"preloaded": "weight_fifo", "padding": "unified_buffer"}[key]
    load_arch("tpu_v1", overrides={f"arch.memory.{holder}.{key}": value})
    other = ({"weight_fifo", "unified_buffer"} - {holder}).pop()
    (fault,) = faults(**{f"arch__memory__{other}__{key}": value})
    assert fault.startswith(f"--set arch.memory.{other}.{key}: ")
    assert f"say it of the level that holds {tensor}" in fault


@pytest.mark.parametrize(
    ("arch", "key", "value"),
    [
        ("eie", "memory.0.requests", "per_tensor"),
        ("eie", "memory.1.slots", 3),
        ("eie", "memory.1.padding", "stored"),
        ("eie", "memory.1.window", "keep"),
        ("tpu_v1", "memory.1.window", "keep"),
        ("eie", "memory.0.requests", "planned"),
        ("scalesim", "memory.0.requests", "planned"),
        ("haswell", "memory.0.latency", "3 cycles"),
        ("haswell", "vector", {"lanes": 3}),
        ("tpu_v1", "memory.1.holds", ["input", "output", "index"]),
        ("diannao", "engine.links", {"bandwidth": "3 GB/s"}),
    ],
)
def test_what_the_engine_does_not_look_at_is_refused(arch: str, key: str, value: Any) -> None:
    (fault,) = faults(arch, **{f"arch.{key}": value})
    assert key.split(".")[-1] in fault


def test_all_levels_faults_come_at_once() -> None:
    assert len(faults("eie", arch__memory__0__requests="per_tensor", arch__memory__1__slots=3)) == 2
    assert len(faults(arch__memory__0__slots=2, arch__memory__1__latency="3 ns")) == 2


def test_latency_off_chip_counts_without_a_bandwidth_too() -> None:
    small: dict[str, Any] = {"arch.memory.spmat.preloaded": False}
    late = simulate("lenet_300_100", "eie", layers=["ip3"], overrides=small | {"arch.memory.host.latency": "700 cycles"})
    soon = simulate("lenet_300_100", "eie", layers=["ip3"], overrides=small)
    assert late.totals.cycles == soon.totals.cycles + 700


@pytest.mark.parametrize("tensor", ["weight", "input", "output"])
def test_planned_moves_need_a_level_for_each_tensor(tensor: str) -> None:
    held = [name for name in ("weight", "input", "output") if name != tensor]
    levels = [FAR, {"name": "b", "holds": held}, {"name": "c", "holds": held[:1]}]
    (fault,) = faults("scalesim", arch__memory=levels)
    assert f"no level on chip holds {tensor}" in fault
