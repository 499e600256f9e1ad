"""Walks a schedule through memory and engine: when each transfer and each fold happens, and what every cycle is for.

Times are cycles from the start of the layer. The port of the off-chip memory is kept in *ticks*, ``TICKS`` of which
make a cycle, so that a bandwidth that is no whole number of bytes a cycle loses nothing to rounding.

Plain twin: `accelsim.engines.reference.timeline`.
"""

import numpy as np

from accelsim.engines.kernels._jit import kernel

# Columns of the fold table (one row a shape of fold); offsets count from the fold's first issue cycle.
# F_WAIT: issue cycles lost to a port on chip that is too narrow. F_HOLLOW: cycles between the first and the last
# useful MAC that have none. F_INTERVAL: the next fold issues no sooner after this one.
F_LOAD, F_ISSUE, F_FIRST_MAC, F_LAST_MAC, F_END, F_WAIT, F_HOLLOW, F_INTERVAL = range(8)
FOLD_FIELDS = 8

# Entries of the options.
(O_STATIONARY, O_SKEWED, O_BUFFERS, O_TICKS, O_TICKS_PER_BIT, O_LATENCY, O_SLOTS_INPUT, O_SLOTS_OUTPUT) = range(8)
OPTION_FIELDS = 8

# Entries of the result.
(R_CYCLES, R_BUSY, R_FILL, R_DRAIN, R_WEIGHT_LOAD, R_MEMORY, R_PORT_ACTIVE, R_PORT_WEIGHT_LOAD, R_PORT_MEMORY,
 R_PORT_OTHER) = range(10)  # fmt: skip
RESULT_FIELDS = 10

# Moments that the walk carries from fold to fold.
T_ISSUE, T_ISSUE_END, T_LOAD_END, T_DONE, T_BUSY_END, T_CHAIN_FREE, T_PORT_END = range(7)
MOMENTS = 7

# Columns of the events, one row a step: when its operands were there, first issue, last issue + 1, outputs done.
E_READY, E_ISSUE, E_ISSUE_END, E_DONE = range(4)
EVENT_FIELDS = 4

WEIGHT, INPUT, PSUM = 0, 1, 2


@kernel
def _charge(result, cause, now, until, end):  # type: ignore[no-untyped-def]
    """Charge the cycles from ``now`` to ``until`` (not past ``end``) to ``cause``; returns the new now."""
    stop = min(until, end)
    if stop > now:
        result[cause] += stop - now
        return stop
    return now


@kernel
def _fold(fold, at, options, held_ready, moving_ready, result):  # type: ignore[no-untyped-def]
    """One fold: when its stationary tile is shifted in, when it issues, what the cycles before it were lost to."""
    load_start = max(held_ready, at[T_LOAD_END])
    if options[O_BUFFERS] == 2:
        load_start = max(load_start, at[T_ISSUE])
    elif options[O_SKEWED] == 1:
        load_start = max(load_start, at[T_BUSY_END])
    else:
        load_start = max(load_start, at[T_DONE])
    load_end = load_start + fold[F_LOAD]
    issue = max(max(load_end, moving_ready), at[T_ISSUE_END])
    if options[O_SKEWED] == 0:
        issue = max(issue, at[T_DONE])
    issue = max(issue, at[T_CHAIN_FREE])
    first, last = issue + fold[F_FIRST_MAC], issue + fold[F_LAST_MAC] + 1

    now = at[T_BUSY_END]
    now = _charge(result, R_MEMORY, now, held_ready, first)
    now = _charge(result, R_DRAIN, now, load_start, first)
    now = _charge(result, R_WEIGHT_LOAD, now, load_end, first)
    now = _charge(result, R_MEMORY, now, moving_ready, first)
    now = _charge(result, R_DRAIN, now, issue, first)
    now = _charge(result, R_FILL, now, first, first)
    useful = max(np.int64(0), last - now)
    waited = min(fold[F_WAIT], useful)
    hollow = min(fold[F_HOLLOW], useful - waited)
    result[R_BUSY] += useful - waited - hollow
    result[R_MEMORY] += waited
    result[R_FILL] += hollow

    port = at[T_PORT_END]
    port = _charge(result, R_PORT_MEMORY, port, held_ready, issue)
    port = _charge(result, R_PORT_OTHER, port, load_start, issue)
    port = _charge(result, R_PORT_WEIGHT_LOAD, port, load_end, issue)
    port = _charge(result, R_PORT_MEMORY, port, moving_ready, issue)
    port = _charge(result, R_PORT_OTHER, port, issue, issue)
    result[R_PORT_ACTIVE] += fold[F_ISSUE] - fold[F_WAIT]
    result[R_PORT_MEMORY] += fold[F_WAIT]

    at[T_LOAD_END] = load_end
    at[T_ISSUE] = issue
    at[T_ISSUE_END] = issue + fold[F_ISSUE]
    at[T_PORT_END] = at[T_ISSUE_END]
    at[T_DONE] = max(at[T_DONE], issue + fold[F_END])
    at[T_BUSY_END] = max(at[T_BUSY_END], last)
    at[T_CHAIN_FREE] = issue + fold[F_INTERVAL]


