"""What the commands ``sweep`` and ``search`` do before and after: flags to a `Spec`, a table to the console."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from rich.console import Console

from accelsim.catalogue import parse_overrides
from accelsim.errors import Fault, InputError
from accelsim.sweep.show import print_sweep
from accelsim.sweep.spec import SCHEMA, Spec, make_spec, parse_vary, refuse_beside, spec_of
from accelsim.sweep.table import SweepTable, check_output
from accelsim.yaml_io import Document, load_document

MOST_NOTES = 20
_SAID_BY_FILE = {
    "arch": "arch", "vary": "vary", "where": "where", "objective": "objective", "batch": "batch", "layer": "layers",
    "mapping": "mapping", "recipe": "recipe", "assignments": "set", "values": "values", "seed": "seed",
    "tilings": "tilings", "no_bound": "tilings.bound", "top": "tilings.top",
}  # fmt: skip
"""Options that say what a key of a sweep file says."""


def spec_from(options: argparse.Namespace, **tilings: Any) -> Spec:
    """The sweep that flags, or a sweep file, describe; what cannot be written at the end is refused now."""
    if options.out:
        check_output(options.out)
    document = _sweep_file(options.networks)
    if document is not None:
        refuse_beside(document, _given(options))
        return spec_of(document)
    if not options.arch:
        raise InputError(Fault("--arch", "", "is missing: name an architecture, or give a sweep file"))
    return make_spec(
        options.networks, options.arch, parse_vary(options.vary), where=options.where, objectives=options.objective,
        settings=parse_overrides(options.assignments), batch=options.batch, layers=options.layer,
        mapping=options.mapping, recipe=options.recipe, values=options.values, seed=options.seed, **tilings,
    )  # fmt: skip


def _sweep_file(networks: list[str]) -> Document | None:
    """The sweep file, if that is what is given."""
    path = Path(networks[0])
    if len(networks) > 1 or path.suffix not in (".yaml", ".yml"):
        return None
    document = load_document(path)
    is_sweep = isinstance(document.data, dict) and document.data.get("schema") == SCHEMA
    return document if is_sweep else None


def _given(options: argparse.Namespace) -> dict[str, tuple[str, Any]]:
    """What flags say of a sweep: the key of a file that says it -> the flag and its value."""
    flags = {"assignments": "set", "no_bound": "no-bound"}
    values = {name: getattr(options, name, None) for name in _SAID_BY_FILE}
    return {
        _SAID_BY_FILE[name]: (f"--{flags.get(name, name)}", value)
        for name, value in values.items()
        if value is not None and value is not False and value != []
    }


def finish(table: SweepTable, out: str | None, console: Console) -> int:
    """Write and show the table; the exit status: 1 where nothing ran, or something failed that should not."""
    for note in table.notes[:MOST_NOTES]:
        print(f"note: {note}", file=sys.stderr)
    if len(table.notes) > MOST_NOTES:
        print(f"note: and {len(table.notes) - MOST_NOTES} more, of other points", file=sys.stderr)
    if out:
        table.write(out)
    print_sweep(table, console, written=bool(out))
    if out:
        console.print(f"written: {out}", highlight=False)
    failed = table.counts.get("defect", 0)
    if failed:
        reason = next(str(row["reason"]) for row in table.rows if row["status"] == "defect")
        print(f"{failed} points failed: {reason}", file=sys.stderr)
    return 1 if failed or not table.ok else 0
