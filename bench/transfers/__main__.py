"""`python -m bench.transfers`: what SYNPROXY costs big transfers, for uploads and downloads. Root only; nothing is left behind.

One lab, two services. Each round makes one transfer through either, and they take turns in going first, so that whatever else the
machine does affects both in the same way. The ratio of a round is the proxied speed divided by the other; a window in the wrong
scale, for instance, would show as uploads at a fraction of it.

Exit codes: as `python -m bench` has them; 1 also when a transfer failed.
"""

import argparse
import sys
from collections.abc import Sequence

from bench.rig.program import run, run_in_lab, within
from bench.rig.topology import BenchError
from bench.transfers.comparison import compared
from bench.transfers.gateway import lab_configuration
from bench.transfers.transfer import download, upload

_SHARDS = 2


def main() -> int:
    """Entry point; returns the exit code."""
    return run("bench.transfers", sys.argv[1:], parse, _make_lab, _measure_inside)


def parse(arguments: Sequence[str]) -> argparse.Namespace:
    """The command line. SystemExit for a wrong one."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.transfers",
        description="Compare big transfers through a proxied service with those through a plain one.",
    )
    parser.add_argument("--rounds", type=within(1, 100), metavar="N", default=9, help="default 9")
    parser.add_argument("--mebibytes", type=within(1, 4096), metavar="N", default=128, help="of each transfer; default 128")
    parser.add_argument("--inside-lab", action="store_true", help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _make_lab(_: argparse.Namespace, given: Sequence[str]) -> int:
    """Put up a lab whose command is this program again, with the same command line."""
    return run_in_lab("bench.transfers", given, _SHARDS, lab=lab_configuration())


def _measure_inside(options: argparse.Namespace) -> int:
    try:
        for transfer in (upload, download):
            print(compared(transfer, options.rounds, options.mebibytes), flush=True)
    except OSError as error:
        raise BenchError(str(error)) from error
    return 0


if __name__ == "__main__":
    sys.exit(main())
