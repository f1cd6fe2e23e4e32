"""Turns by weight: who is next, so that each has his share at every moment and not only at the end."""

from collections.abc import Sequence
from functools import reduce
from heapq import heappop, heappush
from math import gcd

_Turn = tuple[int, int, int, int]


class Turns:
    """An endless sequence of indexes 0..n-1, each as often as its weight says.

    The property: after any number of turns, each index has had more than its exact share less one, and fewer than that and one
    more. And in each run of sum(weights)/gcd turns, wherever it begins, each has had exactly its share. So it is the fair
    sequence of periodic scheduling (Baruah, Cohen, Plaxton, Varvel, "Proportionate progress", 1996): the k-th turn of an index
    may be taken in a window of the time, and of those who may take one, the one whose window closes first does. That is a heap,
    so a turn costs O(log n); the smooth weighted round robin of nginx gives the same shares and costs O(n).
    """

    def __init__(self, weights: Sequence[int], first: int = 0) -> None:
        """Weights are 0 or more. Of those who could be next by their shares alone, the one at or after `first` is."""
        common = reduce(gcd, weights, 0) or 1
        self._weights = [weight // common for weight in weights]
        self._sum = sum(self._weights)
        self._taken = 0
        count = len(weights)
        self._ready: list[_Turn] = []
        """What may be taken: the end of the window, the place among equals, the index, and which of its turns it is."""
        self._waiting: list[_Turn] = []
        """What may not be taken yet: the beginning of the window, and then the same."""
        for rank in range(count):
            index = (first + rank) % count
            if self._weights[index]:
                self._offer(index, rank, 0)

    def take(self) -> int:
        """The index whose turn it is. Raises IndexError when no weight is above 0."""
        waiting = self._waiting
        while waiting and waiting[0][0] <= self._taken:
            _, rank, index, turn = heappop(waiting)
            self._make_ready(index, rank, turn)
        _, rank, index, turn = heappop(self._ready)
        self._taken += 1
        self._offer(index, rank, turn + 1)
        return index

    def _offer(self, index: int, rank: int, turn: int) -> None:
        begins = turn * self._sum // self._weights[index]
        if begins <= self._taken:
            self._make_ready(index, rank, turn)
        else:
            heappush(self._waiting, (begins, rank, index, turn))

    def _make_ready(self, index: int, rank: int, turn: int) -> None:
        ends = -(-(turn + 1) * self._sum // self._weights[index])
        heappush(self._ready, (ends, rank, index, turn))
