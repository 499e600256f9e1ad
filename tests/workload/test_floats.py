"""Are floats rounded to their formats as they are read and as they are written, to nearest, ties to even, once?"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from builders import array, formats
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim.api import simulate_full
from accelsim.errors import InputError
from accelsim.workload.floats import fits, rounded
from accelsim.workload.functional import run_reference
from accelsim.workload.network import Held, LayerSketch, Network, Provided, build_network
from accelsim.workload.ops import OPERATOR_BY_NAME, Elementwise, Linear, Recurrent
from accelsim.workload.precision import NumberFormat, parse_format
from accelsim.workload.values import input_values, weight_values

ml_dtypes = pytest.importorskip("ml_dtypes")
TYPES = {"bf16": ml_dtypes.bfloat16, "fp16": np.float16, "fp8": ml_dtypes.float8_e4m3fn}
MACHINE = array(4, 4, vector={"lanes": 4}, precision={"bf16": 1, "fp16": 1, "fp8": 1, "fp32": 1})


def as_type(values: Any, name: str) -> Any:
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(values).astype(TYPES[name]).astype(np.float32)


@pytest.mark.parametrize("name", TYPES)
@given(bits=st.lists(st.integers(0, 2**32 - 1), min_size=1, max_size=50))
def test_every_float32(name: str, bits: list[int]) -> None:
    values = np.array(bits, np.uint32).view(np.float32)
    found, wanted = rounded(values, parse_format(name)), as_type(values, name)
    if name == "fp8":  # E4M3 has no infinity: here it saturates, there it is not-a-number
        wanted = np.where(np.isnan(wanted) & ~np.isnan(values), np.copysign(np.float32(448), values), wanted)
    np.testing.assert_array_equal(found, wanted)
    known = ~np.isnan(wanted)
    np.testing.assert_array_equal(np.signbit(found)[known], np.signbit(wanted)[known])


@pytest.mark.parametrize("name", ["bf16", "fp16"])
@given(values=st.lists(st.floats(width=64, allow_nan=False), min_size=1))
def test_a_double_is_rounded_once(name: str, values: list[float]) -> None:
    """By way of float32 a number just above a tie would lose what breaks it."""
    found, to = rounded(np.array(values), parse_format(name)), parse_format(name)
    for value, one in zip(values, found.astype(np.float64), strict=True):
        if np.isfinite(one) and one != value:
            beyond = np.float64(one) + (1e-3 if value > one else -1e-3) * max(abs(one), 2.0**-30)
            assert rounded(np.array([one]), to)[0] == one
            assert abs(value - one) <= abs(value - rounded(np.array([beyond]), to)[0].astype(np.float64)) or beyond == one


def test_just_above_a_tie() -> None:
    value = 1 + 2.0**-8 + 2.0**-40
    assert rounded(np.array([value]), NumberFormat("bf", 16))[0] == 1 + 2.0**-7
    assert rounded(np.array([1 + 2.0**-8]), NumberFormat("bf", 16))[0] == 1


@pytest.mark.parametrize(
    ("name", "largest", "above"), [("fp16", 65_519.0, 65_520.0), ("bf16", 3.38953e38, 3.3962e38), ("fp8", 464.0, 465.0)]
)
def test_what_fits(name: str, largest: float, above: float) -> None:
    assert fits(np.array([largest, -largest, 0.0, 1e-30]), parse_format(name)).all()
    assert not fits(np.array([above, -above, np.inf, -np.inf, np.nan]), parse_format(name)).any()


# ---- layers -----------------------------------------------------------------------------------------------------


def linear(weight: Any, format_name: str, output: str | None = None) -> Network:
    weight = np.asarray(weight, np.float64)
    precision = formats(format_name, format_name, "fp32", output or format_name)
    op = Linear(out=len(weight), bias=False)
    sketch = LayerSketch("fc", op, ("x",), precision, Provided(provider=Held(weight)))
    return build_network("n", 1, {"x": (weight.shape[1],)}, (sketch,))


def outputs(network: Network, x: Any) -> Any:
    given = {"x": np.asarray(x, np.float64)}
    run = simulate_full(network, MACHINE, values=True, inputs=given)
    last = network.layers[-1].name
    reference = run_reference(network, 0, given)[last][0]  # its sums have more bits than fp32
    np.testing.assert_allclose(run.outputs[last], reference, rtol=2.0**-7)
    return run.outputs[last]


def test_an_operand_that_is_no_bf16_number_is_rounded_as_it_is_read() -> None:
    assert outputs(linear([[1 + 2.0**-9, 1]], "bf16", "fp32"), [[1, 1]]).tolist() == [[2.0]]
    assert outputs(linear([[1, 1]], "bf16", "fp32"), [[1 + 2.0**-9, 1]]).tolist() == [[2.0]]


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(sorted(TYPES)))
def test_products_are_exact_sums_fp32_and_the_output_is_rounded_once(seed: int, name: str) -> None:
    draw = np.random.default_rng(seed)
    weight, x = draw.normal(size=(3, 1)), draw.normal(size=(1, 1))
    exact = as_type(weight, name).astype(np.float64).T * as_type(x, name)
    np.testing.assert_array_equal(outputs(linear(weight, name, "fp32"), x), exact.astype(np.float32))
    np.testing.assert_array_equal(outputs(linear(weight, name), x), as_type(exact.astype(np.float32), name))


def test_drawn_numbers_are_of_their_format() -> None:
    sketch = LayerSketch("fc", Linear(out=9), ("x",), formats("fp16", "fp16", "fp32", "bf16"))
    bare = build_network("n", 1, {"x": (64,)}, (sketch,))
    for values in (weight_values(bare.layers[0], 3), input_values(bare, 3)["x"]):
        np.testing.assert_array_equal(values, as_type(values, "fp16"))
    found = simulate_full(bare, MACHINE, values=True, seed=3).outputs["fc"]
    np.testing.assert_array_equal(found, as_type(found, "bf16"))


def test_a_sum_beyond_fp16_is_infinite_and_stays() -> None:
    assert outputs(linear([[256.0]], "fp16"), [[256.0]]).tolist() == [[np.inf]]
    assert outputs(linear([[16.0], [-60.0]], "fp8"), [[32.0]]).tolist() == [[448.0, -448.0]]


@pytest.mark.parametrize("value", [70_000.0, np.nan, -np.inf])
def test_an_operand_that_does_not_fit_is_refused(value: float) -> None:
    with pytest.raises(InputError, match="must be a finite number that fits fp16"):
        outputs(linear([[value]], "fp16"), [[1.0]])


@pytest.mark.parametrize("name", ["bf16", "fp16"])
@pytest.mark.parametrize("op", ["add", "mul", "div", "gelu", "softmax", "layernorm", "reduce_mean", "avgpool2d", "sqrt"])
def test_operators_without_macs_read_and_write_their_format(op: str, name: str) -> None:
    fields: dict[str, Any] = {"reduce_mean": {"axes": (2,)}, "avgpool2d": {"window": 2}}.get(op, {})
    made, arity = OPERATOR_BY_NAME[op].model_validate({"op": op, **fields}), 2 if op in ("add", "mul", "div") else 1
    names = {f"x{i}": (2, 4, 4) for i in range(arity)}
    draw = np.random.default_rng(1)
    given = {key: np.abs(draw.normal(size=(1, *shape))) + 0.5 for key, shape in names.items()}

    def of(precision: Any, values: dict[str, Any]) -> Any:
        network = build_network("n", 1, names, (LayerSketch("y", made, tuple(names), precision),))
        return simulate_full(network, MACHINE, values=True, inputs=values).outputs["y"]

    wide = of(formats("fp32", "fp32", "fp32", "fp32"), {key: as_type(values, name) for key, values in given.items()})
    np.testing.assert_array_equal(of(formats(name, name, "fp32", name), given), as_type(wide, name))


def test_a_tensor_is_rounded_by_the_layer_that_reads_it() -> None:
    """The first layer leaves fp32; the second takes bf16 of it, the third fp32."""
    fp32, narrow = formats("fp32", "fp32", "fp32", "fp32"), formats("bf16", "bf16", "fp32", "fp32")
    sketches = (
        LayerSketch("a", Elementwise(op="add", value=2.0**-9), ("x",), fp32),
        LayerSketch("b", Elementwise(op="mul", value=1.0), ("a",), narrow),
        LayerSketch("c", Elementwise(op="mul", value=1.0), ("a",), fp32),
    )
    network = build_network("n", 1, {"x": (1,)}, sketches)
    run = simulate_full(network, MACHINE, values=True, inputs={"x": np.ones((1, 1))})
    assert [run.outputs[name].item() for name in "abc"] == [1 + 2.0**-9, 1.0, 1 + 2.0**-9]


@pytest.mark.parametrize("op", ["lstm", "gru"])
def test_the_state_of_a_cell_is_of_the_outputs_format(op: Any) -> None:
    sketch = LayerSketch("y", Recurrent(op=op, hidden=3), ("x",), formats("bf16", "bf16", "fp32", "bf16"))
    network = build_network("n", 1, {"x": (4, 5)}, (sketch,))
    found = simulate_full(network, MACHINE, values=True, seed=2).outputs["y"]
    np.testing.assert_array_equal(found, as_type(found, "bf16"))
    np.testing.assert_allclose(found, run_reference(network, 2)["y"][0], rtol=2**-6, atol=2**-8)
