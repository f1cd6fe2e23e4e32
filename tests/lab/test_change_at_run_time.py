"""Changes through the API on real packets: they are in force at once, all of a change or nothing, and cost no request."""

import json
import os
import re
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import RunningLab, running_lab
from tests.lab.director import director_pid, is_one_replaced, log_lines, outcome, reload, worker_pids
from tests.lab.shipped_config import SHIPPED
from tests.lab.wrk import wrk

TEXT = SHIPPED.read_text()
RS1, RS2 = (f"/services/web/real_servers/192.0.2.10{number}:8080" for number in (1, 2))
CHANGES = 200


@pytest.fixture(scope="module")
def one_lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    config = tmp_path_factory.mktemp("change") / "lvs.toml"
    config.write_text(TEXT)
    yield from running_lab("--config", str(config), "--shards", "2", "--restart")


@pytest.fixture
def lab(one_lab: RunningLab) -> Iterator[RunningLab]:
    """The lab, which goes by its file again afterwards."""
    yield one_lab
    reload(one_lab, TEXT)
    ask(one_lab, "POST", "/config/apply")
    assert differences(one_lab) == []


def ask(lab: RunningLab, method: str, path: str, body: str = "") -> str:
    """The answer as text, whatever its status."""
    return lab.api(path, "-X", method, "--data-binary", body, "-H", "Content-Type: application/json")


def differences(lab: RunningLab) -> list[str]:
    lines: list[str] = lab.api_json("/config")["differences"]
    return lines


def who_answers(lab: RunningLab, requests: int = 100) -> set[str]:
    result: dict[str, Any] = lab.script("client", "http_load.py", str(requests), "8")
    assert result["errors"] == {}
    return set(result["real_servers"])


def test_a_real_server_that_is_removed_gets_no_more_and_one_that_is_added_does(lab: RunningLab) -> None:
    assert who_answers(lab) == {"rs1", "rs2"}
    assert "removed" in ask(lab, "DELETE", RS2)
    assert who_answers(lab) == {"rs1"}
    assert differences(lab) == ["service web: real server 192.0.2.102:8080 removed"]
    assert ask(lab, "PUT", RS2, '{"weight": 50}') == 'address = "192.0.2.102"\nport = 8080\nweight = 50\n'
    assert who_answers(lab) == {"rs1", "rs2"}
    assert ask(lab, "PATCH", RS1, '{"weight": 0}').endswith("weight = 0\n")
    assert who_answers(lab) == {"rs2"}


def test_a_bad_document_changes_nothing(lab: RunningLab) -> None:
    before = lab.api_json("/config")
    for bad in ("[", TEXT.replace("weight = 100", "weight = 0", 1).replace("shards = 2", "shards = 0")):
        assert "nothing has changed" in ask(lab, "POST", "/config/apply", bad)
    assert "out of range 0..65535" in ask(lab, "PATCH", RS1, '{"weight": -1}')
    assert lab.api_json("/config") == before
    assert who_answers(lab) == {"rs1", "rs2"}


def test_a_plan_says_what_becomes_of_sessions_and_changes_nothing(lab: RunningLab) -> None:
    drained = TEXT.replace("weight = 100", "weight = 0", 1)
    said = ask(lab, "POST", "/config/plan", drained)
    assert said.startswith("service web: real server 192.0.2.101:8080 weight 100 -> 0\n")
    assert "sessions go on\n" in said or "session go on\n" in said
    with lab.start("client", "held_sessions.py", "8") as held:
        assert held.stdout is not None
        assert held.stdin is not None
        held.stdout.readline()
        said = ask(lab, "POST", "/config/plan", TEXT.replace('["192.0.2.10", "192.0.2.11"]', '["192.0.2.10"]'))
        found = re.search(r"local address 192\.0\.2\.11 is of no service any more\n  (\d+) sessions? end\n", said)
        assert found
        assert int(found[1]) >= 4
        held.stdin.close()
        held.wait(timeout=60)
    bad_list = TEXT.replace("# max_conn = 0", 'deny_files = ["/nowhere/at/all"]', 1)
    assert "/nowhere/at/all: cannot be used (deny_files of service web)" in ask(lab, "POST", "/config/plan", bad_list)
    assert differences(lab) == []


