"""What every figure stands on: a figure of its own or axes that the caller gave, its legends, and its height.

The plot keeps its height: legends and lists of keys make the figure higher, not the plot lower, unless the
height was asked for (``--height``) or is that of a slide. One maker of legends, whose columns are measured.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np

from accelsim.errors import Fault, InputError
from accelsim.report import style
from accelsim.report.words import shorten

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

LEAST_SHARE = 0.6  # of a figure's height, legends not counted, for the plots, whatever names are beneath
LEAST_PLOT_IN = 0.3  # a plot lower than this shows nothing
PAD_PT = 3.0  # between a legend and the plot
MOST_ROWS, PAGE_IN = 6, 9.2  # panels one above the other; what is higher fits no page
HEAD_IN, ROW_IN, LOW_IN, NARROW_IN = 0.6, 1.25, 0.7, 1.6  # beside the panels; a row of them, a lower one; least width
PASSES = 12  # of labelling a plot that its list of keys makes lower
MOVED_PX = 1.0  # by how much a plot may move under its labels
LEAST_LETTERS = 8  # of a name that is cut, of a line
ENTRY_PT = 24.0  # of a legend's row for its mark and rims
MOST_CUT = 6  # one in so many keys may be cut for the others' sake
KEY_LOOK = {"handlelength": 0.0, "handletextpad": 0.0, "columnspacing": 1.0, "labelspacing": 0.15, "borderpad": 0.1}


@dataclass
class Sheet:
    """Where a figure is drawn. ``given`` are the caller's axes; ``grows`` says that the figure's height is free."""

    figure: Figure
    given: Any = None
    grows: bool = True
    title: str = ""
    base_in: float = 0.0
    key_rows: int = 0
    words_in: float = 0.0

    def __post_init__(self) -> None:
        self.base_in = self.base_in or float(self.figure.get_figheight())

    def axes(self) -> Axes:
        """The axes to draw into."""
        axes: Axes = self.given if self.given is not None else self.figure.add_subplot()
        if self.title:
            self.title = wrapped(self.figure, self.title, style.text_pt(), 0.75 * self.width_pt)
            axes.set_title(self.title)
        return axes

    def panels(self, count: int, shared: bool, columns: int = 1) -> list[Axes]:
        """Axes in rows of so many; as many as the caller has to give where he gives his own."""
        if self.given is None:
            rows = ceil(count / columns)
            found = self.figure.subplots(rows, columns, squeeze=False, sharex=shared).ravel()
            for spare in found[count:]:
                spare.remove()
            if self.title:
                title = wrapped(self.figure, self.title, style.text_pt(), 0.9 * self.width_pt)
                self.figure.suptitle(title, fontsize=style.text_pt())
            return list(found[:count])
        given = list(np.ravel(self.given))
        if len(given) != count:
            raise InputError(Fault("ax", "", f"{len(given)} axes given, must be {count}"))
        self.given = given[0]
        return given

    @property
    def width_pt(self) -> float:
        """Room for a legend."""
        if self.given is not None:
            return float(np.ravel(self.given)[0].get_window_extent().width * 72 / self.figure.dpi)
        return float(72 * self.figure.get_figwidth())

    @property
    def beside(self) -> bool:
        """Whether legends stand at the right: on pages that are wide and low."""
        return self.given is None and tuple(self.figure.get_size_inches()) == style.figure_size("slide")

    # ---- legends -----------------------------------------------------------------------------------

    def legend(self, handles: Sequence[Any], **look: Any) -> None:
        """What marks mean, above the plot in as few rows as there is room for, read along the rows."""
        if not handles:
            return
        for handle in handles:
            handle.set_label(cut(self.figure, str(handle.get_label()), style.text_pt(), self.width_pt - ENTRY_PT))
        columns = self._columns([str(handle.get_label()) for handle in handles], look)
        if self.given is not None:
            box = {"loc": "lower left", "bbox_to_anchor": (0, 1), "borderaxespad": 0.2, "bbox_transform": self._above()}
            self.given.legend(handles=along_rows(handles, columns), ncols=columns, **box, **look)
        elif self.beside and columns < len(handles):
            self.figure.legend(handles=handles, loc="outside right upper", **look)
        else:
            self.figure.legend(handles=along_rows(handles, columns), loc="outside upper left", ncols=columns, **look)

    def _above(self) -> Any:
        """The frame of the caller's axes, lifted above what stands over them: totals of bars, a title."""
        from matplotlib.transforms import ScaledTranslation

        up_px = max(0.0, self.given.get_tightbbox().y1 - self.given.get_window_extent().y1)
        return self.given.transAxes + ScaledTranslation(0, up_px / self.figure.dpi, self.figure.dpi_scale_trans)

    def _columns(self, labels: Sequence[str], look: dict[str, Any]) -> int:
        """As many columns as the width allows, of as few rows as that gives."""
        look = {"handlelength": 1.4, "handletextpad": 0.4, "columnspacing": 1.0, "fontsize": style.text_pt(), **look}
        em, count = look["fontsize"], len(labels)
        entry = em * (look["handlelength"] + look["handletextpad"])
        widths = [text_pt(self.figure, label, em) + entry for label in labels]
        for rows in range(1, count + 1):
            columns = ceil(count / rows)
            each = [max(widths[column::columns]) for column in range(columns)]
            if sum(each) + em * look["columnspacing"] * (columns - 1) <= self.width_pt - 6:
                return columns
        return 1

    def keys(self, entries: Sequence[tuple[str, str]]) -> Any:
        """A list of what keys in the plot mean, beneath it; makes the figure as much higher as it needs."""
        from matplotlib.lines import Line2D

        if not entries and not self.key_rows:
            return None
        entries = sorted(entries, key=lambda entry: entry[0].startswith("–"))
        look: dict[str, Any] = {**KEY_LOOK, "fontsize": style.small_pt()}
        names = self._cut_keys([words for words, _ in entries] or [""], look)
        entries = [(words, colour) for words, (_, colour) in zip(names, entries, strict=False)]
        columns = look["ncols"] = self._columns(names, look)
        rows = self.key_rows = max(ceil(len(entries) / columns), self.key_rows)
        entries += [("", "white")] * (rows * columns - len(entries))  # never lower than before: else it may swing for ever
        shown = along_rows(entries, columns)
        handles = [Line2D([], [], ls="", label=words) for words, _ in shown]
        colours = [colour for _, colour in shown]
        if self.given is not None:
            return self._keys_of_axes(handles, colours, look)
        return self.figure.legend(handles=handles, labelcolor=colours, loc="outside lower left", **look)

    def _cut_keys(self, names: Sequence[str], look: dict[str, Any]) -> list[str]:
        """Names that fit the page. Where a few long ones would leave all of them one column, these are cut to half of it."""

        def fitting(room_pt: float) -> list[str]:
            return [cut(self.figure, name, look["fontsize"], room_pt - ENTRY_PT / 2) for name in names]

        whole, half = fitting(self.width_pt), fitting(self.width_pt / 2)
        few = sum(a != b for a, b in zip(whole, half, strict=True)) <= len(names) / MOST_CUT
        return half if few and len({*half}) == len({*whole}) and self._columns(whole, look) == 1 else whole

    def _keys_of_axes(self, handles: Sequence[Any], colours: Sequence[str], look: dict[str, Any]) -> Any:
        first = self.given.get_legend()
        low = self.given.get_tightbbox().y0 - self.given.get_window_extent().y0
        down = low / self.given.get_window_extent().height
        listed = self.given.legend(
            handles=handles, labelcolor=colours, loc="upper left", bbox_to_anchor=(0, down), borderaxespad=0.2, **look
        )
        if first is not None:
            self.given.add_artist(first)
        return listed

    # ---- height ------------------------------------------------------------------------------------

    def settle(self) -> None:
        """Lay out, so that places in the plot are known in pixels. A free height grows by that of the legends, and where
        words beneath the plots would leave these too little.
        """
        free = self.given is None and self.grows
        if free:
            legends = [made.get_window_extent().height / self.figure.dpi + PAD_PT / 72 for made in self.figure.legends]
            self.figure.set_figheight(self.base_in + self.words_in + sum(legends))
        style.lay_out(self.figure)
        missing_in = self._missing_in() if free else 0.0
        if missing_in > 0:
            self.words_in += missing_in
            self.figure.set_figheight(self.figure.get_figheight() + missing_in)
            style.lay_out(self.figure)
        if self._wrap_labels():
            style.lay_out(self.figure)
        self.check_room()

    def _missing_in(self) -> float:
        """How much higher the figure has to be for its plots to keep their share of the height."""
        specs = [(axes, spec) for axes in self.figure.axes if (spec := axes.get_subplotspec()) is not None]
        rows = max((spec.get_gridspec().nrows for _, spec in specs), default=1)
        least = min((axes.get_window_extent().height for axes, _ in specs), default=np.inf) / self.figure.dpi
        return float(rows * max(0.0, LEAST_SHARE * self.base_in / rows - least))

    def _wrap_labels(self) -> bool:
        """Break the names of axes that are longer than these and their margins; whether there were any."""
        if self.given is not None:
            return False
        changed = False
        for axes in self.figure.axes:
            box, page = axes.get_window_extent(), self.figure.bbox
            middle, pixels = (box.x0 + box.x1) / 2, self.figure.dpi / 72
            rooms = 2 * min(middle, page.width - middle) / pixels, box.height / pixels + 2 * style.text_pt()
            for label, room_pt in zip((axes.xaxis.label, axes.yaxis.label), rooms, strict=True):
                line = wrapped(self.figure, label.get_text(), style.text_pt(), room_pt)
                changed |= line != label.get_text()
                label.set_text(line)
        return changed

    def sticks_out(self, text: Any) -> bool:
        """Whether a text is higher than the page."""
        box = text.get_window_extent()
        return self.given is None and bool(box.y0 < 0 or box.y1 > self.figure.bbox.height)

    def check_room(self) -> None:
        """InputError where the height that was asked for leaves the plot next to nothing."""
        if self.given is not None or not self.figure.axes:
            return
        least = min(axes.get_window_extent().height for axes in self.figure.axes) / self.figure.dpi
        if least < LEAST_PLOT_IN:
            have = self.figure.get_figheight()
            words = f"{have:g} inches leave the plot {max(least, 0):.2g}, it needs {have + LEAST_PLOT_IN - least:.2g} in all"
            raise InputError(Fault("figure", "height", words))


