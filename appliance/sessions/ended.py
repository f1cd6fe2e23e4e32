"""Sessions that have ended, for the session log, until the director takes them. While the log is off, there are none.

Everybody can open sessions, so both how many are taken a second and how many wait here are bounded; what is left out is counted.
"""

from collections import deque
from collections.abc import Callable, Collection
from typing import Protocol

from appliance.ipc.rows import SessionEnd
from appliance.ipc.session_record import Flags, SessionRecord
from appliance.model.end_reasons import EndReason
from appliance.model.tcp_state import STATE_NAMES, UDP_STATE, TcpState
from appliance.sessions.lane import Lane
from appliance.state.by_state import ByState
from appliance.state.live_tunables import LiveTunables
from appliance.state.rewrite_record import arriving_keys
from appliance.state.session import MS_PER_S, Session
from appliance.wire.flow import destination_of, source_of
from appliance.wire.show import show_endpoint

MOST_WAITING = 2000
"""Ended sessions that wait for the director, at most: two megabytes."""

BATCH = 200
"""How many are handed over at once: to write them down takes a millisecond or two."""

STARTED_ANEW = "started_anew"
"""The reason of a session in whose place its client began anew; it goes on as another one, so no `EndReason` has it."""

_NS_PER_MS = 1_000_000
_OVER = frozenset((TcpState.TIME_WAIT, TcpState.CLOSE))
_CLOSED_BY_BOTH = _OVER | {TcpState.LAST_ACK}


class Owner(Protocol):
    """What is needed of the sessions of the shard."""

    lane: Lane
    by_state: ByState[Session]
    tunables: LiveTunables


class EndedSessions:
    """Those of one shard."""

    def __init__(self, owner: Owner, most_per_s: int, services: Collection[str]) -> None:
        """`most_per_s` 0 is off. `services` are the names of those whose sessions are wanted; none: of all."""
        self._owner = owner
        self._waiting: deque[SessionEnd] = deque()
        self._left_out = 0
        self._second, self._left = -1.0, 0
        self.before: Callable[[], None] = lambda: None
        """Called before a change is in force."""
        self.change(most_per_s, services)

    def change(self, most_per_s: int, services: Collection[str]) -> None:
        """Take so many a second from now on, of these services."""
        self.before()
        self._most_per_s, self._services = most_per_s, frozenset(services)
        self.is_on = most_per_s > 0
        """Whether any is taken; who ends a session asks first."""

    def __len__(self) -> int:
        return len(self._waiting)

    def note(self, session: Session, reason: str) -> None:
        """A session ends, or starts anew. It is as it was, and still in the lane if it is there."""
        service, now = session.service, self._owner.by_state.now
        if not self._takes(service.name, now):
            return
        self._owner.lane.refresh(session)
        client_key, server_key = arriving_keys(session.records)
        ends = (source_of(client_key), destination_of(client_key), destination_of(server_key), source_of(server_key))
        client, vip, local, real_server = map(show_endpoint, ends)
        state, opened_ms = session.state, session.opened_ms
        last_ms = min(max(opened_ms, int(self._last_packet_s(session) * MS_PER_S)), int(now * MS_PER_S))
        is_over = state in _OVER or reason == EndReason.EXPIRED.name.lower()
        _, _, _, in_packets, in_bytes, _, _, _, out_packets, out_bytes = session.words.tolist()
        self._waiting.append(
            SessionEnd(
                service.name,
                service.protocol,
                client,
                vip,
                local,
                real_server,
                STATE_NAMES[state],
                reason,
                _closed_by(state, was_reset=session.was_reset),
                session.cookie is not None,
                opened_ms,
                last_ms if is_over else max(opened_ms, int(now * MS_PER_S)),
                in_packets,
                in_bytes,
                out_packets,
                out_bytes,
            )
        )

    def note_record(self, record: SessionRecord, now: float) -> None:
        """A session that an earlier worker has left in the lane ends at once, because its service, or its local address, is gone.
        Nobody knows the name of that service."""
        if self._services or not self._takes("", now):
            return
        self._waiting.append(
            SessionEnd(
                "",
                "udp" if record.state == UDP_STATE else "tcp",
                show_endpoint(record.client.packed),
                show_endpoint(record.vip.packed),
                show_endpoint(record.local.packed),
                show_endpoint(record.real_server.packed),
                STATE_NAMES[record.state],
                EndReason.UNSERVED.name.lower(),
                _closed_by(record.state, was_reset=bool(record.flags & Flags.WAS_RESET)),
                record.cookie is not None,
                record.opened_ms,
                max(record.opened_ms, record.last_seen_ns // _NS_PER_MS if record.state in _OVER else int(now * MS_PER_S)),
                record.inbound_packets,
                record.inbound_bytes,
                record.outbound_packets,
                record.outbound_bytes,
            )
        )

    def _takes(self, service: str, now: float) -> bool:
        """Whether there is room for one more; counts those for which there is none."""
        if self._services and service not in self._services:
            return False
        if not 0 <= now - self._second < 1:
            self._second, self._left = now, self._most_per_s
        if not self._left or len(self._waiting) >= MOST_WAITING:
            self._left_out += 1
            return False
        self._left -= 1
        return True

    def _last_packet_s(self, session: Session) -> float:
        """When the last packet came that the deadline goes by, if tunables were then as they are now."""
        tunables = self._owner.tunables
        idle_s = tunables.udp_unconfirmed_s if session.is_unconfirmed else tunables.timeouts_s[session.state]
        return session.deadline - idle_s

    def take(self) -> tuple[list[SessionEnd], int]:
        """Up to BATCH of them, which are forgotten here, and how many were left out since the last time."""
        rows = [self._waiting.popleft() for _ in range(min(BATCH, len(self._waiting)))]
        left_out, self._left_out = self._left_out, 0
        return rows, left_out


def _closed_by(state: int, *, was_reset: bool) -> str:
    """How the ends have closed it: "fin" by both, "rst" by one; empty when they have not."""
    if was_reset:
        return "rst"
    return "fin" if state in _CLOSED_BY_BOTH else ""
