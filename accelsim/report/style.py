"""The house style of figures: sizes, letters, colours, and how a figure becomes a file.

Figures are drawn at the width at which they are printed (3.5 or 7.16 inches, a column or both of an IEEE or
ACM page), in 7-point letters, so that nobody scales them. For slides they are a 16:9 picture that is scaled to
the slide: letters and lines are as large, against its width, as those of a single column. matplotlib is
imported when a figure is drawn, not before.
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from accelsim.errors import Fault, InputError, join_allowed
from accelsim.report.files import write_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Width = Literal["single", "double", "slide"]
WIDTHS_IN: dict[Width, float] = {"single": 3.5, "double": 7.16, "slide": 4.0}  # inches
HEIGHTS_IN: dict[Width, float] = {"single": 2.7, "double": 3.4, "slide": 2.25}
SUFFIXES = (".pdf", ".svg", ".png")
DPI, SLIDE_DPI = 300, 480  # of PNG; a slide has 1920 x 1080 pixels

# Okabe and Ito's palette, told apart by all kinds of colour vision; its yellow is too faint on white.
BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000",
)  # fmt: skip
PALETTE = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)
YELLOW, GREY = "#F0E442", "#999999"  # for areas, where they are not too faint
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p")
INK, MUTED, FAINT = "#222222", "#777777", "#B0B0B0"
TEXT_PT, SMALL_PT = 7.0, 6.5  # points

SETTINGS: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": [
        "DejaVu Sans"
    ],  # comes with matplotlib: the same letters, and so the same bytes, everywhere
    "font.size": TEXT_PT,
    "axes.labelsize": TEXT_PT,
    "axes.titlesize": TEXT_PT,
    "xtick.labelsize": TEXT_PT,
    "ytick.labelsize": TEXT_PT,
    "legend.fontsize": TEXT_PT,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "axes.linewidth": 0.6,
    "lines.linewidth": 1.0,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "xtick.major.size": 2.5,
    "ytick.major.size": 2.5,
    "xtick.minor.size": 1.5,
    "ytick.minor.size": 1.5,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.labelpad": 2.0,
    "legend.frameon": False,
    "legend.handletextpad": 0.4,
    "legend.columnspacing": 1.0,
    "legend.handlelength": 1.4,
    "legend.borderaxespad": 0.0,
    "legend.borderpad": 0.3,
    "figure.dpi": 100,
    "figure.constrained_layout.w_pad": 0.02,
    "figure.constrained_layout.h_pad": 0.02,
    "savefig.dpi": DPI,
    "savefig.bbox": None,  # the figure is exactly as wide as it says
    "pdf.fonttype": 42,  # TrueType, embedded: what journals take, and text stays text
    "ps.fonttype": 42,
    "svg.fonttype": "path",  # outlines: the same look where the font is missing (PDF keeps text)
    "svg.hashsalt": "accelsim",
    "path.simplify": False,
    "agg.path.chunksize": 0,
}


@contextmanager
def house_style() -> Iterator[None]:
    """matplotlib's defaults with the house's settings on top, whatever the user's own style file says."""
    import matplotlib as mpl

    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(SETTINGS)
        yield


def figure_size(width: Width | float, height_in: float | None = None) -> tuple[float, float]:
    """Width and height in inches; ``width`` is a column, both, or inches."""
    if isinstance(width, str):
        return WIDTHS_IN[width], height_in or HEIGHTS_IN[width]
    return width, height_in or HEIGHTS_IN["single" if width < 5 else "double"]


def new_figure(width: Width | float, height_in: float | None = None) -> Figure:
    """An empty figure. Belongs to no window and no global list, so that it needs no closing."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=figure_size(width, height_in), layout="constrained")
    FigureCanvasAgg(figure)
    return figure


def colour(index: int) -> str:
    """The colour of the ``index``-th network."""
    return PALETTE[index % len(PALETTE)]


def marker(index: int) -> str:
    """The marker of the ``index``-th network; colour and marker together repeat only after 56."""
    return MARKERS[index % len(MARKERS)]


def check_suffix(path: str | Path) -> str:
    """The kind of file that ``path`` names; InputError for one that cannot be drawn, before anything is
    computed.
    """
    suffix = Path(path).suffix.lower()
    if suffix not in SUFFIXES:
        found = f'"{suffix}"' if suffix else "nothing"
        raise InputError(
            Fault(str(path), "", f"ends in {found}, a figure must end in {join_allowed(SUFFIXES)}")
        )
    return suffix[1:]


def save(figure: Figure, path: str | Path) -> Path:
    """Write a figure as PDF, SVG or PNG by its suffix, whole or not at all; the same figure gives the same
    bytes.
    """
    dots = SLIDE_DPI if tuple(figure.get_size_inches()) == figure_size("slide") else DPI
    kind = check_suffix(path)
    stamp = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}[kind]
    content = io.BytesIO()
    with house_style():
        figure.savefig(content, format=kind, metadata=stamp, dpi=dots)
    return write_file(path, content.getvalue())
