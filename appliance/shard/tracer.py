"""What a shard does with the packets of some clients, written down for an operator who asks why one was dropped.

A worker calls `Tracer.handle` in the place of `Shard.handle` while there is a trace, so the shard knows nothing of it, and a
packet costs nothing more while there is none. A trace keeps a bounded number of packets and bytes until it is asked for them; of
those that find no room it keeps the number.
"""

from collections.abc import Callable
from typing import NamedTuple

from appliance.ipc.queries import FlowMatch, Query, QueryError
from appliance.ipc.traced import CLIENT, OTHER, SERVER, Snap, Traced, piece_items
from appliance.model.verdict import Action, Verdict
from appliance.model.verdicts import INTERNAL_ERROR
from appliance.sessions.lifecycle import Sessions
from appliance.sessions.walk import Piece
from appliance.state.output import ShardOutput
from appliance.state.rewrite_record import client_in
from appliance.wire import layout as at
from appliance.wire.flow import destination_of, reverse_key, source_of

TRACES_MAX = 4
"""How many traces a shard can have at a time."""

PACKETS_KEPT = 250
BYTES_KEPT = 256 * 1024
"""How much a trace keeps until it is asked for it. It is asked every tenth of a second."""

OWN_KEPT = 4
"""How many packets of our own it keeps beside one that was judged."""

_PROTOCOLS = {at.PROTO_TCP: "tcp", at.PROTO_UDP: "udp"}


class Whose(NamedTuple):
    """To which connection a packet belongs."""

    sender: str
    client: bytes
    """The endpoint of the client; when nothing is known of it, that of the sender."""
    vip: bytes
    """The endpoint that the client has asked."""
    service: str
    """The name of the service there; empty when there is none."""


class PacketTrace:
    """The packets that one query wants, until they are asked for."""

    def __init__(self, query: Query) -> None:
        """Raises QueryError for a query that was not checked."""
        self._is_wanted = FlowMatch(query)
        self._service = query.filter.service
        self._snap_bytes = query.snap_bytes
        self._kept: list[Traced] = []
        self._kept_bytes = 0
        self.left_out = 0

    def wants(self, whose: Whose) -> bool:
        """Whether a packet of this connection is to be kept."""
        return (not self._service or self._service == whose.service) and self._is_wanted(whose.client, whose.vip)

    def has_room(self) -> bool:
        """Whether another packet can be kept; if not, it is counted."""
        if len(self._kept) < PACKETS_KEPT and self._kept_bytes < BYTES_KEPT:
            return True
        self.left_out += 1
        return False

    def keep(self, packet: Traced) -> None:
        """Keep a packet, or as much of it as is wanted."""
        packet = packet._replace(
            packet=self._cut(packet.packet),
            after=packet.after and self._cut(packet.after),
            own=tuple(map(self._cut, packet.own[:OWN_KEPT])),
        )
        self._kept.append(packet)
        self._kept_bytes += sum(len(snap.data) for snap in (packet.packet, packet.after, *packet.own) if snap)

    def _cut(self, snap: Snap) -> Snap:
        return snap._replace(data=snap.data[: self._snap_bytes])

    def step(self, now: float) -> Piece:
        """The packets since the last step. There is no last piece."""
        del now  # a walk through the sessions needs it
        items = piece_items(self.left_out, self._kept)
        self._kept, self._kept_bytes, self.left_out = [], 0, 0
        return Piece(items, False)


class Tracer:
    """The traces of one shard, and what handles packets while there are any."""

    def __init__(self, handle: Callable[[bytes, float], Verdict], sessions: Sessions, output: ShardOutput) -> None:
        """`handle` and `output` are those of the shard, and `sessions` its own."""
        self._handle = handle
        self._sessions = sessions
        self._output = output
        self.traces: list[PacketTrace] = []

    def begin(self, query: Query) -> PacketTrace:
        """Begin a trace. Raises QueryError when there are TRACES_MAX already."""
        if len(self.traces) >= TRACES_MAX:
            raise QueryError(f"{TRACES_MAX} traces are under way already")
        trace = PacketTrace(query)
        self.traces.append(trace)
        return trace

    def end(self, trace: object) -> None:
        """End a trace, if it is one and has not ended yet."""
        self.traces = [one for one in self.traces if one is not trace]

    def handle(self, raw: bytes, now: float) -> Verdict:
        """Judge a packet as the shard does, and keep what traces want of it."""
        whose = self.whose(raw)  # before it is judged: the session may end by it
        verdict = INTERNAL_ERROR
        try:
            verdict = self._handle(raw, now)
        finally:
            if whose is not None:
                self._note(whose, raw, verdict, now)
        return verdict

    def _note(self, whose: Whose, raw: bytes, verdict: Verdict, now: float) -> None:
        wanting = [trace for trace in self.traces if trace.wants(whose) and trace.has_room()]
        if not wanting:
            return
        rewritten = self._output.rewritten
        after = Snap(rewritten, len(rewritten)) if verdict.action is Action.REWRITTEN else None
        own = tuple(Snap(segment, len(segment)) for segment in self._output.segments)
        packet = Traced(now, whose.sender, verdict.name, Snap(raw, len(raw)), after, own)
        for trace in wanting:
            trace.keep(packet)

    def whose(self, raw: bytes) -> Whose | None:
        """The connection that a packet belongs to; None for bytes in which no addresses can be read."""
        if len(raw) < at.QUOTED_MIN_BYTES:
            return None
        if raw[at.PROTOCOL] == at.PROTO_ICMP:
            return self._whose_error(raw)
        key = raw[at.ADDRESSES_START : at.ADDRESSES_END]
        return self._of_session(raw[at.PROTOCOL], key, "") or self._without_session(raw[at.PROTOCOL], key)

    def _whose_error(self, raw: bytes) -> Whose | None:
        """That of an ICMP packet: of the packet that it quotes, which went the other way."""
        quoted = raw[at.QUOTED_START :]
        if len(quoted) < at.QUOTED_MIN_BYTES:
            return self._without_session(0, raw[at.ADDRESSES_START : at.ADDRESSES_END])
        protocol, key = quoted[at.PROTOCOL], reverse_key(quoted[at.ADDRESSES_START : at.ADDRESSES_END])
        found = self._of_session(protocol, key, OTHER) or self._without_session(protocol, key)
        return found._replace(sender=OTHER)

    def _of_session(self, protocol: int, key: bytes, sender: str) -> Whose | None:
        tables = {at.PROTO_TCP: self._sessions.tcp, at.PROTO_UDP: self._sessions.udp}
        if protocol not in tables:
            return None
        session, direction = tables[protocol].find(key)
        if session is None:
            return None
        client, vip = client_in(session.records), destination_of(session.client_key)
        return Whose(sender or (SERVER if direction else CLIENT), client, vip, session.service.name)

    def _without_session(self, protocol: int, key: bytes) -> Whose:
        vip = destination_of(key)
        service = self._sessions.service(_PROTOCOLS[protocol], vip) if protocol in _PROTOCOLS else None
        return Whose(CLIENT, source_of(key), vip, service.name if service else "")
