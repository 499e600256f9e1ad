"""accelsim: a cycle-level simulator of neural-network accelerators.

The names below load on first use, so that ``import accelsim`` brings in neither numba nor matplotlib.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from accelsim import plot
    from accelsim.api import load_arch, load_network, simulate, simulate_full
    from accelsim.compression.compress import compress
    from accelsim.errors import AccelsimError, InfeasibleError, InputError, InvariantError
    from accelsim.report.result import Result
    from accelsim.sweep.api import search, sweep
    from accelsim.validation import validate

_HOMES = {
    "compress": "accelsim.compression.compress",
    "load_arch": "accelsim.api",
    "load_network": "accelsim.api",
    "simulate": "accelsim.api",
    "simulate_full": "accelsim.api",
    "search": "accelsim.sweep.api",
    "validate": "accelsim.validation",
    "Result": "accelsim.report.result",
    "AccelsimError": "accelsim.errors",
    "InputError": "accelsim.errors",
    "InfeasibleError": "accelsim.errors",
    "InvariantError": "accelsim.errors",
}

__all__ = [
    "AccelsimError",
    "InfeasibleError",
    "InputError",
    "InvariantError",
    "Result",
    "compress",
    "load_arch",
    "load_network",
    "plot",
    "search",
    "simulate",
    "simulate_full",
    "sweep",
    "validate",
]


def __getattr__(name: str) -> Any:
    if name in ("plot", "sweep"):  # modules; the second can be called
        return importlib.import_module(f"accelsim.{name}")
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'accelsim' has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
