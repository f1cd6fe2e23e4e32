"""runtime_files.py: what is kept from one run to the next, and who can read it."""

import stat
from pathlib import Path

import pytest

from appliance.director.runtime_files import kept_isn_secret
from appliance.edge.errors import EdgeError


def only_file(directory: Path) -> Path:
    (file,) = directory.iterdir()
    return file


@pytest.fixture
def runtime_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Does not exist yet."""
    monkeypatch.setenv("RUNTIME_DIRECTORY", str(tmp_path / "run"))
    return tmp_path / "run"


def test_the_isn_secret_outlives_a_run_and_is_for_nobody_else_to_read(runtime_directory: Path) -> None:
    secret = kept_isn_secret()
    assert len(bytes.fromhex(secret)) == 16
    assert stat.S_IMODE(only_file(runtime_directory).stat().st_mode) == 0o600
    assert kept_isn_secret() == secret
    only_file(runtime_directory).unlink()
    assert kept_isn_secret() != secret


@pytest.mark.parametrize("content", [b"", b"00" * 15, b"00" * 17, b"zz" * 16, b"\xff" * 32, b"00" * 16 + b"\n"])
def test_a_damaged_isn_secret_is_replaced(runtime_directory: Path, content: bytes, caplog: pytest.LogCaptureFixture) -> None:
    kept_isn_secret()
    file = only_file(runtime_directory)
    file.write_bytes(content)
    (runtime_directory / f"{file.name}.new").touch(mode=0o644)  # what a crash in the middle of a write leaves
    secret = kept_isn_secret()
    assert len(bytes.fromhex(secret)) == 16
    assert only_file(runtime_directory).read_text() == secret
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert len(caplog.messages) == 1


def test_an_isn_secret_that_cannot_be_kept_is_an_error(runtime_directory: Path) -> None:
    runtime_directory.touch()
    with pytest.raises(EdgeError, match=r"cannot write .*isn-secret"):
        kept_isn_secret()
