"""The four ways through the gateway that are compared, and what is true of each."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from typing import NamedTuple

from bench.rig.counters import queue_counts
from bench.rig.processes import running
from bench.rig.rules import QUEUE_BASE, appliance_asleep, nat_loaded, queue_loaded
from bench.rig.topology import (
    CLIENT,
    LOCAL_ADDRESSES,
    NAT_LOCAL_ADDRESSES,
    NAT_VIPS,
    QUEUED_REAL_SERVERS,
    REAL_SERVERS,
    VIPS,
    Site,
    inside,
    module,
)


class Way(NamedTuple):
    """One way from the client to the real servers."""

    name: str
    title: str

    targets: tuple[str, ...]
    """Addresses that the client connects to, in pairs, one pair a round in turn. Bulk traffic goes to the first address."""

    peers: tuple[str, ...]
    """Addresses that a real server may see as the other end."""

    queue_base: int | None
    """The first of the packet queues that it goes through, one for each shard; None when it goes through none."""

    is_tracked: bool
    """Whether the kernel tracks its connections."""

    opened: Callable[[Site, int], AbstractContextManager[None]]
    """Prepares the gateway for this way alone, with a number of shards, and undoes that."""

    def pair_of_round(self, number: int) -> tuple[str, ...]:
        """The two addresses to connect to in that round, from 0."""
        start = 2 * number % len(self.targets)
        return self.targets[start : start + 2]


@contextmanager
def _plain(site: Site, _shards: int) -> Iterator[None]:
    with appliance_asleep(site, also_raw=True):
        yield


@contextmanager
def _nat(site: Site, _shards: int) -> Iterator[None]:
    with appliance_asleep(site, also_raw=True), nat_loaded(site):
        yield


@contextmanager
def _bare_loop(site: Site, shards: int) -> Iterator[None]:
    with appliance_asleep(site, also_raw=False), ExitStack() as stack:
        for queue in range(QUEUE_BASE, QUEUE_BASE + shards):
            stack.enter_context(_loop_running(site, queue))
        # Last in, first out: a packet must not be sent to a queue that nobody reads any more.
        stack.enter_context(queue_loaded(site, shards))
        yield


@contextmanager
def _loop_running(site: Site, queue: int) -> Iterator[None]:
    command = inside(site.gateway, *module("bench.throughput.bare_loop", "--queue", str(queue)))
    with running(command, site.directory / f"bare-loop-{queue}.log", lambda: queue in queue_counts(site)):
        yield


@contextmanager
def _appliance(_site: Site, _shards: int) -> Iterator[None]:
    yield  # the appliance always runs; the other ways make its table dormant


PLAIN = Way("plain", "plain routing", REAL_SERVERS, (CLIENT,), None, False, _plain)
NAT = Way("nat", "nft DNAT+SNAT", NAT_VIPS, NAT_LOCAL_ADDRESSES, None, True, _nat)
BARE_LOOP = Way("bare_loop", "bare queue loop", QUEUED_REAL_SERVERS, (CLIENT,), QUEUE_BASE, False, _bare_loop)
APPLIANCE = Way("appliance", "appliance", VIPS, LOCAL_ADDRESSES, 0, False, _appliance)

WAYS = (PLAIN, NAT, BARE_LOOP, APPLIANCE)
