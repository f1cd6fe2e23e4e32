"""changes.py: what another reading of the configuration changes, and what it refuses."""

from typing import Any

import pytest

from appliance.config import loading
from appliance.config.changes import ReloadRefusedError, compare
from appliance.config.loading import Config, RealServer, Service

TEXT = """
[gateway]
shards = 2
queue_base = 0
client_interface = "client0"
server_interface = "server0"
manage_addresses = true
[api]
listen = ["127.0.0.1:9380", "unix:/run/appliance/api.sock"]
[sysctl]
tcp_timeout_established = 900000
[local_addresses]
default = ["192.0.2.10", "192.0.2.11"]
[[service]]
name = "web"
vip = "203.0.113.10"
port = 80
real_server = [{ address = "192.0.2.101", port = 8080 }, { address = "192.0.2.102", port = 8080 }]
"""
RUNNING = loading.parse(TEXT, "lvs.toml")
(WEB,) = RUNNING.services

RS3 = RealServer.model_validate({"address": "192.0.2.103", "port": 8080, "weight": 50})


def edited(old: str, new: str) -> Config:
    """TEXT with its first `old` replaced."""
    assert old in TEXT
    return loading.parse(TEXT.replace(old, new, 1), "lvs.toml")


def having(*services: Service) -> Config:
    return RUNNING.model_copy(update={"services": services})


def web(**changes: Any) -> Service:
    return WEB.model_copy(update=changes)


def refusal(wanted: Config) -> list[str]:
    with pytest.raises(ReloadRefusedError) as refused:
        compare(RUNNING, wanted)
    return str(refused.value).splitlines()


def test_the_same_file_changes_nothing() -> None:
    same = compare(RUNNING, loading.parse(TEXT, "lvs.toml"))
    assert (same.tunables, same.real_servers) == ({}, ())


def test_real_servers_come_and_go_and_change_their_weight() -> None:
    rs1, _ = WEB.real_servers
    wanted = having(web(real_servers=(RS3, rs1.model_copy(update={"weight": 0}))))
    assert compare(RUNNING, wanted).real_servers == (
        "service web: real server 192.0.2.101:8080 weight 100 -> 0",
        "service web: real server 192.0.2.102:8080 removed",
        "service web: real server 192.0.2.103:8080 added, weight 50",
    )


def test_another_port_is_another_real_server() -> None:
    rs1, rs2 = WEB.real_servers
    wanted = having(web(real_servers=(rs1, rs2.model_copy(update={"port": 8081}))))
    assert compare(RUNNING, wanted).real_servers == (
        "service web: real server 192.0.2.102:8080 removed",
        "service web: real server 192.0.2.102:8081 added, weight 100",
    )


def test_services_and_real_servers_may_stand_in_another_order() -> None:
    other = web(name="other", port=81)
    reordered = (other, web(real_servers=WEB.real_servers[::-1]))
    assert compare(having(WEB, other), having(*reordered)).real_servers == ()


def test_only_tunables_whose_value_in_the_file_changed_are_written() -> None:
    wanted = edited("tcp_timeout_established = 900000", "tcp_timeout_established = 600000\nudp_timeout = 1000")
    assert compare(RUNNING, wanted).tunables == {"tcp_timeout_established": 600_000, "udp_timeout": 1000}


def test_a_tunable_that_the_file_no_longer_names_goes_back_to_its_default() -> None:
    running = edited("tcp_timeout_established = 900000", "tcp_timeout_close = 5000")
    assert compare(running, RUNNING).tunables == {"tcp_timeout_close": 10_000}


def test_parameters_of_the_host_change_and_one_that_stands_there_no_more_gets_its_old_value_back() -> None:
    running = edited("[local", "[host.sysctl]\ntcp_fin_timeout = 30\ntcp_retries2 = 8\ntcp_rfc1337 = 1\n[local")
    wanted = edited("[local", "[host.sysctl]\ntcp_fin_timeout = 31\ntcp_rfc1337 = 1\nip_local_port_range = [1024, 4999]\n[local")
    assert compare(running, wanted).host_parameters == {
        "tcp_fin_timeout": (31,),
        "tcp_retries2": None,
        "ip_local_port_range": (1024, 4999),
    }
    assert compare(wanted, wanted).host_parameters == {}


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("shards = 2", "shards = 4", "gateway.shards: 2 -> 4"),
        ("queue_base = 0", "queue_base = 8", "gateway.queue_base: 0 -> 8"),
        ('"client0"', '"eth9"', 'gateway.client_interface: "client0" -> "eth9"'),
        ("manage_addresses = true", "manage_addresses = false", "gateway.manage_addresses: true -> false"),
        ("manage_addresses = true", 'manage_addresses = true\nlane = "off"', 'gateway.lane: "auto" -> "off"'),
        ("manage_addresses = true", "manage_addresses = true\nlane_entries = 8192", "gateway.lane_entries: 262144 -> 8192"),
        (
            '"127.0.0.1:9380", "unix',
            '"127.0.0.2:9380", "unix',
            'api.listen: ["127.0.0.1:9380", "unix:/run/appliance/api.sock"] -> '
            '["127.0.0.2:9380", "unix:/run/appliance/api.sock"]',
        ),
    ],
)
def test_everything_else_needs_a_restart_and_says_which_key(old: str, new: str, words: str) -> None:
    assert refusal(edited(old, new)) == [f"{words} needs a restart"]


