"""Debian packages: installed on this machine for the programs that run here, or only unpacked into the cache."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.stock_kernel.tooling import SetupError, run_tool, say

# The PATH of an ordinary user often lacks the directories of modprobe and depmod.
PROGRAM_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])
PACKAGE_LISTS = Path("/var/lib/apt/lists")
LOCK_WAIT_S = 300
# With `env`, and not in the environment of this process, because the guest's command inherits that.
APT_GET = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-o", f"DPkg::Lock::Timeout={LOCK_WAIT_S}"]


@dataclass(frozen=True, slots=True)
class Requirement:
    """A package that is needed for one of these programs; each is a name or an absolute path."""

    package: str
    programs: tuple[str, ...]

    def program(self) -> str | None:
        """The path of the first of the programs that exists."""
        found = (shutil.which(name, path=PROGRAM_PATH) for name in self.programs)
        return next((path for path in found if path is not None), None)


def missing(requirements: Iterable[Requirement]) -> list[str]:
    """The packages of which no program exists."""
    return [wanted.package for wanted in requirements if wanted.program() is None]


def install_missing(requirements: Sequence[Requirement]) -> None:
    """Install what is missing. Raises SetupError, which names the packages, when that is not allowed or fails."""
    packages = missing(requirements)
    if not packages:
        return
    names = " ".join(packages)
    if os.geteuid() != 0:
        raise SetupError(f"missing packages: {names} (as root: apt-get install --no-install-recommends {names})")
    say(f"installing {names}")
    _apt_get_with_fresh_lists(["install", "--yes", "--no-install-recommends", *packages])
    still = missing(requirements)
    if still:
        raise SetupError(f"these packages are installed, but their programs are missing: {' '.join(still)}")


def unpack(package: str, into: Path) -> None:
    """Download one package and unpack it into a directory, without installing it.

    So neither a second kernel in this machine's boot menu, nor busybox-static in the place of the busybox that the
    administrator chose (the two conflict).
    """
    say(f"downloading {package}")
    with tempfile.TemporaryDirectory(dir=into.parent, prefix="download.") as directory:
        _apt_get_with_fresh_lists(["download", package], cwd=Path(directory))
        archives = list(Path(directory).glob("*.deb"))
        if len(archives) != 1:
            raise SetupError(f"'apt-get download {package}' left {len(archives)} archives instead of one")
        run_tool(["dpkg", "-x", str(archives[0]), str(into)])


def newest_kernel_package(flavour: str) -> str:
    """The package that `linux-image-FLAVOUR` stands for at present."""
    meta_package = f"linux-image-{flavour}"
    if not _have_lists():
        _update_lists()
    match = _versioned_image(meta_package)
    if match is None:
        _update_lists()
        match = _versioned_image(meta_package)
    if match is None:
        raise SetupError(f"no package {meta_package}: this needs Debian's package sources")
    return match


def _versioned_image(meta_package: str) -> str | None:
    # apt-cache fails for an unknown package. That means the same as an answer without the line: there is no candidate.
    try:
        described = run_tool(["apt-cache", "depends", meta_package])
    except SetupError:
        return None
    match = re.search(r"Depends: (linux-image-\S+)", described)
    return match.group(1) if match else None


def _have_lists() -> bool:
    return any(PACKAGE_LISTS.glob("*_Packages*"))


def _update_lists() -> None:
    if os.geteuid() != 0:
        raise SetupError("the package lists are empty or too old (as root: apt-get update)")
    say("updating the package lists")
    run_tool([*APT_GET, "update"])


def _apt_get_with_fresh_lists(arguments: Sequence[str], cwd: Path | None = None) -> None:
    """Run apt-get. If it fails, try again with new lists, because a mirror may not have the versions of old lists any more."""
    if not _have_lists():
        _update_lists()
    try:
        run_tool([*APT_GET, *arguments], cwd=cwd)
    except SetupError as first_failure:
        if os.geteuid() != 0:
            raise SetupError(f"{first_failure}\n(old package lists? as root: apt-get update)") from first_failure
        _update_lists()
        run_tool([*APT_GET, *arguments], cwd=cwd)
