"""Conn entries: what one shard remembers of each connection. `conn_table` finds them."""

from math import inf

from appliance.model.counters import ACTIVE_CONNS, INACTIVE_CONNS
from appliance.model.syn_offer import SynOffer
from appliance.model.tcp_state import CLOSING, FIRST, IN, STATE_NAMES, TcpState
from appliance.state.ack_storm import AckStorm
from appliance.state.by_state import LINE_OF_STATE, NOT_IN_LINE
from appliance.state.rewrite_record import RECORD_BYTES, RewriteRecord, packed, record_of, rewrite_records
from appliance.state.services import NEVER, RealServer, VirtualService
from appliance.wire.flow import Direction, reverse_key
from appliance.wire.seq import add

_ADDRESS_BYTES = 12
_TO_REAL_SERVER, _TO_CLIENT = (slice(start, start + _ADDRESS_BYTES) for start in (0, RECORD_BYTES))
"""Where the records have the addresses that each direction gets."""

_STATES = range(len(STATE_NAMES))
_GAUGE = bytes(ACTIVE_CONNS if state == TcpState.ESTABLISHED else INACTIVE_CONNS for state in _STATES)
"""By state: ESTABLISHED is active, all else is not (as `ipvsadm`)."""

# Plain integers, bound once: this is asked several times for each connection, and an enum's member is looked up each time.
_NONE, _ESTABLISHED, _SYN_RECV = int(TcpState.NONE), int(TcpState.ESTABLISHED), int(TcpState.SYN_RECV)


class Handshake:
    """What is remembered of a proxied handshake while the real server has not answered its SYN."""

    __slots__ = ("held", "offer", "retries", "wait_s")

    def __init__(self, offer: SynOffer) -> None:
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


class Session:
    """What one shard remembers of one connection. Slots, because there may be a million of them."""

    __slots__ = (
        "ahead", "behind", "challenge", "client_ack", "cookie", "counts", "deadline", "first_table", "isn", "needs_slow_path",
        "opening", "real_server", "records", "rs_ack", "rs_next_seq", "rs_window", "service", "since", "state", "storm",
        "wheel_time",
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
        """Of both directions, packed; see `record`."""
        self.isn = isn
        self.opening: Opening | None = None
        self.challenge: Challenge | None = None
        self.cookie: int | None = None
        """The number its client was answered with before there was a session; None when the real server answered itself."""
        self.storm: AckStorm | None = None
        """What the real server acknowledged last, when the session is proxied."""
        self.needs_slow_path = False
        """Whether its packets need more than their record and their state; see `settle`."""
        self.state: int = _NONE
        self.first_table = FIRST
        """The state table for client packets: FIRST until the real server was heard of, then IN."""
        self.ahead: Session | None = None
        self.behind: Session | None = None
        """The neighbours in a line of `population`."""
        self.since = NOT_IN_LINE
        """When it joined that line."""
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
        self.records = rewrite_records(self.client_key, self.addresses(Direction.INBOUND), isn - client_isn)
        self.isn = self.rs_ack = isn
        self.opening = Opening()
        self.challenge = self.cookie = self.storm = self.client_ack = None
        self.first_table = FIRST
        self.enter(_SYN_RECV)
        self.settle()

    def join(self, rs_isn: int, inbound_window_shift: int, outbound_window_shift: int) -> None:
        """Join a proxied client and its real server, which has chosen its numbers: the session is established."""
        cookie = self.cookie or 0
        inbound, outbound = map(self.record, Direction)
        self.records = packed(
            inbound._replace(ack_delta=add(rs_isn, -cookie), window_shift=inbound_window_shift),
            outbound._replace(seq_delta=add(cookie, -rs_isn), window_shift=outbound_window_shift),
        )
        self.rs_next_seq = rs_isn + 1
        self.rs_ack = add(self.isn, 1)
        self.first_table = IN
        self.enter(_ESTABLISHED)

    def settle(self) -> None:
        """Find out again whether its packets have to go the long way."""
        self.needs_slow_path = (
            self.opening is not None
            or self.challenge is not None
            or self.real_server.gone
            or (self.service.synproxy != NEVER and self.state in CLOSING)
        )

    def record(self, direction: int) -> RewriteRecord:
        """What a packet of this direction gets written over its headers."""
        return record_of(self.records, direction)

    def addresses(self, direction: int) -> bytes:
        """The 12 address bytes of a packet of this direction as it leaves the gateway."""
        start = direction * RECORD_BYTES
        return self.records[start : start + _ADDRESS_BYTES]

    @property
    def client_key(self) -> bytes:
        """Client to VIP, the key of packets of Direction.INBOUND."""
        return reverse_key(self.records[_TO_CLIENT])

    @property
    def server_key(self) -> bytes:
        """Real server to local address, the key of packets of Direction.OUTBOUND."""
        return reverse_key(self.records[_TO_REAL_SERVER])

    @property
    def client_isn(self) -> int:
        """The initial sequence number the client chose."""
        return add(self.isn, -self.record(Direction.INBOUND).seq_delta)

    @property
    def local_address(self) -> bytes:
        """The local address, four bytes."""
        return self.addresses(Direction.INBOUND)[:4]

    @property
    def local_port(self) -> int:
        """The local port."""
        return int.from_bytes(self.addresses(Direction.INBOUND)[8:10], "big")

    def appear(self) -> None:
        """Be counted, in the state it has: as a session in the table."""
        self.counts[_GAUGE[self.state]] += 1
        self.service.by_state.counts[self.state] += 1

    def enter(self, state: int) -> None:
        """Change the state, and all that counts sessions by it."""
        counts, service, before = self.counts, self.service, self.state
        by_state = service.by_state.counts
        self.state = state
        counts[_GAUGE[before]] -= 1
        by_state[before] -= 1
        counts[_GAUGE[state]] += 1
        by_state[state] += 1
        was, will = LINE_OF_STATE[before], LINE_OF_STATE[state]
        if was != will:
            if was:
                service.lines[was].leave(self)
            if will:
                service.lines[will].join(self, service.by_state.now)
        if service.synproxy != NEVER:
            self.settle()

    def leave(self) -> None:
        """Be counted no longer."""
        self.counts[_GAUGE[self.state]] -= 1
        self.service.by_state.counts[self.state] -= 1
        if line := LINE_OF_STATE[self.state]:
            self.service.lines[line].leave(self)
