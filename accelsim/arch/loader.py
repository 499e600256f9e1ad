"""Finds and reads architecture files."""

from __future__ import annotations

import hashlib
import json

from accelsim.arch.nodes import system_of
from accelsim.arch.spec import Architecture
from accelsim.yaml_io import Document, validate


def read_architecture(document: Document) -> Architecture:
    """Validate ``document``; raises `InputError` with every fault and its place."""
    digest = hashlib.sha256(json.dumps(document.data, sort_keys=True, default=str).encode()).hexdigest()
    arch = system_of(validate(document, Architecture))
    arch._sha256, arch._origin = digest, document
    return arch
