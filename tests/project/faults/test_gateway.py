"""gateway.py: what the log says of a reload."""

import pytest

from faults.gateway import reload_outcome

START = "2026-11-26 04:26:12,757 "
TAKEN = f"{START}INFO    appliance.director: configuration read again, changes: 1\n"
REFUSED = f"{START}ERROR   appliance.director: reload refused, nothing has changed\n"
OTHER = f"{START}INFO    appliance.steering: configuration read again by somebody else\n"


@pytest.mark.parametrize(
    ("log", "outcome"),
    [
        ("", ""),
        (OTHER, ""),
        (OTHER + TAKEN, "configuration read again, changes: 1"),
        (OTHER + REFUSED + OTHER, "reload refused, nothing has changed"),
    ],
)
def test_the_outcome_of_a_reload(log: str, outcome: str) -> None:
    assert reload_outcome(log) == outcome


@pytest.mark.parametrize("cut", range(1, len(TAKEN)))
def test_a_line_that_is_read_while_it_is_written_counts_when_it_is_whole(cut: int) -> None:
    assert not reload_outcome(OTHER + TAKEN[:cut])
