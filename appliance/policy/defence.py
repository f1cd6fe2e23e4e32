"""The defence: which packets are dropped and counted because nobody asked for them, and which tunable says so. LVS behaviour 5.

One policy has two readers. `ruleset` renders it, so that the kernel drops such a packet before it costs a place in a queue. The
shard applies it to packets that reach a queue because they are sent to a service, but belong to no session and open none.
"""

from collections.abc import Iterable, Mapping
from enum import Enum
from typing import NamedTuple

from appliance.model.counters import EXT_COUNTERS
from appliance.model.tunables import TUNABLES
from appliance.wire.layout import PROTO_OSPF, PROTO_TCP, PROTO_UDP


class Guarded(Enum):
    """A kind of addresses that the defence protects. The value is the name of their set in the ruleset."""

    VIP = "vips"
    LOCAL_ADDRESS = "local_addresses"


_TOA_KIND = "fullnat_toa_kind"


class Rule(NamedTuple):
    """One kind of unwanted packets: sent to a guarded address, and part of no session. Dropped while its tunable is 1."""

    tunable: str
    counter: str
    """Name of the counter in the extended table."""
    guarded: tuple[Guarded, ...]
    protocol: int | None
    """IP protocol number: whole packets of it, except those that a service takes. None: fragments, of every protocol."""

    @property
    def place(self) -> int:
        """The place of its counter in the extended table."""
        return COUNTER_PLACES[self.counter]


FRAGMENTS = Rule("defence_frag_drop", "defence_ip_frag_drop", (Guarded.VIP, Guarded.LOCAL_ADDRESS), None)
TCP = Rule("defence_tcp_drop", "defence_tcp_drop", (Guarded.VIP,), PROTO_TCP)
UDP = Rule("defence_udp_drop", "defence_udp_drop", (Guarded.VIP,), PROTO_UDP)

RULES = (FRAGMENTS, TCP, UDP)
"""All rules. There is none for whole packets to a local address: the host answers them, as it does for its own addresses."""

SPARED_FRAGMENTS = PROTO_OSPF
"""IP protocol whose fragments are not dropped: routers on the same link speak OSPF, and its link-state packets may be long."""

COUNTER_PLACES: Mapping[str, int] = {
    rule.counter: [counter.name for counter in EXT_COUNTERS].index(rule.counter) for rule in RULES
}
"""The place of each rule's counter in the extended table, by its name."""


def rule_for(protocol: int, *, is_fragment: bool) -> Rule | None:
    """The rule for a packet of this IP protocol that belongs to no session; None when there is no rule for it."""
    if is_fragment:
        return None if protocol == SPARED_FRAGMENTS else FRAGMENTS
    return {TCP.protocol: TCP, UDP.protocol: UDP}.get(protocol)


class Defence(NamedTuple):
    """What tunables say of packets that no shard sees: one switch for each rule, in the order of RULES, and the kind of the TCP
    option that only the gateway may send to real servers."""

    frag_drop: bool
    tcp_drop: bool
    udp_drop: bool
    toa_kind: int = TUNABLES[_TOA_KIND].default

    @classmethod
    def of(cls, values: Mapping[str, int]) -> "Defence":
        """Made from values of tunables by name. Raises KeyError when one of TUNABLE_NAMES is missing."""
        frag_drop, tcp_drop, udp_drop = (bool(values[rule.tunable]) for rule in RULES)
        return cls(frag_drop, tcp_drop, udp_drop, values[_TOA_KIND])

    def has(self, rule: Rule) -> bool:
        """Whether the rule is in force."""
        return bool(self[RULES.index(rule)])

    @property
    def rules(self) -> tuple[Rule, ...]:
        """The rules in force."""
        return tuple(filter(self.has, RULES))


TUNABLE_NAMES = frozenset((*(rule.tunable for rule in RULES), _TOA_KIND))
"""The tunables whose change is a change of the defence."""


class KernelCounts:
    """What the kernel has dropped by each counter since the start of the appliance.

    The kernel's counters start anew at zero whenever the ruleset is loaded; these only grow.
    """

    def __init__(self, names: Iterable[str] = COUNTER_PLACES) -> None:
        names = tuple(names)
        self._before = dict.fromkeys(names, 0)
        self._last = dict.fromkeys(names, 0)

    @property
    def totals(self) -> dict[str, int]:
        """Packets dropped, by name of the counter."""
        return {name: self._before[name] + last for name, last in self._last.items()}

    def read(self, counts: Mapping[str, int]) -> None:
        """Update the totals from the kernel's counters. One that went down was reset; one that is missing changes nothing."""
        for name, last in self._last.items():
            count = counts.get(name, last)
            if count < last:
                self._before[name] += last
            self._last[name] = count

    def start_anew(self) -> None:
        """Take note that the kernel's counters are at zero now."""
        self._before = self.totals
        self._last = dict.fromkeys(self._last, 0)
