"""Who may open a connection to a service, and how fast: access lists and rate limits as nftables rules. Pure.

They stand in a table of their own, `ip appliance_access`, whose base chain comes before those that steer (see `ruleset`), so the
table of the steering can be listed and replaced without a list of a hundred thousand prefixes. Only a SYN of TCP, and each
datagram of UDP, is looked up in a verdict map, by VIP, protocol and port; it leads to the chain of the service. A service that
has neither lists nor limits is not in the map, and while no service has any there is no table.

- deny comes before allow, and lists before limits: what is refused uses up nothing.
- A list is a set whose name is made from its content, so services with the same list share it, and a list that stays is not
  loaded again.
- A rate limit of clients is a set that the packets fill themselves. It is bounded: while it is full, new clients are not limited,
  because a flood with forged sources must not keep out everybody else. Its name has the limit in it: an element keeps the limit
  with which it was made.
- Sets that the operator names are his: they are made when they are missing, and never changed or removed.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address
from math import ceil
from typing import NamedTuple

from appliance.policy.prefixes import Prefixes, show_range
from appliance.policy.ruleset import PRIORITY

ACCESS_TABLE = "appliance_access"

DENIED = "denied_drops"
NOT_ALLOWED = "not_allowed_drops"
CLIENT_RATE = "client_rate_drops"
SERVICE_RATE = "service_rate_drops"
COUNTERS = (DENIED, NOT_ALLOWED, CLIENT_RATE, SERVICE_RATE)
"""Names of the counters: packets of clients that a list denies, of those that no allow list has, and SYNs over a limit."""

MENDED = "access_sets_mended"
"""Name of the counter of sets whose elements somebody else had changed."""

MOST_CLIENTS = 65_536
"""How many clients the rate limit of a service knows at a time; each takes some 200 bytes of kernel memory."""

_SHORTEST_MEMORY_S = 2
_BASE, _MAP = "prerouting", "services"
_LIST, _RATE, _CHAIN = "list_", "rate_", "service_"
RESERVED = (_LIST, _RATE, _MAP)
"""How the names of sets begin that are not the operator's."""

_OPENS_OR_IS_UDP = "meta l4proto tcp tcp flags & (syn | ack) != syn accept"


class Rate(NamedTuple):
    """New connections per second, and how many may come at once."""

    per_s: int
    burst: int


class AccessService(NamedTuple):
    """A service that has lists or limits. `protocol` is "tcp" or "udp"; limits are for TCP."""

    name: str
    vip: IPv4Address
    protocol: str
    port: int
    deny: Prefixes | None = None
    allow: Prefixes | None = None
    """None: there is no such list, which is not the same as an empty one."""
    deny_sets: tuple[str, ...] = ()
    allow_sets: tuple[str, ...] = ()
    client_rate: Rate | None = None
    client_mask: int = 32
    """Clients whose addresses have so many first bits in common have one limit together."""
    service_rate: Rate | None = None

    @property
    def key(self) -> str:
        """What stands for the service in names of the table."""
        return f"{str(self.vip).replace('.', '_')}_{self.protocol}_{self.port}"

    def admits(self, address: int) -> bool:
        """Whether the lists of the configuration admit a client. What is in sets of the operator is not known here: a service
        that allows such a set is taken to admit everybody whom no list denies."""
        if self.deny is not None and address in self.deny:
            return False
        return self.allow is None or bool(self.allow_sets) or address in self.allow


class Loaded(NamedTuple):
    """What is in the table, by name."""

    sets: frozenset[str] = frozenset()
    """Sets and maps."""
    chains: frozenset[str] = frozenset()
    counters: frozenset[str] = frozenset()


def counter_name(service: AccessService, counter: str) -> str:
    """The name in the table of one of COUNTERS, as it counts for one service."""
    return f"{counter}_{service.key}"


def named_sets(services: Iterable[AccessService]) -> dict[str, list[str]]:
    """By the name of each set of the operator: the services that name it."""
    wanted: dict[str, list[str]] = {}
    for service in services:
        for name in dict.fromkeys((*service.deny_sets, *service.allow_sets)):
            wanted.setdefault(name, []).append(service.name)
    return wanted


def is_of_operator(set_name: str) -> bool:
    """Whether a set of the table is one that the operator fills."""
    return not set_name.startswith(RESERVED)


class Steps(NamedTuple):
    """Three nft texts, each a transaction. Only the second one changes what becomes of packets."""

    prepare: str
    """Loads sets and counters, which no rule names yet. A packet may meet new rules a moment before the elements of a set that
    came in the same transaction, so these come first."""
    switch: str
    clean: str
    """Removes sets and counters that no rule names any more."""


