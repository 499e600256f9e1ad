"""The sparse engine (EIE, ESE): one matrix-vector product on column-interleaved CSC, stepped, and as events.

Row r of the matrix belongs to PE r mod N. Non-zero activations are found N at a time (a *pack*), broadcast
one a cycle into a queue in front of every PE, and held back while any queue is full. A PE pops an activation,
reads its column's two pointers (one in each bank, as column and column + 1 differ in their lowest bit), and
streams the column's entries one a cycle through entry memory and arithmetic pipeline into its accumulators.

*Time.* Edge t ends cycle t; the first is 1. Edge 1 loads the first pack, edge 2 may write a queue, edge 3
pops it, and from then on an entry a cycle is *shown*: it is in the pointer unit after edge T, out of the
entry memory after T + O_ENTRY_READ, in the multiplier after T + O_LEAD, written after T + O_TAIL - 1, and the
layer is seen to be done at edge T + O_TAIL of the last entry. *Period* T is the time between edges T and T +
1. A later stage does what the pointer
unit did a fixed number of cycles before, and bypass makes a sum that is still under way visible to the next
entry: so the sums are as if each entry were added in its own period, which is what both formulations do. The
twin in `accelsim.engines.reference.sparse` draws all the registers.

`step` walks the periods with real queue state. `run_events` walks the broadcasts instead: with P the edge
that writes broadcast k into the queues, R the edge at which a PE pops it and C the queue's capacity,

    P[k] = max(P[k-1] + 1 + idle scans, 1 + max over PEs of R[k-C])        R[k] = max(P[k] + 1, R[k-1] +
    slots[k-1])

which is a recurrence in (max, +) and gives the same cycles, stalls, reads and sums.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from accelsim.engines.kernels._jit import kernel

Array = npt.NDArray[Any]
Int64s = npt.NDArray[np.int64]

(
    O_DEPTH,
    O_CAPACITY,
    O_EMPTY_SLOTS,
    O_ROW_ENTRIES,
    O_LEAD,
    O_TAIL,
    O_PACK,
    O_PACK_IDLE,
    O_ROW_SHIFT,
    O_CHECKED,
    O_LOWEST,
    O_HIGHEST,
    O_SATURATE,
    OPTION_FIELDS,
) = range(14)
"""Indices into the options, see `options_of`; the last is their number."""

(
    C_CYCLES,
    C_BUSY,
    C_FILL,
    C_DRAIN,
    C_QUEUE,
    C_IMBALANCE,
    C_CONTROL,
    C_BROADCASTS,
    C_HELD,
    C_SCANS,
    C_TAIL,
    C_STARVED,
    C_ENTRIES,
    C_PADDING,
    C_MACS,
    C_EMPTY_SLOTS,
    C_ROW_READS,
    C_OVERFLOWS,
    COUNT_FIELDS,
) = range(19)
"""Indices into the counts; the last is their number.

cycles; cycles with a useful MAC; cycles without one by cause (see `_charge_period`); broadcasts; cycles in
which a broadcast was held back by a full queue; cycles in which no non-zero was found while more were to
come; cycles between the last broadcast and the end; PE-cycles without a column between the first and the
last; entries streamed; padding zeros among them; useful MACs; slots spent on empty columns; rows read from
the entry memories; additions that did not fit the accumulator.
"""

USEFUL, WORKING = 1, 2
"""Marks of a period: some PE shows a non-zero; some PE shows a padding zero or an empty column."""

(
    T_FIRST_USEFUL,
    T_LAST_USEFUL,
    T_LAST_ENTRY,
    T_FIRST_SLOT,
    T_LAST_SLOT,
    T_LAST_PUSH,
    T_LAST_POP,
    T_TAKEN,
    TIME_FIELDS,
) = range(9)
"""Periods and edges that both formulations find; NOTHING where there is none. A slot is an entry or an empty
column.
T_TAKEN: the edge at which the fetch unit takes its last pack."""

NOTHING = -1

B_COLUMN, B_EARLIEST, B_PUSH, B_POPPED, BROADCAST_FIELDS = range(5)
"""Fields of a broadcast that is written down; the last is their number.

