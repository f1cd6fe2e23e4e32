"""edge/lane_object.py: a program that was compiled for another layout is refused, in words."""

import re
from pathlib import Path

import pytest

from appliance.edge import lane_object
from appliance.edge.errors import EdgeError
from appliance.ipc import lane_layout, session_record
from appliance.ipc.lane_header import PROGRAM_MARK, header, program_layout


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A file in the place of the program, as the compiler makes it of this header."""
    text = re.search(r'#define PROGRAM_LAYOUT "(.*)"', header())
    assert text is not None
    path = tmp_path / "lane.bpf.o"
    path.write_bytes(b"\x7fELF\0" + text[1].encode() + b"\0GPL\0")
    monkeypatch.setattr(lane_object, "OBJECTS", (tmp_path / "not there", path))
    return path


def test_a_program_of_this_version_is_found(program: Path) -> None:
    assert lane_object.object_file() == program


@pytest.mark.parametrize(("mark", "said"), [(f"{PROGRAM_MARK}0123456789abcdef", "0123456789abcdef"), ("", "unknown")])
def test_a_program_of_another_version_is_refused(program: Path, mark: str, said: str) -> None:
    program.write_bytes(b"\x7fELF\0" + mark.encode() + b"\0")
    with pytest.raises(EdgeError) as refused:
        lane_object.object_file()
    assert str(refused.value) == (
        f"its program {program} was built by another version of the appliance: it is for layout {said} and not "
        f"{program_layout()}; build it anew (make lane)"
    )


def test_a_program_that_cannot_be_read_is_named(program: Path) -> None:
    program.unlink()
    program.mkdir()
    with pytest.raises(EdgeError, match=f"its program {program} cannot be read: Is a directory"):
        lane_object.object_file()


def test_without_a_program_it_says_so(program: Path) -> None:
    program.unlink()
    with pytest.raises(EdgeError, match=r"its program is not built: there is no"):
        lane_object.object_file()


def test_whatever_the_header_says_is_part_of_the_layout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also what a run and the next one need not agree on: a front door is laid out anew by each, but by the program as well."""
    before = program_layout()
    fields = lane_layout.FRONT_DOOR_FIELDS
    monkeypatch.setattr(lane_layout, "FRONT_DOOR_FIELDS", (fields[1], fields[0], *fields[2:]))
    assert program_layout() != before
    monkeypatch.setattr(lane_layout, "FRONT_DOOR_FIELDS", fields)
    assert program_layout() == before
    monkeypatch.setattr(session_record, "VERSION", 99)
    assert program_layout() != before
