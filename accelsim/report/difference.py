"""What ``accelsim compare A.json B.json`` prints: what was run differently, which counter moved by how much, and,
where the networks' weights differ, the six measures of compression.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from accelsim.analysis.compare import Change, Comparison, Value, compare_tables
from accelsim.analysis.measures import Cost, Measures, folded, layer_measures, total
from accelsim.report.model import LayerResult, Result
from accelsim.report.rows import layer_counters, settings, total_counters
from accelsim.report.table import ASCII, UNICODE, Glyphs
from accelsim.report.words import shorten, significant, size

LAYERS_SHOWN = 20
_STALL, _CYCLES = "stall_", "_cycles"


def compare_results(first: Result, second: Result) -> Comparison:
    """Every counter that differs between two results, of the whole and of each layer that both have."""
    layers = [
        {layer.name: layer_counters(result, layer) for layer in result.layers} for result in (first, second)
    ]
    return compare_tables(
        (settings(first), settings(second)),
        (total_counters(first.totals), total_counters(second.totals)),
        (layers[0], layers[1]),
    )


def layer_cost(layer: LayerResult) -> Cost:
    """What one layer has and took; of a layer without weights all MACs count."""
    kept, seconds = layer.weights, layer.seconds
    if kept is None:
        return Cost(0, layer.macs, 0, seconds, layer.energy_total_pj)
    macs = round(layer.macs * kept.nonzero / kept.elements)
    return Cost(kept.nonzero_parameters, macs, kept.addresses, seconds, layer.energy_total_pj)


def compare_measures(first: Result, second: Result) -> tuple[Measures, dict[str, Measures]]:
    """The six measures of ``second`` over ``first``, of the whole and of each layer with weights that both have.

    The index space is that of the weights as the hardware stored them. Accuracy is known where both runs had labels.
    """
    costs = [
        {name: total(map(layer_cost, parts)) for name, parts in result.whole_layers().items()} for result in (first, second)
    ]
    costs[1] = folded(costs[1], costs[0])
    accuracy = second.accuracy / first.accuracy if first.accuracy and second.accuracy is not None else None
    whole_layers = first.whole_layers()
    trained = {name: cost for name, cost in costs[0].items() if any(part.weights for part in whole_layers[name])}
    whole = Measures.of(total(costs[0].values()), total(costs[1].values()), accuracy)
    return whole, layer_measures(trained, costs[1])


def weights_differ(first: Result, second: Result) -> bool:
    """Whether two results are of networks with other weights or widths of them, or of other accuracy."""
    return _trained(first) != _trained(second) or first.accuracy != second.accuracy


def _trained(result: Result) -> dict[str, tuple[int, int, str]]:
    kept = {layer.name: (layer.weights, layer.precision.weight) for layer in result.layers}
    return {name: (w.parameters, w.nonzero, bits) for name, (w, bits) in kept.items() if w is not None}


def print_results_measures(first: Result, second: Result, console: Console) -> None:
    """The six measures of two results, what their weights take as stored, and what is not known."""
    print_measures({second.architecture: compare_measures(first, second)}, console)
    bits = [sum(layer.weights.stored_bits for layer in result.layers if layer.weights) for result in (first, second)]
    console.print(f"weights as stored: {size(bits[0] / 8)} to {size(bits[1] / 8)}", highlight=False)
    if first.accuracy is None or second.accuracy is None:
        console.print("accuracy: not known without labels (simulate --values --input FILE --labels FILE)")
    console.print()


def print_measures(
    columns: Mapping[str, tuple[Measures, Mapping[str, Measures]]], console: Console, title: str = "second\n/ first"
) -> None:
    """The six ratios, a row a layer and one for the network. With several ``columns`` (architectures) each has its own
    latency and energy; the other four are the network's own, and the same for all.
    """
    glyphs = ASCII if console.options.ascii_only else UNICODE
    measures = list(columns.values())
    timed = [(name, word) for name in columns for word in ("latency", "energy")]
    heads = [word if len(columns) == 1 else f"{word}\n{shorten(name, 12, glyphs.dots)}" for name, word in timed]
    table = _new_table(title, ("accuracy", "para-\nmeters", "MACs", *heads, "index\nspace"), glyphs)
    for name in measures[0][1]:
        table.add_row(name, *_measured([layers[name] for _, layers in measures]))
    table.add_section()
    table.add_row("network", *_measured([whole for whole, _ in measures]), style="bold")
    console.print(table)


def _measured(several: Sequence[Measures]) -> list[str]:
    own = several[0]
    timed = [ratio for measures in several for ratio in (measures.latency, measures.energy)]
    ratios = (own.accuracy, own.parameters, own.macs, *timed, own.index_space)
    return ["" if ratio is None else significant(ratio) for ratio in ratios]


def print_comparison(comparison: Comparison, console: Console, rows: int | None = LAYERS_SHOWN) -> None:
    """Print a comparison; of the layers that moved, the ``rows`` with the largest difference in cycles
    (None: all).
    """
    glyphs = ASCII if console.options.ascii_only else UNICODE
    if comparison.settings:
        console.print(_table("run", comparison.settings, glyphs))
        console.print()
    if comparison.identical:
        console.print(f"No counter differs ({comparison.agreeing:,} compared).")
        return
    if comparison.totals:
        console.print(_table("total", comparison.totals, glyphs))
        console.print()
    if comparison.layers:
        console.print(layers_table(comparison, rows, console.width, glyphs))
    for names, side in ((comparison.only_first, "first"), (comparison.only_second, "second")):
        if names:
            console.print(Text(f"only in the {side}: {_listed(names)}"))
    console.print(Text(f"{comparison.agreeing:,} counters agree", style="dim"))


def _listed(names: Sequence[str], most: int = 8) -> str:
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def _new_table(title: str, headings: Iterable[str], glyphs: Glyphs) -> Table:
    table = Table(box=glyphs.rule, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column(title, no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    return table


def _table(title: str, changes: Iterable[Change], glyphs: Glyphs) -> Table:
    table = _new_table(title, ("first", "second", "difference", ""), glyphs)
    for change in changes:
        words = (_value(change.first, glyphs), _value(change.second, glyphs), _difference(change.difference))
        table.add_row(change.counter, *words, moved(change))
    return table


def layers_table(comparison: Comparison, rows: int | None, width: int, glyphs: Glyphs) -> Table:
    """The layers whose cycles moved most, and the cause that moved most in each; else the first counter that
    moved.
    """
    names = list(dict.fromkeys(change.layer for change in comparison.layers))
    by_layer = {name: {c.counter: c for c in comparison.layers if c.layer == name} for name in names}
    names.sort(key=lambda name: -_size(by_layer[name].get("cycles")))
    shown = names if rows is None else names[:rows]
    room = max(12, min(max(len(name) for name in shown), width - 60))
    table = _new_table("layer", ("cycles", "second", "difference", "", "most in"), glyphs)
    for name in shown:
        table.add_row(shorten(name, room, glyphs.dots), *_layer_cells(by_layer[name], glyphs))
    if len(shown) < len(names):
        table.add_row(f"{glyphs.dots} {len(names) - len(shown)} layers", style="dim")
    return table


def _layer_cells(changes: dict[str, Change], glyphs: Glyphs) -> list[str | Text]:
    cycles, cause = changes.get("cycles"), _main_cause(changes)
    if cycles is None:
        counters = next(iter(changes)) if len(changes) == 1 else f"{len(changes)} other counters"
        return ["same", "", "", "", shorten(counters, 30, glyphs.dots)]
    name = cause.counter.removeprefix(_STALL).removesuffix(_CYCLES) if cause else ""
    return [
        _value(cycles.first, glyphs),
        _value(cycles.second, glyphs),
        _difference(cycles.difference),
        moved(cycles),
        f"{name} {_difference(cause.difference)}" if cause else "",
    ]


def _main_cause(changes: dict[str, Change]) -> Change | None:
    parts = [change for name, change in changes.items() if name.startswith(_STALL) or name == "busy_cycles"]
    return max(parts, key=_size, default=None)


def _size(change: Change | None) -> float:
    return abs(change.difference or 0) if change else -1


def _value(value: Value, glyphs: Glyphs) -> str:
    if isinstance(value, int):
        return _whole(value)
    if isinstance(value, float):
        return _figure(value)
    return "-" if value is None else shorten(str(value), 16, glyphs.dots)


def _whole(value: int) -> str:
    """Exact up to ten digits; more would not fit two in a row of 80 columns (the files have them all)."""
    return f"{value:,}" if abs(value) < 10**10 else f"{value:.4e}"


def _figure(value: float) -> str:
    """Four digits; very large and very small ones with an exponent."""
    return f"{value:.3e}" if value and not 1e-3 <= abs(value) < 1e9 else significant(value, 4)


def _difference(difference: int | float | None) -> str:
    if difference is None:
        return ""
    sign = "+" if difference > 0 else ""
    return sign + (_whole(difference) if isinstance(difference, int) else _figure(difference))


def moved(change: Change) -> Text:
    """The change in percent, or as a factor where it is twofold or more."""
    ratio = change.ratio
    if ratio is None or change.difference is None:
        return Text("")
    style = "green" if ratio < 1 else "red" if "cycles" in change.counter or "_pj" in change.counter else ""
    if ratio >= 2 or 0 < ratio <= 0.5:
        return Text(f"x{significant(ratio)}", style=style)
    return Text(f"{100 * (ratio - 1):+.2f}%", style=style)
