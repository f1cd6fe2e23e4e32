"""Packets that the lane has to carry, so that no program passes that hands everything on; and those that it must not."""

from collections.abc import Iterator
from struct import pack

import pytest

from appliance.ipc.lane_layout import RealServerFlags
from appliance.model.tcp_state import TcpState
from appliance.wire.flow import destination_of, source_of
from tests.kernel.lane import CARRIED, DROPPED, Lane, Port
from tests.kernel.lives import Lives
from tests.support.addresses import C0, CLIENT, R0, VIP
from tests.support.segments import fragments, tcp, udp
from tests.support.tcp_options import LINUX_SYN, MSS_1460
from tests.support.world import World, plan

TIMESTAMP = b"\x01\x01\x08\x0a" + bytes(range(8))


def sack(blocks: int) -> bytes:
    return bytes((1, 1, 5, 2 + 8 * blocks)) + bytes(range(8 * blocks))


class Plain:
    """A plain session in its first moments, and packets of its ends in the client's numbers."""

    def __init__(self, lane: Lane, syn_data: bytes = b"") -> None:
        self.world = World()
        self.lives = Lives(lane, self.world)
        self.lane = lane
        self.lives.put(tcp(CLIENT, VIP, "S", seq=C0, options=LINUX_SYN, data=syn_data), 0)
        (session,) = self.world.sessions()
        self.rs, self.local, self.shift = source_of(session.server_key), destination_of(session.server_key), session.isn - C0

    def client(self, flags: str, at: int = 1, ack: int = 1, data: bytes = b"", options: bytes = b"") -> bytes:
        return tcp(CLIENT, VIP, flags, seq=C0 + at, ack=R0 + ack, data=data, options=options)

    def server(self, flags: str, at: int = 1, ack: int = 1, data: bytes = b"", options: bytes = b"") -> bytes:
        ack = (C0 + self.shift + ack) % 2**32
        return tcp(self.rs, self.local, flags, seq=R0 + at, ack=ack, data=data, options=options)

    def connect(self) -> None:
        """The rest of the handshake, and a byte each way, so that the opening is over."""
        for raw, direction in (
            (self.server("SA", 0, 1, options=MSS_1460), 1),
            (self.client("A"), 0),
            (self.client("PA", data=b"?"), 0),
            (self.server("PA", 1, 2, data=b"!"), 1),
            (self.client("A", 2, 2), 0),
        ):
            assert self.lives.put(raw, direction).verdict == CARRIED


def test_a_plain_life(lane: Lane) -> None:
    plain = Plain(lane)
    for raw, direction in (
        (plain.server("SA", 0, 1, options=LINUX_SYN), 1),
        (plain.client("A", options=TIMESTAMP), 0),
        (plain.client("PA", data=b"GET", options=TIMESTAMP), 0),
        (plain.server("A", 1, 4, options=TIMESTAMP), 1),
        (plain.server("PA", 1, 4, data=b"x" * 1000, options=TIMESTAMP), 1),
        (plain.client("A", 4, 1001, options=TIMESTAMP), 0),
        (plain.client("FA", 4, 1001, options=TIMESTAMP), 0),
        (plain.server("FA", 1001, 5, options=TIMESTAMP), 1),
        (plain.client("A", 5, 1002, options=TIMESTAMP), 0),
    ):
        assert plain.lives.put(raw, direction).verdict == CARRIED, (plain.lives.told, plain.world.transcript)
    assert plain.world.state() == "CLOSE"


def test_the_client_option_goes_in_until_the_client_has_acknowledged_a_byte(lane: Lane) -> None:
    plain = Plain(lane)
    plain.lives.put(plain.server("SA", 0, 1, options=MSS_1460), 1)
    for size in (0, 1, 2, 3, 100, 1411, 1412):
        judged = plain.lives.put(plain.client("PA", data=b"d" * size, options=b""), 0)
        assert judged.counted == {"carried": 1, "option_added": 1}, size
    assert plain.lives.put(plain.client("PA", data=b"d" * 1453), 0).counted == {"carried": 1, "option_no_room": 1}
    assert plain.lives.put(plain.client("A", 1, 1, options=sack(1)), 0).counted == {"up_options": 1}


