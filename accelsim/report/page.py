"""Results as one HTML page: nothing is fetched, it opens from a disk, in light and in dark, with a keyboard.

For each result: its figures, the roofline with its layers, where the cycles and the energy of each layer
went, a table to sort, what it ran on, and where every energy cost comes from. With several results a table
compares them.
"""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from html import escape
from math import atan2, degrees, log10
from typing import Any

from accelsim.report import style
from accelsim.report.figure_data import energy_stack, stall_stack
from accelsim.report.model import LayerResult, LevelRecord, Result, RoofRecord
from accelsim.report.page_layers import details, place, plain, timeline, tip
from accelsim.report.page_parts import SCRIPT, STYLE
from accelsim.report.roofline_data import Point, layer_points, result_labels
from accelsim.report.stacked_figure import PLAIN, USES, Fill, component_fills, part_words
from accelsim.report.table import costs
from accelsim.report.ticks import tick_labels, ticks
from accelsim.report.words import compact, percent, rate, scaled, significant, size

POLICY = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; img-src data:"
NO_LIMIT = 1e99  # what an unbounded figure is sorted by
Limits = tuple[float, float, float, float]
"""Of the axes of all rooflines of a page, which can so be compared: x from and to, y from and to."""
Cells = Sequence[tuple[str, float | str]]
"""What a row shows, and what it is sorted by."""


def to_page(results: Sequence[Result], title: str = "") -> str:
    """The text of the .html file."""
    labels = [f"{result.network} on {result.architecture}" for result in results]
    labels = labels if len(set(labels)) == len(labels) else result_labels(results)
    title = title or (labels[0] if len(results) == 1 else f"{len(results)} results")
    pairs, limits = enumerate(zip(results, labels, strict=True)), _limits(results)
    parts = [
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width,initial-scale=1">',
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">',
        f"<title>{escape(title)} · accelsim</title><style>{STYLE}</style></head><body>",
        f'<a class="skip" href="#main">to the results</a><header><h1>{escape(title)}</h1>{_nav(labels)}</header>',
        '<main id="main">',
        *([_comparison(results, labels)] if len(results) > 1 else []),
        *(_section(result, label, number, limits) for number, (result, label) in pairs),
        f'</main><div id="tip" role="status" hidden></div><script>{SCRIPT}</script></body></html>',
    ]
    return "\n".join(parts) + "\n"


def _nav(labels: Sequence[str]) -> str:
    if len(labels) < 2:
        return ""
    links = "".join(f'<li><a href="#r{n}">{escape(label)}</a></li>' for n, label in enumerate(labels))
    return f'<nav aria-label="results"><ul>{links}</ul></nav>'


def _comparison(results: Sequence[Result], labels: Sequence[str]) -> str:
    heads = ("result", "batch", "time", "cycles", "utilization", "attained", "energy", "power", "off-chip bytes")
    rows: list[Cells] = []
    for result, label in zip(results, labels, strict=True):
        t = result.totals
        rows.append(
            [
                (label, label),
                (str(result.batch), result.batch),
                (scaled(t.seconds, "s"), t.seconds),
                (f"{t.cycles:,}", t.cycles),
                (f"{percent(t.utilization)}%", t.utilization),
                (rate(t.attained_gops), t.attained_gops),
                (_energy_words(result, t.energy_total_pj), t.energy_total_pj),
                (scaled(t.power_w, "W") if t.energy_pj else "-", t.power_w),
                (size(_off_chip(result)), _off_chip(result)),
            ]
        )
    return f"<section><h2>Side by side</h2>{_table('All results', heads, rows)}</section>"


def shown_layers(result: Result) -> list[LayerResult]:
    """The layers that cost something, in order: their numbers are those of their places."""
    return [layer for layer in result.layers if costs(layer)]


def _section(result: Result, label: str, number: int, limits: Limits) -> str:
    shown = shown_layers(result)
    free = len(result.layers) - len(shown)
    note = f"<p>{free} layers cost nothing of their own and are left out.</p>" if free else ""
    csv = base64.b64encode(result.to_csv().encode()).decode()
    name = f"{result.network}-{result.architecture}-layers.csv".replace(" ", "_")
    parts = [
        f'<section id="r{number}" aria-labelledby="h{number}"><h2 id="h{number}">{escape(label)}</h2>',
        _cards(result),
        f"<h3>Roofline</h3>{_roofline(result, label, number, limits)}",
        f"<h3>Layers over time</h3>{timeline(result, shown, number)}",
        f'<div class="two"><div><h3>Where the cycles went</h3>{_stalls(result, number)}</div>',
        f"<div><h3>Where the energy went</h3>{_energy(result)}</div></div>",
        f"<h3>Layers</h3>{note}{_layers(result, shown, number)}",
        f"<details><summary>Every layer: its time, stalls and mapping</summary>{details(result, shown, number)}</details>",
        f'<p><a download="{escape(name)}" href="data:text/csv;base64,{csv}">All counters of all layers (CSV)</a></p>',
        f"<h3>Configuration</h3>{_configuration(result)}",
        f"<details><summary>Sources of the energy figures ({len(result.energy_sources)})</summary>",
        f"{_sources(result)}</details></section>",
    ]
    return "\n".join(parts)


