"""Changes of the services of a shard: services that come and go, others of their real servers, local addresses and ways, real
servers that are down, and what that means for sessions."""

from collections.abc import Callable, Iterable, Iterator, MutableMapping, Set
from ipaddress import IPv4Address
from itertools import chain
from typing import Protocol

from appliance.ipc.plan import ServiceKey, ServicePlan
from appliance.model.end_reasons import EndReason
from appliance.model.tcp_state import UDP_STATE
from appliance.policy.candidates import RESET
from appliance.sessions.lane import Lane
from appliance.sessions.latches import Latches
from appliance.state.real_server import UNLISTED
from appliance.state.services import AUTO, VirtualService
from appliance.state.session import Session
from appliance.state.session_table import SessionTable
from appliance.wire.flow import pack_endpoint, split_endpoint

_SETTLED_AT_ONCE = 4000
"""How many sessions are settled between two packets: a millisecond's work, or two."""

_ONE_END = 50
"""To end a session takes as long as to settle so many."""

_ONE_TAKEN_BACK = 50
"""The same for taking a session out of the lane."""

_ONE_COUNTED = 3
"""The same for counting a session anew for its client, which takes a keyed hash."""

Key = tuple[str, bytes]
"""Protocol and endpoint of a service."""
Services = MutableMapping[Key, VirtualService[Session]]


class Owner(Protocol):
    """What the changes need of the sessions of their shard."""

    tcp: SessionTable
    udp: SessionTable
    lane: Lane
    latches: Latches

    def end(self, session: Session, because: EndReason) -> None:
        """End a session."""


