"""The figures of many sessions in one shard, some of them beside those of a shard with few sessions."""

import os
import statistics
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from appliance.ipc.messages import Piece, encode
from appliance.ipc.queries import CUT, ROWS, TALLY, Query, SessionFilter
from appliance.sessions.slabs import slabs
from appliance.sessions.walk import SessionWalk
from appliance.wire.flow import Direction
from bench.rig.results import spread
from bench.sessions.crowd import Crowd, Pauses, as_in_a_worker, client_key, picked

FEW = 1000
"""Sessions of the shard that is compared with: all of them fit into a cache."""

CHURN = 5
"""One in so many sessions ends, and a new one begins."""

TICKS = 1000
SETTLING_TICKS = 1000
"""So many ticks later the wheel has looked at every session that had a packet before (see `timers`)."""

_STATM = Path("/proc/self/statm")
_NOBODY = "192.0.2.1"
_WALKS = {
    "list": Query(ROWS),
    "tally": Query(TALLY, by="client"),
    "cut": Query(CUT, SessionFilter(client=_NOBODY)),
}

Figures = dict[str, float]
"""Figures by the names of `bench.sessions.report.ROWS`."""


class Effort(NamedTuple):
    """How thoroughly to measure: how many rounds, how many packets in each, and how many between two ticks."""

    rounds: int
    packets: int
    packets_per_tick: int


QUICK, THOROUGH = Effort(5, 10_000, 50), Effort(9, 20_000, 100)


def measure(count: int, effort: Effort, say: Callable[[str], None]) -> Figures:
    """Measure all figures for so many sessions. Raises AssertionError when the shard does something wrong."""
    more = count // CHURN
    few, many = Crowd(FEW), Crowd(count + more)
    with as_in_a_worker():
        few.open(range(FEW))
        figures = _fill(many, count)
        say("opened")
        figures |= _packets(few, many, count, effort)
        say("packets timed")
        figures |= _ticks("few", few, FEW, effort) | _ticks("many", many, count, effort)
        say("ticks timed")
        figures |= _churn(many, count, more)
        say("churned")
        for name, query in _WALKS.items():
            figures |= _walk(name, many, query)
        say("walked through")
        figures |= _expire("spread", many, many.tick_until_empty)
        say("expired one by one")
        many.open(range(count))
        figures |= _expire("at_once", many, many.jump_until_empty)
        say("expired all at once")
        figures |= _longest("dict", _growth_of_one_dict(count))
    return figures


def _fill(crowd: Crowd, count: int) -> Figures:
    resident, told = _resident_bytes(), _told_bytes(crowd)
    with crowd.watch() as watched:
        crowd.open(range(count))
    return {
        "resident_bytes": (_resident_bytes() - resident) / count,
        "told_bytes": (_told_bytes(crowd) - told) / count,
        "opening_us": watched.handle.total_s / count * 1e6,
        **_longest("opening_handle", watched.handle),
        **_longest("opening_expire", watched.expire),
    }


def _longest(name: str, pauses: Pauses) -> Figures:
    return {f"{name}_ms": pauses.longest_s * 1e3, f"{name}_ms_long": pauses.long}


