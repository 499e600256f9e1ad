"""Are the multiply-accumulates of a network those that ONNX's shape inference gives, counted by itself?"""

from __future__ import annotations

from pathlib import Path

import counting
import numpy as np
import onnx
import pytest
from onnx_models import LIGHT, model, save

from accelsim.frontends.onnx import read_onnx

I64 = lambda *values: np.array(values, np.int64)  # noqa: E731


@pytest.mark.parametrize("name", ["resnet50", "squeezenet", "densenet121", "shufflenet", "bvlc_alexnet"])
def test_models_of_the_package(name: str) -> None:
    path = LIGHT / f"light_{name}.onnx"
    assert read_onnx(path).macs == counting.macs(onnx.load(path))


# nodes, input, weights, opset: as exporters write what speech models begin with
FRONTS = {
    "frames by convolution": (
        """r = Unsqueeze(x, one) c = Conv<strides=[160]>(r, basis) p = Mul(c, c) re = Slice(p, zero, half, one)
           im = Slice(p, half, all, one) e = Add(re, im)
           t = Transpose<perm=[0, 2, 1]>(e) m = MatMul(t, mel) k = Clip(m, low) y = Log(k)""",
        "float[1,16000] x",
        {
            "basis": (402, 1, 400), "one": I64(1), "zero": I64(0), "half": I64(201), "all": I64(402),
            "mel": (201, 80), "low": np.float32(1e-5),
        }, 17, 402 * 400 * 98 + 98 * 201 * 80,
    ),
    "stft": (
        """s = STFT<onesided=1>(x, step, window, length) p = Mul(s, s) e = ReduceSum<keepdims=0>(p, last)
           t = MatMul(e, mel) k = Clip(t, low) y = Log(k)""",
        "float[1,16000] x",
        {
            "step": np.int64(160), "window": np.hanning(400).astype(np.float32), "length": np.int64(400), "last": I64(-1),
            "mel": (201, 80), "low": np.float32(1e-5),
        }, 17, 402 * 400 * 98 + 98 * 201 * 80,
    ),
    "filters worked out in the model": (
        """w = HannWindow(n) s = STFT<onesided=1>(x, step, w) p = Mul(s, s) e = ReduceSum<keepdims=0>(p, last)
           mel = MelWeightMatrix(bins, n, rate, low, high) y = MatMul(e, mel)""",
        "float[1,16000] x",
        {
            "n": np.int64(400), "step": np.int64(160), "last": I64(-1), "bins": np.int64(80), "rate": np.int64(16000),
            "low": np.float32(20), "high": np.float32(7600),
        }, 17, 402 * 400 * 98 + 98 * 201 * 80,
    ),
    "angles of positions": (
        """i = Range(zero, n, one) f = Cast<to=1>(i) a = Mul(f, rate) c = Cos(a) s = Sin(a)
           p = Mul(x, c) q = Mul(x, s) d = Add(p, q) y = MatMul(d, w)""",
        "float[1,300] x", {"zero": np.int64(0), "n": np.int64(300), "one": np.int64(1), "rate": np.float32(0.1), "w": (300, 4)},
        17, 1200,
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", FRONTS)
def test_fronts_of_speech_models(case: str, tmp_path: Path) -> None:
    body, inputs, weights, opset, macs = FRONTS[case]
    assert read_onnx(save(tmp_path, model(body, inputs, opset=opset, **weights))).macs == macs


@pytest.mark.parametrize("direction", ["forward", "bidirectional"])
@pytest.mark.parametrize(("kind", "gates"), [("LSTM", 4), ("GRU", 3)])
def test_recurrences(kind: str, gates: int, direction: str, tmp_path: Path) -> None:
    ways = 1 + (direction == "bidirectional")
    proto = model(
        f'y, h = {kind}<hidden_size=8, direction="{direction}">(x, w, r)', "float[6,1,5] x", output="y, h",
        w=(ways, gates * 8, 5), r=(ways, gates * 8, 8),
    )  # fmt: skip
    assert read_onnx(save(tmp_path, proto)).macs == counting.macs(proto) == ways * 6 * gates * 8 * 13


@pytest.mark.parametrize(("direction", "ways"), [("forward", 1), ("bidirectional", 2)])
def test_the_runtimes_quantized_lstm(direction: str, ways: int, tmp_path: Path) -> None:
    """Its weights are bytes, in x out, and have scales."""
    proto = model(
        f'y = com.microsoft.DynamicQuantizeLSTM<hidden_size=8, direction="{direction}">(x, w, r, , , , , , s, z, s, z)',
        "float[6,1,5] x", w=np.zeros((ways, 5, 32), np.int8), r=np.zeros((ways, 8, 32), np.int8),
        s=np.ones(ways, np.float32), z=np.zeros(ways, np.int8),
    )  # fmt: skip
    network = read_onnx(save(tmp_path, proto))
    assert network.macs == ways * 6 * 32 * 13
    assert {str(layer.precision.weight) for layer in network.layers if layer.macs} == {"int8"}
