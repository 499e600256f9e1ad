"""onnxruntime made exact on every processor: without VNNI its kernels saturate sums of two products of 8 bits.

There sessions ask for exact products of uint8 activations, and graphs that the tests make have weights of 7 bits, whose
pairs of products fit. On all others nothing is changed.
"""

from __future__ import annotations

from functools import lru_cache
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper


def exact_session(model: bytes) -> Any:
    """A session whose products do not saturate; skips where there is no onnxruntime."""
    runtime = pytest.importorskip("onnxruntime")
    try:
        return _session(runtime, model, {} if _is_exact() else {"session.x64quantprecision": "1"})
    except RuntimeError:  # it has no such kernel: of int8 activations, which are exact with 7 bits alone
        return _session(runtime, model, {})


def weight_bits() -> int:
    """Bits of the weights in graphs that are made for a comparison."""
    return 8 if _is_exact() else 7


def _session(runtime: Any, model: bytes, entries: dict[str, str]) -> Any:
    options = runtime.SessionOptions()
    options.log_severity_level = 4
    for key, value in entries.items():
        options.add_session_config_entry(key, value)
    return runtime.InferenceSession(model, options, providers=["CPUExecutionProvider"])


@lru_cache(maxsize=1)
def _is_exact() -> bool:
    runtime = pytest.importorskip("onnxruntime")
    weights = numpy_helper.from_array(np.full((64, 16), 127, np.int8), "w")
    x = helper.make_tensor_value_info("x", TensorProto.UINT8, [4, 64])
    y = helper.make_tensor_value_info("y", TensorProto.INT32, None)
    graph = helper.make_graph([helper.make_node("MatMulInteger", ["x", "w"], ["y"])], "g", [x], [y], [weights])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    proto.ir_version = 8
    found = _session(runtime, proto.SerializeToString(), {}).run(None, {"x": np.full((4, 64), 255, np.uint8)})[0]
    return bool((found == 64 * 127 * 255).all())
