"""fair_queue.py: flows have their turns, and the packets of one flow keep their order."""

from collections.abc import Iterator
from itertools import count

from appliance.worker.fair_queue import BUCKETS, FairQueue
from tests.support.addresses import CLIENT, VIP
from tests.support.segments import tcp


def flows(number: int) -> list[bytes]:
    """A packet of each of so many flows, no two of which share a bucket: the hash is another in each process."""
    found: dict[int, bytes] = {}
    for port in count(1024):
        raw = tcp(CLIENT[:4] + port.to_bytes(2, "big"), VIP, "A")
        found.setdefault(hash(raw[12:24]) % BUCKETS, raw)
        if len(found) == number:
            return list(found.values())
    raise AssertionError


def taken(queue: FairQueue[str]) -> Iterator[str]:
    """All items, in the order in which they come out."""
    return (item for item, _ in queue.take(len(queue)))


def test_a_small_flow_does_not_wait_for_a_bulk_stream() -> None:
    queue, (bulk, small) = FairQueue[str](), flows(2)
    for number in range(100):
        queue.put(f"bulk {number}", bulk)
    queue.put("small", small)
    assert list(taken(queue)) == ["bulk 0", "small", *(f"bulk {number}" for number in range(1, 100))]


def test_packets_of_a_flow_keep_their_order_also_when_it_was_empty_meanwhile() -> None:
    queue, (one, other) = FairQueue[str](), flows(2)
    queue.put("one 0", one)
    queue.put("other 0", other)
    assert next(queue.take(2)) == ("one 0", one), "what is not asked for stays"
    queue.put("one 1", one)
    queue.put("other 1", other)
    queue.put("one 2", one)
    assert list(taken(queue)) == ["other 0", "one 1", "other 1", "one 2"]


def test_it_knows_how_many_wait() -> None:
    queue, (one, other) = FairQueue[str](), flows(2)
    assert len(queue) == 0
    for raw in (one, one, other):
        queue.put("", raw)
    assert len(queue) == 3
    list(taken(queue))
    assert len(queue) == 0
    assert list(queue.take(1)) == []


def test_a_packet_that_has_no_ports_waits_as_well() -> None:
    queue = FairQueue[str]()
    queue.put("cut short", b"E\0")
    assert list(queue.take(1)) == [("cut short", b"E\0")]
