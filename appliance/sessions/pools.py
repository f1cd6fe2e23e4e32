"""Pools of endpoints that the kernel uses again by itself, as a shard sees them (`ipc.admission_layout`).

An endpoint of a pool has a session, or stands in one of the lines of its pool. The kernel moves it between the two; what it has
done stands in the lines, so the shard reads there what was opened and what has ended since it looked last.
"""

from collections.abc import Container, Iterator
from operator import eq
from typing import NamedTuple

from appliance.ipc.admission_layout import (
    GONE,
    HOME,
    LINE,
    LINE_OFFSETS,
    LINE_PLACES,
    LINES_OF_POOL,
    PLACE_LET_GO,
    PLACE_OUT,
    PLACE_TAKEN,
    PLACE_VOID,
    pools_of,
)
from appliance.sessions.lane_maps import LaneMaps
from appliance.sessions.ring import Ring

MOST_IN_POOL = LINES_OF_POOL * LINE_PLACES * 3 // 4
"""Endpoints of a pool. So there is always room in one of its lines."""

_HEAD, _TAIL, _PLACES = (LINE_OFFSETS[name] // 8 for name in ("head", "tail", "places"))
_LOW_MASK = (1 << 32) - 1
_NO_HOME = bytes(HOME.size)
_KNOWN_IN_A_MOMENT = (PLACE_OUT, PLACE_LET_GO)
_NO_SESSION = frozenset((PLACE_VOID, *_KNOWN_IN_A_MOMENT))
_HOME_CELLS = HOME.size // 4
"""Cells of a home, the last of which is its place."""


class Homes:
    """The homes of all entries."""

    def __init__(self, maps: LaneMaps) -> None:
        self._homes = maps.homes
        self._cells = maps.homes.cast("I")

    def put(self, entry: int, pool: int, ring: int, place: int = PLACE_TAKEN) -> None:
        """An endpoint belongs to a pool, in which it has this place."""
        HOME.pack_into(self._homes, entry * HOME.size, pool + 1, ring, place)

    def clear(self, entry: int) -> None:
        """An endpoint belongs to no pool."""
        self._homes[entry * HOME.size : (entry + 1) * HOME.size] = _NO_HOME

    def clear_all(self, entries: range) -> None:
        """The same for all of these."""
        self._homes[entries.start * HOME.size : entries.stop * HOME.size] = bytes(len(entries) * HOME.size)

    def place(self, entry: int) -> int:
        """Where an endpoint stands, or one of the marks PLACE_TAKEN, PLACE_VOID, PLACE_OUT and PLACE_LET_GO."""
        place: int = self._cells[entry * _HOME_CELLS + _HOME_CELLS - 1]
        return place

    def places(self, entries: list[int]) -> list[int]:
        """The same for all of these."""
        cells, last = self._cells, _HOME_CELLS - 1
        return [cells[entry * _HOME_CELLS + last] for entry in entries]


class Line:
    """One line."""

    __slots__ = ("_first_place", "_homes", "_longs", "head", "tail")

    def __init__(self, maps: LaneMaps, homes: Homes, pool: int, number: int) -> None:
        """Nobody stands there any more. No endpoint may have its home there. Numbers are left for those that are put in front."""
        self._homes = homes
        start = (pool * LINES_OF_POOL + number) * LINE.size
        self._longs = maps.lines[start : start + LINE.size].cast("Q")
        self._first_place = number * LINE_PLACES
        self.head = self.tail = self._longs[_HEAD] = self._longs[_TAIL] = max(self._longs[_TAIL], LINE_PLACES)
        """The numbers up to which the shard knows what was taken, and what has come."""

    @property
    def has_moved(self) -> bool:
        """Whether the kernel has put something here, or taken something, of which the shard does not know."""
        longs = self._longs
        return bool(longs[_HEAD] != self.head or longs[_TAIL] != self.tail)

    def _parts(self, first: int, end: int) -> Iterator[tuple[int, list[int]]]:
        """What stands at these numbers, in one part or two: the first number of each, and the places."""
        while first < end:
            place = first % LINE_PLACES
            size = min(end - first, LINE_PLACES - place)
            yield first, self._longs[_PLACES + place : _PLACES + place + size].tolist()
            first += size

    def ended(self) -> list[int]:
        """The entries that have come since this was asked last."""
        entries = list[int]()
        for first, places in self._parts(self.tail, self._longs[_TAIL]):
            numbers = [place >> 32 for place in places]
            expected = [number & _LOW_MASK for number in range(first, first + len(places))]
            if numbers != expected:  # one is just being written
                places = places[: next(at for at, number in enumerate(numbers) if number != expected[at])]
            entries += [place & _LOW_MASK for place in places]
            self.tail = first + len(places)
            if numbers != expected:
                break
        return entries

    def taken(self, opened: list[int], void: list[int]) -> None:
        """Add to these the entries that were taken since this was asked last: those that got a session, and those that came to
        nothing. One that is not known to have come is told the next time."""
        for first, places in self._parts(self.head, min(self._longs[_HEAD], self.tail)):
            entries = [place & _LOW_MASK for place in places]
            known = self._known_of(entries, self._first_place + first % LINE_PLACES)
            if known is None:
                self._taken_one_by_one(first, entries, opened, void)
                if self.head < first + len(places):
                    return
            else:
                opened += known
                self.head = first + len(places)

    def _known_of(self, entries: list[int], place: int) -> list[int] | None:
        """These, which stood one behind the other from this place on, when all of them have got sessions; else None. Most do, and
        this costs a tenth of a look at each."""
        if GONE in entries:
            return None
        where = self._homes.places(entries)
        has_special = not _NO_SESSION.isdisjoint(where) or any(map(eq, where, range(place, place + len(entries))))
        return None if has_special else entries

    def _taken_one_by_one(self, first: int, entries: list[int], opened: list[int], void: list[int]) -> None:
        for number, entry in enumerate(entries, first):
            if entry != GONE:
                where = self._homes.place(entry)
                if where == self._first_place + number % LINE_PLACES or where in _KNOWN_IN_A_MOMENT:
                    return
                (void if where == PLACE_VOID else opened).append(entry)
            self.head = number + 1

    def put(self, entry: int, pool: int, ring: int) -> None:
        """Put an endpoint behind the others. The ring is closed, and all that came is known."""
        number = self._longs[_TAIL]
        place = number % LINE_PLACES
        self._homes.put(entry, pool, ring, self._first_place + place)
        self._longs[_PLACES + place] = (number & _LOW_MASK) << 32 | entry
        self._longs[_TAIL] = self.tail = number + 1

    def put_first(self, entry: int, pool: int, ring: int) -> None:
        """Put an endpoint before all others. The ring is closed, and all events are known."""
        head, tail = self._longs[_HEAD], self._longs[_TAIL]
        while head < tail and self._longs[_PLACES + head % LINE_PLACES] & _LOW_MASK == GONE:
            head += 1
        number = head - 1
        place = number % LINE_PLACES
        self._homes.put(entry, pool, ring, self._first_place + place)
        self._longs[_PLACES + place] = (number & _LOW_MASK) << 32 | entry
        self._longs[_HEAD] = self.head = number

    def take_out(self, place: int) -> None:
        """Take the endpoint at this place out. The ring is closed."""
        self._longs[_PLACES + place] |= GONE

    def first(self, passed: Container[int]) -> int | None:
        """The entry of the first endpoint that is not among those `passed`; None when there is none."""
        longs = self._longs
        for number in range(longs[_HEAD], self.tail):
            entry: int = longs[_PLACES + number % LINE_PLACES] & _LOW_MASK
            if entry != GONE and entry not in passed:
                return entry
        return None

    def __len__(self) -> int:
        """How many stand there, at most."""
        length: int = self._longs[_TAIL] - self._longs[_HEAD]
        return length


class Events(NamedTuple):
    """What the kernel has done with the endpoints of a pool."""

    opened: list[int]
    """Entries that were taken, and have a session."""
    void: list[int]
    """Those that were taken and came to nothing."""
    ended: list[int]
    """Those whose session is over, and that rest; of some of them it is only told the next time that they were opened."""


_NOTHING = Events([], [], [])


class Pool:
    """The endpoints towards one real server of one service."""

    __slots__ = ("_homes", "lines", "number", "ring", "size", "too_early")

    def __init__(self, maps: LaneMaps, homes: Homes, number: int, ring: Ring) -> None:
        """`ring` is that of the service."""
        self._homes = homes
        self.number, self.ring = number, ring
        self.lines = tuple(Line(maps, homes, number, line) for line in range(LINES_OF_POOL))
        self.size = 0
        """How many endpoints belong here."""
        self.too_early: list[int] = []
        """Entries that are known to have ended, and not yet to have been opened."""

    def events(self) -> Events:
        """Those since this was asked last."""
        if not any(line.has_moved for line in self.lines):  # most pools, where there are many
            return _NOTHING
        ended = [entry for line in self.lines for entry in line.ended()]  # first: each of them was opened before
        opened, void = list[int](), list[int]()
        for line in self.lines:
            line.taken(opened, void)
        return Events(opened, void, ended)

    def admit(self, entry: int) -> None:
        """An endpoint that has a session belongs here from now on."""
        self._homes.put(entry, self.number, self.ring.number)
        self.size += 1

    def dismiss(self, entry: int) -> None:
        """An endpoint belongs here no more. The ring is closed, and all events are known; or it came to nothing."""
        place = self._homes.place(entry)
        if place not in (PLACE_TAKEN, PLACE_VOID):
            self.lines[place // LINE_PLACES].take_out(place % LINE_PLACES)
        self._homes.clear(entry)
        self.size -= 1

    def put(self, entry: int) -> None:
        """Put an endpoint of this pool, whose session is over and held, in line. The ring is closed, and all events are known."""
        min(self.lines, key=len).put(entry, self.number, self.ring.number)

    @property
    def room(self) -> int:
        """How many more endpoints may belong here."""
        return MOST_IN_POOL - self.size

    def put_first(self, entry: int) -> None:
        """An endpoint belongs here from now on, and is the next one of its line. The ring is closed, and all events are known."""
        self.size += 1
        min(self.lines, key=len).put_first(entry, self.number, self.ring.number)

    def firsts(self, passed: Container[int]) -> list[int]:
        """The entries of those that are the first ones of their lines, behind those `passed`."""
        return [entry for line in self.lines if (entry := line.first(passed)) is not None]


def free_pools(entries: int, shard: int, shards: int) -> list[int]:
    """The numbers of the pools of a shard."""
    return list(range(shard, pools_of(entries), shards))
