"""What the kernel counts for each packet queue (`/proc/net/netfilter/nfnetlink_queue`)."""

from pathlib import Path
from typing import NamedTuple

_PATH = Path("/proc/net/netfilter/nfnetlink_queue")


class QueueStats(NamedTuple):
    """How many packets wait now, and how many were dropped since the queue was bound."""

    waiting: int
    queue_full_drops: int
    socket_drops: int


def read() -> dict[int, QueueStats]:
    """The bound queues of this network namespace, by number; empty when there is none."""
    try:
        lines = _PATH.read_text().splitlines()
    except FileNotFoundError:
        return {}
    return dict(parse(line) for line in lines)


def parse(line: str) -> tuple[int, QueueStats]:
    """The queue number and the counts in one line of the file."""
    # queue number, port id, waiting, copy mode, copy range, dropped for a full queue, dropped for a full socket, …
    number, _, waiting, _, _, queue_full, socket_full, *_ = (int(field) for field in line.split())
    return number, QueueStats(waiting, queue_full, socket_full)
