"""The programs of Prometheus, for the tests that check with them what Prometheus would say."""

import shutil
from pathlib import Path

import pytest

UNPACKED = Path(__file__).parents[2] / "build" / "prometheus" / "usr" / "bin"
"""Where `make prometheus` puts them. It installs nothing."""


def program(name: str) -> str:
    """The path of a program: the one that was unpacked here, else that of the machine. The test is skipped without either."""
    found = shutil.which(name, path=UNPACKED) or shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is neither in {UNPACKED} nor installed: `make prometheus` unpacks it")
    return found


def promtool() -> str:
    """The path of promtool."""
    return program("promtool")
