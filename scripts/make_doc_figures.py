"""Draws the pictures of the documentation and runs its examples: python scripts/make_doc_figures.py

Nothing is drawn from a formula. The pictures of the array read its registers
(`kernels.systolic.fold_registers`), those of time walk the plain-Python twin of the timeline; where a picture
shows a total, `accelsim.simulate` has counted the same. Every excerpt of output in the documentation and in
README.md is what a command printed here.

--check writes nothing and names the files that would change.
"""

# ruff: noqa: E402 (the checkout comes before an installed accelsim, and the backend before pyplot)

from __future__ import annotations

import argparse
import io
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import matplotlib

matplotlib.use("Agg")

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import FancyArrow, Rectangle

import accelsim
from accelsim import cli
from accelsim.arch.spec import Architecture, SystolicSpec
from accelsim.engines.kernels import systolic as kernels
from accelsim.engines.reference import nfu as nfu_twin
from accelsim.engines.reference import timeline as twin
from accelsim.engines.systolic import SystolicArray
from accelsim.mapping.loopnest import Dims
from accelsim.report import style
from accelsim.validation.rtl import product
from accelsim.workload.precision import Precision

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from accelsim.report.result import Result
    from accelsim.sweep.table import SweepTable

DOCS = ROOT / "docs"
LEFT, TOP, SUM = style.BLUE, style.VERMILLION, style.GREEN
WORKING, DONE, UNUSED = "#DCEBF7", "#DFF2EA", "#F0F0F0"
CAUSE_COLOURS = {
    "busy": "#9CC9E8", "fill": "#F4D9A8", "drain": "#CFE8DC", "weight_load": "#F3B69B", "memory": "#D9D9D9",
}  # fmt: skip


# ---- one cycle of the array ---------------------------------------------------------------------------


class Board:
    """Axes on which an array is drawn: a PE every 1.7 units, row 0 on top."""

    PITCH, PE = 1.75, 1.0

    def __init__(self, rows: int, cols: int, feed: int, above: int, below: float) -> None:
        self.rows, self.cols = rows, cols
        width, height = feed + cols * self.PITCH + 0.1, above + rows * self.PITCH + below
        scale = 0.4
        with style.house_style():
            self.figure = Figure(figsize=(width * scale, height * scale), facecolor="white")
        self.axes: Axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set(xlim=(-feed, cols * self.PITCH + 0.1), ylim=(rows * self.PITCH + below, -above))
        self.axes.axis("off")

    def corner(self, i: int, j: int) -> tuple[float, float]:
        """Upper left corner of a PE."""
        return j * self.PITCH + 0.6, i * self.PITCH + 0.6

    def pe(self, i: int, j: int, colour: str, text: str, ink: str = style.INK) -> None:
        x, y = self.corner(i, j)
        self.axes.add_patch(
            Rectangle((x, y), self.PE, self.PE, facecolor=colour, edgecolor=style.INK, lw=0.7)
        )
        self.text(x + self.PE / 2, y + self.PE / 2, text, ink)

    def register(self, x: float, y: float, text: str, ink: str) -> None:
        """A register box centred at a place; empty where the text is."""
        box = Rectangle((x - 0.33, y - 0.19), 0.66, 0.38, facecolor="white", edgecolor=ink, lw=0.7)
        self.axes.add_patch(box)
        self.text(x, y, text, ink)

    def text(self, x: float, y: float, text: str, ink: str = style.INK, **more: Any) -> None:
        self.axes.text(x, y, text, color=ink, ha=more.pop("ha", "center"), va="center", fontsize=7, **more)

    def legend(self, entries: Sequence[tuple[str, str]]) -> None:
        """What the PEs' colours mean, in a row below the array."""
        x, y = -1.3, self.axes.get_ylim()[0] - 0.3
        for colour, words in entries:
            self.axes.add_patch(
                Rectangle((x, y - 0.14), 0.28, 0.28, facecolor=colour, edgecolor=style.INK, lw=0.6)
            )
            self.text(x + 0.4, y, words, ha="left")
            x += 0.85 + 0.128 * len(words)

    def arrow(self, x: float, y: float, dx: float, dy: float, ink: str) -> None:
        patch = FancyArrow(
            x,
            y,
            dx,
            dy,
            width=0.01,
            head_width=0.12,
            head_length=0.12,
            length_includes_head=True,
            color=ink,
            lw=0,
        )
        self.axes.add_patch(patch)


def _coded(rows: int, cols: int) -> np.ndarray:
    """A matrix whose element [r, c] is 100 * (r + 1) + c + 1, so that a register tells what it holds."""
    return np.add.outer(100 * np.arange(1, rows + 1), np.arange(1, cols + 1)).astype(np.int32)


