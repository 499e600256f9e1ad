"""Which engine runs an architecture. Engines are imported only when one is wanted: they bring numba with them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from accelsim.arch.spec import Architecture, NfuSpec, RoofSpec, SparseSpec, SystolicSpec
from accelsim.errors import InfeasibleError
from accelsim.mapping.mapping import EMPTY, MappingFile

if TYPE_CHECKING:
    from accelsim.engines.base import Engine
    from accelsim.engines.mapped import PlannedNests
    from accelsim.engines.vector import VectorUnit


def engine_of(arch: Architecture, mapping: MappingFile = EMPTY, known: PlannedNests | None = None) -> Engine:
    """The engine that ``arch`` describes; `InfeasibleError` for a machine that is only a roof.

    ``known``: what engines of other runs have planned; the architecture counts by its content there.
    """
    shared: dict[str, Any] = {} if known is None else {"known": known, "machine": arch.model_dump_json(exclude={"description"})}
    if isinstance(arch.engine, SystolicSpec):
        from accelsim.engines.mapped import MappedEngine
        from accelsim.engines.systolic import SystolicArray

        return MappedEngine(arch, SystolicArray(arch, arch.engine), vector_unit_of(arch), mapping, **shared)
    if isinstance(arch.engine, NfuSpec):
        from accelsim.engines.nfu import Nfu, NfuEngine

        return NfuEngine(arch, Nfu(arch, arch.engine), vector_unit_of(arch), mapping, **shared)
    if isinstance(arch.engine, SparseSpec):
        from accelsim.engines.sparse import SparseEngine

        return SparseEngine(arch, arch.engine, vector_unit_of(arch), mapping)
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
