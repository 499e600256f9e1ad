"""Which architecture runs which layer, where a mapping names more than one."""

from __future__ import annotations

from dataclasses import dataclass

from accelsim.arch.spec import Architecture
from accelsim.mapping.mapping import MappingFile
from accelsim.schedule.residency import plan_residency
from accelsim.workload.network import Network


@dataclass(frozen=True)
class Share:
    """What one architecture runs of a network: ``part`` has its layers, which read the others' as graph inputs.

    ``handed_over`` owns the tensors that another architecture reads: they must reach the far end of the memory.
    """

    arch: Architecture
    part: Network
    handed_over: frozenset[str] = frozenset()


def assign(network: Network, arch: Architecture, mapping: MappingFile) -> dict[str, Architecture]:
    """The architecture of every layer.

    It is the one that ``mapping`` names, by layer or by operator; else, for a layer without MACs, that of the layer
    which it follows; else ``arch``, whose own name may be used as well.
    """
    found: dict[str, Architecture] = {}
    for layer in network.layers:
        word = mapping.engine_of(layer.name, layer.op.op)
        before = found.get(layer.inputs[0].source, arch) if layer.inputs else arch
        if word is None:
            found[layer.name] = arch if layer.macs else before
        else:
            found[layer.name] = arch if word == arch.name else mapping.machines[word]
    return found


def shares(network: Network, arch: Architecture, mapping: MappingFile) -> list[Share]:
    """The network by architecture, in the order in which they first appear."""
    where = assign(network, arch, mapping)
    machines = list({id(machine): machine for machine in where.values()}.values())
    if len(machines) == 1:
        return [Share(machines[0], network)]
    return [_share(network, machine, where) for machine in machines]


def _share(network: Network, machine: Architecture, where: dict[str, Architecture]) -> Share:
    own = [layer.name for layer in network.layers if where[layer.name] is machine]
    part = network.select(own)
    reads = plan_residency(part, machine).reads
    crossing = {
        ref for layer in network.layers if layer.name not in own for ref in layer.inputs if ref.source in own
    }
    return Share(machine, part, frozenset().union(*(reads[ref] for ref in crossing)))
