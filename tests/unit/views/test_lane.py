"""views/lane.py: the share first, then the rest."""

from array import array

from appliance.ipc.ring_figures import RingFigures
from appliance.ipc.rows import LaneState, LaneStats, ServiceRing
from appliance.model.counters import SESSIONS_SHORT, TICKETS_RETURNED
from appliance.model.lane_counters import LANE_COUNTERS
from appliance.views.lane import lane
from tests.support.gateway import shared_state


def test_the_share_comes_first() -> None:
    shared = shared_state(shards=2, destinations=2)
    shared.destination(0, 0)[:4] = memoryview(array("Q", [1, 2, 30, 40]))
    shared.destination(1, 1)[:4] = memoryview(array("Q", [3, 4, 50, 60]))
    shared.table(0, "queue")[TICKETS_RETURNED], shared.table(1, "queue")[TICKETS_RETURNED] = 2, 10
    shared.table(1, "queue")[SESSIONS_SHORT] = 9
    shared.short_lived[:] = memoryview(array("Q", [1, 2, 0, 4, 6, 5]))
    shared.destination(shared.lane, 1)[:4] = memoryview(array("Q", [390, 600, 5000, 6000]))
    why_off = "a chain"
    document = lane(shared, LaneStats(LaneState("impaired", "tc: no", 2, why_off), 5, 4096, 7, list(range(len(LANE_COUNTERS)))))
    head, state, entries, prepared, short, _, _, of_lane, of_workers, _, _, first, *_ = document.text.splitlines()
    assert head == "carried: 99.0 % of the packets of sessions"
    assert state == "lane: impaired (tc: no), repaired 2 times"
    assert entries == "entries: 5 used, 4091 free"
    assert prepared == "prepared admissions: off (a chain), 7 ready, 11 spare, 12 taken back"
    assert document.data["admissions_off"] == "a chain"
    assert short == "short-lived sessions: 3 young, 4 resting, 9 so far"
    assert document.data["prepared"] == {"ready": 7, "returned": 12, "young": 3, "resting": 4, "spare": 11, "short": 9}
    assert of_lane.split() == ["lane", "990", "11000"]
    assert of_workers.split() == ["workers", "10", "180"]
    assert first.split() == ["carried", "0"]
    assert document.data["share_percent"] == 99.0
    assert document.data["entries"] == {"used": 5, "free": 4091, "total": 4096}
    assert document.data["counters"]["up_held"] == 2


def test_what_is_prepared_for_services_stands_in_a_table() -> None:
    rings = [
        ServiceRing("web", 0, RingFigures(True, 3, "turns", 6, 2, 1, 40)),
        ServiceRing("web", 1, RingFigures(True, 16, "", 0, 0, 0, 0)),
    ]
    document = lane(shared_state(shards=2, destinations=1), LaneStats(LaneState("on", ""), 0, 0, 3, []), rings)
    assert document.data["services"] == [
        {
            "service": "web", "shard": 0, "is_open": True, "ready": 3, "way": "turns", "places": 6, "pools": 2, "empty_pools": 1,
            "in_line": 40,
        },
        {
            "service": "web", "shard": 1, "is_open": True, "ready": 16, "way": "", "places": 0, "pools": 0, "empty_pools": 0,
            "in_line": 0,
        },
    ]  # fmt: skip
    head, first, second = document.text.splitlines()[-3:]
    assert head.split() == ["service", "shard", "way", "places", "pools", "empty", "pools", "in", "line", "ready"]
    assert first.split() == ["web", "0", "turns", "6", "2", "1", "40", "3"]
    assert second.split() == ["web", "1", "-", "0", "0", "0", "0", "16"]


def test_of_prepared_admissions_that_are_on_no_reason_is_told() -> None:
    document = lane(shared_state(shards=1, destinations=1), LaneStats(LaneState("on", ""), 0, 0, 3, []))
    assert "prepared admissions: 3 ready, 0 spare, 0 taken back\n" in document.text
    assert document.data["admissions_off"] == ""


def test_without_a_lane_there_is_no_share_and_no_counter() -> None:
    document = lane(shared_state(shards=1, destinations=1), LaneStats(LaneState("off", 'gateway.lane is "off"'), 0, 0, 0, []))
    assert document.text.startswith(
        'carried: 0.0 % of the packets of sessions\nlane: off (gateway.lane is "off"), repaired 0 times\n'
    )
    assert document.text.endswith("workers        0      0\n")
    assert document.data["counters"] == {}
