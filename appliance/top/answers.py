"""What answers of the API say, read from their JSON. Pure.

A field that an older or newer appliance does not have counts as not said. An answer of another shape raises AnswerError.
"""

from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any, NamedTuple, TypeAlias

Counts: TypeAlias = tuple[int, ...]

SESSIONS, PACKETS, IN_BYTES, OUT_BYTES, CARRIED = range(5)
"""Places in the `counts` of a service, a real server and a shard: new sessions, packets both ways, bytes each way, and packets
both ways that the lane carried."""

FIELDS = 5

_GREATEST = (1 << 64) - 1


class AnswerError(ValueError):
    """An answer is not one of an appliance; the message says which."""


class Server(NamedTuple):
    """A real server of a service."""

    service: str
    endpoint: str
    state: str
    weight: int
    is_drained: bool
    is_backup: bool
    sessions: int
    half_open: int
    counts: Counts


class Service(NamedTuple):
    """A service."""

    name: str
    protocol: str
    endpoint: str
    cookies: str
    """"always" or "engaged" while it answers SYNs with cookies, by its configuration or because of its backlog; else empty."""
    knows_lane: bool
    """Whether it is said what the lane carried."""
    servers: tuple[Server, ...]

    @property
    def counts(self) -> Counts:
        """The sum over its real servers."""
        return tuple(map(sum, zip(*(server.counts for server in self.servers), strict=True))) or (0,) * FIELDS


class Shard(NamedTuple):
    """The worker of a shard."""

    is_up: bool
    starts: int
    cpu_s: float | None
    """CPU time of its process; None when it is not known."""
    waiting: int | None
    """Packets in its queue; None when it is not known."""


class Condition(NamedTuple):
    """What `/healthz` says."""

    status: str
    problems: tuple[str, ...]
    lane: str
    shards: tuple[Shard, ...]


class Attack(NamedTuple):
    """An attack that is under way."""

    kind: str
    lasted_s: float
    dropped_per_s: float
    peak_per_s: float
    new_per_s: float
    new_per_s_before: float


class Standing(NamedTuple):
    """What health checks say of a real server."""

    since_s: float
    reason: str


class Clients(NamedTuple):
    """The clients with most sessions."""

    sessions: int
    different: int
    most: tuple[tuple[str, int], ...]


def services(answer: Any) -> tuple[Service, ...]:
    """What `/stats/ip_vs` says."""
    return tuple(_service(_table(one)) for one in _list(_table(answer), "services"))


def _service(data: Mapping[str, Any]) -> Service:
    rows = [_table(row) for row in _list(data, "real_servers")]
    name = _text(data, "name")
    return Service(
        name=name,
        protocol=_text(data, "protocol"),
        endpoint=_endpoint(data, "vip"),
        cookies="" if data.get("engaged") is not True else "always" if data.get("synproxy") == "always" else "engaged",
        knows_lane=all("lane_packets" in row for row in rows),
        servers=tuple(_server(name, row) for row in rows),
    )


def _server(service: str, data: Mapping[str, Any]) -> Server:
    return Server(
        service=service,
        endpoint=_endpoint(data, "address"),
        state=_text(data, "state"),
        weight=_count(data, "weight"),
        is_drained=data.get("draining") is True,
        is_backup=data.get("backup") is True,
        sessions=_count(data, "active_conns") + _count(data, "inactive_conns"),
        half_open=_count(data, "opening_conns"),
        counts=(
            _count(data, "conns"),
            _count(data, "in_packets") + _count(data, "out_packets"),
            _count(data, "in_bytes"),
            _count(data, "out_bytes"),
            _count(data, "lane_packets"),
        ),
    )


def traffic(answer: Any) -> tuple[list[Counts], Counts]:
    """What `/stats/ip_vs_stats` says: the counts of each shard, and those of the lane."""
    totals = _table(_table(answer).get("totals"))
    rows = [_table(totals.get(name)) for name in ("conns", "in_packets", "out_packets", "in_bytes", "out_bytes")]
    columns = zip(*(map(_whole, _list(row, "shards")) for row in rows), strict=False)
    lane_sessions, lane_in, lane_out, *lane_bytes = (_count(row, "lane") for row in rows)
    shards = [(opened, ins + outs, *octets, 0) for opened, ins, outs, *octets in columns]
    return shards, (lane_sessions, lane_in + lane_out, *lane_bytes, lane_in + lane_out)


