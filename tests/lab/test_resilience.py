"""What happens after faults: killed workers, a flushed ruleset, a second appliance, an overrun."""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.lab.bare_gateway import Appliance, inside
from tests.lab.conftest import RunningLab
from tests.lab.director import are_replaced, director_pid, is_healthy, worker_pids
from tests.lab.idle_sessions import IdleSessions
from tests.lab.log_times import assert_once_a_look


def kill(pid: int, number: signal.Signals) -> None:
    os.kill(pid, number)


def test_a_worker_killed_under_load_is_back_and_new_connections_work(fresh_lab: RunningLab) -> None:
    lab = fresh_lab
    assert lab.script("client", "http_load.py", "400", "16")["ok"] == 400
    counted = totals(lab)["conns"]["shards"][1]
    with lab.start("client", "http_load.py", "20000", "16") as load:
        lab.wait_until("sessions begin in that shard", lambda: totals(lab)["conns"]["shards"][1] > counted + 200)
        victim = worker_pids(lab)[1]
        at_death = totals(lab)["conns"]["shards"][1]
        kill(victim, signal.SIGKILL)
        lab.wait_until("the shard is back", lambda: are_replaced(lab, [victim]))
        assert lab.script("client", "http_load.py", "400", "16")["ok"] == 400, "every shard takes new connections"
        lab.wait_until("counters have outlived the worker and go on", lambda: totals(lab)["conns"]["shards"][1] > at_death)
        load.kill()
    starts = [shard["starts"] for shard in lab.api_json("/healthz")["shards"]]
    assert starts == [1, 2, 1, 1]


def totals(lab: RunningLab) -> dict[str, dict[str, list[int]]]:
    found: dict[str, dict[str, list[int]]] = lab.api_json("/stats/ip_vs_stats")["totals"]
    return found


def test_a_flushed_ruleset_comes_back(fresh_lab: RunningLab) -> None:
    """`systemctl reload nftables` flushes the whole ruleset of the host, also the table of the appliance."""
    fresh_lab.run("gateway", "nft", "flush", "ruleset")
    fresh_lab.wait_until("the table is back", lambda: "chain shard0" in fresh_lab.run("gateway", "nft", "list", "ruleset"))
    assert fresh_lab.script("client", "http_load.py", "100", "8")["ok"] == 100


def test_a_second_appliance_in_the_namespace_is_refused(fresh_lab: RunningLab) -> None:
    config = str(Path(fresh_lab.environment["LAB_DIR"]) / "lvs.toml")
    # The lock lies in /run, of which the director of a lab has one of its own.
    inside = ("nsenter", f"--target={director_pid(fresh_lab)}", "--mount", "--")
    command = fresh_lab.enter("gateway", *inside, sys.executable, "-m", "appliance", "run", "--config", config)
    second = subprocess.run(command, capture_output=True, text=True, check=False)
    assert second.returncode == 1
    assert f"another appliance (pid {director_pid(fresh_lab)}) already runs in this network namespace" in second.stderr
    assert fresh_lab.script("client", "http_load.py", "50", "8")["ok"] == 50, "the first one is not disturbed"


def test_overruns_are_counted(fresh_lab: RunningLab) -> None:
    """Workers are stopped: the kernel drops packets that the queue cannot hold, and the API shows how many."""
    lab = fresh_lab
    pids = worker_pids(lab)
    for pid in pids:
        kill(pid, signal.SIGSTOP)
    lab.run("client", sys.executable, str(Path(__file__).parent / "programs" / "segment_flood.py"), "60000")
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):  # a machine on which all this takes ten seconds has begun anew with others
            kill(pid, signal.SIGCONT)
    lab.wait_until("the overrun shows", lambda: overruns(lab) > 0)
    assert lab.script("client", "http_load.py", "200", "8")["ok"] == 200


def test_a_stopped_worker_is_noticed_and_started_anew_under_traffic(fresh_lab: RunningLab) -> None:
    """SIGSTOP: the process does not end, its channel stays open, and nothing tells the director."""
    lab = fresh_lab
    assert lab.script("client", "http_load.py", "400", "16")["ok"] == 400
    victim = worker_pids(lab)[1]
    with lab.start("client", "http_load.py", "20000", "16") as load:
        stopped_at = time.monotonic()
        kill(victim, signal.SIGSTOP)
        lab.wait_until("it is noticed, and of no other one", lambda: silent(lab) == {1: victim})
        assert time.monotonic() - stopped_at > 1.5, "not before its silence has lasted"
        refusal = lab.run("gateway", "curl", "-s", lab.environment["LAB_API"] + "/stats/slabinfo")
        assert "shard 1: the worker does nothing" in refusal, "and nobody waits for its answer"
        lab.wait_until("the next one is there", lambda: are_replaced(lab, [victim]))
        load.kill()
    assert lab.script("client", "http_load.py", "400", "16")["ok"] == 400, "every shard takes new connections"
    assert [shard["starts"] for shard in health(lab)["shards"]] == [1, 2, 1, 1]


