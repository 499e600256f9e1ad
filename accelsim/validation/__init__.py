"""Published tables against the simulator, one module a paper."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module

from accelsim.errors import Fault, InputError, nearest
from accelsim.validation.outcome import Outcome, Row

VALIDATIONS = ("rtl", "tpu_v1", "diannao", "dadiannao", "zhang2015", "qiu2016", "eie", "ese")
"""Modules of this package, each with a ``validate() -> Outcome``."""


def run_validations(names: Sequence[str] = ()) -> list[Outcome]:
    """Run the named validations, or all; an unknown name is an `InputError`."""
    unknown = [name for name in names if name not in VALIDATIONS]
    if unknown:
        raise InputError(
            Fault("validate", name, f"is not known{nearest(name, VALIDATIONS)}; there are {', '.join(VALIDATIONS)}")
            for name in unknown
        )
    return [import_module(f"accelsim.validation.{name}").validate() for name in dict.fromkeys(names or VALIDATIONS)]


def validate(*names: str) -> list[Outcome]:
    """Hold the simulator against published figures; all of them where no name is given."""
    return run_validations(names)


__all__ = ["VALIDATIONS", "Outcome", "Row", "run_validations", "validate"]
