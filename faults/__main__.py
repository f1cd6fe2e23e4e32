"""`python -m faults`: try every fault under load, and say what clients saw. The exit code is 1 when a promise was not kept.

The table goes to standard output, progress to standard error. `--json FILE` has everything as data; `--manual` writes the table
into the manual.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from bench.rig import program
from bench.rig.machine import this_machine
from bench.rig.topology import BenchError
from faults import manual, report
from faults.lab import gateway_of, run_in_lab
from faults.matrix import Outcome, try_all
from faults.rows import ROWS, Row, named
from faults.site import configuration, has_lane, servers_running

_NAME = "faults"
_SHARDS_DEFAULT, _SHARDS_MAX = 2, 8


def parse(given: Sequence[str]) -> argparse.Namespace:
    """The command line. Raises SystemExit."""
    parser = argparse.ArgumentParser(prog="python -m faults", description=__doc__)
    lane = "on" if has_lane() else "off"
    parser.add_argument("--rows", type=_rows, default=ROWS, metavar="NAME,…", help="only these faults")
    parser.add_argument(
        "--lane", choices=["on", "off"], default=lane, help=f"whether the kernel carries sessions (default {lane})"
    )
    parser.add_argument("--shards", type=program.within(2, _SHARDS_MAX), default=_SHARDS_DEFAULT, help="workers, at least 2")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything there as well")
    parser.add_argument("--manual", action="store_true", help="write the table into the manual")
    parser.add_argument("--list", action="store_true", help="print the names of the faults and what is promised, and end")
    parser.add_argument("--inside-lab", nargs=2, type=Path, metavar=("CONFIG", "CONTROL"), help=argparse.SUPPRESS)
    return parser.parse_args(given)


def _rows(names: str) -> tuple[Row, ...]:
    try:
        return named(names)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def main(given: Sequence[str] | None = None) -> int:
    """Either half of the program: the one that makes the lab, or in that lab the one that breaks things."""
    arguments = sys.argv[1:] if given is None else given
    options = parse(arguments)
    if options.list:
        for row in ROWS:
            print(f"{row.name:20} {row.promise(lane=options.lane == 'on').in_words()}")
        return 0
    text = configuration(lane=options.lane == "on")
    return program.exit_code(
        _NAME, lambda: _inside(options) if options.inside_lab else run_in_lab(_NAME, arguments, options, text)
    )


def _inside(options: argparse.Namespace) -> int:
    program.unwind_on_signals()
    machine, gateway, lane = this_machine(), gateway_of(options), options.lane == "on"
    outcomes: list[Outcome] = []
    cut_short = ""
    with servers_running(gateway.site):
        try:
            for outcome in try_all(options.rows, gateway, lane=lane):
                outcomes.append(outcome)
                _say(outcome, f"{len(outcomes):>3} of {len(options.rows)}")
        except BenchError as error:  # what was tried before is worth reading all the same
            cut_short = f"the rest was not tried: {error}"
    print(report.as_text(outcomes, machine, lane=lane), end="")
    if options.json:
        options.json.write_text(json.dumps(report.as_data(outcomes, machine, lane=lane), indent=1) + "\n")
    if cut_short:
        raise BenchError(cut_short)
    if options.manual:
        table = report.as_markdown(outcomes, machine, lane=lane)
        manual.PAGE.write_text(manual.with_table(manual.PAGE.read_text(), table, lane=lane))
    return 0 if report.is_kept(outcomes) else program.FAILED


def _say(outcome: Outcome, place: str) -> None:
    said = "; ".join(report.not_kept(outcome)) or " | ".join(report.row_of(outcome)[1:])
    print(f"{place}  {outcome.took_s:>5.1f} s  {outcome.row.name:20} {said}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
