"""The figures: their data, their words, and their looks against pictures that were looked at.

``ACCELSIM_REGENERATE=1 pytest tests/report/test_figures.py`` draws the pictures anew: look at them.
"""

from __future__ import annotations

import csv
import io
import json
import os
from collections.abc import Callable, Sequence
from itertools import pairwise
from math import prod
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from figure_set import sizes, trace

from accelsim import plot
from accelsim.analysis.pareto import pareto_front
from accelsim.cli import main
from accelsim.errors import InputError
from accelsim.report import figure_data, style
from accelsim.report.points_figure import find_points, front_steps
from accelsim.report.result import Result
from accelsim.report.stacked_figure import axis_scale, gathered, group_bars

BASELINE = Path(__file__).parent / "baseline"
TOLERANCE_RMS = 6.0  # of 255


@pytest.fixture(autouse=True)
def _closed() -> Any:
    from matplotlib import pyplot

    pyplot.switch_backend("agg")
    yield
    pyplot.close("all")


@pytest.fixture(scope="module")
def faster(resnet50: Result) -> Result:
    """The same network, twice as fast on another machine."""
    totals = resnet50.totals.model_copy(update={"seconds": resnet50.totals.seconds / 2})
    return resnet50.model_copy(update={"architecture": "faster", "totals": totals})


def points(count: int = 200) -> list[dict[str, Any]]:
    """A made-up design space: rows of an array against cycles and energy."""
    random = np.random.default_rng(4)
    rows = random.choice([4, 8, 16, 32, 64], count)
    b = random.uniform(1, 8, count)
    cycles = (4e8 / rows**2 * b**0.6 + 3e5 * random.uniform(1, 2, count)).astype(int)
    energy = 1e9 * (1 + rows / 20) * random.uniform(1, 2.2, count) * b**0.3
    return [
        {"size": f"{r}×{r}", "cycles": int(c), "energy_total_pj": float(e), "utilization": 1 / (1 + float(x))}
        for r, c, e, x in zip(rows, cycles, energy, b, strict=True)
    ]


class Sample(NamedTuple):
    """What the pictures are drawn from."""

    net: Result
    apps: list[Result]
    fast: Result


PICTURES: dict[str, Callable[[Sample], tuple[Any, Any]]] = {
    "energy_layers": lambda s: plot.energy(s.net, width="double"),
    "energy_networks": lambda s: plot.energy(s.apps[:4], shares=True),
    "stalls_networks": lambda s: plot.stalls(s.apps),
    "stalls_groups": lambda s: plot.stalls([r for app in s.apps[:4] for r in pair(app, 1.3)]),
    "stalls_slide": lambda s: plot.stalls(s.apps, width="slide"),
    "utilization": lambda s: plot.utilization([s.net, s.fast], over_time=True),
    "heat_map": lambda _: plot.heat_map(trace()),
    "pareto": lambda _: plot.pareto(points(), label_by="size"),
    "speedup": lambda s: plot.speedup([*[a for r in s.apps[:3] for a in pair(r, 1.3)], s.net, s.fast]),
    "buffers": lambda _: plot.buffers(sizes()),
}


def pair(result: Result, factor: float) -> tuple[Result, Result]:
    """A result, and the same on a machine that is so much faster."""
    totals = result.totals.model_copy(update={"seconds": result.totals.seconds / factor})
    return result, result.model_copy(update={"architecture": "faster", "totals": totals})


def pixels(path: Path) -> Any:
    from matplotlib.image import imread

    return 255 * imread(path)[..., :3].astype(float)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(PICTURES))
def test_looks_as_it_did(name: str, resnet50: Result, tpu_apps: list[Result], faster: Result, tmp_path: Path) -> None:
    figure, _ = PICTURES[name](Sample(resnet50, tpu_apps, faster))
    check_words(figure)
    drawn, expected = tmp_path / f"{name}.png", BASELINE / f"{name}.png"
    with style.house_style():
        figure.savefig(drawn, dpi=150)
    if os.environ.get("ACCELSIM_REGENERATE"):
        expected.write_bytes(drawn.read_bytes())
    difference = pixels(drawn) - pixels(expected)
    assert np.sqrt(np.mean(difference**2)) < TOLERANCE_RMS, f"compare {drawn} with {expected}"


