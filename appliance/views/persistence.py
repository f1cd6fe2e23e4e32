"""Persistence as text and as JSON: how many clients each service remembers, and which. Pure."""

from collections import Counter
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address
from itertools import islice
from typing import NamedTuple

from appliance.ipc.persistence_table import ENTRIES, Client, PersistenceTable, service_number
from appliance.ipc.plan import ServicePlan
from appliance.ipc.shared_layout import SharedState
from appliance.model.counters import PERSISTENCE_DISPLACED, PERSISTENCE_HITS
from appliance.views.document import Document, align


class _Known(NamedTuple):
    plan: ServicePlan
    endpoints: dict[int, str]
    """Address and port of its real servers, by slot."""


def _services(plans: Iterable[ServicePlan]) -> dict[int, _Known]:
    """The services with persistence, by their number in the table."""
    return {
        service_number(plan.protocol, plan.vip, plan.port, plan.persistence_mask): _Known(
            plan, {server.slot: f"{server.address}:{server.port}" for server in plan.real_servers}
        )
        for plan in plans
        if plan.persistence_s
    }


def _clients(shared: SharedState, services: dict[int, _Known], now: float) -> Iterable[Client]:
    """Those of services that have persistence at this moment, with real servers that these still have."""
    table = PersistenceTable(shared.persistence, b"")
    return (
        client
        for client in table.clients(int(now * 1000))
        if client.service in services and client.slot in services[client.service].endpoints
    )


def persistence(shared: SharedState, plans: Iterable[ServicePlan], now: float) -> Document:
    """How many clients each service with persistence remembers, in all and for each real server. `now` is in seconds."""
    services = _services(plans)
    counts = Counter((client.service, client.slot) for client in _clients(shared, services, now))
    rows = [
        {
            "service": known.plan.name,
            "persistence_s": known.plan.persistence_s,
            "persistence_mask": known.plan.persistence_mask,
            "clients": sum(counts[number, slot] for slot in known.endpoints),
            "real_servers": {endpoint: counts[number, slot] for slot, endpoint in known.endpoints.items()},
        }
        for number, known in services.items()
    ]
    hits, displaced = (
        sum(shared.table(shard, "queue")[place] for shard in range(shared.shards))
        for place in (PERSISTENCE_HITS, PERSISTENCE_DISPLACED)
    )
    used = counts.total()
    head = ("service", "real server", "clients")
    lines = [
        (known.plan.name, endpoint, str(counts[number, slot]))
        for number, known in services.items()
        for slot, endpoint in known.endpoints.items()
    ]
    text = f"{used} of {ENTRIES} entries, {hits} hits, {displaced} displaced\n" + align("<<>", (head, *lines))
    data = {"entries": {"used": used, "total": ENTRIES}, "hits": hits, "displaced": displaced, "services": rows}
    return Document(text, data)


def persistent_clients(shared: SharedState, plans: Sequence[ServicePlan], now: float, service: str, limit: int) -> Document:
    """At most `limit` clients of a service, or of all when `service` is empty, in no order. `now` is in seconds."""
    services = {number: known for number, known in _services(plans).items() if service in ("", known.plan.name)}
    rows = [_row(services[client.service], client) for client in islice(_clients(shared, services, now), limit)]
    head = ("service", "client", "real server", "expires")
    lines = ((str(row["service"]), str(row["client"]), str(row["real_server"]), f"{row['expires_s']:.1f}") for row in rows)
    return Document(align("<<<>", (head, *lines)), rows)


def _row(known: _Known, client: Client) -> dict[str, str | float]:
    mask = known.plan.persistence_mask
    return {
        "service": known.plan.name,
        "client": str(IPv4Address(client.address)) + ("" if mask == 32 else f"/{mask}"),
        "real_server": known.endpoints[client.slot],
        "expires_s": client.expires_ms / 1000,
    }
