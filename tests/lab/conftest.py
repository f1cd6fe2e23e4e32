"""A running lab for end-to-end tests: real namespaces, real NFQUEUE, the real TCP stacks of both ends.

Everything in this directory needs root; without it each test is skipped with that reason.
"""

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import LANE_WORDS
from tests.lab.bare_gateway import bare_namespace

_HERE = Path(__file__).parent

_LOOKS = 3000
"""Looks, 0.2 s apart, before a test gives up. Nothing takes that long on the slowest machine: it only ends a test that failed."""

_SHOW_ENVIRONMENT_AND_WAIT = "import json, os, sys; print(json.dumps(dict(os.environ)), flush=True); sys.stdin.read()"


_LONG = ("test_many_sessions", "test_client_address", "test_lost_sessions", "test_faults", "test_health", "test_restart")
"""Files that take minutes. They come first, so that no process of tests begins one of them when the others have ended."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark all tests of this directory, and skip them for users who are not root. Without the lane, skip what does not depend on
    it: that was tried with the lane."""
    is_second_run = os.environ["LANE"] == "off"
    items.sort(key=lambda item: _HERE not in item.path.parents or item.path.stem not in _LONG)
    for item in items:
        if _HERE in item.path.parents:
            item.add_marker(pytest.mark.lab)
            if os.geteuid() != 0:
                item.add_marker(pytest.mark.skip(reason="makes network namespaces and binds NFQUEUE: needs root"))
            if is_second_run and item.get_closest_marker("once"):
                item.add_marker(pytest.mark.skip(reason="nothing in it depends on the lane"))


class RunningLab:
    """What a test may do with a lab: run programs in its namespaces and talk to the API."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment | {"PYTHONPATH": str(_HERE.parents[1])}  # for what programs have in common
        self.vip = environment["LAB_VIP"]
        self.port = int(environment["LAB_PORT"])

    def namespace(self, role: str) -> str:
        """Name of the namespace of "client", "gateway", "rs1" or "rs2"."""
        return self.environment[f"LAB_{role.upper()}_NS"]

    def enter(self, role: str, *command: str) -> list[str]:
        """The command line that runs a command in one of the namespaces."""
        return ["nsenter", f"--net=/run/netns/{self.namespace(role)}", "--", *command]

    def run(self, role: str, *command: str, check: bool = True) -> str:
        """Run a command to its end and return what it printed; its failure fails the test, unless told otherwise."""
        done = subprocess.run(
            self.enter(role, *command),
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            stdin=subprocess.DEVNULL,
        )
        if check and done.returncode:
            pytest.fail(f"{command} in {role} ended with {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def script(self, role: str, name: str, *arguments: str) -> Any:
        """Run a program of tests/lab/programs and return the JSON it printed."""
        return json.loads(self.run(role, sys.executable, str(_HERE / "programs" / name), *arguments))

    def start(self, role: str, name: str, *arguments: str) -> subprocess.Popen[str]:
        """Start a program of tests/lab/programs; the test must wait for it."""
        command = self.enter(role, sys.executable, str(_HERE / "programs" / name), *arguments)
        return subprocess.Popen(
            command, env=self.environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def api(self, path: str, *curl: str) -> str:
        """Ask the API with curl, as an operator in the gateway does."""
        return self.run("gateway", "curl", "--silent", "--show-error", *curl, self.environment["LAB_API"] + path)

    def api_json(self, path: str) -> Any:
        """The JSON form of a view."""
        return json.loads(self.api(path, "-H", "Accept: application/json"))

    def set_tunable(self, name: str, value: int) -> None:
        """PUT a tunable; fails unless it is in force afterwards."""
        assert self.api(f"/sysctl/{name}", "-X", "PUT", "-d", str(value)) == f"{value}\n"

    @contextmanager
    def changed(self, **tunables: int) -> Iterator[None]:
        """Set tunables for the block, and set them back afterwards."""
        before = {name: int(self.api(f"/sysctl/{name}")) for name in tunables}
        for name, value in tunables.items():
            self.set_tunable(name, value)
        try:
            yield
        finally:
            for name, value in before.items():
                self.set_tunable(name, value)

    def counter(self, view: str, name: str) -> int:
        """The total of one counter of a view that has a total."""
        return self.totals(view)[name]

    def totals(self, view: str) -> dict[str, int]:
        """The totals of a view, with all that the lane has counted in the kernel."""
        self.api_json("/stats/lane")  # who asks for that has it counted at once, and not within a second
        return {name: row["total"] for name, row in self.api_json(f"/stats/{view}").items()}

    def wait_until(self, what: str, condition: Callable[[], bool]) -> None:
        """Look again and again until the condition holds. Fails and says what it waited for when it never does."""
        for _ in range(_LOOKS):
            if condition():
                return
            time.sleep(0.2)
        pytest.fail(f"waited in vain until {what}")


def running_lab_with_many_client_ports(*options: str) -> Iterator[RunningLab]:
    """A lab of two shards. A client that closes first keeps its ports for a minute: with the usual 28,000 it would mostly search
    for free ones."""
    for lab in running_lab("--shards", "2", *options):
        lab.run("client", "sysctl", "net.ipv4.ip_local_port_range=1024 65535")
        yield lab


def running_lab(*options: str, offloads: bool = False) -> Iterator[RunningLab]:
    """Put up a lab with options of `appliance lab`, take it down afterwards, and check that it ended well.

    Unless `offloads` is said, hosts send packets as they are on a wire: with whole checksums, a segment each.
    """
    if "--lane" not in options:
        options = ("--lane", LANE_WORDS[os.environ["LANE"]], *options)
    command = [sys.executable, "-m", "appliance", "lab", *options, "--", sys.executable, "-c", _SHOW_ENVIRONMENT_AND_WAIT]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, f"the lab did not start: exit code {process.wait()}"
        lab = RunningLab(json.loads(line))
        for host in () if offloads else ("client", "rs1", "rs2"):
            lab.run(host, sys.executable, str(_HERE / "programs" / "without_offloads.py"))
        yield lab
        process.stdin.close()
        assert process.wait() == 0, "the lab, or something in it, failed"


@pytest.fixture(scope="module", params=[1, 2, 4])
def lab(request: pytest.FixtureRequest) -> Iterator[RunningLab]:
    """A lab with 1, 2 and 4 shards in turn; without the lane, only 4."""
    if request.param != 4 and os.environ["LANE"] == "off":
        pytest.skip("other numbers of shards are tried with the lane")
    yield from running_lab("--shards", str(request.param))


@pytest.fixture
def fresh_lab() -> Iterator[RunningLab]:
    """A lab of four shards for one test that does damage."""
    yield from running_lab("--shards", "4")


@pytest.fixture
def bare_gateway() -> Iterator[str]:
    """A namespace with the interfaces of etc/lvs.toml, see `bare_gateway`."""
    with bare_namespace() as name:
        yield name
