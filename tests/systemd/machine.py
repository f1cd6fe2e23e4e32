"""A machine of its own for the units: a systemd in namespaces, over this machine's root filesystem, which it cannot change."""

import os
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

HERE = Path(__file__).parent
NEEDS_SYSTEMD = (
    pytest.mark.skipif(os.geteuid() != 0, reason="makes namespaces: needs root"),
    pytest.mark.skipif(not Path("/lib/systemd/systemd").exists(), reason="systemd is not installed"),
)
"""The marks of a test with a machine."""
UNITS = Path("/etc/systemd/system")
"""Where units lie in the machine, which has none of this machine's."""

_LOOKS = 600
"""Looks, up to a second apart, before waiting ends. Nothing takes that long: it only ends a test that failed."""


class Machine:
    """A machine that runs. Its process 1 is `pid` here."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def command(self, *command: str) -> list[str]:
        """The command line that runs a command in the machine."""
        return ["nsenter", f"--target={self.pid}", "--all", "--", *command]

    def run(self, *command: str, check: bool = True) -> str:
        """Run a command in the machine and return what it printed. Raises AssertionError when it fails, unless told otherwise."""
        done = subprocess.run(self.command(*command), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        assert not check or done.returncode == 0, f"{command}: {done.returncode} {done.stdout}{done.stderr}"
        return done.stdout

    def state(self, unit: str) -> str:
        """As `systemctl is-active` has it: active, activating, inactive, failed, ..."""
        return self.run("systemctl", "is-active", unit, check=False).strip()

    def journal(self, unit: str) -> str:
        """What a unit has logged."""
        self.run("journalctl", "--sync")
        return self.run("journalctl", "--no-pager", "--output=cat", f"--unit={unit}")

    def read(self, path: str) -> str:
        """The contents of a file of the machine."""
        return self.run("cat", path)

    def has(self, path: str) -> bool:
        """Whether the machine has such a file."""
        return Path(f"/proc/{self.pid}/root", path.removeprefix("/")).exists()

    def write(self, path: str, text: str) -> None:
        """Make a file in the machine."""
        subprocess.run(self.command("tee", path), input=text, check=True, text=True, stdout=subprocess.DEVNULL)

    def wait_until(self, what: str, condition: Callable[[], bool]) -> None:
        """Look again and again. Raises AssertionError, with the end of the journal, when it does not come true."""
        pause_s = 0.05
        for _ in range(_LOOKS):
            if condition():
                return
            time.sleep(pause_s)
            pause_s = min(1.2 * pause_s, 1.0)  # looking takes most of the time of a machine that is emulated
        raise AssertionError(f"not reached: {what}\n" + self.run("journalctl", "--no-pager", "--lines=60", check=False))


def accounts() -> dict[str, str]:
    """The files of users and groups, with those of the service."""
    lines = {"passwd": "appliance:x:64999:64999::/nonexistent:/usr/sbin/nologin\n", "group": "appliance:x:64999:\n"}
    return {f"/etc/{name}": (Path("/etc") / name).read_text() + line for name, line in lines.items()}


@contextmanager
def booted(directory: Path, files: Mapping[str, str], binds: Mapping[Path, str]) -> Iterator[Machine]:
    """A machine with these files over the root filesystem and these directories bound into it.

    Files that begin with "#!" can be run. `directory` has to be empty. The machine and all its processes are gone afterwards.
    """
    layer = directory / "layer"
    for path, text in files.items():
        place = layer / path.removeprefix("/")
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(text)
        place.chmod(0o755 if text.startswith("#!") else 0o644)
    (directory / "binds").write_text("".join(f"{here} {there}\n" for here, there in binds.items()))
    with _control_group() as group, open(directory / "log", "wb") as log:
        script = 'echo $$ >"$1/cgroup.procs"; shift; exec "$@"'
        within = ["setpriv", "--pdeathsig=KILL", "sh", "-c", script, "sh", str(group)]  # also when this process is killed
        namespaces = ("--pid", "--mount", "--net", "--uts", "--ipc", "--cgroup")
        command = ["unshare", *namespaces, "--fork", "--kill-child", "sh", str(HERE / "machine_init.sh"), str(directory)]
        outer = subprocess.Popen([*within, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        try:
            machine = Machine(_child_of(outer))
            machine.wait_until("booted", lambda: _has_booted(machine, outer, directory / "log"))
            yield machine
        finally:
            outer.kill()
            outer.wait()


def _child_of(outer: subprocess.Popen[bytes]) -> int:
    children = Path(f"/proc/{outer.pid}/task/{outer.pid}/children")
    for _ in range(_LOOKS):
        assert outer.poll() is None, "unshare ended"
        if found := children.read_text().split():
            return int(found[0])
        time.sleep(0.02)
    raise AssertionError("unshare has no child")


def _has_booted(machine: Machine, outer: subprocess.Popen[bytes], log: Path) -> bool:
    assert outer.poll() is None, log.read_text()
    return machine.run("systemctl", "is-system-running", check=False).strip() in ("running", "degraded")


@contextmanager
def _control_group() -> Iterator[Path]:
    """A control group of its own, which systemd takes for the root of all."""
    mounts = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    root = next(Path(place) for _, place, kind, *_ in mounts if kind == "cgroup2")
    own = next(line for line in Path("/proc/self/cgroup").read_text().splitlines() if line.startswith("0::"))
    group = Path(tempfile.mkdtemp(prefix="machine-", dir=root / own.removeprefix("0::").lstrip("/")))
    try:
        yield group
    finally:
        for _ in range(_LOOKS):
            _end_all(group)
            with suppress(OSError):
                for below in sorted((path for path in group.rglob("*") if path.is_dir()), reverse=True):
                    below.rmdir()
                group.rmdir()
            if not group.exists():
                break
            time.sleep(0.1)


def _end_all(group: Path) -> None:
    """Kill what is still in the group; only what this machine has started can be there."""
    for file in [group / "cgroup.procs", *group.rglob("cgroup.procs")]:
        with suppress(OSError):
            for pid in file.read_text().split():
                with suppress(ProcessLookupError):
                    os.kill(int(pid), signal.SIGKILL)
