"""TPU v1 (Jouppi et al., ISCA 2017): its ridge, and where the matrix unit's cycles go in its six applications."""

from __future__ import annotations

from accelsim.api import load_arch, simulate
from accelsim.report.model import Result
from accelsim.validation.outcome import Outcome, Row, published_table
from accelsim.workload.precision import Precision

APPLICATIONS = ("MLP0", "MLP1", "LSTM0", "LSTM1", "CNN0", "CNN1")
PARTS = {"active": "array_active_pct", "weight shift": "weight_shift_pct", "weight stall": "weight_stall_pct"}
RIDGE_MACS_PER_WEIGHT_BYTE = 1350


def validate() -> Outcome:
    """The ridge and MLP0 are judged; the other applications are stand-ins of which the paper gives less, so context."""
    arch = load_arch("tpu_v1")
    assert arch.off_chip.bandwidth is not None
    per_cycle = arch.off_chip.bandwidth.per_cycle(arch.clock)
    ridge = float(arch.engine.macs_per_cycle(Precision()) / per_cycle)  # type: ignore[union-attr]
    rows = [Row("ridge, MACs a weight byte", RIDGE_MACS_PER_WEIGHT_BYTE, ridge, "", 0.01)]
    counters = {row["metric"]: row for row in published_table("tpu_v1_counters")}
    for name in APPLICATIONS:
        shares = matrix_shares(simulate(f"tpu_{name.lower()}", arch))
        total = sum(float(counters[key][name]) for key in PARTS.values())
        for part, key in PARTS.items():
            published = 100 * float(counters[key][name]) / total
            bound = 0.1 if name == "MLP0" else None
            rows.append(Row(f"{name}, {part}", round(published, 1), round(100 * shares[part], 1), "%", bound))
    return Outcome(
        "tpu_v1",
        "TPU v1's ridge and the shares of its matrix cycles",
        "Jouppi et al., ISCA 2017, table 3 rows 1, 4 and 5, as shares of their sum",
        rows,
        (
            "Seen at the array's operand port: active when a vector enters, weight shift while a tile is shifted in and "
            "nothing enters, weight stall while it waits for memory.",
            "MLP0 is judged: its layers follow from table 1. The other applications are stand-ins that fit table 1's "
            "counts; how their layers are connected is not published.",
        ),
    )


def matrix_shares(result: Result) -> dict[str, float]:
    """Shares of active, weight shift and weight stall in the matrix layers' port cycles."""
    layers = [layer for layer in result.layers if layer.engine == "systolic"]
    ports = {key: sum(layer.port_cycles.get(key, 0) for layer in layers) for key in ("active", "weight_load", "memory")}
    total = max(1, sum(ports.values()))
    return {
        "active": ports["active"] / total,
        "weight shift": ports["weight_load"] / total,
        "weight stall": ports["memory"] / total,
    }


