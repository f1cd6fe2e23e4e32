"""runtime_files.py: what is kept from one run to the next, and who can read it."""

import stat
from pathlib import Path

import pytest

from appliance.director.runtime_files import kept_keys
from appliance.edge.errors import EdgeError


def file_of(name: str, directory: Path) -> Path:
    (file,) = (path for path in directory.iterdir() if path.name.startswith(name) and path.suffix != ".new")
    return file


NAMES = ["isn-secret", "cookie-secret"]


@pytest.fixture
def runtime_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Does not exist yet."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "run"))
    return tmp_path / "run"


@pytest.mark.parametrize(("place", "name"), list(enumerate(NAMES)))
def test_a_key_outlives_a_run_and_is_for_nobody_else_to_read(runtime_directory: Path, place: int, name: str) -> None:
    secret = kept_keys()[place]
    assert len(bytes.fromhex(secret)) == 16
    file = file_of(name, runtime_directory)
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert kept_keys()[place] == secret
    file.unlink()
    assert kept_keys()[place] != secret
    assert len(set(kept_keys())) == 2


@pytest.mark.parametrize("content", [b"", b"00" * 15, b"00" * 17, b"zz" * 16, b"\xff" * 32, b"00" * 16 + b"\n"])
def test_a_damaged_key_is_replaced(runtime_directory: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    kept_keys()
    file = file_of("cookie-secret", runtime_directory)
    file.write_bytes(content)
    (runtime_directory / f"{file.name}.new").touch(mode=0o644)  # what a crash in the middle of a write leaves
    secret = kept_keys().cookie_secret
    assert len(bytes.fromhex(secret)) == 16
    assert file.read_text() == secret
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(caplog.messages) == 1


def test_a_key_that_cannot_be_kept_is_an_error(runtime_directory: Path) -> None:
    runtime_directory.touch()
    with pytest.raises(EdgeError, match=r"cannot write .*isn-secret"):
        kept_keys()
