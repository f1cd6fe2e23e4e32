"""The session log on real packets: how connections have ended, what was in them, and that it is switched while traffic flows."""

import json
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.lab.conftest import RunningLab, running_lab
from tests.lab.director import log_lines, reload, worker_pids
from tests.lab.raw_client import RawClient, raw_addresses

SHIPPED = (Path(__file__).parents[2] / "etc/lvs.toml").read_text()
FIRST_SERVER = "# A real server of the service above."
RAW = "198.51.100.77"
RS = ("192.0.2.101:8080", "192.0.2.102:8080")


class Scene(NamedTuple):
    lab: RunningLab
    directory: Path

    @property
    def alive(self) -> Path:
        """While this file is there, both real servers are up."""
        return self.directory / "alive"

    @property
    def log(self) -> Path:
        """The session log."""
        return self.directory / "sessions.log"

    def config(self, target: str = "file") -> str:
        """The shipped configuration with a session log, and a service that resets the sessions of real servers that are down."""
        check = 'type = "command"\ninterval_s = 5.0\nfast_interval_s = 0.5\ntimeout_s = 5.0\nrise = 1\nfall = 3\n'
        checked = f'on_down = "reset"\n[service.health_check]\n{check}command = ["/bin/sh", "-c", "test -e {self.alive}"]\n\n'
        log = f'[session_log]\ntarget = "{target}"\nfile = "{self.log}"\n'
        assert SHIPPED.count("[session_log]\n") == 1
        at = SHIPPED.index(FIRST_SERVER)
        return (SHIPPED[:at] + checked + SHIPPED[at:]).replace("[session_log]\n", log)

    def lines(self, client: str) -> list[dict[str, Any]]:
        """Those of the connections of a client; ``address:port``, or an address and all of its ports."""
        whole = self.log.read_text().rpartition("\n")[0] if self.log.exists() else ""
        found = [json.loads(line) for line in whole.splitlines()]
        return [line for line in found if f"{line.get('client', '')}:".startswith(f"{client}:")]

    def line(self, client: str) -> dict[str, Any]:
        """The only line of a client, as soon as it is there."""
        self.lab.wait_until(f"there is a line of {client}", lambda: bool(self.lines(client)))
        (line,) = self.lines(client)
        assert line["real_server"] in RS
        assert (line["service"], line["vip"], line["protocol"], line["proxied"]) == ("web", "203.0.113.10:80", "tcp", False)
        assert line["opened"] <= line["ended"]
        return line

    def state(self, client: str) -> list[str]:
        """The states of the sessions of a client."""
        return [row["state"] for row in self.lab.api_json(f"/conns?client={client}")]

    def await_servers(self, state: str) -> None:
        """Wait until both real servers have this state."""

        def have_it() -> bool:
            return {server["state"] for server in self.lab.api_json("/health")["services"][0]["real_servers"]} == {state}

        self.lab.wait_until(f"all real servers are {state}", have_it)


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    directory = tmp_path_factory.mktemp("session-log")
    made = Scene(RunningLab({"LAB_VIP": "", "LAB_PORT": "0"}), directory)
    made.alive.touch()
    config = directory / "lvs.toml"
    config.write_text(made.config())
    for lab in running_lab("--config", str(config), "--shards", "2"):
        for state in ("time_wait", "close", "last_ack", "fin_wait", "close_wait"):
            lab.set_tunable(f"tcp_timeout_{state}", 1000)
        made = Scene(lab, directory)
        made.await_servers("up")
        with raw_addresses(lab, RAW):
            yield made


