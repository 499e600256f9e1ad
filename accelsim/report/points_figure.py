"""Points of a design space: two of their figures against one another with the Pareto front, and traffic over
the size of a buffer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import log10
from typing import TYPE_CHECKING, Any

import numpy as np

from accelsim.analysis.pareto import ALL_COLUMNS, BETTER_LARGE, HOLDS_FOR, fronts
from accelsim.errors import Fault, InputError, join_allowed, nearest
from accelsim.report import style
from accelsim.report.figure_data import column
from accelsim.report.labels import Keys, Placer, around
from accelsim.report.rows import Cell
from accelsim.report.sheet import Sheet
from accelsim.report.sheet import label as name_all
from accelsim.report.stacked_figure import axis_scale
from accelsim.report.ticks import log_axes, tick_label
from accelsim.report.words import size

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Rows = Sequence[Mapping[str, Cell]]
WORDS = {
    "cycles": "Cycles",
    "utilization": "Utilization",
    "attained_gops": "Attained performance (GOPS)",
}
QUANTITIES = {
    "energy_total_pj": ("Energy", "J", 1e-12),
    "seconds": ("Time", "s", 1.0),
    "power_w": ("Power", "W", 1.0),
}
_KEY = re.compile(r"\b(?:[A-Za-z_]\w*\.)+(\w+)")  # of arch.engine.rows the last word is name enough for an axis
PALE = 0.6  # white in the colour of a point that is beaten
WIDE = 12.0  # a span from which on an axis is logarithmic


@dataclass(frozen=True)
class Objective:
    """A column, and whether more of it is better: ``energy_total_pj``, ``max:utilization``."""

    key: str
    maximize: bool

    @classmethod
    def parse(cls, text: str) -> Objective:
        head, colon, rest = text.partition(":")
        if colon and head in ("min", "max"):
            return cls(rest, head == "max")
        return cls(text, text in BETTER_LARGE)

    def axis(self, highest: float) -> tuple[float, str]:
        """What values up to ``highest`` are multiplied by on an axis, and the axis's name."""
        if self.key not in QUANTITIES:
            return 1.0, WORDS.get(self.key, _KEY.sub(r"\1", self.key).replace("_", " ").replace("*", " × "))
        words, unit, scale = QUANTITIES[self.key]
        factor, prefixed = axis_scale(highest * scale, unit)
        return scale / factor, words + prefixed


@dataclass(frozen=True)
class Points:
    """Points that have both figures, and which of them no other of the same network beats (``fronts``, each ordered along
    x). ``bounded``: the one column for which a front holds, of tilings that were not all run.
    """

    x: Objective
    y: Objective
    rows: list[Mapping[str, Cell]]
    xs: list[float]
    ys: list[float]
    fronts: dict[Cell, list[int]]
    bounded: str = ""

    @property
    def front(self) -> list[int]:
        """The points of all fronts."""
        return [index for front in self.fronts.values() for index in front]

    def words(self, network: Cell) -> str:
        """What the front of ``network`` is called: by its network where there are several, below `heading`."""
        count = len(self.fronts[network])
        return f"{network} ({count})" if len(self.fronts) > 1 else f"{self.heading} ({count})"

    @property
    def heading(self) -> str:
        """What the fronts are of."""
        ran = f" of what ran, bounded by {self.bounded}" if self.bounded else ""
        return f"Pareto front{'s' * (len(self.fronts) > 1)}{ran}"

    def table(self) -> list[dict[str, Cell]]:
        """The points' rows with ``on_front`` in front."""
        on_front = set(self.front)
        return [{"on_front": i in on_front, **row} for i, row in enumerate(self.rows)]


def find_points(rows: Rows, x: str, y: str) -> Points:
    """The points of a table; InputError for unknown columns or where no row has both."""
    objectives = Objective.parse(x), Objective.parse(y)
    columns = [column(rows, objective.key) for objective in objectives]
    kept = [(r, a, b) for r, a, b in zip(rows, *columns, strict=True) if a is not None and b is not None]
    if not kept:
        raise InputError(Fault("plot pareto", f"{x}, {y}", "no row has both"))
    signs = [-1.0 if objective.maximize else 1.0 for objective in objectives]
    found = fronts([(signs[0] * a, signs[1] * b) for _, a, b in kept], [row.get("network") for row, _, _ in kept])
    ordered = {network: sorted(front, key=lambda i: kept[i][1:]) for network, front in found.items()}
    places = [[row[1 + n] for row in kept] for n in range(2)]
    bounded = {str(row.get(HOLDS_FOR, ALL_COLUMNS)) for row, _, _ in kept} - {ALL_COLUMNS}
    return Points(*objectives, [row[0] for row in kept], places[0], places[1], ordered, ", ".join(sorted(bounded)))


