"""Packets of no session that the kernel ends: those that Python drops, by the same reason and counters, and no others."""

import os
import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from hypothesis import Phase, example, given, settings
from hypothesis import strategies as st

from appliance.ipc.stray_rule import StrayRule
from appliance.model.counters import BAD_ACK, NULL_ACK
from appliance.model.syn_cookie import SLOT_S, SLOTS, SLOTS_PER_KEY, epoch_of
from appliance.model.syn_offer import SynOffer
from appliance.model.verdict import Verdict
from appliance.model.verdicts import (
    BAD_CHECKSUM,
    BAD_COOKIE,
    BAD_FLAGS,
    COOKIE_SENT,
    HELD,
    KEEPALIVE_ANSWERED,
    NO_SESSION,
    NOT_OURS,
    NULL_COOKIE_ACK,
    OUTDATED_COOKIE,
    TO_REAL_SERVER,
)
from appliance.policy.defence import TCP
from appliance.proxy.cookie import CookieJar
from appliance.shard.shard import Shard
from appliance.wire.flow import pack_endpoint
from appliance.wire.layout import SYN
from appliance.wire.segment import Segment
from appliance.wire.seq import MASK, add
from tests.kernel.lane import DROPPED, UP, Judged, Lane
from tests.kernel.lives import Lives
from tests.support.addresses import C0, CLIENT, CLIENT_ADDRESS, RS1, VIP
from tests.support.segments import tcp
from tests.support.tcp_options import LINUX_SYN
from tests.support.world import World, plan

EXAMPLES = int(os.environ.get("LANE_LIVES", "900"))
"""Fewer where the machine is slow."""

LIFE_S, KEY_S = SLOT_S * SLOTS, SLOT_S * SLOTS_PER_KEY
TIMESTAMPS = b"\x01\x01\x08\x0a12345678"
OFFERS = (SynOffer(1460, 7, sack=True), SynOffer(536, None, sack=False), SynOffer(8960, 14, sack=False))


class Scene:
    """A shard whose clients all have to return a cookie, and the kernel's rule for its service."""

    def __init__(self, lane: Lane, *, defer: int = 0, allowance: int = 0, **tunables: int) -> None:
        self.lane = lane
        self.world = World(plan(synproxy="always"), synproxy_defer=defer, **tunables)
        self.secret = bytes.fromhex(self.world.plan.cookie_secret)
        self.jar = CookieJar(self.secret)
        self.rule = StrayRule(cookies=True, defers=bool(defer), drops=False, reserved=0, allowance=allowance)
        lane.set_stray_rule(VIP, self.rule)
        self.world.now = time.monotonic()
        self.world.shard = Shard(self.world.plan, self.world.shared, self.world.now)  # which begins at that time
        for epoch in range(max(0, epoch_of(self.world.now) - 1), epoch_of(self.world.now) + 2):
            lane.set_cookie_key(self.secret, epoch)

    def cookie(self, isn: int = C0, client: bytes = CLIENT, age_s: float = 0.0, offer: SynOffer = OFFERS[0]) -> int:
        key = Segment.parse(tcp(client, VIP, "S", seq=isn)).key
        return self.jar.bake(key, isn, offer, max(0.0, time.monotonic() - age_s))

    def judged(self, raw: bytes) -> Judged:
        return self.lane.put(raw, 0)


@pytest.fixture(autouse=True)
def closed_again(lane: Lane) -> Iterator[None]:
    lane.set()
    lane.clear()
    lane.forget_known_clients()
    yield
    lane.clear()
    lane.set_stray_rule(VIP, None)
    lane.forget_cookie_keys()
    lane.forget_known_clients()


class Made(NamedTuple):
    """How a packet is made, and the cookie that it returns."""

    host: int
    isn: int
    age_s: int
    """How long ago the cookie was made."""
    off_by: int
    """What is added to it."""
    ahead: int
    """How far the packet's number is behind the initial one: 1 for the first packet, 0 for a keepalive probe."""
    other_key: bool
    flags: str
    data: bytes
    options: bytes
    is_damaged: bool
    offer: SynOffer
    defer: int

    def packet(self, scene: Scene) -> bytes:
        client = pack_endpoint(CLIENT_ADDRESS + self.host, 40000)
        jar = CookieJar(b"another secret!!") if self.other_key else scene.jar
        key = Segment.parse(tcp(client, VIP, "S", seq=self.isn)).key
        cookie = jar.bake(key, self.isn, self.offer, max(0.0, time.monotonic() - self.age_s)) + self.off_by & MASK
        raw = tcp(
            client, VIP, self.flags, seq=add(self.isn, self.ahead), ack=add(cookie, 1), data=self.data, options=self.options
        )  # fmt: skip
        return raw[:-1] + bytes((raw[-1] ^ 1,)) if self.is_damaged else raw


