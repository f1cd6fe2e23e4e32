"""Hypothesis profiles: `fast` on every run, `deep` for a long night (HYPOTHESIS_PROFILE=deep)."""

import os

from hypothesis import HealthCheck, settings

_SLOW_MACHINE = (HealthCheck.too_slow,)
"""Shared build machines stall; that is no property of the code."""

settings.register_profile("fast", max_examples=100, deadline=None, suppress_health_check=_SLOW_MACHINE)
settings.register_profile("deep", max_examples=20_000, deadline=None, suppress_health_check=_SLOW_MACHINE)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))
