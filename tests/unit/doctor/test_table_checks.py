"""table_checks.py: tables that are full, or will be."""

from dataclasses import replace
from typing import Any

import pytest

from appliance.doctor.facts import Sample, ServerCounts, ShardPorts, Snapshot, Tracked
from appliance.doctor.finding import Severity
from appliance.ipc.plan import RealServerPlan
from tests.support.patient import (
    DEFAULTS,
    QUIET,
    RUNNING,
    SETUP,
    WEB,
    found,
    patient,
    rising,
    sample,
    severity,
    with_tunables,
)

OK, NOTE, WARNING, ERROR = Severity


def tracking(count: int, *, most: int = 1000, buckets: int = 1000, **more: int) -> dict[str, int]:
    return {"count": count, "max": most, "buckets": buckets, "drop": 0, "early_drop": 0, "insert_failed": 0} | more


@pytest.mark.parametrize(
    ("count", "lost", "expected"),
    [(799, {}, OK), (800, {}, WARNING), (949, {}, WARNING), (950, {}, ERROR), (800, {"drop": 1}, ERROR),
     (800, {"insert_failed": 1}, ERROR), (799, {"drop": 1}, OK)],
)  # fmt: skip
def test_conntrack_is_full(count: int, lost: dict[str, int], expected: Severity) -> None:
    samples = (sample(0, conntrack=tracking(count)), sample(10, conntrack=tracking(count, **lost)))
    assert severity("conntrack_full", patient(samples=samples)) == expected
    for finding in found("conntrack_full", patient(samples=samples)):
        assert finding.commands == ("sysctl -w net.netfilter.nf_conntrack_max=2000",)


def test_a_host_that_tracks_nothing() -> None:
    assert severity("conntrack_full", patient()) == OK


def growing(numbers: list[int], step_s: float = 300, **fixed: Any) -> tuple[Sample, ...]:
    return tuple(sample(place * step_s, conntrack=tracking(number), **fixed) for place, number in enumerate(numbers))


@pytest.mark.parametrize(
    ("numbers", "expected"),
    [([0, 150, 300], WARNING), ([0, 120, 240], OK), ([290, 291, 292], OK), ([600, 450, 300], OK)],
)
def test_conntrack_will_be_full_soon(numbers: list[int], expected: Severity) -> None:
    """From a quarter on, and within two hours."""
    assert severity("conntrack_full", patient(samples=growing(numbers))) == expected


def test_the_forecast_is_said_in_words() -> None:
    [finding] = found("conntrack_full", patient(samples=growing([0, 150, 300])))
    assert "300 of 1000 entries (30%); at this rate it is used up in 23 minutes" in finding.evidence


@pytest.mark.parametrize(("count", "expected"), [(80, OK), (81, NOTE)])
def test_conntrack_with_few_buckets(count: int, expected: Severity) -> None:
    samples = (sample(0), sample(10, conntrack=tracking(count, buckets=10)))
    assert severity("conntrack_few_buckets", patient(samples=samples)) == expected
    for finding in found("conntrack_few_buckets", patient(samples=samples)):
        assert finding.commands == ("sysctl -w net.netfilter.nf_conntrack_buckets=250",)


def test_traffic_of_services_is_tracked() -> None:
    tracked = Tracked(3, "198.51.100.2:40000 > 203.0.113.10:80", (("ip", "rival", "pre", 4), ("inet", "more", "raw", 7)))
    [finding] = found("services_tracked", patient(tracked=tracked))
    assert finding.severity == WARNING
    assert "3 entries" in finding.evidence
    assert "198.51.100.2:40000 > 203.0.113.10:80" in finding.evidence
    assert finding.commands == ("nft delete rule ip rival pre handle 4", "nft delete rule inet more raw handle 7")


def test_it_is_tracked_and_nobody_knows_by_whom() -> None:
    [finding] = found("services_tracked", patient(tracked=Tracked(1, "a > b", ())))
    assert finding.commands == ()


def ports(sessions: list[int], inactive: list[int], time_wait: int = 0, of_each: int = 50) -> ShardPorts:
    return ShardPorts(sessions, inactive, time_wait, of_each)


IDLE = ports([0, 0], [0, 0])


def with_ports(*shards: ShardPorts, **changes: Any) -> Snapshot:
    return patient(running=RUNNING._replace(ports=shards), **changes)


@pytest.mark.parametrize(
    ("shard", "expected"),
    [
        (ports([0, 79], [0, 0]), OK),
        (ports([0, 80], [0, 0]), WARNING),
        (ports([0, 94], [0, 0]), WARNING),
        (ports([0, 95], [0, 0]), ERROR),
        (ports([0, 95], [0, 20], time_wait=20), OK),
        (ports([0, 95], [0, 20], time_wait=10), WARNING),
        (ports([95, 95], [80, 0], time_wait=80), ERROR),
        (IDLE, OK),
    ],
)
def test_the_ports_of_a_pool_run_out_in_one_shard(shard: ShardPorts, expected: Severity) -> None:
    """A pool of two addresses with fifty ports each has a hundred in each shard. Ports of TIME_WAIT can be had."""
    assert severity("local_ports_run_out", with_ports(IDLE, shard)) == expected
    assert severity("local_ports_run_out", with_ports(shard, IDLE)) == expected


