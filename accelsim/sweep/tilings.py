"""Every tiling of a layer, the hopeless ones left out before they are run.

The layer runs alone, its operands off chip. Candidates are all tile sizes asked for (divisors, and what the mapper
itself would look at, where nothing is said), under all loop orders, with every set of tensors kept whole on chip.
Each gets a lower bound on its cycles (`accelsim.sweep.bound`); they are simulated from the lowest bound on, and what
cannot be among the best any more never is. *Best* is fewest cycles, then least
traffic off chip, then first in the order of the space, and is the same with and without the bound.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from fractions import Fraction
from itertools import permutations
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt

from accelsim.analysis.pareto import ALL_COLUMNS, HOLDS_FOR
from accelsim.arch.spec import Tensor
from accelsim.errors import AccelsimError, Fault, InfeasibleError, InputError, InvariantError
from accelsim.mapping.loopnest import DIMS, LoopNest, lower
from accelsim.mapping.machine import Ints
from accelsim.mapping.mapping import LayerMapping, MappingFile, Order, TileSizes
from accelsim.sweep.inputs import Inputs, Point, Resolver
from accelsim.sweep.ledger import Ledger
from accelsim.sweep.objective import Objective
from accelsim.sweep.pool import Backend
from accelsim.sweep.progress import Progress, Silent
from accelsim.sweep.runner import Best, SweepInterrupted, done_so_far, list_points, open_backend, point_label
from accelsim.sweep.spec import Spec, Tilings
from accelsim.sweep.store import Outcome, StoppedError, Store
from accelsim.sweep.table import DEFAULT, Row, SweepTable, make_rows, statuses
from accelsim.sweep.values import divisors
from accelsim.workload.batch import part_of
from accelsim.workload.network import Network

if TYPE_CHECKING:
    from accelsim.engines.mapped import MappedEngine
    from accelsim.sweep.bound import Work

ROUND = 32  # tilings that are run before the best is looked at again
MOST_POINTS = 5_000_000  # tiles under orders with kept tensors: some 100 bytes each
TILE_KEYS = tuple(f"tile.{dim}" for dim in DIMS)
KEYS = (*TILE_KEYS, "order", "keep", "bound_cycles", HOLDS_FOR)
_NEVER = np.iinfo(np.int64).max >> 1  # cycles of what does not fit
_TRIED = ("tile", "order", "keep")
_FIXED = "is fixed by the mapping, and is what tilings try: leave it out there (tile sizes to try: mapping.LAYER.tile.X)"
_KEPT: tuple[Tensor, ...] = ("input", "weight")
_LOOPS = (("N", "P", "Q"), ("K",), ("C", "R", "S"))  # the loops that the mapper permutes
Rank = tuple[int, int, int]  # cycles, bits off chip, place in the space


@dataclass(frozen=True)
class Candidates:
    """Legal tilings of one layer, one row each: ``tiles[tile]`` under ``orders[order]`` with ``keeps[keep]``."""

    tiles: Ints
    orders: tuple[Order, ...]
    keeps: tuple[frozenset[str], ...]
    tile: npt.NDArray[np.int64]
    order: npt.NDArray[np.int64]
    keep: npt.NDArray[np.int64]
    bound: Ints
    bits: Ints
    illegal: int

    def __len__(self) -> int:
        return len(self.tile)

    def ranking(self) -> npt.NDArray[np.intp]:
        """Rows from the most to the least promising."""
        return np.lexsort((np.arange(len(self)), self.bits, self.bound))

    def choice(self, row: int) -> dict[str, Any]:
        """A row as a user would fix it of a `LayerMapping`."""
        sizes = TileSizes(**dict(zip(DIMS, self.tiles[self.tile[row]].tolist(), strict=True)))
        return {"tile": sizes, "order": self.orders[self.order[row]], "keep": tuple(sorted(self.keeps[self.keep[row]]))}

    def label(self, row: int) -> dict[str, Any]:
        """A row in words."""
        sizes = self.tiles[self.tile[row]].tolist()
        words = (" ".join(self.orders[self.order[row]]), " ".join(sorted(self.keeps[self.keep[row]])))
        return dict(zip(KEYS[:-1], (*sizes, *words, int(self.bound[row])), strict=True))


# ---- the candidates of a layer --------------------------------------------------------------------------------------


def candidates(inputs: Inputs, wanted: Tilings) -> Candidates:
    """All tilings of the one layer of ``inputs``; `InfeasibleError` where it cannot run at all."""
    works = works_of(inputs)
    orders, keeps = _orders(wanted), _keeps(works[0], wanted)
    tiles = all_tiles(works[0], wanted, MOST_POINTS // (len(orders) * len(keeps)))
    distinct = _distinct_orders(tiles, works[0].nest, orders)
    cuts = [_Cut.of(work, tiles) for work in works]
    found, illegal, rate = [], 0, Fraction(inputs.arch.clock, works[0].arch.clock)
    for number, keep in enumerate(keeps):
        fit = [cut.fits(keep) for cut in cuts]
        ok = np.logical_or.reduce(fit)  # the batch may run in parts
        illegal += int(distinct[~ok].sum())
        for place, order in enumerate(orders):
            rows = np.flatnonzero(ok & distinct[:, place])
            bound, bits = _least(cuts, fit, rows, order, keep)
            bound = bound * rate.numerator // rate.denominator
            found.append((rows, np.full_like(rows, place), np.full_like(rows, number), bound, bits))
    columns = [np.concatenate(column) for column in zip(*found, strict=True)]
    by_place = np.lexsort((columns[2], columns[1], columns[0]))
    tile, order_ids, keep_ids, bound, bits = (column[by_place] for column in columns)
    return Candidates(tiles, orders, keeps, tile, order_ids, keep_ids, bound, bits, illegal)


@dataclass(frozen=True)
class _Cut:
    """Tiles as they cut one of the parts that the batch may run in, and the cycles that the unit takes for them."""

    work: Work
    tiles: Ints
    compute: Ints

    @classmethod
    def of(cls, work: Work, tiles: Ints) -> _Cut:
        from accelsim.sweep.bound import least_compute_cycles

        cut = tiles if work.parts == 1 else np.minimum(tiles, np.array(work.nest.dims, dtype=np.int64))
        return cls(work, cut, least_compute_cycles(work, cut))

    def fits(self, keep: frozenset[str]) -> npt.NDArray[np.bool_]:
        from accelsim.mapping.fit import fits
        from accelsim.mapping.machine import with_fewer_slots

        work, unit = self.work, cast(Any, self.work.unit)
        bounded = frozenset(level.name for level in work.arch.on_chip if level.size is not None)
        fewest = with_fewer_slots(work.arch, bounded)[-1]  # a tile may take the places of several
        unit = unit.fed(fewest)
        return fits(work.nest, self.tiles, fewest, unit, work.precision, work.dataflow, work.placement, keep)


def _least(
    cuts: Sequence[_Cut], fit: Sequence[npt.NDArray[np.bool_]], rows: npt.NDArray[np.intp], order: Order, keep: frozenset[str]
) -> tuple[Ints, Ints]:
    """Bounds on the cycles and off-chip bits of tiles: of the parts in which each fits, those that take the least."""
    from accelsim.sweep.bound import least_cycles, off_chip_bits

    bounds, moved = [], []
    for cut, legal in zip(cuts, fit, strict=True):
        tiles, parts = cut.tiles[rows], cut.work.parts
        bits = off_chip_bits(cut.work, tiles, order, keep)
        cycles = least_cycles(cut.work, tiles, cut.compute[rows], bits)
        bounds.append(np.where(legal[rows], parts * cycles, _NEVER))
        moved.append(np.where(legal[rows], parts * bits, _NEVER))
    return np.min(bounds, axis=0), np.min(moved, axis=0)


def works_of(inputs: Inputs) -> list[Work]:
    """The layer of ``inputs`` on its architecture; and where its batch may run in equal parts, one of each size."""
    from accelsim.engines.mapped import MappedEngine
    from accelsim.simulator import Simulator
    from accelsim.sweep.bound import Work

    network, mapping = inputs.ready()
    _refuse_fixed(mapping, network)
    names = [layer.name for layer in network.layers if any(isinstance(work, LoopNest) for work in lower(layer).work)]
    nests = [work for name in names for work in lower(network.layer(name)).work if isinstance(work, LoopNest)]
    post = Simulator(inputs.arch, mapping).posts(network)[names[0] if names else network.layers[0].name]
    if len(nests) != 1 or not isinstance(post.engine, MappedEngine) or _is_foreign(post.engine, nests[0]):
        raise InfeasibleError(
            f"layer {network.layers[-1].name}", demand="tilings of one loop nest",
            bound=f"{network.layers[-1].op.op} on {post.arch.name}",
            levers=("choose a convolution, a linear layer or a product", "an engine that follows a mapping"),
        )  # fmt: skip
    if post.arch.planned:
        raise InfeasibleError(
            f"tilings of layer {names[0]}", demand=f"planned moves over {len(post.arch.stages)} stages of {post.arch.name}",
            bound="requests as they come, over one: no bound is known for others",
            levers=(f"--vary mapping.{names[0]}.tile.K=...", "an architecture with one level on chip a tensor"),
        )  # fmt: skip
    layer = post.engine.built(network.layer(names[0]))
    unit, placement = post.engine.unit_of(layer, nests[0]), post.plan.placements[layer.name]
    able = [t for t in _KEPT if post.arch.holder(t) is not None]
    if len(network.layers) > 1:  # what stays on chip beside the nest depends on its tiles: all that could, at best
        placement = replace(placement, input_off_chip=Fraction(0), output_resident=True, reserved_bytes={})
    else:
        resident = {"weight": placement.weight_resident, "input": placement.input_resident}
        able = [tensor for tensor in able if not resident[tensor]]
    dataflow = mapping.of(layer.name).dataflow or unit.dataflow
    whole = Work(nests[0], post.arch, unit, layer.precision, dataflow, placement, tuple(able))
    chosen = {post.parts: post.engine.planned(post.layer(layer.name), post.plan)[0].mapping.tile}
    cut = _nests_in_parts(network, layer.name)
    return [replace(whole, nest=nest, parts=parts, chosen=chosen.get(parts)) for parts, nest in cut]


def _nests_in_parts(network: Network, name: str) -> Iterator[tuple[int, LoopNest]]:
    """Into how many equal parts the batch may be cut, and the nest of layer ``name`` in one of them; the whole first."""
    for parts in (1, *divisors(network.batch)[1:]):
        part = part_of(network, parts) if parts > 1 else network
        if part is not None:
            yield from ((parts, work) for work in lower(part.layer(name)).work if isinstance(work, LoopNest))


def _refuse_fixed(mapping: MappingFile, network: Network) -> None:
    """What tilings try must not be fixed as well."""
    fixed = [(layer.name, key) for layer in network.layers for key in mapping.of(layer.name).fixed() if key in _TRIED]
    if fixed:
        raise InputError(Fault("tilings", f"{name}.{key}", _FIXED) for name, key in fixed)


def _is_foreign(engine: MappedEngine, nest: LoopNest) -> bool:
    """Whether an engine runs a nest otherwise than by walking its schedule."""
    from accelsim.engines.mapped import MappedEngine

    return type(engine) is not MappedEngine and nest.private_weights


def all_tiles(work: Work, wanted: Tilings, most: int) -> Ints:
    """Every combination of tile sizes, and the mapper's own that the user does not rule out; int64[tiles, 8]."""
    axes = [_sizes(getattr(work.nest.dims, dim), dim, wanted) for dim in DIMS]
    count = prod(len(axis) for axis in axes)
    if count > most:
        told = f"has {count:,} tiles, at most {most:,} are taken with these orders and sets of kept tensors; say which sizes "
        told += f"to try, such as mapping.{wanted.layer}.tile.C=pow2:1:512"
        raise InputError(Fault("tilings", wanted.layer, told))
    grid = np.stack([axis.ravel() for axis in np.meshgrid(*axes, indexing="ij")], axis=1).astype(np.int64)
    return np.unique(np.concatenate([grid, _mapper_tiles(work, wanted, axes)]), axis=0)


