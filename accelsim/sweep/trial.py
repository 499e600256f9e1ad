"""What becomes of a point that a search tries: a simulation, or what a function of the user's says about it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from accelsim.errors import Fault, InfeasibleError, InputError
from accelsim.sweep.evaluate import make_batch, run_batch
from accelsim.sweep.inputs import Point, Resolver, SpaceBase, canonical
from accelsim.sweep.space import Assignment, Base
from accelsim.sweep.spec import Spec
from accelsim.sweep.store import Outcome

Measure = Callable[[Mapping[str, Any]], Mapping[str, Any]]


class Trier(Protocol):
    """Runs points; one that was tried before is not run again."""

    simulated: int

    def base(self, point: Point) -> Base:
        """What the keys that are not varied are."""

    def outcome(self, point: Point) -> Outcome:
        """What comes of a point."""

    @property
    def notes(self) -> tuple[str, ...]:
        """What the user should know about how the inputs were read."""


class Simulated:
    """Points of a space of networks, architectures and mappings."""

    def __init__(self, spec: Spec) -> None:
        self.simulated = 0
        self._resolver = Resolver(spec)
        for network in spec.networks:
            for arch in spec.archs:
                self._resolver.inputs(Point(network, arch))  # the inputs themselves must be in order
        self._bases: dict[tuple[str, str], SpaceBase] = {}
        self._known: dict[bytes, Outcome] = {}

    def base(self, point: Point) -> Base:
        pair = point.network, point.arch
        return self._bases.setdefault(pair, SpaceBase(self._resolver, *pair))

    def outcome(self, point: Point) -> Outcome:
        try:
            inputs = self._resolver.inputs(point)
        except InputError as error:
            if any(fault.message.startswith("unknown key") for fault in error.faults):
                raise
            return Outcome("illegal", "; ".join(str(fault) for fault in error.faults))
        if inputs.key not in self._known:
            self._known[inputs.key] = run_batch(make_batch([(0, inputs)]))[0][1]
            self.simulated += 1
        return self._known[inputs.key]

    @property
    def notes(self) -> tuple[str, ...]:
        return tuple(self._resolver.notes)


@dataclass
class Measured:
    """Points whose figures a function returns; what it raises ends the search, but for what accelsim refuses."""

    measure: Measure
    simulated: int = 0
    notes: tuple[str, ...] = ()
    _known: dict[str, Outcome] = field(default_factory=dict)

    def base(self, point: Point) -> Base:
        del point
        return _Alone()

    def outcome(self, point: Point) -> Outcome:
        key = canonical(dict(point.assignment))
        if key not in self._known:
            self.simulated += 1
            self._known[key] = self._measured(point)
        return self._known[key]

    def _measured(self, point: Point) -> Outcome:
        try:
            return Outcome("ok", "", dict(self.measure(dict(point.assignment))))
        except InfeasibleError as error:
            return Outcome("infeasible", str(error))
        except InputError as error:
            return Outcome("illegal", "; ".join(str(fault) for fault in error.faults))


class _Alone:
    """Nothing beside the varied keys."""

    def value(self, key: str, assignment: Assignment) -> Any:
        return assignment[key]

    def dimension(self, key: str, assignment: Assignment) -> int:
        del assignment
        raise InputError(Fault(key, "", "divisors are of a layer's dimension; a function has none"))
