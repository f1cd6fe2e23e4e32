"""What moves with the packets of a session: its deadline, what each side said last, and what each side sent.

Everything but the deadline is ten 64-bit words in one array: plain data of a fixed layout, as a kernel map would hold it. The
packet path writes single words. Everybody else reads all of it at once, through `progress_of`, and before acting on it: so
there is one place to bring in what somebody other than this shard has written.
"""

from array import array
from typing import NamedTuple, Protocol

from appliance.wire.seq import MASK as SEQ_MASK

Words = array  # of "Q", with SIDE_WORDS for each direction
SIDE_WORDS = 5

SIDES = tuple(tuple(range(start, start + SIDE_WORDS)) for start in (0, SIDE_WORDS))
"""Indexed by the Direction of the sender's packets: the places of `acked`, `next_seq`, `window`, `packets` and `bytes`."""

CLIENT_ACKED, *_ = SIDES[0]
RS_ACKED, RS_NEXT_SEQ, _RS_WINDOW, RS_PACKETS, _RS_BYTES = SIDES[1]

WORDS_BYTES = array("Q").itemsize * 2 * SIDE_WORDS

_FRESH = array("Q", bytes(WORDS_BYTES))


class Side(NamedTuple):
    """What one end said last, in its own numbers as its packets have them, and what it sent."""

    acked: int
    """Its last acknowledgement number. A RST towards it obeys only at exactly this number (RFC 5961, 3.2)."""
    next_seq: int
    """The number behind its last byte."""
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
    words: "array[int]"


def fresh_words(isn: int) -> "array[int]":
    """Of a session whose real server is shown `isn` as initial sequence number: nobody has said anything yet."""
    words = _FRESH[:]
    words[RS_ACKED] = isn
    return words


def progress_of(session: Moving) -> Progress:
    """All of it, at this moment."""
    words = session.words.tolist()
    return Progress(session.deadline, _side(words[:SIDE_WORDS]), _side(words[SIDE_WORDS:]))


def _side(words: list[int]) -> Side:
    acked, next_seq, window, packets, octets = words
    return Side(acked, next_seq & SEQ_MASK, window, packets, octets)
