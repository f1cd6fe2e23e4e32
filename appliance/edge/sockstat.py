"""The host's own sockets and fragments, as the kernel counts them (`/proc/net/sockstat`)."""

import logging
from pathlib import Path

from appliance.edge.errors import EdgeError

log = logging.getLogger("appliance.director")

_PATH = Path("/proc/net/sockstat")


def read() -> dict[str, dict[str, int]]:
    """The numbers by kind ("TCP", "FRAG", …) and name ("inuse", …). Raises EdgeError when they cannot be read."""
    try:
        return dict(map(parse, _PATH.read_text().splitlines()))
    except OSError as error:
        raise EdgeError(f"cannot read {_PATH}: {error.strerror}") from error


def read_or_nothing() -> dict[str, dict[str, int]]:
    """The same; empty, and a line of the log, when they cannot be read."""
    try:
        return read()
    except EdgeError as error:
        log.error("%s", error)
        return {}


def parse(line: str) -> tuple[str, dict[str, int]]:
    """The kind and the numbers in one line of the file."""
    kind, _, rest = line.partition(":")
    words = rest.split()
    return kind, {name: int(number) for name, number in zip(words[::2], words[1::2], strict=True)}
