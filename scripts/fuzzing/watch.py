"""Runs cases in processes of their own, and tells what must not happen from what may.

A command may end with status 0, or with 1 or 2 and a sentence. Anything else is *foreign*: another exception, a law that
accelsim's own run broke, a warning that Python prints, more than `SECONDS` of processor time, more than `BYTES` of memory.
"""

from __future__ import annotations

import contextlib
import io
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path

from fuzzing.cases import Case, case_of, furnish

SECONDS = 5
BYTES = 1 << 30
SILENT_SECONDS = 60  # that a process may say nothing: it sleeps, or the machine is very busy


def foreign(case: Case) -> str:
    """Run one case here; what went wrong that must not, or nothing."""
    from accelsim.cli import main

    out, err = io.StringIO(), io.StringIO()
    with warnings.catch_warnings(record=True) as said, contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        warnings.simplefilter("always")
        for category in (DeprecationWarning, PendingDeprecationWarning, ImportWarning, ResourceWarning):
            warnings.simplefilter("ignore", category)  # as Python does where nobody asks for them
        try:
            status = main(case.arguments)
        except SystemExit as leaving:  # argparse
            status = leaving.code
        except BaseException:
            return traceback.format_exc()
        finally:
            _close_figures()
    if said:
        return f"warned: {said[0].category.__name__}: {said[0].message} ({said[0].filename}:{said[0].lineno})"
    return _unsaid(status, out.getvalue(), err.getvalue())


def _close_figures() -> None:
    """matplotlib keeps every figure of a process; a command has one."""
    if "matplotlib.pyplot" in sys.modules:
        sys.modules["matplotlib.pyplot"].close("all")


def _unsaid(status: object, out: str, err: str) -> str:
    if status not in (0, 1, 2):
        return f"exit status {status!r}"
    if any(sign in err for sign in ("a defect of accelsim", "points failed", "Traceback")):
        return err
    return f"exit status {status} without a word" if status and not (out + err).strip() else ""


def put(case: Case, folder: Path) -> None:
    """The case's file where its command looks for it."""
    if case.name:
        (folder / case.name).write_bytes(case.content)


def run_all(seed: int, numbers: Iterable[int], jobs: int, only: tuple[str, ...] = ()) -> Iterator[tuple[int, str, str]]:
    """(number, kind, what was foreign about it) of every case, in no order."""
    waiting = iter(numbers)
    workers = [_Worker(seed, only) for _ in range(jobs)]
    try:
        for worker in workers:
            worker.take(next(waiting, None))
        while busy := [worker for worker in workers if worker.number is not None]:
            wait([worker.line for worker in busy], timeout=1)
            for worker in busy:
                found = worker.answer()
                if found is not None:
                    yield worker.number or 0, *found
                    worker.take(next(waiting, None))
    finally:
        for worker in workers:
            worker.stop()


class _Worker:
    """A process that runs one case after the other, started anew when it dies."""

    def __init__(self, seed: int, only: tuple[str, ...]) -> None:
        self._arguments = (seed, only)
        self.number: int | None = None
        self.kind = ""
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self.line, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, *self._arguments), daemon=True)
        self._process.start()
        theirs.close()
        self._patience = 10 * SILENT_SECONDS  # until it has warmed up

    def take(self, number: int | None) -> None:
        self.number, self._since = number, time.monotonic()
        if number is not None:
            self.line.send(number)

    def answer(self) -> tuple[str, str] | None:
        """The kind and what was found, None while it is at it."""
        try:
            if self.line.poll():
                self.kind, found = self.line.recv()
                if found is None:  # it has warmed up, or its case begins
                    self._since, self._patience = time.monotonic(), SILENT_SECONDS
                    return None
                return self.kind, found
        except (EOFError, OSError):
            return self._died()
        if time.monotonic() - self._since > self._patience:
            self._process.kill()
            return self._died("hangs, without using the processor")
        return None

    def _died(self, words: str = "") -> tuple[str, str]:
        self._process.join(10)
        code = self._process.exitcode
        self._start()
        if code == -signal.SIGXCPU:
            words = f"took more than {SECONDS} s of processor time"
        return self.kind, words or f"the process died with status {code}"

    def stop(self) -> None:
        self._process.kill()
        self._process.join(10)


def _serve(line: Connection, seed: int, only: tuple[str, ...]) -> None:
    """A worker's life: warm up, then numbers in and findings out."""
    sys.stdin.close()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.chdir(folder)
        furnish(folder)
        for arch in ("demo", "tree", "sparse"):
            foreign(Case("words", ("simulate", "mlp.yaml", "--arch", f"{arch}.yaml", "--values")))
            foreign(Case("words", ("simulate", "everything.yaml", "--arch", f"{arch}.yaml")))
        most = _data_bytes() + BYTES
        resource.setrlimit(resource.RLIMIT_DATA, (most, most))
        line.send(("", None))
        with contextlib.suppress(EOFError):
            while True:
                number = line.recv()
                case = case_of(seed, number, only)
                put(case, folder)
                line.send((case.kind, None))
                used = resource.getrusage(resource.RUSAGE_SELF)
                resource.setrlimit(
                    resource.RLIMIT_CPU, (int(used.ru_utime + used.ru_stime) + SECONDS + 1, resource.RLIM_INFINITY)
                )
                line.send((case.kind, foreign(case)))


def _data_bytes() -> int:
    """What this process has for its data already."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return 0
