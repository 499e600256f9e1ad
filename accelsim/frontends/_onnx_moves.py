"""Rules of operators that move numbers and compute nothing."""

from __future__ import annotations

from collections.abc import Mapping
from math import prod

from accelsim.frontends._onnx_call import Call, Layout, Plan, Tensor
from accelsim.frontends._onnx_model import Constant, NotModelledError
from accelsim.workload.ops import Concat, Embedding, Op, Reshape, Shape, Slice, Split, Take, Transpose


def concat(call: Call) -> Plan:
    call.require_aligned()
    return Plan((Concat(op="concat", axis=call.axis(call.number("axis", 1))),))


def split(call: Call) -> Plan:
    x, axis = call.tensor(), call.number("axis", 0)
    target = call.axis(axis)
    sizes = tuple(call.shape(i)[axis] for i in range(len(call.shapes)))
    return Plan((Split(op="split", axis=target, sizes=sizes),), reads=(x,), layouts=(x.layout,) * len(sizes))


def slice_(call: Call) -> Plan:
    x = call.tensor()
    starts, ends = call.integers(1, "starts"), call.integers(2, "ends")
    if starts is None or ends is None:
        raise NotModelledError("its starts or ends are missing")
    axes = call.integers(3, "axes") or list(range(len(starts)))
    steps = call.integers(4, "steps") or [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps):
        raise NotModelledError("its starts, ends, axes and steps differ in number")
    ops: list[Op] = []
    for start, end, axis, step in zip(starts, ends, axes, steps, strict=True):
        if step == 0:
            raise NotModelledError("its step is 0")
        if not -len(x.shape) <= axis < len(x.shape):
            raise NotModelledError(f"its axis is {axis}, its input has {len(x.shape)} axes")
        taken = range(*slice(start, end, step).indices(x.shape[axis]))
        if step < 0 and len(taken):
            ops.append(Take(op="take", axis=call.axis(axis), indices=tuple(taken)))
        elif len(taken) < x.shape[axis]:
            ops.append(Slice(op="slice", axis=call.axis(axis), start=taken.start, size=len(taken), step=step))
    return Plan(tuple(ops), reads=(x,))


def reshape(call: Call) -> Plan:
    """The batch stays whole: found again where the sizes before it multiply to the same number."""
    x, out, batch = call.tensor(), call.shape(), call.batch
    layout = _layout_after(x, out, batch)
    if layout is None:
        raise NotModelledError(
            f"it mixes the batch ({batch}) with other axes: {list(x.shape)} to {list(out)}"
        )
    before, after = x.layout.network_shape(x.shape, batch), layout.network_shape(out, batch)
    name = "flatten" if call.node.op == "Flatten" else "reshape"
    ops = (Reshape(op=name, to=after[1:]),) if before != after else ()
    return Plan(ops, reads=(x,), layouts=(layout,))


def _layout_after(x: Tensor, out: Shape, batch: int) -> Layout | None:
    leading = prod(x.shape[: x.layout.batch_axis])
    for axis, size in enumerate(out):
        if size == batch and prod(out[:axis]) == leading:
            return Layout(axis)
    merged = Layout(0, merged=True)
    return merged if x.layout.batch_axis == 0 and merged.fits(out, batch) else None


def squeeze(call: Call) -> Plan:
    return _with_axes_moved(call, len(call.tensor().shape), removing=True)


def unsqueeze(call: Call) -> Plan:
    return _with_axes_moved(call, len(call.shape()), removing=False)


def _with_axes_moved(call: Call, rank: int, removing: bool) -> Plan:
    """Squeeze and unsqueeze, whose axes say where the batch goes even where its size does not."""
    x, axes = call.tensor(), call.integers(1, "axes")
    if x.layout.merged or axes is None:
        return reshape(call)
    moved = sorted(axis % rank for axis in axes)
    if removing:
        if x.layout.batch_axis in moved:
            return reshape(call)
        axis = x.layout.batch_axis - sum(m < x.layout.batch_axis for m in moved)
    else:
        axis = [i for i in range(rank) if i not in moved][x.layout.batch_axis]
    layout, out = Layout(axis), call.shape()
    if not layout.fits(out, call.batch):
        return reshape(call)
    before, after = x.layout.network_shape(x.shape, call.batch), layout.network_shape(out, call.batch)
    ops = (Reshape(op="reshape", to=after[1:]),) if before != after else ()
    return Plan(ops, reads=(x,), layouts=(layout,))


