"""What both ends of a session are told when it ends, for each reason. LVS behaviour 2.3, 3.8."""

from collections.abc import Callable, Mapping

from appliance.model.end_reasons import EndReason
from appliance.model.tcp_state import UDP_STATE, TcpState
from appliance.nat.resets import reset_both_sides, reset_client, reset_half_open, reset_real_server
from appliance.state.live_tunables import LiveTunables
from appliance.state.session import Session

_OVER = frozenset((TcpState.NONE, TcpState.CLOSE, TcpState.TIME_WAIT, UDP_STATE))
"""States in which neither end has a connection that it could be told of."""

Farewell = Callable[[Session, LiveTunables], list[bytes]]


def _to_believers(session: Session, tunables: LiveTunables) -> list[bytes]:
    """Both ends believe an established connection to be alive; the tunable conn_expire_tcp_rst says whether they are told."""
    return reset_both_sides(session) if session.state == TcpState.ESTABLISHED and tunables.expire_rst else []


def _to_all_who_have_it(session: Session, _: LiveTunables) -> list[bytes]:
    return [] if session.state in _OVER else reset_both_sides(session)


def _to_both_of_a_handshake(session: Session, _: LiveTunables) -> list[bytes]:
    """The real server may have got the SYN although its answer was lost."""
    return [reset_real_server(session), reset_client(session)]


FAREWELLS: Mapping[EndReason, Farewell] = {
    EndReason.EXPIRED: _to_believers,
    EndReason.REPLACED: _to_believers,
    EndReason.REAL_SERVER_REMOVED: _to_believers,
    EndReason.CUT: _to_all_who_have_it,
    EndReason.DROPPED_EARLY: lambda session, _: reset_half_open(session),
    EndReason.TIME_WAIT_OVERFLOW: lambda *_: [],
    EndReason.HANDSHAKE_FAILED: _to_both_of_a_handshake,
    EndReason.HANDSHAKE_ABANDONED: lambda session, _: [reset_real_server(session)],
    EndReason.UNCONFIRMED_DROPPED: lambda *_: [],
    EndReason.PORT_TAKEN: lambda *_: [],
    EndReason.DROPPED_FROM_BACKLOG: lambda session, _: reset_half_open(session),
}
"""The RST segments for the ends of a session, by why it ends."""
