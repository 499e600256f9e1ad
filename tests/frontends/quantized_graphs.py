"""Random quantized graphs of every kind that values mode runs: QDQ around float operators, and the operators on integers.

Means over axes are left out: the runtime adds their floats in the order of the processor's registers, and what lies on a
half goes either way.

One step adds an operator to the tensor that stands last, between its DequantizeLinear and QuantizeLinear (``QdqGraph``).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
from exact_runtime import weight_bits
from runtime_models import FLOAT, INT8, STORAGE, UINT8, Graph

INT32 = onnx.TensorProto.INT32
AUTO = ["NOTSET", "NOTSET", "SAME_UPPER", "SAME_LOWER", "VALID"]


class QdqGraph:
    """A chain of float operators, each between a dequantize and a quantize; some branches come back by Add or Concat."""

    def __init__(self, seed: int, opset: int | None = None, elem: int | None = None) -> None:
        self.random = random = np.random.default_rng([17, seed])
        self.elem = elem or int(random.choice([UINT8, INT8]))
        self.opset = opset or int(random.choice([11, 13, 17, 21]))
        self.signal = bool(random.random() < 0.2)  # one spatial axis
        spatial = [int(n) for n in random.integers(6, 13, 1 if self.signal else 2)]
        self.shape = [int(random.integers(1, 3)), int(random.choice([1, 3, 4, 8])), *spatial]
        self.real = bool(random.random() < 0.6)  # takes floats
        self.graph = Graph(tuple(self.shape), seed, self.opset, FLOAT if self.real else self.elem)
        self.scale, self.zero = self.new_scale(), self.new_zero()
        self.now = self.graph.op("QuantizeLinear", "x", *self.pair()) if self.real else "x"

    def chance(self, share: float) -> bool:
        return bool(self.random.random() < share)

    def new_scale(self, around: float = 0.02) -> np.float32:
        return np.float32(around * np.exp(self.random.normal(0, 0.4)))

    def new_zero(self) -> Any:
        held = np.iinfo(STORAGE[self.elem])
        middle = (int(held.min) + int(held.max) + 1) // 2
        return STORAGE[self.elem](self.random.choice([held.min, middle, middle + int(self.random.integers(-40, 40))]))

    def pair(self) -> list[str]:
        return [self.graph.hold(self.scale), self.graph.hold(self.zero)]

    def read(self) -> str:
        return str(self.graph.op("DequantizeLinear", self.now, *self.pair()))

    def store(self, made: str, factor: float = 1.0, keeps: bool = False) -> None:
        """Quantize what an operator made, whose numbers are ``factor`` times as large as those that it read."""
        if not keeps:
            self.scale, self.zero = np.float32(self.scale * factor * self.random.uniform(0.5, 1.5)), self.new_zero()
        self.now = self.graph.op("QuantizeLinear", made, *self.pair())

    def weights(self, shape: tuple[int, ...], channels: int, axis: int) -> tuple[str, Any]:
        """int8 weights and their scale, one or one a channel."""
        random, graph = self.random, self.graph
        per_channel = self.chance(0.5) and self.opset >= 13
        scale = np.array([self.new_scale(0.01) for _ in range(channels)]) if per_channel else self.new_scale(0.01)
        values = random.integers(-127, 128, shape).astype(np.int8) // 2 ** (8 - weight_bits())
        zero = np.zeros(np.shape(scale), np.int8)
        more = {"axis": axis} if per_channel else {}
        return graph.op("DequantizeLinear", graph.hold(values), graph.hold(scale), graph.hold(zero), **more), scale

    def bias(self, channels: int, weight_scale: Any) -> str:
        scale = np.asarray(np.float32(self.scale) * np.broadcast_to(weight_scale, np.shape(weight_scale) or ()), np.float32)
        values = self.random.integers(-2000, 2000, channels).astype(np.int32)
        more = {"axis": 0} if scale.ndim else {}
        return str(self.graph.op("DequantizeLinear", self.graph.hold(values), self.graph.hold(scale), **more))

    # ---- steps: each adds an operator, and returns whether it could -----------------------------------------------

    def conv(self) -> bool:
        random, spatial = self.random, self.shape[2:]
        if len(spatial) < 1 or min(spatial) < 3:
            return False
        channels, group = self.shape[1], 1
        out = int(random.choice([1, 3, 4, 8]))
        if self.chance(0.3):
            group, out = channels, channels * int(random.choice([1, 2]))
        elif channels % 2 == 0 and self.chance(0.3):
            group, out = 2, 2 * int(random.integers(1, 4))
        kernel = [int(k) for k in random.integers(1, 4, len(spatial))]
        mode = str(random.choice(AUTO))
        more: dict[str, Any] = {"strides": [int(s) for s in random.integers(1, 3, len(spatial))], "group": group}
        if mode != "NOTSET":
            more["auto_pad"] = mode
        else:
            more["pads"] = [int(p) for p in random.integers(0, 2, 2 * len(spatial))]
            more["dilations"] = [int(d) for d in random.integers(1, 3, len(spatial))]
            if any((k - 1) * d + 1 > s for k, d, s in zip(kernel, more["dilations"], spatial, strict=True)):
                return False
        shape = (out, channels // group, *kernel)
        weight, scale = self.weights(shape, out, 0)
        inputs = [self.read(), weight, *([self.bias(out, scale)] if self.chance(0.6) else [])]
        made = self.graph.op("Conv", *inputs, **more)
        if self.chance(0.4):
            made = self.graph.op("Relu", made)
        self.store(made, float(np.max(scale)) * (shape[1] * np.prod(kernel)) ** 0.5 * 60)
        self.shape = [self.shape[0], out, *self.inferred(made)[2:]]
        return True

    def inferred(self, name: str) -> list[int]:
        proto = self.graph.model(name)
        return [d.dim_value for d in proto.graph.output[0].type.tensor_type.shape.dim]

    def pool(self) -> bool:
        if len(self.shape) < 3 or min(self.shape[2:]) < 4:
            return False
        axes = len(self.shape) - 2
        average = self.chance(0.4)
        more: dict[str, Any] = {"kernel_shape": [int(k) for k in self.random.integers(2, 4, axes)]}
        more["strides"] = [int(s) for s in self.random.integers(1, 3, axes)]
        more["pads"] = [int(p) for p in self.random.integers(0, 2, 2 * axes)]
        more["ceil_mode"] = 0 if average else int(self.chance(0.3))
        if average:
            more["count_include_pad"] = int(self.chance(0.5))
        made = self.graph.op("AveragePool" if average else "MaxPool", self.read(), **more)
        self.store(made, keeps=not average or self.chance(0.5))
        self.shape = [*self.shape[:2], *self.inferred(made)[2:]]
        return True

    def global_pool(self) -> bool:
        if len(self.shape) != 4:
            return False
        made = self.graph.op("GlobalAveragePool" if self.chance(0.7) else "GlobalMaxPool", self.read())
        self.store(made, keeps=self.chance(0.5))
        self.shape = [*self.shape[:2], 1, 1]
        return True

    def pairs(self) -> bool:
        kind = str(self.random.choice(["Add", "Mul", "Sub"]))
        if self.chance(0.5):
            other = self.read()
        else:
            shape = [(), (self.shape[1], *(1,) * (len(self.shape) - 2))][int(self.random.integers(0, 2))]
            values = self.random.integers(0, 127, shape).astype(STORAGE[self.elem])
            other = self.graph.op("DequantizeLinear", self.graph.hold(values), self.graph.hold(self.new_scale()),
                                  self.graph.hold(self.new_zero()))  # fmt: skip
        mine = self.read()
        order = [mine, other] if self.chance(0.5) else [other, mine]
        self.store(self.graph.op(kind, *order), 2.0)
        return True

    def branch(self) -> bool:
        """Two ways from here, joined again."""
        before = self.now, self.scale, self.zero
        first = self.graph.op("Relu", self.read()) if self.chance(0.5) else self.read()
        self.store(first, keeps=self.chance(0.3))
        one = self.now, self.scale, self.zero
        self.now, self.scale, self.zero = before
        self.store(self.graph.op("Sigmoid", self.read()), 1.0)
        ends = []
        for now, scale, zero in (one, (self.now, self.scale, self.zero)):
            self.now, self.scale, self.zero = now, scale, zero
            ends.append(self.read())
        if self.chance(0.5):
            self.store(self.graph.op("Add", *ends), 1.5)
        else:
            axis = -(len(self.shape) - 1) if self.chance(0.5) else 1
            self.store(self.graph.op("Concat", *ends, axis=axis), 1.0)
            self.shape[1] *= 2
        return True

    def curve(self) -> bool:
        kinds: list[tuple[str, dict[str, Any]]] = [
            ("Relu", {}), ("LeakyRelu", {"alpha": 0.1}), ("Sigmoid", {}), ("Tanh", {}),
            ("HardSigmoid", {"alpha": 0.3, "beta": 0.4}), ("Elu", {"alpha": 0.7}), ("Abs", {}), ("Exp", {}), ("HardSwish", {}),
        ]  # fmt: skip
        kind, more = kinds[int(self.random.integers(0, len(kinds) - (self.opset < 14)))]
        self.store(self.graph.op(kind, self.read(), **more), 1.0)
        return True

    def clip(self) -> bool:
        low, high = sorted(float(v) for v in self.random.normal(0, 1.5, 2))
        bounds = [self.graph.hold(np.float32(low)), self.graph.hold(np.float32(high))]
        self.store(self.graph.op("Clip", self.read(), *bounds), 1.0, keeps=self.chance(0.3))
        return True

    def resize(self) -> bool:
        if len(self.shape) != 4 or max(self.shape[2:]) > 12:
            return False
        scales = [1, 1, *(float(s) for s in self.random.choice([1, 2, 3], 2))]
        more = {"mode": "nearest", "nearest_mode": str(self.random.choice(["floor", "round_prefer_floor", "ceil"]))}
        more["coordinate_transformation_mode"] = str(self.random.choice(["asymmetric", "half_pixel"]))
        made = self.graph.op("Resize", self.read(), "", self.graph.hold(np.float32(scales)), **more)
        if self.opset < 13:  # its region was not optional then
            self.graph.nodes[-1].input[1] = self.graph.hold(np.zeros(0, np.float32))
        self.store(made, keeps=self.chance(0.7))
        self.shape = [*self.shape[:2], *(int(n * s) for n, s in zip(self.shape[2:], scales[2:], strict=True))]
        return True

    def softmax(self) -> bool:
        axis = -1 if self.chance(0.6) else 1
        if axis == 1 and (len(self.shape) > 2 and self.opset < 13):
            axis = len(self.shape) - 1
        made = self.graph.op("Softmax", self.read(), axis=axis)
        self.scale, self.zero = np.float32(1 / 256), STORAGE[self.elem](np.iinfo(STORAGE[self.elem]).min)
        self.store(made, keeps=True)
        return True

    def move(self) -> bool:
        x, rank = self.read(), len(self.shape)
        kind = str(self.random.choice(["transpose", "flatten", "unsqueeze", "slice", "reshape"]))
        if kind == "transpose":
            perm = [0, *(int(p) + 1 for p in self.random.permutation(rank - 1))]
            made, self.shape = self.graph.op("Transpose", x, perm=perm), [self.shape[p] for p in perm]
        elif kind == "flatten":
            made, self.shape = self.graph.op("Flatten", x), [self.shape[0], int(np.prod(self.shape[1:]))]
        elif kind == "unsqueeze" and rank == 3 and self.opset >= 13:
            made = self.graph.op("Unsqueeze", x, self.graph.hold(np.array([-2])))
            self.shape = [*self.shape[:2], 1, self.shape[2]]
        elif kind == "slice" and self.shape[-1] > 2:
            ends = [self.graph.hold(np.array([v])) for v in (1, 2**31 - 1, -1)]
            made = self.graph.op("Slice", x, *ends)
            self.shape = [*self.shape[:-1], self.shape[-1] - 1]
        else:
            made = self.graph.op("Reshape", x, self.graph.hold(np.array([0, self.shape[1], -1])))
            self.shape = [*self.shape[:2], int(np.prod(self.shape[2:]))]
        self.store(made, keeps=True)
        return True

    def product(self) -> bool:
        if len(self.shape) != 2 and self.chance(0.5):
            self.now = self.graph.op("Flatten", self.now)
            self.shape = [self.shape[0], int(np.prod(self.shape[1:]))]
        features, out = self.shape[-1], int(self.random.integers(1, 12))
        if len(self.shape) == 2 and self.chance(0.5):
            turned = self.chance(0.5)
            weight, scale = self.weights((out, features) if turned else (features, out), out, 0 if turned else 1)
            inputs = [self.read(), weight, *([self.bias(out, scale)] if self.chance(0.6) else [])]
            made = self.graph.op("Gemm", *inputs, transB=int(turned))
        else:
            weight, scale = self.weights((features, out), out, 1)
            made = self.graph.op("MatMul", self.read(), weight)
        self.store(made, float(np.max(scale)) * features**0.5 * 60)
        self.shape[-1] = out
        return True

    def model(self, steps: int | None = None) -> onnx.ModelProto:
        choices = [self.conv, self.conv, self.conv, self.pool, self.global_pool, self.pairs, self.branch, self.curve, self.clip,
                   self.resize, self.softmax, self.move, self.product]  # fmt: skip
        left = steps or int(self.random.integers(2, 6))
        while left:
            left -= choices[int(self.random.integers(0, len(choices)))]()
        if not self.real:
            return self.graph.model(self.now, self.elem)
        return self.graph.model(self.read())


class IntegerGraph:
    """One or two operators on integers themselves, of the kinds that `runtime_models.Chain` has not."""

    def __init__(self, seed: int) -> None:
        self.random = np.random.default_rng([23, seed])
        self.elem = int(self.random.choice([UINT8, INT8]))
        self.graph = Graph((2, 6), seed, 17, self.elem)
        self.seed = seed

    def numbers(self, shape: Any, elem: int | None = None) -> Any:
        held = np.iinfo(STORAGE[elem or self.elem])
        return self.random.integers(held.min, held.max, shape, STORAGE[elem or self.elem], endpoint=True)

    def held(self, *values: Any) -> list[str]:
        return [self.graph.hold(value) for value in values]

    def products(self, shape: Any, elem: int) -> Any:
        """Numbers that onnxruntime multiplies exactly."""
        return self.numbers(shape, elem) // 2 ** (8 - weight_bits())

    def scale(self) -> np.float32:
        return np.float32(0.02 * np.exp(self.random.normal(0, 0.5)))

    def pair(self) -> list[str]:
        return self.held(self.scale(), self.numbers(()))

    def image(self, *shape: int) -> None:
        self.graph = Graph(shape, self.seed, 17, self.elem)

    def gemm(self) -> tuple[str, int]:
        turned, out = int(self.random.integers(0, 2)), int(self.random.integers(1, 9))
        many = bool(self.random.random() < 0.5)
        kind = UINT8 if self.elem == UINT8 and self.random.random() < 0.3 else INT8
        scale = np.array([self.scale() for _ in range(out)]) if many else self.scale()
        weights = self.held(self.products((out, 6) if turned else (6, out), kind), scale, self.numbers(np.shape(scale), kind))
        bias = self.held(self.random.integers(-3000, 3000, out).astype(np.int32)) if self.random.random() < 0.6 else [""]
        ends = self.pair() if self.random.random() < 0.8 else []
        alpha = float(self.random.choice([1.0, 0.5, 0.37]))
        inputs = ["x", *self.pair(), *weights, *bias, *ends]
        made = self.graph.op("QGemm", *inputs, domain="com.microsoft", transB=turned, alpha=alpha)
        return made, self.elem if ends else FLOAT

    def matmul_integer(self) -> tuple[str, int]:
        out = int(self.random.integers(1, 9))
        zeros = self.numbers(out if self.random.random() < 0.5 else ())
        inputs = self.held(self.products((6, out), self.elem), *([self.numbers(()), zeros] if self.random.random() < 0.7 else []))
        return self.graph.op("MatMulInteger", "x", *inputs), INT32

    def conv_integer(self) -> tuple[str, int]:
        self.elem = UINT8
        self.image(1, 4, 7, 8)
        group = int(self.random.choice([1, 2, 4]))
        weights = self.products((4, 4 // group, 3, 2), UINT8)
        zeros = self.held(self.numbers(()), self.numbers(())) if self.random.random() < 0.7 else []
        more = {"pads": [1, 0, 1, 1], "strides": [2, 1], "dilations": [1, 2], "group": group}
        return self.graph.op("ConvInteger", "x", *self.held(weights), *zeros, **more), INT32

    def conv(self) -> tuple[str, int]:
        signal = self.random.random() < 0.4
        self.image(2, 4, *((9,) if signal else (7, 8)))
        group, axes = int(self.random.choice([1, 2, 4])), 1 if signal else 2
        kind = self.elem if self.random.random() < 0.5 else INT8
        scale = np.array([self.scale() for _ in range(4)]) if self.random.random() < 0.5 else self.scale()
        weights = self.held(self.products((4, 4 // group, *(3, 2)[:axes]), kind), scale, np.zeros(np.shape(scale), STORAGE[kind]))
        bias = self.held(self.random.integers(-3000, 3000, 4).astype(np.int32)) if self.random.random() < 0.6 else []
        more: dict[str, Any] = {"group": group, "strides": [int(n) for n in self.random.integers(1, 3, axes)]}
        more |= {"auto_pad": str(self.random.choice(AUTO[2:]))} if self.random.random() < 0.5 else {"dilations": [2] * axes}
        return self.graph.op("QLinearConv", "x", *self.pair(), *weights, *self.pair(), *bias, **more), self.elem

    def softmax(self) -> tuple[str, int]:
        self.image(2, 3, 5)
        pair = self.held(np.float32(1 / 256), STORAGE[self.elem](np.iinfo(STORAGE[self.elem]).min))
        more = {"axis": int(self.random.choice([-1, 2])), "opset": int(self.random.choice([11, 13]))}
        return self.graph.op("QLinearSoftmax", "x", *self.pair(), *pair, domain="com.microsoft", **more), self.elem

    def concat(self) -> tuple[str, int]:
        self.image(2, 3, 4)
        mine = ["x", *self.pair()]
        other = [*self.held(self.numbers((2, 2, 4))), *self.pair()]
        order = [*mine, *other, *mine] if self.random.random() < 0.5 else [*other, *mine]
        return self.graph.op("QLinearConcat", *self.pair(), *order, domain="com.microsoft", axis=-2), self.elem

    def average(self) -> tuple[str, int]:
        self.image(1, 3, 7, 9)
        more: dict[str, Any] = {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1]}
        more["count_include_pad"] = int(self.random.integers(0, 2))
        if self.random.random() < 0.5:
            more.pop("pads")
            more["auto_pad"] = "SAME_UPPER"
        made = self.graph.op("QLinearAveragePool", "x", *self.pair(), *self.pair(), domain="com.microsoft", **more)
        return made, self.elem

    def model(self) -> onnx.ModelProto:
        steps = [self.gemm, self.matmul_integer, self.conv_integer, self.conv, self.softmax, self.concat, self.average]
        made, elem = steps[self.seed % len(steps)]()
        return self.graph.model(made, elem)
