"""Sessions of the tables that retire: they are over, and their endpoints come to rest in the pools of their real servers.

A session that a shard has opened by itself, or taken into its tables, stays there in TIME_WAIT. When its client comes again, the
SYN comes up and begins a new connection in its place, which stays there as well. So behind one SYN that came up, whatever the
reason was, all later ones from that port would, and a busy client would leave the kernel port by port. An endpoint in a pool goes
round, and its client may come again (`bpf/returning.h`). So where there are pools, a session that is over does not stay here.
"""

from array import array
from collections.abc import Callable, Sequence
from typing import Protocol

from appliance.nat.lport import LocalPorts
from appliance.sessions.lane import Lane
from appliance.sessions.pools import Pool
from appliance.sessions.resting import Resting
from appliance.sessions.ring import Ticket
from appliance.sessions.short_figures import ShortFigures
from appliance.sessions.spares import no_client
from appliance.state.by_state import ByState
from appliance.state.lane_entry import CELLS, HELD_CELL, is_closed, is_plain
from appliance.state.services import VirtualService
from appliance.state.session import Session
from appliance.state.session_table import SessionTable
from appliance.state.sources import SourceCounts
from appliance.timers import TimerWheel
from appliance.wire.flow import Direction

_NOT_BEHIND_A_LOOK_S = 0.25
"""For so long behind each step of a query nobody retires: one that the query has seen at rest, or not there, would else be in
neither place when it comes by."""

_AT_ONCE = 100
"""Sessions that retire in a look at most: a millisecond's work, or two."""


class Owner(Protocol):
    """What is needed of the sessions of a shard."""

    lane: Lane
    tcp: SessionTable
    wheel: TimerWheel[Session]
    sources: dict[str, SourceCounts]
    by_state: ByState[Session]


class Retiring:
    """Those of one shard."""

    def __init__(
        self,
        owner: Owner,
        ports: LocalPorts,
        resting: Resting,
        figures: ShortFigures,
        may_have: Callable[[VirtualService[Session], float], bool],
        room: Callable[[], int],
    ) -> None:
        """`may_have` is that of `ShortLived`; `room` says how many more short-lived sessions the shard may have."""
        self._owner, self._ports = owner, ports
        self._resting, self._figures = resting, figures
        self._may_have, self._room = may_have, room
        records = owner.lane.maps.records
        self._cells, self._longs = records.cast("I"), records.cast("Q")
        self._paused_until_s = 0.0

    def pause(self) -> None:
        """Somebody walks through all sessions, and is at it still."""
        self._paused_until_s = self._owner.by_state.now + _NOT_BEHIND_A_LOOK_S

    def look(self) -> bool:
        """Let some of those retire whose connections were found to be over since; True when there are more."""
        lane = self._owner.lane
        if not lane.over or self._owner.by_state.now < self._paused_until_s:
            return False
        over = [lane.over.popleft() for _ in range(min(len(lane.over), _AT_ONCE))]
        by_pool = dict[Pool, list[tuple[Session, int]]]()
        for session in dict.fromkeys(over):
            pool, entry = self._resting.pools.get(session.real_server), session.entry
            if pool is not None and entry is not None and self._may_retire(session, pool):
                by_pool.setdefault(pool, []).append((session, entry))
        for pool, some in by_pool.items():
            self._retire(pool, some)
        return bool(lane.over)

    def _may_retire(self, session: Session, pool: Pool) -> bool:
        """Whether the kernel may use its endpoint for others. One from the time of other local addresses or ports is not for
        them."""
        if session.was_reset or not is_plain(session):
            return False
        address, port = session.local_end
        is_own = address in session.service.local_addresses and self._ports.has(address, session.real_server.endpoint, port)
        return is_own and self._may_have(session.service, pool.ring.rate)

    def _retire(self, pool: Pool, sessions: Sequence[tuple[Session, int]]) -> None:
        """Let these retire, each with its entry, as far as there is room."""
        if (too_many := len(sessions) - min(pool.room, self._room())) > 0:
            self._resting.free_rested(pool, too_many)
        with pool.ring.closed():
            self._resting.read(pool)
            for session, entry in sessions:
                if not pool.room or self._room() <= 0:
                    return  # it starts anew in the tables, when its client comes again
                self._retire_one(pool, session, entry)

    def _retire_one(self, pool: Pool, session: Session, entry: int) -> None:
        held = entry * CELLS + HELD_CELL
        if self._cells[held]:
            return
        self._cells[held] = 1
        if not is_closed(self._longs, self._cells, entry):
            self._cells[held] = 0
            return
        self._leave_tables(session, entry)
        self._resting.come(pool, Ticket(_without_client(session), entry, None))

    def _leave_tables(self, session: Session, entry: int) -> None:
        owner = self._owner
        owner.wheel.disarm(session)
        owner.tcp.remove(session)
        owner.sources[session.service.protocol].remove(session.client_address)
        owner.lane.entries.assign(entry, None)
        session.words, session.entry = array("Q", session.words.tobytes()), None


def _without_client(session: Session) -> Session:
    """A session between the same real server and local endpoint, for a client that is not known yet."""
    key = session.leaving_key(Direction.INBOUND)
    empty = Session(session.service, session.real_server, no_client(session.service), key, 0, session.isn)
    empty.choice = session.choice
    return empty
