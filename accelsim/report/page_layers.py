"""The report page's timeline, and what is said of each layer: when it ran, what it waited for, how it was mapped.

Every layer has four places that lead to one another: its row, its bar of stalls, its piece of the timeline, its details.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from itertools import accumulate
from typing import Any

from accelsim.report.model import LayerResult, Result
from accelsim.report.stacked_figure import part_words
from accelsim.report.words import percent, scaled


def tip(*lines: str) -> str:
    """Lines for the hover box, in an attribute."""
    return "&#10;".join(escape(line) for line in lines)


def place(kind: str, number: int, layer: int) -> str:
    """The id of a layer's place: ``row``, ``stalls``, ``time`` or ``more``."""
    return f"r{number}{kind[0]}{layer}"


def timeline(result: Result, layers: Sequence[LayerResult], number: int) -> str:
    """A strip of all layers in their order, each as wide as its share of the time."""
    whole = result.totals.cycles or 1
    pieces = "".join(
        f'<a id="{place("time", number, i)}" href="#{place("more", number, i)}" class="{layer.roofline.bound}" '
        f'style="width:{100 * layer.cycles / whole:.4f}%" data-row="{place("row", number, i)}" aria-label="{words}" '
        f'data-tip="{words}"></a>'
        for i, (layer, words) in enumerate(zip(layers, _times(result, layers), strict=True))
    )
    return f'<div class="timeline" role="group" aria-label="layers over time">{pieces}</div>{_scale(result)}'


def _scale(result: Result) -> str:
    """The timeline's axis, in seconds, and what its pieces are."""
    times = "".join(f"<span>{scaled(quarter / 4 * result.totals.seconds, 's') if quarter else 0}</span>" for quarter in range(5))
    return (
        f'<div class="scale" aria-hidden="true">{times}</div><p class="about">Time from the first layer to the last. Layers are '
        "timed on their own and laid one after another: the loads of a layer do not start before it does. "
        '<b class="compute">■</b> bound by compute, <b class="memory">▨</b> by memory.</p>'
    )


def _times(result: Result, layers: Sequence[LayerResult]) -> Iterator[str]:
    whole = result.totals.cycles or 1
    ends = accumulate(layer.cycles for layer in layers)
    for layer, end in zip(layers, ends, strict=True):
        yield tip(layer.name, f"cycles {end - layer.cycles:,} to {end:,}", f"{percent(layer.cycles / whole)}% of time")


def details(result: Result, layers: Sequence[LayerResult], number: int) -> str:
    """A fold a layer: when, what it waited for, how it was mapped; links to its other places."""
    ends = accumulate(layer.cycles for layer in layers)
    folds = "".join(_fold(result, layer, end, number, i) for i, (layer, end) in enumerate(zip(layers, ends, strict=True)))
    return f'<div class="folds">{folds}</div>'


def _fold(result: Result, layer: LayerResult, end: int, number: int, i: int) -> str:
    waits = {cause: cycles for cause, cycles in layer.stall_cycles.items() if cycles}
    facts = [
        ("runs", f"cycles {end - layer.cycles:,} to {end:,} of the layers one after the other"),
        ("takes", f"{layer.cycles:,} cycles = {scaled(layer.cycles / result.clock_hz, 's')}"),
        ("busy", f"{layer.busy_cycles:,} cycles"),
        *((f"waits: {part_words(cause)}", f"{n:,} cycles, {percent(n / layer.cycles)}%") for cause, n in waits.items()),
        *((f"mapping: {key}", plain(value)) for key, value in layer.mapping.items()),
        *((f"loop {key}", f"{value:,}") for key, value in layer.dims.items() if value != 1),
    ]
    links = " · ".join(
        f'<a href="#{place(kind, number, i)}">{words}</a>'
        for kind, words in (("row", "row"), ("stalls", "stalls"), ("time", "timeline"))
    )
    items = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in facts)
    name = escape(layer.name)
    return (
        f'<details id="{place("more", number, i)}"><summary>{name}</summary><p>{links}</p>'
        f'<dl class="facts">{items}</dl></details>'
    )


def plain(value: Any) -> str:
    """A value of a YAML in words."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {plain(item)}" for key, item in value.items())
    if isinstance(value, list):
        return "; ".join(plain(item) for item in value)
    return value if isinstance(value, str) else json.dumps(value)
