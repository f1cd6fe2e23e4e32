"""The lane's compiled program: where its file is, and for which layout of the maps it was compiled."""

import re
from pathlib import Path

from appliance.edge.errors import EdgeError
from appliance.ipc.lane_header import PROGRAM_MARK, program_layout

_PACKAGE = Path(__file__).parents[1]
OBJECTS = (_PACKAGE / "lane.bpf.o", _PACKAGE.parent / "build" / "lane.bpf.o")
"""Where the program is: beside the package where it is installed, or where a source tree builds it."""

_MARK = re.compile(re.escape(PROGRAM_MARK.encode()) + rb"([0-9a-f]{16})\0")


def object_file() -> Path:
    """The compiled program. Raises EdgeError when it has not been built, or was built by another version of the appliance."""
    for path in OBJECTS:
        if path.exists():
            _check(path)
            return path
    raise EdgeError(f"its program is not built: there is no {OBJECTS[0].name}")


def _check(path: Path) -> None:
    """Refuse a program that would look for things in other places than Python puts them: it would load, and carry nothing."""
    try:
        mark = _MARK.search(path.read_bytes())
    except OSError as error:
        raise EdgeError(f"its program {path} cannot be read: {error.strerror}") from error
    compiled_for = mark[1].decode() if mark else "unknown"
    if compiled_for != program_layout():
        raise EdgeError(
            f"its program {path} was built by another version of the appliance: it is for layout {compiled_for} and not "
            f"{program_layout()}; build it anew (make lane)"
        )
