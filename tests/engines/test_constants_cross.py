"""Do constants and biases cross the ports like any tensor: fetched, kept where weights are, counted once?"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from builders import array, chain, formats, network_of, one_buffer
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim import load_arch, load_network, simulate
from accelsim.arch.spec import Architecture
from accelsim.report.model import LayerResult
from accelsim.workload.network import LayerSketch, Network, build_network
from accelsim.workload.ops import (
    Activation,
    BatchNorm,
    Conv2d,
    Elementwise,
    Embedding,
    LayerNorm,
    Linear,
    LocallyConnected2d,
    Op,
    Recurrent,
)

INT8 = formats()
LANES = {"lanes": 4}


def roomy(**engine: Any) -> Architecture:
    return array(4, 4, one_buffer("1 MiB", "16 B/cycle", "16 B/cycle"), vector=LANES, **engine)


def only(network: Network, arch: Architecture) -> LayerResult:
    (layer,) = simulate(network, arch).layers
    return layer


def far(layer: LayerResult, tensor: str = "weight") -> int:
    moved = next(iter(layer.traffic_bytes.values())).get(tensor)
    return 0 if moved is None else moved.read


# ---- layers without MACs -------------------------------------------------------------------------------------------


@settings(max_examples=15, deadline=None)
@given(
    sizes=st.tuples(*[st.integers(1, 40)] * 2), lanes=st.integers(1, 9), far_rate=st.integers(1, 20),
    room=st.integers(64, 4000),
)  # fmt: skip
def test_a_trained_operand_costs_what_an_input_costs(sizes: tuple[int, int], lanes: int, far_rate: int, room: int) -> None:
    arch = array(4, 4, one_buffer(f"{room} B", f"{far_rate} B/cycle", "8 B/cycle"), vector={"lanes": lanes})
    inputs = network_of(Elementwise(op="add"), sizes, sizes, precision=INT8)
    trained = network_of(Elementwise(op="add", trained=sizes[0] * sizes[1]), sizes, precision=INT8)
    one, other = only(inputs, arch), only(trained, arch)
    assert one.cycles == other.cycles
    assert one.traffic_bytes == other.traffic_bytes


CONSTANTS: list[tuple[Op, tuple[int, ...], int]] = [  # operator, input, bytes of its constants at 8 bits (32 for sums)
    (Elementwise(op="mul", value=0.5), (6, 8), 0),  # in the instruction
    (Elementwise(op="mul", trained=8), (6, 8), 8),
    (Activation(op="leaky_relu", alpha=0.1), (6, 8), 0),
    (Activation(op="prelu", trained=6), (6, 8, 8), 6),
    (LayerNorm(), (6, 8), 16),
    (BatchNorm(), (6, 8, 8), 12),
    (Embedding(rows=1000, features=8), (6,), 48),  # the rows that are looked up
]


@pytest.mark.parametrize(("op", "shape", "constants"), CONSTANTS, ids=lambda value: getattr(value, "op", None))
def test_what_is_fetched_is_read_from_its_level(op: Op, shape: tuple[int, ...], constants: int) -> None:
    layer = only(network_of(op, shape, precision=INT8), roomy())
    given = int(np.prod(shape))
    assert far(layer, "input") == given + constants
    assert layer.traffic_bytes["buffer"]["input"].read == given + constants
    assert layer.traffic_bytes["buffer"]["input"].write == given + constants


def test_a_constant_from_a_file_has_as_many_as_the_file(tmp_path: Path) -> None:
    np.save(tmp_path / "m.npy", np.ones((6, 8), np.int8))
    head = "schema: accelsim.network/1\nname: n\ninputs: {x: [6, 8]}\nlayers:\n"
    (tmp_path / "n.yaml").write_text(head + "  - {name: y, op: add, after: [x], weight: {file: m.npy}}\n")
    assert far(only(load_network(tmp_path / "n.yaml"), roomy()), "input") == 96


# ---- biases --------------------------------------------------------------------------------------------------------

BIASED: list[tuple[dict[str, Any], type[Op], tuple[int, ...], int]] = [  # fields, operator, input, biases
    ({"out": 9}, Linear, (12,), 9),
    ({"K": 8, "R": 3, "S": 3, "pad": 1}, Conv2d, (4, 6, 6), 8),
    ({"K": 8, "R": 2, "S": 2, "groups": 4}, Conv2d, (8, 5, 5), 8),
    ({"K": 3, "R": 2, "S": 2}, LocallyConnected2d, (2, 4, 5), 3 * 3 * 4),
    ({"op": "lstm", "hidden": 5}, Recurrent, (3, 6), 20),
]


@pytest.mark.parametrize(("fields", "kind", "shape", "biases"), BIASED)
@pytest.mark.parametrize("dataflow", ["ws", "os", "is"])
def test_biases_come_with_the_weights_once(
    fields: dict[str, Any], kind: type[Op], shape: tuple[int, ...], biases: int, dataflow: str
) -> None:
    plain, biased = (
        only(network_of(kind(**fields, bias=bias), shape, precision=INT8), roomy(dataflow=dataflow)) for bias in (False, True)
    )
    assert far(biased) - far(plain) == 4 * biases  # as wide as the accumulators
    assert far(biased) - far(plain) == 4 * (biased.weights.parameters - plain.weights.parameters)  # type: ignore[union-attr]
    inside = [layer.traffic_bytes["buffer"]["weight"] for layer in (plain, biased)]
    assert inside[1].write - inside[0].write == 4 * biases
    assert inside[1].read - inside[0].read >= 4 * biases


@settings(max_examples=12, deadline=None)
@given(
    case=st.sampled_from(BIASED), batch=st.integers(1, 3), room=st.sampled_from([160, 400, 2000]),
    dataflow=st.sampled_from(["ws", "os", "is"]), rate=st.integers(1, 8),
)  # fmt: skip
def test_every_tensor_crosses_the_far_port_at_least_once(case: Any, batch: int, room: int, dataflow: str, rate: int) -> None:
    fields, kind, shape, biases = case
    network = network_of(kind(**fields), shape, batch=batch, precision=INT8)
    memory = one_buffer(f"{room} B", f"{rate} B/cycle", "8 B/cycle")
    layer, net = only(network, array(3, 4, memory, vector=LANES, dataflow=dataflow)), network.layers[0]
    assert far(layer) >= net.parameters - biases + 4 * biases
    assert far(layer, "input") * 8 >= np.prod(net.input_shapes[0]) or isinstance(net.op, Conv2d | LocallyConnected2d)
    assert layer.cycles * rate >= sum(t.read + t.write for t in layer.traffic_bytes["dram"].values())


@pytest.mark.parametrize("name", ["tpu_v1", "gemmini_16x16", "diannao", "eyeriss_like", "scalesim"])
def test_a_linear_layer_on_every_architecture(name: str) -> None:
    arch = load_arch(name, overrides={"arch.engine.precision.int8": 1})
    plain, biased = (only(network_of(Linear(out=512, bias=b), (256,), precision=INT8), arch) for b in (False, True))
    width = 2 if name == "diannao" else 4  # its sums have 16 bits
    assert far(biased) - far(plain) == 512 * width
    assert biased.energy_total_pj > plain.energy_total_pj or name == "scalesim"
    assert biased.roofline.intensity_ops_per_byte < plain.roofline.intensity_ops_per_byte  # type: ignore[operator]


def test_weights_that_are_there_have_their_biases_with_them() -> None:
    arch = load_arch("dadiannao")
    network = network_of(Linear(out=64), (64,), precision=formats("int16", output="int16"))
    assert far(only(network, arch)) == 0


def test_a_batch_norm_that_is_folded_leaves_its_shift_as_a_bias() -> None:
    conv = Conv2d(K=8, R=3, S=3, bias=False)
    folded = simulate(chain(("a", conv), ("n", BatchNorm()), inputs={"x": (4, 6, 6)}), roomy()).layer("a")
    alone = simulate(chain(("a", conv), inputs={"x": (4, 6, 6)}), roomy()).layer("a")
    assert far(folded) - far(alone) == 4 * 8


def test_peepholes_are_fetched_once_for_all_steps() -> None:
    def network(peepholes: bool, steps: int) -> Network:
        sketch = LayerSketch("y", Recurrent(op="lstm", hidden=5, peepholes=peepholes), ("x",), INT8)
        return build_network("n", 1, {"x": (steps, 6)}, (sketch,))

    for steps in (1, 4):
        without, with_them = (only(network(p, steps), roomy()) for p in (False, True))
        assert far(with_them, "input") - far(without, "input") == 15


@pytest.mark.parametrize("name", ["winograd_f2x2"])
def test_a_transform_fetches_its_biases(name: Any) -> None:
    def moved(bias: bool) -> int:
        arch = array(4, 4, one_buffer("1 MiB"), vector=LANES, precision={"int8": 1, "int16": 1})
        network = network_of(Conv2d(K=8, R=3, S=3, algorithm=name, bias=bias), (4, 6, 6), precision=INT8)
        return sum(far(layer, "input") for layer in simulate(network, arch).layers)

    assert moved(True) - moved(False) == 4 * 8
