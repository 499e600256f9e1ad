"""accelsim from Python: the same as the commands, with values in and values out.

>>> import accelsim
>>> result = accelsim.simulate("lenet5", "tpu_v1")
>>> result.totals.macs
2293000
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accelsim import catalogue
from accelsim.arch.spec import Architecture, listed_precisions
from accelsim.errors import Fault, InputError
from accelsim.mapping.mapping import MappingFile
from accelsim.mapping.meaning import check_meaning
from accelsim.workload.expand import expanded
from accelsim.workload.network import Network
from accelsim.workload.retype import at_engine_precision

if TYPE_CHECKING:
    from accelsim.engines.base import Array, LayerRun
    from accelsim.engines.mapped import PlannedNests
    from accelsim.engines.walk import Recorder
    from accelsim.frontends.inputs import Given
    from accelsim.report.model import Mode
    from accelsim.report.result import Result

Source = str | Path
Inputs = Iterable[Source] | Mapping[str, Any]


def load_network(
    source: Source, *, batch: int | None = None, overrides: Mapping[str, Any] | None = None,
    dims: Mapping[str, int] | None = None,
) -> Network:  # fmt: skip
    """Read a network: a name under ``workloads/`` or a .yaml, .onnx or SCALE-Sim .csv file.

    ``overrides`` are as for ``--set``, e.g. ``{"workload.precision.weight": "int4"}``. ``dims`` are sizes that
    an ONNX model leaves open, by their names or as ``INPUT.AXIS``: ``{"sequence": 128, "pixels.2": 224}`` (as overrides:
    ``workload.dims.sequence``). Raises `InputError`.
    """
    sizes = {f"workload.dims.{name}": size for name, size in (dims or {}).items()}
    overrides = {**(overrides or {}), **sizes}
    catalogue.require_roots(overrides, ("workload",))
    return catalogue.load_network(source, batch=batch, overrides=overrides)[0]


def load_arch(source: Source, *, overrides: Mapping[str, Any] | None = None) -> Architecture:
    """Read an architecture: a name under ``arch_configs/`` or a .yaml file. Raises `InputError`."""
    catalogue.require_roots(overrides, ("arch",))
    return catalogue.load_arch(source, overrides)


@dataclass(frozen=True)
class Simulation:
    """A finished run: the result, the layers' runs behind it, their outputs in values mode, and notes for the user.

    ``outputs`` are by layer; ``model_outputs`` those of an ONNX model, under its names and in its types.
    """

    result: Result
    runs: tuple[LayerRun, ...]
    notes: tuple[str, ...] = ()
    outputs: Mapping[str, Array] = field(default_factory=dict)
    model_outputs: Mapping[str, Array] = field(default_factory=dict)


def simulate(
    network: Source | Network, arch: Source | Architecture, *, batch: int | None = None,
    layers: Iterable[str] | None = None, mapping: Source | MappingFile | None = None,
    overrides: Mapping[str, Any] | None = None, values: bool = False, seed: int = 0, inputs: Inputs | None = None,
) -> Result:  # fmt: skip
    """Simulate ``network`` on ``arch``, cycle by cycle.

    Parameters
    ----------
    network, arch, mapping : names, paths, or what `load_network` and `load_arch` returned.
    batch     : replaces the network's batch.
    layers    : run only these; what they read from others comes from off chip.
    overrides : as ``--set``: ``{"arch.engine.rows": 8, "mapping.conv1.tile.K": 64}``.
    values    : let the operands themselves flow through the registers (outputs: see `simulate_full`).
    seed      : of operands that no file gives.
    inputs    : what the network runs on: files as ``--input`` takes them, or arrays by the inputs' names; ``labels``
                among them give the result its ``accuracy``.

    Raises
    ------
    InputError       bad input, with every fault and its place.
    InfeasibleError  the architecture cannot do it: what is asked, what there is, what to change.
    """
    return simulate_full(
        network, arch, batch=batch, layers=layers, mapping=mapping, overrides=overrides, values=values, seed=seed,
        inputs=inputs,
    ).result  # fmt: skip


def simulate_full(
    network: Source | Network, arch: Source | Architecture, *, batch: int | None = None,
    layers: Iterable[str] | None = None, mapping: Source | MappingFile | None = None,
    overrides: Mapping[str, Any] | None = None, values: bool = False, seed: int = 0, command: str = "",
    recorder: Recorder | None = None, inputs: Inputs | None = None,
) -> Simulation:  # fmt: skip
    """`simulate`, with the runs, notes and (in values mode) outputs behind the result.

    A ``recorder`` is filled with when everything happened: see `accelsim.report.trace`.
    """
    if seed < 0:
        raise InputError(Fault("seed", "", f"is {seed}, must be a whole number of at least 0"))
    given, weights = _weights_apart(network, given_inputs(inputs), overrides or {})
    net, hardware, fixed, notes = prepare(network, arch, batch, layers, mapping, overrides or {}, values, given, weights)
    arrays = given.inputs(net) if given is not None else None
    if arrays is not None and not values and hardware.engine.kind != "sparse":
        from accelsim.workload.densities import with_measured_densities

        net = with_measured_densities(net, arrays, seed)
    run = run_ready(net, hardware, fixed, values, seed, command, recorder, arrays, given)
    named = _model_outputs(network, net, run.outputs, overrides or {}) if values else {}
    return replace(run, notes=(*notes, *run.notes), model_outputs=named)


def run_ready(
    network: Network, arch: Architecture, mapping: MappingFile, values: bool = False, seed: int = 0, command: str = "",
    recorder: Recorder | None = None, arrays: Mapping[str, Array] | None = None, given: Given | None = None,
    known: PlannedNests | None = None, limiters: bool = True,
) -> Simulation:  # fmt: skip
    """The run behind every simulation, of what `ready` has made: all layers, their energies, the checked result.

    ``known``: what runs before this one have planned. ``limiters``: whether the result says what limits each layer.
    """
    from accelsim.energy.model import EnergyModel, run_energies
    from accelsim.report.result import build_result
    from accelsim.simulator import Simulator

    energy = EnergyModel.of(arch)  # what has no source is said before anything runs
    runs, notes = Simulator(arch, mapping, seed if values else None, recorder, seed, arrays, known).run(network)
    outputs = _outputs(runs)
    energies, sources = run_energies(runs, arch, energy)
    accuracy = given.top1(network, outputs) if given is not None and values else None
    mode: Mode = "values" if values else "cycles"
    result = build_result(network, arch, runs, energies, sources, mode, seed, command, accuracy, limiters)
    return Simulation(result, tuple(runs), tuple(notes), outputs)


def given_inputs(inputs: Inputs | None) -> Given | None:
    """What `simulate` takes as ``inputs``, read."""
    if inputs is None:
        return None
    from accelsim.frontends.inputs import given_arrays, read_given

    return given_arrays(inputs) if isinstance(inputs, Mapping) else read_given(inputs)


def prepare(
    network: Source | Network, arch: Source | Architecture, batch: int | None, layers: Iterable[str] | None,
    mapping: Source | MappingFile | None, overrides: Mapping[str, Any], values: bool = False,
    given: Given | None = None, weights: Mapping[str, Array] | None = None,
) -> tuple[Network, Architecture, MappingFile, list[str]]:  # fmt: skip
    """Read everything; faults of all files are gathered and raised together."""
    faults = [
        Fault("--set", key, "is of a recipe, and nothing is compressed here: see simulate --recipe, sweep, search and compress")
        for key in overrides
        if key.startswith("compression.")
    ]
    faults += catalogue.strays_of(overrides)
    net, hardware, fixed, notes = None, None, None, list[str]()
    try:
        net, notes = catalogue.load_network(
            network, batch=batch, overrides=overrides, values=values or given is not None, weights=weights
        )
        if given is not None and batch is None:
            net = _with_batch(net, given.batch_for(net))
    except InputError as error:
        faults += error.faults
    try:
        hardware = catalogue.load_arch(arch, overrides)
    except InputError as error:
        faults += error.faults
    try:
        fixed = catalogue.load_mapping(mapping, overrides)
        if net is not None:
            source = mapping.name or "mapping" if isinstance(mapping, MappingFile) else mapping
            catalogue.check_mapping_names(fixed, net, str(source) if source else "--set mapping")
            net = net if layers is None else selected(net, layers)
    except InputError as error:
        faults += error.faults
    if faults or net is None or hardware is None or fixed is None:
        raise InputError(faults)
    net, fixed, more = ready(net, hardware, fixed, values)
    return net, hardware, fixed, [*notes, *more]


def ready(
    network: Network, arch: Architecture, mapping: MappingFile, values: bool = False
) -> tuple[Network, MappingFile, list[str]]:
    """What runs of a network: its layers at the engine's precision, its algorithms written out; the mapping of those; notes."""
    network, notes = at_engine_precision(network, listed_precisions(getattr(arch.engine, "precision", {})), values)
    whole, how = expanded(network)
    mapping = mapping.for_parts(network)
    return whole, mapping, [*notes, *how, *check_meaning(whole, arch, mapping)]


