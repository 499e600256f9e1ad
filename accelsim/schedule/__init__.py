"""Tile operations with their dependencies, as arrays."""
