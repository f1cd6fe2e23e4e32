"""How the guest sees directories of this machine: through the 9p server of qemu, or through virtiofsd."""

import contextlib
import os
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tools.stock_kernel.packages import Requirement
from tools.stock_kernel.process import start, stop
from tools.stock_kernel.tooling import SetupError, last_lines

ROOT_TAG = "root"
DAEMON_START_S = 10.0
POLL_S = 0.02


@dataclass(frozen=True, slots=True)
class Share:
    """One directory of this machine under the tag by which the guest mounts it."""

    tag: str
    directory: Path
    writable: bool


class Transport(Protocol):
    """A kind of file share: how the guest mounts it, and what qemu and this machine need for it."""

    filesystem: str
    root_options: str
    share_options: str
    modules: tuple[str, ...]
    requirements: tuple[Requirement, ...]

    def serve(self, shares: Sequence[Share], memory: str, directory: Path) -> contextlib.AbstractContextManager[list[str]]:
        """Serve the shares while the context lasts; gives qemu's arguments. `directory` is for sockets and logs."""


def all_shares(writable: Sequence[Path]) -> list[Share]:
    """The root, which is read-only, and the writable directories."""
    root = Share(ROOT_TAG, Path("/"), writable=False)
    return [root, *(Share(f"writable{number}", path, writable=True) for number, path in enumerate(writable))]


class NineP:
    """9p: the server is part of qemu, so it needs neither a daemon nor root, and qemu itself refuses to write."""

    filesystem = "9p"
    _COMMON = "trans=virtio,version=9p2000.L,msize=512000"
    # Nothing changes the root that the guest sees, so it may cache everything.
    root_options = f"ro,{_COMMON},cache=loose"
    # This machine sees writes at once, and files can still be mapped into memory for writing.
    share_options = f"{_COMMON},cache=mmap"
    modules: tuple[str, ...] = ("9pnet_virtio", "9p")
    requirements: tuple[Requirement, ...] = ()

    @contextlib.contextmanager
    def serve(self, shares: Sequence[Share], memory: str, directory: Path) -> Iterator[list[str]]:  # noqa: ARG002
        """Nothing has to be started."""
        yield [argument for share in shares for argument in self.device(share)]

    def device(self, share: Share) -> list[str]:
        """The arguments for the device of one share."""
        # Inode numbers of different mounts below a directory collide unless they are remapped.
        access = "" if share.writable else ",readonly=on"
        path = escaped(share.directory)
        backend = f"local,id={share.tag},path={path},security_model=none,multidevs=remap{access}"
        return ["-fsdev", backend, "-device", f"virtio-9p-pci,fsdev={share.tag},mount_tag={share.tag}"]


class VirtioFs:
    """virtiofs: a daemon per share, which needs root. For kernels that have no 9p."""

    filesystem = "virtiofs"
    root_options = "ro"
    share_options = "rw"
    modules: tuple[str, ...] = ("virtiofs",)
    # Debian 12 has the daemon in a package that qemu itself depends on; later releases in one of its own.
    requirements: tuple[Requirement, ...] = (Requirement("virtiofsd", ("/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd")),)

    # The daemon of Debian 12 cannot refuse to write, and its options cannot name a path with a comma. So it gets its
    # directory by a bind mount, read-only for the root, in a mount namespace of its own which dies with it.
    _BIND_AND_RUN = """
    mount --rbind "$1" "$2" || exit
    [ "$3" = rw ] || mount -o remount,bind,ro "$2" || exit
    shift 3
    exec "$@"
    """

    @contextlib.contextmanager
    def serve(self, shares: Sequence[Share], memory: str, directory: Path) -> Iterator[list[str]]:
        """Run a daemon for each share as long as the context lasts."""
        if os.geteuid() != 0:
            raise SetupError("virtiofs needs root (the amd64 flavour does not)")
        arguments = ["-object", f"memory-backend-memfd,id=memory,size={memory},share=on"]
        arguments += ["-numa", "node,memdev=memory"]
        with contextlib.ExitStack() as daemons:
            for share in shares:
                socket = directory / f"{share.tag}.socket"
                process = start(self._daemon(share, socket, directory), log=directory / f"{share.tag}.log")
                daemons.callback(stop, process)
                _wait_for_socket(socket, process, directory / f"{share.tag}.log")
                arguments += ["-chardev", f"socket,id={share.tag},path={escaped(socket)}"]
                arguments += ["-device", f"vhost-user-fs-pci,chardev={share.tag},tag={share.tag}"]
            yield arguments

    def _daemon(self, share: Share, socket: Path, directory: Path) -> list[str]:
        program = self.requirements[0].program()
        if program is None:
            raise SetupError("virtiofsd is not installed")
        source = directory / f"{share.tag}.source"
        source.mkdir()
        enter = ["unshare", "--mount", "--propagation", "private", "sh", "-c", self._BIND_AND_RUN, "sh"]
        bind = [str(share.directory), str(source), "rw" if share.writable else "ro"]
        daemon = [program, f"--socket-path={socket}", "-o", f"source={source},cache=always,sandbox=chroot"]
        return [*enter, *bind, *daemon]


def escaped(path: Path) -> str:
    """A path for an option list of qemu, in which a comma is written twice."""
    return str(path).replace(",", ",,")


def _wait_for_socket(socket: Path, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + DAEMON_START_S
    while not socket.exists():
        if process.poll() is not None or time.monotonic() > deadline:
            raise SetupError(f"virtiofsd did not start:\n{last_lines(log.read_text(errors='replace'))}")
        time.sleep(POLL_S)
