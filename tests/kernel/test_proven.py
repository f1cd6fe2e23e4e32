"""Clients that return a right cookie in the real program: it asks their real servers, and joins both ends as Python does."""

import os
import time

from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from appliance.ipc.lane_layout import PROOF_BYTES, PROOFS, RealServerFlags
from appliance.ipc.session_record import decode
from appliance.model.syn_offer import SynOffer
from appliance.model.tcp_state import TcpState
from appliance.model.verdicts import HANDSHAKE_PACKET, HELD, TO_REAL_SERVER
from appliance.sessions.short_lived import HANDSHAKE_MS
from appliance.shard.shard import Shard
from appliance.wire.flow import pack_endpoint
from appliance.wire.layout import SYN
from appliance.wire.segment import Segment
from appliance.wire.seq import MASK, add
from tests.kernel.lane import CARRIED, UP, Lane, with_one_zero
from tests.kernel.proxied_gateway import DATA, USUAL, ProxiedGateway, check_like_python
from tests.kernel.proxied_gateway import clear_again as clear_again
from tests.support.addresses import C0, CLIENT, CLIENT_ADDRESS, R0, VIP
from tests.support.segments import tcp
from tests.support.tcp_options import MSS_1460, SACK_PERMITTED, TIMESTAMP, WSCALE_7

EXAMPLES = min(150, int(os.environ.get("LANE_LIVES", "150")))
"""Fewer where the machine is slow."""


def test_a_returned_cookie_asks_a_real_server(lane: Lane) -> None:
    gateway = ProxiedGateway(lane)
    gateway.prepare()
    judged = gateway.put(raw := gateway.proof())
    assert (judged.verdict, judged.counted) == (UP, {"carried": 1, "proven": 1, "option_added": 1})
    record = gateway.record
    assert (record.state, record.cookie, record.client_isn) == (TcpState.SYN_SENT, add(Segment.parse(raw).ack, -1), C0)
    assert [value[: len(raw)] for value in lane.proofs().values()] == [raw]
    syn = Segment.parse(judged.raw)
    assert (syn.flags, syn.seq, syn.ack) == (SYN, record.isn, 0)
    assert not lane.known_clients()


def test_the_answer_joins_both_ends_without_python(lane: Lane) -> None:
    gateway = ProxiedGateway(lane, defers=True)
    gateway.prepare()
    gateway.put(gateway.proof(DATA))
    judged = gateway.put(gateway.answer(), 1)
    assert (judged.verdict, judged.counted) == (CARRIED, {"joined": 1, "option_added": 1})
    assert judged.raw.endswith(DATA)
    assert not lane.proofs()
    record = gateway.record
    assert record.state == TcpState.ESTABLISHED
    cookie = record.cookie or 0
    assert (
        gateway.put(tcp(record.real_server.packed, record.local.packed, "A", seq=R0 + 1, ack=add(record.isn, 20)), 1).verdict == 7
    )
    more = tcp(CLIENT, VIP, "PA", seq=C0 + 1 + len(DATA), ack=add(cookie, 1), data=b"more")
    assert gateway.put(more).verdict == CARRIED
    session = gateway.session()
    assert (session.state, session.cookie) == (TcpState.ESTABLISHED, cookie)


OFFERS = st.builds(
    SynOffer, mss=st.sampled_from((64, 536, 1460, 8960)), scale=st.none() | st.integers(0, 14), sack=st.booleans()
)  # fmt: skip

ANSWERS = st.lists(
    st.sampled_from((MSS_1460, SACK_PERMITTED, b"\x03\x03\x00", WSCALE_7, b"\x03\x03\xff", TIMESTAMP, b"\1")),
    max_size=5,
    unique=True,
).map(lambda parts: b"".join(parts))


