"""The SYNs of a flood and the answers to them, counted on the client's host, so in the same way for every mode.

The sender's own number says what it meant to send; rules of nftables count what left the host, and which SYN-ACKs came back.
"""

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

from bench.rig.nft import nft, table_loaded_in
from bench.rig.topology import HTTP_PORT, Site
from bench.senders.flood import SPOOFED_NETWORK

TABLE = "bench_flood"
_SENT, _ANSWERED = "sent", "answered"


class Counted(NamedTuple):
    """SYNs that were sent and SYN-ACKs that came back, up to a moment (`time.monotonic`)."""

    sent: int
    answered: int
    at_s: float

    def since(self, before: "Counted") -> "PerSecond":
        """What there was in a second between two moments."""
        took_s = self.at_s - before.at_s
        return PerSecond((self.sent - before.sent) / took_s, (self.answered - before.answered) / took_s)


class PerSecond(NamedTuple):
    """SYNs and SYN-ACKs in a second."""

    sent: float
    answered: float


def table() -> str:
    """The rules. What comes for a spoofed address ends there: nobody has it, and a host that looks for a route takes longer."""
    return f"""\
table ip {TABLE} {{
	counter {_SENT} {{
	}}
	counter {_ANSWERED} {{
	}}
	chain output {{
		type filter hook output priority filter; policy accept;
		ip saddr {SPOOFED_NETWORK} tcp dport {HTTP_PORT} tcp flags & (syn | ack) == syn counter name "{_SENT}"
	}}
	chain prerouting {{
		type filter hook prerouting priority raw; policy accept;
		ip daddr {SPOOFED_NETWORK} tcp sport {HTTP_PORT} tcp flags & (syn | ack) == (syn | ack) counter name "{_ANSWERED}"
		ip daddr {SPOOFED_NETWORK} drop
	}}
}}
"""


@contextmanager
def counting(site: Site) -> Iterator[Callable[[], Counted]]:
    """With the rules in the client's namespace. What is yielded reads the counters. Raises BenchError."""
    with table_loaded_in(site.client, TABLE, table()):
        yield lambda: parse_counters(nft(site.client, "--json", "list", "counters", "table", "ip", TABLE), time.monotonic())


def parse_counters(text: str, at_s: float) -> Counted:
    """What `nft --json list counters` prints. Raises KeyError when a counter is missing."""
    entries = (entry["counter"] for entry in json.loads(text)["nftables"] if "counter" in entry)
    packets = {entry["name"]: int(entry["packets"]) for entry in entries}
    return Counted(packets[_SENT], packets[_ANSWERED], at_s)
