"""Networks as published figures count them."""

from __future__ import annotations

from dataclasses import replace

from accelsim.workload.network import Network


def without_biases(network: Network) -> Network:
    """``network`` whose layers add no bias: for figures that follow from the bytes of weights alone."""
    sketches = []
    for sketch in network.sketches:
        biased = getattr(sketch.op, "bias", False)
        op = sketch.op.model_copy(update={"bias": False}) if biased else sketch.op
        sketches.append(replace(sketch, op=op, bias=None if biased else sketch.bias))
    return network.with_sketches(sketches)
