"""Layer names that command lines, YAML keys, file names and ``name.port`` references all take."""

from __future__ import annotations

import re


def clean_name(text: str) -> str:
    """``"/layer1/layer1.0/conv1/Conv"`` -> ``"layer1_layer1_0_conv1_Conv"``; empty where nothing is left."""
    return re.sub(r"[^A-Za-z0-9_-]+", "_", text).strip("_")


class NameTable:
    """Hands out each name once: a name asked for again gets ``_2``, ``_3``, ..."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._next: dict[str, int] = {}

    def release(self, name: str) -> None:
        """Take back a name that was handed out for nothing."""
        self._taken.discard(name)

    def unique(self, text: str, otherwise: str) -> str:
        """A clean name made from ``text``, or from ``otherwise`` where ``text`` has no usable character."""
        base = clean_name(text) or clean_name(otherwise) or "layer"
        name = base
        while name in self._taken:
            self._next[base] = self._next.get(base, 1) + 1
            name = f"{base}_{self._next[base]}"
        self._taken.add(name)
        return name
