"""What a gateway need not take: which packets are dropped, and counted, while which tunable is 1. LVS behaviour, section 5.

One policy with two readers. `ruleset` renders it, so that the kernel drops such a packet before it costs a place in a queue;
`strangers` applies it to those that reach a shard all the same, because they name a service, but nobody asked for them. Pure.
"""

from collections.abc import Mapping
from enum import Enum
from typing import NamedTuple

from appliance.model.counters import EXT_COUNTERS
from appliance.wire.layout import PROTO_OSPF, PROTO_TCP, PROTO_UDP


class Guarded(Enum):
    """A kind of addresses that packets go to; the value is the name of their set in the ruleset."""

    VIP = "vips"
    LOCAL_ADDRESS = "local_addresses"


class Rule(NamedTuple):
    """One kind of unwanted packets: sent to a guarded address, and part of no session."""

    tunable: str
    counter: str
    """In the extended table."""
    guarded: tuple[Guarded, ...]
    protocol: int | None
    """Of whole packets, unless a service has their address and port and can take them; None: fragments of every protocol."""

    @property
    def place(self) -> int:
        """Of its counter in the extended table."""
        return COUNTER_PLACES[self.counter]


FRAGMENTS = Rule("defence_frag_drop", "defence_ip_frag_drop", (Guarded.VIP, Guarded.LOCAL_ADDRESS), None)
TCP = Rule("defence_tcp_drop", "defence_tcp_drop", (Guarded.VIP,), PROTO_TCP)
UDP = Rule("defence_udp_drop", "defence_udp_drop", (Guarded.VIP,), PROTO_UDP)

RULES = (FRAGMENTS, TCP, UDP)
"""No rule for strays to a local address: the host answers them, as it does for its own addresses."""

SPARED_FRAGMENTS = PROTO_OSPF
"""Routers on the same link speak it, and its link-state packets may be long."""

COUNTER_PLACES: Mapping[str, int] = {
    rule.counter: [counter.name for counter in EXT_COUNTERS].index(rule.counter) for rule in RULES
}


def rule_for(protocol: int, *, is_fragment: bool) -> Rule | None:
    """The rule that a packet of this IPv4 protocol falls under when nobody wants it."""
    if is_fragment:
        return None if protocol == SPARED_FRAGMENTS else FRAGMENTS
    return {TCP.protocol: TCP, UDP.protocol: UDP}.get(protocol)


class Defence(NamedTuple):
    """The tunables of the rules, as a whole: whether each rule is in force."""

    frag_drop: bool
    tcp_drop: bool
    udp_drop: bool

    @classmethod
    def of(cls, values: Mapping[str, int]) -> "Defence":
        """From the tunables by name. Raises KeyError when one of the three is missing."""
        return cls(*(bool(values[rule.tunable]) for rule in RULES))

    def has(self, rule: Rule) -> bool:
        """Whether the rule is in force."""
        return self[RULES.index(rule)]

    @property
    def rules(self) -> tuple[Rule, ...]:
        """Those in force."""
        return tuple(filter(self.has, RULES))


TUNABLE_NAMES = frozenset(rule.tunable for rule in RULES)


class KernelCounts:
    """What the kernel has dropped by each counter since the start. Its own counters start anew with each loading of the ruleset;
    these only grow."""

    def __init__(self) -> None:
        self._before = dict.fromkeys(COUNTER_PLACES, 0)
        self._last = dict.fromkeys(COUNTER_PLACES, 0)

    @property
    def totals(self) -> dict[str, int]:
        """Packets by counter."""
        return {name: self._before[name] + last for name, last in self._last.items()}

    def read(self, counts: Mapping[str, int]) -> None:
        """Take in the kernel's counters as they are now. One that went down was reset; one that is missing tells nothing."""
        for name, last in self._last.items():
            count = counts.get(name, last)
            if count < last:
                self._before[name] += last
            self._last[name] = count

    def start_anew(self) -> None:
        """The kernel's counters begin at zero from here on."""
        self._before = self.totals
        self._last = dict.fromkeys(self._last, 0)
