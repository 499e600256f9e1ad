"""The systolic array: one fold's timing from control tokens alone, and whole GEMMs with real accumulating state.

A *fold* is one tile on the array: `used_rows x used_cols` of the `rows x cols` PEs, and `vectors` operand
vectors streamed through them. For output-stationary (os) the array's rows are output rows, its columns output
columns, and the vectors run over the reduction. For weight-stationary (ws) the rows run over the reduction,
the columns are output columns, the vectors are output rows. Input-stationary (is) is ws of the transposed
problem. All cycles are counted from the fold's first cycle, 0.

*Skew.* PE(i, j) does in local cycle t what PE(0, 0) did in cycle t - i*row_skew - j*col_skew. For os the skews
are the register counts of a hop down and a hop to the right; for ws the row skew is the latency of a partial
sum's step to the next row, accumulator + hop_down - 1.

*Moving frame* (values mode). No operand is moved. The operand registers of row i in a cycle are a window into
row i's stream, and a shift of the whole row is a change of the window's offset. With s = t - i*row_skew:

    os: sums[i, j]  += A[i, s - j*col_skew] * B[s - j*col_skew, j]      sums stand, B moves
    ws: sums[s, j]  += A[s - j*col_skew, i] * W[i, j]                   weights stand, sums move

Both are the same walk over two grids, of which one *stands* (a row a PE row) and the other *moves* (a row a
value of s); only the sums are written, each PE's once in every cycle in which it works, and the cycles are
done one after the other, all rows of a cycle before the next cycle. So the whole state of the array is in
memory between any two cycles: `fold_registers` reads it out.

The hardware's delays that shift a whole fold (input, multiplier, output registers) change no value; they are
in `fold_timing` and `fold_registers` only.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from accelsim.engines.kernels._jit import kernel

Array = npt.NDArray[Any]
Int64s = npt.NDArray[np.int64]
Offsets = tuple[int, int, int]  # into (sums, stream, panel)
Shape = tuple[int, int, int, int, int, int, int]
"""vectors, used_rows, used_cols, row_skew, col_skew, lanes, sums_move: a fold as it lies in memory."""
Limits = tuple[int, int, int]
"""lowest and highest value of the accumulator, and whether it saturates; (0, 0, 0): as its type wraps."""

OS, WS, IS = 0, 1, 2
"""Dataflows. IS is timed as WS; the caller transposes the problem."""

DRAIN_PARALLEL, DRAIN_COLS, DRAIN_ROWS = 0, 1, 2
"""How sums leave an os array: all at once, or shifted out along the columns' axis or the rows' axis."""

LOAD_ROWS, LOAD_PARALLEL = 0, 1
"""How stationary operands enter a ws array: a row a cycle, always all rows, or all at once."""

HOP_DOWN, HOP_RIGHT, MULTIPLIER, ACCUMULATOR, INPUT, OUTPUT, TRIM, DRAIN, LOAD = range(9)
"""Indices into the options array, see `fold_options`."""

(
    LOAD_CYCLES,
    STREAM_CYCLES,
    FIRST_MAC_CYCLE,
    LAST_MAC_CYCLE,
    MAC_COUNT,
    BUSY_CYCLES,
    LAST_STEP_CYCLE,
    DRAIN_START_CYCLE,
    DRAIN_CYCLES,
    FIRST_OUTPUT_CYCLES,
    END_CYCLES,
    TIMING_FIELDS,
) = range(12)
"""Indices into the timing record, see `fold_timing`; the last is their number."""

COUNT_FOLDS, COUNT_MACS, COUNT_BUSY_CYCLES, COUNT_STEPPED_CYCLES, COUNT_OVERFLOWS, COUNT_FIELDS = range(6)
"""Indices into the counts that a GEMM returns; the last is their number.

Folds run; useful MACs stepped; cycles with at least one useful MAC; cycles from each fold's first MAC to its
last, both included; accumulate steps whose exact sum did not fit (checked GEMMs only).
"""

BLOCK_CYCLES = 8
"""Cycles that a blocked GEMM steps at a time: its state is in memory at block borders only."""

LANE_GROUP = 32
"""Columns that are stepped or skipped together when only a part of a row works: two vector registers of int32."""

LINE_ELEMENTS = 64
"""Stream rows start an odd number of these apart, so that equal offsets in many rows do not share a cache set."""


def fold_options(
    *,
    hop_down: int = 1,
    hop_right: int = 1,
    multiplier: int = 0,
    accumulator: int = 1,
    input: int = 0,  # the hardware's word for it
    output: int = 0,
    trim: bool = False,
    drain: int = DRAIN_PARALLEL,
    load: int = LOAD_ROWS,
) -> Int64s:
    """Pack the array's options for `fold_timing` and `fold_registers`, int64[9].

    hop_down, hop_right: registers between neighbouring PEs, >= 0 (0: broadcast along that axis).
    multiplier: register stages inside the multiplier, >= 0.
    accumulator: register stages of the accumulation, >= 1, the accumulator itself being the last.
    input, output: registers at every input port and at every output port, >= 0.
    trim: end with the last useful output (True), or when the whole array's would-be last output is out.
    drain, load: one of the DRAIN_ and LOAD_ constants.
    """
    fields = (hop_down, hop_right, multiplier, accumulator, input, output, int(trim), drain, load)
    return np.array(fields, dtype=np.int64)


# ---------------------------------------------------------------------------------------------------------------
# Cycles mode: one fold's timing from tokens.


@kernel
def _row_skew(dataflow: int, options: Int64s) -> int:
    """Cycles between a PE and the one below: a hop for os, a partial sum's step for ws."""
    if dataflow == OS:
        return options[HOP_DOWN]
    return options[ACCUMULATOR] + options[HOP_DOWN] - 1


