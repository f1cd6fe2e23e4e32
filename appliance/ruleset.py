"""The nftables text that brings packets to their shards: rendered from the configuration, applied by `edge.nft`.

Everything lives in one table of our own. A packet of ours goes through one rule that knows its class (client to VIP, real
server to local address, ICMP error about either), which picks the shard, and through that shard's chain, which queues it:

- native: the `queue` statement of nftables, on any stock kernel;
- compat: for kernels without it, a mark, which one iptables rule per shard in the `raw` table turns into NFQUEUE. The mark
  uses the top eight bits only, and a third chain clears them again, so marks of the host's own rules survive.

Shards are picked by what `steering` says, nowhere else. VIP and local-address traffic is never tracked (`notrack`), and it is
dropped, not let past, while the worker of its shard is away: a packet that went on to the host would be answered with a RST.
"""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address
from typing import NamedTuple

from appliance import steering

TABLE = "appliance"
IPTABLES_CHAIN = "APPLIANCE"

PRIORITY = -310
"""Before `raw` (-300), where the compat rules queue, and before conntrack (-200), so that `notrack` counts; after kernel
defragmentation (-400)."""

_UNMARK_PRIORITY = -299
_MARK_MASK = 0xFF000000
_MARK_BASE = 0x80000000
_MARK_SHIFT = 24

_ICMP_ERRORS = "{ destination-unreachable, source-quench, time-exceeded, parameter-problem }"

# Fields of the packet that an ICMP error quotes, as (offset, length) in bits from the start of the ICMP header.
_QUOTED_VERSION_IHL = "@th,64,8"
_QUOTED_PROTOCOL = "@th,136,8"
_QUOTED_DESTINATION = "@th,192,32"
_QUOTED_SOURCE_PORT = "@th,224,16"
_QUOTED_DESTINATION_PORT = "@th,240,16"
_QUOTES_PLAIN_TCP = f"{_QUOTED_VERSION_IHL} 0x45 {_QUOTED_PROTOCOL} 6"


class Steered(NamedTuple):
    """What the ruleset needs to know of a configuration. Endpoints are VIP and port of each service."""

    services: Sequence[tuple[IPv4Address, int]]
    local_addresses: Sequence[IPv4Address]
    shards: int
    queue_base: int


class Ruleset(NamedTuple):
    """Text for `nft -f` and, for the compat back end, for `iptables-nft-restore --noflush`; that one is empty for native."""

    nft: str
    iptables: str


def render(steered: Steered, *, native: bool) -> Ruleset:
    """The whole ruleset; loading its nft text replaces the table in one transaction."""
    lines = [
        f"table ip {TABLE}",
        f"delete table ip {TABLE}",
        f"table ip {TABLE} {{",
        *_set("services", "ipv4_addr . inet_service", [f"{vip} . {port}" for vip, port in steered.services]),
        *_set("vips", "ipv4_addr", sorted({vip for vip, _ in steered.services})),
        *_set("local_addresses", "ipv4_addr", sorted(set(steered.local_addresses))),
        *_chain("prerouting", f"type filter hook prerouting priority {PRIORITY}; policy accept;", _classify(steered.shards)),
        *_chain("output", f"type filter hook output priority {PRIORITY}; policy accept;", _OUTPUT),
    ]
    for shard in range(steered.shards):
        queue = f"queue num {steered.queue_base + shard}" if native else _set_mark(_mark(shard))
        lines += _chain(f"shard{shard}", "", ["notrack", f"counter {queue}"])
    if not native:
        is_ours = f"meta mark & {_MARK_BASE | 0x40000000:#x} == {_MARK_BASE:#x}"
        lines += _chain(
            "unmark", f"type filter hook prerouting priority {_UNMARK_PRIORITY}; policy accept;", [f"{is_ours} {_set_mark(0)}"]
        )
    lines.append("}")
    return Ruleset("\n".join(lines) + "\n", "" if native else _iptables(steered))


_OUTPUT = (
    "ip saddr @local_addresses meta l4proto tcp notrack",
    "ip saddr . tcp sport @services notrack",
)
"""What the gateway itself sends in the name of a session (RST), or its host in answer to a stray reply."""


def _classify(shards: int) -> list[str]:
    """The four classes of packets of ours, each with the choice of its shard."""
    by_client = _vmap({shard: shard for shard in range(shards)})
    classes = range(steering.port_classes(shards))
    by_local_port = _vmap({port_class: steering.shard_of_class(port_class, shards) for port_class in classes})
    mask = f"{steering.port_mask(shards):#x}"

    def hashed(address: str, port: str) -> str:
        return f"jhash {address} . {port} mod {shards} seed {steering.HASH_SEED:#x} {by_client}"

    if shards == 1:
        return [f"{condition} goto shard0" for condition in _CLASSES]
    choices = (
        hashed("ip saddr", "tcp sport"),
        f"tcp dport & {mask} {by_local_port}",
        hashed(_QUOTED_DESTINATION, _QUOTED_DESTINATION_PORT),
        f"{_QUOTED_SOURCE_PORT} & {mask} {by_local_port}",
    )
    return [f"{condition} {choice}" for condition, choice in zip(_CLASSES, choices, strict=True)]


_CLASSES = (
    "ip daddr . tcp dport @services",
    "ip daddr @local_addresses meta l4proto tcp",
    f"ip daddr @vips icmp type {_ICMP_ERRORS} {_QUOTES_PLAIN_TCP}",
    f"ip daddr @local_addresses icmp type {_ICMP_ERRORS} {_QUOTES_PLAIN_TCP}",
)
"""Client to VIP; real server to local address; an error about a packet to a client; an error about one to a real server."""


def _vmap(shard_of: dict[int, int]) -> str:
    return "vmap { " + ", ".join(f"{value} : goto shard{shard}" for value, shard in shard_of.items()) + " }"


def _mark(shard: int) -> int:
    return _MARK_BASE | shard << _MARK_SHIFT


def _set_mark(value: int) -> str:
    keep = f"meta mark set meta mark & {~_MARK_MASK & 0xFFFFFFFF:#010x}"
    return f"{keep} | {value:#010x}" if value else keep


def _set(name: str, kind: str, elements: Iterable[object]) -> list[str]:
    joined = ", ".join(str(element) for element in elements)
    return [f"\tset {name} {{", f"\t\ttype {kind}", f"\t\telements = {{ {joined} }}", "\t}", ""]


def _chain(name: str, hook: str, rules: Iterable[str]) -> list[str]:
    return [f"\tchain {name} {{", *(f"\t\t{rule}" for rule in (hook, *rules) if rule), "\t}", ""]


def _iptables(steered: Steered) -> str:
    """One chain of our own in the raw table; the jump to it is the one rule outside of it."""
    is_of_shard = f"-A {IPTABLES_CHAIN} -m mark --mark {{:#x}}/{_MARK_MASK:#x}"
    queues = (
        f"{is_of_shard.format(_mark(shard))} -j NFQUEUE --queue-num {steered.queue_base + shard}"
        for shard in range(steered.shards)
    )
    return "\n".join(("*raw", f":{IPTABLES_CHAIN} - [0:0]", *queues, f"-A PREROUTING -j {IPTABLES_CHAIN}", "COMMIT", ""))
