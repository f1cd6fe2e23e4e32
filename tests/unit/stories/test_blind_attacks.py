"""Somebody who guesses a client's address and port, but sees nothing of the connection, moves no session. RFC 5961, 3 to 5."""

from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from appliance.model import verdicts
from appliance.shard.closing import MOST_IN_FLIGHT
from appliance.state.progress import progress_of
from tests.support.addresses import C0, CLIENT, R0, VIP
from tests.support.proxied import GET, opens
from tests.support.segments import tcp
from tests.support.world import End, World, plan

GUESSES = st.integers(0, 2**32 - 1)


def plain() -> World:
    """An established session of a plain service, both sides of which have sent data."""
    world = World()
    world.client.connects(C0, R0)
    world.client.sends("PA", seq=C0 + 1, ack=R0 + 1, data=GET)
    world.rs.sends("PA", seq=R0 + 1, ack=C0 + 1 + len(GET), data=b"answer")
    world.client.sends("A", seq=C0 + 1 + len(GET), ack=R0 + 7)
    world._on_the_wire.clear()
    return world


def proxied() -> World:
    """The same behind SYNPROXY."""
    world = World(plan(synproxy="always"))
    cookie = opens(world)
    world.rs.sends("PA", seq=R0 + 1, ack=C0 + 1 + len(GET), data=b"answer")
    world.client.sends("A", seq=C0 + 1 + len(GET), ack=cookie + 7)
    world._on_the_wire.clear()
    return world


WORLDS = pytest.mark.parametrize("scene", [plain, proxied])
CLIENT_NEXT = C0 + 1 + len(GET)


def rs_next(world: World) -> int:
    """What the client acknowledges last: the real server's number behind its answer, as the client sees it."""
    (session,) = world.sessions()
    return progress_of(session).client.acked


def both_ends(world: World) -> list[tuple[End, int, int]]:
    """Each end with the number it sends next and the number it acknowledges."""
    return [(world.client, CLIENT_NEXT, rs_next(world)), (world.rs, R0 + 7, CLIENT_NEXT)]


@WORLDS
@given(seq=GUESSES, ack=GUESSES, flags=st.sampled_from(["FA", "FPA", "R", "RA", "S"]), data=st.binary(max_size=20))
def test_no_guess_moves_a_session(scene: Callable[[], World], seq: int, ack: int, flags: str, data: bytes) -> None:
    world = scene()
    (session,) = world.sessions()
    assume(all((number - seq) % 2**32 > 25 for number in (CLIENT_NEXT, C0)))
    before = progress_of(session)
    world.put(tcp(CLIENT, VIP, flags, seq=seq, ack=ack, data=data if flags[0] == "F" else b""))
    assert world.state() == "ESTABLISHED"
    assert progress_of(session).real_server == before.real_server


@WORLDS
@pytest.mark.parametrize("flags", ["FA", "R"])
@pytest.mark.parametrize("off_by", [-1, 1, 1000, -70_000, 1 << 20, 1 << 31])
@pytest.mark.parametrize("from_client", [True, False])
def test_a_fin_or_rst_that_is_off_by_some_bytes_is_passed_on_and_moves_nothing(
    scene: Callable[[], World], flags: str, off_by: int, from_client: bool
) -> None:
    world = scene()
    end, seq, ack = both_ends(world)[not from_client]
    verdict = end.sends(flags, seq=(seq + off_by) % 2**32, ack=ack)
    assert verdict is (verdicts.TO_REAL_SERVER if from_client else verdicts.TO_CLIENT), "its receiver judges for itself"
    assert world.state() == "ESTABLISHED"


@WORLDS
@pytest.mark.parametrize("from_client", [True, False])
@pytest.mark.parametrize(
    ("flags", "states"), [("FA", ("CLOSE_WAIT", "FIN_WAIT")), ("R", ("CLOSE", "CLOSE")), ("RA", ("CLOSE", "CLOSE"))]
)
def test_the_right_numbers_move_it(scene: Callable[[], World], flags: str, states: tuple[str, str], from_client: bool) -> None:
    world = scene()
    end, seq, ack = both_ends(world)[not from_client]
    end.sends(flags, seq=seq, ack=ack)
    assert world.state() == states[not from_client]


