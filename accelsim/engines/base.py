"""The seam between engines and everything around them: what an engine offers, what one layer's run returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from fractions import Fraction
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from accelsim.counters import Counters
from accelsim.engines.limiter import Limiter, find_limiter
from accelsim.memory.resources import Faster
from accelsim.workload.network import Layer

if TYPE_CHECKING:
    from accelsim.arch.spec import Architecture
    from accelsim.engines.walk import Carry
    from accelsim.mapping.mapping import MappingFile
    from accelsim.schedule.residency import Plan

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Operands:
    """The values that flow through a layer in values mode.

    ``inputs`` are in the layer's own shapes; ``weight`` is None where the layer has none, ``bias`` where none is given.
    Recurrent layers may have a ``projection`` (projection x hidden) and ``peepholes`` (3 x hidden).
    """

    inputs: tuple[Array, ...]
    weight: Array | None = None
    bias: Array | None = None
    projection: Array | None = None
    peepholes: Array | None = None

    def parts(self, count: int) -> list[Operands]:
        """Operands of ``count`` equal parts of the batch."""
        pieces = zip(*(np.split(array, count) for array in self.inputs), strict=True)
        return [replace(self, inputs=piece) for piece in pieces]


@dataclass(frozen=True)
class Evaluated:
    """Outputs of a layer without MACs, and sums on the way that did not fit their register."""

    outputs: tuple[Array, ...]
    overflows: int = 0


@dataclass(frozen=True)
class Sums:
    """What a nest's values run gave: accumulators as N x (G*K) x P x Q, and what the unit counted on the way."""

    accumulators: Array
    effective_macs: int
    overflows: int


@dataclass(frozen=True)
class LayerRun:
    """One layer as the hardware ran it.

    ``dims`` are N K C P Q R S G, whose product is the MACs (K and C count one group); empty for layers without MACs.
    ``engine`` names the unit: the engine's kind, ``vector``, or ``none`` for layers that cost nothing.
    ``peak_macs_per_cycle`` is the engine's at this layer's precision, 0 for layers without MACs.
    ``mapping`` is plain data, as it would stand in a mapping YAML. ``outputs`` is there in values mode.
    ``skips_zeros``: MACs with a zero operand take none of the engine's time; utilization, attained rates and the laws
    of peak then count effective MACs. ``machine``: the architecture that ran the layer, where it is not the report's;
    cycles are then those of its own clock. ``roof`` names the peak, where the precision alone does not.
    ``skipped_macs``: with weights pruned to N:M, those that an array built for them never does. ``nonzero_weights``:
    counted where the engine reads given ones in both modes, else None. ``input_density``: share of the first input that
    is not zero, counted where it does not depend on the mode, else None. ``parts``: equal parts of the batch that ran one
    after the other; ``mapping`` is of one of them, all else of the whole batch. ``again``: cycles of one part on a machine
    with a faster resource, the plan staying what it is; None where nothing is known of that.
    """

    layer: Layer
    engine: str
    dims: Mapping[str, int]
    mapping: Mapping[str, Any]
    counters: Counters
    peak_macs_per_cycle: Fraction
    outputs: tuple[Array, ...] | None = field(default=None, compare=False)
    skips_zeros: bool = False
    machine: Architecture | None = None
    roof: str = ""
    skipped_macs: int = 0
    nonzero_weights: int | None = None
    input_density: float | None = None
    parts: int = 1
    again: Callable[[Faster], int] | None = field(default=None, compare=False, repr=False)

    @property
    def limiter(self) -> Limiter | None:
        """The resource that limits it; None for what takes no time, and where an engine cannot tell."""
        if self.again is None or not self.counters.cycles:
            return None
        return find_limiter(self.counters.cycles, self.counters.occupied_cycles, self._again_all)

    def _again_all(self, faster: Faster) -> int:
        assert self.again is not None
        return self.parts * self.again(faster)

    @property
    def worked_macs(self) -> int:
        """MACs that the unit really did: where it skips zeros, the effective ones."""
        return self.counters.effective_macs if self.skips_zeros else self.counters.macs - self.skipped_macs

    @property
    def unmodelled_ops(self) -> int:
        """Operations of the layer that nothing on the machine does; those folded into the layer before are none."""
        return 0 if "absorbed_by" in self.mapping else max(0, self.layer.vector_ops - self.counters.vector_ops)

    @property
    def worked_ops(self) -> int:
        """Operations that the units really did."""
        return 2 * self.worked_macs + self.counters.vector_ops


class Engine(Protocol):
    """A unit that runs layers with MACs."""

    @property
    def name(self) -> str:
        """The engine's kind, as in the YAML."""

    @property
    def needs_values(self) -> bool:
        """Whether cycles depend on the operands' values, so that they flow in cycles mode too."""

    @property
    def mapping(self) -> MappingFile:
        """What a user fixed of the layers' mappings."""

    def check(self, layer: Layer, plan: Plan) -> None:
        """Raise `InfeasibleError` if the engine cannot run ``layer`` with what ``plan`` leaves it on chip."""

    def evaluate(self, layer: Layer, operands: Operands) -> Evaluated:
        """What ``layer``, which has no MACs, gives in values mode."""

    def run_layer(self, layer: Layer, plan: Plan, carry: Carry, operands: Operands | None) -> LayerRun:
        """Run ``layer``; with ``operands`` (values mode) the run carries outputs."""


def outputs_equal(first: LayerRun, second: LayerRun) -> bool:
    """Whether two runs produced the same bits."""
    if first.outputs is None or second.outputs is None:
        return first.outputs is second.outputs
    return all(np.array_equal(a, b) for a, b in zip(first.outputs, second.outputs, strict=True))
