"""Changes of the services of a shard: other real servers, others that are down, and what that means for sessions."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from ipaddress import IPv4Address
from itertools import chain

from appliance.ipc.plan import ServicePlan
from appliance.model.end_reasons import EndReason
from appliance.policy.candidates import RESET
from appliance.state.services import VirtualService
from appliance.state.session import Session
from appliance.state.session_table import SessionTable
from appliance.wire.flow import pack_endpoint

_SETTLED_AT_ONCE = 4000
"""How many sessions are settled between two packets: a millisecond's work, or two."""

_ONE_END = 50
"""To end a session takes as long as to settle so many."""

_Services = Mapping[tuple[str, bytes], VirtualService[Session]]
"""By protocol and endpoint."""


class ServiceChanges:
    """Puts changes in force. A change of health touches only the services that it is about."""

    def __init__(
        self,
        services: _Services,
        tables: Sequence[SessionTable],
        end: Callable[[Session, EndReason], None],
        down: Iterable[int],
        drained: Iterable[int],
    ) -> None:
        """`down` and `drained` are the slots of the real servers that are so at the beginning."""
        self._services = services
        self._tables = tables
        self._end = end
        self._down: frozenset[int] = frozenset()
        self._drained: frozenset[int] = frozenset()
        self._service_of: dict[int, VirtualService[Session]] = {}
        self._unsettled: Iterator[list[Session]] = iter(())
        self._find_slots()
        self.put_drained(drained)
        self.put_health(down)

    def put_services(self, plans: Sequence[ServicePlan]) -> None:
        """Go by these plans from now on. Raises KeyError for an unknown service."""
        changed = False
        for plan in plans:
            service = self._services[plan.protocol, pack_endpoint(IPv4Address(plan.vip), plan.port)]
            changed |= service.change(plan, self._down, self._drained)
        self._find_slots()
        if changed:
            self._settle_all()

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
        concerned = {id(service): service for slot in slots if (service := self._service_of.get(slot))}
        # all of them, and not up to the first that has changed
        changed = [service.change_standing(self._down, self._drained) for service in concerned.values()]
        if any(changed):
            self._settle_all()

    def _find_slots(self) -> None:
        self._service_of = {server.slot: service for service in self._services.values() for server in service.real_servers}

    def _settle_all(self) -> None:
        self._unsettled = chain.from_iterable(table.walk() for table in self._tables)
        self.settle_some()

    def settle_some(self) -> bool:
        """Settle some sessions after real servers were removed, came back, or are down or up; True while there are more.

        To settle a million at once would hold up their packets for a quarter of a second.
        """
        looked_at = 0
        for bucket in self._unsettled:
            for session in bucket:
                session.settle()
                if session.real_server.lets_go and _is_to_end(session):
                    self._end(session, EndReason.REAL_SERVER_DOWN)
                    looked_at += _ONE_END
            looked_at += len(bucket)
            if looked_at >= _SETTLED_AT_ONCE:
                return True
        return False


def _is_to_end(session: Session) -> bool:
    """Whether a session whose real server lets it go ends at once: that server is down, and the service says so. Those of UDP end
    with their client's next datagram, which goes to another real server."""
    service = session.service
    return service.protocol == "tcp" and service.on_down == RESET and not session.real_server.is_removed