def _weights_apart(
    source: Source | Network, given: Given | None, overrides: Mapping[str, Any]
) -> tuple[Given | None, dict[str, Array]]:
    """What is given for those inputs of an ONNX model that are its weights, and what is left."""
    if given is None or isinstance(source, Network) or Path(source).suffix.lower() != ".onnx":
        return given, {}
    from accelsim.frontends.onnx import trained_inputs

    try:
        names = set(trained_inputs(Path(source), catalogue.dims_of(overrides))) & set(given.arrays)
    except InputError:  # which the reading of everything tells, with the faults of the rest
        return given, {}
    rest = {name: array for name, array in given.arrays.items() if name not in names}
    return replace(given, arrays=rest), {name: given.arrays[name] for name in names}


def _with_batch(network: Network, batch: int) -> Network:
    return network if batch == network.batch else network.with_batch(batch)


def selected(network: Network, names: Iterable[str]) -> Network:
    """The network with the layers of those names alone; with all of them where none is named."""
    faults, wanted = [], list(names)
    for name in wanted:
        try:
            network.layer(name)
        except KeyError as error:
            faults.append(Fault("--layer", name, f"{network.name}: {error.args[0]}"))
    if faults:
        raise InputError(faults)
    return network.select(wanted) if wanted else network


def _model_outputs(
    source: Source | Network, network: Network, outputs: Mapping[str, Array], overrides: Mapping[str, Any]
) -> dict[str, Array]:
    """The outputs of an ONNX model as the model has them, beside those of its layers."""
    if isinstance(source, Network) or Path(source).suffix.lower() != ".onnx":
        return {}
    from accelsim.frontends.onnx import model_outputs

    return model_outputs(Path(source), network, outputs, catalogue.dims_of(overrides))


def _outputs(runs: Iterable[LayerRun]) -> dict[str, Array]:
    """Outputs by layer name; further ports of a split are ``name.1``, ``name.2``."""
    table: dict[str, Array] = {}
    for run in runs:
        for port, array in enumerate(run.outputs or ()):
            table[f"{run.layer.name}.{port}" if port else run.layer.name] = array
    return table
