"""Real servers that are drained, on real packets: downloads end as they should, and the event comes behind their last packet."""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import dpkt
import pytest

from tests.lab.capture import Capture
from tests.lab.conftest import RunningLab, running_lab
from tests.lab.director import are_replaced, is_one_replaced, kill_all, log_lines, reload, worker_pids
from tests.lab.idle_sessions import IdleSessions

QUICK = "\n[sysctl]\n" + "".join(f"tcp_timeout_{state} = 1000\n" for state in ("time_wait", "fin_wait", "last_ack", "close"))
TEXT = (Path(__file__).parent / "tcp_and_udp.toml").read_text() + QUICK
RS1 = "192.0.2.101:8080"
DRAIN = f"/services/web/real_servers/{RS1}/drain"
UDP_DRAIN = f"/services/echo/real_servers/{RS1}/drain"
DOWNLOAD_BYTES = 4 << 20


@pytest.fixture(scope="module")
def one_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """A lab whose closed sessions are forgotten soon, and whose appliance is started again when it ends."""
    config = tmp_path_factory.mktemp("drain") / "lvs.toml"
    config.write_text(TEXT)
    yield from running_lab("--config", str(config), "--shards", "2", "--restart")


@pytest.fixture
def lab(one_lab: RunningLab) -> Iterator[RunningLab]:
    """The lab, in which nobody is drained before and after a test."""
    yield one_lab
    for path in (DRAIN, UDP_DRAIN):
        one_lab.api(path, "-X", "DELETE")


def drain(lab: RunningLab, path: str = DRAIN, query: str = "") -> Any:
    return json.loads(lab.api(path + query, "-X", "POST", "-H", "Accept: application/json"))


@contextmanager
def downloading(lab: RunningLab, count: int = 8) -> Iterator["subprocess.Popen[str]"]:
    """Downloads that stand still, some of them at each real server, until the program gets a line."""
    with lab.start("client", "slow_downloads.py", str(count), str(DOWNLOAD_BYTES)) as program:
        assert program.stdout is not None
        assert len(json.loads(program.stdout.readline())) == count
        assert sessions_at_rs1(lab)
        yield program
        program.kill()


def sessions_at_rs1(lab: RunningLab) -> list[str]:
    """The sources of the sessions that are not over."""
    rows = lab.api_json(f"/conns?service=web&real_server={RS1}&state=ESTABLISHED")
    return [row["source"] for row in rows]


def command(lab: RunningLab, *words: str) -> "subprocess.Popen[str]":
    argv = lab.enter("gateway", sys.executable, "-m", "appliance", *words, "--api", lab.environment["LAB_API"])
    return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def kinds(lab: RunningLab, after: int) -> list[tuple[str, str]]:
    return [(event["kind"], event["service"]) for event in lab.api_json(f"/events?since={after}")["events"]]


def last_event(lab: RunningLab) -> int:
    last: int = lab.api_json("/events?limit=1000")["last"]
    return last


def is_gone(lab: RunningLab, path: str = DRAIN) -> bool:
    return bool(lab.api_json(path)["gone"])


def test_downloads_end_as_they_should_and_the_event_comes_behind_their_last_packet(lab: RunningLab) -> None:
    after = last_event(lab)
    with downloading(lab) as program, Capture(lab, "rs1") as at_rs1:
        sources = sessions_at_rs1(lab)
        state = drain(lab)
        assert (state["draining"], state["gone"], state["deadline_s"]) == (True, False, None)
        lab.wait_until("its sessions are counted", lambda: lab.api_json(DRAIN)["sessions"] >= len(sources))
        assert set(lab.script("client", "http_load.py", "60", "8")["real_servers"]) == {"rs2"}, "new ones go elsewhere at once"
        assert lab.script("client", "udp_echo.py", "20", "1")["real_servers"].keys() == {"rs1", "rs2"}, "another service does not"
        if os.environ.get("LANE") != "off":  # without it, sessions end with their worker
            before = worker_pids(lab)
            os.kill(before[0], signal.SIGKILL)
            lab.wait_until("another worker is there", lambda: is_one_replaced(lab, before))
        assert set(lab.script("client", "http_load.py", "60", "8")["real_servers"]) == {"rs2"}, "the next worker knows it as well"
        assert not is_gone(lab)
        assert kinds(lab, after) == [("drain", "web")]
        done, complaints = program.communicate("\n")
        assert program.returncode == 0, complaints
        assert set(json.loads(done).values()) == {DOWNLOAD_BYTES}
        lab.wait_until("the last session is gone", lambda: is_gone(lab))
        assert at_rs1.take(), "the capture sees them"
        assert kinds(lab, after) == [("drain", "web"), ("drained", "web")]
        lab.script("client", "http_load.py", "20", "4")
        assert at_rs1.take() == [], "no packet comes behind the event"
    assert log_lines(lab, "drain")[-1] == f"service web: real server {RS1}: drained: its last session is gone"
    lab.api(DRAIN, "-X", "DELETE")
    assert set(lab.script("client", "http_load.py", "60", "8")["real_servers"]) == {"rs1", "rs2"}


