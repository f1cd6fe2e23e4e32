"""Conn entries and the table that finds them: one entry, two keys."""

from collections.abc import Iterator
from math import inf
from typing import NamedTuple

from appliance.model import Direction, reverse_key
from appliance.offer import Offer
from appliance.service import NEVER, RealServer, VirtualService
from appliance.stats import ACTIVE_CONNS, INACTIVE_CONNS
from appliance.storm import AckStorm
from appliance.tcp_state import CLOSING, FIRST, IN, STATE_NAMES, TcpState
from appliance.wire.checksum import MODULUS, delta
from appliance.wire.seq import MASK as SEQ_MASK
from appliance.wire.seq import add

_STATES = range(len(STATE_NAMES))
_GAUGE = bytes(ACTIVE_CONNS if state == TcpState.ESTABLISHED else INACTIVE_CONNS for state in _STATES)
_IS_HALF_OPEN = bytes(state in (TcpState.SYN_RECV, TcpState.SYN_SENT) for state in _STATES)
"""By state."""

# Plain integers, bound once: this is asked several times for each connection, and an enum's member is looked up each time.
_NONE, _ESTABLISHED, _SYN_RECV = int(TcpState.NONE), int(TcpState.ESTABLISHED), int(TcpState.SYN_RECV)


class RewriteRecord(NamedTuple):
    """What a packet of one direction gets written over its headers. Plain data, which changes only when a session starts anew.

    A kernel fast path can mirror exactly these fields. A UDP session has no shifts.
    """

    addresses: bytes
    """The new 12 address bytes."""
    ip_delta: int
    """What the IP header checksum moves by (see wire.checksum)."""
    tcp_delta: int
    """What the TCP or UDP checksum moves by for addresses and ports: the pseudo header has the ones, the header the others."""
    seq_delta: int = 0
    """Added to the sequence number, modulo 2**32."""
    ack_delta: int = 0
    """Added to the acknowledgement number and to both edges of each SACK block, modulo 2**32."""
    window_shift: int = 0
    """How many bits the window moves to the left, up to what its field can hold; to the right when negative."""


def rewrite_records(client_key: bytes, server_key: bytes, shift: int = 0) -> tuple[RewriteRecord, RewriteRecord]:
    """The records of both directions: client to VIP becomes local address to real server, and the reply the other way round.

    `shift` is what the client's sequence numbers move by. Reversing addresses moves words about and leaves their sum, so what
    one direction adds to a checksum the other takes away.
    """
    ip_delta, tcp_delta = delta(client_key[:8], server_key[:8]), delta(client_key, server_key)
    # By position, once for each connection: a tuple with named arguments takes twice as long to make.
    return (
        RewriteRecord(server_key, ip_delta, tcp_delta, shift & SEQ_MASK, 0, 0),
        RewriteRecord(reverse_key(client_key), -ip_delta % MODULUS, -tcp_delta % MODULUS, 0, -shift & SEQ_MASK, 0),
    )


class Handshake:
    """What is remembered of a proxied handshake while the real server has not answered its SYN."""

    __slots__ = ("held", "offer", "retries", "wait_s")

    def __init__(self, offer: Offer) -> None:
        self.offer = offer
        """What the client offered in its SYN."""
        self.held: list[bytes] = []
        """The client's packets, to be sent on in order."""
        self.retries = 0
        """How often the SYN was sent again."""
        self.wait_s = FIRST_WAIT_S
        """How long after the last SYN the next one is due."""


FIRST_WAIT_S = 1.0
"""RFC 6298, 2: the first retransmission of a SYN; each that follows waits twice as long."""


class Opening:
    """What is remembered of a TCP session until the client has acknowledged the real server's first byte."""

    __slots__ = ("client_option", "handshake", "is_resent", "rs_first_seq", "stale_answers", "syn")

    def __init__(self) -> None:
        self.client_option = b""
        """The client-address option, made when it is first needed."""
        self.syn: bytes | None = None
        """The SYN as the real server got it, until it answers: its old socket may have to be told off and asked again."""
        self.handshake: Handshake | None = None
        """Of a proxied session whose real server has not answered."""
        self.rs_first_seq: int | None = None
        """The number of the real server's first byte, as the client sees it; None until the real server's SYN-ACK was seen."""
        self.stale_answers = 0
        """How often the real server answered for an older connection."""
        self.is_resent = False
        """Whether the SYN was sent once more because of that, after a pause."""


class Challenge:
    """A new SYN on an established session, held until the client proves that it has forgotten that session."""

    __slots__ = ("ack", "syn", "until")

    def __init__(self, syn: bytes, ack: int, until: float) -> None:
        self.syn = syn
        self.ack = ack
        """What the client was sent as acknowledgement number: a RST with exactly this number is the proof."""
        self.until = until
        """No other challenge before this moment."""


