"""health_check.py: what is refused, with the key, the value, the range and the line."""

import pytest

from appliance.config.health_check import HealthCheck
from appliance.config.loading import ConfigError, parse

TEXT = """\
[gateway]
client_interface = "client0"
server_interface = "server0"
[local_addresses]
default = ["192.0.2.10"]
[[service]]
name = "web"
vip = "203.0.113.10"
port = 80
{service}
{table}
[[service.real_server]]
address = "192.0.2.101"
port = 8080
{server}
"""


def text(keys: str = "", *, kind: str = "tcp", service: str = "", server: str = "") -> str:
    return TEXT.format(service=service, table=f'[service.health_check]\ntype = "{kind}"\n{keys}', server=server)


def said(keys: str, kind: str = "tcp", **more: str) -> list[str]:
    with pytest.raises(ConfigError) as refused:
        parse(text(keys, kind=kind, **more), "lvs.toml")
    return str(refused.value).splitlines()


def table(keys: str, kind: str = "tcp") -> HealthCheck:
    found = parse(text(keys, kind=kind), "lvs.toml").services[0].health_check
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("kind", "keys", "problem"),
    [
        ("tcp", "interval_s = 0", "interval_s: 0 is out of range 0.1..3600.0 s"),
        ("tcp", "interval_s = nan", "interval_s: nan is out of range 0.1..3600.0 s"),
        ("tcp", "interval_s = inf", "interval_s: inf is out of range 0.1..3600.0 s"),
        ("tcp", 'interval_s = "2"', 'interval_s: "2" is not a number'),
        ("tcp", "interval_s = true", "interval_s: true is not a number"),
        ("tcp", "timeout_s = 2.5", "timeout_s: 2.5 is above interval_s, which is 2.0"),
        ("tcp", "fast_interval_s = 3", "fast_interval_s: 3 is above interval_s, which is 2.0"),
        ("tcp", "rise = 0", "rise: 0 is out of range 1..1000"),
        ("tcp", "fall = 2.0", "fall: 2.0 is not an integer"),
        ("tcp", "port = 0", "port: 0 is out of range 1..65535"),
        ("icmp", "port = 80", "port: 80 is not possible with type icmp: it is for tcp, http, https, udp, command"),
        ("tcp", 'path = "/"', 'path: "/" is not possible with type tcp: it is for http, https'),
        ("http", "tls_verify = false", "tls_verify: false is not possible with type http: it is for https"),
        ("http", 'send = "x"', 'send: "x" is not possible with type http: it is for udp'),
        ("http", 'method = "PUT"', 'method: "PUT" is not available in this version; available: "GET", "HEAD", "OPTIONS"'),
        ("http", 'expect_status = "2xx"', 'expect_status: "2xx" is not a set of HTTP status codes, such as "200-399,404"'),
        (
            "http",
            'method = "HEAD"\nexpect_body = "x"',
            'expect_body: "x" is not possible with method HEAD, whose answer has no body',
        ),
        ("http", 'sorce = "192.0.2.1"', 'sorce: unknown key; did you mean "source"?'),
        ("tcp", 'source = "203.0.113.10"', "source: 203.0.113.10 is a VIP: answers to it belong to clients"),
        ("command", "", 'command: is required with type "command"'),
        ("command", 'command = ["true"]', "command: a list does not begin with the absolute path of a program"),
        ("command", "command = []", "command: a list does not begin with the absolute path of a program"),
        ("command", 'command = ["/bin/true", "a\\u0000b"]', r'command[1]: "a\u0000b" has a NUL in it'),
    ],
)
def test_what_is_refused(kind: str, keys: str, problem: str) -> None:
    [line] = said(keys, kind)
    place, _, rest = line.partition(": service[0].health_check.")
    assert rest == problem
    assert place.startswith("lvs.toml:1")


@pytest.mark.parametrize("value", ["", "a", "/a b", "/ä", "/" + "x" * 1024, "/\\u000d\\u000aX: y"])
def test_a_path_can_carry_nothing_else_into_the_request(value: str) -> None:
    [line] = said(f'path = "{value}"', "http")
    assert "is not a path that begins with a slash, in ASCII and without blanks" in line


@pytest.mark.parametrize("value", ["", "a b", "a\\u000d\\u000aX: y", "a/b", "ü"])
def test_nor_a_host(value: str) -> None:
    [line] = said(f'host = "{value}"', "http")
    assert "is not a host name or address" in line


def test_bytes_beyond_one_byte_are_refused() -> None:
    [line] = said('send = "\\u0100"', "udp")
    assert "or one beyond U+00FF: each stands for one byte" in line
    assert table('send = "\\u0000\\u00ff"', "udp").send == "\0\xff"


def test_a_table_of_a_real_server_is_checked_as_well() -> None:
    [line] = said("", server='[service.real_server.health_check]\ntype = "http"\nrise = 0')
    assert line == "lvs.toml:19: service[0].real_server[0].health_check.rise: 0 is out of range 1..1000"


@pytest.mark.parametrize(
    ("keys", "problem"),
    [
        ('when_none_healthy = "refused"', 'available in this version; available: "refuse", "drop", "all"'),
        ('on_down = "cut"', 'available in this version; available: "leave", "expire", "reset"'),
        ("quorum = 0", "service[0].quorum: 0 is out of range 1..65535"),
    ],
)
def test_keys_of_the_service_that_belong_to_it(keys: str, problem: str) -> None:
    [line] = said("", service=keys)
    assert problem in line


def test_integers_are_numbers_of_seconds_too() -> None:
    assert table("interval_s = 5\ntimeout_s = 3").interval_s == 5.0
