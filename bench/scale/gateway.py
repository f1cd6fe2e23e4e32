"""`appliance run` with thousands of services in a namespace of its own, and what it takes to start and to change it."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from bench.scale.configuration import FIRST_REAL_SERVER, GATEWAY, SERVER_PORT, pools, service_tables
from bench.scale.network import LIVE_PORT, LIVE_SERVER, LIVE_VIP, Namespaces, make_network
from bench.scale.watch import ask

_PATIENCE_S = 300.0
_LOOK_S = 0.005
LISTED_VIP = "203.0.113.81"
"""That of a second service before the live server, which a list of prefixes is added to."""


def live(name: str, vip: str, more: str = "") -> str:
    """A service before the server that answers."""
    server = f'[[service.real_server]]\naddress = "{LIVE_SERVER}"\nport = {LIVE_PORT}\n'
    return f'[[service]]\nname = "{name}"\nvip = "{vip}"\nport = 80\n{more}{server}'


class Gateway:
    """One that runs. Times are in seconds."""

    def __init__(self, directory: Path, names: Namespaces, services: int, per_service: int, check: str) -> None:
        self.directory, self.names = directory, names
        self.api, self.config, self._log = directory / "api.sock", directory / "lvs.toml", directory / "log"
        listen = f'[api]\nlisten = ["unix:{self.api}"]\n'
        self._idle = "\n".join((GATEWAY, listen, pools(), *service_tables(services, per_service, check)))
        self._said = 0
        self._now = ""
        self.write(self._idle)
        self.process: subprocess.Popen[bytes] | None = None

    def write(self, idle: str, list_file: Path | None = None) -> None:
        """Write the configuration with these idle services."""
        self._now = idle
        more = f'allow_files = ["{list_file}"]\n' if list_file else ""
        self.config.write_text("\n".join((idle, live("live", LIVE_VIP), live("listed", LISTED_VIP, more))))

    def check(self) -> None:
        """`appliance check`."""
        command = [sys.executable, "-m", "appliance", "check", str(self.config)]
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def start(self) -> None:
        """Return when it is ready."""
        command = [sys.executable, "-m", "appliance", "run", "--config", str(self.config)]
        entered = ["nsenter", f"--net=/run/netns/{self.names.gateway}", "--", *command]
        with self._log.open("wb") as output:
            environment = os.environ | {"RUNTIME_DIRECTORY": str(self.directory)}
            self.process = subprocess.Popen(entered, stdout=output, stderr=output, env=environment)
        self._wait_for("appliance.director: ready")

    def wait_until_all_are_down(self, services: int) -> None:
        """Until health checks have found out that nobody answers for any of these services."""
        end = time.monotonic() + _PATIENCE_S
        while len(json.loads(ask(self.api, "/healthz"))["services_down"]) < services:
            if time.monotonic() > end:
                raise AssertionError("health checks do not find out who is down")
            time.sleep(0.5)

    def reload_one(self, weight: int) -> None:
        """Another weight for the first real server of the first service."""
        server = f'address = "{FIRST_REAL_SERVER}"\nport = {SERVER_PORT}\n'
        self.write(self._idle.replace(server, f"{server}weight = {weight}\n", 1))
        self._reload()

    def reload_all(self, weight: int) -> None:
        """Another weight for all real servers of idle services."""
        self.write(re.sub(rf'(address = "10\.1[0-9.]+"\nport = {SERVER_PORT}\n)', rf"\1weight = {weight}\n", self._idle))
        self._reload()

    def reload_list(self, file: Path) -> None:
        """Clients of the listed service have to be in this file from now on; nothing else changes."""
        self.write(self._now, file)
        self._reload()

    def _reload(self) -> None:
        assert self.process is not None
        self.process.send_signal(signal.SIGHUP)
        self._said += 1
        self._wait_for("configuration read again")

    def _wait_for(self, words: str) -> None:
        """Until the log has said this as often as there were changes, the first time after the start."""
        end = time.monotonic() + _PATIENCE_S
        while self._log.read_text().count(words) < max(1, self._said):
            if self.process is None or self.process.poll() is not None or time.monotonic() > end:
                raise AssertionError(f"not {words!r}: {self._log.read_text()[-3000:]}")
            time.sleep(_LOOK_S)

    def memory_kib(self) -> dict[str, int]:
        """The resident memory of the director and of a worker."""
        assert self.process is not None
        of = {"director": self.process.pid}
        for child in _children(self.process.pid):
            if b"queue_worker" in Path(f"/proc/{child}/cmdline").read_bytes():
                of["worker"] = child
        return {name: _resident_kib(pid) for name, pid in of.items()}

    def stop(self) -> None:
        """End it, if it runs."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(_PATIENCE_S)


def _children(pid: int) -> list[int]:
    return [int(child) for task in Path(f"/proc/{pid}/task").iterdir() for child in (task / "children").read_text().split()]


def _resident_kib(pid: int) -> int:
    (line,) = (line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmRSS:"))
    return int(line.split()[1])


@contextmanager
def gateway(directory: Path, services: int, per_service: int, check: str = 'type = "tcp"') -> Iterator[Gateway]:
    """A gateway that is not started yet, its network, and the server that answers. All of it is gone afterwards."""
    names = Namespaces(*(f"bench-{os.getpid()}-{role}" for role in Namespaces._fields))
    with ExitStack() as stack:
        make_network(stack, names)
        (directory / "index.html").write_text("alive")
        server = [sys.executable, "-m", "http.server", str(LIVE_PORT), "--bind", LIVE_SERVER, "--directory", str(directory)]
        entered = ["nsenter", f"--net=/run/netns/{names.servers}", "--", *server]
        serving = subprocess.Popen(entered, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        stack.callback(serving.wait)
        stack.callback(serving.kill)
        made = Gateway(directory, names, services, per_service, check)
        stack.callback(made.stop)
        yield made
