"""The host's own connection tracking: how full it is, what it has dropped, what is in it. Traffic of the gateway is not in it."""

from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from pyroute2.netlink.exceptions import NetlinkError
from pyroute2.netlink.nfnetlink.nfctsocket import NFCTAttrTuple, NFCTSocket

from appliance.doctor.facts import Entry
from appliance.edge.errors import EdgeError

_LIMITS = Path("/proc/sys/net/netfilter")
_EVENTS = Path("/proc/net/stat/nf_conntrack")

_MOST_ENTRIES = 500
"""Entries that are read for each address and direction."""

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


def entries(address: str) -> Iterator[Entry]:
    """Connections to and from an IPv4 address, at most _MOST_ENTRIES of each; the kernel selects them, from 5.8 on.

    Blocks. Raises EdgeError when the kernel cannot be asked.
    """
    for wanted in ({"daddr": address}, {"saddr": address}):
        try:
            with NFCTSocket() as netlink:
                for message in islice(netlink.dump(tuple_orig=NFCTAttrTuple(**wanted)), _MOST_ENTRIES):
                    if message.get_attr("CTA_TUPLE_ORIG"):
                        yield _entry(message)
        except (NetlinkError, OSError) as error:
            raise EdgeError(f"cannot ask for tracked connections of {address}: {error}") from error


def _entry(message: Any) -> Entry:
    original = message.get_attr("CTA_TUPLE_ORIG")
    addresses, transport = original.get_attr("CTA_TUPLE_IP"), original.get_attr("CTA_TUPLE_PROTO")
    return Entry(
        transport.get_attr("CTA_PROTO_NUM"),
        addresses.get_attr("CTA_IP_V4_SRC"),
        transport.get_attr("CTA_PROTO_SRC_PORT") or 0,
        addresses.get_attr("CTA_IP_V4_DST"),
        transport.get_attr("CTA_PROTO_DST_PORT") or 0,
        message.get_attr("CTA_TIMEOUT") or 0,
        message.get_nested("CTA_PROTOINFO", "CTA_PROTOINFO_TCP", "CTA_PROTOINFO_TCP_STATE"),
    )
