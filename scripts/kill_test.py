"""Kill -9 a sweep again and again, then let it finish: the same rows as undisturbed, each point simulated once.

    python scripts/kill_test.py --kills 10 --jobs 2

Every kill comes in mid-sweep: after this run has saved some points, at a random moment, with points still to do; so
kills fall into runs, transactions and handing over. By turns dies the parent alone (its workers must follow), the whole group
at once, or a worker (the sweep must go on without it) and then the parent. Needs /proc, that is Linux.
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
from contextlib import closing, suppress
from pathlib import Path

import accelsim

SPACE = [
    "lenet5", "--arch", "tpu_v1", "--layer", "conv1",
    "--vary", "arch.engine.rows=2:256:2", "--vary", "arch.engine.cols=8:256:8",
]  # fmt: skip
VICTIMS = ("the parent", "the whole group", "a worker, then the parent")
MOST_POINTS, MOST_DELAY_SECONDS = 200, 0.3  # that a run may save, and live on after that, before it is killed


def command(arguments: list[str], out: Path, store: Path | None, jobs: int) -> list[str]:
    """The sweep's command line."""
    kept = ["--store", str(store)] if store else []
    sweep = [sys.executable, "-P", "-m", "accelsim.cli", "sweep", *arguments]  # the package of this process, not the folder's
    return [*sweep, "--jobs", str(jobs), "--out", str(out), *kept]


def start(line: list[str]) -> subprocess.Popen[bytes]:
    """The sweep as a process group of its own."""
    package = Path(accelsim.__file__).parent.parent  # that of this process, installed or not
    environment = {**os.environ, "PYTHONPATH": str(package)}
    return subprocess.Popen(
        line, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )


def points_in(store: Path) -> int:
    """How many points of the newest version of the model a store holds; 0 while it is being made."""
    if not store.exists():
        return 0
    try:
        with closing(sqlite3.connect(f"file:{store}?mode=ro", uri=True, timeout=5)) as base:
            query = "SELECT count(*) FROM points WHERE model = (SELECT max(id) FROM models)"
            return int(base.execute(query).fetchone()[0])
    except sqlite3.Error:
        return 0


def wait_for_more(store: Path, than: int, process: subprocess.Popen[bytes]) -> int:
    """How many points are saved, once there are more than so many (or the sweep has ended, or two minutes are over)."""
    deadline = time.monotonic() + 120
    while (saved := points_in(store)) <= than and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    return saved


def workers_of(parent: int) -> list[int]:
    """The processes of a sweep's pool."""
    listed = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [int(child) for child in listed if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes()]


def kill_once(
    arguments: list[str], folder: Path, jobs: int, delay_seconds: float, victim: str = VICTIMS[0], points: int = 1
) -> int:
    """Start the sweep, wait until it has saved so many points more, and a moment; kill it; how many points are saved.

    SystemExit where the sweep had ended by itself, where a dead worker stopped it, or where a worker stays behind.
    """
    store = folder / "killed.db"
    process = start(command(arguments, folder / "killed.csv", store, jobs))
    saved = wait_for_more(store, points_in(store) + points - 1, process)
    time.sleep(delay_seconds)
    workers = workers_of(process.pid) if process.poll() is None else []
    if victim.startswith("a worker") and workers:
        with suppress(ProcessLookupError):
            os.kill(workers[0], signal.SIGKILL)
        wait_for_more(store, max(saved, points_in(store)), process)
        workers = workers_of(process.pid) if process.poll() is None else []
    if process.poll() is not None:
        raise SystemExit(f"the sweep ended with {process.returncode} before it could be killed: this kill counts for nothing")
    if victim == "the whole group":
        os.killpg(process.pid, signal.SIGKILL)
    else:
        process.send_signal(signal.SIGKILL)
    process.communicate()
    _wait_for_end(workers)
    return points_in(store)


def _wait_for_end(workers: list[int]) -> None:
    """Workers do not outlive their parent."""
    deadline = time.monotonic() + 30
    while left := [worker for worker in workers if Path(f"/proc/{worker}").exists()]:
        if time.monotonic() > deadline:
            raise SystemExit(f"workers outlive their parent: {left}")
        time.sleep(0.05)


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
        points = undisturbed.count(b"\n") - 1
        for kill in range(options.kills):
            victim, more = VICTIMS[kill % len(VICTIMS)], chance.randint(1, MOST_POINTS)
            delay_seconds = chance.uniform(0, MOST_DELAY_SECONDS)
            saved = kill_once(SPACE, folder, options.jobs, delay_seconds, victim, more)
            if saved >= points:
                raise SystemExit(f"all {points} points were saved before kill {kill + 1}: not in mid-sweep")
            print(f"kill {kill + 1}, of {victim}: {saved} of {points} points are saved", flush=True)
        last = finish(SPACE, folder / "killed.csv", folder / "killed.db", options.jobs)
        same, saved, twice = last == undisturbed, points_in(folder / "killed.db"), duplicates(folder / "killed.db")
        print(f"{points} points; the same rows: {same}; in the store: {saved}, {twice} of them twice")
        raise SystemExit(0 if same and saved == points and not twice else 1)


if __name__ == "__main__":
    main()
