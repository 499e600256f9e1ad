"""Is everything that cannot be read said, all at once, in words that help, and never by a traceback?"""



from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx_models import LIGHT, QDQ_CONV, model, quantized_weights, save

from accelsim.errors import InputError
from accelsim.frontends.onnx import initializers, read_onnx
from accelsim.workload.network import Network

IMAGE = "float[2,8,16,16] x"
I64 = lambda *values: np.array(values, np.int64)  # noqa: E731


def faults(path: Path) -> list[str]:
    with pytest.raises(InputError) as caught:
        read_onnx(path)
    return [str(fault).removeprefix(f"{path}: ") for fault in caught.value.faults]


def test_every_unknown_operator_is_named_at_once(tmp_path: Path) -> None:
    body = (
        "a = Foo(x) b = Relu(a) c = Det(b) s = Shape(c) e = Equal(s, s) d = made.up.Bar(c) y = Add(d, x)"
    )
    found = faults(save(tmp_path, model(body, IMAGE)))
    rest = "is not modelled; replace it in the model, or cut it off (onnx.utils.extract_model)"
    assert found == [
        f'node "a" (op Foo, domain ai.onnx): {rest}',
        f'node "c" (op Det, domain ai.onnx): {rest}',
        f'node "d" (op Bar, domain made.up): {rest}',
    ]


# nodes, input, weights, words that the fault must have
REFUSED: dict[str, tuple[str, str, dict[str, Any], str]] = {
    "computed weights": ("a = Relu(z) y = Conv(x, a)", f"{IMAGE}, float[2,8,3,3] z", {}, "its weights come out of the network"),
    "pool indices": ("p, i = MaxPool<kernel_shape=[2,2]>(x) f = Cast<to=1>(i) y = Add(p, f)", IMAGE, {}, "the indices"),
    "as many as there are": ("n = NonZero(x) f = Cast<to=1>(n) y = Relu(f)", IMAGE, {}, "how much it gives depends on"),
    "too many steps": (
        "a, h, y = LSTM<hidden_size=5>(x, w, r)", "float[1025,2,16] x", {"w": (1, 20, 16), "r": (1, 20, 5)}, "it runs 1025 steps",
    ),
    "weights that do not fit": ("y = Conv(x, w)", IMAGE, {"w": (4, 7, 3, 3)}, "does not fit"),
    "undefined name": ("y = Add(x, nowhere)", IMAGE, {}, 'reads "nowhere", which nothing before it makes'),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_refused(case: str, tmp_path: Path) -> None:
    body, inputs, weights, words = REFUSED[case]
    found = faults(save(tmp_path, model(body, inputs, **weights)))
    assert len(found) == 1
    assert words in found[0]
    assert found[0].startswith('node "')


def test_scales_of_another_size_in_an_old_opset(tmp_path: Path) -> None:
    """ONNX's inference did not compare them before opset 14."""
    proto = model("y = BatchNormalization(x, g, g, m, g)", IMAGE, opset=9, g=(8,), m=(9,))
    assert "does not go with scale [8], shift [8], mean [9], variance [8]" in faults(save(tmp_path, proto))[0]


def test_open_shapes(tmp_path: Path) -> None:
    found = faults(save(tmp_path, model("y = Relu(x)", "float[N,3,height,width] x")))
    assert found == [
        'input "x": has no number for height, width; say --dim height=SIZE --dim width=SIZE'
    ]


def test_no_layer(tmp_path: Path) -> None:
    assert "has no layer" in faults(save(tmp_path, model("y = Identity(x)", IMAGE)))[0]


@pytest.mark.parametrize(
    "content", [b"", b"not a model", b"\x00" * 64, b'{"graph": {}}', "schéma: é".encode()]
)
def test_no_onnx_at_all(content: bytes, tmp_path: Path) -> None:
    path = tmp_path / "net.onnx"
    path.write_bytes(content)
    assert faults(path)[0].startswith("is not an ONNX model")


def test_missing_file_and_folder(tmp_path: Path) -> None:
    assert faults(tmp_path / "none.onnx") == ["no such file"]
    assert faults(tmp_path) == ["is a directory, must be a file"]


def test_without_the_extra(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = save(tmp_path, model("y = Relu(x)", IMAGE))
    monkeypatch.setitem(sys.modules, "onnx", None)
    assert "accelsim[onnx]" in faults(path)[0]


def test_importing_the_reader_does_not_import_onnx() -> None:
    import subprocess

    code = "import sys, accelsim.frontends.onnx; sys.exit('onnx' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


SEEDS = [
    (LIGHT / "light_squeezenet.onnx").read_bytes(),
    (LIGHT / "light_bvlc_alexnet.onnx").read_bytes(),
    model(QDQ_CONV, "float[1,3,8,8] x", **quantized_weights()).SerializeToString(),
    model(
        "a = Slice(x, s, e) b = Reshape(a, r) y = Softmax(b)", IMAGE, s=I64(0, 1), e=I64(2, 4), r=I64(2, -1)
    ).SerializeToString(),
]


def network_or_faults(folder: Path, data: bytes) -> None:
    path = folder / "fuzz.onnx"
    path.write_bytes(data)
    with contextlib.suppress(InputError):
        assert isinstance(read_onnx(path), Network)
        initializers(path)


def fuzz(function: Any) -> Any:
    return settings(
        max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )(function)


@fuzz
@given(seed=st.sampled_from(SEEDS), cut=st.floats(0, 1))
def test_truncated_models(seed: bytes, cut: float, tmp_path: Path) -> None:
    network_or_faults(tmp_path, seed[: int(cut * len(seed))])


@fuzz
@given(
    seed=st.sampled_from(SEEDS),
    places=st.lists(st.tuples(st.floats(0, 0.999), st.integers(0, 255)), min_size=1, max_size=4),
)
def test_damaged_models(seed: bytes, places: list[tuple[float, int]], tmp_path: Path) -> None:
    data = bytearray(seed)
    for place, value in places:
        data[int(place * len(data))] = value
    network_or_faults(tmp_path, bytes(data))


@fuzz
@given(data=st.binary(max_size=300))
def test_random_bytes(data: bytes, tmp_path: Path) -> None:
    network_or_faults(tmp_path, data)
