"""Which check is due when: a heap of moments."""

from collections.abc import Hashable
from heapq import heappop, heappush
from itertools import count
from math import inf
from typing import Generic, TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)


class Agenda(Generic[KeyT]):
    """The next moment of each key. A key has one moment at most."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, KeyT]] = []
        self._moments: dict[KeyT, float] = {}
        self._numbers = count()

    def __contains__(self, key: KeyT) -> bool:
        return key in self._moments

    def __len__(self) -> int:
        return len(self._moments)

    def put(self, key: KeyT, moment: float) -> None:
        """Let this be the moment of a key, in the place of any other."""
        self._moments[key] = moment
        heappush(self._heap, (moment, next(self._numbers), key))
        if len(self._heap) > 2 * len(self._moments) + 64:  # most of it is outdated
            self._heap = [entry for entry in self._heap if self._moments.get(entry[2]) == entry[0]]
            self._heap.sort()

    def drop(self, key: KeyT) -> None:
        """Forget a key."""
        self._moments.pop(key, None)

    def hasten(self, key: KeyT, moment: float) -> None:
        """Let a key that waits for a later moment be due at this one."""
        if self._moments.get(key, -inf) > moment:
            self.put(key, moment)

    def next_moment(self) -> float:
        """The earliest moment of all; inf when there is none."""
        while self._heap:
            moment, _, key = self._heap[0]
            if self._moments.get(key) == moment:
                return moment
            heappop(self._heap)
        return inf

    def take_due(self, now: float, at_most: int) -> list[KeyT]:
        """Up to `at_most` keys whose moment has come, the earliest first. They have none from now on."""
        due: list[KeyT] = []
        while len(due) < at_most and self.next_moment() <= now:
            key = heappop(self._heap)[2]
            del self._moments[key]
            due.append(key)
        return due
