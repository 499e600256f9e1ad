"""Films of registers: every MAC is in them, sums are right, and waveforms and pictures say what they hold."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import array, chain, conv, formats, gemm, local, network_of
from hypothesis import given, settings
from hypothesis import strategies as st

import accelsim
from accelsim.cli import main
from accelsim.counters import Transfer
from accelsim.errors import InfeasibleError
from accelsim.mapping.mapping import MappingFile
from accelsim.report import nfu_registers, sparse_registers
from accelsim.report.animation import to_html, to_svg
from accelsim.report.registers import film
from accelsim.report.waveform import to_vcd
from accelsim.workload.ops import Linear, Recurrent

DEEP = {"hop": 2, "multiplier": 1, "accumulator": 2, "input": 1, "output": 1}
WAYS = [
    (dataflow, overlap, buffers, edge)
    for dataflow, overlap, buffers, edge in product(("ws", "os", "is"), ("none", "skewed"), (1, 2), ("full", "trim"))
    if dataflow != "os" or buffers == 1
]


@pytest.mark.parametrize(("dataflow", "overlap", "buffers", "edge"), WAYS)
@pytest.mark.parametrize("pipeline", [{}, DEEP], ids=["plain", "deep"])
def test_every_mac_is_on_film(dataflow: str, overlap: str, buffers: int, edge: str, pipeline: dict[str, int]) -> None:
    """`film` itself checks sums, and that folds never meet in a register."""
    arch = array(4, 3, dataflow=dataflow, overlap=overlap, weight_buffers=buffers, edge=edge, pipeline=pipeline)
    network = gemm(6, 5, 4)
    shot = film(network, arch)
    assert sum(len(frame.working) for frame in shot.frames) == 6 * 5 * 4
    cycles = accelsim.simulate(network, arch).totals.cycles
    assert len(shot.frames) == cycles + 1
    assert not shot.frames[-1].working
    assert any(frame.outputs for frame in shot.frames[-3:])


def test_a_convolution_and_its_working_cycles() -> None:
    arch = array(4, 4, dataflow="os", overlap="none", edge="trim")
    network = conv(2, (4, 4), K=3, R=2, S=2)
    shot = film(network, arch)
    result = accelsim.simulate(network, arch)
    assert sum(len(frame.working) for frame in shot.frames) == result.totals.macs
    assert sum(bool(frame.working) for frame in shot.frames) == result.totals.busy_cycles


def test_what_is_too_large_is_refused_with_levers() -> None:
    with pytest.raises(InfeasibleError, match=r"asks for 32 x 32 PEs, there is room for 256 PEs at most; try: .*rows=4"):
        film(gemm(4, 4, 4), array(32, 32))
    with pytest.raises(InfeasibleError, match="PE cycles at most"):
        film(gemm(1000, 1000, 100), array(8, 8))
    two = chain(("a", Linear(out=4)), ("b", Linear(out=4)), inputs={"x": (4,)})
    with pytest.raises(InfeasibleError, match="choose one with --layer NAME"):
        film(two, array(4, 4))
    with pytest.raises(InfeasibleError, match="64 PEs"):
        to_svg(film(gemm(4, 4, 4), array(16, 16)))


# ---- waveform --------------------------------------------------------------------------------------


def read_vcd(text: str) -> tuple[dict[str, tuple[str, int]], list[tuple[int, dict[str, str]]]]:
    """A small reader of the format: variables by code (path, bits), and the changes at each time."""
    head, body = text.split("$enddefinitions $end\n")
    path: list[str] = []
    variables = {}
    for line in head.splitlines():
        words = line.split()
        if words[0] == "$scope":
            path.append(words[2])
        elif words[0] == "$upscope":
            path.pop()
        elif words[0] == "$var":
            assert words[3] not in variables
            variables[words[3]] = (".".join([*path, words[4]]), int(words[2]))
    assert path == []
    changes: list[tuple[int, dict[str, str]]] = []
    for line in body.splitlines():
        if line.startswith("#"):
            changes.append((int(line[1:]), {}))
        elif line[0] in "01":
            changes[-1][1][line[1:]] = line[0]
        else:
            value, code = line.split()
            changes[-1][1][code] = value
    return variables, changes


@pytest.mark.parametrize("dataflow", ["os", "ws"])
def test_the_waveform_holds_the_film(dataflow: str) -> None:
    shot = film(gemm(3, 4, 3), array(4, 4, dataflow=dataflow, edge="trim"))
    variables, changes = read_vcd(to_vcd(shot))
    names = {name: (code, bits) for code, (name, bits) in variables.items()}
    assert names["array.clk"][1] == 1
    times = [time for time, _ in changes]
    assert times == sorted(times)
    assert times[2] - times[0] == 1000  # picoseconds at 1 GHz
    now: dict[str, str] = {}
    risen = [(now := now | made) for time, made in changes if time % 1000 == 0]
    code, bits = names["array.row_0.pe_0_0.left"]
    for frame, seen in zip(shot.frames, risen, strict=False):
        expected = frame.state.get(("left", 0, 0))
        assert seen[code] == ("bx" if expected is None else f"b{int(expected) & (1 << bits) - 1:b}")


@pytest.mark.slow
def test_floats_are_real() -> None:
    arch = array(2, 2, precision={"fp32": 1})
    precision = formats("fp32", accumulator="fp32", output="fp32")
    text = to_vcd(film(gemm(2, 2, 2, precision), arch))
    assert "$var real 64" in text
    assert re.search(r"^r-?\d", text, re.M)


# ---- sparse engines --------------------------------------------------------------------------------


NARROW = {"arch.memory.host.bandwidth": "3 B/cycle", "arch.memory.spmat.preloaded": False, "arch.memory.spmat.size": 64}


def eie(memory: dict[str, Any] | None = None, **engine: Any) -> Any:
    return accelsim.load_arch("eie", overrides={f"arch.engine.{k}": v for k, v in engine.items()} | (memory or {}))


def values_over_time(text: str, name: str) -> list[str]:
    """What a variable reads as each cycle begins."""
    variables, changes = read_vcd(text)
    clock, code = (next(c for c, (path, _) in variables.items() if path == n) for n in (f"{name.split('.')[0]}.clk", name))
    now: dict[str, str] = {}
    found = []
    for _, made in changes:
        now |= made
        if made.get(clock) == "1":
            found.append(now[code])
    return found


SPARSE = {
    "linear": network_of(Linear(out=14), (30,), batch=2, density=0.3),
    "conv": conv(2, (4, 4), K=5, R=3, S=3, pad=1),
    "lstm": chain(("l", Recurrent(op="lstm", hidden=5, projection=3)), inputs={"x": (2, 4)}, batch=1),
}


@given(
    st.sampled_from(sorted(SPARSE)),
    st.sampled_from([1, 3, 8]),
    st.integers(2, 4),
    st.fixed_dictionaries(
        {
            "passes": st.sampled_from(["overlapped", "drained"]),
            "register_entries": st.sampled_from([2, 64]),
            "empty_column": st.sampled_from(["cycle", "free"]),
            "zero_detection": st.sampled_from(["packs", "ideal"]),
            "memory": st.sampled_from([{}, NARROW]),
        }
    ),
)
@settings(max_examples=20)
def test_a_sparse_film_is_the_engines_run(name: str, pes: int, depth: int, engine: dict[str, Any]) -> None:
    """`film` itself checks each product's cycles and accumulators against the engine's."""
    arch = eie(pes=pes, fifo_depth=depth, **engine)
    shot = sparse_registers.film(SPARSE[name], arch)
    run = accelsim.simulate_full(SPARSE[name], arch, values=True)
    assert np.array_equal(shot.outputs[0], run.runs[0].outputs[0])
    counters = run.runs[0].counters
    assert len(shot.frames) <= counters.cycles + 1
    assert name == "lstm" or len(shot.frames) == counters.cycles + 1  # the cell of an LSTM is not in the film
    written = sum(signal[0] == "write_row" for frame in shot.frames for signal in frame)
    assert written == counters.unit_counts["entries"]
    assert sum(frame.get(("held",), 0) for frame in shot.frames) == counters.unit_counts["broadcast_stall_cycles"]
    assert sum(("column",) in frame for frame in shot.frames) == counters.unit_counts["broadcasts"]
    assert max(value for frame in shot.frames for signal, value in frame.items() if signal[0] == "queue_fill") < depth


def test_an_entry_goes_through_a_pe() -> None:
    """One PE, one weight, one activation: see `engines/kernels/sparse.py` for the edges."""
    network = network_of(Linear(out=1), (1,))
    arch = eie(pes=1)
    image, weight = (int(a.ravel()[0]) for a in _operands(network))
    text = to_vcd(sparse_registers.film(network, arch))
    pe = {name: values_over_time(text, f"eie.pe_0.{name}") for name in ("queue_fill", "activation", "product", "write_sum")}
    told = {name: [i for i, value in enumerate(values) if value not in ("bx", "b0")] for name, values in pe.items()}
    assert told == {"queue_fill": [2], "activation": [3], "product": [7], "write_sum": [7]}
    assert pe["activation"][3] == f"b{image & 0x1FF:b}"
    assert pe["product"][7] == pe["write_sum"][7] == f"b{image * weight & 0xFFFFFFFF:b}"
    assert values_over_time(text, "eie.pe_0.accumulator_0")[7:9] == ["b0", pe["write_sum"][7]]


def _operands(network: Any) -> tuple[Any, Any]:
    from accelsim.simulator import _Values

    operands = _Values.start(network, 0).operands(network.layers[0])
    return operands.inputs[0], operands.weight


def test_sparse_engines_that_the_twin_does_not_know_are_refused() -> None:
    with pytest.raises(InfeasibleError, match=r"several channels.*channels=1"):
        sparse_registers.film(SPARSE["linear"], accelsim.load_arch("ese"))
    with pytest.raises(InfeasibleError, match=r"64 PEs at most; try: .*pes=4"):
        sparse_registers.film(SPARSE["linear"], eie(pes=128))
    with pytest.raises(InfeasibleError, match="PE cycles at most"):
        sparse_registers.refuse(accelsim.load_network("eie_vgg6"), accelsim.load_arch("eie"))


# ---- NFUs ------------------------------------------------------------------------------------------


def diannao(inputs: int, outputs: int, **settings: Any) -> Any:
    unroll = {"arch.engine.unroll.C": inputs, "arch.engine.unroll.K": outputs}
    return accelsim.load_arch("diannao", overrides=unroll | {f"arch.engine.{k}": v for k, v in settings.items()})


INT16 = formats("int16", output="int16")
DENSE = {
    "gemm": gemm(4, 10, 7, INT16),
    "conv": conv(4, (5, 5), K=6, R=3, S=3, pad=1, groups=2, precision=INT16),
    "local": local(3, (4, 4), K=4, R=2, S=2),
}


@given(
    st.sampled_from(sorted(DENSE)),
    st.sampled_from([1, 3, 4]),
    st.sampled_from([1, 4, 5]),
    st.sampled_from([{}, {"C": 3}, {"C": 2, "K": 3}]),
    st.sampled_from(["registers", "buffer"]),
    st.sampled_from(["skewed", "none"]),
)
@settings(max_examples=20)
def test_an_nfu_film_is_the_engines_run(
    name: str, inputs: int, outputs: int, tile: dict[str, int], sums: str, overlap: str
) -> None:
    """`film` itself checks the sums, and that tiles never meet in a register."""
    arch = diannao(inputs, outputs, sums=sums, overlap=overlap)
    mapping = MappingFile.model_validate({"default": {"tile": tile} if tile and name != "local" else {}})
    shot = nfu_registers.film(DENSE[name], arch, mapping)
    counters = accelsim.simulate_full(DENSE[name], arch, mapping=mapping).runs[0].counters
    assert len(shot.frames) == counters.cycles + 1
    multiplying = sum(("tile",) in frame for frame in shot.frames)
    assert multiplying == counters.busy_cycles
    written = 0
    for tensor, number in (("output", shot.precision.output), ("partial_sum", shot.precision.accumulator)):
        moved = counters.traffic[arch.holder(tensor).name].get(tensor, Transfer())
        written += moved.write_bits // (outputs * number.bits)
    assert sum(("written",) in frame for frame in shot.frames) == written


def test_a_row_goes_through_the_stages() -> None:
    """Two inputs, one output, one row: products a cycle after the operands, the sum one later, then NFU-3."""
    network = gemm(1, 2, 1, INT16)
    text = to_vcd(nfu_registers.film(network, diannao(2, 1)))
    names = ("operands.in_0", "nfu1.out_0.product_0", "nfu2.sum_0", "nfu3.out_0", "nfu3.written")
    told = [[i for i, v in enumerate(values_over_time(text, f"nfu.{name}")) if v != "bx"] for name in names]
    first = told[0][0]
    assert told == [[first], [first + 1], [first + 2], [first + 3], [first + 3]]


def test_nfus_that_the_twin_does_not_know_are_refused() -> None:
    with pytest.raises(InfeasibleError, match=r"4 output pixels at once"):
        nfu_registers.film(DENSE["gemm"], accelsim.load_arch("diannao", overrides={
            "arch.engine.unroll": {"K": 4, "C": 4, "P": 2, "Q": 2}}))  # fmt: skip
    with pytest.raises(InfeasibleError, match=r"256 multipliers at most"):
        nfu_registers.film(DENSE["gemm"], diannao(32, 16))
    with pytest.raises(InfeasibleError, match="multiplier cycles at most"):
        nfu_registers.film(gemm(1000, 1000, 100, INT16), diannao(4, 4))


# ---- pictures --------------------------------------------------------------------------------------


@pytest.mark.parametrize("dataflow", ["os", "ws", "is"])
def test_the_pictures_are_whole(dataflow: str) -> None:
    shot = film(gemm(3, 4, 3), array(4, 4, dataflow=dataflow, edge="trim"))
    svg = ElementTree.fromstring(to_svg(shot))
    frames = svg.findall("{http://www.w3.org/2000/svg}g")
    assert len(frames) == len(shot.frames)
    for frame, drawn in zip(shot.frames, frames, strict=True):
        boxes = [e.get("class") for e in drawn.iter("{http://www.w3.org/2000/svg}rect")]
        assert boxes.count("pe on") == len(frame.working)
        assert boxes.count("pe on") + boxes.count("pe") == 16
    page = to_html(shot)
    assert page.count('class="frame"') == len(shot.frames)
    assert not re.search(r"https?://", page)


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    small = ["--set", "arch.engine.rows=4", "--set", "arch.engine.cols=4", "--arch", "rtl/tiny_tpu"]
    source = tmp_path / "net.yaml"
    source.write_text(
        "schema: accelsim.network/1\nname: tiny\nlayers:\n"
        "  - {name: g, op: matmul, M: 5, N: 4, K: 4, after: []}\n"
    )
    for suffix in ("vcd", "svg", "html"):
        out = tmp_path / f"t.{suffix}"
        assert main(["simulate", str(source), *small, "--values", "--trace", str(out)]) == 0, capsys.readouterr().err
        assert out.stat().st_size > 1000
    assert main(["simulate", str(source), *small, "--trace", str(tmp_path / "u.vcd")]) == 2
    assert "add --values" in capsys.readouterr().err
    assert main(["simulate", "alexnet", "--arch", "tpu_v1", "--values", "--trace", str(tmp_path / "u.vcd")]) == 1
    assert "a single layer with MACs at most" in capsys.readouterr().err
    assert not (tmp_path / "u.vcd").exists()


