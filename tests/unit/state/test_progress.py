"""state/progress.py: what moves with the packets of a session is ten words of plain data, read by one function."""

from array import array

import pytest

from appliance.state.progress import SIDE_WORDS, SIDES, WORDS_BYTES, Progress, Side, fresh_words, progress_of
from appliance.wire.flow import Direction
from tests.support.addresses import C0, CLIENT, R0, VIP
from tests.support.proxied import opens, proves
from tests.support.segments import udp
from tests.support.world import World, plan


def progress(world: World) -> Progress:
    """That of the only session."""
    (session,) = world.sessions()
    return progress_of(session)


class Moved:
    """What `progress_of` reads."""

    deadline = 1.5

    def __init__(self) -> None:
        self.words = array("Q", range(2 * SIDE_WORDS))


def test_the_layout_is_ten_words_by_direction_then_field() -> None:
    """Whoever writes it from outside a shard relies on these places."""
    assert (WORDS_BYTES, SIDES) == (80, ((0, 1, 2, 3, 4, 6), (5, 6, 7, 8, 9, 1)))
    assert Side._fields == ("acked", "next_seq", "window", "packets", "bytes")
    assert progress_of(Moved()) == Progress(1.5, Side(0, 1, 2, 3, 4), Side(5, 6, 7, 8, 9))
    assert [Direction.INBOUND, Direction.OUTBOUND] == [0, 1]


def test_after_the_syn_only_its_numbers_are_known() -> None:
    words = fresh_words(9, 77)
    assert words.tolist() == [0, 10, 0, 0, 0, 77, 0, 0, 0, 0]
    words[0] = 5
    assert fresh_words(9, 77)[0] == 0, "each session has words of its own"


def test_both_sides_say_where_they_stand_and_are_counted() -> None:
    world = World()
    world.client.connects(C0, R0)
    world.client.sends("PA", seq=C0 + 1, ack=R0 + 1, data=b"hello", window=1000)
    world.rs.sends("PA", seq=R0 + 1, ack=C0 + 6, data=b"you", window=2000)
    isn = world.sessions()[0].isn
    client, real_server = progress(world)[1:]
    assert client == Side(R0 + 1, C0 + 6, 1000, 3, 40 + 40 + 45)
    assert real_server == Side((isn + 6) % 2**32, R0 + 4, 2000, 2, 40 + 43)
    assert progress(world).deadline == world.now + 900


@pytest.mark.parametrize("flags", ["R", "RA"])
def test_a_reset_does_not_tell_where_its_sender_stands(flags: str) -> None:
    world = World()
    world.client.connects(C0, R0)
    before = progress(world)
    world.rs.sends(flags, seq=R0 + 1, ack=C0 + 1, window=9)
    assert progress(world).real_server[:3] == before.real_server[:3]
    assert progress(world).real_server.packets == before.real_server.packets + 1


def test_an_older_segment_does_not_move_its_side_back() -> None:
    world = World()
    world.client.connects(C0, R0)
    world.rs.sends("PA", seq=R0 + 1, ack=C0 + 1, data=b"answer")
    world.client.sends("A", seq=C0 + 1, ack=R0 + 7, window=500)
    world.client.sends("A", seq=C0 + 1, ack=R0 + 1, window=400)
    assert progress(world).client[:3] == (R0 + 7, C0 + 1, 500)


def test_the_first_acknowledgement_counts_whatever_number_the_real_server_begins_with() -> None:
    """Before the real server has spoken there is no number that an acknowledgement could be older than."""
    for rs_seq in (R0, 2**31 + 5, 2**32 - 2):
        world = World()
        world.client.connects(C0, rs_seq)
        assert progress(world).client.acked == (rs_seq + 1) % 2**32


def test_a_proxied_client_acknowledges_in_the_numbers_of_its_cookie() -> None:
    world = World(plan(synproxy="always"))
    cookie = proves(world)
    assert progress(world).client[:1] == ((cookie + 1) % 2**32,)
    assert progress(world).client.packets == 1
    world = World(plan(synproxy="always"))
    cookie = opens(world)
    assert progress(world).client.acked == (cookie + 1) % 2**32


def test_a_session_that_starts_anew_begins_to_count_anew() -> None:
    world = World()
    world.client.connects(C0, R0)
    world.rs.sends("FA", seq=R0 + 1, ack=C0 + 1)
    world.client.sends("FA", seq=C0 + 1, ack=R0 + 2)
    assert progress(world).client.packets == 3
    world.client.gets("FA")
    world.client.sends("S", seq=C0 + 5000)
    world.client.sends("R", seq=world.client.gets("A").ack)
    assert progress(world).client == Side(0, C0 + 5001, 0, 1, 40)
    assert progress(world).real_server.packets == 0


def test_datagrams_are_counted_too() -> None:
    world = World(plan(with_udp=True))
    world.put(udp(CLIENT, VIP, b"?"))
    (session,) = (session for bucket in world.inside.udp.walk() for session in bucket)
    assert progress_of(session).client[3:] == (1, 29)
    assert progress_of(session).real_server == Side(0, 0, 0, 0, 0)
