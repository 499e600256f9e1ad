"""What the installed onnxruntime does on this processor."""

from __future__ import annotations

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper


def need_exact_runtime() -> None:
    """Skip where there is no onnxruntime, or where it is not exact: without VNNI it saturates pairs of products."""
    runtime = pytest.importorskip("onnxruntime")
    weights = numpy_helper.from_array(np.full((64, 16), 127, np.int8), "w")
    x = helper.make_tensor_value_info("x", TensorProto.UINT8, [4, 64])
    y = helper.make_tensor_value_info("y", TensorProto.INT32, None)
    graph = helper.make_graph([helper.make_node("MatMulInteger", ["x", "w"], ["y"])], "g", [x], [y], [weights])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    proto.ir_version = 8
    session = runtime.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"])
    if (session.run(None, {"x": np.full((4, 64), 255, np.uint8)})[0] != 64 * 127 * 255).any():
        pytest.skip("onnxruntime saturates sums of products on this processor", allow_module_level=True)
