"""Why sessions end: a closed list. Each reason has a counter; its value is the counter's place in the queue table."""

from enum import IntEnum

from appliance.model import counters


class EndReason(IntEnum):
    """Why a session ended, and left its table and its local port."""

    EXPIRED = counters.SESSIONS_EXPIRED
    """Its state's timeout passed without a packet."""
    DROPPED_EARLY = counters.HALF_OPEN_DROPPED
    """It was half-open, and made room for a new session in a full table."""
    TIME_WAIT_OVERFLOW = counters.TIME_WAIT_OVERFLOWS
    """It was the oldest in TIME_WAIT, and there were too many."""
    CUT = counters.SESSIONS_CUT
    """An operator cut it."""
    HANDSHAKE_FAILED = counters.HANDSHAKES_FAILED
    """The real server did not answer the SYN of a proven client, however often it was sent."""
    HANDSHAKE_ABANDONED = counters.HANDSHAKES_ABANDONED
    """A proven client sent RST before its real server had answered."""
    REPLACED = counters.SESSIONS_REPLACED
    """Its client began anew, and its real server takes no new connections."""
    REAL_SERVER_REMOVED = counters.SESSIONS_OF_REMOVED
    """Its client sent a packet, and its real server had been removed."""
    DROPPED_FROM_BACKLOG = counters.BACKLOG_DROPPED
    """It was half-open, and made room for a new session in the full backlog of its service."""
    UNCONFIRMED_DROPPED = counters.UNCONFIRMED_DROPPED
    """It was of UDP, its client had not sent again after an answer, and a new session needed its place or its local port."""
    PORT_TAKEN = counters.TIME_WAIT_PORTS_TAKEN
    """It was in TIME_WAIT, and a new session needed its local port."""
    DROPPED_FOR_LIMIT = counters.LIMITS_DROPPED
    """It was half-open, or of UDP and not confirmed, and made room for a new session in the limits of its service."""
    REAL_SERVER_DOWN = counters.SESSIONS_OF_DOWN
    """Its real server is down, and it was to leave it: at its client's next packet, or at once."""
    UNSERVED = counters.SESSIONS_UNSERVED
    """Its service was removed, or its local address is none of the gateway any more."""
    CLIENT_FULL = counters.BEYOND_CLIENT_LIMIT
    """It became established when its client had as many sessions as it may."""
