"""SYNPROXY as transcripts: LVS behaviour section 4 with its RECs, rows 6 to 11 of section 12, and the decisions on admission."""

import pytest

from appliance.ipc.plan import Plan
from appliance.model import verdicts
from appliance.model.end_reasons import EndReason
from appliance.model.verdict import Verdict
from appliance.proxy.cookie import COOKIE_LIFE_S
from appliance.sessions.room import HALF_OPEN_GRACE_S
from appliance.state.progress import progress_of
from tests.support.addresses import C0, CLIENT, R0, RS1, RS2, VIP
from tests.support.proxied import GET, asks, opens, proves
from tests.support.segments import Seen, icmp_error, options_of, read_tcp, tcp
from tests.support.tcp_options import LINUX_SYN, MSS_1460, sack
from tests.support.world import World, plan

C1 = 3_000_000_000


ALWAYS, AUTO = plan(synproxy="always"), plan(synproxy="auto")


def proxied(scene: Plan = ALWAYS, **tunables: int) -> World:
    return World(scene, **tunables)


def deferring(defer: int | None) -> Plan:
    return plan(synproxy="always", synproxy_defer=defer)


def window_of(seen: Seen) -> int:
    return int.from_bytes(seen.raw[34:36], "big")


class TestCookie:
    """Step 1: nothing is remembered."""

    def test_a_syn_gets_a_cookie_and_nothing_is_remembered(self) -> None:
        """Row 6."""
        world = proxied()
        seen = asks(world)
        assert (seen.ttl, seen.data, seen.source, seen.destination) == (63 + 1, b"", VIP, CLIENT), "the kernel takes one hop off"
        assert options_of(seen) == bytes.fromhex("020405ac0101040201030307"), "1452, SACK, shift 7, no timestamp"
        assert world.counter("synproxy_syn_cnt") == 1
        assert len(world.inside.tcp) == 0
        assert world.inside.wheel.next_look() is None
        world.assert_quiet()

    def test_unknown_options_and_data_are_not_echoed(self) -> None:
        world = proxied()
        world.client.sends("S", seq=C0, options=MSS_1460 + bytes.fromhex("2204abcd"), data=b"early")
        seen = world.client.gets("SA", ack=C0 + 1)
        assert (options_of(seen), seen.data) == (bytes.fromhex("020405ac"), b"")

    @pytest.mark.parametrize(
        ("tunable", "value", "expected"),
        [
            ("synproxy_init_mss", 1300, "020405140101040201030307"),
            ("synproxy_init_mss", 0, "020405ac0101040201030307"),
            ("fullnat_mss_adjust_entry", 0, "020405ac0101040201030307"),
            ("synproxy_sack", 0, "020405ac01030307"),
            ("synproxy_wscale", 0, "020405ac01010402"),
        ],
    )
    def test_what_is_offered_is_tunable(self, tunable: str, value: int, expected: str) -> None:
        assert options_of(asks(proxied(ALWAYS, **{tunable: value}))) == bytes.fromhex(expected)

    @pytest.mark.parametrize("mss", [0, 100, 536, 1400, 8960])
    @pytest.mark.parametrize(
        ("mtus", "tunables", "named"),
        [
            ({}, {}, 1452),
            ({0: 1400, 1: 9000}, {}, 1352),
            ({0: 1500, 1: 1280}, {}, 1232),
            ({0: 9000, 1: 9000}, {}, 1452),
            ({0: 9000, 1: 9000}, {"synproxy_init_mss": 0}, 8952),
            ({0: 9000, 1: 9000}, {"synproxy_init_mss": 0, "fullnat_mss_adjust_entry": 0}, 8960),
            ({0: 100}, {}, 88),
        ],
    )
    def test_the_mss_is_that_of_the_path_and_not_the_clients_own(
        self, mss: int, mtus: dict[int, int], tunables: dict[str, int], named: int
    ) -> None:
        """A client with an MSS of 536 may send more than that in one segment; its real server may not."""
        world = proxied(plan(synproxy="always", weights=(1, 1)), fullnat_toa_entry=0, **tunables)
        world.shared.set_mtus(mtus)
        options = bytes((2, 4)) + mss.to_bytes(2, "big")
        syn_ack = asks(world, options=options)
        assert options_of(syn_ack) == bytes((2, 4)) + named.to_bytes(2, "big")
        assert window_of(syn_ack) <= 4 * named
        world.client.sends("PA", seq=C0 + 1, ack=syn_ack.seq + 1, data=GET)
        shown = int.from_bytes(options_of(world.rs.gets("S"))[2:4], "big")
        assert shown <= (mss or 536)

    @pytest.mark.parametrize(("ttl", "before_routing"), [(17, 18), (254, 255), (255, 255)])
    def test_the_ttl_is_tunable(self, ttl: int, before_routing: int) -> None:
        assert asks(proxied(synproxy_synack_ttl=ttl)).ttl == before_routing

    def test_what_a_client_does_not_offer_is_not_answered(self) -> None:
        assert options_of(asks(proxied(), options=b"")) == b""

    @pytest.mark.parametrize(("thresh", "packets"), [(0, 1), (3, 4), (5, 6)])
    def test_the_window_allows_as_much_as_can_be_held(self, thresh: int, packets: int) -> None:
        assert window_of(asks(proxied(synproxy_ack_skb_store_thresh=thresh))) == packets * 1452

    def test_an_established_session_is_not_disturbed_by_a_new_syn(self) -> None:
        """The answer to a guessed SYN is a cookie, which the sender of the guess does not see."""
        world = proxied()
        cookie = opens(world)
        world.client.sends("S", seq=C1, options=LINUX_SYN)
        world.client.gets("SA", ack=C1 + 1)
        world.client.sends("PA", seq=C0 + 1 + len(GET), ack=cookie + 1, data=b"more")
        world.rs.gets("PA", ack=R0 + 1, data=b"more")


