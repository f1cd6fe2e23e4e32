"""Prepared admissions on real packets: the kernel opens sessions, and each promise about new sessions holds for them."""

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from tests.lab.admitted import SYNS, adds_up, all_conns
from tests.lab.conftest import RunningLab, running_lab
from tests.lab.director import are_replaced, director_pid, kill_all, kill_workers, reload, worker_pids
from tests.lab.doctor import doctor, named
from tests.lab.floods import give_spoofed_answers_a_next_hop, syn_flood
from tests.lab.operators_rules import counted, operators_rule, why_off
from tests.lab.shipped_config import with_synproxy
from tests.lab.wrk import wrk

pytestmark = pytest.mark.skipif(os.environ.get("LANE") == "off", reason="about the lane, which is off")

CONNECTIONS = 400
RS1 = "192.0.2.101:8080"
CONFIGURED = with_synproxy('"auto"').replace("[sysctl]\n", "[sysctl]\nprepared_admissions = 1\n", 1)
WEIGHT = f"/services/web/real_servers/{RS1}"
JSON = "Content-Type: application/json"
DRAIN = f"/services/web/real_servers/{RS1}/drain"


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """A lab with two shards, in which most connections are opened by the kernel."""
    config = tmp_path_factory.mktemp("prepared") / "lvs.toml"
    config.write_text(CONFIGURED)
    for lab in running_lab("--config", str(config), "--shards", "2", "--restart"):
        give_spoofed_answers_a_next_hop(lab)
        connect(lab)
        wait_until_counted(lab, CONNECTIONS)
        yield lab


def opened(lab: RunningLab) -> int:
    count: int = lab.api_json("/stats/lane")["counters"]["opened"]
    return count


def connect(lab: RunningLab, count: int = CONNECTIONS) -> int:
    """Connect so often, each client with its own address for its real server; returns how many the kernel has opened."""
    before = opened(lab)
    result = lab.script("client", "http_load.py", str(count), "8")
    assert (result["ok"], result["errors"], result["clients"]) == (count, {}, {"right": count})
    return opened(lab) - before


def conns(lab: RunningLab, real_server: str) -> int:
    """New sessions of a real server so far."""
    (service,) = lab.api_json("/stats/ip_vs")["services"]
    (count,) = (row["conns"] for row in service["real_servers"] if real_server == f"{row['address']}:{row['port']}")
    return int(count)


def settled_conns(lab: RunningLab, real_server: str) -> int:
    """The same of one that gets no more of them, once what was opened before is counted: the number stands still then, while
    both shards have opened others."""
    seen = [(conns_of_shards(lab), conns(lab, real_server))]

    def stands_still() -> bool:
        seen.append((conns_of_shards(lab), conns(lab, real_server)))
        (first, before), (last, now) = seen[-2:]
        return before == now and all(later > earlier for earlier, later in zip(first, last, strict=True))

    lab.wait_until("what was opened before is counted", stands_still)
    return seen[-1][1]


def conns_of_shards(lab: RunningLab) -> list[int]:
    """New sessions of each shard so far."""
    counts: list[int] = lab.api_json("/stats/ip_vs_stats")["totals"]["conns"]["shards"]
    return counts


def wait_until_counted(lab: RunningLab, count: int) -> None:
    lab.wait_until(f"{count} sessions are counted", lambda: all_conns(lab) == count)


def test_the_kernel_opens_connections_and_all_books_have_them(lab: RunningLab) -> None:
    before = all_conns(lab)
    assert connect(lab) > CONNECTIONS // 2
    wait_until_counted(lab, before + CONNECTIONS)
    rows = lab.api_json("/conns")
    prepared = lab.api_json("/stats/lane")["prepared"]
    assert prepared["ready"] >= 0
    assert len({(row["local"], row["destination"]) for row in rows}) == len(rows) >= CONNECTIONS - prepared["short"]


def test_each_endpoint_is_in_use_or_rests_once_behind_a_load_of_short_connections(lab: RunningLab) -> None:
    """Thousands at once, so that most of them never come into the tables; and all books have them."""
    before, opened_before = all_conns(lab) + reused(lab), opened(lab)
    with wrk(lab, 64) as report:
        lab.wait_until("endpoints are used again", lambda: lab.counter("queues", "time_wait_ports_taken") > 2000)
    assert not report.errors
    assert opened(lab) - opened_before > 2000
    lab.wait_until("short ones are counted", lambda: lab.counter("queues", "sessions_short") > 2000)
    lab.wait_until("all are counted", lambda: all_conns(lab) + reused(lab) >= before + report.requests)
    lab.wait_until("each entry is that of a session or of an endpoint that rests", lambda: adds_up(lab))


