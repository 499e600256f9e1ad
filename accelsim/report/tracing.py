"""``simulate --trace FILE``: what kind of trace the file's name asks for, and writing it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from accelsim.engines.walk import Recorder
from accelsim.errors import Fault, InputError, join_allowed
from accelsim.report.files import write_file

if TYPE_CHECKING:
    from accelsim.api import Simulation
    from accelsim.arch.spec import Architecture
    from accelsim.mapping.mapping import MappingFile
    from accelsim.workload.network import Network

SUFFIXES = (".json", ".vcd", ".svg", ".html")


@dataclass
class _OfRegisters(Recorder):
    """Refuses what is too large for a trace of registers before any of it runs."""

    suffix: str = ".vcd"

    def started(self, network: Network, arch: Architecture, mapping: MappingFile, seed: int | None) -> None:
        from accelsim.report import registers

        machine = _machine_of(network, arch, mapping)
        room = _films_of(machine) if self.suffix == ".vcd" else registers  # pictures are of arrays
        room.refuse(network, machine)
        super().started(network, arch, mapping, seed)


def _machine_of(network: Network, arch: Architecture, mapping: MappingFile) -> Architecture:
    """The architecture on which a mapping puts all of ``network``; ``arch`` where they are several."""
    from accelsim.schedule.assign import shares

    found = shares(network, arch, mapping)
    return found[0].arch if len(found) == 1 else arch


def _films_of(arch: Architecture) -> ModuleType:
    """The room in which the registers of such an engine are stepped."""
    from accelsim.arch.spec import NfuSpec, SparseSpec

    if isinstance(arch.engine, SparseSpec):
        from accelsim.report import sparse_registers

        return sparse_registers
    if isinstance(arch.engine, NfuSpec):
        from accelsim.report import nfu_registers

        return nfu_registers
    from accelsim.report import registers

    return registers


@dataclass(frozen=True)
class Tracing:
    """A trace that is to be written: events (.json), registers (.vcd), or a moving picture (.svg, .html)."""

    path: Path
    recorder: Recorder = field(default_factory=Recorder)

    @classmethod
    def of(cls, path: str | Path, values: bool) -> Tracing:
        """Check the name before anything runs; InputError for one that says nothing."""
        path = Path(path)
        suffix = path.suffix.lower()
        if suffix not in SUFFIXES:
            words = f'ends in "{suffix}", a trace must end in {join_allowed(SUFFIXES)}'
            raise InputError(Fault(str(path), "--trace", words))
        if suffix != ".json" and not values:
            raise InputError(Fault(str(path), "--trace", f"a {suffix} trace shows operands: add --values"))
        return cls(path) if suffix == ".json" else cls(path, _OfRegisters(suffix=suffix))

    def write(self, run: Simulation) -> Path:
        """Write the trace of a run that ``recorder`` went along with, whole or not at all."""
        return write_file(self.path, self.text(run).encode())

    def text(self, run: Simulation) -> str:
        """The file's content."""
        suffix = self.path.suffix.lower()
        if suffix == ".json":
            from accelsim.report.trace import build_trace

            return build_trace(run.runs, self.recorder).to_json()
        work = self.recorder.work
        assert work is not None, "a recorder that went along with a run knows what it was"
        machine = _machine_of(work.network, work.arch, work.mapping)
        film = _films_of(machine).film(work.network, machine, work.mapping, work.seed or 0)
        if suffix == ".vcd":
            from accelsim.report.waveform import to_vcd

            return to_vcd(film)
        from accelsim.report.animation import to_html, to_svg

        return to_svg(film) if suffix == ".svg" else to_html(film)
