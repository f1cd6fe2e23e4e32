"""Floods that fill what is limited: backlogs, the table of sessions, local ports. Honest clients are served all the time.

Each flood is bounded in rate and time, and comes from addresses that nobody in the lab has.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.rig.topology import HTTP_PORT
from tests.lab.conftest import RunningLab, running_lab
from tests.lab.floods import Flood, give_spoofed_answers_a_next_hop, syn_flood
from tests.lab.shipped_config import SHIPPED, with_synproxy

CONNECTIONS = 40
"""Connections in each turn of the honest client, which goes on as long as the flood."""


@pytest.fixture(params=["as shipped", "synproxy = false"])
def one_service(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[RunningLab]:
    """A lab with the shipped configuration; and one whose service is without SYNPROXY for good."""
    config = tmp_path / "lvs.toml"
    config.write_text(SHIPPED.read_text() if request.param == "as shipped" else with_synproxy("false"))
    for lab in running_lab("--config", str(config), "--shards", "2"):
        give_spoofed_answers_a_next_hop(lab)
        yield lab


@pytest.mark.parametrize(
    ("one_service", "rate_per_s", "seconds"),
    [("as shipped", 600, 15), ("as shipped", 5000, 8), ("synproxy = false", 600, 15)],
    indirect=["one_service"],
)
def test_fresh_connections_are_served_under_a_syn_flood(one_service: RunningLab, rate_per_s: int, seconds: int) -> None:
    """The flood has twice as many SYNs as the backlog has places, and more. No SYN of anybody is refused for that."""
    lab, turns = one_service, 0
    while turns < 2:  # on a slow machine one turn takes as long as the flood, and there is another one
        with syn_flood(lab, rate_per_s, seconds) as flood:
            while flood.is_on:
                result = lab.script("client", "http_load.py", str(CONNECTIONS), "4")
                assert (result["ok"], result["errors"]) == (CONNECTIONS, {})
                assert lab.counter("drops", "syn_backlog_full") == 0
                turns += 1
            assert flood.sent() > 2 * int(lab.api("/sysctl/tcp_max_syn_backlog"))
    print(f"{turns * CONNECTIONS} honest connections meanwhile")
    assert lab.counter("queues", "backlog_dropped") + lab.counter("ext", "synproxy_syn_cnt") > 0, "the backlog was full"


@pytest.fixture
def both_services(tmp_path: Path) -> Iterator[RunningLab]:
    """A lab with a TCP and a UDP service on one VIP and port, which is the port of the flood, and the same real servers."""
    config = tmp_path / "lvs.toml"
    text = (Path(__file__).parent / "tcp_and_udp.toml").read_text()
    config.write_text(text.replace("\nport = 80\n", f"\nport = {HTTP_PORT}\n"))
    for lab in running_lab("--config", str(config), "--shards", "2"):
        give_spoofed_answers_a_next_hop(lab)
        yield lab


UDP_PER_S, UDP_SECONDS = 600, 12
"""So few that all that come in two seconds have ports: a machine that stands still for a moment sends them at once, and none of
them makes way for another one within half a second."""


@pytest.mark.parametrize(
    "limits", [{"fullnat_lport_max": 5499}, {"conn_max": 4000}], ids=["2,000 local ports", "a table of 4,000 sessions"]
)
def test_clients_of_both_protocols_are_served_under_a_flood_of_udp(both_services: RunningLab, limits: dict[str, int]) -> None:
    """Each datagram of the flood comes from another address and port, and is answered by a real server: it opens a session. In a
    few seconds these take all the ports, or all places, that there are."""
    lab, turns = both_services, 0
    for name, value in limits.items():
        lab.set_tunable(name, value)
    arguments = ("udp", lab.vip, "--rate", str(UDP_PER_S), "--seconds", str(UDP_SECONDS))
    while turns < 2:
        with Flood(lab, "stray_flood", *arguments) as flood:
            while flood.is_on:
                assert lab.script("client", "udp_ask.py", "40") == {"answered": 40}
                result = lab.script("client", "http_load.py", "20", "4")
                assert (result["ok"], result["errors"]) == (20, {})
                turns += 1
            flood.sent()
    assert lab.counter("queues", "unconfirmed_dropped") > 0, "sessions had to make way"
    refusals = {name: lab.counter("drops", name) for name in ("table_full", "local_ports_exhausted", "source_limit")}
    assert refusals == {"table_full": 0, "local_ports_exhausted": 0, "source_limit": 0}


def test_a_table_full_of_udp_leaves_tcp_its_share(both_services: RunningLab) -> None:
    """These UDP sessions are confirmed, so none of them makes way."""
    lab = both_services
    lab.set_tunable("conn_max", 400)
    assert lab.script("client", "udp_echo.py", "290", "3")["whole"] == 290 * 3
    with lab.start("client", "udp_ask.py", "40") as asking:
        lab.wait_until("UDP has all that it may have", lambda: lab.counter("drops", "table_full") > 0)
        result = lab.script("client", "http_load.py", "40", "4")
        asking.communicate()
    assert (result["ok"], result["errors"]) == (40, {})
    assert lab.counter("queues", "half_open_dropped") == 0


def test_nobody_is_refused_while_ports_only_rest(one_service: RunningLab) -> None:
    """Six ports towards each of the two real servers from each of two local addresses: 24 connections may rest in TIME_WAIT. The
    real servers rest on them as well, and accept the next connection all the same."""
    lab = one_service
    lab.set_tunable("fullnat_lport_max", 5005)
    result = lab.script("client", "http_load.py", "300", "1")
    assert (result["ok"], result["errors"]) == (300, {})
    assert lab.counter("drops", "local_ports_exhausted") == 0
    assert lab.counter("queues", "time_wait_ports_taken") >= 300 - 24
