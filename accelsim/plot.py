"""Figures from results: each function returns ``(figure, axes)``; `save` writes one as PDF, SVG or PNG.

::

    result = accelsim.simulate("resnet50", "tpu_v1")
    figure, axes = accelsim.plot.roofline(result, machines=[accelsim.load_arch("haswell")])
    accelsim.plot.save(figure, "roofline.pdf")

matplotlib is imported when a figure is drawn, not before.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from accelsim.report.model import Result
from accelsim.report.roofline_data import Axis, Machine, roofline_csv
from accelsim.report.roofline_figure import Shown, draw_roofline
from accelsim.report.style import Width, save

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

__all__ = ["roofline", "roofline_csv", "save"]


def roofline(
    results: Result | Sequence[Result],
    machines: Sequence[Machine] = (),
    *,
    axis: Axis = "ops_per_byte",
    show: Shown = "layers",
    width: Width | float = "single",
    height_in: float | None = None,
    labels: Sequence[str] | None = None,
    name_layers: int = 0,
) -> tuple[Figure, Axes]:
    """Layers (or networks) under the roofs of the machines they ran on.

    Parameters
    ----------
    results:      one result or several.
    machines:     architectures whose roofs are drawn too; ``(architecture, "int8")`` picks a roof.
    axis:         ``"ops_per_byte"``: ops (2 a MAC) a byte of off-chip traffic; ``"macs_per_weight_byte"``:
                  the TPU paper's axis, MACs a byte of weights read. The height counts a MAC as two ops.
    show:         ``"layers"``: a marker a layer, its area its share of time; ``"networks"``: one a network.
    width:        ``"single"`` (3.5 inches), ``"double"`` (7.16 inches) or a number of inches.
    height_in:    inches; chosen by the width where left out.
    labels:       names of the results in the legend.
    name_layers:  name this many layers of each result, those that take most time, where there is room.

    The figure belongs to pyplot: ``matplotlib.pyplot.show()`` shows it, a notebook does so by itself.
    """
    from matplotlib import pyplot

    from accelsim.report.style import figure_size, house_style

    listed = [results] if isinstance(results, Result) else list(results)
    with house_style():
        figure: Any = pyplot.figure(figsize=figure_size(width, height_in), layout="constrained")
    try:
        return draw_roofline(
            listed, machines, axis=axis, show=show, labels=labels, name_layers=name_layers, figure=figure
        )
    except BaseException:
        pyplot.close(figure)
        raise
