"""The nftables text that brings packets to their shards: rendered from the configuration, applied by `edge.nft`.

All of it is in one table. There is a chain for each class of packets: client to VIP, real server to local address, ICMP error
about either. It takes packets only from where they may come (see `sides`), finds the slot of the packet, and a verdict map leads
from the slot to the chain of the shard that owns it (see `steering`). That chain queues the packet:

- native: by the `queue` statement of nftables, which stock kernels have;
- compat: for kernels without it, by a mark, which one iptables rule per shard in the `raw` table turns into NFQUEUE. The mark
  uses the top eight bits only, and further chains clear them again, so marks of the host's own rules survive.

ICMP errors are steered in the output hook as well. A packet that a shard has rewritten comes from an address of this host, so
when the kernel cannot forward it (too big, TTL used up, no such neighbour), the kernel sends its error to itself. At the output
hook, and nowhere later, a packet whose addresses were changed in the queue is routed anew, so a shard can turn the error towards
the real sender there. On `lo` it is not steered a second time.

The rules of `defence` drop packets in two places, and count them by name. Fragments are dropped before the kernel would put them
together (priority -400); all other packets are judged behind the rules that pick a shard, so that packets of services do not pass
those rules. While fragments are not dropped, the kernel has to put them together. It does so as soon as some rule needs it, and
the rule that costs nothing else is `tproxy`: it tracks no connections, and works in a chain that no packet comes to.

Packets of VIPs and local addresses are never tracked (`notrack`). While the worker of a shard is away, they are dropped and not
let past: the host would answer them with a RST. In the compat form a second bit of the mark says that a packet has been through
the raw table: one that has not is dropped where the mark is cleared, for the same reason.

Each packet that is steered gets a priority (`STEERED`), by which a packet that a shard leaves to the host can be told from one
that has never seen a shard (see `guard`). The kernel sets the priority anew when it forwards a packet.
"""

from collections.abc import Iterable
from typing import NamedTuple

from appliance.policy import steering
from appliance.policy.address_sets import QUOTED_DESTINATION, Steered, address_sets, changing_sets
from appliance.policy.check_ports import TO_CHECKS
from appliance.policy.defence import COUNTER_PLACES, FRAGMENTS, SPARED_FRAGMENTS, Defence, Rule
from appliance.policy.sides import (
    COUNTERS,
    PAST_SERVICES,
    Sides,
    around,
    arrives_on,
    disarming,
    forged,
    from_server_side,
    misplaced,
)
from appliance.wire.layout import FRAGMENT_BITS

TABLE = "appliance"
IPTABLES_TABLE, IPTABLES_CHAIN = "raw", "APPLIANCE"

IPTABLES_JUMPS = (
    ("PREROUTING", "-j", IPTABLES_CHAIN),
    ("OUTPUT", "-p", "icmp", "-j", IPTABLES_CHAIN),
)
"""The rules that lead to IPTABLES_CHAIN. Of what the host sends only ICMP goes there: other packets may have a mark of the host's
own rules in the upper bits."""

PRIORITY = -310
"""Of the chains that steer: before `raw` (-300), where the compat rules queue, and before conntrack (-200), so that `notrack`
counts; after the kernel has put fragments together (-400)."""

RAW_PRIORITY = -300
"""Of the chains of the table of iptables in which packets are queued without the nft `queue` statement."""

_FRAGMENTS_PRIORITY = -410
"""Before the kernel puts fragments together (-400): after that there are none."""

_UNMARK_PRIORITY = -299
_MARK_MASK = 0xFF000000
_MARK_BASE = 0x80000000
_MARK_SHIFT = 24
_WAS_IN_RAW = 0x40000000
"""The bit of a mark that the iptables chain adds before it queues."""

STEERED = "a9:0"
"""The packet priority of everything that has been steered. No network gives a packet such a priority by itself."""

_SAYS_STEERED = (f"meta priority set {STEERED}",)
"""It must be said in the chain that queues, or behind it: a flush may come between two chains, also for a packet on its way."""

OPENED = f'iif != "lo" ip saddr @local_addresses meta priority {STEERED}'
"""The nft expression for a SYN that the lane has rewritten for its real server: the priority is there before the first rule.
Nobody else's packet has both when it arrives."""

_ELEMENTS_PER_LINE = 8

