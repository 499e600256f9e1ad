"""The values that flow in values mode: from the files that a network names, or made from a seed.

========== ==================================================================================================
origin     rule
========== ==================================================================================================
file       ``.npy``; ``.npz`` with one array, or the one that ``array`` names; ``.npz`` that
           ``scipy.sparse.save_npz`` wrote (csr, csc, bsr, coo, dia). Never a pickle. Values must fit the
           tensor's format; whole floats may stand for integers; no nan, no infinity. Floats are rounded to
           the format (`accelsim.workload.floats`), drawn ones as well.
shape      `Layer.weight_shape`; a sparse matrix may give a weight of more than two axes as
           ``first axis x all the others``. An input has the batch first, or is one sample that all of the
           batch share; a linear layer's image may come flattened.
codebook   the weight file holds indices into it (a sparse file: stored elements are indices, the rest is
           zero). ``precision.weight`` is the format of the values, not of the index. Without a weight file
           the seed draws from the codebook.
seed       integers of up to 8 bits: uniform over the format; wider ones: uniform over +-2**11 (what of it
           fits); floats: normal, weights scaled by 1/sqrt(fan-in), float32. With a density below 1,
           exactly round(density * size) elements at random places are nonzero.
embedding  an input that an embedding reads: int64, uniform over its rows.
transform  the products of an algorithm of convolution: the convolution's own weights, transformed.
========== ==================================================================================================

A tensor's stream depends on the seed, its name and its role, on nothing else: neither the order of work nor
the other layers of the network change it. Every fault of a file is an `InputError` that names the file and
the layer.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod, sqrt
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from accelsim.errors import Fault, InfeasibleError, InputError
from accelsim.workload.algorithms import transforms_of
from accelsim.workload.array_files import Array, SparseArray, read_array
from accelsim.workload.fixed_point import centred, default_shift, reduction_length
from accelsim.workload.floats import fits, rounded
from accelsim.workload.network import Held, Layer, Network, Provided, TensorRef, Transformed, ValueSource
from accelsim.workload.ops import (
    BatchNorm,
    Conv2d,
    Embedding,
    LayerNorm,
    Linear,
    LocallyConnected2d,
    Matmul,
    Op,
    Recurrent,
    Shape,
    TransformOutput,
)
from accelsim.workload.precision import NumberFormat, Precision

__all__ = [
    "Constants", "bias_values", "constant_values", "default_shift", "fitted_input", "input_values", "is_given",
    "peephole_values", "projection_values", "weight_values",
]  # fmt: skip

Role = Literal["weight", "input", "bias", "projection", "peephole"]

_STREAM: dict[Role, int] = {"weight": 0, "input": 1, "bias": 2, "projection": 3, "peephole": 4}
_LAYOUT: dict[type[Op], str] = {
    Conv2d: "K x C/groups x R x S",
    LocallyConnected2d: "P x Q x K x C x R x S",
    Linear: "out x in",
    Recurrent: "gates*hidden x (features + recurrent features)",
    Embedding: "rows x features",
}
_WIDE = 1 << 11  # seeded integers wider than 8 bits stay within this magnitude
_DEFAULT = ValueSource()
_QUANTIZE_FIRST = "; floats become integers by accelsim compress NETWORK --recipe RECIPE.yaml -o FILE.yaml"
MOST_SEEDED = 1 << 32
"""Elements of the largest tensor that is drawn: values stand in the memory of the machine that simulates."""


def weight_values(layer: Layer, seed: int) -> Array:
    """Weights of ``layer`` in the shape `Layer.weight_shape` and the storage type of ``precision.weight``."""
    shape = layer.weight_shape
    assert shape is not None, f"{layer.name} has no weights"
    if isinstance(layer.weight, Transformed):
        to, transformed = layer.precision.weight, _transformed(layer.weight.spatial, seed)
        return (transformed.astype(to.storage) if to.is_integer else rounded(transformed, to)).reshape(shape)
    fan_in = 1 if isinstance(layer.op, Embedding) else reduction_length(layer)
    layout = _LAYOUT.get(type(layer.op), "")
    if isinstance(layer.op, Matmul):
        layout = "N x K" if layer.op.transpose_b else "K x N"
    wanted = _Wanted(layer.name, "weight", shape, layer.precision.weight, layer.weight, fan_in, layout=layout)
    return _values(wanted, seed)


def _transformed(spatial: Layer, seed: int) -> Array:
    """A convolution's weights as its algorithm multiplies them: planes x K x C, their zero point taken off before."""
    assert isinstance(spatial.op, Conv2d)
    weights = centred(spatial, (), weight_values(spatial, seed))[1]
    assert weights is not None
    return transforms_of(spatial.op.algorithm).transform_weights(weights)


