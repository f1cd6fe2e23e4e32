"""The shapes of samples, as pydantic models (see `models`)."""

from typing import Any

from pydantic import Field

from appliance.rest.models import Count, Model


class GatewaySample(Model):
    """The whole gateway at one moment."""

    clock_s: float = Field(description="the monotonic clock, in seconds: counters of two samples make rates by it")
    traffic: dict[str, Count] = Field(description="totals")
    sessions: Count = Field(description="those that there are")
    drops: dict[str, Count] = Field(description="totals by reason, without those that are zero")
    kernel_drops: dict[str, Count] = Field(description="what the defence dropped in the kernel, by extended counter")
    attacks: list[dict[str, Any]] = Field(description="those under way, as in /stats/attack")
    attacks_ended: Count
    last_attack_ended_s: float | None = Field(description="since the epoch")
    tunables: int = Field(description="another number after each write of a tunable")
    status: str
    shards: Count
    shards_down: Count
    lane: str
    problems: list[str]
    notes: list[str]
    services_down: Count
    last_event: Count


class WatchedRealServer(Model):
    """One real server of a window."""

    endpoint: str
    weight: Count
    is_up: bool
    is_drained: bool
    is_backup: bool
    conns: Count
    active_conns: Count
    inactive_conns: Count
    in_packets: Count
    out_packets: Count
    in_bytes: Count
    out_bytes: Count


class WatchedService(Model):
    """One service of a window."""

    name: str
    protocol: str
    vip: str
    port: Count
    scheduler: str
    synproxy: str
    left_out: Count = Field(description="real servers that are not shown")
    real_servers: list[WatchedRealServer]


class ServicesSample(Model):
    """A window of services at one moment."""

    total: Count
    matching: Count
    offset: Count
    next: Count | None = Field(description="the offset of the next window")
    services: list[WatchedService]


class Sample(Model):
    """Both, of one moment."""

    gateway: GatewaySample
    services: ServicesSample
