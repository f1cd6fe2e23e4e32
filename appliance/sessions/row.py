"""A session as the views show it."""

from appliance.ipc.rows import SessionRow
from appliance.model.tcp_state import STATE_NAMES
from appliance.policy.choice import words
from appliance.state.progress import progress_of
from appliance.state.session import MS_PER_S, Session
from appliance.wire.flow import Direction, destination_of, source_of
from appliance.wire.show import show_endpoint


def session_row(session: Session, now: float) -> SessionRow:
    """The row of a session at `now`, seconds of the monotonic clock."""
    client_key, to_real_server = session.client_key, session.leaving_key(Direction.INBOUND)
    ends = (
        source_of(client_key),
        destination_of(client_key),
        source_of(to_real_server),
        destination_of(to_real_server),
    )
    client, vip, local, real_server = map(show_endpoint, ends)
    expires_s = max(0.0, progress_of(session).deadline - now)
    service, state, in_lane = session.service, STATE_NAMES[session.state], session.entry is not None
    chosen, age_s = words(session.choice), max(0.0, now - session.opened_ms / MS_PER_S)
    return SessionRow(
        service.name, client, vip, local, real_server, state, expires_s, service.protocol.upper(), in_lane, chosen, age_s
    )
