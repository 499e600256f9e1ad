"""The machines: one room an engine; kernels/ are jitted, reference/ are their plain twins."""
