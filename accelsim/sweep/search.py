"""Looks for good points with Optuna (extra ``search``), where there are too many to visit all.

The space, the objectives and the constraints are those of a sweep. A range is a number to Optuna, a power of two its
logarithm, a list of numbers or a group of keys a place in it, any other list a choice. Points outside the
constraints on keys, illegal and infeasible ones are pruned; limits on results are constraints of the study.

Studies live in memory, in SQLite, or wherever Optuna can keep them, and ``optuna-dashboard`` opens them. Several
processes may work on one study at a time.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from accelsim.errors import AccelsimError, Fault, InputError, join_allowed, nearest
from accelsim.sweep.expression import EvaluationError
from accelsim.sweep.inputs import Point
from accelsim.sweep.objective import Objective
from accelsim.sweep.progress import Progress, Silent
from accelsim.sweep.runner import Best, point_label
from accelsim.sweep.space import Axis
from accelsim.sweep.spec import Spec
from accelsim.sweep.store import Outcome, StoppedError
from accelsim.sweep.table import SweepTable, make_rows, statuses
from accelsim.sweep.trial import Measure, Measured, Simulated, Trier

if TYPE_CHECKING:
    from optuna.study import Study
    from optuna.trial import FrozenTrial, Trial

SAMPLERS = ("tpe", "nsga2", "cmaes", "grid", "random")
STUDY = "accelsim"
_EXCESS = "limits_exceeded"  # user attribute: by how much each limit is broken
_WASTED = 50  # trials outside the space, for one inside, after which a search gives up


@dataclass(frozen=True, repr=False)
class SearchResult(SweepTable):
    """The trials of a search as a table, in the order in which they were tried; ``study`` is Optuna's own."""

    study: Any = field(default=None, compare=False)


def run_search(
    spec: Spec, *, trials: int, sampler: str | None = None, store: str | None = None, study: str | None = None,
    progress: Progress | None = None, measure: Measure | None = None,
) -> SearchResult:  # fmt: skip
    """Try ``trials`` more points of ``spec``; those outside the space's constraints do not count.

    ``measure`` gives the figures of a point instead of a simulation.

    Raises
    ------
    InputError  bad input, a sampler that cannot do it, Optuna missing, a study of another kind.
    """
    with _quiet(), progress or Silent() as shown:
        trier = Simulated(spec) if measure is None else Measured(measure)
        return _Search(spec, _open_study(spec, sampler, store, study), shown, trier, store).run(trials)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's log and its warnings that some of it is new."""
    try:
        import optuna
    except ImportError:
        raise InputError(Fault("search", "", "needs Optuna: pip install 'accelsim[search]'")) from None
    level = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            yield
    finally:
        optuna.logging.set_verbosity(level)


# ---- the study ----------------------------------------------------------------------------------------------------


def _open_study(spec: Spec, sampler: str | None, store: str | None, name: str | None) -> Study:
    import optuna

    directions: list[Any] = ["maximize" if objective.maximize else "minimize" for objective in Best(spec).objectives]
    url = None if store is None else store if "://" in store else f"sqlite:///{store}"
    try:
        study = optuna.create_study(
            storage=url, study_name=name or spec.name or STUDY, directions=directions, load_if_exists=True
        )
        found, tried = [direction.name.lower() for direction in study.directions], len(study.trials)
    except Exception as error:  # Optuna hands on whatever its storage raises
        raise InputError(Fault("--store", str(store), f"cannot be used: {_first_line(error)}")) from None
    if found != directions:
        told = f"holds a study that goes for {', '.join(found)}, this one goes for {', '.join(directions)}"
        raise InputError(Fault("--study", study.study_name, told))
    study.sampler = _sampler(sampler or ("tpe" if len(directions) == 1 else "nsga2"), spec, tried)
    return study


def _first_line(error: Exception) -> str:
    """What went wrong, as its cause says it where there is one."""
    told = str(error.__cause__ or error).splitlines()
    return told[0] if told else type(error).__name__


def _sampler(name: str, spec: Spec, tried: int) -> Any:
    """A sampler; what was tried before turns its seed, lest a study that goes on starts again."""
    from optuna import samplers

    seed, limits = spec.seed + tried, _excess_of if spec.limits and not _has_constraints() else None
    if name not in SAMPLERS:
        raise InputError(
            Fault("--sampler", name, f"is not known, must be {join_allowed(SAMPLERS)}{nearest(name, SAMPLERS)}")
        )
    if name == "cmaes" and (len(spec.objectives) > 1 or spec.limits):
        raise InputError(Fault("--sampler", name, "takes one objective and no limits on results; take tpe or nsga2"))
    if name == "cmaes":
        _require_cmaes()
        return samplers.CmaEsSampler(seed=seed, warn_independent_sampling=False)
    if name == "tpe":
        return samplers.TPESampler(seed=seed, constraints_func=limits)
    if name == "nsga2":
        return samplers.NSGAIISampler(seed=seed, constraints_func=limits)
    return samplers.BruteForceSampler(seed=seed) if name == "grid" else samplers.RandomSampler(seed=seed)


def _require_cmaes() -> None:
    try:
        import cmaes  # type: ignore[import-untyped, unused-ignore]  # noqa: F401
    except ImportError:
        raise InputError(
            Fault("--sampler", "cmaes", "needs the package cmaes: pip install 'accelsim[search]'")
        ) from None


def _has_constraints() -> bool:
    """Optuna 5 keeps the constraints of a trial itself; older ones ask for them."""
    from optuna.trial import Trial

    return hasattr(Trial, "set_constraint")


def _set_excess(trial: Trial, excess: dict[str, float]) -> None:
    trial.set_user_attr(_EXCESS, list(excess.values()))
    if _has_constraints():
        for limit, amount in excess.items():
            trial.set_constraint(limit, amount)


