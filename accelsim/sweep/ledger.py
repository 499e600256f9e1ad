"""Between those who want points and those who run them: looks up, packs, sends, saves, hands over.

Every point goes in once as (number, inputs) and comes out once as (number, outcome): from the store, from a run, or
from an equal point before it. An outcome is in the store before it is handed over.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from time import perf_counter
from typing import Any

from accelsim.errors import InvariantError
from accelsim.sweep.evaluate import make_batch, run_batch
from accelsim.sweep.inputs import Inputs, model_version
from accelsim.sweep.pool import Backend, Pool, Results
from accelsim.sweep.store import Entry, Outcome, Store

BATCH_SECONDS = 0.5  # of work in a batch: what a kill may lose, and what hides the way there
MOST_IN_BATCH = 64
AHEAD = 200  # points that are looked up at a time
MOST_DEFECTS = 20
WARMING = 3  # points that are tried here for one that compiles the kernels, before processes start


@dataclass
class Ledger:
    """Settles points; ``label`` says in words what a point is, ``settle`` takes every outcome."""

    store: Store
    backend: Backend
    label: Callable[[int], Mapping[str, Any]]
    settle: Callable[[int, Outcome], None]
    simulated: int = 0
    _keys: dict[int, bytes] = field(default_factory=dict)
    _twins: dict[bytes, list[int]] = field(default_factory=dict)
    _known: dict[bytes, Outcome] = field(default_factory=dict)
    _unsaved: list[Entry] = field(default_factory=list)
    _seconds_each: float = BATCH_SECONDS
    _warm: bool = False
    _defects: int = 0

    def run(self, wanted: Iterable[tuple[int, Inputs]]) -> None:
        """Settle every point of ``wanted``."""
        missing = self._missing(iter(wanted))
        if isinstance(self.backend, Pool) and not self._warm:
            self._warm_up(missing)
        started, done = perf_counter(), 0
        for results in self.backend.run(make_batch(batch) for batch in self._batches(missing)):
            self._receive(results)
            done += len(results)
            self._seconds_each = (perf_counter() - started) * self.backend.workers / done

    def rescue(self) -> None:
        """After an interrupt: save what is done."""
        for results in self.backend.leftovers():
            self._receive(results)
        self._save()

    def _missing(self, wanted: Iterator[tuple[int, Inputs]]) -> Iterator[tuple[int, Inputs]]:
        """Points that have to be run: not in the store, and not the same as one before."""
        while some := list(islice(wanted, AHEAD)):
            keys = {number: inputs.key for number, inputs in some}
            found = self.store.get([key for key in dict.fromkeys(keys.values()) if key not in self._twins])
            for number, inputs in some:
                key = keys[number]
                if key in found:
                    self.settle(number, found[key])
                elif key in self._twins:
                    self._join(number, key)
                else:
                    self._keys[number] = key
                    self._twins[key] = [number]
                    yield number, inputs

    def _join(self, number: int, key: bytes) -> None:
        """The same point again: it gets the outcome of the first, now or when it comes."""
        if key in self._known:
            self.settle(number, self._known[key])
        else:
            self._twins[key].append(number)

    def _batches(self, missing: Iterator[tuple[int, Inputs]]) -> Iterator[list[tuple[int, Inputs]]]:
        """Points in groups of about `BATCH_SECONDS`, by what points took so far."""
        while True:
            size = max(1, min(MOST_IN_BATCH, int(BATCH_SECONDS / self._seconds_each)))
            batch = list(islice(missing, size))
            if not batch:
                return
            yield batch

    def _warm_up(self, missing: Iterator[tuple[int, Inputs]]) -> None:
        """Compile the kernels here, so that the processes find them: they would all compile them at once."""
        for numbered in islice(missing, WARMING):
            results = run_batch(make_batch([numbered]))
            self._receive(results)
            if results[0][1].status == "ok":
                self._warm = True
                return

    def _receive(self, results: Results) -> None:
        """Outcomes from a batch: into the store, then to whoever asked for them."""
        model = model_version()
        self._unsaved += [Entry(self._keys[n], model, outcome, self.label(n)) for n, outcome in results]
        self._save()
        self.simulated += len(results)
        self._give_up_on_defects(results)
        for number, outcome in results:
            key = self._keys[number]
            self._known[key] = outcome
            for twin in self._twins[key]:
                self.settle(twin, outcome)

    def _give_up_on_defects(self, results: Results) -> None:
        """A defect of accelsim that every point shows is told at once, not a hundred thousand times."""
        self._defects += sum(outcome.status == "defect" for _, outcome in results)
        if self._defects == self.simulated >= MOST_DEFECTS:
            raise InvariantError(f"the first {self.simulated} points all failed: {results[-1][1].reason}")

    def _save(self) -> None:
        self.store.add(self._unsaved)
        self._unsaved = []
