"""How a layer is laid onto hardware: loop nests, tiling, unrolling, order; what is legal; a good choice."""
