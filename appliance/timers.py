"""A hashed timer wheel that is told the time and returns what is due.

Most packets only push a deadline further out. So arming is lazy: the owner writes `deadline` on its entry and calls `arm`
only when that is not after `wheel_time`; a later deadline needs nothing, because an entry that is looked at before its
deadline is put back.

Deadlines are rounded up to the next tick: an entry never fires early, and fires at most one tick late.
"""

from collections.abc import Sequence, Sized
from math import ceil, inf
from typing import Generic, Protocol, TypeVar


class Timed(Protocol):
    """What the wheel needs of an entry: two moments in seconds on the clock of `now`, and identity as its hash."""

    deadline: float
    wheel_time: float
    """The wheel looks at the entry within one tick after this moment; infinite while it is not on the wheel."""


EntryT = TypeVar("EntryT", bound=Timed)


class TimerWheel(Generic[EntryT]):
    """Holds entries in slots of one tick each. Arming, disarming and firing cost the same for ten entries or ten million."""

    def __init__(self, now: float, tick_s: float = 0.1, slots: int = 4096) -> None:
        self.tick_s = tick_s
        self._slots: list[set[EntryT]] = [set() for _ in range(slots)]
        self._times = [inf] * slots
        """The last `wheel_time` given out by each slot: entries of one slot share one float, not each its own."""
        self._tick = int(now / tick_s)  # the last tick whose slot was emptied
        self._due: set[EntryT] = set()
        self._armed = 0

    def __len__(self) -> int:
        return self._armed

    @property
    def slots(self) -> Sequence[Sized]:
        """The sets that hold the entries."""
        return self._slots

    def arm(self, entry: EntryT) -> None:
        """Have the entry looked at within a tick after its deadline; one that already will be stays where it is."""
        if entry.wheel_time < entry.deadline:
            return
        self.disarm(entry)
        tick = max(ceil(entry.deadline / self.tick_s), self._tick + 1)
        index, wheel_time = tick % len(self._slots), (tick - 1) * self.tick_s
        if self._times[index] != wheel_time:
            self._times[index] = wheel_time
        entry.wheel_time = self._times[index]
        # A deadline further away than one round is looked at once a round, in the slot it will fire from.
        self._slots[index].add(entry)
        self._armed += 1

    def disarm(self, entry: EntryT) -> None:
        """Take the entry off the wheel; one that is not on it is left alone."""
        if entry.wheel_time == inf:
            return
        self._slots[(round(entry.wheel_time / self.tick_s) + 1) % len(self._slots)].discard(entry)
        self._due.discard(entry)
        entry.wheel_time = inf
        self._armed -= 1

    def next_look(self) -> float | None:
        """When `expired` should be called next, in seconds on the clock of `now`; None while nothing is armed."""
        if not self._armed:
            return None
        return (self._tick + (not self._due)) * self.tick_s

    def is_behind(self, now: float) -> bool:
        """Whether there may be more to look at without any time passing."""
        return bool(self._due) or self._tick < int(now / self.tick_s)

    def expired(self, now: float, limit: int) -> list[EntryT]:
        """Look at up to `limit` entries whose turn it is, and take those off the wheel whose deadline is not after `now`.

        What is not looked at waits, and `is_behind` says so: the caller decides when to come back, so that a million entries
        whose turn comes together never hold up the packets.
        """
        fired: list[EntryT] = []
        for _ in range(limit):
            if not self._due and not self._load_next_slot(now):
                break
            entry = self._due.pop()
            entry.wheel_time = inf
            self._armed -= 1
            if entry.deadline > now:
                self.arm(entry)
            else:
                fired.append(entry)
        return fired

    def _load_next_slot(self, now: float) -> bool:
        """Move the next slot that holds anything and whose tick has begun into `_due`; False when there is none."""
        last = int(now / self.tick_s)
        # After a long sleep one round shows every slot; walking the skipped rounds would show nothing new.
        self._tick = max(self._tick, last - len(self._slots))
        while self._tick < last:
            self._tick += 1
            index = self._tick % len(self._slots)
            if self._slots[index]:
                self._due, self._slots[index] = self._slots[index], set()
                return True
        return False
