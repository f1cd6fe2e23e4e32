"""`python -m bench.flood`: fresh connections and answers under a SYN flood, beside the kernel's own SYNPROXY. Root only; nothing
is left.

Exit codes: as `python -m bench` has them.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from itertools import count

from bench.flood.load import measure
from bench.flood.modes import ALONE, BY_NAME, COMPARED, DEFAULTS, refusal
from bench.flood.report import as_text
from bench.flood.results import FloodResults, Round
from bench.modes.mode import Mode
from bench.rig.checks import check_mode
from bench.rig.counters import growth, queue_counts, syns_sent_again
from bench.rig.machine import this_machine
from bench.rig.program import check_host, listed, run, run_in_lab, unless, unwind_on_signals, within
from bench.rig.results import rotated
from bench.rig.servers import prepare_network, servers_running
from bench.rig.topology import CLIENT, UNGUARDED, Site, inside, module, output_of
from bench.senders.flood import RATE_MAX_PER_S, SPOOFED_NETWORK, UNPACED, UNPACED_PER_S, rate_in_words

RATES_PER_S = (0, 20_000, 50_000, 100_000, 200_000, UNPACED_PER_S)
"""Up to more than a sender can send on a small machine that runs everything else as well."""

_QUICK_RATES_PER_S = (0, 20_000, 100_000, UNPACED_PER_S)
_QUICK, _THOROUGH = (1, 2), (5, 2)
_SETTLE_S = 1.0
_TOOLS = ("wrk", "iperf3", "nft", "ip", "ss", "nsenter", "sysctl", "unshare")


def main() -> int:
    """Entry point; returns the exit code."""
    return run("bench.flood", sys.argv[1:], parse, _make_lab, _measure_inside)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line. SystemExit for a wrong one."""
    parser = argparse.ArgumentParser(prog="python -m bench.flood", description="Fresh connections while a VIP is flooded.")
    parser.add_argument("--quick", action="store_true", help="one round of 2 s at four rates: the figures are rough")
    parser.add_argument("--shards", type=int, choices=range(1, 65), metavar="N", default=2, help="1..64, default 2")
    parser.add_argument(
        "--rates", type=listed(rate_per_s), metavar="N,…", help=f"SYNs a second, or {UNPACED}; 0 is measured in any case"
    )
    parser.add_argument("--rounds", type=within(1, 100), metavar="N", help="default 5")
    parser.add_argument("--seconds", type=within(1, 30), metavar="S", help="of each measurement, default 2")
    said = f"of {','.join(BY_NAME)}; default {','.join(DEFAULTS)}"
    parser.add_argument("--modes", type=listed(unless(refusal)), metavar="M,…", default=DEFAULTS, help=said)
    parser.add_argument("--inside-lab", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    rates = options.rates or (_QUICK_RATES_PER_S if options.quick else RATES_PER_S)
    options.stops = options.rates is None
    options.rates = tuple(sorted({0, *rates}))
    rounds, seconds = _QUICK if options.quick else _THOROUGH
    options.rounds, options.seconds = options.rounds or rounds, options.seconds or seconds
    options.modes = tuple(mode for name, mode in BY_NAME.items() if name in options.modes)
    return options


def rate_per_s(text: str) -> int:
    """A rate on the command line, or UNPACED. Raises ArgumentTypeError."""
    return UNPACED_PER_S if text == UNPACED else within(0, RATE_MAX_PER_S)(text)


def _make_lab(options: argparse.Namespace, given: Sequence[str]) -> int:
    """Put up a lab whose command is this program again, with the same command line. Its gateway runs nothing by itself."""
    check_host(_TOOLS, "bench-flood")
    return run_in_lab("bench.flood", given, options.shards, gateway=module("bench.rig.stand_in"))


def _measure_inside(options: argparse.Namespace) -> int:
    unwind_on_signals()
    machine, site = this_machine(), Site.of_environment()
    prepare_network(site)
    # Answers to the flood need a next hop, or the gateway would look for neighbours that do not exist. The client's host drops
    # them.
    output_of(inside(site.gateway, "ip", "route", "add", str(SPOOFED_NETWORK), "via", CLIENT))
    # A rule in front of the appliance would have its workers answer SYNs, so it is a route that drops the control's flood.
    output_of(inside(site.gateway, "ip", "route", "add", "blackhole", UNGUARDED))
    results = FloodResults()
    with servers_running(site):
        for mode in options.modes:
            with mode.opened(site, options.shards):
                check_mode(site, mode, options.shards)
        _measure_compared(site, options, results)
        for mode in (mode for mode in ALONE if mode in options.modes):
            _measure_alone(site, options, mode, results)
    print(as_text(machine, options.rounds, options.seconds, options.shards, results), end="")
    return 0


def _measure_compared(site: Site, options: argparse.Namespace, results: FloodResults) -> None:
    modes = [mode for mode in COMPARED if mode in options.modes]
    for mode, rate, vip in schedule(options.rounds, options.rates, modes) if modes else ():
        results.add(mode, rate, _measure(site, options, mode, rate, vip))


def schedule(rounds: int, rates: Sequence[int], modes: Sequence[Mode]) -> Iterator[tuple[Mode, int, int]]:
    """Every measurement of modes that are compared, in order: mode, rate, and the number of its VIP, from 0.

    A round has all rates, and a rate all modes one right after the other, because a machine drifts. Each round starts with the
    next mode. All modes of a rate flood their VIP of the same number, which is another one than before.
    """
    vips = count()
    for number in range(rounds):
        for rate in rates:
            vip = next(vips)
            for mode in rotated(modes, number):
                yield mode, rate, vip


def _measure_alone(site: Site, options: argparse.Namespace, mode: Mode, results: FloodResults) -> None:
    """At higher and higher rates: at all that were named on the command line, else until it breaks.

    Each measurement floods the next VIP, so that none begins with the half-open sessions of the one before.
    """
    vips = count()
    for rate in options.rates:
        for _ in range(options.rounds):
            results.add(mode, rate, _measure(site, options, mode, rate, next(vips)))
        if options.stops and results.is_broken(mode, rate):
            return


def _measure(site: Site, options: argparse.Namespace, mode: Mode, rate: int, vip: int) -> Round:
    target = mode.targets[vip % len(mode.targets)]
    with mode.opened(site, options.shards):
        queues, syns = queue_counts(site), syns_sent_again()
        load = measure(site, target, mode.flooded or target, rate, options.seconds)
        drops = sum(count.drops for count in growth(queues, queue_counts(site)).values())
        again = syns_sent_again() - syns
        time.sleep(_SETTLE_S)  # the last segments of one measurement must not be judged by the rules of the next
    flood = f"{rate_in_words(rate):>8} SYN/s: {load.flood.sent:>8,.0f} sent {load.flood.answered:>8,.0f} answered"
    line = f"{flood}  {mode.title:24} {load.fresh.value:>8,.0f} fresh conn/s  {load.fresh.trouble}"
    print(line.rstrip(), file=sys.stderr, flush=True)
    return Round(load, drops, again)


if __name__ == "__main__":
    sys.exit(main())
