"""Small networks and architectures for tests: a few words in, the real things out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from accelsim.arch.loader import read_architecture
from accelsim.arch.spec import Architecture
from accelsim.mapping.mapping import MappingFile
from accelsim.workload.network import Layer, LayerSketch, Network, ValueSource, build_network
from accelsim.workload.ops import Conv2d, LocallyConnected2d, Matmul, Op
from accelsim.workload.precision import Precision, parse_format
from accelsim.yaml_io import Document

ROOT = Path(__file__).parents[2]
PUBLISHED = ROOT.parent / "shared" / "published"
"""Published figures beside the checkout; tests that need them skip where they are not there."""


def formats(
    weight: str = "int8", input: str | None = None, accumulator: str = "int32", output: str = "int8"
) -> Precision:
    """A precision in words; the input is as the weight unless given."""
    return Precision(
        weight=parse_format(weight),
        input=parse_format(input or weight),
        accumulator=parse_format(accumulator),
        output=parse_format(output),
    )


BARE = formats(output="int32")
"""int8 operands, outputs that are the bare accumulators."""


def network_of(
    op: Op, *shapes: tuple[int, ...], batch: int = 1, precision: Precision = BARE, density: float = 1.0
) -> Network:
    """One layer called ``layer`` that reads graph inputs of the given shapes (without the batch)."""
    inputs = {f"x{i}": shape for i, shape in enumerate(shapes)}
    sparse = ValueSource(density=density)
    sketch = LayerSketch("layer", op, tuple(inputs), precision, weight=sparse)
    return build_network("one", batch, inputs, (sketch,))


def layer_of(op: Op, *shapes: tuple[int, ...], batch: int = 1, precision: Precision = BARE) -> Layer:
    """The layer of `network_of`."""
    return network_of(op, *shapes, batch=batch, precision=precision).layers[0]


def gemm(m: int, k: int, n: int, precision: Precision = BARE) -> Network:
    """(m x k) times (k x n)."""
    return network_of(Matmul(M=m, K=k, N=n), (m, k), precision=precision)


def conv(channels: int, size: tuple[int, int], batch: int = 1, precision: Precision = BARE, **op: Any) -> Network:
    """One convolution over ``channels`` x ``size``."""
    return network_of(Conv2d(**op), (channels, *size), batch=batch, precision=precision)


def local(channels: int, size: tuple[int, int], batch: int = 1, **op: Any) -> Network:
    """One convolution with private kernels."""
    return network_of(LocallyConnected2d(**op), (channels, *size), batch=batch)


def chain(
    *sketches: tuple[str, Op],
    inputs: dict[str, tuple[int, ...]],
    batch: int = 1,
    after: dict[str, tuple[str, ...]] | None = None,
) -> Network:
    """Layers one after the other (the first reads the first input), or after those that ``after`` names."""
    links = after or {}
    first = next(iter(inputs))
    made = []
    for index, (name, op) in enumerate(sketches):
        before = links.get(name, (sketches[index - 1][0] if index else first,))
        made.append(LayerSketch(name, op, before, formats()))
    return build_network("chain", batch, inputs, tuple(made))


UNBOUNDED = [
    {"name": "dram"},
    {"name": "ifmap", "holds": ["input"]},
    {"name": "filter", "holds": ["weight"]},
    {"name": "ofmap", "holds": ["output", "partial_sum"]},
]
"""A level a tensor, none of them with a limit: time is the array's alone."""


def one_buffer(
    size: str, bandwidth: str | None = "16 B/cycle", port: str | None = None, **level: Any
) -> list[dict[str, Any]]:
    """A dram and one buffer that holds everything."""
    dram: dict[str, Any] = {"name": "dram"} | ({"bandwidth": bandwidth} if bandwidth else {})
    buffer = {"name": "buffer", "size": size, "holds": ["weight", "input", "output"], **level}
    return [dram, buffer | ({"bandwidth": port} if port else {})]


def array(
    rows: int = 4,
    cols: int = 4,
    memory: list[dict[str, Any]] | None = None,
    vector: dict[str, Any] | None = None,
    **engine: Any,
) -> Architecture:
    """A systolic array; ``engine`` are keys of its block."""
    block = {"kind": "systolic", "rows": rows, "cols": cols, **engine}
    data: dict[str, Any] = {
        "schema": "accelsim.arch/1", "name": "test", "clock": "1 GHz", "engine": block,
        "memory": memory or UNBOUNDED, "energy": {"table": "none"},
    }  # fmt: skip
    if vector is not None:
        data["vector"] = vector
    return read_architecture(Document(data, "test"))


def fixed(**layer_mapping: Any) -> MappingFile:
    """A mapping file that fixes this for every layer."""
    return MappingFile.model_validate({"default": layer_mapping})
