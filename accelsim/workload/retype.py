"""A float network on integer hardware, or the other way round: the precision that it runs at, said aloud."""

from __future__ import annotations

from dataclasses import replace

from accelsim.workload.network import Layer, Network
from accelsim.workload.precision import NumberFormat, Precision, parse_format


def at_engine_precision(network: Network, listed: list[str]) -> tuple[Network, list[str]]:
    """``network`` with the layers of the other kind of number at the first precision in ``listed``.

    Only where all that is listed is of one kind, integers or floats. Shapes and costs are those of the network after
    conversion; values need one that is converted. Returns the network and a note for the user.
    """
    formats = [[parse_format(part) for part in key.split("x")] for key in listed]
    kinds = {number.is_integer for pair in formats for number in pair}
    if len(kinds) != 1:
        return network, []
    others = [layer for layer in network.layers if _is_integer(layer) not in kinds]
    if not others:
        return network, []
    target = _precision(formats[0][0], formats[0][-1])
    names = {layer.name for layer in others}
    sketches = [replace(s, precision=target) if s.name in names else s for s in network.sketches]
    note = (
        f"{network.name} has {others[0].precision.weight} layers and the architecture takes {', '.join(listed)}: they "
        f"run as {target.weight} x {target.input} (choose with --set workload.precision.weight=...)"
    )
    return network.with_sketches(sketches), [note]


def _is_integer(layer: Layer) -> bool:
    return layer.precision.weight.is_integer and layer.precision.input.is_integer


def _precision(weight: NumberFormat, activation: NumberFormat) -> Precision:
    """Sums of 8-bit products take 32 bits, of wider ones 48; of floats as many as fp32 has."""
    sums = parse_format("fp32") if not weight.is_integer else NumberFormat("int", 32 if weight.bits <= 8 else 48)
    return Precision(weight=weight, input=activation, accumulator=sums, output=activation)
