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


GATHERED = {
    "frames": np.arange(98)[:, None] * 160 + np.arange(400), "window": (400,), "last": I64(-1), "low": np.float32(1e-7),
}  # fmt: skip
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
    "frames that are gathered": (
        """f = Gather<axis=1>(x, frames) w = Mul(f, window) u = Unsqueeze(w, last) d = DFT<axis=2, onesided=1>(u) p = Mul(d, d)
           e = ReduceSum<keepdims=0>(p, last) m = MatMul(e, mel) k = Max(m, low) y = Log(k)""",
        "float[1,16000] x", {**GATHERED, "mel": (201, 80)}, 17, 402 * 400 * 98 + 98 * 201 * 80,
    ),
    "frames counted in the model": (
        """s = Shape(x) n = Gather(s, one) a = Sub(n, length) b = Div(a, hop) c = Add(b, one) r = Range(zero, c, one)
           k = Mul(r, hop) ku = Unsqueeze(k, ax1) j = Range(zero, length, one) ju = Unsqueeze(j, ax0) i = Add(ku, ju)
           f = Gather<axis=1>(x, i) w = Mul(f, window) y = MatMul(w, waves)""",
        "float[1,16000] x",
        {
            "one": np.int64(1), "length": np.int64(400), "hop": np.int64(160), "zero": np.int64(0), "ax1": I64(1), "ax0": I64(0),
            "window": (400,), "waves": (400, 402),
        }, 17, 98 * 400 * 402,
    ),
    "energies, pads, the newest transform": (
        """c = Cast<to=1>(x) g = Div(c, scale) f = Gather<axis=1>(g, frames) mu = ReduceMean(f, last) r = Sub(f, mu)
           q = ReduceSumSquare<keepdims=0>(r, last) v = Max(q, low) n = Log(v) a = Pad<mode="edge">(r, one)
           b = Slice(a, zero, end, two) h = Mul(b, scale) d = Sub(r, h) w = Mul(d, window) z = Pad(w, more) u = Unsqueeze(z, last)
           t = DFT<onesided=1>(u, , axis) p = Mul(t, t) e = ReduceSum<keepdims=0>(p, last) m = MatMul(e, mel) k = Max(m, low)
           l = Log(k) nu = Unsqueeze(n, last) y = Concat<axis=2>(nu, l)""",
        "int16[1,16000] x",
        {
            **GATHERED, "scale": np.float32(0.97), "one": I64(0, 0, 1, 0, 0, 0), "zero": I64(0), "end": I64(400), "two": I64(2),
            "more": I64(0, 0, 0, 0, 0, 112), "axis": np.int64(2), "mel": (257, 80),
        }, 20, 514 * 512 * 98 + 98 * 257 * 80,
    ),
    "reflected, clamped by its maximum": (
        """p = Pad<mode="reflect">(x, pads) s = STFT<onesided=1>(p, step, window, length) c = Slice(s, zero, end, one)
           q = Mul(c, c) e = ReduceSum<keepdims=0>(q, last) t = Transpose<perm=[0, 2, 1]>(e) m = MatMul(mel, t) k = Clip(m, low)
           l = Log(k) b = ReduceMax<keepdims=1>(l) f = Sub(b, eight) y = Max(l, f)""",
        "float[1,16000] x",
        {
            "pads": I64(0, 200, 0, 200), "step": np.int64(160), "window": (400,), "length": np.int64(400), "zero": I64(0),
            "end": I64(-1), "one": I64(1), "last": I64(-1), "mel": (80, 201), "low": np.float32(1e-10), "eight": np.float32(8),
        }, 18, 402 * 400 * 101 + 100 * 201 * 80,
    ),
    "preemphasis, real and imaginary parts": (
        """a = Slice(x, one, most, one) b = Slice(x, zero, last, one) k = Mul(b, share) d = Sub(a, k) f = Slice(x, zero, one, one)
           e = Concat<axis=1>(f, d) u = Unsqueeze(e, one) c = Conv<strides=[160]>(u, basis)
           re, im = Split<axis=1, num_outputs=2>(c)
           r = Pow(re, two) i = Pow(im, two) p = Add(r, i) m = MatMul(mel, p) q = Clip(m, low) y = Log(q)""",
        "float[1,16000] x",
        {
            "one": I64(1), "most": I64(2**31 - 1), "zero": I64(0), "last": I64(-1), "share": np.float32(0.97),
            "basis": (402, 1, 400), "two": np.float32(2), "mel": (40, 201), "low": np.float32(1e-6),
        }, 18, 402 * 400 * 98 + 98 * 201 * 40,
    ),
    "deltas and a norm of the mean": (
        """d = Conv<pads=[4,4], group=40>(x, k) e = Conv<pads=[4,4], group=40>(d, k) c = Concat<axis=1>(x, d, e)
           m = ReduceMean<axes=[2], keepdims=1>(c) s = Sub(c, m) q = Mul(s, s) v = ReduceMean<axes=[2], keepdims=1>(q)
           a = Add(v, low) r = Sqrt(a) y = Div(s, r)""",
        "float[1,40,98] x", {"k": (40, 1, 9), "low": np.float32(1e-5)}, 17, 2 * 40 * 98 * 9,
    ),
    "sizes of sums, gains": (
        """u = Unsqueeze(x, zero) s = STFT<onesided=1>(u, step, window) p = ReduceL2<keepdims=0>(s, last)
           m = Einsum<equation="btf,mf->btm">(p, mel) c = CumSum(m, axis) d = Div(m, c) y = Pow(d, half)""",
        "float[16000] x",
        {
            "zero": I64(0), "step": np.int64(160), "window": (400,), "last": I64(-1), "mel": (40, 201), "axis": np.int64(1),
            "half": np.float32(0.5),
        }, 18, 402 * 400 * 98 + 98 * 201 * 40,
    ),
    "blocks that overlap by half": (
        """r = Reshape(x, blocks) a = Slice(r, zero, last, one) b = Slice(r, one, most, one) f = Concat<axis=2>(a, b)
           w = Mul(f, window) c = MatMul(w, waves) s = MatMul(w, waves) p = Mul(c, c) q = Mul(s, s) e = Add(p, q)
           m = MatMul(e, mel) k = Clip(m, low) y = Log(k)""",
        "float[1,16000] x",
        {
            "blocks": I64(1, 100, 160), "zero": I64(0), "last": I64(-1), "one": I64(1), "most": I64(1000), "window": (320,),
            "waves": (320, 161), "mel": (161, 64), "low": np.float32(1e-6),
        }, 17, 99 * (2 * 320 * 161 + 161 * 64),
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