def test_syn_and_session_are_those_of_python(lane: Lane) -> None:
    """Byte for byte, for the same local endpoint and number: the SYN, what is sent on, and all that is known of the session."""
    seen = set[str]()

    @settings(max_examples=EXAMPLES, phases=[Phase.explicit, Phase.reuse, Phase.generate])
    @example(USUAL, b"x" * 1413, b"", True, 64240, C0, 1024, 1460)  # no room for the client's address
    @given(
        OFFERS, st.sampled_from((b"", b"d", DATA, b"x" * 1413)), ANSWERS, st.booleans(),
        st.integers(0, 65535), st.integers(0, MASK), st.integers(1, 65535), st.sampled_from((1500, 1460)),
    )  # fmt: skip
    def one(offer: SynOffer, data: bytes, options: bytes, toa: bool, window: int, isn: int, port: int, mtu: int) -> None:
        lane.clear()
        for slot in (0, 1):
            lane.set_real_server(slot, mtu)
        gateway = ProxiedGateway(lane, fullnat_toa_entry=toa)
        gateway.prepare()
        client = pack_endpoint(CLIENT_ADDRESS + port % 200, port)
        raw = gateway.proof(data, client, offer, isn, window=window)
        judged = gateway.put(raw)
        if "proven" not in judged.counted:
            assert toa
            assert mtu < len(raw) + 8
            assert (judged.verdict, judged.raw, judged.counted) == (UP, raw, {"up_syn": 1})
            assert lane.known_clients()
            lane.forget_known_clients()
            seen.add("up")
            return
        record = gateway.record
        answer = gateway.answer(options + b"\1" * (-len(options) % 4), seq=isn ^ 0x5A5A5A5A)
        check_like_python(gateway, raw, judged, record, answer, mtu)
        seen.add("joined")

    one()
    assert seen == {"up", "joined"}


def damaged(raw: bytes) -> bytes:
    return raw[:-1] + bytes((raw[-1] ^ 1,))


def test_what_is_unusual_goes_up_as_it_came_and_so_does_all_behind_it(lane: Lane) -> None:
    gateway = ProxiedGateway(lane)
    gateway.prepare()
    usual = Segment.parse(gateway.proof(b"data"))
    numbers = {"seq": usual.seq, "ack": usual.ack}
    for raw, why in (
        (damaged(usual.raw), "up_checksum"),
        (tcp(CLIENT, VIP, "FA", data=b"data", **numbers), "up_proof"),  # type: ignore[arg-type]
        (tcp(CLIENT, VIP, "UA", data=b"data", **numbers), "up_proof"),  # type: ignore[arg-type]
        (tcp(CLIENT, VIP, "A", data=b"data", options=TIMESTAMP + b"\1\1", **numbers), "up_proof"),
        (tcp(CLIENT, VIP, "A", data=b"d" * (PROOF_BYTES - 39), **numbers), "up_proof"),  # type: ignore[arg-type]
    ):
        judged = gateway.put(raw)
        assert (judged.verdict, judged.raw, judged.counted) == (UP, raw, {why: 1})
        assert gateway.put(usual.raw).counted == {"up_no_session": 1}, "its client is known"
        lane.forget_known_clients()
    assert not gateway.records()
    assert gateway.put(usual.raw).counted["proven"] == 1


def test_several_segments_in_one_go_up(lane: Lane) -> None:
    gateway = ProxiedGateway(lane)
    gateway.prepare()
    assert lane.put(gateway.proof(b"d" * 250), 0, gso_size=100).counted == {"up_segments": 1}


def test_a_service_without_admissions_for_proven_clients_has_them_judged_by_python(lane: Lane) -> None:
    gateway = ProxiedGateway(lane)
    gateway.prepare()
    lane.set_proven(VIP, None)
    assert gateway.put(gateway.proof()).counted == {"up_no_session": 1}
    assert lane.known_clients()


def test_a_wrong_cookie_takes_no_admission(lane: Lane) -> None:
    gateway = ProxiedGateway(lane)
    gateway.prepare()
    forged = tcp(CLIENT, VIP, "A", seq=C0 + 1, ack=77)
    assert lane.put(forged, 0, repeat=1000).counted == {"bad_cookie": 1000}
    assert lane.taken(0) == 0


def test_without_an_admission_it_goes_up(lane: Lane) -> None:
    gateway = ProxiedGateway(lane)
    assert gateway.put(gateway.proof()).counted == {"up_empty": 1}
    assert gateway.shard.handle(gateway.proof(), gateway.world.now) is TO_REAL_SERVER
    assert gateway.world.state() == "SYN_SENT"


def test_a_removed_real_server_gets_none(lane: Lane) -> None:
    gateway = ProxiedGateway(lane)
    gateway.prepare()
    for slot in (0, 1):
        lane.set_real_server(slot, flags=RealServerFlags.IS_REMOVED)
    assert gateway.put(gateway.proof()).counted == {"up_removed": 1}
    assert not lane.proofs()


def test_no_more_wait_than_there_is_room_for(lane: Lane) -> None:
    gateway = ProxiedGateway(lane)
    gateway.prepare()
    lane.fill_proofs(range(1 << 20, (1 << 20) + PROOFS))
    assert gateway.put(gateway.proof()).counted == {"up_proofs": 1}
    assert not gateway.records()
    gateway.shard.reconcile(100, gateway.world.now)
    assert gateway.world.counter("tickets_returned") == 1
    assert gateway.shard.handle(gateway.proof(), gateway.world.now) is TO_REAL_SERVER


