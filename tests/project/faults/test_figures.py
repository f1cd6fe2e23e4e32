"""figures.py: what is made of what the clients noted."""

import json

import pytest

from faults.figures import ALL, NOBODY, Hit, figures
from faults.records import CORRUPTED, Exchange, Record, Stream
from tests.project.faults.traffic import TIMES, exchange, record, steady, stream

SHARDS = 2


def test_nothing_happened() -> None:
    seen = figures(record(stream(), stream()), TIMES, NOBODY, SHARDS)
    assert (seen.streams, seen.losses, seen.corrupted, seen.longest_gap_s, seen.established_back_s) == (2, 0, 0, 0.0, 0.0)
    assert (seen.connections.failures, seen.connections.slow, seen.connections.back_s) == (0, 0, 0.0)
    assert seen.connections.begun == 10, "those that began before the fault do not count"


@pytest.mark.parametrize(
    ("one", "how"),
    [
        (stream(ended="reset", last=11.0), "reset"),
        (stream(last=11.0), "silent"),
        (stream(last=16.9), "silent"),
        (stream(ended=CORRUPTED, last=11.0), CORRUPTED),
    ],
)
def test_a_stream_is_lost_when_it_ended_or_got_nothing_in_the_last_seconds(one: Stream, how: str) -> None:
    assert figures(record(one, stream(last=17.1)), TIMES, ALL, SHARDS).lost == {how: 1}


def test_the_last_client_that_was_told_counts() -> None:
    some = record(stream(last=11.0, ended="reset"), stream(last=14.5, ended="closed"), stream(last=12.0))
    assert figures(some, TIMES, ALL, SHARDS).told_s == 4.5
    assert figures(record(stream(last=11.0)), TIMES, ALL, SHARDS).told_s == 0.0


def test_lost_streams_that_the_fault_does_not_concern_are_counted() -> None:
    """An even local port is of shard 0."""
    some = (stream(port=port, server=server, last=11.0) for port in (5_000, 5_001) for server in ("rs1", "rs2"))
    seen = record(*some)
    assert figures(seen, TIMES, ALL, SHARDS).lost_elsewhere == 0
    assert figures(seen, TIMES, NOBODY, SHARDS).lost_elsewhere == 4
    assert figures(seen, TIMES, Hit(shards=(1,)), SHARDS).lost_elsewhere == 2
    assert figures(seen, TIMES, Hit(servers=("rs2",)), SHARDS).lost_elsewhere == 2
    assert figures(seen, TIMES, Hit(shards=(1,), servers=("rs2",)), SHARDS).lost_elsewhere == 3
    assert figures(seen, TIMES, Hit(shards=(1,)), SHARDS).concerned == 2


def test_gaps_are_those_of_the_fault_and_of_streams_that_were_not_lost() -> None:
    seen = record(stream((2.0, 9.0), (11.0, 12.5)), stream((10.5, 15.0)), stream((11.0, 19.0), ended="reset"))
    made = figures(seen, TIMES, ALL, SHARDS)
    assert made.longest_gap_s == 4.5
    assert made.established_back_s == 2.0, "the gap that spans the end of the cause ended two seconds after it"


@pytest.mark.parametrize(
    ("others", "back_s"),
    [
        ((), 0.0),
        ((exchange(9.5, "reset"),), 0.0),
        ((exchange(11.5, "reset"),), 0.0),
        ((exchange(15.5, "reset"),), 3.0),
        ((exchange(14.5, "refused"), exchange(16.25, "no answer")), 4.0),
        ((exchange(14.5, took_s=1.0),), 2.0),
        ((exchange(19.5, "reset"),), None),
    ],
)
def test_new_ones_are_back_from_when_on_all_were_good(others: tuple[Exchange, ...], back_s: float | None) -> None:
    assert figures(record(stream(), connections=steady(*others)), TIMES, ALL, SHARDS).connections.back_s == back_s


def test_failures_are_counted_by_outcome_and_late_ones_apart() -> None:
    some = steady(exchange(11.1, "reset"), exchange(11.2, "reset"), exchange(11.3, "no answer"), exchange(11.4, took_s=1.0))
    seen = figures(record(stream(), connections=some), TIMES, ALL, SHARDS).connections
    assert (seen.failed, seen.failures, seen.slow) == ({"reset": 2, "no answer": 1}, 3, 1)


def test_wrong_bytes_count_wherever_they_were_seen() -> None:
    """Also before the fault: there is no time for them."""
    seen = record(
        stream(ended=CORRUPTED), connections=steady(exchange(8.5, CORRUPTED)), datagrams=steady(exchange(11.0, CORRUPTED))
    )
    assert figures(seen, TIMES, ALL, SHARDS, corrupted_at_servers=2).corrupted == 5


def test_a_record_comes_back_from_json_as_it_was() -> None:
    noted = record(stream((1.0, 2.0), (3.0, 4.0)), stream(ended="reset"))
    assert Record.of_data(json.loads(json.dumps(noted.as_data()))) == noted