class TestProof:
    """Step 2: the acknowledgement."""

    @pytest.mark.parametrize("off", [1, 2, -1, 1 << 21, 1 << 31])
    def test_a_wrong_cookie_is_dropped_in_silence(self, off: int) -> None:
        world = proxied()
        cookie = asks(world).seq
        ack = (cookie + 1 + off) % 2**32
        assert world.client.sends("PA", seq=C0 + 1, ack=ack, data=GET) is verdicts.BAD_COOKIE
        assert world.counter("synproxy_bad_ack") == 1
        assert len(world.inside.tcp) == 0
        world.assert_quiet()

    def test_a_cookie_is_for_one_initial_number_exactly(self) -> None:
        world = proxied()
        cookie = asks(world).seq
        for off in (1, 2, 5, 65536, -1):
            seq = (C0 + 1 + off) % 2**32
            assert world.client.sends("PA", seq=seq, ack=cookie + 1, data=GET) is verdicts.BAD_COOKIE

    @pytest.mark.parametrize("age_s", [241, 4 * 3600 - 60])
    def test_a_client_whose_cookie_is_too_old_is_told(self, age_s: int) -> None:
        """It takes itself for connected: it was proven once, and only waited too long with its first data."""
        world = proxied()
        cookie = asks(world).seq
        world.now += age_s
        assert world.client.sends("PA", seq=C0 + 1, ack=cookie + 1, data=GET) is verdicts.OUTDATED_COOKIE
        world.client.gets("R", seq=cookie + 1)
        assert (world.counter("synproxy_bad_ack"), len(world.inside.tcp)) == (1, 0)

    def test_a_cookie_of_yesterday_is_one_of_nobody(self) -> None:
        world = proxied()
        cookie = asks(world).seq
        world.now += 24 * 3600
        assert world.client.sends("PA", seq=C0 + 1, ack=cookie + 1, data=GET) is verdicts.BAD_COOKIE
        world.assert_quiet()

    def test_a_flood_of_bad_cookies_is_not_looked_at_further_than_a_few_times_a_second(self) -> None:
        world = proxied()
        cookie = asks(world).seq
        world.now += 300
        looked_at = [world.client.sends("PA", seq=C0 + 1, ack=cookie + 1, data=GET) for _ in range(100)]
        assert looked_at == [verdicts.OUTDATED_COOKIE] * 20 + [verdicts.BAD_COOKIE] * 80
        world.now += 1
        assert world.client.sends("PA", seq=C0 + 1, ack=cookie + 1, data=GET) is verdicts.OUTDATED_COOKIE

    def test_handshakes_do_not_use_up_the_looks_at_old_cookies(self) -> None:
        world = proxied()
        old_cookie = asks(world).seq
        world.now += 300
        cookie = asks(world, seq=C1).seq
        for _ in range(100):
            assert world.client.sends("A", seq=C1 + 1, ack=cookie + 1) is verdicts.NULL_COOKIE_ACK
        assert world.client.sends("PA", seq=C0 + 1, ack=old_cookie + 1, data=GET) is verdicts.OUTDATED_COOKIE

    def test_a_damaged_packet_with_an_old_cookie_gets_no_answer(self) -> None:
        world = proxied()
        cookie = asks(world).seq
        world.now += 300
        raw = tcp(CLIENT, VIP, "PA", seq=C0 + 1, ack=cookie + 1, data=GET)
        assert world.put(raw[:-1] + b"!") is verdicts.BAD_COOKIE
        world.assert_quiet()

    @pytest.mark.parametrize("data", [b"", b"\0"])
    @pytest.mark.parametrize(("options", "window"), [(LINUX_SYN, 4 * 1452 >> 7), (MSS_1460, 4 * 1452)])
    def test_a_keepalive_probe_before_the_first_data_is_answered(self, data: bytes, options: bytes, window: int) -> None:
        """All that the answer needs is in the probe. The client is served afterwards."""
        world = proxied()
        cookie = asks(world, options).seq
        world.client.sends("A", seq=C0 + 1, ack=cookie + 1)
        world.assert_quiet()
        for _ in range(100):
            assert world.client.sends("A", seq=C0, ack=cookie + 1, data=data) is verdicts.KEEPALIVE_ANSWERED
            answer = world.client.gets("A", seq=cookie + 1, ack=C0 + 1, data=b"")
            assert (window_of(answer), answer.ttl) == (window, 63 + 1)
        assert (len(world.inside.tcp), world.counter("synproxy_bad_ack")) == (0, 0)
        assert world.client.sends("PA", seq=C0 + 1, ack=cookie + 1, data=GET) is verdicts.TO_REAL_SERVER

    @pytest.mark.parametrize("data", [b"", b"\0"])
    def test_a_keepalive_probe_with_an_old_cookie_is_reset(self, data: bytes) -> None:
        world = proxied()
        cookie = asks(world).seq
        world.now += 2 * 3600
        assert world.client.sends("A", seq=C0, ack=cookie + 1, data=data) is verdicts.OUTDATED_COOKIE
        world.client.gets("R", seq=cookie + 1)

    @pytest.mark.parametrize(("seq_off", "ack_off"), [(-1, 0), (0, 1), (2, 0)])
    def test_a_guessed_probe_is_not_answered(self, seq_off: int, ack_off: int) -> None:
        world = proxied()
        cookie = asks(world).seq
        assert world.client.sends("A", seq=C0 + seq_off, ack=cookie + 1 + ack_off) is verdicts.NULL_COOKIE_ACK
        world.assert_quiet()

    def test_a_damaged_probe_is_not_answered(self) -> None:
        world = proxied()
        cookie = asks(world).seq
        raw = tcp(CLIENT, VIP, "A", seq=C0, ack=cookie + 1)
        assert world.put(raw[:34] + b"\x12\x34" + raw[36:]) is verdicts.BAD_CHECKSUM
        world.assert_quiet()

    def test_with_abort_on_overflow_a_wrong_cookie_is_reset_but_not_too_often(self) -> None:
        world = proxied(tcp_abort_on_overflow=1)
        world.client.sends("PA", seq=C0 + 1, ack=777, data=GET)
        world.client.gets("R", seq=777)
        for _ in range(200):
            world.client.sends("PA", seq=C0 + 1, ack=777, data=GET)
        sent = 0
        while world.last_to(CLIENT):
            world.take(CLIENT)
            sent += 1
        assert sent == 49

    def test_deferring_drops_the_empty_ack_and_waits_for_data(self) -> None:
        world = proxied()
        cookie = asks(world).seq
        assert world.client.sends("A", seq=C0 + 1, ack=cookie + 1) is verdicts.NULL_COOKIE_ACK
        assert (world.counter("synproxy_null_ack"), len(world.inside.tcp)) == (1, 0)
        assert world.client.sends("PA", seq=C0 + 1, ack=cookie + 1, data=GET) is verdicts.TO_REAL_SERVER
        assert (world.counter("synproxy_ok_ack"), len(world.inside.tcp)) == (1, 1)

    @pytest.mark.parametrize(("tunable", "of_service"), [(0, None), (1, 0)])
    def test_without_deferring_the_empty_ack_makes_the_session(self, tunable: int, of_service: int | None) -> None:
        """This is for protocols in which the server speaks first. The value of a service has precedence over the tunable."""
        world = proxied(deferring(of_service), synproxy_defer=tunable)
        cookie = asks(world).seq
        assert world.client.sends("A", seq=C0 + 1, ack=cookie + 1) is verdicts.TO_REAL_SERVER
        world.rs.gets("S", seq=C0)
        world.rs.sends("SA", seq=R0, ack=C0 + 1)
        world.rs.gets("A", seq=C0 + 1, ack=R0 + 1, data=b"")
        world.rs.sends("PA", seq=R0 + 1, ack=C0 + 1, data=b"220 hello")
        world.client.gets("PA", seq=cookie + 1, ack=C0 + 1, data=b"220 hello")

    def test_a_service_may_defer_while_the_tunable_is_off(self) -> None:
        world = proxied(deferring(1), synproxy_defer=0)
        cookie = asks(world).seq
        assert world.client.sends("A", seq=C0 + 1, ack=cookie + 1) is verdicts.NULL_COOKIE_ACK

    def test_a_request_whose_first_segment_carries_fin(self) -> None:
        world = proxied()
        cookie = asks(world).seq
        assert world.client.sends("FPA", seq=C0 + 1, ack=cookie + 1, data=GET) is verdicts.TO_REAL_SERVER
        world.rs.gets("S")
        world.rs.sends("SA", seq=R0, ack=C0 + 1)
        world.rs.gets("FPA", seq=C0 + 1, ack=R0 + 1, data=GET)

    @pytest.mark.parametrize("flags", ["R", "RA", "SA"])
    def test_other_packets_without_a_session_are_dropped(self, flags: str) -> None:
        assert proxied().client.sends(flags, seq=C0, ack=5) is verdicts.NO_SESSION

    @pytest.mark.parametrize(
        ("scene", "reason"),
        [
            (plan(synproxy="always", weights=(0,)), verdicts.NO_REAL_SERVER),
            (plan(synproxy="always", local_addresses=()), verdicts.NO_LOCAL_ADDRESS),
        ],
    )
    def test_a_client_with_a_cookie_that_cannot_be_served_is_reset(self, scene: Plan, reason: Verdict) -> None:
        world = World(scene)
        cookie = asks(world).seq
        assert world.client.sends("PA", seq=C0 + 1, ack=cookie + 1, data=GET) is reason
        world.client.gets("R", seq=cookie + 1)

    @pytest.mark.parametrize(("flags", "answered"), [("A", True), ("PA", True), ("FA", True), ("R", False), ("RA", False)])
    def test_with_abort_on_overflow_an_unknown_session_is_reset(self, flags: str, answered: bool) -> None:
        """So clients of a gateway that was restarted do not have to wait for their timeouts."""
        world = World(tcp_abort_on_overflow=1)
        assert world.client.sends(flags, seq=C0 + 1, ack=777) is verdicts.NO_SESSION
        if answered:
            world.client.gets("R", seq=777)
        world.assert_quiet()

    def test_a_service_without_synproxy_knows_no_cookies(self) -> None:
        world = World()
        assert world.client.sends("A", seq=C0 + 1, ack=5) is verdicts.NO_SESSION
        assert world.counter("synproxy_bad_ack") == 0


