"""Tells both ends of sessions that nobody goes on with them, from their records in the lane alone."""

import logging

from appliance.edge.errors import EdgeError
from appliance.edge.raw_socket import SegmentSink
from appliance.sessions.farewell import reset_all

log = logging.getLogger("appliance.lane")


def reset_both_ends(records: memoryview) -> int:
    """Send both ends of all sessions in these records a RST that they obey; returns how many sessions there were.

    Blocks, for some 20 us a session. Raises EdgeError when nothing can be sent.
    """
    try:
        sink = SegmentSink()
    except OSError as error:
        raise EdgeError(f"cannot open a raw socket: {error.strerror} (CAP_NET_RAW is needed)") from error
    sessions = refused = 0
    for segments in reset_all(records):
        sessions += 1
        refused += sum(not sink.send(segment) for segment in segments)
    if refused:
        log.error("the kernel refused to send %d RST segments", refused)
    return sessions
