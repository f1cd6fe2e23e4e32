"""Tickets: how one is made, what becomes of it when the kernel has taken it, and how it is given back (`sessions.prepared`)."""

from array import array
from typing import Protocol

from appliance.ipc.shared_layout import SharedState
from appliance.ipc.syn_options import syn_options_in
from appliance.model.counters import TICKETS_RETURNED
from appliance.model.end_reasons import EndReason
from appliance.model.tcp_state import TcpState
from appliance.nat.opening import syn_of_kernel
from appliance.sessions.admission import Admission
from appliance.sessions.asked import await_answer, claim
from appliance.sessions.ended import EndedSessions
from appliance.sessions.lane import Lane
from appliance.sessions.ring import Ticket
from appliance.sessions.short_lived import ShortLived
from appliance.state.by_state import ByState
from appliance.state.lane_entry import each, flows_of, prepare_record, take_client
from appliance.state.lane_entry_proxied import take_cookie
from appliance.state.live_tunables import LiveTunables
from appliance.state.output import ShardOutput
from appliance.state.progress import RS_ACKED
from appliance.state.real_server import RealServer
from appliance.state.services import VirtualService
from appliance.state.session import Session
from appliance.state.session_phases import Opening
from appliance.state.session_table import SessionTable
from appliance.state.sources import Places, SourceCounts
from appliance.timers import TimerWheel
from appliance.wire import craft
from appliance.wire.flow import Direction
from appliance.wire.seq import add

_SYN_RECV, _SYN_SENT = int(TcpState.SYN_RECV), int(TcpState.SYN_SENT)
_OVER = (int(TcpState.TIME_WAIT), int(TcpState.CLOSE))


class Owner(Protocol):
    """What tickets need of the sessions of their shard."""

    tcp: SessionTable
    lane: Lane
    tunables: LiveTunables
    wheel: TimerWheel[Session]
    sources: dict[str, SourceCounts]
    by_state: ByState[Session]
    ended: EndedSessions
    busy: dict[RealServer, VirtualService[Session]]

    def begin(self, session: Session, places: Places) -> None:
        """Put a session of TCP that was just opened into its table."""

    def end(self, session: Session, because: EndReason) -> None:
        """End a session."""

    def wait(self, session: Session, until: float) -> None:
        """Set the deadline of a session."""


class Tickets:
    """The tickets of one shard. `short` are the sessions that need no place in the tables."""

    def __init__(
        self, owner: Owner, admission: Admission, shared: SharedState, shard: int, output: ShardOutput, counts: memoryview
    ) -> None:
        """As `Prepared` has them."""
        self._owner = owner
        self._admission = admission
        self._counts = counts
        self._output = output
        self._ready_by_slot = shared.ready[shard * shared.destinations : (shard + 1) * shared.destinations]
        self._ready_by_slot[:] = array("Q", bytes(self._ready_by_slot.nbytes))
        self.short = ShortLived(owner, admission, shared, shard, counts, self.take_in)

    def count_ready(self, real_server: RealServer, more: int) -> None:
        """Count so many more tickets as ready for a real server, here and where other shards look."""
        real_server.ready += more
        self._ready_by_slot[real_server.slot] = real_server.ready

    def make(self, service: VirtualService[Session], client_key: bytes, now: float) -> Ticket | None:
        """A new admission; None when there is no real server, local port or entry for it. `client_key` is `spares.no_client`."""
        lane = self._owner.lane
        real_server = service.pick_real_server(client_key, now)
        if real_server is None:
            return None
        prepared = self._admission.prepare(service, real_server, client_key, self._owner.tunables.lport_tries, now)
        if prepared is None:
            service.take_back_pick(real_server)
            return None
        session, last_seq = prepared
        entry = lane.take_entry(session)
        if entry is None:
            service.take_back_pick(real_server)
            self._admission.take_back(session, last_seq)
            return None
        self.count_ready(real_server, 1)
        session.state, session.opening = _SYN_RECV, Opening()
        prepare_record(session, lane.maps.records, entry)
        return Ticket(session, entry, last_seq)

    def give_back(self, ticket: Ticket) -> None:
        """A ticket came to nothing: its real server is the next one to be picked, and all else is free."""
        session, lane, last_seq = ticket.session, self._owner.lane, ticket.last_seq
        self.count_ready(session.real_server, -1)
        session.service.take_back_pick(session.real_server)
        self._admission.take_back(session, last_seq)
        lane.return_entry(ticket.entry)
        self._counts[TICKETS_RETURNED] += 1

    def take_in(self, ticket: Ticket) -> None:
        """A ticket was taken, and is a session of the tables now."""
        session, owner, lane = ticket.session, self._owner, self._owner.lane
        proof = claim(lane.maps, ticket.entry)
        take_client(session, lane.maps.records, ticket.entry)
        take_cookie(session, lane.maps.records, ticket.entry)
        other = owner.tcp.find(session.client_key)[0]
        if other is not None:
            if other.entry is not None or other.state not in _OVER or not owner.tunables.reuse:
                self._give_up(ticket, other)
                return
            owner.end(other, EndReason.REPLACED)
        lane.give(session, ticket.entry)
        owner.begin(session, owner.sources["tcp"].places(session.client_address))
        if proof is not None:
            await_answer(session, proof, owner)
            return
        lane.refresh(session)
        if session.state == _SYN_SENT:  # nobody knows what was to be sent on: the kernel was stopped when it joined both ends
            owner.end(session, EndReason.HANDSHAKE_FAILED)
            return
        opening = session.opening
        if opening is not None and opening.rs_first_seq is None:
            opening.syn = syn_of_kernel(session, syn_options_in(lane.maps.records, ticket.entry), owner.tunables)

    def _give_up(self, ticket: Ticket, other: Session) -> None:
        """The client has another session, of which the kernel did not know: that one goes on, and the client sends again."""
        session, lane = ticket.session, self._owner.lane
        lane.publish_flows()  # those of the other one among them
        client_flow, server_flow = each(flows_of(session))
        lane.maps.remove_flow(server_flow)
        if other.entry is None:
            lane.maps.remove_flow(client_flow)
        lane.clear(ticket.entry)
        self._output.segments.append(craft.rst(session.leaving_key(Direction.INBOUND), add(session.isn, 1)))
        self.count_ready(session.real_server, 1)
        self.give_back(ticket._replace(last_seq=lane.words(ticket.entry)[RS_ACKED]))
