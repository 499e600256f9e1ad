"""``accelsim compress``: a recipe from end to end, and what came of it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

from accelsim.compression.apply import Passes
from accelsim.compression.arrays import Array, as_float, held_dense, is_trained
from accelsim.compression.data import read_samples, seeded_samples
from accelsim.compression.encode import EncodedSize, EncodeRule, encoded_sizes
from accelsim.compression.float_run import input_reader, integers_for, real_outputs, run_on, top1
from accelsim.compression.quantize import QuantizeRule, quantize
from accelsim.compression.recipe import Recipe, read_recipe
from accelsim.compression.report import LayerError, Measures, layer_errors, measure, rectified
from accelsim.compression.save import save_network
from accelsim.errors import Fault, InputError
from accelsim.workload.network import Network
from accelsim.yaml_io import Document, load_document

if TYPE_CHECKING:
    from accelsim.arch.spec import Architecture


@dataclass(frozen=True)
class Compression:
    """A compressed network, the float one that it was made of, and what was lost and saved.

    ``samples`` are what both run on where they are simulated. ``accuracy_before`` and ``accuracy_after`` are top-1
    shares on the recipe's test data, None without labels.
    """

    network: Network
    original: Network
    errors: tuple[LayerError, ...]
    sizes: tuple[EncodedSize, ...]
    encode: EncodeRule
    accuracy_before: float | None = None
    accuracy_after: float | None = None
    seed: int = 0
    calibration: Array | None = field(default=None, repr=False)
    samples: Array | None = field(default=None, repr=False)

    @property
    def accuracy_ratio(self) -> float | None:
        """Accuracy after over accuracy before."""
        if not self.accuracy_before or self.accuracy_after is None:
            return None
        return self.accuracy_after / self.accuracy_before

    def dense(self) -> Network:
        """The original quantized to 8 bits by the plainest rule, and nothing else done to it."""
        assert self.calibration is not None
        assert self.samples is not None
        return with_inputs(quantize(self.original, QuantizeRule(), self.calibration), self.samples)

    def running(self) -> Network:
        """The compressed network on the samples."""
        assert self.samples is not None
        return with_inputs(self.network, self.samples)

    def save(self, path: str | Path) -> list[Path]:
        """Write the network; see `accelsim.compression.save.save_network`."""
        return save_network(self.network, path)

    def measures(
        self, arch: str | Path | Architecture, original_arch: str | Path | Architecture | None = None
    ) -> tuple[Measures, dict[str, Measures]]:
        """The six measures, of the whole and by layer, both networks simulated on ``arch``.

        The original is the float network at 8 bits, dense: what an integer machine runs where nothing is compressed.
        It runs on ``original_arch`` where that is given.
        """
        from accelsim.arch.spec import Architecture
        from accelsim.catalogue import load_arch

        def loaded(source: str | Path | Architecture) -> Architecture:
            return source if isinstance(source, Architecture) else load_arch(source)

        return measure(
            self.dense(), self.running(), loaded(arch), encode=self.encode, accuracy=self.accuracy_ratio,
            original_arch=None if original_arch is None else loaded(original_arch), seed=self.seed,
        )  # fmt: skip


def compress(
    network: str | Path | Network, recipe: str | Path | Recipe, output: str | Path | None = None, *,
    batch: int | None = None,
) -> Compression:  # fmt: skip
    """Compress ``network`` by ``recipe``; with ``output`` write it too (.yaml and .npz, .npz, or .onnx).

    Parameters
    ----------
    network : a name, a path (.yaml, .onnx), or what `accelsim.load_network` returned.
    recipe  : a path, or a `Recipe`.
    output  : a file to write; nothing is written without it.
    batch   : replaces the network's batch.

    Raises
    ------
    InputError  bad input, each fault named: weights that are not finite, an empty calibration set, a scale of zero,
                bits out of range, a rank above the matrix's.
    """
    document = None if isinstance(recipe, Recipe) else load_document(Path(recipe))
    rules = recipe if isinstance(recipe, Recipe) else read_recipe(_present(document))
    loaded = _loaded(network, batch)
    result = _compressed(loaded, rules, document, _scales(network, loaded))
    if output is not None:
        result.save(output)
    return result


def _present(document: Document | None) -> Document:
    assert document is not None
    return document


def _loaded(network: str | Path | Network, batch: int | None) -> Network:
    if isinstance(network, Network):
        return network if batch is None else network.with_batch(batch)
    from accelsim.catalogue import load_network

    return load_network(network, batch=batch, values=True)[0]


def _scales(source: str | Path | Network, network: Network) -> dict[str, Array]:
    """Batch normalizations' scales, which an ONNX model has and its network no more: they are folded."""
    if isinstance(source, Network) or Path(source).suffix.lower() != ".onnx":
        return {}
    from accelsim.frontends.onnx_values import batch_norm_scales

    return batch_norm_scales(network, Path(source))


def _compressed(network: Network, recipe: Recipe, document: Document | None, scales: dict[str, Array]) -> Compression:
    original = as_float(network, recipe.seed)
    if not any(is_trained(layer) for layer in original.layers):
        raise InputError(Fault(network.name, "", "has no layer with weights to compress"))
    if recipe.calibration is not None:
        data, _ = read_samples(recipe.calibration, "calibration")
    else:
        data = seeded_samples(original, recipe.seed)
    test, labels = read_samples(recipe.test, "test") if recipe.test is not None else (None, None)

    def fault(index: int, message: str) -> Fault:
        if document is None:
            return Fault("recipe", f"passes[{index}]", message)
        return document.fault(("passes", index), message)

    smaller, encode = Passes(data, recipe.seed, scales).run(original, list(recipe.passes), fault)
    if recipe.name:
        smaller = replace(smaller, name=recipe.name)
    errors, before, after = _tested(original, smaller, data if test is None else test, labels)
    samples = (data if test is None else test)[: recipe.inputs or 1]
    if recipe.inputs is not None:
        smaller = with_inputs(smaller, samples)
    sizes = tuple(encoded_sizes(smaller, encode, recipe.seed))
    return Compression(smaller, original, tuple(errors), sizes, encode, before, after, recipe.seed, data, samples)


def _tested(
    original: Network, smaller: Network, samples: Array, labels: Array | None
) -> tuple[list[LayerError], float | None, float | None]:
    """Errors by layer and both accuracies."""
    floats, outputs = run_on(original, samples), run_on(smaller, samples)
    errors = layer_errors(rectified(original, floats), real_outputs(smaller, outputs))
    if labels is None:
        return errors, None, None
    return errors, top1(floats, original, labels), top1(outputs, smaller, labels)


def with_inputs(network: Network, samples: Array) -> Network:
    """The network with ``samples`` as its input and as many as its batch; a quantized network's are integers."""
    many = network.with_batch(len(samples))
    reader = input_reader(many)
    shape = (len(samples), *next(iter(many.inputs.values())))
    held = held_dense(integers_for(reader, samples.reshape(shape)))
    return many.with_sketches([replace(s, input_values=held) if s.name == reader.name else s for s in many.sketches])
