"""Stands in for systemd: `python -m faults.unit OWN_CONFIG CONTROL run --config FILE --shards N`.

It runs the appliance with the configuration OWN_CONFIG as `deploy/appliance.service` says: the same signals and time-outs, and
the same answer to a crash. It begins and ends with the commands of `deploy/appliance-dataplane.service`. The lab starts it in the
place of the appliance. Not the same: it is root, and has none of the units' sandbox. The runtime directory is a small file system
of its own, so that it can be filled.

It takes commands on the Unix socket CONTROL, a line on each connection, and answers each with a line:

    pid       the process of the director; 0 while there is none
    restart   end the director and start the next, as `systemctl restart` does; answered when it runs
    stop      end everything, the data plane as well; answered when that is done
    start     begin again after that; answered when the new director runs
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
from faults.unit_file import DataPlaneFile, UnitFile, replaced

_DEPLOY = Path(__file__).parents[1] / "deploy"
UNIT_FILE, DATA_PLANE_FILE = _DEPLOY / "appliance.service", _DEPLOY / "appliance-dataplane.service"

_RUNTIME_PARENT = Path("/run")
_RUNTIME_SIZE = "256k"
_PR_SET_CHILD_SUBREAPER = 36
_LONGEST_COMMAND_BYTES = 64


class Unit:
    """The two units, which begin and end together, and their state."""

    def __init__(self, unit: UnitFile, data_plane: DataPlaneFile, config: str, shards: str, control: Path) -> None:
        self._unit, self._data_plane = unit, data_plane
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
        self._begin()
        while not self._is_over:
            self._wait()
            if self._main is not None and self._main.poll() is not None:
                self._take_death(self._main.returncode)
            if self._start_at is not None and time.monotonic() >= self._start_at:
                self._start()
        self._end_for_good()

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
            self._end(self._unit.restart_signal)
            self._start()
            return "ok"
        if command == "stop":
            self._end_for_good()
            return "ok"
        if command == "start":
            self._begin()
            return "ok"
        return f"unknown command: {command}"

    def _make_directories(self) -> None:
        for directory in self._directories:
            directory.mkdir(mode=0o750, parents=True)
        options = f"size={_RUNTIME_SIZE},mode=0750"
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "unit-runtime", str(self._directories[0])], check=True)

    def _begin(self) -> None:
        for command in self._data_plane.start:
            self._run_beside(command)
        self._start()

    def _start(self) -> None:
        self._start_at = None
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
        own, longest_s = replaced(command, module("appliance"), self._config), self._data_plane.stop_s
        with suppress(subprocess.TimeoutExpired):
            subprocess.run(own, env=self._bare_environment(), stdin=subprocess.DEVNULL, check=False, timeout=longest_s)

    def _end(self, number: signal.Signals) -> None:
        """End the director with this signal as systemd does, then all processes that are left of the service."""
        if self._main is not None and self._main.poll() is None:
            self._main.send_signal(number)
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

    def _end_for_good(self) -> None:
        """Then the data plane, which nobody needs any more."""
        self._end(self._unit.stop_signal)
        for command in self._data_plane.stop:
            self._run_beside(command)
        subprocess.run(["find", *map(str, self._directories), "-mindepth", "1", "-delete"], check=False)

    def _take_death(self, code: int) -> None:
        print(f"unit: the director ended with {code}", file=sys.stderr, flush=True)
        self._clean_up()
        if code:
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
    unit, data_plane = UnitFile.parse(UNIT_FILE.read_text()), DataPlaneFile.parse(DATA_PLANE_FILE.read_text())
    resource.setrlimit(resource.RLIMIT_NOFILE, (unit.most_files, unit.most_files))
    Unit(unit, data_plane, options.own_config, options.shards, options.control).run()


if __name__ == "__main__":
    main()
