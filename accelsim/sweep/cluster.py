"""Batches on a Dask cluster (extra ``cluster``): any scheduler's address, workers that come, go and die.

Every worker needs the same accelsim as this process; what a worker runs comes with the batch, so the workers need
none of the sweep's files (in values mode: but those of the operands).
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from accelsim.errors import Fault, InputError
from accelsim.sweep.evaluate import Batch, run_batch
from accelsim.sweep.inputs import model_version
from accelsim.sweep.pool import TRIES, Results
from accelsim.sweep.store import Outcome, StoppedError

FLAG = "--scheduler"
_LOG = logging.getLogger("distributed.client")
CONNECT_SECONDS = 15
CLOSE_SECONDS = 5


@dataclass
class Cluster:
    """The workers behind a scheduler's address."""

    address: str
    _client: Any = None
    _under_way: dict[Any, tuple[Batch, int]] = field(default_factory=dict)

    @property
    def workers(self) -> int:
        with self._reached():
            workers = self._connected().scheduler_info(-1)["workers"].values()
        return max(1, sum(int(worker["nthreads"]) for worker in workers))

    def run(self, batches: Iterator[Batch]) -> Iterator[Results]:
        loop = self._connected().loop  # first: it says so where Dask is not installed

        from distributed import as_completed

        queue: Any = as_completed(loop=loop)  # type: ignore[no-untyped-call]
        for batch in self._next(batches):
            queue.add(self._submit(batch, 0))
        while self._under_way:
            with self._reached():
                future = next(queue)
                answer = self._answer(future)
            batch, failures = self._under_way.pop(future)
            if answer is not None:
                yield _checked(answer, self.address)
            for single, tried in _singles(batch, failures + 1) if answer is None else ():
                if tried >= TRIES:
                    yield [(job.number, _CRASHED) for job in single.jobs]
                else:
                    queue.add(self._submit(single, tried))
            for following in self._next(batches):
                queue.add(self._submit(following, 0))

    def _answer(self, future: Any) -> tuple[str, Results] | None:
        """What came back of a batch; None where the workers that had it died."""
        from distributed import CancelledError, KilledWorker

        try:
            answer: tuple[str, Results] = future.result()
        except (KilledWorker, CancelledError):
            if self._client.status != "running":
                raise OSError("it closed the connection") from None
            return None
        return answer

    @contextmanager
    def _reached(self) -> Iterator[None]:
        """Around what needs the scheduler: says so where it is gone."""
        try:
            yield
        except OSError as error:
            told = (str(error) or type(error).__name__).splitlines()[0]
            raise StoppedError(f"{FLAG}: {self.address}: the scheduler is gone ({told})") from None

    def _next(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        """As many batches as keep every worker busy, those that have joined meanwhile too."""
        room = 2 * self.workers - len(self._under_way)
        while room > 0:
            batch = next(batches, None)
            if batch is None:
                return
            yield batch
            room -= 1

    def _submit(self, batch: Batch, failures: int) -> Any:
        with self._reached():
            future = self._connected().submit(_run, batch, pure=False)
        self._under_way[future] = (batch, failures)
        return future

    def _connected(self) -> Any:
        if self._client is None:
            try:
                from distributed import Client
            except ImportError:
                raise InputError(Fault(FLAG, "", "needs Dask: pip install 'accelsim[cluster]'")) from None
            try:
                make: Any = Client
                _LOG.setLevel(logging.CRITICAL)  # what it has to say of a lost scheduler is a traceback; `_reached` says it
                self._client = make(self.address, timeout=CONNECT_SECONDS, set_as_default=False)
            except (OSError, ValueError, TypeError) as error:
                raise InputError(Fault(FLAG, self.address, f"cannot be reached: {error}")) from None
        return self._client

    def leftovers(self) -> list[Results]:
        return [_checked(future.result(), self.address) for future in self._under_way if future.status == "finished"]

    def close(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            with suppress(OSError, TimeoutError):  # gone already
                client.cancel(list(self._under_way))
                client.close(timeout=CLOSE_SECONDS)


_CRASHED = Outcome("defect", f"lost with the workers that ran it, {TRIES} times")


def _run(batch: Batch) -> tuple[str, Results]:
    return model_version(), run_batch(batch)


def _checked(answer: tuple[str, Results], address: str) -> Results:
    version, results = answer
    if version != model_version():
        told = f"its workers run accelsim {version}, this is {model_version()}: install the same on both"
        raise InputError(Fault(FLAG, address, told))
    return results


def _singles(batch: Batch, failures: int) -> list[tuple[Batch, int]]:
    """A batch whose workers died, as single jobs: those not to blame shall not suffer for it."""
    if len(batch.jobs) == 1:
        return [(batch, failures)]
    return [(Batch((job,), batch.workloads), 0) for job in batch.jobs]
