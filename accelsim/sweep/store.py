"""The store of a sweep: one SQLite file that remembers what has been simulated.

A point is known by the 32 bytes of its inputs' key (`accelsim.sweep.inputs`). Results arrive in transactions: after
a kill at any moment the file holds whole transactions and nothing else, and a point that comes twice is kept once.
Any number of sweeps may write to one file at a time (write-ahead log). The file must lie on a disk of this machine:
SQLite's log does not work over a network file system.

Every point is sealed by a digest of its row: what a failing disk changes is told, not believed. Results of another
version of the code have other keys, so they are never found; a file of another version of this format is refused.

The names of a result's columns are kept once, not once a point, and points are found through an index over their
keys, so the thousandth point costs what the millionth does.
"""

from __future__ import annotations

import hashlib
import json
import os
import sqlite3
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal

from accelsim.errors import AccelsimError, Fault, InputError

Status = Literal["ok", "infeasible", "illegal", "defect"]
Cell = int | float | str | None
APPLICATION_ID = 0x61637377  # "acsw"
VERSION = 2
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
    label TEXT NOT NULL,
    seal BLOB NOT NULL
);
"""


_KEPT = "key, status, reason, columns, cells, label, seal"
_DAMAGED = ("SQLITE_CORRUPT", "SQLITE_NOTADB", "SQLITE_FORMAT")
_DAMAGE = ("no such table", "no such column", "Could not decode")
_DISK = ("SQLITE_FULL", "SQLITE_IOERR", "SQLITE_BUSY", "SQLITE_LOCKED")


class StoppedError(AccelsimError):
    """Something that a sweep stands on gave way while it ran: a full disk, a scheduler that died."""


def _seal(*parts: bytes | str) -> bytes:
    """A digest of a row as it is written."""
    whole = [part if isinstance(part, bytes) else str(part).encode("utf-8", "surrogatepass") for part in parts]
    return hashlib.sha256(b"\0".join(whole)).digest()[:8]


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
        if path is not None and os.path.isdir(path):
            raise InputError(Fault(self.path, "", "is a directory, must be a file"))
        try:
            self._base = sqlite3.connect(self.path, timeout=WAIT_SECONDS, isolation_level=None)
            self._open()
        except sqlite3.Error as error:
            raise self._told(error) from None
        self._ids: dict[tuple[str, str], int] = {}
        self._names: dict[int, str] = {}

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

    def _told(self, error: sqlite3.Error) -> AccelsimError:
        """What SQLite says, as an error of ours: the file's fault, or the disk's."""
        code = getattr(error, "sqlite_errorname", None) or ""
        said = str(error).split(" with text ")[0]  # and not the text, which may be long
        if code.startswith(_DAMAGED) or any(words in said for words in _DAMAGE):
            return self._damaged(said)
        if code.startswith(_DISK):
            return StoppedError(f"{self.path}: the store cannot be written ({error})")
        return InputError(Fault(self.path, "", f"cannot be used as a store: {error}"))

    def _damaged(self, how: str) -> InputError:
        return InputError(Fault(self.path, "", f"is damaged ({how}); move it away, or choose another file with --store"))

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise self._told(error) from None

    def _refuse(self, why: str) -> None:
        self._base.close()
        raise InputError(Fault(self.path, "", f"{why}; choose another file with --store"))

    # ---- writing ---------------------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._base.execute("BEGIN IMMEDIATE")
        try:
            yield
            self._base.execute("COMMIT")
        except BaseException:
            if self._base.in_transaction:  # a full disk has ended it already
                self._base.execute("ROLLBACK")
            raise

    def add(self, entries: Iterable[Entry]) -> None:
        """Keep outcomes, all of them in one transaction; what is there already stays as it is."""
        kept = [entry for entry in entries if entry.outcome.status != "defect"]
        if not kept:
            return
        ids = dict(self._ids)
        with self._telling(), self._transaction():
            rows = [self._row(entry, ids) for entry in kept]
            self._base.executemany("INSERT OR IGNORE INTO points VALUES (?, ?, ?, ?, ?, ?, ?, ?)", rows)
        self._ids = ids

    def _row(self, entry: Entry, ids: dict[tuple[str, str], int]) -> tuple[Any, ...]:
        outcome, names = entry.outcome, json.dumps(list(entry.outcome.metrics))
        model, columns = self._id("models", "name", entry.model, ids), self._id("columns", "names", names, ids)
        cells = json.dumps(list(outcome.metrics.values()), allow_nan=False)
        label = json.dumps(dict(entry.label), default=str)
        seal = _seal(entry.key, outcome.status, outcome.reason, names, cells, label)
        return (entry.key, model, outcome.status, outcome.reason, columns, cells, label, seal)

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
            query = f"SELECT {_KEPT} FROM points WHERE key IN ({marks})"
            with self._telling():
                found |= {row[0]: self._outcome(row) for row in self._base.execute(query, some)}
        return found

    def _outcome(self, row: Sequence[Any]) -> Outcome:
        """The outcome of a row of `_KEPT`; raises `InputError` where it is not the row that was written."""
        key, status, reason, columns, cells, label, seal = row
        names = self._column_names(columns)
        if seal != _seal(key, status, reason, names, cells, label):
            raise self._damaged("a row is not what was written")
        return Outcome(status, reason, dict(zip(json.loads(names), json.loads(cells), strict=True)))

    def _column_names(self, columns: int) -> str:
        if columns not in self._names:
            found = self._base.execute("SELECT names FROM columns WHERE id = ?", (columns,)).fetchone()
            self._names[columns] = found[0] if found else ""
        return self._names[columns]

    def __len__(self) -> int:
        with self._telling():
            return int(self._base.execute("SELECT count(*) FROM points").fetchone()[0])

    def __iter__(self) -> Iterator[dict[str, Cell]]:
        """Every point as a row, in the order in which they came: what it was called, and what came of it."""
        query = f"SELECT models.name, {_KEPT} FROM points JOIN models ON models.id = points.model ORDER BY points.rowid"
        with self._telling():
            for model, *row in self._base.execute(query):
                outcome, label = self._outcome(row), json.loads(row[5])
                yield {**label, "model": model, "status": outcome.status, "reason": outcome.reason, **outcome.metrics}

    def check(self) -> None:
        """Raise `InputError` if the file is damaged."""
        with self._telling():
            said = [row[0] for row in self._base.execute("PRAGMA integrity_check")]
            orphans = self._base.execute("PRAGMA foreign_key_check").fetchall()
        said += [f"row {row[1]} of {row[0]} refers to nothing" for row in orphans]
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
