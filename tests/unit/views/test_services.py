"""views/services.py: services as `ipvsadm` prints them, and the health of the shards."""

from array import array
from dataclasses import replace

import pytest

from appliance import __version__
from appliance.ipc.rows import ShardState
from appliance.views.services import health, services
from tests.support.gateway import SERVICES, fill_destinations


def test_services_look_as_ipvsadm_prints_them() -> None:
    assert (
        services(fill_destinations(shards=2), SERVICES).text
        == f"""\
IP Virtual Server version {__version__} (shards=2)
Prot LocalAddress:Port Scheduler Flags
  -> RemoteAddress:Port           Forward Weight ActiveConn InActConn
TCP  203.0.113.10:80 rr
  -> 192.0.2.101:8080             FullNat 100    3010       3012
  -> 192.0.2.102:8080             FullNat 0      3210       3212
UDP  203.0.113.10:80 rr
  -> 192.0.2.101:53               FullNat 1      3410       3412
"""
    )


@pytest.mark.parametrize(
    ("mask", "shown"),
    [(32, "TCP  203.0.113.10:80 rr persistent 300"), (24, "TCP  203.0.113.10:80 rr persistent 300 mask 255.255.255.0")],
)
def test_persistence_is_shown_as_ipvsadm_shows_it(mask: int, shown: str) -> None:
    plans = [replace(SERVICES[0], persistence_s=300, persistence_mask=mask)]
    document = services(fill_destinations(shards=1), plans)
    assert document.text.splitlines()[3] == shown
    [service] = document.data["services"]
    assert (service["persistence_s"], service["persistence_mask"]) == (300, mask)


@pytest.mark.parametrize(
    ("synproxy", "tunable", "edges", "shown", "engaged"),
    [
        ("never", 2, ((1, 0), (0, 0)), "rr", False),
        ("always", 0, ((0, 0), (0, 0)), "rr synproxy", True),
        ("auto", 1, ((0, 0), (0, 0)), "rr synproxy auto", False),
        ("auto", 1, ((3, 3), (1, 0)), "rr synproxy auto engaged", True),
        ("auto", 1, ((3, 3), (4, 4)), "rr synproxy auto", False),
        ("auto", 0, ((1, 0), (0, 0)), "rr synproxy auto", False),
        ("auto", 2, ((0, 0), (0, 0)), "rr synproxy auto engaged", True),
    ],
)
def test_synproxy_is_shown_and_whether_it_is_engaged(
    synproxy: str, tunable: int, edges: tuple[tuple[int, int], ...], shown: str, engaged: bool
) -> None:
    shared = fill_destinations(shards=2)
    shared.set_tunables({"tcp_syncookies": tunable})
    for shard, both in enumerate(edges):
        shared.cookie_edges(shard, 0)[0], shared.cookie_edges(shard, 0)[1] = both
    document = services(shared, [replace(SERVICES[0], synproxy=synproxy)])
    assert document.text.splitlines()[3] == f"TCP  203.0.113.10:80 {shown}"
    assert document.data["services"][0]["engaged"] is engaged


def test_both_flags_stand_as_in_lvs() -> None:
    plans = [replace(SERVICES[0], synproxy="always", persistence_s=300)]
    line = services(fill_destinations(shards=1), plans).text.splitlines()[3]
    assert line == "TCP  203.0.113.10:80 rr persistent 300 synproxy"


def test_services_data() -> None:
    data = services(fill_destinations(shards=2), SERVICES).data
    web, names = data["services"]
    assert web["name"] == "web"
    assert (web["protocol"], web["vip"], web["port"], web["scheduler"]) == ("TCP", "203.0.113.10", 80, "rr")
    assert (names["protocol"], names["vip"], names["port"]) == ("UDP", "203.0.113.10", 80), "its own, on the same VIP and port"
    assert web["local_addresses"] == ["192.0.2.10", "192.0.2.11"]
    assert web["real_servers"][1] == {
        "address": "192.0.2.102",
        "port": 8080,
        "forward": "FullNat",
        "weight": 0,
        "state": "up",
        "backup": False,
        "max_conn": 0,
        "draining": False,
        "in_packets": 3200,
        "out_packets": 3202,
        "in_bytes": 3204,
        "out_bytes": 3206,
        "conns": 3208,
        "active_conns": 3210,
        "inactive_conns": 3212,
        "opening_conns": 3214,
        "refused_conns": 3216,
        "unanswered_conns": 3218,
        "open_conns": 3220,
        "lane_packets": 0,
    }


