"""line_output.py: what a file takes, which files it refuses, and that nothing ever waits or leaves half a line."""

import errno
import os
import resource
import stat
from pathlib import Path

import pytest

from appliance.edge.errors import EdgeError
from appliance.edge.line_output import LONGEST_LINE_BYTES, RotatedFile, StandardError, Written

LINES = [b"one\n", b"two\n", b"three\n"]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    tmp_path.chmod(0o750)
    return tmp_path / "sessions.log"


def opened(path: Path, max_bytes: int = 1 << 20, older: int = 2) -> RotatedFile:
    return RotatedFile(str(path), max_bytes, older)


def test_lines_are_added_to_what_is_there(path: Path) -> None:
    path.write_text("zero\n")
    output = opened(path)
    assert output.write(LINES) == Written(3, "")
    output.close()
    assert output.write([b"four\n"]) == Written(1, "")
    assert path.read_text() == "zero\none\ntwo\nthree\nfour\n"


def test_a_new_file_is_for_its_owner_and_group(path: Path) -> None:
    before = os.umask(0)
    try:
        opened(path).write(LINES)
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640


def test_a_long_file_is_renamed_and_so_many_older_ones_are_kept(path: Path) -> None:
    output = opened(path, max_bytes=10, older=2)
    for number in range(7):
        assert output.write([b"line %d\n" % number]) == Written(1, "")
    assert sorted(each.name for each in path.parent.iterdir()) == ["sessions.log", "sessions.log.1", "sessions.log.2"]
    texts = [path.with_name(name).read_text() for name in ("sessions.log.2", "sessions.log.1", "sessions.log")]
    assert texts == ["line 4\n", "line 5\n", "line 6\n"]
    assert output.write([b"a line that is longer than the file may be\n"]) == Written(1, ""), "it has a file of its own"


def test_several_lines_of_one_write_may_need_several_files(path: Path) -> None:
    assert opened(path, max_bytes=8, older=5).write(LINES) == Written(3, "")
    assert [path.with_name(name).read_text() for name in ("sessions.log.1", "sessions.log")] == ["one\ntwo\n", "three\n"]


def test_a_file_that_somebody_has_renamed_removed_or_emptied_is_found_again(path: Path) -> None:
    output = opened(path)
    output.write(LINES[:1])
    path.rename(path.with_suffix(".moved"))
    output.write(LINES[1:2])
    assert path.read_text() == "two\n"
    path.unlink()
    output.write(LINES[2:])
    assert path.read_text() == "three\n"
    os.truncate(path, 0)
    assert output.write(LINES[:1]) == Written(1, "")
    assert path.read_bytes() == b"one\n"


def test_a_descriptor_that_somebody_has_closed_is_no_harm(path: Path) -> None:
    output = opened(path)
    assert output._descriptor is not None
    os.close(output._descriptor)
    assert output.write(LINES[:1]) == Written(1, "")
    assert path.read_text() == "one\n"


def test_without_a_descriptor_lines_are_lost_until_there_is_one(path: Path) -> None:
    output = opened(path)
    output.close()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, hard))
    try:
        written = output.write(LINES)
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    assert written.lines == 0
    assert "Too many open files" in written.problem
    assert output.write(LINES) == Written(3, "")


