"""Is a bit-serial unit 16/p as fast at p bits, a fused one (8/w)(8/a), and is what neither can refused?"""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import UNBOUNDED, array, formats, gemm, one_buffer
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim.api import simulate, simulate_full
from accelsim.arch.loader import read_architecture
from accelsim.arch.spec import listed_precisions, relative_throughput
from accelsim.errors import InfeasibleError, InputError
from accelsim.workload.functional import run_reference
from accelsim.yaml_io import Document, parse_document

SERIAL = {"scaling": "bit_serial"}
FUSED = {"scaling": "bit_fusion"}


def speed(form: dict[str, Any], weight: int, activation: int) -> Fraction:
    table = array(precision=form).engine.precision  # type: ignore[union-attr]
    return relative_throughput(table, formats(f"int{weight}", f"uint{activation}"), "systolic")


@pytest.mark.parametrize(
    ("form", "weight", "activation", "expected"),
    [
        (SERIAL, 16, 16, 1), (SERIAL, 16, 8, 2), (SERIAL, 2, 5, "16/5"), (SERIAL, 7, 1, 16),
        (SERIAL | {"bits": 8}, 8, 3, "8/3"), (SERIAL | {"operand": "weight"}, 5, 16, "16/5"),
        (SERIAL | {"operand": "both"}, 5, 3, "256/15"),
        (FUSED, 8, 8, 1), (FUSED, 2, 2, 16), (FUSED, 4, 2, 8), (FUSED, 8, 4, 2), (FUSED, 16, 16, "1/4"), (FUSED, 16, 8, "1/2"),
        (FUSED, 3, 8, 2), (FUSED, 5, 8, 1), (FUSED, 1, 1, 16), (FUSED, 9, 8, "1/2"),
        (FUSED | {"bits": 12, "brick": 3}, 3, 4, 8),
    ],
)  # fmt: skip
def test_speed_by_bits(form: dict[str, Any], weight: int, activation: int, expected: int | str) -> None:
    assert speed(form, weight, activation) == Fraction(expected)


@pytest.mark.parametrize(
    ("form", "weight", "activation"),
    [(SERIAL, 17, 8), (SERIAL, 8, 17), (SERIAL | {"bits": 8}, 9, 4), (FUSED, 17, 8), (FUSED, 8, 17)],
)
def test_operands_that_are_too_wide_are_refused(form: dict[str, Any], weight: int, activation: int) -> None:
    with pytest.raises(InfeasibleError, match=r"integers of up to \d+ bits \(bit_"):
        speed(form, weight, activation)


def test_floats_are_refused() -> None:
    with pytest.raises(InfeasibleError, match="weight fp32"):
        relative_throughput(array(precision=FUSED).engine.precision, formats("fp32"), "systolic")  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{scaling: bit_seriel}", 'scaling is "bit_seriel", must be bit_serial or bit_fusion (did you mean "bit_serial"?)'),
        ("{scaling: bit_serial, bits: 1}", "is 1, must be greater than or equal to 2"),
        ("{scaling: bit_serial, operand: output}", "operand: is \"output\", must be 'input', 'weight' or 'both'"),
        ("{scaling: bit_serial, brick: 2}", "unknown key"),
        ("{scaling: bit_fusion, bits: 6}", "bits is 6, must be brick (2) times a power of two"),
        ("{int8: 0}", "engine.precision"),
    ],
)
def test_faults_of_a_form_are_named(text: str, message: str) -> None:
    document = parse_document(
        "schema: accelsim.arch/1\nname: d\nclock: 1 GHz\n"
        f"engine: {{kind: systolic, rows: 4, cols: 4, precision: {text}}}\nmemory: [{{name: dram}}]\n", "f"
    )  # fmt: skip
    with pytest.raises(InputError) as caught:
        read_architecture(document)
    assert message in str(caught.value)
    assert "f:4:" in str(caught.value)


def test_a_form_is_read_back_from_what_it_writes() -> None:
    arch = array(precision=SERIAL | {"operand": "both"})
    again = read_architecture(Document(arch.model_dump(mode="json", by_alias=True), "again"))
    assert again.engine == arch.engine


def test_the_first_precision_listed_is_that_of_full_speed() -> None:
    for form in (SERIAL, FUSED, FUSED | {"bits": 16, "brick": 4}, SERIAL | {"bits": 8}):
        table = array(precision=form).engine.precision  # type: ignore[union-attr]
        first, *others = (formats(name) for name in listed_precisions(table))
        assert relative_throughput(table, first, "systolic") == 1
        assert all(relative_throughput(table, other, "systolic") != 1 for other in others)