MADE = st.builds(
    Made,
    host=st.integers(0, 200),
    isn=st.integers(0, MASK) | st.sampled_from((0, MASK)),
    age_s=st.just(0) | st.sampled_from((0, SLOT_S, LIFE_S - SLOT_S, LIFE_S, LIFE_S + SLOT_S, KEY_S, 2 * KEY_S)),
    off_by=st.just(0) | st.sampled_from((1, -1, 1 << 21, 1 << 29, 1 << 30, 1 << 31, 3 << 30)),
    ahead=st.just(1) | st.sampled_from((0, 1, 2, 1461)),
    other_key=st.sampled_from((False, False, False, True)),
    flags=st.just("A") | st.sampled_from(("A", "PA", "FA", "FPA", "UA", "R", "RA", "SA")),
    data=st.sampled_from((b"", b"", b"d", b"data", b"d" * 1400)),
    options=st.sampled_from((b"", TIMESTAMPS)),
    is_damaged=st.sampled_from((False, False, False, True)),
    offer=st.sampled_from(OFFERS),
    defer=st.sampled_from((0, 1)),
)

USUAL = Made(0, C0, 0, 0, 1, other_key=False, flags="PA", data=b"data", options=b"", is_damaged=False, offer=OFFERS[0], defer=0)
"""The first data of a client that was proven."""

_DROPS = {BAD_COOKIE: "bad_cookie", NULL_COOKIE_ACK: "null_cookie_ack"}
_OF_RIGHT_COOKIES = (TO_REAL_SERVER, BAD_CHECKSUM, KEEPALIVE_ANSWERED)


def moved(world: World, before: list[int]) -> tuple[int, int]:
    """By how much `synproxy_bad_ack` and `synproxy_null_ack` moved."""
    after = world.shared.table(0, "ext").tolist()
    return after[BAD_ACK] - before[BAD_ACK], after[NULL_ACK] - before[NULL_ACK]


def of_both(scene: Scene, raw: bytes) -> tuple[Verdict, tuple[int, int], Judged]:
    """What Python and the kernel make of a packet in one slot of time."""
    while True:
        start = time.monotonic()
        before = scene.world.shared.table(0, "ext").tolist()
        verdict = scene.world.shard.handle(raw, start)
        numbers, judged = moved(scene.world, before), scene.judged(raw)
        if start // SLOT_S == time.monotonic() // SLOT_S:
            return verdict, numbers, judged
        scene = Scene(scene.lane, defer=scene.rule.defers)


def test_a_packet_ends_by_the_verdict_of_python(lane: Lane) -> None:
    """Whatever the cookie: right, wrong, too old, of the key before, of another gateway; with data, with options, damaged."""
    seen: dict[str, int] = {}

    @settings(max_examples=EXAMPLES, phases=[Phase.explicit, Phase.reuse, Phase.generate])
    @given(MADE)
    @example(USUAL)
    @example(USUAL._replace(is_damaged=True))
    @example(USUAL._replace(data=b"", defer=1))
    @example(USUAL._replace(data=b"", defer=1, ahead=0))
    @example(USUAL._replace(data=b"", defer=1, off_by=1))
    @example(USUAL._replace(off_by=1))
    @example(USUAL._replace(age_s=LIFE_S + SLOT_S))
    def one(made: Made) -> None:
        lane.forget_known_clients()
        scene = Scene(lane, defer=made.defer)
        raw = made.packet(scene)
        verdict, (bad, null), judged = of_both(scene, raw)
        assert judged.raw == raw
        if judged.verdict == DROPPED:
            (name,) = judged.counted
            if verdict is not OUTDATED_COOKIE:  # that one has an answer, which is for those that still go up
                assert (name, bad, null) == (_DROPS[verdict], name == "bad_cookie", name == "null_cookie_ack")
        else:
            assert judged.verdict == UP
            assert verdict in _OF_RIGHT_COOKIES or made.flags in ("R", "RA", "SA"), (verdict.name, judged.counted)
        what = f"{judged.verdict} {verdict.name}"
        seen[what] = seen.get(what, 0) + 1

    one()
    too_old = (OUTDATED_COOKIE,) if time.monotonic() > 2 * LIFE_S else ()  # since the machine was started
    for wanted in (BAD_COOKIE, NULL_COOKIE_ACK, *too_old):
        assert seen.get(f"{DROPPED} {wanted.name}"), wanted
    for wanted in _OF_RIGHT_COOKIES:
        assert seen.get(f"{UP} {wanted.name}"), wanted


