"""What an architecture needs for algorithms of convolution that transform tiles, refused by name where it lacks it; and what
layers without MACs give."""

from __future__ import annotations

from accelsim.arch.spec import (
    Architecture,
    NfuSpec,
    RoofSpec,
    SparseSpec,
    listed_precisions,
    relative_throughput,
)
from accelsim.engines.base import Evaluated, Operands
from accelsim.errors import InfeasibleError
from accelsim.workload.accumulator import Accumulator
from accelsim.workload.network import Layer, Network, Transformed
from accelsim.workload.ops import TransformOutput


def require_transforms(network: Network, arch: Architecture) -> None:
    """Raise `InfeasibleError` for the first product of transformed tiles that ``arch`` has no units for."""
    for layer in network.layers:
        if isinstance(layer.weight, Transformed):
            _require_lanes(layer, arch)
            _require_multipliers(layer, arch)


def require_exact_products(layer: Layer, arch: Architecture) -> None:
    """In values mode: products and sums of integers must be whole, or the tiles made of them are none of the layer's.

    An engine's own fixed point gives way to a layer that states its scales.
    """
    engine = arch.engine
    if not isinstance(layer.weight, Transformed) or layer.states_scales or not layer.precision.accumulator.is_integer:
        return
    if isinstance(engine, NfuSpec) and engine.arithmetic is not None:
        raise InfeasibleError(
            _asked(layer),
            demand="exact products in values mode",
            bound=f"{arch.name}'s fixed-point arithmetic, which cuts them",
            levers=(
                "--set arch.engine.arithmetic= (exact sums)",
                "scales for the layer",
                *_LEVERS,
                "run without --values",
            ),
        )


def evaluated(layer: Layer, operands: Operands, accumulator: Accumulator) -> Evaluated:
    """A layer without MACs by the operators' rules; sums made of an algorithm's tiles stand in the engine's registers."""
    from accelsim.workload import functional

    if not isinstance(layer.op, TransformOutput) or layer.quantization.inputs:
        return Evaluated(functional.evaluate(layer, operands.inputs, operands.weight))
    output, overflows = functional.transform_output(layer, operands.inputs[0], accumulator)
    return Evaluated((output,), overflows)


_LEVERS = ("algorithm: direct for this layer",)


def _asked(layer: Layer) -> str:
    spatial = layer.weight.spatial  # type: ignore[attr-defined]
    return f"layer {spatial.name} by the algorithm {spatial.op.algorithm}"


def _require_lanes(layer: Layer, arch: Architecture) -> None:
    if arch.vector is None:
        raise InfeasibleError(
            _asked(layer),
            demand="lanes that transform tiles",
            bound=f"{arch.name} without a vector unit",
            levers=("--set arch.vector.lanes=64, or a vector block in the architecture", *_LEVERS),
        )


def _require_multipliers(layer: Layer, arch: Architecture) -> None:
    engine = arch.engine
    if isinstance(engine, SparseSpec | RoofSpec) or not layer.precision.weight.is_integer:
        return  # floats are as wide as before
    try:
        relative_throughput(engine.precision, layer.precision, engine.kind)
    except InfeasibleError:
        weight, given = layer.precision.weight, layer.precision.input
        raise InfeasibleError(
            _asked(layer),
            demand=f"multipliers for transformed weights of {weight} x inputs of {given}",
            bound=f"{arch.name}'s {', '.join(listed_precisions(engine.precision))}",
            levers=(
                *_LEVERS,
                f"--set arch.engine.precision.{weight}x{given}=SPEED",
                "--set workload.precision.weight=int8, or input",
            ),
        ) from None
