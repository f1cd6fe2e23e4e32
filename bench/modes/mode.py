"""What a mode of the gateway is."""

import shutil
from collections.abc import Callable, Collection
from contextlib import AbstractContextManager
from typing import NamedTuple

from bench.rig.topology import Site


class Mode(NamedTuple):
    """One way of the gateway to bring packets of the client to the real servers."""

    name: str
    title: str

    targets: tuple[str, ...]
    """Addresses that the client connects to, in pairs, one pair a round in turn. Bulk traffic goes to the first address."""

    peers: tuple[str, ...]
    """Addresses that a real server may see as the other end."""

    opened: Callable[[Site, int], AbstractContextManager[None]]
    """Prepares the gateway for this mode alone, with a number of shards, and undoes that."""

    is_tracked: bool = False
    """Whether the kernel tracks its connections."""

    queue_base: int | None = None
    """The first of the packet queues that it goes through, one for each shard; None when it goes through none."""

    queued_share: tuple[float, float] = (0.9, 1.1)
    """Of all packets that come in, the least and the largest share that may be queued, when short connections are made. A few
    that come in may be ARP, which is not queued; a few that are queued are made in the gateway."""

    kept_share: tuple[float, float] = (0.9, 1.1)
    """The same for requests on a connection that stays."""

    protocols: Collection[str] = ("tcp", "udp")
    """What it carries."""

    flooded: str = ""
    """The address that a flood goes to; empty for the one that the client connects to."""

    programs: tuple[str, ...] = ()
    """Programs that it needs and that may not be installed."""

    def pair_of_round(self, number: int) -> tuple[str, ...]:
        """The two addresses to connect to in that round, from 0."""
        start = 2 * number % len(self.targets)
        return self.targets[start : start + 2]

    def missing(self) -> list[str]:
        """Its programs that are not installed."""
        return [program for program in self.programs if not shutil.which(program)]
