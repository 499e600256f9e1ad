"""The numbers of an ONNX model in its network: weights, biases, scales and zero points, for values mode and compression.

QLinear and QDQ graphs run as they are, with onnxruntime's integers: a product's sums are exact, its outputs
``saturate(round(float32(sum) * m) + zero point)`` with ``m`` the float32 ``input scale * weight scale / output scale``,
the product a float32 too, rounded half to even. Sums, products and means of 8-bit tensors follow the runtime's kernels
(`accelsim.workload.fused`); everything else works on dequantized numbers in float32.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from accelsim.errors import Fault, InputError
from accelsim.frontends._onnx_arrays import dequantized
from accelsim.frontends._onnx_dims import Dims
from accelsim.frontends.onnx import LayerArrays, Weights, initializers
from accelsim.frontends.onnx import Quantization as Scales
from accelsim.workload.fixed_point import fixed_rule
from accelsim.workload.fused import has_kernel
from accelsim.workload.network import (
    Affine,
    Held,
    Layer,
    Network,
    Provided,
    Quantization,
    Rounding,
    TensorRef,
)
from accelsim.workload.ops import (
    Activation,
    BatchNorm,
    Elementwise,
    Embedding,
    LayerNorm,
    Matmul,
    Op,
    Recurrent,
    Reshape,
    Slice,
    Split,
    Take,
    Transpose,
    Upsample,
)
from accelsim.workload.precision import NumberFormat

Array = npt.NDArray[Any]
_DYNAMIC = (
    "has an input whose scale is computed while it runs: run it without --values, or quantize the model with fixed "
    "scales (onnxruntime.quantization.quantize_static)"
)
_MOVES = (Reshape, Slice, Split, Take, Transpose, Upsample)
Runtime = Literal["onnxruntime", "reference"]
_INT32 = NumberFormat("int", 32)
_MONOTONE = ("relu", "relu6", "clip")  # quantizing before them or after them is the same


def with_values(
    network: Network, path: Path, runtime: Runtime = "onnxruntime", dims: Dims | None = None, weights: Weights | None = None
) -> Network:
    """``network``, as read from ``path``, with the file's numbers in its layers; `InputError` where one cannot be had.

    ``runtime``: whose integers, where the two differ: *onnxruntime*'s, or those of *reference*, `onnx.reference`.
    """
    arrays = initializers(path, dims=dims, weights=weights) if weights else _arrays(path, dims)
    values = _Values(network, arrays, str(path), runtime == "onnxruntime")
    changes = {layer.name: values.layer(layer) for layer in network.layers}
    changes = _batch_norms_folded(network, arrays, changes, values)
    if values.faults:
        raise InputError(values.faults)
    return network.with_sketches([replace(s, **changes[s.name]) for s in network.sketches])


def batch_norm_scales(network: Network, path: Path, dims: Dims | None = None) -> dict[str, Array]:
    """The scales (gamma) of every batch normalization, by the layer before it."""
    arrays = _arrays(path, dims)
    return {
        layer.inputs[0].source: arrays[layer.name].more["scale"]
        for layer in network.layers
        if isinstance(layer.op, BatchNorm) and layer.name in arrays
    }


@lru_cache(maxsize=2)
def _arrays_of(path: Path, changed: int, dims: tuple[tuple[str, int], ...]) -> Mapping[str, LayerArrays]:
    del changed
    return initializers(path, dims=dict(dims))


def _arrays(path: Path, dims: Dims | None = None) -> Mapping[str, LayerArrays]:
    """The numbers of every layer."""
    return _arrays_of(path, path.stat().st_mtime_ns, tuple(sorted((dims or {}).items())))


@dataclass
class _Values:
    """One model's layers being filled."""

    network: Network
    arrays: Mapping[str, LayerArrays]
    source: str
    fused: bool = True

    def __post_init__(self) -> None:
        self.faults: list[Fault] = []
        self.scales: dict[TensorRef, Affine] = {}  # of tensors that are stored as integers
        self.formats: dict[TensorRef, NumberFormat] = {}  # of the same
        self.readers = self.network.consumers()
        self.made = {layer.name: layer.precision.output for layer in self.network.layers}
        for layer in self.network.layers:
            for place, ref in enumerate(layer.inputs):
                found = self._affine(layer, self._inputs(layer), place)
                if ref.source in self.network.inputs and found is not None:
                    self.scales.setdefault(ref, found)
                    self.formats.setdefault(ref, layer.precision.input)

    def fault(self, layer: Layer, message: str) -> None:
        fault = Fault(self.source, f'layer "{layer.name}"', message)
        if fault not in self.faults:
            self.faults.append(fault)

    def layer(self, layer: Layer) -> dict[str, Any]:
        """What changes in one layer."""
        refused = _refusal(layer, self.arrays.get(layer.name, LayerArrays()))
        if refused:
            self.fault(layer, refused)
            return {}
        layer = self._on_integers(layer)
        changes = self._product(layer) if layer.macs else self._other(layer)
        held = self.arrays.get(layer.name, LayerArrays()).held
        given = {} if held is None else {"input_values": _held(held)}
        return {"precision": layer.precision, **changes, **given}

    def _on_integers(self, layer: Layer) -> Layer:
        """The layer with the formats of what it reads: what is moved after it is dequantized is integers still."""
        found = self.formats.get(layer.inputs[0])
        if found is None:
            return layer
        update: dict[str, NumberFormat] = {"input": found}
        if (isinstance(layer.op, _MOVES) or layer.op.op == "maxpool2d") and not layer.precision.output.is_integer:
            update["output"] = found
        if layer.macs and layer.precision.weight.is_integer:
            update["accumulator"] = _INT32
        return replace(layer, precision=layer.precision.model_copy(update=update))

    # ---- scales --------------------------------------------------------------------------------------------

    def _inputs(self, layer: Layer) -> tuple[Scales | None, ...]:
        found = self.arrays.get(layer.name)
        return found.inputs if found is not None else ()

    def _affine(self, layer: Layer, scales: tuple[Scales | None, ...], place: int) -> Affine | None:
        return self._single(layer, scales[place]) if place < len(scales) else None

    def _single(self, layer: Layer, scales: Scales | None) -> Affine | None:
        """Scale and zero point of an activation: one of each."""
        if scales is not None and scales.dynamic:
            self.fault(layer, _DYNAMIC)
            return None
        if scales is None or scales.scale is None:
            return None
        zero = np.zeros(1) if scales.zero_point is None else scales.zero_point.astype(np.int64).ravel()
        scale = scales.scale.astype(np.float64).ravel()
        if len(scale) != 1 or len(zero) != 1:
            self.fault(layer, "has an activation with a scale a channel, which is not modelled")
        elif not (np.isfinite(scale).all() and scale[0] > 0):
            self.fault(layer, f"has a scale of {scale[0]}, must be a finite number above 0")
        else:
            return Affine(float(scale[0]), int(zero[0]))
        return None

    def _read(self, layer: Layer) -> tuple[Affine | None, ...]:
        """What each input's integers stand for; None where it is a float."""
        own = self._inputs(layer)
        return tuple(self.scales.get(ref) or self._affine(layer, own, i) for i, ref in enumerate(layer.inputs))

    def _made(self, layer: Layer) -> Affine | None:
        """What the layer's integers stand for; None where its output is a float."""
        found = self.arrays.get(layer.name)
        scale = self._single(layer, found.output) if found is not None else None
        if not layer.precision.output.is_integer or self._curves_before_rounding(layer):
            return None
        if scale is None and not layer.macs:
            scale = next((s for s in self._read(layer) if s is not None), None)  # it moves integers
        if scale is not None:
            for port in range(len(layer.output_shapes)):
                self.scales[TensorRef(layer.name, port)] = scale
                self.formats[TensorRef(layer.name, port)] = layer.precision.output
        return scale

    def _curves_before_rounding(self, layer: Layer) -> bool:
        """Whether an activation before the quantization wants the real number.

        A rectifier does not: saturation does its work. But where the zero point leaves room below it, onnxruntime keeps
        the rectifier, and so the float operator before it (`fused` rounds otherwise).
        """
        readers = self.readers[TensorRef(layer.name)]
        if len(readers) != 1:
            return False
        follow = self.network.layer(readers[0])
        scales = self._inputs(follow)
        if not isinstance(follow.op, Activation) or (scales and scales[0] is not None):
            return False
        found = self.arrays.get(layer.name)
        zero = None if found is None or found.output is None else found.output.zero_point
        room = zero is not None and int(zero.ravel()[0]) != layer.precision.output.lowest
        kept = self.fused and has_kernel(layer.op.op) and (room or follow.op.op != "relu")
        return follow.op.op not in _MONOTONE or kept

    # ---- layers --------------------------------------------------------------------------------------------

    def _other(self, layer: Layer) -> dict[str, Any]:
        """A layer without MACs: it works on what its inputs stand for."""
        arrays = self.arrays.get(layer.name, LayerArrays())
        if isinstance(layer.op, Elementwise) and layer.op.whole:
            return {} if arrays.operand is None else {"weight": _held(arrays.operand)}
        inputs, output = self._read(layer), self._made(layer)
        held, scale = self._constants(layer, arrays)
        if arrays.on_integers and isinstance(layer.op, Activation | Elementwise):
            inputs, output = (Affine(),) * len(inputs), Affine() if layer.precision.output.is_integer else None
        elif output is None and not any(inputs):
            if not self._is_cast(layer):
                return self._float_output(layer) | held
            inputs = (Affine(),) * len(inputs)  # integers made floats by a cast
        scales = Quantization((*(s or Affine() for s in inputs), *scale), 0, output, self.fused)
        return {"quantization": scales, **held, **(self._float_output(layer) if output is None else {})}

    def _is_cast(self, layer: Layer) -> bool:
        """Whether a layer of floats reads integers, which a cast made floats: sums without a scale."""
        floats = not layer.precision.output.is_integer and not isinstance(layer.op, Embedding)
        made = (self.made.get(ref.source) for ref in layer.inputs)
        return floats and any(number is not None and number.is_integer for number in made)

    def _constants(self, layer: Layer, arrays: LayerArrays) -> tuple[dict[str, Any], tuple[Affine, ...]]:
        """Constants as value sources, and the scale of an operand that is held as integers."""
        if isinstance(layer.op, Embedding):
            assert arrays.weight is not None
            table = dequantized(arrays.weight, arrays.weight_quantization, 0).reshape(layer.weight_shape or ())
            floats = layer.precision.model_copy(update={"weight": NumberFormat("fp", 32)})
            return {"weight": _held(table), "precision": floats}, ()
        if isinstance(layer.op, LayerNorm):
            scale = dequantized(arrays.weight, arrays.weight_quantization, -1) if arrays.weight is not None else np.ones(1)
            shift = None if arrays.bias is None else _held(dequantized(arrays.bias, arrays.bias_quantization, -1))
            return {"weight": _held(scale), "bias": shift}, ()
        if arrays.operand is None:
            return {}, ()
        own = arrays.operand_quantization
        if arrays.operand.dtype.kind == "f" or own is None or own.scale is None or own.scale.size != 1:
            return {"weight": _held(dequantized(arrays.operand, own, own.axis if own else 0))}, ()
        affine = self._single(layer, own)
        return {"weight": _held(arrays.operand)}, (affine or Affine(),)

    def _float_output(self, layer: Layer) -> dict[str, Any]:
        """An output that stays a float although something quantizes it later."""
        if not layer.precision.output.is_integer or not self._curves_before_rounding(layer):
            return {}
        return {"precision": layer.precision.model_copy(update={"output": NumberFormat("fp", 32)})}

    def _product(self, layer: Layer) -> dict[str, Any]:
        """A layer with MACs."""
        arrays = self.arrays.get(layer.name, LayerArrays())
        integers = layer.precision.input.is_integer and layer.precision.weight.is_integer
        if not integers:
            return self._float_product(layer, arrays)
        if arrays.weight is not None and arrays.weight.dtype.kind == "f":
            self.fault(layer, "has integer weights that are moved after they are dequantized; fold that in the model")
            return {}
        inputs, output = self._read(layer), self._made(layer)
        if layer.precision.output == layer.precision.accumulator and output is None:
            return self._bare(layer, arrays)
        if any(scale is None for scale in inputs):
            self.fault(layer, _DYNAMIC)
            return {}
        scale, zero = self._weight_scale(layer, arrays, inputs)
        product = np.float32(_of(inputs[0]).scale) * scale
        changes = _stored(layer, replace(arrays, bias=self._bias(layer, arrays, product)))
        rounding: Rounding = "zero_first" if arrays.qlinear and not self.fused else "float32"
        changes["requantize"] = fixed_rule(product, output or Affine(), rounding)
        changes["quantization"] = Quantization(tuple(_of(s) for s in inputs), zero, output)
        return changes | (self._float_output(layer) if output is None else {})

    def _float_product(self, layer: Layer, arrays: LayerArrays) -> dict[str, Any]:
        """Floats times floats, or times integers whose scale comes after the sum."""
        inputs, output = self._read(layer), self._made(layer)
        whole = arrays.weight is not None and arrays.weight.dtype.kind != "f"
        if arrays.weight is not None and not whole and layer.precision.weight.is_integer:
            self.fault(layer, "has integer weights that are moved or scaled by blocks: run it without --values")
            return {}
        scale, zero = self._weight_scale(layer, arrays, inputs) if whole else (np.ones((), np.float32), 0)
        if not whole and not any(inputs) and output is None:
            return _stored(layer, arrays) | self._float_output(layer)
        for one in inputs:
            scale = scale * np.float32(one.scale if one is not None else 1)
        bias = arrays.bias
        if bias is not None:
            bias = dequantized(bias, arrays.bias_quantization, 0).astype(np.float64).ravel() / scale
        changes = _stored(layer, replace(arrays, bias=bias))
        changes["requantize"] = fixed_rule(scale, output or Affine(), "even")
        changes["quantization"] = Quantization(tuple(one or Affine() for one in inputs), zero, output)
        return changes | (self._float_output(layer) if output is None else {})

    def _bare(self, layer: Layer, arrays: LayerArrays) -> dict[str, Any]:
        """ConvInteger and MatMulInteger: the accumulators themselves, zero points taken off."""
        zero = 0 if arrays.weight_quantization is None else _zero_points(arrays.weight_quantization)
        if any(s is not None and s.dynamic for s in arrays.inputs):
            self.fault(layer, _DYNAMIC)
        points = [s.zero_point if s is not None else None for s in arrays.inputs]
        if any(p is not None and p.size != 1 for p in points):
            self.fault(layer, "has a zero point a row of its input, must have one: run it without --values")
        inputs = tuple(Affine(1.0, 0 if p is None else int(p.ravel()[0])) for p in points)
        return _stored(layer, arrays) | {"quantization": Quantization(inputs, zero, None)}

    def _weight_scale(
        self, layer: Layer, arrays: LayerArrays, inputs: tuple[Affine | None, ...]
    ) -> tuple[npt.NDArray[np.float32], int | tuple[int, ...]]:
        """Scale and zero point of the second operand: weights, or an activation."""
        if arrays.weight is None and len(inputs) == 2:
            return np.array(_of(inputs[1]).scale, np.float32), 0
        found = arrays.weight_quantization
        if found is None or found.scale is None:
            self.fault(layer, "has integer weights without a scale")
            return np.ones((), np.float32), 0
        scale = found.scale.astype(np.float32)
        channels = _channels(layer)
        if scale.size != 1 and not (scale.size == channels and scale.ndim == 1 and _by_output(layer, arrays)):
            message = f"has weight scales of shape {list(scale.shape)} along axis {found.axis}, must have one scale or one an "
            self.fault(layer, f"{message}output channel ({channels}): run it without --values, or quantize it again")
            return np.ones((), np.float32), 0
        if not (np.isfinite(scale).all() and (scale > 0).all()):
            self.fault(layer, f"has a weight scale of {scale.min()}, must be a finite number above 0")
            return np.ones((), np.float32), 0
        return (scale.reshape(()) if scale.size == 1 else scale.ravel()), _zero_points(found)

    def _bias(self, layer: Layer, arrays: LayerArrays, product: Array) -> Array | None:
        """The bias as integers of scale ``product``: as they are, or a float one rounded half to even."""
        if arrays.bias is None:
            return None
        own = arrays.bias_quantization
        if arrays.bias.dtype.kind != "f" and (own is None or own.scale is None):
            return arrays.bias
        real = arrays.bias.astype(np.float64).ravel()
        if own is not None and own.scale is not None and arrays.bias.dtype.kind != "f":
            real = (real - np.asarray(_zero_points(own))) * own.scale.astype(np.float64).ravel()
        if not np.isfinite(real).all():
            self.fault(layer, "has a bias that is no finite number")
            return None
        return np.asarray(np.rint(real / product.astype(np.float64)).astype(np.int64))


