"""neighbours.py on a kernel that the test plays."""

import socket
import struct

import pytest

from appliance.edge import neighbours
from appliance.edge.errors import EdgeError
from appliance.edge.rtnetlink import attribute
from tests.support.rtnetlink_kernel import DONE, INTERRUPTED, play, told

INCOMPLETE, REACHABLE, FAILED = 1, 2, 0x20


def neighbour(address: str, state: int) -> bytes:
    return told(28, 0, struct.pack("=BxxxiHBB", socket.AF_INET, 3, state, 0, 1) + attribute(1, socket.inet_aton(address)))


def test_those_that_do_not_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    table = [
        neighbour("10.0.0.1", REACHABLE) + neighbour("10.0.0.2", FAILED),
        neighbour("10.0.0.3", INCOMPLETE) + neighbour("10.0.0.4", FAILED) + told(DONE, 0, bytes(4)),
    ]
    play(monkeypatch, lambda *_: table)
    assert neighbours.failed() == {"10.0.0.2", "10.0.0.4"}


def test_a_table_that_changes_whenever_it_is_read(monkeypatch: pytest.MonkeyPatch) -> None:
    play(monkeypatch, lambda _, number, __: [told(DONE, number, bytes(4), INTERRUPTED)])
    with pytest.raises(EdgeError, match="has changed"):
        neighbours.failed()
