"""A network and an architecture so small that a point takes milliseconds."""

from __future__ import annotations

from pathlib import Path

import pytest

NETWORK = """
schema: accelsim.network/1
name: tiny
layers:
  - {name: conv, op: conv2d, shape: [6, 9, 9], K: 10, R: 3, S: 3, pad: 1}
  - {name: relu, op: relu}
  - {name: fc, op: linear, out: 12}
"""
ARCH = """
schema: accelsim.arch/1
name: small
clock: 1 GHz
engine:
  {kind: systolic, rows: 4, cols: 4, weight_buffers: 2, overlap: skewed, edge: trim, precision: {int8: 1}}
vector: {lanes: 4, inline: [relu]}
memory:
  - {name: dram, bandwidth: 4 B/cycle, latency: 20 cycles}
  - {name: buffer, size: 2 KiB, holds: [weight, input, output]}
energy: {table: none}
"""


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """Paths of the network and the architecture."""
    folder: Path = tmp_path_factory.mktemp("inputs")
    (folder / "tiny.yaml").write_text(NETWORK)
    (folder / "small.yaml").write_text(ARCH)
    return str(folder / "tiny.yaml"), str(folder / "small.yaml")
