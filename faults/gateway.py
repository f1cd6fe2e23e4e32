"""The appliance under test, as the faults find it: its processes, its API, its configuration and its log."""

import http.client
import json
import os
import signal
import socket
import struct
import time
from collections.abc import Callable, Mapping
from contextlib import closing, suppress
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from appliance.lab import namespaces
from bench.rig.topology import BenchError, Site, inside, output_of

API = ("127.0.0.1", 9380)
_API_S = 5.0
_POLL_S, _POLL_OFTEN_S = 0.05, 0.005
READY_S = 60.0
"""How long the appliance may take to be well before the program gives up."""

_RELOAD_OVER = ("configuration read again", "reload refused")
_DIRECTOR_LINE = " appliance.director: "


_PEER = struct.Struct("3i")
"""What SO_PEERCRED gives: process, user and group; see unix(7)."""


class Answer(NamedTuple):
    """What the API answered."""

    status: int
    body: str


class Gateway:
    """The appliance in the gateway of a lab, run by `faults.unit`."""

    def __init__(self, site: Site, config: Path, control: Path, shards: int) -> None:
        self.site = site
        self.config, self._control = config, control
        self.shards = shards
        self._log = site.directory / "appliance.log"

    def run(self, *command: str, text: str | None = None) -> str:
        """Run a command in the gateway's network. Raises BenchError when it fails."""
        return output_of(inside(self.site.gateway, *command), text)

    def unit(self, command: str) -> str:
        """Give the unit a command, and return its answer."""
        with socket.socket(socket.AF_UNIX) as asking:
            asking.settimeout(READY_S)
            asking.connect(str(self._control))
            asking.sendall(f"{command}\n".encode())
            with asking.makefile() as answer:
                return answer.readline().strip()

    def director(self) -> int:
        """The process of the director. Raises BenchError when there is none."""
        pid = int(self.unit("pid"))
        if not pid:
            raise BenchError("there is no director")
        return pid

    def workers(self) -> list[int]:
        """The process of each worker, by shard. Raises BenchError when one is away."""
        pids = [shard["pid"] for shard in self.health()["shards"]]
        if None in pids:
            raise BenchError("a worker is away")
        return pids

    def processes(self) -> list[int]:
        """All processes of the service, the helpers of the director with them."""
        found = []
        for pid in map(int, output_of(("ip", "netns", "pids", self.site.gateway)).split()):
            with suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if b"faults.unit" not in words and b"unshare" not in words:
                    found.append(pid)
        return found

    def signal(self, number: signal.Signals, *pids: int) -> None:
        """Send a signal to processes; one that has ended is left out."""
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def ask(self, path: str, method: str = "GET", body: str | None = None, *, timeout_s: float = _API_S) -> Answer:
        """Ask the API. Raises OSError or HTTPException when there is no answer."""
        connect = partial(socket.create_connection, API, timeout=timeout_s)
        connection = http.client.HTTPConnection(*API)
        with closing(connection):
            connection.sock = namespaces.call_inside(self.site.gateway, connect)
            connection.request(method, path, body, headers={"Connection": "close", "Accept": "application/json"})
            got = connection.getresponse()
            return Answer(got.status, got.read().decode())

    def health(self) -> Any:
        """/healthz as JSON, whatever it says. Raises BenchError when nobody answers."""
        try:
            return json.loads(self.ask("/healthz").body)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise BenchError(f"the API does not answer: {error}") from error

    def is_well(self) -> bool:
        """Whether /healthz says so."""
        try:
            return bool(self.health()["status"] == "ok")
        except BenchError:
            return False

    def lane(self) -> Any:
        """/stats/lane as JSON. Raises OSError or HTTPException when nobody answers."""
        return json.loads(self.ask("/stats/lane").body)

    def tunable(self, name: str) -> int:
        """The value in force."""
        return int(json.loads(self.ask(f"/sysctl/{name}").body)["value"])

    def set_tunable(self, name: str, value: int) -> None:
        """Put a tunable in force. Raises BenchError when it is refused."""
        answer = self.ask(f"/sysctl/{name}", "PUT", str(value))
        if answer.status != http.HTTPStatus.OK:
            raise BenchError(f"{name}={value} was refused: {answer.body}")

    def set_environment(self, variables: Mapping[str, str]) -> None:
        """Variables that the next director has in its environment."""
        lines = "".join(f"{name}={value}\n" for name, value in variables.items())
        self._control.with_name(f"{self._control.name}.env").write_text(lines)

    def log(self) -> list[str]:
        """All lines of the service's log."""
        return self._log.read_text(errors="replace").splitlines()

    def reload(self, text: str | bytes) -> str:
        """Write another configuration and have it read. Returns the line with which that ended."""
        self.config.write_bytes(text.encode() if isinstance(text, str) else text)
        with self._log.open(errors="replace") as log:
            log.seek(0, os.SEEK_END)
            self.signal(signal.SIGHUP, self.director())
            said = ""

            def is_over() -> bool:
                nonlocal said
                said += log.read()
                return bool(reload_outcome(said))

            wait_until("the reload is over", is_over, poll_s=_POLL_OFTEN_S)
        return reload_outcome(said)

    def root(self) -> Path:
        """The file system as the service sees it, with its own /run, whether a director runs or not."""
        with socket.socket(socket.AF_UNIX) as asking:
            asking.connect(str(self._control))
            pid, _, _ = _PEER.unpack(asking.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _PEER.size))
        return Path(f"/proc/{pid}/root")


def reload_outcome(log: str) -> str:
    """The line of the director that says how a reload ended; empty when there is none yet. The last line may not be whole yet."""
    whole = log[: log.rfind("\n") + 1].splitlines()
    return next((said for said in map(_director_said, whole) if said.startswith(_RELOAD_OVER)), "")


def _director_said(line: str) -> str:
    """What the director has said in a line of the log; empty for a line of somebody else."""
    return line.partition(_DIRECTOR_LINE)[2].strip()


def wait_until(what: str, condition: Callable[[], bool], timeout_s: float = READY_S, *, poll_s: float = _POLL_S) -> None:
    """Wait for the condition. Raises BenchError when it does not come true in time."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            raise BenchError(f"waited {timeout_s:.0f} s in vain until {what}")
        time.sleep(poll_s)
