"""Packets that the lane has to carry, one by one; and those that it must not."""

from tests.kernel.lane import CARRIED, Lane
from tests.kernel.lives import Lives
from tests.support.addresses import C0, CLIENT, R0, VIP
from tests.support.segments import tcp
from tests.support.tcp_options import LINUX_SYN
from tests.support.world import World


def test_a_plain_life(lane: Lane) -> None:
    world = World()
    lives = Lives(lane, world)
    assert lives.put(tcp(CLIENT, VIP, "S", seq=C0, options=LINUX_SYN), 0).counted == {"up_no_session": 1}
    (session,) = world.sessions()
    rs, local = session.server_key[:4] + session.server_key[8:10], session.server_key[4:8] + session.server_key[10:]
    isn = session.isn
    timestamp = b"\x01\x01\x08\x0a" + bytes(range(8))
    for raw, direction in (
        (tcp(rs, local, "SA", seq=R0, ack=isn + 1, options=LINUX_SYN), 1),
        (tcp(CLIENT, VIP, "A", seq=C0 + 1, ack=R0 + 1, options=timestamp), 0),
        (tcp(CLIENT, VIP, "PA", seq=C0 + 1, ack=R0 + 1, options=timestamp, data=b"GET"), 0),
        (tcp(rs, local, "A", seq=R0 + 1, ack=isn + 4, options=timestamp), 1),
        (tcp(rs, local, "PA", seq=R0 + 1, ack=isn + 4, options=timestamp, data=b"x" * 1000), 1),
        (tcp(CLIENT, VIP, "A", seq=C0 + 4, ack=R0 + 1001, options=timestamp), 0),
        (tcp(CLIENT, VIP, "FA", seq=C0 + 4, ack=R0 + 1001, options=timestamp), 0),
        (tcp(rs, local, "FA", seq=R0 + 1001, ack=isn + 5, options=timestamp), 1),
        (tcp(CLIENT, VIP, "A", seq=C0 + 5, ack=R0 + 1002, options=timestamp), 0),
    ):
        assert lives.put(raw, direction).verdict == CARRIED, (lives.told, world.transcript)
    assert world.state() == "CLOSE"
