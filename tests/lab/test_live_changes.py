"""Services, VIPs and local addresses that are added, changed and removed under traffic, by reloads of the configuration."""

import itertools
import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import RunningLab, running_lab
from tests.lab.director import director_pid, is_healthy, is_one_replaced, kill_all, log_lines, outcome, reload, worker_pids
from tests.lab.keep_alive import keep_alive

SHIPPED = (Path(__file__).parents[2] / "etc/lvs.toml").read_text().replace("[gateway]\n", "[gateway]\nspare_real_servers = 3\n")
"""There are so few places that a third service with two real servers takes some of those of the second one."""
NEW_VIP, NEW_LOCAL = "203.0.113.20", "192.0.2.12"
POOL = 'default = ["192.0.2.10", "192.0.2.11"]\n'
ROUNDS = int(os.environ.get("LIVE_ROUNDS", "2"))


def service(*, name: str = "new", port: int = 80, pool: str = "default", more: str = "") -> str:
    """A second service, with a VIP of its own."""
    servers = "".join(f'[[service.real_server]]\naddress = "192.0.2.10{number}"\nport = 8080\n' for number in (1, 2))
    return f'\n[[service]]\nname = "{name}"\nvip = "{NEW_VIP}"\nport = {port}\nlocal_addresses = "{pool}"\n{more}{servers}'


def with_pool(*addresses: str, name: str = "more") -> str:
    """The shipped configuration with one more pool."""
    assert POOL in SHIPPED
    return SHIPPED.replace(POOL, f"{POOL}{name} = {json.dumps(addresses)}\n")


@pytest.fixture(scope="module")
def one_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    config = tmp_path_factory.mktemp("live") / "lvs.toml"
    config.write_text(SHIPPED)
    for lab in running_lab("--config", str(config), "--shards", "2", "--restart"):
        lab.run("client", "ip", "route", "replace", f"{NEW_VIP}/32", *route_to(lab, lab.vip))
        yield lab


def route_to(lab: RunningLab, address: str) -> list[str]:
    (route,) = json.loads(lab.run("client", "ip", "-j", "route", "get", address))
    return ["via", route["gateway"], "dev", route["dev"]]


@pytest.fixture
def lab(one_lab: RunningLab) -> Iterator[RunningLab]:
    """The lab, which has the shipped configuration before and afterwards; then nothing of others is left."""
    before = state_of(one_lab)
    yield one_lab
    assert done(one_lab, SHIPPED)
    assert state_of(one_lab) == before


def state_of(lab: RunningLab) -> tuple[str, ...]:
    """Rules and addresses of the gateway."""
    rules = (("nft", "--stateless", "list", "table", "ip", table) for table in ("appliance", "appliance_guard"))
    addresses = ("ip", "-br", "-4", "address")
    return tuple(lab.run("gateway", *command) for command in (*rules, addresses))


def done(lab: RunningLab, text: str) -> bool:
    said = reload(lab, text)
    assert outcome(said).startswith("configuration read again"), said
    return True


def asks(lab: RunningLab, port: int = 80) -> str:
    """What becomes of a new connection to the second service: who answers, or why nobody does."""
    said = lab.run(
        "client", "curl", "--silent", "--show-error", "--max-time", "60", f"http://{NEW_VIP}:{port}/?close=1", check=False
    )
    return str(json.loads(said)["real_server"]) if said else "nobody"


@contextmanager
def load(lab: RunningLab) -> Iterator[Callable[[], Any]]:
    """Connections to the first service all the time; gives a function that ends them and says what became of them."""
    with lab.start("client", "load_until_told.py", "8") as clients:
        assert clients.stdout is not None
        assert clients.stdout.readline() == "loading\n"

        def stop() -> Any:
            said, complaints = clients.communicate()
            assert clients.returncode == 0, complaints
            return json.loads(said)

        yield stop
        clients.kill()


@contextmanager
def held(lab: RunningLab) -> Iterator[Any]:
    """Connections to the second service that stay open."""
    to_new = RunningLab(lab.environment | {"LAB_VIP": NEW_VIP})
    with keep_alive(to_new) as clients:
        clients.ask()
        assert {name for name, _ in clients.answers()} == {"rs1", "rs2"}
        yield clients


def test_nobody_else_fails_while_services_and_addresses_come_and_go(lab: RunningLab) -> None:
    states = [
        (SHIPPED + service(), 80),
        (SHIPPED + service(port=81), 81),
        (with_pool(NEW_LOCAL) + service(pool="more"), 80),
        (with_pool(NEW_LOCAL, "192.0.2.13") + service(pool="more", more="synproxy = true\n"), 80),
        (with_pool("192.0.2.13") + service(pool="more", more="lane = false\n"), 80),
        (SHIPPED, None),
        (SHIPPED + service(name="renamed", more='scheduler = "wlc"\n'), 80),
        (SHIPPED, None),
    ]
    conns = [conns_in_total(lab)]
    with load(lab) as stop:
        for text, port in itertools.islice(itertools.cycle(states), ROUNDS * len(states)):
            assert done(lab, text)
            if port is not None:
                assert asks(lab, port) in {"rs1", "rs2"}
            conns.append(conns_in_total(lab))
        outcome = stop()
    assert outcome["errors"] == {}
    assert outcome["answered"] > 0
    assert conns == sorted(conns), "what real servers that are gone have counted stays in the totals"
    assert lab.counter("queues", "records_refused") == 0


