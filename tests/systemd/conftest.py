"""A systemd with units takes much of a machine, and says itself how long its units may take: no other test runs beside it."""

from pathlib import Path

import pytest

_HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests of this directory."""
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.alone)
