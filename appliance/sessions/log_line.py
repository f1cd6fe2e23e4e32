"""The lines of the session log: one JSON object each. Pure."""

import json
from datetime import UTC, datetime

from appliance.ipc.rows import SessionEnd

_MS_PER_S = 1000
LONGEST_NAME = 200
"""Characters of the name of a service that a line has: the configuration does not limit names, and a line is written at once."""


def session_line(end: SessionEnd, epoch_ms: int) -> bytes:
    """The line of a session that has ended. `epoch_ms` is added to its times to make them milliseconds since the epoch."""
    return _line(
        {
            "event": "session",
            "opened": _time(end.opened_ms + epoch_ms),
            "ended": _time(end.ended_ms + epoch_ms),
            "duration_s": (end.ended_ms - end.opened_ms) / _MS_PER_S,
            "service": end.service[:LONGEST_NAME],
            "protocol": end.protocol,
            "client": end.client,
            "vip": end.vip,
            "local": end.local,
            "real_server": end.real_server,
            "in_packets": end.in_packets,
            "in_bytes": end.in_bytes,
            "out_packets": end.out_packets,
            "out_bytes": end.out_bytes,
            "proxied": end.is_proxied,
            "state": end.state,
            "reason": end.reason,
            "closed_by": end.closed_by or None,
        }
    )


def left_out_line(sessions: int, now_ms: int) -> bytes:
    """The line that says how many sessions have ended without a line since the last such line; `now_ms` since the epoch."""
    return _line({"event": "left_out", "time": _time(now_ms), "sessions": sessions})


def _line(fields: dict[str, object]) -> bytes:
    return json.dumps(fields, separators=(",", ":")).encode() + b"\n"


def _time(ms: int) -> str:
    """ISO 8601, UTC, with milliseconds. A time that no calendar has is the epoch's."""
    seconds, rest = divmod(ms, _MS_PER_S)
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        moment, rest = datetime.fromtimestamp(0, UTC), 0
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest:03}Z"
