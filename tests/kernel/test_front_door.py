"""SYNs that the kernel answers with cookies: the answer of Python, byte for byte, or none and the SYN goes up as it came."""

import os
import time
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.ipc.front_door import FrontDoor
from appliance.ipc.lane_layout import LATCHES, NO_LATCH, SLOTS
from appliance.model.counters import SYN_CNT
from appliance.model.syn_cookie import SLOT_S, SLOTS_PER_KEY, epoch_of
from appliance.model.syn_offer import AnswerTerms, path_mss
from appliance.model.tcp_state import TcpState
from appliance.model.verdicts import COOKIE_SENT
from appliance.policy.steering import HASH_SEED
from appliance.proxy.cookie import CookieJar
from appliance.wire.flow import pack_endpoint
from appliance.wire.segment import Segment
from appliance.wire.seq import add
from tests.kernel.jhash import slot_of_client
from tests.kernel.lane import CARRIED, UP, Judged, Lane, one_hop_less, with_one_zero
from tests.kernel.lives import Lives
from tests.support.addresses import C0, CLIENT, CLIENT_ADDRESS, RS1, VIP, VIP_ADDRESS
from tests.support.segments import fragments, tcp
from tests.support.tcp_options import LINUX_SYN, MSS_1460, SACK_PERMITTED, WSCALE_7
from tests.support.world import World, plan

_USUAL_EXAMPLES = 900
EXAMPLES = int(os.environ.get("LANE_LIVES", _USUAL_EXAMPLES))
"""Fewer where the machine is slow."""

TERMS = {
    "synproxy_init_mss": (1452, 0, 64, 536, 1300, 65535),
    "synproxy_ack_skb_store_thresh": (3, 0, 5),
    "synproxy_synack_ttl": (63, 1, 254, 255),
    "synproxy_sack": (1, 0),
    "synproxy_wscale": (1, 0),
    "fullnat_mss_adjust_entry": (1, 0),
}
"""The tunables that an answer shows, with values at and beside their edges."""


class Door:
    """A shard whose service always answers with cookies, and the kernel's front door with what that shard goes by."""

    def __init__(self, lane: Lane, mtu: int = 1500, first_latch: int = NO_LATCH, **tunables: int) -> None:
        self.lane = lane
        self.world = World(plan(synproxy="always"), **tunables)
        self.world.shared.set_mtus({0: mtu})
        self.world.now = time.monotonic()
        self.secret = bytes.fromhex(self.world.plan.cookie_secret)
        terms = AnswerTerms.of(self.world.shared.tunable)
        adjust = bool(self.world.shared.tunable("fullnat_mss_adjust_entry"))
        lane.set_front_door(VIP, FrontDoor.of(terms, path_mss(mtu, leaves_room=adjust), first_latch))
        lane.set_cookie_key(self.secret, epoch_of(time.monotonic()))

    def answers(self, syn: bytes) -> tuple[bytes, Judged]:
        """What Python and the kernel answer in one slot of time."""
        while True:
            start = time.monotonic()
            assert self.world.shard.handle(syn, start) is COOKIE_SENT
            judged = self.lane.put(syn, 0)
            if start // SLOT_S == time.monotonic() // SLOT_S:
                return self.world.shard.output.rewritten, judged
            self.lane.set_cookie_key(self.secret, epoch_of(time.monotonic()))


@pytest.fixture(autouse=True)
def closed_again(lane: Lane) -> Iterator[None]:
    lane.set()
    yield
    lane.clear()
    lane.latches[:] = bytes(len(lane.latches))
    lane.set_front_door(VIP, None)
    lane.forget_cookie_keys()


def is_sound(raw: bytes) -> bool:
    return tcp_sum(raw) % 0xFFFF == 0


def tcp_sum(raw: bytes) -> int:
    body = raw[12:] + b"\0" * (len(raw) % 2)
    return sum(int.from_bytes(body[at : at + 2], "big") for at in range(0, len(body), 2)) + 6 + len(raw) - 20


OPTIONS = st.lists(
    st.one_of(
        st.integers(0, 0xFFFF).map(lambda mss: bytes((2, 4)) + mss.to_bytes(2, "big")),
        st.sampled_from((63, 64, 535, 536, 1219, 1220, 1459, 1460, 8959, 8960)).map(
            lambda mss: b"\x02\x04" + mss.to_bytes(2, "big")
        ),
        st.integers(0, 255).map(lambda shift: bytes((3, 3, shift))),
        st.sampled_from(
            (b"\x04\x02", b"\x01", b"\x00", b"\x08\x0a12345678", b"\x02\x03\x05", b"\x03\x02", b"\x04\x03\x09", b"\x01" * 3)
        ),
        st.binary(min_size=1, max_size=6),
    ),
    max_size=8,
).map(lambda parts: padded(b"".join(parts)[:40]))


