"""What the HTTP and the UDP server have in common: their command line, and that SIGTERM or SIGINT ends them."""

import argparse
import asyncio
import signal
import socket
from collections.abc import Sequence
from typing import NamedTuple


class Listener(NamedTuple):
    """An address and port to listen on."""

    address: str
    port: int


class Arguments(NamedTuple):
    """The command line of a server."""

    name: str
    listeners: tuple[Listener, ...]


def read_arguments(description: str, argv: Sequence[str] | None) -> Arguments:
    """Parse ``--name NAME --listen ADDRESS:PORT…``. Raises SystemExit after a usage message for anything else."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--name", required=True, help="the name of the real server in the answers")
    parser.add_argument(
        "--listen", action="append", required=True, type=_listener, metavar="ADDRESS:PORT", help="where to listen"
    )
    found = parser.parse_args(argv)
    return Arguments(found.name, tuple(found.listen))


def _listener(text: str) -> Listener:
    address, _, port = text.rpartition(":")
    try:
        socket.inet_aton(address)
        return Listener(address, int(port))
    except (OSError, ValueError):
        raise argparse.ArgumentTypeError(f"{text!r} is not ADDRESS:PORT") from None


def stop_event() -> asyncio.Event:
    """An event that SIGTERM and SIGINT set from now on. Needs a running event loop."""
    stopped = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stopped.set)
    return stopped
