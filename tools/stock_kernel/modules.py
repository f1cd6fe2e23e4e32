"""Which kernel modules the initramfs has to load, and in which order."""

import lzma
from collections.abc import Iterable, Mapping
from pathlib import Path, PurePosixPath

from tools.stock_kernel.tooling import SetupError


def read_dependencies(modules_dep: str) -> dict[str, list[str]]:
    """`modules.dep` as a mapping from a module's path to the paths it needs, all relative to the release's directory."""
    pairs = (line.split(":", 1) for line in modules_dep.splitlines() if ":" in line)
    return {path.strip(): needed.split() for path, needed in pairs}


def module_name(path: str) -> str:
    """The name of a module: its file name without suffixes, with underscores instead of dashes."""
    return PurePosixPath(path).name.split(".ko", 1)[0].replace("-", "_")


def load_order(wanted: Iterable[str], dependencies: Mapping[str, list[str]], builtin: Iterable[str]) -> list[str]:
    """The paths to load for these module names, each once and after everything it needs.

    What is built into the kernel needs no loading. Raises SetupError for a name that the kernel does not have at all.
    """
    paths = {module_name(path): path for path in dependencies}
    built_in = {module_name(path) for path in builtin}
    order: dict[str, None] = {}
    for name in wanted:
        if name in paths:
            _append_with_needs(paths[name], dependencies, order)
        elif name not in built_in:
            raise SetupError(f"this kernel has no module {name}")
    return list(order)


def _append_with_needs(path: str, dependencies: Mapping[str, list[str]], order: dict[str, None]) -> None:
    if path in order:
        return
    for needed in dependencies[path]:
        _append_with_needs(needed, dependencies, order)
    order[path] = None


def plain_module(path: Path) -> bytes:
    """A module's object code; the insmod of the initramfs cannot take a compressed one."""
    content = path.read_bytes()
    if path.suffix == ".ko":
        return content
    if path.suffix == ".xz":
        return lzma.decompress(content)
    raise SetupError(f"do not know how to unpack {path.name}")
