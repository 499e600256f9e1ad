"""Compressed networks: prune, factorize, cluster, quantize, encode; each pass takes a network and returns a new one."""
