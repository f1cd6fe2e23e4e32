"""Files of the running appliance that outlive a crash: where they lie, and how they are written.

Each network namespace can have an appliance of its own, so the name of each file has the number of the namespace in it.
"""

import logging
import os
import re
import secrets
from pathlib import Path
from typing import NamedTuple

from appliance.director.leftovers import read_own
from appliance.edge.errors import EdgeError

log = logging.getLogger("appliance.host")

_KEY_BYTES = 16
_KEY = re.compile(rf"[0-9a-f]{{{2 * _KEY_BYTES}}}")


def runtime_directory() -> Path:
    """The directory of these files: the one that systemd prepared for the service, else /run/appliance."""
    return Path(os.environ.get("RUNTIME_DIRECTORY", "/run/appliance"))


def namespace_number() -> int:
    """The number of this network namespace."""
    return Path("/proc/self/ns/net").stat().st_ino


def state_file(name: str) -> Path:
    """The file `name` of this network namespace."""
    return runtime_directory() / f"{name}-{namespace_number()}"


def write_state(file: Path, text: str) -> None:
    """Replace the contents of a state file in one step, because half a file would be worse than none.

    Nobody but its owner can read the file. Raises EdgeError when it cannot be written.
    """
    new = file.with_name(file.name + ".new")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        new.unlink(missing_ok=True)
        with open(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
            stream.write(text)
        new.replace(file)
    except OSError as error:
        raise EdgeError(f"cannot write {file}: {error.strerror}") from error


class Keys(NamedTuple):
    """The keys of a run, in hexadecimal. They are kept from run to run."""

    isn_secret: str
    """Of initial sequence numbers (see `nat.isn`): with the same key the numbers of a tuple only grow from run to run, and a real
    server remembers the last ones for a minute."""
    cookie_secret: str
    """Of SYN cookies (see `proxy.cookie`): a client may return the cookie that an earlier run has sent."""


def kept_keys() -> Keys:
    """The keys; they are made when there are none yet.

    Raises EdgeError when a key cannot be written. Call it with the instance lock held, or another run may replace the files.
    """
    return Keys(_kept("isn-secret"), _kept("cookie-secret"))


def _kept(name: str) -> str:
    file = state_file(name)
    try:
        secret = read_own(file, 2 * _KEY_BYTES + 1)
        if _KEY.fullmatch(secret):
            return secret
        log.warning("%s: damaged; taking a new key", file)
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        log.warning("%s: cannot be read (%s); taking a new key", file, error)
    secret = secrets.token_hex(_KEY_BYTES)
    write_state(file, secret)
    return secret