def transpose(call: Call) -> Plan:
    x, rank = call.tensor(), len(call.tensor().shape)
    perm = call.numbers("perm", list(range(rank))[::-1])
    if sorted(perm) != list(range(rank)):
        raise NotModelledError(f"its perm is {perm}")
    if x.layout.merged:
        inner = tuple(x.layout.axis(axis, rank, call.batch) for axis in perm) if call.batch == 1 else ()
        if not inner:
            raise NotModelledError("it moves an axis that the batch is part of")
        layout = x.layout
    else:
        inner = tuple(x.layout.axis(axis, rank, call.batch) for axis in perm if axis != x.layout.batch_axis)
        layout = Layout(perm.index(x.layout.batch_axis))
    moves = inner != tuple(range(1, len(inner) + 1))
    return Plan((Transpose(op="transpose", perm=inner),) if moves else (), layouts=(layout,))


def gather(call: Call) -> Plan:
    table, axis = call.input(0), call.number("axis", 0)
    if isinstance(table, Constant):
        if axis or len(table.shape) != 2:
            raise NotModelledError(
                f"it looks up axis {axis} of a table {list(table.shape)}; rows of a matrix are modelled"
            )
        op = Embedding(op="embedding", rows=table.shape[0], features=table.shape[1])
        return Plan((op,), weight=table)
    x, indices = call.tensor(), call.value(1, "its indices")
    if indices is None or not indices.size:
        raise NotModelledError("its indices are missing")
    target, size = call.axis(axis), x.shape[axis]
    if indices.min() < -size or indices.max() >= size:
        raise NotModelledError(f"it takes places {indices.min()} to {indices.max()} of an axis of {size}")
    chosen = (indices.reshape(-1) % size).tolist()
    step = chosen[1] - chosen[0] if len(chosen) > 1 else 1
    ops: list[Op] = []
    if step < 1 or chosen != list(range(chosen[0], chosen[0] + step * len(chosen), step)):
        ops.append(Take(op="take", axis=target, indices=tuple(chosen)))
    elif len(chosen) < size:
        ops.append(Slice(op="slice", axis=target, start=chosen[0], size=len(chosen), step=step))
    shape = list(x.layout.network_shape(x.shape, call.batch))
    shape[target : target + 1] = indices.shape
    if indices.ndim != 1:
        ops.append(Reshape(op="reshape", to=tuple(shape[1:]) or (1,)))
    before = axis % len(x.shape) < x.layout.batch_axis
    layout = Layout(x.layout.batch_axis + (indices.ndim - 1 if before else 0), x.layout.merged)
    return Plan(tuple(ops), reads=(x,), layouts=(layout,))


def expand(call: Call) -> Plan:
    """An axis of one element repeats it."""
    out = call.shape()
    return _repeated(call, out, {axis: size for axis, size in enumerate(out) if size != 1})


def tile(call: Call) -> Plan:
    """An axis repeats all that it has."""
    x, times = call.tensor(), call.integers(1, "repeats")
    if call.opset < 6 or times is None or len(times) != len(x.shape):
        raise NotModelledError("its repeats are missing, or those of opset 1")
    return _repeated(call, x.shape, {axis: size * n for axis, (size, n) in enumerate(zip(x.shape, times, strict=True))})


def _repeated(call: Call, out: Shape, sizes: Mapping[int, int]) -> Plan:
    """Axes made as long as ``sizes`` says by what they have, again and again; of rank ``out``, new axes first."""
    x = call.tensor()
    new = len(out) - len(x.shape)
    shape, layout = (1,) * new + x.shape, x.layout if x.layout.merged else Layout(x.layout.batch_axis + new)
    before, after = (y.network_shape(z, call.batch) for y, z in ((x.layout, x.shape), (layout, shape)))
    ops: list[Op] = [Reshape(op="reshape", to=after[1:])] if before != after else []
    for axis, size in sizes.items():
        if size > shape[axis]:
            indices = tuple(range(shape[axis])) * (size // shape[axis])
            ops.append(Take(op="take", axis=layout.axis(axis, len(shape), call.batch), indices=indices))
    return Plan(tuple(ops), reads=(x,), layouts=(layout,))
