"""60 roofline figures of made-up results: no word covers anything, and the plot keeps its height."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from figure_set import CASES, Case, made, spread
from overlaps import boxes, corners, meet, orphans, problems, segments, shown_texts

from accelsim import plot
from accelsim.errors import InputError
from accelsim.report import style
from accelsim.report.labels import Placer, Spot
from accelsim.report.roofline_labels import NAMED_SHARE, braced
from accelsim.report.roofline_scene import compose

QUICK = (6, 42)  # the others are slow


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    from matplotlib import pyplot

    pyplot.switch_backend("agg")
    yield
    pyplot.close("all")


def draw(case: Case) -> tuple[Any, Any]:
    return plot.roofline([made(*result) for result in case.results], **case.options, width=case.width)  # type: ignore[arg-type]


def cases() -> list[Any]:
    return [pytest.param(c, id=str(c), marks=[] if i in QUICK else pytest.mark.slow) for i, c in enumerate(CASES)]


@pytest.mark.parametrize("case", cases())
def test_no_word_covers_anything(case: Case) -> None:
    figure, axes = draw(case)
    assert problems(figure) == []
    assert orphans(figure) == []
    if case.width != "slide":  # whatever the legends need
        least, most = {"single": (1.98, 2.08), "double": (2.68, 2.78)}[case.width]
        assert least < axes.get_window_extent().height / figure.dpi < most


def test_the_set_is_as_wide_as_it_says() -> None:
    assert len(CASES) == 60
    assert {len(case.results) for case in CASES} >= {1, 2, 3, 4, 6, 9, 12}
    assert {len({chip for _, chip, *_ in case.results}) for case in CASES} == {1, 2, 3, 4}


def test_an_overlap_would_be_seen() -> None:
    figure, axes = plot.roofline([made(0, 0)], show="networks")
    text = axes.texts[0]
    axes.annotate("over it", text.xy, text.xyann, textcoords="offset points", ha=text.get_ha(), va=text.get_va())
    assert any("over it" in problem for problem in problems(figure))
    x, y = axes.collections[0].get_offsets()[0]
    axes.texts[-1].remove()
    axes.text(x, y, "on a marker", ha="center")
    assert any("covers a marker" in problem for problem in problems(figure))


def test_every_layer_over_two_percent_of_the_time_is_named() -> None:
    result = made(0, 1)
    figure, _ = plot.roofline([result])
    words = " ".join(text.get_text() for text in shown_texts(figure))
    long = [layer.name for layer in result.layers if layer.cycles > NAMED_SHARE * result.totals.cycles]
    assert len(long) > 5
    assert [name for name in long if name not in words] == []


def test_roofs_have_their_machines_colours_and_names() -> None:
    _, axes = plot.roofline([made(*r) for r in spread(4, 4)], show="networks")
    roofs = [line for line in axes.lines if len(line.get_xdata()) == 3]
    assert len({line.get_color() for line in roofs}) == 4
    scene = compose([made(*r) for r in spread(4, 4)], show="networks")
    for roof, line in zip(scene.roofs, roofs, strict=True):
        assert line.get_color() == scene.looks.machines[roof.machine].colour


def test_roofs_end_where_the_figure_does() -> None:
    import accelsim

    _, axes = plot.roofline([made(0, 0)], [accelsim.load_arch("haswell")])
    low, high = axes.get_ylim()
    for line in axes.lines:
        if line.get_transform() == axes.transData:
            assert low * 0.999 <= min(line.get_ydata())
            assert max(line.get_ydata()) <= high


@pytest.mark.parametrize("count", [1, pytest.param(4, marks=pytest.mark.slow), pytest.param(12, marks=pytest.mark.slow)])
def test_ticks_have_one_style(count: int) -> None:
    figure, axes = plot.roofline([made(*r) for r in spread(count, min(count, 4))])
    figure.draw_without_rendering()
    names = [t.get_text() for t in (*axes.get_xticklabels(), *axes.get_yticklabels()) if t.get_text() not in ("", "∞")]
    assert len({name.startswith("$10^") for name in names}) == 1


def test_a_machine_alone_is_drawn() -> None:
    import accelsim

    _, axes = plot.roofline((), [accelsim.load_arch("haswell"), accelsim.load_arch("k80")])
    assert {"haswell fp32: 1.3 TFLOPS", "160 GB/s"} <= {text.get_text() for text in axes.texts}
    assert not axes.collections
    with pytest.raises(InputError, match="no result and no machine"):
        plot.roofline(())


def test_trajectories_join_a_layer_from_result_to_result() -> None:
    _, axes = plot.roofline([made(2, 1, batch) for batch in (1, 2, 4)], layers=["conv1_1"], join=True)
    assert len(axes.patches) == 2  # arrows
    assert len(axes.collections[0].get_offsets()) == 3
    with pytest.raises(InputError, match="--layer: conv99: is no layer"):
        plot.roofline([made(2, 1)], layers=["conv99"])


def test_shares_of_the_roof_are_written() -> None:
    result = made(2, 1)
    _, axes = plot.roofline([result], show="networks", percent=True, name_layers=1)
    place = result.totals.roofline
    assert f"vgg16 {100 * place.attained_gops / place.roof_gops:.1f}%" in {text.get_text() for text in axes.texts}


def test_names_that_lie_on_one_another_are_one() -> None:
    assert braced(["conv1"]) == "conv1"
    assert braced(["layer3_2_conv2", "layer3_1_conv2", "layer3_3_conv2"]) == "layer3_{1-3}_conv2"
    assert braced(["conv3_1", "conv3_2"]) == "conv3_{1,2}"
    assert braced(["a", "b"]) == "a, b"


def test_labels_are_one_a_result() -> None:
    figure, _ = plot.roofline([made(0, 0), made(1, 0)], labels=["first", "second"], show="networks")
    assert {"first", "second"} <= {text.get_text() for text in figure.legends[0].get_texts()}
    for wrong in (plot.roofline, plot.stalls, plot.energy, plot.utilization):
        with pytest.raises(InputError, match="--label: one: 1 given, must be one a result, 2"):
            wrong([made(0, 0), made(1, 0)], labels=["one"])
    _, axes = plot.speedup([made(0, 0), made(0, 1)], labels=["old", "new"])
    assert axes.get_ylabel() == "Speed-up over old (×)"
    _, axes = plot.pareto([made(0, 0), made(0, 1)], labels=["left", "right"])
    assert {text.get_text() for text in axes.texts} <= {"left", "right"}
    assert axes.texts
    rows = list(csv.DictReader(io.StringIO(plot.roofline_csv([made(0, 0)], labels=["mine"]))))
    assert {row["network"] for row in rows if row["kind"] == "network"} == {"mine"}


# ---- what a user of matplotlib expects -------------------------------------------------------------


def test_axes_that_are_given_are_drawn_into() -> None:
    from matplotlib import pyplot

    figure, panels = pyplot.subplots(1, 2, figsize=(8, 4), layout="constrained")
    for ax, draw_one in zip(panels, (plot.roofline, plot.stalls), strict=True):
        assert draw_one([made(0, 0)], ax=ax) == (figure, ax)
    assert pyplot.get_fignums() == [figure.number]
    assert tuple(figure.get_size_inches()) == (8, 4)
    assert panels[0].get_legend() is not None


def test_the_users_own_settings_win() -> None:
    import matplotlib as mpl

    with mpl.rc_context({"font.size": 9.0, "axes.prop_cycle": mpl.rcsetup.cycler(color=["#123456", "#654321"])}):
        figure, axes = plot.roofline([made(0, 0), made(1, 0)], show="networks")
    assert [text.get_fontsize() for text in axes.texts] == pytest.approx([9 * 6.5 / 7] * len(axes.texts))
    assert [line.get_markeredgecolor() for line in figure.legends[0].get_lines()] == ["#123456", "#654321"]


def test_colours_are_overridden_by_name() -> None:
    _, axes = plot.roofline([made(0, 0), made(0, 1)], colours={"tpu_v1": "#ff0000"}, show="networks")
    assert axes.lines[0].get_color() == "#ff0000"
    _, axes = plot.stalls([made(0, 0)], colours={"busy": "#00ff00"})
    assert axes.patches[0].get_facecolor() == (0, 1, 0, 1)
    with pytest.raises(InputError, match=r'colours: tpu_v2: is nothing in this figure \(did you mean "tpu_v1"\?\)'):
        plot.roofline([made(0, 0), made(0, 1)], colours={"tpu_v2": "#ff0000"})


def test_a_height_is_the_figures() -> None:
    figure, _ = plot.roofline([made(*r) for r in spread(4, 2)], height_in=3.5, show="networks", title="Four")
    assert tuple(figure.get_size_inches()) == (3.5, 3.5)
    assert problems(figure) == []
    with pytest.raises(InputError, match=r"figure: height: 0\.8 inches leave the plot"):
        plot.roofline([made(0, 0)], height_in=0.8)


@pytest.mark.parametrize("suffix", [".pgf", ".svg", ".png", *(pytest.param(s, marks=pytest.mark.slow) for s in (".pdf", ".eps"))])
def test_files_of_every_kind(suffix: str, tmp_path: Any) -> None:
    figure, _ = plot.roofline([made(0, 0)], show="networks")
    first, second = (plot.save(figure, tmp_path / f"{i}{suffix}").read_bytes() for i in range(2))
    assert first == second
    assert b"Type3" not in first
    assert {".eps": b"/FontType 42", ".pgf": b"\\begin{pgfpicture}"}.get(suffix, b"") in first


@pytest.mark.slow
@pytest.mark.parametrize("width", ["single", "double", "slide"])
@pytest.mark.parametrize(("count", "machines"), [(3, 1), (4, 4), (9, 3), (12, 4)])
def test_no_word_of_bars_covers_anything(count: int, machines: int, width: Any) -> None:
    results = [made(*r) for r in spread(count, machines)]
    assert problems(plot.stalls(results, width=width, title="A title")[0]) == []
    assert problems(plot.energy(results, width=width)[0]) == []
    if machines > 1:
        assert problems(plot.speedup(results, width=width)[0]) == []


@pytest.mark.parametrize("network", [2, 4, 9])  # 16, 5 and 8 layers
def test_no_name_of_a_layer_covers_another(network: int) -> None:
    for draw_one in (plot.stalls, plot.utilization):
        assert problems(draw_one([made(network, 1)])[0]) == []


# ---- the placer ------------------------------------------------------------------------------------


def test_the_placer_takes_the_first_spot_that_is_free() -> None:
    from matplotlib.figure import Figure

    axes = Figure((4, 3)).add_subplot()
    axes.set(xlim=(0, 1), ylim=(0, 1))
    axes.plot([0, 1], [0.5, 0.5])
    axes.scatter([0.3], [0.8], s=400)
    axes.figure.draw_without_rendering()
    placer = Placer(axes)
    spots = [Spot(0.3, 0.8), Spot(0.5, 0.5, va="center"), Spot(0.6, 0.2, angle_deg=30)]
    put = placer.put("here", spots)
    assert put is not None
    assert put.xy == (0.6, 0.2)
    assert placer.put("here", spots) is None  # it is in its own way
    box = corners(put)
    assert not any(meet(box, other) for _, other in boxes(axes))
    assert len(segments(axes)) == 1
    assert np.all(box > 0)


@pytest.mark.parametrize("colour", [*style.PALETTE, style.YELLOW, *style.OTHERS])
def test_letters_in_a_colour_stand_out_of_paper(colour: str) -> None:
    assert style.contrast(style.ink(colour), "white") >= style.READABLE
