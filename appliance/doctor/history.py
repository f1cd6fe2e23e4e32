"""What a row of samples tells: what has risen, what grows until it is full, who has not answered. Pure.

Samples are in their order, the last one is of this moment. A counter that went down was reset and has not risen.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from appliance.doctor.facts import Sample, ServerCounts

RECENT_S = 60.0
"""A counter rises when it has risen within this time: so a fault that was mended is forgotten a minute later."""

_LONGEST_FORECAST_S = 86_400.0
_SHORTEST_TREND_S = 60.0

_ANSWER_S = 3.0
"""How long a real server may take for its first answer before it counts as silent."""


class Rise(NamedTuple):
    """By how much a counter has risen, and within how many seconds."""

    by: int
    within_s: float

    @property
    def per_s(self) -> float:
        """Events per second."""
        return self.by / self.within_s if self.within_s > 0 else 0.0

    def __str__(self) -> str:
        return f"{self.by} more in {self.within_s:.0f} s"


def risen(samples: Sequence[Sample], value: Callable[[Sample], int], within_s: float = RECENT_S) -> Rise:
    """By how much a value has risen in the last `within_s` seconds, or as long as there are samples."""
    newest = samples[-1]
    recent = [sample for sample in samples if newest.at_s - sample.at_s <= within_s]
    return Rise(max(0, value(newest) - value(recent[0])), newest.at_s - recent[0].at_s)


def counted(*names: str) -> Callable[[Sample], int]:
    """The sum of these counters of the gateway, for `risen`."""
    return lambda sample: sum(sample.counts.get(name, 0) for name in names)


def tcp_ext(*names: str) -> Callable[[Sample], int]:
    """The sum of these counters of the host's TCP, for `risen`. A kernel that does not have one counts zero."""
    return lambda sample: sum(sample.tcp_ext.get(name, 0) for name in names)


def seconds_until(samples: Sequence[Sample], value: Callable[[Sample], float], limit: float) -> float | None:
    """In how many seconds a value reaches a limit when it goes on as it does; None when it does not grow, or not steadily.

    Growth is steady when it has lasted for a minute at least, and was no slower in the second half than half of its average: so
    a gateway that has just been put to work gives no alarm.
    """
    newest, oldest = samples[-1], samples[0]
    span_s = newest.at_s - oldest.at_s
    if span_s < _SHORTEST_TREND_S:
        return None
    middle = min(samples, key=lambda sample: abs(sample.at_s - (newest.at_s + oldest.at_s) / 2))
    rate = (value(newest) - value(oldest)) / span_s
    late_rate = (value(newest) - value(middle)) / max(newest.at_s - middle.at_s, 1e-9)
    if rate <= 0 or late_rate < rate / 2:
        return None
    seconds = max(0.0, limit - value(newest)) / rate
    return seconds if seconds <= _LONGEST_FORECAST_S else None


def unanswered(samples: Sequence[Sample], slot: int) -> int:
    """How many sessions a real server was sent since its last packet, without those that it may still be about to answer."""
    newest, now = samples[-1], samples[-1].server(slot)
    if now.conns <= samples[0].server(slot).conns:
        return 0  # without new sessions, as on most real servers of a large gateway, there is nothing to look for
    silent_since = newest
    for sample in reversed(samples):
        if sample.server(slot).out_packets != now.out_packets:
            break
        silent_since = sample
    due = [sample for sample in samples if newest.at_s - sample.at_s >= _ANSWER_S]
    return max(0, due[-1].server(slot).conns - silent_since.server(slot).conns) if due else 0


def held_ports(counts: ServerCounts, time_wait: int, all_inactive: int) -> float:
    """About how many ports of a real server's sessions cannot be taken from them: those in TIME_WAIT can.

    It is counted for the whole gateway how many sessions are in TIME_WAIT; here they are shared out among all that are not in
    ESTABLISHED.
    """
    share = min(1.0, time_wait / all_inactive) if all_inactive else 0.0
    return counts.active + counts.inactive * (1 - share)


def duration(seconds: float) -> str:
    """A time as words, in one unit."""
    for unit_s, unit in ((86_400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * unit_s:
            return f"{seconds / unit_s:.0f} {unit}"
    return f"{seconds:.0f} seconds"
