"""The table of sessions with real packets: when it is full, and how it is listed, counted and cut."""

import json
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from appliance.model.tunables import TUNABLES
from tests.lab.conftest import RunningLab, running_lab
from tests.lab.idle_sessions import IdleSessions
from tests.lab.log_times import assert_once_a_look
from tests.lab.raw_client import raw_addresses
from tests.lab.segment_client import SegmentClient, SegmentConnection

CLIENTS, CONN_MAX = 5000, 1000
LEAVING = 300
SHARDS = 2
STRANGER = "198.51.100.77"


@pytest.fixture
def lab() -> Iterator[RunningLab]:
    yield from running_lab("--shards", str(SHARDS))


class Crowd:
    """The program `programs/many_clients.py` and its commands."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def tell(self, line: str) -> int:
        """Send a command; returns the answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        print(line, file=self._process.stdin, flush=True)
        answer: int = json.loads(self._process.stdout.readline())
        return answer


@contextmanager
def crowd(lab: RunningLab, count: int) -> Iterator[Crowd]:
    with lab.start("client", "many_clients.py", str(count)) as process:
        yield Crowd(process)
        process.communicate()
        assert process.returncode == 0


def conntrack(lab: RunningLab) -> dict[str, int]:
    row: dict[str, int] = lab.api_json("/stats/conntrack")["appliance"]
    return row


def log_of(lab: RunningLab) -> list[str]:
    return (Path(lab.environment["LAB_DIR"]) / "appliance.log").read_text().splitlines()


def test_a_full_table_refuses_newcomers_and_nobody_else(lab: RunningLab) -> None:
    """Five thousand clients and a thousand places: a client that has a place keeps it, and the others get places that become
    free."""
    lab.set_tunable("conn_max", CONN_MAX)
    lab.set_tunable("tcp_timeout_close", 1000)
    with crowd(lab, CLIENTS) as clients:
        lab.wait_until("the table is full of established sessions", lambda: len(established(lab)) >= CONN_MAX)
        assert conntrack(lab)["count"] <= CONN_MAX + SHARDS - 1, "shards may overrun by one each, but for one"
        clients_know(lab, clients)
        lab.wait_until("the others were refused, too", lambda: conntrack(lab)["drop"] >= CLIENTS - CONN_MAX)
        assert clients.tell("ask") == clients.tell("connected") >= CONN_MAX, "everyone that is connected is answered"

        refused_before, told_before = conntrack(lab)["drop"], len(full_table_lines(lab))
        lab.wait_until("more are refused", lambda: conntrack(lab)["drop"] > refused_before)
        lab.wait_until("that is logged", lambda: len(full_table_lines(lab)) > told_before)
        assert clients.tell("ask") == clients.tell("connected")

        resets = clients.tell("resets")
        assert clients.tell(f"close {LEAVING}") == LEAVING
        lab.wait_until("others have their places", lambda: len(established(lab)) >= CONN_MAX)
        clients_know(lab, clients)
        assert clients.tell("ask") == clients.tell("connected") >= CONN_MAX
        assert clients.tell("resets") == resets, "and nobody had to be thrown out for that"
    assert_once_a_look(full_table_lines(lab))


def clients_know(lab: RunningLab, clients: Crowd) -> None:
    """Wait until those that have a session have noticed it."""
    lab.wait_until("clients know who is connected", lambda: clients.tell("connected") == conntrack(lab)["count"])


def established(lab: RunningLab) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = lab.api_json("/conns?state=ESTABLISHED")
    return rows


def full_table_lines(lab: RunningLab) -> list[str]:
    return [line for line in log_of(lab) if "table full, dropping packet" in line]


