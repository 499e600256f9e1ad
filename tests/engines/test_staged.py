"""Machines with several levels on chip a tensor: counted by hand, lawful in every run, the same integers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from builders import ROOT, conv, gemm
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim.api import simulate, simulate_full
from accelsim.arch.loader import read_architecture
from accelsim.arch.spec import Architecture
from accelsim.errors import InfeasibleError, InputError
from accelsim.frontends.network_yaml import read_network
from accelsim.mapping.mapping import LayerMapping, MappingFile
from accelsim.report.model import Result
from accelsim.yaml_io import Document, parse_document

CASES = ROOT.parent / "shared" / "cases"


def machine(
    *levels: dict[str, Any], bandwidth: str | None = None, requests: str = "in_order", **engine: Any
) -> Architecture:
    """An array over ``levels`` on chip, the outermost first."""
    far = {"name": "dram", "requests": requests} | ({"bandwidth": bandwidth} if bandwidth else {})
    data = {
        "schema": "accelsim.arch/1", "name": "staged", "clock": "1 GHz", "vector": {"lanes": 4},
        "engine": {"kind": "systolic", "rows": 2, "cols": 2, "dataflow": "os", "overlap": "skewed"} | engine,
        "memory": [far, *levels], "energy": {"table": "none"},
    }  # fmt: skip
    return read_architecture(Document(data, "staged.yaml"))


ALL = ["weight", "input", "output"]
TWO = machine({"name": "l2", "holds": ALL}, {"name": "l1", "holds": ALL})


def mapping(l2: dict[str, Any], **l1: Any) -> MappingFile:
    return MappingFile(default=LayerMapping.model_validate({"levels": {"l2": l2}} | l1))


def bytes_of(result: Result) -> dict[str, dict[str, tuple[float, float]]]:
    traffic = result.layers[0].traffic_bytes
    return {level: {t: (m.read, m.write) for t, m in tensors.items()} for level, tensors in traffic.items()}


# A product of 4 x 4 by 4 x 4 (N pixels, C reduction, K channels), int8 operands and int32 sums. l2 holds half of the channels,
# l1 two of each loop; the array reads an operand of its 2 x 2 x 2 tile once: 4 weights and 4 inputs a step, in 8 steps.
OUTER = {"tile": {"N": 4, "K": 2, "C": 4}, "order": "K"}
INNER = {"tile": {"N": 2, "K": 2, "C": 2}}


def test_sums_that_stay_are_counted_by_hand() -> None:
    """C innermost: sums stay in l1 until they are whole, weights change every step."""
    found = bytes_of(simulate(gemm(4, 4, 4), TWO, mapping=mapping(OUTER, order="N C", **INNER)))
    assert found == {
        "dram": {"weight": (16, 0), "input": (16, 0), "output": (0, 64)},
        # weights: two halves of 8 come; 4 leave for l1 before each of 8 steps. Inputs come once, for both halves.
        "l2": {"weight": (32, 16), "input": (32, 16), "output": (64, 64)},
        # sums of 2 x 2 are left there for the second step of their reduction, and read by it: 4 tiles of 4 of 4 bytes
        "l1": {"weight": (32, 32), "input": (32, 32), "output": (64, 64), "partial_sum": (64, 64)},
    }


def test_sums_that_go_and_come_back_are_counted_by_hand() -> None:
    """N innermost: a weight stays for two steps, sums go to l2 half done and come back."""
    found = bytes_of(simulate(gemm(4, 4, 4), TWO, mapping=mapping(OUTER, order="C N", **INNER)))
    assert found["dram"] == {"weight": (16, 0), "input": (16, 0), "output": (0, 64)}
    assert found["l2"] == {
        "weight": (16, 16), "input": (32, 16), "output": (64, 64), "partial_sum": (64, 64),
    }  # fmt: skip
    # half of all sums leave l1 as partial ones: the unit writes 64 bytes, they go out; they come in, the unit reads them
    assert found["l1"] == {
        "weight": (32, 16), "input": (32, 32), "output": (64, 64), "partial_sum": (128, 128),
    }  # fmt: skip


def test_what_bypasses_a_level_goes_straight_to_the_next() -> None:
    arch = machine({"name": "l2", "holds": ALL}, {"name": "l1", "holds": ["weight"]})
    found = bytes_of(simulate(gemm(4, 4, 4), arch, mapping=mapping(OUTER, order="N C", **INNER)))
    assert set(found["l1"]) == {"weight"}
    assert found["l2"]["input"] == (32, 16)


def test_levels_side_by_side_are_one_stage() -> None:
    arch = machine(
        {"name": "l2", "holds": ALL}, {"name": "w1", "holds": ["weight"]}, {"name": "io1", "holds": ["input", "output"]}
    )
    assert [[level.name for level in stage] for stage in arch.stages] == [["l2"], ["w1", "io1"]]


def test_a_window_that_slides_keeps_what_it_shares() -> None:
    """3 x 3 windows over 6 x 6, a row of outputs a tile: 4 tiles of 3 rows of 6, each but the first with one new row."""
    levels = [{"name": "l1", "holds": ALL}]
    found = {}
    for window in ("refetch", "keep"):
        arch = machine(levels[0] | {"window": window}, requests="planned")
        fixed = MappingFile(default=LayerMapping.model_validate({"tile": {"P": 1, "Q": 4, "C": 1, "K": 1}, "order": "P"}))
        net = conv(1, (6, 6), K=1, R=3, S=3)
        found[window] = bytes_of(simulate(net, arch, mapping=fixed))["dram"]["input"]
    assert found == {"refetch": (4 * 18, 0), "keep": (18 + 3 * 6, 0)}


@st.composite
def staged(draw: Any) -> tuple[Any, Architecture, MappingFile]:
    """A convolution on two to four levels, tiles of its own or left to be chosen."""
    size, taps = draw(st.integers(2, 6)), draw(st.integers(1, 2))
    net = conv(draw(st.integers(1, 4)), (size, size), K=draw(st.integers(1, 5)), R=taps, S=taps, stride=draw(st.integers(1, 2)))
    levels = []
    for depth in range(draw(st.integers(1, 4))):
        level: dict[str, Any] = {"name": f"l{depth}", "holds": ALL, "slots": draw(st.integers(1, 3))}
        level["window"] = draw(st.sampled_from(["refetch", "keep"]))
        level["size"] = draw(st.sampled_from([512, 2048])) if depth == 0 else draw(st.sampled_from([128, 256]))
        if draw(st.booleans()):
            level["bandwidth"] = f"{draw(st.integers(1, 9))} B/cycle"
        levels.append(level)
    dataflow, overlap = draw(st.sampled_from(["os", "ws", "is"])), draw(st.sampled_from(["none", "skewed"]))
    arch = machine(
        *levels, bandwidth=f"{draw(st.integers(1, 9))} B/cycle", requests="planned", dataflow=dataflow, overlap=overlap,
        weight_buffers=draw(st.sampled_from([1, 2])),
    )  # fmt: skip
    return net, arch, MappingFile()


@given(staged())
@settings(max_examples=25)
def test_every_run_keeps_the_laws_and_gives_the_same_integers(case: Any) -> None:
    """The laws are checked in the run; sums do not depend on the levels that they pass through."""
    net, arch, fixed = case
    flat = machine({"name": "l0", "holds": ALL}, dataflow=arch.engine.dataflow)
    on_levels, on_one = (simulate_full(net, one, mapping=fixed, values=True, seed=1) for one in (arch, flat))
    for ours, theirs in zip(on_levels.runs, on_one.runs, strict=True):
        assert np.array_equal(ours.outputs[0], theirs.outputs[0])
    assert on_levels.result.totals.cycles == simulate(net, arch, mapping=fixed).totals.cycles


@pytest.mark.parametrize("network", ["lenet5", "lenet_300_100"])
def test_three_levels_run_with_a_mapping_of_their_own(network: str) -> None:
    result = simulate(network, str(CASES / "pe3.yaml"))
    assert {"dram", "global_buffer", "pe_spad"} <= set(result.layers[0].traffic_bytes)
    first = result.layers[0].mapping
    again = simulate(network, str(CASES / "pe3.yaml"), mapping=MappingFile(layers={
        result.layers[0].name: LayerMapping.model_validate({k: v for k, v in first.items() if k != "keep"})
    }))  # fmt: skip
    assert again.layers[0] == result.layers[0]


def test_a_name_that_is_no_level_around_others_is_told() -> None:
    fixed = MappingFile(default=LayerMapping.model_validate({"levels": {"l1": {"tile": {"K": 1}}}}))
    with pytest.raises(InputError, match=r"levels\.l1: is no level around others on chip: those of staged are l2"):
        simulate(gemm(2, 2, 2), TWO, mapping=fixed)


def test_a_tile_that_fits_no_outer_level_is_told() -> None:
    arch = machine({"name": "l2", "holds": ALL, "size": 64}, {"name": "l1", "holds": ALL})
    with pytest.raises(InfeasibleError, match="its tile in l2"):
        simulate(gemm(64, 64, 64), arch, mapping=mapping({"tile": {"N": 64, "K": 64, "C": 64}}))


@pytest.mark.parametrize(
    ("levels", "engine", "why"),
    [
        ([{"name": "a", "holds": ALL}, {"name": "b", "holds": ALL, "streams": True}], {}, "streams"),
        ([{"name": "a", "holds": ALL}, {"name": "b", "holds": ["weight", "partial_sum"]}], {}, "partial sums"),
    ],
)
def test_machines_that_are_fed_through_one_level_say_so(levels: Any, engine: Any, why: str) -> None:
    with pytest.raises(InputError, match=why):
        machine(*levels, **engine)


@pytest.mark.parametrize("requests", ["in_order", "planned"])
def test_a_recurrent_layer_runs_matrices_and_cells_one_after_the_other(requests: str) -> None:
    text = "schema: accelsim.network/1\nname: n\nlayers:\n  - {name: s, op: lstm, hidden: 5, shape: [4, 6]}\n"
    levels = [{"name": "l2", "holds": ALL, "bandwidth": "16 B/cycle"}]
    levels += [{"name": "l1", "holds": ALL, "bandwidth": "8 B/cycle"}] if requests == "in_order" else []
    result = simulate(read_network(parse_document(text, "n")), machine(*levels, requests=requests))
    assert result.totals.macs == 4 * 5 * (4 * 6 + 4 * 5)  # 4 gates of 5, 4 steps: the input's 6 and the state's 5