@pytest.mark.parametrize(
    "options", [b"", TIMESTAMP, sack(1), sack(2), sack(3), sack(4), TIMESTAMP + sack(1), TIMESTAMP + sack(3)]
)
@pytest.mark.parametrize("size", [0, 1, 1000, 1400])
@pytest.mark.parametrize("flags", ["A", "PA", "PAU", "AEW"])
def test_data_and_acknowledgements_are_carried(lane: Lane, options: bytes, size: int, flags: str) -> None:
    plain = Plain(lane)
    plain.connect()
    for direction, packet in enumerate((plain.client, plain.server)):
        raw = packet(flags, 2, 2, data=b"d" * size, options=options)
        assert plain.lives.put(raw, direction).counted == {"carried": 1}


@pytest.mark.parametrize("flags", ["FA", "FPA"])
@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 1400])
@pytest.mark.parametrize("direction", [0, 1])
def test_a_fin_in_order_is_carried(lane: Lane, flags: str, size: int, direction: int) -> None:
    plain = Plain(lane)
    plain.connect()
    raw = (plain.server if direction else plain.client)(flags, 2, 2, data=bytes(range(256)) * 8)[: 40 + size]
    raw = (plain.server if direction else plain.client)(flags, 2, 2, data=raw[40:])
    assert plain.lives.put(raw, direction).counted == {"carried": 1}
    assert plain.world.state() == ("FIN_WAIT" if direction else "CLOSE_WAIT")


def damaged(raw: bytes) -> bytes:
    """With one bit wrong in its last byte, or in its window when there are no data behind the headers."""
    at = 35 if len(raw) == 40 else len(raw) - 1
    return raw[:at] + bytes((raw[at] ^ 1,)) + raw[at + 1 :]


@pytest.mark.parametrize("size", [0, 1, 511, 512, 513, 1400])
def test_a_damaged_fin_goes_up(lane: Lane, size: int) -> None:
    plain = Plain(lane)
    plain.connect()
    assert plain.lives.put(damaged(plain.client("FA", 2, 2, data=b"d" * size)), 0).counted == {"up_checksum": 1}


@pytest.mark.parametrize("flags", ["A", "PA", "FA"])
@pytest.mark.parametrize("at", [1, 4, 8, 10, 11])
def test_a_packet_with_a_damaged_ip_header_goes_up(lane: Lane, flags: str, at: int) -> None:
    """In its DSCP, identification, time to live, or checksum."""
    plain = Plain(lane)
    plain.connect()
    raw = plain.client(flags, 2, 2)
    assert plain.lane.put(raw[:at] + bytes((raw[at] ^ 2,)) + raw[at + 1 :], 0).counted == {"up_checksum": 1}


@pytest.mark.parametrize("is_acknowledged", [True, False])
def test_a_fin_that_is_repeated_is_carried(lane: Lane, is_acknowledged: bool) -> None:
    """Also while the real server has acknowledged none of what precedes it."""
    plain = Plain(lane)
    plain.connect()
    plain.lives.put(plain.client("PA", 2, 2, data=b"d" * 100), 0)
    if is_acknowledged:
        plain.lives.put(plain.server("A", 2, 102), 1)
    for raw, direction in ((plain.client("FA", 102, 2), 0), (plain.client("FA", 102, 2), 0), (plain.server("A", 2, 103), 1)):
        assert plain.lives.put(raw, direction).verdict == CARRIED


@pytest.mark.parametrize(
    "options",
    [MSS_1460, LINUX_SYN, b"", b"\2\4\5\x78", b"\2\4\2\x18", b"\2\4\0\x50", b"\2\4\0\0", b"\2\4\xff\xff"],
)
def test_the_usual_answer_is_carried(lane: Lane, options: bytes) -> None:
    plain = Plain(lane)
    assert plain.lives.put(plain.server("SA", 0, 1, options=options), 1).counted == {"carried": 1}
    assert plain.lives.put(plain.client("A"), 0).counted == {"carried": 1, "option_added": 1}