class TestRealServer:
    """Steps 3 and 4."""

    def test_the_real_servers_syn_has_the_clients_facts(self) -> None:
        """Row 7: its own number, the client's address, MSS, SACK and shift; no timestamp."""
        world = proxied()
        cookie = asks(world).seq
        world.client.sends("PA", seq=C0 + 1, ack=cookie + 1, data=GET, window=100)
        seen = world.rs.gets("S", seq=C0, destination=RS1, data=b"")
        assert world.rs.isn != C0
        assert options_of(seen) == bytes.fromhex("fe089c40c6336402020405ac0101040201030307")
        assert window_of(seen) == 100 << 7
        assert world.state() == "SYN_SENT"

    def test_a_client_that_does_not_scale_is_not_the_same_as_one_with_shift_0(self) -> None:
        world = proxied(fullnat_toa_entry=0)
        world.client.sends("S", seq=C0, options=MSS_1460 + b"\x01\x03\x03\x00")
        cookie = world.client.gets("SA").seq
        world.client.sends("PA", seq=C0 + 1, ack=cookie + 1, data=GET)
        assert options_of(world.rs.gets("S")) == bytes.fromhex("020405ac01030300")
        world = proxied(fullnat_toa_entry=0)
        world.client.sends("S", seq=C0, options=MSS_1460)
        cookie = world.client.gets("SA").seq
        world.client.sends("PA", seq=C0 + 1, ack=cookie + 1, data=GET)
        assert options_of(world.rs.gets("S")) == bytes.fromhex("020405ac")

    def test_what_the_client_sends_before_the_real_server_accepts_is_held_up_to_a_limit_and_then_delivered(self) -> None:
        """Rows 7 and 8. Four packets are held, the fifth is counted; all four arrive in order and the SYN-ACK does not."""
        world = proxied()
        cookie = proves(world, data=b"1")
        given = [world.client.sends("PA", seq=C0 + 1 + turn, ack=cookie + 1, data=b"%d" % (turn + 1)) for turn in range(1, 5)]
        assert given == [verdicts.HELD] * 3 + [verdicts.HOLD_OVERFLOW]
        assert world.counter("synproxy_synsent_qlen") == 1
        world.rs.sends("SA", seq=R0, ack=C0 + 1)
        for turn in range(4):
            world.rs.gets("PA", seq=C0 + 1 + turn, ack=R0 + 1, data=b"%d" % (turn + 1))
        world.assert_quiet()
        assert world.state() == "ESTABLISHED"

    @pytest.mark.parametrize("off", [-1, 1 << 16, 1 << 31])
    def test_a_packet_far_from_the_first_one_is_not_held(self, off: int) -> None:
        """It would take the place of a packet of the client, and reach the real server."""
        world = proxied()
        cookie = proves(world)
        far = (C0 + 1 + off) % 2**32
        assert [world.client.sends("PA", seq=far, ack=cookie + 1, data=b"%d" % turn) for turn in range(6)] == [verdicts.HELD] * 6
        assert world.counter("synproxy_synsent_qlen") == 0
        world.rs.sends("SA", seq=R0, ack=C0 + 1)
        world.rs.gets("PA", seq=C0 + 1, data=GET)
        world.assert_quiet()

    def test_copies_of_a_held_packet_are_not_counted_as_held(self) -> None:
        world = proxied()
        cookie = proves(world)
        for _ in range(5):
            assert world.client.sends("PA", seq=C0 + 1, ack=cookie + 1, data=GET) is verdicts.HELD
        assert world.counter("synproxy_synsent_qlen") == 0
        world.rs.sends("SA", seq=R0, ack=C0 + 1)
        world.rs.gets("PA", data=GET)
        world.assert_quiet()

    @pytest.mark.parametrize("thresh", [0, 1, 5])
    def test_how_many_are_held_is_tunable(self, thresh: int) -> None:
        world = proxied(synproxy_ack_skb_store_thresh=thresh)
        cookie = proves(world, data=b"0")
        given = [world.client.sends("PA", seq=C0 + 1 + turn, ack=cookie + 1, data=b"x") for turn in range(1, 7)]
        assert given.count(verdicts.HELD) == thresh

    def test_numbers_and_sack_blocks_are_converted_both_ways(self) -> None:
        world = proxied()
        cookie = opens(world)
        world.rs.sends("PA", seq=R0 + 1, ack=C0 + 1 + len(GET), data=b"answer")
        world.client.gets("PA", seq=cookie + 1, ack=C0 + 1 + len(GET), data=b"answer")
        blocks = sack((cookie + 101) % 2**32, (cookie + 201) % 2**32)
        world.client.sends("A", seq=C0 + 1 + len(GET), ack=cookie + 7, options=b"\x01\x01" + blocks)
        seen = world.rs.gets("A", ack=R0 + 7)
        assert options_of(seen) == b"\x01\x01" + sack(R0 + 101, R0 + 201)
        shown = [(C0 + 50 + world.rs.shift) % 2**32, (C0 + 60 + world.rs.shift) % 2**32]
        world.rs.sends("A", seq=R0 + 7, ack=C0 + 1 + len(GET), options=b"\x01\x01" + sack(*shown))
        assert options_of(world.client.gets("A", seq=cookie + 7)) == b"\x01\x01" + sack(C0 + 50, C0 + 60)

    @pytest.mark.parametrize(
        ("rs_scale", "window", "shown"),
        [
            (7, 1000, 1000),
            (9, 1000, 4000),
            (9, 60_000, 65_535),
            (14, 1, 128),
            (2, 1000, 31),
            (0, 64_240, 501),
            (None, 64_240, 501),
        ],
    )
    def test_the_real_servers_windows_are_converted_to_the_shift_that_was_promised(
        self, rs_scale: int | None, window: int, shown: int
    ) -> None:
        world = proxied()
        cookie = opens(world, rs_options=MSS_1460 + (b"" if rs_scale is None else bytes((1, 3, 3, rs_scale))))
        world.rs.sends("A", seq=R0 + 1, ack=C0 + 1, window=window)
        assert window_of(world.client.gets("A", seq=cookie + 1)) == shown

    def test_without_scaling_windows_stay(self) -> None:
        world = proxied(synproxy_wscale=0)
        cookie = opens(world, rs_options=MSS_1460)
        world.rs.sends("A", seq=R0 + 1, ack=C0 + 1, window=64_240)
        assert window_of(world.client.gets("A", seq=cookie + 1)) == 64_240

    def test_a_real_server_that_does_not_scale_sees_the_clients_windows_as_bytes(self) -> None:
        world = proxied()
        cookie = opens(world, rs_options=MSS_1460)
        for window, shown in ((100, 12_800), (1000, 65_535)):
            world.client.sends("A", seq=C0 + 1 + len(GET), ack=cookie + 1, window=window)
            assert window_of(world.rs.gets("A")) == shown

    def test_a_real_server_that_scales_sees_the_clients_windows_as_they_are(self) -> None:
        world = proxied()
        cookie = opens(world)
        world.client.sends("A", seq=C0 + 1 + len(GET), ack=cookie + 1, window=1234)
        assert window_of(world.rs.gets("A")) == 1234

    def test_a_syn_ack_that_comes_again_reaches_the_client_whose_answer_mends_it(self) -> None:
        world = proxied()
        cookie = opens(world)
        world.rs.sends("SA", seq=R0, ack=C0 + 1, options=MSS_1460, window=64_240)
        assert window_of(world.client.gets("SA", seq=cookie, ack=C0 + 1)) == 64_240

    @pytest.mark.parametrize("rs_scale", [0, 9])
    def test_the_window_of_a_syn_ack_is_never_scaled(self, rs_scale: int) -> None:
        """RFC 7323, 2.2. The same window in the next packet is converted."""
        world = proxied()
        options = MSS_1460 + bytes((1, 3, 3, rs_scale))
        opens(world, rs_options=options)
        world.rs.sends("SA", seq=R0, ack=C0 + 1, options=options, window=10_000)
        assert window_of(world.client.gets("SA")) == 10_000
        world.rs.sends("A", seq=R0 + 1, ack=C0 + 1, window=10_000)
        assert window_of(world.client.gets("A")) == 10_000 << rs_scale >> 7

    def test_the_kind_of_the_clients_address_changes_on_an_open_session(self) -> None:
        world = proxied()
        cookie = opens(world)
        for kind in (200, 254):
            world.shared.set_tunables({"fullnat_toa_kind": kind})
            world.client.sends("PA", seq=C0 + 1 + len(GET), ack=cookie + 1, data=b"more")
            assert options_of(world.rs.gets("PA", data=b"more"))[:2] == bytes((kind, 8))

    def test_the_clients_address_is_on_packets_until_the_answer_is_acknowledged(self) -> None:
        world = proxied()
        cookie = proves(world)
        world.rs.sends("SA", seq=R0, ack=C0 + 1)
        assert options_of(world.rs.gets("PA"))[:2] == b"\xfe\x08"
        world.rs.sends("PA", seq=R0 + 1, ack=C0 + 1 + len(GET), data=b"x")
        world.client.gets("PA", seq=cookie + 1)
        world.client.sends("A", seq=C0 + 1 + len(GET), ack=cookie + 2)
        assert options_of(world.rs.gets("A")) == b""

    def test_a_refusal_by_the_real_server_reaches_the_client(self) -> None:
        """Row 9."""
        world = proxied()
        cookie = proves(world)
        world.rs.sends("RA", seq=0, ack=C0 + 1)
        world.client.gets("R", seq=cookie + 1)
        assert (world.state(), world.counter("synproxy_rs_error")) == ("CLOSE", 1)
        world.sleep(11)
        world.assert_empty()

    @pytest.mark.parametrize("code", [0, 1, 3, 10, 13])
    def test_an_icmp_error_about_the_syn_is_a_refusal(self, code: int) -> None:
        """A packet filter in front of the real server says it so, and the client of a plain service hears it at once."""
        world = proxied()
        cookie = asks(world).seq
        world.client.sends("PA", seq=C0 + 1, ack=cookie + 1, data=GET)
        syn = world.rs.gets("S").raw
        assert world.put(icmp_error(RS1[:4], syn[12:16], syn, code=code)) is verdicts.HANDSHAKE_PACKET
        world.client.gets("R", seq=cookie + 1)
        world.assert_quiet()
        assert (world.state(), world.counter("synproxy_rs_error")) == ("CLOSE", 1)

    @pytest.mark.parametrize(("code", "seq_off"), [(4, 0), (3, 1), (3, -1)])
    def test_an_icmp_error_about_no_syn_or_its_size_is_none(self, code: int, seq_off: int) -> None:
        """A stranger does not know the number of the SYN."""
        world = proxied()
        cookie = asks(world).seq
        world.client.sends("PA", seq=C0 + 1, ack=cookie + 1, data=GET)
        syn = world.rs.gets("S").raw
        wrong = syn[:24] + ((world.rs.isn + seq_off) % 2**32).to_bytes(4, "big") + syn[28:]
        assert world.put(icmp_error(RS1[:4], syn[12:16], wrong, code=code)) is verdicts.ICMP_TRANSLATED
        assert (world.state(), world.counter("synproxy_rs_error")) == ("SYN_SENT", 0)

    def test_a_silent_real_server_gets_the_syn_again_after_1_2_and_4_seconds_then_both_ends_are_reset(self) -> None:
        """Row 10."""
        world = proxied()
        cookie = proves(world)
        for pause_s in (1, 2, 4):
            world.sleep(pause_s - 0.2)
            world.client.sends("PA", seq=C0 + 1, ack=cookie + 1, data=GET)
            world.assert_quiet()
            world.sleep(0.4)
            world.rs.gets("S", seq=C0)
            world.now -= 0.2
        assert world.counter("synproxy_rs_error") == 0
        world.sleep(8.5)
        world.rs.gets("R", seq=C0 + 1)
        world.client.gets("R", seq=cookie + 1)
        assert world.counter("synproxy_rs_error") == 1
        world.assert_empty()

    @pytest.mark.parametrize("retries", [0, 1, 6])
    def test_how_often_the_syn_is_sent_again_is_tunable(self, retries: int) -> None:
        world = proxied(synproxy_syn_retry=retries)
        proves(world)
        world.sleep(130)
        for _ in range(retries):
            world.rs.gets("S")
        world.rs.gets("R")
        world.assert_empty()

    def test_a_clients_reset_ends_the_attempt(self) -> None:
        world = proxied()
        proves(world)
        world.client.sends("R", seq=C1)
        assert world.state() == "SYN_SENT", "a guess does not"
        world.client.sends("R", seq=C0 + 1 + len(GET))
        world.rs.gets("R", seq=C0 + 1)
        world.assert_empty()

    def test_an_older_connections_answer_is_reset_and_the_syn_sent_again(self) -> None:
        world = proxied()
        proves(world)
        assert world.rs.sends("A", seq=5, ack=777) is verdicts.STALE_ANSWER
        assert read_tcp(world.take(RS1)).flags == "R"
        world.rs.gets("S", seq=C0)

    def test_an_idle_session_is_reset_in_the_numbers_of_each_side(self) -> None:
        """Row 13, for a proxied session."""
        world = proxied(tcp_timeout_established=2000)
        cookie = opens(world)
        world.rs.sends("PA", seq=R0 + 1, ack=C0 + 1 + len(GET), data=b"abc")
        world.client.gets("PA")
        world.sleep(2.2)
        world.rs.gets("R", seq=C0 + 1 + len(GET))
        world.client.gets("R", seq=cookie + 4)


