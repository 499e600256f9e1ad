"""Recipes: ``accelsim.recipe/1`` YAML, a list of passes with the layers that each is for.

Every pass names its layers by patterns (``conv*``); left out, it is for all that it can treat. Later passes see what
earlier ones have made.
"""

from __future__ import annotations

from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from accelsim.errors import InputError, nearest
from accelsim.units import PositiveInt
from accelsim.workload.algorithms import Algorithm
from accelsim.workload.network import Rounding
from accelsim.yaml_io import Document, no_file, validate

SCHEMA = "accelsim.recipe/1"
Bits = Annotated[int, Field(strict=True, ge=2, le=16)]
CodeBits = Annotated[int, Field(strict=True, ge=1, le=12)]
Density = Annotated[float, Field(gt=0, le=1)]
RangeMethod = Literal["minmax", "percentile", "kl", "mmse", "aciq"]
Percentile = Annotated[float, Field(gt=50, le=100)]


class _Part(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class _Pass(_Part):
    layers: list[str] | None = Field(default=None, min_length=1, description="patterns of layer names; all if left out")

    def chosen(self, names: list[str]) -> list[str]:
        """Those of ``names`` that a pattern takes; ValueError for a pattern that takes none."""
        if self.layers is None:
            return names
        for pattern in self.layers:
            if not any(fnmatchcase(name, pattern) for name in names):
                raise ValueError(f'"{pattern}" is no layer that this pass can treat{nearest(pattern, names)}')
        return [name for name in names if any(fnmatchcase(name, pattern) for pattern in self.layers)]


class PrunePass(_Pass):
    """Weights set to zero; see `accelsim.compression.prune.PruneRule` for the rules, of which one is given."""

    kind: Literal["prune"]
    density: Density | None = None
    densities: dict[str, Density] = Field(default={}, description="densities by pattern, before the common one")
    threshold: Annotated[float, Field(gt=0)] | None = None
    deviations: Annotated[float, Field(gt=0)] | None = None
    n_of_m: tuple[PositiveInt, PositiveInt] | None = None
    tolerance: Annotated[float, Field(gt=0, lt=1)] | None = None
    pes: PositiveInt | None = None
    granularity: Literal["element", "vector", "kernel", "filter", "channel"] = "element"
    vector: PositiveInt = 4
    whole_network: bool = False

    @model_validator(mode="after")
    def _one_rule(self) -> PrunePass:
        density = self.density is not None or bool(self.densities)
        given = [density, *(getattr(self, k) is not None for k in ("threshold", "deviations", "n_of_m", "tolerance"))]
        if sum(given) != 1:
            raise ValueError("must have one of density (or densities), threshold, deviations, n_of_m and tolerance")
        if self.pes is not None and not density:
            raise ValueError("pes goes with a density")
        if self.n_of_m is not None and self.n_of_m[0] > self.n_of_m[1]:
            raise ValueError(f"n_of_m keeps {self.n_of_m[0]} of {self.n_of_m[1]}")
        self._keys_mean_something()
        return self

    def _keys_mean_something(self) -> None:
        if "vector" in self.model_fields_set and self.granularity != "vector":
            raise ValueError(f"vector: is of granularity: vector, granularity is {self.granularity}; drop it")
        if self.granularity != "element" and (self.n_of_m is not None or self.pes is not None):
            rule = "pes" if self.n_of_m is None else "n_of_m"
            raise ValueError(f"granularity: means nothing beside {rule}, which keeps single weights; drop it")
        if self.whole_network and self.density is None:
            raise ValueError("whole_network: is of density, one threshold for all layers; drop it, or give a density")


class ChannelPass(_Pass):
    """Whole channels taken out; what follows shrinks."""

    kind: Literal["prune_channels"]
    criterion: Literal["l1", "geometric_median", "bn_scale", "apoz"] = "l1"
    density: Density


class FactorizePass(_Pass):
    """A layer becomes a product of smaller ones; rank by count, energy or (neither) variational Bayes."""

    kind: Literal["factorize"]
    method: Literal["svd", "tucker2", "cp"]
    rank: PositiveInt | None = None
    energy: Density | None = None

    @model_validator(mode="after")
    def _one_rank(self) -> FactorizePass:
        if self.rank is not None and self.energy is not None:
            raise ValueError("rank and energy are both given; leave one out")
        return self


class ClusterPass(_Pass):
    """Weights that share few values, one of them zero: 2**bits by k-means, or ``buckets`` by a hash."""

    kind: Literal["cluster"]
    bits: CodeBits | None = None
    buckets: Annotated[int, Field(ge=1, le=4096)] | None = None
    fit: bool = Field(default=False, description="fit the values to the calibration data, layer by layer")

    @model_validator(mode="after")
    def _one_way(self) -> ClusterPass:
        if (self.bits is None) == (self.buckets is None):
            raise ValueError("must have one of bits (k-means) and buckets (hashed)")
        if self.fit and self.buckets is not None:
            raise ValueError("fit goes with bits (k-means)")
        return self


_OF_RANGES = ("affine", "symmetric")


def _ranged(part: WeightPart | ActivationPart) -> None:
    """ValueError for keys of ranges where none is looked for."""
    said = part.model_fields_set
    if "range" in said and part.range != "minmax" and part.kind not in _OF_RANGES:
        raise ValueError(f"range: is of the kinds affine and symmetric, kind is {part.kind}; drop it")
    if "percentile" in said and (part.range != "percentile" or part.kind not in _OF_RANGES):
        raise ValueError(f"percentile: is of range: percentile, range is {part.range}; drop it, or say that")


class WeightPart(_Part):
    """How weights become integers; see `accelsim.compression.integers.quantize_weights`."""

    kind: Literal["affine", "symmetric", "fixed", "log2", "binary", "ternary"] = "symmetric"
    bits: Bits = 8
    per_channel: bool = False
    range: RangeMethod = "minmax"
    percentile: Percentile = 99.9

    @model_validator(mode="after")
    def _keys_mean_something(self) -> WeightPart:
        _ranged(self)
        if self.kind in ("binary", "ternary") and "bits" in self.model_fields_set:
            raise ValueError(f"bits: means nothing with kind {self.kind}, whose weights are {self.kind}; drop it")
        return self


class ActivationPart(_Part):
    """How activations become integers."""

    kind: Literal["affine", "symmetric", "fixed"] = "affine"
    bits: Bits = 8
    signed: bool = False
    range: RangeMethod = "minmax"
    percentile: Percentile = 99.9

    @model_validator(mode="after")
    def _keys_mean_something(self) -> ActivationPart:
        _ranged(self)
        return self


def _inherited(part: WeightPart | ActivationPart, own: Mapping[str, Any]) -> dict[str, Any]:
    """What a layer takes over from its pass: with a kind of its own nothing."""
    given = part.model_dump(exclude_unset=True)
    return {} if "kind" in own else given


class LayerPart(_Part):
    """What single layers have of their own; what is left out is the pass's."""

    weights: dict[str, Any] = {}
    activations: dict[str, Any] = {}


class AlgorithmPass(_Pass):
    """How convolutions are computed: by transformed tiles, where that suits them; see docs/how-to/algorithms.md."""

    kind: Literal["algorithm"]
    conv2d: Algorithm


class QuantizePass(_Part):
    """The whole network as integers; must be the last pass but for algorithm and encode."""

    kind: Literal["quantize"]
    weights: WeightPart = WeightPart()
    activations: ActivationPart = ActivationPart()
    by_layer: dict[str, LayerPart] = Field(default={}, description="patterns of layer names, and what differs there")
    rounding: Rounding = "even"

    @model_validator(mode="after")
    def _parts_fit(self) -> QuantizePass:
        for part in self.by_layer.values():
            WeightPart.model_validate(_inherited(self.weights, part.weights) | part.weights)
            ActivationPart.model_validate(_inherited(self.activations, part.activations) | part.activations)
        return self


class EncodePass(_Part):
    """How the size is counted: run lengths of so many bits (left out: dense), Huffman coding."""

    kind: Literal["encode"]
    index_bits: Annotated[int, Field(ge=1, le=16)] | None = None
    huffman: bool = False


AnyPass = Annotated[
    PrunePass | ChannelPass | FactorizePass | ClusterPass | AlgorithmPass | QuantizePass | EncodePass,
    Field(discriminator="kind"),
]


class Data(_Part):
    """Samples in a file (samples first), an .npz with its array's name or an .npy; labels for top-1."""

    file: Path
    array: str | None = None
    labels: str | None = Field(default=None, description="array of the same .npz: one whole number a sample")
    samples: PositiveInt | None = Field(default=None, description="only the first so many")


class Recipe(_Part):
    """A recipe file."""

    schema_: Literal["accelsim.recipe/1"] = Field(alias="schema")
    name: str = ""
    description: str = ""
    seed: Annotated[int, Field(ge=0)] = 0
    calibration: Data | None = Field(default=None, description="left out: seeded samples")
    test: Data | None = Field(default=None, description="data that errors and top-1 are measured on")
    inputs: PositiveInt | None = Field(
        default=None, description="so many test samples become the written network's input, and its batch"
    )
    passes: list[AnyPass] = Field(min_length=1)

    @model_validator(mode="after")
    def _order(self) -> Recipe:
        kinds = [part.kind for part in self.passes]
        if kinds.count("encode") > 1:
            raise ValueError("passes: encode stands there twice, and the size is counted in one way; drop one")
        if self.calibration is not None and self.calibration.labels is not None:
            raise ValueError("calibration.labels: top-1 is measured on test; say it there")
        for index, kind in enumerate(kinds):
            if "quantize" in kinds[:index] and kind not in ("algorithm", "encode"):
                raise ValueError(f"the pass {kind} comes after quantize, which must be the last but for algorithm and encode")
        for part in self.passes:
            if isinstance(part, AlgorithmPass) and "quantize" in kinds and part.conv2d.startswith("fft"):
                raise ValueError(f"the algorithm {part.conv2d} is for floats, and quantize makes integers")
        return self


def read_recipe(document: Document) -> Recipe:
    """Validate a recipe; file names are relative to it, and the files must be there."""
    recipe = validate(document, Recipe)
    folder = document.folder or Path()
    located = {
        key: part.model_copy(update={"file": folder / part.file})
        for key in ("calibration", "test")
        if (part := getattr(recipe, key)) is not None
    }
    faults = [document.fault((key, "file"), why) for key, part in located.items() if (why := no_file(part.file))]
    if faults:
        raise InputError(faults)
    return recipe.model_copy(update=located)
