"""The commands about sessions: list them, count them, end them."""

import argparse
import sys
from functools import partial

from appliance.cli.operator import add_command, ask, print_answer
from appliance.cli.output import clean, show_lines, write
from appliance.ipc.queries import SessionFilter
from appliance.views import narrow

_TOP_LINES = 10
"""What the API answers without `n`."""

_ENDPOINT = "ADDRESS, ADDRESS:PORT or NETWORK/BITS"
_FILTER_HELP = {
    "client": f"only sessions of these clients: {_ENDPOINT}",
    "service": "only sessions of the service with this name",
    "real_server": f"only sessions with these real servers: {_ENDPOINT}",
    "state": "only sessions in this TCP state, for instance ESTABLISHED; or UDP",
}
_FILTER_VALUES = {"client": "CLIENT", "service": "SERVICE", "real_server": "SERVER", "state": "STATE"}

_CONNS = """\
List sessions: all of them, or those that match the filter. With --limit or --after, list one page; the last line on
standard error then says how to get the next one. --wide shows also protocol, expiry, local address, and how the real server was
chosen.
"""
_CUT = """\
End the sessions that match the filter, and print their number. Both ends of a TCP session get a RST. Without a filter,
--all is needed.
"""


def add_conns(parser: argparse.ArgumentParser) -> None:
    """Add the options of `conns`."""
    add_command(parser, _sessions, _CONNS, "conns --service web --state ESTABLISHED")
    parser.add_argument("--limit", metavar="N", help="list one page of at most N sessions")
    parser.add_argument("--after", metavar="PLACE", help="list the page behind this place, which the page before named")
    _add_filter(parser)


def add_top_clients(parser: argparse.ArgumentParser) -> None:
    """Add the options of `top-clients`."""
    _add_top(parser, "client")


def add_top_services(parser: argparse.ArgumentParser) -> None:
    """Add the options of `top-services`."""
    _add_top(parser, "service")


def add_top_real_servers(parser: argparse.ArgumentParser) -> None:
    """Add the options of `top-real-servers`."""
    _add_top(parser, "real_server")


def add_cut(parser: argparse.ArgumentParser) -> None:
    """Add the options of `cut`."""
    add_command(parser, _cut, _CUT, "cut --client 198.51.100.0/24")
    parser.add_argument("--all", action="store_const", const="1", help="end all sessions; needed when there is no filter")
    _add_filter(parser)


def _add_top(parser: argparse.ArgumentParser, by: str) -> None:
    names = f"{by.replace('_', ' ')}s"
    more = f"Show the {names} with most sessions, and how many each has. A filter limits which sessions are counted."
    add_command(parser, partial(_top, by), more, f"top-{names.replace(' ', '-')} -n 5 --state ESTABLISHED")
    parser.add_argument("-n", metavar="N", help=f"show N {names} (default: {_TOP_LINES})")
    _add_filter(parser)


def _add_filter(parser: argparse.ArgumentParser) -> None:
    for field in SessionFilter._fields:
        parser.add_argument(f"--{field.replace('_', '-')}", metavar=_FILTER_VALUES[field], help=_FILTER_HELP[field])


def _sessions(options: argparse.Namespace) -> None:
    with ask(options, "GET", "/conns", *SessionFilter._fields, "limit", "after") as answer:
        if options.json or options.wide:
            print_answer(answer, options)
        else:
            show_lines(answer, narrow.session)
        if answer.next_place:
            print(clean(f"more: --after {answer.next_place}"), file=sys.stderr)


def _top(by: str, options: argparse.Namespace) -> None:
    with ask(options, "GET", "/conns/top", *SessionFilter._fields, "n", by=by) as answer:
        print_answer(answer, options)


def _cut(options: argparse.Namespace) -> None:
    with ask(options, "DELETE", "/conns", *SessionFilter._fields, "all") as answer:
        if options.json:
            print_answer(answer, options)
        else:
            ended = answer.text().strip()
            write(f"{ended} session{'' if ended == '1' else 's'} cut\n".encode())
