"""The handlers of ``/sysctl``: list the tunables, read one, change one."""

import asyncio
from http import HTTPStatus
from typing import NoReturn

from aiohttp import web

from appliance.model.tunables import TUNABLES, TunableError
from appliance.model.typed_names import elsewhere, tunable_named
from appliance.rest.audit import note_change
from appliance.rest.gateway import Gateway
from appliance.rest.path_name import unknown_name
from appliance.rest.problem import ProblemError
from appliance.rest.put_body import AskedValue, read_asked_value
from appliance.rest.respond import respond
from appliance.views.tunables import all_tunables, one_tunable

BODY_S = 10.0
"""How long a client may take for the body of a write."""


class SysctlHandlers:
    """The handlers. A tunable is read from the shared memory and written through the gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def list_all(self, request: web.Request) -> web.Response:
        """Answer all tunables."""
        return respond(request, all_tunables(self._gateway.shared))

    async def read(self, request: web.Request) -> web.Response:
        """Answer one tunable. Raises ProblemError: 404 for an unknown name."""
        return respond(request, one_tunable(self._gateway.shared, _named(request)))

    async def write(self, request: web.Request) -> web.Response:
        """Put the value of the body in force, and answer the tunable.

        Raises ProblemError, and changes nothing: 404 for an unknown name, 400 for a body that cannot be read, 422 for a value
        that is not allowed.
        """
        name = _named(request)
        asked = await read_body(request)
        before = self._gateway.shared.tunable(name)
        note_change(request, before=before, asked=asked.shown)
        try:
            await self._gateway.set_tunable(name, asked.for_tunable(name))
        except TunableError as error:
            self._refuse(name, asked, error)
        note_change(request, before=before, asked=asked.shown, after=self._gateway.shared.tunable(name))
        return respond(request, one_tunable(self._gateway.shared, name))

    def _refuse(self, name: str, asked: AskedValue, error: TunableError) -> NoReturn:
        tunable, in_force = TUNABLES[name], self._gateway.shared.tunable(name)
        raise ProblemError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"{error}; the value stays {in_force}",
            kind="value-refused",
            title="Value refused",
            name=name,
            value=in_force,
            min=tunable.min,
            max=tunable.max,
            unit=tunable.unit,
            given=asked.shown,
        ) from error


def _named(request: web.Request) -> str:
    """The tunable in the path, also in the form it has elsewhere, such as net.ipv4.vs.NAME. Raises ProblemError: 404."""
    typed = request.match_info["name"]
    name = tunable_named(typed)
    if name is None:
        raise unknown_name(typed, "tunable", TUNABLES, elsewhere(typed, asked_for_tunable=True))
    return name


async def read_body(request: web.Request) -> AskedValue:
    """The value in the body of a write. Raises ProblemError: 408 when it is not complete in time, 400 when it cannot be read."""
    try:
        async with asyncio.timeout(BODY_S):
            body = await request.read()
        return read_asked_value(body, request.content_type)
    except TimeoutError as error:
        raise ProblemError(HTTPStatus.REQUEST_TIMEOUT, f"the body was not complete within {BODY_S:.0f} s") from error
    except ValueError as error:
        raise ProblemError(HTTPStatus.BAD_REQUEST, f"the body is not valid JSON: {error}") from error
    except web.RequestPayloadError as error:
        raise ProblemError(HTTPStatus.BAD_REQUEST, f"the body cannot be read: {error}") from error
