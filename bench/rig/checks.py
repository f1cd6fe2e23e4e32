"""Checks that each mode is what it says. A comparison is worth nothing when the packets of one mode really go by another."""

import http.client
from collections.abc import Collection, Iterator

from bench.modes.mode import Mode
from bench.rig.counters import Snapshot, growth, snapshot
from bench.rig.servers import PEER_PATH
from bench.rig.topology import HTTP_PORT, BenchError, Site

REQUESTS_PER_SHARD = 16
"""Connections of the check, for each shard. With so many, a shard gets none by chance in one run of millions."""

REQUESTS_KEPT = 64
"""Requests of the check on a connection that stays, to each address."""

_TIMEOUT_S = 5.0


def check_mode(site: Site, mode: Mode, shards: int) -> None:
    """Send some requests and check that they went by this mode. Raises BenchError with everything that is wrong.

    Call it while the mode is opened and nothing else uses it.
    """
    before = snapshot(site)
    try:
        answers = [_ask(target) for _ in range(REQUESTS_PER_SHARD * shards) for target in mode.targets]
        between = snapshot(site)
        for target in mode.targets:
            answers += _ask_again_and_again(target)
    except (OSError, http.client.HTTPException) as error:
        raise BenchError(f"{mode.title}: no answer through {' or '.join(mode.targets)}: {error}") from error
    after = snapshot(site)
    kept = (f"{said} on connections that stay" for said in wrong_share(mode.kept_share, mode, between, after))
    wrong = [*wrong_answers(mode, answers), *wrong_counts(mode, shards, before, between), *kept]
    if wrong:
        raise BenchError(f"{mode.title} is not what it should be: {'; '.join(wrong)}")


def _ask(target: str) -> str:
    connection = http.client.HTTPConnection(target, HTTP_PORT, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", PEER_PATH, headers={"Connection": "close"})
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def _ask_again_and_again(target: str) -> Iterator[str]:
    connection = http.client.HTTPConnection(target, HTTP_PORT, timeout=_TIMEOUT_S)
    try:
        for _ in range(REQUESTS_KEPT):
            connection.request("GET", PEER_PATH)
            yield connection.getresponse().read().decode()
    finally:
        connection.close()


def wrong_answers(mode: Mode, answers: Collection[str]) -> Iterator[str]:
    """Where answers of real servers on PEER_PATH contradict the mode. An answer is a name, a space and the peer that was seen."""
    pairs = [answer.partition(" ") for answer in answers]
    if missing := {"rs1", "rs2"} - {name for name, _, _ in pairs}:
        yield f"{', '.join(sorted(missing))} got no request"
    if unexpected := {peer for _, _, peer in pairs} - set(mode.peers):
        yield f"a real server saw {', '.join(sorted(unexpected))}, not {' or '.join(mode.peers)}"


def wrong_counts(mode: Mode, shards: int, before: Snapshot, after: Snapshot) -> Iterator[str]:
    """Where the counters of the kernel contradict the mode, when short connections were made."""
    queued = {number: count.packets for number, count in growth(before.queues, after.queues).items() if count.packets}
    expected = set() if mode.queue_base is None else set(range(mode.queue_base, mode.queue_base + shards))
    if set(queued) != expected:
        yield f"packets went through queues {sorted(queued) or 'none'}, not {sorted(expected) or 'none'}"
    yield from wrong_share(mode.queued_share, mode, before, after)
    tracked = after.tracked - before.tracked
    if (tracked > 0) != mode.is_tracked:
        yield f"{max(tracked, 0)} connections were tracked by the kernel"


def wrong_share(share: tuple[float, float], mode: Mode, before: Snapshot, after: Snapshot) -> Iterator[str]:
    """Where a mode that uses queues had another share of the packets queued."""
    queued = sum(count.packets for count in growth(before.queues, after.queues).values())
    received = after.received - before.received
    least, most = share
    if mode.queue_base is not None and not least * received <= queued <= most * received:
        yield f"{queued} of the {received} packets that came in were queued"
