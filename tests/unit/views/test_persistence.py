"""views/persistence.py: which clients are remembered, as text and as data."""

from dataclasses import replace

import pytest

from appliance.ipc.shared_layout import SharedState
from appliance.model.counters import PERSISTENCE_DISPLACED, PERSISTENCE_HITS
from appliance.views.persistence import persistence, persistent_clients
from tests.support.gateway import SERVICES, remember, shared_state

WEB = replace(SERVICES[0], persistence_s=300)
NETWORKS = replace(SERVICES[1], persistence_s=60, persistence_mask=24)
PLANS = (WEB, NETWORKS)
NOW = 1000.0


@pytest.fixture
def shared() -> SharedState:
    memory = shared_state(shards=2, destinations=3)
    remember(memory, WEB, "198.51.100.1", 0, 1_000_000, 10000)
    remember(memory, WEB, "198.51.100.2", 0, 1_000_000, 20000)
    remember(memory, WEB, "198.51.100.3", 1, 1_000_000, 30000)
    remember(memory, NETWORKS, "198.51.100.77", 2, 1_000_000, 40500)
    remember(memory, WEB, "198.51.100.4", 0, 1_000_000, -1000)
    remember(memory, WEB, "198.51.100.5", 2, 1_000_000, 50000)
    memory.table(0, "queue")[PERSISTENCE_HITS] = 3
    memory.table(1, "queue")[PERSISTENCE_HITS] = 4
    memory.table(1, "queue")[PERSISTENCE_DISPLACED] = 1
    return memory


def test_each_service_and_real_server_has_its_number_of_clients(shared: SharedState) -> None:
    """A client whose time is over does not count, nor one whose real server is none of the service any more."""
    document = persistence(shared, PLANS, NOW)
    assert document.data == {
        "entries": {"used": 4, "total": 65536},
        "hits": 7,
        "displaced": 1,
        "services": [
            {
                "service": "web", "persistence_s": 300, "persistence_mask": 32, "clients": 3,
                "real_servers": {"192.0.2.101:8080": 2, "192.0.2.102:8080": 1},
            },
            {
                "service": NETWORKS.name, "persistence_s": 60, "persistence_mask": 24, "clients": 1,
                "real_servers": {"192.0.2.101:53": 1},
            },
        ],
    }  # fmt: skip
    assert document.text.splitlines()[:3] == [
        "4 of 65536 entries, 7 hits, 1 displaced",
        "service  real server       clients",
        "web      192.0.2.101:8080        2",
    ]


def test_a_service_without_persistence_has_no_line(shared: SharedState) -> None:
    assert persistence(shared, SERVICES, NOW).data["services"] == []


def test_clients_are_listed_with_their_real_server_and_their_time(shared: SharedState) -> None:
    document = persistent_clients(shared, PLANS, NOW, "", 10)
    assert sorted(document.data, key=lambda row: row["expires_s"]) == [
        {"service": "web", "client": "198.51.100.1", "real_server": "192.0.2.101:8080", "expires_s": 10.0},
        {"service": "web", "client": "198.51.100.2", "real_server": "192.0.2.101:8080", "expires_s": 20.0},
        {"service": "web", "client": "198.51.100.3", "real_server": "192.0.2.102:8080", "expires_s": 30.0},
        {"service": NETWORKS.name, "client": "198.51.100.0/24", "real_server": "192.0.2.101:53", "expires_s": 40.5},
    ]
    assert document.text.startswith("service")
    assert len(document.text.splitlines()) == 5


def test_a_listing_can_be_of_one_service_and_is_bounded(shared: SharedState) -> None:
    assert len(persistent_clients(shared, PLANS, NOW, "web", 10).data) == 3
    assert len(persistent_clients(shared, PLANS, NOW, "", 2).data) == 2
    assert persistent_clients(shared, PLANS, NOW, "nobody", 2).data == []
