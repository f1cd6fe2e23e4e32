"""The patient: healthy as it is, and a check is only believed when nothing else is wrong."""

import pytest

from appliance.doctor.examine import examine
from appliance.doctor.finding import Severity
from tests.support.patient import HEALTHY, found, patient, severity, with_sysctls, with_tunables

ILL = with_sysctls({"net/ipv4/ip_forward": "0"})


def test_the_healthy_one_has_every_fact_and_no_finding() -> None:
    report = examine(HEALTHY)
    assert (report.findings, report.left_out) == ((), ())
    assert patient() == HEALTHY


def test_a_finding_is_found_by_its_name() -> None:
    assert [finding.name for finding in found("ip_forward_off", ILL)] == ["ip_forward_off"]
    assert severity("ip_forward_off", ILL) == Severity.ERROR
    assert severity("ip_forward_off", HEALTHY) == Severity.OK


def test_another_finding_is_a_mistake_of_the_test() -> None:
    with pytest.raises(AssertionError):
        found("lro_on", ILL)


def test_one_tunable_is_another() -> None:
    setup = with_tunables({"conn_max": 7}).setup
    assert setup is not None
    assert (setup.tunables["conn_max"], setup.tunables["fullnat_toa_entry"]) == (7, 1)