FLAGS = [letters for mask in range(64) if (letters := "".join(flag for bit, flag in enumerate("FSRPAU") if mask >> bit & 1))]
"""All combinations but none at all."""


@pytest.mark.parametrize("mode", ["never", "always"])
@pytest.mark.parametrize("defence", [0, 1])
def test_each_combination_of_flags_ends_as_in_python(lane: Lane, mode: str, defence: int) -> None:
    """With and without cookies; and without the defence, which leaves strays to the host, or to a shard that counts bad flags."""
    scene = Scene(lane, defence_tcp_drop=defence)
    scene.world = world = World(plan(synproxy=mode), synproxy_defer=0, defence_tcp_drop=defence)
    drops, rule = bool(defence), scene.rule
    lane.set_stray_rule(VIP, rule._replace(cookies=mode == "always", drops=drops))
    names = {NO_SESSION: "stray", BAD_FLAGS: "bad_flags", BAD_COOKIE: "bad_cookie"}
    for flags in FLAGS:
        raw = tcp(CLIENT, VIP, flags, seq=C0 + 1, ack=77)
        if Segment.parse(raw).opening_flags == SYN:
            continue
        before = world.shared.table(0, "ext").tolist()
        verdict, judged = world.shard.handle(raw, time.monotonic()), scene.judged(raw)
        moved_ext = [after - was for after, was in zip(world.shared.table(0, "ext").tolist(), before, strict=True)]
        if judged.verdict == DROPPED:
            assert judged.counted == {names[verdict]: 1}, flags
            assert moved_ext[BAD_ACK if verdict is BAD_COOKIE else TCP.place] == 1, flags
        else:
            assert not defence, flags
            assert verdict in (NOT_OURS, BAD_FLAGS), flags


def test_only_what_may_have_an_answer_has_an_allowance(lane: Lane) -> None:
    scene = Scene(lane)
    rule = scene.rule._replace(cookies=False, drops=True, allowance=1_000_000)
    lane.set_stray_rule(VIP, rule)
    ups = {
        flags
        for flags in ("A", "PA", "FA", "SA", "R", "RA", "F", "", "FPU")
        if lane.put_only(tcp(CLIENT, VIP, flags, ack=7)) == UP
    }
    assert ups == {"A", "PA", "FA", "SA"}


def wrong(client: bytes = CLIENT, seq: int = C0 + 1, data: bytes = b"data") -> bytes:
    return tcp(client, VIP, "PA", seq=seq, ack=77, data=data)


def test_both_keys_are_honoured(lane: Lane) -> None:
    """A cookie of the hour before is right in the first minutes of the next, and wrong in no minute for lack of its key."""
    scene, now = Scene(lane), time.monotonic()
    raw = tcp(CLIENT, VIP, "PA", seq=C0 + 1, ack=add(scene.cookie(age_s=2 * SLOT_S), 1), data=b"d")
    made_in = epoch_of(max(0.0, now - 2 * SLOT_S))
    assert scene.judged(raw).verdict == UP
    assert lane.known_clients()
    lane.forget_known_clients()
    lane.forget_cookie_keys()
    assert scene.judged(raw).verdict == UP, "without the key nobody can say"
    assert not lane.known_clients()
    lane.set_cookie_key(b"another secret!!", made_in)
    assert scene.judged(raw).counted == {"bad_cookie": 1}


def test_a_client_that_was_proven_is_judged_by_python(lane: Lane) -> None:
    """Its data goes up that comes before the shard has opened its session, and while the real server is asked."""
    scene = Scene(lane)
    first = tcp(CLIENT, VIP, "A", seq=C0 + 1, ack=add(cookie := scene.cookie(), 1))
    second = tcp(CLIENT, VIP, "PA", seq=C0 + 1461, ack=add(cookie, 1), data=b"more")
    assert scene.judged(second).counted == {"bad_cookie": 1}
    assert scene.judged(first).verdict == UP
    assert scene.judged(second).verdict == UP
    assert scene.world.shard.handle(first, time.monotonic()) is TO_REAL_SERVER
    assert scene.world.shard.handle(second, time.monotonic()) is HELD
    assert scene.judged(wrong(pack_endpoint(CLIENT_ADDRESS, 40001))).verdict == DROPPED, "another port of the same client"


