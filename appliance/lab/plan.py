"""The addresses, routes and listeners of each namespace of a lab, for a given configuration. Pure.

    client ── client network ── gateway ── server network (a bridge) ── rs1, rs2

or, one-armed, when the configuration has one interface for both sides:

    client, rs1, rs2 ── one network (a bridge) with the addresses of both ── gateway

The real servers have no route to the client network, so an answer can come back only through a local address, as FULLNAT
has it. Addresses outside the two networks get on-link routes, so a configuration may use any addresses.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import NamedTuple

from appliance.config.loading import Config
from appliance.lab.errors import LabError
from appliance.lab.names import REAL_SERVERS

CLIENT_NETWORK = IPv4Network("198.51.100.0/24")
SERVER_NETWORK = IPv4Network("192.0.2.0/24")
EVERYWHERE = IPv4Network("0.0.0.0/0")

GATEWAY_TO_CLIENT = IPv4Interface("198.51.100.1/24")
CLIENT = IPv4Interface("198.51.100.2/24")
GATEWAY_TO_SERVERS = IPv4Interface("192.0.2.1/24")
_USUAL_ADDRESS = dict(zip(REAL_SERVERS, (IPv4Address("192.0.2.101"), IPv4Address("192.0.2.102")), strict=True))

END_INTERFACE = "eth0"
"""The only interface of the client and of each real server."""

_ANY_ADDRESS = "0.0.0.0"
_LOOPBACK = "127.0.0.1"


class Address(NamedTuple):
    """An address on an interface."""

    interface: str
    address: IPv4Interface


class Route(NamedTuple):
    """A route out of an interface; on-link when `via` is None."""

    destination: IPv4Network
    interface: str
    via: IPv4Address | None = None


class HostPlan(NamedTuple):
    """The interfaces to bring up in one namespace, its addresses and its routes."""

    interfaces: tuple[str, ...]
    addresses: tuple[Address, ...]
    routes: tuple[Route, ...]


class Endpoint(NamedTuple):
    """An address and port on which a server listens."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """A whole lab: its hosts and the listeners of its real servers, by role; its first service; the address of the admin API."""

    client_interface: str
    server_interface: str
    """The same as client_interface in a one-armed lab."""
    hosts: Mapping[str, HostPlan]
    listeners: Mapping[str, tuple[Endpoint, ...]]
    """The listeners of the HTTP server, which stands for the TCP services."""
    udp_listeners: Mapping[str, tuple[Endpoint, ...]]
    """The listeners of the UDP server."""
    service: Endpoint
    api: Endpoint


def make_plan(config: Config) -> Plan:
    """The plan of the lab for `config`. Raises LabError when the lab cannot run this configuration."""
    _check_addresses(config)
    by_role = addresses_by_real_server(config)
    first = config.services[0]
    return Plan(
        client_interface=config.gateway.client_interface,
        server_interface=config.gateway.server_interface,
        hosts={
            "client": _client_plan(),
            "gateway": _gateway_plan(config, by_role),
            **{role: _real_server_plan(config, addresses) for role, addresses in by_role.items()},
        },
        listeners={role: _listeners(config, addresses, "tcp") for role, addresses in by_role.items()},
        udp_listeners={role: _listeners(config, addresses, "udp") for role, addresses in by_role.items()},
        service=Endpoint(str(first.vip), first.port),
        api=_api_endpoint(config),
    )


def addresses_by_real_server(config: Config) -> dict[str, tuple[IPv4Address, ...]]:
    """The addresses of each real server: those of the configuration, shared out in turn, and its usual address if it is free."""
    distinct = list(dict.fromkeys(_real_server_addresses(config)))
    taken = set(_all_addresses(config))
    shared_out = {}
    for position, role in enumerate(REAL_SERVERS):
        usual = [] if _USUAL_ADDRESS[role] in taken else [_USUAL_ADDRESS[role]]
        shared_out[role] = (*usual, *distinct[position :: len(REAL_SERVERS)])
    return shared_out


def _client_plan() -> HostPlan:
    default_route = Route(EVERYWHERE, END_INTERFACE, GATEWAY_TO_CLIENT.ip)
    return HostPlan((END_INTERFACE,), (Address(END_INTERFACE, CLIENT),), (default_route,))


def _gateway_plan(config: Config, by_role: Mapping[str, tuple[IPv4Address, ...]]) -> HostPlan:
    to_client, to_servers = config.gateway.client_interface, config.gateway.server_interface
    addresses = [Address(to_client, GATEWAY_TO_CLIENT), Address(to_servers, GATEWAY_TO_SERVERS)]
    if not config.gateway.manage_addresses:
        addresses += (Address(to_client, IPv4Interface(vip)) for vip in dict.fromkeys(_vips(config)))
        addresses += (Address(to_servers, IPv4Interface(local)) for local in _local_addresses(config))
    real_servers = [address for own in by_role.values() for address in own]
    routes = tuple(_on_link_routes(real_servers, to_servers))
    return HostPlan(tuple(dict.fromkeys((to_client, to_servers))), tuple(addresses), routes)


def _real_server_plan(config: Config, own: tuple[IPv4Address, ...]) -> HostPlan:
    addresses = tuple(Address(END_INTERFACE, _with_network(address)) for address in own)
    routes = list(_on_link_routes(_local_addresses(config), END_INTERFACE))
    if not any(address in SERVER_NETWORK for address in own):
        routes.insert(0, Route(SERVER_NETWORK, END_INTERFACE))  # with an address in the network the kernel adds this route itself
    return HostPlan((END_INTERFACE,), addresses, tuple(routes))


def _with_network(address: IPv4Address) -> IPv4Interface:
    prefix_length = SERVER_NETWORK.prefixlen if address in SERVER_NETWORK else 32
    return IPv4Interface((address, prefix_length))


def _on_link_routes(addresses: Iterable[IPv4Address], interface: str) -> Iterable[Route]:
    return (Route(IPv4Network(address), interface) for address in addresses if address not in SERVER_NETWORK)


def _listeners(config: Config, own: tuple[IPv4Address, ...], protocol: str) -> tuple[Endpoint, ...]:
    wanted = dict.fromkeys(
        Endpoint(str(real_server.address), real_server.port)
        for service in config.services
        for real_server in service.real_servers
        if service.protocol == protocol and real_server.address in own
    )
    return tuple(wanted)


def _api_endpoint(config: Config) -> Endpoint:
    for listen in config.api.listen:
        host, _, port = listen.rpartition(":")
        if not listen.startswith(("unix:", "[")):
            return Endpoint(_LOOPBACK if host == _ANY_ADDRESS else host, int(port))
    raise LabError("[api] listen: the lab needs an IPv4 address, for instance 127.0.0.1:9380")


def _check_addresses(config: Config) -> None:
    own = {
        GATEWAY_TO_CLIENT.ip: "the gateway's on the client network",
        CLIENT.ip: "the client's",
        GATEWAY_TO_SERVERS.ip: "the gateway's on the server network",
    }
    for address in _all_addresses(config):
        if address in own:
            raise LabError(f"{address}: in the lab this address is {own[address]}; use another one")


def _vips(config: Config) -> Iterable[IPv4Address]:
    return (service.vip for service in config.services)


def _real_server_addresses(config: Config) -> Iterable[IPv4Address]:
    return (real_server.address for service in config.services for real_server in service.real_servers)


def _local_addresses(config: Config) -> Iterable[IPv4Address]:
    return dict.fromkeys(address for pool in config.local_addresses.values() for address in pool)


def _all_addresses(config: Config) -> Iterable[IPv4Address]:
    return (*_vips(config), *_real_server_addresses(config), *_local_addresses(config))
