"""Which engine runs an architecture. Engines are imported only when one is wanted: they bring numba with them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from accelsim.arch.spec import Architecture, RoofSpec, SystolicSpec
from accelsim.errors import InfeasibleError

if TYPE_CHECKING:
    from accelsim.engines.systolic import SystolicArray
    from accelsim.engines.vector import VectorUnit


def engine_of(arch: Architecture) -> SystolicArray:
    """The engine that ``arch`` describes; `InfeasibleError` for a machine that is only a roof."""
    if isinstance(arch.engine, SystolicSpec):
        from accelsim.engines.systolic import SystolicArray

        return SystolicArray(arch, arch.engine)
    assert isinstance(arch.engine, RoofSpec)
    raise InfeasibleError(
        f"architecture {arch.name}",
        demand="a cycle-level run",
        bound="a machine known by its peaks alone (engine.kind: roof)",
        levers=("draw it with accelsim roofline --machine", "choose another --arch"),
    )


def vector_unit_of(arch: Architecture) -> VectorUnit | None:
    """The vector unit, None where the architecture has none."""
    if arch.vector is None:
        return None
    from accelsim.engines.vector import VectorUnit

    return VectorUnit(arch, arch.vector.lanes)
