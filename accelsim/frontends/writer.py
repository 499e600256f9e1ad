"""Writes a network as ``accelsim.network/1`` YAML, one layer a line, with no default said."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from accelsim.frontends.network_yaml import SCHEMA
from accelsim.workload.network import Affine, LayerSketch, Network, Odds, Quantization, Requantize, ValueSource
from accelsim.workload.ops import Linear, Matmul, Op, Shape
from accelsim.workload.precision import Precision

_PLAIN = re.compile(r"[A-Za-z_][A-Za-z0-9_/-]*(\.[A-Za-z0-9_/-]+)*")
_NOT_TEXT = {"true", "false", "null", "yes", "no", "on", "off"}  # the last four for readers of YAML 1.1
_SYMMETRIC = {"stride", "pad", "dilation", "window", "scale"}  # one number stands for both ways
_MOST_SHIFT = 62
_FORMATS = ("weight", "input", "accumulator", "output")


def write_network(network: Network, folder: Path | None = None, notes: tuple[str, ...] = ()) -> str:
    """The YAML text of ``network``; reading it gives an equal network (its digest apart).

    ``folder`` is where the text will be saved: value files are named relative to it. ``notes`` become
    comments. Values that are in no file (`Provided`) must have been given one before.
    """
    precision = _common_precision(network)
    fresh = _fresh_inputs(network)
    lines = [f"# {note}" for note in map(_one_line, notes)]
    lines += [f"schema: {SCHEMA}", f"name: {_text(network.name)}", f"batch: {network.batch}"]
    lines.append(f"precision: {_value(_formats(precision, None))}")
    named = {name: list(shape) for name, shape in network.inputs.items() if name not in fresh}
    if named:
        lines.append("inputs:")
        lines += [f"  {_text(name)}: {_value(shape)}" for name, shape in named.items()]
    lines.append("layers:")
    before: str | None = None
    for sketch in network.sketches:
        entry = _entry(sketch, before, precision, network.inputs, fresh, folder)
        lines.append(f"  - {_value(entry)}")
        before = sketch.name
    return "\n".join(lines) + "\n"


def _common_precision(network: Network) -> Precision:
    """The precision that most layers have."""
    counts = Counter(sketch.precision for sketch in network.sketches)
    return counts.most_common(1)[0][0] if counts else Precision()


def _fresh_inputs(network: Network) -> set[str]:
    """Graph inputs that one layer reads alone and that bear its name: written as that layer's ``shape``."""
    readers = Counter(source for sketch in network.sketches for source in sketch.inputs or ())
    alone = {
        f"{sketch.name}.input" for sketch in network.sketches if sketch.inputs == (f"{sketch.name}.input",)
    }
    return {name for name, shape in network.inputs.items() if name in alone and readers[name] == 1 and shape}


def _entry(
    sketch: LayerSketch, before: str | None, precision: Precision, inputs: Mapping[str, Shape],
    fresh: set[str], folder: Path | None,
) -> dict[str, Any]:  # fmt: skip
    entry: dict[str, Any] = {"name": sketch.name, "op": sketch.op.op}
    entry |= _place(sketch, before, inputs, fresh)
    entry |= _operator(sketch.op)
    entry |= {key: value for key, value in _values(sketch, folder).items() if value != {}}
    if sketch.precision != precision:
        entry["precision"] = _formats(sketch.precision, precision)
    entry |= _differing(sketch.odds, Odds())
    return entry | _scales(sketch.requantize, sketch.quantization)


def _scales(requantize: Requantize, quantization: Quantization) -> dict[str, Any]:
    """The integers and scales of a quantized layer."""
    entry: dict[str, Any] = {}
    if requantize == Requantize(shift=requantize.shift) and not isinstance(requantize.shift, tuple):
        in_range = requantize.shift is not None and 0 <= requantize.shift <= _MOST_SHIFT
        entry |= {"shift": requantize.shift} if in_range else {}
    if not entry and requantize != Requantize():
        entry["requantize"] = _differing(requantize, Requantize())
    if quantization != Quantization():
        entry["quantization"] = _differing(quantization, Quantization())
    return entry


