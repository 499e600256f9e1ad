"""The result file, schema ``accelsim.result/1``: what ``report.json`` holds, and how it is written and read
back.

Names say their units. Readers of later versions of the schema's first edition ignore keys that they do not
know.
"""

from __future__ import annotations

import json
import os
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NoReturn

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from accelsim.errors import Fault, InputError, nearest
from accelsim.report.words import rate
from accelsim.yaml_io import Document, read_text, validate

if TYPE_CHECKING:
    import pandas  # type: ignore[import-untyped, unused-ignore]

SCHEMA = "accelsim.result/1"
REPORT, LAYERS = "report.json", "layers.csv"
Mode = Literal["cycles", "values"]
Bound = Literal["compute", "memory"]
Count = Annotated[int, Field(ge=0)]
Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


def _named(document: Any) -> Any:
    """``{"name": ..., "sha256": ...}`` also as a bare name."""
    return {"name": document} if isinstance(document, str) else document


class _Record(BaseModel):
    model_config = ConfigDict(
        frozen=True, extra="ignore", populate_by_name=True, ignored_types=(cached_property,)
    )


class InputFile(_Record):
    """An input by its name and the digest of its content."""

    name: str
    sha256: str = ""


class Provenance(_Record):
    """What made this result. The only part that may differ between two runs of the same inputs and seed."""

    accelsim: str
    python: str
    numba: str
    network: Annotated[InputFile, BeforeValidator(_named)]
    arch: Annotated[InputFile, BeforeValidator(_named)]
    seed: int
    command: str = ""


class RoofRecord(_Record):
    """A ceiling of the machine: its peak at one precision, and the intensity from which it can be reached."""

    name: str
    peak_gops: Amount
    ridge_ops_per_byte: Amount | None


class LevelRecord(_Record):
    """A memory level; a size or bandwidth of null is unlimited. ``holds`` is empty for the far end."""

    name: str
    size_bytes: Count | None = None
    bandwidth_bytes_per_second: Amount | None = None
    holds: list[str] = []


class OtherMachine(_Record):
    """An architecture beside the main one, which a mapping's ``engine`` names; its levels are called ``eie.spmat``."""

    clock_hz: Count
    sha256: str = ""
    off_chip: str
    bandwidth_bytes_per_second: Amount | None
    levels: list[LevelRecord] = []
    engine: dict[str, Any] = {}


class Machine(_Record):
    """The machine: one roof for each precision used, its levels from the far end on, its engine as in its YAML.

    A bandwidth of null is unlimited.
    """

    off_chip: str
    bandwidth_bytes_per_second: Amount | None
    roofs: list[RoofRecord]
    levels: list[LevelRecord] = []
    engine: dict[str, Any] = {}
    others: dict[str, OtherMachine] = {}


class TrafficBytes(_Record):
    """Bytes that crossed a port."""

    read: Count = 0
    write: Count = 0

    @property
    def total(self) -> int:
        return self.read + self.write


class Roofline(_Record):
    """Where work stands under its roof. ``intensity_ops_per_byte`` null: no off-chip traffic, so bound by
    compute.

    ``peak_gops`` is what the units in use can do; ``macs_per_weight_byte`` is the TPU paper's x axis (null:
    no weights were read from off chip, or there are no MACs).
    """

    intensity_ops_per_byte: Amount | None
    macs_per_weight_byte: Amount | None
    attained_gops: Amount
    roof_gops: Amount
    peak_gops: Amount
    bound: Bound

    @property
    def share_of_roof(self) -> float:
        """Attained over roof, 0 to 1; 0 under a roof of zero."""
        return self.attained_gops / self.roof_gops if self.roof_gops else 0.0


class PrecisionNames(_Record):
    """Number formats of a layer, such as ``int8``."""

    weight: str
    input: str
    output: str
    accumulator: str


