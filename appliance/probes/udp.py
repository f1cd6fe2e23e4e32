"""A check by a datagram, which is answered as expected; or, when nothing is expected, is not refused by an ICMP error."""

import asyncio
import socket

from appliance.health.answer import Answer, failed, passed
from appliance.health.check import Check, Target
from appliance.probes.sockets import Source

_MOST_BYTES = 1 << 16
UNREFUSED_S = 0.5
"""How long a refusal is waited for when no answer is expected; or half of the check's time, if that is less."""


async def probe(check: Check, target: Target, source: Source) -> Answer:
    """Passes when the answer contains what is expected. Raises OSError, for instance for an ICMP error."""
    loop = asyncio.get_running_loop()
    with source.opened(socket.SOCK_DGRAM, (target.address, check.port)) as opened:
        opened.send(check.send)
        try:
            async with asyncio.timeout(None if check.expect else min(UNREFUSED_S, check.timeout_s / 2)):
                got = await loop.sock_recv(opened, _MOST_BYTES)
        except TimeoutError:
            return passed("sent and not refused")
    if check.expect and check.expect not in got:
        return failed(f"an answer of {len(got)} bytes, without what is expected")
    return passed(f"an answer of {len(got)} bytes")
