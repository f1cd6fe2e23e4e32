"""The commands for operators: the request that each command sends to a running appliance, and how the answer is printed.

The API alone decides which filters, page lengths and values are allowed: a command passes on the words that were typed, and
prints the refusal of the API.

Exit codes: 0 when the answer is complete; 1 when the appliance refuses or cannot be reached, or when an answer breaks off;
2 for a wrong command line; 130 after Ctrl-C; 141, as for every program that SIGPIPE ends, when the reader of the output
closes it, as in ``appliance conns | head``.
"""

import argparse
import json
import os
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlsplit

from appliance.cli.credentials import CredentialError, add_options, credentials
from appliance.ipc.queries import GROUPS, SessionFilter

if TYPE_CHECKING:
    from appliance.cli.api_client import Answer

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

DEFAULT_API = "unix:/run/appliance/api.sock"
API_VARIABLE = "APPLIANCE_API"

_REFUSED = 1
_ENDED_BY_CTRL_C = 128 + signal.SIGINT
READER_CLOSED = 128 + signal.SIGPIPE
"""As for every program that SIGPIPE ends."""

_TOP_LINES = 10
"""What the API answers without `n`."""

_ENDPOINT = "ADDRESS, ADDRESS:PORT or NETWORK/BITS"
_FILTER_HELP = {
    "client": f"only sessions of these clients: {_ENDPOINT}",
    "service": "only sessions of the service with this name",
    "real_server": f"only sessions with these real servers: {_ENDPOINT}",
    "state": "only sessions in this TCP state, for instance ESTABLISHED; or UDP",
}
_FILTER_VALUES = {"client": "CLIENT", "service": "NAME", "real_server": "SERVER", "state": "STATE"}

_TABLES = {
    "health": (
        "show which real servers are up",
        "Show the state of each real server, what its health check answered last, and which services are down.",
    ),
    "lane": (
        "show what the kernel carries by itself",
        "Show which share of the packets of sessions the kernel carries, and why others went up to a worker.",
    ),
    "slabinfo": ("show the size of tables and pools", "Show the objects, their size and the pages of each table and pool."),
    "sockstat": (
        "count sessions as sockets",
        "Count the sessions as /proc/net/sockstat counts sockets, and show the sockets of the host beside them.",
    ),
    "conntrack": (
        "show the fill of the session table",
        "Show how full the table of sessions is and what it dropped, beside the connection tracking of the host.",
    ),
}

_PATHS = {"health": "/health"}
"""Of those that are not below ``/stats``."""

_CONNS = """\
List sessions: all of them, or those that match the filter. With --limit or --after, list one page; the last line on
standard error then says how to get the next one.
"""
_CUT = """\
End the sessions that match the filter, and print their number. Both ends of a TCP session get a RST. Without a filter,
--all is needed.
"""
_SYSCTL = "List all tunables, or read one, or write one and print the value that is then in force."


def add_parsers(subparsers: "Subparsers") -> None:
    """Add the commands for operators to the `appliance` command, in the order in which its help lists them."""
    command = partial(add_command, subparsers)
    _add_session_parsers(command)
    sysctl = command("sysctl", _sysctl, "list the tunables, read one, or write one", _SYSCTL)
    sysctl.add_argument(
        "assignment",
        nargs="?",
        metavar="NAME[=VALUE]",
        help="the tunable to read, or to write with =VALUE; without it, all tunables are listed. "
        "/proc/sys/net/ipv4/vs/NAME and net.ipv4.vs.NAME are understood too",
    )
    for name, (help_text, more) in _TABLES.items():
        command(name, partial(view, _PATHS.get(name, f"/stats/{name}")), help_text, more)


def add_command(
    subparsers: "Subparsers", name: str, act: Callable[[argparse.Namespace], int | None], help_text: str, more: str
) -> argparse.ArgumentParser:
    """Add one command that asks a running appliance, and return its parser. `act` asks and prints."""
    parser = subparsers.add_parser(name, help=help_text, description=more)
    where = (
        "address of the API: http://HOST:PORT, https://HOST:PORT or unix:/path "
        f"(default: {API_VARIABLE} in the environment, else {DEFAULT_API})"
    )
    default = os.environ.get(API_VARIABLE) or DEFAULT_API
    parser.add_argument("--api", metavar="URL", type=api_address, default=default, help=where)
    add_options(parser)
    parser.add_argument("--json", action="store_true", help="print JSON instead of text")
    parser.set_defaults(run=partial(run_guarded, act))
    return parser


def _add_session_parsers(command: Callable[..., argparse.ArgumentParser]) -> None:
    sessions = command("conns", _sessions, "list sessions", _CONNS)
    sessions.add_argument("--limit", metavar="N", help="list one page of at most N sessions")
    sessions.add_argument("--after", metavar="PLACE", help="list the page behind this place, which the page before named")
    tops = [_add_top_parser(command, by) for by in GROUPS]
    cut = command("cut", _cut, "end sessions", _CUT)
    cut.add_argument("--all", action="store_const", const="1", help="end all sessions; needed when there is no filter")
    for parser in (sessions, *tops, cut):
        for field in SessionFilter._fields:
            option = f"--{field.replace('_', '-')}"
            parser.add_argument(option, metavar=_FILTER_VALUES[field], help=_FILTER_HELP[field])


