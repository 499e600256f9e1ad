"""What stays on chip between layers, and which layers disappear into others.

Storage is what really exists: a reshape, split or concat only renames it, and an operator that rides on the path of
its producer's results (``vector.inline``) or is folded into its weights (batch norm) leaves none of its own.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from fractions import Fraction
from math import prod

from accelsim.arch.nodes import split
from accelsim.arch.spec import Architecture, NfuSpec, Tensor
from accelsim.mapping.machine import Placement
from accelsim.units import ceil_div
from accelsim.workload.network import Layer, Network, TensorRef
from accelsim.workload.ops import BatchNorm, Concat, Conv2d, Matmul, Op, Reshape, Slice, Split, TransformOutput

RENAMING: tuple[type[Op], ...] = (Reshape, Split, Concat, Slice)


@dataclass(frozen=True)
class Storage:
    """One tensor in memory: who writes it, its size, and the steps of the layer order between which it lives."""

    owner: str
    size_bytes: int
    born: int
    dies: int
    leaves: bool  # an output of the network, which must reach the far end
    holdable: bool  # every reader can read it where the outputs are held


@dataclass(frozen=True)
class Plan:
    """For every layer: its placement; for absorbed layers: the layer that took them in."""

    placements: Mapping[str, Placement]
    absorbed: Mapping[str, str]
    resident: frozenset[str] = frozenset()
    storages: Mapping[str, Storage] = field(default_factory=dict)
    reads: Mapping[TensorRef, frozenset[str]] = field(default_factory=dict)
    shifted: frozenset[str] = frozenset()
    """Layers that took a batch norm in: its shift is their bias."""


def absorbed_layers(network: Network, arch: Architecture) -> dict[str, str]:
    """Layers that cost nothing of their own -> the layer that takes them in.

    Batch norm behind a convolution is folded into its weights. An operator named in ``vector.inline`` acts on the
    results as they leave the unit that computed them. Both only where nothing else reads the tensor in between.
    """
    inline = set(arch.vector.inline) if arch.vector else set()
    consumers = network.consumers()
    by_name = {layer.name: layer for layer in network.layers}
    host: dict[str, str] = {}
    for layer in network.layers:
        if len(layer.inputs) != 1 or layer.inputs[0].source not in by_name:
            continue
        producer = by_name[layer.inputs[0].source]
        chain_host = host.get(producer.name, producer.name)
        alone = consumers[layer.inputs[0]] == [layer.name]
        foldable = isinstance(layer.op, BatchNorm) and isinstance(producer.op, Conv2d | TransformOutput)
        computes = not isinstance(by_name[chain_host].op, RENAMING)
        if alone and computes and (foldable or layer.op.op in inline):
            host[layer.name] = chain_host
    return host


@dataclass(frozen=True)
class Tenants:
    """What a network could keep on chip between its layers, whatever is chosen of it."""

    network: Network
    arch: Architecture
    absorbed: Mapping[str, str]
    storages: Mapping[str, Storage]
    reads: Mapping[TensorRef, frozenset[str]]
    preloaded: bool
    shifted: frozenset[str]

    @classmethod
    def of(cls, network: Network, arch: Architecture) -> Tenants:
        absorbed = absorbed_layers(network, arch)
        storages, reads = _storages(network, arch, absorbed)
        norms = {layer.name for layer in network.layers if isinstance(layer.op, BatchNorm)}
        shifted = frozenset(host for name, host in absorbed.items() if name in norms)
        return cls(network, arch, absorbed, storages, reads, _preloaded(network, arch), shifted)

    def candidates(self, forbidden: frozenset[str] = frozenset()) -> list[Storage]:
        """Storages that may stay, in order of birth; not those that are ``forbidden``."""
        if self.arch.keeper("output") is None:
            return []
        free = [s for s in self.storages.values() if s.holdable and not s.leaves and s.owner not in forbidden]
        return sorted(free, key=lambda storage: storage.born)

    @property
    def room(self) -> int | None:
        """Bytes of the outputs' level that whole tensors may take: an eighth is left for tiles. None is unbounded."""
        level = self.arch.keeper("output")
        return None if level is None or level.size is None else level.size - level.size // 8

    def placement(self, layer: Layer, resident: Collection[str], reserved_bytes: int) -> Placement:
        """Where ``layer`` finds and leaves its tensors, with ``reserved_bytes`` of the level taken by whole ones."""
        level, second = self.arch.keeper("output"), len(layer.inputs) == 2 and isinstance(layer.op, Matmul)
        shares = [_share_off_chip(self.reads[ref], self.storages, resident) for ref in layer.inputs]
        return Placement(
            input_off_chip=shares[0] if shares else Fraction(1),
            output_resident=layer.name in resident,
            weight_resident=self.preloaded or (second and shares[1] == 0),
            reserved_bytes={level.name: reserved_bytes} if level else {},
        )

    def plan(self, resident: frozenset[str]) -> Plan:
        """The plan that keeps just ``resident``."""
        taken = [0] * len(self.network.layers)
        for storage in (self.storages[name] for name in resident):
            for step in range(storage.born, storage.dies + 1):
                taken[step] += storage.size_bytes
        layers = zip(self.network.layers, taken, strict=True)
        placements = {layer.name: self.placement(layer, resident, reserved) for layer, reserved in layers}
        return Plan(placements, self.absorbed, resident, self.storages, self.reads, self.shifted)


