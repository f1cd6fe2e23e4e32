"""What a worker knows of the services, and what it has to be told of others: only what is new, and never much at once.

A worker that takes a message in judges no packet meanwhile. Two thousand services in one message were a quarter of a second.
"""

from collections.abc import Iterable, Iterator

from appliance.ipc.messages import ChangeServices
from appliance.ipc.plan import ServiceKey, ServicePlan

REAL_SERVERS_AT_ONCE = 200
"""How many real servers the services of one message have together at most, and how many services go with one: some milliseconds
of a worker's time. One service is never divided."""


class KnownServices:
    """The services that a worker is known to have."""

    def __init__(self) -> None:
        self._known: dict[ServiceKey, ServicePlan | None] = {}
        """None for a service of which it was told something that it has not confirmed."""

    def start(self, services: Iterable[ServicePlan]) -> None:
        """A new worker begins with these."""
        self._known = {service.key: service for service in services}

    def news(self, services: Iterable[ServicePlan]) -> list[ChangeServices]:
        """The messages by which these are all its services."""
        wanted = {service.key: service for service in services}
        changed = [service for key, service in wanted.items() if self._differs(key, service)]
        gone = [key for key in self._known if key not in wanted]
        parts = (gone[start : start + REAL_SERVERS_AT_ONCE] for start in range(0, len(gone), REAL_SERVERS_AT_ONCE))
        return [*(ChangeServices(part) for part in _parts(changed)), *(ChangeServices((), tuple(part)) for part in parts)]

    def _differs(self, key: ServiceKey, service: ServicePlan) -> bool:
        known = self._known.get(key)
        return known is not service and known != service

    def told(self, message: ChangeServices) -> None:
        """It was told this, and may have it in force or not."""
        self._known |= dict.fromkeys((*(service.key for service in message.services), *message.gone))

    def confirmed(self, message: ChangeServices) -> None:
        """It has this in force."""
        self._known |= {service.key: service for service in message.services}
        for key in message.gone:
            self._known.pop(key, None)


def _parts(services: Iterable[ServicePlan]) -> Iterator[tuple[ServicePlan, ...]]:
    part, room = list[ServicePlan](), REAL_SERVERS_AT_ONCE
    for service in services:
        costs = 1 + len(service.real_servers)
        if part and costs > room:
            yield tuple(part)
            part, room = [], REAL_SERVERS_AT_ONCE
        part.append(service)
        room -= costs
    if part:
        yield tuple(part)
