"""The CPU time of a measurement, from control groups (cgroup v2) of our own.

Two groups: `gateway` has the gateway's processes (HAProxy, the queue loop, director and workers), `ends` has everything else of
the benchmark: clients, real servers, this program. The kernel counts the time of a group to the microsecond, in the kernel and
outside, and needs no controller for it.

A packet is forwarded in the softirq of whoever sent it, and that time is counted for the group of the sender. So the work of
routing and NAT, which have no process, is in `ends`; all of it is in the sum of both, as long as the same load is made. What the
kernel leaves to ksoftirqd is counted as `softirqd`, for the whole machine. Not in the sum: softirqs that interrupt the idle task
or a program that is not ours. What all cores did besides tells how quiet the machine was.
"""

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

ENVIRONMENT = "BENCH_CPU_GROUPS"
"""The environment variable that names the directory of both groups to the program inside the lab."""

_GATEWAY, _ENDS = "gateway", "ends"
_MOUNTS, _STAT = Path("/proc/self/mounts"), Path("/proc/stat")
_REMOVE_ATTEMPTS, _REMOVE_PAUSE_S = 50, 0.1
_NANOSECONDS_PER_MICROSECOND = 1000


class CpuTime(NamedTuple):
    """Microseconds used so far, or between two moments."""

    gateway_us: float
    ends_us: float
    softirqd_us: float
    machine_us: float
    """What all cores did that was not waiting, whoever it was for; counted in ticks of 10 ms or less."""
    passed_us: float
    """The time of all cores together."""

    @property
    def all_us(self) -> float:
        """Everything that is counted as the benchmark's."""
        return self.gateway_us + self.ends_us + self.softirqd_us

    @property
    def others_share(self) -> float:
        """The share of all cores that went to others, from 0 to 1."""
        return max(0.0, self.machine_us - self.all_us) / self.passed_us if self.passed_us else 0.0

    def since(self, before: "CpuTime") -> "CpuTime":
        """What was used since then."""
        return CpuTime(*(now - then for now, then in zip(self, before, strict=True)))


class CpuMeter:
    """Reads both groups in a directory that `groups` made."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._softirqd = [path.parent / "schedstat" for path in Path("/proc").glob("[0-9]*/comm") if _is_softirqd(path)]

    def now(self) -> CpuTime:
        """The time used so far."""
        gateway, ends = (usage_us((self._directory / group / "cpu.stat").read_text()) for group in (_GATEWAY, _ENDS))
        nanoseconds = sum(int(path.read_text().split()[0]) for path in self._softirqd)
        busy_us, passed_us = machine_us(_STAT.read_text())
        return CpuTime(gateway, ends, nanoseconds / _NANOSECONDS_PER_MICROSECOND, busy_us, passed_us)


def usage_us(cpu_stat: str) -> int:
    """Microseconds in the text of a group's cpu.stat. Raises ValueError when it has none."""
    for line in cpu_stat.splitlines():
        name, _, value = line.partition(" ")
        if name == "usage_usec":
            return int(value)
    raise ValueError(f"cpu.stat has no usage_usec: {cpu_stat!r}")


def machine_us(stat: str) -> tuple[float, float]:
    """Microseconds in which all cores were busy, and those that passed, since the start, from the text of /proc/stat."""
    # cpu, then user, nice, system, idle, iowait, irq, softirq, steal; guest time is a part of user time.
    ticks = [int(value) for value in stat.splitlines()[0].split()[1:9]]
    us_per_tick = 1e6 / os.sysconf("SC_CLK_TCK")
    return (sum(ticks) - ticks[3] - ticks[4]) * us_per_tick, sum(ticks) * us_per_tick


def mount_point(mounts: str) -> Path | None:
    """Where cgroup v2 is mounted, from the text of /proc/mounts; None when it is not."""
    rows = (line.split() for line in mounts.splitlines())
    return next((Path(row[1]) for row in rows if row[2] == "cgroup2"), None)


@contextmanager
def groups() -> Iterator[Path | None]:
    """With the directory of both groups, which ENVIRONMENT names meanwhile; None where this host has none or refuses them.

    Whatever still runs in them at the end is killed.
    """
    mounted = mount_point(_MOUNTS.read_text())
    directory = mounted and mounted / f"appliance-bench-{os.getpid()}"
    try:
        if directory is None or not _made(directory):
            yield None
            return
        os.environ[ENVIRONMENT] = str(directory)
        yield directory
    finally:
        os.environ.pop(ENVIRONMENT, None)
        if directory is not None:
            _remove(directory)


def gateway_group(directory: Path) -> Path:
    """The group of the gateway's processes."""
    return directory / _GATEWAY


def enter_ends(directory: Path) -> None:
    """Put this process into the group of the ends, and with it all processes that it will start."""
    (directory / _ENDS / "cgroup.procs").write_text("0")


def joining(group: Path | None, command: Sequence[str]) -> tuple[str, ...]:
    """The command that enters the group and becomes `command`; that command itself for no group."""
    if group is None:
        return tuple(command)
    return ("sh", "-c", 'echo 0 >"$0/cgroup.procs" && exec "$@"', str(group), *command)


def _made(directory: Path) -> bool:
    try:
        for group in (_GATEWAY, _ENDS):
            (directory / group).mkdir(parents=True)
        return (directory / _ENDS / "cpu.stat").exists()
    except OSError:
        return False


def _remove(directory: Path) -> None:
    for path in (directory / _GATEWAY, directory / _ENDS, directory):
        for _ in range(_REMOVE_ATTEMPTS):
            if not path.exists():
                break
            try:
                path.rmdir()
            except OSError:  # processes that were just killed have not gone yet
                _kill(path)
                time.sleep(_REMOVE_PAUSE_S)


def _kill(group: Path) -> None:
    with suppress(OSError):  # cgroup.kill is there since Linux 5.14
        (group / "cgroup.kill").write_text("1")


def _is_softirqd(comm: Path) -> bool:
    try:
        return comm.read_text().startswith("ksoftirqd/")
    except OSError:  # it has just ended
        return False