def _cards(result: Result) -> str:
    t = result.totals
    cause, _ = max(t.stall_cycles.items(), key=lambda item: item[1], default=("none", 0))
    stalled = 1 - t.busy_cycles / t.cycles if t.cycles else 0.0
    power = f"mean power {scaled(t.power_w, 'W')}" if t.energy_pj else "not costed (energy: {table: none})"
    cards = [
        ("time", scaled(t.seconds, "s"), f"{t.cycles:,} cycles at {compact(result.clock_hz, 'Hz')}"),
        ("performance", rate(t.attained_gops), f"roof {rate(t.roofline.roof_gops)}, {t.roofline.bound} bound"),
        ("utilization", f"{percent(t.utilization)}%", f"{compact(t.macs, 'MACs')}, batch {result.batch}"),
        ("stalls", f"{percent(stalled)}%", f"most: {part_words(cause)}"),
        ("energy", _energy_words(result, t.energy_total_pj), power),
        ("off-chip traffic", size(_off_chip(result)), f"through {result.machine.off_chip}"),
    ]
    items = (f"<div><dt>{n}</dt><dd>{escape(v)}</dd><dd>{escape(more)}</dd></div>" for n, v, more in cards)
    return f'<dl class="cards">{"".join(items)}</dl>'


def _energy_words(result: Result, picojoules: float) -> str:
    return scaled(picojoules * 1e-12, "J") if result.totals.energy_pj else "-"


def _off_chip(result: Result) -> int:
    crossed = result.totals.traffic_bytes.get(result.machine.off_chip)
    return crossed.total if crossed else 0


# ---- bars ------------------------------------------------------------------------------------------


def _stalls(result: Result, number: int) -> str:
    stack = stall_stack([result], "layers")
    return _bars(stack.bars, stack.parts, USES, "cycles", lambda v: f"{int(v):,}", number)


def _energy(result: Result) -> str:
    if not result.totals.energy_pj:
        return "<p>The architecture has no energy table.</p>"
    stack = energy_stack([result], "layers")
    fills = component_fills(stack.parts, {result.machine.off_chip})
    return _bars(stack.bars, stack.parts, fills, "energy", lambda v: scaled(v * 1e-12, "J"))


def _bars(
    names: Sequence[str],
    parts: Mapping[str, Sequence[float]],
    fills: Mapping[str, Fill],
    what: str,
    words: Callable[[float], str],
    number: int | None = None,
) -> str:
    """A stacked bar a layer, all on one scale; a legend above them. Those of result ``number`` lead to its layers."""
    used = {part: _css(fills, part) for part, values in parts.items() if any(values)}
    totals = [sum(parts[part][i] for part in used) for i in range(len(names))]
    longest = max(totals, default=0) or 1
    key = (f'<li><i style="background:{ink}"></i>{escape(part_words(part))}</li>' for part, ink in used.items())
    rows = []
    for i, name in enumerate(names):
        pieces = "".join(
            f'<i style="width:{100 * parts[part][i] / longest:.3f}%;background:{ink}" data-tip="'
            f'{tip(name, f"{part_words(part)}: {words(parts[part][i])} ({percent(parts[part][i] / totals[i])}%)")}"></i>'
            for part, ink in used.items()
            if parts[part][i] / longest > 0.0005
        )
        own = "" if number is None else f' id="{place("stalls", number, i)}"'
        link = escape(name) if number is None else f'<a href="#{place("more", number, i)}">{escape(name)}</a>'
        rows.append(f'<li{own}><b>{link}</b><span class="bar">{pieces}</span><em>{words(totals[i])}</em></li>')
    return (
        f'<ul class="legend" aria-hidden="true">{"".join(key)}</ul>'
        f'<ul class="bars" tabindex="0" aria-label="{what} of every layer">{"".join(rows)}</ul>'
    )


