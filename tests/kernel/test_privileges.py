"""The capabilities that the program needs, and no more: those that the unit file gives."""

import subprocess
import sys
from pathlib import Path

import pytest

NEEDED = ("bpf", "net_admin", "perfmon")

_LOAD = "import sys; from pathlib import Path; from appliance.edge import bpf; bpf.load(Path(sys.argv[1]), {}).close()"


def load_with(capabilities: tuple[str, ...], file: Path) -> subprocess.CompletedProcess[str]:
    """Load the program in a process that has nothing but these."""
    wanted = ",".join(("-all", *(f"+{name}" for name in capabilities)))
    command = ["setpriv", "--inh-caps", wanted, "--bounding-set", wanted, "--", sys.executable, "-c", _LOAD, str(file)]
    return subprocess.run(command, check=False, capture_output=True, text=True)


def test_three_are_enough(lane_object: Path) -> None:
    done = load_with(NEEDED, lane_object)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("missing", NEEDED)
def test_each_of_them_is_needed(lane_object: Path, missing: str) -> None:
    done = load_with(tuple(name for name in NEEDED if name != missing), lane_object)
    assert done.returncode == 1
    assert "EdgeError: cannot load the program" in done.stderr
