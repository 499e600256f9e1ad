"""What people see in a terminal and in a notebook."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
from rich.console import Console

import accelsim
from accelsim.engines.base import LayerRun
from accelsim.report.difference import compare_results, print_comparison
from accelsim.report.result import Result
from accelsim.report.table import Fold, costs, folded, print_result, render
from accelsim.report.words import compact, percent, rate, scaled, shorten, significant, size

Make = Callable[[str, Sequence[LayerRun]], Result]


@pytest.mark.parametrize("width", [60, 80, 100, 120, 160, 240])
def test_fits_its_width(resnet50: Result, width: int) -> None:
    lines = render(resnet50, width).split("\n")
    assert max(map(len, lines)) <= width
    assert not any(line.endswith(" ") for line in lines)
    assert "…" not in lines[0]


def test_wider_terminals_see_more(resnet50: Result) -> None:
    heads = [render(resnet50, width).split("\n")[0].split() for width in (60, 80, 100, 160)]
    assert {"layer", "cycles", "time%", "util%", "limiter"} <= set(heads[0])
    assert {"op", "cycles", "util%", "stall", "limiter"} <= set(heads[2])
    assert all(set(narrow) < set(wide) for narrow, wide in pairwise(heads))
    assert {"M×N×K", "roof%", "energy"} <= set(heads[-1])


def test_short_names_leave_room_for_their_heading(make_result: Make, runs: list[LayerRun]) -> None:
    short = make_result("tiny", [replace(run, layer=replace(run.layer, name=f"l{i}")) for i, run in enumerate(runs[:8])])
    for width in range(60, 180):
        text = render(short, width, None)
        assert "…" not in text, width
        assert max(map(len, text.split("\n"))) <= width


def test_energy_without_a_cost_is_not_shown_as_nothing() -> None:
    text = accelsim.simulate("lenet5", "zhang2015").summary(160)
    assert "energy" not in text.split("\n")[0]
    assert "0 J" not in text
    assert "not costed" in text


def test_says_what_matters(resnet50: Result) -> None:
    text = resnet50.summary(100)
    assert "resnet50 on tpu_v1, batch 8, 700 MHz" in text
    assert f"{resnet50.totals.cycles:,} cycles" in text
    assert "33.4 TOPS of 91.8 TOPS peak (36.3%)" in text
    assert "memory  98%" in text
    assert "not listed, no time or traffic of their own: 1 relu" in text


def test_long_networks_fold_what_takes_little(make_result: Make, runs: list[LayerRun]) -> None:
    many = [
        replace(run, layer=replace(run.layer, name=f"features.block{i:02d}.{run.layer.name}"))
        for i in range(3)
        for run in runs
    ]
    result = make_result("long", many)
    items = list(folded([layer for layer in result.layers if costs(layer)], 40))
    shown = [layer for item in items for layer in (item.layers if isinstance(item, Fold) else (item,))]
    assert [layer.name for layer in shown] == [layer.name for layer in result.layers if costs(layer)]
    assert len(items) <= 81
    slowest = max(result.layers, key=lambda layer: layer.cycles)
    assert slowest in items
    assert len(render(result, 80, rows=None).split("\n")) > 160
    assert all(len(line) <= 80 for line in render(result, 80).split("\n"))


def test_plain_ascii_where_the_terminal_has_no_more(resnet50: Result) -> None:
    raw = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    print_result(resnet50, Console(file=raw, width=160))
    raw.flush()  # an encoding error would have been raised by now


def test_notebook_table_escapes_names(make_result: Make, runs: list[LayerRun]) -> None:
    run = replace(runs[0], layer=replace(runs[0].layer, name="<b>&"))
    html = make_result("net", [run])._repr_html_()
    assert "&lt;b&gt;&amp;" in html
    assert html.count("<tr>") == 2


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (significant(1234.5), "1,234"), (significant(0), "0"), (significant(0.000123456), "0.000123"),
        (scaled(0.0019624, "s"), "1.96 ms"), (scaled(0, "J"), "0 J"), (scaled(999.9e6, "Hz"), "1.00 GHz"),
        (scaled(2e-15, "J"), "0.00200 pJ"), (compact(34e9, "B/s"), "34 GB/s"),
        (compact(1e12, "B/s"), "1 TB/s"),
        (rate(91750.4), "91.8 TOPS"), (size(1572864), "1.50 MiB"), (size(512), "512 B"),
        (size(1023), "0.999 KiB"),
        (percent(0.3634), "36.3"), (percent(1e-9), "<0.1"), (percent(1), "100"), (percent(0), "0.0"),
        (shorten("features.denseblock4.conv2", 12), "fea…k4.conv2"), (shorten("short", 12), "short"),
    ],
)  # fmt: skip
def test_words(text: str, expected: str) -> None:
    assert text == expected


def difference(first: Result, second: Result, width: int = 100) -> str:
    out = io.StringIO()
    print_comparison(compare_results(first, second), Console(file=out, width=width))
    return out.getvalue()


def test_comparing_a_result_with_itself(resnet50: Result) -> None:
    assert "No counter differs" in difference(resnet50, resnet50)
    assert compare_results(resnet50, resnet50).identical


def test_comparing_two(make_result: Make, resnet50: Result, runs: list[LayerRun]) -> None:
    counters = runs[3].counters
    slower = replace(
        counters,
        cycles=counters.cycles + 1000,
        stalls=replace(counters.stalls, memory=counters.stalls.memory + 1000),
    )
    other = make_result("resnet50", [*runs[:3], replace(runs[3], counters=slower), *runs[4:-1]])
    comparison = compare_results(resnet50, other)
    assert comparison.only_first == ("fc",)
    moved = comparison.of("stall_memory_cycles")
    assert [(change.layer, change.difference) for change in moved] == [(runs[3].layer.name, 1000)]
    text = difference(resnet50, other)
    assert "memory +1,000" in text
    assert "only in the first: fc" in text
    assert all(len(line) <= 80 for line in difference(resnet50, other, 80).split("\n"))
