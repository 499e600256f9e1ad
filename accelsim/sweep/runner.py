"""Runs a sweep: points through the store to whoever runs them, and back into a table in the order of the space.

The order of work, the number of processes and where they are change nothing in the table: every outcome goes to the
place of its point. What is done is in the store before it is counted as done.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from accelsim.errors import Fault, InputError, nearest
from accelsim.sweep.expression import EvaluationError
from accelsim.sweep.inputs import Inputs, Point, Resolver, SpaceBase
from accelsim.sweep.ledger import Ledger
from accelsim.sweep.objective import Objective
from accelsim.sweep.pool import Backend, Here, Pool
from accelsim.sweep.progress import Progress, Silent
from accelsim.sweep.spec import Spec
from accelsim.sweep.store import Outcome, StoppedError, Store
from accelsim.sweep.table import DEFAULT, SweepTable, make_rows, statuses

MOST_FAULTS = 20
MOST_POINTS = 1_000_000  # in memory, and days of simulation
MOST_GRID = 10_000_000  # that are walked where constraints leave points out: minutes


class SweepInterrupted(KeyboardInterrupt):
    """Ctrl-C: ``done`` of ``total`` points are saved if there is a store."""

    def __init__(self, done: int, total: int, store: Store) -> None:
        self.done, self.total = done, total
        super().__init__(f"interrupted: {done_so_far(done, total, store)}")


def done_so_far(done: int, total: int, store: Store) -> str:
    """What has become of the points that are done when a sweep ends before its end."""
    kept = f"kept in {store.path}; the same command goes on from there" if store.lasts else "lost: use --store FILE"
    return f"{done} of {total} points are done, {kept}"


def open_backend(jobs: int = 1, scheduler: str | None = None) -> Backend:
    """Who runs the points."""
    if scheduler is not None:
        from accelsim.sweep.cluster import Cluster

        return Cluster(scheduler)
    return Pool(jobs) if jobs > 1 else Here()


def run_sweep(
    spec: Spec, *, jobs: int = 1, store: str | Path | None = None, scheduler: str | None = None,
    progress: Progress | None = None,
) -> SweepTable:  # fmt: skip
    """Run every point of ``spec`` that ``store`` does not know, and return all of them.

    Raises
    ------
    InputError        bad input; also when no point at all is legal.
    SweepInterrupted  Ctrl-C; what was done is in the store.
    """
    with (
        Store(store) as kept,
        closing(open_backend(jobs, scheduler)) as backend,
        progress or Silent() as shown,
    ):
        return _Run(spec, kept, backend, shown).table()


def list_points(spec: Spec, resolver: Resolver) -> tuple[list[Point], int]:
    """Every point in the order of the table, and how many of the grid the constraints exclude."""
    pairs = [(network, arch) for network in spec.networks for arch in spec.archs]
    _refuse_many(len(pairs) * spec.space.size, MOST_GRID if spec.space.where else MOST_POINTS)
    points, excluded = list[Point](), 0
    for network, arch in pairs:
        resolver.inputs(Point(network, arch))  # the inputs themselves must be in order
        try:
            for assignment, left_out in spec.space.walk(SpaceBase(resolver, network, arch)):
                excluded += left_out
                points += [] if assignment is None else [Point(network, arch, assignment)]
                _refuse_many(len(points), MOST_POINTS)
        except EvaluationError as error:
            raise InputError(Fault("where", "", str(error))) from None
    return points, excluded


def _refuse_many(count: int, most: int) -> None:
    if count > most:
        told = f"makes {count:,} points or more, at most {most:,} are taken"
        raise InputError(Fault("sweep", "vary", f"{told}: vary fewer keys or values, or look for good points with search"))


def point_label(point: Point) -> dict[str, Any]:
    """A point in words: the first columns of its row."""
    inputs = {"network": point.network, "architecture": point.arch} if point.network else {}
    return {**inputs, **point.assignment}


@dataclass
class Best:
    """The best value of an objective so far; the first row also tells whether the columns that are asked for exist."""

    spec: Spec
    value: float | None = None
    _checked: bool = False

    @property
    def objectives(self) -> tuple[Objective, ...]:
        return self.spec.objectives or (DEFAULT,)

    def see(self, row: Mapping[str, Any]) -> None:
        """Take note of a row that ran."""
        if not self._checked:
            self._check(row)
        objective = self.objectives[0]
        try:
            value = objective.value(row)
        except EvaluationError:
            return
        if self.value is None or (value > self.value if objective.maximize else value < self.value):
            self.value = value

    def _check(self, row: Mapping[str, Any]) -> None:
        self._checked = True
        wanted = [("objective", o.expression) for o in self.spec.objectives]
        wanted += [("where", limit) for limit in self.spec.limits]
        faults = [
            Fault(
                what,
                key,
                f"is no column of the results{nearest(key, row) or '; there are ' + ', '.join(row)}",
            )
            for what, expression in wanted
            for key in expression.keys
            if key not in row
        ]
        if faults:
            raise InputError(faults)


@dataclass
class _Run:
    """One run of a sweep."""

    spec: Spec
    store: Store
    backend: Backend
    progress: Progress
    outcomes: dict[int, Outcome] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.resolver = Resolver(self.spec)
        self.points, self.excluded = list_points(self.spec, self.resolver)
        self.best = Best(self.spec)
        self.ledger = Ledger(self.store, self.backend, lambda n: point_label(self.points[n]), self._settle)

    def table(self) -> SweepTable:
        self.progress.start(len(self.points))
        try:
            self.ledger.run(self._resolved())
        except KeyboardInterrupt:
            self.ledger.rescue()
            raise SweepInterrupted(len(self.outcomes), len(self.points), self.store) from None
        except StoppedError as error:
            raise StoppedError(f"{error}: {done_so_far(len(self.outcomes), len(self.points), self.store)}") from None
        self._refuse_if_nothing_is_legal()
        return self._table()

    def _resolved(self) -> Iterator[tuple[int, Inputs]]:
        """Points with their inputs; illegal ones are settled at once."""
        for number, point in enumerate(self.points):
            try:
                yield number, self.resolver.inputs(point)
            except InputError as error:
                if any(fault.message.startswith("unknown key") for fault in error.faults):
                    raise
                self._settle(number, Outcome("illegal", "; ".join(str(fault) for fault in error.faults)))

    def _settle(self, number: int, outcome: Outcome) -> None:
        self.outcomes[number] = outcome
        if outcome.status == "ok":
            self.best.see({**point_label(self.points[number]), **outcome.metrics})
        self.progress.done(1, self.best.value)

    def _table(self) -> SweepTable:
        numbers = range(len(self.points))
        rows = make_rows(
            [point_label(point) for point in self.points], [self.outcomes[number] for number in numbers],
            self.spec.keys, self.spec.limits,
        )  # fmt: skip
        illegal = sum(outcome.status == "illegal" for outcome in self.outcomes.values())
        counts = {
            "points": len(rows), **statuses(rows), "simulated": self.ledger.simulated,
            "reused": len(rows) - self.ledger.simulated - illegal, "excluded": self.excluded,
        }  # fmt: skip
        return SweepTable(self.spec.keys, rows, counts, self.best.objectives, tuple(self.resolver.notes))

    def _refuse_if_nothing_is_legal(self) -> None:
        reasons = [o.reason for _, o in sorted(self.outcomes.items()) if o.status == "illegal"]
        if self.points and len(reasons) == len(self.points):
            told = list(dict.fromkeys(reasons))[:MOST_FAULTS]
            raise InputError(Fault("sweep", "", f"no point is legal: {reason}") for reason in told)
