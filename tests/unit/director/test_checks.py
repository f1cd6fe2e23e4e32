"""checks.py: the checks that come of a configuration."""

from ipaddress import IPv4Address

import pytest

from appliance.config.loading import parse
from appliance.director.checks import Targets
from appliance.health.check import Check, Target

TEXT = """
[gateway]
client_interface = "client0"
server_interface = "server0"
[local_addresses]
default = ["192.0.2.10", "192.0.2.11"]
other = ["192.0.2.12"]
[[service]]
name = "web"
vip = "203.0.113.10"
port = 80
{table}
[[service.real_server]]
address = "192.0.2.101"
port = 8080
[[service.real_server]]
address = "192.0.2.102"
port = 8081
{server}
"""
FIRST, SECOND = Target("web", "192.0.2.101", 8080), Target("web", "192.0.2.102", 8081)


def checks(keys: str | None, server: str = "") -> dict[Target, Check | None]:
    table = "" if keys is None else f"[service.health_check]\n{keys}"
    return Targets().difference(parse(TEXT.format(table=table, server=server), "lvs.toml")).after


def first(keys: str) -> Check:
    check = checks(keys)[FIRST]
    assert check is not None
    return check


def test_without_a_table_there_is_no_check() -> None:
    assert checks(None) == {FIRST: None, SECOND: None}


def test_defaults() -> None:
    check = first('type = "tcp"')
    assert (check.port, check.sources, check.own_ports) == (8080, ("192.0.2.10", "192.0.2.11"), True)
    assert (check.interval_s, check.fast_interval_s, check.timeout_s, check.rise, check.fall) == (2.0, 0.5, 1.0, 2, 3)


def test_times_that_are_left_out_fit_the_interval() -> None:
    check = first('type = "tcp"\ninterval_s = 0.1')
    assert (check.fast_interval_s, check.timeout_s) == (0.05, 0.1)


def test_each_real_server_is_asked_at_its_own_port_or_at_that_of_the_check() -> None:
    assert [check.port for check in checks('type = "tcp"').values() if check] == [8080, 8081]
    assert [check.port for check in checks('type = "tcp"\nport = 9').values() if check] == [9, 9]


def test_a_table_of_its_own_takes_the_place_of_that_of_the_service() -> None:
    found = checks('type = "http"\nfall = 9', '[service.real_server.health_check]\ntype = "icmp"')
    kinds = {target: (check.kind, check.fall) for target, check in found.items() if check}
    assert kinds == {FIRST: ("http", 9), SECOND: ("icmp", 3)}
    alone = checks(None, '[service.real_server.health_check]\ntype = "icmp"')
    assert [check is None for check in alone.values()] == [True, False]


@pytest.mark.parametrize(("source", "own"), [("192.0.2.1", False), ("192.0.2.10", True), ("192.0.2.12", True)])
def test_from_any_local_address_only_the_ports_of_checks_are_used(source: str, own: bool) -> None:
    check = first(f'type = "tcp"\nsource = "{source}"')
    assert (check.sources, check.own_ports) == ((source,), own)


@pytest.mark.parametrize(
    ("keys", "sni"),
    [
        ("", ""),
        ('host = "www.example.com"', "www.example.com"),
        ('host = "www.example.com:443"', "www.example.com"),
        ('host = "192.0.2.1:443"', ""),
        ('host = "[2001:db8::1]:443"', ""),
        ('host = "www.example.com"\nsni = "other.example.com"', "other.example.com"),
    ],
)
def test_the_name_that_tls_asks_for(keys: str, sni: str) -> None:
    assert first(f'type = "https"\n{keys}').sni == sni


def test_texts_become_bytes() -> None:
    check = first('type = "udp"\nsend = "\\u0000\\u00ff"\nexpect = "\\u0080"')
    assert (check.send, check.expect) == (b"\x00\xff", b"\x80")
    assert first('type = "http"\nexpect_body = "grün"').expect_body == "grün".encode()


def test_of_the_next_configuration_only_services_that_are_others_are_looked_at() -> None:
    text = TEXT.format(table='[service.health_check]\ntype = "tcp"', server="")
    other = '[[service]]\nname = "other"\nvip = "203.0.113.9"\nport = 81\n'
    other += '[[service.real_server]]\naddress = "192.0.2.150"\nport = 80\n'
    targets, first = Targets(), parse(f"{text}\n{other}", "lvs.toml")
    difference = targets.difference(first)
    targets.put(difference)
    assert difference.services == {service.name for service in first.services}
    assert not any(targets.difference(first)[:4])
    one, *others = first.services
    again = first.model_copy(update={"services": (one.model_copy(), *others)})
    difference = targets.difference(again)
    assert difference.services == {one.name}
    assert (difference.before, difference.news) == (difference.after, {})
    checked = one.model_copy(update={"health_check": None})
    difference = targets.difference(first.model_copy(update={"services": (checked, *others)}))
    assert difference.news == difference.after != difference.before
    gone = targets.difference(first.model_copy(update={"services": tuple(others)}))
    assert gone.services == {one.name}
    assert (len(gone.after), len(gone.before)) == (0, len(one.real_servers))
    pools = first.local_addresses | {"more": (IPv4Address("192.0.2.77"),)}
    assert targets.difference(first.model_copy(update={"local_addresses": pools})).services == {one.name, "other"}
