"""The one decorator that compiles a kernel: all numba settings live here.

Serial, without the GIL, IEEE arithmetic (no fastmath), numpy's division by zero, compiled at the first call
and cached on disk. `NUMBA_BOUNDSCHECK=1` is honoured: numba's cache does not know that setting, so it is left
out then, lest unchecked code from an earlier run be loaded.
"""

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import numba

P = ParamSpec("P")
R = TypeVar("R")


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile `function` with the project's numba settings; its type stays that of `function`."""
    compiled = numba.njit(
        cache=not numba.config.BOUNDSCHECK,
        nogil=True,
        parallel=False,
        fastmath=False,
        error_model="numpy",
        boundscheck=None,  # None: as the environment says
    )(function)
    return cast(Callable[P, R], compiled)
