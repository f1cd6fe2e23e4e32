"""examination.py: facts are collected each on its own, reports are shared, and a host is looked at twice."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from appliance.config import loading
from appliance.director.examination import FRESH_S, KEPT_SAMPLES, SAMPLE_INTERVAL_S, TWO_LOOKS_S, Doctor, look_twice
from appliance.doctor.examine import Report
from appliance.doctor.facts import Clock, Entry, Interface
from appliance.doctor.facts import Path as Way
from appliance.doctor.finding import Severity
from appliance.edge import conntrack, host_facts, nft
from appliance.edge.errors import EdgeError
from appliance.health.changes import StateChange
from appliance.health.check import Target
from tests.support.gateway import FakeGateway

SHIPPED = loading.load(Path(__file__).parents[3] / "etc/lvs.toml")


class FakeHost:
    """The answers of the kernel; each can be replaced by an error."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.sysctls = {"net/ipv4/ip_forward": "1"}
        self.asked_sysctls: list[str] = []
        self.asked_addresses: list[str] = []
        self.entries: list[Entry] = []
        self.tracks = True
        self._monkeypatch = monkeypatch
        answers: dict[str, Callable[..., Any]] = {
            "tcp_ext": lambda: {"ListenOverflows": 1},
            "sysctls": self._sysctls,
            "clock": lambda: Clock("tsc", ("tsc",)),
            "interfaces": lambda names: {name: Interface(1500, True, False) for name in names},
            "paths": lambda addresses: {address: Way("server0", "", "192.0.2.1", 1500) for address in addresses},
            "neighbours": dict,
        }
        for name, answer in answers.items():
            monkeypatch.setattr(host_facts, name, answer)
        monkeypatch.setattr(conntrack, "read", lambda: {"count": 1, "max": 100} if self.tracks else None)
        monkeypatch.setattr(conntrack, "entries", self._entries)
        monkeypatch.setattr(nft, "zone_rules", lambda: [("ip", "rival", "pre", 4)])

    def _sysctls(self, paths: list[str]) -> dict[str, str]:
        self.asked_sysctls = paths
        return self.sysctls

    def _entries(self, address: str) -> list[Entry]:
        self.asked_addresses.append(address)
        return [entry for entry in self.entries if address in (entry.source, entry.destination)]

    def fails(self, name: str) -> None:
        def fail(*_: object) -> None:
            raise EdgeError("the kernel says no")

        self._monkeypatch.setattr(host_facts, name, fail)


@pytest.fixture
def host(monkeypatch: pytest.MonkeyPatch) -> FakeHost:
    return FakeHost(monkeypatch)


def names(report: Report) -> list[str]:
    return [finding.name for finding in report.findings]


async def watched(gateway: FakeGateway, now: Callable[[], float] = lambda: 0.0) -> Doctor:
    """A doctor that has taken its first sample."""
    doctor = Doctor(gateway, lambda: SHIPPED, now)
    await doctor.look()
    return doctor


async def test_a_running_gateway(host: FakeHost) -> None:
    report = await (await watched(FakeGateway())).report()
    assert report.is_running
    assert (names(report), report.left_out, report.unseen) == ([], (), {})
    assert "net/ipv4/conf/client0/rp_filter" in host.asked_sysctls
    assert "net/ipv4/conf/all/accept_local" in host.asked_sysctls


@pytest.mark.usefixtures("host")
async def test_before_the_first_sample_nothing_rises() -> None:
    report = await Doctor(FakeGateway(), lambda: SHIPPED).report()
    assert report.unseen == {"samples": "the appliance has just started"}
    assert "queue_drops" in report.left_out


@pytest.mark.parametrize("fact", ["sysctls", "interfaces", "paths", "neighbours", "clock"])
async def test_a_fact_that_cannot_be_collected_is_named(host: FakeHost, fact: str) -> None:
    host.fails(fact)
    report = await (await watched(FakeGateway())).report()
    assert report.unseen == {fact: "EdgeError: the kernel says no"}
    assert report.left_out


@pytest.mark.usefixtures("host")
async def test_a_gateway_that_cannot_be_asked_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    gateway = FakeGateway()
    doctor = await watched(gateway)

    def fails() -> list[Any]:
        raise RuntimeError("ours")

    monkeypatch.setattr(gateway, "shard_states", fails)
    report = await doctor.report()
    assert report.unseen == {"running": "RuntimeError: ours"}


@pytest.mark.usefixtures("host")
async def test_tunables_in_force_count_and_not_those_of_the_file() -> None:
    gateway = FakeGateway()
    gateway.shared.set_tunables({"fullnat_timestamp_remove_entry": 0})
    assert names(await (await watched(gateway)).report()) == ["timestamps_kept"]


