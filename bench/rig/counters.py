"""What the kernel counts: packets queued, packets received and connections tracked in the gateway, SYNs that
the client sent again."""

import json
from pathlib import Path
from typing import NamedTuple

from bench.rig.topology import CLIENT_INTERFACE, SERVER_INTERFACE, Site, inside, output_of

_QUEUES = "/proc/net/netfilter/nfnetlink_queue"
_CLIENT_TCP = Path("/proc/net/netstat")
_TRACKED = "/proc/sys/net/netfilter/nf_conntrack_count"


class QueueCount(NamedTuple):
    """Packets that entered a queue since it was bound, and those that found it or its socket full."""

    packets: int
    drops: int


class Snapshot(NamedTuple):
    """The gateway at one moment. `received` is the packets that came in by its two interfaces."""

    queues: dict[int, QueueCount]
    received: int
    tracked: int


def snapshot(site: Site) -> Snapshot:
    """Read everything now. Raises BenchError."""
    return Snapshot(queue_counts(site), _received(site), int(_read(site, _TRACKED) or 0))


def queue_counts(site: Site) -> dict[int, QueueCount]:
    """The queues that are bound in the gateway, by number."""
    return parse_queues(_read(site, _QUEUES))


def parse_queues(text: str) -> dict[int, QueueCount]:
    """The lines of /proc/net/netfilter/nfnetlink_queue.

    Queue number, port id, waiting, copy mode, copy range, dropped for a full queue, dropped for a full socket, last packet id, 1.
    """
    rows = ([int(field) for field in line.split()] for line in text.splitlines())
    return {row[0]: QueueCount(packets=row[7], drops=row[5] + row[6]) for row in rows}


def growth(before: dict[int, QueueCount], after: dict[int, QueueCount]) -> dict[int, QueueCount]:
    """By how much each queue grew; a queue that was not there before started at 0."""
    nothing = QueueCount(0, 0)
    pairs = {number: (before.get(number, nothing), count) for number, count in after.items()}
    return {number: QueueCount(new.packets - old.packets, new.drops - old.drops) for number, (old, new) in pairs.items()}


def syns_sent_again() -> int:
    """How often a SYN got no answer in time and was sent again, in the network namespace of this process, which is the
    client's."""
    return parse_netstat(_CLIENT_TCP.read_text())["TCPSynRetrans"]


def parse_netstat(text: str) -> dict[str, int]:
    """/proc/net/netstat: pairs of lines, the names and below them the values, each with the same prefix."""
    lines = [line.split()[1:] for line in text.splitlines()]
    return {
        name: int(value)
        for names, values in zip(lines[::2], lines[1::2], strict=True)
        for name, value in zip(names, values, strict=True)
    }


class InterfaceCount(NamedTuple):
    """Packets of one interface."""

    received: int
    sent: int

    def since(self, before: "InterfaceCount") -> "InterfaceCount":
        """What was counted since then."""
        return InterfaceCount(self.received - before.received, self.sent - before.sent)


def interface_count(namespace: str, interface: str) -> InterfaceCount:
    """The counters of an interface in a namespace. Raises BenchError."""
    (one,) = json.loads(output_of(inside(namespace, "ip", "-json", "-statistics", "link", "show", "dev", interface)))
    statistics = one["stats64"]
    return InterfaceCount(int(statistics["rx"]["packets"]), int(statistics["tx"]["packets"]))


def _received(site: Site) -> int:
    return sum(interface_count(site.gateway, each).received for each in (CLIENT_INTERFACE, SERVER_INTERFACE))


def _read(site: Site, path: str) -> str:
    # A kernel that has not loaded the feature yet has no such file, which means that it counts nothing.
    return output_of(inside(site.gateway, "sh", "-c", f"! [ -e {path} ] || cat {path}"))
