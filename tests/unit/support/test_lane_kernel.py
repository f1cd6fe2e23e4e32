"""lane_kernel.py: what the reference of the kernel's program carries, what it leaves to Python, and what it writes."""

import pytest

from appliance.model import verdicts
from appliance.model.tcp_state import TcpState
from tests.support.addresses import C0, R0
from tests.support.lane_maps import FakeMaps
from tests.support.proxied import opens
from tests.support.segments import tcp
from tests.support.world import World, plan


def established() -> World:
    world = World(None, FakeMaps())
    world.client.connects(C0, R0)
    world.carried = 0
    return world


def test_what_it_carries_is_in_the_record() -> None:
    world = established()
    (session,) = world.sessions()
    world.now += 3
    world.client.sends("FPA", seq=C0 + 1, ack=R0 + 1, data=b"GET")
    assert (world.carried, world.kernel.traffic[0, 0]) == (1, 2)
    record = world.maps.record(session.entry or 0)
    assert (record.state, record.client_next_seq, record.last_seen_ns) == (TcpState.CLOSE_WAIT, C0 + 5, 1_003_000_000_000)
    assert world.maps.changed[session.entry or 0] == 1


@pytest.mark.parametrize(
    ("flags", "seq", "verdict"),
    [
        ("R", C0 + 1, verdicts.TO_REAL_SERVER),
        ("RA", C0 + 9, verdicts.TO_REAL_SERVER),
        ("S", C0 + 500, verdicts.CHALLENGED),
        ("FA", C0 + 100, verdicts.TO_REAL_SERVER),
    ],
)
def test_what_python_has_to_judge_goes_up(flags: str, seq: int, verdict: object) -> None:
    world = established()
    assert world.client.sends(flags, seq=seq, ack=R0 + 1) is verdict
    assert world.carried == 0


def test_packets_of_a_held_session_and_of_none_go_up() -> None:
    world = established()
    world.client.sends("S", seq=C0 + 500)
    world.client.sends("A", seq=C0 + 1, ack=R0 + 900)
    assert world.carried == 0
    world.put(tcp(b"\1\2\3\4\5\6", b"\1\2\3\4\5\7", "A"))
    world.put(b"short")
    assert world.carried == 0


def test_what_may_be_a_storm_goes_up() -> None:
    world = World(plan(synproxy="always"), FakeMaps())
    opens(world)
    world.carried = 0
    world.rs.sends("A", seq=R0 + 1, ack=C0 + 19)
    assert world.carried == 0
    world.rs.sends("PA", seq=R0 + 1, ack=C0 + 19, data=b"x")
    assert world.carried == 1


def test_a_tunable_counts_from_the_next_packet_on() -> None:
    world = established()
    world.shared.set_tunables({"fullnat_toa_entry": 0})
    world.client.sends("PA", seq=C0 + 1, ack=R0 + 1, data=b"x")
    assert world.carried == 1
    assert world._on_the_wire[-1][32] >> 4 == 5
    assert sum(world.kernel.option_counts()) == 1
