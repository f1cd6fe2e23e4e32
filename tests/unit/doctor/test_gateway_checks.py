"""gateway_checks.py: processes, queues, steering and lane."""

import pytest

from appliance.doctor.finding import Severity
from appliance.ipc.rows import DutyState, LaneState, ShardState
from tests.support.patient import RUNNING, found, patient, rising, sample, severity, with_running, with_tunables

OK, NOTE, WARNING, ERROR = Severity


@pytest.mark.parametrize(("is_away", "expected"), [(False, OK), (True, ERROR)])
def test_no_appliance_runs(is_away: bool, expected: Severity) -> None:
    assert severity("not_running", patient(is_away=is_away)) == expected


def test_a_worker_that_is_away() -> None:
    [finding] = found("worker_down", with_running(shards=(ShardState(0, True, 9, 1), ShardState(1, False, None, 3))))
    assert (finding.severity, finding.about) == (ERROR, "shard 1")
    assert finding.evidence == "started 3 times, process none"
    assert "is away" in finding.problem


def test_a_worker_that_does_nothing() -> None:
    [finding] = found("worker_down", with_running(shards=(ShardState(0, False, 9, 1, 4.0),)))
    assert "does nothing for 4 s" in finding.problem
    assert finding.evidence == "started 1 times, process 9"


@pytest.mark.parametrize(("starts", "expected"), [((1, 1), OK), ((1, 2), WARNING), ((1, 3), WARNING), ((1, 4), ERROR)])
def test_workers_that_were_started_again(starts: tuple[int, ...], expected: Severity) -> None:
    """Within ten minutes, which is longer than counters are watched otherwise."""
    assert severity("worker_restarts", rising(600, starts=starts)) == expected


def test_starts_before_the_samples_are_forgotten() -> None:
    samples = (sample(0, starts=(5, 5)), sample(10, starts=(5, 5)))
    assert severity("worker_restarts", patient(samples=samples)) == OK


@pytest.mark.parametrize(("before", "now", "expected"), [(0, 0, OK), (0, 1, WARNING), (1, 1, NOTE), (1, 2, WARNING)])
def test_a_duty_that_failed(before: int, now: int, expected: Severity) -> None:
    """Ten minutes ago it is worth a note."""
    running = RUNNING._replace(duties=(DutyState("look at routes", now, "EdgeError: no"),))
    samples = (sample(0, failures={"look at routes": before}), sample(600, failures={"look at routes": now}))
    assert severity("duty_failed", patient(running=running, samples=samples)) == expected


@pytest.mark.parametrize(("problems", "expected"), [((), OK), (("steering: the rules are gone",), ERROR)])
def test_steering(problems: tuple[str, ...], expected: Severity) -> None:
    snapshot = with_running(problems=problems)
    assert severity("steering_wrong", snapshot) == expected
    assert [finding.problem for finding in found("steering_wrong", snapshot)] == list(problems)


@pytest.mark.parametrize(("missing", "about"), [((), None), (("a", "b", "c"), "a, b, c"), (("a", "b", "c", "d"), "a, b, c, …")])
def test_missing_addresses(missing: tuple[str, ...], about: str | None) -> None:
    findings = found("addresses_missing", with_running(missing_addresses=missing))
    assert [(finding.severity, finding.about) for finding in findings] == ([] if about is None else [(NOTE, about)])


@pytest.mark.parametrize(
    ("state", "expected", "words"),
    [("on", OK, []), ("impaired", WARNING, ["not as it should be", "shows more"]), ("off", NOTE, ["no lane", "what is missing"])],
)
def test_the_lane(state: str, expected: Severity, words: list[str]) -> None:
    snapshot = with_running(lane=LaneState(state, "why"))
    assert severity("lane_not_on", snapshot) == expected
    for finding in found("lane_not_on", snapshot):
        assert finding.evidence == f"{state}: why, repaired 0 times"
        assert words[0] in finding.problem
        assert words[1] in finding.advice


@pytest.mark.parametrize(("setting", "state", "expected"), [(1, "on", NOTE), (1, "off", OK), (0, "on", OK), (2, "on", OK)])
def test_rules_that_keep_prepared_admissions_off(setting: int, state: str, expected: Severity) -> None:
    """Which is no news to somebody who has switched them off, or has no lane."""
    running = RUNNING._replace(lane=LaneState(state, "why", 0, "the chain early is there"))
    snapshot = with_tunables({"prepared_admissions": setting}, running=running)
    assert severity("admissions_off", snapshot) == expected
    assert [finding.evidence for finding in found("admissions_off", snapshot)] == ["the chain early is there"] * (expected > OK)
    assert found("admissions_off", with_tunables({"prepared_admissions": setting})) == []


@pytest.mark.parametrize("counter", ["queue_full_drops", "socket_drops"])
@pytest.mark.parametrize(("packets", "expected"), [(0, OK), (1, WARNING)])
def test_packets_dropped_in_front_of_the_queues(counter: str, packets: int, expected: Severity) -> None:
    assert severity("queue_drops", rising(10, counts={counter: packets})) == expected


@pytest.mark.parametrize(("packets", "expected"), [(0, OK), (1, ERROR)])
def test_errors_of_our_own(packets: int, expected: Severity) -> None:
    assert severity("internal_errors", rising(10, counts={"internal_error": packets})) == expected
