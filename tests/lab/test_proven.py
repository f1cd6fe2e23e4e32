"""Clients that return a SYN cookie on real packets: the kernel asks their real servers and joins both ends."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from tests.lab.admitted import SYNS, adds_up, all_conns
from tests.lab.conftest import RunningLab, running_lab
from tests.lab.director import kill_workers, worker_pids
from tests.lab.operators_rules import counted, operators_rule
from tests.lab.raw_client import MSS_1460, RawClient, raw_addresses
from tests.lab.shipped_config import with_synproxy
from tests.lab.wrk import wrk

pytestmark = pytest.mark.skipif(os.environ.get("LANE") == "off", reason="about the lane, which is off")

CONNECTIONS = 200
RAW_ADDRESS = "198.51.100.97"
SERVERS = ("rs1", "rs2")


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """A lab with two shards, in which most connections are opened by cookies and joined by the kernel."""
    config = tmp_path_factory.mktemp("proven") / "lvs.toml"
    text = with_synproxy("true").replace("[sysctl]\n", "[sysctl]\nprepared_admissions = 1\nsynproxy_in_kernel = 1\n", 1)
    config.write_text(text)
    for lab in running_lab("--config", str(config), "--shards", "2", offloads=True):
        for server in SERVERS:  # clients made by hand look at checksums
            lab.run(server, sys.executable, str(Path(__file__).parent / "programs" / "without_offloads.py"))
        connect(lab)
        yield lab


def in_lane(lab: RunningLab, name: str) -> int:
    count: int = lab.api_json("/stats/lane")["counters"][name]
    return count


def connect(lab: RunningLab, count: int = CONNECTIONS) -> tuple[int, int]:
    """Connect so often, each client with its own address for its real server; returns how many the kernel has asked real servers
    for, and how many it has joined."""
    before = in_lane(lab, "proven"), in_lane(lab, "joined")
    result = lab.script("client", "http_load.py", str(count), "8")
    assert (result["ok"], result["errors"], result["clients"]) == (count, {}, {"right": count})
    return in_lane(lab, "proven") - before[0], in_lane(lab, "joined") - before[1]


@contextmanager
def servers_that(lab: RunningLab, what: str) -> Iterator[None]:
    """Have the hosts of all real servers do this with what comes to their port."""
    for server in SERVERS:
        rule = f"tcp dport 8080 tcp flags & (syn | ack) == syn {what}"
        lab.run(server, "nft", f"table ip sulk {{ chain i {{ type filter hook input priority 0; {rule}; }}; }}")
    try:
        yield
    finally:
        for server in SERVERS:
            lab.run(server, "nft", "delete table ip sulk")


@contextmanager
def stopped(lab: RunningLab) -> Iterator[None]:
    """With workers that do nothing."""
    pids = worker_pids(lab)
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("defer", [1, 0])
def test_the_kernel_joins_clients_and_all_books_have_them(lab: RunningLab, defer: int) -> None:
    """The first data waits in the kernel, or a bare acknowledgement does."""
    with lab.changed(synproxy_defer=defer):
        connect(lab)  # what was prepared before is not used any more
        proven = lab.counter("ext", "synproxy_ok_ack")
        conns = all_conns(lab)
        asked, joined = connect(lab)
        assert joined > CONNECTIONS // 2
        assert asked >= joined
        lab.wait_until("each is proven once", lambda: lab.counter("ext", "synproxy_ok_ack") == proven + CONNECTIONS)
        lab.wait_until("all are counted", lambda: all_conns(lab) == conns + CONNECTIONS)


def lane_counts(lab: RunningLab) -> dict[str, int]:
    counts: dict[str, int] = lab.api_json("/stats/lane")["counters"]
    return counts


def all_proven(lab: RunningLab) -> int:
    """Connections of proven clients so far: new sessions, and those that went on with the session of an older one."""
    return all_conns(lab) + lab.counter("ext", "synproxy_conn_reused")


def wait_for_reuse(lab: RunningLab, more: int) -> None:
    """Wait until the kernel has used so many more endpoints again."""
    before = lane_counts(lab)["endpoint_reused"]
    lab.wait_until("endpoints are used again", lambda: lane_counts(lab)["endpoint_reused"] - before > more)


def is_consistent(lab: RunningLab) -> None:
    """Check it, once there is a worker for each shard that says so."""
    said = list[dict[str, object]]()

    def is_known() -> bool:
        said.append(lab.api_json("/stats/consistency"))
        return "problems" in said[-1]

    lab.wait_until("all shards have looked", is_known)
    assert said[-1]["problems"] == []


def test_endpoints_go_round_behind_a_load_of_short_connections(lab: RunningLab) -> None:
    """Most sessions never come into the tables; and all books have them."""
    conns, before = all_proven(lab), lane_counts(lab)
    with wrk(lab, 64) as report:
        wait_for_reuse(lab, 2000)
        is_consistent(lab)
    assert not report.errors
    after = lane_counts(lab)
    assert after["joined"] - before["joined"] > 2000
    lab.wait_until("short ones are counted", lambda: lab.counter("queues", "sessions_short") > 2000)
    lab.wait_until("all are counted", lambda: all_proven(lab) >= conns + report.requests)
    lab.wait_until("each entry is that of a session or of an endpoint that rests", lambda: adds_up(lab))
    is_consistent(lab)


def test_others_go_on_with_what_killed_workers_have_left_in_all_phases(lab: RunningLab) -> None:
    """Sessions whose real servers are asked, that are joined, and whose endpoints rest, are there at any moment of a load."""
    with wrk(lab, 64):
        for _ in range(3):
            wait_for_reuse(lab, 500)
            kill_and_wait(lab)
            is_consistent(lab)
    assert lab.counter("queues", "records_refused") == 0
    connect(lab)
    assert connect(lab)[1] > CONNECTIONS // 2
    is_consistent(lab)


def test_no_worker_is_needed_for_it(lab: RunningLab) -> None:
    """They are stopped, and clients connect by what was prepared."""
    connect(lab)
    with stopped(lab):
        assert connect(lab, 4) == (4, 4)


def test_the_operators_forward_rules_judge_each_connection(lab: RunningLab) -> None:
    with operators_rule(lab, f"{SYNS} counter"):
        asked, _ = connect(lab)
        assert asked > CONNECTIONS // 2
        assert counted(lab) >= CONNECTIONS


def opened_by(lab: RunningLab, client: RawClient, data: bytes = b"") -> None:
    """Have the client return its cookie, with data, and the kernel ask its real server."""
    before = in_lane(lab, "proven")
    client.send("S", options=MSS_1460)
    client.receive("S")
    client.send("PA", data)
    lab.wait_until("its real server is asked", lambda: in_lane(lab, "proven") == before + 1)


REQUEST = b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n"


def test_a_refusal_is_told(lab: RunningLab) -> None:
    connect(lab)
    errors = lab.counter("ext", "synproxy_rs_error")
    with raw_addresses(lab, RAW_ADDRESS), RawClient(lab, RAW_ADDRESS, 3000) as client, servers_that(lab, "reject with tcp reset"):
        opened_by(lab, client, REQUEST)
        client.receive("R")
        lab.wait_until("it is counted", lambda: lab.counter("ext", "synproxy_rs_error") == errors + 1)


def kill_and_wait(lab: RunningLab) -> None:
    """Kill the workers, and wait until others have their sessions."""
    adopted = lab.counter("queues", "sessions_adopted")
    kill_workers(lab)
    lab.wait_until("others have adopted", lambda: lab.counter("queues", "sessions_adopted") > adopted)


def test_a_connection_outlives_its_worker_between_cookie_and_answer(lab: RunningLab) -> None:
    """Its worker does not know of it when it is killed. The next one asks again, and sends on the first data."""
    connect(lab)
    with raw_addresses(lab, RAW_ADDRESS), RawClient(lab, RAW_ADDRESS, 3001) as client:
        with servers_that(lab, "drop"), stopped(lab):
            opened_by(lab, client, REQUEST)
            kill_and_wait(lab)
        answer = client.receive("P")
        assert answer.data.startswith(b"HTTP/1.1 200 ")
        assert client.name.encode() in answer.data


def test_a_client_hears_when_its_first_data_is_lost_with_a_worker(lab: RunningLab) -> None:
    """The worker had taken it, because the answer took long."""
    connect(lab)
    with raw_addresses(lab, RAW_ADDRESS), RawClient(lab, RAW_ADDRESS, 3003) as client, servers_that(lab, "drop"):
        opened_by(lab, client, REQUEST)
        lab.wait_until("a worker has it", lambda: any(client.name in row.values() for row in lab.api_json("/conns")))
        kill_and_wait(lab)
        client.receive("R")


def test_the_same_data_again_is_sent_on_once(lab: RunningLab) -> None:
    connect(lab)
    with raw_addresses(lab, RAW_ADDRESS), RawClient(lab, RAW_ADDRESS, 3002) as client:
        with servers_that(lab, "drop"):
            opened_by(lab, client, REQUEST)
            client._seq -= len(REQUEST)
            client.send("PA", REQUEST)
        answer = client.receive("P")
        assert answer.data.startswith(b"HTTP/1.1 200 ")
        assert client.ask()["client"] == client.name


def test_it_can_be_switched_off(lab: RunningLab) -> None:
    with lab.changed(prepared_admissions=0):
        assert connect(lab) == (0, 0)
    with lab.changed(synproxy_in_kernel=0):
        assert connect(lab) == (0, 0)
    connect(lab)
    assert connect(lab)[1] > CONNECTIONS // 2