def refused(number: int) -> dict[str, Any]:
    return {"samples": (sample(0), sample(10, counts={"local_ports_exhausted": number}))}


@pytest.mark.parametrize(("sessions", "number", "expected"), [(80, 0, WARNING), (80, 1, ERROR), (79, 1, OK)])
def test_refused_sessions_make_it_an_error(sessions: int, number: int, expected: Severity) -> None:
    assert severity("local_ports_run_out", with_ports(IDLE, ports([sessions, 0], [0, 0]), **refused(number))) == expected


def test_services_share_the_ports_towards_a_real_server() -> None:
    """Of the same pool, protocol, address and port."""
    server = RealServerPlan("192.0.2.101", 8080, 100, 1)
    for changes, expected in (
        ({}, ERROR),
        ({"protocol": "udp", "synproxy": "never"}, OK),
        ({"local_addresses": ("10.9.0.99",)}, OK),
    ):
        other = replace(WEB, name="other", vip="203.0.113.11", real_servers=(server,), **changes)
        setup = SETUP._replace(
            services=(replace(WEB, real_servers=WEB.real_servers[:1]), other),
            pools={"default": WEB.local_addresses, "b": ("10.9.0.99",)},
        )
        snapshot = with_ports(ports([48, 48], [0, 0]), setup=setup)
        if "local_addresses" in changes:
            [finding] = found("local_ports_run_out", snapshot)
            assert finding.about == "b"
        else:
            assert severity("local_ports_run_out", snapshot) == expected


def test_what_it_says() -> None:
    setup = SETUP._replace(tunables=DEFAULTS | {"fullnat_lport_min": 7001, "fullnat_lport_max": 7100})
    samples = tuple(
        sample(place * 300, [ServerCounts(0, 0, number, 0), ServerCounts(0, 0, 0, 0)])
        for place, number in enumerate([20, 40, 60])
    )
    snapshot = with_ports(ports([30, 0], [0, 0]), ports([30, 0], [0, 0]), setup=setup, samples=samples)
    [finding] = found("local_ports_run_out", snapshot)
    assert (finding.severity, finding.about) == (WARNING, "default")
    assert "192.0.2.101:8080" in finding.problem
    assert "about 30 of 100 ports of a shard (30%); at this rate it is used up in 35 minutes" in finding.evidence
    assert finding.commands == ("appliance sysctl fullnat_lport_max=65535", "appliance sysctl fullnat_lport_min=5000")


def test_no_command_when_all_ports_are_in_use_already() -> None:
    [finding] = found("local_ports_run_out", with_ports(ports([99, 0], [0, 0])))
    assert finding.commands == ()


def table(sessions: int, time_wait: int = 0, refused: int = 0) -> tuple[Sample, ...]:
    return (sample(0), sample(10, sessions=sessions, time_wait=time_wait, counts={"table_full": refused}))


@pytest.mark.parametrize(
    ("sessions", "time_wait", "refused", "expected"),
    [(79, 0, 0, OK), (80, 0, 0, WARNING), (95, 0, 0, ERROR), (95, 20, 0, OK), (80, 0, 1, ERROR), (79, 0, 1, OK)],
)
def test_the_table_of_sessions(sessions: int, time_wait: int, refused: int, expected: Severity) -> None:
    snapshot = with_tunables({"conn_max": 100}, samples=table(sessions, time_wait, refused))
    assert severity("session_table_full", snapshot) == expected
    for finding in found("session_table_full", snapshot):
        assert finding.commands == ("appliance sysctl conn_max=200",)


def test_a_table_without_a_limit_is_never_full() -> None:
    assert severity("session_table_full", with_tunables({"conn_max": 0}, samples=table(10**6))) == OK


def test_a_limit_is_raised_within_its_range() -> None:
    [finding] = found("session_table_full", with_tunables({"conn_max": 16_000_000}, samples=table(16_000_000)))
    assert finding.commands == ("appliance sysctl conn_max=16777216",)


@pytest.mark.parametrize(("number", "expected"), [(0, OK), (1, WARNING)])
def test_the_backlog(number: int, expected: Severity) -> None:
    snapshot = rising(10, counts={"syn_backlog_full": number})
    assert severity("syn_backlog_full", snapshot) == expected
    for finding in found("syn_backlog_full", snapshot):
        assert finding.commands == ("appliance sysctl tcp_max_syn_backlog=8192",)


def test_quiet_samples_show_nothing() -> None:
    assert patient().samples == QUIET
