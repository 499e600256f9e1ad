"""Traces: every bar adds up to the counters, the file keeps to the format, and its size is bounded."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import Any

import numpy as np
import pytest
from builders import array, chain, conv, formats, gemm, network_of, one_buffer
from hypothesis import given, settings
from hypothesis import strategies as st

import accelsim
from accelsim.cli import main
from accelsim.engines.walk import Recorder
from accelsim.mapping.mapping import MappingFile
from accelsim.report import activity
from accelsim.report.trace import SCHEMA, Trace, build_trace
from accelsim.workload.ops import Linear, Pool2d, Recurrent

VECTOR = {"lanes": 4}


def traced(network: Any, arch: Any, **options: Any) -> tuple[Trace, Any]:
    recorder = Recorder()
    run = accelsim.simulate_full(network, arch, recorder=recorder)
    return build_trace(run.runs, recorder, **options), run


def events(trace: Trace) -> list[dict[str, Any]]:
    return list(json.loads(trace.to_json())["traceEvents"])


def lanes(trace: Trace, pid: int = 1) -> dict[str, list[dict[str, Any]]]:
    """Slices of a process by the name of their lane."""
    found, names = defaultdict(list), {}
    for event in events(trace):
        if event["pid"] != pid:
            continue
        if event["name"] == "thread_name":
            names[event["tid"]] = event["args"]["name"]
        elif event["ph"] == "X":
            found[names[event["tid"]]].append(event)
    return dict(found)


def cycles_by_name(lane: list[dict[str, Any]]) -> dict[str, int]:
    """Cycles of a lane's slices, by their names."""
    found: dict[str, int] = defaultdict(int)
    for piece in lane:
        found[piece["name"]] += piece["args"]["cycles"]
    return dict(found)


def no_slices_overlap(trace: Trace) -> bool:
    last: dict[tuple[int, int], float] = {}
    for event in events(trace):
        if event["ph"] == "X":
            lane = event["pid"], event["tid"]
            if event["ts"] < last.get(lane, 0.0) - 1e-6:  # the grid is 1e-3
                return False
            last[lane] = event["ts"] + event["dur"]
    return True


@given(
    dataflow=st.sampled_from(["ws", "os", "is"]),
    overlap=st.sampled_from(["none", "skewed"]),
    buffers=st.sampled_from([1, 2]),
    edge=st.sampled_from(["full", "trim"]),
    size=st.tuples(*[st.integers(1, 20)] * 3),
    port=st.sampled_from([None, "4 B/cycle"]),
    most=st.sampled_from([4, 10_000]),
)
@settings(max_examples=40)
def test_bars_add_up_to_the_counters(
    dataflow: str, overlap: str, buffers: int, edge: str, size: tuple[int, int, int], port: str | None, most: int
) -> None:
    arch = array(
        4, 3, one_buffer("1 KiB", "3 B/cycle", port), dataflow=dataflow, overlap=overlap, weight_buffers=buffers, edge=edge
    )
    trace, run = traced(gemm(*size), arch, most_slices=most)
    totals = run.result.totals
    shown = lanes(trace)
    stalls = dict.fromkeys(totals.stall_cycles, 0)
    for piece in shown.get("stalls", []):
        stalls[piece["name"]] += piece["args"]["cycles"]
    assert stalls == totals.stall_cycles
    assert sum(piece["args"]["cycles"] for piece in shown["layers"]) == totals.cycles
    moved = sum(p["args"]["bits"] for name, lane in shown.items() if name.startswith("dram") for p in lane)
    crossed = totals.traffic_bytes["dram"]
    assert moved == 8 * (crossed.read + crossed.write)
    assert trace.occupancy is not None
    assert trace.occupancy.by_row.sum() == pytest.approx(totals.macs)
    assert trace.occupancy.by_column.sum() == pytest.approx(totals.macs)
    assert trace.occupancy.shares().mean() == pytest.approx(totals.utilization)
    assert trace.occupancy.row_shares().max() <= 1 + 1e-9


