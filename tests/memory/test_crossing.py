"""What crosses a port on chip: one count for traffic and stalls, against a walk over every fold; and the law of a lone port."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from math import ceil
from typing import Any

import numpy as np
import pytest
from builders import BARE, array, conv, fixed, gemm, one_buffer
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim import simulate
from accelsim.engines.systolic import SystolicArray
from accelsim.mapping.loopnest import DIMS, Dims, LoopNest, lower
from accelsim.mapping.machine import Placement, Widths
from accelsim.mapping.mapping import Mapping
from accelsim.report.model import LayerResult
from accelsim.schedule.build import build_schedule
from accelsim.workload.network import Network

BUFFER = one_buffer("1 MiB", None)


@st.composite
def convolutions(draw: Any) -> Network:
    """Small layers, padded, strided, grouped."""
    window, groups = draw(st.integers(1, 3)), draw(st.integers(1, 2))
    size = (window + draw(st.integers(0, 3)), window + draw(st.integers(0, 3)))
    return conv(
        groups * draw(st.integers(1, 3)), size, batch=draw(st.integers(1, 2)), K=groups * draw(st.integers(1, 3)),
        R=window, S=window, groups=groups, stride=draw(st.integers(1, 2)), pad=draw(st.integers(0, window - 1)),
    )  # fmt: skip


def _nest(network: Network) -> LoopNest:
    (nest,) = lower(network.layers[0]).work
    assert isinstance(nest, LoopNest)
    return nest


def _cut(ids: list[Any], step: int) -> Iterator[list[Any]]:
    for first in range(0, len(ids), step):
        yield ids[first : first + step]


def _folds(at: Dims, tile: Dims, rows: int, cols: int, flow: str) -> Iterator[tuple[list[Any], list[int], list[Any]]]:
    """Pixels, channels and taps of every fold of one group of a tile."""
    pixels = [(n, p, q) for n in range(tile.N) for p in range(at.P, at.P + tile.P) for q in range(at.Q, at.Q + tile.Q)]
    channels = list(range(tile.K))
    taps = [(c, r, s) for c in range(tile.C) for r in range(at.R, at.R + tile.R) for s in range(at.S, at.S + tile.S)]
    sizes = {"os": (rows, cols, len(taps)), "ws": (len(pixels), cols, rows), "is": (cols, len(channels), rows)}[flow]
    for some in _cut(pixels, sizes[0]):
        for few in _cut(channels, sizes[1]):
            for part in _cut(taps, sizes[2]):
                yield some, few, part


def _read(nest: LoopNest, pixels: list[Any], taps: list[Any]) -> int:
    """Inputs inside the image that a fold takes."""
    rows, columns = nest.rows, nest.columns
    return sum(
        0 <= p * rows.stride + r * rows.dilation - rows.pad < rows.size
        and 0 <= q * columns.stride + s * columns.dilation - columns.pad < columns.size
        for _, p, q in pixels
        for _, r, s in taps
    )


@settings(max_examples=60, deadline=None)
@given(st.data())
def test_operands_are_what_every_fold_takes(data: Any) -> None:
    nest = _nest(data.draw(convolutions()))
    tile = Dims(*(data.draw(st.integers(1, size)) for size in nest.dims))
    flow = data.draw(st.sampled_from(["ws", "os", "is"]))
    mapping = Mapping(tile, tuple(data.draw(st.permutations(DIMS))), flow)
    rows, cols = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    arch, widths = array(rows, cols, BUFFER, dataflow=flow), Widths.of(BARE)
    schedule = build_schedule("", nest, mapping, widths, Placement())
    unit = SystolicArray(arch, arch.engine)  # type: ignore[arg-type]
    weights = inputs = updates = 0
    for at, sizes in schedule.tile_places():
        for pixels, channels, taps in _folds(at, sizes, rows, cols, flow):
            inputs += sizes.G * _read(nest, pixels, taps)
            weights += sizes.G * len(channels) * len(taps)
            updates += sizes.G * len(pixels) * len(channels)
    traffic = unit.crossing(schedule, BARE, Placement()).operand_traffic(arch)
    moved = traffic["buffer"]
    assert moved["weight"].read_bits == 8 * weights
    assert moved["input"].read_bits == 8 * inputs
    outputs = nest.dims.outputs
    again = moved.get("partial_sum")
    assert (again.read_bits if again else 0) == (again.write_bits if again else 0) == 32 * (updates - outputs)
    assert moved["output"].write_bits == 32 * outputs


def _port_cycles(result: LayerResult, nest: LoopNest, rows: int, cols: int, hidden: bool) -> int:
    """Stream of every fold (ws), and the load beside it."""
    tile, cycles = Dims(**result.mapping["tile"]), 0
    for dim in DIMS:
        assert getattr(nest.dims, dim) % getattr(tile, dim) == 0
    for pixels, _, _ in _folds(Dims(*[0] * 8), tile, rows, cols, "ws"):
        cycles += max(len(pixels), rows) if hidden else len(pixels) + rows
    return cycles * tile.G * int(np.prod([size // step for size, step in zip(nest.dims, tile, strict=True)]))


@settings(max_examples=40, deadline=None)
@given(convolutions(), st.integers(1, 4), st.integers(1, 4), st.integers(1, 40), st.sampled_from([1, 2]))
def test_a_lone_port_stalls_for_what_its_bytes_need_beyond_the_folds(
    network: Network, rows: int, cols: int, rate: int, buffers: int
) -> None:
    arch = array(rows, cols, one_buffer("1 MiB", None, f"{rate} B/cycle"), weight_buffers=buffers, overlap="none")
    nest = _nest(network)
    layer = simulate(network, arch, mapping=fixed(tile=nest.dims._asdict())).layers[0]
    moved = sum(tensor.total for tensor in layer.traffic_bytes["buffer"].values())
    there = _port_cycles(layer, nest, rows, cols, buffers == 2)
    assert layer.stall_cycles["memory"] == max(0, ceil(Fraction(moved, rate)) - there)


@pytest.mark.parametrize(("m", "port"), [(1, "48 B/cycle"), (4, "72 B/cycle")])
def test_a_port_works_while_weights_are_shifted_in(m: int, port: str) -> None:
    """A product with few rows: the array needs 16 cycles a fold for its weights, the port fewer."""

    def cycles(width: str | None) -> int:
        arch = array(16, 16, one_buffer("256 KiB", "64 B/cycle", width), weight_buffers=2, overlap="skewed")
        return simulate(gemm(m, 512, 256), arch, mapping=fixed(tile={"N": m, "K": 16, "C": 512})).totals.cycles

    assert cycles(port) <= 1.08 * cycles(None)


def test_a_wider_port_is_never_slower() -> None:
    network = conv(16, (12, 12), K=24, R=3, S=3, pad=1)
    times = []
    for rate in (2, 3, 4, 6, 8, 12, 16, 32, 64):
        arch = array(8, 8, one_buffer("16 KiB", "8 B/cycle", f"{rate} B/cycle"), weight_buffers=2, overlap="skewed")
        tile = fixed(tile={"N": 1, "P": 3, "Q": 12, "K": 8, "C": 16, "R": 3, "S": 3}, order="P K C")
        times.append(simulate(network, arch, mapping=tile).totals.cycles)
    assert times == sorted(times, reverse=True)


def test_an_output_that_is_summed_in_one_fold_crosses_its_port_once_each_way() -> None:
    """8 channels on 8 rows: what leaves the array is final. 8,192 bytes in, and as many on their way off chip."""
    memory = [
        {"name": "dram"}, {"name": "in", "size": "256 KiB", "holds": ["input", "weight"]},
        {"name": "out", "size": "256 KiB", "holds": ["output"], "bandwidth": "64 B/cycle"},
    ]  # fmt: skip
    layer = simulate(conv(8, (32, 32), K=8, R=1, S=1), array(8, 8, memory)).layers[0]
    moved = layer.traffic_bytes["out"]
    assert (moved["output"].read, moved["output"].write) == (4 * 8192, 4 * 8192)  # bare accumulators of 4 bytes
    assert layer.stall_cycles["memory"] == 0


def test_zeros_of_the_padding_are_read_only_where_they_are_stored() -> None:
    network = conv(2, (5, 5), K=3, R=3, S=3, pad=1)

    def read(padding: str) -> int:
        arch = array(64, 64, one_buffer("1 MiB", padding=padding))
        return simulate(network, arch).layers[0].traffic_bytes["buffer"]["input"].read

    assert (read("generated"), read("stored")) == (338, 450)


@pytest.mark.parametrize(("size", "microseconds"), [(256, 18), (512, 32)])
def test_tpu_v1_fetches_whole_tiles(size: int, microseconds: int) -> None:
    """600 x 600 weights take 9 tiles of 64 KiB, or 4 of 256 KiB: 18 and 32 us (ISCA 2017, section 7)."""
    changes = {f"arch.engine.{axis}": size for axis in ("rows", "cols")} | {"arch.memory.weight_fifo.size": 4 * size * size}
    totals = simulate(gemm(1, 600, 600), "tpu_v1", overrides=changes).totals
    assert totals.seconds == pytest.approx(microseconds * 1e-6, rel=0.02)
    assert totals.traffic_bytes["weight_fifo"].write == ceil(600 / size) ** 2 * size**2