def _add_top_parser(command: Callable[..., argparse.ArgumentParser], by: str) -> argparse.ArgumentParser:
    names = f"{by.replace('_', ' ')}s"
    more = f"Show the {names} with most sessions, and how many each has. A filter limits which sessions are counted."
    top = command(f"top-{names.replace(' ', '-')}", partial(_top, by), f"show the {names} with most sessions", more)
    top.add_argument("-n", metavar="N", help=f"show N {names} (default: {_TOP_LINES})")
    return top


def api_address(text: str) -> str:
    """`text`, if it can be the address of an API. Raises ArgumentTypeError if not."""
    try:
        parts = urlsplit(text)
        is_http = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0 and parts.username is None
        beyond = parts.path.strip("/") + parts.query + parts.fragment
    except ValueError:
        is_http, beyond = False, ""
    if not text.startswith("unix:/") and (not is_http or beyond):
        raise argparse.ArgumentTypeError(f"{text!r} is neither http://HOST:PORT nor https://HOST:PORT nor unix:/path")
    return text


def run_guarded(act: Callable[[argparse.Namespace], int | None], options: argparse.Namespace) -> int:
    """Do what a command does and return the exit code: that of `act`, if it has one for its answer. Ctrl-C and output that cannot
    be written are handled here."""
    try:
        return _answered(act, options)
    except KeyboardInterrupt:
        give_up_output()
        return _ENDED_BY_CTRL_C
    except BrokenPipeError:
        give_up_output()
        return READER_CLOSED
    except OSError as error:
        give_up_output()
        return _failed(f"the answer cannot be written: {error.strerror}")


def _answered(act: Callable[[argparse.Namespace], int | None], options: argparse.Namespace) -> int:
    # Imported here, because loading an HTTP client takes longer than a whole `appliance check`.
    from appliance.cli.api_client import ApiError

    try:
        return act(options) or 0
    except (ApiError, CredentialError) as error:
        return _failed(str(error))


def _failed(message: str) -> int:
    print(f"appliance: {message}", file=sys.stderr)
    return _REFUSED


def give_up_output() -> None:
    """Discard what is still in the output buffer. Python would try to write it at its exit, and would fail or wait."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def ask(
    options: argparse.Namespace, method: str, path: str, *fields: str, body: bytes | None = None, accept: str = "", **more: str
) -> "AbstractContextManager[Answer]":
    """Send a request. Its query has those of `fields` that were given on the command line, and `more`. `accept` is the form of
    the answer, when it is neither text nor JSON."""
    from appliance.cli.api_client import Question, asked

    given = {field: value for field in fields if (value := getattr(options, field)) is not None}
    return asked(options.api, Question(method, path, given | more, body, accept), credentials(options), as_json=options.json)


def write(text: bytes) -> None:
    """Write all of `text`. Raises OSError if that fails, also with PYTHONUNBUFFERED, where one write() may take a part only."""
    left = memoryview(text)
    while left:
        left = left[sys.stdout.buffer.write(left) :]
    sys.stdout.flush()


def copy(answer: "Answer") -> None:
    """Print a whole answer, piece by piece as it comes."""
    for piece in answer.pieces():
        write(piece)


def view(path: str, options: argparse.Namespace) -> None:
    """Print what the API answers to a GET of `path`."""
    with ask(options, "GET", path) as answer:
        copy(answer)


def answered_json(options: argparse.Namespace, path: str) -> Any:
    """What the API answers to a GET of `path` as JSON, whatever form the user wants. Raises ApiError."""
    from appliance.cli.api_client import ApiError

    with ask(argparse.Namespace(**{**vars(options), "json": True}), "GET", path) as answer:
        try:
            return json.loads(answer.text())
        except ValueError as error:
            raise ApiError("the answer is not JSON, so it is not one of an appliance") from error


def _sessions(options: argparse.Namespace) -> None:
    with ask(options, "GET", "/conns", *SessionFilter._fields, "limit", "after") as answer:
        copy(answer)
        if answer.next_place:
            print(f"more: --after {answer.next_place}", file=sys.stderr)


def _top(by: str, options: argparse.Namespace) -> None:
    with ask(options, "GET", "/conns/top", *SessionFilter._fields, "n", by=by) as answer:
        copy(answer)


def _cut(options: argparse.Namespace) -> None:
    with ask(options, "DELETE", "/conns", *SessionFilter._fields, "all") as answer:
        if options.json:
            copy(answer)
        else:
            ended = answer.text().strip()
            write(f"{ended} session{'' if ended == '1' else 's'} cut\n".encode())


def _sysctl(options: argparse.Namespace) -> None:
    """List all tunables, or act as sysctl(8): NAME reads, NAME=VALUE writes, and both print the value in force."""
    if options.assignment is None:
        view("/sysctl", options)
        return
    name, writes, value = (word.strip() for word in options.assignment.partition("="))
    path = f"/sysctl/{quote(name, safe='', errors='surrogateescape')}"
    body = value.encode(errors="surrogateescape") if writes else None
    with ask(options, "PUT" if writes else "GET", path, body=body) as answer:
        if options.json:
            copy(answer)
        else:
            write(f"{name} = {answer.text()}".encode())
