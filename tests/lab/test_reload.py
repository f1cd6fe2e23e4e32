"""What may change under a running appliance: real servers and start values by SIGHUP, and the MTU of routes by itself."""

import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import RunningLab, running_lab
from tests.lab.director import director_pid, log_lines, reload, worker_pids
from tests.lab.keep_alive import keep_alive

SHIPPED = (Path(__file__).parents[2] / "etc/lvs.toml").read_text()

RS2 = """
[[service.real_server]]
address = "192.0.2.102"
port = 8080
weight = 100
"""

RS1_ENDPOINT, RS2_ENDPOINT = "192.0.2.101:8080", "192.0.2.102:8080"


@pytest.fixture(scope="module")
def one_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    config = tmp_path_factory.mktemp("reload") / "lvs.toml"
    config.write_text(SHIPPED)
    yield from running_lab("--config", str(config), "--shards", "2")


@pytest.fixture
def lab(one_lab: RunningLab) -> Iterator[RunningLab]:
    """The lab, which gets the shipped configuration back afterwards."""
    yield one_lab
    reload(one_lab, SHIPPED)


def without_rs2() -> str:
    assert RS2 in SHIPPED
    return SHIPPED.replace(RS2, "")


def with_rs2_drained() -> str:
    assert RS2 in SHIPPED
    return SHIPPED.replace(RS2, RS2.replace("weight = 100", "weight = 0"))


def who_answers(lab: RunningLab) -> set[str]:
    """The real servers that take new connections, all shards included."""
    result = lab.script("client", "http_load.py", "200", "8")
    assert result["errors"] == {}
    return set(result["real_servers"])


def real_servers(lab: RunningLab) -> dict[str, dict[str, Any]]:
    """The real servers as the API shows them, by address and port."""
    (service,) = lab.api_json("/stats/ip_vs")["services"]
    return {f"{row['address']}:{row['port']}": row for row in service["real_servers"]}


def conns_in_total(lab: RunningLab) -> int:
    total: int = lab.api_json("/stats/ip_vs_stats")["totals"]["conns"]["total"]
    return total


def test_weight_0_drains(lab: RunningLab) -> None:
    """New connections go to the other real server only; open connections stay at theirs."""
    with keep_alive(lab) as clients:
        clients.ask()
        before = clients.answers()
        assert {name for name, _ in before} == {"rs1", "rs2"}
        said = reload(lab, with_rs2_drained())
        assert said == [f"service web: real server {RS2_ENDPOINT} weight 100 -> 0", "configuration read again, changes: 1"]
        assert who_answers(lab) == {"rs1"}
        clients.ask()
        assert clients.answers() == before
    assert real_servers(lab)[RS2_ENDPOINT]["weight"] == 0
    assert reload(lab, SHIPPED)[0] == f"service web: real server {RS2_ENDPOINT} weight 0 -> 100"
    assert who_answers(lab) == {"rs1", "rs2"}


def settled_total(lab: RunningLab) -> int:
    """The total once it stands still: workers publish what they have counted a moment later."""
    seen: list[int] = []

    def stands_still() -> bool:
        seen.append(conns_in_total(lab))
        return len(seen) > 1 and seen[-1] == seen[-2]

    lab.wait_until("all is counted", stands_still)
    return seen[-1]


def test_a_real_server_is_removed_and_comes_back_with_its_counters(lab: RunningLab) -> None:
    assert who_answers(lab) == {"rs1", "rs2"}
    in_total, of_rs2 = settled_total(lab), real_servers(lab)[RS2_ENDPOINT]["conns"]
    assert reload(lab, without_rs2())[0] == f"service web: real server {RS2_ENDPOINT} removed"
    assert set(real_servers(lab)) == {RS1_ENDPOINT}
    assert who_answers(lab) == {"rs1"}
    lab.wait_until("its traffic is still in the totals", lambda: conns_in_total(lab) == in_total + 200)
    assert reload(lab, SHIPPED)[0] == f"service web: real server {RS2_ENDPOINT} added, weight 100"
    assert real_servers(lab)[RS2_ENDPOINT]["conns"] == of_rs2
    result = lab.script("client", "http_load.py", "100", "4")
    lab.wait_until(
        "it counts on from there",
        lambda: real_servers(lab)[RS2_ENDPOINT]["conns"] == of_rs2 + result["real_servers"]["rs2"],
    )
    lab.wait_until("so do the totals", lambda: conns_in_total(lab) == in_total + 300)


def test_sessions_of_a_removed_real_server_wait_for_it(lab: RunningLab) -> None:
    with keep_alive(lab) as clients:
        clients.ask()
        before = clients.answers()
        dropped = lab.counter("drops", "real_server_gone")
        reload(lab, without_rs2())
        clients.ask()
        lab.wait_until("a packet finds it gone", lambda: lab.counter("drops", "real_server_gone") > dropped)
        reload(lab, SHIPPED)
        assert clients.answers() == before


