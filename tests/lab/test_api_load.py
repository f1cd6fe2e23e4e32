"""The API under load: writes, idle connections, readers who do not read. Packets go on, nothing restarts, memory is bounded."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.lab.conftest import RunningLab, running_lab
from tests.lab.director import director_pid, worker_pids

pytestmark = [pytest.mark.once, pytest.mark.alone]  # it shows what packets notice of the load that it makes

API = ("127.0.0.1", "9380")
LIST = b"GET /conns?format=json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"

SESSIONS = 5000
READERS, IDLE, WRITERS = 100, 2000, 20
"""Connections to the API; readers and writers come first, since a listener serves 128 at a time."""

PUTS_PER_S, SECONDS = 10_000, 8
MEMORY_KIB = 80_000
"""How much the director may grow: a reader costs it 64 KiB or so, and eight lists at a time are made."""

ECHO = "9000"
AT_THE_ECHO_SERVER = """
table ip own {
    chain prerouting { type filter hook prerouting priority raw; tcp dport 8080 tcp dport set 9000; }
    chain output { type filter hook output priority raw; tcp sport 9000 tcp sport set 8080; }
}
"""
"""The lab's own servers have the port already; this rule sends connections to the echo server instead."""


@pytest.fixture
def lab() -> Iterator[RunningLab]:
    """A lab whose real servers send back what they get."""
    for lab in running_lab("--shards", "2"):
        with ExitStack() as echo_servers:
            for role in ("rs1", "rs2"):
                server = echo_servers.enter_context(lab.start(role, "echo_server.py", ECHO))
                assert server.stdout is not None
                assert server.stdout.readline() == "ready\n"
                lab.run(role, "nft", AT_THE_ECHO_SERVER)
            yield lab


@contextmanager
def running(lab: RunningLab, role: str, first_line: str, name: str, *arguments: str) -> Iterator[None]:
    """A program that has said its first line, until the end of the block."""
    with lab.start(role, name, *arguments) as program:
        assert program.stdout is not None
        assert program.stdin is not None
        assert program.stdout.readline() == first_line
        yield
        program.stdin.close()


def round_trips(lab: RunningLab, seconds: int) -> dict[str, float]:
    found: dict[str, float] = lab.script("client", "round_trips.py", "4", str(seconds))
    return found


def starts(lab: RunningLab) -> list[int]:
    """How often the worker of each shard was started."""
    found: list[int] = lab.api_json("/stats/queues")["worker_starts"]["shards"]
    return found


def memory_kib(lab: RunningLab, pid: int) -> int:
    return int(lab.run("gateway", "ps", "-o", "rss=", "-p", str(pid)))


@pytest.mark.slow
def test_packets_do_not_notice_what_the_api_is_asked(lab: RunningLab, capsys: pytest.CaptureFixture[str]) -> None:
    director, workers = director_pid(lab), worker_pids(lab)
    with running(lab, "client", f"{SESSIONS}\n", "open_sessions.py", str(SESSIONS)):
        before_kib, undisturbed = memory_kib(lab, director), round_trips(lab, SECONDS)
        with running(lab, "gateway", f"{READERS}\n", "half_open.py", str(READERS), *API, (20 * LIST).hex()):
            flood = lab.start("gateway", "put_flood.py", *API, str(PUTS_PER_S), str(SECONDS), str(WRITERS))
            assert flood.stdout is not None
            assert flood.stdout.readline() == "connected\n"
            with running(lab, "gateway", f"{IDLE}\n", "half_open.py", str(IDLE), *API, ""):
                under_load = round_trips(lab, SECONDS)
                grown_kib = memory_kib(lab, director) - before_kib
                writes = json.loads(flood.communicate()[0])
        lab.wait_until("the API answers again", lambda: lab.api("/healthz") == "ok\n")
        assert (director_pid(lab), worker_pids(lab), starts(lab)) == (director, workers, [1, 1])
    with capsys.disabled():
        rate = writes["asked"] / writes["seconds"]
        print(f"\n{SESSIONS} sessions; {rate:.0f} PUTs/s asked, {writes['statuses']} answered; director grew by {grown_kib} KiB")
        print(f"round trips undisturbed: {undisturbed}\nround trips under load:  {under_load}")
    assert (undisturbed["lost"], under_load["lost"]) == (0, 0)
    assert under_load["round_trips"] > 100
    assert writes["asked"] > PUTS_PER_S
    assert set(writes["statuses"]) == {"200"}
    assert grown_kib < MEMORY_KIB
