"""lab/plan.py: addresses, routes and listeners of a lab, for different configurations."""

from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest

from appliance.config.loading import Config, load, parse
from appliance.lab.errors import LabError
from appliance.lab.lab import with_one_arm
from appliance.lab.plan import Address, Endpoint, Plan, Route, addresses_by_real_server, make_plan

SHIPPED = Path(__file__).parents[3] / "etc" / "lvs.toml"

SERVICE = """
[[service]]
name = "{name}"
vip = "{vip}"
port = 80
protocol = "{protocol}"
{real_servers}
"""


def config(
    *services: tuple[str, list[str]], local: str = "192.0.2.10", gateway: str = "", listen: str = "127.0.0.1:9380"
) -> Config:
    """A configuration with one service for each (VIP, ["real server:port", …]); "udp VIP" makes a UDP service."""
    text = f"""
[gateway]
client_interface = "client0"
server_interface = "server0"
{gateway}
[api]
listen = {listen.split()}
allow_remote_without_token = true
[local_addresses]
default = {local.split()}
"""
    for number, (endpoint, real_servers) in enumerate(services):
        protocol, _, vip = endpoint.rpartition(" ")
        tables = ""
        for real_server in real_servers:
            address, port = real_server.split(":")
            tables += f'[[service.real_server]]\naddress = "{address}"\nport = {port}\n'
        text += SERVICE.format(name=f"s{number}", vip=vip, protocol=protocol or "tcp", real_servers=tables)
    return parse(text, "test")


def plan(*services: tuple[str, list[str]], **options: Any) -> Plan:
    return make_plan(config(*services, **options))


def shown(items: tuple[Address | Route, ...]) -> list[str]:
    return [" ".join(str(part) for part in item if part is not None) for item in items]


def test_shipped_configuration_is_the_documented_lab() -> None:
    lab = make_plan(load(SHIPPED))
    assert {role: shown(host.addresses) for role, host in lab.hosts.items()} == {
        "client": ["eth0 198.51.100.2/24"],
        "gateway": ["client0 198.51.100.1/24", "server0 192.0.2.1/24"],
        "rs1": ["eth0 192.0.2.101/24"],
        "rs2": ["eth0 192.0.2.102/24"],
    }
    assert {role: shown(host.routes) for role, host in lab.hosts.items()} == {
        "client": ["0.0.0.0/0 eth0 198.51.100.1"],
        "gateway": [],
        "rs1": [],
        "rs2": [],
    }
    assert lab.listeners == {"rs1": (Endpoint("192.0.2.101", 8080),), "rs2": (Endpoint("192.0.2.102", 8080),)}
    assert lab.udp_listeners == {"rs1": (), "rs2": ()}
    assert (lab.service, lab.api) == (Endpoint("203.0.113.10", 80), Endpoint("127.0.0.1", 9380))


def test_real_servers_are_shared_out_in_order_of_appearance_once_each() -> None:
    first = ("203.0.113.10", ["192.0.2.111:80", "192.0.2.112:80", "192.0.2.113:80"])
    second = ("203.0.113.11", ["192.0.2.112:81", "192.0.2.114:80"])
    shared_out = addresses_by_real_server(config(first, second))
    assert [str(address) for address in shared_out["rs1"]] == ["192.0.2.101", "192.0.2.111", "192.0.2.113"]
    assert [str(address) for address in shared_out["rs2"]] == ["192.0.2.102", "192.0.2.112", "192.0.2.114"]


def test_usual_address_is_not_given_twice() -> None:
    shared_out = addresses_by_real_server(config(("203.0.113.10", ["192.0.2.102:80", "192.0.2.101:80"])))
    assert shared_out == {"rs1": (IPv4Address("192.0.2.102"),), "rs2": (IPv4Address("192.0.2.101"),)}


def test_server_listens_on_every_port_of_its_addresses() -> None:
    lab = plan(("203.0.113.10", ["192.0.2.101:8080"]), ("203.0.113.11", ["192.0.2.101:8081", "192.0.2.101:8080"]))
    assert lab.listeners == {"rs1": (Endpoint("192.0.2.101", 8080), Endpoint("192.0.2.101", 8081)), "rs2": ()}