_ICMP_ERRORS = "{ destination-unreachable, source-quench, time-exceeded, parameter-problem }"

# Fields of the packet that an ICMP error quotes, as (offset, length) in bits from the start of the ICMP header.
_QUOTED_VERSION_IHL = "@th,64,8"
_QUOTED_PROTOCOL = "@th,136,8"
_QUOTED_SOURCE_PORT = "@th,224,16"
_QUOTED_DESTINATION_PORT = "@th,240,16"
_QUOTES_OURS = f"icmp type {_ICMP_ERRORS} {_QUOTED_VERSION_IHL} 0x45 {_QUOTED_PROTOCOL} {{ 6, 17 }}"
"""An error about a TCP or UDP packet without IP options."""


class Ruleset(NamedTuple):
    """Text for `nft -f`, and text for `iptables-nft-restore --noflush`, which is empty for the native back end."""

    nft: str
    iptables: str


def render(steered: Steered, defence: Defence, *, native: bool) -> Ruleset:
    """The whole ruleset. Loading its nft text replaces the table in one transaction."""
    choice = _Choice(steered.hash_seed, are_several=steered.shards > 1)
    lines = [
        f"table ip {TABLE}",
        f"delete table ip {TABLE}",
        f"table ip {TABLE} {{",
        *address_sets(steered),
        *(line for kind in _SLOT_KINDS if steered.shards > 1 for line in _slot_map(kind, steered.shard_table)),
        *(line for counter in (*COUNTER_PLACES, *COUNTERS) for line in (f"\tcounter {counter} {{", "\t}", "")),
        *_base_chain("fragments", "prerouting", _FRAGMENTS_PRIORITY, _defence_rules(defence)["fragments"]),
        *_base_chain("prerouting", "prerouting", PRIORITY, _arriving(steered.sides)),
        *_chain("forged", forged(steered.sides)),
        *_chain("to_service", _to_service(steered.sides, choice, _SAYS_STEERED if native else ())),
        *_chain("to_local_address", _to_local_address(choice, _SAYS_STEERED if native else ())),
        *_chain("arriving_errors", _arriving_errors(steered.sides)),
        *_chain("past_services", _defence_rules(defence)["past_services"]),
        *_chain("unsolicited", _defence_rules(defence)["unsolicited"]),
        *_chain("reassembly", _defence_rules(defence)["reassembly"]),
        *_base_chain("output", "output", PRIORITY, _OUTPUT),
        *_chain("errors", _errors(choice)),
    ]
    for shard in range(steered.shards):
        queue = f"queue num {steered.queue_base + shard}" if native else _set_mark(_mark(shard))
        lines += _chain(f"shard{shard}", ["notrack", f"counter {queue}"])
    if not native:
        lost = f"meta mark & {_MARK_BASE | _WAS_IN_RAW:#x} == {_MARK_BASE:#x} counter drop"
        unmark = f"meta mark & {_MARK_BASE:#x} == {_MARK_BASE:#x} {_set_mark(0)}"
        was_queued = f"meta mark & {_MARK_BASE:#x} == {_MARK_BASE:#x} {_SAYS_STEERED[0]}"
        lines += _base_chain("unmark", "prerouting", _UNMARK_PRIORITY, [lost, was_queued, unmark])
        icmp = "meta l4proto icmp"
        lines += _base_chain("unmark_output", "output", _UNMARK_PRIORITY, [f"{icmp} {lost}", f"{icmp} {unmark}"])
    lines.append("}")
    return Ruleset("\n".join(lines) + "\n", "" if native else _iptables(steered))


def render_defence(defence: Defence) -> str:
    """The nft text that puts another defence in force in a loaded table, in one transaction. The rest of the table stays."""
    lines = []
    for chain, rules in _defence_rules(defence).items():
        lines.append(f"flush chain ip {TABLE} {chain}")
        lines += (f"add rule ip {TABLE} {chain} {rule}" for rule in rules)
    return "".join(f"{line}\n" for line in lines)


def _defence_rules(defence: Defence) -> dict[str, list[str]]:
    """The rules of each chain that the defence changes."""
    rules: dict[str, list[str]] = {
        "fragments": [],
        "past_services": disarming(defence.toa_kind),
        "unsolicited": [],
        "reassembly": [],
    }
    for rule in defence.rules:
        rules["fragments" if rule.protocol is None else "unsolicited"] += _dropping(rule)
    if not defence.has(FRAGMENTS):
        rules["reassembly"].append("meta l4proto { tcp, udp } tproxy to :1")
    return rules


