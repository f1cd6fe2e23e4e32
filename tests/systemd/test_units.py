"""What systemd does with the two units, and in which order: restart, stop, crash, a bad configuration, an upgrade, shutdown.

The command is a stand-in that writes down what it is asked for, and what it finds in the runtime directory.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.systemd.machine import NEEDS_SYSTEMD, UNITS, Machine, accounts, booted

pytestmark = [*NEEDS_SYSTEMD]

DEPLOY = Path(__file__).parents[2] / "deploy"
DIRECTOR, DATAPLANE = "appliance.service", "appliance-dataplane.service"
EVENTS = "/run/events"

STAND_IN = f"""\
#!/usr/bin/python3
import os, signal, sys, time

def tell(text):
    with open("{EVENTS}/log", "a") as log:
        log.write(text + "\\n")

def leave(number, _frame):
    tell(signal.Signals(number).name)
    sys.exit(0)

has_key = os.path.exists("/run/appliance/key")
if sys.argv[1] == "cleanup":
    time.sleep(1.0 if os.path.exists("{EVENTS}/slow") else 0.0)
    tell("cleanup with key" if has_key else "cleanup")
    sys.exit(0)
if os.path.exists("{EVENTS}/bad-config"):
    tell("exit 2")
    sys.exit(2)
for number in (signal.SIGTERM, signal.SIGUSR2):
    signal.signal(number, signal.SIG_IGN if os.path.exists("{EVENTS}/deaf") else leave)
mounted = os.path.ismount("/run/appliance/bpf") and os.stat("/run/appliance/bpf").st_uid == os.geteuid()
open("/run/appliance/key", "w").close()
tell("run" + " with key" * has_key + " with bpffs" * mounted)
while True:
    signal.pause()
"""

DROP_IN = f"[Service]\nRestartSec=200ms\nReadWritePaths={EVENTS}\n"
"""So that nobody waits for the pause that real hosts need, and the stand-in may write."""


class Stage(NamedTuple):
    """A machine with both units, and the directory in which the stand-in writes."""

    machine: Machine
    directory: Path

    def events(self) -> list[str]:
        """What the stand-in was asked for, oldest first."""
        log = self.directory / "log"
        return log.read_text().splitlines() if log.exists() else []

    def wait_for(self, event: str, count: int = 1) -> None:
        self.machine.wait_until(f"{count} x {event}", lambda: self.events().count(event) >= count)

    def wait_for_the_end(self) -> None:
        """A director that had to be killed counts as failed."""
        state, over = self.machine.state, ("inactive", "failed")
        self.machine.wait_until("both have ended", lambda: state(DIRECTOR) in over and state(DATAPLANE) == "inactive")

    def clear(self) -> None:
        """Forget what was, and be a director that works."""
        for file in self.directory.iterdir():
            file.unlink()


@contextmanager
def staged(directory: Path, more_files: Mapping[str, str]) -> Iterator[Stage]:
    written, own = directory / "events", directory / "machine"
    for made in (written, own):
        made.mkdir()
    written.chmod(0o777)
    files = {
        **accounts(),
        **{str(UNITS / name): (DEPLOY / name).read_text() for name in (DIRECTOR, DATAPLANE)},
        str(UNITS / f"{DIRECTOR}.d/test.conf"): DROP_IN,
        str(UNITS / f"{DATAPLANE}.d/test.conf"): DROP_IN,
        "/opt/appliance/current/bin/appliance": STAND_IN,
        **more_files,
    }
    with booted(own, files, {written: EVENTS}) as machine:
        yield Stage(machine, written)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    with staged(tmp_path_factory.mktemp("units"), {}) as made:
        yield made


@pytest.fixture
def idle(stage: Stage) -> Iterator[Stage]:
    """With nothing started, neither before nor afterwards."""
    stage.clear()
    yield stage
    stage.clear()
    stage.machine.run("systemctl", "stop", "appliance", "appliance-dataplane")


@pytest.fixture
def started(idle: Stage) -> Stage:
    """With the unit started."""
    idle.machine.run("systemctl", "start", "appliance")
    idle.wait_for("run with bpffs")
    idle.clear()
    return idle


@pytest.mark.parametrize("verb", ["restart", "try-restart"])
def test_a_restart_keeps_the_data_plane(started: Stage, verb: str) -> None:
    started.machine.run("systemctl", verb, "appliance")
    started.wait_for("run with key with bpffs")
    assert started.events() == ["SIGUSR2", "run with key with bpffs"]


def test_a_stop_ends_it_and_leaves_nothing(started: Stage) -> None:
    started.machine.run("systemctl", "stop", "appliance")
    assert started.events()[0] == "SIGTERM"
    started.wait_for_the_end()
    assert started.events() == ["SIGTERM", "cleanup with key"]
    assert not started.machine.has("/run/appliance")
    assert "/run/appliance" not in started.machine.read("/proc/self/mounts")


def test_after_a_crash_it_is_started_again_with_the_same_data_plane(started: Stage) -> None:
    started.machine.run("systemctl", "kill", "--signal=KILL", "appliance")
    started.wait_for("run with key with bpffs")
    assert started.events() == ["run with key with bpffs"]


def test_a_stop_while_it_waits_for_the_next_attempt_ends_the_data_plane(started: Stage) -> None:
    (started.directory / "bad-config").touch()
    started.machine.run("systemctl", "kill", "--signal=KILL", "appliance")
    started.wait_for("exit 2", 2)
    assert started.machine.state(DATAPLANE) == "active"
    started.machine.run("systemctl", "stop", "appliance")
    started.wait_for_the_end()
    assert started.events()[-1] == "cleanup with key"
    assert not started.machine.has("/run/appliance")


def test_a_bad_configuration_on_a_restart_leaves_sessions_alone(started: Stage) -> None:
    (started.directory / "bad-config").touch()
    started.machine.run("systemctl", "restart", "appliance", check=False)  # it fails when the director is quick to end
    started.wait_for("exit 2", 2)
    (started.directory / "bad-config").unlink()
    started.wait_for("run with key with bpffs")
    assert set(started.events()) == {"SIGUSR2", "exit 2", "run with key with bpffs"}


def test_a_director_that_does_not_stop_is_killed_and_cleaned_up(started: Stage) -> None:
    hasty = str(UNITS / f"{DIRECTOR}.d/hasty.conf")
    started.machine.write(hasty, "[Service]\nTimeoutStopSec=1\n")
    started.machine.run("systemctl", "daemon-reload")
    (started.directory / "deaf").touch()
    started.machine.run("systemctl", "restart", "appliance")
    started.wait_for("run with key with bpffs")
    started.machine.run("systemctl", "stop", "appliance")
    started.wait_for_the_end()
    assert started.events()[-2:] == ["run with key with bpffs", "cleanup with key"]
    started.machine.run("rm", hasty)
    started.machine.run("systemctl", "daemon-reload")


def test_a_start_right_after_a_stop_begins_anew(started: Stage) -> None:
    started.machine.run("systemctl", "stop", "appliance")
    started.machine.run("systemctl", "start", "appliance")
    started.wait_for("run with bpffs")
    assert started.events() == ["SIGTERM", "cleanup with key", "run with bpffs"]


def test_the_data_plane_can_be_taken_down_and_up_again(started: Stage) -> None:
    started.machine.run("systemctl", "restart", "appliance-dataplane")
    started.wait_for("run with bpffs")
    assert started.events() == ["SIGUSR2", "cleanup with key", "run with bpffs"]


def test_the_data_plane_does_not_end_under_the_director(started: Stage) -> None:
    started.machine.run("systemctl", "stop", "appliance-dataplane")
    assert started.machine.state(DIRECTOR) == "inactive"
    assert started.events() == ["SIGTERM", "cleanup with key"]


def test_what_was_put_where_the_bpffs_belongs_is_not_followed(idle: Stage) -> None:
    """The directory belongs to the service's user, and root mounts in it."""
    idle.machine.run("install", "--directory", "--owner=appliance", "/run/appliance")
    idle.machine.run("ln", "-s", "/mnt", "/run/appliance/bpf")
    idle.machine.run("systemctl", "start", "appliance")
    idle.wait_for("run")
    assert " /mnt " not in idle.machine.read("/proc/self/mounts")


