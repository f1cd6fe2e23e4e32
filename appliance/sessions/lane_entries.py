"""The entries of the lane's table that one shard may use: each is free, in use, or resting.

An entry belongs to the slot of its session's local port (`ipc.lane_layout`). One that was given back rests before it is used
again: a program on another CPU that found it a moment ago may still be at work on it.
"""

from collections import deque
from collections.abc import Iterable

from appliance.ipc.lane_layout import FIRST_RESERVATION, SLOTS, entries_of_slot
from appliance.state.session import Session

REST_S = 2.0
"""How long an entry rests, in seconds. A program is done with one after some microseconds, unless its host stops it; the second
that is asked for is doubled, because the time that the caller tells may be late by a tick of the timers."""

SHORT_PERCENT = 75
"""Entries are short when more than this part of them are in use or rest. One in TIME_WAIT would keep its entry for minutes."""


class LaneEntries:
    """The entries of some slots, and whose they are.

    Entries are first used in their order, so that whoever looks for changes looks at those that were ever used.
    """

    def __init__(self, entries: int, slots: Iterable[int]) -> None:
        """`entries` is the number of all entries, of all slots; 0 when there is no lane."""
        self._parts = {slot: entries_of_slot(slot, entries) for slot in slots} if entries else {}
        self._part_size = entries_of_slot(0, entries).stop or 1
        self.reservation = FIRST_RESERVATION + min(self._parts, default=0)
        """What a flow leads to that the shard has reserved (`sessions.lane_flows`)."""
        self.owners: dict[int, list[Session | None]] = {slot: [] for slot in self._parts}
        """By slot, the sessions of its entries that were ever used, in their order; None for one without a session."""
        self._free: dict[int, list[int]] = {slot: [] for slot in self._parts}
        self._resting: deque[tuple[float, int]] = deque()
        self.in_use = 0

    @property
    def parts(self) -> dict[int, range]:
        """By slot: its entries."""
        return self._parts

    def take(self, slot: int, session: Session | None, now: float) -> int | None:
        """A free entry of a slot for this session, or for nobody yet, at `now` seconds of the monotonic clock; None when there is
        none, or when the slot belongs to another shard."""
        resting = self._resting
        while resting and resting[0][0] <= now:
            entry = resting.popleft()[1]
            self._free[entry // self._part_size].append(entry)
        owners = self.owners.get(slot)
        if owners is None:
            return None
        size = self._part_size
        if free := self._free[slot]:
            entry = free.pop()
            owners[entry - slot * size] = session
        elif len(owners) < size:
            entry = slot * size + len(owners)
            owners.append(session)
        else:
            return None
        self.in_use += 1
        return entry

    def assign(self, entry: int, session: Session | None) -> None:
        """An entry that was taken is that of this session from now on, or of none that the shard has in its tables."""
        slot = entry // self._part_size
        self.owners[slot][entry - slot * self._part_size] = session

    def is_short(self, slot: int) -> bool:
        """Whether so few entries of a slot are left that those of connections that are over should be free soon."""
        return len(self.owners[slot]) - len(self._free[slot]) > len(self._parts[slot]) * SHORT_PERCENT // 100

    def give_back(self, entry: int, now: float) -> None:
        """An entry has no session any more; it can be taken again when it has rested."""
        slot = entry // self._part_size
        self.owners[slot][entry - slot * self._part_size] = None
        self._resting.append((now + REST_S, entry))
        self.in_use -= 1

    def unused(self, slot: int) -> range:
        """The entries of a slot of the shard that were never used."""
        part = self._parts[slot]
        return range(part.start + len(self.owners[slot]), part.stop)

    def free_in(self, slot: int, entries: range) -> list[int]:
        """Those among some entries of a slot that were used, and are free or rest."""
        waiting = (entry for _, entry in self._resting)
        return [entry for some in (self._free[slot], waiting) for entry in some if entry in entries]

    @property
    def counted(self) -> int:
        """How many entries are neither free nor rest, counted anew."""
        return sum(map(len, self.owners.values())) - sum(map(len, self._free.values())) - len(self._resting)

    def owner(self, entry: int) -> Session | None:
        """The session of an entry; None when it has none, or belongs to another shard."""
        slot = entry // self._part_size
        owners = self.owners.get(slot, [])
        place = entry - slot * self._part_size
        return owners[place] if place < len(owners) else None

    def owns(self, entry: int) -> bool:
        """Whether an entry is of the shard's slots."""
        return entry // self._part_size in self._parts

    def may_own(self, entry: int) -> bool:
        """Whether an entry is of the shard's slots, or of none at all; or the reservation of one of them."""
        slot = entry - FIRST_RESERVATION if entry >= FIRST_RESERVATION else entry // self._part_size
        return slot in self._parts or slot >= SLOTS

    def claim(self, entry: int, session: Session) -> None:
        """Take just this entry, which was never used here. Those before it in its slot that were not either become free."""
        slot = entry // self._part_size
        owners, start = self.owners[slot], self._parts[slot].start
        for before in range(start + len(owners), entry):
            owners.append(None)
            self._free[slot].append(before)
        owners.append(session)
        self.in_use += 1
