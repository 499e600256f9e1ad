"""Walks a schedule through memory and engine: when each transfer and each fold happens, and what every cycle is for.

Times are cycles from the start of the layer. The port of the off-chip memory is kept in *ticks*, ``TICKS`` of which
make a cycle, so that a bandwidth that is no whole number of bytes a cycle loses nothing to rounding.

*Who gets the port.* Loads wait in a queue in the order of the schedule (one for all tensors, or one a tensor, as
with a DMA a buffer); the head of a queue asks for the port from the cycle on in which a slot of its level is free.
Finished output tiles wait in a queue of their own; partial sums are asked for when the step before is issued and all
stores before them have left. A free port takes the oldest store that asks, else the load that has asked longest (weights before
inputs before partial sums when two ask at once). A tile of no bits (resident) takes a slot, but asks for nothing.

The walk goes step by step and serves the port only as far as the step needs. That is exact: what a later step asks
for, it asks for after this step has its operands, so later than everything that is decided by then. The one exception is a
step of a single fold, whose stationary tile may be shifted in, and its slot be free, before its other operands are there:
that slot is given back first.

Plain twin: `accelsim.engines.reference.timeline`.
"""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from accelsim.engines.kernels._jit import helper, kernel

# Columns of the fold table (one row a shape of fold); offsets count from the fold's first issue cycle.
# F_HOLLOW: cycles between the first and the last useful MAC that have none. F_INTERVAL: the next fold issues no sooner
# after this one.
F_LOAD, F_ISSUE, F_FIRST_MAC, F_LAST_MAC, F_END, F_HOLLOW, F_INTERVAL = range(7)
FOLD_FIELDS = 7

# Entries of the options.
(O_STATIONARY, O_SKEWED, O_BUFFERS, O_TICKS, O_TICKS_PER_BIT, O_LATENCY, O_SLOTS_INPUT, O_SLOTS_OUTPUT,
 O_QUEUE_PER_TENSOR) = range(9)  # fmt: skip
OPTION_FIELDS = 9

# Entries of the result.
(R_CYCLES, R_BUSY, R_FILL, R_DRAIN, R_WEIGHT_LOAD, R_MEMORY, R_PORT_ACTIVE, R_PORT_WEIGHT_LOAD, R_PORT_MEMORY,
 R_PORT_OTHER) = range(10)  # fmt: skip
RESULT_FIELDS = 10

# Moments that the walk carries from fold to fold. T_READY: the fold could have issued, but for ports on chip.
T_ISSUE, T_ISSUE_END, T_LOAD_END, T_DONE, T_BUSY_END, T_CHAIN_FREE, T_PORT_END, T_READY = range(8)
MOMENTS = 8

# Columns of the events, one row a step: when its operands were there, first issue, last issue + 1, outputs done; when
# its stationary operand was there, and what moves; when the slots of its tiles are free again (NEVER: not by this step).
# Then, in ticks, from when to when the port was busy with what the step asked for (NEVER: it asked for nothing).
(E_READY, E_ISSUE, E_ISSUE_END, E_DONE, E_HELD, E_MOVING, E_WEIGHT_FREE, E_INPUT_FREE, E_WEIGHT_BEGIN, E_WEIGHT_END,
 E_INPUT_BEGIN, E_INPUT_END, E_PSUM_BEGIN, E_PSUM_END, E_STORE_BEGIN, E_STORE_END) = range(16)  # fmt: skip
EVENT_FIELDS = 16

# Columns of the folds that `walk_folds` lists: their step and shape (row of the fold table), and in cycles: how far the
# cycles before had been accounted for, when the stationary operand and what moves were there, and what followed. From
# V_READY to V_ISSUE the fold waited for ports on chip.
(V_STEP, V_SHAPE, V_FROM, V_HELD, V_LOAD_END, V_MOVING, V_READY, V_ISSUE, V_ISSUE_END, V_FIRST_MAC, V_LAST_MAC,
 V_DONE) = range(12)  # fmt: skip
VISIT_FIELDS = 12

WEIGHT, INPUT, PSUM = 0, 1, 2
NEVER = 1 << 62


@helper
def _charge(result, cause, now, until, end):  # type: ignore[no-untyped-def]
    """Charge the cycles from ``now`` to ``until`` (not past ``end``) to ``cause``; returns the new now."""
    stop = min(until, end)
    if stop > now:
        result[cause] += stop - now
        return stop
    return now


@helper
def _clear(at, options):  # type: ignore[no-untyped-def]
    """When the next fold's stationary operands may be shifted in, were they there."""
    if options[O_BUFFERS] == 2:
        return max(at[T_LOAD_END], at[T_ISSUE])
    if options[O_SKEWED] == 1:
        return max(at[T_LOAD_END], at[T_BUSY_END])
    return max(at[T_LOAD_END], at[T_DONE])