Its column; the edge that could have written it into the queues, had none been full; the edge that did; the edge at
which the last PE pops it.
"""


def options_of(
    *,
    depth: int,
    capacity: int,
    row_entries: int,
    pack: int,
    empty_slots: int = 1,
    lead: int = 3,
    tail: int = 6,
    pack_idle: bool = True,
    limits: tuple[int, int] | None = None,
    saturate: bool = False,
) -> Int64s:
    """Pack the options for the kernels, int64[OPTION_FIELDS].

    depth:       accumulators of a PE.
    capacity:    entries that a queue holds, >= 1 (a ring that is full one short of its depth holds depth -
                 1).
    row_entries: entries in a row of the entry memory, >= 1.
    pack:        activations scanned at a time, >= 1.
    empty_slots: cycles that a column without entries costs a PE, 0 or 1.
    lead, tail:  cycles from an entry's showing to its multiplication, and to the edge that sees it written.
    pack_idle:   whether a pack whose last element is not its last non-zero costs a scan that finds nothing.
    limits:      lowest and highest value of the accumulator; None: no sum can leave it, nothing is checked.
    saturate:    what overflows stays at the limit (it wraps otherwise).
    """
    low, high = limits if limits is not None else (0, 0)
    shift = row_entries.bit_length() - 1 if row_entries & (row_entries - 1) == 0 else -1
    fields = (
        depth, capacity, empty_slots, row_entries, lead, tail, pack, int(pack_idle), shift,
        int(limits is not None), low, high, int(saturate),
    )  # fmt: skip
    return np.array(fields, dtype=np.int64)


# ----------------------------------------------------------------------------------------------------
# What both formulations share.


@kernel
def _add(total, product, options, counts):  # type: ignore[no-untyped-def]
    """total + product in the accumulator's width; an overflow is counted."""
    exact = total + product
    low, high = options[O_LOWEST], options[O_HIGHEST]
    if low <= exact <= high:
        return exact
    counts[C_OVERFLOWS] += 1
    if options[O_SATURATE]:
        return low if exact < low else high
    span = high - low + 1
    return (exact - low) % span + low


@kernel
def _charge_period(counts, pending, mark, held, finished):  # type: ignore[no-untyped-def]
    """Charge one period, and return to what. Those without a useful MAC wait in ``pending`` until a useful one shows
    they were in between.

    After the last broadcast they are ``imbalance`` (only padding zeros or empty columns are left somewhere);
    else ``queue`` if a broadcast is held back, ``control`` if some PE spends it on a padding zero or an empty
    column, and ``fill`` if all PEs wait for the scan. Before the first useful MAC all are ``fill``, after the
    last ``drain``.
    """
    if mark & USEFUL:
        if pending[C_CYCLES] > 0:
            if counts[C_BUSY] > 0:
                for cause in range(C_FILL, C_CONTROL + 1):
                    counts[cause] += pending[cause]
            pending[:] = 0
        counts[C_BUSY] += 1
        return C_BUSY
    pending[C_CYCLES] += 1
    if finished:
        cause = C_IMBALANCE
    elif held:
        cause = C_QUEUE
    else:
        cause = C_CONTROL if mark & WORKING else C_FILL
    pending[cause] += 1
    return cause


@kernel
def _note_times(times, period, mark, showing, has_entry):  # type: ignore[no-untyped-def]
    """Remember the first and last periods of each kind."""
    if mark & USEFUL:
        times[T_LAST_USEFUL] = period
        if times[T_FIRST_USEFUL] == NOTHING:
            times[T_FIRST_USEFUL] = period
    if has_entry:
        times[T_LAST_ENTRY] = period
    if showing:
        times[T_LAST_SLOT] = period
        if times[T_FIRST_SLOT] == NOTHING:
            times[T_FIRST_SLOT] = period


