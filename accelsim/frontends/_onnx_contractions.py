"""Products that no single layer is: with broadcast or constant operands in the batch axes, transposed ones, Einsum.

A constant with a matrix for each head is the weights of a 1 x 1 convolution with a group a head.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import prod
from typing import NamedTuple

from accelsim.frontends._onnx_call import Tensor
from accelsim.frontends._onnx_model import NotModelledError
from accelsim.frontends._onnx_written import Written
from accelsim.workload.ops import Shape

# --- MatMul ---


def matmul(w: Written) -> bool:
    """A product whose operands do not have the same batch axes, or whose constant has any."""
    if w.node.is_quantized or (not isinstance(w.value(0), Tensor) and not isinstance(w.value(1), Tensor)):
        return False
    first, second = w.shape(0), w.shape(1)
    if min(len(first), len(second)) < 2:
        _of_a_vector(w, first, second)
    elif w.is_constant(0):
        return _constant_from_the_left(w, first, second)
    elif w.is_constant(1):
        return _constant_from_the_right(w, first, second)
    elif first[:-2] != second[:-2]:
        _broadcast(w, first, second)
    else:
        return False
    return True


def _of_a_vector(w: Written, first: Shape, second: Shape) -> None:
    """A vector is a matrix of one row or one column, which the result has not."""
    names = [w.name(0), w.name(1)]
    out = [*first[:-1], *(second[:-2] if len(second) > 1 else ()), *second[-1:]] if len(second) > 1 else [*first[:-1]]
    if len(first) == 1:
        names[0], out = w.reshape(names[0], 1, first[0]), [*second[:-2], *second[-1:]]
    if len(second) == 1:
        names[1] = w.reshape(names[1], second[0], 1)
        out = list(first[:-1])
    w.give(w.reshape(w.one("MatMul", *names), *out))


def _broadcast(w: Written, first: Shape, second: Shape) -> None:
    """Two tensors: trailing batch axes that the right one has not become rows of the left; what else is missing is repeated."""
    axes = max(len(first), len(second)) - 2
    left, right = ((1,) * (axes + 2 - len(s)) + s for s in (first, second))
    kept = axes
    while kept and right[kept - 1] == 1:
        kept -= 1
    whole = tuple(max(a, b) for a, b in zip(left[:kept], right[:kept], strict=True))
    names = [w.reshape(w.name(0), *left[:kept], prod(left[kept:-1]), left[-1]), w.reshape(w.name(1), *right[:kept], *right[-2:])]
    rows = (prod(left[kept:-1]), left[-1])
    wanted = ((*whole, *rows), (*whole, *right[-2:]))
    for place, (shape, have) in enumerate(zip(wanted, ((*left[:kept], *rows), (*right[:kept], *right[-2:])), strict=True)):
        if shape != have:
            names[place] = w.one("Expand", names[place], w.integers_of(*shape))
    w.give(w.reshape(w.one("MatMul", *names), *whole, *left[kept:-1], right[-1]))


def _constant_from_the_right(w: Written, first: Shape, second: Shape) -> bool:
    heads = second[:-2]
    if len(second) == 2 or (prod(heads) == 1 and len(second) <= len(first)):
        return False
    if prod(heads) == 1:
        made = w.one("MatMul", w.name(0), w.reshape(w.name(1), *second[-2:]))
        w.give(w.reshape(made, *(1,) * (len(second) - len(first)), *first[:-1], second[-1]))
        return True
    weights = w.one("Transpose", w.name(1), perm=[*range(len(heads)), len(heads) + 1, len(heads)])
    _by_groups(w, weights, (*heads, second[-1], second[-2]), w.name(0), first, columns=False)
    return True


def _constant_from_the_left(w: Written, first: Shape, second: Shape) -> bool:
    if prod(first[:-2]) == 1:
        swapped = [*range(len(second) - 2), len(second) - 1, len(second) - 2]
        matrix = w.one("Transpose", w.reshape(w.name(0), *first[-2:]), perm=[1, 0])
        made = w.transpose(w.one("MatMul", w.one("Transpose", w.name(1), perm=swapped), matrix), *swapped)
        more = max(0, len(first) - len(second))
        w.give(w.reshape(made, *(1,) * more, *second[:-2], first[-2], second[-1]) if more else made)
        return True
    _by_groups(w, w.name(0), first, w.name(1), second, columns=True)
    return True


def _by_groups(w: Written, weights: str, matrices: Shape, name: str, shape: Shape, columns: bool) -> None:
    """``matrices`` [heads..., out, in] times the columns (or rows) of a tensor [outer..., heads..., ...]."""
    heads, (out, features) = matrices[:-2], matrices[-2:]
    while heads and heads[0] == 1 and len(heads) > len(shape) - 2:
        heads = heads[1:]
    if len(shape) - 2 < len(heads):  # the tensor has fewer batch axes: it is repeated
        shape = (*heads, *shape[-2:])
        name = w.one("Expand", name, w.integers_of(*shape))
    while heads and heads[0] == 1:
        heads = heads[1:]
    count = len(heads)
    outer, own = shape[: len(shape) - 2 - count], shape[len(shape) - 2 - count : -2]
    if own != heads:
        whole = tuple(max(a, b) for a, b in zip(own, heads, strict=True))
        weights = w.one("Expand", w.reshape(weights, *heads, out, features), w.integers_of(*whole, out, features))
        if own != whole:
            name = w.one("Expand", name, w.integers_of(*outer, *whole, *shape[-2:]))
        heads = whole
    groups, positions = prod(heads), shape[-1] if columns else shape[-2]
    batch, inner = (outer[0], outer[1:]) if outer else (1, ())
    between = prod(inner)
    flat = w.reshape(name, batch, between, groups, *shape[-2:])
    flat = w.transpose(flat, *((0, 2, 3, 1, 4) if columns else (0, 2, 4, 1, 3)))
    image = w.reshape(flat, batch, groups * features, between * positions, 1)
    kernel = w.reshape(weights, groups * out, features, 1, 1)
    made = w.reshape(w.one("Conv", image, kernel, group=groups), batch, groups, out, between, positions)
    made = w.transpose(made, *((0, 3, 1, 2, 4) if columns else (0, 3, 1, 4, 2)))
    w.give(w.reshape(made, *outer, *heads, *((out, positions) if columns else (positions, out))))


# --- Gemm ---


def gemm(w: Written) -> bool:
    """A Gemm whose first operand is transposed or a constant, or whose third is computed."""
    if w.node.is_quantized or not (isinstance(w.value(0), Tensor) or isinstance(w.value(1), Tensor)):
        return False
    if not w.integer("transA", 0) and isinstance(w.value(0), Tensor) and not isinstance(w.value(2), Tensor):
        return False
    names = [w.name(0), w.name(1)]
    for place, key in enumerate(("transA", "transB")):
        if w.integer(key, 0):
            names[place] = w.one("Transpose", names[place], perm=[1, 0])
    made = w.scaled(w.one("MatMul", *names), w.real("alpha", 1.0))
    beta = w.real("beta", 1.0)
    w.give(w.total(made, w.scaled(w.name(2), beta) if w.has(2) and beta else ""))
    return True


def quantized_gemm(w: Written) -> bool:
    """QGemm with its first operand transposed."""
    if not w.integer("transA", 0):
        return False
    given = {key: value for key, value in w.node.attributes.items() if key != "transA"}
    name = w.one("Transpose", w.name(0), perm=[1, 0])
    w.piece.node("QGemm", [name, *w.proto.input[1:]], [w.proto.output[0]], **given)
    w.piece.nodes[-1].domain = "com.microsoft"
    return True


# --- Einsum ---


class _Named(NamedTuple):
    """A tensor whose axes have letters."""

    name: str
    axes: str
    place: int  # of the input that it is; -1: it is computed


def einsum(w: Written) -> None:
    """Operands two by two: the axes that both have and nothing else needs are summed by a product of matrices."""
    terms, out, sizes = _equation(w)
    operands = [_Named(w.name(place), axes, place) for place, axes in enumerate(terms)]
    found = operands[0]
    if len(operands) == 1:
        found = _summed(w, found, out)
    for place, other in enumerate(operands[1:], 1):
        later = {*out, *"".join(term.axes for term in operands[place + 1 :])}
        found = _contracted(w, found, other, later, sizes)
    found = _summed(w, found, out)
    w.give(w.transpose(found.name, *(found.axes.index(axis) for axis in out)))


def _equation(w: Written) -> tuple[list[str], str, Mapping[str, int]]:
    """The letters of the operands and of the result, and their sizes; an ellipsis is letters of its own."""
    text = w.text("equation").replace(" ", "")
    left, arrow, out = text.partition("->")
    terms, ranks = left.split(","), [len(w.shape(place)) for place in range(len(w.proto.input))]
    if len(terms) != len(ranks):
        raise NotModelledError(f"its equation is {text!r:.60}, it has {len(ranks)} operands")
    dots = max((rank - len(term.replace("...", "")) for term, rank in zip(terms, ranks, strict=True) if "..." in term), default=0)
    spare = [chr(code) for code in range(ord("A"), ord("Z") + 1) if chr(code) not in text][:dots]
    if not arrow:
        letters = left.replace("...", "").replace(",", "")
        out = ("..." if dots else "") + "".join(sorted(c for c in set(letters) if letters.count(c) == 1))
    named, sizes = [], dict[str, int]()
    for place, (term, rank) in enumerate(zip(terms, ranks, strict=True)):
        own = "".join(spare[dots - (rank - len(term.replace("...", ""))) :]) if "..." in term else ""
        axes = term.replace("...", own)
        if len(axes) != rank or len(set(axes)) != rank:
            raise NotModelledError(f"its equation is {text!r:.60}: a term with an axis twice, or of another rank")
        for axis, size in zip(axes, w.shape(place), strict=True):
            sizes[axis] = max(size, sizes.get(axis, 1))
        if any(size != sizes[axis] for axis, size in zip(axes, w.shape(place), strict=True)):
            raise NotModelledError(f"its equation is {text!r:.60}, and an axis of one element is repeated")
        named.append(axes)
    return named, out.replace("...", "".join(spare)), sizes


def _summed(w: Written, one: _Named, kept: str | set[str]) -> _Named:
    """Without the axes that nothing else needs."""
    gone = [place for place, axis in enumerate(one.axes) if axis not in kept]
    if not gone:
        return one
    left = "".join(axis for axis in one.axes if axis in kept)
    return _Named(w.reduce("ReduceSum", one.name, gone, keepdims=0), left, -1)


def _contracted(w: Written, one: _Named, other: _Named, later: set[str], sizes: Mapping[str, int]) -> _Named:
    if one.place >= 0 and w.is_constant(one.place):
        one, other = other, one  # weights stand on the right
    one, other = _summed(w, one, {*later, *other.axes}), _summed(w, other, {*later, *one.axes})
    shared = [axis for axis in one.axes if axis in other.axes]
    batch, inner = [a for a in shared if a in later], [a for a in shared if a not in later]
    rows, columns = ([axis for axis in x.axes if axis not in shared] for x in (one, other))
    if not inner:
        return _product_of_elements(w, one, other, sizes)
    left = _laid_out(w, one, [batch, rows, inner], sizes, merged=(bool(batch), True))
    right = _laid_out(w, other, [batch, inner, columns], sizes, merged=(True, True))
    made, axes = w.one("MatMul", left, right), "".join([*batch, *rows, *columns])
    return _Named(w.reshape(made, *(sizes[axis] for axis in axes)), axes, -1)


def _laid_out(
    w: Written, one: _Named, groups: list[list[str]], sizes: Mapping[str, int], merged: tuple[bool, bool]
) -> str:
    """[batch..., first, second]; the two are one axis each where they are ``merged``."""
    batch, first, second = groups
    name = w.transpose(one.name, *(one.axes.index(axis) for axis in (*batch, *first, *second)))
    shape = [sizes[axis] for axis in batch]
    for axes, is_merged in zip((first, second), merged, strict=True):
        own = [sizes[axis] for axis in axes]
        shape += [prod(own)] if is_merged or not own else own
    return w.reshape(name, *shape)


def _product_of_elements(w: Written, one: _Named, other: _Named, sizes: Mapping[str, int]) -> _Named:
    """No axis is summed: the elements are multiplied, each tensor broadcast over the axes of the other."""
    axes = one.axes + "".join(axis for axis in other.axes if axis not in one.axes)
    names = []
    for x in (one, other):
        name = w.transpose(x.name, *(x.axes.index(axis) for axis in axes if axis in x.axes))
        names.append(w.reshape(name, *_ones(axes, x.axes, sizes)))
    return _Named(w.one("Mul", *names), axes, -1)


def _ones(axes: str, own: Sequence[str], sizes: Mapping[str, int]) -> list[int]:
    return [sizes[axis] if axis in own else 1 for axis in axes]