def check_words(figure: Any) -> None:
    """Every word is on the page, and large enough to be read in print."""
    figure.draw_without_rendering()
    width, height = figure.get_size_inches() * figure.dpi
    shown = [t for t in figure.findobj(lambda a: hasattr(a, "get_fontsize") and a.get_text()) if t.get_visible()]
    ticks = {label for axes in figure.axes for axis in (axes.xaxis, axes.yaxis) for label in axis.get_ticklabels(which="both")}
    for text in set(shown) - ticks:
        box = text.get_window_extent()
        assert box.x0 >= -1, text
        assert box.x1 <= width + 1, text
        assert box.y0 >= -1, text
        assert box.y1 <= height + 1, text
        assert text.get_fontsize() >= 6, text


@pytest.mark.slow
@pytest.mark.parametrize("suffix", [".pdf", ".svg", ".png"])
def test_same_bytes(suffix: str, tpu_apps: list[Result], tmp_path: Path) -> None:
    files = [plot.save(plot.stalls(tpu_apps)[0], tmp_path / f"{i}{suffix}").read_bytes() for i in range(2)]
    assert files[0] == files[1]
    if suffix == ".pdf":
        assert b"/FontFile2" in files[0] or b"/FlateDecode" in files[0]
        assert b"/Type3" not in files[0]


def test_a_slide_has_the_pixels_of_a_screen(tpu_apps: list[Result], tmp_path: Path) -> None:
    path = plot.save(plot.energy(tpu_apps, width="slide")[0], tmp_path / "s.png")
    assert pixels(path).shape[:2] == (1080, 1920)


# ---- data ------------------------------------------------------------------------------------------


