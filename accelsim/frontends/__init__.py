"""Readers: network YAML, ONNX, SCALE-Sim, matrices -> Network."""