def test_a_release_without_data_plane_is_replaced(idle: Stage) -> None:
    """The old release dies of the signal it does not know; the new one begins with what it left."""
    unit, new = str(UNITS / DIRECTOR), (DEPLOY / DIRECTOR).read_text()
    old = "".join(line for line in new.splitlines(keepends=True) if "dataplane" not in line and "RestartKillSignal" not in line)
    idle.machine.write(unit, old.replace("RuntimeDirectoryPreserve=yes", "RuntimeDirectoryPreserve=restart"))
    idle.machine.run("systemctl", "daemon-reload")
    idle.machine.run("systemctl", "start", "appliance")
    idle.wait_for("run")
    idle.machine.write(unit, new)
    idle.machine.run("systemctl", "daemon-reload")
    idle.machine.run("systemctl", "restart", "appliance")
    idle.wait_for("run with key with bpffs")
    idle.machine.run("systemctl", "stop", "appliance")
    idle.wait_for_the_end()
    assert not idle.machine.has("/run/appliance")


def test_an_uninstall_waits_for_the_end_of_the_data_plane(tmp_path: Path) -> None:
    """The release with the command that ends it is removed only afterwards."""
    script = "/opt/source/deploy/install.sh"
    with staged(tmp_path, {script: (DEPLOY / "install.sh").read_text()}) as stage:
        run = stage.machine.run
        run("systemctl", "enable", "--now", "appliance")
        stage.wait_for("run with bpffs")
        (stage.directory / "slow").touch()
        run(script, "--uninstall")
        assert stage.events() == ["run with bpffs", "SIGTERM", "cleanup with key"]
        for path in ("/opt/appliance", "/run/appliance", UNITS / DIRECTOR, UNITS / DATAPLANE, UNITS / "multi-user.target.wants"):
            assert not stage.machine.has(str(path)), path
        assert run("getent", "passwd", "appliance", check=False) == ""
        units = ("systemctl", "list-units", "--all", "--plain", "--no-legend", "appliance*")
        stage.machine.wait_until("systemd has forgotten the units", lambda: run(*units) == "")


def test_a_shutdown_ends_it_before_the_network(tmp_path: Path) -> None:
    """Both ends of every session can still be told."""
    network = f"""\
[Unit]
Before=network-online.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/bin/true
ExecStop=/bin/sh -c 'echo network ends >>{EVENTS}/log'
"""
    with staged(tmp_path, {str(UNITS / "network.service"): network}) as stage:
        stage.machine.run("systemctl", "start", "network", "appliance")
        stage.wait_for("run with bpffs")
        stage.machine.run("systemctl", "poweroff")
        stage.machine.wait_until("the network has ended", lambda: "network ends" in stage.events())
        assert stage.events() == ["run with bpffs", "SIGTERM", "cleanup with key", "network ends"]