def test_a_right_cookie_without_the_data_that_is_awaited_ends_in_the_kernel(lane: Lane) -> None:
    """However many may go up: no shard has an answer to one. Its client is not known by that, and its data is looked at."""
    scene = Scene(lane, defer=1, allowance=1_000_000)
    cookie = scene.cookie()
    assert scene.judged(tcp(CLIENT, VIP, "A", seq=C0 + 1, ack=add(cookie, 1))).counted == {"null_cookie_ack": 1}
    assert not lane.known_clients()
    assert scene.judged(tcp(CLIENT, VIP, "PA", seq=C0 + 1, ack=add(cookie, 1), data=b"d")).verdict == UP
    assert lane.known_clients()


def test_a_client_whose_session_leaves_the_lane_is_known(lane: Lane) -> None:
    """It begins a new connection on the ports of an old one, whose packets the kernel has handed on to Python."""
    world = World()
    lives = Lives(lane, world)
    lives.put(tcp(CLIENT, VIP, "S", seq=C0, options=LINUX_SYN), 0)
    scene = Scene(lane)
    assert lane.put(tcp(CLIENT, VIP, "R", seq=C0 + 1), 0).counted == {"up_flags": 1}
    lane.clear()
    assert scene.judged(wrong()).verdict == UP


def test_a_real_servers_packet_makes_no_client_known(lane: Lane) -> None:
    world = World()
    lives = Lives(lane, world)
    lives.put(tcp(CLIENT, VIP, "S", seq=C0, options=LINUX_SYN), 0)
    (session,) = world.sessions()
    lane.forget_known_clients()
    local = session.leaving_key(0)
    ends = local[:4] + local[8:10], local[4:8] + local[10:12]
    assert lane.put(tcp(ends[1], ends[0], "R", seq=1), 1).counted == {"up_answer": 1}
    assert not lane.known_clients()


def test_everything_goes_up_while_a_shard_has_sessions_outside(lane: Lane) -> None:
    scene = Scene(lane)
    for shard in (0, len(lane.outside) - 1):
        lane.outside[shard] = 1
        assert scene.judged(wrong()).counted == {"up_no_session": 1}
        lane.outside[shard] = 0
        assert scene.judged(wrong()).counted == {"bad_cookie": 1}


def test_some_go_up_in_each_window(lane: Lane) -> None:
    """A shard may have an answer to them, so the first ones are its own. There are no more in one window than the rule says."""
    scene = Scene(lane, allowance=3)
    counted = lane.put(wrong(), 0, repeat=100_000).counted
    assert counted["bad_cookie"] > counted["up_no_session"] >= scene.rule.allowance


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (wrong(RS1), "up_side"),
        (wrong(VIP), "up_side"),
        (wrong(bytes((127, 0, 0, 1, 9, 9))), "up_side"),
        (wrong(bytes((198, 18, 0, 1, 9, 9))), "up_route"),
        (wrong(pack_endpoint(CLIENT_ADDRESS - 1, 99)), "up_route"),
        (tcp(CLIENT, pack_endpoint(CLIENT_ADDRESS, 81), "A", seq=C0, ack=77), "up_no_session"),
    ],
)
def test_what_no_client_sends_goes_up_as_it_came(lane: Lane, raw: bytes, why: str) -> None:
    scene = Scene(lane)
    judged = scene.judged(raw)
    assert (judged.verdict, judged.raw, judged.counted) == (UP, raw, {why: 1})
    assert lane.put(wrong(), 1).counted == {"up_side": 1}, "it comes from the side of the real servers"


def test_several_segments_in_one_packet_are_counted_one_by_one(lane: Lane) -> None:
    """As a shard gets them."""
    scene = Scene(lane)
    raw = tcp(CLIENT, VIP, "A", seq=C0 + 99, ack=77, data=b"d" * 250)
    assert lane.put(raw, 0, gso_size=100).counted == {"bad_cookie": 3}
    assert scene.world.shard.handle(raw, time.monotonic()) is BAD_COOKIE


def test_without_a_rule_or_a_lane_all_go_up(lane: Lane) -> None:
    scene = Scene(lane)
    lane.set(is_open=0)
    assert scene.judged(wrong()).counted == {"up_closed": 1}
    lane.set()
    assert scene.judged(wrong()).counted == {"bad_cookie": 1}
    lane.set_stray_rule(VIP, None)
    assert scene.judged(wrong()).counted == {"up_no_session": 1}


def test_a_syn_is_not_judged_here(lane: Lane) -> None:
    scene = Scene(lane)
    syn = tcp(CLIENT, VIP, "S", seq=C0, options=LINUX_SYN)
    assert scene.judged(syn).verdict == UP
    assert scene.world.shard.handle(syn, time.monotonic()) is COOKIE_SENT
