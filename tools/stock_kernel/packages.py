"""Debian packages: installed on this machine when their programs must run here, or only unpacked into the cache."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tools.stock_kernel.tooling import SetupError, run_tool, say

# An ordinary user's PATH often leaves out the administrator's directories, where modprobe and depmod live.
PROGRAM_PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/local/sbin", "/usr/sbin", "/sbin"])
PACKAGE_LISTS = Path("/var/lib/apt/lists")
LOCK_WAIT_S = 300
# `env` instead of a changed environment here: the guest's command inherits ours.
APT_GET = ["env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "-q", "-o", f"DPkg::Lock::Timeout={LOCK_WAIT_S}"]


@dataclass(frozen=True, slots=True)
class Requirement:
    """A package of which at least one of these programs (a name, or an absolute path) must be there."""

    package: str
    programs: tuple[str, ...]

    def program(self) -> str | None:
        """The path of the first program that exists; None when there is none."""
        found = (shutil.which(name, path=PROGRAM_PATH) for name in self.programs)
        return next((path for path in found if path is not None), None)


def missing(requirements: Iterable[Requirement]) -> list[str]:
    """The packages none of whose programs is there."""
    return [wanted.package for wanted in requirements if wanted.program() is None]


def install_missing(requirements: Sequence[Requirement]) -> None:
    """Install missing packages. Raises SetupError with their names for a user who is not root, and when that fails."""
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
        raise SetupError(f"installed, but their programs are not in place: {' '.join(still)}")


def unpack(package: str, into: Path) -> None:
    """Download one package and unpack it into a directory, without installing it.

    So this machine gets no second kernel in its boot menu, and busybox-static does not replace another busybox, with which it
    conflicts.
    """
    say(f"downloading {package}")
    with tempfile.TemporaryDirectory(dir=into.parent, prefix="download.") as directory:
        _apt_get_with_fresh_lists(["download", package], cwd=Path(directory))
        archives = list(Path(directory).glob("*.deb"))
        if len(archives) != 1:
            raise SetupError(f"'apt-get download {package}' left {len(archives)} archives instead of one")
        run_tool(["dpkg", "-x", str(archives[0]), str(into)])


def newest_kernel_package(flavour: str) -> str:
    """The package of the newest kernel, on which `linux-image-FLAVOUR` depends."""
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
    # apt-cache fails for an unknown package: that means the same as an answer without the line.
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
    """Run apt-get. When it fails, try again with new package lists: mirrors remove versions that old lists name."""
    if not _have_lists():
        _update_lists()
    try:
        run_tool([*APT_GET, *arguments], cwd=cwd)
    except SetupError as first_failure:
        if os.geteuid() != 0:
            raise SetupError(f"{first_failure}\n(old package lists? as root: apt-get update)") from first_failure
        _update_lists()
        run_tool([*APT_GET, *arguments], cwd=cwd)
