"""shard/tracer.py: which packets a trace keeps, what it says of them, and how much it keeps."""

import pytest

from appliance.ipc.queries import TRACE, Query, QueryError, SessionFilter
from appliance.ipc.traced import CLIENT as FROM_CLIENT
from appliance.ipc.traced import OTHER, SERVER, Traced, read_piece
from appliance.shard.tracer import OWN_KEPT, PACKETS_KEPT, TRACES_MAX, PacketTrace
from tests.support.addresses import C0, CLIENT, R0, ROUTER_ADDRESS, VIP, VIP_ADDRESS
from tests.support.segments import icmp_error, tcp, udp
from tests.support.world import World, plan

STRANGER = bytes((198, 51, 100, 9)) + CLIENT[4:]


def query(client: str = "198.51.100.2", service: str = "", port: int = 0, snap_bytes: int = 80) -> Query:
    return Query(TRACE, SessionFilter(client, service), port=port, snap_bytes=snap_bytes)


def taken(trace: PacketTrace) -> list[Traced]:
    piece = trace.step(0.0)
    assert not piece.is_last
    return read_piece(piece.items)[1]


def judged(found: list[Traced]) -> list[tuple[str, str]]:
    return [(packet.sender, packet.reason) for packet in found]


def test_a_connection_is_seen_in_both_directions_with_what_went_on() -> None:
    world = World()
    trace = world.tracer.begin(query(snap_bytes=3840))
    world.client.connects()
    world.put(tcp(STRANGER, VIP, "S"))
    seen = taken(trace)
    assert judged(seen) == [(FROM_CLIENT, "to_real_server"), (SERVER, "to_client"), (FROM_CLIENT, "to_real_server")]
    assert [packet.at_s for packet in seen] == [world.now] * 3
    assert seen[0].packet.data == tcp(CLIENT, VIP, "S", seq=C0)
    assert all(packet.after is not None and packet.after.data[12:24] != packet.packet.data[12:24] for packet in seen)
    assert taken(trace) == [], "each is said once"


def test_drops_have_no_after_and_answers_of_our_own_stand_beside_what_they_answer() -> None:
    world = World(plan(weights=(0,)))
    trace = world.tracer.begin(query())
    world.client.sends("S", seq=C0)
    [seen] = taken(trace)
    assert (seen.reason, seen.after, len(seen.own)) == ("no_real_server", None, 1)


def test_a_packet_that_ends_its_session_is_still_one_of_its_client() -> None:
    world = World()
    world.client.connects()
    trace = world.tracer.begin(query())
    world.rs.sends("RA", seq=R0 + 1, ack=C0 + 1)
    world.sleep(100)
    assert not world.sessions()
    world.rs.sends("A", seq=R0 + 1, ack=C0 + 1)
    assert judged(taken(trace)) == [(SERVER, "to_client")], "and what comes later is nobody's"


def test_an_error_belongs_to_the_client_of_the_packet_that_it_quotes() -> None:
    world = World()
    trace = world.tracer.begin(query())
    world.client.sends("S", seq=C0)
    to_server = world.rs.gets("S").raw
    router = ROUTER_ADDRESS.packed
    world.put(icmp_error(router, to_server[12:16], to_server))
    world.put(icmp_error(router, VIP_ADDRESS.packed, tcp(VIP, CLIENT, "SA")))
    world.put(icmp_error(router, VIP_ADDRESS.packed, tcp(VIP, STRANGER, "SA")))
    assert judged(taken(trace))[1:] == [(OTHER, "icmp_translated"), (OTHER, "icmp_translated")]
    world.put(icmp_error(router, VIP_ADDRESS.packed, b"short"))
    assert taken(trace) == []


@pytest.mark.parametrize(
    ("wanted", "is_seen"),
    [
        (query(), True),
        (query("198.51.100.0/24"), True),
        (query("198.51.100.2:40000"), True),
        (query("198.51.100.2:40001"), False),
        (query("198.51.100.3"), False),
        (query(port=80), True),
        (query(port=81), False),
        (query(service="web"), True),
        (query(service="dns"), False),
        (query(service="web", port=81), False),
    ],
)
def test_a_trace_wants_what_its_filter_says_with_and_without_a_session(wanted: Query, is_seen: bool) -> None:
    world = World(plan(with_udp=True))
    trace = world.tracer.begin(wanted)
    world.put(tcp(CLIENT, VIP, "A"))
    world.client.connects()
    assert len(taken(trace)) == 4 * is_seen