def render_access(services: Sequence[AccessService], loaded: Loaded, *, anew: bool = False) -> Steps:
    """What puts these services in force, when so much is in the table; without services, what is there is removed.

    A service that stays keeps its chain and its place in the verdict map: a packet that looks there meets its old or its new
    rules, and never none. With `anew` the map is filled again, whatever somebody else has done to it. What stays as it is is not
    loaded again.
    """
    if not services:
        return Steps("", render_removal(loaded) if loaded.chains else "", "")
    sets = _sets(services)
    counters = dict.fromkeys(counter_name(service, counter) for service in services for counter in _counters(service))
    prepare = [f"add table ip {ACCESS_TABLE}"]
    prepare += (_add("set", name, sets[name]) for name in sets if name not in loaded.sets)
    prepare += (_add("set", name, _OPERATORS) for name in named_sets(services) if name not in loaded.sets)
    prepare += (_add("counter", name) for name in counters if name not in loaded.counters)
    stale = sorted(name for name in loaded.sets if not is_of_operator(name) and name not in {*sets, _MAP})
    clean = [f"delete set ip {ACCESS_TABLE} {name}" for name in stale]
    clean += (f"delete counter ip {ACCESS_TABLE} {name}" for name in sorted(loaded.counters - counters.keys()))
    return Steps(*map(_text, (prepare, _switch(services, loaded, anew=anew), clean)))


def fixed_sets(services: Sequence[AccessService]) -> dict[str, bool]:
    """The sets of the table whose elements only the appliance changes, and whether they are sets of intervals."""
    return ({_MAP: False} if services else {}) | dict.fromkeys(_lists(services), True)


def _lists(services: Sequence[AccessService]) -> dict[str, Prefixes]:
    """By the name of its set. Services with the same list have one set."""
    lists = (prefixes for service in services for prefixes in (service.deny, service.allow) if prefixes is not None)
    return {_list_name(prefixes): prefixes for prefixes in lists}


def render_elements(services: Sequence[AccessService], names: Collection[str]) -> str:
    """What gives those of the `fixed_sets` with these names their elements again, whatever is in them, in one transaction."""
    lists, lines = _lists(services) if names else {}, list[str]()
    for name in sorted(names):
        if name == _MAP:
            elements = ", ".join(f"{_key_in(_CHAIN + service.key)} : goto {_CHAIN + service.key}" for service in services)
        else:
            elements = ", ".join(_shown(lists[name]))
        lines.append(f"flush {'map' if name == _MAP else 'set'} ip {ACCESS_TABLE} {name}")
        if elements:
            lines.append(f"add element ip {ACCESS_TABLE} {name} {{ {elements} }}")
    return _text(lines)


def _switch(services: Sequence[AccessService], loaded: Loaded, *, anew: bool) -> Iterator[str]:
    wanted = {_CHAIN + service.key: service for service in services}
    if _MAP not in loaded.sets:
        yield _add("map", _MAP, "type ipv4_addr . inet_proto . inet_service : verdict;")
    elif anew:
        yield f"flush map ip {ACCESS_TABLE} {_MAP}"
    for name in sorted(loaded.chains - wanted.keys()):
        if name.startswith(_CHAIN):
            if not anew:
                yield f"delete element ip {ACCESS_TABLE} {_MAP} {{ {_key_in(name)} }}"
            yield from _without_chain(name)
    for name, service in wanted.items():
        yield f"flush chain ip {ACCESS_TABLE} {name}" if name in loaded.chains else _add("chain", name)
        for rule in _rules(service):
            yield _add("rule", name, rule)
    if keys := [f"{_key_in(name)} : goto {name}" for name in wanted if anew or name not in loaded.chains]:
        yield f"add element ip {ACCESS_TABLE} {_MAP} {{ {', '.join(keys)} }}"
    if _BASE in loaded.chains:
        yield f"flush chain ip {ACCESS_TABLE} {_BASE}"
    else:
        yield _add("chain", _BASE, f"type filter hook prerouting priority {PRIORITY - 1}; policy accept;")
    yield _add("rule", _BASE, _OPENS_OR_IS_UDP)
    yield _add("rule", _BASE, f"ip daddr . meta l4proto . th dport vmap @{_MAP}")


def _key_in(chain: str) -> str:
    """The key of a service in the verdict map, from the name of its chain."""
    *address, protocol, port = chain.removeprefix(_CHAIN).split("_")
    return f"{'.'.join(address)} . {protocol} . {port}"


def _text(lines: Iterable[str]) -> str:
    return "".join(f"{line}\n" for line in lines)


