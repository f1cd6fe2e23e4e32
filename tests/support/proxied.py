"""The steps of a client that opens a session through SYNPROXY, each checked on the way."""

from appliance.model import verdicts
from tests.support.addresses import C0, R0
from tests.support.segments import Seen
from tests.support.tcp_options import LINUX_SYN, MSS_1460, SACK_PERMITTED, WSCALE_7
from tests.support.world import World

GET = b"GET / HTTP/1.1\r\n\r\n"


def asks(world: World, options: bytes = LINUX_SYN, seq: int = C0) -> Seen:
    """The client sends its SYN and gets the SYN-ACK with the cookie, which is returned."""
    assert world.client.sends("S", seq=seq, options=options) is verdicts.COOKIE_SENT
    return world.client.gets("SA", ack=seq + 1)


def proves(world: World, data: bytes = GET, options: bytes = LINUX_SYN, seq: int = C0) -> int:
    """The client returns the cookie with its first data, and the real server gets a SYN. Returns the cookie."""
    cookie = asks(world, options, seq).seq
    assert world.client.sends("PA", seq=seq + 1, ack=cookie + 1, data=data) is verdicts.TO_REAL_SERVER
    world.rs.gets("S", seq=seq)
    return cookie


def opens(
    world: World, rs_options: bytes = MSS_1460 + SACK_PERMITTED + WSCALE_7 + b"\x01\x01\x01", options: bytes = LINUX_SYN
) -> int:
    """The real server accepts as well, and gets the request of the client. Returns the cookie."""
    cookie = proves(world, options=options)
    assert world.rs.sends("SA", seq=R0, ack=C0 + 1, options=rs_options) is verdicts.HANDSHAKE_PACKET
    world.rs.gets("PA", seq=C0 + 1, ack=R0 + 1, data=GET)
    return cookie