def condition(answer: Any) -> Condition:
    """What `/healthz` says."""
    data = _table(answer)
    lane = _table(data.get("lane") or {})
    reason = f" ({lane['reason']})" if lane.get("reason") else ""
    problems = [str(problem) for problem in _list(data, "problems")]
    problems += [f"service {name} is down: {why}" for name, why in _table(data.get("services_down", {})).items()]
    return Condition(
        _text(data, "status"),
        tuple(problems),
        f"{lane.get('state', '')}{reason}",
        tuple(_shard(_table(shard)) for shard in _list(data, "shards")),
    )


def _shard(data: Mapping[str, Any]) -> Shard:
    cpu_s, waiting = (data.get(name) for name in ("cpu_s", "waiting"))
    return Shard(
        is_up=data.get("up") is True,
        starts=_count(data, "starts"),
        cpu_s=None if cpu_s is None else _number(cpu_s),
        waiting=None if waiting is None else _whole(waiting),
    )


def table_of_sessions(answer: Any) -> tuple[int, int]:
    """What `/stats/conntrack` says: the sessions there are, and how many there may be."""
    data = _table(_table(answer).get("appliance"))
    return _count(data, "count"), _count(data, "max")


def attacks(answer: Any) -> tuple[Attack, ...]:
    """What `/stats/attack` says: those that are under way."""
    return tuple(
        Attack(
            _text(one, "kind"),
            *(
                _number(one.get(name, 0))
                for name in ("lasted_s", "rate_per_s", "peak_per_s", "sessions_per_s", "sessions_per_s_before")
            ),
        )
        for one in map(_table, _list(_table(answer), "under_way"))
    )


def standings(answer: Any) -> dict[tuple[str, str], Standing]:
    """What `/health` says, by service and endpoint. The reason is the last answer of the check."""
    return {
        (_text(service, "service"), _endpoint(server, "address")): Standing(
            _number(server.get("since_s", 0)), _text(server, "last_answer")
        )
        for service in map(_table, _list(_table(answer), "services"))
        for server in map(_table, _list(service, "real_servers"))
    }


def counters(answer: Any) -> Iterator[tuple[str, int, list[int], int]]:
    """What `/stats/drops` and `/stats/queues` say: name, total, the number of each shard, and that of the lane."""
    for name, row in _table(answer).items():
        data = _table(row)
        yield name, _count(data, "total"), [*map(_whole, _list(data, "shards"))], _count(data, "lane")


def in_kernel(answer: Any) -> Iterator[tuple[str, int]]:
    """What `/stats/ext` says of drops: name, and how many the kernel counted itself."""
    for name, row in _table(answer).items():
        if kernel := _count(_table(row), "kernel"):
            yield name, kernel


def is_object(answer: Any) -> bool:
    """True. Raises AnswerError for an answer that is none."""
    return _table(answer) is answer


def clients(answer: Any) -> Clients:
    """What `/conns/top?by=client` says."""
    data = _table(answer)
    most = ((_text(row, "client"), _count(row, "conns")) for row in map(_table, _list(data, "top")))
    return Clients(_count(data, "conns"), _count(data, "different"), tuple(most))


def _table(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise AnswerError("an object of the answer is none")
    return value


def _list(data: Mapping[str, Any], name: str) -> list[Any]:
    value = data.get(name, [])
    if not isinstance(value, list):
        raise AnswerError(f"{name} of the answer is no list")
    return value


def _text(data: Mapping[str, Any], name: str) -> str:
    value = data.get(name, "")
    if not isinstance(value, str):
        raise AnswerError(f"{name} of the answer is no text")
    return value


def _endpoint(data: Mapping[str, Any], name: str) -> str:
    return f"{_text(data, name)}:{_count(data, 'port')}"


def _count(data: Mapping[str, Any], name: str) -> int:
    return _whole(data.get(name, 0), name)


def _whole(value: Any, name: str = "a number") -> int:
    if type(value) is not int or abs(value) > _GREATEST:
        raise AnswerError(f"{name} of the answer is no integer of 64 bits")
    return value


def _number(value: Any) -> float:
    if type(value) is int:
        return float(_whole(value))
    if type(value) is not float or not isfinite(value):
        raise AnswerError("a number of the answer is none")
    return value
