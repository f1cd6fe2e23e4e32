"""A drain: a real server gets no new sessions, and what is left of the old ones ends at a deadline, a few at a time. Pure."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

from appliance.health.check import Target

LONGEST_DEADLINE_S = 7 * 24 * 3600
"""The longest time until a deadline: a week."""

SPREAD_S = 5.0
"""Over how many seconds behind the deadline the sessions that are left end: all clients that came back in one moment would be a
load that their next real servers have not had before."""

ASK_AGAIN_S = 1.0
"""When shards are asked again, after one of them could not tell: to answer, each looks at all its sessions."""

SLICE_S = 0.1
SLICE_SESSIONS = 500
"""How often some sessions end, and how many of one shard at once at most: less than a tenth of the shard's time. So 5,000 a
second end in each shard at most, and more than 25,000 in one shard take longer than SPREAD_S."""


@dataclass(slots=True)
class Drain:
    """The drain of one real server. Times are seconds of the monotonic clock, which goes on from one process to the next."""

    began: float
    deadline: float | None = None
    """When what is left ends; None when it may take as long as it takes."""
    is_gone: bool = False
    """Whether its last session is gone, and everybody was told."""
    ends_by: float | None = None
    """When the last of its sessions is to be ended; None before the deadline."""
    ask_again_at: float = 0.0
    """When shards are asked again whether it has sessions, after one of them could not tell."""

    def is_due(self, now: float) -> bool:
        """Whether the deadline has passed."""
        return self.deadline is not None and now >= self.deadline

    def to_end(self, count: int, now: float, chance: float) -> int:
        """How many of `count` sessions of a shard end now; to be asked every SLICE_S, past the deadline. `chance`, 0..1, is
        another one each time: so a few sessions do not all end in the first moment, and not all shards end one in the same."""
        slices_left = ((self.ends_by or now) - now) / SLICE_S
        wanted = count if slices_left < 1 else int(count / slices_left + chance)
        return min(wanted, count, SLICE_SESSIONS)


def as_rows(drains: Mapping[Target, Drain]) -> list[list[object]]:
    """Drains as JSON has them; `from_rows` reads it."""
    return [[*target, drain.began, drain.deadline, drain.is_gone] for target, drain in sorted(drains.items())]


def from_rows(rows: object, now: float) -> dict[Target, Drain]:
    """The drains in what `as_rows` wrote. Raises ValueError for anything else.

    Those that began in the future are of another boot of the machine, so they begin now.
    """
    if not isinstance(rows, list):
        raise ValueError("it is no list")
    return dict(_from_row(row, now) for row in rows)


def _from_row(row: object, now: float) -> tuple[Target, Drain]:
    match row:
        case [str(service), str(address), int(port), int() | float() as began, None | int() | float() as deadline, bool(is_gone)]:
            pass
        case _:
            raise ValueError(f"{str(row)[:80]!r} is no drain")
    if not (isfinite(began) and (deadline is None or began <= deadline <= began + 2 * LONGEST_DEADLINE_S)):
        raise ValueError(f"{str(row)[:80]!r} has impossible times")
    late = max(0.0, began - now)
    return Target(service, address, port), Drain(began - late, None if deadline is None else deadline - late, is_gone)
