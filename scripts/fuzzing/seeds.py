"""Valid inputs of every kind, small and with as many keys as fit: what the mutators begin with."""

from __future__ import annotations

import contextlib
import io
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[2]

NETWORK = """\
schema: accelsim.network/1
name: everything
batch: 2
precision: {weight: int8, input: int8, accumulator: int32, output: int8}
inputs: {x: [3, 12, 12]}
layers:
  - {name: c, op: conv2d, after: [x], K: 8, R: 3, S: 3, stride: 2, pad: [1, 1, 0, 1], dilation: 1, groups: 1, shift: 4}
  - {name: d, op: conv2d, R: 3, S: 3, groups: depthwise, precision: {weight: int4}}
  - {name: l, op: local2d, K: 4, R: 2, S: 2, after: [c]}
  - {name: p, op: maxpool2d, window: 2, stride: 1, ceil: true, after: [c]}
  - {name: a, op: avgpool2d, window: [2, 2], after: [c]}
  - {name: cat, op: concat, after: [p, p]}
  - {name: s, op: split, sizes: [4, 12]}
  - {name: r, op: relu, after: [s.1]}
  - {name: f, op: reshape, to: [-1, 4]}
  - {name: fc, op: linear, out: 10, weight: {density: 0.5}}
  - {name: t, op: transpose, perm: [2, 1]}
  - {name: mm, op: matmul, after: [fc, t]}
  - {name: sm, op: softmax}
  - {name: seq, op: lstm, hidden: 5, shape: [4, 6], projection: 3}
  - {name: free, op: linear, in: 7, out: 3, after: []}
"""
EXITS = """\
schema: accelsim.network/1
name: exits
algorithm: winograd_f2x2
layers:
  - {name: c, op: conv2d, shape: [4, 10, 10], K: 4, R: 3, S: 3, pad: 1, exit: 0.25}
  - {name: r, op: relu}
  - {name: c2, op: conv2d, K: 4, R: 3, S: 3, pad: 1, gate: 0.5, algorithm: direct}
  - {name: add, op: add, after: [r, c2]}
  - {name: pool, op: globalavgpool}
  - {name: fc, op: linear, out: 6, requantize: {multiplier: 3, shift: 8, zero_point: 1, rounding: even}}
"""
MLP = """\
schema: accelsim.network/1
name: mlp
precision: {weight: int16, input: int16, accumulator: int64, output: int16}
layers:
  - {name: one, op: linear, in: 24, out: 16, weight: {density: 0.4}, input: {density: 0.5}}
  - {name: act, op: relu}
  - {name: two, op: linear, out: 8}
"""
ANCHORED = """\
schema: accelsim.network/1
name: anchored
inputs: {x: [4, 6, 6]}
layers:
  - &first {name: c, op: conv2d, after: [x], K: 4, R: 3, S: 3, pad: 1, weight: {pattern: "2:4"}}
  - {<<: *first, name: d, after: [c]}
  - &two {<<: [*first, {K: 8}], name: e, after: [d], precision: {weight: int4}}
"""
FILES = """\
schema: accelsim.network/1
name: files
precision: {weight: int16, input: int16, accumulator: int64, output: int16}
layers:
  - {name: one, op: linear, in: 12, out: 8, bias: false, weight: {file: case.npz}, input: {density: 0.5}}
"""
ONE_FILE = FILES.replace("case.npz", "case.npy")
ARCHS = (
    """\
schema: accelsim.arch/1
name: demo
technology: {node_nm: 28, voltage: 0.9}
clock: 700 MHz
engine:
  {kind: systolic, rows: 16, cols: 8, dataflow: ws, weight_buffers: 2, overlap: skewed, edge: trim, drain: rows,
   pipeline: {hop: 1, multiplier: 1}, accumulators: {entries: 64, bits: 32, slots: 2}, precision: {int8: 1, int16: 1/4}}
vector: {lanes: 8, inline: [relu]}
memory:
  - {name: dram, bandwidth: 34 GB/s, latency: 100 ns, kind: dram}
  - {name: buffer, size: 256 KiB, bandwidth: 256 B/cycle, holds: [input, output], slots: 2}
  - {name: fifo, size: 64 KiB, holds: [weight]}
energy: {table: 45nm, dram: DDR3, costs: {mac: {pj: 1.0, per: mac, source: a paper}}}
""",
    """\
schema: accelsim.arch/1
name: tree
clock: 1 GHz
engine:
  {kind: nfu, unroll: {C: 8, K: 8}, overlap: skewed, sums: buffer, precision: {int16: 1, int8: 2}, nodes: 2,
   links: {bandwidth: 16 B/cycle, latency: 4 cycles}, activation: {segments: 8, reach: 4}}
vector: {lanes: 8}
memory:
  - {name: dram, bandwidth: 16 B/cycle, requests: per_tensor}
  - {name: nbin, size: 8 KiB, holds: [input], width_bits: 256, banks: 2}
  - {name: sb, size: 32 KiB, holds: [weight]}
  - {name: nbout, size: 8 KiB, holds: [output]}
""",
    """\
schema: accelsim.arch/1
name: sparse
clock: 800 MHz
engine:
  {kind: sparse, pes: 4, fifo_depth: 8, index_bits: 4, weight_bits: 4, entry_word_bits: 64, queue: ring, skip_zeros: true,
   tables: {points: 64, sigmoid_reach: 8, tanh_reach: 4}}
memory:
  - {name: dram}
  - {name: spmat, size: 1 MiB, holds: [weight, index]}
  - {name: act, size: 64 KiB, holds: [input, output]}
energy: {table: none}
""",
)
MAPPING = """\
schema: accelsim.mapping/1
name: mine
default: {tile: {K: 4, C: 8}, order: K C P, dataflow: os}
layers:
  c: {tile: {P: 2}, keep: [weight, input]}
  fc: {order: [N, K, C]}
"""
RECIPE = """\
schema: accelsim.recipe/1
name: small
seed: 1
calibration: {file: samples.npz, array: samples, samples: 8}
passes:
  - {kind: prune, densities: {one: 0.5, "t*": 0.8}, density: 0.9, granularity: element}
  - {kind: factorize, method: svd, rank: 4, layers: [two]}
  - {kind: cluster, bits: 3}
  - {kind: quantize, weights: {bits: 8}, activations: {bits: 8, range: percentile, percentile: 99.9}}
  - {kind: encode, index_bits: 4, huffman: true}
"""
SWEEP = """\
schema: accelsim.sweep/1
name: sweep
network: mlp.yaml
arch: gemmini_16x16
batch: 1
layers: [one]
set: {workload.precision: {weight: int8, input: int8, output: int8}, arch.engine.dataflow: ws}
vary:
  arch.engine.rows, arch.engine.cols: "8:16:8"
  mapping.one.tile.K: [4, 8]
where: arch.engine.rows <= 16
objective: cycles
"""
TILINGS = """\
schema: accelsim.sweep/1
network: [mlp.yaml]
arch: [demo.yaml]
seed: 3
values: true
zip: [{arch.clock: [500 MHz, 1 GHz], arch.technology.voltage: [0.8, 0.9]}]
tilings: {layer: one, tile: {K: [4, 8], C: "pow2:4:8"}, order: [K C N], top: 3, bound: false}
objective: [cycles, "max:utilization"]
"""
ALGORITHMS = """\
schema: accelsim.recipe/1
test: {file: samples.npz, array: samples}
inputs: 2
passes:
  - {kind: prune, n_of_m: [2, 4]}
  - {kind: cluster, buckets: 16, layers: [one]}
  - {kind: algorithm, conv2d: winograd_f2x2}
"""
TOPOLOGY = """\
Layer name, IFMAP Height, IFMAP Width, Filter Height, Filter Width, Channels, Num Filter, Strides,
Conv1, 28, 28, 5, 5, 1, 20, 1,
Conv2, 12, 12, 5, 5, 20, 50, 1,
FC, 4, 4, 4, 4, 50, 10, 1,
"""
GEMMS = "Layer, M, N, K,\nfirst, 16, 32, 8,\nsecond, 1, 10, 64,\n"
CFG = """\
[general]
run_name = example
[architecture_presets]
ArrayHeight:    32
ArrayWidth:     16
IfmapSramSzkB:   64
FilterSramSzkB:  128
OfmapSramSzkB:   32
IfmapOffset:    0
FilterOffset:   10000000
OfmapOffset:    20000000
Bandwidth : 10
Dataflow : os
MemoryBanks:   1
[run_presets]
InterfaceBandwidth: CALC
"""
MTX = "%%MatrixMarket matrix coordinate integer general\n% a comment\n8 12 4\n1 1 5\n2 3 -2\n8 12 1\n4 4 7\n"
DENSE_MTX = "%%MatrixMarket matrix array real general\n2 3\n1.5\n0\n-2\n3\n0\n1e3\n"
SMTX = "4, 6, 5\n0 1 3 3 5\n2 0 5 1 4\n"
TABLE = "cycles,energy_total_pj,arch.engine.rows,status\n100,5.5,8,ok\n80,7.25,16,ok\n60,9,32,ok\n"