def _mapper_tiles(work: Work, wanted: Tilings, axes: Sequence[Sequence[int]]) -> Ints:
    """What the automatic mapping would look at, and what it takes: divisors alone miss multiples of the array."""
    from accelsim.mapping.tiles import candidate_tiles

    machine: Any = work.unit
    tiles = candidate_tiles(work.nest, machine, work.dataflow, work.precision, LayerMapping())
    if work.chosen is not None:
        tiles = np.concatenate([tiles, np.array([work.chosen], dtype=np.int64)])
    for column, dim in enumerate(DIMS):
        if dim in wanted.tile:
            tiles = tiles[np.isin(tiles[:, column], axes[column])]
    return tiles


def _sizes(size: int, dim: str, wanted: Tilings) -> list[int]:
    """Sizes that the tiles of one dimension may have, none larger than the dimension."""
    values = wanted.tile.get(dim)
    if values is None or values.kind == "divisors":
        return list(divisors(size))
    wrong = [item for item in values.items if isinstance(item, bool) or not isinstance(item, int) or item < 1]
    if wrong:
        raise InputError(Fault("tilings", f"tile.{dim}", f"has {wrong[0]!r}, must be whole numbers of at least 1"))
    return sorted({min(size, item) for item in values.items})


def _orders(wanted: Tilings) -> tuple[Order, ...]:
    if not wanted.order:
        return tuple(("G", *(d for loop in loops for d in loop)) for loops in permutations(_LOOPS))
    found = []
    for text in wanted.order:
        order: Any = text
        try:
            found.append(LayerMapping(order=order).order)
        except ValueError:
            told = f'has "{text}", must name loop dimensions out of {" ".join(DIMS)}, each once'
            raise InputError(Fault("tilings", "order", told)) from None
    return tuple(dict.fromkeys(order for order in found if order is not None))


