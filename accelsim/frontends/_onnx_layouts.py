"""Operators that lay elements out anew or choose among them by what is known: as reshapes, transposes and masks."""

from __future__ import annotations

import numpy as np

from accelsim.frontends._onnx_call import Tensor
from accelsim.frontends._onnx_model import INTEGERS, NotModelledError
from accelsim.frontends._onnx_written import Written

BOOL = 9


def depth_to_space(w: Written) -> None:
    (batch, channels, height, width), block = w.ranked(0, 4), w.integer("blocksize", 1)
    depth, mode = channels // (block * block), w.text("mode", "DCR")
    if mode == "DCR":
        parts = w.transpose(w.reshape(w.name(0), batch, block, block, depth, height, width), 0, 3, 4, 1, 5, 2)
    elif mode == "CRD":
        parts = w.transpose(w.reshape(w.name(0), batch, depth, block, block, height, width), 0, 1, 4, 2, 5, 3)
    else:
        raise NotModelledError(f"its mode is {mode!r:.40}, must be DCR or CRD")
    w.give(w.reshape(parts, batch, depth, height * block, width * block))


def space_to_depth(w: Written) -> None:
    (batch, channels, height, width), block = w.ranked(0, 4), w.integer("blocksize", 1)
    rows, columns, mode = height // block, width // block, w.text("mode", "DCR")
    if mode not in ("DCR", "CRD"):
        raise NotModelledError(f"its mode is {mode!r:.40}, must be DCR or CRD")
    parts = w.reshape(w.name(0), batch, channels, rows, block, columns, block)
    parts = w.transpose(parts, *((0, 3, 5, 1, 2, 4) if mode == "DCR" else (0, 1, 3, 5, 2, 4)))
    w.give(w.reshape(parts, batch, channels * block * block, rows, columns))


def trilu(w: Written) -> bool:
    """A triangle: what is outside of it times nothing."""
    if not isinstance(w.value(0), Tensor):
        return False
    given = w.known(1)
    if w.has(1) and given is None:
        raise NotModelledError("its diagonal is not known before it runs")
    k, kept = 0 if given is None else int(given.reshape(-1)[0]), np.triu if w.integer("upper", 1) else np.tril
    mask = kept(np.ones(w.shape()[-2:]), k)
    if w.elem() == BOOL:
        w.give(w.one("And", w.name(0), w.piece.constant(mask.astype(np.bool_))))
    else:
        w.give(w.one("Mul", w.name(0), w.number(mask)))
    return True


def one_hot(w: Written) -> bool:
    """Every index compared with every place."""
    if not isinstance(w.value(0), Tensor):
        return False
    depth, values = w.known(1), w.known(2)
    if depth is None or values is None:
        raise NotModelledError("its depth or its values are not known before it runs")
    rank, size = len(w.shape()), int(depth.reshape(-1)[0])
    axis = w.integer("axis", -1) % (rank + 1)
    indices = w.reshape(w.name(0), *w.shape()[:axis], 1, *w.shape()[axis:])
    if w.elem() not in INTEGERS:
        indices = w.one("Cast", indices, to=7)
    places = np.arange(size).reshape(-1, *(1,) * (rank - axis))
    kind = np.int32 if w.elem() == 6 else np.int64
    ends = [w.one("Equal", indices, w.piece.constant(at.astype(kind))) for at in (places, places - size)]  # they may count back
    hit = w.one("Cast", w.one("Or", *ends), to=w.elem(2))
    off, on = (float(value) for value in values.reshape(-1))
    result = w.scaled(hit, on - off, 2)
    w.give(w.one("Add", result, w.number(off, 2)) if off else result)
    return True
