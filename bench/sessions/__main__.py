"""`python -m bench.sessions`: what many sessions cost in one shard, in memory, time and pauses. Needs neither root nor a kernel.

Each count is measured in a process of its own, because an interpreter keeps the memory that it once took.

Exit codes: as `python -m bench` has them.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence

from bench.rig.machine import this_machine
from bench.rig.program import exit_code
from bench.rig.topology import BenchError, module
from bench.sessions.crowd import SESSIONS_MAX
from bench.sessions.figures import QUICK, THOROUGH, Figures, measure
from bench.sessions.report import as_text

_COUNTS, _QUICK_COUNTS = (100_000, 1_000_000), (20_000, 100_000)
COUNT_MIN = 100


def main(arguments: Sequence[str] | None = None) -> int:
    """Entry point; returns the exit code."""
    options = parse(arguments)
    return exit_code("bench.sessions", lambda: _measure_one(options) if options.one else _measure_all(options))


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The command line. SystemExit for a wrong one."""
    parser = argparse.ArgumentParser(prog="python -m bench.sessions", description="Many sessions in one shard.")
    parser.add_argument(
        "--counts", type=_counts, metavar="N,N,...", help=f"{COUNT_MIN}..{SESSIONS_MAX} each, default {_listed(_COUNTS)}"
    )
    parser.add_argument("--quick", action="store_true", help=f"fewer rounds, and {_listed(_QUICK_COUNTS)}: the figures are rough")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    options.counts = options.counts or (_QUICK_COUNTS if options.quick else _COUNTS)
    return options


def _listed(counts: Sequence[int]) -> str:
    return ",".join(map(str, counts))


def _counts(text: str) -> tuple[int, ...]:
    parts = text.split(",")
    if not all(part.isascii() and part.isdigit() and COUNT_MIN <= int(part) <= SESSIONS_MAX for part in parts):
        raise argparse.ArgumentTypeError(f"{text!r} is no list of numbers from {COUNT_MIN} to {SESSIONS_MAX}")
    return tuple(dict.fromkeys(map(int, parts)))


def _measure_all(options: argparse.Namespace) -> int:
    machine = this_machine()
    results = {count: _in_a_process_of_its_own(count, options.quick) for count in options.counts}
    print(as_text(machine, results), end="")
    return 0


def _in_a_process_of_its_own(count: int, is_quick: bool) -> Figures:
    command = module("bench.sessions", "--one", "--counts", str(count), *(["--quick"] if is_quick else []))
    done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        raise BenchError(f"the process with {count:,} sessions ended with {done.returncode}")
    figures: Figures = json.loads(done.stdout)
    return figures


def _measure_one(options: argparse.Namespace) -> int:
    (count,) = options.counts

    def say(what: str) -> None:
        print(f"{count:>10,} sessions: {what}", file=sys.stderr, flush=True)

    print(json.dumps(measure(count, QUICK if options.quick else THOROUGH, say)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