@WORLDS
@pytest.mark.parametrize("from_client", [True, False])
def test_a_fin_with_an_acknowledgement_of_what_was_never_sent_moves_nothing(
    scene: Callable[[], World], from_client: bool
) -> None:
    for wrong_by in (1, -(1 << 16) - 1, 1 << 30):
        world = scene()
        end, seq, ack = both_ends(world)[not from_client]
        end.sends("FA", seq=seq, ack=(ack + wrong_by) % 2**32)
        assert world.state() == "ESTABLISHED"


@pytest.mark.parametrize("flags", ["FA", "R", "RA"])
@pytest.mark.parametrize("from_client", [True, False])
def test_a_damaged_one_moves_nothing_although_its_numbers_are_right(flags: str, from_client: bool) -> None:
    world = plain()
    end, seq, ack = both_ends(world)[not from_client]
    shown_ack = ack if from_client else (ack + world.rs.shift) % 2**32
    raw = tcp(end.here, end.there, flags, seq=seq, ack=shown_ack)
    world.put(raw[:36] + bytes((raw[36] ^ 1, raw[37])) + raw[38:])
    assert world.state() == "ESTABLISHED"


@WORLDS
def test_a_client_that_aborts_with_data_on_its_way_moves_its_session(scene: Callable[[], World]) -> None:
    """Its real server has not acknowledged the data in front of the RST."""
    world = scene()
    ack = rs_next(world)
    world.client.sends("PA", seq=CLIENT_NEXT, ack=ack, data=b"more")
    world.client.sends("RA", seq=CLIENT_NEXT + 4, ack=ack)
    assert world.state() == "CLOSE"


@WORLDS
@pytest.mark.parametrize("from_client", [True, False])
@pytest.mark.parametrize(
    ("flags", "right_seqs", "right_acks"),
    [("FA", range(-100, 1), range(-(1 << 16), 1)), ("RA", range(1), range(-(1 << 31), 1 << 31))],
)
def test_as_many_numbers_are_right_as_the_manual_says(
    scene: Callable[[], World], flags: str, right_seqs: range, right_acks: range, from_client: bool
) -> None:
    """On an idle session, of a FIN with 100 bytes of data, and of a RST: the first and the last right one, and those beside."""
    tries = [(seq, 0, seq in right_seqs) for seq in (right_seqs[0] - 1, right_seqs[0], right_seqs[-1], right_seqs[-1] + 1)]
    tries += [(0, right_acks[0], True), (0, right_acks[-1], True)]
    for seq_off, ack_off, is_right in tries:
        world = scene()
        end, seq, ack = both_ends(world)[not from_client]
        data = bytes(100) if flags == "FA" else b""
        end.sends(flags, seq=(seq + seq_off) % 2**32, ack=(ack + ack_off) % 2**32, data=data)
        assert (world.state() != "ESTABLISHED") == is_right, (seq_off, ack_off)


