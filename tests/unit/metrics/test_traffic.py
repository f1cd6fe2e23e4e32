"""metrics/traffic.py: sessions and packets under the right labels; counters only grow when a worker or a real server goes."""

import pytest

from appliance.ipc.plan import RealServerPlan
from appliance.model.counters import DESTINATION_FIELDS, STATE_FIELDS
from tests.support.gateway import SERVICES
from tests.unit.metrics.conftest import Metrics

_OF_FIELD = {
    "in_packets": ("packets", {"direction": "in"}),
    "out_packets": ("packets", {"direction": "out"}),
    "in_bytes": ("bytes", {"direction": "in"}),
    "out_bytes": ("bytes", {"direction": "out"}),
    "conns": ("sessions_opened", {}),
    "active_conns": ("sessions", {"state": "active"}),
    "inactive_conns": ("sessions", {"state": "inactive"}),
    "opening_conns": ("opening_sessions", {}),
    "refused_conns": ("errors", {"error": "refused"}),
    "unanswered_conns": ("errors", {"error": "unanswered"}),
    "open_conns": ("open_sessions", {}),
}
"""By field: the end of the family's name, and the labels beside those that say whose it is."""


def written(name: str, **labels: str) -> str:
    """A series as it stands in the page, with its labels in their order there."""
    inside = ",".join(f'{label}="{labels[label]}"' for label in sorted(labels))
    return f"appliance_{name}{{{inside}}}" if inside else f"appliance_{name}"


GAUGES = ("active_conns", "inactive_conns", "opening_conns", "open_conns")


def total_of(field: str, name: str) -> str:
    return name if field in GAUGES else f"{name}_total"


@pytest.mark.parametrize("field", DESTINATION_FIELDS)
def test_a_number_of_a_real_server_is_counted_for_it_and_for_who_counted(metrics: Metrics, field: str) -> None:
    assert metrics.moved()
    for row, number in enumerate((1, 2, 4)):
        metrics.gateway.shared.destination(row, 1)[DESTINATION_FIELDS.index(field)] = number
    name, labels = _OF_FIELD[field]
    server = written(total_of(field, f"real_server_{name}"), service="web", real_server="192.0.2.102:8080", **labels)
    expected = {server: 7.0}
    if field not in (*GAUGES, "refused_conns", "unanswered_conns"):
        expected |= {written(f"shard_{name}_total", shard=str(shard), **labels): shard + 1.0 for shard in (0, 1)}
        if field != "conns":  # the lane opens no sessions
            expected[written(f"lane_{name}_total", **labels)] = 4
    assert metrics.moved() == expected


@pytest.mark.parametrize("place", range(len(STATE_FIELDS)), ids=STATE_FIELDS.__getitem__)
def test_sessions_by_state(metrics: Metrics, place: int) -> None:
    """Orphans are sessions in some state, so they are no state of their own: a sum would count them twice."""
    metrics.moved()
    metrics.gateway.shared.table(0, "states")[place] = 1
    metrics.gateway.shared.table(1, "states")[place] = 2
    state = STATE_FIELDS[place]
    assert metrics.moved() == {written("orphan_sessions") if state == "orphan" else written("sessions", state=state): 3}


def test_sessions_by_shard(metrics: Metrics) -> None:
    metrics.gateway.shared.session_counts[1] = 5
    assert metrics.of("appliance_shard_sessions") == {'{shard="0"}': 0, '{shard="1"}': 5}


def test_weights(metrics: Metrics) -> None:
    assert list(metrics.of("appliance_real_server_weight").values()) == [100, 0, 1]


def test_a_real_server_that_is_down_and_a_service_that_has_too_few(metrics: Metrics) -> None:
    """One has a check that fails; that alone does not take its service down."""
    metrics.gateway.health.down = frozenset([1])
    assert list(metrics.of("appliance_real_server_up").values()) == [1, 0, 1]
    assert metrics.of("appliance_service_up") == {'{service="web"}': 1, '{service="names"}': 1}
    metrics.gateway.health.troubles = {"names": "1 of 1 real servers is down"}
    assert metrics.of("appliance_service_up") == {'{service="web"}': 1, '{service="names"}': 0}
    assert list(metrics.of("appliance_real_server_up").values()) == [1, 0, 1]


def test_a_real_server_that_is_removed_has_no_series_and_takes_nothing_from_the_totals(metrics: Metrics) -> None:
    metrics.gateway.shared.destination(0, 1)[0] = 5
    before = metrics.all()
    web, names = SERVICES
    kept = web.__class__(**{**{field: getattr(web, field) for field in web.__slots__}, "real_servers": web.real_servers[:1]})
    metrics.gateway.services = (kept, names)
    after = metrics.all()
    gone = before.keys() - after.keys()
    assert len(gone) == len(DESTINATION_FIELDS) + 3, "its weight, whether it is up, and whether it is drained"
    assert all('real_server="192.0.2.102:8080"' in series for series in gone)
    assert after.items() <= before.items()
    metrics.gateway.services = SERVICES
    assert metrics.all() == before, "it counts on where it was"


def test_counters_stay_when_a_worker_is_started_anew_and_gauges_do_not(metrics: Metrics) -> None:
    shared = metrics.gateway.shared
    for table in ("ext", "verdicts", "queue", "states"):
        cells = shared.table(0, table)
        for place in range(len(cells)):
            cells[place] = place + 1
    shared.session_counts[0] = 5
    before = metrics.all()
    shared.forget_sessions(0)
    after = metrics.all()
    assert before.keys() == after.keys()
    lower = {series.partition("{")[0] for series in before if after[series] < before[series]}
    assert lower == {"appliance_sessions", "appliance_orphan_sessions", "appliance_shard_sessions"}


def test_names_of_services_are_escaped(metrics: Metrics) -> None:
    """The configuration allows none of these today."""
    names = SERVICES[1]
    odd = names.__class__(
        **{
            **{field: getattr(names, field) for field in names.__slots__},
            "name": 'a"b\\c\nd\ud800',
            "real_servers": (RealServerPlan("192.0.2.101", 53, 1, 2),),
        }
    )
    metrics.gateway.services = (odd,)
    (series,) = metrics.of("appliance_real_server_weight")
    assert series == r'{real_server="192.0.2.101:53",service="a\"b\\c\nd?"}'
