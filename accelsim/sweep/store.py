"""The store of a sweep: one SQLite file that remembers what has been simulated.

A point is known by the 32 bytes of its inputs' key (`accelsim.sweep.inputs`). Results arrive in transactions: after
a kill at any moment the file holds whole transactions and nothing else, and a point that comes twice is kept once.
Any number of sweeps may write to one file at a time (write-ahead log). The file must lie on a disk of this machine:
SQLite's log does not work over a network file system.

The names of a result's columns are kept once, not once a point, and points are found through an index over their
keys, so the thousandth point costs what the millionth does.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from accelsim.errors import Fault, InputError

Status = Literal["ok", "infeasible", "illegal", "defect"]
Cell = int | float | str | None
APPLICATION_ID = 0x61637377  # "acsw"
VERSION = 1
WAIT_SECONDS = 60.0
_AT_ONCE = 500  # keys in one query

_SCHEMA = """
CREATE TABLE columns (id INTEGER PRIMARY KEY, names TEXT NOT NULL UNIQUE);
CREATE TABLE models (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE);
CREATE TABLE points (
    key BLOB NOT NULL UNIQUE CHECK (length(key) = 32),
    model INTEGER NOT NULL REFERENCES models (id),
    status TEXT NOT NULL CHECK (status IN ('ok', 'infeasible', 'illegal')),
    reason TEXT NOT NULL,
    columns INTEGER NOT NULL REFERENCES columns (id),
    cells TEXT NOT NULL,
    label TEXT NOT NULL
);
"""


@dataclass(frozen=True)
class Outcome:
    """What came of one point: counts and figures by column name, or the reason why there are none.

    ``defect`` is a fault of accelsim itself, not of the point; such outcomes are not kept.
    """

    status: Status
    reason: str = ""
    metrics: Mapping[str, Cell] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """An outcome on its way into the store: its key, the model's version, and words to find it by."""

    key: bytes
    model: str
    outcome: Outcome
    label: Mapping[str, Any]


