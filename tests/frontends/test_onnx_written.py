"""Operators that are written out as others: onnxruntime's numbers, and multiply-accumulates as the shapes alone give them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from counting import macs
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx_models import model, save
from test_onnx_flow import NORMAL, agrees

from accelsim.cli import main
from accelsim.errors import InputError
from accelsim.frontends.onnx import read_onnx, read_onnx_with_notes

I64 = lambda *values: np.array(values, np.int64)  # noqa: E731
F32 = lambda *values: np.array(values, np.float32)  # noqa: E731
ROWS, SEQUENCE, IMAGE, VOLUME = "float[2,6] x", "float[2,5,8] x", "float[1,4,6,6] x", "float[1,3,4,5,6] x"
HEADS = "float[1,4,5,8] x, float[1,4,5,8] k, float[1,4,5,8] v"
STEP = "float[1,4,1,8] x, float[1,4,1,8] k, float[1,4,1,8] v, float[1,4,6,8] a, float[1,4,6,8] c"
THREE = "float[2,5,8] x, float[2,7,8] k, float[2,7,8] v"
GROUPS = "num_heads=4, kv_num_heads=2"
MS = "com.microsoft."
Case = tuple[str, str, int, dict[str, Any]]  # nodes, inputs, opset, weights
CASES: dict[str, Case] = {
    # attention of com.microsoft
    "attention": (f"y = {MS}Attention<num_heads=2>(x, w, b)", SEQUENCE, 18, {"w": NORMAL(8, 24), "b": NORMAL(24)}),
    "attention, keys that are there": (
        f"y = {MS}Attention<num_heads=2, unidirectional=1>(x, w, b, m)", SEQUENCE, 18,
        {"w": NORMAL(8, 24), "b": NORMAL(24), "m": np.int32([5, 3])},
    ),
    "attention, a cache": (
        f"y, p = {MS}Attention<num_heads=2>(x, w, b, , past)", "float[1,3,8] x, float[2,1,2,4,4] past", 18,
        {"w": NORMAL(8, 24), "b": NORMAL(24)},
    ),
    "heads": (f"y = {MS}MultiHeadAttention<num_heads=2>(x, k, v, b)", THREE, 18, {"b": NORMAL(24)}),
    "heads, a mask of keys": (
        f"y = {MS}MultiHeadAttention<num_heads=2>(x, k, v, , m)", THREE, 18,
        {"m": np.int32([[1, 1, 1, 1, 0, 0, 0], [1, 1, 1, 1, 1, 1, 0]])},
    ),
    "heads, a cache": (
        f"y, p, q = {MS}MultiHeadAttention<num_heads=2>(x, k, v, , , , a, c)",
        "float[1,1,8] x, float[1,1,8] k, float[1,1,8] v, float[1,2,4,4] a, float[1,2,4,4] c", 18, {},
    ),
    "shared heads": (
        f"y, p, q = {MS}GroupQueryAttention<{GROUPS}>(x, k, v, , , l, t)", "float[1,5,32] x, float[1,5,16] k, float[1,5,16] v",
        18, {"l": np.int32([4]), "t": np.int32(5)},
    ),
    "shared heads, a cache and a cap": (
        f"y, p, q = {MS}GroupQueryAttention<{GROUPS}, softcap=1.5, local_window_size=3>(x, k, v, a, c, l, t)",
        "float[1,1,32] x, float[1,1,16] k, float[1,1,16] v, float[1,2,6,8] a, float[1,2,6,8] c", 18,
        {"l": np.int32([6]), "t": np.int32(7)},
    ),
    "shared heads, packed and turned": (
        f"y, p, q = {MS}GroupQueryAttention<{GROUPS}, do_rotary=1>(x, , , , , l, t, co, si)", "float[1,5,128] x", 18,
        {"l": np.int32([4]), "t": np.int32(5), "co": NORMAL(16, 8), "si": NORMAL(16, 8)},
    ),
    "positions that turn": (
        f"y = {MS}RotaryEmbedding(x, p, co, si)", "float[1,2,5,8] x", 18,
        {"p": I64(*range(5)).reshape(1, 5), "co": NORMAL(16, 4), "si": NORMAL(16, 4)},
    ),
    "embeddings": (
        f"y, m = {MS}EmbedLayerNormalization(i, s, a, p, e, g, b)", "int32[1,5] i, int32[1,5] s", 18,
        {"a": NORMAL(20, 8), "p": NORMAL(16, 8), "e": NORMAL(2, 8), "g": NORMAL(8), "b": NORMAL(8)},
    ),
    # attention of ONNX
    "newest attention": ("y = Attention(x, k, v)", HEADS, 23, {}),
    "newest attention, causal": ("y = Attention<is_causal=1>(x, k, v)", HEADS, 24, {}),
    "newest attention, a cap": ("y = Attention<softcap=2.0>(x, k, v)", HEADS, 23, {}),
    "newest attention, a mask": ("y = Attention(x, k, v, m)", HEADS, 23, {"m": np.tril(np.ones((5, 5), np.bool_))}),
    "newest attention, shared heads": (
        "y = Attention(x, k, v)", "float[1,4,5,8] x, float[1,2,5,8] k, float[1,2,5,8] v", 23, {},
    ),
    "newest attention, rows": (
        "y = Attention<q_num_heads=2, kv_num_heads=2>(x, k, v)", "float[1,5,16] x, float[1,5,16] k, float[1,5,16] v", 23, {},
    ),
    "newest attention, a cache": ("y, p, q = Attention(x, k, v, , a, c)", STEP, 23, {}),
    "newest attention, a batch": ("y = Attention(x, k, v)", HEADS.replace("[1,", "[2,"), 24, {}),
    "newest turns": ("y = RotaryEmbedding<interleaved=1>(x, co, si)", "float[1,2,5,8] x", 23,
                     {"co": NORMAL(1, 5, 4), "si": NORMAL(1, 5, 4)}),
    # products
    "einsum of matrices": ('y = Einsum<equation="bij,bjk->bik">(x, z)', "float[2,3,4] x, float[2,4,5] z", 18, {}),
    "einsum of heads": ('y = Einsum<equation="bqhd,bkhd->bhqk">(x, z)', "float[1,3,2,4] x, float[1,5,2,4] z", 18, {}),
    "einsum of weights": ('y = Einsum<equation="btd,dhk->bhtk">(x, w)', SEQUENCE, 18, {"w": NORMAL(8, 2, 4)}),
    "einsum of positions": ('y = Einsum<equation="bhwc,hkc->bhwk">(x, w)', "float[1,3,4,5] x", 18, {"w": NORMAL(3, 6, 5)}),
    "einsum of dots": ('y = Einsum<equation="...ij,...jk->...ik">(x, z)', "float[2,3,4] x, float[2,4,5] z", 18, {}),
    "einsum without a sum": ('y = Einsum<equation="bi,bj->bij">(x, z)', "float[2,3] x, float[2,4] z", 18, {}),
    "einsum of one": ('y = Einsum<equation="bij->bj">(x)', "float[2,3,4] x", 18, {}),
    "batches on the right": ("y = MatMul(x, z)", "float[1,3,4,5] x, float[2,3,5,6] z", 18, {}),
    "batches on the left": ("y = MatMul(x, z)", "float[2,3,4,5] x, float[5,6] z", 18, {}),
    "a matrix a head": ("y = MatMul(x, w)", "float[2,3,4,5] x", 18, {"w": NORMAL(3, 5, 6)}),
    "a matrix a head, from the left": ("y = MatMul(w, x)", "float[2,3,5,6] x", 18, {"w": NORMAL(3, 4, 5)}),
    "weights along the batch": ("y = MatMul(w, x)", "float[2,5,6] x", 18, {"w": NORMAL(2, 4, 5)}),
    "weights of more axes": ("y = MatMul(x, w)", "float[4,5] x", 18, {"w": NORMAL(3, 5, 6)}),
    "a vector": ("y = MatMul(x, w)", "float[2,3,5] x", 18, {"w": NORMAL(5)}),
    "a transposed operand": (
        "y = Gemm<transA=1, transB=1, alpha=0.5>(x, w, b)", "float[6,2] x", 18, {"w": NORMAL(5, 6), "b": NORMAL(5)},
    ),
    "a constant on the left": ("y = Gemm(w, x)", "float[6,2] x", 18, {"w": NORMAL(5, 6)}),
    # windows
    "a volume": (
        "y = Conv<pads=[1,1,1,1,1,0], strides=[1,2,1]>(x, w, b)", VOLUME, 18, {"w": NORMAL(4, 3, 3, 3, 3), "b": NORMAL(4)},
    ),
    "a volume in groups": ("y = Conv<group=3, dilations=[2,1,1]>(x, w)", VOLUME, 18, {"w": NORMAL(6, 1, 2, 3, 3)}),
    "maxima of a volume": ("y = MaxPool<kernel_shape=[2,2,2], strides=[2,1,2], ceil_mode=1>(x)", VOLUME, 18, {}),
    "means of a volume": ("y = AveragePool<kernel_shape=[2,3,2], pads=[1,1,1,0,1,1]>(x)", VOLUME, 18, {}),
    "the mean of a volume": ("y = GlobalAveragePool(x)", VOLUME, 18, {}),
    # normalizations and reductions
    "instances": ("y = InstanceNormalization(x, g, b)", IMAGE, 18, {"g": NORMAL(4), "b": NORMAL(4)}),
    "lengths": ("y = LpNormalization<axis=1>(x)", ROWS, 18, {}),
    "several axes": ("y = LayerNormalization<axis=1>(x, g, b)", SEQUENCE, 18, {"g": NORMAL(5, 8), "b": NORMAL(5, 8)}),
    "simplified": ("y = SimplifiedLayerNormalization(x, g)", SEQUENCE, 18, {"g": NORMAL(8)}),
    "a norm of old": ("y = ReduceL2<axes=[2], keepdims=0>(x)", SEQUENCE, 11, {}),
    "a sum of exponentials": ("y = ReduceLogSumExp(x, a)", SEQUENCE, 18, {"a": I64(1)}),
    "a product": ("y = ReduceProd(x, a)", SEQUENCE, 18, {"a": I64(1)}),
    # layouts and places
    "depth to space": ("y = DepthToSpace<blocksize=2>(x)", IMAGE, 18, {}),
    "columns first": ('y = DepthToSpace<blocksize=2, mode="CRD">(x)', IMAGE, 18, {}),
    "space to depth": ("y = SpaceToDepth<blocksize=2>(x)", IMAGE, 18, {}),
    "a triangle": ("y = Trilu<upper=0>(x, k)", "float[2,5,5] x", 18, {"k": np.int64(1)}),
    "one of many": ("i = ArgMax<axis=1, keepdims=0>(x) y = OneHot(i, d, v)", ROWS, 18, {"d": np.int64(6), "v": F32(0.5, 2)}),
    "pads of another number": ("y = Pad(x, p, v)", IMAGE, 18, {"p": I64(0, 0, 1, 1, 0, 0, 1, 2), "v": np.float32(2.5)}),
    "sums": ("y = CumSum(x, a)", SEQUENCE, 18, {"a": np.int64(1)}),
    "sums from behind": ("y = CumSum<exclusive=1, reverse=1>(x, a)", SEQUENCE, 18, {"a": np.int64(2)}),
    "the largest": ("y, i = TopK(x, k)", ROWS, 18, {"k": I64(3)}),
    "where the largest are": ("v, i = TopK<largest=0>(x, k) y = Cast<to=1>(i)", ROWS, 18, {"k": I64(3)}),
    "where the largest is": ("i = ArgMax<axis=1>(x) y = GatherElements<axis=1>(x, i)", ROWS, 18, {}),
    "rows that are computed": ("i = ArgMin<axis=1, keepdims=0>(x) y = Gather(t, i)", ROWS, 18, {"t": NORMAL(6, 4)}),
    "places of two numbers": ("y = GatherND<batch_dims=1>(x, i)", SEQUENCE, 18, {"i": I64(0, 1, 4, 7).reshape(2, 1, 2)}),
    "what is put": ("y = ScatterND(x, i, u)", "float[1,6] x, float[1,2] u", 18, {"i": I64(0, 1, 0, 3).reshape(1, 2, 2)}),
    "what is added": ('y = ScatterElements<axis=1, reduction="add">(x, i, u)', "float[2,6] x, float[2,2] u", 18,
                      {"i": I64(0, 1, 3, 2).reshape(2, 2)}),
    "a choice of what is computed": ("s = ReduceMax<keepdims=0>(x) g = Greater(x, z) y = Where(g, x, s)", "float[1,6] x", 13,
                                     {"z": np.float32(0)}),
    "a remainder": ("y = Mod<fmod=1>(x, z)", ROWS, 18, {"z": np.float32(1.5)}),
}  # fmt: skip


def given_to(proto: onnx.ModelProto) -> dict[str, Any]:
    """Numbers for every input: normal ones, or small whole ones."""
    given = {}
    for entry in proto.graph.input:
        shape = [dim.dim_value for dim in entry.type.tensor_type.shape.dim]
        kind = onnx.helper.tensor_dtype_to_np_dtype(entry.type.tensor_type.elem_type)
        given[entry.name] = NORMAL(*shape) if kind == np.float32 else np.arange(np.prod(shape)).reshape(shape).astype(kind) % 2
    return given


@pytest.mark.parametrize("case", CASES)
def test_numbers_and_macs(case: str, tmp_path: Path) -> None:
    body, inputs, opset, weights = CASES[case]
    made = body.split(" = ")[0].split(", ")
    outputs = ", ".join(name for name in made if name in ("y", "p", "q")) or "y"
    proto = model(body, inputs, output=outputs, opset=opset, **weights)
    path = save(tmp_path, proto)
    agrees(path, **given_to(proto))
    assert read_onnx(path).macs == macs(proto)


@settings(max_examples=8, deadline=None)
@given(
    mode=st.sampled_from(["linear", "cubic"]),
    at=st.sampled_from(["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric"]),
    factors=st.tuples(st.sampled_from([0.5, 0.7, 1.0, 1.5, 2.0, 2.3]), st.sampled_from([0.5, 1.3, 3.0])),
    exclude=st.booleans(), slope=st.sampled_from([-0.75, -0.5]), antialias=st.booleans(),
)  # fmt: skip
def test_between_rows(mode: str, at: str, factors: tuple[float, float], exclude: bool, slope: float, antialias: bool,
                      tmp_path_factory: pytest.TempPathFactory) -> None:  # fmt: skip
    """Resize between rows and columns is onnxruntime's, whatever the modes."""
    antialias = antialias and at == "half_pixel" and max(factors) <= 1
    more = f", exclude_outside={int(exclude)}, cubic_coeff_a={slope}" if mode == "cubic" else ""
    body = f'y = Resize<mode="{mode}", coordinate_transformation_mode="{at}", antialias={int(antialias)}{more}>(x, , k)'
    proto = model(body, IMAGE, opset=19, k=F32(1, 1, *factors))
    agrees(save(tmp_path_factory.mktemp("resize"), proto), **given_to(proto))