def projection_values(layer: Layer, seed: int) -> Array:
    """Seeded projection of an LSTM, projection x hidden; as dense as the weights."""
    op = layer.op
    assert isinstance(op, Recurrent)
    assert op.projection
    return _beside_weights(layer, "projection", (op.projection, op.hidden), op.hidden, seed)


def peephole_values(layer: Layer, seed: int) -> Array:
    """Seeded peepholes of an LSTM, 3 x hidden: to the input, forget and output gates."""
    op = layer.op
    assert isinstance(op, Recurrent)
    assert op.peepholes
    return _beside_weights(layer, "peephole", (3, op.hidden), 1, seed)


class Constants(NamedTuple):
    """Trained numbers of a layer without MACs: an operand, slopes or scales; and a normalization's shifts."""

    operand: Array | None = None
    shift: Array | None = None


def constant_values(layer: Layer) -> Constants:
    """The constants that ``weight`` and ``bias`` of a layer without MACs give; raises `InputError` where they do not fit.

    They broadcast over the output, batch first (a batch normalization's: one a channel); integers stand for numbers by
    the scale after the inputs' in `Quantization`.
    """
    if layer.macs or isinstance(layer.op, Embedding):
        return Constants()
    shift = _constant(layer, "bias", layer.bias) if layer.bias is not None else None
    return Constants(_constant(layer, "weight", layer.weight), shift)


def _constant(layer: Layer, role: Role, source: ValueSource) -> Array | None:
    if not is_given(source):
        return None
    own = layer.precision.weight
    wanted = _Wanted(layer.name, role, (), NumberFormat("fp", 32) if own.is_integer else own, source, infinite=True)
    stored = _stored(wanted)
    values = stored.dense() if isinstance(stored, SparseArray) else stored
    shape = layer.output_shapes[0]
    over = shape[1:2] if isinstance(layer.op, BatchNorm) else shape
    try:
        fits = np.broadcast_shapes(values.shape, over) == over
    except ValueError:
        fits = False
    if not fits:
        raise wanted.fault(f"has the shape {_times(values.shape)}, must broadcast over {_times(over)}")
    return values if values.dtype.kind in "iu" else _fitted(values, wanted, source.file)


def input_values(network: Network, seed: int, given: Mapping[str, Array] | None = None) -> dict[str, Array]:
    """Every graph input with its batch, in the storage type of its first reader's ``precision.input``.

    ``given`` are values of inputs that need neither file nor seed (see `accelsim.frontends.inputs`).
    """
    faults = _unused_files(network)
    result = dict(given or {})
    for name, shape in network.inputs.items():
        if name in result:
            continue
        try:
            result[name] = _input(network, name, (network.batch, *shape), seed)
        except InputError as error:
            faults += error.faults
    if faults:
        raise InputError(faults)
    return result


def drawn_input(layer: Layer, seed: int) -> Array:
    """What ``layer`` reads first, drawn at the density that it states, as its multipliers take it."""
    source = ValueSource(density=layer.input_values.density)
    return _seeded(_Wanted(layer.name, "input", layer.input_shapes[0], layer.precision.input, source), seed)


