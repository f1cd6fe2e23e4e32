"""What the servers of a real server have in common: their command line, and that they run until they are told to stop."""

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
    """What a server is told when it is started."""

    name: str
    listeners: tuple[Listener, ...]


def read_arguments(description: str, argv: Sequence[str] | None) -> Arguments:
    """Parse ``--name NAME --listen ADDRESS:PORT…``; SystemExit with a usage message when that is not what it says."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--name", required=True, help="what it calls itself in its answers")
    parser.add_argument("--listen", action="append", required=True, type=_listener, metavar="ADDRESS:PORT")
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
    """Set by SIGTERM and SIGINT from now on."""
    stopped = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, stopped.set)
    return stopped
