"""The operators that a network is made of: what each computes, its shapes, weights and arithmetic.

Shapes are tuples with the batch first: ``(N, C, H, W)`` for images, ``(N, features)`` or ``(N, T, features)``
for vectors and sequences. Every operator is a frozen value; `output_shapes` follows from the input shapes, and
`ValueError` says what does not connect. MACs count padding positions and pruned weights, as the layer defines them.
"""

from __future__ import annotations

from math import prod
from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from accelsim.units import NonNegativeInt, PositiveInt, ceil_div
from accelsim.workload.algorithms import Algorithm, Fast, tile_counts, transforms_of, unsuited

Shape = tuple[int, ...]


def _as_pair(value: Any) -> Any:
    return (value, value) if isinstance(value, int) and not isinstance(value, bool) else value


def _as_quad(value: Any) -> Any:
    """``1`` or ``[vertical, horizontal]`` -> ``(top, bottom, left, right)``."""
    if isinstance(value, int) and not isinstance(value, bool):
        return (value,) * 4
    if isinstance(value, list | tuple) and len(value) == 2:
        return (value[0], value[0], value[1], value[1])
    return value


Pair = Annotated[tuple[PositiveInt, PositiveInt], BeforeValidator(_as_pair)]
Padding = Annotated[tuple[NonNegativeInt, NonNegativeInt, NonNegativeInt, NonNegativeInt], BeforeValidator(_as_quad)]


