"""docs/lvs.md: a comment such as "LVS behaviour 3.11" names a section that is there, and each section has a purpose."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "lvs.md"
FOLDERS = ("appliance", "tests", "bench", "tools")

GENERAL = {"2", "3", "4.2", "4.4", "4.5", "6.2", "7"}
"""Sections that no comment needs to name: they complete what the sections beside them say."""

_NUMBER = r"\d+(?:\.\d+)?"
_LIST = re.compile(
    rf"LVS\s+behaviour,?\s+(?:sections?\s+)?({_NUMBER}(?:(?:,\s+|,?\s+and\s+|\s+to\s+)(?:sections?\s+)?{_NUMBER})*)"
)
_BESIDE = re.compile(rf"LVS\s+behaviour.*?\bsection\s+({_NUMBER})")
_RANGE = re.compile(rf"({_NUMBER})\s+to\s+({_NUMBER})")
_HEADING = re.compile(rf"(?m)^(?:\((\S+)\)=\n)?#{{2,3}} ({_NUMBER}) ")


def numbers_in(text: str) -> set[str]:
    """The numbers of all sections that a text refers to; a range such as "3.3 to 3.7" means each number in it."""
    found = set(_BESIDE.findall(text))
    for listed in _LIST.findall(text):
        found |= set(re.findall(_NUMBER, listed))
        for first, last in _RANGE.findall(listed):
            found |= set(_between(first, last))
    return found


def _between(first: str, last: str) -> Iterator[str]:
    chapter, start = first.split(".")
    assert last.startswith(f"{chapter}.")
    return (f"{chapter}.{number}" for number in range(int(start), int(last.split(".")[1]) + 1))


def referred() -> dict[str, set[Path]]:
    """Each number that a file refers to, with the files."""
    files: dict[str, set[Path]] = {}
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*.py"):
            if path == Path(__file__):
                continue
            for number in numbers_in(path.read_text()):
                files.setdefault(number, set()).add(path.relative_to(ROOT))
    return files


def sections() -> dict[str, str]:
    """Each numbered section of the page, with its anchor; empty when it has none."""
    return {number: anchor for anchor, number in _HEADING.findall(PAGE.read_text())}


@pytest.mark.parametrize(
    ("text", "numbers"),
    [
        ("LVS behaviour 3.11", {"3.11"}),
        ("LVS behaviour 4.1, RFC 4987.", {"4.1"}),
        ("LVS behaviour, section 6.1.", {"6.1"}),
        ("LVS behaviour 2.3 (5) and more", {"2.3"}),
        ("LVS behaviour 3.3, 3.4, 3.6, 3.7.", {"3.3", "3.4", "3.6", "3.7"}),
        ("LVS behaviour sections 3.3, 3.4, 3.8 and 6", {"3.3", "3.4", "3.8", "6"}),
        ("LVS behaviour 3.3 to 3.5, and rows 1, 2 of section 12.", {"3.3", "3.4", "3.5", "12"}),
        ("LVS behaviour 3.5, section 12 row 3, RFC 5961", {"3.5", "12"}),
        ("LVS\nbehaviour 3.9", {"3.9"}),
        ("RFC 9293, section 3.1", set()),
    ],
)
def test_a_reference_is_understood(text: str, numbers: set[str]) -> None:
    assert numbers_in(text) == numbers


def test_there_are_references() -> None:
    assert len(referred()) > 10


def test_every_number_that_a_file_refers_to_has_its_section() -> None:
    missing = {number: sorted(map(str, files)) for number, files in referred().items() if number not in sections()}
    assert not missing, f"docs/lvs.md has no section for these numbers: {missing}"


def test_every_section_is_referred_to_or_general() -> None:
    assert sections().keys() - referred().keys() - GENERAL == set()


def test_general_sections_exist() -> None:
    assert sections().keys() >= GENERAL


@pytest.mark.parametrize("number", sections())
def test_a_section_has_an_anchor_of_its_number(number: str) -> None:
    assert sections()[number] == f"lvs-{number.replace('.', '-')}"
