"""Plain-Python twins of the kernels: every register stepped as one would draw it. Slow, but plain."""
