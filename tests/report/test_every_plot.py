"""What holds for every function of `accelsim.plot`: axes, colours, CSV, the user's settings; and hostile results."""

from __future__ import annotations

import csv
import inspect
import io
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from figure_set import made, sizes, trace
from overlaps import problems

import accelsim
from accelsim import plot
from accelsim.errors import InputError
from accelsim.report.result import Result


@dataclass(frozen=True)
class Kind:
    """A function of `accelsim.plot`, what it is given, something in its figure that has a colour, its axes."""

    given: tuple[Any, ...]
    coloured: str
    axes: int = 1


PAIR = [made(4, 1), made(4, 2)]
EDGE = ("lenet5", "gemmini_16x16", "conv1")
KINDS = {
    "roofline": Kind((PAIR,), "gemmini_16x16"),
    "energy": Kind((PAIR,), "dram"),
    "stalls": Kind((PAIR,), "busy"),
    "utilization": Kind((PAIR,), "compute", 2),
    "heat_map": Kind((trace(),), "all", 2),
    "pareto": Kind((PAIR,), "lenet5"),
    "tilings": Kind(EDGE, "chosen"),
    "speedup": Kind((PAIR,), "eyeriss_like"),
    "buffers": Kind((sizes(),), "one"),
}


@pytest.fixture(autouse=True)
def _closed() -> Iterator[None]:
    from matplotlib import pyplot

    pyplot.switch_backend("agg")
    yield
    pyplot.close("all")


def every(**options: Any) -> Iterator[tuple[str, Kind, Callable[[], tuple[Any, Any]]]]:
    for name, kind in KINDS.items():
        yield name, kind, lambda name=name, kind=kind: getattr(plot, name)(*kind.given, **options)


def test_every_figure_is_walked() -> None:
    helpers = {"save", "to_bytes", "tilings_of"}
    assert {name for name in plot.__all__ if not name.endswith("_csv")} - helpers == set(KINDS)


@pytest.mark.parametrize("name", KINDS)
def test_gives_its_data(name: str) -> None:
    assert list(csv.DictReader(io.StringIO(getattr(plot, f"{name}_csv")(*KINDS[name].given))))


@pytest.mark.parametrize("name", KINDS)
def test_draws_into_given_axes(name: str) -> None:
    from matplotlib import pyplot

    kind = KINDS[name]
    figure, axes = pyplot.subplots(1, kind.axes, figsize=(6, 3), squeeze=False, layout="constrained")
    given = axes[0, 0] if kind.axes == 1 else list(axes[0])
    assert getattr(plot, name)(*kind.given, ax=given) == (figure, given)
    assert all(panel.has_data() or panel.patches for panel in axes[0])
    assert [problem for problem in problems(figure) if "covers" in problem] == []


@pytest.mark.parametrize("name", KINDS)
def test_colours_and_settings_are_the_users(name: str) -> None:
    import matplotlib as mpl
    from matplotlib.colors import to_rgba

    kind = KINDS[name]
    with mpl.rc_context({"axes.facecolor": "#fafafa"}):
        figure, axes = getattr(plot, name)(*kind.given, colours={kind.coloured: "#123456"}, title="Mine", height_in=4.0)
    first = axes[0] if kind.axes > 1 else axes
    assert first.get_facecolor() == to_rgba("#fafafa")
    assert figure.get_figheight() == 4.0
    assert "Mine" in {text.get_text() for text in figure.findobj(mpl.text.Text)}
    assert to_rgba("#123456") in shades(figure)
    with pytest.raises(InputError, match="colours: nothing_such: is nothing in this figure"):
        getattr(plot, name)(*kind.given, colours={"nothing_such": "#123456"})


def shades(figure: Any) -> set[Any]:
    """All colours of lines, areas, markers and maps."""
    from matplotlib.collections import Collection
    from matplotlib.colors import to_rgba
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    found = {to_rgba(line.get_color()) for line in figure.findobj(Line2D)}
    found |= {to_rgba(patch.get_facecolor()) for patch in figure.findobj(Patch)}
    found |= {tuple(face) for points in figure.findobj(Collection) for face in points.get_facecolors()}
    return found | {to_rgba(image.get_cmap()(1.0)) for axes in figure.axes for image in axes.images}


def test_keywords_are_the_same_everywhere() -> None:
    for name in KINDS:
        known = inspect.signature(getattr(plot, name)).parameters
        assert {"width", "height_in", "title", "colours", "ax"} <= set(known), name


# ---- hostile results -------------------------------------------------------------------------------

LONG = "resnet50_structured_pruned_50pct_int8_finetuned_on_imagenet"


def renamed(result: Result, network: str, machine: str, layer: str = "") -> Result:
    layers = [r.model_copy(update={"name": f"{layer}{i}"}) for i, r in enumerate(result.layers)] if layer else result.layers
    return result.model_copy(update={"network": network, "architecture": machine, "layers": layers})