SWITCH = {
    "CLOSE": "close", "TIME_WAIT": "time_wait", "FIN_WAIT": "fin_wait", "CLOSE_WAIT": "close_wait", "LAST_ACK": "last_ack",
}  # fmt: skip
COUNTER = {
    "CLOSE": "close", "TIME_WAIT": "timewait", "FIN_WAIT": "finwait", "CLOSE_WAIT": "closetimeout", "LAST_ACK": "lastack",
}  # fmt: skip


class TestReuse:
    """LVS behaviour 4.6."""

    def reach(self, world: World, state: str) -> None:
        cookie = opens(world)
        client, rs, end = world.client, world.rs, C0 + 1 + len(GET)
        if state in ("CLOSE_WAIT", "LAST_ACK"):
            rs.sends("A", seq=R0 + 1, ack=end)
            client.gets("A")
            client.sends("FA", seq=end, ack=cookie + 1)
            rs.gets("FA")
        if state == "LAST_ACK":
            rs.sends("FA", seq=R0 + 1, ack=end + 1)
            client.gets("FA")
        if state in ("FIN_WAIT", "TIME_WAIT"):
            rs.sends("FA", seq=R0 + 1, ack=end)
            client.gets("FA")
        if state == "TIME_WAIT":
            client.sends("FA", seq=end, ack=cookie + 2)
            rs.gets("FA")
            rs.sends("A", seq=R0 + 2, ack=end + 1)
            client.gets("A")
        if state == "CLOSE":
            rs.sends("R", seq=R0 + 1)
            client.gets("R")
        assert world.state() == state

    def begins_anew(self, world: World) -> Verdict:
        cookie = asks(world, seq=C1).seq
        return world.client.sends("PA", seq=C1 + 1, ack=cookie + 1, data=GET)

    @pytest.mark.parametrize("state", SWITCH)
    def test_a_cookie_starts_a_closing_session_anew(self, state: str) -> None:
        world = proxied(ALWAYS, **{f"synproxy_conn_reuse_{SWITCH[state]}": 1})
        self.reach(world, state)
        local, last = world.rs.there, world.rs.isn
        assert self.begins_anew(world) is verdicts.TO_REAL_SERVER
        world.rs.gets("S", seq=C1, source=local)
        assert 0 < (world.rs.isn - last) % 2**32 < 2**31
        assert world.state() == "SYN_SENT"
        assert world.counter("synproxy_conn_reused") == world.counter(f"synproxy_conn_reused_{COUNTER[state]}") == 1
        assert world.counter("fullnat_conn_reused") == 0
        world.rs.sends("SA", seq=R0 + 500, ack=C1 + 1)
        world.rs.gets("PA", seq=C1 + 1, ack=R0 + 501, data=GET)

    @pytest.mark.parametrize("state", SWITCH)
    @pytest.mark.parametrize("master", [0, 1])
    def test_a_cookie_does_not_start_a_closing_session_anew_when_that_is_switched_off(self, state: str, master: int) -> None:
        """The client, which believes itself connected, hears so at once. The old session is as it was, and ends in its time."""
        switches = {"synproxy_conn_reuse": master, f"synproxy_conn_reuse_{SWITCH[state]}": 1 - master}
        world = proxied(ALWAYS, **switches)
        self.reach(world, state)
        (session,) = world.sessions()
        ends_at, words = session.deadline, session.words[:]
        world.sleep(1)
        cookie = asks(world, seq=C1).seq
        for flags, data in (("A", b""), ("PA", GET)):
            assert world.client.sends(flags, seq=C1 + 1, ack=cookie + 1, data=data) is verdicts.REUSE_REFUSED
            world.client.gets("R", seq=cookie + 1)
        world.assert_quiet()
        assert (world.state(), session.deadline, session.words) == (state, ends_at, words)
        assert world.counter("synproxy_conn_reused") == 0
        assert world.counter("new_connections_reset") == world.counter("reuse_refused") == 2

    @pytest.mark.parametrize("state", ["FIN_WAIT", "CLOSE_WAIT"])
    def test_a_half_closed_session_goes_on_beside_a_refused_one(self, state: str) -> None:
        world = proxied()
        self.reach(world, state)
        self.begins_anew(world)
        world.client.gets("R")
        cookie = world.sessions()[0].cookie or 0
        end = C0 + 1 + len(GET) + (state == "CLOSE_WAIT")
        world.client.sends("A", seq=end, ack=cookie + 1)
        world.rs.gets("A", seq=end, ack=R0 + 1)
        assert world.state() == state

    def test_a_refused_client_whose_packet_is_damaged_gets_no_answer(self) -> None:
        world = proxied()
        self.reach(world, "FIN_WAIT")
        cookie = asks(world, seq=C1).seq
        raw = tcp(CLIENT, VIP, "PA", seq=C1 + 1, ack=cookie + 1, data=GET)
        assert world.put(raw[:-1] + b"!") is not verdicts.REUSE_REFUSED
        assert world.last_to(CLIENT) is None

    def test_an_acknowledgement_of_the_old_connection_is_never_a_new_one(self) -> None:
        """Also when it is a valid cookie by accident: no cookie is computed for what the old connection can have sent."""
        world = proxied()
        cookie = opens(world)
        world.rs.sends("FPA", seq=R0 + 1, ack=C0 + 1 + len(GET), data=b"answer")
        world.client.gets("FPA")
        world.client.sends("A", seq=C0 + 1 + len(GET), ack=cookie + 8)
        world.rs.gets("A", ack=R0 + 8)
        world.shard._proxy._offer_in = lambda *_: pytest.fail("computed")  # type: ignore[method-assign]
        for ack in (cookie + 1, cookie + 8, cookie + (1 << 20)):
            world.client.sends("A", seq=C0 + 1 + len(GET), ack=ack % 2**32)
            world.rs.gets("A")

    @pytest.mark.parametrize("state", ["CLOSE", "TIME_WAIT"])
    def test_the_same_initial_number_again_is_a_new_connection_when_the_old_one_is_over(self, state: str) -> None:
        """Some stacks of small devices begin with the same number after each start. Within a minute they get the same cookie."""
        world = proxied()
        self.reach(world, state)
        old = world.sessions()[0].cookie
        cookie = asks(world, seq=C0).seq
        assert cookie == old
        assert world.client.sends("A", seq=C0 + 1, ack=cookie + 1) is verdicts.TO_REAL_SERVER
        world.rs.gets("S", seq=C0)
        world.rs.sends("SA", seq=R0 + 500, ack=C0 + 1)
        world.rs.gets("A", seq=C0 + 1, ack=R0 + 501)
        assert world.counter("synproxy_conn_reused") == 1

    @pytest.mark.parametrize("state", ["CLOSE", "TIME_WAIT"])
    def test_a_late_copy_of_the_first_data_is_no_new_connection(self, state: str) -> None:
        """No SYN came since, so nobody began anew."""
        world = proxied()
        self.reach(world, state)
        cookie = world.sessions()[0].cookie or 0
        world.client.sends("PA", seq=C0 + 1, ack=cookie + 1, data=GET)
        assert (world.state(), world.counter("synproxy_conn_reused")) == (state, 0)
        world.rs.gets("PA", data=GET)

    def test_a_syn_of_somebody_else_makes_no_late_copy_a_new_connection(self) -> None:
        world = proxied()
        self.reach(world, "TIME_WAIT")
        cookie = world.sessions()[0].cookie or 0
        asks(world, seq=C1)
        world.client.sends("PA", seq=C0 + 1, ack=cookie + 1, data=GET)
        assert (world.state(), world.counter("synproxy_conn_reused")) == ("TIME_WAIT", 0)

    def test_a_late_copy_of_the_first_data_is_none_either_after_a_long_answer(self) -> None:
        world = proxied()
        cookie = opens(world)
        for turn in range(3):
            sent = turn * 900_000
            world.rs.sends("PA", seq=R0 + 1 + sent, ack=C0 + 1 + len(GET), data=b"x")
            world.client.sends("A", seq=C0 + 1 + len(GET), ack=(cookie + 2 + sent) % 2**32)
        world.rs.sends("R", seq=R0 + 2 + sent)
        assert world.state() == "CLOSE"
        world.client.sends("PA", seq=C0 + 1, ack=cookie + 1, data=GET)
        assert (world.state(), world.counter("synproxy_conn_reused")) == ("CLOSE", 0)

    @pytest.mark.parametrize("state", ["CLOSE", "TIME_WAIT"])
    def test_a_cookie_counts_also_when_another_packet_came_after_its_syn(self, state: str) -> None:
        """A late acknowledgement of the old connection, or a RST because the real server has sent its FIN again."""
        world = proxied()
        self.reach(world, state)
        cookie = asks(world, seq=C1).seq
        (session,) = world.sessions()
        world.client.sends("A", seq=C0 + 1 + len(GET), ack=progress_of(session).client.acked)
        assert session.challenge is None
        world.client.sends("R", seq=C0 + 2 + len(GET))
        assert world.client.sends("PA", seq=C1 + 1, ack=cookie + 1, data=GET) is verdicts.TO_REAL_SERVER
        assert world.counter("synproxy_conn_reused") == 1

    @pytest.mark.parametrize("state", ["FIN_WAIT", "CLOSE_WAIT", "LAST_ACK"])
    def test_the_same_cookie_does_not_end_a_session_that_is_not_over(self, state: str) -> None:
        world = proxied(ALWAYS, **{f"synproxy_conn_reuse_{SWITCH[state]}": 1})
        self.reach(world, state)
        cookie = asks(world, seq=C0).seq
        assert world.client.sends("PA", seq=C0 + 1, ack=cookie + 1, data=GET) is verdicts.REUSE_REFUSED
        world.client.gets("R", seq=cookie + 1)
        assert world.state() == state

    def test_the_last_acknowledgement_of_the_old_connection_is_no_bad_cookie(self) -> None:
        world = proxied(synproxy_conn_reuse_fin_wait=1)
        self.reach(world, "FIN_WAIT")
        cookie = (world.sessions()[0].cookie or 0) + 2
        world.client.sends("A", seq=C0 + 1 + len(GET), ack=cookie)
        world.rs.gets("A", ack=R0 + 2)
        assert world.counter("synproxy_bad_ack") == 0

    def test_a_client_that_lost_an_established_connection_gets_a_new_one_with_its_cookie(self) -> None:
        """Only this client has seen the cookie. The gateway resets the old socket of the real server."""
        world = proxied()
        opens(world)
        old_ack = (C0 + 1 + len(GET) + world.rs.shift) % 2**32
        assert self.begins_anew(world) is verdicts.TO_REAL_SERVER
        world.rs.gets("S", seq=C1)
        assert world.counter("synproxy_conn_reused") == 1
        stale = tcp(world.rs.here, world.rs.there, "A", seq=R0 + 1, ack=old_ack)
        assert world.put(stale) is verdicts.STALE_ANSWER
        assert read_tcp(world.take(RS1)).seq == old_ack
        world.rs.gets("S", seq=C1)
        world.rs.sends("SA", seq=R0 + 500, ack=C1 + 1)
        world.rs.gets("PA", seq=C1 + 1, ack=R0 + 501, data=GET)

    @pytest.mark.parametrize("off", [1, 1 << 21])
    def test_a_guess_is_no_cookie_on_an_established_session_either(self, off: int) -> None:
        world = proxied()
        cookie = opens(world)
        asks(world, seq=C1)
        world.client.sends("PA", seq=C1 + 1, ack=(cookie + off) % 2**32, data=b"guess")
        assert (world.state(), world.counter("synproxy_conn_reused")) == ("ESTABLISHED", 0)
        world.client.sends("PA", seq=C0 + 1 + len(GET), ack=cookie + 1, data=b"alive")
        world.rs.gets("PA", data=b"guess")
        world.rs.gets("PA", seq=C0 + 1 + len(GET), ack=R0 + 1, data=b"alive")

    def test_a_stranger_gets_few_tries_to_guess_the_cookie_that_would_cut_a_session_off(self) -> None:
        """One try for each SYN, and few SYNs that allow one. For the others only a RST with the exact number is a proof."""
        world = proxied()
        cookie = opens(world)
        given = []
        for turn in range(100):
            given.append(world.client.sends("S", seq=C1 + turn, options=LINUX_SYN))
            for guess in range(2):
                world.client.sends("A", seq=C1 + turn + 1, ack=(cookie + guess * 5_000_000) % 2**32)
        assert given == [verdicts.COOKIE_SENT] * 20 + [verdicts.CHALLENGED] * 80
        tried = []
        world.shard._proxy._offer_in = lambda *_: tried.append(1)  # type: ignore[method-assign]
        world.now += 1
        for turn in range(100):
            world.client.sends("S", seq=C1 + turn, options=LINUX_SYN)
            for guess in range(2):
                world.client.sends("A", seq=C1 + turn + 1, ack=(cookie + guess * 5_000_000) % 2**32)
        assert len(tried) == 20
        assert world.state() == "ESTABLISHED"

    def test_a_client_that_lost_its_connection_gets_a_new_one_while_a_stranger_guesses(self) -> None:
        world = proxied()
        opens(world)
        for turn in range(20):
            world.client.sends("S", seq=C1 + turn, options=LINUX_SYN)
            world.client.gets("SA")
        assert world.client.sends("S", seq=C1 - 1, options=LINUX_SYN) is verdicts.CHALLENGED
        assert world.client.sends("R", seq=world.client.gets("A").ack) is verdicts.TO_REAL_SERVER
        world.rs.gets("S", seq=C1 - 1)

    def test_the_same_initial_number_on_an_established_session_is_a_question_to_the_real_server(self) -> None:
        """A client that lost the connection resets it with the number that the real server names, and gets a new one."""
        world = proxied()
        cookie = opens(world)
        world.client.sends("S", seq=C0, options=LINUX_SYN)
        world.rs.gets("S", seq=C0)
        world.rs.sends("A", seq=R0 + 1, ack=C0 + 1 + len(GET))
        number = world.client.gets("A", seq=cookie + 1).ack
        world.client.sends("R", seq=number)
        world.rs.gets("R", seq=number)
        assert world.state() == "CLOSE"
        assert asks(world, seq=C0).seq == cookie
        assert world.client.sends("A", seq=C0 + 1, ack=cookie + 1) is verdicts.TO_REAL_SERVER
        world.rs.gets("S", seq=C0)

    def test_with_the_master_switch_off_an_established_session_goes_on(self) -> None:
        """The client that began anew is told, and the old session is as it was."""
        world = proxied(synproxy_conn_reuse=0)
        cookie = opens(world)
        assert self.begins_anew(world) is verdicts.REUSE_REFUSED
        world.client.gets("R")
        assert (world.state(), world.counter("synproxy_conn_reused")) == ("ESTABLISHED", 0)
        world.client.sends("PA", seq=C0 + 1 + len(GET), ack=cookie + 1, data=b"alive")
        world.rs.gets("PA", seq=C0 + 1 + len(GET), ack=R0 + 1, data=b"alive")

    def test_a_drained_real_server_is_not_asked_again(self) -> None:
        world = proxied(plan(synproxy="always", weights=(1, 1)))
        self.reach(world, "CLOSE")
        world.change(plan(weights=(0, 1), synproxy="always"))
        self.begins_anew(world)
        world.rs.here = RS2
        world.rs.gets("S", seq=C1, destination=RS2)
        assert world.counter("synproxy_ok_ack") == 2, "one for each connection"


