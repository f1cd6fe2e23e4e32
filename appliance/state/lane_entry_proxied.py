"""What the record of a proxied session has more than that of another one that the kernel has opened (`state.lane_entry`)."""

from typing import Any

from appliance.ipc.session_record import OFFSETS, RECORD_BYTES, Flags
from appliance.state.rewrite_record import packed
from appliance.state.session import Session
from appliance.wire.flow import Direction

_FLAGS_AT = OFFSETS["flags"]
_HAS_COOKIE, _HAS_ANSWER = int(Flags.HAS_COOKIE), int(Flags.HAS_ANSWER)


def take_cookie(session: Session, records: memoryview, entry: int) -> None:
    """Give a session of which the kernel has found the client the number that the client was answered with, if it was; and, when
    the kernel has joined both ends, what that means for their packets."""
    flags = records[entry * RECORD_BYTES + _FLAGS_AT]
    session.cookie = _number(records, entry, "cookie", 4) if flags & _HAS_COOKIE else None
    if session.cookie is None or not flags & _HAS_ANSWER:
        return
    inbound, outbound = session.record(Direction.INBOUND), session.record(Direction.OUTBOUND)
    session.records = packed(
        inbound._replace(
            ack_delta=_number(records, entry, "inbound_ack_delta", 4), window_shift=_shift(records, entry, "inbound_window_shift")
        ),
        outbound._replace(
            seq_delta=_number(records, entry, "outbound_seq_delta", 4),
            window_shift=_shift(records, entry, "outbound_window_shift"),
        ),
        session.isn,
        session.opened_ms,
    )


def _number(records: memoryview, entry: int, field: str, size: int, *, signed: bool = False) -> int:
    start = entry * RECORD_BYTES + OFFSETS[field]
    value: Any = records[start : start + size]
    return int.from_bytes(value, "little", signed=signed)


def _shift(records: memoryview, entry: int, field: str) -> int:
    return _number(records, entry, field, 1, signed=True)
