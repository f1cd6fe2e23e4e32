"""FULLNAT for TCP, told as transcripts: LVS behaviour sections 3.3, 3.4, 3.8 and 6."""

import pytest

from appliance.ipc.plan import Plan
from appliance.model import verdicts
from appliance.model.verdict import Verdict
from tests.support.addresses import C0, CLIENT, LIP1, LIP2, R0, RS1, RS2, VIP
from tests.support.segments import tcp
from tests.support.world import World, plan


def test_a_request_reaches_the_real_server_from_a_local_address_and_the_answer_the_client_from_the_vip() -> None:
    world = World()
    world.client.sends("S", seq=C0)
    seen = world.rs.gets("S", seq=C0, destination=RS1)
    assert seen.source[:4] == LIP1.packed
    world.rs.sends("SA", seq=R0, ack=C0 + 1)
    world.client.gets("SA", seq=R0, ack=C0 + 1, source=VIP, destination=CLIENT)
    world.client.sends("PA", seq=C0 + 1, ack=R0 + 1, data=b"GET / HTTP/1.1\r\n\r\n")
    world.rs.gets("PA", seq=C0 + 1, ack=R0 + 1, data=b"GET / HTTP/1.1\r\n\r\n", source=seen.source)
    world.assert_quiet()


def test_ttl_and_options_are_left_to_kernel_and_ends() -> None:
    world = World(fullnat_toa_entry=0)
    world.client.sends("S", seq=C0, ttl=17, options=bytes.fromhex("020405b4"))
    seen = world.rs.gets("S", ttl=17)
    assert seen.raw[40:44] == bytes.fromhex("020405b4")


def test_a_retransmitted_syn_keeps_its_session_and_port() -> None:
    world = World()
    world.client.sends("S", seq=C0)
    first = world.rs.gets("S")
    world.client.sends("S", seq=C0)
    world.rs.gets("S", source=first.source)
    assert len(world.inside.tcp) == 1


def test_real_servers_take_turns_and_each_gets_every_local_address() -> None:
    world = World(plan(weights=(100, 1)))
    met = set()
    for port in range(40000, 40004):
        world.put(tcp(CLIENT[:4] + port.to_bytes(2, "big"), VIP, "S", seq=C0))
        end = RS1 if port % 2 == 0 else RS2
        raw = world.take(end)
        met.add((raw[16:20], raw[12:16]))
    assert met == {(end[:4], lip.packed) for end in (RS1, RS2) for lip in (LIP1, LIP2)}


def test_weight_0_drains_new_connections_go_elsewhere() -> None:
    world = World(plan(weights=(0, 1)))
    for port in (40000, 40001):
        world.put(tcp(CLIENT[:4] + port.to_bytes(2, "big"), VIP, "S"))
        world.take(RS2)
    world.assert_quiet()


@pytest.mark.parametrize(
    ("scene", "reason"),
    [
        (plan(weights=(0,)), verdicts.NO_REAL_SERVER),
        (plan(weights=()), verdicts.NO_REAL_SERVER),
        (plan(local_addresses=()), verdicts.NO_LOCAL_ADDRESS),
    ],
)
def test_a_refused_client_is_told_by_icmp_and_the_reason_is_counted(scene: Plan, reason: Verdict) -> None:
    world = World(scene)
    assert world.client.sends("S", seq=C0) is reason
    raw = world.take(CLIENT)
    assert (raw[9], raw[20], raw[21]) == (1, 3, 3), "ICMP port unreachable"
    assert raw[12:16] == VIP[:4]
    assert raw[28 + 12 : 28 + 24] == CLIENT[:4] + VIP[:4] + CLIENT[4:] + VIP[4:]
    assert world.counter(reason.name) == 1
    assert len(world.inside.tcp) == 0


def test_ports_run_out_per_real_server_on_all_local_addresses_and_come_back() -> None:
    world = World(plan(weights=(1, 1)), fullnat_lport_min=5000, fullnat_lport_max=5001)
    given = [world.put(tcp(CLIENT[:4] + port.to_bytes(2, "big"), VIP, "S")) for port in range(40000, 40010)]
    assert given[:8] == [verdicts.TO_REAL_SERVER] * 8, "2 real servers x 2 local addresses x 2 ports"
    assert given[8:] == [verdicts.LOCAL_PORTS_EXHAUSTED] * 2
    assert world.counter("local_ports_exhausted") == 2
    world.sleep(61)
    assert len(world.inside.tcp) == 0
    assert world.put(tcp(CLIENT[:4] + b"\x9c\x50", VIP, "S")) is verdicts.TO_REAL_SERVER


def test_unreachables_are_rate_limited() -> None:
    world = World(plan(weights=(0,)))
    for _ in range(200):
        world.client.sends("S")
    sent = 0
    try:
        while True:
            world.take(CLIENT)
            sent += 1
    except AssertionError:
        pass
    assert sent == 50
    assert world.counter("no_real_server") == 200


@pytest.mark.parametrize("flags", ["A", "PA", "R", "SA"])
def test_a_segment_that_cannot_open_a_session_is_dropped_without_an_answer(flags: str) -> None:
    world = World()
    assert world.client.sends(flags, seq=C0, ack=R0) is verdicts.NO_SESSION
    world.assert_quiet()
    assert world.counter("no_session") == 1


def test_stray_answers_are_left_to_the_host() -> None:
    world = World()
    stray_reply = world.put(tcp(RS1, LIP1.packed + (6000).to_bytes(2, "big"), "A"))
    assert stray_reply is verdicts.NOT_OURS, "the host answers RST to a reply nobody asked for"