def matrix() -> np.ndarray:
    """8 x 12 small integers, a third of them zero."""
    random = np.random.default_rng(0)
    return (random.integers(-9, 10, (8, 12)) * (random.random((8, 12)) < 0.7)).astype(np.int16)


def npz(**arrays: np.ndarray) -> bytes:
    """An .npz with these arrays."""
    buffer = io.BytesIO()
    np.savez_compressed(buffer, **arrays)
    return buffer.getvalue()


def npy() -> bytes:
    """`matrix` as an .npy."""
    buffer = io.BytesIO()
    np.save(buffer, matrix())
    return buffer.getvalue()


def matrices() -> list[bytes]:
    """`matrix` as a dense .npz, and as scipy writes it: coo, csr, csc."""
    dense = matrix()
    rows, cols = np.nonzero(dense)
    starts = np.concatenate([[0], np.cumsum(np.count_nonzero(dense, axis=1))])
    across = np.lexsort((rows, cols))
    downs = np.concatenate([[0], np.cumsum(np.count_nonzero(dense, axis=0))])
    shape, data = np.array(dense.shape), dense[rows, cols]
    return [
        npz(weight=dense),
        npz(format=np.array(b"coo"), shape=shape, row=rows, col=cols, data=data),
        npz(format=np.array(b"csr"), shape=shape, indptr=starts, indices=cols, data=data),
        npz(format=np.array(b"csc"), shape=shape, indptr=downs, indices=rows[across], data=data[across]),
    ]


