"""What local users and strangers try with the admin API of a running appliance: no worker, no director, no session ends."""

import json
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from appliance.director.tuning import BURST, CHANGES_PER_S
from tests.lab.conftest import RunningLab, running_lab
from tests.lab.director import director_pid
from tests.lab.idle_sessions import IdleSessions

pytestmark = pytest.mark.once

API = ("127.0.0.1", "9380")
DESCRIPTORS = 1024
"""The limit that a process has when nobody raised it."""


@pytest.fixture(scope="module")
def small_lab() -> Iterator[RunningLab]:
    """A lab of two shards whose director may have no more files than a process usually may."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, hard))
    try:
        lab = running_lab("--shards", "2")
        started = next(lab)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    yield started
    next(lab, None)


_PIDS: dict[str, int] = {}


def pid_of(lab: RunningLab) -> int:
    """The director of a lab, as it was when this was first asked: later its TCP listener may be busy."""
    return _PIDS.get(lab.namespace("gateway")) or _PIDS.setdefault(lab.namespace("gateway"), director_pid(lab))


def over_unix(lab: RunningLab, path: str, *curl: str) -> str:
    """Ask the API over its Unix socket, which only root and the service's group can reach: it lies in the director's own /run."""
    inside = ("nsenter", f"--target={pid_of(lab)}", "--mount", "--")
    return lab.run(
        "gateway", *inside, "curl", "-sS", *curl, "--unix-socket", "/run/appliance/api.sock", f"http://localhost{path}"
    )


def starts(lab: RunningLab) -> list[int]:
    """How often the worker of each shard was started."""
    found: list[int] = json.loads(over_unix(lab, "/stats/queues?format=json"))["worker_starts"]["shards"]
    return found


@contextmanager
def nothing_ends(lab: RunningLab) -> Iterator[None]:
    """Twenty sessions live through the block, and so do the director and all workers."""
    before = director_pid(lab), starts(lab)
    with IdleSessions(lab, 20) as idle:
        yield
        assert list(idle.stop().values()) == ["alive"] * 20
    assert (director_pid(lab), starts(lab)) == before
    assert set(before[1]) == {1}


@contextmanager
def held(lab: RunningLab, count: int, sent: bytes = b"") -> Iterator[None]:
    """That many connections to the API, held by a client that never reads."""
    with lab.start("gateway", "half_open.py", str(count), *API, sent.hex()) as program:
        assert program.stdout is not None
        assert program.stdin is not None
        assert program.stdout.readline() == f"{count}\n"
        yield
        program.stdin.close()


def open_files(lab: RunningLab) -> int:
    return len(lab.run("gateway", "ls", f"/proc/{pid_of(lab)}/fd").split())


@pytest.mark.parametrize(
    "sent",
    [b"", b"GET / HTTP/1.1\r\nHost: 127", b"PUT /sysctl/udp_timeout HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Length: 9\r\n\r\n5"],
)
def test_half_open_connections_use_up_nothing_that_others_need(small_lab: RunningLab, sent: bytes) -> None:
    lab = small_lab
    with nothing_ends(lab), held(lab, 1100, sent):
        assert open_files(lab) < DESCRIPTORS - 200
        assert "503 Service Unavailable" in lab.api("/healthz", "-i")
        assert over_unix(lab, "/healthz") == "ok\n", "root has a listener of its own"
        assert lab.script("client", "http_load.py", "100", "8")["ok"] == 100
        lab.wait_until("the half-open ones were ended", lambda: lab.api("/healthz") == "ok\n")
    assert all(duty["failures"] == 0 for duty in lab.api_json("/healthz")["duties"])


STRANGER = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--")
"""Runs a command as a local user who has no business with the gateway."""

TUNABLE = "/sysctl/udp_timeout"


def test_a_local_stranger_reads_and_does_not_write(small_lab: RunningLab) -> None:
    lab = small_lab
    url = lab.environment["LAB_API"]
    assert lab.run("gateway", *STRANGER, "curl", "-sS", url + TUNABLE) == "300000\n"
    for method, path in (("PUT", TUNABLE), ("DELETE", "/conns?all=1")):
        refused = lab.run("gateway", *STRANGER, "curl", "-sSi", "-X", method, "-d", "5000", url + path)
        assert "403 Forbidden" in refused
    assert lab.api(TUNABLE) == "300000\n"
    with lab.changed(udp_timeout=5000):  # root, with curl, as the README has it
        assert lab.api(TUNABLE) == "5000\n"


WRITE_AND_CLOSE = """
import socket, sys
for _ in range(300):
    with socket.create_connection(("127.0.0.1", 9380)) as sock:
        sock.sendall(b"PUT /sysctl/udp_timeout HTTP/1.1\\r\\nHost: 127.0.0.1\\r\\nContent-Length: 4\\r\\n\\r\\n5000")
