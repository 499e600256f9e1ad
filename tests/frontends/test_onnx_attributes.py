"""Is every attribute and input of every operator that is read looked at, in every version of ONNX?"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx.defs import OpSchema
from onnx_models import model, save

from accelsim.errors import InputError
from accelsim.frontends._onnx_forms import FORMS, MICROSOFT
from accelsim.frontends._onnx_model import QUANTIZED, OnnxFile
from accelsim.frontends._onnx_rules import MANY, OPERATORS, QUANTIZED_ONLY, REFUSALS
from accelsim.frontends._onnx_rules import MICROSOFT as TABLE
from accelsim.frontends.onnx import read_onnx, read_onnx_with_notes

IMAGE, ROWS, SEQUENCE = "float[2,4,6,6] x", "float[2,6] x", "float[5,2,6] x"
I64 = lambda *values: np.array(values, np.int64)  # noqa: E731
F32 = lambda *values: np.array(values, np.float32)  # noqa: E731
ONE = np.float32(0.5)

VERSIONS: dict[str, list[OpSchema]] = defaultdict(list)
for _schema in onnx.defs.get_all_schemas_with_history():
    if _schema.domain == "":
        VERSIONS[_schema.name].append(_schema)


@pytest.mark.parametrize("op", sorted({*OPERATORS, *(kind for kind in QUANTIZED if kind in VERSIONS)}))
def test_the_table_has_every_attribute_and_input(op: str) -> None:
    entry = OPERATORS[QUANTIZED[op].op if op in QUANTIZED else op]
    for schema in VERSIONS[op]:
        missing = set(schema.attributes) - entry.attributes
        assert not missing, f"{op}, opset {schema.since_version}: nobody looks at {missing}"
        if op not in QUANTIZED and len(schema.inputs):
            variadic = schema.inputs[-1].option == OpSchema.FormalParameterOption.Variadic
            assert entry.inputs >= (MANY if variadic else schema.max_input), f"{op}, opset {schema.since_version}"


def test_the_runtimes_own_attributes_are_in_the_table_too() -> None:
    """Those of com.microsoft; in the order of the runtime's own list of its operators."""
    state = pytest.importorskip("onnxruntime.capi.onnxruntime_pybind11_state")
    read = {*QUANTIZED, *MICROSOFT, *FORMS}
    schemas = [s for s in state.get_all_operator_schema() if s.domain == "com.microsoft" and s.name in read]
    for schema in schemas:
        plain = QUANTIZED[schema.name].op if schema.name in QUANTIZED else schema.name
        entry = TABLE.get(schema.name) or OPERATORS[plain]
        missing = set(schema.attributes) - entry.attributes - {QUANTIZED_ONLY.get(plain, "")}
        assert not missing, f"{schema.name}: nobody looks at {missing}"
    assert {*MICROSOFT} <= {schema.name for schema in schemas}