def _named(letter: str, value: int) -> str:
    """``a``, 203 -> the name of a[1, 2]; nothing for 0."""
    return f"${letter}_{{{value // 100 - 1}{value % 100 - 1}}}$" if value else ""


def output_stationary(cycle: int = 3) -> Figure:
    """A 3 x 3 tile on a 4 x 4 os array, 3 vectors long, as the cycle begins."""
    rows, cols, used, vectors = 4, 4, 3, 3
    a, b = _coded(used, vectors), _coded(vectors, used)
    options, ones = kernels.fold_options(), np.ones((used, vectors), np.int32)
    zeros = np.zeros((used, used), np.int32)
    left, top, _, _ = kernels.fold_registers(kernels.OS, a, b, zeros, cycle, rows, cols, options)
    _, _, _, terms = kernels.fold_registers(
        kernels.OS, ones, ones.T.copy(), zeros, cycle, rows, cols, options
    )
    board = Board(rows, cols, feed=1.5, above=0.7, below=0.7)
    for i in range(rows):
        for j in range(cols):
            x, y = board.corner(i, j)
            inside = i < used and j < used
            count, working = int(terms[0, i, j]), bool(left[i, j] and top[i, j])
            colour = (
                WORKING
                if working
                else DONE
                if inside and count == vectors
                else UNUSED
                if not inside
                else "white"
            )
            board.pe(i, j, colour, f"Σ {count}/{vectors}" if inside else "", style.INK)
            board.register(x - 0.38, y + 0.5, _named("a", int(left[i, j])), LEFT)
            board.register(x + 0.5, y - 0.3, _named("b", int(top[i, j])), TOP)
    for i in range(used):
        _feed(
            board, [_named("a", v) for v in _coming(a[i], cycle - i)], board.corner(i, 0), (-0.62, 0.0), LEFT
        )
        _feed(
            board,
            [_named("b", v) for v in _coming(b[:, i], cycle - i)],
            board.corner(0, i),
            (0.0, -0.45),
            TOP,
        )
    board.text(-1.4, 0.65, "a moves right", LEFT, ha="left")
    board.text(0.6, -0.1, "b moves down", TOP, ha="left")
    board.legend(
        ((WORKING, "multiplies"), (DONE, "sum is final"), ("white", "waits"), (UNUSED, "not in the tile"))
    )
    return board.figure


def _coming(stream: np.ndarray, at_port: int) -> list[int]:
    """What waits outside for a row's port: the next one first; 0 where a skew leaves a gap."""
    return [int(stream[k]) if 0 <= k < len(stream) else 0 for k in range(at_port + 1, len(stream))]


def _feed(
    board: Board, names: Sequence[str], corner: tuple[float, float], step: tuple[float, float], ink: str
) -> None:
    x, y = corner
    x, y = (x - 1.02, y + 0.5) if step[0] else (x + 0.5, y - 0.78)
    for name in names:
        if name:
            board.text(x, y, name, ink)
        x, y = x + step[0], y + step[1]


def weight_stationary(cycle: int = 9) -> Figure:
    """A 3 x 3 weight tile on a 4 x 4 ws array, 5 vectors, as the cycle begins; 4 cycles went to the load."""
    rows, cols, used, vectors = 4, 4, 3, 5
    a, w = _coded(vectors, used), _coded(used, used)
    options = kernels.fold_options()
    zeros = np.zeros((vectors, used), np.int32)
    left, held, _, _ = kernels.fold_registers(kernels.WS, a, w, zeros, cycle, rows, cols, options)
    numbers = np.zeros((vectors, used), np.int32)
    numbers[:, 0] = np.arange(1, vectors + 1)  # only row 0 multiplies: the sum tells which vector it is
    first_row = np.zeros((used, used), np.int32)
    first_row[0] = 1
    _, _, _, which = kernels.fold_registers(kernels.WS, numbers, first_row, zeros, cycle, rows, cols, options)
    board = Board(rows, cols, feed=1.5, above=0.35, below=1.35)
    for i in range(rows):
        for j in range(cols):
            x, y = board.corner(i, j)
            inside, working = i < used and j < used, bool(left[i, j])
            colour = (WORKING if working else "white") if inside else UNUSED
            board.pe(i, j, colour, _named("w", int(held[i, j])), TOP)
            board.register(x - 0.38, y + 0.5, _named("a", int(left[i, j])), LEFT)
            vector = int(which[0, i, j])
            board.register(x + 0.5, y + 1.3, f"$s_{{{vector - 1}{j}}}$" if vector else "", SUM)
    for i in range(used):
        waiting = [_named("a", v) for v in _coming(a[:, i], cycle - rows - i)]
        _feed(board, waiting, board.corner(i, 0), (-0.62, 0.0), LEFT)
    for j in range(used):
        x, y = board.corner(0, j)
        board.text(x + 0.5, y - 0.6, "0", SUM)
        board.arrow(x + 0.5, y - 0.45, 0, 0.4, SUM)
        x, y = board.corner(rows - 1, j)
        board.arrow(x + 0.5, y + 1.52, 0, 0.3, SUM)
    board.text(-1.4, 0.65, "a moves right", LEFT, ha="left")
    board.text(4.85, 7.6, "s moves down", SUM, ha="left")
    board.legend(((WORKING, "multiplies"), ("white", "has no input"), (UNUSED, "not in the tile: adds 0")))
    return board.figure