def test_a_cropped_region(tmp_path: Path) -> None:
    body = """y = Resize<mode="linear", coordinate_transformation_mode="tf_crop_and_resize", extrapolation_value=7.0>(x, r, k)"""
    proto = model(body, IMAGE, opset=19, r=F32(0, 0, -0.2, 0.2, 1, 1, 0.8, 0.9), k=F32(1, 1, 2, 1.5))
    agrees(save(tmp_path, proto), **given_to(proto))


@pytest.mark.parametrize("mode", ["nearest", "linear"])
def test_other_images_than_two_sided_ones(mode: str, tmp_path: Path) -> None:
    for inputs, factors in (("float[1,4,7] x", (1, 1, 2)), (VOLUME, (1, 1, 2, 2, 2))):
        proto = model(f'y = Resize<mode="{mode}">(x, , k)', inputs, opset=19, k=F32(*factors))
        agrees(save(tmp_path, proto), **given_to(proto))


# Operators that onnxruntime does not run on a processor, or whose scales are computed: multiply-accumulates alone.
COUNTED: dict[str, Case] = {
    "as it runs": (
        f"y = {MS}DynamicQuantizeMatMul(x, w, s, z)", ROWS, 18,
        {"w": np.zeros((6, 5), np.int8), "s": F32(0.1), "z": np.int8([0])},
    ),
    "integers to floats": (
        f"a, s, z = DynamicQuantizeLinear(x) y = {MS}MatMulIntegerToFloat(a, w, s, ws, z, wz)", ROWS, 18,
        {"w": np.zeros((6, 5), np.int8), "ws": np.ones(5, np.float32), "wz": np.zeros(5, np.int8)},
    ),
    "attention of integers": (
        f"q = QuantizeLinear(x, s, z) y = {MS}QAttention<num_heads=2>(q, w, b, s, s, m, z, v)", SEQUENCE, 18,
        {"w": np.zeros((8, 24), np.int8), "b": (24,), "s": np.float32(0.1), "m": np.int32([5, 5]), "z": np.uint8(3),
         "v": np.int8(0)},
    ),
    "a transposed product": (f"y = {MS}TransposeMatMul<transB=1>(x, z)", "float[2,3,4] x, float[2,5,4] z", 18, {}),
    "a product and its activation": (f'y = {MS}FusedGemm<activation="Relu">(x, w)', ROWS, 18, {"w": (6, 5)}),
}  # fmt: skip


