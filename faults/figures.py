"""What a fault did, in figures made from what the clients noted. Pure.

Three times matter: the fault begins at `began`; its cause is gone at `over`, which is the same moment for a kill; the clients
stop at `ended`. Recovery is counted from `over`.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from appliance.policy.steering import shard_of_local_port, shard_table
from faults.records import ANSWERED, CORRUPTED, Exchange, Record, Stream

SLOW_S = 0.9
"""An exchange that took as long had to send its SYN again, so the service was away when it began."""

SILENT = "silent"
"""How a stream ended that is open, and gets nothing."""

MOVES_S = 3.0
"""A stream that got a byte in the last seconds before the end is not silent. A busy machine stops everybody for one of them."""


class Times(NamedTuple):
    """When the fault began, when its cause was gone, and when the clients stopped."""

    began: float
    over: float
    ended: float


class Hit(NamedTuple):
    """The streams that a fault concerns: those of these shards, and of these real servers; None stands for all."""

    shards: Collection[int] | None = None
    servers: Collection[str] | None = None

    def concerns(self, stream: Stream, shards: int) -> bool:
        """Whether the stream is one of them, in a gateway with so many shards."""
        shard = shard_of_local_port(shard_table(shards), stream.local_port)
        return (self.shards is None or shard in self.shards) and (self.servers is None or stream.server in self.servers)


ALL = Hit()
NOBODY = Hit(shards=())


class Exchanges(NamedTuple):
    """What became of the exchanges that began since the fault.

    `back_s`: after `over`, until the first from which on all were good; None when the last ones were not.
    """

    begun: int
    failed: dict[str, int]
    """By outcome."""
    slow: int
    back_s: float | None

    @property
    def failures(self) -> int:
        """How many failed."""
        return sum(self.failed.values())


class Figures(NamedTuple):
    """All figures of one fault.

    `lost` has the streams that ended or fell silent, by how; `lost_elsewhere` those of them that the fault does not concern;
    `told_s` is when the last client of one that ended knew it, since the fault began. `longest_gap_s` and `established_back_s`
    are about the streams that were not lost.
    """

    streams: int
    concerned: int
    lost: dict[str, int]
    lost_elsewhere: int
    told_s: float
    longest_gap_s: float
    established_back_s: float
    connections: Exchanges
    datagrams: Exchanges
    held_datagrams: Exchanges
    corrupted: int
    right_bytes: int

    @property
    def losses(self) -> int:
        """How many streams were lost."""
        return sum(self.lost.values())


def figures(record: Record, times: Times, hit: Hit, shards: int, corrupted_at_servers: int = 0) -> Figures:
    """The figures of a fault that concerns the streams of `hit`."""
    endings = [(stream, ending(stream, times)) for stream in record.streams]
    lost = [(stream, how) for stream, how in endings if how]
    kept = [stream for stream, how in endings if not how]
    gaps = [gap for stream in kept for gap in stream.gaps if gap.ended > times.began]
    exchanged = (record.connections, record.datagrams, record.held_datagrams)
    connections, datagrams, held = (exchanges(some, times) for some in exchanged)
    wrong = sum(one.outcome == CORRUPTED for some in exchanged for one in some)
    return Figures(
        streams=len(record.streams),
        concerned=sum(hit.concerns(stream, shards) for stream in record.streams),
        lost=dict(Counter(how for _, how in lost)),
        lost_elsewhere=sum(not hit.concerns(stream, shards) for stream, _ in lost),
        told_s=max((stream.ended_at - times.began for stream, _ in lost if stream.how_it_ended), default=0.0),
        longest_gap_s=max((gap.length_s for gap in gaps), default=0.0),
        established_back_s=max((gap.ended - times.over for gap in gaps if gap.began < times.over < gap.ended), default=0.0),
        connections=connections,
        datagrams=datagrams,
        held_datagrams=held,
        corrupted=wrong + corrupted_at_servers + sum(how == CORRUPTED for _, how in lost),
        right_bytes=sum(stream.right_bytes for stream in record.streams),
    )


def ending(stream: Stream, times: Times) -> str:
    """How a stream was lost; empty when it was not."""
    if stream.how_it_ended:
        return stream.how_it_ended
    return "" if stream.last_progress >= times.ended - MOVES_S else SILENT


def exchanges(some: Iterable[Exchange], times: Times) -> Exchanges:
    """The figures of one kind of exchanges."""
    since = sorted((one for one in some if one.began >= times.began), key=lambda one: one.began)
    slow = sum(one.took_s >= SLOW_S for one in since if one.outcome == ANSWERED)
    failed = Counter(one.outcome for one in since if one.outcome != ANSWERED)
    return Exchanges(len(since), dict(failed), slow, _back_s(since, times.over))


def _is_good(one: Exchange) -> bool:
    return one.outcome == ANSWERED and one.took_s < SLOW_S


def _back_s(since: Sequence[Exchange], over: float) -> float | None:
    bad = [place for place, one in enumerate(since) if not _is_good(one)]
    if not bad:
        return 0.0
    if bad[-1] + 1 == len(since):
        return None
    return max(0.0, since[bad[-1] + 1].began - over)


def sum_of(counts: Mapping[str, int]) -> str:
    """Counts by word, as a list, most first: "7 no answer, 2 reset"."""
    return ", ".join(f"{number} {word}" for word, number in sorted(counts.items(), key=lambda item: (-item[1], item[0])))
