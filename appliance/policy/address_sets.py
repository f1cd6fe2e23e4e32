"""What the rules need of a configuration, and the sets of addresses that they look into."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import NamedTuple

from appliance.policy import steering
from appliance.policy.sides import NO_HOST, Sides, source_ranges

QUOTED_DESTINATION = "@th,192,32"
"""The destination of the packet that an ICMP error quotes, as nft writes it."""


class SteeredService(NamedTuple):
    """A virtual service, as far as steering has to know it. `protocol` is "tcp" or "udp"."""

    vip: IPv4Address
    protocol: str
    port: int


class Steered(NamedTuple):
    """What the ruleset needs of a configuration."""

    services: Sequence[SteeredService]
    local_addresses: Sequence[IPv4Address]
    shard_table: steering.ShardTable
    queue_base: int
    """Number of the queue of shard 0; the queues of the other shards follow it."""
    real_servers: Sequence[IPv4Address]
    udp_servers: Sequence[tuple[IPv4Address, int]]
    """Address and port of each real server of a UDP service."""
    sides: Sides
    hash_seed: int = steering.HASH_SEED
    """What the hash that chooses the slot of a client begins with: 1..0xFFFFFFFF."""

    @property
    def shards(self) -> int:
        """The number of shards."""
        return steering.shard_count(self.shard_table)

    @property
    def server_sources(self) -> tuple[IPv4Address | IPv4Network, ...]:
        """The sources of packets of the server side."""
        return (*self.sides.server_networks, *in_order(self.real_servers))


def in_order(addresses: Iterable[IPv4Address]) -> list[IPv4Address]:
    """Each of them once, by their numbers. Addresses themselves are compared and hashed ten times slower."""
    return list({int(address): address for address in sorted(addresses, key=int)}.values())


def joined(one: Steered, other: Steered) -> Steered:
    """What both take, in the shape of the first."""
    return one._replace(
        services=list(dict.fromkeys((*one.services, *other.services))),
        local_addresses=in_order((*one.local_addresses, *other.local_addresses)),
        real_servers=in_order((*one.real_servers, *other.real_servers)),
        udp_servers=sorted({*one.udp_servers, *other.udp_servers}),
    )


def address_sets(steered: Steered) -> list[str]:
    """The sets of a table that knows services, local addresses and both sides."""
    return [
        *_set("no_host", f"type ipv4_addr; {_RANGES}", NO_HOST),
        *(line for name, kind, elements in changing_sets(steered) for line in _set(name, kind, elements)),
    ]


_RANGES = "flags interval; auto-merge"


def changing_sets(steered: Steered) -> list[tuple[str, str, list[str]]]:
    """Name, kind and elements of the sets that change with the configuration."""
    sources = steered.server_sources
    return [
        (
            "services",
            "type ipv4_addr . inet_proto . inet_service",
            [f"{vip} . {protocol} . {port}" for vip, protocol, port in steered.services],
        ),
        ("vips", "type ipv4_addr", list(map(str, in_order(service.vip for service in steered.services)))),
        ("local_addresses", "type ipv4_addr", list(map(str, in_order(steered.local_addresses)))),
        ("real_servers", "type ipv4_addr", list(map(str, in_order(steered.real_servers)))),
        ("udp_servers", "type ipv4_addr . inet_service", [f"{address} . {port}" for address, port in steered.udp_servers]),
        ("server_sources", f"type ipv4_addr; {_RANGES}", list(map(str, sources))),
        ("quoted_server_sources", f"typeof {QUOTED_DESTINATION}; {_RANGES}", source_ranges(sources)),
    ]


def _set(name: str, kind: str, elements: Iterable[object]) -> list[str]:
    joined = ", ".join(str(element) for element in elements)
    listed = [f"\t\telements = {{ {joined} }}"] if joined else []
    return [f"\tset {name} {{", *(f"\t\t{line}" for line in kind.split("; ")), *listed, "\t}", ""]