def told_to_end(lab: RunningLab, capture: Capture, least: int) -> set[bytes]:
    """The connections, by their ends, that are reset at a host, as soon as there are so many."""
    found = set[bytes]()

    def enough() -> bool:
        found.update(packet.raw[12:24] for packet in capture.take_arrived() if packet.flags & dpkt.tcp.TH_RST)
        return len(found) >= least

    lab.wait_until(f"{least} connections are reset", enough)
    return found


def test_a_deadline_ends_what_is_left_at_both_ends(lab: RunningLab) -> None:
    after = last_event(lab)
    with ExitStack() as stack:
        idle = stack.enter_context(IdleSessions(lab, 40))
        at_rs1 = stack.enter_context(Capture(lab, "rs1"))
        sources = set(sessions_at_rs1(lab))
        assert len(sources) >= 10
        with command(lab, "drain", "web", RS1, "--deadline", "1", "--wait") as waiting:
            said, complaints = waiting.communicate()
        assert waiting.returncode == 0, complaints
        assert f"web {RS1} is drained: " in said
        assert len(told_to_end(lab, at_rs1, len(sources))) == len(sources)
        endings = idle.stop(ended=len(sources))
        assert {source for source, ending in endings.items() if ending == "reset"} == sources
        assert set(endings.values()) == {"reset", "alive"}, "those with the other real server go on"
    assert kinds(lab, after) == [("drain", "web"), ("drain-deadline", "web"), ("drained", "web")]


def test_datagrams_go_elsewhere_behind_the_deadline(lab: RunningLab) -> None:
    lab.script("client", "udp_echo.py", "20", "2")
    assert lab.api_json(f"/conns?service=echo&real_server={RS1}")
    drain(lab, UDP_DRAIN, "?deadline_s=0")
    lab.wait_until("the last session is gone", lambda: is_gone(lab, UDP_DRAIN))
    assert lab.api_json(f"/conns?service=echo&real_server={RS1}") == []
    assert lab.script("client", "udp_echo.py", "20", "1")["real_servers"].keys() == {"rs2"}


def test_it_stays_drained_over_a_reload_and_a_restart_and_a_script_waits_for_the_end(lab: RunningLab) -> None:
    with IdleSessions(lab, 20) as idle, command(lab, "drain", "web", RS1, "--wait") as waiting:
        lab.wait_until("it is drained", lambda: bool(lab.api_json(DRAIN)["draining"]))
        reload(lab, TEXT.replace(' "192.0.2.101"\nport = 8080', ' "192.0.2.101"\nport = 8080\nweight = 7', 1))
        assert set(lab.script("client", "http_load.py", "40", "8")["real_servers"]) == {"rs2"}
        before = worker_pids(lab)
        kill_all(lab)
        lab.wait_until("another director is there", lambda: are_replaced(lab, before))
        assert lab.api_json(DRAIN)["draining"]
        assert set(lab.script("client", "http_load.py", "40", "8")["real_servers"]) == {"rs2"}
        if os.environ.get("LANE") != "off":
            assert waiting.poll() is None
            assert not is_gone(lab)
        idle.stop()
        said, complaints = waiting.communicate()
        assert waiting.returncode == 0, f"{said}{complaints}"
    reload(lab, TEXT)


def test_a_removed_real_server_is_drained_no_more(lab: RunningLab) -> None:
    with IdleSessions(lab, 20), command(lab, "drain", "web", RS1, "--wait") as waiting:
        lab.wait_until("it is drained", lambda: bool(lab.api_json(DRAIN)["draining"]))
        reload(lab, TEXT.replace('[[service.real_server]]\naddress = "192.0.2.101"\nport = 8080\n\n', "", 1))
        _, complaints = waiting.communicate()
        assert waiting.returncode == 4, complaints
        reload(lab, TEXT)
        assert set(lab.script("client", "http_load.py", "40", "8")["real_servers"]) == {"rs1", "rs2"}, "it has come back"
    assert not lab.api_json(DRAIN)["draining"]


def test_listeners_hear_of_it_and_there_are_only_so_many(lab: RunningLab) -> None:
    """Of many listeners that never read, some are served, and everybody else is."""
    listen = ("curl", "--silent", "--no-buffer", "-H", "Accept: text/event-stream", lab.environment["LAB_API"] + "/events")
    with ExitStack() as stack:
        heard = stack.enter_context(subprocess.Popen(lab.enter("gateway", *listen), stdout=subprocess.PIPE, text=True, bufsize=1))
        stack.callback(heard.kill)
        assert heard.stdout is not None
        assert heard.stdout.readline() == ":\n"
        for _ in range(60):
            other = stack.enter_context(subprocess.Popen(lab.enter("gateway", *listen), stdout=subprocess.PIPE))
            stack.callback(other.kill)
            assert other.stdout is not None
            assert select.select([other.stdout], [], [], 60)[0], "each of them has an answer, or is refused"
        drain(lab)
        # Every now and then the stream says that it is alive, by a line of a colon and an empty one.
        said = (line for line in heard.stdout if line not in (":\n", "\n"))
        number, kind, data = (next(said) for _ in range(3))
        assert number.startswith("id: ")
        assert kind == "event: drain\n"
        assert json.loads(data.removeprefix("data: "))["real_server"] == RS1