def test_a_datagram_is_of_the_service_of_its_protocol() -> None:
    world = World(plan(with_udp=True))
    traces = [world.tracer.begin(query(service=name)) for name in ("web", "dns")]
    world.put(udp(CLIENT, VIP, b"question"))
    assert [judged(taken(trace)) for trace in traces] == [[], [(FROM_CLIENT, "to_real_server")]]


def test_bytes_without_addresses_are_nobodys() -> None:
    world = World()
    trace = world.tracer.begin(query("0.0.0.0/0"))
    whole = tcp(CLIENT, VIP, "A")
    for length in range(28):
        world.put(whole[:length])
    assert taken(trace) == []
    world.put(whole[:28])
    assert judged(taken(trace)) == [(FROM_CLIENT, "truncated")]


def test_a_trace_keeps_a_bounded_number_of_packets_and_counts_the_others() -> None:
    world = World()
    trace = world.tracer.begin(query())
    for _ in range(PACKETS_KEPT + 3):
        world.put(tcp(CLIENT, VIP, "A"))
    left_out, packets = read_piece(trace.step(0.0).items)
    assert (left_out, len(packets)) == (3, PACKETS_KEPT)
    world.put(tcp(CLIENT, VIP, "A"))
    assert read_piece(trace.step(0.0).items)[0] == 0


def test_a_trace_keeps_a_bounded_number_of_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.shard.tracer.BYTES_KEPT", 301)
    world = World()
    trace = world.tracer.begin(query(snap_bytes=1000))
    for _ in range(3):
        world.put(tcp(CLIENT, VIP, "A", data=bytes(260)))
    left_out, packets = read_piece(trace.step(0.0).items)
    assert (left_out, len(packets)) == (1, 2), "the second one begins below the bound"


def test_a_long_packet_is_cut_and_its_length_is_said() -> None:
    world = World()
    trace = world.tracer.begin(query(snap_bytes=100))
    world.put(tcp(CLIENT, VIP, "A", data=bytes(500)))
    [seen] = taken(trace)
    assert (len(seen.packet.data), seen.packet.whole_bytes) == (100, 540)


def test_many_answers_of_our_own_are_cut_too() -> None:
    world = World()
    trace = world.tracer.begin(query())
    world.shard.output.segments += [b"one"] * (OWN_KEPT + 1)
    world.put(tcp(CLIENT, VIP, "A"))
    assert len(taken(trace)[0].own) == OWN_KEPT


def test_a_shard_has_a_bounded_number_of_traces_and_an_ended_one_gives_its_place_back() -> None:
    tracer = World().tracer
    traces = [tracer.begin(query()) for _ in range(TRACES_MAX)]
    with pytest.raises(QueryError, match="4 traces are under way already"):
        tracer.begin(query())
    tracer.end(traces[1])
    tracer.end(None)
    assert tracer.begin(query()) in tracer.traces


def test_an_error_of_the_shard_is_seen_and_goes_on_to_the_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(*_: object) -> None:
        raise RuntimeError("a mistake")

    world = World()
    monkeypatch.setattr(world.shard._first_packet, "of_tcp", fails)
    trace = world.tracer.begin(query())
    with pytest.raises(RuntimeError, match="a mistake"):
        world.put(tcp(CLIENT, VIP, "A"))
    assert judged(taken(trace)) == [(FROM_CLIENT, "internal_error")]


def test_a_query_that_was_not_checked_is_refused() -> None:
    with pytest.raises(QueryError, match="client: a trace needs one"):
        World().tracer.begin(query(""))
    with pytest.raises(QueryError, match=r"snap_bytes: 79 is out of range 80\.\.3840"):
        World().tracer.begin(query(snap_bytes=79))
    with pytest.raises(QueryError, match=r"port: 65536 is out of range"):
        World().tracer.begin(query(port=65536))
