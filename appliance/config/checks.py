"""The checks of values that are right alone and wrong together. Each problem names its key and the other one."""

from collections.abc import Hashable, Iterable, Iterator, Mapping
from ipaddress import IPv4Address
from typing import TypeVar

from appliance.config.health_check import HealthCheck, check_problems
from appliance.config.problems import ConfigProblem, KeyPath, key_text, value_text
from appliance.config.session_log import SessionLog
from appliance.config.tables import LAST_QUEUE_NUM, Gateway, Pools, Service
from appliance.health.pace import MOST_PER_S
from appliance.model.did_you_mean import did_you_mean
from appliance.policy.schedulers.maglev_table import MOST_TABLES_BYTES, place_bytes
from appliance.policy.steering import shard_table, shards_without_ports

_Places = dict[IPv4Address, KeyPath]
HashableT = TypeVar("HashableT", bound=Hashable)


def sizing_problems(gateway: Gateway, sysctl: Mapping[str, int]) -> Iterator[ConfigProblem]:
    """Problems of a number of shards that is too large for the queue numbers or the local ports."""
    path, shards = ("gateway", "shards"), gateway.shards
    if gateway.queue_base + shards > LAST_QUEUE_NUM + 1:
        yield ConfigProblem(
            path,
            shards,
            f"{shards} queues that begin at gateway.queue_base {gateway.queue_base} pass the last queue number, {LAST_QUEUE_NUM}",
        )
    lport_min, lport_max = sysctl["fullnat_lport_min"], sysctl["fullnat_lport_max"]
    if lport_min <= lport_max and shards_without_ports(shard_table(shards), lport_min, lport_max):
        yield ConfigProblem(
            path,
            shards,
            f"with {shards} shards, not every shard gets a local port of "
            f"sysctl.fullnat_lport_min..sysctl.fullnat_lport_max, {lport_min}..{lport_max}",
        )


def tunable_problems(sysctl: Mapping[str, int]) -> Iterator[ConfigProblem]:
    """Problems of start values that are each in range, but do not fit each other."""
    lport_min, lport_max = sysctl["fullnat_lport_min"], sysctl["fullnat_lport_max"]
    if lport_min > lport_max:
        yield ConfigProblem(
            ("sysctl", "fullnat_lport_min"),
            lport_min,
            f"{lport_min} is above sysctl.fullnat_lport_max, which is {lport_max}",
        )


def service_problems(services: tuple[Service, ...], pools: Pools) -> Iterator[ConfigProblem]:
    """Problems of services with the same name or endpoint, and of services whose pool does not exist."""
    names = ((("service", index, "name"), service.name) for index, service in enumerate(services))
    for path, name, first in repeats(names):
        yield ConfigProblem(path, name, f"{value_text(name)} is already {key_text(first)}")
    endpoints = (
        (("service", index, "vip"), (service.vip, service.port, service.protocol)) for index, service in enumerate(services)
    )
    for path, (vip, port, protocol), first in repeats(endpoints):
        yield ConfigProblem(path, vip, f"{vip}:{port} {protocol} is already served by {key_text(first[:-1])}")
    for index, service in enumerate(services):
        if (pool := service.local_addresses) not in pools:
            path = ("service", index, "local_addresses")
            hint = did_you_mean(pool, pools)
            yield ConfigProblem(path, pool, f"{value_text(pool)} is not a pool of [local_addresses]{hint}")


def address_problems(services: tuple[Service, ...], pools: Pools) -> Iterator[ConfigProblem]:
    """Problems of addresses that have two roles, or the same role twice."""
    locals_ = [
        (("local_addresses", pool, index), address)
        for pool, addresses in pools.items()
        for index, address in enumerate(addresses)
    ]
    for path, address, first in repeats(locals_):
        yield ConfigProblem(path, address, f"{address} is already {key_text(first)}")
    vips = [(("service", index, "vip"), service.vip) for index, service in enumerate(services)]
    local_places, vip_places = _first_places(locals_), _first_places(vips)
    yield from _taken(vips, local_places)
    taken = vip_places | local_places
    for index, service in enumerate(services):
        yield from _real_server_problems(("service", index, "real_server"), service, taken)


def _real_server_problems(path: KeyPath, service: Service, taken: _Places) -> Iterator[ConfigProblem]:
    listed = [((*path, index, "address"), server) for index, server in enumerate(service.real_servers)]
    yield from _taken(((place, server.address) for place, server in listed), taken)
    endpoints = ((place, (server.address, server.port)) for place, server in listed)
    for place, (address, port), first in repeats(endpoints):
        yield ConfigProblem(place, address, f"{address}:{port} is already {key_text(first[:-1])}")


def side_problems(gateway: Gateway, services: tuple[Service, ...]) -> Iterator[ConfigProblem]:
    """Problems of real servers that are outside of the networks of the server side."""
    if not gateway.server_networks:
        return
    for index, service in enumerate(services):
        for place, server in enumerate(service.real_servers):
            if not any(server.address in network for network in gateway.server_networks):
                path = ("service", index, "real_server", place, "address")
                yield ConfigProblem(path, server.address, f"{server.address} is in no network of gateway.server_networks")


def health_check_problems(services: tuple[Service, ...]) -> Iterator[ConfigProblem]:
    """Problems of health checks that need more than their own table."""
    placed: list[tuple[KeyPath, HealthCheck | None]] = []
    for index, service in enumerate(services):
        path = ("service", index)
        placed.append(((*path, "health_check"), service.health_check))
        servers = enumerate(service.real_servers)
        placed += [((*path, "real_server", place, "health_check"), server.health_check) for place, server in servers]
    yield from check_problems(placed, {service.vip for service in services})


