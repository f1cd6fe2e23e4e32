"""network_checks.py: interfaces, and the ways to real servers and back."""

from dataclasses import replace
from typing import Any

import pytest

from appliance.doctor.examine import examine
from appliance.doctor.facts import Path, ServerCounts, Setup, Snapshot
from appliance.doctor.finding import Severity
from tests.support.patient import INTERFACES, PATHS, SETUP, SYSCTLS, WEB, found, patient, sample, severity, with_tunables

OK, NOTE, WARNING, ERROR = Severity


def with_interface(**changes: Any) -> Snapshot:
    return patient(interfaces=INTERFACES | {"server0": INTERFACES["server0"]._replace(**changes)})


def test_an_interface_that_does_not_exist() -> None:
    only_one = {"server0": INTERFACES["server0"]}
    [finding] = found("interface_missing", patient(interfaces=only_one))
    assert (finding.severity, finding.about) == (ERROR, "client0")


@pytest.mark.parametrize(("is_up", "expected"), [(True, OK), (False, ERROR)])
def test_an_interface_that_is_down(is_up: bool, expected: Severity) -> None:
    assert severity("interface_missing", with_interface(is_up=is_up)) == expected


@pytest.mark.parametrize(("is_on", "expected"), [(False, OK), (True, ERROR)])
def test_large_receive_offload(is_on: bool, expected: Severity) -> None:
    snapshot = with_interface(merges_for_good=is_on)
    assert severity("lro_on", snapshot) == expected
    if is_on:
        assert found("lro_on", snapshot)[0].commands == ("ethtool -K server0 lro off",)


@pytest.mark.parametrize(("mtu", "expected"), [(3840, OK), (3841, WARNING), (1500, OK)])
def test_an_mtu_that_workers_do_not_take(mtu: int, expected: Severity) -> None:
    assert severity("mtu_too_large", with_interface(mtu=mtu)) == expected


@pytest.mark.parametrize(
    ("toa", "lowers_mss", "mtu", "expected"),
    [(1, 0, 1507, WARNING), (1, 0, 1508, OK), (1, 1, 1500, OK), (0, 0, 1500, OK)],
)
def test_room_for_the_client_address_option(toa: int, lowers_mss: int, mtu: int, expected: Severity) -> None:
    tunables = {"fullnat_toa_entry": toa, "fullnat_mss_adjust_entry": lowers_mss}
    paths = {address: Path("server0", "", "192.0.2.1", mtu) for address in PATHS}
    snapshot = with_tunables(tunables, paths=paths)
    assert severity("no_room_for_client_address", snapshot) == expected
    for finding in found("no_room_for_client_address", snapshot):
        assert finding.commands == ("appliance sysctl fullnat_mss_adjust_entry=1",)


def with_path(path: Path | None, **changes: Any) -> Snapshot:
    return patient(paths=PATHS | {"192.0.2.102": path}, **changes)


@pytest.mark.parametrize(
    ("path", "expected"),
    [(None, ERROR), (Path("client0", "", "", 1500), ERROR), (Path("server0", "192.0.2.254", "192.0.2.1", 1500), OK)],
)
def test_the_way_to_a_real_server(path: Path | None, expected: Severity) -> None:
    assert severity("real_server_unreachable", with_path(path)) == expected
    for finding in found("real_server_unreachable", with_path(path)):
        assert finding.about == "192.0.2.102"
        assert ("no route" in finding.problem) == (path is None)
        assert finding.commands == ("ip route replace 192.0.2.102/32 dev server0",)


@pytest.mark.parametrize("state", ["REACHABLE", "STALE", "DELAY", "PROBE", "INCOMPLETE", "PERMANENT"])
def test_neighbours_that_may_well_answer(state: str) -> None:
    assert severity("real_server_no_arp", patient(neighbours={"192.0.2.102": state})) == OK


def test_a_neighbour_that_does_not_answer() -> None:
    [finding] = found("real_server_no_arp", patient(neighbours={"192.0.2.102": "FAILED", "192.0.2.7": "FAILED"}))
    assert (finding.severity, finding.about) == (ERROR, "192.0.2.102")


def drained() -> Setup:
    """The second real server takes no new sessions."""
    first, second = WEB.real_servers
    return SETUP._replace(services=(replace(WEB, real_servers=(first, replace(second, weight=0))),))


def test_a_drained_real_server_may_be_switched_off() -> None:
    assert severity("real_server_no_arp", patient(setup=drained(), neighbours={"192.0.2.102": "FAILED"})) == NOTE
    assert severity("real_server_no_arp", patient(setup=drained(), neighbours={"192.0.2.101": "FAILED"})) == ERROR
    assert severity("real_server_unreachable", with_path(None, setup=drained())) == NOTE


def test_names_of_interfaces_are_quoted() -> None:
    """A name may have nearly any character."""
    odd = "a;b$(c)"
    merging = {odd: INTERFACES["server0"]._replace(merges_for_good=True)}
    assert found("lro_on", Snapshot(interfaces=merging))[0].commands == ("ethtool -K 'a;b$(c)' lro off",)
    large = {odd: INTERFACES["server0"]._replace(mtu=9000)}
    assert found("mtu_too_large", Snapshot(interfaces=large))[0].commands == ("ip link set dev 'a;b$(c)' mtu 3840",)