def _held(values: Array) -> Provided:
    return Provided(provider=Held(values))


def _by_output(layer: Layer, arrays: LayerArrays) -> bool:
    """Whether scales along an axis of the weights, as the file has them, are those of output channels."""
    assert arrays.weight is not None
    assert arrays.weight_quantization is not None
    rank = arrays.weight.ndim
    last = arrays.transposed or isinstance(layer.op, Matmul)
    return arrays.qlinear or arrays.weight_quantization.axis % rank == (rank - 1 if last else 0)


def _channels(layer: Layer) -> int:
    """How many output channels a product has: of an image they are axis 1."""
    shape = layer.output_shapes[0]
    return shape[1 if len(shape) == 4 and not isinstance(layer.op, Matmul) else -1]


def _of(scale: Affine | None) -> Affine:
    assert scale is not None
    return scale


def _zero_points(scales: Scales) -> int | tuple[int, ...]:
    if scales.zero_point is None:
        return 0
    points = scales.zero_point.astype(np.int64).ravel()
    return int(points[0]) if len(set(points.tolist())) == 1 else tuple(points.tolist())


def _stored(layer: Layer, arrays: LayerArrays | None) -> dict[str, Any]:
    """Weights and biases as value sources, in accelsim's shapes."""
    changes = {}
    if arrays is not None and arrays.weight is not None and layer.weight_shape is not None:
        weight = arrays.weight.astype(np.int8) if arrays.weight.dtype.kind == "V" else arrays.weight  # 4 bits
        changes["weight"] = Provided(provider=Held(weight.reshape(layer.weight_shape)))
    if arrays is not None and arrays.bias is not None and layer.macs:
        channels = _channels(layer)
        changes["bias"] = Provided(provider=Held(np.broadcast_to(arrays.bias.ravel(), (channels,))))
    return changes


