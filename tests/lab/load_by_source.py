"""A lab whose client has many addresses, and connections from all of them: for services that choose by the client."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
from pathlib import Path

from tests.lab.conftest import RunningLab, running_lab
from tests.lab.shipped_config import SHIPPED

REAL_SERVERS = {"192.0.2.101": "rs1", "192.0.2.102": "rs2"}
RS1 = "192.0.2.101:8080"
SOURCES, FIRST_SOURCE = 24, IPv4Address("198.51.100.100")
CONCURRENCY = 24
ENOUGH = 500
"""Connections for which no worker had anything to do."""


def config_of(chosen_by: str, synproxy: str) -> str:
    """The shipped configuration with these lines in the place of its scheduler, and with two real servers of the same weight."""
    head = SHIPPED.read_text().partition("[[service.real_server]]")[0].replace('scheduler = "rr"', chosen_by)
    head = head.replace('\nsynproxy = "auto"\n', f"\nsynproxy = {synproxy}\n")
    return head + "".join(
        f'[[service.real_server]]\naddress = "{address}"\nport = 8080\nweight = 1\n' for address in REAL_SERVERS
    )


def lab_of_many_addresses(directory: Path, config: str) -> Iterator[RunningLab]:
    """A lab with two shards, whose client has all the addresses."""
    file = directory / "lvs.toml"
    file.write_text(config)
    for running in running_lab("--config", str(file), "--shards", "2"):
        for number in range(SOURCES):
            running.run("client", "ip", "address", "add", f"{FIRST_SOURCE + number}/24", "dev", "eth0")
        yield running


def counted(lab: RunningLab, name: str) -> int:
    """A counter of the lane."""
    count: int = lab.api_json("/stats/lane")["counters"][name]
    return count


@contextmanager
def load(lab: RunningLab) -> Iterator[dict[str, dict[str, int]]]:
    """Connections from all addresses meanwhile; who has answered each, behind the block."""
    answered: dict[str, dict[str, int]] = {}
    with lab.start("client", "load_by_source.py", str(FIRST_SOURCE), str(SOURCES), str(CONCURRENCY)) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "loading\n"
        try:
            yield answered
        finally:
            said, _ = process.communicate()
    report = json.loads(said)
    assert report["errors"] == {}
    answered |= report["answered"]
