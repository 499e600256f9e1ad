"""The NFU: one tile's timing from its control alone, and products, trees and sums stepped with real
registers.

An NFU reads, a cycle, one row of inputs (``Ti`` of them, for each of its pixel lanes) and one row of weights
(``Ti x Tn``), and works in three pipelined stages: NFU-1 multiplies, NFU-2 adds the ``Ti`` products of each
of the ``Tn`` outputs in a tree and adds the tree's result to the output's sum, NFU-3 applies the activation.
Pooling passes NFU-1 by. A *pass* is the work on one row of ``Tn`` outputs within a tile: its *chunks* are
issued back to back.

Layouts. Inputs ``[pixels, chunks, Ti]``; weights ``[blocks, chunks, Ti, Tn]``, a chunk's row as the weight
buffer holds it; sums ``[pixels, blocks, Tn]``. ``Tn`` is padded with zero weights to a multiple of `LANES`,
``Ti`` to a power of two: what the padding computes is zero, and is not counted.

Fixed point. A product is cut to ``product_bits`` behind a shift by ``product_shift`` (towards minus infinity,
as dropping bits does), and saturates or wraps. Trees are exact: an adder is as wide as its sum. The sum
register has ``sum_bits`` and saturates or wraps at every addition; each addition whose exact result did not
fit is counted.

Plain twin: `accelsim.engines.reference.nfu`.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from accelsim.engines.kernels._jit import kernel, prefetch

Array = npt.NDArray[Any]
Int64s = npt.NDArray[np.int64]

LANES = 16
"""Outputs that are stepped together: two vector registers of int32."""

LINE, ROWS_AHEAD = 32, 8

O_MULTIPLY, O_ADD, O_ACTIVATE, O_SUMS_IN_BUFFER, O_CYCLES_A_ROW = range(5)
OPTION_FIELDS = 5
"""Options of `tile_timing`: cycles of the three stages; whether every addition reads and writes the output
buffer; cycles that a row of operands takes."""

T_ISSUE, T_FIRST_MAC, T_LAST_MAC, T_END, T_READS, T_WRITES = range(6)
TIMING_FIELDS = 6
"""A tile's timing record, see `tile_timing`."""


# ----------------------------------------------------------------------------------------------------
# Cycles mode: one tile's timing from its control.


@kernel
def tile_timing(passes: int, chunks: int, resumes: int, options: Int64s) -> Int64s:
    """Step the control of one tile: which row of operands is read in which cycle, until the last output is
    written.

    passes: rows of outputs, >= 1. chunks: rows of operands of each, >= 1. resumes: 1 if sums start from
    partial sums in the output buffer. A row read in cycle c is multiplied from cycle c + 1 on. The output
    buffer has a port to read and one to write: a row of it is read when products reach the sum register, and
    written behind the last stage.

    The record: T_ISSUE cycles that the rows of operands take to be read; T_FIRST_MAC and T_LAST_MAC cycles of
    the first and the last multiplication; T_END elapsed until the last output stands in the buffer; T_READS
    and T_WRITES of rows of the output buffer.
    """
    record = np.zeros(TIMING_FIELDS, np.int64)
    depth = options[O_MULTIPLY] + options[O_ADD] + options[O_ACTIVATE]
    stages = np.zeros(
        depth, np.int64
    )  # tokens behind the operand register: 0 a bubble, 1 a row, 2 one that writes
    operand, held = 0, np.int64(0)
    done, chunk = 0, 0  # outputs whose rows have all been read, and rows of the next
    cycle = np.int64(0)
    flying = 0
    while done < passes or operand > 0 or flying > 0:
        record[T_WRITES] += stages[depth - 1] == 2
        flying -= stages[depth - 1] > 0
        record[T_END] = cycle
        for stage in range(depth - 1, 0, -1):
            stages[stage] = stages[stage - 1]
        stages[0] = 0
        if operand > 0:
            if record[T_FIRST_MAC] == 0:
                record[T_FIRST_MAC] = cycle
            record[T_LAST_MAC] = cycle
            if held == 0:
                stages[0] = operand
                flying += 1
                operand = 0
            else:
                held -= 1
        if done < passes and operand == 0:
            first, last = chunk == 0, chunk == chunks - 1
            record[T_ISSUE] += options[O_CYCLES_A_ROW]
            record[T_READS] += resumes == 1 if first else options[O_SUMS_IN_BUFFER] == 1
            operand = 2 if last or options[O_SUMS_IN_BUFFER] == 1 else 1
            held = options[O_CYCLES_A_ROW] - 1
            chunk = 0 if last else chunk + 1
            done += last
        cycle += 1
    return record