class TestStorm:
    """LVS behaviour 4.7 with its REC."""

    def test_ten_equal_acknowledgements_pass_and_the_eleventh_does_not(self) -> None:
        """Row 11."""
        world = proxied()
        opens(world)
        given = [world.rs.sends("A", seq=R0 + 1, ack=C0 + 1) for _ in range(12)]
        assert given == [verdicts.TO_CLIENT] * 10 + [verdicts.STORM] * 2
        assert world.counter("synproxy_ack_storm") == 2

    @pytest.mark.parametrize(("thresh", "passed"), [(1, 1), (3, 3), (0, 30)])
    def test_the_length_of_a_storm_is_tunable_and_0_is_off(self, thresh: int, passed: int) -> None:
        world = proxied(synproxy_ack_storm_thresh=thresh)
        opens(world)
        given = [world.rs.sends("A", seq=R0 + 1, ack=C0 + 1) for _ in range(30)]
        assert given.count(verdicts.TO_CLIENT) == passed

    def test_duplicate_acknowledgements_with_new_sack_blocks_all_pass(self) -> None:
        world = proxied()
        opens(world)
        for turn in range(40):
            edge = (C0 + 1000 + turn + world.rs.shift) % 2**32
            assert world.rs.sends("A", seq=R0 + 1, ack=C0 + 1, options=b"\x01\x01" + sack(C0, edge)) is verdicts.TO_CLIENT

    def test_acknowledgements_with_new_windows_all_pass(self) -> None:
        world = proxied()
        opens(world)
        for turn in range(40):
            assert world.rs.sends("A", seq=R0 + 1, ack=C0 + 1, window=1000 + turn) is verdicts.TO_CLIENT

    @pytest.mark.parametrize("flags", ["FA", "RA", "AP", "AU", "AE", "SA"])
    def test_after_equal_acknowledgements_a_packet_with_another_flag_passes(self, flags: str) -> None:
        """A FIN or a RST has the numbers of the acknowledgements before it. Without the FIN the client waits for a connection
        that its server has closed, and without the RST for one that no longer exists."""
        world = proxied()
        opens(world)
        for _ in range(12):
            world.rs.sends("A", seq=R0 + 1, ack=C0 + 1)
        assert [world.rs.sends(flags, seq=R0 + 1, ack=C0 + 1) for _ in range(12)] == [verdicts.TO_CLIENT] * 12
        assert world.counter("synproxy_ack_storm") == 2

    def test_keepalives_all_pass(self) -> None:
        world = proxied()
        opens(world)
        for _ in range(40):
            world.sleep(1)
            assert world.rs.sends("A", seq=R0, ack=C0 + 1) is verdicts.TO_CLIENT

    def test_data_and_plain_sessions_are_never_a_storm(self) -> None:
        world = proxied()
        opens(world)
        assert {world.rs.sends("PA", seq=R0 + 1, ack=C0 + 1, data=b"x") for _ in range(30)} == {verdicts.TO_CLIENT}
        world = World()
        world.client.connects(C0, R0)
        assert {world.rs.sends("A", seq=R0 + 1, ack=C0 + 1) for _ in range(30)} == {verdicts.TO_CLIENT}


