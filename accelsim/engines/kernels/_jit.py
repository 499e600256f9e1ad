"""The one decorator that compiles a kernel: all numba settings live here.

Serial, without the GIL, IEEE arithmetic (no fastmath), numpy's division by zero, compiled at the first call
and cached on disk. `NUMBA_BOUNDSCHECK=1` is honoured: numba's cache does not know that setting, so it is left
out then, lest unchecked code from an earlier run be loaded.
"""

from collections.abc import Callable
from typing import ParamSpec, TypeVar, cast

import numba
from numba.core import cgutils, types
from numba.extending import intrinsic

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


@intrinsic
def prefetch(typing_context, array, index):  # type: ignore[no-untyped-def]
    """Ask for the cache line of ``array[index]``, flat and contiguous; a hint: any index will do, and nothing is read."""
    del typing_context

    def code(context, builder, signature, arguments):  # type: ignore[no-untyped-def]
        ir, word = cgutils.ir, cgutils.int32_t
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        line = builder.bitcast(builder.gep(data, [arguments[1]]), cgutils.voidptr_t)
        kind = ir.FunctionType(ir.VoidType(), [cgutils.voidptr_t, word, word, word])
        hint = builder.module.declare_intrinsic("llvm.prefetch", (cgutils.voidptr_t,), kind)
        builder.call(hint, [line, word(0), word(3), word(1)])  # to be read, into the first cache, data
        return context.get_dummy_value()

    return types.void(array, index), code