def plan_residency(network: Network, arch: Architecture, forbidden: frozenset[str] = frozenset()) -> Plan:
    """Keep as many tensors on chip as fit beside the tiles of the layers that run meanwhile, in order of birth.

    ``forbidden`` names storages that must not stay. Nothing is weighed here: see `accelsim.schedule.planner`.
    """
    tenants = Tenants.of(network, arch)
    taken = [0] * len(network.layers)
    resident: set[str] = set()
    for storage in tenants.candidates(forbidden):
        alive = range(storage.born, storage.dies + 1)
        if tenants.room is None or all(taken[i] + storage.size_bytes <= tenants.room for i in alive):
            resident.add(storage.owner)
            for i in alive:
                taken[i] += storage.size_bytes
    return tenants.plan(frozenset(resident))


def _preloaded(network: Network, arch: Architecture) -> bool:
    """Whether the weights of the whole network are on chip before it starts: where the design does so, and they fit."""
    level = arch.keeper("weight")
    if level is None or not level.preloaded:
        return False
    bits = sum(_copies(layer, arch) * layer.weight_bits for layer in network.layers)
    return level.size is None or bits <= 8 * level.size


def _copies(layer: Layer, arch: Architecture) -> int:
    """Nodes that hold the same weights: those that work on other rows of the same outputs."""
    if getattr(arch.engine, "nodes", 1) == 1 or not isinstance(layer.op, Conv2d):
        return 1
    assert isinstance(arch.engine, NfuSpec)
    groups, shape = layer.op.group_count(layer.input_shapes[0][1]), layer.output_shapes[0]
    unroll = arch.engine.unroll
    return split(arch.engine.nodes, (groups, shape[1] // groups, shape[2]), (unroll.K, unroll.P)).rows


def _storages(
    network: Network, arch: Architecture, absorbed: Mapping[str, str]
) -> tuple[dict[str, Storage], dict[TensorRef, frozenset[str]]]:
    order = {layer.name: i for i, layer in enumerate(network.layers)}
    reads: dict[TensorRef, frozenset[str]] = {TensorRef(name): frozenset((name,)) for name in network.inputs}
    owner_of: dict[str, Layer] = {}
    final: dict[str, Layer] = {}
    for layer in network.layers:
        if isinstance(layer.op, RENAMING):
            held = frozenset().union(*(reads[ref] for ref in layer.inputs))
        elif layer.name in absorbed:
            held = reads[layer.inputs[0]]
            final[absorbed[layer.name]] = layer
        else:
            held = frozenset((layer.name,))
            owner_of[layer.name] = layer
            final[layer.name] = layer
        for port in range(len(layer.output_shapes)):
            reads[TensorRef(layer.name, port)] = held
    readers: dict[str, list[tuple[Layer, int]]] = {name: [] for name in owner_of}
    for layer in network.layers:
        if isinstance(layer.op, RENAMING) or layer.name in absorbed:
            continue
        for position, ref in enumerate(layer.inputs):
            for name in reads[ref]:
                if name in readers:
                    readers[name].append((layer, position))
    outputs = {ref for ref, users in network.consumers().items() if not users and ref.source in order}
    leaving = frozenset().union(*(reads[ref] for ref in outputs)) if outputs else frozenset()
    storages = {}
    for name in owner_of:
        last = final[name]
        size = ceil_div(sum(prod(s) for s in last.output_shapes) * last.precision.output.bits, 8)
        dies = max((order[reader.name] for reader, _ in readers[name]), default=order[name])
        holdable = all(_readable(arch, reader, position) for reader, position in readers[name])
        storages[name] = Storage(name, size, order[name], dies, name in leaving or not readers[name], holdable)
    return {**_graph_inputs(network), **storages}, reads


def _graph_inputs(network: Network) -> dict[str, Storage]:
    """What comes from outside: it is fetched by whoever reads it, never held."""
    bits = {ref.source: layer.precision.input.bits for layer in reversed(network.layers) for ref in layer.inputs}
    return {
        name: Storage(name, ceil_div(network.batch * prod(shape) * bits.get(name, 8), 8), 0, 0, False, holdable=False)
        for name, shape in network.inputs.items()
    }


def _readable(arch: Architecture, reader: Layer, position: int) -> bool:
    """Whether ``reader`` finds its operand where outputs are held."""
    role: Tensor = "weight" if isinstance(reader.op, Matmul) and position == 1 else "input"
    return arch.keeper(role) is not None and arch.keeper(role) == arch.keeper("output")


def _share_off_chip(held: frozenset[str], storages: Mapping[str, Storage], resident: Collection[str]) -> Fraction:
    """The share of a tensor's bytes that is not on chip; graph inputs never are."""
    sizes = {name: storages[name].size_bytes for name in held}
    outside = sum(size for name, size in sizes.items() if name not in resident)
    return Fraction(outside, max(1, sum(sizes.values())))


def shares_off_chip(plan: Plan, layer: Layer) -> tuple[Fraction, ...]:
    """For each input of ``layer``, the share that has to be fetched."""
    return tuple(_share_off_chip(plan.reads[ref], plan.storages, plan.resident) for ref in layer.inputs)
