"""Sessions outlive processes: what clients see of killed workers, a killed director, restarts and a stop for good."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import RunningLab, running_lab
from tests.lab.director import director_pid, is_one_replaced, kill_all, kill_workers, log_lines, worker_pids
from tests.lab.shipped_config import with_synproxy

pytestmark = pytest.mark.skipif(os.environ.get("LANE") == "off", reason="without the lane, sessions end with their worker")

SESSIONS = 2000


@pytest.fixture(scope="module", params=["auto", "true"], ids=["plain", "proxied"])
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    config = tmp_path_factory.mktemp("config") / "lvs.toml"
    config.write_text(with_synproxy('"auto"' if request.param == "auto" else request.param))
    yield from running_lab("--config", str(config), "--restart", offloads=True)


@contextmanager
def streaming(lab: RunningLab, count: int = SESSIONS) -> Iterator[Callable[[], Any]]:
    """Clients with data in flight in both directions; gives a function that stops them and says what became of them."""
    with lab.start("client", "streams.py", str(count)) as clients:
        assert clients.stdout is not None
        assert clients.stdout.readline() == "streaming\n"

        def stop() -> Any:
            said, complaints = clients.communicate()
            assert clients.returncode == 0, complaints
            return json.loads(said)

        yield stop
        clients.kill()


def wait_for_others(lab: RunningLab, before: list[int]) -> None:
    lab.wait_until("somebody else is there", lambda: is_one_replaced(lab, before))


FAULTS: dict[str, Callable[[RunningLab], None]] = {
    "a worker is killed": lambda lab: os.kill(worker_pids(lab)[0], signal.SIGKILL),
    "all workers are killed": kill_workers,
    "the director is killed": lambda lab: os.kill(director_pid(lab), signal.SIGKILL),
    "all of them are killed": kill_all,
    "a restart": lambda lab: os.kill(director_pid(lab), signal.SIGUSR2),
    "a restart while a worker is stopped": lambda lab: stop_and_kill(lab),
}


def stop_and_kill(lab: RunningLab) -> None:
    """A stopped worker has its queue, and would have it for ever."""
    director = director_pid(lab)
    os.kill(worker_pids(lab)[0], signal.SIGSTOP)
    os.kill(director, signal.SIGKILL)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_no_session_is_lost_and_no_byte_is_wrong(lab: RunningLab, fault: Callable[[RunningLab], None]) -> None:
    before = worker_pids(lab)
    with streaming(lab) as stop:
        fault(lab)
        wait_for_others(lab, before)
        assert lab.script("client", "http_load.py", "200", "8")["ok"] == 200, "new connections work"
        rows = [row for row in lab.api_json("/conns") if row["state"] == "ESTABLISHED"]
        outcome = stop()
    assert outcome["errors"] == {}
    assert outcome["received"] > 0
    assert len(rows) >= SESSIONS
    assert len({(row["local"], row["destination"]) for row in rows}) == len(rows), "each has a local port of its own"
    assert lab.counter("queues", "records_refused") == 0
    lab.api("/conns?all=1", "-X", "DELETE")
    lab.wait_until("nothing is left over", lambda: entries_used(lab) == 0)


def entries_used(lab: RunningLab) -> int:
    used: int = lab.api_json("/stats/lane")["entries"]["used"]
    return used


def test_counters_go_on_over_a_restart(lab: RunningLab) -> None:
    lab.script("client", "http_load.py", "50", "4")
    before = {name: row["total"] for name, row in lab.api_json("/stats/ip_vs_stats")["totals"].items()}
    pids = worker_pids(lab)
    os.kill(director_pid(lab), signal.SIGUSR2)
    wait_for_others(lab, pids)
    after = {name: row["total"] for name, row in lab.api_json("/stats/ip_vs_stats")["totals"].items()}
    assert all(after[name] >= before[name] for name in before)
    assert [shard["starts"] for shard in lab.api_json("/healthz")["shards"]] == [1, 1]


def test_the_number_of_shards_may_change(lab: RunningLab) -> None:
    config = Path(lab.environment["LAB_DIR"]) / "lvs.toml"
    text = config.read_text()
    with streaming(lab, 400) as stop:
        for shards in (4, 1, 2):
            pids = worker_pids(lab)
            config.write_text(text.replace("\nshards = 2\n", f"\nshards = {shards}\n"))
            os.kill(director_pid(lab), signal.SIGUSR2)
            wait_for_others(lab, pids)
            assert len(worker_pids(lab)) == shards
            assert lab.script("client", "http_load.py", "100", "8")["ok"] == 100
        assert stop()["errors"] == {}


def test_a_stop_for_good_resets_both_ends(lab: RunningLab) -> None:
    with lab.start("client", "held_sessions.py", "200") as held:
        assert held.stdout is not None
        assert held.stdin is not None
        held.stdout.readline()
        pids = worker_pids(lab)
        os.kill(director_pid(lab), signal.SIGTERM)
        wait_for_others(lab, pids)
        assert lab.api_json("/conns") == []
        established = ["ss", "-Htn", "state", "established", "sport", "=", ":8080"]
        lab.wait_until("real servers were told", lambda: not any(lab.run(server, *established) for server in ("rs1", "rs2")))
        held.stdin.write("ask\n")
        held.stdin.flush()
        assert json.loads(held.stdout.readline()) == {"reset": 200}
        held.kill()


def test_what_another_namespace_of_the_same_number_has_left_is_not_taken_over(lab: RunningLab) -> None:
    """The note beside the pins has the cookie of the first namespace of all, which is not that of a lab."""
    with lab.start("client", "held_sessions.py", "20") as held:
        assert held.stdout is not None
        held.stdout.readline()
        lab.wait_until("they are in the lane", lambda: entries_used(lab) >= 20)
        pids = worker_pids(lab)
        inside = ("nsenter", f"--target={director_pid(lab)}", "--mount", "--")
        lab.run("gateway", *inside, "sh", "-c", "for note in /run/appliance/namespace-*; do echo 1 > $note; done")
        kill_all(lab)
        wait_for_others(lab, pids)
        assert lab.api_json("/conns") == []
        assert entries_used(lab) == 0
        held.kill()
    gone = "belongs to a network namespace that is gone"
    lab.wait_until("the log says so", lambda: any(gone in line for line in log_lines(lab)))
    assert lab.script("client", "http_load.py", "50", "8")["ok"] == 50
