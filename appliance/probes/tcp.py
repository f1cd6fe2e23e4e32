"""A check by a connection: it is opened, and reset at once, so that it leaves nothing behind."""

import asyncio
import socket

from appliance.health.answer import Answer, passed
from appliance.health.check import Check, Target
from appliance.probes.sockets import Source


async def probe(check: Check, target: Target, source: Source) -> Answer:
    """Passes when the real server accepts the connection. Raises OSError."""
    to = target.address, check.port
    with source.opened(socket.SOCK_STREAM, to) as opened:
        await asyncio.get_running_loop().sock_connect(opened, to)
    return passed("connected")