def test_a_full_disk_takes_whole_lines_or_none(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    output = opened(path)
    output.write(LINES[:1])
    write, room = os.write, [6]

    def short(descriptor: int, data: bytes) -> int:
        if not room[0]:
            raise OSError(28, "No space left on device")
        taken = write(descriptor, data[: room[0]])
        room[0] -= taken
        return taken

    monkeypatch.setattr("appliance.edge.line_output.os.write", short)
    assert output.write(LINES[1:]) == Written(1, f"{path}: No space left on device"), "the first fits, of the second two bytes"
    assert path.read_text() == "one\ntwo\n"
    assert output.write(LINES[2:]).lines == 0
    monkeypatch.undo()
    assert output.write(LINES[2:]) == Written(1, "")
    assert path.read_text() == "one\ntwo\nthree\n"


def test_a_name_that_cannot_be_renamed_to_costs_lines_and_the_file_stays_in_its_bounds(path: Path) -> None:
    output = opened(path, max_bytes=10, older=1)
    output.write([b"12345678\n"])
    path.with_name("sessions.log.1").mkdir()
    written = output.write([b"12345678\n"])
    assert written.lines == 0
    assert "Is a directory" in written.problem
    assert path.stat().st_size == 9
    path.with_name("sessions.log.1").rmdir()
    assert output.write([b"12345678\n"]) == Written(1, "")


def refused(path: Path) -> str:
    with pytest.raises(EdgeError) as error:
        opened(path)
    assert str(error.value).startswith(f"{path}: ")
    return str(error.value).removeprefix(f"{path}: ")


def test_a_link_is_not_followed_wherever_it_goes(path: Path) -> None:
    target = path.with_name("target")
    path.symlink_to(target)
    assert refused(path) == "it is a symbolic link"
    target.write_text("precious\n")
    assert refused(path) == "it is a symbolic link"
    assert target.read_text() == "precious\n"


def test_a_link_that_comes_while_it_runs_is_not_followed_either(path: Path) -> None:
    output = opened(path)
    output.write(LINES[:1])
    target = path.with_name("target")
    target.write_text("precious\n")
    path.unlink()
    path.symlink_to(target)
    assert output.write(LINES[1:]) == Written(0, f"{path}: it is a symbolic link")
    assert target.read_text() == "precious\n"


def test_a_hard_link_of_another_file_is_not_written_to(path: Path) -> None:
    target = path.with_name("target")
    target.write_text("precious\n")
    os.link(target, path)
    assert refused(path) == "it has another name as well (a hard link)"
    assert target.read_text() == "precious\n"


def test_what_is_no_regular_file_keeps_nobody_waiting(path: Path) -> None:
    os.mkfifo(path)
    assert refused(path).startswith("it cannot be opened")  # a FIFO that nobody reads
    reader = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    assert refused(path) == "it is not a regular file"
    os.close(reader)
    path.unlink()
    path.mkdir()
    assert refused(path) == "it cannot be opened: Is a directory"


def test_a_file_that_others_may_change_is_not_used(path: Path) -> None:
    path.touch()
    path.chmod(0o660)
    assert refused(path) == "others than its owner may change it (mode 0660); chmod go-w"


def test_nor_one_in_a_directory_that_everybody_may_write_to(path: Path) -> None:
    path.parent.chmod(0o1777)
    assert refused(path) == "everybody may write to its directory"
    assert not path.exists()


def test_nor_one_of_somebody_else(path: Path) -> None:
    path.touch()
    if os.geteuid():
        pytest.skip("only root gives files away")
    os.chown(path, 4242, 4242)
    assert refused(path) == "it belongs to user 4242, and neither to root nor to the user of the appliance"


def test_a_directory_that_is_not_there(path: Path) -> None:
    missing = path.parent / "missing" / "sessions.log"
    assert refused(missing) == "it cannot be opened: No such file or directory"


class TestStandardError:
    def test_lines_come_out(self) -> None:
        reader, writer = os.pipe()
        assert StandardError(writer).write(LINES) == Written(3, "")
        assert os.read(reader, 100) == b"one\ntwo\nthree\n"
        os.close(reader)
        os.close(writer)

    def test_while_nobody_reads_it_takes_what_there_is_room_for_and_never_waits(self) -> None:
        reader, writer = os.pipe()
        line = b"x" * (LONGEST_LINE_BYTES - 1) + b"\n"
        written = StandardError(writer).write([line] * 100)
        assert 0 < written.lines < 100
        assert written.problem == "nobody reads the standard error"
        assert os.read(reader, 1 << 20) == line * written.lines, "whole lines"
        assert StandardError(writer).write([line]) == Written(1, "")
        os.close(reader)
        os.close(writer)

    def test_a_reader_that_has_gone_is_said(self) -> None:
        reader, writer = os.pipe()
        os.close(reader)
        assert StandardError(writer).write(LINES) == Written(0, "the standard error cannot be written: Broken pipe")
        os.close(writer)

    def test_so_is_a_descriptor_that_is_closed(self) -> None:
        assert StandardError(4095).write(LINES).lines == 0

    def test_lines_before_an_error_are_written(self, monkeypatch: pytest.MonkeyPatch) -> None:
        reader, writer = os.pipe()
        room = iter((len(LINES[0]), len(LINES[1])))

        def write(_: int, line: bytes) -> int:
            for taken in room:
                return taken
            raise OSError(errno.EIO, os.strerror(errno.EIO), line)

        monkeypatch.setattr("appliance.edge.line_output.os.write", write)
        assert StandardError(writer).write(LINES).lines == 2
        monkeypatch.undo()
        os.close(reader)
        os.close(writer)
