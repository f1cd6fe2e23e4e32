"""The machine on which the figures were measured."""

import os
import platform
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple


class Machine(NamedTuple):
    """`cores` are those this process may use; `load_at_start` is the load average of the minute before, of all cores together."""

    kernel: str
    cpu: str
    cores: int
    python: str
    load_at_start: float

    @property
    def in_words(self) -> str:
        """One line of text, without its load."""
        return f"kernel {self.kernel}, {self.cpu}, {self.cores} cores, Python {self.python}"


def this_machine() -> Machine:
    """The machine of this process, at this moment."""
    cpu_lines = Path("/proc/cpuinfo").read_text().splitlines()
    cores = len(os.sched_getaffinity(0))
    return Machine(platform.release(), cpu_model(cpu_lines), cores, platform.python_version(), round(os.getloadavg()[0], 2))


def cpu_model(cpuinfo: Iterable[str]) -> str:
    """The model's name in the lines of /proc/cpuinfo; the architecture when there is none, as on arm64."""
    for line in cpuinfo:
        key, _, value = line.partition(":")
        if key.strip() == "model name":
            return value.strip()
    return platform.machine()