def padded(options: bytes) -> bytes:
    return options + b"\0" * (-len(options) % 4)


SYNS = st.builds(
    lambda host, port, flags, seq, options, data, window: tcp(
        pack_endpoint(CLIENT_ADDRESS + host, port), VIP, flags, seq=seq, options=options, data=data, window=window
    ),
    st.integers(0, 200),
    st.integers(1, 65535),
    st.sampled_from(("S", "SP", "SU", "SPU", "SEW")),
    st.integers(0, 2**32 - 1) | st.sampled_from((0, 2**32 - 1)),
    OPTIONS | st.sampled_from((LINUX_SYN, MSS_1460, b"")),
    st.binary(max_size=9) | st.just(b"d" * 1400),
    st.integers(0, 65535),
)


def test_the_answer_is_that_of_python_byte_for_byte(lane: Lane) -> None:
    """Whatever the SYN, the terms and the MTU are; and Python finds in the cookie what it would have put there."""
    settled: dict[str, int] = {}

    @settings(max_examples=EXAMPLES)
    @given(
        SYNS,
        st.fixed_dictionaries({name: st.sampled_from(values) for name, values in TERMS.items()}),
        st.sampled_from((68, 576, 1500, 9000, 65535)),
    )
    def one(syn: bytes, terms: dict[str, int], mtu: int) -> None:
        door = Door(lane, mtu, **terms)
        python, kernel = door.answers(syn)
        assert (kernel.verdict, kernel.counted) == (CARRIED, {"cookie_sent": 1})
        assert with_one_zero(kernel.raw) == with_one_zero(one_hop_less(python))
        assert is_sound(kernel.raw)
        answer = Segment.parse(kernel.raw)
        assert CookieJar(door.secret).check(Segment.parse(syn).key, add(answer.ack, -1), answer.seq, time.monotonic()) is not None
        settled[f"{len(answer.options)} bytes of options"] = 1

    one()
    if EXAMPLES >= _USUAL_EXAMPLES:
        assert len(settled) == 4, "no option, one, two and three were seen"


def test_each_tunable_of_the_answer_shows_in_it(lane: Lane) -> None:
    """So none of them is forgotten in what the kernel is given."""
    usual = Door(lane).answers(tcp(CLIENT, VIP, "S", seq=C0, options=LINUX_SYN))[1].raw
    for name, values in TERMS.items():
        tunables = {"synproxy_init_mss": 0, name: values[1]} if name == "fullnat_mss_adjust_entry" else {name: values[1]}
        python, kernel = Door(lane, **tunables).answers(tcp(CLIENT, VIP, "S", seq=C0, options=LINUX_SYN))
        assert with_one_zero(kernel.raw) == with_one_zero(one_hop_less(python)), name
        assert kernel.raw[8:20] + kernel.raw[32:] != usual[8:20] + usual[32:], name


def test_a_syn_is_counted_once_wherever_it_is_answered(lane: Lane) -> None:
    door = Door(lane)
    _, kernel = door.answers(tcp(CLIENT, VIP, "S", seq=C0, options=LINUX_SYN))
    assert kernel.counted == {"cookie_sent": 1}
    assert door.world.shared.table(0, "ext")[SYN_CNT] >= 1


def test_a_frame_with_padding_is_answered(lane: Lane) -> None:
    Door(lane)
    judged = lane.put(tcp(CLIENT, VIP, "S", seq=C0), 0, padding=b"pad-ding")
    assert (judged.verdict, len(judged.raw), is_sound(judged.raw)) == (CARRIED, 40, True)


def damaged(raw: bytes) -> bytes:
    return raw[:-1] + bytes((raw[-1] ^ 1,))


