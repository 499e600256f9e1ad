"""What stays on chip between layers, and which layers disappear into others.

Storage is what really exists: a reshape, split or concat only renames it, and an operator that rides on the path of
its producer's results (``vector.inline``) or is folded into its weights (batch norm) leaves none of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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


def plan_residency(network: Network, arch: Architecture, forbidden: frozenset[str] = frozenset()) -> Plan:
    """Keep as many tensors on chip as fit beside the tiles of the layers that run meanwhile, in order of birth.

    ``forbidden`` names storages that must not stay (found not to leave room for some layer's tiles).
    """
    absorbed = absorbed_layers(network, arch)
    storages, reads = _storages(network, arch, absorbed)
    level = arch.holder("output")
    if level is None:
        return Plan({layer.name: Placement() for layer in network.layers}, absorbed, frozenset(), storages, reads)
    steps = len(network.layers)
    room = [None if level.size is None else _room(network.layers[i], arch, level.size) for i in range(steps)]
    taken = [0] * steps
    resident: set[str] = set()
    for name, storage in sorted(storages.items(), key=lambda item: item[1].born):
        alive = range(storage.born, storage.dies + 1)
        if storage.leaves or not storage.holdable or name in forbidden:
            continue
        if all(room[i] is None or taken[i] + storage.size_bytes <= (room[i] or 0) for i in alive):
            resident.add(name)
            for i in alive:
                taken[i] += storage.size_bytes
    placements = {
        layer.name: _placement(layer, i, absorbed, storages, reads, resident, {level.name: taken[i]})
        for i, layer in enumerate(network.layers)
    }
    if _preloaded(network, arch):
        placements = {name: replace(placement, weight_resident=True) for name, placement in placements.items()}
    return Plan(placements, absorbed, frozenset(resident), storages, reads)


def _preloaded(network: Network, arch: Architecture) -> bool:
    """Whether the weights of the whole network are on chip before it starts: where the design does so, and they fit."""
    level = arch.holder("weight")
    if level is None or not level.preloaded:
        return False
    bits = sum(_copies(layer, arch) * prod(layer.weight_shape or (0,)) * layer.precision.weight.bits for layer in network.layers)
    return level.size is None or bits <= 8 * level.size


def _copies(layer: Layer, arch: Architecture) -> int:
    """Nodes that hold the same weights: those that work on other rows of the same outputs."""
    if getattr(arch.engine, "nodes", 1) == 1 or not isinstance(layer.op, Conv2d):
        return 1
    assert isinstance(arch.engine, NfuSpec)
    groups, shape = layer.op.group_count(layer.input_shapes[0][1]), layer.output_shapes[0]
    unroll = arch.engine.unroll
    return split(arch.engine.nodes, (groups, shape[1] // groups, shape[2]), (unroll.K, unroll.P)).rows


def _room(layer: Layer, arch: Architecture, size: int) -> int:
    """Bytes of the outputs' level that tensors may take while ``layer`` runs: an eighth is left for its tiles."""
    del layer, arch
    return size - size // 8


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
    return arch.holder(role) is not None and arch.holder(role) == arch.holder("output")


def _placement(
    layer: Layer, index: int, absorbed: Mapping[str, str], storages: Mapping[str, Storage],
    reads: Mapping[TensorRef, frozenset[str]], resident: set[str], reserved: Mapping[str, int],
) -> Placement:  # fmt: skip
    del index, absorbed
    share = Fraction(1)
    if layer.inputs:
        share = _share_off_chip(reads[layer.inputs[0]], storages, resident)
    second = len(layer.inputs) == 2 and isinstance(layer.op, Matmul)
    weight_resident = second and _share_off_chip(reads[layer.inputs[1]], storages, resident) == 0
    return Placement(
        input_off_chip=share,
        output_resident=layer.name in resident,
        weight_resident=weight_resident,
        reserved_bytes=reserved,
    )


def _share_off_chip(held: frozenset[str], storages: Mapping[str, Storage], resident: set[str]) -> Fraction:
    """The share of a tensor's bytes that is not on chip; graph inputs never are."""
    sizes = {name: storages[name].size_bytes for name in held}
    outside = sum(size for name, size in sizes.items() if name not in resident)
    return Fraction(outside, max(1, sum(sizes.values())))


def shares_off_chip(plan: Plan, layer: Layer) -> tuple[Fraction, ...]:
    """For each input of ``layer``, the share that has to be fetched."""
    return tuple(_share_off_chip(plan.reads[ref], plan.storages, set(plan.resident)) for ref in layer.inputs)
