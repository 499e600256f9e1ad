"""Keys that mean nothing in the run at hand: refused where the user says them for it, noted where a file has them.

A file describes a machine, and may hold what another dataflow or more nodes would need; what is said for one run
(``--set``, ``--vary``, ``overrides``) must have an effect on it. See docs/decisions/0019.
"""

from __future__ import annotations

from collections.abc import Iterator

from accelsim.arch.memory import Buffer
from accelsim.arch.spec import Architecture, NfuSpec, SparseSpec, SystolicSpec
from accelsim.errors import Fault, InputError
from accelsim.mapping.mapping import LayerMapping, MappingFile
from accelsim.units import ceil_div, format_bytes
from accelsim.workload.network import Layer, Network
from accelsim.yaml_io import KeyPath

_STATIONARY = frozenset(("ws", "is"))


def check_meaning(network: Network, arch: Architecture, mapping: MappingFile) -> list[str]:
    """Raise `InputError` for keys of this run without effect; notes about those of the files."""
    dataflows = _dataflows(network, arch, mapping)
    faults = [*_said_in_vain(arch, dataflows), *_mapped_in_vain(network, arch, mapping)]
    if faults:
        raise InputError(faults)
    machines = (arch, *(machine for machine in mapping.machines.values() if machine is not arch))
    ports = (level.contradiction(m.clock) for m in machines for level in m.on_chip if isinstance(level, Buffer))
    unmet = (note for machine in machines for note in _unmet(network, machine, mapping, arch))
    return [*_left_in_the_file(arch, dataflows), *filter(None, ports), *unmet]


def _unmet(network: Network, machine: Architecture, mapping: MappingFile, arch: Architecture) -> Iterator[str]:
    """What ``machine`` has, and nothing of this network can use."""
    own = [layer for layer in network.layers if layer.macs and _machine(layer, arch, mapping) is machine]
    sparsity = machine.engine.sparsity if isinstance(machine.engine, SystolicSpec) else None
    if own and sparsity is not None and not any(sparsity.found_in(layer.weight.structure) for layer in own):
        yield f"{machine.name}: engine.sparsity has no effect: no layer's weights state a pattern that it skips"
    level = machine.keeper("weight")
    if level is None or level.size is None or not level.preloaded or isinstance(machine.engine, SparseSpec):
        return
    needed = ceil_div(sum(layer.weight_bits for layer in own), 8)
    if needed > level.size:
        words = f"the weights have {format_bytes(needed)}, {level.name} has {format_bytes(level.size)}"
        yield f"{machine.name}: memory.{level.name}.preloaded has no effect: {words}"


def _machine(layer: Layer, arch: Architecture, mapping: MappingFile) -> Architecture:
    return mapping.machines.get(mapping.engine_of(layer.name, layer.op.op) or "", arch)


def _dataflows(network: Network, arch: Architecture, mapping: MappingFile) -> frozenset[str]:
    """The dataflows in which ``arch`` runs layers of ``network``; none where it is no systolic array."""
    if not isinstance(arch.engine, SystolicSpec):
        return frozenset()
    own = [layer for layer in network.layers if layer.macs and _machine(layer, arch, mapping) is arch]
    return frozenset(mapping.of(layer.name).dataflow or arch.engine.dataflow for layer in own)


def idle_keys(arch: Architecture, dataflows: frozenset[str]) -> dict[KeyPath, str]:
    """Keys of ``arch`` that change nothing where its layers run in ``dataflows``, and why."""
    found: dict[KeyPath, str] = {}
    costed = arch.energy.table != "none"
    runs = f"and every layer runs {' or '.join(sorted(dataflows))}"
    if dataflows and not dataflows & _STATIONARY:
        found |= {("engine", key): f"is of the dataflows ws and is, {runs}" for key in ("weight_load", "weight_buffers")}
        if not costed:  # accumulators that are not used leak, where that is counted
            found["engine", "accumulators"] = f"is of the dataflows ws and is, {runs}"
    if dataflows and "os" not in dataflows:
        found["engine", "drain"] = f"is of the dataflow os, {runs}"
    if isinstance(arch.engine, SparseSpec) and not arch.engine.skip_zeros:
        found["engine", "zero_detection"] = "finds zeros to skip, and engine.skip_zeros is false"
    if isinstance(arch.engine, NfuSpec) and arch.engine.nodes == 1:
        found["engine", "links"] = "joins several nodes, and engine.nodes is 1"
    if not costed:
        of_energy: list[KeyPath] = [("energy", key) for key in ("dram", "registers", "zero_gating")]
        of_energy += [("memory", place, key) for place in range(1, len(arch.memory)) for key in ("width_bits", "banks")]
        found |= dict.fromkeys(of_energy, "is of the energy, and energy.table is none")
    return found


