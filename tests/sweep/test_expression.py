"""Expressions compute what they say, and reach nothing but keys and numbers."""

from __future__ import annotations

import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelsim.sweep.expression import EvaluationError, Expression, quantity

KEYS = {
    "arch.engine.rows": 16, "arch.engine.cols": 8, "arch.memory.buffer.size": "64 KiB", "cycles": 1000,
    "arch.engine.dataflow": "ws", "mapping.a/1.tile.K": 4, "workload.precision.weight": "int4",
}  # fmt: skip


def value(text: str) -> object:
    return Expression.parse(text).value(KEYS.__getitem__)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("arch.engine.rows*arch.engine.cols <= 4096", True),
        ("arch.engine.rows*arch.engine.cols", 128),
        ("1 < arch.engine.cols < arch.engine.rows", True),
        ("arch.memory.buffer.size == 65536", True),
        ('arch.memory.buffer.size <= "32 KiB"', False),
        ('arch.engine.dataflow in ["ws", "is"] and not arch.engine.rows % 4', True),
        ("max(arch.engine.rows, arch.engine.cols, 3) // 3", 5),
        ('key("mapping.a/1.tile.K")**2', 16),
        ("4 if cycles > 10 else 5", 4),
        ("log2(arch.engine.rows) + bits(workload.precision.weight)", 8.0),
        ("-arch.engine.rows + 1", -15),
    ],
)
def test_value(text: str, expected: object) -> None:
    assert value(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "", "__import__('os')", "().__class__", "arch.rows.__class__()", "[x for x in y]", "lambda: 1", "a[0]",
        "a := 1",
        "f'{a}'", "open('x')", "a @ b", "a << 9", "~a", "a is b", "min(*a)", "max(1, key=a)", "1 +", "None", "{1: 2}",
        "(1).real", "key(a)", "x" * 3000, "(" * 400 + ")" * 400, "b'1'", "yield 1", "await x", "1;2",
    ],
)  # fmt: skip
def test_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        Expression.parse(text)


@pytest.mark.parametrize(
    "text",
    ["missing.key > 1", "1/0", "'a'*3", "arch.engine.dataflow + 1", "9**9**9", "2.0**1e308", "'a' < 3"],
)
def test_no_value(text: str) -> None:
    with pytest.raises(EvaluationError):
        value(text)


@given(st.text(max_size=60))
def test_any_text_is_parsed_or_refused_with_a_message(text: str) -> None:
    try:
        expression = Expression.parse(text)
    except ValueError as refused:
        told = str(refused)
    else:
        told = ""
    if told:
        return
    assert pickle.loads(pickle.dumps(expression)).keys == expression.keys


@given(st.integers(-1000, 1000), st.integers(-1000, 1000))
def test_arithmetic_is_pythons(a: int, b: int) -> None:
    expression = Expression.parse("a*b - (a + b) <= a or not b < a")
    assert expression.value({"a": a, "b": b}.__getitem__) == (a * b - (a + b) <= a or not b < a)


def test_excess_is_the_share_of_the_bound() -> None:
    limit = Expression.parse("cycles <= 800")
    assert limit.excess(KEYS.__getitem__) == pytest.approx(0.25)
    assert limit.excess({"cycles": 800}.__getitem__) == 0
    assert Expression.parse("not cycles").excess(KEYS.__getitem__) == 1


def test_units_are_numbers() -> None:
    assert quantity("1 MHz") == 10**6
    assert quantity("2 GB/s") == 2 * 10**9
    assert quantity("3 cycles") == 3
    assert quantity("45nm") == "45nm"