@kernel
def _front_widths(used_rows: int, used_cols: int, row_skew: int, col_skew: int) -> Int64s:
    """PEs that lie `d` cycles behind PE(0, 0), for each d: the width of the wavefront as it passes."""
    reach = (used_rows - 1) * row_skew + (used_cols - 1) * col_skew
    widths = np.zeros(reach + used_cols * col_skew + 1, np.int64)
    if col_skew == 0:
        for i in range(used_rows):
            widths[i * row_skew] += used_cols
        return widths[: reach + 1]
    for i in range(used_rows):
        widths[i * row_skew] += 1
        widths[i * row_skew + used_cols * col_skew] -= 1
    for d in range(col_skew, len(widths)):
        widths[d] += widths[d - col_skew]
    return widths[: reach + 1]


@kernel
def _leaving_marks(
    dataflow: int, rows: int, cols: int, used_rows: int, used_cols: int, options: Int64s
) -> tuple[int, int, int, int, int]:
    """Where the sums leave: five integers that the token walk of `fold_timing` waits for.

    last: distance behind PE(0, 0) of the PE whose sum leaves last. first: that of the sum that leaves first.
    of_tail: whether that first sum needs the last vector (os) or the first (ws). chain: length of the shift
    chain that sums drain through, 0 if none. ahead: shifts until the first useful word is at the chain's end.
    """
    extent_rows = used_rows if options[TRIM] else rows
    extent_cols = used_cols if options[TRIM] else cols
    row_skew = _row_skew(dataflow, options)
    right = (extent_cols - 1) * options[HOP_RIGHT]
    if dataflow != OS:  # a partial sum travels all rows, whichever are used
        down = (rows - 1) * row_skew
        return down + right, down, 0, 0, 0
    down = (extent_rows - 1) * row_skew
    if options[DRAIN] == DRAIN_COLS:  # a row is captured when the last of its columns has finished
        return down + right, right, 1, cols, cols - extent_cols
    if options[DRAIN] == DRAIN_ROWS:
        return down + right, down, 1, rows, rows - extent_rows
    return down + right, 0, 1, 0, 0


@kernel
def fold_timing(
    dataflow: int, rows: int, cols: int, used_rows: int, used_cols: int, vectors: int, options: Int64s
) -> Int64s:
    """Step the control of one fold cycle by cycle and return its timing record, int64[TIMING_FIELDS].

    No data: two tokens run over the anti-diagonals of the array, `head` with the first vector and `tail` behind
    the last, one skew distance a cycle. What a token passes starts or stops working.

    dataflow: OS, WS or IS. rows, cols: the array. used_rows, used_cols: the part that holds the tile, >= 1.
    vectors: operand vectors streamed, >= 1. options: see `fold_options`.

    The record; a `..._CYCLE` is the index of a cycle, all others are counts:
    LOAD_CYCLES          in which stationary operands enter, before the stream (0 for os)
    STREAM_CYCLES        in which a port accepts operands; the next fold's stream can begin so much later
    FIRST_MAC_CYCLE      first cycle in which some PE does a useful MAC
    LAST_MAC_CYCLE       last such cycle
    MAC_COUNT            useful MACs
    BUSY_CYCLES          cycles with at least one useful MAC
    LAST_STEP_CYCLE      last cycle in which an operand of this fold is at a multiplier of the fold's extent (the
                         used PEs with trim, all with full; ws always all rows)
    DRAIN_START_CYCLE    first cycle in which a final sum stands in its register, ready to leave: for a shift
                         chain the cycle at whose end the first row (column) of sums is captured
    DRAIN_CYCLES         in which the shift chain of one row (column) holds this fold's sums; 0 without a chain.
                         Back-to-back folds must begin at least max(STREAM_CYCLES, DRAIN_CYCLES) apart
    FIRST_OUTPUT_CYCLES  elapsed until the first output word stands at its port
    END_CYCLES           elapsed until the last does; of the whole array with full, of the used part with trim
    """
    record = np.zeros(TIMING_FIELDS, np.int64)
    widths = _front_widths(used_rows, used_cols, _row_skew(dataflow, options), options[HOP_RIGHT])
    reach = len(widths)
    last_mark, first_mark, of_tail, chain, ahead = _leaving_marks(
        dataflow, rows, cols, used_rows, used_cols, options
    )
    latency = options[MULTIPLIER] + options[ACCUMULATOR]  # from a MAC's cycle to its sum in the last register
    load_left = np.int64(0)
    if dataflow != OS:
        load_left = rows if options[LOAD] == LOAD_ROWS else np.int64(1)
    entered = np.int64(0)  # vectors that the port has accepted
    head = np.int64(-options[INPUT])  # distance of the first vector from PE(0, 0) ...
    tail = head - vectors  # ... and of the place behind the last; negative: not there yet
    active = np.int64(0)
    first_left = np.int64(-1)  # shifts until the first word is at its port; negative: nothing leaves yet
    last_left = np.int64(-1)
    cycle = np.int64(0)
    while True:
        # What stands in registers as this cycle begins.
        final = (tail + 1 if of_tail else head) - latency
        if final == first_mark:
            record[DRAIN_START_CYCLE] = cycle
            first_left = (1 + ahead if chain > 0 else 0) + options[OUTPUT]
            record[DRAIN_CYCLES] = chain
        if tail + 1 - latency == last_mark:
            last_left = chain + options[OUTPUT]
        if first_left == 0:
            record[FIRST_OUTPUT_CYCLES] = cycle
        if last_left == 0:
            record[END_CYCLES] = cycle
            return record
        first_left -= first_left >= 0
        last_left -= last_left >= 0
        # What works in this cycle.
        if load_left > 0:
            load_left -= 1
            record[LOAD_CYCLES] += 1
        else:
            if entered < vectors:
                entered += 1
                record[STREAM_CYCLES] += 1
            if 0 <= head < reach:
                active += widths[head]
            if 0 <= tail < reach:
                active -= widths[tail]
            if active > 0:
                if record[BUSY_CYCLES] == 0:
                    record[FIRST_MAC_CYCLE] = cycle
                record[LAST_MAC_CYCLE] = cycle
                record[BUSY_CYCLES] += 1
                record[MAC_COUNT] += active
            if tail + 1 == last_mark:
                record[LAST_STEP_CYCLE] = cycle
            head += 1
            tail += 1
        cycle += 1


