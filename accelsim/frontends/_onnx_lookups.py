"""Rules of operators that find places, or move what stands at places that are computed."""

from __future__ import annotations

from accelsim.frontends._onnx_call import Call, Layout, Plan, Rule, Tensor
from accelsim.frontends._onnx_model import NotModelledError
from accelsim.workload.ops import CumulativeSum, Gather, Locate, Scatter, TopK


def data_dependent(call: Call) -> Plan:
    """What finds so many as there are: no machine's work is known before it runs."""
    words = "how much it gives depends on the values that it reads; cut the model before it (onnx.utils.extract_model)"
    raise NotModelledError(f"{words}, here at {', '.join(name for name in call.node.inputs if name)}")


def cumulative_sum(call: Call) -> Plan:
    axes = call.integers(1, "axis")
    if axes is None or len(axes) != 1:
        raise NotModelledError("its axis is missing")
    flags = {key: bool(call.number(key, 0)) for key in ("exclusive", "reverse")}
    return Plan((CumulativeSum(op="cumsum", axis=call.axis(axes[0]), **flags),), reads=(call.tensor(),))


def locate(name: str) -> Rule:
    def rule(call: Call) -> Plan:
        x, axis, keepdims = call.tensor(), call.number("axis", 0), bool(call.number("keepdims", 1))
        last = bool(call.number("select_last_index", 0))
        op = Locate(op=name, axis=call.axis(axis), keepdims=keepdims, last=last)
        removed = 0 if keepdims or axis % len(x.shape) > x.layout.batch_axis else 1
        return Plan((op,), layouts=(Layout(x.layout.batch_axis - removed, x.layout.merged),))

    return rule


def top_k(call: Call) -> Plan:
    """Where they stand: what stands there is gathered from it."""
    call.unused(0, "its values and its places are not told apart")
    count = call.integers(1, "k")
    if count is None or len(count) != 1:
        raise NotModelledError("its k is missing")
    axis = call.axis(call.number("axis", -1))
    op = TopK(op="topk", axis=axis, k=count[0], largest=bool(call.number("largest", 1)))
    x = call.tensor()
    return Plan((op,), reads=(x,), layouts=(x.layout, x.layout))


def gather_elements(call: Call) -> Plan:
    """At places that a tensor has, as far as it goes along the other axes."""
    x, places = call.tensor(0), call.tensor(1)
    _same_layout(x, places)
    return Plan((Gather(op="gather", axis=call.axis(call.number("axis", 0))),), layouts=(x.layout,))


def scatter_elements(call: Call) -> Plan:
    x = call.tensor(0)
    _same_layout(x, call.tensor(1))
    _same_layout(x, call.tensor(2))
    reduction = call.text("reduction", "none")
    return Plan((Scatter(op="scatter", axis=call.axis(call.number("axis", 0)), reduction=reduction),), layouts=(x.layout,))


def _same_layout(x: Tensor, other: Tensor) -> None:
    if other.layout != x.layout:
        raise NotModelledError("its places have the batch on another axis than its input")
