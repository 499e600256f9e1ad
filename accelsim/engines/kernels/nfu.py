"""The NFU: one tile's timing from its control alone, and products, trees and sums stepped with real registers.

An NFU reads, a cycle, one row of inputs (``Ti`` of them, for each of its pixel lanes) and one row of weights
(``Ti x Tn``), and works in three pipelined stages: NFU-1 multiplies, NFU-2 adds the ``Ti`` products of each of the
``Tn`` outputs in a tree and adds the tree's result to the output's sum, NFU-3 applies the activation. Pooling passes
NFU-1 by. A *pass* is the work on one row of ``Tn`` outputs within a tile: its *chunks* are issued back to back.

Layouts. Inputs ``[pixels, chunks, Ti]``; weights ``[blocks, chunks, Ti, Tn]``, a chunk's row as the weight buffer
holds it; sums ``[pixels, blocks, Tn]``. ``Tn`` is padded with zero weights to a multiple of `LANES`, ``Ti`` to a power
of two: what the padding computes is zero, and is not counted.

Fixed point. A product is cut to ``product_bits`` behind a shift by ``product_shift`` (towards minus infinity, as
dropping bits does), and saturates or wraps. Trees are exact: an adder is as wide as its sum. The sum register has
``sum_bits`` and saturates or wraps at every addition; each addition whose exact result did not fit is counted.

Plain twin: `accelsim.engines.reference.nfu`.
"""

from typing import Any

import numpy as np
import numpy.typing as npt

from accelsim.engines.kernels._jit import kernel

Array = npt.NDArray[Any]
Int64s = npt.NDArray[np.int64]

LANES = 16
"""Outputs that are stepped together: two vector registers of int32."""

(O_MULTIPLY, O_ADD, O_ACTIVATE, O_PORTS, O_SUMS_IN_BUFFER, O_CYCLES_A_ROW) = range(6)
OPTION_FIELDS = 6
"""Options of `tile_timing`: cycles of the three stages; ports of the output buffer (1: a read or a write a cycle, 2: one
of each); whether every addition reads and writes the output buffer; cycles that a row of operands takes."""

(T_ISSUE, T_FIRST_MAC, T_LAST_MAC, T_END, T_WAIT, T_READS, T_WRITES) = range(7)
TIMING_FIELDS = 7
"""A tile's timing record, see `tile_timing`."""


# ----------------------------------------------------------------------------------------------------
# Cycles mode: one tile's timing from its control.


@kernel
def tile_timing(passes: int, chunks: int, resumes: int, options: Int64s) -> Int64s:
    """Step the control of one tile: which row of operands is read in which cycle, until the last output is written.

    passes: rows of outputs. chunks: rows of operands of each, >= 1. resumes: 1 if sums start from partial sums in
    the output buffer. A row read in cycle c is multiplied from cycle c + 1 on; the output buffer is read when its
    products reach the sum register and written when the last stage is done.

    The record: T_ISSUE cycles from the first read to the last, both included; T_FIRST_MAC and T_LAST_MAC cycles of
    the first and the last multiplication; T_END elapsed until the last output stands in the buffer; T_WAIT cycles in
    which the next row waited for the output buffer's port; T_READS and T_WRITES of rows of the output buffer.
    """
    record = np.zeros(TIMING_FIELDS, np.int64)
    to_sum = options[O_MULTIPLY] + options[O_ADD]
    depth = to_sum + options[O_ACTIVATE]
    booked = np.zeros(depth + 1, np.int64)  # writes of the output buffer, by cycle modulo its length
    slow = options[O_CYCLES_A_ROW]
    cycle = np.int64(0)
    for _ in range(passes):
        chunk = 0
        while chunk < chunks:
            reads = (chunk == 0 and resumes == 1) or (options[O_SUMS_IN_BUFFER] == 1 and (chunk > 0 or resumes == 1))
            writes = chunk == chunks - 1 or options[O_SUMS_IN_BUFFER] == 1
            if reads and options[O_PORTS] == 1 and booked[(cycle + to_sum) % (depth + 1)] == cycle + to_sum + 1:
                record[T_WAIT] += 1
                cycle += 1
                continue
            if writes:
                booked[(cycle + depth) % (depth + 1)] = cycle + depth + 1
            record[T_READS] += reads
            record[T_WRITES] += writes
            record[T_LAST_MAC] = cycle + slow
            chunk += 1
            cycle += slow
    record[T_FIRST_MAC] = 1
    record[T_ISSUE] = cycle
    record[T_END] = cycle + depth
    return record


