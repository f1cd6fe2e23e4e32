"""Big transfers under loss and duplication, plain and proxied: every byte arrives, and TCP works as between two hosts.

`--full-size` makes each transfer a gibibyte. Without it only those that CI has time for are so long.
"""

import json
import os
import re
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from typing import NamedTuple

import pytest

from tests.lab.conftest import RunningLab, running_lab
from tests.lab.loss_rules import Counts, duplication, loss_behind_the_gateway, tcp_ext_of_all
from tests.lab.shipped_config import with_synproxy

MIB, GIB = 1 << 20, 1 << 30
SEGMENT_BYTES = 1460
PER_MILLE = 10
UNSCALED_BYTES = 1 << 16
"""No window is as large without window scaling."""


class Way(NamedTuple):
    """The direction of a transfer."""

    name: str
    senders: tuple[str, ...]
    receivers: tuple[str, ...]
    loss: str
    """Where its data are lost, as `loss_behind_the_gateway` calls it."""


REAL_SERVERS = ("rs1", "rs2")
WAYS = (
    Way("download", REAL_SERVERS, ("client",), "from gateway to client"),
    Way("upload", ("client",), REAL_SERVERS, "from gateway to server"),
)


@pytest.fixture(scope="module", params=["auto", "true"], ids=["plain", "proxied"])
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    config = tmp_path_factory.mktemp("config") / "lvs.toml"
    config.write_text(with_synproxy('"auto"' if request.param == "auto" else request.param))
    yield from running_lab("--config", str(config), "--shards", "2")


class Transfer(NamedTuple):
    """What a transfer was."""

    growth: Callable[[str], int]
    """How much a TcpExt counter of the senders has grown."""
    counted: dict[str, int]
    """Packets that were lost or duplicated, by where."""
    largest_window_bytes: int
    """What its receiver advertised at most, in the eyes of its sender."""
    scales: set[str]
    """Shifts of both ends, as the sender has them."""


def transferred(
    lab: RunningLab, way: Way, count: int, condition: Callable[[RunningLab], AbstractContextManager[Counts]]
) -> Transfer:
    """A transfer that arrives whole, and of which the lane carries nearly all, where there is one."""
    before, stats = tcp_ext_of_all(lab, way.senders), lab.api_json("/stats/lane")

    def growth(name: str) -> int:
        return tcp_ext_of_all(lab, way.senders)[name] - before[name]

    def discarded() -> int:
        """Blocks that nobody can have sent. The kernel also counts a DSACK for a segment that it has sent once among them."""
        return growth("TCPSACKDiscard") - growth("TCPDSACKIgnoredDubious")

    windows, scales = [0], set[str]()

    def is_over() -> bool:
        for role in way.senders:
            listed = lab.run(role, "ss", "-Htino", "state", "established", *_SERVICE[role])
            windows.extend(map(int, re.findall(r"\bsnd_wnd:(\d+)", listed)))
            scales.update(re.findall(r"\bwscale:(\d+,\d+)", listed))
        return transfer.poll() is not None or discarded() > 0

    with condition(lab) as counts, lab.start("client", "bulk.py", way.name, str(count)) as transfer:
        lab.wait_until("it is over, or never will be", is_over)
        transfer.kill()
        said, _ = transfer.communicate()
        counted = counts()
    assert discarded() <= 0
    result = json.loads(said)
    assert result["got"] == result["expected"]
    after = lab.api_json("/stats/lane")
    if stats["state"] == "on":
        carried, in_workers = (after[by]["bytes"] - stats[by]["bytes"] for by in ("lane", "workers"))
        assert carried > count
        assert in_workers < carried / 100
    print(f"{way.name} of {count >> 20} MiB: {growth('TCPSackRecovery')} recoveries by SACK, {growth('TCPDSACKRecv')} DSACKs, "
          f"window {max(windows)} bytes, shifts {sorted(scales)}, {counted}")  # fmt: skip
    return Transfer(growth, counted, max(windows), scales)


_SERVICE = dict.fromkeys(REAL_SERVERS, ("sport", "=", ":8080")) | {"client": ("dport", "=", ":80")}


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_a_gibibyte_arrives_whole_under_one_percent_loss(lab: RunningLab, way: Way, full_size: bool) -> None:
    """The sender repairs losses by SACK, and never gets a block that it cannot have sent.

    A block in the numbers of the other side would count as TCPSACKDiscard, and each lost segment would wait for a timeout.
    """
    count = GIB if full_size or os.environ["LANE"] == "on" else 64 * MIB
    done = transferred(lab, way, count, lambda lab: loss_behind_the_gateway(lab, PER_MILLE))
    assert done.counted[way.loss] > count // SEGMENT_BYTES * PER_MILLE / 1000 / 2
    assert min(done.counted.values()) > count // (10 * MIB), "acknowledgements were lost, too"
    recoveries = done.growth("TCPSackRecovery")
    assert recoveries > count // (2 * MIB)
    assert done.growth("TCPTimeouts") < max(recoveries / 10, 5)
    assert done.growth("TCPSACKReneging") == 0
    assert done.largest_window_bytes > UNSCALED_BYTES
    assert done.scales


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.name)
def test_a_transfer_arrives_whole_when_every_packet_comes_twice(lab: RunningLab, way: Way, full_size: bool) -> None:
    """The receiver says by SACK which bytes came twice, in numbers that the sender knows (DSACK)."""
    count = GIB if full_size else 64 * MIB if os.environ["LANE"] == "on" else 16 * MIB
    done = transferred(lab, way, count, duplication)
    sender = "from client" if way.name == "upload" else max(("from rs1", "from rs2"), key=done.counted.__getitem__)
    assert done.counted[sender] > count // (64 * SEGMENT_BYTES)
    assert done.growth("TCPDSACKRecv") > 100
    assert done.largest_window_bytes > UNSCALED_BYTES
