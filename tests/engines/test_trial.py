"""Does a trial of a mapping give the cycles of the run?"""

from __future__ import annotations

from fractions import Fraction
from typing import Any

from builders import array, formats, one_buffer
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim.api import load_arch
from accelsim.arch.spec import Architecture
from accelsim.engines.mapped import MappedEngine, Unit
from accelsim.engines.registry import engine_of
from accelsim.engines.trial import Trials, _shapes
from accelsim.engines.walk import Carry
from accelsim.mapping.loopnest import DIMS, Axis, Dims, LoopNest
from accelsim.mapping.machine import Placement, Widths
from accelsim.mapping.mapping import Mapping
from accelsim.schedule.build import build_schedule
from accelsim.workload.precision import Precision

KEPT = [frozenset(kept) for kept in ((), ("weight",), ("input",), ("weight", "input"))]


def axis(draw: Any, outputs: int, taps: int) -> Axis:
    stride, dilation, pad = draw(st.integers(1, 3)), draw(st.integers(1, 3)), draw(st.integers(0, 2))
    reach = (outputs - 1) * stride + (taps - 1) * dilation + 1
    return Axis(max(1, reach - 2 * pad + draw(st.integers(0, 1))), stride, dilation, pad)


@st.composite
def nests(draw: Any) -> LoopNest:
    d = Dims(*(draw(st.integers(1, most)) for most in (3, 9, 9, 6, 6, 3, 3, 3)))
    private = draw(st.booleans())
    d = d._replace(G=1) if private else d
    return LoopNest(
        d, axis(draw, d.P, d.R), axis(draw, d.Q, d.S), private_weights=private, biased=draw(st.booleans()),
        weight_is_activation=draw(st.booleans()),
    )  # fmt: skip


@st.composite
def arrays(draw: Any) -> Architecture:
    engine: dict[str, Any] = {
        "dataflow": draw(st.sampled_from(["ws", "os", "is"])),
        "weight_buffers": draw(st.integers(1, 2)),
        "overlap": draw(st.sampled_from(["none", "skewed"])),
        "weight_tiles": draw(st.sampled_from(["ragged", "whole"])),
    }
    if draw(st.booleans()):
        engine["accumulators"] = {"entries": 64}
    port = draw(st.sampled_from([None, "3 B/cycle", "40 B/cycle"]))
    words = {"padding": "stored"} if draw(st.booleans()) else {}
    memory = one_buffer("40 KiB", draw(st.sampled_from(["1 B/cycle", "7 GB/s"])), port, slots=draw(st.integers(1, 3)), **words)
    memory[0] |= {"latency": f"{draw(st.integers(0, 30))} cycles", "requests": draw(st.sampled_from(["in_order", "per_tensor"]))}
    return array(draw(st.integers(1, 8)), draw(st.integers(1, 8)), memory, **engine)


NAMES = ("gemmini_16x16", "tpu_v1", "eyeriss_like", "diannao", "zhang2015", "qiu2016", "dadiannao")


def told(
    unit: Unit, nest: LoopNest, mapping: Mapping, words: Precision, place: Placement, arch: Architecture
) -> tuple[int, int, int]:
    """Cycles, bits off chip and cycles of the stream, by the way that a layer is run."""
    schedule = build_schedule("layer", nest, mapping, Widths.of(words), place)
    counters = unit.run(schedule, words, place, Carry.start(arch))
    far = counters.traffic.get(arch.off_chip.name, {}).values()
    return counters.cycles, sum(t.read_bits + t.write_bits for t in far), counters.port_cycles["active"]


@settings(max_examples=80, deadline=None)
@given(nests(), arrays() | st.sampled_from(NAMES).map(load_arch), st.data())
def test_a_trial_takes_as_long_as_the_run(nest: LoopNest, arch: Architecture, data: st.DataObject) -> None:
    engine = engine_of(arch)
    assert isinstance(engine, MappedEngine)
    words = formats() if arch.name in ("test", "gemmini_16x16", "tpu_v1") else formats("int16", output="int16")
    if arch.name == "zhang2015":
        words = Precision.model_validate(dict.fromkeys(("weight", "input", "accumulator", "output"), "fp32"))
    share = Fraction(data.draw(st.integers(0, 3)), 3)
    place = Placement(share, data.draw(st.booleans()), data.draw(st.booleans()))
    unit = engine.unit
    trials = Trials(nest, arch, unit, words, place, unit.dataflow)
    for _ in range(3):
        tile = Dims(*(data.draw(st.integers(1, size)) for size in nest.dims))
        order = tuple(data.draw(st.permutations(DIMS)))
        mapping = Mapping(tile, order, unit.dataflow, data.draw(st.sampled_from(KEPT)))
        assert tuple(trials(mapping)) == told(unit, nest, mapping, words, place, arch), mapping


def test_shapes_are_in_the_order_of_their_codes() -> None:
    shapes = _shapes(Dims(N=5, K=4, C=7), Dims(N=2, K=2, C=3))
    assert [(shape.N, shape.K, shape.C) for shape in shapes] == [(2, 2, 3), (1, 2, 3), (2, 2, 1), (1, 2, 1)]
