"""What a run in another network namespace has left under the number that this one has now: none of it is ours.

Files and pins have the number of their namespace in their names, and the kernel gives such a number to another namespace when the
first one is gone. Its cookie it gives to no other, so that is written down beside them.
"""

import logging
import re
from pathlib import Path

from appliance.director.leftovers import read_own
from appliance.director.runtime_files import namespace_number, runtime_directory, state_file, write_state
from appliance.edge import bpffs, netns
from appliance.edge.errors import EdgeError

log = logging.getLogger("appliance.director")

_MARK, _LOCK = "namespace", "lock"
_LONGEST_BYTES = 32


def forget_other_namespace() -> None:
    """Remove what belongs to a namespace that is gone.

    Nothing is undone and nobody is told, because all of that was in the other namespace. What a version has left that noted
    nothing, and all of it on kernels without cookies, is taken for ours. Raises EdgeError when something cannot be removed. Call
    it with the instance lock held.
    """
    noted = _noted()
    if noted is None or netns.cookie() in (None, noted):
        return
    log.warning("what an earlier run has left belongs to a network namespace that is gone: it is removed")
    if bpffs.is_there(_pins(), str(namespace_number())):
        bpffs.remove(_pins(), str(namespace_number()))
    try:
        for file in _files():
            file.unlink(missing_ok=True)
    except OSError as error:
        raise EdgeError(f"cannot remove {error.filename}: {error.strerror}") from error


def note_namespace() -> None:
    """Note whose the files and pins of this run are. Raises EdgeError when that cannot be written."""
    ours = netns.cookie()
    if ours is not None and ours != _noted():
        write_state(state_file(_MARK), str(ours))


def _noted() -> int | None:
    """The cookie beside the files; None when there is none that can be read."""
    try:
        return int(read_own(state_file(_MARK), _LONGEST_BYTES))
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        log.warning("%s: cannot be used (%s)", state_file(_MARK), error)
        return None


def _pins() -> Path:
    return runtime_directory() / "bpf"


def _files() -> list[Path]:
    """All files of this number but the lock."""
    ours = re.compile(rf"(?!{_LOCK}-)[a-z-]+-{namespace_number()}(\.json)?(\.new)?")
    return [file for file in runtime_directory().iterdir() if ours.fullmatch(file.name)]