# ---------------------------------------------------------------------------------------------------------------
# Values mode: the operand streams in memory.


@kernel
def _layout(vectors: int, used_cols: int, col_skew: int, lanes: int) -> tuple[int, int, int]:
    """(span, pad, pitch): cycles a row works, zeros before and after a stream, elements from stream to stream."""
    span = vectors + (used_cols - 1) * col_skew
    pad = lanes * col_skew + BLOCK_CYCLES
    lines = (vectors + 2 * pad + LINE_ELEMENTS - 1) // LINE_ELEMENTS
    return span, pad, (lines | 1) * LINE_ELEMENTS


@kernel
def _lanes_for(used_cols: int) -> int:
    """Columns as stored: padded by zeros to the group in which they are stepped."""
    group = 8 if used_cols < LANE_GROUP else LANE_GROUP
    return (used_cols + group - 1) // group * group


@kernel
def _write_stream(stream: Array, i: int, pitch: int, pad: int, source: Array) -> None:
    """Lay vector elements source[T] into stream row i, latest first, so that a window runs along the columns."""
    first = (i + BLOCK_CYCLES) * pitch + pad
    stream[first : first + len(source)] = source[::-1]


@kernel
def _skew_in(grid: Array, source: Array, span: int, col_skew: int, lanes: int) -> None:
    """Lay source[T, c] into the moving grid: element [s - j*col_skew, j] in the row of s, latest row first."""
    for v in range(source.shape[0]):
        base = (span - 1 - v + BLOCK_CYCLES) * lanes
        for j in range(source.shape[1]):
            grid[base - j * (col_skew * lanes - 1)] = source[v, j]


@kernel
def _skew_out(grid: Array, target: Array, span: int, col_skew: int, lanes: int) -> None:
    """The inverse of `_skew_in`: from the moving grid into target[T, c]."""
    for v in range(target.shape[0]):
        base = (span - 1 - v + BLOCK_CYCLES) * lanes
        for j in range(target.shape[1]):
            target[v, j] = grid[base - j * (col_skew * lanes - 1)]


@kernel
def _stand_in(grid: Array, source: Array, lanes: int) -> None:
    """Lay source[r, c] into the standing grid."""
    for i in range(source.shape[0]):
        base = (i + BLOCK_CYCLES) * lanes
        grid[base : base + source.shape[1]] = source[i]


@kernel
def _stand_out(grid: Array, target: Array, lanes: int) -> None:
    """The inverse of `_stand_in`."""
    for i in range(target.shape[0]):
        base = (i + BLOCK_CYCLES) * lanes
        target[i] = grid[base : base + target.shape[1]]


# ---------------------------------------------------------------------------------------------------------------
# Values mode: stepping.


