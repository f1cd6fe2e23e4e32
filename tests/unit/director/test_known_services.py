"""known_services.py: a worker is told what is new, what goes, and again what it has not confirmed; never much at once."""

from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from appliance.director.known_services import REAL_SERVERS_AT_ONCE, KnownServices
from appliance.ipc.messages import ChangeServices
from appliance.ipc.plan import RealServerPlan, ServiceKey, ServicePlan

WEB = ServicePlan("web", "203.0.113.10", 80, "rr", ("192.0.2.10",), (RealServerPlan("192.0.2.101", 8080, 1, 0),))


def many(number: int, *, weight: int = 1, real_servers: int = 10) -> tuple[ServicePlan, ...]:
    servers = tuple(RealServerPlan("192.0.2.101", port, weight, port) for port in range(real_servers))
    return tuple(replace(WEB, name=f"s{port}", port=port, real_servers=servers) for port in range(number))


def test_one_weight_among_thousands_is_one_service_in_one_message() -> None:
    known, services = KnownServices(), many(2000)
    known.start(services)
    assert known.news(many(2000)) == [], "equal, though made anew"
    changed = (*services[:7], replace(services[7], scheduler="wlc"), *services[8:])
    assert known.news(changed) == [ChangeServices((changed[7],))]


def test_a_change_of_everything_comes_in_parts() -> None:
    known = KnownServices()
    known.start(many(500))
    messages = known.news(many(500, weight=2))
    sizes = [sum(1 + len(service.real_servers) for service in message.services) for message in messages]
    assert max(sizes) <= REAL_SERVERS_AT_ONCE
    assert [service for message in messages for service in message.services] == [*many(500, weight=2)]
    (message,) = known.news((*many(500), replace(WEB, port=9999, real_servers=many(1, real_servers=1000)[0].real_servers)))
    assert len(message.services) == 1, "a service is never divided"
    gone = known.news(())
    assert all(len(message.gone) <= REAL_SERVERS_AT_ONCE and not message.services for message in gone)
    assert sum(len(message.gone) for message in gone) == 500


@given(st.lists(st.tuples(st.sets(st.integers(0, 5)), st.integers(1, 3), st.lists(st.booleans(), min_size=12, max_size=12))))
def test_a_worker_has_what_is_wanted_after_every_change_of_which_it_refuses_nothing(
    changes: list[tuple[set[int], int, list[bool]]],
) -> None:
    """Whatever it has refused, or has done without saying so."""
    known, worker = KnownServices(), dict[ServiceKey, ServicePlan]()
    for ports, weight, fates in changes:
        wanted = tuple(service for service in many(6, weight=weight, real_servers=90) if service.port in ports)
        for takes_all in (False, True):
            for message, (does, says) in zip(known.news(wanted), zip(fates[::2], fates[1::2], strict=True), strict=False):
                known.told(message)
                if does or takes_all:
                    worker |= {service.key: service for service in message.services}
                    for key in message.gone:
                        worker.pop(key, None)
                    if says or takes_all:
                        known.confirmed(message)
        assert worker == {service.key: service for service in wanted}
        assert known.news(wanted) == []