def test_other_answers_go_up(lane: Lane) -> None:
    for flags, ack, data, options, reason in (
        ("SA", 2, b"", MSS_1460, "up_answer"),
        ("SA", 0, b"", MSS_1460, "up_answer"),
        ("SA", 1, b"data", MSS_1460, "up_answer"),
        ("SA", 1, b"", b"\1\1\4\2" + MSS_1460, "up_answer"),
        ("A", 1, b"", b"", "up_answer"),
        ("RA", 1, b"", b"", "up_answer"),
    ):
        plain = Plain(lane)
        assert plain.lives.put(plain.server(flags, 0, ack, data, options), 1).counted == {reason: 1}, (flags, ack)
    plain = Plain(lane)
    assert plain.lives.put(damaged(plain.server("SA", 0, 1, options=MSS_1460)), 1).counted == {"up_checksum": 1}


def test_the_answer_to_a_syn_with_data_goes_up(lane: Lane) -> None:
    plain = Plain(lane, syn_data=b"early")
    assert plain.lives.put(plain.server("SA", 0, 1, options=MSS_1460), 1).counted == {"up_answer": 1}


def test_half_open_a_client_has_to_acknowledge_what_it_was_sent(lane: Lane) -> None:
    plain = Plain(lane)
    assert plain.lives.put(plain.client("A"), 0).counted == {"up_numbers": 1}
    plain.lives.put(plain.server("SA", 0, 1, options=MSS_1460), 1)
    for ack in (0, 2, 1000):
        assert plain.lives.put(plain.client("A", 1, ack), 0).counted == {"up_numbers": 1}
    assert plain.lives.put(plain.client("A"), 0).verdict == CARRIED


def test_a_fin_that_was_overtaken_is_carried(lane: Lane) -> None:
    """It acknowledges somewhat less than its sender has acknowledged already."""
    plain = Plain(lane)
    plain.connect()
    assert plain.lives.put(plain.client("FA", 2, 1), 0).counted == {"carried": 1}


def test_padding_is_taken_away(lane: Lane) -> None:
    plain = Plain(lane)
    plain.connect()
    judged = lane.put(plain.client("A", 2, 2), 0, padding=b"\xaa" * 6)
    assert (judged.verdict, len(judged.raw)) == (CARRIED, 40)


def test_datagrams_are_carried(lane: Lane) -> None:
    world = World(plan(with_udp=True))
    lives = Lives(lane, world)
    lives.put(udp(CLIENT, VIP, b"question"), 0)
    (session,) = (session for bucket in world.inside.udp.walk() for session in bucket)
    rs, local = source_of(session.server_key), destination_of(session.server_key)
    for raw, direction in ((udp(rs, local, b"answer"), 1), (udp(CLIENT, VIP, b"more"), 0)):
        assert lives.put(raw, direction).counted == {"up_held": 1}, "nobody has confirmed it yet"
    for size in (0, 1, 2, 1471, 1472):
        for with_checksum in (True, False):
            for direction, ends in enumerate(((CLIENT, VIP), (rs, local))):
                raw = udp(*ends, bytes(size), with_checksum=with_checksum)
                assert lives.put(raw, direction).counted == {"carried": 1}, (size, direction)


@pytest.fixture
def plain(lane: Lane) -> Iterator[Plain]:
    plain = Plain(lane)
    plain.connect()
    yield plain
    lane.set_real_server(0)


def test_a_closed_lane_carries_nothing(plain: Plain) -> None:
    plain.lane.set(is_open=0)
    assert plain.lane.put(plain.client("A", 2, 2), 0).counted == {"up_closed": 1}


@pytest.mark.parametrize(
    ("flags", "inbound", "outbound"),
    [
        (RealServerFlags.IS_REMOVED, "up_removed", "carried"),
        (RealServerFlags.NO_LANE, "up_closed", "up_closed"),
        (RealServerFlags.ASKS_FOR_COOKIES, "carried", "carried"),
    ],
)
def test_what_the_real_server_says(plain: Plain, flags: RealServerFlags, inbound: str, outbound: str) -> None:
    plain.lane.set_real_server(0, flags=flags)
    assert plain.lane.put(plain.client("A", 2, 2), 0).counted == {inbound: 1}
    assert plain.lane.put(plain.server("A", 2, 2), 1).counted == {outbound: 1}


def test_a_held_session_is_not_carried(plain: Plain) -> None:
    entry = plain.lives.entry_of(plain.world.sessions()[0])
    before = plain.lane.bytes_of(entry)
    plain.lane.write(entry, before[:12] + pack("<I", 1) + before[16:])
    assert plain.lane.put(plain.client("A", 2, 2), 0).counted == {"up_held": 1}


