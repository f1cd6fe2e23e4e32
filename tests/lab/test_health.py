"""Health checks on real packets: who is out and who is back, what clients are told, and what becomes of old sessions."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import RunningLab, running_lab
from tests.lab.director import are_told, log_lines, reload, worker_pids
from tests.lab.keep_alive import KeepAlive, keep_alive

pytestmark = pytest.mark.once  # a lab without the lane is there in a run with it, too

SHIPPED = (Path(__file__).parents[2] / "etc/lvs.toml").read_text()

INTERVAL_S, RISE, FALL = 1.0, 2, 3
TIMES = f"interval_s = {INTERVAL_S}\ntimeout_s = 0.5\nrise = {RISE}\nfall = {FALL}\n"
TCP = 'type = "tcp"\n'
RS1, RS2 = "192.0.2.101:8080", "192.0.2.102:8080"
FIRST_SERVER = "# A real server of the service above."


def checked(kind: str = TCP, *, service: str = "", server: str = "", text: str = SHIPPED) -> str:
    """A configuration whose first service has a health check. `service` are more keys of it; `server` of its second server."""
    at = text.index(FIRST_SERVER) if FIRST_SERVER in text else text.index("[[service.real_server]]")
    return f"{text[:at]}{service}\n[service.health_check]\n{kind}{TIMES}\n{text[at:]}\n{server}"


@pytest.fixture(scope="module", params=["on", "off"])
def one_lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """A lab with the lane, and one without it."""
    options = ("--lane", "off") if request.param == "off" else ()
    config = tmp_path_factory.mktemp("health") / "lvs.toml"
    config.write_text(checked())
    yield from running_lab("--config", str(config), "--shards", "2", *options)


@pytest.fixture
def lab(one_lab: RunningLab) -> Iterator[RunningLab]:
    """The lab, in which all real servers are up, and are again afterwards."""
    reload(one_lab, checked())
    all_are_up(one_lab)
    yield one_lab
    for role in ("rs1", "rs2"):
        comes_back(one_lab, role)


ADDRESSES = {"rs1": "192.0.2.101/24", "rs2": "192.0.2.102/24"}


def goes_away(lab: RunningLab, role: str) -> None:
    lab.run(role, "ip", "address", "del", ADDRESSES[role], "dev", "eth0")


def comes_back(lab: RunningLab, role: str) -> None:
    lab.run(role, "ip", "address", "replace", ADDRESSES[role], "dev", "eth0")


@contextmanager
def away(lab: RunningLab, *roles: str) -> Iterator[None]:
    """Without the addresses of these real servers; in the block all of them are down."""
    for role in roles:
        goes_away(lab, role)
    for role in roles:
        is_down(lab, role)
    try:
        yield
    finally:
        for role in roles:
            comes_back(lab, role)


def states(lab: RunningLab, service: int = 0) -> dict[str, str]:
    servers = lab.api_json("/health")["services"][service]["real_servers"]
    return {f"{server['address']}:{server['port']}": server["state"] for server in servers}


def endpoint(role: str) -> str:
    return {"rs1": RS1, "rs2": RS2}[role]


def is_down(lab: RunningLab, role: str) -> None:
    lab.wait_until(f"{role} is down", lambda: states(lab)[endpoint(role)] == "down" and are_told(lab))


def all_are_up(lab: RunningLab) -> None:
    def are_up() -> bool:
        services = lab.api_json("/health")["services"]
        servers = [server for service in services for server in service["real_servers"]]
        return are_told(lab) and all(server["state"] == "up" and server["last_outcome"] in ("passed", "") for server in servers)

    lab.wait_until("all real servers are up", are_up)


def load(lab: RunningLab, count: int = 60) -> dict[str, Any]:
    """Short connections: the real servers that answered, and errors."""
    result: dict[str, Any] = lab.script("client", "http_load.py", str(count), "8")
    return result


def health_log(lab: RunningLab) -> list[str]:
    return log_lines(lab, "health")


def test_one_that_has_gone_is_out_after_so_many_checks_and_back_after_so_many(lab: RunningLab) -> None:
    before = len(health_log(lab))
    assert set(load(lab)["real_servers"]) == {"rs1", "rs2"}
    with away(lab, "rs2"):
        result = load(lab)
        assert result["errors"] == {}
        assert set(result["real_servers"]) == {"rs1"}
        assert states(lab) == {RS1: "up", RS2: "down"}
        assert lab.api_json("/stats/ip_vs")["services"][0]["real_servers"][1]["state"] == "down"
        assert json.loads(lab.api("/healthz", "-H", "Accept: application/json"))["services_down"] == {}
    all_are_up(lab)
    assert set(load(lab)["real_servers"]) == {"rs1", "rs2"}
    assert [line.partition("; last answer")[0] for line in health_log(lab)[before:]] == [
        f"service web: real server {RS2} is down: {FALL} tcp checks failed in a row",
        f"service web: real server {RS2} is up: {RISE} tcp checks passed in a row",
    ]
    changes = lab.api_json("/health")["changes"][-2:]
    assert [(change["address"], change["state"]) for change in changes] == [("192.0.2.102", "down"), ("192.0.2.102", "up")]


CHECKS = {
    "tcp": TCP,
    "http": 'type = "http"\npath = "/some?close=1"\nhost = "lab"\nexpect_status = "200"\nexpect_body = "real_server"\n',
    "icmp": 'type = "icmp"\n',
    "udp": 'type = "udp"\nport = 9\n',
    "command": 'type = "command"\ncommand = ["/bin/sh", "-c", "exec ping -c1 -W1 $APPLIANCE_REAL_SERVER"]\n',
    "from another address": 'type = "tcp"\nsource = "192.0.2.1"\n',
}


@pytest.mark.parametrize("kind", [name for name in CHECKS if name != "udp"])
def test_each_kind_of_check_finds_out(lab: RunningLab, kind: str) -> None:
    if kind == "command" and lab.run("gateway", "which", "ping", check=False) == "":
        pytest.skip("there is no ping here")
    reload(lab, checked(CHECKS[kind]))
    all_are_up(lab)
    with away(lab, "rs1"):
        assert states(lab) == {RS1: "down", RS2: "up"}
    all_are_up(lab)


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ('type = "http"\nexpect_status = "500-599"\n', "HTTP status 200, which is not among 500-599"),
        ('type = "http"\nexpect_body = "no such text"\n', "the body does not have the expected text"),
        ('type = "tcp"\nport = 81\n', "Connection refused"),
        ('type = "udp"\nport = 81\n', "Connection refused"),
        ('type = "https"\n', "TLS: "),
        ('type = "command"\ncommand = ["/bin/false"]\n', "exit code 1"),
    ],
)
def test_the_reason_is_said(lab: RunningLab, kind: str, why: str) -> None:
    reload(lab, checked(kind))
    for role in ("rs1", "rs2"):
        is_down(lab, role)
    servers = lab.api_json("/health")["services"][0]["real_servers"]
    assert all(why in server["last_answer"] for server in servers), servers
    assert any(why in line for line in health_log(lab))


def test_checks_come_from_local_addresses(lab: RunningLab) -> None:
    """Whatever else comes from the gateway's own address is dropped here."""
    rule = "table ip only { chain input { type filter hook input priority 0; ip saddr 192.0.2.1 tcp dport 8080 drop; }; }"
    lab.run("rs1", "nft", rule)
    try:
        reload(lab, checked('type = "tcp"\nsource = "192.0.2.1"\n'))
        is_down(lab, "rs1")
        reload(lab, checked())
        all_are_up(lab)
    finally:
        lab.run("rs1", "nft", "delete table ip only")