class TestAdmission:
    """tcp_syncookies, tcp_max_syn_backlog, tcp_abort_on_overflow."""

    def syns(self, world: World, count: int, start: int = 20000) -> list[Verdict]:
        clients = (CLIENT[:4] + port.to_bytes(2, "big") for port in range(start, start + count))
        return [world.put(tcp(client, VIP, "S", seq=C0, options=LINUX_SYN)) for client in clients]

    def finish(self, world: World, count: int) -> None:
        """The first sessions are answered and acknowledged."""
        for session in world.sessions()[:count]:
            here, there = session.server_key, session.client_key
            world.put(tcp(here[:4] + here[8:10], here[4:8] + here[10:], "SA", seq=R0, ack=(session.isn + 1) % 2**32))
            world.put(tcp(there[:4] + there[8:10], VIP, "A", seq=C0 + 1, ack=R0 + 1))

    def test_in_auto_cookies_begin_at_the_limit_and_end_below_three_quarters(self) -> None:
        world = proxied(AUTO, tcp_max_syn_backlog=16)
        assert self.syns(world, 20) == [verdicts.TO_REAL_SERVER] * 16 + [verdicts.COOKIE_SENT] * 4
        assert world.counter("syncookies_engaged") == 1
        assert world.shared.cookie_edges(0, 0).tolist() == [1, 0]
        self.finish(world, 4)
        assert self.syns(world, 1, 30000) == [verdicts.COOKIE_SENT], "twelve are half-open: not below three quarters yet"
        self.finish(world, 5)
        assert self.syns(world, 1, 30001) == [verdicts.TO_REAL_SERVER]
        assert world.counter("syncookies_disengaged") == 1
        assert world.shared.cookie_edges(0, 0).tolist() == [1, 1]

    @pytest.mark.parametrize(("mode", "first"), [(0, verdicts.TO_REAL_SERVER), (2, verdicts.COOKIE_SENT)])
    def test_auto_can_be_told_always_and_never(self, mode: int, first: Verdict) -> None:
        world = proxied(AUTO, tcp_syncookies=mode, tcp_max_syn_backlog=16)
        given = self.syns(world, 20)
        assert given[0] is first
        assert given.count(verdicts.SYN_BACKLOG_FULL) == (4 if mode == 0 else 0)

    def test_a_service_that_always_proxies_does_so_whatever_the_tunable_says(self) -> None:
        assert self.syns(proxied(tcp_syncookies=0), 1) == [verdicts.COOKIE_SENT]

    @pytest.mark.parametrize("abort", [0, 1])
    def test_a_full_backlog_is_silent_or_answered_with_a_reset(self, abort: int) -> None:
        world = World(tcp_max_syn_backlog=16, tcp_abort_on_overflow=abort)
        assert self.syns(world, 17)[16] is verdicts.SYN_BACKLOG_FULL
        assert world.counter("syn_backlog_full") == 1
        if abort:
            refusal = read_tcp(world.take(CLIENT))
            assert (refusal.flags, refusal.ack, refusal.source) == ("RA", C0 + 1, VIP)
        else:
            assert world.last_to(CLIENT) is None

    def test_in_a_full_backlog_the_oldest_makes_way_when_its_client_had_time_to_answer(self) -> None:
        world = World(tcp_max_syn_backlog=16)
        self.syns(world, 16)
        world.now += HALF_OPEN_GRACE_S - 0.01
        assert self.syns(world, 1, 30000) == [verdicts.SYN_BACKLOG_FULL]
        world._on_the_wire.clear()
        world.now += 0.02
        assert self.syns(world, 2, 30000) == [verdicts.TO_REAL_SERVER] * 2
        assert {row.client.rpartition(":")[2] for row in world.rows()} == {*map(str, range(20002, 20016)), "30000", "30001"}
        assert (world.counter("backlog_dropped"), world.counter("half_open_dropped")) == (2, 0)
        told = [read_tcp(world.take(RS1)) for _ in range(4)]
        assert sorted(segment.flags for segment in told) == ["R", "R", "S", "S"], "the real server forgets them, too"

    def test_a_flood_of_a_plain_service_lets_clients_in_and_those_that_finish_stay(self) -> None:
        """600 SYNs a second for 20 seconds, and each second one client that finishes its handshake 200 ms later."""
        world = World(tcp_max_syn_backlog=4096)
        served = 0
        for number in range(12_000):
            client = CLIENT[:4] + (1024 + number).to_bytes(2, "big")
            assert world.put(tcp(client, VIP, "S", seq=C0)) is verdicts.TO_REAL_SERVER
            if number % 600 == 120:
                honest = CLIENT[:4] + (1024 + number - 120).to_bytes(2, "big")
                assert world.complete(honest) is verdicts.TO_REAL_SERVER
                served += 1
            world._on_the_wire.clear()
            world.now += 1 / 600
        assert world.by_state() == {"established": served, "syn_recv": 4096}
        assert world.counter("syn_backlog_full") == 0

    def test_with_early_drop_off_a_full_backlog_refuses(self) -> None:
        world = World(tcp_max_syn_backlog=16, conn_early_drop=0)
        self.syns(world, 16)
        world.now += 1
        assert self.syns(world, 1, 30000) == [verdicts.SYN_BACKLOG_FULL]

    def test_no_half_open_session_makes_way_for_a_client_that_no_real_server_takes(self) -> None:
        world = World(tcp_max_syn_backlog=16)
        self.syns(world, 16)
        world.change(plan(weights=(0,)))
        world.now += 1
        self.syns(world, 1, 30000)
        assert world.counter("backlog_dropped") == 0

    def test_in_auto_a_stray_packet_is_no_bad_cookie_while_nobody_can_have_one(self) -> None:
        """The defence judges it, as for a service without SYNPROXY; for as long as a cookie is good, it may be one."""
        world = proxied(AUTO, tcp_max_syn_backlog=16)
        stray = tcp(CLIENT[:4] + b"\x10\x00", VIP, "PA", seq=C0, ack=R0, data=GET)
        assert world.put(stray) is verdicts.NO_SESSION
        assert (world.counter("defence_tcp_drop"), world.counter("synproxy_bad_ack")) == (1, 0)
        self.syns(world, 17)
        assert world.put(stray) is verdicts.BAD_COOKIE
        world.sleep(COOKIE_LIFE_S + 1)
        assert world.put(stray) is verdicts.NO_SESSION

    def test_in_auto_a_cookie_that_was_sent_on_an_old_session_is_good_without_it(self) -> None:
        world = World(AUTO, tcp_syncookies=0)
        world.client.connects(C0, R0)
        world.shared.set_tunables({"tcp_syncookies": 2})
        cookie = asks(world, seq=C0 + 1000).seq
        world.inside.end(world.sessions()[0], EndReason.CUT)
        assert world.client.sends("PA", seq=C0 + 1001, ack=cookie + 1, data=GET) is verdicts.TO_REAL_SERVER

    def test_the_limit_is_shared_out_among_the_shards(self) -> None:
        world = World(plan(shards=4), tcp_max_syn_backlog=64)
        assert self.syns(world, 20).count(verdicts.SYN_BACKLOG_FULL) == 4

    def test_what_began_with_a_cookie_ends_with_one_also_when_cookies_are_over(self) -> None:
        world = proxied(AUTO, tcp_syncookies=2)
        cookie = asks(world).seq
        world.shared.set_tunables({"tcp_syncookies": 0})
        assert world.client.sends("PA", seq=C0 + 1, ack=cookie + 1, data=GET) is verdicts.TO_REAL_SERVER

    def test_half_open_sessions_that_end_any_way_free_their_place(self) -> None:
        world = World(tcp_max_syn_backlog=16)
        self.syns(world, 16)
        world.sleep(61)
        world.assert_empty()
        assert self.syns(world, 1) == [verdicts.TO_REAL_SERVER]
