"""metrics/counted.py: each counter of each list has its series, and a number in the shared memory comes out under its name."""

import pytest

from appliance.ipc.rows import LaneState, LaneStats
from appliance.model.counters import EXT_COUNTERS, QUEUE_COUNTERS
from appliance.model.lane_counters import LANE_COUNTERS
from appliance.model.verdict import Action, Verdict
from appliance.model.verdicts import STORM, TO_CLIENT, TO_REAL_SERVER, VERDICTS
from tests.unit.metrics.conftest import Metrics

_FAMILIES = {Action.DROP: "dropped", Action.ACCEPT: "accepted", Action.REWRITTEN: "rewritten"}


def help_of(text: str, name: str) -> str:
    (found,) = (line.partition(f"{name} ")[2] for line in text.splitlines() if line.startswith(f"# HELP {name} "))
    return found


@pytest.mark.parametrize("place", range(len(EXT_COUNTERS)), ids=lambda place: EXT_COUNTERS[place].name)
def test_an_extended_counter_says_who_counted(metrics: Metrics, place: int) -> None:
    name, summary = EXT_COUNTERS[place]
    metrics.moved()
    for row, number in enumerate((1, 2, 4)):
        metrics.gateway.shared.table(row, "ext")[place] = number
    metrics.gateway.dropped_by_kernel = {name: 8}
    series = f"appliance_{name}_total"
    assert metrics.moved() == {f'{series}{{by="shards"}}': 3, f'{series}{{by="lane"}}': 4, f'{series}{{by="kernel"}}': 8}
    assert help_of(metrics.text(), series) == f"{summary[0].upper()}{summary[1:]}."


def test_what_the_kernel_did_not_say_is_left_out_and_said_to_be(metrics: Metrics) -> None:
    """Not 0, and not the number of an earlier look: a counter that goes back counts as a new start."""
    metrics.gateway.dropped_by_kernel = {"defence_udp_drop": 8}
    everything = metrics.all()
    metrics.gateway.knows_kernel_drops = False
    fewer = metrics.all()
    assert everything.keys() - fewer.keys() == {'appliance_defence_udp_drop_total{by="kernel"}'}
    source = 'appliance_source_up{source="kernel_drops"}'
    assert (everything[source], fewer[source]) == (1, 0)


@pytest.mark.parametrize("verdict", VERDICTS, ids=lambda verdict: verdict.name)
def test_a_verdict_is_a_reason(metrics: Metrics, verdict: Verdict) -> None:
    metrics.moved()
    metrics.gateway.shared.table(0, "verdicts")[verdict.index] = 1
    metrics.gateway.shared.table(1, "verdicts")[verdict.index] = 2
    series = f'appliance_{_FAMILIES[verdict.action]}_packets_total{{reason="{verdict.name}"}}'
    expected = {} if verdict in (TO_REAL_SERVER, TO_CLIENT) else {series: 3}
    assert metrics.moved() == expected


def test_what_the_lane_drops_has_a_reason_too(metrics: Metrics) -> None:
    metrics.moved()
    metrics.gateway.shared.table(metrics.gateway.shared.lane, "verdicts")[STORM.index] = 5
    assert metrics.moved() == {'appliance_dropped_packets_total{reason="ack_storm"}': 5}


@pytest.mark.parametrize("place", range(len(QUEUE_COUNTERS)), ids=lambda place: QUEUE_COUNTERS[place].name)
def test_a_counter_of_queues_has_a_series_for_each_shard(metrics: Metrics, place: int) -> None:
    name, summary = QUEUE_COUNTERS[place]
    metrics.moved()
    metrics.gateway.shared.table(0, "queue")[place] = 1
    metrics.gateway.shared.table(1, "queue")[place] = 2
    series = f"appliance_{name}_total"
    assert metrics.moved() == {f'{series}{{shard="0"}}': 1, f'{series}{{shard="1"}}': 2}
    assert help_of(metrics.text(), series) == f"{summary[0].upper()}{summary[1:]}."


@pytest.mark.parametrize("place", range(len(LANE_COUNTERS)), ids=lambda place: LANE_COUNTERS[place].name)
def test_a_counter_of_the_lane(metrics: Metrics, place: int) -> None:
    name = LANE_COUNTERS[place].name
    metrics.moved()
    metrics.gateway.lane.counts[place] += 7
    is_reason = name.startswith("up_")
    series = f'lane_handed_up_packets_total{{reason="{name[3:]}"}}' if is_reason else f"lane_{name}_packets_total"
    assert metrics.moved() == {f"appliance_{series}": 7}


@pytest.mark.parametrize(("state", "is_read"), [("off", 1), ("on", 0), ("impaired", 0)])
def test_without_counters_of_the_lane_there_are_none(metrics: Metrics, state: str, is_read: int) -> None:
    """With a lane, the kernel did not answer; without one, there is nothing to read."""
    metrics.gateway.lane = LaneStats(LaneState(state, "no"), 0, 0, 0, [])
    series = metrics.all()
    assert not [
        name for name in series if name.startswith(("appliance_lane_carried", "appliance_lane_handed", "appliance_lane_option"))
    ]
    assert series['appliance_source_up{source="lane"}'] == is_read
    assert series['appliance_lane_packets_total{direction="in"}'] == 0, "what was counted before stays"