def test_a_worker_that_goes_on_in_time_keeps_its_sessions(fresh_lab: RunningLab) -> None:
    lab = fresh_lab
    before = worker_pids(lab)
    with IdleSessions(lab, 40) as idle:
        kill(before[1], signal.SIGSTOP)
        lab.wait_until("it is noticed", lambda: not is_healthy(lab))
        kill(before[1], signal.SIGCONT)
        lab.wait_until("it is well again", lambda: is_healthy(lab))
        assert worker_pids(lab) == before
        assert list(idle.stop().values()) == ["alive"] * 40


def health(lab: RunningLab) -> Any:
    """The JSON of /healthz, whatever its status is."""
    return json.loads(lab.run("gateway", "curl", "-s", "-H", "Accept: application/json", lab.environment["LAB_API"] + "/healthz"))


def silent(lab: RunningLab) -> dict[int, int]:
    """The processes that have been silent for two seconds or more, by shard. Those of the other shards are up."""
    shards = enumerate(health(lab)["shards"])
    return {number: shard["pid"] for number, shard in shards if not shard["up"] and shard["silent_s"] >= 2.0}


def overruns(lab: RunningLab) -> int:
    return lab.counter("queues", "queue_full_drops") + lab.counter("queues", "socket_drops")


FOR_EVER = "1000000000"
"""So many segments that a flood goes on until it is ended."""


def test_queries_and_timers_go_on_under_a_flood(fresh_lab: RunningLab) -> None:
    lab = fresh_lab
    lab.set_tunable("tcp_timeout_established", 4000)
    with IdleSessions(lab, 8) as idle, lab.start("client", "segment_flood.py", FOR_EVER) as flood:
        try:
            assert flood.stdout is not None
            assert flood.stdout.readline() == "flooding\n"
            endings = idle.wait_for_the_last()
            lab.wait_until("a query is answered under the flood", lambda: lab.api_json("/stats/ip_vs_conn") == [])
            assert flood.poll() is None, "the flood outlived the sessions, so the above happened under it"
        finally:
            flood.kill()
    assert list(endings.values()) == ["reset"] * 8, "expired under the flood"
    lab.wait_until("the flood did reach the workers", lambda: lab.counter("drops", "no_session") > 1000)


def test_a_packet_that_the_queue_cuts_short_is_dropped_and_counted(fresh_lab: RunningLab) -> None:
    """Jumbo frames: the queue copies 3840 bytes, and a packet that is cut there must not be passed on."""
    lab = fresh_lab
    lab.run("client", "ip", "link", "set", "eth0", "mtu", "9000")
    lab.run("gateway", "ip", "link", "set", "client0", "mtu", "9000")
    lab.run("client", sys.executable, str(Path(__file__).parent / "programs" / "segment_flood.py"), "10", "5000")
    lab.wait_until("they are counted", lambda: lab.counter("drops", "truncated") == 10)
    lab.run("client", sys.executable, str(Path(__file__).parent / "programs" / "segment_flood.py"), "10", "3800")
    lab.wait_until("smaller ones are judged", lambda: lab.counter("drops", "no_session") == 10)


def test_refused_clients_are_told_counted_and_logged_once_a_while(fresh_lab: RunningLab) -> None:
    """Two local addresses towards two real servers with eight ports each have room for 32 sessions. The client closes first, so
    they are in CLOSE afterwards, and keep their ports. The workers open them all: one that the kernel has opened may be over
    before it comes into any table, and its port goes to the next one that needs it."""
    lab = fresh_lab
    lab.set_tunable("prepared_admissions", 0)
    lab.set_tunable("fullnat_lport_max", 5007)
    lab.set_tunable("fullnat_lport_min", 5000)
    result = lab.script("client", "http_load.py", "100", "1", "fin")
    assert 0 < result["ok"] <= 2 * 2 * 8
    (words,) = result["errors"]
    assert "Connection refused" in words, "ICMP port unreachable, not silence"
    assert lab.counter("drops", "local_ports_exhausted") >= result["errors"][words]
    log = Path(lab.environment["LAB_DIR"]) / "appliance.log"
    lab.wait_until("it is logged", lambda: "no free port on any local address" in log.read_text())
    assert_once_a_look([line for line in log.read_text().splitlines() if "no free port" in line])
    lab.set_tunable("fullnat_lport_max", 65535)
    assert lab.script("client", "http_load.py", "100", "4")["ok"] == 100


