"""Sessions that are in no lane end with their worker: both ends hear of it when they go on, and nobody else is disturbed."""

import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from typing import Any, NamedTuple

import pytest

from appliance.lab import namespaces
from appliance.policy.steering import SLOT_MASK, shard_table
from tests.lab.conftest import RunningLab, running_lab
from tests.lab.director import are_replaced, director_pid, is_one_replaced, kill_all, kill_workers, worker_pids
from tests.lab.raw_client import MSS_1460, RawClient, raw_addresses
from tests.lab.shipped_config import with_synproxy

pytestmark = pytest.mark.once  # labs without the lane are there in a run with it, too

SESSIONS = 50
UPLOADS = 8
RAW_ADDRESS = "198.51.100.77"
REAL_SERVERS = ("rs1", "rs2")
LOCAL_ADDRESSES = ("192.0.2.10", "192.0.2.11")
PATIENCE_S = 60.0
"""Longer than any answer takes: it only ends a test that failed."""
FLOOD_PACKETS = 40_000
BURST, PER_S = 500, 1000
"""How many clients of lost sessions a shard tells at once, and in a second."""

SECOND_SERVICE = """
[[service]]
name = "beside"
vip = "203.0.113.10"
port = 81
synproxy = {synproxy}
lane = false

[[service.real_server]]
address = "192.0.2.101"
port = 8080

[[service.real_server]]
address = "192.0.2.102"
port = 8080
"""


class Scene(NamedTuple):
    """How the service is protected, and why its sessions are in no lane."""

    synproxy: str
    has_lane: bool

    @property
    def port(self) -> int:
        """Of the service."""
        return 81 if self.has_lane else 80


SCENES = [Scene(synproxy, has_lane) for has_lane in (False, True) for synproxy in ('"auto"', "true")]


@pytest.fixture(
    scope="module", params=SCENES, ids=lambda scene: f"{scene.synproxy} {'lane = false' if scene.has_lane else 'no lane'}"
)
def scene(request: pytest.FixtureRequest) -> Scene:
    found: Scene = request.param
    return found


