"""`python -m bench.latency`: how long small requests wait beside a bulk stream. Root only; nothing is left behind.

One client asks a question of 100 bytes over and over, on one connection; beside it another connection carries as much as it can.
Both go through the same shard. The ways are measured in turns, in rounds, as `python -m bench` does. Exit codes are the same as
there.
"""

import argparse
import sys
from collections.abc import Sequence

from bench.latency.report import as_text
from bench.latency.run import SHARDS, measure_all
from bench.rig.gateway import configuration
from bench.rig.machine import this_machine
from bench.rig.program import check_host, run, run_in_lab, unwind_on_signals, within
from bench.rig.topology import Site

_TOOLS = ("iperf3", "nft", "iptables-nft", "ip", "ss", "nsenter")


def main() -> int:
    """Entry point; returns the exit code."""
    return run("bench.latency", sys.argv[1:], parse, _make_lab, _measure_inside)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line. SystemExit for a wrong one."""
    parser = argparse.ArgumentParser(prog="python -m bench.latency", description="Small requests beside a bulk stream.")
    parser.add_argument("--rounds", type=within(1, 100), metavar="N", default=5, help="default 5")
    parser.add_argument(
        "--seconds", type=within(1, 60), metavar="S", default=3, help="of each measurement, 12 a round; default 3"
    )
    parser.add_argument("--inside-lab", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _make_lab(_: argparse.Namespace, given: Sequence[str]) -> int:
    """Put up a lab whose command is this program again, with the same command line."""
    check_host(_TOOLS, "bench")
    return run_in_lab("bench.latency", given, SHARDS, appliance=configuration())


def _measure_inside(options: argparse.Namespace) -> int:
    unwind_on_signals()
    machine = this_machine()
    results = measure_all(Site.of_environment(), options.rounds, options.seconds)
    print(as_text(machine, options.rounds, options.seconds, results), end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
