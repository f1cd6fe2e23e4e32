"""shard/shard.py: malformed packets, and tunables. `stories/test_fuzz_corpus.py` shows that no bytes make it fail."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.model import verdicts
from appliance.model.tunables import INDEX
from appliance.model.verdict import Action, Verdict
from tests.support.addresses import C0, CLIENT, LIP1, R0, VIP
from tests.support.segments import read_tcp, tcp
from tests.support.world import World, plan

GOOD = tcp(CLIENT, VIP, "S", seq=C0)


def patched(offset: int, new: bytes) -> bytes:
    return GOOD[:offset] + new + GOOD[offset + len(new) :]


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (b"", verdicts.SHORT_HEADER),
        (GOOD[:19], verdicts.SHORT_HEADER),
        (patched(0, b"\x65"), verdicts.BAD_HEADER),
        (patched(0, b"\x46"), verdicts.IP_OPTIONS),
        (patched(0, b"\x44"), verdicts.BAD_HEADER),
        (patched(6, b"\x20\x00"), verdicts.FRAGMENT),
        (patched(6, b"\x00\x08"), verdicts.FRAGMENT),
        (patched(2, b"\x10\x00"), verdicts.TRUNCATED),
        (GOOD + b"\0", verdicts.BAD_HEADER),
        (GOOD[:2] + b"\0\x1e" + GOOD[4:30], verdicts.SHORT_HEADER),
        (patched(32, b"\x40"), verdicts.BAD_DATA_OFFSET),
        (patched(32, b"\x60"), verdicts.BAD_DATA_OFFSET),
        (patched(32, b"\xf0"), verdicts.BAD_DATA_OFFSET),
    ],
)
def test_what_is_no_whole_packet_is_dropped_and_counted(raw: bytes, expected: Verdict) -> None:
    world = World()
    assert world.put(raw) is expected
    assert world.counter(expected.name) == 1
    world.assert_quiet()


def test_other_protocols_are_left_to_the_host() -> None:
    world = World()
    assert world.put(patched(9, b"\x2f")) is verdicts.NOT_OURS


def test_a_write_to_the_port_range_counts_for_the_next_packet() -> None:
    world = World(fullnat_lport_min=5000, fullnat_lport_max=5000)
    world.client.sends("S", seq=C0)
    assert world.rs.gets("S").source[4:] == (5000).to_bytes(2, "big")
    world.shared.set_tunables({"fullnat_lport_min": 7000, "fullnat_lport_max": 7000})
    other = CLIENT[:4] + b"\x10\x00"
    world.put(tcp(other, VIP, "S", seq=C0))
    assert world.take(world.rs.here)[20:22] == (7000).to_bytes(2, "big")
    world.rs.sends("SA", seq=R0, ack=C0 + 1)
    world.client.gets("SA")


def test_lport_tries_bounds_the_search() -> None:
    world = World(plan(local_addresses=(str(LIP1),)), fullnat_lport_min=5000, fullnat_lport_max=5019, fullnat_lport_tries=10)
    clients = [CLIENT[:4] + port.to_bytes(2, "big") for port in range(20000, 20021)]
    for client in clients[:20]:
        assert world.put(tcp(client, VIP, "S", seq=C0)) is verdicts.TO_REAL_SERVER
        world.complete(client)
    world.put(tcp(clients[15], VIP, "R", seq=C0 + 1))
    world.sleep(11)
    assert len(world.inside.tcp) == 19, "the sixteenth port behind the one that was taken last is free now"
    assert world.put(tcp(clients[20], VIP, "S")) is verdicts.LOCAL_PORTS_EXHAUSTED
    world.shared.set_tunables({"fullnat_lport_tries": 16})
    assert world.put(tcp(clients[20], VIP, "S")) is verdicts.TO_REAL_SERVER


@pytest.mark.parametrize(
    ("tunable", "flags_in"),
    [("tcp_timeout_syn_recv", []), ("tcp_timeout_close", ["R"]), ("tcp_timeout_close_wait", ["FA"])],
)
def test_timeouts_of_states_are_their_tunables(tunable: str, flags_in: list[str]) -> None:
    world = World(None, **{tunable: 3000})
    if flags_in:
        world.client.connects(C0, R0)
    else:
        world.client.sends("S", seq=C0)
    for flags in flags_in:
        world.client.sends(flags, seq=C0 + 1, ack=R0 + 1)
    world.sleep(2.9)
    assert len(world.inside.tcp) == 1
    world.sleep(0.3)
    assert len(world.inside.tcp) == 0


def test_sessions_show_all_four_ends() -> None:
    world = World(fullnat_lport_min=5000, fullnat_lport_max=5000)
    world.client.connects(C0, R0)
    world.now += 1
    (row,) = world.rows()
    assert row[:6] == (
        "web", "198.51.100.2:40000", "203.0.113.10:80", "192.0.2.10:5000", "192.0.2.101:8080", "ESTABLISHED",
    )  # fmt: skip
    assert row.expires_s == pytest.approx(899)
    assert row.age_s == pytest.approx(1)


@given(st.sampled_from(["A", "PA", "FA", "RA"]), st.binary(max_size=1452), st.integers(0, 65535), st.integers(1, 255))
def test_a_packet_sent_back_through_the_shard_is_the_same_packet(flags: str, data: bytes, window: int, ttl: int) -> None:
    """A packet that a real server sends back to the source it saw reaches the client as if the VIP had sent it."""
    world = World()
    world.client.connects(C0, R0)
    sent = tcp(CLIENT, VIP, flags, seq=5, ack=R0 + 2, data=data, window=window, ttl=ttl)
    assert world.put(sent).action is Action.REWRITTEN
    there = read_tcp(world.take(world.rs.here))
    assert there.seq == (5 + world.rs.shift) % 2**32
    world.put(tcp(there.destination, there.source, flags, seq=R0 + 2, ack=there.seq, data=data, window=window, ttl=ttl))
    back = read_tcp(world.take(CLIENT))
    assert back.raw == tcp(VIP, CLIENT, flags, seq=R0 + 2, ack=5, data=data, window=window, ttl=ttl)


FIN_STEPS = st.tuples(
    st.booleans(),
    st.sampled_from(["FA", "PFA", "UFA"]),
    st.integers(-2, 3) | st.sampled_from([-(1 << 17), 1 << 19, 1 << 21]),
    st.integers(-1, 1) | st.sampled_from([-(1 << 17), 1 << 17]),
    st.binary(max_size=3),
    st.booleans(),
)
"""A FIN: of the client or of the real server, its flags, how far its numbers are off, data, whether it is sound."""


@given(st.lists(FIN_STEPS, min_size=1, max_size=4))
def test_a_fin_without_options_is_judged_as_on_the_slow_path(fins: list[tuple[bool, str, int, int, bytes, bool]]) -> None:
    plain, slow = (World(fullnat_lport_min=5000, fullnat_lport_max=5000) for _ in range(2))
    for world in (plain, slow):
        world.client.connects(C0, R0)
        world.rs.sends("A", seq=R0 + 1, ack=C0 + 1, data=b"!")
        world.client.sends("A", seq=C0 + 1, ack=R0 + 2)
    assert not plain.sessions()[0].needs_slow_path
    for from_client, flags, seq_off, ack_off, data, is_sound in fins:
        for world in (plain, slow):
            end, seq, ack = (world.client, C0 + 1, R0 + 2) if from_client else (world.rs, R0 + 2, C0 + 1 + world.rs.shift)
            raw = tcp(end.here, end.there, flags, seq=(seq + seq_off) % 2**32, ack=(ack + ack_off) % 2**32, data=data)
            slow.sessions()[0].needs_slow_path = True
            world.put(raw if is_sound else raw[:8] + b"\x33" + raw[9:-1] + bytes((raw[-1] ^ 1,)))
        assert judged(plain) == judged(slow)


def judged(world: World) -> tuple[object, ...]:
    """What the last packet has made of the only session, and of the packet itself."""
    (session,) = world.sessions()
    return (
        world.transcript[-1], world.shard.output.rewritten, session.state, session.words.tolist(), session.late_fin,
        session.first_table, session.deadline, session.was_reset, world.destination(),
    )  # fmt: skip


def test_a_range_of_ports_that_is_written_in_half_is_not_taken_over() -> None:
    """Another change may have moved the generation on before the director has written the second end."""
    world = World(fullnat_lport_min=5000, fullnat_lport_max=6000)
    world.put(tcp(CLIENT, VIP, "S", seq=C0))
    world.shared.tunables[INDEX["fullnat_lport_min"]] = 20_000
    world.shared.set_tunables({"tcp_timeout_syn_recv": 7000})
    world.sleep(0.2)
    assert world.put(tcp(CLIENT[:4] + b"\x50\x00", VIP, "S", seq=C0)) is verdicts.TO_REAL_SERVER
    assert max(session.local_port for session in world.sessions()) <= 6000
    world.shared.set_tunables({"fullnat_lport_max": 30_000})
    world.sleep(0.2)
    assert world.put(tcp(CLIENT[:4] + b"\x50\x01", VIP, "S", seq=C0)) is verdicts.TO_REAL_SERVER
    assert max(session.local_port for session in world.sessions()) >= 20_000


def test_a_session_whose_first_packet_cannot_be_rewritten_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> bytes:
        raise OverflowError

    world = World()
    with monkeypatch.context() as failing:
        failing.setattr("appliance.shard.first_packet.to_real_server", fail)
        with pytest.raises(OverflowError):
            world.shard.handle(tcp(CLIENT, VIP, "S", seq=C0), world.now)
    assert world.by_state() == {"syn_recv": 1}
    world.sleep(61)
    assert world.sessions() == []