async def test_a_drained_real_server_may_be_off(host: FakeHost) -> None:
    """Nobody is sent there. The one that is not drained has weight 0 in the file."""
    host._monkeypatch.setattr(host_facts, "neighbours", lambda: {"192.0.2.101": "FAILED", "192.0.2.102": "FAILED"})
    gateway = FakeGateway()
    gateway.services = gateway.services[:1]  # the other service has the first one as well
    doctor = await watched(gateway)
    before = {finding.about: finding.severity for finding in (await doctor.report()).findings}
    assert before == {"192.0.2.101": Severity.ERROR, "192.0.2.102": Severity.NOTE}
    await gateway.drains.begin(Target("web", "192.0.2.101", 8080), None)
    after = {finding.about: finding.severity for finding in (await (await watched(gateway)).report()).findings}
    assert after == {"192.0.2.101": Severity.NOTE, "192.0.2.102": Severity.NOTE}


async def test_connection_tracking_is_searched_for_services(host: FakeHost) -> None:
    host.entries = [Entry(6, "198.51.100.2", 40000, "203.0.113.10", 80, 432000, 3)] * 2
    [finding] = (await (await watched(FakeGateway())).report()).findings
    assert finding.evidence.startswith("1 entries of the last half minute")
    assert finding.commands == ("nft delete rule ip rival pre handle 4",)
    assert host.asked_addresses == ["203.0.113.10", "192.0.2.10", "192.0.2.11"]


async def test_a_host_that_tracks_nothing_is_not_searched(host: FakeHost) -> None:
    host.tracks = False
    assert names(await (await watched(FakeGateway())).report()) == []
    assert host.asked_addresses == []


@pytest.mark.usefixtures("host")
async def test_there_is_one_examination_at_a_time_and_it_is_shared() -> None:
    now = 100.0
    doctor = await watched(FakeGateway(), lambda: now)
    reports = [await asyncio.gather(*(doctor.report() for _ in range(50)))]
    now += FRESH_S - 0.1
    reports.append([await doctor.report()])
    assert len({id(report) for same in reports for report in same}) == 1
    now += 0.1
    assert await doctor.report() is not reports[0][0]


@pytest.mark.usefixtures("host")
async def test_who_does_not_wait_ends_it_for_nobody_else() -> None:
    doctor = await watched(FakeGateway())
    first, second = (asyncio.ensure_future(doctor.report()) for _ in range(2))
    await asyncio.sleep(0)
    first.cancel()
    assert (await second).is_running


async def test_a_report_leaves_no_sample_behind(host: FakeHost) -> None:
    """So that whoever asks often does not shorten the time that is looked back."""
    doctor = await watched(FakeGateway())
    await doctor.report()
    assert len(doctor._samples) == 1
    assert doctor._samples.maxlen == KEPT_SAMPLES
    assert host.tracks


@pytest.mark.usefixtures("host")
async def test_samples_are_kept_at_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 100:
            raise asyncio.CancelledError

    doctor = Doctor(FakeGateway(), lambda: SHIPPED)
    monkeypatch.setattr(asyncio, "sleep", pause)
    with pytest.raises(asyncio.CancelledError):
        await doctor.watch()
    assert pauses == [SAMPLE_INTERVAL_S] * 100
    assert len(doctor._samples) == KEPT_SAMPLES


@pytest.mark.usefixtures("host")
async def test_ports_are_those_of_each_shard() -> None:
    gateway = FakeGateway()
    gateway.shared.set_tunables({"fullnat_lport_min": 7000, "fullnat_lport_max": 7009})
    gateway.shared.destination(1, 0)[5] = 9
    [finding] = (await (await watched(gateway)).report()).findings
    assert "about 9 of 10 ports of a shard (90%)" in finding.evidence


@pytest.mark.usefixtures("host")
async def test_what_health_checks_say() -> None:
    gateway = FakeGateway()
    gateway.health.down = frozenset({0})
    gateway.health.recent = [
        StateChange(time.time_ns() / 1e9, Target("web", "192.0.2.101", 8080), bool(place % 2), "refused", "")
        for place in range(4)
    ]
    found = {one.name: one for one in (await (await watched(gateway)).report()).findings}
    assert (found["real_servers_down"].about, found["real_server_flapping"].about) == ("web", "192.0.2.101:8080")
    assert found["real_servers_down"].evidence.endswith("192.0.2.101:8080: refused")


async def test_a_host_without_an_appliance_is_looked_at_twice(host: FakeHost, monkeypatch: pytest.MonkeyPatch) -> None:
    host.sysctls["net/ipv4/ip_forward"] = "0"
    overflows = iter([1, 4])
    monkeypatch.setattr(host_facts, "tcp_ext", lambda: {"ListenOverflows": next(overflows)})
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    report = await look_twice(SHIPPED, pause)
    assert pauses == [TWO_LOOKS_S]
    assert not report.is_running
    assert names(report) == ["not_running", "listen_overflows", "ip_forward_off"]
    assert report.unseen == {"running": "no appliance was asked"}
    assert "worker_down" in report.left_out
    assert "real_server_silent" in report.left_out
