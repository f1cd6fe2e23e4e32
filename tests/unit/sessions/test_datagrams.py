"""sessions/datagrams.py: which clients have a session of UDP, and which networks get none, as the kernel is told."""

import pytest

from appliance.ipc.lane_layout import DATAGRAM_CLIENTS, REFUSED_SOURCE, REFUSED_SOURCE_KEY
from appliance.sessions.datagrams import REFUSED_S, DatagramClients, RefusedSources
from appliance.sessions.lane_maps import NoMaps
from appliance.wire.flow import flow_key
from tests.support.addresses import CLIENT, VIP
from tests.support.lane_maps import FakeMaps

KEY = flow_key(CLIENT, VIP)


@pytest.mark.parametrize("shards", [1, 2, 3, 64])
def test_each_shard_counts_in_a_part_of_its_own(shards: int) -> None:
    places = memoryview(bytearray(b"\1" * DATAGRAM_CLIENTS))
    parts = []
    for shard in range(shards):
        clients = DatagramClients(places, shard, shards)
        clients.add(KEY)
        clients.add(KEY)
        (place,) = (number for number, count in enumerate(places.tobytes()) if count == 2)
        parts.append(place * shards // DATAGRAM_CLIENTS)
        clients.discard(KEY)
        assert places[place] == 1
        clients.discard(KEY)
        clients.discard(KEY)
        assert places[place] == 0
        places[:] = b"\1" * DATAGRAM_CLIENTS
    assert len(set(parts)) == shards or shards == 3


def test_neighbours_have_places_of_their_own() -> None:
    places = memoryview(bytearray(DATAGRAM_CLIENTS))
    clients = DatagramClients(places, 0, 1)
    for host in range(64):
        for port in range(1024, 2048):
            clients.add(CLIENT[:3] + bytes((host,)) + VIP[:4] + port.to_bytes(2, "big") + VIP[4:])
    assert len(places) - places.tobytes().count(0) > 64 * 1024 * 0.95


def test_a_place_that_is_full_stays_so() -> None:
    """It has forgotten how many there are."""
    places = memoryview(bytearray(DATAGRAM_CLIENTS))
    clients = DatagramClients(places, 0, 1)
    for _ in range(300):
        clients.add(KEY)
    for _ in range(300):
        clients.discard(KEY)
    assert max(places) == 255


def test_without_a_lane_nothing_is_counted() -> None:
    clients = DatagramClients(NoMaps().datagram_clients, 0, 1)
    clients.add(KEY)
    clients.discard(KEY)


@pytest.mark.parametrize(("prefix", "network"), [(8, "c6000000"), (24, "c6336400"), (31, "c6336402"), (32, "c6336402")])
def test_a_network_is_refused_for_a_moment(prefix: int, network: str) -> None:
    maps = FakeMaps()
    refused = RefusedSources(maps, shard=5)
    refused.read_tunables((1 << 32) + 7)
    refused.refuse(KEY, prefix, 100.0)
    assert maps.refused_sources == {
        REFUSED_SOURCE_KEY.pack(bytes.fromhex(network), 5): REFUSED_SOURCE.pack(100_000_000_000 + int(REFUSED_S * 1e9), 7, 0)
    }


def test_the_kernel_is_told_once_in_that_time_and_again_when_tunables_have_changed() -> None:
    maps = FakeMaps()
    refused = RefusedSources(maps, shard=0)

    def is_told(now: float) -> bool:
        maps.refused_sources.clear()
        refused.refuse(KEY, 24, now)
        return bool(maps.refused_sources)

    assert [is_told(now) for now in (100.0, 100.05, 100.11, 100.12)] == [True, False, True, False]
    refused.read_tunables(1)
    assert is_told(100.13)


def test_however_many_networks_there_are_few_are_remembered() -> None:
    maps = FakeMaps()
    refused = RefusedSources(maps, shard=0)
    for number in range(5000):
        refused.refuse(number.to_bytes(4, "big") + KEY[4:], 32, 100.0)
    assert len(refused._until) <= 1024
    assert len(maps.refused_sources) == 5000
