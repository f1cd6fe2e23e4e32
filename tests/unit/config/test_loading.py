"""config/loading.py: the result of a good file, and the message for each mistake."""

import os
import pickle
import tomllib
from ipaddress import IPv4Address
from pathlib import Path

import pydantic
import pytest

from appliance.config.loading import LONGEST_FILE_BYTES, ConfigError, load, parse
from appliance.model.tunables import TUNABLES

REFERENCE = Path(__file__).parents[3] / "etc" / "lvs.toml"

GOOD = """\
[gateway]
shards = 2
queue_base = 8
client_interface = "eth0"
server_interface = "eth1"
manage_addresses = false

[api]
listen = ["127.0.0.1:9380"]

[sysctl]
fullnat_lport_min = 5000
fullnat_lport_max = 6000

[local_addresses]
default = ["192.0.2.10"]
spare = ["192.0.2.20", "192.0.2.21"]

[[service]]
name = "web"
vip = "203.0.113.10"
port = 80
protocol = "tcp"
scheduler = "rr"
synproxy = false
local_addresses = "spare"

[[service.real_server]]
address = "192.0.2.101"
port = 8080
weight = 7

[[service.real_server]]
address = "192.0.2.102"
port = 8080

[[service]]
name = "tls"
vip = "203.0.113.10"
port = 443
"""

