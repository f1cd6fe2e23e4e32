"""deploy/prometheus: promtool accepts the files, and each alert fires when it should and at no other time.

The series of a case are written as promtool reads them: ``1x60`` is 1 at every minute, ``0+6x60`` grows by 6 a minute. A lab test
has a real Prometheus read the files.
"""

import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from appliance.metrics.page import FAMILIES
from tests.support.prometheus import promtool

FOLDER = Path(__file__).parents[2] / "deploy" / "prometheus"
ALERTS = FOLDER / "alerts.yml"

LOOK_AFTER_M = 50
"""Minutes of the series before the look."""

DROPPED = "appliance_dropped_packets_total"
NAMED = 'real_server="192.0.2.101:80",service="web"'
SERVER = 'appliance_real_server_packets_total{{real_server="192.0.2.101:80",service="web",direction="{}"}}'

Series = Mapping[str, str]


class Case(NamedTuple):
    """Series with which one alert fires, alone; and some with which none does."""

    alert: str
    fires: Series
    quiet: tuple[Series, ...]


def dropped(reason: str) -> str:
    return f'{DROPPED}{{reason="{reason}"}}'


def growing(per_minute: float) -> str:
    return f"0+{per_minute}x60"


def steady(number: float) -> str:
    return f"{number}x60"


CASES = (
    Case(
        "ApplianceDown", {'up{job="appliance"}': steady(0)}, ({'up{job="appliance"}': steady(1)}, {'up{job="other"}': steady(0)})
    ),
    Case(
        "ApplianceNotHealthy",
        {"appliance_healthy": steady(0)},
        ({"appliance_healthy": steady(1)}, {"appliance_healthy": "1x49 0x9"}),
    ),
    Case(
        "ApplianceWorkerRestarts",
        {'appliance_worker_starts_total{shard="1"}': growing(0.2)},
        ({'appliance_worker_starts_total{shard="1"}': "1x40 2x20"},),
    ),
    Case("ApplianceInternalError", {dropped("internal_error"): "0x40 1x20"}, ({dropped("no_session"): growing(60)},)),
    Case(
        "ApplianceDutyFails",
        {'appliance_duty_failures_total{duty="look at routes"}': growing(1)},
        ({'appliance_duty_failures_total{duty="look at routes"}': "0x45 1x20"},),
    ),
    Case(
        "ApplianceNumbersMissing",
        {'appliance_source_up{source="lane"}': steady(0)},
        ({'appliance_source_up{source="lane"}': steady(1)}, {'appliance_source_up{source="lane"}': "1x47 0x9"}),
    ),
    Case(
        "AppliancePacketsLostInQueue",
        {'appliance_queue_full_drops_total{shard="0"}': growing(90), 'appliance_socket_drops_total{shard="0"}': growing(0)},
        (
            {'appliance_queue_full_drops_total{shard="0"}': growing(20), 'appliance_socket_drops_total{shard="0"}': growing(20)},
            {'appliance_queue_full_drops_total{shard="0"}': growing(90), 'appliance_socket_drops_total{shard="1"}': growing(0)},
        ),
    ),
    Case(
        "ApplianceSessionTableFilling",
        {
            'appliance_sessions{state="established"}': steady(500),
            'appliance_sessions{state="udp"}': steady(301),
            "appliance_tunable_conn_max": steady(1000),
        },
        (
            {'appliance_sessions{state="established"}': steady(799), "appliance_tunable_conn_max": steady(1000)},
            {'appliance_sessions{state="established"}': steady(799), "appliance_tunable_conn_max": steady(0)},
        ),
    ),
    Case(
        "ApplianceSessionsRefused",
        {dropped("table_full"): growing(40), dropped("source_limit"): growing(40)},
        ({dropped("table_full"): growing(20), dropped("source_limit"): growing(20)}, {dropped("no_session"): growing(90)}),
    ),
    Case(
        "ApplianceLocalPortsExhausted",
        {dropped("local_ports_exhausted"): growing(1)},
        ({dropped("local_ports_exhausted"): steady(1000)},),
    ),
    Case(
        "ApplianceServiceWithoutRealServer",
        {dropped("no_real_server"): growing(1)},
        ({dropped("no_real_server"): steady(1000)},),
    ),
    Case(
        "ApplianceRealServerSilent",
        {SERVER.format("in"): growing(90), SERVER.format("out"): steady(1000)},
        (
            {SERVER.format("in"): growing(90), SERVER.format("out"): growing(1)},
            {SERVER.format("in"): growing(30), SERVER.format("out"): steady(1000)},
        ),
    ),
    Case(
        "ApplianceServiceDown",
        {'appliance_service_up{service="web"}': steady(0)},
        ({'appliance_service_up{service="web"}': steady(1)}, {'appliance_service_up{service="web"}': "1x49 0x9"}),
    ),
    Case(
        "ApplianceRealServerDown",
        {f"appliance_real_server_up{{{NAMED}}}": steady(0)},
        (
            {f"appliance_real_server_up{{{NAMED}}}": steady(1)},
            {f"appliance_real_server_up{{{NAMED}}}": "1x46 0x9"},
            {
                f"appliance_real_server_up{{{NAMED}}}": steady(0),
                f"appliance_real_server_draining{{{NAMED}}}": steady(1),
            },
        ),
    ),
    Case(
        "ApplianceRealServersRefuse",
        {'appliance_synproxy_rs_error_total{by="shards"}': growing(90)},
        ({'appliance_synproxy_rs_error_total{by="shards"}': growing(30)},),
    ),
    Case(
        "ApplianceSynFlood",
        {
            'appliance_synproxy_syn_cnt_total{by="shards"}': growing(90_000),
            'appliance_synproxy_ok_ack_total{by="shards"}': growing(8_000),
        },
        (
            {
                'appliance_synproxy_syn_cnt_total{by="shards"}': growing(90_000),
                'appliance_synproxy_ok_ack_total{by="shards"}': growing(10_000),
            },
            {
                'appliance_synproxy_syn_cnt_total{by="shards"}': growing(50_000),
                'appliance_synproxy_ok_ack_total{by="shards"}': growing(10),
            },
        ),
    ),
    Case(
        "ApplianceLaneImpaired",
        {'appliance_lane_state{state="impaired"}': steady(1)},
        ({'appliance_lane_state{state="on"}': steady(1), 'appliance_lane_state{state="impaired"}': steady(0)},),
    ),
    Case(
        "ApplianceLaneFull",
        {'appliance_lane_full_total{shard="0"}': growing(40), 'appliance_lane_full_total{shard="1"}': growing(40)},
        ({'appliance_lane_full_total{shard="0"}': growing(40)},),
    ),
    Case(
        "ApplianceHostConntrackFilling",
        {"appliance_host_conntrack_entries": steady(91), "appliance_host_conntrack_entries_limit": steady(100)},
        ({"appliance_host_conntrack_entries": steady(89), "appliance_host_conntrack_entries_limit": steady(100)},),
    ),
    Case(
        "ApplianceUnderAttack",
        {'appliance_attack_under_way{kind="syn_flood"}': steady(1)},
        tuple({'appliance_attack_under_way{kind="syn_flood"}': series} for series in (steady(0), "0x50 1x9")),
    ),
)