def _resident_bytes() -> int:
    return int(_STATM.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def _told_bytes(crowd: Crowd) -> int:
    return sum(slab.total * slab.object_bytes for slab in slabs(crowd.shard._sessions))


def _packets(few: Crowd, many: Crowd, count: int, effort: Effort) -> Figures:
    """Time packets of both shards in turns, so that whatever else the machine does affects both in the same way. The ratio of a
    round is of two measurements one right after the other."""
    figures: Figures = {}
    for direction in Direction:
        taken: dict[Crowd, list[float]] = {few: [], many: []}
        for number in range(effort.rounds):
            for crowd in (few, many) if number % 2 else (many, few):
                crowd.tick()  # else more deadlines would be in one tick than so many packets could set in reality
                packets = crowd.packets(picked(range(FEW if crowd is few else count), effort.packets), direction)
                taken[crowd].append(_microseconds(crowd, packets))
        ratio = spread(one / other for one, other in zip(taken[many], taken[few], strict=True))
        assert ratio is not None
        name = direction.name.lower()
        figures |= {f"{name}_us": statistics.median(taken[many]), f"{name}_few_us": statistics.median(taken[few])}
        figures |= {f"{name}_ratio": ratio.median, f"{name}_ratio_low": ratio.low, f"{name}_ratio_high": ratio.high}
    return figures


def _microseconds(crowd: Crowd, packets: Sequence[bytes]) -> float:
    """Microseconds for each packet, with the loop around it."""
    handle, now = crowd.shard.handle, crowd.now
    start = time.thread_time()
    for raw in packets:
        handle(raw, now)
    return (time.thread_time() - start) / len(packets) * 1e6


def _ticks(name: str, crowd: Crowd, count: int, effort: Effort) -> Figures:
    """Time ticks between which packets move deadlines, and then, much later, ticks in which nothing is due."""
    with crowd.watch() as busy:
        for _ in range(TICKS):
            numbers = picked(range(count), effort.packets_per_tick)
            _microseconds(crowd, crowd.packets(numbers, Direction.INBOUND))
            crowd.tick()
    for _ in range(SETTLING_TICKS):
        crowd.tick()
    idle_s = [crowd.tick() for _ in range(TICKS)]
    return {
        f"busy_tick_{name}_us": busy.expire.total_s / TICKS * 1e6,
        **_longest(f"busy_tick_{name}", busy.expire),
        f"idle_tick_{name}_us": statistics.median(idle_s) * 1e6,
    }


def _churn(crowd: Crowd, count: int, more: int) -> Figures:
    """Replace a fifth of the sessions, spread over the whole table, by as many new ones."""
    step = count // more if more else 1
    with crowd.watch() as watched:
        crowd.replace(range(0, more * step, step), range(count, count + more))
    return _longest("churn_handle", watched.handle) | _longest("churn_expire", watched.expire)


def _walk(name: str, crowd: Crowd, query: Query) -> Figures:
    """Walk to the end, with each piece encoded as a worker does it. Raises AssertionError when a session was seen twice, or
    cut."""
    walk = crowd.shard.walk(query)
    pauses, steps, met, before = Pauses(), 0, 0, len(crowd)
    is_last = False
    while not is_last:
        items, is_last = pauses.timed(_step, walk, crowd.now)
        steps += 1
        met += {ROWS: len, TALLY: lambda pairs: sum(number for _, number in pairs), CUT: sum}[query.kind](items)
    if met != (0 if query.kind == CUT else before) or len(crowd) != before:
        raise AssertionError(f"a walk to {name} saw {met} of {before} sessions, and {len(crowd)} are left")
    return _longest(name, pauses) | {f"{name}_steps": steps}


def _step(walk: SessionWalk, now: float) -> tuple[list[object], bool]:
    piece = walk.step(now)
    encode(1, Piece(1, piece.items, piece.is_last, piece.place))
    return piece.items, piece.is_last


def _expire(name: str, crowd: Crowd, until_empty: Callable[[], None]) -> Figures:
    before = len(crowd)
    with crowd.watch() as watched:
        until_empty()
    total_s = watched.expire.total_s
    return {
        f"expiry_{name}_total_s": total_s,
        f"expiry_{name}_us": total_s / before * 1e6,
        **_longest(f"expiry_{name}", watched.expire),
    }


def _growth_of_one_dict(count: int) -> Pauses:
    """How long a packet would wait whenever one table for all sessions grows."""
    table: dict[bytes, None] = {}
    pauses = Pauses()
    for number in range(count):
        pauses.timed(table.__setitem__, client_key(number), None)
    return pauses
