"""What is done to a valid input: to its bytes, its words, or the tree or arrays that it stands for.

Every mutator takes a `random.Random` and returns something new; the same random state gives the same output.
"""

from __future__ import annotations

import copy
import io
import json
import re
import struct
import zipfile
from collections.abc import Callable
from random import Random
from typing import Any

import numpy as np
import yaml

EXTREMES: tuple[Any, ...] = (
    0,
    -1,
    1,
    2,
    3,
    7,
    255,
    256,
    65535,
    65536,
    10**6,
    2**31 - 1,
    2**31,
    10**9,
    10**10,
    2**53,
    2**62,
    2**63 - 1,
    2**63,
    2**64,
    10**17,
    10**18,
    10**19,
    -(10**9),
    -(2**63),
    0.0,
    -0.0,
    0.5,
    1.5,
    1e-9,
    1e-300,
    5e-324,
    1e17,
    1e300,
    -1e300,
    float("nan"),
    float("inf"),
    float("-inf"),
    True,
    False,
    None,
    "",
    " ",
    ".",
    "..",
    "/",
    "~",
    "x" * 300,
    "n" * 5000,
    "é",
    "名前",
    "\u202e",
    "\ud7ff",
    "😀",
    "a\nb",
    "a\tb",
    "\x00",
    "\x1b[31m",
    "1/0",
    "1/3",
    "0/1",
    "1e400",
    "1e-400",
    "9" * 50,
    "0x10",
    "1_000",
    "0 MHz",
    "1e30 GHz",
    "700 MHz",
    "0.1 Hz",
    "4 KiB",
    "1 TiB",
    "9e20 TiB",
    "0 B",
    "1 B",
    "1 B/cycle",
    "1e-9 B/s",
    "34 GB/s",
    "100 ns",
    "1e9 s",
    "12 cycles",
    "int8",
    "int0",
    "int1",
    "int64",
    "int65",
    "uint8",
    "fp32",
    "bf16",
    "fp8",
    "-1",
    "ws",
    "os",
    "is",
    "none",
    "full",
    "2024-01-01",
    "2024-01-01 12:00:00",
    "12:30:45",
    "yes",
    "no",
    "null",
    "/dev/zero",
    "/dev/null",
    "/nonexistent",
    "../x",
    "pow2:1:1e9",
    "1:10000000000",
    "divisors",
    "[8, 16]",
    "K C P",
    "*",
    "conv*",
    "a.b.c",
    "[0]",
    [],
    {},
    [[]],
    [0],
    [-1],
    [1, 2],
    [10**9] * 3,
    ["a"],
    [None],
    {"a": 1},
    {"": None},
    {"name": "x"},
    [{}],
    {"kind": "x"},
)
"""Values that people, tools and attackers write where others are meant."""

SNIPPETS = (
    "\n",
    ": ",
    "- ",
    "{",
    "}",
    "[",
    "]",
    ",",
    "&a ",
    "*a",
    "!!int ",
    "!!python/object:os.system ",
    "<<: ",
    "? ",
    "|\n",
    ">\n",
    "'",
    '"',
    "#",
    "%",
    "@",
    "`",
    "\t",
    "\r",
    "\x00",
    "\x85",
    "\u2028",
    "\ufeff",
    "---\n",
    "...\n",
    "=",
    "==",
    "(",
    ")",
    "**",
    "//",
    "0",
    "-",
    "1e",
    ".5",
    "e9",
    "nan",
    "inf",
    "NaN",
    "-Infinity",
    "é",
    "😀",
    "null",
    "true",
)
EMPTY = ("", "\n", "# nothing\n", "---\n", "null\n", "~", "[]", "{}", "--- {}\n--- {}\n", '""', "\ufeff")
LOOPS = (
    "a: &a [*a]\n", "a: &a {b: *a}\n", "<<: &a {<<: *a}\n", "a: *nowhere\n", "&a ? *a\n: 1\n", "<<: [[1]]\n", "<<: 3\n",
    "a: &x {b: 1}\nc: {<<: *x, <<: *x}\n", "? [a, b]\n: 1\n",
)  # fmt: skip
"""Documents that say nothing, and anchors that lead nowhere or back."""
_TOKEN = re.compile(r"[A-Za-z_]\w*|[-+]?\d+(?:\.\d+)?|\s+|[^\w\s]")