# ---- time ---------------------------------------------------------------------------------------------


class Panel:
    """One run of the twin, as lanes of bars over cycles."""

    def __init__(self, title: str, walk: twin.Walk, ledger: twin.Ledger, lanes: dict[str, list[Bar]]) -> None:
        self.title, self.walk, self.ledger, self.lanes = title, walk, ledger, lanes
        self.causes = list(_causes(walk, ledger.cycles))
        counted = {c: self.causes.count(c) for c in CAUSE_COLOURS}
        known = {c: getattr(ledger, c) for c in CAUSE_COLOURS}
        assert counted == known, f"{title}: drawn {counted}, counted {known}"


Bar = tuple[int, int, int]  # begin, end, number


def _causes(walk: twin.Walk, cycles: int) -> Iterator[str]:
    """What every cycle is charged to, as the twin's ledger looks at it."""
    done = max(fold.done for fold in walk.folds)
    for cycle in range(cycles):
        fold = next((f for f in walk.folds if f.last > cycle), None)
        if fold is None:
            yield "drain" if cycle < done else "memory"
        else:
            yield "busy" if cycle >= fold.first else twin._why_idle(fold, cycle)


def _systolic(text: dict[str, Any]) -> Architecture:
    """A 4 x 4 array with memory that is never waited for."""
    overrides = {f"arch.engine.{key}": value for key, value in {"rows": 4, "cols": 4, **text}.items()}
    return accelsim.load_arch("rtl/tiny_tpu", overrides=overrides)


def fold_panel(size: tuple[int, int, int], setting: dict[str, Any], **more: Any) -> Panel:
    """Two folds of a product M x K x N, timed by the engine and walked by the twin; `simulate` must agree."""
    title = ", ".join(f"{key}: {value}" for key, value in setting.items())
    arch = _systolic(setting | more)
    assert isinstance(arch.engine, SystolicSpec)
    array, dataflow = SystolicArray(arch, arch.engine), arch.engine.dataflow
    grid = array.fold_grid(Dims(N=size[0], K=size[2], C=size[1]), dataflow, Precision())
    records, folds = [], []
    for shape, count in zip(grid.shapes, grid.counts(), strict=True):
        record = array.fold_record(shape, dataflow)
        records += [record] * count
        folds += [twin.Fold(*(int(v) for v in array._fold_row(shape, dataflow)))] * count
    options = twin.Options(
        stationary={"ws": twin.WEIGHT, "is": twin.INPUT, "os": None}[dataflow],
        skewed=arch.engine.overlap == "skewed",
        buffers=2 if dataflow == "os" else arch.engine.weight_buffers,
        ticks_per_bit=0,
    )
    ledger, _, walk = twin.run_timeline([twin.Step(0, 0, None, tuple(folds), 0)], options)
    whole = {f"mapping.gemm.tile.{d}": v for d, v in zip("NCK", size, strict=True)}
    total = accelsim.simulate(product(*size), arch, overrides=whole).totals
    assert total.cycles == ledger.cycles, f"{title}: the twin has {ledger.cycles}, simulate {total.cycles}"
    lanes: dict[str, list[Bar]] = {"weights in": []} if dataflow != "os" else {}
    lanes |= {"operands in": [], "MACs": [], "sums out": []}
    for number, (fold, record) in enumerate(zip(walk.folds, records, strict=True)):
        load = int(record[kernels.LOAD_CYCLES])
        if load:
            lanes["weights in"].append((fold.load_start, fold.load_end, number))
        lanes["operands in"].append((fold.issue, fold.issue + fold.fold.issue, number))
        lanes["MACs"].append((fold.first, fold.last, number))
        lanes["sums out"].append(
            (fold.issue + int(record[kernels.FIRST_OUTPUT_CYCLES]) - load - 1, fold.done, number)
        )
    return Panel(title, walk, ledger, lanes)


