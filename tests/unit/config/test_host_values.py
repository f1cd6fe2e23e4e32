"""config/host_values.py: `[host.sysctl]` of a configuration, and the message and line for each mistake in it."""

import pytest

from appliance.config.loading import ConfigError, parse

REST = """\
[gateway]
client_interface = "eth0"
server_interface = "eth1"
[local_addresses]
default = ["192.0.2.10"]
[[service]]
name = "web"
vip = "203.0.113.10"
port = 80
"""


def wanted(*lines: str, table: str = "host.sysctl") -> dict[str, tuple[int, ...]]:
    """What the file asks for with these lines, the first of which is line 2."""
    return parse("\n".join([f"[{table}]", *lines, REST]), "lvs.toml").host.sysctl


def refusal(*lines: str, table: str = "host.sysctl") -> list[str]:
    with pytest.raises(ConfigError) as refused:
        wanted(*lines, table=table)
    return str(refused.value).splitlines()


def test_without_the_table_nothing_is_set() -> None:
    assert parse(REST, "lvs.toml").host.sysctl == wanted() == {}


def test_numbers_lists_and_text_as_sysctl_has_it() -> None:
    assert wanted(
        "tcp_fin_timeout = 30",
        "tcp_retries2 = [8]",
        "tcp_rmem = [4096, 131072, 6291456]",
        'ip_local_port_range = "1024 4999"',
        "rp_filter = 0",
        "ip_forward = 1",
    ) == {
        "tcp_fin_timeout": (30,),
        "tcp_retries2": (8,),
        "tcp_rmem": (4096, 131072, 6291456),
        "ip_local_port_range": (1024, 4999),
        "rp_filter": (0,),
        "ip_forward": (1,),
    }


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ("tcp_fin_timeout = 0", "tcp_fin_timeout: 0 is out of range 1..3600 s"),
        ("tcp_fin_timeout = true", "tcp_fin_timeout: is not an integer (allowed: 1..3600 s)"),
        ("tcp_fin_timeout = 30.0", "tcp_fin_timeout: is not an integer (allowed: 1..3600 s)"),
        ("tcp_fin_timeout = [30, 30]", "tcp_fin_timeout: takes one number, and not 2 (allowed: 1..3600 s)"),
        ('tcp_fin_timeout = "30s"', "tcp_fin_timeout: '30s' is not an integer (allowed: 1..3600 s)"),
        ("tcp_fin_timeout = { value = 30 }", "tcp_fin_timeout: is not an integer (allowed: 1..3600 s)"),
        (
            "tcp_rmem = [4096, true, 6291456]",
            "tcp_rmem: is not a list of 3 integers (allowed: min default max: each 1024..1073741824 bytes, ascending)",
        ),
        (
            "ip_local_port_range = [5000, 4999]",
            "ip_local_port_range: last 4999 is below first, which is 5000 (allowed: first last: each 1024..65535 port, "
            "ascending)",
        ),
        (
            "tcp_tw_recycle = 0",
            "tcp_tw_recycle: cannot be set: it drops clients behind a NAT, and no kernel since Linux 4.12 has it",
        ),
    ],
)
def test_a_mistake_is_named_with_its_line(line: str, message: str) -> None:
    assert refusal("tcp_retries1 = 3", line) == [f"lvs.toml:3: host.sysctl.{message}"]


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("ip_forward = 0", "0 would break the gateway. A rewritten packet is routed"),
        ("rp_filter = 1", "1 at the interfaces of the gateway would break the gateway. A rewritten packet has an address"),
        ("accept_local = 0", "0 at the interfaces of the gateway would break the gateway."),
        ("send_redirects = 1", "1 at the interfaces of the gateway would break the gateway."),
    ],
)
def test_a_value_that_would_break_the_gateway_is_refused_and_says_why(line: str, words: str) -> None:
    (problem,) = refusal(line)
    assert words in problem


@pytest.mark.parametrize(
    ("table", "line", "message"),
    [
        ("host.sysctl", "tcp_fin_timeou = 30", 'unknown key; did you mean "tcp_fin_timeout"?'),
        ("host.sysctl", '"net.ipv4.tcp_fin_timeout" = 30', 'unknown key; did you mean "tcp_fin_timeout"?'),
        ("host.sysctl", "net.ipv4.tcp_fin_timeout = 30", "unknown key; write the name alone, without net.ipv4. in front"),
        (
            "host.sysctl",
            "tcp_timeout_close = 2000",
            "unknown key; tcp_timeout_close is a tunable of the gateway: /sysctl/tcp_timeout_close, [sysctl]",
        ),
        ("host", "sysctls = {}", 'unknown key; did you mean "sysctl"?'),
        (
            "sysctl",
            "tcp_retries2 = 8",
            "unknown key; net.ipv4.tcp_retries2 is a parameter of the host: /host/sysctl/tcp_retries2, [host.sysctl]",
        ),
        (
            "sysctl",
            "ip_conntrack_max = 81920",
            "unknown key; net.netfilter.nf_conntrack_max is a parameter of the host: /host/sysctl/nf_conntrack_max, "
            "[host.sysctl]; for sessions of the gateway there are the tunables conn_max",
        ),
        ("sysctl", '"net.ipv4.vs.udp_timeout" = 2000', 'unknown key; did you mean "udp_timeout"?'),
        ("sysctl", "net.ipv4.vs.udp_timeout = 2000", "unknown key; write the name alone, without net.ipv4. in front"),
    ],
)
def test_a_name_in_the_wrong_table_is_told_where_it_lives(table: str, line: str, message: str) -> None:
    (problem,) = refusal(line, table=table)
    assert problem.startswith("lvs.toml:2: ")
    assert problem.endswith(f": {message}")


def test_a_name_of_both_tables_is_each_of_its_own() -> None:
    config = parse("[host.sysctl]\ntcp_syncookies = 2\n[sysctl]\ntcp_syncookies = 0\n" + REST, "lvs.toml")
    assert (config.host.sysctl["tcp_syncookies"], config.sysctl["tcp_syncookies"]) == ((2,), 0)