def test_a_router_that_does_not_answer() -> None:
    routed = Path("server0", "192.0.2.254", "192.0.2.1", 1500)
    snapshot = with_path(routed, neighbours={"192.0.2.254": "FAILED"})
    [finding] = found("real_server_no_arp", snapshot)
    assert finding.problem.startswith("router 192.0.2.254 to real server 192.0.2.102 does not answer ARP")


def test_a_real_server_without_a_route_has_no_neighbour() -> None:
    [finding] = found("real_server_unreachable", with_path(None, neighbours={"": "FAILED", "192.0.2.102": "FAILED"}))
    assert finding.about == "192.0.2.102"


TWO_SERVER_SIDES = SETUP._replace(sides=SETUP.sides._replace(server_interfaces=("server0", "server1")))


def silent(sessions: int, packets: int = 0) -> dict[str, Any]:
    before = [ServerCounts(0, 0, 0, 0), ServerCounts(5, 9, 0, 0)]
    after = [ServerCounts(0, 0, 0, 0), ServerCounts(5 + sessions, 9 + packets, 0, 0)]
    return {"samples": (sample(0, before), sample(10, after), sample(20, after))}


@pytest.mark.parametrize(("sessions", "packets", "expected"), [(2, 0, OK), (3, 0, ERROR), (3, 1, OK), (0, 0, OK)])
def test_a_real_server_that_answers_nothing(sessions: int, packets: int, expected: Severity) -> None:
    assert severity("real_server_silent", patient(**silent(sessions, packets))) == expected


def test_the_real_server_is_told_the_way_back() -> None:
    [finding] = found("real_server_silent", patient(**silent(3)))
    assert (finding.about, finding.run_on) == ("192.0.2.102", "192.0.2.102")
    assert finding.evidence == "3 sessions since its last packet; as a neighbour it is STALE"
    assert finding.commands == (
        "ip route replace 10.9.0.10/32 via 192.0.2.1",
        "ip route replace 10.9.0.11/32 via 192.0.2.1",
    )


def test_the_way_back_by_another_address_than_the_local_ones() -> None:
    """The kernel would send from a local address, which is no router's; the address of the interface itself is."""
    interfaces = INTERFACES | {"server0": INTERFACES["server0"]._replace(addresses=("10.9.0.10/24", "192.0.2.9/24"))}
    apart = SYSCTLS | {"net/ipv4/ip_local_port_range": "1024 4999"}
    snapshot = with_path(Path("server0", "", "10.9.0.10", 1500), interfaces=interfaces, sysctls=apart, **silent(3))
    [finding] = found("real_server_silent", snapshot)
    assert finding.commands[0] == "ip route replace 10.9.0.10/32 via 192.0.2.9"


@pytest.mark.parametrize("facts", ["a router", "no network", "no interface", "no such interface", "no route known"])
def test_no_command_where_none_would_be_right(facts: str) -> None:
    choices: dict[str, dict[str, Any]] = {
        "a router": {"paths": PATHS | {"192.0.2.102": Path("server0", "192.0.2.254", "192.0.2.1", 1500)}},
        "no network": {"interfaces": INTERFACES | {"server0": INTERFACES["server0"]._replace(addresses=("10.9.0.10/32",))}},
        "no interface": {"interfaces": None},
        "no such interface": {
            "paths": PATHS | {"192.0.2.102": Path("server1", "", "192.0.2.1", 1500)},
            "setup": TWO_SERVER_SIDES,
        },
        "no route known": {"paths": None},
    }
    findings = examine(patient(**silent(3), **choices[facts])).findings
    [finding] = [one for one in findings if one.name == "real_server_silent"]
    assert finding.commands == ()


def test_the_way_back_is_by_the_address_that_the_gateway_sends_from() -> None:
    """On an interface with several networks, that is on the network of the real server."""
    addresses = ("172.16.0.1/24", "192.0.2.1/24")
    interfaces = INTERFACES | {"server0": INTERFACES["server0"]._replace(addresses=addresses)}
    [finding] = found("real_server_silent", patient(interfaces=interfaces, **silent(3)))
    assert finding.commands[0] == "ip route replace 10.9.0.10/32 via 192.0.2.1"


def test_without_a_client_interface_nothing_is_known_of_its_mtu() -> None:
    setup = SETUP._replace(tunables={**SETUP.tunables, "fullnat_mss_adjust_entry": 0})
    snapshot = Snapshot(setup=setup, interfaces={"server0": INTERFACES["server0"]}, paths=PATHS)
    assert {finding.name for finding in examine(snapshot).findings} == {"interface_missing"}


def test_a_real_server_without_arp_is_found_once() -> None:
    snapshot = patient(neighbours={"192.0.2.102": "FAILED"}, **silent(3))
    [finding] = found("real_server_no_arp", snapshot)
    assert finding.about == "192.0.2.102"


def test_udp_servers_need_not_answer() -> None:
    setup = SETUP._replace(services=(replace(WEB, protocol="udp", synproxy="never"),))
    assert severity("real_server_silent", patient(setup=setup, **silent(3))) == OK