def test_an_idle_established_session_is_reset_at_both_ends() -> None:
    world = World(tcp_timeout_established=2000)
    world.client.connects(C0, R0)
    world.client.sends("PA", seq=C0 + 1, ack=R0 + 1, data=b"12345")
    world.rs.gets("PA")
    world.rs.sends("PA", seq=R0 + 1, ack=C0 + 6, data=b"abc")
    world.client.gets("PA")
    local = world.rs.there
    world.sleep(1.9)
    world.assert_quiet()
    world.sleep(0.3)
    world.rs.gets("R", seq=C0 + 6, source=local)
    world.client.gets("R", seq=R0 + 4, source=VIP)
    assert len(world.inside.tcp) == 0
    world.client.gets("R", seq=R0 + 1)  # the client never got the last bytes, so this is the number it expects
    world.assert_quiet()
    assert world.counter("sessions_expired") == 1


def test_with_conn_expire_tcp_rst_off_it_ends_in_silence() -> None:
    world = World(tcp_timeout_established=2000)
    world.client.connects(C0, R0)
    world.shared.set_tunables({"conn_expire_tcp_rst": 0})
    world.sleep(2.2)
    assert len(world.inside.tcp) == 0
    world.assert_quiet()


@pytest.mark.parametrize("flags", ["FA", "R"])
def test_a_session_that_is_ending_ends_in_silence(flags: str) -> None:
    world = World()
    world.client.connects(C0, R0)
    world.client.sends(flags, seq=C0 + 1, ack=R0 + 1)
    world.rs.gets(flags)
    world.sleep(121)
    assert len(world.inside.tcp) == 0
    world.assert_quiet()


def test_a_late_old_segment_does_not_move_the_reset_back() -> None:
    world = World(tcp_timeout_established=2000)
    world.client.connects(C0, R0)
    world.client.sends("PA", seq=C0 + 1, ack=R0 + 1, data=b"y" * 99)
    world.rs.gets("PA")
    world.rs.sends("PA", seq=R0 + 1, ack=C0 + 100, data=b"x" * 10)
    world.client.gets("PA")
    world.rs.sends("PA", seq=R0 + 1, ack=C0 + 1, data=b"x" * 5)
    world.client.gets("PA")
    world.sleep(3)
    world.rs.gets("R", seq=C0 + 100)
    world.client.gets("R", seq=R0 + 11)


def test_a_lower_timeout_counts_from_the_next_packet_on() -> None:
    world = World()
    world.client.connects(C0, R0)
    world.shared.set_tunables({"tcp_timeout_established": 1000})
    world.sleep(5)
    assert world.state() == "ESTABLISHED"
    world.client.sends("A", seq=C0 + 1, ack=R0 + 1)
    world.sleep(1.2)
    assert len(world.inside.tcp) == 0


def test_traffic_keeps_a_session_alive() -> None:
    world = World(tcp_timeout_established=1000)
    world.client.connects(C0, R0)
    for _ in range(10):
        world.sleep(0.9)
        world.client.sends("A", seq=C0 + 1, ack=R0 + 1)
    assert world.state() == "ESTABLISHED"


def test_a_session_that_the_client_closes_goes_through_close_wait_and_last_ack() -> None:
    world = World()
    world.client.connects(C0, R0)
    world.client.sends("FA", seq=C0 + 1, ack=R0 + 1)
    assert world.state() == "CLOSE_WAIT"
    world.take(RS1)
    world.rs.sends("A", seq=R0 + 1, ack=C0 + 2)
    world.rs.sends("FA", seq=R0 + 1, ack=C0 + 2)
    assert world.state() == "LAST_ACK"
    world.client.sends("A", seq=C0 + 2, ack=R0 + 2)
    assert world.state() == "CLOSE"
    world.sleep(10.2)
    assert len(world.inside.tcp) == 0


def test_a_session_that_the_real_server_closes_is_in_time_wait_until_its_port_is_safe_to_use_again() -> None:
    world = World()
    world.client.connects(C0, R0)
    world.rs.sends("FA", seq=R0 + 1, ack=C0 + 1)
    assert world.state() == "FIN_WAIT"
    world.client.sends("A", seq=C0 + 1, ack=R0 + 2)
    world.client.sends("FA", seq=C0 + 1, ack=R0 + 2)
    assert world.state() == "LAST_ACK"
    world.rs.sends("A", seq=R0 + 2, ack=C0 + 2)
    assert world.state() == "TIME_WAIT"
    world.sleep(119)
    assert world.state() == "TIME_WAIT"
    world.sleep(1.2)
    assert len(world.inside.tcp) == 0


def test_gauges_follow_the_states_and_counters_the_packets() -> None:
    world = World()
    world.client.sends("S", seq=C0)
    assert world.destination()["inactive_conns"] == 1
    world.rs.gets("S")
    world.rs.sends("SA", seq=R0, ack=C0 + 1)
    world.client.sends("A", seq=C0 + 1, ack=R0 + 1)
    assert world.destination() == {
        "in_packets": 2, "out_packets": 1, "in_bytes": 80, "out_bytes": 40, "conns": 1, "active_conns": 1, "inactive_conns": 0,
        "opening_conns": 0, "refused_conns": 0, "unanswered_conns": 0, "open_conns": 1,
    }  # fmt: skip
    world.client.sends("R", seq=C0 + 1)
    world.sleep(10.2)
    assert world.destination()["active_conns"] == world.destination()["inactive_conns"] == 0


def test_a_restarted_shard_keeps_the_counters_and_forgets_the_gauges() -> None:
    world = World()
    world.client.connects(C0, R0)
    world.shard.publish_counts()
    again = World(world.plan)
    again.shared = world.shared
    again.shard = type(world.shard)(world.plan, world.shared, 2000.0)
    assert again.destination()["conns"] == 1
    assert again.destination()["active_conns"] == 0