def _said_in_vain(arch: Architecture, dataflows: frozenset[str]) -> Iterator[Fault]:
    """Keys of the architecture that the user says for this run, and that change nothing in it."""
    if arch.origin is None:
        return
    for idle, why in idle_keys(arch, dataflows).items():
        for path in arch.origin.replaced:
            if path[: len(idle)] == idle:
                yield arch.origin.fault(path, f"has no effect: {idle[-1]} {why}; drop it, or change that")


def _left_in_the_file(arch: Architecture, dataflows: frozenset[str]) -> Iterator[str]:
    """Keys of an engine's file that nothing looks at, such as those of a dataflow that neither runs nor is named in ``also``."""
    engine, origin = arch.engine, arch.origin
    if not isinstance(engine, SystolicSpec | SparseSpec) or origin is None or ("engine", "dataflow") in origin.replaced:
        return
    also = frozenset(engine.also or ()) if isinstance(engine, SystolicSpec) and dataflows else frozenset[str]()
    for path, why in idle_keys(arch, dataflows | also).items():
        key = str(path[-1])
        if path[0] == "engine" and path in origin.marks and getattr(engine, key) != type(engine).model_fields[key].default:
            yield f"{arch.name}: engine.{key} has no effect: it {why}"


def _mapped_in_vain(network: Network, arch: Architecture, mapping: MappingFile) -> Iterator[Fault]:
    """Keys of the mapping that say nothing of the layer that they are about."""
    systolic = False
    yield from _stages_in_vain(("default",), mapping.default, arch, mapping)
    for layer in network.layers:
        own, machine = mapping.layers.get(layer.name), _machine(layer, arch, mapping)
        engine = machine.engine
        systolic |= isinstance(engine, SystolicSpec)
        if own is None:
            continue
        if not layer.macs:
            why = f"has no effect: {layer.name} ({layer.op.op}) has no loops to map; drop it"
            yield from (mapping.fault(("layers", layer.name, key), why) for key in own.fixed())
            continue
        yield from _stages_in_vain(("layers", layer.name), own, machine, mapping)
        if isinstance(engine, NfuSpec) and own.dataflow == "os":
            yield mapping.fault(("layers", layer.name, "dataflow"), f"has no effect: {_ONE_DATAFLOW}")
    if mapping.default.dataflow == "os" and not systolic:
        yield mapping.fault(("default", "dataflow"), f"has no effect: {_ONE_DATAFLOW}")


_ONE_DATAFLOW = "the engine of kind nfu has no other dataflow than os; drop it"


def _stages_in_vain(path: KeyPath, fixed: LayerMapping, arch: Architecture, mapping: MappingFile) -> Iterator[Fault]:
    """Levels that no stage around another has on ``arch``, and what only a machine of one stage can do."""
    around = [[level.name for level in stage] for stage in arch.stages[:-1]]
    known = f"those of {arch.name} are {' and '.join(name for stage in around for name in stage)}" if around else (
        f"{arch.name} has one level on chip a tensor, whose tile and order stand at tile and order"
    )  # fmt: skip
    for name in fixed.levels:
        stage = next((stage for stage in around if name in stage), None)
        if stage is None:
            yield mapping.fault((*path, "levels", name), f"is no level around others on chip: {known}")
        elif name != next(other for other in stage if other in fixed.levels):
            yield mapping.fault((*path, "levels", name), f"lies beside {stage[0]}, with which it shares its tile; say it once")
    if arch.planned and fixed.keep:
        why = f"the moves of {arch.name} are planned, and no tensor is kept"
        yield mapping.fault((*path, "keep"), f"has no effect: {why}; drop it")
