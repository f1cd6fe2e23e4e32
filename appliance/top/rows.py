"""The rows of the five views. Pure."""

from typing import NamedTuple, TypeAlias

Trend: TypeAlias = list[float | None]


class ServiceRow(NamedTuple):
    """A service."""

    name: str
    endpoint: str
    new_per_s: float | None
    packets_per_s: float | None
    in_bits_per_s: float | None
    out_bits_per_s: float | None
    sessions: int
    half_open: int
    cookies: str
    carried: float | None
    """The share of its packets that the lane carried, 0..1."""
    servers_up: int
    servers: int
    trend: Trend
    """Packets per second."""


class ShardRow(NamedTuple):
    """A shard, the lane, or all together."""

    name: str
    state: str
    new_per_s: float | None
    packets_per_s: float | None
    in_bits_per_s: float | None
    out_bits_per_s: float | None
    waiting: int | None
    dropped_per_s: float | None
    """Packets that the kernel dropped because queue or socket buffer was full."""
    cpu: float | None
    """The share of one CPU."""
    starts: int | None
    trend: Trend


class ServerRow(NamedTuple):
    """A real server of a service."""

    service: str
    endpoint: str
    state: str
    """"up", "down" or "drained"; with "backup" behind it."""
    weight: int
    """What counts: 0 while it is drained."""
    sessions: int
    half_open: int
    new_per_s: float | None
    packets_per_s: float | None
    since_s: float | None
    reason: str


class DropRow(NamedTuple):
    """A reason for which packets are dropped."""

    reason: str
    per_s: float | None
    total: int
    meaning: str
    trend: Trend


class ClientRow(NamedTuple):
    """A client with many sessions."""

    client: str
    sessions: int
    share: float | None


Row: TypeAlias = ServiceRow | ShardRow | ServerRow | DropRow | ClientRow


class Summary(NamedTuple):
    """The gateway as a whole."""

    new_per_s: float | None
    packets_per_s: float | None
    in_bits_per_s: float | None
    out_bits_per_s: float | None
    carried: float | None
    sessions: int | None
    sessions_max: int | None
    trend: Trend
