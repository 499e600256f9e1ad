"""Are the figures of some small runs what they were? ``python scripts/regenerate_goldens.py`` rewrites them."""

from __future__ import annotations

import importlib.util
import sys
from types import ModuleType

import pytest
from builders import ROOT


def _script() -> ModuleType:
    spec = importlib.util.spec_from_file_location("regenerate_goldens", ROOT / "scripts" / "regenerate_goldens.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


SCRIPT = _script()


@pytest.mark.parametrize("name", SCRIPT.RUNS)
def test_a_run_is_what_it_was(name: str) -> None:
    lines = SCRIPT.difference(name, SCRIPT.golden_text(name))
    assert not lines, f"{lines}\n\nif this is right: python scripts/regenerate_goldens.py, and say why in the commit"


def test_every_golden_belongs_to_a_run_and_holds_no_provenance() -> None:
    files = sorted(SCRIPT.FOLDER.glob("*.json"))
    assert [path.stem for path in files] == sorted(SCRIPT.RUNS)
    assert not any('"provenance"' in path.read_text() for path in files)
