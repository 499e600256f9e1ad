"""Films of registers: every MAC is in them, sums are right, and waveforms and pictures say what they hold."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ElementTree
from itertools import product
from pathlib import Path

import pytest
from builders import array, chain, conv, formats, gemm

import accelsim
from accelsim.cli import main
from accelsim.errors import InfeasibleError
from accelsim.report.animation import to_html, to_svg
from accelsim.report.registers import film
from accelsim.report.waveform import to_vcd
from accelsim.workload.ops import Linear

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
    with pytest.raises(InfeasibleError, match=r"asks for 32 x 32 PEs, there is 256 PEs at most; try: .*rows=4"):
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


def test_floats_are_real() -> None:
    arch = array(2, 2, precision={"fp32": 1})
    precision = formats("fp32", accumulator="fp32", output="fp32")
    text = to_vcd(film(gemm(2, 2, 2, precision), arch))
    assert "$var real 64" in text
    assert re.search(r"^r-?\d", text, re.M)


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


