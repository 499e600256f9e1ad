"""A network on hardware of other numbers (floats on integers, on narrower floats): the precision it runs at, said aloud."""

from __future__ import annotations

from dataclasses import replace

from accelsim.errors import Fault, InputError
from accelsim.workload.network import Layer, Network
from accelsim.workload.precision import NumberFormat, Precision, parse_format
from accelsim.workload.values import is_given


def at_engine_precision(network: Network, listed: list[str], values: bool = False) -> tuple[Network, list[str]]:
    """``network`` with the layers of the other kind of number at the first precision in ``listed``.

    Only where all that is listed is of one kind, integers or floats; floats also where there are other floats. Shapes and
    costs are those of the network after conversion; ``values`` need one that is converted: `InputError` for a layer whose
    numbers are given. Floats on hardware of other floats are rounded to these as they are read, given or not. Returns the
    network and a note for the user.
    """
    formats = [[parse_format(part) for part in key.split("x")] for key in listed]
    kinds = {number.is_integer for pair in formats for number in pair}
    if len(kinds) != 1:
        return _at_other_floats(network, formats, listed)
    others = [layer for layer in network.layers if _is_integer(layer) not in kinds]
    if any(layer.macs and layer.states_scales for layer in network.layers):  # what is float there is meant to be
        others = [layer for layer in others if layer.macs]
    if not others:
        return _at_other_floats(network, formats, listed)
    if kinds == {False} and any(layer.states_scales for layer in others):
        return network, [_whole_numbers(network, listed)]
    if values:
        _refuse_given(network, others, listed)
    return _retyped(network, others, formats, listed)


def _at_other_floats(
    network: Network, formats: list[list[NumberFormat]], listed: list[str]
) -> tuple[Network, list[str]]:
    """A network of floats that the multipliers do not take, at those that they do."""
    real = [pair for pair in formats if not any(number.is_integer for number in pair)]
    taken = {(pair[0], pair[-1]) for pair in real}
    floats = [layer for layer in network.layers if not (layer.precision.weight.is_integer or layer.precision.input.is_integer)]
    others = [layer for layer in floats if (layer.precision.weight, layer.precision.input) not in taken]
    if not real or not any(layer.macs for layer in others):
        return network, []
    return _retyped(network, others, real, listed)


def _retyped(
    network: Network, others: list[Layer], formats: list[list[NumberFormat]], listed: list[str]
) -> tuple[Network, list[str]]:
    target = _precision(formats[0][0], formats[0][-1])
    names = {layer.name for layer in others}
    sketches = [replace(s, precision=_kept(s.precision, target)) if s.name in names else s for s in network.sketches]
    note = (
        f"{network.name} has {others[0].precision.weight} layers and the architecture takes {', '.join(listed)}: they "
        f"run as {target.weight} x {target.input} (choose with --set workload.precision.weight=...)"
    )
    return network.with_sketches(sketches), [note]


def _kept(precision: Precision, target: Precision) -> Precision:
    """``target``, but for an output of integers that floats are quantized to."""
    quantizes = precision.output.is_integer and not precision.input.is_integer
    return target.model_copy(update={"output": precision.output}) if quantizes else target


def _refuse_given(network: Network, others: list[Layer], listed: list[str]) -> None:
    """Numbers that are there cannot be taken for others; seeded ones are drawn at the new precision."""
    scaled = any(layer.macs and layer.states_scales for layer in network.layers)
    given = [layer for layer in others if layer.macs and (scaled or is_given(layer.weight))]
    if given:
        how = "quantize the network first: accelsim compress NETWORK --recipe RECIPE.yaml -o FILE.yaml"
        raise InputError(
            Fault(network.name, layer.name, f"multiplies {layer.precision.weight} x {layer.precision.input}, and with --values "
                  f"the architecture takes {', '.join(listed)}; {how}")
            for layer in given
        )  # fmt: skip


def _whole_numbers(network: Network, listed: list[str]) -> str:
    """Layers with scales of their own stay what they are: floats hold their integers."""
    return (
        f"{network.name} has integers with scales of their own and the architecture takes {', '.join(listed)}: they run "
        "as whole numbers on it, exact while sums stay within 2**24, and are stored in their own width"
    )


def _is_integer(layer: Layer) -> bool:
    return layer.precision.weight.is_integer and layer.precision.input.is_integer


def _precision(weight: NumberFormat, activation: NumberFormat) -> Precision:
    """Sums of 8-bit products take 32 bits, of wider ones 48; of floats as many as fp32 has."""
    sums = parse_format("fp32") if not weight.is_integer else NumberFormat("int", 32 if weight.bits <= 8 else 48)
    return Precision(weight=weight, input=activation, accumulator=sums, output=activation)
