"""Checks that each way is what it says. A comparison is worth nothing when the packets of one way really go another."""

import http.client
from collections.abc import Collection, Iterator

from bench.rig.counters import Snapshot, growth, snapshot
from bench.rig.servers import PEER_PATH
from bench.rig.topology import HTTP_PORT, BenchError, Site
from bench.rig.ways import Way

REQUESTS_PER_SHARD = 16
"""Connections of the check, for each shard. With so many, a shard gets none by chance in one run of millions."""

_TIMEOUT_S = 5.0
_LEAST_QUEUED_SHARE = 0.9  # of all packets that came in: a few may be ARP, which is not queued


def check_way(site: Site, way: Way, shards: int) -> None:
    """Send some requests and check that they went this way. Raises BenchError with everything that is wrong.

    Call it while the way is opened and nothing else uses it.
    """
    before = snapshot(site)
    try:
        answers = [_ask(target) for _ in range(REQUESTS_PER_SHARD * shards) for target in way.targets]
    except (OSError, http.client.HTTPException) as error:
        raise BenchError(f"{way.title}: no answer through {' or '.join(way.targets)}: {error}") from error
    after = snapshot(site)
    wrong = [*wrong_answers(way, answers), *wrong_counts(way, shards, before, after)]
    if wrong:
        raise BenchError(f"{way.title} is not what it should be: {'; '.join(wrong)}")


def _ask(target: str) -> str:
    connection = http.client.HTTPConnection(target, HTTP_PORT, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", PEER_PATH, headers={"Connection": "close"})
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def wrong_answers(way: Way, answers: Collection[str]) -> Iterator[str]:
    """Where answers of real servers on PEER_PATH contradict the way. An answer is a name, a space and the peer that was seen."""
    pairs = [answer.partition(" ") for answer in answers]
    if missing := {"rs1", "rs2"} - {name for name, _, _ in pairs}:
        yield f"{', '.join(sorted(missing))} got no request"
    if unexpected := {peer for _, _, peer in pairs} - set(way.peers):
        yield f"a real server saw {', '.join(sorted(unexpected))}, not {' or '.join(way.peers)}"


def wrong_counts(way: Way, shards: int, before: Snapshot, after: Snapshot) -> Iterator[str]:
    """Where the counters of the kernel contradict the way."""
    queued = {number: count.packets for number, count in growth(before.queues, after.queues).items() if count.packets}
    expected = set() if way.queue_base is None else set(range(way.queue_base, way.queue_base + shards))
    if set(queued) != expected:
        yield f"packets went through queues {sorted(queued) or 'none'}, not {sorted(expected) or 'none'}"
    received = after.received - before.received
    if expected and sum(queued.values()) < _LEAST_QUEUED_SHARE * received:
        yield f"only {sum(queued.values())} of the {received} packets that came in were queued"
    tracked = after.tracked - before.tracked
    if (tracked > 0) != way.is_tracked:
        yield f"{max(tracked, 0)} connections were tracked by the kernel"
