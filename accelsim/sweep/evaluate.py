"""Runs points in one process, one after the other, by the function that runs every simulation (`accelsim.api.run_ready`).

What points share is not done twice: a network is made once, and the engines know the nests that earlier points have
planned, so a sweep over the tiling of one layer maps that layer alone.
"""

from __future__ import annotations

import pickle
from collections.abc import Callable, Sequence
from collections.abc import Mapping as MappingABC
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

from accelsim.api import run_ready
from accelsim.arch.spec import Architecture
from accelsim.errors import InfeasibleError, InputError, InvariantError
from accelsim.mapping.mapping import MappingFile
from accelsim.sweep.inputs import Inputs, made_ready
from accelsim.sweep.store import Outcome
from accelsim.workload.network import Network

if TYPE_CHECKING:
    from accelsim.engines.mapped import PlannedNests

MOST_NETWORKS = 16
MOST_WEIGHTS = 1 << 28  # of networks that are kept
MOST_STEPS = 1_000_000  # of schedules that are kept, some 40 bytes each


@dataclass(frozen=True)
class Job:
    """One point on its way to a worker; ``number`` is its place in the sweep."""

    number: int
    network_id: str
    arch: Architecture
    mapping: MappingFile
    layers: tuple[str, ...]
    values: bool
    seed: int


@dataclass(frozen=True)
class Batch:
    """Jobs that travel together, and the workloads (pickled, by id) that they need."""

    jobs: tuple[Job, ...]
    workloads: MappingABC[str, bytes]


def make_batch(numbered: Sequence[tuple[int, Inputs]]) -> Batch:
    """Pack points for a worker."""
    workloads = {inputs.network_id: inputs.workload for _, inputs in numbered}
    jobs = tuple(Job(number, i.network_id, i.arch, i.mapping, i.layers, i.values, i.seed) for number, i in numbered)
    return Batch(jobs, {name: pickle.dumps(workload) for name, workload in workloads.items()})


def run_batch(batch: Batch) -> list[tuple[int, Outcome]]:
    """Run every job of a batch, in this process."""
    return [(job.number, _EVALUATOR.outcome(job, batch.workloads)) for job in batch.jobs]


class Made(NamedTuple):
    """A network, and what is known of it beside what is simulated."""

    network: Network
    figures: MappingABC[str, float]


@dataclass
class Evaluator:
    """Runs jobs one after the other."""

    _networks: dict[str, Made] = field(default_factory=dict)
    _known: PlannedNests | None = None

    def outcome(self, job: Job, workloads: MappingABC[str, bytes]) -> Outcome:
        """What comes of a job; never raises but on an interrupt."""
        return outcome_of(lambda: self.metrics(job, workloads[job.network_id]))

    def metrics(self, job: Job, workload: bytes) -> dict[str, Any]:
        """The totals of a run, as `accelsim.report.rows` names them, and the figures of its network."""
        from accelsim.report.rows import expected_figures, total_counters

        made = self._made(job.network_id, workload)
        network, mapping = made_ready(made.network, job.arch, job.mapping, job.layers, job.values)
        result = run_ready(network, job.arch, mapping, job.values, job.seed, known=self._planned(), limiters=False).result
        return {**total_counters(result.totals), **expected_figures(result), **made.figures}

    def _planned(self) -> PlannedNests:
        from accelsim.engines.mapped import PlannedNests

        self._known = self._known or PlannedNests(MOST_STEPS)
        return self._known

    def _made(self, name: str, workload: bytes) -> Made:
        if name not in self._networks:
            made = Made(*pickle.loads(workload).made())
            self._make_room(made.network.parameters)
            self._networks[name] = made
        return self._networks[name]

    def _make_room(self, coming: int) -> None:
        """Networks with their weights in memory are large: the oldest go."""
        while self._networks and (
            len(self._networks) >= MOST_NETWORKS
            or coming + sum(made.network.parameters for made in self._networks.values()) > MOST_WEIGHTS
        ):
            self._networks.pop(next(iter(self._networks)))


_EVALUATOR = Evaluator()


def outcome_of(run: Callable[[], MappingABC[str, Any]]) -> Outcome:
    """The figures that ``run`` returns, or the reason why there are none."""
    try:
        return Outcome("ok", "", dict(run()))
    except InfeasibleError as error:
        return Outcome("infeasible", str(error))
    except InputError as error:
        return Outcome("illegal", _one_line(error))
    except InvariantError as error:
        return Outcome("defect", str(error))
    except Exception as error:  # a point must not take the others with it; it is told, and never kept
        return Outcome("defect", f"{type(error).__name__}: {error}; this is a defect of accelsim, please report it")


def _one_line(error: InputError) -> str:
    return "; ".join(str(fault) for fault in error.faults)
