"""A new connection that replaces an old one between the same client and VIP: LVS behaviour 3.5, section 12 row 3, RFC 5961."""

import pytest

from appliance.model import verdicts
from appliance.model.counters import EXT_COUNTERS
from appliance.model.verdict import Verdict
from appliance.nat.isn import LEAST_STEP, STEP_RANGE
from appliance.state.progress import progress_of
from tests.support.addresses import C0, CLIENT, R0, RS1, RS2, VIP
from tests.support.segments import options_of, read_tcp, tcp
from tests.support.world import World, plan

C1 = 3_000_000_000
"""The initial number of the new connection, which is before C0 on the circle of sequence numbers."""

COUNTERS = {
    "CLOSE": "close",
    "TIME_WAIT": "timewait",
    "FIN_WAIT": "finwait",
    "CLOSE_WAIT": "closetimeout",
    "LAST_ACK": "lastack",
    "ESTABLISHED": "estab",
}


def reach(world: World, state: str) -> None:
    """Bring a session into a state, and take all packets off the wire."""
    client, rs = world.client, world.rs
    client.connects(C0, R0)
    if state in ("CLOSE_WAIT", "LAST_ACK"):
        client.sends("FA", seq=C0 + 1, ack=R0 + 1)
        rs.gets("FA")
    if state == "LAST_ACK":
        rs.sends("FA", seq=R0 + 1, ack=C0 + 2)
        client.gets("FA")
    if state in ("FIN_WAIT", "TIME_WAIT"):
        rs.sends("FA", seq=R0 + 1, ack=C0 + 1)
        client.gets("FA")
    if state == "TIME_WAIT":
        client.sends("FA", seq=C0 + 1, ack=R0 + 2)
        rs.gets("FA")
        rs.sends("A", seq=R0 + 2, ack=C0 + 2)
        client.gets("A")
    if state == "CLOSE":
        client.sends("R", seq=C0 + 1)
        rs.gets("R")
    assert world.state() == state


def lies_ahead(last: int, isn: int) -> bool:
    """Whether a number is one for the connection that follows one which ended at `last`."""
    return LEAST_STEP <= (isn - last) % 2**32 < LEAST_STEP + STEP_RANGE


def reused(world: World) -> dict[str, int]:
    """The counters of reuse that are not 0."""
    names = [counter.name for counter in EXT_COUNTERS if counter.name.startswith("fullnat_conn_reused")]
    return {name: count for name in names if (count := world.counter(name))}


def begins_anew(world: World, seq: int) -> Verdict:
    """A client that has forgotten its session begins a new one, and answers when it is asked about the old one. Returns the last
    verdict."""
    verdict = world.client.sends("S", seq=seq)
    if verdict is verdicts.CHALLENGED:
        verdict = world.client.sends("R", seq=world.client.gets("A").ack)
    return verdict


@pytest.mark.parametrize(
    ("state", "first"),
    [
        ("CLOSE", verdicts.TO_REAL_SERVER),
        ("TIME_WAIT", verdicts.TO_REAL_SERVER),
        ("FIN_WAIT", verdicts.CHALLENGED),
        ("CLOSE_WAIT", verdicts.CHALLENGED),
        ("LAST_ACK", verdicts.CHALLENGED),
    ],
)
def test_a_client_is_asked_while_one_end_of_its_old_session_may_wait_for_data(state: str, first: Verdict) -> None:
    world = World()
    reach(world, state)
    assert world.client.sends("S", seq=C1) is first