def _differing(value: Any, default: Any) -> dict[str, Any]:
    """A dataclass as a mapping of what differs from ``default``."""
    names = [f.name for f in fields(value) if getattr(value, f.name) != getattr(default, f.name)]
    return {name: _plain(getattr(value, name)) for name in names}


def _plain(value: Any) -> Any:
    if isinstance(value, Affine):
        return {"scale": value.scale} | ({"zero_point": value.zero_point} if value.zero_point else {})
    return [_plain(item) for item in value] if isinstance(value, tuple) else value


def _place(
    sketch: LayerSketch, before: str | None, inputs: Mapping[str, Shape], fresh: set[str]
) -> dict[str, Any]:
    """Where the layer stands in the graph: ``after`` and ``shape``, where they do not go without saying."""
    if sketch.inputs is None or (before is not None and sketch.inputs == (before,)):
        return {}
    if len(sketch.inputs) != 1 or sketch.inputs[0] not in fresh:
        return {"after": list(sketch.inputs)}
    shape = inputs[sketch.inputs[0]]
    place: dict[str, Any] = {"after": []} if before is not None else {}
    return place if _implies(sketch.op, shape) else place | {"shape": list(shape)}


def _implies(op: Op, shape: Shape) -> bool:
    """Whether the operator's own sizes give the shape of its fresh input."""
    if isinstance(op, Linear):
        return shape == (op.in_,)
    return isinstance(op, Matmul) and shape == (op.M, op.K)


def _operator(op: Op) -> dict[str, Any]:
    """The operator's fields that differ from their defaults."""
    fields = type(op).model_fields
    return {
        (info.alias or name): _short(getattr(op, name)) if name in _SYMMETRIC else getattr(op, name)
        for name, info in fields.items()
        if name != "op" and (info.is_required() or getattr(op, name) != info.default)
    }


def _short(value: Any) -> Any:
    """``(1, 1)`` -> ``1``, and four pads -> ``[vertical, horizontal]``, where that says the same."""
    if not isinstance(value, tuple):
        return value
    if len(set(value)) == 1:
        return value[0]
    if len(value) == 4 and value[0] == value[1] and value[2] == value[3]:
        return [value[0], value[2]]
    return value


def _values(sketch: LayerSketch, folder: Path | None) -> dict[str, Any]:
    """Where values come from."""
    given = {"weight": _source(sketch.weight, folder), "input": _source(sketch.input_values, folder)}
    return given | ({"bias": _source(sketch.bias, folder)} if sketch.bias is not None else {})


def _source(source: ValueSource, folder: Path | None) -> dict[str, Any]:
    given = source.model_dump(exclude_defaults=True, exclude={"provider", "codes"})
    return {
        key: _relative(value, folder) if isinstance(value, Path) else value for key, value in given.items()
    }


def _relative(path: Path, folder: Path | None) -> str:
    if folder is None:
        return path.as_posix()
    try:
        return Path(os.path.relpath(path.resolve(), folder.resolve())).as_posix()
    except ValueError:  # another drive
        return path.resolve().as_posix()


def _formats(precision: Precision, base: Precision | None) -> dict[str, str]:
    return {key: str(getattr(precision, key)) for key in _FORMATS
            if base is None or getattr(precision, key) != getattr(base, key)}  # fmt: skip


def _one_line(text: str) -> str:
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())


def _value(value: Any) -> str:
    """A value in YAML's flow style, on one line."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"[{', '.join(_value(item) for item in value)}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_text(key)}: {_value(item)}" for key, item in value.items()) + "}"
    return "null" if value is None else _text(str(value))


def _text(text: str) -> str:
    """Text, quoted where YAML would take it for something else."""
    if _PLAIN.fullmatch(text) and text.lower() not in _NOT_TEXT:
        return text
    return yaml.safe_dump(text, default_style='"', width=1 << 30).strip()
