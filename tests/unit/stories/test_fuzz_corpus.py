"""The whole shard, fuzzed: whatever happens in whatever order, its invariants hold, and in the end nothing is left.

`make fuzz` does the same with a fuzzer that learns from the branches it reaches. Inputs that either has found are kept in
`corpus/`, a file each, and are played again here.
"""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.model import verdicts
from appliance.model.verdicts import VERDICTS
from tests.fuzz.stories import STORIES
from tests.support.addresses import C0, CLIENT, R0, RS1, VIP
from tests.support.fuzz_operations import OPERATIONS, play
from tests.support.fuzzed_shard import SCENE_BYTES, FuzzedShard
from tests.support.segments import tcp
from tests.support.world import World, plan

CORPUS = sorted((Path(__file__).parent / "corpus").iterdir())


def mostly_zeros(count: int) -> st.SearchStrategy[bytes]:
    """So many bytes, two thirds of them zero: inputs that are usual in most operands get further than others."""
    several = st.binary(min_size=count, max_size=count)
    return st.tuples(several, several).map(lambda two: bytes(0 if dice % 3 else byte for byte, dice in zip(*two, strict=True)))


beginnings = st.one_of(mostly_zeros(SCENE_BYTES), st.sampled_from(list(STORIES.values())))
operations = st.sampled_from(range(len(OPERATIONS))).flatmap(
    lambda number: mostly_zeros(OPERATIONS[number].operand_bytes).map(lambda operands: bytes((number,)) + operands)
)
lives = st.tuples(beginnings, st.lists(operations, max_size=40).map(b"".join)).map(b"".join)


@given(lives)
def test_whatever_happens_all_rules_are_kept(life: bytes) -> None:
    play(life)


@given(st.binary(max_size=1000))
def test_any_bytes_can_be_played_and_keep_all_rules(life: bytes) -> None:
    play(life)


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_what_was_found_once_is_not_found_again(path: Path) -> None:
    play(path.read_bytes())


def given_in(shard: FuzzedShard) -> set[str]:
    """The verdicts of a story, by name."""
    transcript = "\n".join(shard.world.transcript)
    return {each.name for each in VERDICTS if repr(each) in transcript}


@pytest.mark.parametrize(
    ("story", "expected"),
    [
        ("opened, used, closed", {"to_real_server", "to_client"}),
        ("claiming to be another", {"to_real_server", "to_client"}),
        ("challenged", {"challenged"}),
        ("proxied, begun anew", {"cookie_sent", "handshake_packet"}),
        ("held", {"held", "hold_overflow"}),
        ("no answer", {"cookie_sent", "to_real_server"}),
        ("refused", {"handshake_packet"}),
        ("drained", {"cookie_sent", "no_real_server"}),
        ("scaled", {"handshake_packet", "to_client"}),
        ("storm", {"ack_storm"}),
        ("flooded", {"cookie_sent", "to_real_server"}),
        ("removed and back", {"real_server_gone"}),
        ("asked and cut", {"to_real_server"}),
        ("many in TIME_WAIT", {"to_client"}),
        ("many in the same tick", {"to_real_server"}),
        ("datagrams", {"icmp_translated"}),
    ],
)
def test_the_stories_reach_the_verdicts_that_matter(story: str, expected: set[str]) -> None:
    """Otherwise they would find nothing, because they would not reach these states."""
    shard = play(STORIES[story])
    assert expected <= given_in(shard), "\n".join(shard.world.transcript)


def test_a_client_whose_real_server_was_asked_gets_its_answer_and_no_cookie() -> None:
    """Its first SYN came before the flood was noticed. A cookie for its second SYN would be a number that the real server does
    not know: the client would acknowledge it, and get a RST."""
    world = World(plan(synproxy="auto"), tcp_max_syn_backlog=16)
    assert world.client.sends("S", seq=C0) is verdicts.TO_REAL_SERVER
    world.rs.gets("S", seq=C0)
    for port in range(50_000, 50_015):
        assert world.put(tcp(CLIENT[:4] + port.to_bytes(2, "big"), VIP, "S")) is verdicts.TO_REAL_SERVER
        world.take(RS1)
    other = CLIENT[:4] + b"\0\1"
    assert world.put(tcp(other, VIP, "S")) is verdicts.COOKIE_SENT
    world.take(other)
    assert world.client.sends("S", seq=C0) is verdicts.TO_REAL_SERVER
    world.rs.gets("S", seq=C0)
    world.rs.sends("SA", seq=R0, ack=C0 + 1)
    world.client.gets("SA", seq=R0, ack=C0 + 1)


def test_a_packet_that_may_not_move_its_session_is_counted_all_the_same() -> None:
    """The packets are a late copy of the SYN, and a RST that cannot belong to this connection. The real server gets both."""
    world = World()
    world.client.connects(C0, R0)
    world.client.sends("FA", seq=C0 + 1, ack=R0 + 1)
    before = world.destination()
    for flags, seq in (("S", C0), ("R", C0 + 2**30)):
        assert world.client.sends(flags, seq=seq) is verdicts.TO_REAL_SERVER
    after = world.destination()
    assert (after["in_packets"] - before["in_packets"], after["in_bytes"] - before["in_bytes"]) == (2, 80)
    assert world.state() == "CLOSE_WAIT"
