"""What a session remembers for a while: its opening, a handshake with its real server, a challenge to its client, a late FIN."""

from typing import NamedTuple

from appliance.model.syn_offer import SynOffer

FIRST_WAIT_S = 1.0
"""RFC 6298, 2: when a SYN is sent again for the first time; each time after that it waits twice as long."""


class Handshake:
    """A proxied handshake whose real server has not answered the SYN."""

    __slots__ = ("held", "offer", "retries", "wait_s")

    def __init__(self, offer: SynOffer) -> None:
        self.offer = offer
        """What the client offered in its SYN."""
        self.held: list[bytes] = []
        """The client's packets, to be sent on in their order."""
        self.retries = 0
        """How often the SYN was sent again."""
        self.wait_s = FIRST_WAIT_S
        """How long after the last SYN the next one is sent."""


class Opening:
    """A TCP session until its client has acknowledged the real server's first byte, or the real server a byte of its client."""

    __slots__ = ("client_option", "handshake", "is_held_against", "is_resent", "rs_first_seq", "stale_answers", "syn")

    def __init__(self) -> None:
        self.client_option = b""
        """The client-address option; empty until it is needed for the first time."""
        self.syn: bytes | None = None
        """The SYN as the real server got it, until it answers: it may have to be sent again, behind a RST to an old socket."""
        self.handshake: Handshake | None = None
        """Of a proxied session whose real server has not answered."""
        self.rs_first_seq: int | None = None
        """The number of the real server's first byte, as the client sees it; None until the real server's SYN-ACK was seen."""
        self.stale_answers = 0
        """How often the real server answered for an older connection."""
        self.is_held_against = False
        """Whether it counts as an error of the real server already, see `server_errors`."""
        self.is_resent = False
        """Whether the SYN was sent once more because of that, after a pause."""


class Challenge:
    """A new SYN on an established session, held until the client proves that it has forgotten that session (RFC 5961, 4)."""

    __slots__ = ("ack", "syn", "until")

    def __init__(self, syn: bytes, ack: int, until: float) -> None:
        self.syn = syn
        self.ack = ack
        """The acknowledgement number that the client was sent: a RST with exactly this number is the proof."""
        self.until = until
        """When the next challenge may be sent, in seconds of the monotonic clock."""


class LateFin(NamedTuple):
    """A FIN that was passed on while data that precedes it was missing here. The end it was for may have that data already."""

    direction: int
    """Of the FIN."""
    end: int
    """The number behind the FIN, as its sender counts, modulo 2**32."""
