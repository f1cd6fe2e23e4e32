"""Spare endpoints: local endpoints that no session has had yet, at the front of the lines of pools (`sessions.pools`).

Where the client's address says which real server a session gets, nothing can be decided for whoever comes next, as a ticket is.
So each pool that has no endpoint to give that has rested gets some spare ones: a real server, a local endpoint and an entry each,
whose record has no client and version 0. The kernel takes one like any other, and from then on it goes round with them. It is
held and was never seen, so it need not rest.
"""

from collections.abc import Container
from typing import Protocol

from appliance.model.counters import TICKETS_RETURNED
from appliance.model.tcp_state import TcpState
from appliance.sessions.admission import Admission
from appliance.sessions.lane import Lane
from appliance.sessions.pools import Pool
from appliance.sessions.ring import Ticket
from appliance.state.by_state import ByState
from appliance.state.lane_entry import write_record
from appliance.state.live_tunables import LiveTunables
from appliance.state.progress import RS_ACKED
from appliance.state.real_server import RealServer
from appliance.state.services import VirtualService
from appliance.state.session import Session
from appliance.state.session_phases import Opening
from appliance.wire.family import IPV4
from appliance.wire.flow import FIRST_KEY, flow_key

_NO_CLIENT = FIRST_KEY[: IPV4.endpoint_bytes]
_SYN_RECV = int(TcpState.SYN_RECV)


class Owner(Protocol):
    """What spare endpoints need of the sessions of their shard."""

    lane: Lane
    tunables: LiveTunables
    by_state: ByState[Session]


def no_client(service: VirtualService[Session]) -> bytes:
    """The flow key of a client of a service who is not known yet."""
    return flow_key(_NO_CLIENT, service.endpoint)


class Spares(Container[int]):
    """Those of one shard."""

    def __init__(self, owner: Owner, admission: Admission, counts: memoryview) -> None:
        """`admission` is that of TCP; `counts` is the table "queue" of the shard."""
        self._owner = owner
        self._admission = admission
        self._counts = counts
        self.tickets: dict[int, Ticket] = {}
        """By entry."""
        self._entries: dict[RealServer, set[int]] = {}
        """Those of each real server that has some."""

    def __len__(self) -> int:
        return len(self.tickets)

    def __contains__(self, entry: object) -> bool:
        return entry in self.tickets

    def number(self, real_server: RealServer) -> int:
        """How many a real server has, as far as it is known: the kernel may just have taken some."""
        return len(self._entries.get(real_server, ()))

    def put(self, pool: Pool, service: VirtualService[Session], real_server: RealServer, number: int) -> int:
        """Put up to `number` more into the pool of a real server; returns how many. The ring is closed, and all events are
        known."""
        for made in range(number):
            ticket = self._made(service, real_server) if pool.room else None
            if ticket is None:
                return made
            pool.put_first(ticket.entry)
            self.tickets[ticket.entry] = ticket
            self._entries.setdefault(real_server, set()).add(ticket.entry)
        return number

    def _made(self, service: VirtualService[Session], real_server: RealServer) -> Ticket | None:
        """None when there is no local port or entry for it."""
        lane, tries, now = self._owner.lane, self._owner.tunables.lport_tries, self._owner.by_state.now
        prepared = self._admission.prepare(service, real_server, no_client(service), tries, now)
        if prepared is None:
            return None
        session, last_seq = prepared
        entry = lane.take_entry(session)
        if entry is None:
            self._admission.take_back(session, last_seq)
            return None
        session.choice = service.usual_choice
        session.state, session.opening = _SYN_RECV, Opening()
        write_record(session, lane.maps.records, entry, is_held=True, last_seen_ns=0, version=0)
        lane.words(entry)[RS_ACKED] = session.isn if last_seq is None else last_seq  # the kernel's step goes on from there
        return Ticket(session, entry, last_seq)

    def pop(self, entry: int) -> Ticket | None:
        """The kernel has taken the endpoint of this entry, which is not spare from now on; None when it was not."""
        ticket = self.tickets.pop(entry, None)
        if ticket is not None:
            self._entries.get(ticket.session.real_server, set()).discard(entry)
        return ticket

    def give_back(self, entry: int, pool: Pool) -> bool:
        """Free one that came to nothing, or that nobody can take; False when it was not spare."""
        ticket = self.pop(entry)
        if ticket is None:
            return False
        pool.dismiss(entry)
        self._admission.take_back(ticket.session, ticket.last_seq)
        self._owner.lane.return_entry(entry)
        self._counts[TICKETS_RETURNED] += 1
        return True

    def empty(self, real_server: RealServer, pool: Pool) -> None:
        """Free all those of a pool, which is that of a real server. The ring is closed, and all events are known."""
        for entry in self._entries.pop(real_server, ()):
            self.give_back(entry, pool)
