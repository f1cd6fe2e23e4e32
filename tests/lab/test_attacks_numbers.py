"""What a real server is shown of a session, and what a stranger would have to guess: local ports (RFC 6056) and initial sequence
numbers (RFC 6528)."""

from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

import dpkt
import pytest

from appliance.nat.isn import LEAST_STEP
from tests.lab.capture import Capture, Captured
from tests.lab.conftest import RunningLab, running_lab

CONNECTIONS = 240
SHARDS = 2
CIRCLE = 1 << 32
TICKS_PER_S = 15_625_000
"""The clock in a first sequence number; see `nat.isn`."""

ENDS_AND_NUMBER = slice(12, 28)
"""Addresses, ports and sequence number of a segment: a SYN that is sent again, on a slow machine, has the same."""

NEAR = 16
"""Ports of one shard and pool that are handed out one after the other count as near each other up to this many steps."""


@pytest.fixture
def syns() -> Iterator[dict[bytes, list[Captured]]]:
    """The SYNs that the first real server gets for many connections, in order, by local address."""
    for lab in running_lab("--shards", str(SHARDS)):
        yield _syns_of(lab)


def _syns_of(lab: RunningLab) -> dict[bytes, list[Captured]]:
    found = defaultdict(list)
    with Capture(lab, "rs1") as capture:
        result = lab.script("client", "http_load.py", str(CONNECTIONS), "1")
        assert (result["ok"], result["errors"]) == (CONNECTIONS, {})
        once = {packet.raw[ENDS_AND_NUMBER]: packet for packet in capture.take_arrived() if packet.flags == dpkt.tcp.TH_SYN}
        for packet in once.values():
            found[packet.raw[12:16]].append(packet)
    assert sum(map(len, found.values())) >= CONNECTIONS // 2 - 1, "half of the connections are the first real server's"
    return found


def test_the_next_port_and_number_are_not_foreseen_from_those_before(syns: dict[bytes, list[Captured]]) -> None:
    """Ports handed out in sequence would nearly all be near the one before. Numbers that were only a clock would nearly all be
    ahead of the one before, by no more than the time that has passed."""
    for packets in syns.values():
        ports = [packet.source_port for packet in packets]
        assert all(one != next_one for one, next_one in pairwise(ports)), "a port rests before it comes again"
        assert_numbers_grow(packets)
        pairs = len(ports) - 1
        near = sum(abs(after - before) <= NEAR * SHARDS for before, after in pairwise(ports))
        assert near * 4 < pairs, f"{near} of {pairs} ports were near the one before"
        numbers = [packet.seen.seq for packet in packets]
        # The test takes some seconds: 10 s of the clock are far more, and a small part of the circle.
        foreseen = sum((after - before) % CIRCLE < 10 * TICKS_PER_S for before, after in pairwise(numbers))
        assert foreseen * 4 < pairs, f"{foreseen} of {pairs} numbers followed the one before like a clock"
        assert len(set(numbers)) == len(numbers)


def assert_numbers_grow(packets: list[Captured]) -> None:
    """Check that the number of each port that comes again lies beyond all that its real server may have seen."""
    last = dict[int, int]()
    for packet in packets:
        before, seq = last.get(packet.source_port), packet.seen.seq
        assert before is None or LEAST_STEP <= (seq - before) % CIRCLE < CIRCLE // 2
        last[packet.source_port] = seq
