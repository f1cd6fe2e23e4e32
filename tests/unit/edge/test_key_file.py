"""edge/key_file.py: only a regular file that no stranger can read or change is used, and nothing keeps the reader waiting."""

import os
from pathlib import Path

import pytest

from appliance.edge import key_file, trusted_file
from appliance.edge.errors import EdgeError

MOST = 100


def reason(path: Path | str, *, is_secret: bool = True, may_be_link: bool = False) -> str:
    """Why a file is refused; empty when it is read."""
    try:
        key_file.read(str(path), MOST, is_secret=is_secret, may_be_link=may_be_link)
    except EdgeError as error:
        return str(error)
    return ""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "keys"
    path.write_text("secret\n")
    path.chmod(0o640)
    return path


def test_a_file_for_its_owner_and_group_is_read(file: Path) -> None:
    assert key_file.read(str(file), MOST, is_secret=True, may_be_link=False) == "secret\n"


@pytest.mark.parametrize(
    ("mode", "is_secret", "expected"),
    [
        (0o600, True, ""),
        (0o644, True, "every user may read it (mode 0644); chmod o-rwx"),
        (0o644, False, ""),
        (0o660, True, "others than its owner may change it (mode 0660); chmod go-w"),
        (0o642, False, "others than its owner may change it (mode 0642); chmod go-w"),
    ],
)
def test_what_others_may_do_with_it_decides(file: Path, mode: int, is_secret: bool, expected: str) -> None:
    file.chmod(mode)
    assert reason(file, is_secret=is_secret) == expected


def test_a_file_of_another_user_is_refused(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 4711)
    monkeypatch.setattr(trusted_file, "_ROOT", 4712)
    assert reason(file) == f"it belongs to user {os.getuid()}, and neither to root nor to the user of the appliance"


def test_a_link_is_refused_or_followed_as_asked(file: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(file)
    assert reason(link) == "it is a symbolic link"
    assert reason(link, may_be_link=True) == ""
    file.chmod(0o644)
    assert "every user" in reason(link, may_be_link=True), "what the link points to is looked at"


def test_a_fifo_is_refused_at_once(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path, 0o600)
    assert reason(path) == "it is not a regular file"


@pytest.mark.parametrize("path", ["/dev/zero", "/", "/nonexistent", "/etc/\0"])
def test_other_places_are_refused(path: str) -> None:
    assert reason(path)


def test_a_file_that_is_too_long_is_refused(file: Path) -> None:
    file.write_text("x" * MOST)
    assert reason(file) == ""
    file.write_text("x" * (MOST + 1))
    assert reason(file) == f"it is longer than {MOST} bytes"


def test_bytes_that_are_no_text_are_refused(file: Path) -> None:
    file.write_bytes(b"\xff")
    assert reason(file) == "it is not UTF-8 text"
