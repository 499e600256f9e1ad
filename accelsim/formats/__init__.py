"""How sparse matrices lie in memory: each format encodes, decodes, and knows its size to the bit.

`Coo` is the hub: every format is made from one and gives one back. `InterleavedCsc` is what the sparse engine
reads.
"""

from accelsim.formats.balance import prune_balanced, prune_magnitude
from accelsim.formats.bitmap import Bitmap
from accelsim.formats.codebook import Codebook, huffman_bits, huffman_lengths
from accelsim.formats.csr import Csr
from accelsim.formats.interleaved import InterleavedCsc
from accelsim.formats.matrix import Coo
from accelsim.formats.read import read_matrix
from accelsim.formats.runlength import RunLength
from accelsim.formats.size import Size
from accelsim.formats.structured import Blocks, NOfM

FORMATS: tuple[str, ...] = ("coo", "csr", "interleaved_csc", "bitmap", "run_length", "n_of_m", "blocks")
"""Names of the formats, as ``accelsim list formats`` shows them."""

__all__ = [
    "FORMATS", "Bitmap", "Blocks", "Codebook", "Coo", "Csr", "InterleavedCsc", "NOfM", "RunLength", "Size",
    "huffman_bits", "huffman_lengths", "prune_balanced", "prune_magnitude", "read_matrix",
]  # fmt: skip
