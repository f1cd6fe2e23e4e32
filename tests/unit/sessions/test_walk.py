"""sessions/walk.py: listing, counting and cutting sessions step by step, while packets are handled in between."""

from collections import Counter
from ipaddress import IPv4Address

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.ipc.queries import CUT, ROWS, SLABS, TALLY, Query, QueryError, SessionFilter
from appliance.model.end_reasons import EndReason
from appliance.sessions import walk as walk_module
from appliance.sessions.walk import SessionWalk
from appliance.wire.flow import pack_endpoint
from tests.support.addresses import C0, CLIENT, R0, RS1, RS2, VIP
from tests.support.proxied import proves
from tests.support.segments import read_tcp, tcp, udp
from tests.support.world import World, plan


def client(number: int) -> bytes:
    return pack_endpoint(IPv4Address("198.51.100.0") + number % 50, 10_000 + number)


def crowd(count: int, **tunables: int) -> World:
    """So many half-open sessions, of fifty clients with two real servers."""
    world = World(plan(weights=(1, 1), with_udp=True), tcp_max_syn_backlog=1 << 20, **tunables)
    for number in range(count):
        world.put(tcp(client(number), VIP, "S", seq=C0))
    return world


def clients_of(world: World, **wanted: str) -> set[str]:
    return {row.client for row in world.rows(**wanted)}


class TestFilter:
    """Each condition of a filter alone, and all at once."""

    def test_by_client(self) -> None:
        world = crowd(100)
        assert clients_of(world, client="198.51.100.7") == {"198.51.100.7:10007", "198.51.100.7:10057"}
        assert clients_of(world, client="198.51.100.7:10057") == {"198.51.100.7:10057"}
        assert clients_of(world, client="198.51.100.7:10008") == set()
        assert len(clients_of(world, client="198.51.100.0/29")) == 16
        assert len(clients_of(world, client="0.0.0.0/0")) == 100

    def test_by_real_server_service_and_state(self) -> None:
        world = crowd(10)
        world.put(udp(CLIENT, VIP, b"?"))
        world.client.sends("S", seq=C0)
        world.complete(CLIENT)
        assert len(world.rows()) == 12
        assert len(world.rows(real_server="192.0.2.101")) + len(world.rows(real_server="192.0.2.102:8080")) == 12
        assert not world.rows(real_server="192.0.2.102:80")
        assert [row.protocol for row in world.rows(service="dns")] == ["UDP"] == [row.state for row in world.rows(state="UDP")]
        assert clients_of(world, state="ESTABLISHED") == {"198.51.100.2:40000"}
        assert len(world.rows(state="SYN_RECV", service="web")) == 10
        assert not world.rows(state="SYN_RECV", service="dns")


class TestSteps:
    """The work of one step is bounded, and what an answer has while sessions come and go."""

    def test_a_piece_is_never_long_however_many_sessions_there_are(self) -> None:
        world = crowd(2500)
        pieces = list(world.walk(Query(ROWS)))
        assert sum(len(piece.items) for piece in pieces) == 2500
        assert max(len(piece.items) for piece in pieces) <= walk_module.BUDGET / 5

    def test_a_filter_that_matches_nothing_looks_at_a_bounded_number_a_step(self) -> None:
        world = crowd(2 * walk_module.BUDGET + 1)
        pieces = list(world.walk(Query(ROWS, SessionFilter(state="CLOSE"))))
        assert [len(piece.items) for piece in pieces] == [0, 0, 0]

    def test_a_session_that_ended_meanwhile_is_not_shown(self) -> None:
        world = crowd(5, tcp_timeout_syn_recv=1000)
        pieces = world.walk(Query(ROWS, limit=5))
        walk = SessionWalk(world.inside, 0, Query(ROWS))
        world.sleep(2)
        assert len(world.inside) == 0
        assert walk.step(world.now).items == next(pieces).items == []

    def test_what_is_there_from_first_to_last_is_shown_exactly_once(self) -> None:
        world = crowd(1000)
        shown = Counter[str]()
        for number, piece in enumerate(world.walk(Query(ROWS))):
            shown.update(row.client for row in piece.items)
            world.put(tcp(client(1000 + number), VIP, "S"))
            world.inside.end(world.inside.tcp.find(client_key(number))[0], EndReason.EXPIRED)  # type: ignore[arg-type]
        assert set(shown.values()) == {1}
        stayed = {row.client for row in world.rows()} - {show(client(1000 + number)) for number in range(1000)}
        assert stayed <= set(shown)
        assert len(stayed) > 900

    def test_thousands_of_pools_come_in_several_pieces_and_more_may_be_made_meanwhile(self) -> None:
        addresses = tuple(f"192.0.2.{host}" for host in range(1, 251))
        world = World(plan(weights=(1, 1), local_addresses=addresses), tcp_max_syn_backlog=1 << 20)
        for number in range(450):
            world.put(tcp(client(number), VIP, "S"))
        pieces = world.walk(Query(SLABS))
        names = [slab.name for slab in next(pieces).items]
        world.put(udp(CLIENT, VIP, b"?"))
        for number in range(450, 500):
            world.put(tcp(client(number), VIP, "S"))
        for piece in pieces:
            assert len(piece.items) <= 200
            names += (slab.name for slab in piece.items)
        assert len(names) == len(set(names)) >= 4 + 450

    def test_a_query_that_was_not_checked_is_refused(self) -> None:
        world = crowd(1)
        with pytest.raises(QueryError):
            SessionWalk(world.inside, 0, Query(ROWS, limit=1, after="nonsense"))
        with pytest.raises(ValueError, match="not in tuple"):
            SessionWalk(world.inside, 0, Query(ROWS, SessionFilter(state="nonsense")))


