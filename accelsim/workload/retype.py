"""A float network on integer hardware: the precision that it runs at, said aloud."""

from __future__ import annotations

from dataclasses import replace

from accelsim.workload.network import Network
from accelsim.workload.precision import NumberFormat, Precision, parse_format

SUM_BITS = 32


def as_integers(network: Network, listed: list[str]) -> tuple[Network, list[str]]:
    """``network`` with its float layers at the first precision in ``listed``, if none of these is a float.

    Shapes and costs are those of the network after quantization; values need a network that is quantized. Returns
    the network and a note for the user.
    """
    formats = [[parse_format(part) for part in key.split("x")] for key in listed]
    if not formats or any(not f.is_integer for pair in formats for f in pair):
        return network, []
    floats = [layer for layer in network.layers if not layer.precision.weight.is_integer or not layer.precision.input.is_integer]
    if not floats:
        return network, []
    target = _precision(formats[0][0], formats[0][-1])
    names = {layer.name for layer in floats}
    sketches = [replace(s, precision=target) if s.name in names else s for s in network.sketches]
    was = floats[0].precision.weight
    note = (
        f"{network.name} has {was} layers and the architecture takes {', '.join(listed)}: they run as "
        f"{target.weight} x {target.input} (choose with --set workload.precision.weight=...)"
    )
    return network.with_sketches(sketches), [note]


def _precision(weight: NumberFormat, activation: NumberFormat) -> Precision:
    return Precision(
        weight=weight, input=activation, accumulator=NumberFormat("int", SUM_BITS if weight.bits <= 8 else 48), output=activation
    )
