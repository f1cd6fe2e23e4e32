"""Network namespaces by name: create one, run a function in it, remove it. The names are those of `ip netns`."""

import fcntl
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import pyroute2
from pyroute2 import netns

from appliance.lab.processes import NamespaceId

_DIRECTORY = Path("/run/netns")
_CREATE_TIMEOUT_S = 60  # pyroute2 gives its helper process 2 s; an emulated or very busy machine needs more

_Result = TypeVar("_Result")


def path(name: str) -> Path:
    """The file that holds the namespace `name`."""
    return _DIRECTORY / name


def identity(name: str) -> NamespaceId | None:
    """The device and inode of the namespace, as processes in it show them; None when there is no such namespace."""
    try:
        status = path(name).stat()
    except FileNotFoundError:
        return None
    return status.st_dev, status.st_ino


def create(name: str) -> None:
    """Create a namespace. Raises OSError when the name is in use or the kernel refuses."""
    pyroute2.config.default_communicate_timeout = _CREATE_TIMEOUT_S
    _DIRECTORY.mkdir(parents=True, exist_ok=True)
    lock = os.open(_DIRECTORY, os.O_RDONLY | os.O_DIRECTORY)
    try:
        # The first creation since boot makes the directory a mount point, so only one process at a time may do it.
        fcntl.flock(lock, fcntl.LOCK_EX)
        netns.create(name)
    finally:
        os.close(lock)


def delete(name: str) -> None:
    """Remove a namespace, if it exists."""
    with suppress(FileNotFoundError):
        netns.remove(name)


def call_inside(name: str, function: Callable[[], _Result]) -> _Result:
    """Run `function` in a thread that has entered the namespace. Returns its result, or raises its exception.

    Each thread has its own network namespace. A socket stays in the namespace in which it was created, whichever thread
    uses it later.
    """

    def enter_and_call() -> _Result:
        netns.setns(name, flags=0)
        return function()

    with ThreadPoolExecutor(max_workers=1) as executor:
        return executor.submit(enter_and_call).result()
