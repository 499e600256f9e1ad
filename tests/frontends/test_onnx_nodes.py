"""Do ONNX's own node tests run as `node_tests.csv` says? What ran once runs on: the list only gets better."""

from __future__ import annotations

import re
from pathlib import Path

import onnx
import pytest
from node_list import RANK, Outcome, listed, summary
from node_tests import modules, node_tests, outcome

# Those that take more than a second to make or to run.
SLOW = (
    "attention", "linear_attention", "flexattention", "averagepool", "maxpool", "lppool", "layernormalization",
    "rmsnormalization", "causal_conv_with_state", "convtranspose", "lstm", "rnn", "rotaryembedding", "castlike",
    "groupnormalization", "softmax_cross_entropy_loss", "negativeloglikelihoodloss", "resize", "center_crop_pad", "cast",
)  # fmt: skip
# What an onnx before that of the list has with other data, or without a body for a function.
OLDER = re.compile(
    "test_(cast(like)?_.*BFLOAT16.*|depthtospace.*|spacetodepth.*|(greater|less)_equal_bcast|qlinearmatmul_2D_int8_.*"
    "|range_.*|split_to_sequence_.*)"
)
IS_OLDER = tuple(map(int, onnx.__version__.split(".")[:2])) < (1, 23)
LISTED = {name: row for name, row in listed().items() if not (IS_OLDER and OLDER.fullmatch(name))}
FLOOR = {"values": 1167, "counts": 1501, "folded": 1788}  # as many run at least so well
RUNNING = {module for module, found in LISTED.values() if found.kind in ("values", "counts")}


def worse(module: str, folder: Path, kinds: tuple[str, ...], every: bool) -> list[str]:
    """What of a file of tests does not run as well as the list says; of tests that it does not have, what is wrong."""
    faults = []
    for case in node_tests(module):
        _, before = LISTED.get(case.name, ("", Outcome("wrong" if IS_OLDER else "refused")))
        if before.kind not in kinds:
            continue
        found = outcome(case, folder, every)
        if found.rank < before.rank:
            faults.append(f"{case.name}: {before.kind} in the list, now {found.kind}: {found.reason}")
    return faults


@pytest.mark.parametrize("module", [m for m in modules() if m in RUNNING and m not in SLOW])
def test_what_ran_runs(module: str, tmp_path: Path) -> None:
    assert not worse(module, tmp_path, ("values", "counts"), every=False)


@pytest.mark.slow
@pytest.mark.parametrize("module", modules())
def test_every_way_to_run_it(module: str, tmp_path: Path) -> None:
    assert not worse(module, tmp_path, RANK, every=True)


def test_the_count_does_not_fall() -> None:
    ranks = [found.rank for _, found in listed().values()]
    assert min(ranks) > RANK.index("wrong")
    running = {kind: sum(rank >= RANK.index(kind) for rank in ranks) for kind in FLOOR}
    assert not [kind for kind, least in FLOOR.items() if running[kind] < least], summary()
