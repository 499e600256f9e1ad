"""Reads SCALE-Sim's topology CSV (convolutions or GEMMs) and its configuration (.cfg).

The rules are SCALE-Sim's own, so that its users find their cycles again (v2 and v3, `topology_utils.py` and
`scale_config.py`): fields are known by their position and the first line is a header; an output has
``ceil((H - F + stride) / stride)`` rows; there is no padding, no batch, a word is a byte. Both readers return
notes besides what they read: one sentence for each thing that a user should know and that is not a fault.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from accelsim.errors import Fault, InputError, nearest
from accelsim.frontends._names import NameTable
from accelsim.workload.network import LayerSketch, Network, ValueSource, build_network
from accelsim.workload.ops import Conv2d, Linear, Matmul, Op, Shape
from accelsim.yaml_io import read_text

CONV_COLUMNS = (
    "Layer name", "IFMAP Height", "IFMAP Width", "Filter Height", "Filter Width", "Channels", "Num Filter",
    "Strides",
)  # fmt: skip
GEMM_COLUMNS = ("Layer", "M", "N", "K")
LARGEST = 2**31 - 1
MOST_LAYERS = 1 << 16

_SYNONYMS = {
    "Layer name": {"layername", "layer", "name"},
    "IFMAP Height": {"ifmapheight", "ifmaph", "inputheight"},
    "IFMAP Width": {"ifmapwidth", "ifmapw", "inputwidth"},
    "Filter Height": {"filterheight", "filterh"},
    "Filter Width": {"filterwidth", "filterw"},
    "Channels": {"channels", "channel", "numchannels"},
    "Num Filter": {"numfilter", "numfilters", "filters"},
    "Strides": {"strides", "stride", "strideheight", "strideh"},
    "Stride Width": {"stridewidth", "stridew"},
    "M": {"m"},
    "N": {"n"},
    "K": {"k"},
    "Sparsity": {"sparsity", "sparsityratio"},
    "Batch Size": {"batchsize", "batch"},
}
_EXTRA_COLUMNS = ("Stride Width", "Sparsity", "Batch Size")


@dataclass(frozen=True)
class Cell:
    """One field of a CSV line: its text and its place, counted from 1; ``ends``: no comma behind it."""

    text: str
    line: int
    column: int
    ends: bool = False


def _cells(text: str, line: int) -> list[Cell]:
    cells, column, parts = [], 1, text.split(",")
    for number, part in enumerate(parts, start=1):
        cells.append(Cell(part.strip(), line, column + len(part) - len(part.lstrip()), number == len(parts)))
        column += len(part) + 1
    while cells and not cells[-1].text:
        cells.pop()
    return cells


def _canonical(header: str) -> str | None:
    """The column that a header's word names, or None."""
    word = re.sub(r"[^a-z0-9]", "", header.lower())
    return next((name for name, words in _SYNONYMS.items() if word in words), None)


DENSE = ValueSource()


@dataclass(frozen=True)
class Extra:
    """What a line says behind the fixed columns."""

    stride_width: int | None
    weight: ValueSource