# ----------------------------------------------------------------------------------------------------
# Values mode.


@kernel
def _multiply(products: Array, inputs: Array, weights: Array, x: int, w: int, ti: int, tn: int) -> None:
    """NFU-1, exact: products[i, n] = inputs[x + i] * weights[w + i*tn + n]."""
    wide = products.dtype.type
    for i in range(ti):
        value = wide(inputs[np.uint64(x + i)])
        for block in range(0, tn, LANES):
            p, q = np.uint64(i * tn + block), np.uint64(w + i * tn + block)
            for n in range(LANES):
                products[p + np.uint64(n)] = value * wide(weights[q + np.uint64(n)])


@kernel
def _multiply_fixed(
    products: Array, inputs: Array, weights: Array, x: int, w: int, ti: int, tn: int, shift: int, low: int, high: int
) -> None:
    """NFU-1 as `_multiply`, shifted right and saturated to low..high."""
    wide = products.dtype.type
    least, most, by = wide(low), wide(high), wide(shift)
    for i in range(ti):
        value = wide(inputs[np.uint64(x + i)])
        for block in range(0, tn, LANES):
            p, q = np.uint64(i * tn + block), np.uint64(w + i * tn + block)
            for n in range(LANES):
                product = (value * wide(weights[q + np.uint64(n)])) >> by
                products[p + np.uint64(n)] = min(max(product, least), most)


@kernel
def _multiply_wrapping(
    products: Array, inputs: Array, weights: Array, x: int, w: int, ti: int, tn: int, shift: int, low: int, high: int
) -> None:
    """NFU-1 as `_multiply_fixed`, keeping the low bits of what does not fit."""
    wide = products.dtype.type
    mask, least = wide(high - low), wide(low)
    for i in range(ti):
        value = wide(inputs[np.uint64(x + i)])
        for j in range(i * tn, i * tn + tn):
            product = (value * wide(weights[np.uint64(w + j)])) >> wide(shift)
            products[np.uint64(j)] = ((product - least) & mask) + least


@kernel
def _add_tree(tree: Array, products: Array, ti: int, tn: int) -> None:
    """NFU-2's trees, level by level: input i meets input i + half. ``tree`` [ti, tn] holds the levels' registers, the
    last level in row 1 (ti > 1), so that no level overwrites another."""
    half = ti // 2
    for j in range(0, half * tn, LANES):
        a, b, c = np.uint64(j), np.uint64(j + half * tn), np.uint64(j + half * tn)
        for n in range(LANES):
            tree[c + np.uint64(n)] = products[a + np.uint64(n)] + products[b + np.uint64(n)]
    while half > 1:
        level = half // 2
        for j in range(0, level * tn, LANES):
            a, b, c = np.uint64(half * tn + j), np.uint64((half + level) * tn + j), np.uint64(level * tn + j)
            for n in range(LANES):
                tree[c + np.uint64(n)] = tree[a + np.uint64(n)] + tree[b + np.uint64(n)]
        half = level


@kernel
def _accumulate(sums: Array, tree: Array, s: int, t: int, tn: int) -> None:
    """NFU-2's sum registers, exact: sums[s + n] += tree[t + n]."""
    wide = sums.dtype.type
    for block in range(0, tn, LANES):
        p, q = np.uint64(s + block), np.uint64(t + block)
        for n in range(LANES):
            sums[p + np.uint64(n)] += wide(tree[q + np.uint64(n)])


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
    products: Array,
    tree: Array,
    shape: tuple[int, int, int, int, int],
    cut: tuple[int, int, int, int],
    limit: tuple[int, int, int],
) -> int:
    """All passes of a tile, cycle by cycle; see `run_tile`. Returns the additions that did not fit.

    Stages work from the last to the first, each on what its input registers held as the cycle began: the sum
    registers take the tree's result, the trees take the products, the multipliers take the next rows. ``pending`` and
    ``settled`` are the outputs that the products and the tree's results are for; -1 is a bubble.
    """
    pixels, blocks, chunks, ti, tn = shape
    shift, product_low, product_high, product_mode = cut
    low, high, saturate = limit
    root = tn if ti > 1 else 0
    overflows = 0
    pending, settled = -1, -1
    total = pixels * blocks * chunks
    pixel, block, chunk = 0, 0, 0
    for cycle in range(total + 2):
        if settled >= 0:
            if low < high:
                overflows += _accumulate_limited(sums, tree, settled, root, tn, low, high, saturate == 1)
            else:
                _accumulate(sums, tree, settled, root, tn)
        if pending >= 0:
            if ti > 1:
                _add_tree(tree, products, ti, tn)
            else:
                tree[:tn] = products[:tn]
        settled = pending
        if cycle >= total:
            pending = -1
            continue
        x, w = (pixel * chunks + chunk) * ti, (block * chunks + chunk) * ti * tn
        if product_mode == 0:
            _multiply(products, inputs, weights, x, w, ti, tn)
        elif product_mode == 1:
            _multiply_fixed(products, inputs, weights, x, w, ti, tn, shift, product_low, product_high)
        else:
            _multiply_wrapping(products, inputs, weights, x, w, ti, tn, shift, product_low, product_high)
        pending = (pixel * blocks + block) * tn
        chunk += 1
        if chunk == chunks:
            chunk = 0
            block += 1
            if block == blocks:
                block = 0
                pixel += 1
    return overflows


