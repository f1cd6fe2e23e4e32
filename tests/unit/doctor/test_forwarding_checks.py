"""forwarding_checks.py: the parameters by which rewritten packets are forwarded."""

from itertools import product

import pytest

from appliance.doctor.examine import examine
from appliance.doctor.facts import Snapshot
from appliance.doctor.finding import Severity
from tests.support.patient import ONE_ARMED, SETUP, SYSCTLS, found, patient, sample, severity, with_sysctls

OK, NOTE, WARNING, ERROR = Severity


def conf(name: str, of_all: str, own: str, interface: str = "client0") -> dict[str, str]:
    return {f"net/ipv4/conf/all/{name}": of_all, f"net/ipv4/conf/{interface}/{name}": own}


@pytest.mark.parametrize(("value", "expected"), [("1", OK), ("0", ERROR)])
def test_ip_forward(value: str, expected: Severity) -> None:
    assert severity("ip_forward_off", with_sysctls({"net/ipv4/ip_forward": value})) == expected


@pytest.mark.parametrize(("of_all", "own"), list(product("012", repeat=2)))
def test_the_larger_value_of_rp_filter_counts(of_all: str, own: str) -> None:
    server_is_loose = {"net/ipv4/conf/server0/rp_filter": "2"}
    expected = ERROR if max(of_all, own) == "1" else OK
    snapshot = with_sysctls(conf("rp_filter", of_all, own) | server_is_loose)
    assert severity("rp_filter_strict", snapshot) == expected
    assert [finding.about for finding in found("rp_filter_strict", snapshot)] == (["client0"] if expected else [])


def test_what_the_filter_has_dropped_is_shown() -> None:
    sysctls = SYSCTLS | conf("rp_filter", "0", "1")
    samples = (sample(0, tcp_ext={"IPReversePathFilter": 2}), sample(10, tcp_ext={"IPReversePathFilter": 9}))
    [finding] = found("rp_filter_strict", patient(sysctls=sysctls, samples=samples))
    assert finding.evidence == "rp_filter is 0 for all and 1 for client0; 7 more in 10 s dropped"
    assert finding.commands == ("sysctl -w net.ipv4.conf.client0.rp_filter=2",)
    [finding] = found("rp_filter_strict", patient(sysctls=sysctls, samples=None))
    assert finding.evidence == "rp_filter is 0 for all and 1 for client0"


@pytest.mark.parametrize(("of_all", "own"), list(product("01", repeat=2)))
def test_either_accept_local_is_enough(of_all: str, own: str) -> None:
    snapshot = with_sysctls(conf("accept_local", of_all, own))
    assert severity("accept_local_off", snapshot) == (ERROR if of_all == own == "0" else OK)


@pytest.mark.parametrize(("of_all", "own"), list(product("01", repeat=2)))
def test_either_send_redirects_is_too_much(of_all: str, own: str) -> None:
    sysctls = SYSCTLS | conf("send_redirects", of_all, own, "server0")
    is_on = "1" in (of_all, own)
    assert severity("send_redirects_on", patient(sysctls=sysctls)) == (NOTE if is_on else OK)
    one_armed = patient(sysctls=sysctls, setup=SETUP._replace(sides=ONE_ARMED))
    assert severity("send_redirects_on", one_armed) == (WARNING if is_on else OK)
    for finding in found("send_redirects_on", one_armed):
        wanted = [place for place, value in (("all", of_all), ("server0", own)) if value == "1"]
        assert list(finding.commands) == [f"sysctl -w net.ipv4.conf.{place}.send_redirects=0" for place in wanted]


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("ip_forward_off", {"net/ipv4/ip_forward": "0"}),
        ("rp_filter_strict", conf("rp_filter", "1", "0", "server0")),
        ("accept_local_off", conf("accept_local", "0", "0", "server0")),
        ("send_redirects_on", conf("send_redirects", "1", "0", "server0")),
    ],
)
def test_what_the_start_sets_is_no_fault_before(name: str, values: dict[str, str]) -> None:
    away = Snapshot(setup=SETUP._replace(sides=ONE_ARMED), sysctls=SYSCTLS | values, is_away=True)
    findings = {finding.name: finding.severity for finding in examine(away).findings}
    assert findings == {"not_running": ERROR, name: NOTE}


def test_an_interface_that_is_gone_has_no_parameters() -> None:
    without = {path: value for path, value in SYSCTLS.items() if "client0" not in path}
    assert severity("accept_local_off", Snapshot(setup=SETUP, sysctls=without)) == OK


def test_the_name_of_an_interface_may_have_a_dot() -> None:
    setup = SETUP._replace(sides=SETUP.sides._replace(client_interfaces=("eth0.100",)))
    sysctls = SYSCTLS | conf("accept_local", "0", "0", "eth0.100")
    [finding] = found("accept_local_off", patient(setup=setup, sysctls=sysctls, interfaces=None))
    assert finding.commands == ("sysctl -w net/ipv4/conf/eth0.100/accept_local=1",)
