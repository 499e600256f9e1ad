"""The systolic array: one fold's timing from control tokens alone, and GEMMs with real accumulating state.

A *fold* is one tile on the array: `used_rows x used_cols` of the `rows x cols` PEs, and `vectors` operand
vectors streamed through them. For output-stationary (os) the array's rows are output rows, its columns output
columns, and the vectors run over the reduction. For weight-stationary (ws) the rows run over the reduction,
the columns are output columns, the vectors are output rows. Input-stationary (is) is ws of the transposed
problem. All cycles are counted from the fold's first cycle, 0.

*Skew.* PE(i, j) does in cycle t what PE(0, 0) did in cycle t - i*row_skew - j*col_skew. For os the skews are
the register counts of a hop down and a hop to the right; for ws the row skew is the latency of a partial
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
last, both included; accumulate steps whose exact sum did not fit (with acc_bits only).
"""

BLOCK_CYCLES = 8
"""Cycles that a blocked GEMM steps at a time: its state is in memory at block borders only."""

LANE_GROUP = 32
"""Columns that are stepped or skipped together when a part of a row works: two vector registers of int32."""

LINE_ELEMENTS = 64
"""Stream rows start an odd number of these apart, so that windows of many rows do not share a cache set."""


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


# ----------------------------------------------------------------------------------------------------
# Cycles mode: one fold's timing from tokens.