def cycles(bits: int, reduction: int, form: dict[str, Any]) -> int:
    network = gemm(4, reduction, 4, formats("int16", f"int{bits}", "int48", "int16"))
    return simulate(network, array(4, 4, UNBOUNDED, dataflow="os", precision=form)).totals.cycles


@pytest.mark.parametrize("bits", [1, 3, 5, 8, 11, 16])
def test_a_serial_array_streams_a_reduction_in_p_sixteenths_of_the_cycles(bits: int) -> None:
    """An os fold takes its stream and a constant; 160 is a multiple of every group of operands."""
    constant = cycles(16, 160, SERIAL) - 160
    assert cycles(bits, 160, SERIAL) - constant == 160 * bits // 16
    assert cycles(bits, 160, SERIAL) - constant == cycles(bits, 159, SERIAL) - constant + (bits == 16)


def test_packing_traffic_and_energy_follow_the_bits_layer_by_layer() -> None:
    wide, narrow = formats("int8", "int8", "int32", "int8"), formats("int4", "int2", "int32", "int8")
    arch = array(4, 4, one_buffer("1 MiB"), dataflow="ws", precision=FUSED)
    costed = arch.model_copy(update={"energy": arch.energy.model_copy(update={"table": "45nm"})})
    runs = [simulate(gemm(64, 256, 64, precision), costed).layers[0] for precision in (wide, narrow)]
    assert runs[1].peak_macs_per_cycle == 8 * runs[0].peak_macs_per_cycle
    read = [run.traffic_bytes["dram"] for run in runs]
    assert read[0]["weight"].read == 2 * read[1]["weight"].read == 256 * 64
    assert read[0]["input"].read == 4 * read[1]["input"].read == 64 * 256
    assert runs[1].energy_pj["mac"] < runs[0].energy_pj["mac"]
    assert runs[1].busy_cycles < runs[0].busy_cycles


@pytest.mark.slow
@settings(max_examples=12, deadline=None)
@given(
    weight=st.integers(2, 8), activation=st.integers(2, 8), dataflow=st.sampled_from(["ws", "os", "is"]),
    form=st.sampled_from([SERIAL, SERIAL | {"operand": "both"}, FUSED]),
    sizes=st.tuples(*(st.integers(1, 40) for _ in range(3))),
)  # fmt: skip
def test_outputs_are_the_same_at_every_speed(
    weight: int, activation: int, dataflow: str, form: dict[str, Any], sizes: tuple[int, int, int]
) -> None:
    network = gemm(*sizes, formats(f"int{weight}", f"int{activation}", "int32", "int32"))
    arch = array(3, 5, UNBOUNDED, dataflow=dataflow, precision=form)
    run = simulate_full(network, arch, values=True, seed=1)
    np.testing.assert_array_equal(run.outputs["layer"], run_reference(network, 1)["layer"][0])
    layer = run.result.layers[0]
    assert layer.cycles == simulate(network, arch).layers[0].cycles
    assert layer.cycles * Fraction(15) * speed(form, weight, activation) >= layer.macs


def test_layers_of_one_network_run_at_their_own_bits(tmp_path: Path) -> None:
    path = tmp_path / "n.yaml"
    path.write_text(
        "schema: accelsim.network/1\nname: mixed\nbatch: 64\nlayers:\n"
        "  - {name: a, op: linear, in: 256, out: 256}\n"
        "  - {name: b, op: linear, out: 256, precision: {weight: int4}}\n"
        "  - {name: c, op: linear, out: 256, precision: {weight: int2, input: int4}}\n",
        encoding="utf-8",
    )
    for chip, form in (("gemmini_16x16", FUSED), ("diannao", FUSED)):
        overrides = {"arch.engine.precision": form, "arch.memory.0.bandwidth": "1 TB/s"}
        if chip == "diannao":
            overrides["arch.engine.arithmetic"] = None  # type: ignore[assignment]
        layers = simulate(path, chip, overrides=overrides).layers
        peaks = [layer.peak_macs_per_cycle for layer in layers]
        assert [peak / peaks[0] for peak in peaks] == [1, 2, 8]
        assert [layer.weights.stored_bits if layer.weights else 0 for layer in layers] == [65536 * 8, 65536 * 4, 65536 * 2]
        assert layers[0].cycles > 1.7 * layers[1].cycles > 2 * layers[2].cycles
        energy = [layer.energy_pj["mac"] for layer in layers]
        assert energy[0] > energy[1] > energy[2]
