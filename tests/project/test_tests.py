"""Rules for the tests themselves."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FILES = sorted((ROOT / "tests").rglob("*.py"))


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