class Store:
    """A store of results; a context manager. ``None`` keeps them in memory."""

    def __init__(self, path: str | Path | None = None) -> None:
        self.path = str(path) if path is not None else ":memory:"
        if path is not None and Path(path).is_dir():
            raise InputError(Fault(self.path, "", "is a directory, must be a file"))
        try:
            self._base = sqlite3.connect(self.path, timeout=WAIT_SECONDS, isolation_level=None)
            self._open()
        except sqlite3.Error as error:
            raise InputError(Fault(self.path, "", f"cannot be used as a store: {error}")) from None
        self._ids: dict[tuple[str, str], int] = {}
        self._names: dict[int, list[str]] = {}

    @property
    def lasts(self) -> bool:
        """Whether there is a file."""
        return self.path != ":memory:"

    def _open(self) -> None:
        self._base.execute(f"PRAGMA busy_timeout = {int(WAIT_SECONDS * 1000)}")
        empty = not self._base.execute("SELECT 1 FROM sqlite_master LIMIT 1").fetchone()
        found = self._pragma("application_id")  # after the tables, which appear together with it
        if empty and found == 0:
            self._create()
        elif found != APPLICATION_ID:
            self._refuse("is a database of another program")
        if self._pragma("user_version") != VERSION:
            self._refuse(f"has version {self._pragma('user_version')} of the store, this is version {VERSION}")
        self._base.execute("PRAGMA synchronous = NORMAL")

    def _create(self) -> None:
        """Make the tables, once, whoever comes first."""
        self._write_ahead()
        with self._transaction():
            if self._pragma("application_id") == APPLICATION_ID:
                return
            for statement in filter(str.strip, _SCHEMA.split(";\n")):
                self._base.execute(statement)
            self._base.execute(f"PRAGMA application_id = {APPLICATION_ID}")
            self._base.execute(f"PRAGMA user_version = {VERSION}")

    def _write_ahead(self) -> None:
        """Turn the log on. SQLite does not wait by itself where another does so at the same time."""
        deadline = time.monotonic() + WAIT_SECONDS
        while True:
            try:
                self._base.execute("PRAGMA journal_mode = WAL")
                return
            except sqlite3.OperationalError as error:
                if "locked" not in str(error) or time.monotonic() > deadline:
                    raise
                time.sleep(0.01)

    def _pragma(self, name: str) -> int:
        return int(self._base.execute(f"PRAGMA {name}").fetchone()[0])

    def _refuse(self, why: str) -> None:
        self._base.close()
        raise InputError(Fault(self.path, "", f"{why}; choose another file with --store"))

    # ---- writing ---------------------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._base.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self._base.execute("ROLLBACK")
            raise
        self._base.execute("COMMIT")

    def add(self, entries: Iterable[Entry]) -> None:
        """Keep outcomes, all of them in one transaction; what is there already stays as it is."""
        kept = [entry for entry in entries if entry.outcome.status != "defect"]
        if not kept:
            return
        ids = dict(self._ids)
        with self._transaction():
            rows = [self._row(entry, ids) for entry in kept]
            self._base.executemany("INSERT OR IGNORE INTO points VALUES (?, ?, ?, ?, ?, ?, ?)", rows)
        self._ids = ids

    def _row(self, entry: Entry, ids: dict[tuple[str, str], int]) -> tuple[Any, ...]:
        outcome = entry.outcome
        return (
            entry.key,
            self._id("models", "name", entry.model, ids),
            outcome.status,
            outcome.reason,
            self._id("columns", "names", json.dumps(list(outcome.metrics)), ids),
            json.dumps(list(outcome.metrics.values()), allow_nan=False),
            json.dumps(dict(entry.label), default=str),
        )

    def _id(self, table: str, column: str, text: str, ids: dict[tuple[str, str], int]) -> int:
        if (table, text) not in ids:
            self._base.execute(f"INSERT OR IGNORE INTO {table} ({column}) VALUES (?)", (text,))
            found = self._base.execute(f"SELECT id FROM {table} WHERE {column} = ?", (text,)).fetchone()
            ids[table, text] = int(found[0])
        return ids[table, text]

    # ---- reading ---------------------------------------------------------------------------------------------

    def get(self, keys: Sequence[bytes]) -> dict[bytes, Outcome]:
        """The outcomes of those keys that are known."""
        found: dict[bytes, Outcome] = {}
        for first in range(0, len(keys), _AT_ONCE):
            some = keys[first : first + _AT_ONCE]
            marks = ",".join("?" * len(some))
            query = f"SELECT key, status, reason, columns, cells FROM points WHERE key IN ({marks})"
            for key, status, reason, columns, cells in self._base.execute(query, some):
                found[key] = Outcome(status, reason, self._metrics(columns, cells))
        return found

    def _metrics(self, columns: int, cells: str) -> dict[str, Cell]:
        if columns not in self._names:
            text = self._base.execute("SELECT names FROM columns WHERE id = ?", (columns,)).fetchone()[0]
            self._names[columns] = json.loads(text)
        return dict(zip(self._names[columns], json.loads(cells), strict=True))

    def __len__(self) -> int:
        return int(self._base.execute("SELECT count(*) FROM points").fetchone()[0])

    def __iter__(self) -> Iterator[dict[str, Cell]]:
        """Every point as a row, in the order in which they came: what it was called, and what came of it."""
        query = (
            "SELECT label, models.name, status, reason, columns, cells FROM points "
            "JOIN models ON models.id = points.model ORDER BY points.rowid"
        )
        for label, model, status, reason, columns, cells in self._base.execute(query):
            yield {
                **json.loads(label), "model": model, "status": status, "reason": reason,
                **self._metrics(columns, cells),
            }  # fmt: skip

    def check(self) -> None:
        """Raise `InputError` if the file is damaged."""
        said = [row[0] for row in self._base.execute("PRAGMA integrity_check")]
        said += [
            f"row {row[1]} of {row[0]} refers to nothing" for row in self._base.execute("PRAGMA foreign_key_check")
        ]
        if said != ["ok"]:
            raise InputError([Fault(self.path, "", text) for text in said if text != "ok"])

    # ---- closing ---------------------------------------------------------------------------------------------

    def close(self) -> None:
        """Close the file; what was added is on the disk."""
        self._base.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
