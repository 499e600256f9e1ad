"""Rewrite the golden results under tests/golden and show what changed.

    python scripts/regenerate_goldens.py           # rewrite, print the difference
    python scripts/regenerate_goldens.py --check   # only print it; exit status 1 if there is any

A golden is the whole result of a small run, without provenance: no date, no machine, no wall time is in it. A change
here is a change of what accelsim tells its users: look at the difference, and say in the commit why it is right.
"""

from __future__ import annotations

import argparse
import difflib
import json
import sys
from pathlib import Path
from typing import Any

from accelsim import simulate

FOLDER = Path(__file__).parents[1] / "tests" / "golden"
RUNS: dict[str, dict[str, Any]] = {
    "lenet5_tpu_v1": {"network": "lenet5", "arch": "tpu_v1"},
    "lenet5_tpu_v1_values": {"network": "lenet5", "arch": "tpu_v1", "values": True, "seed": 1},
    "lenet5_gemmini_16x16": {"network": "lenet5", "arch": "gemmini_16x16"},
    "lenet5_scalesim": {"network": "lenet5", "arch": "scalesim"},
    "lenet5_eyeriss_like": {"network": "lenet5", "arch": "eyeriss_like"},
    "lenet_300_100_tpu_v3_core": {"network": "lenet_300_100", "arch": "tpu_v3_core", "batch": 16},
    "alexnet_conv_scalesim_ws": {
        "network": "alexnet", "arch": "scalesim", "layers": ["conv1", "conv2"],
        "overrides": {"arch.engine.dataflow": "ws", "arch.engine.rows": 12, "arch.engine.cols": 14},
    },
}  # fmt: skip


def golden_text(name: str) -> str:
    """What the golden ``name`` holds now: sorted keys, a line a value, so that differences read well."""
    result = json.loads(simulate(**RUNS[name]).to_json())
    del result["provenance"]
    return json.dumps(_rounded(result), indent=1, sort_keys=True) + "\n"


def _rounded(value: Any) -> Any:
    """Floats to 12 digits: the last ones may differ between machines."""
    if isinstance(value, float):
        return float(f"{value:.12g}")
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    return [_rounded(item) for item in value] if isinstance(value, list) else value


def difference(name: str, text: str) -> str:
    """The golden on disk against ``text``, as a unified difference; empty if they are the same."""
    path = FOLDER / f"{name}.json"
    old = path.read_text().splitlines() if path.exists() else []
    return "\n".join(difflib.unified_diff(old, text.splitlines(), f"golden/{name}", f"now/{name}", lineterm="", n=4))


def main() -> int:
    parser = argparse.ArgumentParser(description="Rewrite the golden results and show what changed.")
    parser.add_argument("--check", action="store_true", help="write nothing; exit status 1 if anything differs")
    check = parser.parse_args().check
    changed = 0
    for name in RUNS:
        text = golden_text(name)
        lines = difference(name, text)
        if lines:
            changed += 1
            print(lines)
            if not check:
                (FOLDER / f"{name}.json").write_text(text)
    for path in sorted(FOLDER.glob("*.json")):
        if path.stem not in RUNS:
            changed += 1
            print(f"{path.name} belongs to no run")
            if not check:
                path.unlink()
    print(f"{len(RUNS)} goldens, {changed} {'differ' if check else 'rewritten'}")
    return 1 if check and changed else 0


if __name__ == "__main__":
    sys.exit(main())