@contextmanager
def connection(scene: Scene, port: int) -> Iterator[RawClient]:
    """A connection with an answer."""
    with RawClient(scene.lab, RAW, port) as client:
        client.connect()
        client.send("PA", b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n")
        assert client.receive("P").data
        client.send("A")
        yield client


@pytest.fixture
def established(scene: Scene, request: pytest.FixtureRequest) -> Iterator[RawClient]:
    """A connection from a port of its own."""
    with connection(scene, 20_000 + PORTS.index(request.node.name)) as client:
        yield client


def test_a_connection_that_both_sides_close_has_all_its_packets_and_bytes(scene: Scene) -> None:
    lab, client = scene.lab, "198.51.100.2:33333"
    before = service_counts(lab)
    lab.run(
        "client",
        "curl",
        "--silent",
        "--fail",
        "--local-port",
        "33333",
        f"http://{lab.vip}/bytes/300000",
        "-o",
        "/dev/null",
    )
    line = scene.line(client)
    assert (line["reason"], line["closed_by"]) == ("expired", "fin")
    assert line["state"] in ("TIME_WAIT", "CLOSE", "LAST_ACK")
    assert line["out_bytes"] > 300_000
    told = [line[name] for name in ("in_packets", "out_packets", "in_bytes", "out_bytes")]

    def growth() -> list[float]:
        return [now - then for now, then in zip(service_counts(lab), before, strict=True)]

    lab.wait_until("all packets are counted", lambda: growth()[0] >= told[0] and growth()[1] >= told[1])
    assert growth() == told


def service_counts(lab: RunningLab) -> list[float]:
    """What was counted for all real servers, by shards and lane."""
    lab.api_json("/stats/lane")
    page = lab.api_json("/metrics?format=json")
    names = ("appliance_real_server_packets_total", "appliance_real_server_bytes_total")
    return [
        sum(sample["value"] for sample in page[name]["samples"] if sample["labels"]["direction"] == direction)
        for name in names
        for direction in ("in", "out")
    ]


def test_one_that_the_client_resets(scene: Scene, established: RawClient) -> None:
    established.send("R")
    line = scene.line(established.name)
    assert (line["reason"], line["closed_by"], line["state"]) == ("expired", "rst", "CLOSE")


def test_a_blind_rst_ends_nothing_and_an_operator_does(scene: Scene, established: RawClient) -> None:
    there = established._seq
    established._seq = there + 50_000
    established.send("R")
    established._seq = there
    established.send("PA", b"GET / HTTP/1.1\r\nHost: lab\r\n\r\n")
    assert established.receive("P").data, "it goes on"
    assert scene.state(established.name) == ["ESTABLISHED"]
    assert scene.lines(established.name) == []
    scene.lab.api(f"/conns?client={established.name}", "-X", "DELETE")
    line = scene.line(established.name)
    assert (line["reason"], line["closed_by"], line["state"]) == ("cut", None, "ESTABLISHED")


def test_one_that_is_idle_has_ended_with_its_last_packet(scene: Scene) -> None:
    with scene.lab.changed(tcp_timeout_established=4000), connection(scene, 22_000) as client:
        line = scene.line(client.name)
    assert (line["reason"], line["closed_by"], line["state"]) == ("expired", None, "ESTABLISHED")
    assert line["in_packets"] == 4
    assert line["duration_s"] < 4


def test_one_whose_real_server_goes_down(scene: Scene, established: RawClient) -> None:
    scene.alive.unlink()
    try:
        line = scene.line(established.name)
    finally:
        scene.alive.touch()
        scene.await_servers("up")
    assert (line["reason"], line["closed_by"], line["state"]) == ("real_server_down", None, "ESTABLISHED")


def test_one_in_the_lane_that_outlives_its_worker(scene: Scene, established: RawClient) -> None:
    if os.environ["LANE"] == "off":
        pytest.skip("without the lane it ends with its worker, and without a line")
    (age,) = [row["age_s"] for row in scene.lab.api_json(f"/conns?client={established.name}")]
    scene.lab.wait_until("it is a second old", lambda: ages(scene, established.name)[0] >= 1)
    before = worker_pids(scene.lab)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    scene.lab.wait_until("there are other workers", lambda: are_other(scene, before))
    (after,) = ages(scene, established.name)
    assert after > age
    established.send("R")
    line = scene.line(established.name)
    assert (line["reason"], line["closed_by"]) == ("expired", "rst")
    assert line["duration_s"] >= 1
    assert line["in_packets"] == 5


def ages(scene: Scene, client: str) -> list[float]:
    return [row["age_s"] for row in scene.lab.api_json(f"/conns?client={client}")]


def are_other(scene: Scene, before: list[int]) -> bool:
    shards = scene.lab.api_json("/healthz")["shards"]
    return all(shard["up"] and shard["pid"] not in before for shard in shards)


def test_it_is_switched_while_traffic_flows(scene: Scene, established: RawClient) -> None:
    said = reload(scene.lab, scene.config("off"))
    assert 'session_log.target: "file" -> "off"' in said
    established.send("R")
    scene.lab.wait_until("the session has ended", lambda: not scene.state(established.name))
    reload(scene.lab, scene.config("journal"))
    with RawClient(scene.lab, RAW, 21_000) as other:
        other.connect()
        other.send("R")
    log = Path(scene.lab.environment["LAB_DIR"]) / "appliance.log"
    scene.lab.wait_until("the line is in the log", lambda: f'"client":"{other.name}"' in log.read_text())
    assert scene.lines(established.name) == []
    assert scene.lines(other.name) == []
    reload(scene.lab, scene.config())


def test_a_file_that_cannot_be_used_refuses_the_reload(scene: Scene) -> None:
    link = scene.directory / "link"
    link.symlink_to("/etc/passwd")
    said = reload(scene.lab, scene.config().replace(str(scene.log), str(link)))
    assert said[-1] == "reload refused, nothing has changed"
    assert f"{link}: it is a symbolic link" in "".join(said)
    reload(scene.lab, scene.config())


def test_metrics_say_what_became_of_the_lines(scene: Scene) -> None:
    page = scene.lab.api("/metrics").splitlines()
    name = "appliance_session_log_sessions_total"
    numbers = {line.partition(" ")[0]: float(line.partition(" ")[2]) for line in page if line.startswith(name)}
    assert numbers[f'{name}{{outcome="written"}}'] >= 3
    assert numbers[f'{name}{{outcome="left_out"}}'] == numbers[f'{name}{{outcome="failed"}}'] == 0
    assert not [line for line in log_lines(scene.lab) if "session log" in line and "loses" in line]


PORTS = [name for name in dict(globals()) if name.startswith("test_")]