def test_a_change_that_nobody_confirms_is_taken_back(lab: RunningLab) -> None:
    drained = TEXT.replace("weight = 100", "weight = 0", 1)
    ask(lab, "POST", "/config/apply?confirm_within_s=2", drained)
    lab.wait_until("it is taken back", lambda: "the last change is taken back, changes: 1" in log_lines(lab))
    assert differences(lab) == []
    assert who_answers(lab) == {"rs1", "rs2"}


def test_a_drain_outlives_a_change_that_removes_its_real_server_and_is_taken_back(lab: RunningLab) -> None:
    ask(lab, "POST", f"{RS1}/drain")
    start = TEXT.index("[[service.real_server]]")
    without_rs1 = TEXT[:start] + TEXT[TEXT.index("[[service.real_server]]", start + 1) :]
    said = len(log_lines(lab))
    ask(lab, "POST", "/config/apply?confirm_within_s=2", without_rs1)
    lab.wait_until("it is taken back", lambda: any("is taken back, changes" in line for line in log_lines(lab)[said:]))
    assert who_answers(lab) == {"rs2"}
    assert lab.api_json(f"{RS1}/drain")["draining"]
    ask(lab, "DELETE", f"{RS1}/drain")
    assert who_answers(lab) == {"rs1", "rs2"}


def test_a_change_that_is_confirmed_stays_and_nothing_comes_between(lab: RunningLab) -> None:
    drained = TEXT.replace("weight = 100", "weight = 0", 1)
    ask(lab, "POST", "/config/apply?confirm_within_s=600", drained)
    assert who_answers(lab) == {"rs2"}
    assert "unless it is confirmed" in ask(lab, "PATCH", RS2, '{"weight": 1}')
    assert outcome(reload(lab, TEXT)) == "reload refused, nothing has changed"
    assert ask(lab, "POST", "/config/confirm") == "confirmed\n"
    assert "no change waits" in ask(lab, "POST", "/config/confirm")
    assert who_answers(lab) == {"rs2"}


def test_a_reload_of_the_same_file_keeps_what_was_changed_meanwhile(lab: RunningLab) -> None:
    ask(lab, "PATCH", RS1, '{"weight": 0}')
    before = len(log_lines(lab))
    assert outcome(reload(lab, TEXT)) == "configuration read again, changes: 0"
    lab.wait_until("it is said", lambda: any(line.startswith("1 changes are not in ") for line in log_lines(lab)[before:]))
    assert who_answers(lab) == {"rs2"}


def test_what_is_saved_is_there_after_a_restart(lab: RunningLab) -> None:
    ask(lab, "PATCH", RS1, '{"weight": 0}')
    assert ask(lab, "POST", "/config/save").endswith("lvs.toml: written\n")
    assert (Path(lab.environment["LAB_DIR"]) / "lvs.toml").read_text() == TEXT.replace("weight = 100", "weight = 0", 1)
    before = worker_pids(lab)
    os.kill(director_pid(lab), signal.SIGTERM)
    lab.wait_until("the next run is there", lambda: is_one_replaced(lab, before))
    assert differences(lab) == []
    assert who_answers(lab) == {"rs2"}


def sessions_so_far(lab: RunningLab) -> list[int]:
    """Those of either real server, as far as shards have published them."""
    return [server["conns"] for server in lab.api_json("/stats/ip_vs")["services"][0]["real_servers"][:2]]


def test_changes_all_the_time_cost_no_request(lab: RunningLab) -> None:
    """Connections are opened and closed all the while, each for one request, as fast as they are answered."""
    before = sessions_so_far(lab)
    with wrk(lab) as load:
        storm = lab.start("gateway", "change_storm.py", lab.environment["LAB_API"], str(CHANGES))
        out, err = storm.communicate()
    assert json.loads(out) == {"changes": CHANGES, "refused": []}, err
    assert load.errors == ()
    served = [now - then for then, now in zip(before, sessions_so_far(lab), strict=True)]
    assert all(served), "both real servers had their part"
    assert load.requests > CHANGES