SYN = tcp(CLIENT, VIP, "S", seq=C0, options=LINUX_SYN)


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (damaged(SYN), "up_checksum"),
        (SYN[:10] + b"\0\0" + SYN[12:], "up_no_session"),
        (fragments(SYN + bytes(40), 24)[0], "up_ip"),
        (b"\x46" + SYN[1:], "up_ip"),
        (tcp(CLIENT, VIP, "SA", seq=C0), "up_no_session"),
        (tcp(CLIENT, VIP, "SF", seq=C0), "up_no_session"),
        (tcp(CLIENT, VIP, "SR", seq=C0), "up_no_session"),
        (tcp(CLIENT, VIP, "A", seq=C0), "up_no_session"),
        (tcp(CLIENT, pack_endpoint(VIP_ADDRESS, 81), "S", seq=C0), "up_no_session"),
        (tcp(VIP, VIP, "S", seq=C0), "up_side"),
        (tcp(bytes((127, 0, 0, 1, 9, 9)), VIP, "S", seq=C0), "up_side"),
        (tcp(bytes((0, 1, 2, 3, 9, 9)), VIP, "S", seq=C0), "up_side"),
        (tcp(bytes((224, 0, 0, 1, 9, 9)), VIP, "S", seq=C0), "up_side"),
        (tcp(bytes((198, 18, 0, 1, 9, 9)), VIP, "S", seq=C0), "up_route"),
        (tcp(pack_endpoint(CLIENT_ADDRESS - 1, 99), VIP, "S", seq=C0), "up_route"),
        (tcp(RS1, VIP, "S", seq=C0), "up_side"),
    ],
)
def test_what_is_unusual_goes_up_as_it_came(lane: Lane, raw: bytes, why: str) -> None:
    """A source that is the gateway's own, no host's, or on the side of the real servers among it."""
    Door(lane)
    judged = lane.put(raw, 0)
    assert (judged.verdict, judged.raw) == (UP, raw)
    assert set(judged.counted) == ({"up_checksum"} if raw[10:12] == b"\0\0" and why == "up_no_session" else {why})


def test_a_syn_from_the_side_of_the_real_servers_goes_up(lane: Lane) -> None:
    Door(lane)
    assert lane.put(SYN, 1).counted == {"up_side": 1}


def test_several_segments_in_one_packet_are_no_syn_of_a_host(lane: Lane) -> None:
    Door(lane)
    syn = tcp(CLIENT, VIP, "S", seq=C0, data=b"d" * 100)
    assert lane.put(syn, 0, gso_size=50).counted == {"up_segments": 1}


def test_nothing_is_answered_while_the_lane_is_closed(lane: Lane) -> None:
    Door(lane)
    lane.set(is_open=0)
    assert lane.put(SYN, 0).counted == {"up_closed": 1}


def test_without_the_key_of_this_moment_a_syn_goes_up(lane: Lane) -> None:
    door, epoch = Door(lane), epoch_of(time.monotonic())
    for other in (epoch - 1, epoch + 1) if epoch else (epoch + 1,):
        lane.forget_cookie_keys()
        lane.set_cookie_key(door.secret, other)
        assert lane.put(SYN, 0).counted == {"up_key": 1}
    lane.set_cookie_key(door.secret, epoch + 2)
    assert lane.put(SYN, 0).counted == {"up_key": 1}, "it has the place of the right one"
    lane.set_cookie_key(door.secret, epoch)
    lane.set_cookie_key(door.secret, epoch + 1)
    assert lane.put(SYN, 0).counted == {"cookie_sent": 1}
    assert SLOTS_PER_KEY % 2 == 0


@pytest.mark.parametrize("is_whole", [True, False])
def test_a_syn_on_a_session_in_the_lane_goes_up(lane: Lane, is_whole: bool) -> None:
    """Also while its entry has got another session: Python judges whether a connection begins anew."""
    world = World()
    lives = Lives(lane, world)
    lives.put(tcp(CLIENT, VIP, "S", seq=C0, options=LINUX_SYN), 0)
    (session,) = world.sessions()
    assert session.state == TcpState.SYN_RECV
    Door(lane)
    if not is_whole:
        lane.records[:] = bytes(len(lane.records))
    judged = lane.put(tcp(CLIENT, VIP, "S", seq=C0 + 99, options=LINUX_SYN), 0)
    assert (judged.verdict, set(judged.counted)) == (UP, {"up_flags"} if is_whole else {"up_no_session"})


def test_options_have_the_places_that_python_gives_them(lane: Lane) -> None:
    for options in (MSS_1460, SACK_PERMITTED + b"\0\0", WSCALE_7 + b"\0", SACK_PERMITTED + WSCALE_7 + b"\0\0\0"):
        python, kernel = Door(lane).answers(tcp(CLIENT, VIP, "S", seq=C0, options=options))
        assert kernel.raw[40:] == python[40:]


