"""Cycles of open RTL arrays, measured by simulating their Verilog, against the YAML that describes each."""

from __future__ import annotations

import re

from accelsim.api import load_arch, simulate
from accelsim.arch.spec import Architecture
from accelsim.validation.outcome import Outcome, Row, published_table
from accelsim.workload.network import LayerSketch, Network, build_network
from accelsim.workload.ops import Matmul
from accelsim.workload.precision import NumberFormat, Precision

DESIGNS = {
    "tiny-tpu/sysArr": "rtl/tiny_tpu",
    "ziheng/pe_array": "rtl/ziheng",
    "sauria/sa_array": "rtl/sauria",
    "axis_sa": "rtl/axis_sa",
}
_INT32 = NumberFormat("int", 32)


def product(m: int, k: int, n: int) -> Network:
    """One (m x k) times (k x n) product of int8, sums left as they are."""
    sketch = LayerSketch("gemm", Matmul(M=m, K=k, N=n), ("a",), Precision(output=_INT32))
    return build_network(f"gemm_{m}x{k}x{n}", 1, {"a": (m, k)}, (sketch,))


def design_arch(row: dict[str, str]) -> Architecture:
    """The architecture of one row: its design's YAML, at the row's size and pipeline parameters."""
    overrides: dict[str, int] = {"arch.engine.rows": int(row["rows"]), "arch.engine.cols": int(row["cols"])}
    parameters = {key: int(value) for key, value in re.findall(r"(\w+)=(\d+)", row["params"])}
    if row["design"] == "axis_sa":
        overrides["arch.engine.pipeline.multiplier"] = parameters["LM"]
        overrides["arch.engine.pipeline.accumulator"] = parameters["LA"]
        overrides["arch.engine.pipeline.output"] = 0
    if row["design"] == "sauria/sa_array":
        overrides["arch.engine.pipeline.multiplier"] = parameters["STAGES_MUL"]
        overrides["arch.engine.pipeline.output"] = 1 + parameters["INTERMEDIATE"]
    return load_arch(DESIGNS[row["design"]], overrides=overrides)


def simulated_cycles(row: dict[str, str]) -> int:
    """Cycles of a row's tiles back to back: tiles lie side by side along the columns."""
    m, k, n, tiles = (int(row[key]) for key in ("M", "K", "N", "tiles"))
    return simulate(product(m, k, n * tiles), design_arch(row)).totals.cycles


def validate() -> Outcome:
    """Every row of the table; all must be exact."""
    rows = []
    for row in published_table("rtl_arrays"):
        what = f"{row['design']} {row['rows']}x{row['cols']} M={row['M']} K={row['K']} N={row['N']} T={row['tiles']}"
        parameters = f" {row['params']}" if row["params"] and "=" in row["params"] else ""
        rows.append(Row(what + parameters, float(row["total"]), float(simulated_cycles(row)), "cycles", 0.0))
    return Outcome(
        "rtl",
        "cycles of four open RTL arrays",
        "measured by simulating their Verilog: tiny-tpu (ws), Ziheng's pe_array, SAURIA's sa_array, axis_sa (os)",
        rows,
    )
