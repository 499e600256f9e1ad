"""How long a user waits: the whole command, and the simulation inside it after start-up.

    python benchmarks/command.py [--network resnet50] [--arch tpu_v1] [--runs 5]

Yardstick: starting Python and importing numpy and numba, which no such tool can do without, timed in turn with the
command, so that the ratio holds on a busy machine. Medians of CPU seconds (user + system) of whole processes. The asks
(speed.md): the command under 3 s, a whole ResNet-50 in cycles mode well under 1 s after start-up.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import time
from statistics import median

import accelsim


def cpu_seconds(command: list[str]) -> float:
    """User and system seconds of one process."""
    before = os.times()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    after = os.times()
    return after.children_user - before.children_user + after.children_system - before.children_system


def simulation_seconds(network: str, arch: str, runs: int) -> list[float]:
    """CPU seconds of reading both files and simulating, in a process that is warm."""
    accelsim.simulate(network, arch)
    seconds = []
    for _ in range(runs):
        start = time.process_time()
        accelsim.simulate(network, arch)
        seconds.append(time.process_time() - start)
    return seconds


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--network", default="resnet50")
    parser.add_argument("--arch", default="tpu_v1")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    command = [sys.executable, "-m", "accelsim.cli", "simulate", options.network, "--arch", options.arch]
    floor = [sys.executable, "-c", "import numpy, numba"]
    cpu_seconds(command)  # compiles the kernels if no run before has
    pairs = [(cpu_seconds(command), cpu_seconds(floor)) for _ in range(options.runs)]
    inside = simulation_seconds(options.network, options.arch, options.runs)
    print(f"{options.network} on {options.arch}, CPU seconds, median of {options.runs}")
    print(f"whole command                {median(a for a, _ in pairs):6.2f}")
    print(f"python, numpy and numba      {median(b for _, b in pairs):6.2f}")
    print(f"ratio, pair by pair          {median(a / b for a, b in pairs):6.2f}")
    print(f"simulation after start-up    {median(inside):6.2f}")


if __name__ == "__main__":
    main()