def _css(fills: Mapping[str, Fill], part: str) -> str:
    """A part's background: its colour, and stripes where its neighbours may look alike in grey."""
    colour, hatch = fills.get(part, PLAIN)
    ink = "var(--ink)" if colour == style.BLACK else colour
    turn = {"/": 45, "\\": -45, "-": 0, "|": 90}.get(hatch[:1])
    if turn is None:
        return ink
    return f"repeating-linear-gradient({turn}deg,{ink} 0 3px,color-mix(in srgb,{ink} 55%,#fff) 3px 5px)"


# ---- tables ----------------------------------------------------------------------------------------


def _table(
    caption: str, heads: Sequence[str], rows: Iterable[Cells], ids: Sequence[str] = (), links: Sequence[str] = ()
) -> str:
    """A table whose columns sort by a click; numbers at the right. ``links``: where the first cell of each row leads."""
    listed = list(rows)
    numeric = [not isinstance(key, str) for _, key in listed[0]] if listed else [False] * len(heads)
    head = "".join(
        f'<th scope="col" aria-sort="none"{" class=n" if right else ""}>'
        f'<button type="button">{escape(words)}</button></th>'
        for words, right in zip(heads, numeric, strict=True)
    )
    body = "".join(
        f"<tr{f' id={ids[number]}' if ids else ''}>{''.join(map(_cell, row, numeric, _first_of(row, links, number)))}</tr>"
        for number, row in enumerate(listed)
    )
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{escape(caption)}"><table class="sortable">'
        f"<caption>{escape(caption)}</caption><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>"
    )


def _first_of(row: Cells, links: Sequence[str], number: int) -> Iterator[str]:
    """The link of a row's first cell (``-``: none), nothing for the others."""
    link = links[number] if links else "-"
    return (link if at == 0 else "" for at in range(len(row)))


def _cell(cell: tuple[str, float | str], right: bool, first: str) -> str:
    text, key = cell
    tag, scope = ("th", ' scope="row"') if first else ("td", "")
    look, words = " class=n" if right else "", escape(text)
    words = f'<a href="#{first}">{words}</a>' if first not in ("", "-") else words
    return f'<{tag}{scope} data-v="{escape(str(key))}"{look}>{words}</{tag}>'


def _layers(result: Result, layers: Sequence[LayerResult], number: int) -> str:
    far = result.machine.off_chip
    heads = ["layer", "op", "engine", "cycles", "time", "util.", "main stall", "stalled", "MACs"]
    heads += [f"{far} bytes", "ops/byte", "attained", "of roof", "bound", "limiter", "energy"]
    rows = [_layer_cells(result, layer) for layer in layers]
    ids, links = ([place(kind, number, i) for i in range(len(layers))] for kind in ("row", "more"))
    return _table(f"Layers of {result.network}, click a heading to sort", heads, rows, ids, links)


def _layer_cells(result: Result, layer: LayerResult) -> Cells:
    cause, stalled = layer.main_stall
    place, moved = layer.roofline, result.off_chip_traffic(layer).total
    intensity = place.intensity_ops_per_byte
    share = layer.cycles / result.totals.cycles if result.totals.cycles else 0.0
    waited = stalled / layer.cycles if layer.cycles else 0.0
    return [
        (layer.name, layer.name),
        (layer.op, layer.op),
        (layer.engine, layer.engine),
        (f"{layer.cycles:,}", layer.cycles),
        (f"{percent(share)}%", share),
        (f"{percent(layer.utilization)}%" if layer.macs else "-", layer.utilization),
        (part_words(cause) if cause else "-", cause),
        (f"{percent(waited)}%" if cause else "-", waited),
        (compact(layer.macs, ""), layer.macs),
        (size(moved), moved),
        ("∞", NO_LIMIT) if intensity is None else (significant(intensity), intensity),
        (rate(place.attained_gops), place.attained_gops),
        (f"{percent(place.share_of_roof)}%", place.share_of_roof),
        (place.bound, place.bound),
        (layer.limiter.resource, layer.limiter.resource) if layer.limiter else ("-", ""),
        (_energy_words(result, layer.energy_total_pj), layer.energy_total_pj),
    ]


def _configuration(result: Result) -> str:
    made, machine = result.provenance, result.machine
    facts: list[tuple[str, str]] = [
        ("network", f"{result.network}, batch {result.batch}"),
        ("architecture", f"{result.architecture}, {compact(result.clock_hz, 'Hz')}"),
        *((f"engine: {key}", plain(value)) for key, value in machine.engine.items()),
        *((f"level: {level.name}", _level(level)) for level in machine.levels),
        ("mode", f"{result.mode}, seed {made.seed}"),
        ("made by", f"accelsim {made.accelsim}, Python {made.python}, numba {made.numba}"),
        ("network sha256", made.network.sha256),
        ("architecture sha256", made.arch.sha256),
        *([("command", made.command)] if made.command else []),
    ]
    items = "".join(f"<div><dt>{escape(k)}</dt><dd>{escape(v)}</dd></div>" for k, v in facts)
    return f'<dl class="facts">{items}</dl>'