# ----------------------------------------------------------------------------------------------------
# Values mode.

EXACT, SATURATE, WRAP = 0, 1, 2
"""What a product does that does not fit; EXACT products are neither shifted nor cut."""


@kernel
def _broadcast(bus: Array, inputs: Array, x: int, rows: int, tn: int) -> None:
    """The wires from a pixel's inputs to the multipliers: bus[row, n] = inputs[x + row] for every output
    n.
    """
    for row in range(rows):
        value = inputs[np.uint64(x + row)]
        for block in range(0, tn, LANES):
            p = np.uint64(row * tn + block)
            for n in range(LANES):
                bus[p + np.uint64(n)] = value


@kernel
def _ask_ahead(weights: Array, w: int, row: int) -> None:
    """The rows of weights that are wanted soon, on their way into the cache: no hardware prefetcher keeps up with them."""
    for line in range(0, row, LINE):
        prefetch(weights, np.uint64(w + ROWS_AHEAD * row + line))


@kernel
def _multiply(products: Array, bus: Array, weights: Array, x: int, w: int, size: int) -> None:
    """NFU-1, exact: products[j] = bus[x + j] * weights[w + j]."""
    wide = products.dtype.type
    for j in range(size):
        products[np.uint64(j)] = wide(bus[np.uint64(x + j)]) * wide(weights[np.uint64(w + j)])


@kernel
def _multiply_fixed(
    products: Array, bus: Array, weights: Array, x: int, w: int, size: int, shift: int, low: int, high: int
) -> None:
    """NFU-1 as `_multiply`, shifted right and saturated to low..high."""
    wide = products.dtype.type
    least, most, by = wide(low), wide(high), wide(shift)
    for j in range(size):
        product = wide(wide(wide(bus[np.uint64(x + j)]) * wide(weights[np.uint64(w + j)])) >> by)
        products[np.uint64(j)] = min(max(product, least), most)


@kernel
def _multiply_wrapping(
    products: Array, bus: Array, weights: Array, x: int, w: int, size: int, shift: int, low: int, high: int
) -> None:
    """NFU-1 as `_multiply_fixed`, keeping the low bits of what does not fit."""
    wide = products.dtype.type
    mask, least, by = wide(high - low), wide(low), wide(shift)
    for j in range(size):
        product = wide(wide(wide(bus[np.uint64(x + j)]) * wide(weights[np.uint64(w + j)])) >> by)
        products[np.uint64(j)] = ((product - least) & mask) + least


@kernel
def _multiply_cut(
    products: Array, bus: Array, weights: Array, at: tuple[int, int, int], cut: tuple[int, int, int, int]
) -> None:
    """NFU-1 with products that are cut."""
    x, w, size = at
    shift, low, high, mode = cut
    if mode == SATURATE:
        _multiply_fixed(products, bus, weights, x, w, size, shift, low, high)
    else:
        _multiply_wrapping(products, bus, weights, x, w, size, shift, low, high)


@kernel
def _add_trees(tree: Array, products: Array, ti: int, tn: int) -> None:
    """NFU-2's trees, level by level: input i meets input i + half. ``tree`` [ti, tn] holds the levels, each
    where no other is, and the last in row 1."""
    half = ti // 2
    for j in range(half * tn):
        tree[np.uint64(half * tn + j)] = products[np.uint64(j)] + products[np.uint64(half * tn + j)]
    while half > 1:
        level = half // 2
        for j in range(level * tn):
            tree[np.uint64(level * tn + j)] = (
                tree[np.uint64(half * tn + j)] + tree[np.uint64((half + level) * tn + j)]
            )
        half = level


@kernel
def _add_trees_of_16(tree: Array, products: Array, tn: int) -> None:
    """`_add_trees` for 16 inputs, in the same order: one loop, which is several times faster."""
    p, row, root = products, np.uint64(tn), np.uint64(tn)
    for n in range(tn):
        j = np.uint64(n)
        a0, a1 = p[j] + p[j + row * np.uint64(8)], p[j + row] + p[j + row * np.uint64(9)]
        a2, a3 = (
            p[j + row * np.uint64(2)] + p[j + row * np.uint64(10)],
            p[j + row * np.uint64(3)] + p[j + row * np.uint64(11)],
        )
        a4, a5 = (
            p[j + row * np.uint64(4)] + p[j + row * np.uint64(12)],
            p[j + row * np.uint64(5)] + p[j + row * np.uint64(13)],
        )
        a6, a7 = (
            p[j + row * np.uint64(6)] + p[j + row * np.uint64(14)],
            p[j + row * np.uint64(7)] + p[j + row * np.uint64(15)],
        )
        tree[j + root] = ((a0 + a4) + (a2 + a6)) + ((a1 + a5) + (a3 + a7))


