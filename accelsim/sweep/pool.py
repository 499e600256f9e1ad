"""Where batches run: in this process, or in processes of this machine.

Processes are spawned, never forked (numba's threads do not survive a fork). One that dies takes its batches' turn,
not the sweep: the pool is started anew and what was under way is tried again, at last one by one, so that a point
that kills its process is found out and told.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from typing import Protocol

from accelsim.sweep.evaluate import Batch, run_batch
from accelsim.sweep.store import Outcome

Results = list[tuple[int, Outcome]]
TRIES = 3
_ONE_THREAD = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS")


class Backend(Protocol):
    """Something that runs batches, in whatever order."""

    @property
    def workers(self) -> int:
        """How many batches run at a time."""

    def run(self, batches: Iterator[Batch]) -> Iterator[Results]:
        """The results of every batch, as they come."""

    def leftovers(self) -> list[Results]:
        """After an interrupt: what was done and not yet handed over."""

    def close(self) -> None:
        """Let go of everything; batches under way are given up."""


@dataclass
class Here:
    """One batch after the other, in this process."""

    workers: int = 1

    def run(self, batches: Iterator[Batch]) -> Iterator[Results]:
        for batch in batches:
            yield run_batch(batch)

    def leftovers(self) -> list[Results]:
        return []

    def close(self) -> None:
        return


@dataclass(frozen=True)
class _Attempt:
    batch: Batch
    failures: int = 0


@dataclass
class Pool:
    """``workers`` processes of this machine."""

    workers: int
    _executor: ProcessPoolExecutor | None = None
    _under_way: dict[Future[Results], _Attempt] = field(default_factory=dict)
    _again: deque[_Attempt] = field(default_factory=deque)

    def run(self, batches: Iterator[Batch]) -> Iterator[Results]:
        more = True
        while True:
            while more and not self._again and len(self._under_way) < 2 * self.workers:
                batch = next(batches, None)
                more = batch is not None
                if batch is not None:
                    self._submit(_Attempt(batch))
            if self._again and not self._under_way:  # suspects run alone
                self._submit(self._again.popleft())
            if not self._under_way:
                return
            yield from self._finished()

    def _submit(self, attempt: _Attempt) -> None:
        if self._executor is None:
            self._executor = _new_executor(self.workers)
        try:
            self._under_way[self._executor.submit(run_batch, attempt.batch)] = attempt
        except BrokenProcessPool:  # it broke before we noticed
            self._again.append(attempt)
            self._restart()

    def _finished(self) -> Iterator[Results]:
        done, _ = wait(self._under_way, return_when=FIRST_COMPLETED)
        broken = False
        for future in done:
            if isinstance(future.exception(), BrokenProcessPool):
                broken = True
                continue
            results = future.result()
            del self._under_way[future]
            yield results
        if broken:
            yield from self._restart()

    def _restart(self) -> list[Results]:
        """A process died: start anew, and put what was under way aside to be run again, one by one."""
        for attempt in self._under_way.values():
            self._again.extend(_halves(_Attempt(attempt.batch, attempt.failures + 1)))
        self._under_way.clear()
        self._stop()
        lost = [a for a in self._again if a.failures >= TRIES]
        self._again = deque(a for a in self._again if a.failures < TRIES)
        return [[(job.number, _CRASHED) for job in attempt.batch.jobs] for attempt in lost]

    def leftovers(self) -> list[Results]:
        done = [f for f in self._under_way if f.done() and not f.cancelled() and f.exception() is None]
        return [future.result() for future in done]

    def close(self) -> None:
        self._stop()

    def _stop(self) -> None:
        if self._executor is None:
            return
        processes = list((self._executor._processes or {}).values())
        self._executor.shutdown(wait=False, cancel_futures=True)
        for process in processes:  # what they are at is given up
            process.terminate()
        for process in processes:
            process.join()
        self._executor = None


_CRASHED = Outcome("defect", f"killed the process that ran it, {TRIES} times")


def _halves(attempt: _Attempt) -> list[_Attempt]:
    """A batch that failed, as single jobs: one of them is to blame, and the others shall not suffer for it."""
    if len(attempt.batch.jobs) == 1:
        return [attempt]
    return [_Attempt(Batch((job,), attempt.batch.workloads)) for job in attempt.batch.jobs]


def _new_executor(workers: int) -> ProcessPoolExecutor:
    for name in _ONE_THREAD:  # the children inherit it: threads beside processes only slow one another
        os.environ.setdefault(name, "1")
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(workers, mp_context=context, initializer=_prepare)


def _prepare() -> None:
    """In a new process: the terminal's Ctrl-C is the parent's to handle, and nobody outlives the parent."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()


def _follow_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)