@kernel
def _close(counts, times, options, pes):  # type: ignore[no-untyped-def]
    """Fill in what is known only at the end: cycles, what came before the first useful MAC and after the
    last.
    """
    cycles = max(times[T_TAKEN], times[T_LAST_POP], options[O_TAIL] + 3)  # at least the length of the pipeline
    if times[T_LAST_ENTRY] != NOTHING:
        cycles = max(cycles, times[T_LAST_ENTRY] + options[O_TAIL])
    if times[T_LAST_SLOT] != NOTHING:
        cycles = max(cycles, times[T_LAST_SLOT] + 1)
        slots = counts[C_ENTRIES] + counts[C_EMPTY_SLOTS]
        counts[C_STARVED] = pes * (times[T_LAST_SLOT] - times[T_FIRST_SLOT] + 1) - slots
    counts[C_CYCLES] = cycles
    if times[T_LAST_PUSH] != NOTHING:
        counts[C_TAIL] = cycles - times[T_LAST_PUSH]
    counts[C_SCANS] = cycles - counts[C_BROADCASTS] - counts[C_HELD] - counts[C_TAIL]
    if times[T_FIRST_USEFUL] == NOTHING:
        counts[C_FILL] = cycles
    else:
        counts[C_FILL] += times[T_FIRST_USEFUL] + options[O_LEAD]
        counts[C_DRAIN] = cycles - (times[T_LAST_USEFUL] + 1 + options[O_LEAD])


# ----------------------------------------------------------------------------------------------------
# Stepped, period by period.

S_LEFT, S_PLACE, S_ROW, S_SCALE, S_POPPED, S_LINE, S_READY, STATE_FIELDS = range(8)
"""Rows of the state, a column a PE; the last is their number.

Entries of the column that are still to be shown (-1: an empty column takes its slot); where the next one
lies; the accumulator of the last one; the activation, 0 where nothing is shown; activations popped so far,
of which the queue's oldest place follows; the row of entry memory at hand as the last column broadcast ends;
(scratch) the PEs that are done with their column.
"""

Q_SCALE, Q_LENGTH, Q_PLACE, QUEUE_FIELDS = range(4)
"""Fields of a word in a PE's queue: the activation, and what the pointers will say (see `_push`)."""


