"""One lab, from its creation to its removal: create it, run a command in it, and remove it or keep it."""

import http
import os
import re
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from appliance.config.loading import ConfigError, load
from appliance.lab import namespaces
from appliance.lab.errors import LAB_FAILED, LabError
from appliance.lab.foreground import run_in_foreground
from appliance.lab.names import ROLES, LabName
from appliance.lab.network import build_network
from appliance.lab.plan import Endpoint, Plan, make_plan
from appliance.lab.processes import Child, start_service
from appliance.lab.readiness import http_status
from appliance.lab.removal import remove_lab
from appliance.lab.servers import OWN, programs
from appliance.lab.signals import HeldSignals

APPLIANCE = (sys.executable, "-m", "appliance")
"""The program that the gateway runs; `run --config FILE [--shards N] [--lane WORD]` is added to it."""

_READY_TIMEOUT_S = 120.0
_POLL_S = 0.05
_LOG_TAIL_LINES = 20

_MOUNT = "mount -t tmpfs -o mode=755 lab-run /run && mount -t tmpfs lab-shm /dev/shm"
"""Network namespaces do not separate the files in these two directories: the Unix socket of the admin API, shared memory, and
what one run of the appliance leaves to the next. So the appliance of each lab gets directories of its own; they vanish with
it, even when it is killed."""

_ONCE = 'exec "$@"'
_AGAIN_AND_AGAIN = 'while :; do "$@"; echo "ended with code $?, starting it again"; sleep 0.2; done'


def _isolated(then: str) -> tuple[str, ...]:
    return ("unshare", "--mount", "--", "sh", "-c", f"{_MOUNT} && {then}", "sh")


class Options(NamedTuple):
    """What is wanted beside the configuration file."""

    shards: int | None = None
    """In the place of gateway.shards."""
    lane: str | None = None
    """In the place of gateway.lane."""
    one_armed: bool = False
    """Whether both sides are on one interface."""
    restarts: bool = False
    """Whether the appliance is started again when it has ended, as a service would be."""
    servers: str = OWN
    """What runs on the real servers, one of `servers.SERVERS`."""
    serve: str | None = None
    """A command line for a shell on each real server, in the place of the lab's own servers."""


