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
from typing import TYPE_CHECKING, Any, TypeVar
from urllib.parse import quote, urlsplit

from appliance.cli.credentials import CredentialError, add_options, credentials
from appliance.cli.output import Colours, complain, copy, show, show_lines

if TYPE_CHECKING:
    from appliance.cli.api_client import Answer

DEFAULT_API = "unix:/run/appliance/api.sock"
API_VARIABLE = "APPLIANCE_API"

_REFUSED = 1
ENDED_BY_CTRL_C = 128 + signal.SIGINT
READER_CLOSED = 128 + signal.SIGPIPE
"""As for every program that SIGPIPE ends."""


T = TypeVar("T")


def add_command(
    parser: argparse.ArgumentParser, act: Callable[[argparse.Namespace], int | None], description: str, *examples: str
) -> None:
    """Make `parser` that of a command that asks a running appliance. `act` asks and prints; it returns the exit code, or
    None for 0. An example is what is typed behind `appliance`."""
    describe(parser, partial(run_guarded, act), description, *examples)
    place = parser.add_argument_group("which appliance is asked, and what it is shown")
    add_place_options(place)
    add_options(place)


def describe(parser: argparse.ArgumentParser, run: Callable[[argparse.Namespace], int], description: str, *examples: str) -> None:
    """Say what a command does, with at least one example of what is typed behind `appliance`."""
    parser.description = description
    parser.epilog = "\n  appliance ".join((f"Example{'s' * (len(examples) > 1)}:", *examples))
    parser.set_defaults(run=run)


def add_place_options(group: argparse._ArgumentGroup) -> None:
    """Add the options that say which appliance is asked, and in which form it answers. They have no value when not given."""
    where = (
        "address of the API: http://HOST:PORT, https://HOST:PORT or unix:/path "
        f"(default: {API_VARIABLE} in the environment, else {DEFAULT_API})"
    )
    group.add_argument("--api", metavar="URL", type=api_address, default=argparse.SUPPRESS, help=where)
    group.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help="print JSON instead of text")
    wide = "print whole lines and all columns, instead of what fits 80 columns"
    group.add_argument("--wide", action="store_true", default=argparse.SUPPRESS, help=wide)


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
        return ENDED_BY_CTRL_C
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
    complain(message)
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


def view(
    path: str, options: argparse.Namespace, narrow: Callable[[Any], str] | None = None, colours: Colours = (), **query: str
) -> None:
    """Print what the API answers to a GET of `path`. `narrow` makes the usual text of its JSON; without it, that is the API's own
    text, folded. With --wide it is the latter as it is."""
    if narrow is None or options.json or options.wide:
        with ask(options, "GET", path, body=None, **query) as answer:
            print_answer(answer, options, colours)
    else:
        show(made_of_json(answered_json(options, path, **query), narrow), colours=colours)


def send(options: argparse.Namespace, method: str, path: str, value: Any = None) -> None:
    """Send a request whose body is this value as JSON, None for no body, and print the answer."""
    body = None if value is None else json.dumps(value).encode()
    with ask(options, method, path, body=body) as answer:
        print_answer(answer, options)


def in_path(word: str) -> str:
    """A word of the command line as one segment of a path, in which a colon may stand (RFC 3986, section 3.3)."""
    return quote(word, safe=":", errors="surrogateescape")


def made_of_json(data: Any, narrow: Callable[[Any], T]) -> T:
    """What is made of an answer. Raises ApiError when the answer is not what an appliance answers."""
    from appliance.cli.api_client import ApiError

    try:
        return narrow(data)
    except (KeyError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise ApiError(f"the answer is not one of an appliance of this version: {error!r}") from error


def print_answer(answer: "Answer", options: argparse.Namespace, colours: Colours = ()) -> None:
    """Print an answer in the form that the user wants."""
    if options.json:
        copy(answer, is_json=True)
    else:
        show_lines(answer, is_wide=options.wide, colours=colours)


def answered_json(options: argparse.Namespace, path: str, **query: str) -> Any:
    """What the API answers to a GET of `path` as JSON, whatever form the user wants. Raises ApiError."""
    from appliance.cli.api_client import ApiError

    with ask(argparse.Namespace(**{**vars(options), "json": True}), "GET", path, body=None, **query) as answer:
        try:
            return json.loads(answer.text())
        except (ValueError, RecursionError) as error:
            raise ApiError("the answer is not JSON, so it is not one of an appliance") from error