class ConnEntry:
    """What one shard remembers of one connection. Slots, because there may be a million of them."""

    __slots__ = (
        "challenge", "client_ack", "cookie", "counts", "deadline", "first_table", "isn", "long_way", "opening", "real_server",
        "records", "rs_ack", "rs_next_seq", "rs_window", "service", "state", "storm", "wheel_time",
    )  # fmt: skip

    def __init__(
        self, service: VirtualService, real_server: RealServer, client_key: bytes, server_key: bytes, client_isn: int, isn: int
    ) -> None:
        """`client_key` is client to VIP as it arrives; `server_key` is local address to real server as it leaves.

        `client_isn` is the initial sequence number the client chose, `isn` the one the real server is shown instead.
        """
        self.service = service
        self.real_server = real_server
        self.counts = real_server.counts
        self.records = rewrite_records(client_key, server_key, isn - client_isn)
        """Indexed by Direction."""
        self.isn = isn
        self.opening: Opening | None = None
        self.challenge: Challenge | None = None
        self.cookie: int | None = None
        """The number its client was answered with before there was a session; None when the real server answered itself."""
        self.storm: AckStorm | None = None
        """What the real server acknowledged last, when the session is proxied."""
        self.long_way = False
        """Whether its packets need more than their record and their state; see `settle`."""
        self.state: int = _NONE
        self.first_table = FIRST
        """The state table for client packets: FIRST until the real server was heard of, then IN."""
        self.deadline = inf
        self.wheel_time = inf
        self.client_ack: int | None = None
        """The client's last acknowledgement."""
        self.rs_next_seq = 0
        """The number after the real server's last byte, modulo 2**32 when used: where a RST towards the client has to stand."""
        self.rs_ack = isn
        """The real server's last acknowledgement: where a RST towards it has to stand."""
        self.rs_window = 0
        """The window it named last, as it stood in its packet."""

    def start(self, client_isn: int, isn: int) -> None:
        """Begin a new connection between the same four endpoints, in SYN_RECV, as after its SYN."""
        self.records = rewrite_records(self.client_key, self.records[Direction.INBOUND].addresses, isn - client_isn)
        self.isn = self.rs_ack = isn
        self.opening = Opening()
        self.challenge = self.cookie = self.storm = self.client_ack = None
        self.first_table = FIRST
        self.enter(_SYN_RECV)
        self.settle()

    def join(self, rs_isn: int, inbound_window_shift: int, outbound_window_shift: int) -> None:
        """Join a proxied client and its real server, which has chosen its numbers: the session is established."""
        cookie = self.cookie or 0
        inbound, outbound = self.records
        self.records = (
            inbound._replace(ack_delta=add(rs_isn, -cookie), window_shift=inbound_window_shift),
            outbound._replace(seq_delta=add(cookie, -rs_isn), window_shift=outbound_window_shift),
        )
        self.rs_next_seq = rs_isn + 1
        self.rs_ack = add(self.isn, 1)
        self.first_table = IN
        self.enter(_ESTABLISHED)

    def settle(self) -> None:
        """Find out again whether its packets have to go the long way."""
        self.long_way = (
            self.opening is not None
            or self.challenge is not None
            or self.real_server.gone
            or (self.service.synproxy != NEVER and self.state in CLOSING)
        )

    @property
    def client_key(self) -> bytes:
        """Client to VIP, the key of packets of Direction.INBOUND."""
        return reverse_key(self.records[Direction.OUTBOUND].addresses)

    @property
    def server_key(self) -> bytes:
        """Real server to local address, the key of packets of Direction.OUTBOUND."""
        return reverse_key(self.records[Direction.INBOUND].addresses)

    @property
    def local_address(self) -> bytes:
        """The local address, four bytes."""
        return self.records[Direction.INBOUND].addresses[:4]

    @property
    def local_port(self) -> int:
        """The local port."""
        return int.from_bytes(self.records[Direction.INBOUND].addresses[8:10], "big")

    def enter(self, state: int) -> None:
        """Change the state, and the real server's gauges with it: ESTABLISHED is active, all else is not (as `ipvsadm`)."""
        counts, service = self.counts, self.service
        counts[_GAUGE[self.state]] -= 1
        service.half_open += _IS_HALF_OPEN[state] - _IS_HALF_OPEN[self.state]
        self.state = state
        counts[_GAUGE[state]] += 1
        if service.synproxy != NEVER:
            self.settle()

    def leave(self) -> None:
        """Count the session no longer."""
        self.counts[_GAUGE[self.state]] -= 1
        self.service.half_open -= _IS_HALF_OPEN[self.state]


class ConnTable:
    """All entries of a shard. A packet's own 12 address bytes find its entry; the dict that had it tells the direction."""

    def __init__(self) -> None:
        self.by_direction: tuple[dict[bytes, ConnEntry], dict[bytes, ConnEntry]] = ({}, {})
        """Indexed by Direction."""

    def __len__(self) -> int:
        return len(self.by_direction[Direction.INBOUND])

    def __iter__(self) -> Iterator[ConnEntry]:
        return iter(self.by_direction[Direction.INBOUND].values())

    def find(self, addresses: bytes) -> tuple[ConnEntry | None, int]:
        """The entry of a packet with these 12 address bytes, and its direction."""
        for direction, conns in enumerate(self.by_direction):
            if conn := conns.get(addresses):
                return conn, direction
        return None, Direction.INBOUND

    def insert(self, conn: ConnEntry) -> None:
        """Add an entry under both keys and count it in its real server's gauges."""
        self.by_direction[Direction.INBOUND][conn.client_key] = conn
        self.by_direction[Direction.OUTBOUND][conn.server_key] = conn
        conn.counts[INACTIVE_CONNS] += 1

    def remove(self, conn: ConnEntry) -> None:
        """Take an entry out under both keys and out of the gauges."""
        del self.by_direction[Direction.INBOUND][conn.client_key]
        del self.by_direction[Direction.OUTBOUND][conn.server_key]
        conn.leave()
