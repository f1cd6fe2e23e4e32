"""What a client says of itself in its SYN, as far as a SYN cookie can remember it, and what it is offered in return."""

from typing import NamedTuple


class SynOffer(NamedTuple):
    """`mss` in bytes; `scale` is the window shift (RFC 7323), 0..14, None when the client does not scale its windows."""

    mss: int
    scale: int | None
    sack: bool


class AnswerTerms(NamedTuple):
    """What clients are offered, by the tunables. `most_mss` in bytes, 0 for no limit; `held_packets` is what a session stores."""

    most_mss: int
    scale: bool
    sack: bool
    ttl: int
    held_packets: int
