"""SYN cookies of the kernel on real packets: clients connect through them, floods stop at them, and they can be switched off."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.conftest import RunningLab, running_lab
from tests.lab.floods import ended_of_a_flood, give_spoofed_answers_a_next_hop, syn_flood
from tests.lab.operators_rules import counted, operators_rule, why_off
from tests.lab.raw_client import MSS_1460, RawClient, raw_addresses
from tests.lab.shipped_config import with_synproxy

pytestmark = pytest.mark.skipif(os.environ.get("LANE") == "off", reason="about the lane, which is off")

CONNECTIONS = 200
RATE_PER_S, SECONDS = 50_000, 3
RAW_ADDRESS = "198.51.100.96"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """A lab whose client has offloads: its SYN has the checksum of its pseudo header alone. One made by hand has a whole one."""
    config = tmp_path_factory.mktemp("front-door") / "lvs.toml"
    config.write_text(with_synproxy("true"))
    for lab in running_lab("--config", str(config), "--shards", "2", offloads=True):
        for server in ("rs1", "rs2"):
            lab.run(server, sys.executable, str(Path(__file__).parent / "programs" / "without_offloads.py"))
        give_spoofed_answers_a_next_hop(lab)
        yield lab


class Answers:
    """Who has answered how many SYNs since this was made."""

    def __init__(self, lab: RunningLab) -> None:
        self._lab = lab
        self._before = self._now()

    def _now(self) -> tuple[int, int]:
        return self._lab.api_json("/stats/lane")["counters"]["cookie_sent"], self._lab.counter("ext", "synproxy_syn_cnt")

    def of_kernel_and_workers(self) -> tuple[int, int]:
        """When no more come. A worker answers a SYN from a port that it still has a session of, so there may be a few."""
        by_kernel, by_all = (now - before for now, before in zip(self._now(), self._before, strict=True))
        return by_kernel, by_all - by_kernel


def connect(lab: RunningLab) -> None:
    result = lab.script("client", "http_load.py", str(CONNECTIONS), "8")
    assert (result["ok"], result["errors"], result["clients"]) == (CONNECTIONS, {}, {"right": CONNECTIONS})


def test_clients_connect_by_cookies_of_the_kernel(lab: RunningLab) -> None:
    """Each is proven by a worker, and its real server sees its address."""
    answers, proven = Answers(lab), lab.counter("ext", "synproxy_ok_ack")
    connect(lab)
    by_kernel, by_workers = answers.of_kernel_and_workers()
    assert (by_kernel >= CONNECTIONS, by_workers) == (True, 0)
    lab.wait_until("all are counted", lambda: lab.counter("ext", "synproxy_ok_ack") - proven >= CONNECTIONS)


def test_a_flood_stays_in_the_kernel(lab: RunningLab) -> None:
    """While it goes on, other clients are served, and no worker sees one of its packets."""
    answers, turns = Answers(lab), 0
    with syn_flood(lab, RATE_PER_S, SECONDS) as flood:
        while flood.is_on:
            connect(lab)
            turns += 1
        sent = flood.sent()
    by_kernel, by_workers = answers.of_kernel_and_workers()
    assert turns
    assert by_workers < by_kernel // 10
    assert by_kernel > sent // 2, "most of the flood came to the gateway"


@pytest.mark.parametrize(
    ("payload", "counter", "in_kernel"), [("32", "bad_ack", "bad_cookie"), ("0", "null_ack", "null_cookie_ack")]
)
def test_acknowledgements_of_nobody_end_in_the_kernel(lab: RunningLab, payload: str, counter: str, in_kernel: str) -> None:
    """All of them are counted; a few go up to the workers, which may have an answer."""
    in_all, of_kernel = ended_of_a_flood(lab, (payload,), ("ext", f"synproxy_{counter}"), in_kernel, connect)
    assert of_kernel > in_all * 3 // 4


def test_resets_of_nobody_end_in_the_kernel(lab: RunningLab) -> None:
    """None of them has an answer, so none goes up."""
    with lab.changed(strays_in_kernel=1):
        in_all, of_kernel = ended_of_a_flood(lab, ("0", "4"), ("drops", "no_session"), "stray", connect)
    assert of_kernel > in_all * 9 // 10


def test_a_handshake_goes_on_when_the_kernel_stops_to_answer(lab: RunningLab) -> None:
    """And the workers answer from then on, until it is switched on again."""
    answers = Answers(lab)
    with raw_addresses(lab, RAW_ADDRESS), RawClient(lab, RAW_ADDRESS, 2000) as client:
        client.send("S", options=MSS_1460)
        client.receive("S")
        with lab.changed(synproxy_in_kernel=0):
            assert answers.of_kernel_and_workers() == (1, 0)
            client.send("A")
            assert client.ask()["client"] == client.name
            connect(lab)
            by_kernel, by_workers = answers.of_kernel_and_workers()
            assert by_kernel == 1
            assert by_workers >= CONNECTIONS
    answers = Answers(lab)
    connect(lab)
    by_kernel, by_workers = answers.of_kernel_and_workers()
    assert by_kernel > by_workers


def test_rules_before_the_appliance_see_each_syn(lab: RunningLab) -> None:
    """For as long as they are there the workers answer; with 2 the kernel does, and they see none."""
    at_vip = f"ip daddr {lab.vip} tcp dport {lab.port} tcp flags & (syn | ack) == syn counter"
    with operators_rule(lab, at_vip, "prerouting priority -311"):
        lab.wait_until("it is noticed", lambda: bool(why_off(lab)))
        before, answers = counted(lab), Answers(lab)
        connect(lab)
        assert answers.of_kernel_and_workers()[0] == 0
        assert counted(lab) - before >= CONNECTIONS
        with lab.changed(synproxy_in_kernel=2):
            before, answers = counted(lab), Answers(lab)
            connect(lab)
            by_kernel, by_workers = answers.of_kernel_and_workers()
            assert by_kernel > by_workers
            assert counted(lab) - before <= by_workers
    lab.wait_until("it is noticed", lambda: not why_off(lab))
    answers = Answers(lab)
    connect(lab)
    by_kernel, by_workers = answers.of_kernel_and_workers()
    assert by_kernel > by_workers
