"""Does a tile fit? How many bytes of each level it asks for, and a report where it asks too much."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from accelsim.arch.spec import Architecture, Tensor
from accelsim.errors import InfeasibleError
from accelsim.mapping.loopnest import Axis, Dims, LoopNest
from accelsim.mapping.machine import Ints, Machine, Placement, Widths, free_bytes, slots_of, tile_array, weight_elements
from accelsim.mapping.mapping import RELEVANT
from accelsim.units import format_bytes
from accelsim.workload.precision import Precision

_N, _K, _C, _P, _Q, _R, _S, _G = range(8)


@dataclass(frozen=True)
class Demand:
    """Bits that one tile of each tensor takes in its level, and how many tiles of it are held at once."""

    tile_bits: dict[str, Ints]
    slots: dict[str, Ints]

    def bytes_of(self, tensors: list[Tensor]) -> Ints:
        total = sum((self.tile_bits[t] * self.slots[t] for t in tensors if t in self.tile_bits), np.int64(0))
        return -(-np.asarray(total, dtype=np.int64) // 8)


def span(axis: Axis, outputs: Ints, taps: Ints) -> Ints:
    """Input positions under a tile in the middle of an image, at most the image."""
    reach = (outputs - 1) * axis.stride + (taps - 1) * axis.dilation + 1
    apart = (axis.dilation == 1) & (axis.stride > taps)  # windows that do not touch each other
    return np.minimum(np.where(apart, outputs * taps, reach), axis.size)


def demand(
    nest: LoopNest, tiles: Ints, arch: Architecture, machine: Machine, precision: Precision, dataflow: str,
    placement: Placement, keep: frozenset[str] = frozenset(),
) -> Demand:  # fmt: skip
    """What each of the candidate ``tiles`` (int64[candidates, 8]) asks of the levels on chip."""
    widths = Widths.of(precision)
    sizes = np.array(nest.dims, dtype=np.int64)
    t = {dim: tiles[:, i] for i, dim in enumerate(Dims._fields)}
    weights = machine.weight_elements(nest, tiles, dataflow, precision)
    inputs = t["G"] * t["N"] * t["C"] * span(nest.rows, t["P"], t["R"]) * span(nest.columns, t["Q"], t["S"])
    outputs = t["G"] * t["N"] * t["K"] * t["P"] * t["Q"]
    spills = machine.spills_partial_sums(nest, tiles, dataflow, precision)
    output_bits = np.where(spills, widths.partial_sum, widths.output)
    bits: dict[str, Ints] = {"weight": weights * widths.weight}
    if not placement.input_resident:
        bits["input"] = inputs * widths.input
    if not placement.output_resident:
        bits["output"] = outputs * output_bits
    elif bool(np.any(spills)):
        bits["output"] = np.where(spills, outputs * widths.partial_sum, 0)
    groups = -(-nest.dims.G // t["G"])
    if "weight" in keep:
        bits["weight"] = _kept_weights(nest, tiles, weights, groups) * widths.weight
    if "input" in keep & bits.keys():
        bits["input"] = -(-nest.input_elements(nest.dims) // groups) * widths.input
    one_tile = tiles >= sizes
    slots = {
        tensor: np.where(
            groups == 1 if tensor in keep else _only_one(one_tile, tensor, nest),
            1,
            machine.weight_slots(nest, dataflow, precision) if tensor == "weight" else slots_of(arch, tensor),  # type: ignore[arg-type]
        )
        for tensor in bits
    }
    return Demand(bits, slots)


def _kept_weights(nest: LoopNest, tiles: Ints, fetched: Ints, groups: Ints) -> Ints:
    """Weights of a round of groups, all tiles together: what there are, or more where tiles are ``fetched`` as more."""
    counts = -(-np.array(nest.dims, dtype=np.int64) // tiles)
    rounds = weight_elements(nest, counts) // counts[:, _G]
    padded = fetched > weight_elements(nest, tiles)
    return np.where(padded, fetched * rounds, -(-nest.weight_elements // groups))


def _only_one(one_tile: npt.NDArray[np.bool_], tensor: str, nest: LoopNest) -> npt.NDArray[np.bool_]:
    relevant = RELEVANT[tensor] | (frozenset("PQ") if tensor == "weight" and nest.private_weights else frozenset())
    columns = [i for i, dim in enumerate(Dims._fields) if dim in relevant]
    return np.asarray(np.all(one_tile[:, columns], axis=1))


def fits(
    nest: LoopNest, tiles: Ints, arch: Architecture, machine: Machine, precision: Precision, dataflow: str,
    placement: Placement, keep: frozenset[str] = frozenset(),
) -> npt.NDArray[np.bool_]:  # fmt: skip
    """Which of the candidate tiles fit every level and the engine's accumulators."""
    need = demand(nest, tiles, arch, machine, precision, dataflow, placement, keep)
    ok = np.ones(len(tiles), dtype=bool)
    for level in arch.on_chip:
        room = free_bytes(level, placement)
        if room is not None:
            ok &= need.bytes_of(level.holds) <= room
    limit = machine.accumulator_pixels(dataflow)
    if limit is not None:
        ok &= tiles[:, _N] * tiles[:, _P] * tiles[:, _Q] <= limit
    return ok