def bias_values(layer: Layer) -> Array | None:
    """The bias as int64 (float64 for a float accumulator); None unless ``layer.bias`` names a file."""
    if layer.bias is None or not is_given(layer.bias) or isinstance(layer.op, BatchNorm | LayerNorm):
        return None
    shape = _bias_shape(layer)
    if shape is None:
        raise InputError(
            Fault(str(layer.bias.file), f"{layer.name}.bias", f"is given, but {layer.op.op} takes none")
        )
    accumulator = layer.precision.accumulator
    values = _values(_Wanted(layer.name, "bias", shape, accumulator, layer.bias), 0)
    return values.astype(np.int64 if accumulator.is_integer else np.float64)


@dataclass(frozen=True)
class _Wanted:
    """A tensor to be had: whose it is, its shape and format, and where its values come from."""

    name: str
    role: Role
    shape: Shape
    format: NumberFormat
    source: ValueSource
    fan_in: int = 1
    rows: int = 0  # not 0: the values are row numbers of an embedding's table
    forms: tuple[Shape, ...] = ()  # other shapes that a file may have
    layout: str = ""
    infinite: bool = False  # infinities are allowed, if a model has them: a mask takes away with them

    @property
    def key(self) -> str:
        return f"{self.name}.{self.role}"

    @property
    def bounds(self) -> tuple[int, int]:
        return (0, self.rows - 1) if self.rows else (self.format.lowest, self.format.highest)

    @property
    def drawn(self) -> tuple[int, int]:
        """Bounds of seeded integers."""
        if self.rows or self.format.bits <= 8:
            return self.bounds
        return max(self.format.lowest, -_WIDE), min(self.format.highest, _WIDE)

    @property
    def storage(self) -> Any:
        return np.int64 if self.rows else self.format.storage

    def fault(self, message: str, file: Path | None = None) -> InputError:
        place = file or self.source.file
        return InputError(Fault(str(place) if place else "values", self.key, message))


def is_given(source: ValueSource) -> bool:
    """Whether the values are there, rather than to be drawn."""
    return source.file is not None or isinstance(source, Provided)


def _values(wanted: _Wanted, seed: int) -> Array:
    return _from_file(wanted) if is_given(wanted.source) else _seeded(wanted, seed)


def _beside_weights(layer: Layer, role: Role, shape: Shape, fan_in: int, seed: int) -> Array:
    source = ValueSource(density=layer.weight.density)
    return _seeded(_Wanted(layer.name, role, shape, layer.precision.weight, source, fan_in), seed)


def _bias_shape(layer: Layer) -> Shape | None:
    """One bias an output channel, with private kernels an output value; None where there is none."""
    if isinstance(layer.op, LocallyConnected2d):
        return layer.output_shapes[0][1:]
    if isinstance(layer.op, Recurrent):
        return (layer.op.gates * layer.op.hidden,)
    if isinstance(layer.op, Conv2d | TransformOutput):
        return (layer.output_shapes[0][1],)
    return (layer.output_shapes[0][-1],) if isinstance(layer.op, Linear | Matmul) else None


# --- inputs


def _input(network: Network, name: str, shape: Shape, seed: int) -> Array:
    readers = [
        (layer, place)
        for layer in network.layers
        for place, ref in enumerate(layer.inputs)
        if ref == TensorRef(name)
    ]
    if not readers:
        return _seeded(_Wanted(name, "input", shape, Precision().input, _DEFAULT), seed)
    first, place = readers[0]
    sources = list(dict.fromkeys(s for s in (_input_source(*reader) for reader in readers) if s != _DEFAULT))
    given = [s for s in sources if is_given(s)]
    if len(given) > 1:
        raise InputError(
            Fault(str(s.file), name, "is one of several files for the same input") for s in given
        )
    source = given[0] if given else sources[0] if sources else _DEFAULT
    return _values(_input_wanted(name, shape, first, place, source), seed)


def fitted_input(network: Network, name: str, values: Array, place: str) -> Array:
    """``values`` as the graph input ``name`` with its batch: checked and stored as its first reader takes them."""
    first = next(layer for layer in network.layers if TensorRef(name) in layer.inputs)
    source = Provided(provider=Held(values))
    wanted = _input_wanted(name, (network.batch, *network.inputs[name]), first, first.inputs.index(TensorRef(name)), source)
    try:
        return _from_file(wanted)
    except InputError as error:
        raise InputError(Fault(place, name, fault.message) for fault in error.faults) from None


