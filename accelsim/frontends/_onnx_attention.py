"""Attention and what comes with it (rotary positions, embeddings), as the products, sums and softmax that they are.

Every score is computed, those that a mask takes away too: a mask is a sum. Keys and values that several heads share are not
copied: the queries of those heads are the rows of one product. What is joined to a cache is a Concat.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from accelsim.frontends._onnx_call import Tensor
from accelsim.frontends._onnx_model import NotModelledError
from accelsim.frontends._onnx_written import Written

_LOWEST = -3.4028234663852886e38  # of float32: what a causal mask adds


@dataclass
class _Heads:
    """Queries, keys and values by heads, [batch, heads, positions, size] each, and how many of each there are."""

    query: str
    key: str
    value: str
    batch: int
    heads: int
    queries: int
    size: int
    shared: int  # heads of keys and values
    keys: int
    value_size: int


# --- the core ---


def _attended(w: Written, h: _Heads, scale: float, masks: list[str], softcap: float = 0.0) -> str:
    """Softmax of the scores times the values: [batch, queries, heads x size]."""
    rows = (h.batch, h.shared, h.heads // h.shared * h.queries)
    grouped = h.heads != h.shared
    query = w.reshape(h.query, *rows, h.size) if grouped else h.query
    scores = w.scaled(w.one("MatMul", query, w.transpose(h.key, 0, 1, 3, 2)), scale)
    scores = w.reshape(scores, h.batch, h.heads, h.queries, h.keys) if grouped else scores
    if softcap:
        scores = w.scaled(w.one("Tanh", w.scaled(scores, 1 / softcap)), softcap)
    shares = w.one("Softmax", w.total(scores, *masks), axis=-1)
    shares = w.reshape(shares, *rows, h.keys) if grouped else shares
    mixed = w.one("MatMul", shares, h.value)
    mixed = w.reshape(mixed, h.batch, h.heads, h.queries, h.value_size) if grouped else mixed
    joined = w.transpose(mixed, 0, 2, 1, 3)
    return w.reshape(joined, h.batch, h.queries, h.heads * h.value_size)


def _by_heads(w: Written, name: str, batch: int, positions: int, heads: int, size: int) -> str:
    return w.transpose(w.reshape(name, batch, positions, heads, size), 0, 2, 1, 3)


def _causal(w: Written, h: _Heads, window: int = -1) -> str:
    """A sum that leaves the keys up to a query's own position, or the last ``window`` of them."""
    position = np.arange(h.queries)[:, None] + h.keys - h.queries
    behind = position - np.arange(h.keys)
    kept = (behind >= 0) & ((behind < window) | (window < 0))
    return "" if kept.all() else w.number(np.where(kept, 0.0, _lowest(w)))


def _lowest(w: Written) -> float:
    return -65504.0 if w.elem() == 10 else _LOWEST


def _padding(w: Written, place: int, h: _Heads, away: float) -> str:
    """The sum that a mask of keys stands for: one number a key, a query and key, or how many keys there are."""
    if not w.has(place):
        return ""
    shape, name = w.shape(place), w.name(place)
    if len(shape) == 1 and shape[0] == h.batch:  # how many keys are there
        there = w.one("Less", w.piece.constant(np.arange(h.keys, dtype=np.int32)), w.reshape(name, h.batch, 1, 1, 1))
        kept = w.one("Cast", there, to=w.elem())
    elif shape == (h.batch, h.keys) or shape == (h.batch, h.queries, h.keys):
        whole = w.reshape(name, h.batch, 1, 1 if len(shape) == 2 else h.queries, h.keys)
        kept = w.one("Cast", whole, to=w.elem())
    else:
        raise NotModelledError(f"its mask has the shape {list(shape)} over {h.queries} queries and {h.keys} keys")
    return w.scaled(w.one("Sub", w.number(1.0), kept), away)


def _with_cache(w: Written, h: _Heads, key: str, value: str, length: int) -> None:
    """Keys and values of ``length`` earlier positions before those of now."""
    if key and length:
        h.key, h.value = w.one("Concat", key, h.key, axis=2), w.one("Concat", value, h.value, axis=2)
        h.keys += length


# --- com.microsoft ---


