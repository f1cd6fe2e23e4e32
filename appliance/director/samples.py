"""Samples of counters, for the doctor: of the host, and of the running gateway."""

import time
from array import array
from collections.abc import Iterable, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Protocol

from appliance.doctor import host_checks
from appliance.doctor.facts import Sample
from appliance.edge import conntrack, host_facts
from appliance.health.changes import StateChange
from appliance.ipc.plan import ServicePlan
from appliance.ipc.rows import DutyState, LaneState, ShardState
from appliance.ipc.shared_layout import WORD_BYTES, SharedState
from appliance.model.counters import (
    ACTIVE_CONNS,
    CONNS,
    DESTINATION_FIELDS,
    EXT_COUNTERS,
    INACTIVE_CONNS,
    QUEUE_COUNTERS,
    VERDICT_COUNTERS,
    WORKER_STARTS,
)

_HOST_COUNTERS = (*host_checks.PAWS_COUNTERS, "SyncookiesSent", "ListenOverflows", "IPReversePathFilter")

_FIELDS = (CONNS, DESTINATION_FIELDS.index("out_packets"), ACTIVE_CONNS, INACTIVE_CONNS)
"""The places of ServerCounts among the counters of a real server."""


class Health(Protocol):
    """What the health checks say."""

    down: frozenset[int]
    """The slots of real servers that are down."""

    @property
    def recent(self) -> Iterable[StateChange]:
        """The latest changes of state, the oldest first."""

    @property
    def notes(self) -> Sequence[str]:
        """What is wrong with the checks themselves, a sentence each."""


class AccessControl(Protocol):
    """Access lists and rate limits."""

    @property
    def made_sets(self) -> frozenset[str]:
        """The sets of the operator that the appliance has made."""


class Drains(Protocol):
    """Who is drained."""

    @property
    def slots(self) -> Sequence[int]:
        """The slots of real servers that are drained."""


class Examined(Protocol):
    """What is asked of the running gateway; the director has it."""

    shared: SharedState
    services: tuple[ServicePlan, ...]

    @property
    def access_control(self) -> AccessControl:
        """Who may open connections."""

    @property
    def health(self) -> Health:
        """The health of all real servers."""

    @property
    def drains(self) -> Drains:
        """The drains of real servers."""

    def shard_states(self) -> Sequence[ShardState]:
        """The condition of each worker process."""

    def duty_states(self) -> Sequence[DutyState]:
        """How each duty of the director goes."""

    def lane_state(self) -> LaneState:
        """How the lane goes."""

    def host_problems(self) -> Sequence[str]:
        """What is wrong with the steering, a sentence each."""

    def missing_addresses(self) -> Sequence[str]:
        """VIPs and local addresses that no interface has."""


def sample_of(gateway: Examined | None = None) -> Sample:
    """A sample of this moment; without a gateway, of the host alone. What the host does not tell is left out. Blocks."""
    ext, tracking = dict[str, int](), dict[str, int]()
    with suppress(OSError, ValueError):
        ext = host_facts.tcp_ext()
    with suppress(OSError, ValueError):
        tracking = conntrack.read() or {}
    host = Sample(
        at_s=time.monotonic(),
        wall_s=time.clock_gettime(time.CLOCK_REALTIME),
        tcp_ext={name: ext[name] for name in _HOST_COUNTERS if name in ext},
        conntrack=tracking,
    )
    return host if gateway is None else _with_gateway(host, gateway)


def _with_gateway(host: Sample, gateway: Examined) -> Sample:
    shared = gateway.shared
    return replace(
        host,
        counts=counts_by_name(shared),
        servers=_servers(shared, gateway.services),
        sessions=sum(shared.session_counts),
        time_wait=sum(shared.time_wait_counts),
        starts=tuple(shared.table(shard, "queue")[WORKER_STARTS] for shard in range(shared.shards)),
        failures={duty.name: duty.failures for duty in gateway.duty_states() if duty.failures},
    )


def counts_by_name(shared: SharedState) -> dict[str, int]:
    """The sum of each counter over all shards and the lane."""
    tables = (("verdicts", VERDICT_COUNTERS), ("queue", QUEUE_COUNTERS), ("ext", EXT_COUNTERS))
    return {
        counter.name: sum(shared.table(row, table)[place] for row in range(shared.shards + 1))
        for table, counters in tables
        for place, counter in enumerate(counters)
    }


def _servers(shared: SharedState, services: Sequence[ServicePlan]) -> "array[int]":
    slots = {server.slot for service in services for server in service.real_servers}
    words = array("Q", bytes(WORD_BYTES * len(_FIELDS) * (max(slots, default=-1) + 1)))
    for slot in slots:
        rows = [shared.destination(row, slot) for row in range(shared.shards + 1)]
        for place, field in enumerate(_FIELDS):
            words[slot * len(_FIELDS) + place] = sum(row[field] for row in rows)
    return words
