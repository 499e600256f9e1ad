"""The sparse engine (EIE, ESE): one matrix-vector product on column-interleaved CSC, stepped, and as events.

Row r of the matrix belongs to PE r mod N. Non-zero activations are found N at a time (a *pack*), broadcast one a
cycle into a queue in front of every PE, and held back while any queue is full. A PE pops an activation, reads its
column's two pointers (one in each bank, as column and column + 1 differ in their lowest bit), and streams the
column's entries one a cycle through entry memory and arithmetic pipeline into its accumulators.

*Time.* Edge t ends cycle t; the first is 1. Edge 1 loads the first pack, edge 2 may write a queue, edge 3 pops it, and
from then on an entry a cycle is *shown*: it is in the pointer unit after edge T, out of the entry memory after
T + O_ENTRY_READ, in the multiplier after T + O_LEAD, written after T + O_TAIL - 1, and the layer is seen to be done at
edge T + O_TAIL of the last entry. *Period* T is the time between edges T and T + 1. A later stage does what the pointer
unit did a fixed number of cycles before, and bypass makes a sum that is still under way visible to the next entry: so
the sums are as if each entry were added in its own period, which is what both formulations do. The twin in
`accelsim.engines.reference.sparse` draws all the registers.

`step` walks the periods with real queue state. `run_events` walks the broadcasts instead: with P the edge that writes
broadcast k into the queues, R the edge at which a PE pops it and C the queue's capacity,

    P[k] = max(P[k-1] + 1 + idle scans, 1 + max over PEs of R[k-C])        R[k] = max(P[k] + 1, R[k-1] + slots[k-1])

which is a recurrence in (max, +) and gives the same cycles, stalls, reads and sums.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from accelsim.engines.kernels._jit import kernel

Array = npt.NDArray[Any]
Int64s = npt.NDArray[np.int64]

(
    O_CAPACITY,
    O_EMPTY_SLOTS,
    O_ROW_ENTRIES,
    O_LEAD,
    O_TAIL,
    O_PACK,
    O_PACK_IDLE,
    O_CHECKED,
    O_LOWEST,
    O_HIGHEST,
    O_SATURATE,
    OPTION_FIELDS,
) = range(12)
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
    C_BYPASSES,
    C_OVERFLOWS,
    COUNT_FIELDS,
) = range(20)
"""Indices into the counts; the last is their number.

