"""The shapes of what the API answers and takes, as pydantic models: the OpenAPI document is made from them.

The answers themselves are made by `views`; a test holds every answer against its model.
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel

from appliance.policy.choice import ALL_WORDS


class Model(BaseModel):
    """An object that has these members and no others."""

    model_config = ConfigDict(extra="forbid", strict=True)


Count = Annotated[int, Field(ge=0)]


class ListedRoute(Model):
    """One line of the list of routes."""

    path: str
    methods: str
    summary: str


class Shard(Model):
    """The worker of one shard."""

    shard: Count
    up: bool = Field(description="whether it takes packets")
    pid: int | None
    starts: Count
    silent_s: float = Field(ge=0, description="seconds for which a worker that is there has done nothing")
    cpu_s: float | None = Field(ge=0, description="seconds of CPU time that its process has used; null while there is none")
    waiting: Count | None = Field(description="packets that wait in its queue; null while nobody has bound the queue")


class Duty(Model):
    """One duty of the director."""

    name: str
    failures: Count
    last_error: str


class LaneCondition(Model):
    """How the lane goes."""

    state: Literal["on", "impaired", "off"]
    reason: str
    repairs: Count
    admissions_off: str


class Health(Model):
    """What `/healthz` answers."""

    status: Literal["ok", "impaired", "down"]
    shards: list[Shard]
    duties: list[Duty]
    problems: list[str]
    missing_addresses: list[str]
    lane: LaneCondition | None
    services_down: dict[str, str]
    notes: list[str]


class Tunable(Model):
    """A tunable: the value in force, and what is allowed."""

    value: int
    default: int
    min: int
    max: int
    unit: str
    summary: str


class NamedTunable(Tunable):
    """A tunable with its name."""

    name: str


class TunableObject(BaseModel):
    """The body of a write as an object; other members are ignored, so that an answer can be edited and sent back."""

    value: int


class TunableBody(RootModel[int | TunableObject]):
    """The body of a write."""


class ShardCounter(Model):
    """A counter of the workers."""

    total: Count
    shards: list[Count]


class CarriedCounter(ShardCounter):
    """A counter of the workers and of the lane."""

    lane: Count


class ExtCounter(CarriedCounter):
    """An extended counter; what the kernel drops itself is counted too."""

    kernel: Count


class NamedExtCounter(ExtCounter):
    """An extended counter with its name."""

    name: str


class RealServer(Model):
    """A real server and its counters."""

    address: str
    port: int
    forward: str
    weight: Count
    state: Literal["up", "down"]
    backup: bool
    max_conn: Count
    draining: bool
    in_packets: Count
    out_packets: Count
    in_bytes: Count
    out_bytes: Count
    conns: Count
    active_conns: int
    inactive_conns: int
    opening_conns: int
    refused_conns: Count
    unanswered_conns: Count
    open_conns: Count
    lane_packets: Count


class RefusedByLimits(Model):
    """How many sessions each limit of a service has kept out."""

    service_full: Count
    servers_full: Count
    client_full: Count


class Service(Model):
    """A virtual service."""

    name: str
    protocol: Literal["TCP", "UDP"]
    vip: str
    port: int
    scheduler: str
    persistence_s: Count
    persistence_mask: Count
    local_addresses: list[str]
    max_conn: Count
    max_conn_per_client: Count
    client_mask: Count
    when_full: str
    refused: RefusedByLimits
    synproxy: Literal["never", "always", "auto"]
    engaged: bool
    real_servers: list[RealServer]


class Services(Model):
    """All services."""

    version: str
    services: list[Service]


class Rate(Model):
    """Events per second."""

    total: float
    shards: list[float]
    lane: float


class Totals(Model):
    """Sessions, packets and bytes since the start."""

    conns: CarriedCounter
    in_packets: CarriedCounter
    out_packets: CarriedCounter
    in_bytes: CarriedCounter
    out_bytes: CarriedCounter


class PerSecond(Model):
    """Sessions, packets and bytes per second."""

    conns: Rate
    in_packets: Rate
    out_packets: Rate
    in_bytes: Rate
    out_bytes: Rate


class Traffic(Model):
    """What went through the gateway."""

    totals: Totals
    per_second: PerSecond


class Packets(Model):
    """Packets and their bytes."""

    packets: Count
    bytes: Count


class Entries(Model):
    """Places for sessions in the lane."""

    used: Count
    free: Count
    total: Count


class Slab(Model):
    """One table or pool of sessions."""

    active_objs: Count
    num_objs: Count
    objsize: Count = Field(description="bytes")
    objperpage: Count
    pages: Count


class Sockstat(Model):
    """Sessions counted as sockets, beside the sockets of the host."""

    appliance: dict[str, dict[str, int]]
    host: dict[str, dict[str, int]]


class SessionTable(Model):
    """The table of sessions in the words of connection tracking."""

    count: int
    max: Count
    drop: Count
    early_drop: Count


class Conntrack(Model):
    """The table of sessions beside the host's connection tracking."""

    appliance: SessionTable
    host: dict[str, int] | None


class Session(Model):
    """One session."""

    protocol: Literal["TCP", "UDP"]
    expires_s: float
    state: str
    source: str
    virtual: str
    local: str
    destination: str
    service: str
    lane: bool
    chosen_by: str = Field(json_schema_extra={"enum": ["", *ALL_WORDS]})
    age_s: float


class Cut(Model):
    """How many sessions were ended."""

    cut: Count


class Top(Model):
    """Clients, services or real servers with most sessions."""

    by: Literal["client", "service", "real_server"]
    conns: Count
    different: Count
    top: list[dict[str, str | int]]


class Problem(BaseModel):
    """A refusal (RFC 9457). Some have more members."""

    model_config = ConfigDict(extra="allow")

    type: str
    title: str
    status: int
    detail: str


class OpenApi(BaseModel):
    """An OpenAPI document."""

    model_config = ConfigDict(extra="allow")

    openapi: str
    info: dict[str, Any]
    paths: dict[str, Any]
