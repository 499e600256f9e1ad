"""The cycles of a mapping and little else: a schedule written out and walked in one go, for thousands of trials.

What `accelsim.schedule.build`, `accelsim.memory.transfers` and a unit's ``run`` do together for one mapping, without a
word about the traffic on chip: that is the plain twin, and `tests/engines/test_trial.py` holds the two together.
"""

import numpy as np

from accelsim.engines.kernels._jit import kernel
from accelsim.engines.kernels.timeline import (
    EVENT_FIELDS,
    O_SLOTS_INPUT,
    R_CYCLES,
    R_PORT_ACTIVE,
    RESULT_FIELDS,
    walk_timeline,
)

# Loops of a nest, as `Dims` has them.
N, K, C, P, Q, R, S, G = range(8)

# Entries of the nest's numbers: bits of an element; the share of the input that is fetched; what is so or not.
(M_INPUT_BITS, M_OUTPUT_BITS, M_SUM_BITS, M_SHARE, M_SHARE_OF, M_WEIGHT_RESIDENT, M_OUTPUT_RESIDENT,
 M_PRIVATE, M_BIASED, M_KEEP_WEIGHT, M_KEEP_INPUT, M_WEIGHT_SLOTS) = range(12)  # fmt: skip
NEST_FIELDS = 12

# Columns of an image axis, and of the blocks in which a unit reads it: outputs and taps at once.
A_SIZE, A_STRIDE, A_DILATION, A_PAD, A_BLOCK, A_TAP_BLOCK = range(6)
AXIS_FIELDS = 6

# Bits between the unit and the levels for one step of a tile shape: weights; inputs, and for each block of positions in
# the image; sums, that start anew or not; those that are fetched, spilled and ended.
(B_WEIGHT, B_INPUT, B_INPUT_BLOCK, B_BEGUN, B_RESUMED, B_FETCHED, B_SPILLED, B_ENDED, B_OUTPUT) = range(9)
BITS_FIELDS = 9

# Columns of the ports on chip: bits a cycle as a fraction; whether weights, inputs, sums, outputs live there.
PORT_BITS, PORT_CYCLES, PORT_WEIGHT, PORT_INPUT, PORT_SUM, PORT_OUTPUT = range(6)
PORT_FIELDS = 6

WEIGHT, INPUT, SUM = 0, 1, 2
NOTHING = -1