def _input_source(layer: Layer, place: int) -> ValueSource:
    """The right matrix of a product of two activations stands where the weights would."""
    if isinstance(layer.op, Matmul) and place == 1:
        return layer.weight
    return layer.input_values if place == 0 else ValueSource(density=layer.input_values.density)


def _input_wanted(name: str, shape: Shape, reader: Layer, place: int, source: ValueSource) -> _Wanted:
    second = isinstance(reader.op, Matmul) and place == 1
    samples: list[Shape] = [shape[1:]]
    if isinstance(reader.op, Linear) and len(shape) == 4:
        samples.append((prod(shape[1:]),))
    forms = [form for sample in samples for form in ((shape[0], *sample), (1, *sample), sample)]
    return _Wanted(
        name,
        "input",
        shape,
        reader.precision.weight if second else reader.precision.input,
        source,
        rows=reader.op.rows if isinstance(reader.op, Embedding) else 0,
        forms=tuple(dict.fromkeys(forms)),
        layout="the batch first, or one sample for all of it",
        infinite=True,
    )


def _unused_files(network: Network) -> list[Fault]:
    """Files for inputs that other layers compute."""
    return [
        Fault(str(layer.input_values.file), f"{layer.name}.input",
              f"is given, but layer {layer.inputs[0].source} computes the input; drop it, or write after: []")
        for layer in network.layers
        if is_given(layer.input_values) and layer.inputs and layer.inputs[0].source not in network.inputs
    ]  # fmt: skip


# --- seeds


def _generator(wanted: _Wanted, seed: int) -> np.random.Generator:
    digest = hashlib.sha256(wanted.name.encode()).digest()
    return np.random.default_rng([seed, int.from_bytes(digest[:8], "little"), _STREAM[wanted.role]])


def _seeded(wanted: _Wanted, seed: int) -> Array:
    random = _generator(wanted, seed)
    size, density = prod(wanted.shape), wanted.source.density
    if size > MOST_SEEDED:
        raise InfeasibleError(
            f"layer {wanted.name} in values mode",
            demand=f"{size:,} seeded values of its {wanted.role}",
            bound=f"tensors of {MOST_SEEDED:,} at most",
            levers=("run without --values", "a smaller layer"),
        )
    if wanted.source.structure is not None:
        return _structured(wanted, random, *wanted.source.structure)
    if density == 1:
        return _drawn(wanted, random, size, nonzero=False).reshape(wanted.shape)
    count = round(density * size)
    result = np.zeros(size, wanted.storage)
    result[_places(random, size, count)] = _drawn(wanted, random, count, nonzero=True)
    return result.reshape(wanted.shape)


