"""Rules of matrix products and of LSTM and GRU."""

from __future__ import annotations

from dataclasses import replace
from math import prod

from accelsim.frontends._onnx_call import Call, Layout, Plan, Rule, Tensor
from accelsim.frontends._onnx_elements import with_constant
from accelsim.frontends._onnx_model import Constant, NotModelledError
from accelsim.workload.ops import Elementwise, Linear, Matmul, Op, Recurrent, Reshape, Slice


def matmul(call: Call) -> Plan:
    x, second = call.tensor(0), call.input(1)
    if not isinstance(second, Constant):
        _check_matrix_axes(x, call.tensor(1))
        return Plan((Matmul(op="matmul"),))
    rank = len(x.shape)
    if len(second.shape) < 2 or prod(second.shape[:-2]) != 1 or len(second.shape) > max(rank, 2):
        raise NotModelledError(
            f"its weights have the shape {list(second.shape)}; one matrix for all rows is modelled"
        )
    if not x.layout.merged and x.layout.batch_axis == rank - 1:
        raise NotModelledError("it works across the batch")
    out = second.shape[-1]
    if (
        len(x.layout.network_shape(x.shape, call.batch)) == 4
    ):  # where a linear layer would take an image, and flatten it
        return Plan((Matmul(op="matmul", N=out),), weight=second)
    return Plan((Linear(op="linear", out=out, bias=False),), weight=second, transposed=True)


def _check_matrix_axes(*operands: Tensor) -> None:
    for x in operands:
        if not x.layout.merged and x.layout.batch_axis >= len(x.shape) - 2:
            raise NotModelledError("it works across the batch")


def gemm(call: Call) -> Plan:
    """alpha * A * B + beta * C: alpha goes into the weights, beta into the biases."""
    x, second, bias = call.tensor(0), call.input(1), call.constant(2, "its biases")
    alpha, beta = float(call.attribute("alpha", 1.0)), float(call.attribute("beta", 1.0))
    if call.number("transA", 0):
        raise NotModelledError("its first operand is transposed (transA)")
    bias = None if bias is None or beta == 0 else bias.times(beta)
    transposed = bool(call.number("transB", 0))
    if not isinstance(second, Constant):
        return _gemm_of_two(call, transposed, alpha, bias)
    if len(second.shape) != 2:
        raise NotModelledError(f"its weights have the shape {list(second.shape)}")
    out = second.shape[0 if transposed else 1]
    one_a_column = bias is not None and prod(bias.shape) in (1, out) and bias.shape[-1:] in ((), (1,), (out,))
    matrix = None if one_a_column or call.node.is_quantized else bias
    op = Linear(op="linear", out=out, bias=bias is not None and matrix is None)
    plan = Plan((op,), reads=(x,), weight=second.times(alpha), bias=bias if op.bias else None, transposed=not transposed)
    return plan if matrix is None else replace(plan, ops=(op, with_constant("add", matrix)), operands=(None, matrix))


def _gemm_of_two(call: Call, transposed: bool, alpha: float, bias: Constant | None) -> Plan:
    _check_matrix_axes(call.tensor(0), call.tensor(1))
    ops: list[Op] = [Matmul(op="matmul", transpose_b=transposed)]
    ops += [] if alpha == 1 else [Elementwise(op="mul", value=alpha)]
    ops += [] if bias is None else [with_constant("add", bias)]
    return Plan(tuple(ops), operands=() if bias is None else (*(None,) * (len(ops) - 1), bias))


# ---- recurrent ----

_DEFAULT_ACTIVATIONS = {"lstm": ["sigmoid", "tanh", "tanh"], "gru": ["sigmoid", "tanh"]}


def recurrent(name: str) -> Rule:
    def rule(call: Call) -> Plan:
        _check_recurrent(call, name)
        recurrent_shape = call.weights(2, "its recurrent weights").shape
        if len(recurrent_shape) != 3:
            raise NotModelledError(f"its recurrent weights have the shape {list(recurrent_shape)}")
        hidden = recurrent_shape[-1]
        bias = call.constant(3, "its biases")
        peepholes = name == "lstm" and call.constant(7, "its peepholes") is not None
        op = Recurrent(op=name, hidden=hidden, peepholes=peepholes, bias=bias is not None)
        steps_first = not call.number("layout", 0)
        x = call.tensor()
        steps = x.shape[0 if steps_first else 1]
        every = Reshape(
            op="reshape", to=(steps, 1, hidden)
        )  # (directions, one of them) is an axis of its own
        end = 0 if call.text("direction", "forward") == "reverse" else steps - 1
        last: tuple[Op, ...] = (Slice(op="slice", axis=1, start=end, size=1),) if steps > 1 else ()
        layouts = (Layout(2), Layout(1)) if steps_first else (Layout(0), Layout(0))
        names = {"recurrent_weight": 2, "initial_hidden": 5, "initial_cell": 6, "peepholes": 7}
        more = {key: c for key, index in names.items() if isinstance(c := call.input(index), Constant)}
        return Plan(
            (op,),
            reads=(x,),
            layouts=layouts,
            tails={0: (every,), 1: last},
            weight=call.weights(1),
            bias=bias,
            more=more,
        )

    return rule


def _check_recurrent(call: Call, name: str) -> None:
    """Refuse what `Recurrent` has no word for."""
    x = call.tensor()
    batch_axis = 0 if call.number("layout", 0) else 1
    if len(x.shape) != 3 or x.layout != Layout(batch_axis):
        raise NotModelledError(f"the batch must be axis {batch_axis} of its input {list(x.shape)}")
    if call.text("direction", "forward") == "bidirectional":
        raise NotModelledError("it runs in both directions")
    call.unused(2, "its third output (the last cell state) is used")
    activations = call.attribute("activations")
    if activations and [str(a).lower() for a in activations] != _DEFAULT_ACTIVATIONS[name]:
        raise NotModelledError(f"its activations are {activations}")
    if call.number("input_forget", 0):
        raise NotModelledError("its input and forget gates are coupled")
    lengths = call.value(4, "its lengths")
    steps = x.shape[1 - batch_axis]
    if lengths is not None and (lengths != steps).any():
        raise NotModelledError(f"its lengths {lengths.ravel().tolist()[:8]} are not all {steps}, the steps of its input")
    for index in (5, 6) if name == "lstm" else (5,):
        call.constant(index, "its initial states")