def panel_columns(count: int, width_in: float) -> int:
    """How many panels stand side by side: one, as long as they fit a page one above the other."""
    most = max(1, int(width_in / NARROW_IN))
    fits = (n for n in range(1, most) if count <= n * MOST_ROWS or (n > 1 and panels_in(count, n) <= PAGE_IN))
    return int(next(fits, most)) if count > MOST_ROWS else 1


def panels_in(count: int, columns: int) -> float:
    """The height of a figure of panels."""
    rows = ceil(count / columns)
    return HEAD_IN + rows * (ROW_IN if rows <= MOST_ROWS else LOW_IN)


def text_pt(figure: Any, words: str, size_pt: float, **look: Any) -> float:
    """How wide words are in a figure."""
    text = figure.text(0, 0, words, fontsize=size_pt, **look)
    width = float(text.get_window_extent().width * 72 / figure.dpi)
    text.remove()
    return width


def cut(figure: Any, words: str, size_pt: float, room_pt: float) -> str:
    """As much of words as there is room for: their middle goes."""
    shown, size = words, len(words)
    while size > LEAST_LETTERS and text_pt(figure, shown, size_pt) > room_pt:
        size -= 1
        shown = shorten(words, size)
    return shown


def wrapped(figure: Any, words: str, size_pt: float, room_pt: float) -> str:
    """Words in as many lines as they need."""
    need_pt = text_pt(figure, words, size_pt)
    return words if need_pt <= room_pt else fill(words, max(LEAST_LETTERS, int(len(words) * room_pt / need_pt) - 1))


