"""``accelsim compress``: a recipe from end to end, and what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from accelsim.analysis.measures import Measures
from accelsim.compression.apply import Passes
from accelsim.compression.arrays import Array, as_float, held_dense, is_trained
from accelsim.compression.data import read_samples, seeded_samples
from accelsim.compression.encode import EncodedSize, EncodeRule, encoded_sizes
from accelsim.compression.float_run import input_reader, integers_for, real_outputs, run_on, top1
from accelsim.compression.override import recipe_document
from accelsim.compression.quantize import QuantizeRule, quantize
from accelsim.compression.recipe import Recipe, read_recipe
from accelsim.compression.report import Counts, LayerError, Measured, layer_errors, measured, rectified
from accelsim.compression.save import save_network
from accelsim.errors import Fault, InputError
from accelsim.workload.network import Network
from accelsim.yaml_io import Document

if TYPE_CHECKING:
    from accelsim.arch.spec import Architecture


@dataclass(frozen=True)
class Compression:
    """A compressed network, the float one that it was made of, and what was lost and saved.

    ``samples`` are what both run on where they are simulated; ``test`` are all of them, ``labels`` theirs.
    ``accuracy_before`` and ``accuracy_after`` are top-1 shares on the recipe's test data, None without labels.
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
    test: Array | None = field(default=None, repr=False)
    labels: Array | None = field(default=None, repr=False)

    @property
    def accuracy_ratio(self) -> float | None:
        """Accuracy after over accuracy before."""
        if not self.accuracy_before or self.accuracy_after is None:
            return None
        return self.accuracy_after / self.accuracy_before

    def dense(self) -> Network:
        """The original quantized to 8 bits by the plainest rule, and nothing else done to it."""
        return self._dense

    @cached_property
    def _dense(self) -> Network:
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
        found = self.simulated(arch, original_arch)
        return found.whole, found.layers

    def simulated(
        self, arch: str | Path | Architecture, original_arch: str | Path | Architecture | None = None
    ) -> Measured:
        """As `measures`, with the two results."""
        from accelsim.api import simulate

        before, after = (
            simulate(self.dense(), original_arch or arch), simulate(self.running(), arch)
        )  # fmt: skip
        return measured(before, after, self._counts, self.accuracy_ratio)

    @cached_property
    def _counts(self) -> tuple[Counts, Counts]:
        return Counts.whole(self._dense), Counts.of(self.running(), self.encode, self.seed)


def compress(
    network: str | Path | Network, recipe: str | Path | Recipe | None, output: str | Path | None = None, *,
    batch: int | None = None, overrides: Mapping[str, Any] | None = None,
) -> Compression:  # fmt: skip
    """Compress ``network`` by ``recipe``; with ``output`` write it too (.yaml and .npz, .npz, or .onnx).

    Parameters
    ----------
    network : a name, a path (.yaml, .onnx), or what `accelsim.load_network` returned.
    recipe  : a path, or a `Recipe`; None for what ``overrides`` say alone.
    output  : a file to write; nothing is written without it.
    batch   : replaces the network's batch.
    overrides : as ``--set``, of the network and of the recipe: ``{"compression.prune.density": 0.2}``.

    Raises
    ------
    InputError  bad input, each fault named: weights that are not finite, an empty calibration set, a scale of zero,
                bits out of range, a rank above the matrix's.
    """
    document = None if isinstance(recipe, Recipe) else recipe_document(recipe, overrides or {})
    rules = recipe if isinstance(recipe, Recipe) else read_recipe(_present(document))
    loaded = _loaded(network, batch, overrides or {})
    result = _compressed(loaded, rules, document, _scales(network, loaded, overrides or {}))
    if output is not None:
        result.save(output)
    return result


def _present(document: Document | None) -> Document:
    assert document is not None
    return document


def _loaded(network: str | Path | Network, batch: int | None, overrides: Mapping[str, Any]) -> Network:
    from accelsim.catalogue import load_network, require_roots

    require_roots(overrides)
    return load_network(network, batch=batch, overrides=overrides, values=True)[0]


def _scales(source: str | Path | Network, network: Network, overrides: Mapping[str, Any]) -> dict[str, Array]:
    """Batch normalizations' scales, which an ONNX model has and its network no more: they are folded."""
    if isinstance(source, Network) or Path(source).suffix.lower() != ".onnx":
        return {}
    from accelsim.catalogue import dims_of
    from accelsim.frontends.onnx_values import batch_norm_scales

    return batch_norm_scales(network, Path(source), dims_of(overrides))


def _compressed(network: Network, recipe: Recipe, document: Document | None, scales: dict[str, Array]) -> Compression:
    if any(layer.macs and layer.quantization.inputs for layer in network.layers):
        message = "is quantized already, its integers have scales; compress the float network that it was made of"
        raise InputError(Fault(network.name, "", message))
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
    return Compression(
        smaller, original, tuple(errors), sizes, encode, before, after, recipe.seed, data, samples,
        data if test is None else test, labels,
    )  # fmt: skip


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