def samples() -> bytes:
    """Inputs of `MLP`."""
    return npz(samples=np.random.default_rng(1).standard_normal((8, 24)))


def reports() -> list[bytes]:
    """Results of small networks on three kinds of engine."""
    import accelsim

    made = (("lenet5", "gemmini_16x16"), ("lenet5", "eyeriss_like"), ("lenet_300_100", "tpu_v1"))
    return [accelsim.simulate(network, arch).to_json().encode() for network, arch in made]


_MODELS = (
    (
        "float[1,3,8,8] x",
        "float[1,4,4,4] y",
        "c = Conv<pads=[1,1,1,1]>(x, w, b) r = Relu(c) y = MaxPool<kernel_shape=[2,2],strides=[2,2]>(r)",
        {"w": (4, 3, 3, 3), "b": (4,)},
    ),
    (
        "float[2,6] x",
        "float[2,5] y",
        "g = Gemm<transB=1, alpha=0.5>(x, w, b) s = Sigmoid(g) y = Softmax<axis=1>(s)",
        {"w": (5, 6), "b": (5,)},
    ),
    (
        "float[1,4,6] x",
        "float[1,6,4] y",
        "a = MatMul(x, w) d = Add(a, b) t = Transpose<perm=[0,2,1]>(d) y = Relu(t)",
        {"w": (6, 6), "b": (6,)},
    ),
    ("float[1,4,4] x", "float[1,8] y", "q = Reshape(x, s) p = Concat<axis=1>(q, q) y = Slice(p, st, en)", {}),
    (
        "float[3,1,4] x",
        "float[3,1,1,5] y",
        "y, h, c = LSTM<hidden_size=5>(x, w, r)",
        {"w": (1, 20, 4), "r": (1, 20, 5)},
    ),
    (
        "float[3,1,4] x",
        "float[3,2,1,5] y",
        'y, h = GRU<hidden_size=5, direction="bidirectional", linear_before_reset=1>(x, w, r)',
        {"w": (2, 15, 4), "r": (2, 15, 5)},
    ),
    (
        "float[1,4,6,6] x",
        "float[1,2,12,12] y",
        "t = ConvTranspose<strides=[2,2], kernel_shape=[2,2]>(x, w) n = LeakyRelu<alpha=0.2>(t) "
        'y = Resize<mode="nearest">(n, , sc)',
        {"w": (4, 2, 2, 2)},
    ),
    (
        "float[1,4,8] x",
        "float[1,4,4] y",
        "c = Conv<kernel_shape=[3], pads=[1,1], group=2>(x, w) p = AveragePool<kernel_shape=[2], strides=[2]>(c) "
        "m = ReduceMean<axes=[2], keepdims=1>(p) y = Sub(p, m)",
        {"w": (4, 2, 3)},
    ),
    (
        "float[1,4,6] x",
        "float[1,4,4] y",
        "l = LayerNormalization(x, g, b) t = Transpose<perm=[0,2,1]>(l) a = MatMul(l, t) s = Softmax(a) z = Erf(s) "
        "k = Greater(z, a) y = Where(k, z, a)",
        {"g": (6,), "b": (6,)},
    ),
    (
        "float[1,2,5,5] x",
        "float[1,3,5,5] y",
        "q = QuantizeLinear(x, f, z) d = DequantizeLinear(q, f, z) v = QuantizeLinear(w, f, i) u = DequantizeLinear(v, f, i) "
        "c = Conv<pads=[1,1,1,1]>(d, u) o = QuantizeLinear(c, f, z) y = DequantizeLinear(o, f, z)",
        {"w": (3, 2, 3, 3)},
    ),
    (
        "float[1,3,6,6] x",
        "float[1,3,6,6] y",
        "b = BatchNormalization(x, g, h, m, v) p = Pad(b, pads) y = Clip(p)",
        {"g": (3,), "h": (3,), "m": (3,), "v": (3,)},
    ),
)


