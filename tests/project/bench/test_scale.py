"""bench/scale: configurations of many services."""

from appliance.config.loading import parse
from bench.scale.configuration import FIRST_REAL_SERVER, FIRST_VIP, TCP_CHECK, many_services


def test_each_service_has_a_vip_and_real_servers_of_its_own() -> None:
    config = parse(many_services(300, 3, check=TCP_CHECK, scheduler="mh"), "many")
    assert len({service.vip for service in config.services}) == 300
    assert config.services[-1].vip == FIRST_VIP + 299
    servers = [server.address for service in config.services for server in service.real_servers]
    assert servers == [FIRST_REAL_SERVER + number for number in range(900)]
    assert {service.scheduler for service in config.services} == {"mh"}
    assert all(service.health_check for service in config.services)


def test_without_a_check_there_is_none() -> None:
    (service,) = parse(many_services(1, 1), "one").services
    assert service.health_check is None