@kernel
def _mac_rows(
    sums: Array,
    stream: Array,
    panel: Array,
    at: Offsets,
    steps: Offsets,
    n_rows: int,
    n_lanes: int,
    col_skew: int,
) -> None:
    """One cycle of `n_rows` rows of PEs, `n_lanes` columns each: sums += stream window * panel.

    at: offsets of the first row's first lane in (sums, stream, panel); steps: offsets from a row to the next.
    Unsigned offsets: with signed ones numba's wraparound test keeps the loop from becoming vector code.
    """
    wide = sums.dtype.type
    p, x, y = np.uint64(at[0]), np.uint64(at[1]), np.uint64(at[2])
    p_step, x_step, y_step = np.uint64(steps[0]), np.uint64(steps[1]), np.uint64(steps[2])
    if col_skew == 1:
        for _ in range(n_rows):
            for j in range(n_lanes):
                sums[p + np.uint64(j)] += wide(stream[x + np.uint64(j)]) * wide(panel[y + np.uint64(j)])
            p, x, y = p + p_step, x + x_step, y + y_step
    else:
        stride = np.uint64(col_skew)
        for _ in range(n_rows):
            for j in range(n_lanes):
                sums[p + np.uint64(j)] += wide(stream[x + np.uint64(j) * stride]) * wide(panel[y + np.uint64(j)])
            p, x, y = p + p_step, x + x_step, y + y_step


@kernel
def _mac_rows_checked(
    sums: Array,
    stream: Array,
    panel: Array,
    at: Offsets,
    steps: Offsets,
    n_rows: int,
    n_lanes: int,
    col_skew: int,
    limits: Limits,
) -> int:
    """As `_mac_rows` in an accumulator of the given limits; returns how many sums did not fit."""
    wide = sums.dtype.type
    low, high, saturate = limits
    overflows = 0
    for row in range(n_rows):
        p, x, y = at[0] + row * steps[0], at[1] + row * steps[1], at[2] + row * steps[2]
        for j in range(n_lanes):
            value = sums[p + j] + wide(stream[x + j * col_skew]) * wide(panel[y + j])
            if value < low or value > high:
                overflows += 1
                if saturate:
                    value = min(max(value, low), high)
                else:
                    value = (value - low) % (high - low + 1) + low
            sums[p + j] = value
    return overflows


@kernel
def _mac_block(
    sums: Array,
    stream: Array,
    panel: Array,
    at: Offsets,
    steps: Offsets,
    cycle_steps: Offsets,
    n_rows: int,
    n_lanes: int,
) -> None:
    """BLOCK_CYCLES cycles of `n_rows` rows of PEs: as `_mac_rows`, with every sum loaded and stored once.

    cycle_steps: offsets from a cycle to the next (the sums stay where they are). Where a PE does not work in
    all of the block's cycles, the zeros around the stream stand in for the operands it does not have.
    """
    wide = sums.dtype.type
    p, x, y = np.uint64(at[0]), np.uint64(at[1]), np.uint64(at[2])
    p_step, x_step, y_step = np.uint64(steps[0]), np.uint64(steps[1]), np.uint64(steps[2])
    x_cycle, y_cycle = np.uint64(cycle_steps[1]), np.uint64(cycle_steps[2])
    for _ in range(n_rows):
        for j in range(n_lanes):
            value = sums[p + np.uint64(j)]
            for k in range(BLOCK_CYCLES):
                a = stream[x + np.uint64(k) * x_cycle + np.uint64(j)]
                b = panel[y + np.uint64(k) * y_cycle + np.uint64(j)]
                value = wide(value + wide(a) * wide(b))
            sums[p + np.uint64(j)] = value
        p, x, y = p + p_step, x + x_step, y + y_step