def rows(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


def test_energy_adds_up(resnet50: Result, tpu_apps: list[Result]) -> None:
    layers = rows(plot.energy_csv(resnet50))
    assert sum(float(row["energy_pj"]) for row in layers) == pytest.approx(resnet50.totals.energy_total_pj)
    networks = rows(plot.energy_csv(tpu_apps))
    for app in tpu_apps:
        mine = [row for row in networks if row["bar"] == app.network]
        assert {row["component"] for row in mine} == set(app.totals.energy_pj)
        assert sum(float(row["share"]) for row in mine) == pytest.approx(1)


def test_stalls_add_up(resnet50: Result) -> None:
    found = rows(plot.stalls_csv(resnet50))
    assert sum(int(row["cycles"]) for row in found) == resnet50.totals.cycles
    busy = sum(int(row["cycles"]) for row in found if row["use"] == "busy")
    assert busy == resnet50.totals.busy_cycles
    one = rows(plot.stalls_csv(resnet50, show="networks"))
    assert {row["use"]: int(row["cycles"]) for row in one}["memory"] == resnet50.totals.stall_cycles["memory"]


def test_utilization_is_of_layers_with_macs(resnet50: Result) -> None:
    found = rows(plot.utilization_csv(resnet50))
    macs = [layer for layer in resnet50.layers if layer.macs]
    assert [row["layer"] for row in found] == [layer.name for layer in macs]
    assert float(found[0]["utilization"]) == macs[0].utilization
    spent = sum(float(row["end_share"]) - float(row["begin_share"]) for row in found)
    assert spent == pytest.approx(sum(layer.cycles for layer in macs) / resnet50.totals.cycles)


def test_speedups_and_their_geometric_mean(tpu_apps: list[Result]) -> None:
    factors = [1.5, 4.0, 0.5]
    results = [r for app, f in zip(tpu_apps, factors, strict=False) for r in pair(app, f)]
    found = rows(plot.speedup_csv(results))
    assert [float(row["speedup"]) for row in found[:-1]] == pytest.approx(factors)
    assert found[-1]["network"] == "geomean"
    assert float(found[-1]["speedup"]) == pytest.approx(prod(factors) ** (1 / 3))
    turned = rows(plot.speedup_csv(results, baseline="faster"))
    assert float(turned[0]["speedup"]) == pytest.approx(1 / 1.5)
    with pytest.raises(InputError, match='no result is of "fastest"'):
        plot.speedup(results, baseline="fastest")
    with pytest.raises(InputError, match="has two results on"):
        plot.speedup([*results, results[0]])
    with pytest.raises(InputError, match="has no result on the baseline"):
        plot.speedup([results[0], results[3]])


def test_the_front_is_what_no_other_beats() -> None:
    table = points()
    found = find_points(table, "cycles", "energy_total_pj")
    for i, (x, y) in enumerate(zip(found.xs, found.ys, strict=True)):
        beaten = any(a <= x and b <= y and (a, b) != (x, y) for a, b in zip(found.xs, found.ys, strict=True))
        assert beaten != (i in found.front)
    best = find_points(table, "cycles", "max:utilization")
    assert best.front == find_points(table, "cycles", "utilization").front
    assert max(best.ys) == best.ys[best.front[-1]]
    assert sum(row["on_front"] == "True" for row in rows(plot.pareto_csv(table))) == len(found.front)
    assert pareto_front([(1, 1), (1, 1), (0, 2)]) == [2, 0]


def test_a_front_is_of_one_network() -> None:
    table = [
        {"network": network, "cycles": scale * cycles, "energy_total_pj": scale * energy}
        for network, scale in (("small", 1.0), ("large", 100.0)) for cycles, energy in ((1.0, 3.0), (2.0, 2.0), (3.0, 3.0))
    ]  # fmt: skip
    found = find_points(table, "cycles", "energy_total_pj")
    assert found.fronts == {"small": [0, 1], "large": [3, 4]}
    figure, _ = plot.pareto(table, label_by="network")
    texts = [text.get_text() for text in figure.legends[0].get_texts()]
    assert texts == ["Pareto fronts", "small (2)", "large (2)", "other points (2)"]


def test_a_front_of_bounded_tilings_says_so() -> None:
    table = [{"network": "n", "cycles": 1.0, "energy_total_pj": 1.0, "front_holds_for": "cycles"}]
    figure, _ = plot.pareto(table)
    assert "Pareto front of what ran, bounded by cycles (1)" in [text.get_text() for text in figure.legends[0].get_texts()]


@pytest.mark.parametrize(("x", "y"), [("a", "b"), ("a", "max:b"), ("max:a", "b"), ("max:a", "max:b")])
def test_the_line_of_a_front_bounds_what_it_beats(x: str, y: str) -> None:
    random = np.random.default_rng(7)
    table = [{"a": float(a), "b": float(b)} for a, b in random.uniform(1, 2, (60, 2))]
    found = find_points(table, x, y)
    front = [(found.xs[i], found.ys[i]) for i in found.front]
    signs = [-1 if text.startswith("max:") else 1 for text in (x, y)]
    line = front_steps(*zip(*front, strict=True), maximize_x=x.startswith("max:"))
    for corner in zip(*line, strict=True):  # every corner is beaten by, or is, a point of the front, and beats none of it
        worse = [all(s * c >= s * f for s, c, f in zip(signs, corner, point, strict=True)) for point in front]
        better = [all(s * c < s * f for s, c, f in zip(signs, corner, point, strict=True)) for point in front]
        assert any(worse)
        assert not any(better)


def test_tables_come_from_csv_too(tmp_path: Path) -> None:
    path = tmp_path / "sweep.csv"
    path.write_text("cycles,energy_total_pj,status,note\n10,2.5,ok,a\n20,1,ok,b\n1,1,infeasible,c\n,4,ok,d\n")
    assert plot.pareto_csv(path).splitlines()[1:] == ["True,10,2.5,ok,a", "True,20,1,ok,b"]
    with pytest.raises(InputError, match=r'cyclez: is no column \(did you mean "cycles"\?\)'):
        plot.pareto(path, x="cyclez")
    with pytest.raises(InputError, match="note: holds no numbers, but such as 'a'"):
        plot.pareto(path, x="note")


def test_results_of_unlike_machines_are_one_table(resnet50: Result) -> None:
    energy = {**resnet50.totals.energy_pj, "scratchpad": 1.0}
    other = resnet50.model_copy(update={"totals": resnet50.totals.model_copy(update={"energy_pj": energy})})
    found = rows(plot.pareto_csv([resnet50, other], labels=["plain", "more"]))
    assert [(row["label"], row["energy_scratchpad_pj"]) for row in found] == [("plain", ""), ("more", "1.0")]


def test_buffers_find_the_level_that_differs(resnet50: Result) -> None:
    def sized(size_bytes: int) -> Result:
        levels = [level.model_copy() for level in resnet50.machine.levels]
        levels[1] = levels[1].model_copy(update={"size_bytes": size_bytes})
        return resnet50.model_copy(update={"machine": resnet50.machine.model_copy(update={"levels": levels})})

    found = rows(plot.buffers_csv([sized(2**k) for k in (20, 18, 22)]))
    assert [int(row["size_bytes"]) for row in found] == [2**18, 2**20, 2**22]
    crossed = resnet50.totals.traffic_bytes["dram"]
    assert int(found[0]["dram_bytes"]) == crossed.read + crossed.write
    _, axes = plot.buffers([sized(2**k) for k in (18, 20)])
    assert axes.get_xlabel() == "Size of unified buffer (bytes)"
    with pytest.raises(InputError, match="the size of no level differs"):
        plot.buffers([resnet50, resnet50])
    with pytest.raises(InputError, match=r"is no level \(did you mean"):
        plot.buffers([resnet50], level="unified_bufer")


def test_the_heat_maps_data(tmp_path: Path) -> None:
    found = rows(plot.heat_map_csv(trace()))
    assert len(found) == 2 * 16 * 40
    assert (found[-1]["line"], found[-1]["first"], found[-1]["last"]) == ("column", "30", "31")
    path = tmp_path / "t.json"
    path.write_text(json.dumps({"otherData": {**trace(), "array": None}}))
    with pytest.raises(InputError, match="its engine is no array of PEs"):
        plot.heat_map(path)
    path.write_text("{}")
    with pytest.raises(InputError, match="is no trace of accelsim simulate --trace"):
        plot.heat_map(path)


def test_bars_of_a_network_stand_together(tpu_apps: list[Result]) -> None:
    results = [r for app in tpu_apps[:3] for r in pair(app, 1.3)]
    turned = results[::2] + results[1::2]  # machine by machine
    found, groups = group_bars(turned, "networks", None)
    assert list(found) == results
    assert groups.bars == ("tpu_v1", "faster") * 3
    assert groups.numbers() == {"tpu_v1": "1", "faster": "2"}
    places = groups.places(6)
    assert [b - a for a, b in pairwise(places)] == [1, 1.5, 1, 1.5, 1]
    assert [name for name, _ in groups.middles(places)] == [app.network for app in tpu_apps[:3]]
    assert [middle for _, middle in groups.middles(places)] == [0.5, 3.0, 5.5]
    for plain in (tpu_apps, pair(results[0], 2), results[:1], [*results, results[0]]):
        assert not group_bars(plain, "networks", None)[1].names
    assert not group_bars(results, "networks", ["x"] * 6)[1].names


def test_layers_of_a_result_stand_together(tpu_apps: list[Result]) -> None:
    _, groups = group_bars(tpu_apps[:2], "layers", None)
    assert groups.names == ("MLP0",) * 5 + ("MLP1",) * 4
    assert groups.bars[:6] == ("fc0", "fc1", "fc2", "fc3", "fc4", "fc0")
    assert not group_bars(tpu_apps[:1], "layers", None)[1].names


def test_bars_are_few_artists(tpu_apps: list[Result]) -> None:
    _, axes = plot.energy(tpu_apps, show="layers")  # of 159 layers
    assert len(axes.patches) <= 2 * len(tpu_apps[0].totals.energy_pj)


def test_little_parts_are_drawn_as_one() -> None:
    stack = figure_data.Stack(("a", "b"), {"x": (1.0, 9.0), "y": (0.001, 0.002), "z": (0.0, 0.0), "w": (0.002, 0.001)})
    assert list(gathered(stack).parts) == ["x", "other"]
    assert gathered(stack).totals == pytest.approx(stack.totals)


def test_axes_have_prefixes() -> None:
    assert axis_scale(0.0093, "J") == (1e-3, " (mJ)")
    assert axis_scale(3e6, "") == (1e6, " (million)")
    assert axis_scale(30, "") == (1.0, "")


# ---- the command -----------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["energy", "stalls", "utilization"])
def test_the_command(kind: str, resnet50: Result, tmp_path: Path) -> None:
    resnet50.write(tmp_path / "r")
    figure, data = tmp_path / "f.svg", tmp_path / "f.csv"
    assert main(["plot", kind, str(tmp_path / "r"), "-o", str(figure), "--data", str(data)]) == 0
    assert data.read_text() == getattr(plot, f"{kind}_csv")(resnet50)
    assert figure.read_bytes().startswith(b"<?xml")


def test_the_command_refuses(tmp_path: Path, capsys: pytest.CaptureFixture[str], resnet50: Result) -> None:
    resnet50.write(tmp_path / "r")
    result = str(tmp_path / "r")
    assert main(["plot", "energy", result, "-o", str(tmp_path / "f.gif")]) == 2
    assert main(["plot", "buffers", result, "-o", str(tmp_path / "f.svg")]) == 2
    assert main(["report", result, "-o", str(tmp_path / "f.txt")]) == 2
    assert "must end in .html" in capsys.readouterr().err
    assert main(["report", result, "-o", str(tmp_path / "f.html")]) == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["f.html", "r"]


def test_nothing_to_draw_is_said(resnet50: Result) -> None:
    empty: Sequence[Result] = []
    for draw in (plot.energy, plot.stalls, plot.utilization):
        with pytest.raises(InputError, match="no result"):
            draw(empty)
    bare = resnet50.model_copy(update={"totals": resnet50.totals.model_copy(update={"energy_pj": {}})})
    with pytest.raises(InputError, match=r"energy\.table: none"):
        plot.energy(bare)
