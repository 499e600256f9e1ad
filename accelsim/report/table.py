"""What ``accelsim simulate`` prints: the layers, then the totals. Fits 80 columns; wider terminals see more.

Layers that took no time and moved nothing are counted, not listed. Of a long network those that take least
time are folded into one row where they stand, so that the table fits a screen and still reads in order.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from rich import box
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from accelsim.report.model import LayerResult, Result
from accelsim.report.words import percent, rate, scaled, shorten, significant, size

ROWS = 40
SHORTEST_NAME = 16


@dataclass(frozen=True)
class Glyphs:
    """Signs, and what stands for them where a terminal has only ASCII."""

    dots: str
    bar: str
    rule: box.Box
    plain: bool

    def clean(self, text: str) -> str:
        return text.replace("µ", "u").replace("×", "x") if self.plain else text


def _ruled(line: str) -> box.Box:
    return box.Box(f"    \n    \n {line}{line} \n    \n    \n {line}{line} \n    \n    \n", ascii=line == "-")


UNICODE = Glyphs("…", "█", _ruled("─"), plain=False)
ASCII = Glyphs("...", "#", _ruled("-"), plain=True)


@dataclass(frozen=True)
class Fold:
    """Neighbouring layers shown as one row."""

    layers: tuple[LayerResult, ...]

    @property
    def cycles(self) -> int:
        return sum(layer.cycles for layer in self.layers)

    def label(self, glyphs: Glyphs) -> str:
        return f"{glyphs.dots} {len(self.layers)} layers"

    def cells(self, result: Result) -> dict[str, str]:
        """What can be said of several layers at once, by the heading of its column."""
        off_chip = sum(result.off_chip_traffic(layer).total for layer in self.layers)
        return {
            "cycles": f"{self.cycles:,}",
            "time%": _share(self.cycles, result),
            "energy": scaled(sum(layer.energy_total_pj for layer in self.layers) * 1e-12, "J"),
            "off-chip": size(off_chip),
        }


@dataclass(frozen=True)
class Column:
    """A column: its heading, how soon it is left out where the terminal is narrow (0 last), and its cells."""

    heading: str
    rank: int
    cell: Callable[[Result, LayerResult, Glyphs], str | Text]
    justify: Literal["left", "right"] = "right"


UNMODELLED = 0.01  # of a run's operations: from here on its first line says so


def render(result: Result, width: int = 100, rows: int | None = ROWS, colour: bool = False) -> str:
    """The whole report as text; plain unless ``colour``."""
    console = Console(
        file=io.StringIO(), width=width, force_terminal=colour, color_system="truecolor" if colour else None,
        highlight=False, legacy_windows=False,
    )  # fmt: skip
    with console.capture() as capture:
        print_result(result, console, rows)
    lines = capture.get().split("\n")
    return "\n".join(line if colour else line.rstrip() for line in lines)


def print_result(result: Result, console: Console, rows: int | None = ROWS) -> None:
    """Print the report on a console, in the width and with the signs that it has."""
    glyphs = ASCII if console.options.ascii_only else UNICODE
    if result.totals.unmodelled_share >= UNMODELLED:
        words = f"{percent(result.totals.unmodelled_share)}% of the operations are not modelled: the machine has no vector unit"
        console.print(Text(words, style="bold"))
    console.print(layer_table(result, console.width, rows, glyphs))
    hidden = free_note(result)
    if hidden:
        console.print(Text(hidden, style="dim"))
    console.print()
    console.print(totals_block(result, console.width, glyphs))


def layer_table(result: Result, width: int, rows: int | None = ROWS, glyphs: Glyphs = UNICODE) -> Table:
    """The table of layers that cost something, with as many columns as ``width`` has room for."""
    items = list(folded([layer for layer in result.layers if costs(layer)], rows))
    names = [item.label(glyphs) if isinstance(item, Fold) else item.name for item in items]
    cells = {column: [_cell(column, result, item, glyphs) for item in items] for column in _columns(result)}
    longest = max(len(name) for name in ("layer", *names))
    columns, room = fitting(cells, width, min(longest, SHORTEST_NAME))
    table = Table(box=glyphs.rule, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("layer", no_wrap=True)
    for column in columns:
        table.add_column(glyphs.clean(column.heading), justify=column.justify, no_wrap=True)
    for place, (name, item) in enumerate(zip(names, items, strict=True)):
        style = "dim" if isinstance(item, Fold) else ""
        label = Text(shorten(name, max(room, 4), glyphs.dots))
        table.add_row(label, *(cells[column][place] for column in columns), style=style)
    return table


def fitting(
    cells: Mapping[Column, Sequence[str | Text]], width: int, name_width: int
) -> tuple[list[Column], int]:
    """The columns that fit beside a name of ``name_width``, in their order, and the room left for the
    name.
    """
    room, chosen = width, set()
    for column in sorted(cells, key=lambda column: column.rank):
        taken = 2 + max((len(cell) for cell in (*cells[column], column.heading)), default=0)
        if room - taken < name_width:
            break
        room -= taken
        chosen.add(column)
    return [column for column in cells if column in chosen], room


def _cell(column: Column, result: Result, item: LayerResult | Fold, glyphs: Glyphs) -> str | Text:
    if isinstance(item, Fold):
        return glyphs.clean(item.cells(result).get(column.heading, ""))
    content = column.cell(result, item, glyphs)
    return glyphs.clean(content) if isinstance(content, str) else content


def costs(layer: LayerResult) -> bool:
    """Whether a layer took time or moved anything. One that rides along may still have spent energy."""
    return bool(layer.cycles or any(layer.traffic_bytes.values()))


def folded(layers: Sequence[LayerResult], rows: int | None) -> Iterator[LayerResult | Fold]:
    """The layers in order, those beyond the ``rows`` longest folded with their neighbours."""
    shown = {layer.name for layer in layers}
    if rows is not None and len(layers) > rows:
        shown = {layer.name for layer in sorted(layers, key=lambda layer: -layer.cycles)[:rows]}
    waiting: list[LayerResult] = []
    for layer in layers:
        if layer.name not in shown:
            waiting.append(layer)
            continue
        yield from _release(waiting)
        waiting = []
        yield layer
    yield from _release(waiting)


def _release(waiting: list[LayerResult]) -> Iterator[LayerResult | Fold]:
    if len(waiting) == 1:
        yield waiting[0]  # a fold of one would save no row
    elif waiting:
        yield Fold(tuple(waiting))


def free_note(result: Result) -> str:
    """One line on the layers that are not listed, or nothing."""
    free = [layer for layer in result.layers if not costs(layer)]
    kinds = Counter(layer.op for layer in free)
    listed = ", ".join(
        f"{count} {op}" for op, count in sorted(kinds.items(), key=lambda kind: (-kind[1], kind[0]))[:6]
    )
    more = ", ..." if len(kinds) > 6 else ""
    return f"not listed, no time or traffic of their own: {listed}{more}" if free else ""


def _share(cycles: int, result: Result) -> str:
    return percent(cycles / result.totals.cycles) if result.totals.cycles else "-"


def _shape(layer: LayerResult) -> str:
    """The layer as a matrix product M x N x K (rows, columns, reduced axis), times its groups."""
    if not layer.dims:
        return "×".join(map(str, layer.output_shapes[0][1:])) if layer.output_shapes else ""
    dim = {name: layer.dims.get(name, 1) for name in "NKCPQRSG"}
    product = (dim["N"] * dim["P"] * dim["Q"], dim["K"], dim["C"] * dim["R"] * dim["S"])
    text = "×".join(map(str, product))
    return f"{dim['G']}*({text})" if dim["G"] > 1 else text


def _stall(layer: LayerResult) -> Text:
    cause, cycles = layer.main_stall
    if not cause:
        return Text("-", style="dim")
    share = cycles / layer.cycles
    words = f"{100 * share:.0f}%" if share >= 0.01 else "<1%"
    return Text(f"{cause} {words:>4}", style="red" if share >= 0.5 else "yellow" if share >= 0.2 else "")


def _intensity(layer: LayerResult) -> str:
    intensity = layer.roofline.intensity_ops_per_byte
    return "-" if intensity is None else significant(intensity)


def _utilization(layer: LayerResult) -> str:
    return percent(layer.utilization) if layer.macs else "-"


def _roof_share(layer: LayerResult) -> str:
    return percent(layer.roofline.share_of_roof) if layer.cycles and layer.ops else "-"


def _limiter(layer: LayerResult) -> Text:
    """What limits the layer, and the share of its time that would go if that took none."""
    if layer.limiter is None:
        return Text("-", style="dim")
    gain = 1 - layer.limiter.cycles_without / layer.cycles
    name = layer.limiter.resource.removesuffix(" port")  # a level limits by nothing else
    return Text(f"{name} {f'-{100 * gain:.0f}%':>5}")


def _bar(result: Result, layer: LayerResult, glyphs: Glyphs) -> Text:
    """A bar for the share of time; the longest layer fills the column."""
    return Text(glyphs.bar * round(12 * layer.cycles / (result.longest_cycles or 1)), style="blue")


COLUMNS: tuple[Column, ...] = (
    Column("op", 5, lambda _r, layer, _g: layer.op, "left"),
    Column("M×N×K", 11, lambda _r, layer, _g: _shape(layer)),
    Column("cycles", 0, lambda _r, layer, _g: f"{layer.cycles:,}"),
    Column("time%", 1, lambda r, layer, _g: _share(layer.cycles, r)),
    Column("", 12, _bar, "left"),
    Column("util%", 2, lambda _r, layer, _g: _utilization(layer)),
    Column("main stall", 4, lambda _r, layer, _g: _stall(layer)),
    Column("off-chip", 6, lambda r, layer, _g: size(r.off_chip_traffic(layer).total)),
    Column("op/B", 7, lambda _r, layer, _g: _intensity(layer)),
    Column("attained", 9, lambda _r, layer, _g: rate(layer.roofline.attained_gops) if layer.cycles else "-"),
    Column("roof%", 10, lambda _r, layer, _g: _roof_share(layer)),
    Column("energy", 8, lambda _r, layer, _g: scaled(layer.energy_total_pj * 1e-12, "J")),
    Column("limiter", 3, lambda _r, layer, _g: _limiter(layer)),
)


MACHINE = Column("on", 3, lambda r, layer, _g: r.machine_of(layer), "left")


def _columns(result: Result) -> list[Column]:
    """Which machine ran a layer is said where there is more than one, its energy where any has a cost."""
    columns = [column for column in COLUMNS if column.heading != "energy" or result.totals.energy_pj]
    return [columns[0], MACHINE, *columns[1:]] if result.machine.others else columns


GAP = 4  # columns between small tables


def totals_block(result: Result, width: int, glyphs: Glyphs = UNICODE) -> RenderableType:
    """Everything about the whole network."""
    parts: list[RenderableType] = [_headline(result), _figures(result, glyphs)]
    tables = [_cycles_table(result, glyphs), _traffic_table(result, glyphs)]
    if result.totals.energy_pj:
        tables.append(_energy_table(result, glyphs))
    for row in _abreast(tables, width):
        side_by_side = Table.grid(padding=(0, GAP, 0, 0))
        side_by_side.add_row(*row)
        parts += ["", side_by_side]
    return Group(*parts)


def _abreast(tables: Sequence[Table], width: int) -> list[list[Table]]:
    """Tables in rows, as many side by side as there is room for without cutting a cell."""
    ruler = Console(width=1000, file=io.StringIO())
    rows: list[list[Table]] = [[]]
    used = 0
    for table in tables:
        needed = ruler.measure(table).maximum + GAP
        if rows[-1] and used + needed > width:
            rows.append([])
            used = 0
        rows[-1].append(table)
        used += needed
    return rows


def _headline(result: Result) -> Text:
    clock, layers = scaled(result.clock_hz, "Hz"), len(result.layers)
    parts = f" in {result.batch_parts} parts" if result.batch_parts > 1 else ""
    where = f", batch {result.batch}{parts}, {clock}, {result.mode} mode, {layers} layers"
    return Text.assemble((result.network, "bold"), " on ", (result.architecture, "bold"), where)


def _figures(result: Result, glyphs: Glyphs) -> Table:
    totals, roof = result.totals, result.totals.roofline
    peak = max((r.peak_gops for r in result.machine.roofs), default=0.0)
    of_peak = f" of {rate(peak)} peak ({percent(totals.attained_gops / peak)}%)" if peak else ""
    known = totals.macs and (result.mode == "values" or totals.effective_macs < totals.macs)
    effective = f", {percent(totals.effective_macs / totals.macs)}% effective" if known else ""
    intensity = roof.intensity_ops_per_byte
    words = f"{significant(intensity)} op/B" if intensity is not None else "no off-chip traffic"
    energy = f"{scaled(totals.energy_total_pj * 1e-12, 'J')}, {scaled(totals.power_w, 'W')}"
    if not totals.energy_pj:
        energy = "not costed (energy: {table: none})"
    grid = Table.grid(padding=(0, 2, 0, 0))
    for label, value in (
        ("time", f"{scaled(totals.seconds, 's', 4)} = {totals.cycles:,} cycles"),
        ("work", f"{totals.macs:,} MACs{effective}"),
        ("utilization", f"{percent(totals.utilization)}%"),
        ("attained", f"{rate(totals.attained_gops)}{of_peak}"),
        ("intensity", f"{words}: roof {rate(roof.roof_gops)}, bound by {roof.bound}"),
        ("energy", energy),
        *_expected(result),
        *([] if result.accuracy is None else [("top-1", f"{result.accuracy:.2%} of {result.batch} samples")]),
    ):
        grid.add_row(Text(label, style="dim"), glyphs.clean(value))
    return grid


def _expected(result: Result) -> list[tuple[str, str]]:
    """What an input takes on average, and who leaves where."""
    mean, full = result.expected, result.totals
    if mean is None:
        return []
    share = f"{percent(mean.seconds / full.seconds)}% of the full run's" if full.seconds else ""
    words = f"{scaled(mean.seconds, 's', 4)} ({share}), {scaled(mean.energy_pj * 1e-12, 'J')}, {mean.macs:,.0f} MACs"
    lines = [("expected", words)]
    for leave in mean.leaves if len(mean.leaves) > 1 else ():
        where = f"after {leave.after}" if leave.after else "at the end"
        spent = f"{scaled(leave.seconds, 's', 4)}, {scaled(leave.energy_pj * 1e-12, 'J')}"
        lines.append(("", f"{percent(leave.share)}% leave {where}: {spent}"))
    return lines


def _small_table(glyphs: Glyphs, title: str, *headings: str) -> Table:
    table = Table(box=glyphs.rule, show_edge=False, pad_edge=False, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column(title, no_wrap=True)
    for heading in headings:
        table.add_column(heading, justify="right" if heading else "left", no_wrap=True)
    return table


def _cycles_table(result: Result, glyphs: Glyphs) -> Table:
    totals = result.totals
    table = _small_table(glyphs, "cycles", "", "%", "")
    for cause, cycles in (("busy", totals.busy_cycles), *totals.stall_cycles.items()):
        if cycles:
            share = cycles / totals.cycles
            table.add_row(
                cause,
                Text(f"{cycles:,}", justify="right"),
                percent(share),
                Text(glyphs.bar * round(8 * share), style="blue"),
            )
    return table


def _traffic_table(result: Result, glyphs: Glyphs) -> Table:
    table = _small_table(glyphs, "traffic", "read", "written")
    for level, crossed in result.totals.traffic_bytes.items():
        if crossed.total:
            table.add_row(level, size(crossed.read), size(crossed.write))
    return table


def _energy_table(result: Result, glyphs: Glyphs) -> Table:
    totals = result.totals
    table = _small_table(glyphs, "energy", "J", "%")
    for component, amount in sorted(totals.energy_pj.items(), key=lambda item: -item[1]):
        if amount:
            words = glyphs.clean(scaled(amount * 1e-12, "J"))
            table.add_row(component, words, percent(amount / totals.energy_total_pj))
    return table