class Service(NamedTuple):
    """A program that the lab starts: its name for people, its process, its log, and a check whether it is up."""

    title: str
    child: Child
    log: Path
    is_ready: Callable[[], bool]

    def describe_end(self) -> str:
        """A sentence with its exit code, and the end of its log."""
        return f"{self.title} ended with code {self.child.poll()}{self.log_tail()}"

    def log_tail(self) -> str:
        """The end of its log, as text that continues a sentence."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-_LOG_TAIL_LINES:]
        return "; its log ends with:" + "".join(f"\n  | {line}" for line in lines or ["(nothing)"])


class Lab:
    """A client, a gateway with the appliance in it, and two real servers. It needs root and the main thread."""

    def __init__(self, signals: HeldSignals, appliance: Sequence[str] = APPLIANCE) -> None:
        self.name = LabName.of_this_process()
        self._signals = signals
        self._appliance = appliance
        self._services: list[Service] = []
        self._dead: list[Service] = []

    def claim(self) -> None:
        """Create the lab's directory; after that, `take_down` is needed. Raises LabError when nothing was created."""
        if os.geteuid() != 0:
            raise LabError("the lab creates network namespaces, so it has to run as root")
        try:
            self.name.directory.mkdir(mode=0o700)
        except OSError as error:
            raise LabError(f"{self.name.directory}: {error.strerror}") from error

    def put_up(self, config_file: Path, options: Options) -> None:
        """Create everything, and return when all servers and the appliance answer.

        Raises LabError or OSError with the reason, or StopRequested. `take_down` removes what was created before.
        """
        self._config_file = self._snapshot(config_file, one_armed=options.one_armed)
        self.plan = self._read_plan(config_file, options.shards)
        for role in ROLES:
            self._signals.pause()
            namespaces.create(self.name.namespace(role))
        build_network(self.name, self.plan)
        self._start_services(options)
        for service in self._services:
            self._wait_until_ready(service)

    def run(self, command: Sequence[str]) -> int:
        """Run a command as the client and return its exit code. Raises StopRequested.

        When a service dies meanwhile, this reports it at once and returns LAB_FAILED in the place of 0.
        """
        argv = _enter(self.name.namespace("client"), command)
        code = run_in_foreground(argv, {**os.environ, **self.environment()}, self._signals, self._report_deaths)
        self._report_deaths()
        return code or (LAB_FAILED if self._dead else 0)

    def environment(self) -> dict[str, str]:
        """The environment variables that describe the lab to the command."""
        namespaces_by_role = {f"LAB_{role.upper()}_NS": self.name.namespace(role) for role in ROLES}
        return {
            "LAB_NAME": str(self.name),
            "LAB_DIR": str(self.name.directory),
            "LAB_VIP": self.plan.service.host,
            "LAB_PORT": str(self.plan.service.port),
            "LAB_API": f"http://{self.plan.api}",
            "APPLIANCE_API": f"unix:{self._api_socket}",
            **namespaces_by_role,
        }

    @property
    def _api_socket(self) -> Path:
        return self.name.directory / "api.sock"

    def keep(self) -> None:
        """Mark the lab so that it stays after this process, until a user removes it by name."""
        self.name.kept_mark.touch()

    def take_down(self) -> None:
        """Remove everything that exists of the lab."""
        remove_lab(self.name)

    def _snapshot(self, config_file: Path, *, one_armed: bool) -> Path:
        # The lab and the appliance must read the same text, also when FILE is below /run, which the appliance does not share.
        snapshot = self.name.directory / "lvs.toml"
        try:
            data = config_file.read_bytes()
            snapshot.write_bytes(with_one_arm(data) if one_armed else data)
        except OSError as error:
            raise LabError(f"{config_file}: {error.strerror}") from error
        return snapshot

    def _read_plan(self, config_file: Path, shards: int | None) -> Plan:
        try:
            config = load(self._config_file)
        except ConfigError as error:
            raise LabError(str(ConfigError(str(config_file), error.errors))) from error
        try:
            return make_plan(config if shards is None else config.with_shards(shards))
        except ConfigError as error:
            raise LabError(str(error)) from error

    def _start_services(self, options: Options) -> None:
        for program in programs(self.name, self.plan, options.servers, options.serve):
            self._start(*program)
        argv = [*_isolated(_AGAIN_AND_AGAIN if options.restarts else _ONCE), *self._appliance, "run"]
        argv += ["--config", str(self._config_file)]
        for name, value in (("--shards", options.shards), ("--lane", options.lane)):
            argv += [] if value is None else [name, str(value)]
        is_healthy = partial(self._answers_http, "gateway", self.plan.api, "/healthz")
        self._start("the appliance", "gateway", "appliance.log", argv, is_healthy)
        relay = ("appliance.lab.api_relay", str(self._api_socket), self.name.namespace("gateway"), *map(str, self.plan.api))
        self._start("the way to the API", "client", "api-relay.log", (sys.executable, "-m", *relay), self._api_socket.exists)

    def _answers_http(self, role: str, endpoint: Endpoint, path: str) -> bool:
        return http_status(self.name.namespace(role), endpoint, path) == http.HTTPStatus.OK

    def _start(
        self,
        title: str,
        role: str,
        log_name: str,
        argv: Sequence[str],
        is_ready: Callable[[], bool],
        environment: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        log = self.name.directory / log_name
        child = start_service(_enter(self.name.namespace(role), argv), log, {**os.environ, **environment})
        self._services.append(Service(title, child, log, is_ready))

    def _wait_until_ready(self, service: Service) -> None:
        deadline = time.monotonic() + _READY_TIMEOUT_S
        while not service.is_ready():
            if service.child.poll() is not None:
                raise LabError(service.describe_end())
            if time.monotonic() > deadline:
                raise LabError(f"{service.title} is not ready after {_READY_TIMEOUT_S:.0f} s{service.log_tail()}")
            self._signals.pause(_POLL_S)

    def _report_deaths(self) -> None:
        for service in self._services:
            if service.child.poll() is not None and service not in self._dead:
                self._dead.append(service)
                print(f"appliance lab: {service.describe_end()}", file=sys.stderr, flush=True)


_CLIENT_INTERFACE = re.compile(rb"^[ \t]*client_interface[ \t]*=.*$", re.MULTILINE)
_SERVER_INTERFACE = re.compile(rb'^[ \t]*server_interface[ \t]*=[ \t]*(?P<name>"[^"\n]*"|\'[^\'\n]*\')', re.MULTILINE)


def with_one_arm(data: bytes) -> bytes:
    """The text of a configuration in which the client side is on the interface of the server side. It keeps its lines.

    Raises LabError when it has no server_interface.
    """
    found = _SERVER_INTERFACE.search(data)
    if found is None:
        raise LabError("--one-armed: the configuration has no line server_interface = NAME")
    name = found["name"]
    return _CLIENT_INTERFACE.sub(lambda _: b"client_interface = " + name, data, count=1)


def _enter(namespace: str, argv: Sequence[str]) -> tuple[str, ...]:
    # Not `ip netns exec`, which also replaces /sys: for the command, only the network may differ from the caller's.
    return ("nsenter", f"--net={namespaces.path(namespace)}", "--", *argv)