def attention(w: Written) -> None:
    """Attention, its three products in one; QAttention's stored as integers."""
    product = w.one("MatMul", w.name(0), w.name(1))
    _attention_of(w, w.total(product, w.name(2)), (3, 4, 5))


def quantized_attention(w: Written) -> None:
    """QAttention: an input and weights of integers with scales, the rest in floats."""
    x = w.one("DequantizeLinear", w.name(0), w.name(3), *([w.name(6)] if w.has(6) else []))
    weights = w.one("DequantizeLinear", w.name(1), w.name(4), *([w.name(7)] if w.has(7) else []), axis=1)
    floats = Written(w.file, w.piece, w.proto, w.node, (None, *w.inputs[1:]), w.used, w.batch)
    product = w.total(w.one("MatMul", x, weights), w.name(2))
    _attention_of(floats, product, (5, 8, -1), w.shape(0))


def _attention_of(
    w: Written, product: str, places: tuple[int, int, int], shape: tuple[int, ...] | None = None
) -> None:
    """The heads of ``product``; ``places``: of mask, past and what is added to the scores."""
    mask, past, added = places
    batch, positions, _ = shape or w.ranked(0, 3)
    heads, width = w.integer("num_heads", 0), w.shape(1)[-1]
    if heads < 1:
        raise NotModelledError("it says no number of heads (num_heads)")
    widths = w.integers("qkv_hidden_sizes") or [width // 3] * 3
    query, key, value = w.split(product, widths, 2)
    sizes = [width // heads for width in widths]
    names = zip((query, key, value), sizes, strict=True)
    query, key, value = (_by_heads(w, name, batch, positions, heads, size) for name, size in names)
    h = _Heads(query, key, value, batch, heads, positions, sizes[0], heads, positions, sizes[2])
    if w.has(past):
        _, _, _, length, _ = w.ranked(past, 5)
        halves = zip(w.split(w.name(past), [1, 1], 0), sizes[1:], strict=True)
        key, value = (w.reshape(name, batch, heads, length, size) for name, size in halves)
        _with_cache(w, h, key, value, length)
    masks = [_padding(w, mask, h, w.real("mask_filter_value", -10000.0)), w.name(added) if added >= 0 else ""]
    masks.append(_causal(w, h) if w.integer("unidirectional", 0) else "")
    result = _attended(w, h, w.real("scale", 0.0) or sizes[0] ** -0.5, masks)
    present = ""
    if w.is_used(1):
        present = w.one("Concat", *(w.reshape(n, 1, batch, heads, h.keys, sizes[1]) for n in (h.key, h.value)), axis=0)
    w.piece.give([result, present], [w.proto.output[0], *([w.proto.output[1]] if present else [])])


def multi_head(w: Written) -> None:
    """MultiHeadAttention: queries, keys and values from outside, a bias for all three, masks and a cache."""
    w.refuse_outputs(3, "the scores")
    heads = w.integer("num_heads", 0)
    h = _separate(w, heads)
    if w.has(6):
        _with_cache(w, h, w.name(6), w.name(7), w.shape(6)[2])
    masks = [_padding(w, 4, h, w.real("mask_filter_value", -10000.0)), w.name(5)]
    masks.append(_causal(w, h) if w.integer("unidirectional", 0) else "")
    w.give(_attended(w, h, w.real("scale", 0.0) or h.size**-0.5, masks), h.key, h.value)


def _separate(w: Written, heads: int) -> _Heads:
    """The heads of three inputs, or of one or two that are packed."""
    batch, positions = w.shape(0)[:2]
    names = [w.name(place) for place in range(3)]
    shapes = [w.shape(place) if w.has(place) else () for place in range(3)]
    if len(shapes[0]) == 5:  # [batch, positions, heads, 3, size]
        size = shapes[0][4]
        parts = w.split(names[0], [1, 1, 1], 3)
        names, shapes = parts, [(batch, positions, heads * size)] * 3
    elif len(shapes[1]) == 5:
        keys, size = shapes[1][1], shapes[1][4]
        names[1:] = w.split(names[1], [1, 1], 3)
        shapes[1:] = [(batch, keys, heads * size)] * 2
    elif not (w.has(1) and w.has(2)):
        raise NotModelledError("its keys or its values are missing")
    by_heads = len(shapes[1]) == 4  # of another sequence, laid out by heads already
    biases = w.split(w.name(3), [shapes[0][-1], shapes[0][-1], shapes[2][-1]], 0) if w.has(3) and not by_heads else ["", "", ""]
    if w.has(3) and by_heads:
        biases[0] = w.slice(w.name(3), 0, shapes[0][-1], 0)
    made, sizes = [], []
    for name, shape, bias in zip(names, shapes, biases, strict=True):
        if len(shape) == 4:
            made.append(name)
            sizes.append((shape[2], shape[3]))
            continue
        flat = w.reshape(name, *shape) if len(w.shape(0)) == 5 or len(w.shape(1)) == 5 else name
        made.append(_by_heads(w, w.total(flat, bias), batch, shape[1], heads, shape[2] // heads))
        sizes.append((shape[1], shape[2] // heads))
    return _Heads(made[0], made[1], made[2], batch, heads, positions, sizes[0][1], heads, sizes[1][0], sizes[2][1])


def group_query(w: Written) -> None:
    """GroupQueryAttention: heads that share keys and values, a cache, positions that turn; causal."""
    w.refuse_outputs(3, "the scores")
    heads, shared = w.integer("num_heads", 0), w.integer("kv_num_heads", 0)
    if heads < 1 or shared < 1 or heads % shared:
        raise NotModelledError(f"it has {heads} heads of queries and {shared} of keys")
    batch, positions, width = w.ranked(0, 3)
    size = width // (heads + 2 * shared) if not w.has(1) else width // heads
    names = [w.name(0), w.name(1), w.name(2)]
    if not w.has(1):
        names = w.split(w.name(0), [heads * size, shared * size, shared * size], 2)
    counts = zip(names, (heads, shared, shared), strict=True)
    query, key, value = (_by_heads(w, name, batch, positions, count, size) for name, count in counts)
    h = _Heads(query, key, value, batch, heads, positions, size, shared, positions, size)
    past = _past(w, positions)
    if w.integer("do_rotary", 0):
        angles = [_angles(w, place, 9, past, positions) for place in (7, 8)]
        interleaved = bool(w.integer("rotary_interleaved", 0))
        turned = 2 * w.shape(7)[-1]
        h.query = _turned(w, h.query, (batch, heads, positions, size), angles, turned, interleaved)
        h.key = _turned(w, h.key, (batch, shared, positions, size), angles, turned, interleaved)
    if past:
        caches = [w.name(place) for place in (3, 4)]
        if w.shape(3)[2] > past:  # room for positions to come
            caches = [w.slice(name, 0, past, 2) for name in caches]
        _with_cache(w, h, caches[0], caches[1], past)
    masks = [_causal(w, h, w.integer("local_window_size", -1)), w.name(10)]
    result = _attended(w, h, w.real("scale", 0.0) or size**-0.5, masks, w.real("softcap", 0.0))
    w.give(result, h.key, h.value)


def _past(w: Written, positions: int) -> int:
    """How many positions the cache has: what the whole length says where it is known, else all that it has room for."""
    if not w.has(3):
        return 0
    total, room = w.known(6), w.shape(3)[2]
    if total is not None and total.size == 1 and positions <= int(total.reshape(-1)[0]) <= room + positions:
        return int(total.reshape(-1)[0]) - positions
    w.file.notes.append(f"{w.piece.label}: its cache is taken to be full, {room} positions, for every sequence of the batch")
    return room


# --- positions that turn ---


def rotary(w: Written) -> None:
    """RotaryEmbedding, of ONNX (angles first) and of com.microsoft (positions first)."""
    own = w.node.domain == "com.microsoft"
    cosine, sine, position = (2, 3, 1) if own else (1, 2, 3)
    shape, heads = w.shape(0), w.integer("num_heads", 0)
    turned = w.integer("rotary_embedding_dim", 0) or 2 * w.shape(cosine)[-1]
    name, by_heads = w.name(0), len(shape) == 4
    if not by_heads:
        batch, positions, width = w.ranked(0, 3)
        heads = heads or width // (2 * w.shape(cosine)[-1])
        name, shape = _by_heads(w, name, batch, positions, heads, width // heads), (batch, heads, positions, width // heads)
    angles = [_angles(w, place, position, 0, shape[2]) for place in (cosine, sine)]
    name = _turned(w, name, shape, angles, turned, bool(w.integer("interleaved", 0)))
    name = w.scaled(name, w.real("scale", 1.0)) if own else name
    if not by_heads:
        name = w.reshape(w.transpose(name, 0, 2, 1, 3), shape[0], shape[2], shape[1] * shape[3])
    w.give(name)


def _angles(w: Written, table: int, position: int, first: int, positions: int) -> str:
    """The cosines or sines of every position, [1 or batch, 1, positions, half]: rows of a table."""
    shape, name = w.shape(table), w.name(table)
    if len(shape) == 3:  # a row a position already
        return w.reshape(name, shape[0], 1, shape[1], shape[2])
    known = w.known(position) if w.has(position) else None
    if w.has(position) and known is None:
        if isinstance(w.value(position), Tensor) and len(w.shape(position)) == 2:
            rows = w.one("Gather", name, w.name(position), axis=0)
            return w.reshape(rows, w.shape(position)[0], 1, positions, shape[-1])
        raise NotModelledError("its positions are not known before it runs")
    places = np.arange(first, first + positions) + (int(known.reshape(-1)[0]) if known is not None and known.size == 1 else 0)
    if known is not None and known.size > 1:
        rows = w.one("Gather", name, w.piece.constant(known.astype(np.int64)), axis=0)
        return w.reshape(rows, known.shape[0], 1, positions, shape[-1])
    if places[-1] >= shape[0]:
        raise NotModelledError(f"its table has {shape[0]} rows, it looks up row {places[-1]}")
    rows = w.one("Gather", name, w.integers_of(*places.tolist()), axis=0)
    return w.reshape(rows, 1, 1, positions, shape[-1])


def _turned(
    w: Written, name: str, shape: tuple[int, ...], angles: list[str], turned: int, interleaved: bool
) -> str:
    """Pairs of the first ``turned`` elements of every head turned by the angles: halves, or neighbours."""
    size, half = shape[3], turned // 2
    first, rest = w.split(name, [turned, size - turned], 3) if turned < size else [name, ""]
    if interleaved:
        pairs = w.reshape(first, *shape[:3], half, 2)
        real, imaginary = (w.one("Gather", pairs, w.piece.constant(np.int64(i)), axis=4) for i in (0, 1))
    else:
        real, imaginary = w.split(first, [half, half], 3)
    cosine, sine = angles
    new = [
        w.one("Sub", w.one("Mul", real, cosine), w.one("Mul", imaginary, sine)),
        w.one("Add", w.one("Mul", real, sine), w.one("Mul", imaginary, cosine)),
    ]
    if interleaved:
        new = [w.reshape(part, *shape[:3], half, 1) for part in new]
        made = w.reshape(w.one("Concat", *new, axis=4), *shape[:3], turned)
        return w.one("Concat", made, rest, axis=3) if rest else made
    return w.one("Concat", *new, *([rest] if rest else []), axis=3)


# --- embeddings ---


def embed_norm(w: Written) -> None:
    """EmbedLayerNormalization: rows of two or three tables, added and normalized."""
    batch, positions = w.ranked(0, 2)
    words = w.one("Gather", w.name(2), w.name(0), axis=0)
    places = w.one("Gather", w.name(3), w.name(8), axis=0) if w.has(8) else w.slice(w.name(3), 0, positions, 0)
    segments = w.one("Gather", w.name(4), w.name(1), axis=0) if w.has(1) and w.has(4) else ""
    total = w.total(words, places, segments)
    result = w.one("LayerNormalization", total, w.name(5), w.name(6), axis=-1, epsilon=w.real("epsilon", 1e-12))
    mask = ""
    if w.is_used(1):
        mask = w.reduce("ReduceSum", w.name(7), [1], keepdims=0) if w.has(7) else w.piece.constant(np.zeros(batch, np.int32))
    outputs = [(result, 0), (mask, 1), (total, 2)]
    there = [(source, w.proto.output[place]) for source, place in outputs if len(w.proto.output) > place and source]
    w.piece.give([source for source, _ in there], [output for _, output in there])


