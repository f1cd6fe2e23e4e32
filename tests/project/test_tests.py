"""Rules for the tests themselves."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "tests").rglob("*.py"))

PACKAGE, UNIT = ROOT / "appliance", ROOT / "tests" / "unit"
OWN_ROOFS = {
    "stories": "what several modules do together",
    "support": "tests/support",
}
"""Folders of tests/unit that mirror no folder of the appliance, and what they are about."""

OTHER_SUBJECTS = {
    "test_architecture.py": "the whole package",
    "rest/test_api.py": "appliance/api.py, the front of rest",
}
"""Files of tests/unit that are named after no module beside theirs, and what they are about."""

PROPERTIES = "test_properties.py"
"""The name of a file with properties that hold for several modules of a folder."""


def imported(source: str) -> set[str]:
    """Dotted names of everything that a source text imports, also inside functions."""
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
    return names


def imported_tests(source: str) -> list[str]:
    """Those of the imported names that are in a file of tests."""
    names = (name for name in imported(source) if name.startswith("tests."))
    return sorted(name for name in names if any(part.startswith("test_") for part in name.split(".")))


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_file_imports_a_test(path: Path) -> None:
    """What several tests need is in tests/support, in a conftest, or beside the tests of a lab in a file of its own."""
    assert imported_tests(path.read_text()) == []


@pytest.mark.parametrize(
    "source", ["from tests.unit.nat.test_icmp import answer", "from tests.lab import test_loss", "import tests.unit.test_timers"]
)
def test_an_imported_test_is_noticed(source: str) -> None:
    assert len(imported_tests(f"def function():\n    {source}\n")) == 1


@pytest.mark.parametrize("source", ["from tests.support.world import World", "from tests.lab.conftest import RunningLab"])
def test_an_imported_helper_is_fine(source: str) -> None:
    assert imported_tests(source) == []


def has_its_module(test: Path) -> bool:
    """Whether a file of tests/unit is named after a module in the folder that its own folder mirrors.

    `test_host_counts.py` may be about a part of `host.py`.
    """
    folder, subject = PACKAGE / test.relative_to(UNIT).parent, test.stem.removeprefix("test_").split("_")
    return any((folder / f"{'_'.join(subject[:end])}.py").exists() for end in range(len(subject), 0, -1))


def unit_tests() -> list[Path]:
    """The files of tests/unit that have to mirror a module."""
    found = (path for path in UNIT.rglob("test_*.py") if path.name != PROPERTIES)
    return sorted(path for path in found if path.relative_to(UNIT).parts[0] not in OWN_ROOFS)


@pytest.mark.parametrize("path", unit_tests(), ids=lambda path: str(path.relative_to(UNIT)))
def test_each_file_of_unit_tests_is_about_the_module_it_is_named_after(path: Path) -> None:
    """A test of several modules is a story and belongs in tests/unit/stories."""
    assert has_its_module(path) or str(path.relative_to(UNIT)) in OTHER_SUBJECTS


def test_other_subjects_are_of_files_that_exist_and_need_it() -> None:
    assert all((UNIT / name).exists() and not has_its_module(UNIT / name) for name in OTHER_SUBJECTS)


def test_each_folder_of_the_appliance_has_its_folder_of_unit_tests() -> None:
    folders = {path.parent.relative_to(PACKAGE) for path in PACKAGE.rglob("*.py")}
    assert [str(folder) for folder in sorted(folders) if not list((UNIT / folder).glob("test_*.py"))] == []


def test_each_folder_of_unit_tests_mirrors_a_folder_of_the_appliance() -> None:
    folders = {path.parent.relative_to(UNIT) for path in UNIT.rglob("test_*.py")} - {Path(name) for name in OWN_ROOFS}
    assert [str(folder) for folder in sorted(folders) if not (PACKAGE / folder).is_dir()] == []


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("wire/test_seq.py", True),
        ("director/test_host_counts.py", True),
        ("test_timers.py", True),
        ("wire/test_nothing.py", False),
        ("nat/test_seq.py", False),
    ],
)
def test_a_file_without_a_module_is_noticed(name: str, expected: bool) -> None:
    assert has_its_module(UNIT / name) == expected


UNTESTED_HELPERS = {
    "addresses.py": "constants",
    "api_changes.py": "constants",
    "configuration.py": "the director's own, with a stand-in for the workers behind it",
    "fake_admissions.py": "a stand-in, as simple as it can be",
    "fake_tools.py": "stand-ins for tools, as simple as they can be",
    "traced.py": "constants",
    "gateway.py": "a stand-in of which each test of the API uses a part",
}
"""Files of tests/support without a test of their own, and why."""


@pytest.mark.parametrize("path", sorted((ROOT / "tests" / "support").glob("[!_]*.py")), ids=lambda path: path.name)
def test_each_file_of_support_is_tested(path: Path) -> None:
    assert (UNIT / "support" / f"test_{path.name}").exists() != (path.name in UNTESTED_HELPERS)