def models() -> list[bytes]:
    """Small ONNX models; none where onnx is not installed."""
    try:
        import onnx
        from onnx import numpy_helper, parser
    except ImportError:
        return []
    random = np.random.default_rng(2)
    constants = {
        "s": np.array([1, 16]), "st": np.array([0, 4]), "en": np.array([1, 12]), "sc": np.array([1, 1, 1, 1], np.float32),
        "f": np.array(0.05, np.float32), "z": np.array(128, np.uint8), "i": np.array(0, np.int8), "pads": np.array([0] * 8),
    }  # fmt: skip
    made = []
    for given, output, body, shapes in _MODELS:
        model = parser.parse_model(f'<ir_version: 8, opset_import: ["" : 17]> g ({given}) => ({output}) {{ {body} }}')
        arrays = {name: random.standard_normal(shape).astype(np.float32) for name, shape in shapes.items()}
        arrays |= {name: np.abs(array) for name, array in arrays.items() if name == "v"}  # a variance
        read = {name for node in model.graph.node for name in node.input}
        read -= {name for node in model.graph.node for name in node.output}
        for name, array in {**{k: v for k, v in constants.items() if k in read}, **arrays}.items():
            model.graph.initializer.append(numpy_helper.from_array(array, name))
        onnx.checker.check_model(model)
        made.append(model.SerializeToString())
    return made


Seeds = Callable[[], list[bytes]]


def _texts(*texts: str) -> Seeds:
    return lambda: [text.encode() for text in texts]


def _zoo(*names: str) -> list[str]:
    return [(ROOT / name).read_text(encoding="utf-8") for name in names]


def traces() -> list[bytes]:
    """A trace of a small network."""
    return [_written("simulate", "lenet5", "--arch", "gemmini_16x16", "--trace", "out.json")]


def stores() -> list[bytes]:
    """What a sweep keeps."""
    return [_written("sweep", "lenet5", "--arch", "gemmini_16x16", "--vary", "arch.engine.rows=[8, 16]", "--store", "out")]


def studies() -> list[bytes]:
    """What a search keeps; none where optuna is not installed."""
    vary = ("--vary", "arch.engine.rows=[8, 16]", "--trials", "2", "--sampler", "random")
    made = _written("search", "lenet5", "--arch", "gemmini_16x16", *vary, "--store", "out")
    return [made] if made else []


def _written(*words: str) -> bytes:
    """The file ``out`` that a command leaves, whatever it ends in."""
    from accelsim.cli import main

    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder), contextlib.redirect_stdout(io.StringIO()):
        with contextlib.redirect_stderr(io.StringIO()):
            main(words)
        return next(Path().glob("out*")).read_bytes() if any(Path().glob("out*")) else b""


SEEDS: dict[str, Seeds] = {
    "network": _texts(NETWORK, EXITS, MLP, ANCHORED, *_zoo("docs/examples/small_net.yaml", "workloads/lenet5.yaml")),
    "arch": _texts(
        *ARCHS,
        *_zoo("docs/examples/edge8_two.yaml"),
        *_zoo(*(f"arch_configs/{name}.yaml" for name in ("tpu_v1", "diannao", "eie", "eyeriss_like", "gemmini_16x16"))),
    ),
    "mapping": _texts(MAPPING, *_zoo("docs/examples/small_map.yaml")),
    "recipe": _texts(RECIPE, ALGORITHMS),
    "sweep": _texts(SWEEP, TILINGS),
    "topology": _texts(TOPOLOGY, GEMMS),
    "cfg": _texts(CFG),
    "mtx": _texts(MTX, DENSE_MTX),
    "smtx": _texts(SMTX),
    "table": _texts(TABLE),
    "npz": matrices,
    "npy": lambda: [npy()],
    "report": reports,
    "trace": traces,
    "store": stores,
    "study": studies,
    "onnx": models,
}
