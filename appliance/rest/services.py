"""The handlers of ``/services`` and ``/pools``: what is configured, and changes of it one at a time."""

from typing import Any

from aiohttp import web

from appliance.model.edit import CREATE, MERGE, POOL, REAL_SERVER, REMOVE, REPLACE, SERVICE, Edit, Subject
from appliance.rest.audit import note_change
from appliance.rest.change_refusal import etag, known_versions, read_json, refusals_answered
from appliance.rest.gateway import Gateway
from appliance.rest.long_answer import respond_long
from appliance.rest.path_name import unknown_name
from appliance.rest.respond import respond
from appliance.rest.service_routes import LONGEST_TABLE_BYTES
from appliance.views.config import applied, pool, pools, real_servers, services, table
from appliance.views.document import Document

_ACTIONS = {"PUT": REPLACE, "PATCH": MERGE}


class ServiceHandlers:
    """The handlers. A write raises ProblemError when the configuration refuses it; then nothing has changed."""

    def __init__(self, gateway: Gateway) -> None:
        self._configuration = gateway.configuration

    async def list_services(self, request: web.Request) -> web.StreamResponse:
        """Answer all services."""
        return await respond_long(request, lambda: services(self._configuration.services()))

    async def list_pools(self, request: web.Request) -> web.Response:
        """Answer all pools."""
        return respond(request, pools(self._configuration.pools()))

    async def list_real_servers(self, request: web.Request) -> web.Response:
        """Answer the real servers of a service."""
        return respond(request, real_servers(self._value(Subject(SERVICE, request.match_info["name"]))))

    async def read(self, request: web.Request) -> web.Response:
        """Answer a service, a real server or a pool."""
        subject = _subject(request)
        return self._shown(request, subject, self._value(subject))

    async def add_service(self, request: web.Request) -> web.Response:
        """Add the service of the body."""
        value = await read_json(request, LONGEST_TABLE_BYTES)
        return await self._change(request, Edit(CREATE, Subject(SERVICE, _text(value, "name")), value))

    async def add_real_server(self, request: web.Request) -> web.Response:
        """Add the real server of the body."""
        value = await read_json(request, LONGEST_TABLE_BYTES)
        endpoint = f"{_text(value, 'address')}:{_text(value, 'port')}"
        return await self._change(request, Edit(CREATE, Subject(REAL_SERVER, request.match_info["name"], endpoint), value))

    async def write(self, request: web.Request) -> web.Response:
        """Replace, add or change what the path names."""
        value = await read_json(request, LONGEST_TABLE_BYTES)
        return await self._change(request, Edit(_ACTIONS[request.method], _subject(request), value))

    async def remove(self, request: web.Request) -> web.Response:
        """Remove what the path names."""
        return await self._change(request, Edit(REMOVE, _subject(request)))

    async def _change(self, request: web.Request, edit: Edit) -> web.Response:
        before = self._configuration.look_up(edit.subject)
        note_change(request, before=before, asked=edit.value)
        with refusals_answered():
            done = await self._configuration.change(edit, known_versions(request))
        after = self._configuration.look_up(edit.subject)
        note_change(request, before=before, asked=edit.value, after=after)
        if edit.action == REMOVE or after is None:
            return respond(request, applied(done))
        return self._shown(request, edit.subject, after)

    def _value(self, subject: Subject) -> dict[str, Any]:
        value = self._configuration.look_up(subject)
        if value is not None:
            return value
        if subject.kind == POOL:
            raise unknown_name(subject.name, POOL, self._configuration.pools())
        service = self._configuration.look_up(Subject(SERVICE, subject.name))
        if subject.kind == SERVICE or service is None:
            raise unknown_name(subject.name, SERVICE, [service["name"] for service in self._configuration.services()])
        endpoints = [f"{server['address']}:{server['port']}" for server in service.get("real_server", [])]
        raise unknown_name(subject.endpoint, f"real server of service {subject.name}", endpoints)

    def _shown(self, request: web.Request, subject: Subject, value: dict[str, Any]) -> web.Response:
        document: Document = pool(value) if subject.kind == POOL else table(value)
        response = respond(request, document)
        response.headers.update(etag(value))
        return response


def _subject(request: web.Request) -> Subject:
    """What the path of a request names."""
    name, endpoint = request.match_info["name"], request.match_info.get("endpoint", "")
    if request.path.startswith("/pools/"):
        return Subject(POOL, name)
    return Subject(REAL_SERVER, name, endpoint) if endpoint else Subject(SERVICE, name)


def _text(value: Any, key: str) -> str:
    """A key that says what a new one is called; empty when it is missing, which the configuration then refuses."""
    given = value.get(key) if isinstance(value, dict) else None
    return str(given) if isinstance(given, str | int) else ""
