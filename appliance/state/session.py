"""A session: what one shard remembers of one connection. `session_table` finds it; `sessions` begins and ends it."""

from math import inf

from appliance.model.counters import ACTIVE_CONNS, BYTES, INACTIVE_CONNS, OPENING_CONNS, OVER_CONNS
from appliance.model.tcp_state import CLOSING, FIRST, IN, STATE_NAMES, UDP_STATE, TcpState
from appliance.policy.choice import UNKNOWN
from appliance.state.ack_storm import AckStorm
from appliance.state.by_state import HALF_OPEN, NOT_IN_ORDER, ORDER_OF_STATE, YIELDING
from appliance.state.client_limit import IS_COUNTED
from appliance.state.progress import CLIENT_ACKED, RS_ACKED, RS_NEXT_SEQ, SIDES, Words, fresh_words
from appliance.state.real_server import RealServer
from appliance.state.rewrite_record import (
    RewriteRecord,
    ends_in,
    key_in,
    opened_ms_in,
    packed,
    record_of,
    rewrite_records,
    shown_isn,
)
from appliance.state.services import NEVER, VirtualService
from appliance.state.session_phases import Challenge, LateFin, Opening
from appliance.wire.flow import Direction, reverse_key
from appliance.wire.seq import add

MS_PER_S = 1000

_STATES = range(len(STATE_NAMES))
_GAUGE_OF: dict[int, int] = {TcpState.ESTABLISHED: ACTIVE_CONNS, TcpState.TIME_WAIT: OVER_CONNS, TcpState.CLOSE: OVER_CONNS}
_GAUGE = bytes(_GAUGE_OF.get(state, INACTIVE_CONNS) for state in _STATES)
"""By state: ESTABLISHED is active, all else is not (as `ipvsadm`); of that, a connection that is over takes nobody's place."""

# Plain integers, bound once: an enum's member would be looked up several times for each connection.
_NONE, _ESTABLISHED, _SYN_RECV = int(TcpState.NONE), int(TcpState.ESTABLISHED), int(TcpState.SYN_RECV)
_INBOUND, _OUTBOUND = int(Direction.INBOUND), int(Direction.OUTBOUND)


