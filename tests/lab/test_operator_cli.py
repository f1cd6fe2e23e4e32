"""The commands of operators at a running gateway: what they list is true, and what they end and write is ended and written."""

import json
import subprocess
import sys
from collections.abc import Iterator

import pytest

from appliance.model.tunables import TUNABLES
from tests.lab.conftest import RunningLab, running_lab
from tests.lab.idle_sessions import IdleSessions

pytestmark = pytest.mark.once

REQUESTS = 20
OTHERS = 3


@pytest.fixture(scope="module")
def two_shards() -> Iterator[RunningLab]:
    """A lab with two shards, so that every answer is put together of two. Sessions that are over stay as long as they may."""
    for lab in running_lab("--shards", "2"):
        for state in ("last_ack", "close"):
            lab.set_tunable(f"tcp_timeout_{state}", TUNABLES[f"tcp_timeout_{state}"].max)
        yield lab


@pytest.fixture
def lab(two_shards: RunningLab) -> RunningLab:
    """The same lab, after the sessions of the test before have ended."""
    printed(two_shards, "cut", "--all")
    return two_shards


def run(lab: RunningLab, *words: str) -> "subprocess.CompletedProcess[str]":
    command = lab.enter("gateway", sys.executable, "-m", "appliance", *words, "--api", lab.environment["LAB_API"])
    return subprocess.run(command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


def printed(lab: RunningLab, *words: str) -> str:
    """The output of a command, which must succeed without an error text."""
    done = run(lab, *words)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def listed(lab: RunningLab, *words: str) -> list[dict[str, str]]:
    rows: list[dict[str, str]] = json.loads(printed(lab, "conns", "--json", *words))
    return rows


def test_pages_have_all_that_the_whole_list_has(lab: RunningLab) -> None:
    assert lab.script("client", "http_load.py", str(REQUESTS), "4")["ok"] == REQUESTS
    lines = [line.split() for line in printed(lab, "conns", "--wide").splitlines()[2:]]
    assert len(lines) == REQUESTS
    assert {line[4] for line in lines} == {f"{lab.vip}:{lab.port}"}

    page = run(lab, "conns", "--limit", "7", "--wide")
    paged = page.stdout.splitlines()[2:]
    assert len(paged) == 7
    while page.stderr:
        hint, option, place = page.stderr.split()
        assert (hint, option) == ("more:", "--after")
        page = run(lab, "conns", "--limit", "7", option, place, "--wide")
        paged += page.stdout.splitlines()[2:]
    assert page.returncode == 0
    assert sorted(line.split()[3] for line in paged) == sorted(line[3] for line in lines)


def test_commands_reach_the_api_as_the_manual_prints_them(lab: RunningLab) -> None:
    """From the client's namespace, without a word about where the API is."""
    assert json.loads(lab.run("client", sys.executable, "-m", "appliance", "sysctl", "fullnat_toa_kind", "--json"))
    assert lab.run("client", sys.executable, "-m", "appliance", "health").startswith("service ")


def test_top_counts_what_filters_find(lab: RunningLab) -> None:
    assert lab.script("client", "http_load.py", str(REQUESTS), "4")["ok"] == REQUESTS
    client = listed(lab)[0]["source"].partition(":")[0]
    assert [line.split() for line in printed(lab, "top-clients").splitlines()] == [["conns", "client"], [str(REQUESTS), client]]
    tops = json.loads(printed(lab, "top-real-servers", "--json"))["top"]
    assert sum(row["conns"] for row in tops) == REQUESTS
    assert len(tops) == 2
    for row in tops:
        assert len(listed(lab, "--real-server", row["real_server"], "--client", f"{client}/32")) == row["conns"]


def test_cut_ends_the_session_that_was_named_and_no_other(lab: RunningLab) -> None:
    with IdleSessions(lab, 1) as named:
        (row,) = listed(lab)
        with IdleSessions(lab, OTHERS) as others:
            assert printed(lab, "cut", "--client", row["source"]) == "1 session cut\n"
            assert named.wait_for_the_last() == {row["source"]: "reset"}
            assert len(listed(lab, "--state", "established")) == OTHERS
            assert list(others.stop().values()) == ["alive"] * OTHERS


def test_cut_without_a_word_ends_nothing(lab: RunningLab) -> None:
    with IdleSessions(lab, 1) as idle:
        refused = run(lab, "cut")
        assert (refused.returncode, refused.stdout) == (1, "")
        assert refused.stderr.startswith("appliance: say which sessions ")
        assert len(listed(lab, "--state", "established")) == 1
        assert list(idle.stop().values()) == ["alive"]


def test_a_written_tunable_is_in_force_and_a_refused_one_is_not(lab: RunningLab) -> None:
    assert printed(lab, "sysctl", "tcp_timeout_established=600000") == "tcp_timeout_established = 600000\n"
    refused = run(lab, "sysctl", "tcp_timeout_established=1800001")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert refused.stderr.endswith("; the value stays 600000\n")
    assert printed(lab, "sysctl", "tcp_timeout_established") == "tcp_timeout_established = 600000\n"
    with IdleSessions(lab, 1) as idle:
        (row,) = listed(lab, "--state", "established")
        assert 0 < float(row["expires_s"]) <= 600
        assert list(idle.stop().values()) == ["alive"]


def test_tables_of_the_running_gateway(lab: RunningLab) -> None:
    with IdleSessions(lab, OTHERS) as idle:
        assert json.loads(printed(lab, "slabinfo", "--json"))["tcp_conn"]["active_objs"] == OTHERS
        sockets = json.loads(printed(lab, "sockstat", "--json"))["appliance"]
        assert (sockets["TCP"]["inuse"], sockets["RAW"]) == (OTHERS, {"inuse": 2})
        assert printed(lab, "conntrack").splitlines()[1].split()[:2] == ["count", str(OTHERS)]
        assert list(idle.stop().values()) == ["alive"] * OTHERS


def test_views_of_a_running_gateway_fit_80_columns(lab: RunningLab) -> None:
    assert lab.script("client", "http_load.py", str(REQUESTS), "4")["ok"] == REQUESTS
    shown = {view: printed(lab, view) for view in ("status", "drops", "health", "conns")}
    for view, text in shown.items():
        assert max(map(len, text.splitlines())) <= 80, view
    assert f"TCP  {lab.vip}:{lab.port} rr synproxy auto\n" in shown["status"]
