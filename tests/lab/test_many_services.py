"""Two thousand services whose real servers are all dead, with checks on, beside one that is alive: it is served, the API answers,
and the health of all of them is known.

`--full-size` gives each service ten real servers. The dead ones lie behind a router that drops what comes for them: on a network
of the gateway itself each of them would take a place in the kernel's table of neighbours, and a machine has a thousand places.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from bench.scale.configuration import FIRST_LOCAL_ADDRESS, GATEWAY, pools, service_tables
from bench.scale.network import LIVE_SERVER, LIVE_VIP, Namespaces, inside, make_network
from tests.conftest import LANE_WORDS
from tests.lab.bare_gateway import unmount

pytestmark = pytest.mark.once

SERVICES, PER_SERVICE, FULL_SIZE_PER_SERVICE = 2000, 3, 10
REQUESTS = 300

API = "127.0.0.1:9380"

CHECK = 'type = "tcp"\ninterval_s = 0.2\ntimeout_s = 0.2\nfall = 1'
"""More often than can be made for so many."""

LIVE = f"""
[[service]]
name = "live"
vip = "{LIVE_VIP}"
port = 80
[service.health_check]
type = "tcp"
interval_s = 10.0
timeout_s = 10.0
fall = 5
[[service.real_server]]
address = "{LIVE_SERVER}"
port = 8080
"""

LOOKS = 3000
"""Looks, 0.2 s apart, before a wait gives up."""


class Gateway(NamedTuple):
    """A running appliance between a client and a network of real servers."""

    namespace: str
    client: str
    process: subprocess.Popen[bytes]
    log: Path
    real_servers: int
    """Those that are dead."""

    def ask(self, path: str) -> Any:
        """The JSON of the API."""
        return json.loads(
            inside(self.namespace, "curl", "-s", "-m", "60", "-H", "Accept: application/json", f"http://{API}{path}")
        )

    def is_ready(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()[-3000:]
        return "appliance.director: ready" in self.log.read_text()

    def live_conns(self) -> int:
        """How many sessions the live service has had."""
        (live,) = [service for service in self.ask("/stats/ip_vs")["services"] if service["name"] == "live"]
        conns: int = live["real_servers"][0]["conns"]
        return conns

    def down(self) -> list[str]:
        """The services of all real servers that are down."""
        services = self.ask("/health")["services"]
        return [one["service"] for one in services for server in one["real_servers"] if server["state"] == "down"]


def wait_until(condition: Any) -> None:
    for _ in range(LOOKS):
        if condition():
            return
        time.sleep(0.2)
    pytest.fail("waited in vain")


@pytest.fixture(scope="module")
def gateway(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Gateway]:
    per_service = FULL_SIZE_PER_SERVICE if request.config.getoption("--full-size") else PER_SERVICE
    directory = tmp_path_factory.mktemp("many")
    listen = f'[api]\nlisten = ["{API}", "unix:{directory}/api.sock"]\n'
    config, log = directory / "lvs.toml", directory / "log"
    config.write_text("\n".join((GATEWAY, listen, pools(), *service_tables(SERVICES, per_service, CHECK), LIVE)))
    names = Namespaces(*(f"test-{os.getpid()}-{role}" for role in Namespaces._fields))
    with ExitStack() as stack:
        stack.callback(unmount, directory)
        make_network(stack, names)
        server = [sys.executable, "-m", "http.server", "8080", "--bind", LIVE_SERVER, "--directory", str(directory)]
        command = [sys.executable, "-m", "appliance", "run", "--config", str(config), "--lane", LANE_WORDS[os.environ["LANE"]]]
        (directory / "index.html").write_text("alive")
        stack.callback(end, started(names[2], server, directory / "server.log"), signal.SIGKILL)
        process = started(names[0], command, log, RUNTIME_DIRECTORY=str(directory))
        stack.callback(end, process, signal.SIGKILL)
        running = Gateway(names[0], names[1], process, log, SERVICES * per_service)
        wait_until(running.is_ready)
        yield running
        assert end(process, signal.SIGTERM) == 0, log.read_text()[-3000:]
        assert f"inet {FIRST_LOCAL_ADDRESS}/32" not in inside(names[0], "ip", "address"), "all of them are removed"


def started(namespace: str, command: list[str], log: Path, **environment: str) -> "subprocess.Popen[bytes]":
    enter = ["nsenter", f"--net=/run/netns/{namespace}", "--"]
    with log.open("wb") as output:
        return subprocess.Popen([*enter, *command], stdout=output, stderr=output, env=os.environ | environment)


def end(process: "subprocess.Popen[bytes]", number: signal.Signals) -> int:
    process.send_signal(number)
    return process.wait()


def test_one_live_service_among_thousands_of_dead_ones(gateway: Gateway) -> None:
    addresses = inside(gateway.namespace, "ip", "-brief", "address")
    assert addresses.count("/32") == SERVICES + 1 + 8, "VIPs and local addresses"
    wait_until(lambda: len(gateway.down()) == gateway.real_servers)
    assert "live" not in gateway.down()

    url = f"http://{LIVE_VIP}/index.html?[1-{REQUESTS}]"
    codes = inside(
        gateway.client, "curl", "-s", "-m", "600", "-H", "Connection: close", "-w", "%{http_code}\n", "-o", "/dev/null", url
    )
    assert codes.split() == ["200"] * REQUESTS

    wait_until(lambda: gateway.live_conns() == REQUESTS)  # workers publish what they have counted every now and then
    health = gateway.ask("/healthz")
    assert health["status"] == "ok"
    assert any("health checks are late" in note for note in health["notes"])
    assert "health_checks_late" in {finding["name"] for finding in gateway.ask("/doctor")["findings"]}
    assert len(gateway.down()) == gateway.real_servers
    text = gateway.log.read_text()
    assert "cannot be checked" not in text, "a check that cannot be made says nothing"
    assert "live: real server" not in text, "it was up all the time"
