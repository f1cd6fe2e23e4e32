"""A real Prometheus reads the gateway: every query of the dashboard and of the alerts finds what it looks for."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from itertools import chain
from typing import NamedTuple

import pytest

from tests.lab.conftest import RunningLab, running_lab
from tests.lab.director import worker_pids
from tests.lab.idle_sessions import IdleSessions
from tests.lab.prometheus import FILES, Prometheus, watching
from tests.support.prometheus import program, promtool

DASHBOARD = FILES.parent / "grafana" / "appliance.json"

VARIABLES = {"$__rate_interval": "1m", "$instance": ".+", "$service": ".+"}

REQUESTS = 50

_SELECTOR = re.compile(r"\bappliance_\w+(?:\{[^}]*\})?")

EMPTY = {
    "Drained": "no real server has weight 0",
    "Dropped by shards, by reason": "nothing is dropped",
}
"""Panels that may find nothing on a healthy gateway, and why. What they look at is there all the same."""

WITHOUT_SERIES = {"Connection tracking of the host": "the host of the lab tracks no connections"}
"""Panels that look at what may not be there, and why."""

WITHOUT_LANE = ("Packets that the lane left to workers, by reason", "Entries of the lane")
if os.environ.get("LANE") == "off":
    WITHOUT_SERIES |= dict.fromkeys(WITHOUT_LANE, "there is no lane")


class Watched(NamedTuple):
    """A gateway with traffic, and the Prometheus that watches it."""

    lab: RunningLab
    prometheus: Prometheus


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    program("prometheus")  # before a lab is made for nothing
    for lab in running_lab("--shards", "2"):
        with watching(lab, tmp_path_factory.mktemp("prometheus")) as prometheus:
            yield Watched(lab, prometheus)


@pytest.fixture
def busy(watched: Watched) -> Iterator[Watched]:
    """While some sessions are open, and Prometheus has seen a connection go through."""
    lab, prometheus = watched
    lab.wait_until("there are scrapes", lambda: prometheus.has("count_over_time(appliance_healthy[30s]) > 2"))
    with IdleSessions(lab, 3):
        assert lab.script("client", "http_load.py", str(REQUESTS), "4")["ok"] == REQUESTS
        seen = "sum(rate(appliance_shard_sessions_opened_total[1m])) > 0 and sum(appliance_sessions) > 2"
        lab.wait_until("Prometheus has seen the traffic", lambda: prometheus.has(seen))
        yield watched


def queries() -> list[tuple[str, str]]:
    """Title of the panel, and query with the variables filled in."""
    panels = json.loads(DASHBOARD.read_text())["panels"]
    found = [(panel["title"], target["expr"]) for panel in panels for target in panel.get("targets", ())]
    return [(title, _filled_in(query)) for title, query in found]


def _filled_in(query: str) -> str:
    for variable, value in VARIABLES.items():
        query = query.replace(variable, value)
    return query


def test_every_query_of_the_dashboard_finds_something(busy: Watched) -> None:
    for title, query in queries():
        busy.prometheus.query(query)  # whatever it finds, it is a query
        for part in _SELECTOR.findall(query) if title in EMPTY else [query]:
            if title not in WITHOUT_SERIES:
                busy.lab.wait_until(f"{title} finds {part}", lambda: busy.prometheus.has(part))  # noqa: B023  # called here


def test_panels_that_may_find_nothing_are_on_the_dashboard() -> None:
    assert {*EMPTY, *WITHOUT_SERIES, *WITHOUT_LANE} <= {title for title, _ in queries()}


def test_the_values_that_can_be_chosen_are_there(busy: Watched) -> None:
    """label_values(METRIC, LABEL) is a word of Grafana: it asks for the series of the metric."""
    variables = json.loads(DASHBOARD.read_text())["templating"]["list"]
    asked = [re.fullmatch(r"label_values\((.*), (\w+)\)", one["query"]) for one in variables if one["type"] == "query"]
    for found in asked:
        assert found
        series = busy.prometheus.ask("series", **{"match[]": _filled_in(found[1])})
        assert all(one[found[2]] for one in series)
        assert series


def test_no_alert_is_raised_on_a_healthy_gateway_and_each_is_understood(busy: Watched) -> None:
    """What they look at is there, so they are silent because all is well."""
    lab, prometheus = busy
    lab.wait_until("every alert was looked at", lambda: all(rule["health"] != "unknown" for rule in prometheus.rules()))
    rules = prometheus.rules()
    assert [rule["name"] for rule in rules] == re.findall(r"- alert: (\w+)", (FILES / "alerts.yml").read_text())
    assert {rule["name"]: (rule["health"], rule.get("lastError", "")) for rule in rules} == {
        rule["name"]: ("ok", "") for rule in rules
    }
    for selector in chain.from_iterable(_SELECTOR.findall(rule["query"]) for rule in rules):
        if "conntrack" not in selector:
            lab.wait_until(f"there is {selector}", lambda: prometheus.has(selector))  # noqa: B023  # called here
    # A scrape that a slow machine does not finish in time raises one for a moment.
    lab.wait_until("none is raised", lambda: {rule["state"] for rule in prometheus.rules()} == {"inactive"})


def test_an_alert_is_raised_when_it_is_time(busy: Watched) -> None:
    lab, prometheus = busy

    def state() -> str:
        (found,) = (rule["state"] for rule in prometheus.rules() if rule["name"] == "ApplianceSessionTableFilling")
        return str(found)

    with lab.changed(conn_max=3):
        lab.wait_until("the alert is raised", lambda: state() in ("pending", "firing"))
    lab.wait_until("the alert is over", lambda: state() == "inactive")


def test_prometheus_reads_openmetrics_and_every_number_that_curl_sees(busy: Watched) -> None:
    lab, prometheus = busy

    def is_read() -> bool:
        (target,) = prometheus.ask("targets")["activeTargets"]
        return (target["health"], target["lastError"]) == ("up", "")

    lab.wait_until("it is read without an error", is_read)
    shown = lab.api("/metrics")
    names = set(re.findall(r"^# TYPE (\w+) ", shown, re.MULTILINE))
    lab.wait_until("every name is known", lambda: names <= set(prometheus.ask("label/__name__/values")))
    assert len(names) > 100
    assert "# EOF" not in shown


def test_promtool_has_nothing_to_say_of_the_page(busy: Watched) -> None:
    page = busy.lab.api("/metrics")
    checked = subprocess.run([promtool(), "check", "metrics"], input=page, capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, "", "")


def test_the_command_prints_the_page(watched: Watched) -> None:
    lab = watched.lab
    printed = lab.run("gateway", sys.executable, "-m", "appliance", "metrics", "--api", lab.environment["LAB_API"])
    assert re.findall(r"^# .*$", printed, re.MULTILINE) == re.findall(r"^# .*$", lab.api("/metrics"), re.MULTILINE)


def counters(lab: RunningLab) -> dict[str, float]:
    lines = (line.rpartition(" ") for line in lab.api("/metrics").splitlines() if not line.startswith("#"))
    return {series: float(number) for series, _, number in lines if series.partition("{")[0].endswith("_total")}


def test_a_worker_that_does_nothing_is_seen_and_raises_an_alert(busy: Watched) -> None:
    """The API answers meanwhile, and so does the page."""
    lab, prometheus = busy
    stopped = worker_pids(lab)[0]
    os.kill(stopped, signal.SIGSTOP)
    try:
        lab.wait_until(
            "the page says so",
            lambda: prometheus.has('appliance_shard_up{shard="0"} == 0 and appliance_shard_silent_seconds > 0'),
        )
        lab.wait_until("the other one is up", lambda: prometheus.has('appliance_shard_up{shard="1"} == 1'))
        raised = 'ALERTS{alertname="ApplianceNotHealthy"}'
        lab.wait_until("the alert is raised", lambda: prometheus.has(raised))
    finally:
        os.kill(stopped, signal.SIGCONT)
    lab.wait_until("all is well", lambda: prometheus.has("appliance_healthy == 1"))


def test_counters_go_on_over_the_death_of_a_worker(busy: Watched) -> None:
    lab, prometheus = busy
    before = counters(lab)
    os.kill(worker_pids(lab)[1], signal.SIGKILL)
    started = 'appliance_worker_starts_total{shard="1"}'
    lab.wait_until("it is started anew", lambda: counters(lab)[started] > before[started])
    lab.wait_until("it is up", lambda: lab.api_json("/healthz")["status"] == "ok")
    after = counters(lab)
    assert before.keys() <= after.keys()
    assert {series for series in before if after[series] < before[series]} == set()
    assert lab.script("client", "http_load.py", str(REQUESTS), "4")["ok"] == REQUESTS
    opened = "sum(appliance_shard_sessions_opened_total)"
    wanted = sum(number for series, number in before.items() if series.startswith("appliance_shard_sessions_opened")) + REQUESTS
    lab.wait_until("Prometheus has seen them", lambda: prometheus.has(f"{opened} >= {wanted}"))
    assert not prometheus.has("resets(appliance_shard_sessions_opened_total[5m]) > 0")
