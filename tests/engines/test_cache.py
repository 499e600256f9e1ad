"""Where kernels are kept: one process at a time, and nowhere where there is no place for them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from builders import ROOT
from numba.core import caching

from accelsim.engines.kernels import _jit


def add(a: int, b: int) -> int:
    return a + b


def test_without_a_place_for_a_cache_kernels_still_compile(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching.CacheImpl, "_locator_classes", [])
    assert _jit.kernel(add)(2, 3) == 5


def test_a_full_disk_costs_the_cache_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(caching.IndexDataCacheFile, "save", full)
    monkeypatch.setenv("NUMBA_CACHE_DIR", str(tmp_path))
    assert _jit.kernel(add)(2, 3) == 5


def test_two_processes_share_a_cold_cache(tmp_path: Path) -> None:
    code = "import sys; sys.path.insert(0, 'tests/engines'); import test_cache as t\n"
    code += "k = t._jit.kernel(t.add)\nprint(k(2, 3), k(2.5, 3), k(2, 3.5), k(2.5, 3.5))"
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path), "PYTHONPATH": os.pathsep.join(sys.path)}
    start = {"env": environment, "cwd": ROOT, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    both = [subprocess.Popen([sys.executable, "-c", code], **start) for _ in range(2)]  # type: ignore[call-overload]
    assert [process.communicate() for process in both] == [("5 5.5 5.5 6.0\n", "")] * 2
    data = [path for path in tmp_path.rglob("*.nbc") if "add" in path.name]
    assert len(data) == 4  # a file a signature: none was taken twice
