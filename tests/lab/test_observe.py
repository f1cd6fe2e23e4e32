"""Traffic that speaks against a real server, on real packets: who is out by it, who is checked sooner, and who comes back."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import RunningLab, running_lab
from tests.lab.director import are_told, log_lines, reload
from tests.lab.loss_rules import tcp_ext

TEXT = (Path(__file__).parent / "tcp_and_udp.toml").read_text()
ERRORS, HOLD_S = 4, 3.0
LONG_HOLD_S = 600.0
"""Longer than a test: whoever is down stays down until the next reload."""


def observing(hold_s: float) -> str:
    """The table that observes a service."""
    return f"[service.observe]\nerrors = {ERRORS}\nwithin_s = 60.0\nhold_s = {hold_s}\n"


OBSERVE = observing(LONG_HOLD_S)
RARE_CHECK = '[service.health_check]\ntype = "tcp"\ninterval_s = 3600.0\nfast_interval_s = 1.0\nrise = 1\nfall = 1\n'
RS1, RS2 = "192.0.2.101:8080", "192.0.2.102:8080"


def with_tables(*tables: str) -> str:
    """The configuration with these tables for both services."""
    return TEXT.replace("port = 80\n\n", "port = 80\n" + "".join(tables) + "\n").replace(
        'protocol = "udp"\n', 'protocol = "udp"\n' + "".join(tables)
    )


@pytest.fixture(scope="module")
def one_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    config = tmp_path_factory.mktemp("observe") / "lvs.toml"
    config.write_text(with_tables(OBSERVE))
    yield from running_lab("--config", str(config), "--shards", "2")


@pytest.fixture
def lab(one_lab: RunningLab) -> RunningLab:
    """The lab, which begins to observe, and in which all real servers are up."""
    reload(one_lab, TEXT)  # whatever earlier tests have left counts no more
    reload(one_lab, with_tables(OBSERVE))
    one_lab.wait_until("all are up", lambda: all("down" not in states(one_lab, service).values() for service in (0, 1)))
    return one_lab


def states(lab: RunningLab, service: int = 0) -> dict[str, str]:
    servers = lab.api_json("/health")["services"][service]["real_servers"]
    return {f"{server['address']}:{server['port']}": server["state"] for server in servers}


def errors(lab: RunningLab, field: str, service: int = 0) -> list[int]:
    servers: list[dict[str, Any]] = lab.api_json("/stats/ip_vs")["services"][service]["real_servers"]
    return [server[field] for server in servers]


REFUSES = "tcp dport 8080 tcp flags & (syn | ack) == syn reject with tcp reset"
IS_SILENT = "tcp dport 8080 drop"
REFUSES_UDP = "udp dport 8080 reject with icmp type port-unreachable"


@contextmanager
def firewall(lab: RunningLab, rule: str, role: str = "rs2") -> Iterator[None]:
    """A real server with this rule in its firewall."""
    lab.run(role, "nft", "add table ip closed; add chain ip closed input { type filter hook input priority 0; }")
    lab.run(role, "nft", f"add rule ip closed input {rule}")
    try:
        yield
    finally:
        lab.run(role, "nft", "delete table ip closed")


def load(lab: RunningLab, count: int) -> dict[str, Any]:
    result: dict[str, Any] = lab.script("client", "http_load.py", str(count), "4")
    return result


def is_down(lab: RunningLab, service: int = 0) -> None:
    lab.wait_until("rs2 is down", lambda: states(lab, service)[RS2] == "down" and are_told(lab))


def health_log(lab: RunningLab) -> list[str]:
    return log_lines(lab, "health")


def test_one_that_refuses_sessions_is_out_and_is_tried_again(lab: RunningLab) -> None:
    reload(lab, with_tables(observing(HOLD_S)))
    before, refused, syns_again = len(health_log(lab)), errors(lab, "refused_conns"), syns_sent_again(lab)
    with firewall(lab, REFUSES):
        result = load(lab, 4 * ERRORS)
        told = sum(result["errors"].values())
        assert told >= ERRORS
        lab.wait_until("rs2 was down", lambda: len(health_log(lab)) > before)  # and may be tried again by now
        lab.wait_until("all are counted", lambda: errors(lab, "refused_conns")[1] - refused[1] >= told)
        of_rs1, of_rs2 = (now - then for now, then in zip(errors(lab, "refused_conns"), refused, strict=True))
        assert of_rs1 == 0
        assert of_rs2 <= told + syns_sent_again(lab) - syns_again, "each is counted once"
    lab.wait_until("rs2 is tried again", lambda: len(health_log(lab)) > before + 1 and are_told(lab))
    assert states(lab)[RS2] == "up"
    assert set(load(lab, 20)["real_servers"]) == {"rs1", "rs2"}
    first, second, *more = health_log(lab)[before:]
    assert first.startswith(f"service web: real server {RS2} is down: ")
    assert " of its sessions failed within 60 s; last answer: " in first
    assert second.startswith(f"service web: real server {RS2} is up: it is tried again after 3 s")
    assert more == []
    changes = lab.api_json("/health")["changes"][-2:]
    assert [(change["address"], change["state"]) for change in changes] == [("192.0.2.102", "down"), ("192.0.2.102", "up")]


def syns_sent_again(lab: RunningLab) -> int:
    """How many SYNs the client's kernel has sent a second time, as it does on a slow machine."""
    return tcp_ext(lab, "client")["TCPSynRetrans"]


def test_one_whose_udp_port_is_closed_is_out(lab: RunningLab) -> None:
    with firewall(lab, REFUSES_UDP):
        assert lab.script("client", "udp_ask.py", str(4 * ERRORS))["refused"] >= ERRORS
        is_down(lab, service=1)
        assert lab.script("client", "udp_ask.py", "4") == {"answered": 4}


def test_stray_errors_mark_nothing_and_all_at_once_leave_one(lab: RunningLab) -> None:
    before, strays = len(health_log(lab)), 0
    with firewall(lab, REFUSES):
        while strays < ERRORS - 1:
            strays += sum(load(lab, 1)["errors"].values())
    assert load(lab, 40)["errors"] == {}
    assert health_log(lab)[before:] == []
    with (
        firewall(lab, REFUSES),
        firewall(lab, REFUSES, role="rs1"),
    ):
        lab.wait_until("one is down", lambda: bool(load(lab, 20)) and "down" in states(lab).values())
        load(lab, 40)
        assert sorted(states(lab).values()) == ["down", "up"], "one is left"


def test_with_a_check_the_next_one_is_hastened(lab: RunningLab) -> None:
    """It would come within the hour."""
    reload(lab, with_tables(OBSERVE, RARE_CHECK))
    with firewall(lab, REFUSES):
        load(lab, 4 * ERRORS)
        is_down(lab)
        said = f"service web: real server {RS2} is down: 1 tcp check failed"
        lab.wait_until("the log says so", lambda: health_log(lab)[-1].startswith(said))


def test_one_that_answers_no_syn_is_out(lab: RunningLab) -> None:
    """The last test here: sessions that it leaves behind are counted when their time is over."""
    with firewall(lab, IS_SILENT), lab.start("client", "open_sessions.py", str(3 * ERRORS)) as opening:
        try:
            is_down(lab)
            assert errors(lab, "unanswered_conns")[1] >= ERRORS
            assert errors(lab, "unanswered_conns")[0] == 0
        finally:
            opening.kill()
