"""How many sessions of a shard are in which state, and in which order some of them came there."""

from collections import OrderedDict
from typing import TYPE_CHECKING

from appliance.tcp_state import STATE_NAMES, TcpState

if TYPE_CHECKING:  # entries know their service, which knows this
    from appliance.conn import ConnEntry

Line = OrderedDict["ConnEntry", float]
"""Sessions in the order they came, the oldest first, and when that was. One in the middle leaves as easily as the first."""

NO_LINE, HALF_OPEN_LINE, TIME_WAIT_LINE = range(3)

_LINES: dict[int, int] = {
    TcpState.SYN_RECV: HALF_OPEN_LINE,
    TcpState.SYN_SENT: HALF_OPEN_LINE,
    TcpState.TIME_WAIT: TIME_WAIT_LINE,
}

LINE_OF_STATE = bytes(_LINES.get(state, NO_LINE) for state in range(len(STATE_NAMES)))
"""By state: the line in which its sessions stand, because the oldest may have to go before their time."""


class Population:
    """Of one shard, TCP and UDP together."""

    __slots__ = ("by_state", "now", "time_wait")

    def __init__(self, now: float) -> None:
        self.by_state = [0] * len(STATE_NAMES)
        """How many sessions are in each state."""
        self.time_wait: Line = OrderedDict()
        self.now = now
        """When somebody who enters a line does so, in seconds of the monotonic clock; at most a look at the timers ago."""
