"""`python -m bench`: the modes of the gateway compared, in a lab of its own. Root only; nothing is left behind.

Exit codes: 0 measured, whatever the figures; 1 it could not be measured, or one of the measurements gave nothing, for the reason
printed; 2 wrong command line; others as `appliance lab` has them (130 for Ctrl-C).
"""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.compare.as_json import as_json
from bench.compare.chart import as_svg
from bench.compare.page import as_page
from bench.compare.report import as_text
from bench.compare.run import measure_all
from bench.compare.setup import Setup
from bench.measures import registry as measures
from bench.modes import registry as modes
from bench.rig.cpu import ENVIRONMENT, CpuMeter, enter_ends, groups
from bench.rig.machine import this_machine
from bench.rig.program import FAILED, check_host, listed, run, run_in_lab, unless, unwind_on_signals, within
from bench.rig.topology import BenchError, Site, module

_QUICK = {"rounds": 2, "seconds": 1}
_THOROUGH = {"rounds": 5, "seconds": 3}
_SECONDS_MAX = 10  # a fast machine would run out of new connections in a longer time (see topology)
_TOOLS = ("nft", "iptables-nft", "ip", "ss", "nsenter", "unshare", "sysctl")


def main() -> int:
    """Entry point; returns the exit code."""
    return run("bench", sys.argv[1:], parse, _make_lab, _measure_inside)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line. SystemExit for a wrong one."""
    parser = argparse.ArgumentParser(prog="python -m bench", description="Compare the appliance with other modes of a gateway.")
    parser.add_argument("--quick", action="store_true", help="2 rounds of 1 s: shows that it works, its figures are rough")
    parser.add_argument(
        "--modes",
        type=listed(unless(modes.refusal)),
        metavar="M,…",
        default=modes.DEFAULTS,
        help=f"default {','.join(modes.DEFAULTS)}",
    )
    parser.add_argument(
        "--measures",
        type=listed(unless(measures.refusal)),
        metavar="M,…",
        default=tuple(measures.BY_NAME),
        help=f"default {','.join(measures.BY_NAME)}",
    )
    parser.add_argument("--rounds", type=within(1, 100), metavar="N", help="default 5")
    parser.add_argument("--seconds", type=within(1, _SECONDS_MAX), metavar="S", help="of each measurement; default 3")
    parser.add_argument("--shards", type=within(1, 64), metavar="N", default=2, help="also threads of HAProxy; default 2")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything measured there, too")
    parser.add_argument("--svg", type=Path, metavar="FILE", help="write a chart of the medians there, too")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write the medians there, too, as a page of the manual")
    parser.add_argument("--inside-lab", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    for name, value in (_QUICK if options.quick else _THOROUGH).items():
        if getattr(options, name) is None:
            setattr(options, name, value)
    return options


def _make_lab(options: argparse.Namespace, given: Sequence[str]) -> int:
    """Put up a lab whose command is this program again, with the same command line. Its gateway runs nothing by itself."""
    programs = {program for name in options.measures for program in measures.BY_NAME[name].programs}
    check_host((*_TOOLS, *sorted(programs)), "bench")
    for option, file in (("--json", options.json), ("--svg", options.svg), ("--page", options.page)):
        if file and not file.parent.is_dir():
            raise BenchError(f"{option}: there is no directory {file.parent}")
    with groups():
        return run_in_lab("bench", given, options.shards, gateway=module("bench.rig.stand_in"))


def _measure_inside(options: argparse.Namespace) -> int:
    unwind_on_signals()
    meter = None
    if directory := os.environ.get(ENVIRONMENT):
        enter_ends(Path(directory))
        meter = CpuMeter(Path(directory))
    setup = _setup(options)
    for said in setup.left_out:
        print(said, file=sys.stderr)
    results = measure_all(Site.of_environment(), setup, meter)
    print(as_text(setup, results), end="")
    data = as_json(setup, results)
    if options.json:
        options.json.write_text(json.dumps(data, indent=2) + "\n")
    if options.svg:
        options.svg.write_text(as_svg(data))
    if options.page:
        options.page.write_text(as_page(data))
    return FAILED if results.has_empty() else 0


def _setup(options: argparse.Namespace) -> Setup:
    here, left_out = modes.installed([modes.BY_NAME[name] for name in options.modes])
    if not here:
        raise BenchError("; ".join(left_out))
    chosen = tuple(measures.BY_NAME[name] for name in options.measures)
    return Setup(this_machine(), tuple(here), chosen, options.shards, options.rounds, options.seconds, tuple(left_out))


if __name__ == "__main__":
    sys.exit(main())
