"""A lane that has no room for all sessions: what a stranger who knows the address and port of a client can do to its session."""

import os
from collections import Counter
from collections.abc import Iterator
from ipaddress import IPv4Address
from pathlib import Path

import pytest

from appliance.ipc.lane_layout import LEAST_ENTRIES
from appliance.wire.flow import pack_endpoint
from tests.lab.conftest import RunningLab, running_lab_with_many_client_ports
from tests.lab.idle_sessions import IdleSessions
from tests.lab.injected import inject
from tests.support.segments import tcp
from tests.support.tcp_options import LINUX_SYN

pytestmark = pytest.mark.skipif(os.environ.get("LANE") == "off", reason="about the lane, which is off")

FIRST, MORE, CONNECTIONS = 1000, 4000, 500
"""Sessions that end before the attack, so that the lane has room again, and those that are there meanwhile."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    config = tmp_path_factory.mktemp("outside") / "lvs.toml"
    text = (Path(__file__).parent / "tcp_and_udp.toml").read_text()
    assert "[gateway]" in text
    config.write_text(text.replace("[gateway]", f"[gateway]\nlane_entries = {LEAST_ENTRIES}"))
    yield from running_lab_with_many_client_ports("--config", str(config))


def syn_of(lab: RunningLab, client: str, seq: int) -> bytes:
    address, _, port = client.rpartition(":")
    ends = (pack_endpoint(IPv4Address(address), int(port)), pack_endpoint(IPv4Address(lab.vip), lab.port))
    return tcp(*ends, "S", seq=seq, options=LINUX_SYN)


def test_syns_end_no_session_for_which_the_lane_has_no_room(lab: RunningLab) -> None:
    with IdleSessions(lab, FIRST) as first, IdleSessions(lab, MORE) as idle:
        assert lab.counter("queues", "lane_full") > 0
        first.stop()
        lab.wait_until("the lane has room", lambda: lab.api_json("/stats/lane")["entries"]["used"] < LEAST_ENTRIES * 9 // 10)
        assert lab.script("client", "http_load.py", str(CONNECTIONS), "8")["ok"] == CONNECTIONS
        clients = [row["source"] for row in lab.api_json("/conns?limit=10000") if row["state"] == "ESTABLISHED"]
        assert len(clients) == MORE
        for turn in range(3):
            inject(lab, "client", [syn_of(lab, client, seq=1000 + turn) for client in clients])
        endings = Counter(idle.stop(ended=1).values())
    assert endings == {"alive": MORE}