@kernel
def _scan(activations, place, options):  # type: ignore[no-untyped-def]
    """First non-zero at or after ``place`` within its pack, or NOTHING: the leading-non-zero tree.

    Without idle scans the tree looks past the pack's end.
    """
    end = (place // options[O_PACK] + 1) * options[O_PACK]
    if options[O_PACK_IDLE] == 0 or end > activations.shape[0]:
        end = activations.shape[0]
    for column in range(place, end):
        if activations[column] != 0:
            return column
    return np.int64(NOTHING)


@kernel
def _line_of(address, row_entries, shift):  # type: ignore[no-untyped-def]
    """Row of the entry memory that holds entry ``address``; ``shift``: log2 of its entries, or < 0."""
    return address >> shift if shift >= 0 else address // row_entries


@kernel
def _show(state, zeros, values, sums):  # type: ignore[no-untyped-def]
    """The entry that each PE shows, into its accumulator. A PE that shows none adds 0. Returns products that are 0."""
    nothing = np.int64(0)
    for pe in range(state.shape[1]):
        here = np.uint32(state[S_PLACE, pe])  # unsigned: no check for negative places
        shows = np.int64(state[S_LEFT, pe] > 0)
        row = np.int64(state[S_ROW, pe]) + (np.int64(zeros[here]) + 1) * shows
        product = np.int64(values[here]) * np.int64(state[S_SCALE, pe])
        sums[np.uint32(row)] += product
        nothing += product == 0
        state[S_ROW, pe] = row
    return nothing


@kernel
def _show_checked(state, zeros, values, sums, options, counts):  # type: ignore[no-untyped-def]
    """`_show` with every addition held against the accumulator's limits."""
    nothing = np.int64(0)
    for pe in range(state.shape[1]):
        product = np.int64(0)
        if state[S_LEFT, pe] > 0:
            here = state[S_PLACE, pe]
            row = state[S_ROW, pe] + np.int64(zeros[here]) + 1
            product = np.int64(values[here]) * state[S_SCALE, pe]
            sums[row] = _add(sums[row], product, options, counts)
            state[S_ROW, pe] = row
        nothing += product == 0
    return nothing


@kernel
def _advance(state):  # type: ignore[no-untyped-def]
    """Every PE one entry further. Returns (PEs that showed an entry, PEs that are done with their column: in S_READY).

    In two loops, and the first in the state's own 32 bits: so it is vectorised.
    """
    entries = np.int32(0)
    for pe in range(state.shape[1]):
        left = state[S_LEFT, pe]
        entries += np.int32(left > 0)
        left = np.int32(max(left - np.int32(1), np.int32(0)))
        state[S_LEFT, pe] = left
        state[S_PLACE, pe] += np.int32(left > 0)
    ready = np.int64(0)
    for pe in range(state.shape[1]):
        state[S_READY, np.uint32(ready)] = pe
        ready += state[S_LEFT, pe] == 0
    return np.int64(entries), ready


@kernel
def _push(queue, slot, column, scale, starts, pointers):  # type: ignore[no-untyped-def]
    """Write a broadcast into place ``slot`` of every PE's queue.

    What the PE's pointer unit will read for it is kept beside it: the pointers do not change until then, and
    all PEs' lie together here. In the queue's own 32 bits, so that the loop is vectorised.
    """
    pes = pointers.shape[1]
    first = np.uint64(column * pes)
    for pe in range(pes):
        queue[slot, Q_SCALE, pe] = np.int32(scale)
        queue[slot, Q_LENGTH, pe] = np.int32(pointers[column + 1, pe] - pointers[column, pe])
        queue[slot, Q_PLACE, pe] = np.int32(starts[first + np.uint64(pe)])


@kernel
def _row_reads(state, column, pointers, options):  # type: ignore[no-untyped-def]
    """Rows of entry memory that a column's entries need and that the column before did not leave at hand.

    A PE takes its columns in the order in which they are broadcast, whenever that is: the rows can be counted then.
    """
    row_entries, shift = options[O_ROW_ENTRIES], options[O_ROW_SHIFT]
    reads = np.int32(0)
    for pe in range(state.shape[1]):
        begin, end = pointers[column, pe], pointers[column + 1, pe]
        some = np.int32(end > begin)
        first, last = begin, np.int32(end - np.int32(1))
        if shift >= 0:
            first, last = np.int32(first >> np.int32(shift)), np.int32(last >> np.int32(shift))
        else:
            first, last = np.int32(np.int64(first) // row_entries), np.int32(np.int64(last) // row_entries)
        held = state[S_LINE, pe]
        reads += np.int32(some * np.int32(np.int32(last - first) + np.int32(first != held)))
        state[S_LINE, pe] = np.int32(held + np.int32(some * np.int32(last - held)))
    return np.int64(reads)


@kernel
def _pop(state, pe, queue, written, options):  # type: ignore[no-untyped-def]
    """Take the oldest word of the PE's queue, if there is one, and set the PE up for its entries.

    Without branches: what is popped cannot be predicted.
    """
    popped = np.int64(state[S_POPPED, pe])
    there = np.int64(popped < written)
    slot = np.uint32(popped & (queue.shape[0] - 1))
    length = np.int64(queue[slot, Q_LENGTH, pe]) * there
    some = np.int64(length > 0)
    state[S_POPPED, pe] = popped + there
    state[S_LEFT, pe] = length - (there - some) * options[O_EMPTY_SLOTS]
    state[S_PLACE, pe] = queue[slot, Q_PLACE, pe] * some
    state[S_SCALE, pe] = queue[slot, Q_SCALE, pe] * some
    state[S_ROW, pe] = np.int64(pe) * options[O_DEPTH] - some


@kernel
def _pop_ready(state, ready, queue, written, options):  # type: ignore[no-untyped-def]
    """The edge: the ``ready`` PEs in S_READY take the next words of their queues.

    ``written``: words written into the queues so far. Returns how many of them have an empty column now, and how many
    have any.
    """
    empties, busy = np.int64(0), np.int64(0)
    for i in range(ready):
        pe = np.uint32(state[S_READY, i])
        _pop(state, pe, queue, written, options)
        while options[O_EMPTY_SLOTS] == 0 and state[S_LEFT, pe] == 0 and state[S_POPPED, pe] < written:
            _pop(state, pe, queue, written, options)
        empties += state[S_LEFT, pe] < 0
        busy += state[S_LEFT, pe] != 0
    return empties, busy


@kernel
def _slowest(state):  # type: ignore[no-untyped-def]
    """Activations popped by the PE that is furthest behind."""
    least = state[S_POPPED, 0]
    for pe in range(state.shape[1]):
        least = min(least, state[S_POPPED, pe])
    return np.int64(least)


@kernel
def _period(state, queue, written, empties, zeros, values, options, sums, counts):  # type: ignore[no-untyped-def]
    """One period of all PEs, and the edge that ends it. ``empties``: PEs that spend it on an empty column.

    Returns (mark, columns shown, PEs with an empty column after the edge, whether any has a column then).
    """
    nothing = np.int64(state.shape[1])
    if len(values) > 0:
        if options[O_CHECKED]:
            nothing = _show_checked(state, zeros, values, sums, options, counts)
        else:
            nothing = _show(state, zeros, values, sums)
    entries, ready = _advance(state)
    useful = state.shape[1] - nothing
    counts[C_ENTRIES] += entries
    counts[C_PADDING] += entries - useful
    counts[C_EMPTY_SLOTS] += empties
    mark = (USEFUL if useful > 0 else 0) | (WORKING if entries + empties > useful else 0)
    following, busy = _pop_ready(state, ready, queue, written, options)
    return mark, entries + empties, following, busy > 0 or ready < state.shape[1]


@kernel
def _fetch(place, found, held, activations, options):  # type: ignore[no-untyped-def]
    """The fetch unit at an edge: where it scans next, and whether it takes another pack at this edge."""
    pack, columns = options[O_PACK], activations.shape[0]
    if held:
        return place, False
    if found != NOTHING:
        return found + 1, found + 1 < columns and (found + 1) % pack == 0
    following = (place // pack + 1) * pack if options[O_PACK_IDLE] else columns
    return following, following < columns


@kernel
def step(activations, starts, pointers, zeros, values, options, sums, counts):  # type: ignore[no-untyped-def]
    """One matrix-vector product, cycle by cycle with real queue state.

    activations : int64[columns]           the input vector; a trailing bias column has its own pack
    starts      : int64[columns * pes + 1] where each column's entries begin, PE by PE
    pointers    : int32[columns + 1, pes]  the same within each PE's own memory
    zeros       : uint8[entries]           zeros before each entry in the PE's slice of the column
    values      : int16[entries]           weights, 0 for a padding zero (any integer type)
    options     : see `options_of`
    sums        : int64[pes * depth]       the accumulators, PE by PE: added to
    counts      : int64[COUNT_FIELDS]      filled in
    """
    pes, columns = pointers.shape[1], activations.shape[0]
    state = np.zeros((STATE_FIELDS, pes), np.int32)
    state[S_LINE] = NOTHING
    remaining = np.int64(0)
    for value in activations:
        remaining += value != 0
    places = np.int64(1)
    while places < options[O_CAPACITY]:
        places *= 2  # so that a place is found without a division; no more than the capacity are ever taken
    queue = np.zeros((places, QUEUE_FIELDS, pes), np.int32)
    pending = np.zeros(COUNT_FIELDS, np.int64)
    times = np.full(TIME_FIELDS, NOTHING, np.int64)
    times[T_TAKEN] = 1  # edge 1 loads the first pack
    written, slowest, place, period = np.int64(0), np.int64(0), np.int64(0), np.int64(1)
    empties = np.int64(0)
    held = False
    found = np.int64(NOTHING)
    while True:
        if not held:  # else it stands where it stood
            found = _scan(activations, place, options) if place < columns else np.int64(NOTHING)
        if written - slowest >= options[O_CAPACITY]:
            slowest = _slowest(state)
        held = found != NOTHING and written - slowest >= options[O_CAPACITY]
        entries = counts[C_ENTRIES]
        mark, showing, empties, busy = _period(state, queue, written, empties, zeros, values, options, sums, counts)
        _note_times(times, period, mark, showing, counts[C_ENTRIES] > entries)
        _charge_period(counts, pending, mark, held, written == remaining)
        counts[C_HELD] += held
        if slowest < remaining == written:
            slowest = _slowest(state)
            if slowest == written:
                times[T_LAST_POP] = period + 1
        if found != NOTHING and not held:
            _push(queue, written & (places - 1), found, activations[found], starts, pointers)
            counts[C_ROW_READS] += _row_reads(state, found, pointers, options)
            written += 1
            times[T_LAST_PUSH] = period + 1
        if place < columns:
            place, takes = _fetch(place, found, held, activations, options)
            if takes:
                times[T_TAKEN] = period + 1
        if place >= columns and slowest == remaining and not busy:
            break
        period += 1
    counts[C_BROADCASTS] = written
    counts[C_MACS] = counts[C_ENTRIES] - counts[C_PADDING]
    _close(counts, times, options, pes)


# ----------------------------------------------------------------------------------------------------
# As events, broadcast by broadcast.


@kernel
def find_broadcasts(activations, options, columns, idle):  # type: ignore[no-untyped-def]
    """Scan ``activations`` pack by pack. Fills columns[k] and idle[k], the scans that find nothing right
    before it.

    Returns (number of broadcasts, scans after the last one until the last pack is taken).
    """
    pack = options[O_PACK]
    count = 0
    free_pack = 0  # the pack that can be scanned next without an idle scan
    for column in range(activations.shape[0]):
        if activations[column] != 0:
            here = column // pack
            columns[count] = column
            idle[count] = here - free_pack if options[O_PACK_IDLE] else 0
            free_pack = (column + 1) // pack
            count += 1
    last = (activations.shape[0] - 1) // pack
    return count, max(0, last - free_pack) if options[O_PACK_IDLE] else 0


@kernel
def _most_periods(columns, idle, count, pointers):  # type: ignore[no-untyped-def]
    """A bound of the periods that the broadcasts take: the longest slice of each, its scans and two edges."""
    total = np.int64(4)
    for k in range(count):
        column = columns[k]
        most = np.int64(1)
        for pe in range(pointers.shape[1]):
            most = max(most, np.int64(pointers[column + 1, pe]) - np.int64(pointers[column, pe]))
        total += most + idle[k] + 2
    return total


@kernel
def decode_rows(starts, zeros, pes, depth, rows):  # type: ignore[no-untyped-def]
    """The accumulator of every entry into ``rows``: the address adders' state, worked out once a matrix.

    The accumulators lie PE by PE. rows: unsigned[entries], so that they index without a check for negative
    places, which would double the time of a sum.
    """
    for segment in range(len(starts) - 1):
        row = segment % pes * depth - 1
        for here in range(starts[segment], starts[segment + 1]):
            row += np.int64(zeros[here]) + 1
            rows[here] = row


@kernel
def _accumulate(place, end, scale, rows, values, sums):  # type: ignore[no-untyped-def]
    """The entries of one column, all PEs. Returns its padding zeros."""
    padding = 0
    for here in range(np.uint64(place), np.uint64(end)):
        weight = np.int64(values[here])
        sums[rows[here]] += weight * scale
        padding += weight == 0
    return padding


@kernel
def _accumulate_checked(place, end, scale, rows, values, sums, options, counts):  # type: ignore[no-untyped-def]
    """`_accumulate` with every addition held against the accumulator's limits."""
    padding = 0
    for here in range(place, end):
        weight = np.int64(values[here])
        if weight == 0:
            padding += 1
        else:
            sums[rows[here]] = _add(sums[rows[here]], weight * scale, options, counts)
    return padding


@kernel
def _pop_times(start, stop, push, free, pops, lengths, empty_slots):  # type: ignore[no-untyped-def]
    """When each PE pops the broadcast written at edge ``push``, and is free again.

    start, stop: int32[pes], the column's pointers. Fills pops and lengths. Returns the edges of the latest
                 pop, of the latest end, and of the latest end of a column with entries (0 if there is none).
    """
    latest, end, end_entries = np.int64(0), np.int64(0), np.int64(0)
    for pe in range(len(start)):
        length = np.int64(stop[pe]) - np.int64(start[pe])
        pop = max(push + 1, free[pe])
        lengths[pe], pops[pe] = length, pop
        free[pe] = pop + max(length, empty_slots)
        latest = max(latest, pop)
        end = max(end, free[pe])
        end_entries = max(end_entries, pop + length if length > 0 else np.int64(0))
    return latest, end, end_entries


@kernel
def _fetch_rows(start, lengths, held, options):  # type: ignore[no-untyped-def]
    """Rows of entry memory that the column's entries need and that are not at hand yet."""
    row_entries, shift = options[O_ROW_ENTRIES], options[O_ROW_SHIFT]
    reads = np.int64(0)
    for pe in range(len(start)):
        first = _line_of(np.int64(start[pe]), row_entries, shift)
        last = _line_of(np.int64(start[pe]) + lengths[pe] - 1, row_entries, shift)
        there = np.int64(lengths[pe] > 0)
        reads += there * (last - first + np.int64(first != held[pe]))
        held[pe] = last if there else held[pe]
    return reads


@kernel
def _mark_slices(marks, solid, place, lengths, pops, values, empty_slots):  # type: ignore[no-untyped-def]
    """Mark the periods from ``solid`` on in which something is shown; all before it are useful, or past.

    Returns the new ``solid``.
    """
    for pe in range(len(lengths)):
        length, period = lengths[pe], pops[pe]
        if period + max(length, empty_slots) <= solid:
            place += length
            continue
        if length == 0 and empty_slots > 0:
            marks[period] |= WORKING
        else:
            skipped = max(np.int64(0), solid - period)
            for here in range(place + skipped, place + length):
                marks[period + skipped] |= WORKING if values[here] == 0 else USEFUL
                skipped += 1
            while marks[solid] & USEFUL:
                solid += 1
        place += length
    return solid


@kernel
def _charge_until(  # type: ignore[no-untyped-def]
    charged, until, following, marks, pushed, idle, count, counts, times, uses
):
    """Charge the periods from ``charged`` up to ``until``: no more can be shown in them.

    ``following``: the first broadcast that was not written by ``charged``. Returns it for ``until``. Where there is
    room in ``uses``, each period's goes there.
    """
    pending = np.zeros(COUNT_FIELDS, np.int64)
    for period in range(charged, until):
        while following < count and pushed[following] <= period:
            following += 1
        held = False
        if following < count:
            before = pushed[following - 1] if following > 0 else np.int64(1)
            held = before + idle[following] <= period < pushed[following] - 1
        use = _charge_period(counts, pending, marks[period], held, following == count)
        if len(uses) > 0:
            uses[period] = use
        _note_times(times, period, marks[period], 0, False)
    return following


@kernel
def record_events(  # type: ignore[no-untyped-def]
    activations, starts, pointers, rows, values, options, sums, counts, uses, broadcasts, pops
):
    """`run_events`, written down as far as there is room in the last three.

    uses       : uint8[cycles]            C_* of the cycle in which each period's entries are multiplied; see `_charge_period`.
                                          Those before the first period are not written
    broadcasts : int64[n, BROADCAST_FIELDS]
    pops       : int64[n, pes]            edge at which each PE pops each broadcast
    """
    pes, capacity, empty_slots = pointers.shape[1], options[O_CAPACITY], options[O_EMPTY_SLOTS]
    columns, idle = np.empty(activations.shape[0], np.int64), np.empty(activations.shape[0], np.int64)
    count, trailing = find_broadcasts(activations, options, columns, idle)
    marks = np.zeros(_most_periods(columns, idle, count, pointers), np.uint8)
    pushed = np.zeros(max(count, 1), np.int64)
    popped_by_all = np.zeros(capacity, np.int64)  # edge at which the last PE pops broadcast k, by k mod capacity
    free, held = np.zeros(pes, np.int64), np.full(pes, NOTHING, np.int64)
    popped, lengths = np.zeros(pes, np.int64), np.zeros(pes, np.int64)
    times = np.full(TIME_FIELDS, NOTHING, np.int64)
    push, ring, solid = np.int64(1), np.int64(0), np.int64(1)
    for k in range(count):
        column = columns[k]
        earliest = push + 1 + idle[k]
        push = earliest
        if k >= capacity:
            push = max(earliest, popped_by_all[ring] + 1)
        pushed[k] = push
        counts[C_HELD] += push - earliest
        place, end = starts[column * pes], starts[(column + 1) * pes]
        latest, done, done_entries = _pop_times(
            pointers[column], pointers[column + 1], push, free, popped, lengths, empty_slots
        )
        popped_by_all[ring] = latest
        if k < len(broadcasts):
            broadcasts[k, B_COLUMN], broadcasts[k, B_EARLIEST] = column, earliest
            broadcasts[k, B_PUSH], broadcasts[k, B_POPPED] = push, latest
            for pe in range(pes):  # one by one: assigning the row costs every run 20 %, though it is never reached
                pops[k, pe] = popped[pe]
        ring = ring + 1 if ring + 1 < capacity else np.int64(0)
        times[T_LAST_POP] = latest
        counts[C_ROW_READS] += _fetch_rows(pointers[column], lengths, held, options)
        solid = max(solid, push + 1)  # nothing is shown before that any more
        solid = _mark_slices(marks, solid, place, lengths, popped, values, empty_slots)
        counts[C_ENTRIES] += end - place
        if options[O_CHECKED]:
            padding = _accumulate_checked(place, end, activations[column], rows, values, sums, options, counts)
        else:
            padding = _accumulate(place, end, activations[column], rows, values, sums)
        counts[C_PADDING] += padding
        if empty_slots > 0:
            counts[C_EMPTY_SLOTS] += np.sum(lengths == 0)
        times[T_LAST_ENTRY] = max(times[T_LAST_ENTRY], done_entries - 1)
        if end > place or empty_slots > 0:
            times[T_LAST_SLOT] = max(times[T_LAST_SLOT], done - 1)
            if times[T_FIRST_SLOT] == NOTHING:
                times[T_FIRST_SLOT] = push + 1
    counts[C_BROADCASTS] = count
    counts[C_MACS] = counts[C_ENTRIES] - counts[C_PADDING]
    times[T_TAKEN] = push + trailing
    if count > 0:
        times[T_LAST_PUSH] = push
    _charge_until(np.int64(1), times[T_LAST_SLOT] + 1, 0, marks, pushed, idle, count, counts, times, uses)
    _close(counts, times, options, pes)


@kernel
def run_events(activations, starts, pointers, rows, values, options, sums, counts):  # type: ignore[no-untyped-def]
    """`step`, broadcast by broadcast: the same counts, the same sums. ``rows``: see `decode_rows`; else as
    `step`.
    """
    uses, nothing = np.empty(0, np.uint8), np.empty((0, 0), np.int64)
    record_events(activations, starts, pointers, rows, values, options, sums, counts, uses, nothing, nothing)


@kernel
def _largest(array):  # type: ignore[no-untyped-def]
    """Largest magnitude in ``array`` (int64), as a float: two of them may be multiplied."""
    most = np.int64(0)
    for value in array:
        most = max(most, abs(value))
    return np.float64(most)


@kernel
def _busiest(activations, pointers, streamed):  # type: ignore[no-untyped-def]
    """Entries that the busiest PE streams. ``streamed``: scratch, int64[pes]."""
    streamed[:] = 0
    for column in range(activations.shape[0]):
        if activations[column] != 0:
            for pe in range(streamed.shape[0]):
                streamed[pe] += np.int64(pointers[column + 1, pe]) - np.int64(pointers[column, pe])
    return streamed.max()


@kernel
def _written(activations, starts, pes, rows, seen, mark):  # type: ignore[no-untyped-def]
    """Rows that at least one entry is added to. ``seen``: scratch, int32[rows], that has no ``mark`` yet."""
    found = np.int64(0)
    for column in range(activations.shape[0]):
        if activations[column] != 0:
            for here in range(starts[column * pes], starts[(column + 1) * pes]):
                found += np.int64(seen[rows[here]] != mark)
                seen[rows[here]] = mark
    return found


@kernel
def run_batch(  # type: ignore[no-untyped-def]
    vectors, starts, pointers, rows, values, options, heaviest, sums, counts, busiest, written
):
    """`run_events` on several vectors, one after the other.

    vectors  : int64[n, columns]
    heaviest : float64; the largest sum of a row's magnitudes. Sums are held against the limits in ``options`` only
               where the matrix, the vector and what is in the accumulators already could leave them.
    sums     : int64[n, pes * depth]
    counts   : int64[n, COUNT_FIELDS]
    busiest  : int64[n]                filled with the entries that the busiest PE streams
    written  : int64[n]                filled with the rows that entries are added to
    """
    own, seen = options.copy(), np.zeros(sums.shape[1], np.int32)
    streamed = np.zeros(pointers.shape[1], np.int64)
    for i in range(vectors.shape[0]):
        if options[O_CHECKED]:
            most = heaviest * _largest(vectors[i]) + _largest(sums[i])
            own[O_CHECKED] = np.int64(most >= np.float64(options[O_HIGHEST]))
        run_events(vectors[i], starts, pointers, rows, values, own, sums[i], counts[i])
        busiest[i] = _busiest(vectors[i], pointers, streamed)
        written[i] = _written(vectors[i], starts, pointers.shape[1], rows, seen, np.int32(i + 1))