class _Topology:
    """A topology being read: its columns, the layers so far, faults and notes."""

    def __init__(self, source: str) -> None:
        self.source = source
        self.faults: list[Fault] = []
        self.notes: list[str] = []
        self.names = NameTable()
        self.inputs: dict[str, Shape] = {}
        self.sketches: list[LayerSketch] = []
        self.columns: Sequence[str] = ()
        self.extra: dict[int, str] = {}

    def fault(self, cell: Cell, key: str, message: str) -> None:
        self.faults.append(Fault(self.source, key, message, cell.line, cell.column))

    @property
    def is_gemm(self) -> bool:
        return len(self.columns) == len(GEMM_COLUMNS)

    def read_header(self, cells: list[Cell]) -> bool:
        """Tell convolutions from GEMMs, find the columns behind the fixed ones; False if it is no header."""
        found = [_canonical(cell.text) for cell in cells]
        known = set(found)
        if not ({"M", "N", "K"} <= known or {"Filter Height", "Channels"} <= known):
            apart = "; commas part its columns, not tabs" if "\t" in cells[0].text else ""
            self.fault(cells[0], "header", f"is {_quoted(cells)}, must name SCALE-Sim's columns: "
                       f"{', '.join(CONV_COLUMNS)}, or {', '.join(GEMM_COLUMNS)}{apart}")  # fmt: skip
            return False
        self.columns = GEMM_COLUMNS if {"M", "N", "K"} <= known else CONV_COLUMNS
        self._check_order(cells, found)
        self._find_extra(cells, found)
        return not self.faults

    def _check_order(self, cells: list[Cell], found: list[str | None]) -> None:
        for index, wanted in enumerate(self.columns):
            name = found[index] if index < len(found) else None
            name = "Layer" if name == "Layer name" and self.is_gemm else name
            if name is None or name == wanted:
                continue
            if found.count(name) > 1:
                self.notes.append(
                    f"{self.source}: column {index + 1} is headed {cells[index].text}; "
                    f"SCALE-Sim reads {wanted} there"
                )
            else:
                self.fault(
                    cells[index], cells[index].text, f"is column {index + 1}, where SCALE-Sim reads {wanted}"
                )

    def _find_extra(self, cells: list[Cell], found: list[str | None]) -> None:
        for index in range(len(self.columns), len(cells)):
            name = found[index]
            if name in _EXTRA_COLUMNS:
                self.extra[index] = str(name)
            elif cells[index].text:
                self.notes.append(
                    f"{self.source}: column {index + 1} ({cells[index].text}) "
                    "is not SCALE-Sim's; it is not read"
                )

    def read_row(self, cells: list[Cell]) -> None:
        """One layer; what is wrong with it goes to the faults."""
        if len(cells) < len(self.columns):
            self.fault(
                cells[0], cells[0].text, f"has {len(cells)} fields, must have {', '.join(self.columns)}"
            )
            return
        numbers = [self._number(cell, name) for cell, name in zip(cells[1:], self.columns[1:], strict=False)]
        extra = self._read_extra(cells)
        sizes = [number for number in numbers if number is not None]
        if len(sizes) < len(numbers) or extra is None:
            return
        if self.is_gemm:
            m, n, k = sizes
            dense = extra.weight == DENSE
            op = Matmul(op="matmul", M=m, N=n, K=k) if dense else Linear(op="linear", out=n, bias=False)
            self._add(cells[0], op, (m, k), extra.weight)
        else:
            self._convolution(cells, sizes, extra)

    def _number(self, cell: Cell, key: str) -> int | None:
        if not re.fullmatch(r"[0-9]{1,10}", cell.text) or not 1 <= int(cell.text) <= LARGEST:
            found = f'"{cell.text}"' if cell.text else "empty"
            self.fault(cell, key, f"is {found}, must be a whole number from 1 to {LARGEST}")
            return None
        return int(cell.text)

    def _read_extra(self, cells: list[Cell]) -> Extra | None:
        """What the columns behind the fixed ones say; None where one has a fault."""
        faults, stride_width, weight = len(self.faults), None, DENSE
        for index in range(len(self.columns), len(cells)):
            cell, name = cells[index], self.extra.get(index)
            if name == "Stride Width" and cell.text:
                stride_width = self._number(cell, name)
            elif name == "Sparsity" or (name is None and re.fullmatch(r"\d+:\d+", cell.text)):
                weight = self._sparsity(cell)
            elif name == "Batch Size" and cell.text not in ("", "1"):
                self.fault(
                    cell, name, f'is "{cell.text}": SCALE-Sim has no batch; write 1 here and give --batch'
                )
        return Extra(stride_width, weight) if len(self.faults) == faults else None

    def _sparsity(self, cell: Cell) -> ValueSource:
        """Weights of which N in every M are kept, as "2:4" says; "1:1", "1" and nothing at all are dense."""
        kept, _, block = cell.text.partition(":")
        if cell.text in ("", "1") or (kept.isdecimal() and kept == block and int(kept)):
            return DENSE
        if not re.fullmatch(r"[1-9][0-9]?:[1-9][0-9]?", cell.text) or int(kept) > int(block):
            self.fault(cell, "Sparsity", f'is "{cell.text}", must be N:M, N of every M weights kept, M at most 99')
            return DENSE
        if cell.ends:
            self.notes.append(f"{self.source}:{cell.line}: Sparsity is {cell.text} without a comma behind it: SCALE-Sim drops "
                              "such a field and runs the layer as dense; here it is read")  # fmt: skip
        return ValueSource.model_validate({"pattern": cell.text})

    def _convolution(self, cells: list[Cell], sizes: list[int], extra: Extra) -> None:
        h, w, r, s, channels, filters, stride = sizes
        too_large = [index for window, size, index in ((r, h, 3), (s, w, 4)) if window > size]
        for index in too_large:
            bound = f"{CONV_COLUMNS[index - 2]} = {sizes[index - 3]} (SCALE-Sim does not pad)"
            self.fault(
                cells[index], CONV_COLUMNS[index], f"is {sizes[index - 1]}, must not be larger than {bound}"
            )
        if too_large:
            return
        strides = (stride, extra.stride_width or stride)
        op = Conv2d(op="conv2d", K=filters, R=r, S=s, stride=strides, bias=False, ceil=True)
        if "DP" not in cells[0].text:
            self._add(cells[0], op, (channels, h, w), extra.weight)
            return
        if channels > MOST_LAYERS:
            self.fault(
                cells[5],
                "Channels",
                f"is {channels}: SCALE-Sim makes a layer of each channel of a layer named DP",
            )
            return
        self.notes.append(f"{self.source}: {cells[0].text}: its name holds DP, so that SCALE-Sim runs it as "
                          f"{channels} layers of one channel each; so does accelsim")  # fmt: skip
        for channel in range(channels):
            cell = Cell(f"{cells[0].text}Channel_{channel}", cells[0].line, cells[0].column)
            self._add(cell, op, (1, h, w), extra.weight)

    def _add(self, cell: Cell, op: Op, shape: Shape, weight: ValueSource) -> None:
        if len(self.sketches) >= MOST_LAYERS:
            self.fault(cell, cell.text, f"is layer number {MOST_LAYERS + 1}; at most {MOST_LAYERS} are read")
            return
        name = self.names.unique(cell.text, f"layer_{len(self.sketches) + 1}")
        source = f"{name}.input"  # as network_yaml names a fresh input; no layer's name has a dot
        self.inputs[source] = shape
        self.sketches.append(LayerSketch(name, op, (source,), weight=weight))