class TestSyn:
    """A SYN in the name of a client whose session is alive is a question to that client."""

    @pytest.mark.parametrize("state", ["ESTABLISHED", "CLOSE_WAIT", "FIN_WAIT", "LAST_ACK"])
    def test_it_is_challenged_while_one_end_may_wait_for_data(self, state: str) -> None:
        world = plain()
        if state in ("CLOSE_WAIT", "LAST_ACK"):
            world.client.sends("FA", seq=CLIENT_NEXT, ack=R0 + 7)
        if state in ("FIN_WAIT", "LAST_ACK"):
            world.rs.sends("FA", seq=R0 + 7, ack=CLIENT_NEXT + (state == "LAST_ACK"))
        assert world.state() == state
        world._on_the_wire.clear()
        assert world.client.sends("S", seq=C0 + 9_000_000) is verdicts.CHALLENGED
        assert world.state() == state
        question = world.client.gets("A")
        assert world.client.sends("R", seq=question.ack) is verdicts.TO_REAL_SERVER, "the proof, and the SYN goes on"
        assert world.rs.gets("S").flags == "S"
        assert world.state() == "SYN_RECV"

    @pytest.mark.parametrize("fins", [0, 1, 2])
    def test_it_is_passed_on_and_moves_nothing_when_reuse_is_switched_off(self, fins: int) -> None:
        world = World(None, fullnat_conn_reused_entry=0)
        world.client.connects(C0, R0)
        if fins:
            world.rs.sends("FA", seq=R0 + 1, ack=C0 + 1)
        if fins == 2:
            world.client.sends("FA", seq=C0 + 1, ack=R0 + 2)
        state = world.state()
        assert world.client.sends("S", seq=C0 + 9_000_000) is verdicts.TO_REAL_SERVER
        assert world.state() == state

    def test_two_blind_packets_do_not_reset_a_session(self) -> None:
        """A FIN with random numbers, then a random SYN."""
        world = plain()
        world.client.sends("FA", seq=0x1234_5678, ack=0x1234_5678)
        world.client.sends("S", seq=0x8765_4321)
        assert world.state() == "ESTABLISHED"
        world.client.gets("A")
        assert world.client.sends("PA", seq=CLIENT_NEXT, ack=R0 + 7, data=b"I am alive") is verdicts.TO_REAL_SERVER
        world.sleep(100)
        assert world.state() == "ESTABLISHED", "nor does the FIN make it be forgotten early"


class TestLateFin:
    """A FIN that overtakes lost data moves the session when the other end has acknowledged it."""

    def test_lost_data_is_sent_again_and_the_real_server_acknowledges_everything(self) -> None:
        world = plain()
        world.client.sends("FA", seq=CLIENT_NEXT + 5, ack=R0 + 7)
        assert world.state() == "ESTABLISHED"
        world.rs.sends("A", seq=R0 + 7, ack=CLIENT_NEXT)
        assert world.state() == "ESTABLISHED", "the real server still waits for the data"
        world.client.sends("PA", seq=CLIENT_NEXT, ack=R0 + 7, data=b"data!")
        world.rs.sends("A", seq=R0 + 7, ack=CLIENT_NEXT + 6)
        assert world.state() == "CLOSE_WAIT"
        assert not world.sessions()[0].late_fin

    def test_the_same_of_the_real_server(self) -> None:
        world = plain()
        world.rs.sends("FA", seq=R0 + 12, ack=CLIENT_NEXT)
        world.rs.sends("PA", seq=R0 + 7, ack=CLIENT_NEXT, data=b"data!")
        assert world.state() == "ESTABLISHED"
        world.client.sends("A", seq=CLIENT_NEXT, ack=R0 + 13)
        assert world.state() == "FIN_WAIT"

    def test_a_fin_that_is_sent_again_when_it_is_in_order_moves_it_at_once(self) -> None:
        world = plain()
        world.client.sends("FA", seq=CLIENT_NEXT + 5, ack=R0 + 7)
        world.client.sends("PA", seq=CLIENT_NEXT, ack=R0 + 7, data=b"data!")
        world.rs.sends("A", seq=R0 + 7, ack=CLIENT_NEXT + 5)
        world.client.sends("FA", seq=CLIENT_NEXT + 5, ack=R0 + 7)
        assert world.state() == "CLOSE_WAIT"

    def test_twice_the_same_late_fin_is_still_late(self) -> None:
        world = plain()
        for _ in range(2):
            world.client.sends("FA", seq=CLIENT_NEXT + 5, ack=R0 + 7)
        assert world.state() == "ESTABLISHED"

    def test_one_that_somebody_put_into_the_stream_is_found_out_when_its_client_goes_on(self) -> None:
        """Somebody guessed a number that the client is yet to reach, and what it has acknowledged."""
        world = plain()
        world.client.sends("FA", seq=CLIENT_NEXT + 5, ack=R0 + 7)
        world.client.sends("PA", seq=CLIENT_NEXT, ack=R0 + 7, data=b"data!data!data!")
        world.rs.sends("A", seq=R0 + 7, ack=CLIENT_NEXT + 15)
        assert world.state() == "ESTABLISHED"
        session = world.sessions()[0]
        assert session.late_fin is None
        assert not session.needs_slow_path

    def test_one_that_changes_nothing_makes_no_room_for_itself(self) -> None:
        """A session in TIME_WAIT stays there, although there may be only one."""
        world = World(None, tcp_max_tw_buckets=1)
        world.client.connects(C0, R0)
        world.rs.sends("FA", seq=R0 + 1, ack=C0 + 1)
        world.client.sends("FA", seq=C0 + 1, ack=R0 + 2)
        world.rs.sends("A", seq=R0 + 2, ack=C0 + 2)
        assert world.state() == "TIME_WAIT"
        world.client.sends("FA", seq=C0 + 7, ack=R0 + 2)
        world.rs.sends("A", seq=R0 + 2, ack=C0 + 8)
        assert world.state() == "TIME_WAIT"
        assert world.by_state() == {"time_wait": 1}

    def test_a_guess_without_a_right_acknowledgement_is_not_remembered(self) -> None:
        world = plain()
        world.client.sends("FA", seq=CLIENT_NEXT + 5, ack=R0 + 100_000)
        assert world.sessions()[0].late_fin is None


