"""The host's own connection tracking: how full it is, and what it has dropped. Traffic of the gateway is not in it."""

from collections.abc import Iterable
from pathlib import Path

_LIMITS = Path("/proc/sys/net/netfilter")
_EVENTS = Path("/proc/net/stat/nf_conntrack")

_EVENT_NAMES = ("drop", "early_drop", "insert_failed")


def read() -> dict[str, int] | None:
    """The entries there are (`count`), may be (`max`), and the `buckets` of the table; None while this host tracks nothing.

    Where the kernel counts them, also events since the start: packets dropped because the table was full (`drop`), entries
    dropped early (`early_drop`), entries that could not be made (`insert_failed`).
    """
    try:
        limits = {name: int((_LIMITS / f"nf_conntrack_{name}").read_text()) for name in ("count", "max", "buckets")}
    except FileNotFoundError:
        return None
    try:
        return limits | parse_events(_EVENTS.read_text().splitlines())
    except FileNotFoundError:
        return limits


def parse_events(lines: Iterable[str]) -> dict[str, int]:
    """Events by name, summed over all processors. The first line has names, each other line the hexadecimal numbers of one
    processor."""
    names, *processors = (line.split() for line in lines)
    rows = [dict(zip(names, numbers, strict=False)) for numbers in processors]
    return {name: sum(int(row.get(name, "0"), 16) for row in rows) for name in _EVENT_NAMES}