def along_rows(items: Sequence[Any], columns: int) -> list[Any]:
    """Items in the order in which a legend, which fills its columns one by one, shows them along its rows."""
    rows = ceil(len(items) / columns)
    if rows == 1:
        return list(items)
    full = len(items) % columns or columns  # matplotlib gives the first columns a row more
    heights = [rows if c < full else rows - 1 for c in range(columns)]
    grid = [items[r * columns : (r + 1) * columns] for r in range(rows)]
    return [grid[r][c] for c, height in enumerate(heights) for r in range(height)]


def label(sheet: Sheet, axes: Axes, name: Callable[[], Sequence[tuple[str, str]]]) -> None:
    """Lay out, name what stands in the plot by ``name``, which returns what its keys mean, and list these beneath.

    Where the figure cannot grow, the list takes room of the plot, which is then labelled again.
    """
    sheet.settle()
    listed = None
    for _ in range(PASSES):
        known, before = {*axes.texts, *axes.lines}, _size(axes)
        entries = name()
        if listed is not None:
            listed.remove()
        listed = sheet.keys(entries)
        sheet.settle()
        if max(abs(a - b) for a, b in zip(_size(axes), before, strict=True)) < MOVED_PX:
            return
        for artist in {*axes.texts, *axes.lines} - known:
            artist.remove()
    raise AssertionError("a list that only grows comes to an end")


def _size(axes: Axes) -> tuple[float, float]:
    """Width and height of a plot in pixels."""
    box = axes.get_window_extent()
    return float(box.width), float(box.height)