def _dropping(rule: Rule) -> list[str]:
    """One rule for each kind of addresses. Whole packets of services have gone to their shard before they come to one."""
    if rule.protocol is None:
        packet = f"ip frag-off & {FRAGMENT_BITS:#x} != 0 ip protocol != {SPARED_FRAGMENTS}"
    else:
        packet = f"meta l4proto {rule.protocol}"
    return [f'{packet} ip daddr @{guarded.value} iif != "lo" counter name {rule.counter} drop' for guarded in rule.guarded]


class _SlotKind(NamedTuple):
    """A way to find the slot of a packet, and the verdict map that leads from each slot to the chain of its shard."""

    map: str
    typeof: str
    """An nft expression of the map's key type. nft has no other way to say "integer"."""


_BY_HASH = _SlotKind("shard_by_hash", f"numgen inc mod {steering.SLOTS}")
_BY_LOCAL_PORT = _SlotKind("shard_by_local_port", "th dport")
_BY_QUOTED_LOCAL_PORT = _SlotKind("shard_by_quoted_local_port", _QUOTED_SOURCE_PORT)
_SLOT_KINDS = (_BY_HASH, _BY_LOCAL_PORT, _BY_QUOTED_LOCAL_PORT)
"""Three maps with the same elements: nft refuses a key of another type, although the bytes may be the same."""


def _slot_map(kind: _SlotKind, shard_table: steering.ShardTable) -> list[str]:
    """The declared size lets the kernel choose its fastest kind of hash table, as it does for a map that stands in a rule."""
    elements = [f"{slot} : goto shard{shard}" for slot, shard in enumerate(shard_table)]
    rows = [", ".join(elements[start : start + _ELEMENTS_PER_LINE]) for start in range(0, len(elements), _ELEMENTS_PER_LINE)]
    listed = ",\n\t\t\t".join(rows)
    header = (f"\tmap {kind.map} {{", f"\t\ttypeof {kind.typeof} : verdict", f"\t\tsize {steering.SLOTS}")
    return [*header, f"\t\telements = {{\n\t\t\t{listed}", "\t\t}", "\t}", ""]


class _Choice:
    """The end of a rule, which finds the slot of a packet and goes to the chain of the shard that owns it."""

    def __init__(self, hash_seed: int, *, are_several: bool) -> None:
        """`hash_seed` is that of the gateway. `are_several`: there is more than one shard. A single shard needs no slots: every
        packet is its own."""
        self._hash_seed = hash_seed
        self._are_several = are_several

    def by_client(self, address: str, port: str) -> str:
        """`address` and `port` are the fields that hold those of the client."""
        slot = f"jhash {address} . {port} mod {steering.SLOTS} seed {self._hash_seed:#x}"
        return self._of_slot(slot, _BY_HASH)

    def by_local_port(self) -> str:
        """For a packet that is sent to a local address and port."""
        return self._of_slot(f"th dport & {steering.SLOT_MASK:#x}", _BY_LOCAL_PORT)

    def by_quoted_local_port(self) -> str:
        """For an ICMP error that quotes a packet sent from a local address and port."""
        return self._of_slot(f"{_QUOTED_SOURCE_PORT} & {steering.SLOT_MASK:#x}", _BY_QUOTED_LOCAL_PORT)

    def _of_slot(self, slot: str, kind: _SlotKind) -> str:
        return f"{slot} vmap @{kind.map}" if self._are_several else "goto shard0"


def _arriving(sides: Sides) -> list[str]:
    """Rules for packets that arrive: SYNs that the lane has rewritten, around the gateway, client to VIP, real server to local
    address, errors about either."""
    return [
        f"{OPENED} notrack accept",
        *around(sides),
        "ip daddr . meta l4proto . th dport @services goto to_service",
        f"ip daddr @local_addresses {from_server_side(sides)} meta l4proto {{ tcp, udp }} goto to_local_address",
        f"{PAST_SERVICES} goto past_services",
        'iif != "lo" ip daddr @vips jump forged',
        'iif != "lo" meta l4proto icmp goto arriving_errors',
        "jump unsolicited",
    ]


