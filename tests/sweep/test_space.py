"""VALUES and spaces: what a range holds, what a constraint leaves, in which order points come."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accelsim.sweep.expression import Expression
from accelsim.sweep.space import Axis, Space, SpaceError
from accelsim.sweep.values import divisors, parse_values


class Plain:
    """Inputs in which ``size`` is 12, and a key that is not varied is what ``given`` says."""

    def __init__(self, **given: Any) -> None:
        self.given = given

    def value(self, key: str, assignment: Mapping[str, Any]) -> Any:
        return {**self.given, **assignment}[key]

    def dimension(self, key: str, assignment: Mapping[str, Any]) -> int:
        assert key.startswith("mapping.")
        return int(assignment.get("workload.batch", 12))


def counted(space: Space, base: Plain) -> tuple[int, int]:
    """How many points there are, and how many of the grid the constraints exclude."""
    steps = list(space.walk(base))
    return sum(point is not None for point, _ in steps), sum(left_out for _, left_out in steps)


def axis(key: str, values: Any, when: str | None = None) -> Axis:
    return Axis((key,), (parse_values(values),), Expression.parse(when) if when else None)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("8:32:8", [8, 16, 24, 32]),
        ("8:30:8", [8, 16, 24]),
        ("3:5", [3, 4, 5]),
        ("pow2:8:128", [8, 16, 32, 64, 128]),
        ("pow2:3:20", [3, 6, 12]),
        ("[8, 16, 32]", [8, 16, 32]),
        ([1, "a", None, True], [1, "a", None, True]),
        ("0.1:0.5:0.1", [0.1, 0.2, 0.3, 0.4, 0.5]),
        ("pow2:64 KiB:256 KiB", [65536, 131072, 262144]),
        ("100 MHz:300 MHz:100 MHz", [100_000_000, 200_000_000, 300_000_000]),
        ("ws", ["ws"]),
        (7, [7]),
    ],
)
def test_values(given: Any, expected: list[Any]) -> None:
    assert list(parse_values(given).items) == expected


@pytest.mark.parametrize(
    "given",
    ["", "8:4:1", "1:9:0", "1:2:3:4", "a:b", "pow2:8", "pow2:0:8", "[]", "[1, 1]", "[1,", None, {}, "1:1e12"],
)
def test_values_refused(given: Any) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_values(given)


def test_a_list_without_brackets_is_told_to_have_them() -> None:
    with pytest.raises(ValueError, match=r"a list has brackets: \[8, 16\]"):
        parse_values("8, 16")


@given(st.integers(1, 5000))
def test_divisors(size: int) -> None:
    assert divisors(size) == tuple(d for d in range(1, size + 1) if size % d == 0)


@given(st.integers(1, 200), st.integers(0, 200), st.integers(1, 50))
def test_a_range_is_pythons_with_its_end(first: int, more: int, step: int) -> None:
    assert list(parse_values(f"{first}:{first + more}:{step}").items) == list(range(first, first + more + 1, step))


@given(st.lists(st.integers(1, 4), min_size=1, max_size=4), st.integers(0, 300))
def test_a_grid_is_the_product_that_the_constraint_leaves(sizes: list[int], most: int) -> None:
    names = [f"arch.k{i}" for i in range(len(sizes))]
    axes = [axis(name, list(range(1, size + 1))) for name, size in zip(names, sizes, strict=True)]
    space = Space.of(axes, [Expression.parse(f"{'*'.join(names)} <= {most}")])
    grid = [dict(zip(names, point, strict=True)) for point in product(*(range(1, s + 1) for s in sizes))]
    wanted = [p for p in grid if all_product(p.values()) <= most]
    assert list(space.points(Plain())) == wanted
    assert counted(space, Plain()) == (len(wanted), len(grid) - len(wanted))


def all_product(values: Any) -> int:
    result = 1
    for value in values:
        result *= value
    return result


def test_conditions_divisors_and_their_order() -> None:
    space = Space.of(
        [
            axis("mapping.l.tile.K", "divisors"),
            axis("arch.b", [1, 2], when="arch.a == 2"),
            axis("arch.a", [1, 2]),
            axis("workload.batch", [2, 3]),
        ],
        [Expression.parse("arch.c > 0")],
    )
    assert space.keys == ("arch.a", "arch.b", "workload.batch", "mapping.l.tile.K")
    points = list(space.points(Plain(**{"arch.c": 1})))
    assert [p for p in points if p["arch.a"] == 1 and "arch.b" in p] == []
    assert {p["mapping.l.tile.K"] for p in points if p["workload.batch"] == 3} == {1, 3}
    assert len(points) == 3 * (2 + 2)
    assert counted(space, Plain(**{"arch.c": 0})) == (0, 12)


@pytest.mark.parametrize(
    ("axes", "message"),
    [
        ([axis("arch.a", [1]), axis("arch.a", [2])], "varied twice"),
        ([axis("arch.a", [1], "arch.b > 1"), axis("arch.b", [1], "arch.a > 1")], "circle"),
        ([Axis(("arch.a", "arch.b"), (parse_values([1, 2]), parse_values([1])))], "as many values"),
        ([Axis(("mapping.l.tile.K", "arch.b"), (parse_values("divisors"),) * 2)], "zipped"),
    ],
)
def test_spaces_refused(axes: list[Axis], message: str) -> None:
    with pytest.raises(SpaceError, match=message):
        Space.of(axes)
