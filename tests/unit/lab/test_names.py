"""lab/names.py: the name of a lab, and whether its owner is alive."""

import os
import tempfile
from pathlib import Path

import pytest

from appliance.lab.names import LabName, labs_on_disk


def test_name_is_read_back_as_written() -> None:
    name = LabName(4711, 815)
    assert str(name) == "lab-4711-815"
    assert LabName.parse(str(name)) == name
    assert name.namespace("rs1") == "lab-4711-815-rs1"


@pytest.mark.parametrize("text", ["", "lab", "lab-1", "lab-1-2-client", "lab-1-2/..", "lab--1-2", " lab-1-2", "lab-1-2\n"])
def test_other_names_are_not_taken_for_labs(text: str) -> None:
    assert LabName.parse(text) is None


def test_owner_is_this_very_process_not_merely_its_pid() -> None:
    name = LabName.of_this_process()
    assert name.owner_pid == os.getpid()
    assert name.owner_is_alive()
    assert not name._replace(owner_start=name.owner_start + 1).owner_is_alive()


def test_owner_that_has_ended_is_dead_even_before_it_is_reaped() -> None:
    pid = os.posix_spawnp("cat", ("cat", "/proc/self/stat"), os.environ, file_actions=((os.POSIX_SPAWN_CLOSE, 1),))
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    start = int(Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()[19])
    zombie = LabName(pid, start)
    assert not zombie.owner_is_alive()
    os.waitpid(pid, 0)
    assert not zombie.owner_is_alive()


def test_only_own_directories_count_as_labs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    lab = LabName(1, 2)
    lab.directory.mkdir()
    (tmp_path / "appliance-lab-3-4").symlink_to(lab.directory)
    (tmp_path / "appliance-lab-5-6").touch()
    (tmp_path / "appliance-lab-other").mkdir()
    assert labs_on_disk() == [lab]
