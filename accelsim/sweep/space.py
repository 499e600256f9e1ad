"""The space of a sweep: keys, what each may be, which move together, which exist only when, and what must hold.

Points come in the order of the axes as they are given, the first outermost; an axis whose values or condition
depend on another comes after it. A constraint is checked as soon as its keys have values, so that a part of the
space that it rules out is never walked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import prod
from typing import Any, Protocol

from accelsim.sweep.expression import Expression
from accelsim.sweep.values import Values, divisors

Assignment = Mapping[str, Any]


class Base(Protocol):
    """What the keys that are not varied are, and how large a layer is: the inputs that a space stands on."""

    def value(self, key: str, assignment: Assignment) -> Any:
        """The value of ``key`` with ``assignment`` over it; KeyError where it has none."""

    def dimension(self, key: str, assignment: Assignment) -> int:
        """The size of the loop dimension that a tile key refers to; `InputError` where there is none."""


@dataclass(frozen=True)
class Axis:
    """Keys that take their values together (mostly one), and the condition under which they are set at all."""

    keys: tuple[str, ...]
    values: tuple[Values, ...]
    when: Expression | None = None

    @property
    def depends_on_size(self) -> bool:
        return any(values.kind == "divisors" for values in self.values)

    def choices(self, base: Base, assignment: Assignment) -> list[tuple[Any, ...]]:
        """The values of the keys, one tuple a choice; one empty tuple where the condition does not hold."""
        if self.when is not None and not self.when.value(lambda key: base.value(key, assignment)):
            return [()]
        columns = [
            divisors(base.dimension(key, assignment)) if values.kind == "divisors" else values.items
            for key, values in zip(self.keys, self.values, strict=True)
        ]
        return list(zip(*columns, strict=True))


class SpaceError(ValueError):
    """A space that cannot be: ``key`` is at fault."""

    def __init__(self, key: str, message: str) -> None:
        self.key, self.message = key, message
        super().__init__(f"{key}: {message}")


@dataclass(frozen=True)
class Space:
    """Axes in the order in which they are walked, and the constraints on them; made by `Space.of`."""

    axes: tuple[Axis, ...]
    where: tuple[Expression, ...] = ()

    @classmethod
    def of(cls, axes: Sequence[Axis], where: Sequence[Expression] = ()) -> Space:
        """Check and order the axes; raises `SpaceError`."""
        seen: set[str] = set()
        for axis in axes:
            _check_axis(axis)
            for key in axis.keys:
                if any(other == key or other.startswith(f"{key}.") for other in seen):
                    raise SpaceError(key, "is varied twice")
                seen.add(key)
        return cls(tuple(_ordered(axes)), tuple(where))

    @property
    def keys(self) -> tuple[str, ...]:
        """Every varied key, in the order of the walk."""
        return tuple(key for axis in self.axes for key in axis.keys)

    def points(self, base: Base) -> Iterator[dict[str, Any]]:
        """Every assignment that satisfies the constraints."""
        return (point for point, _ in self.walk(base) if point is not None)

    @property
    def size(self) -> int:
        """Points of the grid, constraints and conditions aside; an axis of divisors, which depend on a layer, counts once."""
        return prod(1 if axis.depends_on_size else len(axis.values[0]) for axis in self.axes)

    def walk(self, base: Base) -> Iterator[tuple[dict[str, Any] | None, int]]:
        """(a point, 0), or (None, how many points were cut off here)."""
        checks = self._checks()
        if not _holds(checks[0], base, {}):
            yield None, self._leaves(0, base, {})
            return
        yield from self._descend(0, {}, base, checks)

    def _descend(
        self, depth: int, assignment: dict[str, Any], base: Base, checks: list[list[Expression]]
    ) -> Iterator[tuple[dict[str, Any] | None, int]]:
        if depth == len(self.axes):
            yield assignment, 0
            return
        axis = self.axes[depth]
        for choice in axis.choices(base, assignment):
            further = {**assignment, **dict(zip(axis.keys, choice, strict=False))}
            if _holds(checks[depth + 1], base, further):
                yield from self._descend(depth + 1, further, base, checks)
            else:
                yield None, self._leaves(depth + 1, base, further)

    def _checks(self) -> list[list[Expression]]:
        """For each depth, the constraints whose last key gets its value there; those without varied keys first."""
        depth_of = {key: depth + 1 for depth, axis in enumerate(self.axes) for key in axis.keys}
        checks: list[list[Expression]] = [[] for _ in range(len(self.axes) + 1)]
        for constraint in self.where:
            checks[max((depth_of.get(key, 0) for key in constraint.keys), default=0)].append(constraint)
        return checks

    def _leaves(self, depth: int, base: Base, assignment: dict[str, Any]) -> int:
        """Points of the grid below ``assignment``, constraints aside."""
        rest = self.axes[depth:]
        if not any(axis.when or axis.depends_on_size for axis in rest):
            return prod(len(axis.values[0]) for axis in rest)
        axis = self.axes[depth]
        below = ({**assignment, **dict(zip(axis.keys, c, strict=False))} for c in axis.choices(base, assignment))
        return sum(self._leaves(depth + 1, base, further) for further in below)


def _holds(constraints: Sequence[Expression], base: Base, assignment: dict[str, Any]) -> bool:
    return all(constraint.value(lambda key: base.value(key, assignment)) for constraint in constraints)


def _check_axis(axis: Axis) -> None:
    lengths = {len(values) for values in axis.values}
    if len(axis.keys) > 1 and axis.depends_on_size:
        raise SpaceError(axis.keys[0], "divisors cannot be zipped with other keys")
    if len(lengths) > 1:
        told = ", ".join(f"{key} {len(v)}" for key, v in zip(axis.keys, axis.values, strict=True))
        raise SpaceError(axis.keys[0], f"keys that move together need as many values each: {told}")


def _ordered(axes: Sequence[Axis]) -> list[Axis]:
    """The axes as given, each after those that its condition or its divisors depend on."""
    left, ordered = list(axes), list[Axis]()
    while left:
        waiting = {key for axis in left for key in axis.keys}
        ready = next((axis for axis in left if not (_needs(axis, axes) & waiting) - set(axis.keys)), None)
        if ready is None:
            raise SpaceError(left[0].keys[0], f"its condition ({left[0].when}) depends on itself in a circle")
        ordered.append(ready)
        left.remove(ready)
    return ordered


def _needs(axis: Axis, axes: Sequence[Axis]) -> set[str]:
    needs = set(axis.when.keys) if axis.when is not None else set()
    if axis.depends_on_size:
        needs |= {key for other in axes for key in other.keys if key.startswith("workload.")}
    return needs
