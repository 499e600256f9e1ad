"""Whatever is done to a valid file: it is read, or every fault is an `InputError`. Nothing else ever comes out."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import pytest
import yaml
from builders import ROOT
from hypothesis import given, settings
from hypothesis import strategies as st

from accelsim.check import READERS
from accelsim.errors import InputError
from accelsim.yaml_io import Document, parse_document, with_override

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
ARCH = """\
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
  - {name: buffer, size: 24 MiB, bandwidth: 256 B/cycle, holds: [input, output], width_bits: 64, slots: 2}
  - {name: fifo, size: 256 KiB, holds: [weight]}
energy: {table: 45nm, dram: DDR3, costs: {mac: {pj: 1.0, per: mac, source: a paper}}}
"""
MAPPING = """\
schema: accelsim.mapping/1
name: mine
default: {tile: {K: 4, C: 8}, order: K C P, dataflow: os}
layers:
  c: {tile: {P: 2}, keep: [weight, input]}
  fc: {order: [N, K, C]}
"""
TEXTS = {"accelsim.network/1": NETWORK, "accelsim.arch/1": ARCH, "accelsim.mapping/1": MAPPING}
Read = Callable[[Document], Any]

JUNK = (
    st.none() | st.booleans() | st.integers(-3, 3) | st.sampled_from([10**17, -(10**17), 2**31, 1 << 62])
    | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=6)
    | st.sampled_from(["1/0", "0 MHz", "1e400", "700 MHz", "4 KiB", "int8", "int0", "-1", "ws", "c", "x.0", "c.9", "x"])
    | st.lists(st.integers(-1, 3) | st.text(max_size=3), max_size=3)
    | st.dictionaries(st.sampled_from(["K", "name", "op", "kind", "size", "a"]), st.integers(-1, 3), max_size=2)
)  # fmt: skip


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document, the whole first."""
    found = [path]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += places(inner, (*path, key))
    return found


@st.composite
def mutated(draw: Any, kind: str) -> Any:
    """A valid document with up to three places replaced, dropped, doubled, renamed or swapped."""
    data = copy.deepcopy(PARSED[kind])
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.sampled_from(places(data)))
        if not at:
            continue
        parent = data
        for key in at[:-1]:
            parent = parent[key]
        last = at[-1]
        change = draw(st.sampled_from(["replace", "replace", "replace", "drop", "double", "rename", "swap"]))
        if change == "replace":
            parent[last] = draw(JUNK)
        elif change == "drop":
            del parent[last]
        elif change == "double" and isinstance(parent, list):
            parent.append(copy.deepcopy(parent[last]))
        elif change == "rename" and isinstance(parent, dict):
            parent[draw(st.text(min_size=1, max_size=5))] = parent.pop(last)
        elif change == "swap":
            other: Any = data
            for key in draw(st.sampled_from(places(data))):
                other = other[key]
            parent[last] = copy.deepcopy(other)
    return data


PARSED = {kind: parse_document(text, "f").data for kind, text in TEXTS.items()}


def read_or_refuse(read: Read, document: Document) -> None:
    try:
        read(document)
    except InputError as error:
        assert error.faults
        assert all(fault.message and "\n" not in str(fault) for fault in error.faults)


def test_the_seeds_are_valid() -> None:
    for kind, text in TEXTS.items():
        READERS[kind](parse_document(text, "f"))


@pytest.mark.parametrize("kind", TEXTS)
@settings(max_examples=150)
@given(data=st.data())
def test_mutated_documents(kind: str, data: Any) -> None:
    read_or_refuse(READERS[kind], Document(data.draw(mutated(kind)), "f"))


@pytest.mark.parametrize("kind", TEXTS)
@settings(max_examples=60)
@given(data=st.data())
def test_mutated_documents_as_text(kind: str, data: Any) -> None:
    text = yaml.safe_dump(data.draw(mutated(kind)), allow_unicode=True)
    try:
        document = parse_document(text, "f")
    except InputError:
        return
    read_or_refuse(READERS[kind], document)


@pytest.mark.parametrize("kind", TEXTS)
@settings(max_examples=100)
@given(data=st.data())
def test_mutated_text(kind: str, data: Any) -> None:
    text = TEXTS[kind]
    for _ in range(data.draw(st.integers(1, 3))):
        at, length = data.draw(st.integers(0, len(text))), data.draw(st.integers(0, 6))
        text = (
            text[:at]
            + data.draw(st.text(max_size=4) | st.sampled_from(["\n", ": ", "- ", "{", "]", "&a ", "*a", "!!int "]))
            + text[at + length :]
        )
    try:
        document = parse_document(text, "f")
    except InputError:
        return
    read_or_refuse(READERS[kind], document)


@pytest.mark.parametrize("kind", TEXTS)
@settings(max_examples=100)
@given(data=st.data())
def test_overrides(kind: str, data: Any) -> None:
    document = parse_document(TEXTS[kind], "f")
    path = [str(part) for part in data.draw(st.sampled_from(places(document.data)[1:]))]
    keys = tuple(path + data.draw(st.lists(st.text(min_size=1, max_size=4), max_size=2)))
    try:
        document = with_override(document, keys, data.draw(JUNK), "--set")
    except InputError:
        return
    read_or_refuse(READERS[kind], document)


@pytest.mark.parametrize("name", ["lenet5", "mobilenet_v2"])
@settings(max_examples=40)
@given(data=st.data())
def test_bytes_of_the_zoo(name: str, data: Any) -> None:
    raw = bytearray((ROOT / "workloads" / f"{name}.yaml").read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        document = parse_document(raw.decode("utf-8", "replace"), "f")
    except InputError:
        return
    read_or_refuse(READERS["accelsim.network/1"], document)
