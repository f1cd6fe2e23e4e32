"""Sessions that an earlier worker has left in the lane: the next one adopts them before it takes its first packet.

The kernel carries their packets meanwhile. Each record of the shard's slots is either a session afterwards, with its flows, its
local port and its place in all counts and lines, or it is given up, and its entry and its flows are free.
"""

from typing import NamedTuple

from appliance.ipc.session_record import RECORD_BYTES, SessionRecord, decode
from appliance.model.counters import RECORDS_REFUSED, SESSIONS_ADOPTED, SESSIONS_UNSERVED
from appliance.model.tcp_state import UDP_STATE, TcpState
from appliance.nat.resets import reset_ends
from appliance.policy.steering import SLOT_MASK
from appliance.sessions.asked import await_answer, claim
from appliance.sessions.lifecycle import Sessions
from appliance.state.by_state import ORDER_OF_STATE
from appliance.state.lane_entry import each, flows_of, rebuilt
from appliance.state.output import ShardOutput
from appliance.state.session import Session

_IN_NO_LANE = frozenset((TcpState.NONE, TcpState.SYN_SENT, TcpState.LISTEN, TcpState.SYNACK))
"""States in which no session is in the lane, but for one whose real server the kernel has asked."""


class Adopted(NamedTuple):
    """What came of the records of a shard."""

    sessions: int
    """How many became sessions."""
    refused: int
    """How many made no sense."""
    unserved: int
    """How many were of a service, or had a local address, that there is no more, or had lost the first data of their clients:
    both ends were reset."""
    first_problem: str
    """What was wrong with the first one that was refused; empty when none was."""


class Adoption:
    """Adopts the sessions of one shard, which has none yet."""

    def __init__(self, sessions: Sessions, output: ShardOutput, queue_counts: memoryview, now: float) -> None:
        """`now` is in seconds of the monotonic clock, which has to be the one of the earlier worker."""
        self._sessions = sessions
        self._output = output
        self._queue_counts = queue_counts
        self._now = now
        self._flows: dict[bytes, int] = {}
        self._waiting: list[tuple[float, Session, int]] = []
        """Sessions that are kept oldest first, with the moment when they were seen last, and their state."""
        self._proofs: dict[int, bytes] = {}
        """By entry: the packet that waits for the answer of a real server."""
        self._adopted = self._refused = self._unserved = 0
        self._first_problem = ""

    def run(self) -> Adopted:
        """Adopt all sessions of the shard's slots."""
        lane, by_state = self._sessions.lane, self._sessions.by_state
        if lane.is_on:
            for slot, entries in lane.entries.parts.items():
                for entry in lane.entries_with_record(entries):
                    self._adopt(entry, slot)
            self._waiting.sort(key=lambda waiting: waiting[0])
            for last_seen_s, session, state in self._waiting:
                by_state.now = last_seen_s
                self._take_in(session, state, last_seen_s)
            by_state.now = self._now
            lane.release_held()
            self._mend_flows()
            for entry in lane.maps.proofs():
                if lane.entries.may_own(entry):
                    lane.maps.take_proof(entry)
        for place, count in (
            (SESSIONS_ADOPTED, self._adopted),
            (RECORDS_REFUSED, self._refused),
            (SESSIONS_UNSERVED, self._unserved),
        ):
            self._queue_counts[place] += count
        return Adopted(self._adopted, self._refused, self._unserved, self._first_problem)

    def _adopt(self, entry: int, slot: int) -> None:
        lane = self._sessions.lane
        lane.maps.changed[entry] = 0  # before the record is read: what moves from now on sets it again
        proof = claim(lane.maps, entry, waits=False)
        start = entry * RECORD_BYTES
        try:
            record = decode(bytes(lane.maps.records[start : start + RECORD_BYTES]))
            is_asked = record.state == TcpState.SYN_SENT and record.cookie is not None
            if record.state in _IN_NO_LANE and not is_asked:
                raise ValueError(f"session record: state {record.state} is that of no session in the lane")
            # Without the packet that waits, which was lost with the earlier worker, nobody can go on.
            session = None if is_asked and proof is None else self._session(record, slot)
        except ValueError as error:
            self._refused += 1
            self._first_problem = self._first_problem or f"entry {entry}: {error}"
            lane.clear(entry)
            return
        if session is None:
            self._unserved += 1
            self._output.segments += reset_ends(record)
            if self._sessions.ended.is_on:
                self._sessions.ended.note_record(record, self._now)
            lane.clear(entry)
            return
        self._adopted += 1
        if proof is not None:
            self._proofs[entry] = proof
        last_seen_s = lane.adopt(session, entry, self._now)
        client_flow, server_flow = each(flows_of(session))
        self._flows |= {client_flow: 2 * entry, server_flow: 2 * entry + 1}
        if ORDER_OF_STATE[record.state]:
            self._waiting.append((last_seen_s, session, record.state))
        else:
            self._take_in(session, record.state, last_seen_s)

    def _session(self, record: SessionRecord, slot: int) -> Session | None:
        """The session of a record, with its local port. None when there is no such service, or its local address is none of any
        service any more: then no rule may bring the packets of its real server. Raises ValueError for a record that cannot be
        that of a session in this slot, or that shares a flow or a port with another one."""
        sessions, protocol = self._sessions, "udp" if record.state == UDP_STATE else "tcp"
        if record.local.port & SLOT_MASK != slot:
            raise ValueError(f"session record: local port {record.local.port} is not of slot {slot}")
        service = sessions.service(protocol, record.vip.packed)
        if service is None or record.local.address not in sessions.changes.local_addresses:
            return None
        session = rebuilt(record, service, service.real_server_of_adopted(record.real_server.packed))
        table = sessions.udp if protocol == "udp" else sessions.tcp
        if any(table.find(key)[0] for key in (session.client_key, session.server_key)):
            raise ValueError("session record: another session has its flow")
        ports = sessions.local_ports(protocol)
        if not ports.adopt(record.local.address, session.real_server.endpoint, record.local.port):
            raise ValueError(f"session record: another session has local port {record.local.port}")
        return session

    def _take_in(self, session: Session, state: int, last_seen_s: float) -> None:
        sessions = self._sessions
        sessions.take_in(session, state)
        sessions.wait(session, last_seen_s + sessions.tunables.timeouts_s[state])
        proof = self._proofs.pop(session.entry, None) if session.entry is not None else None
        if proof is not None:
            await_answer(session, proof, sessions)
        if not session.service.lane:
            sessions.lane.hold(session)
            sessions.lane.leave(session)
            for flow in each(flows_of(session)):
                del self._flows[flow]

    def _mend_flows(self) -> None:
        """Make the flows those of the sessions: a worker that was killed may have been between the two."""
        lane, missing = self._sessions.lane, self._flows
        for flow, value in list(lane.maps.flows()):
            if not lane.entries.may_own(value >> 1):
                continue
            if missing.get(flow) == value:
                del missing[flow]
            else:
                lane.maps.remove_flow(flow)
        for entry in {value >> 1 for value in missing.values()}:
            session = lane.entries.owner(entry)
            if session is None:
                continue
            flows = flows_of(session)
            lane.maps.remove(flows)
            if lane.maps.insert(flows, [entry]):
                lane.hold(session)
                lane.outside.add(session)
                lane.leave(session)