@kernel
def _working_lanes(s: int, vectors: int, used_cols: int, col_skew: int) -> int:
    """PEs of a row that do a useful MAC when s = cycle - i*row_skew."""
    if col_skew == 0:
        return used_cols if 0 <= s < vectors else 0
    if col_skew == 1:
        return max(0, min(used_cols, s + 1) - max(0, s - vectors + 1))
    first = 0 if s < vectors else (s - vectors) // col_skew + 1
    return max(0, min(used_cols, s // col_skew + 1) - first)


@kernel
def _count_rows(cycle: int, begin: int, end: int, shape: Shape) -> int:
    """Useful MACs in a cycle of the rows begin..end-1."""
    vectors, _, used_cols, row_skew, col_skew, _, _ = shape
    macs = 0
    for i in range(begin, end):
        macs += _working_lanes(cycle - i * row_skew, vectors, used_cols, col_skew)
    return macs


@kernel
def _follow(cycle: int, row: int, used_rows: int, row_skew: int, s: int) -> int:
    """The first row, from `row` on, that is not yet at `s` in this cycle: a token on its way down the array."""
    while row < used_rows and cycle - row * row_skew >= s:
        row += 1
    return row


@kernel
def _count_cycle(cycle: int, wave: tuple[int, int, int, int], shape: Shape, counts: Int64s) -> None:
    """Add what works in a cycle to `counts`; wave as in `_front`."""
    begin, end, full_begin, full_end = wave
    if full_begin < full_end:
        macs = (full_end - full_begin) * shape[2]
        macs += _count_rows(cycle, begin, full_begin, shape) + _count_rows(cycle, full_end, end, shape)
    else:
        macs = _count_rows(cycle, begin, end, shape)
    counts[COUNT_MACS] += macs
    counts[COUNT_BUSY_CYCLES] += macs > 0
    counts[COUNT_STEPPED_CYCLES] += 1


@kernel
def _front(cycle: int, wave: tuple[int, int, int, int], shape: Shape) -> tuple[int, int, int, int]:
    """Where the wavefront is in `cycle`, from where it was in the last: (begin, end, full_begin, full_end).

    Rows begin..end-1 hold it, and rows full_begin..full_end-1 (if any) work on all their columns.
    """
    vectors, used_rows, used_cols, row_skew, col_skew, _, _ = shape
    skewed_cols = (used_cols - 1) * col_skew
    return (
        _follow(cycle, wave[0], used_rows, row_skew, vectors + skewed_cols),
        _follow(cycle, wave[1], used_rows, row_skew, 0),
        _follow(cycle, wave[2], used_rows, row_skew, vectors),
        _follow(cycle, wave[3], used_rows, row_skew, skewed_cols),
    )


@kernel
def _uniform_run(
    s: int, ahead: int, vectors: int, row_skew: int, col_skew: int, lanes: int
) -> tuple[int, int, int]:
    """(first lane, end lane, rows): lanes to step for a row at s, and how many rows from it on need no others.

    ahead: cycles after s that are stepped along (a block's), whose lanes are then among them.
    """
    if lanes <= LANE_GROUP or col_skew != 1:
        return 0, lanes, np.int64(1 << 40)
    first = max(0, s - vectors + 1) // LANE_GROUP * LANE_GROUP
    end = min(lanes, (s + ahead) // LANE_GROUP * LANE_GROUP + LANE_GROUP)
    lowest = end - LANE_GROUP - ahead
    if first > 0:
        lowest = max(lowest, first + vectors - 1)
    if row_skew == 1:
        return first, end, s - lowest + 1
    if row_skew == 0:
        return first, end, np.int64(1 << 40)
    return first, end, (s - lowest) // row_skew + 1


@kernel
def _offsets(i: int, s: int, lane: int, shape: Shape) -> Offsets:
    """Offsets in (sums, stream, panel) of a PE row's lane at s; shape as in `_step_fold`."""
    vectors, _, used_cols, _, col_skew, lanes, sums_move = shape
    span, pad, pitch = _layout(vectors, used_cols, col_skew, lanes)
    x = (i + BLOCK_CYCLES) * pitch + pad + vectors - 1 - s + lane * col_skew
    standing = (i + BLOCK_CYCLES) * lanes + lane
    moving = (span - 1 - s + BLOCK_CYCLES) * lanes + lane
    if sums_move:
        return moving, x, standing
    return standing, x, moving


@kernel
def _row_steps(shape: Shape) -> Offsets:
    """Offsets from a PE row to the next in (sums, stream, panel), in the same cycle."""
    vectors, _, used_cols, row_skew, col_skew, lanes, sums_move = shape
    _, _, pitch = _layout(vectors, used_cols, col_skew, lanes)
    if sums_move:
        return row_skew * lanes, pitch + row_skew, lanes
    return lanes, pitch + row_skew, row_skew * lanes


@kernel
def _step_fold(
    sums: Array,
    stream: Array,
    panel: Array,
    shape: Shape,
    end_cycle: int,
    limits: Limits,
    counts: Int64s,
) -> None:
    """Step a fold's cycles 0..end_cycle-1, adding what worked to `counts`; cycle 0 is PE(0, 0)'s first MAC."""
    vectors, _, _, row_skew, col_skew, lanes, _ = shape
    checked = limits[0] != limits[1]
    steps = _row_steps(shape)
    wave = (0, 0, 0, 0)
    for cycle in range(end_cycle):
        wave = _front(cycle, wave, shape)
        _count_cycle(cycle, wave, shape, counts)
        i = wave[0]
        while i < wave[1]:
            s = cycle - i * row_skew
            lane, end_lane, run = _uniform_run(s, 0, vectors, row_skew, col_skew, lanes)
            run = min(run, wave[1] - i)
            at = _offsets(i, s, lane, shape)
            n_lanes = end_lane - lane
            if checked:
                counts[COUNT_OVERFLOWS] += _mac_rows_checked(
                    sums, stream, panel, at, steps, run, n_lanes, col_skew, limits
                )
            else:
                _mac_rows(sums, stream, panel, at, steps, run, n_lanes, col_skew)
            i += run


@kernel
def _block_rows(cycle: int, shape: Shape) -> tuple[int, int]:
    """First and end row of what a block from `cycle` on steps: PE rows (os); for ws, with sums that move
    through several rows in a block, the rows that its moving rows of sums are at as it begins, which may lie
    above the array."""
    vectors, used_rows, used_cols, _, _, _, sums_move = shape
    span = vectors + used_cols - 1
    if sums_move:
        return cycle - min(span - 1, cycle + BLOCK_CYCLES - 1), min(used_rows, cycle + 1)
    return max(0, cycle - span + 1), min(used_rows, cycle + BLOCK_CYCLES)


@kernel
def _step_fold_blocked(sums: Array, stream: Array, panel: Array, shape: Shape, counts: Int64s) -> None:
    """Step a whole fold of unit skews, BLOCK_CYCLES cycles at a time.

    os: a PE row's sums take the block's vectors one after the other. ws: a moving row of sums passes the
    block's PE rows one after the other.
    """
    vectors, used_rows, used_cols, _, _, lanes, sums_move = shape
    span, _, pitch = _layout(vectors, used_cols, 1, lanes)
    n_cycles = span + used_rows - 1
    steps = _row_steps(shape)
    ahead = 0 if sums_move else BLOCK_CYCLES - 1
    cycle_steps = (0, pitch, lanes) if sums_move else (0, -1, -lanes)
    wave = (0, 0, 0, 0)
    for first in range(0, n_cycles, BLOCK_CYCLES):
        for cycle in range(first, min(first + BLOCK_CYCLES, n_cycles)):
            wave = _front(cycle, wave, shape)
            _count_cycle(cycle, wave, shape, counts)
        i, end = _block_rows(first, shape)
        while i < end:
            lane, end_lane, run = _uniform_run(first - i, ahead, vectors, 1, 1, lanes)
            run = min(run, end - i)
            at = _offsets(i, first - i, lane, shape)
            _mac_block(sums, stream, panel, at, steps, cycle_steps, run, end_lane - lane)
            i += run


@kernel
def _run_fold(
    sums: Array, stream: Array, panel: Array, shape: Shape, blocked: bool, limits: Limits, counts: Int64s
) -> None:
    """Step a whole fold."""
    vectors, used_rows, used_cols, row_skew, col_skew, _, _ = shape
    counts[COUNT_FOLDS] += 1
    if blocked and row_skew == 1 and col_skew == 1 and limits[0] == limits[1]:
        _step_fold_blocked(sums, stream, panel, shape, counts)
    else:
        end_cycle = vectors + (used_rows - 1) * row_skew + (used_cols - 1) * col_skew
        _step_fold(sums, stream, panel, shape, end_cycle, limits, counts)


# ---------------------------------------------------------------------------------------------------------------
# Values mode: GEMMs, fold after fold.


@kernel
def _skew_in_tiles(source: Array, cols: int, col_skew: int, lanes: int, grids: Array) -> None:
    """Lay every fold column of source[T, N] into a moving grid of its own, grids[fold columns, ...]."""
    for f in range(len(grids)):
        tile = source[:, f * cols : (f + 1) * cols]
        span, _, _ = _layout(tile.shape[0], tile.shape[1], col_skew, lanes)
        _skew_in(grids[f], tile, span, col_skew, lanes)


@kernel
def _skew_out_tiles(grids: Array, cols: int, col_skew: int, lanes: int, target: Array) -> None:
    """The inverse of `_skew_in_tiles`."""
    for f in range(len(grids)):
        tile = target[:, f * cols : (f + 1) * cols]
        span, _, _ = _layout(tile.shape[0], tile.shape[1], col_skew, lanes)
        _skew_out(grids[f], tile, span, col_skew, lanes)


@kernel
def _sizes(vectors: int, max_rows: int, max_cols: int, col_skew: int) -> tuple[int, int, int, int, int, int]:
    """(lanes, pad, pitch, stream, standing, moving): the layout of a fold, then elements of each memory."""
    lanes = _lanes_for(max_cols)
    span, pad, pitch = _layout(vectors, max_cols, col_skew, lanes)
    n_rows = max_rows + 2 * BLOCK_CYCLES
    return lanes, pad, pitch, n_rows * pitch, n_rows * lanes, (span + 2 * BLOCK_CYCLES) * lanes


@kernel
def _os_gemm(
    a: Array,
    b: Array,
    out: Array,
    rows: int,
    cols: int,
    row_skew: int,
    col_skew: int,
    blocked: bool,
    limits: Limits,
) -> Int64s:
    """Both `os_gemm`s."""
    counts = np.zeros(COUNT_FIELDS, np.int64)
    (m, vectors), n = a.shape, b.shape[1]
    lanes, pad, pitch, stream_size, standing_size, moving_size = _sizes(
        vectors, min(rows, m), min(cols, n), col_skew
    )
    stream = np.zeros(stream_size, a.dtype)
    sums = np.zeros(standing_size, out.dtype)
    panels = np.zeros(((n + cols - 1) // cols, moving_size), b.dtype)
    _skew_in_tiles(b, cols, col_skew, lanes, panels)
    for i0 in range(0, m, rows):
        used_rows = min(rows, m - i0)
        for i in range(used_rows):
            _write_stream(stream, i, pitch, pad, a[i0 + i])
        for f in range(len(panels)):
            tile = out[i0 : i0 + used_rows, f * cols : (f + 1) * cols]
            shape = (vectors, used_rows, tile.shape[1], row_skew, col_skew, lanes, 0)
            _stand_in(sums, tile, lanes)
            _run_fold(sums, stream, panels[f], shape, blocked, limits, counts)
            _stand_out(sums, tile, lanes)
    return counts


@kernel
def _ws_gemm(
    a: Array,
    b: Array,
    out: Array,
    rows: int,
    cols: int,
    row_skew: int,
    col_skew: int,
    blocked: bool,
    limits: Limits,
) -> Int64s:
    """Both `ws_gemm`s."""
    counts = np.zeros(COUNT_FIELDS, np.int64)
    (vectors, depth), n = a.shape, b.shape[1]
    lanes, pad, pitch, stream_size, standing_size, moving_size = _sizes(
        vectors, min(rows, depth), min(cols, n), col_skew
    )
    stream = np.zeros(stream_size, a.dtype)
    weights = np.zeros(standing_size, b.dtype)
    sums = np.zeros(((n + cols - 1) // cols, moving_size), out.dtype)
    _skew_in_tiles(out, cols, col_skew, lanes, sums)
    for k0 in range(0, depth, rows):
        used_rows = min(rows, depth - k0)
        for i in range(used_rows):
            _write_stream(stream, i, pitch, pad, a[:, k0 + i])
        for f in range(len(sums)):
            tile = b[k0 : k0 + used_rows, f * cols : (f + 1) * cols]
            weights[:] = 0  # also in the rows and lanes that this tile leaves unused
            _stand_in(weights, tile, lanes)
            shape = (vectors, used_rows, tile.shape[1], row_skew, col_skew, lanes, 1)
            _run_fold(sums[f], stream, weights, shape, blocked, limits, counts)
    _skew_out_tiles(sums, cols, col_skew, lanes, out)
    return counts


@kernel
def os_gemm(
    a: Array, b: Array, out: Array, rows: int, cols: int, row_skew: int, col_skew: int, blocked: bool
) -> Int64s:
    """out[M, N] += a[M, K] @ b[K, N] on an output-stationary array, fold by fold; returns counts, int64[5].

    a, b: int8, int16 or float32. out: int32, int64 or float32; all C-ordered. A sum starts as what is in `out`,
    so that a long reduction may come in pieces, and wraps as `out`'s type does. rows, cols: the array.
    row_skew, col_skew: registers of a hop down and to the right, >= 0. blocked: see BLOCK_CYCLES; it changes
    neither outputs nor counts, and is for unit skews (others are stepped cycle by cycle). Folds run row by row.
    """
    return _os_gemm(a, b, out, rows, cols, row_skew, col_skew, blocked, (0, 0, 0))


@kernel
def ws_gemm(
    a: Array, b: Array, out: Array, rows: int, cols: int, row_skew: int, col_skew: int, blocked: bool
) -> Int64s:
    """out[M, N] += a[M, K] @ b[K, N] on a weight-stationary array (b stays); all else as `os_gemm`.

    The array's rows run over K. A partial sum enters the first row as what is in `out`, as if read from the
    accumulators, and goes back there. row_skew: accumulator + hop_down - 1, a partial sum's step.
    """
    return _ws_gemm(a, b, out, rows, cols, row_skew, col_skew, blocked, (0, 0, 0))


@kernel
def _limits(acc_bits: int, saturate: bool) -> Limits:
    """The range of a signed accumulator of `acc_bits` bits, 2 to 62."""
    half = np.int64(1) << (acc_bits - 1)
    return -half, half - 1, 1 if saturate else 0


@kernel
def os_gemm_checked(
    a: Array,
    b: Array,
    out: Array,
    rows: int,
    cols: int,
    row_skew: int,
    col_skew: int,
    acc_bits: int,
    saturate: bool,
) -> Int64s:
    """As `os_gemm` with accumulators of `acc_bits` bits (2 to 62) that wrap or saturate at every step.

    Integers only. Every step whose exact sum does not fit is counted in COUNT_OVERFLOWS. What is in `out` must
    fit at the start.
    """
    return _os_gemm(a, b, out, rows, cols, row_skew, col_skew, False, _limits(acc_bits, saturate))


@kernel
def ws_gemm_checked(
    a: Array,
    b: Array,
    out: Array,
    rows: int,
    cols: int,
    row_skew: int,
    col_skew: int,
    acc_bits: int,
    saturate: bool,
) -> Int64s:
    """As `ws_gemm` with partial sums of `acc_bits` bits, see `os_gemm_checked`."""
    return _ws_gemm(a, b, out, rows, cols, row_skew, col_skew, False, _limits(acc_bits, saturate))


def is_gemm(
    a: Array, b: Array, out: Array, rows: int, cols: int, row_skew: int, col_skew: int, blocked: bool
) -> Int64s:
    """out[M, N] += a[M, K] @ b[K, N] on an input-stationary array: `ws_gemm` of the transposed problem."""
    turned = np.ascontiguousarray(out.T)
    counts = ws_gemm(
        np.ascontiguousarray(b.T), np.ascontiguousarray(a.T), turned, rows, cols, row_skew, col_skew, blocked
    )
    out[...] = turned.T
    return counts


# ---------------------------------------------------------------------------------------------------------------
# Every register, read out of the moving frame.


def _weights_at(loading_cycles: int, weights: Array, rows: int, cols: int, load: int) -> Array:
    """What the PEs' weight registers hold after so many cycles of loading: rows come in last row first."""
    full = np.zeros((rows, cols), weights.dtype)
    full[: weights.shape[0], : weights.shape[1]] = weights
    loaded = min(max(loading_cycles, 0), rows)
    shown = np.zeros_like(full)
    if load == LOAD_PARALLEL and loaded > 0:
        shown[:] = full
    elif load == LOAD_ROWS:
        shown[:loaded] = full[rows - loaded :]
    return shown


def _read(grid: Array, offsets: Int64s, there: npt.NDArray[np.bool_]) -> Array:
    """grid[offsets] where something is there, else 0."""
    values = np.zeros(there.shape, grid.dtype)
    values[there] = grid[offsets[there]]
    return values


def fold_registers(
    dataflow: int, a: Array, b: Array, sums: Array, cycle: int, rows: int, cols: int, options: Int64s
) -> tuple[Array, Array, Array, Array]:
    """Every register of a fold's PEs as they stand when `cycle` begins, read out of the moving frame.

    os: a[r, T], b[T, c], sums[r, c] (what the sums start from). ws: a[T, r], b[r, c], sums[T, c]. r <= rows,
    c <= cols; a and b of one type. Returns four arrays, whose last two axes are [rows, cols]:

    left[rows, cols]: the operand that comes from the left into every multiplier, out of the last register of the
    hop; the hop's other registers hold what this PE sees in the cycles to come.
    top[rows, cols]: the operand from above (os), or the weight held (ws).
    products[stages, rows, cols]: pipeline registers from the multiplier to the adder, youngest first.
    sums[stages, rows, cols]: accumulators (os, one stage); partial sums on their way to the row below, or at
    the last row to the output port, youngest first (ws). Registers that hold nothing yet, or no more, are 0.
    """
    moves = dataflow != OS
    source = np.ascontiguousarray(a.T) if moves else a
    (used_rows, vectors), used_cols = source.shape, b.shape[1]
    _, col_skew, multiplier, accumulator, delay, _, _, _, load = (int(option) for option in options)
    row_skew = int(_row_skew(dataflow, options))
    lanes, pad, pitch, stream_size, standing_size, moving_size = _sizes(vectors, used_rows, used_cols, col_skew)
    shape = (vectors, used_rows, used_cols, row_skew, col_skew, lanes, int(moves))
    span = vectors + (used_cols - 1) * col_skew
    n_cycles = span + (used_rows - 1) * row_skew
    if moves:
        delay += rows if load == LOAD_ROWS else 1
    local = cycle - delay  # PE(0, 0) multiplies the first vector in local cycle 0

    stream = np.zeros(stream_size, source.dtype)
    for i in range(used_rows):
        _write_stream(stream, i, pitch, pad, source[i])
    standing, moving = np.zeros(standing_size, b.dtype), np.zeros(moving_size, b.dtype)
    if moves:
        moving = moving.astype(sums.dtype)
    else:
        standing = standing.astype(sums.dtype)
    _stand_in(standing, b if moves else sums, lanes)
    _skew_in(moving, sums if moves else b, span, col_skew, lanes)
    before_adder = multiplier + (0 if moves else accumulator - 1)
    accumulating, operands = (moving, standing) if moves else (standing, moving)
    end_cycle = min(max(local - before_adder, 0), n_cycles)
    _step_fold(
        accumulating, stream, operands, shape, end_cycle, (0, 0, 0), np.zeros(COUNT_FIELDS, np.int64)
    )

    i, j = np.arange(rows)[:, np.newaxis], np.arange(cols)[np.newaxis, :]
    vector = local - i * row_skew - j * col_skew  # at every multiplier now

    def left_of(v: Int64s) -> Array:
        there = (v >= 0) & (v < vectors) & (i < used_rows)
        return _read(stream, (i + BLOCK_CYCLES) * pitch + pad + vectors - 1 - v, there)

    def from_moving(v: Int64s) -> Array:
        there = (v >= 0) & (v < vectors) & (j < used_cols)
        return _read(moving, (span - 1 - v - j * col_skew + BLOCK_CYCLES) * lanes + j, there)

    held = _weights_at(cycle - int(options[INPUT]), b, rows, cols, load) if moves else None

    def top_of(v: Int64s) -> Array:
        return from_moving(v) if held is None else held

    wide = sums.dtype
    products = [left_of(vector - 1 - d).astype(wide) * top_of(vector - 1 - d) for d in range(before_adder)]
    if moves:
        depths = np.where(i < rows - 1, row_skew, accumulator)  # the last row's sums leave: no hop below it
        partial = [
            np.where(d < depths, from_moving(vector - multiplier - 1 - d), 0)
            for d in range(max(row_skew, accumulator))
        ]
    else:
        there = (i < used_rows) & (j < used_cols)
        partial = [_read(standing, (i + BLOCK_CYCLES) * lanes + j, there)]
    shape3 = (before_adder, rows, cols)
    return left_of(vector), top_of(vector), np.array(products, wide).reshape(shape3), np.array(partial, wide)