@pytest.mark.parametrize("state", [state for state in COUNTERS if state != "ESTABLISHED"])
def test_a_new_syn_on_a_closing_session_is_a_new_connection(state: str) -> None:
    """It has the same local port, a number beyond all that the real server has seen, the right counters, and data in both
    directions."""
    world = World()
    reach(world, state)
    before, local = world.rs.isn, world.rs.there
    acknowledged = progress_of(world.sessions()[0]).real_server.acked
    assert begins_anew(world, C1) is verdicts.TO_REAL_SERVER
    seen = world.rs.gets("S", seq=C1, source=local)
    assert lies_ahead(acknowledged, world.rs.isn)
    assert world.rs.isn != before
    assert options_of(seen)[:2] == b"\xfe\x08", "the client's address is told anew"
    assert world.state() == "SYN_RECV"
    world.rs.sends("SA", seq=R0 + 500, ack=C1 + 1)
    world.client.gets("SA", seq=R0 + 500, ack=C1 + 1)
    world.client.sends("PA", seq=C1 + 1, ack=R0 + 501, data=b"again")
    world.rs.gets("PA", seq=C1 + 1, data=b"again")
    assert world.state() == "ESTABLISHED"
    assert reused(world) == {"fullnat_conn_reused": 1, f"fullnat_conn_reused_{COUNTERS[state]}": 1}
    assert len(world.inside.tcp) == 1


def test_a_syn_with_a_new_number_before_the_answer_counts_in_the_total_only() -> None:
    world = World()
    world.client.sends("S", seq=C0)
    world.rs.gets("S")
    before = world.rs.isn
    world.client.sends("S", seq=C1)
    world.rs.gets("S", seq=C1)
    assert lies_ahead(before, world.rs.isn)
    assert reused(world) == {"fullnat_conn_reused": 1}


def test_numbers_towards_a_real_server_only_grow_however_often_a_port_is_reused() -> None:
    world = World()
    reach(world, "CLOSE")
    for turn in range(100):
        last = world.rs.isn
        world.client.sends("S", seq=C1 - 7_654_321 * turn)
        world.rs.gets("S")
        assert 0 < (world.rs.isn - last) % 2**32 < 2**31
        world.rs.sends("RA", seq=0, ack=world.client.isn + 1)
        world.client.gets("RA")


def test_the_next_session_on_a_port_starts_beyond_the_last_one() -> None:
    """This holds also for another client, long after the first session has ended."""
    world = World(plan(local_addresses=("192.0.2.10",)), fullnat_lport_min=5000, fullnat_lport_max=5000)
    reach(world, "CLOSE")
    last = world.rs.isn
    world.sleep(11)
    assert len(world.inside.tcp) == 0
    other = CLIENT[:4] + b"\x9c\x41"
    world.put(tcp(other, VIP, "S", seq=5))
    assert lies_ahead(last + 1, read_tcp(world.take(RS1)).seq)


def test_with_reuse_off_the_shift_stays_and_nothing_is_counted() -> None:
    world = World(fullnat_conn_reused_entry=0)
    reach(world, "CLOSE")
    shift = world.rs.shift
    world.client.sends("S", seq=C1)
    world.rs.gets("S", seq=C1)
    assert world.rs.shift == shift
    assert reused(world) == {}
    world.rs.sends("SA", seq=R0 + 500, ack=C1 + 1)
    world.client.gets("SA", ack=C1 + 1)


def test_a_late_copy_of_the_syn_does_not_restart_a_closing_session() -> None:
    world = World()
    reach(world, "TIME_WAIT")
    world.client.sends("S", seq=C0)
    world.rs.gets("S", seq=C0)
    assert world.state() == "TIME_WAIT"
    assert reused(world) == {}


