"""A writer for the archive format of an initramfs: cpio "newc" (Linux documentation, "initramfs buffer format")."""

import stat

MAGIC = b"070701"
END_NAME = "TRAILER!!!"
ALIGNMENT_BYTES = 4


class CpioWriter:
    """Collects entries, all owned by root, and makes the archive. A directory must be added before its content."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []
        self._inode = 0

    def directory(self, name: str) -> None:
        """Add an empty directory."""
        self._entry(name, stat.S_IFDIR | 0o755, b"")

    def file(self, name: str, content: bytes, mode: int = 0o644) -> None:
        """Add a regular file with these permission bits."""
        self._entry(name, stat.S_IFREG | mode, content)

    def symlink(self, name: str, target: str) -> None:
        """Add a symbolic link."""
        self._entry(name, stat.S_IFLNK | 0o777, target.encode())

    def finish(self) -> bytes:
        """The whole archive as bytes; after this, nothing may be added."""
        self._entry(END_NAME, 0, b"")
        return b"".join(self._parts)

    def _entry(self, name: str, mode: int, content: bytes) -> None:
        # Inode numbers begin at 1 and all differ, because entries with the same number would be hard links of each other.
        self._inode += 1
        encoded_name = name.encode() + b"\0"
        links, owner, group, modified, device, check = 1, 0, 0, 0, 0, 0
        fields = (
            self._inode, mode, owner, group, links, modified, len(content),
            device, device, device, device, len(encoded_name), check,
        )  # fmt: skip
        header = MAGIC + b"".join(b"%08X" % field for field in fields) + encoded_name
        self._parts += [_padded(header), _padded(content)]


def _padded(part: bytes) -> bytes:
    return part + b"\0" * (-len(part) % ALIGNMENT_BYTES)
