"""A flood of datagrams from a network that has all the sessions it may have, with `strays_in_kernel`: it ends in the kernel."""

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.rig.topology import HTTP_PORT
from tests.lab.conftest import RunningLab, running_lab
from tests.lab.floods import Flood, give_spoofed_answers_a_next_hop

pytestmark = pytest.mark.skipif(os.environ.get("LANE") == "off", reason="about the lane, which is off")

RATE_PER_S, SECONDS = {1: 4000, 0: 600}, 4
"""By whether the kernel refuses. The workers take part of a small machine for what the kernel does not notice."""

MOST = 500
"""Sessions that a network may have. The flood comes from one, and clients are in the one beside it."""

PAUSE_S = 0.05
"""Between two looks, so that those clients stay below that on a fast machine as well."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """A lab with a TCP and a UDP service on one VIP and port, which is the port of the flood."""
    config = tmp_path_factory.mktemp("datagrams") / "lvs.toml"
    text = (Path(__file__).parent / "tcp_and_udp.toml").read_text()
    config.write_text(text.replace("\nport = 80\n", f"\nport = {HTTP_PORT}\n"))
    for lab in running_lab("--config", str(config), "--shards", "2"):
        give_spoofed_answers_a_next_hop(lab)
        for name, value in {"source_conn_prefix": 25, "source_conn_max": MOST, "udp_timeout_unconfirmed": 60_000}.items():
            lab.set_tunable(name, value)
        yield lab


def refused(lab: RunningLab) -> tuple[int, int]:
    """How many datagrams were refused for their network: in all, and by the kernel."""
    return lab.counter("drops", "source_limit"), lab.api_json("/stats/lane")["counters"]["source_limit"]


@pytest.mark.parametrize("in_kernel", [1, 0])
def test_a_flood_beyond_the_limit_of_its_network(lab: RunningLab, in_kernel: int) -> None:
    """It is refused by the kernel or the workers, and counted alike; and clients of other networks are served meanwhile."""
    before, turns = refused(lab), 0
    with (
        lab.changed(strays_in_kernel=in_kernel),
        Flood(lab, "stray_flood", "udp", lab.vip, "--rate", str(RATE_PER_S[in_kernel]), "--seconds", str(SECONDS)) as flood,
    ):
        while flood.is_on:
            assert lab.script("client", "udp_ask.py", "2") == {"answered": 2}  # each takes a session of their network
            turns += 1
            time.sleep(PAUSE_S)
        sent = flood.sent()
    assert turns

    def since() -> tuple[int, int]:
        in_all, of_kernel = (now - then for now, then in zip(refused(lab), before, strict=True))
        return in_all, of_kernel

    lab.wait_until("most of them are counted", lambda: since()[0] > sent // 2)
    in_all, of_kernel = since()
    assert of_kernel > in_all // 2 if in_kernel else of_kernel == 0
