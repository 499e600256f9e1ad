"""The digits network and its data, and small networks with weights in memory."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from accelsim.api import load_network
from accelsim.compression.arrays import FLOATS, as_float
from accelsim.workload.network import LayerSketch, Network, build_network
from accelsim.workload.ops import OPERATOR_BY_NAME

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def data() -> dict[str, Any]:
    with np.load(ROOT / "workloads" / "digits_data.npz") as arrays:
        return dict(arrays)


@pytest.fixture(scope="session")
def digits() -> Network:
    return as_float(load_network("digits"))


Build = Callable[..., Network]


@pytest.fixture
def build() -> Build:
    """``build((3, 8, 8), ("c", "conv2d", {...}), ("r", "relu", {}, ["c"]))``: float, weights seeded."""

    def made(shape: tuple[int, ...], *layers: tuple[Any, ...]) -> Network:
        sketches = [
            LayerSketch(
                name, OPERATOR_BY_NAME[op].model_validate({"op": op, **fields}),
                tuple(after[0]) if after else (("x",) if not i else None), FLOATS,
            )
            for i, (name, op, fields, *after) in enumerate(layers)
        ]  # fmt: skip
        return as_float(build_network("net", 2, {"x": shape}, tuple(sketches)))

    return made
