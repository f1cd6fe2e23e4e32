"""The initramfs: busybox, the few modules that give access to the root filesystem, the two scripts and the job."""

import shlex
from pathlib import Path

from tools.stock_kernel.cpio import CpioWriter
from tools.stock_kernel.job import Job
from tools.stock_kernel.kernel import Kernel
from tools.stock_kernel.modules import load_order, plain_module, read_dependencies
from tools.stock_kernel.shares import Share, Transport

HERE = Path(__file__).parent
DIRECTORIES = ("bin", "dev", "lower", "modules", "new", "proc", "scratch", "sys")
APPLETS = (
    "cp", "hostname", "ifconfig", "insmod", "ln", "mkdir", "mount", "poweroff", "sh", "switch_root", "umount",
)  # fmt: skip
DRIVERS = ("virtio_pci", "virtio_console", "overlay")


def build(kernel: Kernel, busybox: Path, transport: Transport, shares: list[Share], job: Job) -> bytes:
    """The archive for one run. It is made for each run, which takes milliseconds, so that it is never out of date."""
    archive = CpioWriter()
    for name in DIRECTORIES:
        archive.directory(name)
    archive.file("bin/busybox", busybox.read_bytes(), 0o755)
    for applet in APPLETS:
        archive.symlink(f"bin/{applet}", "busybox")
    _add_modules(archive, kernel, (*DRIVERS, *transport.modules))
    archive.file("init", (HERE / "init.sh").read_bytes(), 0o755)
    archive.file("stage2", (HERE / "stage2.sh").read_bytes())
    archive.file("settings", settings(kernel, transport).encode())
    archive.file("shares", mounts(shares).encode())
    archive.file("job", job.script().encode(errors="surrogateescape"))
    archive.file("token", f"{job.token}\n".encode(), 0o600)
    return archive.finish()


def settings(kernel: Kernel, transport: Transport) -> str:
    """The variables that the init script reads, as shell assignments."""
    values = {
        "transport": transport.filesystem,
        "root_options": transport.root_options,
        "share_options": transport.share_options,
        "modules_directory": str(kernel.all_modules),
    }
    return "".join(f"{name}={shlex.quote(value)}\n" for name, value in values.items())


def mounts(shares: list[Share]) -> str:
    """A call of the init script's `share` for each writable directory, as a script."""
    writable = (share for share in shares if share.writable)
    return "".join(f"share {share.tag} {shlex.quote(str(share.directory))}\n" for share in writable)


def _add_modules(archive: CpioWriter, kernel: Kernel, names: tuple[str, ...]) -> None:
    dependencies = read_dependencies((kernel.modules / "modules.dep").read_text())
    builtin = (kernel.modules / "modules.builtin").read_text().split()
    for number, path in enumerate(load_order(names, dependencies, builtin)):
        # The numbers give the order, because the script loads them as its shell sorts them.
        archive.file(f"modules/{number:03d}-{Path(path).name}", plain_module(kernel.modules / path))