def named() -> list[str]:
    return re.findall(r"- alert: (\w+)", ALERTS.read_text())


def firing(series: Series, folder: Path) -> list[str]:
    """The alerts that fire after these series, in the order of their names.

    promtool only compares, so it is told that a number fires that cannot be, and says what it found.
    """
    test = {
        "interval": "1m",
        "input_series": [{"series": name, "values": values} for name, values in series.items()],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname) (ALERTS{alertstate="firing"})',
                "eval_time": f"{LOOK_AFTER_M}m",
                "exp_samples": [{"labels": '{alertname="none of them"}', "value": -1}],
            }
        ],
    }
    document: dict[str, Any] = {"rule_files": [str(ALERTS)], "evaluation_interval": "1m", "tests": [test]}
    file = folder / "test.json"
    file.write_text(json.dumps(document))  # JSON is YAML as well
    done = subprocess.run([promtool(), "test", "rules", str(file)], capture_output=True, text=True, check=False)
    said = done.stdout + done.stderr
    assert "got:" in said, said
    return sorted(re.findall(r'alertname="(\w+)"', said.partition("got:")[2]))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.alert)
def test_an_alert_fires_alone(case: Case, tmp_path: Path) -> None:
    assert firing(case.fires, tmp_path) == [case.alert]


@pytest.mark.parametrize(
    "series", [series for case in CASES for series in case.quiet], ids=[case.alert for case in CASES for _ in case.quiet]
)
def test_no_alert_fires_when_it_is_not_so_bad(series: Series, tmp_path: Path) -> None:
    assert firing(series, tmp_path) == []


def test_every_alert_has_a_case() -> None:
    assert [case.alert for case in CASES] == named()


def test_every_alert_says_why_it_matters_and_what_to_do() -> None:
    for alert in re.split(r"- alert: ", ALERTS.read_text())[1:]:
        assert re.findall(r"^          (summary|why|action): ", alert, re.MULTILINE) == ["summary", "why", "action"], alert
        assert re.search(r"labels: \{severity: (page|ticket)\}", alert)


def test_alerts_name_only_metrics_that_there_are() -> None:
    expressions = re.findall(r"expr: (.*?)\n        (?:for|labels):", ALERTS.read_text(), re.DOTALL)
    assert len(expressions) == len(named())
    assert set(re.findall(r"\bappliance_\w+", " ".join(expressions))) <= {family.series_name for family in FAMILIES}


@pytest.mark.parametrize("check", [("rules", ALERTS), ("config", FOLDER / "prometheus.yml")], ids=lambda check: check[0])
def test_promtool_accepts_the_files(check: tuple[str, Path]) -> None:
    kind, file = check
    done = subprocess.run([promtool(), "check", kind, str(file)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