def _level(level: LevelRecord) -> str:
    room = "unlimited" if level.size_bytes is None else size(level.size_bytes)
    speed = level.bandwidth_bytes_per_second
    words = "unlimited bandwidth" if speed is None else compact(speed, "B/s")
    return f"{room}, {words}" + (f", holds {', '.join(level.holds)}" if level.holds else "")


def _sources(result: Result) -> str:
    if not result.energy_sources:
        return "<p>No energy was counted.</p>"
    keys = list(dict.fromkeys(key for source in result.energy_sources for key in source))
    rows: list[Cells] = [[_source_cell(source.get(key)) for key in keys] for source in result.energy_sources]
    return _table("Every cost, its node, width and source", [key.replace("_", " ") for key in keys], rows)


def _source_cell(value: Any) -> tuple[str, float | str]:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return significant(float(value)), float(value)
    return ("", "") if value is None else (str(value), str(value))


# ---- the roofline ----------------------------------------------------------------------------------

WIDTH, HEIGHT, LEFT, BOTTOM, TOP, RIGHT = 1000, 420, 62, 44, 14, 46


def _points(result: Result, label: str = "") -> list[Point]:
    return [point for point in layer_points(result, label) if point.attained_gops > 0]


def _limits(results: Sequence[Result]) -> Limits:
    roofs = [roof for result in results for roof in result.machine.roofs]
    points = [point for result in results for point in _points(result)]
    xs = [p.intensity_ops_per_byte for p in points if p.intensity_ops_per_byte]
    xs += [roof.ridge_ops_per_byte for roof in roofs if roof.ridge_ops_per_byte]
    ys = [p.attained_gops for p in points] + [roof.peak_gops for roof in roofs]
    x, y = (min(xs, default=1.0), max(xs, default=10.0)), (min(ys, default=1.0), max(ys, default=10.0))
    return x[0] / 2, x[1] * 2.5, y[0] / 2, y[1] * 2


def _roofline(result: Result, label: str, number: int, limits: Limits) -> str:
    points = _points(result, label)
    if not points:
        return "<p>No layer did any work.</p>"
    about = "A disc is a layer, its area its share of time: <b class=compute>bound by compute</b>, "
    about += "<b class=memory>bound by memory</b>. Point at one, or reach it with Tab, for its figures; "
    about += "click it or press Enter to see its row."
    plot = _Plot(result, points, number, limits)
    return f'<div class="wide">{plot.svg()}</div><p class=about>{about}</p>'


