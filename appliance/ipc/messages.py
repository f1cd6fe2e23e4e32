"""What the director and a worker say to each other, and how it is written: one JSON object a line over a socket pair.

The plan goes out once, at the start of a worker, and a change of its services whenever there is one. Queries are rare and may
be slow; packets never wait for them.
"""

import json
from collections.abc import Iterator
from typing import Any

from appliance.ipc.plan import Plan, ServicePlan, plan_as_json, plan_from_json, services_as_json
from appliance.ipc.queries import Query, SessionFilter


def encode(message: dict[str, Any]) -> bytes:
    """One line."""
    return json.dumps(message, separators=(",", ":")).encode() + b"\n"


def encode_plan(plan: Plan) -> bytes:
    """The plan as the first line a worker reads."""
    return encode(plan_as_json(plan))


def encode_services(services: tuple[ServicePlan, ...]) -> bytes:
    """A change of plan: all services as they are from now on, to be read by `services_from_json`."""
    return encode({"services": services_as_json(services)})


def decode_plan(message: dict[str, Any]) -> Plan:
    """The plan from its line. Raises KeyError or TypeError when the two processes are not of one version."""
    return plan_from_json(message)


def encode_question(walk: int, query: Query) -> bytes:
    """The beginning of a walk through a worker's sessions, with a number of the director's choice."""
    return encode({"walk": walk, "ask": query})


def decode_query(fields: list[Any]) -> Query:
    """The query of a question. Raises TypeError when the two processes are not of one version."""
    query = Query(*fields)
    return query._replace(filter=SessionFilter(*query.filter))


class LineReader:
    """Collects bytes as they come and gives back the whole messages among them."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> Iterator[dict[str, Any]]:
        """The messages completed by `data`. Raises ValueError on a line that is no JSON object."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            if not isinstance(message, dict):
                raise ValueError(f"not a message: {line[:80]!r}")
            yield message
