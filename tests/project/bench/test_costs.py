"""The programs that time a shard without a kernel measure what they say."""

import pytest

from appliance.model.tcp_state import TcpState
from appliance.shard.shard import Shard
from appliance.state.progress import progress_of
from bench import packet_cost
from bench.connection_cost import PACKETS, Connections
from bench.lane_cost import Carried
from bench.packet_cost import FULL, STREAMS, opened_shard, packets_of, without_judgement
from bench.rig.conversation import Conversation, new_shard
from tests.support.lane_maps import FakeMaps


def numbers(shard: Shard) -> list[tuple[int, int, int]]:
    """What both ends of the only session said last."""
    ((session,),) = (bucket for bucket in shard._sessions.tcp.walk() if bucket)
    progress = progress_of(session)
    return [(side.acked, side.next_seq, side.window) for side in (progress.client, progress.real_server)]


@pytest.mark.parametrize("stream", STREAMS)
def test_the_packets_of_a_stream_are_right_for_each_new_shard(stream: packet_cost.Stream) -> None:
    packets = packets_of(stream, 30)
    shard = opened_shard()
    seen = []
    for raw in packets:
        shard.handle(raw, 1.0)
        seen.append(numbers(shard))
    assert len({str(step) for step in seen}) == len(packets), "each packet moves a number"


def test_what_is_left_out_is_the_judgement_of_numbers_and_nothing_else() -> None:
    whole, cut = new_shard(), new_shard()
    packets = [connection.server(payload=FULL) for connection in (Conversation().opened(whole), Conversation().opened(cut))]
    before = numbers(cut)
    verdicts = whole.handle(packets[0], 1.0), without_judgement()(cut, packets[1], 1.0)
    assert verdicts[0] is verdicts[1]
    assert cut.output.rewritten == whole.output.rewritten
    assert numbers(cut) == before != numbers(whole)


def test_other_statements_than_those_that_are_known_are_not_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packet_cost, "NUMBERS", frozenset(["acked"]))
    with pytest.raises(AssertionError, match="other statements"):
        without_judgement()


def test_a_connection_is_measured_until_its_session_rests() -> None:
    shard = new_shard()
    one = Connections(shard).run(5)
    assert len(one.packets) == len(PACKETS)
    assert min(one.packets) > 0
    assert one.whole == pytest.approx(sum(one.packets) + one.timers)
    assert shard._sessions.by_state.counts[TcpState.TIME_WAIT] == 5


def test_a_connection_in_the_lane_is_measured_from_its_syn_to_its_end() -> None:
    maps = FakeMaps()
    shard = new_shard(maps)
    rounds = Carried(shard, maps).run(2, 5)
    assert len(rounds) == 2
    assert min(min(one) for one in rounds) > 0
    assert shard._sessions.lane.entries.in_use == len(shard._sessions) == len(maps.table) == 0


def test_a_connection_that_is_not_in_the_lane_is_not_measured_as_if_it_were() -> None:
    with pytest.raises(AssertionError, match="does not carry"):
        Carried(new_shard(), FakeMaps()).run(1, 1)