def test_the_same_packet_again_asks_nobody_and_python_holds_it(lane: Lane) -> None:
    gateway = ProxiedGateway(lane)
    gateway.prepare()
    gateway.put(raw := gateway.proof(DATA))
    assert gateway.put(raw).counted == {"up_numbers": 1}
    assert gateway.shard.handle(raw, gateway.world.now) is HELD
    assert gateway.world.state() == "SYN_SENT"
    assert not lane.proofs(), "whoever has it goes on"
    more = tcp(CLIENT, VIP, "PA", seq=C0 + 1 + len(DATA), ack=Segment.parse(raw).ack, data=b"more")
    assert gateway.put(more).counted == {"up_held": 1}
    assert gateway.shard.handle(more, gateway.world.now) is HELD
    answer = gateway.answer()
    assert gateway.put(answer, 1).counted == {"up_held": 1}
    assert gateway.shard.handle(answer, gateway.world.now) is HANDSHAKE_PACKET
    sent = gateway.shard.output.segments
    assert [each[-4:] for each in sent] == [DATA[-4:], b"more"]
    record = gateway.record
    assert (record.state, record.is_held) == (TcpState.ESTABLISHED, False)
    last = tcp(CLIENT, VIP, "PA", seq=C0 + 5 + len(DATA), ack=Segment.parse(raw).ack, data=b"last")
    assert gateway.put(last).verdict == CARRIED
    back = tcp(record.real_server.packed, record.local.packed, "PA", seq=R0 + 1, ack=add(record.isn, 1), data=b"hello")
    judged = gateway.put(back, 1)
    assert judged.verdict == CARRIED
    assert Segment.parse(judged.raw).seq == add(record.cookie or 0, 1)


def test_an_answer_that_is_not_the_usual_one_is_for_python(lane: Lane) -> None:
    for change, verdict in (
        ({"flags": "SAE"}, HANDSHAKE_PACKET),
        ({"flags": "RA"}, HANDSHAKE_PACKET),
    ):
        lane.clear()
        gateway = ProxiedGateway(lane)
        gateway.prepare()
        gateway.put(gateway.proof(DATA))
        answer = gateway.answer(**change)  # type: ignore[arg-type]
        judged = gateway.put(answer, 1)
        assert (judged.verdict, judged.raw, judged.counted) == (UP, answer, {"up_answer": 1})
        assert gateway.shard.handle(answer, gateway.world.now) is verdict
        gateway.shard.output.segments.clear()


def test_a_client_hears_of_a_refusal(lane: Lane) -> None:
    gateway = ProxiedGateway(lane)
    gateway.prepare()
    gateway.put(raw := gateway.proof(DATA))
    gateway.shard.handle(gateway.answer(b"", "RA"), gateway.world.now)
    (reset,) = map(Segment.parse, gateway.shard.output.segments)
    assert (reset.key, reset.seq) == (Segment.parse(tcp(VIP, CLIENT, "R")).key, Segment.parse(raw).ack)
    assert gateway.world.counter("synproxy_rs_error") == 1
    assert not gateway.records()


def test_a_damaged_answer_moves_nothing(lane: Lane) -> None:
    gateway = ProxiedGateway(lane)
    gateway.prepare()
    gateway.put(gateway.proof())
    answer = gateway.answer()
    assert gateway.put(damaged(answer), 1).counted == {"up_checksum": 1}
    assert gateway.record.state == TcpState.SYN_SENT
    assert lane.proofs()


def test_an_answer_goes_up_when_a_shard_has_taken_the_packet(lane: Lane) -> None:
    gateway = ProxiedGateway(lane)
    gateway.prepare()
    gateway.put(gateway.proof(DATA))
    (entry,) = lane.proofs()
    assert gateway.maps.take_proof(entry) is not None
    assert gateway.put(gateway.answer(), 1).counted == {"up_race": 1}
    assert gateway.record.state == TcpState.SYN_SENT
    assert gateway.maps.take_proof(entry) is None


def test_one_that_takes_long_is_asked_again_by_python(lane: Lane) -> None:
    gateway = ProxiedGateway(lane)
    gateway.prepare()
    asked = gateway.put(gateway.proof(DATA)).raw
    world = gateway.world
    gateway.shard.reconcile(100, world.now + HANDSHAKE_MS / 1000)
    assert world.state() == "SYN_SENT"
    world.now = gateway.record.opened_ms / 1000
    gateway.shard.output.segments.clear()
    gateway.shard.on_tick(world.now + 0.9, 100)
    assert not gateway.shard.output.segments
    gateway.shard.on_tick(world.now + 1.2, 100)
    (again,) = gateway.shard.output.segments
    assert with_one_zero(again) == with_one_zero(asked)


