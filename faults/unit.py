"""Stands in for systemd: `python -m faults.unit OWN_CONFIG CONTROL run --config FILE --shards N`.

It runs the appliance with the configuration OWN_CONFIG as `deploy/appliance.service` says: the same commands before and after,
the same signals and time-outs, the same answer to a crash, and the same fate of the runtime directory. The lab starts it in the
place of the appliance. Not the same: it is root, and has none of the unit's sandbox. The runtime directory is a small file system
of its own, so that it can be filled.

It takes commands on the Unix socket CONTROL, a line on each connection, and answers each with a line:

    pid       the process of the director; 0 while there is none
    restart   stop and start, as `systemctl restart` does; answered when the new director runs
    starts    how often a director was started

Variables in the file CONTROL.env (NAME=VALUE, a line each) are in the environment of the next director.
"""

import argparse
import ctypes
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from bench.rig.topology import module
from faults.unit_file import UnitFile, replaced

UNIT_FILE = Path(__file__).parents[1] / "deploy" / "appliance.service"

_RUNTIME_PARENT = Path("/run")
_RUNTIME_SIZE = "256k"
_PR_SET_CHILD_SUBREAPER = 36
_LONGEST_COMMAND_BYTES = 64


class Unit:
    """One service and its state."""

    def __init__(self, unit: UnitFile, config: str, shards: str, control: Path) -> None:
        self._unit = unit
        self._config, self._shards = config, shards
        self._environment_file = control.with_name(f"{control.name}.env")
        self._directories = [_RUNTIME_PARENT / name for name in unit.runtime_directories]
        self._main: subprocess.Popen[bytes] | None = None
        self._start_at: float | None = None
        """When the next director is started, while there is none and one is to be."""
        self._is_over = False
        self.starts = 0
        control.unlink(missing_ok=True)
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(control))
        self._listening.listen()
        self._woken, waker = socket.socketpair()
        waker.setblocking(False)
        signal.set_wakeup_fd(waker.fileno())
        self._waker = waker

    def run(self) -> None:
        """Serve until SIGTERM or SIGINT."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._stop)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        self._make_directories()
        self._start()
        while not self._is_over:
            self._wait()
            if self._main is not None and self._main.poll() is not None:
                self._take_death(self._main.returncode)
            if self._start_at is not None and time.monotonic() >= self._start_at:
                self._start()
        self._end()

    def _stop(self, *_: object) -> None:
        self._is_over = True

    def _wait(self) -> None:
        timeout_s = None if self._start_at is None else max(0.0, self._start_at - time.monotonic())
        ready, _, _ = select.select([self._listening, self._woken], [], [], timeout_s)
        if self._woken in ready:
            self._woken.recv(1 << 12)
        if self._listening in ready:
            with self._listening.accept()[0] as connection, suppress(OSError):
                command = connection.recv(_LONGEST_COMMAND_BYTES).decode(errors="replace").strip()
                connection.sendall(f"{self._obey(command)}\n".encode())

    def _obey(self, command: str) -> str:
        if command == "pid":
            return str(self._main.pid if self._main else 0)
        if command == "starts":
            return str(self.starts)
        if command == "restart":
            self._end()
            self._start()
            return "ok"
        return f"unknown command: {command}"

    def _make_directories(self) -> None:
        for directory in self._directories:
            directory.mkdir(mode=0o750, parents=True)
        options = f"size={_RUNTIME_SIZE},mode=0750"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "unit-runtime", str(self._directories[0])], check=True)

    def _start(self) -> None:
        self._start_at = None
        for command in self._unit.start_pre:
            self._run_beside(command)
        own = (*replaced(self._unit.start, module("appliance"), self._config), "--shards", self._shards)
        self._main = subprocess.Popen(own, env=self._environment(), stdin=subprocess.DEVNULL, start_new_session=True)
        self.starts += 1

    def _environment(self) -> dict[str, str]:
        with suppress(FileNotFoundError):
            lines = self._environment_file.read_text().split("\n")
            return self._bare_environment() | dict(line.split("=", 1) for line in lines if line)
        return self._bare_environment()

    def _bare_environment(self) -> dict[str, str]:
        return os.environ | {"RUNTIME_DIRECTORY": ":".join(map(str, self._directories))}

    def _run_beside(self, command: tuple[str, ...]) -> None:
        own = replaced(command, module("appliance"), self._config)
        with suppress(subprocess.TimeoutExpired):
            subprocess.run(own, env=self._bare_environment(), stdin=subprocess.DEVNULL, check=False, timeout=self._unit.stop_s)

    def _end(self) -> None:
        """Stop the director as systemd does, then all that is left of the service."""
        if self._main is not None and self._main.poll() is None:
            self._main.terminate()
            try:
                self._main.wait(self._unit.stop_s)
            except subprocess.TimeoutExpired:
                print("unit: the director did not end in time and is killed", file=sys.stderr, flush=True)
                self._main.kill()
                self._main.wait()
        self._clean_up()

    def _clean_up(self) -> None:
        self._main = None
        self._start_at = None
        _kill_descendants()
        for command in self._unit.stop_post:
            self._run_beside(command)
        if not self._unit.keeps_runtime_directories:
            subprocess.run(["find", *map(str, self._directories), "-mindepth", "1", "-delete"], check=False)

    def _take_death(self, code: int) -> None:
        print(f"unit: the director ended with {code}", file=sys.stderr, flush=True)
        self._clean_up()
        if code and code not in self._unit.no_restart_codes:
            self._start_at = time.monotonic() + self._unit.restart_s


def _kill_descendants() -> None:
    """Kill and reap every process that the service has left; those whose parent has ended are children of this process."""
    while children := list(_children(os.getpid())):
        for pid in children:
            for below in (*_all_below(pid), pid):
                with suppress(ProcessLookupError):
                    os.kill(below, signal.SIGKILL)
            with suppress(ChildProcessError):
                os.waitpid(pid, 0)


def _children(pid: int) -> Iterator[int]:
    with suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            yield from map(int, (task / "children").read_text().split())


def _all_below(pid: int) -> Iterator[int]:
    for child in _children(pid):
        yield from _all_below(child)
        yield child


def main() -> None:
    """Entry point."""
    parser = argparse.ArgumentParser(prog="python -m faults.unit", description=__doc__)
    parser.add_argument("own_config", help="the configuration to run with")
    parser.add_argument("control", type=Path, help="the Unix socket on which commands come")
    parser.add_argument("command", choices=["run"])
    parser.add_argument("--config", required=True, help="the lab's copy of its own configuration")
    parser.add_argument("--shards", required=True)
    options = parser.parse_args()
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1)
    unit = UnitFile.parse(UNIT_FILE.read_text())
    resource.setrlimit(resource.RLIMIT_NOFILE, (unit.most_files, unit.most_files))
    Unit(unit, options.own_config, options.shards, options.control).run()


if __name__ == "__main__":
    main()