def test_sessions_of_a_removed_real_server_end_when_the_tunable_says_so(lab: RunningLab) -> None:
    lab.set_tunable("expire_nodest_conn", 1)
    try:
        with keep_alive(lab) as clients:
            clients.ask()
            before = clients.answers()
            reload(lab, without_rs2())
            clients.ask()
            assert clients.answers() == [["reset" if name == "rs2" else name, port] for name, port in before]
    finally:
        lab.set_tunable("expire_nodest_conn", 0)


def test_a_worker_that_starts_later_has_the_change(lab: RunningLab) -> None:
    reload(lab, without_rs2())
    before = worker_pids(lab)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    lab.wait_until("they are back", lambda: all(pid and pid not in before for pid in worker_pids(lab)))
    assert who_answers(lab) == {"rs1"}


def test_start_values_change_where_the_file_does(lab: RunningLab) -> None:
    lab.set_tunable("tcp_timeout_close", 3000)
    said = reload(lab, SHIPPED.replace("tcp_timeout_established = 900000", "tcp_timeout_established = 600000"))
    assert said == ["tcp_timeout_established: 900000 -> 600000", "configuration read again, changes: 1"]
    assert lab.api("/sysctl/tcp_timeout_close") == "3000\n", "not by the file, so not by a reload"
    lab.set_tunable("tcp_timeout_close", 10_000)


def needs_a_restart() -> tuple[str, list[str]]:
    text = with_rs2_drained().replace("shards = 2", "shards = 3").replace("queue_base = 0", "queue_base = 8")
    return text, ["gateway.queue_base: 0 -> 8 needs a restart"]  # the lab's --shards wins over the file's


def has_mistakes(file: str) -> tuple[str, list[str]]:
    text = with_rs2_drained().replace("shards = 2", "shards = 0")
    line = 1 + text.splitlines().index("shards = 0")
    return text, [f"{file}:{line}: gateway.shards: 0 is out of range 1..64"]


@pytest.mark.parametrize("with_mistakes", [False, True], ids=["needs a restart", "has mistakes"])
def test_a_refused_reload_changes_nothing_and_says_why(lab: RunningLab, with_mistakes: bool) -> None:
    file = str(Path(lab.environment["LAB_DIR"]) / "lvs.toml")
    text, why = has_mistakes(file) if with_mistakes else needs_a_restart()
    before = {endpoint: row["weight"] for endpoint, row in real_servers(lab).items()}
    assert reload(lab, text) == [*why, "reload refused, nothing has changed"]
    assert {endpoint: row["weight"] for endpoint, row in real_servers(lab).items()} == before
    assert who_answers(lab) == {"rs1", "rs2"}


def test_a_new_route_mtu_is_noticed(lab: RunningLab) -> None:
    before = len(log_lines(lab))
    lab.run("gateway", "ip", "route", "add", "192.0.2.101/32", "dev", "server0", "mtu", "1280")
    try:
        said = "route MTU to 192.0.2.101: 1500 -> 1280"
        lab.wait_until("it is in force", lambda: said in log_lines(lab)[before:])
    finally:
        lab.run("gateway", "ip", "route", "del", "192.0.2.101/32")
    lab.wait_until("the old one is", lambda: "route MTU to 192.0.2.101: 1280 -> 1500" in log_lines(lab)[before:])


BEHIND_RS1 = "203.0.113.99"

ASK_FOR_MTU = f"from appliance.edge.routes import look; print(look(['{BEHIND_RS1}'])['{BEHIND_RS1}'].mtu)"

SEND_TOO_MUCH = f"""
import socket
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sock:
    sock.setsockopt(socket.IPPROTO_IP, 10, 2)  # IP_MTU_DISCOVER, IP_PMTUDISC_DO
    sock.sendto(bytes(1400), ("{BEHIND_RS1}", 9))
"""


def test_a_path_mtu_that_the_kernel_has_learnt_counts(lab: RunningLab) -> None:
    """Make rs1 a router to a network behind a narrow link."""
    lab.run("gateway", "ip", "route", "add", BEHIND_RS1, "via", "192.0.2.101")
    lab.run("rs1", "ip", "route", "add", BEHIND_RS1, "dev", "lo", "mtu", "1300")
    lab.run("rs1", "sysctl", "-q", "net.ipv4.ip_forward=1")
    try:
        assert lab.run("gateway", sys.executable, "-c", ASK_FOR_MTU) == "1500\n"
        # sent again and again: it may get lost, and the error that answers it is only one of so many a second
        lab.wait_until("it is learnt", lambda: lab.run("gateway", sys.executable, "-c", SEND_TOO_MUCH + ASK_FOR_MTU) == "1300\n")
    finally:
        lab.run("rs1", "sysctl", "-q", "net.ipv4.ip_forward=0")
        lab.run("rs1", "ip", "route", "del", BEHIND_RS1)
        lab.run("gateway", "ip", "route", "del", BEHIND_RS1)


def test_the_isn_secret_stays_in_the_labs_own_run_directory(lab: RunningLab) -> None:
    (secret,) = Path(f"/proc/{director_pid(lab)}/root/run/appliance").glob("isn-secret-*")
    assert not (Path("/run/appliance") / secret.name).exists()
