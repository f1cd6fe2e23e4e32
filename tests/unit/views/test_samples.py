"""views/samples.py: what those who watch get each second, and that it is bounded."""

import json
from dataclasses import replace

import pytest

from appliance.attack.watch import AttackWatch
from appliance.ipc.plan import RealServerPlan, ServicePlan
from appliance.ipc.rows import LaneState, ShardState
from appliance.model.verdicts import VERDICTS
from appliance.views.samples import (
    REAL_SERVERS_MAX,
    SENTENCES_MAX,
    SERVICES_MAX,
    Condition,
    Window,
    as_event,
    gateway_sample,
    sample,
    services_sample,
)
from tests.support.gateway import SERVICES, attacks, fill_destinations, shared_state

WELL = Condition([ShardState(0, True, 100, 1), ShardState(1, True, 101, 1)], LaneState("on", ""), [], [], 0, 7)
NO_SESSION = next(verdict for verdict in VERDICTS if verdict.name == "no_session")


def many(services: int, real_servers: int) -> list[ServicePlan]:
    servers = tuple(RealServerPlan("192.0.2.101", 1000 + number, 1, 0) for number in range(real_servers))
    return [replace(SERVICES[0], name=f"service-{number}", real_servers=servers) for number in range(services)]


def test_counters_are_those_of_all_shards_and_the_lane() -> None:
    shared = shared_state(shards=2, destinations=3)
    for row in range(3):
        shared.table(row, "verdicts")[NO_SESSION.index] = 10**row
    shared.session_counts[0], shared.session_counts[1] = 3, 4
    made = gateway_sample(shared, 12.34567, WELL, AttackWatch(), {"defence_udp_drop": 5, "defence_frag_drop": 0})
    assert (made["clock_s"], made["sessions"], made["last_event"]) == (12.346, 7, 7)
    assert made["drops"] == {"no_session": 111}, "and none that is zero"
    assert made["kernel_drops"] == {"defence_udp_drop": 5}
    assert made["traffic"] == dict.fromkeys(("conns", "in_packets", "out_packets", "in_bytes", "out_bytes"), 0)


@pytest.mark.parametrize(
    ("condition", "status", "down"),
    [
        (WELL, "ok", 0),
        (WELL._replace(problems=["a table is gone"]), "impaired", 0),
        (WELL._replace(problems=["a table is gone"], shards=[ShardState(0, False, 0, 2), ShardState(1, True, 1, 1)]), "down", 1),
    ],
)
def test_the_status_is_that_of_healthz(condition: Condition, status: str, down: int) -> None:
    made = gateway_sample(shared_state(2, 3), 0.0, condition, AttackWatch(), {})
    assert (made["status"], made["shards"], made["shards_down"]) == (status, 2, down)


def test_sentences_are_few() -> None:
    condition = WELL._replace(problems=["problem"] * 1000, notes=["note"] * 1000)
    made = gateway_sample(shared_state(2, 3), 0.0, condition, AttackWatch(), {})
    assert (len(made["problems"]), len(made["notes"])) == (SENTENCES_MAX, SENTENCES_MAX)


def test_a_write_of_a_tunable_and_the_end_of_an_attack_show() -> None:
    shared, watch = shared_state(2, 3), attacks()
    before = gateway_sample(shared, 0.0, WELL, watch, {})
    assert [attack["kind"] for attack in before["attacks"]] == list(watch.under_way)
    assert before["attacks_ended"] == 1
    assert before["last_attack_ended_s"] == watch.ended[-1].ended_wall_s
    shared.set_tunables({"udp_timeout": 60000})
    assert gateway_sample(shared, 0.0, WELL, watch, {})["tunables"] != before["tunables"]


def test_a_real_server_has_its_state_and_the_counters_of_all_shards() -> None:
    made = services_sample(fill_destinations(shards=2), SERVICES, frozenset({1}), (0,), Window())
    assert (made["total"], made["matching"], made["offset"], made["next"]) == (2, 2, 0, None)
    first, second = made["services"][0]["real_servers"]
    assert (first["is_up"], first["is_drained"], second["is_up"], second["is_drained"]) == (True, True, False, False)
    assert (first["endpoint"], first["weight"], first["is_backup"]) == ("192.0.2.101:8080", 100, False)
    assert (first["in_packets"], first["out_bytes"], first["conns"]) == (3000, 3006, 3008)
    assert (second["active_conns"], second["inactive_conns"]) == (3210, 3212)
    assert made["services"][1]["protocol"] == "UDP"


@pytest.mark.parametrize(
    ("match", "names"), [("", ["web", "names"]), ("WE", ["web"]), ("e", ["web", "names"]), ("x", []), (".*", [])]
)
def test_a_part_of_the_name_chooses_services(match: str, names: list[str]) -> None:
    made = services_sample(fill_destinations(1), SERVICES, frozenset(), (), Window(match))
    assert [service["name"] for service in made["services"]] == names
    assert (made["total"], made["matching"]) == (2, len(names))


def test_windows_behind_one_another_show_each_service_once() -> None:
    plans, shared = many(services=2000, real_servers=30), shared_state(1, 1)
    seen: list[str] = []
    offset: int | None = 0
    while offset is not None:
        made = services_sample(shared, plans, frozenset(), (), Window("", offset))
        assert len(made["services"]) <= SERVICES_MAX
        assert sum(len(service["real_servers"]) for service in made["services"]) <= REAL_SERVERS_MAX
        seen += [service["name"] for service in made["services"]]
        offset = made["next"]
    assert seen == [plan.name for plan in plans]
    assert services_sample(shared, plans, frozenset(), (), Window("", 5000))["services"] == []


def test_small_services_fill_a_window() -> None:
    made = services_sample(shared_state(1, 1), many(services=25, real_servers=1), frozenset(), (), Window())
    assert (len(made["services"]), made["next"]) == (SERVICES_MAX, SERVICES_MAX)


def test_of_a_service_with_too_many_real_servers_some_are_left_out_and_counted() -> None:
    made = services_sample(shared_state(1, 1), many(services=2, real_servers=1000), frozenset(), (), Window())
    [service] = made["services"]
    assert (len(service["real_servers"]), service["left_out"], made["next"]) == (REAL_SERVERS_MAX, 800, 1)


def test_an_event_is_one_line_whatever_a_name_says() -> None:
    hostile = "a\n\nevent: gateway\ndata: {}\r\n\u2028<script>"
    said = as_event("services", {"name": hostile})
    assert said.startswith(b"event: services\ndata: {")
    assert said.endswith(b"}\n\n")
    assert said.count(b"\n") == 3
    assert b"\r" not in said
    assert json.loads(said.partition(b"data: ")[2])["name"] == hostile


def test_as_text_a_sample_has_a_line_for_each_real_server() -> None:
    shared = fill_destinations(1)
    gateway = gateway_sample(shared, 0.0, WELL, AttackWatch(), {})
    text = sample(gateway, services_sample(shared, SERVICES, frozenset({1}), (0,), Window("web"))).text
    assert text.splitlines()[0].split() == ["status", "ok"]
    assert text.splitlines()[-2].split() == ["web", "192.0.2.101:8080", "100", "drained", "1005"]
    assert text.splitlines()[-1].split() == ["web", "192.0.2.102:8080", "0", "down", "1105"]
