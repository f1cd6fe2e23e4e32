"""`python -m bench.throughput`: the cost of one packet, then the suite in a lab of its own. Root only; nothing is left behind.

Exit codes: 0 measured, whatever the figures; 1 it could not be measured, for the reason printed; 2 wrong command line; others
as `appliance lab` has them (130 for Ctrl-C).
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.rig.gateway import configuration
from bench.rig.machine import this_machine
from bench.rig.program import check_host, run, run_in_lab, unwind_on_signals, within
from bench.rig.topology import BenchError, Site, module, output_of
from bench.throughput.report import Setup, as_json, as_text
from bench.throughput.run import measure_all

_QUICK = {"rounds": 2, "seconds": 2}
_THOROUGH = {"rounds": 5, "seconds": 5}
_SECONDS_MAX = 10  # a fast machine would run out of new connections in a longer time (see topology)
_MICROBENCHMARK_TIMEOUT_S = 300.0
_TOOLS = ("wrk", "iperf3", "nft", "iptables-nft", "ip", "ss", "nsenter")


def main() -> int:
    """Entry point; returns the exit code."""
    return run("bench", sys.argv[1:], parse, _make_lab, _measure_inside)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line. SystemExit for a wrong one."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Compare the appliance with three other ways.")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 2 s: shows that it works, its figures are rough")
    parser.add_argument("--rounds", type=within(1, 100), metavar="N", help="default 5")
    parser.add_argument("--seconds", type=within(1, _SECONDS_MAX), metavar="S", help="of each measurement, 16 a round; default 5")
    parser.add_argument("--shards", type=within(1, 64), metavar="N", default=2, help="also of the bare loop; default 2")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured there, too")
    parser.add_argument("--inside-lab", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    for name, value in (_QUICK if options.quick else _THOROUGH).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    return options


def _make_lab(options: argparse.Namespace, given: Sequence[str]) -> int:
    """Put up a lab whose command is this program again, with the same command line."""
    _check_host(options)
    print("the Python code for one packet of an established session, without a kernel", flush=True)
    print(output_of(module("bench.throughput.packet_cost"), timeout_s=_MICROBENCHMARK_TIMEOUT_S), flush=True)
    return run_in_lab("bench.throughput", given, options.shards, appliance=configuration())


def _check_host(options: argparse.Namespace) -> None:
    check_host(_TOOLS, "bench")
    if options.json and not options.json.parent.is_dir():
        raise BenchError(f"--json: there is no directory {options.json.parent}")


def _measure_inside(options: argparse.Namespace) -> int:
    unwind_on_signals()
    setup = Setup(this_machine(), options.shards, options.rounds, options.seconds)
    results = measure_all(Site.of_environment(), options.shards, options.rounds, options.seconds)
    print(as_text(setup, results), end="")
    if options.json:
        options.json.write_text(json.dumps(as_json(setup, results), indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
