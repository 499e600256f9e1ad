"""A figure as PGF for LaTeX: its words are set by the paper itself, in the paper's letters. Needs no LaTeX here.

matplotlib's own writer asks a LaTeX for the size of every word. The words of these figures have been placed by then
in matplotlib's letters, and keep their places.
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

from matplotlib.backends.backend_pgf import RendererPgf

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HEAD = r"""%% A figure of accelsim. In the preamble: \usepackage{pgf} \usepackage[strings]{underscore} \usepackage{textcomp}
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
SIGNS = {"∞": r"\ensuremath{\infty}", "×": r"\ensuremath{\times}", "µ": r"\textmu{}", "…": r"\dots{}", "–": "--",
         "#": r"\#", "&": r"\&"}  # fmt: skip


class _Renderer(RendererPgf):  # type: ignore[misc]
    """Measures words as matplotlib draws them, and spells signs as any LaTeX knows them."""

    def __init__(self, figure: Any, stream: io.StringIO) -> None:
        super().__init__(figure, stream)
        self.measure = figure.canvas.get_renderer()

    def get_text_width_height_descent(self, s: str, prop: Any, ismath: Any) -> tuple[float, float, float]:
        size: tuple[float, float, float] = self.measure.get_text_width_height_descent(s, prop, ismath)
        return size

    def draw_text(self, gc: Any, x: float, y: float, s: str, *rest: Any, **more: Any) -> None:
        for sign, spelt in SIGNS.items():
            s = s.replace(sign, spelt)
        super().draw_text(gc, x, y, s, *rest, **more)


def to_pgf(figure: Figure) -> bytes:
    """The PGF code of a figure, as the bytes of its file."""
    import matplotlib as mpl

    stream = io.StringIO()
    with mpl.rc_context({"pgf.rcfonts": False}):
        stream.write(HEAD.replace("%%", "%%%%") % tuple(figure.get_size_inches()))
        figure.draw(_Renderer(figure, stream))
    return (stream.getvalue() + FOOT).encode()