@pytest.mark.parametrize(
    ("changes", "lines"),
    [
        ({"scheduler": "wlc"}, ("service web: scheduler rr -> wlc",)),
        ({"persistence_s": 60}, ("service web: persistence_s 0 -> 60",)),
        ({"persistence_mask": 24}, ("service web: persistence_mask 32 -> 24",)),
        ({"maglev_table": 251}, ("service web: maglev_table 65537 -> 251",)),
        (
            {"scheduler": "mh", "maglev_table": 251},
            ("service web: scheduler rr -> mh", "service web: maglev_table 65537 -> 251"),
        ),
    ],
    ids=str,
)
def test_how_a_service_chooses_its_real_servers_can_change(changes: dict[str, Any], lines: tuple[str, ...]) -> None:
    found = compare(RUNNING, having(web(**changes)))
    assert (found.services, found.real_servers, found.lines) == (lines, (), lines)


def test_each_key_of_a_real_server_that_changes_has_a_line() -> None:
    rs1, rs2 = WEB.real_servers
    found = compare(
        RUNNING, having(web(scheduler="lc", real_servers=(rs1.model_copy(update={"weight": 1, "slow_start_s": 30}), rs2)))
    )
    assert found.lines == (
        "service web: scheduler rr -> lc",
        "service web: real server 192.0.2.101:8080 weight 100 -> 1",
        "service web: real server 192.0.2.101:8080 slow_start_s 0 -> 30",
    )


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"synproxy": True}, "service web: synproxy auto -> true"),
        ({"synproxy_defer": 1}, "service web: synproxy_defer absent -> 1"),
        ({"lane": False}, "service web: lane true -> false"),
        ({"local_addresses": "other"}, "service web: local_addresses default -> other"),
    ],
    ids=str,
)
def test_the_ways_of_its_sessions_can_change(changes: dict[str, Any], line: str) -> None:
    found = compare(RUNNING, having(web(**changes)))
    assert found.lines == (line,)


@pytest.mark.parametrize(
    ("key", "value", "endpoint"),
    [
        ("vip", "203.0.113.11", "203.0.113.11:80 tcp"),
        ("port", 81, "203.0.113.10:81 tcp"),
        ("protocol", "udp", "203.0.113.10:80 udp"),
    ],
)
def test_a_service_that_moves_goes_and_comes(key: str, value: object, endpoint: str) -> None:
    found = compare(RUNNING, having(web(**{key: value})))
    assert found.lines == ("service web (203.0.113.10:80 tcp) removed", f"service web ({endpoint}) added")


def test_services_come_and_go() -> None:
    assert compare(RUNNING, having(web(name="www"), web(port=81))).lines == (
        "service web (203.0.113.10:80 tcp) removed",
        "service www (203.0.113.10:80 tcp) added",
        "service web (203.0.113.10:81 tcp) added",
    )
    assert compare(RUNNING, having()).lines == ("service web (203.0.113.10:80 tcp) removed",)


@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        (', "192.0.2.11"]', "]", "local_addresses.default: [192.0.2.10, 192.0.2.11] -> [192.0.2.10]"),
        ("default = [", 'more = ["192.0.2.12"]\ndefault = [', "local_addresses.more: absent -> [192.0.2.12]"),
    ],
)
def test_local_addresses_come_and_go(old: str, new: str, line: str) -> None:
    assert compare(RUNNING, edited(old, new)).lines == (line,)
    (back,) = compare(edited(old, new), RUNNING).lines
    before, _, after = line.partition(": ")[2].partition(" -> ")
    assert back == f"{line.partition(': ')[0]}: {after} -> {before}"


def test_a_key_that_nobody_has_thought_of_needs_a_restart() -> None:
    class Later(Service):
        colour: str = "blue"

    before, after = (Later.model_construct(**dict(WEB), colour=colour) for colour in ("blue", "red"))
    with pytest.raises(ReloadRefusedError, match=r'^service web: colour: "blue" -> "red" needs a restart$'):
        compare(having(before), having(after))


def test_a_refusal_names_every_key_and_hides_none_behind_what_could_be_done() -> None:
    wanted = edited("queue_base = 0", "queue_base = 8").model_copy(update={"services": (web(port=81, real_servers=()),)})
    gateway = wanted.gateway.model_copy(update={"shards": 4})
    assert len(refusal(wanted.model_copy(update={"gateway": gateway}))) == 2


def test_the_session_log_changes_while_traffic_flows_and_touches_no_service() -> None:
    log = RUNNING.session_log.model_copy(update={"target": "journal", "services": ("web",)})
    changes = compare(RUNNING, RUNNING.model_copy(update={"session_log": log}))
    assert changes.session_log == ('session_log.target: "off" -> "journal"', 'session_log.services: [] -> ["web"]')
    assert changes.lines == ()