def client_key(number: int) -> bytes:
    return tcp(client(number), VIP, "S")[12:24]


def show(endpoint: bytes) -> str:
    return f"{IPv4Address(endpoint[:4])}:{int.from_bytes(endpoint[4:], 'big')}"


class TestPages:
    """A place says where a page ended, also when sessions have come and gone since."""

    @settings(max_examples=30)
    @given(st.integers(1, 120), st.integers(1, 50), st.data())
    def test_pages_together_are_the_whole(self, count: int, limit: int, data: st.DataObject) -> None:
        """Sessions that stay are on exactly one page, whatever comes and goes between two pages."""
        world = crowd(count)
        staying = {show(client(number)) for number in range(count)}
        shown, after, arrivals = list[str](), "", 0
        while True:
            (piece,) = world.walk(Query(ROWS, limit=limit, after=after))
            assert len(piece.items) <= limit
            shown += (row.client for row in piece.items)
            if not piece.place:
                break
            after = piece.place
            for _ in range(data.draw(st.integers(0, 2))):
                world.put(tcp(client(1000 + arrivals), VIP, "S"))
                arrivals += 1
            if gone := data.draw(st.sampled_from([None, *range(count)])):
                session = world.inside.tcp.find(client_key(gone))[0]
                if session is not None:
                    world.inside.end(session, EndReason.EXPIRED)
                    staying.discard(show(client(gone)))
        assert len(shown) == len(set(shown))
        assert staying <= set(shown)

    def test_the_last_page_says_so_when_it_is_not_full(self) -> None:
        (piece,) = crowd(3).walk(Query(ROWS, limit=4))
        assert (len(piece.items), piece.place) == (3, "")

    def test_udp_comes_after_tcp(self) -> None:
        world = crowd(2)
        world.put(udp(CLIENT, VIP, b"?"))
        (piece,) = world.walk(Query(ROWS, limit=2))
        assert [row.protocol for row in piece.items] == ["TCP", "TCP"]
        (piece,) = world.walk(Query(ROWS, limit=2, after=piece.place))
        assert [row.protocol for row in piece.items] == ["UDP"]


class TestTally:
    """How many sessions each client, service or real server has."""

    @pytest.mark.parametrize(
        ("by", "expected"),
        [
            ("client", {f"198.51.100.{host}": 50 for host in range(50)} | {"198.51.100.2": 51}),
            ("service", {"web": 2500, "dns": 1}),
            ("real_server", {"192.0.2.101:8080": 1251, "192.0.2.102:8080": 1250}),
            ("local_address", {"192.0.2.10": 1251, "192.0.2.11": 1250}),
        ],
    )
    def test_counts_of_all_pieces_add_up(self, by: str, expected: dict[str, int]) -> None:
        world = crowd(2500)
        world.put(udp(CLIENT, VIP, b"?"))
        counts = Counter[str]()
        for piece in world.walk(Query(TALLY, by=by)):
            counts.update(dict(piece.items))
        assert counts == expected

    def test_only_sessions_of_the_filter_are_counted(self) -> None:
        (piece,) = crowd(100).walk(Query(TALLY, SessionFilter(client="198.51.100.4/31"), by="client"))
        assert dict(piece.items) == {"198.51.100.4": 2, "198.51.100.5": 2}


