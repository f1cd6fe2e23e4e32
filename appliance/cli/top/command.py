"""The command line of `appliance top`. The screen is only loaded when it is shown: textual is an extra."""

import argparse
import importlib.util
import os
import sys
from typing import TYPE_CHECKING

from appliance.cli.credentials import credentials
from appliance.cli.operator import add_command
from appliance.cli.output import complain
from appliance.top.pace import INTERVALS_S

if TYPE_CHECKING:
    from appliance.cli.command_line import CommandParser

_MORE = """\
Show the gateway live: rates of services and shards, health, drops by reason, clients with most sessions, attacks. The key ? lists
the keys, and q quits. It only reads. It needs a terminal, and the Python package textual: install.sh --with-top installs that.
"""
EXTRA = "textual"

_FAILED, _USAGE_ERROR = 1, 2


def add_top(parser: "CommandParser") -> None:
    """Add the options of `appliance top`."""
    add_command(parser, _top, _MORE, "top --interval 2")
    parser.add_argument(
        "--interval",
        metavar="S",
        type=_interval,
        default=1.0,
        help=f"ask every S seconds, {INTERVALS_S[0]:g} to {INTERVALS_S[-1]:g} (default: 1); more seldom when answers are long",
    )
    parser.add_argument("--ascii", action="store_true", help="draw with ASCII characters only")


def _interval(text: str) -> float:
    try:
        interval_s = float(text)
    except ValueError:
        interval_s = -1
    if not INTERVALS_S[0] <= interval_s <= INTERVALS_S[-1]:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of seconds from {INTERVALS_S[0]:g} to {INTERVALS_S[-1]:g}")
    return interval_s


def _top(options: argparse.Namespace) -> int:
    if options.json:
        complain("top shows a screen, and no JSON; appliance metrics --json prints the numbers")
        return _USAGE_ERROR
    known = credentials(options)
    for trouble in (_missing_package(), _missing_terminal()):
        if trouble:
            complain(trouble)
            return _FAILED
    from appliance.cli.top.app import show

    show(options.api, known, options.interval, is_ascii=options.ascii)
    return 0


def _missing_package() -> str:
    """What to do when textual is not installed; empty when it is."""
    if importlib.util.find_spec(EXTRA):
        return ""
    return (
        f"top needs the Python package {EXTRA}, which is not installed: run deploy/install.sh --with-top, or install it "
        f"beside the appliance with {sys.executable} -m pip install {EXTRA}"
    )


def _missing_terminal() -> str:
    """Why nothing can be shown here; empty when it can."""
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        return "top needs a terminal for input and output; appliance metrics prints the numbers"
    if os.environ.get("TERM", "dumb") == "dumb":
        return "top needs a terminal that can move its cursor, and TERM says dumb; appliance metrics prints the numbers"
    return ""