def test_each_end_on_its_own_side(plain: Plain) -> None:
    clients, servers = plain.lane.ports
    assert plain.lane.put(plain.client("A", 2, 2), 0, port=servers).counted == {"up_side": 1}
    assert plain.lane.put(plain.server("A", 2, 2), 1, port=clients).counted == {"up_side": 1}
    assert plain.lane.put(plain.server("A", 2, 2), 1, port=Port(1, bytes(6))).counted == {"up_side": 1}


def test_frames_for_another_machine_are_left_alone(plain: Plain) -> None:
    for mac in (b"\x02\0\0\0\0\x07", b"\xff" * 6):
        assert plain.lane.put(plain.client("A", 2, 2), 0, mac=mac).counted == {"up_no_session": 1}


def test_what_is_no_whole_packet_goes_up(plain: Plain) -> None:
    raw = plain.client("A", 2, 2, data=b"d" * 64)
    first, *rest = fragments(raw, 40)
    options = b"\x46" + raw[1:20] + b"\x01" * 4 + raw[20:]
    for packet in (first, *rest, options, raw[:-1], raw[:32] + b"\x40" + raw[33:], raw[:32] + b"\xf0" + raw[33:60]):
        judged = plain.lane.put(packet, 0)
        assert judged.counted in ({"up_ip": 1}, {"up_no_session": 1}), judged
        assert judged.raw == packet


@pytest.mark.parametrize(("hops", "told"), [(0, "up_ttl"), (1, "up_ttl"), (2, "carried"), (255, "carried")])
def test_a_packet_needs_a_hop_to_live(plain: Plain, hops: int, told: str) -> None:
    raw = tcp(CLIENT, VIP, "A", seq=C0 + 2, ack=R0 + 2, ttl=hops)
    assert plain.lane.put(raw, 0).counted == {told: 1}


def test_a_route_that_says_no(plain: Plain) -> None:
    assert plain.lane.put(plain.client("A", 2, 2, data=b"d" * 1461), 0).counted == {"up_route": 1}
    entry = plain.lives.entry_of(plain.world.sessions()[0])
    record = plain.lane.record(entry)
    plain.lane.insert(entry, record._replace(real_server=record.real_server._replace(address=b"\x0a\0\0\x01")))
    assert plain.lane.put(plain.client("A", 2, 2), 0).counted == {"up_route": 1}


def test_storms_are_dropped_until_the_interval_has_passed(lane: Lane) -> None:
    world = World(plan(synproxy="always"), synproxy_defer=0)
    lives = Lives(lane, world)
    lane.set(storm_threshold=2, storm_interval_ns=1 << 62)
    world.client.sends("S", seq=C0, options=LINUX_SYN)
    cookie = world.client.gets("SA").seq
    world.client.sends("PA", seq=C0 + 1, ack=(cookie + 1) % 2**32, data=b"?")
    world.rs.gets("S")
    world.rs.sends("SA", seq=R0, ack=C0 + 1, options=MSS_1460)
    (session,) = world.sessions()
    lives.publish(session)
    ack = tcp(source_of(session.server_key), destination_of(session.server_key), "A", seq=R0 + 1, ack=(session.isn + 2) % 2**32)
    assert [lane.put(ack, 1).verdict for _ in range(4)] == [CARRIED, CARRIED, DROPPED, DROPPED]
    others = [
        tcp(ack[12:16] + ack[20:22], ack[16:20] + ack[22:24], "A", seq=R0 + 1, ack=(session.isn + 2) % 2**32, options=options)
        for options in (TIMESTAMP, TIMESTAMP[:-1] + b"x", sack(1), sack(2), sack(1)[:-1] + b"x")
    ]
    assert [lane.put(other, 1).verdict for other in others * 3] == [CARRIED] * 15, "their options differ"
    assert [lane.put(others[4], 1).verdict for _ in range(2)] == [CARRIED, DROPPED]
    for flags in ("PA", "AE", "AW"):
        odd = tcp(ack[12:16] + ack[20:22], ack[16:20] + ack[22:24], flags, seq=R0 + 1, ack=(session.isn + 2) % 2**32)
        assert [lane.put(odd, 1).verdict for _ in range(4)] == [CARRIED] * 4, "it says more than an acknowledgement"
    lane.set(storm_threshold=2, storm_interval_ns=0)
    assert [lane.put(ack, 1).verdict for _ in range(4)] == [CARRIED] * 4