HOSTILE: dict[str, list[Result]] = {
    "long": [renamed(made(4, c), f"{LONG}_v{n}", f"a_machine_with_a_long_name_and_options_{c}", "backbone.stage1.block2.conv")
             for n in range(3) for c in (1, 2)],
    "dollars": [renamed(made(4, 1), r"a$\frac{b$ & 100% #1 ~ ^", "m_$_", "$x_")],
    "letters": [renamed(made(4, 1), name, "gemmini_16x16") for name in ("réseau", "сеть", "δίκτυο")],
    "twelve": [made(n, c) for n in (4, 9, 6) for c in range(4)],
}  # fmt: skip


@pytest.mark.parametrize("name", ["dollars", "letters", *(pytest.param(n, marks=pytest.mark.slow) for n in ("long", "twelve"))])
def test_no_name_is_too_much_for_bars(name: str) -> None:
    results = HOSTILE[name]
    for draw in (plot.stalls, plot.utilization):
        assert problems(draw(results)[0]) == []


@pytest.mark.slow
@pytest.mark.parametrize("name", HOSTILE)
def test_no_name_is_too_much_for_other_figures(name: str) -> None:
    results = HOSTILE[name]
    for draw in (plot.roofline, plot.pareto, plot.energy):
        assert problems(draw(results)[0]) == []
    assert problems(plot.roofline(results, show="networks", title="A title " * 20)[0]) == []
    assert problems(plot.utilization(results, over_time=True)[0]) == []


@pytest.mark.slow
@pytest.mark.parametrize("width", ["single", "double"])
def test_48_results_are_named(width: Any) -> None:
    results = [made(n, c) for n in range(12) for c in range(4)]
    for draw in (plot.energy, plot.stalls, plot.speedup):
        assert problems(draw(results, width=width)[0]) == []
    figure, panels = plot.utilization(results, over_time=True, width=width)
    assert len(panels) == 48
    assert problems(figure) == []
    assert figure.get_figheight() < {"single": 18, "double": 9.3}[width]


def test_unlike_machines_of_one_name_are_told_apart() -> None:
    first, other = made(4, 1), made(4, 1)
    faster = other.machine.model_copy(update={"bandwidth_bytes_per_second": 64e9})
    results = [first, other.model_copy(update={"machine": faster})]
    figure, _ = plot.roofline(results, show="networks")
    assert [text.get_text() for text in figure.legends[0].get_texts()] == [
        "lenet5 on gemmini_16x16 (1)", "lenet5 on gemmini_16x16 (2)",
    ]  # fmt: skip
    assert "gemmini_16x16 (2)" in plot.roofline_csv(results)


def test_a_long_key_leaves_the_others_their_columns() -> None:
    from accelsim.report.sheet import Sheet

    figure, _ = plot.stalls([made(4, 1)])
    names = [*(f"{i} conv{i}" for i in range(1, 12)), "12 " + "a_name_as_long_as_a_column_is_wide_or_longer" * 2]
    look = {"handlelength": 0.0, "fontsize": 6.5}
    sheet = Sheet(figure)
    assert sheet._columns(sheet._cut_keys(names, look), look) > 1


def test_options_of_other_figures_are_refused(capsys: pytest.CaptureFixture[str]) -> None:
    from accelsim.cli import main

    assert main(["plot", "stalls", "r", "-o", "f.pdf", "--baseline", "a", "-x", "cycles"]) == 2
    told = capsys.readouterr().err
    assert "--baseline: stalls: does not take it, but speedup" in told
    assert "-x: stalls: does not take it, but pareto" in told


def test_a_sheet_of_one_machine_needs_no_numbers() -> None:
    figure, _ = accelsim.plot.energy([made(4, 1), made(9, 1)])
    assert len(figure.legends) == 1


def test_pgf_is_what_any_latex_reads() -> None:
    results = [renamed(made(4, 1), name, "gemmini_16x16") for name in (r"a$\b$ & %#~^_{}", "plain")]
    text = plot.to_bytes(plot.stalls(results)[0], "pgf").decode()
    assert r"a\$\textbackslash{}b\$ \& %\#\textasciitilde{}\textasciicircum{}\_\{\}" in text
    assert len(text) < 400_000  # dots are strokes: with a circle each, LaTeX took a minute


def test_a_width_is_in_inches_too(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    from accelsim.cli import main

    made(4, 1).write(tmp_path / "r")
    assert main(["plot", "stalls", str(tmp_path / "r"), "-o", str(tmp_path / "f.svg"), "--width", "3.33"]) == 0
    assert b'width="239.76pt"' in (tmp_path / "f.svg").read_bytes()
    with pytest.raises(SystemExit, match="2"):
        main(["plot", "stalls", "r", "-o", "f.svg", "--width", "triple"])
    assert '"triple" is no width, must be single, double or inches' in capsys.readouterr().err
