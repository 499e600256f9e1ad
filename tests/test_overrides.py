"""Overrides from Python: laid over what was read as over what is named, or refused; never dropped."""

from __future__ import annotations

from typing import Any

import pytest

import accelsim
from accelsim.catalogue import load_mapping
from accelsim.errors import InputError
from accelsim.sweep.api import search, sweep

NETWORK, ARCH = "lenet5", "tpu_v1"
OVERRIDES: list[dict[str, Any]] = [
    {"arch.engine.rows": 8},
    {"arch.memory.dram.bandwidth": "2 GB/s", "arch.clock": "100 MHz"},
    {"workload.batch": 3},
    {"workload.precision.weight": "int4"},
    {"workload.layers.ip1.out": 40},
    {"mapping.conv1.tile.K": 3, "mapping.default.order": "K C"},
]


def faults(*args: Any, **kwargs: Any) -> str:
    with pytest.raises(InputError) as caught:
        accelsim.simulate(*args, **kwargs)
    return str(caught.value)


@pytest.mark.parametrize("overrides", OVERRIDES)
def test_what_was_read_takes_overrides_as_its_name_does(overrides: dict[str, Any]) -> None:
    named = accelsim.simulate(NETWORK, ARCH, overrides=overrides)
    read = accelsim.simulate(accelsim.load_network(NETWORK), accelsim.load_arch(ARCH), overrides=overrides)
    assert named.totals == read.totals
    assert named.totals != accelsim.simulate(NETWORK, ARCH).totals


def test_overrides_lie_over_earlier_ones() -> None:
    arch = accelsim.load_arch(ARCH, overrides={"arch.engine.rows": 8})
    mapping = load_mapping(None, {"mapping.conv1.tile.K": 3})
    more = {"arch.engine.cols": 8, "mapping.conv1.tile.C": 1}
    run = accelsim.simulate(NETWORK, arch, mapping=mapping, overrides=more)
    whole = {"arch.engine.rows": 8, "mapping.conv1.tile.K": 3, **more}
    assert run.totals == accelsim.simulate(NETWORK, ARCH, overrides=whole).totals


def test_a_batch_is_the_networks() -> None:
    network = accelsim.load_network(NETWORK)
    assert accelsim.simulate(network, ARCH, batch=2).totals == accelsim.simulate(NETWORK, ARCH, batch=2).totals


def test_a_network_changed_in_python_is_not_read_from_its_file_again() -> None:
    changed = accelsim.load_network(NETWORK).select(["conv1"])
    run = accelsim.simulate(changed, ARCH, overrides={"workload.batch": 2})
    assert [layer.name for layer in run.layers] == ["conv1"]
    assert run.batch == 2


def test_an_architecture_changed_in_python_takes_no_overrides() -> None:
    changed = accelsim.load_arch(ARCH).model_copy(update={"clock": 10**9})
    assert "was made or changed in Python" in faults(NETWORK, changed, overrides={"arch.engine.rows": 8})


@pytest.mark.parametrize(
    ("key", "words"),
    [
        ("arhc.engine.rows", 'did you mean "arch"?'),
        ("arch.engine.rws", 'did you mean "rows"?'),
        ("rows", "must be arch.KEY"),
        ("workload.btch", 'did you mean "batch"?'),
        ("mapping.cnv1.tile.K", 'did you mean "conv1"?'),
    ],
)
@pytest.mark.parametrize("read", [False, True])
def test_a_key_that_is_not_there_is_refused(key: str, words: str, read: bool) -> None:
    network: Any = accelsim.load_network(NETWORK) if read else NETWORK
    arch: Any = accelsim.load_arch(ARCH) if read else ARCH
    found = faults(network, arch, overrides={key: 8})
    assert key.split(".")[-1] in found or "cnv1" in found
    assert words in found


def test_a_loader_takes_its_own_keys_alone() -> None:
    with pytest.raises(InputError, match=r"must be arch\.KEY"):
        accelsim.load_arch(ARCH, overrides={"workload.batch": 2})
    with pytest.raises(InputError, match=r"must be workload\.KEY"):
        accelsim.load_network(NETWORK, overrides={"arch.engine.rows": 2})


@pytest.mark.parametrize("call", [sweep, search])
def test_sweeps_refuse_what_is_no_key_and_what_is_no_name(call: Any) -> None:
    more = {"trials": 1} if call is search else {}
    vary = {"arch.engine.rows": [8]}
    with pytest.raises(InputError, match="did you mean"):
        call(NETWORK, ARCH, vary, overrides={"arhc.engine.rows": 8}, **more)
    with pytest.raises(InputError, match="give names or paths"):
        call(accelsim.load_network(NETWORK), ARCH, vary, **more)
    with pytest.raises(InputError, match="give names or paths"):
        call(NETWORK, accelsim.load_arch(ARCH), vary, **more)
