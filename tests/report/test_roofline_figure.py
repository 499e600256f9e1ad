"""The roofline figure: its data, its words, its bytes, and its looks against pictures that were looked at.

``ACCELSIM_REGENERATE=1 pytest tests/report/test_roofline_figure.py`` draws the pictures anew: look at them.
"""

from __future__ import annotations

import csv
import io
import os
import re
import zlib
from collections.abc import Callable, Sequence
from dataclasses import replace
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from overlaps import problems, shown_texts

import accelsim.plot
from accelsim.arch.spec import Architecture
from accelsim.counters import Counters, Stalls, Transfer
from accelsim.engines.base import LayerRun
from accelsim.errors import InputError
from accelsim.report import style
from accelsim.report.result import Result
from accelsim.report.roofline_data import level_points, level_roofs, other_roofs, result_labels, roofline_csv
from accelsim.report.roofline_figure import draw_roofline
from accelsim.report.roofline_scene import compose
from accelsim.report.sheet import along_rows
from accelsim.report.ticks import as_powers, tick_label, ticks, words

Make = Callable[[str, Sequence[LayerRun]], Result]
BASELINE = Path(__file__).parent / "baseline"
TOLERANCE_RMS = 6.0  # of 255; a label that moves by its height gives more, another release of FreeType less


def pixels(path: Path) -> Any:
    from matplotlib.image import imread

    return 255 * imread(path)[..., :3].astype(float)


PICTURES: dict[str, dict[str, Any]] = {
    "single": {"show": "layers", "name_layers": 2},
    "apps": {"show": "networks", "axis": "macs_per_weight_byte", "name_layers": 1},
    "levels": {"show": "levels"},
}


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(PICTURES))
def test_looks_as_it_did(
    name: str, resnet50: Result, tpu_apps: list[Result], machines: list[Architecture], tmp_path: Path
) -> None:
    figure, _ = draw_roofline(tpu_apps if name == "apps" else [resnet50], machines, **PICTURES[name])
    drawn, expected = tmp_path / f"{name}.png", BASELINE / f"{name}.png"
    with style.house_style():
        figure.savefig(drawn, dpi=150)
    if os.environ.get("ACCELSIM_REGENERATE"):
        expected.write_bytes(drawn.read_bytes())
    difference = pixels(drawn) - pixels(expected)
    assert np.sqrt(np.mean(difference**2)) < TOLERANCE_RMS, f"compare {drawn} with {expected}"


@pytest.fixture(scope="module")
def drawn(resnet50: Result, machines: list[Architecture]) -> tuple[Any, Any]:
    return draw_roofline([resnet50], machines, name_layers=2)


def written(axes: Any) -> list[str]:
    return [text.get_text() for text in axes.texts]


def test_roofs_carry_names_and_values(drawn: tuple[Any, Any]) -> None:
    assert {
        "tpu_v1 int8: 91.8 TOPS",
        "34 GB/s",
        "ridge 2,699 op/B",
        "haswell fp32: 1.3 TFLOPS",
        "160 GB/s",
    } <= set(written(drawn[1]))


def test_words_cover_nothing(drawn: tuple[Any, Any]) -> None:
    assert problems(drawn[0]) == []


def test_words_stay_on_the_page_and_are_of_printed_size(drawn: tuple[Any, Any]) -> None:
    figure, axes = drawn
    width, height = figure.get_size_inches() * figure.dpi
    for text in [*axes.texts, axes.xaxis.label, axes.yaxis.label, *figure.legends[0].get_texts()]:
        box = text.get_window_extent()
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= width
        assert box.y1 <= height
        assert 6.5 <= text.get_fontsize() <= 8


def test_marker_area_is_share_of_time(resnet50: Result, drawn: tuple[Any, Any]) -> None:
    areas = sorted(drawn[1].collections[0].get_sizes())
    shares = sorted(
        layer.cycles / resnet50.totals.cycles for layer in resnet50.layers if layer.roofline.attained_gops
    )
    assert len(areas) == len(shares)
    assert areas[-1] / areas[-3] == pytest.approx(shares[-1] / shares[-3])


def test_layers_without_off_chip_traffic_stand_in_their_own_band(resnet50: Result) -> None:
    scene = compose([resnet50])
    pool = next(point for point in scene.points[0] if point.layer == "pool1")
    assert scene.unbounded
    assert scene.x_high < scene.x(pool) < scene.x_end
    assert all(scene.x(p) <= scene.x_high for p in scene.points[0] if p.intensity_ops_per_byte)


