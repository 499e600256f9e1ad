"""A sweep gives the same bytes however it is run: at once, in pieces, in processes, on a cluster, killed."""

from __future__ import annotations

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import accelsim
from accelsim.errors import InputError, InvariantError
from accelsim.sweep import evaluate, pool
from accelsim.sweep.inputs import digest_of_folder
from accelsim.sweep.pool import Pool
from accelsim.sweep.progress import Silent
from accelsim.sweep.runner import SweepInterrupted
from accelsim.sweep.store import Outcome, StoppedError, Store

ROOT = Path(__file__).parents[2]
SPACE = {
    "arch.engine.rows": "2:8:2",
    "arch.engine.dataflow": ["ws", "os", "is"],
    "arch.memory.buffer.size": ["64 B", "1 KiB"],
}


@pytest.fixture(scope="module")
def plain(files: tuple[str, str]) -> accelsim.sweep.SweepTable:
    """The sweep of this file in one process without a store."""
    return accelsim.sweep(*files, SPACE)


def test_rows_are_in_the_order_of_the_space_and_agree_with_simulate(
    files: tuple[str, str], plain: accelsim.sweep.SweepTable
) -> None:
    assert [row["arch.engine.rows"] for row in plain.rows] == sorted([2, 4, 6, 8] * 6)
    assert plain.counts["points"] == 24
    for row in plain.rows[::5]:
        overrides = {key: row[key] for key in SPACE}
        if row["status"] == "infeasible":
            with pytest.raises(accelsim.InfeasibleError):
                accelsim.simulate(*files, overrides=overrides)
        else:
            assert accelsim.simulate(*files, overrides=overrides).totals.cycles == row["cycles"]


def test_mapping_keys_agree_with_simulate(files: tuple[str, str]) -> None:
    table = accelsim.sweep(*files, {"mapping.conv.tile.K": "divisors", "mapping.fc.tile.C": [9, 90]})
    assert [row["mapping.conv.tile.K"] for row in table.rows[::2]] == [1, 2, 5, 10]
    for row in table.rows:
        overrides = {key: row[key] for key in table.keys}
        result = accelsim.simulate(*files, overrides=overrides)
        assert result.totals.cycles == row["cycles"]
        assert result.totals.energy_total_pj == row["energy_total_pj"]


def test_values_mode(files: tuple[str, str]) -> None:
    table = accelsim.sweep(*files, {"arch.engine.cols": [2, 4]}, values=True, seed=3)
    result = accelsim.simulate(*files, values=True, seed=3, overrides={"arch.engine.cols": 4})
    assert table.rows[1]["effective_macs"] == result.totals.effective_macs


def test_a_store_spares_what_it_knows(files: tuple[str, str], plain: accelsim.sweep.SweepTable, tmp_path: Path) -> None:
    part = {**SPACE, "arch.engine.rows": [4, 6]}
    accelsim.sweep(*files, part, store=tmp_path / "s.db")
    table = accelsim.sweep(*files, SPACE, store=tmp_path / "s.db")
    assert table.counts["simulated"] == 12
    assert table.counts["reused"] == 12
    assert table.to_csv() == plain.to_csv()
    with Store(tmp_path / "s.db") as store:
        store.check()
        assert len(store) == 24


def test_the_key_is_the_content(files: tuple[str, str], tmp_path: Path) -> None:
    changed = Path(files[1]).read_text().replace("1 GHz", "1000 MHz  # the same").replace("2 KiB", "2048 B")
    (tmp_path / "other.yaml").write_text(changed)
    store = tmp_path / "s.db"
    accelsim.sweep(*files, {"arch.engine.rows": [2]}, store=store)
    assert (
        accelsim.sweep(files[0], tmp_path / "other.yaml", {"arch.engine.rows": [2]}, store=store).counts["reused"] == 1
    )
    (tmp_path / "other.yaml").write_text(changed.replace("2048 B", "2049 B"))
    assert (
        accelsim.sweep(files[0], tmp_path / "other.yaml", {"arch.engine.rows": [2]}, store=store).counts["simulated"]
        == 1
    )


