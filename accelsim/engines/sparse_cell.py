"""The cell of a sparse engine's LSTM where sigmoid and tanh are looked up in tables of samples (ESE)."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from accelsim.arch.spec import SampledTables
from accelsim.workload.network import Layer
from accelsim.workload.recurrent import CellArithmetic, Curve, FixedUnit


def cell_of(layer: Layer, tables: SampledTables | None) -> CellArithmetic | None:
    """The cell's arithmetic; None (the operator's own rules) without tables, and on floats."""
    if tables is None or not layer.precision.output.is_integer:
        return None
    sigmoid = sampled(_sigmoid, tables.points, tables.sigmoid_reach)
    return FixedUnit(layer, sigmoid, sampled(np.tanh, tables.points, tables.tanh_reach))


def sampled(function: Curve, points: int, reach: int) -> Curve:
    """``function`` by the nearest of ``points`` samples; sample k stands for -reach + k * 2 * reach / points."""
    step = 2 * reach / points
    samples = function(np.arange(points, dtype=np.float64) * step - reach)

    def looked_up(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        places = np.rint((x + reach) / step).astype(np.int64)
        return np.asarray(samples[np.clip(places, 0, points - 1)])

    return looked_up


def _sigmoid(x: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.asarray(1 / (1 + np.exp(-x)))
