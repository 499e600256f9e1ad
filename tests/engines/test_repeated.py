"""Do the steps of a recurrent layer take the port no more than there is time?"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelsim.api import simulate
from accelsim.workload.network import LayerSketch, build_network
from accelsim.workload.ops import Linear, Recurrent
from accelsim.workload.precision import Precision

ARCHS = ["zhang2015", "tpu_v1", "gemmini_16x16", "diannao", "eyeriss_like"]


@pytest.mark.parametrize("arch", ARCHS)
@given(st.integers(2, 9), st.sampled_from([4, 16, 40]), st.sampled_from([8, 16, 33]))
def test_steps_keep_the_laws(arch: str, steps: int, features: int, hidden: int) -> None:
    """The laws are checked in the run. A step's loads may run ahead into the step before; not all of them all the time."""
    sketches = (
        LayerSketch("steps", Recurrent(op="lstm", hidden=hidden), ("x",), Precision()),
        LayerSketch("out", Linear(out=hidden), ("steps",), Precision()),
    )
    simulate(build_network("recurrent", 1, {"x": (steps, features)}, sketches), arch)