class TestCut:
    """Both ends get a RST with exactly the number that they expect (RFC 5961, 3.2)."""

    def test_an_established_session_is_reset_at_both_ends_and_gone(self) -> None:
        world = World()
        world.client.connects(C0, R0)
        world.client.sends("PA", seq=C0 + 1, ack=R0 + 1, data=b"hello")
        world.rs.gets("PA")
        world.rs.sends("PA", seq=R0 + 1, ack=C0 + 6, data=b"you")
        world.client.gets("PA")
        world.client.sends("A", seq=C0 + 6, ack=R0 + 4)
        world.rs.gets("A")
        assert cut(world) == 1
        world.rs.gets("R", seq=C0 + 6)
        world.client.gets("R", seq=R0 + 4)
        world.assert_quiet()
        world.assert_empty()
        assert world.counter("sessions_cut") == 1

    def test_a_cut_does_not_depend_on_conn_expire_tcp_rst(self) -> None:
        """That tunable is about idle sessions; a session that is cut is meant to end."""
        world = World(conn_expire_tcp_rst=0)
        world.client.connects(C0, R0)
        cut(world)
        world.rs.gets("R", seq=C0 + 1)
        world.client.gets("R", seq=R0 + 1)

    def test_a_client_without_an_answer_is_refused(self) -> None:
        world = World()
        world.client.sends("S", seq=C0)
        world.rs.gets("S")
        cut(world)
        world.rs.gets("R", seq=C0 + 1)
        world.client.gets("RA", seq=0, ack=C0 + 1)
        world.assert_empty()

    def test_a_half_closed_session_is_reset_after_the_fin(self) -> None:
        world = World()
        world.client.connects(C0, R0)
        world.rs.sends("FA", seq=R0 + 1, ack=C0 + 1)
        world.client.gets("FA")
        world.client.sends("A", seq=C0 + 1, ack=R0 + 2)
        world.rs.gets("A")
        assert world.state() == "FIN_WAIT"
        cut(world)
        world.rs.gets("R", seq=C0 + 1)
        world.client.gets("R", seq=R0 + 2)
        world.assert_quiet()

    def test_a_proxied_client_is_reset_at_its_cookie(self) -> None:
        world = World(plan(synproxy="always"))
        cookie = proves(world)
        assert world.state() == "SYN_SENT"
        cut(world)
        world.rs.gets("R", seq=C0 + 1)
        world.client.gets("R", seq=(cookie + 1) % 2**32)
        world.assert_quiet()
        world.assert_empty()
        assert world.counter("synproxy_rs_error") == 0, "the real server did nothing wrong"

    def test_a_session_that_is_over_is_cut_without_a_reset(self) -> None:
        world = World(plan(with_udp=True))
        world.client.connects(C0, R0)
        world.client.sends("R", seq=C0 + 1)
        world.rs.gets("R")
        world.put(udp(CLIENT, VIP, b"?"))
        world.take(RS1)
        assert cut(world) == 2
        world.assert_quiet()
        world.assert_empty()

    def test_only_sessions_of_the_filter_are_cut_and_a_bounded_number_a_step(self) -> None:
        world = crowd(500)
        pieces = list(world.walk(Query(CUT, SessionFilter(real_server="192.0.2.102"))))
        assert max(count for piece in pieces for count in piece.items) <= walk_module.BUDGET / 15
        assert sum(count for piece in pieces for count in piece.items) == 250
        assert {row.real_server for row in world.rows()} == {"192.0.2.101:8080"}
        assert {read_tcp(raw).flags for raw in world._on_the_wire if raw[16:20] == RS2[:4]} == {"S", "R"}


def cut(world: World) -> int:
    return sum(count for piece in world.walk(Query(CUT)) for count in piece.items)
