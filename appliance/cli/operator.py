"""The command line for operators: which command asks a running appliance what, and how the answer is printed.

What a filter may say, how long a page may be and what may be written is for the API to judge: words are handed on as they
were typed, and its refusals are printed.

Exit codes: 0 when all was answered; 1 when the appliance refused, cannot be reached, or an answer broke off; 2 for a wrong
command line; 130 for Ctrl-C; 141, as for any program that SIGPIPE ends, when nobody reads on, as in ``appliance conns | head``.
"""

import argparse
import os
import signal
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit

from appliance.ipc.queries import GROUPS, SessionFilter

if TYPE_CHECKING:
    from appliance.cli.api_client import Answer

    Subparsers = argparse._SubParsersAction[argparse.ArgumentParser]

DEFAULT_API = "unix:/run/appliance/api.sock"
API_VARIABLE = "APPLIANCE_API"

_REFUSED = 1
_ENDED_BY_CTRL_C = 128 + signal.SIGINT
_NOBODY_READS = 128 + signal.SIGPIPE

_ENDPOINT = "ADDRESS, ADDRESS:PORT or NETWORK/BITS"
_FILTER_HELP = {
    "client": f"only those of a client: {_ENDPOINT}",
    "service": "only those of the service of this name",
    "real_server": f"only those with a real server: {_ENDPOINT}",
    "state": "only those in this TCP state, or UDP",
}

_TABLES = {
    "slabinfo": "show tables and pools of sessions: objects, their size, pages",
    "sockstat": "show sessions as sockets, beside the host's own",
    "conntrack": "show the table of sessions beside the host's connection tracking",
}


def add_parsers(subparsers: "Subparsers") -> None:
    """Add the operators' commands to those of the `appliance` command."""

    def command(name: str, act: Callable[[argparse.Namespace], None], help_text: str) -> argparse.ArgumentParser:
        parser = subparsers.add_parser(name, help=help_text, description=help_text)
        where = f"http://HOST:PORT or unix:/path (default: {API_VARIABLE} in the environment, else {DEFAULT_API})"
        default = os.environ.get(API_VARIABLE) or DEFAULT_API
        parser.add_argument("--api", metavar="URL", type=_api_address, default=default, help=where)
        parser.add_argument("--json", action="store_true", help="print JSON")
        parser.set_defaults(run=partial(_run, act))
        return parser

    _add_session_parsers(command)
    for name, help_text in _TABLES.items():
        command(name, partial(_view, f"/stats/{name}"), help_text)
    sysctl = command("sysctl", _sysctl, "list tunables, read one, or write one")
    sysctl.add_argument("assignment", nargs="?", metavar="NAME[=VALUE]", help="without it: all, with range and meaning")


def _add_session_parsers(command: Callable[..., argparse.ArgumentParser]) -> None:
    sessions = command("conns", _sessions, "list sessions")
    sessions.add_argument("--limit", metavar="N", help="a page of so many")
    sessions.add_argument("--after", metavar="PLACE", help="the page behind this place, as the page before named it")
    cut = command("cut", _cut, "end sessions, with a RST to both ends of TCP")
    cut.add_argument("--all", action="store_const", const="1", help="every session there is, when no filter says which")
    tops = [
        command(f"top-{by.replace('_', '-')}s", partial(_top, by), f"show which {by.replace('_', ' ')} has most sessions")
        for by in GROUPS
    ]
    for top in tops:
        top.add_argument("-n", metavar="N", help="so many of them")
    for parser in (sessions, cut, *tops):
        for field in SessionFilter._fields:
            parser.add_argument(f"--{field.replace('_', '-')}", metavar="X", help=_FILTER_HELP[field])


def _api_address(text: str) -> str:
    """Refuses what cannot be an address. Raises ArgumentTypeError."""
    try:
        parts = urlsplit(text)
        is_http = parts.scheme == "http" and parts.hostname and parts.port != 0 and parts.username is None
        beyond = parts.path.strip("/") + parts.query + parts.fragment
    except ValueError:
        is_http, beyond = False, ""
    if not text.startswith("unix:/") and (not is_http or beyond):
        raise argparse.ArgumentTypeError(f"{text!r} is neither http://HOST:PORT nor unix:/path")
    return text


def _run(act: Callable[[argparse.Namespace], None], options: argparse.Namespace) -> int:
    """Do what a command does, whatever becomes of the terminal meanwhile; returns the exit code."""
    try:
        return _answered(act, options)
    except KeyboardInterrupt:
        _give_up_output()
        return _ENDED_BY_CTRL_C
    except BrokenPipeError:
        _give_up_output()
        return _NOBODY_READS
    except OSError as error:
        _give_up_output()
        return _complain(f"the answer cannot be written: {error.strerror}")


def _answered(act: Callable[[argparse.Namespace], None], options: argparse.Namespace) -> int:
    # Not at the top: loading an HTTP client takes longer than all that `appliance check` does.
    from appliance.cli.api_client import ApiError

    try:
        act(options)
    except ApiError as error:
        return _complain(str(error))
    return 0


def _complain(message: str) -> int:
    print(f"appliance: {message}", file=sys.stderr)
    return _REFUSED


def _give_up_output() -> None:
    """What is still in the buffer goes nowhere: Python would try, and fail or wait, when it ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, sys.stdout.fileno())
    os.close(nowhere)


def _asked(
    options: argparse.Namespace, method: str, path: str, *fields: str, body: bytes | None = None, **more: str
) -> "AbstractContextManager[Answer]":
    """Ask for a path with those of `fields` that the command line has, and `more`."""
    from appliance.cli.api_client import Question, asked

    given = {field: value for field in fields if (value := getattr(options, field)) is not None}
    return asked(options.api, Question(method, path, given | more, body), as_json=options.json)


def _write(text: bytes) -> None:
    """All of it, or an error: with PYTHONUNBUFFERED this is a raw file, which takes what fits on a full disk and is content."""
    left = memoryview(text)
    while left:
        left = left[sys.stdout.buffer.write(left) :]
    sys.stdout.flush()


def _copy(answer: "Answer") -> None:
    for piece in answer.pieces():
        _write(piece)


def _view(path: str, options: argparse.Namespace) -> None:
    with _asked(options, "GET", path) as answer:
        _copy(answer)


def _sessions(options: argparse.Namespace) -> None:
    with _asked(options, "GET", "/conns", *SessionFilter._fields, "limit", "after") as answer:
        _copy(answer)
        if answer.next_place:
            print(f"more: --after {answer.next_place}", file=sys.stderr)


def _top(by: str, options: argparse.Namespace) -> None:
    with _asked(options, "GET", "/conns/top", *SessionFilter._fields, "n", by=by) as answer:
        _copy(answer)


def _cut(options: argparse.Namespace) -> None:
    with _asked(options, "DELETE", "/conns", *SessionFilter._fields, "all") as answer:
        if options.json:
            _copy(answer)
        else:
            ended = answer.text().strip()
            _write(f"{ended} session{'' if ended == '1' else 's'} cut\n".encode())


def _sysctl(options: argparse.Namespace) -> None:
    """As sysctl(8) does: NAME reads, NAME=VALUE writes, and either prints the value in force."""
    if options.assignment is None:
        _view("/sysctl", options)
        return
    name, writes, value = (word.strip() for word in options.assignment.partition("="))
    path = f"/sysctl/{quote(name, safe='', errors='surrogateescape')}"
    body = value.encode(errors="surrogateescape") if writes else None
    with _asked(options, "PUT" if writes else "GET", path, body=body) as answer:
        if options.json:
            _copy(answer)
        else:
            _write(f"{name} = {answer.text()}".encode())