def draw_pareto(
    points: Points, *, label: str | None = None, colours: Mapping[str, str] | None = None, sheet: Sheet
) -> tuple[Figure, Axes]:
    """All points muted, each network's front on top joined by the steps that bound what it beats.

    ``label``: a column whose value names the fronts' points: beside them where there is room, else by a key.
    """
    axes = sheet.axes()
    (x_scale, x_words), (y_scale, y_words) = points.x.axis(max(points.xs)), points.y.axis(max(points.ys))
    xs, ys = np.array(points.xs) * x_scale, np.array(points.ys) * y_scale
    fit_axis(axes, "x", xs, x_words, points.x.maximize)
    fit_axis(axes, "y", ys, y_words, points.y.maximize)
    names = [str(network or "") for network in points.fronts]
    shades = style.overridden(names, [style.colour(number) for number in range(len(names))], colours)
    handles = [
        _front(axes, xs[front], ys[front], shade, number, points.words(network), points.x.maximize)
        for number, ((network, front), shade) in enumerate(zip(points.fronts.items(), shades, strict=True))
    ]
    if len(handles) > 1:
        handles.insert(0, axes.plot([], [], color=style.MUTED, lw=1.0, label=points.heading)[0])
    handles += _others(axes, points, xs, ys, shades)
    sheet.legend(handles)
    places = np.column_stack([xs, ys])
    name_all(sheet, axes, lambda: _name_fronts(axes, points, label, places, shades) if label else [])
    return sheet.figure, axes


def _others(axes: Axes, points: Points, xs: Any, ys: Any, shades: Sequence[str]) -> list[Any]:
    """The points that others beat: faint, of several networks in lighter colours of theirs; and what stands for them."""
    from matplotlib.lines import Line2D

    inside = np.ones(len(xs), dtype=bool)
    inside[points.front] = False
    if not inside.any():
        return []
    pale = dict(zip(points.fronts, [style.light(shade, PALE) for shade in shades], strict=True))
    colours = [pale[row.get("network")] if len(pale) > 1 else style.FAINT for row in points.rows]
    mine = [colour for colour, beaten in zip(colours, inside, strict=True) if beaten]
    area = 3 if len(xs) > 400 else 9
    axes.scatter(xs[inside], ys[inside], s=area, c=mine, linewidths=0, zorder=1, rasterized=len(xs) > 5000)
    look: dict[str, Any] = {"marker": "o", "ms": area**0.5, "ls": "", "color": style.FAINT}
    return [Line2D([], [], **look, label=f"other points ({inside.sum():,})")]


def _front(axes: Axes, xs: Any, ys: Any, colour: str, number: int, words: str, maximize: bool) -> Any:
    """One network's front, and what stands for it in the legend."""
    axes.plot(*front_steps(xs.tolist(), ys.tolist(), maximize), color=colour, lw=1.0, zorder=2)
    look: dict[str, Any] = {"color": colour, "ms": 3.8, "mec": "white", "mew": 0.4, "zorder": 3}
    return axes.plot(xs, ys, style.marker(number), label=words, **look)[0]