def test_a_real_server_that_is_down_or_a_backup_says_so() -> None:
    backup = replace(SERVICES[0].real_servers[0], backup=True)
    plans = [replace(SERVICES[0], real_servers=(backup, SERVICES[0].real_servers[1]))]
    first, second = services(fill_destinations(shards=1), plans, frozenset({1})).data["services"][0]["real_servers"]
    assert (first["state"], first["backup"]) == ("up", True)
    assert (second["state"], second["backup"]) == ("down", False)


def test_what_the_lane_carried_for_a_real_server_is_said_and_is_part_of_its_packets() -> None:
    shared = fill_destinations(shards=1)
    before = services(shared, SERVICES).data["services"][0]["real_servers"][1]
    shared.destination(shared.lane, 1)[:4] = array("Q", [30, 12, 3000, 1200])
    after = services(shared, SERVICES).data["services"][0]["real_servers"][1]
    assert after["lane_packets"] == 42
    assert (after["in_packets"] - before["in_packets"], after["out_packets"] - before["out_packets"]) == (30, 12)


def test_services_that_are_down_stand_behind_the_health_of_the_gateway_and_do_not_change_it() -> None:
    document = health([ShardState(0, True, 100, 1)], services_down={"web": "no real server is up: new sessions are refused"})
    assert document.text == "ok\nservice web is down: no real server is up: new sessions are refused\n"
    assert document.data["status"] == "ok"
    assert document.data["services_down"] == {"web": "no real server is up: new sessions are refused"}


def test_health_names_the_shards_that_are_down() -> None:
    states = [ShardState(0, True, 100, 1), ShardState(1, False, None, 4), ShardState(2, False, None, 2)]
    document = health(states)
    assert document.text == "shard1 is down (started 4 times)\nshard2 is down (started 2 times)\n"
    assert document.data["status"] == "down"
    nothing = {"silent_s": 0.0, "cpu_s": None, "waiting": None}
    assert document.data["shards"][1] == {"shard": 1, "up": False, "pid": None, "starts": 4} | nothing
    assert health(states[:1]).text == "ok\n"
    assert health(states[:1]).data["status"] == "ok"


def test_health_names_what_is_wrong_on_the_host() -> None:
    well = [ShardState(0, True, 100, 1)]
    document = health(well, [], ["the rules are gone"], ["203.0.113.10"])
    assert document.text == "the rules are gone\n"
    assert (document.data["status"], document.data["problems"]) == ("impaired", ["the rules are gone"])
    assert document.data["missing_addresses"] == ["203.0.113.10"]
    assert health(well, [], [], ["203.0.113.10"]).text == "ok\n", "that is for another program to mend"


def test_health_says_for_how_long_a_worker_has_done_nothing() -> None:
    document = health([ShardState(0, True, 100, 1), ShardState(1, False, 101, 1, silent_s=2.5)])
    assert document.text == "shard1 is down: its worker (pid 101) has done nothing for 2.5 s\n"
    assert document.data["status"] == "down"
    assert document.data["shards"][1]["silent_s"] == 2.5


def test_what_is_wrong_around_the_gateway_is_a_note_and_changes_no_status() -> None:
    document = health([ShardState(0, True, 1, 1)], notes=["interface server1 is down"])
    assert document.text == "ok\nnote: interface server1 is down\n"
    assert (document.data["status"], document.data["notes"]) == ("ok", ["interface server1 is down"])
