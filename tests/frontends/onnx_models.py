"""Small ONNX models for the tests, written in ONNX's own text syntax; weights are added by name and shape."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper, parser

LIGHT = Path(onnx.__file__).parent / "backend" / "test" / "data" / "light"
QUANTIZED_CONV = """
    q = QuantizeLinear(x, xs, xz)
    r = QLinearConv<pads=[1,1,1,1]>(q, xs, xz, w, ws, wz, ys, yz, b)
    p = MaxPool<kernel_shape=[2,2], strides=[2,2]>(r)
    y = DequantizeLinear(p, ys, yz)
"""
QDQ_CONV = """
    q = QuantizeLinear(x, xs, xz)
    d = DequantizeLinear(q, xs, xz)
    wd = DequantizeLinear<axis=0>(w, ws, wz)
    bd = DequantizeLinear<axis=0>(b, bs)
    c = Conv<pads=[1,1,1,1]>(d, wd, bd)
    r = Relu(c)
    rq = QuantizeLinear(r, ys, yz)
    y = DequantizeLinear(rq, ys, yz)
"""


def model(body: str, inputs: str, output: str = "y", opset: int = 17, **weights: Any) -> onnx.ModelProto:
    """A model with ``body`` as its nodes; ``weights`` are arrays, or shapes of float zeros (tuples)."""
    text = f"""<ir_version: 8, opset_import: ["" : {opset}, "com.microsoft" : 1, "made.up" : 1]>
        g ({inputs}) => ({", ".join("float " + name.strip() for name in output.split(","))}) {{ {body} }}"""
    result = parser.parse_model(text)
    for name, value in weights.items():
        array = np.zeros(value, np.float32) if isinstance(value, tuple) else np.asarray(value)
        result.graph.initializer.append(numpy_helper.from_array(array, name))
    return result


def save(folder: Path, proto: onnx.ModelProto, name: str = "net.onnx") -> Path:
    path = folder / name
    path.write_bytes(proto.SerializeToString())
    return path


def quantized_weights(**others: Any) -> dict[str, Any]:
    """Scales, zero points and weights of the quantized models above: 4 filters over 3 channels."""
    rng = np.random.default_rng(0)
    return {
        "xs": np.float32(0.5), "xz": np.uint8(7), "w": rng.integers(-128, 128, (4, 3, 3, 3), np.int8),
        "ws": np.float32(0.25), "wz": np.int8(0), "ys": np.float32(0.3), "yz": np.uint8(3),
        "b": rng.integers(-999, 999, 4, np.int32), "bs": np.float32(0.125),
    } | others  # fmt: skip
