"""The packages that build the manual are locked, and agree with those that the tests run with: both lie in one environment."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCS, DEV = "requirements-docs.lock", "requirements-dev.lock"
BROWSER = "requirements-browser.lock"
LOCKS = (DOCS, DEV, BROWSER, "requirements.lock", "requirements-build.lock", "requirements-fuzz.lock")


def locked(name: str) -> dict[str, set[str]]:
    """The packages of a lock file with their versions; there may be one for each version of Python."""
    versions: dict[str, set[str]] = {}
    for package, version in re.findall(r"^([a-z0-9-]+)==(\S+)", (ROOT / name).read_text(), re.MULTILINE):
        versions.setdefault(package, set()).add(version)
    return versions


@pytest.mark.parametrize(("name", "lock"), [("docs", DOCS), ("browser", BROWSER)])
def test_all_packages_of_the_extra_are_locked(name: str, lock: str) -> None:
    extra = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"][name]
    assert {re.split(r"[<>=]", package)[0] for package in extra} <= set(locked(lock))


def test_a_package_that_both_need_has_one_version() -> None:
    docs, dev = locked(DOCS), locked(DEV)
    common = docs.keys() & dev.keys()
    assert common
    assert {name: docs[name] for name in common} == {name: dev[name] for name in common}, "the lock file says how it was made"


@pytest.mark.parametrize("name", LOCKS)
def test_a_lock_file_has_hashes_and_no_address(name: str) -> None:
    text = (ROOT / name).read_text()
    assert "://" not in text
    entries = re.split(r"^(?=[a-z0-9-]+==)", text, flags=re.MULTILINE)[1:]
    assert all("--hash=sha256:" in entry for entry in entries)
