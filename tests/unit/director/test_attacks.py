"""director/attacks.py: which counters it looks at, and what it logs."""

import logging

import pytest

from appliance.attack.kinds import KERNEL, KINDS, UNPROVEN
from appliance.director import attacks
from appliance.model.counters import CONNS, OK_ACK, QUEUE_FULL_DROPS, SYN_CNT
from appliance.model.verdicts import NO_SESSION
from tests.support.gateway import shared_state


def test_all_rows_are_counted_and_cookies_that_came_back_are_none() -> None:
    shared = shared_state(2, 1)
    for shard in range(2):
        shared.table(shard, "verdicts")[NO_SESSION.index] = 3
        shared.table(shard, "queue")[QUEUE_FULL_DROPS] = 5
        shared.table(shard, "ext")[SYN_CNT], shared.table(shard, "ext")[OK_ACK] = 20, 8
        shared.destination(shard, 0)[CONNS] = 7
    look = attacks.look_of(shared, {"defence_tcp_drop": 11})
    assert {name: look.counts[name] for name in ("no_session", "queue_full_drops", UNPROVEN, "strangers_tcp")} == {
        "no_session": 6,
        "queue_full_drops": 10,
        UNPROVEN: 24,
        "strangers_tcp": 11,
    }
    assert "strangers_udp" not in look.counts, "it could not be read"
    assert look.clients == (14, 16)
    every = attacks.look_of(shared, dict.fromkeys(KERNEL.values(), 0)).counts
    assert {rule for kind in KINDS for rule in kind.rules} <= every.keys()


def test_begin_and_end_are_a_line_each(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    shared = shared_state(1, 1)
    now = [10.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    watch = attacks.Attacks(shared)

    def look(strays: int) -> None:
        shared.table(0, "verdicts")[NO_SESSION.index] += strays
        watch.look({})
        now[0] += 2.0

    with caplog.at_level(logging.WARNING, "appliance.attack"):
        for strays in (0, 4000, 6000, *[0] * 8):
            look(strays)
    assert caplog.messages == [
        "attack began: stray_flood, 3000/s (TCP packets to a service without a session, with wrong cookies, or out of nowhere): "
        "no_session 10000; new sessions 0.0/s, before 0.0/s",
        "attack is over: stray_flood, after 4 s: 10000 dropped, at most 3000/s: no_session 10000; new sessions 0.0/s, "
        "before 0.0/s",
    ]
