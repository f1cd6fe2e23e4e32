"""The slow and obvious versions, against values that are written down elsewhere."""

import dpkt
from hypothesis import given
from hypothesis import strategies as st

from tests.support.oracle import ListOfTimers, rfc1071_checksum


def test_the_example_of_rfc_1071() -> None:
    """RFC 1071, 3: the sum of these eight bytes is ddf2."""
    assert rfc1071_checksum(bytes.fromhex("0001 f203 f4f5 f6f7")) == 0xFFFF - 0xDDF2


@given(st.binary(max_size=100))
def test_dpkt_finds_the_same_checksum(data: bytes) -> None:
    assert rfc1071_checksum(data) == int(dpkt.in_cksum(data))


def test_a_deadline_is_due_from_its_moment_on() -> None:
    timers = ListOfTimers()
    timers.deadlines.update(early=1.0, late=2.0)
    assert timers.due(0.5) == set()
    assert timers.due(1.0) == {"early"}
    assert timers.due(3.0) == {"early", "late"}