def test_a_removed_service_takes_nothing_more_and_its_sessions_are_reset(lab: RunningLab) -> None:
    assert done(lab, SHIPPED + service())
    with keep_alive(lab) as others, held(lab) as clients:
        others.ask()
        before = others.answers()
        assert done(lab, SHIPPED)
        assert NEW_VIP not in lab.run("gateway", "ip", "-4", "address")
        assert asks(lab) == "nobody"
        clients.ask()
        assert {name for name, _ in clients.answers()} == {"reset"}
        others.ask()
        assert others.answers() == before
    assert not [row for row in lab.api_json("/conns") if row["service"] == "new"]


def test_sessions_go_on_while_their_service_changes_its_ways(lab: RunningLab) -> None:
    assert done(lab, SHIPPED + service())
    with held(lab) as clients:
        for more in ("lane = false\n", "synproxy = true\n", 'synproxy = false\nscheduler = "mh"\n', 'synproxy = "auto"\n'):
            assert done(lab, SHIPPED + service(more=more))
            clients.ask()
            assert {name for name, _ in clients.answers()} == {"rs1", "rs2"}
            assert asks(lab) in {"rs1", "rs2"}
            assert more.startswith("synproxy") or not [
                row for row in lab.api_json("/conns") if row["service"] == "new" and row["lane"]
            ]
        # the old pool is that of another service, which goes on
        assert done(lab, with_pool(NEW_LOCAL) + service(pool="more"))
        clients.ask()
        assert {name for name, _ in clients.answers()} == {"rs1", "rs2"}
        assert asks(lab) in {"rs1", "rs2"}
        assert any(row["local"].startswith(f"{NEW_LOCAL}:") for row in lab.api_json("/conns"))


def test_sessions_on_a_local_address_that_goes_are_reset_and_others_stay(lab: RunningLab) -> None:
    assert done(lab, with_pool(NEW_LOCAL, "192.0.2.13") + service(pool="more"))
    with held(lab) as clients:
        local = {int(row["source"].rpartition(":")[2]): row["local"] for row in lab.api_json("/conns") if row["service"] == "new"}
        assert done(lab, with_pool("192.0.2.13") + service(pool="more"))
        assert NEW_LOCAL not in lab.run("gateway", "ip", "-4", "address")
        clients.ask()
        answers = clients.answers()
        assert any(name == "reset" for name, _ in answers)
        assert all((name == "reset") == local[port].startswith(f"{NEW_LOCAL}:") for name, port in answers)
        assert asks(lab) in {"rs1", "rs2"}


def test_a_worker_that_dies_during_a_change_comes_back_with_it(lab: RunningLab) -> None:
    """It is stopped, so that the change waits for it."""
    first, _ = worker_pids(lab)
    os.kill(first, signal.SIGSTOP)
    (Path(lab.environment["LAB_DIR"]) / "lvs.toml").write_text(SHIPPED + service())
    before = len(log_lines(lab))
    os.kill(director_pid(lab), signal.SIGHUP)
    os.kill(first, signal.SIGKILL)
    lab.wait_until("it is over", lambda: any(line.startswith("configuration read") for line in log_lines(lab)[before:]))
    lab.wait_until("all workers are there", lambda: is_healthy(lab))
    assert {asks(lab) for _ in range(8)} == {"rs1", "rs2"}


@pytest.mark.skipif(os.environ.get("LANE") == "off", reason="without the lane, sessions end with their worker")
def test_what_was_added_outlives_workers_and_director(lab: RunningLab) -> None:
    assert done(lab, with_pool(NEW_LOCAL) + service(pool="more"))
    counted = {row["address"]: row["conns"] for row in services(lab)["new"]}
    with held(lab) as clients:
        # What a worker has not published is lost with it.
        lab.wait_until("they are counted", lambda: all(more_than(counted, row) for row in services(lab)["new"]))
        pids = worker_pids(lab)
        kill_all(lab)
        lab.wait_until("somebody else is there", lambda: is_one_replaced(lab, pids))
        clients.ask()
        assert {name for name, _ in clients.answers()} == {"rs1", "rs2"}
        assert asks(lab) in {"rs1", "rs2"}
        assert all(more_than(counted, row) for row in services(lab)["new"])
        assert done(lab, SHIPPED)
        clients.ask()
        assert {name for name, _ in clients.answers()} == {"reset"}


def more_than(counted: dict[str, int], row: dict[str, Any]) -> bool:
    """Whether a real server has had more sessions than were counted before."""
    return bool(row["conns"] > counted[row["address"]])


def conns_in_total(lab: RunningLab) -> int:
    total: int = lab.api_json("/stats/ip_vs_stats")["totals"]["conns"]["total"]
    return total


def services(lab: RunningLab) -> dict[str, list[dict[str, Any]]]:
    return {row["name"]: row["real_servers"] for row in lab.api_json("/stats/ip_vs")["services"]}
