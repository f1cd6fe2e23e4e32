"""examine.py and registry.py: every check is made, none of them can end an examination, and each is described."""

import re
from collections.abc import Iterator

import pytest

from appliance.doctor.examine import examine
from appliance.doctor.facts import Snapshot
from appliance.doctor.finding import Check, Finding, Severity
from appliance.doctor.registry import CHECKS, FAILED
from tests.support.patient import HEALTHY, patient, sample, with_sysctls


def test_a_healthy_gateway_has_no_finding() -> None:
    report = examine(HEALTHY)
    assert (report.severity, report.findings, report.left_out) == (Severity.OK, (), ())
    assert report.is_running
    assert report.watched_s == 30.0


def finding(severity: Severity, about: str = "") -> Finding:
    return Finding(severity, about, "problem", "evidence", "advice")


def check(name: str, *findings: Finding, needs: tuple[str, ...] = ()) -> Check:
    return Check(name, lambda _: findings, needs, "rule", "reason")


def test_the_worst_comes_first_and_equals_stay_in_order() -> None:
    checks = [
        check("a", finding(Severity.NOTE)),
        check("b", finding(Severity.ERROR), finding(Severity.WARNING)),
        check("c", finding(Severity.ERROR)),
    ]
    report = examine(HEALTHY, checks)
    assert [(one.name, one.severity.word) for one in report.findings] == [
        ("b", "error"),
        ("c", "error"),
        ("b", "warning"),
        ("a", "note"),
    ]
    assert report.severity == Severity.ERROR


def test_a_check_that_fails_says_so_and_the_others_go_on() -> None:
    def fails(_: Snapshot) -> Iterator[Finding]:
        yield finding(Severity.NOTE)
        raise KeyError("net/ipv4/nothing")

    report = examine(HEALTHY, [Check("broken", fails, (), "rule", "reason"), check("b", finding(Severity.NOTE))])
    assert [one.name for one in report.findings] == [FAILED, "b"]
    assert report.findings[0].evidence == "KeyError: 'net/ipv4/nothing'"
    assert report.severity == Severity.WARNING


@pytest.mark.parametrize(
    "fact", ["setup", "sysctls", "interfaces", "paths", "neighbours", "clock", "tracked", "running", "samples", "missing_sets"]
)
def test_checks_without_their_facts_are_left_out_and_named(fact: str) -> None:
    report = examine(patient(**{fact: None}, unseen={fact: "why"}))
    assert report.findings == ()
    assert list(report.left_out) == [one.name for one in CHECKS if fact in one.needs]
    assert report.left_out
    assert report.unseen == {fact: "why"}


def test_nothing_at_all_is_known() -> None:
    report = examine(Snapshot())
    assert report.severity == Severity.OK
    assert report.left_out == tuple(one.name for one in CHECKS if one.needs)
    assert not report.is_running


@pytest.mark.parametrize(("number", "shown"), [(20, 20), (21, 21), (1000, 21)])
def test_one_check_does_not_flood_the_report(number: int, shown: int) -> None:
    findings = [finding(Severity.NOTE, str(place)) for place in range(number - 1)] + [finding(Severity.ERROR)]
    report = examine(HEALTHY, [check("many", *findings)])
    assert len(report.findings) == shown
    assert report.severity == Severity.ERROR
    if number > 20:
        assert f"{number - 20} more" in [one.evidence for one in report.findings]


def test_checks_have_names_of_their_own_and_are_described() -> None:
    names = [one.name for one in CHECKS]
    assert len(set(names)) == len(names)
    assert FAILED not in names
    for one in CHECKS:
        assert re.fullmatch(r"[a-z_]+", one.name)
        assert one.rule.endswith(".")
        assert one.reason.endswith(".")
        assert set(one.needs) <= set(Snapshot.__dataclass_fields__)


def test_the_severities_of_a_rule_are_those_that_it_has() -> None:
    for one in CHECKS:
        assert re.search(r"\b(error|warning|note)\b", one.rule), one.name


def test_sysctls_that_are_no_numbers_fail_nothing() -> None:
    odd = dict.fromkeys(HEALTHY.sysctls or {}, "\x00 x")
    assert FAILED not in {one.name for one in examine(with_sysctls(odd)).findings}


def test_a_sample_with_other_real_servers_fails_nothing() -> None:
    assert FAILED not in {one.name for one in examine(patient(samples=(sample(0, starts=()), sample(10)))).findings}