def warnings(gateway: Gateway) -> Iterator[str]:
    """What is allowed and leaves a door open, a sentence or two for each."""
    shared = gateway.sides.shared
    if shared and not gateway.server_networks:
        yield (
            f"gateway.server_networks is not given, and both sides share the interface {shared[0]}: only the addresses of real "
            "servers are taken for the server side. Name its networks, or errors of routers towards real servers are dropped."
        )
    if shared:
        yield (
            f"both sides share the interface {shared[0]}: a client that can send with the address of a real server speaks for it."
            " Give each side an interface of its own, or drop such packets in front of the gateway."
        )
    if gateway.direct_access:
        yield (
            "gateway.direct_access is true: clients that route through the gateway reach real servers and local addresses past "
            "the services and their protection."
        )


def pace_warnings(services: tuple[Service, ...]) -> Iterator[str]:
    """What is allowed, and more than the director can do in time."""
    per_s = sum(
        1 / check.interval_s
        for service in services
        for server in service.real_servers
        if (check := server.health_check or service.health_check) is not None and check.type != "command"
    )
    if per_s > MOST_PER_S:
        yield (
            f"the health checks are {per_s:.0f} a second, and no more than {MOST_PER_S} are made: real servers are asked less "
            "often, and found to be down later, than interval_s says. Choose a longer interval_s, or check fewer of them."
        )


def session_log_problems(log: SessionLog, services: tuple[Service, ...]) -> Iterator[ConfigProblem]:
    """Problems of a session log of services that do not exist."""
    known = [service.name for service in services]
    for index, name in enumerate(log.services):
        if name not in known:
            path = ("session_log", "services", index)
            yield ConfigProblem(path, name, f"{value_text(name)} is no service{did_you_mean(name, known)}")


def scheduler_problems(services: tuple[Service, ...]) -> Iterator[ConfigProblem]:
    """Problems of tables of the scheduler mh that are too small for their real servers, or too large all together."""
    tables: dict[Hashable, int] = {}
    for index, service in enumerate(services):
        if service.scheduler != "mh":
            continue
        path, places, servers = ("service", index, "maglev_table"), service.maglev_table, len(service.real_servers)
        if servers > places:
            yield ConfigProblem(path, places, f"{places} places are too few for the {servers} real servers of {service.name}")
        tables[_table_of(service)] = places * place_bytes(servers)
        if sum(tables.values()) > MOST_TABLES_BYTES:
            yield ConfigProblem(
                path,
                places,
                f"{places} places are too many: with this table, those of the scheduler mh take more than "
                f"{MOST_TABLES_BYTES >> 20} MiB in each shard",
            )
            return


def _table_of(service: Service) -> Hashable:
    """Services for which this is the same have one table of the scheduler mh together."""
    return frozenset((server.address, server.port, server.weight) for server in service.real_servers), service.maglev_table


def tables_bytes(services: Iterable[Service]) -> int:
    """How much the tables of the scheduler mh take in each shard."""
    tables = {_table_of(one): one.maglev_table * place_bytes(len(one.real_servers)) for one in services if one.scheduler == "mh"}
    return sum(tables.values())


def access_problems(services: tuple[Service, ...]) -> Iterator[ConfigProblem]:
    """Problems of limits that do not fit their service."""
    for index, service in enumerate(services):
        if service.max_conn_per_client and service.protocol != "tcp":
            yield ConfigProblem(
                ("service", index, "max_conn_per_client"),
                service.max_conn_per_client,
                f"{service.max_conn_per_client} is not possible for a {service.protocol.upper()} service: nothing proves that a "
                "datagram comes from the client that it names, so strangers could keep clients out",
            )
        for key in ("client_new_per_s", "new_per_s"):
            limit = getattr(service, key)
            if limit and service.protocol != "tcp":
                yield ConfigProblem(
                    ("service", index, key),
                    limit,
                    f"{limit} is not possible for a {service.protocol.upper()} service: what opens a connection there is not to "
                    "be seen in a datagram",
                )
        if service.new_per_s and service.synproxy is not False and service.protocol == "tcp":
            yield ConfigProblem(
                ("service", index, "new_per_s"),
                service.new_per_s,
                f"{service.new_per_s} is not possible while synproxy is {value_text(service.synproxy)}: forged SYNs would use "
                "the limit up, and keep out the clients that SYN cookies let in. Set synproxy = false, or use client_new_per_s",
            )


def _taken(listed: Iterable[tuple[KeyPath, IPv4Address]], places: _Places) -> Iterator[ConfigProblem]:
    for path, address in listed:
        if address in places:
            yield ConfigProblem(path, address, f"{address} is also {key_text(places[address])}")


def _first_places(listed: Iterable[tuple[KeyPath, HashableT]]) -> dict[HashableT, KeyPath]:
    places: dict[HashableT, KeyPath] = {}
    for path, value in listed:
        places.setdefault(value, path)
    return places


def repeats(listed: Iterable[tuple[KeyPath, HashableT]]) -> Iterator[tuple[KeyPath, HashableT, KeyPath]]:
    """Every value that repeats an earlier one, with its path and the path of the first one."""
    items = list(listed)
    first = _first_places(items)
    return ((path, value, first[value]) for path, value in items if path != first[value])
