"""One unpacked Debian kernel: its image and its modules, and how they are unpacked."""

import lzma
import struct
from dataclasses import dataclass
from pathlib import Path

from tools.stock_kernel.packages import PROGRAM_PATH, newest_kernel_package, unpack
from tools.stock_kernel.tooling import SetupError, run_tool

# The x86 boot protocol (Linux documentation, "The Linux/x86 Boot Protocol"): offsets in the file's first sectors.
SETUP_SECTORS_OFFSET = 0x1F1
PAYLOAD_OFFSET = 0x248
SECTOR_BYTES = 512
XZ_MAGIC = b"\xfd7zXZ\x00"
ELF_MAGIC = b"\x7fELF"


@dataclass(frozen=True, slots=True)
class Kernel:
    """A kernel below `root`, laid out as in its package."""

    root: Path
    release: str

    @property
    def image(self) -> Path:
        """The file that qemu boots: the uncompressed kernel when there is one."""
        plain = self.root / "boot" / f"vmlinux-{self.release}"
        return plain if plain.exists() else self.root / "boot" / f"vmlinuz-{self.release}"

    @property
    def all_modules(self) -> Path:
        """The directory that the guest sees as /lib/modules."""
        return self.root / "lib" / "modules"

    @property
    def modules(self) -> Path:
        """The modules of this release; `modules.dep` is here."""
        return self.all_modules / self.release


def find(root: Path) -> Kernel:
    """The kernel below `root`. Raises SetupError when there is none or more than one."""
    images = sorted(root.glob("boot/vmlinuz-*"))
    if len(images) != 1:
        raise SetupError(f"expected one kernel in {root}/boot, found {len(images)}")
    return Kernel(root, images[0].name.removeprefix("vmlinuz-"))


def fetch(flavour: str, root: Path) -> None:
    """Fill `root` with the newest kernel of a flavour, ready to boot."""
    unpack(newest_kernel_package(flavour), root)
    kernel = find(root)
    # The package makes modules.dep when it is installed, and it is not.
    run_tool(["env", f"PATH={PROGRAM_PATH}", "depmod", "-b", str(root), kernel.release])
    plain = uncompressed(kernel.image.read_bytes())
    if plain is not None:
        (root / "boot" / f"vmlinux-{kernel.release}").write_bytes(plain)


def uncompressed(image: bytes) -> bytes | None:
    """The ELF kernel inside a compressed image; None when it cannot be unpacked.

    Unpacking it here takes half a second once; the emulated processor would take two seconds at every boot.
    """
    start, length = struct.unpack_from("<II", image, PAYLOAD_OFFSET)
    start += (image[SETUP_SECTORS_OFFSET] + 1) * SECTOR_BYTES
    payload = image[start : start + length]
    if not payload.startswith(XZ_MAGIC):
        return None
    # One stream only: four bytes with the unpacked size follow it, which lzma.decompress() takes for damage.
    plain = lzma.LZMADecompressor(lzma.FORMAT_XZ).decompress(payload)
    return plain if plain.startswith(ELF_MAGIC) else None