def _excess_of(trial: FrozenTrial) -> Sequence[float]:
    found: Sequence[float] = trial.user_attrs.get(_EXCESS, ())
    return found


# ---- trials -------------------------------------------------------------------------------------------------------


@dataclass
class _Search:
    """One search."""

    spec: Spec
    study: Study
    progress: Progress
    trier: Trier
    store: str | None = None
    labels: list[dict[str, Any]] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)
    excluded: int = 0
    _raised: Exception | None = None  # by whoever tries the points, not by Optuna and its storage

    def __post_init__(self) -> None:
        self.best = Best(self.spec)

    def run(self, trials: int) -> SearchResult:
        self.progress.start(trials)
        try:
            self.study.optimize(self._try, callbacks=[lambda study, _: self._stop_when_done(study, trials)])
        except KeyboardInterrupt:
            kept = f"kept in {self.store}; the same command goes on" if self.store else "lost: use --store FILE"
            raise KeyboardInterrupt(f"interrupted: {len(self.outcomes)} of {trials} trials are done, {kept}") from None
        except Exception as error:
            if error is self._raised or isinstance(error, AccelsimError):
                raise
            done = f"{len(self.outcomes)} of {trials} trials are done"
            raise StoppedError(f"{self.store}: the study cannot be kept ({_first_line(error)}): {done}") from None
        return self._result()

    def _outcome(self, point: Point) -> Outcome:
        try:
            return self.trier.outcome(point)
        except Exception as error:
            self._raised = error
            raise

    def _stop_when_done(self, study: Study, trials: int) -> None:
        if len(self.outcomes) >= trials or self.excluded > _WASTED * (len(self.outcomes) + 1):
            study.stop()

    def _try(self, trial: Trial) -> Sequence[float]:
        """One trial; points that give no values are pruned, with the reason beside them."""
        from optuna import TrialPruned

        point = self._suggest(trial)
        if not self._inside(point):
            self.excluded += 1
            raise TrialPruned("outside the constraints")
        outcome = self._outcome(point)
        label = {"trial": trial.number, **point_label(point)}
        self.labels.append(label)
        self.outcomes.append(outcome)
        if outcome.status != "ok":
            trial.set_user_attr("reason", f"{outcome.status}: {outcome.reason}")
            self.progress.done(1, self.best.value)
            raise TrialPruned(outcome.reason)
        values = self._values(trial, {**label, **outcome.metrics})
        self.progress.done(1, self.best.value)
        return values

    def _values(self, trial: Trial, row: dict[str, Any]) -> Sequence[float]:
        self.best.see(row)
        _set_excess(trial, {limit.text: limit.excess(row.__getitem__) for limit in self.spec.limits})
        for key in self.spec.keys:
            trial.set_user_attr(key, row.get(key))
        return [objective.value(row) for objective in self.best.objectives]

    def _suggest(self, trial: Trial) -> Point:
        network = _one_of(trial, "network", self.spec.networks)
        arch = _one_of(trial, "architecture", self.spec.archs)
        base = self.trier.base(Point(network, arch))
        assignment: dict[str, Any] = {}
        for axis in self.spec.space.axes:
            choices = axis.choices(base, assignment)
            if choices != [()]:
                assignment.update(zip(axis.keys, _suggest(trial, axis, choices), strict=True))
        return Point(network, arch, assignment)

    def _inside(self, point: Point) -> bool:
        base = self.trier.base(point)
        try:
            return all(c.value(lambda key: base.value(key, point.assignment)) for c in self.spec.space.where)
        except EvaluationError as error:
            raise InputError(Fault("where", "", str(error))) from None

    def _result(self) -> SearchResult:
        keys = ("trial", *self.spec.keys)
        rows = make_rows(self.labels, self.outcomes, keys, self.spec.limits)
        counts = {
            "points": len(rows), **statuses(rows), "simulated": self.trier.simulated,
            "reused": len(rows) - self.trier.simulated - sum(o.status == "illegal" for o in self.outcomes),
            "excluded": self.excluded,
        }  # fmt: skip
        objectives: tuple[Objective, ...] = self.best.objectives
        return SearchResult(keys, rows, counts, objectives, self.trier.notes, self.study)


def _one_of(trial: Trial, name: str, names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else str(trial.suggest_categorical(name, names))


def _suggest(trial: Trial, axis: Axis, choices: list[tuple[Any, ...]]) -> tuple[Any, ...]:
    """One of the choices of an axis, in the words that suit Optuna best."""
    name, kind = ",".join(axis.keys), axis.values[0].kind
    values = [choice[0] for choice in choices]
    if len(choices) == 1:
        return choices[0]
    if len(axis.keys) == 1 and kind == "range":
        return (_in_range(trial, name, values, axis.values[0].step),)
    if len(axis.keys) == 1 and kind == "pow2":
        return choices[trial.suggest_int(f"log2({name}/{values[0]})", 0, len(values) - 1)]
    numbers = all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)
    if len(axis.keys) > 1 or (numbers and values == sorted(values)):
        return choices[trial.suggest_int(f"{name}[i]", 0, len(choices) - 1)]
    if all(isinstance(value, str | int | float | bool) for value in values):
        return (trial.suggest_categorical(name, values),)
    return choices[int(trial.suggest_categorical(f"{name}[i]", range(len(choices))))]


def _in_range(trial: Trial, name: str, values: list[Any], step: float) -> Any:
    if all(isinstance(value, int) for value in values):
        return trial.suggest_int(name, values[0], values[-1], step=int(step))
    return values[trial.suggest_int(f"{name}[i]", 0, len(values) - 1)]
