"""What moves with the packets of a session: its deadline, what each side said last, and what each side sent.

Everything but the deadline is ten 64-bit words: plain data of a fixed layout, as the kernel's table of sessions holds it. The
words of a session in that table lie there, so what the kernel writes is what Python reads. The packet path writes single words.
Everybody else reads all of them at once, through `progress_of`.
"""

from array import array
from typing import NamedTuple, Protocol, TypeAlias

from appliance.wire.layout import FIN, FLAG_BITS, SYN
from appliance.wire.seq import MASK as SEQ_MASK

Words: TypeAlias = "array[int] | memoryview[int]"
"""Of 64 bits each, SIDE_WORDS for each direction: an array of its own, or a view of the session's record in the lane's table."""

SIDE_WORDS = 5

SIDES = tuple((*range(start, start + SIDE_WORDS), (start + SIDE_WORDS) % (2 * SIDE_WORDS) + 1) for start in (0, SIDE_WORDS))
"""Indexed by the Direction of the sender's packets: the places of its `acked`, `next_seq`, `window`, `packets` and `bytes`, and
of the other side's `next_seq`, beyond which it cannot acknowledge anything."""

CLIENT_ACKED, CLIENT_NEXT_SEQ, *_ = SIDES[0]
RS_ACKED, RS_NEXT_SEQ, _RS_WINDOW, RS_PACKETS, *_ = SIDES[1]

CONSUMES = bytes(bool(flags & (SYN | FIN)) for flags in range(FLAG_BITS + 1))
"""By the six flags of a segment: how many sequence numbers it takes beside those of its data. No segment has both SYN and FIN."""

SENT_REACH = 1 << 30
"""How far ahead of all that was sent before a segment may end: the largest window there is (RFC 7323, 2.3)."""

OLD_ACK_REACH = 1 << 16
"""How far behind its sender's last one the acknowledgement of a segment may be that was overtaken on its way (RFC 5961, 5)."""

WORDS_BYTES = array("Q").itemsize * 2 * SIDE_WORDS

_FRESH = array("Q", bytes(WORDS_BYTES))


class Side(NamedTuple):
    """What one end said last, in its own numbers as its packets have them, and what it sent.

    Only segments with an acknowledgement that can be right change the first three (RFC 5961, 5): somebody who cannot see the
    connection would have to guess that number.
    """

    acked: int
    """Its last acknowledgement number. It accepts a RST only at exactly this number (RFC 5961, 3.2)."""
    next_seq: int
    """The number behind the last byte it has sent, FIN included."""
    window: int
    """As it stood in its packet, not scaled."""
    packets: int
    bytes: int
    """Of whole IP packets."""


class Progress(NamedTuple):
    """The state of all that moves, at one moment."""

    deadline: float
    """When the session ends unless a packet comes, in seconds of the monotonic clock."""
    client: Side
    real_server: Side


class Moving(Protocol):
    """What `progress_of` reads of a session."""

    deadline: float

    @property
    def words(self) -> Words: ...


def fresh_words(client_isn: int, isn: int) -> "array[int]":
    """The words of a session whose client begins at `client_isn`, for which its real server is shown `isn`, after the SYN."""
    words = _FRESH[:]
    words[CLIENT_NEXT_SEQ] = client_isn + 1
    words[RS_ACKED] = isn
    return words


def is_acceptable_ack(words: Words, direction: int, ack: int, ack_delta: int) -> bool:
    """Whether an acknowledgement can be from the sender of packets of this direction (RFC 5961, 5): it is for something that the
    other side has sent, and not much older than the sender's last one. `ack_delta` is that of the direction's rewrite record."""
    side = SIDES[direction]
    oldest = words[side[0]] - OLD_ACK_REACH
    newest = words[side[SIDE_WORDS]] - ack_delta
    return bool((ack - oldest) & SEQ_MASK <= (newest - oldest) & SEQ_MASK)


def progress_of(session: Moving) -> Progress:
    """All of it, at this moment."""
    words = session.words.tolist()
    return Progress(session.deadline, _side(words[:SIDE_WORDS]), _side(words[SIDE_WORDS:]))


def _side(words: list[int]) -> Side:
    acked, next_seq, window, packets, octets = words
    return Side(acked, next_seq & SEQ_MASK, window, packets, octets)