@helper
def _fold(folds, kind, shape, at, options, held_ready, moving_ready, wait, result):  # type: ignore[no-untyped-def]
    """One fold of a tile's shape: when its stationary tile is shifted in, when it issues, what the cycles before it were lost to.

    ``wait``: cycles by which ports on chip hold it back behind the folds before. They work while a transfer from off
    chip is late, so the fold waits for the later of the two.
    """
    clear = _clear(at, options)
    load_start = max(held_ready, clear)
    load_end = load_start + folds[kind, shape, F_LOAD]
    before = max(at[T_ISSUE_END], at[T_CHAIN_FREE])
    if options[O_SKEWED] == 0:
        before = max(before, at[T_DONE])
    ready = max(max(load_end, moving_ready), before)
    issue = max(ready, max(clear + folds[kind, shape, F_LOAD], before) + wait)
    first, last = issue + folds[kind, shape, F_FIRST_MAC], issue + folds[kind, shape, F_LAST_MAC] + 1

    now = at[T_BUSY_END]
    now = _charge(result, R_MEMORY, now, held_ready, first)
    now = _charge(result, R_DRAIN, now, load_start, first)
    now = _charge(result, R_WEIGHT_LOAD, now, load_end, first)
    now = _charge(result, R_MEMORY, now, moving_ready, first)
    now = _charge(result, R_DRAIN, now, ready, first)
    now = _charge(result, R_MEMORY, now, issue, first)
    now = _charge(result, R_FILL, now, first, first)
    useful = max(np.int64(0), last - now)
    hollow = min(folds[kind, shape, F_HOLLOW], useful)
    result[R_BUSY] += useful - hollow
    result[R_FILL] += hollow

    port = at[T_PORT_END]
    port = _charge(result, R_PORT_MEMORY, port, held_ready, issue)
    port = _charge(result, R_PORT_OTHER, port, load_start, issue)
    port = _charge(result, R_PORT_WEIGHT_LOAD, port, load_end, issue)
    port = _charge(result, R_PORT_MEMORY, port, moving_ready, issue)
    port = _charge(result, R_PORT_OTHER, port, ready, issue)
    port = _charge(result, R_PORT_MEMORY, port, issue, issue)
    result[R_PORT_ACTIVE] += folds[kind, shape, F_ISSUE]

    at[T_READY] = ready
    at[T_LOAD_END] = load_end
    at[T_ISSUE] = issue
    at[T_ISSUE_END] = issue + folds[kind, shape, F_ISSUE]
    at[T_PORT_END] = at[T_ISSUE_END]
    at[T_DONE] = max(at[T_DONE], issue + folds[kind, shape, F_END])
    at[T_BUSY_END] = max(at[T_BUSY_END], last)
    at[T_CHAIN_FREE] = issue + folds[kind, shape, F_INTERVAL]


@helper
def _step(grids, folds, kind, at, options, held_ready, moving_ready, wait, result):  # type: ignore[no-untyped-def]
    """All folds of one tile: its grid is (groups, outer, inner), ragged at its ends. Returns the first issue cycle."""
    first_issue = np.int64(-1)
    outers, inners = grids[kind, 1], grids[kind, 2]
    for _ in range(grids[kind, 0]):
        for outer in range(outers):
            for inner in range(inners):
                shape = 2 * (outer == outers - 1) + (inner == inners - 1)
                _fold(folds, kind, shape, at, options, held_ready, moving_ready, wait, result)
                if first_issue < 0:
                    first_issue = at[T_ISSUE]
                wait = np.int64(0)  # the step's first fold has waited for all of them
    return first_issue


@helper
def _ticks(cycle, options):  # type: ignore[no-untyped-def]
    return cycle * options[O_TICKS]


