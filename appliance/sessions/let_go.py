"""Packets that came up because their session was held, and whose session the kernel has again when Python judges them.

To hold the session once more for each of them would bring up those that come meanwhile, and so on: as long as packets come
faster than Python judges them, a session that was held once would never get out of its hands. A packet that moves nothing needs
no hold. It is rewritten by numbers that do not change, and what it tells goes into the words that the kernel writes as well.
"""

from appliance.model.tcp_state import CLOSING, NEXT, TcpState
from appliance.sessions.lane_maps import LaneMaps
from appliance.state.lane_entry import (
    CELLS,
    HELD_CELL,
    IN_ITS_OPENING,
    LAST_SEEN_WORD,
    LONGS,
    NS_PER_S,
    STATE_CELL,
    STATE_MASK,
)
from appliance.state.services import NEVER
from appliance.state.session import Session
from appliance.wire.layout import ACK

_STEADY = frozenset(
    state
    for state in (TcpState.ESTABLISHED, TcpState.FIN_WAIT, TcpState.CLOSE_WAIT)
    if {table[ACK][state] for table in NEXT} == {state}
)
"""States of sessions that are alive and that no acknowledgement moves."""


class LetGo:
    """Tells the packets of one shard for which no session has to be held."""

    def __init__(self, maps: LaneMaps) -> None:
        self._cells, self._longs = maps.records.cast("I"), maps.records.cast("Q")

    def is_for_segment(self, session: Session, now: float) -> bool:
        """Whether a segment that has ACK, and none of SYN, FIN and RST, needs no hold. It counts as seen at `now` then."""
        state = session.state
        if state not in _STEADY or session.opening is not None:
            return False
        # A client that returns a cookie on a session that closes begins a new connection.
        if state in CLOSING and session.service.synproxy != NEVER:
            return False
        return self._is_carried(session, STATE_MASK | IN_ITS_OPENING, now)

    def is_for_datagram(self, session: Session, now: float) -> bool:
        """Whether a datagram needs no hold. It counts as seen at `now` then."""
        return not session.is_unconfirmed and self._is_carried(session, STATE_MASK, now)

    def _is_carried(self, session: Session, mask: int, now: float) -> bool:
        """Whether the kernel has the session, in the state that Python knows and with nothing else in the `mask` of its cell."""
        entry = session.entry
        if entry is None or session.real_server.lets_go:
            return False
        at = entry * CELLS
        if self._cells[at + HELD_CELL] or self._cells[at + STATE_CELL] & mask != session.state:
            return False
        self._longs[entry * LONGS + LAST_SEEN_WORD] = int(now * NS_PER_S)
        return True
