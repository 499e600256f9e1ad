"""The seam between engines and everything behind them: what one layer's run returns."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any

import numpy as np
import numpy.typing as npt

from accelsim.counters import Counters
from accelsim.workload.network import Layer

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class LayerRun:
    """One layer as the hardware ran it.

    ``dims`` are N K C P Q R S G, whose product is the MACs (K and C count one group); empty for layers without MACs.
    ``engine`` names the unit: the engine's kind, ``vector``, or ``none`` for layers that cost nothing.
    ``peak_macs_per_cycle`` is the engine's at this layer's precision, 0 for layers without MACs.
    ``mapping`` is plain data, as it would stand in a mapping YAML. ``outputs`` is there in values mode.
    """

    layer: Layer
    engine: str
    dims: Mapping[str, int]
    mapping: Mapping[str, Any]
    counters: Counters
    peak_macs_per_cycle: Fraction
    outputs: tuple[Array, ...] | None = field(default=None, compare=False)


def outputs_equal(first: LayerRun, second: LayerRun) -> bool:
    """Whether two runs produced the same bits."""
    if first.outputs is None or second.outputs is None:
        return first.outputs is second.outputs
    return all(np.array_equal(a, b) for a, b in zip(first.outputs, second.outputs, strict=True))
