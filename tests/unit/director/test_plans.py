"""plans.py: the plan of the services, and the slot in which each real server is counted."""

from pathlib import Path
from typing import Any

import pytest

from appliance.config import loading
from appliance.config.changes import ReloadRefusedError
from appliance.config.loading import Config, RealServer, Service
from appliance.config.session_log import SessionLog
from appliance.director.plans import Slots, told_of, worker_plans
from appliance.director.runtime_files import Keys
from tests.support.addresses import RS1_ADDRESS, RS2_ADDRESS

_FILE = loading.load(Path(__file__).parents[3] / "etc/lvs.toml")
WEB = _FILE.services[0]
RUNNING = _FILE.model_copy(update={"services": (WEB,)})

RS3 = RealServer.model_validate({"address": "192.0.2.103", "port": 8080, "weight": 50})


def having(*services: Service) -> Config:
    return RUNNING.model_copy(update={"services": services})


def web(**changes: Any) -> Service:
    return WEB.model_copy(update=changes)


def slots_of(slots: Slots, wanted: Config) -> list[int]:
    return [real_server.slot for service in slots.take(wanted) for real_server in service.real_servers]


def test_the_plan_says_what_the_configuration_says() -> None:
    (service,) = Slots.sized_for(RUNNING).take(RUNNING)
    assert (service.name, service.vip, service.port, service.protocol) == ("web", "203.0.113.10", 80, "tcp")
    assert (service.scheduler, service.local_addresses) == ("rr", ("192.0.2.10", "192.0.2.11"))
    assert [(server.address, server.port, server.weight) for server in service.real_servers] == [
        (str(RS1_ADDRESS), 8080, 100),
        (str(RS2_ADDRESS), 8080, 100),
    ]


def test_the_plan_says_how_real_servers_are_chosen() -> None:
    rs1, rs2 = WEB.real_servers
    slow = rs1.model_copy(update={"slow_start_s": 30})
    chosen = web(scheduler="mh", maglev_table=509, persistence_s=60, persistence_mask=24, real_servers=(slow, rs2))
    (service,) = Slots.sized_for(RUNNING).take(having(chosen))
    assert (service.scheduler, service.maglev_table) == ("mh", 509)
    assert (service.persistence_s, service.persistence_mask) == (60, 24)
    assert [server.slow_start_s for server in service.real_servers] == [30, 0]


def test_a_plan_has_the_protocol_of_its_service() -> None:
    (service,) = Slots.sized_for(RUNNING).take(having(web(protocol="udp")))
    assert service.protocol == "udp"


@pytest.mark.parametrize(
    ("synproxy", "of_service", "planned"),
    [("auto", None, ("auto", 0)), ("auto", 1, ("auto", 1)), (True, None, ("always", None)), (True, 0, ("always", 0))],
)
def test_in_auto_a_proxied_session_opens_at_the_end_of_the_handshake(
    synproxy: bool | str, of_service: int | None, planned: tuple[str, int | None]
) -> None:
    """Unless the service says otherwise: a service whose server speaks first works with cookies as it does without."""
    (service,) = Slots.sized_for(RUNNING).take(having(web(synproxy=synproxy, synproxy_defer=of_service)))
    assert (service.synproxy, service.synproxy_defer) == planned


def test_every_real_server_of_every_service_has_a_slot_of_its_own() -> None:
    two = having(WEB, web(name="other", port=81))
    slots = Slots.sized_for(two)
    assert slots_of(slots, two) == [0, 1, 2, 3]
    assert slots.capacity == 4 + RUNNING.gateway.spare_real_servers + 1, "the last one is nobody's"


def test_every_slot_knows_the_name_of_its_service_also_of_a_real_server_that_is_away() -> None:
    slots = Slots.sized_for(RUNNING)
    slots.take(having(WEB, web(name="other", port=81)))
    slots.take(having(WEB))
    assert slots.service_names() == {0: "web", 1: "web", 2: "other", 3: "other"}


def test_a_real_server_keeps_its_slot_while_it_is_away() -> None:
    slots = Slots.sized_for(RUNNING)
    rs1, rs2 = WEB.real_servers
    assert slots_of(slots, RUNNING) == [0, 1]
    assert slots_of(slots, having(web(real_servers=(rs2, RS3)))) == [1, 2]
    assert slots_of(slots, having(web(real_servers=(RS3, rs1, rs2)))) == [2, 0, 1]


def test_a_plan_uses_up_nothing_until_it_is_taken() -> None:
    slots = Slots.sized_for(RUNNING)
    planned = slots.plan(RUNNING)
    assert slots.service_names() == {}
    assert slots.take(RUNNING) == planned


