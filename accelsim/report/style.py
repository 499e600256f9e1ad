"""The house style of figures: sizes, letters, colours, and how a figure becomes a file.

Figures are drawn at the width at which they are printed (3.5 or 7.16 inches, a column or both of an IEEE or
ACM page), in 7-point letters, so that nobody scales them. For slides they are a 16:9 picture that is scaled to
the slide: letters and lines are as large, against its width, as those of a single column. What the user
has set in matplotlib's rcParams, or by a style file of his own, wins over the house; matplotlib is imported when a
figure is drawn, not before.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from accelsim.errors import Fault, InputError, join_allowed, nearest
from accelsim.report.files import write_file

if TYPE_CHECKING:
    from matplotlib.figure import Figure

Width = Literal["single", "double", "slide"]
WIDTHS_IN: dict[Width, float] = {"single": 3.5, "double": 7.16, "slide": 4.0}  # inches
HEIGHTS_IN: dict[Width, float] = {"single": 2.4, "double": 3.1, "slide": 2.25}  # legends and keys not counted
SUFFIXES = (".pdf", ".svg", ".png", ".eps", ".pgf")
DPI, SLIDE_DPI = 300, 480  # of PNG; a slide has 1920 x 1080 pixels

# Okabe and Ito's palette, told apart by all kinds of colour vision; its yellow is too faint on white.
BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK = (
    "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000",
)  # fmt: skip
PALETTE = (BLUE, VERMILLION, GREEN, PURPLE, ORANGE, SKY, BLACK)
YELLOW, GREY = "#F0E442", "#999999"  # for areas, where they are not too faint
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "p", "<", ">", "h", "*")
INK, MUTED, FAINT = "#222222", "#6B6B6B", "#B0B0B0"
OTHERS = ("#5F6B76", "#8A6A45", "#6E7F45", "#80607F")  # roofs that are drawn for comparison
DASHES: tuple[Any, ...] = ("-", (0, (5, 1.5)), (0, (1, 1)), (0, (5, 1.5, 1, 1.5)))  # one a machine
TEXT_PT, SMALL_PT = 7.0, 6.5  # points
READABLE = 4.5  # contrast of letters that WCAG asks for

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
    "text.parse_math": False,  # a name may have dollars in it
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
    "axes.titlepad": 3.0,
    "legend.frameon": False,
    "legend.handletextpad": 0.4,
    "legend.columnspacing": 1.0,
    "legend.handlelength": 1.4,
    "legend.borderaxespad": 0.0,
    "legend.borderpad": 0.1,
    "legend.labelspacing": 0.3,
    "hatch.linewidth": 0.5,
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
    """The house's settings, but for those that the user has changed from matplotlib's own."""
    import matplotlib as mpl

    kept = {key for key in SETTINGS if mpl.rcParams[key] != mpl.rcParamsDefault[key]}
    with mpl.rc_context({key: value for key, value in SETTINGS.items() if key not in kept}):
        yield


def text_pt() -> float:
    """Size of letters: the house's, or the user's."""
    import matplotlib as mpl

    return float(mpl.rcParams["font.size"])


def small_pt() -> float:
    """Size of the letters inside a plot."""
    return text_pt() * SMALL_PT / TEXT_PT


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


def palette() -> tuple[str, ...]:
    """The colours of families: the house's, or those of the user's ``axes.prop_cycle``."""
    import matplotlib as mpl
    from matplotlib.colors import to_hex

    cycle = mpl.rcParams["axes.prop_cycle"]
    if cycle == mpl.rcParamsDefault["axes.prop_cycle"]:
        return PALETTE
    return tuple(to_hex(colour) for colour in cycle.by_key().get("color", PALETTE))


def colour(index: int) -> str:
    """The colour of the ``index``-th family."""
    colours = palette()
    return colours[index % len(colours)]


def marker(index: int) -> str:
    """The marker of the ``index``-th family; colour and marker together repeat only after 84."""
    return MARKERS[index % len(MARKERS)]


def light(colour: str, share: float = 0.5) -> str:
    """A colour mixed with white, opaque: transparency is lost in EPS."""
    from matplotlib.colors import to_hex, to_rgb

    return to_hex([share + (1 - share) * channel for channel in to_rgb(colour)])


def luminance(colour: Any) -> float:
    """Relative luminance (WCAG 2): what is left of a colour in grey print."""
    from matplotlib.colors import to_rgb

    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in to_rgb(colour)]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: Any, second: Any) -> float:
    """WCAG's ratio of two colours: 1 for equal ones, 21 for black on white."""
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


@cache
def ink(colour: str) -> str:
    """A colour made as dark as letters on white have to be."""
    from matplotlib.colors import to_hex, to_rgb

    shade: Any = to_rgb(colour)
    while contrast(shade, "white") < READABLE:
        shade = tuple(0.95 * channel for channel in shade)
    return to_hex(shade)


def overridden(names: Sequence[str], defaults: Sequence[str], given: Mapping[str, str] | None) -> list[str]:
    """Colours by name, those that the caller gave first; InputError for a name that the figure does not have."""
    given = given or {}
    unknown = [name for name in given if name not in names]
    if unknown:
        raise InputError(
            Fault("colours", name, f"is nothing in this figure{nearest(name, names)}, must be {join_allowed(names)}")
            for name in unknown
        )
    return [given.get(name, default) for name, default in zip(names, defaults, strict=True)]


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
    """Write a figure as PDF, EPS, PGF, SVG or PNG by its suffix, whole or not at all; the same figure gives the same
    bytes.
    """
    return write_file(path, to_bytes(figure, check_suffix(path), path))


def to_bytes(figure: Figure, kind: str, path: str | Path = "") -> bytes:
    """A figure as the bytes of a file of that kind (``pdf``). Its layout stays as it is from then on: laying out again
    moves everything by a hair.
    """
    with house_style():
        lay_out(figure)
        figure.set_layout_engine("none")
        return _pgf(figure, path) if kind == "pgf" else _printed(figure, kind)


def lay_out(figure: Figure) -> None:
    """Put everything into its place; where a layout does that, without drawing."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    engine = figure.get_layout_engine()
    if isinstance(engine, ConstrainedLayoutEngine):
        engine.execute(figure)
    else:
        figure.draw_without_rendering()


def _printed(figure: Figure, kind: str) -> bytes:
    stamp = {"pdf": {"CreationDate": None}, "svg": {"Date": None}}.get(kind, {})
    dots = SLIDE_DPI if tuple(figure.get_size_inches()) == figure_size("slide") else DPI
    content = io.BytesIO()
    figure.savefig(content, format=kind, metadata=stamp, dpi=dots)
    printed = content.getvalue()
    return re.sub(rb"(?m)^%%CreationDate: .*\n", b"", printed) if kind == "eps" else printed


def _pgf(figure: Figure, path: str | Path) -> bytes:
    from accelsim.report.pgf import to_pgf

    pictures = [axes for axes in figure.axes if axes.images]
    if pictures:
        raise InputError(Fault(str(path), "", "a map of pixels cannot be PGF, must be .pdf, .eps, .svg or .png"))
    return to_pgf(figure)