class TestEstablished:
    """Anybody who guesses a client's port can send its SYN; only the client can answer the challenge."""

    def test_a_client_that_began_anew_proves_it_and_its_first_syn_counts(self) -> None:
        world = World()
        reach(world, "ESTABLISHED")
        world.rs.sends("A", seq=R0 + 1, ack=C0 + 1, window=4321)
        world.client.gets("A")
        assert world.client.sends("S", seq=C1) is verdicts.CHALLENGED
        question = world.client.gets("A", seq=R0 + 1, ack=C0 + 1)
        assert question.data == b""
        assert question.raw[34:36] == (4321).to_bytes(2, "big"), "a client that lives on takes this window for its server's"
        assert world.state() == "ESTABLISHED"
        assert world.client.sends("R", seq=question.ack) is verdicts.TO_REAL_SERVER
        world.rs.gets("S", seq=C1)
        assert world.state() == "SYN_RECV"
        # The real server still has the old connection and answers in its numbers; the client must not get that.
        refused = tcp(world.rs.here, world.rs.there, "A", seq=R0 + 1, ack=(world.rs.isn - LEAST_STEP) % 2**32)
        assert world.put(refused) is verdicts.STALE_ANSWER
        reset = read_tcp(world.take(RS1))
        assert (reset.flags, reset.seq) == ("R", (world.rs.isn - LEAST_STEP) % 2**32), "exactly the number it asked with"
        world.rs.gets("S", seq=C1)
        world.rs.sends("SA", seq=R0 + 9, ack=C1 + 1)
        world.client.gets("SA", ack=C1 + 1)
        assert reused(world) == {"fullnat_conn_reused": 1, "fullnat_conn_reused_estab": 1}

    def test_a_blind_syn_disturbs_nothing(self) -> None:
        world = World()
        reach(world, "ESTABLISHED")
        world.client.sends("S", seq=C1)
        world.client.gets("A")
        world.client.sends("PA", seq=C0 + 1, ack=R0 + 1, data=b"alive")
        world.rs.gets("PA", seq=C0 + 1, data=b"alive")
        world.client.sends("R", seq=C0 + 1)
        world.rs.gets("R", seq=C0 + 1)
        assert reused(world) == {}, "the session spoke: whatever was held is forgotten"

    @pytest.mark.parametrize(("flags", "ack"), [("A", 7), ("PA", R0 + 2), ("FA", R0 + (1 << 20)), ("R", 0), ("RA", R0 + 1)])
    def test_a_stranger_s_packet_does_not_keep_the_client_from_its_proof(self, flags: str, ack: int) -> None:
        world = World()
        reach(world, "ESTABLISHED")
        world.client.sends("S", seq=C1)
        question = world.client.gets("A", seq=R0 + 1, ack=C0 + 1)
        world.client.sends(flags, seq=12345, ack=ack)
        world.rs.gets(flags)
        world.client.sends("R", seq=question.ack)
        world.rs.gets("S", seq=C1)
        assert world.state() == "SYN_RECV"

    @pytest.mark.parametrize("guess", [C0, C0 + 2, C1, C1 + 1])
    def test_a_reset_with_a_guessed_number_is_no_proof(self, guess: int) -> None:
        world = World()
        reach(world, "ESTABLISHED")
        world.client.sends("S", seq=C1)
        world.client.gets("A")
        world.client.sends("R", seq=guess)
        world.rs.gets("R", seq=guess)
        assert reused(world) == {}

    def test_a_blind_reset_does_not_close_the_session_in_the_table(self) -> None:
        """It is passed on, and the real server ignores it. A RST with the exact number closes the session."""
        world = World()
        reach(world, "ESTABLISHED")
        for guess in (C0 - 1, C1, C0 + 2 + (1 << 20)):
            world.client.sends("R", seq=guess)
            world.rs.gets("R", seq=guess)
            world.client.sends("RA", seq=guess, ack=R0 + 1)
            world.rs.gets("RA", seq=guess)
            assert world.state() == "ESTABLISHED"
        world.client.sends("RA", seq=C0 + 1, ack=R0 + 1)
        world.rs.gets("RA")
        assert world.state() == "CLOSE"

    def test_many_syns_get_one_challenge_in_half_a_second(self) -> None:
        """RFC 5961, 7: for many SYNs there is one challenge; the next is sent after half a second."""
        world = World()
        reach(world, "ESTABLISHED")
        for turn in range(50):
            world.client.sends("S", seq=C1 + turn)
        world.client.gets("A")
        world.assert_quiet()
        world.sleep(0.6)
        world.client.sends("S", seq=C1)
        world.client.gets("A")
        assert world.counter("challenged") == 51

    def test_with_reuse_off_the_syn_is_passed_on_as_it_is(self) -> None:
        world = World(fullnat_conn_reused_entry=0)
        reach(world, "ESTABLISHED")
        world.client.sends("S", seq=C1)
        world.rs.gets("S", seq=C1)
        assert world.state() == "ESTABLISHED"


