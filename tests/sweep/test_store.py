"""The store keeps every outcome once, whoever wrote it, and survives what happens to it."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import threading
from pathlib import Path
from random import Random

import pytest

from accelsim.errors import InputError
from accelsim.sweep.store import Entry, Outcome, StoppedError, Store


def entry(number: int, **metrics: float) -> Entry:
    outcome = Outcome("ok", "", {"cycles": number, **metrics})
    return Entry(number.to_bytes(32, "big"), "model-1", outcome, {"number": number})


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    values = {"share": 0.1 + 0.2, "large": 2**53, "small": 5e-324}
    with Store(tmp_path / "s.db") as store:
        store.add([entry(1, **values), Entry(b"x" * 32, "m", Outcome("infeasible", "no room"), {})])
        store.add([entry(1, cycles=7)])  # comes twice, is kept once
    with Store(tmp_path / "s.db") as store:
        store.check()
        found = store.get([entry(1).key, b"x" * 32, b"y" * 32])
        assert found[entry(1).key].metrics == {"cycles": 1, **values}
        assert found[b"x" * 32] == Outcome("infeasible", "no room", {})
        assert len(store) == len(found) == 2
        assert [row["model"] for row in store] == ["model-1", "m"]


def test_defects_are_not_kept() -> None:
    with Store() as store:
        store.add([Entry(b"x" * 32, "m", Outcome("defect", "bug"), {})])
        assert len(store) == 0


def test_other_files_are_refused(tmp_path: Path) -> None:
    (tmp_path / "text.db").write_text("not a database, but long enough to look like one" * 10)
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE t (x)")
    for name, message in (
        ("text.db", "not a database"),
        ("other.db", "another program"),
        (".", "is a directory"),
    ):
        with pytest.raises(InputError, match=message):
            Store(tmp_path / name)


def test_every_bit_of_a_row_is_sealed(tmp_path: Path) -> None:
    for column, value in (("cells", "'[2]'"), ("status", "'infeasible'"), ("reason", "'x'"), ("label", "'{}'")):
        path = tmp_path / f"{column}.db"
        with Store(path) as store:
            store.add([entry(1)])
        with sqlite3.connect(path) as base:
            base.execute(f"UPDATE points SET {column} = {value}")
        with Store(path) as store, pytest.raises(InputError, match=r"is damaged \(a row is not what was written\)"):
            store.get([entry(1).key])


@pytest.mark.parametrize("table", ["points", "columns", "models"])
def test_a_table_that_is_gone_is_told(tmp_path: Path, table: str) -> None:
    with Store(tmp_path / "s.db") as store:
        store.add([entry(1)])
    with sqlite3.connect(tmp_path / "s.db") as base:
        base.execute(f"DROP TABLE {table}")
    with Store(tmp_path / "s.db") as store, pytest.raises(InputError, match=f"is damaged \\(no such table: {table}"):
        list(store)


def test_flipped_bytes_are_told_or_do_no_harm(tmp_path: Path) -> None:
    with Store(tmp_path / "s.db") as store:
        store.add([entry(number) for number in range(200)])
    whole, random = (tmp_path / "s.db").read_bytes(), Random(1)
    for number in range(40):
        damaged = bytearray(whole)
        for _ in range(10):
            damaged[random.randrange(len(damaged))] ^= 1 << random.randrange(8)
        path = tmp_path / f"{number}.db"
        path.write_bytes(damaged)
        try:
            with Store(path) as store:
                store.add([entry(number) for number in range(300)])
                found = store.get([entry(number).key for number in range(300)])
        except (InputError, StoppedError):
            continue
        assert all(outcome.metrics == {"cycles": int.from_bytes(key, "big")} for key, outcome in found.items())


def test_a_full_disk_keeps_what_was_there(tmp_path: Path) -> None:
    with Store(tmp_path / "s.db") as store:
        store.add([entry(1)])
        pages = store._pragma("page_count")
        store._base.execute(f"PRAGMA max_page_count = {pages + 1}")
        with pytest.raises(StoppedError, match="cannot be written"):
            store.add([entry(number) for number in range(1000)])
        assert len(store) == 1
    with Store(tmp_path / "s.db") as store:
        store.check()
        store.add([entry(2)])
        assert [row["cycles"] for row in store] == [1, 2]


def test_a_file_of_another_version_is_refused(tmp_path: Path) -> None:
    Store(tmp_path / "s.db").close()
    with sqlite3.connect(tmp_path / "s.db") as base:
        base.execute("PRAGMA user_version = 1")
    with pytest.raises(InputError, match="has version 1 of the store, this is version 2"):
        Store(tmp_path / "s.db")


def test_a_failed_transaction_leaves_nothing(tmp_path: Path) -> None:
    with Store(tmp_path / "s.db") as store:
        with pytest.raises(sqlite3.IntegrityError):
            store._base.execute("INSERT INTO points VALUES (x'00', 1, 'ok', '', 1, '[]', '{}', x'00')")
        with pytest.raises(ValueError, match="JSON"):
            store.add([entry(1), entry(2, share=float("nan"))])
        assert len(store) == 0
        store.add([entry(1), entry(2)])
        assert len(store) == 2


def test_two_writers_share_a_store(tmp_path: Path) -> None:
    def write(first: int) -> None:
        with Store(tmp_path / "s.db") as store:
            for number in range(first, first + 100):
                store.add([entry(number)])

    writers = [threading.Thread(target=write, args=(first,)) for first in (0, 50)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    with Store(tmp_path / "s.db") as store:
        store.check()
        assert sorted(int(str(row["cycles"])) for row in store) == list(range(150))


KILLED = """
import os, signal, sys
from accelsim.sweep.store import Entry, Outcome, Store
store = Store(sys.argv[1])
for number in range(1000):
    if number == 57:
        store._base.execute("BEGIN IMMEDIATE")  # in the middle of a transaction
        store._base.execute("INSERT INTO models (name) VALUES ('half')")
        os.kill(os.getpid(), signal.SIGKILL)
    store.add([Entry(number.to_bytes(32, "big"), "m", Outcome("ok", "", {"cycles": number}), {})])
"""


def test_a_kill_in_a_transaction_loses_nothing_and_leaves_nothing_half_done(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "s.db")], check=False)
    assert done.returncode == -9
    with Store(tmp_path / "s.db") as store:
        store.check()
        assert [row["cycles"] for row in store] == list(range(57))
        assert "half" not in [name for (name,) in store._base.execute("SELECT name FROM models")]