class Op(BaseModel):
    """Base of all operators."""

    model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)  # no run needs all the operators
    inputs_expected: ClassVar[tuple[int, int]] = (1, 1)  # fewest and most

    op: str

    def output_shapes(self, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
        """Shapes of the outputs; raises ValueError where the inputs do not fit."""
        del inputs
        raise ValueError(f"{self.op} has no shape rule")

    def weight_shape(self, inputs: tuple[Shape, ...]) -> Shape | None:
        """Shape of the weights, in the layout of interface.md, or None."""
        del inputs
        return None

    def parameters(self, inputs: tuple[Shape, ...]) -> int:
        """Number of trained values, biases included (batch norm: scale and shift)."""
        shape = self.weight_shape(inputs)
        return prod(shape) if shape else 0

    def bias_elements(self, inputs: tuple[Shape, ...]) -> int:
        """Those of the `parameters` that are added to sums, in the accumulator's format."""
        del inputs
        return 0

    def macs(self, inputs: tuple[Shape, ...]) -> int:
        """Multiply-accumulates."""
        del inputs
        return 0

    def vector_ops(self, inputs: tuple[Shape, ...]) -> int:
        """Additions, comparisons and activations that are not MACs."""
        del inputs
        return 0


def _require_rank(op: Op, shape: Shape, rank: int, words: str) -> None:
    if len(shape) != rank:
        raise ValueError(f"{op.op} takes {words}, its input has the shape {list(shape[1:])}")


def _window_out(size: int, window: int, stride: int, pad: int, dilation: int, ceil: bool) -> int:
    span = size + pad - (dilation * (window - 1) + 1)
    return (ceil_div(span, stride) if ceil else span // stride) + 1


class Conv2d(Op):
    """2-D convolution. Weights are K x C/groups x R x S.

    ``algorithm`` is how it is computed (`accelsim.workload.expand`); what it computes, its weights and its MACs as
    defined do not depend on it.
    """

    op: Literal["conv2d"] = "conv2d"
    K: PositiveInt | None = None
    R: PositiveInt
    S: PositiveInt
    stride: Pair = (1, 1)
    pad: Padding = (0, 0, 0, 0)
    dilation: Pair = (1, 1)
    groups: PositiveInt | Literal["depthwise"] = 1
    bias: bool = True
    ceil: bool = False
    algorithm: Algorithm = "direct"

    @model_validator(mode="after")
    def _algorithm_suits(self) -> Conv2d:
        reason = self.unsuited(self.algorithm)
        if reason:
            raise ValueError(f"algorithm {self.algorithm} {reason}")
        return self

    def unsuited(self, algorithm: Algorithm) -> str:
        """Why ``algorithm`` cannot compute this convolution; empty where it can."""
        return unsuited(algorithm, (self.R, self.S), self.stride, self.dilation, self.groups)

    def group_count(self, channels: int) -> int:
        """Number of groups for an input of ``channels``."""
        return channels if self.groups == "depthwise" else self.groups

    def out_channels(self, channels: int) -> int:
        """K, which defaults to the input channels."""
        return self.K or channels

    def output_shapes(self, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
        _require_rank(self, inputs[0], 4, "[channels, height, width]")
        n, c, h, w = inputs[0]
        groups, k = self.group_count(c), self.out_channels(c)
        if c % groups or k % groups:
            raise ValueError(f"groups is {groups}, must divide both C = {c} and K = {k}")
        top, bottom, left, right = self.pad
        p = _window_out(h, self.R, self.stride[0], top + bottom, self.dilation[0], self.ceil)
        q = _window_out(w, self.S, self.stride[1], left + right, self.dilation[1], self.ceil)
        if p < 1 or q < 1:
            raise ValueError(f"the {self.R}x{self.S} window (dilation {self.dilation}) is larger than the padded input {h}x{w}")
        return ((n, k, p, q),)

    def weight_shape(self, inputs: tuple[Shape, ...]) -> Shape:
        c = inputs[0][1]
        return (self.out_channels(c), c // self.group_count(c), self.R, self.S)

    def parameters(self, inputs: tuple[Shape, ...]) -> int:
        return prod(self.weight_shape(inputs)) + self.bias_elements(inputs)

    def bias_elements(self, inputs: tuple[Shape, ...]) -> int:
        return self.out_channels(inputs[0][1]) if self.bias else 0

    def macs(self, inputs: tuple[Shape, ...]) -> int:
        n, _, p, q = self.output_shapes(inputs)[0]
        return n * p * q * prod(self.weight_shape(inputs))


class LocallyConnected2d(Op):
    """A convolution with private kernels, one set an output pixel. Weights are P x Q x K x C x R x S."""

    op: Literal["local2d"] = "local2d"
    K: PositiveInt
    R: PositiveInt
    S: PositiveInt
    stride: Pair = (1, 1)
    pad: Padding = (0, 0, 0, 0)
    bias: bool = True

    def output_shapes(self, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
        _require_rank(self, inputs[0], 4, "[channels, height, width]")
        n, _, h, w = inputs[0]
        top, bottom, left, right = self.pad
        p = _window_out(h, self.R, self.stride[0], top + bottom, 1, ceil=False)
        q = _window_out(w, self.S, self.stride[1], left + right, 1, ceil=False)
        if p < 1 or q < 1:
            raise ValueError(f"the {self.R}x{self.S} window is larger than the padded input {h}x{w}")
        return ((n, self.K, p, q),)

    def weight_shape(self, inputs: tuple[Shape, ...]) -> Shape:
        _, k, p, q = self.output_shapes(inputs)[0]
        return (p, q, k, inputs[0][1], self.R, self.S)

    def parameters(self, inputs: tuple[Shape, ...]) -> int:
        return prod(self.weight_shape(inputs)) + self.bias_elements(inputs)

    def bias_elements(self, inputs: tuple[Shape, ...]) -> int:
        """Each output value has a bias of its own, as it has its own kernel."""
        return prod(self.output_shapes(inputs)[0][1:]) if self.bias else 0

    def macs(self, inputs: tuple[Shape, ...]) -> int:
        return inputs[0][0] * prod(self.weight_shape(inputs))


class Linear(Op):
    """Fully connected layer over the last axis. Weights are out x in."""

    model_config = ConfigDict(populate_by_name=True)
    op: Literal["linear"] = "linear"
    in_: PositiveInt | None = Field(default=None, alias="in")
    out: PositiveInt
    bias: bool = True

    def features(self, shape: Shape) -> int:
        """Input features: the last axis, or everything but the batch for an image (flattened)."""
        return prod(shape[1:]) if len(shape) == 4 else shape[-1]

    def output_shapes(self, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
        shape, features = inputs[0], self.features(inputs[0])
        if self.in_ is not None and self.in_ != features:
            raise ValueError(f"in is {self.in_}, but its input {list(shape[1:])} has {features} features")
        return ((shape[0], self.out) if len(shape) == 4 else (*shape[:-1], self.out),)

    def weight_shape(self, inputs: tuple[Shape, ...]) -> Shape:
        return (self.out, self.features(inputs[0]))

    def parameters(self, inputs: tuple[Shape, ...]) -> int:
        return self.out * self.features(inputs[0]) + self.bias_elements(inputs)

    def bias_elements(self, inputs: tuple[Shape, ...]) -> int:
        del inputs
        return self.out if self.bias else 0

    def macs(self, inputs: tuple[Shape, ...]) -> int:
        return prod(self.output_shapes(inputs)[0]) * self.features(inputs[0])


class Matmul(Op):
    """(M x K) times (K x N), over leading batch axes; the second operand is an input, or weights if only one is given.

    With ``transpose_b`` the second operand is N x K. M, N and K may be left out where the inputs give them.
    """

    op: Literal["matmul"] = "matmul"
    inputs_expected: ClassVar[tuple[int, int]] = (1, 2)
    M: PositiveInt | None = None
    N: PositiveInt | None = None
    K: PositiveInt | None = None
    transpose_b: bool = False

    def sizes(self, inputs: tuple[Shape, ...]) -> tuple[int, int, int, int]:
        """(batch, M, N, K): how many products, and the size of each."""
        first = inputs[0]
        if len(first) < 2:
            raise ValueError(f"matmul takes at least two axes, its input has the shape {list(first)}")
        m, k = first[-2], first[-1]
        batch = prod(first[:-2])
        if len(inputs) == 2:
            second = inputs[1]
            if len(second) < 2:
                raise ValueError(f"matmul takes at least two axes, its second input has {list(second)}")
            k_second, n = (second[-1], second[-2]) if self.transpose_b else (second[-2], second[-1])
            if second[:-2] != first[:-2]:
                raise ValueError(f"matmul's inputs {list(first)} and {list(second)} differ in their batch axes")
            if k_second != k:
                shapes = f"{list(first)} and {list(second)}"
                raise ValueError(f"matmul's inputs {shapes} differ in the reduced axis: {k} and {k_second}")
        else:
            if self.N is None:
                raise ValueError("N is missing: a matmul with one input needs the width of its weights")
            m, n, batch = batch * m, self.N, 1  # shared weights: all rows are one tall matrix
        rows = first[-2] if len(first) > 2 else self.M  # of two axes the first is the batch, which may be any
        for name, given, found in (("M", self.M, rows), ("N", self.N, n), ("K", self.K, k)):
            if given is not None and given != found:
                raise ValueError(f"{name} is {given}, but its inputs give {found}")
        return batch, m, n, k

    def output_shapes(self, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
        return ((*inputs[0][:-1], self.sizes(inputs)[2]),)

    def weight_shape(self, inputs: tuple[Shape, ...]) -> Shape | None:
        _, _, n, k = self.sizes(inputs)
        return None if len(inputs) == 2 else ((n, k) if self.transpose_b else (k, n))

    def macs(self, inputs: tuple[Shape, ...]) -> int:
        return prod(self.sizes(inputs))


class Pool2d(Op):
    """Max or average pooling. An average over an edge window counts padding only with ``count_include_pad``."""

    op: Literal["maxpool2d", "avgpool2d"]
    window: Pair
    stride: Annotated[tuple[PositiveInt, PositiveInt] | None, BeforeValidator(_as_pair)] = None
    pad: Padding = (0, 0, 0, 0)
    ceil: bool = False
    count_include_pad: bool = False

    @property
    def strides(self) -> tuple[int, int]:
        return self.stride or self.window

    def output_shapes(self, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
        _require_rank(self, inputs[0], 4, "[channels, height, width]")
        n, c, h, w = inputs[0]
        top, bottom, left, right = self.pad
        p = self._out(h, 0, top, bottom)
        q = self._out(w, 1, left, right)
        if p < 1 or q < 1:
            raise ValueError(f"the {self.window[0]}x{self.window[1]} window is larger than the padded input {h}x{w}")
        return ((n, c, p, q),)

    def _out(self, size: int, axis: int, before: int, after: int) -> int:
        stride = self.strides[axis]
        out = _window_out(size, self.window[axis], stride, before + after, 1, self.ceil)
        starts_outside = self.ceil and (out - 1) * stride >= size + before
        return out - 1 if starts_outside else out  # a window must start inside the input or its leading padding

    def vector_ops(self, inputs: tuple[Shape, ...]) -> int:
        return prod(self.output_shapes(inputs)[0]) * prod(self.window)


class GlobalPool(Op):
    """Average or maximum over the whole image."""

    op: Literal["globalavgpool", "globalmaxpool"]

    def output_shapes(self, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
        _require_rank(self, inputs[0], 4, "[channels, height, width]")
        return ((*inputs[0][:2], 1, 1),)

    def vector_ops(self, inputs: tuple[Shape, ...]) -> int:
        return prod(inputs[0])


class Elementwise(Op):
    """Sum, difference, product, quotient or comparison of its inputs, element by element, with numpy's broadcasting.

    With one input the other operand is a constant (``value``, default 1) or ``trained`` values; ``constant_first``
    says that it stands on the left (``1 - x``). ``whole``: integers are whole numbers and no fractions; results wrap
    around and quotients are cut off, as in C.
    """

    op: Literal[
        "add", "sub", "mul", "div", "pow", "maximum", "minimum", "equal", "less", "less_equal", "greater", "greater_equal",
        "and", "or", "xor", "mod",
    ]
    inputs_expected: ClassVar[tuple[int, int]] = (1, 16)
    value: float | None = None
    trained: NonNegativeInt = 0
    constant_first: bool = False
    whole: bool = False

    def parameters(self, inputs: tuple[Shape, ...]) -> int:
        del inputs
        return self.trained

    def output_shapes(self, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
        rank = max(len(s) for s in inputs)
        result = [1] * rank
        for shape in inputs:
            for axis, size in enumerate((1,) * (rank - len(shape)) + shape):
                if size != 1 and result[axis] not in (1, size):
                    raise ValueError(f"{self.op}'s inputs {' and '.join(str(list(s)) for s in inputs)} differ in shape")
                result[axis] = max(result[axis], size)
        return (tuple(result),)

    def vector_ops(self, inputs: tuple[Shape, ...]) -> int:
        return prod(self.output_shapes(inputs)[0]) * max(1, len(inputs) - 1)


ACTIVATIONS = (
    "relu", "relu6", "leaky_relu", "prelu", "elu", "sigmoid", "hard_sigmoid", "tanh", "gelu", "gelu_tanh", "silu",
    "hard_swish", "exp", "erf", "sqrt", "clip", "abs", "neg", "reciprocal", "log", "trunc",
    "floor", "ceil", "round", "sign", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "isnan", "isinf",
)  # fmt: skip


class Activation(Op):
    """A function of each element alone."""

    op: Literal[
        "relu", "relu6", "leaky_relu", "prelu", "elu", "sigmoid", "hard_sigmoid", "tanh", "gelu", "gelu_tanh", "silu",
        "hard_swish", "exp", "erf", "sqrt", "clip", "abs", "neg", "reciprocal", "log", "trunc",
        "floor", "ceil", "round", "sign", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "isnan", "isinf",
    ]  # fmt: skip
    alpha: float | None = None
    beta: float | None = None  # of a hard_sigmoid
    low: float | None = None  # bounds of a clip
    high: float | None = None
    trained: NonNegativeInt = 0  # slopes of a prelu

    def parameters(self, inputs: tuple[Shape, ...]) -> int:
        del inputs
        return self.trained

    def output_shapes(self, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
        return (inputs[0],)

    def vector_ops(self, inputs: tuple[Shape, ...]) -> int:
        return prod(inputs[0])


class Select(Elementwise):
    """The second input where the first is not zero, else the third, with numpy's broadcasting: an operation an element."""

    op: Literal["where"] = "where"  # type: ignore[assignment]
    inputs_expected: ClassVar[tuple[int, int]] = (3, 3)

    def vector_ops(self, inputs: tuple[Shape, ...]) -> int:
        return prod(self.output_shapes(inputs)[0])


class Softmax(Op):
    """exp(x) / sum(exp(x)) along ``axis`` (maximum, difference, exponential, sum, quotient: 5 operations an element)."""

    op: Literal["softmax"] = "softmax"
    axis: int = -1

    def output_shapes(self, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
        _check_axis(self, self.axis, inputs[0])
        return (inputs[0],)

    def vector_ops(self, inputs: tuple[Shape, ...]) -> int:
        return 5 * prod(inputs[0])


class LayerNorm(Op):
    """Normalization over the last axis (two passes for mean and variance, then scale and shift: 6 operations an element)."""

    op: Literal["layernorm"] = "layernorm"
    epsilon: float = Field(default=1e-5, ge=0)

    def output_shapes(self, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
        return (inputs[0],)

    def parameters(self, inputs: tuple[Shape, ...]) -> int:
        return 2 * inputs[0][-1]

    def vector_ops(self, inputs: tuple[Shape, ...]) -> int:
        return 6 * prod(inputs[0])


class BatchNorm(Op):
    """Batch normalization. Folded into the convolution before it where there is one; else one multiply and one add."""

    op: Literal["batchnorm"] = "batchnorm"

    def output_shapes(self, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
        return (inputs[0],)

    def parameters(self, inputs: tuple[Shape, ...]) -> int:
        return 2 * inputs[0][1]

    def vector_ops(self, inputs: tuple[Shape, ...]) -> int:
        return 2 * prod(inputs[0])


class LocalResponseNorm(Op):
    """Local response normalization over ``size`` neighbouring channels (square, sum, scale, power, product).

    x / (k + alpha / size * sum of squares)**beta.
    """

    op: Literal["lrn"] = "lrn"
    size: PositiveInt = 5
    alpha: float = 1e-4
    beta: float = 0.75
    k: float = 1.0

    def output_shapes(self, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
        return (inputs[0],)

    def vector_ops(self, inputs: tuple[Shape, ...]) -> int:
        return (self.size + 4) * prod(inputs[0])


class Reduce(Op):
    """Mean, sum, product, maximum or minimum over ``axes`` (counted with the batch as axis 0)."""

    op: Literal["reduce_mean", "reduce_sum", "reduce_prod", "reduce_max", "reduce_min"]
    axes: tuple[int, ...]
    keepdims: bool = True

    def output_shapes(self, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
        axes = {_check_axis(self, axis, inputs[0]) for axis in self.axes}
        kept = [1 if i in axes else s for i, s in enumerate(inputs[0]) if self.keepdims or i not in axes]
        return (tuple(kept),)

    def vector_ops(self, inputs: tuple[Shape, ...]) -> int:
        return prod(inputs[0])


def _check_axis(op: Op, axis: int, shape: Shape) -> int:
    if not -len(shape) <= axis < len(shape):
        raise ValueError(f"{op.op}'s axis is {axis}, its input {list(shape)} has {len(shape)} axes")
    return axis % len(shape)


class CumulativeSum(Op):
    """Sums of all elements up to each along ``axis``: up to the one before with ``exclusive``, from the end with ``reverse``."""

    op: Literal["cumsum"] = "cumsum"
    axis: int = 1
    exclusive: bool = False
    reverse: bool = False

    def output_shapes(self, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
        _check_axis(self, self.axis, inputs[0])
        return (inputs[0],)

    def vector_ops(self, inputs: tuple[Shape, ...]) -> int:
        return prod(inputs[0])


class Locate(Op):
    """Where along ``axis`` the largest or smallest element stands, the first of equal ones or the ``last``; a comparison each."""

    op: Literal["argmax", "argmin"]
    axis: int = 1
    keepdims: bool = True
    last: bool = False

    def output_shapes(self, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
        axis = _check_axis(self, self.axis, inputs[0])
        return ((*inputs[0][:axis], *((1,) if self.keepdims else ()), *inputs[0][axis + 1 :]),)

    def vector_ops(self, inputs: tuple[Shape, ...]) -> int:
        return prod(inputs[0])


class TopK(Op):
    """Where along ``axis`` the ``k`` largest (or smallest) elements stand, in their order, the first of equal ones first.

    Every element is compared with the first of those kept and, as in a heap, with one of each power of two among them.
    """

    op: Literal["topk"] = "topk"
    axis: int = -1
    k: PositiveInt
    largest: bool = True

    def output_shapes(self, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
        axis = _check_axis(self, self.axis, inputs[0])
        if self.k > inputs[0][axis]:
            raise ValueError(f"k is {self.k}, the axis has {inputs[0][axis]}")
        return ((*inputs[0][:axis], self.k, *inputs[0][axis + 1 :]),)

    def vector_ops(self, inputs: tuple[Shape, ...]) -> int:
        return prod(inputs[0]) * self.k.bit_length()


class Gather(Op):
    """The elements of the first input at the places along ``axis`` that the second says; elsewhere the two broadcast."""

    op: Literal["gather"] = "gather"
    inputs_expected: ClassVar[tuple[int, int]] = (2, 2)
    axis: int = 1

    def output_shapes(self, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
        return (_looked_up(self, self.axis, inputs[0], inputs[1]),)


class Scatter(Op):
    """The first input with the third put at the places along ``axis`` that the second says; the two broadcast elsewhere.

    ``reduction``: what becomes of an element and what is put in its place.
    """

    op: Literal["scatter"] = "scatter"
    inputs_expected: ClassVar[tuple[int, int]] = (3, 3)
    axis: int = 1
    reduction: Literal["none", "add", "mul", "max", "min"] = "none"

    def output_shapes(self, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
        reached = _looked_up(self, self.axis, inputs[0], inputs[1])
        if inputs[2] != reached:
            raise ValueError(f"scatter puts {list(inputs[2])} at {list(reached)} places")
        return (inputs[0],)

    def vector_ops(self, inputs: tuple[Shape, ...]) -> int:
        return 0 if self.reduction == "none" else prod(inputs[2])


def _looked_up(op: Op, axis: int, data: Shape, places: Shape) -> Shape:
    """The shape of ``data`` with as many elements along ``axis`` as there are places."""
    axis = _check_axis(op, axis, data)
    if len(places) != len(data) or any(p not in (1, d) for i, (d, p) in enumerate(zip(data, places, strict=True)) if i != axis):
        raise ValueError(f"{op.op}'s places {list(places)} do not broadcast over {list(data)} but along axis {axis}")
    return (*data[:axis], places[axis], *data[axis + 1 :])


class Concat(Op):
    """Joins its inputs along ``axis`` (1 is the channels)."""

    op: Literal["concat"] = "concat"
    inputs_expected: ClassVar[tuple[int, int]] = (1, 1024)
    axis: int = 1

    def output_shapes(self, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
        axis = _check_axis(self, self.axis, inputs[0])
        rest = {(len(s), *s[:axis], *s[axis + 1 :]) for s in inputs}
        if len(rest) != 1:
            raise ValueError(f"concat's inputs {' and '.join(str(list(s)) for s in inputs)} differ outside axis {axis}")
        return ((*inputs[0][:axis], sum(s[axis] for s in inputs), *inputs[0][axis + 1 :]),)


class Split(Op):
    """Cuts its input along ``axis`` into pieces of ``sizes``; a consumer names piece i as ``name.i``."""

    op: Literal["split"] = "split"
    axis: int = 1
    sizes: tuple[PositiveInt, ...] = Field(min_length=1)

    def output_shapes(self, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
        axis = _check_axis(self, self.axis, inputs[0])
        if sum(self.sizes) != inputs[0][axis]:
            raise ValueError(f"sizes {list(self.sizes)} add up to {sum(self.sizes)}, the axis has {inputs[0][axis]}")
        return tuple((*inputs[0][:axis], size, *inputs[0][axis + 1 :]) for size in self.sizes)


class Slice(Op):
    """Takes ``size`` elements from ``start``, every ``step``-th, along ``axis``."""

    op: Literal["slice"] = "slice"
    axis: int = 1
    start: NonNegativeInt = 0
    size: PositiveInt
    step: PositiveInt = 1

    def output_shapes(self, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
        axis = _check_axis(self, self.axis, inputs[0])
        if self.start + (self.size - 1) * self.step >= inputs[0][axis]:
            raise ValueError(f"slice {self.start}:+{self.size} step {self.step} leaves the axis of {inputs[0][axis]}")
        return ((*inputs[0][:axis], self.size, *inputs[0][axis + 1 :]),)


class Take(Op):
    """The elements at ``indices`` along ``axis``, in that order and as often as they stand there. The data really moves."""

    op: Literal["take"] = "take"
    axis: int = 1
    indices: Annotated[tuple[NonNegativeInt, ...], Field(min_length=1)]

    def output_shapes(self, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
        axis = _check_axis(self, self.axis, inputs[0])
        if max(self.indices) >= inputs[0][axis]:
            raise ValueError(f"indices have {max(self.indices)}, the axis has {inputs[0][axis]}: 0 to {inputs[0][axis] - 1}")
        return ((*inputs[0][:axis], len(self.indices), *inputs[0][axis + 1 :]),)


class Reshape(Op):
    """The same elements in another shape (the batch apart); one size may be -1. Moves no data."""

    op: Literal["reshape", "flatten"]
    to: tuple[int, ...] = (-1,)

    def output_shapes(self, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
        n, total = inputs[0][0], prod(inputs[0][1:])
        known = prod(s for s in self.to if s != -1)
        if any(s < 1 and s != -1 for s in self.to) or self.to.count(-1) > 1:
            raise ValueError(f"to is {list(self.to)}, must be positive sizes and at most one -1")
        if (known != total) if -1 not in self.to else (total % known != 0):
            raise ValueError(f"to is {list(self.to)}, but the input {list(inputs[0][1:])} has {total} elements")
        return ((n, *(total // known if s == -1 else s for s in self.to)),)


class Transpose(Op):
    """Permutes the axes behind the batch: ``perm`` counts from 1. The data really moves."""

    op: Literal["transpose"] = "transpose"
    perm: tuple[PositiveInt, ...]

    def output_shapes(self, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
        if sorted(self.perm) != list(range(1, len(inputs[0]))):
            raise ValueError(f"perm is {list(self.perm)}, must permute 1..{len(inputs[0]) - 1}")
        return ((inputs[0][0], *(inputs[0][p] for p in self.perm)),)


class Upsample(Op):
    """Repeats each pixel ``scale`` times each way (nearest neighbour).

    ``rows`` and ``columns`` say which of the input's the output has, one after another, where that is no plain repetition.
    """

    op: Literal["upsample"] = "upsample"
    scale: Pair = (1, 1)
    rows: tuple[NonNegativeInt, ...] = ()
    columns: tuple[NonNegativeInt, ...] = ()

    def output_shapes(self, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
        _require_rank(self, inputs[0], 4, "[channels, height, width]")
        n, c, h, w = inputs[0]
        for name, taken, size in (("rows", self.rows, h), ("columns", self.columns, w)):
            if taken and max(taken) >= size:
                raise ValueError(f"{name} has {max(taken)}, its input has {size}: 0 to {size - 1}")
        return ((n, c, len(self.rows) or h * self.scale[0], len(self.columns) or w * self.scale[1]),)


class Pad(Op):
    """Zeros around an image, or elements that are ``value`` (of integers: as they are stored)."""

    op: Literal["pad"] = "pad"
    pad: Padding
    value: float = 0.0

    def output_shapes(self, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
        _require_rank(self, inputs[0], 4, "[channels, height, width]")
        n, c, h, w = inputs[0]
        return ((n, c, h + self.pad[0] + self.pad[1], w + self.pad[2] + self.pad[3]),)


class Embedding(Op):
    """Looks each integer of its input up in a table of ``rows`` x ``features``: reads rows, multiplies nothing."""

    op: Literal["embedding"] = "embedding"
    rows: PositiveInt
    features: PositiveInt

    def output_shapes(self, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
        return ((*inputs[0], self.features),)

    def weight_shape(self, inputs: tuple[Shape, ...]) -> Shape:
        del inputs
        return (self.rows, self.features)


class Recurrent(Op):
    """An LSTM or GRU over a sequence (N, T, features) or one step (N, features); returns the hidden state of every step.

    ``projection`` multiplies the hidden state down to that width (LSTMP), ``peepholes`` adds the three diagonal
    connections from the cell state to the gates.
    """

    op: Literal["lstm", "gru"]
    hidden: PositiveInt
    projection: PositiveInt | None = None
    peepholes: bool = False
    bias: bool = True

    @model_validator(mode="after")
    def _gru_is_plain(self) -> Recurrent:
        if self.op == "gru" and (self.projection or self.peepholes):
            raise ValueError("a gru has neither projection nor peepholes")
        return self

    @property
    def gates(self) -> int:
        return 4 if self.op == "lstm" else 3

    @property
    def out_features(self) -> int:
        return self.projection or self.hidden

    def steps(self, shape: Shape) -> int:
        return shape[1] if len(shape) == 3 else 1

    def output_shapes(self, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
        if len(inputs[0]) not in (2, 3):
            raise ValueError(f"{self.op} takes [features] or [steps, features], its input has the shape {list(inputs[0][1:])}")
        return ((*inputs[0][:-1], self.out_features),)

    def weight_shape(self, inputs: tuple[Shape, ...]) -> Shape:
        """Gates stacked: (gates * hidden) x (features + recurrent features)."""
        return (self.gates * self.hidden, inputs[0][-1] + self.out_features)

    def parameters(self, inputs: tuple[Shape, ...]) -> int:
        extra = self.hidden * self.projection if self.projection else 0
        extra += 3 * self.hidden if self.peepholes else 0
        return prod(self.weight_shape(inputs)) + extra + self.bias_elements(inputs)

    def bias_elements(self, inputs: tuple[Shape, ...]) -> int:
        del inputs
        return self.gates * self.hidden if self.bias else 0

    def macs(self, inputs: tuple[Shape, ...]) -> int:
        per_step = prod(self.weight_shape(inputs)) + (self.hidden * self.projection if self.projection else 0)
        return inputs[0][0] * self.steps(inputs[0]) * per_step

    def vector_ops(self, inputs: tuple[Shape, ...]) -> int:
        """Gate activations, products and sums of one step: 9 an LSTM cell unit, 6 a peephole set, 9 a GRU unit."""
        per_unit = 9 + (6 if self.peepholes else 0)
        return inputs[0][0] * self.steps(inputs[0]) * self.hidden * per_unit


class _Tiled(Op):
    """A side of an algorithm of convolution: what it transforms tiles of."""

    algorithm: Fast
    R: PositiveInt = 3
    S: PositiveInt = 3

    @model_validator(mode="after")
    def _window_suits(self) -> _Tiled:
        reason = transforms_of(self.algorithm).unsuited(self.window)
        if reason:
            raise ValueError(f"algorithm {self.algorithm} {reason}, not {self.R} x {self.S}")
        return self

    @property
    def window(self) -> tuple[int, int]:
        return self.R, self.S


class TransformInput(_Tiled):
    """The tiles of an image as an algorithm of convolution transforms them, less ``zero_point``: planes x C channels.

    The input's padding is the convolution's. Rows and columns of the output are tiles; those at the edge may stick out.
    """

    op: Literal["transform_input"] = "transform_input"
    pad: Padding = (0, 0, 0, 0)
    zero_point: int = 0

    def tiles(self, shape: Shape) -> tuple[int, int]:
        """Tiles down and across."""
        top, bottom, left, right = self.pad
        outputs = (shape[2] + top + bottom - self.R + 1, shape[3] + left + right - self.S + 1)
        if min(outputs) < 1:
            raise ValueError(f"the {self.R}x{self.S} window is larger than the padded input {shape[2]}x{shape[3]}")
        return tile_counts(self.algorithm, self.window, outputs)

    def output_shapes(self, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
        _require_rank(self, inputs[0], 4, "[channels, height, width]")
        n, c = inputs[0][:2]
        return ((n, c * transforms_of(self.algorithm).planes, *self.tiles(inputs[0])),)

    def vector_ops(self, inputs: tuple[Shape, ...]) -> int:
        n, c = inputs[0][:2]
        return n * c * prod(self.tiles(inputs[0])) * transforms_of(self.algorithm).input_ops


class TransformOutput(_Tiled):
    """Images of P x Q outputs made of an algorithm's sums of products, planes x K channels of tiles; adds the bias.

    ``integers``: the sums are exact, of weights scaled to whole numbers (`accelsim.workload.winograd`).
    """

    op: Literal["transform_output"] = "transform_output"
    P: PositiveInt
    Q: PositiveInt
    integers: bool = False
    bias: bool = True

    @model_validator(mode="after")
    def _integers_suit(self) -> TransformOutput:
        if self.integers and transforms_of(self.algorithm).floats_only:
            raise ValueError(f"integers is true, but {self.algorithm} is for floats")
        return self

    def output_shapes(self, inputs: tuple[Shape, ...]) -> tuple[Shape, ...]:
        _require_rank(self, inputs[0], 4, "[planes x K, tiles down, tiles across]")
        n, channels, *tiles = inputs[0]
        planes = transforms_of(self.algorithm).planes
        if channels % planes:
            raise ValueError(f"has {channels} input channels, {self.algorithm} takes a multiple of {planes}")
        wanted = tile_counts(self.algorithm, self.window, (self.P, self.Q))
        if tuple(tiles) != wanted:
            raise ValueError(f"takes {wanted[0]}x{wanted[1]} tiles for {self.P}x{self.Q} outputs, has {tiles[0]}x{tiles[1]}")
        return ((n, channels // planes, self.P, self.Q),)

    def parameters(self, inputs: tuple[Shape, ...]) -> int:
        return self.bias_elements(inputs)

    def bias_elements(self, inputs: tuple[Shape, ...]) -> int:
        return self.output_shapes(inputs)[0][1] if self.bias else 0

    def vector_ops(self, inputs: tuple[Shape, ...]) -> int:
        algorithm = transforms_of(self.algorithm)
        return prod(inputs[0]) // algorithm.planes * algorithm.output_ops(self.integers)


OPERATORS: tuple[type[Op], ...] = (
    Conv2d, LocallyConnected2d, Linear, Matmul, Pool2d, GlobalPool, Elementwise, Select, Activation, Softmax, LayerNorm,
    BatchNorm, LocalResponseNorm, Reduce, CumulativeSum, Locate, TopK, Gather, Scatter, Concat, Split, Slice, Take, Reshape,
    Transpose, Upsample, Pad, Embedding, Recurrent, TransformInput, TransformOutput,
)  # fmt: skip

OPERATOR_BY_NAME: dict[str, type[Op]] = {
    name: operator for operator in OPERATORS for name in operator.model_fields["op"].annotation.__args__  # type: ignore[union-attr]
}
