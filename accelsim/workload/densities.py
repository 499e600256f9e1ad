"""How many of the values that each layer reads are not zero, measured as real data flows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np

from accelsim.workload.array_files import Array
from accelsim.workload.fixed_point import centred
from accelsim.workload.functional import run_reference
from accelsim.workload.network import Network
from accelsim.workload.values import input_values


def with_measured_densities(network: Network, inputs: Mapping[str, Array], seed: int) -> Network:
    """``network`` with the share of non-zeros that each layer with MACs reads first as its stated density.

    ``inputs``: graph inputs, batch first, as their readers take them; what is left out is drawn from ``seed``. The values
    are those of the reference, and so of any engine in values mode; a zero point counts as zero.
    """
    given = input_values(network, seed, inputs)
    tensors = {name: (values,) for name, values in given.items()} | run_reference(network, seed, given)
    changes = {}
    for layer in (one for one in network.layers if one.macs):
        ref = layer.inputs[0]
        read = centred(layer, (tensors[ref.source][ref.port],), None)[0][0]
        share = max(int(np.count_nonzero(read)), 1) / read.size
        changes[layer.name] = layer.input_values.model_copy(update={"density": share})
    sketches = [replace(s, input_values=changes.get(s.name, s.input_values)) for s in network.sketches]
    return network.with_sketches(sketches)
