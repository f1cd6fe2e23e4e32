"""The lane on real packets: it carries what it should, others cannot take it off for long, and a service may stay out of it."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.lab.conftest import RunningLab, running_lab
from tests.lab.director import log_lines
from tests.lab.shipped_config import SHIPPED, with_synproxy

pytestmark = pytest.mark.skipif(os.environ.get("LANE") == "off", reason="about the lane, which is off")


def stats(lab: RunningLab) -> Any:
    return lab.api_json("/stats/lane")


@pytest.fixture(scope="module", params=["auto", "true"], ids=["plain", "proxied"])
def lab(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    config = tmp_path_factory.mktemp("config") / "lvs.toml"
    config.write_text(with_synproxy('"auto"' if request.param == "auto" else request.param))
    yield from running_lab("--config", str(config), "--shards", "2", offloads=True)


def test_requests_are_carried_but_for_the_packets_that_open_them(lab: RunningLab) -> None:
    before = stats(lab)
    load = lab.script("client", "http_load.py", "60", "4")
    assert (load["ok"], load["clients"]) == (60, {"right": 60}), "with the client's address"
    after = stats(lab)
    assert after["state"] == "on"
    carried = after["lane"]["packets"] - before["lane"]["packets"]
    in_workers = after["workers"]["packets"] - before["workers"]["packets"]
    assert carried >= 60 * 5
    # A SYN each; behind SYNPROXY the packets of the handshake as well.
    assert in_workers <= 60 * 4


def test_nearly_all_of_a_transfer_is_carried(lab: RunningLab) -> None:
    before = stats(lab)
    for direction in ("download", "upload"):
        result = lab.script("client", "bulk.py", direction, str(1 << 28))
        assert result["got"] == result["expected"]
    after = stats(lab)
    carried, in_workers = (after[way]["bytes"] - before[way]["bytes"] for way in ("lane", "workers"))
    assert carried > 2 * (1 << 28)
    assert in_workers < carried / 1000


def test_sessions_say_that_they_are_in_the_lane_and_their_entries_come_back(lab: RunningLab) -> None:
    with lab.start("client", "held_sessions.py", "20") as held:
        assert held.stdout is not None
        held.stdout.readline()
        rows = [row for row in lab.api_json("/conns") if row["state"] == "ESTABLISHED"]
        assert len(rows) == 20
        assert all(row["lane"] for row in rows)
        assert stats(lab)["entries"]["used"] >= 20
        assert lab.api("/conns?all=1", "-X", "DELETE") != "0\n"
        held.kill()
    lab.wait_until("there is no session", lambda: lab.api_json("/conns") == [])
    lab.wait_until("all entries are free", lambda: stats(lab)["entries"]["used"] == 0)


def test_while_there_is_an_ipsec_policy_nothing_goes_past_it(lab: RunningLab) -> None:
    """Sessions go on through the workers, and are carried again when it is gone."""
    policy = ("src", "198.18.0.0/16", "dst", "198.19.0.0/16", "dir", "out")
    template = ("tmpl", "src", "198.18.0.1", "dst", "198.19.0.1", "proto", "esp", "mode", "tunnel")
    with lab.start("client", "held_sessions.py", "10") as held:
        assert held.stdin is not None
        assert held.stdout is not None
        held.stdout.readline()
        lab.run("gateway", "ip", "xfrm", "policy", "add", *policy, *template)
        try:
            lab.wait_until("the lane is closed", lambda: stats(lab)["state"] == "impaired")
            before = stats(lab)
            held.stdin.write("ask\n")
            held.stdin.flush()
            assert json.loads(held.stdout.readline()) == {"answered": 10}
            assert lab.script("client", "http_load.py", "40", "4")["ok"] == 40
            after = stats(lab)
            assert after["lane"]["packets"] == before["lane"]["packets"]
            assert after["workers"]["packets"] > before["workers"]["packets"] + 40 * 6
            assert after["reason"] == "there are IPsec policies, which it would go past (1)"
        finally:
            lab.run("gateway", "ip", "xfrm", "policy", "delete", *policy)
        lab.wait_until("the lane is open", lambda: stats(lab)["state"] == "on")
        held.stdin.write("ask\n")
        held.stdin.flush()
        assert json.loads(held.stdout.readline()) == {"answered": 10}
        assert stats(lab)["lane"]["packets"] > after["lane"]["packets"]
        held.kill()


@pytest.mark.parametrize(
    ("what", "line"),
    [
        ("tc filter del dev client0 ingress pref 50000", "the lane was not attached to client0 any more: attached again"),
        ("tc qdisc del dev server0 clsact", "the lane was not attached to server0 any more: attached again"),
    ],
)
def test_a_filter_that_others_remove_comes_back(lab: RunningLab, what: str, line: str) -> None:
    before, logged = stats(lab)["repairs"], len(log_lines(lab, "lane"))
    lab.run("gateway", "sh", "-c", what)
    assert lab.script("client", "http_load.py", "40", "4")["ok"] == 40, "traffic flows meanwhile"
    lab.wait_until("it is back", lambda: stats(lab)["repairs"] == before + 1)
    assert log_lines(lab, "lane")[logged:] == [line]
    carried = stats(lab)["lane"]["packets"]
    assert lab.script("client", "http_load.py", "40", "4")["ok"] == 40
    assert stats(lab)["lane"]["packets"] > carried + 40


def test_filters_of_others_stay_and_see_their_packets(lab: RunningLab) -> None:
    """One that drops comes before the lane."""
    lab.run("gateway", "sh", "-c", "tc filter add dev client0 ingress protocol ip pref 10 bpf da bytecode '1,6 0 0 2,'")
    try:
        lab.run("client", "curl", "--silent", "--max-time", "1", f"http://{lab.vip}:{lab.port}/", check=False)
        assert "appliance_lane" in lab.run("gateway", "tc", "filter", "show", "dev", "client0", "ingress")
    finally:
        lab.run("gateway", "tc", "filter", "del", "dev", "client0", "ingress", "pref", "10")
    assert lab.script("client", "http_load.py", "10", "2")["ok"] == 10


def test_pins_that_others_remove_come_back(lab: RunningLab) -> None:
    inside = ("nsenter", f"--target={director_of(lab)}", "--mount", "--", "sh", "-c")
    pins = "/run/appliance/bpf/*/flows /run/appliance/bpf/*/sessions"
    before = stats(lab)["repairs"]
    lab.run("gateway", *inside, f"rm {pins}")
    lab.wait_until("they are back", lambda: stats(lab)["repairs"] == before + 1)
    lab.run("gateway", *inside, f"ls {pins}")


def director_of(lab: RunningLab) -> str:
    return lab.run("gateway", "ps", "-o", "ppid=", "-p", str(lab.api_json("/healthz")["shards"][0]["pid"])).strip()


def test_a_service_stays_out_of_the_lane_when_it_says_so(tmp_path: Path) -> None:
    config = tmp_path / "lvs.toml"
    config.write_text(SHIPPED.read_text().replace("# lane = true\n", "lane = false\n"))
    for lab in running_lab("--config", str(config)):
        assert lab.script("client", "http_load.py", "40", "4")["ok"] == 40
        assert (stats(lab)["state"], stats(lab)["share_percent"]) == ("on", 0.0)


def test_without_the_lane_everything_works_and_the_reason_is_said() -> None:
    for lab in running_lab("--lane", "off", "--shards", "2"):
        assert lab.script("client", "http_load.py", "40", "4")["ok"] == 40
        said = {"state": "off", "reason": 'gateway.lane is "off"', "repairs": 0, "admissions_off": "there is no lane"}
        assert lab.api_json("/healthz")["lane"] == said
        assert stats(lab)["counters"] == {}
        assert "appliance_lane" not in lab.run("gateway", "tc", "filter", "show", "dev", "client0", "ingress")
