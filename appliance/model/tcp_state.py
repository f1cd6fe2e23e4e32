"""The TCP states of a session and every transition between them, as tables. LVS behaviour, section 6.1.

There are three tables: IN for packets of the client, OUT for packets of the real server, and FIRST for packets of the client
while no packet of the real server has been seen yet. A row is an event (what the flags of the packet say), a column the state the
session is in, and the cell the state it goes to. States describe the real server's side, as in LVS: a client's FIN leads to
CLOSE_WAIT, a real server's FIN to FIN_WAIT.

Three things differ from LVS. There, no transition led to LAST_ACK; here, the FIN of the second side does. The last ACK ends that
state: the client's ACK leads to CLOSE, because the real server has nothing to wait for; the real server's ACK leads to TIME_WAIT,
because it keeps a TIME_WAIT of its own and the local port must rest until that is over. A late SYN-ACK of the real server in
a closing state changes nothing here; LVS went back to SYN_SENT. And a client that refuses the real server's SYN-ACK ends its
session, when its RST has the number that was acknowledged (`shard.closing`): it knows nothing of this connection, as when a
network has delivered its SYN a second time, and late. In LVS such sessions stay half-open, and fill the backlog.
"""

from enum import IntEnum

from appliance.wire.layout import ACK, FIN, FLAG_BITS, RST, SYN


class TcpState(IntEnum):
    """The state of a TCP session. A value is a column of the tables."""

    NONE = 0
    ESTABLISHED = 1
    SYN_SENT = 2
    SYN_RECV = 3
    FIN_WAIT = 4
    TIME_WAIT = 5
    CLOSE = 6
    CLOSE_WAIT = 7
    LAST_ACK = 8
    LISTEN = 9
    SYNACK = 10


_SHORT = {
    "NO": TcpState.NONE, "ES": TcpState.ESTABLISHED, "SS": TcpState.SYN_SENT, "SR": TcpState.SYN_RECV,
    "FW": TcpState.FIN_WAIT, "TW": TcpState.TIME_WAIT, "CL": TcpState.CLOSE, "CW": TcpState.CLOSE_WAIT,
    "LA": TcpState.LAST_ACK, "LI": TcpState.LISTEN, "SA": TcpState.SYNACK,
}  # fmt: skip

IN, OUT, FIRST = 0, 1, 2
"""The tables, by their index in NEXT. IN and OUT equal Direction.INBOUND and Direction.OUTBOUND, so a direction is an index."""

_EVENT_SYN, _EVENT_FIN, _EVENT_ACK, _EVENT_RST, _EVENT_NONE = range(5)

#         from   NO ES SS SR FW TW CL CW LA LI SA
_PICTURE = {
    IN: (
        ("syn", "SR ES ES SR SR SR SR SR SR SR SR"),
        ("fin", "CL CW SS TW LA TW CL CW LA LI TW"),
        ("ack", "CL ES SS ES FW TW CL CW CL LI ES"),
        ("rst", "CL CL CL CL CL CL CL CL LA LI SR"),
    ),
    OUT: (
        ("syn", "SS ES SS SR FW TW CL CW LA LI SR"),
        ("fin", "TW FW SS TW FW TW CL LA LA LI TW"),
        ("ack", "ES ES SS ES FW TW CL CW TW ES ES"),
        ("rst", "CL CL SS CL CL TW CL CL CL CL CL"),
    ),
    FIRST: (
        ("syn", "SR ES ES SR SR SR SR SR SR SR SR"),
        ("fin", "CL FW SS TW FW TW CL CW LA LI TW"),
        ("ack", "CL ES SS ES FW TW CL CW CL LI ES"),
        ("rst", "CL CL CL SR CL CL CL CL LA LI CL"),
    ),
}


def _columns(row: str) -> tuple[int, ...]:
    return tuple(int(_SHORT[short]) for short in row.split())


_NO_FLAGS = (int(TcpState.CLOSE),) * len(TcpState)


def _event_of(flags: int) -> int:
    for bit, event in ((RST, _EVENT_RST), (SYN, _EVENT_SYN), (FIN, _EVENT_FIN), (ACK, _EVENT_ACK)):
        if flags & bit:
            return event
    return _EVENT_NONE


EVENT: bytes = bytes(_event_of(flags) for flags in range(FLAG_BITS + 1))
"""EVENT[flags & FLAG_BITS] is the event of a segment. Of several flags, RST counts before SYN, before FIN, before ACK."""

_BY_EVENT = tuple((*(_columns(row) for _, row in _PICTURE[table]), _NO_FLAGS) for table in (IN, OUT, FIRST))

NEXT: tuple[tuple[tuple[int, ...], ...], ...] = tuple(tuple(rows[event] for event in EVENT) for rows in _BY_EVENT)
"""NEXT[table][flags & FLAG_BITS][state] is the next state."""


CLOSING = frozenset((TcpState.CLOSE, TcpState.TIME_WAIT, TcpState.FIN_WAIT, TcpState.CLOSE_WAIT, TcpState.LAST_ACK))
"""States of a connection that is ending or over: a new SYN of the same client may start the session anew."""

UDP_STATE = len(TcpState)
"""The only state of a UDP session. It has no column in the tables."""

STATE_NAMES: tuple[str, ...] = (*(state.name for state in TcpState), "UDP")
"""Names by state, as views show them."""

TIMEOUT_NAME: dict[int, str] = {
    state: f"tcp_timeout_{state.name.lower()}" for state in TcpState if state is not TcpState.NONE
} | {UDP_STATE: "udp_timeout"}
"""By state, the tunable that says how long a session may be idle in it. NONE has no tunable: a session leaves it with its first
packet."""
