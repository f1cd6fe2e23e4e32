"""What a newcomer sees first is short, true and complete: README, Makefile, CONTRIBUTING, the pre-commit hooks."""

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()
HOOKS = (ROOT / ".pre-commit-config.yaml").read_text()


def test_the_readme_is_short() -> None:
    assert len(README.splitlines()) <= 120


@pytest.mark.parametrize("missing", ["health checks", "IPv6", "Python", "restart"])
def test_the_readme_says_early_what_is_not_there(missing: str) -> None:
    assert missing in "\n".join(README.splitlines()[:10])


def test_the_readme_has_the_two_commands() -> None:
    assert "```\nmake demo\nmake test\n```" in README


def linked_files(text: str) -> list[str]:
    """The targets of all links and pictures of a Markdown text that are files of this repository."""
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    return [target.partition("#")[0] for target in targets if "://" not in target and not target.startswith("#")]


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md", "SECURITY.md", "ARCHITECTURE.md"])
def test_links_lead_to_files(name: str) -> None:
    missing = [target for target in linked_files((ROOT / name).read_text()) if not (ROOT / target).exists()]
    assert missing == []


def test_the_makefile_lists_its_targets() -> None:
    listed = re.findall(r"^#   make ([a-z-]+) ", MAKEFILE, re.MULTILINE)
    [phony] = re.findall(r"^\.PHONY: (.+)$", MAKEFILE, re.MULTILINE)
    targets = re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE)
    assert sorted(listed) == sorted(phony.split()) == sorted(targets)


@pytest.mark.parametrize("name", ["README.md", "CONTRIBUTING.md"])
def test_targets_that_are_named_exist(name: str) -> None:
    targets = set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))
    assert set(re.findall(r"`make ([a-z-]+)", (ROOT / name).read_text())) <= targets


def commands_of_make_check() -> list[str]:
    environment = {name: value for name, value in os.environ.items() if name != "MAKEFLAGS"}  # of a `make check` around this
    plan = subprocess.run(
        ["make", "--dry-run", "--no-print-directory", "check"],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    return [line for line in plan.splitlines() if line.startswith(".venv/bin/python ")]


def test_the_hooks_run_what_make_check_runs() -> None:
    assert re.findall(r"^ +entry: (.+)$", HOOKS, re.MULTILINE) == commands_of_make_check()


def test_the_hooks_fetch_nothing() -> None:
    assert re.findall(r"repo: (.+)$", HOOKS, re.MULTILINE) == ["local"]
    assert set(re.findall(r"language: (.+)$", HOOKS, re.MULTILINE)) == {"system"}