def test_each_protocol_has_its_listeners() -> None:
    tcp, udp = ("203.0.113.10", ["192.0.2.101:8080"]), ("udp 203.0.113.10", ["192.0.2.101:8080", "192.0.2.102:53"])
    lab = plan(tcp, udp)
    assert lab.listeners == {"rs1": (Endpoint("192.0.2.101", 8080),), "rs2": ()}
    assert lab.udp_listeners == {"rs1": (Endpoint("192.0.2.101", 8080),), "rs2": (Endpoint("192.0.2.102", 53),)}


def test_addresses_outside_the_server_network_get_on_link_routes_on_both_sides() -> None:
    lab = plan(("203.0.113.10", ["203.0.113.101:80", "198.51.100.102:80"]), local="192.0.2.10 203.0.113.200")
    assert shown(lab.hosts["rs1"].addresses) == ["eth0 192.0.2.101/24", "eth0 203.0.113.101/32"]
    assert shown(lab.hosts["rs1"].routes) == ["203.0.113.200/32 eth0"]
    assert shown(lab.hosts["gateway"].routes) == ["203.0.113.101/32 server0", "198.51.100.102/32 server0"]


def test_real_server_without_an_address_in_the_server_network_still_reaches_it() -> None:
    lab = plan(("203.0.113.10", ["203.0.113.101:80", "192.0.2.101:80"]))
    assert shown(lab.hosts["rs1"].addresses) == ["eth0 203.0.113.101/32"]
    assert shown(lab.hosts["rs1"].routes) == ["192.0.2.0/24 eth0"]


def test_lab_adds_what_the_appliance_does_not_manage() -> None:
    first, second = ("203.0.113.10", ["192.0.2.101:80"]), ("203.0.113.11", ["192.0.2.101:80"])
    lab = plan(first, second, local="192.0.2.10 192.0.2.11", gateway="manage_addresses = false")
    assert shown(lab.hosts["gateway"].addresses)[2:] == [
        "client0 203.0.113.10/32",
        "client0 203.0.113.11/32",
        "server0 192.0.2.10/32",
        "server0 192.0.2.11/32",
    ]


@pytest.mark.parametrize(
    ("listen", "endpoint"),
    [
        ("unix:/run/a.sock 127.0.0.1:9000 127.0.0.1:9001", Endpoint("127.0.0.1", 9000)),
        ("0.0.0.0:9000", Endpoint("127.0.0.1", 9000)),
        ("[::1]:9000 198.51.100.1:9001", Endpoint("198.51.100.1", 9001)),
    ],
)
def test_api_is_the_first_ipv4_address_it_listens_on(listen: str, endpoint: Endpoint) -> None:
    assert plan(("203.0.113.10", []), listen=listen).api == endpoint


def test_api_on_a_unix_socket_alone_is_refused() -> None:
    with pytest.raises(LabError, match=r"\[api\] listen"):
        plan(("203.0.113.10", []), listen="unix:/run/a.sock")


@pytest.mark.parametrize("address", ["198.51.100.1", "198.51.100.2", "192.0.2.1"])
def test_addresses_of_the_lab_itself_are_refused(address: str) -> None:
    message = f"^{address}: in the lab"
    with pytest.raises(LabError, match=message):
        plan((address, []))
    with pytest.raises(LabError, match=message):
        plan(("203.0.113.10", [f"{address}:80"]))
    with pytest.raises(LabError, match=message):
        plan(("203.0.113.10", []), local=address)


def test_one_interface_of_both_sides_has_the_addresses_of_both() -> None:
    gateway = make_plan(load(SHIPPED)).hosts["gateway"]
    text = SHIPPED.read_bytes()
    one_armed = make_plan(parse(with_one_arm(text).decode(), "test"))
    assert one_armed.client_interface == one_armed.server_interface == "server0"
    assert one_armed.hosts["gateway"].interfaces == ("server0",)
    assert {address for _, address in one_armed.hosts["gateway"].addresses} == {address for _, address in gateway.addresses}
    assert len(with_one_arm(text).splitlines()) == len(text.splitlines()), "each key keeps its line"


def test_a_lab_needs_an_interface_to_have_one_arm() -> None:
    with pytest.raises(LabError, match="--one-armed"):
        with_one_arm(b"[gateway]\n")