class WeightRecord(_Record):
    """A layer's weights, and what they take where the hardware stores them.

    ``parameters``: weights, biases and whatever else was trained. ``elements``: the weights alone, ``nonzero`` of them
    not zero: counted by an engine that skips zeros, else by the density that the network states. ``addresses``: places
    in the store, a sparse format's padding zeros among them. ``stored_bits``: all that is stored, ``index_bits`` of them
    to say where a weight stands (indices, pointers).
    """

    parameters: Count
    elements: Count
    nonzero: Count
    addresses: Count
    stored_bits: Count
    index_bits: Count = 0

    @property
    def nonzero_parameters(self) -> int:
        """Parameters without the weights that are zero."""
        return self.parameters - self.elements + self.nonzero


class Leave(_Record):
    """Where inputs leave: after which layer (empty: at the end), what share of all, having taken how much."""

    after: str
    share: Annotated[float, Field(ge=0, le=1)]
    cycles: Amount
    seconds: Amount
    energy_pj: Amount


class Expected(_Record):
    """What an input takes on average, where layers have exits or gates; the totals are those of the full run."""

    cycles: Amount
    seconds: Amount
    macs: Amount
    effective_macs: Amount
    energy_pj: Amount
    off_chip_bytes: Amount
    leaves: list[Leave]


class Totals(_Record):
    """The whole network, layers one after the other."""

    cycles: Count
    seconds: Amount
    macs: Count
    effective_macs: Count
    vector_ops: Count = 0
    ops: Count
    unmodelled_ops: Count = 0
    utilization: Amount
    busy_cycles: Count
    stall_cycles: dict[str, Count]
    traffic_bytes: dict[str, TrafficBytes]
    energy_pj: dict[str, Amount]
    energy_total_pj: Amount
    power_w: Amount
    attained_gops: Amount
    roofline: Roofline
    accumulator_overflows: Count = 0

    @property
    def unmodelled_share(self) -> float:
        """Of all operations those that nothing on the machine does."""
        return self.unmodelled_ops / (self.ops + self.unmodelled_ops) if self.unmodelled_ops else 0.0


class LimiterRecord(_Record):
    """The ``resource`` whose rate would change a layer's time the most, and the cycles if it took no time at all."""

    resource: str
    cycles_without: Count


class LayerResult(_Record):
    """One layer. ``stall_cycles`` and ``busy_cycles`` add up to ``cycles``; the seconds are cycles over the
    clock. ``machine``: the architecture that ran it, empty for the result's own; its cycles are on the result's clock,
    rounded up, and ``unit_counts`` on its own. ``occupied_cycles``: in which a resource is at work, whatever else is;
    ``limiter``: the one that limits the layer (both where the clock is the result's own).
    ``input_density``: share of the first input that is not zero, of a layer
    with MACs: counted on given inputs and by an engine that skips zeros, else as the network states it.
    ``probability``: that it runs, given the network's exits and gates; all counters are those of a run.
    """

    name: str
    op: str
    engine: str
    machine: str = ""
    roof: str = ""
    inputs: list[str] = []
    input_shapes: list[list[int]] = []
    output_shapes: list[list[int]] = []
    epilogue: list[str] = []
    dims: dict[str, Count]
    precision: PrecisionNames
    mapping: dict[str, Any]
    cycles: Count
    seconds: Amount
    busy_cycles: Count
    stall_cycles: dict[str, Count]
    port_cycles: dict[str, Count] = {}
    occupied_cycles: dict[str, Count] = {}
    limiter: LimiterRecord | None = None
    unit_counts: dict[str, Count] = {}
    macs: Count
    effective_macs: Count
    vector_ops: Count = 0
    ops: Count
    peak_macs_per_cycle: Amount = 0.0
    utilization: Amount
    traffic_bytes: dict[str, dict[str, TrafficBytes]]
    energy_pj: dict[str, Amount]
    energy_total_pj: Amount
    roofline: Roofline
    accumulator_overflows: Count = 0
    weights: WeightRecord | None = None
    input_density: Annotated[float, Field(ge=0, le=1)] | None = None
    probability: Annotated[float, Field(ge=0, le=1)] = 1.0

    def level_traffic(self, level: str) -> TrafficBytes:
        """Bytes through one level's port, all tensors together."""
        tensors = self.traffic_bytes.get(level, {}).values()
        return TrafficBytes(read=sum(t.read for t in tensors), write=sum(t.write for t in tensors))

    @property
    def main_stall(self) -> tuple[str, int]:
        """The cause that took most cycles, and how many; ``("", 0)`` where nothing stalled."""
        cause, cycles = max(self.stall_cycles.items(), key=lambda item: item[1], default=("", 0))
        return (cause, cycles) if cycles else ("", 0)

    @property
    def roof_name(self) -> str:
        """The roof this layer runs under: its precision as in `RoofRecord.name`, or ``vector``."""
        if not self.macs:
            return f"{self.machine}:vector" if self.machine else "vector"
        if self.roof:
            return self.roof
        weight, activation = self.precision.weight, self.precision.input
        return weight if weight == activation else f"{weight}x{activation}"