def test_the_format() -> None:
    network = chain(("a", Linear(out=20)), ("b", Linear(out=7)), inputs={"x": (30,)}, batch=3)
    trace, run = traced(network, array(4, 4, one_buffer("2 KiB"), vector=VECTOR))
    document = json.loads(trace.to_json())
    assert document["otherData"]["schema"] == SCHEMA
    assert document["displayTimeUnit"] == "ns"
    last: dict[int, float] = {}
    for event in document["traceEvents"]:
        assert {"name", "ph", "ts", "pid", "tid"} <= set(event)
        assert event["ph"] in "XCM"
        assert isinstance(event["pid"], int)
        if event["ph"] == "X":
            assert event["dur"] >= 0
            early = last.get(event["tid"], 0.0) - event["ts"]
            assert early < 1e-9, "slices of a lane do not overlap"  # but for the rounding of this sum
            last[event["tid"]] = event["ts"] + event["dur"]
            assert event["ts"] == pytest.approx(event["args"]["cycle"] / 1e3, abs=1e-3)  # 1 GHz: a cycle is 1 ns
        elif event["ph"] == "C":
            assert all(isinstance(value, int | float) and value >= 0 for value in event["args"].values())
    assert max(last.values()) == pytest.approx(run.result.totals.seconds * 1e6)
    assert [piece["name"] for piece in lanes(trace)["layers"]] == ["a", "b"]


def test_buffers_hold_no_more_than_they_can() -> None:
    arch = array(4, 4, one_buffer("1 KiB"))
    trace, _ = traced(conv(6, (12, 12), K=10, R=3, S=3, pad=1), arch)
    fills = [e["args"] for e in events(trace) if e["ph"] == "C" and e["name"].startswith("buffer holds")]
    assert max(sum(values.values()) for values in fills) <= 1024
    assert sum(fills[-1].values()) == 0
    assert max(values.get("weight", 0) for values in fills) > 0


def test_repeated_steps_and_the_vector_unit_are_there() -> None:
    network = chain(("l", Recurrent(op="lstm", hidden=4)), inputs={"x": (5, 6)}, batch=1)
    trace, run = traced(network, array(4, 4, one_buffer("2 KiB"), vector=VECTOR))
    shown = lanes(trace)
    stalls = sum(piece["args"]["cycles"] for piece in shown["stalls"])
    assert stalls == sum(run.result.totals.stall_cycles.values())
    assert len(shown["vector unit"]) >= 5
    pool = chain(("p", Pool2d(op="maxpool2d", window=2)), inputs={"x": (2, 4, 4)})
    assert "vector unit" in lanes(traced(pool, array(4, 4, one_buffer("2 KiB"), vector=VECTOR))[0])


def test_size_is_bounded_and_sums_stay() -> None:
    network, arch = gemm(60, 60, 60), array(4, 4, one_buffer("1 KiB"))
    whole, few = traced(network, arch)[0], traced(network, arch, most_slices=50)[0]
    assert "nothing" in whole.about()["folding"]
    assert "drawn as one" in few.about()["folding"]
    for name, lane in lanes(few).items():
        full = lanes(whole)[name]
        assert len(lane) <= 50 * len({piece["name"] for piece in lane}) + 2
        assert sum(p["args"]["cycles"] for p in lane) == pytest.approx(sum(p["args"]["cycles"] for p in full))
        assert sum(p["args"].get("folded", 1) for p in lane) == len(full)


def test_folding_keeps_lengths_amounts_and_order() -> None:
    begin = np.array([0, 3, 5, 12, 30])
    lane = activity.bars(begin, begin + 2, [0, 1, 0, 1, 0], [1, 2, 3, 4, 5])
    shown = activity.folded(lane, 10)
    assert shown.begin.tolist() == [0, 4, 12, 30]
    assert shown.end.tolist() == [4, 6, 14, 32]
    assert shown.amount.tolist() == [4, 2, 4, 5]
    assert shown.count.tolist() == [2, 1, 1, 1]
    assert activity.folded(lane, 0) is lane


