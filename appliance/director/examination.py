"""The facts for the doctor: collected from the kernel and the running gateway, and watched for a while.

Counters say something only by how they rise. So a running director keeps a few samples; without one, somebody has to look twice.
"""

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from itertools import islice
from typing import TypeVar

from appliance.config.loading import Config
from appliance.director.access_table import missing_sets
from appliance.director.plans import Slots
from appliance.director.samples import Examined, sample_of
from appliance.doctor import forwarding_checks, host_checks, table_checks, tracking
from appliance.doctor.examine import Report, examine
from appliance.doctor.facts import Running, Sample, Setup, ShardPorts, Snapshot, StateChange, Tracked
from appliance.edge import conntrack, host_facts, nft
from appliance.ipc.plan import ServicePlan
from appliance.model.counters import ACTIVE_CONNS, INACTIVE_CONNS
from appliance.policy.steering import port_counts, shard_table

SAMPLE_INTERVAL_S = 10.0
KEPT_SAMPLES = 61
"""Ten minutes."""

FRESH_S = 1.0
"""A report is answered again for so long, and whoever asks meanwhile waits for the same one: it asks the kernel many things."""

TWO_LOOKS_S = 5.0
"""Between two looks at a host on which no appliance runs."""

_MOST_ADDRESSES = 64
"""VIPs and local addresses that are looked for in connection tracking: for each the kernel walks through its whole table."""

T = TypeVar("T")


class Doctor:
    """The samples of one run, and reports on it."""

    def __init__(self, gateway: Examined, config: Callable[[], Config], now: Callable[[], float] = time.monotonic) -> None:
        """`config` gives the configuration in force."""
        self._gateway = gateway
        self._config = config
        self._now = now
        self._samples: deque[Sample] = deque(maxlen=KEPT_SAMPLES)
        self._examination: asyncio.Future[Report] | None = None
        self._began = float("-inf")

    async def look(self) -> None:
        """Take a sample and keep it."""
        self._samples.append(await asyncio.to_thread(sample_of, self._gateway))

    async def watch(self) -> None:
        """Keep a sample every SAMPLE_INTERVAL_S."""
        while True:
            await self.look()
            await asyncio.sleep(SAMPLE_INTERVAL_S)

    async def report(self) -> Report:
        """What is wrong now. However many ask, there is one examination at a time, and the next not before FRESH_S."""
        if self._examination is None or (self._examination.done() and self._now() - self._began >= FRESH_S):
            self._began = self._now()
            self._examination = asyncio.ensure_future(asyncio.to_thread(self._examine, tuple(self._samples)))
        return await asyncio.shield(self._examination)

    def _examine(self, earlier: tuple[Sample, ...]) -> Report:
        gateway, config = self._gateway, self._config()
        tunables = {name: gateway.shared.tunable(name) for name in config.sysctl}
        services = _without_weight(gateway.services, gateway.drains.slots)
        return examine(_Collector(_setup(config, services, tunables), gateway).snapshot(earlier))


