"""The table of Maglev: a place for each hash, and a real server in each place.

Source: Eisenbud and others, "Maglev: a fast and reliable software network load balancer", NSDI 2016, section 3.4. Each real
server has an order of preference of all places, its own permutation; they take turns, and each takes the first place of its order
that is free. With weights, they take turns by weight (see `turns`); LVS and others repeat turns instead.

The table is a function of endpoints, weights and the number of places: the same in every process, whatever order they are given
in.
"""

from array import array
from collections import deque
from collections.abc import Sequence
from typing import Final
from weakref import ReferenceType, WeakValueDictionary, ref

from appliance.policy.schedulers.hashing import fixed_hash
from appliance.policy.schedulers.turns import Turns

PLACES: Final = (251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65537, 131071)
"""How many places a table can have. All are primes, so that any step through them comes to each place."""

USUAL_PLACES: Final = 65537
"""That of the paper."""

MOST_TABLES_BYTES = 256 * 1024 * 1024
"""How much the tables of all services may take in a shard. The configuration says how much they take, so nobody else can add to
it. While a table is replaced, the one before it is there as well."""

STEP_PROBES = 4000
"""How much of a table is built between two turns of packets: what so many looks at places take, about half a millisecond."""

_PLACE_PROBES = 8
"""What a place takes beside the looks for it, in looks."""

_LAST_PLACES = 128
"""So few free places are found by division, two milliseconds for all, because the looks for each would take longer than a
step."""

_MOST_IN_BYTES = 255
"""A place of a table with so many real servers is one byte, else two. The highest number means free."""

Shares = tuple[tuple[bytes, int], ...]
"""Endpoint and weight, above 0, of each real server, in the order of endpoints."""


def place_bytes(real_servers: int) -> int:
    """How many bytes one place of a table takes."""
    return 1 if real_servers <= _MOST_IN_BYTES else 2


class MaglevTable:
    """A table that is built step by step. It is used when it `is_complete`."""

    def __init__(self, shares: Shares, places: int) -> None:
        """`places` is one of PLACES, and not less than the number of real servers."""
        self._shares = shares
        kind = "B" if place_bytes(len(shares)) == 1 else "H"
        self._free = (1 << 8 * place_bytes(len(shares))) - 1
        self._owners = array(kind, [self._free]) * places
        self._left = places
        self._turns = Turns([weight for _, weight in shares])
        self._next = [fixed_hash(endpoint, b"mh first") % places for endpoint, _ in shares]
        self._skips = [fixed_hash(endpoint, b"mh skip") % (places - 1) + 1 for endpoint, _ in shares]

    @property
    def is_complete(self) -> bool:
        """Whether every place has its real server."""
        return not self._left

    @property
    def endpoints(self) -> Sequence[bytes]:
        """Those of the real servers, in order."""
        return [endpoint for endpoint, _ in self._shares]

    @property
    def owners(self) -> "array[int]":
        """By place: which of the `endpoints` it leads to. The table must be complete; it does not change any more."""
        return self._owners

    def endpoint_at(self, number: int) -> bytes:
        """The endpoint of the real server for a hash. The table must be complete."""
        return self._shares[self._owners[number % len(self._owners)]][0]

    def build_some(self, probes: int) -> None:
        """Fill more places, which takes about so many looks at places; the last _LAST_PLACES are filled at once."""
        owners, free, places, take = self._owners, self._free, len(self._owners), self._turns.take
        while self._left > _LAST_PLACES and probes > 0:
            index = take()
            place, skip = self._next[index], self._skips[index]
            while owners[place] != free:
                place += skip
                if place >= places:
                    place -= places
            owners[place] = index
            self._next[index] = place
            probes -= _PLACE_PROBES + places // self._left
            self._left -= 1
        if self._left <= _LAST_PLACES:
            self._fill_last_places()

    def _fill_last_places(self) -> None:
        """Fill the places that are still free, as if each was looked for: the step that comes to a place is found by division."""
        places, rest, begin = len(self._owners), list[int](), 0
        for _ in range(self._left):
            rest.append(self._owners.index(self._free, begin))
            begin = rest[-1] + 1
        inverses: dict[int, int] = {}
        while rest:
            index = self._turns.take()
            inverse = inverses.get(index) or inverses.setdefault(index, pow(self._skips[index], -1, places))
            first = self._next[index]
            _, place = min(((place - first) * inverse % places, place) for place in rest)
            self._owners[place] = index
            rest.remove(place)
        self._left = 0


class MaglevTables:
    """The tables of one shard. Services with the same real servers, weights and number of places have one together.

    A table that no service wants any more is gone.
    """

    def __init__(self) -> None:
        self._tables: WeakValueDictionary[tuple[Shares, int], MaglevTable] = WeakValueDictionary()
        self._unfinished: deque[ReferenceType[MaglevTable]] = deque()

    def table(self, shares: Shares, places: int) -> MaglevTable:
        """The table of these real servers, which may still have to be built."""
        found = self._tables.get((shares, places))
        if found is None:
            found = self._tables[shares, places] = MaglevTable(shares, places)
            self._unfinished.append(ref(found))
        return found

    def build_some(self) -> bool:
        """Build on for about half a millisecond, two at the end of a table; True while there is more to build."""
        while self._unfinished:
            table = self._unfinished[0]()
            if table is not None and not table.is_complete:
                table.build_some(STEP_PROBES)
                return True
            self._unfinished.popleft()
        return False
