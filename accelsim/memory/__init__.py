"""Transfers, buffers and DRAM."""
