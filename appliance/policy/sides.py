"""The two sides of the gateway: from where packets of clients may come, and from where those of real servers.

An interface tells the side where each side has interfaces of its own. On an interface that both sides share, the source address
tells it: a packet is of the server side when its source is a real server or lies in `server_networks`. Packets to local addresses
need such a source on every interface, because no session has another one.

- A packet to a local address, or an error about one from there, is taken from the server side only.
- A packet to a VIP is taken from the client side; from the server side it is taken when its source is a real server, which may be
  a client of a VIP itself. On an interface of clients alone, no packet has the address of a real server.
- A packet from the client side to a real server or a local address goes around the gateway, and is dropped.
- A packet to a real server past the services, from wherever that is allowed, has no client-address option when it arrives.
"""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network
from typing import NamedTuple

from appliance.wire.layout import FRAGMENT_OFFSET_BITS

NO_HOST = ("0.0.0.0/8", "127.0.0.0/8", "224.0.0.0/3")
"""Addresses that no host on a network has: this network, loopback, multicast, reserved and broadcast (RFC 6890)."""

FORGED_SOURCE = "forged_source_drops"
DIRECT_ACCESS = "direct_access_drops"
FORGED_OPTION = "forged_client_options"
COUNTERS = (FORGED_SOURCE, DIRECT_ACCESS, FORGED_OPTION)
"""Names of the counters: packets with a source that nobody has at that place, packets around the gateway, and packets past the
services to a real server in which their sender claims an address."""

PAST_SERVICES = "ip daddr @real_servers ip protocol tcp"
"""The nft expression for a segment to a real server that no shard has sent there."""

_LAST_OFFSET_OF_HEADER = 7
"""In units of eight bytes: a fragment that begins behind it has nothing of a TCP header, which has at most sixty bytes."""


class Sides(NamedTuple):
    """What the configuration says of both sides."""

    client_interfaces: tuple[str, ...]
    server_interfaces: tuple[str, ...]
    server_networks: tuple[IPv4Network, ...] = ()
    direct_access: bool = False
    """Whether packets of the client side may go to real servers and local addresses past the services."""

    @property
    def clients_alone(self) -> tuple[str, ...]:
        """Interfaces on which no packet of a real server arrives."""
        return tuple(name for name in self.client_interfaces if name not in self.server_interfaces)

    @property
    def servers_alone(self) -> tuple[str, ...]:
        """Interfaces on which no client is, but real servers."""
        return tuple(name for name in self.server_interfaces if name not in self.client_interfaces)

    @property
    def shared(self) -> tuple[str, ...]:
        """Interfaces of both sides."""
        return tuple(name for name in self.client_interfaces if name in self.server_interfaces)

    @property
    def all(self) -> tuple[str, ...]:
        """All interfaces, each once."""
        return tuple(dict.fromkeys((*self.client_interfaces, *self.server_interfaces)))


def arrives_on(interfaces: Sequence[str], *, negated: bool = False) -> str:
    """The nft expression for a packet that arrives on one of these interfaces, of which there is at least one."""
    names = ", ".join(f'"{name}"' for name in interfaces)
    wanted = f"{{ {names} }}" if len(interfaces) > 1 else names
    return f"iifname != {wanted}" if negated else f"iifname {wanted}"


def from_server_side(sides: Sides) -> str:
    """The nft expression for a packet of a real server."""
    return f"{arrives_on(sides.server_interfaces)} ip saddr @server_sources"


def forged(sides: Sides) -> list[str]:
    """Rules that drop packets, of any protocol, whose source nobody has at that place."""
    drop = f"counter name {FORGED_SOURCE} drop"
    rules = [f"ip saddr @no_host {drop}", f"fib saddr type {{ local, broadcast, multicast }} {drop}"]
    if sides.clients_alone:
        rules.append(f"{arrives_on(sides.clients_alone)} ip saddr @server_sources {drop}")
    return rules


def misplaced(sides: Sides) -> list[str]:
    """Rules that drop packets of TCP and UDP to a service that come from where no client is.

    One is the port of a real server of a UDP service: two servers that answer everything would answer each other for ever.
    """
    drop = f"counter name {FORGED_SOURCE} drop"
    rules = [f"{arrives_on(sides.all, negated=True)} {drop}"]
    if sides.servers_alone:
        rules.append(f"{arrives_on(sides.servers_alone)} ip saddr != @server_sources {drop}")
    rules.append(f"meta l4proto udp ip saddr . th sport @udp_servers {drop}")
    return rules


_AROUND = ("real_servers", "local_addresses")
"""The sets of addresses that clients reach through services only."""


def around(sides: Sides, targets: Sequence[str] = _AROUND, counter: str = f"counter name {DIRECT_ACCESS}") -> list[str]:
    """Rules that drop packets of the client side to the sets `targets`; none when these are allowed.

    `counter` is the nft statement that counts them.
    """
    if sides.direct_access:
        return []
    origins = []
    if sides.clients_alone:
        origins.append(arrives_on(sides.clients_alone))
    if sides.shared:
        origins.append(f"{arrives_on(sides.shared)} ip saddr != @server_sources")
    return [f"{origin} ip daddr @{target} {counter} drop" for origin in origins for target in targets]


def disarming(toa_kind: int) -> list[str]:
    """Rules for packets PAST_SERVICES: real servers believe the client-address option (TCP option `toa_kind`), so nobody may send
    one but the gateway.

    The kernel overwrites one such option in a packet with NOPs. No honest packet has two; one that has is dropped. So is the
    fragment that would complete a TCP header begun in another fragment, or overwrite it (RFC 3128): nobody sees the options then.
    """
    has_option, count = f"tcp option {toa_kind} exists", f"counter name {FORGED_OPTION}"
    return [
        f"ip frag-off & {FRAGMENT_OFFSET_BITS:#x} >= 1 ip frag-off & {FRAGMENT_OFFSET_BITS:#x} <= {_LAST_OFFSET_OF_HEADER} "
        f"{count} drop",
        f"{has_option} {count} reset tcp option {toa_kind}",
        f"{has_option} drop",
    ]


def source_ranges(sources: Iterable[IPv4Address | IPv4Network]) -> list[str]:
    """Addresses and networks as ranges of integers, for a field that nft has no type for."""
    return [_range(source) for source in sources]


def _range(source: IPv4Address | IPv4Network) -> str:
    if isinstance(source, IPv4Address):  # there may be tens of thousands, and a network takes long to make
        return f"{int(source):#x}-{int(source):#x}"
    return f"{int(source.network_address):#x}-{int(source.broadcast_address):#x}"