def _quoted(cells: list[Cell]) -> str:
    text = ", ".join(cell.text for cell in cells)
    return f'"{text}"' if len(text) <= 60 else f'"{text[:57]}..."'


def _rows(text: str) -> Iterator[list[Cell]]:
    for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
        cells = _cells(line.rstrip("\r"), number)
        if cells and not cells[0].text.startswith("#"):
            yield cells


def read_scalesim_topology(path: Path) -> tuple[Network, list[str]]:
    """Read a convolution or GEMM topology: the network and notes; raises `InputError` with every fault.

    The layers do not depend on each other: each reads a fresh input, C x H x W or M x K.
    """
    text = read_text(path)
    topology = _Topology(str(path))
    rows = _rows(text)
    header = next(rows, None)
    if header is None:
        raise InputError(Fault(str(path), "", "is empty", 1, 1))
    if topology.read_header(header):
        for cells in rows:
            topology.read_row(cells)
        if not topology.sketches and not topology.faults:
            topology.fault(header[0], "", "has a header and no layers")
    if topology.faults:
        raise InputError(topology.faults)
    digest = hashlib.sha256(text.encode()).hexdigest()
    network = build_network(path.stem, 1, topology.inputs, tuple(topology.sketches), digest)
    return network, [*_topology_notes(str(path), network), *_sparsity_note(str(path), network), *topology.notes]


def _topology_notes(source: str, network: Network) -> list[str]:
    rules = "no padding, no batch, one word is one byte (int8), but partial sums have the accumulator's width"
    if not any(isinstance(layer.op, Conv2d) for layer in network.layers):
        return [f"{source}: read by SCALE-Sim's rules: {rules}"]
    rules = f"output = ceil((H - F + stride) / stride), {rules}"
    uneven = [
        layer.name
        for layer in network.layers
        if isinstance(layer.op, Conv2d) and _one_too_many(layer.op, layer.input_shapes[0])
    ]
    more = f"; that is one row or column too many in {_some(uneven)}" if uneven else ""
    return [f"{source}: read by SCALE-Sim's rules: {rules}{more}"]


def _sparsity_note(source: str, network: Network) -> list[str]:
    pruned = [layer.name for layer in network.layers if layer.weight != DENSE]
    if not pruned:
        return []
    return [
        f"{source}: Sparsity: weights of {_some(pruned)} keep N of every M; an array skips the others where its YAML says "
        "engine.sparsity, as one converted from a .cfg with SparsitySupport: true does"
    ]