def test_when_slots_are_used_up_nothing_new_gets_one_and_the_old_keep_theirs() -> None:
    slots = Slots(4)
    rs1, rs2 = WEB.real_servers
    rs4 = RS3.model_copy(update={"port": 1})
    assert slots_of(slots, RUNNING) == [0, 1]
    with pytest.raises(ReloadRefusedError, match=r"no place for 1 of 2 new real servers: there may be 3, "):
        slots.take(having(web(real_servers=(rs1, rs2, RS3, rs4))))
    assert slots_of(slots, having(web(real_servers=(rs4,)))) == [2]
    assert slots_of(slots, RUNNING) == [0, 1]


def test_a_slot_that_was_given_up_is_used_again_and_the_longest_removed_come_first() -> None:
    slots = Slots(4)
    rs1, rs2 = WEB.real_servers
    other = RS3.model_copy(update={"port": 1})
    for real_servers in ((rs1, rs2), (rs2, RS3), (RS3,)):
        slots.take(having(web(real_servers=real_servers)))
    wanted = having(web(real_servers=(RS3, other)))
    assert slots.missing(wanted) == 1
    assert [port_and_slot[0][1:] for port_and_slot in slots.removed_from_all(wanted).items()] == [
        (str(rs1.address), rs1.port),
        (str(rs2.address), rs2.port),
    ]
    assert Slots(4, slots.taken).removed_from_all(wanted) == slots.removed_from_all(wanted), "as they are kept"
    slots.give_up([("web", str(rs1.address), rs1.port)])
    assert slots.missing(wanted) == 0
    assert slots_of(slots, wanted) == [2, 0]
    with pytest.raises(ReloadRefusedError):
        slots.take(having(web(real_servers=(RS3, other, rs1))))


@pytest.mark.parametrize(
    "key",
    [
        'allow = ["192.0.2.0/24"]',
        'deny = ["192.0.2.0/24"]',
        'allow_sets = ["ours"]',
        'deny_sets = ["bad"]',
        "client_new_per_s = 5",
    ],
)
def test_a_service_whose_syns_netfilter_judges_says_so(key: str, tmp_path: Path) -> None:
    file = tmp_path / "lvs.toml"
    text = (Path(__file__).parents[3] / "etc/lvs.toml").read_text()
    file.write_text(text.replace('name = "web"', f'name = "web"\n{key}', 1))
    guarded = Slots.sized_for(loading.load(file)).take(loading.load(file))
    file.write_text(text)
    open_to_all = Slots.sized_for(loading.load(file)).take(loading.load(file))
    assert ([plan.guarded for plan in guarded], [plan.guarded for plan in open_to_all]) == ([True], [False])


def test_a_worker_tells_of_ended_sessions_only_while_there_is_a_session_log() -> None:
    assert told_of(SessionLog()) == (0, ())
    assert told_of(SessionLog(max_per_s=7, services=("web",))) == (0, ("web",))
    assert told_of(SessionLog(target="journal", max_per_s=7, services=("web",))) == (7, ("web",))
    running = RUNNING.model_copy(update={"session_log": SessionLog(target="file", max_per_s=9)})
    plans = worker_plans(running, (), 8, Keys("5a", "c0"))
    assert [plan.log_per_s for plan in plans] == [9, 9]


def test_a_plan_is_made_anew_for_what_has_changed_alone() -> None:
    slots, other = Slots(20), web(name="other", port=81)
    before = slots.take(having(web(), other))
    first, second = slots.plan(having(web(), other.model_copy(update={"scheduler": "wlc"})))
    assert first == before[0]
    assert second.scheduler == "wlc"
    config = having(web(), other)
    assert all(one is again for one, again in zip(slots.plan(config), slots.plan(config), strict=True))
    pools = {name: addresses[:1] for name, addresses in config.local_addresses.items()}
    assert [len(plan.local_addresses) for plan in slots.plan(config.model_copy(update={"local_addresses": pools}))] == [1, 1]


def test_a_plan_that_was_refused_is_made_anew_with_the_slots_of_its_time() -> None:
    slots, other = Slots(20), web(name="other", port=81)
    slots.take(having(web()))
    wanted = having(web(), other)
    refused = slots.plan(wanted)
    assert slots.has_all(having(web()))
    assert not slots.has_all(wanted)
    slots.take(having(web(), web(name="third", port=82)))
    assert not {server.slot for server in slots.take(wanted)[1].real_servers} & {
        server.slot for plan in (refused[1],) for server in plan.real_servers
    }
