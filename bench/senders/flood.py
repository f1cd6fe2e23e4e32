"""What all senders of floods share: who they may send to, from which addresses, how fast, how long, and what they report."""

import argparse
import ipaddress
import json
import os
import sys
import time
from collections.abc import Callable
from typing import NamedTuple

SPOOFED_NETWORK = ipaddress.IPv4Network("198.51.100.128/25")
"""The sources of a flood: addresses that nobody in the lab has."""

RATE_MAX_PER_S, SECONDS_MAX = 500_000, 60
UNPACED, UNPACED_PER_S = "unpaced", 1_000_000_000
"""The word for a flood as fast as the sender can make it, and the rate that stands for it: none can send so much, so it never
waits."""

BEGUN = "flooding"
"""The line that a sender prints when it begins to send."""

_TEST_NETWORKS = tuple(map(ipaddress.IPv4Network, ("192.0.2.0/24", "198.51.100.0/24", "203.0.113.0/24")))  # RFC 5737
_BATCH_PACKETS = 256
_TICK_S = 0.001
_LATEST_S = 0.05
"""A sender that could not run for longer than this does not send what it missed: that would be a burst of another rate."""


class Flood(NamedTuple):
    """What was sent: packets that the kernel took, packets that it refused, and how long it lasted."""

    sent: int
    failed: int
    seconds: float

    @property
    def per_s(self) -> float:
        """Packets sent in a second; 0 for a flood that there was not."""
        return self.sent / self.seconds if self.seconds else 0.0


NO_FLOOD = Flood(0, 0, 0.0)


def due(rate: int, elapsed_s: float, accounted: int) -> tuple[int, int]:
    """How many packets to send now, and how many to leave out because their time was over long ago.

    `accounted` is how many were sent, refused or left out so far.
    """
    behind = int(rate * elapsed_s) - accounted
    late = max(0, behind - max(_BATCH_PACKETS, int(rate * _LATEST_S)))
    return min(behind - late, _BATCH_PACKETS), late


def paced(rate: int, seconds: float, send: Callable[[int], tuple[int, int]]) -> Flood:
    """Call `send` with a number of packets, again and again, so that there are `rate` a second or as many as are possible.

    `send` returns how many packets the kernel took and how many it refused.
    """
    sent = failed = late = 0
    start = time.monotonic()
    while (elapsed_s := time.monotonic() - start) < seconds:
        count, left_out = due(rate, elapsed_s, sent + failed + late)
        late += left_out
        if count <= 0:
            time.sleep(_TICK_S)
            continue
        taken, refused = send(count)
        sent += taken
        failed += refused
    return Flood(sent, failed, elapsed_s)


def rate(text: str) -> int:
    """A rate on the command line: a number, or UNPACED. Raises ValueError for another word."""
    return UNPACED_PER_S if text == UNPACED else int(text)


def rate_in_words(rate_per_s: int) -> str:
    """The number, or UNPACED."""
    return UNPACED if rate_per_s == UNPACED_PER_S else f"{rate_per_s:,}"


def target_address(text: str) -> str:
    """A target on the command line. Raises ArgumentTypeError for what is not a test address."""
    try:
        address = ipaddress.IPv4Address(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    if not any(address in network for network in _TEST_NETWORKS):
        raise argparse.ArgumentTypeError(f"{text} is not a test address (RFC 5737)")
    return text


def add_bounds(parser: argparse.ArgumentParser, what: str) -> None:
    """Add the options that keep a flood bounded; `are_bounded` checks them."""
    said = f"{what} a second, at most {RATE_MAX_PER_S}, or {UNPACED}: as many as it can"
    parser.add_argument("--rate", type=rate, required=True, help=said)
    parser.add_argument("--seconds", type=float, required=True, help=f"at most {SECONDS_MAX}")


def are_bounded(options: argparse.Namespace) -> bool:
    """Whether rate and seconds are in their ranges."""
    rate_per_s, seconds = int(options.rate), float(options.seconds)
    return (0 < rate_per_s <= RATE_MAX_PER_S or rate_per_s == UNPACED_PER_S) and 0 < seconds <= SECONDS_MAX


def report(flood: Callable[[], Flood]) -> int:
    """Flood, and print what was sent as JSON; returns the exit code."""
    if os.geteuid() != 0:
        print("it needs a raw socket, so it has to run as root", file=sys.stderr)
        return 1
    print(json.dumps(flood()._asdict()))
    return 0