EXACT, SATURATE, WRAP = 0, 1, 2
"""What a product does that does not fit; EXACT products are neither shifted nor cut."""


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
    """sums[pixels, blocks, Tn] += the tile's products, in the order of the chunks; returns sums that did not fit.

    inputs [pixels, chunks, Ti] and weights [blocks, chunks, Ti, Tn]: integers of at most ``operand_bits``, or float32.
    sums: int64, or float32. product_*: see EXACT, SATURATE, WRAP; sum_bits 0: sums are exact in 64 bits.
    """
    pixels, chunks, ti = inputs.shape
    blocks, _, _, tn = weights.shape
    assert tn % LANES == 0 and ti & (ti - 1) == 0, "rows are padded: see the module's text"
    assert weights.shape[1:3] == (chunks, ti) and sums.shape == (pixels, blocks, tn) and sums.flags.c_contiguous
    wide: Any = np.float32
    if sums.dtype.kind != "f":
        wide = product_type(*operand_bits, ti, product_mode, product_shift, product_bits)
    low, high = _bounds(sum_bits) if sum_bits else (0, 0)
    product_low, product_high = _bounds(product_bits) if product_mode != EXACT else (0, 0)
    return int(
        _step_tile(
            np.ascontiguousarray(inputs).reshape(-1),
            np.ascontiguousarray(weights).reshape(-1),
            sums.reshape(-1),
            np.zeros(ti * tn, wide),
            np.zeros(max(2, ti) * tn, wide),
            (pixels, blocks, chunks, ti, tn),
            (product_shift, product_low, product_high, product_mode),
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
def pool_average(windows: Array, sums: Array, out: Array, reciprocals: Int64s, fraction: int) -> None:
    """out[outputs, channels] = NFU-3's (sum * reciprocal) >> fraction over windows[outputs, positions, channels].

    sums int64[outputs, channels] are the adders' registers. reciprocals[outputs]: round(2^fraction / positions counted).
    """
    outputs, positions, channels = windows.shape
    for o in range(outputs):
        for c in range(channels):
            sums[o, c] = 0
        for position in range(positions):
            for c in range(channels):
                sums[o, c] += np.int64(windows[o, position, c])
        for c in range(channels):
            out[o, c] = (sums[o, c] * reciprocals[o]) >> np.int64(fraction)


# ----------------------------------------------------------------------------------------------------
# NFU-3: piecewise linear functions.


@kernel
def piecewise_linear(
    values: Array, slopes: Int64s, intercepts: Int64s, start: int, segment_shift: int, fraction: int, low: int, high: int,
    out: Array,
) -> None:  # fmt: skip
    """out = saturate(((slope * value) >> fraction) + intercept) with the value's segment's slope and intercept.

    Segment k covers start + k * 2^segment_shift up to the next; values outside take the nearest segment. All in units of
    2^-fraction. low, high: the output's range.
    """
    last = len(slopes) - 1
    for j in range(len(values)):
        value = np.int64(values[j])
        segment = min(max((value - start) >> np.int64(segment_shift), np.int64(0)), np.int64(last))
        result = ((slopes[segment] * value) >> np.int64(fraction)) + intercepts[segment]
        out[j] = min(max(result, np.int64(low)), np.int64(high))
