"""The shapes of what the API answers about drains and events, as pydantic models (see `models`)."""

from pydantic import Field

from appliance.rest.models import Count, Model


class Drain(Model):
    """How far the drain of a real server has come."""

    service: str
    real_server: str
    draining: bool
    since_s: float = Field(ge=0, description="seconds for which it has been drained")
    deadline_s: float | None = Field(ge=0, description="seconds until the sessions that are left end")
    sessions: Count
    gone: bool
    note: str


class Event(Model):
    """Something that has happened."""

    number: Count
    at_s: float = Field(description="seconds since the epoch")
    kind: str
    service: str
    real_server: str
    text: str


class Events(Model):
    """Some events, in their order."""

    events: list[Event]
    last: Count
    missing: bool
