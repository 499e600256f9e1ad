"""The one decorator that compiles a kernel: all numba settings live here.

Serial, without the GIL, IEEE arithmetic (no fastmath), numpy's division by zero, compiled at the first call
and cached on disk. `NUMBA_BOUNDSCHECK=1` is honoured: numba's cache does not know that setting, so it is left
out then, lest unchecked code from an earlier run be loaded.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, ParamSpec, TypeVar, cast

import numba
from numba.core import cgutils, types
from numba.core.compiler_lock import global_compiler_lock
from numba.extending import intrinsic

try:
    import fcntl
except ImportError:  # Windows: processes that share a cold cache are not kept apart there
    fcntl = None  # type: ignore[assignment]

P = ParamSpec("P")
R = TypeVar("R")


def kernel(function: Callable[P, R]) -> Callable[P, R]:
    """Compile `function` with the project's numba settings; its type stays that of `function`."""
    return _cached(function)


def helper(function: Callable[P, R]) -> Callable[P, R]:
    """Compile a part of a kernel that makes no array and returns none: the arrays that it is handed are not counted.

    numba counts who holds an array at every call, each time with the bus locked: more than half of a walk's time.
    """
    return _cached(function, _nrt=False)


def _cached(function: Callable[P, R], **options: Any) -> Callable[P, R]:
    try:
        compiled = _compiled(function, cache=not numba.config.BOUNDSCHECK, **options)
    except RuntimeError:  # no folder that could hold a cache: every process compiles for itself
        return cast(Callable[P, R], _compiled(function, cache=False, **options))
    if compiled.stats.cache_path is not None:
        name = f"{function.__module__.rpartition('.')[2]}.{function.__name__}.lock"
        compiled.compile = _one_at_a_time(compiled.compile, Path(compiled.stats.cache_path, name))
    return cast(Callable[P, R], compiled)


def _compiled(function: Callable[P, R], cache: bool, **options: Any) -> Any:
    return numba.njit(
        cache=cache,
        **options,
        nogil=True,
        parallel=False,
        fastmath=False,
        error_model="numpy",
        boundscheck=None,  # None: as the environment says
    )(function)


def _one_at_a_time(compile_: Callable[[Any], Any], lock: Path) -> Callable[[Any], Any]:
    """``compile_`` (which loads from the cache, or compiles and saves) in one process at a time.

    numba reads, changes and writes a kernel's index without a lock, so that two processes with one cold cache take the
    same file for different signatures. What cannot be saved (a full disk) is compiled all the same: numba keeps it
    before it saves, and the second call finds it. Kernels call each other in one direction, so locks meet in one order.
    """

    def compile_alone(signature: Any) -> Any:
        with global_compiler_lock, _locked(lock):
            try:
                return compile_(signature)
            except (OSError, RuntimeError):
                return compile_(signature)

    return compile_alone


_held: set[Path] = set()  # by this process, guarded by numba's own lock: a kernel's signatures may need each other


@contextmanager
def _locked(lock: Path) -> Iterator[None]:
    """Keep other processes from this file's kernel; not where there can be no lock, for it only spares them a race."""
    if fcntl is None or lock in _held:
        yield
        return
    _held.add(lock)
    with ExitStack() as stack:
        stack.callback(_held.discard, lock)
        with suppress(OSError):
            lock.parent.mkdir(parents=True, exist_ok=True)
            fcntl.flock(stack.enter_context(lock.open("w")), fcntl.LOCK_EX)
        yield


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
