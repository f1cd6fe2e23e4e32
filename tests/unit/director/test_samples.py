"""samples.py: what is taken down of a moment."""

import time
from pathlib import Path

import pytest

from appliance.director.samples import sample_of
from appliance.doctor.facts import ServerCounts
from appliance.edge import conntrack, host_facts
from appliance.ipc.rows import DutyState
from appliance.model.counters import TOA_FAIL_LEN, WORKER_STARTS
from appliance.model.verdicts import STALE_ANSWER
from tests.support.gateway import FakeGateway, fill_destinations


@pytest.fixture(autouse=True)
def host(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host_facts, "tcp_ext", lambda: {"PAWSActive": 2, "ListenOverflows": 3, "TW": 4})
    monkeypatch.setattr(conntrack, "read", lambda: {"count": 5, "max": 10})


def test_the_host_alone() -> None:
    sample = sample_of()
    assert sample.tcp_ext == {"PAWSActive": 2, "ListenOverflows": 3}
    assert sample.conntrack == {"count": 5, "max": 10}
    assert (dict(sample.counts), list(sample.servers), sample.starts) == ({}, [], ())


def test_a_host_that_tells_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails() -> None:
        raise PermissionError

    monkeypatch.setattr(host_facts, "tcp_ext", fails)
    monkeypatch.setattr(conntrack, "read", lambda: None)
    sample = sample_of()
    assert (dict(sample.tcp_ext), dict(sample.conntrack)) == ({}, {})


def test_the_gateway_too() -> None:
    gateway = FakeGateway()
    gateway.shared = fill_destinations(shards=2)
    for shard in range(2):
        gateway.shared.table(shard, "verdicts")[STALE_ANSWER.index] = 10 + shard
        gateway.shared.table(shard, "queue")[WORKER_STARTS] = 1 + shard
        gateway.shared.session_counts[shard] = 100 + shard
        gateway.shared.time_wait_counts[shard] = 50 + shard
    gateway.shared.destination(gateway.shared.lane, 2)[1] = 9000
    for row in range(3):
        gateway.shared.table(row, "ext")[TOA_FAIL_LEN] = 5
    gateway.duties = [DutyState("look at routes", 2, "no"), DutyState("reload", 0, "")]
    sample = sample_of(gateway)
    assert sample.failures == {"look at routes": 2}
    assert sample.counts["stale_answer"] == 21
    assert sample.counts["fullnat_add_toa_fail_len"] == 15, "the lane counts too"
    assert (sample.sessions, sample.time_wait, sample.starts) == (201, 101, (1, 2))
    # 1000 * (shard + 1) + 100 * slot + place of the field, of both shards
    assert sample.server(1) == ServerCounts(conns=3208, out_packets=3202, active=3210, inactive=3212)
    assert sample.server(2).out_packets == 3402 + 9000
    assert sample.server(2).sessions == 3410 + 3412
    assert sample.server(3) == ServerCounts(0, 0, 0, 0)


def test_times_are_of_two_clocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time, "monotonic", lambda: 5.0)
    monkeypatch.setattr(time, "clock_gettime", lambda clock: {time.CLOCK_REALTIME: 7.0}[clock])
    assert (sample_of().at_s, sample_of().wall_s) == (5.0, 7.0)


def test_nothing_here_needs_proc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(host_facts, "_NETSTAT", tmp_path / "none")
    assert dict(sample_of().tcp_ext) == {}
