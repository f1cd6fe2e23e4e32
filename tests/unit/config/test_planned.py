"""config/planned.py: what would change, and what becomes of sessions."""

from appliance.config.loading import Config, parse
from appliance.config.planned import differences, planned
from appliance.ipc.rows import PlannedChange
from tests.support.api_changes import SHIPPED

RUNNING = parse(SHIPPED, "lvs.toml")
RS2 = '[[service.real_server]]\naddress = "192.0.2.102"\nport = 8080\nweight = 100\n'


def config(*changes: tuple[str, str]) -> Config:
    text = SHIPPED
    for before, after in changes:
        assert before in text
        text = text.replace(before, after, 1)
    return parse(text, "lvs.toml")


def count(service: str, endpoint: str) -> int:
    return {"": 7, "192.0.2.101:8080": 4, "192.0.2.102:8080": 3}[endpoint] if service == "web" else 0


def test_a_removed_real_server_has_its_sessions_wait_or_end() -> None:
    without = config((RS2, ""))
    line = "service web: real server 192.0.2.102:8080 removed"
    assert planned(RUNNING, without, count).changes == [PlannedChange(line, "waiting", 3)]
    ends = config((RS2, ""), ("[sysctl]\n", "[sysctl]\nexpire_nodest_conn = 1\n"))
    assert planned(RUNNING, ends, count).changes == [
        PlannedChange("tunable expire_nodest_conn: 0 -> 1", "", 0),
        PlannedChange(line, "ended", 3),
    ]


def test_a_weight_and_a_scheduler_leave_sessions_alone() -> None:
    wanted = config(("weight = 100", "weight = 0"), ('scheduler = "rr"', 'scheduler = "wlc"'))
    assert planned(RUNNING, wanted, count).changes == [
        PlannedChange("service web: scheduler rr -> wlc", "kept", 7),
        PlannedChange("service web: real server 192.0.2.101:8080 weight 100 -> 0", "kept", 4),
    ]


def test_what_is_added_concerns_no_sessions() -> None:
    assert planned(config((RS2, "")), RUNNING, count).changes == [
        PlannedChange("service web: real server 192.0.2.102:8080 added, weight 100", "", 0)
    ]


def test_what_needs_a_restart_is_said_and_nothing_else() -> None:
    wanted = config(("weight = 100", "weight = 0"), ("shards = 2", "shards = 3"))
    plan = planned(RUNNING, wanted, count)
    assert plan.changes == []
    assert plan.needs_restart == ["gateway.shards: 2 -> 3 needs a restart"]
    assert differences(RUNNING, wanted) == plan.needs_restart


def test_parameters_of_the_host_are_differences_too() -> None:
    wanted = config(("[host.sysctl]\n", "[host.sysctl]\ntcp_fin_timeout = 30\n"))
    assert differences(RUNNING, wanted) == ["host parameter tcp_fin_timeout: as it was -> 30"]
    assert differences(wanted, RUNNING) == ["host parameter tcp_fin_timeout: 30 -> as it was"]
