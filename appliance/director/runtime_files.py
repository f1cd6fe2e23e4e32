"""Files of the running appliance that outlive a crash: where they lie, and how they are written.

Each network namespace can have an appliance of its own, so the name of each file has the number of the namespace in it.
"""

import logging
import os
import re
import secrets
from pathlib import Path

from appliance.director.leftovers import read_own
from appliance.edge.errors import EdgeError

log = logging.getLogger("appliance.host")

_ISN_SECRET_BYTES = 16
_ISN_SECRET = re.compile(rf"[0-9a-f]{{{2 * _ISN_SECRET_BYTES}}}")


def runtime_directory() -> Path:
    """The directory of these files: the one that systemd prepared for the service, else /run/appliance."""
    return Path(os.environ.get("RUNTIME_DIRECTORY", "/run/appliance"))


def state_file(name: str) -> Path:
    """The file `name` of this network namespace."""
    return runtime_directory() / f"{name}-{Path('/proc/self/ns/net').stat().st_ino}"


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


def kept_isn_secret() -> str:
    """The key of initial sequence numbers (see `nat.isn`), in hexadecimal; it is made once and then kept from run to run.

    With the same key the numbers of a tuple only grow from run to run, and a real server remembers the last ones for a minute.
    Raises EdgeError when the key cannot be written. Call it with the instance lock held, or another run may replace the file.
    """
    file = state_file("isn-secret")
    try:
        secret = read_own(file, 2 * _ISN_SECRET_BYTES + 1)
        if _ISN_SECRET.fullmatch(secret):
            return secret
        log.warning("%s: damaged; taking a new key for initial sequence numbers", file)
    except FileNotFoundError:
        pass
    except (OSError, ValueError) as error:
        log.warning("%s: cannot be read (%s); taking a new key for initial sequence numbers", file, error)
    secret = secrets.token_hex(_ISN_SECRET_BYTES)
    write_state(file, secret)
    return secret
