"""Every key of architectures and mappings changes a result somewhere: a new one must say where, or this fails.

A key is shown to have an effect by an experiment (an architecture, what is set first, and the one key that then
changes the result), by the tests of its room, or it only describes.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from accelsim.api import simulate_full
from accelsim.arch.spec import Architecture
from accelsim.frontends.network_yaml import read_network
from accelsim.mapping.mapping import MappingFile
from accelsim.workload.network import Network
from accelsim.yaml_io import models_within, parse_document

TESTS = Path(__file__).parents[1]
DESCRIBES = {
    "Architecture": ("schema_", "name", "description"),
    "MappingFile": ("schema_", "name"),
    "FarEnd": ("name", "kind"), "Buffer": ("name",), "Registers": ("name",),
    "NfuStage": ("stage",), "EnergyCost": ("source",),
}  # fmt: skip
"""Names, and what chooses a model by its only value."""

MODELS_OF_ENGINES = {"SystolicSpec": "kind", "NfuSpec": "kind", "SparseSpec": "kind", "RoofSpec": "kind",
                     "BitSerial": "scaling", "BitFusion": "scaling", "Registers": "kind"}  # fmt: skip

Experiment = tuple[str, dict[str, Any], dict[str, Any]]
OS, WS = {"arch.engine.dataflow": "os"}, {"arch.engine.dataflow": "ws"}
CUT = {"mapping.conv.tile": {"K": 4, "C": 4, "P": 2}, "mapping.conv.order": "P K C"}
SLID = {"mapping.conv.tile": {"P": 2}, "mapping.conv.order": "K C P"}
SMALL = {"arch.memory.1.size": "2 KiB"}
SLOW = {"arch.memory.0.bandwidth": "1 GB/s"}
STAGED = {"arch.memory": [
    {"name": "dram", "bandwidth": "1 GB/s"},
    {"name": "l2", "size": "64 KiB", "holds": ["weight", "input", "output"]},
    {"name": "l1", "size": "2 KiB", "holds": ["weight", "input", "output"]},
], "mapping.conv.levels.l2.tile": {"C": 4, "K": 4, "P": 2}}  # fmt: skip
PACKED = {"arch.engine.sparsity": {"n": 2, "m": 4}}
NODES = {"arch.engine.nodes": 4}
FUSED = {"arch.engine.precision": {"scaling": "bit_fusion"}}
SERIAL = {"arch.engine.precision": {"scaling": "bit_serial"}, "workload.precision.weight": "int4"}
EXPERIMENTS: dict[str, Experiment] = {
    "Technology.node_nm": ("tpu_v1", {}, {"arch.technology.node_nm": 45}),
    "Technology.voltage": ("tpu_v1", {}, {"arch.technology.voltage": 0.8}),
    "Architecture.technology": ("tpu_v1", {}, {"arch.technology": {"node_nm": 45}}),
    "Architecture.clock": ("tpu_v1", {}, {"arch.clock": "1 GHz"}),
    "Architecture.engine": ("tpu_v1", {}, {"arch.engine": {"kind": "systolic", "rows": 8, "cols": 8}}),
    "Architecture.vector": ("tpu_v1", {}, {"arch.vector": {"lanes": 3}}),
    "Architecture.memory": ("tpu_v1", {}, {"arch.memory": [{"name": "dram", "bandwidth": "1 GB/s"}]}),
    "Architecture.energy": ("tpu_v1", {}, {"arch.energy": {"table": "none"}}),
    "SystolicSpec.rows": ("tpu_v1", {}, {"arch.engine.rows": 8}),
    "SystolicSpec.cols": ("tpu_v1", {}, {"arch.engine.cols": 8}),
    "SystolicSpec.dataflow": ("tpu_v1", {}, OS),
    "SystolicSpec.weight_load": ("tpu_v1", {}, {"arch.engine.weight_load": "parallel"}),
    "SystolicSpec.weight_buffers": ("gemmini_16x16", {}, {"arch.engine.weight_buffers": 1}),
    "SystolicSpec.weight_tiles": ("tpu_v1", {"arch.engine.weight_tiles": "ragged"}, {"arch.engine.weight_tiles": "whole"}),
    "SystolicSpec.overlap": ("gemmini_16x16", {}, {"arch.engine.overlap": "none"}),
    "SystolicSpec.edge": ("tpu_v1", {}, {"arch.engine.edge": "full"}),
    "SystolicSpec.drain": ("scalesim", {}, {"arch.engine.drain": "cols"}),
    "SystolicSpec.pipeline": ("scalesim", {}, {"arch.engine.pipeline": {"hop": 2}}),
    "SystolicSpec.accumulators": ("tpu_v1", {}, {"arch.engine.accumulators": {"entries": 64}}),
    "SystolicSpec.sparsity": ("gemmini_16x16", {}, PACKED),
    "SystolicSpec.precision": ("tpu_v1", {}, {"arch.engine.precision": {"int8": "1/2"}}),
    "Pipeline.hop": ("scalesim", {}, {"arch.engine.pipeline.hop": 2}),
    "Pipeline.multiplier": ("scalesim", {}, {"arch.engine.pipeline.multiplier": 2}),
    "Pipeline.accumulator": ("scalesim", {}, {"arch.engine.pipeline.accumulator": 3}),
    "Pipeline.input": ("scalesim", {}, {"arch.engine.pipeline.input": 2}),
    "Pipeline.output": ("scalesim", {}, {"arch.engine.pipeline.output": 2}),
    "Accumulators.entries": ("tpu_v1", {}, {"arch.engine.accumulators.entries": 64}),
    "Accumulators.bits": ("tpu_v1", {}, {"arch.engine.accumulators.bits": 24}),
    "Accumulators.slots": ("tpu_v1", {"arch.engine.accumulators.entries": 64}, {"arch.engine.accumulators.slots": 1}),
    "StructuredSparsity.n": ("gemmini_16x16", {"arch.engine.sparsity": {"n": 2, "m": 4}}, {"arch.engine.sparsity.n": 1}),
    "StructuredSparsity.m": ("gemmini_16x16", {"arch.engine.sparsity": {"n": 2, "m": 4}}, {"arch.engine.sparsity.m": 8}),
    "StructuredSparsity.patterns": ("gemmini_16x16", PACKED, {"arch.engine.sparsity.patterns": "assumed"}),
    "BitFusion.bits": ("gemmini_16x16", FUSED, {"arch.engine.precision.bits": 16}),
    "BitFusion.brick": ("gemmini_16x16", FUSED | {"workload.precision.weight": "int2"}, {"arch.engine.precision.brick": 8}),
    "BitSerial.bits": ("gemmini_16x16", SERIAL, {"arch.engine.precision.bits": 8}),
    "BitSerial.operand": ("gemmini_16x16", SERIAL, {"arch.engine.precision.operand": "weight"}),
    "NfuSpec.unroll": ("diannao", {}, {"arch.engine.unroll": {"C": 4, "K": 4}}),
    "NfuSpec.pipeline": ("diannao", {}, {"arch.engine.pipeline.0.cycles": 9}),
    "NfuStage.cycles": ("diannao", {}, {"arch.engine.pipeline.1.cycles": 9}),
    "NfuSpec.overlap": ("diannao", {"mapping.conv.tile.P": 1}, {"arch.engine.overlap": "none"}),
    "NfuSpec.sums": ("diannao", {}, {"arch.engine.sums": "buffer"}),
    "NfuSpec.precision": ("diannao", {}, {"arch.engine.precision": {"int16": "1/2"}}),
    "NfuSpec.nodes": ("dadiannao", {}, NODES),
    "NfuSpec.links": ("dadiannao", NODES, {"arch.engine.links": {"bandwidth": "1 MB/s"}}),
    "NodeLinks.bandwidth": ("dadiannao", NODES, {"arch.engine.links.bandwidth": "1 MB/s"}),
    "NodeLinks.latency": ("dadiannao", NODES, {"arch.engine.links.latency": "9 us"}),
    "VectorSpec.lanes": ("tpu_v1", {}, {"arch.vector.lanes": 2}),
    "VectorSpec.inline": ("tpu_v1", {}, {"arch.vector.inline": []}),
    "VectorSpec.rows": ("tpu_v1", {}, {"arch.vector.rows": "channels"}),
    "FarEnd.bandwidth": ("tpu_v1", {}, SLOW),
    "FarEnd.latency": ("tpu_v1", {}, {"arch.memory.0.latency": "1 us"}),
    "FarEnd.requests": ("gemmini_16x16", SLOW, {"arch.memory.0.requests": "per_tensor"}),
    "Buffer.bandwidth": ("gemmini_16x16", {}, {"arch.memory.1.bandwidth": "8 B/cycle"}),
    "Buffer.size": ("gemmini_16x16", {}, SMALL),
    "Buffer.holds": ("gemmini_16x16", {}, {"arch.memory.1.holds": ["weight"]}),
    "Buffer.slots": ("gemmini_16x16", SMALL | SLOW, {"arch.memory.1.slots": 1}),
    "Buffer.padding": ("gemmini_16x16", {}, {"arch.memory.1.padding": "stored"}),
    "Buffer.window": ("gemmini_16x16", {"arch.memory.0.requests": "planned", **SLOW, **SLID}, {"arch.memory.1.window": "keep"}),
    "Buffer.preloaded": ("gemmini_16x16", SLOW, {"arch.memory.1.preloaded": True}),
    "Buffer.streams": ("scalesim", {"arch.memory.1.size": "1 KiB"}, {"arch.memory.1.streams": True}),
    "Buffer.kind": ("gemmini_16x16", {}, {"arch.memory.1.kind": "dram"}),
    "Buffer.width_bits": ("gemmini_16x16", {}, {"arch.memory.1.width_bits": 256}),
    "Buffer.banks": ("gemmini_16x16", {}, {"arch.memory.1.banks": 2}),
    "EnergySpec.table": ("tpu_v1", {}, {"arch.energy": {"table": "none"}}),
    "EnergySpec.dram": ("tpu_v1", {}, {"arch.energy.dram": "HBM2"}),
    "EnergySpec.registers": ("tpu_v1", {}, {"arch.energy.registers": "none"}),
    "EnergySpec.zero_gating": ("tpu_v1", {}, {"arch.energy.zero_gating": True}),
    "EnergySpec.costs": ("tpu_v1", {}, {"arch.energy.costs": {"mac": {"pj": 3, "per": "mac", "source": "here"}}}),
    "LayerMapping.tile": ("tpu_v1", {}, {"mapping.conv.tile": {"K": 1}}),
    "LayerMapping.order": ("gemmini_16x16", CUT, {"mapping.conv.order": "C P K"}),
    "LayerMapping.dataflow": ("tpu_v1", {}, {"mapping.conv.dataflow": "os"}),
    "LayerMapping.keep": ("gemmini_16x16", CUT, {"mapping.conv.keep": ["input"]}),
    "LayerMapping.levels": ("gemmini_16x16", STAGED, {"mapping.conv.levels": {"l2": {"tile": {"P": 1}}}}),
    "StageWords.tile": ("gemmini_16x16", STAGED, {"mapping.conv.levels.l2.tile": {"P": 1}}),
    "StageWords.order": ("gemmini_16x16", STAGED, {"mapping.conv.levels.l2.order": "C P K"}),
    "LayerMapping.unroll": ("diannao", {}, {"mapping.conv.unroll": {"K": 1}}),
    "MappingFile.default": ("tpu_v1", {}, {"mapping.default.dataflow": "os"}),
    "MappingFile.layers": ("tpu_v1", {}, {"mapping.layers.conv.dataflow": "os"}),
    **{f"TileSizes.{d}": ("gemmini_16x16", {}, {f"mapping.conv.tile.{d}": 1}) for d in "KCPQRS"},
    "TileSizes.N": ("gemmini_16x16", {"workload.batch": 4, "mapping.conv.tile.N": 4}, {"mapping.conv.tile.N": 1}),
    "TileSizes.G": ("gemmini_16x16", {"mapping.conv.tile.G": 2}, {"mapping.conv.tile.G": 1}),
    **{f"Unroll.{d}": ("diannao", {}, {f"arch.engine.unroll.{d}": 3}) for d in "CKPQRS"},
    **{f"UnrollSizes.{d}": ("qiu2016", {}, {f"mapping.conv.unroll.{d}": 1}) for d in "CKRS"},
    **{f"UnrollSizes.{d}": ("diannao", {"mapping.conv.unroll.C": 1}, {f"mapping.conv.unroll.{d}": 2}) for d in "PQ"},
    **{f"Registers.{key}": ("gemmini_16x16", {"arch.memory.1": {
        "name": "r", "kind": "register", "holds": ["weight", "input", "output"], "size": "64 KiB", "bandwidth": "64 B/cycle",
        }, **SLOW}, {f"arch.memory.r.{key}": value})
       for key, value in {"bandwidth": "1 B/cycle", "size": "2 KiB", "holds": ["input", "output"], "padding": "stored",
                          "preloaded": True}.items()},
    "Registers.window": ("gemmini_16x16", {"arch.memory": [
        {"name": "dram", "bandwidth": "1 GB/s", "requests": "planned"},
        {"name": "r", "kind": "register", "holds": ["weight", "input", "output"]}], **SLID}, {"arch.memory.r.window": "keep"}),
    **{f"SparseSpec.{key}": ("eie", {"arch.engine.pes": 4, **first}, {f"arch.engine.{key}": value}) for key, first, value in (
        ("pes", {}, 8), ("channels", {"workload.batch": 4}, 2), ("fifo_depth", {}, 2),
        ("queue", {"arch.engine.fifo_depth": 2}, "full"),
        ("index_bits", {}, 1), ("weight_bits", {}, 8), ("entry_word_bits", {}, 8), ("pointer_bits", {}, 8),
        ("empty_column", {"workload.layers.0.weight.density": 0.02}, "free"), ("zero_detection", {}, "ideal"),
        ("skip_zeros", {}, False), ("passes", {"arch.engine.register_entries": 4}, "drained"),
        ("register_entries", {"arch.engine.passes": "drained"}, 4), ("entry_stages", {}, 2), ("alu_stages", {}, 6),
    )},
}  # fmt: skip

FIXED = "arch.engine.arithmetic"
OF_VALUES: dict[str, Experiment] = {
    "NfuSpec.arithmetic": ("diannao", {}, {FIXED: {"fraction": 6}}),
    "NfuSpec.activation": ("diannao", {}, {"arch.engine.activation": {"segments": 4}}),
    "PiecewiseLinear.segments": ("diannao", {}, {"arch.engine.activation.segments": 4}),
    "PiecewiseLinear.reach": ("diannao", {}, {"arch.engine.activation.reach": 1}),
    "FixedPoint.fraction": ("diannao", {}, {f"{FIXED}.fraction": 6}),
    "FixedPoint.product": ("diannao", {FIXED: {"fraction": 10}}, {FIXED: {"fraction": 10, "product": "truncate"}}),
    "FixedPoint.product_bits": ("diannao", {}, {f"{FIXED}.product_bits": 8}),
    "FixedPoint.sum_bits": ("diannao", {}, {f"{FIXED}.sum_bits": 10}),
    "FixedPoint.overflow": ("diannao", {f"{FIXED}.sum_bits": 10}, {f"{FIXED}.overflow": "wrap"}),
}

SHOWN_BY: dict[str, dict[str, str]] = {
    "SystolicSpec": {"also": "mapping/test_meaning.py", "accumulator_overflow": "engines/test_accumulators.py"},
    "Registers": {"slots": "arch/test_memory.py", "streams": "arch/test_memory.py"},
    "NfuSpec": {"accumulator_overflow": "engines/test_accumulators.py"},
    "SparseSpec": {"tables": "engines/test_sparse_engine.py", "precision": "engines/test_sparse_engine.py",
                   "accumulator_overflow": "engines/test_accumulators.py"},
    "SampledTables": dict.fromkeys(("points", "sigmoid_reach", "tanh_reach"), "engines/test_sparse_engine.py"),
    "RoofSpec": {"peak_gops": "analysis/test_roofline.py"},
    "EnergyCost": dict.fromkeys(("pj", "per"), "energy/test_model.py"),
    "LayerMapping": {"engine": "test_several_engines.py"},
}  # fmt: skip

NETWORK = """schema: accelsim.network/1
name: n
layers:
  - {name: conv, op: conv2d, shape: [16, 9, 9], K: 20, R: 3, S: 3, pad: 1, groups: 2,
     weight: {pattern: "2:4"}, input: {density: 0.7}}
  - {name: relu, op: relu}
  - {name: pool, op: maxpool2d, window: 3, stride: 2}
