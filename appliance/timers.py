"""A timer wheel. Its caller tells it the time, and it returns the entries whose deadline has passed.

Most packets only move a deadline further out. So arming is lazy: the owner writes `deadline` on its entry, and calls `arm` only
when the new deadline is not after `wheel_time`. A later deadline needs no call, because the wheel puts an entry back when it
looks at it before its deadline.

Deadlines are rounded up to the next tick: an entry never fires early, and fires at most one tick late.
"""

from collections import deque
from math import ceil, inf
from typing import Generic, Protocol, TypeVar


class Timed(Protocol):
    """What the wheel needs of an entry: two times in seconds on the clock of `now`, and a hash by identity."""

    deadline: float
    """When the entry is due. Its owner writes it."""
    wheel_time: float
    """The wheel looks at the entry within one tick after this time; infinite while it is not on it. The wheel writes it."""


EntryT = TypeVar("EntryT", bound=Timed)


class TimerWheel(Generic[EntryT]):
    """Holds entries in slots of one tick each. Arming, disarming and firing cost the same for ten entries or ten million.

    There is a slot for each tick that has entries, however far away it is. With a fixed number of slots, entries with a deadline
    beyond the last one would have to be looked at once in every turn of the wheel.
    """

    def __init__(self, now: float, tick_s: float = 0.1) -> None:
        self.tick_s = tick_s
        self._slots: dict[int, tuple[float, set[EntryT]]] = {}
        """By tick: the `wheel_time` of all entries of the slot, and the entries. They share one float, because a float for each
        of a million entries would take much memory."""
        self._tick = int(now / tick_s)
        """The last tick that has begun."""
        self._passed: deque[int] = deque()
        """Ticks that have begun and whose slots were not looked at yet, in order."""
        self._due: set[EntryT] = set()
        """The entries of the slot that is being looked at, as far as they were not looked at yet."""
        self._armed = 0

    def __len__(self) -> int:
        return self._armed

    @property
    def slots(self) -> list[set[EntryT]]:
        """The sets that hold the entries, for statistics about memory."""
        return [entries for _, entries in self._slots.values()]

    def arm(self, entry: EntryT) -> None:
        """Have the entry looked at within one tick after its deadline. When it will be looked at before that anyway, it stays."""
        if entry.wheel_time < entry.deadline:
            return
        if entry.wheel_time != inf:
            self.disarm(entry)
        tick = max(ceil(entry.deadline / self.tick_s), self._tick + 1)
        slot = self._slots.get(tick)
        if slot is None:
            slot = self._slots[tick] = ((tick - 1) * self.tick_s, set())
        entry.wheel_time = slot[0]
        slot[1].add(entry)
        self._armed += 1

    def disarm(self, entry: EntryT) -> None:
        """Take the entry off the wheel. Does nothing when it is not on it."""
        if entry.wheel_time == inf:
            return
        slot = self._slots.get(round(entry.wheel_time / self.tick_s) + 1)
        if slot is not None:
            slot[1].discard(entry)
        self._due.discard(entry)
        entry.wheel_time = inf
        self._armed -= 1

    def next_look(self) -> float | None:
        """When `expired` should be called next, in seconds on the clock of `now`; None while no entry is armed."""
        if not self._armed:
            return None
        return (self._tick + (not self._due and not self._passed)) * self.tick_s

    def is_behind(self, now: float) -> bool:
        """Whether entries wait to be looked at, at this time."""
        return bool(self._due or self._passed) or self._tick < int(now / self.tick_s)

    def expired(self, now: float, limit: int) -> list[EntryT]:
        """Look at up to `limit` entries whose slot has begun: take those off the wheel whose deadline is not after `now` and
        return them, and put the others back.

        Entries beyond `limit` wait, and `is_behind` says so. The caller decides when to call again, so that a million entries of
        one slot never hold up the packets.
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
        """Move the entries of the next slot that has begun into `_due`; False when there is no such slot with entries."""
        while self._passed:
            _, self._due = self._slots.pop(self._passed.popleft())
            if self._due:
                return True
        return False
