"""What several NFU nodes tell each other before they can work on a layer.

Each node computes a part of a layer's outputs (`accelsim.arch.nodes.split`) and keeps it, so the next layer finds its
inputs spread over the nodes. Nodes that work on the same rows pass what they have round a ring: in every step each sends
on what it got in the step before, its own part first, and works on what it has while the next part comes (recalled of
Chen et al., MICRO 2014: "computing and forwarding"). Neighbours in rows give each other the edges of their parts. What
comes from outside is handed to the nodes in equal parts.
"""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import ceil
from typing import NamedTuple

from accelsim.arch.nodes import NODE_LINKS, Split, split
from accelsim.arch.spec import Architecture, NfuSpec
from accelsim.counters import Counters, Traffic, Transfer, add_traffic
from accelsim.mapping.loopnest import LoopNest
from accelsim.mapping.machine import Placement, Widths
from accelsim.units import ceil_div


class Exchange(NamedTuple):
    """What each node hears before it has its operands: ``block_bits`` in each of so many ``steps``."""

    steps: int
    block_bits: int


def division(spec: NfuSpec, nest: LoopNest) -> Split:
    """How the nodes divide ``nest``."""
    d, rows = nest.dims, 1 if nest.private_weights else spec.unroll.P
    return split(spec.nodes, (d.G, d.K, d.P), (spec.unroll.K, rows))


def at_work(spec: NfuSpec, nest: LoopNest) -> int:
    """Nodes that have a part of ``nest``; the others stay still."""
    parts, d = division(spec, nest), nest.dims
    lines = d.P if nest.private_weights else ceil_div(d.P, spec.unroll.P)
    return min(parts.groups, d.G) * min(parts.channels, ceil_div(d.K, spec.unroll.K)) * min(parts.rows, lines)


def exchange(spec: NfuSpec, nest: LoopNest, widths: Widths, placement: Placement) -> Exchange:
    """What the nodes tell each other for one run of ``nest``."""
    parts, d = division(spec, nest), nest.dims
    strip = nest.input_elements(d._replace(G=ceil_div(d.G, parts.groups), P=ceil_div(d.P, parts.rows))) * widths.input
    own = nest.input_elements(d) * widths.input // spec.nodes  # what all computed, or were handed, is spread evenly
    heard = max(0, strip - own)
    if nest.weight_is_activation and placement.weight_resident:  # the columns of its own outputs, of everyone's rows
        heard += ceil_div(nest.weight_elements * widths.weight * (parts.channels - 1), parts.channels * spec.nodes)
    steps = max(parts.channels - 1, min(1, heard))
    return Exchange(steps, ceil_div(heard, max(1, steps)))


def exchanged(
    counters: Counters, nest: LoopNest, repeat: int, widths: Widths, placement: Placement, arch: Architecture
) -> Counters:
    """``counters`` of ``repeat`` runs of a nest, with what the nodes tell each other for them."""
    spec = arch.engine
    assert isinstance(spec, NfuSpec)
    if spec.nodes == 1:
        return counters
    assert spec.links is not None
    steps, block = exchange(spec, nest, widths, placement)
    if block == 0:
        return counters
    step = spec.links.latency.in_cycles(arch.clock) + _cycles(block, 8 * spec.links.bandwidth.per_cycle(arch.clock))
    traffic = _moved(arch, repeat * at_work(spec, nest) * steps * block)
    stall = repeat * ring_stall(counters.cycles // repeat, steps + 1, step)
    waited = max(stall, _port_cycles(arch, traffic))
    return replace(
        counters,
        cycles=counters.cycles + waited,
        stalls=replace(counters.stalls, memory=counters.stalls.memory + waited),
        port_cycles={**counters.port_cycles, "memory": counters.port_cycles.get("memory", 0) + waited},
        traffic=add_traffic((counters.traffic, traffic)),
    )


def ring_stall(work: int, parts: int, step: int) -> int:
    """Cycles by which ``work`` on equal ``parts`` takes longer, of which one comes every ``step`` cycles.

    The first part is there; each is worked on when it has come and the parts before are done.
    """
    ends = (part * step + work - part * work // parts for part in range(parts))
    return max(ends) - work


def _moved(arch: Architecture, bits: int) -> Traffic:
    """Out of the memories of those who have it, over the links, into the memories of the others."""
    level = arch.holder("input")
    assert level is not None
    return {NODE_LINKS: {"input": Transfer(read_bits=bits)}, level.name: {"input": Transfer(bits, bits)}}


def _port_cycles(arch: Architecture, traffic: Traffic) -> int:
    """Cycles that the traffic takes through the ports on chip."""
    level = arch.holder("input")
    assert level is not None
    if level.bandwidth is None:
        return 0
    moved = traffic[level.name]["input"]
    return _cycles(moved.read_bits + moved.write_bits, 8 * level.bandwidth.per_cycle(arch.clock))


def _cycles(bits: int, rate: Fraction) -> int:
    return ceil(Fraction(bits) / rate)