def _to_service(sides: Sides, choice: _Choice, says_steered: Iterable[str]) -> list[str]:
    return [
        "jump forged",
        *misplaced(sides),
        *says_steered,
        choice.by_client("ip saddr", "th sport"),
    ]


def _to_local_address(choice: _Choice, says_steered: Iterable[str]) -> list[str]:
    return ["jump forged", f"{TO_CHECKS} notrack accept", *says_steered, choice.by_local_port()]


def _arriving_errors(sides: Sides) -> list[str]:
    """Rules for errors that others send. One about a packet to a client comes from anywhere between it and the gateway. One
    about a packet to a real server comes from there: on an interface that clients use as well, its source has to say so."""
    rules = [f"ip daddr @vips {arrives_on(sides.client_interfaces)} goto errors"]
    if sides.servers_alone:
        from_there = arrives_on(sides.servers_alone)
        rules.append(f"ip daddr @vips {from_there} {QUOTED_DESTINATION} @quoted_server_sources goto errors")
        rules.append(f"ip daddr @local_addresses {from_there} goto errors")
    if sides.shared:
        rules.append(f"ip daddr @local_addresses {arrives_on(sides.shared)} ip saddr @server_sources goto errors")
    return rules


_OUTPUT = (
    "ip saddr @local_addresses meta l4proto { tcp, udp } notrack",
    "ip saddr . meta l4proto . th sport @services notrack",
    "meta l4proto icmp goto errors",
)
"""Rules for packets that the gateway sends: in the name of a session (RST), by its host in answer to a packet without a session,
and the errors of its kernel about packets that it could not forward."""


def _errors(choice: _Choice) -> list[str]:
    """Rules for errors about a packet to a client, and about one to a real server. An error goes to the shard of its session."""
    return [
        f"ip daddr @vips {_QUOTES_OURS} {choice.by_client(QUOTED_DESTINATION, _QUOTED_DESTINATION_PORT)}",
        f"ip daddr @local_addresses {_QUOTES_OURS} {choice.by_quoted_local_port()}",
    ]


def _mark(shard: int) -> int:
    return _MARK_BASE | shard << _MARK_SHIFT


def _set_mark(value: int) -> str:
    keep = f"meta mark set meta mark & {~_MARK_MASK & 0xFFFFFFFF:#010x}"
    return f"{keep} | {value:#010x}" if value else keep


def render_sets(before: Steered, after: Steered) -> str:
    """The nft text that puts other services, local addresses and real servers in force in a loaded table, in one transaction. The
    rest of the table stays, and so do sets that are the same."""
    lines = []
    for old, (name, kind, elements) in zip(changing_sets(before), changing_sets(after), strict=True):
        if old == (name, kind, elements):
            continue
        lines.append(f"flush set ip {TABLE} {name}")
        if elements:
            lines.append(f"add element ip {TABLE} {name} {{ {', '.join(elements)} }}")
    return "".join(f"{line}\n" for line in lines)


def _chain(name: str, rules: Iterable[str]) -> list[str]:
    return [f"\tchain {name} {{", *(f"\t\t{rule}" for rule in rules), "\t}", ""]


def _base_chain(name: str, hook: str, priority: int, rules: Iterable[str]) -> list[str]:
    return _chain(name, [f"type filter hook {hook} priority {priority}; policy accept;", *rules])


def _iptables(steered: Steered) -> str:
    """One chain in the raw table, with a rule for each shard. The jumps to it are the only rules outside of it."""
    is_of_shard = f"-A {IPTABLES_CHAIN} -m mark --mark {{:#x}}/{_MARK_MASK:#x}"
    was_here = (
        f"-A {IPTABLES_CHAIN} -m mark --mark {_MARK_BASE:#x}/{_MARK_BASE | _WAS_IN_RAW:#x} -j MARK --or-mark {_WAS_IN_RAW:#x}"
    )
    queues = (
        f"{is_of_shard.format(_mark(shard) | _WAS_IN_RAW)} -j NFQUEUE --queue-num {steered.queue_base + shard}"
        for shard in range(steered.shards)
    )
    jumps = (f"-A {' '.join(jump)}" for jump in IPTABLES_JUMPS)
    return "\n".join((f"*{IPTABLES_TABLE}", f":{IPTABLES_CHAIN} - [0:0]", was_here, *queues, *jumps, "COMMIT", ""))