class Result(_Record):
    """A finished simulation: ``totals``, ``layers`` and where they come from; ``expected`` where layers have exits or gates.

    ``batch_parts``: equal parts of the batch that went through the network one after the other; a layer's counts are
    those of all of them, its mapping that of each. ``accuracy``: share of the samples whose largest output is the labelled
    one, where labels were given.
    """

    schema_: Literal["accelsim.result/1"] = Field(default="accelsim.result/1", alias="schema")
    provenance: Provenance
    network: str
    architecture: str
    clock_hz: Annotated[int, Field(gt=0)]
    batch: Annotated[int, Field(gt=0)]
    batch_parts: Annotated[int, Field(gt=0)] = 1
    mode: Mode
    machine: Machine
    energy_sources: list[dict[str, Any]] = []
    totals: Totals
    accuracy: Annotated[float, Field(ge=0, le=1)] | None = None
    expected: Expected | None = None
    layers: list[LayerResult]

    @model_validator(mode="after")
    def _names_differ(self) -> Result:
        if len(self._by_name) != len(self.layers):
            raise ValueError("layers: a name is used for more than one layer")
        strange = next((layer for layer in self.layers if layer.machine and layer.machine not in self.machine.others), None)
        if strange is not None:
            raise ValueError(f'layers: {strange.name} ran on "{strange.machine}", which is none of machine.others')
        return self

    @cached_property
    def _by_name(self) -> dict[str, LayerResult]:
        return {layer.name: layer for layer in self.layers}

    @cached_property
    def longest_cycles(self) -> int:
        """Cycles of the layer that takes most."""
        return max((layer.cycles for layer in self.layers), default=0)

    @cached_property
    def ports_used(self) -> tuple[tuple[str, str], ...]:
        """(level, tensor) pairs with traffic in any layer."""
        pairs = ((level, t) for layer in self.layers for level, tensors in layer.traffic_bytes.items() for t in tensors)
        return tuple(dict.fromkeys(pairs))

    @cached_property
    def port_states(self) -> tuple[str, ...]:
        """The keys of any layer's ``port_cycles``."""
        return tuple(dict.fromkeys(key for layer in self.layers for key in layer.port_cycles))

    @cached_property
    def unit_names(self) -> tuple[str, ...]:
        """The keys of any layer's ``unit_counts``."""
        return tuple(dict.fromkeys(key for layer in self.layers for key in layer.unit_counts))

    def layer(self, name: str) -> LayerResult:
        """The layer of that name; KeyError with the nearest known name."""
        if name not in self._by_name:
            raise KeyError(f"there is no layer {name!r}{nearest(name, self._by_name)}")
        return self._by_name[name]

    def machine_of(self, layer: LayerResult) -> str:
        """The architecture that ran ``layer``."""
        return layer.machine or self.architecture

    def off_chip_traffic(self, layer: LayerResult) -> TrafficBytes:
        """Bytes between ``layer``'s own machine and its far memory."""
        machine = self.machine.others[layer.machine] if layer.machine else self.machine
        return layer.level_traffic(machine.off_chip)

    def whole_layers(self) -> dict[str, list[LayerResult]]:
        """The network's layers, each with the parts that compute it: one, or the three of an algorithm of convolution."""
        parts = {layer.name: [layer] for layer in self.layers}
        for layer in self.layers:
            if layer.op == "transform_output" and layer.inputs[0] in self._by_name:
                product = self._by_name[layer.inputs[0]]
                inner = [self._by_name[name] for name in (*product.inputs, product.name) if name in self._by_name]
                parts[layer.name] = [*inner, layer]
                for part in inner:
                    parts.pop(part.name, None)
        return parts

    def summary(self, width: int = 100, rows: int | None = 40) -> str:
        """The table of layers and the totals as plain text, ``width`` columns wide.

        With more than ``rows`` layers those that take least time are folded; None shows all.
        """
        from accelsim.report.table import render

        return render(self, width=width, rows=rows)

    def to_dataframe(self) -> pandas.DataFrame:
        """One row a layer, the columns of ``layers.csv``; needs pandas."""
        from accelsim.report.rows import layer_row

        try:
            import pandas
        except ImportError:
            raise ImportError(
                "to_dataframe needs pandas, which is not installed: pip install pandas; "
                "without it, write(folder) gives the same table as layers.csv"
            ) from None
        return pandas.DataFrame([layer_row(self, layer) for layer in self.layers])

    def to_json(self) -> str:
        """The text of ``report.json``: the same inputs and seed give the same text, provenance aside."""
        return json.dumps(self.model_dump(mode="json", by_alias=True), indent=1, allow_nan=False) + "\n"

    def to_csv(self) -> str:
        """The text of ``layers.csv``: one row a layer, units in the columns' names."""
        from accelsim.report.rows import layer_row, to_csv

        return to_csv([layer_row(self, layer) for layer in self.layers])

    def write(self, folder: str | Path) -> list[Path]:
        """Write ``report.json`` and ``layers.csv`` into ``folder``, whole or not at all; InputError if it
        cannot.
        """
        from accelsim.report.files import write_files

        return write_files(folder, {REPORT: self.to_json().encode(), LAYERS: self.to_csv().encode()})

    @classmethod
    def read(cls, path: str | Path) -> Result:
        """Read a result file, or the ``report.json`` of a folder; InputError says all that is wrong with
        it.
        """
        path = Path(path)
        path = path / REPORT if os.path.isdir(path) else path
        return cls.from_json(read_text(path), source=str(path))

    @classmethod
    def from_json(cls, text: str, source: str = "result") -> Result:
        """The opposite of `to_json`; ``source`` names the text in faults."""
        return validate(Document(_checked(_parse(text, source), source), source), cls)

    def _repr_html_(self) -> str:
        from accelsim.report.html import to_html

        return to_html(self)

    def __repr__(self) -> str:
        return (
            f"<Result {self.network} on {self.architecture}: batch {self.batch}, {len(self.layers)} layers, "
            f"{self.totals.cycles:,} cycles, {rate(self.totals.attained_gops)}>"
        )

    __str__ = __repr__


def _parse(text: str, source: str) -> Any:
    def refuse(constant: str) -> NoReturn:
        raise InputError(Fault(source, "", f"holds {constant}, which is not a number of JSON"))

    try:
        return json.loads(text, parse_constant=refuse)
    except json.JSONDecodeError as error:
        fault = Fault(source, "", f"is not JSON: {error.msg}", error.lineno, error.colno)
        raise InputError(fault) from None
    except RecursionError:
        raise InputError(Fault(source, "", "is not a result: it is nested too deeply")) from None


def _checked(data: Any, source: str) -> Any:
    """Say first whether this is a result at all, rather than list every key that it lacks."""
    found = data.get("schema") if isinstance(data, dict) else None
    if isinstance(data, dict) and found != SCHEMA:
        words = "is missing" if found is None else f"is {json.dumps(found)}"
        raise InputError(
            Fault(source, "schema", f'{words}, must be "{SCHEMA}": this is no result of accelsim simulate')
        )
    return data
