"""The tree of everything that accelsim raises on purpose.

::

    AccelsimError
    ├── InputError        bad input: one or more `Fault`s, each with its place          (exit status 2)
    ├── InfeasibleError   well formed, but cannot be done: demand, bound, levers        (exit status 1)
    └── InvariantError    a run broke a law that every run must keep; nothing is reported (exit status 1)

A user's mistake is never an ``assert`` and never a traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass


class AccelsimError(Exception):
    """Base of all errors that accelsim raises on purpose."""

    exit_status = 1


@dataclass(frozen=True)
class Fault:
    """One thing wrong with an input: where it is, and what to do about it.

    ``line`` and ``column`` count from 1; 0 means that the place has none (a command-line value, say).
    """

    source: str
    key: str
    message: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        place = f"{self.source}:{self.line}:{self.column}" if self.line else self.source
        return _on_one_line(f"{place}: {self.key}: {self.message}" if self.key else f"{place}: {self.message}")


def _on_one_line(text: str) -> str:
    """Control characters, which a key or value of the input may hold, as escapes: a fault is a line."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape", "surrogatepass").decode() for c in text)


class InputError(AccelsimError):
    """Bad input. Carries every fault that was found, so that they can be mended at once."""

    exit_status = 2

    def __init__(self, faults: Fault | Iterable[Fault]) -> None:
        self.faults: tuple[Fault, ...] = (faults,) if isinstance(faults, Fault) else tuple(faults)
        super().__init__("\n".join(str(fault) for fault in self.faults))


class InfeasibleError(AccelsimError):
    """Well-formed work that the hardware as described cannot do.

    Parameters
    ----------
    what:    the thing that does not fit, e.g. ``"layer conv1: input tile in unified_buffer"``.
    demand:  what it asks for, with its unit.
    bound:   what there is, with its unit.
    levers:  what the user may turn to make it fit, most promising first.
    """

    def __init__(self, what: str, *, demand: str, bound: str, levers: Sequence[str]) -> None:
        self.what, self.demand, self.bound, self.levers = what, demand, bound, tuple(levers)
        turn = "; ".join(self.levers)
        super().__init__(f"{what}: asks for {demand}, there is {bound}" + (f"; try: {turn}" if turn else ""))


class InvariantError(AccelsimError):
    """A finished run broke a law of conservation; its figures are not reported.

    This is a defect of accelsim, never of the input: please report it with the command that showed it.
    """


def nearest(word: str, known: Iterable[str]) -> str:
    """Return ``' (did you mean "x"?)'`` for the known word closest to ``word``, or an empty string."""
    close = difflib.get_close_matches(str(word), [str(k) for k in known], n=1, cutoff=0.6)
    return f' (did you mean "{close[0]}"?)' if close else ""


def join_allowed(known: Iterable[object]) -> str:
    """Return the allowed words as ``a, b or c``."""
    words = [str(word) for word in known] or ["nothing"]
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