def transfer_panel(title: str, slots: int) -> Panel:
    """Four tiles of inputs, 48 bits each over a port of 8 bits a cycle; each tile computes 6 cycles."""
    fold = twin.Fold(load=0, issue=6, first_mac=0, last_mac=5, end=6, interval=6)
    steps = [twin.Step(0 if number == 0 else None, 48, None, (fold,), 0) for number in range(4)]
    options = twin.Options(ticks=8, ticks_per_bit=1, input_slots=slots)
    ledger, _, walk = twin.run_timeline(steps, options)
    lanes: dict[str, list[Bar]] = {"transfer": [], "compute": []}
    for number, tile in enumerate(walk.tiles[twin.INPUT]):
        lanes["transfer"].append((tile.ready - tile.bits // options.ticks, tile.ready, number))
    for number, issued in enumerate(walk.folds):
        lanes["compute"].append((issued.first, issued.last, number))
    return Panel(title, walk, ledger, lanes)


def draw_panels(panels: Sequence[Panel], what: str) -> Figure:
    """Panels one under the other on one axis of cycles; bars are coloured by fold (or tile)."""
    last = max(panel.ledger.cycles for panel in panels)
    height = sum(len(panel.lanes) + 2.1 for panel in panels)
    with style.house_style():
        figure = Figure(figsize=(7.16, 0.155 * height + 0.5), facecolor="white")
    axes = figure.add_axes((0.115, 0.36 / figure.get_figheight(), 0.875, 1 - 0.62 / figure.get_figheight()))
    y, ticks, names = 0.0, [], []
    for panel in panels:
        axes.text(0, y - 0.05, panel.title, fontsize=7, fontweight="bold", va="center", clip_on=False)
        end = f"{panel.ledger.cycles} cycles"
        axes.text(panel.ledger.cycles + last / 100, y + len(panel.lanes) + 1, end, fontsize=7, va="center")
        for lane, (name, bars) in enumerate(panel.lanes.items(), start=1):
            ticks.append(y + lane)
            names.append(name)
            _bars(axes, bars, y + lane)
        ticks.append(y + len(panel.lanes) + 1)
        names.append("charged to")
        _strip(axes, panel.causes, y + len(panel.lanes) + 1)
        y += len(panel.lanes) + 2.1
    axes.set(xlim=(0, last * 1.1), ylim=(y - 0.6, -0.6))
    axes.set_xlabel("cycle", fontsize=7, labelpad=1)
    axes.tick_params(axis="x", labelsize=7)
    axes.set_yticks(ticks, names, fontsize=6.5)
    axes.tick_params(axis="y", length=0)
    axes.set_xticks(range(0, last + 1, 2))
    axes.grid(axis="x", lw=0.3, color="#E5E5E5")
    axes.set_axisbelow(True)
    for side in ("left", "top", "right"):
        axes.spines[side].set_visible(False)
    _legend(figure, what, panels)
    return figure


def _bars(axes: Axes, bars: Sequence[Bar], y: float) -> None:
    """Bars of one lane; those that overlap in time share its height."""
    shared = any(b[0] < a[1] for a, b in pairwise(bars))
    for begin, stop, number in bars:
        colour = style.PALETTE[number % len(style.PALETTE)]
        low, height = (y - 0.4 + 0.4 * (number % 2), 0.38) if shared else (y - 0.38, 0.76)
        axes.add_patch(Rectangle((begin, low), stop - begin, height, facecolor=colour, lw=0))


def _strip(axes: Axes, causes: Sequence[str], y: float) -> None:
    for cycle, cause in enumerate(causes):
        axes.add_patch(
            Rectangle((cycle, y - 0.38), 1, 0.76, facecolor=CAUSE_COLOURS[cause], edgecolor="white", lw=0.4)
        )


def _legend(figure: Figure, what: str, panels: Sequence[Panel]) -> None:
    seen = [cause for cause in CAUSE_COLOURS if any(cause in panel.causes for panel in panels)]
    handles = [Rectangle((0, 0), 1, 1, facecolor=CAUSE_COLOURS[cause]) for cause in seen]
    numbers = sorted({bar[2] for panel in panels for bars in panel.lanes.values() for bar in bars})
    handles = [Rectangle((0, 0), 1, 1, facecolor=style.PALETTE[n]) for n in numbers] + handles
    labels = [f"{what} {n + 1}" for n in numbers] + seen
    figure.legend(handles, labels, loc="upper right", ncols=len(labels), fontsize=7, frameon=False)


WS_SETTINGS: tuple[dict[str, Any], ...] = (
    {"weight_buffers": 1, "overlap": "none", "edge": "full"},
    {"weight_buffers": 1, "overlap": "none", "edge": "trim"},
    {"weight_buffers": 1, "overlap": "skewed", "edge": "trim"},
    {"weight_buffers": 2, "overlap": "none", "edge": "trim"},
    {"weight_buffers": 2, "overlap": "skewed", "edge": "trim"},
)
OS_SETTINGS: tuple[dict[str, Any], ...] = (
    {"overlap": "none", "edge": "full", "drain": "parallel"},
    {"overlap": "none", "edge": "trim", "drain": "parallel"},
    {"overlap": "skewed", "edge": "trim", "drain": "parallel"},
    {"overlap": "skewed", "edge": "trim", "drain": "cols"},
)


def weight_stationary_time() -> Figure:
    """Two folds (6 x 3 times 3 x 6) on a 4 x 4 ws array under its options."""
    return draw_panels([fold_panel((6, 3, 6), setting) for setting in WS_SETTINGS], "fold")


def output_stationary_time() -> Figure:
    """Two folds (4 x 5 times 5 x 6) on a 4 x 4 os array under its options."""
    return draw_panels([fold_panel((4, 5, 6), setting, dataflow="os") for setting in OS_SETTINGS], "fold")


def double_buffering() -> Figure:
    """Transfers and computation with one slot and with two."""
    return draw_panels(
        [transfer_panel("slots: 1", 1), transfer_panel("slots: 2 (double buffering)", 2)], "tile"
    )


# ---- the NFU ------------------------------------------------------------------------------------------


class WatchedNfu(nfu_twin.Nfu):
    """The plain twin, whose registers are looked at as each cycle begins."""

    def _write(self) -> None:
        self.__dict__.setdefault("seen", []).append([self.operand, *self.stages])
        super()._write()


def nfu_pipeline(passes: int = 2, chunks: int = 3) -> Figure:
    """Two rows of outputs of three rows of operands each on their way through the three stages."""
    machine = WatchedNfu(nfu_twin.Pipeline())
    rows = nfu_twin.tile_rows(passes, chunks, False, False)
    number = {id(row): i for i, row in enumerate(rows)}
    machine.run(rows)
    seen = machine.__dict__["seen"]
    read = [later[0] for later in seen[1:]] + [None]
    lanes = ("read rows", "NFU-1: multiply", "NFU-2: add", "NFU-3: activate", "stands in NBout")
    figure = style.new_figure(6.0, 2.0)
    axes = figure.add_subplot()
    for cycle, registers in enumerate(seen):
        for lane, row in enumerate([read[cycle], *registers]):
            if row is None or (lane >= 3 and not row.writes):
                continue
            colour = (WORKING, DONE)[row.output % 2]
            axes.add_patch(Rectangle((cycle, lane + 0.1), 1, 0.8, facecolor=colour, edgecolor=style.INK, lw=0.5))
            words = f"Σ {row.output + 1}" if lane >= 3 else f"{row.output + 1}.{number[id(row)] % chunks + 1}"
            axes.text(cycle + 0.5, lane + 0.5, words, ha="center", va="center", fontsize=7)
    axes.set(xlim=(0, len(seen)), ylim=(len(lanes), 0), xlabel="Cycle")
    axes.set_yticks([lane + 0.5 for lane in range(len(lanes))], lanes)
    axes.set_xticks([cycle + 0.5 for cycle in range(len(seen))], [str(cycle) for cycle in range(len(seen))])
    axes.tick_params(length=0, labelsize=7)
    return figure


# ---- results ------------------------------------------------------------------------------------------


def roofline_resnet50() -> Figure:
    """README's picture: the figure that its first command makes."""
    figure, _ = accelsim.plot.roofline(accelsim.simulate("resnet50", "tpu_v1"))
    return figure


def roofline_paper() -> Figure:
    """The how-to's figure: three networks of TPU v1's paper under it, a CPU and a GPU."""
    results = [accelsim.simulate(name, "tpu_v1") for name in ("tpu_mlp0", "tpu_lstm0", "tpu_cnn0")]
    machines = [accelsim.load_arch("haswell"), accelsim.load_arch("k80")]
    figure, _ = accelsim.plot.roofline(
        results, machines, axis="macs_per_weight_byte", show="networks", labels=["MLP0", "LSTM0", "CNN0"]
    )
    return figure


def roofline_machines() -> Figure:
    """One network on three machines, one kind of engine each."""
    layers = [f"conv{i}" for i in range(1, 6)] + [f"fc{i}" for i in range(6, 9)]
    results = [accelsim.simulate("alexnet", name, layers=layers) for name in ("tpu_v1", "diannao", "zhang2015")]
    return accelsim.plot.roofline(results, width="double", labels=[r.architecture for r in results], name_layers=1)[0]


def roofline_levels() -> Figure:
    """Networks at the ports of two memory levels."""
    results = [accelsim.simulate(name, "gemmini_16x16") for name in ("resnet50", "mobilenet_v1")]
    return accelsim.plot.roofline(results, show="levels")[0]


@cache
def gallery_results() -> list[Result]:
    """Three networks on three machines."""
    machines = ("eyeriss_like", "gemmini_16x16", "tpu_v1")
    return [accelsim.simulate(net, arch) for net in ("mobilenet_v1", "resnet50", "vgg16") for arch in machines]


def heat_map() -> Figure:
    """PEs of Gemmini's array while MobileNet runs."""
    with tempfile.TemporaryDirectory() as folder:
        trace = str(Path(folder) / "trace.json")
        with redirect_stdout(io.StringIO()):
            assert cli.main(["simulate", "mobilenet_v1", "--arch", "gemmini_16x16", "--trace", trace]) == 0
        return accelsim.plot.heat_map(trace, width="double", height_in=2.6)[0]


def buffer_sizes() -> Figure:
    """Off-chip traffic over the size of TPU v1's unified buffer."""
    space = {"arch.memory.unified_buffer.size": "pow2:256 KiB:16 MiB"}
    table = accelsim.sweep(["vgg16", "resnet18", "mobilenet_v1"], "tpu_v1", space)
    return accelsim.plot.buffers(table.rows)[0]


@cache
def zhang_sweep() -> SweepTable:
    """The unrolls of `examples/sweep/zhang2015.yaml`."""
    return accelsim.sweep(ROOT / "examples" / "sweep" / "zhang2015.yaml")


def zhang_unrolls() -> Figure:
    """Every unroll <Tm, Tn> under the DSP budget: what it attains over the slices that it takes."""
    rows = [
        {**row, "DSP slices": 5 * int(tm) * int(tn), "unroll": f"<{tm}, {tn}>"}
        for row in zhang_sweep().rows
        if (tm := row["arch.engine.unroll.K"]) and (tn := row["arch.engine.unroll.C"])
    ]
    assert zhang_sweep().best is not None
    best = zhang_sweep().best or {}
    assert (best["arch.engine.unroll.K"], best["arch.engine.unroll.C"]) == (64, 7)
    figure, axes = accelsim.plot.pareto(rows, "DSP slices", "max:attained_gops", label_by="unroll", width="double")
    axes.axvline(2240, color=style.FAINT, lw=0.6, ls=(0, (2, 2)), zorder=0)
    return figure


def zhang_tilings() -> Figure:
    """Every legal tiling of the paper's layer 5 on its chosen engine."""
    layers = ROOT / "examples" / "sweep" / "alexnet_one_group.yaml"
    return accelsim.plot.tilings(layers, "zhang2015", "conv5")[0]


# ---- the gallery ------------------------------------------------------------------------------------------

NINE = " ".join(f"{net}-{arch}" for net in ("mobilenet_v1", "resnet50", "vgg16")
                for arch in ("eyeriss_like", "gemmini_16x16", "tpu_v1"))  # fmt: skip
RESNETS = "resnet50-eyeriss_like resnet50-gemmini_16x16 resnet50-tpu_v1"
BATCHES = (1, 4, 16, 64)
SIZES = '"arch.memory.unified_buffer.size=pow2:256 KiB:16 MiB"'
SHAPES = "--vary arch.engine.rows=pow2:32:256 --vary arch.engine.cols=pow2:32:256"
BEFORE = (  # commands that make what the gallery draws
    "simulate mobilenet_v1 --arch gemmini_16x16 --trace trace.json",
    *(f"simulate alexnet --arch tpu_v1 --batch {batch} --out batch{batch}" for batch in BATCHES),
    f"sweep vgg16 resnet18 mobilenet_v1 --arch tpu_v1 --vary {SIZES} --out sizes.csv",
    f"sweep resnet18 mobilenet_v1 --arch tpu_v1 {SHAPES} --out shapes.csv",
)
GALLERY: dict[str, tuple[str, str]] = {
    "layers": ("Layers of one network; its area is a layer's share of the time", "roofline resnet50-tpu_v1"),
    "networks": ("Nine results on three machines, in one column", f"roofline {NINE} --show networks"),
    "machines": ("Layers of one network on three machines, in both columns", f"roofline {RESNETS} --width double"),
    "percent": ("How much of its roof each result attains",
                f"roofline {RESNETS} --show networks --percent --name-layers 1 --label Eyeriss --label Gemmini --label TPU"),
    "levels": ("A roof a memory level", "roofline resnet50-gemmini_16x16 mobilenet_v1-gemmini_16x16 --show levels"),
    "trajectory": ("Two layers from batch to batch",
                   "roofline batch1 batch4 batch16 batch64 --layer conv3 --layer fc6 --join"
                   " --label 'batch 1' --label 'batch 4' --label 'batch 16' --label 'batch 64'"),
    "roofs": ("Machines alone", "roofline --machine tpu_v1 --machine gemmini_16x16 --machine haswell --machine k80"),
    "tilings": ("Every legal tiling of a layer, the chosen one marked", "tilings alexnet --arch zhang2015 --layer conv5"),
    "energy": ("Energy of nine results by component", f"plot energy {NINE} --width double"),
    "energy_layers": ("Energy of each layer", "plot energy vgg16-tpu_v1 --width double"),
    "stalls": ("What the cycles were for", f"plot stalls {NINE}"),
    "stalls_layers": ("What each layer's cycles were for", "plot stalls vgg16-tpu_v1"),
    "utilization": ("Utilization, layers as wide as their share of the time", f"plot utilization {RESNETS} --over-time"),
    "heat_map": ("PEs at work over time", "plot utilization trace.json --width double --height 2.6"),
    "speedup": ("Speed-ups, and their geometric mean", f"plot speedup {NINE} --baseline eyeriss_like"),
    "pareto": ("A design space, and the front of each network",
               "plot pareto shapes.csv -x seconds -y energy_total_pj --label-by arch.engine.rows"),
    "buffers": ("Off-chip traffic over the size of a level", "plot buffers sizes.csv"),
}  # fmt: skip


def gallery() -> dict[Path, bytes]:
    """The gallery's pictures, each made by the command that its page shows, and the page."""
    made = {}
    with _examples():
        for result in gallery_results():
            result.write(f"{result.network}-{result.architecture}")
        for line in BEFORE:
            _quietly(line)
        for name, (_, line) in GALLERY.items():
            _quietly(f"{line} -o {name}.svg")
            made[DOCS / "figures" / "gallery" / f"{name}.svg"] = Path(f"{name}.svg").read_bytes()
    return {**made, DOCS / "gallery.md": gallery_page().encode()}


def _quietly(line: str) -> None:
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        assert cli.main(shlex.split(line)) == 0, line


def gallery_page() -> str:
    """Every figure under the command that makes it."""
    before = "\n".join(f"accelsim {line}" for line in BEFORE)
    parts = [
        "# Gallery", "Each figure is what the command beneath it draws. `accelsim plot gallery RESULT... -o FOLDER` makes such a",
        "page of results of your own. How to bring one into a paper: [camera-ready figures](how-to/camera_ready.md).", "",
        "```sh", "for n in mobilenet_v1 resnet50 vgg16; do",
        "  for a in eyeriss_like gemmini_16x16 tpu_v1; do accelsim simulate $n --arch $a --out $n-$a; done", "done",
        before, "```",
    ]  # fmt: skip
    for name, (words, line) in GALLERY.items():
        shown = line.replace(NINE, "mobilenet_v1-* resnet50-* vgg16-*").replace(RESNETS, "resnet50-*")
        parts += ["", f"## {words}", "", f"![{words}](figures/gallery/{name}.svg)", "", "```sh",
                  f"accelsim {shown} -o {name}.pdf", "```"]  # fmt: skip
    return "\n".join(parts) + "\n"


FIGURES: dict[str, Callable[[], Figure]] = {
    "os_cycle": output_stationary,
    "ws_cycle": weight_stationary,
    "ws_time": weight_stationary_time,
    "os_time": output_stationary_time,
    "double_buffering": double_buffering,
    "nfu_pipeline": nfu_pipeline,
    "roofline_resnet50": roofline_resnet50,
    "roofline_paper": roofline_paper,
    "roofline_machines": roofline_machines,
    "roofline_levels": roofline_levels,
    "energy": lambda: accelsim.plot.energy(gallery_results(), width="double")[0],
    "stalls": lambda: accelsim.plot.stalls(gallery_results())[0],
    "utilization": lambda: accelsim.plot.utilization(gallery_results()[3:6], over_time=True)[0],
    "speedup": lambda: accelsim.plot.speedup(gallery_results())[0],
    "heat_map": heat_map,
    "buffers": buffer_sizes,
    "zhang_unrolls": zhang_unrolls,
    "zhang_tilings": zhang_tilings,
}


def render(figure: Figure, suffix: str) -> bytes:
    """The figure as a file's bytes, the same at every run."""
    buffer = io.BytesIO()
    with style.house_style():
        figure.savefig(
            buffer,
            format=suffix,
            facecolor="white",
            dpi=200,
            metadata={"Date": None} if suffix == "svg" else None,
        )
    return buffer.getvalue()


# ---- output of commands -------------------------------------------------------------------------------

SIMULATE = "simulate resnet50 --arch tpu_v1"
EDGE8 = "small_net.yaml --arch edge8.yaml"
EXCERPTS: dict[str, str] = {
    "simulate_resnet50": SIMULATE,
    "simulate_small": f"simulate {EDGE8}",
    "simulate_small_16": f"simulate {EDGE8} --set arch.engine.rows=16 --set arch.engine.cols=16",
    "explain_layer": "explain resnet50 --arch tpu_v1 --layer layer3_1_conv2",
    "explain_small": f"explain {EDGE8} --layer conv2",
    "explain_hierarchy": "explain small_net.yaml --arch edge8_two.yaml --layer conv2 --mapping edge8_two_map.yaml",
    "explain_mapped": f"explain {EDGE8} --layer conv2 --mapping small_map.yaml",
    "too_large": f"simulate {EDGE8} --set mapping.conv2.tile.P=16 --set mapping.conv2.tile.Q=16",
    "validate_tpu_v1": "validate tpu_v1",
    "check_faults": "check broken_net.yaml",
    "algorithms": "sweep vgg16 --arch eyeriss_like --layer conv4_2"
    " --vary workload.algorithm=[direct,winograd_f2x2,winograd_f4x4]",
    "scalesim_csv": "simulate scalesim_topology.csv --arch scalesim --set arch.engine.dataflow=ws",
}
COMPARED = (
    "simulate lenet5 --arch tpu_v1 --out two",
    "simulate lenet5 --arch tpu_v1 --set arch.engine.weight_buffers=1 --out one",
)
FAULTY = ("too_large", "check_faults")  # excerpts that show a fault


def run_command(line: str) -> str:
    """Standard output and standard error of ``accelsim <line>``, 100 columns wide."""
    text = io.StringIO()
    os.environ["COLUMNS"] = "100"
    with redirect_stdout(text), redirect_stderr(text):
        status = cli.main(line.split())
    shown = "\n".join(row.rstrip() for row in text.getvalue().rstrip().splitlines())
    return f"$ accelsim {line}\n{shown}\n" + (f"(exit status {status})\n" if status else "")


def excerpts() -> dict[str, str]:
    """Every excerpt by name, run in a folder of the examples."""
    with _examples():
        found = {name: run_command(line) for name, line in EXCERPTS.items()}
        for line in COMPARED:
            run_command(line)
        found["compare"] = run_command("compare two/report.json one/report.json")
    for name, text in found.items():
        assert ("(exit status" in text) == (name in FAULTY), text
    return found


@contextmanager
def _examples() -> Iterator[None]:
    before = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        for path in (DOCS / "examples").iterdir():
            shutil.copy(path, folder)
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(before)


def shortened(text: str, head: int, tail_from: str) -> str:
    """The first lines of an output, and all from the line that begins with ``tail_from`` on."""
    lines = text.splitlines()
    tail = next(i for i, line in enumerate(lines) if line.startswith(tail_from))
    return "\n".join([*lines[:head], "[...]", *lines[tail:]]) + "\n"


def readme(outputs: dict[str, str]) -> str:
    """README.md with its excerpt replaced."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    begin, end = "<!-- excerpt:begin -->\n", "<!-- excerpt:end -->"
    head, _, rest = text.partition(begin)
    _, _, tail = rest.partition(end)
    return (
        f"{head}{begin}```text\n{shortened(outputs['simulate_resnet50'], 9, 'resnet50 on')}```\n{end}{tail}"
    )


# ---- files --------------------------------------------------------------------------------------------


def files() -> dict[Path, bytes]:
    """Every file that this script makes, and its content."""
    made = {}
    for name, draw in FIGURES.items():
        made[DOCS / "figures" / f"{name}.svg"] = render(draw(), "svg")
    made |= gallery()
    outputs = excerpts()
    for name, text in outputs.items():
        made[DOCS / "excerpts" / f"{name}.txt"] = text.encode()
    made[ROOT / "README.md"] = readme(outputs).encode()
    return made


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="write nothing, name what would change")
    parser.add_argument("--png", metavar="DIR", help="only draw the figures, as PNG, into DIR (to look at)")
    parser.add_argument("--gallery", action="store_true", help="only the gallery and its page")
    arguments = parser.parse_args()
    if arguments.png:
        folder = Path(arguments.png)
        folder.mkdir(parents=True, exist_ok=True)
        for name, draw in FIGURES.items():
            (folder / f"{name}.png").write_bytes(render(draw(), "png"))
        return 0
    made = gallery() if arguments.gallery else files()
    changed = {p: content for p, content in made.items() if not p.is_file() or p.read_bytes() != content}
    for path, content in changed.items():
        print(("would change: " if arguments.check else "written: ") + str(path.relative_to(ROOT)))
        if not arguments.check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return 1 if arguments.check and changed else 0


if __name__ == "__main__":
    sys.exit(main())