@pytest.fixture(scope="module")
def lab(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    config = tmp_path_factory.mktemp("config") / "lvs.toml"
    config.write_text(with_synproxy(scene.synproxy) + SECOND_SERVICE.format(synproxy=scene.synproxy))
    for lab in running_lab("--config", str(config), "--restart", "--lane", "required" if scene.has_lane else "off"):
        yield RunningLab(lab.environment | {"LAB_PORT": str(scene.port)})


FAULTS: dict[str, Callable[[RunningLab], None]] = {
    "all workers are killed": kill_workers,
    "the director is killed": lambda lab: os.kill(director_pid(lab), signal.SIGKILL),
    "all of them are killed": kill_all,
}


def end_and_follow(lab: RunningLab, fault: Callable[[RunningLab], None] = kill_workers) -> None:
    """Have workers end, and wait for those that follow."""
    before = worker_pids(lab)
    fault(lab)
    lab.wait_until("others are there", lambda: are_replaced(lab, before))


def told(lab: RunningLab) -> int:
    """How many packets of clients were answered because their session may have been lost."""
    return lab.counter("drops", "lost_session")


@contextmanager
def held(lab: RunningLab, count: int, port: int) -> Iterator[Callable[[], Any]]:
    """Sessions that are idle; gives a function that has all of them ask again, and says what became of them."""
    environment = dict(lab.environment)
    lab.environment["LAB_PORT"] = str(port)
    with lab.start("client", "held_sessions.py", str(count)) as program:
        lab.environment["LAB_PORT"] = environment["LAB_PORT"]
        assert program.stdin is not None
        assert program.stdout is not None
        stdin, stdout = program.stdin, program.stdout
        assert len(json.loads(stdout.readline())) == count

        def ask() -> Any:
            stdin.write("ask\n")
            stdin.flush()
            return json.loads(stdout.readline())

        yield ask
        program.kill()


def busy_real_servers(lab: RunningLab) -> int:
    """How many connections of real servers have data to send. Those of earlier tests may still be there, and wait for nothing."""
    return sum(int(row[1]) > 0 for row in at_real_servers(lab, "established"))


def at_real_servers(lab: RunningLab, state: str) -> list[list[str]]:
    """The connections of real servers in a state: bytes to read, bytes to send, both ends."""
    listed = (lab.run(role, "ss", "-Htn", "state", state, "sport", "=", ":8080") for role in REAL_SERVERS)
    return [line.split() for lines in listed for line in lines.splitlines()]


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_clients_that_go_on_are_reset(lab: RunningLab, scene: Scene, fault: Callable[[RunningLab], None]) -> None:
    before = told(lab)
    with held(lab, SESSIONS, scene.port) as ask:
        end_and_follow(lab, fault)
        assert ask() == {"reset": SESSIONS}
    assert told(lab) >= before + SESSIONS
    assert lab.script("client", "http_load.py", "50", "8")["ok"] == 50, "they can connect again"


def uploading(lab: RunningLab) -> int:
    """How many connections of the client have data to send, and a session that is established. Behind SYNPROXY, a client is
    connected before: then its first data opens the session, also when that comes to the next worker."""
    listed = lab.run("client", "ss", "-Htn", "state", "established", "dport", "=", f":{lab.environment['LAB_PORT']}")
    established = {row["source"] for row in lab.api_json("/conns?state=ESTABLISHED")}
    return sum(int(row[1]) > 0 and row[2] in established for row in map(str.split, listed.splitlines()))


def test_clients_with_data_on_its_way_are_reset(lab: RunningLab) -> None:
    with ExitStack() as stack:
        uploads = [stack.enter_context(lab.start("client", "bulk.py", "upload", str(1 << 34))) for _ in range(UPLOADS)]
        lab.wait_until("all are on their way", lambda: uploading(lab) == UPLOADS)
        end_and_follow(lab)
        said = [upload.communicate()[1] for upload in uploads]
    assert all("ConnectionResetError" in words for words in said), said


@contextmanager
def firewall(lab: RunningLab) -> Iterator[None]:
    """The host takes nothing to the local addresses, so it answers nobody there."""
    addresses = ", ".join(LOCAL_ADDRESSES)
    rule = f"type filter hook input priority 0; ip daddr {{ {addresses} }} drop;"
    lab.run("gateway", "nft", f"table ip own {{ chain input {{ {rule} }}; }}")
    try:
        yield
    finally:
        lab.run("gateway", "nft", "delete", "table", "ip", "own")


@pytest.mark.parametrize("host", [nullcontext, firewall], ids=["the host is open", "the host is closed"])
def test_real_servers_with_data_on_its_way_are_reset_and_so_are_their_clients_when_they_read_on(
    lab: RunningLab, host: Callable[[RunningLab], AbstractContextManager[None]]
) -> None:
    with host(lab), lab.start("client", "stopped_downloads.py", str(SESSIONS)) as clients:
        assert clients.stdin is not None
        assert clients.stdout is not None
        assert clients.stdout.readline() == "stopped\n"
        lab.wait_until("all have data to send", lambda: busy_real_servers(lab) == SESSIONS)
        end_and_follow(lab)
        lab.wait_until("real servers have heard it", lambda: not busy_real_servers(lab))
        clients.stdin.write("\n")
        clients.stdin.flush()
        assert json.loads(clients.stdout.readline()) == {"reset": SESSIONS}


def test_a_plain_handshake_that_was_under_way_ends_at_both_ends(lab: RunningLab, scene: Scene) -> None:
    if scene.synproxy == "true":
        pytest.skip("behind SYNPROXY it goes on")
    with raw_addresses(lab, RAW_ADDRESS), RawClient(lab, RAW_ADDRESS, 40_000) as client:
        client.send("S", options=MSS_1460)
        client.receive("S")
        assert len(at_real_servers(lab, "syn-recv")) == 1
        end_and_follow(lab)
        lab.wait_until("the real server has heard it", lambda: not at_real_servers(lab, "syn-recv"))
        client.send("A")
        assert not client.receive("R").data


def test_a_handshake_behind_synproxy_goes_on(lab: RunningLab, scene: Scene) -> None:
    """The client sends its request again. It still carries the cookie, because the key is that of the worker before."""
    if scene.synproxy != "true":
        pytest.skip("about SYNPROXY")
    before = lab.counter("ext", "synproxy_ok_ack")
    for role in REAL_SERVERS:
        lab.run(role, "nft", "table ip mute { chain in { type filter hook input priority 0; tcp dport 8080 drop; }; }")
    with lab.start("client", "http_load.py", "1", "1") as client:
        lab.wait_until("the real server is asked", lambda: lab.counter("ext", "synproxy_ok_ack") > before)
        end_and_follow(lab)
        for role in REAL_SERVERS:
            lab.run(role, "nft", "delete", "table", "ip", "mute")
        said, _ = client.communicate()
    assert json.loads(said)["ok"] == 1


def test_a_connection_of_the_host_from_a_local_address_does_not_notice(lab: RunningLab, scene: Scene) -> None:
    """Its packets come to a worker as well, which knows no session for them."""
    with namespaces.call_inside(lab.namespace("gateway"), connected_to_a_real_server) as connection:
        assert answered(connection)
        end_and_follow(lab)
        before = told(lab)
        assert answered(connection)
        assert told(lab) == before
        with held(lab, 1, scene.port) as ask:
            assert ask() == {"answered": 1}


def connected_to_a_real_server() -> socket.socket:
    return socket.create_connection(("192.0.2.101", 8080), timeout=PATIENCE_S, source_address=(LOCAL_ADDRESSES[0], 0))


def answered(connection: socket.socket) -> bool:
    connection.sendall(b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n")
    return connection.recv(1 << 16).startswith(b"HTTP/1.1 200 ")


def test_sessions_in_the_lane_do_not_notice(lab: RunningLab, scene: Scene) -> None:
    if not scene.has_lane:
        pytest.skip("there is no lane")
    with held(lab, SESSIONS, 80) as ask_in_lane, held(lab, SESSIONS, scene.port) as ask_beside:
        end_and_follow(lab)
        before = told(lab)
        assert ask_in_lane() == {"answered": SESSIONS}
        assert told(lab) == before
        assert ask_beside() == {"reset": SESSIONS}
        assert ask_in_lane() == {"answered": SESSIONS}


def test_sessions_of_a_worker_that_lives_do_not_notice(lab: RunningLab, scene: Scene) -> None:
    """The other shard has a new worker, and its clients are told."""
    table = shard_table(2)
    with held(lab, SESSIONS, scene.port) as ask:
        rows = [row for row in lab.api_json("/conns") if row["state"] == "ESTABLISHED"]
        mine = [row for row in rows if row["virtual"].endswith(f":{scene.port}")]
        in_first_shard = sum(table[int(row["local"].rpartition(":")[2]) & SLOT_MASK] == 0 for row in mine)
        first, second = worker_pids(lab)
        os.kill(first, signal.SIGKILL)
        lab.wait_until("another one is there", lambda: is_one_replaced(lab, (first, second)))
        assert worker_pids(lab)[1] == second
        found = ask()
        assert 0 < in_first_shard < SESSIONS
        assert found == {"reset": in_first_shard, "answered": SESSIONS - in_first_shard}


def test_a_flood_of_strays_is_answered_within_bounds_and_ends_nobodys_session(lab: RunningLab, scene: Scene) -> None:
    end_and_follow(lab)
    began, before, shards = time.monotonic(), told(lab), len(worker_pids(lab))
    with held(lab, SESSIONS, scene.port) as ask:
        with lab.start("client", "segment_flood.py", str(FLOOD_PACKETS)) as flood:
            flood.communicate()
        assert ask() == {"answered": SESSIONS}
        lab.wait_until("as many are told as may be at once", lambda: told(lab) - before >= BURST)
        answered = told(lab) - before
    longest_s = time.monotonic() - began
    assert answered <= shards * (BURST + PER_S * longest_s)
    assert answered < FLOOD_PACKETS


def test_after_a_stop_for_good_nobody_is_told(lab: RunningLab) -> None:
    """The next run has no predecessor: it has lost nothing."""
    before = worker_pids(lab)
    os.kill(director_pid(lab), signal.SIGTERM)
    lab.wait_until("others are there", lambda: are_replaced(lab, before))
    with raw_addresses(lab, RAW_ADDRESS), RawClient(lab, RAW_ADDRESS, 40_001, seq=77) as client:
        client.send("PA", b"data")
        lab.wait_until(
            "it is dropped",
            lambda: sum(lab.counter("drops", name) for name in ("no_session", "bad_cookie")) > 0,
        )
        assert not client.has_heard_something()
    assert told(lab) == 0
