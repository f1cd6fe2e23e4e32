"""What `/healthz` says of the network around the gateway: a link that is down, a real server that does not answer, no route."""

import json
from collections.abc import Iterator

import pytest

from tests.lab.conftest import RunningLab, running_lab

pytestmark = pytest.mark.once

RS1 = "192.0.2.101"


@pytest.fixture
def lab() -> Iterator[RunningLab]:
    yield from running_lab("--shards", "1")


def healthz(lab: RunningLab) -> tuple[int, list[str], list[str]]:
    """Status, problems and notes."""
    answer = lab.api("/healthz?format=json", "--write-out", "\n%{http_code}")
    body, _, status = answer.rpartition("\n")
    found = json.loads(body)
    return int(status), found["problems"], found["notes"]


def test_a_link_that_goes_down_is_seen_and_comes_back(lab: RunningLab) -> None:
    lab.wait_until("all is well", lambda: healthz(lab) == (200, [], []))
    lab.run("gateway", "ip", "link", "set", "server0", "down")
    down, note = "no interface towards real servers is up: server0 is down", "interface server0 is down"

    def is_seen() -> bool:
        status, problems, notes = healthz(lab)
        return status == 503 and down in problems and note in notes

    lab.wait_until("it is seen", is_seen)
    lab.run("gateway", "ip", "link", "set", "server0", "up")
    lab.wait_until("all is well again", lambda: healthz(lab) == (200, [], []))


def test_the_other_end_of_a_link_counts(lab: RunningLab) -> None:
    lab.run("client", "ip", "link", "set", "eth0", "down")
    note, problem = "interface client0 is without a carrier", "no interface towards clients is up: client0 is without a carrier"

    def is_seen() -> bool:
        status, problems, notes = healthz(lab)
        return (status, problems) == (503, [problem]) and note in notes

    lab.wait_until("it is seen", is_seen)


def test_a_real_server_that_does_not_answer_arp_is_a_note(lab: RunningLab) -> None:
    lab.run("rs1", "ip", "link", "set", "eth0", "arp", "off")
    lab.run("gateway", "ip", "neighbour", "flush", "dev", "server0")
    lab.run("gateway", "ping", "-c", "1", "-W", "1", RS1, check=False)
    lab.wait_until("it is seen", lambda: healthz(lab) == (200, [], [f"real server {RS1} does not answer ARP"]))


def test_a_real_server_without_a_route_is_a_note(lab: RunningLab) -> None:
    lab.run("gateway", "ip", "route", "add", "unreachable", f"{RS1}/32")
    lab.wait_until("it is seen", lambda: healthz(lab) == (200, [], [f"there is no route to real server {RS1}"]))
    lab.run("gateway", "ip", "route", "del", "unreachable", f"{RS1}/32")
    lab.wait_until("all is well again", lambda: healthz(lab) == (200, [], []))
