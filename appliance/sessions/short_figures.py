"""What all figures have of the short-lived sessions of a shard (`sessions.short_lived`), counted for many at once."""

from collections import Counter
from collections.abc import Sequence
from typing import Protocol

from appliance.ipc.shared_layout import SharedState
from appliance.model.counters import ACTIVE_CONNS, CONNS, OVER_CONNS, SESSIONS_SHORT
from appliance.model.end_reasons import EndReason
from appliance.model.tcp_state import TcpState
from appliance.sessions.ring import Ticket
from appliance.state.by_state import ByState
from appliance.state.real_server import RealServer
from appliance.state.services import VirtualService
from appliance.state.session import Session

_ESTABLISHED, _TIME_WAIT = int(TcpState.ESTABLISHED), int(TcpState.TIME_WAIT)


class Owner(Protocol):
    """What is counted in the sessions of a shard."""

    by_state: ByState[Session]
    busy: dict[RealServer, VirtualService[Session]]


class ShortFigures:
    """Those of one shard. A young session counts as established, and one whose endpoint rests as in TIME_WAIT."""

    def __init__(self, owner: Owner, shared: SharedState, shard: int, counts: memoryview) -> None:
        """`counts` is the table "queue" of the shard."""
        self._by_state = owner.by_state.counts
        self._busy = owner.busy
        self._session_counts, self._shard = shared.session_counts, shard
        self._counts = counts

    def begin(self, tickets: Sequence[Ticket]) -> None:
        """These are young."""
        for ticket, number in _by_real_server(tickets):
            session = ticket.session
            counts = session.counts
            counts[CONNS] += number
            counts[ACTIVE_CONNS] += number
            self._busy[session.real_server] = session.service
        self._by_state[_ESTABLISHED] += len(tickets)
        self._session_counts[self._shard] += len(tickets)

    def use_again(self, ticket: Ticket, number: int) -> None:
        """So many that rested, of the real server of this one, are young sessions now."""
        counts = ticket.session.counts
        counts[CONNS] += number
        counts[ACTIVE_CONNS] += number
        counts[OVER_CONNS] -= number
        self._by_state[_ESTABLISHED] += number
        self._by_state[_TIME_WAIT] -= number
        self._counts[EndReason.PORT_TAKEN] += number

    def rest(self, ticket: Ticket, number: int) -> None:
        """So many, of the real server of this one, were young, and rest."""
        counts = ticket.session.counts
        counts[ACTIVE_CONNS] -= number
        counts[OVER_CONNS] += number
        self._by_state[_ESTABLISHED] -= number
        self._by_state[_TIME_WAIT] += number
        self._counts[SESSIONS_SHORT] += number

    def come_to_rest(self, ticket: Ticket) -> None:
        """This one was in the tables, where it is counted no more as what it was; the shard has as many sessions as before."""
        ticket.session.counts[OVER_CONNS] += 1
        self._by_state[_TIME_WAIT] += 1

    def take_in(self, ticket: Ticket) -> None:
        """This one was young, and goes into the tables, where it is counted anew."""
        counts = ticket.session.counts
        counts[CONNS] -= 1
        counts[ACTIVE_CONNS] -= 1
        self._by_state[_ESTABLISHED] -= 1
        self._session_counts[self._shard] -= 1

    def wake(self, ticket: Ticket) -> None:
        """The same for one that rested."""
        ticket.session.counts[CONNS] -= 1
        self._rests_no_more(ticket)

    def end(self, ticket: Ticket, because: EndReason) -> None:
        """This one rested, and is over for this reason."""
        self._counts[because] += 1
        self._rests_no_more(ticket)

    def _rests_no_more(self, ticket: Ticket) -> None:
        ticket.session.counts[OVER_CONNS] -= 1
        self._by_state[_TIME_WAIT] -= 1
        self._session_counts[self._shard] -= 1


def _by_real_server(tickets: Sequence[Ticket]) -> list[tuple[Ticket, int]]:
    """A ticket of each real server, and how many it has."""
    real_servers = [ticket.session.real_server for ticket in tickets]
    some = dict(zip(real_servers, tickets, strict=True))
    return [(some[real_server], number) for real_server, number in Counter(real_servers).items()]