@pytest.mark.parametrize("case", COUNTED)
def test_macs_alone(case: str, tmp_path: Path) -> None:
    body, inputs, opset, weights = COUNTED[case]
    proto = model(body, inputs, opset=opset, **weights)
    shapes = {"q": (2, 5, 8), "a": (2, 6)}
    for name, shape in shapes.items():  # what stands before an operator of com.microsoft
        proto.graph.value_info.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.UINT8, shape))
    assert read_onnx(save(tmp_path, proto)).macs == macs(proto) > 0


def test_a_cache_that_may_be_fuller_is_said(tmp_path: Path) -> None:
    body = f"y = {MS}GroupQueryAttention<{GROUPS}>(x, k, v, a, c, l, t)"
    inputs = "float[1,1,32] x, float[1,1,16] k, float[1,1,16] v, float[1,2,6,8] a, float[1,2,6,8] c, int32[1] l, int32 t"
    notes = read_onnx_with_notes(save(tmp_path, model(body, inputs)))[1]
    assert any("its cache is taken to be full, 6 positions" in note for note in notes)


# --- conditions that are computed ---

BRANCHES = """<ir_version: 8, opset_import: ["" : 17]> g (float[2,6] x) => (float[2,4] y) {
    m = MatMul(x, w) t = ReduceMax<keepdims=0>(m) big = Greater(t, zero)
    y = If (big) <then_branch = a () => (float[2,4] p) { p = MatMul(m, v) },
                  else_branch = b () => (float[2,4] q) { q = Identity(m) }>
}"""


def branches(tmp_path: Path) -> Path:
    proto = onnx.parser.parse_model(BRANCHES)
    for name, value in {"w": NORMAL(6, 4), "v": NORMAL(4, 4), "zero": np.float32(0)}.items():
        proto.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), name))
    return save(tmp_path, proto)


def test_a_computed_condition_is_asked_for(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--dim big=NUMBER"):
        read_onnx(branches(tmp_path))


def test_what_a_computed_condition_is_taken_for(tmp_path: Path) -> None:
    """The branch that is named runs, and what computes the condition runs all the same."""
    path = branches(tmp_path)
    network, notes = read_onnx_with_notes(path, {"big": 1})
    assert network.macs == 2 * 6 * 4 + 2 * 4 * 4
    assert any("big is computed, and is taken for 1" in note for note in notes)
    assert "greater" in {layer.op.op for layer in network.layers}
    assert read_onnx(path, {"big": 0}).macs == 2 * 6 * 4


def test_no_size_is_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = save(tmp_path, model("y = Relu(x)", "float[2,n] x"))
    assert main(["simulate", str(path), "--arch", "tpu_v1", "--dim", "n=0"]) == 2
    assert "n: is 0, must be a whole number of at least 1" in capsys.readouterr().err
