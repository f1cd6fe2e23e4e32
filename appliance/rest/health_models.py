"""The shapes of what the API answers about the health of real servers, as pydantic models (see `models`)."""

from typing import Literal

from pydantic import Field

from appliance.rest.models import Count, Model


class RealServerHealth(Model):
    """What health checks say of one real server."""

    address: str
    port: int
    state: Literal["up", "down"]
    backup: bool
    check: str
    since_s: float = Field(ge=0, description="seconds since it took its state")
    contrary: Count
    last_outcome: Literal["", "passed", "failed", "undecided"]
    last_answer: str
    tried_again_in_s: float = Field(ge=0, description="seconds until one that is down because of its traffic is tried again")
    draining: bool


class ServiceHealth(Model):
    """The health of one service."""

    service: str
    trouble: str
    quorum: int
    when_none_healthy: str
    on_down: str
    real_servers: list[RealServerHealth]


class StateChange(Model):
    """A real server became up or down."""

    at_s: float = Field(description="seconds since the epoch")
    service: str
    address: str
    port: int
    state: Literal["up", "down"]
    reason: str
    last_answer: str


class RealServersHealth(Model):
    """What `/health` answers."""

    services: list[ServiceHealth]
    changes: list[StateChange]
