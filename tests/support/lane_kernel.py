"""The program of the lane, as a reference: it carries packets of records just as a shard would that knows nothing else.

It rebuilds the session from its record, hands the packet to a shard of its own, and writes back what that shard has made of the
session. What the real program cannot decide goes up, and leaves the record as it was. Here, so do packets without data of proxied
real servers, which the real one counts: too many of the same are a storm.
"""

from array import array
from collections import Counter

from appliance.ipc.lane_layout import flow
from appliance.ipc.plan import Plan, ServicePlan
from appliance.ipc.session_record import VERSION, SessionRecord
from appliance.ipc.shared_layout import SharedState, size_bytes
from appliance.model.tcp_state import CLOSING, UDP_STATE
from appliance.model.verdict import Verdict
from appliance.model.verdicts import TO_CLIENT, TO_REAL_SERVER
from appliance.shard.shard import Shard
from appliance.state.lane_entry import CELLS, LAST_SEEN_WORD, LONGS, RS_FIRST_SEQ_CELL, STATE_CELL, flags_of, rebuilt, words_of
from appliance.state.services import NEVER
from appliance.state.session import Session
from appliance.wire.layout import ACK, IP_HEADER_BYTES, PROTO_TCP, PROTO_UDP, RST, SYN
from appliance.wire.seq import add
from tests.support.lane_maps import FakeMaps

_SHORTEST_BYTES = 28


class LaneKernel:
    """The lane's program, and its counters by real server."""

    def __init__(self, plan: Plan, shared: SharedState, maps: FakeMaps) -> None:
        """`shared` has the tunables in force."""
        own = memoryview(bytearray(size_bytes(plan.shards, plan.destinations)))
        self._outer = shared
        self._shared = SharedState.create(own, plan.shards, plan.destinations)
        self._shared.tunables[:] = shared.tunables
        self._shard = Shard(plan, self._shared, 0.0)
        self._maps = maps
        self._cells, self._longs = maps.records.cast("I"), maps.records.cast("Q")
        self.traffic = Counter[tuple[int, int]]()
        """Packets carried, by slot and direction."""

    def carry(self, raw: bytes, now: float) -> tuple[Verdict, bytes] | None:
        """The packet as it leaves, and the verdict that a shard would give; None when it goes up."""
        value = self._value(raw)
        if value is None:
            return None
        entry, direction = value >> 1, value & 1
        if self._maps.version(entry) != VERSION:
            return None
        record = self._maps.record(entry)
        if record.is_held or _is_unusual(raw, record, direction):
            return None
        shard = self._updated_shard()
        session = _inserted(shard, record, now)
        if session is None:
            return None
        is_proxied_end = session.service.synproxy != NEVER and session.state in CLOSING
        may_be_storm = session.cookie is not None and direction and len(raw) == IP_HEADER_BYTES + 4 * (raw[32] >> 4)
        counted = self.option_counts()
        verdict = None if is_proxied_end or may_be_storm else shard.handle(raw, now)
        is_done = verdict in (TO_CLIENT, TO_REAL_SERVER) and not shard.output.segments
        shard.output.segments.clear()
        _take_out(shard, session)
        if verdict is None or not is_done or session.late_fin is not None or session.challenge is not None:
            self._shared.table(0, "ext")[:] = array("Q", counted)
            return None
        self._write_back(session, entry, now)
        self.traffic[record.slot, direction] += 1
        return verdict, shard.output.rewritten

    def option_counts(self) -> list[int]:
        """The extended counters of the packets that it carried: of the client-address option."""
        return self._shared.table(0, "ext").tolist()

    def change_services(self, services: tuple[ServicePlan, ...]) -> None:
        """Real servers were removed, or came back."""
        self._shard.change_services(services)

    def _value(self, raw: bytes) -> int | None:
        if len(raw) < _SHORTEST_BYTES or raw[0] != 0x45 or raw[9] not in (PROTO_TCP, PROTO_UDP):
            return None
        value = self._maps.table.get(flow(4, raw[9], raw[12:16] + raw[20:22], raw[16:20] + raw[22:24]))
        return None if value is None or value >> 1 >= self._maps.entries else value

    def _updated_shard(self) -> Shard:
        """The shard of its own, with the tunables in force."""
        if self._shared.generation[0] != self._outer.generation[0]:
            self._shared.tunables[:], self._shared.mtus[:] = self._outer.tunables, self._outer.mtus
            self._shared.generation[0] = self._outer.generation[0]
        return self._shard

    def _write_back(self, session: Session, entry: int, now: float) -> None:
        cells, at = self._cells, entry * CELLS
        words_of(self._longs, entry)[:] = session.words
        before = cells[at + STATE_CELL]
        opening = session.opening
        if opening is not None and opening.rs_first_seq is not None:
            cells[at + RS_FIRST_SEQ_CELL] = add(opening.rs_first_seq, -session.record(1).seq_delta)
        after = session.state | flags_of(session, before >> 8) << 8
        cells[at + STATE_CELL] = after
        self._longs[entry * LONGS + LAST_SEEN_WORD] = round(now * 1_000_000_000)
        if after != before:
            self._maps.changed[entry] = 1


def _is_unusual(raw: bytes, record: SessionRecord, direction: int) -> bool:
    """Whether Python has to judge a packet, whatever its numbers are."""
    if raw[9] == PROTO_UDP:
        return False
    if len(raw) < 40 or raw[33] & RST:
        return True
    return bool(raw[33] & SYN) and not (direction and raw[33] & ACK and record.rs_first_seq is None)


def _inserted(shard: Shard, record: SessionRecord, now: float) -> Session | None:
    """The session of a record, in the table of a shard; None when its real server is not one of its service any more."""
    sessions = shard._sessions
    protocol = "udp" if record.state == UDP_STATE else "tcp"
    service = sessions.service(protocol, record.vip.address + record.vip.port.to_bytes(2, "big"))
    if service is None:
        return None
    wanted = record.real_server.address + record.real_server.port.to_bytes(2, "big")
    real_server = next((each for each in service.real_servers if each.endpoint == wanted), None)
    if real_server is None:
        return None
    session = rebuilt(record, service, real_server)
    if protocol == "udp":
        session.state = UDP_STATE
        sessions.udp.insert(session)
    else:
        sessions.tcp.insert(session)
        session.enter(record.state)
    session.settle()
    sessions.wait(session, now + 1000)
    return session


def _take_out(shard: Shard, session: Session) -> None:
    sessions = shard._sessions
    table = sessions.udp if session.state == UDP_STATE else sessions.tcp
    if table.find(session.client_key)[0] is session:
        sessions.wheel.disarm(session)
        table.remove(session)
