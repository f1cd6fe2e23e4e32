"""A SYN flood from addresses that nobody has, at a service that answers SYNs with cookies: other clients are served all the time.

The flooder, the client and the servers use half of the machine, so there is no figure of speed here: `bench.flood` measures them.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.conftest import RunningLab, running_lab
from tests.lab.floods import CLIENT, give_spoofed_answers_a_next_hop, lost_on_arrival, syn_flood
from tests.lab.shipped_config import with_synproxy

pytestmark = pytest.mark.alone  # more of the flood has to be answered than is lost, so the rest of the machine has to be idle

RATE_PER_S, SECONDS = 20_000, 10
CONNECTIONS = 200
"""Connections in each turn of the legitimate client, which goes on as long as the flood."""

MOST_GROWTH_BYTES = 4 << 20
"""Twenty bytes for each SYN of the flood, which is less than the smallest object of Python."""


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[RunningLab]:
    """A lab with two shards, whose service always answers with cookies."""
    config = tmp_path / "lvs.toml"
    config.write_text(with_synproxy("true"))
    for lab in running_lab("--config", str(config), "--shards", "2"):
        give_spoofed_answers_a_next_hop(lab)
        # Sessions of the legitimate client end soon, so that only the flood could make the memory grow.
        for state in ("time_wait", "last_ack", "fin_wait", "close_wait", "close"):
            lab.set_tunable(f"tcp_timeout_{state}", 1000)
        yield lab


class Turns:
    """The outcomes of the legitimate client's turns so far."""

    def __init__(self, lab: RunningLab) -> None:
        self._lab = lab
        self.count = 0

    def take(self) -> None:
        """Open fresh connections, a few at a time, and check that each gets its answer."""
        result = self._lab.script("client", "http_load.py", str(CONNECTIONS), "8")
        assert (result["ok"], result["errors"]) == (CONNECTIONS, {})
        assert result["clients"] == {"right": CONNECTIONS}
        self.count += 1


def test_legitimate_clients_are_served_during_a_flood(lab: RunningLab) -> None:
    """No client is refused, the table has their sessions and no others, and a worker remembers nothing of 200,000 SYNs."""
    turns = Turns(lab)
    flood_and_serve(lab, turns, SECONDS // 5)  # so that buffers which a flood needs once are there already
    before, seen, lost = worker_bytes(lab), lab.counter("ext", "synproxy_syn_cnt"), queue_drops(lab) + lost_on_arrival(lab)
    served_before = turns.count

    sent = flood_and_serve(lab, turns, SECONDS)

    turns_taken = turns.count - served_before
    print(f"{turns_taken * CONNECTIONS} legitimate connections meanwhile, the workers grew by {worker_bytes(lab) - before} bytes")
    assert turns_taken
    assert worker_bytes(lab) - before < MOST_GROWTH_BYTES

    def answered_and_dropped() -> tuple[int, int]:
        return lab.counter("ext", "synproxy_syn_cnt") - seen, queue_drops(lab) + lost_on_arrival(lab) - lost

    lab.wait_until("all of the flood is answered or dropped", lambda: sum(answered_and_dropped()) >= sent)
    answered, dropped = answered_and_dropped()
    assert answered > dropped


def flood_and_serve(lab: RunningLab, turns: Turns, seconds: int) -> int:
    """Let the client take turns as long as a flood goes on; returns how many SYNs the flood had."""
    with syn_flood(lab, RATE_PER_S, seconds) as flood:
        while flood.is_on:
            turns.take()
            assert {row["source"].split(":")[0] for row in lab.api_json("/stats/ip_vs_conn")} <= {CLIENT}
        return flood.sent()


def worker_bytes(lab: RunningLab) -> int:
    """Resident memory of both workers."""
    total = 0
    for shard in lab.api_json("/healthz")["shards"]:
        status = Path(f"/proc/{shard['pid']}/status").read_text()
        total += next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS:")) * 1024
    return total


def queue_drops(lab: RunningLab) -> int:
    """How many packets found a queue or its socket full."""
    lines = lab.run("gateway", "cat", "/proc/net/netfilter/nfnetlink_queue").splitlines()
    return sum(int(line.split()[5]) + int(line.split()[6]) for line in lines)