# What a rule reads is read in one of these: (nodes, inputs, weights, opset).
_FLAT, _LIST = {"w": (6, 5)}, {"axes": I64(1)}
SAMPLES: dict[str, list[tuple[str, str, dict[str, Any], int]]] = {
    "Conv": [("y = Conv(x, w)", IMAGE, {"w": (4, 4, 3, 3)}, 21)],
    "Gemm": [("y = Gemm(x, w)", ROWS, {"w": (6, 5)}, 21)],
    "LSTM": [("y = LSTM<hidden_size=5>(x, w, r)", SEQUENCE, {"w": (1, 20, 6), "r": (1, 20, 5)}, 21)],
    "GRU": [("y = GRU<hidden_size=5>(x, w, r)", SEQUENCE, {"w": (1, 15, 6), "r": (1, 15, 5)}, 21)],
    "MaxPool": [("y = MaxPool<kernel_shape=[2,2]>(x)", IMAGE, {}, 21)],
    "AveragePool": [("y = AveragePool<kernel_shape=[2,2]>(x)", IMAGE, {}, 21)],
    "Pad": [
        ("y = Pad(x, p)", IMAGE, {"p": I64(0, 0, 1, 1, 0, 0, 1, 1)}, 21),
        ("y = Pad<paddings=[0,0,1,1,0,0,1,1]>(x)", IMAGE, {}, 1),
    ],
    "Resize": [
        ("y = Resize(x, n, k)", IMAGE, {"n": (0,), "k": F32(1, 1, 2, 2)}, 21),
        ("y = Resize<axes=[2,3]>(x, n, n, k)", IMAGE, {"n": (0,), "k": I64(12, 12)}, 21),
        ("y = Resize(x, n, n, k)", IMAGE, {"n": (0,), "k": I64(2, 4, 12, 12)}, 21),
    ],
    "Upsample": [
        ("y = Upsample(x, k)", IMAGE, {"k": F32(1, 1, 2, 2)}, 9), ("y = Upsample<scales=[1.0,1.0,2.0,2.0]>(x)", IMAGE, {}, 7),
    ],
    "RNN": [("y = RNN<hidden_size=5>(x, w, r)", SEQUENCE, {"w": (1, 5, 6), "r": (1, 5, 5)}, 21)],
    "ConvTranspose": [("y = ConvTranspose(x, w)", IMAGE, {"w": (4, 4, 3, 3)}, 21)],
    "Einsum": [('y = Einsum<equation="ij->ji">(x)', ROWS, {}, 21)],
    "InstanceNormalization": [("y = InstanceNormalization(x, g, g)", IMAGE, {"g": (4,)}, 21)],
    "SimplifiedLayerNormalization": [("y = SimplifiedLayerNormalization(x, g)", ROWS, {"g": (6,)}, 21)],
    "DepthToSpace": [("y = DepthToSpace<blocksize=2>(x)", IMAGE, {}, 21)],
    "SpaceToDepth": [("y = SpaceToDepth<blocksize=2>(x)", IMAGE, {}, 21)],
    "GatherElements": [("y = GatherElements(x, i)", ROWS, {"i": np.zeros((2, 6), np.int64)}, 21)],
    "GatherND": [("y = GatherND(x, i)", ROWS, {"i": np.zeros((2, 1), np.int64)}, 21)],
    "ScatterND": [("y = ScatterND(x, i, x)", ROWS, {"i": np.zeros((2, 1), np.int64)}, 21)],
    "ScatterElements": [("y = ScatterElements(x, i, x)", ROWS, {"i": np.zeros((2, 6), np.int64)}, 21)],
    "Scatter": [("y = Scatter(x, i, x)", ROWS, {"i": np.zeros((2, 6), np.int64)}, 10)],
    "Mod": [("y = Mod<fmod=1>(x, x)", ROWS, {}, 21)],
    "TopK": [("y, i = TopK(x, k)", ROWS, {"k": I64(2)}, 21), ("y, i = TopK<k=2>(x)", ROWS, {}, 1)],
    "CumSum": [("y = CumSum(x, k)", ROWS, {"k": np.int64(1)}, 21)],
    "OneHot": [("y = OneHot(x, d, v)", ROWS, {"d": np.int64(6), "v": F32(0, 1)}, 21)],
    "RotaryEmbedding": [("y = RotaryEmbedding(x, c, c)", "float[2,5,6] x", {"c": (2, 5, 3)}, 23)],
    "Clip": [("y = Clip(x)", ROWS, {}, 6)],
    "Cast": [("a = Cast<to=1>(x) y = Relu(a)", ROWS, {}, 21)],
    "LayerNormalization": [("y = LayerNormalization(x, g)", ROWS, {"g": (6,)}, 21)],
    "BatchNormalization": [("y = BatchNormalization(x, g, g, g, g)", IMAGE, {"g": (4,)}, 21)],
    "LRN": [("y = LRN<size=3>(x)", IMAGE, {}, 21)],
    "Concat": [("y = Concat<axis=1>(x, x)", ROWS, {}, 21)], "Split": [("y, z = Split<axis=1>(x)", ROWS, {}, 13)],
    "Slice": [("y = Slice<starts=[1], ends=[3], axes=[1]>(x)", ROWS, {}, 1)],
    "Squeeze": [("a = Unsqueeze<axes=[1]>(x) y = Squeeze<axes=[1]>(a)", ROWS, {}, 11)],
    "Unsqueeze": [("y = Unsqueeze<axes=[1]>(x)", ROWS, {}, 11)],
    "Transpose": [("y = Transpose<perm=[0,2,1]>(x)", "float[2,3,4] x", {}, 21)],
    "Gather": [("y = Gather<axis=1>(x, i)", ROWS, {"i": I64(0, 1)}, 21)],
    "Dropout": [("a = Dropout(x, r, t) y = Relu(a)", ROWS, {"r": ONE, "t": np.bool_(False)}, 21)],
    "QuantizeLinear": [("a = QuantizeLinear(x, s) y = DequantizeLinear(a, s) z = Relu(y)", ROWS, {"s": ONE}, 21)],
    "DequantizeLinear": [("a = QuantizeLinear(x, s) b = DequantizeLinear(a, s) y = Relu(b)", ROWS, {"s": ONE}, 21)],
    "Shape": [("s = Shape(x) y = Reshape(x, s)", ROWS, {}, 21)],
    "Constant": [(f"c = Constant<{key}>() y = Mul(x, c)", ROWS, {}, 21)
                 for key in ("value_float=2.0", "value_floats=[2.0]", "value=float {2.0}")]
                + [(f"c = Constant<{key}>() d = Cast<to=1>(c) y = Mul(x, d)", ROWS, {}, 21)
                   for key in ("value_int=2", "value_ints=[2]")],
    "PRelu": [("y = PRelu(x, s)", ROWS, {"s": (6,)}, 21)],
    **{op: [(f"y = {op}<broadcast=1, axis=1>(x, c)", IMAGE, {"c": (4,)}, 6)]
       for op in ("Add", "Sub", "Mul", "Div", "Pow", "Less", "Greater")},
    **{op: [(f"y = {op}<broadcast=1, axis=1>(x, c)", "bool[2,4,6,6] x", {"c": np.zeros(4, np.bool_)}, 6)]
       for op in ("Equal", "And", "Or", "Xor")},
    **{op: [(f"y = {op}<axes=[1]>(x)", ROWS, {}, 11), (f"y = {op}<noop_with_empty_axes=1>(x)", ROWS, {}, 20)]
       for op in ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin")},
}  # fmt: skip
class Watched(dict[str, Any]):
    """Attributes of a node that remember which were asked for."""

    asked: set[str]

    def get(self, key: str, default: Any = None) -> Any:
        self.asked.add(key)
        return super().get(key, default)

    def __contains__(self, key: object) -> bool:
        self.asked.add(str(key))
        return super().__contains__(key)


@pytest.mark.parametrize("op", sorted(name for name, entry in OPERATORS.items() if entry.reads))
def test_what_the_table_says_is_read_is_asked_for(op: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: set[str] = set()
    original = OnnxFile.node

    def node(self: OnnxFile, proto: Any, name: str) -> Any:
        made = original(self, proto, name)
        if made.op != op:
            return made
        watched = Watched(made.attributes)
        watched.asked = asked
        return replace(made, attributes=watched)

    monkeypatch.setattr(OnnxFile, "node", node)
    for body, inputs, weights, opset in SAMPLES.get(op) or [(f"y = {op}(x)", ROWS, {}, 24)]:
        output = "z" if " z = " in body else "y"
        try:
            read_onnx(save(tmp_path, model(body, inputs, output=output, opset=opset, **weights)))
        except InputError as error:
            assert "depends on values" in str(error) or "no layer" in str(error), error
    assert not set(OPERATORS[op].reads.split()) - asked


@pytest.mark.parametrize(
    ("body", "words"),
    [('y = BatchNormalization<training_mode=1>(x, g, g, g, g)', "training_mode is 1, must be 0"),
     ("y = Upsample<height_scale=2.0, width_scale=2.0>(x)", "height_scale is 2.0; its attribute width_scale is 2.0"),
     ('y = Resize<coordinate_transformation_mode="made_up">(x, n, k)', "coordinate_transformation_mode is 'made_up'"),
     ('y = Gelu<approximate="sine">(x)', "approximate is 'sine'"),
     ("y = Dropout(x, half, yes)", "training mode")],
)  # fmt: skip
def test_refused_by_name(body: str, words: str, tmp_path: Path) -> None:
    weights = {"g": (4,), "n": (0,), "k": F32(1, 1, 2, 2), "half": np.float32(0.5), "yes": np.bool_(True)}
    with pytest.raises(InputError, match=words):
        read_onnx(save(tmp_path, model(body, IMAGE, opset=1 if "Upsample" in body else 20, **weights)))


def test_attributes_are_refused_beside_unknown_operators(tmp_path: Path) -> None:
    body = "a = Foo(x) b = BatchNormalization<training_mode=1>(a, g, g, g, g) y = Bar(b)"
    with pytest.raises(InputError) as caught:
        read_onnx(save(tmp_path, model(body, IMAGE, g=(4,))))
    assert [fault.key for fault in caught.value.faults] == [
        f'node "{name}" (op {op}, domain ai.onnx)' for name, op in (("a", "Foo"), ("b", "BatchNormalization"), ("y", "Bar"))
    ]


def test_attributes_of_other_tools_are_said(tmp_path: Path) -> None:
    path = save(tmp_path, model("y = Conv<weight_size=8>(x, w)", IMAGE, w=(4, 4, 3, 3)))
    assert "attributes that ONNX does not know are not looked at: Conv.weight_size" in read_onnx_with_notes(path)[1][0]


_LENGTHS = {"r": (1, 20, 5), "w": (1, 20, 6), "n": np.int32([5, 3])}
_CROP = 'y = Resize<coordinate_transformation_mode="tf_crop_and_resize">(x, r, n, k)'
REFUSED: dict[str, tuple[str, str, dict[str, Any], int]] = {
    "BatchNormalization.spatial": ("y = BatchNormalization<spatial=0>(x, g, g, g, g)", IMAGE, {"g": (4,)}, 7),
    "Conv.kernel_shape": ("y = Conv<kernel_shape=[1,1]>(x, w)", IMAGE, {"w": (4, 4, 3, 3)}, 21),
    "Dropout.training_mode": ("y = Dropout(x, h, t)", ROWS, {"h": ONE, "t": np.bool_(True)}, 21),
    "GRU.sequence_lens": (
        "y = GRU<hidden_size=5>(x, w, r, , n)", SEQUENCE, _LENGTHS | {"w": (1, 15, 6), "r": (1, 15, 5)}, 21,
    ),
    "LSTM.sequence_lens": ("y = LSTM<hidden_size=5>(x, w, r, , n)", SEQUENCE, _LENGTHS, 21),
    "QuantizeLinear.precision": ("a = QuantizeLinear<precision=10>(x, s) y = DequantizeLinear(a, s)", ROWS, {"s": ONE}, 23),
    "Resize.roi": (
        _CROP, IMAGE, {"r": F32(0, 0, -0.5, 0, 1, 1, 1, 1), "n": (0,), "k": I64(2, 4, 12, 12)}, 21,
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSALS)
def test_refusals_of_operators_that_ran(what: str, tmp_path: Path) -> None:
    body, inputs, weights, opset = REFUSED[what]
    with pytest.raises(InputError, match=REFUSALS[what]):
        read_onnx(save(tmp_path, model(body, inputs, opset=opset, **weights)))


def test_refusals_do_not_grow() -> None:
    assert len(REFUSALS) == 7
