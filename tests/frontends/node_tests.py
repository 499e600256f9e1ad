"""ONNX's own node tests, and how each of them runs here.

Each is a model of one operator (and, where that is a function of others, one of its body), its inputs, and the outputs
that they give. It is tried with all inputs flowing and with only the first; and with a batch of one before them, so that
no axis of theirs is the batch; last with all inputs held, as a constant that is folded. `node_tests.csv` has what came of
each; ``PYTHONPATH=.:tests/support python tests/frontends/node_tests.py`` writes it anew.
"""

from __future__ import annotations

import csv
import importlib
import pkgutil
import re
import tempfile
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import onnx
from node_list import LIST, Outcome, listed, summary
from onnx import TensorProto, helper, numpy_helper
from onnx.backend.test.case import node as cases

from accelsim.catalogue import load_network
from accelsim.errors import InputError
from accelsim.frontends._onnx_call import Tensor
from accelsim.frontends._onnx_model import Constant
from accelsim.frontends.inputs import given_arrays
from accelsim.frontends.onnx import model_outputs, translated
from accelsim.workload.functional import run_reference

_TENSORS = np.ndarray | np.generic | TensorProto
# What these tests settle, and ONNX leaves open (floats beyond the range of what they are cast to) or onnxruntime, which
# accelsim follows, does otherwise (the last pixel of corners that are aligned, where a scale gives no whole size).
_OPEN = re.compile(
    "test_cast(like)?_FLOAT(16)?_to_U?INT4(_expanded)?|test_resize_downsample_scales_(linear|cubic)_align_corners"
)


def modules() -> list[str]:
    """The files of node tests that the installed onnx has."""
    return [module.name for module in pkgutil.iter_modules(cases.__path__) if not module.ispkg]


@cache
def node_tests(module: str) -> list[Any]:
    """The tests of one of those files, which come to be when it is imported."""
    before = len(cases._NodeTestCases)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        importlib.import_module(f"{cases.__name__}.{module}")
    return list(cases._NodeTestCases[before:])


def outcome(case: Any, folder: Path, every: bool = False) -> Outcome:
    """The best of all ways to run a test, or what is wrong with one of them; not ``every``: the first that is right."""
    found: list[Outcome] = []
    for variant in _variants(case):
        found.append(variant.run(folder / "node.onnx", case))
        if found[-1].kind == "wrong" or (found[-1].kind == "values" and not every):
            return found[-1]
    best = max(found, key=lambda one: one.rank)
    return best if best.kind != "folded" else Outcome("folded", max(found[:-1], key=lambda one: one.rank).reason)


class _Variant(NamedTuple):
    """A test's model with some of its ``inputs`` held as constants and, where asked, a batch of one before the others."""

    model: Any
    inputs: Mapping[str, Any]
    held: bool

    def run(self, path: Path, case: Any) -> Outcome:
        path.write_bytes(self.model.SerializeToString())
        outputs = map(_array, case.data_sets[0][1])
        wanted = dict(zip((o.name for o in case.model.graph.output), outputs, strict=True))
        try:
            if self.held:
                return _folded(path, case, wanted)
            load_network(path)
        except InputError as error:
            return Outcome("refused", _reason(error))
        if not _shapes_agree(path, wanted):
            is_empty = any(np.size(array) == 0 for array in self.inputs.values())
            return Outcome("refused", "a size of 0 is read as an open one") if is_empty else Outcome("wrong", "another shape")
        try:
            return self._numbers(path, case, wanted)
        except InputError as error:
            return Outcome("counts", _reason(error))

    def _numbers(self, path: Path, case: Any, wanted: Mapping[str, Any]) -> Outcome:
        reader = translated(path)
        network, _ = load_network(path, values=True, weights={name: _array(self.inputs[name]) for name in reader.trained})
        if any(not isinstance(array, np.ndarray) for array in wanted.values()):
            return Outcome("counts", "an output is a single number or a sequence")
        given = {}
        for name, value in reader.values.items():
            if name in self.inputs and isinstance(value, Tensor) and value.ref in network.inputs:
                given[value.ref] = _batch_first(_array(self.inputs[name]), value)
        stored = run_reference(network, 0, given_arrays(given).inputs(network))
        flat = {
            f"{layer}.{port}" if port else layer: array for layer, arrays in stored.items() for port, array in enumerate(arrays)
        }
        found = model_outputs(path, network, flat)
        wrong = [name for name, array in wanted.items() if name in found and not _same(found[name], array, case.rtol)]
        if wrong:
            is_open = _OPEN.fullmatch(case.name)
            words = "ONNX leaves it open, or onnxruntime differs" if is_open else f"the numbers of {wrong[0]}"
            return Outcome("counts" if is_open else "wrong", words)
        return Outcome("values") if set(wanted) <= set(found) else Outcome("counts", "an output is another name of an input")