@pytest.mark.parametrize("when", ["refuse", "drop", "all"])
def test_when_none_is_healthy(lab: RunningLab, when: str) -> None:
    """The servers listen, but the check asks another port: so all of them count as dead, and answer."""
    reload(lab, checked('type = "tcp"\nport = 81\n', service=f'when_none_healthy = "{when}"'))
    for role in ("rs1", "rs2"):
        is_down(lab, role)
    lab.wait_until("it is said", lambda: "web" in lab.api_json("/healthz")["services_down"])
    counted = lab.counter("drops", "none_healthy")
    url = f"http://{lab.vip}:{lab.port}/"
    curl = ("curl", "-sS", "-m", "2" if when == "drop" else "60", "-o", "/dev/null", "-w", "%{exitcode} %{http_code}", url)
    said = lab.run("client", *curl, check=False)
    assert said == {"refuse": "7 000", "drop": "28 000", "all": "0 200"}[when]
    if when == "drop":
        lab.wait_until("it is counted", lambda: lab.counter("drops", "none_healthy") > counted)
    else:
        assert lab.counter("drops", "none_healthy") == counted
    text = lab.api("/healthz")
    assert text.startswith("ok\nservice web is down: no real server is up: new sessions ")


def test_a_backup_serves_only_while_the_others_are_away(lab: RunningLab) -> None:
    reload(lab, checked(server="backup = true"))
    all_are_up(lab)
    assert set(load(lab)["real_servers"]) == {"rs1"}
    with away(lab, "rs1"):
        assert set(load(lab)["real_servers"]) == {"rs2"}
    all_are_up(lab)
    assert set(load(lab)["real_servers"]) == {"rs1"}


def open_sessions(clients: KeepAlive) -> list[list[Any]]:
    clients.ask()
    found = clients.answers()
    assert {name for name, _ in found} == {"rs1", "rs2"}
    return found