def test_a_door_with_a_latch_answers_while_that_is_open(lane: Lane) -> None:
    door = Door(lane, first_latch=7)
    lane.set_steering(HASH_SEED, bytes(SLOTS))
    judged = lane.put(SYN, 0)
    assert (judged.verdict, judged.raw, judged.counted) == (UP, SYN, {"up_no_session": 1})
    lane.set_latch(7, is_open=True)
    python, kernel = door.answers(SYN)
    assert with_one_zero(kernel.raw) == with_one_zero(one_hop_less(python))
    assert (kernel.counted, lane.cookies_at(7)) == ({"cookie_sent": 1}, 1)
    lane.set_latch(7, is_open=False)
    assert lane.put(SYN, 0).counted == {"up_no_session": 1}
    assert not any(lane.cookies_at(number) for number in range(16))


def test_cookies_are_counted_and_timed_at_the_latch_and_nothing_else_is(lane: Lane) -> None:
    Door(lane, first_latch=0)
    lane.set_steering(HASH_SEED, bytes(SLOTS))
    lane.set_latch(0, is_open=True)
    start = time.monotonic_ns()
    lane.put(SYN, 0)
    for raw in (damaged(SYN), tcp(CLIENT, VIP, "A", seq=C0), tcp(CLIENT, pack_endpoint(VIP_ADDRESS, 81), "S", seq=C0)):
        lane.put(raw, 0)
    assert lane.cookies_at(0) == 1
    first = lane.latch(0)["last_cookie_ns"]
    assert start <= first < time.monotonic_ns()
    lane.put(SYN, 0)
    assert lane.latch(0)["last_cookie_ns"] > first
    assert lane.cookies_at(0) == 2
    Door(lane)
    assert lane.put(SYN, 0).counted == {"cookie_sent": 1}
    assert lane.cookies_at(0) == 2, "a door that is open to all has no latch"


def test_each_shard_has_its_own_clients_answered(lane: Lane) -> None:
    """Those whose packets netfilter gives to it."""
    Door(lane, first_latch=10)
    shards = bytes(slot % 3 for slot in range(SLOTS))
    lane.set_steering(HASH_SEED, shards)
    lane.set_latch(11, is_open=True)
    answered = {0: 0, 1: 0, 2: 0}
    for port in range(1000, 1060):
        client = pack_endpoint(CLIENT_ADDRESS, port)
        shard = shards[slot_of_client(client, HASH_SEED)]
        judged = lane.put(tcp(client, VIP, "S", seq=C0), 0)
        assert judged.counted == ({"cookie_sent": 1} if shard == 1 else {"up_no_session": 1})
        answered[shard] += 1
    assert all(answered.values())
    assert [lane.cookies_at(number) for number in (10, 11, 12)] == [0, answered[1], 0]


def test_what_a_closed_latch_lets_pass_may_open_a_session(lane: Lane) -> None:
    """By a ticket, when there is one; and no SYN gets one while the latch is open."""
    Door(lane, first_latch=0)
    lane.set_steering(HASH_SEED, bytes(SLOTS))
    lane.set_admissions(VIP, 0)
    lane.offer_void_tickets(1)
    try:
        assert lane.put(SYN, 0).counted == {"up_empty": 1}
        assert lane.taken(0) == 1
        lane.set_latch(0, is_open=True)
        assert lane.put(SYN, 0).counted == {"cookie_sent": 1}
        assert lane.taken(0) == 1
    finally:
        lane.set_admissions(VIP, None)


def test_a_latch_counts_as_closed_while_half_open_sessions_may_be_outside_of_the_lane(lane: Lane) -> None:
    """A SYN that is sent again would get another answer than the first one."""
    Door(lane, first_latch=0)
    lane.set_steering(HASH_SEED, bytes(SLOTS))
    lane.set_latch(0, is_open=True)
    lane.outside[63] = 1
    assert lane.put(SYN, 0).counted == {"up_no_session": 1}
    lane.outside[63] = 0
    assert lane.put(SYN, 0).counted == {"cookie_sent": 1}


def test_a_latch_that_is_none_is_closed(lane: Lane) -> None:
    Door(lane, first_latch=LATCHES)
    lane.set_steering(HASH_SEED, bytes(SLOTS))
    assert lane.put(SYN, 0).counted == {"up_no_session": 1}
