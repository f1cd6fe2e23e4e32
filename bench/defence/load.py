"""One measurement beside a flood of unsolicited packets: requests per second, what was sent, and what the gateway counted of
it."""

import json
import os
import re
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

from appliance.policy.defence import FRAGMENTS, RULES, TCP, UDP
from bench.modes.appliance import RUNNING_APPLIANCE
from bench.rig.counters import growth, queue_counts
from bench.rig.flooding import flooding
from bench.rig.reading import Reading
from bench.rig.topology import UNGUARDED, BenchError, Site, inside, output_of
from bench.rig.wrk import keep_alive_requests
from bench.senders.stray_flood import KINDS

CONTROL_TABLE, CONTROL_COUNTER = "bench_control", "control"

COUNTERS = {"udp": UDP.counter, "fragment": FRAGMENTS.counter, "tcp": TCP.counter}
"""The counter that counts each kind of flood."""

DEFENDED, UNDEFENDED, CONTROL = "defended", "undefended", "control"

_BEFORE_S, _AFTER_S = 0.5, 0.5
"""The flood begins before wrk and ends after it, by so much."""

_SETTLE_S = 0.5
"""A pause after each measurement: its last packets must not be counted for the next."""


class Case(NamedTuple):
    """One of the situations that are compared, in turns."""

    name: str
    title: str
    kind: str
    """One of stray_flood.KINDS; empty without a flood."""
    against: str
    """DEFENDED or UNDEFENDED for a flood of the VIP, CONTROL for one of UNGUARDED; empty without a flood."""


QUIET = Case("quiet", "no flood", "", "")

_TITLES = {
    DEFENDED: "defence on",
    UNDEFENDED: "defence off",
    CONTROL: "control: to an unguarded address",
}

CASES = (QUIET, *(Case(f"{kind} {against}", _TITLES[against], kind, against) for kind in KINDS for against in _TITLES))


class Counted(NamedTuple):
    """One measurement. `counted` is how much each counter of dropped packets grew, by name: the defence's and the control's."""

    requests: Reading
    sent: int
    sent_per_s: float
    counted: Mapping[str, int]

    def difference(self, case: Case) -> dict[str, int]:
        """How many packets more than were sent a counter counted, for each counter where the two differ. At most one is to
        count."""
        expected = {COUNTERS[case.kind]: self.sent} if case.against == DEFENDED else {}
        expected |= {CONTROL_COUNTER: self.sent} if case.against == CONTROL else {}
        moves = {name: count - expected.get(name, 0) for name, count in self.counted.items()}
        return {name: move for name, move in moves.items() if move}


def control_table() -> str:
    """The text of an nftables table that drops and counts what goes to UNGUARDED, before anything else in the gateway sees it."""
    return f"""\
table ip {CONTROL_TABLE} {{
	counter {CONTROL_COUNTER} {{ }}
	chain prerouting {{
		type filter hook prerouting priority -450; policy accept;
		ip daddr {UNGUARDED} counter name {CONTROL_COUNTER} drop
	}}
}}
"""


def measure(site: Site, case: Case, number: int, rate_per_s: int, seconds: int) -> Counted:
    """Requests on connections that stay, in the round `number` from 0, beside the flood of this case."""
    targets = RUNNING_APPLIANCE.pair_of_round(number)
    with _defence_switched(site, is_on=case.against != UNDEFENDED):
        before, queues = _counters(site), queue_counts(site)
        target = UNGUARDED if case.against == CONTROL else targets[0]
        rate, long_s = rate_per_s if case.kind else 0, seconds + _BEFORE_S + _AFTER_S
        with flooding("bench.senders.stray_flood", case.kind, target, rate_per_s=rate, seconds=long_s) as outcome:
            time.sleep(_BEFORE_S)
            requests = _requests(targets, seconds, site)
            flood = outcome()
        time.sleep(_SETTLE_S)
        counted = {name: count - before[name] for name, count in _counters(site).items()}
        full = sum(count.drops for count in growth(queues, queue_counts(site)).values())
    if full:
        requests = requests.with_trouble(f"{full} packets found their queue full")
    return Counted(requests, flood.sent, flood.per_s, counted)


def _requests(targets: tuple[str, ...], seconds: int, site: Site) -> Reading:
    try:
        return keep_alive_requests(targets, seconds, site.directory)
    except BenchError as error:
        return Reading(0.0, str(error))  # a gateway that no longer answers is a result


@contextmanager
def _defence_switched(site: Site, *, is_on: bool) -> Iterator[None]:
    if is_on:
        yield
        return
    try:
        _set_defence(site, 0)
        yield
    finally:
        _set_defence(site, 1)


def _set_defence(site: Site, value: int) -> None:
    for rule in RULES:
        if _api(site, f"/sysctl/{rule.tunable}", "-X", "PUT", "-d", str(value)).strip() != str(value):
            raise BenchError(f"{rule.tunable} cannot be set to {value}")


def _counters(site: Site) -> dict[str, int]:
    """The kernel's part of the defence's counters, and the control's, by name."""
    rows = json.loads(_api(site, "/stats/ext", "-H", "Accept: application/json"))
    text = output_of(inside(site.gateway, "nft", "list", "counter", "ip", CONTROL_TABLE, CONTROL_COUNTER))
    return {rule.counter: int(rows[rule.counter]["kernel"]) for rule in RULES} | {CONTROL_COUNTER: parse_counter(text)}


def parse_counter(text: str) -> int:
    """The number of packets in nft's listing of one counter. Raises BenchError when it has no such number."""
    found = re.search(r"packets (\d+) bytes", text)
    if not found:
        raise BenchError(f"nft lists no counter: {text.strip()[-200:]}")
    return int(found[1])


def _api(site: Site, path: str, *options: str) -> str:
    curl = ("curl", "--silent", "--show-error", "--fail", *options, os.environ["LAB_API"] + path)
    return output_of(inside(site.gateway, *curl))
