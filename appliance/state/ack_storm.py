"""Finds ACK storms: two ends that answer each other's acknowledgements without end. LVS behaviour 4.7, with its REC.

Identical means the same sequence and acknowledgement numbers, the same window and the same SACK blocks, of segments without
data and with no flag but ACK, one shortly after the other. So neither a keepalive on an idle session nor duplicate
acknowledgements that report progress in their SACK blocks or their window ever count, and a FIN or a RST is no part of a storm.
"""

from appliance.model.tunables import ACK_STORM_INTERVAL_S


class AckStorm:
    """The last acknowledgement of one end, and how often it came in a row."""

    __slots__ = ("_last", "_last_time", "_repeats")

    def __init__(self) -> None:
        self._last: tuple[int, int, int, bytes] | None = None
        self._last_time = 0.0
        self._repeats = 0

    def repeats(self, seq: int, ack: int, window: int, options: bytes, now: float) -> int:
        """Take note of a pure acknowledgement; how often just this one came in a row before."""
        this = (seq, ack, window, options)
        if this == self._last and now - self._last_time < ACK_STORM_INTERVAL_S:
            self._repeats += 1
        else:
            self._last, self._repeats = this, 0
        self._last_time = now
        return self._repeats