"""


SPARSE = """schema: accelsim.network/1
name: s
precision: {weight: int4}
layers:
  - {name: fc, op: linear, in: 96, out: 40, weight: {density: 0.3}, input: {density: 0.4}}
"""


FIXED_POINT = """schema: accelsim.network/1
name: f
precision: {weight: int16, input: int16, output: int16}
layers:
  - {name: fc, op: linear, in: 8, out: 12}
  - {name: s, op: sigmoid}
"""


def network(arch: str) -> Network:
    return read_network(parse_document(SPARSE if arch == "eie" else NETWORK, "n.yaml"))


def outcome(arch: str, overrides: dict[str, Any]) -> Any:
    """All that a run tells, but for what repeats its inputs."""
    result = simulate_full(network(arch), arch, overrides=overrides).result.model_dump(mode="json")
    return [result["totals"], [{k: v for k, v in layer.items() if k != "mapping"} for layer in result["layers"]]]


@pytest.mark.parametrize("key", EXPERIMENTS)
def test_a_key_changes_a_result(key: str) -> None:
    arch, first, change = EXPERIMENTS[key]
    assert outcome(arch, first) != outcome(arch, {**first, **change})


@pytest.mark.parametrize("key", OF_VALUES)
def test_a_key_changes_values(key: str) -> None:
    arch, first, change = OF_VALUES[key]
    net = read_network(parse_document(FIXED_POINT, "f.yaml"))
    runs = [simulate_full(net, arch, overrides=o, values=True).outputs for o in (first, {**first, **change})]
    assert any((runs[0][name] != runs[1][name]).any() for name in runs[0])


def every_key() -> set[str]:
    models = models_within(Architecture) | models_within(MappingFile)
    return {f"{model.__name__}.{key}" for model in models for key in model.model_fields}


def test_every_key_is_accounted_for() -> None:
    described = {f"{model}.{key}" for model, keys in DESCRIBES.items() for key in keys}
    chosen = {f"{model}.{key}" for model, key in MODELS_OF_ENGINES.items()}
    shown = {f"{model}.{key}" for model, keys in SHOWN_BY.items() for key in keys}
    known = described | chosen | shown | set(EXPERIMENTS) | set(OF_VALUES)
    assert every_key() == known


@pytest.mark.parametrize(("model", "key", "path"), [(m, k, p) for m, ks in SHOWN_BY.items() for k, p in ks.items()])
def test_what_a_room_shows_is_in_its_tests(model: str, key: str, path: str) -> None:
    del model
    assert key in (TESTS / path).read_text(encoding="utf-8")


