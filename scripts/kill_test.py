"""Kill -9 a sweep again and again, then let it finish: the same rows as undisturbed, each point simulated once.

    python scripts/kill_test.py --kills 10 --jobs 2

Kills come at random moments after the store has grown, so that they fall into runs, transactions and worker starts.
"""

from __future__ import annotations

import argparse
import os
import random
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from pathlib import Path

ROOT = Path(__file__).parent.parent
SPACE = [
    "lenet5", "--arch", "tpu_v1", "--layer", "conv1",
    "--vary", "arch.engine.rows=8:128:8", "--vary", "arch.engine.cols=8:128:8",
]  # fmt: skip


def command(arguments: list[str], out: Path, store: Path | None, jobs: int) -> list[str]:
    """The sweep's command line."""
    kept = ["--store", str(store)] if store else []
    return [
        sys.executable,
        "-m",
        "accelsim.cli",
        "sweep",
        *arguments,
        "--jobs",
        str(jobs),
        "--out",
        str(out),
        *kept,
    ]


def start(line: list[str]) -> subprocess.Popen[bytes]:
    """The sweep as a process group of its own."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.Popen(
        line, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )


def points_in(store: Path) -> int:
    """How many points of the newest version of the model a store holds; 0 while it is being made."""
    if not store.exists():
        return 0
    try:
        with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=5)) as base:
            return int(
                base.execute("SELECT count(*) FROM points WHERE model = (SELECT max(id) FROM models)").fetchone()[0]
            )
    except sqlite3.Error:
        return 0


def kill_once(arguments: list[str], folder: Path, jobs: int, delay_seconds: float) -> int:
    """Start the sweep, wait until it has saved something new and a moment more, kill it; how many points are saved."""
    store = folder / "killed.db"
    before = points_in(store)
    process = start(command(arguments, folder / "killed.csv", store, jobs))
    deadline = time.monotonic() + 120
    while points_in(store) <= before and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(delay_seconds)
    process.send_signal(signal.SIGKILL)  # the parent alone: its workers must follow
    process.communicate()
    return points_in(store)


def finish(arguments: list[str], out: Path, store: Path | None, jobs: int) -> bytes:
    """Run the sweep to its end; the CSV."""
    process = start(command(arguments, out, store, jobs))
    _, said = process.communicate(timeout=600)
    if process.returncode:
        raise SystemExit(f"the sweep ended with {process.returncode}: {said.decode()}")
    return out.read_bytes()


def duplicates(store: Path) -> int:
    """How many keys the store holds more than once."""
    with closing(sqlite3.connect(store)) as base:
        assert base.execute("PRAGMA integrity_check").fetchone()[0] == "ok"
        return int(base.execute("SELECT count(*) - count(DISTINCT key) FROM points").fetchone()[0])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    chance = random.Random(options.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        undisturbed = finish(SPACE, folder / "undisturbed.csv", None, 1)
        for kill in range(options.kills):
            saved = kill_once(SPACE, folder, options.jobs, chance.uniform(0, 4))
            print(f"kill {kill + 1}: {saved} points are saved", flush=True)
        last = finish(SPACE, folder / "killed.csv", folder / "killed.db", options.jobs)
        points = undisturbed.count(b"\n") - 1
        same, saved, twice = (
            last == undisturbed,
            points_in(folder / "killed.db"),
            duplicates(folder / "killed.db"),
        )
        print(f"{points} points; the same rows: {same}; in the store: {saved}, {twice} of them twice")
        raise SystemExit(0 if same and saved == points and not twice else 1)


if __name__ == "__main__":
    main()
