"""The handlers of ``/host/sysctl``: list the parameters of the host's kernel, read one, change one."""

from collections.abc import Sequence
from http import HTTPStatus
from typing import NoReturn

from aiohttp import web

from appliance.model.did_you_mean import nearest
from appliance.model.host_parameter import (
    ONLY,
    HostParameter,
    HostParameterError,
    HostReading,
    Values,
    check_values,
    parse_values,
)
from appliance.model.host_parameters import HOST_PARAMETERS
from appliance.model.tunables import TUNABLES
from appliance.model.typed_names import elsewhere, host_parameter_named, shown_name
from appliance.rest.audit import note_change
from appliance.rest.gateway import Gateway
from appliance.rest.path_name import unknown_name
from appliance.rest.problem import ProblemError
from appliance.rest.put_body import AskedValue
from appliance.rest.respond import respond
from appliance.rest.sysctl import read_body
from appliance.views.host_parameters import all_parameters, one_parameter, ranges, value_of

_KIND = "host parameter"
_LONGEST_SHOWN = 80


class HostParameterHandlers:
    """The handlers. A parameter is read from the kernel, and written by the gateway."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway

    async def list_all(self, request: web.Request) -> web.Response:
        """Answer all parameters."""
        return respond(request, all_parameters(await self._gateway.host_parameters.read_all(), self._tunables()))

    async def read(self, request: web.Request) -> web.Response:
        """Answer one parameter. Raises ProblemError: 404 for an unknown name."""
        parameter, place = await self._named(request)
        return self._answer(request, await self._gateway.host_parameters.read(parameter), place)

    async def write(self, request: web.Request) -> web.Response:
        """Put the value of the body in force, and answer the parameter.

        Raises ProblemError, and changes nothing: 404 for an unknown name, 400 for a body that cannot be read, 422 for a value
        that is not allowed, and for a parameter that cannot be written here.
        """
        parameter, place = await self._named(request)
        asked = await read_body(request)
        before = value_of(await self._gateway.host_parameters.read(parameter), place)
        note_change(request, before=before, asked=asked.shown)
        try:
            reading = await self._gateway.host_parameters.write(parameter, place, _values(parameter, asked))
        except HostParameterError as error:
            self._refuse(await self._gateway.host_parameters.read(parameter), place, asked, error)
        note_change(request, before=before, asked=asked.shown, after=value_of(reading, place))
        return self._answer(request, reading, place)

    def _answer(self, request: web.Request, reading: HostReading, place: str) -> web.Response:
        return respond(request, one_parameter(reading, place, self._tunables(), shown_name(reading.parameter, place)))

    def _tunables(self) -> dict[str, int]:
        return {name: self._gateway.shared.tunable(name) for name in TUNABLES}

    async def _named(self, request: web.Request) -> tuple[HostParameter, str]:
        """The parameter in the path, and the place in its name."""
        typed = request.match_info["name"]
        found = host_parameter_named(typed)
        if found is None:
            raise unknown_name(typed, _KIND, HOST_PARAMETERS, elsewhere(typed, asked_for_tunable=False))
        parameter, place = found
        if place != ONLY:
            places = (await self._gateway.host_parameters.read(parameter)).values
            if place not in places:
                raise _unknown_place(parameter, place, list(places))
        return found

    @staticmethod
    def _refuse(reading: HostReading, place: str, asked: AskedValue, error: HostParameterError) -> NoReturn:
        parameter, in_force = reading.parameter, value_of(reading, place)
        if reading.state != "writable":
            error = HostParameterError(f"{parameter.name}: cannot be written: {reading.reason}")
        stays = "" if in_force is None else f"; the value stays {in_force}"
        raise ProblemError(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"{str(error).rstrip('.')}{stays}",
            kind="value-refused",
            title="Value refused",
            name=shown_name(parameter, place),
            field=error.field,
            value=in_force,
            ranges=ranges(parameter),
            unit=parameter.unit,
            given=asked.shown,
            state=reading.state,
            reason=reading.reason,
        ) from error


def _values(parameter: HostParameter, asked: AskedValue) -> Values:
    """The numbers that a client sent; in JSON a string is none. Raises HostParameterError when they are not allowed."""
    if not asked.is_json:
        return parse_values(parameter, asked.text)
    numbers = asked.given if isinstance(asked.given, list) else [asked.given]
    if not all(type(number) is int for number in numbers):
        shape = "INTEGER" if len(parameter.numbers) == 1 else f"[{', '.join(['INTEGER'] * len(parameter.numbers))}]"
        raise HostParameterError(f'{parameter.name}: this is not {{"value": {shape}}} (allowed: {parameter.range_text})')
    return check_values(parameter, numbers)


def _unknown_place(parameter: HostParameter, place: str, places: Sequence[str]) -> ProblemError:
    shown = place[:_LONGEST_SHOWN]
    return ProblemError(
        HTTPStatus.NOT_FOUND,
        f"{parameter.name}: {shown!r} is no interface of the gateway; there are {', '.join(places) or 'none'}",
        kind="unknown-name",
        title="Unknown interface",
        name=shown,
        nearest=nearest(shown, places),
    )