def test_the_command_writes_whole_files(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    trace, figure, data = tmp_path / "t.json", tmp_path / "h.svg", tmp_path / "h.csv"
    assert main(["simulate", "lenet5", "--arch", "gemmini_16x16", "--trace", str(trace)]) == 0
    assert main(["plot", "utilization", str(trace), "-o", str(figure), "--data", str(data)]) == 0
    assert data.read_text().startswith("line,first,last,begin_cycle,end_cycle,share_at_work\n")
    assert main(["simulate", "lenet5", "--arch", "gemmini_16x16", "--trace", "t.gif"]) == 2
    assert 'ends in ".gif", a trace must end in .json, .vcd, .svg or .html' in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["h.csv", "h.svg", "t.json"]


# ---- sparse engines ------------------------------------------------------------------------------------

SPARSE_NETWORKS = {
    "batch": chain(("a", Linear(out=50)), ("b", Linear(out=30)), inputs={"x": (70,)}, batch=3),
    "conv": conv(3, (7, 7), batch=2, K=8, R=3, S=3, pad=1),
    "lstm": chain(("l", Recurrent(op="lstm", hidden=9, projection=5)), inputs={"x": (3, 6)}, batch=2),
}


def sparse(memory: dict[str, Any] | None = None, **engine: Any) -> Any:
    """EIE with another engine block; with a ``bandwidth`` its weights come from off chip, into a memory of a ``size``."""
    block: dict[str, Any] = {f"arch.engine.{key}": value for key, value in engine.items()}
    levels: dict[str, Any] = {}
    if memory:
        levels = {"arch.memory.host.bandwidth": memory["bandwidth"], "arch.memory.spmat.preloaded": False}
        levels |= {"arch.memory.spmat.size": memory["size"]} if "size" in memory else {}
    return accelsim.load_arch("eie", overrides=block | levels)


@pytest.mark.slow
@given(
    network=st.sampled_from(sorted(SPARSE_NETWORKS)),
    pes=st.sampled_from([1, 3, 16, 100]),
    depth=st.integers(2, 5),
    engine=st.fixed_dictionaries(
        {
            "channels": st.sampled_from([1, 1, 2]),
            "passes": st.sampled_from(["overlapped", "drained"]),
            "register_entries": st.sampled_from([2, 64]),
            "empty_column": st.sampled_from(["cycle", "free"]),
            "zero_detection": st.sampled_from(["packs", "ideal"]),
            "skip_zeros": st.booleans(),
        }
    ).map(lambda said: said if said["skip_zeros"] else {key: said[key] for key in said if key != "zero_detection"}),
    memory=st.sampled_from([{}, {"bandwidth": "3 B/cycle"}, {"bandwidth": "3 B/cycle", "size": 64}]),
    most=st.sampled_from([20, 10_000]),
)
@settings(max_examples=15)
def test_bars_of_a_sparse_engine_add_up(
    network: str, pes: int, depth: int, engine: dict[str, Any], memory: dict[str, Any], most: int
) -> None:
    arch = sparse(memory=memory, pes=pes, fifo_depth=depth, **engine)
    trace, run = traced(SPARSE_NETWORKS[network], arch, most_slices=most)
    totals, shown = run.result.totals, lanes(trace)
    counted = sum((Counter(done.counters.unit_counts) for done in run.runs), Counter())
    assert not trace.notes
    assert no_slices_overlap(trace)
    stalls = cycles_by_name(shown.get("stalls", []))
    assert {cause: cycles for cause, cycles in totals.stall_cycles.items() if cycles} == stalls
    multiplying = sum(piece["args"]["cycles"] for piece in shown["busy"])
    on_lanes = sum(piece["args"]["cycles"] for piece in shown.get("vector unit", []))
    assert multiplying <= totals.busy_cycles <= multiplying + on_lanes
    told = cycles_by_name(shown["broadcast"])
    assert told.get("held back: a queue is full", 0) == counted["broadcast_stall_cycles"]
    assert told.get("scan finds nothing", 0) == counted["scan_cycles"]
    on_pes = [piece for name, lane in shown.items() if name.startswith("PE") for piece in lane]
    if engine["channels"] == 1:  # else the counts are those of both channels, and the lanes those of the slower one
        assert told["broadcast"] == counted["broadcasts"]
        assert sum(piece["args"]["entries"] for piece in on_pes) == counted["entries"]
    if engine["channels"] == 1 and pes <= 64:
        streams = cycles_by_name(on_pes)
        assert streams["entries"] == counted["entries"]
        assert streams.get("empty columns", 0) == counted["empty_columns"]
    fullest = [e["args"]["activations"] for e in events(trace) if e["name"] == "fullest queue holds"]
    assert 0 < max(fullest) <= depth - 1  # a ring is full one short of its depth
    assert fullest[-1] == 0
    if memory:
        fetched = sum(piece["args"]["bits"] for piece in shown["host: weight"])
        moved = [run.counters.traffic["host"] for run in run.runs if run.layer.macs]
        assert fetched == sum(tensors[name].read_bits for tensors in moved for name in ("weight", "index"))


def test_channels_share_their_slowest_vector() -> None:
    trace, run = traced(SPARSE_NETWORKS["batch"], sparse(channels=2, pes=4))
    shown = lanes(trace)
    assert len(shown["products"]) == 2 * 2  # three vectors in groups of two, through two layers
    assert cycles_by_name(shown["stalls"]) == {k: v for k, v in run.result.totals.stall_cycles.items() if v}
    assert max(p["ts"] + p["dur"] for p in shown["PE 3"]) <= run.result.totals.seconds * 1e6


def test_many_pes_share_lanes() -> None:
    names = [name for name in lanes(traced(SPARSE_NETWORKS["batch"], sparse(pes=130))[0]) if name.startswith("PE")]
    assert names[0] == "PEs 0 to 2"
    assert len(names) <= 64


def test_a_small_product_by_hand() -> None:
    """Two PEs, a 2 x 2 matrix without a zero, two activations: see the kernel's text for the edges."""
    network = network_of(Linear(out=2), (2,), precision=formats("int16"))
    trace, run = traced(network, sparse(pes=2, zero_detection="ideal"))
    shown = lanes(trace)
    begins = {name: [piece["args"]["cycle"] for piece in lane] for name, lane in shown.items()}
    assert begins["broadcast"] == [0, 1, 3]  # the pack is taken; edges 2 and 3 write the queues; the rest
    assert begins["PE 0"] == [3]
    assert shown["PE 0"][0]["args"] == {"cycle": 3, "cycles": 2, "entries": 2}
    assert shown["busy"][0]["args"] == {"cycle": 6, "cycles": 2}
    assert run.result.totals.cycles == 10


# ---- several machines ----------------------------------------------------------------------------------


def test_each_machine_is_a_process() -> None:
    network = chain(("a", Linear(out=20)), ("b", Linear(out=7)), ("c", Linear(out=5)), inputs={"x": (30,)}, batch=3)
    mapping = MappingFile.model_validate({"layers": {"b": {"engine": "eie"}}})
    recorder = Recorder()
    run = accelsim.simulate_full(network, array(4, 4, one_buffer("2 KiB")), mapping=mapping, recorder=recorder)
    trace = build_trace(run.runs, recorder)
    names = {e["pid"]: e["args"]["name"] for e in events(trace) if e["name"] == "process_name"}
    assert names == {1: "chain on test", 2: "chain on eie"}
    assert not trace.notes
    main, other = lanes(trace, 1), lanes(trace, 2)
    assert [piece["name"] for piece in main["layers"]] == ["a", "c"]
    assert [piece["name"] for piece in other["layers"]] == ["b"]
    assert "PE 0" in other
    a, c = main["layers"]
    b = other["layers"][0]
    assert a["ts"] + a["dur"] == pytest.approx(b["ts"], abs=1e-3)
    assert 0 <= c["ts"] - (b["ts"] + b["dur"]) <= 2e-3  # up to a cycle of the run's clock, 1 GHz
    assert c["ts"] + c["dur"] == pytest.approx(run.result.totals.seconds * 1e6)
    assert b["args"]["cycles"] == next(r.counters.cycles for r in run.runs if r.layer.name == "b")
    assert all(p["ts"] >= b["ts"] - 1e-3 for lane in other.values() for p in lane)


def test_recording_changes_nothing() -> None:
    for name, many in SPARSE_NETWORKS.items():
        plain, seen = (accelsim.simulate_full(many, "eie", recorder=r).runs for r in (None, Recorder()))
        assert plain == seen, name
    network, arch = gemm(9, 8, 7), array(4, 4, one_buffer("1 KiB"))
    assert accelsim.simulate_full(network, arch).runs == accelsim.simulate_full(network, arch, recorder=Recorder()).runs
