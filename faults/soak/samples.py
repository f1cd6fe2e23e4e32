"""What is looked at while the traffic goes on: the processes and the tables of the appliance."""

import json
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from faults.gateway import Gateway

_RSS = re.compile(r"^VmRSS:\s+(\d+) kB$", re.MULTILINE)


class ProcessSample(NamedTuple):
    """One process at one moment."""

    pid: int
    rss_kib: int
    descriptors: int


class Tables(NamedTuple):
    """What the appliance remembers: sessions, local ports that have one, and entries of the kernel's table of sessions.

    `lane` is None while there is no lane.
    """

    sessions: int
    ports: int
    lane: int | None

    @property
    def is_empty(self) -> bool:
        """Whether nothing is left."""
        return not (self.sessions or self.ports or self.lane)


class Sample(NamedTuple):
    """One moment. `processes` are "director" and "worker N"."""

    at: float
    processes: dict[str, ProcessSample]


def sample(gateway: Gateway) -> Sample:
    """Look now. Raises BenchError or OSError when a process is away."""
    workers = gateway.workers()
    pids = {"director": gateway.director()} | {f"worker {shard}": pid for shard, pid in enumerate(workers)}
    return Sample(time.monotonic(), {name: _process(pid) for name, pid in pids.items()})


def _process(pid: int) -> ProcessSample:
    status = Path(f"/proc/{pid}/status").read_text()
    found = _RSS.search(status)
    return ProcessSample(pid, int(found[1]) if found else 0, len(list(Path(f"/proc/{pid}/fd").iterdir())))


def tables(gateway: Gateway) -> Tables:
    """What the appliance remembers now. Raises OSError or HTTPException."""
    return tables_of(json.loads(gateway.ask("/stats/slabinfo").body), gateway.lane())


def tables_of(slabs: Mapping[str, Mapping[str, int]], lane: Mapping[str, Any]) -> Tables:
    """The same from the JSON of /stats/slabinfo and of /stats/lane."""
    active = {name: slab["active_objs"] for name, slab in slabs.items()}
    ports = sum(count for name, count in active.items() if name.startswith(("tcp_ports:", "udp_ports:")))
    entries = None if lane["state"] == "off" else lane["entries"]["used"]
    return Tables(active["tcp_conn"] + active["udp_conn"], ports, entries)


def rules(gateway: Gateway) -> str:
    """All nft objects of the gateway, without counts."""
    return gateway.run("nft", "--stateless", "list", "ruleset")