class ServiceChanges:
    """Puts changes in force. A change of health touches only the services that it is about."""

    def __init__(self, services: Services, make: Callable[[ServicePlan], VirtualService[Session]], owner: Owner) -> None:
        """`services` are changed in place. `make` makes one of a plan, without sessions."""
        self._services = services
        self._make = make
        self._owner = owner
        self.leaving: list[VirtualService[Session]] = []
        """Services that were removed, as long as they may have sessions."""
        self._down: frozenset[int] = frozenset()
        self._drained: frozenset[int] = frozenset()
        self._service_of: dict[int, VirtualService[Session]] = {}
        self.local_addresses: frozenset[bytes] = frozenset()
        """Those of all services."""
        self._lost_addresses: frozenset[bytes] = frozenset()
        """Local addresses that no service uses any more, as long as there may be sessions on them."""
        self._unsettled: Iterator[Session] = iter(())
        self.before: Callable[[], None] = lambda: None
        """Called before anything changes that new sessions depend on."""
        self.free_at_rest: Callable[[Callable[[Session], bool]], bool] = lambda _: False
        """Frees some endpoints that rest behind sessions of which the given function is true; whether there were any."""
        self.is_settled = True
        """Whether there is nothing to do in `settle_some`."""

    def services(self) -> Iterable[VirtualService[Session]]:
        """Those in force."""
        return self._services.values()

    def put_services(self, plans: Iterable[ServicePlan], gone: Iterable[ServiceKey]) -> list[VirtualService[Session]]:
        """Services that are new or change, and the keys of those that go. One is the same as before when it has its name, its
        protocol and its endpoint. Returns those that are new or have changed.

        Raises KeyError, ValueError or TypeError for a plan that makes no sense; then nothing has changed.
        """
        wanted = {_key_of(plan.key): plan for plan in plans}
        going = {_key_of(key) for key in gone} - wanted.keys()
        same = {key for key, plan in wanted.items() if key in self._services and self._services[key].name == plan.name}
        new = {key: self._make(plan) for key, plan in wanted.items() if key not in same}
        self.before()
        for key in same:
            self._forget_slots(self._services[key])
        changed = [self._services[key].change(wanted[key], self._down, self._drained) for key in same]
        changed += [self._remove(key) for key in (going | new.keys()) & self._services.keys()]
        self._services.update(new)
        for service in new.values():
            service.change_standing(self._down, self._drained)
        concerned = [self._services[key] for key in wanted]
        self._share_counts({service.name for service in concerned})
        self._service_of |= {server.slot: service for service in concerned for server in service.real_servers}
        for service in chain(concerned, self.leaving):
            _end_engagement(service, self._owner)
        if self._loses_addresses() or any(changed):
            self._settle_all()
        return concerned

    def keys(self) -> list[ServiceKey]:
        """The keys of all services."""
        return [(protocol, *_address_and_port(endpoint)) for protocol, endpoint in self._services]

    def _remove(self, key: Key) -> bool:
        service = self._services.pop(key)
        self._forget_slots(service)
        service.remove()
        self.leaving.append(service)
        return True

    def _forget_slots(self, service: VirtualService[Session]) -> None:
        for server in service.real_servers:
            if self._service_of.get(server.slot) is service:
                del self._service_of[server.slot]

    def _share_counts(self, names: Set[str]) -> None:
        """Have real servers with the same slot count together: those of a service that has moved to another endpoint, and those
        of its sessions there that have not ended yet. Only one that has no session yet gets other counts. `names` are those of
        services that have changed: nobody else has their slots."""
        counts: dict[int, list[int]] = {}
        for service in chain(self.leaving, self._services.values()):
            for real_server in service.all_real_servers if service.name in names else ():
                if real_server.slot != UNLISTED:
                    real_server.counts = counts.setdefault(real_server.slot, real_server.counts)

    def _loses_addresses(self) -> bool:
        """Note which local addresses are used; whether there are some that are used no more."""
        before = self.local_addresses
        pools = {service.local_addresses for service in self._services.values()}
        self.local_addresses = frozenset(chain.from_iterable(pools))
        self._lost_addresses = (self._lost_addresses | before) - self.local_addresses
        return bool(self._lost_addresses)

    def forget(self, real_servers: Iterable[tuple[str, str, int]]) -> None:
        """Forget these real servers: service, address and port of each. Raises ValueError, and changes nothing, when one of them
        has sessions or was not removed."""
        keys = {(name, pack_endpoint(IPv4Address(address), port)) for name, address, port in real_servers}
        services = [*self._services.values(), *self.leaving]
        for service in services:
            for real_server in service.all_real_servers:
                if (service.name, real_server.endpoint) in keys and (real_server.sessions or not real_server.is_removed):
                    raise ValueError(f"a real server of service {service.name} has sessions")
        for service in services:
            service.all_real_servers = [
                real_server for real_server in service.all_real_servers if (service.name, real_server.endpoint) not in keys
            ]

    def put_health(self, down: Iterable[int]) -> None:
        """The real servers in these slots are down from now on, and all others up."""
        before, self._down = self._down, frozenset(down)
        self._change_standing(before ^ self._down)

    def put_drained(self, drained: Iterable[int]) -> None:
        """The real servers in these slots are drained from now on, and no others."""
        before, self._drained = self._drained, frozenset(drained)
        self._change_standing(before ^ self._drained)

    def _change_standing(self, slots: Iterable[int]) -> None:
        """Real servers in these slots are up or down, or drained or not, as they were not before."""
        if slots := [*slots]:
            self.before()
        concerned = {id(service): service for slot in slots if (service := self._service_of.get(slot))}
        # all of them, and not up to the first that has changed
        changed = [service.change_standing(self._down, self._drained) for service in concerned.values()]
        if any(changed):
            self._settle_all()

    def _settle_all(self) -> None:
        walks = (table.walk() for table in (self._owner.tcp, self._owner.udp))
        self._unsettled = chain.from_iterable(chain.from_iterable(walks))
        self.is_settled = False
        self.settle_some()

    def settle_some(self) -> bool:
        """Settle some sessions after services, real servers or their health have changed; True while there are more.

        To settle a million at once would hold up their packets for a quarter of a second.
        """
        if self.is_settled:
            return False
        left = _SETTLED_AT_ONCE
        for session in self._unsettled:
            left -= 1 + self._settle(session)
            if left <= 0:
                return True
        if self.free_at_rest(self._is_unserved):
            return True
        self.is_settled, self._lost_addresses = True, frozenset()
        self.leaving.clear()
        return False

    def _settle(self, session: Session) -> int:
        """Do for one session what the change means for it; returns what that has cost more than a look."""
        if self._is_unserved(session):
            return self._end(session, EndReason.UNSERVED)
        session.settle()
        cost = 0
        if session.service.client_limit is not None or session.counted_as is not None:
            session.count_for_client()
            cost = _ONE_COUNTED
        if session.real_server.lets_go and _is_to_end(session):
            return self._end(session, EndReason.REAL_SERVER_DOWN)
        if session.entry is not None and not session.service.lane:
            lane = self._owner.lane
            lane.hold(session)
            lane.leave(session)
            lane.release_held()
            return _ONE_TAKEN_BACK
        return cost

    def _is_unserved(self, session: Session) -> bool:
        """Whether nothing serves a session any more: its service has gone, or its local address."""
        return session.service.is_removed or (bool(self._lost_addresses) and session.local_address in self._lost_addresses)

    def _end(self, session: Session, because: EndReason) -> int:
        """End a session, unless it has ended since its part of the table was read."""
        table = self._owner.udp if session.state == UDP_STATE else self._owner.tcp
        if table.find(session.client_key)[0] is session:
            self._owner.end(session, because)
        return _ONE_END


def _key_of(key: ServiceKey) -> Key:
    protocol, vip, port = key
    return protocol, pack_endpoint(IPv4Address(vip), port)


def _address_and_port(endpoint: bytes) -> tuple[str, int]:
    address, port = split_endpoint(endpoint)
    return str(IPv4Address(address)), int.from_bytes(port, "big")


def _end_engagement(service: VirtualService[Session], owner: Owner) -> None:
    """A service that is not in AUTO any more, or is none, answers no SYN with a cookie because its backlog is full."""
    if service.is_engaged and (service.synproxy != AUTO or service.is_removed):
        service.is_engaged = False
        owner.latches.tell(service)


def _is_to_end(session: Session) -> bool:
    """Whether a session whose real server lets it go ends at once: that server is down, and the service says so. Those of UDP end
    with their client's next datagram, which goes to another real server."""
    service = session.service
    return service.protocol == "tcp" and service.on_down == RESET and not session.real_server.is_removed
