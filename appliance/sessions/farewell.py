"""What both ends of a session are told when it ends, for each reason. LVS behaviour 2.3, 3.8."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress

from appliance.ipc.session_record import RECORD_BYTES, decode, which_are_used
from appliance.model.end_reasons import EndReason
from appliance.model.tcp_state import UDP_STATE, TcpState
from appliance.nat.resets import OVER, reset_both_sides, reset_client, reset_ends, reset_half_open, reset_real_server
from appliance.state.live_tunables import LiveTunables
from appliance.state.session import Session

Farewell = Callable[[Session, LiveTunables], list[bytes]]


def _to_believers(session: Session, tunables: LiveTunables) -> list[bytes]:
    """Both ends believe an established connection to be alive; the tunable conn_expire_tcp_rst says whether they are told."""
    return reset_both_sides(session) if session.state == TcpState.ESTABLISHED and tunables.expire_rst else []


def _to_all_who_have_it(session: Session, _: LiveTunables) -> list[bytes]:
    return [] if session.state in OVER else reset_both_sides(session)


def _to_both_of_a_handshake(session: Session, _: LiveTunables) -> list[bytes]:
    """The real server may have got the SYN although its answer was lost."""
    return [reset_real_server(session), reset_client(session)]


FAREWELLS: Mapping[EndReason, Farewell] = {
    EndReason.EXPIRED: _to_believers,
    EndReason.REPLACED: _to_believers,
    EndReason.REAL_SERVER_REMOVED: _to_believers,
    EndReason.CUT: _to_all_who_have_it,
    EndReason.REAL_SERVER_DOWN: _to_all_who_have_it,
    EndReason.UNSERVED: _to_all_who_have_it,
    EndReason.CLIENT_FULL: _to_all_who_have_it,
    EndReason.DROPPED_EARLY: lambda session, _: reset_half_open(session),
    EndReason.TIME_WAIT_OVERFLOW: lambda *_: [],
    EndReason.HANDSHAKE_FAILED: _to_both_of_a_handshake,
    EndReason.HANDSHAKE_ABANDONED: lambda session, _: [reset_real_server(session)],
    EndReason.UNCONFIRMED_DROPPED: lambda *_: [],
    EndReason.PORT_TAKEN: lambda *_: [],
    EndReason.DROPPED_FROM_BACKLOG: lambda session, _: reset_half_open(session),
    EndReason.DROPPED_FOR_LIMIT: lambda session, _: [] if session.state == UDP_STATE else reset_half_open(session),
}
"""The RST segments for the ends of a session, by why it ends."""


def reset_all(records: memoryview) -> Iterator[list[bytes]]:
    """The RST segments for both ends of each session of the lane, when nobody goes on with them.

    `records` are the bytes of all records. Those of another version, and those that make no sense, are passed over.
    """
    for entry, is_used in enumerate(which_are_used(records)):
        if is_used:
            with suppress(ValueError):
                yield reset_ends(decode(bytes(records[entry * RECORD_BYTES : (entry + 1) * RECORD_BYTES])))