def test_a_flood_of_syns_cannot_keep_a_client_out_of_a_full_table(lab: RunningLab) -> None:
    """Half-open sessions are dropped for new ones, oldest first; established ones never are."""
    lab.set_tunable("conn_max", 200)
    lab.set_tunable("tcp_timeout_syn_recv", TUNABLES["tcp_timeout_syn_recv"].max)  # on a slow machine all this takes long
    with crowd(lab, 20) as clients, raw_addresses(lab, STRANGER):
        lab.wait_until("the first are connected", lambda: clients.tell("connected") == 20)
        flooder = SegmentClient(lab, STRANGER)
        for port in range(10_000, 12_000):
            SegmentConnection(flooder, port).send("S")
        lab.wait_until("the table is full", lambda: conntrack(lab)["count"] >= 200)
        assert conntrack(lab)["count"] <= 200 + SHARDS - 1
        assert lab.script("client", "http_load.py", "50", "5")["errors"] == {}
        lab.wait_until("drops are counted", lambda: conntrack(lab)["early_drop"] > 0)
        assert clients.tell("ask") == clients.tell("connected") == 20
        assert clients.tell("resets") == 0
        flooder.close()


def test_time_wait_is_kept_below_its_limit_and_its_ports_can_be_used_again(lab: RunningLab) -> None:
    """Sockets of the real servers are still in TIME_WAIT, and new connections from the same ports work."""
    lab.set_tunable("tcp_max_tw_buckets", 10)
    lab.set_tunable("fullnat_lport_max", 5100)
    lab.set_tunable("fullnat_lport_min", 5000)
    result = lab.script("client", "http_load.py", "1500", "8")
    assert (result["ok"], result["errors"]) == (1500, {})
    assert time_wait(lab) <= 10 + SHARDS - 1, "shards may overrun by one each, but for one"
    lab.wait_until("what was too many has gone", lambda: time_wait(lab) <= 10)
    lab.wait_until("the others are counted", lambda: lab.counter("queues", "time_wait_overflows") > 1000)
    lab.wait_until("it is logged", lambda: any("time wait bucket table overflow" in line for line in log_of(lab)))


def time_wait(lab: RunningLab) -> int:
    count: int = lab.api_json("/stats/sockstat")["appliance"]["TCP"]["tw"]
    return count


def test_sessions_are_listed_counted_and_cut_by_filter(lab: RunningLab) -> None:
    """The numbers of views are consistent, and a client whose session is cut notices it at once."""
    with IdleSessions(lab, 40) as held:
        rows = established(lab)
        assert len(rows) == 40
        top = lab.api_json("/conns/top?by=real_server&state=ESTABLISHED")
        counts = {row["real_server"]: row["conns"] for row in top["top"]}
        assert counts == {
            f"192.0.2.{host}:8080": sum(row["destination"] == f"192.0.2.{host}:8080" for row in rows) for host in (101, 102)
        }
        assert lab.api_json("/conns/top?n=1")["top"] == [{"client": "198.51.100.2", "conns": lab.api_json("/conns/top")["conns"]}]
        assert pages(lab, 7) == sorted(row["source"] for row in rows)
        tables = lab.api_json("/stats/slabinfo")
        assert tables["tcp_conn"]["active_objs"] == conntrack(lab)["count"] >= 40

        one = rows[0]["source"]
        assert lab.api(f"/conns?client={one}", "-X", "DELETE") == "1\n"
        assert lab.api("/conns?real_server=192.0.2.102", "-X", "DELETE") == f"{rest_of(rows, one)}\n"
        cut = {one} | {row["source"] for row in rows if row["destination"].startswith("192.0.2.102:")}
        endings = held.stop(ended=len(cut))
    assert {name for name, how in endings.items() if how == "reset"} == cut
    assert {how for name, how in endings.items() if name not in cut} == {"alive"}
    assert lab.counter("queues", "sessions_cut") == len(cut)


def rest_of(rows: list[dict[str, Any]], one: str) -> int:
    return sum(row["destination"].startswith("192.0.2.102:") and row["source"] != one for row in rows)


def pages(lab: RunningLab, limit: int) -> list[str]:
    """The sources of all established sessions, read page by page by following the links."""
    sources: list[str] = []
    path = f"/conns?state=ESTABLISHED&format=json&limit={limit}"
    while path:
        head, _, body = lab.api(path, "-i").replace("\r", "").partition("\n\n")
        sources += (row["source"] for row in json.loads(body))
        links = [line for line in head.splitlines() if line.startswith("Link: <")]
        path = links[0].removeprefix("Link: <").partition(">")[0] if links else ""
    return sorted(sources)
