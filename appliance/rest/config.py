"""The handlers of ``/config``: show what is in force, plan a change, put it in force, confirm it."""

import asyncio
from functools import partial

from aiohttp import web

from appliance.ipc.queries import QueryError, read_number
from appliance.rest.audit import note_change
from appliance.rest.change_refusal import etag, known_versions, read_text, refusals_answered
from appliance.rest.config_routes import LONGEST_CONFIG_BYTES, LONGEST_CONFIRM_S
from appliance.rest.gateway import Gateway
from appliance.rest.long_answer import respond_long
from appliance.rest.query_check import bad_query
from appliance.rest.respond import respond
from appliance.views.config import applied, change_plan, config_state, confirmed, saved


class ConfigHandlers:
    """The handlers. Each raises ProblemError when the configuration refuses what is asked for."""

    def __init__(self, gateway: Gateway) -> None:
        self._configuration = gateway.configuration

    async def show(self, request: web.Request) -> web.StreamResponse:
        """Answer what is in force, beside the file."""
        state = await self._configuration.state()
        headers = await asyncio.to_thread(etag, state.config)
        return await respond_long(request, partial(config_state, state), headers)

    async def plan(self, request: web.Request) -> web.StreamResponse:
        """Answer what a configuration would change."""
        text = await read_text(request, LONGEST_CONFIG_BYTES)
        with refusals_answered():
            plan = await self._configuration.plan(text or None)
        return await respond_long(request, partial(change_plan, plan))

    async def apply(self, request: web.Request) -> web.StreamResponse:
        """Put a configuration in force, and answer what has changed."""
        within_s, versions = _confirm_within_s(request), known_versions(request)
        text = await read_text(request, LONGEST_CONFIG_BYTES)
        asked = f"{len(text)} characters of TOML" if text else "the file"
        note_change(request, asked=asked)
        with refusals_answered():
            done = await self._configuration.apply(text or None, within_s, versions)
        note_change(request, asked=asked, after=done.changes)
        return await respond_long(request, partial(applied, done))

    async def save(self, request: web.Request) -> web.Response:
        """Write what is in force into the file, or only show it."""
        only_show = request.query.get("only_show")
        if only_show not in (None, "1"):
            raise bad_query(QueryError(f"only_show: there is no {only_show[:80]!r} (there is 1)"))
        with refusals_answered():
            done = await self._configuration.save(write=not only_show)
        note_change(request, after=done.changes if done.is_written else "nothing is written")
        return respond(request, saved(done))

    async def confirm(self, request: web.Request) -> web.Response:
        """Let the last change stay."""
        with refusals_answered():
            await self._configuration.confirm()
        return respond(request, confirmed())


def _confirm_within_s(request: web.Request) -> int:
    """The field of this name; 0 without it. Raises ProblemError (400) when it is out of range."""
    if "confirm_within_s" not in request.query:
        return 0
    try:
        return read_number(request.query, "confirm_within_s", 1, LONGEST_CONFIRM_S)
    except QueryError as error:
        raise bad_query(error) from error
