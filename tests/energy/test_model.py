"""Is energy the sum of count times cost, each cost with a source?"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelsim.arch.loader import read_architecture
from accelsim.arch.spec import Architecture
from accelsim.counters import Counters, Transfer
from accelsim.energy import EnergyModel
from accelsim.energy.resolve import port_width_bits
from accelsim.engines.base import LayerRun
from accelsim.errors import InfeasibleError, InputError, InvariantError
from accelsim.workload.network import Layer
from accelsim.workload.ops import Linear
from accelsim.workload.precision import Precision, parse_format
from accelsim.yaml_io import load_document

KIB = 2**10
SHIPPED = sorted((Path(__file__).parents[2] / "arch_configs").rglob("*.yaml"))
COUNTS = st.integers(0, 10**12)


def architecture(**changes: Any) -> Architecture:
    """A small chip at 45 nm whose costs are tabulated ones; ``changes`` replace blocks of the file."""
    blocks: dict[str, Any] = {
        "schema": "accelsim.arch/1",
        "name": "chip",
        "technology": {"node_nm": 45},
        "clock": "1 GHz",
        "engine": {"kind": "systolic", "rows": 16, "cols": 16},
        "memory": [
            {"name": "dram", "bandwidth": "10 GB/s"},
            {"name": "buffer", "size": "64 KiB", "width_bits": 64, "holds": ["input", "weight", "output"]},
        ],
        "energy": {"dram": "LPDDR4"},
    }
    return Architecture.model_validate(blocks | changes)


def run(precision: Precision | None = None, **counts: Any) -> LayerRun:
    layer = Layer("fc", Linear(op="linear", out=1), (), (), (), precision or Precision())
    return LayerRun(layer, "systolic", {}, {}, Counters(**counts), Fraction(256))


def faults(**changes: Any) -> list[str]:
    with pytest.raises(InputError) as caught:
        EnergyModel.of(architecture(**changes))
    return [str(fault) for fault in caught.value.faults]


def given_cost(pj: float, per: str) -> dict[str, Any]:
    return {"pj": pj, "per": per, "source": "measured here"}


# -- counts times costs


def test_energy_is_count_times_cost_by_hand() -> None:
    traffic = {
        "dram": {"weight": Transfer(read_bits=800), "output": Transfer(write_bits=80)},
        "buffer": {"input": Transfer(read_bits=640, write_bits=128)},
    }
    counts: dict[str, Any] = {"macs": 1000, "vector_ops": 10, "register_bits": 5000, "traffic": traffic}
    energy = EnergyModel.of(architecture()).layer_energy(run(**counts), seconds=1e-6)
    assert energy == {
        "mac": pytest.approx(1000 * (0.2 + 0.1), rel=1e-5),  # 8 x 8 bits into 32, Horowitz
        "vector": pytest.approx(10 * 0.1),
        "array_registers": pytest.approx(5000 * 0.009 / 0.86363, rel=1e-3),  # 40 to 45 nm
        "dram": pytest.approx(880 * 8),
        "buffer": pytest.approx(10 * 25.87 + 2 * 19.649),  # CACTI, 64 KB, 64 bits, 45 nm
        "leakage": pytest.approx(0.0016703e9 * 1e-6),  # 1.67 uW for a microsecond, in pJ
    }


def test_all_components_are_there_when_nothing_was_counted() -> None:
    energy = EnergyModel.of(architecture()).layer_energy(run(), seconds=0.0)
    assert energy == dict.fromkeys(["mac", "vector", "dram", "buffer", "leakage"], 0.0)


@given(COUNTS, COUNTS, COUNTS, COUNTS)
def test_two_layers_cost_what_their_counts_cost_together(macs: int, ops: int, bits: int, moved: int) -> None:
    model = EnergyModel.of(architecture())
    first = run(macs=macs, vector_ops=ops, traffic={"buffer": {"input": Transfer(bits, moved)}})
    second = run(macs=moved, register_bits=bits, traffic={"dram": {"weight": Transfer(ops, macs)}})
    both = replace(first, counters=first.counters + second.counters)
    parts = [model.layer_energy(first, 1e-3), model.layer_energy(second, 2e-3)]
    for name, pj in model.layer_energy(both, 3e-3).items():
        assert pj == pytest.approx(sum(part.get(name, 0.0) for part in parts))


def test_zero_operands_save_nothing() -> None:
    model = EnergyModel.of(architecture())
    dense, sparse = run(macs=100, effective_macs=100), run(macs=100, effective_macs=1)
    assert model.layer_energy(dense, 1e-6) == model.layer_energy(sparse, 1e-6)


def test_accumulator_traffic_is_costed_where_it_is_counted() -> None:
    engine = {"kind": "systolic", "rows": 16, "cols": 16, "accumulators": {"entries": 1024}}
    model = EnergyModel.of(architecture(engine=engine))
    counted = run(traffic={"accumulators": {"partial_sum": Transfer(read_bits=512)}})
    expected = 8 * 6.137  # a word of 16 columns x 32 bits, from 8 arrays of 8 KB and 64 bits
    assert model.layer_energy(counted, 0.0)["accumulators"] == pytest.approx(expected)
    assert "accumulators" not in model.layer_energy(run(), 0.0)


def test_registers_that_an_engine_does_not_count_are_absent_not_zero() -> None:
    model = EnergyModel.of(architecture())
    assert "array_registers" in model.layer_energy(run(register_bits=1), 0.0)
    assert "array_registers" not in model.layer_energy(run(macs=1), 0.0)


def test_traffic_at_a_level_without_a_cost_is_never_dropped() -> None:
    with pytest.raises(InvariantError, match='layer fc: traffic at "nowhere", a level without a cost'):
        EnergyModel.of(architecture()).layer_energy(run(traffic={"nowhere": {"input": Transfer(8)}}), 0.0)


def test_a_layer_without_a_source_for_its_precision_is_infeasible() -> None:
    fp8 = parse_format("fp8")
    layer = run(Precision(weight=fp8, input=fp8, accumulator=parse_format("fp32")), macs=1)
    with pytest.raises(InfeasibleError, match=r"layer fc: its energy: asks for fp8 x fp8.*energy.costs.mac"):
        EnergyModel.of(architecture()).layer_energy(layer, 0.0)


def test_no_table_reports_no_energy() -> None:
    model = EnergyModel.of(architecture(energy={"table": "none"}, technology={"node_nm": 3}))
    assert model.layer_energy(run(macs=10), 1.0) == {}
    assert model.sources() == []


# -- sources


def test_every_component_has_a_source() -> None:
    model = EnergyModel.of(architecture())
    sources = model.sources()
    assert set(model.layer_energy(run(), 0.0)) <= {source.component for source in sources}
    assert all(len(source.source) > 5 for source in sources if source.status != "not costed")


def test_what_is_left_out_is_listed() -> None:
    sources = EnergyModel.of(architecture(energy={"dram": "DDR3", "registers": "none"})).sources()
    left_out = {source.component for source in sources if source.status == "not costed"}
    assert left_out == {"array_registers", "not_modelled"}


def test_sources_are_those_of_the_precisions_asked_for() -> None:
    model = EnergyModel.of(architecture())
    four = Precision(weight=parse_format("int4"), input=parse_format("int16"))
    assert [s.action for s in model.sources([four]) if s.component == "mac"] == [
        "multiply int4 x int16",
        "add int32",
    ]
    assert [s.action for s in model.sources() if s.component == "mac"] == [
        "multiply int8 x int8",
        "add int32",
    ]


def test_a_precision_that_costs_nothing_yet_is_listed_as_such() -> None:
    fp8 = parse_format("fp8")
    sources = EnergyModel.of(architecture()).sources([Precision(weight=fp8, input=fp8, accumulator=fp8)])
    assert [(s.component, s.status) for s in sources[:2]] == [("mac", "not costed"), ("vector", "not costed")]


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_architectures_have_all_their_costs(path: Path) -> None:
    arch = read_architecture(load_document(path))
    if arch.engine.kind == "roof":  # a machine that is known by its peaks alone is never simulated
        assert arch.energy.table == "none"
        return
    model = EnergyModel.of(arch)
    assert bool(model.sources()) == (arch.energy.table != "none")


def test_the_model_is_a_value() -> None:
    assert EnergyModel.of(architecture()) == EnergyModel.of(architecture())


# -- costs that the file gives


def test_given_costs_replace_the_table() -> None:
    costs = {
        "mac": given_cost(1, "mac"),
        "vector": given_cost(2, "op"),
        "array_registers": given_cost(3, "bit"),
        "dram": given_cost(4, "bit"),
        "buffer.read": given_cost(64, "access"),
        "leakage": given_cost(5, "cycle"),
    }
    model = EnergyModel.of(architecture(energy={"costs": costs}))
    traffic = {"dram": {"weight": Transfer(1, 1)}, "buffer": {"input": Transfer(10, 64)}}
    energy = model.layer_energy(run(macs=1, vector_ops=1, register_bits=1, traffic=traffic), seconds=1e-6)
    assert energy == {
        "mac": 1, "vector": 2, "array_registers": 3, "dram": 8, "buffer": pytest.approx(10 + 19.649),
        "leakage": pytest.approx(5 * 1000),
    }  # fmt: skip
    assert sum(source.source == "measured here" for source in model.sources()) == 7


def test_a_precision_has_its_own_given_cost_before_the_general_one() -> None:
    costs = {"mac": given_cost(1, "mac"), "mac.int4xint8": given_cost(7, "mac")}
    model = EnergyModel.of(architecture(energy={"costs": costs}))
    mixed = run(Precision(weight=parse_format("int4"), input=parse_format("uint8")), macs=1)
    assert model.layer_energy(mixed, 0.0)["mac"] == 7
    assert model.layer_energy(run(macs=1), 0.0)["mac"] == 1


@pytest.mark.parametrize(("weight", "operand"), [("int8", "int16"), ("int12", "uint16"), ("uint8", "int8"), ("int4", "int4")])
def test_narrow_operands_cost_no_more_than_is_given_for_the_multiplier_that_holds_them(weight: str, operand: str) -> None:
    narrow = Precision(weight=parse_format(weight), input=parse_format(operand))
    table = EnergyModel.of(architecture()).layer_energy(run(narrow, macs=1), 0.0)["mac"]
    for given_pj in (table / 2, table * 2):
        wide = {"mac.int16": given_cost(given_pj, "mac"), "mac.int2": given_cost(1e-9, "mac")}
        model = EnergyModel.of(architecture(energy={"costs": wide}))
        assert model.layer_energy(run(narrow, macs=1), 0.0)["mac"] == pytest.approx(min(table, given_pj))


def test_one_memory_can_be_given_a_leakage() -> None:
    model = EnergyModel.of(architecture(energy={"costs": {"leakage.buffer": given_cost(2, "cycle")}}))
    assert model.layer_energy(run(), 1e-9)["leakage"] == pytest.approx(2)


def test_a_memory_without_a_size_lives_on_a_given_cost() -> None:
    memory = [{"name": "dram"}, {"name": "buffer", "holds": ["input"]}]
    model = EnergyModel.of(architecture(memory=memory, energy={"costs": {"buffer": given_cost(1, "bit")}}))
    assert [s.status for s in model.sources() if s.action == "buffer"] == ["not costed"]


def test_registers_as_a_memory_cost_a_flip_flop_a_bit() -> None:
    memory = [{"name": "dram"}, {"name": "rf", "kind": "register", "size": "64 B", "holds": ["input"]}]
    model = EnergyModel.of(architecture(memory=memory, technology={"node_nm": 40}))
    assert model.layer_energy(run(traffic={"rf": {"input": Transfer(100, 0)}}), 0.0)["rf"] == pytest.approx(
        0.9
    )


# -- port widths


@pytest.mark.parametrize(
    ("level", "bits"),
    [
        ({"width_bits": 128, "bandwidth": "4 B/cycle"}, 128),
        ({"bandwidth": "512 B/cycle"}, 4096),
        ({"bandwidth": "50 GB/s"}, 256),  # 400 bits a cycle at 1 GHz, down to a power of two
        ({"bandwidth": "1 MB/s"}, 16),
        ({}, 64),
    ],
)
def test_the_width_of_an_access(level: dict[str, Any], bits: int) -> None:
    memory = [{"name": "dram"}, {"name": "buffer", "size": "1 MiB", "holds": ["input"]} | level]
    arch = architecture(memory=memory)
    assert port_width_bits(arch.memory[1], arch.clock)[0] == bits


# -- faults


def test_an_unknown_dram_names_the_nearest() -> None:
    (fault,) = faults(energy={"dram": "HBM2E"})
    assert fault.startswith('chip: energy.dram: there is no DRAM "HBM2E" (did you mean "HBM2"?), must be ')


def test_all_faults_are_told_at_once() -> None:
    memory = [{"name": "dram"}, {"name": "buffer", "holds": ["input"]}]
    energy = {"dram": "RAM", "costs": {"mac": given_cost(1, "bit"), "bufer": given_cost(1, "bit")}}
    told = faults(memory=memory, energy=energy)
    keys = ["energy.dram", "memory.buffer.size", "energy.costs.mac.per", "energy.costs.bufer"]
    assert sorted(fault.split(": ")[1] for fault in told) == sorted(keys)
    assert any('did you mean "buffer"?' in fault for fault in told)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"technology": {"node_nm": 5}}, "technology.node_nm: is 5, known are 7 to 180 nm"),
        ({"technology": {"node_nm": 28, "voltage": 2}}, "technology.voltage: is 2 V, must be 0.68 to 1.12 V"),
        ({"engine": {"kind": "systolic", "rows": 2, "cols": 2, "precision": {"fp8": 1}}}, "energy of fp8"),
        (
            {"energy": {"table": "none", "costs": {"mac": given_cost(1, "mac")}}},
            "has no effect with energy.table none",
        ),
        (
            {"energy": {"costs": {"mac.wide": given_cost(1, "mac")}}},
            "energy.costs.mac.wide: is 'wide', must be int1",
        ),
        ({"memory": [{"name": "mac"}]}, 'a level is named "mac"'),
        ({"energy": {"costs": {"dram": given_cost(1, "access")}}}, "memory.dram: is the far end"),
        (
            {
                "energy": {
                    "costs": {"leakage": given_cost(1, "cycle"), "leakage.buffer": given_cost(1, "cycle")}
                }
            },
            "energy.costs.leakage.buffer: costs nothing here",
        ),
    ],
)
def test_faults_name_the_key(changes: dict[str, Any], message: str) -> None:
    assert any(message in fault for fault in faults(**changes))


def test_a_given_mac_needs_no_table() -> None:
    engine = {"kind": "systolic", "rows": 2, "cols": 2, "precision": {"int8": 1}}
    costs = {"mac.fp8": given_cost(1, "mac"), "vector": given_cost(1, "op")}
    fp8 = parse_format("fp8")
    model = EnergyModel.of(architecture(engine=engine, energy={"costs": costs}))
    assert model.layer_energy(run(Precision(weight=fp8, input=fp8, accumulator=fp8), macs=3), 0.0)["mac"] == 3
