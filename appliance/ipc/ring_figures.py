"""What stands in the rings and lines of prepared admissions at one moment, for whoever wants to see it. Pure; it only reads."""

from collections.abc import Iterator
from typing import NamedTuple

from appliance.ipc.admission_layout import (
    BY_ADDRESS,
    BY_LOOKUP,
    BY_PERSISTENCE,
    LINE,
    LINE_OFFSETS,
    LINES_OF_POOL,
    NO_POOL,
    RING,
    RING_OFFSETS,
)

WAYS = {0: "turns", BY_ADDRESS: "address", BY_LOOKUP: "address", BY_PERSISTENCE: "persistence"}
"""By `by_client` of a ring: how the kernel finds the place in a schedule."""

_HEAD, _TAIL = RING_OFFSETS["head"] // 8, RING_OFFSETS["tail"] // 8
_IS_OPEN, _LENGTH, _BY_CLIENT = (RING_OFFSETS[name] // 4 for name in ("is_open", "schedule_length", "by_client"))
_LOOKUP_LENGTH, _SCHEDULE = RING_OFFSETS["lookup_length"] // 4, RING_OFFSETS["schedule"] // 2
_LINE_HEAD, _LINE_TAIL = LINE_OFFSETS["head"] // 8, LINE_OFFSETS["tail"] // 8


class RingFigures(NamedTuple):
    """One ring."""

    is_open: bool
    """Whether the kernel may take something there."""
    ready: int
    """Tickets."""
    way: str
    """One of WAYS; empty when the kernel has no schedule there."""
    places: int
    """Those of the schedule, or of the table that leads there."""
    pools: int
    """How many pools it leads to, one for each real server that gets new sessions."""
    empty_pools: int
    """Those of them in which no endpoint stands."""
    in_line: int
    """Endpoints that stand in those pools, at most: they rest, or are spare."""

    @property
    def is_idle(self) -> bool:
        """Whether nothing is prepared there."""
        return not self.ready and not self.places


def ready_in(rings: memoryview, number: int) -> int:
    """How many tickets a ring has, by its number."""
    longs = rings[number * RING.size : (number + 1) * RING.size].cast("Q")
    ready: int = longs[_TAIL] - longs[_HEAD]
    return max(0, ready)


def ring_figures(rings: memoryview, lines: memoryview, number: int) -> RingFigures:
    """Those of a ring, by its number. `rings` and `lines` are the maps of these names, as bytes."""
    own = rings[number * RING.size : (number + 1) * RING.size]
    cells = own.cast("I")
    places = cells[_LENGTH]
    pools = set(own.cast("H")[_SCHEDULE : _SCHEDULE + places]) - {NO_POOL}
    standing = [sum(_lengths(lines, pool)) for pool in pools]
    return RingFigures(
        is_open=cells[_IS_OPEN] > 0,
        ready=ready_in(rings, number),
        way=WAYS.get(cells[_BY_CLIENT], "") if places else "",
        places=cells[_LOOKUP_LENGTH] if cells[_BY_CLIENT] == BY_LOOKUP else places,
        pools=len(pools),
        empty_pools=standing.count(0),
        in_line=sum(standing),
    )


def _lengths(lines: memoryview, pool: int) -> Iterator[int]:
    """How many stand in each line of a pool, at most."""
    for number in range(pool * LINES_OF_POOL, (pool + 1) * LINES_OF_POOL):
        line = lines[number * LINE.size : number * LINE.size + 8 * (_LINE_TAIL + 1)].cast("Q")
        yield max(0, line[_LINE_TAIL] - line[_LINE_HEAD])
