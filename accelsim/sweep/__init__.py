"""From one run to a design space: spaces, stores, runners, tilings, search.

The package is callable, so that ``accelsim.sweep(...)`` and ``accelsim.sweep.Store`` are both there.
"""

from __future__ import annotations

import importlib
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from accelsim.sweep.api import search, sweep
    from accelsim.sweep.expression import Expression
    from accelsim.sweep.space import Space
    from accelsim.sweep.store import Store
    from accelsim.sweep.table import SweepTable

_HOMES = {
    "search": "accelsim.sweep.api",
    "sweep": "accelsim.sweep.api",
    "Expression": "accelsim.sweep.expression",
    "Space": "accelsim.sweep.space",
    "Store": "accelsim.sweep.store",
    "SweepTable": "accelsim.sweep.table",
}

__all__ = ["Expression", "Space", "Store", "SweepTable", "search", "sweep"]


class _Callable(ModuleType):
    def __call__(self, *arguments: Any, **options: Any) -> Any:
        from accelsim.sweep.api import sweep

        return sweep(*arguments, **options)

    def __getattr__(self, name: str) -> Any:
        if name in _HOMES:
            return getattr(importlib.import_module(_HOMES[name]), name)
        raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")


sys.modules[__name__].__class__ = _Callable
