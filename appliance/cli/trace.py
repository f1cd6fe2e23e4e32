"""``appliance trace``: what becomes of the packets of some clients, and why."""

import argparse
import json
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from appliance.cli.operator import add_command, ask
from appliance.cli.output import copy, write

if TYPE_CHECKING:
    from appliance.cli.api_client import Answer

STREAM = "text/event-stream"
FIELDS = ("client", "service", "port", "count", "seconds")

_NO_STREAM = "the answer is not a stream of an appliance"
_LINE_MAX = 64 << 20
"""Bytes of one item: the longest are configurations of thousands of services."""

_TRACE = """\
Show one line for each packet of some clients, in both directions, from all shards: the time (UTC), who sent it, the verdict, the
reason and the stage that gave it. Packets that a rule of nftables drops are shown too. Packets that the lane carries are not:
it drops only ACK storms. Lines that begin with # say what is missing. Ctrl-C ends it.
"""


def add_trace(parser: argparse.ArgumentParser) -> None:
    """Add the options of `trace`."""
    add_command(parser, _trace, _TRACE, "trace --client 198.51.100.2", "trace --client 198.51.100.0/24 --service web --count 20")
    add_filter(parser)


def add_filter(parser: argparse.ArgumentParser) -> None:
    """The options that say which packets are wanted."""
    parser.add_argument(
        "--client", metavar="CLIENT", required=True, help="packets of these clients: ADDRESS, ADDRESS:PORT or NETWORK/BITS"
    )
    parser.add_argument("--service", metavar="SERVICE", help="only packets to and from the service with this name")
    parser.add_argument("--port", metavar="P", help="only packets to and from this port of a VIP")
    parser.add_argument("--count", metavar="N", help="end behind N packets")
    parser.add_argument("--seconds", metavar="S", help="end after S seconds (default: 600)")


def _trace(options: argparse.Namespace) -> None:
    if not options.json:
        with ask(options, "POST", "/trace", *FIELDS) as answer:
            copy(answer)
        return
    for item in items(options):
        write(f"{json.dumps(item)}\n".encode(), is_json=True)


def items(options: argparse.Namespace, *fields: str) -> Iterator[dict[str, Any]]:
    """The items of a trace, each when it comes; `fields` are more options that the API takes. Raises ApiError."""
    with ask(options, "POST", "/trace", *FIELDS, *fields, accept=STREAM) as answer:
        yield from _read(answer)


def _read(answer: "Answer") -> Iterator[dict[str, Any]]:
    from appliance.cli.api_client import ApiError

    rest = b""
    for piece in answer.pieces():
        *lines, rest = (rest + piece).split(b"\n")
        for line in lines:
            if line.startswith(b"data: "):
                try:
                    item = json.loads(line.removeprefix(b"data: "))
                except (ValueError, RecursionError) as error:
                    raise ApiError(_NO_STREAM) from error
                if not isinstance(item, dict):
                    raise ApiError(_NO_STREAM)
                yield item
        if len(rest) > _LINE_MAX:
            raise ApiError(_NO_STREAM)
