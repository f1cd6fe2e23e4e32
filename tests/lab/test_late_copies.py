"""Packets that come a second time, and late, because workers stand still again and again: what a SYN of a connection that is over
leaves behind."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.lab.conftest import RunningLab, running_lab_with_many_client_ports
from tests.lab.director import worker_pids
from tests.lab.loss_rules import duplication

pytestmark = pytest.mark.skipif(os.environ.get("LANE") == "off", reason="about the lane, which is off")

CONNECTIONS, CONCURRENCY = 5_000, 32
STOPPED_S, RUNNING_S = 0.7, 0.3


@pytest.fixture(scope="module")
def lab() -> Iterator[RunningLab]:
    yield from running_lab_with_many_client_ports()


@contextmanager
def workers_that_stand_still(lab: RunningLab) -> Iterator[None]:
    """Each for STOPPED_S, one after the other."""
    is_over, pids = threading.Event(), worker_pids(lab)

    def stop_them() -> None:
        while not is_over.is_set():
            for pid in pids:
                os.kill(pid, signal.SIGSTOP)
                is_over.wait(STOPPED_S)
                os.kill(pid, signal.SIGCONT)
                is_over.wait(RUNNING_S)

    thread = threading.Thread(target=stop_them)
    thread.start()
    try:
        yield
    finally:
        is_over.set()
        thread.join()


def half_open(lab: RunningLab) -> int:
    return sum(row["state"] == "SYN_RECV" for row in lab.api_json("/conns?limit=10000"))


def test_no_half_open_sessions_are_left(lab: RunningLab) -> None:
    lab.run("client", "sysctl", "net.ipv4.tcp_retries2=7")  # a client that is told nothing gives up within a minute
    with duplication(lab), workers_that_stand_still(lab):
        result = lab.script("client", "http_load.py", str(CONNECTIONS), str(CONCURRENCY))
    assert result["errors"] == {}
    late = lab.api_json("/stats/ip_vs_stats")["totals"]["conns"]["total"] - CONNECTIONS
    assert late > 100, "copies have opened sessions"
    lab.wait_until("those sessions are closed", lambda: half_open(lab) == 0)
    assert lab.api_json("/stats/lane")["counters"]["cookie_sent"] == 0
