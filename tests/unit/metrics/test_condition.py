"""metrics/condition.py: what is wrong is a number that an alert can look at."""

import pytest

from appliance import __version__
from appliance.ipc.rows import DutyState, LaneState, ShardState
from appliance.model.tunables import TUNABLES
from tests.unit.metrics.conftest import Metrics


def test_the_version(metrics: Metrics) -> None:
    assert metrics.of("appliance_build_info") == {f'{{version="{__version__}"}}': 1}


def test_a_worker_that_is_down(metrics: Metrics) -> None:
    metrics.gateway.states[1] = ShardState(1, False, 101, 4, 2.5)
    assert metrics.of("appliance_shard_up") == {'{shard="0"}': 1, '{shard="1"}': 0}
    assert metrics.of("appliance_shard_silent_seconds") == {'{shard="0"}': 0, '{shard="1"}': 2.5}
    assert metrics.of("appliance_healthy") == {"": 0}


def test_a_problem_of_the_host(metrics: Metrics) -> None:
    assert metrics.of("appliance_healthy") == {"": 1}
    metrics.gateway.problems, metrics.gateway.missing = ["the rules are gone", "192.0.2.10 is gone"], ["203.0.113.10"]
    assert metrics.of("appliance_host_problems") == {"": 2}
    assert metrics.of("appliance_missing_addresses") == {"": 1}
    assert metrics.of("appliance_healthy") == {"": 0}


def test_addresses_that_are_missing_alone_are_no_problem(metrics: Metrics) -> None:
    metrics.gateway.missing = ["203.0.113.10"]
    assert metrics.of("appliance_healthy") == {"": 1}


def test_duties(metrics: Metrics) -> None:
    metrics.gateway.duties = [DutyState("look at routes", 3, "OSError: no"), DutyState("reload", 0, "")]
    assert metrics.of("appliance_duty_failures_total") == {'{duty="look at routes"}': 3, '{duty="reload"}': 0}


@pytest.mark.parametrize("state", ["on", "impaired", "off"])
def test_the_lane_is_in_one_state(metrics: Metrics, state: str) -> None:
    metrics.gateway.lane = metrics.gateway.lane._replace(lane=LaneState(state, "why", 2))
    assert metrics.of("appliance_lane_state") == {f'{{state="{one}"}}': one == state for one in ("on", "impaired", "off")}
    assert metrics.of("appliance_lane_repairs_total") == {"": 2}
    assert (metrics.of("appliance_lane_entries"), metrics.of("appliance_lane_entries_used")) == ({"": 4096}, {"": 3})


def test_a_host_that_tracks_nothing_has_no_figures_of_it(metrics: Metrics) -> None:
    assert not [series for series in metrics.all() if "conntrack" in series]


def test_the_figures_of_a_host_that_tracks_connections(metrics: Metrics) -> None:
    """The kernel may count no events; then there are none here, and no zeros."""
    metrics.gateway.conntrack = {"count": 1, "max": 2, "buckets": 3}
    limits = {"entries": 1.0, "entries_limit": 2.0, "buckets": 3.0}
    assert {name[25:]: number for name, number in metrics.all().items() if "host_conntrack" in name} == limits
    metrics.gateway.conntrack |= {"drop": 4, "early_drop": 5, "insert_failed": 6}
    events = {"drops_total": 4.0, "early_drops_total": 5.0, "insert_failures_total": 6.0}
    assert {name[25:]: number for name, number in metrics.all().items() if "host_conntrack" in name} == limits | events


@pytest.mark.parametrize("name", TUNABLES)
def test_a_tunable_is_in_base_units(metrics: Metrics, name: str) -> None:
    tunable = TUNABLES[name]
    metrics.gateway.shared.set_tunables({name: tunable.max})
    suffix, factor = {"ms": ("_seconds", 1000), "bytes": ("_bytes", 1), "percent": ("_ratio", 100)}.get(tunable.unit, ("", 1))
    assert metrics.of(f"appliance_tunable_{name}{suffix}") == {"": tunable.max / factor}


def test_what_became_of_the_lines_of_the_session_log(metrics: Metrics) -> None:
    numbers = metrics.of("appliance_session_log_sessions_total")
    assert numbers == {'{outcome="written"}': 40, '{outcome="left_out"}': 2, '{outcome="failed"}': 1}