class TestStaleAnswers:
    """The real server still has an older connection from the same local port, which was another client's."""

    def test_an_answer_in_old_numbers_is_reset_and_the_syn_sent_again(self) -> None:
        world = World()
        world.client.sends("S", seq=C0)
        syn = world.rs.gets("S").raw
        assert world.rs.sends("A", seq=5, ack=777 - world.rs.shift) is verdicts.STALE_ANSWER
        reset = read_tcp(world.take(RS1))
        assert (reset.flags, reset.seq, reset.source) == ("R", 777, world.rs.there)
        assert world.take(RS1) == syn
        assert world.state() == "SYN_RECV"
        world.assert_quiet()

    def test_that_syn_is_sent_once_more_because_it_may_have_been_lost(self) -> None:
        world = World()
        world.client.sends("S", seq=C0)
        syn = world.rs.gets("S").raw
        world.rs.sends("A", seq=5, ack=777)
        world.take(RS1), world.take(RS1)
        world.sleep(0.4)
        assert world.take(RS1) == syn
        world.sleep(58)
        world.assert_quiet()
        assert world.state() == "SYN_RECV"
        world.sleep(3)
        world.assert_empty()

    def test_that_syn_is_not_sent_once_more_when_it_was_answered(self) -> None:
        world = World()
        world.client.sends("S", seq=C0)
        world.rs.gets("S")
        world.rs.sends("A", seq=5, ack=777)
        world.take(RS1), world.take(RS1)
        world.rs.sends("SA", seq=R0, ack=C0 + 1)
        world.client.gets("SA")
        world.sleep(1)
        world.assert_quiet()
        assert len(world.inside.tcp) == 1

    def test_an_old_reset_is_dropped_without_an_answer(self) -> None:
        world = World()
        world.client.sends("S", seq=C0)
        world.rs.gets("S")
        for flags in ("R", "RA"):
            assert world.rs.sends(flags, seq=5, ack=777) is verdicts.STALE_ANSWER
        world.assert_quiet()

    def test_a_refusal_of_this_syn_reaches_the_client(self) -> None:
        world = World()
        world.client.sends("S", seq=C0)
        world.rs.gets("S")
        world.rs.sends("RA", seq=0, ack=C0 + 1)
        world.client.gets("RA", seq=0, ack=C0 + 1)
        assert world.state() == "CLOSE"

    def test_data_on_the_syn_may_be_acknowledged_with_it(self) -> None:
        world = World()
        world.client.sends("S", seq=C0, data=b"early")
        world.rs.gets("S", data=b"early")
        world.rs.sends("SA", seq=R0, ack=C0 + 6)
        world.client.gets("SA", ack=C0 + 6)

    def test_after_three_answers_in_old_numbers_no_more_is_sent(self) -> None:
        world = World()
        world.client.sends("S", seq=C0)
        world.rs.gets("S")
        for _ in range(3):
            world.rs.sends("A", seq=5, ack=777)
            world.take(RS1)
            world.take(RS1)
        world.rs.sends("A", seq=5, ack=777)
        world.assert_quiet()


@pytest.mark.parametrize("state", COUNTERS)
def test_a_drained_real_server_is_not_asked_again(state: str) -> None:
    """The new connection goes to another real server, and the old socket is closed."""
    world = World(plan(weights=(1, 1)))
    reach(world, state)
    first = world.rs.here
    world.change(plan(weights=(0, 1)))
    begins_anew(world, C1)
    if state == "ESTABLISHED":
        reset = read_tcp(world.take(RS1))
        assert (reset.flags, reset.destination) == ("R", first)
        world.take(CLIENT)
    world.rs.here = RS2
    world.rs.gets("S", seq=C1, destination=RS2)
    assert len(world.inside.tcp) == 1
    assert reused(world) == {"fullnat_conn_reused": 1, f"fullnat_conn_reused_{COUNTERS[state]}": 1}