@helper
def _cycle(ticks, options):  # type: ignore[no-untyped-def]
    """First whole cycle at or after ``ticks``."""
    return -((-ticks) // options[O_TICKS])


# Columns of the table of loads, one row for weights and one for inputs: tiles that have been placed in a slot, tiles
# whose slot is free again, the step of the next tile to place, the step of the next that needs the port, the tile in use.
L_PLACED, L_RELEASED, L_NEXT, L_ASKS, L_CURRENT = range(5)
LOAD_FIELDS = 5

# Columns of the store queue, the oldest in row 0.
Q_READY, Q_BITS, Q_SLOT, Q_STEP = range(4)
STORE_QUEUE_FIELDS = 4

# Outputs: stores that wait, the cycle in which the last one had left, the slot of the output tile in use, whether it is
# new in this step, the next step that fetches partial sums, the cycle from which on the step before is issued.
S_WAITING, S_SENT, S_SLOT, S_NEW, S_PSUM_STEP, S_ISSUED = range(6)
STORE_FIELDS = 6


@helper
def _note(events, step, column, begin, end):  # type: ignore[no-untyped-def]
    """Write down from when to when the port was busy with something that ``step`` asked for."""
    if events.shape[0] > 0:
        events[step, column] = begin
        events[step, column + 1] = end


@helper
def _send_oldest(queue, out, port, free, options, events):  # type: ignore[no-untyped-def]
    """Give the port to the oldest store."""
    begin = max(port[0], _ticks(queue[0, Q_READY], options))
    port[0] = begin + queue[0, Q_BITS] * options[O_TICKS_PER_BIT]
    _note(events, queue[0, Q_STEP], E_STORE_BEGIN, begin, port[0])
    out[S_SENT] = _cycle(port[0], options)
    free[PSUM, queue[0, Q_SLOT]] = out[S_SENT]
    out[S_WAITING] -= 1
    for row in range(out[S_WAITING]):
        for column in range(STORE_QUEUE_FIELDS):
            queue[row, column] = queue[row + 1, column]


@helper
def _next_asking(loads, tensor, step):  # type: ignore[no-untyped-def]
    """First step from ``step`` on that fetches bits of ``tensor``."""
    while step < loads.shape[0] and loads[step, tensor] <= 0:
        step += 1
    return step


@helper
def _next_tile(loads, tensor, step):  # type: ignore[no-untyped-def]
    """First step from ``step`` on with a new tile of ``tensor``, resident or not."""
    while step < loads.shape[0] and loads[step, tensor] < 0:
        step += 1
    return step


@helper
def _place(loads, table, tensor, ready, many, when):  # type: ignore[no-untyped-def]
    """The next tile of ``tensor`` is in its slot from cycle ``when`` on."""
    ready[tensor, table[tensor, L_PLACED] % many[tensor]] = when
    table[tensor, L_PLACED] += 1
    table[tensor, L_NEXT] = _next_tile(loads, tensor, table[tensor, L_NEXT] + 1)


@helper
def _has_slot(table, tensor, many):  # type: ignore[no-untyped-def]
    """Whether it is known when the slot of the next tile of ``tensor`` is free."""
    return table[tensor, L_PLACED] < many[tensor] + table[tensor, L_RELEASED]


@helper
def _place_resident(loads, table, tensor, ready, free, many):  # type: ignore[no-untyped-def]
    """Place the tiles of no bits that come next, as far as slots are known to be free."""
    while table[tensor, L_NEXT] < table[tensor, L_ASKS] and _has_slot(table, tensor, many):
        _place(loads, table, tensor, ready, many, free[tensor, table[tensor, L_PLACED] % many[tensor]])


@helper
def _asks_at(table, tensor, free, many, steps):  # type: ignore[no-untyped-def]
    """Cycle from which on the tensor's next load asks for the port, NEVER if there is none or it is not known yet."""
    asks = table[tensor, L_ASKS]
    if asks == steps or table[tensor, L_NEXT] != asks or not _has_slot(table, tensor, many):
        return NEVER
    return free[tensor, table[tensor, L_PLACED] % many[tensor]]


@helper
def _is_last(loads, tensor, step):  # type: ignore[no-untyped-def]
    """Whether the step after ``step``, if there is one, brings another tile of ``tensor``."""
    return step + 1 == loads.shape[0] or loads[step + 1, tensor] >= 0


@helper
def _release(loads, table, tensor, step, free, many, when):  # type: ignore[no-untyped-def]
    """Free the slot of the tile in use at ``when`` if the step after ``step`` brings another."""
    if table[tensor, L_PLACED] > 0 and _is_last(loads, tensor, step):
        free[tensor, table[tensor, L_CURRENT] % many[tensor]] = when
        table[tensor, L_RELEASED] += 1


@helper
def _head_only(table, psum_step, at):  # type: ignore[no-untyped-def]
    """One queue: only what comes first in the schedule asks; the other times of ``at`` are struck out."""
    weight_step, input_step = table[WEIGHT, L_ASKS], table[INPUT, L_ASKS]
    if psum_step < min(weight_step, input_step):
        at[WEIGHT] = at[INPUT] = NEVER
    elif weight_step <= input_step:
        at[INPUT] = at[PSUM] = NEVER
    else:
        at[WEIGHT] = at[PSUM] = NEVER


@helper
def _is_waiting(queue, waiting, slot):  # type: ignore[no-untyped-def]
    """Whether the output tile in ``slot`` has not been sent yet."""
    for row in range(waiting):
        if queue[row, Q_SLOT] == slot:
            return True
    return False


@helper
def _may_start(step, table, queue, out):  # type: ignore[no-untyped-def]
    """Whether a step's operands are placed and its output tile has a slot, with its partial sums in it."""
    return (
        table[WEIGHT, L_PLACED] > table[WEIGHT, L_CURRENT]
        and table[INPUT, L_PLACED] > table[INPUT, L_CURRENT]
        and out[S_PSUM_STEP] != step
        and not (out[S_NEW] == 1 and _is_waiting(queue, out[S_WAITING], out[S_SLOT]))
    )


@helper
def _serve(step, loads, table, free, ready, many, queue, out, at, port, options, events):  # type: ignore[no-untyped-def]
    """Give the port to whoever comes next; see the module's text. ``free`` and ``ready``: of the slots, by tensor; ``many``
    there are.

    ``at`` int64[3] is room for the cycles from which on the tensors ask.
    """
    at[WEIGHT] = _asks_at(table, WEIGHT, free, many, loads.shape[0])
    at[INPUT] = _asks_at(table, INPUT, free, many, loads.shape[0])
    at[PSUM] = NEVER
    if out[S_PSUM_STEP] == step and out[S_WAITING] == 0:
        at[PSUM] = max(max(free[PSUM, out[S_SLOT]], out[S_SENT]), out[S_ISSUED])
    if options[O_QUEUE_PER_TENSOR] == 0:
        _head_only(table, out[S_PSUM_STEP], at)
    tensor = WEIGHT
    for other in (INPUT, PSUM):
        if at[other] < at[tensor]:
            tensor = other
    if out[S_WAITING] > 0 and (
        at[tensor] == NEVER or _ticks(queue[0, Q_READY], options) <= max(port[0], _ticks(at[tensor], options))
    ):
        _send_oldest(queue, out, port, free, options, events)
        return
    asking = step if tensor == PSUM else table[tensor, L_ASKS]
    begin = max(port[0], _ticks(at[tensor], options))
    port[0] = begin + loads[asking, tensor] * options[O_TICKS_PER_BIT]
    _note(events, asking, E_WEIGHT_BEGIN + 2 * tensor, begin, port[0])
    when = _cycle(port[0], options) + options[O_LATENCY]
    if tensor == PSUM:
        free[PSUM, out[S_SLOT]] = when
        out[S_PSUM_STEP] = _next_asking(loads, PSUM, step + 1)
    else:
        table[tensor, L_ASKS] = _next_asking(loads, tensor, table[tensor, L_ASKS] + 1)
        _place(loads, table, tensor, ready, many, when)


@helper
def _supply(step, tensor, loads, table, free, ready, many, queue, out, at, port, options, events):  # type: ignore[no-untyped-def]
    """Serve the port until ``step`` may start; with a ``tensor``, until that operand of it has been placed."""
    while True:
        _place_resident(loads, table, WEIGHT, ready, free, many)
        _place_resident(loads, table, INPUT, ready, free, many)
        if tensor >= 0 and table[tensor, L_PLACED] > table[tensor, L_CURRENT]:
            return
        if tensor < 0 and _may_start(step, table, queue, out):
            return
        _serve(step, loads, table, free, ready, many, queue, out, at, port, options, events)


@helper
def _finish_output(step, bits, done, queue, out, free):  # type: ignore[no-untyped-def]
    """The step's output tile is done: queue it, or keep it for the next step (bits < 0)."""
    out[S_NEW] = bits >= 0
    if bits > 0:
        queue[out[S_WAITING], Q_READY] = done
        queue[out[S_WAITING], Q_BITS] = bits
        queue[out[S_WAITING], Q_SLOT] = out[S_SLOT]
        queue[out[S_WAITING], Q_STEP] = step
        out[S_WAITING] += 1
    elif bits == 0:  # the tile stays on chip: nothing crosses the port
        free[PSUM, out[S_SLOT]] = done


@helper
def _ready_at(table, tensor, ready, many):  # type: ignore[no-untyped-def]
    """Cycle from which on the tile in use is in its slot; 0 if the schedule never loads the tensor."""
    current = table[tensor, L_CURRENT]
    return ready[tensor, current % many[tensor]] if current >= 0 else np.int64(0)


@helper
def _free_at(tensor, at, options):  # type: ignore[no-untyped-def]
    """When the slot of a tile is free again, after its last step.

    A stationary tile is needed until it is shifted in. With a queue a tensor, until it is issued: see the module's
    text for why nothing may ask before that.
    """
    if options[O_STATIONARY] != tensor:
        return at[T_ISSUE_END]
    return at[T_LOAD_END] if options[O_QUEUE_PER_TENSOR] == 0 else at[T_ISSUE]


@helper
def _note_step(step, loads, first, held, moving, at, options, events):  # type: ignore[no-untyped-def]
    """Write down when a step happened."""
    if events.shape[0] == 0:
        return
    events[step, E_READY] = max(held, moving)
    events[step, E_ISSUE] = first
    events[step, E_ISSUE_END] = at[T_ISSUE_END]
    events[step, E_DONE] = at[T_DONE]
    events[step, E_HELD] = held
    events[step, E_MOVING] = moving
    if _is_last(loads, WEIGHT, step):
        events[step, E_WEIGHT_FREE] = _free_at(WEIGHT, at, options)
    if _is_last(loads, INPUT, step):
        events[step, E_INPUT_FREE] = _free_at(INPUT, at, options)


@helper
def _walk_step(  # type: ignore[no-untyped-def]
    step, classes, loads, stores, waits, grids, folds, options, port, table, free, ready, many, queue, out, asks, at,
    result, events,
):  # fmt: skip
    """One step: its operands are supplied, its folds follow one another, its slots are given back."""
    kind, fixed, held = classes[step], options[O_STATIONARY], np.int64(0)
    for tensor in range(2):
        table[tensor, L_CURRENT] += loads[step, tensor] >= 0
    if out[S_NEW] == 1:
        out[S_SLOT] = (out[S_SLOT] + 1) % many[PSUM]
    early = options[O_QUEUE_PER_TENSOR] == 0 and fixed >= 0 and grids[kind, 0] * grids[kind, 1] * grids[kind, 2] == 1
    if early:  # its one stationary tile is shifted in, and its slot free, before the rest need be there
        _supply(step, fixed, loads, table, free, ready, many, queue, out, asks, port, options, events)
        held = _ready_at(table, fixed, ready, many)
        shifted = max(held, _clear(at, options)) + folds[kind, 3, F_LOAD]
        _release(loads, table, fixed, step, free, many, shifted)
    _supply(step, -1, loads, table, free, ready, many, queue, out, asks, port, options, events)
    if fixed >= 0 and not early:
        held = _ready_at(table, fixed, ready, many)
    moving = free[PSUM, out[S_SLOT]] if out[S_NEW] == 1 else np.int64(0)
    for tensor in range(2):
        if tensor != fixed:
            moving = max(moving, _ready_at(table, tensor, ready, many))
    first = _step(grids, folds, kind, at, options, held, moving, waits[step], result)
    out[S_ISSUED] = at[T_ISSUE_END]
    for tensor in range(2):
        if not (early and tensor == fixed):
            _release(loads, table, tensor, step, free, many, _free_at(tensor, at, options))
    _finish_output(step, stores[step], at[T_DONE], queue, out, free)
    _note_step(step, loads, first, held, moving, at, options, events)


@kernel
def walk_timeline(  # type: ignore[no-untyped-def]
    classes, loads, stores, waits, grids, folds, options, port, weight_free, events, result
):
    """As `run_timeline`, which other kernels do not call: ``result`` int64[10] is filled."""
    at = np.zeros(MOMENTS, np.int64)
    many = np.array([weight_free.shape[0], options[O_SLOTS_INPUT], options[O_SLOTS_OUTPUT]], np.int64)
    free, ready = np.zeros((3, many.max()), np.int64), np.zeros((3, many.max()), np.int64)
    free[WEIGHT, : many[WEIGHT]] = weight_free
    queue = np.zeros((options[O_SLOTS_OUTPUT], STORE_QUEUE_FIELDS), np.int64)
    events[:] = NEVER
    asks = np.zeros(3, np.int64)
    out = np.zeros(STORE_FIELDS, np.int64)
    out[S_SLOT], out[S_NEW], out[S_PSUM_STEP] = -1, 1, _next_asking(loads, PSUM, 0)
    table = np.zeros((2, LOAD_FIELDS), np.int64)
    for tensor in range(2):
        table[tensor, L_NEXT] = _next_tile(loads, tensor, 0)
        table[tensor, L_ASKS] = _next_asking(loads, tensor, 0)
        table[tensor, L_CURRENT] = -1
    for step in range(classes.shape[0]):
        _walk_step(
            step, classes, loads, stores, waits, grids, folds, options, port, table, free, ready, many, queue, out, asks, at,
            result, events,
        )  # fmt: skip
    while out[S_WAITING] > 0:
        _send_oldest(queue, out, port, free, options, events)
    end = max(at[T_DONE], out[S_SENT])
    now = _charge(result, R_DRAIN, at[T_BUSY_END], at[T_DONE], at[T_DONE])
    _charge(result, R_MEMORY, now, end, end)
    result[R_CYCLES] = end
    result[R_PORT_OTHER] += max(np.int64(0), at[T_DONE] - at[T_PORT_END])
    result[R_PORT_MEMORY] += end - at[T_DONE]
    port[0] = port[0] - _ticks(end, options)
    for slot in range(weight_free.shape[0]):
        weight_free[slot] = free[WEIGHT, slot] - end


@kernel
def run_timeline(classes, loads, stores, waits, grids, folds, options, port, weight_free, events):  # type: ignore[no-untyped-def]
    """Walk every step of a schedule.

    Parameters
    ----------
    classes : int32[steps]            which row of ``grids`` and ``folds`` a step's tile is of
    loads   : int64[steps, 3]         bits fetched before it: weights, inputs, partial sums (-1: nothing new)
    stores  : int64[steps]            bits sent off chip behind it (-1: its output tile stays for the next step)
    waits   : int64[steps]            cycles by which ports on chip hold its first fold back
    grids   : int64[classes, 3]       folds of a tile: groups, outer, inner
    folds   : int64[classes, 4, 7]    the fold table (columns F_*), for (outer last?) * 2 + (inner last?)
    options : int64[9]                see O_*
    port    : int64[1]                ticks at which the off-chip port is free; carried from layer to layer
    weight_free : int64[slots]        cycles at which each weight slot is free; carried likewise
    events  : int64[steps or 0, 16]   filled with E_* if it has rows

    Returns
    -------
    int64[10] : see R_*; cycles == busy + the stalls.
    """
    result = np.zeros(RESULT_FIELDS, np.int64)
    walk_timeline(classes, loads, stores, waits, grids, folds, options, port, weight_free, events, result)
    return result


@kernel
def walk_folds(classes, waits, grids, folds, options, events, first_step, at, visits):  # type: ignore[no-untyped-def]
    """List the folds of the steps from ``first_step`` on, as many whole steps as ``visits`` has rows for.

    ``events`` are those that `run_timeline` filled; ``at`` int64[8] is carried from call to call (zeros at first).
    Fills ``visits`` int64[rows, 12] (V_*); returns the step to go on with, and the rows that were filled.
    """
    result = np.zeros(RESULT_FIELDS, np.int64)
    filled = 0
    for step in range(first_step, classes.shape[0]):
        groups, outers, inners = grids[classes[step]]
        if filled + groups * outers * inners > visits.shape[0]:
            return step, filled
        for number in range(groups * outers * inners):
            outer, inner = number // inners % outers, number % inners
            shape = 2 * (outer == outers - 1) + (inner == inners - 1)
            kind, visit = classes[step], visits[filled]
            visit[V_STEP], visit[V_SHAPE], visit[V_FROM] = step, shape, at[T_BUSY_END]
            visit[V_HELD], visit[V_MOVING] = events[step, E_HELD], events[step, E_MOVING]
            wait = waits[step] if number == 0 else np.int64(0)
            _fold(folds, kind, shape, at, options, events[step, E_HELD], events[step, E_MOVING], wait, result)
            visit[V_LOAD_END], visit[V_READY] = at[T_LOAD_END], at[T_READY]
            visit[V_ISSUE], visit[V_ISSUE_END] = at[T_ISSUE], at[T_ISSUE_END]
            visit[V_FIRST_MAC] = at[T_ISSUE] + folds[kind, shape, F_FIRST_MAC]
            visit[V_LAST_MAC] = at[T_ISSUE] + folds[kind, shape, F_LAST_MAC] + 1
            visit[V_DONE] = at[T_ISSUE] + folds[kind, shape, F_END]
            filled += 1
    return classes.shape[0], filled


# ---- several levels on chip -------------------------------------------------------------------------------
#
# A *hop* takes a tensor from a level to the next one inwards that holds it, tile by tile; outputs go back over theirs. The
# order of all moves is planned before any time is known (`plan_moves`): behind a step, of what may move, the one that is
# needed first goes first. In that order a move waits for what it carries, for its place, and for the move before it at the
# port of its outer level (`run_hops`), so that nothing that takes less time delays anything.
#
# The port of a level also takes what comes in from outside, and what the unit reads and writes there. This is *owed* by the
# port, and paid with the moves that it serves, or with the unit's reads and writes: as many bits as they have
# themselves, the rest behind all others. What is paid with which is part of the plan.
#
# Times of moves are in ticks, ``HOP_TICKS`` of which make a cycle.

HOP_TICKS = 1 << 20

# Columns of the table of hops: ports of the outer and of the inner level (-1: none, or unlimited), the hops of the same tensor
# around and within this one (-1: none), slots, rows of its tiles, ticks until what has crossed is there, whether tiles go out.
H_OUTER, H_INNER, H_AROUND, H_WITHIN, H_SLOTS, H_BEGIN, H_END, H_LATENCY, H_LEAVES = range(9)
HOP_FIELDS = 9

# Columns of the table of tiles: first and last step, the tile around it and the visit before it (rows, -1: none), bits that
# come in and that go out.
G_FIRST, G_LAST, G_AROUND, G_BEFORE, G_IN, G_OUT = range(6)
TILE_FIELDS = 6

# Columns of the moves, in their order: the tile, its hop, its way, the step that they come before, bits that its outer port pays.
O_TILE, O_HOP, O_WAY, O_STEP, O_PAID = range(5)
MOVE_FIELDS = 5
COMES, GOES = 0, 1
LATER = NEVER + 1

# When a tile is in its place, when all that is added to it is, when its place is free again.
M_THERE, M_DONE, M_FREE = range(3)
# Next tile of a hop to come in, next to go out.
N_IN, N_OUT = range(2)


@kernel
def _left(hops, tiles, following, hop, tile, done):  # type: ignore[no-untyped-def]
    """Whether the place of ``tile`` is given back, in the order of the moves, once the steps up to ``done`` are over."""
    if hops[hop, H_LEAVES] == 1:
        return following[hop, N_OUT] > tile
    within = hops[hop, H_WITHIN]
    if within < 0:
        return tiles[tile, G_LAST] <= done
    after = following[within, N_IN]
    return after == hops[within, H_END] or tiles[after, G_AROUND] > tile


@kernel
def _may_come(hops, tiles, following, hop, done):  # type: ignore[no-untyped-def]
    """Whether the next tile of ``hop`` has a place to come to, and is there to be had."""
    tile = following[hop, N_IN]
    if tile == hops[hop, H_END]:
        return False
    before = tile - hops[hop, H_SLOTS]
    if before >= hops[hop, H_BEGIN] and not _left(hops, tiles, following, hop, before, done):
        return False
    if following[hop, N_OUT] <= tiles[tile, G_BEFORE]:
        return False
    around = hops[hop, H_AROUND]
    return around < 0 or tiles[tile, G_IN] == 0 or following[around, N_IN] > tiles[tile, G_AROUND]


@kernel
def _may_go(hops, tiles, following, hop, done):  # type: ignore[no-untyped-def]
    """Whether the next tile to leave over ``hop`` is finished, and the tile around it has its place."""
    tile = following[hop, N_OUT]
    if hops[hop, H_LEAVES] == 0 or tile == following[hop, N_IN]:
        return False
    within, around = hops[hop, H_WITHIN], hops[hop, H_AROUND]
    if within < 0:
        if tiles[tile, G_LAST] > done:
            return False
    else:
        after = following[within, N_OUT]
        if after != hops[within, H_END] and tiles[after, G_AROUND] <= tile:
            return False
    return around < 0 or following[around, N_IN] > tiles[tile, G_AROUND]


@kernel
def _look(hops, tiles, following, hop, done, needed):  # type: ignore[no-untyped-def]
    """Note the steps by which the next moves of ``hop`` should be over: that of its tile, or of the tile that its place is
    for; LATER for what may not move yet.
    """
    needed[hop, COMES] = needed[hop, GOES] = LATER
    if _may_come(hops, tiles, following, hop, done):
        needed[hop, COMES] = tiles[following[hop, N_IN], G_FIRST]
    if _may_go(hops, tiles, following, hop, done):
        after = following[hop, N_OUT] + hops[hop, H_SLOTS]
        needed[hop, GOES] = tiles[after, G_FIRST] if after < hops[hop, H_END] else NEVER


@kernel
def _next_move(needed):  # type: ignore[no-untyped-def]
    """The move that comes next in the order, as (hop, way); hop -1: none before the next step."""
    chosen, chosen_way, soonest = -1, COMES, LATER
    for way in (COMES, GOES):
        for hop in range(needed.shape[0]):
            if needed[hop, way] < soonest:
                chosen, chosen_way, soonest = hop, way, needed[hop, way]
    return chosen, chosen_way


@kernel
def plan_moves(hops, tiles, kinds, reads, moves, unit_pays):  # type: ignore[no-untyped-def]
    """The order of all moves.

    Parameters
    ----------
    hops      : int64[hops, 9]       H_*; a tensor's outer hop before its inner one
    tiles     : int64[tiles, 6]      G_*; those of a hop in their order
    kinds     : int32[steps]
    reads     : int64[kinds, ports]  bits that the unit reads and writes at every port in a step of each kind
    moves     : int64[rows, 5]       is filled (O_*); two rows a tile are enough
    unit_pays : int64[steps, ports]  is filled: bits that every port pays with the unit's own

    Returns
    -------
    the number of moves, and int64[ports]: bits that are owed behind all of them.
    """
    ports = reads.shape[1]
    owed, serves = np.zeros(ports, np.int64), np.zeros(ports, np.int64)
    following = np.zeros((hops.shape[0], 2), np.int64)
    for hop in range(hops.shape[0]):
        following[hop, :] = hops[hop, H_BEGIN]
        if hops[hop, H_OUTER] >= 0:
            serves[hops[hop, H_OUTER]] = 1
    needed = np.full((hops.shape[0], 2), LATER)
    for hop in range(hops.shape[0]):
        _look(hops, tiles, following, hop, -1, needed)
    count = 0
    for step in range(kinds.shape[0] + 1):
        for hop in range(hops.shape[0]):
            if hops[hop, H_WITHIN] < 0:  # what a step changes; all else changes with moves alone
                _look(hops, tiles, following, hop, step - 1, needed)
        hop, way = _next_move(needed)
        while hop >= 0:
            tile = following[hop, way]
            following[hop, way] += 1
            bits = tiles[tile, G_IN + way]
            outer, inner = hops[hop, H_OUTER], hops[hop, H_INNER]
            paid = np.int64(0)
            if outer >= 0:
                paid = min(owed[outer], bits)
                owed[outer] -= paid
            if inner >= 0:
                owed[inner] += bits
            moves[count, O_TILE], moves[count, O_HOP], moves[count, O_WAY] = tile, hop, way
            moves[count, O_STEP], moves[count, O_PAID] = step, paid
            count += 1
            for other in (hop, hops[hop, H_AROUND], hops[hop, H_WITHIN]):
                if other >= 0:
                    _look(hops, tiles, following, other, step - 1, needed)
            hop, way = _next_move(needed)
        if step < kinds.shape[0]:
            for port in range(ports):
                bits = reads[kinds[step], port]
                if serves[port] == 1:
                    owed[port] += bits
                    unit_pays[step, port] = 0
                else:
                    unit_pays[step, port] = min(owed[port], bits)
                    owed[port] -= unit_pays[step, port]
    return count, owed


@kernel
def _moved(move, took, hops, tiles, when, free):  # type: ignore[no-untyped-def]
    """One move: from when it may, and its port has served the move before, to when it has crossed."""
    tile, hop = move[O_TILE], hops[move[O_HOP]]
    around, bits = tiles[tile, G_AROUND], tiles[tile, G_IN + move[O_WAY]]
    start = when[tile, M_DONE] if move[O_WAY] == GOES else np.int64(0)
    if move[O_WAY] == COMES:
        if tile - hop[H_SLOTS] >= hop[H_BEGIN]:
            start = when[tile - hop[H_SLOTS], M_FREE]
        if tiles[tile, G_BEFORE] >= 0:
            start = max(start, when[tiles[tile, G_BEFORE], M_FREE])
    if bits > 0:
        if around >= 0:
            start = max(start, when[around, M_THERE])
        if hop[H_OUTER] >= 0:
            start = max(start, free[hop[H_OUTER]])
            free[hop[H_OUTER]] = start + took
        start += took
    if move[O_WAY] == GOES:
        when[tile, M_FREE] = start
        if around >= 0:
            when[around, M_DONE] = max(when[around, M_DONE], start)
        return start
    if around >= 0 and hop[H_LEAVES] == 0:
        when[around, M_FREE] = max(when[around, M_FREE], start)
    when[tile, M_THERE] = start + (hop[H_LATENCY] if bits > 0 else 0)
    return np.int64(0)


@kernel
def _in_cycles(ticks):  # type: ignore[no-untyped-def]
    """First whole cycle at or after ``ticks``."""
    return -((-ticks) // HOP_TICKS)


class UnitSteps(NamedTuple):
    """What the unit does: ``classes`` int32[steps], ``grids`` and ``folds`` as for `run_timeline`; ``waits`` int64[steps]:
    cycles by which ports hold a step back; ``hops`` int64[3]: those by which weights, inputs, outputs come to it (-1: none).
    """

    classes: npt.NDArray[np.int32]
    grids: npt.NDArray[np.int64]
    folds: npt.NDArray[np.int64]
    waits: npt.NDArray[np.int64]
    hops: npt.NDArray[np.int64]


@kernel
def run_hops(unit, hops, tiles, moves, took, owed, options):  # type: ignore[no-untyped-def]
    """Walk the steps of a nest on several levels, its moves in the order that is planned.

    Parameters
    ----------
    unit        : UnitSteps
    hops, tiles : as for `plan_moves`
    moves       : int64[moves, 5]  what that planned
    took        : int64[moves]     ticks that each move takes its outer port for, with what is paid
    owed        : int64[ports]     ticks that each port needs behind all else
    options     : as for `run_timeline`

    Returns
    -------
    int64[10] : see R_*; cycles == busy + the stalls.
    """
    result = np.zeros(RESULT_FIELDS, np.int64)
    at = np.zeros(MOMENTS, np.int64)
    free = np.zeros(owed.shape[0], np.int64)
    when = np.zeros((tiles.shape[0], 3), np.int64)
    current = np.zeros(3, np.int64)
    for tensor in range(3):
        current[tensor] = hops[unit.hops[tensor], H_BEGIN] if unit.hops[tensor] >= 0 else -1
    sent = np.int64(0)
    move = 0
    for step in range(unit.classes.shape[0] + 1):
        while move < moves.shape[0] and moves[move, O_STEP] == step:
            sent = max(sent, _moved(moves[move], took[move], hops, tiles, when, free))
            move += 1
        if step == unit.classes.shape[0]:
            break
        held, moving = np.int64(0), np.int64(0)
        for tensor in range(3):
            if current[tensor] >= 0:
                there = _in_cycles(when[current[tensor], M_THERE])
                if tensor == options[O_STATIONARY]:
                    held = there
                else:
                    moving = max(moving, there)
        kind = unit.classes[step]
        _step(unit.grids, unit.folds, kind, at, options, held, moving, unit.waits[step], result)
        for tensor in range(3):
            tile = current[tensor]
            if tile < 0:
                continue
            if tensor == PSUM:
                when[tile, M_DONE] = max(when[tile, M_DONE], at[T_DONE] * HOP_TICKS)
            elif tiles[tile, G_LAST] == step:
                when[tile, M_FREE] = _free_at(tensor, at, options) * HOP_TICKS
            if tiles[tile, G_LAST] == step:
                current[tensor] += 1
    for port in range(owed.shape[0]):
        if owed[port] > 0:
            sent = max(sent, max(free[port], at[T_DONE] * HOP_TICKS) + owed[port])
        sent = max(sent, free[port])
    end = max(at[T_DONE], _in_cycles(sent))
    now = _charge(result, R_DRAIN, at[T_BUSY_END], at[T_DONE], at[T_DONE])
    _charge(result, R_MEMORY, now, end, end)
    result[R_CYCLES] = end
    result[R_PORT_OTHER] += max(np.int64(0), at[T_DONE] - at[T_PORT_END])
    result[R_PORT_MEMORY] += end - at[T_DONE]
    return result
