"""The shapes of what `/stats/lane` answers, as pydantic models."""

from typing import Literal

from pydantic import Field

from appliance.rest.models import Count, Entries, LaneCondition, Model, Packets


class PreparedRing(Model):
    """What is prepared for a service in a shard."""

    service: str
    shard: Count
    is_open: bool
    ready: Count
    way: Literal["", "turns", "address", "persistence"]
    places: Count
    pools: Count
    empty_pools: Count
    in_line: Count


class Lane(LaneCondition):
    """What the lane carries, and why packets went up to a worker."""

    share_percent: float = Field(ge=0, le=100)
    lane: Packets
    workers: Packets
    entries: Entries
    prepared: dict[str, Count]
    services: list[PreparedRing]
    counters: dict[str, Count]