def _keeps(work: Work, wanted: Tilings) -> tuple[frozenset[str], ...]:
    if wanted.keep is not None:
        return tuple(dict.fromkeys(frozenset(kept) for kept in wanted.keep))
    sets = [frozenset(), *(frozenset((tensor,)) for tensor in work.keepable)]
    return tuple(sets + ([frozenset(work.keepable)] if len(work.keepable) == 2 else []))


def _distinct_orders(tiles: Ints, nest: LoopNest, orders: Sequence[Order]) -> npt.NDArray[np.bool_]:
    """Which orders to look at, bool[tiles, orders]: of those that differ only in loops of one turn the first."""
    turning = -(-np.array(nest.dims, dtype=np.int64) // tiles) > 1
    codes, back = np.unique(turning @ (1 << np.arange(len(DIMS))), return_inverse=True)
    table = np.zeros((len(codes), len(orders)), dtype=bool)
    for row, code in enumerate(codes):
        seen: dict[tuple[str, ...], int] = {}
        for number, order in enumerate(orders):
            seen.setdefault(tuple(dim for dim in order if code >> DIMS.index(dim) & 1), number)
        table[row, list(seen.values())] = True
    return table[back.ravel()]


# ---- running --------------------------------------------------------------------------------------------------------


def run_tilings(
    spec: Spec, *, jobs: int = 1, store: str | Path | None = None, scheduler: str | None = None,
    progress: Progress | None = None,
) -> SweepTable:  # fmt: skip
    """All tilings of the layer, for every network, architecture and key that the sweep varies beside them.

    ``counts`` of the table: ``points`` of the space, of which ``bounded`` could not win and were not run, ``illegal``
    fit no buffer, and the others were ``simulated`` or ``reused`` from the store. The table has a row for each of the
    last.
    """
    assert spec.tilings is not None
    _check_objective(spec, spec.tilings)
    with (
        Store(store) as kept,
        closing(open_backend(jobs, scheduler)) as backend,
        progress or Silent() as shown,
    ):
        return _Tilings(spec, spec.tilings, kept, backend, shown).table()


def _check_objective(spec: Spec, wanted: Tilings) -> None:
    first = (spec.objectives or (DEFAULT,))[0]
    if wanted.bound and (
        first.expression.text != "cycles" or first.maximize or spec.limits or len(spec.objectives) > 1
    ):
        told = f"is {first}, but only cycles, without limits, are bounded before a run; turn the bound off to run all"
        raise InputError(Fault("tilings", "objective", told))


@dataclass
class _Tilings:
    """One run."""

    spec: Spec
    wanted: Tilings
    store: Store
    backend: Backend
    progress: Progress
    labels: list[dict[str, Any]] = field(default_factory=list)
    outcomes: dict[int, Outcome] = field(default_factory=dict)
    bounded: int = 0
    illegal: int = 0
    points: int = 0

    def __post_init__(self) -> None:
        self.resolver = Resolver(self.spec)
        self.outer, self.excluded = list_points(self.spec, self.resolver)
        self.best = Best(self.spec)
        self.ledger = Ledger(self.store, self.backend, lambda number: self.labels[number], self._settle)

    def table(self) -> SweepTable:
        try:
            for point in self.outer:
                self._one(point)
        except KeyboardInterrupt:
            self.ledger.rescue()
            raise SweepInterrupted(len(self.outcomes), self.points, self.store) from None
        except StoppedError as error:
            raise StoppedError(f"{error}: {done_so_far(len(self.outcomes), self.points, self.store)}") from None
        numbers = range(len(self.labels))
        keys = (*self.spec.keys, *KEYS)
        rows: list[Row] = make_rows(self.labels, [self.outcomes[n] for n in numbers], keys, self.spec.limits)
        counts = {
            "points": self.points, **statuses(rows), "simulated": self.ledger.simulated,
            "reused": len(rows) - self.ledger.simulated, "bounded": self.bounded,
            "illegal": self.illegal, "excluded": self.excluded,
        }  # fmt: skip
        objectives: tuple[Objective, ...] = self.best.objectives
        return SweepTable(keys, rows, counts, objectives, tuple(self.resolver.notes))

    def _one(self, point: Point) -> None:
        """The tilings of one network on one architecture."""
        try:
            inputs = self.resolver.inputs(point)
            found = candidates(inputs, self.wanted)
        except AccelsimError as error:
            if len(self.outer) == 1:
                raise
            self._reject(point, error)
            return
        self.illegal += found.illegal
        self.points += len(found) + found.illegal
        self.progress.start(self.points)
        self._rounds(point, inputs, found)

    def _reject(self, point: Point, error: AccelsimError) -> None:
        """An architecture on which the layer does not run: one row says why."""
        self.points += 1
        self.labels.append(point_label(point))
        status = "illegal" if isinstance(error, InputError) else "infeasible"
        self._settle(len(self.labels) - 1, Outcome(status, str(error).replace("\n", "; ")))  # type: ignore[arg-type]

    def _rounds(self, point: Point, inputs: Inputs, found: Candidates) -> None:
        """From the lowest bound on, until no tiling that is left can be among the best."""
        ranking, best, place = found.ranking(), list[Rank](), 0
        run: list[int] = []
        while place < len(ranking):
            if self.wanted.bound and len(best) == self.wanted.top and _hopeless(found, int(ranking[place]), best[-1]):
                break
            rows = [int(row) for row in ranking[place : place + ROUND]]
            place += len(rows)
            if self.wanted.bound and len(best) == self.wanted.top:
                rows = [row for row in rows if not _hopeless(found, row, best[-1])]
            ranks = self._run(point, inputs, found, rows)
            best = sorted([*best, *ranks])[: self.wanted.top]
            run += rows
        self.bounded += len(ranking) - len(run)
        self.progress.done(len(ranking) - len(run), self.best.value)

    def _run(self, point: Point, inputs: Inputs, found: Candidates, rows: Sequence[int]) -> list[Rank]:
        """Simulate some rows; where each of them that ran stands."""
        first = len(self.labels)
        holds = {HOLDS_FOR: "cycles" if self.wanted.bound else ALL_COLUMNS}
        self.labels += [{**point_label(point), **found.label(row), **holds} for row in rows]
        self.ledger.run(self._inputs(inputs, found, rows, first))
        ranks = []
        for number, row in enumerate(rows, start=first):
            outcome = self.outcomes[number]
            if outcome.status == "ok":
                ranks.append((_checked_cycles(outcome, found, row), int(found.bits[row]), row))
        return ranks

    def _inputs(
        self, inputs: Inputs, found: Candidates, rows: Sequence[int], first: int
    ) -> Iterator[tuple[int, Inputs]]:
        layer, whole = self.wanted.layer, inputs.mapping
        own = whole.layers.get(layer, LayerMapping())
        for number, row in enumerate(rows, start=first):
            layers = {**whole.layers, layer: own.model_copy(update=found.choice(row))}
            yield number, replace(inputs, mapping=whole.model_copy(update={"layers": layers}))

    def _settle(self, number: int, outcome: Outcome) -> None:
        self.outcomes[number] = outcome
        if outcome.status == "ok":
            row: Mapping[str, Any] = {**self.labels[number], **outcome.metrics}
            self.best.see(row)
        self.progress.done(1, self.best.value)


def _checked_cycles(outcome: Outcome, found: Candidates, row: int) -> int:
    """The cycles of a run, which its bound must not exceed: else something that would have won may not have been run."""
    cycles, bound = int(outcome.metrics["cycles"] or 0), int(found.bound[row])
    if cycles < bound:
        told = f"{found.label(row)} ran in {cycles} cycles, below its bound of {bound}"
        raise InvariantError(f"tilings: {told}; this is a defect of accelsim, please report it")
    return cycles


def _hopeless(found: Candidates, row: int, worst: Rank) -> bool:
    """Whether a row cannot come before ``worst``, whatever it takes beyond its bound."""
    return (int(found.bound[row]), int(found.bits[row]), row) > worst


__all__ = ["Candidates", "candidates", "run_tilings", "works_of"]