def _one_too_many(op: Conv2d, shape: Shape) -> bool:
    """Whether the stride does not divide H - F, so that the last window leaves the input."""
    return bool((shape[2] - op.R) % op.stride[0] or (shape[3] - op.S) % op.stride[1])


def _some(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")


@dataclass(frozen=True)
class Setting:
    """One key of a .cfg file, its value and its place."""

    key: str
    value: str
    line: int
    column: int


_SRAMS = ("IfmapSramSzkB", "FilterSramSzkB", "OfmapSramSzkB")
_SRAMS_OF_V1 = {key: key.removesuffix("kB") for key in _SRAMS}
_OFFSETS = ("IfmapOffset", "FilterOffset", "OfmapOffset")
_FLAGS = ("SparsitySupport", "OptimizedMapping", "IfmapCustomLayout", "FilterCustomLayout", "UseRamulatorTrace")
_ADD_STALLS = {  # which of them make its cycles more than those of its folds, and how
    "IfmapCustomLayout": "stalls at conflicts of SRAM banks",
    "FilterCustomLayout": "stalls at conflicts of SRAM banks",
    "UseRamulatorTrace": "latencies out of a DRAM simulator",
}
_NO_COUNTERPART = (
    *_OFFSETS, "MemoryBanks", "OnChipMemoryBanks", "OnChipMemoryBankPorts", "ReadRequestBuffer",
    "WriteRequestBuffer", "IfmapCustomLayout", "FilterCustomLayout", "IfmapSRAMBankBandwidth",
    "IfmapSRAMBankNum", "IfmapSRAMBankPort", "FilterSRAMBankBandwidth", "FilterSRAMBankNum",
    "FilterSRAMBankPort", "SparseRep", "NonZeroElems", "SparseAcc", "RandomNumberGeneratorSeed", "UseRamulatorTrace",
    "TimeLinearModel", "TopologyCsvLoc", "MemoryMapIfmap", "MemoryMapFilter", "MemoryMapOfmap",
    "SRAM_row_size", "SRAM_bank_size", "DRAM_row_size", "DRAM_bank_size",
)  # fmt: skip
_USED = (
    "run_name", "ArrayHeight", "ArrayWidth", *_SRAMS, *_SRAMS_OF_V1.values(), "Dataflow", "Bandwidth",
    "InterfaceBandwidth", "SparsitySupport", "OptimizedMapping", "BlockSize",
)  # fmt: skip
_KNOWN = {key.lower(): key for key in (*_USED, *_NO_COUNTERPART)}
_SECTION_OF = {"run_name": "general", "InterfaceBandwidth": "run_presets", "BlockSize": "sparsity"}


class _Config:
    """A .cfg file being read: what is set where, faults and notes."""

    def __init__(self, source: str, text: str) -> None:
        self.source = source
        self.faults: list[Fault] = []
        self.notes: list[str] = []
        self.sections: dict[str, int] = {}
        self.settings: dict[str, Setting] = {}
        section = ""
        for number, line in enumerate(text.removeprefix("\ufeff").split("\n"), start=1):
            section = self._line(line.rstrip(), number, section)

    def _line(self, line: str, number: int, section: str) -> str:
        """Take one line in; returns the section that the next line is in."""
        text, column = line.strip(), len(line) - len(line.lstrip()) + 1
        if not text or text[0] in "#;":
            return section
        if text.startswith("["):
            if not text.endswith("]"):
                self.faults.append(
                    Fault(self.source, text[:40], 'must be a section such as "[general]"', number, column)
                )
            name = text.strip("[]").strip().lower()
            self.sections.setdefault(name, number)
            return name
        key, delimiter, value = _split_setting(text)
        if not delimiter or not key:
            self.faults.append(
                Fault(
                    self.source,
                    text[:40],
                    'must be "key: value", "key = value" or "[section]"',
                    number,
                    column,
                )
            )
            return section
        if key.lower() in self.settings:
            before = self.settings[key.lower()].line
            self.faults.append(
                Fault(self.source, key, f"is given twice (also in line {before})", number, column)
            )
        place = line.index(value, column + len(key)) + 1 if value else column
        self.settings[key.lower()] = Setting(key, value, number, place)
        return section

    def fault(self, setting: Setting, message: str) -> None:
        self.faults.append(Fault(self.source, setting.key, message, setting.line, setting.column))

    def get(self, key: str) -> Setting | None:
        """The setting, or None and a fault that names the section where it should stand."""
        found = self.settings.get(key.lower())
        if found is None:
            section = _SECTION_OF.get(key, "architecture_presets")
            self.faults.append(
                Fault(self.source, f"[{section}] {key}", "is missing", self.sections.get(section, 1), 1)
            )
        return found

    def number(self, key: str, lowest: int = 1) -> int:
        """A whole number; ``lowest`` and a fault where it is none."""
        setting = self.get(key)
        if setting is None:
            return lowest
        if not re.fullmatch(r"[0-9]{1,10}", setting.value) or not lowest <= int(setting.value) <= LARGEST:
            self.fault(setting, f'is "{setting.value}", must be a whole number from {lowest} to {LARGEST}')
            return lowest
        return int(setting.value)

    def choice(self, key: str, allowed: tuple[str, ...]) -> str:
        """One of ``allowed``; the first of them and a fault where it is none."""
        setting = self.get(key)
        if setting is not None and setting.value not in allowed:
            near = nearest(setting.value.lower(), allowed) or nearest(setting.value.upper(), allowed)
            self.fault(setting, f'is "{setting.value}", must be one of {", ".join(allowed)}{near}')
            return allowed[0]
        return setting.value if setting is not None else allowed[0]

    def is_true(self, key: str) -> bool:
        setting = self.settings.get(key.lower())
        return setting is not None and setting.value.lower() in ("true", "yes", "on", "1")

    def check_flag(self, key: str) -> None:
        """A fault where what is given is neither true nor false."""
        setting = self.settings.get(key.lower())
        if setting is not None and setting.value.lower() not in ("true", "yes", "on", "1", "false", "no", "off", "0"):
            self.fault(setting, f'is "{setting.value}", must be true or false')

    def note(self, text: str, line: int | None = None) -> None:
        self.notes.append(f"{self.source}:{line}: {text}" if line else f"{self.source}: {text}")

    @property
    def is_v1(self) -> bool:
        """Whether the sizes have the names that SCALE-Sim v1 gives them."""
        return any(key.lower() in self.settings for key in _SRAMS_OF_V1.values())


def _split_setting(text: str) -> tuple[str, str, str]:
    match = re.search(r"\s*[:=]\s*", text)
    return (text[: match.start()], match[0], text[match.end() :]) if match else (text, "", "")


def read_scalesim_cfg(path: Path) -> tuple[dict[str, Any], list[str]]:
    """Read a configuration as plain ``accelsim.arch/1`` data, and notes; raises `InputError`."""
    config = _Config(str(path), read_text(path))
    rows, cols = config.number("ArrayHeight"), config.number("ArrayWidth")
    sizes = [_sram_size(config, key) for key in _SRAMS]
    dataflow = config.choice("Dataflow", ("os", "ws", "is"))
    bandwidth = _bandwidth(config)
    sparsity = _sparsity(config, rows, dataflow)
    name = config.get("run_name")
    _check_the_rest(config)
    if config.faults:
        raise InputError(sorted(config.faults, key=lambda fault: fault.line))
    streams = {"streams": True} if bandwidth is None else {}
    data = {
        "schema": "accelsim.arch/1",
        "name": (name.value.strip("\"'") if name else "") or path.stem,
        "clock": "1 GHz",
        "engine": {
            "kind": "systolic", "rows": rows, "cols": cols, "dataflow": dataflow, "weight_load": "rows",
            "weight_buffers": 1, "overlap": "none", "edge": "full", "drain": "parallel",
        } | ({"sparsity": sparsity} if sparsity else {}),
        "memory": [
            {"name": "dram"} | ({"bandwidth": f"{bandwidth} B/cycle"} if bandwidth else {}),
            {"name": "ifmap_sram", "size": f"{sizes[0]} KiB", "holds": ["input"], **streams},
            {"name": "filter_sram", "size": f"{sizes[1]} KiB", "holds": ["weight"], **streams},
            {"name": "ofmap_sram", "size": f"{sizes[2]} KiB", "holds": ["output", "partial_sum"], **streams},
        ],
    }  # fmt: skip
    notes = [f"{path}: SCALE-Sim has no clock; it is set to 1 GHz, which only turns cycles into seconds"]
    return data, notes + config.notes


def _sram_size(config: _Config, key: str) -> int:
    """KiB of an SRAM, which has one of two names."""
    older, newer = (config.settings.get(name.lower()) for name in (_SRAMS_OF_V1[key], key))
    if older and newer:
        config.fault(older, f"is SCALE-Sim v1's name for {newer.key} (line {newer.line}); drop one of the two")
    return config.number(older.key if older else key)


def _bandwidth(config: _Config) -> int | None:
    """Words (bytes) a cycle to and from DRAM; None where SCALE-Sim works out what it would need (CALC)."""
    if config.is_v1 and "interfacebandwidth" not in config.settings:
        config.note("a configuration of SCALE-Sim v1, which works out the bandwidth that it would need and never waits for "
                    "DRAM (CALC); cycles are those of v2 and v3: v1 lets folds of os overlap, and cuts the fill of folds "
                    "that do not use the whole array")  # fmt: skip
        return None
    mode = config.choice("InterfaceBandwidth", ("CALC", "USER"))
    given = config.settings.get("bandwidth")
    if mode == "CALC":
        unused = f", and Bandwidth (line {given.line}) is not used" if given else ""
        config.note("InterfaceBandwidth is CALC: DRAM is never waited for, and cycles do not depend on the sizes of the SRAMs: "
                    f"what does not fit streams through them{unused}")  # fmt: skip
        return None
    setting = config.get("Bandwidth")
    if setting is None:
        return None
    parts = [part.strip() for part in setting.value.split(",")]
    if not all(re.fullmatch("[0-9]{1,10}", part) and 1 <= int(part) <= LARGEST for part in parts):
        config.fault(setting, f'is "{setting.value}", must be whole numbers of words a cycle')
        return None
    more = "; the further values of Bandwidth are not used, there as here" if len(parts) > 1 else ""
    config.note(f"SCALE-Sim gives its three SRAMs {parts[0]} words a cycle each to and from DRAM; "
                f"here they share {parts[0]} B/cycle{more}")  # fmt: skip
    config.note("InterfaceBandwidth is USER: cycles are not SCALE-Sim's. It fills its SRAMs in an order of its own and repeats "
                "words; here layers are cut into tiles that fit the SRAMs twice over, and wait for their transfers. Write CALC "
                "for the cycles of its folds alone")  # fmt: skip
    return int(parts[0])


def _sparsity(config: _Config, rows: int, dataflow: str) -> dict[str, Any] | None:
    """What the array skips: each layer's own N:M, or (row-wise) half of all weights whatever a layer says."""
    for key in _FLAGS:
        config.check_flag(key)
    if not config.is_true("SparsitySupport"):
        return None
    if not config.is_true("OptimizedMapping"):
        return {"patterns": "any"}
    setting, block = config.settings["optimizedmapping"], config.number("BlockSize", lowest=2)
    if "blocksize" in config.settings and block > rows:
        config.fault(config.settings["blocksize"], f"is {block}, must not be larger than ArrayHeight = {rows}")
    if dataflow != "ws":
        config.fault(setting, f"is true with Dataflow {dataflow}: SCALE-Sim runs row-wise sparsity in ws alone; write false")
    config.note(f"OptimizedMapping is true (row-wise sparsity): as in SCALE-Sim every {block} weights keep at most half, in "
                "every layer and whatever the topology says", setting.line)  # fmt: skip
    return {"n": block, "m": 2 * block, "patterns": "assumed"}


def _check_the_rest(config: _Config) -> None:
    """Offsets must be numbers; what has no counterpart here is worth a note."""
    for key in _OFFSETS:
        if key.lower() in config.settings:
            config.number(key, lowest=0)
    for key, what in _ADD_STALLS.items():
        if config.is_true(key):
            line = config.settings[key.lower()].line
            config.note(f"{key} is true: it adds {what} to SCALE-Sim's cycles, which are not modelled", line)
    idle = {k.lower() for k in _NO_COUNTERPART}
    if not config.is_true("SparsitySupport"):
        idle |= {"optimizedmapping", "blocksize"}
    elif not config.is_true("OptimizedMapping"):
        idle |= {"blocksize"}
    unused = [s.key for key, s in config.settings.items() if key in idle]
    if unused:
        config.note(f"not used here: {', '.join(unused)}")
    for key, setting in config.settings.items():
        if key not in _KNOWN:
            near = nearest(setting.key, _KNOWN.values())
            config.note(f"unknown key {setting.key}{near}; it is not read", setting.line)