def test_the_key_knows_every_file_of_the_package(tmp_path: Path) -> None:
    (tmp_path / "sweep").mkdir()
    code = tmp_path / "sweep" / "evaluate.py"
    code.write_text("one")
    first = digest_of_folder(tmp_path)
    (tmp_path / "sweep" / "evaluate.cpython-311.pyc").write_text("built")
    assert digest_of_folder(tmp_path) == first
    code.write_text("two")
    assert digest_of_folder(tmp_path) != first
    code.rename(tmp_path / "evaluate.py")
    assert digest_of_folder(tmp_path) != first


def test_results_of_other_code_are_run_anew(
    files: tuple[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    accelsim.sweep(*files, {"arch.engine.rows": [2]}, store=tmp_path / "s.db")
    monkeypatch.setattr("accelsim.sweep.inputs.model_version", lambda: "0.0.9+other")
    table = accelsim.sweep(*files, {"arch.engine.rows": [2]}, store=tmp_path / "s.db")
    assert (table.counts["simulated"], table.counts["reused"]) == (1, 0)


@pytest.mark.parametrize(("options", "most"), [
    ({}, "1,000,000"), ({"where": "arch.engine.rows < arch.engine.cols"}, "10,000,000"), ({"tilings": "conv"}, "1,000,000"),
])  # fmt: skip
def test_a_space_without_bounds_is_refused_at_once(files: tuple[str, str], options: dict[str, Any], most: str) -> None:
    space = {"arch.engine.rows": "1:100000", "arch.engine.cols": "1:100000"}
    with pytest.raises(InputError, match=f"makes 10,000,000,000 points or more, at most {most} are taken"):
        accelsim.sweep(*files, space, **options)


def test_a_full_disk_stops_a_sweep_that_goes_on_later(
    files: tuple[str, str], plain: accelsim.sweep.SweepTable, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, left = Store.add, [1]  # rows are added as they come in: a fast machine has few rounds

    def full(self: Store, entries: Any) -> None:
        left[0] -= 1
        if left[0] < 0:
            raise StoppedError("s.db: the store cannot be written (database or disk is full)")
        real(self, entries)

    with monkeypatch.context() as patched:
        patched.setattr(Store, "add", full)
        with pytest.raises(StoppedError, match=r"disk is full\): \d+ of 24 points are done, kept in .*; the same"):
            accelsim.sweep(*files, SPACE, store=tmp_path / "s.db")
    table = accelsim.sweep(*files, SPACE, store=tmp_path / "s.db")
    assert table.counts["reused"] >= 1
    assert table.to_csv() == plain.to_csv()


def test_equal_points_are_run_once(files: tuple[str, str]) -> None:
    table = accelsim.sweep(*files, {"arch.engine.rows": ["4", 4], "arch.clock": ["1 GHz", "1000 MHz"]})
    assert table.counts["simulated"] <= 2
    assert len({row["cycles"] for row in table.rows if row["status"] == "ok"}) == 1


def test_several_networks_constraints_and_limits(files: tuple[str, str]) -> None:
    table = accelsim.sweep(
        [files[0], "lenet5"], files[1], {"arch.engine.rows": "2:8:2"},
        where=["arch.engine.rows*arch.engine.cols <= 24", "cycles <= 20000"], objective=["cycles", "max:utilization"],
    )  # fmt: skip
    assert table.counts["points"] == 6
    assert table.counts["excluded"] == 2
    assert {row["status"] for row in table.rows if row["network"] == "lenet5"} == {"over_limit"}
    best = table.best
    assert best is not None
    assert best["cycles"] == min(int(str(row["cycles"])) for row in table.ok)
    assert best in table.front


def test_parquet_and_dataframe(plain: accelsim.sweep.SweepTable, tmp_path: Path) -> None:
    import pandas

    plain.write(tmp_path / "t.parquet")
    plain.write(tmp_path / "t.csv")
    frame = pandas.read_parquet(tmp_path / "t.parquet")
    assert list(frame.columns) == list(plain.to_dataframe().columns)
    assert frame["cycles"].dropna().tolist() == plain.to_dataframe()["cycles"].dropna().tolist()
    assert (tmp_path / "t.csv").read_text() == plain.to_csv()


@pytest.mark.parametrize(
    ("space", "options", "message"),
    [
        ({"arch.engine.rowz": [1]}, {}, 'did you mean "rows"'),
        ({"arch.engine.rows": [0, -1]}, {}, "no point is legal"),
        ({"arch.engine.rows": [2]}, {"objective": "cyclse"}, 'did you mean "cycles"'),
        ({"arch.engine.rows": [2]}, {"where": "utilisation > 1"}, 'did you mean "utilization"'),
        ({"arch.engine.rows": [2]}, {"where": "arch.engine.size > 1"}, "has no value"),
        ({"mapping.fc.tile.X": "divisors"}, {}, "divisors are of a layer's dimension"),
        ({"mapping.cf.tile.K": "divisors"}, {}, "tiny: there is no layer 'cf'"),
        ({"arch.engine.rows": [2]}, {"scheduler": "tcp://127.0.0.1:1"}, "cannot be reached"),
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_faults(
    files: tuple[str, str],
    space: dict[str, Any],
    options: dict[str, Any],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("accelsim.sweep.cluster.CONNECT_SECONDS", 1)
    with pytest.raises(InputError, match=message):
        accelsim.sweep(*files, space, **options)


def test_illegal_points_are_rows(files: tuple[str, str]) -> None:
    table = accelsim.sweep(*files, {"arch.engine.rows": [0, 4]})
    assert [row["status"] for row in table.rows] == ["illegal", "ok"]
    assert "must be greater than 0" in str(table.rows[0]["reason"])


# ---- processes, kills, interrupts ---------------------------------------------------------------------------------


@pytest.mark.slow
def test_processes_give_the_same_bytes_and_one_that_dies_is_replaced(
    files: tuple[str, str], plain: accelsim.sweep.SweepTable, monkeypatch: pytest.MonkeyPatch
) -> None:
    killed: list[int] = []

    def kill_one(self: Pool) -> Any:
        if self._executor is not None and len(killed) < 1 and self._executor._processes:
            killed.append(next(iter(self._executor._processes)))
            os.kill(killed[0], signal.SIGKILL)
        return real(self)

    real = Pool._finished
    monkeypatch.setattr(Pool, "_finished", kill_one)
    assert accelsim.sweep(*files, SPACE, jobs=2).to_csv() == plain.to_csv()
    assert len(killed) == 1


@pytest.mark.slow
def test_a_point_that_kills_its_process_is_told(files: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool, "run_batch", _deadly)
    monkeypatch.setattr(pool, "TRIES", 2)
    monkeypatch.setattr(sys, "path", [*sys.path, str(Path(__file__).parents[2])])  # so that a child finds `_deadly`
    table = accelsim.sweep(*files, {"arch.engine.rows": [2, 4, 7, 8]}, jobs=2)
    assert [row["status"] for row in table.rows] == ["ok", "ok", "defect", "ok"]
    assert "killed the process" in str(table.rows[2]["reason"])


def _deadly(batch: evaluate.Batch) -> list[tuple[int, Outcome]]:
    if any(job.arch.engine.rows == 7 for job in batch.jobs):  # type: ignore[union-attr]
        os.kill(os.getpid(), signal.SIGKILL)
    return evaluate.run_batch(batch)


@pytest.mark.slow
def test_an_interrupt_keeps_what_is_done(
    files: tuple[str, str], plain: accelsim.sweep.SweepTable, tmp_path: Path
) -> None:
    class Interrupt(Silent):
        left = 7

        def done(self, count: int, best: float | None) -> None:
            del best
            self.left -= count
            if self.left == 0:
                raise KeyboardInterrupt

    with pytest.raises(SweepInterrupted, match=r"interrupted: \d+ of 24 points are done, kept in"):
        accelsim.sweep(*files, SPACE, store=tmp_path / "s.db", progress=Interrupt())
    with Store(tmp_path / "s.db") as store:
        assert len(store) >= 7
    table = accelsim.sweep(*files, SPACE, store=tmp_path / "s.db")
    assert table.counts["reused"] >= 7
    assert table.to_csv() == plain.to_csv()


def test_a_defect_of_every_point_ends_the_sweep(files: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: Any, **__: Any) -> None:
        raise ZeroDivisionError("oops")

    monkeypatch.setattr(evaluate, "run_ready", broken)
    with pytest.raises(InvariantError, match=r"the first \d+ points all failed: ZeroDivisionError: oops"):
        accelsim.sweep(*files, {"arch.engine.rows": "1:40"})


def kills() -> Any:
    spec = importlib.util.spec_from_file_location("kill_test", ROOT / "scripts" / "kill_test.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="finds the workers in /proc")
def test_kill_minus_nine_and_finish(files: tuple[str, str], tmp_path: Path) -> None:
    script = kills()
    space = [files[0], "--arch", files[1], "--vary", "arch.engine.rows=1:100", "--vary", "arch.engine.cols=[3, 4]"]
    saved = [
        script.kill_once(space, tmp_path, 2, 0.0, "a worker, then the parent"),
        script.kill_once(space, tmp_path, 1, 0.05, "the whole group", 5),
    ]
    assert 0 < saved[0] < saved[1] < 200  # both in mid-sweep
    same = {"arch.engine.rows": "1:100", "arch.engine.cols": [3, 4]}
    finished = accelsim.sweep(*files, same, store=tmp_path / "killed.db")
    assert finished.counts["reused"] == saved[1]
    assert finished.to_csv() == accelsim.sweep(*files, same).to_csv()
    assert script.points_in(tmp_path / "killed.db") == 200
    assert script.duplicates(tmp_path / "killed.db") == 0


@pytest.mark.slow
def test_ctrl_c_ends_the_command_cleanly(files: tuple[str, str], tmp_path: Path) -> None:
    script = kills()
    space = [files[0], "--arch", files[1], "--vary", "arch.engine.rows=1:999"]
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell has it ignored, and hands that down
    try:
        process = script.start(script.command(space, tmp_path / "o.csv", tmp_path / "s.db", 2))
    finally:
        signal.signal(signal.SIGINT, before)
    while script.points_in(tmp_path / "s.db") < 2 and process.poll() is None:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to the workers as well
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130, said
    assert said.decode().startswith("interrupted: "), said
    assert "Traceback" not in said.decode()
    assert not (tmp_path / "o.csv").exists()


# ---- a cluster ------------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_a_dask_cluster_gives_the_same_bytes_though_a_worker_is_killed(
    files: tuple[str, str], plain: accelsim.sweep.SweepTable
) -> None:
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None, silence_logs=50
    ) as cluster:
        killed: list[int] = []

        class KillOne(Silent):
            def done(self, count: int, best: float | None) -> None:
                del count, best
                if not killed:
                    worker = next(iter(cluster.workers.values()))
                    killed.append(worker.pid)
                    os.kill(worker.pid, signal.SIGKILL)

        table = accelsim.sweep(*files, SPACE, scheduler=cluster.scheduler_address, progress=KillOne())
    assert killed
    assert table.to_csv() == plain.to_csv()


@pytest.mark.slow
def test_a_scheduler_that_dies_is_told_and_loses_nothing(files: tuple[str, str], tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    port = free_port()
    address, quiet = f"tcp://127.0.0.1:{port}", {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": tmp_path}
    words: dict[str, list[str]] = {
        "scheduler": ["--host", "127.0.0.1", "--port", str(port), "--no-dashboard"],
        "worker": [address, "--nthreads", "1", "--no-dashboard"],
    }
    dask = {
        what: subprocess.Popen([sys.executable, "-m", f"distributed.cli.dask_{what}", *more], **quiet)  # type: ignore[call-overload]
        for what, more in words.items()
    }
    try:
        line = ["sweep", files[0], "--arch", files[1], "--vary", "arch.engine.rows=1:9999"]
        line += ["--scheduler", address, "--store", str(tmp_path / "s.db")]
        command = [sys.executable, "-P", "-m", "accelsim.cli", *line]  # the package that the workers have, not this folder's
        sweep = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL)
        script = kills()
        while script.points_in(tmp_path / "s.db") < 2 and sweep.poll() is None:
            time.sleep(0.05)
        dask["scheduler"].kill()
        _, told = sweep.communicate(timeout=60)
    finally:
        for process in dask.values():
            process.kill()
            process.wait()
    assert sweep.returncode == 1, told
    assert len(told.splitlines()) == 1, told
    assert f"--scheduler: {address}: the scheduler is gone" in told.decode()
    assert script.points_in(tmp_path / "s.db") >= 2


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