@WORLDS
@given(seq=GUESSES, ack=GUESSES, data=st.binary(max_size=9))
def test_guessed_data_does_not_tell_where_a_side_stands(scene: Callable[[], World], seq: int, ack: int, data: bytes) -> None:
    world = scene()
    (session,) = world.sessions()
    before: Any = progress_of(session)
    assume((before.client.acked - ack) % 2**32)
    world.client.sends("PA", seq=seq, ack=ack, data=data)
    assert progress_of(session).client[:3] == before.client[:3]


def test_sides_that_lose_packets_on_their_way_here_are_followed_all_the_same() -> None:
    """A gap in what the gateway saw must not stop it from knowing where both stand."""
    world = plain()
    seq = CLIENT_NEXT
    world.client.sends("PA", seq=seq + 1000, ack=R0 + 7, data=b"x" * 1000)  # a thousand bytes before it were lost
    world.rs.sends("A", seq=R0 + 7, ack=seq)
    world.client.sends("PA", seq=seq, ack=R0 + 7, data=b"x" * 1000)
    world.rs.sends("PA", seq=R0 + 7, ack=seq + 2000, data=b"y" * 500)
    world.client.sends("PA", seq=seq + 2000, ack=R0 + 507, data=b"z")
    progress = progress_of(world.sessions()[0])
    assert (progress.client.next_seq, progress.client.acked) == (seq + 2001, R0 + 507)
    assert progress.real_server.next_seq == R0 + 507
    world.client.sends("FA", seq=seq + 2001, ack=R0 + 507)
    assert world.state() == "CLOSE_WAIT"


def half_open(answered: bool) -> World:
    """A session of a plain service whose client has sent a SYN, and whose real server has sent its answer or not."""
    world = World()
    world.client.sends("S", seq=C0)
    world.rs.gets("S")
    if answered:
        world.rs.sends("SA", seq=R0, ack=C0 + 1)
    return world


def test_a_client_that_refuses_the_answer_leaves_no_half_open_session() -> None:
    """It knows nothing of the connection: its SYN came a second time, and late."""
    world = half_open(answered=True)
    assert world.client.sends("R", seq=C0 + 1) is verdicts.TO_REAL_SERVER
    assert world.state() == "CLOSE"
    assert not world.inside.service("tcp", VIP).half_open  # type: ignore[union-attr]
    world.rs.sends("SA", seq=R0, ack=C0 + 1)
    assert world.state() == "CLOSE", "also when the answer comes a second time"
    world.client.sends("S", seq=C0 + 9_000_000)
    assert world.state() == "SYN_RECV", "it may come again"


