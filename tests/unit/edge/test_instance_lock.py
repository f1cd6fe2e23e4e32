"""instance_lock.py: one holder at a time, and a file that nobody else can take, replace or point elsewhere."""

import fcntl
import os
import stat
from pathlib import Path

import pytest

from appliance.edge.errors import EdgeError
from appliance.edge.instance_lock import held


@pytest.fixture
def lock(tmp_path: Path) -> Path:
    """In a directory that does not exist yet."""
    return tmp_path / "run" / "lock-1"


def test_a_second_holder_is_refused_with_the_number_of_the_first(lock: Path) -> None:
    words = rf"another appliance \(pid {os.getpid()}\) already runs in this network namespace"
    with held(lock), pytest.raises(EdgeError, match=words), held(lock):
        pass
    with held(lock):
        """It is free again."""


def test_nobody_else_can_open_it(lock: Path) -> None:
    with held(lock):
        assert stat.S_IMODE(lock.stat().st_mode) == 0o600
        assert stat.S_IMODE(lock.parent.stat().st_mode) & 0o007 == 0


def test_a_holder_that_wrote_nothing_is_unknown(lock: Path) -> None:
    lock.parent.mkdir()
    lock.write_bytes(b"\xff")
    with lock.open() as stream:
        fcntl.flock(stream, fcntl.LOCK_EX)
        with pytest.raises(EdgeError, match="pid unknown"), held(lock):
            pass


def test_a_link_is_not_followed(lock: Path, tmp_path: Path) -> None:
    precious = tmp_path / "precious"
    precious.write_text("precious")
    lock.parent.mkdir()
    lock.symlink_to(precious)
    with pytest.raises(EdgeError, match="cannot lock"), held(lock):
        pass
    assert precious.read_text() == "precious"


def test_what_is_no_regular_file_is_refused(lock: Path) -> None:
    lock.parent.mkdir()
    os.mkfifo(lock, 0o600)
    with pytest.raises(EdgeError, match="cannot lock"), held(lock):
        pass


def test_a_directory_that_everybody_writes_to_is_refused(lock: Path) -> None:
    lock.parent.mkdir()
    lock.parent.chmod(0o777)
    with pytest.raises(EdgeError, match="everybody can write"), held(lock):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_of_another_user_is_refused_and_one_of_the_service_is_not(lock: Path) -> None:
    with held(lock):
        pass
    os.chown(lock, 61_234, 61_234)
    with pytest.raises(EdgeError, match="no file of root's or of the service's"), held(lock):
        pass
    os.chown(lock.parent, 61_234, 61_234)
    with held(lock):
        pass


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_a_file_that_root_makes_belongs_to_the_service(lock: Path) -> None:
    lock.parent.mkdir()
    os.chown(lock.parent, 61_234, 61_235)
    with held(lock):
        assert (lock.stat().st_uid, lock.stat().st_gid) == (61_234, 61_235)