class _Plot:
    """Log-log axes with the machine's roofs and a disc a layer, its area its share of time."""

    def __init__(self, result: Result, points: Sequence[Point], number: int, limits: Limits) -> None:
        self.result, self.points, self.number = result, points, number
        self.x_low, self.x_high, self.y_low, self.y_high = limits

    def x(self, value: float | None) -> float:
        """Pixels from the left; points without off-chip traffic stand at the right edge."""
        if value is None:
            return WIDTH - RIGHT / 2
        share = log10(value / self.x_low) / log10(self.x_high / self.x_low)
        return LEFT + (WIDTH - LEFT - RIGHT) * min(1.0, max(0.0, share))

    def y(self, value: float) -> float:
        """Pixels from the top."""
        share = log10(value / self.y_low) / log10(self.y_high / self.y_low)
        return HEIGHT - BOTTOM - (HEIGHT - BOTTOM - TOP) * min(1.0, max(0.0, share))

    def svg(self) -> str:
        name = f"{self.result.network} on {self.result.architecture}"
        words = escape(f"Roofline of {name}; the table of layers has its numbers")
        inside = "".join([*self._axes(), *self._roofs(), *self._discs(), *self._names()])
        return f'<svg class="roofline" viewBox="0 0 {WIDTH} {HEIGHT}" role="group" aria-label="{words}">{inside}</svg>'

    def _axes(self) -> Iterator[str]:
        floor, end = HEIGHT - BOTTOM, WIDTH - RIGHT
        xs, ys = ticks(self.x_low, self.x_high, room=8), ticks(self.y_low, self.y_high, room=6)
        names = dict(zip((*xs, *ys), tick_labels([*xs, *ys]), strict=True))
        for value in xs:
            at = self.x(value)
            yield f'<path class="grid" d="M{at:.1f} {TOP}V{floor}"/>'
            yield f'<text x="{at:.1f}" y="{floor + 16}" class="mid">{names[value]}</text>'
        for value in ys:
            at = self.y(value)
            yield f'<path class="grid" d="M{LEFT} {at:.1f}H{WIDTH - 4}"/>'
            yield f'<text x="{LEFT - 6}" y="{at + 4:.1f}" class="end">{names[value]}</text>'
        yield f'<path class="axis" d="M{LEFT} {TOP}V{floor}H{WIDTH - 4}"/>'
        if any(point.intensity_ops_per_byte is None for point in self.points):
            yield f'<path class="grid" d="M{end} {TOP}V{floor}"/>'
            yield f'<text x="{self.x(None):.1f}" y="{floor + 16}" class="mid">∞</text>'
        yield f'<text x="{(LEFT + end) / 2}" y="{HEIGHT - 8}" class="mid">ops per off-chip byte</text>'
        yield f'<text transform="translate(14 {(TOP + floor) / 2}) rotate(-90)" class="mid">GOPS</text>'

    def _roofs(self) -> Iterator[str]:
        bandwidth = self.result.machine.bandwidth_bytes_per_second
        for roof in self.result.machine.roofs:
            flat, slope = self.y(roof.peak_gops), self._slope(roof)
            begin, words = f"M{LEFT} {flat:.1f}", [f"{roof.name}: {rate(roof.peak_gops)}"]
            if slope:
                begin = f"M{slope[0]:.1f} {slope[1]:.1f}L{slope[2]:.1f} {flat:.1f}"
                words.append(f"ridge {significant(roof.ridge_ops_per_byte or 0)} op/B")
            words += [f"{self.result.machine.off_chip} {compact(bandwidth, 'B/s')}"] if bandwidth else []
            yield f'<path class="roof" d="{begin}H{WIDTH - 4}" data-tip="{tip(*words)}"/>'

    def _slope(self, roof: RoofRecord) -> tuple[float, float, float, float] | None:
        """Where a roof's slope begins and ends in the figure, in pixels; None where it is left of it."""
        ridge = roof.ridge_ops_per_byte
        if not ridge or ridge <= self.x_low:
            return None
        low = max(self.x_low, ridge * self.y_low / roof.peak_gops)
        return self.x(low), self.y(roof.peak_gops * low / ridge), self.x(ridge), self.y(roof.peak_gops)

    def _names(self) -> Iterator[str]:
        """What the roofs are called, over the discs."""
        machine = self.result.machine
        for roof in machine.roofs:
            at, words = self.y(roof.peak_gops) - 5, f"{roof.name} {rate(roof.peak_gops)}"
            yield f'<text x="{WIDTH - RIGHT - 4}" y="{at:.1f}" class="end">{escape(words)}</text>'
        if machine.bandwidth_bytes_per_second:
            words = f"{machine.off_chip} {compact(machine.bandwidth_bytes_per_second, 'B/s')}"
            slope = self._slope(max(machine.roofs, key=lambda roof: roof.peak_gops))
            where = f'x="{LEFT + 8}" y="{TOP + 12}"'
            if slope:
                x0, y0, x1, y1 = slope
                turn = degrees(atan2(y1 - y0, x1 - x0))
                where = f'class="mid" transform="translate({(x0 + x1) / 2:.1f} {(y0 + y1) / 2:.1f}) rotate({turn:.1f})" y="-6"'
            yield f"<text {where}>{escape(words)}</text>"

    def _discs(self) -> Iterator[str]:
        rows = {layer.name: i for i, layer in enumerate(shown_layers(self.result))}
        for point in sorted(self.points, key=lambda p: -p.share_of_time):
            x, y = self.x(point.intensity_ops_per_byte), self.y(point.attained_gops)
            radius = max(3, 26 * point.share_of_time**0.5)
            words = tip(*_point_words(point))
            row = f' data-row="{place("row", self.number, rows[point.layer])}"' if point.layer in rows else ""
            yield f'<circle class="{point.bound}" cx="{x:.1f}" cy="{y:.1f}" r="{radius:.1f}" '
            yield f'tabindex="0" role="button" aria-label="{words}" data-tip="{words}"{row}/>'


def _point_words(point: Point) -> list[str]:
    intensity = point.intensity_ops_per_byte
    return [
        point.layer,
        "no off-chip traffic" if intensity is None else f"{significant(intensity)} op/B",
        f"{rate(point.attained_gops)}, {percent(point.attained_gops / (point.roof_gops or 1))}% of its roof",
        f"{percent(point.share_of_time)}% of time",
    ]