@given(seq=GUESSES)
def test_no_guess_does_the_same(seq: int) -> None:
    assume(seq != C0 + 1)
    world = half_open(answered=True)
    world.client.sends("R", seq=seq)
    assert world.state() == "SYN_RECV"


def test_before_there_is_an_answer_a_refusal_ends_nothing() -> None:
    world = half_open(answered=False)
    world.client.sends("R", seq=C0 + 1)
    assert world.state() == "SYN_RECV"


@pytest.mark.parametrize("answered", [False, True])
@given(ack=GUESSES, flags=st.sampled_from(["A", "PA", "FA", "FPA"]), seq=st.sampled_from([C0 + 1, C0 + 1000]))
def test_no_guess_completes_a_handshake(answered: bool, ack: int, flags: str, seq: int) -> None:
    """Two packets would make an established session otherwise, and the backlog would limit nobody."""
    world = half_open(answered)
    assume(not answered or ack != R0 + 1)
    assert world.put(tcp(CLIENT, VIP, flags, seq=seq, ack=ack)) is verdicts.UNSEEN_ANSWER
    assert world.state() == "SYN_RECV"
    if not answered:
        world.rs.sends("SA", seq=R0, ack=C0 + 1)
    world.client.sends("A", seq=C0 + 1, ack=R0 + 1)
    assert world.state() == "ESTABLISHED"


def test_a_client_may_acknowledge_what_its_real_server_sent_behind_its_syn_ack() -> None:
    world = half_open(answered=True)
    world.rs.sends("PA", seq=R0 + 1, ack=C0 + 1, data=b"hello")
    world.client.sends("A", seq=C0 + 1, ack=R0 + 6)
    assert world.state() == "ESTABLISHED"


@WORLDS
@pytest.mark.parametrize("from_client", [True, False])
@pytest.mark.parametrize("first", ["FA", "FPA", "PA"])
@pytest.mark.parametrize("last", ["R", "RA", "FA"])
@pytest.mark.parametrize("ahead", [MOST_IN_FLIGHT + 1, 1 << 24, (1 << 29) + 12_345])
def test_what_one_guess_has_claimed_makes_no_second_one_right(
    scene: Callable[[], World], from_client: bool, first: str, last: str, ahead: int
) -> None:
    """The first packet has a right acknowledgement by chance, and says that its sender has sent much more. The second one stands
    behind that."""
    world = scene()
    end, seq, ack = both_ends(world)[not from_client]
    data = b"x" * ("P" in first)
    end.sends(first, seq=seq + ahead, ack=ack, data=data)
    assert world.state() == "ESTABLISHED"
    end.sends(last, seq=(seq + ahead + len(data) + ("F" in first)) % 2**32, ack=ack)
    assert world.state() == "ESTABLISHED"


@WORLDS
@pytest.mark.parametrize("from_client", [True, False])
@pytest.mark.parametrize("old_ack_by", [0, 1, 60_000])
def test_a_late_fin_makes_no_rst_right(scene: Callable[[], World], from_client: bool, old_ack_by: int) -> None:
    world = scene()
    end, seq, ack = both_ends(world)[not from_client]
    end.sends("FA", seq=seq + 1000, ack=(ack - old_ack_by) % 2**32)
    end.sends("R", seq=seq + 1001)
    assert world.state() == "ESTABLISHED"


@WORLDS
@pytest.mark.parametrize("from_client", [True, False])
@pytest.mark.parametrize(("last", "states"), [("R", ("CLOSE", "CLOSE")), ("FA", ("CLOSE_WAIT", "FIN_WAIT"))])
def test_data_that_nobody_has_acknowledged_yet_may_be_followed_by_the_end(
    scene: Callable[[], World], from_client: bool, last: str, states: tuple[str, str]
) -> None:
    world = scene()
    end, seq, ack = both_ends(world)[not from_client]
    for turn in range(20):
        end.sends("PA", seq=seq + turn * 1000, ack=ack, data=b"x" * 1000)
    end.sends(last, seq=seq + 20_000, ack=ack)
    assert world.state() == states[not from_client]
