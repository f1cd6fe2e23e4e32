"""Tries faults, one after the other, in the lab around this process."""

import http.client
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from typing import NamedTuple

from bench.rig.topology import BenchError
from faults import figures, site
from faults.figures import Figures, Times
from faults.gateway import Gateway, wait_until
from faults.load.program import Load, Moved, running
from faults.promises import Broken, Promise, broken
from faults.records import ANSWERED
from faults.rows import NotApplicableError, Row

_BEFORE_S = 1.0
_AFTER_S = 2.0
"""The clients run so long before the fault, and at least so long after it."""

_LOOK_S, _LATELY_S = 0.2, 1.0
_WELL_AGAIN = 8
"""So many connections in a row have to be good before the clients may stop early."""


class Outcome(NamedTuple):
    """One row that was tried. Without figures it was not, and `why_not` says why; with both, the fault itself went wrong."""

    row: Row
    promise: Promise
    figures: Figures | None
    broken: tuple[Broken, ...] = ()
    why_not: str = ""
    is_error: bool = False
    took_s: float = 0.0


def try_all(rows: Sequence[Row], gateway: Gateway, *, lane: bool) -> Iterator[Outcome]:
    """The outcome of each row, as soon as it is there. Raises BenchError when the appliance cannot be made well between two."""
    for row in rows:
        make_well(gateway)
        start = time.monotonic()
        outcome = try_one(row, gateway, lane=lane)
        yield outcome._replace(took_s=time.monotonic() - start)
    make_well(gateway)


def make_well(gateway: Gateway) -> None:
    """Wait until the appliance is well; when it is not after a while, start it anew."""
    try:
        wait_until("the appliance is well", gateway.is_well, 15.0)
    except BenchError:
        gateway.unit("restart")
        wait_until("the appliance is well", gateway.is_well)


def try_one(row: Row, gateway: Gateway, *, lane: bool) -> Outcome:
    """Try one fault under load."""
    promise = row.promise(lane=lane)
    try:
        seen = _measured(row, gateway)
    except NotApplicableError as reason:
        return Outcome(row, promise, None, why_not=str(reason))
    except (BenchError, OSError, http.client.HTTPException) as error:
        return Outcome(row, promise, None, why_not=str(error).strip().rpartition("\n")[2], is_error=True)
    return Outcome(row, promise, seen, tuple(broken(promise, seen)))


def _measured(row: Row, gateway: Gateway) -> Figures:
    with ExitStack() as undo:
        row.prepare(gateway, undo)
        corrupted = site.corrupted_at_servers(gateway.site)
        with running(site.VIP, site.STREAM_PORT, site.UDP_PORT) as load, ExitStack() as undo_fault:
            time.sleep(_BEFORE_S)
            began = time.monotonic()
            hit = row.act(gateway, undo_fault)
            over = began if row.is_mended_by_us else time.monotonic()
            _settle(load, row)
            ended = time.monotonic()
            record = load.stop()
        corrupted = site.corrupted_at_servers(gateway.site) - corrupted
        return figures.figures(record, Times(began, over, ended), hit, gateway.shards, corrupted)


def _settle(load: Load, row: Row) -> None:
    """Let the clients go on until all is well, or for as long as the row's patience."""
    start = time.monotonic()
    while (now := time.monotonic()) < start + row.patience_s:
        time.sleep(_LOOK_S)
        if now >= start + _AFTER_S and _is_well(load.moved(now - _LATELY_S)):
            return


def _is_well(lately: Moved) -> bool:
    exchanges = (lately.connections, lately.datagrams)
    all_answered = all(set(some) == {ANSWERED} and some[ANSWERED] >= _WELL_AGAIN for some in exchanges)
    return all_answered and lately.ended + lately.moved == lately.streams