def fit_axis(axes: Axes, axis: str, values: Any, words: str, maximize: bool) -> None:
    """Limits, ticks and the name of an axis; logarithmic where its values span more than a decade."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    low, high = float(values.min()), float(values.max())
    the_axis = axes.xaxis if axis == "x" else axes.yaxis
    better = "higher is better" if maximize else "lower is better"
    the_axis.set_label_text(f"{words}, {better}")
    if low > 0 and high / low > WIDE:
        span = low / 1.25, high * 1.25
        log_axes(axes, span if axis == "x" else None, span if axis == "y" else None)
        return
    margin = 0.06 * (high - low or abs(high) or 1)
    axes.set(**{f"{axis}lim": (low - margin, high + margin)})
    the_axis.set_major_locator(MaxNLocator(5, steps=[1, 2, 2.5, 5, 10]))
    power = int(log10(high) // 3 * 3) if high > 0 else 0
    if -3 <= power <= 3:
        the_axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v:,.10g}"))
        return
    the_axis.set_major_formatter(FuncFormatter(lambda v, _: f"{v / 10.0**power:.10g}"))
    the_axis.set_label_text(f"{words} × {tick_label(10.0**power)}, {better}")


def _name_fronts(
    axes: Axes, points: Points, label: str, places: Any, shades: Sequence[str]
) -> list[tuple[str, str]]:
    """Name the points of all fronts, the ends of each first; a name is written once."""
    if not any(label in row for row in points.rows):
        column(points.rows, label)  # says which there are
    placer, keys = Placer(axes), Keys()
    for front, shade in zip(points.fronts.values(), shades, strict=True):
        named: set[object] = set()
        for i in dict.fromkeys([front[0], front[-1], *front]):
            value = points.rows[i].get(label)
            if value is None or value in named:
                continue
            named.add(value)
            x, y = places[i].tolist()
            spots = list(around(x, y, 3.2, (5.0, 10.0, 18.0)))
            look: dict[str, Any] = {"fontsize": style.small_pt()}
            if placer.put(str(value), spots, color=style.ink(shade), **look) is None:
                keys.put(placer, str(value), spots, style.ink(shade), required=False, **look)
    return keys.entries


def front_steps(xs: Sequence[float], ys: Sequence[float], maximize_x: bool) -> tuple[list[float], list[float]]:
    """The line that bounds what a front beats: from each of its points, which come along x, towards worse x.

    >>> front_steps([1, 2], [8, 5], maximize_x=False)
    ([1, 2, 2], [8, 8, 5])
    """
    line = [(xs[0], ys[0])]
    for (x_before, y_before), (x, y) in pairwise(zip(xs, ys, strict=True)):
        line += [(x_before, y) if maximize_x else (x, y_before), (x, y)]
    return [x for x, _ in line], [y for _, y in line]


# ---- traffic over the size of a buffer -------------------------------------------------------------


def find_sizes(rows: Rows, level: str | None, traffic: str | None = None) -> tuple[str, str]:
    """The columns of sizes and of traffic: of ``level``, else of the level on chip whose size differs most."""
    known = list(dict.fromkeys(k for row in rows for k in row))
    sized = [k.removesuffix("_size_bytes") for k in known if k.endswith("_size_bytes")]
    swept = [k for k in known if k.startswith("arch.memory") and k.endswith(".size")]
    if level is not None:
        wanted = f"{level}_size_bytes" if level in sized else level
        if wanted not in known:
            words = f"is no level{nearest(level, sized)}, must be {join_allowed(sized or swept or ['none'])}"
            raise InputError(Fault("--level", level, words))
    else:
        counts = {k: len({row.get(k) for row in rows}) for k in [f"{n}_size_bytes" for n in sized] + swept}
        wanted = max(counts, key=lambda k: counts[k], default="")
        if counts.get(wanted, 0) < 2:
            words = "the size of no level differs between the results: simulate with several sizes first"
            raise InputError(Fault("plot buffers", "", words))
    far = next((k.removesuffix("_read_bytes") for k in known if k.endswith("_read_bytes")), "dram")
    return wanted, traffic or far


def buffer_lines(rows: Rows, sizes: str, level: str) -> dict[str, list[tuple[float, float]]]:
    """(size, bytes read and written at ``level``) by network, in the order of sizes."""
    from accelsim.units import parse_bytes

    lines: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        value = row.get(sizes)
        at = float(parse_bytes(value)) if isinstance(value, str) else value
        moved = [row.get(f"{level}_{way}_bytes") for way in ("read", "write")]
        if at is None or any(not isinstance(m, int | float) for m in moved):
            continue
        total = sum(float(m) for m in moved if isinstance(m, int | float))
        lines.setdefault(str(row.get("label", row.get("network", ""))), []).append((float(at), total))
    if not lines:
        raise InputError(Fault("plot buffers", sizes, f"no row has it and the traffic of {level}"))
    return {name: sorted(points) for name, points in lines.items()}


def draw_buffers(
    lines: Mapping[str, Sequence[tuple[float, float]]], sizes: str, level: str, *,
    colours: Mapping[str, str] | None = None, sheet: Sheet,
) -> tuple[Figure, Axes]:  # fmt: skip
    """Off-chip traffic over the size of a buffer, a line a network; both axes in powers of two where wide."""
    from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

    axes, handles = sheet.axes(), []
    shades = style.overridden(list(lines), [style.colour(number) for number in range(len(lines))], colours)
    for number, (name, points) in enumerate(lines.items()):
        handles += axes.plot(
            [x for x, _ in points],
            [y for _, y in points],
            marker=style.marker(number),
            ms=3.4,
            mec="white",
            mew=0.4,
            color=shades[number],
            label=name or "all",
            clip_on=False,
            zorder=3,
        )
    xs = sorted({x for points in lines.values() for x, _ in points})
    ys = [y for points in lines.values() for _, y in points]
    axes.set_xscale("log", base=2)
    stride = max(1, -(-len(xs) * 36 // int(sheet.width_pt - 40)))
    axes.xaxis.set_major_locator(FixedLocator(xs[::stride]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda v, _: _size_words(v)))
    if min(ys) > 0 and max(ys) / min(ys) > WIDE:
        axes.set_yscale("log", base=2)
        axes.yaxis.set_minor_locator(NullLocator())
    else:
        axes.set_ylim(0, 1.08 * max(ys))
        unit = 2.0 ** (10 * int(np.log2(max(ys)) // 10))
        nice = next(n * m for m in (1, 10, 100) for n in (1, 2, 5) if max(ys) / (n * m * unit) <= 6)
        axes.yaxis.set_major_locator(
            FixedLocator([i * nice * unit for i in range(8) if i * nice * unit <= 1.08 * max(ys)])
        )
    axes.yaxis.set_major_formatter(FuncFormatter(lambda v, _: _size_words(v)))
    axes.set_axisbelow(True)
    axes.grid(color="#E4E4E4", lw=0.4)
    name = sizes.removesuffix("_size_bytes").removeprefix("arch.memory.").removesuffix(".size")
    axes.set_xlabel(f"Size of {name.replace('_', ' ')} (bytes)")
    axes.set_ylabel(f"Traffic of {level.replace('_', ' ')} (bytes)")
    sheet.legend(handles)
    sheet.settle()
    return sheet.figure, axes


def _size_words(value: float) -> str:
    number, unit = size(value).split(" ")
    return f"{number.rstrip('0').rstrip('.') if '.' in number else number} {unit}"
