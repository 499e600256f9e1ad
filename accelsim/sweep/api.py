"""Sweeps and searches from Python; the same as the commands."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from accelsim.errors import Fault, InputError
from accelsim.sweep.progress import Progress, progress_on_terminal
from accelsim.sweep.runner import run_sweep
from accelsim.sweep.spec import Spec, make_spec, refuse_beside, spec_of
from accelsim.sweep.table import DEFAULT, SweepTable
from accelsim.yaml_io import load_document

if TYPE_CHECKING:
    from accelsim.sweep.search import SearchResult
    from accelsim.sweep.trial import Measure

Source = str | Path
_IN_FILE = {"objectives": "objective", "settings": "set", "bound": "tilings.bound", "top": "tilings.top"}
"""Options whose key in a sweep file has another name."""


def sweep(
    network: Source | Iterable[Source], arch: Source | Iterable[Source] | None = None,
    vary: Mapping[str, Any] | None = None, *, where: str | Sequence[str] = (), objective: str | Sequence[str] = (),
    overrides: Mapping[str, Any] | None = None, batch: int | None = None, layers: Iterable[str] = (),
    mapping: Source | None = None, recipe: Source | None = None, values: bool = False, seed: int | None = None,
    tilings: str | None = None, bound: bool | None = None, top: int | None = None, jobs: int = 1, store: Source | None = None,
    scheduler: str | None = None, progress: bool | Progress = False,
) -> SweepTable:  # fmt: skip
    """Simulate every point of a space.

    Parameters
    ----------
    network   : a name, a path, several of them; or a sweep YAML (and no ``arch``), which then says everything.
    arch      : a name or a path, or several.
    vary      : key -> VALUES: ``{"arch.engine.rows": "8:128:8", "mapping.conv1.tile.K": "divisors"}``. Several keys
                with commas between take their values together.
    where     : constraints on keys (points outside are left out) and on results (rows outside say so).
    objective : what to look for, the smaller the better unless ``max:``: ``"cycles"``, ``"max:utilization"``,
                ``"cycles*energy_total_pj"``.
    overrides : keys set for every point, as ``--set``.
    recipe    : compress the networks by it before they run; ``compression.prune.density`` and its kin may be varied.
    tilings   : instead of mapping it as usual, try every tiling of this layer; ``vary`` may restrict
                ``mapping.LAYER.tile.X``. Those that cannot be among the ``top`` best (1) are not run unless ``bound`` is
                False.
    seed      : of operands that no file gives (0).
    jobs, scheduler : processes of this machine, or a Dask scheduler's address.
    store     : a file that keeps results: what is there is not run again, what was interrupted goes on.

    A script that uses ``jobs`` needs the usual ``if __name__ == "__main__":``, since processes are spawned.
    """
    options = {
        "where": _texts(where), "objectives": _texts(objective), "settings": overrides, "batch": batch,
        "layers": layers, "mapping": None if mapping is None else str(mapping), "values": values, "seed": seed,
        "recipe": None if recipe is None else str(recipe),
        "tilings": tilings, "bound": bound, "top": top,
    }  # fmt: skip
    spec = _spec(network, arch, vary, options)
    return sweep_spec(spec, jobs=jobs, store=store, scheduler=scheduler, progress=progress)


def sweep_spec(
    spec: Spec, *, jobs: int = 1, store: Source | None = None, scheduler: str | None = None,
    progress: bool | Progress = False,
) -> SweepTable:  # fmt: skip
    """Run a checked sweep."""
    shown = _progress(spec, progress)
    if spec.tilings is not None:
        from accelsim.sweep.tilings import run_tilings

        return run_tilings(spec, jobs=jobs, store=store, scheduler=scheduler, progress=shown)
    return run_sweep(spec, jobs=jobs, store=store, scheduler=scheduler, progress=shown)


def _progress(spec: Spec, wanted: bool | Progress) -> Progress | None:
    if isinstance(wanted, bool):
        return progress_on_terminal((spec.objectives or (DEFAULT,))[0]) if wanted else None
    return wanted


def _spec(network: Any, arch: Any, vary: Mapping[str, Any] | None, options: dict[str, Any]) -> Spec:
    if arch is None:
        document = load_document(Path(network))
        given = {"vary": ("vary", vary)} | {_IN_FILE.get(name, name): (name, value) for name, value in options.items()}
        refuse_beside(document, {key: said for key, said in given.items() if said[1] not in (None, False, (), [], {})})
        return spec_of(document)
    return make_spec(_names(network), _names(arch), vary or {}, source="sweep", **options)


def _names(given: Source | Iterable[Source]) -> list[str]:
    listed = list(given) if isinstance(given, Iterable) and not isinstance(given, str | BaseModel) else [given]
    strangers = [type(source).__name__ for source in listed if not isinstance(source, str | Path)]
    if strangers:
        what = "a sweep reads its networks and architectures itself, once a point: give names or paths"
        raise InputError(Fault("sweep", "", f"is given a {name}, and {what}") for name in strangers)
    return [str(source) for source in listed]


def _texts(given: str | Sequence[str]) -> Sequence[str]:
    return [given] if isinstance(given, str) else given


def search(
    network: Source | Iterable[Source] | Measure, arch: Source | Iterable[Source] | None = None,
    vary: Mapping[str, Any] | None = None, *, trials: int, objective: str | Sequence[str] = (),
    where: str | Sequence[str] = (), overrides: Mapping[str, Any] | None = None, sampler: str | None = None,
    store: str | None = None, study: str | None = None, batch: int | None = None, layers: Iterable[str] = (),
    mapping: Source | None = None, recipe: Source | None = None, values: bool = False, seed: int | None = None,
    progress: bool | Progress = False,
) -> SearchResult:  # fmt: skip
    """Look for good points with Optuna, without visiting all of them; parameters as for `sweep`.

    Parameters
    ----------
    network : as for `sweep`; or a function that takes a point (key -> value) and returns its figures (column -> number),
              simulated, compressed or measured in whatever way. Then there is no ``arch``, the keys of ``vary`` are
              any words, and ``objective`` and ``where`` know them and the columns. Where the function raises
              `InfeasibleError` or `InputError` the point counts as one that cannot be.
    trials  : how many points to try; a study that is there already goes on to so many more.
    sampler : ``tpe``, ``nsga2``, ``cmaes``, ``grid`` or ``random``; tpe for one objective, nsga2 for several.
    store   : any URL that Optuna takes, or a file for SQLite; nothing is kept where it is left out.
    study   : the study's name in the store.
    """
    options: dict[str, Any] = {
        "where": _texts(where), "objectives": _texts(objective), "settings": overrides, "batch": batch,
        "layers": layers, "mapping": None if mapping is None else str(mapping), "values": values, "seed": seed,
        "recipe": None if recipe is None else str(recipe),
    }  # fmt: skip
    measure = network if callable(network) else None
    if measure is not None:
        spec = make_spec([""], [""], vary or {}, source="search", free=True, **options)
    else:
        spec = _spec(network, arch, vary, options)
    return search_spec(
        spec, trials=trials, sampler=sampler, store=store, study=study, progress=progress, measure=measure
    )


def search_spec(
    spec: Spec, *, trials: int, sampler: str | None = None, store: str | None = None, study: str | None = None,
    progress: bool | Progress = False, measure: Measure | None = None,
) -> SearchResult:  # fmt: skip
    """Search a checked space."""
    from accelsim.sweep.search import run_search

    if spec.tilings is not None:
        raise InputError(Fault("search", "tilings", f"of {spec.tilings.layer} are tried by sweep, not by search: leave them out"))
    shown = _progress(spec, progress)
    return run_search(spec, trials=trials, sampler=sampler, store=store, study=study, progress=shown, measure=measure)