@pytest.mark.parametrize("on_down", ["leave", "expire", "reset"])
def test_old_sessions(lab: RunningLab, on_down: str) -> None:
    """Checks of rs2 are dropped and its sessions are not: what becomes of these is the appliance's decision alone."""
    reload(lab, checked(service=f'on_down = "{on_down}"'))
    all_are_up(lab)
    rule = "table ip deaf { chain input { type filter hook input priority 0; tcp sport 512-1024 tcp dport 8080 drop; }; }"
    with keep_alive(lab) as clients:
        before, ended = open_sessions(clients), lab.counter("queues", "sessions_of_down")
        lab.run("rs2", "nft", rule)
        try:
            is_down(lab, "rs2")
            if on_down == "reset":
                of_rs2 = sum(name == "rs2" for name, _ in before)
                lab.wait_until("they have ended", lambda: lab.counter("queues", "sessions_of_down") - ended >= of_rs2)
            clients.ask()
            wanted = [["reset" if name == "rs2" and on_down != "leave" else name, port] for name, port in before]
            assert clients.answers() == wanted
            assert set(load(lab)["real_servers"]) == {"rs1"}
        finally:
            lab.run("rs2", "nft", "delete table ip deaf")


def test_a_worker_that_starts_anew_and_a_director_that_starts_anew_know_who_is_down(lab: RunningLab) -> None:
    with away(lab, "rs2"):
        before = worker_pids(lab)
        os.kill(before[0], signal.SIGKILL)
        lab.wait_until("it is back", lambda: worker_pids(lab)[0] not in (None, before[0]))
        result = load(lab)
        assert set(result["real_servers"]) == {"rs1"}


def test_a_reload_that_does_not_touch_the_check_keeps_the_state(lab: RunningLab) -> None:
    with away(lab, "rs2"):
        before = len(health_log(lab))
        text = checked().replace("weight = 100", "weight = 50")
        reload(lab, text)
        assert states(lab) == {RS1: "up", RS2: "down"}
        assert set(load(lab)["real_servers"]) == {"rs1"}
        assert health_log(lab)[before:] == []


def test_without_the_check_everybody_is_up(lab: RunningLab) -> None:
    with away(lab, "rs2"):
        reload(lab, SHIPPED)
        assert states(lab) == {RS1: "up", RS2: "up"}
        assert health_log(lab)[-1].startswith(f"service web: real server {RS2} is up: it is not checked any more")


def test_a_command_that_the_operator_types_shows_it(lab: RunningLab) -> None:
    with away(lab, "rs2"):
        shown = lab.run(
            "gateway", "env", f"APPLIANCE_API={lab.environment['LAB_API']}", sys.executable, "-m", "appliance", "health"
        )
        lines = {line.split()[1]: line.split() for line in shown.splitlines() if line.startswith("web ")}
        assert (lines[RS1][2], lines[RS2][2]) == ("up", "down")


UDP_CONFIG = (Path(__file__).parent / "tcp_and_udp.toml").read_text()

ASKS = """
import json, os, socket, sys
clients = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(8)]
for client in clients:
    client.settimeout(20)
    client.connect((os.environ["LAB_VIP"], int(os.environ["LAB_PORT"])))
def ask(client):
    client.send(b"?")
    return json.loads(client.recv(2048).split(b"\\0")[0].split(b"\\n")[0])["real_server"]
for _ in sys.stdin:
    print(json.dumps([ask(client) for client in clients]), flush=True)
"""
"""A program with eight UDP sockets, each of which asks once for each line of input."""


@pytest.fixture(scope="module")
def udp_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    check = f'[service.health_check]\ntype = "icmp"\n{TIMES}'
    config = tmp_path_factory.mktemp("udp") / "lvs.toml"
    config.write_text(UDP_CONFIG.replace('protocol = "udp"\n', f'protocol = "udp"\n{check}'))
    yield from running_lab("--config", str(config), "--shards", "2")


def test_each_udp_client_stays_until_its_real_server_dies_and_then_goes_elsewhere(udp_lab: RunningLab) -> None:
    lab = udp_lab
    command = lab.enter("client", sys.executable, "-c", ASKS)
    with subprocess.Popen(command, env=lab.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as clients:
        assert clients.stdin is not None
        assert clients.stdout is not None

        def answers() -> list[str]:
            assert clients.stdin is not None
            assert clients.stdout is not None
            print(file=clients.stdin, flush=True)
            found: list[str] = json.loads(clients.stdout.readline())
            return found

        before = answers()
        assert set(before) == {"rs1", "rs2"}
        assert answers() == answers() == before
        goes_away(lab, "rs2")
        lab.wait_until("rs2 is down", lambda: states(lab, 1)[RS2] == "down" and are_told(lab))
        assert states(lab, 0)[RS2] == "up", "the service without a check"
        assert answers() == ["rs1"] * 8
        comes_back(lab, "rs2")
        lab.wait_until("rs2 is up", lambda: states(lab, 1)[RS2] == "up")
        assert answers() == ["rs1"] * 8, "they stay where they are"
        assert lab.counter("queues", "sessions_of_down") == before.count("rs2")
        clients.stdin.close()
