"""How many costly answers are made at a time: a list of sessions takes memory until its reader has it, and workers' time.

Users who may change the gateway have seats of their own, so that local users who may only read cannot take them all. A request
that finds no seat is refused at once.
"""

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from appliance.rest.gateway import Gateway
from appliance.rest.identity import caller_of
from appliance.rest.places import Places
from appliance.rest.query_check import operation_of

SEATS = 8
"""Costly answers at a time of those who may write, and as many of those who may only read. One takes up to some 10 MB."""

RETRY_AFTER_S = 1


def take_seat(gateway: Gateway) -> Middleware:
    """A middleware that gives each costly answer a seat until its reader has taken it, or refuses it when there is none."""
    all_seats = Places(SEATS, "lists of sessions and other costly answers are being read already; try again later", RETRY_AFTER_S)

    @web.middleware
    async def seated(request: web.Request, handler: Handler) -> web.StreamResponse:
        asked = operation_of(request)
        if asked is None or not asked.is_costly:
            return await handler(request)
        with all_seats.one(is_writer=(await caller_of(gateway, request)).may_write):
            response = await handler(request)
            # Written here, and not by the server afterwards: a whole page of sessions takes memory until it is written.
            try:
                await response.prepare(request)
                await response.write_eof()
            except ConnectionError:
                pass  # its reader has gone, which is no error; the server finds that out as well
            return response

    return seated
