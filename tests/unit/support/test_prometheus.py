"""tests/support/prometheus.py: a test without the program is skipped with a reason, and fails no one."""

import pytest

from tests.support.prometheus import program


def test_a_program_of_the_machine_is_found() -> None:
    assert program("sh").endswith("/sh")


def test_without_the_program_a_test_is_skipped_and_says_how_to_get_it() -> None:
    with pytest.raises(pytest.skip.Exception, match="make prometheus"):
        program("no-such-program")
