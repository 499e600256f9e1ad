"""What every test shares: hypothesis without deadlines (a first call compiles), reproducible where ``CI`` is set.

``tests/support`` holds helper modules; this lets tests import them, wherever pytest is started.
"""

import os
import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

settings.register_profile(
    "accelsim",
    deadline=None,
    derandomize="CI" in os.environ,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("accelsim")
sys.path.insert(0, str(Path(__file__).parent / "support"))
