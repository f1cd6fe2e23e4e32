"""What a trace says of one packet, and how that goes from a worker to the director. Pure.

A trace is a query of the kind TRACE. Each of its pieces has the packets since the piece before: first the number of those that
were left out because too many came, then one list for each packet.
"""

from base64 import b64decode, b64encode
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

CLIENT, SERVER, OTHER = "client", "server", "other"
"""Who has sent a packet: a client, a real server, or somebody else, who sends an ICMP error about a packet."""


class Snap(NamedTuple):
    """A packet, or the beginning of one."""

    data: bytes
    """From the IP header on, as much as was wanted."""
    whole_bytes: int
    """How long the packet was."""


class Traced(NamedTuple):
    """One packet that was judged."""

    at_s: float
    """When it was judged, in seconds of the monotonic clock."""
    sender: str
    """CLIENT, SERVER or OTHER."""
    reason: str
    """The name of its verdict, or what the kernel dropped it for."""
    packet: Snap
    """As it came."""
    after: Snap | None
    """As it went on, when it was rewritten."""
    own: tuple[Snap, ...]
    """Packets of the appliance's own that were sent because of it."""


def piece_items(left_out: int, packets: Iterable[Traced]) -> list[Any]:
    """The items of a piece of a trace, fit for JSON."""
    return [left_out, *(_as_json(packet) for packet in packets)]


def read_piece(items: list[Any]) -> tuple[int, list[Traced]]:
    """How many packets were left out, and the packets. Raises ValueError or TypeError for items that are no piece of a trace."""
    left_out, *packets = items
    if type(left_out) is not int:
        raise TypeError(f"left_out is {left_out!r}")
    return left_out, [_from_json(*packet) for packet in packets]


def _as_json(packet: Traced) -> list[Any]:
    snaps = [_snap_as_json(snap) for snap in (packet.packet, packet.after or Snap(b"", 0), *packet.own)]
    return [packet.at_s, packet.sender, packet.reason, snaps]


def _from_json(at_s: float, sender: str, reason: str, snaps: list[tuple[str, int]]) -> Traced:
    packet, after, *own = (Snap(b64decode(data, validate=True), int(whole_bytes)) for data, whole_bytes in snaps)
    return Traced(float(at_s), str(sender), str(reason), packet, after if after.whole_bytes else None, tuple(own))


def _snap_as_json(snap: Snap) -> list[Any]:
    return [b64encode(snap.data).decode(), snap.whole_bytes]


class TraceRow(NamedTuple):
    """One packet of a trace, of whichever shard."""

    shard: int | None
    """None: the rules of the kernel have dropped it, so no shard has seen it."""
    at_s: float
    """Seconds since the epoch."""
    packet: Traced


class Change(NamedTuple):
    """What shards go by from a moment on, as far as that has changed, or that sessions were ended."""

    at_s: float
    """Seconds since the epoch."""
    what: Mapping[str, Any]
    """Fit for JSON; see `config.in_force`."""


class TraceBatch(NamedTuple):
    """What a trace has found in the last moment."""

    rows: list[TraceRow]
    """In the order of time."""
    left_out: int
    """How many more packets there were; too many came."""
    notes: list[str]
    """Why packets may be missing, a sentence each; each is said once."""
    changes: Sequence[Change] = ()
    """In the order of time."""