def render_removal(loaded: Loaded) -> str:
    """The nft text that removes everything but the operator's sets from the table, and the table when there are none."""
    if not any(map(is_of_operator, loaded.sets)):
        return f"delete table ip {ACCESS_TABLE}\n"
    lines = list[str]()
    if _BASE in loaded.chains:
        lines += _without_chain(_BASE)
    if _MAP in loaded.sets:
        lines.append(f"flush map ip {ACCESS_TABLE} {_MAP}")
    for name in sorted(loaded.chains):
        if name.startswith(_CHAIN):
            lines += _without_chain(name)
    ours = sorted(name for name in loaded.sets if not is_of_operator(name))
    lines += (f"delete {'map' if name == _MAP else 'set'} ip {ACCESS_TABLE} {name}" for name in ours)
    lines += (f"delete counter ip {ACCESS_TABLE} {name}" for name in sorted(loaded.counters))
    return _text(lines)


def _without_chain(name: str) -> Iterator[str]:
    yield f"flush chain ip {ACCESS_TABLE} {name}"
    yield f"delete chain ip {ACCESS_TABLE} {name}"


_OPERATORS = "type ipv4_addr; flags interval;"


def _sets(services: Iterable[AccessService]) -> dict[str, str]:
    """Every set but the operator's: its name and what it is."""
    sets = {}
    for service in services:
        for prefixes in (service.deny, service.allow):
            if prefixes is not None and _list_name(prefixes) not in sets:
                sets[_list_name(prefixes)] = _OPERATORS + _elements(prefixes)
        if service.client_rate is not None:
            sets[_rate_name(service, service.client_rate)] = (
                f"type ipv4_addr; size {MOST_CLIENTS}; flags dynamic,timeout; timeout {_memory_s(service.client_rate)}s;"
            )
    return sets


def _elements(prefixes: Prefixes) -> str:
    listed = ", ".join(_shown(prefixes))
    return f" elements = {{ {listed} }};" if listed else ""


def _shown(prefixes: Prefixes) -> Iterator[str]:
    return (show_range(first, last) for first, last in prefixes.ranges)


def _list_name(prefixes: Prefixes) -> str:
    return _LIST + prefixes.digest


def _rate_name(service: AccessService, rate: Rate) -> str:
    return f"{_RATE}{service.key}_{service.client_mask}_{rate.per_s}_{rate.burst}"


def _memory_s(rate: Rate) -> int:
    """For how long a client is remembered after its last SYN: until it may send a whole burst again."""
    return max(_SHORTEST_MEMORY_S, ceil(rate.burst / rate.per_s) + 1)


def _counters(service: AccessService) -> Iterator[str]:
    """The counters that a service needs."""
    has: Mapping[str, bool] = {
        DENIED: service.deny is not None or bool(service.deny_sets),
        NOT_ALLOWED: service.allow is not None or bool(service.allow_sets),
        CLIENT_RATE: service.client_rate is not None,
        SERVICE_RATE: service.service_rate is not None,
    }
    return (counter for counter in COUNTERS if has[counter])


def _rules(service: AccessService) -> Iterator[str]:
    """The rules of the chain of a service."""
    drop = {counter: f"counter name {counter_name(service, counter)} drop" for counter in COUNTERS}
    for name in _looked_up(service.deny, service.deny_sets):
        yield f"ip saddr @{name} {drop[DENIED]}"
    if allowed := list(_looked_up(service.allow, service.allow_sets)):
        yield f"{' '.join(f'ip saddr != @{name}' for name in allowed)} {drop[NOT_ALLOWED]}"
    if (rate := service.client_rate) is not None:
        mask = IPv4Address(0xFFFF_FFFF << (32 - service.client_mask) & 0xFFFF_FFFF)
        client = "ip saddr" if service.client_mask == 32 else f"ip saddr & {mask}"
        yield f"update @{_rate_name(service, rate)} {{ {client} {_over(rate)} }} {drop[CLIENT_RATE]}"
    if (rate := service.service_rate) is not None:
        yield f"{_over(rate)} {drop[SERVICE_RATE]}"


def _looked_up(prefixes: Prefixes | None, named: Iterable[str]) -> Iterator[str]:
    if prefixes is not None:
        yield _list_name(prefixes)
    yield from dict.fromkeys(named)


def _over(rate: Rate) -> str:
    return f"limit rate over {rate.per_s}/second burst {rate.burst} packets"


def _add(what: str, name: str, body: str = "") -> str:
    if what == "rule":
        return f"add rule ip {ACCESS_TABLE} {name} {body}"
    return f"add {what} ip {ACCESS_TABLE} {name}" + (f" {{ {body} }}" if body else "")
