"""two_servers.py: what a new client comes to is seen, and one that comes to nobody is no destination."""

from appliance.model import verdicts
from tests.support.addresses import RS1, RS2
from tests.support.two_servers import destinations, scene, syn
from tests.support.world import World


def test_destinations_are_those_of_new_clients() -> None:
    assert destinations(World(scene())) == {RS1, RS2}
    assert destinations(World(scene(weights=(0, 1)))) == {RS2}
    assert destinations(World(scene(weights=(0, 0)))) == set()
    assert syn(World(scene(weights=(0, 0)))) is verdicts.NO_REAL_SERVER


def test_backups_and_settings_are_those_of_all_services() -> None:
    made = scene(backups=(1,), quorum=2)
    assert [[server.backup for server in service.real_servers] for service in made.services] == [[False, True]] * 2
    assert {service.quorum for service in made.services} == {2}