@kernel
def _ceil(number, by):  # type: ignore[no-untyped-def]
    return -(-number // by)


@kernel
def _reach(axis, first, count, tap, taps):  # type: ignore[no-untyped-def]
    """Input positions that outputs [first, first+count) and taps [tap, tap+taps) read, padding not counted."""
    low = first * axis[A_STRIDE] + tap * axis[A_DILATION] - axis[A_PAD]
    dense = (axis[A_DILATION] == 1 and axis[A_STRIDE] <= taps) or (axis[A_STRIDE] == 1 and axis[A_DILATION] <= count)
    if dense:  # the windows leave no hole
        high = low + (count - 1) * axis[A_STRIDE] + (taps - 1) * axis[A_DILATION]
        return max(0, min(high, axis[A_SIZE] - 1) - max(low, 0) + 1)
    there = np.zeros(axis[A_SIZE], np.bool_)
    for output in range(count):
        for each in range(taps):
            place = low + output * axis[A_STRIDE] + each * axis[A_DILATION]
            if 0 <= place < axis[A_SIZE]:
                there[place] = True
    return there.sum()


@kernel
def touched(axis, outputs, tile, taps, tap_tile):  # type: ignore[no-untyped-def]
    """Input positions under each (output tile, tap tile) of one axis; int64[output tiles, tap tiles]."""
    table = np.zeros((_ceil(outputs, tile), _ceil(taps, tap_tile)), np.int64)
    for i in range(table.shape[0]):
        for j in range(table.shape[1]):
            p, r = i * tile, j * tap_tile
            table[i, j] = _reach(axis, p, min(tile, outputs - p), r, min(tap_tile, taps - r))
    return table


@kernel
def new_positions(axis, outputs, tile, taps):  # type: ignore[no-untyped-def]
    """Input positions of one axis that each tile of outputs is the first to touch; int64[output tiles, 1]."""
    table = np.zeros((_ceil(outputs, tile), 1), np.int64)
    before = np.int64(0)
    for i in range(table.shape[0]):
        so_far = _reach(axis, 0, min((i + 1) * tile, outputs), 0, taps)
        table[i, 0], before = so_far - before, so_far
    return table


@kernel
def _block_inside(axis, first, count, tap, taps):  # type: ignore[no-untyped-def]
    """Whether any of these outputs' taps lies in the image."""
    for output in range(first, first + count):
        for each in range(tap, tap + taps):
            if 0 <= output * axis[A_STRIDE] + each * axis[A_DILATION] - axis[A_PAD] < axis[A_SIZE]:
                return True
    return False


@kernel
def inside(axis, outputs, tile, taps, tap_tile):  # type: ignore[no-untyped-def]
    """Blocks of outputs and taps that touch the image, under each (output tile, tap tile) of one axis."""
    table = np.zeros((_ceil(outputs, tile), _ceil(taps, tap_tile)), np.int64)
    for i in range(table.shape[0]):
        for j in range(table.shape[1]):
            last, last_tap = min((i + 1) * tile, outputs), min((j + 1) * tap_tile, taps)
            for p in range(i * tile, last, axis[A_BLOCK]):
                for r in range(j * tap_tile, last_tap, axis[A_TAP_BLOCK]):
                    count, tap_count = min(axis[A_BLOCK], last - p), min(axis[A_TAP_BLOCK], last_tap - r)
                    table[i, j] += _block_inside(axis, p, count, r, tap_count)
    return table


@kernel
def _turns(dims, tile):  # type: ignore[no-untyped-def]
    """How many tiles there are along each loop; and for each ragged loop its bit in a tile shape's code, -1 for others."""
    counts, ragged, many = np.zeros(8, np.int64), np.full(8, -1, np.int64), 0
    for loop in range(8):
        counts[loop] = _ceil(dims[loop], tile[loop])
        if dims[loop] % tile[loop]:
            ragged[loop], many = many, many + 1
    return counts, ragged


@kernel
def _advance(index, counts, order):  # type: ignore[no-untyped-def]
    """Go on to the next step; returns the loops (bits) whose tile is another there, 0 behind the last step."""
    changed = 0
    for place in range(7, -1, -1):
        loop = order[place]
        changed |= (counts[loop] > 1) << loop
        index[loop] += 1
        if index[loop] < counts[loop]:
            return changed
        index[loop] = 0
    return 0


@kernel
def _fetched(index, changed, loops, kept):  # type: ignore[no-untyped-def]
    """Whether a tile over ``loops`` (bits) is fetched: when it changes or, where it is kept, when it is first needed."""
    if not kept:
        return changed & loops != 0
    for loop in range(8):
        if not loops >> loop & 1 and index[loop] > 0:
            return False
    return True


@kernel
def _positions(nest, rows, columns, dims, tile):  # type: ignore[no-untyped-def]
    """Input rows and columns that a tile fetches, by its place; where inputs are kept, what the tiles before have not."""
    if nest[M_KEEP_INPUT]:
        down, right = new_positions(rows, dims[P], tile[P], dims[R]), new_positions(columns, dims[Q], tile[Q], dims[S])
        return down, right
    return touched(rows, dims[P], tile[P], dims[R], tile[R]), touched(columns, dims[Q], tile[Q], dims[S], tile[S])


@kernel
def expand(dims, tile, order, nest, rows, columns, numbers, weight_bits, bits, classes, loads, stores, moved):  # type: ignore[no-untyped-def]
    """Write out the steps of a mapping, as `accelsim.schedule.build.build_schedule` does.

    Parameters
    ----------
    dims, tile, order : int64[8]      sizes of the loops and of the tile; the loops from the outermost to the innermost
    nest    : int64[12]               M_*
    rows, columns : int64[6]          A_*
    numbers : int64[2**ragged]        row of the tables of tile shapes, by which of the ragged loops are at their last turn
    weight_bits : int64[shapes]       weights of a tile as they are fetched
    bits    : int64[shapes, 9]        B_*
    classes : int32[steps]            filled: a step's tile shape
    loads, stores : int64[steps, 3], int64[steps]    filled: see `Schedule`; biases are among the loads
    moved   : int64[steps, 4]         filled: bits of weights, inputs, sums, outputs through the levels that hold them
    """
    weight_loops = 1 << K | 1 << C | 1 << R | 1 << S | 1 << G | (1 << P | 1 << Q) * nest[M_PRIVATE]
    input_loops = 1 << G | 1 << N | 1 << C | 1 << P | 1 << Q | (1 << R | 1 << S) * (1 - nest[M_KEEP_INPUT])
    output_loops = 1 << G | 1 << N | 1 << K | 1 << P | 1 << Q
    counts, ragged = _turns(dims, tile)
    down, right = _positions(nest, rows, columns, dims, tile)
    inside_rows = inside(rows, dims[P], tile[P], dims[R], tile[R])
    inside_columns = inside(columns, dims[Q], tile[Q], dims[S], tile[S])
    index, sizes = np.zeros(8, np.int64), np.zeros(8, np.int64)
    changed = 255
    for step in range(classes.shape[0]):
        code = 0
        for loop in range(8):  # all tiles of a loop are alike but the last
            last = index[loop] == counts[loop] - 1
            sizes[loop] = dims[loop] - index[loop] * tile[loop] if last else tile[loop]
            if last and ragged[loop] >= 0:
                code |= 1 << ragged[loop]
        shape = numbers[code]
        each, classes[step] = bits[shape], shape
        reduction = (index[C] * counts[R] + index[R]) * counts[S] + index[S]
        outputs = sizes[G] * sizes[N] * sizes[K] * sizes[P] * sizes[Q]
        bias = np.int64(0)
        if nest[M_BIASED] and reduction == 0:
            bias = sizes[G] * sizes[K] * (sizes[P] * sizes[Q] if nest[M_PRIVATE] else 1) * nest[M_SUM_BITS]

        loads[step, :] = NOTHING
        if _fetched(index, changed, weight_loops, nest[M_KEEP_WEIGHT]):
            loads[step, WEIGHT] = 0 if nest[M_WEIGHT_RESIDENT] else weight_bits[shape] + bias
        if _fetched(index, changed, input_loops, nest[M_KEEP_INPUT]):
            places = down[index[P], index[R] % down.shape[1]] * right[index[Q], index[S] % right.shape[1]]
            image = sizes[G] * sizes[N] * sizes[C] * places * nest[M_INPUT_BITS]
            loads[step, INPUT] = _ceil(image * nest[M_SHARE], nest[M_SHARE_OF])
        arrives = changed & output_loops != 0
        fetched = arrives and reduction > 0
        if fetched:
            loads[step, SUM] = outputs * nest[M_SUM_BITS]
        blocks = inside_rows[index[P], index[R]] * inside_columns[index[Q], index[S]]

        changed = _advance(index, counts, order)
        leaves = changed & output_loops != 0 or step + 1 == classes.shape[0]
        ends = leaves and reduction + 1 == counts[C] * counts[R] * counts[S]
        spills = leaves and not ends
        stores[step] = NOTHING
        if leaves:
            final = 0 if nest[M_OUTPUT_RESIDENT] else nest[M_OUTPUT_BITS]
            stores[step] = outputs * (final if ends else nest[M_SUM_BITS])

        sums = each[B_RESUMED] if fetched or not arrives else each[B_BEGUN]
        sums += each[B_FETCHED] * fetched + each[B_SPILLED] * spills + each[B_ENDED] * ends
        moved[step, 0] = each[B_WEIGHT] + bias + max(loads[step, WEIGHT], 0)
        moved[step, 1] = each[B_INPUT] + each[B_INPUT_BLOCK] * blocks + max(loads[step, INPUT], 0)
        moved[step, 2] = sums + max(loads[step, SUM], 0) + max(stores[step], 0) * spills
        moved[step, 3] = each[B_OUTPUT] * ends + max(stores[step], 0) * ends


@kernel
def _short(moved, port, there, classes):  # type: ignore[no-untyped-def]
    """Cycles that a port on chip needs beyond those in which it can work, in all; and each step's, float64[steps]."""
    total, cycles = np.int64(0), np.int64(0)
    rate = port[PORT_BITS] / port[PORT_CYCLES]
    each = np.zeros(len(classes))
    for step in range(len(classes)):
        bits = np.int64(0)
        for tensor in range(4):
            bits += moved[step, tensor] * port[PORT_WEIGHT + tensor]
        total += bits
        cycles += there[classes[step]]
        each[step] = bits / rate - there[classes[step]]
    return _ceil(total * port[PORT_CYCLES], port[PORT_BITS]) - cycles, each


@kernel
def waits(moved, ports, there, classes):  # type: ignore[no-untyped-def]
    """Cycles by which ports on chip hold every step back, int64[steps]: `accelsim.memory.transfers.Crossing.waits`."""
    longest, shared = np.int64(0), np.zeros(len(classes), np.int64)
    for number in range(len(ports)):
        short, each = _short(moved, ports[number], there[:, number], classes)
        if short <= longest:
            continue
        longest, grown = short, np.cumsum(np.maximum(each, 0))
        before = np.int64(0)
        for step in range(len(classes)):
            end = np.int64(np.floor(grown[step] * (short / grown[-1]))) if step + 1 < len(classes) else short
            shared[step], before = end - before, end
    return shared


@kernel
def _slots(loads, tensor, kept, slots):  # type: ignore[no-untyped-def]
    """Places that tiles of a tensor are fetched to: the level's, or one a tile where it is kept."""
    return max(1, (loads[:, tensor] != NOTHING).sum()) if kept else slots


@kernel
def trial(dims, tile, order, nest, rows, columns, numbers, weight_bits, bits, ports, there, grids, folds, options):  # type: ignore[no-untyped-def]
    """A mapping's cycles from a fresh start, bits that cross the port off chip, cycles in which the unit takes operands.

    ``ports`` int64[ports, 6]: PORT_*; ``there`` int64[shapes, ports]: cycles of a tile in which each can work; ``grids``,
    ``folds``, ``options``: see `run_timeline`; the rest as `expand` has it.
    """
    steps = np.int64(1)
    for loop in range(8):
        steps *= _ceil(dims[loop], tile[loop])
    classes, loads, stores = np.zeros(steps, np.int32), np.zeros((steps, 3), np.int64), np.zeros(steps, np.int64)
    moved = np.zeros((steps, 4), np.int64)
    expand(dims, tile, order, nest, rows, columns, numbers, weight_bits, bits, classes, loads, stores, moved)
    options = options.copy()
    options[O_SLOTS_INPUT] = _slots(loads, INPUT, nest[M_KEEP_INPUT], options[O_SLOTS_INPUT])
    weight_free = np.zeros(_slots(loads, WEIGHT, nest[M_KEEP_WEIGHT], nest[M_WEIGHT_SLOTS]), np.int64)
    held_back = waits(moved, ports, there, classes)
    events = np.zeros((0, EVENT_FIELDS), np.int64)
    result = np.zeros(RESULT_FIELDS, np.int64)
    walk_timeline(
        classes, loads, stores, held_back, grids, folds, options, np.zeros(1, np.int64), weight_free, events, result
    )
    off_chip = np.maximum(loads, 0).sum() + np.maximum(stores, 0).sum()
    return result[R_CYCLES], off_chip, result[R_PORT_ACTIVE]
