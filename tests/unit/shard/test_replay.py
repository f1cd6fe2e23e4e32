"""shard/replay.py: what is judged again, and how packets of real servers find their sessions."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.ipc.queries import CUT, TRACE, Query, SessionFilter
from appliance.ipc.traced import Traced, read_piece
from appliance.model.stages import stage_of
from appliance.model.verdict import ALL
from appliance.shard.replay import OUT, SPAN_MAX_S, WENT_ON, Replay, Replayed, ReplayError
from appliance.wire.pcapng import Captured
from tests.support.addresses import C0, CLIENT, R0, VIP
from tests.support.gateway import shared_state
from tests.support.segments import tcp, udp
from tests.support.world import World, plan

ACTIONS = {verdict.name: verdict.action.value for verdict in ALL}
ACK = tcp(CLIENT, VIP, "A")


def captured(raw: bytes, at_s: float = 5.0, interface: str = "in", comment: str = "", whole_bytes: int = 0) -> Captured:
    return Captured(at_s, interface, raw, whole_bytes or len(raw), comment)


def of_trace(packets: list[Traced]) -> list[Captured]:
    """The packets of a trace as `appliance capture` writes them."""
    found = []
    for packet in packets:
        words = f"{ACTIONS[packet.reason]} {packet.reason} ({stage_of(packet.reason)})"
        found.append(captured(packet.packet.data, packet.at_s, comment=words))
        if packet.after:
            found.append(captured(packet.after.data, packet.at_s, OUT, WENT_ON + words))
    return found


PLAN = plan(weights=(100, 100), with_udp=True)


class Scene:
    """A world whose packets are captured, and a shard with other secrets to replay them in."""

    def __init__(self, **tunables: int) -> None:
        self.world = World(PLAN, **tunables)
        self.trace = self.world.tracer.begin(Query(TRACE, SessionFilter("198.51.100.0/24"), snap_bytes=3840))
        shared = shared_state(PLAN.shards, PLAN.destinations)
        shared.set_tunables(tunables)
        self.replay = Replay([replace(PLAN, isn_secret="55" * 16)], shared)

    def replayed(self) -> list[Replayed]:
        _, packets = read_piece(self.trace.step(0.0).items)
        return [packet for one in of_trace(packets) if (packet := self.replay.put(one)) is not None]


def words(found: list[Replayed]) -> list[str]:
    return [packet.words for packet in found]


def test_a_whole_connection_is_judged_as_it_was_although_numbers_and_ports_are_others() -> None:
    scene = Scene()
    world = scene.world
    for port in (5000, 5001, 5002):  # so that the local ports of both differ
        scene.replay.put(captured(tcp(CLIENT[:4] + port.to_bytes(2, "big"), VIP, "S", seq=7), 0.0))
    world.client.connects()
    world.client.sends("PA", seq=C0 + 1, ack=R0 + 1, data=b"question")
    world.rs.sends("PA", seq=R0 + 1, ack=C0 + 9, data=b"answer")
    world.rs.sends("FA", seq=R0 + 7, ack=C0 + 9)
    world.client.sends("FA", seq=C0 + 9, ack=R0 + 8)
    world.rs.sends("A", seq=R0 + 8, ack=C0 + 10)
    found = scene.replayed()
    assert len(found) == 8
    assert [packet for packet in found if packet.differs] == []


def test_datagrams_of_real_servers_find_their_sessions_too() -> None:
    scene = Scene()
    scene.world.put(udp(CLIENT, VIP, b"question"))
    raw = scene.world._on_the_wire[-1]
    scene.world.put(udp(raw[16:20] + raw[22:24], raw[12:16] + raw[20:22], b"answer"))
    assert words(scene.replayed()) == ["rewritten to_real_server (session)", "rewritten to_client (session)"]


def test_limits_of_the_configuration_are_those_of_the_replay() -> None:
    scene = Scene(conn_max=1, conn_early_drop=0)
    for port in range(40_000, 40_003):
        scene.world.put(tcp(CLIENT[:4] + port.to_bytes(2, "big"), VIP, "S"))
    found = scene.replayed()
    assert words(found)[1:] == ["drop table_full (first packet)"] * 2
    assert not any(packet.differs for packet in found)


def test_time_passes_as_in_the_capture_and_never_goes_back() -> None:
    scene = Scene(tcp_timeout_syn_recv=3000)
    syn, answer = tcp(CLIENT, VIP, "S", seq=C0), tcp(CLIENT, VIP, "A", seq=C0 + 1, ack=9)
    assert scene.replay.put(captured(syn, 100.0)).words.startswith("rewritten")  # type: ignore[union-attr]
    assert scene.replay.put(captured(answer, 50.0)).words == "drop unseen_answer (session)"  # type: ignore[union-attr]
    assert scene.replay.put(captured(answer, 101.0)).words == "drop unseen_answer (session)"  # type: ignore[union-attr]
    assert scene.replay.put(captured(answer, 200.0)).words == "drop no_session (first packet)"  # type: ignore[union-attr]


def test_a_verdict_that_is_not_that_of_the_file_differs() -> None:
    replay = Scene().replay
    found = [
        replay.put(captured(ACK, comment=comment)) for comment in ("", "drop no_session (first packet)", "drop held (synproxy)")
    ]
    assert [packet and packet.differs for packet in found] == [False, False, True]


def test_each_packet_goes_to_the_shard_whose_queue_it_came_by_or_to_the_first() -> None:
    replay = Replay([replace(PLAN, shard=shard, shards=2) for shard in (0, 1)], shared_state(2, PLAN.destinations))
    syn, ack = tcp(CLIENT, VIP, "S", seq=C0), tcp(CLIENT, VIP, "A", seq=C0 + 1, ack=9)
    replay.put(captured(syn)._replace(queue=1))
    found = [replay.put(captured(ack)._replace(queue=queue)) for queue in (1, 0, None, 7)]
    assert [packet and packet.words.split(" ")[1] for packet in found] == [
        "unseen_answer",
        "no_session",
        "no_session",
        "no_session",
    ]


def test_services_and_who_is_down_change_at_their_time() -> None:
    replay = Replay([PLAN], shared_state(1, PLAN.destinations))
    [tcp_service, *others] = PLAN.services
    syn = tcp(CLIENT, VIP, "S", seq=C0)
    replay.change(1.0, PLAN.services, [server.slot for server in tcp_service.real_servers], [])
    assert replay.put(captured(syn, 2.0)).words.startswith("drop")  # type: ignore[union-attr]
    replay.change(3.0, PLAN.services, [], [server.slot for server in tcp_service.real_servers])
    assert replay.put(captured(syn, 4.0)).words.startswith("drop")  # type: ignore[union-attr]
    replay.change(5.0, PLAN.services, [], [])
    assert replay.put(captured(syn, 6.0)).words == "rewritten to_real_server (session)"  # type: ignore[union-attr]
    replay.change(7.0, [replace(tcp_service, real_servers=()), *others], [], [])
    assert replay.put(captured(syn, 8.0)).words == "drop real_server_gone (session)"  # type: ignore[union-attr]


def test_sessions_that_were_ended_are_ended_here_when_they_are_meant() -> None:
    replay = Replay([PLAN], shared_state(1, PLAN.destinations))
    syn, ack = tcp(CLIENT, VIP, "S", seq=C0), tcp(CLIENT, VIP, "A", seq=C0 + 1, ack=9)
    replay.put(captured(syn, 1.0))
    replay.end(2.0, Query(CUT, SessionFilter("198.51.100.99")))
    assert replay.put(captured(ack, 2.0)).words == "drop unseen_answer (session)"  # type: ignore[union-attr]
    replay.end(3.0, Query(CUT, SessionFilter("198.51.100.0/24")))
    assert replay.put(captured(ack, 3.0)).words == "drop no_session (first packet)"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("packet", "why_not"),
    [
        (captured(b""), "no IPv4 packet"),
        (captured(ACK, comment="drop denied_drops (kernel rules)"), "a rule of the kernel dropped it"),
        (captured(ACK[:30], whole_bytes=40), "only 30 of its 40 bytes are there"),
    ],
)
def test_what_a_shard_did_not_see_whole_is_not_judged(packet: Captured, why_not: str) -> None:
    found = Scene().replay.put(packet)
    assert found is not None
    assert (found.words, found.why_not, found.differs) == ("", why_not, False)


def test_packets_that_went_out_are_not_judged() -> None:
    assert Scene().replay.put(captured(ACK, interface=OUT)) is None


def test_a_capture_of_weeks_is_refused() -> None:
    replay = Scene().replay
    replay.put(captured(ACK, 5.0))
    replay.put(captured(ACK, 5.0 + SPAN_MAX_S))
    with pytest.raises(ReplayError, match="of more than 7 days"):
        replay.put(captured(ACK, 6.0 + SPAN_MAX_S))


PACKETS = st.builds(
    Captured,
    st.floats(0, 1000),
    st.sampled_from(["in", OUT]),
    st.one_of(st.binary(max_size=80), st.sampled_from([ACK, tcp(CLIENT, VIP, "S"), udp(CLIENT, VIP, b"x")])),
    st.integers(0, 100),
    st.sampled_from(["", WENT_ON, "drop held (synproxy)"]),
)


@given(st.lists(PACKETS, max_size=10))
def test_any_packets_are_replayed_and_raise_nothing(packets: list[Captured]) -> None:
    replay = Replay([PLAN], shared_state(PLAN.shards, PLAN.destinations))
    for packet in packets:
        found = replay.put(packet)
        assert found is None or bool(found.words) != bool(found.why_not)
