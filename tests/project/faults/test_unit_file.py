"""unit_file.py: the units that the project ships are understood, and one that says more is refused."""

import signal

import pytest

from faults.unit import DATA_PLANE_FILE, UNIT_FILE
from faults.unit_file import DataPlaneFile, UnitFile, UnitFileError, replaced

SHIPPED, DATA_PLANE = UNIT_FILE.read_text(), DATA_PLANE_FILE.read_text()
OWN = ("python", "-m", "appliance")


def test_the_shipped_unit() -> None:
    unit = UnitFile.parse(SHIPPED)
    assert replaced(unit.start, OWN, "/own.toml") == (*OWN, "run", "--config", "/own.toml")
    assert (unit.restart_s, unit.stop_s) == (2.0, 30.0)
    assert (unit.stop_signal, unit.restart_signal) == (signal.SIGTERM, signal.SIGUSR2)
    assert (unit.runtime_directories, unit.most_files) == (("appliance",), 4096)


def test_the_shipped_unit_of_the_data_plane() -> None:
    unit = DataPlaneFile.parse(DATA_PLANE)
    (mounted,) = (replaced(command, OWN, "") for command in unit.start)
    assert mounted[:2] == ("/bin/sh", "-ec")
    assert "mount -t bpf" in mounted[2]
    assert mounted[2].rstrip().endswith("chown root:root bpf"), "the lab has no user of that name"
    assert [replaced(command, OWN, "") for command in unit.stop] == [(*OWN, "cleanup"), ("/bin/umount", "/run/appliance/bpf")]
    assert unit.stop_s == 60.0


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("KillMode=mixed", "KillMode=process"),
        ("Restart=on-failure", "Restart=always"),
        ("RuntimeDirectoryPreserve=yes", "RuntimeDirectoryPreserve=no"),
        ("RestartKillSignal=SIGUSR2", "RestartKillSignal=SIGNOTHING"),
        ("Type=exec", "ExecStopPost=/opt/appliance/current/bin/appliance cleanup"),
        ("ExecStart=/opt", "ExecStart=@/opt"),
        ("ExecStart=/opt", "ExecStart=opt"),
    ],
)
def test_what_is_not_understood_is_refused(before: str, after: str) -> None:
    assert f"\n{before}" in SHIPPED
    with pytest.raises(UnitFileError):
        UnitFile.parse(SHIPPED.replace(f"\n{before}", f"\n{after}"))


@pytest.mark.parametrize(("before", "after"), [("Type=oneshot", "Type=exec"), ("RemainAfterExit=yes", "RemainAfterExit=no")])
def test_a_data_plane_with_processes_is_refused(before: str, after: str) -> None:
    assert f"\n{before}" in DATA_PLANE
    with pytest.raises(UnitFileError):
        DataPlaneFile.parse(DATA_PLANE.replace(f"\n{before}", f"\n{after}"))


def test_the_signal_of_a_stop_is_that_of_a_restart_when_only_one_is_named() -> None:
    unit = UnitFile.parse(SHIPPED.replace("\nRestartKillSignal=SIGUSR2", ""))
    assert (unit.stop_signal, unit.restart_signal) == (signal.SIGTERM, signal.SIGTERM)


def test_prefixes_say_nothing_to_somebody_who_is_root() -> None:
    prefixed = SHIPPED.replace("\nExecStart=/opt", "\nExecStart=-+/opt")
    assert UnitFile.parse(prefixed) == UnitFile.parse(SHIPPED)


def test_other_programs_are_refused() -> None:
    with pytest.raises(UnitFileError, match="only the appliance itself"):
        replaced(("/usr/bin/rm", "-r"), OWN, "")


def test_the_last_of_several_values_holds_and_comments_do_not() -> None:
    assert UnitFile.parse(f"{SHIPPED}\nRestartSec=7\n#RestartSec=9\n").restart_s == 7.0
