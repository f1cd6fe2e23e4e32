"""What a run needs on this machine: packages, a kernel, a busybox. They are fetched once, under a lock, and kept in the cache."""

import contextlib
import fcntl
import os
import platform
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tools.stock_kernel import kernel, qemu
from tools.stock_kernel.packages import Requirement, install_missing, unpack
from tools.stock_kernel.shares import NineP, Transport, VirtioFs
from tools.stock_kernel.tooling import SetupError, say

# Debian's kernel flavours that can be booted, and what each can mount its root from. The plain one is the default
# although its package is the larger (70 MB against 27 MB: some 4 s more, once). It is the kernel of an ordinary host; it
# needs neither a daemon nor root; qemu itself refuses writes to the root. On two cores without KVM it is also ready a
# little earlier (3.3 s against 3.6 s); with many files to open, virtiofs makes up for that.
FLAVOURS: dict[str, Transport] = {"amd64": NineP(), "cloud-amd64": VirtioFs()}
DEFAULT_FLAVOUR = "amd64"

REQUIREMENTS = (
    Requirement("qemu-system-x86", (qemu.PROGRAM,)),
    Requirement("kmod", ("modprobe",)),
)


@dataclass(frozen=True, slots=True)
class Provisions:
    """Everything in place."""

    kernel: kernel.Kernel
    busybox: Path
    transport: Transport


def cache_directory(environment: Mapping[str, str]) -> Path:
    """Where downloads are kept: below XDG_CACHE_HOME, which counts only when absolute, else ~/.cache."""
    configured = Path(environment.get("XDG_CACHE_HOME", ""))
    base = configured if configured.is_absolute() else Path(environment.get("HOME", "/root")) / ".cache"
    return base / "appliance-stock-kernel"


def provide(cache: Path, flavour: str) -> Provisions:
    """Provide everything that is missing, one step after the other. Raises SetupError."""
    if platform.machine() != "x86_64" or shutil.which("apt-get") is None:
        raise SetupError("this works on Debian for x86-64 only")
    transport = FLAVOURS[flavour]
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with _locked(cache / "lock"):
            install_missing([*REQUIREMENTS, *transport.requirements])
            busybox = _once(cache / "busybox", lambda root: unpack("busybox-static", root))
            image = _once(cache / f"kernel-{flavour}", lambda root: kernel.fetch(flavour, root))
    except OSError as error:
        raise SetupError(f"cannot use the cache directory {cache}: {error}") from error
    return Provisions(kernel.find(image), busybox / "bin" / "busybox", transport)


def _once(place: Path, make: Callable[[Path], None]) -> Path:
    """Make a directory unless it exists. It gets its name when it is complete, so that an incomplete one is never used."""
    if not place.exists():
        with tempfile.TemporaryDirectory(dir=place.parent, prefix=f"{place.name}.") as unfinished:
            content = Path(unfinished) / "content"
            content.mkdir()
            make(content)
            content.rename(place)
    return place


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold the lock for the block: of several runs at the same time, one fetches and the others wait."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another run's preparations")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
