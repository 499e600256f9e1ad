"""A figure as PGF for LaTeX: its words are set by the paper itself, in the paper's letters. Needs no LaTeX here.

matplotlib's own writer asks a LaTeX for the size of every word. The words of these figures have been placed by then
in matplotlib's letters, and keep their places.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_pgf import RendererPgf
from matplotlib.path import Path
from matplotlib.transforms import IdentityTransform

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEAD = r"""%% A figure of accelsim. In the preamble: \usepackage{pgf}
%% In the paper: \input{this file}, at its own size.
\begingroup
\makeatletter
\begin{pgfpicture}
\pgfpathrectangle{\pgfpointorigin}{\pgfqpoint{%fin}{%fin}}
\pgfusepath{use as bounding box, clip}
"""
FOOT = r"""\end{pgfpicture}
\makeatother
\endgroup
"""
SIGNS = {"∞": r"\ensuremath{\infty}", "×": r"\ensuremath{\times}", "µ": r"\ensuremath{\mu}", "…": r"\dots{}", "–": "--"}
ACTIVE = {
    "\\": r"\textbackslash{}", "$": r"\$", "#": r"\#", "&": r"\&", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}",
}  # fmt: skip
DOTS_PT = {".": (3.0, 0.6), "o": (6.0, 1.8)}  # of hatches: from dot to dot, and how wide


class _Renderer(RendererPgf):  # type: ignore[misc]
    """Measures words as matplotlib draws them, spells signs as any LaTeX knows them, and dots areas with few strokes."""

    def __init__(self, figure: Any, stream: io.StringIO) -> None:
        super().__init__(figure, stream)
        self.measure = figure.canvas.get_renderer()

    def get_text_width_height_descent(self, s: str, prop: Any, ismath: Any) -> tuple[float, float, float]:
        size: tuple[float, float, float] = self.measure.get_text_width_height_descent(s, prop, ismath)
        return size

    def draw_text(
        self, gc: Any, x: float, y: float, s: str, prop: Any, angle: float, ismath: Any = False, mtext: Any = None
    ) -> None:
        table = str.maketrans(dict[str, str | int | None](SIGNS if ismath else {**SIGNS, **ACTIVE}))
        super().draw_text(gc, x, y, s.translate(table), prop, angle, ismath, mtext)

    def draw_path(self, gc: Any, path: Any, transform: Any, rgbFace: Any = None) -> None:
        """Dots as ends of lines without a length: of matplotlib's, each a circle, LaTeX has a minute's work."""
        hatch = gc.get_hatch()
        if not hatch or hatch[0] not in DOTS_PT:
            super().draw_path(gc, path, transform, rgbFace)
            return
        gc.set_hatch(None)
        super().draw_path(gc, path, transform, rgbFace)
        self._dot(gc, path.transformed(transform), *DOTS_PT[hatch[0]])
        gc.set_hatch(hatch)

    def _dot(self, gc: Any, area: Any, apart_pt: float, wide_pt: float) -> None:
        """Dots within an area, in rows that are shifted by half from one to the next."""
        (left, low), (right, high) = area.get_extents().get_points()
        half = apart_pt / 2 * self.dpi / 72
        rows, columns = np.mgrid[low + half / 2 : high : half, left - half / 2 : right : 2 * half]
        columns[1::2] += half
        places = np.column_stack([columns.ravel(), rows.ravel()])
        places = places[area.contains_points(places)]
        dots = self.new_gc()
        dots.copy_properties(gc)
        dots.set_capstyle("round")
        dots.set_linewidth(wide_pt)
        dots.set_foreground(gc.get_hatch_color())
        codes = [Path.MOVETO, Path.LINETO] * len(places)
        super().draw_path(dots, Path(np.repeat(places, 2, axis=0), codes), IdentityTransform())
        dots.restore()


def to_pgf(figure: Figure) -> bytes:
    """The PGF code of a figure, as the bytes of its file."""
    import matplotlib as mpl

    stream = io.StringIO()
    with mpl.rc_context({"pgf.rcfonts": False}):
        stream.write(HEAD.replace("%%", "%%%%") % tuple(figure.get_size_inches()))
        figure.draw(_Renderer(figure, stream))
    return (stream.getvalue() + FOOT).encode()