class Session:
    """One session of TCP or UDP. Slots, because there may be a million of them."""

    __slots__ = (
        "ahead", "behind", "challenge", "choice", "cookie", "counted_as", "counts", "deadline", "entry", "first_table",
        "late_fin", "needs_slow_path", "opening", "real_server", "records", "service", "since", "state", "storm", "was_reset",
        "wheel_time", "words",
    )  # fmt: skip

    def __init__(
        self,
        service: "VirtualService[Session]",
        real_server: RealServer,
        client_key: bytes,
        server_key: bytes,
        client_isn: int,
        isn: int,
        opened_ms: int = 0,
    ) -> None:
        """`client_key` is client to VIP as it arrives; `server_key` is local address to real server as it leaves.

        `client_isn` is the initial sequence number the client chose, `isn` the one the real server is shown instead. It is
        opened at `opened_ms`, milliseconds of the monotonic clock.
        """
        self.service = service
        self.real_server = real_server
        self.counts = real_server.counts
        self.records = rewrite_records(client_key, server_key, client_isn, isn, opened_ms)
        """The rewrite records of both directions, packed; see `record`."""
        self.choice = UNKNOWN
        """How its real server was chosen, see `policy.choice`."""
        self.opening: Opening | None = None
        self.challenge: Challenge | None = None
        self.cookie: int | None = None
        """The number its client was answered with before there was a session; None when the real server answered itself."""
        self.storm: AckStorm | None = None
        """What the real server acknowledged last, when the session is proxied."""
        self.late_fin: LateFin | None = None
        """A FIN that came before data that precedes it, until the other side has acknowledged it."""
        self.needs_slow_path = False
        """Whether its packets need more than their record and their state; see `settle`."""
        self.state: int = _NONE
        self.first_table = FIRST
        """The state table for client packets: FIRST until a packet of the real server was seen, then IN."""
        self.ahead: Session | None = None
        self.behind: Session | None = None
        """The neighbours in an order of `by_state`."""
        self.counted_as: int | None = None
        """What it counts as for the limit of its client, see `client_limit`; None while it does not."""
        self.since = NOT_IN_ORDER
        """When it came into that order, in seconds of the monotonic clock."""
        self.was_reset = False
        """Whether a RST has ended its connection, which was not over before."""
        self.deadline = self.wheel_time = inf
        """See `timers`."""
        self.words: Words = fresh_words(client_isn, isn)
        """What both sides said and sent; see `progress`. Those of its record while it has an entry in the lane."""
        self.entry: int | None = None
        """Its entry in the lane's table, by which the kernel carries its packets; None when Python alone has it."""

    def restart(self, client_isn: int, isn: int) -> None:
        """Begin a new connection between the same four endpoints, in SYN_RECV, as after its SYN."""
        self.records = rewrite_records(
            self.client_key, self.leaving_key(_INBOUND), client_isn, isn, int(self.service.by_state.now * MS_PER_S)
        )
        self.words[:] = fresh_words(client_isn, isn)
        self.opening = Opening()
        self.challenge = self.cookie = self.storm = self.late_fin = None
        self.was_reset, self.first_table = False, FIRST
        self.enter(_SYN_RECV)
        self.settle()

    def join(self, rs_isn: int, inbound_window_shift: int, outbound_window_shift: int) -> None:
        """Join a proxied client and its real server, which has chosen its numbers: the session is established."""
        cookie = self.cookie or 0
        inbound, outbound = self.record(_INBOUND), self.record(_OUTBOUND)
        self.records = packed(
            inbound._replace(ack_delta=add(rs_isn, -cookie), window_shift=inbound_window_shift),
            outbound._replace(seq_delta=add(cookie, -rs_isn), window_shift=outbound_window_shift),
            self.isn,
            self.opened_ms,
        )
        self.words[RS_NEXT_SEQ] = rs_isn + 1
        self.words[RS_ACKED] = add(self.isn, 1)
        self.words[CLIENT_ACKED] = add(cookie, 1)
        self.first_table = IN
        self.enter(_ESTABLISHED)

    def settle(self) -> None:
        """Find out again whether its packets have to take the slow path. All that come up from the lane do."""
        self.needs_slow_path = (
            self.entry is not None
            or self.opening is not None
            or self.challenge is not None
            or self.late_fin is not None
            or self.real_server.lets_go
            or (self.service.synproxy != NEVER and self.state in CLOSING)
        )

    def count_packet(self, direction: int, packet_bytes: int) -> None:
        """Count a packet that was passed on without a look at the state."""
        _, _, _, packets_at, bytes_at, _ = SIDES[direction]
        self.words[packets_at] += 1
        self.words[bytes_at] += packet_bytes
        self.counts[direction] += 1
        self.counts[direction + BYTES] += packet_bytes

    def record(self, direction: int) -> RewriteRecord:
        """What a packet of this direction gets written over its headers."""
        return record_of(self.records, direction)

    def leaving_key(self, direction: int) -> bytes:
        """The flow of a packet of this direction as it leaves the gateway."""
        return key_in(self.records, direction)

    @property
    def client_key(self) -> bytes:
        """Client to VIP, the flow of arriving packets of Direction.INBOUND."""
        return reverse_key(key_in(self.records, _OUTBOUND))

    @property
    def server_key(self) -> bytes:
        """Real server to local address, the flow of arriving packets of Direction.OUTBOUND."""
        return reverse_key(key_in(self.records, _INBOUND))

    @property
    def isn(self) -> int:
        """The initial sequence number that the real server was shown."""
        return shown_isn(self.records)

    @property
    def opened_ms(self) -> int:
        """When it was opened, in milliseconds of the monotonic clock; a proxied one when its client returns the cookie."""
        return opened_ms_in(self.records)

    @property
    def client_isn(self) -> int:
        """The initial sequence number that the client chose."""
        return add(self.isn, -self.record(_INBOUND).seq_delta)

    @property
    def client_address(self) -> bytes:
        """The client's address."""
        _, _, _, _, _, client, _, _ = ends_in(self.records)
        address: bytes = client
        return address

    @property
    def local_end(self) -> tuple[bytes, int]:
        """The local address and the local port."""
        address, _, port, _, _, _, _, _ = ends_in(self.records)
        return address, int.from_bytes(port, "big")

    @property
    def local_address(self) -> bytes:
        """The local address."""
        return self.local_end[0]

    @property
    def local_port(self) -> int:
        """The local port."""
        return self.local_end[1]

    def appear(self) -> None:
        """Count the session, which is in the table from now on, in the state it has."""
        state, by_state = self.state, self.service.by_state
        self.counts[_GAUGE[state]] += 1
        by_state.counts[state] += 1
        if order := ORDER_OF_STATE[state]:
            self.real_server.orders[order].join(self, by_state.now)
            self.counts[OPENING_CONNS] += order == HALF_OPEN
        if self.service.client_limit is not None:
            self.count_for_client()

    def enter(self, state: int) -> None:
        """Change the state, and all that counts sessions by it."""
        counts, service, before = self.counts, self.service, self.state
        by_state = service.by_state.counts
        self.state = state
        counts[_GAUGE[before]] -= 1
        by_state[before] -= 1
        counts[_GAUGE[state]] += 1
        by_state[state] += 1
        was, will = ORDER_OF_STATE[before], ORDER_OF_STATE[state]
        if was != will:
            orders = self.real_server.orders
            if was:
                orders[was].leave(self)
            if will:
                orders[will].join(self, service.by_state.now)
            counts[OPENING_CONNS] += (will == HALF_OPEN) - (was == HALF_OPEN)
        limit = service.client_limit
        if limit is not None and IS_COUNTED[state] != IS_COUNTED[before]:
            self.count_for_client()
            if self.counted_as is not None and limit.is_passed(self.counted_as):
                service.client_counts.beyond.append(self)
        if service.synproxy != NEVER:
            self.settle()

    def count_for_client(self) -> None:
        """Count for the limit of its client if that is to be, or no longer, or for another client: by its state, and by what its
        service says now."""
        service = self.service
        limit, counts, before = service.client_limit, service.client_counts, self.counted_as
        client = limit.client(self.client_address) if limit is not None and IS_COUNTED[self.state] else None
        if client != before:
            if before is not None:
                counts.remove(before)
            self.counted_as = client if client is not None and counts.add(client) else None

    def disappear(self) -> None:
        """Count the session no longer: it has left the table."""
        if self.counted_as is not None:
            self.service.client_counts.remove(self.counted_as)
            self.counted_as = None
        self.counts[_GAUGE[self.state]] -= 1
        self.service.by_state.counts[self.state] -= 1
        if order := ORDER_OF_STATE[self.state]:
            self.real_server.orders[order].leave(self)
            self.counts[OPENING_CONNS] -= order == HALF_OPEN
        elif self.is_unconfirmed:
            self.confirm()

    def await_confirmation(self) -> None:
        """Begin to wait until the client sends again after an answer, as a UDP session that is new in the table."""
        self.real_server.orders[YIELDING].join(self, self.service.by_state.now)

    @property
    def is_unconfirmed(self) -> bool:
        """Whether it is of UDP, and its client has not sent again after an answer."""
        return self.state == UDP_STATE and self.since is not NOT_IN_ORDER

    def confirm(self) -> None:
        """The client of an unconfirmed UDP session has sent again after an answer."""
        self.real_server.orders[YIELDING].leave(self)