cycles; cycles with a useful MAC; cycles without one by cause (see `_charge_period`); broadcasts; cycles in which a
broadcast was held back by a full queue; cycles in which no non-zero was found while more were to come; cycles between
the last broadcast and the end; PE-cycles without a column between the first and the last; entries streamed; padding
zeros among them; useful MACs; slots spent on empty columns; rows read from the entry memories; sums taken from the
bypass; additions that did not fit the accumulator.
"""

USEFUL, WORKING = 1, 2
"""Marks of a period: some PE shows a non-zero; some PE shows a padding zero or an empty column."""

NOTHING = -1


def options_of(
    *,
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

    capacity:    entries that a queue holds, >= 1 (a ring that is full one short of its depth holds depth - 1).
    row_entries: entries in a row of the entry memory, >= 1.
    pack:        activations scanned at a time, >= 1.
    empty_slots: cycles that a column without entries costs a PE, 0 or 1.
    lead, tail:  cycles from an entry's showing to its multiplication, and to the edge that sees it written.
    pack_idle:   whether a pack whose last element is not its last non-zero costs a scan that finds nothing.
    limits:      lowest and highest value of the accumulator; None: no sum can leave it, nothing is checked.
    saturate:    what overflows stays at the limit (it wraps otherwise).
    """
    low, high = limits if limits is not None else (0, 0)
    fields = (
        capacity, empty_slots, row_entries, lead, tail, pack, int(pack_idle), int(limits is not None), low, high,
        int(saturate),
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
    """Charge one period. Those without a useful MAC wait in ``pending`` until a useful one shows they were in between.

    After the last broadcast they are ``imbalance`` (only padding zeros or empty columns are left somewhere); else
    ``queue`` if a broadcast is held back, ``control`` if some PE spends it on a padding zero or an empty column, and
    ``fill`` if all PEs wait for the scan. Before the first useful MAC all are ``fill``, after the last ``drain``.
    """
    if mark & USEFUL:
        if counts[C_BUSY] > 0:
            for cause in range(C_FILL, C_CONTROL + 1):
                counts[cause] += pending[cause]
        pending[:] = 0
        counts[C_BUSY] += 1
    elif finished:
        pending[C_IMBALANCE] += 1
    elif held:
        pending[C_QUEUE] += 1
    elif mark & WORKING:
        pending[C_CONTROL] += 1
    else:
        pending[C_FILL] += 1


@kernel
def _close(counts, times, options, pes):  # type: ignore[no-untyped-def]
    """Fill in what is known only at the end. times: first and last useful period, last entry, last slot, last push,
    last pop, last pack taken, first slot; NOTHING where there is none."""
    first, last, last_entry, last_slot, last_push, last_pop, taken, first_slot = times
    cycles = max(taken, last_pop, options[O_TAIL] + 3)  # no layer is done sooner than its pipeline is long
    if last_entry != NOTHING:
        cycles = max(cycles, last_entry + options[O_TAIL])
    if last_slot != NOTHING:
        cycles = max(cycles, last_slot + 1)
        slots = counts[C_ENTRIES] + counts[C_EMPTY_SLOTS]
        counts[C_STARVED] = pes * (last_slot - first_slot + 1) - slots
    counts[C_CYCLES] = cycles
    counts[C_SCANS] = cycles - counts[C_BROADCASTS] - counts[C_HELD]
    if last_push != NOTHING:
        counts[C_TAIL] = cycles - last_push
        counts[C_SCANS] -= counts[C_TAIL]
    if first == NOTHING:
        counts[C_FILL] = cycles
    else:
        counts[C_FILL] += first + options[O_LEAD]
        counts[C_DRAIN] = cycles - (last + 1 + options[O_LEAD])


# ----------------------------------------------------------------------------------------------------
# Stepped, period by period.


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
    return NOTHING


@kernel
def _pop(pe, state, written, columns, pes, starts, pointers, options, counts):  # type: ignore[no-untyped-def]
    """PE ``pe`` is free: take the next activation from its queue, if there is one, and read its two pointers."""
    popped, left, place, address, column = state
    left[pe] = 0
    while popped[pe] < written:
        taken = columns[popped[pe] % columns.shape[0]]
        popped[pe] += 1
        column[pe] = taken
        length = pointers[taken + 1, pe] - pointers[taken, pe]
        if length > 0:
            left[pe] = length
            place[pe] = starts[taken * pes + pe]
            address[pe] = pointers[taken, pe]
            return
        if options[O_EMPTY_SLOTS]:
            left[pe] = -1
            return


@kernel
def step(activations, starts, pointers, zeros, values, options, sums, counts):  # type: ignore[no-untyped-def]
    """One matrix-vector product, cycle by cycle with real queue state.

    activations : int64[columns]           the input vector; a trailing bias column has its own pack
    starts      : int64[columns * pes + 1] where each column's entries begin, PE by PE
    pointers    : int32[columns + 1, pes]  the same within each PE's own memory
    zeros       : uint8[entries]           zeros before each entry in the PE's slice of the column
    values      : int16[entries]           weights, 0 for a padding zero (any integer type)
    options     : see `options_of`
    sums        : int64[pes, depth]        the accumulators: read, added to
    counts      : int64[COUNT_FIELDS]      filled in
    """
    pes = pointers.shape[1]
    capacity = options[O_CAPACITY]
    queue = np.zeros(capacity, np.int64)  # all queues hold the same words: only their read pointers differ
    popped, left = np.zeros(pes, np.int64), np.zeros(pes, np.int64)
    place, address, column = np.zeros(pes, np.int64), np.zeros(pes, np.int64), np.zeros(pes, np.int64)
    state = (popped, left, place, address, column)
    row, row_held = np.zeros(pes, np.int64), np.full(pes, NOTHING, np.int64)
    last_row, last_shown = np.zeros(pes, np.int64), np.full(pes, -2, np.int64)
    pending = np.zeros(COUNT_FIELDS, np.int64)
    written = np.int64(0)
    slowest = np.int64(0)  # pops of the PE that has popped least
    scan_place, packs = np.int64(0), activations.shape[0]  # edge 1 loads the first pack
    first_useful, last_useful, last_entry, last_slot = NOTHING, NOTHING, NOTHING, NOTHING
    last_push, last_pop, first_slot, taken = NOTHING, NOTHING, NOTHING, np.int64(1)
    row_entries, checked = options[O_ROW_ENTRIES], options[O_CHECKED]
    remaining = np.int64(0)
    for value in activations:
        remaining += value != 0
    period = np.int64(1)
    while True:
        # What the fetch unit sees in this period.
        found = _scan(activations, scan_place, options) if scan_place < packs else NOTHING
        held = found != NOTHING and written - slowest >= capacity
        finished = remaining == 0
        counts[C_HELD] += held
        # What the PEs do in it, and at the edge that ends it.
        mark, showing = 0, False
        waiting = slowest < written
        slowest = written
        for pe in range(pes):
            if left[pe] > 0:
                showing = True
                here = place[pe]
                fresh = last_row[pe] if last_shown[pe] == period - 1 else NOTHING
                row[pe] += np.int64(zeros[here]) + 1
                line = address[pe] // row_entries
                if line != row_held[pe]:
                    row_held[pe] = line
                    counts[C_ROW_READS] += 1
                counts[C_ENTRIES] += 1
                counts[C_BYPASSES] += fresh == row[pe] - 1
                weight = np.int64(values[here])
                if weight != 0:
                    mark |= USEFUL
                    counts[C_MACS] += 1
                    product = weight * activations[column[pe]]
                    if checked:
                        sums[pe, row[pe] - 1] = _add(sums[pe, row[pe] - 1], product, options, counts)
                    else:
                        sums[pe, row[pe] - 1] += product
                else:
                    mark |= WORKING
                    counts[C_PADDING] += 1
                last_row[pe] = row[pe] - 1
                last_shown[pe] = period
                last_entry = period
                place[pe] = here + 1
                address[pe] += 1
                left[pe] -= 1
                if left[pe] == 0:
                    row[pe] = 0
            elif left[pe] < 0:
                showing = True
                mark |= WORKING
                counts[C_EMPTY_SLOTS] += 1
                left[pe] = 0
            if left[pe] == 0:
                _pop(pe, state, written, queue, pes, starts, pointers, options, counts)
            slowest = min(slowest, popped[pe])
        if waiting and slowest == written:
            last_pop = period + 1
        if showing:
            last_slot = period
            if first_slot == NOTHING:
                first_slot = period
        if mark & USEFUL:
            last_useful = period
            if first_useful == NOTHING:
                first_useful = period
        _charge_period(counts, pending, mark, held, finished)
        # What the fetch unit does at that edge.
        if found != NOTHING and not held:
            queue[written % capacity] = found
            written += 1
            remaining -= 1
            last_push = period + 1
            scan_place = found + 1
            if scan_place < packs and scan_place % options[O_PACK] == 0:
                taken = period + 1
        elif found == NOTHING and scan_place < packs:
            scan_place = (scan_place // options[O_PACK] + 1) * options[O_PACK]
            if options[O_PACK_IDLE] == 0:
                scan_place = packs
            elif scan_place < packs:
                taken = period + 1
        if scan_place >= packs and slowest == written and not np.any(left != 0):
            break
        period += 1
    counts[C_BROADCASTS] = written
    times = (first_useful, last_useful, last_entry, last_slot, last_push, last_pop, taken, first_slot)
    _close(counts, times, options, pes)


# ----------------------------------------------------------------------------------------------------
# As events, broadcast by broadcast.


@kernel
def find_broadcasts(activations, options, columns, idle):  # type: ignore[no-untyped-def]
    """Scan ``activations`` pack by pack. Fills columns[k] and idle[k], the scans that find nothing right before it.

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
def _longest(columns, count, pointers):  # type: ignore[no-untyped-def]
    """A bound of the periods that the broadcasts can take: each the longest of its slices, and a scan."""
    total = np.int64(0)
    for k in range(count):
        column = columns[k]
        most = np.int64(1)
        for pe in range(pointers.shape[1]):
            most = max(most, np.int64(pointers[column + 1, pe] - pointers[column, pe]))
        total += most + 2
    return total


@kernel
def _stream(place, end, weight_scale, row, values, zeros, accumulators, marks, period):  # type: ignore[no-untyped-def]
    """The entries of one column in one PE, unchecked sums. Returns (padding zeros, row of the last entry)."""
    padding = 0
    for here in range(place, end):
        row += np.int64(zeros[here]) + 1
        weight = np.int64(values[here])
        accumulators[row] += weight * weight_scale
        is_padding = weight == 0
        padding += is_padding
        marks[period] |= WORKING if is_padding else USEFUL
        period += 1
    return padding, row


@kernel
def _stream_checked(  # type: ignore[no-untyped-def]
    place, end, weight_scale, row, values, zeros, accumulators, marks, period, options, counts
):
    """`_stream` with every addition held against the accumulator's limits."""
    padding = 0
    for here in range(place, end):
        row += np.int64(zeros[here]) + 1
        weight = np.int64(values[here])
        if weight == 0:
            padding += 1
            marks[period] |= WORKING
        else:
            accumulators[row] = _add(accumulators[row], weight * weight_scale, options, counts)
            marks[period] |= USEFUL
        period += 1
    return padding, row


@kernel
def _charge_all(marks, columns_pushed, idle, count, options, counts):  # type: ignore[no-untyped-def]
    """Charge every period up to the last marked one. ``columns_pushed``: the edge of each broadcast."""
    pending = np.zeros(COUNT_FIELDS, np.int64)
    last = NOTHING
    for period in range(len(marks)):
        if marks[period]:
            last = period
    first_useful, last_useful = NOTHING, NOTHING
    following = 0  # the broadcast that is not written yet in this period
    for period in range(1, last + 1):
        while following < count and columns_pushed[following] <= period:
            following += 1
        held = False
        if following < count:
            before = columns_pushed[following - 1] if following > 0 else 1
            could = before + idle[following]  # the first period in which it is found
            held = could <= period < columns_pushed[following] - 1
        _charge_period(counts, pending, marks[period], held, following == count)
        if marks[period] & USEFUL:
            last_useful = period
            if first_useful == NOTHING:
                first_useful = period
    return first_useful, last_useful


@kernel
def run_events(activations, starts, pointers, zeros, values, options, sums, counts):  # type: ignore[no-untyped-def]
    """`step`, broadcast by broadcast: the same arguments, the same counts, the same sums."""
    pes = pointers.shape[1]
    capacity = options[O_CAPACITY]
    columns, idle = np.empty(activations.shape[0], np.int64), np.empty(activations.shape[0], np.int64)
    count, trailing = find_broadcasts(activations, options, columns, idle)
    scans = np.int64(0)
    for k in range(count):
        scans += idle[k]
    marks = np.zeros(_longest(columns, count, pointers) + scans + 4, np.uint8)
    pushed = np.zeros(max(count, 1), np.int64)
    popped_by_all = np.zeros(capacity, np.int64)  # edge at which the last PE has popped broadcast k, by k mod capacity
    free = np.zeros(pes, np.int64)  # edge from which a PE can pop
    row_held = np.full(pes, NOTHING, np.int64)
    last_row, last_end = np.full(pes, NOTHING, np.int64), np.zeros(pes, np.int64)
    row_entries, empty_slots, checked = options[O_ROW_ENTRIES], options[O_EMPTY_SLOTS], options[O_CHECKED]
    push, first_slot, last_entry, last_slot = np.int64(1), NOTHING, NOTHING, NOTHING
    entries, padding, empties, row_reads, bypasses = 0, 0, 0, 0, 0
    for k in range(count):
        column = columns[k]
        earliest = push + 1 + idle[k]
        push = earliest
        if k >= capacity:
            push = max(push, popped_by_all[k % capacity] + 1)
        pushed[k] = push
        counts[C_HELD] += push - earliest
        scale = activations[column]
        latest = np.int64(0)
        place = starts[column * pes]
        for pe in range(pes):
            address = np.int64(pointers[column, pe])
            length = np.int64(pointers[column + 1, pe]) - address
            pop = max(push + 1, free[pe])
            latest = max(latest, pop)
            if length == 0:
                if empty_slots:
                    marks[pop] |= WORKING
                    empties += 1
                    last_slot = max(last_slot, pop)
                free[pe] = pop + empty_slots
                continue
            end = pop + length
            line, last_line = address // row_entries, (address + length - 1) // row_entries
            row_reads += last_line - line + (line != row_held[pe])
            row_held[pe] = last_line
            bypasses += last_end[pe] == pop and last_row[pe] == zeros[place]
            if checked:
                padded, row = _stream_checked(
                    place, place + length, scale, np.int64(-1), values, zeros, sums[pe], marks, pop, options, counts
                )
            else:
                padded, row = _stream(
                    place, place + length, scale, np.int64(-1), values, zeros, sums[pe], marks, pop
                )
            padding += padded
            entries += length
            last_row[pe], last_end[pe], free[pe] = row, end, end
            last_entry = max(last_entry, end - 1)
            place += length
        popped_by_all[k % capacity] = latest
        if first_slot == NOTHING and (last_entry != NOTHING or last_slot != NOTHING):
            first_slot = push + 1
    counts[C_BROADCASTS] = count
    counts[C_ENTRIES], counts[C_PADDING], counts[C_MACS] = entries, padding, entries - padding
    counts[C_EMPTY_SLOTS], counts[C_ROW_READS], counts[C_BYPASSES] = empties, row_reads, bypasses
    first_useful, last_useful = _charge_all(marks, pushed, idle, count, options, counts)
    last_push = pushed[count - 1] if count > 0 else np.int64(NOTHING)
    last_pop = popped_by_all[(count - 1) % capacity] if count > 0 else np.int64(NOTHING)
    last_slot = max(last_entry, last_slot)
    times = (first_useful, last_useful, last_entry, last_slot, last_push, last_pop, push + trailing, first_slot)
    _close(counts, times, options, pes)
