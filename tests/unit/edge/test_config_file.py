"""edge/config_file.py: a file is written in one step, with its rights, and never over somebody's changes."""

import os
from pathlib import Path

import pytest

from appliance.edge.config_file import replace
from appliance.edge.errors import EdgeError


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "lvs.toml"
    file.write_text("before\n")
    file.chmod(0o640)
    return file


def test_it_has_the_new_text_and_its_rights(file: Path) -> None:
    replace(file, "before\n", "after\n")
    assert (file.read_text(), file.stat().st_mode & 0o7777) == ("after\n", 0o640)
    assert list(file.parent.iterdir()) == [file]


def test_a_link_stays_and_the_file_behind_it_is_written(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(file.name)
    replace(link, "before\n", "after\n")
    assert link.is_symlink()
    assert file.read_text() == "after\n"


def test_another_text_is_left_alone(file: Path) -> None:
    with pytest.raises(EdgeError, match="has been changed meanwhile"):
        replace(file, "other\n", "after\n")
    assert file.read_text() == "before\n"


def test_a_change_in_the_last_moment_is_left_alone(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda _: file.write_text("operator's\n"))
    with pytest.raises(EdgeError, match="has been changed meanwhile"):
        replace(file, "before\n", "after\n")
    assert file.read_text() == "operator's\n"
    assert list(file.parent.iterdir()) == [file]


def test_a_full_disk_changes_nothing(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(EdgeError, match="cannot be written: No space left on device"):
        replace(file, "before\n", "after\n")
    assert file.read_text() == "before\n"
    assert list(file.parent.iterdir()) == [file]


def test_a_file_that_is_gone_is_not_made(tmp_path: Path) -> None:
    with pytest.raises(EdgeError, match="No such file or directory"):
        replace(tmp_path / "gone", "before\n", "after\n")
    assert not list(tmp_path.iterdir())


def test_a_byte_order_mark_stays(file: Path) -> None:
    file.write_text("\ufeffbefore\n")
    replace(file, "before\n", "after\n")
    assert file.read_text() == "\ufeffafter\n"


@pytest.mark.skipif(os.geteuid() != 0, reason="gives a file to another user: needs root")
def test_its_owner_stays(file: Path) -> None:
    os.chown(file, 1234, 5678)
    replace(file, "before\n", "after\n")
    assert (file.stat().st_uid, file.stat().st_gid) == (1234, 5678)
