"""A check by a connection: it is opened, and reset at once, so that it leaves nothing behind."""

import asyncio
import socket
import struct

from appliance.health.answer import Answer, passed
from appliance.health.check import Check, Target
from appliance.probes.sockets import Source

_RESET_AT_CLOSE = struct.pack("ii", 1, 0)


async def probe(check: Check, target: Target, source: Source) -> Answer:
    """Passes when the real server accepts the connection. Raises OSError."""
    to = target.address, check.port
    with source.opened(socket.SOCK_STREAM, to) as opened:
        # No TIME_WAIT, here or there, for a connection that has carried nothing.
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET_AT_CLOSE)
        await asyncio.get_running_loop().sock_connect(opened, to)
    return passed("connected")
