"""health_checks.py: real servers that are down, and such that come and go."""

from dataclasses import replace

import pytest

from appliance.doctor.facts import StateChange
from appliance.doctor.finding import Severity
from tests.support.patient import RUNNING, SETUP, WEB, found, patient, severity, with_running

OK, NOTE, WARNING, ERROR = Severity

NOW = 1e6 + 30
"""Of the newest sample, on the clock on the wall."""

ONE, OTHER = "192.0.2.101:8080", "192.0.2.102:8080"


def change(ago_s: float, is_up: bool = False, endpoint: str = ONE, service: str = "web") -> StateChange:
    return StateChange(NOW - ago_s, service, endpoint, is_up, "3 checks failed")


@pytest.mark.parametrize(
    ("down", "expected"),
    [(set(), OK), ({("web", ONE)}, WARNING), ({("web", ONE), ("web", OTHER)}, ERROR), ({("mail", ONE)}, OK)],
)
def test_real_servers_that_are_down(down: set[tuple[str, str]], expected: Severity) -> None:
    assert severity("real_servers_down", with_running(down=frozenset(down))) == expected


def test_what_is_said_of_them() -> None:
    [finding] = found(
        "real_servers_down", with_running(down=frozenset({("web", ONE)}), changes=(change(5), change(9, endpoint=OTHER)))
    )
    assert finding.about == "web"
    assert finding.evidence == f"1 of 2, for instance {ONE}: 3 checks failed"


def test_a_drained_one_does_not_count() -> None:
    first, second = WEB.real_servers
    setup = SETUP._replace(services=(replace(WEB, real_servers=(first, replace(second, weight=0))),))
    other_is_down = RUNNING._replace(down=frozenset({("web", OTHER)}))
    assert severity("real_servers_down", patient(setup=setup, running=other_is_down)) == OK
    first_is_down = RUNNING._replace(down=frozenset({("web", ONE)}))
    assert severity("real_servers_down", patient(setup=setup, running=first_is_down)) == ERROR


@pytest.mark.parametrize(
    ("ages", "expected"),
    [((1, 2, 3), OK), ((1, 2, 3, 600), WARNING), ((1, 2, 3, 601), OK), ((1, 2, 3, 4, 5), WARNING), ((), OK)],
)
def test_a_real_server_that_comes_and_goes(ages: tuple[float, ...], expected: Severity) -> None:
    changes = tuple(change(age, is_up=bool(place % 2)) for place, age in enumerate(ages))
    assert severity("real_server_flapping", with_running(changes=changes)) == expected


def test_each_real_server_of_each_service_counts_alone() -> None:
    changes = (change(1), change(2), change(3, endpoint=OTHER), change(4, service="mail"))
    assert severity("real_server_flapping", with_running(changes=changes)) == OK


def test_how_often_and_why() -> None:
    changes = tuple(change(age) for age in (9, 8, 7, 6))
    [finding] = found("real_server_flapping", with_running(changes=changes))
    assert finding.about == ONE
    assert finding.evidence == "4 changes of its state in 10 minutes, the last one: 3 checks failed"


def test_checks_that_are_late() -> None:
    assert severity("health_checks_late", with_running(health_notes=())) == OK
    assert severity("health_checks_late", with_running(health_notes=("health checks are late by 7 s",))) == WARNING
