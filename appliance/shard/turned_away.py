"""A client whose real server is not to get its packets any more."""

from appliance.model.end_reasons import EndReason
from appliance.model.verdict import Verdict
from appliance.model.verdicts import REAL_SERVER_GONE, SERVER_DOWN
from appliance.sessions.lifecycle import Sessions
from appliance.state.session import Session


def turn_away(session: Session, sessions: Sessions) -> Verdict:
    """A client's packet for a real server that is down: the session ends. For one that was removed, it ends with its time, or
    now. LVS behaviour 2.3. Nor is there a session of a service that was removed."""
    if session.service.is_removed:
        sessions.end(session, EndReason.UNSERVED)
        return REAL_SERVER_GONE
    if not session.real_server.is_removed:
        sessions.end(session, EndReason.REAL_SERVER_DOWN)
        return SERVER_DOWN
    if sessions.tunables.expire_nodest:
        sessions.end(session, EndReason.REAL_SERVER_REMOVED)
    return REAL_SERVER_GONE