def _structured(wanted: _Wanted, random: np.random.Generator, n: int, m: int) -> Array:
    """n of every m neighbours along the input channels (the second axis), each choice as likely as any other."""
    outputs, channels, *window = wanted.shape
    ranks = random.random((outputs, *window, -(-channels // m), m), dtype=np.float32).argsort(axis=-1).argsort(axis=-1)
    kept = (ranks < n).reshape(outputs, *window, -1)[..., :channels]
    result = np.zeros(wanted.shape, wanted.storage)
    places = np.moveaxis(kept, -1, 1)
    result[places] = _drawn(wanted, random, int(np.count_nonzero(places)), nonzero=True)
    return result


def _places(random: np.random.Generator, size: int, count: int) -> npt.NDArray[np.bool_]:
    """``count`` of ``size`` places, every choice of them as likely as any other."""
    if 2 * count > size:
        return ~_places(random, size, size - count)
    chosen = np.zeros(size, dtype=np.bool_)
    if 50 * count < size:
        chosen[random.choice(size, count, replace=False, shuffle=False)] = True
        return chosen
    np.less(random.random(size, dtype=np.float32), count / size, out=chosen)  # nearly, and much the faster
    while surplus := int(np.count_nonzero(chosen)) - count:
        tried = np.unique(random.integers(0, size, 4 * abs(surplus)))
        wrong = tried[chosen[tried] == (surplus > 0)]
        chosen[random.choice(wrong, min(abs(surplus), wrong.size), replace=False)] ^= True
    return chosen


def _drawn(wanted: _Wanted, random: np.random.Generator, count: int, nonzero: bool) -> Array:
    if _has_codebook(wanted.source):
        return _drawn_from_codebook(wanted, random, count, nonzero)
    if wanted.format.is_integer or wanted.rows:
        return _drawn_integers(random, *wanted.drawn, count, wanted.storage, nonzero)
    values = random.standard_normal(count, dtype=np.float32) * np.float32(1 / sqrt(wanted.fan_in))
    values[values == 0] = np.finfo(np.float32).eps  # all but impossible, and yet a zero is not a nonzero
    return rounded(values, wanted.format)


def _drawn_integers(
    random: np.random.Generator, low: int, high: int, count: int, storage: Any, nonzero: bool
) -> Array:
    if not nonzero:
        return random.integers(low, high, count, dtype=storage, endpoint=True)
    if low == 0:
        return random.integers(min(1, high), high, count, dtype=storage, endpoint=True)
    values = random.integers(low, high - 1, count, dtype=storage, endpoint=True)
    return values + (values >= 0)  # what is left of the range closes up over the zero


def _drawn_from_codebook(wanted: _Wanted, random: np.random.Generator, count: int, nonzero: bool) -> Array:
    codebook = _codebook(wanted)
    codebook = codebook[codebook != 0] if nonzero else codebook
    if count and not codebook.size:
        raise wanted.fault(
            "holds no value but zero, so the density cannot be reached", wanted.source.codebook
        )
    return codebook[random.integers(0, max(1, codebook.size), count)]


# --- files


def _from_file(wanted: _Wanted) -> Array:
    stored = _stored(wanted)
    _check_shape(stored, wanted)
    if _has_codebook(wanted.source):
        values = _looked_up(stored, _codebook(wanted), wanted)
    else:
        values = _fitted(
            stored.dense() if isinstance(stored, SparseArray) else stored, wanted, wanted.source.file
        )
    if prod(values.shape) == prod(wanted.shape):
        return np.ascontiguousarray(values.reshape(wanted.shape))
    return np.broadcast_to(values.reshape(wanted.shape[1:]), wanted.shape).copy()


def _has_codebook(source: ValueSource) -> bool:
    return source.codebook is not None or (isinstance(source, Provided) and source.codes is not None)


def _stored(wanted: _Wanted) -> Array | SparseArray:
    """What the source holds, as it holds it."""
    if isinstance(wanted.source, Provided):
        return np.asarray(wanted.source.provider.read())
    assert wanted.source.file is not None
    return _load(wanted.source.file, wanted, wanted.source.array)


def _stored_codebook(wanted: _Wanted) -> Array | SparseArray:
    if isinstance(wanted.source, Provided):
        return np.asarray(wanted.source.codes.read())
    assert wanted.source.codebook is not None
    return _load(wanted.source.codebook, wanted, wanted.source.codebook_array)


def _check_shape(stored: Array | SparseArray, wanted: _Wanted) -> None:
    allowed: tuple[Shape, ...] = wanted.forms or (wanted.shape,)
    if isinstance(stored, SparseArray) and not wanted.forms:
        allowed = tuple(dict.fromkeys((wanted.shape, (wanted.shape[0], prod(wanted.shape[1:])))))
    if stored.shape in allowed:
        return
    words = " or ".join(dict.fromkeys(_times(shape) for shape in allowed))
    turned = "; it looks transposed" if stored.shape == wanted.shape[::-1] else ""
    layout = f" ({wanted.layout})" if wanted.layout else ""
    raise wanted.fault(f"has the shape {_times(stored.shape)}, must be {words}{layout}{turned}")


def _times(shape: Shape) -> str:
    return " x ".join(str(size) for size in shape) if shape else "a single number"


def _codebook(wanted: _Wanted) -> Array:
    file, stored = wanted.source.codebook, _stored_codebook(wanted)
    if isinstance(stored, SparseArray) or stored.ndim != 1 or not stored.size:
        raise wanted.fault(
            f"has the shape {_times(stored.shape)}, a codebook must be one row of values", file
        )
    return _fitted(stored, wanted, file)


def _looked_up(stored: Array | SparseArray, codebook: Array, wanted: _Wanted) -> Array:
    """The values that the indices stand for; what a sparse file does not store is zero."""
    high = codebook.size - 1
    if not isinstance(stored, SparseArray):
        indices = _whole(
            stored, (0, high), f"an index into the codebook of {high + 1}", wanted, wanted.source.file
        )
        return codebook[indices.astype(np.int64)]
    flat = np.ravel_multi_index(tuple(stored.coordinates), stored.shape)
    order = np.argsort(flat, kind="stable")
    twice = np.flatnonzero(np.diff(flat[order]) == 0)
    if twice.size:
        place = list(stored.place(int(order[twice[0] + 1])))
        raise wanted.fault(f"element {place} is stored twice, which indices into a codebook cannot be")
    indices = _whole(
        stored.data,
        (0, high),
        f"an index into the codebook of {high + 1}",
        wanted,
        wanted.source.file,
        stored,
    )
    values = np.zeros(prod(stored.shape), codebook.dtype)
    values[flat] = codebook[indices.astype(np.int64)]
    return values.reshape(stored.shape)


def _fitted(values: Array, wanted: _Wanted, file: Path | None) -> Array:
    """``values`` in the format's storage type; an `InputError` shows the first one that does not fit."""
    if wanted.format.is_integer or wanted.rows:
        what = f"a row of the table of {wanted.rows}" if wanted.rows else str(wanted.format)
        return _whole(values, wanted.bounds, what, wanted, file).astype(wanted.storage)
    _check_numbers(values, wanted, file)
    fit = fits(values, wanted.format)
    if wanted.infinite and isinstance(wanted.source, Provided):
        fit |= np.isinf(values)
    _refuse(~fit, values, f"a finite number that fits {wanted.format}", wanted, file)
    return rounded(values, wanted.format)


def _whole(
    values: Array,
    bounds: tuple[int, int],
    what: str,
    wanted: _Wanted,
    file: Path | None,
    sparse: SparseArray | None = None,
) -> Array:
    """``values`` if they are whole numbers within ``bounds``."""
    _check_numbers(values, wanted, file)
    low, high = bounds
    allowed = f"{low} to {high} ({what})"
    if values.dtype.kind != "f":
        values = values.astype(np.uint8) if values.dtype.kind == "b" else values
        _refuse((values < low) | (values > high), values, allowed, wanted, file, sparse)
        return values
    wide = values.astype(np.float64)
    whole = np.isfinite(wide)
    whole[whole] = wide[whole] == np.trunc(wide[whole])
    _refuse(~whole, values, f"a whole number, {allowed}", wanted, file, sparse, _QUANTIZE_FIRST)
    _refuse((wide < float(low)) | (wide >= float(high + 1)), values, allowed, wanted, file, sparse)
    return wide


def _check_numbers(values: Array, wanted: _Wanted, file: Path | None) -> None:
    if values.dtype.kind not in "biuf":
        raise wanted.fault(f"holds values of type {values.dtype}, must hold integers or floats", file)


def _refuse(
    bad: npt.NDArray[np.bool_], values: Array, allowed: str, wanted: _Wanted, file: Path | None,
    sparse: SparseArray | None = None, hint: str = "",
) -> None:  # fmt: skip
    """Raise for the first ``bad`` element, if there is one."""
    if not bad.any():
        return
    first = int(np.argmax(bad))
    place = sparse.place(first) if sparse else np.unravel_index(first, values.shape)
    count = int(np.count_nonzero(bad))
    more = f"; and {count - 1} more" if count > 1 else ""
    found = values.ravel()[first]
    raise wanted.fault(f"element {[int(i) for i in place]} is {found}, must be {allowed}{more}{hint}", file)


def _load(file: Path, wanted: _Wanted, name: str | None) -> Array | SparseArray:
    try:
        return read_array(file, name)
    except ValueError as error:
        raise wanted.fault(str(error), file) from None
