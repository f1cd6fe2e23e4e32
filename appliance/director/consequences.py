"""What follows from the states of real servers, service by service: who is down, whose sessions leave, and where new ones go."""

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from typing import NamedTuple

from appliance.config.loading import Config, Service
from appliance.director.checks import target_of
from appliance.health.check import Target
from appliance.policy.candidates import ALL, LEAVE, REFUSE, candidates, is_healthy

_NEW_SESSIONS = {"refuse": "are refused", "drop": "are dropped", "all": "go to all real servers, as if they were up"}

_Slots = Mapping[tuple[str, str, int], int]


class _Member(NamedTuple):
    """A real server, as the choice of candidates sees it."""

    slot: int
    weight: int
    is_backup: bool
    is_up: bool


class Consequence(NamedTuple):
    """What follows for one service."""

    down: frozenset[int] = frozenset()
    """The slots of its real servers that are down."""
    left: frozenset[int] = frozenset()
    """Those of them whose sessions leave them."""
    trouble: str = ""
    """What is wrong and what becomes of new sessions, while too few real servers are up; else empty."""


class Consequences:
    """Those of all services. Only what may have changed is looked at again."""

    def __init__(self) -> None:
        self._services: dict[str, Service] = {}
        self._slots: _Slots = {}
        self.drained: Set[int] = frozenset()
        """The slots of the real servers that are drained: their weights count as 0."""
        self._of: dict[str, Consequence] = {}

    def put(self, config: Config, slots: _Slots) -> None:
        """Go by this configuration, in which real servers have these slots."""
        self._services = {service.name: service for service in config.services}
        self._slots = slots
        self._of = {name: was for name, was in self._of.items() if name in self._services}

    def look(self, names: Iterable[str], is_up: Callable[[Target], bool]) -> None:
        """Find out anew what follows for these services."""
        for name in names:
            if (service := self._services.get(name)) is not None:
                self._of[name] = self._consequence(service, is_up)

    def of(self, name: str) -> Consequence:
        """What follows for a service, as of the last look."""
        return self._of.get(name, Consequence())

    def down(self) -> frozenset[int]:
        """The slots of all real servers that are down."""
        return frozenset().union(*(of.down for of in self._of.values()))

    def left(self) -> frozenset[int]:
        """The slots of all real servers whose sessions leave them."""
        return frozenset().union(*(of.left for of in self._of.values()))

    def troubles(self) -> dict[str, str]:
        """By service, in the order of the configuration: what is wrong with those that are down."""
        return {name: words for name in self._services if (words := self.of(name).trouble)}

    def _consequence(self, service: Service, is_up: Callable[[Target], bool]) -> Consequence:
        members = list(self._members(service, is_up))
        down = frozenset(member.slot for member in members if not member.is_up)
        if not down and not any(member.slot in self.drained for member in members):
            return Consequence()
        chosen = candidates(members, service.quorum, service.when_none_healthy)
        may_leave = service.protocol == "udp" or service.on_down != LEAVE
        left = down - {member.slot for member in chosen} if may_leave else frozenset[int]()
        trouble = (
            ""
            if is_healthy(members, service.quorum)
            else _trouble(service, chosen, any(member.is_up and member.slot in self.drained for member in members))
        )
        return Consequence(down, left, trouble)

    def can_spare(self, target: Target, is_up: Callable[[Target], bool]) -> bool:
        """Whether new sessions of its service would still have a real server that is up, if this one were down."""
        service = self._services[target.service]
        members = self._members(service, lambda other: other != target and is_up(other))
        return any(member.is_up and member.weight for member in candidates(tuple(members), service.quorum, REFUSE))

    def _members(self, service: Service, is_up: Callable[[Target], bool]) -> Iterable[_Member]:
        for server in service.real_servers:
            target = target_of(service, server)
            slot = self._slots[target]
            yield _Member(slot, 0 if slot in self.drained else server.weight, server.backup, is_up(target))


def _trouble(service: Service, chosen: Sequence[_Member], some_are_drained: bool) -> str:
    few = "no real server is up" if service.quorum == 1 else f"fewer than {service.quorum} real servers are up"
    few += " and not drained" if some_are_drained else ""
    if any(member.is_backup for member in chosen):
        return f"{few}: new sessions go to backups"
    if service.when_none_healthy == ALL and not any(member.weight for member in chosen):
        return f"{few}: new sessions are refused"
    return f"{few}: new sessions {_NEW_SESSIONS[service.when_none_healthy]}"
