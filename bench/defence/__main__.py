"""`python -m bench.defence`: requests while a VIP is flooded with unsolicited packets. Root only; nothing is left behind.

There are three floods. Each goes, in turns, to a VIP with the defence, to a VIP without it, and to an address that no rule of the
appliance knows. The last is the control: it shows what sending alone costs this machine.

Exit codes: as `python -m bench` has them; 1 also when the gateway counted more or fewer packets than were sent.
"""

import argparse
import sys
from collections.abc import Sequence

from bench.defence.load import CASES, Case, control_table, measure
from bench.defence.report import DefenceResults, as_text
from bench.modes.appliance import RUNNING_APPLIANCE, WITH_LANE
from bench.rig.checks import check_mode
from bench.rig.gateway import configuration
from bench.rig.machine import this_machine
from bench.rig.program import check_host, run, run_in_lab, unwind_on_signals
from bench.rig.results import rotated
from bench.rig.servers import prepare_network, servers_running
from bench.rig.topology import CLIENT, BenchError, Site, inside, output_of
from bench.senders.flood import SPOOFED_NETWORK

RATE_PER_S = 20_000

_QUICK, _THOROUGH = (2, 2), (5, 4)
_TOOLS = ("wrk", "iperf3", "nft", "ip", "ss", "nsenter", "curl")


def main() -> int:
    """Entry point; returns the exit code."""
    return run("bench.defence", sys.argv[1:], parse, _make_lab, _measure_inside)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line. SystemExit for a wrong one."""
    parser = argparse.ArgumentParser(prog="python -m bench.defence", description="Requests while a VIP is flooded.")
    parser.add_argument("--quick", action="store_true", help="two rounds of 2 s: the figures are rough")
    parser.add_argument("--shards", type=int, choices=range(1, 65), metavar="N", default=2, help="1..64, default 2")
    parser.add_argument("--inside-lab", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.rounds, options.seconds = _QUICK if options.quick else _THOROUGH
    return options


def _make_lab(options: argparse.Namespace, given: Sequence[str]) -> int:
    """Put up a lab whose command is this program again, with the same command line."""
    check_host(_TOOLS, "bench-defence")
    return run_in_lab("bench.defence", given, options.shards, appliance=configuration(WITH_LANE))


def _measure_inside(options: argparse.Namespace) -> int:
    unwind_on_signals()
    machine, site = this_machine(), Site.of_environment()
    prepare_network(site)
    # Without the defence the host answers the flood. The answers need a next hop, and the client's host drops them.
    output_of(inside(site.gateway, "ip", "route", "add", str(SPOOFED_NETWORK), "via", CLIENT))
    output_of(inside(site.gateway, "nft", "-f", "-"), control_table())
    results = DefenceResults()
    with servers_running(site):
        check_mode(site, RUNNING_APPLIANCE, options.shards)
        for number in range(options.rounds):
            for case in rotated(CASES, number):
                _measure(site, case, number, options, results)
    print(as_text(machine, options.rounds, options.seconds, options.shards, results), end="")
    if differences := results.differences():
        raise BenchError(f"the gateway did not count what was sent: {'; '.join(differences)}")
    return 0


def _measure(site: Site, case: Case, number: int, options: argparse.Namespace, results: DefenceResults) -> None:
    one = measure(site, case, number, RATE_PER_S, options.seconds)
    results.add(case, one)
    difference = "".join(f"  {name} {move:+}" for name, move in one.difference(case).items())
    line = f"round {number + 1}/{options.rounds}  {case.kind or '-':8}  {case.title:32}  {one.requests.value:>8,.0f} requests/s"
    print(f"{line}  {one.sent:>8,} sent{difference}  {one.requests.trouble}".rstrip(), file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