@kernel
def _accumulate(sums: Array, tree: Array, s: int, t: int, tn: int) -> None:
    """NFU-2's sum registers, exact: sums[s + n] += tree[t + n]."""
    wide = sums.dtype.type
    for n in range(tn):
        sums[np.uint64(s + n)] += wide(tree[np.uint64(t + n)])


@kernel
def _accumulate_limited(
    sums: Array, tree: Array, s: int, t: int, tn: int, low: int, high: int, saturate: bool
) -> int:
    """As `_accumulate` within low..high; returns how many sums did not fit."""
    overflows = 0
    for n in range(tn):
        value = sums[s + n] + sums.dtype.type(tree[t + n])
        if value < low or value > high:
            overflows += 1
            value = min(max(value, low), high) if saturate else (value - low) % (high - low + 1) + low
        sums[s + n] = value
    return overflows


@kernel
def _step_tile(
    inputs: Array,
    weights: Array,
    sums: Array,
    bus: Array,
    products: Array,
    tree: Array,
    shape: tuple[int, int, int, int, int],
    cut: tuple[int, int, int, int] | None,
    limit: tuple[int, int, int],
) -> int:
    """All passes of a tile, cycle by cycle; see `run_tile`. Returns the additions that did not fit.

    Stages work from the last to the first, each on what its input registers held as the cycle began: the sum
    registers take the tree's result, the trees take the products, the multipliers take the next rows.
    ``pending`` and ``settled`` are the outputs that the products and the tree's results are for; -1 is a
    bubble.
    """
    pixels, blocks, chunks, ti, tn = shape
    low, high, saturate = limit
    row, root = ti * tn, tn if ti > 1 else 0
    overflows = 0
    pending, settled = -1, -1
    total = pixels * blocks * chunks
    pixel, block, chunk = 0, 0, 0
    for cycle in range(total + 2):
        if settled >= 0:
            if low < high:
                overflows += _accumulate_limited(sums, tree, settled, root, tn, low, high, saturate == 1)
            elif tn == LANES:
                _accumulate(sums, tree, settled, root, LANES)
            else:
                _accumulate(sums, tree, settled, root, tn)
        if pending >= 0:
            if ti == 16 and tn == LANES:  # sizes that the compiler knows make faster code
                _add_trees_of_16(tree, products, LANES)
            elif ti == 16:
                _add_trees_of_16(tree, products, tn)
            elif ti > 1:
                _add_trees(tree, products, ti, tn)
            else:
                tree[:tn] = products[:tn]
        settled = pending
        if cycle >= total:
            pending = -1
            continue
        if block == 0 and chunk == 0:
            _broadcast(bus, inputs, pixel * chunks * ti, chunks * ti, tn)
        x, w = chunk * row, (block * chunks + chunk) * row
        _ask_ahead(weights, w, row)
        if cut is None:  # decided as the kernel compiles: floats have no other way
            _multiply(products, bus, weights, x, w, row)
        else:
            _multiply_cut(products, bus, weights, (x, w, row), cut)
        pending = (pixel * blocks + block) * tn
        chunk += 1
        if chunk == chunks:
            chunk = 0
            block += 1
            if block == blocks:
                block = 0
                pixel += 1
    return overflows


def _bounds(bits: int) -> tuple[int, int]:
    return -(1 << (bits - 1)), (1 << (bits - 1)) - 1


def product_type(input_bits: int, weight_bits: int, ti: int, mode: int, shift: int, product_bits: int) -> Any:
    """The narrowest type in which products, and their trees, are exact."""
    whole = input_bits + weight_bits  # -2^15 * -2^15 is the one product that needs them all
    kept = product_bits if mode != EXACT else whole
    deepest = max(whole, kept + max(0, (ti - 1).bit_length()))
    del shift
    return np.int32 if deepest <= 32 else np.int64


