"""The handlers and the routes of persistence: how many clients each service remembers, and which."""

import asyncio
import time

from aiohttp import web

from appliance.ipc.queries import QueryError, read_filter, read_number
from appliance.rest.gateway import Gateway
from appliance.rest.persistence_routes import CLIENTS, CLIENTS_MAX
from appliance.rest.query_check import bad_query
from appliance.rest.respond import respond
from appliance.views.persistence import persistence, persistent_clients


class PersistenceHandlers:
    """The handlers. They read the shared memory in a thread, because there are many entries."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def count(self, request: web.Request) -> web.Response:
        """Answer how many clients each service remembers."""
        gateway = self._gateway
        return respond(request, await asyncio.to_thread(persistence, gateway.shared, gateway.services, time.monotonic()))

    async def list_clients(self, request: web.Request) -> web.Response:
        """Answer some clients. Raises ProblemError: 400 for a service that does not exist, or a limit out of range."""
        gateway = self._gateway
        try:
            wanted = read_filter(request.query, [service.name for service in gateway.services])
            limit = read_number(request.query, "limit", CLIENTS, CLIENTS_MAX)
        except QueryError as error:
            raise bad_query(error) from error
        view = await asyncio.to_thread(
            persistent_clients, gateway.shared, gateway.services, time.monotonic(), wanted.service, limit
        )
        return respond(request, view)