class TestSegments:
    """Several segments in one packet, as hosts hand them on that leave the cutting to their hardware."""

    @pytest.mark.parametrize("size", [1, 499, 500, 501, 2999])
    @pytest.mark.parametrize("direction", [0, 1])
    def test_they_are_carried_and_counted_one_by_one(self, plain: Plain, size: int, direction: int) -> None:
        packet = plain.server if direction else plain.client
        data = bytes(range(250)) * 12
        whole = packet("PA", 2, 2, data=data[:size], options=TIMESTAMP)
        parts = [packet("A", 2 + at, 2, data=data[at : min(at + 500, size)], options=TIMESTAMP) for at in range(0, size, 500)]
        entry = plain.lives.entry_of(plain.world.sessions()[0])
        before = plain.lane.bytes_of(entry)
        one_by_one = [plain.lane.put(part, direction) for part in parts]
        wanted = plain.lane.record(entry)
        plain.lane.write(entry, before)
        judged = plain.lane.put(whole, direction, gso_size=500)
        assert judged.verdict == CARRIED
        assert judged.traffic == {direction: (len(parts), sum(map(len, parts)))}
        assert plain.lane.record(entry)._replace(last_seen_ns=0) == wanted._replace(last_seen_ns=0)
        assert judged.raw[20:36] == one_by_one[0].raw[20:33] + judged.raw[33:34] + one_by_one[0].raw[34:36]
        assert judged.raw[38:52] == one_by_one[0].raw[38:52]
        assert judged.raw[52:] == data[:size]

    def test_a_fin_goes_up(self, plain: Plain) -> None:
        assert plain.lane.put(plain.client("FA", 2, 2, data=bytes(3000)), 0, gso_size=1448).counted == {"up_segments": 1}

    def test_what_needs_the_option_goes_up(self, lane: Lane) -> None:
        plain = Plain(lane)
        plain.lives.put(plain.server("SA", 0, 1, options=MSS_1460), 1)
        assert lane.put(plain.client("A", 1, 1, data=bytes(3000)), 0, gso_size=1448).counted == {"up_segments": 1}

    def test_the_largest_of_them_has_to_fit_the_route(self, plain: Plain) -> None:
        raw = plain.client("A", 2, 2, data=bytes(3000))
        assert plain.lane.put(raw, 0, gso_size=1460).verdict == CARRIED
        assert plain.lane.put(raw, 0, gso_size=1461).counted == {"up_route": 1}

    def test_beyond_all_reach_they_go_up(self, plain: Plain) -> None:
        """One by one, the first of them would be within reach, and move what the others are measured by."""
        raw = tcp(CLIENT, VIP, "A", seq=C0 + 2 + (1 << 30) - 1500, ack=R0 + 2, data=bytes(3000))
        assert plain.lane.put(raw, 0, gso_size=1448).counted == {"up_numbers": 1}


def test_states_that_are_closing_behind_cookies(lane: Lane) -> None:
    """A packet that could be a new connection goes up; one with an acknowledgement in order does not, until all is over."""
    plain = Plain(lane)
    plain.connect()
    entry = plain.lives.entry_of(plain.world.sessions()[0])
    lane.set_real_server(0, flags=RealServerFlags.ASKS_FOR_COOKIES)
    record = lane.record(entry)
    for state in TcpState:
        lane.insert(entry, record._replace(state=state))
        is_over, is_closing = state in (5, 6), state in (4, 5, 6, 7, 8)
        assert lane.put(plain.client("A", 2, 2), 0).counted == {"up_closing" if is_over else "carried": 1}, state
        lane.insert(entry, record._replace(state=state))
        assert lane.put(plain.client("A", 2, 3), 0).counted == {"up_closing" if is_closing else "carried": 1}, state
    record = record._replace(state=TcpState.FIN_WAIT, rs_next_seq=record.rs_next_seq + (1 << 21))
    for ahead, told in ((1 << 20, "carried"), ((1 << 20) + 1, "up_closing")):
        lane.insert(entry, record)
        assert lane.put(plain.client("A", 2, 2 + ahead), 0).counted == {told: 1}
    lane.set_real_server(0)
