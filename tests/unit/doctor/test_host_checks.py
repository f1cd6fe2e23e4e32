"""host_checks.py: the host's own TCP, each threshold from both sides."""

import pytest

from appliance.doctor.facts import Path, Snapshot
from appliance.doctor.finding import Severity
from tests.support.patient import PATHS, SYSCTLS, found, patient, rising, severity, with_sysctls, with_tunables

OK, NOTE, WARNING, ERROR = Severity


@pytest.mark.parametrize(("value", "expected"), [(None, OK), ("0", OK), ("1", ERROR)])
def test_tcp_tw_recycle(value: str | None, expected: Severity) -> None:
    """A kernel that does not have it is fine."""
    snapshot = with_sysctls({} if value is None else {"net/ipv4/tcp_tw_recycle": value})
    assert severity("tcp_tw_recycle", snapshot) == expected
    if expected:
        assert found("tcp_tw_recycle", snapshot)[0].commands == ("sysctl -w net.ipv4.tcp_tw_recycle=0",)


@pytest.mark.parametrize(("value", "expected"), [("60", OK), ("59", NOTE), ("90", OK), ("", OK)])
def test_fin_timeout(value: str, expected: Severity) -> None:
    snapshot = with_sysctls({"net/ipv4/tcp_fin_timeout": value})
    assert severity("fin_timeout_lowered", snapshot) == expected
    for finding in found("fin_timeout_lowered", snapshot):
        assert "FIN_WAIT_2" in finding.problem
        assert finding.commands == ("sysctl -w net.ipv4.tcp_fin_timeout=60",)


@pytest.mark.parametrize("counter", ["PAWSActive", "PAWSEstab", "PAWSPassive", "PAWSTimewait"])
@pytest.mark.parametrize(("packets", "expected"), [(0, OK), (5, OK), (6, WARNING)])
def test_paws_rejections(counter: str, packets: int, expected: Severity) -> None:
    assert severity("paws_rejections", rising(60, tcp_ext={counter: packets})) == expected


@pytest.mark.parametrize(("counter", "name"), [("SyncookiesSent", "syncookies_sent"), ("ListenOverflows", "listen_overflows")])
@pytest.mark.parametrize(("events", "expected"), [(0, OK), (1, WARNING)])
def test_overflows(counter: str, name: str, events: int, expected: Severity) -> None:
    assert severity(name, rising(10, tcp_ext={counter: events})) == expected


def test_the_command_doubles_what_is_too_small() -> None:
    [cookies] = found("syncookies_sent", rising(10, tcp_ext={"SyncookiesSent": 1}))
    assert cookies.commands == ("sysctl -w net.ipv4.tcp_max_syn_backlog=2048", "sysctl -w net.core.somaxconn=8192")
    without = rising(10, tcp_ext={"ListenOverflows": 1})
    [overflows] = found("listen_overflows", without)
    assert overflows.commands == ("sysctl -w net.core.somaxconn=8192",)


def sends_from(source: str, ports: str, low: int = 5000, high: int = 65535) -> Snapshot:
    paths = PATHS | {"192.0.2.102": Path("server0", "", source, 1500)}
    sysctls = SYSCTLS | {"net/ipv4/ip_local_port_range": ports}
    return with_tunables({"fullnat_lport_min": low, "fullnat_lport_max": high}, paths=paths, sysctls=sysctls)


@pytest.mark.parametrize(
    ("source", "ports", "expected"),
    [
        ("192.0.2.1", "32768\t60999", OK),
        ("10.9.0.10", "32768\t60999", WARNING),
        ("10.9.0.10", "1024\t5000", WARNING),
        ("10.9.0.10", "1024\t4999", OK),
        ("10.9.0.10", "", OK),
    ],
)
def test_overlapping_ports_matter_when_the_host_uses_a_local_address(source: str, ports: str, expected: Severity) -> None:
    assert severity("local_port_overlap", sends_from(source, ports)) == expected


@pytest.mark.parametrize(
    ("low", "high", "command"),
    [
        (5000, 65535, "'net.ipv4.ip_local_port_range=1024 4999'"),
        (2024, 65535, "'net.ipv4.ip_local_port_range=1024 2023'"),
        (2023, 65535, None),
        (1025, 40000, "'net.ipv4.ip_local_port_range=40001 65535'"),
    ],
)
def test_the_two_ranges_are_kept_apart_where_there_is_room(low: int, high: int, command: str | None) -> None:
    [finding] = found("local_port_overlap", sends_from("10.9.0.11", f"{low} {high}", low, high))
    assert finding.commands == (() if command is None else (f"sysctl -w {command}",))


def test_a_range_above_the_ports_of_sessions_does_not_overlap() -> None:
    assert severity("local_port_overlap", sends_from("10.9.0.10", "40000 65535", 1025, 40000)) == WARNING
    assert severity("local_port_overlap", sends_from("10.9.0.10", "40001 65535", 1025, 40000)) == OK


def test_nothing_is_found_on_a_healthy_host() -> None:
    assert patient().sysctls == SYSCTLS
    assert severity("tcp_tw_recycle", patient()) == OK
