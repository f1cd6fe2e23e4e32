"""support/candidates.py: servers and clients that differ."""

from appliance.policy.schedulers.round_robin import RoundRobin
from appliance.wire.flow import source_address_of
from tests.support.candidates import client_key, picks, servers, setup


def test_servers_have_their_weights_and_addresses_of_their_own() -> None:
    found = servers(1, 2, 3)
    assert [server.weight for server in found] == [1, 2, 3]
    assert len({server.endpoint for server in (*found, *servers(1, first=3))}) == 4
    assert servers(1)[0] != servers(1)[0]


def test_each_client_has_an_address_of_its_own_whatever_its_port_is() -> None:
    assert len({source_address_of(client_key(number)) for number in range(300)}) == 300
    assert source_address_of(client_key(1, port=1)) == source_address_of(client_key(1, port=2))


def test_picks_are_indexes() -> None:
    assert picks(RoundRobin(setup(shard=1)), servers(1, 1, 0), 3) == [1, 0, 1]
    assert picks(RoundRobin(setup()), servers(0), 1) == [None]
