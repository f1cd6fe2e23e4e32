"""The options of a client's SYN that a SYN cookie can remember, and what the SYN-ACK offers in return."""

from typing import NamedTuple


class SynOffer(NamedTuple):
    """What a client offers in its SYN: its MSS in bytes; the shift of its windows (RFC 7323), 0..14, or None when it does not
    scale them; and whether it understands selective acknowledgements.
    """

    mss: int
    scale: int | None
    sack: bool


class AnswerTerms(NamedTuple):
    """What the tunables allow in an answer with a cookie: the largest MSS in bytes (0 for no limit), window scaling, selective
    acknowledgements and the IP TTL; and how many packets of a client a session holds while its real server is asked.
    """

    most_mss: int
    scale: bool
    sack: bool
    ttl: int
    held_packets: int