# ---- bytes ------------------------------------------------------------------------------------------------------


def _flip(raw: bytearray, random: Random) -> None:
    for _ in range(random.choice((1, 1, 2, 8))):
        raw[random.randrange(len(raw))] ^= 1 << random.randrange(8)


def _byte(raw: bytearray, random: Random) -> None:
    raw[random.randrange(len(raw))] = random.choice((0, 255, 127, 128, random.randrange(256)))


def _cut(raw: bytearray, random: Random) -> None:
    at = random.randrange(len(raw))
    del raw[at : at + random.choice((1, 4, 64, len(raw)))]


def _double(raw: bytearray, random: Random) -> None:
    at, length = random.randrange(len(raw)), random.choice((1, 8, 200))
    raw[at:at] = raw[at : at + length] * random.choice((1, 2, 20))


def _insert(raw: bytearray, random: Random) -> None:
    at = random.randrange(len(raw) + 1)
    raw[at:at] = random.choice([random.randbytes(random.choice((1, 4, 16))), random.choice(SNIPPETS).encode()])


def _number(raw: bytearray, random: Random) -> None:
    """An extreme number as little-endian bytes, over what stands there."""
    form, value = random.choice(
        (("<i", -1), ("<i", 2**31 - 1), ("<q", -1), ("<q", 2**62), ("<H", 65535), ("<i", 0), ("<d", float("nan")))
    )
    packed = struct.pack(form, value)
    at = random.randrange(len(raw))
    raw[at : at + len(packed)] = packed


def _blank(raw: bytearray, random: Random) -> None:
    at = random.randrange(len(raw))
    length = min(random.choice((2, 16, 64)), len(raw) - at)
    raw[at : at + length] = bytes(length)


_ON_BYTES: tuple[Callable[[bytearray, Random], None], ...] = (_flip, _byte, _cut, _double, _insert, _number, _blank)


def mutate_bytes(content: bytes, random: Random) -> bytes:
    """One to five changes anywhere."""
    raw = bytearray(content)
    for _ in range(random.randint(1, 5)):
        if raw:
            random.choice(_ON_BYTES)(raw, random)
    return bytes(raw)


# ---- words ------------------------------------------------------------------------------------------------------


def mutate_words(text: str, random: Random) -> str:
    """Tokens replaced, dropped, doubled, swapped; lines moved about."""
    tokens = _TOKEN.findall(text)
    for _ in range(random.randint(1, 4)):
        if not tokens:
            break
        at, other = random.randrange(len(tokens)), random.randrange(len(tokens))
        match random.choice(("extreme", "extreme", "snippet", "drop", "double", "swap", "lines")):
            case "extreme":
                tokens[at] = _as_text(extreme(random))
            case "snippet":
                tokens.insert(at, random.choice(SNIPPETS))
            case "drop":
                del tokens[at]
            case "double":
                tokens[at:at] = [tokens[at]] * random.choice((1, 2, 30))
            case "swap":
                tokens[at], tokens[other] = tokens[other], tokens[at]
            case _:
                tokens = _TOKEN.findall(_shuffled_lines("".join(tokens), random))
    return "".join(tokens)


def _shuffled_lines(text: str, random: Random) -> str:
    lines = text.splitlines(keepends=True)
    if not lines:
        return text
    at = random.randrange(len(lines))
    moved = lines.pop(at) if random.random() < 0.5 else lines[at]
    lines.insert(random.randrange(len(lines) + 1), moved)
    return "".join(lines)


def extreme(random: Random) -> Any:
    """One of `EXTREMES`, as a value of its own: what it is put into may be changed again."""
    return copy.deepcopy(random.choice(EXTREMES))


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


# ---- trees ------------------------------------------------------------------------------------------------------


