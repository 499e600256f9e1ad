"""Are the tiles of every stage those that the loops themselves go through, element by element?"""

from itertools import product

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from accelsim.mapping.loopnest import DIMS, Axis, Dims, LoopNest
from accelsim.mapping.mapping import Stage
from accelsim.schedule.hops import places, tiles_of


@st.composite
def axes(draw):
    """Outputs, taps and the axis that they read."""
    outputs, taps = draw(st.integers(1, 5)), draw(st.integers(1, 3))
    stride, dilation, pad = draw(st.integers(1, 3)), draw(st.integers(1, 2)), draw(st.integers(0, 2))
    reach = (outputs - 1) * stride + (taps - 1) * dilation + 1
    return outputs, taps, Axis(max(1, reach - 2 * pad + draw(st.integers(0, 1))), stride, dilation, pad)


@st.composite
def nests(draw):
    (p, r, rows), (q, s, columns) = draw(axes()), draw(axes())
    small = st.integers(1, 4)
    dims = Dims(N=draw(st.integers(1, 2)), K=draw(small), C=draw(small), P=p, Q=q, R=r, S=s, G=draw(st.integers(1, 2)))
    return LoopNest(dims, rows, columns)


@st.composite
def staged(draw, most_stages=3):
    """A nest and its stages, the outermost first."""
    nest, stages = draw(nests()), []
    around = nest.dims
    for _ in range(draw(st.integers(1, most_stages))):
        tile = Dims(*(draw(st.integers(1, size)) for size in around))
        stages.append(Stage(tile, tuple(draw(st.permutations(DIMS)))))
        around = tile
    return nest, stages


def walk(dims, stages):
    """Every step as the blocks that the stages work on, [(first, past the last) by dimension] each."""

    def inside(block, rest):
        if not rest:
            yield ()
            return
        stage = rest[0]
        ranges = [range(*block[d], getattr(stage.tile, d)) for d in stage.order]
        for starts in product(*ranges):
            own = {d: (at, min(at + getattr(stage.tile, d), block[d][1])) for d, at in zip(stage.order, starts, strict=True)}
            for tail in inside(own, rest[1:]):
                yield (own, *tail)

    return list(inside({d: (0, size) for d, size in zip(DIMS, dims, strict=True)}, list(stages)))


def elements(nest, tensor, block):
    """The elements of a tensor under a block of iterations, each by its place."""
    values = {d: range(*block[d]) for d in DIMS}
    if tensor == "weight":
        return set(product(*(values[d] for d in "GKCRS")))
    if tensor == "output":
        return set(product(*(values[d] for d in "GNKPQ")))
    rows = {p * nest.rows.stride + r * nest.rows.dilation - nest.rows.pad for p in values["P"] for r in values["R"]}
    columns = {q * nest.columns.stride + s * nest.columns.dilation - nest.columns.pad for q in values["Q"] for s in values["S"]}
    inside = [h for h in rows if 0 <= h < nest.rows.size], [w for w in columns if 0 <= w < nest.columns.size]
    return set(product(values["G"], values["N"], values["C"], *inside))


def identity(tensor, block):
    """What makes a tile another one: where it begins in every loop that its tensor has."""
    dims = {"weight": "GKCRS", "input": "GNCPQRS", "output": "GNKPQ"}[tensor]
    return tuple(block[d] for d in dims)


@given(staged(), st.sampled_from(["weight", "input", "output"]), st.sampled_from(["refetch", "keep"]))
def test_tiles_are_those_that_the_loops_go_through(case, tensor, window):
    nest, stages = case
    where, steps = places(nest.dims, stages), walk(nest.dims, stages)
    assert where.steps == len(steps)
    for at in range(len(stages)):
        found = tiles_of(tensor, nest, at, where, window)
        blocks = [step[at] for step in steps]
        first = [i for i, b in enumerate(blocks) if i == 0 or identity(tensor, b) != identity(tensor, blocks[i - 1])]
        held = [elements(nest, tensor, blocks[i]) for i in first]
        kept = [set(), *held[:-1]] if window == "keep" and tensor == "input" else [set()] * len(held)
        assert found.first.tolist() == first
        assert found.elements.tolist() == [len(tile - before) for tile, before in zip(held, kept, strict=True)]


@given(staged())
def test_sums_are_whole_once_and_resumed_where_they_were_left(case):
    """Every visit of an output but the first resumes it; the last one alone makes it whole."""
    nest, stages = case
    where = places(nest.dims, stages)
    steps = walk(nest.dims, stages)
    for at in range(len(stages)):
        found, seen, visits = tiles_of("output", nest, at, where), set(), []
        for first in found.first.tolist():
            visits.append(identity("output", steps[first][at]))
        assert found.resumed.tolist() == [v in seen or seen.add(v) is not None for v in visits]
        later = [visits[i + 1 :] for i in range(len(visits))]
        assert found.whole.tolist() == [v not in rest for v, rest in zip(visits, later, strict=True)]


def test_a_step_s_tile_lies_in_the_tile_of_the_stage_around_it():
    stages = [Stage(Dims(K=4, C=3), DIMS), Stage(Dims(K=3, C=2), tuple(reversed(DIMS)))]
    where = places(Dims(K=7, C=5), stages)
    assert np.all(where.starts["K"][0] <= where.starts["K"][1])
    assert where.starts["K"][1].tolist()[:4] == [0, 3, 0, 3]
    assert where.sizes["K"][1].tolist()[:4] == [3, 1, 3, 1]
