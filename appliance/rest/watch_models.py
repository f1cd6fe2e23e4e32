"""The shapes of what `/doctor`, `/metrics`, `/host` and `/persistence` answer, as pydantic models."""

from typing import Literal

from pydantic import BaseModel, Field, RootModel

from appliance.rest.models import Model


class Finding(Model):
    """Something that is wrong."""

    severity: Literal["note", "warning", "error"]
    name: str
    about: str
    problem: str
    evidence: str
    advice: str
    commands: list[str]
    run_on: str


class Report(Model):
    """What the doctor found."""

    severity: Literal["ok", "note", "warning", "error"]
    running: bool
    watched_s: float = Field(ge=0)
    findings: list[Finding]
    left_out: list[str]
    unseen: dict[str, str]


class HostRange(Model):
    """The range of one number of a parameter."""

    field: str
    min: int
    max: int


HostValue = int | list[int] | None


class HostParameter(Model):
    """A parameter of the host's kernel."""

    value: HostValue | dict[str, HostValue]
    recommended: HostValue
    default: HostValue
    unit: str
    state: Literal["writable", "read-only", "absent"]
    reason: str
    sysctl: str
    ranges: list[HostRange]
    meaning: str
    mistake: str
    here: str
    tunables: list[str]


class NamedHostParameter(HostParameter):
    """A parameter with its name."""

    name: str


class HostValueObject(BaseModel):
    """The body of a write as an object; other members are ignored."""

    value: int | list[int]


class HostValueBody(RootModel[int | list[int] | HostValueObject]):
    """The body of a write."""


class PersistenceEntries(Model):
    """Places for clients that are remembered."""

    used: int
    total: int


class RememberingService(Model):
    """How many clients a service remembers."""

    service: str
    persistence_s: int
    persistence_mask: int
    clients: int
    real_servers: dict[str, int]


class Persistence(Model):
    """How many clients are remembered."""

    entries: PersistenceEntries
    hits: int
    displaced: int
    services: list[RememberingService]


class RememberedClient(Model):
    """A client that a service remembers."""

    service: str
    client: str
    real_server: str
    expires_s: float


class Sample(Model):
    """One number of a metric."""

    labels: dict[str, str]
    value: float


class Metric(Model):
    """A metric of Prometheus."""

    type: str
    help: str
    samples: list[Sample]


class Attack(Model):
    """One attack."""

    kind: str
    summary: str
    began: str
    ended: str | None
    lasted_s: float = Field(ge=0)
    dropped: int = Field(ge=0)
    rate_per_s: float = Field(ge=0)
    peak_per_s: float = Field(ge=0)
    rules: dict[str, int]
    sessions: int = Field(ge=0)
    proofs: int = Field(ge=0)
    sessions_per_s: float = Field(ge=0)
    sessions_per_s_before: float = Field(ge=0)


class Attacks(Model):
    """The attacks that are under way, and the latest ones that are over."""

    under_way: list[Attack]
    ended: list[Attack]
