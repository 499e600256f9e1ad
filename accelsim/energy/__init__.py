"""Counts -> picojoules, from tables with their sources."""
