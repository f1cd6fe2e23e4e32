"""Floods from the client's namespace, for the tests that serve honest clients meanwhile."""

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any, Self

from bench.senders.flood import BEGUN, SPOOFED_NETWORK
from tests.lab.conftest import RunningLab

SEGMENTS = 40_000
"""Of a flood of segments that belong to no session."""

CLIENT = "198.51.100.2"
"""The address of the client's host."""


class Flood:
    """A program of `bench.senders` in the client's namespace. It ends by itself, or with its block."""

    def __init__(self, lab: RunningLab, sender: str, *arguments: str) -> None:
        command = lab.enter("client", sys.executable, "-m", f"bench.senders.{sender}", *arguments)
        self._process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)

    def __enter__(self) -> Self:
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == f"{BEGUN}\n"
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    @property
    def is_on(self) -> bool:
        return self._process.poll() is None

    def sent(self) -> int:
        """Wait for the end; returns how many packets were sent. All that were to be sent were."""
        assert self._process.stdout is not None
        result: dict[str, Any] = json.loads(self._process.stdout.read())
        print(f"flood: {result['sent'] / result['seconds']:,.0f} packets/s for {result['seconds']:.1f} s")
        assert result["failed"] == 0
        return int(result["sent"])


def syn_flood(lab: RunningLab, rate_per_s: int, seconds: int) -> Flood:
    """SYNs from spoofed addresses to the service of the lab."""
    return Flood(lab, "syn_flood", lab.vip, str(lab.port), "--rate", str(rate_per_s), "--seconds", str(seconds))


def give_spoofed_answers_a_next_hop(lab: RunningLab) -> None:
    """Answers to the spoofed addresses go to the client's host, which is no router and drops them.

    Without that the gateway would wait for addresses that nobody has.
    """
    lab.run("gateway", "ip", "route", "add", str(SPOOFED_NETWORK), "via", CLIENT)


def lost_on_arrival(lab: RunningLab) -> int:
    """Packets of the client's that a busy machine has lost before anybody at the gateway saw them: its backlog was full."""
    (interface,) = json.loads(lab.run("gateway", "ip", "-json", "-stats", "link", "show", "client0"))
    lost: int = interface["stats64"]["rx"]["dropped"]
    return lost


def ended_of_a_flood(
    lab: RunningLab, arguments: tuple[str, ...], counter: tuple[str, str], in_kernel: str, serve: Callable[[RunningLab], None]
) -> tuple[int, int]:
    """How many packets of a flood of segments that belong to no session were counted by a counter (a table and a name there), and
    how many of them by the kernel. `serve` has clients served meanwhile, again and again. `arguments` are those of the program
    behind the number of segments."""

    def counted() -> tuple[int, int]:
        return lab.counter(*counter), lab.api_json("/stats/lane")["counters"][in_kernel]

    before, lost_before, turns = counted(), lost_on_arrival(lab), 0
    with lab.start("client", "segment_flood.py", str(SEGMENTS), *arguments) as flood:
        while flood.poll() is None:
            serve(lab)
            turns += 1
        assert flood.returncode == 0
    arrived = SEGMENTS - (lost_on_arrival(lab) - lost_before)
    lab.wait_until("most are counted", lambda: counted()[0] - before[0] >= arrived * 3 // 4)
    assert turns
    in_all, of_kernel = (now - then for now, then in zip(counted(), before, strict=True))
    return in_all, of_kernel


def waiting(lab: RunningLab) -> int:
    """Packets in all queues of the gateway."""
    return sum(int(line.split()[2]) for line in lab.run("gateway", "cat", "/proc/net/netfilter/nfnetlink_queue").splitlines())