def reused(lab: RunningLab) -> int:
    """How many connections went on with the session of an older one of the same client, and are no new sessions."""
    return lab.counter("ext", "fullnat_conn_reused")


def test_the_operators_own_forward_rules_judge_each_of_them(lab: RunningLab) -> None:
    with operators_rule(lab, f"{SYNS} counter"):
        assert connect(lab) > CONNECTIONS // 2
        assert counted(lab) >= CONNECTIONS
    with operators_rule(lab, f"{SYNS} counter drop"):
        lab.run("client", "curl", "--silent", "--max-time", "1.5", f"http://{lab.vip}:{lab.port}/", check=False)
        lab.wait_until("the rule has seen it", lambda: counted(lab) >= 1)
        lab.wait_until("its session is listed", lambda: any(row["state"] == "SYN_RECV" for row in lab.api_json("/conns")))
    assert connect(lab, 50) >= 0


@pytest.mark.parametrize("setting", [0, 1])
def test_the_operators_rules_behind_the_steering_see_the_same_with_and_without(lab: RunningLab, setting: int) -> None:
    with (
        lab.changed(prepared_admissions=setting),
        operators_rule(lab, f"{SYNS} ip saddr 192.0.2.0/24 counter", "prerouting priority -299"),
    ):
        connect(lab)
        before = counted(lab)
        assert (connect(lab) > CONNECTIONS // 2) == bool(setting)
        assert counted(lab) - before >= CONNECTIONS
        assert bool(why_off(lab)) != bool(setting)


def test_rules_before_the_steering_see_clients_and_switch_them_off(lab: RunningLab) -> None:
    """For the time that such rules are there."""
    at_vip = f"ip daddr {lab.vip} tcp dport {lab.port} tcp flags & (syn | ack) == syn counter"
    with operators_rule(lab, at_vip, "prerouting priority -311"):
        lab.wait_until("it is noticed", lambda: bool(why_off(lab)))
        assert why_off(lab) == "the chain f of the table ip operator sees SYNs of clients before the appliance"
        before = counted(lab)
        assert connect(lab) == 0
        assert counted(lab) - before >= CONNECTIONS
        assert named(doctor(lab)[1], "note").get("admissions_off") == ""
        with lab.changed(prepared_admissions=2):
            assert why_off(lab) == ""
            connect(lab)
            assert connect(lab) > CONNECTIONS // 2
    lab.wait_until("it is noticed", lambda: not why_off(lab))
    connect(lab)
    assert connect(lab) > CONNECTIONS // 2


def test_a_real_server_that_is_drained_gets_not_one_more(lab: RunningLab) -> None:
    with lab.start("client", "load_until_told.py", "8") as load:
        assert load.stdout is not None
        assert load.stdout.readline() == "loading\n"
        before = opened(lab)
        lab.wait_until("the kernel opens connections", lambda: opened(lab) > before + 50)
        lab.api(DRAIN, "-X", "POST")
        then = opened(lab)
        before = settled_conns(lab, RS1)
        lab.wait_until("the kernel opens more", lambda: opened(lab) > then + 300)
        after = conns(lab, RS1)
        lab.api(DRAIN, "-X", "DELETE")
        said, _ = load.communicate()
    assert json.loads(said)["errors"] == {}
    assert after == before > 0


def test_of_fifty_changes_to_weight_0_under_load_none_lets_one_more_through(lab: RunningLab) -> None:
    """Seen at the interface towards real servers, by the clock: what leaves behind the answer of the API is too late."""
    api = lab.environment["LAB_API"]
    with wrk(lab, 32) as report:
        before = opened(lab)
        seen = lab.script("gateway", "weight_storm.py", api, "web", RS1, "50")
        by_kernel = opened(lab) - before
    assert not report.errors
    assert (seen["changes"], seen["late"]) == (50, 0)
    assert seen["to_others"] >= 50 * 100
    assert by_kernel > seen["to_others"] / 2


def open_conns(lab: RunningLab) -> list[int]:
    """How many connections each real server has that are not over."""
    (service,) = lab.api_json("/stats/ip_vs")["services"]
    return [row["open_conns"] for row in service["real_servers"]]


@contextmanager
def configured(lab: RunningLab, text: str) -> Iterator[None]:
    """With this configuration. No session outlives the block."""
    reload(lab, text)
    try:
        yield
    finally:
        reload(lab, CONFIGURED)
        lab.api("/conns?all=1", "-X", "DELETE")


def test_by_the_load_they_are_spread_and_weight_0_gets_not_one_more(lab: RunningLab) -> None:
    """Two hundred connections that stay, opened among others that end at once."""
    by_load = CONFIGURED.replace('scheduler = "rr"', 'scheduler = "wlc"')
    with configured(lab, by_load), lab.start("client", "load_until_told.py", "8") as load:
        assert load.stdout is not None
        assert load.stdout.readline() == "loading\n"
        before = opened(lab)
        lab.wait_until("the kernel opens connections", lambda: opened(lab) > before + 50)
        with lab.start("client", "held_sessions.py", "200") as held:
            assert held.stdout is not None
            held.stdout.readline()
            lab.wait_until("workers have seen them", lambda: sum(open_conns(lab)) >= 200)
            one, other = open_conns(lab)
            assert abs(one - other) < 60
            answer = lab.api(WEIGHT, "-X", "PATCH", "--data-binary", '{"weight": 0}', "-H", JSON)
            assert answer.endswith("weight = 0\n")
            then = opened(lab)
            before = settled_conns(lab, RS1)
            lab.wait_until("the kernel opens more", lambda: opened(lab) > then + 300)
            assert conns(lab, RS1) == before > 0
            held.kill()
        said, _ = load.communicate()
        assert json.loads(said)["errors"] == {}


def ready(lab: RunningLab) -> int:
    """How many sessions are prepared; a worker says it some hundredths of a second later."""
    count: int = lab.api_json("/stats/lane")["prepared"]["ready"]
    return count


def with_limit(max_conn: int) -> str:
    return CONFIGURED.replace('scheduler = "rr"', f'scheduler = "rr"\nmax_conn = {max_conn}')


def test_far_from_a_limit_the_kernel_opens_connections_and_at_it_nobody(lab: RunningLab) -> None:
    before = opened(lab)
    with configured(lab, with_limit(1000)), lab.start("client", "held_sessions.py", "150") as held:
        assert held.stdout is not None
        held.stdout.readline()
        assert opened(lab) > before + 50
        lab.wait_until("workers have seen them", lambda: sum(open_conns(lab)) == 150)
        reload(lab, with_limit(150))
        before = opened(lab)
        lab.run("client", "curl", "--silent", "--max-time", "5", f"http://{lab.vip}:{lab.port}/", check=False)
        lab.wait_until("it is counted", lambda: lab.counter("drops", "service_full") > 0)
        assert sum(open_conns(lab)) == 150
        lab.wait_until("nothing is ready", lambda: ready(lab) == 0)
        assert opened(lab) == before
        held.kill()


FAULTS: dict[str, Callable[[RunningLab], None]] = {
    "all workers are killed": kill_workers,
    "the director as well": kill_all,
    "a restart": lambda lab: os.kill(director_pid(lab), signal.SIGUSR2),
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_nothing_is_lost_or_doubled_whoever_ends(lab: RunningLab, fault: Callable[[RunningLab], None]) -> None:
    """What was opened meanwhile is adopted, and what was prepared by others is not handed out."""
    pids = worker_pids(lab)
    fault(lab)
    lab.wait_until("others are there", lambda: are_replaced(lab, pids))
    connect(lab)
    assert connect(lab) > CONNECTIONS // 2
    rows = lab.api_json("/conns")
    assert len({(row["local"], row["destination"]) for row in rows}) == len(rows)
    assert lab.counter("queues", "records_refused") == 0


def test_clients_get_through_a_flood(lab: RunningLab) -> None:
    """It takes what is prepared, and then cookies are for everybody."""
    with syn_flood(lab, 10_000, 3):
        result = lab.script("client", "http_load.py", "100", "4")
    assert result["ok"] == 100
    lab.api("/conns?all=1", "-X", "DELETE")


def test_it_can_be_switched_off(lab: RunningLab) -> None:
    with lab.changed(prepared_admissions=0):
        assert connect(lab) == 0
        lab.wait_until("nothing is ready", lambda: ready(lab) == 0)
    connect(lab)
    assert connect(lab) > 0
    lab.api("/conns?all=1", "-X", "DELETE")
    lab.wait_until("nothing is left over", lambda: lab.api_json("/stats/lane")["entries"]["used"] == 0)
