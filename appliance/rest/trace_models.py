"""The shapes of what the API answers about packets, as pydantic models (see `models`)."""

from typing import Any, Literal

from pydantic import Field

from appliance.rest.models import Count, Model


class TracedPacket(Model):
    """One packet, and what became of it."""

    kind: Literal["packet"]
    at_s: float = Field(description="seconds since the epoch")
    shard: int | None = Field(description="null when a rule of the kernel dropped it")
    sender: Literal["client", "server", "other"]
    stage: str
    verdict: Literal["accept", "rewritten", "drop"]
    reason: str
    packet: str
    packet_bytes: Count
    data: str | None = Field(None, description="the packet from its IP header on, in Base64")
    after: str | None = Field(None, description="the packet as it went on")
    after_bytes: Count = 0
    own: list[str] = Field([], description="packets of the appliance's own that were sent because of it")


class LeftOut(Model):
    """Packets that are not shown, because too many came."""

    kind: Literal["left-out"]
    packets: Count


class InForce(Model):
    """What shards go by from a moment on, as far as it has changed, or that sessions were ended: what a replay needs to know."""

    kind: Literal["in-force"]
    at_s: float = Field(description="seconds since the epoch")
    what: dict[str, Any]


class Note(Model):
    """Why packets may be missing."""

    kind: Literal["note"]
    text: str