@kernel
def _step(grid, folds, at, options, held_ready, moving_ready, result):  # type: ignore[no-untyped-def]
    """All folds of one tile: ``grid`` is (groups, outer, inner), ragged at its ends. Returns the first issue cycle."""
    first_issue = np.int64(-1)
    for _ in range(grid[0]):
        for outer in range(grid[1]):
            for inner in range(grid[2]):
                shape = 2 * (outer == grid[1] - 1) + (inner == grid[2] - 1)
                _fold(folds[shape], at, options, held_ready, moving_ready, result)
                if first_issue < 0:
                    first_issue = at[T_ISSUE]
    return first_issue


@kernel
def _ticks(cycle, options):  # type: ignore[no-untyped-def]
    return cycle * options[O_TICKS]


@kernel
def _cycle(ticks, options):  # type: ignore[no-untyped-def]
    """First whole cycle at or after ``ticks``."""
    return -((-ticks) // options[O_TICKS])


@kernel
def _store_oldest(queue, port, out_free, options):  # type: ignore[no-untyped-def]
    """Send the oldest waiting store; ``queue`` rows are (ready cycle, bits, slot), row 0 is the oldest."""
    if queue[0, 1] > 0:
        port[0] = max(port[0], _ticks(queue[0, 0], options)) + queue[0, 1] * options[O_TICKS_PER_BIT]
        out_free[queue[0, 2]] = _cycle(port[0], options)
    else:  # the tile stays on chip: nothing crosses the port
        out_free[queue[0, 2]] = queue[0, 0]
    for row in range(queue.shape[0] - 1):
        for column in range(3):
            queue[row, column] = queue[row + 1, column]


@kernel
def _load(bits, free, queue, waiting, port, out_free, options):  # type: ignore[no-untyped-def]
    """Fetch ``bits`` into a place that is free from cycle ``free`` on; earlier stores go first. Returns (ready, waiting)."""
    while waiting > 0 and _ticks(queue[0, 0], options) <= max(port[0], _ticks(free, options)):
        _store_oldest(queue, port, out_free, options)
        waiting -= 1
    port[0] = max(port[0], _ticks(free, options)) + bits * options[O_TICKS_PER_BIT]
    return _cycle(port[0], options) + options[O_LATENCY], waiting


@kernel
def run_timeline(classes, loads, stores, grids, folds, options, port, weight_free, events):  # type: ignore[no-untyped-def]
    """Walk every step of a schedule.

    Parameters
    ----------
    classes : int32[steps]            which row of ``grids`` and ``folds`` a step's tile is of
    loads   : int64[steps, 3]         bits fetched before it: weights, inputs, partial sums (-1: nothing new)
    stores  : int64[steps]            bits sent off chip behind it (-1: its output tile stays for the next step)
    grids   : int64[classes, 3]       folds of a tile: groups, outer, inner
    folds   : int64[classes, 4, 8]    the fold table (columns F_*), for (outer last?) * 2 + (inner last?)
    options : int64[8]                see O_*
    port    : int64[1]                ticks at which the off-chip port is free; carried from layer to layer
    weight_free : int64[slots]        cycles at which each weight slot is free; carried likewise
    events  : int64[steps or 0, 4]    filled with E_* if it has rows

    Returns
    -------
    int64[10] : see R_*; cycles == busy + the stalls.
    """
    result = np.zeros(RESULT_FIELDS, np.int64)
    at = np.zeros(MOMENTS, np.int64)
    input_free = np.zeros(options[O_SLOTS_INPUT], np.int64)
    out_free = np.zeros(options[O_SLOTS_OUTPUT], np.int64)
    queue = np.zeros((options[O_SLOTS_OUTPUT] + 1, 3), np.int64)
    waiting = np.int64(0)
    weight_ready, input_ready = np.int64(0), np.int64(0)
    output_ready = np.int64(0)
    weight_count, input_count, out_count = np.int64(0), np.int64(0), np.int64(0)
    new_output = True
    for step in range(classes.shape[0]):
        if loads[step, WEIGHT] >= 0:
            slot = weight_count % weight_free.shape[0]
            weight_ready, waiting = _load(
                loads[step, WEIGHT], weight_free[slot], queue, waiting, port, out_free, options
            )
            weight_count += 1
        if loads[step, INPUT] >= 0:
            slot = input_count % input_free.shape[0]
            start = max(input_free[slot], np.int64(0))
            input_ready, waiting = _load(loads[step, INPUT], start, queue, waiting, port, out_free, options)
            input_count += 1
        if new_output:
            slot = out_count % out_free.shape[0]
            while waiting > out_free.shape[0] - 1:
                _store_oldest(queue, port, out_free, options)
                waiting -= 1
            output_ready = out_free[slot]
            if loads[step, PSUM] > 0:
                while waiting > 0:  # what is read back must have been written
                    _store_oldest(queue, port, out_free, options)
                    waiting -= 1
                output_ready, waiting = _load(
                    loads[step, PSUM], output_ready, queue, waiting, port, out_free, options
                )
            out_count += 1
        if options[O_STATIONARY] == WEIGHT:
            held, moving = weight_ready, max(input_ready, output_ready)
        elif options[O_STATIONARY] == INPUT:
            held, moving = input_ready, max(weight_ready, output_ready)
        else:
            held, moving = np.int64(0), max(max(weight_ready, input_ready), output_ready)
        kind = classes[step]
        first = _step(grids[kind], folds[kind], at, options, held, moving, result)
        weight_free[(weight_count - 1) % weight_free.shape[0]] = (
            at[T_LOAD_END] if options[O_STATIONARY] == WEIGHT else at[T_ISSUE_END]
        )
        input_free[(input_count - 1) % input_free.shape[0]] = (
            at[T_LOAD_END] if options[O_STATIONARY] == INPUT else at[T_ISSUE_END]
        )
        new_output = stores[step] >= 0
        if new_output:
            queue[waiting, 0] = at[T_DONE]
            queue[waiting, 1] = stores[step]
            queue[waiting, 2] = (out_count - 1) % out_free.shape[0]
            waiting += 1
        if events.shape[0] > 0:
            events[step, E_READY] = max(held, moving)
            events[step, E_ISSUE] = first
            events[step, E_ISSUE_END] = at[T_ISSUE_END]
            events[step, E_DONE] = at[T_DONE]
    stored = np.int64(0)
    while waiting > 0:
        carries = queue[0, 1] > 0
        _store_oldest(queue, port, out_free, options)
        if carries:
            stored = _cycle(port[0], options)
        waiting -= 1
    now = _charge(result, R_DRAIN, at[T_BUSY_END], at[T_DONE], at[T_DONE])
    _charge(result, R_MEMORY, now, stored, stored)
    end = max(at[T_DONE], stored)
    result[R_CYCLES] = end
    result[R_PORT_OTHER] += max(np.int64(0), at[T_DONE] - at[T_PORT_END])
    result[R_PORT_MEMORY] += end - at[T_DONE]
    port[0] = port[0] - _ticks(end, options)
    for slot in range(weight_free.shape[0]):
        weight_free[slot] = weight_free[slot] - end
    return result
