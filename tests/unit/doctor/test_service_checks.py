"""service_checks.py: what services are set to do, and what their clients are refused."""

from dataclasses import replace
from itertools import product

import pytest

from appliance.doctor.facts import Snapshot
from appliance.doctor.finding import Severity
from appliance.doctor.service_checks import SERVER_SPEAKS_FIRST
from appliance.ipc.plan import RealServerPlan
from tests.support.patient import SETUP, WEB, found, rising, sample, severity, with_tunables

OK, NOTE, WARNING, ERROR = Severity


@pytest.mark.parametrize("reason", ["no_real_server", "no_local_address", "source_limit"])
@pytest.mark.parametrize(("connections", "expected"), [(0, OK), (1, WARNING)])
def test_connections_that_are_refused(reason: str, connections: int, expected: Severity) -> None:
    snapshot = rising(10, counts={reason: connections})
    assert severity("connections_refused", snapshot) == expected
    assert [finding.about for finding in found("connections_refused", snapshot)] == [reason] * connections


def of_service(port: int, synproxy: str, in_file: int | None, tunable: int, **changes: object) -> Snapshot:
    service = replace(WEB, port=port, synproxy=synproxy, synproxy_defer=in_file, **changes)  # type: ignore[arg-type]
    tunables = {**SETUP.tunables, "synproxy_defer": tunable}
    return Snapshot(setup=SETUP._replace(services=(service,), tunables=tunables))


@pytest.mark.parametrize(("synproxy", "in_file", "tunable"), list(product(["never", "auto", "always"], [None, 0, 1], [0, 1])))
def test_a_service_that_waits_for_its_client(synproxy: str, in_file: int | None, tunable: int) -> None:
    snapshot = of_service(25, synproxy, in_file, tunable)
    waits = synproxy != "never" and (tunable if in_file is None else in_file) == 1
    assert severity("deferred_greeting", snapshot) == (ERROR if waits else OK)
    for finding in found("deferred_greeting", snapshot):
        assert finding.commands == (("appliance sysctl synproxy_defer=0",) if in_file is None else ())


@pytest.mark.parametrize("port", sorted({*SERVER_SPEAKS_FIRST, 80, 443, 5432, 993}))
def test_ports_on_which_the_server_speaks_first(port: int) -> None:
    expected = ERROR if port in (21, 22, 23, 25, 110, 119, 143, 587, 873, 3306, 4190, 5900) else OK
    assert severity("deferred_greeting", of_service(port, "always", None, 1)) == expected


def test_the_port_of_a_real_server_tells_it_too() -> None:
    snapshot = of_service(2222, "always", None, 1, real_servers=(RealServerPlan("192.0.2.101", 22, 1, 0),))
    [finding] = found("deferred_greeting", snapshot)
    assert "port 22 is SSH" in finding.evidence


def test_udp_has_no_handshake() -> None:
    assert severity("deferred_greeting", of_service(25, "always", 1, 1, protocol="udp")) == OK


@pytest.mark.parametrize(("removes", "rejected", "expected"), [(1, 0, OK), (1, 5, OK), (0, 0, WARNING), (0, 1, ERROR)])
def test_timestamps(removes: int, rejected: int, expected: Severity) -> None:
    samples = (sample(0), sample(10, counts={"stale_answer": rejected}))
    snapshot = with_tunables({"fullnat_timestamp_remove_entry": removes}, samples=samples)
    assert severity("timestamps_kept", snapshot) == expected
    for finding in found("timestamps_kept", snapshot):
        assert finding.commands == ("appliance sysctl fullnat_timestamp_remove_entry=1",)


@pytest.mark.parametrize(("packets", "expected"), [(0, OK), (1, NOTE)])
def test_client_addresses_that_had_no_room(packets: int, expected: Severity) -> None:
    assert severity("client_addresses_left_out", rising(10, counts={"fullnat_add_toa_fail_len": packets})) == expected


def test_timestamps_are_judged_without_samples() -> None:
    assert severity("timestamps_kept", with_tunables({"fullnat_timestamp_remove_entry": 0}, samples=None)) == WARNING