def _refusal(layer: Layer, arrays: LayerArrays) -> str:
    """Why values mode cannot compute a layer of an ONNX model; empty if it can."""
    op: Op = layer.op
    if isinstance(op, Recurrent):
        return f"is a {op.op}; its gates are not reordered from ONNX's: run it without --values"
    if isinstance(op, Elementwise) and arrays.unknown:
        return "reads a single number that comes in or is computed while it runs: run it without --values"
    if isinstance(op, Activation | Elementwise) and op.trained and arrays.operand is None:
        return f"has {op.trained} constants that differ across the batch: run it without --values"
    if layer.macs and arrays.bias is not None and arrays.bias.size not in (1, _channels(layer)):
        return f"has biases of shape {list(arrays.bias.shape)}, must have one an output channel: run it without --values"
    return ""


# ---- batch normalization ---------------------------------------------------------------------------------------


def _batch_norms_folded(
    network: Network, arrays: Mapping[str, LayerArrays], changes: dict[str, dict[str, Any]], values: _Values
) -> dict[str, dict[str, Any]]:
    """Scales and shifts go into the float weights before them; the layer itself then computes nothing."""
    for layer in network.layers:
        if not isinstance(layer.op, BatchNorm):
            continue
        before = layer.inputs[0].source
        numbers = arrays.get(layer.name)
        held = changes.get(before, {}).get("weight")
        if numbers is None:
            values.fault(layer, "is a batch normalization without numbers")
            continue
        if (np.asarray(numbers.more["variance"]) + numbers.more["epsilon"] <= 0).any():
            values.fault(layer, "is a batch normalization of a variance below 0, which has no root")
            continue
        if held is None or len(values.readers[layer.inputs[0]]) != 1 or _is_integer(held):
            factor, shift = _factor_and_shift(numbers.more)
            changes[layer.name] |= {"weight": _held(factor.astype(np.float32)), "bias": _held(shift.astype(np.float32))}
            continue
        weight, bias = _folded(held.provider.read(), changes[before].get("bias"), numbers.more)
        changes[before] |= {"weight": Provided(provider=Held(weight)), "bias": Provided(provider=Held(bias))}
        changes[before]["op"] = network.layer(before).op.model_copy(update={"bias": True})
    return changes


def _is_integer(held: Provided) -> bool:
    return bool(held.provider.read().dtype.kind != "f")


def _folded(weight: Array, bias: Any, numbers: Mapping[str, Array]) -> tuple[Array, Array]:
    """(w, b) of gamma * (w x + b - mean) / sqrt(variance + epsilon) + beta, and of what was absorbed after it."""
    factor, shift = _factor_and_shift(numbers)
    old = bias.provider.read().astype(np.float64) if bias is not None else np.zeros(len(factor))
    shaped = factor.reshape(-1, *(1,) * (weight.ndim - 1))
    return (weight * shaped).astype(np.float32), (old * factor + shift).astype(np.float32)


def _factor_and_shift(numbers: Mapping[str, Array]) -> tuple[Array, Array]:
    """A batch normalization as ``factor * x + shift``, one of each a channel."""
    wide = {key: np.asarray(value, np.float64).ravel() for key, value in numbers.items()}
    factor = wide["scale"] / np.sqrt(wide["variance"] + wide["epsilon"])
    shift = wide["shift"] - wide["mean"] * factor
    again, more = wide.get("scale_2", np.ones(1)), wide.get("shift_2", np.zeros(1))
    return factor * again, shift * again + more