async def look_twice(config: Config, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> Report:
    """A report on a host on which no appliance runs, TWO_LOOKS_S later: from the kernel and the configuration alone."""
    first = await asyncio.to_thread(sample_of)
    await sleep(TWO_LOOKS_S)
    setup = _setup(config, Slots.sized_for(config).take(config), config.sysctl)
    return await asyncio.to_thread(lambda: examine(_Collector(setup, None).snapshot((first,))))


def _setup(config: Config, services: tuple[ServicePlan, ...], tunables: dict[str, int]) -> Setup:
    pools = {name: tuple(map(str, addresses)) for name, addresses in config.local_addresses.items()}
    named: dict[str, tuple[str, ...]] = {}
    for service in config.services:
        for name in dict.fromkeys((*service.allow_sets, *service.deny_sets)):
            named[name] = (*named.get(name, ()), service.name)
    return Setup(services, pools, config.gateway.sides, tunables, named)


def _without_weight(services: tuple[ServicePlan, ...], drained: Sequence[int]) -> tuple[ServicePlan, ...]:
    """The services, in which the real servers in the slots `drained` have weight 0: nobody is sent there, so they may be off."""
    if not drained:
        return services
    slots = frozenset(drained)
    return tuple(
        replace(
            service,
            real_servers=tuple(replace(server, weight=0) if server.slot in slots else server for server in service.real_servers),
        )
        for service in services
    )


def _running(gateway: Examined) -> Running:
    shared = gateway.shared
    slots = 1 + max((server.slot for service in gateway.services for server in service.real_servers), default=-1)
    low, high = shared.tunable("fullnat_lport_min"), shared.tunable("fullnat_lport_max")
    ports = []
    for shard, count in enumerate(port_counts(shard_table(shared.shards), low, high)):
        rows = [shared.destination(shard, slot) for slot in range(slots)]
        sessions = [row[ACTIVE_CONNS] + row[INACTIVE_CONNS] for row in rows]
        ports.append(ShardPorts(sessions, [row[INACTIVE_CONNS] for row in rows], shared.time_wait_counts[shard], count))
    return Running(
        gateway.shard_states(),
        gateway.duty_states(),
        gateway.lane_state(),
        gateway.host_problems(),
        gateway.missing_addresses(),
        ports,
        frozenset(
            (service.name, f"{server.address}:{server.port}")
            for service in gateway.services
            for server in service.real_servers
            if server.slot in gateway.health.down
        ),
        tuple(
            StateChange(change.at_s, change.target.service, change.target.endpoint, change.is_up, change.reason)
            for change in gateway.health.recent
        ),
        tuple(gateway.health.notes),
    )


class _Collector:
    """Collects the facts for one report. A fact that cannot be collected is None, and `unseen` says why."""

    def __init__(self, setup: Setup, gateway: Examined | None) -> None:
        self._setup = setup
        self._gateway = gateway
        self._unseen: dict[str, str] = {}

    def snapshot(self, earlier: tuple[Sample, ...]) -> Snapshot:
        """The whole snapshot. `earlier` samples are followed by one of this moment."""
        setup, gateway = self._setup, self._gateway
        addresses = {server.address for service in setup.services for server in service.real_servers}
        sysctls = self._get("sysctls", lambda: host_facts.sysctls(_sysctl_paths(setup)))
        if gateway is None:
            self._unseen["running"] = "no appliance was asked"
        if not earlier:
            self._unseen["samples"] = "the appliance has just started"
        newest = self._get("samples", lambda: sample_of(gateway))
        return Snapshot(
            setup=setup,
            sysctls=sysctls,
            interfaces=self._get("interfaces", lambda: host_facts.interfaces(setup.sides.all)),
            paths=self._get("paths", lambda: host_facts.paths(sorted(addresses))),
            neighbours=self._get("neighbours", host_facts.neighbours),
            clock=self._get("clock", host_facts.clock),
            tracked=self._get("tracked", lambda: _tracked(setup, sysctls or {})),
            missing_sets=self._get(
                "missing_sets",
                lambda: missing_sets(setup.named_sets, gateway.access_control.made_sets if gateway else frozenset()),
            ),
            running=None if gateway is None else self._get("running", lambda: _running(gateway)),
            is_away=gateway is None,
            samples=(*earlier, newest) if earlier and newest is not None else None,
            unseen=self._unseen,
        )

    def _get(self, fact: str, collect: Callable[[], T]) -> T | None:
        return _attempt(self._unseen, fact, collect)


def _attempt(unseen: dict[str, str], fact: str, collect: Callable[[], T]) -> T | None:
    try:
        return collect()
    except Exception as error:  # whatever it is, the rest of the report has to come
        unseen[fact] = f"{type(error).__name__}: {error}"
        return None


def _sysctl_paths(setup: Setup) -> list[str]:
    places = ("all", *setup.sides.all)
    of_places = [forwarding_checks.of_interface(place, name) for place in places for name in forwarding_checks.PARAMETERS]
    return [*host_checks.SYSCTLS, forwarding_checks.FORWARD, table_checks.CONNTRACK_MAX, *tracking.SYSCTLS, *of_places]


def _tracked(setup: Setup, sysctls: dict[str, str]) -> Tracked:
    vips = (service.vip for service in setup.services)
    local = (address for pool in setup.pools.values() for address in pool)
    addresses = islice(dict.fromkeys((*vips, *local)), _MOST_ADDRESSES)
    if conntrack.read() is None:
        return Tracked(0, "", ())
    entries = [entry for address in addresses for entry in conntrack.entries(address)]
    ours = list(dict.fromkeys(tracking.of_services(entries, setup, sysctls)))
    return Tracked(len(ours), str(ours[0]) if ours else "", tuple(nft.zone_rules()) if ours else ())
