"""How a long sweep is doing, on standard error when that is a terminal: done, rate, time left, the best so far."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Protocol

from accelsim.report.words import significant
from accelsim.sweep.objective import Objective


class Progress(Protocol):
    """Told of every point that is done."""

    def start(self, total: int) -> None: ...

    def done(self, count: int, best: float | None) -> None: ...

    def __enter__(self) -> Progress: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Silent:
    """No progress is shown."""

    def start(self, total: int) -> None:
        del total

    def done(self, count: int, best: float | None) -> None:
        del count, best

    def __enter__(self) -> Silent:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del kind, error, trace


class Bar:
    """A bar on a terminal."""

    def __init__(self, console: Any, objective: Objective) -> None:
        from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Bars

        self._objective = objective
        self._bars = Bars(
            BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[rate]}"), TimeRemainingColumn(),
            TextColumn("{task.fields[best]}"), console=console, transient=True,
        )  # fmt: skip
        self._task = self._bars.add_task("sweep", total=None, rate="", best="")

    def start(self, total: int) -> None:
        self._bars.update(self._task, total=total)

    def done(self, count: int, best: float | None) -> None:
        self._bars.update(self._task, advance=count)
        speed = self._bars.tasks[0].speed
        shown = "" if best is None else f"best {self._objective.expression} {significant(best)}"
        self._bars.update(self._task, rate=f"{significant(speed)} points/s" if speed else "", best=shown)

    def __enter__(self) -> Bar:
        self._bars.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        del kind, error, trace
        self._bars.stop()


def progress_on_terminal(objective: Objective) -> Progress:
    """A bar if standard error is a terminal, else nothing."""
    import sys

    if not sys.stderr.isatty():
        return Silent()
    from rich.console import Console

    return Bar(Console(stderr=True), objective)