def test_the_papers_axis_counts_macs_and_weights(
    tpu_apps: list[Result], machines: list[Architecture]
) -> None:
    scene = compose(tpu_apps, machines, "macs_per_weight_byte", "networks")
    ridges = {roof.machine: roof.ridge(scene.axis) for roof in scene.roofs}
    assert ridges["tpu_v1"] == pytest.approx(1350, rel=0.01)
    mlp0 = scene.points[0][0]
    assert scene.x(mlp0) == pytest.approx(200)  # batch 200: each weight is used once an example
    assert mlp0.attained_gops <= scene.roofs[0].height(200, scene.axis)


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".png", ".pdf", ".svg"])
def test_same_bytes(resnet50: Result, tmp_path: Path, suffix: str) -> None:
    first, second = (
        style.save(draw_roofline([resnet50])[0], tmp_path / f"{i}{suffix}").read_bytes() for i in range(2)
    )
    assert first == second
    assert b"CreationDate" not in first


def test_pdf_embeds_its_letters(drawn: tuple[Any, Any], tmp_path: Path) -> None:
    content = style.save(drawn[0], tmp_path / "f.pdf").read_bytes()
    streams = re.findall(rb"stream\r?\n(.*?)\r?\nendstream", content, re.S)
    plain = content
    for stream in streams:
        try:
            plain += zlib.decompress(stream)
        except zlib.error:
            continue
    assert b"/FontFile2" in plain  # TrueType
    assert b"/Type3" not in plain
    box = re.search(rb"/MediaBox \[ 0 0 ([0-9.]+) ([0-9.]+) \]", plain)
    assert box is not None
    assert float(box[1]) == pytest.approx(3.5 * 72)


def test_other_suffixes_are_refused_before_drawing(drawn: tuple[Any, Any], tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r'ends in "\.gif", a figure must end in \.pdf, \.svg, \.png, \.eps or \.pgf'):
        style.save(drawn[0], tmp_path / "f.gif")
    with pytest.raises(InputError, match="ends in nothing"):
        style.check_suffix("roofline")


def test_data_has_layers_networks_and_roofs(resnet50: Result, machines: list[Architecture]) -> None:
    rows = list(csv.DictReader(io.StringIO(roofline_csv([resnet50], machines))))
    assert [row["kind"] for row in rows] == ["layer"] * 57 + ["network"] + ["level"] * 2 + ["roof"] * 5
    conv1 = rows[0]
    assert float(conv1["attained_gops"]) == resnet50.layer("conv1").roofline.attained_gops
    assert next(row for row in rows if row["layer"] == "pool1")["intensity_ops_per_byte"] == ""
    assert {row["architecture"] for row in rows if row["kind"] == "roof"} == {"tpu_v1", "haswell", "k80"}
    assert float(rows[-1]["ridge_macs_per_weight_byte"]) == pytest.approx(8.75)


@pytest.mark.parametrize("arch", ["tpu_v1", "gemmini_16x16", "eyeriss_like", "diannao"])
def test_no_network_stands_above_the_slope_of_any_level(arch: str) -> None:
    result = accelsim.simulate("alexnet", arch)
    points = level_points(result, "alexnet")
    roofs = {roof.level: roof for roof in level_roofs([result])}
    assert points[0].level == result.machine.off_chip
    assert points[0].intensity_ops_per_byte == pytest.approx(result.totals.roofline.intensity_ops_per_byte)
    for point in points:
        bandwidth = roofs[point.level].roof.bandwidth_bytes_per_second
        assert point.intensity_ops_per_byte is not None
        assert bandwidth is not None
        assert point.attained_gops <= point.intensity_ops_per_byte * bandwidth / 1e9 * (1 + 1e-9)
        assert point.attained_gops <= point.roof_gops * (1 + 1e-9)
    inner = [roof for roof in roofs.values() if roof.inner]
    assert len(inner) == len(points) - 1


def test_levels_count_ops_a_byte_alone(resnet50: Result) -> None:
    with pytest.raises(InputError, match="axis: is macs_per_weight_byte, but every level counts ops a byte"):
        draw_roofline([resnet50], show="levels", axis="macs_per_weight_byte")


