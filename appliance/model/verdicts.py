"""Every verdict the appliance can give and its reason: a closed list, which is also the list of drop counters.

A verdict says what the kernel is told to do with the packet, and why. Verdicts are constants; the packet path builds none.
"""

from enum import Enum


class Action(Enum):
    """What the kernel is told."""

    ACCEPT = "accept"
    """Go on, untouched."""
    REWRITTEN = "rewritten"
    """Go on with the bytes the shard wrote."""
    DROP = "drop"


class Verdict:
    """One action with one reason. `index` is its place in the per-shard counters."""

    __slots__ = ("action", "index", "name", "summary")

    def __init__(self, action: Action, name: str, summary: str) -> None:
        self.action = action
        self.name = name
        self.summary = summary
        self.index = len(_ALL)
        _ALL.append(self)

    def __repr__(self) -> str:
        return f"<{self.action.value} {self.name}>"


_ALL: list[Verdict] = []

TO_REAL_SERVER = Verdict(Action.REWRITTEN, "to_real_server", "client packet rewritten for its real server")
TO_CLIENT = Verdict(Action.REWRITTEN, "to_client", "real server packet rewritten for its client")
ICMP_TRANSLATED = Verdict(Action.REWRITTEN, "icmp_translated", "ICMP error rewritten for the other end of its session")

NOT_OURS = Verdict(Action.ACCEPT, "not_ours", "neither a service nor a session: left to the host")

TRUNCATED = Verdict(Action.DROP, "truncated", "the queue copied only part of the packet (over 3840 bytes)")
BAD_HEADER = Verdict(Action.DROP, "bad_header", "no IPv4, or shorter or longer than its lengths say")
SHORT_HEADER = Verdict(Action.DROP, "short_header", "the packet ends inside its IP, TCP or UDP header")
IP_OPTIONS = Verdict(Action.DROP, "ip_options", "the IPv4 header carries options")
FRAGMENT = Verdict(Action.DROP, "fragment", "part of a fragmented packet")
BAD_DATA_OFFSET = Verdict(Action.DROP, "bad_data_offset", "the TCP header is longer than the packet or shorter than a header")
BAD_FLAGS = Verdict(Action.DROP, "bad_flags", "TCP flags that no host sends together: none, SYN and FIN, FIN without ACK, …")
BAD_CHECKSUM = Verdict(Action.DROP, "bad_checksum", "a damaged packet that would have opened a session or been answered")
LAND = Verdict(Action.DROP, "land", "opens a session from an address of the gateway: forged")
BAD_ICMP_CHECKSUM = Verdict(Action.DROP, "bad_icmp_checksum", "an ICMP error with a wrong checksum")
NO_SESSION = Verdict(Action.DROP, "no_session", "no session, and not a SYN that could open one")
NO_SERVICE = Verdict(Action.DROP, "no_service", "to a VIP, but to no service of it")
NO_REAL_SERVER = Verdict(Action.DROP, "no_real_server", "refused: the service has no real server with a weight above 0")
NO_LOCAL_ADDRESS = Verdict(Action.DROP, "no_local_address", "refused: the service has no local address")
LOCAL_PORTS_EXHAUSTED = Verdict(Action.DROP, "local_ports_exhausted", "refused: no free port on any local address of the service")
REAL_SERVER_GONE = Verdict(Action.DROP, "real_server_gone", "a client packet of a session whose real server was removed")
CHALLENGED = Verdict(
    Action.DROP, "challenged", "a new SYN on an established session: held until the client proves that it began anew"
)
STALE_ANSWER = Verdict(Action.DROP, "stale_answer", "a real server's answer to an older connection from the same local port")
COOKIE_SENT = Verdict(Action.REWRITTEN, "cookie_sent", "a SYN turned into a SYN-ACK with a cookie")
NULL_COOKIE_ACK = Verdict(
    Action.DROP, "null_cookie_ack", "an ACK without data that ends a client's handshake, while data is awaited"
)
BAD_COOKIE = Verdict(Action.DROP, "bad_cookie", "no session, and an acknowledgement that is no cookie of ours")
HELD = Verdict(Action.DROP, "held", "a client packet held, or dealt with, until the real server has answered")
HOLD_OVERFLOW = Verdict(Action.DROP, "hold_overflow", "a client packet too many while the real server has not answered")
HANDSHAKE_PACKET = Verdict(Action.DROP, "handshake_packet", "a real server's part of a handshake that its client had already")
STORM = Verdict(Action.DROP, "ack_storm", "one of many identical acknowledgements")
SYN_BACKLOG_FULL = Verdict(Action.DROP, "syn_backlog_full", "refused: the service has as many half-open sessions as it may")
TABLE_FULL = Verdict(Action.DROP, "table_full", "refused: there are as many sessions as conn_max allows")
INTERNAL_ERROR = Verdict(Action.DROP, "internal_error", "an error of ours; the log has it")

REFUSALS = (NO_REAL_SERVER, NO_LOCAL_ADDRESS, LOCAL_PORTS_EXHAUSTED, SYN_BACKLOG_FULL, TABLE_FULL)
"""Connections that a client wanted and could not get: what an operator has to hear of."""

OVERFLOWS = (SYN_BACKLOG_FULL, TABLE_FULL)
"""Refusals that pass by themselves: a client that hears nothing tries again, and may be served then."""

VERDICTS: tuple[Verdict, ...] = tuple(_ALL)