MINIMAL = """\
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


def refusal(text: str) -> ConfigError:
    """The error for `text`, which must have a mistake."""
    with pytest.raises(ConfigError) as caught:
        parse(text, "lvs.toml")
    return caught.value


def changed(old: str, new: str) -> str:
    """GOOD, with the first `old` replaced by `new`."""
    assert old in GOOD
    return GOOD.replace(old, new, 1)


def test_every_value_of_a_file_arrives() -> None:
    config = parse(GOOD, "lvs.toml")
    web, tls = config.services
    assert (config.gateway.shards, config.gateway.queue_base, config.gateway.manage_addresses) == (2, 8, False)
    assert (config.gateway.client_interface, config.gateway.server_interface) == ("eth0", "eth1")
    assert config.api.listen == ("127.0.0.1:9380",)
    assert config.local_addresses == {
        "default": (IPv4Address("192.0.2.10"),),
        "spare": (IPv4Address("192.0.2.20"), IPv4Address("192.0.2.21")),
    }
    assert (web.name, web.vip, web.port, web.local_addresses) == ("web", IPv4Address("203.0.113.10"), 80, "spare")
    assert [(str(server.address), server.port, server.weight) for server in web.real_servers] == [
        ("192.0.2.101", 8080, 7),
        ("192.0.2.102", 8080, 100),
    ]
    assert (tls.name, tls.real_servers) == ("tls", ())


def test_defaults() -> None:
    config = parse(MINIMAL, "lvs.toml")
    [service] = config.services
    assert (config.gateway.shards, config.gateway.queue_base, config.gateway.manage_addresses) == (1, 0, True)
    assert config.api.listen == ("127.0.0.1:9380", "unix:/run/appliance/api.sock")
    assert config.sysctl == {name: tunable.default for name, tunable in TUNABLES.items()}
    assert (config.gateway.lane, config.gateway.lane_entries) == ("auto", 262144)
    assert (service.protocol, service.scheduler, service.synproxy, service.lane) == ("tcp", "rr", "auto", True)
    assert service.local_addresses == "default"


def test_start_values_stand_among_the_defaults_of_all_other_tunables() -> None:
    config = parse(GOOD, "lvs.toml")
    assert list(config.sysctl) == list(TUNABLES)
    assert (config.sysctl["fullnat_lport_max"], config.sysctl["fullnat_lport_tries"]) == (6000, 10000)


def test_the_reference_file_is_the_network_of_the_lab() -> None:
    config = load(REFERENCE)
    [service] = config.services
    assert config.gateway.model_dump() == {
        "shards": 2,
        "queue_base": 0,
        "client_interface": "client0",
        "server_interface": "server0",
        "manage_addresses": True,
        "client_interfaces": (),
        "server_interfaces": (),
        "server_networks": (),
        "direct_access": False,
        "lane": "auto",
        "lane_entries": 262144,
        "spare_real_servers": 256,
    }
    assert config.api.listen == ("127.0.0.1:9380", "unix:/run/appliance/api.sock")
    assert config.sysctl == {name: tunable.default for name, tunable in TUNABLES.items()}
    assert tomllib.loads(REFERENCE.read_text())["sysctl"]["tcp_timeout_established"] == 900_000
    assert config.local_addresses == {"default": (IPv4Address("192.0.2.10"), IPv4Address("192.0.2.11"))}
    assert service.model_dump(mode="json") == {
        "name": "web",
        "vip": "203.0.113.10",
        "port": 80,
        "protocol": "tcp",
        "scheduler": "rr",
        "synproxy": "auto",
        "synproxy_defer": None,
        "lane": True,
        "local_addresses": "default",
        "real_servers": [
            {
                "address": address,
                "port": 8080,
                "weight": 100,
                "slow_start_s": 0,
                "backup": False,
                "max_conn": 0,
                "health_check": None,
            }
            for address in ("192.0.2.101", "192.0.2.102")
        ],
        "maglev_table": 65537,
        "persistence_s": 0,
        "persistence_mask": 32,
        "when_none_healthy": "refuse",
        "quorum": 1,
        "on_down": "leave",
        **{key: [] for key in ("allow", "allow_files", "allow_sets", "deny", "deny_files", "deny_sets")},
        **dict.fromkeys(("client_new_per_s", "client_new_burst", "new_per_s", "new_burst"), 0),
        "client_mask": 32,
        "max_conn": 0,
        "max_conn_per_client": 0,
        "when_full": "refuse",
        "health_check": None,
        "observe": None,
    }


def test_a_configuration_cannot_be_changed() -> None:
    config = parse(GOOD, "lvs.toml")
    with pytest.raises(pydantic.ValidationError):
        config.gateway.shards = 3  # type: ignore[misc]


ADDRESSES = 'default = ["192.0.2.10"]'
INTERFACE_RULE = "is not an interface name; it has 1 to 15 ASCII characters and no blank, slash, colon, quote, star or backslash"
LISTEN_RULE = "is not IP:PORT or [IPV6]:PORT with a numeric address, nor one of these after tls:, and not unix:/absolute/path"
TABLE_RULE = "is no size of a table; sizes: 251, 509, 1021, 2039, 4093, 8191, 16381, 32749, 65537, 131071"
NAME_RULE = 'is not a name; a name is 1 to 64 letters, digits, "_", "." and "-", and neither "." nor ".."'

OTHER_SET = "is not a name of a set: a letter, then letters, digits and _, 63 at most"

ONE_VALUE = [
    # Access lists and rate limits
    ("port = 80", "port = 80\nallow = ['10.0.0.1/8']", 'service[0].allow[0]: "10.0.0.1/8" has bits set beyond its prefix'),
    ("port = 80", "port = 80\ndeny = [8]", "service[0].deny[0]: 8 is not an IPv4 address or prefix in quotes"),
    ("port = 80", "port = 80\ndeny_files = ['list']", 'service[0].deny_files[0]: "list" is not the absolute path of a file'),
    ("port = 80", "port = 80\ndeny_sets = ['a; drop']", f'service[0].deny_sets[0]: "a; drop" {OTHER_SET}'),
    (
        "port = 80",
        "port = 80\nallow_sets = ['list_a']",
        'service[0].allow_sets[0]: "list_a" is taken: names that begin with list_, rate_, services are those of the appliance\'s '
        "own sets",
    ),
    (
        "port = 80",
        "port = 80\nclient_new_per_s = -1",
        "service[0].client_new_per_s: -1 is out of range 0..1000000 SYNs per second",
    ),
    ("port = 80", "port = 80\nclient_mask = 7", "service[0].client_mask: 7 is out of range 8..32 bits"),
    (
        "synproxy = false",
        'synproxy = "auto"\nnew_per_s = 5',
        'service[0].new_per_s: 5 is not possible while synproxy is "auto": forged SYNs would use the limit up, and keep out the '
        "clients that SYN cookies let in. Set synproxy = false, or use client_new_per_s",
    ),
    *(
        (
            'protocol = "tcp"',
            f'protocol = "udp"\n{key} = 5',
            f"service[0].{key}: 5 is not possible for a UDP service: what opens a connection there is not to be seen in a "
            "datagram",
        )
        for key in ("new_per_s", "client_new_per_s")
    ),
    (
        'protocol = "tcp"',
        'protocol = "udp"\nmax_conn_per_client = 5',
        "service[0].max_conn_per_client: 5 is not possible for a UDP service: nothing proves that a datagram comes from the "
        "client that it names, so strangers could keep clients out",
    ),
    # Keys
    ("weight = 7", "weigth = 7", 'service[0].real_server[0].weigth: unknown key; did you mean "weight"?'),
    ("shards = 2", "Shard = 2", 'gateway.Shard: unknown key; did you mean "shards"?'),
    ("[api]", "[apis]", 'apis: unknown key; did you mean "api"?'),
    ("listen =", "listne = 1\nlisten =", 'api.listne: unknown key; did you mean "listen"?'),
    ('scheduler = "rr"', 'schedulr = "rr"', 'service[0].schedulr: unknown key; did you mean "scheduler"?'),
    (
        "fullnat_lport_max = 6",
        "fullnat_lport_mxa = 6",
        'sysctl.fullnat_lport_mxa: unknown key; did you mean "fullnat_lport_max"?',
    ),
    ("shards = 2", "zzz = 2", "gateway.zzz: unknown key"),
    ("shards = 2", '"\\n" = 2', 'gateway."\\n": unknown key'),
    ("shards = 2", '"[key]" = 2', 'gateway."[key]": unknown key'),
    ('client_interface = "eth0"', "", "gateway.client_interface: is required"),
    ("port = 443", "", "service[1].port: is required"),
    # Types
    ("shards = 2", 'shards = "two"', 'gateway.shards: "two" is not an integer'),
    ("shards = 2", "shards = true", "gateway.shards: true is not an integer"),
    ("shards = 2", "shards = 2.0", "gateway.shards: 2.0 is not an integer"),
    ("shards = 2", "shards = [2]", "gateway.shards: a list is not an integer"),
    ("shards = 2", "shards = 2024-02-29", "gateway.shards: 2024-02-29 is not an integer"),
    (
        "manage_addresses = false",
        'lane = "on"',
        'gateway.lane: "on" is not available in this version; available: "auto", "off", "required"',
    ),
    ("manage_addresses = false", "lane = true", "gateway.lane: true is not a string"),
    ("manage_addresses = false", "lane_entries = 0", "gateway.lane_entries: 0 is out of range 4096..4194304"),
    ("manage_addresses = false", "lane_entries = 5000", "gateway.lane_entries: 5000 is not a multiple of 4096"),
    ("manage_addresses = false", "spare_real_servers = 65537", "gateway.spare_real_servers: 65537 is out of range 0..65536"),
    ("synproxy = false", "lane = 1", "service[0].lane: 1 is not true or false"),
    ("manage_addresses = false", "manage_addresses = 0", "gateway.manage_addresses: 0 is not true or false"),
    ('name = "web"', "name = 5", "service[0].name: 5 is not a string"),
    ('listen = ["127.0.0.1:9380"]', 'listen = "127.0.0.1:9380"', 'api.listen: "127.0.0.1:9380" is not a list'),
    ("[api]", "[[api]]", "api: a list is not a table"),
    ("[sysctl]", "[[sysctl]]", "sysctl: a list is not a table"),
    ("weight = 7", 'weight = "7"', 'service[0].real_server[0].weight: "7" is not an integer'),
    # Ranges
    ("shards = 2", "shards = 0", "gateway.shards: 0 is out of range 1..64"),
    ("shards = 2", "shards = 65", "gateway.shards: 65 is out of range 1..64"),
    ("shards = 2", f"shards = 0x1{'0' * 5000}", "gateway.shards: an integer of 20001 bits is out of range 1..64"),
    ("queue_base = 8", "queue_base = -1", "gateway.queue_base: -1 is out of range 0..65535"),
    ("port = 80", "port = 0", "service[0].port: 0 is out of range 1..65535"),
    ("port = 8080", "port = 65536", "service[0].real_server[0].port: 65536 is out of range 1..65535"),
    ("weight = 7", "weight = 65536", "service[0].real_server[0].weight: 65536 is out of range 0..65535"),
    ("fullnat_lport_min = 5000", "fullnat_lport_tries = 9", "sysctl.fullnat_lport_tries: 9 is out of range 10..60000 ports"),
    ("fullnat_lport_min = 5000", "synproxy_sack = true", "sysctl.synproxy_sack: true is not an integer"),
    # Names
    ('"eth0"', '"a/b"', f'gateway.client_interface: "a/b" {INTERFACE_RULE}'),
    ('"eth1"', '"a b"', f'gateway.server_interface: "a b" {INTERFACE_RULE}'),
    ('"eth1"', '""', f'gateway.server_interface: "" {INTERFACE_RULE}'),
    ('"eth1"', '".."', f'gateway.server_interface: ".." {INTERFACE_RULE}'),
    ('"eth1"', '"eth*"', f'gateway.server_interface: "eth*" {INTERFACE_RULE}'),
    ('"eth1"', '"abcdefghijklmno0"', f'gateway.server_interface: "abcdefghijklmno0" {INTERFACE_RULE}'),
    ('"eth1"', "'a\"b'", f'gateway.server_interface: "a\\"b" {INTERFACE_RULE}'),
    ('name = "web"', 'name = "the web"', f'service[0].name: "the web" {NAME_RULE}'),
    ('name = "web"', 'name = "web\\n"', f'service[0].name: "web\\n" {NAME_RULE}'),
    ('name = "web"', f'name = "{"w" * 65}"', f'service[0].name: "{"w" * 65}" {NAME_RULE}'),
    ('name = "web"', 'name = "."', f'service[0].name: "." {NAME_RULE}'),
    ('name = "web"', 'name = ".."', f'service[0].name: ".." {NAME_RULE}'),
    ("default =", '".." =', f'local_addresses."..": ".." {NAME_RULE}'),
    ("default =", '"" =', f'local_addresses."": "" {NAME_RULE}'),
    # Listen addresses
    ("127.0.0.1:9380", "localhost:9380", f'api.listen[0]: "localhost:9380" {LISTEN_RULE}'),
    ("127.0.0.1:9380", "9380", f'api.listen[0]: "9380" {LISTEN_RULE}'),
    ("127.0.0.1:9380", "2001:db8::1:9380", f'api.listen[0]: "2001:db8::1:9380" {LISTEN_RULE}'),
    ("127.0.0.1:9380", "[192.0.2.1]:9380", f'api.listen[0]: "[192.0.2.1]:9380" {LISTEN_RULE}'),
    ("127.0.0.1:9380", "127.0.0.1:0", 'api.listen[0]: "127.0.0.1:0" has a port out of range 1..65535'),
    ("127.0.0.1:9380", "[::1]:65536", 'api.listen[0]: "[::1]:65536" has a port out of range 1..65535'),
    (
        "127.0.0.1:9380",
        "unix:/a\\u0000b",
        'api.listen[0]: "unix:/a\\u0000b" does not have the absolute path of a socket after unix:',
    ),
    ("127.0.0.1:9380", "unix:api", 'api.listen[0]: "unix:api" does not have the absolute path of a socket after unix:'),
    ("127.0.0.1:9380", "unix:/run/", 'api.listen[0]: "unix:/run/" does not have the absolute path of a socket after unix:'),
    (
        "127.0.0.1:9380",
        f"unix:/{'ä' * 54}",
        f'api.listen[0]: "unix:/{"ä" * 54}" has a path of 109 bytes; at most 107 are allowed',
    ),
    ('["127.0.0.1:9380"]', "[]", "api.listen: must not be empty"),
    # Addresses
    ("192.0.2.101", "192.0.2.256", 'service[0].real_server[0].address: "192.0.2.256" is not an IPv4 address'),
    ("192.0.2.101", "192.0.2.101/32", 'service[0].real_server[0].address: "192.0.2.101/32" is not an IPv4 address'),
    ('"203.0.113.10"', "5", "service[0].vip: 5 is not an IPv4 address in quotes"),
    ("203.0.113.10", "2001:db8::1", 'service[0].vip: "2001:db8::1" is an IPv6 address; IPv6 is not supported yet'),
    ("203.0.113.10", "0.0.0.0", 'service[0].vip: "0.0.0.0" is the unspecified address and cannot be used here'),
    ("192.0.2.102", "127.0.0.2", 'service[0].real_server[1].address: "127.0.0.2" is a loopback address and cannot be used here'),
    ("192.0.2.21", "224.0.0.1", 'local_addresses.spare[1]: "224.0.0.1" is a multicast address and cannot be used here'),
    (
        "192.0.2.10",
        "255.255.255.255",
        'local_addresses.default[0]: "255.255.255.255" is the broadcast address and cannot be used here',
    ),
    (ADDRESSES, "default = []", "local_addresses.default: must not be empty"),
    (ADDRESSES, "default = [3]", "local_addresses.default[0]: 3 is not an IPv4 address in quotes"),
    # What this version cannot do
    ('"tcp"', '"sctp"', 'service[0].protocol: "sctp" is not available in this version; available: "tcp", "udp"'),
    ('"tcp"', '"UDP"', 'service[0].protocol: "UDP" is not available in this version; available: "tcp", "udp"'),
    (
        '"rr"',
        '"sed"',
        'service[0].scheduler: "sed" is not available in this version; available: "rr", "wrr", "lc", "wlc", "sh", "mh"',
    ),
    ('"rr"', '"mh"\nmaglev_table = 65536', f"service[0].maglev_table: 65536 {TABLE_RULE}"),
    ('"rr"', '"mh"\nmaglev_table = true', "service[0].maglev_table: true is not an integer"),
    ('"rr"', '"rr"\npersistence_s = 86401', "service[0].persistence_s: 86401 is out of range 0..86400 seconds"),
    ('"rr"', '"rr"\npersistence_s = 0.5', "service[0].persistence_s: 0.5 is not an integer"),
    ('"rr"', '"rr"\npersistence_mask = 0', "service[0].persistence_mask: 0 is out of range 1..32 bits"),
    ('"rr"', '"rr"\npersistence_mask = 33', "service[0].persistence_mask: 33 is out of range 1..32 bits"),
    ("weight = 7", "slow_start_s = 3601", "service[0].real_server[0].slow_start_s: 3601 is out of range 0..3600 seconds"),
    ("weight = 7", "slow_start_s = 0.5", "service[0].real_server[0].slow_start_s: 0.5 is not an integer"),
    ("synproxy = false", "synproxy_defer = 2", "service[0].synproxy_defer: 2 is out of range 0..1"),
    ("synproxy = false", 'synproxy = "yes"', 'service[0].synproxy: "yes" is not true, false or "auto"'),
    ("synproxy = false", "synproxy = 0", 'service[0].synproxy: 0 is not true, false or "auto"'),
]

TWO_VALUES = [
    (
        "queue_base = 8",
        "queue_base = 65535",
        "gateway.shards: 2 queues that begin at gateway.queue_base 65535 pass the last queue number, 65535",
    ),
    (
        "fullnat_lport_max = 6000",
        "fullnat_lport_max = 5000",
        "gateway.shards: with 2 shards, not every shard gets a local port of "
        "sysctl.fullnat_lport_min..sysctl.fullnat_lport_max, 5000..5000",
    ),
    (
        "fullnat_lport_max = 6000",
        "fullnat_lport_max = 4000",
        "sysctl.fullnat_lport_min: 5000 is above sysctl.fullnat_lport_max, which is 4000",
    ),
    (
        '"127.0.0.1:9380"',
        '"[::1]:80", "[0:0::1]:080"',
        'api.listen[1]: "[::1]:80" is already api.listen[0]',
    ),
    ('name = "tls"', 'name = "web"', 'service[1].name: "web" is already service[0].name'),
    ("port = 443", "port = 80", "service[1].vip: 203.0.113.10:80 tcp is already served by service[0]"),
    ('"spare"', '"spar"', 'service[0].local_addresses: "spar" is not a pool of [local_addresses]; did you mean "spare"?'),
    ('"spare"', '"zzz"', 'service[0].local_addresses: "zzz" is not a pool of [local_addresses]'),
    ("default =", "other =", 'service[1].local_addresses: "default" is not a pool of [local_addresses]'),
    ("192.0.2.21", "192.0.2.20", "local_addresses.spare[1]: 192.0.2.20 is already local_addresses.spare[0]"),
    ("192.0.2.21", "192.0.2.10", "local_addresses.spare[1]: 192.0.2.10 is already local_addresses.default[0]"),
    ("203.0.113.10", "192.0.2.21", "service[0].vip: 192.0.2.21 is also local_addresses.spare[1]"),
    ("192.0.2.102", "203.0.113.10", "service[0].real_server[1].address: 203.0.113.10 is also service[0].vip"),
    ("192.0.2.102", "192.0.2.10", "service[0].real_server[1].address: 192.0.2.10 is also local_addresses.default[0]"),
    ("192.0.2.102", "192.0.2.101", "service[0].real_server[1].address: 192.0.2.101:8080 is already service[0].real_server[0]"),
]


@pytest.mark.parametrize(("old", "new", "line"), [*ONE_VALUE, *TWO_VALUES])
def test_a_mistake_is_answered_with_one_line(old: str, new: str, line: str) -> None:
    [problem] = refusal(changed(old, new)).errors
    assert f"{problem.key}: {problem.message}" == line


def with_services(count: int, more: str, real_servers: int = 1) -> str:
    """A file with so many services, each of which has real servers of its own and these `more` keys."""
    blocks = []
    for number in range(count):
        servers = ", ".join(f'{{ address = "10.{number >> 8}.{number & 255}.{n}", port = 80 }}' for n in range(real_servers))
        blocks.append(
            f'[[service]]\nname = "s{number}"\nvip = "203.0.113.9"\nport = {number + 1}\n{more}real_server = [{servers}]'
        )
    return MINIMAL.partition("[[service]]")[0] + "\n".join(blocks)


def test_a_table_with_fewer_places_than_real_servers_is_a_mistake() -> None:
    text = with_services(1, 'scheduler = "mh"\nmaglev_table = 251\n', real_servers=252)
    [problem] = refusal(text).errors
    assert (problem.key, problem.line) == ("service[0].maglev_table", 11)
    assert problem.message == "251 places are too few for the 252 real servers of s0"
    assert parse(text.replace("251", "509", 1), "lvs.toml")
    assert parse(text.replace('"mh"', '"sh"'), "lvs.toml"), "it has no table"


def test_the_tables_of_all_services_are_bounded() -> None:
    more = 'scheduler = "mh"\nmaglev_table = 131071\n'
    assert parse(with_services(2048, more), "lvs.toml")
    [problem] = refusal(with_services(2049, more)).errors
    assert problem.key == "service[2048].maglev_table"
    words = "131071 places are too many: with this table, those of the scheduler mh take more than 256 MiB in each shard"
    assert problem.message == words
    same = with_services(2049, more).replace("10.8.0.0", "10.7.255.0")
    assert parse(same, "lvs.toml"), "two services with the same real servers share a table"


@pytest.mark.parametrize(("value", "shown"), [("true", "true"), ('"auto"', '"auto"')])
def test_a_udp_service_has_no_handshake_to_protect(value: str, shown: str) -> None:
    text = changed('protocol = "tcp"', 'protocol = "udp"').replace("synproxy = false", f"synproxy = {value}")
    [problem] = refusal(text).errors
    words = "is not possible for a UDP service: SYNPROXY answers TCP handshakes"
    assert (problem.key, problem.message) == ("service[0].synproxy", f"{shown} {words}")


@pytest.mark.parametrize(("text", "value"), [("true", True), ("false", False), ('"auto"', "auto")])
def test_synproxy_is_true_false_or_auto(text: str, value: bool | str) -> None:
    config = parse(changed("synproxy = false", f"synproxy = {text}\nsynproxy_defer = 0"), "lvs.toml")
    assert (config.services[0].synproxy, config.services[0].synproxy_defer) == (value, 0)


@pytest.mark.parametrize(("protocol", "value"), [("tcp", "auto"), ("udp", False)])
def test_a_service_that_does_not_say_synproxy_has_auto_unless_it_is_of_udp(protocol: str, value: bool | str) -> None:
    text = changed("synproxy = false\n", "").replace('protocol = "tcp"', f'protocol = "{protocol}"')
    assert parse(text, "lvs.toml").services[0].synproxy == value


def test_tcp_and_udp_may_share_vip_and_port() -> None:
    tcp, udp = parse(changed("port = 443", 'port = 80\nprotocol = "udp"'), "lvs.toml").services
    assert (tcp.vip, tcp.port, tcp.protocol) == (udp.vip, udp.port, "tcp")
    assert udp.protocol == "udp"


def test_two_udp_services_cannot_share_vip_and_port() -> None:
    text = changed("port = 443", 'port = 80\nprotocol = "udp"').replace('protocol = "tcp"', 'protocol = "udp"')
    [problem] = refusal(text).errors
    assert f"{problem.key}: {problem.message}" == "service[1].vip: 203.0.113.10:80 udp is already served by service[0]"


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("", ["gateway: is required", "local_addresses: is required", "service: is required"]),
        (MINIMAL.replace('default = ["192.0.2.10"]', ""), ["lvs.toml:4: local_addresses: must not be empty"]),
        (
            MINIMAL.replace("[[service]]", "[service]"),
            ["lvs.toml:6: service: a table is not a list of tables; put its header in double brackets"],
        ),
        (
            MINIMAL.replace("[[service]]", "[[services]]"),
            ["service: is required", 'services: unknown key; did you mean "service"?'],
        ),
        ("service = []\n" + MINIMAL.partition("[[service]]")[0], ["lvs.toml:1: service: must not be empty"]),
    ],
)
def test_a_file_without_its_main_parts(text: str, lines: list[str]) -> None:
    for said, expected in zip(str(refusal(text)).splitlines(), lines, strict=True):
        assert said.endswith(expected)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ('"eth0"', '"abcdefghijklmno"'),
        ('"eth0"', '"eth0.100"'),
        ("127.0.0.1:9380", "[::1]:9380"),
        ("127.0.0.1:9380", f"unix:/{'x' * 106}"),
        ("weight = 7", "weight = 0"),
        ('name = "web"', f'name = "{"w" * 64}"'),
        ('name = "web"', 'name = "..."'),
        ("queue_base = 8", "queue_base = 65534"),
        ("fullnat_lport_max = 6000", "fullnat_lport_max = 5001"),
        ("192.0.2.102", "198.51.100.1"),
        ('"192.0.2.102"\nport = 8080', '"192.0.2.101"\nport = 8081'),
        ("port = 443", "port = 443 # a comment"),
        ("\n", "\r\n"),
    ],
)
def test_values_at_the_edge_of_what_is_allowed(old: str, new: str) -> None:
    assert len(parse(changed(old, new), "lvs.toml").services) == 2


def test_every_problem_is_reported_in_the_order_of_the_file() -> None:
    text = changed("queue_base = 8", 'queue_base = "x"').replace("port = 443", "port = 0").replace("weight", "wieght")
    assert str(refusal(text)) == "\n".join(
        [
            'lvs.toml:3: gateway.queue_base: "x" is not an integer',
            'lvs.toml:31: service[0].real_server[0].wieght: unknown key; did you mean "weight"?',
            "lvs.toml:40: service[1].port: 0 is out of range 1..65535",
        ]
    )


def test_every_cross_problem_is_reported_too() -> None:
    text = changed("192.0.2.102", "203.0.113.10").replace('name = "tls"', 'name = "web"').replace("6000", "4000")
    assert [problem.key for problem in refusal(text).errors] == [
        "sysctl.fullnat_lport_min",
        "service[0].real_server[1].address",
        "service[1].name",
    ]


def test_a_problem_has_its_key_value_and_line() -> None:
    [problem] = refusal(changed("port = 443", "port = 0")).errors
    assert (problem.key, problem.value, problem.line) == ("service[1].port", 0, 40)
    [problem] = refusal(changed("port = 443", "")).errors
    assert (problem.value, problem.line) == (None, 37), "a missing key is reported where its table begins"


def test_a_long_value_is_cut() -> None:
    [problem] = refusal(changed('"web"', f'"{"web " * 1000}"')).errors
    assert problem.message == f'"{("web " * 20)[:79]}…" {NAME_RULE}'


def test_a_hundred_mistakes_are_told_and_the_others_counted() -> None:
    with pytest.raises(ConfigError) as refused:
        parse(GOOD + "".join(f"wrong{number} = 1\n" for number in range(102)), "lvs.toml")
    lines = str(refused.value).split("\n")
    assert len(refused.value.errors) == 102
    assert (len(lines), lines[-1]) == (101, "lvs.toml: and 2 more mistakes")
    assert "wrong99: unknown key" in lines[-2]


def test_as_many_dots_as_a_text_may_have_are_no_mistake() -> None:
    parse(GOOD.replace("shards = 2", f"shards = 2  # {'a.' * 40}"), "lvs.toml")


def test_an_error_survives_pickling() -> None:
    error = refusal(changed("port = 443", "port = 0"))
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ("[gateway]\nshards 2\n", "lvs.toml:2:8: not valid TOML: Expected '=' after a key in a key/value pair"),
        ("[gateway]\nshards = ", "lvs.toml:2:10: not valid TOML: Invalid value"),
        ("a = [\n", "lvs.toml:2:1: not valid TOML: Invalid value"),
        ("a = " + "[" * 5000, "lvs.toml: lists or tables are nested too deeply"),
        pytest.param(".".join("a" * 40_000) + " = 1", "lvs.toml: lists or tables are nested too deeply", id="key of many parts"),
        ("[a]\n[ " + ' "b c" . ' * 40 + "d]", "lvs.toml: lists or tables are nested too deeply"),
        ("a = {b = 1, " + "'c'." * 40 + "d = 1}", "lvs.toml: lists or tables are nested too deeply"),
        pytest.param("a = [" + "1," * 300_000 + "]", "lvs.toml: has more than 300000 values", id="many values"),
    ],
)
def test_text_that_is_no_toml(text: str, line: str) -> None:
    assert str(refusal(text)) == line


@pytest.mark.parametrize("text", [f"a = {'9' * 5000}", "a = '\ud800'"])
def test_text_that_python_cannot_hold(text: str) -> None:
    assert str(refusal(text)).startswith("lvs.toml: not valid TOML: ")


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    for path, reason in [(tmp_path / "none", "No such file or directory"), (tmp_path, "Is a directory")]:
        with pytest.raises(ConfigError) as caught:
            load(path)
        assert str(caught.value) == f"{path}: cannot be read: {reason}"
    with pytest.raises(ConfigError, match="null byte"):
        load("lvs\0toml")


def test_a_file_that_is_no_text(tmp_path: Path) -> None:
    path = tmp_path / "lvs.toml"
    path.write_bytes("[gateway]\n# ä".encode() + b"\xff\n")
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert str(caught.value) == f"{path}:2:4: not UTF-8 text"


def test_a_byte_order_mark_is_no_mistake(tmp_path: Path) -> None:
    path = tmp_path / "lvs.toml"
    path.write_bytes(MINIMAL.encode("utf-8-sig"))
    assert load(str(path)) == parse(MINIMAL, "lvs.toml")


def test_the_number_of_shards_can_be_replaced() -> None:
    config = parse(GOOD, "lvs.toml")
    four = config.with_shards(4)
    assert (four.gateway.shards, config.gateway.shards) == (4, 2)
    assert (four.gateway.queue_base, four.services) == (8, config.services)


def test_the_word_for_the_lane_can_be_replaced() -> None:
    config = parse(GOOD, "lvs.toml")
    assert (config.with_lane("off").gateway.lane, config.gateway.lane) == ("off", "auto")


@pytest.mark.parametrize(
    ("text", "shards", "line"),
    [
        (GOOD, 0, "command line: --shards: 0 is out of range 1..64"),
        (GOOD, 65, "command line: --shards: 65 is out of range 1..64"),
        (
            changed("queue_base = 8", "queue_base = 65533"),
            4,
            "command line: --shards: 4 queues that begin at gateway.queue_base 65533 pass the last queue number, 65535",
        ),
        (
            changed("fullnat_lport_max = 6000", "fullnat_lport_max = 5002"),
            4,
            "command line: --shards: with 4 shards, not every shard gets a local port of "
            "sysctl.fullnat_lport_min..sysctl.fullnat_lport_max, 5000..5002",
        ),
    ],
)
def test_a_number_of_shards_that_is_not_possible(text: str, shards: int, line: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse(text, "lvs.toml").with_shards(shards)
    assert str(caught.value) == line


@pytest.mark.parametrize("listen", ["0.0.0.0:9380", "[::]:9380", "198.51.100.1:9380", "[2001:db8::1]:9380"])
def test_an_address_that_others_reach_is_refused_unless_that_is_meant(listen: str) -> None:
    text = GOOD.replace("127.0.0.1:9380", listen)
    with pytest.raises(ConfigError, match=r"api.listen\[0\]: .* is not a loopback address, .*allow_remote_without_token = true"):
        parse(text, "test")
    assert parse(text.replace("[api]", "[api]\nallow_remote_without_token = true"), "test").api.listen == (listen,)


@pytest.mark.parametrize("listen", ["127.0.0.1:9380", "127.9.9.9:1", "[::1]:9380", "unix:/run/a.sock"])
def test_an_address_of_this_host_alone_needs_no_word(listen: str) -> None:
    assert parse(GOOD.replace("127.0.0.1:9380", listen), "test").api.allow_remote_without_token is False


def with_gateway(keys: str) -> str:
    """GOOD, with more keys in [gateway]."""
    return changed("[gateway]\n", f"[gateway]\n{keys}\n")


def test_interfaces_of_a_side_are_listed_each_once() -> None:
    gateway = parse(with_gateway('client_interfaces = ["eth2", "eth0"]\nserver_interfaces = ["eth3"]'), "lvs.toml").gateway
    assert gateway.sides.client_interfaces == ("eth0", "eth2")
    assert gateway.sides.server_interfaces == ("eth1", "eth3")


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ('"192.0.2.1/24"', "has bits set beyond its prefix"),
        ('"192.0.2.0/33"', "is not an IPv4 network, such as 192.0.2.0/24"),
        ('"2001:db8::/32"', "is not an IPv4 network, such as 192.0.2.0/24"),
        ('""', "is not an IPv4 network, such as 192.0.2.0/24"),
        ("7", "is not an IPv4 network in quotes"),
    ],
)
def test_a_network_that_is_none(value: str, words: str) -> None:
    [problem] = refusal(with_gateway(f"server_networks = [{value}]")).errors
    assert problem.message.endswith(words)
    assert problem.path == ("gateway", "server_networks", 0)


def test_every_real_server_is_in_a_server_network() -> None:
    assert parse(with_gateway('server_networks = ["192.0.2.0/25"]'), "lvs.toml").warnings == ()
    [problem] = refusal(with_gateway('server_networks = ["192.0.2.101/32"]')).errors
    assert problem.message == "192.0.2.102 is in no network of gateway.server_networks"


def test_what_leaves_a_door_open_is_a_warning() -> None:
    assert parse(GOOD, "lvs.toml").warnings == ()
    one_armed = GOOD.replace('server_interface = "eth1"', 'server_interface = "eth0"')
    unknown_networks, shared = parse(one_armed, "lvs.toml").warnings
    assert unknown_networks.startswith("gateway.server_networks is not given, and both sides share the interface eth0")
    assert shared.startswith("both sides share the interface eth0")
    named = one_armed.replace("[gateway]\n", '[gateway]\nserver_networks = ["192.0.2.0/24"]\n')
    assert parse(named, "lvs.toml").warnings == (shared,)
    [warning] = parse(with_gateway("direct_access = true"), "lvs.toml").warnings
    assert warning.startswith("gateway.direct_access is true")


def test_more_health_checks_than_can_be_made_are_warned_of() -> None:
    """2,000 a second are made."""
    at = '[service.health_check]\ntype = "{}"\ninterval_s = {}\n'

    def warnings_of(interval_s: float, kind: str = "tcp", *, servers: int) -> tuple[str, ...]:
        more = "".join(f'[[service.real_server]]\naddress = "10.0.0.{number + 1}"\nport = 80\n' for number in range(servers))
        command = 'command = ["/bin/true"]\n' if kind == "command" else ""
        return parse(f"{GOOD}{at.format(kind, interval_s)}{command}{more}", "lvs.toml").warnings

    assert warnings_of(0.1, servers=200) == ()
    (warning,) = warnings_of(0.1, servers=201)
    assert warning.startswith("the health checks are 2010 a second, and no more than 2000 are made")
    assert warnings_of(0.1, "command", servers=201) == (), "commands are bounded by their number at once"


def test_only_a_regular_file_of_bounded_length_is_read(tmp_path: Path) -> None:
    """A FIFO would keep a reload waiting for ever."""
    fifo, long = tmp_path / "fifo", tmp_path / "long"
    os.mkfifo(fifo)
    with pytest.raises(ConfigError, match="cannot be read: it is not a regular file"):
        load(fifo)
    with pytest.raises(ConfigError, match="cannot be read: it is not a regular file"):
        load("/dev/zero")
    with long.open("wb") as stream:
        stream.truncate(LONGEST_FILE_BYTES + 1)
    with pytest.raises(ConfigError, match="cannot be read: it is longer than"):
        load(long)


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (
            'target = "syslog"',
            'session_log.target: "syslog" is not available in this version; available: "off", "journal", "file"',
        ),
        ('file = "sessions.log"', "session_log.file: "),
        ('file = "/var/log/../../etc/passwd\\u0000"', "session_log.file: "),
        ("max_bytes = 65535", "session_log.max_bytes: 65535 is out of range 65536..1073741824 bytes"),
        ("files = 0", "session_log.files: 0 is out of range 1..100"),
        ("max_per_s = 10001", "session_log.max_per_s: 10001 is out of range 1..10000 lines per second"),
        ('services = ["wbe"]', 'session_log.services[0]: "wbe" is no service'),
        ("lines = 5", "session_log.lines: unknown key"),
    ],
)
def test_what_is_wrong_with_a_session_log(keys: str, words: str) -> None:
    with pytest.raises(ConfigError) as error:
        parse(f"{GOOD}[session_log]\n{keys}\n", "lvs.toml")
    assert words in str(error.value)


def test_a_session_log_is_off_unless_the_file_says_where_it_goes() -> None:
    assert parse(GOOD, "lvs.toml").session_log.target == "off"
    assert parse(f'{GOOD}[session_log]\ntarget = "file"\nservices = ["tls"]\n', "lvs.toml").session_log.services == ("tls",)
