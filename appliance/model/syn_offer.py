"""The options of a client's SYN that a SYN cookie can remember, and what the SYN-ACK offers in return."""

from collections.abc import Callable
from typing import NamedTuple, Self

from appliance.wire.layout import IP_HEADER_BYTES, TCP_HEADER_BYTES

LEAST_MSS = 88
"""An MSS is not lowered below this, the least that Linux uses. A real server that names a smaller one gets that."""

CLIENT_OPTION_BYTES = 8
"""What the client-address option takes of a segment (see `nat.toa`)."""

COOKIES_WHEN_FULL = 1
"""The value of tcp_syncookies with which services in "auto" answer with cookies while their backlog is full."""

ALWAYS_COOKIES = 2
"""The value of tcp_syncookies with which services in "auto" answer every SYN with a cookie."""

_MOST_TTL = 255


def modes_with_cookies(syncookies: int) -> tuple[str, ...]:
    """The modes of SYNPROXY, as services have them, in which each SYN is answered with a cookie at this tcp_syncookies."""
    return ("always", "auto") if syncookies == ALWAYS_COOKIES else ("always",)


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

    @classmethod
    def of(cls, tunable: Callable[[str], int]) -> Self:
        """Those of these tunables; `tunable` gives the value of each."""
        return cls(
            most_mss=tunable("synproxy_init_mss"),
            scale=bool(tunable("synproxy_wscale")),
            sack=bool(tunable("synproxy_sack")),
            # As it leaves the gateway: the kernel routes the answer as it does all packets, and takes its own hop off.
            ttl=min(tunable("synproxy_synack_ttl") + 1, _MOST_TTL),
            # The packet that makes a session, and as many more as the threshold says.
            held_packets=tunable("synproxy_ack_skb_store_thresh") + 1,
        )


def path_mss(mtu: int, *, leaves_room: bool) -> int:
    """The largest segment that fits a route with this MTU, with room for the client-address option or without; in bytes."""
    return max(mtu - IP_HEADER_BYTES - TCP_HEADER_BYTES - CLIENT_OPTION_BYTES * leaves_room, LEAST_MSS)