def run_tile(
    inputs: Array,
    weights: Array,
    sums: Array,
    *,
    product_shift: int = 0,
    product_bits: int = 0,
    product_mode: int = EXACT,
    sum_bits: int = 0,
    saturate: bool = True,
    operand_bits: tuple[int, int] = (16, 16),
) -> int:
    """sums[pixels, blocks, Tn] += the tile's products, in the order of the chunks; returns sums that did not
    fit.

    inputs [pixels, chunks, Ti] and weights [blocks, chunks, Ti, Tn]: integers of at most ``operand_bits``, or
    float32.
    sums: int64, or float32. product_*: see EXACT, SATURATE, WRAP; sum_bits 0: sums are exact in 64 bits.
    """
    pixels, chunks, ti = inputs.shape
    blocks, _, _, tn = weights.shape
    assert tn % LANES == 0, "outputs are padded: see the module's text"
    assert ti & (ti - 1) == 0, "inputs are padded: see the module's text"
    assert weights.shape[1:3] == (chunks, ti)
    assert sums.shape == (pixels, blocks, tn)
    assert sums.flags.c_contiguous, "sums are written in place"
    wide: Any = np.float32
    if sums.dtype.kind != "f":
        wide = product_type(*operand_bits, ti, product_mode, product_shift, product_bits)
    low, high = _bounds(sum_bits) if sum_bits else (0, 0)
    return int(
        _step_tile(
            np.ascontiguousarray(inputs).reshape(-1),
            np.ascontiguousarray(weights).reshape(-1),
            sums.reshape(-1),
            np.empty(chunks * ti * tn, np.float32 if sums.dtype.kind == "f" else np.int32),
            np.zeros(ti * tn, wide),
            np.zeros(max(2, ti) * tn, wide),
            (pixels, blocks, chunks, ti, tn),
            None if product_mode == EXACT else (product_shift, *_bounds(product_bits), product_mode),
            (low, high, int(saturate)),
        )
    )


# ----------------------------------------------------------------------------------------------------
# Pooling: NFU-2's comparators and adders, a row of `Ti` channels a cycle.


@kernel
def pool_max(windows: Array, out: Array) -> None:
    """out[outputs, channels] = maximum over windows[outputs, positions, channels], a position a cycle.

    The first position of a window is taken as it is: the comparator's register has no value yet.
    """
    outputs, positions, channels = windows.shape
    for o in range(outputs):
        for position in range(positions):
            for c in range(channels):
                value = windows[o, position, c]
                if position == 0 or value > out[o, c]:
                    out[o, c] = value


@kernel
def pool_average(
    windows: Array, sums: Array, out: Array, reciprocals: Int64s, fraction: int, low: int, high: int, wraps: bool
) -> int:
    """out[outputs, channels] = NFU-3's (sum * reciprocal) >> fraction over windows[outputs, positions,
    channels].

    sums int64[outputs, channels] are the adders' registers, which hold low..high, and saturate or wrap.
    reciprocals[outputs]: round(2^fraction / positions counted). Returns the additions that did not fit.
    """
    outputs, positions, channels = windows.shape
    least, most = np.int64(low), np.int64(high)
    overflows = 0
    for o in range(outputs):
        for c in range(channels):
            sums[o, c] = 0
        for position in range(positions):
            for c in range(channels):
                total = sums[o, c] + np.int64(windows[o, position, c])
                if total < least or total > most:
                    overflows += 1
                    total = (total - least) % (most - least + 1) + least if wraps else min(max(total, least), most)
                sums[o, c] = total
        for c in range(channels):
            out[o, c] = (sums[o, c] * reciprocals[o]) >> np.int64(fraction)
    return overflows


# ----------------------------------------------------------------------------------------------------
# NFU-3: piecewise linear functions.


@kernel
def piecewise_linear(
    values: Array, slopes: Int64s, intercepts: Int64s, start: int, segment_shift: int, fraction: int,
    low: int, high: int, out: Array,
) -> None:  # fmt: skip
    """out = saturate(((slope * value) >> fraction) + intercept) with the value's segment's slope and
    intercept.

    Segment k covers start + k * 2^segment_shift up to the next; values outside take the nearest segment. All
    in units of 2^-fraction. low, high: the output's range.
    """
    last = len(slopes) - 1
    for j in range(len(values)):
        value = np.int64(values[j])
        segment = min(max((value - start) >> np.int64(segment_shift), np.int64(0)), np.int64(last))
        result = ((slopes[segment] * value) >> np.int64(fraction)) + intercepts[segment]
        out[j] = min(max(result, np.int64(low)), np.int64(high))
