"""Everything that one page of metrics is made from, as it was at one moment. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from appliance.attack.watch import AttackWatch
from appliance.ipc.plan import RealServerPlan, ServicePlan
from appliance.ipc.rows import DutyState, LaneStats, SessionLogCounts, ShardState
from appliance.ipc.shared_layout import SharedState
from appliance.ipc.sums import destination_sums
from appliance.metrics.label import label
from appliance.model.counters import DESTINATION_FIELDS


class Destination(NamedTuple):
    """One real server of one service, and what was counted for it."""

    named: tuple[str, str]
    """The name of the service, and the address and port of the real server, as values of labels."""
    real_server: RealServerPlan
    counts: Sequence[int]
    """DESTINATION_FIELDS, summed over all shards and the lane."""


@dataclass(frozen=True)
class Reading:
    """What was asked for, besides the shared memory, which is read when the page is made.

    Whatever could not be read is None, and its series are left out.
    """

    shared: SharedState
    services: Sequence[ServicePlan]
    shards: Sequence[ShardState]
    duties: Sequence[DutyState]
    lane: LaneStats
    lane_is_read: bool
    """Whether the kernel answered what the lane has counted; True without a lane."""
    kernel_drops: Mapping[str, int] | None
    """What the kernel dropped for the defence, by the name of the extended counter."""
    conntrack: Mapping[str, int] | None
    """The host's own connection tracking; None also while the host tracks nothing."""
    problems: int
    """How many problems the host has."""
    missing_addresses: int
    down: frozenset[int]
    """The slots of the real servers that are down."""
    troubled: frozenset[str]
    """The services too few of whose real servers are up."""
    attacks: AttackWatch = field(default_factory=AttackWatch)
    drained: frozenset[int] = frozenset()
    """The slots of the real servers that are drained."""
    access_drops: Mapping[tuple[str, str], int] = field(default_factory=dict)
    """What access lists and rate limits have dropped, by service and the name of the counter."""

    session_log: SessionLogCounts = field(default_factory=lambda: SessionLogCounts(0, 0, 0))
    """Of this run."""

    @cached_property
    def rows(self) -> list[list[int]]:
        """The DESTINATION_FIELDS of all slots, one list after the other: a row for each shard, then the one of the lane."""
        return [self.shared.all_destinations(row).tolist() for row in range(self.shared.shards + 1)]

    @cached_property
    def destinations(self) -> list[Destination]:
        """The real servers that there are now."""
        sums, words = destination_sums(self.shared), len(DESTINATION_FIELDS)
        return [
            Destination((name, f"{server.address}:{server.port}"), server, sums[server.slot * words : (server.slot + 1) * words])
            for service in self.services
            for name in (label(service.name),)
            for server in service.real_servers
        ]

    def table(self, name: str) -> list[list[int]]:
        """A table of the shared memory: a row for each shard, then the one of the lane."""
        return [self.shared.table(row, name).tolist() for row in range(self.shared.shards + 1)]
