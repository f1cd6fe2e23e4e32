"""max_conn on real packets: who gets the next connection, what the others are told, and when there is room again."""

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.lab.conftest import RunningLab, running_lab
from tests.lab.director import are_replaced, kill_workers, reload, worker_pids

TEXT = (Path(__file__).parent / "tcp_and_udp.toml").read_text()
SHARDS = 2


def limited(service: str = "", first: str = "", second: str = "") -> str:
    """The configuration with these keys for the TCP service and its real servers."""
    top, web, first_server, second_server, *rest = TEXT.replace("[[service", "\0[[service").split("\0")
    parts = (web + service, first_server + first, second_server + second)
    return top + "".join(f"{part.rstrip()}\n\n" for part in parts) + "".join(rest)


@pytest.fixture(scope="module", params=[1, SHARDS])
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    config = tmp_path_factory.mktemp("limits") / "lvs.toml"
    config.write_text(limited())
    yield from running_lab("--config", str(config), "--shards", str(request.param))


def shards(lab: RunningLab) -> int:
    return len(lab.api_json("/healthz")["shards"])


def in_force(lab: RunningLab, text: str) -> None:
    """The lab was started with a number of shards of its own, which the file must not contradict."""
    reload(lab, text.replace("shards = 2", f"shards = {shards(lab)}"))


def open_on(lab: RunningLab) -> list[int]:
    """How many sessions each real server has that are not over."""
    return [server["open_conns"] for server in lab.api_json("/stats/ip_vs")["services"][0]["real_servers"]]


def are_open(lab: RunningLab, *numbers: int) -> None:
    lab.wait_until(f"{numbers} are open", lambda: open_on(lab) == list(numbers))


@contextmanager
def held(lab: RunningLab, count: int) -> Iterator[subprocess.Popen[str]]:
    """So many connections, made one after the other, which end with the block."""
    with lab.start("client", "held_sessions.py", str(count)) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        try:
            assert len(json.loads(process.stdout.readline())) == count
            yield process
        finally:
            process.stdin.close()
            process.wait(timeout=60)


def tries(lab: RunningLab, count: int) -> dict[str, dict[str, int]]:
    """Short connections, one after the other."""
    result: dict[str, dict[str, int]] = lab.script("client", "http_load.py", str(count), "1")
    return result


def test_the_service_is_full_and_has_room_again(lab: RunningLab) -> None:
    in_force(lab, limited("max_conn = 12"))
    before = lab.counter("drops", "service_full")
    with held(lab, 12):
        result = tries(lab, 4)
        assert result["errors"] == {"Connection refused": 4}
        lab.wait_until("twelve are open", lambda: sum(open_on(lab)) == 12)
        assert lab.counter("drops", "service_full") - before == 4
        lab.wait_until("the service says so", lambda: lab.api_json("/stats/ip_vs")["services"][0]["refused"]["service_full"] >= 4)
    are_open(lab, 0, 0)
    assert tries(lab, 6)["errors"] == {}


def test_a_full_real_server_is_passed_over(lab: RunningLab) -> None:
    in_force(lab, limited(first="max_conn = 3"))
    with held(lab, 12):
        are_open(lab, 3, 9)
        assert set(tries(lab, 6)["real_servers"]) == {"rs2"}
    are_open(lab, 0, 0)
    assert set(tries(lab, 12)["real_servers"]) == {"rs1", "rs2"}


def test_when_all_of_them_are_full_clients_are_refused(lab: RunningLab) -> None:
    in_force(lab, limited(first="max_conn = 3", second="max_conn = 4"))
    with held(lab, 7):
        assert tries(lab, 2)["errors"] == {"Connection refused": 2}
        are_open(lab, 3, 4)
        in_force(lab, limited(first="max_conn = 4", second="max_conn = 4"))
        assert tries(lab, 1)["real_servers"] == {"rs1": 1}
    are_open(lab, 0, 0)


@pytest.mark.parametrize("limits", ["service", "servers"])
def test_a_crowd_that_comes_at_once_passes_no_limit_but_by_the_other_shards(lab: RunningLab, limits: str) -> None:
    """With one shard a limit is exact; more shards may each let in one that they do not see of each other."""
    each = "max_conn = 4"
    in_force(lab, limited("max_conn = 8") if limits == "service" else limited(first=each, second=each))
    one_more, count = shards(lab) - 1, 2 if limits == "servers" else 1
    with lab.start("client", "crowd.py", "40") as crowd:
        assert crowd.stdout is not None
        assert crowd.stdin is not None
        answered = json.loads(crowd.stdout.readline())
        assert 8 <= answered <= 8 + one_more * count
        lab.wait_until(f"{answered} are open", lambda: sum(open_on(lab)) == answered)
        crowd.stdin.close()
        crowd.wait(timeout=60)
    are_open(lab, 0, 0)


def refused_clients(lab: RunningLab) -> int:
    number: int = lab.api_json("/stats/ip_vs")["services"][0]["refused"]["client_full"]
    return number


def test_a_client_has_as_many_as_it_may_whatever_the_limit_was_before(lab: RunningLab) -> None:
    in_force(lab, limited())
    are_open(lab, 0, 0)
    with held(lab, 6):
        lab.wait_until("six are open", lambda: sum(open_on(lab)) == 6)
        in_force(lab, limited("max_conn_per_client = 4"))
        before = lab.counter("drops", "client_full")
        assert tries(lab, 3)["errors"] == {"Connection refused": 3}
        assert lab.counter("drops", "client_full") - before == 3
        in_force(lab, limited("max_conn_per_client = 12\nclient_mask = 24"))
        assert tries(lab, 3)["errors"] == {}
        lab.wait_until("nobody was cut", lambda: sum(open_on(lab)) == 6)
    are_open(lab, 0, 0)


def test_a_client_that_comes_in_a_crowd_keeps_what_it_may(lab: RunningLab) -> None:
    """Its SYNs come before any of its connections counts, so those beyond the limit are reset when they are established."""
    in_force(lab, limited("max_conn_per_client = 8"))
    before = refused_clients(lab)
    with lab.start("client", "crowd.py", "40") as crowd:
        assert crowd.stdout is not None
        assert crowd.stdin is not None
        assert json.loads(crowd.stdout.readline()) >= 8 - (shards(lab) - 1)
        lab.wait_until("each one has stayed or was refused", lambda: sum(open_on(lab)) + refused_clients(lab) - before == 40)
        assert abs(sum(open_on(lab)) - 8) <= shards(lab) - 1
        crowd.stdin.close()
        crowd.wait(timeout=60)
    are_open(lab, 0, 0)
    assert tries(lab, 4)["errors"] == {}


@pytest.mark.skipif(os.environ.get("LANE") == "off", reason="without the lane, sessions end with their worker")
def test_workers_that_are_killed_leave_a_client_what_it_has(lab: RunningLab) -> None:
    """Its sessions go on in the lane, and the next workers count those that they take over."""
    in_force(lab, limited("max_conn_per_client = 6"))
    with held(lab, 6):
        before = worker_pids(lab)
        kill_workers(lab)
        lab.wait_until("others are there", lambda: are_replaced(lab, before))
        lab.wait_until("they have counted", lambda: sum(open_on(lab)) == 6)
        assert tries(lab, 3)["errors"] == {"Connection refused": 3}
    are_open(lab, 0, 0)
    assert tries(lab, 4)["errors"] == {}
