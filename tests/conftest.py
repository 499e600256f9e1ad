"""What every test shares: hypothesis without deadlines (a first call compiles), reproducible where ``CI`` is set.

``tests/support`` holds helper modules; this lets tests import them, wherever pytest is started.
"""

import importlib.util
import os
import sys
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings


def pytest_report_header() -> str:
    """Which accelsim is tested: the installed one, unless PYTHONPATH or an editable install names the checkout."""
    spec = importlib.util.find_spec("accelsim")
    return f"accelsim: {spec.origin if spec else 'not installed'}"


def pytest_terminal_summary(terminalreporter: Any) -> None:
    """How many of ONNX's own node tests run, which a test keeps from falling."""
    from node_list import summary

    terminalreporter.write_line(summary())


settings.register_profile(
    "accelsim",
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("few", settings.get_profile("accelsim"), max_examples=10)
settings.load_profile("accelsim")
sys.path.insert(0, str(Path(__file__).parent / "support"))
