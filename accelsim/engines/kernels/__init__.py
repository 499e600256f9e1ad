"""Jitted kernels: arrays and integers in, counters out.

Each file stands alone (numpy, numba and the one decorator of `_jit`), because numba's cache does not
see an edit in another file. Importing a kernel file imports numba: do it only when an engine needs it.
"""