def crowded(
    nest: LoopNest, arch: Architecture, machine: Machine, precision: Precision, dataflow: str, placement: Placement
) -> frozenset[str]:
    """The levels that some tile of ``nest`` does not fit as often as there are slots: fewer allow larger tiles there."""
    need = demand(nest, tile_array(nest.dims), arch, machine, precision, dataflow, placement).tile_bits
    whole = {tensor: int(bits[0]) for tensor, bits in need.items()}
    whole["output"] = nest.dims.outputs * Widths.of(precision).partial_sum  # of a tile whose sums are not ended
    rooms = ((level, free_bytes(level, placement)) for level in arch.on_chip)
    return frozenset(
        level.name for level, room in rooms
        if room is not None and level.slots * sum(whole.get(tensor, 0) for tensor in level.holds) > 8 * room
    )  # fmt: skip


def require_fit(
    layer: str, nest: LoopNest, tile: Dims, arch: Architecture, machine: Machine, precision: Precision,
    dataflow: str, placement: Placement, keep: frozenset[str] = frozenset(),
) -> None:  # fmt: skip
    """Raise `InfeasibleError` naming the first level that ``tile`` does not fit, by how much, and what to turn."""
    need = demand(nest, tile_array(tile), arch, machine, precision, dataflow, placement, keep)
    for level in arch.on_chip:
        room = free_bytes(level, placement)
        held = level.holds
        asked = int(need.bytes_of(held)[0]) if any(t in need.tile_bits for t in held) else 0
        if room is not None and asked > room:
            parts = ", ".join(
                f"{t} {format_bytes(int(need.tile_bits[t][0]) / 8)} x {int(need.slots[t][0])}"
                for t in held
                if t in need.tile_bits
            )
            taken = placement.reserved_bytes.get(level.name, 0)
            raise InfeasibleError(
                f"layer {layer}: its tile in {level.name}",
                demand=f"{format_bytes(asked)} ({parts})",
                bound=f"{format_bytes(room)}"
                + (f" ({format_bytes(taken)} of {format_bytes(level.size or 0)} hold tensors of other layers)" if taken else "")
                + f", {format_bytes(asked - room)} too little",
                levers=(
                    f"a smaller tile: {_largest(tile, held)}",
                    f"a larger arch.memory.{level.name}.size",
                    f"fewer arch.memory.{level.name}.slots",
                ),
            )
    limit = machine.accumulator_pixels(dataflow)
    if limit is not None and tile.pixels > limit:
        raise InfeasibleError(
            f"layer {layer}: its tile in the accumulators",
            demand=f"{tile.pixels} output pixels (N {tile.N} x P {tile.P} x Q {tile.Q})",
            bound=f"{limit}, {tile.pixels - limit} too few",
            levers=("a smaller tile.N, tile.P or tile.Q", "more arch.engine.accumulators.entries"),
        )


def _largest(tile: Dims, held: list[Tensor]) -> str:
    """The tile dimensions that matter to this level, largest first."""
    matter = frozenset().union(*(RELEVANT[t] for t in held if t in RELEVANT))
    dims = sorted((d for d in Dims._fields if d in matter), key=lambda d: -int(getattr(tile, d)))
    turn = [f"tile.{d} below {getattr(tile, d)}" for d in dims if getattr(tile, d) > 1][:3]
    return ", ".join(turn) or "the layer's tile is already 1 in every dimension"
