"""A timer wheel that is told the time and returns what is due.

Most packets only push a deadline further out. So arming is lazy: the owner writes `deadline` on its entry and calls `arm`
only when that is not after `wheel_time`; a later deadline needs nothing, because an entry that is looked at before its
deadline is put back.

Deadlines are rounded up to the next tick: an entry never fires early, and fires at most one tick late.
"""

from collections import deque
from math import ceil, inf
from typing import Generic, Protocol, TypeVar


class Timed(Protocol):
    """What the wheel needs of an entry: two moments in seconds on the clock of `now`, and identity as its hash."""

    deadline: float
    wheel_time: float
    """The wheel looks at the entry within one tick after this moment; infinite while it is not on the wheel."""


EntryT = TypeVar("EntryT", bound=Timed)


class TimerWheel(Generic[EntryT]):
    """Holds entries in slots of one tick each. Arming, disarming and firing cost the same for ten entries or ten million.

    There is a slot for each tick that has entries, however far away: a rim of a fixed length, that deadlines beyond it go round,
    would have each of those looked at once a round.
    """

    def __init__(self, now: float, tick_s: float = 0.1) -> None:
        self.tick_s = tick_s
        self._slots: dict[int, tuple[float, set[EntryT]]] = {}
        """By tick, with the `wheel_time` of all who are in it: a float of its own for each would be a million floats."""
        self._tick = int(now / tick_s)  # the last one that has begun
        self._passed: deque[int] = deque()
        """Ticks that have begun and whose slots were not yet looked at, in order."""
        self._due: set[EntryT] = set()
        self._armed = 0

    def __len__(self) -> int:
        return self._armed

    @property
    def slots(self) -> list[set[EntryT]]:
        """The sets that hold the entries."""
        return [entries for _, entries in self._slots.values()]

    def arm(self, entry: EntryT) -> None:
        """Have the entry looked at within a tick after its deadline; one that already will be stays where it is."""
        if entry.wheel_time < entry.deadline:
            return
        self.disarm(entry)
        tick = max(ceil(entry.deadline / self.tick_s), self._tick + 1)
        slot = self._slots.get(tick)
        if slot is None:
            slot = self._slots[tick] = ((tick - 1) * self.tick_s, set())
        entry.wheel_time = slot[0]
        slot[1].add(entry)
        self._armed += 1

    def disarm(self, entry: EntryT) -> None:
        """Take the entry off the wheel; one that is not on it is left alone."""
        if entry.wheel_time == inf:
            return
        slot = self._slots.get(round(entry.wheel_time / self.tick_s) + 1)
        if slot is not None:
            slot[1].discard(entry)
        self._due.discard(entry)
        entry.wheel_time = inf
        self._armed -= 1

    def next_look(self) -> float | None:
        """When `expired` should be called next, in seconds on the clock of `now`; None while nothing is armed."""
        if not self._armed:
            return None
        return (self._tick + (not self._due and not self._passed)) * self.tick_s

    def is_behind(self, now: float) -> bool:
        """Whether there may be more to look at without any time passing."""
        return bool(self._due or self._passed) or self._tick < int(now / self.tick_s)

    def expired(self, now: float, limit: int) -> list[EntryT]:
        """Look at up to `limit` entries whose turn it is, and take those off the wheel whose deadline is not after `now`.

        What is not looked at waits, and `is_behind` says so: the caller decides when to come back, so that a million entries
        whose turn comes together never hold up the packets.
        """
        self._turn_to(int(now / self.tick_s))
        fired: list[EntryT] = []
        for _ in range(limit):
            if not self._due and not self._load_next_slot():
                break
            entry = self._due.pop()
            entry.wheel_time = inf
            self._armed -= 1
            if entry.deadline > now:
                self.arm(entry)
            else:
                fired.append(entry)
        return fired

    def _turn_to(self, tick: int) -> None:
        # After a long sleep there are fewer slots than ticks.
        begun = range(self._tick + 1, tick + 1) if tick - self._tick <= len(self._slots) else sorted(self._slots)
        self._passed.extend(passed for passed in begun if self._tick < passed <= tick and passed in self._slots)
        self._tick = max(self._tick, tick)

    def _load_next_slot(self) -> bool:
        """Move the next slot that has begun and holds anything into `_due`; False when there is none."""
        while self._passed:
            _, self._due = self._slots.pop(self._passed.popleft())
            if self._due:
                return True
        return False
