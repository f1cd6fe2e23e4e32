"""Rules of the host that see a SYN as its client has sent it: those in front of the rules that steer. Pure.

A prepared admission rewrites a SYN before netfilter has it (`ipc.admissions`). To every rule behind the steering that makes no
difference, because a shard would have rewritten it there. A rule in front of it would see other addresses than without.
"""

from collections.abc import Collection, Iterable
from typing import NamedTuple

from appliance.policy.access_rules import ACCESS_TABLE
from appliance.policy.guard import GUARD_TABLE
from appliance.policy.ruleset import IPTABLES_CHAIN, IPTABLES_JUMPS, IPTABLES_TABLE, PRIORITY, RAW_PRIORITY, TABLE

_IPV4_FAMILIES = ("ip", "inet")
_LEGACY_TABLE = "raw"
"""The only one of iptables-legacy that can come before the steering: with raw_before_defrag, an option of its module, at -450."""


class Chain(NamedTuple):
    """A chain of nftables, as the kernel tells it. What iptables-nft makes is such a chain, too."""

    family: str
    table: str
    name: str
    hook: str
    """"prerouting", "ingress", another one; empty for a chain that only rules lead to."""
    priority: int
    devices: tuple[str, ...] | None
    """Of a chain at ingress: the interfaces; None when the kernel tells them in a way that is not known."""
    rules: int
    """How many rules are in it; of a chain without a hook, also those that lead to it."""
    drops: bool
    """Whether it drops what no rule judges."""


def first_early(chains: Collection[Chain], legacy_tables: Collection[str], client_interfaces: Collection[str]) -> str:
    """The first of the host's own rules that see SYNs of clients before the appliance, in words; empty when there are none.

    `legacy_tables` are those of iptables-legacy that are loaded. What is in them is not looked at.
    """
    steering = _steering_priority(chains)
    early = [chain for chain in chains if _is_early(chain, steering, client_interfaces) and _own_rules(chain) > 0]
    if early:
        chain = min(early)
        return f"the chain {chain.name} of the table {chain.family} {chain.table} sees SYNs of clients before the appliance"
    if _LEGACY_TABLE in legacy_tables:
        return f"the table {_LEGACY_TABLE} of iptables-legacy may see SYNs of clients before the appliance"
    return ""


def _steering_priority(chains: Iterable[Chain]) -> int:
    """That of the chain that queues: see `ruleset`."""
    is_compat = any((chain.family, chain.table, chain.name) == ("ip", IPTABLES_TABLE, IPTABLES_CHAIN) for chain in chains)
    return RAW_PRIORITY if is_compat else PRIORITY


def _is_early(chain: Chain, steering: int, client_interfaces: Collection[str]) -> bool:
    """Whether it comes before the steering, or may do so: of chains with the same priority nobody says which is the first."""
    if chain.hook == "ingress":
        return chain.devices is None or any(device in client_interfaces for device in chain.devices)
    return chain.hook == "prerouting" and chain.family in _IPV4_FAMILIES and chain.priority <= steering and not _is_ours(chain)


def _is_ours(chain: Chain) -> bool:
    """The table of a trace is not among them: while it is there, SYNs come as they were sent, and the trace shows them."""
    return chain.family == "ip" and chain.table in (TABLE, ACCESS_TABLE, GUARD_TABLE)


def _own_rules(chain: Chain) -> int:
    """How many rules in it are not the appliance's; what it does by its policy counts as one."""
    ours = sum(jump[0] == chain.name for jump in IPTABLES_JUMPS) if (chain.family, chain.table) == ("ip", IPTABLES_TABLE) else 0
    return chain.rules - ours + chain.drops
