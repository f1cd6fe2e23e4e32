"""A check by an ICMP echo, as ping does it."""

import asyncio
import itertools
import os
import socket
import struct

from appliance.health.answer import Answer, passed
from appliance.health.check import Check, Target
from appliance.probes.sockets import Source, SourceError

_ECHO_REQUEST, _ECHO_REPLY = 8, 0
_HEADER = struct.Struct("!BBHHH")
_MOST_BYTES = 2048
_TOKEN_BYTES = 16
_numbers = itertools.count()


async def probe(check: Check, target: Target, source: Source) -> Answer:  # noqa: ARG001 (all probes are called alike)
    """Passes when the echo comes back. Raises OSError."""
    loop = asyncio.get_running_loop()
    number = next(_numbers)
    identifier, sequence, token = os.getpid() & 0xFFFF, number & 0xFFFF, os.urandom(_TOKEN_BYTES)
    with _opened(source) as opened:
        opened.connect((target.address, 0))
        opened.send(_request(identifier, sequence, token))
        # A raw socket gets all ICMP of its peer: the token tells which echo is this one.
        while not _is_reply(await loop.sock_recv(opened, _MOST_BYTES), token):
            pass
    return passed("echo answered")


def _opened(source: Source) -> socket.socket:
    try:
        opened = socket.socket(socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP)
    except OSError as error:
        raise SourceError(error.errno, f"no raw socket: {error.strerror} (CAP_NET_RAW is needed)") from error
    opened.setblocking(False)
    try:
        opened.bind((source.address, 0))
    except OSError as error:
        opened.close()
        raise SourceError(error.errno, f"cannot ask from {source.address}: {error.strerror}") from error
    return opened


def _request(identifier: int, sequence: int, token: bytes) -> bytes:
    unsummed = _HEADER.pack(_ECHO_REQUEST, 0, 0, identifier, sequence) + token
    return _HEADER.pack(_ECHO_REQUEST, 0, checksum(unsummed), identifier, sequence) + token


def _is_reply(packet: bytes, token: bytes) -> bool:
    """Whether an IP packet is the reply to the echo with this token."""
    start = (packet[0] & 0xF) * 4 if packet else 0
    message = packet[start:]
    return len(message) == _HEADER.size + _TOKEN_BYTES and message[0] == _ECHO_REPLY and message[_HEADER.size :] == token


def checksum(data: bytes) -> int:
    """The checksum of an even number of bytes (RFC 1071)."""
    total: int = sum(struct.unpack(f"!{len(data) // 2}H", data))
    total = (total >> 16) + (total & 0xFFFF)
    return ~(total + (total >> 16)) & 0xFFFF