def test_a_roof_can_be_picked(machines: list[Architecture]) -> None:
    assert other_roofs([(machines[0], "int8")])[0].roof.peak_gops == 2600
    with pytest.raises(InputError, match=r'no roof "int9" \(did you mean "int8"\?\), must be fp32 or int8'):
        other_roofs([(machines[0], "int9")])


def test_labels_tell_results_apart(resnet50: Result) -> None:
    other = resnet50.model_copy(update={"batch": 16})
    moved = resnet50.model_copy(update={"architecture": "other"})
    assert result_labels([resnet50]) == ["resnet50"]
    assert result_labels([resnet50, moved]) == ["resnet50 on tpu_v1", "resnet50 on other"]
    assert result_labels([resnet50, other]) == ["resnet50, batch 8", "resnet50, batch 16"]
    assert result_labels([resnet50, resnet50]) == [
        "resnet50 on tpu_v1, batch 8 (1)",
        "resnet50 on tpu_v1, batch 8 (2)",
    ]


def simple(run: LayerRun, bits: int) -> LayerRun:
    macs = run.counters.macs
    cycles = -(-macs // 16384) + -(-bits // 8)
    counters = Counters(
        cycles, cycles, Stalls(), macs, macs, 0, {"dram": {"weight": Transfer(bits)}} if bits else {}
    )
    return replace(run, counters=counters, peak_macs_per_cycle=Fraction(65536))


def test_odd_results_are_drawn_too(make_result: Make, runs: list[LayerRun]) -> None:
    nothing = make_result("nothing", [runs[1]])  # no time at all
    inside = make_result("inside", [simple(runs[0], 0)])  # no off-chip traffic at all
    one = make_result("one", [simple(runs[0], 8 * 10**5)])
    for results in ([nothing], [inside], [one], [nothing, inside, one]):
        figure, _ = draw_roofline(results)
        figure.draw_without_rendering()
    with pytest.raises(InputError, match="no result"):
        draw_roofline([])


def test_one_roof_a_precision(resnet50: Result) -> None:
    half = resnet50.machine.roofs[0].model_copy(
        update={"name": "int16", "peak_gops": 22937.6, "ridge_ops_per_byte": 674.6}
    )
    machine = resnet50.machine.model_copy(update={"roofs": [*resnet50.machine.roofs, half]})
    figure, axes = draw_roofline([resnet50.model_copy(update={"machine": machine})])
    everything = " ".join(text.get_text() for text in shown_texts(figure))  # where there is no room, in the list beneath
    assert "tpu_v1 int8: 91.8 TOPS" in everything
    assert "int16: 22.9 TOPS" in everything
    assert written(axes).count("34 GB/s") == 1


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.5, 2000, [1, 10, 100, 1000]),
        (3, 60, [5, 10, 20, 50]),
        (1, 1e10, [10.0**p for p in range(0, 11, 2)]),
    ],
)
def test_ticks(low: float, high: float, expected: list[float]) -> None:
    assert ticks(low, high, room=8) == pytest.approx(expected)


def test_tick_labels() -> None:
    assert [tick_label(x) for x in (0.1, 1, 10_000, 1e5, 1e-4)] == ["0.1", "1", "10,000", "10⁵", "10⁻⁴"]


def test_ticks_of_a_figure_have_one_style() -> None:
    assert not as_powers([1, 10, 100, 1000])
    assert as_powers([1, 1e3, 1e5])
    assert not as_powers([20_000, 50_000])
    assert words([10.0, 1e6], True) == ["$10^{1}$", "$10^{6}$"]
    assert words([10.0, 1000.0], False) == ["10", "1,000"]


def test_legends_are_read_along_their_rows() -> None:
    assert along_rows("abcde", 5) == list("abcde")
    assert along_rows("abcde", 3) == list("adbec")  # a b c / d e, filled column by column
    assert along_rows("abcd", 2) == list("acbd")


def test_the_public_face(resnet50: Result, tmp_path: Path) -> None:
    from matplotlib import pyplot

    pyplot.switch_backend("agg")
    before = dict(pyplot.rcParams)
    figure, axes = accelsim.plot.roofline(resnet50, width="double")
    assert figure.get_figwidth() == 7.16
    assert axes.get_xscale() == "log"
    assert accelsim.plot.save(figure, tmp_path / "f.svg").stat().st_size > 1000
    with pytest.raises(InputError):
        accelsim.plot.roofline([])
    assert pyplot.get_fignums() == [figure.number]
    assert dict(pyplot.rcParams) == before  # the user's own settings are theirs
    pyplot.close(figure)