"""


def test_a_stranger_who_closes_at_once_is_not_taken_for_root(small_lab: RunningLab) -> None:
    """The kernel names root as the owner of a socket that its process has closed."""
    lab = small_lab
    lab.run("gateway", *STRANGER, "/usr/bin/python3", "-c", WRITE_AND_CLOSE)
    lab.wait_until("the API answers again", lambda: lab.api("/healthz") == "ok\n")
    assert lab.api(TUNABLE) == "300000\n"


def test_a_stranger_on_a_unix_socket_that_is_open_to_all_does_not_write(small_lab: RunningLab) -> None:
    lab = small_lab
    inside = ("nsenter", f"--target={pid_of(lab)}", "--mount", "--")
    lab.run("gateway", *inside, "chmod", "a+rwx", "/run/appliance", "/run/appliance/api.sock")
    curl = ("curl", "-sSi", "--unix-socket", "/run/appliance/api.sock", f"http://localhost{TUNABLE}")
    assert "300000" in lab.run("gateway", *inside, *STRANGER, *curl)
    assert "403 Forbidden" in lab.run("gateway", *inside, *STRANGER, *curl, "-X", "PUT", "-d", "5000")
    assert over_unix(lab, TUNABLE, "-X", "PUT", "-d", "300000") == "300000\n"


def test_a_page_under_another_name_is_refused(small_lab: RunningLab) -> None:
    lab = small_lab
    assert "421 Misdirected Request" in lab.api("/conns", "-i", "-H", "Host: evil.example")
    assert "403 Forbidden" in lab.api("/conns", "-i", "-H", "Origin: http://evil.example")
    assert "403 Forbidden" in lab.api("/conns?all=1", "-i", "-X", "DELETE", "-H", "Sec-Fetch-Site: cross-site")


LIST = b"GET /conns?format=json HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"


def memory_kib(lab: RunningLab) -> int:
    """What the director has in memory."""
    return int(lab.run("gateway", "ps", "-o", "rss=", "-p", str(pid_of(lab))))


def test_a_thousand_readers_that_never_read_take_little_memory(small_lab: RunningLab) -> None:
    lab = small_lab
    before = memory_kib(lab)
    with nothing_ends(lab), held(lab, 1000, 20 * LIST):
        assert memory_kib(lab) < before + 60_000
        assert over_unix(lab, "/healthz") == "ok\n"
        assert over_unix(lab, "/conns?state=ESTABLISHED&limit=5").count("ESTABLISHED") == 5
    lab.wait_until("the API answers again", lambda: lab.api("/healthz") == "ok\n")


def test_a_storm_of_writes_reaches_the_packet_path_a_few_times_a_second(small_lab: RunningLab) -> None:
    """Each write is logged when it is put in force, so the log shows how often that was."""
    lab = small_lab
    count = 15
    began = time.monotonic()
    writes = lab.script("gateway", "write_storm.py", *API, str(count))
    took_s = time.monotonic() - began  # a busy machine ends it late
    log = Path(lab.environment["LAB_DIR"]) / "appliance.log"
    applied = sum("fullnat_lport_min: " in line for line in log.read_text().splitlines())
    assert writes["statuses"] == {"200": writes["answers"]}
    assert 0 < applied <= BURST + CHANGES_PER_S * (took_s + 2)
    lab.set_tunable("fullnat_lport_min", 5000)


def test_no_request_of_any_kind_restarts_a_worker_or_the_director(small_lab: RunningLab) -> None:
    """Every route with every parameter, also empty, repeated and absurd: an answer is 200, the way to `/ui/`, or a refusal."""
    lab = small_lab
    before = director_pid(lab), starts(lab)
    with IdleSessions(lab, 20) as idle:
        statuses = lab.script("gateway", "fuzz_api.py", *API, "60")
        idle.stop()
    assert set(statuses) <= {"200", "308", "400", "404", "409", "412", "413", "422"}
    assert statuses["200"] > 100
    assert statuses["400"] > 100
    assert (director_pid(lab), starts(lab)) == before
    assert set(before[1]) == {1}
    assert lab.script("client", "http_load.py", "100", "8")["ok"] == 100
