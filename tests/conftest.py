"""What holds for all tests.

Assertions in the helpers of tests say which values they compared, as those in tests do. Hypothesis has two profiles: `fast` on
every run, `deep` for a long night (HYPOTHESIS_PROFILE=deep).
"""

import gc
import os
from itertools import count

import pytest
from aiohttp import web_app
from hypothesis import HealthCheck, settings

pytest.register_assert_rewrite("tests.support", "tests.lab")

LANE_WORDS = {"on": "required", "off": "off"}
"""What --lane says -> gateway.lane in the labs of tests. With the lane on, a lab without one is an error and no way out."""


def pytest_addoption(parser: pytest.Parser) -> None:
    """Say whether the tests on real packets run with the lane."""
    parser.addoption(
        "--lane",
        choices=[*LANE_WORDS],
        default=os.environ.get("LANE", "on"),
        help="whether labs have a lane (default: LANE, or on)",
    )
    parser.addoption(
        "--full-size",
        action="store_true",
        help="20,000 real servers in tests/lab/test_many_services.py, a gibibyte for each transfer of test_loss.py",
    )


@pytest.fixture(scope="session")
def full_size(request: pytest.FixtureRequest) -> bool:
    """Whether --full-size was said."""
    return bool(request.config.getoption("--full-size"))


def pytest_configure(config: pytest.Config) -> None:
    """Let the labs know."""
    os.environ["LANE"] = config.getoption("--lane")


_TESTS_BETWEEN_COLLECTIONS = 100
_finished = count(1)


def pytest_runtest_logfinish() -> None:
    """Give back what tests have left behind: a stand-in of a gateway has a megabyte of shared memory, and aiohttp remembers the
    middlewares of the last thousand applications. Without this, all tests in one process would take gigabytes."""
    if next(_finished) % _TESTS_BETWEEN_COLLECTIONS == 0:
        web_app._cached_build_middleware.cache_clear()
        gc.collect()


_SLOW_MACHINE = (HealthCheck.too_slow,)
"""Shared build machines stall; that is no property of the code."""

settings.register_profile("fast", max_examples=100, deadline=None, suppress_health_check=_SLOW_MACHINE)
settings.register_profile("deep", max_examples=20_000, deadline=None, suppress_health_check=_SLOW_MACHINE)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "fast"))