@kernel
def _row_skew(dataflow: int, options: Int64s) -> int:
    """Cycles between a PE and the one below: a hop for os, a partial sum's step for ws."""
    if dataflow == OS:
        return int(options[HOP_DOWN])
    return int(options[ACCUMULATOR] + options[HOP_DOWN] - 1)


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

    No data: two tokens run over the anti-diagonals of the array, `head` with the first vector and `tail`
    behind the last, one skew distance a cycle. What a token passes starts or stops working.

    dataflow: OS, WS or IS. rows, cols: the array. used_rows, used_cols: the part that holds the tile, >= 1.
    vectors: operand vectors streamed, >= 1. options: see `fold_options`.

    The record; a `..._CYCLE` is the index of a cycle, all others are counts:
    LOAD_CYCLES          in which stationary operands enter, before the stream (0 for os)
    STREAM_CYCLES        in which a port accepts operands; the next fold's stream can begin so much later
    FIRST_MAC_CYCLE      first cycle in which some PE does a useful MAC
    LAST_MAC_CYCLE       last such cycle
    MAC_COUNT            useful MACs
    BUSY_CYCLES          cycles with at least one useful MAC
    LAST_STEP_CYCLE      last cycle in which an operand of this fold is at a multiplier of the fold's extent
                         (the used PEs with trim, all with full; ws always all rows)
    DRAIN_START_CYCLE    first cycle in which a final sum stands in its register, ready to leave: for a shift
                         chain the cycle at whose end the first row (column) of sums is captured
    DRAIN_CYCLES         in which the shift chain of one row (column) holds this fold's sums; 0 without chain.
                         Back-to-back folds must begin at least max(STREAM_CYCLES, DRAIN_CYCLES) apart
    FIRST_OUTPUT_CYCLES  elapsed until the first output word stands at its port. Each chain starts as its own
                         sums are final: the first words at the other ports follow a hop apart
    END_CYCLES           elapsed until the last does; of the whole array with full, of the used part with trim
    """
    record = np.zeros(TIMING_FIELDS, np.int64)
    widths = _front_widths(used_rows, used_cols, _row_skew(dataflow, options), options[HOP_RIGHT])
    reach = len(widths)
    last_mark, first_mark, of_tail, chain, ahead = _leaving_marks(
        dataflow, rows, cols, used_rows, used_cols, options
    )
    latency = options[MULTIPLIER] + options[ACCUMULATOR]  # from a MAC's cycle to its sum in the last register
    load_left = 0
    if dataflow != OS:
        load_left = rows if options[LOAD] == LOAD_ROWS else 1
    entered = 0  # vectors that the port has accepted
    head = -options[INPUT]  # distance of the first vector from PE(0, 0) ...
    tail = head - vectors  # ... and of the place behind the last; negative: not there yet
    active = 0
    first_left = -1  # shifts until the first word is at its port; negative: nothing leaves yet
    last_left = -1
    cycle = 0
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


# ----------------------------------------------------------------------------------------------------
# Values mode: the operand streams in memory.


@kernel
def _layout(vectors: int, col_skew: int, lanes: int) -> tuple[int, int]:
    """(pad, pitch): zeros before and after a stream, elements from stream to stream."""
    pad = lanes * col_skew + BLOCK_CYCLES
    lines = (vectors + 2 * pad + LINE_ELEMENTS - 1) // LINE_ELEMENTS
    return pad, (lines | 1) * LINE_ELEMENTS


@kernel
def _lanes_for(used_cols: int) -> int:
    """Columns as stored: padded by zeros to the group in which they are stepped."""
    group = 8 if used_cols < LANE_GROUP else LANE_GROUP
    return (used_cols + group - 1) // group * group


@kernel
def _write_stream(stream: Array, i: int, place: Offsets, source: Array, start: int, step: int) -> None:
    """Lay source[start + v*step] for every vector v into stream row i, latest first: then the operands of a
    window lie in the order of the columns that see them. place: (pitch, pad, vectors)."""
    pitch, pad, vectors = place
    last = np.uint64((i + BLOCK_CYCLES) * pitch + pad + vectors - 1)
    for v in range(vectors):
        stream[last - np.uint64(v)] = source[np.uint64(start) + np.uint64(v) * np.uint64(step)]


@kernel
def _copy_tile(target: Array, to: Offsets, source: Array, at: Offsets, n_rows: int, n_cols: int) -> None:
    """Copy a tile between flat memories. to, at: its offset, and those from row to row, column to column."""
    to_col, at_col = np.uint64(to[2]), np.uint64(at[2])
    for i in range(n_rows):
        p, q = np.uint64(to[0] + i * to[1]), np.uint64(at[0] + i * at[1])
        for j in range(n_cols):
            target[p + np.uint64(j) * to_col] = source[q + np.uint64(j) * at_col]


@kernel
def _standing_place(lanes: int) -> Offsets:
    """Where a standing tile [r, c] lies in its grid, for `_copy_tile`."""
    return BLOCK_CYCLES * lanes, lanes, 1


@kernel
def _moving_place(vectors: int, used_cols: int, col_skew: int, lanes: int) -> Offsets:
    """Where a moving tile [T, c] lies in its grid, for `_copy_tile`: element [s - j*col_skew, j] in row s,
    latest row first."""
    span = vectors + (used_cols - 1) * col_skew
    return (span - 1 + BLOCK_CYCLES) * lanes, -lanes, 1 - col_skew * lanes


# ----------------------------------------------------------------------------------------------------
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
) -> None:
    """One cycle of `n_rows` rows of PEs, `n_lanes` columns each: sums += stream window * panel.

    at: offsets of the first row's first lane in (sums, stream, panel); steps: offsets from a row to the next.
    Unsigned offsets: with signed ones numba's wraparound test keeps the loop from becoming vector code.
    """
    wide = sums.dtype.type
    p, x, y = np.uint64(at[0]), np.uint64(at[1]), np.uint64(at[2])
    p_step, x_step, y_step = np.uint64(steps[0]), np.uint64(steps[1]), np.uint64(steps[2])
    for _ in range(n_rows):
        for j in range(n_lanes):
            sums[p + np.uint64(j)] += wide(stream[x + np.uint64(j)]) * wide(panel[y + np.uint64(j)])
        p, x, y = p + p_step, x + x_step, y + y_step


@kernel
def _mac_rows_general(
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
    """As `_mac_rows`, for any col_skew and with limited accumulators; returns how many sums did not fit."""
    wide = sums.dtype.type
    low, high, saturate = limits
    overflows = 0
    for row in range(n_rows):
        p, x, y = at[0] + row * steps[0], at[1] + row * steps[1], at[2] + row * steps[2]
        for j in range(n_lanes):
            value = sums[p + j] + wide(stream[x + j * col_skew]) * wide(panel[y + j])
            if low < high and (value < low or value > high):
                overflows += 1
                value = min(max(value, low), high) if saturate else (value - low) % (high - low + 1) + low
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
def _count_cycle(cycle: int, begin: int, end: int, shape: Shape, counts: Int64s) -> None:
    """Add what works in a cycle, in the rows begin..end-1, to `counts`."""
    vectors, _, used_cols, row_skew, col_skew, _, _ = shape
    macs = 0
    if col_skew == 1:
        for i in range(begin, end):
            s = cycle - i * row_skew
            macs += max(0, min(used_cols, s + 1) - max(0, s - vectors + 1))
    else:
        for i in range(begin, end):
            for j in range(used_cols):
                macs += 0 <= cycle - i * row_skew - j * col_skew < vectors
    counts[COUNT_MACS] += macs
    counts[COUNT_BUSY_CYCLES] += macs > 0
    counts[COUNT_STEPPED_CYCLES] += 1


@kernel
def _follow(cycle: int, row: int, s: int, shape: Shape) -> int:
    """The first row, from `row` on, that is not yet at `s` in this cycle: a token on its way down."""
    _, used_rows, _, row_skew, _, _, _ = shape
    while row < used_rows and cycle - row * row_skew >= s:
        row += 1
    return row


@kernel
def _uniform_run(s: int, ahead: int, n_rows: int, shape: Shape) -> tuple[int, int, int]:
    """(first lane, end lane, rows): lanes to step for a row at s, and how many of the n_rows from it on need
    no others. ahead: cycles after s that are stepped along (a block's), whose lanes are then among them."""
    vectors, _, _, row_skew, col_skew, lanes, _ = shape
    if lanes <= LANE_GROUP or col_skew != 1:
        return 0, lanes, n_rows
    first = max(0, s - vectors + 1) // LANE_GROUP * LANE_GROUP
    end = min(lanes, (s + ahead) // LANE_GROUP * LANE_GROUP + LANE_GROUP)
    if row_skew != 1:
        return first, end, 1
    lowest = end - LANE_GROUP - ahead  # a row with a lower s needs fewer lanes
    if first > 0:
        lowest = max(lowest, first + vectors - 1)
    return first, end, min(n_rows, s - lowest + 1)


@kernel
def _offsets(i: int, s: int, lane: int, shape: Shape) -> Offsets:
    """Offsets in (sums, stream, panel) of a PE row's lane at s."""
    vectors, _, used_cols, _, col_skew, lanes, sums_move = shape
    pad, pitch = _layout(vectors, col_skew, lanes)
    x = (i + BLOCK_CYCLES) * pitch + pad + vectors - 1 - s + lane * col_skew
    standing = (i + BLOCK_CYCLES) * lanes + lane
    moving = _moving_place(vectors, used_cols, col_skew, lanes)[0] - s * lanes + lane
    if sums_move:
        return moving, x, standing
    return standing, x, moving


@kernel
def _row_steps(shape: Shape) -> Offsets:
    """Offsets from a PE row to the next in (sums, stream, panel), in the same cycle."""
    vectors, _, _, row_skew, col_skew, lanes, sums_move = shape
    _, pitch = _layout(vectors, col_skew, lanes)
    if sums_move:
        return row_skew * lanes, pitch + row_skew, lanes
    return lanes, pitch + row_skew, row_skew * lanes


@kernel
def _step_fold(
    sums: Array, stream: Array, panel: Array, shape: Shape, end_cycle: int, limits: Limits, counts: Int64s
) -> None:
    """Step a fold's cycles 0..end_cycle-1, from PE(0, 0)'s first MAC on, and add what worked to `counts`."""
    vectors, _, used_cols, row_skew, col_skew, _, _ = shape
    plain = col_skew == 1 and limits[0] == limits[1]
    steps = _row_steps(shape)
    begin, end = 0, 0  # the rows that hold the wavefront
    for cycle in range(end_cycle):
        begin = _follow(cycle, begin, vectors + (used_cols - 1) * col_skew, shape)
        end = _follow(cycle, end, 0, shape)
        _count_cycle(cycle, begin, end, shape, counts)
        i = begin
        while i < end:
            s = cycle - i * row_skew
            lane, end_lane, run = _uniform_run(s, 0, end - i, shape)
            at = _offsets(i, s, lane, shape)
            if plain:
                _mac_rows(sums, stream, panel, at, steps, run, end_lane - lane)
            else:
                counts[COUNT_OVERFLOWS] += _mac_rows_general(
                    sums, stream, panel, at, steps, run, end_lane - lane, col_skew, limits
                )
            i += run


@kernel
def _block_rows(cycle: int, shape: Shape) -> tuple[int, int]:
    """First and end row of what a block from `cycle` on steps: PE rows (os); or, with sums that move through
    several PE rows in a block (ws), where its rows of sums are as it begins, which may be above the array."""
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
    n_cycles = vectors + used_cols - 1 + used_rows - 1
    steps = _row_steps(shape)
    ahead = 0 if sums_move else BLOCK_CYCLES - 1
    cycle_steps = (0, _layout(vectors, 1, lanes)[1], lanes) if sums_move else (0, -1, -lanes)
    for first in range(0, n_cycles, BLOCK_CYCLES):
        for cycle in range(first, min(first + BLOCK_CYCLES, n_cycles)):
            begin = max(0, cycle - vectors - used_cols + 2)
            _count_cycle(cycle, begin, min(used_rows, cycle + 1), shape, counts)
        i, end = _block_rows(first, shape)
        while i < end:
            lane, end_lane, run = _uniform_run(first - i, ahead, end - i, shape)
            at = _offsets(i, first - i, lane, shape)
            _mac_block(sums, stream, panel, at, steps, cycle_steps, run, end_lane - lane)
            i += run


# ----------------------------------------------------------------------------------------------------
# Values mode: GEMMs, fold after fold.


@kernel
def _sizes(vectors: int, max_rows: int, max_cols: int, col_skew: int) -> tuple[int, int, int, int]:
    """(lanes, stream, standing, moving): lanes of a row, then elements of each memory that a fold needs."""
    lanes = _lanes_for(max_cols)
    _, pitch = _layout(vectors, col_skew, lanes)
    n_rows = max_rows + 2 * BLOCK_CYCLES  # blocks read zeros above and below
    span = vectors + (max_cols - 1) * col_skew
    return lanes, n_rows * pitch, n_rows * lanes, (span + 2 * BLOCK_CYCLES) * lanes


@kernel
def _move_tiles(grids: Array, flat: Array, shape: Shape, n: int, inward: bool) -> None:
    """Lay every fold column of flat[T, N] into a moving grid of its own, or bring it back from there."""
    vectors, _, cols, _, col_skew, lanes, _ = shape
    for f in range(len(grids)):
        used_cols = min(cols, n - f * cols)
        place = _moving_place(vectors, used_cols, col_skew, lanes)
        if inward:
            _copy_tile(grids[f], place, flat, (f * cols, n, 1), vectors, used_cols)
        else:
            _copy_tile(flat, (f * cols, n, 1), grids[f], place, vectors, used_cols)


@kernel
def _gemm(
    a: Array,
    b: Array,
    out: Array,
    problem: tuple[int, int, int],
    array: tuple[int, int, int, int],
    sums_move: int,
    blocked: bool,
    limits: Limits,
) -> Int64s:
    """The public GEMMs, on flat arrays. problem: (M, K, N). array: (rows, cols, row_skew, col_skew).

    Of b and out one stands, tile by tile ([height, N]), and the other moves ([vectors, N]); all fold columns
    of what moves are laid out once.
    """
    m, k, n = problem
    rows, cols, row_skew, col_skew = array
    height, vectors = (k, m) if sums_move else (m, k)
    n_fold_cols = (n + cols - 1) // cols
    lanes, stream_size, standing_size, moving_size = _sizes(
        vectors, min(rows, height), min(cols, n), col_skew
    )
    pad, pitch = _layout(vectors, col_skew, lanes)
    stream = np.zeros(stream_size, a.dtype)
    sums = np.zeros((n_fold_cols, moving_size) if sums_move else (1, standing_size), out.dtype)
    panels = np.zeros((1, standing_size) if sums_move else (n_fold_cols, moving_size), b.dtype)
    counts = np.zeros(COUNT_FIELDS, np.int64)
    standing = _standing_place(lanes)
    whole = (vectors, rows, cols, row_skew, col_skew, lanes, sums_move)
    if sums_move:
        _move_tiles(sums, out, whole, n, True)
    else:
        _move_tiles(panels, b, whole, n, True)
    for i0 in range(0, height, rows):
        used_rows = min(rows, height - i0)
        stream[:] = 0
        for i in range(used_rows):
            start, step = (i0 + i, k) if sums_move else ((i0 + i) * k, 1)
            _write_stream(stream, i, (pitch, pad, vectors), a, start, step)
        for f in range(n_fold_cols):
            used_cols = min(cols, n - f * cols)
            tile = (i0 * n + f * cols, n, 1)
            shape = (vectors, used_rows, used_cols, row_skew, col_skew, lanes, sums_move)
            fold_sums, panel = (sums[f], panels[0]) if sums_move else (sums[0], panels[f])
            if sums_move:
                panel[:] = 0  # also in the rows and lanes that this tile leaves unused
                _copy_tile(panel, standing, b, tile, used_rows, used_cols)
            else:
                _copy_tile(fold_sums, standing, out, tile, used_rows, used_cols)
            if blocked and row_skew == 1 and col_skew == 1 and limits[0] == limits[1]:
                _step_fold_blocked(fold_sums, stream, panel, shape, counts)
            else:
                end_cycle = vectors + (used_rows - 1) * row_skew + (used_cols - 1) * col_skew
                _step_fold(fold_sums, stream, panel, shape, end_cycle, limits, counts)
            counts[COUNT_FOLDS] += 1
            if not sums_move:
                _copy_tile(out, tile, fold_sums, standing, used_rows, used_cols)
    if sums_move:
        _move_tiles(sums, out, whole, n, False)
    return counts


def _limits(acc_bits: int, saturate: bool) -> Limits:
    """The range of a signed accumulator of `acc_bits` bits; 0 bits: that of the sums' type, which wraps."""
    if acc_bits == 0:
        return 0, 0, 0
    return -(1 << (acc_bits - 1)), (1 << (acc_bits - 1)) - 1, int(saturate)


def _run_gemm(
    a: Array,
    b: Array,
    out: Array,
    array: tuple[int, int, int, int],
    sums_move: int,
    blocked: bool,
    limits: Limits,
) -> Int64s:
    """Check the memory order that the kernel relies on, and run it."""
    assert out.flags.c_contiguous, "out is written in place"
    problem = (a.shape[0], a.shape[1], b.shape[1])
    flat_a, flat_b = np.ascontiguousarray(a).reshape(-1), np.ascontiguousarray(b).reshape(-1)
    return _gemm(flat_a, flat_b, out.reshape(-1), problem, array, sums_move, blocked, limits)


def os_gemm(
    a: Array,
    b: Array,
    out: Array,
    rows: int,
    cols: int,
    *,
    row_skew: int = 1,
    col_skew: int = 1,
    blocked: bool = False,
    acc_bits: int = 0,
    saturate: bool = False,
) -> Int64s:
    """out[M, N] += a[M, K] @ b[K, N] on an output-stationary array, fold by fold; returns counts, int64[5].

    a, b: both int8, int16 or float32. out: int32, int64 or float32, C-ordered. A sum starts as what is in
    `out`, so that a long reduction may come in pieces. Folds run row by row.

    rows, cols: the array. row_skew, col_skew: registers of a hop down and to the right, >= 0.
    blocked: see BLOCK_CYCLES; it changes neither outputs nor counts. It needs unit skews and acc_bits = 0;
    anything else is stepped cycle by cycle.
    acc_bits: 0: sums wrap as the type of `out` does, unseen. 2 to 62 (integers only, and at most the bits of
    `out`): signed accumulators of that width wrap or saturate at every step, and every step whose exact sum
    does not fit is counted in COUNT_OVERFLOWS. What is in `out` at the start must fit.
    """
    array = (rows, cols, row_skew, col_skew)
    return _run_gemm(a, b, out, array, 0, blocked, _limits(acc_bits, saturate))


def ws_gemm(
    a: Array,
    b: Array,
    out: Array,
    rows: int,
    cols: int,
    *,
    row_skew: int = 1,
    col_skew: int = 1,
    blocked: bool = False,
    acc_bits: int = 0,
    saturate: bool = False,
) -> Int64s:
    """out[M, N] += a[M, K] @ b[K, N] on a weight-stationary array (b stays); all else as `os_gemm`.

    The array's rows run over K. A partial sum enters the first row as what is in `out`, as if read from the
    accumulators, and goes back there. row_skew: accumulator + hop_down - 1, a partial sum's step.
    """
    array = (rows, cols, row_skew, col_skew)
    return _run_gemm(a, b, out, array, 1, blocked, _limits(acc_bits, saturate))


def is_gemm(
    a: Array,
    b: Array,
    out: Array,
    rows: int,
    cols: int,
    *,
    row_skew: int = 1,
    col_skew: int = 1,
    blocked: bool = False,
    acc_bits: int = 0,
    saturate: bool = False,
) -> Int64s:
    """out[M, N] += a[M, K] @ b[K, N] on an input-stationary array (a stays): `ws_gemm` of the transposed
    problem, so that the array's columns run over M."""
    array, limits = (rows, cols, row_skew, col_skew), _limits(acc_bits, saturate)
    turned = np.ascontiguousarray(out.T)
    counts = _run_gemm(b.T, a.T, turned, array, 1, blocked, limits)
    out[...] = turned.T
    return counts


# ----------------------------------------------------------------------------------------------------
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

    left[rows, cols]: the operand that comes from the left into every multiplier, out of the last register of
    the hop; the hop's other registers hold what this PE sees in the cycles to come.
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
    lanes, stream_size, standing_size, moving_size = _sizes(vectors, used_rows, used_cols, col_skew)
    pad, pitch = _layout(vectors, col_skew, lanes)
    shape = (vectors, used_rows, used_cols, row_skew, col_skew, lanes, int(moves))
    n_cycles = vectors + (used_cols - 1) * col_skew + (used_rows - 1) * row_skew
    if moves:
        delay += rows if load == LOAD_ROWS else 1
    local = cycle - delay  # PE(0, 0) multiplies the first vector in local cycle 0

    stream = np.zeros(stream_size, source.dtype)
    for row in range(used_rows):
        _write_stream(stream, row, (pitch, pad, vectors), source[row], 0, 1)
    standing_tile, moving_tile = (b, sums) if moves else (sums, b)
    standing = np.zeros(standing_size, standing_tile.dtype)
    moving = np.zeros(moving_size, moving_tile.dtype)
    whole = (0, used_cols, 1)
    standing_place, moving_place = _standing_place(lanes), _moving_place(vectors, used_cols, col_skew, lanes)
    _copy_tile(standing, standing_place, standing_tile.reshape(-1), whole, used_rows, used_cols)
    _copy_tile(moving, moving_place, moving_tile.reshape(-1), whole, vectors, used_cols)
    before_adder = multiplier + (0 if moves else accumulator - 1)
    accumulating, operands = (moving, standing) if moves else (standing, moving)
    end_cycle = min(max(local - before_adder, 0), n_cycles)
    _step_fold(accumulating, stream, operands, shape, end_cycle, (0, 0, 0), np.zeros(COUNT_FIELDS, np.int64))

    i, j = np.arange(rows)[:, np.newaxis], np.arange(cols)[np.newaxis, :]
    vector = local - i * row_skew - j * col_skew  # at every multiplier now

    def left_of(v: Int64s) -> Array:
        there = (v >= 0) & (v < vectors) & (i < used_rows)
        return _read(stream, (i + BLOCK_CYCLES) * pitch + pad + vectors - 1 - v, there)

    def from_moving(v: Int64s) -> Array:
        there = (v >= 0) & (v < vectors) & (j < used_cols)
        return _read(moving, moving_place[0] + v * moving_place[1] + j * moving_place[2], there)

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