def test_a_new_worker_goes_on_with_one_that_was_asked(lane: Lane) -> None:
    """The worker that prepared it was killed between the cookie and the answer. What is answered later, the next one joins."""
    gateway = ProxiedGateway(lane)
    gateway.prepare()
    gateway.put(raw := gateway.proof(DATA))
    shard = Shard(gateway.world.plan, gateway.world.shared, time.monotonic(), gateway.maps)
    assert shard.adopt(time.monotonic())[:3] == (1, 0, 0)
    assert not lane.proofs()
    assert gateway.put(raw).counted == {"up_held": 1}
    answer = gateway.answer()
    assert shard.handle(answer, time.monotonic()) is HANDSHAKE_PACKET
    assert [each[-len(DATA) :] for each in shard.output.segments] == [DATA]
    assert gateway.record.state == TcpState.ESTABLISHED
    back = tcp(
        gateway.record.real_server.packed,
        gateway.record.local.packed,
        "PA",
        seq=R0 + 1,
        ack=add(gateway.record.isn, 1),
        data=b"x",
    )
    assert gateway.put(back, 1).verdict == CARRIED


def test_both_ends_are_reset_when_the_packet_is_lost_with_a_worker(lane: Lane) -> None:
    gateway = ProxiedGateway(lane)
    gateway.prepare()
    gateway.put(raw := gateway.proof(DATA))
    assert gateway.shard.handle(raw, gateway.world.now) is HELD, "it has taken it"
    record = gateway.record
    shard = Shard(gateway.world.plan, gateway.world.shared, time.monotonic(), gateway.maps)
    assert shard.adopt(time.monotonic())[:3] == (0, 0, 1)
    resets = {(segment.key[:4], segment.seq) for segment in map(Segment.parse, shard.output.segments)}
    assert {(record.local.address, add(record.isn, 1)), (VIP[:4], Segment.parse(raw).ack)} <= resets
    assert not gateway.records()


def test_packets_of_sessions_that_are_gone_wait_no_more_behind_a_new_worker(lane: Lane) -> None:
    gateway = ProxiedGateway(lane)
    lane.fill_proofs(range(3))
    Shard(gateway.world.plan, gateway.world.shared, time.monotonic(), gateway.maps).adopt(time.monotonic())
    assert not lane.proofs()


def test_the_endpoint_of_a_proxied_session_serves_the_next_one(lane: Lane) -> None:
    """Nothing of the one before is left in the record: a plain session is a plain one."""
    gateway = ProxiedGateway(lane)
    gateway.prepare()
    gateway.put(gateway.proof(DATA))
    gateway.put(gateway.answer(), 1)
    entry = next(entry for entry in range(lane.entries) if int.from_bytes(lane.bytes_of(entry)[:2], "little"))
    assert decode(lane.bytes_of(entry)).outbound_seq_delta
    session = gateway.session()
    assert session.entry == entry
    lane.set_proven(VIP, None)
    lane.set_admissions(VIP, 0)
    lane.set_stray_rule(VIP, None)
    again = bytearray(lane.bytes_of(entry))
    again[:2] = bytes(2)
    lane.clear()
    lane.write(entry, bytes(again))
    lane.offer(0, entry)
    syn = tcp(pack_endpoint(CLIENT_ADDRESS + 1, 77), VIP, "S", seq=9, options=MSS_1460)
    assert "opened" in gateway.put(syn).counted
    record = decode(lane.bytes_of(entry))
    assert (record.cookie, record.outbound_seq_delta, record.inbound_ack_delta) == (None, 0, 0)
    assert (record.inbound_window_shift, record.outbound_window_shift) == (0, 0)


def test_it_goes_to_the_client_in_the_numbers_of_its_cookie(lane: Lane) -> None:
    gateway = ProxiedGateway(lane)
    gateway.prepare()
    gateway.put(raw := gateway.proof(DATA))
    gateway.put(gateway.answer(), 1)
    record = gateway.record
    back = tcp(record.real_server.packed, record.local.packed, "PA", seq=R0 + 1, ack=add(record.isn, 20), data=b"hello")
    judged = gateway.put(back, 1)
    assert judged.verdict == CARRIED
    seen = Segment.parse(judged.raw)
    assert (seen.seq, seen.ack) == (Segment.parse(raw).ack, add(C0, 20))