def _variants(case: Any) -> Iterator[_Variant]:
    names = [entry.name for entry in case.model.graph.input]
    arrays = dict(zip(names, case.data_sets[0][0], strict=True))
    for flowing in dict.fromkeys((tuple(names), tuple(names[:1]))):
        for padded in (False, True):
            yield _variant(case.model, arrays, flowing, padded)
    yield _variant(case.model, arrays, (), True)


def _variant(model: Any, arrays: Mapping[str, Any], flowing: Sequence[str], padded: bool) -> _Variant:
    made, one = onnx.ModelProto.FromString(model.SerializeToString()), "batch_of_one"
    graph = made.graph
    for entry in [e for e in graph.input if e.name not in flowing and isinstance(arrays[e.name], _TENSORS)]:
        array = arrays[entry.name]
        tensor = TensorProto()
        tensor.CopyFrom(array if isinstance(array, TensorProto) else numpy_helper.from_array(np.asarray(array)))
        tensor.name = entry.name
        graph.initializer.append(tensor)
        graph.input.remove(entry)
    given = {name: array for name, array in arrays.items() if name in flowing}
    if padded:
        graph.input.insert(0, helper.make_tensor_value_info(one, TensorProto.FLOAT, [1, 1]))
        graph.output.append(helper.make_tensor_value_info(f"{one}_too", TensorProto.FLOAT, [1, 1]))
        graph.node.append(helper.make_node("Relu", [one], [f"{one}_too"]))
        given[one] = np.ones((1, 1), np.float32)
    return _Variant(made, given, not flowing)


def _folded(path: Path, case: Any, wanted: Mapping[str, Any]) -> Outcome:
    values = translated(path).values
    for name, array in wanted.items():
        value = values.get(name)
        if not isinstance(value, Constant):
            return Outcome("refused", "it is no constant of constants")
        if value.value is not None and not _same(value.value, array, case.rtol):
            return Outcome("wrong", f"the numbers of {name}")
    return Outcome("folded")


def _shapes_agree(path: Path, wanted: Mapping[str, Any]) -> bool:
    values = translated(path).values
    return all(
        values[name].shape == array.shape
        for name, array in wanted.items()
        if isinstance(values.get(name), Tensor | Constant) and isinstance(array, np.ndarray)
    )


def _same(found: Any, wanted: Any, rtol: float) -> bool:
    found, wanted = np.asarray(found), np.asarray(wanted)
    if found.shape != wanted.shape:
        return False
    if wanted.dtype.kind in "biu":
        return bool((found == wanted).all())
    rtol, atol = (max(rtol, 1e-2), 1e-2) if wanted.dtype.itemsize < 4 else (rtol, 1e-5)
    return bool(np.allclose(found.astype(np.float64), wanted.astype(np.float64), rtol, atol, equal_nan=True))


def _batch_first(array: Any, value: Tensor) -> Any:
    """An input with the axis first that the reader takes for its batch."""
    return array if value.layout.merged else np.moveaxis(array, value.layout.batch_axis, 0)


def _array(value: Any) -> Any:
    """A tensor's elements; sequences and what is none stay what they are."""
    return numpy_helper.to_array(value) if isinstance(value, TensorProto) else value


def _reason(error: InputError) -> str:
    return "; ".join(dict.fromkeys(fault.message for fault in error.faults))


def write_list() -> None:
    """Run every test of the installed onnx, keep what the list has of others, and say what has come down."""
    rows = listed() if LIST.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        for module in modules():
            for case in node_tests(module):
                found = outcome(case, Path(folder), every=True)
                before = rows.get(case.name, ("", found))[1]
                if found.rank < before.rank:
                    print(f"{case.name}: was {before.kind}, is {found.kind}: {found.reason}")
                rows[case.name] = module, found
    with LIST.open("w", newline="") as lines:
        writer = csv.writer(lines, lineterminator="\n")
        writer.writerow(["module", "test", "outcome", "reason"])
        writer.writerows((module, name, found.kind, found.reason[:100]) for name, (module, found) in sorted(rows.items()))


if __name__ == "__main__":
    write_list()
    print(summary())