def places(value: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document, the whole first."""
    found = [path]
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        found += places(inner, (*path, key))
    return found


def at(data: Any, path: tuple[Any, ...]) -> Any:
    """What stands at ``path``."""
    for key in path:
        data = data[key]
    return data


def mutate_tree(data: Any, random: Random) -> Any:
    """A copy of ``data`` (mappings, lists, scalars) with one to three places changed."""
    data = json.loads(json.dumps(data))
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        known = places(data)
        path = random.choice(known)
        if path:
            _change(data, at(data, path[:-1]), path[-1], known, random)
        elif random.random() < 0.02:
            data = extreme(random)
    return data


def _change(data: Any, parent: Any, key: Any, known: list[tuple[Any, ...]], random: Random) -> None:
    match random.choice(
        ("extreme",) * 4
        + ("scale", "scale", "drop", "double", "rename", "swap", "nest", "many", "exchange", "retype", "borrow")
    ):
        case "scale" if isinstance(parent[key], int | float) and not isinstance(parent[key], bool):
            parent[key] = _scaled(parent[key], random)
        case "drop":
            del parent[key]
        case "double" if isinstance(parent, list):
            parent.append(parent[key])
        case "rename" if isinstance(parent, dict):
            parent[random.choice(("", "x", "é", "K", "name", "kind", "schema", str(key).upper(), f"{key}x"))] = (
                parent.pop(key)
            )
        case "exchange":
            other = random.choice(list(parent) if isinstance(parent, dict) else range(len(parent)))
            parent[key], parent[other] = parent[other], parent[key]
        case "retype":
            parent[key] = _retyped(parent[key], random)
        case "borrow" if isinstance(parent, dict):  # a key of elsewhere
            other = random.choice(known)
            parent[str(other[-1]) if other else "x"] = json.loads(json.dumps(at(data, other)))
        case "swap":
            parent[key] = json.loads(json.dumps(at(data, random.choice(known))))
        case "nest":
            parent[key] = _nested(parent[key], random)
        case "many" if isinstance(parent, list):
            parent.extend([json.loads(json.dumps(parent[key]))] * random.choice((2, 50)))
        case _:
            parent[key] = extreme(random)


def _retyped(value: Any, random: Random) -> Any:
    """The same, as a value of another type."""
    if isinstance(value, dict):
        return random.choice(([value], list(value), list(value.values()), [[k, v] for k, v in value.items()], None))
    if isinstance(value, list):
        return random.choice(({str(i): v for i, v in enumerate(value)}, value[0] if value else None, str(value), None))
    return random.choice(([value], {"value": value}, str(value), None, bool(value), {str(value): value}))


def _scaled(value: Any, random: Random) -> Any:
    return random.choice(
        (value + 1, value - 1, -value, value * 2, value * 10**3, value * 10**6, value * 10**9, value * 0.5, str(value))
    )


def _nested(value: Any, random: Random) -> Any:
    for _ in range(random.choice((1, 3, 60, 300))):
        value = [value] if random.random() < 0.5 else {"a": value}
    return value


def _deep(random: Random) -> str:
    """Text that nests without end."""
    depth = random.choice((500, 5_000, 50_000))
    return random.choice(("[", "{a: ", "- ", "a:\n ", '{"a":')) * depth


def _aliases(random: Random) -> str:
    """A few anchors that stand for very much."""
    levels = random.randint(3, 12)
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{i}: &a{i} [{', '.join([f'*a{i - 1}'] * 9)}]" for i in range(1, levels)]
    return "\n".join(lines) + "\n"


# ---- files of text ------------------------------------------------------------------------------------------------


def mutate_text_file(content: bytes, random: Random, others: list[bytes]) -> bytes:
    """A text file by its words, its bytes, with another's lines, or cut short."""
    match random.choice(("words",) * 4 + ("bytes", "bytes", "splice", "cut", "encode")):
        case "words":
            return mutate_words(content.decode("utf-8", "replace"), random).encode("utf-8", "surrogatepass")
        case "splice":
            return _spliced(content, random.choice(others), random)
        case "cut":
            return content[: random.randrange(len(content) + 1)]
        case "encode":
            return content.decode("utf-8", "replace").encode(
                random.choice(("utf-16", "utf-8-sig", "utf-32", "cp1026")), "replace"
            )
        case _:
            return mutate_bytes(content, random)


def _spliced(content: bytes, other: bytes, random: Random) -> bytes:
    first, second = content.splitlines(keepends=True), other.splitlines(keepends=True)
    return b"".join(first[: random.randrange(len(first) + 1)] + second[random.randrange(len(second) + 1) :])


def mutate_yaml(content: bytes, random: Random, others: list[bytes]) -> bytes:
    """Mostly the tree, sometimes the text, seldom something that is built to hurt."""
    dice = random.random() if b"&" not in content else 1 - 0.3 * random.random()  # aliases would be written out
    if dice < 0.70:
        data = mutate_tree(yaml.safe_load(content), random)
        return yaml.safe_dump(data, allow_unicode=random.random() < 0.5, sort_keys=False).encode(
            "utf-8", "surrogatepass"
        )
    if dice < 0.98:
        return mutate_text_file(content, random, others)
    words = random.choice((_deep(random), _aliases(random), random.choice(EMPTY), random.choice(LOOPS)))
    return words.encode() + (content if random.random() < 0.5 else b"")


def mutate_json(content: bytes, random: Random, others: list[bytes]) -> bytes:
    """As `mutate_yaml`, for JSON."""
    dice = random.random()
    if dice < 0.75:
        return json.dumps(mutate_tree(json.loads(content), random)).encode()
    if dice < 0.98:
        return mutate_text_file(content, random, others)
    return random.choice((_deep(random), random.choice(EMPTY))).encode() + (content if random.random() < 0.5 else b"")


def mutate_store(content: bytes, random: Random, others: list[bytes]) -> bytes:
    """A database by its bytes, cut short, or another file in its place."""
    del others
    match random.choice(("bytes",) * 4 + ("cut", "empty", "text")):
        case "cut":
            return content[: random.randrange(len(content) + 1)]
        case "empty":
            return b""
        case "text":
            return b"schema: accelsim.sweep/1\n" * 50
        case _:
            return mutate_bytes(content, random)


# ---- arrays -----------------------------------------------------------------------------------------------------

DTYPES = ("i1", "u1", "i2", "i4", "i8", "u8", "f2", "f4", "f8", "?", "c8", "U3", "S2", "M8[s]", "m8[D]", "V4", "O")
SHAPES = ((), (0,), (1,), (3,), (2, 2), (0, 5), (1, 1, 1), (10**9,), (2**40, 2**40), (-1,), (2**63,))


def mutate_array(array: np.ndarray, random: Random) -> np.ndarray:
    """Another type, another shape, other elements."""
    with np.errstate(all="ignore"):
        match random.choice(("type", "shape", "value", "value", "cut", "extreme")):
            case "type":
                return array.astype(random.choice([t for t in DTYPES if t not in ("V4", "O", "M8[s]", "m8[D]")]))
            case "shape":
                return array.reshape(random.choice(((-1,), (1, *array.shape), (*array.shape, 1), array.shape[::-1])))
            case "cut":
                return array[: len(array) // 2] if array.ndim else array
            case "value" if array.size and array.dtype.kind in "iuf":
                changed = array.copy()
                changed.flat[random.randrange(array.size)] = random.choice((0, 1, 5, 100))
                return changed
            case _:
                return np.full(array.shape, random.choice((float("nan"), float("inf"), -1, 2**62, 1e300)))


def npy_bytes(array: np.ndarray) -> bytes:
    """An .npy file."""
    buffer = io.BytesIO()
    np.save(buffer, array, allow_pickle=False)
    return buffer.getvalue()


def forged_npy(content: bytes, random: Random) -> bytes:
    """An .npy whose header says something else than what follows."""
    shape = random.choice(SHAPES)
    order = random.choice(("True", "False", "1", "None"))
    words = (
        f"{{'descr': '{random.choice('<>|') + random.choice(DTYPES)}', 'fortran_order': {order}, 'shape': {shape!r}, }}"
    )
    header = words.encode() + b"\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header + content[128:]


def mutate_npy(content: bytes, random: Random, others: list[bytes]) -> bytes:
    """The array, its header, or the bytes."""
    del others
    dice = random.random()
    if dice < 0.4:
        return npy_bytes(mutate_array(np.load(io.BytesIO(content)), random))
    return forged_npy(content, random) if dice < 0.6 else mutate_bytes(content, random)


def mutate_npz(content: bytes, random: Random, others: list[bytes]) -> bytes:
    """One array of the archive, its names, its members; or the bytes."""
    del others
    if random.random() < 0.35:
        return mutate_bytes(content, random)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        members = {name: archive.read(name) for name in archive.namelist()}
    name = random.choice(list(members))
    match random.choice(("array", "array", "forge", "drop", "rename", "bomb", "bytes", "format")):
        case "array":
            members[name] = npy_bytes(mutate_array(np.load(io.BytesIO(members[name])), random))
        case "forge":
            members[name] = forged_npy(members[name], random)
        case "drop":
            del members[name]
        case "rename":
            members[random.choice(("x.npy", "x.txt", "../x.npy", "format.npy", "data.npy"))] = members.pop(name)
        case "bomb":
            members[name] = _bomb(random)
        case "format":
            members["format.npy"] = npy_bytes(
                np.array(random.choice((b"csr", b"coo", b"bsr", b"dia", b"x", 3, "csc", [b"csr", b"coo"])))
            )
        case _:
            members[name] = mutate_bytes(members[name], random)
    return _zipped(members, random)


def _bomb(random: Random) -> bytes:
    """Zeros that pack to next to nothing, and a header that promises as many or more."""
    size = random.choice((1 << 22, 1 << 25))
    words = f"{{'descr': '|i1', 'fortran_order': False, 'shape': ({random.choice((1, 4096, 1 << 20)) * size},), }}\n".encode()
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(words)) + words + bytes(size)


def _zipped(members: dict[str, bytes], random: Random) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(
        buffer, "w", random.choice((zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2))
    ) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return buffer.getvalue()


# ---- ONNX -------------------------------------------------------------------------------------------------------


def mutate_onnx(content: bytes, random: Random, others: list[bytes]) -> bytes:
    """The model's nodes, attributes, shapes, constants and links; or the bytes."""
    del others
    if random.random() < 0.35:
        return mutate_bytes(content, random)
    import onnx

    model = onnx.ModelProto.FromString(content)
    for _ in range(random.choice((1, 1, 2, 3))):
        _change_model(model, random)
    return model.SerializeToString()


_OPERATORS = (
    "Conv",
    "Gemm",
    "MatMul",
    "Relu",
    "Reshape",
    "Concat",
    "Add",
    "Softmax",
    "Split",
    "Slice",
    "Pad",
    "LSTM",
    "Cast",
    "If",
    "",
)


def _change_model(model: Any, random: Random) -> None:
    graph, node = model.graph, random.choice(model.graph.node)
    match random.choice(
        (
            "operator",
            "attribute",
            "attribute",
            "input",
            "drop",
            "double",
            "shape",
            "constant",
            "dims",
            "opset",
            "output",
        )
    ):
        case "operator":
            node.op_type = random.choice(_OPERATORS)
        case "attribute" if node.attribute:
            _change_attribute(random.choice(node.attribute), random)
        case "input" if node.input:
            names = [*node.input, "", "nowhere", *(other.output[0] for other in graph.node if other.output)]
            node.input[random.randrange(len(node.input))] = random.choice(names)
        case "drop":
            graph.node.remove(node)
            if not graph.node:
                graph.node.add(op_type="Relu")
        case "double":
            graph.node.add().CopyFrom(node)
        case "shape" if graph.input:
            dims = random.choice(graph.input).type.tensor_type.shape.dim
            if dims:
                random.choice(dims).dim_value = random.choice((0, 1, 2, 1000, 2**31, 2**62, -1))
        case "constant" if graph.initializer:
            tensor = random.choice(graph.initializer)
            tensor.raw_data = mutate_bytes(tensor.raw_data or b"\0", random)
        case "dims" if graph.initializer:
            tensor = random.choice(graph.initializer)
            tensor.dims[:] = random.choice(
                ([], [0], [1], [2**40], [10**9, 10**9], [-1], [3, 3], list(tensor.dims)[::-1])
            )
        case "opset" if model.opset_import:
            model.opset_import[0].version = random.choice((0, 1, 6, 9, 13, 18, 999, -1))
        case _:
            if node.output:
                node.output[0] = random.choice(("", "x", "y", node.output[0] + "x"))


def _change_attribute(attribute: Any, random: Random) -> None:
    attribute.i = random.choice((0, 1, -1, 2, 10**9, 2**62, -(2**62)))
    attribute.f = random.choice((0.0, -1.0, 1e30, float("nan"), float("inf")))
    if attribute.ints and random.random() < 0.7:
        attribute.ints[random.randrange(len(attribute.ints))] = attribute.i
    else:
        attribute.type = random.choice((0, 1, 2, 3, 4, 6, 7, 8))
    if random.random() < 0.2:
        attribute.name = random.choice(("x", "", "axis", "pads", "kernel_shape", "perm"))