def host_state(namespace: str) -> dict[str, str]:
    """Everything that the appliance may change."""
    keys = ("accept_local", "rp_filter", "send_redirects")
    settings = ["ip_forward", *(f"conf/{name}/{key}" for name in ("all", "client0", "server0") for key in keys)]
    return {
        "sysctl": inside(namespace, "cat", *(f"/proc/sys/net/ipv4/{setting}" for setting in settings)),
        "ruleset": inside(namespace, "nft", "list", "ruleset"),
        "addresses": inside(namespace, "ip", "-o", "-4", "addr"),
        "filters": "".join(inside(namespace, "tc", "qdisc", "show", "dev", name) for name in ("client0", "server0")),
    }


def test_a_clean_stop_leaves_the_host_as_it_was(bare_gateway: str, tmp_path: Path) -> None:
    before = host_state(bare_gateway)
    keys = set()
    for number in (signal.SIGTERM, signal.SIGINT):
        appliance = Appliance(bare_gateway, tmp_path)
        appliance.wait_until_ready()
        running = host_state(bare_gateway)
        assert running != before
        assert "192.0.2.10" in running["addresses"]
        assert "203.0.113.10" in running["addresses"]
        assert appliance.end(number) == 0
        assert host_state(bare_gateway) == before
        cookie_key, isn_key, lock, mark = sorted(path for path in tmp_path.iterdir() if path.name != "lvs.toml")
        assert cookie_key.name.startswith("cookie-secret-")
        assert isn_key.name.startswith("isn-secret-"), "the keys alone are to outlive a run"
        assert lock.name.startswith("lock-"), "removing it would let two runs lock two files of one name"
        assert mark.name.startswith("namespace-"), "it says to which namespace the keys belong"
        keys.add((cookie_key.read_text(), isn_key.read_text()))
    assert len(keys) == 1, "real servers see sequence numbers that go on where those of the run before ended"


def test_after_a_crash_cleanup_undoes_everything_and_the_next_start_goes_on(bare_gateway: str, tmp_path: Path) -> None:
    before = host_state(bare_gateway)
    crashed = Appliance(bare_gateway, tmp_path)
    crashed.wait_until_ready()
    crashed.end(signal.SIGKILL)
    assert host_state(bare_gateway) != before, "a killed director can undo nothing"
    crashed.cleanup()
    assert host_state(bare_gateway) == before

    crashed = Appliance(bare_gateway, tmp_path)
    crashed.wait_until_ready()
    crashed.end(signal.SIGKILL)
    successor = Appliance(bare_gateway, tmp_path)
    successor.wait_until_ready()
    assert successor.end(signal.SIGUSR2) == 0
    assert host_state(bare_gateway) != before, "it was told to leave everything to the next run"
    last = Appliance(bare_gateway, tmp_path)
    last.wait_until_ready()
    assert last.end(signal.SIGTERM) == 0
    assert host_state(bare_gateway) == before, "it undid what all of them had left"
    assert not list(tmp_path.glob("host-*"))
    assert not (tmp_path / "bpf").exists()


def test_workers_end_with_a_killed_director(bare_gateway: str, tmp_path: Path) -> None:
    appliance = Appliance(bare_gateway, tmp_path)
    appliance.wait_until_ready()
    assert "appliance.queue_worker" in processes_of(bare_gateway)
    appliance.end(signal.SIGKILL)
    while "appliance.queue_worker" in processes_of(bare_gateway):
        time.sleep(0.05)
    appliance.cleanup()


def processes_of(namespace: str) -> str:
    """The command lines of all processes in a namespace."""
    pids = subprocess.run(["ip", "netns", "pids", namespace], check=True, capture_output=True, text=True).stdout.split()
    found = []
    for pid in pids:
        with contextlib.suppress(OSError):  # it has ended meanwhile
            found.append(Path(f"/proc/{pid}/cmdline").read_text())
    return "\n".join(found)
