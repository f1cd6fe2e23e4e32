"""The facts that the doctor judges, as plain data. A fact that could not be collected is None, and `unseen` says why.

Times are seconds; `at_s` is of the monotonic clock and `wall_s` of the clock on the wall.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import NamedTuple

from appliance.ipc.plan import ServicePlan
from appliance.ipc.rows import DutyState, LaneState, ShardState
from appliance.policy.sides import Sides


class Setup(NamedTuple):
    """What the configuration and the tunables in force say."""

    services: tuple[ServicePlan, ...]
    pools: Mapping[str, tuple[str, ...]]
    """Local addresses by the name of their pool."""
    sides: Sides
    tunables: Mapping[str, int]
    named_sets: Mapping[str, tuple[str, ...]] = MappingProxyType({})
    """By the name of each nftables set that services name for allow or deny: these services."""


class Interface(NamedTuple):
    """One interface of the gateway."""

    mtu: int
    """Bytes."""
    is_up: bool
    merges_for_good: bool
    """Whether large receive offload (LRO) is on."""
    addresses: tuple[str, ...] = ()
    """Of the form ADDRESS/BITS."""


class Path(NamedTuple):
    """How the kernel would send a packet to a real server."""

    interface: str
    via: str
    """The router; empty when the real server is on the link itself."""
    source: str
    """The address that the host itself would send from."""
    mtu: int


class Clock(NamedTuple):
    """Where the kernel takes the time from."""

    source: str
    available: tuple[str, ...]


class Entry(NamedTuple):
    """One entry of the host's connection tracking."""

    protocol: int
    """IP protocol number."""
    source: str
    source_port: int
    destination: str
    destination_port: int
    """Both ends as in the packet that made the entry; ports are 0 where the protocol has none."""
    timeout_s: int
    """How long it lives without another packet."""
    state: int | None
    """TCP only: linux/netfilter/nf_conntrack_tcp.h."""

    def __str__(self) -> str:
        return f"{self.source}:{self.source_port} > {self.destination}:{self.destination_port}"


class Tracked(NamedTuple):
    """Entries of the host's connection tracking that are about traffic of services, and have seen a packet a moment ago."""

    entries: int
    example: str
    """One of them in words; empty when there is none."""
    zone_rules: tuple[tuple[str, str, str, int], ...]
    """Rules of others that take packets back into the tracking (`ct zone set`): family, table, chain and handle."""


class ServerCounts(NamedTuple):
    """What was counted for a real server of a service."""

    conns: int
    out_packets: int
    active: int
    inactive: int

    @property
    def sessions(self) -> int:
        """Sessions there are now; each holds a local port."""
        return self.active + self.inactive


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Counters and gauges at one moment."""

    at_s: float
    wall_s: float
    tcp_ext: Mapping[str, int]
    """`TcpExt` of `/proc/net/netstat`."""
    conntrack: Mapping[str, int]
    """Of `edge.conntrack`; empty when the host tracks nothing."""
    counts: Mapping[str, int] = field(default_factory=dict)
    """Verdicts, queue counters and extended counters of the gateway by name, all shards and the lane together."""
    servers: Sequence[int] = ()
    """The fields of ServerCounts for each slot, one after the other."""
    sessions: int = 0
    time_wait: int = 0
    starts: tuple[int, ...] = ()
    """How often the worker of each shard was started."""
    failures: Mapping[str, int] = field(default_factory=dict)
    """How often each duty of the director has failed."""

    def server(self, slot: int) -> ServerCounts:
        """What was counted in a slot; zeros when the sample does not have it."""
        width = len(ServerCounts._fields)
        words = self.servers[slot * width : (slot + 1) * width]
        return ServerCounts(*words) if len(words) == width else ServerCounts(0, 0, 0, 0)


class ShardPorts(NamedTuple):
    """One shard at this moment."""

    sessions: Sequence[int]
    """By slot."""
    inactive: Sequence[int]
    """By slot: those that are not in ESTABLISHED."""
    time_wait: int
    """All its sessions in TIME_WAIT."""
    ports: int
    """How many ports of each local address are its own."""


class StateChange(NamedTuple):
    """A real server of a service has become up or down, as its health check says."""

    at_s: float
    """On the clock on the wall."""
    service: str
    endpoint: str
    """Its address and port."""
    is_up: bool
    reason: str


class Running(NamedTuple):
    """What only the running appliance knows."""

    shards: Sequence[ShardState]
    duties: Sequence[DutyState]
    lane: LaneState
    problems: Sequence[str]
    """Of the steering, a sentence each."""
    missing_addresses: Sequence[str]
    ports: Sequence[ShardPorts]
    down: frozenset[tuple[str, str]] = frozenset()
    """The real servers that health checks hold for down: service, and address and port."""
    changes: tuple[StateChange, ...] = ()
    """The latest changes of their states, the oldest first."""
    health_notes: tuple[str, ...] = ()
    """What is wrong with the checks themselves, a sentence each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """Everything that is known of a gateway and its host. Checks look at nothing else."""

    setup: Setup | None = None
    sysctls: Mapping[str, str] | None = None
    """By path below /proc/sys; those that this kernel does not have are missing."""
    interfaces: Mapping[str, Interface] | None = None
    """Those of both sides that exist."""
    paths: Mapping[str, Path | None] | None = None
    """By the address of the real server; None where there is no route."""
    neighbours: Mapping[str, str] | None = None
    """The state of each neighbour (`REACHABLE`, `FAILED`, …) by its address."""
    clock: Clock | None = None
    tracked: Tracked | None = None
    missing_sets: tuple[str, ...] | None = None
    """Of `Setup.named_sets`: those that are not there, or were made by the appliance and have nothing in them."""
    running: Running | None = None
    samples: tuple[Sample, ...] | None = None
    """The oldest first, the last one of this moment; None when there are not two yet."""
    is_away: bool = False
    """Whether no appliance runs on this host."""
    unseen: Mapping[str, str] = field(default_factory=dict)
    """Facts that could not be collected, and why."""

    @property
    def newest(self) -> Sample:
        """The sample of this moment. Only for checks that need `samples`."""
        assert self.samples
        return self.samples[-1]
