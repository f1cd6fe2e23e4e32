"""The health of services and real servers, as text and as JSON. Pure."""

from collections.abc import Iterable, Sequence
from typing import Any

from appliance.health.changes import StateChange
from appliance.ipc.rows import RealServerHealth, ServiceHealth
from appliance.views.document import Document, align

_HEAD = ("service", "real server", "state", "since_s", "check", "against", "last answer")


def real_server_health(services: Sequence[ServiceHealth], changes: Iterable[StateChange]) -> Document:
    """One line for each real server, and a line for each service that is down. The JSON has the latest changes too, the oldest
    first."""
    data: dict[str, Any] = {
        "services": [
            service._asdict() | {"real_servers": [server._asdict() for server in service.real_servers]} for service in services
        ],
        "changes": [_change(change) for change in changes],
    }
    lines = [_HEAD, *(_line(service, server) for service in services for server in service.real_servers)]
    troubles = "".join(f"{service.service} is down: {service.trouble}\n" for service in services if service.trouble)
    return Document(align("<<<><><", lines) + troubles, data)


def _line(service: ServiceHealth, server: RealServerHealth) -> tuple[str, ...]:
    return (
        service.service,
        f"{server.address}:{server.port}{' (backup)' if server.backup else ''}",
        f"{server.state}, drained" if server.draining else server.state,
        f"{server.since_s:.1f}",
        server.check,
        str(server.contrary),
        server.last_answer or "-",
    )


def _change(change: StateChange) -> dict[str, Any]:
    return {
        "at_s": round(change.at_s, 3),
        **change.target._asdict(),
        "state": "up" if change.is_up else "down",
        "reason": change.reason,
        "last_answer": change.last_answer,
    }
